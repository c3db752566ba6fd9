-- Question: How is a post scheduled?
-- Who may run it: postgres (SQL editor, psql). An app inserts the same columns through supabase-js, without user_id.
-- Changes: inserts one job, to be public tomorrow at this time, and not later than two hours after that.
--
-- Without expires_at the deadline is publish_at + 24 hours. client_ref is your own reference, unique per user: the same insert again
-- is refused (23505) or, with "on conflict do nothing", ignored.

with input (account_id, title, video_url, publish_at, client_ref) as (
  values (
    '00000000-0000-0000-0000-000000000000'::uuid,
    'A little later',
    'https://example.com/video.mp4',
    now() + interval '1 day',
    'my-draft-1'
  )
)
insert into orbyt.publish_jobs (user_id, account_id, kind, title, media, publish_at, expires_at, client_ref)
select
  a.user_id,
  a.account_id,
  'video',
  input.title,
  jsonb_build_array(jsonb_build_object('type', 'video', 'url', input.video_url)),
  input.publish_at,
  input.publish_at + interval '2 hours',
  input.client_ref
from input
join orbyt.accounts a on a.account_id = input.account_id
on conflict do nothing
returning job_id, status, publish_at, expires_at;
