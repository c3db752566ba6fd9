-- Question: I looked at the platform and the post is not there. How do I have it published?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: the journal of a held job is forgotten and the job starts over from the first step. If the post was there after all, it
--   will be there twice: look carefully, at the drafts and private posts too.

with input (job_id) as (
  values ('00000000-0000-0000-0000-000000000000'::uuid)
)
select r.job_id, r.status, r.run_at, r.expires_at
from input
cross join lateral orbyt_private.mark_as_not_published(input.job_id) as r;
