// Every page as a person meets it: at both widths, in both themes, with and without data. No complaint of the browser, no
// word against the policy, nothing wider than the window, nothing that a screen reader could not tell.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openPage, startBrowser, startDemo, startEmpty } from "./bot.mjs";

/** A folder for a picture of every page, where somebody wants to look at them. */
const PICTURES = process.env.PICTURES;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PATIENCE = { timeout: 60_000 };
const SIZES = [[1440, 900], [390, 844]];
const THEMES = ["dark", "light"];
const EVERY_RULE = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];
/** What a theme can change. */
const COLOURS = ["color-contrast"];

const PAGES = {
  overview: "/",
  users: "/users",
  user: { from: "/users", link: 'main a[href^="/users/"]' },
  portfolio: "/portfolio",
  trades: "/trades?tab=trades",
  attempts: "/trades?tab=attempts",
  activity: "/trades?tab=activity",
  attempt: { from: "/trades?tab=attempts", link: 'main a[href^="/attempts/"]' },
  markets: "/markets",
  market: { from: "/portfolio", link: 'main a[href^="/markets/"]' },
  config: "/config",
  status: "/status",
  access: "/access",
};
/** Pages that stand for one thing have none in an empty bot. */
const WITHOUT_DATA = Object.entries(PAGES).filter(([, where]) => typeof where === "string");

let browser;
let demo;
let empty;
const states = new Map();

before(async () => {
  [demo, empty, browser] = await Promise.all([startDemo(), startEmpty(), startBrowser()]);
  for (const bot of [demo, empty]) {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(bot.link);
    states.set(bot, await context.storageState());
    await context.close();
  }
});

after(async () => {
  await browser?.close();
  await Promise.all([demo?.stop(), empty?.stop()]);
});

async function visit(bot, where, options) {
  const context = await browser.newContext({ storageState: states.get(bot), ...options });
  const opened = await openPage(context);
  let path = where;
  if (typeof where !== "string") {
    await opened.page.goto(bot.origin + where.from);
    path = await opened.page.locator(where.link).first().getAttribute("href");
  }
  const answer = await opened.page.goto(bot.origin + path);
  assert.equal(answer.status(), 200, path);
  return { context, ...opened };
}

/** What must hold of a page whatever it shows. */
async function isWell({ page, complaints }, name, rules = EVERY_RULE) {
  await page.waitForSelector('#connection[data-state="live"]', PATIENCE);
  await page.waitForFunction(() => !document.querySelector('.chart[aria-busy="true"]'), null, PATIENCE);
  if (PICTURES) await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(overflow, 0, "nothing is wider than the window");
  // Evaluated by the driver, which the page's own policy does not concern.
  await page.evaluate(AXE);
  const found = await page.evaluate((rules) => axe.run({ runOnly: rules }), rules);
  const told = found.violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.slice(0, 4).map((node) => `${node.html.slice(0, 200)}\n    ${node.failureSummary}`).join("\n  ")}`);
  assert.deepEqual(told, []);
  assert.equal(await page.locator("h1").count(), 1, "one heading names the page");
  assert.equal(await page.locator('.places [aria-current="page"]').count(), 1, "the navigation says where we are");
  assert.deepEqual(complaints, []);
}

for (const [name, where] of Object.entries(PAGES)) {
  for (const [width, height] of SIZES) {
    test(`${name} is whole at ${width} px, in both themes`, async () => {
      const opened = await visit(demo, where, { viewport: { width, height }, timezoneId: "Europe/Berlin" });
      for (const colorScheme of THEMES) {
        // As when the system goes dark in the evening, with the page open.
        await opened.page.emulateMedia({ colorScheme });
        // A row that arrived just before still fades out of the colour of the other theme.
        await opened.page.evaluate(() => Promise.allSettled(document.getAnimations().map((fading) => fading.finished)));
        await isWell(opened, `${name}-${width}-${colorScheme}`, colorScheme === THEMES[0] ? EVERY_RULE : COLOURS);
      }
      await opened.context.close();
    });
  }
}

for (const [name, where] of WITHOUT_DATA) {
  test(`${name} is whole without data and says what to do next`, async () => {
    for (const [width, colorScheme] of [[1440, "light"], [390, "dark"]]) {
      const opened = await visit(empty, where, { viewport: { width, height: 850 }, colorScheme });
      await isWell(opened, `empty-${name}-${width}-${colorScheme}`);
      const text = await opened.page.textContent("main");
      assert.ok(!/\bNaN\b|undefined|null/.test(text), text);
      await opened.context.close();
    }
  });
}

test("a page works without scripts", async () => {
  const context = await browser.newContext({ storageState: states.get(demo), javaScriptEnabled: false });
  const page = await context.newPage();
  for (const [name, where] of WITHOUT_DATA) {
    const answer = await page.goto(demo.origin + where);
    assert.equal(answer.status(), 200, name);
    assert.ok((await page.textContent("main")).trim().length > 40, name);
  }
  await context.close();
});

test("where there is nothing, a page says so and leads back", async () => {
  const context = await browser.newContext({ storageState: states.get(demo) });
  const { page } = await openPage(context);
  for (const path of ["/nowhere", "/users/999999", "/attempts/7", `/markets/0x${"0".repeat(64)}`]) {
    const answer = await page.goto(demo.origin + path);
    assert.equal(answer.status(), 404, path);
    assert.ok(await page.getByRole("link", { name: "Back to the overview" }).isVisible(), path);
  }
  await context.close();
});
