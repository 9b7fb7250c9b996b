// Round marks for axes.

import { day, minute, moment, number, usd } from "./format.js";

const MINUTE = 60000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS = [
  5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 5 * DAY, 7 * DAY, 14 * DAY,
  30 * DAY, 60 * DAY,
];
const SPANS = [1, 2, 4, 6, 12, 24, 48, 72, 168];

/** {low, high, ticks, digits} around the values, on round numbers. */
export function vertical(values, zero, wanted = 4) {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (zero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  if (high - low < 1e-15) {
    const room = Math.abs(high) * 0.5 || 1e-6;
    [low, high] = [low - room, high + room];
  }
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return { low: first * step, high: last * step, step, ticks: Array.from({ length: last - first + 1 }, (_, n) => (first + n) * step) };
}

export const digitsOf = (step) => Math.max(
  0,
  Math.min(8, Math.ceil(-Math.log10(step) + (String(step / 10 ** Math.floor(Math.log10(step))).startsWith("2.5") ? 1 : 0) - 1e-9)),
);

/** Marks at round local times. */
function times(from, to, most) {
  const step = STEPS.find((s) => (to - from) / s <= most) ?? 90 * DAY;
  const shift = new Date(from).getTimezoneOffset() * MINUTE;
  const marks = [];
  for (let at = Math.ceil((from - shift) / step) * step + shift; at <= to; at += step) {
    const midnight = (at - shift) % DAY === 0;
    marks.push({ x: at, words: step >= DAY || midnight ? day(at) : minute(at) });
  }
  return marks;
}

function spans(from, to, most) {
  const step = SPANS.find((s) => (to - from) / s <= most) ?? 168;
  const marks = [];
  for (let at = 0; at <= to; at += step) if (at >= from) marks.push({ x: at, words: `${at} h` });
  return marks;
}

function decades(from, to) {
  const marks = [];
  for (let power = Math.ceil(Math.log10(from) - 1e-9); 10 ** power <= to * 1.001; power += 1) marks.push(
    { x: 10 ** power, words: usd(10 ** power).replace(/\.0+(?=\D|$)/, "") }
  );
  return marks;
}

/** How x is placed, marked and told. */
export const HORIZONTAL = {
  time: { marks: times, place: (x) => x, words: (x) => moment(x) },
  hours: { marks: spans, place: (x) => x, words: (x) => `after ${number(x)} h` },
  usd: { marks: decades, place: (x) => Math.log10(x), words: (x) => usd(x) },
};
