// One row of the gallery: a job, its variants level, each as people will meet it.

import { NewestFirst, Refusal, address, fetchJson } from "./api.js";
import { el, icon } from "./dom.js";
import { language, t } from "./texts.js";

// Looks take the server's time; the browser keeps three of its six connections for everything else.
const looks = new NewestFirst(3);
const RETRY_MS = 400;

/** The words a job is called by. */
export function nameOf(job) {
  return job.title ?? job.music ?? job.task;
}

/** Say what was decided. */
export function decisionOf(picked) {
  if (picked === null) return t("undecided");
  return picked === "none" ? t("none_picked") : t("picked_n", { n: picked });
}

/** The address of a small picture; a new one when the file is another. */
export const smallOf = (job, n) => address("small", { job: job.id, n });

/** The address of the file itself. */
export const coverOf = (job, n) => address("cover", { job: job.id, n });

/** The badges that a job's size and age lead to, before its files are read. */
function badgesOf(job, jobs) {
  const badges = [];
  if (job.sandbox) badges.push(["info", t("sandbox")]);
  const left = jobs.leftS(job);
  if (left !== null) {
    const days = Math.floor(left / 86400);
    const text = days > 1 ? t("days_left", { n: days }) : days === 1 ? t("day_left") : t("hours_left");
    badges.push([left < 3 * 86400 ? "warn" : "info", text]);
  }
  return badges;
}

function coverBadges(cover, edge) {
  const [, width, height] = cover;
  const badges = [];
  if (width !== height) badges.push(["warn", t("not_square")]);
  const short = Math.min(width, height);
  if (short < edge) {
    const factor = edge / short;
    badges.push(["info", t("scale", { factor: factor < 10 ? factor.toFixed(1) : Math.round(factor), edge })]);
  }
  return badges;
}

function badge([kind, text]) {
  return el("li", { class: `badge badge-${kind}` }, text);
}

/** A row on the page. `act(name, job, n)` is called for what is clicked. */
export class Row {
  #jobs;
  #act;
  #giveUp = null;
  #retry = 0;
  #look = null;
  #cells = new Map();
  #state;
  #badges;

  constructor(job, jobs, act) {
    this.job = job;
    this.#jobs = jobs;
    this.#act = act;
    this.element = this.#build();
    this.showDecision();
  }

  #build() {
    const { job } = this;
    this.#badges = el("ul", { class: "badges" }, ...badgesOf(job, this.#jobs).map(badge));
    this.#state = el("p", { class: "decision" });
    const made = job.created ? new Date(job.created * 1000) : null;
    const head = el(
      "div",
      { class: "row-head", role: "rowheader" },
      el("h2", { dir: "auto" }, nameOf(job)),
      el(
        "p",
        { class: "row-ids" },
        el("span", { class: "mono" }, job.title ? (job.music ?? job.task) : job.task),
        made && el("time", { dateTime: made.toISOString() }, made.toLocaleString(language, WHEN)),
      ),
      this.#badges,
      this.#state,
    );
    const cells = job.covers.map((cover) => this.#buildCell(cover));
    return el(
      "div",
      { class: "row", role: "row", id: `job-${job.id}` },
      head,
      el("div", { class: "variants", role: "none" }, ...cells),
      this.#buildNone(),
    );
  }

