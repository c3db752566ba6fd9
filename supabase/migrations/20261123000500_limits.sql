-- Orbyt: limits shared by the fleet (throttles, breaker, quota) and upkeep.

create function orbyt_private.set_throttle(
  p_scope text, p_key text, p_seconds double precision, p_code text, p_phase text default 'publish', p_now timestamptz default now()
)
returns timestamptz
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_phase orbyt_private.job_phase := case when p_phase = 'publish' then 'publish' else 'background' end;
  v_until timestamptz;
begin
  if p_scope = 'platform' and not exists (select from orbyt.platforms p where p.platform = p_key) then
    raise exception using errcode = '22023', message = 'there is no platform ' || p_key;
  end if;
  insert into orbyt_private.throttles as t (scope, key, phase, until, code, updated_at)
  values (p_scope, p_key, v_phase, p_now + pg_catalog.make_interval(secs => least(greatest(p_seconds, 0), 604800)), p_code, p_now)
  on conflict (scope, key, phase) do update
  set until = greatest(t.until, excluded.until), code = excluded.code, updated_at = p_now,
      hits = case when t.until < p_now - interval '1 hour' then 1 else t.hits + 1 end
  returning t.until into v_until;
  if p_scope = 'account' then
    update orbyt_private.lanes l
    set blocked_until = greatest(l.blocked_until, v_until)
    where l.account_id = p_key::uuid and (v_phase = 'publish' or l.phase <> 'publish');
  elsif v_phase = 'publish' then
    -- A longer pause (a person's) stays as it is.
    update orbyt.platforms p set paused_until = v_until, pause_code = orbyt_private.known_code(p_code)
    where p.platform = p_key and (p.paused_until is null or p.paused_until < v_until);
  end if;
  return v_until;
end
$$;
comment on function orbyt_private.set_throttle(text, text, double precision, text, text, timestamptz) is
  'Leave a platform or an account alone for so many seconds (at most a week). The claim respects it, so the whole fleet does. A limit met in background work does not stop what is ready to be published.';

create function orbyt_private.clear_throttle(p_scope text, p_key text)
returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
  delete from orbyt_private.throttles t where t.scope = p_scope and t.key = p_key;
  if p_scope = 'account' then
    update orbyt_private.lanes l
    set blocked_until = case when a.status = 'active' then null else 'infinity'::timestamptz end
    from orbyt.accounts a
    where l.account_id = p_key::uuid and a.account_id = l.account_id;
  else
    update orbyt.platforms p set paused_until = null, pause_code = null where p.platform = p_key;
    delete from orbyt_private.breakers b where b.platform = p_key;
  end if;
  perform pg_catalog.pg_notify('orbyt_jobs', '');
end
$$;
comment on function orbyt_private.clear_throttle(text, text) is 'End a pause now.';

-- Breaker: an outage seen by several accounts stops all claims for the platform; then one probe at a time.
create function orbyt_private.report_outage(p_platform text, p_account_id uuid, p_now timestamptz default now())
returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_accounts integer;
  v_probe_at timestamptz;
begin
  insert into orbyt_private.outage_reports as r (platform, account_id, reported_at)
  values (p_platform, p_account_id, p_now)
  on conflict (platform, account_id) do update set reported_at = excluded.reported_at;
  delete from orbyt_private.outage_reports r where r.platform = p_platform and r.reported_at < p_now - interval '5 minutes';
  select count(*) into v_accounts from orbyt_private.outage_reports r where r.platform = p_platform;
  if v_accounts < 5 and not exists (select from orbyt_private.breakers b where b.platform = p_platform) then
    return false;
  end if;
  -- Open it, or, if a probe was let through, take this as its failure. What was in flight when it opened is no probe.
  insert into orbyt_private.breakers as b (platform, opened_at, probe_at)
  values (p_platform, p_now, p_now + interval '30 seconds')
  on conflict (platform) do update
  set probe_at = p_now + least(interval '30 seconds' * (2 ^ least(b.openings, 5)), interval '15 minutes'),
      openings = b.openings + 1,
      probing = false
  where b.probing
  returning b.probe_at into v_probe_at;
  if v_probe_at is not null then
    update orbyt.platforms p set paused_until = v_probe_at, pause_code = orbyt_private.known_code('platform_unavailable')
    where p.platform = p_platform and (p.paused_until is null or p.paused_until < v_probe_at);
  end if;
  return true;
end
$$;
comment on function orbyt_private.report_outage(text, uuid, timestamptz) is
  'A job met an outage. Five accounts within five minutes open the breaker; each failed probe doubles the pause, up to 15 minutes.';

create function orbyt_private.report_recovery(p_platform text)
returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
  -- The common case, nothing open, reads one tiny table and writes nothing.
  if not exists (select from orbyt_private.breakers b where b.platform = p_platform) then
    return;
  end if;
  delete from orbyt_private.breakers b where b.platform = p_platform;
  delete from orbyt_private.outage_reports r where r.platform = p_platform;
  update orbyt.platforms p set paused_until = null, pause_code = null
  where p.platform = p_platform and p.pause_code = 'platform_unavailable';
  perform pg_catalog.pg_notify('orbyt_jobs', '');
end
$$;
comment on function orbyt_private.report_recovery(text) is 'The platform answered: close its breaker if it was open.';

-- Quota -------------------------------------------------------------------------------------------------------------------

create function orbyt_private.quota_window(p_bucket text, p_now timestamptz, out window_start timestamptz, out resets_at timestamptz)
language sql
stable
set search_path = ''
as $$
  -- YouTube counts per day of the Pacific time zone, daylight saving included.
  -- Source: YouTube Data API, "Quota Calculator" and "Getting started", read 2026-11.
  select pg_catalog.date_trunc('day', p_now at time zone 'America/Los_Angeles') at time zone 'America/Los_Angeles',
         (pg_catalog.date_trunc('day', p_now at time zone 'America/Los_Angeles') + interval '1 day') at time zone 'America/Los_Angeles'
$$;
comment on function orbyt_private.quota_window(text, timestamptz) is 'Current window of a bucket: midnight to midnight, Pacific time.';

create function orbyt_private.reserve_quota(p_bucket text, p_key text, p_units integer, p_units_max integer, p_now timestamptz default now(),
  out granted boolean, out reset_in_seconds double precision, out units_left integer)
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_window record;
begin
  select * into v_window from orbyt_private.quota_window(p_bucket, p_now);
  insert into orbyt_private.quota_ledger (bucket, key, window_start, resets_at, units_max)
  values (p_bucket, p_key, v_window.window_start, v_window.resets_at, p_units_max)
  on conflict (bucket, key, window_start) do nothing;
  update orbyt_private.quota_ledger l
  set units_used = l.units_used + p_units, units_max = p_units_max
  where l.bucket = p_bucket and l.key = p_key and l.window_start = v_window.window_start
    and l.closed_at is null and l.units_used + p_units <= p_units_max
  returning p_units_max - l.units_used into units_left;
  granted := found;
  reset_in_seconds := extract(epoch from v_window.resets_at - p_now);
  units_left := coalesce(units_left, 0);
end
$$;
comment on function orbyt_private.reserve_quota(text, text, integer, integer, timestamptz) is
  'Reserve units of a bucket before the call is made; all workers share the ledger. Refused: granted is false and the reset is named.';

create function orbyt_private.close_quota(p_bucket text, p_key text, p_units_max integer, p_now timestamptz default now())
returns double precision
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_window record;
begin
  select * into v_window from orbyt_private.quota_window(p_bucket, p_now);
  insert into orbyt_private.quota_ledger as l (bucket, key, window_start, resets_at, units_max, closed_at)
  values (p_bucket, p_key, v_window.window_start, v_window.resets_at, p_units_max, p_now)
  on conflict (bucket, key, window_start) do update set closed_at = coalesce(l.closed_at, p_now);
  return extract(epoch from v_window.resets_at - p_now);
end
$$;
comment on function orbyt_private.close_quota(text, text, integer, timestamptz) is
  'The platform says the bucket is used up: nobody asks again before the reset. Returns the seconds until then.';

-- Rolling windows: each unit comes back 24 hours after it was used. At most units_max rows count, so the sum is cheap.
create function orbyt_private.reserve_rolling_quota(p_bucket text, p_key text, p_once text, p_units integer, p_units_max integer,
  p_now timestamptz default now(), out granted boolean, out reset_in_seconds double precision)
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_window interval := interval '24 hours';
  v_used integer;
  v_use record;
begin
  -- Counting and writing belong together; two workers must not both take the last unit.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(p_bucket || '/' || p_key, 0));
  reset_in_seconds := 0;
  if exists (select from orbyt_private.quota_uses u
             where u.bucket = p_bucket and u.key = p_key and u.once = p_once and u.used_at > p_now - v_window) then
    granted := true;
    return;
  end if;
  select coalesce(sum(u.units), 0) into v_used
  from orbyt_private.quota_uses u
  where u.bucket = p_bucket and u.key = p_key and u.used_at > p_now - v_window;
  granted := v_used + p_units <= p_units_max;
  if granted then
    insert into orbyt_private.quota_uses as u (bucket, key, once, units, units_max, used_at)
    values (p_bucket, p_key, p_once, p_units, p_units_max, p_now)
    on conflict (bucket, key, once) do update
    set units = excluded.units, units_max = excluded.units_max, used_at = excluded.used_at;
    return;
  end if;
  -- When enough of the oldest uses have come back. The loop ends after at most units_max rows.
  for v_use in
    select u.units, u.used_at from orbyt_private.quota_uses u
    where u.bucket = p_bucket and u.key = p_key and u.used_at > p_now - v_window
    order by u.used_at
  loop
    v_used := v_used - v_use.units;
    reset_in_seconds := extract(epoch from v_use.used_at + v_window - p_now);
    exit when v_used + p_units <= p_units_max;
  end loop;
