-- Orbyt: a file that jobs are waiting for may be there (Mux' webhook). Polling alone is correct; this only makes it faster.

create function orbyt_private.wake_media(
  p_playback_ids text[] default null, p_limit integer default 100, p_pause interval default interval '5 seconds', p_now timestamptz default now()
)
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_jobs uuid[];
  v_count integer;
begin
  perform pg_catalog.set_config('orbyt.by_worker', 'on', true);
  -- Nobody looks again sooner than p_pause after the last look, however many events come: a hundred uploads with a dozen events
  -- each would otherwise be a thousand questions to Mux at once.
  select pg_catalog.array_agg(x.job_id) into v_jobs
  from (
    select j.job_id
    from orbyt.publish_jobs j
    join orbyt_private.job_queue q on q.job_id = j.job_id
    where j.error_code = 'media_not_ready'
      and j.status in ('queued', 'publishing')
      and q.worker_id is null
      and j.run_at > greatest(p_now, j.updated_at + p_pause)
      -- Ids are letters and digits, so they stand in the text of the media as they are.
      and (p_playback_ids is null
           or exists (select from unnest(p_playback_ids) as p (id) where pg_catalog.strpos(j.media::text, p.id) > 0))
    order by j.publish_at, j.job_id
    limit p_limit
    for update of j, q skip locked
  ) x;
  -- One statement for all jobs: their lanes are locked in order, once.
  update orbyt.publish_jobs j
  set run_at = greatest(p_now, j.updated_at + p_pause)
  where j.job_id = any (v_jobs);
  get diagnostics v_count = row_count;
  if v_count > 0 and coalesce((orbyt_private.setting('notify'))::boolean, true) then
    perform pg_catalog.pg_notify('orbyt_jobs', '');
  end if;
  return v_count;
end
$$;
comment on function orbyt_private.wake_media(text[], integer, interval, timestamptz) is
  'Jobs that wait for a file at Mux look again now: those that name one of these playback ids, or all, p_limit at most. Returns how many.';
