-- A stand-in of a hosted Supabase database for a plain PostgreSQL 15 to 18.
--
-- Purpose: migrations written for a hosted project apply unchanged, and a test of a privilege or of a policy means the same
-- here and there. Not a copy of Supabase: only what Orbyt touches, written from the behaviour its documentation and public
-- sources describe (supabase/postgres init scripts and migrations, supabase/auth, supabase/realtime, supabase/storage,
-- supabase/vault 0.3; read November 2026).
--
-- Run by a superuser that is not called "postgres" (that role must be an ordinary one), once per database; safe to repeat.
-- Migrations are then applied by "postgres". The setting orbyt_stand_in.default_privileges chooses the default ACL:
--   hosted      (default) what every hosted project has since 30 October 2026: nothing is granted by itself
--   permissive  an old project, made worse: everything that postgres creates anywhere is granted to every API role
--
-- It cannot show: the locks supautils takes for a policy, PostgREST, Auth, Storage and Realtime as services, the pooler.

set client_min_messages = warning;

-- Roles of the cluster --------------------------------------------------------------------------------------------------

do $$
declare
  v_role record;
begin
  -- Two databases of one cluster may be prepared at the same time.
  perform pg_catalog.pg_advisory_xact_lock(7236591846);
  for v_role in
    select *
    from (
      values
        ('postgres', 'login createdb createrole replication bypassrls'),
        ('anon', 'nologin'),
        ('authenticated', 'nologin'),
        ('service_role', 'nologin bypassrls'),
        ('authenticator', 'login noinherit'),
        ('supabase_auth_admin', 'login noinherit createrole'),
        ('supabase_storage_admin', 'login noinherit createrole'),
        ('supabase_realtime_admin', 'nologin noinherit'),
        ('supabase_read_only_user', 'login bypassrls'),
        ('dashboard_user', 'nologin createdb createrole replication')
    ) as wanted (name, attributes)
    where not exists (select from pg_catalog.pg_roles where rolname = wanted.name)
  loop
    execute format('create role %I %s', v_role.name, v_role.attributes);
  end loop;
  if (select rolsuper from pg_catalog.pg_roles where rolname = 'postgres') then
    raise exception 'the role postgres is a superuser here; initialise the cluster with another superuser (initdb -U supabase_admin)';
  end if;
end
$$;

grant anon, authenticated, service_role to authenticator;
grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres;
grant pg_read_all_data to supabase_read_only_user;

do $$
begin
  -- From 16 on a role may hand out only what it holds with the admin option; before, CREATEROLE is enough.
  if current_setting('server_version_num')::integer >= 160000 then
    grant anon, authenticated, service_role to postgres with admin option;
  else
    grant anon, authenticated, service_role to postgres;
  end if;
end
$$;

-- On a hosted project supautils lets postgres write policies on these owners' tables. Without it there must be a path of
-- ownership; extensions.refuse_platform_ddl (end of this file) takes back what it opens beyond policies and triggers.
grant supabase_realtime_admin, supabase_storage_admin to postgres;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role postgres set search_path = "$user", public, extensions;

-- The database and schema public ----------------------------------------------------------------------------------------

do $$
begin
  execute format('alter database %I owner to postgres', current_database());
  execute format('grant connect, temporary on database %I to public', current_database());
end
$$;

grant all on schema public to postgres;
grant usage on schema public to anon, authenticated, service_role;

do $$
declare
  v_mode text := coalesce(nullif(current_setting('orbyt_stand_in.default_privileges', true), ''), 'hosted');
