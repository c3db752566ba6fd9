// What a platform's redirect says, read from the query of the callback. Pure; everything in it may have been made up.
//
// The same reading is in orbyt_worker/web/oauth_answer.py, with the platforms' shapes and their sources: both doors give
// the same answer to the same query, and tests/web/test_callback_doors.py sends the same queries to both.

export const QUERY_CHARACTERS_MAX = 16 * 1024;
const STATE = /^[A-Za-z0-9._~-]{1,512}$/;
const CODE = /^[\x21-\x7e]{1,4096}$/;
export const WORD = /^[a-z0-9_]{1,64}$/;
const LEFTOVERS = ["#_=_", "#_"];
const ERRORS = ["error", "error_reason", "error_code", "error_message"];

// Words of our own, for what no platform gave a word for.
export const PLATFORM_ERROR = "platform_error";
export const CODE_MISSING = "code_missing";

/** `stateHash`: hex SHA-256 of the state, of nothing when none can be read. Either `code` or `error` is set. */
export interface OAuthAnswer {
  readonly stateHash: string;
  readonly code: string | null;
  readonly error: string | null;
}

/** An answer that says yes and no at once is a no; a parameter that comes twice is none at all. */
export async function readAnswer(query: string): Promise<OAuthAnswer> {
  if (query.length > QUERY_CHARACTERS_MAX) {
    return { stateHash: await sha256(""), code: null, error: CODE_MISSING };
  }
  const parameters = new URLSearchParams(`?${query}`);
  const single = (name: string): string => {
    const values = parameters.getAll(name);
    return values.length === 1 ? values[0] ?? "" : "";
  };

  const state = clean(single("state"));
  const stateHash = await sha256(STATE.test(state) ? state : "");
  if (ERRORS.some((name) => parameters.has(name))) {
    return { stateHash, code: null, error: word(single("error") || single("error_reason")) };
  }
  const code = clean(single("code"));
  return CODE.test(code) ? { stateHash, code, error: null } : { stateHash, code: null, error: CODE_MISSING };
}

async function sha256(text: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function clean(value: string): string {
  return LEFTOVERS.reduce((left, each) => left.endsWith(each) ? left.slice(0, -each.length) : left, value);
}

/** A word for the catalog to know; never a text that was sent along. */
function word(value: string): string {
  const lower = value.toLowerCase();
  return WORD.test(lower) ? lower : PLATFORM_ERROR;
}
