// What a bot with a past has: names that no page may take at its word, work that failed for good, and groups enough to test
// a change on.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { LOOKS, askDatabase, generate, signIn, startBrowser, startOver } from "./bot.mjs";

/** Where to keep a picture of each page; they are long. */
const { PICTURES } = process.env;
const PAST = ["--attempts", "2400", "--entries", "4000", "--snapshot-days", "2", "--held-assets", "20", "--leaders", "7"];

const PAGES = {
  overview: "/",
  users: "/users",
  user: "/users/1",
  portfolio: "/portfolio",
  trades: "/trades?tab=trades&user=3",
  attempts: "/trades?tab=attempts&user=4",
  activity: "/trades?tab=activity",
  attempt: { from: "/trades?tab=attempts&user=2", link: 'a[href^="/attempts/"]' },
  markets: "/markets",
  market: { from: "/markets", link: "th a", text: "gnimoc er'ew" },
  config: "/config?user=1",
  status: "/status",
};

let bot;
let browser;
let visit;
let database;

before(async () => {
  database = generate(PAST);
  execFileSync("python3", [join(import.meta.dirname, "names.py"), database.file]);
  [bot, browser] = await Promise.all([startOver(database), startBrowser()]);
  visit = await signIn(browser, bot);
});

after(async () => {
  await browser?.close();
  await bot?.stop();
  database?.remove();
});

/** The same through every look. */
function control(title, use) {
  for (const look of LOOKS) test(`${title} (${look.name})`, () => use((path, use) => visit(look, path, use), look));
}

const counted = (name, ...words) => askDatabase(database, name, ...words);
const says = (page, text) => page.locator("#notice .toast", { hasText: text }).waitFor();

/** What stands behind a name from right to left and within its reach. */
function turnedRound(page) {
  return page.evaluate(() => {
    const found = [];
    const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
      if (!/[\u0590-\u06ff\u202a-\u202e\u2066-\u2069]/.test(text.data) || text.parentElement.closest("option")) continue;
      let reach = text.parentElement;
      const isOpen = ({ display, unicodeBidi }) => display === "inline" && !unicodeBidi.includes("isolate");
      while (isOpen(getComputedStyle(reach))) reach = reach.parentElement;
      const behind = document.createRange();
      behind.setStartAfter(text);
      behind.setEndAfter(reach.lastChild);
      const rest = behind.cloneContents();
      for (const block of rest.querySelectorAll(".sub:not(.inline), .unseen, form")) block.remove();
      if (rest.textContent.trim() !== "" || rest.querySelector("a")) found.push(reach.outerHTML.slice(0, 300));
    }
    return found.slice(0, 5);
  });
}

