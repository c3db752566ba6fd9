import { ask } from "./api.js";
import { OrbytError } from "./errors.js";
import { watchRows } from "./watch.js";
/** What `session_id`, `status` and `proof` of the link back to the app are. No URL class: React Native's is incomplete. */
export function readReturnLink(link) {
    const query = (link.split("#")[0] ?? "").split("?").slice(1).join("?");
    const found = new Map();
    for (const pair of query.split("&")) {
        const [name = "", ...value] = pair.split("=");
        try {
            found.set(decodeURIComponent(name), decodeURIComponent(value.join("=").replace(/\+/g, " ")));
        }
        catch {
            // Not ours: what Orbyt adds is always decodable.
        }
    }
    return { sessionId: found.get("session_id"), status: found.get("status"), proof: found.get("proof") };
}
export async function connect(client, orbyt, options) {
    const begun = await ask(orbyt.rpc("begin_connect", {
        platform: options.platform,
        return_to: options.returnTo,
        ...(options.login ? { login: options.login } : {}),
        ...(options.accountId ? { account_id: options.accountId } : {}),
    }));
    const link = await options.open(begun.authorize_url, begun);
    if (typeof link !== "string")
        return follow(client, orbyt, begun.session_id, options, link === null);
    const back = readReturnLink(link);
    // A link of another attempt says nothing about this one.
    const ours = back.sessionId === begun.session_id;
    return follow(client, orbyt, begun.session_id, options, false, ours ? back.proof : undefined);
}
/** Goes on after the link back has opened the app anew (a web page, or an app the system had ended). */
export async function resume(client, orbyt, link, options) {
    const back = readReturnLink(link);
    if (!back.sessionId)
        throw new OrbytError("connect_session_not_found", { field: "session_id" });
    return follow(client, orbyt, back.sessionId, options, false, back.proof);
}
export function finishConnect(orbyt, sessionId, platformAccountIds, proof) {
    return ask(orbyt.rpc("finish_connect", { session_id: sessionId, account_ids: [...platformAccountIds], ...(proof ? { proof } : {}) }));
}
export function sessionSubject(orbyt, sessionId) {
    return {
        table: "connect_sessions",
        event: "connect_session",
        filter: `session_id=eq.${sessionId}`,
        key: (row) => row.session_id,
        fetch: () => ask(orbyt.from("connect_sessions").select().eq("session_id", sessionId)),
        concerns: (row) => row.session_id === sessionId,
        isFinal: isOver,
        turns: (row) => [row.status, row.error_code],
    };
}
function isOver(session) {
    return session.status === "connected" || session.status === "failed" || session.status === "expired";
}
/** How often a session is looked at while somebody waits for it, where Realtime is not to be had. */
const SESSION_POLL_SECONDS = 2;
async function follow(client, orbyt, sessionId, options, closed, proof) {
    const session = await settled(client, orbyt, sessionId, options, closed);
    if (session.status === "choose") {
        const chosen = await options.choose(session.candidates, session);
        if (!chosen || chosen.length === 0)
            throw new OrbytError("connect_cancelled");
        return finishConnect(orbyt, sessionId, chosen, proof);
    }
    if (session.status === "connected")
        return ask(orbyt.from("accounts").select().in("account_id", session.account_ids));
    throw new OrbytError(session.error_code ?? (session.status === "expired" ? "connect_expired" : "internal_error"), {
        ...(session.error_message ? { message: session.error_message } : {}),
    });
}
/** Refused looks in a row after which following a login is given up. */
const REFUSALS_MAX = 3;
/** The session as soon as there is something to do: choose, connected, failed or expired. */
function settled(client, orbyt, sessionId, options, closed) {
    return new Promise((resolve, reject) => {
        const { via, pollSeconds = SESSION_POLL_SECONDS, onFocus, signal, timers } = options;
        let refused = 0;
        // Offline ends by itself. What is refused again and again does not, and somebody is looking at a spinner.
        const onError = (error) => {
            refused += error.code === "offline" ? 0 : 1;
            if (error.code === "signed_out" || refused >= REFUSALS_MAX)
                done(() => reject(error));
        };
        const given = { pollSeconds, onError, ...(via ? { via } : {}), ...(onFocus ? { onFocus } : {}), ...(timers ? { timers } : {}) };
        const done = (end) => {
            signal?.removeEventListener("abort", aborted);
            watch.stop();
            end();
        };
        const aborted = () => done(() => reject(new OrbytError("connect_cancelled")));
        const onRows = ([session]) => {
            refused = 0;
            if (!session) {
                done(() => reject(new OrbytError("connect_session_not_found", { field: "session_id" })));
                return;
            }
            options.onSession?.(session);
            if (session.status === "choose" || isOver(session))
                done(() => resolve(session));
            // The browser was closed on the platform's page: nobody will come back.
            else if (closed && session.status === "started")
                done(() => reject(new OrbytError("connect_cancelled")));
        };
        const watch = watchRows(client, sessionSubject(orbyt, sessionId), onRows, given);
        if (signal?.aborted)
            aborted();
        else
            signal?.addEventListener("abort", aborted);
    });
}
