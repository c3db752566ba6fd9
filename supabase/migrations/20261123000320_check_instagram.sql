-- Orbyt: what only Instagram has to say about a post, by its row alone. The twin of platforms/instagram/check.py; kind, options by
-- type, number and type of media are checked by check_shape. Called by check_content, which puts all problems in order.

-- Which options a kind can express (OPTIONS_BY_KIND in platforms/instagram/rules.py).
create function orbyt_private.instagram_options(p_kind orbyt.post_kind)
returns text[]
language sql
immutable
set search_path = ''
as $$
  select case
    when p_kind in ('reel', 'video') then array['audio_name', 'collaborators', 'first_comment', 'location_id', 'share_to_feed', 'user_tags']
    when p_kind = 'photo' then array['collaborators', 'first_comment', 'image_fit', 'location_id', 'user_tags']
    when p_kind = 'carousel' then array['collaborators', 'first_comment', 'image_fit', 'location_id', 'share_to_feed', 'user_tags']
    when p_kind = 'story' then array['image_fit', 'location_id', 'user_tags']
  end
$$;
comment on function orbyt_private.instagram_options(orbyt.post_kind) is 'Options that a kind of Instagram post can express; null for a kind it does not have.';

create function orbyt_private.check_instagram_tags(p_limits jsonb, p_kind orbyt.post_kind, p_media jsonb, p_tags jsonb)
returns table (code text, field text, detail text)
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_items integer := case when pg_catalog.jsonb_typeof(p_media) = 'array' then pg_catalog.jsonb_array_length(p_media) else 0 end;
  v_tags_max integer := (p_limits ->> 'user_tags_max')::integer;
  v_counts integer[] := '{}';
  v_index integer := -1;
  v_tag jsonb;
  v_number numeric;
  v_type text;
  v_place text;
  v_x numeric;
  v_y numeric;
begin
  -- What is no list of tags is said by check_options.
  if not orbyt_private.are_user_tags(p_tags)
     or exists (select from pg_catalog.jsonb_array_elements(p_tags) as t (tag) where abs(coalesce((t.tag ->> 'media')::numeric, 0)) >= 1000) then
    return;
  end if;
  if pg_catalog.jsonb_array_length(p_tags) > v_tags_max * greatest(v_items, 1) then
    return query select 'option_invalid', 'options.user_tags',
      pg_catalog.jsonb_array_length(p_tags) || ' tags, at most ' || v_tags_max || ' on each item';
    return;
  end if;
  for v_tag in select t.tag from pg_catalog.jsonb_array_elements(p_tags) as t (tag) loop
    v_index := v_index + 1;
    v_place := 'options.user_tags[' || v_index || ']';
    if v_tag ->> 'username' !~ '^@?[A-Za-z0-9._]{1,30}$' then
      return query select 'option_invalid', v_place || '.username', 'a username is expected';
    end if;
    v_number := coalesce((v_tag ->> 'media')::numeric, 0);
    if v_number <> pg_catalog.trunc(v_number) or v_number < 0 or v_number >= greatest(v_items, 1) then
      return query select 'option_invalid', v_place || '.media', 'the number of an item is expected, 0 is the first';
      continue;
    elsif v_items = 0 then
      continue;
    end if;
    v_counts[v_number::integer] := coalesce(v_counts[v_number::integer], 0) + 1;
    v_type := p_media -> v_number::integer ->> 'type';
    v_x := (v_tag ->> 'x')::numeric;
    v_y := (v_tag ->> 'y')::numeric;
    if v_type = 'video' and p_kind is distinct from 'story' then
      if v_x is not null or v_y is not null then
        return query select 'option_invalid', v_place, 'a tag on a video has no position';
      end if;
    elsif (v_x is null) <> (v_y is null) or (v_x is null and p_kind is distinct from 'story') then
      return query select 'option_invalid', v_place, 'a tag on an image needs x and y';
    elsif v_x not between 0 and 1 or v_y not between 0 and 1 then
      return query select 'option_invalid', v_place, 'x and y go from 0 to 1';
    end if;
  end loop;
  return query
    select 'option_invalid', 'options.user_tags', v_counts[n] || ' tags on media[' || n || '], at most ' || v_tags_max
    from pg_catalog.generate_series(0, v_items - 1) as n
    where v_counts[n] > v_tags_max
    order by n;
end
$$;
comment on function orbyt_private.check_instagram_tags(jsonb, orbyt.post_kind, jsonb, jsonb) is
  'Problems with the user_tags of an Instagram post: number, usernames, which item, position.';

create function orbyt_private.check_instagram(
  p_limits jsonb, p_allowed jsonb, p_kind orbyt.post_kind, p_title text, p_caption text, p_media jsonb, p_options jsonb
)
returns table (code text, field text, detail text)
language plpgsql
immutable
set search_path = ''
as $$
declare
  v_caption text := orbyt_private.trim_blank(p_caption);
  v_options jsonb := case when pg_catalog.jsonb_typeof(p_options) = 'object' then p_options else '{}' end;
  v_units_max integer := (p_limits ->> 'caption_utf16_units_max')::integer;
  v_count integer;
  v_word text;
  v_key text;
  v_value jsonb;
  v_text text;
