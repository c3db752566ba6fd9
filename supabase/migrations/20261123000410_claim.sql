-- Orbyt: workers, leases and the claim. A worker's lease covers all jobs it has claimed; whoever falls silent loses them to the
-- next claim of any other worker.

create function orbyt_private.register_worker(p_worker_id uuid, p_host text, p_version text, p_slots jsonb, p_lease_seconds double precision, p_now timestamptz default now())
returns timestamptz
language sql
security definer
set search_path = ''
as $$
  insert into orbyt_private.workers (worker_id, host, version, slots, started_at, heartbeat_at, lease_until)
  values (p_worker_id, p_host, p_version, p_slots, p_now, p_now, p_now + pg_catalog.make_interval(secs => p_lease_seconds))
  on conflict (worker_id) do update
  set heartbeat_at = excluded.heartbeat_at, lease_until = excluded.lease_until, stopped_at = null
  returning p_now
$$;
comment on function orbyt_private.register_worker(uuid, text, text, jsonb, double precision, timestamptz) is
  'A worker says hello and gets a lease. Returns the database time.';

create function orbyt_private.heartbeat(p_worker_id uuid, p_lease_seconds double precision, p_now timestamptz default now())
returns table (job_id uuid, attempt integer)
language plpgsql
security definer
set search_path = ''
as $$
begin
  update orbyt_private.workers w
  set heartbeat_at = p_now, lease_until = p_now + pg_catalog.make_interval(secs => p_lease_seconds)
  where w.worker_id = p_worker_id;
  if not found then
    raise exception using errcode = 'OR100', message = 'worker is not registered';
  end if;
  return query
    select q.job_id, j.attempt
    from orbyt_private.job_queue q
    join orbyt.publish_jobs j on j.job_id = q.job_id
    where q.worker_id = p_worker_id;
end
$$;
comment on function orbyt_private.heartbeat(uuid, double precision, timestamptz) is
  'Renew the lease. Returns the jobs this worker still owns: whatever it runs beyond these was cancelled or taken back and must stop.';

-- Claims end without the attempt having said anything: the worker died, stopped, or does not know the job. If a visible call
-- was begun, the successor may look only when that call can no longer be in flight: lease end plus the call's timeout.
create function orbyt_private.free_claims(p_job_ids uuid[], p_lease_ends timestamptz[], p_lost boolean, p_now timestamptz)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  v_losses_max integer := coalesce((orbyt_private.setting('losses_max'))::integer, 8);
begin
  perform pg_catalog.set_config('orbyt.by_worker', 'on', true);
  -- Two statements: the trigger on publish_jobs must see that the claim is gone already.
  update orbyt_private.job_queue q
  set worker_id = null, claimed_at = null, losses = q.losses + case when p_lost then 1 else 0 end
  where q.job_id = any (p_job_ids);
  -- One statement for all jobs: their lanes are locked in order, once.
  update orbyt.publish_jobs j
  set run_at = case when q.losses >= v_losses_max then null
                    else greatest(p_now, x.lease_end + coalesce((
                      select max(s.call_timeout) from orbyt_private.job_steps s where s.job_id = j.job_id and s.state = 'begun'), interval '0')) end,
      -- A job on which every worker dies (a file that crashes a decoder) must not go round for ever.
      status = case when q.losses >= v_losses_max then 'held' when q.started then 'publishing' else 'queued' end::orbyt.job_status,
      error_code = case when q.losses >= v_losses_max then orbyt_private.known_code('worker_lost') else j.error_code end,
      error_message = case when q.losses >= v_losses_max then orbyt_private.catalog_message('worker_lost', null) else j.error_message end,
      retryable = case when q.losses >= v_losses_max then false else j.retryable end
  from unnest(p_job_ids, p_lease_ends) as x (job_id, lease_end)
  join orbyt_private.job_queue q on q.job_id = x.job_id
  where j.job_id = x.job_id;
  insert into orbyt.job_events (job_id, user_id, event, status, stage, attempt, error_code, detail)
  select j.job_id, j.user_id, 'taken_back', j.status, j.stage, j.attempt,
         case when j.status = 'held' then j.error_code end, pg_catalog.jsonb_build_object('run_at', j.run_at)
  from orbyt.publish_jobs j
  where j.job_id = any (p_job_ids)
  order by j.job_id;
  return pg_catalog.cardinality(p_job_ids);
end
$$;
comment on function orbyt_private.free_claims(uuid[], timestamptz[], boolean, timestamptz) is
  'Put claimed jobs back, each with the end of the lease it was held under; p_lost counts it as a loss, and a job lost too often in a row is held for the operator.';

create function orbyt_private.take_back(p_now timestamptz default now(), p_limit integer default 100)
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_jobs uuid[];
  v_lease_ends timestamptz[];
