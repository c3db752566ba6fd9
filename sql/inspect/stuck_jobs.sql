-- Question: What is stuck, and why?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- Stuck: held, due for more than two minutes and not taken, or claimed by a worker that fell silent. A long upload is not stuck.
-- The view orbyt_private.stuck_jobs has it without a limit.

select
  s.job_id,
  s.platform,
  s.account_name,
  s.status,
  s.stage,
  s.phase,
  s.publish_at,
  s.run_at,
  s.why,
  s.who_acts,
  s.what_to_do,
  now() - s.stuck_since as stuck_for
from orbyt_private.stuck_jobs s
order by s.stuck_since
limit 200;
