export const RETRY_MS_MIN = 1000;
export const RETRY_MS_MAX = 60000;
/** How long to wait after so many failures in a row. */
export function backoff(times) {
    return Math.min(RETRY_MS_MIN * 2 ** Math.min(times - 1, 10), RETRY_MS_MAX);
}
/** One channel and whoever listens on it. */
class Line {
    constructor(client, timers, build) {
        this.listeners = new Map();
        this.closures = 0;
        this.ended = false;
        this.client = client;
        this.timers = timers;
        this.build = build;
        void this.open();
    }
    hear(message) {
        for (const [listener, source] of [...this.listeners]) {
            // What is gone is found by looking.
            if ("table" in source)
                message.eventType === "DELETE" ? listener.onGap() : listener.onNews(message.new);
            else if (message.event === `${source.event}_deleted`)
                listener.onGap();
            else if (message.event === source.event)
                listener.onNews(message.payload);
        }
    }
    gap() {
        for (const listener of [...this.listeners.keys()])
            listener.onGap();
    }
    end() {
        this.ended = true;
        this.timers.clear(this.timer);
        if (this.channel)
            void this.client.removeChannel(this.channel);
    }
    async open() {
        const channel = await this.build(this.client, this);
        if (this.ended) {
            void this.client.removeChannel(channel);
            return;
        }
        this.channel = channel;
        channel.subscribe((status) => {
            if (this.ended || this.channel !== channel)
                return;
            if (status === "SUBSCRIBED")
                this.closures = 0;
            this.gap();
            // After an error or a timeout the client joins again by itself; after CLOSED (a token that has run out, say) it does not.
            if (status === "CLOSED")
                this.reopen(channel);
        });
    }
    reopen(closed) {
        this.channel = undefined;
        this.closures += 1;
        this.timer = this.timers.set(() => {
            void Promise.resolve(this.client.removeChannel(closed)).then(() => (this.ended ? undefined : this.open()));
        }, backoff(this.closures));
    }
}
const lines = new WeakMap();
let tables = 0;
/** Listen; returns how to stop. */
export function listen(client, source, listener, timers) {
    let topic;
    let build;
    if ("table" in source) {
        tables += 1;
        topic = `orbyt-${source.table}-${tables}`;
        const change = { event: "*", schema: "orbyt", table: source.table, ...(source.filter ? { filter: source.filter } : {}) };
        build = async (given, line) => trouble(given.channel(topic), line).on("postgres_changes", change, (message) => line.hear(message));
    }
    else {
        topic = `orbyt:${source.broadcast}`;
        build = async (given, line) => {
            // Old clients do not do this by themselves before they join a private channel.
            await Promise.resolve(given.realtime.setAuth()).catch(() => undefined);
            const channel = given.channel(topic, { config: { private: true } });
            return trouble(channel, line).on("broadcast", { event: "*" }, (message) => line.hear(message));
        };
    }
    const known = lines.get(client) ?? new Map();
    lines.set(client, known);
    const line = known.get(topic) ?? new Line(client, timers, build);
    known.set(topic, line);
    line.listeners.set(listener, source);
    return () => {
        line.listeners.delete(listener);
        if (line.listeners.size > 0 || known.get(topic) !== line)
            return;
        known.delete(topic);
        line.end();
    };
}
function trouble(channel, line) {
    return channel.on("system", {}, (message) => {
        if (message.status !== "ok")
            line.gap();
    });
}
