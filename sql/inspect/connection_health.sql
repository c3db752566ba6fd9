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
  h.token_expires_at,
  h.data_access_expires_at,
  h.days_left,
  g.granted_at,
  g.refreshed_at,
  g.refresh_failed_at,
  g.refresh_error_code,
  g.check_tried_at,
  g.check_failed_at,
  g.check_error_code,
  g.revoke_requested_at,
  g.revoke_error_code
from orbyt.connection_health h
left join orbyt_private.account_grants g on g.account_id = h.account_id
where h.status <> 'active' or g.account_id is null or g.refresh_failed_at is not null
  or g.check_error_code is not null or h.days_left < 14
order by h.held_jobs desc, h.open_jobs desc, h.platform, h.name
limit 200;
