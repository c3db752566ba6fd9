-- Orbyt: the pre-flight. What a row says is checked when it is inserted or edited, and by check_post without inserting, with the
-- same rules, in the same order and with the same codes as the worker's `check`; one table of cases is run against both
-- (tests/platforms/*/cases.toml). Limits are data in orbyt.platforms, generated from the worker's rules.

-- What counts as blank, the same list as in the worker (platforms/shape.py).
create function orbyt_private.trim_blank(p_text text)
returns text
language sql
immutable
set search_path = ''
as $$
  select pg_catalog.btrim(coalesce(p_text, ''),
    E'\t\n\u000b\u000c\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000')
$$;
comment on function orbyt_private.trim_blank(text) is 'Text without blanks of any kind around it; null becomes empty.';

create function orbyt_private.utf16_units(p_text text)
returns integer
language sql
immutable
set search_path = ''
as $$
  select pg_catalog.length(p_text) + pg_catalog.length(pg_catalog.regexp_replace(p_text, '[^\U00010000-\U0010FFFF]', '', 'g'))
$$;
comment on function orbyt_private.utf16_units(text) is 'Length as JavaScript counts it: characters outside the BMP are two.';

create function orbyt_private.check_media_url(p_url text)
returns text
language plpgsql
stable
set search_path = ''
as $$
declare
  v_authority text;
  v_host text;
  v_address inet;
begin
  if coalesce(p_url, '') = '' or pg_catalog.length(p_url) > 4096 or p_url ~ '[[:space:][:cntrl:]]' then
    return 'media_url_invalid';
  end if;
  if p_url ~ '^mux://' then
    return case when p_url ~ '^mux://[A-Za-z0-9]{4,128}$' then null else 'media_url_invalid' end;
  end if;
  if p_url ~ '^storage://' then
    -- The same as in the worker (media/storage.py); whether the object is there is asked by storage_problems.
    return case when p_url ~ '^storage://[A-Za-z0-9_.-]+/[^?#]+$' and p_url !~ '^storage://[^/]+/(.*/)?[.]{0,2}(/|$)'
                     and coalesce((orbyt_private.setting('storage_sources'))::boolean, false)
                then null else 'media_url_invalid' end;
  end if;
  if p_url !~* '^https?://' then
    return 'media_url_invalid';
  end if;
  v_authority := substring(p_url from '^[A-Za-z]+://([^/?#]*)');
  if v_authority like '%@%' or v_authority like '%\\%' then
    return 'media_url_forbidden';
  end if;
  v_host := pg_catalog.lower(pg_catalog.rtrim(pg_catalog.regexp_replace(v_authority, ':[0-9]*$', ''), '.'));
  if v_host = '' then
    return 'media_url_invalid';
  end if;
  if p_url ~* '^http://' then
    -- This machine is for the sandbox; a production worker refuses it as soon as it looks at the post.
    return case when v_host in ('127.0.0.1', 'localhost') then null else 'media_url_not_https' end;
  end if;
  -- Only what the name itself shows; what it resolves to is checked by the worker, right before it connects.
  if v_host = 'localhost' or v_host ~ '\.(localhost|local|internal|home\.arpa)$' or v_host ~ '^(0x[0-9a-f]+|[0-9]+)$' then
    return 'media_url_forbidden';
  end if;
  if v_host ~ '^[0-9.]+$' or v_host ~ '^\[' then
    begin
      v_address := pg_catalog.btrim(v_host, '[]')::inet;
    exception when invalid_text_representation then
      return 'media_url_forbidden';
    end;
    if pg_catalog.family(v_address) = 6
       or v_address <<= any (array['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12',
                                   '192.0.0.0/24', '192.0.2.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24',
                                   '224.0.0.0/3']::inet[]) then
      return 'media_url_forbidden';
    end if;
  end if;
  return null;
end
$$;
comment on function orbyt_private.check_media_url(text) is 'Catalog code of what is wrong with a media URL by its look alone; null if nothing is.';

