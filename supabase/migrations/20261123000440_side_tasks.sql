-- Orbyt: side tasks. What is done around a post that is out has rows of its own; nothing here touches the job's status.

create function orbyt_private.begin_side_task(p_job_id uuid, p_attempt integer, p_task text,
  out answer text, out tries integer, out age_seconds double precision)
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  v_job := orbyt_private.lock_attempt(p_job_id, p_attempt);
  if v_job.job_id is null then
    answer := 'stale';
    return;
  end if;
  insert into orbyt.side_tasks as t (job_id, task, user_id, tries)
  values (p_job_id, p_task, v_job.user_id, 1)
  on conflict (job_id, task) do update
  set tries = t.tries + 1, version = t.version + 1, updated_at = now()
  returning t.tries, extract(epoch from now() - t.created_at)::double precision into begin_side_task.tries, begin_side_task.age_seconds;
  answer := 'ok';
end
$$;
comment on function orbyt_private.begin_side_task(uuid, integer, text) is
  'A try of a side task begins: how many there were with this one, and the age of the first. ok or stale.';

create function orbyt_private.note_side_task(p_job_id uuid, p_attempt integer, p_task text, p_status text,
  p_code text default null, p_message text default null)
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
  update orbyt.side_tasks t
  set status = p_status::orbyt.side_task_status, error_code = orbyt_private.known_code(p_code), error_message = p_message,
      version = t.version + 1, updated_at = now()
  where t.job_id = p_job_id and t.task = p_task;
  if p_status = 'done' then
    perform orbyt_private.add_event(v_job, 'side_task_done', null, pg_catalog.jsonb_build_object('task', p_task));
  elsif p_status = 'failed' then
    perform orbyt_private.add_event(v_job, 'side_task_failed', p_code, pg_catalog.jsonb_build_object('task', p_task));
  end if;
  return 'ok';
end
$$;
comment on function orbyt_private.note_side_task(uuid, integer, text, text, text, text) is
  'How a side task stands: pending (it is tried again), done, or failed with a code. The job is not touched.';
