// @ts-check
/** What every part of the page needs: elements, a notice, and the texts around an error. */
import { explain } from "/app/orbyt/client/src/index.js";

/** @typedef {import("/app/orbyt/client/src/index.js").Explanation} Explanation */

/**
 * The element with this id. @template {HTMLElement} [T=HTMLElement] @param {string} id @returns {T}
 */
export function byId(id) {
  return /** @type {T} */ (document.getElementById(id));
}

/**
 * A new element; texts become text, so nothing that came from a database is ever HTML.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, unknown>} [properties] @param {...(Node | string | false | null | undefined)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== false && child !== null && child !== undefined));
  return made;
}

/**
 * A button that waits for what it started, and says what went wrong.
 * @param {string} text @param {() => unknown} act @param {Record<string, unknown>} [properties]
 */
export function button(text, act, properties = {}) {
  const made = el("button", { type: "button", textContent: text, ...properties });
  made.addEventListener("click", () => void attempt(act, made));
  return made;
}

/** @type {(signedOut: Explanation) => void} */
let onSignedOut = () => undefined;

/** @param {(signedOut: Explanation) => void} then */
export function whenSignedOut(then) {
  onSignedOut = then;
}

/** @param {() => unknown} act @param {HTMLButtonElement} [pressed] */
export async function attempt(act, pressed) {
  if (pressed) pressed.disabled = true;
  notify();
  try {
    await act();
  } catch (error) {
    report(error);
  } finally {
    if (pressed) pressed.disabled = false;
  }
}

/** @param {unknown} error */
export function report(error) {
  const found = explain(error);
  if (!found) throw error;
  if (found.code === "signed_out") onSignedOut(found);
  notify(`${found.title}. ${found.whatHappened} ${found.whatToDo}`);
}

/** At the top of the page; without a text it goes away. @param {string} [text] */
export function notify(text = "") {
  const notice = byId("notice");
  notice.textContent = text;
  notice.hidden = text === "";
}

/** @type {Record<Explanation["whoActs"], string>} */
const WHO = {
  user: "You can solve this.",
  app_developer: "This is for whoever makes this app.",
  operator: "This is for whoever runs this service.",
  platform: "The platform has to act.",
  nobody: "Nobody has to do anything.",
};

/** What happened, what to do and who does it. @param {Explanation} why */
export function explanation(why) {
  return el(
    "div",
    { className: `why ${why.severity}` },
    el("strong", { textContent: why.title }),
    el("p", { textContent: why.whatHappened }),
    el("p", { textContent: `${why.whatToDo} ${WHO[why.whoActs]}` }),
    el("p", { className: "note" }, "Code: ", el("code", { textContent: why.code })),
  );
}

/** A list whose entries are made anew only when they changed: what somebody is about to press stays where it is. */
export class Cards {
  /** @param {HTMLElement} list @param {string} emptyText */
  constructor(list, emptyText) {
    this.list = list;
    this.emptyText = emptyText;
    /** @type {Map<string, { stamp: string, card: HTMLElement }>} */
    this.known = new Map();
  }

  /** @template Row @param {Row[]} rows @param {(row: Row) => string} key @param {(row: Row) => string} stamp @param {(row: Row) => HTMLElement} make */
  show(rows, key, stamp, make) {
    /** @type {Map<string, { stamp: string, card: HTMLElement }>} */
    const next = new Map();
    for (const row of rows) {
      const before = this.known.get(key(row));
      next.set(key(row), before?.stamp === stamp(row) ? before : { stamp: stamp(row), card: make(row) });
    }
    const cards = [...next.values()].map(({ card }) => card);
    const unchanged = cards.length === this.known.size && [...this.known.values()].every(({ card }, at) => card === cards[at]);
    this.known = next;
    if (unchanged && cards.length > 0) return;
    this.list.replaceChildren(...(cards.length > 0 ? cards : [el("li", { className: "note", textContent: this.emptyText })]));
  }
}

/** @param {string} when ISO 8601 */
export function timeText(when) {
  return new Date(when).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
