-- Question: What is held, by cause, and who has to act?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- A held job keeps its place. Jobs held for an account go on by themselves when the user reconnects; the others are sent on with
-- sql/act/release_by_cause.sql once the cause is gone.

select
  h.error_code,
  h.title,
  h.who_acts,
  h.what_to_do,
  h.jobs,
  h.accounts,
  h.held_since,
  h.first_deadline
from orbyt_private.held_by_cause h
order by h.jobs desc, h.error_code;
