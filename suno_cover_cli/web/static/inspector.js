// The inspector's page: requests as they come, the one that is looked at, and sending one again.

import { Refusal, fetchJson, follow, postJson } from "./api.js";
import { differences } from "./differences.js";
import { announce, byId, el } from "./dom.js";
import { hexLines, jsonLines, sizeOf, textLines, bytesOf } from "./reading.js";
import { hasText, language, number, t, translate } from "./texts.js";

const LOST_AFTER_MS = 2500;

translate();

const requests = new Map();
const details = new Map();
let targets = {};
let most = 500;
let selected = null;
let mode = "pretty";
let hasDiff = false;
let replayed = null;
let lostTimer = 0;

// --- the list -----------------------------------------------------------------------------------

/** Ids of what the search leaves, the newest first. */
function listed() {
  const words = byId("words").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  return [...requests.values()]
    .filter(({ text }) => words.every((word) => text.includes(word)))
    .map(({ id }) => id)
    .reverse();
}

function itemOf(request) {
  const isGood = request.status >= 200 && request.status < 300;
  const when = new Date(request.ts * 1000).toLocaleTimeString(language);
  // The path is the same for nearly all of them; what follows it is not.
  const query = request.target.indexOf("?");
  return el(
    "li",
    {
      class: `request${request.callback ? "" : " other"}`,
      role: "option",
      id: `request-${request.id}`,
      tabIndex: -1,
      "aria-selected": String(request.id === selected),
      onclick: () => select(request.id, { focus: true, open: true }),
    },
    el("span", { class: "method" }, request.method),
    el("span", { class: "target" }, `${when} ${request.target.slice(Math.max(0, query))}`),
    el("span", { class: `code${isGood ? " good" : ""}` }, request.status === null ? "–" : String(request.status)),
    el("span", { class: "summary" }, request.summary),
  );
}

function draw() {
  const list = byId("requests");
  const ids = listed();
  const wanted = new Set(ids);
  for (const item of [...list.children]) if (!wanted.has(Number(item.id.slice(8)))) item.remove();
  let before = null;
  for (const id of ids) {
    const item = document.getElementById(`request-${id}`) ?? itemOf(requests.get(id));
    const next = before === null ? list.firstElementChild : before.nextElementSibling;
    if (next !== item) list.insertBefore(item, next);
    item.tabIndex = id === selected ? 0 : -1;
    before = item;
  }
  const all = number(requests.size);
  const isSearched = byId("words").value.trim() !== "";
  byId("counts").textContent = isSearched ? t("i_count_of", { n: number(ids.length), all }) : t("i_count", { n: all });
  byId("empty").hidden = requests.size > 0;
  if (selected === null && ids.length > 0) select(ids[0]);
  // Where a search hides the one that is looked at, Tab gets to the first that it shows.
  if (ids.length > 0 && !wanted.has(selected)) list.firstElementChild.tabIndex = 0;
}

function take(request) {
  request.text = [request.method, request.target, request.summary, request.words, request.status].join("\n").toLowerCase();
  requests.set(request.id, request);
  while (requests.size > most) {
    const [oldest] = requests.keys();
    if (oldest === selected) break;
    requests.delete(oldest);
    details.delete(oldest);
  }
}

async function select(id, { focus = false, open = false } = {}) {
  for (const item of document.querySelectorAll(".request[aria-selected=true]")) {
    item.setAttribute("aria-selected", "false");
    item.tabIndex = -1;
  }
  if (id !== selected) closeEditor();
  selected = id;
  replayed = null;
  const item = document.getElementById(`request-${id}`);
  if (item) {
    item.setAttribute("aria-selected", "true");
    item.tabIndex = 0;
    if (focus) item.focus({ preventScroll: true });
    item.scrollIntoView({ block: "nearest", behavior: "instant" });
  }
  if (open) showDetail();
  await show();
}

/** Where there is room for one thing only, let it be the request that is looked at. */
function showDetail() {
  if (selected !== null) document.querySelector("main").classList.add("has-detail");
}

function step(by) {
  const ids = listed();
  if (ids.length === 0) return;
  const at = ids.indexOf(selected);
  select(ids[Math.min(ids.length - 1, Math.max(0, at + by))], { focus: true });
}

// --- the one that is looked at ------------------------------------------------------------------

async function load(id) {
  if (!details.has(id)) details.set(id, await fetchJson("request", { id }));
  return details.get(id);
}

/** The request of the list that came before another one. */
function earlierThan(id) {
  return [...requests.keys()].filter((other) => other < id).at(-1);
}

