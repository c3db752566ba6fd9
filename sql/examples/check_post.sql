-- Question: Would this post be accepted?
-- Who may run it: postgres (SQL editor, psql). An app calls orbyt.check_post for its own user, while the user still types.
-- Changes: nothing.
--
-- No row: fine. Otherwise one row per problem, with the field to mark.

with input (account_id, title, video_url) as (
  values ('00000000-0000-0000-0000-000000000000'::uuid, 'Hello from Orbyt', 'https://example.com/video.mp4')
)
select problem.*
from input
cross join lateral jsonb_to_recordset(
  orbyt.check_post(
    account_id => input.account_id,
    kind => 'video',
    title => input.title,
    media => jsonb_build_array(jsonb_build_object('type', 'video', 'url', input.video_url))
  )
) as problem (code text, field text, detail text, title text, what_happened text, what_to_do text, action text);
