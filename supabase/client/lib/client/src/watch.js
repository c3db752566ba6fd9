import { OrbytError, toOrbytError } from "./errors.js";
import { backoff, listen } from "./line.js";
const POLL_SECONDS = 45;
const POLL_SECONDS_MIN = 2;
/** Changes that come within this time cause one look together. */
const GATHER_MS = 250;
/** A phone that slept may have a request that is never answered: after this it has failed. */
const LOOK_MS_MAX = 20000;
const systemTimers = {
    set: (callback, milliseconds) => setTimeout(callback, milliseconds),
    clear: (timer) => clearTimeout(timer),
};
export function watchRows(client, subject, onRows, options) {
    const timers = options.timers ?? systemTimers;
    const pollMs = Math.max(options.pollSeconds ?? POLL_SECONDS, POLL_SECONDS_MIN) * 1000;
    const rows = new Map();
    let stopped = false;
    let fetched = false;
    let looking;
    let lookAgain = false;
    let failures = 0;
    let timer;
    let soon = false;
    function show() {
        if (!stopped && fetched)
            onRows([...rows.values()]);
    }
    /** A look that is due soon is not put off by the next reason for one. */
    function lookIn(milliseconds) {
        if (stopped || soon)
            return;
        timers.clear(timer);
        soon = milliseconds <= GATHER_MS;
        timer = timers.set(() => void refresh().catch(() => undefined), milliseconds);
    }
    function refresh() {
        if (stopped)
            return Promise.resolve();
        timers.clear(timer);
        soon = false;
        if (looking) {
            // What is under way may have been answered before the change that asks for this.
            lookAgain = true;
            return looking;
        }
        looking = look().finally(() => {
            looking = undefined;
        });
        return looking;
    }
    async function look() {
        try {
            do {
                lookAgain = false;
                const before = new Set(rows.keys());
                const answer = await answered(subject.fetch());
                if (stopped)
                    return;
                settle(answer, before);
            } while (lookAgain && !stopped);
            failures = 0;
            if ([...rows.values()].some((row) => !subject.isFinal(row)))
                lookIn(pollMs);
        }
        catch (thrown) {
            if (stopped)
                return;
            const error = toOrbytError(thrown);
            failures += 1;
            lookIn(backoff(failures));
            options.onError?.(error);
            throw error;
        }
    }
    function answered(request) {
        return new Promise((resolve, reject) => {
            const limit = timers.set(() => reject(new OrbytError("offline")), LOOK_MS_MAX);
            request.then(resolve, reject).finally(() => timers.clear(limit));
        });
    }
    function settle(answer, before) {
        const next = new Map();
        for (const row of answer) {
            const key = subject.key(row);
            if (key === undefined)
                continue;
            const known = rows.get(key);
            // Same version: the fetched one is whole, what an event left may not be.
            next.set(key, known && known.version > row.version ? known : row);
        }
        // A row that came while this was under way may be missing in the answer.
        for (const [key, row] of rows)
            if (!before.has(key) && !next.has(key))
                next.set(key, row);
        rows.clear();
        for (const [key, row] of next)
            rows.set(key, row);
        fetched = true;
        show();
    }
    function onNews(news) {
        if (stopped || typeof news !== "object" || news === null)
            return;
        const change = news;
        const key = subject.key(change);
        const known = key === undefined ? undefined : rows.get(key);
        if (key === undefined || !known || typeof change.version !== "number") {
            if (subject.concerns(change))
                lookIn(GATHER_MS);
            return;
        }
        if (change.version <= known.version)
            return;
        const merged = { ...known, ...change };
        rows.set(key, merged);
        show();
        // A broadcast is an outline, and postgres_changes leaves out large columns that did not change.
        const was = subject.turns(known);
        if (subject.turns(merged).some((value, index) => value !== was[index]))
            lookIn(GATHER_MS);
    }
    function stop() {
        if (stopped)
            return;
        stopped = true;
        timers.clear(timer);
        unfocus();
        unlisten();
        options.signal?.removeEventListener("abort", stop);
    }
    const via = options.via ?? "postgres_changes";
    const source = via === "postgres_changes" ? { table: subject.table, filter: subject.filter } : { broadcast: via.broadcast, event: subject.event };
    const unlisten = listen(client, source, { onNews, onGap: () => lookIn(0) }, timers);
    const unfocus = (options.onFocus ?? browserFocus)(() => lookIn(0));
    // Not only when subscribed: without Realtime this is all there is.
    lookIn(0);
    if (options.signal?.aborted)
        stop();
    else
        options.signal?.addEventListener("abort", stop);
    return { refresh, stop };
}
/** A tab that is looked at again, or a browser that is online again. Nothing where there is no document (React Native). */
function browserFocus(refresh) {
    if (typeof document === "undefined" || typeof window === "undefined" || typeof window.addEventListener !== "function")
        return () => undefined;
    const visible = () => {
        if (document.visibilityState === "visible")
            refresh();
    };
    document.addEventListener("visibilitychange", visible);
    window.addEventListener("online", refresh);
    return () => {
        document.removeEventListener("visibilitychange", visible);
        window.removeEventListener("online", refresh);
    };
}
