/** What went wrong, as one kind of error with a code, and what to show for it. */
import { orbytErrorOfSqlState, orbytErrors, } from "../../types/index.js";
/** Every promise of this package rejects with this. */
export class OrbytError extends Error {
    constructor(code, given = {}) {
        const known = infoOf(code);
        super(given.message || known?.whatHappened || UNKNOWN.whatHappened);
        this.name = "OrbytError";
        this.code = code;
        this.field = given.field;
        this.detail = given.detail;
        this.action = (known ?? UNKNOWN).action;
        this.severity = (known ?? UNKNOWN).severity;
        this.retryable = (known ?? UNKNOWN).retryable;
        if (given.cause !== undefined)
            this.cause = given.cause;
    }
}
/** Anything that was thrown, or stood in `error` of an answer of supabase-js. `status` is the HTTP status of that answer. */
export function toOrbytError(error, status) {
    if (error instanceof OrbytError)
        return error;
    const given = typeof error === "object" && error !== null ? error : {};
    const message = typeof given.message === "string" ? given.message : String(error);
    const details = detailsOf(given.details);
    if (details) {
        return new OrbytError(details.code, {
            message,
            cause: error,
            ...(details.field ? { field: details.field } : {}),
            ...(details.detail ? { detail: details.detail } : {}),
        });
    }
    const code = typeof given.code === "string" ? given.code : "";
    // PostgREST's own codes for a token it does not take; without one it is the role anon that lacks the right.
    if (status === 401 || code === "PGRST301" || code === "PGRST302" || code === "PGRST303")
        return new OrbytError("signed_out", { cause: error });
    const known = orbytErrorOfSqlState[code];
    if (known)
        return new OrbytError(known, { cause: error });
    // supabase-js answers a request that never arrived with status 0 and an empty code; a gateway's 5xx has no code of ours either.
    const unanswered = status === undefined ? given.code === "" : status === 0 || status >= 500;
    if (unanswered)
        return new OrbytError("offline", { cause: error });
    return new OrbytError("request_failed", { message, cause: error });
}
/** What to show for a code, an error, or a row with `error_code`; undefined if there is nothing to explain. */
export function explain(what) {
    if (what === null || what === undefined || what === "")
        return undefined;
    if (typeof what === "string")
        return explanation(what, undefined);
    if (typeof what === "object" && "error_code" in what) {
        const row = what;
        return row.error_code ? explanation(row.error_code, row.error_message ?? undefined) : undefined;
    }
    const error = toOrbytError(what);
    const found = explanation(error.code, error.message);
    return error.field === undefined ? found : { ...found, field: error.field };
}
function explanation(code, message) {
    const known = infoOf(code);
    const { title, whatHappened, whatToDo, action, severity, retryable, needsReauth, whoActs, outcome } = known ?? UNKNOWN;
    return { code, title, whatHappened: known ? whatHappened : message || whatHappened, whatToDo, action, severity, retryable, needsReauth, whoActs, outcome };
}
function infoOf(code) {
    // A database newer than this package knows codes that are not in it.
    if (Object.prototype.hasOwnProperty.call(orbytErrors, code))
        return orbytErrors[code];
    return OWN[code];
}
function detailsOf(details) {
    if (typeof details !== "string" || !details.startsWith("{"))
        return undefined;
    try {
        const found = JSON.parse(details);
        return typeof found.code === "string" ? found : undefined;
    }
    catch {
        return undefined;
    }
}
const UNKNOWN = {
    area: "internal",
    title: "Something went wrong",
    whatHappened: "Something went wrong.",
    whatToDo: "Try again later; update the app if it stays.",
    whoActs: "app_developer",
    action: "none",
    severity: "error",
    retryable: false,
    needsReauth: false,
    holds: false,
    outcome: "not_published",
};
const OFFLINE = {
    ...UNKNOWN,
    area: "network",
    title: "No connection",
    whatHappened: "The request did not get through.",
    whatToDo: "Check the connection and try again.",
    whoActs: "user",
    action: "retry",
    severity: "warning",
    retryable: true,
};
const OWN = {
    offline: OFFLINE,
    signed_out: {
        ...UNKNOWN,
        title: "Signed out",
        whatHappened: "The session of the app has ended.",
        whatToDo: "Sign in again.",
        whoActs: "user",
        severity: "warning",
    },
    request_failed: { ...UNKNOWN, title: "Request refused", whatHappened: "The request was refused." },
};
