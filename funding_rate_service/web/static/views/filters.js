// The filters of opportunities: what is typed, what the address keeps, and what the service is asked.

import { amount } from "../format.js";

export const HORIZONS = [1, 2, 4, 8, 12, 24, 48, 72, 120, 168];

const money = (text) => amount(text)?.toString() ?? null;
const plainNumber = (text) => (/^-?[\d.]+$/.test(text.trim()) && Number.isFinite(Number(text)) ? text.trim() : null);

/** Per cent as a fraction, by moving the point: no digit is made up or lost. */
export function fraction(text) {
  const found = /^([+-]?)(\d*)\.?(\d*)\s*%?$/.exec(text.trim().replace("\u2212", "-"));
  if (!found || !(found[2] + found[3])) return null;
  const whole = found[2].padStart(3, "0");
  const [units, moved] = [whole.slice(0, -2), whole.slice(-2)];
  return `${found[1] === "-" ? "-" : ""}${units.replace(/^0+(?=\d)/, "")}.${moved}${found[3]}`;
}

const positive = (read) => (text) => {
  const value = read(text);
  return value === null || Number(value) < 0 ? null : value;
};

export const FIELDS = [
  { name: "symbol", label: "Symbol", first: true, read: (text) => text.trim(), hint: "", example: "any" },
  {
    name: "min_profit", label: "Net at least", hint: "%", first: true, read: fraction, example: "0",
    wrong: "Give per cent, for example 0.05",
  },
  {
    name: "min_volume", label: "Volume 24 h from", hint: "$", first: true,
    read: positive(money),
    example: "any", wrong: "Give dollars, for example 5m or 250k",
  },
  {
    name: "min_oi", label: "Open interest from", hint: "$", first: true,
    read: positive(money),
    example: "any", wrong: "Give dollars, for example 5m or 250k",
  },
  {
    name: "min_divergence", label: "Edge per hour from", hint: "%", read: fraction, example: "any",
    wrong: "Give per cent, for example 0.002",
  },
  {
    name: "max_break_even_hours", label: "Break-even within", hint: "h",
    read: positive(plainNumber),
    example: "any", wrong: "Give hours, for example 24",
  },
  {
    name: "max_spread", label: "Spread up to", hint: "%",
    read: positive(fraction),
    example: "any", wrong: "Give per cent, for example 0.1",
  },
  {
    name: "max_price_divergence", label: "Price difference up to", hint: "%",
    read: positive(fraction),
    example: "any", wrong: "Give per cent, for example 0.5",
  },
  {
    name: "max_volume", label: "Volume 24 h up to", hint: "$",
    read: positive(money),
    example: "any", wrong: "Give dollars, for example 5m or 250k",
  },
  {
    name: "max_oi", label: "Open interest up to", hint: "$",
    read: positive(money),
    example: "any", wrong: "Give dollars, for example 5m or 250k",
  },
  {
    name: "oi_ratio_min", label: "OI long/short from", hint: "×",
    read: positive(plainNumber),
    example: "any", wrong: "Give a ratio, for example 0.5",
  },
  {
    name: "oi_ratio_max", label: "OI long/short up to", hint: "×",
    read: positive(plainNumber),
    example: "any", wrong: "Give a ratio, for example 2",
  },
];

export const LISTS = [
  { name: "whitelist_dexes", label: "Both legs on one of", shown: "Both legs on" },
  { name: "dexes", label: "At least one leg on one of", shown: "A leg on" },
  { name: "exclude_dexes", label: "No leg on", shown: "No leg on" },
];

/** What the address says, as typed; unknown names are dropped. */
export function fromAddress(query) {
  const names = [
    ...FIELDS.map((field) => field.name),
    ...LISTS.map((list) => list.name),
    "required_dex", "dex_pair", "horizon_hours", "sort_by", "sort_desc", "limit",
  ];
  return Object.fromEntries(names.filter((name) => query[name]).map((name) => [name, query[name]]));
}

/** {parameters, wrong: {name: words}}: what cannot be read is told and not sent. */
export function toRequest(typed) {
  const parameters = {};
  const wrong = {};
  for (const field of FIELDS) {
    const text = typed[field.name];
    if (!text) continue;
    const value = field.read(text);
    if (value === null) wrong[field.name] = field.wrong;
    else parameters[field.name] = value;
  }
  for (const name of [
    ...LISTS.map((list) => list.name),
    "required_dex", "dex_pair", "sort_by", "sort_desc",
  ]) if (typed[name]) parameters[name] = typed[name];
  if (parameters.dex_pair && parameters.dex_pair.split(",").filter(Boolean).length !== 2) delete parameters.dex_pair;
  parameters.horizon_hours = typed.horizon_hours ?? "24";
  parameters.limit = typed.limit ?? "100";
  return { parameters, wrong };
}