begin
  -- What supabase_admin creates is granted in both modes; it creates nothing of ours.
  alter default privileges for role supabase_admin in schema public
    grant all on tables to postgres, anon, authenticated, service_role;
  alter default privileges for role supabase_admin in schema public
    grant all on sequences to postgres, anon, authenticated, service_role;
  alter default privileges for role supabase_admin in schema public
    grant all on functions to postgres, anon, authenticated, service_role;
  if v_mode = 'hosted' then
    -- The change of 2026 took away select, insert, update, delete; usage and select; execute. The rest stayed.
    alter default privileges for role postgres in schema public
      grant truncate, references, trigger on tables to anon, authenticated, service_role;
    alter default privileges for role postgres in schema public
      grant update on sequences to anon, authenticated, service_role;
  elsif v_mode = 'permissive' then
    -- Without "in schema", so that it reaches schemas a migration creates: worse than any real project, on purpose.
    alter default privileges for role postgres
      grant all on tables to anon, authenticated, service_role;
    alter default privileges for role postgres
      grant all on sequences to anon, authenticated, service_role;
    alter default privileges for role postgres
      grant all on functions to anon, authenticated, service_role;
    alter default privileges for role postgres
      grant usage on schemas to anon, authenticated, service_role;
  else
    raise exception 'orbyt_stand_in.default_privileges is %, expected hosted or permissive', v_mode;
  end if;
end
$$;

-- Schema extensions -----------------------------------------------------------------------------------------------------

create schema if not exists extensions;
grant all on schema extensions to postgres with grant option;
grant usage on schema extensions to anon, authenticated, service_role;

create extension if not exists pgcrypto with schema extensions;

do $$
begin
  if exists (select from pg_catalog.pg_available_extensions where name = 'uuid-ossp') then
    create extension if not exists "uuid-ossp" with schema extensions;
  end if;
end
$$;

-- Schema auth -----------------------------------------------------------------------------------------------------------

create schema if not exists auth authorization supabase_auth_admin;
grant usage on schema auth to postgres, anon, authenticated, service_role, dashboard_user;

create table if not exists auth.users (
  instance_id uuid,
  id uuid not null primary key,
  aud varchar(255),
  role varchar(255),
  email varchar(255),
  encrypted_password varchar(255),
  email_confirmed_at timestamptz,
  last_sign_in_at timestamptz,
  raw_app_meta_data jsonb,
  raw_user_meta_data jsonb,
  is_super_admin boolean,
  created_at timestamptz,
  updated_at timestamptz,
  phone text default null unique,
  phone_confirmed_at timestamptz,
  confirmed_at timestamptz generated always as (least(email_confirmed_at, phone_confirmed_at)) stored,
  banned_until timestamptz,
  deleted_at timestamptz,
  is_sso_user boolean not null default false,
  is_anonymous boolean not null default false
);
alter table auth.users owner to supabase_auth_admin;
alter table auth.users enable row level security;
grant select, insert, update, delete, references, trigger on auth.users to postgres;

-- The four readers of the request. PostgREST sets request.jwt.claims; request.jwt.claim.<name> is the older form.
create or replace function auth.jwt()
returns jsonb
language sql
stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')
  )::jsonb
$$;

create or replace function auth.uid()
returns uuid
language sql
stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
  )::uuid
$$;

create or replace function auth.role()
returns text
language sql
stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
  )
$$;

create or replace function auth.email()
returns text
language sql
stable
as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
  )
$$;

alter function auth.jwt() owner to supabase_auth_admin;
alter function auth.uid() owner to supabase_auth_admin;
alter function auth.role() owner to supabase_auth_admin;
alter function auth.email() owner to supabase_auth_admin;

-- Schema vault ----------------------------------------------------------------------------------------------------------
-- Same names, arguments, columns and rights as supabase_vault 0.3; the cipher is another one (AES-256-CBC with
-- HMAC-SHA-256 from pgcrypto, under a root key that is no secret), so a value sealed here opens nowhere else.

create schema if not exists vault;
grant usage on schema vault to postgres with grant option;
grant usage on schema vault to service_role;

create or replace function vault._crypto_aead_det_noncegen()
returns bytea
language sql
volatile
as $$ select extensions.gen_random_bytes(16) $$;

create or replace function vault._crypto_aead_det_encrypt(
  message bytea,
  additional bytea,
  key_id bigint,
  context bytea default 'pgsodium',
  nonce bytea default null
)
returns bytea
language plpgsql
immutable
as $$
declare
  v_key bytea := extensions.digest('orbyt stand-in root key'::bytea || context || key_id::text::bytea, 'sha256');
  v_mac bytea := extensions.hmac(additional || coalesce(nonce, '') || message, v_key, 'sha256');
