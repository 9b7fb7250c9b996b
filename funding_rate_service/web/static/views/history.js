// Funding of one symbol over time, on one or more venues.

import { Latest, aborted } from "../api.js";
import { Chart, percentAxis } from "../chart.js";
import { field, h, notice, replace, segmented, text } from "../dom.js";
import { UNITS, hours, moment, number, percent, plural, rate as shownRate, utc } from "../format.js";
import { link, remember } from "../router.js";
import { store } from "../store.js";

const PERIODS = { "24h": "24 h", "3d": "3 d", "7d": "7 d", "30d": "30 d", "90d": "90 d" };
const HOUR = 3600000;
const SLACK = 120000;
const ROWS = 400;
const FIRST = 4;
const AGAIN_MS = 60000;

export function create(context) {
  const [symbol = ""] = context.parts;
  const asked = context.query;
  const state = {
    period: Object.hasOwn(PERIODS, asked.period) ? asked.period : "7d",
    unit: Object.hasOwn(UNITS, asked.unit) ? asked.unit : "hourly",
    venues: asked.dex ? asked.dex.split(",") : null, // null: not chosen yet
    predicted: asked.predicted !== "no",
  };
  const latest = new Map(); // instrument -> loaded history
  const request = new Latest();
  const title = h("h1", { id: "title" }, symbol ? `${symbol} funding history` : "Funding history");
  const lead = h("p");
  const names = h("datalist", { id: "symbols" });
  const pick = h(
    "input",
    { class: "input", type: "search", list: "symbols", value: symbol, autocomplete: "off", placeholder: "BTC", "aria-label": "Symbol" },
  );
  const side = h("tbody");
  const when = h("p", { class: "when" });
  const atHead = h("th", { scope: "col" }, h("span"));
  const chart = new Chart(
    {
      label: `Funding of ${symbol || "a symbol"}`,
      told: (value) => `${told(value)} %`,
      axis: percentAxis,
      height: innerWidth < 760 ? 320 : Math.max(300, Math.min(620, innerHeight - 290)),
      readout,
    }
  );
  const table = h("tbody");
  const caption = h("caption", { class: "sr" });
  const unitHead = h("th", { scope: "col" }, h("span"));
  const tools = h(
    "div",
    { class: "toolbar" },
    pick, names,
    segmented("Period", "period", Object.entries(PERIODS), state.period, (period) => set({ period })),
    segmented("Unit of the rates", "unit", Object.values(UNITS).map((unit) => [unit.key, unit.short]), state.unit, (unit) => set({ unit })),
    h(
      "label", { class: "check" },
      h("input", { type: "checkbox", checked: state.predicted, onchange: (event) => set({ predicted: event.target.checked }) }),
      "Predicted (dashed)",
    ),
  );
  const details = h(
    "details",
    { "aria-label": "The chart as a table" },
    h("summary", null, "The same as a table"),
    h(
      "div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Settlements and predictions" },
      h(
        "table", { class: "data" }, caption,
        h(
          "thead", null,
          h(
            "tr", null,
            ...["Time", "Venue"].map((name) => h("th", { scope: "col", class: "l" }, h("span", null, name))),
            ...["Kind", "Interval", "Rate per interval, %"].map((name) => h("th", { scope: "col" }, h("span", null, name))),
            unitHead,
          ),
        ),
        table,
      ),
    ),
  );
  const panel = h(
    "section",
    { class: "card side", "aria-label": "Venues in the chart" },
    when,
    h(
      "div", { class: "scroll" },
      h(
        "table", { class: "data", "aria-label": "Rates by venue" },
        h(
          "thead", null,
          h(
            "tr", null,
            h("th", { scope: "col", class: "l" }, h("span", null, "Venue")),
            atHead,
            ...["Mean", "Every"].map((name) => h("th", { scope: "col" }, h("span", null, name)))
          ),
        ),
        side,
      ),
    ),
  );
  const stage = h("div", { class: "past fades" }, h("div", { class: "card" }, chart.element), panel);
  const message = h("div");
  const element = h("section", { "aria-labelledby": "title" }, h("div", { class: "head" }, title, lead), tools, message, stage, details);
  details.addEventListener("toggle", () => details.open && fillTable());

  function told(value) {
    return shownRate(value, state.unit);
  }

  function set(change) {
    Object.assign(state, change);
    saved();
    if (change.unit || change.predicted !== undefined || change.venues) draw();
    if (change.period || change.venues || change.predicted) load();
  }

  function saved() {
    remember("history", symbol ? [symbol] : [], {
      dex: state.venues?.length ? state.venues.join(",") : null,
      period: state.period === "7d" ? null : state.period,
      unit: state.unit === "hourly" ? null : state.unit,
      predicted: state.predicted ? null : "no",
    });
  }

  pick.addEventListener("change", () => go());
  pick.addEventListener("keydown", (event) => event.key === "Enter" && go());
  function go() {
    const wanted = pick.value.trim();
    const known = store.symbols().find((name) => name.toUpperCase() === wanted.toUpperCase()) ?? wanted;
    if (known && known !== symbol) location.hash = link(
      "history", [known],
      { period: state.period === "7d" ? null : state.period, unit: state.unit === "hourly" ? null : state.unit },
    );
  }

  const markets = () => [...store.rates.values()].filter((rate) => rate.symbol === symbol).sort(
    (a, b) => (a.dex === b.dex ? (a.instrument < b.instrument ? -1 : 1) : a.dex < b.dex ? -1 : 1)
  );
  const drawn = () => markets().filter((rate) => chosen().includes(rate.dex));

  /** The venues in the chart: those asked for, else the few with the most open interest. */
  function chosen() {
    if (state.venues) return state.venues;
    const largest = markets().toSorted((a, b) => (number(b.open_interest_usd) ?? -1) - (number(a.open_interest_usd) ?? -1));
    return (state.venues = [...new Set(largest.map((rate) => rate.dex))].slice(0, FIRST));
  }
  const tone = (instrument) => markets().findIndex((rate) => rate.instrument === instrument) % 11;

  function nameOf(rate) {
    const same = markets().filter((other) => other.dex === rate.dex);
    return same.length > 1 ? `${rate.dex} ${rate.instrument.replace(/\.[^.]*$/, "")}` : rate.dex;
  }

  const drawnRows = new Map(); // instrument -> {row, at, mean}

  function drawSide() {
    drawnRows.clear();
    replace(
      side,
      markets().map((rate) => {
        const on = chosen().includes(rate.dex);
        const box = h("input", { type: "checkbox", checked: on, dataset: { dex: rate.dex }, onchange: () => toggle(rate.dex) });
        const [at, mean] = [h("td"), h("td")];
        const row = h(
          "tr", { class: on ? null : "off" },
          h("th", { scope: "row" }, h("label", { class: "check" }, box, h("i", { class: `key s${tone(rate.instrument)}` }), nameOf(rate))),
          at, mean,
          h("td", { class: "sub" }, hours(rate.interval_hours)),
        );
        drawnRows.set(rate.instrument, { row, at, mean });
        return row;
      }),
    );
    panel.hidden = drawnRows.size === 0;
  }

  function toggle(dex) {
    const now = new Set(chosen());
    if (now.has(dex)) now.delete(dex);
    else now.add(dex);
    set({ venues: markets().map((rate) => rate.dex).filter((name, n, all) => now.has(name) && all.indexOf(name) === n) });
    drawSide();
    tellFacts();
    side.querySelector(`[data-dex="${CSS.escape(dex)}"]`)?.focus();
  }

  /** Beside the chart: the values where somebody points, else the rates of now. */
  let pointed = null;
  function readout(words, values) {
    pointed = values && { words, values };
    tellFacts();
  }

  async function load() {
    const wanted = drawn();
    if (!wanted.length) return draw();
    if (!latest.size) replace(message, h("p", { class: "sub" }, "Loading records…"));
    try {
      const period = state.period;
      const resolution = period === "24h" ? "raw" : "hourly";
      const loaded = [];
      for (const rate of wanted) {
        const path = `/history/funding-rates/${encodeURIComponent(rate.dex)}/${encodeURIComponent(rate.instrument)}`;
        const settled = await request.get(path, { period, resolution: "settled", limit: 5000 });
        const predicted = state.predicted ? await request.get(path, { period, resolution, limit: 5000 }) : null;
        loaded.push([rate.instrument, { settled, predicted, period }]);
      }
      for (const [instrument, found] of loaded) latest.set(instrument, found);
      replace(message);
    } catch (error) {
      if (aborted(error)) return;
      replace(
        message,
        notice(
          "bad", "The history could not be loaded", error.message,
          h("button", { class: "button", type: "button", onclick: load }, "Try again"),
        ),
      );
    }
    draw();
  }

  /** A settled rate holds for the interval before its settlement; a prediction until the next one was taken. */
  function steps(history) {
    return history.points.filter((point) => point.kind === "settled").map((point) => {
      const to = Date.parse(point.time);
      return { from: to - number(point.interval_hours) * HOUR, to, y: number(point.hourly) * UNITS[state.unit].hours };
    });
  }

  function predictions(history) {
    const points = history.points.filter((point) => point.kind === "predicted");
    const holds = history.resolution === "hourly" ? HOUR : SLACK;
    return points.map((point, n) => {
      const from = Date.parse(point.time);
      const next = n + 1 < points.length ? Date.parse(points[n + 1].time) : from + holds;
      return { from, to: Math.min(next, from + holds), y: number(point.hourly) * UNITS[state.unit].hours };
    });
  }

  let current = [];

  function draw() {
    const series = [];
    let records = 0;
    let cut = false;
    let range = null;
    for (const rate of drawn()) {
      const found = latest.get(rate.instrument);
      if (!found || found.period !== state.period) continue;
      const settled = steps(found.settled);
      records += settled.length;
      cut ||= found.settled.truncated || Boolean(found.predicted?.truncated);
      range = [Date.parse(found.settled.start), Date.parse(found.settled.end)];
      if (settled.length) series.push({ name: nameOf(rate), instrument: rate.instrument, tone: tone(rate.instrument), steps: settled });
      const predicted = state.predicted && found.predicted ? predictions(found.predicted) : [];
      if (predicted.length) series.push(
        { name: `${nameOf(rate)} predicted`, instrument: rate.instrument, tone: tone(rate.instrument), steps: predicted, dashed: true }
      );
    }
    if (range) for (const line of series) for (const step of line.steps) step.from = Math.max(step.from, range[0]);
    current = series;
    chart.set({ series, range, empty: latest.size ? "No records in this period" : "" });
    stage.hidden = !symbol;
    const parts = range ? [UNITS[state.unit].long, plural(records, "settlement")] : [];
    if (cut) parts.push("older records than the limit allows are left out");
    text(lead, parts.join(" · "));
    tellFacts();
    if (details.open) fillTable();
  }

  function tellFacts() {
    const scale = UNITS[state.unit].hours;
    replace(
      when,
      h("span", null, pointed ? "At the pointer" : "Now, and mean of the settled rates"),
      h("b", null, pointed ? pointed.words : ""),
    );
    text(atHead.firstChild, pointed ? "Then" : "Now");
    for (const rate of markets()) {
      const row = drawnRows.get(rate.instrument);
      if (!row) continue;
      const found = latest.get(rate.instrument);
      const shown = chosen().includes(rate.dex) && found?.period === state.period;
      const values = shown ? found.settled.points.map((point) => [number(point.hourly), number(point.interval_hours)]) : [];
      const covered = values.reduce((sum, [, length]) => sum + length, 0);
      const mean = covered ? values.reduce((sum, [hourly, length]) => sum + hourly * length, 0) / covered : null;
      text(row.mean, mean === null ? "\u2013" : told(mean * scale));
      if (pointed) {
        const lines = current.map((line, n) => [line, pointed.values[n]]).filter(([line]) => line.instrument === rate.instrument);
        const value = lines.find(([line, y]) => !line.dashed && y !== null) ?? lines.find(([, y]) => y !== null);
        text(row.at, value ? `${told(value[1])}${value[0].dashed ? " pred." : ""}` : "\u2013");
      } else text(row.at, `${told(number(rate[state.unit]))}${store.stale(rate) ? " stale" : ""}`);
    }
  }

  function fillTable() {
    text(unitHead.firstChild, UNITS[state.unit].long.replace("% ", "Rate ").concat(", %"));
    const all = [];
    for (const rate of drawn()) {
      const found = latest.get(rate.instrument);
      if (!found || found.period !== state.period) continue;
      const points = [...found.settled.points, ...(state.predicted ? (found.predicted?.points ?? []) : [])];
      for (const point of points) all.push({ at: Date.parse(point.time), name: nameOf(rate), point });
    }
    all.sort((a, b) => b.at - a.at || (a.name < b.name ? -1 : 1));
    text(caption, `Funding of ${symbol}, newest first, ${Math.min(ROWS, all.length)} of ${all.length} records`);
    replace(
      table,
      all.slice(0, ROWS).map(({ at, name, point }) =>
        h(
          "tr",
          null,
          h("th", { scope: "row" }, h("time", { datetime: point.time, title: utc(at) }, moment(at))),
          h("td", { class: "l" }, name), h("td", null, point.kind), h("td", null, hours(point.interval_hours)),
          h("td", null, percent(point.rate, 4)), h("td", null, told(number(point.hourly) * UNITS[state.unit].hours)),
        ),
      ),
    );
  }

  let listed = "";
  function arrive() {
    const all = store.symbols();
    if (names.childElementCount !== all.length) replace(names, all.map((name) => h("option", { value: name })));
    const now = markets().map((rate) => rate.instrument).join();
    if (now !== listed) {
      listed = now;
      drawSide();
      load();
    }
    if (!symbol) replace(message, notice("", "Choose a symbol", "Type one above, or follow a cell of the rates."));
    else if (!now && store.lastData !== null) replace(
      message,
      notice("", `No market called “${symbol}”`, "None of the venues lists it at the moment."),
    );
    tellFacts();
  }

  const timer = setInterval(load, AGAIN_MS);
  context.signal.addEventListener("abort", () => {
    clearInterval(timer);
    request.stop();
    chart.watch.disconnect();
  });
  store.on("rates", arrive, context.signal);
  drawSide();
  stage.hidden = !symbol;
  queueMicrotask(arrive);
  return { title: symbol ? `${symbol} history` : "Funding history", element };
}
