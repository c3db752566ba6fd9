/** A Realtime channel that is opened again when the server closes it, shared by everybody who listens on the same topic. */
import type { AnySupabaseClient } from "./api.ts";

export interface Timers {
  set(callback: () => void, milliseconds: number): unknown;
  clear(timer: unknown): void;
}

export interface Listener {
  /** A row as an event brought it: whole (postgres_changes) or its outline (broadcast). */
  onNews(row: unknown): void;
  /** Something may have been missed: joined, joined again, trouble. */
  onGap(): void;
}

/** Where to listen. */
export type Source =
  | { table: string; filter: string | undefined }
  | { broadcast: string; event: string };

export const RETRY_MS_MIN = 1_000;
export const RETRY_MS_MAX = 60_000;

/** How long to wait after so many failures in a row. */
export function backoff(times: number): number {
  return Math.min(RETRY_MS_MIN * 2 ** Math.min(times - 1, 10), RETRY_MS_MAX);
}

interface Message {
  event?: string;
  eventType?: string;
  status?: string;
  new?: unknown;
  payload?: unknown;
}

type Channel = ReturnType<AnySupabaseClient["channel"]>;

/** One channel and whoever listens on it. */
class Line {
  readonly listeners = new Map<Listener, Source>();
  private readonly client: AnySupabaseClient;
  private readonly timers: Timers;
  private readonly build: (client: AnySupabaseClient, line: Line) => Promise<Channel>;
  private channel: Channel | undefined;
  private closures = 0;
  private timer: unknown;
  private ended = false;

  constructor(client: AnySupabaseClient, timers: Timers, build: (client: AnySupabaseClient, line: Line) => Promise<Channel>) {
    this.client = client;
    this.timers = timers;
    this.build = build;
    void this.open();
  }

  hear(message: Message): void {
    for (const [listener, source] of [...this.listeners]) {
      // What is gone is found by looking.
      if ("table" in source) message.eventType === "DELETE" ? listener.onGap() : listener.onNews(message.new);
      else if (message.event === `${source.event}_deleted`) listener.onGap();
      else if (message.event === source.event) listener.onNews(message.payload);
    }
  }

  gap(): void {
    for (const listener of [...this.listeners.keys()]) listener.onGap();
  }

  end(): void {
    this.ended = true;
    this.timers.clear(this.timer);
    if (this.channel) void this.client.removeChannel(this.channel);
  }

  private async open(): Promise<void> {
    const channel = await this.build(this.client, this);
    if (this.ended) {
      void this.client.removeChannel(channel);
      return;
    }
    this.channel = channel;
    channel.subscribe((status: string) => {
      if (this.ended || this.channel !== channel) return;
      if (status === "SUBSCRIBED") this.closures = 0;
      this.gap();
      // After an error or a timeout the client joins again by itself; after CLOSED (a token that has run out, say) it does not.
      if (status === "CLOSED") this.reopen(channel);
    });
  }

  private reopen(closed: Channel): void {
    this.channel = undefined;
    this.closures += 1;
    this.timer = this.timers.set(() => {
      void Promise.resolve(this.client.removeChannel(closed)).then(() => (this.ended ? undefined : this.open()));
    }, backoff(this.closures));
  }
}

const lines = new WeakMap<AnySupabaseClient, Map<string, Line>>();
let tables = 0;

/** Listen; returns how to stop. */
export function listen(client: AnySupabaseClient, source: Source, listener: Listener, timers: Timers): () => void {
  let topic: string;
  let build: (client: AnySupabaseClient, line: Line) => Promise<Channel>;
  if ("table" in source) {
    tables += 1;
    topic = `orbyt-${source.table}-${tables}`;
    const change = { event: "*" as const, schema: "orbyt", table: source.table, ...(source.filter ? { filter: source.filter } : {}) };
    build = async (given, line) =>
      trouble(given.channel(topic), line).on("postgres_changes", change, (message: Message) => line.hear(message));
  } else {
    topic = `orbyt:${source.broadcast}`;
    build = async (given, line) => {
      // Old clients do not do this by themselves before they join a private channel.
      await Promise.resolve(given.realtime.setAuth()).catch(() => undefined);
      const channel = given.channel(topic, { config: { private: true } });
      return trouble(channel, line).on("broadcast", { event: "*" }, (message: Message) => line.hear(message));
    };
  }
  const known = lines.get(client) ?? new Map<string, Line>();
  lines.set(client, known);
  const line = known.get(topic) ?? new Line(client, timers, build);
  known.set(topic, line);
  line.listeners.set(listener, source);
  return () => {
    line.listeners.delete(listener);
    if (line.listeners.size > 0 || known.get(topic) !== line) return;
    known.delete(topic);
    line.end();
  };
}

function trouble(channel: Channel, line: Line): Channel {
  return channel.on("system", {}, (message: Message) => {
    if (message.status !== "ok") line.gap();
  });
}