begin
  -- Deterministic: the authenticator of the plaintext is the initialisation vector, as in SIV.
  return extensions.encrypt_iv(message, v_key, substring(v_mac from 1 for 16), 'aes-cbc/pad:pkcs') || v_mac;
end
$$;

create or replace function vault._crypto_aead_det_decrypt(
  message bytea,
  additional bytea,
  key_id bigint,
  context bytea default 'pgsodium',
  nonce bytea default null
)
returns bytea
language plpgsql
immutable
as $$
declare
  v_key bytea := extensions.digest('orbyt stand-in root key'::bytea || context || key_id::text::bytea, 'sha256');
  v_mac bytea := substring(message from greatest(octet_length(message) - 31, 1));
  v_plain bytea;
begin
  begin
    v_plain := extensions.decrypt_iv(
      substring(message from 1 for greatest(octet_length(message) - 32, 0)), v_key, substring(v_mac from 1 for 16), 'aes-cbc/pad:pkcs'
    );
  exception
    when external_routine_invocation_exception then
      v_plain := null;
  end;
  if v_plain is null or extensions.hmac(additional || coalesce(nonce, '') || v_plain, v_key, 'sha256') is distinct from v_mac then
    raise exception 'pgsodium_crypto_aead_det_decrypt_by_id: invalid ciphertext' using errcode = 'data_exception';
  end if;
  return v_plain;
end
$$;

create table if not exists vault.secrets (
  id uuid primary key default gen_random_uuid(),
  name text,
  description text not null default '',
  secret text not null,
  key_id uuid,
  nonce bytea default vault._crypto_aead_det_noncegen(),
  created_at timestamptz not null default current_timestamp,
  updated_at timestamptz not null default current_timestamp
);
create unique index if not exists secrets_name_idx on vault.secrets (name) where name is not null;

create or replace view vault.decrypted_secrets as
select
  stored.id,
  stored.name,
  stored.description,
  stored.secret,
  convert_from(
    vault._crypto_aead_det_decrypt(decode(stored.secret, 'base64'), convert_to(stored.id::text, 'utf8'), 0, 'pgsodium', stored.nonce),
    'utf8'
  ) as decrypted_secret,
  stored.key_id,
  stored.nonce,
  stored.created_at,
  stored.updated_at
from vault.secrets as stored;

-- Like the original it stores the plaintext first and encrypts it in a second step: the plaintext stays in the heap and in the
-- WAL. Callers that care create a placeholder and then call vault.update_secret; a test here can tell the difference.
create or replace function vault.create_secret(
  new_secret text,
  new_name text default null,
  new_description text default '',
  new_key_id uuid default null
)
returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_id uuid;
begin
  insert into vault.secrets (secret, name, description)
  values (new_secret, new_name, new_description)
  returning id into v_id;
  update vault.secrets
  set secret = encode(
    vault._crypto_aead_det_encrypt(convert_to(new_secret, 'utf8'), convert_to(id::text, 'utf8'), 0, 'pgsodium', nonce), 'base64'
  )
  where id = v_id;
  return v_id;
end
$$;

create or replace function vault.update_secret(
  secret_id uuid,
  new_secret text default null,
  new_name text default null,
  new_description text default null,
  new_key_id uuid default null
)
returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
  update vault.secrets
  set
    secret = case
      when new_secret is null then secret
      else encode(
        vault._crypto_aead_det_encrypt(convert_to(new_secret, 'utf8'), convert_to(id::text, 'utf8'), 0, 'pgsodium', nonce), 'base64'
      )
    end,
    name = coalesce(new_name, name),
    description = coalesce(new_description, description),
    updated_at = now()
  where id = secret_id;
end
$$;

revoke all on all functions in schema vault from public;
grant select, delete on vault.secrets, vault.decrypted_secrets to postgres with grant option;
grant select, delete on vault.secrets, vault.decrypted_secrets to service_role;
grant execute on function
  vault.create_secret(text, text, text, uuid),
  vault.update_secret(uuid, text, text, text, uuid),
  vault._crypto_aead_det_decrypt(bytea, bytea, bigint, bytea, bytea)
