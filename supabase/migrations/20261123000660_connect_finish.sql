-- Orbyt: connecting, second half: the worker's exchange, the offer, the choice.

-- Exchange ----------------------------------------------------------------------------------------------------------------------

-- Ending a grant at a platform ends everything the person ever granted us there, whatever is granted while the call is on its way
-- included (Google: "Using OAuth 2.0 for Web Server Applications", Meta: "Requesting & Revoking Permissions", both read 2026-11).
-- So the two never overlap: no call is taken up while a login of that user is open (accounts_to_revoke), and no code is exchanged
-- while such a call may be in flight. Whose call it is does not matter, nor whether its worker still lives.
create function orbyt_private.revoke_in_hand(p_user_id uuid, p_login text, p_now timestamptz)
returns boolean
language sql
stable
set search_path = ''
as $$
  select exists (
    select from orbyt.accounts a
    join orbyt_private.account_grants g on g.account_id = a.account_id
    where a.user_id = p_user_id and g.login = p_login and g.revoke_worker_id is not null and g.revoke_lease_until > p_now)
$$;
comment on function orbyt_private.revoke_in_hand(uuid, text, timestamptz) is 'Whether a grant of this user is being ended at the platform right now.';

create function orbyt_private.login_is_open(p_user_id uuid, p_login text, p_platform_user_id text, p_now timestamptz)
returns boolean
language sql
stable
set search_path = ''
as $$
  select exists (
    select from orbyt.connect_sessions s
    where s.user_id = p_user_id and s.login = p_login and s.status in ('started', 'exchanging', 'choose')
      -- A minute more: one that comes back at the last moment may not be committed yet.
      and (s.status = 'exchanging' or s.expires_at > p_now - interval '1 minute'))
    or exists (
      select from orbyt_private.connect_grants c where c.login = p_login and c.platform_user_id = p_platform_user_id)
$$;
comment on function orbyt_private.login_is_open(uuid, text, text, timestamptz) is
  'Whether a login of this user may still lead to a new grant, or this person has given one that is not chosen yet.';

