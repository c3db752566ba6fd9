-- Question: How do I try again everything that failed for one cause?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: up to 500 failed jobs with that error_code go back into the queue, those due first. Jobs that were published and refused
--   afterwards are left alone. Returns how many; run it again while that is 500.
--
-- First look at sql/inspect/failures_by_cause.sql: a post that failed last week would go out now.

with input (code) as (
  values ('replace_by_error_code')
)
select orbyt_private.retry_by_code(input.code) as jobs_retried
from input;
