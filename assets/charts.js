// Draws every `.chart` of a page from its `data-src`: one uPlot under the other for the panes of the answer, with one
// crosshair through all, what it points at in words above, and ranges to choose from.
//
// <div class="chart two" data-src="/api/series/portfolio" data-title="Equity"></div>
// A group of buttons with `data-chart="<id>"` and `data-range` chooses the range.

const MINUTE = 60_000;
const UNITS = {
  usdc_micros: { scale: 1e6, digits: 2, after: " USDC" },
  price_micros: { scale: 1e4, digits: 2, after: "¢" },
  bps: { scale: 100, digits: 2, after: " %" },
};
/** Dollars go without saying; what else there is does not. */
const AXIS_UNITS = { price_micros: "¢", bps: " %" };
const moment = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit" });

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
/** A colour of the style sheet as the canvas takes it: `light-dark()` is worked out by the browser. */
function ink(name, share = 100) {
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  probe.style.color = share === 100 ? `var(${name})` : `color-mix(in srgb, var(${name}) ${share}%, transparent)`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found || color(name);
}

function said(value, unit) {
  if (value == null) return "–";
  const { scale, digits, after } = UNITS[unit];
  const text = Math.abs(value / scale).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${value < 0 && /[1-9]/.test(text) ? "−" : ""}${text}${after}`;
}

const short = (value) => {
  const size = Math.abs(value);
  const text = size >= 1e6 ? `${+(size / 1e6).toFixed(2)}M` : size.toLocaleString("en-US", { maximumFractionDigits: 2 });
  return value < 0 ? `−${text}` : text;
};

function series(line, unit) {
  const { scale } = UNITS[unit];
  const base = { label: line.label, scale: "y", points: { show: false }, spanGaps: false };
  const styles = {
    main: { stroke: ink("--accent"), width: 1.6, fill: ink("--accent", 7) },
    second: { stroke: ink("--second"), width: 1.4, dash: [5, 4] },
    fall: { stroke: ink("--loss"), width: 1.2, fill: ink("--loss", 12), fillTo: () => 0 },
    gap: { stroke: ink("--muted"), width: 1.2, fill: ink("--muted", 14), fillTo: () => 0 },
    low: { stroke: "transparent", width: 0 },
    high: { stroke: "transparent", width: 0 },
    dots: { stroke: ink("--accent"), width: 0, paths: () => null, points: { show: true, size: 5, fill: ink("--accent") } },
  };
  return { ...base, ...styles[line.role], value: (_, raw) => said(raw == null ? null : Math.round(raw * scale), unit) };
}

function options(pane, chart, width, height, isLast) {
  const grid = { stroke: ink("--line"), width: 1 };
  const axis = { stroke: ink("--muted"), grid, ticks: { show: false }, font: "11px Inter, system-ui, sans-serif" };
  const low = pane.lines.findIndex((line) => line.role === "low") + 1;
  const high = pane.lines.findIndex((line) => line.role === "high") + 1;
  return {
    width,
    height,
    cursor: { sync: { key: chart.key }, points: { size: 6 }, drag: { x: false, y: false } },
    legend: { show: false },
    scales: { x: { time: true, range: () => [Date.parse(chart.from) / 1000, Date.parse(chart.to) / 1000] } },
    bands: low && high ? [{ series: [high, low], fill: ink("--accent", 16) }] : [],
    axes: [
      { ...axis, show: isLast, space: 70, size: 26, values: (_, ticks) => labels(ticks) },
      { ...axis, size: 58, space: 34, values: (_, ticks) => ticks.map((tick) => short(tick) + (AXIS_UNITS[pane.unit] ?? "")) },
    ],
    series: [{}, ...pane.lines.map((line) => series(line, pane.unit))],
    padding: [8, 10, isLast ? 0 : 4, 0],
    hooks: { setCursor: [(plot) => chart.point(plot.cursor.idx)] },
  };
}

/** Hours within a day, days beyond it: in the visitor's zone, like every time on the page. */
function labels(ticks) {
  const spread = ticks.at(-1) - ticks[0];
  const hour = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  const date = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short" });
  return ticks.map((tick) => (spread > 2.5 * 86_400 ? date : hour).format(new Date(tick * 1000)));
}

class Chart {
  constructor(box) {
    this.box = box;
    this.key = box.id;
    this.plots = [];
    this.readout = box.previousElementSibling;
    box.setAttribute("role", "img");
    this.read();
  }

  async read() {
    const address = new URL(this.box.dataset.src, location.href);
    if (this.box.dataset.range) address.searchParams.set("range", this.box.dataset.range);
    const asked = (this.asked = Symbol());
    this.box.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(address, { headers: { accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const data = await answer.json();
      if (asked !== this.asked) return;
      Object.assign(this, { data, from: data.from, to: data.to });
      this.draw();
    } catch {
      if (asked === this.asked && !this.plots.length) this.say("The curve could not be read. It is tried again every minute.");
    } finally {
      this.box.removeAttribute("aria-busy");
    }
  }

  draw() {
    const { times, panes } = this.data;
    this.clear();
    if (times.length < 2) return this.say("No curve yet: the first points come with the next full minutes.");
    const [width, height] = [this.box.clientWidth - 4, this.box.clientHeight - 8];
    const heights = panes.length === 1 ? [height] : [Math.round(height * 0.66), Math.round(height * 0.34)];
    panes.forEach((pane, place) => {
      const { scale } = UNITS[pane.unit];
      const values = pane.lines.map((line) => line.values.map((value) => (value == null ? null : value / scale)));
      const isLast = place === panes.length - 1;
      this.plots.push(new uPlot(options(pane, this, width, heights[place], isLast), [times, ...values], this.box));
    });
    this.point(null);
    this.describe();
  }

  /** Names what the crosshair is on; without one, where the lines end. */
  point(place) {
    if (!this.data) return;
    const { times, panes } = this.data;
    const at = place ?? times.length - 1;
    const parts = [`<b>${moment.format(new Date(times[at] * 1000))}</b>`];
    for (const pane of panes) {
      for (const line of pane.lines) {
        if (line.role === "low" || line.role === "high") continue;
        parts.push(`<span class="key key-${line.role}">${line.label} <b>${said(line.values[at], pane.unit)}</b></span>`);
      }
    }
    this.readout.innerHTML = parts.join("");
  }

  /** The curve in a sentence, for those who do not see it. */
  describe() {
    const { times, panes } = this.data;
    const sentences = panes.flatMap((pane) =>
      pane.lines
        .filter((line) => line.role !== "low" && line.role !== "high")
        .map((line) => {
          const values = line.values.filter((value) => value != null);
          if (!values.length) return `${line.label}: nothing`;
          const [low, high] = [Math.min(...values), Math.max(...values)];
          return `${line.label} from ${said(values[0], pane.unit)} to ${said(values.at(-1), pane.unit)}, lowest ${said(low, pane.unit)}, highest ${said(high, pane.unit)}`;
        }),
    );
    const span = `${moment.format(new Date(times[0] * 1000))} to ${moment.format(new Date(times.at(-1) * 1000))}`;
    this.box.setAttribute("aria-label", `${this.box.dataset.title}, ${span}. ${sentences.join(". ")}.`);
  }

  say(text) {
    this.clear();
    const note = document.createElement("p");
    note.className = "empty";
    note.textContent = text;
    this.box.append(note);
    this.readout.replaceChildren();
    this.box.setAttribute("aria-label", `${this.box.dataset.title}: ${text}`);
  }

  clear() {
    for (const plot of this.plots) plot.destroy();
    this.plots = [];
    this.box.replaceChildren();
  }
}

let charts = [];

/** Finds the charts of the page, also after its content was replaced. */
function find() {
  charts = charts.filter((chart) => chart.box.isConnected);
  for (const box of document.querySelectorAll(".chart[data-src]")) {
    if (!charts.some((chart) => chart.box === box)) charts.push(new Chart(box));
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-chart] [data-range]");
  const chart = button && charts.find((chart) => chart.box.id === button.closest("[data-chart]").dataset.chart);
  if (!chart) return;
  for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
  chart.box.dataset.range = button.dataset.range;
  chart.read();
});

let resizing = null;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => charts.forEach((chart) => chart.plots.length && chart.draw()), 120);
});
document.addEventListener("theme", () => charts.forEach((chart) => chart.plots.length && chart.draw()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.plots.length && chart.draw()));
document.addEventListener("htmx:after:swap", find);
setInterval(() => document.hidden || charts.forEach((chart) => chart.read()), MINUTE);
find();
