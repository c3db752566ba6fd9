-- Orbyt: the queue. Triggers keep job_queue and lanes in step with publish_jobs, whoever writes it (app, worker, admin in
-- the Table Editor); functions are the only way a worker changes anything.

-- Small helpers ---------------------------------------------------------------------------------------------------------

create function orbyt_private.add_event(p_job orbyt.publish_jobs, p_event text, p_error_code text default null, p_detail jsonb default '{}')
returns void
language sql
set search_path = ''
as $$
  insert into orbyt.job_events (job_id, user_id, event, status, stage, attempt, error_code, detail)
  values (p_job.job_id, p_job.user_id, p_event, p_job.status, p_job.stage, p_job.attempt, p_error_code, coalesce(p_detail, '{}'))
$$;
comment on function orbyt_private.add_event(orbyt.publish_jobs, text, text, jsonb) is 'Append one line to a job''s history.';

-- A visible call was announced and its answer is not known.
create function orbyt_private.publish_is_open(p_job_id uuid)
returns boolean
language sql
stable
set search_path = ''
as $$
  select exists (select from orbyt_private.job_steps s where s.job_id = p_job_id and s.state = 'begun')
$$;
comment on function orbyt_private.publish_is_open(uuid) is 'Whether a visible call of this job was begun and not confirmed.';

create function orbyt_private.was_published(p_job_id uuid)
returns boolean
language sql
stable
set search_path = ''
as $$
  select exists (select from orbyt_private.job_steps s where s.job_id = p_job_id and s.state = 'confirmed')
$$;
comment on function orbyt_private.was_published(uuid) is 'Whether the visible call of this job was confirmed.';

-- Lanes -----------------------------------------------------------------------------------------------------------------

