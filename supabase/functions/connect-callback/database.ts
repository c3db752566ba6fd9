// The two sentences this door says to the database, through the project's Data API. Nothing here knows what they are about.

const CALL_SECONDS_MAX = 5;
const ATTEMPTS_MAX = 2;

export type Env = Pick<typeof Deno.env, "get">;
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export class DatabaseAway extends Error {}

/** Calls `orbyt.<name>` as service_role. Throws DatabaseAway when there is no answer that can be used. */
export async function rpc(env: Env, fetch: Fetch, name: string, parameters: Record<string, unknown>): Promise<unknown> {
  const url = `${(env.get("SUPABASE_URL") ?? "").replace(/\/+$/, "")}/rest/v1/rpc/${name}`;
  const init = { method: "POST", headers: headers(secretKey(env)), body: JSON.stringify(parameters) };
  // Asking again is harmless: the second time the state is used, and the answer is the session's status.
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    let status = 0;
    try {
      const response = await fetch(url, { ...init, signal: AbortSignal.timeout(CALL_SECONDS_MAX * 1000) });
      status = response.status;
      if (response.ok) return await response.json();
      await response.body?.cancel();
    } catch {
      // No answer, or half of one.
    }
    // Numbers only: what PostgREST says may repeat what it was sent.
    console.error(JSON.stringify({ event: "connect.database_refused", name, status, attempt }));
    if (status >= 400 && status < 500) break;
  }
  throw new DatabaseAway(name);
}

/** New keys are opaque and go into `apikey`; a legacy one is a JWT and goes into both. */
function headers(key: string): Record<string, string> {
  return {
    apikey: key,
    ...(key.startsWith("eyJ") ? { Authorization: `Bearer ${key}` } : {}),
    "Content-Type": "application/json",
    "Content-Profile": "orbyt",
    Accept: "application/json",
  };
}

function secretKey(env: Env): string {
  const named = env.get("SUPABASE_SECRET_KEYS");
  if (named) {
    try {
      const keys: Record<string, string> = JSON.parse(named);
      const key = keys.default ?? Object.values(keys)[0];
      if (typeof key === "string" && key !== "") return key;
    } catch {
      // Not JSON: as if it were not there.
    }
  }
  return env.get("SUPABASE_SECRET_KEY") || env.get("SUPABASE_SERVICE_ROLE_KEY") || "";
}
