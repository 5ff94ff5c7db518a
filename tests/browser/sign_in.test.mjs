// The door: signing in with a simulated GitHub, and everybody who must stay outside.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { command, openPage, startBrowser, startDemoWithGithub } from "./bot.mjs";

const PATIENCE = { timeout: 60_000 };
const ADA = "ada@example.org";

let bot, browser, folder, database, elsewhere;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "polymarketspy-door-"));
  database = { DATABASE_URL: `sqlite:${join(folder, "demo.db")}` };
  [bot, browser] = await Promise.all([startDemoWithGithub(folder), startBrowser()]);
  // Another port of the same host: for cookies that is the same site, so that they are sent along.
  elsewhere = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<!doctype html><title>Elsewhere</title>"));
  await new Promise((listening) => elsewhere.listen(0, "127.0.0.1", listening));
});

after(async () => {
  elsewhere?.close();
  await browser?.close();
  await bot?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** A browser of its own, at GitHub's question who one is. */
async function atGithub() {
  const context = await browser.newContext();
  const { page, complaints } = await openPage(context);
  page.setDefaultTimeout(60_000);
  await page.goto(`${bot.origin}/portfolio`);
  assert.equal(new URL(page.url()).pathname, "/login", "strangers are sent to the door");
  await page.getByRole("link", { name: "Sign in with GitHub" }).click();
  await page.getByText("Who are you?").waitFor();
  return { context, page, complaints };
}

async function signedIn() {
  const visitor = await atGithub();
  await visitor.page.getByRole("button", { name: "Continue as ada" }).click();
  await visitor.page.waitForURL(`${bot.origin}/`);
  return visitor;
}

const isIn = async (context) => (await context.request.get(`${bot.origin}/api/overview`)).ok();

test("a verified e-mail on the list comes in, and its page is live", async () => {
  const { context, page, complaints } = await signedIn();
  await page.waitForSelector('#connection[data-state="live"]', PATIENCE);
  await page.goto(`${bot.origin}/access`);
  assert.ok((await page.locator(".facts").innerText()).includes(ADA));
  await page.locator(".history li", { hasText: "Signed in" }).first().waitFor();
  assert.deepEqual(complaints, []);
  const [cookie] = (await context.cookies()).filter((cookie) => cookie.name.startsWith("polymarketspy"));
  assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Lax"]);
  await context.close();
});

test("a second verified e-mail on the list will do", async () => {
  const { context, page } = await atGithub();
  await page.getByRole("button", { name: "Continue as grace" }).click();
  await page.waitForURL(`${bot.origin}/`);
  await context.close();
});

for (const [who, why] of [["mallory", "another e-mail"], ["eve", "an e-mail that is not verified"]]) {
  test(`${why} stays outside`, async () => {
    const { context, page } = await atGithub();
    await page.getByRole("button", { name: `Continue as ${who}` }).click();
    await page.getByText("None of your verified e-mails at GitHub may come in here").waitFor();
    assert.equal(await isIn(context), false);
    await context.close();
  });
}

test("whoever cancels at GitHub is told so and can begin again", async () => {
  const { context, page } = await atGithub();
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByText("The sign-in was cancelled at GitHub").waitFor();
  assert.equal(await isIn(context), false);
  await context.close();
});

test("a code that was used, and a state that was made up, lead nowhere", async () => {
  const { context, page } = await atGithub();
  const back = page.waitForRequest((request) => request.url().includes("/login/github/callback"));
  await page.getByRole("button", { name: "Continue as ada" }).click();
  const used = (await back).url();
  await page.waitForURL(`${bot.origin}/`);
  await context.close();

  const other = await atGithub();
  for (const address of [used, used.replace(/state=[^&]*/, "state=made-up")]) {
    const answer = await other.page.goto(address);
    assert.equal(answer.status(), 403, address);
  }
  assert.equal(await isIn(other.context), false);
  await other.context.close();
});

test("signing out everywhere ends the other browser too, and its open page notices", async () => {
  const [here, there] = [await signedIn(), await signedIn()];
  await there.page.waitForSelector('#connection[data-state="live"]', PATIENCE);
  await here.page.goto(`${bot.origin}/access`);
  await here.page.getByRole("button", { name: "Sign out everywhere" }).click();
  await here.page.waitForURL(`${bot.origin}/login`);
  assert.deepEqual([await isIn(here.context), await isIn(there.context)], [false, false]);
  await there.page.waitForFunction(() => !document.querySelector('#connection[data-state="live"]'), null, PATIENCE);
  await Promise.all([here.context.close(), there.context.close()]);
});

test("one who is taken from the list is out at once", async () => {
  const { context } = await signedIn();
  assert.equal(await isIn(context), true);
  command(["admin", "remove", ADA], database);
  try {
    assert.equal(await isIn(context), false);
  } finally {
    command(["admin", "add", ADA], database);
  }
  await context.close();
});

test("a page of another origin can neither read, nor change, nor listen, though the cookie goes along", async () => {
  const { context, page } = await signedIn();
  await page.goto(`http://127.0.0.1:${elsewhere.address().port}/`);
  const tried = await page.evaluate(async (origin) => {
    const read = await fetch(`${origin}/api/overview`, { credentials: "include" }).then(() => "read", () => "refused");
    const form = new URLSearchParams({ paused: "true" });
    // The browser keeps the answer back; what matters is what the server did with the request.
    await fetch(`${origin}/control/pause`, { method: "POST", mode: "no-cors", credentials: "include", body: form }).catch(() => {});
    const socket = new WebSocket(`${origin.replace("http", "ws")}/ws/live`);
    const heard = await new Promise((end) => {
      socket.onopen = () => end("open");
      socket.onclose = () => end("refused");
    });
    return { read, heard };
  }, bot.origin);
  assert.deepEqual(tried, { read: "refused", heard: "refused" });
  const config = JSON.parse(command(["config", "get", "copyEngineEnabled", "--json"], database));
  assert.match(JSON.stringify(config), /true|1/);
  assert.ok((await context.request.get(`${bot.origin}/`).then((answer) => answer.text())).includes("Pause"));
  await context.close();
});

test("a script's token reads, may not change, and is nothing once it is revoked", async () => {
  const token = command(["token", "new", "nightly"], database).trim();
  const context = await browser.newContext();
  const headers = { authorization: `Bearer ${token}` };
  const trades = await context.request.get(`${bot.origin}/export/trades.csv`, { headers });
  assert.equal(trades.status(), 200);
  const pause = await context.request.post(`${bot.origin}/api/control/pause`, { headers, data: { paused: true } });
  assert.equal(pause.status(), 403);
  const visitor = await signedIn();
  await visitor.page.goto(`${bot.origin}/access`);
  await visitor.page.getByRole("button", { name: "Revoke nightly" }).click();
  await visitor.page.getByText("The token nightly lets nobody in any more.").waitFor();
  assert.deepEqual(visitor.complaints, []);
  assert.equal((await context.request.get(`${bot.origin}/api/overview`, { headers })).status(), 401);
  await Promise.all([context.close(), visitor.context.close()]);
});
