-- Question: How do I end the pause of one account now?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: the pause ends, whoever set it: a person, or a limit of the platform. Workers are woken.
--
-- No row in the answer: there is no such account.

with input (account_id) as (
  values ('00000000-0000-0000-0000-000000000000'::uuid)
)
select a.account_id, a.name, orbyt_private.clear_throttle('account', a.account_id::text) as ended
from input
join orbyt.accounts a on a.account_id = input.account_id;