-- Two users of the app may be one person at the platform. Who that is comes out with the exchange only.
create function orbyt_private.lock_person(p_login text, p_platform_user_id text, p_wait boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  v_key bigint := pg_catalog.hashtextextended('orbyt_person/' || p_login || '/' || p_platform_user_id, 0);
begin
  if not p_wait then
    return pg_catalog.pg_try_advisory_xact_lock(v_key);
  end if;
  perform pg_catalog.pg_advisory_xact_lock(v_key);
  return true;
end
$$;
comment on function orbyt_private.lock_person(text, text, boolean) is
  'What is granted by a person and what ends their grants goes one after the other. Taken before everything else, or without waiting.';

-- A code is redeemed once. Whoever dies with it in hand may have redeemed it or not: nobody tries again, the user does.
create function orbyt_private.interrupt_connects(p_now timestamptz)
returns integer
language plpgsql
set search_path = ''
as $$
declare
  v_session_id uuid;
  v_count integer := 0;
begin
  for v_session_id in
    select f.session_id
    from orbyt_private.connect_flows f
    join orbyt.connect_sessions s on s.session_id = f.session_id
    where f.worker_id is not null and s.status = 'exchanging'
      and not exists (select from orbyt_private.workers w where w.worker_id = f.worker_id and w.lease_until >= p_now)
    order by f.session_id
    limit 100
    for update of s skip locked
  loop
    perform orbyt_private.end_connect(v_session_id, 'failed', 'connect_interrupted');
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function orbyt_private.interrupt_connects(timestamptz) is 'Fail sessions whose worker fell silent while it exchanged the code. Returns how many.';

create function orbyt_private.claim_connects(p_worker_id uuid, p_limit integer, p_now timestamptz default now())
returns table (
  session_id uuid, user_id uuid, platform text, login text, account_id uuid, platform_account_id text, state_hash text, redirect_uri text,
  code_verifier text, sealed_code bytea, code_key_id text, attempt integer, known jsonb
)
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_sessions uuid[];
begin
  -- One whose lease is over counts as dead: what it took now, the next one to look would call interrupted.
  if not exists (select from orbyt_private.workers w where w.worker_id = p_worker_id and w.lease_until >= p_now) then
    raise exception using errcode = 'OR100', message = 'worker is not registered, or its lease is over';
  end if;
  perform orbyt_private.interrupt_connects(p_now);
  select pg_catalog.array_agg(x.session_id) into v_sessions
  from (
    select s.session_id
    from orbyt_private.connect_flows f
    join orbyt.connect_sessions s on s.session_id = f.session_id
    where f.sealed_code is not null and s.status = 'exchanging' and s.expires_at > p_now
      and not orbyt_private.revoke_in_hand(s.user_id, s.login, p_now)
    order by f.used_at
    limit p_limit
    for update of s, f skip locked
  ) x;
  return query
    with before as (
      select f.* from orbyt_private.connect_flows f where f.session_id = any (v_sessions)
    ), taken as (
      update orbyt_private.connect_flows f
      set sealed_code = null, code_verifier = null, worker_id = p_worker_id, claimed_at = p_now, attempt = f.attempt + 1
      where f.session_id = any (v_sessions)
      returning f.session_id, f.attempt
    )
    select s.session_id, s.user_id, s.platform, s.login, s.account_id, a.platform_account_id, pg_catalog.encode(b.state_hash, 'hex'),
           b.redirect_uri, b.code_verifier, b.sealed_code, b.code_key_id, t.attempt,
           coalesce((
             select pg_catalog.jsonb_object_agg(k.platform_account_id, k.account_id)
             from orbyt.accounts k where k.user_id = s.user_id and k.platform = s.platform), '{}'::jsonb)
    from taken t
    join before b on b.session_id = t.session_id
    join orbyt.connect_sessions s on s.session_id = t.session_id
    left join orbyt.accounts a on a.account_id = s.account_id
    order by b.used_at;
end
$$;
comment on function orbyt_private.claim_connects(uuid, integer, timestamptz) is
  'Take sessions whose code came back, unless a grant of their user is just being ended. Code and verifier leave the table with it: nobody gets them a second time.';

create function orbyt_private.lock_exchange(p_session_id uuid, p_attempt integer)
returns orbyt.connect_sessions
language plpgsql
set search_path = ''
as $$
declare
  v_session orbyt.connect_sessions;
begin
  select s.* into v_session from orbyt.connect_sessions s where s.session_id = p_session_id and s.status = 'exchanging' for update;
  perform 1 from orbyt_private.connect_flows f where f.session_id = p_session_id and f.attempt = p_attempt and f.worker_id is not null;
  if not found then
    return null;
  end if;
  return v_session;
end
$$;
comment on function orbyt_private.lock_exchange(uuid, integer) is 'Lock the session of an exchange; null if it ended or somebody else has it.';

create function orbyt_private.fail_connect(p_session_id uuid, p_attempt integer, p_code text, p_message text default null)
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_session orbyt.connect_sessions := orbyt_private.lock_exchange(p_session_id, p_attempt);
begin
  if v_session.session_id is null then
    return 'stale';
  end if;
  update orbyt.connect_sessions s
  set status = 'failed', error_code = orbyt_private.known_code(p_code),
      error_message = pg_catalog.left(coalesce(nullif(p_message, ''), orbyt_private.catalog_message(p_code, null)), 500)
  where s.session_id = p_session_id;
  return 'ok';
end
$$;
comment on function orbyt_private.fail_connect(uuid, integer, text, text) is 'The exchange ended without an account on offer. ok or stale.';

-- Choose -------------------------------------------------------------------------------------------------------------------------

create function orbyt_private.connect_chosen(p_session orbyt.connect_sessions, p_platform_account_ids text[])
returns uuid[]
language plpgsql
set search_path = ''
as $$
declare
  v_grant orbyt_private.connect_grants;
  v_stored orbyt_private.account_grants;
  v_account orbyt.accounts;
  v_accounts uuid[] := '{}';
begin
  -- Grants before accounts, in order: a refresh of one of them goes the same way.
  perform 1 from orbyt_private.account_grants g
  where g.account_id in (
    select c.account_id from orbyt_private.connect_grants c
    where c.session_id = p_session.session_id and c.platform_account_id = any (p_platform_account_ids))
  order by g.account_id
  for update;
  for v_grant in
    select * from orbyt_private.connect_grants c
    where c.session_id = p_session.session_id and c.platform_account_id = any (p_platform_account_ids)
    order by c.account_id
  loop
    -- Ids follow from user and page, so an account that was erased at the person's wish has the id of the one that comes back.
    update orbyt.accounts a
    set platform_account_id = v_grant.platform_account_id
    where a.account_id = v_grant.account_id and a.user_id = p_session.user_id and a.platform_account_id = 'erased:' || a.account_id::text;
    insert into orbyt.accounts as a (account_id, user_id, platform, platform_account_id, name, handle, picture_url)
    values (v_grant.account_id, p_session.user_id, p_session.platform, v_grant.platform_account_id,
            v_grant.profile ->> 'name', v_grant.profile ->> 'handle', v_grant.profile ->> 'picture_url')
    on conflict (user_id, platform, platform_account_id) do update
    set name = excluded.name, handle = excluded.handle, picture_url = excluded.picture_url
    returning * into v_account;
    -- Connected in another session meanwhile: the tokens are sealed for an account that there will not be.
    if v_account.account_id <> v_grant.account_id then
      perform orbyt_private.raise_error('connect_interrupted', 'account_ids', v_grant.platform_account_id);
    end if;
    select * into v_stored from orbyt_private.account_grants g where g.account_id = v_grant.account_id;
    -- Offered because the stored refresh token would do; between the offer and the choice it may have died, or the account was let go.
    if v_grant.login = 'google' and not v_grant.secrets @> '[{"kind": "refresh_token"}]'
       and not (v_account.status = 'active' and exists (
         select from orbyt_private.account_secrets s where s.account_id = v_grant.account_id and s.kind = 'refresh_token')) then
      perform orbyt_private.raise_error('connect_interrupted', 'account_ids', v_grant.platform_account_id);
    end if;
    -- Tokens of another login, or of a grant that is over, have no place beside the new ones.
    if v_stored.login <> v_grant.login or v_account.status <> 'active' then
      delete from orbyt_private.account_secrets s where s.account_id = v_grant.account_id;
    end if;
    -- A revocation that is still to be made would end the new grant as well.
    insert into orbyt_private.account_grants as g (account_id, login, platform_user_id)
    values (v_grant.account_id, v_grant.login, nullif(v_grant.platform_user_id, ''))
    on conflict (account_id) do update
    set login = excluded.login, platform_user_id = excluded.platform_user_id,
        check_lease_until = null, check_failed_at = null, check_error_code = null, check_not_before = null,
        revoke_requested_at = null, revoke_tried_at = null, revoke_lease_until = null, revoke_error_code = null, revoked_at = null;
    perform orbyt_private.store_grant(
      v_grant.account_id,
      (select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                'kind', x.secret ->> 'kind', 'sealed', x.secret ->> 'sealed', 'key_id', x.secret ->> 'key_id',
                'expires_in_seconds', extract(epoch from (x.secret ->> 'expires_at')::timestamptz - now())))
       from pg_catalog.jsonb_array_elements(v_grant.secrets) as x (secret)),
      v_grant.scopes,
      extract(epoch from v_grant.token_expires_at - now())::double precision,
      extract(epoch from v_grant.data_access_expires_at - now())::double precision);
    v_accounts := v_accounts || v_grant.account_id;
  end loop;
  update orbyt.connect_sessions s
  set status = 'connected', account_ids = v_accounts, error_code = null, error_message = null
  where s.session_id = p_session.session_id;
  return v_accounts;
