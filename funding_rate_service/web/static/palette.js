// How strong a rate is, on one fixed scale: a shade means the same all day, on every venue and in every unit.

import { UNITS, fixed } from "./format.js";

/** Where each shade begins, as a fraction per year. */
export const STEPS = [0.01, 0.05, 0.12, 0.25, 0.5, 1];

export function level(annual) {
  const size = Math.abs(annual);
  const n = STEPS.findLastIndex((step) => size >= step) + 1;
  return n === 0 ? "z" : `${annual > 0 ? "p" : "n"}${n}`;
}

/** The shades with what they mean, strongest negative first. */
export function scale(unit) {
  const shown = (n) => {
    const value = (STEPS[n - 1] * 100 * UNITS[unit].hours) / UNITS.annual.hours;
    return fixed(value, value >= 1 ? 0 : value >= 0.1 ? 2 : 4);
  };
  const steps = STEPS.map((_, n) => n + 1);
  return [
    ...steps.toReversed().map((n) => ({ level: `n${n}`, words: `\u2212${shown(n)} ${UNITS[unit].long} or lower: shorts pay longs` })),
    { level: "z", words: `less than ${shown(1)} ${UNITS[unit].long} either way` },
    ...steps.map((n) => ({ level: `p${n}`, words: `+${shown(n)} ${UNITS[unit].long} or higher: longs pay shorts` })),
  ];
}
