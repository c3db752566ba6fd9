"""Why a post cannot go out on a Facebook Page as it is. Pure: the same answer at insert time, in a form and in the worker.

Without media facts only what the row says is checked; the pre-flight in SQL applies the same rules in the same order
(tests/platforms/facebook/cases.toml is run against both). Refused is what Facebook cannot express and what it would refuse
after the upload only; what it decides by page or by day is left to its answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Kind, MediaFacts, Post, Problem
from orbyt_worker.platforms.facebook.rules import RULES, WITH_TEXT
from orbyt_worker.platforms.shape import check_facts, check_shape, ordered, trim, utf16_units

# NUL and lone surrogates are no text for JSON or Postgres; the rest of these shows as nothing or as a box.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_LINK = re.compile(
    "https?://[^\x00-\x20\x7f\ud800-\udfff/?#\\\\@]+([/?#][^\x00-\x20\x7f\ud800-\udfff]*)?", re.IGNORECASE
)

# Refused is final, so a bound gives way a little: 1078x1920 is 9:16 to everybody, and 23.976 is called 24.
RATIO_TOLERANCE = 0.01
FPS_TOLERANCE = 0.1


def clean_title(post: Post) -> str:
    """The title as it is sent and measured: without blanks around it."""
    return trim(post.title)


def clean_text(post: Post) -> str:
    """The text as it is sent, measured and looked for: without blanks around it, which Facebook takes away as well."""
    return trim(post.caption)


def link_of(post: Post) -> str | None:
    """The link of a text post; None where there is none."""
    return _string(post.options.get("link"))


def first_comment_of(post: Post) -> str | None:
    """The first comment as it is sent and looked for; None where there is none."""
    return trim(_string(post.options.get("first_comment"))) or None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def check(post: Post, media: Sequence[MediaFacts | None]) -> list[Problem]:
    """Every problem, in the order kind, title, caption, options, media, times. `media` is empty or one per item."""
    own = [*_title(post), *_caption(post), *_options(post)]
    for index, facts in enumerate(media):
        if facts is not None and facts.type == "video":
            own += _facts(post.kind, facts, f"media[{index}]")
    return ordered(check_shape(RULES, post), check_facts(RULES, post, media), own)


def _title(post: Post) -> Iterator[Problem]:
    if post.kind not in (Kind.VIDEO, Kind.REEL):
        return
    units, units_max = utf16_units(clean_title(post)), RULES.limit("title_utf16_units_max")
    if units > units_max:
        yield Problem(ErrorCode.TITLE_TOO_LONG, "title", f"{units} characters, at most {units_max}")
    if _CONTROL.search(clean_title(post)):
        yield Problem(ErrorCode.TITLE_INVALID, "title", "a title has no control characters")


def _caption(post: Post) -> Iterator[Problem]:
    text = clean_text(post)
    if post.kind is Kind.STORY:
        if text:
            yield Problem(ErrorCode.CAPTION_INVALID, "caption", "a Facebook story has no text; put it into the picture")
        return
    if post.kind is Kind.TEXT and not text and link_of(post) is None:
        yield Problem(ErrorCode.CAPTION_MISSING, "caption", "a text post needs a text or a link")
    units, units_max = utf16_units(text), RULES.limit("text_utf16_units_max")
    if units > units_max:
        yield Problem(ErrorCode.CAPTION_TOO_LONG, "caption", f"{units} characters, at most {units_max}")
    if _CONTROL.search(text):
        yield Problem(
            ErrorCode.CAPTION_INVALID, "caption", "a text has no control characters except line breaks and tabs"
        )


def _options(post: Post) -> Iterator[Problem]:
    comment, link = post.options.get("first_comment"), post.options.get("link")
    if isinstance(comment, str):
        units, units_max = utf16_units(trim(comment)), RULES.limit("text_utf16_units_max")
        if post.kind not in WITH_TEXT:
            yield _option("first_comment", "a story has no comments")
        elif not units:
            yield _option("first_comment", "a comment that is not empty is expected")
        elif units > units_max:
            yield _option("first_comment", f"{units} characters, at most {units_max}")
        elif _CONTROL.search(trim(comment)):
            yield _option("first_comment", "a comment has no control characters except line breaks and tabs")
    if isinstance(link, str):
        if post.kind is not Kind.TEXT:
            yield _option("link", "a link goes with kind text only; put it into the caption")
        elif len(link) > RULES.limit("link_characters_max") or not _LINK.fullmatch(link):
            yield _option("link", "an address that begins with https:// or http:// is expected")


def _option(name: str, detail: str) -> Problem:
    return Problem(ErrorCode.OPTION_INVALID, f"options.{name}", detail)


def _facts(kind: Kind, facts: MediaFacts, field: str) -> Iterator[Problem]:
    size, size_min, size_max = facts.size_bytes, RULES.limit("video_bytes_min"), RULES.limit("video_bytes_max")
    if size is not None and size > size_max:
        yield Problem(ErrorCode.MEDIA_TOO_LARGE, field, f"{size} bytes, at most {size_max}")
    elif size is not None and 0 < size < size_min:
        yield Problem(ErrorCode.MEDIA_TOO_SMALL, field, f"{size} bytes, at least {size_min}")
    seconds_min = 0.0 if kind is Kind.VIDEO else RULES.limit("reel_seconds_min")
    seconds_max = RULES.limit(
        {Kind.REEL: "reel_seconds_max", Kind.STORY: "story_seconds_max"}.get(kind, "video_seconds_max")
    )
    seconds = facts.duration_seconds
    # Half a frame of rounding is no reason: containers count whole frames.
    if seconds is not None and seconds > seconds_max + 0.05:
        yield Problem(ErrorCode.MEDIA_TOO_LONG, field, f"{seconds:.1f} seconds, at most {seconds_max}")
    elif seconds is not None and seconds < seconds_min - 0.05:
        yield Problem(ErrorCode.MEDIA_TOO_SHORT, field, f"{seconds:.1f} seconds, at least {seconds_min}")
    if kind in (Kind.REEL, Kind.STORY):
        yield from _reel(facts, field)


def _reel(facts: MediaFacts, field: str) -> Iterator[Problem]:
    """What Facebook says about a reel only after the whole upload, when it processes it (errors 1363040, 1363127, 1363129)."""
    if facts.width and facts.height:
        ratio = facts.width / facts.height
        low, high = RULES.limit("reel_ratio_min"), RULES.limit("reel_ratio_max")
        if not low * (1 - RATIO_TOLERANCE) <= ratio <= high * (1 + RATIO_TOLERANCE):
            detail = f"{facts.width}x{facts.height} is {ratio:.3f}, from 9:16 ({low}) to 16:9 ({high}) is allowed"
            yield Problem(ErrorCode.MEDIA_RATIO_NOT_SUPPORTED, field, detail)
        short, long = sorted((facts.width, facts.height))
        short_min, long_min = RULES.limit("reel_short_side_min"), RULES.limit("reel_long_side_min")
        if short < short_min or long < long_min:
            detail = f"{facts.width}x{facts.height}, at least {short_min}x{long_min}"
            yield Problem(ErrorCode.MEDIA_DIMENSIONS_NOT_SUPPORTED, field, detail)
    low, high = RULES.limit("reel_fps_min"), RULES.limit("reel_fps_max")
    if facts.fps is not None and not low - FPS_TOLERANCE <= facts.fps <= high + FPS_TOLERANCE:
        detail = f"{facts.fps:.3g} pictures per second, {low} to {high} are allowed"
        yield Problem(ErrorCode.MEDIA_FRAME_RATE_NOT_SUPPORTED, field, detail)
    if facts.video_codec is not None and facts.video_codec.lower() not in RULES.limit("reel_codecs"):
        detail = f"Facebook does not take the video codec {facts.video_codec[:40]} here"
        yield Problem(ErrorCode.MEDIA_CODEC_NOT_SUPPORTED, field, detail)