to postgres with grant option;
grant execute on function
  vault.create_secret(text, text, text, uuid),
  vault.update_secret(uuid, text, text, text, uuid),
  vault._crypto_aead_det_decrypt(bytea, bytea, bigint, bytea, bytea)
to service_role;

-- Schema realtime -------------------------------------------------------------------------------------------------------

create schema if not exists realtime;
grant usage on schema realtime to postgres with grant option;
grant usage on schema realtime to anon, authenticated, service_role;
grant all on schema realtime to supabase_realtime_admin;

create table if not exists realtime.messages (
  topic text not null,
  extension text not null,
  payload jsonb,
  event text,
  private boolean default false,
  updated_at timestamp not null default now(),
  inserted_at timestamp not null default now(),
  id uuid not null default gen_random_uuid(),
  binary_payload bytea,
  constraint messages_pkey primary key (id, inserted_at),
  constraint messages_payload_exclusive check (payload is null or binary_payload is null)
) partition by range (inserted_at);
alter table realtime.messages enable row level security;
alter table realtime.messages owner to supabase_realtime_admin;
create index if not exists messages_inserted_at_topic_index
  on realtime.messages (inserted_at desc, topic)
  where extension = 'broadcast' and private is true;
grant select, insert, update on realtime.messages to anon, authenticated, service_role;
grant all on realtime.messages to postgres;

do $$
declare
  v_day date;
begin
  -- Yesterday to three days ahead, as the service keeps them. Past the last one a message is dropped with a warning.
  for v_day in select generate_series(current_date - 1, current_date + 3, interval '1 day') loop
    execute format(
      'create table if not exists realtime.%I partition of realtime.messages for values from (%L) to (%L)',
      'messages_' || to_char(v_day, 'YYYY_MM_DD'), v_day, v_day + 1
    );
    execute format('alter table realtime.%I owner to supabase_realtime_admin', 'messages_' || to_char(v_day, 'YYYY_MM_DD'));
  end loop;
end
$$;

create or replace function realtime.topic()
returns text
language sql
stable
as $$ select nullif(current_setting('realtime.topic', true), '') $$;

-- Not security definer, and never an error: whatever goes wrong becomes a warning and the message is lost.
create or replace function realtime.send(payload jsonb, event text, topic text, private boolean default true)
returns void
language plpgsql
as $$
declare
  v_id uuid := gen_random_uuid();
begin
  perform set_config('realtime.topic', topic, true);
  insert into realtime.messages (id, payload, event, topic, private, extension)
  values (
    v_id,
    case when payload ? 'id' then payload else jsonb_set(payload, '{id}', to_jsonb(v_id)) end,
    event,
    topic,
    private,
    'broadcast'
  );
exception
  when others then
    raise warning 'WarnSendingBroadcastMessage: %', sqlerrm;
end
$$;

create or replace function realtime.send_binary(payload bytea, event text, topic text, private boolean default true)
returns void
language plpgsql
as $$
begin
  perform set_config('realtime.topic', topic, true);
  insert into realtime.messages (binary_payload, event, topic, private, extension)
  values (payload, event, topic, private, 'broadcast');
exception
  when others then
    raise warning 'WarnSendingBroadcastMessage: %', sqlerrm;
end
$$;

-- Unlike send this one does fail its caller: on another operation, on a statement-level trigger, on a row that is not JSON.
create or replace function realtime.broadcast_changes(
  topic_name text,
  event_name text,
  operation text,
  table_name text,
  table_schema text,
  new record,
  old record,
  level text default 'ROW'
)
returns void
language plpgsql
as $$
begin
  if level = 'STATEMENT' then
    raise exception 'function can only be triggered for each row, not for each statement';
  end if;
  if operation not in ('INSERT', 'UPDATE', 'DELETE') then
    raise exception 'Unexpected operation type: %', operation;
  end if;
  perform realtime.send(
    jsonb_build_object('record', new, 'old_record', old, 'operation', operation, 'table', table_name, 'schema', table_schema),
    event_name,
    topic_name
  );
exception
  when others then
    raise exception 'Failed to process the row: %', sqlerrm;
end
$$;

