-- Orbyt: what an admin sees and does by hand.
--
-- The dashboard's Table Editor writes rows as postgres, past every grant and policy. What it may sensibly change works and stays
-- consistent (triggers of 400_queue and 430_accounts keep queue, lanes and jobs in step); what would lose a post, send one twice or
-- give tokens to somebody else is refused here, with a message that says what to do instead. docs/admin.md lists both.

create function orbyt_private.refuse_edit(p_column text, p_why text)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_entry orbyt.error_catalog;
begin
  select * into v_entry from orbyt.error_catalog e where e.code = 'edit_not_possible';
  -- The Table Editor shows the message and nothing else, so the reason stands in it.
  raise exception using
    errcode = coalesce(v_entry.sqlstate, 'OR000'),
    message = p_column || ': ' || p_why,
    detail = pg_catalog.jsonb_build_object('code', 'edit_not_possible', 'field', p_column)::text,
    hint = coalesce(v_entry.what_to_do, '');
end
$$;
comment on function orbyt_private.refuse_edit(text, text) is 'Refuse an edit by hand (edit_not_possible): the column and what to do instead.';

-- Jobs ---------------------------------------------------------------------------------------------------------------------------

create function orbyt_private.publish_jobs_before_edit()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_open boolean := new.status in ('queued', 'publishing', 'held');
  v_begun boolean;
  v_problem record;
begin
  -- The worker's functions know what they do, and come here far more often than people.
  if coalesce(pg_catalog.current_setting('orbyt.by_worker', true), '') = 'on' then
    return new;
  end if;
  if new.job_id is distinct from old.job_id then
    perform orbyt_private.refuse_edit('job_id', 'it never changes');
  elsif (new.user_id, new.account_id, new.platform) is distinct from (old.user_id, old.account_id, old.platform) then
    perform orbyt_private.refuse_edit(
      case when new.account_id is distinct from old.account_id then 'account_id'
           when new.user_id is distinct from old.user_id then 'user_id' else 'platform' end,
      'a job stays with its account; cancel it and insert another one');
  elsif new.attempt < old.attempt then
    perform orbyt_private.refuse_edit('attempt', 'it only grows, because a late worker is told by it that the job is no longer its own');
  end if;

  if new.status = old.status then
    if new.status in ('queued', 'publishing') then
      new.run_at := coalesce(new.run_at, now());
    elsif new.run_at is not null then
      perform orbyt_private.refuse_edit('run_at', 'only an open job has a time; set status to queued to let it go on');
    end if;
    if new.status in ('failed', 'held') and new.error_code is null then
      perform orbyt_private.refuse_edit('error_code', 'a held or failed job has a cause; set status to queued to let it go on');
    end if;
    if new.status = 'published' and new.published_at is null then
      perform orbyt_private.refuse_edit('published_at', 'a published post has a time');
    end if;
    return new;
  end if;

  -- Another status. What is out is never filed as not published, and never sent again.
  if old.status in ('published', 'cancelled') then
    return new; -- refused by publish_jobs_before_update
  end if;
  if orbyt_private.was_published(old.job_id) then
    if new.status in ('failed', 'cancelled') then
      perform orbyt_private.raise_error('job_already_finished', 'status');
    elsif old.status = 'failed' and v_open then
      perform orbyt_private.raise_error('job_not_retryable', 'status', old.error_code);
    end if;
  end if;
  if new.status = 'failed' and old.status = 'publishing' and orbyt_private.publish_is_open(old.job_id) then
    perform orbyt_private.raise_error('publish_in_progress', 'status');
  end if;

  select exists (select from orbyt_private.job_queue q where q.job_id = old.job_id and q.started)
      or exists (select from orbyt_private.job_steps s where s.job_id = old.job_id and s.step <> 'inspect')
  into v_begun;
  -- Only a worker publishes: by hand it means that the job shall go on.
  if new.status = 'publishing' and not v_begun then
    new.status := 'queued';
  end if;
  -- Held back by a person, without a word why.
  if new.status = 'held' and old.status in ('queued', 'publishing')
     and (new.error_code, new.error_message, new.retryable) is not distinct from (old.error_code, old.error_message, old.retryable) then
    new.error_code := orbyt_private.known_code('held_by_hand');
    new.error_message := orbyt_private.catalog_message('held_by_hand', null);
    new.retryable := false;
  end if;
  if not v_open and (new.kind, new.title, new.caption, new.media, new.options)
      is distinct from (old.kind, old.title, old.caption, old.media, old.options) then
    perform orbyt_private.refuse_edit('status', 'content does not change in the same edit that ends a job');
  end if;
  -- Content and status in one edit: what was begun with the old content would go on with it.
  if v_open and (new.kind, new.title, new.caption, new.media, new.options, new.publish_at)
      is distinct from (old.kind, old.title, old.caption, old.media, old.options, old.publish_at) then
    if v_begun or old.status = 'publishing' then
      perform orbyt_private.raise_error('job_already_started');
    end if;
    select * into v_problem
    from orbyt_private.check_content(
      new.platform, new.kind, new.title, new.caption, new.media, new.options, new.publish_at,
      -- The update trigger moves a deadline that has passed.
      case when new.expires_at <= now() then orbyt_private.later(greatest(now(), new.publish_at), interval '24 hours') else new.expires_at end)
    limit 1;
    if found then
      perform orbyt_private.raise_error(v_problem.code, v_problem.field, v_problem.detail);
    end if;
    delete from orbyt_private.job_steps s where s.job_id = old.job_id;
  end if;
  return new;
