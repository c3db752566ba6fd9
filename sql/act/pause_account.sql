-- Question: How do I stop sending anything to one account for a while?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: no worker claims a job of that account until then (at most a week from now). What is being worked on is finished; jobs can
--   still be inserted, and reconnecting does not end it. A pause is only ever prolonged: end it first to shorten it
--   (sql/act/unpause_account.sql).
--
-- No row in the answer: there is no such account.

with input (account_id, hours) as (
  values ('00000000-0000-0000-0000-000000000000'::uuid, 1.0)
)
select a.account_id, a.name, orbyt_private.set_throttle('account', a.account_id::text, input.hours * 3600, 'account_paused') as paused_until
from input
join orbyt.accounts a on a.account_id = input.account_id;