end
$$;
comment on function orbyt_private.reserve_rolling_quota(text, text, text, integer, integer, timestamptz) is
  'Reserve units of an allowance that comes back 24 hours after each use. p_once names the use: asked for again it costs nothing. Refused: granted is false and the wait is named.';

create function orbyt_private.close_rolling_quota(p_bucket text, p_key text, p_units_max integer, p_now timestamptz default now())
returns double precision
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_window interval := interval '24 hours';
  v_used integer;
begin
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(p_bucket || '/' || p_key, 0));
  select coalesce(sum(u.units), 0) into v_used
  from orbyt_private.quota_uses u
  where u.bucket = p_bucket and u.key = p_key and u.used_at > p_now - v_window;
  -- The platform counts more than we know of (posts made elsewhere): what is missing is noted as used an hour short of a day
  -- ago, so that the next look comes in an hour.
  if v_used < p_units_max then
    insert into orbyt_private.quota_uses as u (bucket, key, once, units, units_max, used_at)
    values (p_bucket, p_key, 'closed', p_units_max - v_used, p_units_max, p_now - v_window + interval '1 hour')
    on conflict (bucket, key, once) do update
    set units = case when u.used_at > p_now - v_window then u.units else 0 end + excluded.units,
        units_max = excluded.units_max, used_at = excluded.used_at;
  end if;
  return 3600;
