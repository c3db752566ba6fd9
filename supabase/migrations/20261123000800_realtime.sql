-- Orbyt: what a phone hears. The row is the truth, Realtime is a hint.
--
-- Two ways, both work: `postgres_changes` on the tables (publication), and private Broadcast on the user's own topic, for scale.
-- Payloads are small and carry the row's version; they hold no media URLs and no texts.

create function orbyt_private.broadcast(p_user_id uuid, p_event text, p_payload jsonb)
returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
  -- realtime.send never fails its caller; where Realtime is not installed there is nobody to tell.
  -- Owned by postgres: only then may it insert into realtime.messages. Source: supabase/realtime, tenant migrations, read 2026-11.
  if pg_catalog.to_regprocedure('realtime.send(jsonb, text, text, boolean)') is not null then
    perform realtime.send(p_payload, p_event, 'orbyt:' || p_user_id::text, true);
  end if;
end
$$;
comment on function orbyt_private.broadcast(uuid, text, jsonb) is 'Send one message to a user''s private topic orbyt:<user id>.';

create function orbyt_private.publish_jobs_broadcast()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform orbyt_private.broadcast(new.user_id, 'publish_job', pg_catalog.jsonb_build_object(
    'job_id', new.job_id, 'post_id', new.post_id, 'account_id', new.account_id, 'platform', new.platform,
    'status', new.status, 'stage', new.stage, 'progress', new.progress, 'publish_at', new.publish_at, 'run_at', new.run_at,
    'permalink', new.permalink, 'error_code', new.error_code, 'retryable', new.retryable, 'needs_reauth', new.needs_reauth,
    'version', new.version));
  return null;
end
$$;
comment on function orbyt_private.publish_jobs_broadcast() is 'One message per visible change of a job.';

create trigger publish_jobs_broadcast_insert after insert on orbyt.publish_jobs
  for each row execute function orbyt_private.publish_jobs_broadcast();
-- What a person can see: where the job is, and what it is (another device of the same user may show it). Worker-internal are the
-- attempt, and when a job without a problem is looked at next: polling a platform would otherwise be a message every few seconds.
create trigger publish_jobs_broadcast_update after update on orbyt.publish_jobs
  for each row
  when ((old.status, old.stage, old.progress, old.permalink, old.error_code, old.retryable, old.needs_reauth,
         old.kind, old.title, old.caption, old.media, old.options, old.publish_at, old.expires_at, old.published_at,
         case when old.error_code is not null then old.run_at end)
        is distinct from
        (new.status, new.stage, new.progress, new.permalink, new.error_code, new.retryable, new.needs_reauth,
         new.kind, new.title, new.caption, new.media, new.options, new.publish_at, new.expires_at, new.published_at,
         case when new.error_code is not null then new.run_at end))
  execute function orbyt_private.publish_jobs_broadcast();

-- An admin deletes an open job, or one of today's. What upkeep deletes after the retention time nobody has on screen.
create function orbyt_private.publish_jobs_broadcast_delete()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform orbyt_private.broadcast(old.user_id, 'publish_job_deleted', pg_catalog.jsonb_build_object(
    'job_id', old.job_id, 'post_id', old.post_id, 'account_id', old.account_id, 'version', old.version + 1));
  return null;
end
$$;
comment on function orbyt_private.publish_jobs_broadcast_delete() is 'A job is gone. Larger than every version it had.';

create trigger publish_jobs_broadcast_delete after delete on orbyt.publish_jobs
  for each row
  when (old.status in ('queued', 'publishing', 'held') or old.updated_at > now() - interval '1 day')
  execute function orbyt_private.publish_jobs_broadcast_delete();

create function orbyt_private.accounts_broadcast()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform orbyt_private.broadcast(new.user_id, 'account', pg_catalog.jsonb_build_object(
    'account_id', new.account_id, 'platform', new.platform, 'status', new.status, 'error_code', new.error_code, 'version', new.version));
  return null;
end
$$;
comment on function orbyt_private.accounts_broadcast() is 'One message per visible change of an account.';

create trigger accounts_broadcast_insert after insert on orbyt.accounts
  for each row execute function orbyt_private.accounts_broadcast();
create trigger accounts_broadcast_update after update on orbyt.accounts
  for each row
  when ((old.status, old.error_code, old.name, old.handle, old.picture_url, old.scopes)
        is distinct from (new.status, new.error_code, new.name, new.handle, new.picture_url, new.scopes))
  execute function orbyt_private.accounts_broadcast();

