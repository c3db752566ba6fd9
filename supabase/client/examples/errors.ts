import { type Explanation, explain, type Job, type NewPost, type Orbyt, OrbytError } from "orbyt-client";

/** What a form shows under its fields while the user still types: `{ title: "…" }`. */
export async function fieldErrors(orbyt: Orbyt, post: NewPost): Promise<Record<string, string>> {
  const problems = await orbyt.check(post);
  return Object.fromEntries(problems.map((problem) => [problem.field, problem.what_to_do]));
}

/** What a screen shows when a request was refused: a code to branch on, a sentence to read, something to offer. */
export async function send(orbyt: Orbyt, post: NewPost): Promise<Job | Explanation> {
  try {
    return await orbyt.publish(post);
  } catch (error) {
    if (error instanceof OrbytError && error.code === "offline") throw error; // the same post, with the same job_id, again later
    return explain(error) as Explanation;
  }
}

/** What a list of posts says about one of them. */
export function statusLine(job: Job): string {
  const reason = explain(job);
  switch (job.status) {
    case "published":
      return `Published: ${job.permalink}`;
    case "publishing":
      return `${job.stage} ${job.progress} %`;
    case "queued":
      return reason ? `${reason.title}, tried again ${job.run_at}` : `Planned for ${job.publish_at}`;
    case "held":
    case "failed":
      return reason ? `${reason.title}. ${reason.whatToDo}` : job.status;
    case "cancelled":
      return "Cancelled";
  }
}
