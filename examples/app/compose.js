// @ts-check
/** Writing a post: to several accounts at once, checked while one types, now or later. */
import { OrbytError } from "/app/orbyt/client/src/index.js";
import { PLATFORMS } from "./accounts.js";
import { attempt, byId, el } from "./page.js";

/** @typedef {import("/app/orbyt/client/src/index.js").Orbyt} Orbyt */
/** @typedef {import("/app/orbyt/client/src/index.js").Account} Account */
/** @typedef {import("/app/orbyt/client/src/index.js").Job} Job */
/** @typedef {import("/app/orbyt/client/src/index.js").NewPost} NewPost */
/** @typedef {{ field: string, text: string, who: string }} Mark */

/** A moment after the last key. */
const CHECK_MS = 250;
/** The places where a problem can be shown; everything else goes to `other`. */
const FIELDS = ["account_id", "kind", "title", "caption", "media", "options", "publish_at", "other"];

export class Compose {
  /** @param {Orbyt} orbyt @param {import("./main.js").ReadyMedia[]} media */
  constructor(orbyt, media) {
    this.orbyt = orbyt;
    /** @type {Account[]} */
    this.accounts = [];
    /** @type {Job | undefined} */
    this.editing = undefined;
    /** @type {() => unknown} */
    this.sent = () => undefined;
    this.asked = 0;
    this.postId = "";
    /** @type {Map<string, string>} */
    this.jobIds = new Map();
    /** What the form has no field for, of the job that is edited. @type {{ media: Job["media"], options: NewPost["options"] }} */
    this.kept = { media: [], options: {} };
    this.begin();
    this.form = /** @type {HTMLFormElement} */ (byId("compose"));
    this.media = media.map(({ label, type, url }) => ({
      item: { type, url },
      box: el("input", { type: "checkbox", checked: false }),
      label,
    }));
    byId("media-boxes").replaceChildren(...this.media.map(({ box, label }) => el("label", { className: "box" }, box, label)));
    this.form.oninput = () => this.changed();
    this.form.onsubmit = (event) => {
      event.preventDefault();
      void attempt(() => this.send(), /** @type {HTMLButtonElement} */ (byId("publish")));
    };
    byId("stop-editing").onclick = () => this.clear();
  }

  /** A new draft. Its ids are made now and not when it is sent: sent again after a lost answer, it is still the same rows. */
  begin() {
    this.postId = crypto.randomUUID();
    this.jobIds = new Map();
    this.kept = { media: [], options: {} };
  }

  /** @param {string} accountId */
  jobIdFor(accountId) {
    const id = this.jobIds.get(accountId) ?? crypto.randomUUID();
    this.jobIds.set(accountId, id);
    return id;
  }

  /** @param {Account[]} accounts */
  showAccounts(accounts) {
    const usable = accounts.filter((account) => account.status !== "disconnected");
    const chosen = new Set(this.chosen().map((account) => account.account_id));
    this.accounts = usable;
    byId("account-boxes").replaceChildren(
      ...usable.map((account) =>
        el(
          "label",
          { className: "box" },
          el("input", { type: "checkbox", name: "account", value: account.account_id, checked: chosen.has(account.account_id) }),
          `${PLATFORMS[account.platform]}: ${account.name ?? account.platform_account_id}`,
        ),
      ),
    );
    if (usable.length === 0) byId("account-boxes").textContent = "Connect an account first.";
  }

  chosen() {
    if (this.editing) return this.accounts.filter((account) => account.account_id === this.editing?.account_id);
    const values = new FormData(this.form).getAll("account");
    return this.accounts.filter((account) => values.includes(account.account_id));
  }

  /** What is written, without an account. */
  content() {
    const values = new FormData(this.form);
    const text = (/** @type {string} */ name) => String(values.get(name) ?? "").trim() || null;
    const publishAt = /** @type {HTMLInputElement} */ (byId("publish-at")).value;
    return {
      kind: /** @type {NewPost["kind"]} */ (values.get("kind")),
      title: text("title"),
      caption: text("caption"),
      media: [...this.media.filter(({ box }) => box.checked).map(({ item }) => item), ...this.kept.media],
      ...(values.get("when") === "later" && publishAt ? { publish_at: this.exactly(publishAt) } : {}),
    };
  }

  /** The field knows minutes: a time that was not touched keeps its seconds. @param {string} publishAt */
  exactly(publishAt) {
    const was = this.editing?.publish_at;
    return was && localTime(was) === publishAt ? was : new Date(publishAt).toISOString();
  }

  /** One row for each account; an option is for one platform only. @returns {NewPost[]} */
  posts() {
    const privacy = /** @type {HTMLSelectElement} */ (byId("privacy")).value;
    const youtube = {
      privacy: /** @type {"public" | "unlisted" | "private"} */ (privacy),
      made_for_kids: /** @type {HTMLInputElement} */ (byId("made-for-kids")).checked,
    };
    const content = this.content();
    return this.chosen().map(({ account_id, platform }) => ({
      ...content,
      job_id: this.jobIdFor(account_id),
      post_id: this.postId,
      account_id,
      options: { ...this.kept.options, ...(platform === "youtube" ? youtube : {}) },
    }));
  }

