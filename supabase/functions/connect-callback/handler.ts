// The public door of a login: the platform sends the browser here, and it is sent on to the app.
//
// Every outcome is a redirect to the app's link with the session's id and status, which one SQL function says; never a page
// (hosted projects turn HTML into text), and never a code, a token or a text of the platform. The state is hashed and the code
// sealed before they leave this function. The worker's own endpoint (orbyt_worker/web/connect.py) is the same door.

import { CODE_MISSING, OAuthAnswer, PLATFORM_ERROR, readAnswer, WORD } from "./answer.ts";
import { DatabaseAway, Env, Fetch, rpc } from "./database.ts";
import { CallbackKey, seal } from "./seal.ts";

const RETRY_SECONDS = 30;
const LOCATION = /^[\x21-\x7e]{1,4096}$/;
const HEADERS = {
  "Cache-Control": "no-store",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
};

export async function handle(request: Request, env: Env, fetch: Fetch): Promise<Response> {
  const url = new URL(request.url);
  // Reached as /functions/v1/connect-callback, or whatever stands in front makes of it.
  if (url.pathname.replace(/\/+$/, "").split("/").at(-1) !== "connect-callback") return refuse(404, "not_found");
  if (request.method !== "GET") return refuse(405, "method_not_allowed", { Allow: "GET" });
  const location = await settle(await readAnswer(url.search.slice(1)), env, fetch) ?? withoutDatabase(env);
  if (location === null) return refuse(503, "database_unavailable", { "Retry-After": `${RETRY_SECONDS}` });
  return new Response(null, { status: 303, headers: { ...HEADERS, Location: location } });
}

/** Where to go, from the database; null if it cannot be asked, or says nothing that can be gone to. */
async function settle(answer: OAuthAnswer, env: Env, fetch: Fetch): Promise<string | null> {
  try {
    const { redirect } = await ask(answer, env, fetch);
    return typeof redirect === "string" && LOCATION.test(redirect) ? redirect : null;
  } catch (error) {
    if (error instanceof DatabaseAway) return null;
    // Our own mistake. The browser is sent on all the same.
    console.error(JSON.stringify({ event: "connect.failed", error: error instanceof Error ? error.name : "unknown" }));
    return null;
  }
}

async function ask({ stateHash, code, error }: OAuthAnswer, env: Env, fetch: Fetch): Promise<{ redirect?: unknown }> {
  const parameters = {
    state_hash: stateHash,
    sealed_code: null as string | null,
    key_id: null as string | null,
    error,
  };
  if (code !== null) {
    const key = await rpc(env, fetch, "callback_key", {}) as CallbackKey | null;
    if (key === null) {
      console.error(JSON.stringify({ event: "connect.callback_key_missing" }));
      parameters.error = PLATFORM_ERROR;
    } else {
      try {
        parameters.sealed_code = await seal(code, key, stateHash);
        parameters.key_id = key.key_id;
      } catch (failure) {
        // A row that somebody has changed: no key, or none of ours.
        const error = failure instanceof Error ? failure.name : "unknown";
        console.error(JSON.stringify({ event: "connect.callback_key_broken", error }));
        parameters.error = PLATFORM_ERROR;
      }
    }
  } else {
    parameters.error ??= CODE_MISSING;
  }
  const cameBack = (await rpc(env, fetch, "connect_callback", parameters) ?? {}) as Record<string, unknown>;
  console.log(JSON.stringify({ event: "connect.came_back", status: word(cameBack.status), code: word(cameBack.code) }));
  return cameBack;
}

/** A value for the log: one of our words, never a text from elsewhere. */
function word(value: unknown): string | null {
  return typeof value === "string" && WORD.test(value) ? value : null;
}

/** The app's first link, as the database would give it for a state it does not know; from the function's own secrets. */
function withoutDatabase(env: Env): string | null {
  const first = (env.get("ORBYT_CONNECT_RETURN_TO") ?? "").split(",").map((each) => each.trim()).find((each) =>
    each !== ""
  );
  return first === undefined ? null : `${first}?status=failed`;
}

function refuse(status: number, error: string, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify({ error }), {
    status,
    headers: { ...HEADERS, ...headers, "Content-Type": "application/json" },
  });
}
