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

create function orbyt_private.paused_until(p_account_id uuid, p_phase orbyt_private.job_phase)
returns timestamptz
language sql
stable
set search_path = ''
as $$
  select max(t.until)
  from orbyt_private.throttles t
  where t.scope = 'account' and t.key = p_account_id::text and (t.phase = 'publish' or p_phase <> 'publish')
$$;
comment on function orbyt_private.paused_until(uuid, orbyt_private.job_phase) is
  'Until when an account is left alone in that lane, by a limit or by a person; null if it is not. Its status is another matter.';

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
              else orbyt_private.paused_until(a.account_id, k.phase) end
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
      in_flight_max = coalesce((orbyt_private.setting(l.phase::text || '_in_flight_max'))::integer, l.in_flight_max),
      -- A lane made while the account's status was changing may have been made from the old one.
      blocked_until = (
        select case when a.status <> 'active' then 'infinity'::timestamptz
                    when l.blocked_until = 'infinity' then orbyt_private.paused_until(l.account_id, l.phase)
                    else l.blocked_until end
        from orbyt.accounts a where a.account_id = l.account_id)
  where (l.account_id, l.phase) in (select k.account_id, k.phase from unnest(p_account_ids, p_phases) as k (account_id, phase));
end
$$;
comment on function orbyt_private.refresh_lanes(uuid[], orbyt_private.job_phase[]) is
  'Recompute lanes from the queue (earliest waiting job, number in flight). Recomputing heals itself; counting up and down would not.';

-- Whoever will touch several lanes of an account takes them all first, in order: two that go from lane to lane in opposite
-- directions would wait for each other.
create function orbyt_private.lock_lanes(p_account_id uuid)
returns void
language sql
set search_path = ''
as $$
  select 1 from orbyt_private.lanes l where l.account_id = p_account_id order by l.phase for update
$$;
comment on function orbyt_private.lock_lanes(uuid) is 'Lock all lanes of an account, in order.';

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
  new.expires_at := coalesce(new.expires_at, orbyt_private.later(new.publish_at, interval '24 hours'));

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
      new.expires_at := orbyt_private.later(new.publish_at, interval '24 hours');
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
      new.expires_at := orbyt_private.later(new.publish_at, old.expires_at - old.publish_at);
    end if;
    new.expires_at := coalesce(new.expires_at, orbyt_private.later(new.publish_at, interval '24 hours'));
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
    -- Fence a worker that is still at it. Its visible call may be in flight: nobody looks at the platform before it is over.
    if old.status = 'publishing' and new.attempt = old.attempt
       and exists (select from orbyt_private.job_queue q where q.job_id = old.job_id and q.worker_id is not null) then
      new.attempt := old.attempt + 1;
      if new.run_at is not null then
        new.run_at := greatest(new.run_at, now() + coalesce((
          select max(s.call_timeout) from orbyt_private.job_steps s where s.job_id = old.job_id and s.state = 'begun'), interval '0'));
      end if;
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
  -- Held at once, because of its account; if that is just being reconnected, upkeep finds out.
  insert into orbyt_private.account_changes (account_id)
  select distinct i.account_id from inserted i where i.status = 'held';

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
  where n.status in ('queued', 'publishing') and a.status <> 'active';

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

-- Rows deleted by hand: what a worker had in its hands no longer counts as in flight.
create function orbyt_private.publish_jobs_after_delete()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_accounts uuid[];
  v_phases orbyt_private.job_phase[];
begin
  select pg_catalog.array_agg(k.account_id), pg_catalog.array_agg(k.phase) into v_accounts, v_phases
  from (
    select distinct l.account_id, l.phase
    from before_rows o
    join orbyt_private.lanes l on l.account_id = o.account_id
    where o.status in ('queued', 'publishing', 'held')
  ) k;
  if v_accounts is not null then
    perform orbyt_private.refresh_lanes(v_accounts, v_phases);
  end if;
  return null;
end
$$;
comment on function orbyt_private.publish_jobs_after_delete() is 'Recompute the lanes of deleted open jobs.';
create trigger publish_jobs_after_delete after delete on orbyt.publish_jobs
  referencing old table as before_rows
  for each statement execute function orbyt_private.publish_jobs_after_delete();