async function show() {
  const id = selected;
  if (id === null) return;
  let detail;
  let earlier = null;
  try {
    detail = await load(id);
    const other = hasDiff ? earlierThan(id) : undefined;
    earlier = other === undefined ? null : await load(other);
  } catch (error) {
    showNotice(error instanceof Refusal ? "i_gone" : "lost");
    return;
  }
  if (id !== selected) return;
  byId("detail").hidden = false;
  const query = detail.query ? `?${detail.query}` : "";
  byId("detail-title").textContent = `${detail.method} ${detail.path}${query}`;
  const when = new Date(detail.ts * 1000).toLocaleString(language);
  byId("detail-summary").textContent = [detail.summary, detail.remote, when].filter(Boolean).join(" · ");
  byId("diff").setAttribute("aria-pressed", String(hasDiff));
  byId("diff-note").hidden = !hasDiff;
  const { method, summary } = requests.get(earlierThan(id)) ?? {};
  byId("diff-note").textContent =
    earlier === null ? t("i_diff_none") : t("i_diff_with", { what: [method, summary].filter(Boolean).join(" ") });
  put("p-headers", headerLines(detail), earlier && headerLines(earlier));
  put("p-body", bodyLines(detail), earlier && bodyLines(earlier));
  byId("p-body").classList.toggle("hex", mode === "hex");
  putAnswer(replayed ?? detail.answer, replayed !== null, replayed === null ? detail.others : []);
}

const headerLines = ({ headers }) => headers.map(([name, value]) => `${name}: ${value}`);

function bodyLines({ body, text }) {
  if (mode === "hex") return hexLines(bytesOf(body));
  if (text === null) return [t("i_binary", { size: sizeOf(bytesOf(body).length) }), ...hexLines(bytesOf(body))];
  return mode === "pretty" ? jsonLines(text) : textLines(text);
}

function put(id, lines, earlier) {
  const shown = earlier ? differences(earlier, lines) : lines.map((line) => [" ", line]);
  byId(id).replaceChildren(
    ...shown.map(([kind, line]) =>
      kind === " " ? el("p", {}, line) : el("p", { class: kind === "+" ? "plus" : "minus" }, `${kind} ${line}`),
    ),
  );
  if (shown.length === 0) byId(id).append(el("p", { class: "name" }, t("i_nothing")));
}

function answerHead(answer) {
  const status = answer.status === null ? t("i_no_answer") : String(answer.status);
  const by = answer.by ? t("i_by", { who: answer.by }) : t("i_by_listener");
  return `${status}, ${answer.latency_ms} ms, ${by}`;
}

/** What a receiver answered; `others`: the further ones, whose answers the sender does not see. */
function putAnswer(answer, isReplay, others = []) {
  byId("p-answer").replaceChildren(
    el("p", { class: "head" }, `${isReplay ? `${t("i_again")}: ` : ""}${answerHead(answer)}`),
    ...(answer.error ? [el("p", { class: "error" }, answer.error)] : []),
    ...answer.headers.map(([name, value]) => el("p", {}, el("span", { class: "name" }, `${name}: `), value)),
    ...bodyLines(answer).map((line) => el("p", {}, line)),
    ...others.flatMap((other) => [
      el("p", { class: "head" }, answerHead(other)),
      ...(other.error ? [el("p", { class: "error" }, other.error)] : []),
    ]),
  );
}

// --- again --------------------------------------------------------------------------------------

async function send(wish) {
  const id = selected;
  if (id === null) return;
  try {
    const answer = await postJson("replay", { id, ...wish });
    if (id !== selected) return;
    replayed = answer;
    putAnswer(answer, true);
    const said = answer.status === null ? answer.error || t("i_no_answer") : String(answer.status);
    announce(t("i_said_sent", { what: said }));
  } catch (error) {
    const code = error instanceof Refusal ? error.code : "gone";
    const why = t(hasText(`i_why_${code}`) ? `i_why_${code}` : "why_other", { code });
    announce(t("i_said_not_sent", { why }));
    byId("p-answer").replaceChildren(el("p", { class: "error" }, t("i_said_not_sent", { why })));
  }
}

const usualTarget = () => ("forward" in targets ? "forward" : "listener");

function closeEditor() {
  byId("editor").hidden = true;
  byId("edit").setAttribute("aria-expanded", "false");
}

