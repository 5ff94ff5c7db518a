// Starts the program as a user would, and a browser beside it.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { chromium } from "playwright-core";

export const ROOT = resolve(import.meta.dirname, "../..");
const PROGRAM = process.env.POLYMARKETSPY ?? join(ROOT, "target/debug/polymarketspy");
const LOGIN = /https?:\/\/[^\s"]+\/login\/[\w-]+/;

/** `polymarketspy demo` on a free port. */
export function startDemo() {
  return start(["demo"], {});
}

/** A bot that follows nobody, over an empty database, with nobody to ask. */
export function startEmpty() {
  const nobody = "http://127.0.0.1:9";
  return start(["run"], {
    POLYMARKET_DATA_API_BASE_URL: nobody,
    POLYMARKET_CLOB_BASE_URL: nobody,
    POLYMARKET_GAMMA_BASE_URL: nobody,
  });
}

/** A database with a past, written by `polymarketspy generate`. */
export function generate(words) {
  const folder = mkdtempSync(join(tmpdir(), "polymarketspy-past-"));
  const file = join(folder, "past.db");
  const url = `sqlite:${file}`;
  execFileSync(PROGRAM, ["generate", ...words], { cwd: folder, env: { ...process.env, DATABASE_URL: url }, stdio: "pipe" });
  return { file, url, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Runs the program in a folder of its own until it prints its login link. */
export async function start(words, settings) {
  const folder = mkdtempSync(join(tmpdir(), "polymarketspy-browser-"));
  const env = { ...process.env, BIND: "127.0.0.1:0", HEALTH_BIND: "127.0.0.1:0", ...settings };
  const startedAt = Date.now();
  const child = spawn(PROGRAM, words, { cwd: folder, env });
  let said = "";
  const ended = new Promise((done) => child.once("exit", done));
  const link = await new Promise((found, failed) => {
    const listen = (text) => {
      said += text;
      const link = said.match(LOGIN);
      if (link) found(link[0]);
    };
    child.stdout.on("data", listen);
    child.stderr.on("data", listen);
    child.once("error", (error) => failed(new Error(`${PROGRAM} does not start: ${error.message}`)));
    ended.then((code) => failed(new Error(`it ended with ${code}:\n${said}`)));
    setTimeout(() => failed(new Error(`no login link within 60 s:\n${said}`)), 60_000).unref();
  });
  const stop = async () => {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 15_000);
    await ended;
    clearTimeout(late);
    rmSync(folder, { recursive: true, force: true });
  };
  return { link, origin: new URL(link).origin, startedAt, folder, stop };
}

export function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
    ],
  });
}

/** A page that notes whatever the browser complains about. */
export async function openPage(context) {
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`),
    );
    window.shifts = [];
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.shifts.push(entry);
    }).observe({ type: "layout-shift", buffered: true });
  });
  return { page, complaints };
}
