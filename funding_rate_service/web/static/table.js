// What tables share: headings that sort, and an order that holds still while somebody points at a row.

import { h } from "./dom.js";

const SETTLE_MS = 4000;
const REST_MS = 60000;

/** A heading with a sort button; `state` is {by, desc}. */
export function heading(key, label, state, chosen, { left = false, hint = "", scope = "col" } = {}) {
  const order = state.by === key ? (state.desc ? "descending" : "ascending") : null;
  return h(
    "th",
    { scope, class: left ? "l" : null, "aria-sort": order },
    h("button", { type: "button", class: "sort", title: hint || null, dataset: { sort: key }, onclick: () => chosen(key) }, label),
  );
}

export function plain(label, { left = false, hint = "" } = {}) {
  return h("th", { scope: "col", class: left ? "l" : null, title: hint || null }, h("span", null, label));
}

/** Unknown values last whichever way round, ties by name. */
export function compare(a, b, desc, nameA, nameB) {
  if (a === null || b === null) {
    if (a !== b) return a === null ? 1 : -1;
  } else if (a !== b) {
    const order = a < b ? -1 : 1;
    return desc ? -order : order;
  }
  return nameA < nameB ? -1 : nameA > nameB ? 1 : 0;
}

/** Holds the order of rows while the pointer or the keyboard is busy among them, and for a moment after the last change. */
export class Hold {
  #inside = false;
  #stirred = 0; // a pointer left lying holds nothing
  #last = 0;

  constructor(element, released) {
    this.element = element;
    const stir = () => (this.#stirred = performance.now());
    for (const name of ["pointermove", "pointerdown", "keydown", "focusin", "wheel"]) element.addEventListener(name, stir, { passive: true });
    element.addEventListener("pointerenter", (event) => {
      this.#inside = event.pointerType !== "touch";
      stir();
    });
    element.addEventListener("pointerleave", () => {
      this.#inside = false;
      released();
    });
    element.addEventListener("focusout", () => setTimeout(released));
  }

  get held() {
    if (performance.now() - this.#stirred > REST_MS) return false;
    return this.#inside || this.element.querySelector(":focus-visible") !== null;
  }

  /** Whether rows may move now; once they may, not again for a while. */
  mayMove() {
    const now = performance.now();
    if (this.held || now - this.#last < SETTLE_MS) return false;
    this.#last = now;
    return true;
  }

  moved() {
    this.#last = performance.now();
  }
}

/** Sorts `keys` into the order they had before, new ones last, gone ones dropped. */
export function keepOrder(before, keys) {
  const present = new Set(keys);
  const kept = before.filter((key) => present.has(key));
  const known = new Set(kept);
  return [...kept, ...keys.filter((key) => !known.has(key))];
}
