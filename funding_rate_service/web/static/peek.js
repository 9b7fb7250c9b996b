// The card beside a cell: what a rate alone does not say.

import { h, replace } from "./dom.js";
import { UNITS, age, countdown, hours, minute, percent, price, rate as shownRate, usd, utc } from "./format.js";
import { store } from "./store.js";

const GAP = 8;

export class Peek {
  #cell = null;
  #markets = null;

  constructor(parent, signal) {
    this.card = h("div", { class: "peek", role: "tooltip", id: "peek", hidden: true });
    parent.append(this.card);
    store.on("tick", () => this.#cell && this.#draw(), signal);
    addEventListener("scroll", () => this.#cell && this.#draw(), { signal, capture: true, passive: true });
  }

  show(cell, markets) {
    if (this.#cell !== cell) this.#cell?.removeAttribute("aria-describedby");
    this.#cell = cell;
    this.#markets = markets;
    this.#draw();
    cell.setAttribute("aria-describedby", "peek");
  }

  hide() {
    this.#cell?.removeAttribute("aria-describedby");
    this.#cell = null;
    this.card.hidden = true;
  }

  #draw() {
    if (!this.#cell.isConnected) return this.hide();
    replace(this.card, content(this.#markets()));
    this.card.hidden = false;
    const box = this.#cell.getBoundingClientRect();
    const { offsetWidth: wide, offsetHeight: tall } = this.card;
    const right = box.right + GAP + wide <= innerWidth;
    const x = right ? box.right + GAP : Math.max(GAP, box.left - GAP - wide);
    const y = Math.max(GAP, Math.min(box.top - 12, innerHeight - tall - GAP));
    this.card.style.left = `${x}px`;
    this.card.style.top = `${y}px`;
  }
}

function content([rate, ...others]) {
  const at = rate.next_funding_at ? Date.parse(rate.next_funding_at) : null;
  const next = at === null ? "unknown" : `${countdown((at - store.serverNow()) / 1000)} (${minute(at)})`;
  const stale = store.stale(rate);
  const row = (name, value, title) => [h("dt", null, name), h("dd", { title: title ?? null }, value)];
  return [
    h("h3", null, rate.symbol, h("span", null, rate.dex)),
    h(
      "div", { class: "rates" },
      Object.values(UNITS).map(
        (unit) => h("p", null, h("b", null, `${shownRate(rate[unit.key], unit.key)} %`), h("span", null, unit.long.replace("% ", "")))
      ),
    ),
    h(
      "dl",
      null,
      row("Age", stale ? `${age(store.age(rate))}, stale` : age(store.age(rate)), utc(Date.parse(rate.observed_at))),
      row("Kind", rate.kind),
      row("Interval", hours(rate.interval_hours)),
      row("Next funding", next, at === null ? null : utc(at)),
      row("Open interest", usd(rate.open_interest_usd)),
      row("Volume 24 h", usd(rate.volume_24h_usd)),
      row("Mark", price(rate.mark)),
      row("Bid/ask spread", rate.spread === null ? "unknown" : `${percent(rate.spread, 3).replace("+", "")} %`),
      row("Instrument", rate.instrument),
    ),
    others.length ? h(
      "p", { class: "more" },
      `Also: ${others.map((other) => `${other.instrument} ${shownRate(other.hourly, "hourly")} %/h`).join(", ")}`,
    ) : null,
  ];
}
