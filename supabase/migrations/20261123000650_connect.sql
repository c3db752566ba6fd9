-- Orbyt: connecting accounts (OAuth).
--
--   begin_connect (app) ─▶ the platform's page ─▶ callback (a door) ─▶ exchange (worker) ─▶ finish_connect (app)
--        started                                    exchanging            choose             connected
--           └───────────────────────────────────────────┴──────────────────┴──▶ failed | expired
--
-- What travels through the browser is worth nothing by itself. The state is stored as a hash only and taken once; the code
-- arrives sealed with a public key, is handed to one worker, once, and is gone from the table with that; tokens lie in
-- connect_grants, sealed for the account they are for, until the user has chosen or the session ends.
--
-- Locks: session row → flow row; account_grants rows (by account_id) → accounts rows, as everywhere else.

create table orbyt.connect_sessions (
  session_id uuid not null default gen_random_uuid(),
  user_id uuid not null,
  platform text not null,
  login text not null,
  account_id uuid,
  status orbyt.connect_status not null default 'started',
  candidates jsonb not null default '[]',
  candidates_complete boolean not null default true,
  account_ids uuid[] not null default '{}',
  error_code text,
  error_message text,
  return_to text not null,
  expires_at timestamptz not null,
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint connect_sessions_pkey primary key (session_id),
  constraint connect_sessions_user_id_fkey foreign key (user_id) references auth.users (id) on delete cascade,
  constraint connect_sessions_account_fkey foreign key (account_id, user_id) references orbyt.accounts (account_id, user_id) on delete cascade,
  constraint connect_sessions_platform_fkey foreign key (platform) references orbyt.platforms (platform),
  constraint connect_sessions_error_code_fkey foreign key (error_code) references orbyt.error_catalog (code),
  constraint connect_sessions_candidates_check check (jsonb_typeof(candidates) = 'array'),
  constraint connect_sessions_error_check check (status not in ('failed', 'expired') or error_code is not null),
  constraint connect_sessions_connected_check check ((status = 'connected') = (cardinality(account_ids) > 0))
);
create index connect_sessions_user_idx on orbyt.connect_sessions (user_id, created_at desc);
create index connect_sessions_account_idx on orbyt.connect_sessions (account_id, user_id);
create index connect_sessions_platform_idx on orbyt.connect_sessions (platform);
create index connect_sessions_error_code_idx on orbyt.connect_sessions (error_code);
create index connect_sessions_open_idx on orbyt.connect_sessions (expires_at) where status in ('started', 'exchanging', 'choose');
create index connect_sessions_ended_idx on orbyt.connect_sessions (expires_at) where status in ('connected', 'failed', 'expired');
comment on table orbyt.connect_sessions is
  'One attempt to connect accounts: begun with begin_connect, finished with finish_connect. The app reads its own; no tokens, no codes here.';
comment on column orbyt.connect_sessions.session_id is 'Comes back in the link to the app.';
comment on column orbyt.connect_sessions.user_id is 'Owner.';
comment on column orbyt.connect_sessions.platform is 'facebook, instagram or youtube.';
comment on column orbyt.connect_sessions.login is 'Way to log in: google, facebook, instagram.';
comment on column orbyt.connect_sessions.account_id is 'The account that is reconnected; null when new ones are connected.';
comment on column orbyt.connect_sessions.status is 'started, exchanging, choose (call finish_connect), connected, failed, expired.';
comment on column orbyt.connect_sessions.candidates is
  'Accounts on offer: array of {platform_account_id, name, handle, picture_url, usable, code (why not), connected (the user has it already)}.';
comment on column orbyt.connect_sessions.candidates_complete is 'False: the platform did not give the whole list, accounts may be missing.';
comment on column orbyt.connect_sessions.account_ids is 'Accounts that were connected.';
comment on column orbyt.connect_sessions.error_code is 'Why it failed; with status choose a remark (connect_list_incomplete).';
comment on column orbyt.connect_sessions.error_message is 'That in a sentence.';
comment on column orbyt.connect_sessions.return_to is 'Link back to the app; session_id and status are added to it.';
comment on column orbyt.connect_sessions.expires_at is 'End of the session, unless it ends before.';
comment on column orbyt.connect_sessions.version is 'Grows with every change; drop late events by it.';
comment on column orbyt.connect_sessions.created_at is 'When it was begun.';
comment on column orbyt.connect_sessions.updated_at is 'When it last changed.';

