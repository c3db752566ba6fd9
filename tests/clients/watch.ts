// How a watch lives through what Realtime does and does not do: first against a channel and a clock of the test's own, then the real
// supabase-js against a server that speaks its protocol.
import assert from "node:assert/strict";
import { createClient } from "@supabase/supabase-js";
import { type AnySupabaseClient, createOrbyt, type Job, type OrbytError, readReturnLink, type Timers } from "orbyt-client";
import { Phoenix } from "./phoenix.ts";

const JOB = {
  job_id: "11111111-1111-4111-8111-111111111111",
  post_id: "22222222-2222-4222-8222-222222222222",
  account_id: "33333333-3333-4333-8333-333333333333",
  status: "queued",
  stage: "waiting",
  progress: 0,
  error_code: null,
  permalink: null,
  title: "A title",
  created_at: "2026-11-25T12:00:00+00:00",
  version: 1,
};
const outline = (changes: Record<string, unknown>) => {
  const { title: _title, created_at: _created, ...rest } = JOB;
  return { ...rest, ...changes };
};
/** Lets everything run that waits for nothing but its turn. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A clock that stands still until it is moved. */
class Clock implements Timers {
  now = 0;
  private readonly due = new Map<number, { at: number; callback: () => void }>();
  private count = 0;
  set(callback: () => void, milliseconds: number): number {
    this.count += 1;
    this.due.set(this.count, { at: this.now + milliseconds, callback });
    return this.count;
  }
  clear(timer: unknown): void {
    this.due.delete(timer as number);
  }
  get next(): number | undefined {
    const times = [...this.due.values()].map((each) => each.at - this.now);
    return times.length === 0 ? undefined : Math.min(...times);
  }
  async advance(milliseconds: number): Promise<void> {
    this.now += milliseconds;
    for (const [id, each] of [...this.due]) {
      if (each.at > this.now) continue;
      this.due.delete(id);
      each.callback();
    }
    for (let turns = 0; turns < 5; turns += 1) await turn();
  }
}

/** The parts of supabase-js a watch touches. Answers of the table are given one by one, when the test says so. */
class Fake {
  readonly channels: { topic: string; options: unknown; handlers: { kind: string; filter: Record<string, unknown>; told: (message: unknown) => void }[]; told: (status: string) => void }[] = [];
  removed = 0;
  readonly asked: { path: string; answer: (rows: unknown[]) => Promise<void>; refuse: () => Promise<void> }[] = [];
  private readonly data = createClient("http://fake.example", "key", {
    accessToken: async () => "token",
    global: {
      fetch: (input) =>
        new Promise<Response>((resolve) => {
          const send = async (status: number, value: unknown) => {
            resolve(new Response(JSON.stringify(value), { status, headers: { "content-type": "application/json" } }));
            for (let turns = 0; turns < 5; turns += 1) await turn();
          };
          const url = new URL(String(input));
          this.asked.push({
            path: decodeURIComponent(url.pathname + url.search),
            answer: (rows) => send(200, rows),
            refuse: () => send(400, { code: "57014", message: "canceling statement due to statement timeout", details: null, hint: null }),
          });
        }),
    },
  });
  readonly realtime = { setAuth: async () => undefined };
  schema(name: string): unknown {
    return this.data.schema(name);
  }
  channel(topic: string, options?: unknown): unknown {
    const made: Fake["channels"][number] = { topic, options, handlers: [], told: () => undefined };
    this.channels.push(made);
    const channel = {
      on: (kind: string, filter: Record<string, unknown>, told: (message: unknown) => void) => {
        made.handlers.push({ kind, filter, told });
        return channel;
      },
      subscribe: (told: (status: string) => void) => {
        made.told = told;
        return channel;
      },
    };
    return channel;
  }
  async removeChannel(): Promise<"ok"> {
    this.removed += 1;
    return "ok";
  }
  tell(kind: string, message: unknown): void {
    for (const each of this.channels.at(-1)?.handlers ?? []) if (each.kind === kind) each.told(message);
  }
  status(word: string): void {
    this.channels.at(-1)?.told(word);
  }
  get last(): Fake["asked"][number] {
    const last = this.asked.at(-1);
    assert.ok(last, "nothing was asked");
    return last;
  }
}