end
$$;
comment on function orbyt_private.connect_chosen(orbyt.connect_sessions, text[]) is
  'Make accounts of candidates: rows, grants, secrets, held jobs released, all in one transaction. An account that was there keeps its id.';

create function orbyt_private.offer_candidates(
  p_session_id uuid, p_attempt integer, p_candidates jsonb, p_complete boolean, p_grants jsonb, p_auto text[] default null,
  p_now timestamptz default now()
)
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_session orbyt.connect_sessions;
  v_flow orbyt_private.connect_flows;
  v_keys boolean := orbyt_private.hold_keys((
    select pg_catalog.array_agg(k.id)
    from pg_catalog.jsonb_to_recordset(p_grants) as g (secrets jsonb)
    cross join lateral unnest(orbyt_private.key_ids(g.secrets)) as k (id)));
  v_person record;
  v_ended boolean := false;
  v_wanted text;
  v_candidates jsonb;
  v_usable text[];
  v_auto text[];
  v_code text;
begin
  for v_person in
    select distinct coalesce(g.login, '') as login, g.platform_user_id as id
    from pg_catalog.jsonb_to_recordset(p_grants) as g (login text, platform_user_id text)
    where g.platform_user_id <> ''
    order by 1, 2
  loop
    perform orbyt_private.lock_person(v_person.login, v_person.id, true);
  end loop;
  v_session := orbyt_private.lock_exchange(p_session_id, p_attempt);
  if v_session.session_id is null then
    return 'stale';
  end if;
  select * into v_flow from orbyt_private.connect_flows f where f.session_id = p_session_id;
  -- The same person's grant was ended, or is just being ended, for another user: what was granted here may be gone with it.
  select exists (
    select
    from pg_catalog.jsonb_to_recordset(p_grants) as g (login text, platform_user_id text)
    join orbyt_private.account_grants o on o.login = g.login and o.platform_user_id = g.platform_user_id
    where (o.revoke_worker_id is not null and o.revoke_lease_until > p_now) or o.revoked_at >= v_flow.claimed_at) into v_ended;
  -- Nothing of it can be used, and the code cannot be exchanged again.
  if v_ended or not v_keys then
    perform orbyt_private.end_connect(p_session_id, 'failed', 'connect_interrupted');
    return 'stale';
  end if;
  select a.platform_account_id into v_wanted from orbyt.accounts a where a.account_id = v_session.account_id;

  insert into orbyt_private.connect_grants (
    session_id, platform_account_id, account_id, login, platform_user_id, scopes, secrets, token_expires_at, data_access_expires_at, profile)
  select p_session_id, g.platform_account_id, g.account_id, coalesce(g.login, v_session.login), coalesce(g.platform_user_id, ''),
         coalesce(g.scopes, '{}'),
         (select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                   'kind', x.kind, 'sealed', x.sealed, 'key_id', x.key_id,
                   'expires_at', p_now + pg_catalog.make_interval(secs => x.expires_in_seconds)))
          from pg_catalog.jsonb_to_recordset(g.secrets) as x (kind text, sealed text, key_id text, expires_in_seconds double precision)),
         p_now + pg_catalog.make_interval(secs => g.token_expires_in_seconds),
         p_now + pg_catalog.make_interval(secs => g.data_access_expires_in_seconds),
         pg_catalog.jsonb_build_object('name', g.name, 'handle', g.handle, 'picture_url', g.picture_url)
  from pg_catalog.jsonb_to_recordset(p_grants) as g (
    platform_account_id text, account_id uuid, login text, platform_user_id text, scopes text[], secrets jsonb,
    token_expires_in_seconds double precision, data_access_expires_in_seconds double precision, name text, handle text, picture_url text)
  where pg_catalog.jsonb_array_length(g.secrets) > 0
  on conflict (session_id, platform_account_id) do nothing;

  -- What can be done with each, and what only the database knows: whose account it is, what is stored for it.
  with offered as (
    select distinct on (c.platform_account_id) c.*, e.n
    from pg_catalog.jsonb_array_elements(p_candidates) with ordinality as e (item, n)
    cross join lateral pg_catalog.jsonb_to_record(e.item) as c (platform_account_id text, name text, handle text, picture_url text, code text)
    order by c.platform_account_id, e.n
  ), judged as (
    select o.*, a.account_id is not null as connected,
           case when o.platform_account_id <> v_wanted then 'account_wrong_channel'
                when o.code is not null then orbyt_private.known_code(o.code)
                when g.account_id is null then 'connect_page_token_missing'
                when a.account_id <> g.account_id then 'connect_interrupted'
                -- Google gives a refresh token with a consent only. None now: the stored one will do if it is known to work.
                when g.login = 'google' and not g.secrets @> '[{"kind": "refresh_token"}]'
                     and not (a.status = 'active' and exists (
                       select from orbyt_private.account_secrets s where s.account_id = a.account_id and s.kind = 'refresh_token'))
                  then 'connect_no_refresh_token'
           end as problem
    from offered o
    left join orbyt_private.connect_grants g on g.session_id = p_session_id and g.platform_account_id = o.platform_account_id
    left join orbyt.accounts a
      on a.user_id = v_session.user_id and a.platform = v_session.platform and a.platform_account_id = o.platform_account_id
  )
  select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
           'platform_account_id', j.platform_account_id, 'name', pg_catalog.left(j.name, 500), 'handle', pg_catalog.left(j.handle, 500),
           'picture_url', pg_catalog.left(j.picture_url, 2048), 'usable', j.problem is null, 'code', j.problem, 'connected', j.connected)
           order by j.n), '[]'::jsonb),
         coalesce(pg_catalog.array_agg(j.platform_account_id order by j.n) filter (where j.problem is null), '{}'),
         -- Why nothing can be done, if so: the wanted account's own reason, else the first.
         (pg_catalog.array_agg(j.problem order by (j.platform_account_id = v_wanted) desc nulls last, j.n))[1]
  into v_candidates, v_usable, v_code
  from judged j;
  if v_wanted is not null and not v_candidates @> pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('platform_account_id', v_wanted)) then
    v_code := case when p_complete then 'account_wrong_channel' else 'connect_list_incomplete' end;
  end if;

  update orbyt.connect_sessions s
  set candidates = v_candidates, candidates_complete = p_complete,
      status = case when v_usable = '{}' then 'failed' else 'choose' end::orbyt.connect_status,
      error_code = case when v_usable = '{}' then coalesce(v_code, 'connect_platform_refused') when not p_complete then 'connect_list_incomplete' end,
      error_message = case when v_usable = '{}' then orbyt_private.catalog_message(coalesce(v_code, 'connect_platform_refused'), null)
                           when not p_complete then orbyt_private.catalog_message('connect_list_incomplete', null) end,
      -- Time to choose.
      expires_at = p_now + interval '30 minutes'
  where s.session_id = p_session_id
  returning * into v_session;
  if v_session.status = 'failed' then
    return 'ok';
  end if;
  delete from orbyt_private.connect_grants g where g.session_id = p_session_id and g.platform_account_id <> all (v_usable);
  update orbyt_private.connect_flows f set worker_id = null where f.session_id = p_session_id;

  v_auto := array(select u.id from unnest(v_usable) as u (id) where u.id = any (p_auto));
  -- With a proof in the link, whoever got the link decides.
  if v_auto <> '{}' and v_flow.proof_hash is null and (p_complete or v_wanted is not null) then
    perform orbyt_private.connect_chosen(v_session, v_auto);
  end if;
  return 'ok';
