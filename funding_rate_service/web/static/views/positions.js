// The bots' pairs with their results, split into what made them, and what nothing explains.

import { Latest, aborted } from "../api.js";
import { h, notice, renew, replace, s } from "../dom.js";
import { NONE, cents, moment, number, plural, price, quantity, usd, utc } from "../format.js";
import { link } from "../router.js";
import { plain } from "../table.js";

const AGAIN_MS = 5000;
const PARTS = [
  ["price", "Price"], ["funding", "Funding"], ["fees", "Fees"], ["slippage", "Slippage"], ["unwind", "Unwind"],
  ["unexplained", "Unexplained"],
];

const AT_ENTRY = "A mark is unknown: what is open counts at the price it was entered at";

const tone = (value) => (number(value) > 0 ? "up" : number(value) < 0 ? "down" : "");
const time = (iso) => (iso ? h("time", { datetime: iso, title: utc(Date.parse(iso)) }, moment(Date.parse(iso))) : NONE);

export function create(context) {
  const [chosen] = context.parts;
  const request = new Latest();
  const body = h("div", { class: "fades" }, h("p", { class: "empty big loading" }, "Reading the positions"));
  const title = h("h1", { id: "title" }, chosen ? "Position" : "Positions");
  const element = h(
    "section", { "aria-labelledby": "title" },
    chosen ? h("p", { class: "crumbs" }, h("a", { href: "#/positions" }, "Positions"), " / ") : null,
    h("div", { class: "head" }, title),
    body,
  );
  let seen = "";

  async function load() {
    try {
      const answer = await request.get(chosen ? `/positions/${encodeURIComponent(chosen)}` : "/positions");
      const now = JSON.stringify(answer);
      if (now === seen) return;
      seen = now;
      if (chosen) one(answer.position);
      else all(answer);
    } catch (error) {
      if (aborted(error)) return;
      seen = "";
      replace(body, notice("bad", "The positions cannot be shown", error.message));
    }
  }

  function all(answer) {
    if (!answer.provided) {
      return replace(
        body,
        notice(
          "", "This service watches no bots",
          h(
            "span", null, "Start it with ",
            h("code", null, "perpkit serve"),
            " beside the bots whose pairs it should show; their journals are read, never written.",
          ),
        ),
      );
    }
    if (!answer.positions.length) return replace(
      body,
      notice("", "No pairs yet", "A pair that a bot opens appears here, with its result split into price, funding, fees and slippage."),
    );
    const open = answer.positions.filter((p) => !p.closed_at);
    renew(body, totals(answer.positions, open), table([...open, ...answer.positions.filter((p) => p.closed_at)]));
  }

  function totals(positions, open) {
    const sum = (key) => {
      const values = positions.map((p) => number(p.pnl?.[key]));
      return values.some((value) => value === null) ? null : values.reduce((a, b) => a + b, 0);
    };
    const tile = (name, value, note) => h(
      "div", { class: "tile" },
      h("span", null, name),
      h("b", { class: tone(value) || null }, value === null ? NONE : `${cents(value)} `, value === null ? null : h("small", null, "USD")),
      h("em", null, note),
    );
    const unknown = "not known for every pair";
    const rough = positions.some((p) => p.valued === false);
    return h(
      "div",
      { class: "tiles" },
      h(
        "div", { class: "tile" },
        h("span", null, "Open pairs"),
        h("b", null, String(open.length)),
        h("em", null, `of ${plural(positions.length, "pair")} on record`),
      ),
      [
        ["total", "Result"], ["funding", "Funding"], ["fees", "Fees"], ["unexplained", "Unexplained"],
      ].map(([key, name]) => tile(name, sum(key), sum(key) === null ? unknown : key === "total" && rough ? "all pairs; some at entry" : "all pairs")),
    );
  }

  function table(positions) {
    const heads = [
      ["Pair", true], ["State", true], ["Long", true], ["Short", true], ["Size, USD"], ["Opened"], ["Closed"],
      ...PARTS.map(([, label]) => [label]),
      ["Result, USD"], [""],
    ];
    return h(
      "div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Pairs, table" },
      h(
        "table", { class: "data", "aria-label": "Pairs" },
        h("thead", null, h("tr", null, heads.map(([label, left]) => plain(label, { left })))),
        h("tbody", null, positions.map(row)),
      ),
    );
  }

  function row(p) {
    return h(
      "tr",
      { dataset: { pair: p.pair_id } },
      h("th", { scope: "row" }, h("a", { href: link("positions", [p.pair_id]) }, p.symbol)),
      h("td", { class: "l" }, h("span", { class: "tag" }, p.state)),
      h("td", { class: "l" }, p.long?.dex ?? NONE), h("td", { class: "l" }, p.short?.dex ?? NONE),
      h("td", null, usd((p.long ?? p.short)?.notional_usd)), h("td", null, time(p.opened_at)), h("td", null, p.closed_at ? time(p.closed_at) : ""),
      PARTS.map(([key]) => h("td", { class: key === "unexplained" && number(p.pnl?.[key]) ? "warn" : null }, cents(p.pnl?.[key]))),
      h("td", { class: tone(p.pnl?.total) }, p.valued === false ? h("small", { class: "warn", title: AT_ENTRY }, "at entry ") : null, h("b", null, cents(p.pnl?.total))),
      h("td", null, bar(p.pnl)),
    );
  }

  /** How the parts pull: gains to the right of the middle, losses to the left. */
  function bar(pnl) {
    const values = PARTS.map(([key]) => number(pnl?.[key]) ?? 0);
    if (values.every((value) => value === 0)) return "";
    const most = Math.max(1e-9, ...[1, -1].map((sign) => values.filter((v) => v * sign > 0).reduce((a, b) => a + Math.abs(b), 0)));
    const ends = { 1: 60, "-1": 60 };
    const rects = values.map((value, n) => {
      const sign = value < 0 ? -1 : 1;
      const width = (Math.abs(value) / most) * 58;
      const x = sign > 0 ? ends[1] : ends[-1] - width;
      ends[sign] += sign * width;
      return s(
        "rect",
        { x, y: 1, width: Math.max(0, width - 1), height: 8, fill: "currentColor", class: sign > 0 ? "up" : "down", opacity: 1 - n * 0.13 },
      );
    });
    return s(
      "svg", { class: "pnlbar", viewBox: "0 0 120 10", "aria-hidden": "true" }, rects,
      s("line", { x1: 60, x2: 60, y1: 0, y2: 10, stroke: "currentColor" }),
    );
  }

  function one(p) {
    replace(
      title, p.symbol, " ",
      h("span", { class: "soft" }, "long "),
      h("span", { class: "long" }, p.long?.dex ?? NONE),
      h("span", { class: "soft" }, " short "),
      h("span", { class: "short" }, p.short?.dex ?? NONE),
    );
    context.retitle(`${p.symbol} position`);
    const cells = [...PARTS, ["total", "Result"]].map(
      ([key, name]) => h(
        "div", { class: "tile" },
        h("span", null, name),
        h("b", { class: tone(p.pnl?.[key]) || null }, cents(p.pnl?.[key])),
        h("em", null, number(p.pnl?.[key]) === null ? "not known yet" : p.valued === false && ["price", "total"].includes(key) ? "USD, at entry" : "USD"),
      )
    );
    const fact = (name, tell) => [h("dt", { class: "n" }, name), [p.long, p.short].map((side) => h("dd", null, side ? tell(side) : NONE))];
    const legs = h(
      "dl", { class: "legs" },
      h("dt", { class: "n" }, ""),
      h("dd", { class: "h long" }, "Long"),
      h("dd", { class: "h short" }, "Short"),
      fact("Market", (side) => side.instrument),
      fact("Quantity", (side) => quantity(side.quantity)),
      fact("Entry price", (side) => price(side.entry_price)),
      fact("Mark", (side) => price(side.mark)),
      fact("Notional", (side) => usd(side.notional_usd)),
    );
    const list = (name, rows, heads, cellsOf) => h(
      "section", { class: "card w12", "aria-label": name },
      h("header", null, h("h2", null, name), h("p", null, plural(rows.length, "entry", "entries"))),
      rows.length ? h(
        "div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${name}, table` },
        h(
          "table", { class: "data" },
          h("thead", null, h("tr", null, heads.map(([label, left]) => plain(label, { left })))),
          h("tbody", null, rows.map((entry) => h("tr", null, cellsOf(entry)))),
        ),
      ) : h("p", { class: "sub" }, "Nothing on record."),
    );
    renew(
      body,
      h("div", { class: "tiles" }, cells),
      h(
        "div",
        { class: "columns" },
        h("section", { class: "card w6", "aria-label": "The two legs" }, h("header", null, h("h2", null, "The two legs")), legs),
        h(
          "section", { class: "card w6", "aria-label": "Life" },
          h("header", null, h("h2", null, "Life")),
          h(
            "dl", { class: "facts" },
            [
              ["State", p.state],
              ["Opened", time(p.opened_at)],
              ["Closed", time(p.closed_at)],
              ["Bot", p.bot ?? p.run ?? NONE], ["Id", p.pair_id],
            ].map(([name, shown]) => [h("dt", null, name), h("dd", null, shown)]),
          ),
        ),
        list(
          "Ledger", p.ledger ?? [], [["Time", true], ["Venue", true], ["Kind", true], ["USD"], ["Note", true]],
          (entry) => [
            h("td", { class: "l" }, time(entry.time)),
            h("td", { class: "l" }, entry.dex ?? NONE),
            h("td", { class: "l" }, entry.kind),
            h("td", { class: tone(entry.amount) }, cents(entry.amount)),
            h("td", { class: "words soft" }, entry.note ?? ""),
          ],
        ),
        list(
          "Decisions", p.decisions ?? [], [["Time", true], ["Kind", true], ["Why", true]],
          (entry) => [
            h("td", { class: "l" }, time(entry.time)),
            h("td", { class: "l" }, entry.kind),
            h("td", { class: "words soft" }, entry.text ?? ""),
          ],
        ),
      ),
    );
  }

  const timer = setInterval(load, AGAIN_MS);
  context.signal.addEventListener("abort", () => {
    clearInterval(timer);
    request.stop();
  });
  load();
  return { title: chosen ? "Position" : "Positions", element };
}