function start(filter: Parameters<ReturnType<typeof createOrbyt>["watch"]>[0] = { postId: JOB.post_id }, via?: { broadcast: string }) {
  const fake = new Fake();
  const clock = new Clock();
  const shown: Job[][] = [];
  const errors: OrbytError[] = [];
  let focus: () => void = () => undefined;
  let unfocused = 0;
  const watch = createOrbyt(fake as unknown as AnySupabaseClient).watch(filter, (jobs) => shown.push(structuredClone(jobs)), {
    timers: clock,
    onError: (error) => errors.push(error),
    onFocus: (refresh) => {
      focus = refresh;
      return () => {
        unfocused += 1;
      };
    },
    ...(via ? { via } : {}),
  });
  return { fake, clock, shown, errors, watch, focus: () => focus(), unfocused: () => unfocused, newest: () => shown.at(-1)?.[0] };
}

// Subscribe, fetch, apply what is newer ------------------------------------------------------------------------------------
{
  const { fake, clock, shown, watch, newest, unfocused } = start();
  await turn();
  const [channel] = fake.channels;
  assert.deepEqual(channel?.handlers.map((each) => [each.kind, each.filter]), [
    ["system", {}],
    ["postgres_changes", { event: "*", schema: "orbyt", table: "publish_jobs", filter: `post_id=eq.${JOB.post_id}` }],
  ]);
  await clock.advance(0);
  assert.equal(fake.asked.length, 1, "it looks before it is subscribed");
  assert.match(fake.last.path, /^\/rest\/v1\/publish_jobs\?select=\*&post_id=eq\.2222.*&order=created_at\.desc&limit=100$/);
  // An event that overtakes the first answer does not get lost, and an old answer does not win over it
  fake.tell("postgres_changes", { new: { ...JOB, status: "publishing", version: 3 } });
  assert.equal(shown.length, 0, "nothing is shown before the first answer");
  await fake.last.answer([JOB]);
  assert.equal(newest()?.version, 1);
  await clock.advance(250);
  assert.equal(fake.asked.length, 2);
  await fake.last.answer([{ ...JOB, status: "publishing", version: 3 }]);
  assert.equal(newest()?.version, 3);
  // Late and repeated events
  const before = shown.length;
  fake.tell("postgres_changes", { new: { ...JOB, version: 2 } });
  fake.tell("postgres_changes", { new: { ...JOB, status: "publishing", version: 3 } });
  assert.equal(shown.length, before);
  // Progress is shown and costs no look; what postgres_changes leaves out stays
  const { title: _title, ...slim } = JOB;
  fake.tell("postgres_changes", { new: { ...slim, status: "publishing", stage: "uploading", progress: 40, version: 4 } });
  assert.deepEqual([newest()?.progress, newest()?.title], [40, "A title"]);
  assert.equal(clock.next, 45_000, "only the slow poll is left");
  // A slow answer from before an event does not undo it
  const looking = watch.refresh();
  await turn();
  fake.tell("postgres_changes", { new: { ...JOB, status: "publishing", stage: "uploading", progress: 80, version: 6 } });
  await fake.last.answer([{ ...JOB, status: "publishing", stage: "uploading", progress: 60, version: 5 }]);
  await looking;
  assert.equal(newest()?.progress, 80);
  // The end is read once more, whole; then nothing is asked any more
  fake.tell("postgres_changes", { new: { ...JOB, status: "published", version: 7 } });
  await clock.advance(250);
  await fake.last.answer([{ ...JOB, status: "published", permalink: "https://x", version: 7 }]);
  assert.equal(newest()?.permalink, "https://x");
  assert.equal(clock.next, undefined);
  // A row that is gone is looked for, and not shown any more
  fake.tell("postgres_changes", { eventType: "DELETE", new: {}, old: { job_id: JOB.job_id } });
  await clock.advance(0);
  await fake.last.answer([]);
  assert.deepEqual(shown.at(-1), []);
  watch.stop();
  watch.stop();
  assert.deepEqual([fake.removed, unfocused()], [1, 1]);
  const quiet = [shown.length, fake.asked.length];
  fake.tell("postgres_changes", { new: { ...JOB, version: 9 } });
  fake.status("SUBSCRIBED");
  await watch.refresh();
  await clock.advance(100_000);
  assert.deepEqual([shown.length, fake.asked.length], quiet);
}