end
$$;
comment on function orbyt_private.offer_candidates(uuid, integer, jsonb, boolean, jsonb, text[], timestamptz) is
  'The accounts of a login, each with what can be done with it: candidates [{platform_account_id, name, handle, picture_url, code}], grants with sealed tokens for the usable ones. p_auto is connected at once, unless the list is incomplete or the link back carried a proof. Failed, if nothing can be used. stale, if the session ended, or if what was granted is worth nothing (sealed with a retired key, ended meanwhile): then it failed.';

create function orbyt_private.finish_own_connect(p_session_id uuid, p_platform_account_ids text[], p_proof text default null)
returns setof orbyt.accounts
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_session orbyt.connect_sessions;
  v_ids text[] := array(select distinct x.id from unnest(p_platform_account_ids) as x (id) order by 1);
  v_unknown text;
  v_unusable text;
  v_accounts uuid[];
begin
  select * into v_session from orbyt.connect_sessions s
  where s.session_id = p_session_id
    and (s.user_id = auth.uid() or coalesce(auth.role(), '') = 'service_role' or session_user = 'postgres')
  for update;
  if v_session.session_id is null then
    perform orbyt_private.raise_error('connect_session_not_found', 'session_id');
  end if;
  -- The same again: the answer may have been lost.
  if v_session.status = 'connected' and v_ids = array(
      select a.platform_account_id from orbyt.accounts a where a.account_id = any (v_session.account_ids) order by 1) then
    return query select a.* from orbyt.accounts a where a.account_id = any (v_session.account_ids) order by a.account_id;
    return;
  end if;
  if v_session.status = 'expired' or (v_session.status in ('started', 'exchanging', 'choose') and v_session.expires_at <= now()) then
    perform orbyt_private.raise_error('connect_expired', 'session_id');
  end if;
  if v_session.status <> 'choose' then
    perform orbyt_private.raise_error('connect_session_not_choosable', 'session_id', v_session.status::text);
  end if;
  if exists (
      select from orbyt_private.connect_flows f
      where f.session_id = p_session_id and f.proof_hash is not null
        and f.proof_hash is distinct from pg_catalog.sha256(pg_catalog.convert_to(p_proof, 'UTF8'))) then
    perform orbyt_private.raise_error('connect_proof_missing', 'proof');
  end if;
  select x.id into v_unknown
  from unnest(v_ids) as x (id)
  where x.id is null or not v_session.candidates @> pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('platform_account_id', x.id))
  limit 1;
  if found or v_ids = '{}' then
    perform orbyt_private.raise_error('connect_candidate_unknown', 'account_ids', v_unknown);
  end if;
  select x.id into v_unusable
  from unnest(v_ids) as x (id)
  where not exists (
    select from orbyt_private.connect_grants g where g.session_id = p_session_id and g.platform_account_id = x.id)
  limit 1;
  if found then
    perform orbyt_private.raise_error('connect_candidate_unusable', 'account_ids', v_unusable);
  end if;
  v_accounts := orbyt_private.connect_chosen(v_session, v_ids);
  return query select a.* from orbyt.accounts a where a.account_id = any (v_accounts) order by a.account_id;