create function orbyt_private.check_media(p_media jsonb)
returns table (code text, field text, detail text)
language plpgsql
stable
set search_path = ''
as $$
declare
  v_item jsonb;
  v_index integer := -1;
  v_path text;
  v_key text;
  v_code text;
begin
  if p_media is null or pg_catalog.jsonb_typeof(p_media) <> 'array' then
    return query select 'media_invalid', 'media', 'an array is expected';
    return;
  end if;
  if pg_catalog.jsonb_array_length(p_media) > coalesce((orbyt_private.setting('media_items_max'))::integer, 20) then
    return query select 'media_count', 'media', 'too many items';
    return;
  end if;
  for v_item in select x.item from pg_catalog.jsonb_array_elements(p_media) as x (item) loop
    v_index := v_index + 1;
    v_path := 'media[' || v_index || ']';
    if pg_catalog.jsonb_typeof(v_item) <> 'object' then
      return query select 'media_invalid', v_path, 'an object {type, url} is expected';
      continue;
    end if;
    if coalesce(v_item ->> 'type', '') not in ('image', 'video') then
      return query select 'media_invalid', v_path || '.type', 'image or video is expected';
    end if;
    if pg_catalog.jsonb_typeof(v_item -> 'url') is distinct from 'string' then
      return query select 'media_url_invalid', v_path || '.url', 'a URL is expected';
    else
      v_code := orbyt_private.check_media_url(v_item ->> 'url');
      if v_code is not null then
        return query select v_code, v_path || '.url', '';
      end if;
    end if;
    for v_key in select k from pg_catalog.jsonb_object_keys(v_item) as k order by k collate "C" loop
      if v_key not in ('type', 'url', 'alt_text', 'cover_url', 'cover_offset_ms') then
        return query select 'media_invalid', v_path || '.' || pg_catalog.left(v_key, 64), 'unknown key';
      elsif v_key in ('alt_text', 'cover_url') and pg_catalog.jsonb_typeof(v_item -> v_key) not in ('string', 'null') then
        return query select 'media_invalid', v_path || '.' || v_key, 'a string is expected';
      elsif v_key = 'cover_url' and v_item ->> 'cover_url' is not null then
        v_code := orbyt_private.check_media_url(v_item ->> 'cover_url');
        if v_code is not null then
          return query select v_code, v_path || '.cover_url', '';
        end if;
      elsif v_key = 'cover_offset_ms' and pg_catalog.jsonb_typeof(v_item -> v_key) <> 'null'
            and (pg_catalog.jsonb_typeof(v_item -> v_key) <> 'number' or (v_item ->> v_key) !~ '^[0-9]{1,9}$') then
        return query select 'media_invalid', v_path || '.cover_offset_ms', 'a whole number of milliseconds is expected';
      end if;
    end loop;
  end loop;
end
$$;
comment on function orbyt_private.check_media(jsonb) is 'Problems with the shape of the media array, whatever the platform.';

create function orbyt_private.is_user_tag(p_tag jsonb)
returns boolean
language sql
immutable
set search_path = ''
as $$
  select case when pg_catalog.jsonb_typeof(p_tag) is distinct from 'object' then false
              else coalesce(pg_catalog.jsonb_typeof(p_tag -> 'username'), '') = 'string'
                and not exists (select from pg_catalog.jsonb_object_keys(p_tag) as k where k not in ('username', 'x', 'y', 'media'))
                and not exists (select from unnest(array['x', 'y', 'media']) as n
                                where coalesce(pg_catalog.jsonb_typeof(p_tag -> n), 'null') not in ('number', 'null')) end
$$;
comment on function orbyt_private.is_user_tag(jsonb) is 'Whether a value is {username, x?, y?, media?}.';

