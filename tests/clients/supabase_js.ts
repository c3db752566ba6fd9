// An app with nothing but supabase-js: everything docs/reference/database.md says it may do, and what it is refused.
import assert from "node:assert/strict";
import { createClient } from "@supabase/supabase-js";
import type { ErrorDetails, Job, OrbytDatabase } from "orbyt-client/types";

interface Given {
  url: string;
  key: string;
  token: string;
  otherToken: string;
  rpcs: string[];
  youtube: string;
  facebook: string;
  theirs: string;
  video: string;
  returnTo: string;
}

const given = JSON.parse(process.env["GIVEN"] ?? "") as Given;
const as = (token: string | undefined) =>
  createClient<OrbytDatabase, "orbyt">(given.url, given.key, {
    db: { schema: "orbyt" },
    ...(token === undefined ? {} : { accessToken: async () => token }),
  });
const supabase = as(given.token);
const other = as(given.otherToken);
const anonymous = as(undefined);

const called = new Set<string>();
const rpc: typeof supabase.rpc = (name, ...rest) => {
  called.add(name);
  return supabase.rpc(name, ...rest);
};

/** What an app makes of a refusal: the catalog's code, and what to mark. */
function refusal(answer: { error: { code: string; details: string; hint: string; message: string } | null; status: number }): string {
  assert.ok(answer.error, "it was not refused");
  const { code, details, hint, message } = answer.error;
  if (!code.startsWith("OR")) return code;
  assert.equal(answer.status, 400);
  const told = JSON.parse(details) as ErrorDetails;
  assert.ok(hint.length > 0 && message.length > 0, `${told.code} says nothing`);
  return `${told.code} ${told.field ?? ""}`.trim();
}
function ok<T>(answer: { data: T; error: unknown }): NonNullable<T> {
  assert.deepEqual(answer.error, null);
  assert.ok(answer.data !== null && answer.data !== undefined);
  return answer.data;
}
/** For the moment in which a worker looks at a new job's media, it cannot be changed. */
async function patiently<A extends { error: { code: string } | null }>(change: () => PromiseLike<A>): Promise<A> {
  for (let tries = 1; ; tries += 1) {
    const answer = await change();
    if (answer.error?.code !== "OR202" || tries === 100) return answer;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
const inDays = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString();
const media = [{ type: "video" as const, url: given.video }];
const base = { account_id: given.youtube, kind: "video" as const, title: "A title", media };
const later = { ...base, publish_at: inDays(2) };

// Insert one
const one = ok(await supabase.from("publish_jobs").insert({ ...base, options: { made_for_kids: false } }).select().single());
assert.equal(one.platform, "youtube");
assert.deepEqual(one.media, media);
assert.equal(typeof one.version, "number");
assert.ok(!Number.isNaN(Date.parse(one.publish_at)));
const silent = await supabase.from("publish_jobs").insert(later);
assert.deepEqual([silent.status, silent.error], [201, null]);

// Insert many: missing keys of some rows are defaults, not nulls; one post to two accounts
const postId = crypto.randomUUID();
const many = ok(
  await supabase
    .from("publish_jobs")
    .insert([
      { ...later, post_id: postId, options: { privacy: "unlisted" as const } },
      { account_id: given.facebook, kind: "text", caption: "Hello", post_id: postId, publish_at: inDays(3), client_ref: `ref-${postId}` },
    ])
    .select(),
);
assert.deepEqual(many.map((job) => job.post_id), [postId, postId]);
const [first, second] = many as [Job, Job];
assert.deepEqual([first.platform, second.platform, second.media, second.options], ["youtube", "facebook", [], {}]);
// All or none
assert.equal(refusal(await supabase.from("publish_jobs").insert([later, { ...later, title: "x".repeat(101) }])), "title_too_long title");

// Again
assert.equal(refusal(await supabase.from("publish_jobs").insert({ ...later, client_ref: `ref-${postId}` })), "23505");
const again = await supabase
  .from("publish_jobs")
  .upsert({ ...later, client_ref: `ref-${postId}` }, { onConflict: "user_id,client_ref", ignoreDuplicates: true })
  .select();
assert.deepEqual(again.data, []);
const sameId = await supabase.from("publish_jobs").upsert({ ...later, job_id: first.job_id }, { ignoreDuplicates: true }).select();
assert.deepEqual(sameId.data, []);

// Edit
const edited = ok(await patiently(() => supabase.from("publish_jobs").update({ title: "Better" }).eq("job_id", first.job_id).select().single()));
assert.equal(edited.title, "Better");
assert.ok(edited.version > first.version);
assert.equal(refusal(await patiently(() => supabase.from("publish_jobs").update({ title: "" }).eq("job_id", first.job_id))), "title_missing title");

// List with filters
const byStatus = await supabase.from("publish_jobs").select("*", { count: "exact" }).in("status", ["queued", "publishing"]).eq("post_id", postId).order("publish_at");
assert.equal(byStatus.count, 2);
assert.deepEqual(ok(byStatus).map((job) => job.job_id), [first.job_id, second.job_id]);
const byAccount = await supabase
  .from("publish_jobs")
  .select("job_id, publish_at", { count: "exact" })
  .eq("account_id", given.youtube)
  .gt("publish_at", inDays(1)).order("publish_at", { ascending: false }).range(0, 0);
assert.equal(byAccount.count, 2);
assert.equal(ok(byAccount).length, 1);
const counted = await supabase.from("publish_jobs").select("job_id", { count: "exact", head: true }).in("status", ["failed", "held"]);
assert.equal(counted.count, 0);
const joined = ok(await supabase.from("publish_jobs").select("job_id, account:accounts!publish_jobs_account_fkey(name, status), events:job_events(event)").eq("job_id", first.job_id).single());
assert.equal((joined.account as unknown as { status: string }).status, "active");
assert.equal((joined.events as { event: string }[])[0]?.event, "inserted");
const catalog = ok(await supabase.from("error_catalog").select("title, action").eq("code", "needs_reauth"));
assert.ok(Array.isArray(catalog));
assert.equal(ok(await supabase.from("platforms").select("platform").order("platform")).length, 3);
assert.equal(ok(await supabase.from("accounts").select().eq("status", "active")).length, 2);
assert.ok(ok(await supabase.from("queue_overview").select()).length > 0);
assert.deepEqual(ok(await supabase.from("jobs_needing_attention").select()), []);
assert.equal(ok(await supabase.from("connection_health").select()).length, 2);

// Every RPC
assert.deepEqual(ok(await rpc("check_post", { ...base, options: {} })), []);
const problems = ok(await rpc("check_post", { account_id: given.youtube, kind: "video", media: [{ type: "image", url: "http://x" }] }));
assert.deepEqual(new Set(problems.map((each) => each.field.split("[")[0])), new Set(["title", "media"]));
const moved = ok(await patiently(() => rpc("reschedule_job", { job_id: first.job_id, publish_at: inDays(5) })));
assert.ok(Math.abs(Date.parse(moved.expires_at) - Date.parse(moved.publish_at) - 86_400_000) < 1_000);
assert.equal(ok(await rpc("cancel_job", { job_id: first.job_id })).status, "cancelled");
assert.equal(ok(await rpc("cancel_job", { job_id: first.job_id })).status, "cancelled");
assert.equal(refusal(await rpc("retry_job", { job_id: first.job_id })), "job_already_finished job_id");
assert.ok(["queued", "publishing"].includes(ok(await rpc("retry_job", { job_id: second.job_id })).status));
const begun = ok(await rpc("begin_connect", { platform: "youtube", return_to: given.returnTo }));
assert.ok(begun.authorize_url.startsWith("http"));
const session = ok(await supabase.from("connect_sessions").select().eq("session_id", begun.session_id).single());
assert.deepEqual([session.status, session.candidates], ["started", []]);
assert.equal(refusal(await rpc("finish_connect", { session_id: begun.session_id, account_ids: ["x"] })), "connect_session_not_choosable session_id");
assert.equal(refusal(await rpc("begin_connect", { platform: "youtube", return_to: "https://elsewhere.example" })), "return_to_not_allowed return_to");
assert.equal(ok(await rpc("disconnect", { account_id: given.facebook })).status, "disconnected");
assert.deepEqual([...called].sort(), [...given.rpcs].sort(), "a function the app may call is not tried here");
// Disconnected: its job waits, and no other is taken
const waiting = ok(await supabase.from("publish_jobs").select("status, error_code").eq("job_id", second.job_id).single());
assert.deepEqual([waiting.status, waiting.error_code], ["held", "account_disconnected"]);
assert.equal(refusal(await rpc("retry_job", { job_id: second.job_id })), "account_disconnected account_id");
assert.equal(refusal(await supabase.from("publish_jobs").insert({ account_id: given.facebook, kind: "text", caption: "x" })), "account_disconnected account_id");

// What is somebody else's
assert.equal(refusal(await supabase.from("publish_jobs").insert({ ...later, account_id: given.theirs })), "account_not_found account_id");
assert.deepEqual(ok(await other.from("publish_jobs").select()), []);
assert.deepEqual(ok(await other.from("publish_jobs").update({ title: "Mine" }).eq("job_id", one.job_id).select()), []);
assert.equal(refusal(await other.rpc("cancel_job", { job_id: one.job_id })), "job_not_found job_id");
assert.equal(refusal(await anonymous.from("publish_jobs").select()), "42501");
assert.ok(ok(await anonymous.from("platforms").select()).length > 0);
// What is Orbyt's: grants, not goodwill
// biome-ignore lint/suspicious/noExplicitAny: what the types forbid is sent all the same
const careless = supabase as any;
for (const column of ["status", "platform", "attempt", "published_at", "permalink", "version", "error_code"]) {
  const value = column === "attempt" || column === "version" ? 7 : column === "published_at" ? inDays(0) : "published";
  assert.equal(refusal(await careless.from("publish_jobs").insert({ ...later, [column]: value })), "42501", column);
  assert.equal(refusal(await careless.from("publish_jobs").update({ [column]: value }).eq("job_id", one.job_id)), "42501", column);
}
assert.equal(refusal(await careless.from("publish_jobs").upsert({ ...later, job_id: one.job_id })), "42501");
assert.equal(refusal(await careless.from("publish_jobs").delete().eq("job_id", one.job_id)), "42501");
assert.equal(refusal(await careless.from("accounts").update({ status: "active" }).eq("account_id", given.facebook)), "42501");
assert.equal(refusal(await careless.from("accounts").insert({ platform: "youtube", platform_account_id: "x", name: "x" })), "42501");
for (const name of ["connect_callback", "callback_key"]) {
  assert.equal(refusal(await careless.rpc(name, name === "callback_key" ? {} : { state_hash: "0".repeat(64) })), "42501");
}
assert.equal(refusal(await careless.schema("orbyt_private").from("account_secrets").select()), "PGRST106");

console.log(JSON.stringify({ jobId: one.job_id }));
process.exit(0);
