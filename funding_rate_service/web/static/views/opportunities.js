// Pairs worth holding: filters, a table that does not move under the pointer, and a file of it.

import { Latest, aborted } from "../api.js";
import { spark } from "../chart.js";
import { download, toCsv } from "../csv.js";
import { debounce, field, flash, h, notice, replace, s, text } from "../dom.js";
import { NONE, count, hours, number, percent, plural, usd } from "../format.js";
import { link, remember } from "../router.js";
import { now, store } from "../store.js";
import { Hold, heading, plain } from "../table.js";
import { FIELDS, HORIZONS, LISTS, fromAddress, toRequest } from "./filters.js";

const SPACING_MS = 3000;
const RISING = new Set(["symbol", "break_even_hours", "costs", "price_divergence", "spread", "age"]);

const least = (a, b) => {
  const [x, y] = [number(a), number(b)];
  return x === null || y === null ? null : Math.min(x, y);
};
const bare = (value, digits) => percent(value, digits).replace("+", "");

function leg(rate) {
  return h("span", { class: "leg" }, h("span", null, rate.dex), h("span", { class: "sub" }, `${percent(rate.hourly, 4)}`));
}

function costs(found) {
  const fees = (number(found.entry_fees) ?? 0) + (number(found.exit_fees) ?? 0);
  const slip = (number(found.entry_slippage) ?? 0) + (number(found.exit_slippage) ?? 0);
  const all = fees + slip || 1;
  const words = `Fees ${bare(fees, 3)} %, ${found.slippage_known ? `slippage ${bare(slip, 3)} %` : "slippage unknown and not counted"}`;
  return [
    h(
      "span", { title: words },
      found.slippage_known ? "" : h("span", { class: "warn", "aria-hidden": "true" }, "≥ "),
      bare(found.total, 3),
      h("span", { class: "sr" }, `. ${words}`),
    ),
    s(
      "svg", { class: "costbar", viewBox: "0 0 46 8", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("rect", { class: "fees", x: 0, y: 0, width: (fees / all) * 46, height: 8 }),
      s("rect", { class: "slip", x: (fees / all) * 46, y: 0, width: (slip / all) * 46, height: 8 }),
    ),
  ];
}

/** {key, label, sort, hint, cell(o) -> text or nodes, same(o) -> what decides whether it changed}. */
const COLUMNS = [
  {
    key: "long", label: "Long", left: true, hint: "Where to be long, and its rate in % per hour",
    cell: (o) => leg(o.long),
    same: (o) => o.long.rate,
  },
  {
    key: "short", label: "Short", left: true, hint: "Where to be short, and its rate in % per hour",
    cell: (o) => leg(o.short),
    same: (o) => o.short.rate,
  },
  { key: "hourly", label: "Edge % / h", sort: "hourly", hint: "Short rate minus long rate, per hour", cell: (o) => percent(o.hourly, 4) },
  {
    key: "annual", label: "% / year", hint: "The edge per hour, times the hours of a year, before costs",
    cell: (o) => percent(o.annual, 1),
  },
  {
    key: "net", label: "Net %", sort: "net", hint: "Funding over the horizon minus all costs",
    cell: (o) => (o.costs.slippage_known ? percent(o.net, 3) : [h("span", { class: "warn", title: "Slippage is unknown: at most" }, "\u2264 "), percent(o.net, 3)]),
    same: (o) => `${percent(o.net, 3)} ${o.costs.slippage_known}`,
    tone: (o) => (number(o.net) > 0 ? "up" : "down"),
  },
  {
    key: "costs", label: "Costs %", sort: "costs",
    hint: "Both legs in and out: fees (grey) and slippage (orange)",
    cell: (o) => costs(o.costs),
    same: (o) => o.costs.total,
  },
  {
    key: "break_even", label: "Break-even", sort: "break_even_hours", hint: "Until funding has paid the costs at these rates",
    cell: (o) => (o.break_even_hours === null ? "never" : `${o.costs.slippage_known ? "" : "\u2265 "}${hours(o.break_even_hours)}`),
  },
  {
    key: "divergence", label: "Price diff. %", sort: "price_divergence", hint: "Difference of the mark prices",
    cell: (o) => (o.price_divergence === null ? NONE : bare(o.price_divergence, 3)),
  },
  {
    key: "volume", label: "Volume 24 h", sort: "volume", hint: "Of the leg that has less, USD",
    cell: (o) => usd(least(o.long.volume_24h_usd, o.short.volume_24h_usd)),
    quiet: true,
  },
  {
    key: "oi", label: "Open int.", sort: "oi", hint: "Of the leg that has less, one-sided, USD",
    cell: (o) => usd(least(o.long.open_interest_usd, o.short.open_interest_usd)),
    quiet: true,
  },
  {
    key: "persistence", label: "Last 48 h", left: true, hint: "Hourly difference that was settled, with its mean",
    cell: persistence,
    same: (o) => JSON.stringify(o.persistence),
    quiet: true,
  },
];

/** On a phone the figures that decide come first; the venues stand under the symbol. */
const NARROW = ["net", "hourly", "break_even", "costs", "long", "short"];
const shownColumns = () => (
  innerWidth > 760 ? COLUMNS : [...COLUMNS].sort((a, b) => (NARROW.indexOf(a.key) + 99) % 99 - (NARROW.indexOf(b.key) + 99) % 99)
);

function persistence(o) {
  const found = o.persistence;
  if (!found) return h("span", { class: "soft", title: "Too few settled hours on record" }, "too short");
  const half = found.half_life_hours === null ? "does not fade" : `half-life ${hours(found.half_life_hours)}`;
  return spark(
    found.series.map(number),
    `Mean ${percent(found.mean, 4)} % per hour, changes sign ${Number(found.sign_flips_per_day).toFixed(1)} times a day, ${half}`,
  );
}

const FILE = [
  ["symbol", (o) => o.symbol],
  ["long", (o) => o.long.instrument],
  ["short", (o) => o.short.instrument],
  ["long_rate", (o) => o.long.rate],
  ["long_interval_hours", (o) => o.long.interval_hours],
  ["short_rate", (o) => o.short.rate],
  ["short_interval_hours", (o) => o.short.interval_hours],
  ["edge_per_hour", (o) => o.hourly],
  ["edge_per_year", (o) => o.annual],
  ["funding", (o) => o.funding],
  ["net", (o) => o.net],
  ["entry_fees", (o) => o.costs.entry_fees],
  ["exit_fees", (o) => o.costs.exit_fees],
  ["entry_slippage", (o) => o.costs.entry_slippage],
  ["exit_slippage", (o) => o.costs.exit_slippage],
  ["slippage_known", (o) => o.costs.slippage_known],
  ["break_even_hours", (o) => o.break_even_hours],
  ["price_divergence", (o) => o.price_divergence],
  ["oi_ratio", (o) => o.oi_ratio],
  ["long_volume_24h_usd", (o) => o.long.volume_24h_usd],
  ["short_volume_24h_usd", (o) => o.short.volume_24h_usd],
  ["long_open_interest_usd", (o) => o.long.open_interest_usd],
  ["short_open_interest_usd", (o) => o.short.open_interest_usd],
  ["observed_at_long", (o) => o.long.observed_at],
  ["observed_at_short", (o) => o.short.observed_at],
];

export function create(context) {
  const typed = fromAddress(context.query);
  const sorting = { by: typed.sort_by ?? "net", desc: typed.sort_desc !== "false" };
  const request = new Latest();
  let answer = null;
  let order = [];
  let failed = null;
  let anew = true; // the next answer may bring rows in any order
  let fetched = -Infinity;
  let timer = 0;
  const columns = shownColumns();
  const drawn = new Map(); // pair -> {line, cells, same}

  const lead = h("p");
  const held = h("p", { class: "held" });
  const head = h("thead");
  const body = h("tbody", { class: "fades" });
  const table = h("table", { class: "data opps", "aria-label": "Opportunities" }, head, body);
  const scroller = h("div", { class: "scroll", role: "region", "aria-label": "Opportunities, table", tabindex: "0" }, table);
  const message = h("div");
  const controls = new Map();
  const primary = h("div", { class: "filters closed" });
  const extra = h("div", { class: "filters more", id: "more", hidden: true });
  const more = h(
    "button",
    { type: "button", class: "button", "aria-expanded": "false", "aria-controls": "more", onclick: () => toggleMore() },
    "More filters",
  );
  const clear = h("button", { type: "button", class: "button", onclick: () => (location.hash = link("opportunities")) }, "Clear");
  const file = h("button", { type: "button", class: "button", onclick: save }, "Download CSV");
  const element = h(
    "section",
    { "aria-labelledby": "title" },
    h("div", { class: "head" }, h("h1", { id: "title" }, "Opportunities"), lead),
    h(
      "form",
      { "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
      h("div", { class: "filterbar" }, primary, h("div", { class: "toolbar" }, more, clear, file), held),
      extra,
    ),
    message,
    scroller,
  );
  const hold = new Hold(body, () => draw());
  const changed = debounce(350, () => apply());

  function buildFilters() {
    for (const one of FIELDS) {
      const control = h("input", {
        class: "input",
        name: one.name,
        value: typed[one.name] ?? "",
        placeholder: one.example,
        autocomplete: "off",
        type: one.name === "symbol" ? "search" : "text",
        inputmode: one.name === "symbol" ? "text" : "decimal",
        oninput: (event) => {
          typed[one.name] = event.target.value.trim();
          changed();
        },
      });
      controls.set(one.name, control);
      (one.first ? primary : extra).append(field(one.label, control, one.hint));
    }
    const horizon = select(
      "horizon_hours",
      HORIZONS.map((n) => [String(n), n < 48 ? `${n} h` : `${n / 24} days`]),
      typed.horizon_hours ?? "24",
    );
    primary.prepend(field("Held for", horizon));
    more.setAttribute("aria-expanded", "false");
    venueFilters();
    const hidden = [...FIELDS.filter((one) => !one.first), ...LISTS, { name: "required_dex" }, { name: "dex_pair" }];
    if (hidden.some((one) => typed[one.name])) toggleMore();
  }

  function select(name, options, value, label) {
    return h(
      "select",
      {
        class: "input", name, "aria-label": label ?? null,
        onchange: (event) => {
          typed[name] = event.target.value;
          apply();
        },
      },
      options.map(([key, shown]) => h("option", { value: key, selected: key === value }, shown)),
    );
  }

  let venuesShown = null;
  function venueFilters() {
    const venues = store.venues();
    if (venues.join() === venuesShown) return;
    venuesShown = venues.join();
    for (const old of extra.querySelectorAll("[data-venues]")) old.remove();
    const any = [["", "any"], ...venues.map((dex) => [dex, dex])];
    const pair = (typed.dex_pair ?? ",").split(",");
    const sides = [0, 1].map((n) => {
      const control = h("select", { class: "input", "aria-label": n ? "and" : "Legs on exactly", onchange: (event) => {
        pair[n] = event.target.value;
        typed.dex_pair = pair[0] && pair[1] ? pair.join(",") : "";
        apply();
      } }, any.map(([key, shown]) => h("option", { value: key, selected: key === pair[n] }, shown)));
      return field(n ? "and on" : "Legs exactly on", control);
    });
    const required = field("A leg must be on", select("required_dex", any, typed.required_dex ?? ""));
    for (const control of [required, ...sides]) {
      control.dataset.venues = "";
      extra.append(control);
    }
    for (const list of LISTS) {
      const chosen = new Set((typed[list.name] ?? "").split(",").filter(Boolean));
      const boxes = venues.map((dex) =>
        h("label", { class: "check" }, h("input", { type: "checkbox", checked: chosen.has(dex), onchange: (event) => {
          if (event.target.checked) chosen.add(dex);
          else chosen.delete(dex);
          typed[list.name] = [...chosen].sort().join(",");
          apply();
        } }), dex),
      );
      extra.append(h("fieldset", { class: "venues", dataset: { venues: "" } }, h("legend", null, list.label), boxes));
    }
  }

  function toggleMore() {
    extra.hidden = !extra.hidden;
    more.setAttribute("aria-expanded", String(!extra.hidden));
    primary.classList.toggle("closed", extra.hidden);
    text(more, extra.hidden ? "More filters" : "Fewer filters");
  }

  function apply() {
    changed.cancel();
    remember("opportunities", [], typed);
    anew = true;
    load();
  }

  function sort(key) {
    sorting.desc = sorting.by === key ? !sorting.desc : !RISING.has(key);
    sorting.by = key;
    typed.sort_by = key === "net" && sorting.desc ? "" : key;
    typed.sort_desc = sorting.desc ? "" : "false";
    drawHead();
    apply();
    head.querySelector(`[data-sort="${key}"]`)?.focus();
  }

  function drawHead() {
    const cells = columns.map(
      (column) => (column.sort ? heading(column.sort, column.label, sorting, sort, column) : plain(column.label, column))
    );
    replace(head, h("tr", null, heading("symbol", "Symbol", sorting, sort, { left: true }), cells));
  }

  async function load() {
    clearTimeout(timer);
    timer = 0;
    const { parameters, wrong } = toRequest(typed);
    for (const [name, control] of controls) {
      control.setAttribute("aria-invalid", String(name in wrong));
      control.title = wrong[name] ?? "";
    }
    if (Object.keys(wrong).length) {
      failed = Object.values(wrong).join(". ");
      return draw();
    }
    try {
      answer = await request.get("/opportunities", parameters);
      failed = null;
      if (anew) order = [];
      anew = false;
      fetched = now();
      store.heard(answer.generated_at);
    } catch (error) {
      if (aborted(error)) return;
      failed = error.message;
      fetched = now();
    }
    draw();
  }

  function soon() {
    if (timer || request.busy) return;
    timer = setTimeout(load, Math.max(0, SPACING_MS - (now() - fetched)));
  }

  function draw() {
    if (context.signal.aborted) return;
    tellLead();
    if (!answer) {
      scroller.hidden = true;
      replace(
        message,
        failed ? notice("bad", "No opportunities can be shown", failed) : h("p", { class: "empty big loading" }, "Looking for pairs"),
      );
      return;
    }
    const found = new Map(answer.opportunities.map((o) => [o.pair, o]));
    const wanted = [...found.keys()];
    const free = order.length === 0 || hold.mayMove();
    const listed = new Set(order);
    order = free ? wanted : [...order, ...wanted.filter((pair) => !listed.has(pair))];
    if (free) hold.moved();
    text(held, !free && order.join() !== wanted.join() && hold.held ? "Order held while you point at the table" : "");
    scroller.hidden = order.length === 0;
    replace(message, failed ? h("p", { class: "sub warn", role: "alert" }, failed) : null, order.length === 0 && !failed ? empty() : null);
    const kept = new Set(order);
    for (const [pair, row] of drawn) {
      if (!kept.has(pair)) row.line.remove(), drawn.delete(pair);
      else row.line.classList.toggle("gone", !found.has(pair));
      row.line.title = found.has(pair) ? "" : "No longer among these pairs";
    }
    let at = body.firstElementChild;
    for (const pair of order) {
      const line = found.has(pair) ? fill(found.get(pair)) : drawn.get(pair).line;
      if (line === at) at = at.nextElementSibling;
      else body.insertBefore(line, at);
    }
  }

  function tellLead() {
    if (!answer) return;
    const of = number(answer.horizon_hours);
    const rough = answer.opportunities.some((o) => !o.costs.slippage_known) ? " · \u2264 fees alone, slippage unknown" : "";
    const all = answer.total > answer.count ? `the first ${count(answer.count)} of ${plural(answer.total, "pair")}` : plural(answer.total, "pair");
    text(lead, `${all} · net of costs when held for ${hours(of)}, % of one leg's notional${rough}`);
  }

  function empty() {
    const current = [...store.rates.values()].some((rate) => !store.stale(rate));
    if (!current) return notice(
      "", "No current rates", "Stale rates make no opportunity. The health view says which venue answers.",
      h("a", { class: "button", href: "#/health" }, "Open health"),
    );
    return notice(
      "", "No pair passes these filters",
      "Hold for longer, or ask for less. A figure that nobody knows fails the filter that needs it.",
    );
  }

  function fill(o) {
    let row = drawn.get(o.pair);
    if (!row) {
      const anchor = h("a", { href: link("pair", [o.long.instrument, o.short.instrument], { horizon: typed.horizon_hours }) }, o.symbol);
      const cells = columns.map(
        (column) => h("td", { class: `${column.left ? "l" : ""} ${column.key}`.trim(), dataset: { column: column.key } })
      );
      row = {
        line: h(
          "tr", { dataset: { pair: o.pair } },
          h("th", { scope: "row" }, anchor, h("small", { class: "via", "aria-hidden": "true" }, `${o.long.dex} / ${o.short.dex}`)),
          cells,
        ),
        anchor, cells, same: [],
      };
      drawn.set(o.pair, row);
    }
    row.anchor.href = link("pair", [o.long.instrument, o.short.instrument], { horizon: typed.horizon_hours });
    row.line.classList.toggle("stale", store.stale(fresh(o.long)) || store.stale(fresh(o.short)));
    columns.forEach((column, n) => {
      const content = column.cell(o);
      const same = column.same ? column.same(o) : content;
      if (row.same[n] === same) return;
      replace(row.cells[n], content);
      if (column.tone) row.cells[n].classList.remove("up", "down"), row.cells[n].classList.add(column.tone(o));
      if (row.same[n] !== undefined && !column.quiet) flash(row.cells[n]);
      row.same[n] = same;
    });
    return row.line;
  }

  const fresh = (rate) => store.rates.get(rate.instrument) ?? { ...rate, receivedAt: fetched };

  function save() {
    if (!answer) return;
    const stamp = answer.generated_at.slice(0, 19).replaceAll(":", "").replace("T", "-");
    const of = [["horizon_hours", () => answer.horizon_hours]];
    download(`opportunities-${stamp}Z.csv`, toCsv([...FILE, ...of], answer.opportunities));
    context.announce(`${answer.count} pairs saved as CSV`);
  }

  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    if (!line || event.target.closest("a") || getSelection().toString()) return;
    location.hash = line.querySelector("a").getAttribute("href");
  });
  context.signal.addEventListener("abort", () => {
    clearTimeout(timer);
    changed.cancel();
    request.stop();
  });
  store.on("opportunities", soon, context.signal);
  store.on("rates", soon, context.signal);
  store.on("health", venueFilters, context.signal);
  store.on("connection", () => draw(), context.signal);
  store.on("tick", () => draw(), context.signal);
  drawHead();
  buildFilters();
  load();
  draw();
  return { title: "Opportunities", element };
}
