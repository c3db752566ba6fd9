/** What went wrong, as one kind of error with a code, and what to show for it. */
import {
  type AnyErrorCode,
  type ErrorDetails,
  type OrbytAction,
  type OrbytErrorCode,
  type OrbytErrorInfo,
  type OrbytSeverity,
  orbytErrorOfSqlState,
  orbytErrors,
} from "../../types/index.ts";

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
export class OrbytError extends Error {
  override readonly name: string = "OrbytError";
  readonly code: AnyErrorCode | ClientErrorCode;
  /** What to mark in a form: `title`, `media[0].url`. */
  readonly field: string | undefined;
  /** Numbers that help: "200 characters, at most 100". */
  readonly detail: string | undefined;
  readonly action: OrbytAction;
  readonly severity: OrbytSeverity;
  readonly retryable: boolean;

  constructor(code: AnyErrorCode | ClientErrorCode, given: { message?: string; field?: string; detail?: string; cause?: unknown } = {}) {
    const known = infoOf(code);
    super(given.message || known?.whatHappened || UNKNOWN.whatHappened);
    this.code = code;
    this.field = given.field;
    this.detail = given.detail;
    this.action = (known ?? UNKNOWN).action;
    this.severity = (known ?? UNKNOWN).severity;
    this.retryable = (known ?? UNKNOWN).retryable;
    if (given.cause !== undefined) (this as { cause?: unknown }).cause = given.cause;
  }
}

/** Anything that was thrown, or stood in `error` of an answer of supabase-js. `status` is the HTTP status of that answer. */
export function toOrbytError(error: unknown, status?: number): OrbytError {
  if (error instanceof OrbytError) return error;
  const given: Partial<Record<"code" | "message" | "details", unknown>> = typeof error === "object" && error !== null ? error : {};
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
  if (status === 401 || code === "PGRST301" || code === "PGRST302" || code === "PGRST303") return new OrbytError("signed_out", { cause: error });
  const known = orbytErrorOfSqlState[code];
  if (known) return new OrbytError(known, { cause: error });
  // supabase-js answers a request that never arrived with status 0 and an empty code; a gateway's 5xx has no code of ours either.
  const unanswered = status === undefined ? given.code === "" : status === 0 || status >= 500;
  if (unanswered) return new OrbytError("offline", { cause: error });
  return new OrbytError("request_failed", { message, cause: error });
}

/** What to show for a code, an error, or a row with `error_code`; undefined if there is nothing to explain. */
export function explain(
  what: string | OrbytError | { error_code: string | null; error_message?: string | null } | null | undefined | unknown,
): Explanation | undefined {
  if (what === null || what === undefined || what === "") return undefined;
  if (typeof what === "string") return explanation(what, undefined);
  if (typeof what === "object" && "error_code" in what) {
    const row = what as { error_code: string | null; error_message?: string | null };
    return row.error_code ? explanation(row.error_code, row.error_message ?? undefined) : undefined;
  }
  const error = toOrbytError(what);
  const found = explanation(error.code, error.message);
  return error.field === undefined ? found : { ...found, field: error.field };
}

function explanation(code: string, message: string | undefined): Explanation {
  const known = infoOf(code);
  const { title, whatHappened, whatToDo, action, severity, retryable, needsReauth, whoActs, outcome } = known ?? UNKNOWN;
  return { code, title, whatHappened: known ? whatHappened : message || whatHappened, whatToDo, action, severity, retryable, needsReauth, whoActs, outcome };
}

function infoOf(code: string): OrbytErrorInfo | undefined {
  // A database newer than this package knows codes that are not in it.
  if (Object.prototype.hasOwnProperty.call(orbytErrors, code)) return orbytErrors[code as OrbytErrorCode];
  return OWN[code as ClientErrorCode];
}

function detailsOf(details: unknown): ErrorDetails | undefined {
  if (typeof details !== "string" || !details.startsWith("{")) return undefined;
  try {
    const found = JSON.parse(details) as Partial<ErrorDetails>;
    return typeof found.code === "string" ? (found as ErrorDetails) : undefined;
  } catch {
    return undefined;
  }
}

const UNKNOWN: OrbytErrorInfo = {
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
const OFFLINE: OrbytErrorInfo = {
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
const OWN: Readonly<Record<ClientErrorCode, OrbytErrorInfo>> = {
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
