-- Question: Which accounts have held posts, and for what?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- One row per account and cause: one reason to write to its user. What ends soonest comes first.

select
  h.account_id,
  h.user_id,
  h.platform,
  h.account_name,
  h.account_status,
  h.error_code,
  h.title,
  h.who_acts,
  h.jobs,
  h.held_since,
  h.first_publish_at,
  h.first_deadline
from orbyt_private.held_by_account h
order by h.first_deadline, h.account_id, h.error_code
limit 200;
