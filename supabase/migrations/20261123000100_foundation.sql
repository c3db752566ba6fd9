-- Orbyt: schemas, the worker's role, closed sets, lookup tables, and the way errors are raised.
--
-- Two schemas. `orbyt` is exposed to the app (PostgREST, Realtime, generated types); `orbyt_private` is not: tokens,
-- the journal, leases, limits. A change of state is a function; nobody but the functions writes the worker's columns.
--
-- The life of a job
--
--   insert ──▶ queued ──claim──▶ publishing ──▶ published | failed | cancelled        (terminal)
--                 ▲                  │
--                 └── waits ─────────┤   a wait is a later run_at, not a state
--                 ▲                  ▼
--                 └── release ──── held      somebody has to act: reconnect, look, repair
--
-- Who locks what, in this order, so that nothing deadlocks: publish_jobs row → job_queue row → lanes rows (by account_id,
-- phase). The claim is the exception: it starts at the lanes, but only with `skip locked`, and never waits for anybody.
--
-- Functions that need the time take `p_now timestamptz default now()`: production never passes it, tests do, apps cannot
-- (they have no execute on those functions).

create schema if not exists orbyt;
comment on schema orbyt is 'Orbyt: publishing to social platforms. Everything an app may see.';
create schema if not exists orbyt_private;
comment on schema orbyt_private is 'Orbyt: worker internals (journal, leases, secrets, limits). Never exposed to the Data API.';

revoke all on schema orbyt from public, anon, authenticated, service_role;
revoke all on schema orbyt_private from public, anon, authenticated, service_role;

-- The worker's login role. It is created without a password, so nobody can use it until an operator sets one out of band
-- (docs/operating): a password in a migration would stand in the statement log and in the migration history.
do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'orbyt_worker') then
    create role orbyt_worker login;
  end if;
end
$$;

grant usage on schema orbyt to anon, authenticated, service_role, orbyt_worker;
grant usage on schema orbyt_private to authenticated, service_role, orbyt_worker;

-- Closed sets are enums, so that generated TypeScript gets unions and the Table Editor dropdowns. Open sets (platforms,
-- error codes) are lookup tables.

create type orbyt.job_status as enum ('queued', 'publishing', 'held', 'published', 'failed', 'cancelled');
comment on type orbyt.job_status is 'Where a job is in its life. published, failed and cancelled are final.';
create type orbyt.job_stage as enum ('waiting', 'preparing', 'downloading', 'uploading', 'processing', 'publishing', 'verifying');
comment on type orbyt.job_stage is 'What is being done for a job right now, for the user to read.';
create type orbyt.post_kind as enum ('text', 'photo', 'carousel', 'video', 'reel', 'story');
comment on type orbyt.post_kind is 'What sort of post it is.';
create type orbyt.account_status as enum ('active', 'needs_reauth', 'disconnected');
comment on type orbyt.account_status is 'Whether a connected account can be published to.';
create type orbyt.connect_status as enum ('started', 'exchanging', 'choose', 'connected', 'failed', 'expired');
comment on type orbyt.connect_status is
  'Where an attempt to connect accounts is: at the platform, being redeemed, waiting for the user''s choice. connected, failed and expired are final.';
create type orbyt.side_task_status as enum ('pending', 'done', 'failed');
comment on type orbyt.side_task_status is 'How a side task of a published post (first comment, thumbnail) stands.';
create type orbyt_private.job_phase as enum ('inspect', 'background', 'publish');
comment on type orbyt_private.job_phase is
  'Which lane a job stands in: inspect = look at the media of a post that is scheduled for later; background = work nobody can see; publish = the one visible call.';
create type orbyt_private.step_state as enum ('saved', 'recorded', 'begun', 'confirmed');
comment on type orbyt_private.step_state is
  'saved = a partial result; recorded = a hidden step is done; begun = the visible call may have been made; confirmed = it was made and answered.';

-- Lookup tables ------------------------------------------------------------------------------------------------------

create table orbyt.error_catalog (
  code text not null,
  area text not null,
  title text not null,
  what_happened text not null,
  who_acts text not null,
  action text not null,
  what_to_do text not null,
  retryable boolean not null,
  needs_reauth boolean not null default false,
  holds boolean not null default false,
  outcome text not null default 'not_published',
  counts_as_attempt boolean not null default true,
  sqlstate text,
  since text not null default '0.1.0',
  retired_at timestamptz,
  constraint error_catalog_pkey primary key (code),
  constraint error_catalog_outcome_check check (outcome in ('not_published', 'unknown', 'published'))
);
comment on table orbyt.error_catalog is 'Every error Orbyt can report: what happened, who acts, what to do. Join it on error_code.';
comment on column orbyt.error_catalog.code is 'Stable name; the value of error_code elsewhere.';
comment on column orbyt.error_catalog.area is 'Part of the system it belongs to: input, media, account, queue, network, a platform, internal.';
comment on column orbyt.error_catalog.title is 'A few words for a heading.';
comment on column orbyt.error_catalog.what_happened is 'One sentence the user can read.';
comment on column orbyt.error_catalog.who_acts is 'user, app_developer, operator, platform or nobody.';
comment on column orbyt.error_catalog.action is 'What the UI should offer: reconnect, edit_caption, replace_media, wait, retry, …';
comment on column orbyt.error_catalog.what_to_do is 'One sentence that says how to get on.';
comment on column orbyt.error_catalog.retryable is 'Whether Orbyt tries again by itself.';
comment on column orbyt.error_catalog.needs_reauth is 'Whether the account must be connected again.';
comment on column orbyt.error_catalog.holds is 'Whether the job is held for somebody instead of failed.';
comment on column orbyt.error_catalog.outcome is 'What is known about the post: not_published, unknown, published.';
comment on column orbyt.error_catalog.counts_as_attempt is 'False for waiting that is not the job''s fault (quota, throttle, outage, reconnect).';
comment on column orbyt.error_catalog.sqlstate is 'SQLSTATE with which SQL functions and triggers raise it to the app, if they do.';
comment on column orbyt.error_catalog.since is 'Version of Orbyt that introduced the code.';
comment on column orbyt.error_catalog.retired_at is 'Set when the code is no longer produced. Codes are never deleted or reused.';

