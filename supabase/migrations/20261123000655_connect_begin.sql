-- Orbyt: connecting, first half: the set-up, the authorize URL, and the way back through a door.

-- Set-up, by the worker when it starts -----------------------------------------------------------------------------------------

create function orbyt_private.set_connect_app(
  p_login text, p_platforms text[], p_client_id text, p_redirect_uri text, p_authorize_url text, p_scopes jsonb,
  p_parameters jsonb default '{}', p_pkce boolean default false, p_scope_separator text default ' '
)
returns void
language sql
security definer
set search_path = ''
as $$
  insert into orbyt_private.connect_apps as c (login, platforms, client_id, redirect_uri, authorize_url, scopes, parameters, pkce, scope_separator)
  values (p_login, p_platforms, p_client_id, p_redirect_uri, p_authorize_url, p_scopes, p_parameters, p_pkce, p_scope_separator)
  on conflict (login) do update
  set platforms = excluded.platforms, client_id = excluded.client_id, redirect_uri = excluded.redirect_uri,
      authorize_url = excluded.authorize_url, scopes = excluded.scopes, parameters = excluded.parameters, pkce = excluded.pkce,
      scope_separator = excluded.scope_separator, updated_at = now()
$$;
comment on function orbyt_private.set_connect_app(text, text[], text, text, text, jsonb, jsonb, boolean, text) is
  'A login this installation has client credentials for. No secret among the arguments.';

-- One worker cannot tell whether another one has what it lacks. So the list is stated as a whole, by workers that have a callback
-- URL: they must all have the same logins, and whoever started last is believed. A worker without one states nothing.
create function orbyt_private.keep_connect_apps(p_logins text[])
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_count integer;
begin
  delete from orbyt_private.connect_apps c where c.login <> all (coalesce(p_logins, '{}'));
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function orbyt_private.keep_connect_apps(text[]) is
  'These are all the logins of this installation: the others are withdrawn, begin_connect answers platform_not_configured for them. Returns how many. Accounts connected through them stay.';

create function orbyt_private.set_connect_proof(p_on boolean)
returns void
language sql
security definer
set search_path = ''
as $$
  insert into orbyt_private.settings as s (name, value) values ('connect_proof', pg_catalog.to_jsonb(coalesce(p_on, false)))
  on conflict (name) do update set value = excluded.value where s.value is distinct from excluded.value
$$;
comment on function orbyt_private.set_connect_proof(boolean) is
  'Whether the link back to the app carries a proof that finish_connect must be given. Holds for logins that come back from now on.';

