-- Question: What can only the operator put right?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- Put right: sql/act/clear_operator_issue.sql.

select
  i.code,
  i.title,
  i.what_happened,
  i.what_to_do,
  i.count,
  i.first_seen_at,
  i.last_seen_at,
  i.detail
from orbyt_private.issues_for_operator i
order by i.last_seen_at desc;
