-- Question: What is held, by cause, and who has to act?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- A held job keeps its place. Jobs held for an account go on by themselves when the user reconnects; the others are sent on with
-- sql/act/release_by_cause.sql once the cause is gone.

select
  j.error_code,
  e.title,
  e.who_acts,
  e.what_to_do,
  count(*) as jobs,
  count(distinct j.account_id) as accounts,
  min(j.updated_at) as held_since,
  min(j.expires_at) as first_deadline
from orbyt.publish_jobs j
left join orbyt.error_catalog e on e.code = j.error_code
where j.status = 'held'
group by j.error_code, e.title, e.who_acts, e.what_to_do
order by jobs desc;
