-- Question: What is paused, until when, and why?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- pause: a limit, or an operator. breaker: the platform is down; it is probed with one job at a time, and opens by itself.
-- switched off: orbyt.platforms.enabled is false, so new jobs are refused; those that are there go on.

select
  p.what,
  p.scope,
  p.key,
  p.paused,
  p.until,
  p.code,
  p.times
from orbyt_private.pauses p
order by p.until, p.paused;