async function toggleEditor() {
  if (!byId("editor").hidden || selected === null) return closeEditor();
  showDetail();
  const detail = await load(selected);
  byId("edit-to").replaceChildren(
    ...Object.entries(targets).map(([name, url]) => el("option", { value: name, selected: name === usualTarget() }, url)),
  );
  byId("edit-method").value = detail.method;
  byId("edit-query").value = detail.query;
  byId("edit-headers").value = headerLines(detail).join("\n");
  byId("edit-body").value = detail.text ?? "";
  byId("edit-body").disabled = detail.text === null;
  byId("editor").hidden = false;
  byId("edit").setAttribute("aria-expanded", "true");
  byId("edit-body").focus();
}

byId("editor").addEventListener("submit", async (event) => {
  event.preventDefault();
  const detail = await load(selected);
  const lines = byId("edit-headers").value.split("\n").filter((line) => line.trim());
  const headers = lines.map((line) => {
    const at = line.indexOf(":");
    return at < 0 ? [line.trim(), ""] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
  });
  const typed = byId("edit-body").value;
  // Unchanged text goes out as the bytes that came, whatever they were packed in.
  const text = detail.text === null || typed === textAsTyped(detail.text) ? null : typed;
  await send({
    to: byId("edit-to").value,
    method: byId("edit-method").value,
    query: byId("edit-query").value,
    headers,
    text,
  });
});

/** What a text becomes in a textarea: its line ends are one character. */
const textAsTyped = (text) => text.replace(/\r\n?/g, "\n");

// --- keys ---------------------------------------------------------------------------------------

function setMode(next) {
  mode = next;
  byId(`mode-${next}`).checked = true;
  announce(t(`i_${next}`));
  show();
}

function toggleDiff() {
  hasDiff = !hasDiff;
  announce(t(hasDiff ? "i_said_diff_on" : "i_said_diff_off"));
  show();
}

const MODES = ["pretty", "text", "hex"];
const KEYS = {
  ArrowUp: () => step(-1),
  ArrowDown: () => step(1),
  Home: () => step(-Infinity),
  End: () => step(Infinity),
  b: () => setMode(MODES[(MODES.indexOf(mode) + 1) % MODES.length]),
  d: toggleDiff,
  r: () => {
    showDetail();
    send({ to: usualTarget() });
  },
  e: toggleEditor,
  Enter: () => {
    showDetail();
    byId("detail-title").focus();
  },
  "/": () => byId("words").focus(),
  "?": () => byId("help").showModal(),
};

function escape() {
  if (!byId("editor").hidden) {
    closeEditor();
    byId("edit").focus();
    return;
  }
  if (byId("words").value) {
    byId("words").value = "";
    draw();
  }
  document.querySelector("main").classList.remove("has-detail");
  document.getElementById(`request-${selected}`)?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || byId("help").open) return;
  const { target, key } = event;
  if (key === "Escape") return escape();
  if (target.matches("input:not([type=radio]), textarea, select")) return;
  if (target.matches("input, .lines") && (key.startsWith("Arrow") || key === "Home" || key === "End")) return;
  if (target.matches("button") && key === "Enter") return;
  if (!Object.hasOwn(KEYS, key)) return;
  event.preventDefault();
  KEYS[key]();
});

byId("words").addEventListener("input", draw);
byId("words").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" && event.key !== "ArrowDown") return;
  event.preventDefault();
  const [first] = listed();
  if (first !== undefined) select(first, { focus: true });
});
for (const name of MODES) byId(`mode-${name}`).addEventListener("change", () => setMode(name));
byId("diff").addEventListener("click", toggleDiff);
byId("replay").addEventListener("click", KEYS.r);
byId("edit").addEventListener("click", toggleEditor);
byId("edit-close").addEventListener("click", closeEditor);
byId("back").addEventListener("click", escape);
byId("keys").addEventListener("click", KEYS["?"]);

// --- what comes ---------------------------------------------------------------------------------

function showNotice(key) {
  byId("notice").hidden = key === null;
  byId("notice").textContent = key === null ? "" : t(key);
}

let drawing = 0;
follow({
  sync: async () => {
    clearTimeout(lostTimer);
    const said = await fetchJson("requests");
    showNotice(null);
    targets = said.targets;
    most = said.most;
    requests.clear();
    said.requests.forEach(take);
    draw();
    document.documentElement.setAttribute("data-ready", "");
  },
  answer: ({ id }) => {
    details.delete(id);
    if (id === selected && replayed === null) show();
  },
  request: (request) => {
    take(request);
    // A flood is drawn once a frame.
    drawing ||= requestAnimationFrame(() => {
      drawing = 0;
      draw();
    });
  },
  end: () => {
    clearTimeout(lostTimer);
    showNotice("i_ended");
  },
  lost: () => {
    clearTimeout(lostTimer);
    lostTimer = setTimeout(() => showNotice("i_ended"), LOST_AFTER_MS);
  },
});
