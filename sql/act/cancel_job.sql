-- Question: How do I cancel a job that is not public yet?
-- Who may run it: postgres (SQL editor, psql). An app calls orbyt.cancel_job for its own user.
-- Changes: the job is cancelled, for good; a worker that is preparing it stops.
--
-- Refused: publish_in_progress (the visible call was begun), job_already_finished (also when the platform already has the post and
-- will make it public by itself).

with input (job_id) as (
  values ('00000000-0000-0000-0000-000000000000'::uuid)
)
select r.job_id, r.status
from input
cross join lateral orbyt.cancel_job(input.job_id) as r;
