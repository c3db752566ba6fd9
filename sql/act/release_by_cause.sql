-- Question: How do I let everything go on that is held for one cause?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: up to 500 held jobs with that error_code go on, oldest first. Those that missed their deadline meanwhile fail with
--   deadline_missed. Returns how many; run it again while that is 500.
--
-- For causes an operator has mended (google_client_invalid, youtube_api_not_enabled, vault_key_missing …). Jobs held for an account
-- go on by themselves when the user reconnects.

with input (code) as (
  values ('replace_by_error_code')
)
select orbyt_private.release_by_code(input.code) as jobs_released
from input;
