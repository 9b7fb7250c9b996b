// The heat map: symbols by venues. Only the rows in sight exist; the table tells its true size to those who hear it.

import { flash, h, replace, segmented, text } from "../dom.js";
import { MINUS, UNITS, age, clip, number, plural, rate as shownRate, shortAge, usd } from "../format.js";
import { scale, level } from "../palette.js";
import { Peek } from "../peek.js";
import { link, remember } from "../router.js";
import { now as elapsed, store } from "../store.js";
import { Hold, compare, heading, keepOrder } from "../table.js";

const SPARE = 6;
const WIDTHS = { wide: { name: 104, gap: 92, venue: 97, oi: 78 }, narrow: { name: 84, gap: 90, venue: 88, oi: 80 } };
const PAINT_MS = 200;

export function create(context) {
  const asked = context.query;
  const state = {
    unit: Object.hasOwn(UNITS, asked.unit) ? asked.unit : "hourly",
    by: asked.sort ?? "gap",
    desc: asked.dir !== "up",
    search: asked.q ?? "",
  };
  let venues = [];
  let order = []; // symbols
  let rows = new Map(); // symbol -> row
  let shown = new Map(); // symbol -> drawn row
  let active = { row: 0, column: 0 };
  let painted = 0;

  const search = h(
    "input",
    {
      type: "search", class: "input", placeholder: "Find a symbol", title: "Press / to come here", "aria-label": "Find a symbol",
      value: state.search,
    },
  );
  const lead = h("p", { id: "lead" }, "");
  const held = h("p", { class: "held" });
  const legend = h("div", { class: "scale push" });
  const table = h("table", { role: "grid", "aria-label": "Funding rates by symbol and venue" });
  const columns = h("colgroup");
  const head = h("thead");
  const body = h("tbody", { class: "fades" });
  const scroller = h("div", { class: "scroll", tabindex: "-1" }, table);
  const blank = h("div", { class: "empty" });
  table.append(columns, head, body);
  const element = h(
    "section",
    { class: "heat", "aria-labelledby": "title" },
    h("div", { class: "head" }, h("h1", { id: "title" }, "Funding rates"), lead),
    h(
      "div", { class: "toolbar" },
      segmented("Unit of the rates", "unit", Object.values(UNITS).map((unit) => [unit.key, unit.short]), state.unit, setUnit),
      search, held, legend,
    ),
    scroller,
    blank,
  );
  const peek = new Peek(element, context.signal);
  const hold = new Hold(body, () => schedule());
  const rowHeight = () => Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || 30;

  search.addEventListener("input", () => {
    state.search = search.value.trim();
    scroller.scrollTop = 0;
    saved();
    refresh(true);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" && order.length) {
      event.preventDefault();
      move(0, 0);
    }
  });

  function saved() {
    remember(
      "rates", [],
      {
        unit: state.unit === "hourly" ? null : state.unit, sort: state.by === "gap" ? null : state.by,
        dir: state.desc ? null : "up", q: state.search,
      },
    );
  }

  function setUnit(unit) {
    state.unit = unit;
    saved();
    drawLegend();
    shown.clear();
    body.replaceChildren();
    drawHead();
    refresh(false);
  }

  function sort(by) {
    state.desc = state.by === by ? !state.desc : by !== "symbol";
    state.by = by;
    saved();
    drawHead();
    refresh(true);
    head.querySelector(`[data-sort="${CSS.escape(by)}"]`)?.focus();
  }

  function drawLegend() {
    const boxes = scale(state.unit).map(
      (step) => h("li", { dataset: { level: step.level }, title: step.words }, h("span", { class: "sr" }, step.words))
    );
    replace(
      legend,
      h("span", { class: "end" }, `${MINUS} shorts pay`),
      h("ol", { "aria-label": "Shades of the rates" }, boxes),
      h("span", { class: "end" }, "longs pay +"),
    );
  }

  function drawHead() {
    const unit = UNITS[state.unit];
    const name = heading("symbol", "Symbol", state, sort, { left: true });
    name.classList.add("name");
    const gap = heading("gap", "Gap", state, sort, { hint: `Highest minus lowest current rate, ${unit.long}` });
    const oi = heading("oi", "Open int.", state, sort, { hint: "Open interest of all venues, one-sided, USD" });
    const widths = WIDTHS[innerWidth > 760 ? "wide" : "narrow"];
    const kinds = ["name", "gap", ...venues.map(() => "venue"), "oi"];
    replace(columns, kinds.map((kind) => sized(h("col"), widths[kind])));
    sized(table, kinds.reduce((sum, kind) => sum + widths[kind], 0));
    const heads = venues.map((dex) => {
      const cell = heading(`dex:${dex}`, dex, state, sort, { hint: `${dex}, ${unit.long}` });
      cell.dataset.dex = dex;
      cell.firstChild.append(h("span", { class: "venue-state" }));
      return cell;
    });
    const all = [name, gap, ...heads, oi];
    all.forEach((cell, n) => cell.setAttribute("aria-colindex", n + 1));
    replace(head, h("tr", { "aria-rowindex": 1 }, all));
    table.setAttribute("aria-colcount", all.length);
    venueStates();
  }

  function venueStates() {
    for (const cell of head.querySelectorAll("[data-dex]")) {
      const health = store.venueHealth(cell.dataset.dex);
      const state = health ? store.venueState(health) : "ok";
      const old = state !== "ok" && health.age_s !== null ? ` ${age(health.age_s + (elapsed() - store.healthAt) / 1000)}` : "";
      text(cell.querySelector(".venue-state"), state === "ok" ? "" : state + old);
    }
  }

  function collect() {
    const found = new Map();
    for (const rate of store.rates.values()) {
      let row = found.get(rate.symbol);
      if (!row) found.set(rate.symbol, (row = { symbol: rate.symbol, cells: new Map(), gap: null, low: null, high: null, oi: null }));
      const cell = row.cells.get(rate.dex);
      if (cell) cell.push(rate);
      else row.cells.set(rate.dex, [rate]);
    }
    for (const row of found.values()) finish(row);
    return found;
  }

  /** Of several markets of one symbol on a venue the most traded one that can be a leg is shown; its card names the others. */
  function finish(row) {
    for (const markets of row.cells.values()) {
      if (markets.length > 1) markets.sort(
        (a, b) => inverse(a) - inverse(b) || traded(b) - traded(a) || (a.instrument < b.instrument ? -1 : 1)
      );
      const [main] = markets;
      const oi = number(main.open_interest_usd);
      if (oi !== null) row.oi = (row.oi ?? 0) + oi;
      const hourly = number(main.hourly);
      if (hourly === null || inverse(main) || store.stale(main)) continue;
      if (!row.low || hourly < number(row.low.hourly)) row.low = main;
      if (!row.high || hourly > number(row.high.hourly)) row.high = main;
    }
    if (row.low && row.low.dex !== row.high.dex) row.gap = number(row.high.hourly) - number(row.low.hourly);
    else row.low = row.high = null;
  }

  function sortKey(row) {
    if (state.by === "symbol") return row.symbol;
    if (state.by === "gap" || state.by === "oi") return row[state.by];
    return number(row.cells.get(state.by.slice(4))?.[0].hourly);
  }

  function refresh(mayMove) {
    rows = collect();
    const now = store.venues();
    if (now.join() !== venues.join()) {
      venues = now;
      shown.clear();
      body.replaceChildren();
      drawHead();
    } else venueStates();
    const wanted = state.search.toUpperCase();
    const matching = [...rows.values()].filter((row) => !wanted || row.symbol.toUpperCase().includes(wanted));
    matching.sort((a, b) => compare(sortKey(a), sortKey(b), state.desc, a.symbol, b.symbol));
    const sorted = matching.map((row) => row.symbol);
    if (mayMove || hold.mayMove() || order.length === 0) {
      order = sorted;
      hold.moved();
    } else order = keepOrder(order, sorted);
    text(held, hold.held && order.join() !== sorted.join() ? "Order held while you point at the table" : "");
    table.setAttribute("aria-rowcount", order.length + 1);
    tellLead();
    const empty = order.length === 0;
    scroller.hidden = empty;
    blank.hidden = !empty;
    if (empty) tellEmpty();
    else paint();
  }

  function tellLead() {
    const markets = store.rates.size;
    const health = store.health?.dexes ?? [];
    const well = health.filter((venue) => store.venueState(venue) === "ok").length;
    const parts = [plural(rows.size, "symbol"), plural(markets, "market")];
    if (health.length) parts.push(`${well} of ${plural(health.length, "venue")} current`);
    const best = [...rows.values()].reduce((top, row) => (row.gap !== null && (top === null || row.gap > top.gap) ? row : top), null);
    if (best) parts.push(
      `widest gap ${clip(best.symbol)} ${inUnit(best.gap).replace("+", "")} ${UNITS[state.unit].long}, long ${best.low.dex}, short ${best.high.dex}`
    );
    text(lead, markets ? parts.join(" · ") : "");
  }

  function tellEmpty() {
    const down = (store.health?.dexes ?? []).filter((venue) => venue.last_error);
    if (state.search && rows.size) replace(
      blank,
      h("p", { class: "big" }, "No symbol matches"),
      h("p", null, "Nothing listed contains “", state.search, "”."),
    );
    else if (store.lastData === null) replace(blank, h("p", { class: "big loading" }, "Waiting for the first figures"));
    else if (down.length) {
      const list = down.map((venue) => h("p", null, h("b", null, venue.dex), ": ", venue.last_error));
      replace(
        blank,
        h("p", { class: "big" }, "No venue has answered yet"),
        list,
        h("a", { class: "button", href: "#/health" }, "Open health"),
      );
    } else replace(blank, h("p", { class: "big loading" }, "The first collection is under way"), h("p", null, "Rates appear here as each venue answers."));
  }

  const inUnit = (hourly) => shownRate(hourly * UNITS[state.unit].hours, state.unit);

  function paint() {
    painted = performance.now();
    const height = rowHeight();
    const room = scroller.clientHeight || 600;
    const first = Math.max(0, Math.min(Math.floor(scroller.scrollTop / height) - SPARE, order.length - 1));
    const last = Math.min(order.length, first + Math.ceil(room / height) + 2 * SPARE);
    const wanted = order.slice(first, last);
    const keep = new Set(wanted);
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    for (const [symbol, drawn] of shown) {
      if (keep.has(symbol)) continue;
      if (drawn.line.contains(focused)) scroller.focus({ preventScroll: true });
      drawn.line.remove();
      shown.delete(symbol);
    }
    const lines = wanted.map((symbol, n) => {
      let drawn = shown.get(symbol);
      const fresh = !drawn;
      if (fresh) shown.set(symbol, (drawn = blankRow(symbol)));
      drawn.line.setAttribute("aria-rowindex", first + n + 2);
      drawn.line.dataset.n = first + n;
      fillRow(drawn, rows.get(symbol), fresh);
      return drawn.line;
    });
    const present = [...body.children].filter((line) => !line.classList.contains("space"));
    if (present.length !== lines.length || present.some((line, n) => line !== lines[n])) arrange(lines);
    const line = focused?.isConnected && focused.closest("tr");
    if (line) active.row = Number(line.dataset.n);
    space(body.firstElementChild, first * height, "before");
    space(body.lastElementChild, (order.length - last) * height, "after");
    rove();
  }

  /** Puts lines in order and moves only those out of place, so that focus and hover stay. */
  function arrange(lines) {
    if (!body.firstElementChild?.classList.contains("space")) body.prepend(spacer());
    if (body.children.length < 2 || !body.lastElementChild.classList.contains("space")) body.append(spacer());
    const end = body.lastElementChild;
    let at = body.firstElementChild.nextElementSibling;
    for (const line of lines) {
      if (line === at) at = at.nextElementSibling;
      else body.insertBefore(line, at);
    }
    while (at !== end) {
      const next = at.nextElementSibling;
      at.remove();
      at = next;
    }
  }

  function spacer() {
    return h("tr", { class: "space", "aria-hidden": "true" }, h("td", { colspan: venues.length + 3 }));
  }

  function space(line, height) {
    line.firstElementChild.style.height = `${height}px`;
    line.hidden = height === 0;
  }

  function blankRow(symbol) {
    const anchor = h("a", { href: link("history", [symbol]), tabindex: "-1", title: symbol }, symbol);
    const name = h("th", { scope: "row", class: "name", "aria-colindex": 1 }, anchor);
    const gap = h("td", { class: "gap", tabindex: "-1", role: "gridcell", "aria-colindex": 2 });
    const cells = venues.map((dex, n) => h("td", { tabindex: "-1", role: "gridcell", "aria-colindex": n + 3, dataset: { dex } }));
    const oi = h("td", { class: "oi", tabindex: "-1", role: "gridcell", "aria-colindex": venues.length + 3 });
    return {
      symbol,
      line: h("tr", { dataset: { symbol } }, name, gap, cells, oi),
      gap, cells, oi, all: [anchor, gap, ...cells, oi], values: [],
    };
  }

  function fillRow(drawn, row, fresh) {
    if (!row) return;
    text(drawn.gap, row.gap === null ? "" : inUnit(row.gap).replace("+", ""));
    drawn.gap.title = row.gap === null ? "" : `Long ${row.low.dex}, short ${row.high.dex}, before costs`;
    text(drawn.oi, row.oi === null ? "" : usd(row.oi));
    venues.forEach((dex, n) => {
      const cell = drawn.cells[n];
      const markets = row.cells.get(dex);
      if (!markets) {
        if (cell.dataset.level) delete cell.dataset.level;
        cell.className = "";
        text(cell, "");
        drawn.values[n] = undefined;
        return;
      }
      const [main] = markets;
      const stale = store.stale(main);
      const figure = shownRate(main[state.unit], state.unit);
      cell.dataset.level = stale ? "stale" : level(number(main.annual) ?? 0);
      cell.classList.toggle("low", main === row.low);
      cell.classList.toggle("high", main === row.high);
      const more = markets.length > 1 ? `+${markets.length - 1}` : "";
      const old = stale ? shortAge(store.age(main)) : "";
      const key = `${figure}|${more}|${old}`;
      if (cell.dataset.key !== key) {
        cell.dataset.key = key;
        replace(
          cell,
          old ? h("small", null, h("span", { class: "sr" }, "stale, "), old, " ") : null,
          figure,
          more ? h("sup", null, more) : null,
        );
      }
      if (!fresh && drawn.values[n] !== undefined && drawn.values[n] !== main.rate && !stale) flash(cell);
      drawn.values[n] = main.rate;
    });
  }

  function rove() {
    for (const drawn of shown.values()) {
      const here = Number(drawn.line.dataset.n) === active.row;
      drawn.all.forEach((cell, n) => cell.setAttribute("tabindex", here && n === active.column ? "0" : "-1"));
    }
    if (![...shown.values()].some((drawn) => Number(drawn.line.dataset.n) === active.row)) {
      const [firstSeen] = shown.values();
      firstSeen?.all[active.column]?.setAttribute("tabindex", "0");
    }
  }

  function move(row, column) {
    active = { row: Math.max(0, Math.min(order.length - 1, row)), column: Math.max(0, Math.min(venues.length + 2, column)) };
    const height = rowHeight();
    const headHeight = head.offsetHeight;
    const top = active.row * height;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else scroller.scrollTop = Math.max(scroller.scrollTop, top + height - scroller.clientHeight + headHeight);
    paint();
    const cell = shown.get(order[active.row])?.all[active.column];
    cell?.focus({ preventScroll: true });
    cell?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  scroller.addEventListener("keydown", (event) => {
    if (event.target.closest("thead")) return;
    const page = Math.max(1, Math.floor(scroller.clientHeight / rowHeight()) - 2);
    const end = venues.length + 2;
    const steps = {
      ArrowDown: [active.row + 1, active.column], ArrowUp: [active.row - 1, active.column],
      ArrowRight: [active.row, active.column + 1], ArrowLeft: [active.row, active.column - 1],
      PageDown: [active.row + page, active.column], PageUp: [active.row - page, active.column],
      Home: [event.ctrlKey ? 0 : active.row, 0], End: [event.ctrlKey ? order.length - 1 : active.row, end],
    };
    if (Object.hasOwn(steps, event.key) && !event.altKey && !event.metaKey) {
      event.preventDefault();
      move(...steps[event.key]);
    } else if (event.key === "Enter") open(event.target.closest("td[data-dex]"));
    else if (event.key === "Escape") peek.hide();
  });
  scroller.addEventListener("scroll", () => requestAnimationFrame(paint), { passive: true });
  body.addEventListener("focusin", (event) => {
    const line = event.target.closest("tr");
    const drawn = shown.get(line?.dataset.symbol);
    if (!drawn) return;
    active = { row: Number(line.dataset.n), column: Math.max(0, drawn.all.indexOf(event.target)) };
    rove();
    peekAt(event.target.closest("td[data-dex]"));
  });
  body.addEventListener("focusout", () => peek.hide());
  body.addEventListener("pointerover", (event) => peekAt(event.target.closest("td[data-dex]")));
  scroller.addEventListener("pointerleave", () => peek.hide());
  body.addEventListener("click", (event) => {
    const cell = event.target.closest("td[data-dex]");
    if (event.pointerType === "touch") peekAt(cell);
    else open(cell);
  });

  function peekAt(cell) {
    const markets = cell && rows.get(cell.closest("tr").dataset.symbol)?.cells.get(cell.dataset.dex);
    if (markets) peek.show(cell, () => rows.get(cell.closest("tr")?.dataset.symbol)?.cells.get(cell.dataset.dex) ?? markets);
    else peek.hide();
  }

  function open(cell) {
    if (cell?.dataset.level) location.hash = link("history", [cell.closest("tr").dataset.symbol], { dex: cell.dataset.dex });
  }

  let waiting = 0;
  function schedule() {
    if (waiting) return;
    waiting = setTimeout(() => {
      waiting = 0;
      refresh(false);
    }, Math.max(0, PAINT_MS - (performance.now() - painted)));
  }
  context.signal.addEventListener("abort", () => clearTimeout(waiting));
  store.on("rates", schedule, context.signal);
  store.on("health", schedule, context.signal);
  store.on("connection", schedule, context.signal);
  let beat = 0;
  store.on("tick", () => (beat = (beat + 1) % 5) || schedule(), context.signal);
  addEventListener("resize", schedule, { signal: context.signal });
  drawLegend();
  drawHead();
  queueMicrotask(() => refresh(true));
  return { title: "Funding rates", element };
}

function sized(node, width) {
  node.style.width = `${width}px`;
  return node;
}

const traded = (rate) => number(rate.volume_24h_usd) ?? -1;
const inverse = (rate) => (/-PERP-INV(?:[.@]|$)/.test(rate.instrument) ? 1 : 0);