end
$$;
comment on function orbyt_private.publish_jobs_before_edit() is
  'Edits of a job by hand: what cannot be is refused with the column and the reason; a job held by hand says so; content changes only before anything was begun.';

-- Its name sorts before publish_jobs_before_update: triggers fire in that order.
create trigger publish_jobs_before_edit before update on orbyt.publish_jobs
  for each row execute function orbyt_private.publish_jobs_before_edit();

create function orbyt_private.publish_jobs_before_delete()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  -- Deleted with its user or its account it goes in any case.
  if pg_catalog.pg_trigger_depth() = 1 and orbyt_private.publish_is_open(old.job_id) then
    perform orbyt_private.raise_error('publish_in_progress', 'job_id');
  end if;
  return old;
end
$$;
comment on function orbyt_private.publish_jobs_before_delete() is
  'A job whose visible call is under way or unanswered is not deleted by hand: nobody would ever know of the post.';

create trigger publish_jobs_before_delete before delete on orbyt.publish_jobs
  for each row when (old.status in ('queued', 'publishing', 'held')) execute function orbyt_private.publish_jobs_before_delete();

-- Accounts -----------------------------------------------------------------------------------------------------------------------

create function orbyt_private.accounts_before_edit()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  if (new.account_id, new.user_id, new.platform) is distinct from (old.account_id, old.user_id, old.platform) then
    perform orbyt_private.refuse_edit(
      case when new.user_id is distinct from old.user_id then 'user_id'
           when new.platform is distinct from old.platform then 'platform' else 'account_id' end,
      'an account stays with its user, because its tokens do; the other user connects it');
  end if;
  if new.status = 'active' and old.status <> 'active'
     and exists (select from orbyt_private.account_grants g where g.account_id = old.account_id and g.revoked_at is not null)
     and not exists (select from orbyt_private.account_secrets s where s.account_id = old.account_id) then
    perform orbyt_private.refuse_edit('status', 'the tokens were destroyed when the account was disconnected; its user has to connect it again');
  end if;
  return new;
end
$$;
comment on function orbyt_private.accounts_before_edit() is
  'Edits of an account by hand: it does not change hands, and it does not become active without tokens.';

create trigger accounts_before_edit before update of account_id, user_id, platform, status on orbyt.accounts
  for each row execute function orbyt_private.accounts_before_edit();

create function orbyt_private.accounts_after_edit()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  -- orbyt.disconnect has noted the wish before it comes here, so this is a person's edit: the grant is ended at the platform and the
  -- tokens are destroyed all the same.
  update orbyt_private.account_grants g
  set version = g.version + 1, refresh_lease_until = null, refresh_lease_id = null, check_lease_until = null,
      revoke_requested_at = case when new.status = 'disconnected' then now() end,
      revoke_tried_at = null, revoke_lease_until = null, revoke_error_code = null
  where g.account_id = new.account_id
    and case when new.status = 'disconnected' then g.revoke_requested_at is null and g.revoked_at is null
             else g.revoke_requested_at is not null end;
  if found and new.status = 'disconnected' and coalesce((orbyt_private.setting('notify'))::boolean, true) then
    perform pg_catalog.pg_notify('orbyt_connect', '');
  end if;
  return null;
