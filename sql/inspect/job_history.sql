-- Question: What happened to one job?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- Replace the id by that of the job. Events are its history; steps are the journal: what is recorded is not done again, and
-- "begun" without "confirmed" means that the visible call may have been made. Sealed parts are not shown.

with input (job_id) as (
  values ('00000000-0000-0000-0000-000000000000'::uuid)
)
select
  e.created_at as at,
  'event' as kind,
  e.event as what,
  e.status::text as status,
  e.stage::text as stage,
  e.attempt,
  e.error_code,
  e.detail
from input
join orbyt.job_events e on e.job_id = input.job_id
union all
select
  s.updated_at,
  'step',
  s.step || ': ' || s.state,
  null,
  null,
  s.attempt,
  null,
  s.result
from input
join orbyt_private.job_steps s on s.job_id = input.job_id
order by at, kind;
