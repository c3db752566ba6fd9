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
from orbyt_worker.platforms.shape import check_facts, check_shape, ordered, trim, utf16_units
from orbyt_worker.platforms.youtube.rules import RULES

_ANGLE = re.compile(r"[<>]")
# A title and a tag are one line; a description keeps tab, newline and carriage return. Lone surrogates are no text at all.
_CONTROL_LINE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_CONTROL_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_CATEGORY = re.compile(r"[0-9]{1,3}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
_PLAYLIST = re.compile(r"[A-Za-z0-9_-]{2,64}")


def clean_title(post: Post) -> str:
    """The title as it is sent and measured: without blanks around it."""
    return trim(post.title)


def clean_tags(post: Post) -> list[str]:
    """The tags as they are sent and measured: trimmed, blank ones dropped (YouTube answers 400 to an empty tag)."""
    given = post.options.get("tags")
    if not isinstance(given, Sequence) or isinstance(given, str):
        return []
    return [trim(tag) for tag in given if isinstance(tag, str) and trim(tag)]


def tags_units(tags: Sequence[str]) -> int:
    """What YouTube counts against the limit: `Foo-Baz` is 7, `Foo Baz` is 9, and one comma between two tags."""
    return sum(utf16_units(tag) + (2 if " " in tag else 0) for tag in tags) + max(len(tags) - 1, 0)


def check(post: Post, media: Sequence[MediaFacts | None]) -> list[Problem]:
    """Every problem, in the order kind, title, caption, options, media, times. `media` is empty or one per item."""
    own = [*_title(post), *_caption(post), *_options(post.options), *_tags(post)]
    for index, facts in enumerate(media):
        if facts is not None and facts.type == "video":
            own += _facts(post.kind, facts, f"media[{index}]")
    return ordered(check_shape(RULES, post), check_facts(RULES, post, media), own)


def _title(post: Post) -> Iterator[Problem]:
    title = clean_title(post)
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
    for name, form, code, expected in (
        ("category_id", _CATEGORY, ErrorCode.CATEGORY_INVALID, "the number of a YouTube category, as a string,"),
        ("playlist_id", _PLAYLIST, ErrorCode.OPTION_INVALID, "the id of a playlist"),
        ("captions_language", _LANGUAGE, ErrorCode.OPTION_INVALID, "a language tag such as en or pt-BR"),
    ):
        value = options.get(name)
        if isinstance(value, str) and not form.fullmatch(value):
            yield Problem(code, f"options.{name}", f"{expected} is expected")
    track_name, units_max = options.get("captions_name"), RULES.limit("captions_name_utf16_units_max")
    if isinstance(track_name, str) and utf16_units(track_name) > units_max:
        yield Problem(ErrorCode.OPTION_INVALID, "options.captions_name", f"at most {units_max} characters are expected")
    if isinstance(options.get("captions_url"), str) and not isinstance(options.get("captions_language"), str):
        yield Problem(ErrorCode.OPTION_INVALID, "options.captions_language", "captions need their language")


def _tags(post: Post) -> Iterator[Problem]:
    tags = clean_tags(post)
    units, units_max = tags_units(tags), RULES.limit("tags_utf16_units_max")
    if units > units_max:
        yield Problem(
            ErrorCode.TAGS_INVALID, "options.tags", f"{units} characters with separators, at most {units_max}"
        )
        return
    given = post.options.get("tags")
    for index, tag in enumerate(given if tags and isinstance(given, Sequence) else ()):
        if isinstance(tag, str) and (_ANGLE.search(trim(tag)) or _CONTROL_LINE.search(trim(tag))):
            yield Problem(ErrorCode.TAGS_INVALID, f"options.tags[{index}]", "a tag has no <, > or control characters")


def _facts(kind: Kind, facts: MediaFacts, field: str) -> Iterator[Problem]:
    if facts.size_bytes is not None and facts.size_bytes > RULES.limit("video_bytes_max"):
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