alter function realtime.topic() owner to supabase_realtime_admin;
alter function realtime.send(jsonb, text, text, boolean) owner to supabase_realtime_admin;
alter function realtime.send_binary(bytea, text, text, boolean) owner to supabase_realtime_admin;
alter function realtime.broadcast_changes(text, text, text, text, text, record, record, text) owner to supabase_realtime_admin;

do $$
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
  end if;
  alter publication supabase_realtime owner to postgres;
end
$$;

-- Schema storage --------------------------------------------------------------------------------------------------------

create schema if not exists storage authorization supabase_storage_admin;
grant usage on schema storage to postgres with grant option;
grant usage on schema storage to anon, authenticated, service_role;

create table if not exists storage.buckets (
  id text not null primary key,
  name text not null unique,
  owner uuid,
  owner_id text,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  public boolean default false,
  avif_autodetection boolean default false,
  file_size_limit bigint,
  allowed_mime_types text[]
);

create table if not exists storage.objects (
  id uuid not null primary key default gen_random_uuid(),
  bucket_id text references storage.buckets (id),
  name text,
  owner uuid,
  owner_id text,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  last_accessed_at timestamptz default now(),
  metadata jsonb,
  path_tokens text[] generated always as (string_to_array(name, '/')) stored,
  version text,
  user_metadata jsonb
);
create unique index if not exists bucketid_objname on storage.objects (bucket_id, name);

create or replace function storage.foldername(name text)
returns text[]
language sql
immutable
as $$ select trim_array(string_to_array(name, '/'), least(cardinality(string_to_array(name, '/')), 1)) $$;

create or replace function storage.filename(name text)
returns text
language sql
immutable
as $$ select (string_to_array(name, '/'))[cardinality(string_to_array(name, '/'))] $$;

create or replace function storage.extension(name text)
returns text
language sql
immutable
as $$ select reverse(split_part(reverse(storage.filename(name)), '.', 1)) $$;

create or replace function storage.protect_delete()
returns trigger
language plpgsql
as $$
begin
  if coalesce(current_setting('storage.allow_delete_query', true), 'false') <> 'true' then
    raise exception 'Direct deletion from storage tables is not allowed. Use the Storage API instead.'
      using errcode = 'insufficient_privilege';
  end if;
  return null;
end
$$;

create or replace trigger protect_buckets_delete
before delete on storage.buckets
for each statement
execute function storage.protect_delete();

create or replace trigger protect_objects_delete
before delete on storage.objects
for each statement
execute function storage.protect_delete();

alter table storage.buckets owner to supabase_storage_admin;
alter table storage.objects owner to supabase_storage_admin;
alter table storage.buckets enable row level security;
alter table storage.objects enable row level security;
alter function storage.foldername(text) owner to supabase_storage_admin;
alter function storage.filename(text) owner to supabase_storage_admin;
alter function storage.extension(text) owner to supabase_storage_admin;
alter function storage.protect_delete() owner to supabase_storage_admin;
grant all on storage.buckets, storage.objects to postgres with grant option;
grant all on storage.buckets, storage.objects to anon, authenticated, service_role;

-- What postgres may not do ----------------------------------------------------------------------------------------------
-- On a hosted project postgres owns nothing in these schemas: altering, creating or commenting there fails with 42501. Policies
-- and triggers on their tables are the exception.

create or replace function extensions.refuse_platform_ddl()
returns event_trigger
language plpgsql
set search_path = ''
as $$
declare
  v_command record;
begin
  if current_user <> 'postgres' then
    return;
  end if;
  for v_command in
    select *
    from pg_event_trigger_ddl_commands()
    where
      schema_name in ('auth', 'realtime', 'storage', 'vault')
      and command_tag not in ('CREATE POLICY', 'ALTER POLICY', 'CREATE TRIGGER')
  loop
    raise exception 'must be owner of %', v_command.object_identity using errcode = 'insufficient_privilege';
  end loop;
end
$$;

do $$
begin
  if not exists (select from pg_catalog.pg_event_trigger where evtname = 'refuse_platform_ddl') then
    create event trigger refuse_platform_ddl on ddl_command_end execute function extensions.refuse_platform_ddl();
  end if;
end
$$;

reset client_min_messages;
