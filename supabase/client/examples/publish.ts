import { type Job, newId, type Orbyt } from "orbyt-client";

/** One video to every account that works, tomorrow at this time. */
export async function publishEverywhere(orbyt: Orbyt, playbackId: string): Promise<Job[]> {
  const accounts = (await orbyt.accounts()).filter((account) => account.status === "active");
  const tomorrow = new Date(Date.now() + 24 * 60 * 60 * 1000).toISOString();
  return orbyt.publishMany(
    accounts.map((account) => ({
      // Kept with the draft, so that sending it twice is harmless.
      job_id: newId(),
      account_id: account.account_id,
      kind: account.platform === "youtube" ? "video" : "reel",
      title: "Hello from Orbyt",
      caption: "The text of the post.",
      media: [{ type: "video", url: `mux://${playbackId}` }],
      ...(account.platform === "youtube" ? { options: { privacy: "public", made_for_kids: false } } : {}),
      publish_at: tomorrow,
    })),
  );
}

/** Somebody changed their mind. */
export async function changeMind(orbyt: Orbyt, job: Job): Promise<Job> {
  await orbyt.edit(job.job_id, { caption: "A better text." });
  await orbyt.reschedule(job.job_id, new Date(Date.now() + 2 * 24 * 60 * 60 * 1000));
  return orbyt.cancel(job.job_id);
}
