// graphile-worker (https://worker.graphile.org): one runner, eight jobs at a time, everything else as it comes.
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { CONCURRENCY, Handled, main } from "./talk.mjs";

const logger = new Logger(() => () => {});

class Graphile {
  handled = new Handled();

  constructor(url) {
    this.connection = { connectionString: url, maxPoolSize: CONCURRENCY + 2, logger };
  }

  async install() {
    this.utils = await makeWorkerUtils(this.connection);
    await this.utils.migrate();
  }

  async fill(jobs, due) {
    for (let start = 0; start < jobs; start += 1000) {
      const count = Math.min(1000, jobs - start);
      await this.utils.addJobs(
        Array.from({ length: count }, () => ({ identifier: "noop", payload: {}, runAt: due ?? undefined })),
      );
    }
  }

  async insert() {
    await this.utils.addJob("noop", {});
  }

  async start() {
    this.runner = await run({
      ...this.connection,
      concurrency: CONCURRENCY,
      noHandleSignals: true,
      taskList: { noop: () => this.handled.note() },
    });
  }

  async stop() {
    await this.runner.stop();
    await this.utils.release();
  }
}

await main((url) => new Graphile(url));
