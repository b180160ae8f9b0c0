// What the page knows of jobs, which of them are listed, and what was picked.

import { Refusal, fetchJson, postJson } from "./api.js";

const FIRST_CHUNK = 60;
const CHUNK = 1000;
const EXPIRES_SOON_S = 3 * 24 * 3600;
// Some browsers forget how far down an element is beyond 17 million pixels.
const MOST_LISTED = 20000;

export const FILTERS = ["all", "undecided", "picked", "expiring"];

/** The jobs of the gallery, newest first. */
export class Jobs {
  #jobs = new Map();
  #order = [];
  #undo = [];
  #listeners = [];
  #sync = 0;
  #writing = Promise.resolve();
  filter = "all";
  words = "";
  listed = [];
  isCut = false;
  isLoaded = false;
  isReadOnly = false;
  storeEdge = 3000;
  #clockAhead = 0;

  /** Call `listener(kind, detail)` for "list" (order or filter), "job" (one changed) and "loaded". */
  listen(listener) {
    this.#listeners.push(listener);
  }

  #tell(kind, detail) {
    for (const listener of this.#listeners) listener(kind, detail);
  }

  find(id) {
    return this.#jobs.get(id);
  }

  get count() {
    return this.#jobs.size;
  }

  get undecided() {
    let count = 0;
    for (const job of this.#jobs.values()) count += job.picked === null ? 1 : 0;
    return count;
  }

  /** Seconds until a job's links expire; null when they never do, or have. */
  leftS(job) {
    if (job.expires === null) return null;
    const left = job.expires - (Date.now() / 1000 + this.#clockAhead);
    return left > 0 ? left : null;
  }

  /** Read all jobs anew: a screenful first, so that there is something to see, and then the rest. */
  async load() {
    const sync = ++this.#sync;
    const seen = new Set();
    let before = null;
    for (let limit = FIRST_CHUNK; ; limit = CHUNK) {
      const said = await fetchJson("jobs", before === null ? { limit } : { limit, before });
      if (sync !== this.#sync) return;
      this.isReadOnly = said.read_only;
      this.storeEdge = said.store_edge;
      this.#clockAhead = said.now - Date.now() / 1000;
      for (const job of said.jobs) seen.add(job.id);
      this.isLoaded = true;
      this.put(said.jobs);
      if (said.is_last) break;
      before = said.jobs.at(-1).id;
    }
    this.drop([...this.#jobs.keys()].filter((id) => !seen.has(id)));
    this.#tell("loaded");
  }

  /** Take jobs in that are new or have changed, as told with number `n`; returns how many are new. */
  put(entries, n = 0) {
    let added = 0;
    for (const entry of entries) {
      const known = this.#jobs.get(entry.id);
      if (known === undefined) {
        entry.text = [entry.title, entry.music, entry.task].filter(Boolean).join("\n").toLowerCase();
        this.#jobs.set(entry.id, Object.assign(entry, { stored: entry.picked, pending: 0, n }));
        added += 1;
      } else {
        const shown = known.pending ? known.picked : entry.picked;
        Object.assign(known, entry, { stored: entry.picked, picked: shown, n: Math.max(known.n, n) });
        this.#tell("job", known);
      }
    }
    if (added) {
      // Ids grow; what comes in the order of the server needs no sorting, what arrives later does.
      this.#order = [...this.#jobs.keys()].sort((a, b) => b - a);
      const wanted = new Set(entries.filter((entry) => this.#fits(entry)).map((entry) => entry.id));
      const listed = new Set(this.listed);
      this.#list((id) => listed.has(id) || wanted.has(id));
    }
    return added;
  }

  /** Forget jobs that are gone. */
  drop(ids) {
    if (ids.filter((id) => this.#jobs.delete(id)).length === 0) return;
    this.#order = this.#order.filter((id) => this.#jobs.has(id));
    const listed = new Set(this.listed);
    this.#list((id) => listed.has(id));
  }

  /** List what fits a filter and words; what is decided afterwards stays listed until this is called again. */
  show(filter, words) {
    this.filter = filter;
    this.words = words.trim().toLowerCase();
    this.#list((id) => this.#fits(this.#jobs.get(id)));
  }

  #list(isWanted) {
    const listed = this.#order.filter(isWanted);
    this.isCut = listed.length > MOST_LISTED;
    this.listed = this.isCut ? listed.slice(0, MOST_LISTED) : listed;
    this.#tell("list");
  }

  #fits(job) {
    if (this.words && !this.words.split(/\s+/).every((word) => job.text.includes(word))) return false;
    if (this.filter === "undecided") return job.picked === null;
    if (this.filter === "picked") return typeof job.picked === "number";
    if (this.filter === "expiring") return (this.leftS(job) ?? Infinity) < EXPIRES_SOON_S;
    return true;
  }

  // --- picks ------------------------------------------------------------------------------------

  /**
   * Pick a variant, "none" of them, or null to take a choice back. The page shows it at once and takes it back when
   * the server refuses. Returns {ok, code, picked}.
   */
  async pick(job, picked, { canUndo = true } = {}) {
    const was = job.picked;
    if (this.isReadOnly) return { ok: false, code: "read_only", picked: was };
    if (was === picked) return { ok: true, picked };
    job.pending += 1;
    this.#show(job, picked);
    // One after the other: each says which choice it replaces, and that has to be stored first.
    const writing = this.#writing.then(() => postJson("pick", { job: job.id, picked, was: job.stored }));
    this.#writing = writing.catch(() => {});
    try {
      this.#store(job, await writing);
    } catch (error) {
      const isRefusal = error instanceof Refusal;
      if (isRefusal && error.code === "overtaken") job.stored = error.facts.picked;
      return { ok: false, code: isRefusal ? error.code : "gone", picked: job.stored };
    } finally {
      job.pending -= 1;
      if (job.pending === 0) this.#show(job, job.stored);
    }
    if (canUndo) this.#undo.push({ id: job.id, was, picked });
    return { ok: true, picked };
  }

  /** Take the last pick back; returns {job, ...} as pick does, or null when there is none. */
  async undo() {
    const last = this.#undo.pop();
    const job = last && this.#jobs.get(last.id);
    if (!job) return last ? this.undo() : null;
    // A choice made elsewhere is not ours to take back.
    if (job.picked !== last.picked) return { job, ok: false, code: "overtaken", picked: job.picked };
    return { job, ...(await this.pick(job, last.was, { canUndo: false })) };
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  /** Take in a choice that is stored, made here or elsewhere; `n` grows from one to the next. */
  learn(id, said) {
    const job = this.#jobs.get(id);
    if (job === undefined) return;
    this.#store(job, said);
    if (job.pending === 0) this.#show(job, job.stored);
  }

  // The answer to a choice may come after what was told of a later one.
  #store(job, { picked, n }) {
    if (n < job.n) return;
    job.n = n;
    job.stored = picked;
  }

  #show(job, picked) {
    if (job.picked === picked) return;
    job.picked = picked;
    this.#tell("job", job);
  }
}
