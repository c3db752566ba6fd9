-- Question: Which connections need attention, and what depends on them?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.

select
  h.account_id,
  h.user_id,
  h.platform,
  h.name,
  h.status,
  h.error_code,
  h.held_jobs,
  h.open_jobs,
  h.checked_at,
  g.granted_at,
  g.refreshed_at,
  g.refresh_failed_at,
  g.refresh_error_code
from orbyt.connection_health h
left join orbyt_private.account_grants g on g.account_id = h.account_id
where h.status <> 'active' or g.account_id is null or g.refresh_failed_at is not null
order by h.held_jobs desc, h.open_jobs desc, h.platform, h.name
limit 200;