create function orbyt_private.set_connect_return_to(p_urls jsonb)
returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
  -- A fragment would swallow what is added; the schemes named would run in the browser instead of leaving it.
  if pg_catalog.jsonb_typeof(p_urls) is distinct from 'array' or exists (
      select from pg_catalog.jsonb_array_elements(p_urls) as u (value)
      where pg_catalog.jsonb_typeof(u.value) <> 'string'
        or pg_catalog.length(u.value #>> '{}') > 2000
        or (u.value #>> '{}') !~ '^[a-zA-Z][a-zA-Z0-9+.-]*:[!-~]+$'
        or (u.value #>> '{}') ~ '[#<>"\\^`{|}]'
        or (u.value #>> '{}') ~* '^(javascript|data|vbscript|file|blob|about):') then
    perform orbyt_private.raise_error('return_to_not_allowed', 'return_to', 'a link has a scheme and no fragment');
  end if;
  insert into orbyt_private.settings as s (name, value) values ('connect_return_to', p_urls)
  on conflict (name) do update set value = excluded.value where s.value is distinct from excluded.value;
end
$$;
comment on function orbyt_private.set_connect_return_to(jsonb) is
  'Links the app may ask to be sent back to: an array of them, compared as they are. The first is used when nobody can tell whose login it was.';

create function orbyt_private.add_callback_key(p_key_id text, p_public_jwk jsonb, p_owner_id uuid, p_sealed_private bytea, p_sealed_key_id text)
returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
  -- Sealed with a master key that is gone: nobody could open it.
  if not orbyt_private.hold_keys(array[p_sealed_key_id]) then
    perform orbyt_private.raise_error('secret_unreadable');
  end if;
  insert into orbyt_private.callback_keys (key_id, public_jwk, owner_id, sealed_private, sealed_key_id)
  values (p_key_id, p_public_jwk, p_owner_id, p_sealed_private, p_sealed_key_id)
  on conflict do nothing;
  return found;
end
$$;
comment on function orbyt_private.add_callback_key(text, jsonb, uuid, bytea, text) is
  'The key pair of the callback doors, if there is none yet. False: somebody else was faster, read that one.';

create function orbyt_private.read_callback_key(p_key_id text)
returns table (owner_id uuid, sealed_private bytea, sealed_key_id text)
language sql
stable
security definer
set search_path = ''
as $$
  select k.owner_id, k.sealed_private, k.sealed_key_id from orbyt_private.callback_keys k where k.key_id = p_key_id
$$;
comment on function orbyt_private.read_callback_key(text) is 'Private half of a callback key, sealed with a master key.';

create function orbyt_private.callback_key()
returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select pg_catalog.jsonb_build_object('key_id', k.key_id, 'jwk', k.public_jwk) from orbyt_private.callback_keys k where k.active
$$;
comment on function orbyt_private.callback_key() is 'Public half of the key with which a door seals codes: {key_id, jwk}; null as long as no worker has made one.';

create function orbyt_private.connect_facts()
returns jsonb
language sql
stable
security definer
set search_path = ''
as $$
  select pg_catalog.jsonb_build_object(
    'apps', coalesce((
      select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
        'login', c.login, 'platforms', c.platforms, 'redirect_uri', c.redirect_uri, 'updated_at', c.updated_at) order by c.login)
      from orbyt_private.connect_apps c), '[]'::jsonb),
    'return_to', coalesce(orbyt_private.setting('connect_return_to'), '[]'::jsonb),
    'proof', coalesce(orbyt_private.setting('connect_proof'), 'false'::jsonb),
    'callback_key', (select k.key_id from orbyt_private.callback_keys k where k.active),
    'issues', coalesce((
      select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('code', i.code, 'since', i.first_seen_at, 'detail', i.detail) order by i.code)
      from orbyt_private.operator_issues i), '[]'::jsonb),
    'open_sessions', (select count(*) from orbyt.connect_sessions s where s.status in ('started', 'exchanging', 'choose')))
$$;
comment on function orbyt_private.connect_facts() is 'What is set up for connecting: apps by login, links back, whether they carry a proof, callback key, open issues, open sessions.';

-- Begin ------------------------------------------------------------------------------------------------------------------------

create function orbyt_private.begin_own_connect(p_platform text, p_return_to text, p_login text, p_account_id uuid)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_user_id uuid := auth.uid();
  v_account orbyt.accounts;
  v_app orbyt_private.connect_apps;
  v_session orbyt.connect_sessions;
  v_login text := p_login;
  v_state text := orbyt_private.base64url(extensions.gen_random_bytes(32));
  v_verifier text;
  v_scopes text[];
  v_query text;
  v_open_max integer := coalesce((orbyt_private.setting('connect_open_max'))::integer, 5);
  v_minutes integer := coalesce((orbyt_private.setting('connect_minutes'))::integer, 10);
begin
  if v_user_id is null then
    perform orbyt_private.raise_error('not_allowed');
  end if;
  -- Exactly one of the list: whatever is made of a link before it is compared, somebody makes something else of it afterwards.
  if p_return_to is null or p_return_to ~ '[[:cntrl:]]' or not coalesce(orbyt_private.setting('connect_return_to') ? p_return_to, false) then
    perform orbyt_private.raise_error('return_to_not_allowed', 'return_to');
  end if;
  if p_account_id is not null then
    select * into v_account from orbyt.accounts a
    where a.account_id = p_account_id and a.user_id = v_user_id and a.platform = p_platform;
    if v_account.account_id is null then
      perform orbyt_private.raise_error('account_not_found', 'account_id');
    end if;
    -- The way it came, if that is still there.
    v_login := coalesce(v_login, (
      select g.login from orbyt_private.account_grants g
      join orbyt_private.connect_apps c on c.login = g.login and p_platform = any (c.platforms)
      where g.account_id = p_account_id));
  end if;
  -- Without a wish: Facebook Login where it serves (Instagram accounts linked to a Page), else the platform's own.
  select c.* into v_app
  from orbyt_private.connect_apps c
  join orbyt.platforms p on p.platform = p_platform and p.enabled
  where p_platform = any (c.platforms) and (v_login is null or c.login = v_login)
  order by c.login <> 'facebook', c.login
  limit 1;
  if v_app.login is null then
    perform orbyt_private.raise_error('platform_not_configured', case when p_login is null then 'platform' else 'login' end);
  end if;
  -- Counting and inserting belong together; a flood in parallel must not get past the limit. accounts_to_revoke asks for this lock, too.
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('orbyt_connect/' || v_user_id::text, 0));
  if (select count(*) from orbyt.connect_sessions s
      where s.user_id = v_user_id and s.status in ('started', 'exchanging', 'choose') and s.expires_at > now())
     >= v_open_max
     -- Nor any number by ending each at once: a row stays for as long as retention_days.
     or (select count(*) from orbyt.connect_sessions s
         where s.user_id = v_user_id and s.created_at > now() - pg_catalog.make_interval(mins => v_minutes))
     >= 6 * v_open_max then
    perform orbyt_private.raise_error('connect_too_many');
  end if;

  insert into orbyt.connect_sessions as s (user_id, platform, login, account_id, return_to, expires_at)
  values (v_user_id, p_platform, v_app.login, p_account_id, p_return_to,
          now() + pg_catalog.make_interval(mins => v_minutes))
  returning * into v_session;
  if v_app.pkce then
    v_verifier := orbyt_private.base64url(extensions.gen_random_bytes(48));
  end if;
  v_scopes := array(select pg_catalog.jsonb_array_elements_text(coalesce(v_app.scopes -> p_platform, '[]'::jsonb)));
  insert into orbyt_private.connect_flows (session_id, state_hash, code_verifier, redirect_uri, scopes)
  values (v_session.session_id, pg_catalog.sha256(pg_catalog.convert_to(v_state, 'UTF8')), v_verifier, v_app.redirect_uri, v_scopes);

  -- What protects the login cannot be overridden by an installation's parameters.
  select pg_catalog.string_agg(orbyt_private.url_encode(q.key) || '=' || orbyt_private.url_encode(q.value), '&' order by q.key) into v_query
  from pg_catalog.jsonb_each_text(v_app.parameters || pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
    'client_id', v_app.client_id, 'redirect_uri', v_app.redirect_uri, 'response_type', 'code', 'state', v_state,
    'scope', nullif(pg_catalog.array_to_string(v_scopes, v_app.scope_separator), ''),
    'code_challenge', orbyt_private.base64url(pg_catalog.sha256(pg_catalog.convert_to(v_verifier, 'UTF8'))),
    'code_challenge_method', case when v_app.pkce then 'S256' end))) q;
  return pg_catalog.jsonb_build_object(
    'session_id', v_session.session_id,
    'authorize_url', v_app.authorize_url || case when pg_catalog.strpos(v_app.authorize_url, '?') > 0 then '&' else '?' end || v_query,
    'expires_at', v_session.expires_at);
