// The server behind the page. Addresses are relative: everything lies below one random path.

/** An answer that is a refusal; `code` is the server's word, `facts` what it adds. */
export class Refusal extends Error {
  constructor(status, facts) {
    super(facts.code);
    this.status = status;
    this.code = facts.code;
    this.facts = facts;
  }
}

async function read(response) {
  const said = await response.json().catch(() => ({ error: { code: "unreadable" } }));
  if (!response.ok) throw new Refusal(response.status, said.error ?? { code: "unreadable" });
  return said;
}

/** Put numbers and words into an address. */
export function address(name, query = {}) {
  const words = new URLSearchParams(query).toString();
  return words ? `${name}?${words}` : name;
}

/** Fetch JSON. Throws a Refusal, or a TypeError when the server is gone. */
export async function fetchJson(name, query, signal) {
  return read(await fetch(address(name, query), { signal, headers: { Accept: "application/json" } }));
}

/** Post JSON and return the answer. Throws as fetchJson does. */
export async function postJson(name, body) {
  return read(
    await fetch(name, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
  );
}

/**
 * Follow what the server tells. A page that is hidden lets go of its connection, because browsers have six for a
 * server; when it is seen again it gets "open" first, and reads what it missed.
 */
export function follow(listeners) {
  let source = null;
  let hasEnded = false;
  const begin = () => {
    if (source !== null || hasEnded || document.hidden) return;
    source = new EventSource("events");
    for (const [name, listener] of Object.entries(listeners)) {
      source.addEventListener(name, (event) => {
        if (name === "end") {
          hasEnded = true;
          stop();
        }
        if (event.data !== undefined) listener(JSON.parse(event.data));
      });
    }
    // The browser tries again by itself; it cannot know that the server may have ended.
    source.onerror = () => listeners.lost?.();
  };
  const stop = () => {
    source?.close();
    source = null;
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : begin()));
  begin();
}

/**
 * Runs wishes a few at a time, the newest first: what was scrolled past is not waited for. The browser's other
 * connections stay free for what is clicked.
 */
export class NewestFirst {
  #free;
  #waiting = [];

  constructor(atOnce) {
    this.#free = atOnce;
  }

  /** Run `work(signal)`; returns a function that gives the wish up. */
  add(work) {
    const wish = { work, gaveUp: new AbortController() };
    this.#waiting.push(wish);
    // Not at once: of wishes that come together, the last one is the newest too.
    queueMicrotask(() => this.#next());
    return () => {
      wish.gaveUp.abort();
      this.#waiting = this.#waiting.filter((other) => other !== wish);
    };
  }

  #next() {
    while (this.#free > 0 && this.#waiting.length > 0) {
      const wish = this.#waiting.pop();
      this.#free -= 1;
      wish.work(wish.gaveUp.signal).finally(() => {
        this.#free += 1;
        this.#next();
      });
    }
  }
}
