-- Orbyt: media in the project's own Storage.
--
-- A post may name objects (`storage://bucket/path`) that its user can read, and no others: the worker reads with a key that sees
-- everything, so the question is asked here, when the row is written, as the role that writes it, under the policies of
-- storage.objects. service_role and postgres are above those policies; for them the object only has to be there.
--
-- What the worker itself stores (converted pictures that a platform fetches) lies in a private bucket of its own. Every path
-- is noted before anything is uploaded to it, so that it can be removed whatever becomes of the worker.

create function orbyt_private.percent_decoded(p_text text)
returns text
language plpgsql
immutable
set search_path = ''
as $$
begin
  if pg_catalog.strpos(p_text, '%') = 0 then
    return p_text;
  end if;
  return (
    select pg_catalog.convert_from(
      pg_catalog.decode(
        pg_catalog.string_agg(
          case when m.found[1] ~ '^%..$' then pg_catalog.substr(m.found[1], 2)
               else pg_catalog.encode(pg_catalog.convert_to(m.found[1], 'UTF8'), 'hex') end,
          '' order by m.n),
        'hex'),
      'UTF8')
    from pg_catalog.regexp_matches(p_text, '%[0-9A-Fa-f]{2}|.', 'g') with ordinality as m (found, n));
exception
  when character_not_in_repertoire or untranslatable_character then
    return null;
end
$$;
comment on function orbyt_private.percent_decoded(text) is
  'Text of a URL with %XX decoded as UTF-8, as the worker does it; null if that is no text.';

-- A public bucket hands its objects to everybody, but its policies may show them to nobody: the row of the bucket says so, and
-- only its owner may read that.
create function orbyt_private.is_public_object(p_bucket text, p_name text)
returns boolean
language plpgsql
stable
security definer
set search_path = ''
as $$
begin
  return exists (
    select from storage.objects o
    join storage.buckets b on b.id = o.bucket_id
    where o.bucket_id = p_bucket and o.name = p_name and b.public);
end
$$;
comment on function orbyt_private.is_public_object(text, text) is 'Whether there is such an object in a public bucket, which anybody can read.';

-- The project's own policies run inside, and functions they call may rely on the usual search path: the one of the Data API.
create function orbyt_private.can_read_object(p_bucket text, p_name text)
returns boolean
language plpgsql
stable
set search_path = public, extensions
as $$
begin
  if p_name is null or pg_catalog.to_regclass('storage.objects') is null then
    return false;
  end if;
  return exists (select from storage.objects o where o.bucket_id = p_bucket and o.name = p_name)
    or orbyt_private.is_public_object(p_bucket, p_name);
end
$$;
comment on function orbyt_private.can_read_object(text, text) is
  'Whether the current role can read an object of Storage, by the policies of storage.objects or because its bucket is public.';

create function orbyt_private.storage_problems(p_media jsonb)
returns table (code text, field text, detail text)
language plpgsql
stable
set search_path = ''
as $$
begin
  if pg_catalog.jsonb_typeof(p_media) is distinct from 'array' then
    return;
  end if;
  return query
    select 'media_not_found', 'media[' || (e.n - 1) || '].' || k.key, 'no such object in Storage, or not one you can read'
    from pg_catalog.jsonb_array_elements(p_media) with ordinality as e (item, n)
    cross join (values (1, 'url'), (2, 'cover_url')) as k (place, key)
    where (e.item ->> k.key) ~ '^storage://[^/?#]+/[^?#]+$'
      and not orbyt_private.can_read_object(
        substring(e.item ->> k.key from '^storage://([^/]+)/'),
        orbyt_private.percent_decoded(substring(e.item ->> k.key from '^storage://[^/]+/(.*)$')))
    order by e.n, k.place;
end
$$;
comment on function orbyt_private.storage_problems(jsonb) is
  'Objects of Storage among the media that do not exist or that the current role cannot read. Not security definer: the answer depends on who asks.';

create function orbyt_private.publish_jobs_before_storage()
returns trigger
language plpgsql
set search_path = ''
as $$
declare
  v_problem record;
