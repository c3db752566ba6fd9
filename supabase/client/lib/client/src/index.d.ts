/**
 * Orbyt for apps: a thin layer over supabase-js. Everything here can be done with supabase-js alone (docs/reference/database.md);
 * what this adds is types, one kind of error, safe repetition, and screens that stay true.
 */
import type { Account, ConnectSession, Job, NewPost, Platform, PostChanges, Problem } from "../../types/index.js";
import { type AnySupabaseClient, type OrbytClient } from "./api.js";
import { type ConnectOptions, type FollowOptions } from "./connect.js";
import { type Watch, type WatchOptions } from "./watch.js";
export * from "../../types/index.js";
export { type AnySupabaseClient, type OrbytClient, newId } from "./api.js";
export { type ConnectOptions, type FollowOptions, type ReturnLink, readReturnLink } from "./connect.js";
export { type ClientErrorCode, type Explanation, OrbytError, explain, toOrbytError } from "./errors.js";
export type { Timers } from "./line.js";
export type { Watch, WatchOptions } from "./watch.js";
/** Which jobs a screen shows; newest first. */
export interface JobFilter {
    postId?: string;
    accountId?: string;
    /** At most 100. */
    jobIds?: readonly string[];
    /** At most so many (default 100). */
    limit?: number;
}
/** True when nothing more will happen to it by itself. A held job goes on when somebody acts, so it is not final. */
export declare function isFinal(job: Pick<Job, "status">): boolean;
export declare class Orbyt {
    /** supabase-js on the schema `orbyt`, typed: for everything that has no method here. */
    readonly db: OrbytClient;
    private readonly client;
    constructor(client: AnySupabaseClient);
    /** Insert one post. With the same `job_id` or `client_ref` again it answers with the row that is there. */
    publish<P extends Platform = Platform>(post: NewPost<P>): Promise<Job>;
    /** Insert several, all or none: one post to several accounts, unless they name different `post_id`s. Answers in the same order. */
    publishMany(posts: readonly NewPost[]): Promise<Job[]>;
    /** What `publish` would be refused for, without inserting; [] means fine. */
    check(post: NewPost): Promise<Problem[]>;
    /** Change a job while nothing with an effect outside was done (`job_already_started` otherwise). */
    edit(jobId: string, changes: PostChanges): Promise<Job>;
    /** Move a job to another time; without `expiresAt` its deadline moves along. */
    reschedule(jobId: string, publishAt: Date | string, expiresAt?: Date | string): Promise<Job>;
    /** Until the visible call is begun (`publish_in_progress`). Safe to repeat. */
    cancel(jobId: string): Promise<Job>;
    /** A failed or held job, from where it stopped. Safe to repeat. */
    retry(jobId: string): Promise<Job>;
    /** The user's accounts, disconnected ones included. */
    accounts(): Promise<Account[]>;
    /** Connect accounts of a platform. Rejects with the code of what went wrong; `connect_cancelled` when the person gave up. */
    connect(options: ConnectOptions): Promise<Account[]>;
    /** Goes on with the link back to the app, where `connect` could not wait for it: a web page that was left for the platform's. */
    resumeConnect(link: string, options: FollowOptions): Promise<Account[]>;
    /** For screens of their own: the last step, for a session whose status is `choose`. */
    finishConnect(sessionId: string, platformAccountIds: readonly string[], proof?: string): Promise<Account[]>;
    /** End the connection. `jobs`: what becomes of those that are not published: they wait (`hold`), or are cancelled. */
    disconnect(accountId: string, options?: {
        jobs?: "hold" | "cancel";
    }): Promise<Account>;
    /** Jobs on a screen: `onJobs` gets all of them after each change, until `stop()`. */
    watch(filter: JobFilter, onJobs: (jobs: Job[]) => void, options?: WatchOptions): Watch;
    /** Accounts on a screen: connected, to be reconnected, gone. */
    watchAccounts(onAccounts: (accounts: Account[]) => void, options?: WatchOptions): Watch;
    /** One attempt to connect, for screens of their own. */
    watchSession(sessionId: string, onSession: (session: ConnectSession) => void, options?: WatchOptions): Watch;
}
/** `const orbyt = createOrbyt(supabase)`, with the app's own client. */
export declare function createOrbyt(client: AnySupabaseClient): Orbyt;
