// @ts-check
/** Posts and how they are getting on. Everything shown is in the row; what an error code means is in the client module. */
import { explain, isFinal } from "/app/orbyt/client/src/index.js";
import { PLATFORMS } from "./accounts.js";
import { button, byId, Cards, el, explanation, timeText } from "./page.js";

/** @typedef {import("/app/orbyt/client/src/index.js").Orbyt} Orbyt */
/** @typedef {import("/app/orbyt/client/src/index.js").Account} Account */
/** @typedef {import("/app/orbyt/client/src/index.js").Job} Job */
/** @typedef {import("/app/orbyt/client/src/index.js").Explanation} Explanation */
/** @typedef {{ reconnect: (accountId: string) => unknown, edit: (job: Job) => void }} Ways */

/** @type {Record<Job["status"], string>} */
const MOODS = { queued: "", publishing: "", held: "warn", published: "good", failed: "bad", cancelled: "" };

export class Posts {
  /** @param {Orbyt} orbyt @param {Ways} ways Where a button of a post leads. */
  constructor(orbyt, ways) {
    this.orbyt = orbyt;
    this.ways = ways;
    this.cards = new Cards(byId("posts"), "Nothing yet.");
    /** @type {Job[]} */
    this.jobs = [];
    /** @type {Map<string, Account>} */
    this.accounts = new Map();
    /** @type {() => unknown} */
    this.changed = () => undefined;
  }

  /** Something may change by itself. */
  get moving() {
    return this.jobs.some((job) => !isFinal(job));
  }

  /** @param {Account[]} accounts */
  showAccounts(accounts) {
    this.accounts = new Map(accounts.map((account) => [account.account_id, account]));
    this.show(this.jobs);
  }

  /** @param {Job[]} jobs */
  show(jobs) {
    this.jobs = jobs;
    this.cards.show(
      jobs,
      (job) => job.job_id,
      (job) => `${job.version} ${this.nameOf(job)}`,
      (job) => this.card(job),
    );
  }

  /** @param {Job} job */
  nameOf(job) {
    return `${PLATFORMS[job.platform]}: ${this.accounts.get(job.account_id)?.name ?? "…"}`;
  }

  /** @param {Job} job */
  card(job) {
    const why = explain(job);
    const scheduled = job.status === "queued" && new Date(job.publish_at) > new Date();
    const card = el(
      "li",
      {},
      el(
        "div",
        { className: "head" },
        el("h3", { textContent: this.nameOf(job) }),
        el("span", { className: `badge ${MOODS[job.status]}`, textContent: scheduled ? "scheduled" : job.status }),
      ),
      el("p", { textContent: `${job.kind}: ${job.title ?? job.caption ?? ""}` }),
      scheduled && el("p", { className: "note", textContent: timeText(job.publish_at) }),
      job.status === "publishing" && this.progress(job),
      why && explanation(why),
      // Waiting is a time, not a status.
      why && job.retryable && job.run_at && !isFinal(job) && el("p", { className: "note", textContent: `Next try: ${timeText(job.run_at)}` }),
      job.permalink && el("p", {}, el("a", { href: job.permalink, target: "_blank", rel: "noreferrer", textContent: "See it" })),
      el("p", { className: "buttons" }, ...this.buttons(job, why, scheduled)),
    );
    card.dataset["status"] = job.status;
    return card;
  }

  /** @param {Job} job */
  progress(job) {
    const stage = job.stage ?? "waiting";
    return el("p", {}, stage, el("progress", { max: 100, value: job.progress, ariaLabel: `${stage}, ${job.progress} percent` }));
  }

  /** What the catalog's action is in this app; then what can be done anyway. @param {Job} job @param {Explanation | undefined} why @param {boolean} scheduled */
  buttons(job, why, scheduled) {
    const stopped = job.status === "failed" || job.status === "held";
    const action = stopped ? why?.action : undefined;
    const edits = action === "edit_caption" || action === "edit_title" || action === "edit_post" || action === "replace_media";
    return [
      action === "reconnect" && button("Reconnect", () => this.ways.reconnect(job.account_id)),
      action === "retry" && button("Try again", () => this.act(() => this.orbyt.retry(job.job_id))),
      (edits || scheduled) && button(scheduled ? "Edit" : "Edit and send again", () => this.ways.edit(job)),
      // With a permalink it is out, and only waits to be seen.
      !isFinal(job) && !job.permalink && button("Cancel", () => this.act(() => this.orbyt.cancel(job.job_id))),
    ];
  }

  /** @param {() => Promise<unknown>} request */
  async act(request) {
    try {
      await request();
    } finally {
      await this.changed();
    }
  }
}
