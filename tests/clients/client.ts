// The client package as an app uses it, its examples included, on the real Data API with a real worker behind it.
import assert from "node:assert/strict";
import { createClient } from "@supabase/supabase-js";
import { type Account, type Candidate, createOrbyt, explain, type Job, newId, OrbytError } from "orbyt-client";
import { connectAccounts, type Screens } from "./examples/connect.ts";
import { fieldErrors, send, statusLine } from "./examples/errors.ts";
import { changeMind, publishEverywhere } from "./examples/publish.ts";
import { follow } from "./examples/watch.ts";

interface Given {
  url: string;
  key: string;
  token: string;
  otherToken: string;
  youtube: string;
  facebook: string;
  theirs: string;
  playbackId: string;
  googlePerson: string;
  metaPerson: string;
  page: string;
}

const given = JSON.parse(process.env["GIVEN"] ?? "") as Given;
// An app's own client knows nothing of the schema.
const clientWith = (token: string, url = given.url) => createClient(url, given.key, { accessToken: async () => token });
const supabase = clientWith(given.token);
const orbyt = createOrbyt(supabase);
const other = createOrbyt(clientWith(given.otherToken));

async function refused(promise: Promise<unknown>, code: string, field?: string): Promise<OrbytError> {
  const error = await promise.then(
    () => assert.fail(`not refused with ${code}`),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof OrbytError, String(error));
  assert.deepEqual([error.code, error.field], [code, field]);
  return error;
}
const video = { type: "video" as const, url: `mux://${given.playbackId}` };
const later = { account_id: given.youtube, kind: "video" as const, title: "Later", media: [video], publish_at: new Date(Date.now() + 3 * 86_400_000).toISOString() };

// Publishing twice is publishing once
const id = newId();
assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
const once = await orbyt.publish({ ...later, job_id: id, client_ref: `a-${id}` });
const twice = await orbyt.publish({ ...later, job_id: id, client_ref: `a-${id}` });
assert.deepEqual([once.job_id, twice.job_id, twice.created_at], [id, id, once.created_at]);
assert.equal((await orbyt.publish({ ...later, client_ref: `a-${id}` })).job_id, id);
const mixed = await orbyt.publishMany([{ ...later, client_ref: `b-${id}` }, { ...later, client_ref: `a-${id}` }, { ...later, job_id: id }]);
assert.deepEqual([mixed[1]?.job_id, mixed[2]?.job_id, mixed[0]?.client_ref], [id, id, `b-${id}`]);
await refused(other.publish({ account_id: given.theirs, kind: "video", title: "Theirs", media: [video], job_id: id }), "duplicate_job", "job_id");
const [a, b] = (await orbyt.publishMany([later, { account_id: given.facebook, kind: "text", caption: "Hello", publish_at: later.publish_at }])) as [Job, Job];
assert.equal(a.post_id, b.post_id);
assert.deepEqual([b.media, b.options, b.platform], [[], {}, "facebook"]);
assert.deepEqual(await orbyt.publishMany([]), []);

// The examples
const everywhere = await publishEverywhere(orbyt, given.playbackId);
assert.deepEqual(everywhere.map((job) => job.platform).sort(), ["facebook", "youtube"]);
assert.equal((await changeMind(orbyt, everywhere[0] as Job)).status, "cancelled");
assert.deepEqual(await fieldErrors(orbyt, later), {});
assert.deepEqual(Object.keys(await fieldErrors(orbyt, { ...later, title: "" })), ["title"]);
const explained = await send(orbyt, { ...later, title: "x".repeat(101) });
assert.ok("whatToDo" in explained);
assert.deepEqual([explained.code, explained.field, explained.action, explained.severity, explained.retryable], ["title_too_long", "title", "edit_title", "error", false]);
assert.match(statusLine(once), /^Planned for /);

