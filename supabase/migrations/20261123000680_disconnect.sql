-- Orbyt: looking after connected accounts, and letting them go.
--
-- A check is a read at the platform (does the token live, are the permissions still there); a refresh renews. Both are taken by
-- one worker at a time and come to every account in turn: whoever was looked at last goes to the end, also when it failed.

create function orbyt_private.read_account(p_account_id uuid)
returns table (
  account_id uuid, user_id uuid, platform text, platform_account_id text, name text, handle text, scopes text[], login text, version bigint, status text
)
language sql
stable
security definer
set search_path = ''
as $$
  select a.account_id, a.user_id, a.platform, a.platform_account_id, a.name, a.handle, a.scopes, g.login, g.version, a.status::text
  from orbyt.accounts a
  join orbyt_private.account_grants g on g.account_id = a.account_id
  where a.account_id = p_account_id
$$;
comment on function orbyt_private.read_account(uuid) is 'One account and the version of its grant, without secrets; no row if it was never granted.';

-- Check --------------------------------------------------------------------------------------------------------------------------

create function orbyt_private.accounts_to_check(p_worker_id uuid, p_limit integer, p_lease_seconds double precision, p_now timestamptz default now())
returns table (
  account_id uuid, user_id uuid, platform text, platform_account_id text, name text, handle text, scopes text[], login text, version bigint
)
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_accounts uuid[];
begin
  -- Daily, as Meta asks for tokens used outside its SDKs (Meta, "Login Security", read 2026-11); twice a day and first, if work is
  -- due within a day: early enough for the user to act.
  select pg_catalog.array_agg(x.account_id) into v_accounts
  from (
    select g.account_id
    from orbyt.accounts a
    join orbyt_private.account_grants g on g.account_id = a.account_id
    cross join lateral (
      select exists (
        select from orbyt_private.lanes l where l.account_id = a.account_id and l.next_run_at <= p_now + interval '24 hours') as soon
    ) w
    where a.status = 'active'
      and (a.checked_at is null or a.checked_at < p_now - interval '12 hours')
      and (a.checked_at is null or a.checked_at < p_now - interval '24 hours' or w.soon)
      and (g.check_not_before is null or g.check_not_before <= p_now)
      and (g.check_lease_until is null or g.check_lease_until <= p_now
           or not exists (select from orbyt_private.workers k where k.worker_id = g.check_worker_id and k.lease_until >= p_now))
    order by w.soon desc, g.check_tried_at nulls first, a.checked_at nulls first, a.account_id
    limit p_limit
    for update of g skip locked
  ) x;
  -- In the order in which they are looked at.
  update orbyt_private.account_grants g
  set check_lease_until = p_now + pg_catalog.make_interval(secs => p_lease_seconds), check_worker_id = p_worker_id,
      check_tried_at = p_now + pg_catalog.make_interval(secs => v.n * 0.000001)
  from unnest(v_accounts) with ordinality as v (id, n)
  where g.account_id = v.id;
  return query
    select r.account_id, r.user_id, r.platform, r.platform_account_id, r.name, r.handle, r.scopes, r.login, r.version
    from unnest(v_accounts) with ordinality as v (id, n)
    cross join lateral orbyt_private.read_account(v.id) r
    order by v.n;
end
$$;
comment on function orbyt_private.accounts_to_check(uuid, integer, double precision, timestamptz) is
  'Take accounts whose connection should be looked at: those with work due within 24 hours first (every 12 hours), then all others (every 24). Nobody else gets them until note_check or the end of the lease.';

create function orbyt_private.note_check(
  p_account_id uuid, p_version bigint, p_code text default null, p_token_expires_in_seconds double precision default null,
  p_data_access_expires_in_seconds double precision default null, p_scopes text[] default null, p_cool_seconds double precision default null
)
returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
  update orbyt_private.account_grants g
  set check_lease_until = null, check_worker_id = null,
      check_failed_at = case when p_code is null then g.check_failed_at else now() end,
      check_error_code = orbyt_private.known_code(p_code),
      check_not_before = case when p_code is not null then now() + pg_catalog.make_interval(secs => coalesce(p_cool_seconds, 900)) end
  where g.account_id = p_account_id and g.version = p_version;
  if not found then
    return 'changed';
  end if;
  update orbyt.accounts a
  set checked_at = case when p_code is null then now() else a.checked_at end,
      scopes = coalesce(p_scopes, a.scopes),
      token_expires_at = coalesce(now() + pg_catalog.make_interval(secs => p_token_expires_in_seconds), a.token_expires_at),
      data_access_expires_at = coalesce(now() + pg_catalog.make_interval(secs => p_data_access_expires_in_seconds), a.data_access_expires_at)
  where a.account_id = p_account_id and a.status = 'active';
  -- Only a confirmed rejection disconnects.
  if (select e.needs_reauth from orbyt.error_catalog e where e.code = p_code) then
    perform orbyt_private.lose_account(p_account_id, p_code);
  end if;
  return 'ok';
