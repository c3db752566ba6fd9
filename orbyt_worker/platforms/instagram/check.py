"""Why a post cannot go out on Instagram as it is. Pure: the same answer at insert time, in a form and in the worker.

What is the same for all platforms (kind, types, counts, times) is `platforms/shape.py`; here is what only Instagram knows.
Without media facts only what the row says is checked; the pre-flight in SQL (`orbyt_private.check_instagram`) applies the
same rules in the same order, and tests/platforms/instagram/cases.toml is run against both. What a kind cannot express is
refused by name: Meta would drop or refuse it after minutes of processing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Kind, MediaFacts, MediaItem, Post, Problem, ratio_problem
from orbyt_worker.platforms.instagram.images import media_spec
from orbyt_worker.platforms.instagram.rules import OPTIONS_BY_KIND, RULES
from orbyt_worker.platforms.shape import check_facts, check_shape, ordered, trim, utf16_units

# Where a word can begin: not inside another word, an address or an HTML entity. ASCII and beyond it, spelled out so that SQL
# can use the very same expressions.
_HASHTAG = re.compile("(?<![0-9A-Za-z_&/#@])#[0-9A-Za-z_\u00a1-\U0010ffff]")
_MENTION = re.compile("(?<![0-9A-Za-z_&/#@.])@[0-9A-Za-z_.]")
_USERNAME = re.compile(r"@?[A-Za-z0-9._]{1,30}")
_PLACE = re.compile(r"[0-9]{1,20}")


def username(text: str) -> str:
    """A username as it is sent: people write the @ with it."""
    return text.removeprefix("@")


def clean_caption(post: Post) -> str:
    """The caption as it is sent and measured: without blanks around it."""
    return trim(post.caption)


def option(post: Post, name: str) -> Any:
    """An option's value; null and a blank text are the same as not given."""
    value = post.options.get(name)
    return None if isinstance(value, str) and not trim(value) else value


def tags_of(post: Post, index: int) -> list[dict[str, Any]]:
    """The user tags of media[index], as Meta takes them. A tag that names no item is for the first."""
    tags: list[dict[str, Any]] = []
    for tag in option(post, "user_tags") or ():
        if int(tag.get("media") or 0) == index:
            position = {key: tag[key] for key in ("x", "y") if tag.get(key) is not None}
            tags.append({"username": username(tag["username"]), **position})
    return tags


def check(post: Post, media: Sequence[MediaFacts | None]) -> list[Problem]:
    """Every problem, in the order kind, title, caption, options, media, times. `media` is empty or one per item."""
    own = [*_caption(post), *_options(post)]
    for index, item in enumerate(post.media):
        own += _item(post.kind, item, f"media[{index}]")
    for index, facts in enumerate(media):
        if facts is None or index >= len(post.media) or facts.type != post.media[index].type:
            continue
        if facts.type == "image":
            own += _image(post, facts, f"media[{index}]")
        else:
            own += _video(post, post.media[index], facts, f"media[{index}]")
    return ordered(check_shape(RULES, post), check_facts(RULES, post, media), own)


def _caption(post: Post) -> Iterator[Problem]:
    caption = clean_caption(post)
    if post.kind is Kind.STORY:
        if caption:
            yield Problem(ErrorCode.CAPTION_INVALID, "caption", "a story on Instagram has no caption")
        return
    units, units_max = utf16_units(caption), RULES.limit("caption_utf16_units_max")
    if units > units_max:
        yield Problem(ErrorCode.CAPTION_TOO_LONG, "caption", f"{units} characters, at most {units_max}")
    for name, form in (("hashtags", _HASHTAG), ("mentions", _MENTION)):
        found, found_max = len(form.findall(caption)), RULES.limit(f"{name}_max")
        if found > found_max:
            yield Problem(ErrorCode.CAPTION_INVALID, "caption", f"{found} {name}, at most {found_max}")


def _options(post: Post) -> Iterator[Problem]:
    allowed = OPTIONS_BY_KIND.get(post.kind, frozenset(RULES.options))
    for name in sorted(post.options):
        if name not in RULES.options or option(post, name) is None:
            continue
        if name not in allowed:
            detail = f"Instagram has no {name} for the kind {post.kind}"
            yield Problem(ErrorCode.OPTION_INVALID, f"options.{name}", detail)
        elif name == "collaborators":
            yield from _collaborators(post.options[name])
        elif name == "user_tags":
            yield from _user_tags(post, post.options[name])
        else:
            yield from _text(name, post.options[name])


