// Elements from data. Text goes in as text nodes only: nothing here, or anywhere on the page, turns a string into markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Sets the text only where it differs: an unchanged node is neither painted nor announced again. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
  return node;
}

export function replace(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** As `replace`, for nodes without listeners: what is the same stays in place, and with it focus, selection and scroll. */
export function renew(node, ...children) {
  const made = node.cloneNode(false);
  replace(made, ...children);
  match(node, made);
}

function match(node, made) {
  const wanted = [...made.childNodes];
  wanted.forEach((next, n) => {
    const present = node.childNodes[n];
    if (!present) node.append(next);
    else if (present.nodeName !== next.nodeName) present.replaceWith(next);
    else if (present.nodeType !== Node.ELEMENT_NODE) {
      if (present.nodeValue !== next.nodeValue) present.nodeValue = next.nodeValue;
    } else {
      for (const name of present.getAttributeNames()) if (!next.hasAttribute(name)) present.removeAttribute(name);
      for (const name of next.getAttributeNames()) {
        if (present.getAttribute(name) !== next.getAttribute(name)) present.setAttribute(name, next.getAttribute(name));
      }
      match(present, next);
    }
  });
  while (node.childNodes.length > wanted.length) node.lastChild.remove();
}

/** A short highlight of what changed; two names in turn restart the animation. */
export function flash(node) {
  const next = node.classList.contains("flash-a") ? "flash-b" : "flash-a";
  node.classList.remove("flash-a", "flash-b");
  node.classList.add(next);
}

export function debounce(wait, work) {
  let timer = 0;
  const later = (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), wait);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

/** Radio buttons that look like one control. */
export function segmented(label, name, options, value, changed) {
  return h(
    "fieldset",
    { class: "segmented" },
    h("legend", { class: "sr" }, label),
    options.map(([key, shown]) =>
      h(
        "label",
        null,
        h("input", { type: "radio", name, value: key, checked: key === value, onchange: () => changed(key) }),
        h("span", null, shown),
      ),
    ),
  );
}

export function field(label, control, hint) {
  return h("label", { class: "field" }, h("span", null, label, hint ? h("small", null, ` ${hint}`) : null), control);
}

export function notice(kind, title, detail, action) {
  return h("div", { class: `empty ${kind}` }, h("p", { class: "big" }, title), detail ? h("p", null, detail) : null, action ?? null);
}
