// Every control, used as a person uses it: it says what it has done, the page shows it, and undo takes it back.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { LOOKS, signIn, startBrowser, startDemo } from "./bot.mjs";

let demo;
let browser;
let visit;

before(async () => {
  [demo, browser] = await Promise.all([startDemo(), startBrowser()]);
  visit = await signIn(browser, demo);
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

/** The same through every look. */
function control(title, use) {
  for (const look of LOOKS) test(`${title} (${look.name})`, () => use((path, use) => visit(look, path, use)));
}

const says = (page, text) => page.locator("#notice .toast", { hasText: text }).waitFor();
const undo = (page) => page.locator("#notice").getByRole("button", { name: "Undo" }).click();

control("copying pauses and goes on, on the page where the switch was used", async (at) => {
  await at("/markets", async (page) => {
    await page.getByRole("button", { name: "Pause copying" }).click();
    await says(page, "Copying is paused");
    await page.getByRole("button", { name: "Resume copying" }).waitFor();
    assert.equal(new URL(page.url()).pathname, "/markets");
    await undo(page);
    await says(page, "Copying goes on");
    await page.getByRole("button", { name: "Pause copying" }).waitFor();
    await page.getByRole("button", { name: "Close this message" }).click();
    assert.equal(await page.locator(".toast").count(), 0);
  });
});

control("the colours switch at once and stay", async (at) => {
  await at("/", async (page) => {
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const before = await background();
    await page.getByRole("button", { name: "Switch between light and dark" }).click();
    await page.waitForFunction((before) => getComputedStyle(document.body).backgroundColor !== before, before);
    const after = await background();
    await page.reload();
    assert.equal(await background(), after);
    await page.context().clearCookies({ name: "theme" });
  });
});

control("a curve shows the range that is chosen and what the crosshair is on", async (at) => {
  await at("/", async (page) => {
    await page.waitForSelector("#equity canvas");
    await page.getByRole("group", { name: "Range of Global equity" }).getByRole("button", { name: "7 d" }).click();
    await page.waitForFunction(() => document.getElementById("equity").dataset.range === "7d");
    const readout = page.locator(".readout").first();
    const atEnd = await readout.innerText();
    const plot = page.locator("#equity .u-over").first();
    await plot.scrollIntoViewIfNeeded();
    const box = await plot.boundingBox();
    await page.mouse.move(box.x + box.width * 0.93, box.y + box.height / 2);
    await page.waitForFunction((atEnd) => document.querySelector(".readout").innerText !== atEnd, atEnd);
    assert.match(await page.getAttribute("#equity", "aria-label"), /Equity from .* USDC to .* USDC, lowest/);
  });
});

control("somebody is looked for, followed under a name, renamed and let go", async (at) => {
  await at("/users", async (page) => {
    await page.fill("#trader", "nobody is called so");
    await page.getByRole("button", { name: "Find" }).click();
    await page.getByRole("alert").waitFor();
    assert.equal(await page.inputValue("#trader"), "nobody is called so");
    const wallet = `0x${"5".repeat(40)}`;
    await page.fill("#trader", wallet);
    await page.getByRole("button", { name: "Find" }).click();
    await page.locator("main", { hasText: wallet }).waitFor();
  });
  await at("/users", async (page) => {
    const row = page.locator("tbody tr").first();
    const name = await row.locator("th a").first().innerText();
    await row.getByText("Rename").click();
    const { left, right, window } = await row.locator(".rename form").evaluate((form) => {
      const { left, right } = form.getBoundingClientRect();
      return { left, right, window: innerWidth };
    });
    assert.ok(left >= 0 && right <= window, `the form is in sight: ${left} to ${right} of ${window}`);
    await row.getByLabel("What to call them").fill("<b>Renamed</b> & co");
    await row.getByRole("button", { name: "Save" }).click();
    await says(page, "<b>Renamed</b> & co");
    await page.locator("tbody tr th a", { hasText: "<b>Renamed</b> & co" }).waitFor();
    await undo(page);
    await page.locator("tbody tr th a", { hasText: name }).waitFor();
    await page.locator("tbody tr").first().getByRole("button", { name: `Stop following ${name}` }).click();
    await page.locator("tbody tr").first().getByRole("button", { name: `Follow ${name} again` }).waitFor();
    await undo(page);
    await page.locator("tbody tr").first().getByRole("button", { name: `Stop following ${name}` }).waitFor();
  });
});

control("a market is blacklisted after a question, and allowed again", async (at) => {
  await at("/markets", async (page, { asked }) => {
    await page.locator("tbody tr").first().getByRole("button", { name: "Blacklist" }).click();
    await page.locator("#notice .toast").waitFor();
    assert.equal(asked.length, 1);
    await page.goto(`${demo.origin}/markets?show=blacklisted`);
    assert.equal(await page.locator("tbody tr").count(), 1);
    await page.getByRole("button", { name: "Allow" }).click();
    await page.locator("#notice .toast").waitFor();
    await page.goto(`${demo.origin}/markets?show=blacklisted`);
    assert.equal(await page.locator("tbody tr").count(), 0);
  });
});

control("a setting that cannot be is refused by its name and stays typed; one that can is saved, told and undone", async (at) => {
  await at("/config", async (page, visit) => {
    const field = page.getByLabel("Spread, at most", { exact: true });
    await field.fill("250");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByRole("alert").waitFor();
    assert.equal(await page.getByLabel("Spread, at most", { exact: true }).inputValue(), "250");
    assert.equal(await page.getByLabel("Spread, at most", { exact: true }).getAttribute("aria-invalid"), "true");
    await page.getByLabel("Spread, at most", { exact: true }).fill("3.5");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.locator("#notice .toast").waitFor();
    assert.equal(await page.getByLabel("Spread, at most", { exact: true }).inputValue(), "3.50");
    await undo(page);
    await page.waitForFunction(() => document.querySelector('input[id$="maxSpreadMicros"]').value === "2.00");
    // The browser itself tells of the refused form in its console.
    visit.expected = visit.complaints.filter((text) => /status of 4\d\d/.test(text));
  });
});

control("a candidate is tested on what was recorded, without saving it", async (at) => {
  await at("/config", async (page) => {
    await page.getByLabel("Spread, at most", { exact: true }).fill("0.01");
    await page.getByRole("button", { name: "Test without saving" }).click();
    await page.locator("#trial .compare").first().waitFor();
    const text = await page.innerText("#trial");
    assert.match(text, /groups?: .* otherwise/);
    assert.match(text, /Spread too wide/);
    assert.match(text, /Worst drawdown/);
    await page.goto(`${demo.origin}/config`);
    assert.equal(await page.getByLabel("Spread, at most", { exact: true }).inputValue(), "2.00");
  });
});

control("the peak is reset after a question, and undone", async (at) => {
  await at("/portfolio", async (page, { asked }) => {
    await page.getByRole("button", { name: "Reset peak of the global portfolio" }).click();
    await says(page, "measured from its equity of now");
    assert.match(asked[0], /Measure the drawdown/);
    await undo(page);
    await says(page, "counts as before");
  });
});

control("filters narrow the list, are in the address, and the file that is taken along has them", async (at) => {
  await at("/trades?tab=attempts", async (page) => {
    await page.getByLabel("Decision").selectOption("SKIP");
    await page.waitForURL(/decision=SKIP/);
    const verdicts = await page.locator("#attempts .verdict").allInnerTexts();
    assert.ok(verdicts.length > 0 && verdicts.every((text) => text === "Skipped"), String(verdicts));
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "CSV" }).click()]);
    const { readFileSync } = await import("node:fs");
    const lines = readFileSync(await download.path(), "utf8").trim().split("\n");
    assert.match(lines[0], /portfolio_scope/);
    assert.ok(lines.length > verdicts.length && !lines.some((line) => line.includes(",EXECUTE,")));
  });
});

control("a row of the list leads to why it was decided so", async (at) => {
  await at("/trades?tab=attempts", async (page) => {
    await page.locator('#attempts a[href^="/attempts/"]').first().click();
    await page.waitForURL(/\/attempts\//);
    await page.getByRole("heading", { name: "Checks" }).waitFor();
    assert.ok((await page.locator("table tbody tr", { hasText: /passed|failed|unknown/ }).count()) > 0);
  });
});

control("the keyboard reaches every control of a page in order, and sees where it is", async (at) => {
  await at("/users", async (page) => {
    const seen = [];
    for (let n = 0; n < 16; n++) {
      await page.keyboard.press("Tab");
      seen.push(await page.evaluate(() => {
        const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
        return { name: document.activeElement.textContent.trim().slice(0, 30), ring: outlineStyle !== "none" && outlineWidth !== "0px" };
      }));
    }
    assert.equal(seen[0].name, "Skip to content");
    assert.ok(seen.every((stop) => stop.ring), JSON.stringify(seen));
    assert.ok(seen.some((stop) => stop.name === "System"));
  });
});