end
$$;
comment on function orbyt_private.close_rolling_quota(text, text, integer, timestamptz) is
  'The platform says the allowance is used up: nobody asks again for an hour. Returns the seconds until then.';

-- Upkeep ------------------------------------------------------------------------------------------------------------------

create function orbyt_private.expire_jobs(p_limit integer default 200, p_now timestamptz default now())
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_missed uuid[];
  v_doubtful uuid[];
begin
  perform pg_catalog.set_config('orbyt.by_worker', 'on', true);
  select pg_catalog.array_agg(x.job_id) filter (where not x.begun),
         -- In doubt for two days: the platform could not be asked in all that time, so a person has to look.
         pg_catalog.array_agg(x.job_id) filter (where x.begun and x.expires_at < p_now - interval '2 days')
  into v_missed, v_doubtful
  from (
    select q.job_id, q.expires_at, orbyt_private.publish_is_open(q.job_id) as begun
    from orbyt_private.job_queue q
    join orbyt.publish_jobs j on j.job_id = q.job_id
    where q.worker_id is null and q.expires_at <= p_now
      and not orbyt_private.was_published(q.job_id)
      and (not orbyt_private.publish_is_open(q.job_id) or (j.status <> 'held' and q.expires_at < p_now - interval '2 days'))
    order by q.expires_at
    limit p_limit
    for update of j, q skip locked
  ) x;
  -- One statement each: the lanes of all accounts are locked in order, once.
  update orbyt.publish_jobs j
  set status = 'failed', error_code = orbyt_private.known_code('deadline_missed'),
      error_message = orbyt_private.catalog_message('deadline_missed', case when j.error_code is null then null else 'last problem: ' || j.error_code end),
      retryable = false, needs_reauth = false
  where j.job_id = any (v_missed);
  update orbyt.publish_jobs j
  set status = 'held', error_code = orbyt_private.known_code('outcome_unknown'),
      error_message = orbyt_private.catalog_message('outcome_unknown', case when j.error_code is null then null else 'last problem: ' || j.error_code end),
      retryable = false
  where j.job_id = any (v_doubtful);
  insert into orbyt.job_events (job_id, user_id, event, status, stage, attempt, error_code)
  select j.job_id, j.user_id, j.status::text, j.status, j.stage, j.attempt, j.error_code
  from orbyt.publish_jobs j
  where j.job_id = any (v_missed || v_doubtful)
  order by j.job_id;
  return coalesce(pg_catalog.cardinality(v_missed), 0) + coalesce(pg_catalog.cardinality(v_doubtful), 0);
