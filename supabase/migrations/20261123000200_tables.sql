-- Orbyt: the tables an app sees, and the worker's own.

create table orbyt.accounts (
  account_id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  platform text not null,
  platform_account_id text not null,
  name text not null,
  handle text,
  picture_url text,
  status orbyt.account_status not null default 'active',
  scopes text[] not null default '{}',
  token_expires_at timestamptz,
  data_access_expires_at timestamptz,
  checked_at timestamptz,
  error_code text,
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint accounts_pkey primary key (account_id),
  constraint accounts_owner_key unique (account_id, user_id),
  constraint accounts_identity_key unique (user_id, platform, platform_account_id),
  constraint accounts_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade,
  constraint accounts_platform_fkey foreign key (platform) references orbyt.platforms (platform),
  constraint accounts_error_code_fkey foreign key (error_code) references orbyt.error_catalog (code),
  constraint accounts_needs_reauth_check check (status <> 'needs_reauth' or error_code is not null)
);
create index accounts_platform_idx on orbyt.accounts (platform);
create index accounts_error_code_idx on orbyt.accounts (error_code);
create index accounts_checked_idx on orbyt.accounts (checked_at) where status = 'active';
comment on table orbyt.accounts is 'Connected accounts: one customer identity on one platform. No tokens here.';
comment on column orbyt.accounts.account_id is 'Stays the same when the account is reconnected.';
comment on column orbyt.accounts.user_id is 'Owner.';
comment on column orbyt.accounts.platform is 'facebook, instagram or youtube.';
comment on column orbyt.accounts.platform_account_id is 'The platform''s own id: page id, Instagram user id, channel id.';
comment on column orbyt.accounts.name is 'Name to show.';
comment on column orbyt.accounts.handle is '@handle, where there is one.';
comment on column orbyt.accounts.picture_url is 'Public picture.';
comment on column orbyt.accounts.status is 'active, needs_reauth (the user must reconnect), disconnected.';
comment on column orbyt.accounts.scopes is 'Permissions granted.';
comment on column orbyt.accounts.token_expires_at is 'When the connection ends if nothing renews it. A time, not a token.';
comment on column orbyt.accounts.data_access_expires_at is
  'When Meta ends the app''s access to the account''s data unless the user logs in again (90 days after the last time). Warn 14 days before.';
comment on column orbyt.accounts.checked_at is 'When the connection was last seen working.';
comment on column orbyt.accounts.error_code is 'Why it needs attention.';
comment on column orbyt.accounts.version is 'Grows with every change; drop late events by it.';
comment on column orbyt.accounts.created_at is 'When it was first connected.';
comment on column orbyt.accounts.updated_at is 'When it last changed.';

