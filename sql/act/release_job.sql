-- Question: How do I let one held job go on?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: the job goes on from where it stopped. One that missed its deadline meanwhile fails with deadline_missed instead.
--   Returns false if the job is not held.
--
-- If a visible call was begun and never answered, the worker looks at the platform first; it never just sends again.

with input (job_id) as (
  values ('00000000-0000-0000-0000-000000000000'::uuid)
)
select orbyt_private.release_job(input.job_id) as released
from input;