end
$$;
comment on function orbyt_private.accounts_after_edit() is
  'An account that is disconnected by hand is treated like one that its user disconnects; one that is made active again keeps its tokens.';

create trigger accounts_after_edit after update of status on orbyt.accounts
  for each row
  when (new.status is distinct from old.status and 'disconnected' in (new.status, old.status))
  execute function orbyt_private.accounts_after_edit();

-- Settings -----------------------------------------------------------------------------------------------------------------------

-- Functions read them on every call: a value of the wrong kind would stop every insert and every claim.
alter table orbyt_private.settings add constraint settings_value_check check (
  case
    when name ~ '_(max|days|minutes)$' then jsonb_typeof(value) = 'number' and value::text ~ '^[0-9]{1,6}$'
    when name in ('notify', 'storage_sources', 'connect_proof') then jsonb_typeof(value) = 'boolean'
    when name = 'connect_return_to' then jsonb_typeof(value) = 'array'
    when name = 'active_key_id' then jsonb_typeof(value) = 'string'
    else true
  end);

-- Views for admins (the dashboard runs as postgres; the app sees its own rows through them) ---------------------------------

create view orbyt.queue_overview with (security_invoker = on) as
select j.platform, j.status, j.stage, j.error_code, count(*) as jobs, min(j.run_at) as next_run_at, min(j.created_at) as oldest_created_at
from orbyt.publish_jobs j
where j.status in ('queued', 'publishing', 'held')
group by j.platform, j.status, j.stage, j.error_code;
comment on view orbyt.queue_overview is 'Open jobs by platform, status, stage and cause.';
comment on column orbyt.queue_overview.platform is 'Platform.';
comment on column orbyt.queue_overview.status is 'Status.';
comment on column orbyt.queue_overview.stage is 'Stage.';
comment on column orbyt.queue_overview.error_code is 'Cause, if something is in the way.';
comment on column orbyt.queue_overview.jobs is 'How many.';
comment on column orbyt.queue_overview.next_run_at is 'When the first of them is looked at next.';
comment on column orbyt.queue_overview.oldest_created_at is 'Oldest of them.';

create view orbyt.jobs_needing_attention with (security_invoker = on) as
select j.job_id, j.account_id, a.name as account_name, j.platform, j.status, j.stage, j.error_code, e.what_happened, e.who_acts, e.what_to_do,
       j.publish_at, j.run_at, j.attempt, j.updated_at
from orbyt.publish_jobs j
join orbyt.accounts a on a.account_id = j.account_id
left join orbyt.error_catalog e on e.code = j.error_code
where j.status = 'held'
  or (j.status in ('queued', 'publishing') and j.run_at < now() - interval '10 minutes' and j.updated_at < now() - interval '10 minutes');
comment on view orbyt.jobs_needing_attention is 'Held jobs, and jobs that should have been taken up more than ten minutes ago and in which nothing has moved since.';
comment on column orbyt.jobs_needing_attention.job_id is 'The job.';
comment on column orbyt.jobs_needing_attention.account_id is 'Its account.';
comment on column orbyt.jobs_needing_attention.account_name is 'Name of the account.';
comment on column orbyt.jobs_needing_attention.platform is 'Platform.';
comment on column orbyt.jobs_needing_attention.status is 'Status.';
comment on column orbyt.jobs_needing_attention.stage is 'Stage.';
comment on column orbyt.jobs_needing_attention.error_code is 'Cause.';
comment on column orbyt.jobs_needing_attention.what_happened is 'The cause in a sentence.';
comment on column orbyt.jobs_needing_attention.who_acts is 'Who has to act.';
comment on column orbyt.jobs_needing_attention.what_to_do is 'What to do.';
comment on column orbyt.jobs_needing_attention.publish_at is 'When it should be public.';
comment on column orbyt.jobs_needing_attention.run_at is 'When it is looked at next.';
comment on column orbyt.jobs_needing_attention.attempt is 'How often it was taken up.';
comment on column orbyt.jobs_needing_attention.updated_at is 'Last change.';

