// What tests ask of a page, as one object that every tab has.
globalThis.probe = {
  /** Whether every picture that is wanted is there. */
  loaded: () => [...document.images].filter((one) => one.getAttribute("src")).every((one) => one.complete),

  /** An attribute, property or style of every element that fits. */
  all: (selector, of) => [...document.querySelectorAll(selector)].map(of),

  texts: (selector) => probe.all(selector, (one) => one.textContent),

  /** Middle and size of an element. */
  box: (selector) => {
    const { x, y, width, height } = document.querySelector(selector).getBoundingClientRect();
    return { x, y, width, height };
  },

  /** What sticks out of the window on the right. */
  beyond: () =>
    [...document.querySelectorAll("body *")]
      .filter((one) => one.checkVisibility() && !one.closest(".unseen, #viewer-stage *"))
      .filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5)
      .map((one) => one.outerHTML.slice(0, 80)),

  /** Whether what has the focus is on the screen. */
  seesFocus: () => {
    const box = document.activeElement.getBoundingClientRect();
    return box.top >= 0 && box.top < innerHeight;
  },

  frames: (count) =>
    new Promise((resolve) => {
      const next = () => (count-- > 0 ? requestAnimationFrame(next) : resolve());
      next();
    }),

  /** Post JSON as a script of the page could; the answer's status and body. */
  post: (name, body) =>
    fetch(name, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }).then(
      async (said) => [said.status, await said.json()],
    ),

  /** Contrast of two colours of the page, by WCAG 2. */
  contrast: (one, other) => {
    const shown = document.createElement("i");
    document.body.append(shown);
    const light = (name) => {
      shown.style.color = `var(${name})`;
      const parts = getComputedStyle(shown).color.match(/[0-9.]+/g).slice(0, 3).map((part) => part / 255);
      const [r, g, b] = parts.map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [less, more] = [light(one), light(other)].sort((a, b) => a - b);
    shown.remove();
    return (more + 0.05) / (less + 0.05);
  },
};
