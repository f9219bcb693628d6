// Building and changing what is shown. All text becomes text nodes: nothing that a peer or a model says can be markup.

const SVG = "http://www.w3.org/2000/svg";

/** A description of an element. `of` has attributes, `on…` handlers and `key`; children are descriptions, texts or nothing. */
export function h(tag, of, ...children) {
  return { tag, of: of ?? {}, children: children.flat(9).filter((child) => child !== null && child !== undefined && child !== false) };
}

/** Makes the children of `parent` what `wanted` describes. What is there already stays, so that focus and selection do. */
export function show(parent, ...wanted) {
  const list = wanted.flat(9).filter((child) => child !== null && child !== undefined && child !== false);
  const keyed = new Map();
  for (const node of parent.childNodes) if (node.fednodeKey !== undefined) keyed.set(node.fednodeKey, node);
  let at = parent.firstChild;
  for (const want of list) {
    const key = want.of?.key;
    let node = key === undefined ? at : keyed.get(key);
    if (!node || !fits(node, want)) node = make(want, parent);
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
    fill(node, want);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function fits(node, want) {
  if (typeof want !== "object") return node.nodeType === Node.TEXT_NODE;
  return node.nodeType === Node.ELEMENT_NODE && node.localName === want.tag && node.fednodeKey === want.of.key;
}

function make(want, parent) {
  if (typeof want !== "object") return document.createTextNode("");
  const svg = want.tag === "svg" || parent.namespaceURI === SVG;
  const node = svg ? document.createElementNS(SVG, want.tag) : document.createElement(want.tag);
  node.fednodeKey = want.of.key;
  return node;
}

function fill(node, want) {
  if (typeof want !== "object") {
    if (node.data !== String(want)) node.data = String(want);
    return;
  }
  const said = new Set();
  for (const [name, value] of Object.entries(want.of)) {
    if (name === "key" || value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) {
      node[name] = value;
      continue;
    }
    said.add(name);
    const text = value === true ? "" : String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
  for (const { name } of [...node.attributes]) if (!said.has(name)) node.removeAttribute(name);
  show(node, want.children);
}

/** The element with this id. */
export const by = (id) => document.getElementById(id);

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Such as "15.3 GiB". */
export function bytes(count) {
  let unit = 0;
  let value = count;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Such as "850 ms", "4.2 s", "3 min", "2 h". */
export function span(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return ms < 172_800_000 ? `${Math.round(ms / 3_600_000)} h` : `${Math.round(ms / 86_400_000)} days`;
}

/** The time of day. */
export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString([], { hour12: false });

/** "1 thing", "2 things". */
export const many = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;