create view orbyt.connection_health with (security_invoker = on) as
select a.account_id, a.user_id, a.platform, a.name, a.status, a.error_code, a.checked_at, a.token_expires_at,
       a.data_access_expires_at,
       pg_catalog.floor(extract(epoch from least(a.token_expires_at, a.data_access_expires_at) - now()) / 86400)::integer as days_left,
       (select count(*) from orbyt.publish_jobs j where j.account_id = a.account_id and j.user_id = a.user_id and j.status in ('queued', 'publishing')) as open_jobs,
       (select count(*) from orbyt.publish_jobs j where j.account_id = a.account_id and j.user_id = a.user_id and j.status = 'held') as held_jobs
from orbyt.accounts a;
comment on view orbyt.connection_health is 'Every account with its state and the jobs that depend on it.';
comment on column orbyt.connection_health.account_id is 'The account.';
comment on column orbyt.connection_health.user_id is 'Owner.';
comment on column orbyt.connection_health.platform is 'Platform.';
comment on column orbyt.connection_health.name is 'Name.';
comment on column orbyt.connection_health.status is 'Status.';
comment on column orbyt.connection_health.error_code is 'Why it needs attention.';
comment on column orbyt.connection_health.checked_at is 'When it was last seen working.';
comment on column orbyt.connection_health.token_expires_at is 'When the connection ends if nothing renews it.';
comment on column orbyt.connection_health.data_access_expires_at is 'When Meta ends the access to its data unless the user logs in again.';
comment on column orbyt.connection_health.days_left is 'Whole days until the earlier of the two; null if neither is known.';
comment on column orbyt.connection_health.open_jobs is 'Jobs queued or publishing.';
comment on column orbyt.connection_health.held_jobs is 'Jobs held.';

create view orbyt_private.workers_alive with (security_invoker = on) as
select w.worker_id, w.host, w.version, w.started_at, w.heartbeat_at, w.lease_until,
       case when w.stopped_at is not null then 'stopped' when w.lease_until > now() then 'alive' else 'silent' end as state,
       (select count(*) from orbyt_private.job_queue q where q.worker_id = w.worker_id) as jobs
from orbyt_private.workers w;
comment on view orbyt_private.workers_alive is 'Worker processes: alive, stopped, or silent (their jobs are taken back).';
comment on column orbyt_private.workers_alive.worker_id is 'The worker.';
comment on column orbyt_private.workers_alive.host is 'Machine or container.';
comment on column orbyt_private.workers_alive.version is 'Version.';
comment on column orbyt_private.workers_alive.started_at is 'Start.';
comment on column orbyt_private.workers_alive.heartbeat_at is 'Last sign of life.';
comment on column orbyt_private.workers_alive.lease_until is 'Its lease.';
comment on column orbyt_private.workers_alive.state is 'alive, stopped or silent.';
comment on column orbyt_private.workers_alive.jobs is 'Jobs it has claimed.';

create view orbyt_private.issues_for_operator with (security_invoker = on) as
select i.code, e.title, e.what_happened, e.what_to_do, i.count, i.first_seen_at, i.last_seen_at, i.detail
from orbyt_private.operator_issues i
join orbyt.error_catalog e on e.code = i.code;
comment on view orbyt_private.issues_for_operator is 'What only the operator can put right, with what to do. Clear one with orbyt_private.clear_operator_issue.';
comment on column orbyt_private.issues_for_operator.code is 'Code of error_catalog.';
comment on column orbyt_private.issues_for_operator.title is 'A few words.';
comment on column orbyt_private.issues_for_operator.what_happened is 'One sentence.';
comment on column orbyt_private.issues_for_operator.what_to_do is 'What to do.';
comment on column orbyt_private.issues_for_operator.count is 'How often it was seen.';
comment on column orbyt_private.issues_for_operator.first_seen_at is 'First time.';
comment on column orbyt_private.issues_for_operator.last_seen_at is 'Last time.';
comment on column orbyt_private.issues_for_operator.detail is 'What it was seen at.';

create view orbyt_private.quota_left with (security_invoker = on) as
select l.bucket, l.key, l.units_max, l.units_used, case when l.closed_at is null then l.units_max - l.units_used else 0 end as units_left,
       l.resets_at,
       (select count(*) from orbyt.publish_jobs j
        where l.bucket = 'youtube_uploads' and j.platform = 'youtube' and j.status = 'queued' and j.publish_at < l.resets_at) as scheduled_before_reset
from orbyt_private.quota_ledger l
where l.resets_at > now()
union all
select u.bucket, u.key, max(u.units_max), sum(u.units)::integer, greatest(max(u.units_max) - sum(u.units)::integer, 0),
       min(u.used_at) + interval '24 hours', null