create function orbyt_private.side_tasks_broadcast()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform orbyt_private.broadcast(new.user_id, 'side_task', pg_catalog.jsonb_build_object(
    'job_id', new.job_id, 'task', new.task, 'status', new.status, 'error_code', new.error_code, 'version', new.version));
  return null;
end
$$;
comment on function orbyt_private.side_tasks_broadcast() is 'One message per visible change of a side task.';

create trigger side_tasks_broadcast_insert after insert on orbyt.side_tasks
  for each row execute function orbyt_private.side_tasks_broadcast();
create trigger side_tasks_broadcast_update after update on orbyt.side_tasks
  for each row
  when ((old.status, old.error_code) is distinct from (new.status, new.error_code))
  execute function orbyt_private.side_tasks_broadcast();

create function orbyt_private.connect_sessions_broadcast()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform orbyt_private.broadcast(new.user_id, 'connect_session', pg_catalog.jsonb_build_object(
    'session_id', new.session_id, 'platform', new.platform, 'status', new.status, 'error_code', new.error_code, 'version', new.version));
  return null;
end
$$;
comment on function orbyt_private.connect_sessions_broadcast() is 'One message per visible change of a session. The candidates are read from the row.';

create trigger connect_sessions_broadcast_insert after insert on orbyt.connect_sessions
  for each row execute function orbyt_private.connect_sessions_broadcast();
create trigger connect_sessions_broadcast_update after update on orbyt.connect_sessions
  for each row
  when ((old.status, old.error_code) is distinct from (new.status, new.error_code))
  execute function orbyt_private.connect_sessions_broadcast();

do $$
begin
  if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    if not exists (select from pg_catalog.pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'orbyt' and tablename = 'publish_jobs') then
      alter publication supabase_realtime add table orbyt.publish_jobs;
    end if;
    if not exists (select from pg_catalog.pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'orbyt' and tablename = 'accounts') then
      alter publication supabase_realtime add table orbyt.accounts;
    end if;
    if not exists (select from pg_catalog.pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'orbyt' and tablename = 'side_tasks') then
      alter publication supabase_realtime add table orbyt.side_tasks;
    end if;
    if not exists (select from pg_catalog.pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'orbyt' and tablename = 'connect_sessions') then
      alter publication supabase_realtime add table orbyt.connect_sessions;
    end if;
  end if;
end
$$;

-- Who may execute what. Functions are executable by everybody unless revoked, so: nothing, then by name.
do $$
declare
  v_function record;
begin
  for v_function in
    select p.oid::regprocedure as name
    from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('orbyt', 'orbyt_private')
  loop
    execute 'revoke all on function ' || v_function.name || ' from public, anon, authenticated, service_role, orbyt_worker';
  end loop;
end
$$;

grant execute on function orbyt.cancel_job(uuid), orbyt.retry_job(uuid), orbyt.reschedule_job(uuid, timestamptz, timestamptz),
  orbyt.check_post(uuid, orbyt.post_kind, text, text, jsonb, jsonb, timestamptz, timestamptz),
  orbyt.begin_connect(text, text, text, uuid), orbyt.finish_connect(uuid, text[], text), orbyt.disconnect(uuid, text)
  to authenticated, service_role;
-- Called by the invoker functions above; each checks ownership itself.
grant execute on function orbyt_private.cancel_own_job(uuid), orbyt_private.retry_own_job(uuid),
  orbyt_private.reschedule_own_job(uuid, timestamptz, timestamptz),
  orbyt_private.check_own_post(uuid, orbyt.post_kind, text, text, jsonb, jsonb, timestamptz, timestamptz, jsonb),
  orbyt_private.begin_own_connect(text, text, text, uuid), orbyt_private.finish_own_connect(uuid, text[], text),
  orbyt_private.disconnect_own_account(uuid, text)
  to authenticated, service_role;
-- The callback door that has the secret key (Edge Function); the worker's own door calls the private ones.
grant execute on function orbyt.connect_callback(text, text, text, text), orbyt.callback_key(),
  orbyt_private.connect_callback(text, text, text, text, timestamptz), orbyt_private.callback_key()
  to service_role;
-- What the writer of a row can read in Storage is asked as that role, by check_post and by a trigger.
grant execute on function orbyt_private.percent_decoded(text), orbyt_private.is_public_object(text, text),
  orbyt_private.can_read_object(text, text), orbyt_private.storage_problems(jsonb), orbyt_private.raise_error(text, text, text)
  to authenticated, service_role;