create table orbyt.publish_jobs (
  job_id uuid not null default gen_random_uuid(),
  post_id uuid not null default gen_random_uuid(),
  user_id uuid not null default auth.uid(),
  account_id uuid not null,
  platform text not null,
  status orbyt.job_status not null default 'queued',
  stage orbyt.job_stage not null default 'waiting',
  progress smallint not null default 0,
  kind orbyt.post_kind not null,
  title text,
  caption text,
  media jsonb not null default '[]',
  options jsonb not null default '{}',
  publish_at timestamptz not null default now(),
  expires_at timestamptz not null,
  client_ref text,
  run_at timestamptz default now(),
  attempt integer not null default 0,
  platform_post_id text,
  permalink text,
  published_at timestamptz,
  error_code text,
  error_message text,
  retryable boolean,
  needs_reauth boolean not null default false,
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint publish_jobs_pkey primary key (job_id),
  constraint publish_jobs_client_ref_key unique (user_id, client_ref),
  constraint publish_jobs_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade,
  constraint publish_jobs_account_fkey foreign key (account_id, user_id) references orbyt.accounts (account_id, user_id) on delete cascade,
  constraint publish_jobs_platform_fkey foreign key (platform) references orbyt.platforms (platform),
  constraint publish_jobs_error_code_fkey foreign key (error_code) references orbyt.error_catalog (code),
  constraint publish_jobs_progress_check check (progress between 0 and 100),
  constraint publish_jobs_media_check check (jsonb_typeof(media) = 'array'),
  constraint publish_jobs_options_check check (jsonb_typeof(options) = 'object'),
  constraint publish_jobs_expires_check check (expires_at > publish_at),
  -- Times every client can hold; one that psycopg cannot read would cost a worker its whole claim.
  constraint publish_jobs_times_check check (publish_at > '2000-01-01' and expires_at < '3000-01-01'),
  constraint publish_jobs_run_at_check check ((run_at is not null) = (status in ('queued', 'publishing'))),
  constraint publish_jobs_published_check check (status <> 'published' or published_at is not null),
  constraint publish_jobs_error_check check (status not in ('failed', 'held') or error_code is not null)
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05);
create index publish_jobs_user_idx on orbyt.publish_jobs (user_id, created_at desc);
create index publish_jobs_account_idx on orbyt.publish_jobs (account_id, user_id);
create index publish_jobs_platform_idx on orbyt.publish_jobs (platform);
create index publish_jobs_post_idx on orbyt.publish_jobs (post_id);
create index publish_jobs_error_code_idx on orbyt.publish_jobs (error_code);
-- For pruning. Neither status nor updated_at may stand in an index (nor in the predicate of one): they change with every step, and
-- only updates that touch no indexed column are cheap (HOT).
create index publish_jobs_created_idx on orbyt.publish_jobs (created_at);
comment on table orbyt.publish_jobs is
  'The queue: one row is one post to one account. The app inserts rows and may edit the content while a job is queued; everything else is written by Orbyt.';
comment on column orbyt.publish_jobs.job_id is 'May be chosen by the app, so that a repeated insert is harmless (ignoreDuplicates).';
comment on column orbyt.publish_jobs.post_id is 'Groups the rows of one post to several accounts.';
comment on column orbyt.publish_jobs.user_id is 'Owner; default is the signed-in user.';
comment on column orbyt.publish_jobs.account_id is 'Where to publish.';
comment on column orbyt.publish_jobs.platform is 'Platform of the account (set by Orbyt).';
comment on column orbyt.publish_jobs.status is 'queued, publishing, held (somebody must act), published, failed, cancelled.';
comment on column orbyt.publish_jobs.stage is 'What is being done right now.';
comment on column orbyt.publish_jobs.progress is 'Progress of the whole job in percent.';
comment on column orbyt.publish_jobs.kind is 'text, photo, carousel, video, reel or story.';
comment on column orbyt.publish_jobs.title is 'Title, where the platform has one.';
comment on column orbyt.publish_jobs.caption is 'The text of the post (YouTube: the description).';
comment on column orbyt.publish_jobs.media is 'Array of {type, url, alt_text?, cover_url?, cover_offset_ms?}; url is https://…, mux://… or storage://….';
comment on column orbyt.publish_jobs.options is 'Platform options; allowed keys are in platforms.options.';
comment on column orbyt.publish_jobs.publish_at is 'When it should become visible; default now.';
comment on column orbyt.publish_jobs.expires_at is 'Do not publish after this time; default publish_at + 24 hours.';
comment on column orbyt.publish_jobs.client_ref is 'The app''s own reference, unique per user.';
comment on column orbyt.publish_jobs.run_at is 'When it is looked at next: its time, the end of a wait, the next try.';
comment on column orbyt.publish_jobs.attempt is 'How often it was taken up. Also the fencing token of the worker.';
comment on column orbyt.publish_jobs.platform_post_id is 'The platform''s id of the post.';
comment on column orbyt.publish_jobs.permalink is 'Where the post can be seen.';
comment on column orbyt.publish_jobs.published_at is 'When it became visible.';
comment on column orbyt.publish_jobs.error_code is 'Latest problem, a code of error_catalog; also set while a try is pending.';
comment on column orbyt.publish_jobs.error_message is 'The problem in a sentence.';
comment on column orbyt.publish_jobs.retryable is 'Whether Orbyt tries again by itself.';
comment on column orbyt.publish_jobs.needs_reauth is 'Whether the user has to reconnect the account first.';
comment on column orbyt.publish_jobs.version is 'Grows with every change; drop late events by it.';
comment on column orbyt.publish_jobs.created_at is 'When it was inserted.';
comment on column orbyt.publish_jobs.updated_at is 'When it last changed.';