// A login is not followed for ever when every look is refused
{
  const fake = new Fake();
  const clock = new Clock();
  const ends: unknown[] = [];
  const link = "app://connected?session_id=55555555-5555-4555-8555-555555555555&status=exchanging";
  const following = createOrbyt(fake as unknown as AnySupabaseClient)
    .resumeConnect(link, { timers: clock, choose: () => null })
    .catch((error: unknown) => ends.push(error));
  for (let looks = 0; looks < 3; looks += 1) {
    assert.deepEqual(ends, []);
    await clock.advance(60_000);
    await fake.last.refuse();
  }
  await following;
  assert.ok((ends[0] as OrbytError).code === "request_failed");
  assert.deepEqual([clock.next, fake.removed], [undefined, 1]);
}

// Every reason to look again -----------------------------------------------------------------------------------------------
{
  const { fake, clock, focus, watch, errors, newest } = start();
  const looks = async (why: () => void, after = 0) => {
    const count = fake.asked.length;
    why();
    await clock.advance(after);
    assert.equal(fake.asked.length, count + 1, why.toString());
    await fake.last.answer([JOB]);
  };
  await looks(() => undefined);
  await looks(() => fake.status("SUBSCRIBED"));
  await looks(() => fake.status("SUBSCRIBED"));
  await looks(() => focus());
  await looks(() => fake.tell("system", { status: "error", message: "replication is away" }));
  await looks(() => fake.status("CHANNEL_ERROR"));
  await looks(() => fake.status("TIMED_OUT"));
  await looks(() => undefined, 45_000);
  await looks(() => undefined, 45_000);
  // Many reasons at once are one
  await looks(() => {
    for (let times = 0; times < 20; times += 1) fake.tell("postgres_changes", { new: { ...JOB, job_id: `other-${times}`, version: 1 } });
    fake.status("SUBSCRIBED");
  }, 250);
  // What is fine, and what is somebody else's, is none
  const count = fake.asked.length;
  fake.tell("system", { status: "ok", message: "Subscribed to PostgreSQL" });
  fake.tell("postgres_changes", { new: { ...JOB, job_id: "other", post_id: "other", version: 1 } });
  fake.tell("postgres_changes", { new: null });
  await clock.advance(1_000);
  assert.equal(fake.asked.length, count);
  // The server closes the channel: it is opened again, later each time
  for (const wait of [1_000, 2_000, 4_000]) {
    const opened = fake.channels.length;
    await looks(() => fake.status("CLOSED"));
    await clock.advance(wait - 1);
    assert.equal(fake.channels.length, opened);
    await clock.advance(1);
    assert.equal(fake.channels.length, opened + 1);
  }
  await looks(() => fake.status("SUBSCRIBED"));
  // A look that fails is told, and repeated with growing pauses until it works
  focus();
  await clock.advance(0);
  await fake.last.refuse();
  assert.deepEqual(errors.map((error) => error.code), ["request_failed"]);
  for (const wait of [1_000, 2_000, 4_000]) {
    assert.equal(clock.next, wait);
    await clock.advance(wait);
    await fake.last.refuse();
  }
  assert.equal(errors.length, 4);
  assert.equal(newest()?.version, 1, "what was known stays on the screen");
  // A request that is never answered
  await clock.advance(8_000);
  await clock.advance(20_000);
  assert.equal(errors.at(-1)?.code, "offline");
  await looks(() => focus());
  assert.equal(clock.next, 45_000);
  watch.stop();
}

