import { ask } from "./api.js";
import { connect, finishConnect, resume, sessionSubject } from "./connect.js";
import { cancel, check, disconnect, edit, publish, publishMany, reschedule, retry } from "./posts.js";
import { watchRows } from "./watch.js";
export * from "../../types/index.js";
export { newId } from "./api.js";
export { readReturnLink } from "./connect.js";
export { OrbytError, explain, toOrbytError } from "./errors.js";
const JOBS_MAX = 100;
/** True when nothing more will happen to it by itself. A held job goes on when somebody acts, so it is not final. */
export function isFinal(job) {
    return job.status === "published" || job.status === "failed" || job.status === "cancelled";
}
export class Orbyt {
    constructor(client) {
        this.client = client;
        // The same requests; only the types of the app's own client know nothing of this schema.
        this.db = client.schema("orbyt");
    }
    /** Insert one post. With the same `job_id` or `client_ref` again it answers with the row that is there. */
    publish(post) {
        return publish(this.db, post);
    }
    /** Insert several, all or none: one post to several accounts, unless they name different `post_id`s. Answers in the same order. */
    publishMany(posts) {
        return publishMany(this.db, posts);
    }
    /** What `publish` would be refused for, without inserting; [] means fine. */
    check(post) {
        return check(this.db, post);
    }
    /** Change a job while nothing with an effect outside was done (`job_already_started` otherwise). */
    edit(jobId, changes) {
        return edit(this.db, jobId, changes);
    }
    /** Move a job to another time; without `expiresAt` its deadline moves along. */
    reschedule(jobId, publishAt, expiresAt) {
        return reschedule(this.db, jobId, publishAt, expiresAt);
    }
    /** Until the visible call is begun (`publish_in_progress`). Safe to repeat. */
    cancel(jobId) {
        return cancel(this.db, jobId);
    }
    /** A failed or held job, from where it stopped. Safe to repeat. */
    retry(jobId) {
        return retry(this.db, jobId);
    }
    /** The user's accounts, disconnected ones included. */
    accounts() {
        return ask(this.db.from("accounts").select().order("created_at"));
    }
    /** Connect accounts of a platform. Rejects with the code of what went wrong; `connect_cancelled` when the person gave up. */
    connect(options) {
        return connect(this.client, this.db, options);
    }
    /** Goes on with the link back to the app, where `connect` could not wait for it: a web page that was left for the platform's. */
    resumeConnect(link, options) {
        return resume(this.client, this.db, link, options);
    }
    /** For screens of their own: the last step, for a session whose status is `choose`. */
    finishConnect(sessionId, platformAccountIds, proof) {
        return finishConnect(this.db, sessionId, platformAccountIds, proof);
    }
    /** End the connection. `jobs`: what becomes of those that are not published: they wait (`hold`), or are cancelled. */
    disconnect(accountId, options = {}) {
        return disconnect(this.db, accountId, options.jobs);
    }
    /** Jobs on a screen: `onJobs` gets all of them after each change, until `stop()`. */
    watch(filter, onJobs, options = {}) {
        const subject = jobSubject(this.db, filter);
        const order = (jobs) => onJobs(jobs.sort((one, other) => (one.created_at < other.created_at ? 1 : -1)));
        return watchRows(this.client, subject, order, options);
    }
    /** Accounts on a screen: connected, to be reconnected, gone. */
    watchAccounts(onAccounts, options = {}) {
        const subject = {
            table: "accounts",
            event: "account",
            filter: undefined,
            key: (row) => row.account_id,
            fetch: () => this.accounts(),
            concerns: () => true,
            isFinal: () => true,
            turns: (row) => [row.status, row.error_code],
        };
        return watchRows(this.client, subject, onAccounts, options);
    }
    /** One attempt to connect, for screens of their own. */
    watchSession(sessionId, onSession, options = {}) {
        const first = ([session]) => session && onSession(session);
        return watchRows(this.client, sessionSubject(this.db, sessionId), first, options);
    }
}
/** `const orbyt = createOrbyt(supabase)`, with the app's own client. */
export function createOrbyt(client) {
    return new Orbyt(client);
}
function jobSubject(db, filter) {
    const { postId, accountId, jobIds, limit = JOBS_MAX } = filter;
    const one = postId ? `post_id=eq.${postId}` : accountId ? `account_id=eq.${accountId}` : undefined;
    return {
        table: "publish_jobs",
        event: "publish_job",
        filter: jobIds ? `job_id=in.(${jobIds.join(",")})` : one,
        key: (row) => row.job_id,
        fetch: () => {
            let request = db.from("publish_jobs").select();
            if (postId)
                request = request.eq("post_id", postId);
            if (accountId)
                request = request.eq("account_id", accountId);
            if (jobIds)
                request = request.in("job_id", [...jobIds]);
            return ask(request.order("created_at", { ascending: false }).limit(limit));
        },
        concerns: (row) => (!postId || row.post_id === postId) &&
            (!accountId || row.account_id === accountId) &&
            (!jobIds || (row.job_id !== undefined && jobIds.includes(row.job_id))),
        isFinal,
        turns: (row) => [row.status, row.error_code],
    };
}
