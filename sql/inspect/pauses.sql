-- Question: What is paused, until when, and why?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- pause: a limit, or an operator. breaker: the platform is down; it is probed with one job at a time, and opens by itself.

select
  'pause' as what,
  t.scope,
  coalesce(a.platform || ': ' || a.name, t.key) as paused,
  t.until,
  t.code,
  t.hits as times
from orbyt_private.throttles t
left join orbyt.accounts a on t.scope = 'account' and a.account_id::text = t.key
where t.until > now()
union all
select 'breaker', 'platform', b.platform, b.probe_at, 'platform_unavailable', b.openings
from orbyt_private.breakers b
order by until;
