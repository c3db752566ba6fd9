import { isFinal, type Job, type Orbyt, type WatchOptions } from "orbyt-client";

/** Shows the jobs of a post until all of them have ended; resolves with how. */
export function follow(orbyt: Orbyt, postId: string, show: (jobs: Job[]) => void, options: WatchOptions = {}): Promise<Job[]> {
  return new Promise((resolve) => {
    const watch = orbyt.watch(
      { postId },
      (jobs) => {
        show(jobs);
        if (jobs.length > 0 && jobs.every(isFinal)) {
          watch.stop();
          resolve(jobs);
        }
      },
      { onError: (error) => console.warn(error.code, error.message), ...options },
    );
  });
}
