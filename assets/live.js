// Keeps an open page true: puts in what the server pushes, and reads the page again where it cannot be pushed.
// The page works without this script; reloading shows the same.

const POLL_EVERY = 5_000;
const RETRY_FIRST = 500;
const RETRY_MOST = 15_000;
const WORDS = { waiting: "Connecting", live: "Live", polling: "Polling", paused: "Paused" };

const page = document.body;
const connection = document.getElementById("connection");
const pause = document.getElementById("pause");
const lists = [...document.querySelectorAll("tbody[data-cap]")];

let seq = Number(page.dataset.seq);
let socket = null;
let failures = 0;
let polling = null;
let reading = false;
let paused = false;
/** Frames that wait for the next paint, or for the end of a pause. */
let waiting = [];
let painting = false;

// --- the connection

function connect() {
  const address = new URL(page.dataset.live, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.searchParams.set("after", String(seq));
  socket = new WebSocket(address);
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = () => {
    socket = null;
    fallBack();
    const wait = Math.min(RETRY_MOST, RETRY_FIRST * 2 ** failures++);
    setTimeout(connect, wait * (0.75 + Math.random() / 2));
  };
}

function receive(frame) {
  if (frame.topic === "hello") {
    failures = 0;
    clearInterval(polling);
    polling = null;
    show(paused ? "paused" : "live");
    if (!frame.resumed) readPage();
    return;
  }
  waiting.push(frame);
  // A pause has an end: what no list could hold any more need not be kept.
  if (waiting.length > 500) waiting = waiting.slice(-250);
  if (paused) pause.textContent = `Resume ${Math.min(99, waiting.filter((frame) => frame.row).length)}`;
  else paint();
}

function fallBack() {
  if (polling) return;
  show(paused ? "paused" : "polling");
  polling = setInterval(readPage, POLL_EVERY);
}

function show(state) {
  connection.dataset.state = state;
  const word = connection.querySelector(".word");
  if (word.textContent !== WORDS[state]) word.textContent = WORDS[state];
}

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
    else replace(frame.region, frame.html);
    seq = Math.max(seq, frame.seq);
  }
  for (const list of lists) while (list.rows.length > Number(list.dataset.cap)) list.lastElementChild.remove();
}

function insert(frame) {
  const list = document.getElementById(frame.topic);
  if (!list) return;
  const template = document.createElement("template");
  template.innerHTML = frame.html;
  const row = template.content.firstElementChild;
  localise(row);
  const known = document.getElementById(row.id);
  if (known) return known.replaceWith(row);
  row.classList.add("new");
  // Whoever has scrolled down keeps reading the same rows.
  const scroll = list.closest(".scroll");
  const [top, height] = [scroll.scrollTop, list.offsetHeight];
  list.prepend(row);
  if (top > 0) scroll.scrollTop = top + list.offsetHeight - height;
}

function replace(id, html) {
  const region = document.getElementById(id);
  if (!region || region.dataset.shown === html) return;
  // Somebody on a link in there is not thrown out of it.
  const focused = region.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  region.dataset.shown = html;
  region.innerHTML = html;
  localise(region);
  if (focused) [...region.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
}

/** Reads the whole page again and takes over its lists and figures. */
async function readPage() {
  if (reading || paused) return;
  reading = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.redirected) return location.assign(answer.url);
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    seq = Math.max(seq, Number(fresh.body.dataset.seq));
    for (const list of lists) {
      const rows = fresh.getElementById(list.id);
      if (!rows) continue;
      localise(rows);
      const known = new Set([...list.rows].map((row) => row.id));
      const wasEmpty = known.size === 0;
      for (const row of rows.rows) if (!wasEmpty && !known.has(row.id)) row.classList.add("new");
      list.replaceChildren(...rows.children);
    }
    for (const id of ["figures", "users", "health"]) replace(id, fresh.getElementById(id)?.innerHTML ?? "");
  } catch {
    // The server is away; the next turn tries again.
  } finally {
    reading = false;
  }
}

// --- times in the visitor's zone

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit" });

function localise(root) {
  const today = new Date().toDateString();
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.textContent = at.toDateString() === today ? clock.format(at) : day.format(at).replace(",", "");
  }
}

function nameZone() {
  const parts = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts(new Date());
  const zone = parts.find((part) => part.type === "timeZoneName")?.value ?? "";
  for (const place of document.querySelectorAll(".zone")) place.textContent = zone;
}

pause.disabled = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Resume" : "Pause";
  show(paused ? "paused" : socket?.readyState === WebSocket.OPEN ? "live" : "polling");
  if (paused) return;
  paint();
  if (polling) readPage();
});

localise(document);
nameZone();
connect();