create table orbyt.job_events (
  event_id bigint generated always as identity,
  job_id uuid not null,
  user_id uuid not null,
  event text not null,
  status orbyt.job_status not null,
  stage orbyt.job_stage not null,
  attempt integer not null,
  error_code text,
  detail jsonb not null default '{}',
  created_at timestamptz not null default now(),
  constraint job_events_pkey primary key (event_id),
  constraint job_events_job_id_fkey foreign key (job_id) references orbyt.publish_jobs (job_id) on delete cascade
);
create index job_events_job_idx on orbyt.job_events (job_id, event_id);
create index job_events_user_idx on orbyt.job_events (user_id);
comment on table orbyt.job_events is 'History of every job, written by the functions that change its state. Append-only.';
comment on column orbyt.job_events.event_id is 'Order of the events.';
comment on column orbyt.job_events.job_id is 'The job.';
comment on column orbyt.job_events.user_id is 'Owner of the job.';
comment on column orbyt.job_events.event is 'What happened: inserted, claimed, waiting, retrying, begun, confirmed, published, failed, held, released, cancelled, …';
comment on column orbyt.job_events.status is 'Status after it.';
comment on column orbyt.job_events.stage is 'Stage after it.';
comment on column orbyt.job_events.attempt is 'Attempt it belongs to.';
comment on column orbyt.job_events.error_code is 'Why, if something went wrong.';
comment on column orbyt.job_events.detail is 'Numbers that help: next try, platform codes, HTTP status. Never a token or a URL.';
comment on column orbyt.job_events.created_at is 'When.';

create table orbyt.side_tasks (
  job_id uuid not null,
  task text not null,
  user_id uuid not null,
  status orbyt.side_task_status not null default 'pending',
  tries integer not null default 0,
  error_code text,
  error_message text,
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint side_tasks_pkey primary key (job_id, task),
  constraint side_tasks_job_id_fkey foreign key (job_id) references orbyt.publish_jobs (job_id) on delete cascade,
  constraint side_tasks_error_code_fkey foreign key (error_code) references orbyt.error_catalog (code),
  constraint side_tasks_failed_check check (status <> 'failed' or error_code is not null)
);
create index side_tasks_user_idx on orbyt.side_tasks (user_id);
create index side_tasks_error_code_idx on orbyt.side_tasks (error_code);
comment on table orbyt.side_tasks is
  'What is done around a post that is out (first comment, thumbnail, playlist, captions). Each has an outcome of its own and never changes that of the post.';
comment on column orbyt.side_tasks.job_id is 'The job.';
comment on column orbyt.side_tasks.task is 'first_comment, thumbnail, playlist, captions.';
comment on column orbyt.side_tasks.user_id is 'Owner of the job.';
comment on column orbyt.side_tasks.status is 'pending, done, failed.';
comment on column orbyt.side_tasks.tries is 'How often it was tried.';
comment on column orbyt.side_tasks.error_code is 'Why it failed, or the latest problem while it is pending.';
comment on column orbyt.side_tasks.error_message is 'The problem in a sentence.';
comment on column orbyt.side_tasks.version is 'Grows with every change; drop late events by it.';
comment on column orbyt.side_tasks.created_at is 'First try.';
comment on column orbyt.side_tasks.updated_at is 'When it last changed.';

-- The worker's tables ------------------------------------------------------------------------------------------------

