-- Question: Which workers are alive, and what do they hold?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- alive: its lease runs. silent: no sign of life since the end of its lease; its jobs are taken back. stopped: it said goodbye.

select
  w.worker_id,
  w.host,
  w.version,
  w.state,
  w.jobs,
  now() - w.heartbeat_at as since_heartbeat,
  w.lease_until,
  w.started_at
from orbyt_private.workers_alive w
where w.state <> 'stopped' or w.heartbeat_at > now() - interval '1 hour'
order by w.state, w.started_at;