// The outline of a broadcast -----------------------------------------------------------------------------------------------
{
  const { fake, clock, watch, newest } = start({}, { broadcast: "me" });
  await turn();
  assert.deepEqual([fake.channels[0]?.topic, fake.channels[0]?.options], ["orbyt:me", { config: { private: true } }]);
  await clock.advance(0);
  assert.match(fake.last.path, /\?select=\*&order=/);
  await fake.last.answer([JOB]);
  fake.tell("broadcast", { event: "publish_job", payload: outline({ status: "publishing", version: 2 }) });
  assert.deepEqual([newest()?.status, newest()?.title], ["publishing", "A title"]);
  await clock.advance(250);
  await fake.last.answer([{ ...JOB, status: "publishing", version: 2 }]);
  const count = fake.asked.length;
  fake.tell("broadcast", { event: "account", payload: { account_id: JOB.account_id, version: 5 } });
  fake.tell("broadcast", { event: "publish_job", payload: outline({ status: "publishing", progress: 10, version: 3 }) });
  await clock.advance(1_000);
  assert.deepEqual([fake.asked.length, newest()?.progress], [count, 10]);
  // A row that is gone is looked for
  fake.tell("broadcast", { event: "publish_job_deleted", payload: { job_id: JOB.job_id, version: 4 } });
  await clock.advance(0);
  assert.equal(fake.asked.length, count + 1);
  await fake.last.answer([]);
  assert.equal(newest(), undefined);
  watch.stop();
}

// Two screens on one private topic share the channel; the last one ends it
{
  const fake = new Fake();
  const clock = new Clock();
  const orbyt = createOrbyt(fake as unknown as AnySupabaseClient);
  const options = { via: { broadcast: "me" }, timers: clock };
  const jobs = orbyt.watch({}, () => undefined, options);
  const accounts = orbyt.watchAccounts(() => undefined, options);
  await turn();
  assert.equal(fake.channels.length, 1);
  jobs.stop();
  assert.equal(fake.removed, 0);
  accounts.stop();
  accounts.stop();
  assert.equal(fake.removed, 1);
  const aborted = new AbortController();
  orbyt.watch({}, () => assert.fail("stopped before it began"), { ...options, signal: aborted.signal });
  aborted.abort();
  assert.equal(clock.next, undefined);
}

// The link back ------------------------------------------------------------------------------------------------------------
assert.deepEqual(readReturnLink("studiox://connected?session_id=1&status=exchanging&proof=a%2Bb#x"), { sessionId: "1", status: "exchanging", proof: "a+b" });
assert.deepEqual(readReturnLink("https://app.example/connected?a=%E0%A4%A&status=failed"), { sessionId: undefined, status: "failed", proof: undefined });
assert.deepEqual(readReturnLink("studiox://connected"), { sessionId: undefined, status: undefined, proof: undefined });

