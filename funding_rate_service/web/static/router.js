// Where the reader is: `#/view/part/part?name=value`, kept in the address so that links and the back button work.

export function parse(hash = location.hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view, ...parts] = path.split("/").map(decode);
  return { view: view || "rates", parts, query: Object.fromEntries(new URLSearchParams(search)) };
}

export function link(view, parts = [], query = {}) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== null && value !== undefined && value !== "" && value !== false) found.set(name, value);
  const search = found.toString();
  return `#/${[view, ...parts].map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

/** A setting of the present view goes into the address without a new entry in the browser's history. */
export function remember(view, parts, query) {
  history.replaceState(history.state, "", link(view, parts, query));
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