begin
  if p_kind = 'story' then
    if v_caption <> '' then
      return query select 'caption_invalid', 'caption', 'a story on Instagram has no caption';
    end if;
  else
    v_count := orbyt_private.utf16_units(v_caption);
    if v_count > v_units_max then
      return query select 'caption_too_long', 'caption', v_count || ' characters, at most ' || v_units_max;
    end if;
    foreach v_word in array array['hashtags', 'mentions'] loop
      v_count := pg_catalog.regexp_count(v_caption, case v_word
        when 'hashtags' then '(?<![0-9A-Za-z_&/#@])#[0-9A-Za-z_\u00a1-\U0010ffff]'
        else '(?<![0-9A-Za-z_&/#@.])@[0-9A-Za-z_.]' end);
      if v_count > (p_limits ->> (v_word || '_max'))::integer then
        return query select 'caption_invalid', 'caption', v_count || ' ' || v_word || ', at most ' || (p_limits ->> (v_word || '_max'));
      end if;
    end loop;
  end if;

  for v_key in select k from pg_catalog.jsonb_object_keys(v_options) as k where p_allowed ? k order by k collate "C" loop
    v_value := v_options -> v_key;
    -- Null unless it is a string: other types are said by check_options.
    v_text := case when pg_catalog.jsonb_typeof(v_value) = 'string' then v_value #>> '{}' end;
    if pg_catalog.jsonb_typeof(v_value) = 'null' or orbyt_private.trim_blank(v_text) = '' and v_text is not null then
      continue; -- the same as not given
    elsif not v_key = any (coalesce(orbyt_private.instagram_options(p_kind), array[v_key])) then
      return query select 'option_invalid', 'options.' || v_key, 'Instagram has no ' || v_key || ' for the kind ' || p_kind;
    elsif v_key = 'collaborators' and pg_catalog.jsonb_typeof(v_value) = 'array'
          and not exists (select from pg_catalog.jsonb_array_elements(v_value) as e (each) where pg_catalog.jsonb_typeof(e.each) <> 'string') then
      if pg_catalog.jsonb_array_length(v_value) > (p_limits ->> 'collaborators_max')::integer then
        return query select 'option_invalid', 'options.collaborators',
          pg_catalog.jsonb_array_length(v_value) || ' collaborators, at most ' || (p_limits ->> 'collaborators_max');
      end if;
      return query
        select 'option_invalid', 'options.collaborators[' || (e.n - 1) || ']', 'a username is expected'
        from pg_catalog.jsonb_array_elements_text(v_value) with ordinality as e (name, n)
        where e.name !~ '^@?[A-Za-z0-9._]{1,30}$'
        order by e.n;
    elsif v_key = 'user_tags' then
      return query select c.code, c.field, c.detail from orbyt_private.check_instagram_tags(p_limits, p_kind, p_media, v_value) c;
    elsif v_key = 'location_id' and v_text !~ '^[0-9]{1,20}$' then
      return query select 'option_invalid', 'options.location_id', 'the id of a place, digits only, is expected';
    elsif v_key in ('audio_name', 'first_comment') and orbyt_private.utf16_units(v_text) > v_units_max then
      return query select 'option_invalid', 'options.' || v_key, orbyt_private.utf16_units(v_text) || ' characters, at most ' || v_units_max;
    end if;
  end loop;

  if pg_catalog.jsonb_typeof(p_media) <> 'array' then
    return;
  end if;
  return query
    with items as (
      select e.n, e.item ->> 'type' as type, e.item ->> 'cover_url' as cover_url, e.item ->> 'cover_offset_ms' as cover_offset_ms,
             coalesce(orbyt_private.utf16_units(e.item ->> 'alt_text'), 0) as units
      from pg_catalog.jsonb_array_elements(p_media) with ordinality as e (item, n)
      where pg_catalog.jsonb_typeof(e.item) = 'object'
    ), found as (
      select i.n, 1 as place, '.alt_text' as name,
             case when i.type = 'video' or p_kind = 'story'
                  then 'Instagram has no alternative text for ' || case when p_kind = 'story' then 'a story' else 'a video' end
                  else i.units || ' characters, at most ' || (p_limits ->> 'alt_text_utf16_units_max') end as why
      from items i
      where (i.units > 0 and (i.type = 'video' or p_kind = 'story')) or i.units > (p_limits ->> 'alt_text_utf16_units_max')::integer
      union all
      select i.n, 2, '.cover_url', 'only a reel has a cover of its own on Instagram'
      from items i
      where i.cover_url is not null and p_kind is distinct from 'reel' and p_kind is distinct from 'video'
      union all
      select i.n, 3, '.cover_offset_ms', 'Instagram has no cover for ' || case when p_kind = 'story' then 'a story' else 'an image' end
      from items i
      where i.cover_offset_ms is not null and (i.type = 'image' or p_kind = 'story')
    )
    select 'option_invalid', 'media[' || (f.n - 1) || ']' || f.name, f.why
    from found f
    order by f.n, f.place;
end
$$;
comment on function orbyt_private.check_instagram(jsonb, jsonb, orbyt.post_kind, text, text, jsonb, jsonb) is
  'Problems that only Instagram has with a post, by the row alone.';