end
$$;
comment on function orbyt_private.note_check(uuid, bigint, text, double precision, double precision, text[], double precision) is
  'How a connection stands. No code: it works. A code with needs_reauth asks for the user and holds the jobs; any other is written down and looked at again after p_cool_seconds. changed: the grant was replaced meanwhile, nothing happens.';

-- Disconnect ---------------------------------------------------------------------------------------------------------------------

create function orbyt_private.disconnect_account(p_account_id uuid, p_jobs text)
returns orbyt.accounts
language plpgsql
set search_path = ''
as $$
declare
  v_account orbyt.accounts;
begin
  -- Grant before account, as everywhere.
  perform 1 from orbyt_private.account_grants g where g.account_id = p_account_id for update;
  select * into v_account from orbyt.accounts a where a.account_id = p_account_id for no key update;
  if v_account.status = 'disconnected' then
    if p_jobs = 'cancel' then
      insert into orbyt_private.account_changes (account_id, cancel) values (p_account_id, true);
      perform orbyt_private.cancel_account_jobs(p_account_id);
    end if;
    return v_account;
  end if;
  -- A new version: whoever is refreshing or checking at this moment changes nothing any more. The secrets stay until the grant
  -- was ended at the platform, which takes one of them.
  update orbyt_private.account_grants g
  set version = g.version + 1, refresh_lease_until = null, refresh_lease_id = null, check_lease_until = null,
      revoke_requested_at = now(), revoke_tried_at = null, revoke_lease_until = null, revoke_error_code = null, revoked_at = null
  where g.account_id = p_account_id;
  -- The trigger on accounts holds or cancels the jobs, the first of them at once.
  perform pg_catalog.set_config('orbyt.disconnect_jobs', p_jobs, true);
  update orbyt.accounts a
  set status = 'disconnected', error_code = null
  where a.account_id = p_account_id
  returning * into v_account;
  perform pg_catalog.set_config('orbyt.disconnect_jobs', '', true);
  return v_account;
end
$$;
comment on function orbyt_private.disconnect_account(uuid, text) is
  'Disconnect an account and hold or cancel its open jobs. Its grant is still to be ended at the platform.';

create function orbyt_private.disconnect_own_account(p_account_id uuid, p_jobs text)
returns orbyt.accounts
language plpgsql
security definer
set search_path = ''
as $$
begin
  if p_jobs is null or p_jobs not in ('hold', 'cancel') then
    perform orbyt_private.raise_error('option_invalid', 'jobs', 'hold or cancel');
  end if;
  if not exists (
      select from orbyt.accounts a
      where a.account_id = p_account_id
        and (a.user_id = auth.uid() or coalesce(auth.role(), '') = 'service_role' or session_user = 'postgres')) then
    perform orbyt_private.raise_error('account_not_found', 'account_id');
  end if;
  return orbyt_private.disconnect_account(p_account_id, p_jobs);
end
$$;
comment on function orbyt_private.disconnect_own_account(uuid, text) is 'Disconnect an account of the caller; somebody else''s is answered like one that does not exist.';

create function orbyt.disconnect(account_id uuid, jobs text default 'hold')
returns orbyt.accounts
language sql
security invoker
set search_path = ''
as $$ select r.* from orbyt_private.disconnect_own_account($1, $2) as r $$;
comment on function orbyt.disconnect(uuid, text) is
  'Disconnect an account. jobs: hold (they go on when it is connected again) or cancel its open ones; what is being published at this moment stays. Errors: account_not_found, option_invalid. Safe to repeat.';

create function orbyt_private.accounts_to_revoke(p_worker_id uuid, p_limit integer, p_lease_seconds double precision, p_now timestamptz default now())
returns table (
  account_id uuid, user_id uuid, platform text, platform_account_id text, name text, handle text, scopes text[], login text,
  others_active boolean, give_up boolean
)
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_accounts uuid[];
  v_locked uuid[] := '{}';
  v_account record;
