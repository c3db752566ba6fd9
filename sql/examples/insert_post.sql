-- Question: How does a post get into the queue?
-- Who may run it: postgres (SQL editor, psql). An app inserts the same columns through supabase-js, without user_id.
-- Changes: inserts one job, to be published now.
--
-- No row in the answer: there is no such account. A refusal carries a catalog code in its details and says what to do in its hint.

with input (account_id, title, caption, video_url) as (
  values (
    '00000000-0000-0000-0000-000000000000'::uuid,
    'Hello from Orbyt',
    'The description of the video.',
    'https://example.com/video.mp4'
  )
)
insert into orbyt.publish_jobs (user_id, account_id, kind, title, caption, media, options)
select
  a.user_id,
  a.account_id,
  'video',
  input.title,
  input.caption,
  jsonb_build_array(jsonb_build_object('type', 'video', 'url', input.video_url)),
  jsonb_build_object('privacy', 'public', 'made_for_kids', false)
from input
join orbyt.accounts a on a.account_id = input.account_id
returning job_id, status, publish_at, expires_at;