// Errors
const tooLong = await refused(orbyt.publish({ ...later, title: "x".repeat(101) }), "title_too_long", "title");
assert.deepEqual([tooLong.detail, tooLong.action, tooLong.message], ["101 characters, at most 100", "edit_title", "The title is longer than the platform allows."]);
await refused(orbyt.publish({ ...later, account_id: given.theirs }), "account_not_found", "account_id");
await refused(orbyt.retry(everywhere[0]?.job_id ?? ""), "job_already_finished", "job_id");
await refused(other.cancel(id), "job_not_found", "job_id");
await refused(other.edit(id, { title: "Mine" }), "job_not_found", "job_id");
await refused(createOrbyt(clientWith(given.token, "http://127.0.0.1:9")).cancel(id), "offline");
await refused(createOrbyt(clientWith("no.token.atall")).accounts(), "signed_out");
await refused(orbyt.disconnect(given.theirs), "account_not_found", "account_id");
// biome-ignore lint/suspicious/noExplicitAny: what the types forbid is sent all the same
await refused(orbyt.publish({ ...later, status: "published" } as any), "not_allowed");
assert.equal(explain({ error_code: null }), undefined);
assert.equal(explain({ error_code: "from_the_future", error_message: "Later." })?.whatHappened, "Later.");
const sooner = new Date(Date.now() + 86_400_000);
assert.equal(Date.parse((await orbyt.reschedule(id, sooner, new Date(sooner.getTime() + 3_600_000))).expires_at) - sooner.getTime(), 3_600_000);

// Follow a post to its end. There is no Realtime here: what is left is looking, and it is enough
const seen: string[] = [];
const post = await orbyt.publish({ ...later, publish_at: new Date().toISOString(), title: "Now", options: { made_for_kids: false } });
const [published] = await follow(orbyt, post.post_id, (jobs) => seen.push(...jobs.map((job) => statusLine(job))), { pollSeconds: 2 });
assert.equal(published?.status, "published", published?.error_message ?? "");
assert.match(seen.at(-1) ?? "", /^Published: https:/);

// Connect
const told: string[] = [];
let shown: Candidate[] = [];
let then: (candidates: Candidate[]) => string[] = () => assert.fail("nothing to choose");
const screens = (person: string | null): Screens => ({
  browse: async (url) => (person === null ? null : travel(`${url}&sandbox_account=${encodeURIComponent(person)}`)),
  choose: async (candidates) => {
    shown = candidates;
    return then(candidates);
  },
  tell: (text) => told.push(text),
});
/** What a system browser does with a person who agrees: goes where it is sent, until a link leads out of the web. */
async function travel(url: string): Promise<string> {
  for (let steps = 0; steps < 10; steps += 1) {
    const answer = await fetch(url, { redirect: "manual" });
    const next = answer.headers.get("location");
    assert.ok(next, `the browser stays at ${url}: HTTP ${answer.status}`);
    url = new URL(next, url).href;
    if (!url.startsWith("http")) return url;
  }
  return assert.fail("too many redirects");
}

const [channel] = (await connectAccounts(orbyt, "youtube", screens(given.googlePerson))) as [Account];
assert.deepEqual([channel.platform, channel.status, channel.name], ["youtube", "active", "A channel"], told.join());
then = () => [given.page];
const [page] = (await connectAccounts(orbyt, "facebook", screens(given.metaPerson))) as [Account];
assert.deepEqual([page.platform_account_id, page.status], [given.page, "active"], told.join());
assert.ok(shown.length > 1 && shown.every((candidate) => candidate.usable && !candidate.connected));
const keys: (keyof Candidate)[] = ["code", "connected", "handle", "name", "picture_url", "platform_account_id", "usable"];
assert.deepEqual(Object.keys(shown[0] ?? {}).sort(), keys);
// The browser was closed; then nothing was chosen
assert.deepEqual(await connectAccounts(orbyt, "youtube", screens(null)), []);
then = () => [];
assert.deepEqual(await connectAccounts(orbyt, "facebook", screens(given.metaPerson)), []);
assert.deepEqual(told, []);
// Another channel than the one that is reconnected
assert.deepEqual(await connectAccounts(orbyt, "youtube", screens(given.googlePerson), (await orbyt.accounts()).find((each) => each.account_id === given.youtube)), []);
assert.equal(told.length, 1);
await refused(orbyt.connect({ platform: "youtube", returnTo: "https://elsewhere.example", open: () => null, choose: () => [] }), "return_to_not_allowed", "return_to");
await refused(orbyt.resumeConnect("studiox://connected?error=nothing", { choose: () => [] }), "connect_session_not_found", "session_id");

assert.equal((await orbyt.disconnect(channel.account_id, { jobs: "cancel" })).status, "disconnected");
await supabase.removeAllChannels();
console.log(JSON.stringify({ published: published?.job_id }));
process.exit(0);
