/** Inserting posts and changing one's mind about them. */
import type { Account, Job, NewPost, Platform, PostChanges, Problem } from "../../types/index.ts";
import { type OrbytClient, ask, newId } from "./api.ts";
import { OrbytError, toOrbytError } from "./errors.ts";

/** One post to several accounts: what they share, and what differs. */
export async function publishMany(client: OrbytClient, posts: readonly NewPost[]): Promise<Job[]> {
  if (posts.length === 0) return [];
  // Ids of our own make a repeated insert harmless; one post_id makes the rows one post.
  const together = posts.length > 1 ? newId() : undefined;
  const rows = posts.map((post) => ({ ...(together ? { post_id: together } : {}), ...post, job_id: post.job_id ?? newId() }));
  const wanted = rows.map((row) => row.job_id);
  const found = new Map<string, Job>();
  let missing = rows;
  // A second round only when rows with these references are there already; they are answered with, and the rest is inserted.
  for (let round = 0; round < 2 && missing.length > 0; round += 1) {
    const answer = await settle(client.from("publish_jobs").upsert(missing, { onConflict: "job_id", ignoreDuplicates: true }).select());
    if (answer instanceof OrbytError) {
      const known = answer.code === "duplicate_job" ? await byReference(client, missing) : new Map<string, Job>();
      if (known.size === 0) throw answer;
      for (const row of missing) {
        const job = known.get(row.client_ref ?? "");
        if (job) found.set(row.job_id, job);
      }
    } else {
      for (const job of answer) found.set(job.job_id, job);
      const ignored = missing.filter((row) => !found.has(row.job_id)).map((row) => row.job_id);
      if (ignored.length > 0) {
        for (const job of await ask(client.from("publish_jobs").select().in("job_id", ignored))) found.set(job.job_id, job);
      }
      // Ignored and not to be seen: somebody else's id.
      if (wanted.some((id) => !found.has(id))) throw new OrbytError("duplicate_job", { field: "job_id" });
    }
    missing = missing.filter((row) => !found.has(row.job_id));
  }
  if (missing.length > 0) throw new OrbytError("duplicate_job", { field: "client_ref" });
  return wanted.map((id) => found.get(id) as Job);
}

export async function publish<P extends Platform>(client: OrbytClient, post: NewPost<P>): Promise<Job> {
  const [job] = await publishMany(client, [post]);
  return job as Job;
}

async function settle<T>(request: PromiseLike<{ data: T | null; error: unknown; status?: number }>): Promise<T | OrbytError> {
  try {
    return await ask(request);
  } catch (error) {
    return toOrbytError(error);
  }
}

async function byReference(client: OrbytClient, rows: readonly NewPost[]): Promise<Map<string, Job>> {
  const references = rows.map((row) => row.client_ref).filter((each): each is string => typeof each === "string");
  if (references.length === 0) return new Map();
  const jobs = await ask(client.from("publish_jobs").select().in("client_ref", references));
  return new Map(jobs.map((job) => [job.client_ref ?? "", job]));
}

/** All problems the insert would be refused for; empty means fine. */
export async function check(client: OrbytClient, post: NewPost): Promise<Problem[]> {
  const { job_id: _job, post_id: _post, user_id: _user, client_ref: _reference, ...content } = post;
  return ask(client.rpc("check_post", content));
}

export function edit(client: OrbytClient, jobId: string, changes: PostChanges): Promise<Job> {
  return patiently(async () => {
    const [job] = await ask(client.from("publish_jobs").update(changes).eq("job_id", jobId).select());
    // Row level security hides what is not there for this user.
    if (!job) throw new OrbytError("job_not_found", { field: "job_id" });
    return job;
  });
}

/**
 * Right after an insert or an edit a worker looks at the media for a moment, and nothing may be changed meanwhile. That it is still
 * refused after this means that the upload has begun.
 */
const CHANGE_TRIES_MAX = 5;
const CHANGE_PAUSE_MS = 1_000;

async function patiently(change: () => Promise<Job>): Promise<Job> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await change();
    } catch (error) {
      if (tries === CHANGE_TRIES_MAX || !(error instanceof OrbytError) || error.code !== "job_already_started") throw error;
      await new Promise((resolve) => setTimeout(resolve, CHANGE_PAUSE_MS));
    }
  }
}

export function cancel(client: OrbytClient, jobId: string): Promise<Job> {
  return ask(client.rpc("cancel_job", { job_id: jobId }));
}

export function retry(client: OrbytClient, jobId: string): Promise<Job> {
  return ask(client.rpc("retry_job", { job_id: jobId }));
}

export function reschedule(client: OrbytClient, jobId: string, publishAt: Date | string, expiresAt?: Date | string): Promise<Job> {
  const times = { publish_at: toText(publishAt), ...(expiresAt === undefined ? {} : { expires_at: toText(expiresAt) }) };
  return patiently(() => ask(client.rpc("reschedule_job", { job_id: jobId, ...times })));
}

export function disconnect(client: OrbytClient, accountId: string, jobs: "hold" | "cancel" = "hold"): Promise<Account> {
  return ask(client.rpc("disconnect", { account_id: accountId, jobs }));
}

function toText(when: Date | string): string {
  return typeof when === "string" ? when : when.toISOString();
}