begin
  -- Of all silent workers at once: jobs are locked in order, and freed by one statement, so that their lanes are, too.
  select pg_catalog.array_agg(x.job_id), pg_catalog.array_agg(x.lease_until) into v_jobs, v_lease_ends
  from (
    select q.job_id, w.lease_until
    from orbyt_private.workers w
    join orbyt_private.job_queue q on q.worker_id = w.worker_id
    join orbyt.publish_jobs j on j.job_id = q.job_id
    where w.lease_until < p_now
    order by q.job_id
    limit p_limit
    for update of q, j skip locked
  ) x;
  return case when v_jobs is null then 0 else orbyt_private.free_claims(v_jobs, v_lease_ends, true, p_now) end;
end
$$;
comment on function orbyt_private.take_back(timestamptz, integer) is 'Return the jobs of silent workers to the queue; called with every claim.';

-- A claim whose answer was lost, or an attempt whose last write failed: the database says the worker has the job, the worker
-- knows nothing of it. Its lease goes on, so nobody else would ever take the job back.
create function orbyt_private.return_jobs(p_worker_id uuid, p_job_ids uuid[], p_now timestamptz default now())
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_jobs uuid[];
begin
  select pg_catalog.array_agg(x.job_id) into v_jobs
  from (
    select q.job_id
    from orbyt.publish_jobs j
    join orbyt_private.job_queue q on q.job_id = j.job_id
    where q.worker_id = p_worker_id and q.job_id = any (p_job_ids)
    order by q.job_id
    for update of j, q
  ) x;
  return case when v_jobs is null then 0 else orbyt_private.free_claims(
    v_jobs, pg_catalog.array_fill(p_now, array[pg_catalog.cardinality(v_jobs)]), false, p_now) end;
end
$$;
comment on function orbyt_private.return_jobs(uuid, uuid[], timestamptz) is
  'Give back jobs that this worker owns but does not run. One whose visible call was begun waits until that call cannot be in flight.';

create function orbyt_private.give_back(p_worker_id uuid, p_now timestamptz default now())
returns integer
language plpgsql
security definer
set search_path = ''
as $$
begin
  return orbyt_private.return_jobs(
    p_worker_id, (select pg_catalog.array_agg(q.job_id) from orbyt_private.job_queue q where q.worker_id = p_worker_id), p_now);
end
$$;
comment on function orbyt_private.give_back(uuid, timestamptz) is 'A worker that stops gives back whatever it still holds, at once.';

create function orbyt_private.retire_worker(p_worker_id uuid)
returns void
language sql
security definer
set search_path = ''
as $$
  update orbyt_private.workers w set stopped_at = now(), lease_until = least(w.lease_until, now()) where w.worker_id = p_worker_id
$$;
comment on function orbyt_private.retire_worker(uuid) is 'A worker says goodbye after it gave its jobs back.';

create function orbyt_private.use_key(p_worker_id uuid, p_key_id text, p_now timestamptz default now())
returns void
language sql
security definer
set search_path = ''
as $$
  update orbyt_private.workers w
  set key_id = p_key_id, key_since = p_now
  where w.worker_id = p_worker_id and w.key_id is distinct from p_key_id
$$;
comment on function orbyt_private.use_key(uuid, text, timestamptz) is
  'A worker says which master key it seals with from now on: a key is deleted only when nobody seals with it.';

-- Claim ---------------------------------------------------------------------------------------------------------------------

create function orbyt_private.claim_jobs(
  p_worker_id uuid,
  p_background integer,
  p_publish integer,
  p_lease_seconds double precision,
  p_now timestamptz default now()
)
returns table (
  job_id uuid, attempt integer, failures integer, phase text, claimed_at timestamptz, created_at timestamptz,
  account_id uuid, user_id uuid, platform text, platform_account_id text, account_name text, handle text, scopes text[],
  login text, kind text, title text, caption text, media jsonb, options jsonb, publish_at timestamptz, expires_at timestamptz,
  platform_post_id text, permalink text, steps jsonb
)
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_phase orbyt_private.job_phase;
  v_platform record;
  v_slots integer;
  v_background integer := greatest(p_background, 0);
  v_jobs uuid[] := '{}';
  v_accounts uuid[];
  v_heads uuid[];