  #buildCell(cover) {
    const { job } = this;
    const [n, width, height] = cover;
    const frame = el("div", { class: "frame", onclick: () => this.#act("pick", job, n) }, picture("large"));
    const cell = el(
      "div",
      {
        class: "cell",
        role: "gridcell",
        tabIndex: -1,
        "aria-selected": "false",
        onfocus: () => this.#act("focus", job, n),
      },
      frame,
      el("div", { class: "uses" }, use("dark", job), use("light", job)),
      el(
        "div",
        { class: "caption" },
        el("span", { class: "number" }, String(n)),
        el("span", { class: "size" }, `${width} × ${height}`),
        el("ul", { class: "badges" }, ...coverBadges(cover, this.#jobs.storeEdge).map(badge)),
        el(
          "button",
          { type: "button", class: "ghost", tabIndex: -1, title: t("full_size"), "aria-label": `${t("full_size")}, ${n}`,
            onclick: () => this.#act("open", job, n) },
          icon("expand"),
        ),
        el(
          "button",
          { type: "button", class: "pick", tabIndex: -1, onclick: () => this.#act("pick", job, n) },
          icon("check"),
          el("span", {}, t("pick", { n })),
        ),
      ),
    );
    this.#cells.set(n, { cell, shows: n, state: "waiting", notes: [] });
    return cell;
  }

  #buildNone() {
    const { job } = this;
    const choose = () => this.#act("pick", job, "none");
    return el(
      "div",
      { class: "none", role: "gridcell", "aria-selected": "false" },
      el("button", { type: "button", class: "quiet", tabIndex: -1, onclick: choose }, icon("close"), el("span", {}, t("pick_none"))),
    );
  }

  get numbers() {
    return [...this.#cells.keys()];
  }

  cell(n) {
    return this.#cells.get(n)?.cell;
  }

  frame(n) {
    return this.cell(n)?.querySelector(".frame");
  }

  /** Whether the file of a variant is the one that was saved, as far as is known. */
  isWhole(n) {
    return this.#cells.get(n)?.state === "ok";
  }

  /** Which variant stands in the place of another. */
  shownIn(n) {
    return this.#cells.get(n)?.shows ?? n;
  }

  // --- what the server knows of the files ---------------------------------------------------------

  /** Ask for a look at the files, now that the row is on the screen. */
  appear() {
    if (this.#giveUp !== null || this.#look !== null) return;
    this.#giveUp = looks.add(async (signal) => {
      try {
        this.#show(await fetchJson("look", { job: this.job.id }, signal));
      } catch (error) {
        if (error instanceof Refusal && error.code === "busy") this.#retry = setTimeout(() => this.#again(), RETRY_MS);
        else if (!signal.aborted) this.#showStates(new Map(), "unreadable");
      }
    });
  }

  #again() {
    this.#giveUp = null;
    this.appear();
  }

  /** The row is not on the screen any more. */
  vanish() {
    clearTimeout(this.#retry);
    this.#giveUp?.();
    this.#giveUp = null;
  }

  /** Look anew: the files may be others. */
  refresh() {
    this.#look = null;
    this.vanish();
    this.appear();
  }

  #show(look) {
    this.#look = look;
    for (const [a, b] of look.alike) this.#badges.append(badge(["warn", t("alike", { a, b })]));
    const states = new Map(look.covers.map((cover) => [cover.n, cover]));
    this.#showStates(states, "unreadable");
  }

  #showStates(states, fallback) {
    for (const [n, known] of this.#cells) {
      const found = states.get(n);
      known.state = found?.state ?? fallback;
      const list = known.cell.querySelector(".caption .badges");
      list.querySelectorAll(".badge-look").forEach((old) => old.remove());
      known.notes = [];
      if (found?.border) known.notes.push(["warn", t("border")]);
      for (const mark of found?.marks ?? []) known.notes.push(["mark", mark]);
      for (const note of known.notes) {
        const made = badge(note);
        made.classList.add("badge-look");
        list.append(made);
      }
      known.cell.dataset.state = known.state;
      if (known.state === "ok") this.showIn(n, n);
      else this.#showTrouble(known);
    }
    this.showDecision();
  }

  #showTrouble(known) {
    const frame = known.cell.querySelector(".frame");
    known.cell.querySelectorAll("img").forEach((image) => image.removeAttribute("src"));
    frame.querySelector(".trouble")?.remove();
    frame.append(el("p", { class: "trouble" }, icon("gone"), el("span", {}, t(`state_${known.state}`))));
  }

  // --- what is on the screen ----------------------------------------------------------------------

  /** Put the pictures of a variant into the place of another, or of itself. */
  showIn(place, n) {
    const known = this.#cells.get(place);
    known.shows = n;
    known.cell.querySelectorAll("img").forEach((image) => (image.src = smallOf(this.job, n)));
    known.cell.querySelector(".flipped")?.remove();
    if (n !== place) known.cell.querySelector(".frame").append(el("p", { class: "flipped" }, t("flipped", { n })));
    this.#name(place);
  }

  /** Flip the place of a variant to the next variant that can be shown, and back to its own in the end. */
  flip(place) {
    const whole = this.numbers.filter((n) => this.isWhole(n));
    if (whole.length < 2 || !this.isWhole(place)) return null;
    const next = whole[(whole.indexOf(this.shownIn(place)) + 1) % whole.length];
    this.showIn(place, next);
    return next;
  }

  /** Show what was decided. */
  showDecision() {
    const { picked } = this.job;
    this.element.dataset.decision = picked === null ? "undecided" : picked === "none" ? "none" : "picked";
    this.#state.textContent = decisionOf(picked);
    const { isReadOnly } = this.#jobs;
    for (const [n, { cell }] of this.#cells) {
      const isPicked = picked === n;
      cell.setAttribute("aria-selected", String(isPicked));
      const button = cell.querySelector(".pick");
      button.hidden = isReadOnly && !isPicked;
      button.disabled = isReadOnly;
      button.querySelector("span").textContent = isPicked ? t("picked") : t("pick", { n });
      this.#name(n);
    }
    const none = this.element.querySelector(".none");
    none.setAttribute("aria-selected", String(picked === "none"));
    none.hidden = isReadOnly && picked !== "none";
    none.querySelector("button").disabled = isReadOnly;
    none.querySelector("span").textContent = picked === "none" ? t("none_picked") : t("pick_none");
  }

  /** Give the cell of a variant its name for those who hear it. */
  #name(n) {
    const { cell, shows, state, notes } = this.#cells.get(n);
    const cover = this.job.covers.find(([number]) => number === n);
    const words = [nameOf(this.job), t("variant", { n, count: this.job.covers.length })];
    if (this.job.picked === n) words.push(t("picked"));
    if (shows !== n) words.push(t("flipped", { n: shows }));
    if (state !== "ok" && state !== "waiting") words.push(t(`state_${state}`));
    words.push(`${cover[1]} × ${cover[2]}`, ...coverBadges(cover, this.#jobs.storeEdge).map(([, text]) => text));
    words.push(...notes.map(([, text]) => text));
    cell.setAttribute("aria-label", words.join(", "));
  }
}

const WHEN = { dateStyle: "medium", timeStyle: "short" };

/** A picture that says nothing by itself: the cell around it has the words. */
function picture(kind) {
  return el("img", { class: `art art-${kind}`, alt: "", decoding: "async", draggable: false });
}

/** How a cover is met: small, square and rounded, and in the line of a song that plays. */
function use(ground, job) {
  return el(
    "div",
    { class: `use use-${ground}`, "aria-hidden": "true" },
    el("div", { class: "smalls" }, picture("square"), picture("rounded"), picture("round")),
    el(
      "div",
      { class: "player" },
      picture("line"),
      el(
        "div",
        { class: "song" },
        el("span", { class: "song-title", dir: "auto" }, nameOf(job)),
        el("span", { class: "song-artist" }, t("artist_line")),
      ),
      icon("heart"),
      icon("play"),
    ),
  );
}
