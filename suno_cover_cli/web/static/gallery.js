// The gallery's page: keys, clicks and what the server tells, brought together.

import { follow } from "./api.js";
import { announce, byId } from "./dom.js";
import { FILTERS, Jobs } from "./jobs.js";
import { VirtualList } from "./list.js";
import { Row, coverOf, decisionOf, nameOf } from "./rows.js";
import { hasText, number, t, translate } from "./texts.js";
import { Viewer } from "./viewer.js";
import { LinkedZoom } from "./zoom.js";

const LOST_AFTER_MS = 2500;
const TOAST_MS = 8000;
const SEARCH_AFTER_MS = 150;

translate();

const jobs = new Jobs();
const bar = byId("bar");
const list = new VirtualList(byId("list"), makeRow, () => bar.offsetHeight);
const viewer = new Viewer(jobs, act);
const zoom = new LinkedZoom();
let current = { id: null, n: null };
let lostTimer = 0;
let toastTimer = 0;

function makeRow(id) {
  const row = new Row(jobs.find(id), jobs, act);
  if (id === current.id) row.cell(current.n)?.setAttribute("tabindex", "0");
  return row;
}

// --- where the keys are -------------------------------------------------------------------------

function setCurrent(id, n) {
  list.row(current.id)?.cell(current.n)?.setAttribute("tabindex", "-1");
  list.row(current.id)?.element.classList.remove("current");
  if (id !== current.id) endZoom();
  current = { id, n };
  list.held = id;
  const row = list.row(id);
  row?.cell(n)?.setAttribute("tabindex", "0");
  row?.element.classList.add("current");
}

/** Go to a variant of a listed job and give it the focus. */
function goTo(id, n, { focus = true } = {}) {
  const row = list.reveal(id);
  if (row === undefined) return;
  const known = row.numbers.includes(n) ? n : row.numbers[0];
  setCurrent(id, known);
  if (focus) row.cell(known).focus({ preventScroll: true });
}

function step(by) {
  const at = list.place(current.id);
  const place = at < 0 ? list.place(list.firstSeen) : Math.min(list.length - 1, Math.max(0, at + by));
  const id = list.keyAt(place);
  if (id === undefined) return;
  goTo(id, current.n, { focus: !viewer.isOpen });
  if (viewer.isOpen) viewer.open(list.row(id), current.n);
}

function stepVariant(by) {
  if (viewer.isOpen) return viewer.move(by);
  const row = list.row(current.id);
  if (row === undefined) return step(0);
  const at = row.numbers.indexOf(current.n) + by;
  if (at >= 0 && at < row.numbers.length) goTo(current.id, row.numbers[at]);
}

// --- picks --------------------------------------------------------------------------------------

async function pick(job, picked) {
  if (job === undefined) return;
  if (jobs.isReadOnly) return announce(t("said_read_only"));
  if (typeof picked === "number" && !job.covers.some(([n]) => n === picked))
    return announce(t("said_no_variant", { title: nameOf(job), n: picked }));
  report(job, await jobs.pick(job, picked));
}

async function undo() {
  const undone = await jobs.undo();
  if (undone === null) return announce(t("said_nothing_to_undo"));
  if (!viewer.isOpen && list.place(undone.job.id) >= 0) goTo(undone.job.id, current.n);
  report(undone.job, undone);
}

function report(job, { ok, code, picked }) {
  const title = nameOf(job);
  let words;
  if (ok) words = t(picked === null ? "said_cleared" : picked === "none" ? "said_none" : "said_picked", { title, n: picked });
  else if (code === "overtaken") words = t("said_elsewhere", { title, what: decisionOf(picked) });
  else words = t("failed", { why: t(hasText(`why_${code}`) ? `why_${code}` : "why_other", { code }) });
  announce(ok ? `${words} ${t("said_left", { n: number(jobs.undecided) })}` : words);
  showToast(words, ok);
  if (["missing", "changed", "unreadable"].includes(code)) list.row(job.id)?.refresh();
}

function showToast(words, ok) {
  byId("toast-text").textContent = words;
  byId("toast").hidden = false;
  byId("toast").classList.toggle("bad", !ok);
  byId("toast-undo").hidden = !jobs.canUndo;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (byId("toast").hidden = true), TOAST_MS);
}

// --- looking closer -----------------------------------------------------------------------------

function endZoom() {
  if (zoom.isOn) zoom.end();
}

function toggleZoom() {
  if (viewer.isOpen) return viewer.zoom();
  const row = list.row(current.id);
  if (row === undefined) return;
  if (zoom.isOn) zoom.end();
  else {
    const whole = row.numbers.filter((n) => row.isWhole(n));
    zoom.begin(whole.map((n) => ({ frame: row.frame(n), source: coverOf(row.job, row.shownIn(n)) })));
  }
  announce(t(zoom.isOn ? "said_zoom_on" : "said_zoom_off"));
}

function flip() {
  if (viewer.isOpen) return viewer.flip();
  endZoom();
  const shown = list.row(current.id)?.flip(current.n);
  if (shown) announce(t("said_flipped", { a: current.n, b: shown }));
}

// --- what is clicked ----------------------------------------------------------------------------

const ACTS = {
  focus: (job, n) => setCurrent(job.id, n),
  pick: (job, picked) => {
    if (!viewer.isOpen) goTo(job.id, typeof picked === "number" ? picked : current.n);
    pick(job, picked);
  },
  none: (job) => pick(job, "none"),
  open: (job, n) => {
    goTo(job.id, n);
    viewer.open(list.row(job.id), n);
  },
  undo,
  flip,
  zoom: toggleZoom,
  previous: () => step(-1),
  next: () => step(1),
  close: () => viewer.close(),
  closed: (job, n) => job && list.place(job.id) >= 0 && goTo(job.id, n),
  help: () => byId("help").showModal(),
};

