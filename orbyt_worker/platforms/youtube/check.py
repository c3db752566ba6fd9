"""Why a post cannot go out on YouTube as it is. Pure: the same answer at insert time, in a form and in the worker.

Without media facts only what the row says is checked; the pre-flight in SQL applies the same rules in the same order
(tests/platforms/youtube/cases.toml is run against both). What YouTube decides by country or by channel (assignable
categories, custom licences) is left to its answer, which comes before the first byte is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Kind, MediaFacts, Post, Problem
from orbyt_worker.platforms.youtube.rules import RULES

# What counts as blank, spelled out so that SQL can use the very same list.
BLANK = "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"

_ANGLE = re.compile(r"[<>]")
# A title and a tag are one line; a description keeps tab, newline and carriage return. Lone surrogates are no text at all.
_CONTROL_LINE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_CONTROL_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CATEGORY = re.compile(r"[0-9]{1,3}")
_PLAYLIST = re.compile(r"[A-Za-z0-9_-]{2,64}")


def utf16_units(text: str) -> int:
    """Length as JavaScript counts it: characters outside the BMP are two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def clean_title(post: Post) -> str:
    """The title as it is sent and measured: without blanks around it."""
    return (post.title or "").strip(BLANK)


def clean_tags(post: Post) -> list[str]:
    """The tags as they are sent and measured: trimmed, blank ones dropped (YouTube answers 400 to an empty tag)."""
    given = post.options.get("tags")
    if not isinstance(given, Sequence) or isinstance(given, str):
        return []
    return [tag.strip(BLANK) for tag in given if isinstance(tag, str) and tag.strip(BLANK)]


def tags_units(tags: Sequence[str]) -> int:
    """What YouTube counts against the limit: `Foo-Baz` is 7, `Foo Baz` is 9, and one comma between two tags."""
    return sum(utf16_units(tag) + (2 if " " in tag else 0) for tag in tags) + max(len(tags) - 1, 0)


def check(post: Post, media: Sequence[MediaFacts | None]) -> list[Problem]:
    """Every problem, in the order kind, title, caption, options, media, times. `media` is empty or one per item."""
    problems = [
        *_kind(post),
        *_title(post),
        *_caption(post),
        *_options(post.options),
        *_tags(post),
        *_items(post),
        *_times(post),
    ]
    for index, facts in enumerate(media):
        if facts is not None:
            problems += _facts(post.kind, facts, f"media[{index}]")
    return problems


def _kind(post: Post) -> Iterator[Problem]:
    if post.kind not in RULES.kinds:
        yield Problem(ErrorCode.KIND_NOT_SUPPORTED, "kind", f"YouTube takes video and reel (a Short), not {post.kind}")


def _title(post: Post) -> Iterator[Problem]:
    title = clean_title(post)
    if not title:
        yield Problem(ErrorCode.TITLE_MISSING, "title", "a YouTube video needs a title")
        return
    units, units_max = utf16_units(title), RULES.limit("title_utf16_units_max")
    if units > units_max:
        yield Problem(ErrorCode.TITLE_TOO_LONG, "title", f"{units} characters, at most {units_max}")
    if _ANGLE.search(title):
        yield Problem(ErrorCode.TITLE_INVALID, "title", "YouTube allows no < or > in a title")
    elif _CONTROL_LINE.search(title):
        yield Problem(ErrorCode.TITLE_INVALID, "title", "a title is one line without control characters")


def _caption(post: Post) -> Iterator[Problem]:
    caption = post.caption or ""
    size, size_max = len(caption.encode("utf-8", "surrogatepass")), RULES.limit("description_bytes_max")
    if size > size_max:
        yield Problem(ErrorCode.CAPTION_TOO_LONG, "caption", f"{size} bytes in UTF-8, at most {size_max}")
    if _ANGLE.search(caption):
        yield Problem(ErrorCode.CAPTION_INVALID, "caption", "YouTube allows no < or > in a description")
    elif _CONTROL_TEXT.search(caption):
        yield Problem(
            ErrorCode.CAPTION_INVALID, "caption", "a description has no control characters except line breaks and tabs"
        )


def _options(options: Mapping[str, Any]) -> Iterator[Problem]:
    for name in sorted(options):
        kind = RULES.options.get(name)
        if kind is None:
            yield Problem(ErrorCode.OPTION_UNKNOWN, f"options.{name}", f"YouTube has no option {name[:64]}")
        elif options[name] is not None:  # null is the same as not given
            yield from _option(name, kind, options[name])