create table orbyt.platforms (
  platform text not null,
  title text not null,
  kinds orbyt.post_kind[] not null default '{}',
  shapes jsonb not null default '{}',
  limits jsonb not null default '{}',
  options jsonb not null default '{}',
  required_scopes text[] not null default '{}',
  enabled boolean not null default true,
  prepare_lead interval not null default interval '75 minutes',
  paused_until timestamptz,
  pause_code text,
  constraint platforms_pkey primary key (platform),
  constraint platforms_pause_code_fkey foreign key (pause_code) references orbyt.error_catalog (code)
);
create index platforms_pause_code_idx on orbyt.platforms (pause_code);
comment on table orbyt.platforms is 'The platforms Orbyt publishes to, with their limits, so that a UI can show and check them.';
comment on column orbyt.platforms.platform is 'facebook, instagram, youtube.';
comment on column orbyt.platforms.title is 'Name to show.';
comment on column orbyt.platforms.kinds is 'Kinds of post this platform takes.';
comment on column orbyt.platforms.shapes is 'Per kind: media_min, media_max, types of media, and whether it has a title (required, optional, ignored).';
comment on column orbyt.platforms.limits is 'Limits by name; the unit is in the name. Generated from the worker''s rules.';
comment on column orbyt.platforms.options is 'Keys allowed in publish_jobs.options, with their type.';
comment on column orbyt.platforms.required_scopes is 'Permissions an account must have granted.';
comment on column orbyt.platforms.enabled is 'False: new jobs for this platform are refused.';
comment on column orbyt.platforms.prepare_lead is 'How long before publish_at the hidden work may start.';
comment on column orbyt.platforms.paused_until is 'While in the future, nothing is sent to this platform (outage, app-wide limit, or an operator).';
comment on column orbyt.platforms.pause_code is 'Why it is paused.';

create table orbyt_private.settings (
  name text not null,
  value jsonb not null,
  constraint settings_pkey primary key (name)
);
comment on table orbyt_private.settings is 'Settings of the database side. Change with an update; functions read them on every call.';
comment on column orbyt_private.settings.name is 'Name of the setting.';
comment on column orbyt_private.settings.value is 'Its value.';
insert into orbyt_private.settings (name, value) values
  ('inspect_in_flight_max', '2'),
  ('background_in_flight_max', '2'),
  ('publish_in_flight_max', '1'),
  ('retention_days', '90'),
  ('losses_max', '8'),
  ('schedule_horizon_days', '400'),
  ('media_items_max', '20'),
  ('storage_sources', 'true'),
  ('notify', 'true'),
  ('connect_return_to', '[]'),
  ('connect_open_max', '5'),
  ('connect_minutes', '10')
on conflict (name) do nothing;

create function orbyt_private.setting(p_name text)
returns jsonb
language sql
stable
set search_path = ''
as $$
  select s.value from orbyt_private.settings s where s.name = p_name
$$;
comment on function orbyt_private.setting(text) is 'Value of one database-side setting.';

-- Errors raised to people ------------------------------------------------------------------------------------------------

create function orbyt_private.raise_error(p_code text, p_field text default null, p_detail text default null)
returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_entry orbyt.error_catalog;
begin
  select * into v_entry from orbyt.error_catalog e where e.code = p_code;
  raise exception using
    errcode = coalesce(v_entry.sqlstate, 'OR000'),
    message = coalesce(v_entry.what_happened, p_code),
    detail = pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('code', p_code, 'field', p_field, 'detail', p_detail))::text,
    hint = coalesce(v_entry.what_to_do, '');
end
$$;
comment on function orbyt_private.raise_error(text, text, text) is
  'Raise a catalog error: SQLSTATE of the code, message for the user, details as JSON {code, field, detail}, hint with what to do.';

-- A newer worker may know codes this database does not have yet. Writing a result must never fail for that.
create function orbyt_private.known_code(p_code text)
returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
  if p_code is null or exists (select from orbyt.error_catalog e where e.code = p_code) then
    return p_code;
  end if;
  insert into orbyt.error_catalog (code, area, title, what_happened, who_acts, action, what_to_do, retryable)
  values (p_code, 'internal', p_code, 'Something went wrong: ' || p_code || '.', 'operator', 'contact_operator',
          'Apply the migrations that came with this version of the worker.', false)
  on conflict (code) do nothing;
  return p_code;
end
$$;
comment on function orbyt_private.known_code(text) is 'The code itself; adds a provisional catalog row if a newer worker reports one this database does not know.';

create function orbyt_private.catalog_message(p_code text, p_detail text)
returns text
language sql
stable
set search_path = ''
as $$
  select pg_catalog.left(
    coalesce((select e.what_happened from orbyt.error_catalog e where e.code = p_code), p_code)
    || case when coalesce(p_detail, '') = '' then '' else ' (' || p_detail || ')' end, 500)
$$;
comment on function orbyt_private.catalog_message(text, text) is 'Text for error_message: the catalog''s sentence and a short detail, at most 500 characters.';
