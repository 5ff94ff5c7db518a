// What we serve of others is what npm has under the version in its name.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "./bot.mjs";

const FILES = {
  "htmx-4.0.1.min.js": "htmx.org/dist/htmx.min.js",
  "HTMX-LICENSE.txt": "htmx.org/LICENSE",
  "uplot-1.6.32.iife.min.js": "uplot/dist/uPlot.iife.min.js",
  "uplot-1.6.32.min.css": "uplot/dist/uPlot.min.css",
  "UPLOT-LICENSE.txt": "uplot/LICENSE",
};

for (const [ours, theirs] of Object.entries(FILES)) {
  test(`assets/vendor/${ours} is what npm has`, () => {
    const [a, b] = [join(ROOT, "assets/vendor", ours), join(import.meta.dirname, "node_modules", theirs)];
    assert.ok(readFileSync(a).equals(readFileSync(b)));
  });
}
