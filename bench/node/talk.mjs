// The words of bench/contenders/talk.py for the contenders in Node: drain, wake, due, idle.
import readline from "node:readline";

export const CONCURRENCY = 8;
const SETTLE_MS = 1000;

export class Handled {
  at = [];
  #waiting = null;

  note() {
    this.at.push((performance.timeOrigin + performance.now()) / 1000);
    if (this.#waiting && this.at.length >= this.#waiting.count) {
      this.#waiting.resolve();
      this.#waiting = null;
    }
  }

  waitFor(count) {
    if (this.at.length >= count) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting = { count, resolve };
    });
  }
}

const now = () => (performance.timeOrigin + performance.now()) / 1000;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const say = (words) => process.stdout.write(JSON.stringify(words) + "\n");

export async function main(make) {
  const [url, mode, first, second] = process.argv.slice(2);
  const number = Number(first);
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const hear = () => lines.next();
  const contender = make(url);
  const handled = contender.handled;
  await contender.install();
  if (mode === "drain") {
    await contender.fill(number, null);
    say({ ready: true });
    await hear();
    await contender.start();
    await handled.waitFor(number);
    await contender.stop();
    say({ seconds: handled.at[number - 1] - handled.at[0], jobs: handled.at.length });
  } else if (mode === "wake") {
    await contender.start();
    await sleep(SETTLE_MS);
    const taken = [];
    for (let turn = 0; turn <= number; turn++) {
      await sleep(30 + Math.random() * 60);
      const sentAt = now();
      await contender.insert();
      await handled.waitFor(turn + 1);
      taken.push(handled.at[turn] - sentAt);
    }
    await contender.stop();
    say({ seconds: taken.slice(1) });
  } else if (mode === "due") {
    const due = Math.floor(now()) + Number(second);
    await contender.fill(number, new Date(due * 1000));
    await contender.start();
    await handled.waitFor(number);
    await contender.stop();
    say({ seconds: handled.at.map((at) => at - due) });
  } else if (mode === "idle") {
    await contender.start();
    await sleep(SETTLE_MS);
    say({ ready: true });
    await hear();
    await contender.stop();
  } else {
    throw new Error(`unknown mode ${mode}`);
  }
  process.exit(0);
}
