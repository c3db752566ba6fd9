-- Question: How do I stop sending anything to a platform for a while?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: no worker claims a job of that platform until then (at most a week from now). What is being worked on is finished; jobs can
--   still be inserted. A pause is only ever prolonged: end it first to shorten it (sql/act/unpause_platform.sql).
--
-- No row in the answer: there is no such platform.

with input (platform, hours) as (
  values ('replace_by_platform', 1.0)
)
select p.platform, orbyt_private.set_throttle('platform', p.platform, input.hours * 3600, 'platform_paused') as paused_until
from input
join orbyt.platforms p on p.platform = input.platform;