for (const [name, where] of Object.entries(PAGES)) {
  control(`${name} shows any name as text, and stays in shape`, async (at, { viewport }) => {
    const { from, link, text } = typeof where === "string" ? { from: where } : where;
    await at(from, async (page, { asked }) => {
      if (link) await page.locator(`main ${link}`, { hasText: text }).first().click();
      await page.waitForSelector('#connection[data-state="live"]');
      await page.waitForFunction(() => !document.querySelector('.chart[aria-busy="true"]'));
      if (PICTURES) await page.screenshot({ path: join(PICTURES, `names-${name}-${viewport.width}.png`), fullPage: true });
      assert.match(await page.textContent("main"), /W{60}|<script>alert|gnimoc er'ew/);
      assert.equal(await page.locator("img[src=x], main script").count(), 0);
      assert.deepEqual(asked, []);
      assert.deepEqual(await turnedRound(page), [], "a name that runs from right to left turns nothing round but itself");
    });
  });
}

control("a dead letter is retried, or put away after a question", async (at) => {
  await at("/status", async (page, { asked }) => {
    const [job] = counted("letters").find(([, queue]) => queue === "q_reconcile");
    await page.getByRole("button", { name: `Retry dead letter ${job}`, exact: true }).click();
    await says(page, `Dead letter ${job} is a job of q_reconcile again`);
    await page.locator(`#letter-${job}`).waitFor({ state: "detached" });
    assert.deepEqual(asked, []);
    assert.deepEqual(counted("letter", job), { replayed: true, dropped: false, audits: ["replay_dead_letter"], worked_on: true });

    const [row] = counted("letters").find(([, queue]) => queue === "row");
    assert.equal(await page.locator(`#letter-${row}`).getByRole("button", { name: "Retry" }).count(), 0);
    await page.getByRole("button", { name: `Put away dead letter ${row}`, exact: true }).click();
    await says(page, `Dead letter ${row} is put away`);
    await page.locator(`#letter-${row}`).waitFor({ state: "detached" });
    assert.match(asked[0], new RegExp(`^Put dead letter ${row} away for good`));
    assert.deepEqual(counted("letter", row), { replayed: false, dropped: true, audits: ["drop_dead_letter"], worked_on: false });
  });
});

test("all dead letters of a queue are retried after a question", async () => {
  await visit(LOOKS[1], "/status?queue=q_reconcile", async (page, { asked }) => {
    const jobs = counted("letters").filter(([, queue]) => queue === "q_reconcile");
    assert.ok(jobs.length > 1);
    await page.locator("form", { hasText: "q_reconcile · " }).getByRole("button", { name: "Retry all" }).click();
    await says(page, `${jobs.length} dead letters are jobs of q_reconcile again`);
    assert.equal(asked[0], `Try all ${jobs.length} dead letters of q_reconcile again?`);
    for (const [id] of jobs) {
      assert.equal(await page.locator(`#letter-${id}`).count(), 0);
      assert.equal(counted("letter", id).replayed, true);
    }
  });
});

/** Begins a test of a candidate that nothing passes. */
async function beginTest(page, window) {
  await page.getByLabel("Spread, at most", { exact: true }).fill("0.01");
  await page.getByLabel("Test on").selectOption(window);
  await page.getByRole("button", { name: "Test without saving" }).click();
  await page.locator("#trial").waitFor();
}

control("a test is cancelled while it runs", async (at) => {
  await at("/config", async (page) => {
    await beginTest(page, "7d");
    const trial = page.locator("#trial");
    const cancel = trial.getByRole("button", { name: "Cancel" });
    const path = new URL(await cancel.evaluate((button) => button.form.action)).pathname.replace("/cancel", "");
    await cancel.click();
    await trial.getByText("Cancelled. Nothing was changed.").waitFor();
    assert.equal(await trial.locator(".compare, progress").count(), 0);
    assert.equal(await page.getByLabel("Spread, at most", { exact: true }).inputValue(), "0.01");
    const { state, done, groups } = await page.evaluate((path) => fetch(path).then((answer) => answer.json()), `/api${path}`);
    assert.equal(state, "CANCELLED");
    assert.ok(done < groups, `${done} of ${groups}`);
  });
});

test("the button that cancels stays under a slow finger while the test tells how far it is", async () => {
  await visit(LOOKS[1], "/config", async (page) => {
    await beginTest(page, "7d");
    const trial = page.locator("#trial");
    const running = await trial.evaluate((trial) => trial.outerHTML);
    const isAsked = (url) => /\/config\/test\/\d+$/.test(url.pathname);
    await page.route(isAsked, (route) =>
      route.fulfill({ contentType: "text/html", body: running.replace(/[\d,]+ of [\d,]+ groups/, "7 of 9 groups") }));
    const cancel = trial.getByRole("button", { name: "Cancel" });
    await cancel.focus();
    await cancel.hover();
    await page.mouse.down();
    await trial.getByText("7 of 9 groups").waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Cancel");
    await page.unroute(isAsked);
    const [answer] = await Promise.all([page.waitForResponse(/\/config\/test\/\d+\/cancel$/), page.mouse.up()]);
    assert.equal(answer.status(), 303);
    await trial.locator(".empty, .compare").first().waitFor();
    assert.equal(await page.locator('[hx-trigger^="every"]').count(), 0, "it asks no more");
  });
});

control("a test is of the window that is typed", async (at) => {
  await at("/config", async (page, visit) => {
    const [from, to] = [30, 6].map((hours) => new Date(Date.now() - hours * 3_600_000).toISOString().slice(0, 16));
    const [fromField, toField] = [page.getByLabel("From, UTC"), page.getByLabel("To, UTC")];
    assert.equal(await fromField.isVisible(), false);
    await page.getByLabel("Test on").selectOption("custom");
    await fromField.fill(to);
    await toField.fill(from);
    await page.getByRole("button", { name: "Test without saving" }).click();
    await page.getByRole("alert").filter({ hasText: "From must be before to" }).waitFor();
    assert.deepEqual([await fromField.inputValue(), await toField.inputValue()], [to, from]);
    await fromField.fill(from);
    await toField.fill(to);
    await beginTest(page, "custom");
    await page.locator("#trial .compare").first().waitFor();
    const [start, end] = [from, to].map((time) => `${time}:00.000Z`);
    const shown = await page.locator("#trial .window time").evaluateAll((times) => times.map((time) => time.dateTime));
    assert.deepEqual(shown.map((time) => Date.parse(time)), [start, end].map((time) => Date.parse(time)));
    const groups = counted("groups", Date.parse(start), Date.parse(end));
    assert.ok(groups > 100, String(groups));
    assert.match(await page.innerText("#trial"), new RegExp(`${groups.toLocaleString("en-US")} groups: .* otherwise`));
    assert.deepEqual([await fromField.inputValue(), await toField.inputValue()], [from, to]);
    // The browser itself tells of the refused form in its console.
    visit.expected = visit.complaints.filter((text) => /status of 400/.test(text));
  });
});
