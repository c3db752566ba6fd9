-- Question: What are the jobs of one account, newest first?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- Replace the id by that of the account (orbyt.accounts.account_id).

with input (account_id) as (
  values ('00000000-0000-0000-0000-000000000000'::uuid)
)
select
  j.job_id,
  j.status,
  j.stage,
  j.progress,
  j.title,
  j.publish_at,
  j.run_at,
  q.worker_id is not null as being_worked_on,
  j.attempt,
  q.failures,
  j.error_code,
  j.permalink,
  j.published_at
from input
join orbyt.publish_jobs j on j.account_id = input.account_id
left join orbyt_private.job_queue q on q.job_id = j.job_id
order by j.created_at desc
limit 100;
