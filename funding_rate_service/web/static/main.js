// The shell: which view is shown, how fresh its figures are, and the theme.

import { h, replace, text } from "./dom.js";
import { age, clock, utc } from "./format.js";
import { live } from "./live.js";
import { parse } from "./router.js";
import { now as elapsed, slept, store } from "./store.js";
import { create as rates } from "./views/rates.js";
import { create as opportunities } from "./views/opportunities.js";
import { create as past } from "./views/history.js";
import { create as pair } from "./views/pair.js";
import { create as positions } from "./views/positions.js";
import { create as health } from "./views/health.js";

const VIEWS = { rates, opportunities, history: past, pair, positions, health };
const QUIET_S = 15;

const main = document.getElementById("main");
const status = document.getElementById("status");
const banner = document.getElementById("banner");
const pill = document.getElementById("connection");

export function announce(words) {
  text(status, words);
}

let shown = null; // {name, leave}

function show({ first = false } = {}) {
  const where = parse();
  shown?.leave.abort();
  const leave = new AbortController();
  const known = Object.hasOwn(VIEWS, where.view);
  const made = known ? VIEWS[where.view]({ ...where, signal: leave.signal, retitle, announce }) : unknown(where.view);
  shown = { name: where.view, leave };
  replace(main, made.element);
  main.className = where.view;
  for (const anchor of document.querySelectorAll("#nav a")) {
    if (anchor.dataset.view.split(" ").includes(where.view)) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  retitle(made.title);
  if (first) return;
  scrollTo(0, 0);
  const heading = main.querySelector("h1");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus({ preventScroll: true });
}

function retitle(title) {
  document.title = `${title} · perpkit`;
}

function unknown(name) {
  const words = h("p", null, "There is no view called “", name, "”.");
  return {
    title: "Not found",
    element: h(
      "section", { class: "empty" },
      h("h1", null, "Nothing here"),
      words,
      h("a", { class: "button", href: "#/rates" }, "To the rates"),
    ),
  };
}

const WORDS = {
  live: "Live", connecting: "Connecting", reconnecting: "Reconnecting", polling: "Polling", offline: "Offline",
  quiet: "No new figures",
};
let told = "connecting";

/** What the reader is told about freshness; nothing here trusts that "connected" means "current". */
function freshness() {
  const { state, detail, retryAt } = store.connection;
  const newest = store.newestAge();
  const silence = store.silence();
  const stale = newest !== null && store.staleAfter !== null && newest > store.staleAfter;
  const seen = state === "live" && (stale || (silence ?? 0) > QUIET_S) ? "quiet" : state;
  return { seen, detail, newest, silence, wait: retryAt === null ? null : Math.max(0, (retryAt - elapsed()) / 1000) };
}

function tell() {
  const { seen, detail, newest, silence, wait } = freshness();
  const current = seen === "live" || seen === "polling";
  pill.dataset.state = seen;
  text(pill.querySelector("span"), WORDS[seen]);
  text(pill.querySelector("small"), newest === null ? "" : age(newest));
  pill.title = newest === null ? "No figures yet" : `The newest figure is ${age(newest)} old. Open the health view.`;
  document.body.dataset.fresh = current ? "yes" : "no";
  const since = (elapsed() - store.connection.since) / 1000;
  const bad = seen === "offline" || (seen === "reconnecting" && since > 3) || seen === "quiet";
  banner.hidden = !bad || (seen === "connecting" && since < 3);
  banner.dataset.kind = seen === "offline" ? "bad" : "warn";
  if (bad) {
    const of = newest === null ? "" : `, the newest is ${age(newest)} old`;
    const last = silence === null ? "Nothing was received yet." : `The figures below were received ${age(silence)} ago${of}.`;
    const next = wait === null || seen === "quiet" ? "" : wait < 1 ? " Trying again now." : ` Next try in ${Math.ceil(wait)} s.`;
    const why = seen === "quiet" ? "The service is connected but has no new figures." : detail || "Reconnecting to the service.";
    text(banner.querySelector("p"), `${why} ${last}${next}`);
    banner.querySelector("button").hidden = seen === "quiet";
  }
  if (seen !== told) {
    announce(seen === "live" ? "Live: figures are current again." : `${WORDS[seen]}. ${detail}`);
    told = seen;
  }
}

function tick() {
  if (slept()) live.renew();
  const now = Date.now();
  const face = document.getElementById("clock");
  text(face, clock(now));
  face.dateTime = new Date(now).toISOString();
  face.title = utc(now);
  tell();
  store.dispatchEvent(new CustomEvent("tick"));
}

const THEMES = ["system", "light", "dark"];

function theme() {
  const button = document.getElementById("theme");
  const now = () => document.documentElement.dataset.theme ?? "system";
  const label = () => {
    const words = now() === "system" ? "as the system" : now();
    button.setAttribute("aria-label", `Theme: ${words}`);
    button.title = `Theme: ${words}`;
    button.dataset.theme = now();
  };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(now()) + 1) % THEMES.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("theme", next);
    } catch {
      // storage is switched off: the choice lasts until the page is closed
    }
    label();
    announce(`Theme: ${next === "system" ? "as the system" : next}`);
  });
  label();
}

addEventListener("hashchange", () => show());
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
banner.querySelector("button").addEventListener("click", () => live.again());
store.on("connection", tell);
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input, select, textarea");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = main.querySelector('input[type="search"]');
  if (search) {
    event.preventDefault();
    search.focus();
    search.select();
  }
});
theme();
show({ first: true });
live.start();
tick();
setInterval(tick, 1000);