  changed() {
    const later = new FormData(this.form).get("when") === "later";
    byId("publish-at").hidden = byId("publish-at-label").hidden = !later;
    byId("youtube-options").hidden = !this.chosen().some((account) => account.platform === "youtube");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void attempt(() => this.check()), CHECK_MS);
  }

  /** What the insert would be refused for, at the field it is about. Answers that are overtaken say nothing. */
  async check() {
    this.asked += 1;
    const asked = this.asked;
    const answers = await Promise.all(
      this.posts().map(async (post) => (await this.orbyt.check(post)).map((problem) => ({ problem, who: this.nameOf(post.account_id) }))),
    );
    if (asked !== this.asked) return;
    this.mark(answers.flat().map(({ problem, who }) => ({ who, field: problem.field, text: sentence(problem.what_to_do, problem.detail) })));
  }

  async send() {
    clearTimeout(this.timer);
    this.asked += 1;
    const posts = this.posts();
    if (posts.length === 0) {
      this.mark([{ field: "account_id", text: "Choose at least one account.", who: "" }]);
      return;
    }
    try {
      if (this.editing) {
        const { account_id: _account, job_id: _job, post_id: _post, ...changes } = /** @type {NewPost} */ (posts[0]);
        await this.orbyt.edit(this.editing.job_id, changes);
      } else {
        // All of them or none, and safe to repeat.
        await this.orbyt.publishMany(posts);
      }
    } catch (error) {
      if (!(error instanceof OrbytError) || error.field === undefined) throw error;
      this.mark([{ field: error.field, text: sentence(error.message, error.detail), who: "" }]);
      return;
    }
    this.clear();
    await this.sent();
    byId("posts-title").scrollIntoView();
  }

  /** Change a job that has not begun; one that has ended is written anew. @param {Job} job */
  edit(job) {
    this.clear();
    this.editing = job.status === "queued" ? job : undefined;
    const { kind, title, caption } = job;
    for (const [name, value] of Object.entries({ kind, title, caption })) {
      const field = /** @type {HTMLInputElement} */ (this.form.elements.namedItem(name));
      field.value = value ?? "";
    }
    for (const { box, item } of this.media) box.checked = job.media.some(({ url }) => url === item.url);
    const offered = new Set(this.media.map(({ item }) => item.url));
    this.kept = { media: job.media.filter(({ url }) => !offered.has(url)), options: job.options };
    const { privacy, made_for_kids: forKids } = /** @type {{ privacy?: string, made_for_kids?: boolean }} */ (job.options);
    if (privacy !== undefined) /** @type {HTMLSelectElement} */ (byId("privacy")).value = privacy;
    /** @type {HTMLInputElement} */ (byId("made-for-kids")).checked = forKids ?? false;
    for (const box of /** @type {NodeListOf<HTMLInputElement>} */ (this.form.querySelectorAll("[name=account]"))) {
      box.checked = box.value === job.account_id;
    }
    if (this.editing) {
      /** @type {HTMLInputElement} */ (this.form.querySelector("[name=when][value=later]")).checked = true;
      /** @type {HTMLInputElement} */ (byId("publish-at")).value = localTime(job.publish_at);
      byId("compose-title").textContent = "Change the post";
      byId("publish").textContent = "Save";
      byId("stop-editing").hidden = byId("to").hidden = false;
      byId("to").hidden = true;
    }
    this.changed();
    byId("compose-title").scrollIntoView();
  }

  clear() {
    this.editing = undefined;
    this.begin();
    this.form.reset();
    byId("compose-title").textContent = "New post";
    byId("publish").textContent = "Publish";
    byId("stop-editing").hidden = true;
    byId("to").hidden = false;
    this.mark([]);
    this.changed();
  }

  /** @param {Mark[]} marks */
  mark(marks) {
    for (const field of FIELDS) {
      // The field path says more than the form has places: media[0].url, options.tags.
      const here = marks.filter((mark) => placeOf(mark.field) === field);
      /** @type {Map<string, string[]>} */
      const texts = new Map();
      for (const { text, who } of here) texts.set(text, [...(texts.get(text) ?? []), ...(who ? [who] : [])]);
      const lines = [...texts].map(([text, who]) => (who.length > 0 ? `${who.join(", ")}: ${text}` : text));
      byId(`${field}-problem`).textContent = lines.join("\n");
      const input = this.form.querySelector(`[aria-describedby="${field}-problem"]`);
      input?.setAttribute("aria-invalid", String(here.length > 0));
    }
  }

  /** @param {string} accountId */
  nameOf(accountId) {
    const account = this.accounts.find((each) => each.account_id === accountId);
    return account ? PLATFORMS[account.platform] : "";
  }
}

/** @param {string} field */
function placeOf(field) {
  const place = field.split(/[.[]/)[0] ?? "";
  if (place === "expires_at") return "publish_at";
  return FIELDS.includes(place) ? place : "other";
}

/** @param {string} text @param {string | undefined} detail */
function sentence(text, detail) {
  return detail ? `${text} (${detail})` : text;
}

/** For an input of type datetime-local. @param {string} when */
function localTime(when) {
  const date = new Date(when);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