begin
  if tg_op = 'UPDATE' and new.media is not distinct from old.media then
    return new;
  end if;
  -- An insert that is repeated: the primary key or client_ref answers it, even if the object is gone by now.
  if tg_op = 'INSERT' and exists (
      select from orbyt.publish_jobs j
      where j.user_id = new.user_id and (j.job_id = new.job_id or j.client_ref = new.client_ref)) then
    return new;
  end if;
  select * into v_problem from orbyt_private.storage_problems(new.media) limit 1;
  if found then
    perform orbyt_private.raise_error(v_problem.code, v_problem.field, v_problem.detail);
  end if;
  return new;
end
$$;
comment on function orbyt_private.publish_jobs_before_storage() is
  'Objects of Storage that a post names must be readable for whoever writes the row. Runs as that role, after the checks of the content.';

-- Its name sorts after publish_jobs_before_insert and publish_jobs_before_update: triggers fire in that order.
create trigger publish_jobs_before_storage before insert or update of media on orbyt.publish_jobs
  for each row execute function orbyt_private.publish_jobs_before_storage();

-- The worker's own bucket ---------------------------------------------------------------------------------------------

do $$
begin
  if pg_catalog.to_regclass('storage.buckets') is not null then
    insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
    values ('orbyt-media', 'orbyt-media', false, 10485760, array['image/jpeg'])
    on conflict do nothing;
  end if;
end
$$;

create table orbyt_private.hosted_media (
  path text not null,
  job_id uuid not null,
  created_at timestamptz not null default now(),
  constraint hosted_media_pkey primary key (path)
);
create index hosted_media_job_idx on orbyt_private.hosted_media (job_id);
create index hosted_media_created_idx on orbyt_private.hosted_media (created_at);
comment on table orbyt_private.hosted_media is
  'Pictures the worker stored in its bucket for a platform to fetch. No foreign key: they are removed after their job is gone.';
comment on column orbyt_private.hosted_media.path is 'Name of the object in the worker''s bucket: job id, item, hash.';
comment on column orbyt_private.hosted_media.job_id is 'The job it was made for.';
comment on column orbyt_private.hosted_media.created_at is 'When it was last stored.';
alter table orbyt_private.hosted_media enable row level security;
revoke all on orbyt_private.hosted_media from public, anon, authenticated, service_role, orbyt_worker;

create function orbyt_private.note_hosted(p_job_id uuid, p_attempt integer, p_path text)
returns text
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_job orbyt.publish_jobs;
begin
  v_job := orbyt_private.lock_attempt(p_job_id, p_attempt);
  if v_job.job_id is null then
    return 'stale';
  end if;
  insert into orbyt_private.hosted_media as h (path, job_id)
  values (p_path, p_job_id)
  on conflict (path) do update set created_at = now();
  return 'ok';
end
$$;
comment on function orbyt_private.note_hosted(uuid, integer, text) is
  'Note an object before it is uploaded, so that it is removed whatever happens. ok or stale. Safe to repeat.';

create function orbyt_private.hosted_to_remove(p_limit integer default 100, p_now timestamptz default now())
returns table (path text)
language sql
stable
security definer
set search_path = ''
as $$
  select h.path
  from orbyt_private.hosted_media h
  left join orbyt.publish_jobs j on j.job_id = h.job_id
  -- Noted just now: the upload may be on its way, and would come after the removal.
  where h.created_at < p_now - interval '10 minutes'
    and (
      j.job_id is null
      -- A platform may come back for a picture shortly after it said that the post is out.
      or (j.status in ('published', 'failed', 'cancelled') and greatest(j.updated_at, h.created_at) < p_now - interval '1 hour')
      or h.created_at < p_now - interval '7 days')
  order by h.created_at, h.path
  limit p_limit
$$;
comment on function orbyt_private.hosted_to_remove(integer, timestamptz) is
  'Objects nobody needs any more: their job ended more than an hour ago or is gone, or they are older than a week. Remove them, then forget_hosted.';

create function orbyt_private.forget_hosted(p_paths text[], p_now timestamptz default now())
returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
  v_count integer;
begin
  -- One that was noted again in the meantime stays, as it does in hosted_to_remove.
  delete from orbyt_private.hosted_media h where h.path = any (p_paths) and h.created_at < p_now - interval '10 minutes';
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function orbyt_private.forget_hosted(text[], timestamptz) is 'The objects are removed. Returns how many were forgotten. Safe to repeat.';
