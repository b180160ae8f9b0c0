// Elements without markup: whatever text comes from outside, it ends in a text node or an attribute.

/**
 * Make an element. Properties that begin with "on" are listeners, "class" and names with a dash are attributes,
 * everything else is set on the element; what is null or undefined is left out. Children are nodes or text.
 */
export function el(tag, properties = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class" || name === "role" || name.includes("-") || made instanceof SVGElement)
      made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const SHAPES = {
  check: "M5 12.5l4.5 4.5L19 7.5",
  play: "M8 5.5v13l10.5-6.5z",
  heart: "M12 19.5S4.5 15 4.5 9.6A4 4 0 0 1 12 7.8a4 4 0 0 1 7.5 1.8C19.5 15 12 19.5 12 19.5z",
  expand: "M9 4.5H4.5V9M15 4.5h4.5V9M9 19.5H4.5V15M15 19.5h4.5V15",
  close: "M6 6l12 12M18 6L6 18",
  undo: "M8 5L4 9l4 4M4 9h10a5.5 5.5 0 0 1 0 11h-3",
  flip: "M4 8h13l-3.5-3.5M20 16H7l3.5 3.5",
  zoom: "M10.5 5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11zM14.6 14.6L20 20M10.5 8v5M8 10.5h5",
  gone: "M5 5l14 14M4.5 6.5v13h13M9 4.5h10.5V15",
};

/** Draw one of a few icons; it says nothing to a screen reader. */
export function icon(name) {
  return el(
    "svg:svg",
    { class: `icon icon-${name}`, viewBox: "0 0 24 24", "aria-hidden": "true" },
    el("svg:path", { d: SHAPES[name] }),
  );
}

/** Find an element that the document has. */
export function byId(id) {
  return document.getElementById(id);
}

/** Say something to people who listen instead of looking; the same words twice are said twice. */
export function announce(text) {
  const region = byId("status");
  region.textContent = "";
  requestAnimationFrame(() => (region.textContent = text));
}