begin
  perform pg_catalog.set_config('orbyt.by_worker', 'on', true);
  update orbyt_private.workers w
  set heartbeat_at = p_now, lease_until = p_now + pg_catalog.make_interval(secs => p_lease_seconds)
  where w.worker_id = p_worker_id;
  if not found then
    raise exception using errcode = 'OR100', message = 'worker is not registered';
  end if;
  if exists (
    select from orbyt_private.workers w
    where w.lease_until < p_now and exists (select from orbyt_private.job_queue q where q.worker_id = w.worker_id)
  ) then
    perform orbyt_private.take_back(p_now);
  end if;

  foreach v_phase in array array['publish', 'background', 'inspect']::orbyt_private.job_phase[] loop
    v_slots := case when v_phase = 'publish' then greatest(p_publish, 0) else v_background end;
    -- Platforms in random order: with few free slots none of them always comes first.
    for v_platform in
      select p.platform, b.platform is not null as probing
      from orbyt.platforms p
      left join orbyt_private.breakers b on b.platform = p.platform
      where (b.platform is null or b.probe_at <= p_now)
        and (p.paused_until is null or p.paused_until <= p_now)
        and not exists (
          select from orbyt_private.throttles t where t.scope = 'platform' and t.key = p.platform and t.until > p_now and (t.phase = 'publish' or v_phase <> 'publish'))
      order by pg_catalog.random()
    loop
      exit when v_slots <= 0;
      -- 1. lock due lanes, the longest waiting first; never wait for one.
      select pg_catalog.array_agg(x.account_id) into v_accounts
      from (
        select l.account_id
        from orbyt_private.lanes l
        where l.platform = v_platform.platform and l.phase = v_phase and l.due_at <= p_now
        order by l.due_at
        limit case when v_platform.probing then 1 else v_slots end
        for update skip locked
      ) x;
      continue when v_accounts is null;
      -- 2. the head of each lane. A new statement: it sees what was committed before the lane was ours.
      select pg_catalog.array_agg(h.job_id) into v_heads
      from unnest(v_accounts) as a (account_id)
      cross join lateral (
        select q.job_id
        from orbyt_private.job_queue q
        join orbyt.publish_jobs j on j.job_id = q.job_id
        where q.account_id = a.account_id and q.phase = v_phase and q.worker_id is null and q.run_at <= p_now
        order by q.run_at, q.job_id
        limit 1
        for update of q, j skip locked
      ) h;
      update orbyt_private.lanes l set last_served_at = p_now where l.account_id = any (v_accounts) and l.phase = v_phase;
      continue when v_heads is null;
      v_jobs := v_jobs || v_heads;
      v_slots := v_slots - pg_catalog.cardinality(v_heads);
      if v_phase <> 'publish' then
        v_background := v_background - pg_catalog.cardinality(v_heads);
      end if;
      if v_platform.probing then
        update orbyt_private.breakers b set probe_at = p_now + interval '60 seconds', probing = true where b.platform = v_platform.platform;
      end if;
      update orbyt_private.job_queue q set worker_id = p_worker_id, claimed_at = p_now where q.job_id = any (v_heads);
      update orbyt.publish_jobs j
      set status = 'publishing', attempt = j.attempt + 1,
          stage = case when v_phase = 'publish' then 'publishing' when j.stage = 'waiting' then 'preparing' else j.stage end::orbyt.job_stage
      where j.job_id = any (v_heads);
      insert into orbyt.job_events (job_id, user_id, event, status, stage, attempt, detail)
      select j.job_id, j.user_id, 'claimed', j.status, j.stage, j.attempt,
             pg_catalog.jsonb_build_object('worker_id', p_worker_id, 'phase', v_phase)
      from orbyt.publish_jobs j
      where j.job_id = any (v_heads)
      order by j.job_id;
    end loop;
  end loop;

  return query
    select j.job_id, j.attempt, q.failures, q.phase::text, q.claimed_at, j.created_at,
           j.account_id, j.user_id, j.platform, a.platform_account_id, a.name, a.handle, a.scopes,
           coalesce((select g.login from orbyt_private.account_grants g where g.account_id = a.account_id), ''), j.kind::text, j.title, j.caption, j.media, j.options, j.publish_at, j.expires_at,
           j.platform_post_id, j.permalink,
           coalesce((
             select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                      'step', s.step, 'state', s.state, 'result', s.result,
                      'secret', pg_catalog.encode(s.secret, 'base64'), 'key_id', s.secret_key_id,
                      'begun_at', s.begun_at, 'updated_at', s.updated_at))
             from orbyt_private.job_steps s where s.job_id = j.job_id), '[]'::jsonb)
    from unnest(v_jobs) with ordinality as c (job_id, n)
    join orbyt.publish_jobs j on j.job_id = c.job_id
    join orbyt_private.job_queue q on q.job_id = c.job_id
    join orbyt.accounts a on a.account_id = j.account_id
    order by c.n;
end
$$;
comment on function orbyt_private.claim_jobs(uuid, integer, integer, double precision, timestamptz) is
  'Claim up to so many jobs: the head of each due lane. Renews the worker''s lease, takes back the jobs of silent workers. attempt is the fencing token for every later write.';

create function orbyt_private.next_due_in_seconds(p_now timestamptz default now())
returns double precision
language sql
stable
security definer
set search_path = ''
as $$
  select extract(epoch from min(x.due_at) - p_now)::double precision
  from orbyt.platforms p
  cross join unnest(array['publish', 'background', 'inspect']::orbyt_private.job_phase[]) as f (phase)
  cross join lateral (
    select l.due_at from orbyt_private.lanes l
    where l.platform = p.platform and l.phase = f.phase and l.due_at > p_now and l.due_at < 'infinity'
    order by l.due_at limit 1
  ) x
$$;
comment on function orbyt_private.next_due_in_seconds(timestamptz) is 'Seconds until the next lane falls due; null if none. For the worker''s timer.';