end
$$;
comment on function orbyt_private.expire_jobs(integer, timestamptz) is
  'Fail jobs whose expires_at has passed and that certainly were not published. Those whose outcome is open are looked after for two more days, then held.';

create function orbyt_private.tend_accounts(p_limit integer default 500)
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_change record;
  v_done integer;
  v_count integer := 0;
begin
  -- Rest of the batches that the trigger on accounts began. Only accounts whose status changed are looked at, however many
  -- jobs are held elsewhere.
  for v_change in
    select x.account_id, a.status, pg_catalog.array_agg(x.change_id) as change_ids, pg_catalog.bool_or(x.cancel) as cancel
    from (
      select c.account_id, c.change_id, c.cancel from orbyt_private.account_changes c
      order by c.change_id limit 200
      for update skip locked
    ) x
    join orbyt.accounts a on a.account_id = x.account_id
    group by x.account_id, a.status
    order by x.account_id
  loop
    v_done := case when v_change.status = 'active' then orbyt_private.release_account_jobs(v_change.account_id, p_limit)
                   when v_change.status = 'disconnected' and v_change.cancel then orbyt_private.cancel_account_jobs(v_change.account_id, p_limit)
                   else orbyt_private.hold_account_jobs(v_change.account_id, p_limit) end;
    v_count := v_count + v_done;
    -- What cannot be cancelled because its visible call was begun is looked after like everything else.
    if v_change.cancel and v_change.status = 'disconnected' and v_done < p_limit then
      v_done := orbyt_private.hold_account_jobs(v_change.account_id, p_limit);
      v_count := v_count + v_done;
    end if;
    -- A job that a worker has in its hands is not held here; that worker finds out by itself.
    if v_done < p_limit then
      delete from orbyt_private.account_changes c where c.change_id = any (v_change.change_ids);
    end if;
  end loop;
  return v_count;
end
$$;
comment on function orbyt_private.tend_accounts(integer) is 'Hold and release in batches what the change of an account''s status could not do at once.';

create function orbyt_private.prune(p_limit integer default 1000, p_now timestamptz default now())
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_days integer := coalesce((orbyt_private.setting('retention_days'))::integer, 90);
  v_count integer;
  v_total integer := 0;
