// One job at full size: its variants level, or one at a time where the screen is narrow.

import { announce, byId, el, icon } from "./dom.js";
import { coverOf, decisionOf, nameOf } from "./rows.js";
import { t } from "./texts.js";
import { LinkedZoom } from "./zoom.js";

/** The full-size view. `act(name, job, n)` is called for what is clicked. */
export class Viewer {
  #jobs;
  #act;
  #dialog = byId("viewer");
  #stage = byId("viewer-stage");
  #zoom = new LinkedZoom();
  #row = null;
  #shows = new Map();
  #opener = null;
  n = null;

  constructor(jobs, act) {
    this.#jobs = jobs;
    this.#act = act;
    for (const button of this.#dialog.querySelectorAll("button[data-act]"))
      button.addEventListener("click", () => this.#act(button.dataset.act, this.job, this.n));
    this.#dialog.addEventListener("close", () => this.#closed());
  }

  get isOpen() {
    return this.#dialog.open;
  }

  get job() {
    return this.#row?.job;
  }

  /** Show the job of a row, with the focus on a variant. */
  open(row, n) {
    this.#zoom.end();
    this.#row = row;
    this.#shows = new Map();
    byId("viewer-title").textContent = nameOf(row.job);
    this.#stage.replaceChildren(...row.numbers.map((number) => this.#build(row.job, number)));
    this.#stage.dataset.count = row.numbers.length;
    byId("viewer-picks").replaceChildren(...row.numbers.map((number) => this.#buildPick(number)));
    if (!this.isOpen) {
      this.#opener = document.activeElement;
      this.#dialog.showModal();
    }
    this.showDecision();
    this.focus(n ?? row.numbers[0]);
  }

  #build(job, n) {
    const cover = job.covers.find(([number]) => number === n);
    const image = el("img", { class: "art", alt: "", decoding: "async", src: coverOf(job, n), draggable: false });
    const figure = el(
      "figure",
      { class: "full", tabIndex: -1, role: "group", onfocus: () => this.#focused(n) },
      el("div", { class: "frame", onclick: () => this.#act("zoom", job, n) }, image),
      el(
        "figcaption",
        {},
        el("span", { class: "number" }, String(n)),
        el("span", { class: "size" }, `${cover[1]} × ${cover[2]}`),
        el("span", { class: "shows" }),
      ),
    );
    figure.dataset.n = n;
    image.addEventListener("error", () => this.#fail(figure));
    return figure;
  }

  async #fail(figure) {
    // An image tells nothing of why; the server does.
    const { job } = this;
    const address = coverOf(job, Number(figure.dataset.n));
    const said = await fetch(address).then((response) => response.json()).catch(() => null);
    const text = t(`state_${said?.error?.code ?? "unreadable"}`);
    const frame = figure.querySelector(".frame");
    frame.querySelector(".trouble")?.remove();
    frame.append(el("p", { class: "trouble" }, icon("gone"), el("span", {}, text)));
  }

  #buildPick(n) {
    return el(
      "button",
      { type: "button", class: "pick", onclick: () => this.#act("pick", this.job, n) },
      icon("check"),
      el("span", {}, t("pick", { n })),
    );
  }

  /** Move the focus to a variant; on a narrow screen it is the one that is seen. */
  focus(n) {
    const figure = this.#figure(n);
    figure?.focus({ preventScroll: true });
    figure?.scrollIntoView({ block: "nearest", inline: "center", behavior: "instant" });
    this.#focused(n);
  }

  #focused(n) {
    this.n = n;
    for (const figure of this.#stage.children) figure.classList.toggle("current", Number(figure.dataset.n) === n);
  }

  #figure(n) {
    return [...this.#stage.children].find((figure) => Number(figure.dataset.n) === n);
  }

  move(by) {
    const { numbers } = this.#row;
    const at = numbers.indexOf(this.n) + by;
    if (at >= 0 && at < numbers.length) this.focus(numbers[at]);
  }

  /** Show the next variant in the place of the one that has the focus, at the same zoom. */
  flip() {
    const { numbers } = this.#row;
    if (numbers.length < 2) return;
    const next = numbers[(numbers.indexOf(this.#shows.get(this.n) ?? this.n) + 1) % numbers.length];
    this.#shows.set(this.n, next);
    const figure = this.#figure(this.n);
    figure.querySelector("img").src = coverOf(this.job, next);
    figure.querySelector(".shows").textContent = next === this.n ? "" : t("flipped", { n: next });
    announce(t("said_flipped", { a: this.n, b: next }));
  }

  get isZoomed() {
    return this.#zoom.isOn;
  }

  zoom() {
    if (this.#zoom.isOn) this.#zoom.end();
    else
      this.#zoom.begin(
        [...this.#stage.children].map((figure) => {
          const n = Number(figure.dataset.n);
          return { frame: figure.querySelector(".frame"), source: coverOf(this.job, this.#shows.get(n) ?? n) };
        }),
      );
    announce(t(this.#zoom.isOn ? "said_zoom_on" : "said_zoom_off"));
  }

  pan(right, down) {
    this.#zoom.move(right, down);
  }

  /** Show what was decided. */
  showDecision() {
    if (!this.isOpen) return;
    const { picked, covers } = this.job;
    const { isReadOnly } = this.#jobs;
    byId("viewer-decision").textContent = decisionOf(picked);
    this.#dialog.dataset.decision = picked === null ? "undecided" : picked === "none" ? "none" : "picked";
    [...byId("viewer-picks").children].forEach((button, place) => {
      const n = this.#row.numbers[place];
      button.setAttribute("aria-pressed", String(picked === n));
      button.querySelector("span").textContent = picked === n ? t("picked_n", { n }) : t("pick", { n });
      button.disabled = isReadOnly;
    });
    const none = byId("viewer-none");
    none.setAttribute("aria-pressed", String(picked === "none"));
    none.disabled = isReadOnly;
    for (const figure of this.#stage.children) {
      const n = Number(figure.dataset.n);
      figure.classList.toggle("is-picked", picked === n);
      const words = [t("variant", { n, count: covers.length })];
      if (picked === n) words.push(t("picked"));
      figure.setAttribute("aria-label", words.join(", "));
    }
  }

  close() {
    this.#dialog.close();
  }

  #closed() {
    this.#zoom.end();
    this.#stage.replaceChildren();
    const opener = this.#opener;
    this.#opener = null;
    if (opener?.isConnected) opener.focus({ preventScroll: true });
    this.#act("closed", this.job, this.n);
  }
}
