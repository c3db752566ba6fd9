-- Orbyt: what only Facebook has to say about a post, by its row alone. The twin of platforms/facebook/check.py; kind, options by type,
-- number and type of media are checked by check_shape. Called by check_content, which puts all problems in order.

create function orbyt_private.check_facebook(
  p_limits jsonb, p_allowed jsonb, p_kind orbyt.post_kind, p_title text, p_caption text, p_media jsonb, p_options jsonb
)
returns table (code text, field text, detail text)
language plpgsql
stable
set search_path = ''
as $$
declare
  v_title text := orbyt_private.trim_blank(p_title);
  v_text text := orbyt_private.trim_blank(p_caption);
  v_options jsonb := case when pg_catalog.jsonb_typeof(p_options) = 'object' then p_options else '{}' end;
  -- Null unless it is a string: other types are said by check_options.
  v_link text := case when pg_catalog.jsonb_typeof(v_options -> 'link') = 'string' then v_options ->> 'link' end;
  v_comment text := case when pg_catalog.jsonb_typeof(v_options -> 'first_comment') = 'string'
                         then orbyt_private.trim_blank(v_options ->> 'first_comment') end;
  v_units integer;
  v_units_max integer := (p_limits ->> 'text_utf16_units_max')::integer;
begin
  if p_kind in ('video', 'reel') then
    v_units := orbyt_private.utf16_units(v_title);
    if v_units > (p_limits ->> 'title_utf16_units_max')::integer then
      return query select 'title_too_long', 'title', v_units || ' characters, at most ' || (p_limits ->> 'title_utf16_units_max');
    end if;
    if v_title ~ '[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f]' then
      return query select 'title_invalid', 'title', 'a title has no control characters';
    end if;
  end if;

  if p_kind = 'story' then
    if v_text <> '' then
      return query select 'caption_invalid', 'caption', 'a Facebook story has no text; put it into the picture';
    end if;
  else
    if p_kind = 'text' and v_text = '' and coalesce(v_link, '') = '' then
      return query select 'caption_missing', 'caption', 'a text post needs a text or a link';
    end if;
    v_units := orbyt_private.utf16_units(v_text);
    if v_units > v_units_max then
      return query select 'caption_too_long', 'caption', v_units || ' characters, at most ' || v_units_max;
    end if;
    if v_text ~ '[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f]' then
      return query select 'caption_invalid', 'caption', 'a text has no control characters except line breaks and tabs';
    end if;
  end if;

  if v_comment is not null then
    v_units := orbyt_private.utf16_units(v_comment);
    if p_kind = 'story' then
      return query select 'option_invalid', 'options.first_comment', 'a story has no comments';
    elsif v_units = 0 then
      return query select 'option_invalid', 'options.first_comment', 'a comment that is not empty is expected';
    elsif v_units > v_units_max then
      return query select 'option_invalid', 'options.first_comment', v_units || ' characters, at most ' || v_units_max;
    elsif v_comment ~ '[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f]' then
      return query select 'option_invalid', 'options.first_comment', 'a comment has no control characters except line breaks and tabs';
    end if;
  end if;
  if v_link is not null then
    if p_kind is distinct from 'text' then
      return query select 'option_invalid', 'options.link', 'a link goes with kind text only; put it into the caption';
    elsif pg_catalog.length(v_link) > (p_limits ->> 'link_characters_max')::integer
          or v_link !~* '^https?://[^\u0001-\u0020\u007f/?#\\@]+([/?#][^\u0001-\u0020\u007f]*)?$' then
      return query select 'option_invalid', 'options.link', 'an address that begins with https:// or http:// is expected';
    end if;
  end if;
end
$$;
comment on function orbyt_private.check_facebook(jsonb, jsonb, orbyt.post_kind, text, text, jsonb, jsonb) is
  'Problems that only Facebook has with a post, by the row alone.';
