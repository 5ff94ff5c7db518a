// The first page as a person meets it, in a real browser, over the demo.

import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openPage, startBrowser, startDemo } from "./bot.mjs";

const PICTURES = process.env.PICTURES ?? mkdtempSync(join(tmpdir(), "polymarketspy-pictures-"));

let demo;
let browser;
let signedIn;

before(async () => {
  [demo, browser] = await Promise.all([startDemo(), startBrowser()]);
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

/** A page of the signed-in visitor. */
async function visit(options = {}) {
  const context = await browser.newContext({ storageState: signedIn, ...options });
  const opened = await openPage(context);
  await opened.page.goto(`${demo.origin}/`);
  return { context, ...opened };
}

/** How long a test waits for what must come; how fast it comes is measured, not tested. */
const PATIENCE = { timeout: 60_000 };
const isLive = (page) => page.waitForSelector('#connection[data-state="live"]', PATIENCE);

test("the login link opens a page with moving data", async () => {
  const context = await browser.newContext();
  const { page, complaints } = await openPage(context);
  await page.goto(demo.link);
  assert.equal(page.url(), `${demo.origin}/`);
  signedIn = await context.storageState();
  await page.waitForSelector("#trades tr.new", PATIENCE);
  await page.waitForSelector("#attempts tr.new", PATIENCE);
  console.log(`rows arrived live ${Date.now() - demo.startedAt} ms after the start`);
  const equity = await page.textContent("#figures .value");
  assert.match(equity, /^[\d,]+\.\d\d$/);
  assert.deepEqual(complaints, []);
  await context.close();
});

test("the link works once", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const answer = await page.goto(demo.link);
  assert.equal(answer.status(), 403);
  await page.goto(`${demo.origin}/`);
  assert.equal(new URL(page.url()).pathname, "/login");
  await context.close();
});

for (const [width, height] of [[1440, 900], [390, 844]]) {
  for (const colorScheme of ["dark", "light"]) {
    test(`the overview is calm and whole at ${width} px, ${colorScheme}`, async () => {
      const viewport = { width, height };
      const { context, page, complaints } = await visit({ viewport, colorScheme, timezoneId: "Europe/Berlin" });
      await isLive(page);
      // A font that arrives late moves things once, whatever the data does.
      const settled = await page.evaluate(() => document.fonts.ready.then(() => performance.now()));
      await page.waitForSelector("#trades tr.new", PATIENCE);
      await page.waitForTimeout(1_500);
      const seen = await page.evaluate((settled) => ({
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        zone: document.querySelector(".zone").textContent,
        utc: document.querySelector("#trades time").title,
        // New rows push older ones down inside their list; nothing else may move.
        moved: window.shifts
          .filter((shift) => shift.startTime > settled)
          .flatMap((shift) => shift.sources.map((source) => source.node))
          .filter((node) => node && !(node.parentElement ?? node).closest("tbody"))
          .map((node) => node.outerHTML ?? node.textContent),
      }), settled);
      const picture = join(PICTURES, `overview-${width}-${colorScheme}.png`);
      await page.screenshot({ path: picture });
      console.log(picture);
      assert.equal(seen.overflow, 0, "nothing is wider than the window");
      assert.match(seen.zone, /^(CET|CEST|GMT\+[12])$/);
      assert.match(seen.utc, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/);
      assert.deepEqual(seen.moved, []);
      assert.deepEqual(complaints, []);
      await context.close();
    });
  }
}

test("without its socket the page polls, and says so", async () => {
  const context = await browser.newContext({ storageState: signedIn });
  const { page } = await openPage(context);
  await page.routeWebSocket(/\/ws\/live/, (socket) => socket.close());
  await page.goto(`${demo.origin}/`);
  await page.waitForSelector('#connection[data-state="polling"]', PATIENCE);
  await page.waitForSelector("#trades tr.new", PATIENCE);
  await context.close();
});

test("a hold keeps the rows back and the end of it brings them", async () => {
  const { context, page } = await visit();
  await isLive(page);
  await page.click("#hold");
  const newest = () => page.getAttribute("#trades tr", "id");
  const before = await newest();
  await page.waitForFunction(() => /Release [1-9]/.test(document.getElementById("hold").textContent));
  assert.equal(await newest(), before);
  await page.click("#hold");
  await page.waitForFunction((id) => document.querySelector("#trades tr").id !== id, before);
  await context.close();
});

test("a keyboard reaches the content first and every control by name", async () => {
  const { context, page } = await visit();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  for (const name of ["Hold", "Pause copying", "Sign out"]) assert.ok(await page.getByRole("button", { name }).isVisible(), name);
  for (const name of ["Copy attempts", "Leaders' trades"]) {
    assert.equal(await page.getByRole("region", { name }).count() > 0, true, name);
  }
  await context.close();
});

test("signing out ends the session", async () => {
  const { context, page } = await visit();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(`${demo.origin}/login`);
  await page.goto(`${demo.origin}/`);
  assert.equal(new URL(page.url()).pathname, "/login");
  await context.close();
});
