-- Orbyt: changing the master key while everything runs.
--
-- create_master_key makes the new one active; workers notice with the next heartbeat and say so (use_key); upkeep or the operator
-- seals anew what is still sealed with another key, row by row, compare and set; retire_master_key deletes the old one once nothing
-- and nobody needs it. A worker frozen all that time counts as dead: what it writes afterwards is refused (hold_keys).

create function orbyt_private.sealed_rows()
returns table (address text, source text, owner_id uuid, kind text, sealed bytea, key_id text)
language sql
stable
set search_path = ''
as $$
  select 'account_secrets/' || s.account_id || '/' || s.kind, 'account_secrets', s.account_id, s.kind, s.sealed, s.key_id
  from orbyt_private.account_secrets s
  union all
  select 'job_steps/' || s.job_id || '/' || s.step, 'job_steps', s.job_id, 'step.' || s.step, s.secret, s.secret_key_id
  from orbyt_private.job_steps s
  where s.secret is not null
  union all
  select 'connect_grants/' || c.session_id || '/' || (x.secret ->> 'kind') || '/' || c.platform_account_id, 'connect_grants', c.account_id,
         x.secret ->> 'kind', pg_catalog.decode(x.secret ->> 'sealed', 'base64'), x.secret ->> 'key_id'
  from orbyt_private.connect_grants c
  cross join lateral pg_catalog.jsonb_array_elements(c.secrets) as x (secret)
  union all
  select 'callback_keys/' || k.key_id, 'callback_keys', k.owner_id, 'callback_key', k.sealed_private, k.sealed_key_id
  from orbyt_private.callback_keys k
$$;
comment on function orbyt_private.sealed_rows() is 'Everything that is sealed with a master key: where it lies, what its seal is bound to, with which key.';

create function orbyt_private.secrets_to_reseal(p_active_key text, p_limit integer, p_after text default '')
returns table (address text, source text, owner_id uuid, kind text, sealed bytea, key_id text)
language sql
stable
security definer
set search_path = ''
as $$
  select r.address, r.source, r.owner_id, r.kind, r.sealed, r.key_id
  from orbyt_private.sealed_rows() r
  where r.key_id <> p_active_key and r.address collate "C" > p_after collate "C"
  order by r.address collate "C"
  limit p_limit
$$;
comment on function orbyt_private.secrets_to_reseal(text, integer, text) is
  'What is sealed with another key than this. The next page begins after the last address, so that one that cannot be opened does not stop the others.';

create function orbyt_private.reseal(p_address text, p_old_sealed bytea, p_sealed bytea, p_key_id text)
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_source text := pg_catalog.split_part(p_address, '/', 1);
  v_id text := pg_catalog.split_part(p_address, '/', 2);
  v_rest text := pg_catalog.substr(p_address, pg_catalog.length(v_source) + pg_catalog.length(v_id) + 3);
begin
  if not orbyt_private.hold_keys(array[p_key_id]) then
    return 'changed';
  end if;
  if v_source = 'account_secrets' then
    update orbyt_private.account_secrets s
    set sealed = p_sealed, key_id = p_key_id
    where s.account_id = v_id::uuid and s.kind = v_rest and s.sealed = p_old_sealed;
  elsif v_source = 'job_steps' then
    update orbyt_private.job_steps s
    set secret = p_sealed, secret_key_id = p_key_id
    where s.job_id = v_id::uuid and s.step = v_rest and s.secret = p_old_sealed;
  elsif v_source = 'callback_keys' then
    update orbyt_private.callback_keys k
    set sealed_private = p_sealed, sealed_key_id = p_key_id
    where k.key_id = pg_catalog.substr(p_address, pg_catalog.length(v_source) + 2) and k.sealed_private = p_old_sealed;
  elsif v_source = 'connect_grants' then
    update orbyt_private.connect_grants c
    set secrets = (
      select pg_catalog.jsonb_agg(case
        when pg_catalog.decode(x.secret ->> 'sealed', 'base64') = p_old_sealed
        then x.secret || pg_catalog.jsonb_build_object('sealed', pg_catalog.encode(p_sealed, 'base64'), 'key_id', p_key_id)
        else x.secret end order by x.n)
      from pg_catalog.jsonb_array_elements(c.secrets) with ordinality as x (secret, n))
    where c.session_id = v_id::uuid
      and c.platform_account_id = pg_catalog.substr(v_rest, pg_catalog.strpos(v_rest, '/') + 1)
      and exists (
        select from pg_catalog.jsonb_array_elements(c.secrets) as x (secret)
        where pg_catalog.decode(x.secret ->> 'sealed', 'base64') = p_old_sealed);
  else
    return 'changed';
  end if;
  return case when found then 'ok' else 'changed' end;
