// @ts-check
/** The accounts of the user: connect, reconnect, disconnect. */
import { explain } from "/app/orbyt/client/src/index.js";
import { attempt, button, byId, Cards, el, explanation, notify } from "./page.js";

/** @typedef {import("/app/orbyt/client/src/index.js").Orbyt} Orbyt */
/** @typedef {import("/app/orbyt/client/src/index.js").Account} Account */
/** @typedef {import("/app/orbyt/client/src/index.js").Candidate} Candidate */
/** @typedef {import("/app/orbyt/client/src/index.js").Platform} Platform */

/** @type {Record<Platform, string>} */
export const PLATFORMS = { facebook: "Facebook", instagram: "Instagram", youtube: "YouTube" };
/** @type {Record<Account["status"], [string, string]>} */
const STATUS = { active: ["connected", "good"], needs_reauth: ["reconnect", "warn"], disconnected: ["disconnected", ""] };

/** This page, letter for letter one of the links a login may return to (ORBYT_CONNECT_RETURN_TO). */
const HERE = `${location.origin}${location.pathname}`;

export class Accounts {
  /** @param {Orbyt} orbyt */
  constructor(orbyt) {
    this.orbyt = orbyt;
    this.cards = new Cards(byId("accounts"), "None yet. Connect one to publish to it.");
    /** @type {Account[]} */
    this.accounts = [];
    /** @type {() => unknown} */
    this.changed = () => undefined;
    for (const pressed of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-connect]"))) {
      pressed.onclick = () => void attempt(() => this.connect(/** @type {Platform} */ (pressed.dataset["connect"])), pressed);
    }
  }

  /** @param {Account[]} accounts */
  show(accounts) {
    this.accounts = accounts;
    this.cards.show(
      accounts,
      (account) => account.account_id,
      (account) => String(account.version),
      (account) => this.card(account),
    );
  }

  /** @param {Account} account */
  card(account) {
    const [text, mood] = STATUS[account.status];
    const why = account.status === "active" ? undefined : explain(account);
    return el(
      "li",
      {},
      el(
        "div",
        { className: "head" },
        el("h3", { textContent: `${PLATFORMS[account.platform]}: ${account.name ?? account.platform_account_id}` }),
        el("span", { className: `badge ${mood}`, textContent: text }),
      ),
      el("p", { className: "note", textContent: account.platform_account_id }),
      why && explanation(why),
      el(
        "p",
        { className: "buttons" },
        account.status !== "active" && button("Reconnect", () => this.connectAgain(account.account_id)),
        account.status !== "disconnected" &&
          button("Disconnect", async () => {
            await this.orbyt.disconnect(account.account_id);
            await this.changed();
          }),
      ),
    );
  }

  /** @param {string} accountId */
  connectAgain(accountId) {
    const account = this.accounts.find((each) => each.account_id === accountId);
    return account ? this.connect(account.platform, accountId) : undefined;
  }

  /**
   * Leaves the page for the platform's; `comeBack` goes on. An app on a phone opens the system browser instead, and waits for the link.
   * @param {Platform} platform @param {string} [accountId]
   */
  connect(platform, accountId) {
    return this.orbyt.connect({
      platform,
      returnTo: HERE,
      ...(accountId ? { accountId } : {}),
      choose,
      open: (authorizeUrl) => {
        location.assign(authorizeUrl);
        return new Promise(() => undefined);
      },
    });
  }

  /** If this page was opened by a login's way back: follow it to its end. */
  async comeBack() {
    if (!new URLSearchParams(location.search).has("session_id")) return;
    const link = location.href;
    // Reloading the page must not go through it again. Facebook leaves a fragment.
    history.replaceState(null, "", HERE);
    await attempt(async () => {
      notify("Connecting…");
      await this.orbyt.resumeConnect(link, { choose, pollSeconds: 1 });
      notify();
    });
    await this.changed();
  }
}

/** The person picks. @param {Candidate[]} candidates @returns {Promise<string[] | null>} */
function choose(candidates) {
  notify();
  const dialog = /** @type {HTMLDialogElement} */ (byId("choose"));
  const boxes = candidates.map((candidate) => {
    const box = el("input", { type: "checkbox", value: candidate.platform_account_id, disabled: !candidate.usable, checked: candidate.connected });
    const reason = candidate.usable ? undefined : explain(candidate.code);
    const label = el("label", { className: "box" }, box, candidate.name + (candidate.connected ? " (connected)" : ""));
    return { box, row: el("div", {}, label, reason && el("p", { className: "note", textContent: `${reason.whatHappened} ${reason.whatToDo}` })) };
  });
  byId("candidates").replaceChildren(...boxes.map(({ row }) => row));
  dialog.showModal();
  return new Promise((resolve) => {
    const close = (/** @type {string[] | null} */ chosen) => {
      dialog.close();
      resolve(chosen);
    };
    byId("choose-connect").onclick = () => close(boxes.filter(({ box }) => box.checked).map(({ box }) => box.value));
    byId("choose-none").onclick = () => close(null);
    dialog.oncancel = () => resolve(null);
  });
}
