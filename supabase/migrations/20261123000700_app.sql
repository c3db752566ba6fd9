-- Orbyt: what the app calls. Thin `security invoker` functions in `orbyt` over private ones that check ownership first
-- (Supabase lints 0028 and 0029 want no definer function in an exposed schema). Arguments are named like the fields, because the app
-- passes them by name.

-- Whose job it is: the signed-in user's. A server with the secret key (service_role, no auth.uid()) may act for anybody.
create function orbyt_private.own_job(p_job_id uuid)
returns orbyt.publish_jobs
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  select * into v_job from orbyt.publish_jobs j where j.job_id = p_job_id for update;
  if v_job.job_id is null
     or (v_job.user_id is distinct from auth.uid() and coalesce(auth.role(), '') <> 'service_role' and session_user <> 'postgres') then
    perform orbyt_private.raise_error('job_not_found', 'job_id');
  end if;
  return v_job;
end
$$;
comment on function orbyt_private.own_job(uuid) is 'Lock a job of the caller; somebody else''s is answered like one that does not exist.';

create function orbyt_private.cancel_own_job(p_job_id uuid)
returns orbyt.publish_jobs
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs := orbyt_private.own_job(p_job_id);
begin
  if v_job.status = 'cancelled' then
    return v_job;
  end if;
  if v_job.status in ('published', 'failed') or orbyt_private.was_published(p_job_id) then
    perform orbyt_private.raise_error('job_already_finished', 'job_id');
  end if;
  if orbyt_private.publish_is_open(p_job_id) then
    perform orbyt_private.raise_error('publish_in_progress', 'job_id');
  end if;
  update orbyt.publish_jobs j
  set status = 'cancelled', error_code = null, error_message = null
  where j.job_id = p_job_id
  returning * into v_job;
  perform orbyt_private.add_event(v_job, 'cancelled');
  return v_job;
end
$$;
comment on function orbyt_private.cancel_own_job(uuid) is 'Cancel before the visible call. A worker that is preparing it is fenced and stops.';

create function orbyt_private.retry_own_job(p_job_id uuid)
returns orbyt.publish_jobs
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs := orbyt_private.own_job(p_job_id);
  v_account orbyt.accounts;
begin
  if v_job.status in ('queued', 'publishing') then
    return v_job;
  end if;
  if v_job.status in ('published', 'cancelled') then
    perform orbyt_private.raise_error('job_already_finished', 'job_id');
  end if;
  -- Live on the platform, refused there afterwards: sending the same again would only double it.
  if orbyt_private.was_published(p_job_id) then
    perform orbyt_private.raise_error('job_not_retryable', 'job_id', v_job.error_code);
  end if;
  select * into v_account from orbyt.accounts a where a.account_id = v_job.account_id;
  if v_account.status = 'disconnected' then
    perform orbyt_private.raise_error('account_disconnected', 'account_id');
  end if;
  if v_account.status = 'needs_reauth' then
    perform orbyt_private.raise_error('account_needs_reauth', 'account_id');
  end if;
  update orbyt.publish_jobs j set status = 'queued' where j.job_id = p_job_id returning * into v_job;
  update orbyt_private.job_queue q set failures = 0 where q.job_id = p_job_id;
  perform orbyt_private.add_event(v_job, 'retried');
  return v_job;
end
$$;
comment on function orbyt_private.retry_own_job(uuid) is
  'Try a failed or held job again, from where it stopped. If its outcome is unknown, the worker looks at the platform first and never just sends again.';

create function orbyt_private.reschedule_own_job(p_job_id uuid, p_publish_at timestamptz, p_expires_at timestamptz)
returns orbyt.publish_jobs
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs := orbyt_private.own_job(p_job_id);
begin
  if v_job.status = 'publishing' then
    perform orbyt_private.raise_error('job_already_started', 'job_id');
  end if;
  update orbyt.publish_jobs j
  set publish_at = coalesce(p_publish_at, now()),
      expires_at = coalesce(p_expires_at, orbyt_private.later(coalesce(p_publish_at, now()), j.expires_at - j.publish_at))
  where j.job_id = p_job_id
  returning * into v_job;
  perform orbyt_private.add_event(v_job, 'rescheduled');
  return v_job;