// The real client ----------------------------------------------------------------------------------------------------------
{
  const phoenix = await new Phoenix().start();
  const supabase = createClient(phoenix.url, "key", { accessToken: async () => "token", realtime: { reconnectAfterMs: () => 50 } });
  const orbyt = createOrbyt(supabase);
  phoenix.rows = [JOB];
  const shown: Job[] = [];
  const watch = orbyt.watch({ postId: JOB.post_id }, ([job]) => {
    if (job) shown.push(job);
    phoenix.changed();
  });
  await phoenix.until(() => phoenix.on(/publish_jobs/) !== undefined && shown.length > 0);
  const join = phoenix.on(/publish_jobs/);
  assert.ok(join);
  assert.deepEqual([join.private, join.filters], [false, [{ event: "*", schema: "orbyt", table: "publish_jobs", filter: `post_id=eq.${JOB.post_id}` }]]);
  phoenix.changes(join, "UPDATE", { ...JOB, status: "publishing", progress: 30, version: 2 });
  await phoenix.until(() => shown.at(-1)?.progress === 30);
  // The line breaks and something happens meanwhile: it comes back by itself and reads what was missed
  phoenix.rows = [{ ...JOB, status: "publishing", progress: 70, version: 4 }];
  join.socket.terminate();
  phoenix.joins.length = 0;
  await phoenix.until(() => shown.at(-1)?.progress === 70 && phoenix.on(/publish_jobs/) !== undefined);
  // The server closes the channel (a token has run out): it is opened again
  const closing = phoenix.on(/publish_jobs/);
  assert.ok(closing);
  phoenix.joins.length = 0;
  phoenix.rows = [{ ...JOB, status: "publishing", progress: 80, version: 5 }];
  phoenix.push(closing, "phx_close", {});
  await phoenix.until(() => shown.at(-1)?.progress === 80 && phoenix.on(/publish_jobs/) !== undefined);
  const reopened = phoenix.on(/publish_jobs/);
  assert.ok(reopened);
  phoenix.changes(reopened, "UPDATE", { ...JOB, status: "publishing", progress: 90, version: 6 });
  await phoenix.until(() => shown.at(-1)?.progress === 90);
  watch.stop();
  await phoenix.until(() => phoenix.joins.length === 0);

  // A private topic
  const outlines: Job[] = [];
  phoenix.rows = [JOB];
  const quiet = orbyt.watch({}, ([job]) => {
    if (job) outlines.push(job);
    phoenix.changed();
  }, { via: { broadcast: "me" } });
  await phoenix.until(() => phoenix.on(/^realtime:orbyt:me$/) !== undefined && outlines.length > 0);
  const own = phoenix.on(/^realtime:orbyt:me$/);
  assert.ok(own);
  assert.equal(own.private, true);
  phoenix.rows = [{ ...JOB, status: "published", permalink: "https://x", version: 9 }];
  phoenix.broadcast(own, "publish_job", outline({ status: "published", version: 9 }));
  await phoenix.until(() => outlines.at(-1)?.permalink === "https://x");
  quiet.stop();

  // Connect, with the proof of the link
  const session = { session_id: "s", status: "started", candidates: [], account_ids: [], error_code: null, error_message: null, version: 1 };
  phoenix.rows = [session];
  phoenix.rpcs["begin_connect"] = () => ({ session_id: "s", authorize_url: "https://platform.example", expires_at: "2026-11-25T12:10:00+00:00" });
  phoenix.rpcs["finish_connect"] = (given) => [{ account_id: "a", given }];
  const states: string[] = [];
  const [account] = await orbyt.connect({
    platform: "youtube",
    returnTo: "studiox://connected",
    open: async (url) => {
      assert.equal(url, "https://platform.example");
      phoenix.rows = [{ ...session, status: "exchanging", version: 2 }];
      return "studiox://connected?session_id=s&status=exchanging&proof=p";
    },
    choose: (candidates) => candidates.map((each) => each.platform_account_id),
    onSession: (now) => {
      states.push(now.status);
      const heard = phoenix.on(/connect_sessions/);
      if (now.status !== "exchanging" || !heard) return;
      const choose = { ...session, status: "choose", candidates: [{ platform_account_id: "page", usable: true }], version: 3 };
      phoenix.rows = [choose];
      phoenix.changes(heard, "UPDATE", choose);
    },
  });
  assert.deepEqual((account as unknown as { given: unknown }).given, { session_id: "s", account_ids: ["page"], proof: "p" });
  assert.equal(states.at(-1), "choose");
  // A link of another attempt proves nothing here
  await orbyt.connect({ platform: "youtube", returnTo: "studiox://connected", open: () => "studiox://connected?session_id=other&proof=p", choose: () => ["page"] });
  assert.equal(phoenix.requests.filter((each) => each.includes("finish_connect")).at(-1)?.includes("proof"), false);
  // Failed: the code of the session
  phoenix.rows = [{ ...session, status: "failed", error_code: "connect_denied", error_message: "Access was not granted.", version: 4 }];
  await assert.rejects(orbyt.resumeConnect("studiox://connected?session_id=s&status=failed", { choose: () => [] }), { code: "connect_denied", message: "Access was not granted." });
  // Given up by the app while it waits
  phoenix.rows = [{ ...session, status: "exchanging", version: 5 }];
  const given = new AbortController();
  const waiting = orbyt.resumeConnect("studiox://connected?session_id=s", { choose: () => [], signal: given.signal, onSession: () => given.abort() });
  await assert.rejects(waiting, { code: "connect_cancelled" });
  await supabase.removeAllChannels();
  supabase.realtime.disconnect();
  phoenix.stop();
}
console.log(JSON.stringify("done"));
process.exit(0);