-- Lock first, compute after: each statement of this function takes a new snapshot, so what another transaction committed
-- before it let go of the lane is seen. Computing first would lose wake-ups when two inserts meet.
create function orbyt_private.refresh_lanes(p_account_ids uuid[], p_phases orbyt_private.job_phase[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into orbyt_private.lanes (account_id, phase, platform, in_flight_max, blocked_until)
  select distinct k.account_id, k.phase, a.platform,
         coalesce((orbyt_private.setting(k.phase::text || '_in_flight_max'))::integer, 1),
         case when a.status <> 'active' then 'infinity'::timestamptz
              when k.phase = 'publish' then null
              else (select t.until from orbyt_private.throttles t where t.scope = 'account' and t.key = a.account_id::text) end
  from unnest(p_account_ids, p_phases) as k (account_id, phase)
  join orbyt.accounts a on a.account_id = k.account_id
  where not exists (select from orbyt_private.lanes l where l.account_id = k.account_id and l.phase = k.phase)
  order by 1, 2
  on conflict (account_id, phase) do nothing;

  perform 1
  from orbyt_private.lanes l
  where (l.account_id, l.phase) in (select k.account_id, k.phase from unnest(p_account_ids, p_phases) as k (account_id, phase))
  order by l.account_id, l.phase
  for update;

  update orbyt_private.lanes l
  set next_run_at = (
        select q.run_at from orbyt_private.job_queue q
        where q.account_id = l.account_id and q.phase = l.phase and q.worker_id is null and q.run_at is not null
        order by q.run_at limit 1),
      in_flight = (
        select count(*) from orbyt_private.job_queue q
        where q.account_id = l.account_id and q.phase = l.phase and q.worker_id is not null),
      in_flight_max = coalesce((orbyt_private.setting(l.phase::text || '_in_flight_max'))::integer, l.in_flight_max)
  where (l.account_id, l.phase) in (select k.account_id, k.phase from unnest(p_account_ids, p_phases) as k (account_id, phase));
end
$$;
comment on function orbyt_private.refresh_lanes(uuid[], orbyt_private.job_phase[]) is
  'Recompute lanes from the queue (earliest waiting job, number in flight). Recomputing heals itself; counting up and down would not.';

-- Triggers on publish_jobs ------------------------------------------------------------------------------------------------

create function orbyt_private.publish_jobs_before_insert()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_account orbyt.accounts;
  v_enabled boolean;
  v_problem record;
begin
  -- supabase-js sends NULL for keys missing in some rows of a bulk insert: put the defaults back.
  new.job_id := coalesce(new.job_id, gen_random_uuid());
  new.post_id := coalesce(new.post_id, gen_random_uuid());
  new.user_id := coalesce(new.user_id, auth.uid());
  new.media := coalesce(new.media, '[]'::jsonb);
  new.options := coalesce(new.options, '{}'::jsonb);
  new.publish_at := coalesce(new.publish_at, now());
  new.expires_at := coalesce(new.expires_at, new.publish_at + interval '24 hours');

  select * into v_account from orbyt.accounts a where a.account_id = new.account_id;
  -- Another user's account is answered like one that does not exist, so that ids cannot be tried out.
  if v_account.account_id is null
     or v_account.user_id is distinct from coalesce(auth.uid(), new.user_id)
     or (auth.uid() is not null and new.user_id <> auth.uid()) then
    perform orbyt_private.raise_error('account_not_found', 'account_id');
  end if;
  new.user_id := v_account.user_id;
  new.platform := v_account.platform;

  -- The same job again (a client that repeats an insert): let the primary key or client_ref answer it, so that
  -- `on conflict do nothing` works, even if the content would no longer pass today.
  if exists (select from orbyt.publish_jobs j where j.job_id = new.job_id and j.user_id = new.user_id)
     or (new.client_ref is not null
         and exists (select from orbyt.publish_jobs j where j.user_id = new.user_id and j.client_ref = new.client_ref)) then
    new.run_at := coalesce(new.run_at, now());
    if new.expires_at <= new.publish_at then
      new.expires_at := new.publish_at + interval '24 hours';
    end if;
    return new;
  end if;

  if v_account.status = 'disconnected' then
    perform orbyt_private.raise_error('account_disconnected', 'account_id');
  end if;
  select p.enabled into v_enabled from orbyt.platforms p where p.platform = new.platform;
  if not coalesce(v_enabled, false) then
    perform orbyt_private.raise_error('platform_not_configured', 'account_id');
  end if;

  select * into v_problem
  from orbyt_private.check_content(new.platform, new.kind, new.title, new.caption, new.media, new.options, new.publish_at, new.expires_at)
  limit 1;
  if found then
    perform orbyt_private.raise_error(v_problem.code, v_problem.field, v_problem.detail);
  end if;

  -- Everything else belongs to the worker, whoever inserts.
  new.status := 'queued';
  new.stage := 'waiting';
  new.progress := 0;
  new.attempt := 0;
  new.version := 1;
  new.created_at := now();
  new.updated_at := now();
  new.run_at := now();
  new.platform_post_id := null;
  new.permalink := null;
  new.published_at := null;
  new.error_code := null;
  new.error_message := null;
  new.retryable := null;
  new.needs_reauth := false;
  if v_account.status = 'needs_reauth' then
    new.status := 'held';
    new.run_at := null;
    new.needs_reauth := true;
    new.retryable := false;
    new.error_code := 'account_needs_reauth';
    new.error_message := orbyt_private.catalog_message('account_needs_reauth', null);
  end if;
  return new;
end
$$;
comment on function orbyt_private.publish_jobs_before_insert() is
  'Defaults, ownership, pre-flight; resets every worker column. Refusals carry a catalog code.';

create function orbyt_private.publish_jobs_before_update()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_problem record;
  v_queue orbyt_private.job_queue;
  v_content_changed boolean;
begin
  if new is not distinct from old then
    return new;
  end if;
  new.version := old.version + 1;
  new.updated_at := now();
  new.created_at := old.created_at;
  new.job_id := old.job_id;
  new.user_id := old.user_id;
  new.account_id := old.account_id;
  new.platform := old.platform;

  new.media := coalesce(new.media, '[]'::jsonb);
  new.options := coalesce(new.options, '{}'::jsonb);
  new.publish_at := coalesce(new.publish_at, now());

  v_content_changed := (new.kind, new.title, new.caption, new.media, new.options, new.publish_at, new.expires_at, new.client_ref)
    is distinct from (old.kind, old.title, old.caption, old.media, old.options, old.publish_at, old.expires_at, old.client_ref);
  if v_content_changed and new.status = old.status then
    if old.status in ('published', 'failed', 'cancelled') then
      perform orbyt_private.raise_error('job_already_finished');
    end if;
    select * into v_queue from orbyt_private.job_queue q where q.job_id = old.job_id;
    if old.status = 'publishing' or coalesce(v_queue.started, false) or orbyt_private.publish_is_open(old.job_id) then
      perform orbyt_private.raise_error('job_already_started');
    end if;
    if new.publish_at is distinct from old.publish_at and new.expires_at is not distinct from old.expires_at then
      new.expires_at := new.publish_at + (old.expires_at - old.publish_at);
    end if;
    new.expires_at := coalesce(new.expires_at, new.publish_at + interval '24 hours');
    select * into v_problem
    from orbyt_private.check_content(new.platform, new.kind, new.title, new.caption, new.media, new.options, new.publish_at, new.expires_at)
    limit 1;
    if found then
      perform orbyt_private.raise_error(v_problem.code, v_problem.field, v_problem.detail);
    end if;
    -- Nothing with an effect outside was recorded, so what was found out about the old content is simply forgotten.
    delete from orbyt_private.job_steps s where s.job_id = old.job_id;
    if old.status = 'queued' then
      new.run_at := now();
      new.stage := 'waiting';
      new.error_code := null;
      new.error_message := null;
      new.retryable := null;
    end if;
  end if;

  -- Somebody changes the status by hand (Table Editor, SQL editor). The worker's functions give the claim back first,
  -- so a claim that is still standing here means a person.
  if new.status is distinct from old.status then
    if old.status = 'published' then
      perform orbyt_private.raise_error('job_already_finished');
    end if;
    if old.status = 'cancelled' then
      perform orbyt_private.raise_error('job_already_finished');
    end if;
    if new.status = 'cancelled' and orbyt_private.publish_is_open(old.job_id) then
      perform orbyt_private.raise_error('publish_in_progress');
    end if;
    if new.status in ('queued', 'publishing') then
      new.run_at := coalesce(new.run_at, now());
      if old.status in ('failed', 'held') then
        new.run_at := now();
        new.error_code := null;
        new.error_message := null;
        new.retryable := null;
        new.needs_reauth := false;
        if new.expires_at <= now() then
          new.expires_at := now() + interval '24 hours';
        end if;
      end if;
    else
      new.run_at := null;
    end if;
    if new.status = 'published' then
      new.published_at := coalesce(new.published_at, now());
      new.progress := 100;
    end if;
    if new.status = 'cancelled' then
      new.retryable := false;
      new.needs_reauth := false;
    end if;
    if new.status in ('failed', 'held') and new.error_code is null then
      new.error_code := orbyt_private.known_code('internal_error');
      new.error_message := coalesce(new.error_message, orbyt_private.catalog_message('internal_error', null));
    end if;
    -- Fence a worker that is still at it.
    if old.status = 'publishing' and new.attempt = old.attempt
       and exists (select from orbyt_private.job_queue q where q.job_id = old.job_id and q.worker_id is not null) then
      new.attempt := old.attempt + 1;
      update orbyt_private.job_queue q set worker_id = null, claimed_at = null where q.job_id = old.job_id;
    end if;
  end if;
  return new;
end
$$;
comment on function orbyt_private.publish_jobs_before_update() is
  'Version and time stamps; content may change only while nothing was begun; edits of status by hand stay consistent and fence the worker.';

-- Keep job_queue and lanes in step. Statement level: one refresh per lane however many rows are inserted.
create function orbyt_private.publish_jobs_after_insert()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_accounts uuid[];
  v_phases orbyt_private.job_phase[];
begin
  with queued as (
    insert into orbyt_private.job_queue (job_id, account_id, phase, run_at, expires_at)
    select i.job_id, i.account_id,
           case when i.publish_at - p.prepare_lead > now() then 'inspect' else 'background' end::orbyt_private.job_phase,
           i.run_at, i.expires_at
    from inserted i
    join orbyt.platforms p on p.platform = i.platform
    where i.status in ('queued', 'publishing', 'held')
    order by i.job_id
    on conflict (job_id) do nothing
    returning account_id, phase
  ), keys as (
    select distinct q.account_id, q.phase from queued q
  )
  select pg_catalog.array_agg(k.account_id), pg_catalog.array_agg(k.phase) into v_accounts, v_phases from keys k;
  if v_accounts is not null then
    perform orbyt_private.refresh_lanes(v_accounts, v_phases);
  end if;

  insert into orbyt.job_events (job_id, user_id, event, status, stage, attempt, error_code)
  select i.job_id, i.user_id, 'inserted', i.status, i.stage, i.attempt, i.error_code from inserted i;

  if exists (select from inserted i where i.status = 'queued') and coalesce((orbyt_private.setting('notify'))::boolean, true) then
    perform pg_catalog.pg_notify('orbyt_jobs', '');
  end if;
  return null;
end
$$;
comment on function orbyt_private.publish_jobs_after_insert() is 'Queue rows, lanes, history and one wake-up for the rows of one insert.';

create function orbyt_private.publish_jobs_after_update()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_accounts uuid[];
  v_phases orbyt_private.job_phase[];
begin
  -- Progress and the like: nothing to do for the queue.
  if not exists (
    select from after_rows n join before_rows o on o.job_id = n.job_id
    where (n.status, n.run_at, n.publish_at, n.expires_at, n.attempt) is distinct from (o.status, o.run_at, o.publish_at, o.expires_at, o.attempt)
  ) then
    return null;
  end if;

  -- The lanes that are left.
  select pg_catalog.array_agg(q.account_id), pg_catalog.array_agg(q.phase) into v_accounts, v_phases
  from (
    select distinct q.account_id, q.phase
    from after_rows n join orbyt_private.job_queue q on q.job_id = n.job_id
  ) q;

  delete from orbyt_private.job_queue q
  using after_rows n
  where q.job_id = n.job_id and n.status in ('published', 'failed', 'cancelled');

  insert into orbyt_private.job_queue as q (job_id, account_id, phase, run_at, expires_at, started)
  select n.job_id, n.account_id,
         case when n.publish_at - p.prepare_lead > now() then 'inspect' else 'background' end::orbyt_private.job_phase,
         n.run_at, n.expires_at,
         exists (select from orbyt_private.job_steps s where s.job_id = n.job_id and s.step <> 'inspect')
  from after_rows n
  join before_rows o on o.job_id = n.job_id
  join orbyt.platforms p on p.platform = n.platform
  where n.status in ('queued', 'publishing', 'held')
  order by n.job_id
  on conflict (job_id) do update
  set run_at = excluded.run_at,
      expires_at = excluded.expires_at,
      -- An edit of the time sends an unstarted job to the lane that fits its new time.
      phase = case when not q.started and q.worker_id is null and exists (
                     select from after_rows n join before_rows o on o.job_id = n.job_id
                     where n.job_id = q.job_id and n.publish_at is distinct from o.publish_at)
                   then excluded.phase else q.phase end;

  select pg_catalog.array_agg(k.account_id), pg_catalog.array_agg(k.phase) into v_accounts, v_phases
  from (
    select x.account_id, x.phase from unnest(v_accounts, v_phases) as x (account_id, phase)
    union
    select q.account_id, q.phase from after_rows n join orbyt_private.job_queue q on q.job_id = n.job_id
  ) k;
  if v_accounts is not null then
    perform orbyt_private.refresh_lanes(v_accounts, v_phases);
  end if;

  -- A job that goes back to the queue of an account that cannot be used (released by hand, put back by a worker) is held again.
  insert into orbyt_private.account_changes (account_id)
  select distinct a.account_id
  from after_rows n
  join orbyt.accounts a on a.account_id = n.account_id
  where n.status in ('queued', 'publishing') and a.status <> 'active'
  on conflict (account_id) do nothing;

  -- Wake workers for what people did; a worker that puts a job back wakes itself.
  if coalesce(pg_catalog.current_setting('orbyt.by_worker', true), '') <> 'on'
     and coalesce((orbyt_private.setting('notify'))::boolean, true)
     and exists (
       select from after_rows n join before_rows o on o.job_id = n.job_id
       where n.status = 'queued' and n.run_at is distinct from o.run_at and n.run_at <= now() + interval '5 seconds'
     ) then
    perform pg_catalog.pg_notify('orbyt_jobs', '');
  end if;
  return null;
end
$$;
comment on function orbyt_private.publish_jobs_after_update() is 'Keeps job_queue and lanes in step with changed rows; wakes workers for what people did.';

create trigger publish_jobs_before_insert before insert on orbyt.publish_jobs
  for each row execute function orbyt_private.publish_jobs_before_insert();
create trigger publish_jobs_before_update before update on orbyt.publish_jobs
  for each row execute function orbyt_private.publish_jobs_before_update();
create trigger publish_jobs_after_insert after insert on orbyt.publish_jobs
  referencing new table as inserted
  for each statement execute function orbyt_private.publish_jobs_after_insert();
create trigger publish_jobs_after_update after update on orbyt.publish_jobs
  referencing old table as before_rows new table as after_rows
  for each statement execute function orbyt_private.publish_jobs_after_update();

-- Workers and leases --------------------------------------------------------------------------------------------------------

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

-- The jobs of workers that fell silent go back to the queue. If a visible call was begun, the successor may look only
-- when that call can no longer be in flight: lease end plus the call's timeout.
create function orbyt_private.take_back(p_now timestamptz default now(), p_limit integer default 100)
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_jobs uuid[];
  v_job orbyt.publish_jobs;
  v_run_at jsonb;
begin
  perform pg_catalog.set_config('orbyt.by_worker', 'on', true);
  select pg_catalog.array_agg(x.job_id) into v_jobs
  from (
    select q.job_id
    from orbyt_private.workers w
    join orbyt_private.job_queue q on q.worker_id = w.worker_id
    join orbyt.publish_jobs j on j.job_id = q.job_id
    where w.lease_until < p_now
    order by q.job_id
    limit p_limit
    for update of q, j skip locked
  ) x;
  if v_jobs is null then
    return 0;
  end if;

  -- Two statements: the trigger on publish_jobs must see that the claim is gone already.
  select pg_catalog.jsonb_object_agg(q.job_id, greatest(p_now, w.lease_until + coalesce((
           select max(s.call_timeout) from orbyt_private.job_steps s where s.job_id = q.job_id and s.state = 'begun'), interval '0')))
  into v_run_at
  from orbyt_private.job_queue q
  join orbyt_private.workers w on w.worker_id = q.worker_id
  where q.job_id = any (v_jobs);
  update orbyt_private.job_queue q set worker_id = null, claimed_at = null where q.job_id = any (v_jobs);
  update orbyt.publish_jobs j
  set run_at = (v_run_at ->> j.job_id::text)::timestamptz,
      status = case when q.started then 'publishing' else 'queued' end::orbyt.job_status
  from orbyt_private.job_queue q
  where j.job_id = any (v_jobs) and q.job_id = j.job_id;

  for v_job in select * from orbyt.publish_jobs j where j.job_id = any (v_jobs) loop
    perform orbyt_private.add_event(v_job, 'taken_back', null, pg_catalog.jsonb_build_object('run_at', v_job.run_at));
  end loop;
  return pg_catalog.cardinality(v_jobs);
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
  v_job orbyt.publish_jobs;
  v_wait interval;
  v_count integer := 0;
begin
  perform pg_catalog.set_config('orbyt.by_worker', 'on', true);
  for v_job in
    select j.*
    from orbyt.publish_jobs j
    join orbyt_private.job_queue q on q.job_id = j.job_id
    where q.worker_id = p_worker_id and q.job_id = any (p_job_ids)
    order by j.job_id
    for update of j, q
  loop
    select coalesce(max(s.call_timeout), interval '0') into v_wait
    from orbyt_private.job_steps s where s.job_id = v_job.job_id and s.state = 'begun';
    update orbyt_private.job_queue q set worker_id = null, claimed_at = null where q.job_id = v_job.job_id;
    update orbyt.publish_jobs j
    set run_at = p_now + v_wait, status = case when q.started then 'publishing' else 'queued' end::orbyt.job_status
    from orbyt_private.job_queue q
    where j.job_id = v_job.job_id and q.job_id = j.job_id
    returning j.* into v_job;
    perform orbyt_private.add_event(v_job, 'taken_back', null, pg_catalog.jsonb_build_object('run_at', v_job.run_at));
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function orbyt_private.return_jobs(uuid, uuid[], timestamptz) is
  'Give back jobs that this worker owns but does not run. One whose visible call was begun waits until that call cannot be in flight.';

create function orbyt_private.retire_worker(p_worker_id uuid)
returns void
language sql
security definer
set search_path = ''
as $$
  update orbyt_private.workers w set stopped_at = now(), lease_until = least(w.lease_until, now()) where w.worker_id = p_worker_id
$$;
comment on function orbyt_private.retire_worker(uuid) is 'A worker says goodbye after it gave its jobs back.';

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
  account_id uuid, user_id uuid, platform text, platform_account_id text, account_name text, scopes text[],
  kind text, title text, caption text, media jsonb, options jsonb, publish_at timestamptz, expires_at timestamptz,
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
        and (p.paused_until is null or p.paused_until <= p_now or b.platform is not null)
        and not exists (
          select from orbyt_private.throttles t where t.scope = 'platform' and t.key = p.platform and t.until > p_now)
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
        update orbyt_private.breakers b set probe_at = p_now + interval '60 seconds' where b.platform = v_platform.platform;
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
           j.account_id, j.user_id, j.platform, a.platform_account_id, a.name, a.scopes,
           j.kind::text, j.title, j.caption, j.media, j.options, j.publish_at, j.expires_at,
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

-- Writes of an attempt ------------------------------------------------------------------------------------------------------
-- Each names (job, attempt) and changes nothing when another attempt, a cancel or an admin came first. They answer 'ok' or
-- 'stale', so that a stale worker is told.

create function orbyt_private.lock_attempt(p_job_id uuid, p_attempt integer)
returns orbyt.publish_jobs
language plpgsql
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  perform pg_catalog.set_config('orbyt.by_worker', 'on', true);
  select j.* into v_job
  from orbyt.publish_jobs j
  where j.job_id = p_job_id and j.attempt = p_attempt and j.status = 'publishing'
    and exists (select from orbyt_private.job_queue q where q.job_id = p_job_id and q.worker_id is not null)
  for update;
  return v_job;
end
$$;
comment on function orbyt_private.lock_attempt(uuid, integer) is 'Lock the job if this attempt still owns it; a null row otherwise.';

create function orbyt_private.save_step(
  p_job_id uuid, p_attempt integer, p_step text, p_done boolean, p_result jsonb,
  p_secret bytea default null, p_key_id text default null
)
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  v_job := orbyt_private.lock_attempt(p_job_id, p_attempt);
  if v_job.job_id is null then
    return 'stale';
  end if;
  insert into orbyt_private.job_steps as s (job_id, step, state, attempt, result, secret, secret_key_id)
  values (p_job_id, p_step, case when p_done then 'recorded' else 'saved' end::orbyt_private.step_state, p_attempt, p_result, p_secret, p_key_id)
  on conflict (job_id, step) do update
  set state = case when s.state in ('begun', 'confirmed') then s.state else excluded.state end,
      attempt = excluded.attempt,
      result = excluded.result,
      secret = coalesce(excluded.secret, s.secret),
      secret_key_id = coalesce(excluded.secret_key_id, s.secret_key_id),
      updated_at = now();
  if p_step <> 'inspect' then
    update orbyt_private.job_queue q set started = true where q.job_id = p_job_id and not q.started;
  end if;
  return 'ok';
end
$$;
comment on function orbyt_private.save_step(uuid, integer, text, boolean, jsonb, bytea, text) is
  'Journal a step: partial result (p_done false) or final. A secret given earlier is kept when none is given now.';

create function orbyt_private.forget_steps(p_job_id uuid, p_attempt integer, p_steps text[])
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  v_job := orbyt_private.lock_attempt(p_job_id, p_attempt);
  if v_job.job_id is null then
    return 'stale';
  end if;
  delete from orbyt_private.job_steps s
  where s.job_id = p_job_id and s.step = any (p_steps) and s.state in ('saved', 'recorded');
  return 'ok';
end
$$;
comment on function orbyt_private.forget_steps(uuid, integer, text[]) is 'Do these hidden steps anew (an upload session is gone, the source changed).';

create function orbyt_private.begin_publish(p_job_id uuid, p_attempt integer, p_step text, p_call_timeout_seconds double precision, p_now timestamptz default now())
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  v_job := orbyt_private.lock_attempt(p_job_id, p_attempt);
  if v_job.job_id is null then
    return 'stale';
  end if;
  if exists (select from orbyt_private.job_steps s where s.job_id = p_job_id and s.state in ('begun', 'confirmed')) then
    return 'already_begun';
  end if;
  if v_job.expires_at <= p_now then
    return 'expired';
  end if;
  insert into orbyt_private.job_steps as s (job_id, step, state, attempt, call_timeout, begun_at)
  values (p_job_id, p_step, 'begun', p_attempt, pg_catalog.make_interval(secs => p_call_timeout_seconds), p_now)
  on conflict (job_id, step) do update
  set state = 'begun', attempt = excluded.attempt, call_timeout = excluded.call_timeout, begun_at = excluded.begun_at, updated_at = now();
  update orbyt_private.job_queue q set started = true where q.job_id = p_job_id;
  perform orbyt_private.add_event(v_job, 'begun');
  return 'ok';
end
$$;
comment on function orbyt_private.begin_publish(uuid, integer, text, double precision, timestamptz) is
  'Announce the one visible call, durably, before it is made. ok, stale, already_begun (reconcile first) or expired.';

create function orbyt_private.confirm_publish(p_job_id uuid, p_attempt integer, p_step text, p_result jsonb)
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  v_job := orbyt_private.lock_attempt(p_job_id, p_attempt);
  if v_job.job_id is null then
    return 'stale';
  end if;
  insert into orbyt_private.job_steps as s (job_id, step, state, attempt, result, begun_at)
  values (p_job_id, p_step, 'confirmed', p_attempt, p_result, now())
  on conflict (job_id, step) do update
  set state = 'confirmed', attempt = excluded.attempt, result = excluded.result, updated_at = now();
  update orbyt.publish_jobs j
  set platform_post_id = p_result ->> 'platform_post_id',
      permalink = coalesce(p_result ->> 'permalink', j.permalink),
      stage = 'verifying',
      error_code = null, error_message = null, retryable = null
  where j.job_id = p_job_id
  returning * into v_job;
  perform orbyt_private.add_event(v_job, 'confirmed', null, pg_catalog.jsonb_build_object('platform_post_id', v_job.platform_post_id));
  return 'ok';
end
$$;
comment on function orbyt_private.confirm_publish(uuid, integer, text, jsonb) is
  'The visible call was answered (or reconcile found the post): keep its id before anything else happens.';

create function orbyt_private.unbegin_publish(p_job_id uuid, p_attempt integer, p_step text, p_forget_steps text[] default '{}')
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  v_job := orbyt_private.lock_attempt(p_job_id, p_attempt);
  if v_job.job_id is null then
    return 'stale';
  end if;
  update orbyt_private.job_steps s
  set state = 'saved', begun_at = null, call_timeout = null, updated_at = now()
  where s.job_id = p_job_id and s.step = p_step and s.state = 'begun';
  delete from orbyt_private.job_steps s
  where s.job_id = p_job_id and s.step = any (p_forget_steps) and s.state in ('saved', 'recorded');
  perform orbyt_private.add_event(v_job, 'not_published');
  return 'ok';
end
$$;
comment on function orbyt_private.unbegin_publish(uuid, integer, text, text[]) is
  'Reconcile proved that the visible call did not happen: it may be made again.';

create function orbyt_private.set_progress(p_job_id uuid, p_attempt integer, p_stage text, p_progress integer)
returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform pg_catalog.set_config('orbyt.by_worker', 'on', true);
  update orbyt.publish_jobs j
  set stage = p_stage::orbyt.job_stage, progress = greatest(j.progress, least(p_progress, 99))
  where j.job_id = p_job_id and j.attempt = p_attempt and j.status = 'publishing';
  return case when found then 'ok' else 'stale' end;
end
$$;
comment on function orbyt_private.set_progress(uuid, integer, text, integer) is
  'Stage and percent for the user. The worker calls it rarely: the row is replicated to phones.';

-- Put a job back with a later run_at: a wait (nothing went wrong), or the next try after a failure.
create function orbyt_private.put_back(
  p_job_id uuid, p_attempt integer, p_seconds double precision, p_phase text, p_stage text,
  p_code text default null, p_message text default null, p_counts boolean default false, p_detail jsonb default '{}',
  p_now timestamptz default now()
)
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
  v_old_phase orbyt_private.job_phase;
  v_started boolean;
  v_run_at timestamptz := p_now + pg_catalog.make_interval(secs => greatest(p_seconds, 0));
begin
  v_job := orbyt_private.lock_attempt(p_job_id, p_attempt);
  if v_job.job_id is null then
    return 'stale';
  end if;
  select q.phase into v_old_phase from orbyt_private.job_queue q where q.job_id = p_job_id;
  update orbyt_private.job_queue q
  set worker_id = null, claimed_at = null, phase = p_phase::orbyt_private.job_phase,
      failures = q.failures + case when p_counts then 1 else 0 end
  where q.job_id = p_job_id
  returning q.started into v_started;
  update orbyt.publish_jobs j
  set status = case when v_started then 'publishing' else 'queued' end::orbyt.job_status,
      run_at = v_run_at,
      stage = p_stage::orbyt.job_stage,
      error_code = orbyt_private.known_code(p_code),
      error_message = p_message,
      retryable = case when p_code is null then null else true end
  where j.job_id = p_job_id
  returning * into v_job;
  if v_old_phase is distinct from p_phase::orbyt_private.job_phase then
    perform orbyt_private.refresh_lanes(array[v_job.account_id], array[v_old_phase]);
  end if;
  -- Plain waiting (polling a platform, the next phase) is not worth a line each.
  if p_code is not null then
    perform orbyt_private.add_event(
      v_job, case when p_counts then 'retrying' else 'waiting' end, p_code,
      coalesce(p_detail, '{}') || pg_catalog.jsonb_build_object('run_at', v_run_at));
  end if;
  return 'ok';
end
$$;
comment on function orbyt_private.put_back(uuid, integer, double precision, text, text, text, text, boolean, jsonb, timestamptz) is
  'Give the claim back and come again in p_seconds. Waiting costs no slot; only p_counts adds to the failures of the job.';

create function orbyt_private.succeed_job(p_job_id uuid, p_attempt integer, p_published_at timestamptz, p_code text default null, p_message text default null)
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  v_job := orbyt_private.lock_attempt(p_job_id, p_attempt);
  if v_job.job_id is null then
    return 'stale';
  end if;
  update orbyt_private.job_queue q set worker_id = null where q.job_id = p_job_id;
  update orbyt.publish_jobs j
  set status = 'published', published_at = p_published_at, progress = 100,
      error_code = orbyt_private.known_code(p_code), error_message = p_message, retryable = case when p_code is null then null else false end,
      needs_reauth = false
  where j.job_id = p_job_id
  returning * into v_job;
  perform orbyt_private.add_event(v_job, 'published', p_code);
  return 'ok';
end
$$;
comment on function orbyt_private.succeed_job(uuid, integer, timestamptz, text, text) is
  'The post is out. A code here is a remark on a published post (privacy differs), not a failure.';

create function orbyt_private.fail_job(p_job_id uuid, p_attempt integer, p_code text, p_message text, p_detail jsonb default '{}')
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  v_job := orbyt_private.lock_attempt(p_job_id, p_attempt);
  if v_job.job_id is null then
    return 'stale';
  end if;
  -- A post that may be out is never filed under "failed, not published".
  if orbyt_private.publish_is_open(p_job_id) then
    return orbyt_private.hold_job(p_job_id, p_attempt, 'outcome_unknown', orbyt_private.catalog_message('outcome_unknown', null),
                                  p_detail || pg_catalog.jsonb_build_object('cause', p_code));
  end if;
  update orbyt_private.job_queue q set worker_id = null where q.job_id = p_job_id;
  update orbyt.publish_jobs j
  set status = 'failed', error_code = orbyt_private.known_code(p_code), error_message = p_message, retryable = false,
      needs_reauth = coalesce((select e.needs_reauth from orbyt.error_catalog e where e.code = p_code), false)
  where j.job_id = p_job_id
  returning * into v_job;
  perform orbyt_private.add_event(v_job, 'failed', p_code, p_detail);
  return 'ok';
end
$$;
comment on function orbyt_private.fail_job(uuid, integer, text, text, jsonb) is
  'The job will not be published. If a visible call is open it is held as outcome_unknown instead.';

create function orbyt_private.hold_job(p_job_id uuid, p_attempt integer, p_code text, p_message text, p_detail jsonb default '{}')
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  v_job := orbyt_private.lock_attempt(p_job_id, p_attempt);
  if v_job.job_id is null then
    return 'stale';
  end if;
  update orbyt_private.job_queue q set worker_id = null, claimed_at = null where q.job_id = p_job_id;
  update orbyt.publish_jobs j
  set status = 'held', error_code = orbyt_private.known_code(p_code), error_message = p_message, retryable = false,
      needs_reauth = coalesce((select e.needs_reauth from orbyt.error_catalog e where e.code = p_code), false)
  where j.job_id = p_job_id
  returning * into v_job;
  perform orbyt_private.add_event(v_job, 'held', p_code, p_detail);
  return 'ok';
end
$$;
comment on function orbyt_private.hold_job(uuid, integer, text, text, jsonb) is 'Somebody has to act before this job can go on.';

create function orbyt_private.release_job(p_job_id uuid, p_now timestamptz default now())
returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  select * into v_job from orbyt.publish_jobs j where j.job_id = p_job_id and j.status = 'held' for update;
  if v_job.job_id is null then
    return false;
  end if;
  -- Missed its time while it was held: not sent late in a burst.
  if v_job.expires_at <= p_now and not orbyt_private.publish_is_open(p_job_id) and not orbyt_private.was_published(p_job_id) then
    update orbyt.publish_jobs j
    set status = 'failed', error_code = 'deadline_missed', error_message = orbyt_private.catalog_message('deadline_missed', null),
        retryable = false, needs_reauth = false
    where j.job_id = p_job_id
    returning * into v_job;
    perform orbyt_private.add_event(v_job, 'failed', 'deadline_missed');
    return true;
  end if;
  update orbyt_private.job_queue q set failures = 0 where q.job_id = p_job_id;
  update orbyt.publish_jobs j
  set status = case when q.started then 'publishing' else 'queued' end::orbyt.job_status,
      run_at = p_now, error_code = null, error_message = null, retryable = null, needs_reauth = false
  from orbyt_private.job_queue q
  where j.job_id = p_job_id and q.job_id = p_job_id
  returning j.* into v_job;
  perform orbyt_private.add_event(v_job, 'released');
  perform pg_catalog.pg_notify('orbyt_jobs', '');
  return true;
end
$$;
comment on function orbyt_private.release_job(uuid, timestamptz) is
  'Let a held job go on. A job with an open visible call looks at the platform first; it is never just sent again.';

create function orbyt_private.give_back(p_worker_id uuid)
returns integer
language plpgsql
security definer
set search_path = ''
as $$
begin
  -- Same road as for a dead worker, only at once: the lease is ended first.
  update orbyt_private.workers w set lease_until = least(w.lease_until, now() - interval '1 millisecond') where w.worker_id = p_worker_id;
  return orbyt_private.take_back(now(), 1000);
end
$$;
comment on function orbyt_private.give_back(uuid) is 'A worker that stops gives back whatever it still holds.';

-- Accounts: block and unblock ---------------------------------------------------------------------------------------------

create function orbyt_private.hold_account_jobs(p_account_id uuid, p_limit integer default 200)
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_account orbyt.accounts;
  v_code text;
  v_count integer;
begin
  select * into v_account from orbyt.accounts a where a.account_id = p_account_id;
  if v_account.status is null or v_account.status = 'active' then
    return 0;
  end if;
  v_code := case when v_account.status = 'disconnected' then 'account_disconnected' else 'account_needs_reauth' end;
  with picked as (
    select q.job_id, q.started and orbyt_private.was_published(q.job_id) as published
    from orbyt_private.job_queue q
    join orbyt.publish_jobs j on j.job_id = q.job_id
    where q.account_id = p_account_id and q.worker_id is null and q.run_at is not null
    order by q.phase, q.run_at
    limit p_limit
    for update of q, j skip locked
  ), changed as (
    -- A post that is out already and only waits to be verified stays published; that it could not be verified is a remark.
    update orbyt.publish_jobs j
    set status = case when p.published then 'published' else 'held' end::orbyt.job_status,
        published_at = case when p.published then coalesce(j.published_at, greatest(j.publish_at, now())) else j.published_at end,
        error_code = v_code, error_message = orbyt_private.catalog_message(v_code, null), retryable = false,
        needs_reauth = not p.published and v_account.status = 'needs_reauth'
    from picked p
    where j.job_id = p.job_id
    returning j.job_id, j.user_id, j.status, j.stage, j.attempt
  ), noted as (
    insert into orbyt.job_events (job_id, user_id, event, status, stage, attempt, error_code)
    select c.job_id, c.user_id, c.status::text, c.status, c.stage, c.attempt, v_code from changed c
    returning 1
  )
  select count(*) into v_count from noted;
  return v_count;
end
$$;
comment on function orbyt_private.hold_account_jobs(uuid, integer) is 'Hold a batch of the waiting jobs of an account that cannot be used. Returns how many.';

create function orbyt_private.release_account_jobs(p_account_id uuid, p_limit integer default 200)
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job_id uuid;
  v_count integer := 0;
begin
  for v_job_id in
    select j.job_id
    from orbyt.publish_jobs j
    join orbyt_private.job_queue q on q.job_id = j.job_id
    where q.account_id = p_account_id and q.run_at is null and q.worker_id is null
      and j.status = 'held' and (j.needs_reauth or j.error_code = 'account_disconnected')
    order by j.publish_at
    limit p_limit
    for update of j skip locked
  loop
    perform orbyt_private.release_job(v_job_id);
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function orbyt_private.release_account_jobs(uuid, integer) is 'Release a batch of the jobs that were held because of their account. Returns how many.';
create index job_queue_held_idx on orbyt_private.job_queue (account_id) where run_at is null and worker_id is null;

create function orbyt_private.accounts_before_update()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if new is distinct from old then
    new.version := old.version + 1;
    new.updated_at := now();
    if new.status = 'active' then
      new.error_code := null;
    elsif new.status = 'needs_reauth' and new.error_code is null then
      new.error_code := 'account_needs_reauth';
    end if;
  end if;
  return new;
end
$$;
comment on function orbyt_private.accounts_before_update() is 'Version and time stamps; a status of its own makes error_code consistent.';

create function orbyt_private.accounts_after_update()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  if new.status is not distinct from old.status then
    return null;
  end if;
  update orbyt_private.lanes l
  set blocked_until = case when new.status = 'active' then null else 'infinity'::timestamptz end
  where l.account_id = new.account_id;
  -- The first batch at once, so that the user sees it; upkeep does the rest.
  insert into orbyt_private.account_changes as c (account_id) values (new.account_id)
  on conflict (account_id) do update set changed_at = now();
  if new.status = 'active' then
    perform orbyt_private.release_account_jobs(new.account_id);
  else
    perform orbyt_private.hold_account_jobs(new.account_id);
  end if;
  return null;
end
$$;
comment on function orbyt_private.accounts_after_update() is 'An account that cannot be used blocks its lanes and holds its jobs; one that can again releases them.';

create trigger accounts_before_update before update on orbyt.accounts
  for each row execute function orbyt_private.accounts_before_update();
create trigger accounts_after_update after update on orbyt.accounts
  for each row execute function orbyt_private.accounts_after_update();