def _text(name: str, value: Any) -> Iterator[Problem]:
    field, units_max = f"options.{name}", RULES.limit("caption_utf16_units_max")
    if not isinstance(value, str):
        return
    if name == "location_id" and not _PLACE.fullmatch(value):
        yield Problem(ErrorCode.OPTION_INVALID, field, "the id of a place, digits only, is expected")
    elif name in ("audio_name", "first_comment") and utf16_units(value) > units_max:
        yield Problem(ErrorCode.OPTION_INVALID, field, f"{utf16_units(value)} characters, at most {units_max}")


def _collaborators(value: Any) -> Iterator[Problem]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        return
    field, count_max = "options.collaborators", RULES.limit("collaborators_max")
    if len(value) > count_max:
        yield Problem(ErrorCode.OPTION_INVALID, field, f"{len(value)} collaborators, at most {count_max}")
    for index, each in enumerate(value):
        if not _USERNAME.fullmatch(each):
            yield Problem(ErrorCode.OPTION_INVALID, f"{field}[{index}]", "a username is expected")


def _user_tags(post: Post, value: Any) -> Iterator[Problem]:
    if not isinstance(value, list | tuple) or not all(_has_types_of_a_tag(each) for each in value):
        return
    field, count_max = "options.user_tags", RULES.limit("user_tags_max")
    if len(value) > count_max * max(len(post.media), 1):
        yield Problem(ErrorCode.OPTION_INVALID, field, f"{len(value)} tags, at most {count_max} on each item")
        return
    counts: dict[int, int] = {}
    for index, tag in enumerate(value):
        place = f"{field}[{index}]"
        if not _USERNAME.fullmatch(tag["username"]):
            yield Problem(ErrorCode.OPTION_INVALID, f"{place}.username", "a username is expected")
        number = tag.get("media") or 0
        if number != int(number) or not 0 <= number < max(len(post.media), 1):
            yield Problem(
                ErrorCode.OPTION_INVALID, f"{place}.media", "the number of an item is expected, 0 is the first"
            )
        elif post.media:
            counts[int(number)] = counts.get(int(number), 0) + 1
            yield from _position(post, post.media[int(number)], tag, place)
    for number in sorted(counts):
        if counts[number] > count_max:
            yield Problem(
                ErrorCode.OPTION_INVALID, field, f"{counts[number]} tags on media[{number}], at most {count_max}"
            )


def _has_types_of_a_tag(tag: Any) -> bool:
    """Whether it is one as far as `check_shape` is concerned, which says so if it is not."""
    return (
        isinstance(tag, Mapping)
        and isinstance(tag.get("username"), str)
        and all(
            tag.get(key) is None or (isinstance(tag[key], int | float) and not isinstance(tag[key], bool))
            for key in ("x", "y", "media")
        )
        and abs(tag.get("media") or 0) < 1000
    )


def _position(post: Post, item: MediaItem, tag: Mapping[str, Any], place: str) -> Iterator[Problem]:
    given = [tag[key] for key in ("x", "y") if tag.get(key) is not None]
    if item.type == "video" and post.kind is not Kind.STORY:
        if given:
            yield Problem(ErrorCode.OPTION_INVALID, place, "a tag on a video has no position")
    elif len(given) == 1 or (not given and post.kind is not Kind.STORY):
        yield Problem(ErrorCode.OPTION_INVALID, place, "a tag on an image needs x and y")
    elif not all(0 <= each <= 1 for each in given):
        yield Problem(ErrorCode.OPTION_INVALID, place, "x and y go from 0 to 1")


def _item(kind: Kind, item: MediaItem, field: str) -> Iterator[Problem]:
    units, units_max = utf16_units(item.alt_text or ""), RULES.limit("alt_text_utf16_units_max")
    if units and (item.type == "video" or kind is Kind.STORY):
        what = "a story" if kind is Kind.STORY else "a video"
        yield Problem(ErrorCode.OPTION_INVALID, f"{field}.alt_text", f"Instagram has no alternative text for {what}")
    elif units > units_max:
        yield Problem(ErrorCode.OPTION_INVALID, f"{field}.alt_text", f"{units} characters, at most {units_max}")
    if item.cover_url is not None and kind not in (Kind.REEL, Kind.VIDEO):
        yield Problem(ErrorCode.OPTION_INVALID, f"{field}.cover_url", "only a reel has a cover of its own on Instagram")
    if item.cover_offset_ms is not None and (item.type == "image" or kind is Kind.STORY):
        what = "a story" if kind is Kind.STORY else "an image"
        yield Problem(ErrorCode.OPTION_INVALID, f"{field}.cover_offset_ms", f"Instagram has no cover for {what}")