from orbyt_private.quota_uses u
where u.used_at > now() - interval '24 hours'
group by u.bucket, u.key;
comment on view orbyt_private.quota_left is 'Allowance of the current window: used, left, and what is scheduled against it.';
comment on column orbyt_private.quota_left.bucket is 'Bucket.';
comment on column orbyt_private.quota_left.key is 'Project or account.';
comment on column orbyt_private.quota_left.units_max is 'Allowance.';
comment on column orbyt_private.quota_left.units_used is 'Used or reserved.';
comment on column orbyt_private.quota_left.units_left is 'Left.';
comment on column orbyt_private.quota_left.resets_at is 'When it resets; in a rolling window, when the oldest use comes back.';
comment on column orbyt_private.quota_left.scheduled_before_reset is 'Queued uploads that want to go out before the reset; null for rolling windows.';

create view orbyt_private.stuck_jobs with (security_invoker = on) as
select
  j.job_id, j.user_id, j.account_id, j.platform, a.name as account_name, j.status, j.stage, q.phase, j.error_code, j.publish_at, j.run_at,
  case
    when j.status = 'held' then coalesce(e.what_happened, j.error_code)
    when q.worker_id is not null then 'its worker fell silent; any living worker takes the job back'
    when t.until is not null then 'the platform is paused until ' || t.until || ' (' || t.code || ')'
    when b.platform is not null then 'the platform is down; next probe ' || b.probe_at
    when p.paused_until > now() then 'the platform is paused until ' || p.paused_until || coalesce(' (' || p.pause_code || ')', '')
    when a.status <> 'active' then 'the account cannot be used: ' || a.status
    when l.blocked_until > now() then 'the account is throttled until ' || l.blocked_until
      || coalesce(' (' || (select max(h.code) from orbyt_private.throttles h
                           where h.scope = 'account' and h.key = j.account_id::text and h.until = l.blocked_until) || ')', '')
    when l.in_flight >= l.in_flight_max then 'another job of this account goes first'
    when not exists (select from orbyt_private.workers alive where alive.stopped_at is null and alive.lease_until > now())
      then 'no worker is alive'
    else 'due and free: the workers have no free slot'
  end as why,
  case
    when j.status = 'held' then coalesce(e.who_acts, 'operator')
    when q.worker_id is not null then 'nobody'
    when a.status <> 'active' then 'user'
    else 'operator'
  end as who_acts,
  case when j.status = 'held' then e.what_to_do end as what_to_do,
  coalesce(case when j.status = 'held' then j.updated_at end, q.claimed_at, q.run_at) as stuck_since
from orbyt_private.job_queue q
join orbyt.publish_jobs j on j.job_id = q.job_id
join orbyt.accounts a on a.account_id = j.account_id
join orbyt.platforms p on p.platform = j.platform
left join orbyt.error_catalog e on e.code = j.error_code
left join orbyt_private.lanes l on l.account_id = q.account_id and l.phase = q.phase
left join lateral (
  select h.until, h.code from orbyt_private.throttles h
  where h.scope = 'platform' and h.key = j.platform and h.until > now() and (h.phase = 'publish' or q.phase <> 'publish')
  order by h.until desc limit 1) t on true
left join orbyt_private.breakers b on b.platform = j.platform
left join orbyt_private.workers w on w.worker_id = q.worker_id
where j.status = 'held'
  or (q.worker_id is null and q.run_at < now() - interval '2 minutes')
  or w.lease_until < now();
comment on view orbyt_private.stuck_jobs is
  'Jobs that do not move, each with the reason: held, due for more than two minutes and not taken, or claimed by a worker that fell silent. A long upload is not stuck.';
