-- Question: I looked at the platform and the post is there. How do I say so?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: a held or failed job becomes published, for good. Id and permalink may be null.

with input (job_id, platform_post_id, permalink) as (
  values ('00000000-0000-0000-0000-000000000000'::uuid, 'replace_by_platform_post_id', 'https://example.com/permalink')
)
select r.job_id, r.status, r.platform_post_id, r.permalink, r.published_at
from input
cross join lateral orbyt_private.mark_as_published(input.job_id, input.platform_post_id, input.permalink) as r;