end
$$;
comment on function orbyt_private.begin_own_connect(text, text, text, uuid) is
  'Begin a session of the signed-in user: a new state, PKCE where the login has it, and the URL of the platform''s page.';

-- The callback, for every door ---------------------------------------------------------------------------------------------------

create function orbyt_private.connect_callback(
  p_state_hash text, p_sealed_code text default null, p_key_id text default null, p_error text default null, p_now timestamptz default now()
)
returns jsonb
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_session orbyt.connect_sessions;
  v_code text;
  v_proof text;
  v_word text := case when p_error ~ '^[a-z0-9_]{1,64}$' then p_error end;
begin
  if p_state_hash ~ '^[0-9a-f]{64}$' then
    select s.* into v_session
    from orbyt_private.connect_flows f
    join orbyt.connect_sessions s on s.session_id = f.session_id
    where f.state_hash = pg_catalog.decode(p_state_hash, 'hex')
    for update of s;
  end if;
  if v_session.session_id is null then
    return pg_catalog.jsonb_build_object(
      'redirect', orbyt_private.connect_redirect(orbyt_private.setting('connect_return_to') ->> 0, null, 'failed'),
      'session_id', null, 'status', 'failed', 'code', 'connect_state_unknown');
  end if;

  update orbyt_private.connect_flows f
  set used_at = p_now
  where f.session_id = v_session.session_id and f.used_at is null and v_session.status = 'started';
  if not found then
    v_code := case v_session.status when 'expired' then 'connect_expired' else 'connect_state_used' end;
  elsif v_session.expires_at <= p_now then
    v_code := 'connect_expired';
    perform orbyt_private.end_connect(v_session.session_id, 'expired', v_code);
  elsif p_error is not null or p_sealed_code is null then
    v_code := case when p_error in ('access_denied', 'user_denied') then 'connect_denied'
                   when p_error in ('cancelled', 'canceled', 'user_cancelled', 'user_canceled') then 'connect_cancelled'
                   else 'connect_platform_refused' end;
    perform orbyt_private.end_connect(v_session.session_id, 'failed', v_code, v_word);
  elsif pg_catalog.length(p_sealed_code) > 8192 or pg_catalog.length(p_sealed_code) % 4 <> 0 or p_sealed_code !~ '^[A-Za-z0-9+/]+={0,2}$'
     or not exists (select from orbyt_private.callback_keys k where k.key_id = p_key_id) then
    -- A door that speaks of a key we do not have, or not in base64: nobody could open it.
    v_code := 'connect_interrupted';
    perform orbyt_private.end_connect(v_session.session_id, 'failed', v_code);
  else
    -- Whoever began the session need not be the person who approved. Only the latter's browser gets this, and gets it once.
    if coalesce((orbyt_private.setting('connect_proof'))::boolean, false) then
      v_proof := orbyt_private.base64url(extensions.gen_random_bytes(32));
    end if;
    update orbyt_private.connect_flows f
    set sealed_code = pg_catalog.decode(p_sealed_code, 'base64'), code_key_id = p_key_id,
        proof_hash = pg_catalog.sha256(pg_catalog.convert_to(v_proof, 'UTF8'))
    where f.session_id = v_session.session_id;
    update orbyt.connect_sessions s
    set status = 'exchanging',
        expires_at = p_now + pg_catalog.make_interval(mins => coalesce((orbyt_private.setting('connect_minutes'))::integer, 10))
    where s.session_id = v_session.session_id;
    if coalesce((orbyt_private.setting('notify'))::boolean, true) then
      perform pg_catalog.pg_notify('orbyt_connect', '');
    end if;
  end if;
  select * into v_session from orbyt.connect_sessions s where s.session_id = v_session.session_id;
  return pg_catalog.jsonb_build_object(
    'redirect', orbyt_private.connect_redirect(v_session.return_to, v_session.session_id, v_session.status::text, v_proof),
    'session_id', v_session.session_id, 'status', v_session.status, 'code', v_code);
end
$$;
comment on function orbyt_private.connect_callback(text, text, text, text, timestamptz) is
  'A browser came back: take its state once, keep the sealed code for a worker or end the session, and say where the browser goes: {redirect, session_id, status, code}. The code is for the door''s log, not for the link.';