end
$$;
comment on function orbyt_private.finish_own_connect(uuid, text[], text) is
  'Connect the chosen candidates of an own session, with the proof of its link if that had one. Repeated with the same choice it returns the same accounts.';

create function orbyt_private.expire_connects(p_now timestamptz default now(), p_limit integer default 500)
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_session_id uuid;
  v_count integer := orbyt_private.interrupt_connects(p_now);
  -- Looked up once: in the statement it would be looked up for every session.
  v_forget_before timestamptz := p_now - pg_catalog.make_interval(days => coalesce((orbyt_private.setting('retention_days'))::integer, 90));
begin
  for v_session_id in
    select s.session_id from orbyt.connect_sessions s
    where s.status in ('started', 'exchanging', 'choose') and s.expires_at <= p_now
    order by s.expires_at
    limit p_limit
    for update skip locked
  loop
    perform orbyt_private.end_connect(v_session_id, 'expired', 'connect_expired');
    v_count := v_count + 1;
  end loop;
  delete from orbyt.connect_sessions s
  where s.session_id in (
    select o.session_id from orbyt.connect_sessions o
    where o.expires_at < v_forget_before and o.status in ('connected', 'failed', 'expired')
    limit p_limit);
  return v_count;
end
$$;
comment on function orbyt_private.expire_connects(timestamptz, integer) is
  'End sessions whose time is over or whose worker fell silent; forget those older than retention_days. Returns how many ended.';

