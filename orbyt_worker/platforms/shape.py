"""What is checked of every post alike, from the platform's `Rules`: kind, title, options by type, number and type of media, times.

Pure. A platform's own `check` adds what only it knows and puts all of it in order with `ordered`. The pre-flight in SQL
(`orbyt_private.check_shape`) applies the same rules to the same data; tables of cases are run against both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import MediaFacts, Post, Problem
from orbyt_worker.platforms.base import Rules

# What counts as blank, spelled out so that SQL can use the very same list.
BLANK = "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"

# The order in which a form shows its fields: problems come in it, whoever found them.
_ORDER = ("kind", "title", "caption", "options", "media", "publish_at", "expires_at")
_USER_TAG = "{username, x?, y?, media?}"
_USER_TAG_KEYS = frozenset({"username", "x", "y", "media"})


def utf16_units(text: str) -> int:
    """Length as JavaScript counts it: characters outside the BMP are two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def trim(text: str | None) -> str:
    """Text without blanks of any kind around it; None becomes empty."""
    return (text or "").strip(BLANK)


def ordered(*found: Iterable[Problem]) -> list[Problem]:
    """All problems in the order of the fields; within a field in the order they were found."""
    return sorted((each for some in found for each in some), key=_rank)


def _rank(problem: Problem) -> int:
    root = problem.field.partition(".")[0].partition("[")[0]
    return _ORDER.index(root) if root in _ORDER else len(_ORDER)


def check_shape(rules: Rules, post: Post) -> Iterator[Problem]:
    """Problems of the row alone. What needs media facts is `check_facts` and the platform's."""
    shape = rules.shapes.get(post.kind)
    if shape is None:
        yield Problem(ErrorCode.KIND_NOT_SUPPORTED, "kind", f"{rules.title} takes {', '.join(rules.kinds)}")
    elif shape.title == "required" and not trim(post.title):
        yield Problem(ErrorCode.TITLE_MISSING, "title", f"{rules.title} needs a title here")
    yield from _options(rules, post.options)
    if shape is not None:
        yield from _media(rules, post)
    if post.expires_at <= post.publish_at:
        yield Problem(ErrorCode.EXPIRES_AT_INVALID, "expires_at", "the deadline is not after publish_at")


def _media(rules: Rules, post: Post) -> Iterator[Problem]:
    shape, count = rules.shapes[post.kind], len(post.media)
    if shape.media_max == 0:
        if count:
            yield Problem(ErrorCode.MEDIA_NOT_ALLOWED, "media", f"a {post.kind} post has no media")
        return
    wanted = (
        f"{shape.media_min}" if shape.media_min == shape.media_max else f"{shape.media_min} to {shape.media_max}"
    ) + f" of type {' or '.join(shape.types)}"
    if count == 0 and shape.media_min > 0:
        yield Problem(ErrorCode.MEDIA_MISSING, "media", f"{wanted} expected")
        return
    if not shape.media_min <= count <= shape.media_max:
        yield Problem(ErrorCode.MEDIA_COUNT, "media", f"{count} items, {wanted} expected")
    for index, item in enumerate(post.media):
        if item.type not in shape.types:
            yield Problem(
                ErrorCode.MEDIA_TYPE_NOT_SUPPORTED,
                f"media[{index}].type",
                f"{rules.title} takes {' or '.join(shape.types)} here",
            )


def _options(rules: Rules, options: Mapping[str, Any]) -> Iterator[Problem]:
    for name in sorted(options):
        kind = rules.options.get(name)
        if kind is None:
            yield Problem(ErrorCode.OPTION_UNKNOWN, f"options.{name}", f"{rules.title} has no option {name[:64]}")
        elif options[name] is not None:  # null is the same as not given
            for place, expected in _wrong(kind, options[name]):
                yield Problem(ErrorCode.OPTION_INVALID, f"options.{name}{place}", f"{expected} is expected")


def _wrong(kind: str, value: Any) -> Iterator[tuple[str, str]]:
    """Which part of `value` is wrong ("" for all of it, "[1]" for an entry of a list), and what should have been there instead."""
    if kind in ("string[]", "user_tags"):
        one, expected = (
            ("a string", "a list of strings") if kind == "string[]" else (_USER_TAG, f"a list of {_USER_TAG}")
        )
        if not isinstance(value, list | tuple):
            yield "", expected
            return
        fine = _is_string if kind == "string[]" else _is_user_tag
        yield from ((f"[{index}]", one) for index, each in enumerate(value) if not fine(each))
        return
    if kind.startswith("enum:"):
        allowed = kind.removeprefix("enum:").split("|")
        if value not in allowed:
            yield "", f"one of {', '.join(allowed)}"
        return
    is_fine, expected = {
        "bool": (isinstance(value, bool), "true or false"),
        "int": (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9, "a whole number"),
        "string": (isinstance(value, str), "a string"),
    }[kind]
    if not is_fine:
        yield "", expected


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_user_tag(tag: Any) -> bool:
    if not isinstance(tag, Mapping):
        return False
    numbers = [tag[key] for key in ("x", "y", "media") if tag.get(key) is not None]
    return (
        set(tag) <= _USER_TAG_KEYS
        and isinstance(tag.get("username"), str)
        and all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers)
    )


def check_facts(rules: Rules, post: Post, media: Sequence[MediaFacts | None]) -> Iterator[Problem]:
    """Problems of the files that are the same everywhere: an empty file, or one of another type than the row says."""
    for index, facts in enumerate(media):
        if facts is None:
            continue
        if index < len(post.media) and facts.type != post.media[index].type:
            yield Problem(
                ErrorCode.MEDIA_TYPE_NOT_SUPPORTED, f"media[{index}]", f"the file is not {_an(post.media[index].type)}"
            )
        elif facts.size_bytes == 0:
            yield Problem(ErrorCode.MEDIA_EMPTY, f"media[{index}]", "the file has no bytes")


def _an(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
