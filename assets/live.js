// Keeps an open page true: puts in what the server pushes, reads the page's figures again at its own pace, and its lists
// too where they cannot be pushed. The page works without this script; reloading shows the same.

const RETRY_FIRST = 500;
const RETRY_MOST = 15_000;
/** Frames kept during a hold: what no list could show any more need not be. */
const HELD_MOST = 500;
/** Pages that are read again for what has happened are read no oftener than this. */
const NUDGE_EVERY = 2_500;
const WORDS = { waiting: "Connecting", live: "Live", polling: "Polling", held: "On hold" };

const page = document.body;
const connection = document.getElementById("connection");
const refreshEvery = Number(page.dataset.refresh);

let seq = Number(page.dataset.seq);
let socket = null;
let failures = 0;
let isLive = false;
let reading = false;
let readAt = performance.now();
let held = false;
/** Frames that wait for the next paint, or for the end of a hold. */
let waiting = [];
let painting = false;

// --- the connection

function connect() {
  const address = new URL("/ws/live", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.searchParams.set("topics", page.dataset.topics);
  address.searchParams.set("after", String(seq));
  socket = new WebSocket(address);
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = () => {
    socket = null;
    isLive = false;
    show();
    const wait = Math.min(RETRY_MOST, RETRY_FIRST * 2 ** failures++);
    setTimeout(connect, wait * (0.75 + Math.random() / 2));
  };
}

function receive(frame) {
  if (frame.topic === "hello") {
    failures = 0;
    isLive = true;
    show();
    if (!frame.resumed) readPage(true);
    return;
  }
  waiting.push(frame);
  if (waiting.length > HELD_MOST) waiting = waiting.slice(-HELD_MOST / 2);
  if (held) show();
  else paint();
}

function show() {
  const state = held ? "held" : isLive ? "live" : failures + seq === 0 ? "waiting" : "polling";
  connection.dataset.state = state;
  const word = connection.querySelector(".word");
  if (word.textContent !== WORDS[state]) word.textContent = WORDS[state];
  const button = document.getElementById("hold");
  if (!button) return;
  const rows = waiting.filter((frame) => frame.row).length;
  button.disabled = false;
  button.setAttribute("aria-pressed", String(held));
  button.textContent = held ? `Release ${Math.min(99, rows)}` : "Hold";
}

document.addEventListener("click", (event) => {
  if (!event.target.closest?.("#hold")) return;
  held = !held;
  show();
  if (held) return;
  paint();
  if (!isLive) readPage(true);
});

// --- what arrives

function paint() {
  if (painting) return;
  painting = true;
  // A hidden page gets no animation frames, but its lists must not grow stale.
  if (document.hidden) setTimeout(apply, 0);
  else requestAnimationFrame(apply);
}

function apply() {
  painting = false;
  const frames = waiting;
  waiting = [];
  for (const frame of frames) {
    if (frame.row) insert(frame);
    else replace(document.getElementById(frame.region), frame.html);
    seq = Math.max(seq, frame.seq);
  }
  for (const list of lists()) while (list.rows.length > Number(list.dataset.cap)) list.lastElementChild.remove();
}

/** Lists that grow: a `tbody` named like its topic, with the most rows it holds. */
const lists = () => document.querySelectorAll("tbody[data-cap]");

function insert(frame) {
  const list = document.getElementById(frame.topic);
  if (!list?.dataset.cap) return nudge(frame);
  const row = parsed(frame.html);
  if (!belongs(row, list)) return;
  localise(row);
  const known = document.getElementById(row.id);
  if (known) return known.replaceWith(row);
  row.classList.add("new");
  // Whoever has scrolled down keeps reading the same rows.
  const scroll = list.closest(".scroll");
  const [top, height] = [scroll?.scrollTop ?? 0, list.offsetHeight];
  list.prepend(row);
  if (top > 0) scroll.scrollTop = top + list.offsetHeight - height;
}

/** What shows more than a frame tells is read again soon: `data-nudge="trades attempts"` on a region. */
let nudged = false;
function nudge(frame) {
  const region = document.querySelector(`[data-nudge~="${frame.topic}"]`);
  if (!region || nudged || !belongs(parsed(frame.html), region)) return;
  nudged = true;
  const rest = NUDGE_EVERY - (performance.now() - readAt);
  setTimeout(() => {
    nudged = false;
    if (!document.hidden) readPage(!isLive);
  }, Math.max(500, rest));
}

/** A filtered list says in `data-only-…` what its rows have in `data-…`; a row may have several, with spaces between. */
function belongs(row, list) {
  return Object.entries(list.dataset).every(([key, wanted]) => {
    if (!key.startsWith("only") || wanted === "") return true;
    const name = key.charAt(4).toLowerCase() + key.slice(5);
    return (row.dataset[name] ?? "").split(" ").includes(wanted);
  });
}

function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

/** Gives a region new content; what is the same in it stays, with its focus and its scroll. */
function replace(region, html) {
  if (!region || region.dataset.shown === html) return;
  // Nobody's typing or choosing is swept away.
  if (region.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) return;
  region.dataset.shown = html;
  htmx.swap({ sourceElement: region, target: region, text: html, swap: "innerMorph" });
}

/** Reads the whole page again and takes over its figures, and its lists where they were not pushed. */
async function readPage(withLists) {
  if (reading || held) return;
  reading = true;
  readAt = performance.now();
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.redirected) return location.assign(answer.url);
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const region of document.querySelectorAll("[data-region]")) {
      const there = fresh.getElementById(region.id);
      if (there) replace(region, there.innerHTML);
    }
    if (!withLists) return;
    seq = Math.max(seq, Number(fresh.body.dataset.seq));
    for (const list of lists()) {
      const rows = fresh.getElementById(list.id);
      if (!rows) continue;
      localise(rows);
      const known = new Set([...list.rows].map((row) => row.id));
      for (const row of rows.rows) if (known.size > 0 && !known.has(row.id)) row.classList.add("new");
      list.replaceChildren(...rows.children);
    }
  } catch {
    // The server is away; the next turn tries again.
  } finally {
    reading = false;
  }
}

if (refreshEvery > 0) {
  setInterval(() => document.hidden || readPage(!isLive), refreshEvery);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && performance.now() - readAt > refreshEvery) readPage(!isLive);
  });
}

// --- times in the visitor's zone

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit" });

function localise(root) {
  const today = new Date().toDateString();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const text = at.toDateString() === today && !time.dataset.long ? clock.format(at) : day.format(at).replace(",", "");
    if (time.textContent !== text) time.textContent = text;
  }
}

function nameZone() {
  const parts = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts(new Date());
  const zone = parts.find((part) => part.type === "timeZoneName")?.value ?? "";
  for (const place of document.querySelectorAll(".zone")) place.textContent = zone;
}

function settle() {
  localise(document);
  nameZone();
  show();
}

document.addEventListener("htmx:after:swap", settle);
settle();
connect();