-- The RPCs -----------------------------------------------------------------------------------------------------------------------

create function orbyt.begin_connect(platform text, return_to text, login text default null, account_id uuid default null)
returns jsonb
language sql
security invoker
set search_path = ''
as $$ select orbyt_private.begin_own_connect($1, $2, $3, $4) $$;
comment on function orbyt.begin_connect(text, text, text, uuid) is
  'Begin to connect accounts, or (account_id) to reconnect one: {session_id, authorize_url, expires_at}. Open the URL in the system browser. Errors: platform_not_configured, return_to_not_allowed, account_not_found, connect_too_many.';

create function orbyt.finish_connect(session_id uuid, account_ids text[], proof text default null)
returns setof orbyt.accounts
language sql
security invoker
set search_path = ''
as $$ select r.* from orbyt_private.finish_own_connect($1, $2, $3) as r $$;
comment on function orbyt.finish_connect(uuid, text[], text) is
  'Connect the chosen candidates, given by their platform_account_id. proof: as it stood in the link back to the app, if it did. Errors: connect_session_not_found, connect_session_not_choosable, connect_expired, connect_proof_missing, connect_candidate_unknown, connect_candidate_unusable, connect_interrupted. Safe to repeat.';

create function orbyt.connect_callback(state_hash text, sealed_code text default null, key_id text default null, error text default null)
returns jsonb
language sql
security invoker
set search_path = ''
as $$ select orbyt_private.connect_callback($1, $2, $3, $4) $$;
comment on function orbyt.connect_callback(text, text, text, text) is 'For the callback door (Edge Function, with the secret key): where to send the browser.';

create function orbyt.callback_key()
returns jsonb
language sql
stable
security invoker
set search_path = ''
as $$ select orbyt_private.callback_key() $$;
comment on function orbyt.callback_key() is 'For the callback door: the public key to seal codes with, {key_id, jwk}.';
