-- Question: I have put right what sql/inspect/operator_issues.sql showed. How do I say so?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: the issue is forgotten; it comes back when it is met again. False: there was none with that code.
--
-- Jobs that were held for it are sent on with sql/act/release_by_cause.sql.

with input (code) as (
  values ('replace_by_error_code')
)
select orbyt_private.clear_operator_issue(input.code) as cleared
from input;