def _option(name: str, kind: str, value: Any) -> Iterator[Problem]:
    field = f"options.{name}"
    if kind == "bool" and not isinstance(value, bool):
        yield Problem(ErrorCode.OPTION_INVALID, field, "true or false is expected")
    elif kind == "string[]" and not (isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)):
        yield Problem(ErrorCode.OPTION_INVALID, field, "a list of strings is expected")
    elif kind == "string" and not isinstance(value, str):
        yield Problem(ErrorCode.OPTION_INVALID, field, "a string is expected")
    elif kind.startswith("enum:"):
        allowed = kind.removeprefix("enum:").split("|")
        if value not in allowed:
            yield Problem(ErrorCode.OPTION_INVALID, field, f"one of {', '.join(allowed)} is expected")
    elif name == "category_id" and not _CATEGORY.fullmatch(value):
        yield Problem(ErrorCode.CATEGORY_INVALID, field, "the number of a YouTube category, as a string, is expected")
    elif name == "playlist_id" and not _PLAYLIST.fullmatch(value):
        yield Problem(ErrorCode.OPTION_INVALID, field, "the id of a playlist is expected")


def _tags(post: Post) -> Iterator[Problem]:
    tags = clean_tags(post)
    units, units_max = tags_units(tags), RULES.limit("tags_utf16_units_max")
    if units > units_max:
        yield Problem(
            ErrorCode.TAGS_INVALID, "options.tags", f"{units} characters with separators, at most {units_max}"
        )
    elif any(_ANGLE.search(tag) or _CONTROL_LINE.search(tag) for tag in tags):
        yield Problem(ErrorCode.TAGS_INVALID, "options.tags", "a tag has no <, > or control characters")


def _items(post: Post) -> Iterator[Problem]:
    if not post.media:
        yield Problem(ErrorCode.MEDIA_MISSING, "media", "a YouTube post is one video")
        return
    if len(post.media) > RULES.limit("media_count_max"):
        yield Problem(ErrorCode.MEDIA_COUNT, "media", f"{len(post.media)} items, exactly one video is expected")
    for index, item in enumerate(post.media):
        if item.type != "video":
            yield Problem(ErrorCode.MEDIA_TYPE_NOT_SUPPORTED, f"media[{index}].type", "YouTube takes videos only")


def _times(post: Post) -> Iterator[Problem]:
    if post.expires_at <= post.publish_at:
        yield Problem(ErrorCode.EXPIRES_AT_INVALID, "expires_at", "the deadline is not after publish_at")


def _facts(kind: Kind, facts: MediaFacts, field: str) -> Iterator[Problem]:
    if facts.type != "video":
        yield Problem(ErrorCode.MEDIA_TYPE_NOT_SUPPORTED, field, "the file is not a video")
        return
    if facts.size_bytes == 0:
        yield Problem(ErrorCode.MEDIA_EMPTY, field, "the file has no bytes")
    elif facts.size_bytes is not None and facts.size_bytes > RULES.limit("video_bytes_max"):
        yield Problem(
            ErrorCode.MEDIA_TOO_LARGE, field, f"{facts.size_bytes} bytes, at most {RULES.limit('video_bytes_max')}"
        )
    if facts.container is not None and not _known(facts.container, RULES.limit("containers")):
        yield Problem(ErrorCode.MEDIA_TYPE_NOT_SUPPORTED, field, f"YouTube does not take {facts.container[:40]} files")
    if facts.video_codec is not None and not _known(facts.video_codec, RULES.limit("video_codecs")):
        yield Problem(
            ErrorCode.MEDIA_CODEC_NOT_SUPPORTED,
            field,
            f"YouTube does not take the video codec {facts.video_codec[:40]}",
        )
    seconds_max = RULES.limit("short_seconds_max" if kind is Kind.REEL else "video_seconds_max")
    if facts.duration_seconds is not None and facts.duration_seconds > seconds_max:
        yield Problem(ErrorCode.MEDIA_TOO_LONG, field, f"{facts.duration_seconds:.1f} seconds, at most {seconds_max}")
    if kind is Kind.REEL and facts.width and facts.height and facts.width > facts.height:
        yield Problem(
            ErrorCode.MEDIA_INVALID, field, f"a Short is square or vertical, this is {facts.width}x{facts.height}"
        )


def _known(names: str, allowed: Sequence[str]) -> bool:
    # FFmpeg gives one reader several names: "mov,mp4,m4a,3gp,3g2,mj2".
    return any(name.strip().lower() in allowed for name in names.split(","))
