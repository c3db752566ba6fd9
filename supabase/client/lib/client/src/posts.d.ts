/** Inserting posts and changing one's mind about them. */
import type { Account, Job, NewPost, Platform, PostChanges, Problem } from "../../types/index.js";
import { type OrbytClient } from "./api.js";
/** One post to several accounts: what they share, and what differs. */
export declare function publishMany(client: OrbytClient, posts: readonly NewPost[]): Promise<Job[]>;
export declare function publish<P extends Platform>(client: OrbytClient, post: NewPost<P>): Promise<Job>;
/** All problems the insert would be refused for; empty means fine. */
export declare function check(client: OrbytClient, post: NewPost): Promise<Problem[]>;
export declare function edit(client: OrbytClient, jobId: string, changes: PostChanges): Promise<Job>;
export declare function cancel(client: OrbytClient, jobId: string): Promise<Job>;
export declare function retry(client: OrbytClient, jobId: string): Promise<Job>;
export declare function reschedule(client: OrbytClient, jobId: string, publishAt: Date | string, expiresAt?: Date | string): Promise<Job>;
export declare function disconnect(client: OrbytClient, accountId: string, jobs?: "hold" | "cancel"): Promise<Account>;
