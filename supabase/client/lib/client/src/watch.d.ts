/**
 * Rows on a screen that stay true. The row is the truth, Realtime only says that it changed, and nothing it says is guaranteed:
 * subscribe, fetch, apply what is newer, and fetch again on focus, on reconnect, on trouble, and slowly while something is open.
 */
import type { AnySupabaseClient } from "./api.js";
import { OrbytError } from "./errors.js";
import { type Timers } from "./line.js";
export interface WatchOptions {
    /**
     * How changes arrive. `postgres_changes` (the default) sends whole rows; `{ broadcast: userId }` listens on the user's own
     * private topic, which costs the database far less with many users.
     */
    via?: "postgres_changes" | {
        broadcast: string;
    };
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
export interface Subject<Row extends {
    version: number;
}> {
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
export declare function watchRows<Row extends {
    version: number;
}>(client: AnySupabaseClient, subject: Subject<Row>, onRows: (rows: Row[]) => void, options: WatchOptions): Watch;