end
$$;
comment on function orbyt_private.reschedule_own_job(uuid, timestamptz, timestamptz) is 'Move a job that has not been started to another time.';

create function orbyt_private.check_own_post(
  p_account_id uuid, p_kind orbyt.post_kind, p_title text, p_caption text, p_media jsonb, p_options jsonb,
  p_publish_at timestamptz, p_expires_at timestamptz, p_storage_problems jsonb default '[]'
)
returns jsonb
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
  v_account orbyt.accounts;
  v_problems jsonb := '[]';
  v_publish_at timestamptz := coalesce(p_publish_at, now());
begin
  select * into v_account from orbyt.accounts a
  where a.account_id = p_account_id and (a.user_id = auth.uid() or coalesce(auth.role(), '') = 'service_role' or session_user = 'postgres');
  if v_account.account_id is null then
    v_problems := pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('code', 'account_not_found', 'field', 'account_id', 'detail', ''));
  else
    if v_account.status <> 'active' then
      -- The insert is accepted for an account that has to be reconnected: the job waits for it. Worth knowing before, all the same.
      v_problems := v_problems || pg_catalog.jsonb_build_object(
        'code', case when v_account.status = 'disconnected' then 'account_disconnected' else 'account_needs_reauth' end,
        'field', 'account_id', 'detail', '', 'blocking', v_account.status = 'disconnected');
    end if;
    if not exists (select from orbyt.platforms p where p.platform = v_account.platform and p.enabled) then
      v_problems := v_problems || pg_catalog.jsonb_build_object('code', 'platform_not_configured', 'field', 'account_id', 'detail', '');
    end if;
    v_problems := v_problems || coalesce((
      select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('code', c.code, 'field', c.field, 'detail', c.detail))
      from orbyt_private.check_content(
        v_account.platform, p_kind, p_title, p_caption, coalesce(p_media, '[]'::jsonb), coalesce(p_options, '{}'::jsonb),
        v_publish_at, coalesce(p_expires_at, orbyt_private.later(v_publish_at, interval '24 hours'))) c), '[]'::jsonb) || p_storage_problems;
  end if;
  return (
    select coalesce(pg_catalog.jsonb_agg('{"blocking": true}'::jsonb || x.problem || pg_catalog.jsonb_build_object(
             'title', e.title, 'what_happened', e.what_happened, 'what_to_do', e.what_to_do, 'action', e.action) order by x.n), '[]'::jsonb)
    from pg_catalog.jsonb_array_elements(v_problems) with ordinality as x (problem, n)
    left join orbyt.error_catalog e on e.code = x.problem ->> 'code');
end
$$;
comment on function orbyt_private.check_own_post(uuid, orbyt.post_kind, text, text, jsonb, jsonb, timestamptz, timestamptz, jsonb) is
  'All problems of a post, as an array of {code, field, detail, blocking, title, what_happened, what_to_do, action}; without a blocking one the insert will be accepted. What the caller cannot read in Storage only the caller''s role can tell, so it is given.';

-- The RPCs ------------------------------------------------------------------------------------------------------------------

create function orbyt.cancel_job(job_id uuid)
returns orbyt.publish_jobs
language sql
security invoker
set search_path = ''
as $$ select r.* from orbyt_private.cancel_own_job($1) as r $$;
comment on function orbyt.cancel_job(uuid) is
  'Cancel a job that is not public yet. Errors: job_not_found, job_already_finished, publish_in_progress. Safe to repeat.';

create function orbyt.retry_job(job_id uuid)
returns orbyt.publish_jobs
language sql
security invoker
set search_path = ''
as $$ select r.* from orbyt_private.retry_own_job($1) as r $$;
comment on function orbyt.retry_job(uuid) is
  'Try a failed or held job again, from where it stopped. Errors: job_not_found, job_already_finished, job_not_retryable, account_needs_reauth, account_disconnected. Safe to repeat.';

