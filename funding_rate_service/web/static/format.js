// Figures as people read them. Values arrive as decimal strings; null stays "unknown" and never becomes zero.

export const MINUS = "\u2212";
export const NONE = "\u2013";
export const UNITS = {
  hourly: { key: "hourly", short: "1 h", long: "% per hour", digits: 4, hours: 1 },
  rate_8h: { key: "rate_8h", short: "8 h", long: "% per 8 hours", digits: 4, hours: 8 },
  annual: { key: "annual", short: "Year", long: "% per year", digits: 2, hours: 8760 },
};

export function number(value) {
  if (value === null || value === undefined || value === "") return null;
  const found = Number(value);
  return Number.isFinite(found) ? found : null;
}

/** Grouped digits with a true minus; never "minus zero". */
export function fixed(value, digits, signed = false) {
  const body = Math.abs(value).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  if (!/[1-9]/.test(body)) return body;
  return (value < 0 ? MINUS : signed ? "+" : "") + body;
}

/** A fraction as signed per cent, without the unit sign. */
export function percent(value, digits) {
  const found = number(value);
  if (found === null) return NONE;
  const shown = found * 100;
  const size = Math.abs(shown);
  return fixed(shown, size >= 1000 ? 0 : size >= 100 ? Math.min(digits, 1) : digits, true);
}

export function rate(value, unit) {
  return percent(value, UNITS[unit].digits);
}

/** Dollars as typed, 25k or 1,500.50: commas stand between thousands and nowhere else; null for what is none. */
export function amount(text) {
  const found = /^\$?\s*(\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+\.?\d*|\.\d+)\s*([kmb]?)$/i.exec(text.trim());
  return found ? Number(found[1].replaceAll(",", "")) * { "": 1, k: 1e3, m: 1e6, b: 1e9 }[found[2].toLowerCase()] : null;
}

const SCALES = [
  [1e12, "T"],
  [1e9, "B"],
  [1e6, "M"],
  [1e3, "k"],
];

export function usd(value, signed = false) {
  const found = number(value);
  if (found === null) return NONE;
  const size = Math.abs(found);
  const [scale, letter] = SCALES.find(([least]) => size >= least * 0.99995) ?? [1, ""];
  const scaled = size / scale;
  const digits = letter === "" ? 2 : scaled >= 100 ? 0 : scaled >= 10 ? 1 : 2;
  const body = scaled.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const sign = found < 0 ? MINUS : signed && found > 0 ? "+" : "";
  return `${sign}$${body}${letter}`;
}

/** Dollars to the cent, for results. */
export function cents(value) {
  const found = number(value);
  return found === null ? NONE : fixed(found, 2, true);
}

export function price(value) {
  const found = number(value);
  if (found === null) return NONE;
  const size = Math.abs(found);
  const digits = size >= 10000 ? 1 : size >= 100 ? 2 : size >= 1 ? 4 : Math.min(12, 4 - Math.floor(Math.log10(size || 1)));
  return fixed(found, digits);
}

export function hours(value) {
  const found = number(value);
  if (found === null) return NONE;
  if (found < 1) return `${Math.max(1, Math.round(found * 60))} min`;
  if (found < 48) return `${fixed(found, found < 10 && found % 1 ? 1 : 0)} h`;
  return `${fixed(found / 24, found < 240 && found % 24 ? 1 : 0)} d`;
}

export function age(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return NONE;
  const found = Math.max(0, seconds);
  if (found < 99.5) return `${Math.round(found)} s`;
  if (found < 5970) return `${Math.round(found / 60)} min`;
  if (found < 172800) return `${Math.round(found / 3600)} h`;
  return `${Math.round(found / 86400)} d`;
}

/** The same where there is little room. */
export const shortAge = (seconds) => age(seconds).replace(/ (s|m|h|d)\w*$/, "$1");

/** Until then, in words that read like no time of day. */
export function countdown(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return NONE;
  if (seconds <= -60) return "passed";
  if (seconds <= 0) return "now";
  const whole = Math.floor(seconds);
  const pad = (part) => String(part).padStart(2, "0");
  const [hh, mm, ss] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return `in ${hh ? `${hh} h ${pad(mm)} min` : mm ? `${mm} min ${pad(ss)} s` : `${ss} s`}`;
}

const TIME = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const DAY = { day: "numeric", month: "short" };

export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB", { ...TIME, second: "2-digit" });
export const minute = (ms) => new Date(ms).toLocaleTimeString("en-GB", TIME);
export const day = (ms) => new Date(ms).toLocaleDateString("en-GB", DAY);
export const moment = (ms) => `${day(ms)} ${minute(ms)}`;
export const utc = (ms) => `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** Dollars in full. */
export function dollars(value, signed = false) {
  const found = number(value);
  if (found === null) return NONE;
  const digits = Math.abs(found) >= 1000 && found % 1 === 0 ? 0 : 2;
  const body = `$${fixed(Math.abs(found), digits)}`;
  return found < 0 ? MINUS + body : signed && found > 0 ? `+${body}` : body;
}

/** A quantity as it was given, with a true minus. */
export const quantity = (value) => (value === null || value === undefined ? NONE : String(value).replace(/^-/, MINUS));

/** Names from venues may be long. */
export const clip = (name, most = 24) => (name.length > most ? `${name.slice(0, most - 1)}\u2026` : name);

export function bytes(value) {
  const found = number(value);
  if (found === null) return NONE;
  const power = Math.min(4, Math.floor(Math.log(Math.max(1, found)) / Math.log(1000)));
  return `${fixed(found / 1000 ** power, power && found / 1000 ** power < 100 ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

export function count(value) {
  const found = number(value);
  return found === null ? NONE : fixed(found, 0);
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
