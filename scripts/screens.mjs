#!/usr/bin/env node
// Takes the pictures in docs/screens from a demo, each the same page in the same size and theme every time.
//
//   ./scripts/screens.mjs [name ...]
//
// Needs a built program (target/debug, or its path in POLYMARKETSPY), Chromium (its path in CHROMIUM, when it is not
// /usr/bin/chromium) and the node modules of tests/browser; `scripts/test` sees to all three. It takes about two minutes.
// Look at each picture before it is committed: the demo's fortunes differ from day to day.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT, openPage, startBrowser, startDemo } from "../tests/browser/bot.mjs";
import { withPalette } from "./palette.mjs";

const FOLDER = join(ROOT, "docs/screens");
const WIDE = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };

/** Name, window, theme, and the way to what is shown. */
const PICTURES = [
  ["overview", WIDE, "dark", (page) => open(page, "/")],
  ["overview-light", WIDE, "light", (page) => open(page, "/")],
  ["overview-phone", PHONE, "light", (page) => open(page, "/")],
  ["user", WIDE, "light", busiestUser],
  ["explanation", WIDE, "light", skippedForItsPrice],
  ["what-if", WIDE, "light", worsePriceAllowed],
];

/** A page that is told of changes, with all of its curves drawn. */
async function open(page, path) {
  await page.goto(demo.origin + path);
  await page.locator('#connection[data-state="live"]').waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll(".chart")].every((chart) => chart.querySelector("canvas")));
}

/** Where the distributions have most to show. */
async function busiestUser(page) {
  const { data } = await ask(page, "/api/users");
  const busiest = data.reduce((a, b) => (b.last_24h.attempts > a.last_24h.attempts ? b : a));
  await open(page, `/users/${busiest.id}`);
}

/** The newest skip whose first reason is the price: the book beside the checks shows it. */
async function skippedForItsPrice(page) {
  const { data } = await ask(page, "/api/copy-attempts?decision=SKIP&side=BUY&reason=PRICE_WORSE_THAN_THEIR_FILL&limit=50");
  const skip = data.find(({ reason_codes }) => reason_codes[0] === "PRICE_WORSE_THAN_THEIR_FILL");
  if (!skip) throw new Error("no copy was skipped for its price alone; try again");
  await open(page, `/attempts/${skip.id}`);
}

async function worsePriceAllowed(page) {
  await open(page, "/config");
  await page.getByLabel("Worse than their fill, at most", { exact: true }).fill("2");
  await page.getByRole("button", { name: "Test without saving" }).click();
  await page.locator("#trial .compare").first().waitFor();
}

/** One of the program's JSON answers, asked for by whoever is signed in. */
async function ask(page, path) {
  const answer = await page.request.get(demo.origin + path);
  if (!answer.ok()) throw new Error(`${path} answered ${answer.status()}`);
  return answer.json();
}

/** Waits for attempts that were decided since the start, enough to fill what an overview shows of them. */
async function waitForLife(page) {
  for (let n_new = 0; n_new < 12; ) {
    await page.waitForTimeout(1_000);
    const { data } = await ask(page, "/api/copy-attempts?limit=50");
    n_new = data.filter((attempt) => Date.parse(attempt.created_at) > demo.startedAt).length;
  }
}

/** The height nearest to the window's at which no line of text is cut, not even by the bar that stays at the foot of a form. */
function heightWithoutCuts(page) {
  return page.evaluate(() => {
    const bar = document.querySelector("form .actions");
    const covered = bar ? innerHeight - bar.getBoundingClientRect().top : 0;
    const range = document.createRange();
    const lines = [];
    const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const text = texts.currentNode;
      if (bar?.contains(text)) continue;
      const end = text.parentElement.closest(".scroll")?.getBoundingClientRect().bottom ?? Infinity;
      range.selectNodeContents(text);
      lines.push(...[...range.getClientRects()].filter(({ top }) => top < end));
    }
    const cuts = (y) => lines.some(({ top, bottom }) => top - 1 < y && y < bottom + 1);
    for (let far = 0; far < innerHeight * 0.2; far++) {
      for (const height of [innerHeight - far, innerHeight + far]) {
        if (!cuts(height - covered)) return height;
      }
    }
    return innerHeight;
  });
}

/** Points that stand out by more than a thousandth of the equity, for one moment. Where a cheap outcome has lost its last bids,
 * the exchange names its best ask for its price, and a curve of that is no good example. */
async function spikes(page) {
  const { panes } = await ask(page, "/api/series/portfolio?range=24h");
  const equity = panes[0].lines[0].values;
  const standsOut = (at) => {
    const [before, after] = [equity[at] - equity[at - 1], equity[at] - equity[at + 1]];
    return before * after > 0 && Math.min(Math.abs(before), Math.abs(after)) > equity[at] / 1_000;
  };
  return equity.filter((_, at) => at > 0 && at + 1 < equity.length && standsOut(at)).length;
}

/** A demo with a calm day behind it, and somebody signed in. Each has a past of its own. */
async function calmDemo() {
  for (let tries = 1; ; tries++) {
    demo = await startDemo();
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(demo.link);
    const n_spikes = await spikes(page);
    if (n_spikes <= 2 || tries === 12) return { page, storageState: await context.storageState() };
    console.log(`a day with ${n_spikes} spikes; another one`);
    await context.close();
    await demo.stop();
  }
}

let demo;
const browser = await startBrowser();
try {
  const { page, storageState } = await calmDemo();
  await waitForLife(page);

  const names = process.argv.slice(2);
  mkdirSync(FOLDER, { recursive: true });
  for (const [name, viewport, colorScheme, come] of PICTURES) {
    if (names.length > 0 && !names.includes(name)) continue;
    const look = { viewport, colorScheme, deviceScaleFactor: 1, timezoneId: "UTC", reducedMotion: "reduce" };
    const context = await browser.newContext({ storageState, ...look });
    const { page, complaints } = await openPage(context);
    await come(page);
    await page.evaluate(() => document.fonts.ready);
    await page.setViewportSize({ ...viewport, height: await heightWithoutCuts(page) });
    await page.waitForTimeout(500);
    const picture = withPalette(await page.screenshot());
    writeFileSync(join(FOLDER, `${name}.png`), picture);
    console.log(`${name}.png, ${Math.ceil(picture.length / 1024)} KB`);
    if (complaints.length > 0) throw new Error(`${name}: ${complaints.join("; ")}`);
    await context.close();
  }
} finally {
  await browser.close();
  await demo?.stop();
}
