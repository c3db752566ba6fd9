-- Orbyt: sealed tokens. The plaintext never reaches SQL; the master keys live in Supabase Vault.

create function orbyt_private.active_key_id()
returns text
language sql
stable
security definer
set search_path = ''
as $$
  select coalesce(
    orbyt_private.setting('active_key_id') #>> '{}',
    (select pg_catalog.substr(s.name, 11) from vault.secrets s where s.name like 'orbyt\_key\_%' order by s.created_at desc limit 1))
$$;
comment on function orbyt_private.active_key_id() is 'Id of the master key that seals; null if there is none. Asked with every heartbeat, so that workers notice a new one.';

create function orbyt_private.master_keys()
returns table (key_id text, key_base64 text, active boolean)
language sql
stable
security definer
set search_path = ''
as $$
  -- Only secrets named orbyt_key_<id>: one unreadable secret of somebody else must not stop us, so the names are
  -- filtered before anything is decrypted.
  select pg_catalog.substr(s.name, 11), d.decrypted_secret, s.name = 'orbyt_key_' || orbyt_private.active_key_id()
  from vault.secrets s
  join vault.decrypted_secrets d on d.id = s.id
  where s.name like 'orbyt\_key\_%'
$$;
comment on function orbyt_private.master_keys() is 'The worker''s master keys out of Vault: secrets named orbyt_key_<key id>, 32 bytes in base64. Nothing else can be read through it.';

-- Made in here, so that it stands in no statement, parameter or log. Created with a placeholder and then updated:
-- vault.create_secret writes what it is given into heap and WAL before it encrypts; vault.update_secret does not.
-- Source: supabase/vault, SQL of 0.3.1, read 2026-11.
create function orbyt_private.create_master_key(p_key_id text)
returns boolean
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_id uuid;
begin
  if p_key_id !~ '^[a-z0-9_.:-]{1,64}$' then
    raise exception using errcode = '22023', message = 'a key id is made of a-z, 0-9 and _ . : -';
  end if;
  -- Nor one that was retired: what a frozen worker sealed with the old one would look as if the new one opened it.
  if exists (select from vault.secrets s where s.name = 'orbyt_key_' || p_key_id)
     or exists (select from orbyt_private.retired_keys r where r.key_id = p_key_id) then
    return false;
  end if;
  v_id := vault.create_secret('placeholder', 'orbyt_key_' || p_key_id, 'Orbyt: master key for account tokens');
  perform vault.update_secret(v_id, pg_catalog.encode(extensions.gen_random_bytes(32), 'base64'));
  insert into orbyt_private.settings (name, value) values ('active_key_id', pg_catalog.to_jsonb(p_key_id))
  on conflict (name) do update set value = excluded.value;
  return true;
end
$$;
comment on function orbyt_private.create_master_key(text) is
  'Make a new master key of 32 random bytes inside the database, put it into Vault and make it the active one. Returns false if that id exists or was retired. For the operator, not for the worker''s role.';

-- A worker that was frozen beyond its lease counts as dead, so the key it seals with may be retired under its hands. Whoever
-- writes something sealed shares the key's lock until it commits; whoever retires the key takes it alone, and sees all of that.
create function orbyt_private.hold_keys(p_key_ids text[])
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  v_key_id text;
begin
  for v_key_id in select distinct k.id from unnest(p_key_ids) as k (id) where k.id is not null order by 1 loop
    perform pg_catalog.pg_advisory_xact_lock_shared(pg_catalog.hashtextextended('orbyt_key/' || v_key_id, 0));
  end loop;
  return not exists (select from orbyt_private.retired_keys r where r.key_id = any (p_key_ids));
end
$$;
comment on function orbyt_private.hold_keys(text[]) is 'Keep these master keys from being retired until the end of the transaction; false if one already was.';

create function orbyt_private.key_ids(p_secrets jsonb)
returns text[]
language sql
stable
set search_path = ''
as $$
  select pg_catalog.array_agg(distinct x.key_id) from pg_catalog.jsonb_to_recordset(coalesce(p_secrets, '[]'::jsonb)) as x (key_id text)
$$;
comment on function orbyt_private.key_ids(jsonb) is 'Master keys that sealed secrets given as [{key_id, …}] need.';

