/** What went wrong, as one kind of error with a code, and what to show for it. */
import { type AnyErrorCode, type OrbytAction, type OrbytErrorInfo, type OrbytSeverity } from "../../types/index.js";
/** What can go wrong on the way to the database: codes of this package, not of the catalog. */
export type ClientErrorCode = "offline" | "signed_out" | "request_failed";
/** What to show for a code. */
export interface Explanation {
    code: AnyErrorCode | ClientErrorCode;
    /** A few words for a heading. */
    title: string;
    /** One sentence for the user. */
    whatHappened: string;
    /** One sentence: how to get on. */
    whatToDo: string;
    /** What to offer next to it. */
    action: OrbytAction;
    severity: OrbytSeverity;
    /** It is, or can be, tried again as it is. */
    retryable: boolean;
    needsReauth: boolean;
    whoActs: OrbytErrorInfo["whoActs"];
    outcome: OrbytErrorInfo["outcome"];
    /** What to mark in a form: `title`, `media[0].url`. */
    field?: string;
}
/** Every promise of this package rejects with this. */
export declare class OrbytError extends Error {
    readonly name: string;
    readonly code: AnyErrorCode | ClientErrorCode;
    /** What to mark in a form: `title`, `media[0].url`. */
    readonly field: string | undefined;
    /** Numbers that help: "200 characters, at most 100". */
    readonly detail: string | undefined;
    readonly action: OrbytAction;
    readonly severity: OrbytSeverity;
    readonly retryable: boolean;
    constructor(code: AnyErrorCode | ClientErrorCode, given?: {
        message?: string;
        field?: string;
        detail?: string;
        cause?: unknown;
    });
}
/** Anything that was thrown, or stood in `error` of an answer of supabase-js. `status` is the HTTP status of that answer. */
export declare function toOrbytError(error: unknown, status?: number): OrbytError;
/** What to show for a code, an error, or a row with `error_code`; undefined if there is nothing to explain. */
export declare function explain(what: string | OrbytError | {
    error_code: string | null;
    error_message?: string | null;
} | null | undefined | unknown): Explanation | undefined;
