/**
 * Rows on a screen that stay true. The row is the truth, Realtime only says that it changed, and nothing it says is guaranteed:
 * subscribe, fetch, apply what is newer, and fetch again on focus, on reconnect, on trouble, and slowly while something is open.
 */
import type { AnySupabaseClient } from "./api.ts";
import { OrbytError, toOrbytError } from "./errors.ts";
import { type Source, type Timers, backoff, listen } from "./line.ts";

export interface WatchOptions {
  /**
   * How changes arrive. `postgres_changes` (the default) sends whole rows; `{ broadcast: userId }` listens on the user's own
   * private topic, which costs the database far less with many users.
   */
  via?: "postgres_changes" | { broadcast: string };
  /** Seconds between two looks while something is not final; 30 to 60 is right (default 45, at least 2). */
  pollSeconds?: number;
  /**
   * Calls `refresh` whenever the app comes back to the foreground, and returns how to stop that. A browser's tabs are looked
   * after already; React Native has AppState (see examples/react-native.ts).
   */
  onFocus?: (refresh: () => void) => () => void;
  /** A look that failed. It is repeated by itself. */
  onError?: (error: OrbytError) => void;
  /** Ends the watch, like `stop`. */
  signal?: AbortSignal;
  /** For tests. */
  timers?: Timers;
}

export interface Watch {
  /** Look now. Resolves when the rows are what the database says; rejects with an OrbytError. */
  refresh(): Promise<void>;
  /** Ends it; nothing is called after this. */
  stop(): void;
}

/** What a watch is about; the rest of this file knows no table. */
export interface Subject<Row extends { version: number }> {
  table: string;
  /** Of the broadcast. */
  event: string;
  /** `column=op.value` for postgres_changes; undefined: every row the user may see. */
  filter: string | undefined;
  key(row: Partial<Row>): string | undefined;
  fetch(): Promise<Row[]>;
  /** Whether a row that was not fetched yet may belong here. */
  concerns(row: Partial<Row>): boolean;
  isFinal(row: Row): boolean;
  /** Columns that say more than progress: an event that changes one has the whole row read. */
  turns(row: Row): readonly unknown[];
}

const POLL_SECONDS = 45;
const POLL_SECONDS_MIN = 2;
/** Changes that come within this time cause one look together. */
const GATHER_MS = 250;
/** A phone that slept may have a request that is never answered: after this it has failed. */
const LOOK_MS_MAX = 20_000;

const systemTimers: Timers = {
  set: (callback, milliseconds) => setTimeout(callback, milliseconds),
  clear: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
};

export function watchRows<Row extends { version: number }>(
  client: AnySupabaseClient,
  subject: Subject<Row>,
  onRows: (rows: Row[]) => void,
  options: WatchOptions,
): Watch {
  const timers = options.timers ?? systemTimers;
  const pollMs = Math.max(options.pollSeconds ?? POLL_SECONDS, POLL_SECONDS_MIN) * 1_000;
  const rows = new Map<string, Row>();
  let stopped = false;
  let fetched = false;
  let looking: Promise<void> | undefined;
  let lookAgain = false;
  let failures = 0;
  let timer: unknown;
  let soon = false;

  function show(): void {
    if (!stopped && fetched) onRows([...rows.values()]);
  }

  /** A look that is due soon is not put off by the next reason for one. */
  function lookIn(milliseconds: number): void {
    if (stopped || soon) return;
    timers.clear(timer);
    soon = milliseconds <= GATHER_MS;
    timer = timers.set(() => void refresh().catch(() => undefined), milliseconds);
  }

  function refresh(): Promise<void> {
    if (stopped) return Promise.resolve();
    timers.clear(timer);
    soon = false;
    if (looking) {
      // What is under way may have been answered before the change that asks for this.
      lookAgain = true;
      return looking;
    }
    looking = look().finally(() => {
      looking = undefined;
    });
    return looking;
  }

  async function look(): Promise<void> {
    try {
      do {
        lookAgain = false;
        const before = new Set(rows.keys());
        const answer = await answered(subject.fetch());
        if (stopped) return;
        settle(answer, before);
      } while (lookAgain && !stopped);
      failures = 0;
      if ([...rows.values()].some((row) => !subject.isFinal(row))) lookIn(pollMs);
    } catch (thrown) {
      if (stopped) return;
      const error = toOrbytError(thrown);
      failures += 1;
      lookIn(backoff(failures));
      options.onError?.(error);
      throw error;
    }
  }

  function answered(request: Promise<Row[]>): Promise<Row[]> {
    return new Promise((resolve, reject) => {
      const limit = timers.set(() => reject(new OrbytError("offline")), LOOK_MS_MAX);
      request.then(resolve, reject).finally(() => timers.clear(limit));
    });
  }

  function settle(answer: Row[], before: Set<string>): void {
    const next = new Map<string, Row>();
    for (const row of answer) {
      const key = subject.key(row);
      if (key === undefined) continue;
      const known = rows.get(key);
      // Same version: the fetched one is whole, what an event left may not be.
      next.set(key, known && known.version > row.version ? known : row);
    }
    // A row that came while this was under way may be missing in the answer.
    for (const [key, row] of rows) if (!before.has(key) && !next.has(key)) next.set(key, row);
    rows.clear();
    for (const [key, row] of next) rows.set(key, row);
    fetched = true;
    show();
  }

  function onNews(news: unknown): void {
    if (stopped || typeof news !== "object" || news === null) return;
    const change = news as Partial<Row>;
    const key = subject.key(change);
    const known = key === undefined ? undefined : rows.get(key);
    if (key === undefined || !known || typeof change.version !== "number") {
      if (subject.concerns(change)) lookIn(GATHER_MS);
      return;
    }
    if (change.version <= known.version) return;
    const merged: Row = { ...known, ...change };
    rows.set(key, merged);
    show();
    // A broadcast is an outline, and postgres_changes leaves out large columns that did not change.
    const was = subject.turns(known);
    if (subject.turns(merged).some((value, index) => value !== was[index])) lookIn(GATHER_MS);
  }

  function stop(): void {
    if (stopped) return;
    stopped = true;
    timers.clear(timer);
    unfocus();
    unlisten();
    options.signal?.removeEventListener("abort", stop);
  }

  const via = options.via ?? "postgres_changes";
  const source: Source =
    via === "postgres_changes" ? { table: subject.table, filter: subject.filter } : { broadcast: via.broadcast, event: subject.event };
  const unlisten = listen(client, source, { onNews, onGap: () => lookIn(0) }, timers);
  const unfocus = (options.onFocus ?? browserFocus)(() => lookIn(0));
  // Not only when subscribed: without Realtime this is all there is.
  lookIn(0);
  if (options.signal?.aborted) stop();
  else options.signal?.addEventListener("abort", stop);
  return { refresh, stop };
}

/** A tab that is looked at again, or a browser that is online again. Nothing where there is no document (React Native). */
function browserFocus(refresh: () => void): () => void {
  if (typeof document === "undefined" || typeof window === "undefined" || typeof window.addEventListener !== "function") return () => undefined;
  const visible = () => {
    if (document.visibilityState === "visible") refresh();
  };
  document.addEventListener("visibilitychange", visible);
  window.addEventListener("online", refresh);
  return () => {
    document.removeEventListener("visibilitychange", visible);
    window.removeEventListener("online", refresh);
  };
}
