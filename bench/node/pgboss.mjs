// pg-boss (https://github.com/timgit/pg-boss): LISTEN on and fetching on while batches come full, as its documentation offers;
// a batch is eight jobs and its handler gets all of them at once. With LISTEN on it would look at the clock every 30 seconds
// only; its ordinary two seconds are set instead, or every scheduled job would be late.
import { PgBoss } from "pg-boss";
import { CONCURRENCY, Handled, main } from "./talk.mjs";

const options = { batchSize: CONCURRENCY, burstWhenBatchFull: true, notifyPollingIntervalSeconds: 2 };

class Boss {
  handled = new Handled();

  constructor(url) {
    this.boss = new PgBoss({ connectionString: url, max: CONCURRENCY + 2, useListenNotify: true });
    this.boss.on("error", (error) => {
      throw error;
    });
  }

  async install() {
    await this.boss.start();
    await this.boss.createQueue("noop", { notify: true });
  }

  async fill(jobs, due) {
    for (let start = 0; start < jobs; start += 1000) {
      const count = Math.min(1000, jobs - start);
      await this.boss.insert("noop", Array.from({ length: count }, () => ({ startAfter: due ?? undefined })));
    }
  }

  async insert() {
    await this.boss.send("noop", {});
  }

  async start() {
    await this.boss.work("noop", options, async (jobs) => {
      for (const _ of jobs) this.handled.note();
    });
  }

  async stop() {
    await this.boss.stop({ graceful: true });
  }
}

await main((url) => new Boss(url));
