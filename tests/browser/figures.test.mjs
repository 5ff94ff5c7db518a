// The figures on the pages are those of the database, counted here in another language.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { askDatabase, generate, openPage, startBrowser, startOver } from "./bot.mjs";

let bot;
let browser;
let context;

before(async () => {
  const database = generate(["--attempts", "1200", "--entries", "3000", "--snapshot-days", "2", "--held-assets", "20"]);
  [bot, browser] = await Promise.all([startOver(database), startBrowser()]);
  bot.database = database;
  context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(bot.link);
  await page.close();
});

after(async () => {
  await browser?.close();
  await bot?.stop();
  bot?.database.remove();
});

/** Asks the database by a program of its own. */
const counted = (name, ...words) => askDatabase(bot.database, name, ...words);

async function open(path) {
  const { page, complaints } = await openPage(context);
  const answer = await page.goto(bot.origin + path);
  assert.equal(answer.status(), 200, path);
  return { page, complaints };
}

const usdc = (micros, sign = "") => {
  const cents = Math.round(Math.abs(micros) / 1e4);
  const text = (cents / 100).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  return `${cents === 0 ? "" : micros < 0 ? "−" : sign}${text}`;
};

/** The figure under a heading. */
const figure = (page, name) =>
  page.locator("#figures .figure", { has: page.locator("dt", { hasText: new RegExp(`^${name}$`) }) }).innerText();

test("the global portfolio's figures are those of its last snapshot and of its ledger", async () => {
  const { page } = await open("/");
  const expected = counted("global");
  assert.ok((await figure(page, "Equity")).includes(usdc(expected.equity)), expected.equity);
  assert.ok((await figure(page, "Exposure")).includes(usdc(expected.exposure)));
  assert.ok((await figure(page, "Cash")).includes(usdc(expected.cash)));
  assert.ok((await figure(page, "PnL total")).includes(usdc(expected.pnl, "+")));
  const won = await figure(page, "Win rate");
  assert.ok(won.includes(`of ${expected.closed.toLocaleString("en-US")} closed`), `${won}: ${JSON.stringify(expected)}`);
  assert.ok(won.includes(`${(Math.floor((expected.won * 10_000) / expected.closed) / 100).toFixed(2)} %`), won);
  await page.close();
});

test("open positions are the lots of the ledger", async () => {
  const { page } = await open("/portfolio");
  const lots = counted("lots");
  assert.ok(lots.length > 10);
  assert.ok((await page.textContent("#positions-count")).startsWith(String(lots.length)));
  const shares = (await page.locator("#positions tbody tr td:nth-child(2)").allInnerTexts()).sort();
  assert.deepEqual(shares, lots.map((lot) => usdc(lot)).sort());
  await page.close();
});

test("lists show what the database has, newest first, and as many as it has for a filter", async () => {
  const { page } = await open("/trades?tab=trades");
  const rows = await page.locator("#trades tr").evaluateAll((rows) => rows.map((row) => row.id.replace("trade-", "").replaceAll("-", "")));
  assert.deepEqual(rows, counted("trades"));
  for (const [user, decision, reason] of [["2", "SKIP", ""], ["1", "EXECUTE", ""], ["", "SKIP", "INSUFFICIENT_DEPTH"]]) {
    const query = new URLSearchParams(Object.entries({ tab: "attempts", user, decision, reason }).filter(([, value]) => value));
    await page.goto(`${bot.origin}/trades?${query}`);
    const shown = await page.locator("#attempts tr").evaluateAll((rows) => rows.map((row) => row.id.replace("attempt-", "").replaceAll("-", "")));
    assert.deepEqual(shown, counted("attempts", user, decision, reason), String(query));
  }
  await page.close();
});