function act(name, job, n) {
  ACTS[name](job, n);
}

// --- keys ---------------------------------------------------------------------------------------

const PANS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const KEYS = {
  ArrowLeft: () => stepVariant(-1),
  ArrowRight: () => stepVariant(1),
  ArrowUp: () => step(-1),
  ArrowDown: () => step(1),
  Home: () => step(-Infinity),
  End: () => step(Infinity),
  Enter: () => openCurrent(),
  " ": flip,
  0: () => pick(keyJob(), "none"),
  x: () => pick(keyJob(), "none"),
  u: undo,
  z: toggleZoom,
  f: () => showFilter(FILTERS[(FILTERS.indexOf(jobs.filter) + 1) % FILTERS.length]),
  "/": () => byId("words").focus(),
  "?": () => ACTS.help(),
  Escape: endZoom,
};

const keyJob = () => (viewer.isOpen ? viewer.job : jobs.find(current.id));

function openCurrent() {
  const row = list.row(current.id);
  if (row !== undefined && !viewer.isOpen) viewer.open(row, current.n);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || byId("help").open) return;
  const { target, key } = event;
  if (target.matches("input[type=search]")) return key === "Escape" ? leaveSearch() : undefined;
  // What a control of the page does with a key of its own, it does.
  if (target.matches("input") && (key.startsWith("Arrow") || key === " ")) return;
  if (target.matches("button, a, summary") && (key === " " || key === "Enter")) return;
  const isZoomed = viewer.isOpen ? viewer.isZoomed : zoom.isOn;
  if (isZoomed && key in PANS) (viewer.isOpen ? viewer : { pan: (...by) => zoom.move(...by) }).pan(...PANS[key]);
  else if (isZoomed && key === "Escape") toggleZoom();
  else if (/^[1-9]$/.test(key)) pick(keyJob(), Number(key));
  else if (Object.hasOwn(KEYS, key) && !(key === "Escape" && viewer.isOpen)) KEYS[key]();
  else return;
  event.preventDefault();
});

// --- the bar ------------------------------------------------------------------------------------

function showFilter(filter) {
  byId(`filter-${filter}`).checked = true;
  jobs.show(filter, byId("words").value);
  announce(t("said_filter", { n: number(jobs.listed.length) }));
}

function leaveSearch() {
  byId("words").value = "";
  showFilter(jobs.filter);
  byId("words").blur();
  if (list.length) goTo(list.place(current.id) < 0 ? list.keyAt(0) : current.id, current.n);
}

for (const filter of FILTERS) byId(`filter-${filter}`).addEventListener("change", () => showFilter(filter));
let searching = 0;
byId("words").addEventListener("input", () => {
  clearTimeout(searching);
  searching = setTimeout(() => showFilter(jobs.filter), SEARCH_AFTER_MS);
});
byId("words").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || list.length === 0) return;
  event.preventDefault();
  goTo(list.keyAt(0), current.n);
});
for (const name of ["corners", "ground"])
  byId(name).addEventListener("change", (event) => (document.documentElement.dataset[name] = event.target.value));
byId("keys").addEventListener("click", ACTS.help);
byId("toast-undo").addEventListener("click", undo);
byId("toast-close").addEventListener("click", () => (byId("toast").hidden = true));

// --- what changes -------------------------------------------------------------------------------

function showCounts() {
  const left = jobs.undecided;
  byId("counts").textContent = [
    jobs.count === 1 ? t("jobs_1") : t("jobs_n", { n: number(jobs.count) }),
    left ? t("undecided_left", { n: number(left) }) : t("undecided_none"),
  ].join(" · ");
  byId("read-only").hidden = !jobs.isReadOnly;
  const empty = byId("empty");
  empty.hidden = !jobs.isLoaded || list.length > 0;
  if (!empty.hidden) empty.textContent = t(jobs.words ? "nothing_found" : jobs.count ? "nothing_here" : "nothing");
  byId("cut").hidden = !jobs.isCut;
  byId("cut").textContent = t("too_many", { n: number(jobs.listed.length) });
}

let counting = 0;
jobs.listen((kind, detail) => {
  if (kind === "list") {
    list.setKeys(jobs.listed);
    if (list.place(current.id) < 0 && list.length) {
      const isIdle = document.activeElement === document.body;
      setCurrent(list.keyAt(0), jobs.find(list.keyAt(0)).covers[0]?.[0] ?? null);
      if (isIdle) list.row(current.id)?.cell(current.n)?.focus({ preventScroll: true });
    }
  }
  if (kind === "job") {
    list.row(detail.id)?.showDecision();
    if (viewer.isOpen && viewer.job.id === detail.id) viewer.showDecision();
  }
  counting ||= requestAnimationFrame(() => {
    counting = 0;
    showCounts();
  });
});

function showNotice(key) {
  byId("notice").hidden = key === null;
  byId("notice").textContent = key === null ? "" : t(key);
}

const ready = () => document.documentElement.setAttribute("data-ready", "");

follow({
  sync: async () => {
    clearTimeout(lostTimer);
    showNotice(null);
    await jobs.load();
    ready();
  },
  picked: ({ job, ...said }) => jobs.learn(job, said),
  jobs: ({ jobs: entries, gone, n }) => {
    jobs.drop(gone);
    const added = jobs.put(entries, n);
    for (const entry of entries) list.row(entry.id)?.refresh();
    if (added) announce(t("said_new", { n: added }));
  },
  end: () => {
    clearTimeout(lostTimer);
    showNotice("ended");
    announce(t("ended"));
  },
  lost: () => {
    clearTimeout(lostTimer);
    lostTimer = setTimeout(() => showNotice("lost"), LOST_AFTER_MS);
  },
});
