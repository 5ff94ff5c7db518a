// Makes a browser's picture small: 256 colours for all of them. A page has few colours, and at the edges of its letters many
// shades between them.

import { deflateSync, inflateSync } from "node:zlib";

/** So many colours are the most frequent ones; the others are what would be missed most. */
const N_FREQUENT = 160;
const N_COLOURS = 256;

/** `png` with a palette: 8 bits a channel, without transparency, as Chromium writes it. */
export function withPalette(png) {
  const { width, height, pixels } = read(png);
  const counts = new Map();
  for (const colour of pixels) counts.set(colour, (counts.get(colour) ?? 0) + 1);
  const palette = choose(counts);
  const place = new Map([...counts.keys()].map((colour) => [colour, nearest(colour, palette).place]));
  const rows = Buffer.alloc((width + 1) * height);
  pixels.forEach((colour, at) => (rows[at + Math.floor(at / width) + 1] = place.get(colour)));
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 3, 0, 0, 0], 8);
  const colours = Buffer.from(palette.flatMap(channels));
  const chunks = [chunk("IHDR", head), chunk("PLTE", colours), chunk("IDAT", deflateSync(rows, { level: 9 })), chunk("IEND", Buffer.alloc(0))];
  return Buffer.concat([png.subarray(0, 8), ...chunks]);
}

const channels = (colour) => [colour >> 16, (colour >> 8) & 255, colour & 255];

function distance(one, other) {
  const [[r, g, b], [s, h, c]] = [channels(one), channels(other)];
  return (r - s) ** 2 + (g - h) ** 2 + (b - c) ** 2;
}

function nearest(colour, palette) {
  let best = { place: 0, distance: Infinity };
  palette.forEach((other, place) => {
    const far = distance(colour, other);
    if (far < best.distance) best = { place, distance: far };
  });
  return best;
}

/** The most frequent colours, then again and again the one that all its pixels together are farthest from. */
function choose(counts) {
  const byCount = [...counts].sort((a, b) => b[1] - a[1]);
  const palette = byCount.slice(0, N_FREQUENT).map(([colour]) => colour);
  const left = byCount.slice(N_FREQUENT).map(([colour, n]) => ({ colour, n, distance: nearest(colour, palette).distance }));
  while (palette.length < N_COLOURS && left.length > 0) {
    const missed = left.reduce((a, b) => (b.n * b.distance > a.n * a.distance ? b : a));
    palette.push(missed.colour);
    for (const one of left) one.distance = Math.min(one.distance, distance(one.colour, missed.colour));
  }
  return palette;
}

/** Size and pixels, a number each. */
function read(png) {
  const parts = [];
  let head;
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    const name = png.toString("latin1", at + 4, at + 8);
    const data = png.subarray(at + 8, at + 8 + length);
    if (name === "IHDR") head = data;
    if (name === "IDAT") parts.push(data);
    at += 12 + length;
  }
  const [width, height] = [head.readUInt32BE(0), head.readUInt32BE(4)];
  if (head[8] !== 8 || head[9] !== 2 || head[12] !== 0) throw new Error("not the kind of PNG that Chromium writes");
  const bytes = unfilter(inflateSync(Buffer.concat(parts)), width * 3, height);
  const pixels = new Uint32Array(width * height);
  pixels.forEach((_, at) => (pixels[at] = bytes.readUIntBE(at * 3, 3)));
  return { width, height, pixels };
}

/** Each byte is written as what it differs by from its neighbours; this adds them again. */
function unfilter(raw, stride, height) {
  const out = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)];
    for (let x = 0; x < stride; x++) {
      const at = y * stride + x;
      const left = x >= 3 ? out[at - 3] : 0;
      const above = y > 0 ? out[at - stride] : 0;
      const corner = x >= 3 && y > 0 ? out[at - stride - 3] : 0;
      const guess = [0, left, above, (left + above) >> 1, paeth(left, above, corner)][filter];
      out[at] = raw[y * (stride + 1) + 1 + x] + guess;
    }
  }
  return out;
}

function paeth(left, above, corner) {
  const guess = left + above - corner;
  const [l, a, c] = [left, above, corner].map((value) => Math.abs(guess - value));
  return l <= a && l <= c ? left : a <= c ? above : corner;
}

function chunk(name, data) {
  const out = Buffer.alloc(data.length + 12);
  out.writeUInt32BE(data.length, 0);
  out.write(name, 4, "latin1");
  out.set(data, 8);
  out.writeUInt32BE(checksum(out.subarray(4, -4)), data.length + 8);
  return out;
}

function checksum(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
