-- Question: How much quota is left, and what is scheduled against it?
-- Who may run it: postgres (SQL editor, psql).
-- Changes: nothing.
--
-- No row: nothing was used in the current window yet. `spare` below zero: that many queued uploads will wait for the reset.
-- `waiting_for_reset` counts jobs that already do.

select
  q.bucket,
  q.key,
  q.units_max,
  q.units_used,
  q.units_left,
  case when q.bucket = 'youtube_uploads' then q.scheduled_before_reset end as scheduled_before_reset,
  case when q.bucket = 'youtube_uploads' then q.units_left - q.scheduled_before_reset end as spare,
  (
    select count(*)
    from orbyt.publish_jobs j
    where j.status in ('queued', 'publishing')
      and j.error_code = case q.bucket
        when 'youtube_uploads' then 'youtube_uploads_per_day_exhausted'
        when 'youtube_units' then 'youtube_quota_exhausted'
      end
  ) as waiting_for_reset,
  q.resets_at
from orbyt_private.quota_left q
order by q.bucket, q.key;
