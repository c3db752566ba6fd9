// A Realtime server of a few lines: Phoenix channels as @supabase/realtime-js 2 speaks them (protocol 2.0.0, arrays), and beside it
// the one table of the Data API that a screen reads. Strict: what it does not know fails the test.
import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";

interface Socket {
  send(text: string): void;
  on(event: string, told: (data: unknown) => void): void;
  terminate(): void;
}
type Frame = [joinRef: string | null, ref: string | null, topic: string, event: string, payload: Record<string, unknown>];
interface Join {
  topic: string;
  ref: string | null;
  private: boolean;
  filters: { schema: string; table: string; filter?: string }[];
  socket: Socket;
}

export class Phoenix {
  rows: Record<string, unknown>[] = [];
  readonly joins: Join[] = [];
  /** Every request of the Data API: method, path with query, body. */
  readonly requests: string[] = [];
  /** Answers to POST /rest/v1/rpc/<name>. */
  readonly rpcs: Record<string, (given: Record<string, unknown>) => unknown> = {};
  refuseJoins = false;
  private readonly server = createServer((incoming, outgoing) => {
    void body(incoming).then((text) => {
      const path = decodeURIComponent(incoming.url ?? "");
      this.requests.push(`${incoming.method} ${path} ${text}`.trim());
      this.changed();
      const rpc = /\/rest\/v1\/rpc\/(\w+)/.exec(path)?.[1];
      const answer = rpc ? this.rpcs[rpc]?.(JSON.parse(text) as Record<string, unknown>) : this.rows;
      outgoing.writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" });
      outgoing.end(JSON.stringify(answer ?? { code: "PGRST202", message: "no such function" }));
    });
  });
  private readonly sockets = new WebSocketServer({ server: this.server });
  private waiting: (() => void)[] = [];
  url = "";

  async start(): Promise<this> {
    this.sockets.on("connection", (socket: Socket) => {
      socket.on("message", (data) => this.receive(socket, JSON.parse(String(data)) as Frame));
    });
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
    return this;
  }

  stop(): void {
    for (const join of this.joins) join.socket.terminate();
    this.sockets.close();
    this.server.close();
    this.server.closeAllConnections();
  }

  /** As soon as it holds; asked whenever something arrived. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  changed(): void {
    const told = this.waiting;
    this.waiting = [];
    for (const tell of told) tell();
  }

  /** Who is joined to a topic, without the prefix the client adds. */
  on(topic: RegExp): Join | undefined {
    return this.joins.findLast((join) => topic.test(join.topic));
  }

  changes(join: Join, type: "INSERT" | "UPDATE", record: Record<string, unknown>): void {
    const data = { type, schema: "orbyt", table: join.filters[0]?.table, commit_timestamp: "2026-11-25T12:00:00Z", columns: [], record, old_record: {}, errors: null };
    this.push(join, "postgres_changes", { ids: [1], data });
  }

  broadcast(join: Join, event: string, payload: Record<string, unknown>): void {
    this.push(join, "broadcast", { type: "broadcast", event, payload });
  }

  push(join: Join, event: string, payload: Record<string, unknown>): void {
    join.socket.send(JSON.stringify([join.ref, null, join.topic, event, payload]));
  }

  private receive(socket: Socket, [joinRef, ref, topic, event, payload]: Frame): void {
    const reply = (status: "ok" | "error", response: Record<string, unknown>) =>
      socket.send(JSON.stringify([joinRef, ref, topic, "phx_reply", { status, response }]));
    if (event === "phx_join") {
      const config = payload["config"] as { private?: boolean; postgres_changes: Join["filters"] };
      if (this.refuseJoins) {
        reply("error", { reason: "not now" });
      } else {
        this.joins.push({ topic, ref: joinRef, private: config.private === true, filters: config.postgres_changes, socket });
        reply("ok", { postgres_changes: config.postgres_changes.map((each, index) => ({ id: index + 1, ...each })) });
      }
    } else if (event === "phx_leave" || event === "heartbeat" || event === "access_token") {
      const left = this.joins.findIndex((join) => join.topic === topic);
      if (event === "phx_leave" && left >= 0) this.joins.splice(left, 1);
      reply("ok", {});
    } else {
      assert.fail(`unknown event ${event}`);
    }
    this.changed();
  }
}

async function body(incoming: IncomingMessage): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of incoming) parts.push(part as Uint8Array);
  return Buffer.concat(parts).toString("utf8");
}
