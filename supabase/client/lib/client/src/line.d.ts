/** A Realtime channel that is opened again when the server closes it, shared by everybody who listens on the same topic. */
import type { AnySupabaseClient } from "./api.js";
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
export type Source = {
    table: string;
    filter: string | undefined;
} | {
    broadcast: string;
    event: string;
};
export declare const RETRY_MS_MIN = 1000;
export declare const RETRY_MS_MAX = 60000;
/** How long to wait after so many failures in a row. */
export declare function backoff(times: number): number;
/** Listen; returns how to stop. */
export declare function listen(client: AnySupabaseClient, source: Source, listener: Listener, timers: Timers): () => void;
