// A table as a file.

/** Quoted where needed; text that a spreadsheet would take for a formula is kept as text. */
function field(value) {
  if (value === null || value === undefined) return "";
  const text = String(value);
  const safe = /^[=+\-@\t\r]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function toCsv(columns, rows) {
  return [
    columns.map(([name]) => field(name)),
    ...rows.map((row) => columns.map(([, value]) => field(value(row))))
  ].map((line) => line.join(",")).join("\r\n") + "\r\n";
}

export function download(name, content) {
  const address = URL.createObjectURL(new Blob([content], { type: "text/csv;charset=utf-8" }));
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
