// Line and step charts as SVG, with a crosshair for the pointer and for the keyboard.

import { h, replace, s, text } from "./dom.js";
import { NONE, fixed, utc } from "./format.js";
import { HORIZONTAL, digitsOf, vertical } from "./scales.js";

const LEFT = 58;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 24;

/**
 * A series is {name, tone, dashed, area} with `points` [[x, y|null], …] joined by lines, or `steps` [{from, to, y}, …]: each value
 * holds for its own stretch, and a stretch without a record is a gap.
 */
export class Chart {
  #data = { series: [], marks: [] };
  #stops = [];
  #at = null;
  #draw = null;

  /** `readout(words, values)` takes the place of the legend; `values` by series, null while nothing is pointed at. */
  constructor({ label, horizontal = "time", told, axis, height = 260, zero = true, readout = null }) {
    Object.assign(this, { label, told, axis: axis ?? told, height, zero, readout });
    this.horizontal = HORIZONTAL[horizontal];
    this.timed = horizontal === "time";
    this.legend = h("div", { class: "legend" });
    this.svg = s("svg", { "aria-hidden": "true" });
    this.pad = h(
      "div",
      {
        class: "pad", tabindex: "0", role: "slider", "aria-label": `${label}: move through the values with the arrow keys`,
        "aria-valuemin": 0,
      },
    );
    this.box = h("div", { class: "chart" }, this.svg, this.pad);
    this.element = h("div", null, readout ? null : this.legend, this.box);
    this.pad.addEventListener("pointermove", (event) => this.#point(event));
    this.pad.addEventListener("pointerdown", (event) => this.#point(event));
    this.pad.addEventListener("pointerleave", () => this.#show(null));
    this.pad.addEventListener("blur", () => this.#show(null));
    this.pad.addEventListener("keydown", (event) => this.#key(event));
    this.watch = new ResizeObserver(() => this.#paint());
    this.watch.observe(this.box);
  }

  set(data) {
    this.#data = { marks: [], ...data };
    const stops = new Set();
    for (const line of data.series) {
      for (const point of line.points ?? []) stops.add(point[0]);
      for (const step of line.steps ?? []) stops.add(step.to);
    }
    const pointed = this.#at === null ? null : this.#stops[this.#at];
    this.#stops = [...stops].sort((a, b) => a - b);
    const again = pointed === null ? -1 : this.#stops.indexOf(pointed);
    this.#at = again === -1 ? null : again;
    this.pad.setAttribute("aria-valuemax", Math.max(0, this.#stops.length - 1));
    this.#keys();
    this.legend.hidden = this.#stops.length === 0;
    this.#paint();
    this.#show(this.#at);
  }

  #keys() {
    this.when = h("span", { class: "when" });
    const items = this.#data.series.map((line) => {
      const value = h("b");
      const item = h(
        "span", null,
        h("i", { class: `key s${line.tone}${line.dashed ? " dashed" : ""}` }),
        h("span", null, line.name),
        value,
      );
      return { item, value };
    });
    this.values = items.map((entry) => entry.value);
    replace(this.legend, items.map((entry) => entry.item), this.when);
  }

  #paint() {
    const width = Math.round(this.box.clientWidth);
    const { series, marks } = this.#data;
    const ys = series.flatMap(
      (line) => [...(line.points ?? []).map((point) => point[1]), ...(line.steps ?? []).map((step) => step.y)]
    ).filter((y) => y !== null);
    this.svg.setAttribute("height", this.height);
    if (!width) return;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${this.height}`);
    if (!ys.length) {
      this.#draw = null;
      this.pad.hidden = true;
      replace(this.svg, s("text", { x: width / 2, y: this.height / 2, "text-anchor": "middle" }, this.#data.empty ?? "No records"));
      return;
    }
    this.pad.hidden = false;
    const { low, high, step, ticks } = vertical(ys, this.zero, this.height > 200 ? 5 : 3);
    const starts = series.flatMap((line) => (line.steps ?? []).map((one) => one.from));
    const [from, to] = this.#data.range ?? [Math.min(this.#stops[0], ...starts), this.#stops.at(-1)];
    const place = this.horizontal.place;
    const [left, right, bottom] = [LEFT, width - RIGHT, this.height - BOTTOM];
    const wide = place(to) - place(from) || 1;
    const x = (value) => left + ((place(value) - place(from)) / wide) * (right - left);
    const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - TOP);
    this.#draw = { x, y, left, right, bottom, from, to };
    const parts = [];
    for (const tick of ticks) {
      const at = Math.round(y(tick)) + 0.5;
      parts.push(s("line", { class: Math.abs(tick) < step / 1e6 ? "zero" : "gridline", x1: left, x2: right, y1: at, y2: at }));
      parts.push(s("text", { x: left - 8, y: at + 3.5, "text-anchor": "end" }, this.axis(tick, step)));
    }
    let free = -Infinity;
    for (const mark of this.horizontal.marks(from, to, Math.max(2, Math.floor(width / 80)))) {
      const at = x(mark.x);
      if (at < free || at > right - 8) continue;
      parts.push(s("text", { x: at, y: this.height - 6, "text-anchor": at < left + 20 ? "start" : "middle" }, mark.words));
      free = at + 58;
    }
    let told = -Infinity;
    let line = 0;
    for (const mark of marks.toSorted((a, b) => a.x - b.x)) {
      if (mark.x < from || mark.x > to) continue;
      const at = x(mark.x);
      line = at < told ? line + 1 : 0;
      told = at + 7 * mark.words.length + 12;
      parts.push(s("line", { class: "mark", x1: at, x2: at, y1: TOP, y2: bottom }));
      const near = at > right - 130;
      parts.push(s("text", { class: "note", x: near ? at - 6 : at + 6, y: TOP + 11 + 14 * line, "text-anchor": near ? "end" : "start" }, mark.words));
    }
    for (const line of series) parts.push(...this.#line(line, x, y, Math.max(low, Math.min(high, 0))));
    this.cross = s("line", { class: "cross", y1: TOP, y2: bottom });
    this.dots = series.map((line) => s("circle", { class: `at s${line.tone}`, r: 3.6 }));
    replace(this.svg, parts, this.cross, this.dots);
    if (this.#at !== null) this.#show(this.#at);
  }

  #line(line, x, y, floor) {
    const runs = line.steps ? stepRuns(line.steps) : pointRuns(line.points);
    const parts = [];
    for (const run of runs) {
      const path = run.map(([px, py], n) => `${n ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("");
      if (line.area) parts.push(
        s(
          "path",
          {
            class: `area s${line.tone}`,
            d: `${path}L${x(run.at(-1)[0]).toFixed(1)} ${y(floor).toFixed(1)}L${x(run[0][0]).toFixed(1)} ${y(floor).toFixed(1)}Z`,
          },
        )
      );
      parts.push(s("path", { class: `line s${line.tone}${line.dashed ? " dashed" : ""}`, d: path }));
    }
    return parts;
  }

  #point(event) {
    if (!this.#draw || !this.#stops.length) return;
    const box = this.box.getBoundingClientRect();
    const at = event.clientX - box.left;
    const far = this.#stops.map((stop) => Math.abs(this.#draw.x(stop) - at));
    const best = far.indexOf(Math.min(...far));
    this.#show(best);
  }

  #key(event) {
    const last = this.#stops.length - 1;
    if (last < 0) return;
    const now = this.#at ?? last;
    const page = Math.max(1, Math.round(last / 10));
    const to = {
      ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageDown: now - page, PageUp: now + page,
      Home: 0, End: last,
    }[event.key];
    if (event.key === "Escape") this.#show(null);
    if (to === undefined) return;
    event.preventDefault();
    this.#show(Math.max(0, Math.min(last, to)));
  }

  #show(at) {
    this.#at = at;
    this.box.classList.toggle("on", at !== null);
    if (!this.#draw || !this.#stops.length) return;
    const n = at ?? this.#stops.length - 1;
    const stop = this.#stops[n];
    const values = this.#data.series.map((line) => valueAt(line, stop));
    values.forEach((value, k) => text(this.values[k], value === null ? NONE : this.told(value)));
    const when = this.horizontal.words(stop);
    text(this.when, when);
    if (this.timed) this.when.title = utc(stop);
    this.readout?.(when, at === null ? null : values);
    this.pad.setAttribute("aria-valuenow", n);
    this.pad.setAttribute(
      "aria-valuetext",
      `${when}: ${this.#data.series.map((line, k) => `${line.name} ${values[k] === null ? "no record" : this.told(values[k])}`).join(", ")}`,
    );
    if (at === null) return;
    const px = this.#draw.x(stop);
    this.cross.setAttribute("x1", px);
    this.cross.setAttribute("x2", px);
    values.forEach((value, k) => {
      const dot = this.dots[k];
      dot.style.display = value === null ? "none" : "";
      if (value === null) return;
      dot.setAttribute("cx", px);
      dot.setAttribute("cy", this.#draw.y(value));
    });
  }
}

/** What the series says at x; null where it has no record. */
function valueAt(line, x) {
  if (line.steps) return line.steps.find((step) => step.from < x && x <= step.to)?.y ?? null;
  let found = null;
  for (const [px, y] of line.points) {
    if (px > x) break;
    found = px === x || line.holds ? y : null;
  }
  return found;
}

function pointRuns(points) {
  const runs = [[]];
  for (const point of points) {
    if (point[1] === null) runs.push([]);
    else runs.at(-1).push(point);
  }
  return runs.filter((run) => run.length);
}

function stepRuns(steps) {
  const runs = [];
  let end = null;
  for (const { from, to, y } of steps) {
    if (end === null || from - end > 90000) runs.push([]);
    runs.at(-1).push([from, y], [to, y]);
    end = to;
  }
  return runs;
}

/** A short line without axes; gaps stay gaps. */
export function spark(values, label, { width = 92, height = 20 } = {}) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return h("span", { class: "soft" }, NONE);
  const low = Math.min(0, ...known);
  const high = Math.max(0, ...known);
  const room = high - low || 1;
  const y = (value) => (height - 2 - ((value - low) / room) * (height - 4)).toFixed(1);
  const x = (n) => ((n / (values.length - 1)) * width).toFixed(1);
  const runs = pointRuns(values.map((value, n) => [n, value]));
  const lines = runs.map((run) => s("polyline", { points: run.map(([n, value]) => `${x(n)},${y(value)}`).join(" ") }));
  return s(
    "svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    s("line", { x1: 0, x2: width, y1: y(0), y2: y(0) }),
    lines,
  );
}

/** Figures on a percentage axis. */
export const percentAxis = (value, step) => `${fixed(value * 100, digitsOf(step * 100))} %`;