create table orbyt_private.connect_flows (
  session_id uuid not null,
  state_hash bytea not null,
  code_verifier text,
  redirect_uri text not null,
  scopes text[] not null default '{}',
  used_at timestamptz,
  sealed_code bytea,
  code_key_id text,
  worker_id uuid,
  claimed_at timestamptz,
  attempt integer not null default 0,
  proof_hash bytea,
  constraint connect_flows_pkey primary key (session_id),
  constraint connect_flows_state_key unique (state_hash),
  constraint connect_flows_session_id_fkey foreign key (session_id) references orbyt.connect_sessions (session_id) on delete cascade
);
create index connect_flows_waiting_idx on orbyt_private.connect_flows (used_at) where sealed_code is not null;
create index connect_flows_worker_idx on orbyt_private.connect_flows (worker_id) where worker_id is not null;
comment on table orbyt_private.connect_flows is 'The half of a session that nobody may see. Its row stays as long as the session, so that a state that comes back twice is recognised.';
comment on column orbyt_private.connect_flows.session_id is 'The session.';
comment on column orbyt_private.connect_flows.state_hash is 'SHA-256 of the state in the authorize URL. The state itself is stored nowhere.';
comment on column orbyt_private.connect_flows.code_verifier is 'PKCE, where the login has it. Gone once it was handed to a worker.';
comment on column orbyt_private.connect_flows.redirect_uri is 'As it stood in the authorize URL; the exchange has to repeat it.';
comment on column orbyt_private.connect_flows.scopes is 'Permissions asked for.';
comment on column orbyt_private.connect_flows.used_at is 'When the state came back. It counts once.';
comment on column orbyt_private.connect_flows.sealed_code is 'The code, sealed by the door with the public callback key. Gone once it was handed to a worker.';
comment on column orbyt_private.connect_flows.code_key_id is 'Which callback key.';
comment on column orbyt_private.connect_flows.worker_id is 'Worker that exchanges it.';
comment on column orbyt_private.connect_flows.claimed_at is 'Since when.';
comment on column orbyt_private.connect_flows.attempt is 'Fencing token of that worker.';
comment on column orbyt_private.connect_flows.proof_hash is
  'SHA-256 of the proof in the link back to the app, if connect_proof was on: only whoever got that link may choose. The proof itself is stored nowhere.';

create table orbyt_private.connect_grants (
  session_id uuid not null,
  platform_account_id text not null,
  account_id uuid not null,
  login text not null,
  platform_user_id text not null default '',
  scopes text[] not null default '{}',
  secrets jsonb not null,
  token_expires_at timestamptz,
  data_access_expires_at timestamptz,
  profile jsonb not null,
  constraint connect_grants_pkey primary key (session_id, platform_account_id),
  constraint connect_grants_session_id_fkey foreign key (session_id) references orbyt.connect_sessions (session_id) on delete cascade
);
create index connect_grants_person_idx on orbyt_private.connect_grants (login, platform_user_id);
comment on table orbyt_private.connect_grants is 'Tokens of candidates that can be chosen, sealed by the worker. Deleted when the session ends, however it ends.';
comment on column orbyt_private.connect_grants.session_id is 'The session.';
comment on column orbyt_private.connect_grants.platform_account_id is 'The candidate.';
comment on column orbyt_private.connect_grants.account_id is 'The account it is or will be: the seal is bound to it.';
comment on column orbyt_private.connect_grants.login is 'Way to log in.';
comment on column orbyt_private.connect_grants.platform_user_id is 'Who logged in, by the platform''s id for this app.';
comment on column orbyt_private.connect_grants.scopes is 'Permissions granted.';
comment on column orbyt_private.connect_grants.secrets is 'Array of {kind, sealed (base64), key_id, expires_at}.';
comment on column orbyt_private.connect_grants.token_expires_at is 'When the connection ends if nothing renews it.';
comment on column orbyt_private.connect_grants.data_access_expires_at is 'When Meta ends the access to data.';
comment on column orbyt_private.connect_grants.profile is 'Name, handle and picture for the account row.';

create table orbyt_private.connect_apps (
  login text not null,
  platforms text[] not null,
  client_id text not null,
  redirect_uri text not null,
  authorize_url text not null,
  scopes jsonb not null default '{}',
  scope_separator text not null default ' ',
  parameters jsonb not null default '{}',
  pkce boolean not null default false,
  updated_at timestamptz not null default now(),
  constraint connect_apps_pkey primary key (login)
);
comment on table orbyt_private.connect_apps is 'The logins of this installation, as authorize URLs need them. No secrets; written by the worker when it starts.';
comment on column orbyt_private.connect_apps.login is 'google, facebook, instagram.';
comment on column orbyt_private.connect_apps.platforms is 'Platforms that can be connected with it.';
comment on column orbyt_private.connect_apps.client_id is 'Public id of our app there.';
comment on column orbyt_private.connect_apps.redirect_uri is 'Our callback, as registered there.';
comment on column orbyt_private.connect_apps.authorize_url is 'The platform''s page.';
comment on column orbyt_private.connect_apps.scopes is 'Permissions to ask for, by platform.';
comment on column orbyt_private.connect_apps.scope_separator is 'What joins them.';
comment on column orbyt_private.connect_apps.parameters is 'Fixed further parameters of the URL (access_type, prompt, config_id).';
comment on column orbyt_private.connect_apps.pkce is 'Whether the platform documents PKCE.';
comment on column orbyt_private.connect_apps.updated_at is 'When a worker last wrote it.';

