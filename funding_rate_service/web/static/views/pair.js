// One pair in detail: what it brings by holding time and by size, what it costs, and how its difference has been.

import { Latest, aborted } from "../api.js";
import { Chart, percentAxis } from "../chart.js";
import { debounce, field, h, notice, renew, replace, s, text } from "../dom.js";
import { NONE, UNITS, age, amount, countdown, dollars, hours, minute, number, percent, price, rate as shownRate, usd, utc } from "../format.js";
import { link, remember } from "../router.js";
import { now as elapsed, store } from "../store.js";
import { HORIZONS } from "./filters.js";

const SPACING_MS = 5000;
const NET_OF = {
  books: "Net of all costs, % of one leg's notional",
  spreads: "Net of fees and of the spread at the touch: a larger size costs more",
  fees: "Net of fees alone: slippage is unknown",
};
const bare = (value, digits) => percent(value, digits).replace("+", "");

export function create(context) {
  const [long = "", short = ""] = context.parts;
  const state = {
    size: context.query.size ?? "1000",
    horizon: HORIZONS.map(String).includes(context.query.horizon) ? context.query.horizon : "24",
  };
  const request = new Latest();
  let found = null;
  let timer = 0;
  let fetched = -Infinity;

  const venue = (instrument) => instrument.slice(instrument.lastIndexOf(".") + 1);
  const base = long.split("-")[0];
  const size = h("input", { class: "input", inputmode: "decimal", name: "size", value: state.size, autocomplete: "off" });
  const horizon = h(
    "select", { class: "input", name: "horizon" },
    HORIZONS.map((n) => h("option", { value: n, selected: String(n) === state.horizon }, n < 48 ? `${n} h` : `${n / 24} days`)),
  );
  const title = h(
    "h1", { id: "title" }, base, " ",
    h("span", { class: "soft" }, "long "),
    h("span", { class: "long" }, venue(long)),
    h("span", { class: "soft" }, " short "),
    h("span", { class: "short" }, venue(short)),
  );
  const tiles = h("div", { class: "tiles fades" });
  const message = h("div");
  const signed = (digits) => (value) => (number(value) === null ? NONE : `${percent(value, digits)} %`);
  const value = new Chart({ label: "Net value by holding time", horizontal: "hours", told: signed(3), axis: percentAxis, height: 292 });
  const capacity = new Chart({ label: "Net value by size", horizontal: "usd", told: signed(3), axis: percentAxis, height: 240 });
  const past = new Chart({ label: "Settled difference per hour", told: signed(4), axis: percentAxis, height: 240 });
  const costs = h("div");
  const legs = h("dl", { class: "legs" });
  const lasting = h("div");
  const capacityNote = h("p");
  const pastNote = h("p");
  const curveNote = h("p");
  const body = h(
    "div",
    { class: "columns fades" },
    card("w8", "Expected value by holding time", curveNote, value.element),
    h("div", { class: "w4 stack" }, card("", "Costs, in and out", null, costs), card("", "How long it has lasted", null, lasting)),
    card("w4", "Difference as it was settled", pastNote, past.element),
    card("w4", "Capacity", capacityNote, capacity.element),
    card("w4", "The two legs", null, legs),
  );
  const element = h(
    "section",
    { "aria-labelledby": "title" },
    h(
      "div", { class: "pairhead" },
      h("div", null, h("p", { class: "crumbs" }, h("a", { href: "#/opportunities" }, "Opportunities"), " / "), title),
      h("div", { class: "toolbar" }, field("Size per leg", size, "$"), field("Held for", horizon)),
    ),
    message, tiles, body,
  );

  function card(width, name, note, content) {
    return h("section", { class: `card ${width}`.trim(), "aria-label": name }, h("header", null, h("h2", null, name), note), content);
  }

  const retyped = debounce(400, () => {
    const wanted = amount(size.value);
    const bad = !(wanted >= 1 && wanted <= 1e9);
    size.setAttribute("aria-invalid", String(bad));
    size.title = bad ? "Give 1 to 1,000,000,000 dollars, for example 5000 or 25k" : "";
    if (bad) return;
    state.size = String(wanted);
    saved();
    load();
  });
  size.addEventListener("input", retyped);
  horizon.addEventListener("change", () => {
    state.horizon = horizon.value;
    saved();
    load();
  });

  function saved() {
    remember(
      "pair", [long, short],
      { size: state.size === "1000" ? null : state.size, horizon: state.horizon === "24" ? null : state.horizon },
    );
  }

  async function load() {
    clearTimeout(timer);
    timer = 0;
    try {
      found = await request.get("/edge", { pair: `${long}/${short}`, size: state.size, horizon_hours: state.horizon });
      replace(message, found.unknown.length ? h("p", { class: "sub warn" }, `Not known: ${found.unknown.join("; ")}`) : null);
    } catch (error) {
      if (aborted(error)) return;
      if (found) replace(message, h("p", { class: "sub warn", role: "alert" }, `Not refreshed: ${error.message}`));
      else replace(
        message,
        notice(
          "bad", "This pair cannot be shown", error.message,
          h("button", { type: "button", class: "button", onclick: load }, "Try again"),
        ),
      );
    }
    fetched = elapsed();
    draw();
  }

  function soon() {
    if (!timer && !request.busy) timer = setTimeout(load, Math.max(0, SPACING_MS - (elapsed() - fetched)));
  }

  const at = (curve, wanted) => curve?.find((point) => number(point.hours) === wanted) ?? null;
  const gain = (share) => (share === null ? NONE : dollars(share * number(found.size_usd), true));

  function draw() {
    tiles.hidden = body.hidden = !found;
    if (!found) return;
    const held = number(found.horizon_hours);
    const straight = at(found.curve, held);
    const faded = at(found.expected, held);
    const hourly = number(found.hourly);
    const most = found.costs && found.cost_source !== "books";
    const bound = (net) => (most && number(net) !== null ? "\u2264 " : "") + signed(3)(net);
    const even = number(found.break_even_hours);
    const evenIs = found.costs === null || hourly === null ? "unknown" : even === null ? "never" : `${most ? "\u2265 " : ""}${hours(even)}`;
    const tone = (share) => (share === null ? "" : number(share) > 0 ? "up" : "down");
    replace(
      tiles,
      tile(
        "Edge per hour", signed(4)(hourly),
        hourly === null ? "not known: a rate cannot be believed" : `${percent(hourly * UNITS.annual.hours, 1)} % a year before costs`,
      ),
      tile(
        `Net after ${hours(held)}`,
        bound(straight?.net),
        number(straight?.net) === null ? "not known: a fee or a rate is missing" : `${most ? "\u2264 " : ""}${gain(number(straight.net))} on ${dollars(found.size_usd)} per leg`,
        tone(straight?.net ?? null),
      ),
      tile(
        "With mean reversion",
        bound(faded?.net),
        number(faded?.net) !== null ? `${most ? "\u2264 " : ""}${gain(number(faded.net))}` : "too little history",
        tone(faded?.net ?? null),
      ),
      tile("Break-even", evenIs, "at the rates of now"),
      tile("Price difference", found.price_divergence === null ? NONE : `${bare(found.price_divergence, 3)} %`, "between the mark prices"),
      tile("Open interest", found.oi_ratio === null ? NONE : `${Number(found.oi_ratio).toFixed(2)} ×`, "long leg over short leg"),
    );
    drawValue(held);
    drawCosts();
    drawCapacity();
    drawPast();
    drawLegs();
    drawLasting();
  }

  const tile = (name, figure, note, tone = "") => h(
    "div", { class: "tile" },
    h("span", null, name),
    h("b", { class: tone || null }, figure),
    h("em", null, note),
  );

  function drawValue(held) {
    text(curveNote, NET_OF[found.cost_source] ?? "Costs are unknown");
    const points = (curve) => curve.map((point) => [number(point.hours), number(point.net)]);
    const series = [{ name: "At the rates of now", tone: 0, points: points(found.curve), area: true }];
    if (found.expected) series.push({ name: "With mean reversion", tone: 1, points: points(found.expected), dashed: true });
    const marks = [];
    const even = number(found.break_even_hours);
    const last = number(found.curve.at(-1)?.hours);
    if (even !== null && even <= last) marks.push({ x: even, words: `break-even ${hours(even)}` });
    if (even === null || Math.abs(even - held) > last / 12) marks.push({ x: held, words: `held ${hours(held)}` });
    value.set({ series, marks });
  }

  function drawCosts() {
    const parts = found.costs;
    if (!parts) return replace(
      costs,
      notice("", "Costs unknown", "A fee of one of the venues is not known, so nothing is claimed about the net."),
    );
    const rows = [
      ["Fees in", "entry_fees"], ["Fees out", "exit_fees"], ["Slippage in", "entry_slippage"], ["Slippage out", "exit_slippage"],
    ];
    const total = number(parts.total) || 1;
    const unknown = (key) => key.endsWith("slippage") && !parts.slippage_known;
    replace(
      costs,
      h(
        "table",
        { class: "breakdown" },
        h("thead", { class: "sr" }, h("tr", null, ["Part", "Share", "%", "USD"].map((name) => h("th", { scope: "col" }, name)))),
        h(
          "tbody",
          null,
          rows.map(([name, key]) =>
            h(
              "tr",
              null,
              h("th", { scope: "row" }, name),
              h(
                "td", { class: "bar" },
                unknown(key) ? "" : s(
                  "svg",
                  { viewBox: "0 0 100 8", preserveAspectRatio: "none", class: key.endsWith("fees") ? "s8" : "s1", "aria-hidden": "true" },
                  s("rect", { x: 0, y: 0, height: 8, width: (number(parts[key]) / total) * 100, fill: "currentColor" }),
                ),
              ),
              h("td", null, unknown(key) ? "unknown" : `${bare(parts[key], 3)} %`),
              h("td", { class: "soft" }, unknown(key) ? NONE : dollars(number(parts[key]) * number(found.size_usd))),
            ),
          ),
          h(
            "tr", null,
            h("th", { scope: "row" }, "Total"),
            h("td"),
            h("td", null, `${found.cost_source === "books" ? "" : "≥ "}${bare(parts.total, 3)} %`),
            h("td", null, dollars(number(parts.total) * number(found.size_usd))),
          ),
        ),
      ),
    );
  }

  function drawCapacity() {
    const points = (found.capacity ?? []).map((point) => [number(point.usd), number(point.net)]);
    const known = points.filter(([, net]) => net !== null);
    text(capacityNote, found.capacity === null ? "" : `Net after ${hours(found.horizon_hours)} by size per leg`);
    const over = points.length - known.length;
    const size_ = number(found.size_usd);
    const marks = known.length && size_ >= known[0][0] && size_ <= known.at(-1)[0] ? [{ x: size_, words: dollars(size_) }] : [];
    if (over && known.length) marks.push({ x: known.at(-1)[0], words: "books end" });
    capacity.set(
      {
        series: [{ name: "Net", tone: 2, points: known, area: true }], marks,
        empty: found.capacity === null ? "The order books of the legs are not known" : "The books hold less than the smallest size",
      }
    );
  }

  function drawPast() {
    const steps = found.history.map(
      (point) => ({ from: Date.parse(point.time), to: Date.parse(point.time) + 3600000, y: number(point.difference) })
    );
    text(pastNote, steps.length ? `Short minus long per hour, ${steps.length} hours on record` : "");
    past.set({ series: [{ name: "Difference", tone: 0, steps, area: true }], empty: "No hour that both venues have a settled record of" });
  }

  function drawLegs() {
    const sides = [found.long, found.short].map((rate) => ({ ...rate, ...(store.rates.get(rate.instrument) ?? { receivedAt: fetched }) }));
    const row = (name, tell, title) => [
      h("dt", { class: "n" }, name),
      sides.map((rate) => h("dd", { title: title ? title(rate) : null }, tell(rate))),
    ];
    const next = (rate) => {
      const at = rate.next_funding_at === null ? null : Date.parse(rate.next_funding_at);
      return at === null ? "unknown" : `${countdown((at - store.serverNow()) / 1000)} (${minute(at)})`;
    };
    renew(
      legs,
      h("dt", { class: "n" }, ""), h("dd", { class: "h long" }, "Long ", found.long.dex), h("dd", { class: "h short" }, "Short ", found.short.dex),
      row("Rate", (rate) => `${shownRate(rate.rate, "hourly")} % per ${hours(rate.interval_hours)}`),
      row("Per hour", (rate) => `${shownRate(rate.hourly, "hourly")} %`),
      row("Kind", (rate) => rate.kind),
      row("Next funding", next, (rate) => (rate.next_funding_at ? utc(Date.parse(rate.next_funding_at)) : "")),
      row("Age", (rate) => `${age(store.age(rate))}${store.stale(rate) ? ", stale" : ""}`, (rate) => utc(Date.parse(rate.observed_at))),
      row("Mark", (rate) => price(rate.mark)), row("Index", (rate) => price(rate.index)),
      row("Bid / ask", (rate) => (rate.bid === null || rate.ask === null ? "unknown" : `${price(rate.bid)} / ${price(rate.ask)}`)),
      row("Spread", (rate) => (rate.spread === null ? "unknown" : `${bare(rate.spread, 3)} %`)),
      row("Open interest", (rate) => usd(rate.open_interest_usd)), row("Volume 24 h", (rate) => usd(rate.volume_24h_usd)),
      h("dt", { class: "n" }, "History"), sides.map(
        (rate) => h(
          "dd", null,
          h("a", { href: link("history", [rate.symbol], { dex: rate.dex }) }, "open", h("span", { class: "sr" }, ` for ${rate.dex}`)),
        )
      ),
    );
  }

  function drawLasting() {
    const p = found.persistence;
    if (!p) return replace(
      lasting,
      notice(
        "", "Too short a record",
        "Fewer than 12 hours that both venues settled: nothing can be said about how long the difference lasts.",
      ),
    );
    const row = (name, shown, words) => [h("dt", { title: words }, name), h("dd", null, shown)];
    const now = number(found.hourly);
    const distance = now !== null && number(p.volatility) ? (now - number(p.mean)) / number(p.volatility) : null;
    replace(
      lasting,
      h(
        "dl",
        { class: "facts" },
        row("Hours on record", String(p.points), "Hours that both venues have a settled record of"),
        row("Mean difference", `${percent(p.mean, 4)} % per hour`, "Average of the hourly differences"),
        row(
          "Now against the mean",
          distance === null ? NONE : `${distance >= 0 ? "+" : "\u2212"}${Math.abs(distance).toFixed(1)} standard deviations`,
          "How unusual the present difference is",
        ),
        row("Volatility", `${bare(p.volatility, 4)} % per hour`, "Standard deviation of the hourly differences"),
        row("Changes of sign", `${Number(p.sign_flips_per_day).toFixed(1)} a day`, "How often the difference turned round"),
        row(
          "Half-life",
          p.half_life_hours === null ? "does not fade" : hours(p.half_life_hours),
          "In which a deviation from the mean halves",
        ),
      ),
    );
  }

  context.signal.addEventListener("abort", () => {
    clearTimeout(timer);
    retyped.cancel();
    request.stop();
    for (const chart of [value, capacity, past]) chart.watch.disconnect();
  });
  store.on("rates", (event) => (event.detail.has(long) || event.detail.has(short)) && soon(), context.signal);
  store.on("tick", () => found && drawLegs(), context.signal);
  draw();
  if (long && short) {
    replace(message, h("p", { class: "empty big loading" }, "Reading the pair"));
    load();
  } else {
    const back = h("a", { class: "button", href: "#/opportunities" }, "To the opportunities");
    replace(message, notice("", "Choose a pair", "Open one from the opportunities.", back));
  }
  return { title: base ? `${base} ${venue(long)} / ${venue(short)}` : "Pair", element };
}
