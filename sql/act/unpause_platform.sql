-- Question: How do I end the pause of a platform now?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: the pause ends, whoever set it; an open breaker is closed too. Workers are woken.
--
-- No row in the answer: there is no such platform.

with input (platform) as (
  values ('replace_by_platform')
)
select p.platform, orbyt_private.clear_throttle('platform', p.platform) as ended
from input
join orbyt.platforms p on p.platform = input.platform;