def _image(post: Post, facts: MediaFacts, field: str) -> Iterator[Problem]:
    """Format and bytes are not looked at: what is no small JPEG is made one (see `media_spec`)."""
    if not facts.width or not facts.height:
        return
    width_min = RULES.limit("image_width_min")
    if facts.width < width_min:
        detail = f"{facts.width} pixels wide, at least {width_min}"
        yield Problem(ErrorCode.MEDIA_DIMENSIONS_NOT_SUPPORTED, field, detail)
    spec = media_spec(post).images
    problem = ratio_problem(facts.width, facts.height, spec) if spec is not None else None
    if problem is not None:
        yield Problem(ErrorCode.MEDIA_RATIO_NOT_SUPPORTED, field, problem)


def _video(post: Post, item: MediaItem, facts: MediaFacts, field: str) -> Iterator[Problem]:
    yield from _length(post.kind, facts, field)
    for found, names, code, what in (
        (facts.container, "containers", ErrorCode.MEDIA_TYPE_NOT_SUPPORTED, "files"),
        (facts.video_codec, "video_codecs", ErrorCode.MEDIA_CODEC_NOT_SUPPORTED, "video"),
        (facts.audio_codec, "audio_codecs", ErrorCode.MEDIA_CODEC_NOT_SUPPORTED, "sound"),
    ):
        if found is not None and not _known(found, RULES.limit(names)):
            yield Problem(code, field, f"Instagram takes no {found[:40]} {what}")
    if facts.moov_at_front is False:
        yield Problem(ErrorCode.MEDIA_NOT_FAST_START, field, "the moov atom is not at the front of the file")
    yield from _picture(post.kind, facts, field)
    offset, seconds = item.cover_offset_ms, facts.duration_seconds
    if offset is not None and seconds is not None and offset >= seconds * 1000:
        detail = f"{offset} ms, the video has {seconds * 1000:.0f}"
        yield Problem(ErrorCode.OPTION_INVALID, f"{field}.cover_offset_ms", detail)


def _length(kind: Kind, facts: MediaFacts, field: str) -> Iterator[Problem]:
    story = "story_" if kind is Kind.STORY else ""
    bytes_max, seconds_max = RULES.limit(f"{story}video_bytes_max"), RULES.limit(f"{story}video_seconds_max")
    seconds_min, seconds = RULES.limit("video_seconds_min"), facts.duration_seconds
    # Containers round to whole frames of sound: 60.02 seconds are 60.
    seconds = None if seconds is None else round(seconds, 1)
    if facts.size_bytes is not None and facts.size_bytes > bytes_max:
        yield Problem(ErrorCode.MEDIA_TOO_LARGE, field, f"{facts.size_bytes} bytes, at most {bytes_max}")
    if seconds is not None and seconds > seconds_max:
        yield Problem(ErrorCode.MEDIA_TOO_LONG, field, f"{seconds:.1f} seconds, at most {seconds_max}")
    elif seconds is not None and seconds < seconds_min:
        yield Problem(ErrorCode.MEDIA_TOO_SHORT, field, f"{seconds:.1f} seconds, at least {seconds_min}")


def _picture(kind: Kind, facts: MediaFacts, field: str) -> Iterator[Problem]:
    width_max = RULES.limit("video_width_max")
    if facts.width is not None and facts.width > width_max:
        detail = f"{facts.width} pixels wide, at most {width_max}"
        yield Problem(ErrorCode.MEDIA_DIMENSIONS_NOT_SUPPORTED, field, detail)
    if facts.width and facts.height:
        low = RULES.limit("story_video_ratio_min" if kind is Kind.STORY else "video_ratio_min")
        high = RULES.limit("video_ratio_max")
        if not low <= facts.width / facts.height <= high:
            detail = f"{facts.width}x{facts.height}, from {low} to {high} to 1 is taken"
            yield Problem(ErrorCode.MEDIA_RATIO_NOT_SUPPORTED, field, detail)
    fps_min, fps_max = RULES.limit("video_fps_min"), RULES.limit("video_fps_max")
    # A rate is measured: 60.002 is 60.
    if facts.fps is not None and not fps_min <= round(facts.fps, 1) <= fps_max:
        detail = f"{facts.fps:.2f} pictures per second, from {fps_min} to {fps_max} are taken"
        yield Problem(ErrorCode.MEDIA_FRAME_RATE_NOT_SUPPORTED, field, detail)


def _known(names: str, allowed: Sequence[str]) -> bool:
    # FFmpeg gives one reader several names: "mov,mp4,m4a,3gp,3g2,mj2".
    return any(name.strip().lower() in allowed for name in names.split(","))
