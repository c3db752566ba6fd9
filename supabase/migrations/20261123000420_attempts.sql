-- Orbyt: what an attempt may write.
--
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
  for update;
  -- A statement of its own, after the lock: the first one may have waited for a take-back, and would still see the claim.
  if v_job.job_id is not null
     and not exists (select from orbyt_private.job_queue q where q.job_id = p_job_id and q.worker_id is not null) then
    v_job := null;
  end if;
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
  -- Sealed with a key that is gone: a worker that was frozen. The job comes back by itself, and is then sealed with the new one.
  if p_key_id is not null and not orbyt_private.hold_keys(array[p_key_id]) then
    return 'stale';
  end if;
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
  -- Read back from the platform after the post was out: the user sees it at once.
  if p_done and p_result ->> 'permalink' is not null and orbyt_private.was_published(p_job_id) then
    update orbyt.publish_jobs j
    set permalink = p_result ->> 'permalink'
    where j.job_id = p_job_id and j.permalink is distinct from p_result ->> 'permalink';
  end if;
  -- A step was recorded: the job gets on, so earlier losses no longer count.
  update orbyt_private.job_queue q
  set started = q.started or p_step <> 'inspect', losses = 0
  where q.job_id = p_job_id and (q.losses > 0 or q.started <> (q.started or p_step <> 'inspect'));
  return 'ok';
end
$$;
comment on function orbyt_private.save_step(uuid, integer, text, boolean, jsonb, bytea, text) is
  'Journal a step: partial result (p_done false) or final. A secret given earlier is kept when none is given now; one sealed with a retired key is stale. A permalink found after the visible call goes to the row.';

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
declare
  v_job orbyt.publish_jobs;
begin
  v_job := orbyt_private.lock_attempt(p_job_id, p_attempt);
  if v_job.job_id is null then
    return 'stale';
  end if;
  -- Workers write once a second at most; whoever does not keep to it must not flood the phones of its users. The next report tells.
  if v_job.stage = p_stage::orbyt.job_stage and v_job.error_code is null and v_job.updated_at > pg_catalog.clock_timestamp() - interval '0.8 seconds' then
    return 'ok';
  end if;
  -- A problem that was waited out is over as soon as the work goes on.
  update orbyt.publish_jobs j
  set stage = p_stage::orbyt.job_stage, progress = greatest(j.progress, least(p_progress, 99)),
      error_code = case when p_stage in ('waiting', 'preparing') then j.error_code end,
      error_message = case when p_stage in ('waiting', 'preparing') then j.error_message end,
      retryable = case when p_stage in ('waiting', 'preparing') then j.retryable end
  where j.job_id = p_job_id;
  return 'ok';
end
$$;
comment on function orbyt_private.set_progress(uuid, integer, text, integer) is
  'Stage and percent for the user. The worker calls it rarely, because the row is replicated to phones; the same stage again within 0.8 seconds is not written.';

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
  if v_old_phase is distinct from p_phase::orbyt_private.job_phase then
    perform orbyt_private.lock_lanes(v_job.account_id);
  end if;
  update orbyt_private.job_queue q
  set worker_id = null, claimed_at = null, losses = 0, phase = p_phase::orbyt_private.job_phase,
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

create function orbyt_private.fail_job(
  p_job_id uuid, p_attempt integer, p_code text, p_message text, p_detail jsonb default '{}', p_never_visible boolean default false
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
  -- The platform itself says that what it accepted never appeared. Who retries it begins anew: nothing of it can be used again.
  if p_never_visible then
    delete from orbyt_private.job_steps s where s.job_id = p_job_id;
    update orbyt.publish_jobs j set platform_post_id = null, permalink = null where j.job_id = p_job_id;
  end if;
  -- A post that is out is never filed as not published: what went wrong afterwards is a remark.
  if orbyt_private.was_published(p_job_id)
     and coalesce((select e.outcome from orbyt.error_catalog e where e.code = p_code), 'not_published') <> 'published' then
    return orbyt_private.succeed_job(p_job_id, p_attempt, now(), p_code, p_message);
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
comment on function orbyt_private.fail_job(uuid, integer, text, text, jsonb, boolean) is
  'The job will not be published. If a visible call is open it is held as outcome_unknown instead. p_never_visible: an accepted post that the platform itself says never appeared.';

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
  -- A post that is out is never filed as not published: what went wrong afterwards is a remark.
  if orbyt_private.was_published(p_job_id)
     and coalesce((select e.outcome from orbyt.error_catalog e where e.code = p_code), 'not_published') <> 'published' then
    return orbyt_private.succeed_job(p_job_id, p_attempt, now(), p_code, p_message);
  end if;
  update orbyt_private.job_queue q set worker_id = null, claimed_at = null where q.job_id = p_job_id;
  update orbyt.publish_jobs j
  set status = 'held', error_code = orbyt_private.known_code(p_code), error_message = p_message, retryable = false,
      needs_reauth = coalesce((select e.needs_reauth from orbyt.error_catalog e where e.code = p_code), false)
  where j.job_id = p_job_id
  returning * into v_job;
  perform orbyt_private.add_event(v_job, 'held', p_code, p_detail);
  -- The refusal may belong to a grant that was replaced meanwhile: upkeep looks at the account as it is now.
  if v_job.needs_reauth or p_code = 'account_disconnected' then
    insert into orbyt_private.account_changes (account_id) values (v_job.account_id);
  end if;
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
  update orbyt_private.job_queue q set failures = 0, losses = 0 where q.job_id = p_job_id;
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