comment on column orbyt_private.stuck_jobs.job_id is 'The job.';
comment on column orbyt_private.stuck_jobs.user_id is 'Owner.';
comment on column orbyt_private.stuck_jobs.account_id is 'Its account.';
comment on column orbyt_private.stuck_jobs.platform is 'Platform.';
comment on column orbyt_private.stuck_jobs.account_name is 'Name of the account.';
comment on column orbyt_private.stuck_jobs.status is 'Status.';
comment on column orbyt_private.stuck_jobs.stage is 'Stage.';
comment on column orbyt_private.stuck_jobs.phase is 'Lane: inspect, background or publish.';
comment on column orbyt_private.stuck_jobs.error_code is 'Cause, if there is one.';
comment on column orbyt_private.stuck_jobs.publish_at is 'When it should be public.';
comment on column orbyt_private.stuck_jobs.run_at is 'When it was to be looked at; null while it is held.';
comment on column orbyt_private.stuck_jobs.why is 'Why it does not move, in a sentence.';
comment on column orbyt_private.stuck_jobs.who_acts is 'Who has to act.';
comment on column orbyt_private.stuck_jobs.what_to_do is 'What to do about a held job.';
comment on column orbyt_private.stuck_jobs.stuck_since is 'Since when it does not move.';

create view orbyt_private.held_by_cause with (security_invoker = on) as
select j.error_code, e.title, e.who_acts, e.what_to_do, count(*) as jobs, count(distinct j.account_id) as accounts,
       min(j.updated_at) as held_since, min(j.expires_at) as first_deadline
from orbyt.publish_jobs j
left join orbyt.error_catalog e on e.code = j.error_code
where j.status = 'held'
group by j.error_code, e.title, e.who_acts, e.what_to_do;
comment on view orbyt_private.held_by_cause is 'Held jobs by cause, with who has to act.';
comment on column orbyt_private.held_by_cause.error_code is 'Cause, a code of error_catalog.';
comment on column orbyt_private.held_by_cause.title is 'A few words.';
comment on column orbyt_private.held_by_cause.who_acts is 'Who has to act.';
comment on column orbyt_private.held_by_cause.what_to_do is 'What to do.';
comment on column orbyt_private.held_by_cause.jobs is 'How many jobs.';
comment on column orbyt_private.held_by_cause.accounts is 'Of how many accounts.';
comment on column orbyt_private.held_by_cause.held_since is 'Since when the first of them is held.';
comment on column orbyt_private.held_by_cause.first_deadline is 'When the first of them misses its deadline.';

create view orbyt_private.held_by_account with (security_invoker = on) as
select j.account_id, j.user_id, j.platform, a.name as account_name, a.status as account_status, j.error_code, e.title, e.who_acts,
       count(*) as jobs, min(j.updated_at) as held_since, min(j.publish_at) as first_publish_at, min(j.expires_at) as first_deadline
from orbyt.publish_jobs j
join orbyt.accounts a on a.account_id = j.account_id
left join orbyt.error_catalog e on e.code = j.error_code
where j.status = 'held'
group by j.account_id, j.user_id, j.platform, a.name, a.status, j.error_code, e.title, e.who_acts;
comment on view orbyt_private.held_by_account is 'Held jobs by account and cause: one row per reason to write to a user.';
comment on column orbyt_private.held_by_account.account_id is 'The account.';
comment on column orbyt_private.held_by_account.user_id is 'Its user.';
comment on column orbyt_private.held_by_account.platform is 'Platform.';
comment on column orbyt_private.held_by_account.account_name is 'Name of the account.';
comment on column orbyt_private.held_by_account.account_status is 'Status of the account.';
comment on column orbyt_private.held_by_account.error_code is 'Cause, a code of error_catalog.';
comment on column orbyt_private.held_by_account.title is 'A few words.';
comment on column orbyt_private.held_by_account.who_acts is 'Who has to act.';
comment on column orbyt_private.held_by_account.jobs is 'How many jobs.';
comment on column orbyt_private.held_by_account.held_since is 'Since when the first of them is held.';
comment on column orbyt_private.held_by_account.first_publish_at is 'When the first of them should be public.';
comment on column orbyt_private.held_by_account.first_deadline is 'When the first of them misses its deadline.';

create view orbyt_private.late_and_missed with (security_invoker = on) as
select
  j.job_id, j.user_id, j.account_id, j.platform, a.name as account_name,
  case when j.status = 'failed' then 'missed' when j.status = 'published' then 'published late' else 'late' end as what,
  j.status, j.stage, j.error_code, e.who_acts, j.error_message, j.publish_at, j.published_at, j.expires_at,
  coalesce(j.published_at, case when j.status = 'failed' then j.updated_at else now() end) - j.publish_at as late_by