create function orbyt_private.read_grant(p_account_id uuid)
returns table (login text, version bigint, status text, kind text, sealed bytea, key_id text, expires_in_seconds double precision)
language sql
stable
security definer
set search_path = ''
as $$
  select g.login, g.version, a.status::text, s.kind, s.sealed, s.key_id, extract(epoch from s.expires_at - now())::double precision
  from orbyt_private.account_grants g
  join orbyt.accounts a on a.account_id = g.account_id
  left join orbyt_private.account_secrets s on s.account_id = g.account_id
  where g.account_id = p_account_id
$$;
comment on function orbyt_private.read_grant(uuid) is 'Sealed secrets of an account with the version that guards them; one row per secret.';

create function orbyt_private.write_secrets(p_account_id uuid, p_secrets jsonb)
returns void
language plpgsql
set search_path = ''
as $$
begin
  -- Callers that can answer have asked before; nobody else writes what nobody can open.
  if not orbyt_private.hold_keys(orbyt_private.key_ids(p_secrets)) then
    perform orbyt_private.raise_error('secret_unreadable');
  end if;
  insert into orbyt_private.account_secrets (account_id, kind, sealed, key_id, expires_at, updated_at)
  select p_account_id, x.kind, pg_catalog.decode(x.sealed, 'base64'), x.key_id,
         now() + pg_catalog.make_interval(secs => x.expires_in_seconds), now()
  from pg_catalog.jsonb_to_recordset(p_secrets) as x (kind text, sealed text, key_id text, expires_in_seconds double precision)
  where x.sealed is not null
  on conflict (account_id, kind) do update
  set sealed = excluded.sealed, key_id = excluded.key_id, expires_at = excluded.expires_at, updated_at = excluded.updated_at;
end
$$;
comment on function orbyt_private.write_secrets(uuid, jsonb) is
  'Write sealed secrets given as [{kind, sealed (base64), key_id, expires_in_seconds}]. What is not named stays. Refuses (secret_unreadable) what is sealed with a retired key.';

-- One refresher at a time, across all workers. The lease outlives the longest possible call.
create function orbyt_private.begin_refresh(
  p_account_id uuid, p_version bigint, p_lease_id uuid, p_lease_seconds double precision, p_worker_id uuid default null,
  p_now timestamptz default now()
)
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_grant orbyt_private.account_grants;
begin
  select * into v_grant from orbyt_private.account_grants g where g.account_id = p_account_id for update;
  if v_grant.account_id is null or v_grant.version <> p_version then
    return 'changed';
  end if;
  -- The lease of a worker that has fallen silent is void: its call may have happened, but a refresh is safe to repeat.
  if v_grant.refresh_lease_until > p_now and v_grant.refresh_lease_id is distinct from p_lease_id
     and not exists (
       select from orbyt_private.workers w where w.worker_id = v_grant.refresh_worker_id and w.lease_until < p_now) then
    return 'busy';
  end if;
  if v_grant.refresh_not_before > p_now then
    return 'cooling';
  end if;
  update orbyt_private.account_grants g
  set refresh_lease_until = p_now + pg_catalog.make_interval(secs => p_lease_seconds), refresh_lease_id = p_lease_id,
      refresh_worker_id = p_worker_id
  where g.account_id = p_account_id;
  return 'ok';
end
$$;
comment on function orbyt_private.begin_refresh(uuid, bigint, uuid, double precision, uuid, timestamptz) is
  'Take the refresh lease of an account: ok, busy (somebody is at it), changed (read again), cooling (failed lately).';

create function orbyt_private.finish_refresh(p_account_id uuid, p_version bigint, p_lease_id uuid, p_secrets jsonb, p_scopes text[] default null)
returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
  if not orbyt_private.hold_keys(orbyt_private.key_ids(p_secrets)) then
    return 'changed';
  end if;
  update orbyt_private.account_grants g
  set version = g.version + 1, refresh_lease_until = null, refresh_lease_id = null, refreshed_at = now(),
      refresh_failed_at = null, refresh_error_code = null, refresh_not_before = null
  where g.account_id = p_account_id and g.version = p_version and g.refresh_lease_id = p_lease_id;
  if not found then
    return 'changed';
  end if;
  perform orbyt_private.write_secrets(p_account_id, p_secrets);
  -- Where there is no refresh token, the connection ends with the token that is extended (Instagram Login).
  update orbyt.accounts a
  set checked_at = now(), scopes = coalesce(p_scopes, a.scopes),
      token_expires_at = case when exists (select from orbyt_private.account_secrets s where s.account_id = p_account_id and s.kind = 'refresh_token')
                              then a.token_expires_at
                              else (select s.expires_at from orbyt_private.account_secrets s where s.account_id = p_account_id and s.kind = 'access_token') end
  where a.account_id = p_account_id;
  return 'ok';
