// A list of any length of which only what is near the screen exists. Rows may have any height, and are measured.

const ESTIMATE_PX = 470;
// Rows beyond the screen that exist already, so that scrolling meets no holes.
const AHEAD_PX = 600;

/**
 * Rows by key, laid out below each other in `element`; the page itself scrolls.
 * `make(key)` returns a row: {element, appear(), vanish()}. `top()` tells how much of the screen a bar covers.
 */
export class VirtualList {
  #element;
  #make;
  #top;
  #keys = [];
  #places = new Map();
  #tops = new Float64Array(1);
  #heights = new Map();
  #rows = new Map();
  #estimate = ESTIMATE_PX;
  #width = 0;
  #frame = 0;
  #resizes;
  held = null;

  constructor(element, make, top) {
    this.#element = element;
    this.#make = make;
    this.#top = top;
    this.#resizes = new ResizeObserver((entries) => this.#measure(entries));
    new ResizeObserver(() => this.#widthChanged()).observe(element);
    addEventListener("scroll", () => this.update(), { passive: true });
    addEventListener("resize", () => this.update());
  }

  /** List these keys; what is on the screen stays where it is, if it is still among them. */
  setKeys(keys) {
    const anchor = this.#anchor();
    this.#keys = keys;
    this.#places = new Map(keys.map((key, place) => [key, place]));
    for (const key of [...this.#rows.keys()]) if (!this.#places.has(key)) this.#remove(key);
    this.#layOut();
    this.#hold(anchor);
    this.draw();
  }

  get length() {
    return this.#keys.length;
  }

  place(key) {
    return this.#places.get(key) ?? -1;
  }

  keyAt(place) {
    return this.#keys[place];
  }

  row(key) {
    return this.#rows.get(key);
  }

  /** How many rows exist. */
  get drawn() {
    return this.#rows.size;
  }

  get rows() {
    return this.#rows.values();
  }

  /** The first key that the screen shows. */
  get firstSeen() {
    return this.#keys[this.#placeAt(this.#scrolled())];
  }

  /** Draw at the next frame. */
  update() {
    this.#frame ||= requestAnimationFrame(() => this.draw());
  }

  /** Bring a row onto the screen, whole where it fits, and return it. */
  reveal(key) {
    const place = this.place(key);
    if (place < 0) return undefined;
    this.#scrollTo(place);
    this.draw();
    // Its height is known only now.
    this.#scrollTo(place);
    return this.#rows.get(key);
  }

  #scrollTo(place) {
    const room = innerHeight - this.#top();
    const top = this.#tops[place];
    const bottom = this.#tops[place + 1];
    const from = this.#scrolled();
    if (top < from || bottom - top > room) this.#scroll(top - from);
    else if (bottom > from + room) this.#scroll(bottom - from - room);
  }

  /** Make the rows that the screen is about to need and drop the others. */
  draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const from = this.#scrolled();
    const first = this.#placeAt(from - AHEAD_PX);
    const last = this.#placeAt(from + innerHeight + AHEAD_PX);
    const wanted = new Set(this.#keys.slice(first, last + 1));
    // Who has the focus keeps it, wherever the wheel goes.
    if (this.held !== null && this.#places.has(this.held)) wanted.add(this.held);
    for (const key of [...this.#rows.keys()]) if (!wanted.has(key)) this.#remove(key);
    const places = [...wanted].map((key) => this.#places.get(key)).sort((a, b) => a - b);
    let before = null;
    for (const place of places) before = this.#put(place, before);
    const seenFrom = from - innerHeight / 4;
    const seenTo = from + innerHeight * 1.25;
    // Those furthest down first: the newest wish is served first, and that is the top of the screen.
    for (const place of places.reverse()) {
      const row = this.#rows.get(this.#keys[place]);
      if (this.#tops[place + 1] > seenFrom && this.#tops[place] < seenTo) row.appear();
      else row.vanish();
    }
  }

  #put(place, before) {
    const key = this.#keys[place];
    let row = this.#rows.get(key);
    if (row === undefined) {
      row = this.#make(key);
      row.element.style.position = "absolute";
      this.#rows.set(key, row);
      this.#resizes.observe(row.element);
      row.element.dataset.key = key;
    }
    const next = before === null ? this.#element.firstElementChild : before.nextElementSibling;
    if (next !== row.element) this.#element.insertBefore(row.element, next);
    row.element.setAttribute("aria-rowindex", place + 1);
    row.element.style.transform = `translateY(${this.#tops[place]}px)`;
    return row.element;
  }

  #remove(key) {
    const row = this.#rows.get(key);
    row.vanish();
    this.#resizes.unobserve(row.element);
    row.element.remove();
    this.#rows.delete(key);
  }

  #layOut() {
    const tops = new Float64Array(this.#keys.length + 1);
    this.#keys.forEach((key, place) => (tops[place + 1] = tops[place] + (this.#heights.get(key) ?? this.#estimate)));
    this.#tops = tops;
    this.#element.style.height = `${tops.at(-1)}px`;
    this.#element.setAttribute("aria-rowcount", this.#keys.length);
  }

  #measure(entries) {
    let isNew = false;
    const anchor = this.#anchor();
    for (const { target, borderBoxSize } of entries) {
      const key = Number(target.dataset.key);
      const height = borderBoxSize[0].blockSize;
      if (!target.isConnected || height === 0 || this.#heights.get(key) === height) continue;
      this.#heights.set(key, height);
      this.#estimate = height;
      isNew = true;
    }
    if (!isNew) return;
    this.#layOut();
    this.#hold(anchor);
    this.draw();
  }

  #widthChanged() {
    const width = this.#element.clientWidth;
    if (width === this.#width) return;
    this.#width = width;
    this.#heights.clear();
    for (const [key, row] of this.#rows) this.#heights.set(key, row.element.offsetHeight);
    const anchor = this.#anchor();
    this.#layOut();
    this.#hold(anchor);
    this.update();
  }

  /** What the top of the screen shows: a key, and how far it is scrolled past. */
  #anchor() {
    const from = this.#scrolled();
    if (from <= 0 || this.#keys.length === 0) return null;
    const place = this.#placeAt(from);
    return { key: this.#keys[place], past: from - this.#tops[place] };
  }

  #hold(anchor) {
    const place = anchor === null ? -1 : this.place(anchor.key);
    if (place >= 0) this.#scroll(this.#tops[place] + anchor.past - this.#scrolled());
  }

  #scrolled() {
    return this.#top() - this.#element.getBoundingClientRect().top;
  }

  #scroll(by) {
    if (Math.abs(by) >= 1) scrollBy({ top: by, behavior: "instant" });
  }

  /** The place of the row at a height; the nearest there is. */
  #placeAt(y) {
    let low = 0;
    let high = this.#keys.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#tops[middle] <= y) low = middle;
      else high = middle - 1;
    }
    return Math.max(0, low);
  }
}