create table orbyt_private.callback_keys (
  key_id text not null,
  public_jwk jsonb not null,
  owner_id uuid not null,
  sealed_private bytea not null,
  sealed_key_id text not null,
  active boolean not null default true,
  created_at timestamptz not null default now(),
  constraint callback_keys_pkey primary key (key_id)
);
create unique index callback_keys_active_idx on orbyt_private.callback_keys (active) where active;
comment on table orbyt_private.callback_keys is 'Key pairs with which doors seal codes for the workers (RSA-OAEP-256). The private half is sealed with a master key.';
comment on column orbyt_private.callback_keys.key_id is 'Name of the pair.';
comment on column orbyt_private.callback_keys.public_jwk is 'The public half.';
comment on column orbyt_private.callback_keys.owner_id is 'What the seal of the private half is bound to.';
comment on column orbyt_private.callback_keys.sealed_private is 'The private half, sealed.';
comment on column orbyt_private.callback_keys.sealed_key_id is 'Master key it is sealed with.';
comment on column orbyt_private.callback_keys.active is 'The one doors use. The others still open what came before.';
comment on column orbyt_private.callback_keys.created_at is 'When it was made.';

alter table orbyt.connect_sessions enable row level security;
alter table orbyt_private.connect_flows enable row level security;
alter table orbyt_private.connect_grants enable row level security;
alter table orbyt_private.connect_apps enable row level security;
alter table orbyt_private.callback_keys enable row level security;
revoke all on orbyt.connect_sessions, orbyt_private.connect_flows, orbyt_private.connect_grants, orbyt_private.connect_apps, orbyt_private.callback_keys
  from public, anon, authenticated, service_role, orbyt_worker;
grant select on orbyt.connect_sessions to authenticated, service_role;

-- Whoever ends a session, and however: its secrets are gone.
create function orbyt_private.connect_sessions_before_update()
returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if new is distinct from old then
    new.version := old.version + 1;
    new.updated_at := now();
    if old.status in ('connected', 'failed', 'expired') then
      new.status := old.status;
    end if;
    if new.status in ('failed', 'expired') and new.error_code is null then
      new.error_code := 'connect_interrupted';
    end if;
  end if;
  return new;
end
$$;
comment on function orbyt_private.connect_sessions_before_update() is 'Version and time stamps; a session that has ended stays ended.';

create function orbyt_private.connect_sessions_after_update()
returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
  update orbyt_private.connect_flows f
  set code_verifier = null, sealed_code = null, worker_id = null
  where f.session_id = new.session_id;
  delete from orbyt_private.connect_grants g where g.session_id = new.session_id;
  return null;
end
$$;
comment on function orbyt_private.connect_sessions_after_update() is 'A session that ends leaves no code, no verifier and no tokens behind.';

create trigger connect_sessions_before_update before update on orbyt.connect_sessions
  for each row execute function orbyt_private.connect_sessions_before_update();
create trigger connect_sessions_after_update after update on orbyt.connect_sessions
  for each row
  when (new.status in ('connected', 'failed', 'expired') and old.status not in ('connected', 'failed', 'expired'))
  execute function orbyt_private.connect_sessions_after_update();

create function orbyt_private.end_connect(p_session_id uuid, p_status orbyt.connect_status, p_code text, p_detail text default null)
returns void
language sql
set search_path = ''
as $$
  update orbyt.connect_sessions s
  set status = p_status, error_code = orbyt_private.known_code(p_code), error_message = orbyt_private.catalog_message(p_code, p_detail)
  where s.session_id = p_session_id
$$;
comment on function orbyt_private.end_connect(uuid, orbyt.connect_status, text, text) is 'End a session without an account.';

-- Small helpers --------------------------------------------------------------------------------------------------------------

create function orbyt_private.url_encode(p_text text)
returns text
language sql
immutable
set search_path = ''
as $$
  -- Everything but the unreserved characters of RFC 3986, section 2.3.
  select coalesce(pg_catalog.string_agg(
    case when m.found[1] ~ '^[A-Za-z0-9._~-]$' then m.found[1]
         else pg_catalog.upper(pg_catalog.regexp_replace(
           pg_catalog.encode(pg_catalog.convert_to(m.found[1], 'UTF8'), 'hex'), '(..)', '%\1', 'g')) end,
    '' order by m.n), '')
  from pg_catalog.regexp_matches(p_text, '.', 'g') with ordinality as m (found, n)
$$;
comment on function orbyt_private.url_encode(text) is 'Percent-encode a value for a query string.';

create function orbyt_private.base64url(p_bytes bytea)
returns text
language sql
immutable
set search_path = ''
as $$
  select pg_catalog.translate(pg_catalog.encode(p_bytes, 'base64'), E'+/=\n', '-_')
$$;
comment on function orbyt_private.base64url(bytea) is 'base64url without padding (RFC 7636, appendix A).';

create function orbyt_private.connect_redirect(p_return_to text, p_session_id uuid, p_status text, p_proof text default null)
returns text
language sql
immutable
set search_path = ''
as $$
  select p_return_to || case when pg_catalog.strpos(p_return_to, '?') > 0 then '&' else '?' end
    || case when p_session_id is null then '' else 'session_id=' || p_session_id::text || '&' end || 'status=' || p_status
    || coalesce('&proof=' || p_proof, '')
$$;
comment on function orbyt_private.connect_redirect(text, uuid, text, text) is
  'Link back to the app: the session and its status, once the proof if there is one, and nothing else.';