begin
  select pg_catalog.array_agg(x.account_id) into v_accounts
  from (
    select g.account_id
    from orbyt_private.account_grants g
    join orbyt.accounts a on a.account_id = g.account_id
    where g.revoke_requested_at is not null and a.status = 'disconnected'
      and (not orbyt_private.login_is_open(a.user_id, g.login, g.platform_user_id, p_now) or g.revoke_requested_at < p_now - interval '24 hours')
      and (g.revoke_lease_until is null or g.revoke_lease_until <= p_now
           or (g.revoke_worker_id is not null
               and not exists (select from orbyt_private.workers k where k.worker_id = g.revoke_worker_id and k.lease_until >= p_now)))
    order by g.revoke_tried_at nulls first, g.revoke_requested_at
    limit p_limit
    for update of g skip locked
  ) x;
  -- A login that begins at this moment holds one of these locks, or waits for us and sees the lease: see revoke_in_hand. Without
  -- waiting, because we hold rows; the account comes with the next round.
  for v_account in
    select a.account_id, a.user_id, g.login, coalesce(g.platform_user_id, '') as person
    from orbyt.accounts a
    join orbyt_private.account_grants g on g.account_id = a.account_id
    where a.account_id = any (v_accounts)
  loop
    if pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('orbyt_connect/' || v_account.user_id::text, 0))
       and orbyt_private.lock_person(v_account.login, v_account.person, false) then
      v_locked := v_locked || v_account.account_id;
    end if;
  end loop;
  -- A statement of its own: it sees what was committed before we got the locks.
  with taken as (
    update orbyt_private.account_grants g
    set revoke_lease_until = p_now + pg_catalog.make_interval(secs => p_lease_seconds), revoke_worker_id = p_worker_id, revoke_tried_at = p_now
    from orbyt.accounts a
    where a.account_id = g.account_id and g.account_id = any (v_locked)
      and (not orbyt_private.login_is_open(a.user_id, g.login, g.platform_user_id, p_now) or g.revoke_requested_at < p_now - interval '24 hours')
    returning g.account_id
  )
  select pg_catalog.array_agg(t.account_id) into v_accounts from taken t;
  return query
    select r.account_id, r.user_id, r.platform, r.platform_account_id, r.name, r.handle, r.scopes, r.login,
           exists (
             select from orbyt_private.account_grants o
             join orbyt.accounts a on a.account_id = o.account_id
             where o.login = g.login and o.platform_user_id = g.platform_user_id and o.account_id <> g.account_id
               and a.status <> 'disconnected')
           -- Waited for a day, and there may still be one: rather keep a grant than end one that is in use.
           or orbyt_private.login_is_open(r.user_id, g.login, g.platform_user_id, p_now),
           g.revoke_requested_at < p_now - interval '24 hours'
    from unnest(v_accounts) with ordinality as v (id, n)
    join orbyt_private.account_grants g on g.account_id = v.id
    cross join lateral orbyt_private.read_account(v.id) r
    order by v.n;
end
$$;
comment on function orbyt_private.accounts_to_revoke(uuid, integer, double precision, timestamptz) is
  'Take disconnected accounts whose grant is still to be ended at the platform; not while a login of their user is open. others_active: another account lives by the same person''s grant, which must not be ended. give_up: it did not work for a day.';