from orbyt.publish_jobs j
join orbyt.accounts a on a.account_id = j.account_id
left join orbyt.error_catalog e on e.code = j.error_code
where j.updated_at > now() - interval '7 days'
  and case j.status
        when 'failed' then j.error_code = 'deadline_missed'
        -- A post without a time of its own is as late as its upload is long.
        when 'published' then j.publish_at > j.created_at + interval '1 minute' and j.published_at > j.publish_at + interval '1 minute'
        when 'cancelled' then false
        else j.publish_at < now() - interval '1 minute' and (j.status = 'held' or j.publish_at > j.created_at + interval '1 minute' or j.error_code is not null)
      end;
comment on view orbyt_private.late_and_missed is
  'Posts that are late, went out late (scheduled ones, more than a minute), or missed their deadline, among those that moved in the last seven days.';
comment on column orbyt_private.late_and_missed.job_id is 'The job.';
comment on column orbyt_private.late_and_missed.user_id is 'Owner.';
comment on column orbyt_private.late_and_missed.account_id is 'Its account.';
comment on column orbyt_private.late_and_missed.platform is 'Platform.';
comment on column orbyt_private.late_and_missed.account_name is 'Name of the account.';
comment on column orbyt_private.late_and_missed.what is 'late (still open), published late, or missed (failed with deadline_missed).';
comment on column orbyt_private.late_and_missed.status is 'Status.';
comment on column orbyt_private.late_and_missed.stage is 'Stage.';
comment on column orbyt_private.late_and_missed.error_code is 'Cause, if something was in the way.';
comment on column orbyt_private.late_and_missed.who_acts is 'Who has to act.';
comment on column orbyt_private.late_and_missed.error_message is 'The cause in a sentence; for a missed post with its last problem.';
comment on column orbyt_private.late_and_missed.publish_at is 'When it should have been public.';
comment on column orbyt_private.late_and_missed.published_at is 'When it was.';
comment on column orbyt_private.late_and_missed.expires_at is 'Its deadline.';
comment on column orbyt_private.late_and_missed.late_by is 'By how much.';

create view orbyt_private.pauses with (security_invoker = on) as
select 'pause' as what, t.scope, t.key, coalesce(a.platform || ': ' || a.name, t.key) as paused, t.until, t.code, t.hits as times
from orbyt_private.throttles t
left join orbyt.accounts a on t.scope = 'account' and a.account_id::text = t.key
where t.until > now()
union all
select 'breaker', 'platform', b.platform, b.platform, b.probe_at, 'platform_unavailable', b.openings
from orbyt_private.breakers b
union all
-- Set in the Table Editor: the claim respects it as well.
select 'pause', 'platform', p.platform, p.platform, p.paused_until, p.pause_code, 1
from orbyt.platforms p
where p.paused_until > now()
  and not exists (select from orbyt_private.throttles t where t.scope = 'platform' and t.key = p.platform and t.until >= p.paused_until)
  and not exists (select from orbyt_private.breakers b where b.platform = p.platform)
union all
select 'switched off', 'platform', p.platform, p.platform, null, 'platform_not_configured', 1
from orbyt.platforms p
where not p.enabled;
comment on view orbyt_private.pauses is 'What is left alone at the moment: paused platforms and accounts, platforms that are down, platforms switched off.';
comment on column orbyt_private.pauses.what is 'pause (a limit, or a person), breaker (the platform is down and is probed), switched off (new jobs are refused).';
comment on column orbyt_private.pauses.scope is 'platform or account.';
comment on column orbyt_private.pauses.key is 'Name of the platform, or account_id.';
comment on column orbyt_private.pauses.paused is 'The same, to read.';
comment on column orbyt_private.pauses.until is 'End, or the next probe.';
comment on column orbyt_private.pauses.code is 'Why.';
comment on column orbyt_private.pauses.times is 'How often in a row.';

-- Select on the admin views is the owner's (postgres) alone, except where row level security shows everybody just their own rows.
revoke all on orbyt.queue_overview, orbyt.jobs_needing_attention, orbyt.connection_health from public, anon, authenticated, service_role, orbyt_worker;
grant select on orbyt.queue_overview, orbyt.jobs_needing_attention, orbyt.connection_health to authenticated, service_role;
revoke all on orbyt_private.workers_alive, orbyt_private.quota_left, orbyt_private.issues_for_operator, orbyt_private.stuck_jobs,
  orbyt_private.held_by_cause, orbyt_private.held_by_account, orbyt_private.late_and_missed, orbyt_private.pauses
  from public, anon, authenticated, service_role, orbyt_worker;
