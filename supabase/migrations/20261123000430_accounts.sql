-- Orbyt: an account that cannot be used holds its jobs; one that can again releases them.

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

create function orbyt_private.cancel_account_jobs(p_account_id uuid, p_limit integer default 200)
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_jobs uuid[];
  v_count integer;
begin
  -- Two statements: only one that begins after the rows are locked sees every call that was begun before.
  select pg_catalog.array_agg(x.job_id) into v_jobs
  from (
    select q.job_id
    from orbyt_private.job_queue q
    join orbyt.publish_jobs j on j.job_id = q.job_id
    where q.account_id = p_account_id
      and not orbyt_private.publish_is_open(q.job_id) and not orbyt_private.was_published(q.job_id)
    order by q.job_id
    limit p_limit
    for update of j, q skip locked
  ) x;
  with changed as (
    update orbyt.publish_jobs j
    set status = 'cancelled', error_code = null, error_message = null
    where j.job_id = any (v_jobs) and not orbyt_private.publish_is_open(j.job_id) and not orbyt_private.was_published(j.job_id)
    returning j.job_id, j.user_id, j.status, j.stage, j.attempt
  ), noted as (
    insert into orbyt.job_events (job_id, user_id, event, status, stage, attempt)
    select c.job_id, c.user_id, 'cancelled', c.status, c.stage, c.attempt from changed c
    returning 1
  )
  select count(*) into v_count from noted;
  return v_count;
end
$$;
comment on function orbyt_private.cancel_account_jobs(uuid, integer) is
  'Cancel a batch of the open jobs of an account. Those whose visible call was begun stay. Returns how many.';

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
  perform orbyt_private.lock_lanes(p_account_id);
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
declare
  v_batch integer := 200;
  v_cancel boolean;
begin
  if new.status is not distinct from old.status then
    return null;
  end if;
  perform orbyt_private.lock_lanes(new.account_id);
  update orbyt_private.lanes l
  -- Whoever comes back is still left alone as long as the account is paused or limited.
  set blocked_until = case when new.status <> 'active' then 'infinity'::timestamptz
                           else orbyt_private.paused_until(new.account_id, l.phase) end
  where l.account_id = new.account_id;
  -- The first batch at once, so that the user sees it; upkeep does the rest.
  v_cancel := new.status = 'disconnected' and coalesce(pg_catalog.current_setting('orbyt.disconnect_jobs', true), '') = 'cancel';
  insert into orbyt_private.account_changes (account_id, cancel) values (new.account_id, v_cancel);
  if new.status = 'active' then
    perform orbyt_private.release_account_jobs(new.account_id);
  elsif not v_cancel or orbyt_private.cancel_account_jobs(new.account_id, v_batch) < v_batch then
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
