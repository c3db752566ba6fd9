-- Question: How does one post go to several accounts at once?
-- Who may run it: postgres (SQL editor, psql). An app inserts the same rows with one insert([...]), without user_id.
-- Changes: inserts one job per account, all with the same post_id. Either all rows are accepted or none.
--
-- Each job then lives its own life: one may fail while the others are published. The file is downloaded once per worker.

with input (account_id) as (
  values
    ('00000000-0000-0000-0000-000000000000'::uuid),
    ('00000000-0000-0000-0000-000000000001'::uuid)
),
post (post_id, title, video_url) as (
  values (gen_random_uuid(), 'Everywhere at once', 'https://example.com/video.mp4')
)
insert into orbyt.publish_jobs (post_id, user_id, account_id, kind, title, media)
select
  post.post_id,
  a.user_id,
  a.account_id,
  'video',
  post.title,
  jsonb_build_array(jsonb_build_object('type', 'video', 'url', post.video_url))
from input
cross join post
join orbyt.accounts a on a.account_id = input.account_id
returning job_id, post_id, account_id, status;
