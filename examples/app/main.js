// @ts-check
/**
 * Signing in, and what happens when. Each part of the screen has a file of its own: accounts.js, compose.js, posts.js.
 *
 * The sandbox stands in for Supabase Auth: `POST session` answers with an access token of its one user. An app with
 * `supabase.auth` leaves `accessToken` out.
 */
import { createOrbyt } from "/app/orbyt/client/src/index.js";
import { Accounts } from "./accounts.js";
import { Compose } from "./compose.js";
import { attempt, byId, notify, report, whenSignedOut } from "./page.js";
import { Posts } from "./posts.js";

/** @typedef {{ access_token: string, expires_at: number, email: string }} Session */
/** @typedef {{ label: string, type: "image" | "video", url: string }} ReadyMedia */

/** @type {typeof import("@supabase/supabase-js")} */
const { createClient } = /** @type {any} */ (globalThis).supabase;

const LOOK_SECONDS = 1;
const KEPT = "orbyt-example-session";

/** Survives the way to a platform's page and back, in this tab only. @returns {Session | null} */
function keptSession() {
  /** @type {Session | null} */
  const session = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  return session && session.expires_at * 1_000 > Date.now() ? session : null;
}

function show(/** @type {boolean} */ signedIn) {
  byId("signed-in").hidden = !signedIn;
  byId("signed-out").hidden = signedIn;
  byId("who").hidden = !signedIn;
}

/** @returns {Promise<{ supabaseUrl: string, publishableKey: string, media: ReadyMedia[] }>} */
async function readConfig() {
  return (await fetch("config")).json();
}

/** @param {Session} session */
async function start(session) {
  const { supabaseUrl, publishableKey, media } = await readConfig();
  const supabase = createClient(supabaseUrl, publishableKey, {
    accessToken: async () => session.access_token,
    // There is no Realtime here: do not ask for it over and over.
    realtime: { reconnectAfterMs: () => 600_000 },
  });
  const orbyt = createOrbyt(supabase);

  const accounts = new Accounts(orbyt);
  const compose = new Compose(orbyt, media);
  const posts = new Posts(orbyt, {
    reconnect: (accountId) => accounts.connectAgain(accountId),
    edit: (job) => compose.edit(job),
  });
  const everyAccount = orbyt.watchAccounts(
    (found) => {
      accounts.show(found);
      compose.showAccounts(found);
      posts.showAccounts(found);
    },
    { onError: report },
  );
  let causes = "";
  const everyJob = orbyt.watch(
    { limit: 20 },
    (jobs) => {
      posts.show(jobs);
      // An account that needs its person shows in both places.
      const now = jobs.map((job) => job.error_code).join();
      if (now !== causes) void everyAccount.refresh().catch(() => undefined);
      causes = now;
    },
    { onError: report },
  );
  // In the place of Realtime. A tab that nobody looks at asks for nothing; on its return the watch looks by itself.
  const looking = setInterval(() => {
    if (posts.moving && document.visibilityState === "visible") void everyJob.refresh().catch(() => undefined);
  }, LOOK_SECONDS * 1_000);

  accounts.changed = () => everyAccount.refresh();
  posts.changed = compose.sent = () => everyJob.refresh();
  const end = () => {
    clearInterval(looking);
    everyAccount.stop();
    everyJob.stop();
    sessionStorage.removeItem(KEPT);
    show(false);
  };
  whenSignedOut(end);
  byId("sign-out").onclick = () => {
    end();
    notify();
  };
  byId("email").textContent = session.email;
  show(true);
  await accounts.comeBack();
}

byId("sign-in").addEventListener("click", (event) =>
  attempt(async () => {
    const answer = await fetch("session", { method: "POST" });
    if (!answer.ok) throw new Error(`the sandbox answered ${answer.status}`);
    sessionStorage.setItem(KEPT, await answer.text());
    const session = keptSession();
    if (session) await start(session);
  }, /** @type {HTMLButtonElement} */ (event.currentTarget)),
);
const session = keptSession();
if (session) void attempt(() => start(session));
else show(false);
