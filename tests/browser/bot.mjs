// Starts the program as a user would, and a browser beside it.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { chromium } from "playwright-core";

export const ROOT = resolve(import.meta.dirname, "../..");
const PROGRAM = process.env.POLYMARKETSPY ?? join(ROOT, "target/debug/polymarketspy");
const LOGIN = /https?:\/\/[^\s"]+\/login\/[\w-]+/;
const DOOR = /Sign in as \S+ at\s+(https?:\/\/\S+)/;

/** Where nobody answers: the figures stand still. */
const NOBODY = {
  POLYMARKET_DATA_API_BASE_URL: "http://127.0.0.1:9",
  POLYMARKET_CLOB_BASE_URL: "http://127.0.0.1:9",
  POLYMARKET_GAMMA_BASE_URL: "http://127.0.0.1:9",
};

/** `polymarketspy demo` on a free port. */
export function startDemo() {
  return start(["demo"], {});
}

/** The same, with a simulated GitHub at its door and its database where others can reach it. */
export function startDemoWithGithub(folder) {
  return start(["demo", "--github", "--keep", folder], {});
}

/** Runs one command of the program to its end and gives what it printed. */
export function command(words, settings) {
  return execFileSync(PROGRAM, words, { env: { ...process.env, ...settings }, encoding: "utf8", stdio: "pipe" });
}

/** A bot that follows nobody, over an empty database, with nobody to ask. */
export function startEmpty() {
  return start(["run"], NOBODY);
}

/** A bot over a past, with nobody to ask. */
export function startOver(database) {
  return start(["run"], { ...NOBODY, DATABASE_URL: database.url });
}

/** A database with a past, written by `polymarketspy generate`. */
export function generate(words) {
  const folder = mkdtempSync(join(tmpdir(), "polymarketspy-past-"));
  const file = join(folder, "past.db");
  const url = `sqlite:${file}`;
  execFileSync(PROGRAM, ["generate", ...words], { cwd: folder, env: { ...process.env, DATABASE_URL: url }, stdio: "pipe" });
  return { file, url, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Asks the database by a program of its own. */
export function askDatabase(database, name, ...words) {
  const program = join(import.meta.dirname, "figures.py");
  return JSON.parse(execFileSync("python3", [program, database.file, name, ...words.map(String)], { encoding: "utf8" }));
}

/** Runs the program in a folder of its own until it prints its login link, or where to sign in. */
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
      const door = said.match(DOOR);
      const link = door ? door[1] : said.match(LOGIN)?.[0];
      if (link) found(link);
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

/** Through what people look at a page. */
export const LOOKS = [
  { name: "1440 px, dark", viewport: { width: 1440, height: 900 }, colorScheme: "dark" },
  { name: "390 px, light", viewport: { width: 390, height: 844 }, colorScheme: "light" },
];

/**
 * Signs in, once for all looks. What it returns is one visit: `at(look, path, use)`. Questions before a deed are answered with
 * yes, and remembered in `asked`. At its end nothing may be wider than the window, and nothing may have been complained of
 * but what `expected` says.
 */
export async function signIn(browser, bot) {
  const first = await browser.newContext();
  const page = await first.newPage();
  await page.goto(bot.link);
  const storageState = await first.storageState();
  await first.close();
  const contexts = new Map();
  return async (look, path, use) => {
    if (!contexts.has(look)) {
      const { viewport, colorScheme } = look;
      contexts.set(look, await browser.newContext({ storageState, viewport, colorScheme }));
    }
    const { page, complaints } = await openPage(contexts.get(look));
    page.setDefaultTimeout(60_000);
    const visit = { asked: [], complaints, expected: [] };
    page.on("dialog", (dialog) => {
      visit.asked.push(dialog.message());
      dialog.accept();
    });
    try {
      await page.goto(bot.origin + path);
      await use(page, visit);
      assert.deepEqual(await widest(page), [], "nothing is wider than the window");
      assert.deepEqual(complaints, visit.expected);
    } finally {
      await page.close();
    }
  };
}

/** What makes a page wider than its window; empty when nothing does. */
function widest(page) {
  return page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth === clientWidth) return [];
    const isClipped = (node) => node && (getComputedStyle(node).overflowX !== "visible" || isClipped(node.parentElement));
    const range = document.createRange();
    const sticksOut = (node) => {
      range.selectNodeContents(node);
      return range.getBoundingClientRect().right > clientWidth && !isClipped(node);
    };
    const over = [...document.querySelectorAll("body *")].filter(sticksOut).reverse();
    return [`${scrollWidth - clientWidth} px`, ...over.slice(0, 5).map((node) => node.outerHTML.slice(0, 200))];
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