grant execute on function
  orbyt_private.register_worker(uuid, text, text, jsonb, double precision, timestamptz),
  orbyt_private.heartbeat(uuid, double precision, timestamptz),
  orbyt_private.active_key_id(),
  orbyt_private.use_key(uuid, text, timestamptz),
  orbyt_private.take_back(timestamptz, integer),
  orbyt_private.return_jobs(uuid, uuid[], timestamptz),
  orbyt_private.retire_worker(uuid),
  orbyt_private.give_back(uuid, timestamptz),
  orbyt_private.claim_jobs(uuid, integer, integer, double precision, timestamptz),
  orbyt_private.next_due_in_seconds(timestamptz),
  orbyt_private.save_step(uuid, integer, text, boolean, jsonb, bytea, text),
  orbyt_private.forget_steps(uuid, integer, text[]),
  orbyt_private.begin_publish(uuid, integer, text, double precision, timestamptz),
  orbyt_private.confirm_publish(uuid, integer, text, jsonb),
  orbyt_private.unbegin_publish(uuid, integer, text, text[]),
  orbyt_private.set_progress(uuid, integer, text, integer),
  orbyt_private.put_back(uuid, integer, double precision, text, text, text, text, boolean, jsonb, timestamptz),
  orbyt_private.succeed_job(uuid, integer, timestamptz, text, text),
  orbyt_private.fail_job(uuid, integer, text, text, jsonb, boolean),
  orbyt_private.hold_job(uuid, integer, text, text, jsonb),
  orbyt_private.set_throttle(text, text, double precision, text, text, timestamptz),
  orbyt_private.report_outage(text, uuid, timestamptz),
  orbyt_private.report_recovery(text),
  orbyt_private.reserve_quota(text, text, integer, integer, timestamptz),
  orbyt_private.close_quota(text, text, integer, timestamptz),
  orbyt_private.reserve_rolling_quota(text, text, text, integer, integer, timestamptz),
  orbyt_private.close_rolling_quota(text, text, integer, timestamptz),
  orbyt_private.begin_side_task(uuid, integer, text),
  orbyt_private.note_side_task(uuid, integer, text, text, text, text),
  orbyt_private.note_hosted(uuid, integer, text),
  orbyt_private.hosted_to_remove(integer, timestamptz),
  orbyt_private.forget_hosted(text[], timestamptz),
  orbyt_private.expire_jobs(integer, timestamptz),
  orbyt_private.tend_accounts(integer),
  orbyt_private.prune(integer, timestamptz),
  orbyt_private.queue_facts(timestamptz),
  orbyt_private.master_keys(),
  orbyt_private.read_grant(uuid),
  orbyt_private.begin_refresh(uuid, bigint, uuid, double precision, uuid, timestamptz),
  orbyt_private.finish_refresh(uuid, bigint, uuid, jsonb, text[]),
  orbyt_private.fail_refresh(uuid, bigint, uuid, text, double precision),
  orbyt_private.mark_needs_reauth(uuid, bigint, text),
  orbyt_private.accounts_to_refresh(text[], integer, timestamptz),
  orbyt_private.raise_operator_issue(text, text),
  orbyt_private.set_connect_app(text, text[], text, text, text, jsonb, jsonb, boolean, text),
  orbyt_private.keep_connect_apps(text[]),
  orbyt_private.set_connect_return_to(jsonb),
  orbyt_private.set_connect_proof(boolean),
  orbyt_private.add_callback_key(text, jsonb, uuid, bytea, text),
  orbyt_private.read_callback_key(text),
  orbyt_private.callback_key(),
  orbyt_private.connect_facts(),
  orbyt_private.connect_callback(text, text, text, text, timestamptz),
  orbyt_private.claim_connects(uuid, integer, timestamptz),
  orbyt_private.offer_candidates(uuid, integer, jsonb, boolean, jsonb, text[], timestamptz),
  orbyt_private.fail_connect(uuid, integer, text, text),
  orbyt_private.expire_connects(timestamptz, integer),
  orbyt_private.read_account(uuid),
  orbyt_private.accounts_to_check(uuid, integer, double precision, timestamptz),
  orbyt_private.note_check(uuid, bigint, text, double precision, double precision, text[], double precision),
  orbyt_private.accounts_to_revoke(uuid, integer, double precision, timestamptz),
  orbyt_private.note_revoke_failed(uuid, text, double precision),
  orbyt_private.finish_disconnect(uuid, text),
  orbyt_private.disconnect_by_platform_user(text, text, boolean, timestamptz),
  orbyt_private.deletion_status(text),
  orbyt_private.secrets_to_reseal(text, integer, text),
  orbyt_private.reseal(text, bytea, bytea, text),
  orbyt_private.key_status(),
  orbyt_private.wake_media(text[], integer, interval, timestamptz)
  to orbyt_worker;