create function orbyt.reschedule_job(job_id uuid, publish_at timestamptz, expires_at timestamptz default null)
returns orbyt.publish_jobs
language sql
security invoker
set search_path = ''
as $$ select r.* from orbyt_private.reschedule_own_job($1, $2, $3) as r $$;
comment on function orbyt.reschedule_job(uuid, timestamptz, timestamptz) is
  'Move a job that has not been started. Errors: job_not_found, job_already_started, job_already_finished, publish_at_invalid, expires_at_invalid. Safe to repeat.';

create function orbyt.check_post(
  account_id uuid, kind orbyt.post_kind, title text default null, caption text default null, media jsonb default '[]',
  options jsonb default '{}', publish_at timestamptz default null, expires_at timestamptz default null
)
returns jsonb
language sql
stable
security invoker
set search_path = ''
as $$
  select orbyt_private.check_own_post($1, $2, $3, $4, $5, $6, $7, $8, (
    select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('code', p.code, 'field', p.field, 'detail', p.detail)), '[]'::jsonb)
    from orbyt_private.storage_problems($5) p))
$$;
comment on function orbyt.check_post(uuid, orbyt.post_kind, text, text, jsonb, jsonb, timestamptz, timestamptz) is
  'Pre-flight without inserting: every problem the insert would be refused for, with the field to mark; blocking is false where the job would be accepted and wait for its account. An empty array means fine.';

-- For people with the SQL editor --------------------------------------------------------------------------------------------

create function orbyt_private.mark_as_published(p_job_id uuid, p_platform_post_id text default null, p_permalink text default null)
returns orbyt.publish_jobs
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  update orbyt.publish_jobs j
  set status = 'published', published_at = coalesce(j.published_at, now()),
      platform_post_id = coalesce(p_platform_post_id, j.platform_post_id), permalink = coalesce(p_permalink, j.permalink),
      error_code = null, error_message = null, retryable = null, needs_reauth = false
  where j.job_id = p_job_id and j.status in ('held', 'failed')
  returning * into v_job;
  if v_job.job_id is null then
    perform orbyt_private.raise_error('job_not_found', 'job_id');
  end if;
  perform orbyt_private.add_event(v_job, 'marked_as_published');
  return v_job;
end
$$;
comment on function orbyt_private.mark_as_published(uuid, text, text) is
  'A person looked at the platform and the post of a held or failed job is there.';

create function orbyt_private.mark_as_not_published(p_job_id uuid)
returns orbyt.publish_jobs
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  select * into v_job from orbyt.publish_jobs j where j.job_id = p_job_id and j.status = 'held' for update;
  if v_job.job_id is null then
    perform orbyt_private.raise_error('job_not_found', 'job_id');
  end if;
  -- A person vouches for it: start over from the first step.
  delete from orbyt_private.job_steps s where s.job_id = p_job_id;
  update orbyt_private.job_queue q set started = false, failures = 0 where q.job_id = p_job_id;
  perform orbyt_private.add_event(v_job, 'marked_as_not_published');
  update orbyt.publish_jobs j set status = 'queued' where j.job_id = p_job_id returning * into v_job;
  return v_job;
end
$$;
comment on function orbyt_private.mark_as_not_published(uuid) is
  'A person looked at the platform and the post of a held job is not there: it is published anew, from the first step.';

create function orbyt_private.release_by_code(p_code text, p_limit integer default 500)
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
    select x.job_id
    from (
      select j.job_id, j.account_id from orbyt.publish_jobs j
      where j.error_code = p_code and j.status = 'held'
      order by j.publish_at limit p_limit
    ) x
    order by x.account_id, x.job_id
  loop
    perform orbyt_private.release_job(v_job_id);
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function orbyt_private.release_by_code(text, integer) is 'Release all jobs held for one cause, oldest first.';

create function orbyt_private.retry_by_code(p_code text, p_limit integer default 500)
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
  v_count integer := 0;
begin
  for v_job in
    select * from orbyt.publish_jobs j
    where j.error_code = p_code and j.status = 'failed' and not orbyt_private.was_published(j.job_id)
    order by j.publish_at limit p_limit
    for update
  loop
    update orbyt.publish_jobs j set status = 'queued' where j.job_id = v_job.job_id returning * into v_job;
    perform orbyt_private.add_event(v_job, 'retried');
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function orbyt_private.retry_by_code(text, integer) is 'Try again all jobs that failed for one cause and certainly were not published.';