create function orbyt_private.revoke_is_over(p_account_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if coalesce((orbyt_private.setting('notify'))::boolean, true) and exists (
      select from orbyt.accounts a
      join orbyt_private.account_grants g on g.account_id = a.account_id
      join orbyt.connect_sessions s on s.user_id = a.user_id and s.login = g.login and s.status = 'exchanging'
      where a.account_id = p_account_id) then
    perform pg_catalog.pg_notify('orbyt_connect', '');
  end if;
end
$$;
comment on function orbyt_private.revoke_is_over(uuid) is 'Wake workers for a login that waited until this grant was ended.';

create function orbyt_private.note_revoke_failed(p_account_id uuid, p_code text, p_cool_seconds double precision)
returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
  update orbyt_private.account_grants g
  set revoke_error_code = orbyt_private.known_code(p_code), revoke_worker_id = null,
      revoke_lease_until = now() + pg_catalog.make_interval(secs => p_cool_seconds)
  where g.account_id = p_account_id and g.revoke_requested_at is not null and g.revoke_tried_at is not null;
  if not found then
    return 'changed';
  end if;
  perform orbyt_private.revoke_is_over(p_account_id);
  return 'ok';
end
$$;
comment on function orbyt_private.note_revoke_failed(uuid, text, double precision) is 'The grant could not be ended at the platform; it is tried again after so many seconds. changed: the account was connected again.';

create function orbyt_private.finish_disconnect(p_account_id uuid, p_code text default null)
returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
  -- revoke_tried_at is emptied by a new disconnection: whoever still works on an old one destroys nothing.
  update orbyt_private.account_grants g
  set version = g.version + 1, revoke_requested_at = null, revoke_tried_at = null, revoke_lease_until = null, revoke_worker_id = null,
      revoke_error_code = orbyt_private.known_code(p_code), revoked_at = now()
  where g.account_id = p_account_id and g.revoke_requested_at is not null and g.revoke_tried_at is not null
    and exists (select from orbyt.accounts a where a.account_id = p_account_id and a.status = 'disconnected');
  if not found then
    return 'changed';
  end if;
  delete from orbyt_private.account_secrets s where s.account_id = p_account_id;
  perform orbyt_private.revoke_is_over(p_account_id);
  return 'ok';
end
$$;
comment on function orbyt_private.finish_disconnect(uuid, text) is
  'Destroy the secrets of a disconnected account. p_code: why its grant was not ended at the platform. changed: it was connected again.';

-- A person leaves at the platform (Meta) --------------------------------------------------------------------------------------------

create table orbyt_private.deletion_requests (
  confirmation_code text not null,
  login text not null,
  platform_user_hash bytea not null,
  accounts integer not null,
  requested_at timestamptz not null default now(),
  finished_at timestamptz,
  constraint deletion_requests_pkey primary key (confirmation_code)
);
comment on table orbyt_private.deletion_requests is 'Requests for deletion that came through Meta, for the status page a person is given. No ids of persons.';
comment on column orbyt_private.deletion_requests.confirmation_code is 'Random; whoever has it may look at the status.';
comment on column orbyt_private.deletion_requests.login is 'facebook or instagram.';
comment on column orbyt_private.deletion_requests.platform_user_hash is 'SHA-256 of login and person, so that a request can be found again.';
comment on column orbyt_private.deletion_requests.accounts is 'How many accounts it concerned.';
comment on column orbyt_private.deletion_requests.requested_at is 'When.';
comment on column orbyt_private.deletion_requests.finished_at is 'When the data was gone.';
alter table orbyt_private.deletion_requests enable row level security;
revoke all on orbyt_private.deletion_requests from public, anon, authenticated, service_role, orbyt_worker;

-- What came from the platform goes; the posts themselves are the user's own. Jobs before everything else: whoever holds one may be
-- about to wait for the lanes, which the change of the account will hold.
create function orbyt_private.erase_posts(p_account_id uuid)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform 1 from orbyt.publish_jobs j where j.account_id = p_account_id order by j.job_id for update;
  update orbyt.publish_jobs j
  set platform_post_id = null, permalink = null
  where j.account_id = p_account_id and (j.platform_post_id is not null or j.permalink is not null);
  update orbyt_private.job_steps s
  set result = '{}', secret = null, secret_key_id = null
  from orbyt.publish_jobs j
  where j.job_id = s.job_id and j.account_id = p_account_id;
  -- The history keeps what happened, not what the platform called it.
  update orbyt.job_events e
  set detail = '{}'
  from orbyt.publish_jobs j
  where j.job_id = e.job_id and j.account_id = p_account_id and e.detail <> '{}';
end
$$;
comment on function orbyt_private.erase_posts(uuid) is 'Remove what the platform gave the posts of an account: ids, addresses, results of steps. That a visible call was begun or confirmed is kept.';

-- Its identity is gone, so nobody finds it by its page any more; only connecting that page again brings the row back.
create function orbyt_private.erase_identity(p_account_id uuid)
returns void
language sql
set search_path = ''
as $$
  update orbyt_private.account_grants g set platform_user_id = null where g.account_id = p_account_id;
  update orbyt.accounts a
  set platform_account_id = 'erased:' || a.account_id::text, name = 'Deleted account', handle = null, picture_url = null, scopes = '{}',
      token_expires_at = null, data_access_expires_at = null
  where a.account_id = p_account_id
$$;
comment on function orbyt_private.erase_identity(uuid) is 'Remove who an account is at the platform.';

create function orbyt_private.disconnect_by_platform_user(
  p_login text, p_platform_user_id text, p_delete boolean default false, p_issued_at timestamptz default null,
  out accounts integer, out confirmation_code text
)
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_account_id uuid;
  v_users uuid[];
  v_session_id uuid;
  -- Whoever came back since is not sent away by a callback that is late or repeated; a minute, because two clocks are compared.
  -- A wish to be deleted is fulfilled all the same.
  v_until timestamptz := case when p_delete then 'infinity' else coalesce(p_issued_at + interval '1 minute', 'infinity') end;
begin
  accounts := 0;
  if coalesce(p_platform_user_id, '') = '' then
    return;
  end if;
  -- Sessions first: what was just granted is void as well. One that is just being offered waits, and then sees it is over.
  perform orbyt_private.lock_person(p_login, p_platform_user_id, true);
  for v_session_id in
    select s.session_id
    from orbyt.connect_sessions s
    where s.status in ('exchanging', 'choose') and s.created_at <= v_until and exists (
      select from orbyt_private.connect_grants c
      where c.session_id = s.session_id and c.login = p_login and c.platform_user_id = p_platform_user_id)
    order by s.session_id
    for update
  loop
    perform orbyt_private.end_connect(v_session_id, 'failed', 'connect_denied');
  end loop;
  for v_account_id in
    select g.account_id from orbyt_private.account_grants g
    where g.login = p_login and g.platform_user_id = p_platform_user_id and g.granted_at <= v_until
    order by g.account_id
    for update
  loop
    accounts := accounts + 1;
    if p_delete then
      perform orbyt_private.erase_posts(v_account_id);
      -- What else it is called changes below, which nobody may do who holds its lanes: a post that is just being inserted has the
      -- account and waits for them.
      perform 1 from orbyt.accounts a where a.account_id = v_account_id for update;
    end if;
    perform orbyt_private.disconnect_account(v_account_id, case when p_delete then 'cancel' else 'hold' end);
    -- There is nothing left to be ended at the platform. What we ended ourselves a moment ago, and are only told of now, ended then:
    -- a login that began since lives by a new grant (offer_candidates).
    update orbyt_private.account_grants g
    set version = g.version + 1, revoke_requested_at = null, revoke_tried_at = null, revoke_lease_until = null,
        revoked_at = coalesce(g.revoked_at, now())
    where g.account_id = v_account_id;
    delete from orbyt_private.account_secrets s where s.account_id = v_account_id;
    update orbyt.accounts a set error_code = 'account_disconnected' where a.account_id = v_account_id;
    if p_delete then
      select pg_catalog.array_append(v_users, a.user_id) into v_users from orbyt.accounts a where a.account_id = v_account_id;
      perform orbyt_private.erase_identity(v_account_id);
    end if;
  end loop;
  if p_delete then
    -- Candidates are names and pictures from there, too.
    update orbyt.connect_sessions s
    set candidates = '[]'
    where s.user_id = any (v_users) and s.login = p_login and s.candidates <> '[]';
    confirmation_code := pg_catalog.encode(extensions.gen_random_bytes(16), 'hex');
    insert into orbyt_private.deletion_requests (confirmation_code, login, platform_user_hash, accounts, finished_at)
    values (confirmation_code, p_login, pg_catalog.sha256(pg_catalog.convert_to(p_login || '/' || p_platform_user_id, 'UTF8')), accounts, now());
  end if;
end
$$;
comment on function orbyt_private.disconnect_by_platform_user(text, text, boolean, timestamptz) is
  'A person removed the app at the platform: their accounts are disconnected, the secrets destroyed, the jobs held; not what they granted since (p_issued_at). p_delete (they asked for deletion): the jobs are cancelled and what came from the platform is erased. Returns how many accounts, and the code of the request.';

create function orbyt_private.deletion_status(p_confirmation_code text)
returns table (requested_at timestamptz, finished_at timestamptz)
language sql
stable
security definer
set search_path = ''
as $$
  select d.requested_at, d.finished_at from orbyt_private.deletion_requests d where d.confirmation_code = p_confirmation_code
$$;
comment on function orbyt_private.deletion_status(text) is 'How a request for deletion stands; no row for a code that was never given out.';