create table orbyt_private.workers (
  worker_id uuid not null,
  host text not null,
  version text not null,
  slots jsonb not null default '{}',
  started_at timestamptz not null default now(),
  heartbeat_at timestamptz not null default now(),
  lease_until timestamptz not null,
  stopped_at timestamptz,
  key_id text,
  key_since timestamptz,
  constraint workers_pkey primary key (worker_id)
) with (fillfactor = 50);
comment on table orbyt_private.workers is 'One small row per worker process. Its lease covers all jobs it has claimed.';
comment on column orbyt_private.workers.worker_id is 'Chosen by the process at start.';
comment on column orbyt_private.workers.host is 'Machine or container.';
comment on column orbyt_private.workers.version is 'Version of the worker.';
comment on column orbyt_private.workers.slots is 'Its capacity by phase.';
comment on column orbyt_private.workers.started_at is 'Start.';
comment on column orbyt_private.workers.heartbeat_at is 'Last sign of life.';
comment on column orbyt_private.workers.lease_until is 'After this its jobs are taken back by any other worker.';
comment on column orbyt_private.workers.stopped_at is 'When it said goodbye.';
comment on column orbyt_private.workers.key_id is 'Master key it seals with.';
comment on column orbyt_private.workers.key_since is 'Since when.';

create table orbyt_private.job_queue (
  job_id uuid not null,
  account_id uuid not null,
  phase orbyt_private.job_phase not null,
  run_at timestamptz,
  expires_at timestamptz not null,
  worker_id uuid,
  claimed_at timestamptz,
  failures integer not null default 0,
  losses integer not null default 0,
  started boolean not null default false,
  constraint job_queue_pkey primary key (job_id),
  constraint job_queue_job_id_fkey foreign key (job_id) references orbyt.publish_jobs (job_id) on delete cascade,
  constraint job_queue_account_id_fkey foreign key (account_id) references orbyt.accounts (account_id) on delete cascade,
  constraint job_queue_worker_id_fkey foreign key (worker_id) references orbyt_private.workers (worker_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
create index job_queue_due_idx on orbyt_private.job_queue (account_id, phase, run_at, job_id) where worker_id is null and run_at is not null;
create index job_queue_flight_idx on orbyt_private.job_queue (account_id, phase) where worker_id is not null;
create index job_queue_worker_idx on orbyt_private.job_queue (worker_id) where worker_id is not null;
create index job_queue_expires_idx on orbyt_private.job_queue (expires_at) where worker_id is null;
comment on table orbyt_private.job_queue is
  'Open jobs only (queued, publishing, held): which lane, when, who has it. Finished jobs have no row, so the cost of a claim does not depend on them.';
comment on column orbyt_private.job_queue.job_id is 'The job.';
comment on column orbyt_private.job_queue.account_id is 'Its account.';
comment on column orbyt_private.job_queue.phase is 'Lane it stands in.';
comment on column orbyt_private.job_queue.run_at is 'Same as publish_jobs.run_at; null while held.';
comment on column orbyt_private.job_queue.expires_at is 'Same as publish_jobs.expires_at.';
comment on column orbyt_private.job_queue.worker_id is 'Who has claimed it, if anybody.';
comment on column orbyt_private.job_queue.claimed_at is 'Since when.';
comment on column orbyt_private.job_queue.failures is 'Failures that count against the job (waiting does not).';
comment on column orbyt_private.job_queue.losses is 'How often in a row a worker died or fell silent with this job in its hands.';
comment on column orbyt_private.job_queue.started is 'Whether a step with an effect outside was journalled: from then on the content is fixed.';

create table orbyt_private.lanes (
  account_id uuid not null,
  phase orbyt_private.job_phase not null,
  platform text not null,
  next_run_at timestamptz,
  in_flight integer not null default 0,
  in_flight_max integer not null default 1,
  blocked_until timestamptz,
  last_served_at timestamptz,
  due_at timestamptz generated always as (
    case when next_run_at is null or in_flight >= in_flight_max then null
         else greatest(next_run_at, blocked_until, last_served_at) end
  ) stored,
  constraint lanes_pkey primary key (account_id, phase),
  constraint lanes_account_id_fkey foreign key (account_id) references orbyt.accounts (account_id) on delete cascade
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
create index lanes_due_idx on orbyt_private.lanes (platform, phase, due_at) where due_at is not null;
comment on table orbyt_private.lanes is
  'One small row per account and phase: the claim looks here and takes the head of each due lane, so that accounts take turns and a blocked account costs nothing.';
comment on column orbyt_private.lanes.account_id is 'The account.';
comment on column orbyt_private.lanes.phase is 'The phase.';
comment on column orbyt_private.lanes.platform is 'The account''s platform.';
comment on column orbyt_private.lanes.next_run_at is 'Earliest run_at of its waiting jobs.';
comment on column orbyt_private.lanes.in_flight is 'Jobs of this lane that workers have claimed.';
comment on column orbyt_private.lanes.in_flight_max is 'At most so many at a time in the whole fleet.';
comment on column orbyt_private.lanes.blocked_until is 'Throttled, or (infinity) the account cannot be used.';
comment on column orbyt_private.lanes.last_served_at is 'Last claim: puts the lane behind the others that wait.';
comment on column orbyt_private.lanes.due_at is 'When the lane may be served; null = nothing to do or full.';

create table orbyt_private.job_steps (
  job_id uuid not null,
  step text not null,
  state orbyt_private.step_state not null,
  attempt integer not null,
  result jsonb not null default '{}',
  secret bytea,
  secret_key_id text,
  call_timeout interval,
  begun_at timestamptz,
  updated_at timestamptz not null default now(),
  constraint job_steps_pkey primary key (job_id, step),
  constraint job_steps_job_id_fkey foreign key (job_id) references orbyt.publish_jobs (job_id) on delete cascade,
  constraint job_steps_begun_check check (state not in ('begun', 'confirmed') or begun_at is not null),
  constraint job_steps_secret_check check ((secret is null) = (secret_key_id is null))
);
comment on table orbyt_private.job_steps is 'The journal: what each step returned, written before the next step starts, so that a later attempt continues instead of repeating.';
comment on column orbyt_private.job_steps.job_id is 'The job.';
comment on column orbyt_private.job_steps.step is 'Name of the step.';
comment on column orbyt_private.job_steps.state is 'saved, recorded, begun, confirmed.';
comment on column orbyt_private.job_steps.attempt is 'Attempt that wrote it last.';
comment on column orbyt_private.job_steps.result is 'What the step returned. No secrets.';
comment on column orbyt_private.job_steps.secret is 'Sealed JSON (upload addresses and the like).';
comment on column orbyt_private.job_steps.secret_key_id is 'Key it is sealed with.';
comment on column orbyt_private.job_steps.call_timeout is 'Longest time the visible call can be in flight.';
comment on column orbyt_private.job_steps.begun_at is 'When the visible call was announced.';
comment on column orbyt_private.job_steps.updated_at is 'When it was last written.';

create table orbyt_private.account_changes (
  change_id bigint generated always as identity,
  account_id uuid not null,
  cancel boolean not null default false,
  constraint account_changes_pkey primary key (change_id),
  constraint account_changes_account_id_fkey foreign key (account_id) references orbyt.accounts (account_id) on delete cascade
);
create index account_changes_account_idx on orbyt_private.account_changes (account_id);
comment on table orbyt_private.account_changes is 'Accounts whose jobs may have to be held or released, in batches, by upkeep. Only ever inserted into, so that nobody waits for anybody.';
comment on column orbyt_private.account_changes.change_id is 'Order.';
comment on column orbyt_private.account_changes.account_id is 'The account.';
comment on column orbyt_private.account_changes.cancel is 'Whoever disconnected it wants its open jobs cancelled, not held.';

-- Tokens -------------------------------------------------------------------------------------------------------------

create table orbyt_private.account_grants (
  account_id uuid not null,
  login text not null,
  platform_user_id text,
  version bigint not null default 1,
  refresh_lease_until timestamptz,
  refresh_lease_id uuid,
  refresh_worker_id uuid,
  refreshed_at timestamptz,
  refresh_failed_at timestamptz,
  refresh_error_code text,
  refresh_not_before timestamptz,
  granted_at timestamptz not null default now(),
  check_lease_until timestamptz,
  check_worker_id uuid,
  check_tried_at timestamptz,
  check_failed_at timestamptz,
  check_error_code text,
  check_not_before timestamptz,
  revoke_requested_at timestamptz,
  revoke_tried_at timestamptz,
  revoke_lease_until timestamptz,
  revoke_worker_id uuid,
  revoke_error_code text,
  revoked_at timestamptz,
  constraint account_grants_pkey primary key (account_id),
  constraint account_grants_account_id_fkey foreign key (account_id) references orbyt.accounts (account_id) on delete cascade
);
create index account_grants_person_idx on orbyt_private.account_grants (login, platform_user_id);
create index account_grants_revoke_idx on orbyt_private.account_grants (revoke_requested_at) where revoke_requested_at is not null;
comment on table orbyt_private.account_grants is 'What the user granted at a platform: one row per account, with the version that guards its secrets.';
comment on column orbyt_private.account_grants.account_id is 'The account.';
comment on column orbyt_private.account_grants.login is 'Which login it came from: google, facebook, instagram.';
comment on column orbyt_private.account_grants.platform_user_id is 'Who logged in, by the platform''s id for this app: by it a removal of the app is recognised.';
comment on column orbyt_private.account_grants.version is 'Compare-and-set: grows whenever the secrets change.';
comment on column orbyt_private.account_grants.refresh_lease_until is 'Somebody is refreshing until then.';
comment on column orbyt_private.account_grants.refresh_lease_id is 'Which refresh.';
comment on column orbyt_private.account_grants.refresh_worker_id is 'Worker that does it; when it falls silent its refresh lease is void.';
comment on column orbyt_private.account_grants.refreshed_at is 'Last success.';
comment on column orbyt_private.account_grants.refresh_failed_at is 'Last failure.';
comment on column orbyt_private.account_grants.refresh_error_code is 'Why it failed.';
comment on column orbyt_private.account_grants.refresh_not_before is 'Cool-down after failures.';
comment on column orbyt_private.account_grants.granted_at is 'When the user granted it.';
comment on column orbyt_private.account_grants.check_lease_until is 'Somebody is looking at the connection until then.';
comment on column orbyt_private.account_grants.check_worker_id is 'Worker that does it; when it falls silent its lease is void.';
comment on column orbyt_private.account_grants.check_tried_at is 'When somebody last looked. The last success is accounts.checked_at.';
comment on column orbyt_private.account_grants.check_failed_at is 'Last time it could not be told or did not work.';
comment on column orbyt_private.account_grants.check_error_code is 'Why.';
comment on column orbyt_private.account_grants.check_not_before is 'Cool-down after that.';
comment on column orbyt_private.account_grants.revoke_requested_at is 'The account was disconnected and the grant is still to be ended at the platform.';
comment on column orbyt_private.account_grants.revoke_tried_at is 'When that was last tried.';
comment on column orbyt_private.account_grants.revoke_lease_until is 'Nobody tries before then.';
comment on column orbyt_private.account_grants.revoke_worker_id is 'Worker that tries; when it falls silent its lease is void.';
comment on column orbyt_private.account_grants.revoke_error_code is 'Why it failed, or was given up.';
comment on column orbyt_private.account_grants.revoked_at is 'When the secrets were destroyed.';

create table orbyt_private.account_secrets (
  account_id uuid not null,
  kind text not null,
  sealed bytea not null,
  key_id text not null,
  expires_at timestamptz,
  updated_at timestamptz not null default now(),
  constraint account_secrets_pkey primary key (account_id, kind),
  constraint account_secrets_account_id_fkey foreign key (account_id) references orbyt_private.account_grants (account_id) on delete cascade,
  constraint account_secrets_kind_check check (kind ~ '^[a-z0-9_.:-]{1,64}$')
);
comment on table orbyt_private.account_secrets is 'Tokens, sealed by the worker (AES-256-CBC and HMAC-SHA-256, key in Vault). The plaintext never reaches SQL.';
comment on column orbyt_private.account_secrets.account_id is 'The account; part of what the seal authenticates.';
comment on column orbyt_private.account_secrets.kind is 'access_token, refresh_token, user_token.';
comment on column orbyt_private.account_secrets.sealed is 'Version byte, IV, ciphertext, MAC.';
comment on column orbyt_private.account_secrets.key_id is 'Which master key.';
comment on column orbyt_private.account_secrets.expires_at is 'When the token ends.';
comment on column orbyt_private.account_secrets.updated_at is 'When it was written.';

create table orbyt_private.retired_keys (
  key_id text not null,
  retired_at timestamptz not null default now(),
  constraint retired_keys_pkey primary key (key_id)
);
comment on table orbyt_private.retired_keys is
  'Master keys that were deleted for good. What a worker still seals with one of them is refused, and no other key gets the name.';
comment on column orbyt_private.retired_keys.key_id is 'Its id.';
comment on column orbyt_private.retired_keys.retired_at is 'When.';

create table orbyt_private.operator_issues (
  code text not null,
  first_seen_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  count integer not null default 1,
  detail text not null default '',
  constraint operator_issues_pkey primary key (code),
  constraint operator_issues_code_fkey foreign key (code) references orbyt.error_catalog (code)
);
comment on table orbyt_private.operator_issues is
  'What only the operator can put right, found out from what happens to many accounts. One row per cause, until it is cleared.';
comment on column orbyt_private.operator_issues.code is 'Code of error_catalog.';
comment on column orbyt_private.operator_issues.first_seen_at is 'First time.';
comment on column orbyt_private.operator_issues.last_seen_at is 'Last time.';
comment on column orbyt_private.operator_issues.count is 'How often.';
comment on column orbyt_private.operator_issues.detail is 'What it was seen at.';

-- Limits ---------------------------------------------------------------------------------------------------------------

create table orbyt_private.throttles (
  scope text not null,
  key text not null,
  until timestamptz not null,
  code text not null,
  phase orbyt_private.job_phase not null default 'publish',
  hits integer not null default 1,
  updated_at timestamptz not null default now(),
  constraint throttles_pkey primary key (scope, key, phase),
  constraint throttles_scope_check check (scope in ('platform', 'account'))
);
comment on table orbyt_private.throttles is 'Who must be left alone until when: a whole platform (app-wide limit, outage, an operator) or one account.';
comment on column orbyt_private.throttles.scope is 'platform or account.';
comment on column orbyt_private.throttles.key is 'Platform name or account id.';
comment on column orbyt_private.throttles.until is 'End of the pause.';
comment on column orbyt_private.throttles.code is 'Why.';
comment on column orbyt_private.throttles.phase is 'background: hidden work waits, and what is ready to be published goes on; publish: everything waits.';
comment on column orbyt_private.throttles.hits is 'How often it was prolonged since it last ended.';
comment on column orbyt_private.throttles.updated_at is 'When it was last set.';

create table orbyt_private.outage_reports (
  platform text not null,
  account_id uuid not null,
  reported_at timestamptz not null default now(),
  constraint outage_reports_pkey primary key (platform, account_id)
);
comment on table orbyt_private.outage_reports is 'Accounts that lately met an outage of a platform; enough of them open its breaker.';
comment on column orbyt_private.outage_reports.platform is 'The platform.';
comment on column orbyt_private.outage_reports.account_id is 'The account.';
comment on column orbyt_private.outage_reports.reported_at is 'When.';

create table orbyt_private.breakers (
  platform text not null,
  opened_at timestamptz not null,
  probe_at timestamptz not null,
  openings integer not null default 1,
  probing boolean not null default false,
  constraint breakers_pkey primary key (platform)
);
comment on table orbyt_private.breakers is 'Platforms that are down: nothing is claimed until probe_at, then one job at a time until one succeeds.';
comment on column orbyt_private.breakers.platform is 'The platform.';
comment on column orbyt_private.breakers.opened_at is 'Since when.';
comment on column orbyt_private.breakers.probe_at is 'When the next probe may be made.';
comment on column orbyt_private.breakers.probing is 'A job was let through to try.';
comment on column orbyt_private.breakers.openings is 'How often in a row; the pause doubles with each.';

create table orbyt_private.quota_ledger (
  bucket text not null,
  key text not null,
  window_start timestamptz not null,
  resets_at timestamptz not null,
  units_max integer not null,
  units_used integer not null default 0,
  closed_at timestamptz,
  constraint quota_ledger_pkey primary key (bucket, key, window_start),
  constraint quota_ledger_used_check check (units_used >= 0)
);
comment on table orbyt_private.quota_ledger is 'Allowance used per bucket and window: YouTube units and uploads per project and day, publishes per account.';
comment on column orbyt_private.quota_ledger.bucket is 'youtube_uploads, youtube_units, …';
comment on column orbyt_private.quota_ledger.key is 'Google project or account.';
comment on column orbyt_private.quota_ledger.window_start is 'Start of the window.';
comment on column orbyt_private.quota_ledger.resets_at is 'End of the window (YouTube: midnight Pacific).';
comment on column orbyt_private.quota_ledger.units_max is 'Allowance.';
comment on column orbyt_private.quota_ledger.units_used is 'Reserved or used.';
comment on column orbyt_private.quota_ledger.closed_at is 'Set when the platform itself said it is used up.';

create table orbyt_private.quota_uses (
  bucket text not null,
  key text not null,
  once text not null,
  units integer not null default 1,
  units_max integer not null,
  used_at timestamptz not null,
  constraint quota_uses_pkey primary key (bucket, key, once)
);
create index quota_uses_window_idx on orbyt_private.quota_uses (bucket, key, used_at);
comment on table orbyt_private.quota_uses is
  'Allowance used in rolling windows of 24 hours (reels of a page, containers of an Instagram account): one row per use, pruned when it no longer counts.';
comment on column orbyt_private.quota_uses.bucket is 'facebook_reels, instagram_containers, …';
comment on column orbyt_private.quota_uses.key is 'Account, or the name the platform gives the allowance.';
comment on column orbyt_private.quota_uses.once is 'What it was used for; the same again is not counted twice.';
comment on column orbyt_private.quota_uses.units is 'How much.';
comment on column orbyt_private.quota_uses.units_max is 'Allowance when it was used.';
comment on column orbyt_private.quota_uses.used_at is 'When; it counts for 24 hours.';

-- Row level security is on everywhere; policies come last, in a migration of their own. The private tables have none:
-- nobody but the functions (owned by postgres) reads or writes them.
alter table orbyt.error_catalog enable row level security;
alter table orbyt.platforms enable row level security;
alter table orbyt.accounts enable row level security;
alter table orbyt.publish_jobs enable row level security;
alter table orbyt.job_events enable row level security;
alter table orbyt.side_tasks enable row level security;
alter table orbyt_private.settings enable row level security;
alter table orbyt_private.workers enable row level security;
alter table orbyt_private.job_queue enable row level security;
alter table orbyt_private.lanes enable row level security;
alter table orbyt_private.job_steps enable row level security;
alter table orbyt_private.account_changes enable row level security;
alter table orbyt_private.account_grants enable row level security;
alter table orbyt_private.account_secrets enable row level security;
alter table orbyt_private.retired_keys enable row level security;
alter table orbyt_private.operator_issues enable row level security;
alter table orbyt_private.throttles enable row level security;
alter table orbyt_private.outage_reports enable row level security;
alter table orbyt_private.breakers enable row level security;
alter table orbyt_private.quota_ledger enable row level security;
alter table orbyt_private.quota_uses enable row level security;

-- Grants: nothing by default, then by name. Select is table-wide so that select('*') works; insert and update go by column.
revoke all on all tables in schema orbyt from public, anon, authenticated, service_role, orbyt_worker;
revoke all on all tables in schema orbyt_private from public, anon, authenticated, service_role, orbyt_worker;
revoke all on all sequences in schema orbyt from public, anon, authenticated, service_role, orbyt_worker;
revoke all on all sequences in schema orbyt_private from public, anon, authenticated, service_role, orbyt_worker;

grant select on orbyt.error_catalog, orbyt.platforms to anon, authenticated, service_role;
grant select on orbyt.accounts, orbyt.publish_jobs, orbyt.job_events, orbyt.side_tasks to authenticated, service_role;
grant insert (job_id, post_id, user_id, account_id, kind, title, caption, media, options, publish_at, expires_at, client_ref)
  on orbyt.publish_jobs to authenticated, service_role;
grant update (kind, title, caption, media, options, publish_at, expires_at, client_ref)
  on orbyt.publish_jobs to authenticated, service_role;