end
$$;
comment on function orbyt_private.finish_refresh(uuid, bigint, uuid, jsonb, text[]) is
  'Store refreshed tokens if nobody changed the grant meanwhile (compare and set) and the key they are sealed with is not retired: ok or changed. An old worker never overwrites a newer reconnect.';

-- An account is lost to a confirmed rejection. The caller has made sure that the grant that was refused is the stored one.
create function orbyt_private.lose_account(p_account_id uuid, p_code text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  update orbyt.accounts a
  set status = 'needs_reauth', error_code = orbyt_private.known_code(p_code), checked_at = now()
  where a.account_id = p_account_id and a.status = 'active';
  -- Google ends grants after seven days while an app's consent screen is in testing. Source: Google Identity, "Using OAuth 2.0"
  -- (refresh token expiration), read 2026-11. One account may be chance; it says how often.
  if found and p_code = 'google_grant_invalid' and exists (
      select from orbyt_private.account_grants g
      where g.account_id = p_account_id and g.granted_at between now() - interval '7.5 days' and now() - interval '6.5 days') then
    perform orbyt_private.raise_operator_issue('google_consent_testing_mode', 'a Google grant ended after seven days');
  end if;
end
$$;
comment on function orbyt_private.lose_account(uuid, text) is
  'An active account needs its user; its jobs are held. A Google grant that ends after seven days is an issue for the operator.';

create function orbyt_private.raise_operator_issue(p_code text, p_detail text default '')
returns void
language sql
security definer
set search_path = ''
as $$
  insert into orbyt_private.operator_issues as i (code, detail)
  values (orbyt_private.known_code(p_code), pg_catalog.left(coalesce(p_detail, ''), 500))
  on conflict (code) do update
  set last_seen_at = now(), count = i.count + 1, detail = excluded.detail
$$;
comment on function orbyt_private.raise_operator_issue(text, text) is 'Something only the operator can put right. The same again is counted, not repeated.';

create function orbyt_private.clear_operator_issue(p_code text)
returns boolean
language plpgsql
security definer
set search_path = ''
as $$
begin
  delete from orbyt_private.operator_issues i where i.code = p_code;
  return found;
end
$$;
comment on function orbyt_private.clear_operator_issue(text) is 'The operator has put it right. False if there was no such issue.';

create function orbyt_private.fail_refresh(p_account_id uuid, p_version bigint, p_lease_id uuid, p_code text, p_cool_seconds double precision)
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_dead boolean := coalesce((select e.needs_reauth from orbyt.error_catalog e where e.code = p_code), false);
begin
  update orbyt_private.account_grants g
  set refresh_lease_until = null, refresh_lease_id = null, refresh_failed_at = now(), refresh_error_code = orbyt_private.known_code(p_code),
      refresh_not_before = case when v_dead then null else now() + pg_catalog.make_interval(secs => p_cool_seconds) end
  where g.account_id = p_account_id and g.version = p_version and g.refresh_lease_id = p_lease_id;
  if not found then
    return 'changed';
  end if;
  -- Only a confirmed rejection disconnects; a network blip never does.
  if v_dead then
    perform orbyt_private.lose_account(p_account_id, p_code);
  end if;
  return 'ok';
end
$$;
comment on function orbyt_private.fail_refresh(uuid, bigint, uuid, text, double precision) is
  'A refresh failed. If the code says so (catalog: needs_reauth) and the grant is still the one that failed, the account needs reconnecting and its jobs are held.';

create function orbyt_private.mark_needs_reauth(p_account_id uuid, p_version bigint, p_code text)
returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
  perform 1 from orbyt_private.account_grants g where g.account_id = p_account_id and g.version = p_version for update;
  -- Version 0: there was no grant at all, and there still is none.
  if not found and (p_version <> 0 or exists (select from orbyt_private.account_grants g where g.account_id = p_account_id)) then
    return 'changed';
  end if;
  perform orbyt_private.lose_account(p_account_id, p_code);
  return 'ok';
end
$$;
comment on function orbyt_private.mark_needs_reauth(uuid, bigint, text) is
  'A platform rejected the account itself (permission lost, account closed). Ignored if the grant was replaced meanwhile.';

create function orbyt_private.accounts_to_refresh(p_logins text[], p_limit integer default 50, p_now timestamptz default now())
returns table (account_id uuid, platform text)
language sql
stable
security definer
set search_path = ''
as $$
  -- Accounts of jobs due within a day first, early enough for the user to act; then grants idle for a month, so that
  -- Google does not drop them for disuse (six months). Source: Google Identity, "Using OAuth 2.0", read 2026-11.
  -- Instagram Login: a token lives 60 days and can be extended while it does, once it is 24 hours old. Source: Meta, "Refresh
  -- Access Token" of the Instagram Platform, read 2026-11. Twenty days are room for an outage of ours; one that has ended
  -- already is tried as well, so that its account says so.
  select a.account_id, a.platform
  from orbyt.accounts a
  join orbyt_private.account_grants g on g.account_id = a.account_id
  where a.status = 'active'
    and g.login = any (p_logins)
    and (g.refresh_not_before is null or g.refresh_not_before <= p_now)
    and (g.refresh_lease_until is null or g.refresh_lease_until <= p_now)
    and case when g.login = 'instagram' then
      coalesce(g.refreshed_at, g.granted_at) < p_now - interval '24 hours'
      and exists (
        select from orbyt_private.account_secrets s
        where s.account_id = a.account_id and s.kind = 'access_token' and s.expires_at < p_now + interval '20 days')
    else
      (coalesce(g.refreshed_at, g.granted_at) < p_now - interval '12 hours'
       and exists (
         select from orbyt_private.job_queue q
         where q.account_id = a.account_id and q.run_at between p_now - interval '1 day' and p_now + interval '24 hours'))
      or coalesce(g.refreshed_at, g.granted_at) < p_now - interval '30 days'
    end
  -- One that just failed goes to the end, so that those that fail never keep the others from their turn.
  order by greatest(coalesce(g.refreshed_at, g.granted_at), g.refresh_failed_at)
  limit p_limit
$$;
comment on function orbyt_private.accounts_to_refresh(text[], integer, timestamptz) is 'Accounts whose connection should be tried now, of the logins whose grants can be renewed.';

create function orbyt_private.connect_account(
  p_user_id uuid, p_platform text, p_platform_account_id text, p_name text, p_handle text, p_scopes text[], p_login text,
  p_account_id uuid default gen_random_uuid()
)
returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_account_id uuid;
begin
  insert into orbyt.accounts as a (account_id, user_id, platform, platform_account_id, name, handle, scopes, status, error_code)
  values (p_account_id, p_user_id, p_platform, p_platform_account_id, p_name, p_handle, p_scopes, 'needs_reauth', 'account_needs_reauth')
  on conflict (user_id, platform, platform_account_id) do update
  set name = excluded.name, handle = excluded.handle, scopes = excluded.scopes
  returning a.account_id into v_account_id;
  insert into orbyt_private.account_grants as g (account_id, login)
  values (v_account_id, p_login)
  on conflict (account_id) do nothing;
  return v_account_id;
end
$$;
comment on function orbyt_private.connect_account(uuid, text, text, text, text, text[], text, uuid) is
  'First half of connecting: the account row (kept when it exists already) and its grant. It becomes active with store_grant, once its secrets are sealed for its id.';

create function orbyt_private.store_grant(
  p_account_id uuid, p_secrets jsonb, p_scopes text[] default null, p_token_expires_in_seconds double precision default null,
  p_data_access_expires_in_seconds double precision default null
)
returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
  update orbyt_private.account_grants g
  set version = g.version + 1, granted_at = now(), refreshed_at = now(), refresh_failed_at = null, refresh_error_code = null,
      refresh_not_before = null, refresh_lease_until = null, refresh_lease_id = null
  where g.account_id = p_account_id;
  if not found then
    return 'not_found';
  end if;
  perform orbyt_private.write_secrets(p_account_id, p_secrets);
  -- Becoming active releases the jobs that were held for it (trigger on accounts).
  update orbyt.accounts a
  set status = 'active', error_code = null, scopes = coalesce(p_scopes, a.scopes), checked_at = now(),
      token_expires_at = now() + pg_catalog.make_interval(secs => p_token_expires_in_seconds),
      data_access_expires_at = now() + pg_catalog.make_interval(secs => p_data_access_expires_in_seconds)
  where a.account_id = p_account_id;
  return 'ok';
end
$$;
comment on function orbyt_private.store_grant(uuid, jsonb, text[], double precision, double precision) is
  'Second half: swap in the secrets of a validated grant and activate the account, in one transaction. Its held jobs go on by themselves.';