create function orbyt_private.are_user_tags(p_value jsonb)
returns boolean
language sql
immutable
set search_path = ''
as $$
  select pg_catalog.jsonb_typeof(p_value) = 'array' and not exists (
    select from pg_catalog.jsonb_array_elements(case when pg_catalog.jsonb_typeof(p_value) = 'array' then p_value else '[]' end) as t (tag)
    where not orbyt_private.is_user_tag(t.tag))
$$;
comment on function orbyt_private.are_user_tags(jsonb) is 'Whether a value is a list of {username, x?, y?, media?}.';

create function orbyt_private.check_options(p_title text, p_allowed jsonb, p_options jsonb)
returns table (code text, field text, detail text)
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_key text;
  v_kind text;
  v_value jsonb;
  v_entry text;
begin
  if p_options is null or pg_catalog.jsonb_typeof(p_options) <> 'object' then
    return query select 'option_invalid', 'options', 'an object is expected';
    return;
  end if;
  for v_key in select k from pg_catalog.jsonb_object_keys(p_options) as k order by k collate "C" loop
    v_kind := p_allowed ->> v_key;
    v_value := p_options -> v_key;
    if v_kind is null then
      return query select 'option_unknown', 'options.' || v_key, p_title || ' has no option ' || pg_catalog.left(v_key, 64);
    elsif pg_catalog.jsonb_typeof(v_value) = 'null' then
      continue; -- null is the same as not given
    elsif v_kind = 'bool' and pg_catalog.jsonb_typeof(v_value) <> 'boolean' then
      return query select 'option_invalid', 'options.' || v_key, 'true or false is expected';
    elsif v_kind = 'int' and (pg_catalog.jsonb_typeof(v_value) <> 'number' or v_value::text !~ '^-?[0-9]{1,9}$') then
      return query select 'option_invalid', 'options.' || v_key, 'a whole number is expected';
    elsif v_kind = 'string' and pg_catalog.jsonb_typeof(v_value) <> 'string' then
      return query select 'option_invalid', 'options.' || v_key, 'a string is expected';
    elsif v_kind in ('string[]', 'user_tags') then
      v_entry := case when v_kind = 'string[]' then 'a string' else '{username, x?, y?, media?}' end;
      if pg_catalog.jsonb_typeof(v_value) <> 'array' then
        return query select 'option_invalid', 'options.' || v_key,
          'a list of ' || case when v_kind = 'string[]' then 'strings' else v_entry end || ' is expected';
      else
        -- Each wrong entry by its number, for the form to mark.
        return query
          select 'option_invalid', 'options.' || v_key || '[' || (e.n - 1) || ']', v_entry || ' is expected'
          from pg_catalog.jsonb_array_elements(v_value) with ordinality as e (entry, n)
          where case when v_kind = 'string[]' then pg_catalog.jsonb_typeof(e.entry) <> 'string' else not orbyt_private.is_user_tag(e.entry) end
          order by e.n;
      end if;
    elsif v_kind like 'enum:%' and (
        pg_catalog.jsonb_typeof(v_value) <> 'string'
        or not (v_value #>> '{}') = any (pg_catalog.string_to_array(pg_catalog.substr(v_kind, 6), '|'))) then
      return query select 'option_invalid', 'options.' || v_key, 'one of ' || pg_catalog.replace(pg_catalog.substr(v_kind, 6), '|', ', ') || ' is expected';
    end if;
  end loop;
end
$$;
comment on function orbyt_private.check_options(text, jsonb, jsonb) is 'Problems with platform options: unknown keys by name, wrong types.';

-- What is checked of every post alike, from the data in orbyt.platforms. The twin of platforms/shape.py.
create function orbyt_private.check_shape(
  p_platform orbyt.platforms, p_kind orbyt.post_kind, p_title text, p_media jsonb, p_options jsonb
)
returns table (code text, field text, detail text)
language plpgsql
stable
set search_path = ''
as $$
declare
  v_shape jsonb := p_platform.shapes -> p_kind::text;
  v_min integer := (v_shape ->> 'media_min')::integer;
  v_max integer := (v_shape ->> 'media_max')::integer;
  v_count integer := case when pg_catalog.jsonb_typeof(p_media) = 'array' then pg_catalog.jsonb_array_length(p_media) end;
  v_types text[] := array(select pg_catalog.jsonb_array_elements_text(v_shape -> 'types'));
  v_wanted text := case when v_min = v_max then v_min::text else v_min || ' to ' || v_max end
    || ' of type ' || pg_catalog.array_to_string(v_types, ' or ');
begin
  if v_shape is null then
    return query select 'kind_not_supported', 'kind', p_platform.title || ' takes ' || pg_catalog.array_to_string(p_platform.kinds, ', ');
  elsif v_shape ->> 'title' = 'required' and orbyt_private.trim_blank(p_title) = '' then
    return query select 'title_missing', 'title', p_platform.title || ' needs a title here';
  end if;
  return query select c.code, c.field, c.detail from orbyt_private.check_options(p_platform.title, p_platform.options, p_options) c;
  if v_shape is null or v_count is null then
    return;
  end if;
  if v_max = 0 then
    if v_count > 0 then
      return query select 'media_not_allowed', 'media', 'a ' || p_kind || ' post has no media';
    end if;
    return;
  end if;
  if v_count = 0 and v_min > 0 then
    return query select 'media_missing', 'media', v_wanted || ' expected';
    return;
  end if;
  if v_count < v_min or v_count > v_max then
    return query select 'media_count', 'media', v_count || ' items, ' || v_wanted || ' expected';
  end if;
  return query
    select 'media_type_not_supported', 'media[' || (e.n - 1) || '].type',
           p_platform.title || ' takes ' || pg_catalog.array_to_string(v_types, ' or ') || ' here'
    from pg_catalog.jsonb_array_elements(p_media) with ordinality as e (item, n)
    -- What is no type at all is said by check_media.
    where e.item ->> 'type' in ('image', 'video') and not (e.item ->> 'type') = any (v_types)
    order by e.n;
end
$$;
comment on function orbyt_private.check_shape(orbyt.platforms, orbyt.post_kind, text, jsonb, jsonb) is
  'Problems of kind, title, options, number and type of media, on every platform alike.';

-- What only one platform knows is in a function check_<platform> of this form; check_content finds it by its name.
create function orbyt_private.check_youtube(
  p_limits jsonb, p_allowed jsonb, p_kind orbyt.post_kind, p_title text, p_caption text, p_media jsonb, p_options jsonb
)
returns table (code text, field text, detail text)
language plpgsql
stable -- check_media_url reads a setting
set search_path = ''
as $$
declare
  v_title text := orbyt_private.trim_blank(p_title);
  v_caption text := coalesce(p_caption, '');
  v_units integer := orbyt_private.utf16_units(v_title);
  v_bytes integer := pg_catalog.octet_length(pg_catalog.convert_to(v_caption, 'UTF8'));
  v_options jsonb := case when pg_catalog.jsonb_typeof(p_options) = 'object' then p_options else '{}' end;
  v_tags text[];
  v_tag_units integer;
begin
  if v_units > (p_limits ->> 'title_utf16_units_max')::integer then
    return query select 'title_too_long', 'title', v_units || ' characters, at most ' || (p_limits ->> 'title_utf16_units_max');
  end if;
  if v_title ~ '[<>]' then
    return query select 'title_invalid', 'title', 'YouTube allows no < or > in a title';
  elsif v_title ~ '[\u0001-\u001f\u007f]' then
    return query select 'title_invalid', 'title', 'a title is one line without control characters';
  end if;

  if v_bytes > (p_limits ->> 'description_bytes_max')::integer then
    return query select 'caption_too_long', 'caption', v_bytes || ' bytes in UTF-8, at most ' || (p_limits ->> 'description_bytes_max');
  end if;
  if v_caption ~ '[<>]' then
    return query select 'caption_invalid', 'caption', 'YouTube allows no < or > in a description';
  elsif v_caption ~ '[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f]' then
    return query select 'caption_invalid', 'caption', 'a description has no control characters except line breaks and tabs';
  end if;

  if pg_catalog.jsonb_typeof(v_options -> 'category_id') = 'string' and v_options ->> 'category_id' !~ '^[0-9]{1,3}$' then
    return query select 'category_invalid', 'options.category_id', 'the number of a YouTube category, as a string, is expected';
  end if;
  if pg_catalog.jsonb_typeof(v_options -> 'playlist_id') = 'string' and v_options ->> 'playlist_id' !~ '^[A-Za-z0-9_-]{2,64}$' then
    return query select 'option_invalid', 'options.playlist_id', 'the id of a playlist is expected';
  end if;
  if pg_catalog.jsonb_typeof(v_options -> 'captions_language') = 'string'
     and v_options ->> 'captions_language' !~ '^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$' then
    return query select 'option_invalid', 'options.captions_language', 'a language tag such as en or pt-BR is expected';
  end if;
  if pg_catalog.jsonb_typeof(v_options -> 'captions_name') = 'string'
     and orbyt_private.utf16_units(v_options ->> 'captions_name') > (p_limits ->> 'captions_name_utf16_units_max')::integer then
    return query select 'option_invalid', 'options.captions_name', 'at most ' || (p_limits ->> 'captions_name_utf16_units_max') || ' characters are expected';
  end if;
  if pg_catalog.jsonb_typeof(v_options -> 'captions_url') = 'string' then
    if pg_catalog.jsonb_typeof(v_options -> 'captions_language') is distinct from 'string' then
      return query select 'option_invalid', 'options.captions_language', 'captions need their language';
    end if;
    -- A public address like any other; what it leads to is checked by the worker before it connects.
    return query
      select c.code, 'options.captions_url', ''
      from (select case when v_options ->> 'captions_url' !~* '^https?://' then 'media_url_invalid'
                        else orbyt_private.check_media_url(v_options ->> 'captions_url') end as code) c
      where c.code is not null;
  end if;

  if pg_catalog.jsonb_typeof(v_options -> 'tags') = 'array' then
    select pg_catalog.array_agg(orbyt_private.trim_blank(x.tag)) into v_tags
    from pg_catalog.jsonb_array_elements(v_options -> 'tags') with ordinality as e (value, n)
    cross join lateral (select e.value #>> '{}' as tag) x
    where pg_catalog.jsonb_typeof(e.value) = 'string' and orbyt_private.trim_blank(x.tag) <> '';
    select coalesce(sum(orbyt_private.utf16_units(t.tag) + case when t.tag like '% %' then 2 else 0 end), 0)
           + greatest(count(*) - 1, 0)
    into v_tag_units
    from unnest(v_tags) as t (tag);
    if v_tag_units > (p_limits ->> 'tags_utf16_units_max')::integer then
      return query select 'tags_invalid', 'options.tags', v_tag_units || ' characters with separators, at most ' || (p_limits ->> 'tags_utf16_units_max');
    else
      return query
        select 'tags_invalid', 'options.tags[' || (e.n - 1) || ']', 'a tag has no <, > or control characters'
        from pg_catalog.jsonb_array_elements(v_options -> 'tags') with ordinality as e (value, n)
        where pg_catalog.jsonb_typeof(e.value) = 'string' and orbyt_private.trim_blank(e.value #>> '{}') ~ '[<>\u0001-\u001f\u007f]'
        order by e.n;
    end if;
  end if;
end
$$;
comment on function orbyt_private.check_youtube(jsonb, jsonb, orbyt.post_kind, text, text, jsonb, jsonb) is 'Problems that only YouTube has with a post, by the row alone.';

-- Adding to a time at the end of the calendar is an error of PostgreSQL's own, which no form could show.
create function orbyt_private.later(p_at timestamptz, p_by interval)
returns timestamptz
language sql
stable
set search_path = ''
as $$
  select case when p_at between '1000-01-01+00' and '3000-01-01+00' then p_at + p_by else 'infinity' end
$$;
comment on function orbyt_private.later(timestamptz, interval) is 'That much later; infinity for a time that check_times refuses anyway.';

create function orbyt_private.check_times(p_publish_at timestamptz, p_expires_at timestamptz)
returns table (code text, field text, detail text)
language plpgsql
stable
set search_path = ''
as $$
begin
  if p_publish_at > now() + pg_catalog.make_interval(days => coalesce((orbyt_private.setting('schedule_horizon_days'))::integer, 400)) then
    return query select 'publish_at_invalid', 'publish_at', 'too far in the future';
  elsif p_publish_at < '2001-01-01' then
    return query select 'publish_at_invalid', 'publish_at', 'too far in the past';
  end if;
  if p_expires_at <= p_publish_at then
    return query select 'expires_at_invalid', 'expires_at', 'the deadline is not after publish_at';
  elsif not pg_catalog.isfinite(p_expires_at) or p_expires_at > '2900-01-01' then
    return query select 'expires_at_invalid', 'expires_at', 'too far in the future';
  elsif p_expires_at <= now() then
    return query select 'expires_at_invalid', 'expires_at', 'the deadline has passed';
  end if;
end
$$;
comment on function orbyt_private.check_times(timestamptz, timestamptz) is 'Problems with publish_at and expires_at.';

create function orbyt_private.check_content(
  p_platform text, p_kind orbyt.post_kind, p_title text, p_caption text, p_media jsonb, p_options jsonb,
  p_publish_at timestamptz, p_expires_at timestamptz
)
returns table (code text, field text, detail text)
language plpgsql
stable
security definer
set search_path = ''
as $$
declare
  v_platform orbyt.platforms;
  v_own jsonb := '[]';
begin
  select * into v_platform from orbyt.platforms p where p.platform = p_platform;
  -- The name is a row of orbyt.platforms, and quoted all the same.
  if pg_catalog.to_regprocedure(pg_catalog.format('orbyt_private.%I(jsonb, jsonb, orbyt.post_kind, text, text, jsonb, jsonb)', 'check_' || v_platform.platform)) is not null then
    execute pg_catalog.format(
      'select coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(c.code, c.field, c.detail)), ''[]'') from orbyt_private.%I($1, $2, $3, $4, $5, $6, $7) c',
      'check_' || v_platform.platform)
    into v_own
    using v_platform.limits, v_platform.options, p_kind, p_title, p_caption, p_media, p_options;
  end if;
  -- In the order of the fields in a form; within a field in the order they were found.
  return query
    select x.code, x.field, x.detail
    from (
      select 1 as source, c.n, c.code, c.field, c.detail
      from rows from (orbyt_private.check_shape(v_platform, p_kind, p_title, p_media, p_options)) with ordinality as c (code, field, detail, n)
      union all
      select 2, o.n, o.problem ->> 0, o.problem ->> 1, o.problem ->> 2
      from pg_catalog.jsonb_array_elements(v_own) with ordinality as o (problem, n)
      union all
      select 3, c.n, c.code, c.field, c.detail
      from rows from (orbyt_private.check_media(p_media)) with ordinality as c (code, field, detail, n)
      union all
      select 4, c.n, c.code, c.field, c.detail
      from rows from (orbyt_private.check_times(p_publish_at, p_expires_at)) with ordinality as c (code, field, detail, n)
    ) x
    order by coalesce(pg_catalog.array_position(
      array['kind', 'title', 'caption', 'options', 'media', 'publish_at', 'expires_at'], substring(x.field from '^[a-z_]+')), 99), x.source, x.n;
end
$$;
comment on function orbyt_private.check_content(text, orbyt.post_kind, text, text, jsonb, jsonb, timestamptz, timestamptz) is
  'All problems of a post that its row shows, in a fixed order: kind, title, caption, options, media, times.';
