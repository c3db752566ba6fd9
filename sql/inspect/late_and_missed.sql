-- Question: What is late, what went out late, and what missed its deadline, in the last seven days?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- missed: not sent any more (deadline_missed); the message names the last problem. One that still makes sense: sql/act/retry_job.sql.
-- published late: a scheduled post that was public more than a minute after its time.

select
  l.what,
  l.job_id,
  l.platform,
  l.account_name,
  l.status,
  l.stage,
  l.error_code,
  l.error_message,
  l.who_acts,
  l.publish_at,
  l.published_at,
  l.expires_at,
  l.late_by
from orbyt_private.late_and_missed l
order by l.publish_at desc
limit 200;
