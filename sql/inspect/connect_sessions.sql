-- Question: How do attempts to connect accounts end, and which are open?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- exchanging for more than a minute: no worker takes it (look at workers.sql), or the platform is slow.

select
  s.session_id,
  s.user_id,
  s.platform,
  s.login,
  s.status,
  s.error_code,
  e.who_acts,
  e.what_to_do,
  s.account_id is not null as reconnect,
  jsonb_array_length(s.candidates) as candidates,
  (select count(*) from jsonb_array_elements(s.candidates) c where (c ->> 'usable')::boolean) as usable,
  s.candidates_complete,
  cardinality(s.account_ids) as connected,
  f.used_at as came_back_at,
  f.worker_id,
  now() - s.updated_at as since_last_change,
  s.created_at
from orbyt.connect_sessions s
left join orbyt_private.connect_flows f on f.session_id = s.session_id
left join orbyt.error_catalog e on e.code = s.error_code
where s.created_at > now() - interval '7 days'
order by s.status in ('started', 'exchanging', 'choose') desc, s.created_at desc
limit 200;
