-- Question: How do I try one failed or held job again?
-- Who may run it: postgres (SQL editor, psql). An app calls orbyt.retry_job for its own user.
-- Changes: the job goes back into the queue and continues from where it stopped; its count of failures starts anew, and a deadline
--   that has passed is moved to 24 hours from now.
--
-- If a visible call was begun and never answered, the worker looks at the platform first; it never just sends again.
-- Refused: job_already_finished, job_not_retryable, account_needs_reauth, account_disconnected.

with input (job_id) as (
  values ('00000000-0000-0000-0000-000000000000'::uuid)
)
select r.job_id, r.status, r.run_at, r.expires_at
from input
cross join lateral orbyt.retry_job(input.job_id) as r;