end
$$;
comment on function orbyt_private.reseal(text, bytea, bytea, text) is
  'Replace a sealed value by the same sealed with another key, if nobody changed it meanwhile: ok or changed. Versions of grants stay: the token is the same.';

create function orbyt_private.key_status()
returns table (
  key_id text, active boolean, in_vault boolean, account_secrets bigint, job_steps bigint, connect_grants bigint, callback_keys bigint, workers bigint
)
language sql
stable
security definer
set search_path = ''
as $$
  with uses as (
    select r.key_id, r.source, count(*) as n from orbyt_private.sealed_rows() r group by r.key_id, r.source
  ), vaulted as (
    select pg_catalog.substr(s.name, 11) as key_id from vault.secrets s where s.name like 'orbyt\_key\_%'
  ), alive as (
    select w.key_id, count(*) as n from orbyt_private.workers w where w.lease_until > now() and w.key_id is not null group by w.key_id
  )
  select k.key_id, k.key_id is not distinct from orbyt_private.active_key_id(), exists (select from vaulted v where v.key_id = k.key_id),
         coalesce((select u.n from uses u where u.key_id = k.key_id and u.source = 'account_secrets'), 0),
         coalesce((select u.n from uses u where u.key_id = k.key_id and u.source = 'job_steps'), 0),
         coalesce((select u.n from uses u where u.key_id = k.key_id and u.source = 'connect_grants'), 0),
         coalesce((select u.n from uses u where u.key_id = k.key_id and u.source = 'callback_keys'), 0),
         coalesce((select a.n from alive a where a.key_id = k.key_id), 0)
  from (
    select u.key_id from uses u
    union
    select v.key_id from vaulted v
    union
    select a.key_id from alive a
  ) k
  order by 1
$$;
comment on function orbyt_private.key_status() is
  'Master keys by id: which one seals, which are in Vault, how much is sealed with each, how many living workers seal with it. No key is shown.';

create function orbyt_private.retire_master_key(p_key_id text, p_now timestamptz default now())
returns text
language plpgsql
security definer
set search_path = ''
as $$
begin
  if not exists (select from vault.secrets s where s.name = 'orbyt_key_' || p_key_id) then
    return 'unknown';
  end if;
  if p_key_id is not distinct from orbyt_private.active_key_id() then
    return 'active';
  end if;
  -- What is being written under this key is committed before we look; what comes later is refused (hold_keys).
  perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('orbyt_key/' || p_key_id, 0));
  -- A worker that changed a moment ago may still have something in hand that it sealed before. Writes take seconds.
  if exists (
      select from orbyt_private.workers w
      where w.lease_until > p_now
        and (w.key_id is null or w.key_id = p_key_id or w.key_since > p_now - interval '1 minute')) then
    return 'worker';
  end if;
  if exists (select from orbyt_private.sealed_rows() r where r.key_id = p_key_id) then
    return 'in_use';
  end if;
  delete from vault.secrets s where s.name = 'orbyt_key_' || p_key_id;
  insert into orbyt_private.retired_keys (key_id) values (p_key_id) on conflict do nothing;
  return 'ok';
end
$$;
comment on function orbyt_private.retire_master_key(text, timestamptz) is
  'Delete a master key for good: ok, unknown, active (it seals), worker (a living worker seals with it, changed less than a minute ago, or does not say), in_use (something is sealed with it). For the operator, not for the worker''s role.';
