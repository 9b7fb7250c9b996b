// The newest figures, with the moment each arrived: ages go on growing here when nothing comes any more.

import { number } from "./format.js";

const JUMP_MS = 2000;
let asleep = 0;
let apart = Date.now() - performance.now();

/** Milliseconds since the page began, those in which the machine slept included: `performance.now()` stands still then. */
export const now = () => performance.now() + asleep;

/** To be asked every second: whether the machine has slept since. The time of day went on meanwhile. */
export function slept() {
  const before = apart;
  apart = Date.now() - performance.now();
  if (apart - before < JUMP_MS) return false;
  asleep += apart - before;
  return true;
}

class Store extends EventTarget {
  rates = new Map(); // instrument -> {…rate object, receivedAt}
  health = null;
  healthAt = null;
  staleAfter = null; // seconds, told by the service
  connection = { state: "connecting", since: now(), detail: "" };
  lastData = null;
  changed = new Set(); // instruments since views last looked
  opportunities = 0; // grows with each change told by the service
  #offset = null; // the service's clock minus now(), in ms
  #scheduled = false;
  #venues = new Map();
  #pending = new Set();

  /** The service's time in ms since the epoch: a wrong clock on this machine moves no countdown. */
  serverNow() {
    return this.#offset === null ? Date.now() : now() + this.#offset;
  }

  heard(generatedAt) {
    this.lastData = now();
    const told = generatedAt ? Date.parse(generatedAt) : NaN;
    if (!Number.isNaN(told)) this.#offset = told - now();
  }

  putRates(rates, { whole = false, staleAfter = null } = {}) {
    if (staleAfter !== null) this.staleAfter = Number(staleAfter);
    const at = now();
    const kept = whole ? new Set(rates.map((rate) => rate.instrument)) : null;
    if (kept) for (const known of this.rates.keys()) if (!kept.has(known)) this.rates.delete(known), this.changed.add(known);
    for (const rate of rates) {
      this.rates.set(rate.instrument, { ...rate, receivedAt: at });
      this.changed.add(rate.instrument);
    }
    this.#tell("rates");
  }

  putHealth(health) {
    this.health = health;
    this.#venues = new Map((health.dexes ?? []).map((venue) => [venue.dex, venue]));
    this.healthAt = now();
    this.#tell("health");
  }

  putOpportunities() {
    this.opportunities += 1;
    this.#tell("opportunities");
  }

  setConnection(state, detail = "", retryAt = null) {
    const before = this.connection;
    this.connection = { state, detail, retryAt, since: before.state === state ? before.since : now() };
    if (before.state !== state || before.detail !== detail || before.retryAt !== retryAt) this.#tell("connection");
  }

  /** Seconds since the rate was observed at the venue; null when the service did not say. */
  age(rate) {
    const told = number(rate.age_s);
    return told === null ? null : told + (now() - rate.receivedAt) / 1000;
  }

  stale(rate) {
    if (rate.stale) return true;
    const age = this.age(rate);
    const limit = this.venueHealth(rate.dex)?.stale_after_s ?? this.staleAfter;
    return age === null || (limit !== null && age > limit);
  }

  /** Age of the newest figure of all, in seconds. */
  newestAge() {
    let newest = null;
    for (const rate of this.rates.values()) {
      const age = this.age(rate);
      if (age !== null && (newest === null || age < newest)) newest = age;
    }
    return newest;
  }

  /** Seconds since anything was heard from the service. */
  silence() {
    return this.lastData === null ? null : (now() - this.lastData) / 1000;
  }

  venueHealth(dex) {
    return this.#venues.get(dex) ?? null;
  }

  /** As the service said, unless what it said is too old by now. */
  venueState(venue) {
    const passed = this.healthAt === null ? 0 : (now() - this.healthAt) / 1000;
    return venue.state === "ok" && venue.age_s !== null && venue.age_s + passed > venue.stale_after_s ? "stale" : venue.state;
  }

  venues() {
    const found = new Set((this.health?.dexes ?? []).map((venue) => venue.dex));
    for (const rate of this.rates.values()) found.add(rate.dex);
    return [...found].sort();
  }

  symbols() {
    return [...new Set([...this.rates.values()].map((rate) => rate.symbol))].sort();
  }

  /** Many messages in one frame become one notice. */
  #tell(what) {
    this.#pending.add(what);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setTimeout(() => {
      this.#scheduled = false;
      const told = [...this.#pending];
      this.#pending.clear();
      const changed = this.changed;
      this.changed = new Set();
      for (const name of told) this.dispatchEvent(new CustomEvent(name, { detail: changed }));
    }, 50);
  }

  on(name, listener, signal) {
    this.addEventListener(name, listener, { signal });
  }
}

export const store = new Store();
