-- Question: What is stuck, and why?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- Stuck: held, due for more than two minutes and not taken, or claimed by a worker that fell silent. A long upload is not stuck.

select
  j.job_id,
  j.platform,
  a.name as account_name,
  j.status,
  j.stage,
  q.phase,
  j.publish_at,
  j.run_at,
  case
    when j.status = 'held' then coalesce(e.what_happened, j.error_code)
    when q.worker_id is not null then 'its worker fell silent; any living worker takes the job back'
    when t.until is not null then 'the platform is paused until ' || t.until || ' (' || t.code || ')'
    when b.platform is not null then 'the platform is down; next probe ' || b.probe_at
    when a.status <> 'active' then 'the account cannot be used: ' || a.status
    when l.blocked_until > now() then 'the account is throttled until ' || l.blocked_until
    when l.in_flight >= l.in_flight_max then 'another job of this account goes first'
    when not exists (select from orbyt_private.workers w where w.stopped_at is null and w.lease_until > now())
      then 'no worker is alive'
    else 'due and free: the workers have no free slot'
  end as why,
  case
    when j.status = 'held' then coalesce(e.who_acts, 'operator')
    when q.worker_id is not null then 'nobody'
    when a.status <> 'active' then 'user'
    else 'operator'
  end as who_acts,
  case when j.status = 'held' then e.what_to_do end as what_to_do
from orbyt_private.job_queue q
join orbyt.publish_jobs j on j.job_id = q.job_id
join orbyt.accounts a on a.account_id = j.account_id
left join orbyt.error_catalog e on e.code = j.error_code
left join orbyt_private.lanes l on l.account_id = q.account_id and l.phase = q.phase
left join orbyt_private.throttles t on t.scope = 'platform' and t.key = j.platform and t.until > now()
left join orbyt_private.breakers b on b.platform = j.platform
left join orbyt_private.workers w on w.worker_id = q.worker_id
where j.status = 'held'
   or (q.worker_id is null and q.run_at < now() - interval '2 minutes')
   or w.lease_until < now()
order by coalesce(q.run_at, j.updated_at)
limit 200;