begin
  -- Upload addresses are worthless once a job is finished: gone at once, not after the retention time. That the visible call
  -- was begun or confirmed is never forgotten: a retry of such a job must not send it again.
  with stale as (
    select s.job_id, s.step
    from orbyt_private.job_steps s
    where s.secret is not null and not exists (select from orbyt_private.job_queue q where q.job_id = s.job_id)
      -- In doubt: the session may be all there is to look at, should somebody retry it.
      and not orbyt_private.publish_is_open(s.job_id)
    limit p_limit
  ), blanked as (
    update orbyt_private.job_steps s
    set secret = null, secret_key_id = null
    from stale
    where s.job_id = stale.job_id and s.step = stale.step and s.state in ('begun', 'confirmed')
    returning 1
  ), deleted as (
    delete from orbyt_private.job_steps s
    using stale
    where s.job_id = stale.job_id and s.step = stale.step and s.state in ('saved', 'recorded')
    returning 1
  )
  select (select count(*) from blanked) + (select count(*) from deleted) into v_count;
  v_total := v_total + v_count;
  delete from orbyt.publish_jobs j
  where j.job_id in (
    select j2.job_id from orbyt.publish_jobs j2
    where j2.status in ('published', 'failed', 'cancelled')
      and j2.created_at < p_now - pg_catalog.make_interval(days => v_days)
      and j2.updated_at < p_now - pg_catalog.make_interval(days => v_days)
    order by j2.created_at
    limit p_limit);
  get diagnostics v_count = row_count;
  v_total := v_total + v_count;
  delete from orbyt_private.workers w
  where w.lease_until < p_now - interval '1 day'
    and not exists (select from orbyt_private.job_queue q where q.worker_id = w.worker_id);
  delete from orbyt_private.quota_ledger l where l.resets_at < p_now - interval '40 days';
  delete from orbyt_private.quota_uses u where u.used_at < p_now - interval '25 hours';
  delete from orbyt_private.throttles t where t.until < p_now - interval '1 day';
  update orbyt.platforms p set paused_until = null, pause_code = null
  where p.paused_until < p_now and not exists (select from orbyt_private.breakers b where b.platform = p.platform);
  return v_total;
end
$$;
comment on function orbyt_private.prune(integer, timestamptz) is
  'Delete what is no longer needed: upload addresses of finished jobs, jobs older than retention_days, silent workers, old ledgers.';
create index job_steps_secret_idx on orbyt_private.job_steps (job_id) where secret is not null;

create function orbyt_private.queue_facts(p_now timestamptz default now())
returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select pg_catalog.jsonb_build_object(
    'oldest_due_age_seconds', coalesce((
      select greatest(max(extract(epoch from p_now - x.next_run_at)), 0)
      from orbyt.platforms p
      cross join unnest(array['publish', 'background', 'inspect']::orbyt_private.job_phase[]) as f (phase)
      cross join lateral (
        select l.next_run_at from orbyt_private.lanes l
        where l.platform = p.platform and l.phase = f.phase and l.due_at <= p_now
        order by l.due_at limit 1) x
      -- What waits for the end of a pause is not late.
      where p.paused_until is null or p.paused_until <= p_now), 0),
    'throttles', coalesce((
      select pg_catalog.jsonb_agg(x.throttle)
      from (
        select pg_catalog.jsonb_build_object('scope', t.scope, 'key', case when t.scope = 'platform' then t.key else 'account' end, 'code', t.code) as throttle
        from orbyt_private.throttles t where t.until > p_now
        union all
        select pg_catalog.jsonb_build_object('scope', 'breaker', 'key', b.platform, 'code', 'platform_unavailable')
        from orbyt_private.breakers b
      ) x), '[]'::jsonb),
    'quota', coalesce((
      select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('bucket', q.bucket, 'key', q.key,
               'left', case when q.closed_at is null then q.units_max - q.units_used else 0 end))
      from (
        select q.bucket, q.key, q.units_max, q.units_used, q.closed_at from orbyt_private.quota_ledger q where q.resets_at > p_now
        union all
        -- One number for all accounts of a bucket, the scarcest: a metric per account would have no end.
        select u.bucket, 'scarcest account', min(u.units_max), max(u.used), null
        from (
          select x.bucket, max(x.units_max) as units_max, sum(x.units) as used
          from orbyt_private.quota_uses x where x.used_at > p_now - interval '24 hours'
          group by x.bucket, x.key) u
        group by u.bucket) q), '[]'::jsonb),
    -- What the operator should know of and has not cleared: one row per cause.
    'issues', coalesce((
      select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('code', i.code, 'count', i.count))
      from orbyt_private.operator_issues i), '[]'::jsonb))
$$;
comment on function orbyt_private.queue_facts(timestamptz) is 'Numbers for /metrics, read from small tables only.';
