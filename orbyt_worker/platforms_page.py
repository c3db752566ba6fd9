"""Development only: `docs/reference/platforms.md`, what every platform takes, side by side.

Nothing on that page is written by hand. What the platforms' `Rules` say is printed. Which of their limits holds for which
kind is known to `check` alone, so it is asked: a limit holds where a post with exactly that much passes and one with more
does not. Steps, side tasks and what can be proven are read from `plan`. `generate.py` writes the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Account, ImageSpec, Kind, MediaFacts, MediaItem, Post, Problem
from orbyt_worker.platforms.base import Limit, Platform, Shape, Step, Window
from orbyt_worker.platforms.connector import Connector
from orbyt_worker.settings import Settings

NONE = "-"
NOT_CHECKED = "any"

_NOBODY = UUID(int=0)
_AT = datetime(2026, 1, 1, tzinfo=UTC)
# Tried in this order; the first that is accepted shows that the option can be used at all.
_SAMPLES: Mapping[str, tuple[Any, ...]] = {
    "bool": (True,),
    "int": (1,),
    "string": ("22", "en", "https://example.com/"),
    "string[]": (["a"],),
    "user_tags": ([{"username": "a", "x": 0.5, "y": 0.5}], [{"username": "a"}]),
}
_TYPES = {
    "bool": "true or false",
    "int": "whole number",
    "string": "text",
    "string[]": "list of texts",
    "user_tags": "list of `{username, x?, y?, media?}`",
}
_WINDOWS = {
    Window.PACIFIC_DAY: "all of it at midnight Pacific time",
    Window.ROLLING_DAY: "each unit 24 hours after its use",
}
# What no file is: whoever takes it does not look.
_NONSENSE = "nonsense"


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of one platform with one type of media (None: a kind without media): what limits and steps depend on."""

    platform: Platform
    kind: Kind
    type: Literal["image", "video"] | None

    @property
    def name(self) -> str:
        several = len(self.platform.rules.shapes[self.kind].types) > 1
        return f"{self.kind} ({self.type})" if several else str(self.kind)

    def post(self, **changes: Any) -> Post:
        """A post with nothing but what the kind needs."""
        shape = self.platform.rules.shapes[self.kind]
        media = tuple(MediaItem(self.type, "https://example.com/file") for _ in range(shape.media_min) if self.type)
        fields: dict[str, Any] = {
            "kind": self.kind,
            "title": "a" if shape.title == "required" else None,
            "caption": "a" if self.kind is Kind.TEXT else None,
            "media": media,
            "options": {},
            "publish_at": _AT,
            "expires_at": _AT + timedelta(days=1),
        }
        return Post(**{**fields, **changes})

    def facts(self, **changes: Any) -> MediaFacts:
        """A file that every platform takes."""
        if self.type == "image":
            fine = MediaFacts("image", "image/jpeg", 500_000, "jpeg", width=1080, height=1080)
        else:
            fine = MediaFacts(
                *("video", "video/mp4", 5_000_000, "mp4", 10.0, 1080, 1920, 30.0),
                video_codec="h264",
                audio_codec="aac",
                moov_at_front=True,
            )
        return replace(fine, **changes)

    def problems(self, post: Post, facts: MediaFacts | None = None) -> list[Problem]:
        found = [] if facts is None or not post.media else [facts] * len(post.media)
        return self.platform.check(post, found)

    def takes(self, place: str, **changes: Any) -> bool:
        """Whether a post with these fields has no problem at `place`."""
        return not any(_is_at(each.field, place) for each in self.problems(self.post(**changes)))

    def takes_file(self, *codes: ErrorCode, **changes: Any) -> bool:
        """Whether a file with these facts has none of the problems `codes` (without codes: none at all)."""
        found = self.problems(self.post(), self.facts(**changes))
        return not any(not codes or each.code in codes for each in found)

    def plan(self, **changes: Any) -> tuple[Step, ...]:
        rules = self.platform.rules
        account = Account(_NOBODY, _NOBODY, rules.platform, "1", "a", rules.required_scopes)
        return self.platform.plan(self.post(**changes), account)

    def usable_options(self) -> dict[str, Any]:
        """The options this kind can express, each with a value that is accepted."""
        found: dict[str, Any] = {}
        for name, kind in self.platform.rules.options.items():
            for value in samples(kind):
                if self.takes(f"options.{name}", options={name: value}):
                    found[name] = value
                    break
        return found


def samples(kind: str) -> tuple[Any, ...]:
    """Values of an option's type (`Rules.options`)."""
    return tuple(kind.removeprefix("enum:").split("|")) if kind.startswith("enum:") else _SAMPLES[kind]


def _is_at(field: str, place: str) -> bool:
    return field == place or field.startswith((f"{place}.", f"{place}["))


def cases_of(platform: Platform) -> Iterator[Case]:
    for kind, shape in platform.rules.shapes.items():
        types: tuple[Any, ...] = shape.types or (None,)
        for each in types:
            case = Case(platform, kind, each)
            if problems := case.problems(case.post(), case.facts() if each else None):
                raise ValueError(f"{platform.rules.platform} {case.name}: the plainest post is refused: {problems}")
            yield case


# Which limit holds -----------------------------------------------------------------------------------------------------


def bound(platform: Platform, suffix: str, takes: Callable[[float], bool]) -> Limit | None:
    """The limit named `…<suffix>` that decides: exactly that much is taken, a tenth beyond it is not.

    A tenth, because some limits give way a little (`check.py` says why).
    """
    for limit in platform.rules.limits:
        value = limit.value
        if not limit.name.endswith(suffix) or isinstance(value, str | Sequence):
            continue
        beyond = value * 1.1 + 1 if suffix.endswith("_max") else value * 0.9
        if suffix.startswith("_ratio"):
            beyond = value * (1.1 if suffix.endswith("_max") else 0.9)
        if takes(value) and not takes(beyond):
            return limit
    return None


def text_bound(case: Case, place: str, fields: Callable[[str], Mapping[str, Any]]) -> str:
    """How long a text may be, in the unit its limit is counted in."""
    for suffix, unit in (("_utf16_units_max", "characters"), ("_bytes_max", "bytes in UTF-8")):
        limit = bound(
            case.platform,
            suffix,
            lambda size: size > TEXT_SIZE_MAX or case.takes(place, **fields("a" * int(size))),
        )
        if limit is not None:
            return f"{limit.value:,} {unit}"
    return NOT_CHECKED


# Longer texts are no texts: the sizes of files are limits too.
TEXT_SIZE_MAX = 1_000_000
CAPTION_WORDS_MAX = 1_000


def _size(case: Case) -> str:
    codes = (ErrorCode.MEDIA_TOO_LARGE, ErrorCode.MEDIA_TOO_SMALL)

    def takes(size: float) -> bool:
        return case.takes_file(*codes, size_bytes=int(size))

    low, high = bound(case.platform, "_bytes_min", takes), bound(case.platform, "_bytes_max", takes)
    return _between(low, high, human_bytes)


def _length(case: Case) -> str:
    codes = (ErrorCode.MEDIA_TOO_LONG, ErrorCode.MEDIA_TOO_SHORT)

    def takes(seconds: float) -> bool:
        return case.takes_file(*codes, duration_seconds=float(seconds))

    low, high = bound(case.platform, "_seconds_min", takes), bound(case.platform, "_seconds_max", takes)
    return _between(low, high, human_seconds)


def _rate(case: Case) -> str:
    def takes(fps: float) -> bool:
        return case.takes_file(ErrorCode.MEDIA_FRAME_RATE_NOT_SUPPORTED, fps=float(fps))

    return _between(bound(case.platform, "_fps_min", takes), bound(case.platform, "_fps_max", takes), _plain)


def _ratio(case: Case) -> str:
    def takes(ratio: float) -> bool:
        width = 1080 if ratio < 1 else 1920
        return case.takes_file(ErrorCode.MEDIA_RATIO_NOT_SUPPORTED, width=width, height=round(width / ratio))

    low, high = bound(case.platform, "_ratio_min", takes), bound(case.platform, "_ratio_max", takes)
    if low is None and high is None and not case.takes_file(width=1920, height=1080):
        return "square or upright"
    return _between(low, high, lambda value: f"{value:g}:1")


def _pixels(case: Case) -> str:
    code = ErrorCode.MEDIA_DIMENSIONS_NOT_SUPPORTED
    looks: tuple[tuple[str, str, Callable[[float], tuple[float, float]]], ...] = (
        ("_short_side_min", "shorter side at least {}", lambda side: (side, side * 16 / 9)),
        ("_long_side_min", "longer side at least {}", lambda side: (side * 9 / 16, side)),
        ("_width_min", "width at least {}", lambda width: (width, width)),
        ("_width_max", "width at most {}", lambda width: (width, width)),
    )
    found = []
    for suffix, words, shape in looks:

        def takes(side: float, shape: Callable[[float], tuple[float, float]] = shape) -> bool:
            width, height = shape(side)
            return case.takes_file(code, width=round(width), height=round(height))

        limit = bound(case.platform, suffix, takes)
        if limit is not None:
            found.append(words.format(limit.value))
    return ", ".join(found) or NOT_CHECKED


def _names(case: Case, limits: Sequence[str], fact: str, code: ErrorCode) -> str:
    """Which of the names some limit lists are accepted; all of them, and nonsense too: not looked at."""
    if case.takes_file(code, **{fact: _NONSENSE}):
        return NOT_CHECKED
    known = {
        name
        for each in case.platform.rules.limits
        if each.name.endswith(tuple(limits)) and isinstance(each.value, Sequence)
        for name in each.value
    }
    return ", ".join(sorted(name for name in known if case.takes_file(code, **{fact: name})))


# Words -----------------------------------------------------------------------------------------------------------------


def _plain(value: float) -> str:
    return f"{value:g}"


def human_bytes(size: float) -> str:
    """The largest unit that gives a whole number; decimal units where binary ones do not fit."""
    for unit, factor in (("GiB", 2**30), ("GB", 10**9), ("MiB", 2**20), ("MB", 10**6), ("KiB", 2**10)):
        if size >= factor and size % factor == 0:
            return f"{size / factor:g} {unit}"
    return f"{size:,.0f} bytes"


def human_seconds(seconds: float) -> str:
    """`1 h 15 min`; short times in seconds."""
    if seconds < 120:
        return f"{seconds:g} s"
    parts, rest = [], seconds
    for unit, size in (("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:g} {unit}")
    return " ".join(parts)


def _between(low: Limit | None, high: Limit | None, words: Callable[[float], str]) -> str:
    if low is None:
        return NOT_CHECKED if high is None else f"at most {words(high.value)}"  # type: ignore[arg-type]  # numbers: `bound`
    lowest = words(low.value)  # type: ignore[arg-type]  # a number: `bound`
    return f"at least {lowest}" if high is None else f"{lowest} to {words(high.value)}"  # type: ignore[arg-type]  # the same


def _media_of(shape: Shape | None) -> str:
    if shape is None:
        return NONE
    if shape.media_max == 0:
        return "no media"
    count = f"{shape.media_min}" if shape.media_min == shape.media_max else f"{shape.media_min} to {shape.media_max}"
    plural = "" if shape.media_max == 1 else "s"
    return f"{count} {' or '.join(f'{each}{plural}' for each in shape.types)}"


def _image_spec(spec: ImageSpec | None) -> str:
    if spec is None:
        return NONE
    ratio = ""
    if spec.ratio_min is not None and spec.ratio_max is not None:
        ratio = f", {spec.ratio_min:g}:1 to {spec.ratio_max:g}:1"
    size = f"{spec.width_max} x {spec.height_max}"
    return f"{' or '.join(spec.formats)}, at most {human_bytes(spec.bytes_max)} and {size}{ratio}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, with an empty line after it."""
    return [
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows),
        "",
    ]


def merged(rows: Iterable[tuple[str, str, tuple[str, ...]]]) -> Iterator[tuple[str, ...]]:
    """(platform, kind, cells): kinds of one platform with the same cells become one row."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for platform, kind, cells in rows:
        kinds = found.setdefault((platform, cells), [])
        if kind not in kinds:
            kinds.append(kind)
    for (platform, cells), kinds in found.items():
        yield platform, ", ".join(kinds), *cells


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or NONE


# The page --------------------------------------------------------------------------------------------------------------


def page(platforms: Mapping[str, Platform], connectors: Mapping[str, Connector], config: Settings) -> str:
    """Everything below the notice. `config` has credentials of every login, so that all of them are offered."""
    cases = [case for platform in platforms.values() for case in cases_of(platform)]
    head = [f"[{each.rules.title}](../platforms/{name}.md)" for name, each in platforms.items()]
    lines = [
        "# Platforms",
        "",
        "What each platform takes, for the app developer. Kinds, limits and options are also rows of "
        "[`orbyt.platforms`](database.md#orbytplatforms), for a form; `check_post` applies them. "
        f"`{NONE}`: there is no such thing. `{NOT_CHECKED}`: not looked at, the platform decides. Characters are counted as "
        "`text.length` in JavaScript. Times are those of the default [settings](settings.md).",
        "",
        "[Kinds](#kinds) · [Logins](#logins) · [Text](#text) · [Images](#images) · [Videos](#videos) · [Options](#options) · "
        "[Side tasks](#side-tasks) · [When](#when) · [A lost answer](#when-the-answer-is-lost) · [Allowances](#allowances) · "
        "[Every limit](#every-limit-and-its-source)",
        "",
        "## Kinds",
        "",
        "What `media` holds.",
        "",
        *table(
            ("`kind`", *head),
            ((f"`{kind}`", *(_media_of(each.rules.shapes.get(kind)) for each in platforms.values())) for kind in Kind),
        ),
        *_logins(platforms, connectors, config),
        *_texts(cases),
        *_images(cases),
        *_videos(cases),
        *_options(platforms, cases),
        *_side_tasks(cases),
        *_times(cases),
        *_proof(platforms, cases),
        *_allowances(platforms),
        *_sources(platforms),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _logins(platforms: Mapping[str, Platform], connectors: Mapping[str, Connector], config: Settings) -> list[str]:
    rows = (
        (
            *(platform.rules.title, f"`{app.login}`", _code(app.scopes)),
            "renewed by the worker" if platform.renews(app.login) else "lives until somebody ends it",
        )
        for name, platform in platforms.items()
        for app in connectors[name].apps(config)
    )
    return [
        "## Logins",
        "",
        "How an account is connected, and what it is asked for. Further scopes (comments, playlists) are a setting of the worker.",
        "",
        *table(("Platform", "Login", "Scopes", "Token"), rows),
    ]


def _texts(cases: Sequence[Case]) -> list[str]:
    def rows() -> Iterator[tuple[str, str, tuple[str, ...]]]:
        for case in cases:
            shape, options = case.platform.rules.shapes[case.kind], case.usable_options()
            title, caption, comment = NONE, NONE, NONE
            if shape.title != "ignored":
                title = f"{shape.title}, {text_bound(case, 'title', lambda text: {'title': text})}"
            if case.takes("caption", caption="a"):
                caption = text_bound(case, "caption", lambda text: {"caption": text})
            if "first_comment" in options:
                comment = text_bound(case, "options.first_comment", lambda text: {"options": {"first_comment": text}})
            more = [f"{limit.value} {word}" for word, limit in _counted(case)] if caption != NONE else []
            if "tags" in options:
                more.append("tags: " + text_bound(case, "options.tags", lambda text: {"options": {"tags": [text]}}))
            yield case.platform.rules.title, f"`{case.kind}`", (title, caption, ", ".join(more) or NONE, comment)

    head = ("Platform", "`kind`", "`title`", "`caption`", "In it, or with it", "`options.first_comment`")
    return ["## Text", "", "At most:", "", *table(head, merged(rows()))]


def _counted(case: Case) -> Iterator[tuple[str, Limit]]:
    """What is counted in a caption: at most so many hashtags, mentions."""
    for word, one in (("hashtags", "#a "), ("mentions", "@a ")):

        def takes(count: float, one: str = one) -> bool:
            return count > CAPTION_WORDS_MAX or case.takes("caption", caption=one * int(count))

        limit = bound(case.platform, f"{word}_max", takes)
        if limit is not None:
            yield word, limit


def _images(cases: Sequence[Case]) -> list[str]:
    def rows() -> Iterator[tuple[str, str, tuple[str, ...]]]:
        for case in cases:
            account = Account(_NOBODY, _NOBODY, case.platform.rules.platform, "1", "a")
            spec = case.platform.media_spec(case.post(), account)
            alt = NONE
            if case.type == "image":
                item = case.post().media[0]

                def fields(text: str, case: Case = case, item: MediaItem = item) -> dict[str, Any]:
                    return {"media": (replace(item, alt_text=text), *case.post().media[1:])}

                if case.takes("media", **fields("a")):
                    alt = text_bound(case, "media", fields)
                yield case.platform.rules.title, f"`{case.kind}`", (_pixels(case), _image_spec(spec.images), alt, NONE)
            elif spec.covers is not None:
                yield case.platform.rules.title, f"`{case.kind}`", (NONE, NONE, NONE, _image_spec(spec.covers))

    return [
        "## Images",
        "",
        "Any common format may be sent: what does not fit is turned upright and converted. Only a ratio outside of the bounds is "
        "refused, unless the option `image_fit` says how to make it fit.",
        "",
        *table(("Platform", "`kind`", "Sent", "Becomes", "`alt_text`", "`cover_url` becomes"), merged(rows())),
    ]


def _videos(cases: Sequence[Case]) -> list[str]:
    def cells(case: Case) -> tuple[str, ...]:
        kinds, codecs = ErrorCode.MEDIA_TYPE_NOT_SUPPORTED, ErrorCode.MEDIA_CODEC_NOT_SUPPORTED
        containers = _names(case, ("containers",), "container", kinds)
        if not case.takes_file(moov_at_front=False):
            containers += ", `moov` at the front"
        return (
            *(_size(case), _length(case), _pixels(case), _ratio(case), _rate(case), containers),
            _names(case, ("codecs",), "video_codec", codecs),
            _names(case, ("codecs",), "audio_codec", codecs),
        )

    rows = ((case.platform.rules.title, f"`{case.kind}`", cells(case)) for case in cases if case.type == "video")
    return [
        "## Videos",
        "",
        "Sent as they are. Formats by FFmpeg's names.",
        "",
        *table(
            (
                "Platform",
                "`kind`",
                "Size",
                "Length",
                "Pixels",
                "Width : height",
                "Pictures per second",
                "Files",
                "Video",
                "Sound",
            ),
            merged(rows),
        ),
    ]


def _options(platforms: Mapping[str, Platform], cases: Sequence[Case]) -> list[str]:
    def rows() -> Iterator[tuple[str, ...]]:
        for platform in platforms.values():
            for name, kind in platform.rules.options.items():
                words = _code(samples(kind)) if kind.startswith("enum:") else _TYPES[kind]
                kinds = dict.fromkeys(
                    str(case.kind) for case in cases if case.platform is platform and name in case.usable_options()
                )
                yield platform.rules.title, f"`{name}`", words, _code(kinds)

    return ["## Options", "", *table(("Platform", "`options`", "Values", "`kind`"), rows())]


def _side_steps(case: Case, **changes: Any) -> list[str]:
    return [step.name for step in case.plan(**changes) if step.side]


def _side_tasks(cases: Sequence[Case]) -> list[str]:
    def rows() -> Iterator[tuple[str, str, tuple[str, ...]]]:
        for case in cases:
            options = case.usable_options()
            asked: list[tuple[str, dict[str, Any]]] = [
                (f"`options.{name}`", {"options": {name: options[name]}}) for name in options
            ]
            if case.type == "video":
                item = replace(case.post().media[0], cover_url="https://example.com/cover.jpg")
                asked.append(("`media[0].cover_url`", {"media": (item, *case.post().media[1:])}))
            for words, changes in asked:
                for name in _side_steps(case, **changes):
                    yield case.platform.rules.title, f"`{case.kind}`", (f"`{name}`", words)

    return [
        "## Side tasks",
        "",
        "Done around the post, each with a row of its own in [`orbyt.side_tasks`](database.md#orbytside_tasks); the post is "
        "`published` whatever becomes of them.",
        "",
        *table(("Platform", "`kind`", "Task", "Asked for with"), merged(rows())),
    ]


def leads(steps: Sequence[Step]) -> tuple[float | None, float]:
    """How long before `publish_at` the first hidden step and the visible one may start (None: at once)."""
    visible = next(step for step in steps if step.visible)
    hidden = [step.lead_seconds for step in steps[: steps.index(visible)]]
    earliest = None if None in hidden else max((lead for lead in hidden if lead is not None), default=0.0)
    return earliest, visible.lead_seconds or 0.0


def _times(cases: Sequence[Case]) -> list[str]:
    def words(case: Case, **changes: Any) -> tuple[str, str]:
        earliest, visible = leads(case.plan(**changes))
        first = "as soon as it is inserted" if earliest is None else f"{human_seconds(earliest)} before"
        return (
            "none" if earliest == 0 else first,
            f"{human_seconds(visible)} before `publish_at`" if visible else "at `publish_at`",
        )

    def rows() -> Iterator[tuple[str, str, tuple[str, ...]]]:
        for case in cases:
            usual = words(case)
            yield case.platform.rules.title, f"`{case.kind}`", usual
            for name, kind in case.platform.rules.options.items():
                for value in samples(kind) if kind.startswith("enum:") else ():
                    if name in case.usable_options() and (other := words(case, options={name: value})) != usual:
                        yield case.platform.rules.title, f"`{case.kind}` with `{name}` `{value}`", other

    return [
        "## When",
        "",
        "Hidden work (upload, processing) starts ahead of `publish_at`; nobody can see it, and a cancel leaves nothing behind. The visible "
        "call is the last moment for a cancel. How far ahead and how late a post may be set: "
        "[database settings](database.md#database-settings).",
        "",
        *table(("Platform", "`kind`", "Hidden work", "Visible call"), merged(rows())),
    ]


def _proof(platforms: Mapping[str, Platform], cases: Sequence[Case]) -> list[str]:
    def rows() -> Iterator[tuple[str, str, tuple[str, ...]]]:
        for case in cases:
            provable = next(step.provable for step in case.plan() if step.visible)
            yield (
                *(case.platform.rules.title, f"`{case.kind}`" + case.name.removeprefix(str(case.kind))),
                (
                    "both, by the post's own handle"
                    if provable
                    else "only that it is out; else `held` with `outcome_unknown`",
                ),
            )

    reasons = [
        f"- {platform.rules.title}, {', '.join(kinds)}: {reason}."
        for platform in platforms.values()
        for reason, kinds in _by_reason(platform.rules.unprovable).items()
    ]
    return [
        "## When the answer is lost",
        "",
        "The visible call is never repeated to find out what became of it. What can be proven afterwards:",
        "",
        *table(("Platform", "`kind`", "Can be proven"), merged(rows())),
        *reasons,
        "",
    ]


def _by_reason(unprovable: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind, reason in unprovable.items():
        found.setdefault(reason, []).append(kind)
    return found


def _allowances(platforms: Mapping[str, Platform]) -> list[str]:
    rows = (
        (
            *(platform.rules.title, f"`{name}`", f"{bucket.units_max:,}"),
            "account" if bucket.key is None else "all accounts together",
            _WINDOWS[bucket.window],
            f"[`{bucket.exhausted_code}`](errors.md#{bucket.exhausted_code})",
        )
        for platform in platforms.values()
        for name, bucket in platform.buckets.items()
    )
    return [
        "## Allowances",
        "",
        "Counted by all workers together before the platform is called. A job beyond it waits with the code, without costing an attempt.",
        "",
        *table(("Platform", "Allowance", "Units", "For each", "Comes back", "Code"), rows),
    ]


def _sources(platforms: Mapping[str, Platform]) -> list[str]:
    lines = [
        "## Every limit and its source",
        "",
        "As in `orbyt.platforms.limits`. *Unconfirmed*: no page of the platform names the number.",
        "",
    ]
    for platform in platforms.values():
        rows = (
            (f"`{limit.name}`", _value(limit), limit.source.replace("<", "&lt;"), limit.read_on)
            for limit in platform.rules.limits
        )
        lines += [f"### {platform.rules.title}", "", *table(("Limit", "Value", "Source", "Read"), rows)]
    return lines


def _value(limit: Limit) -> str:
    if isinstance(limit.value, int | float):
        exact = f"{limit.value:,}" if isinstance(limit.value, int) else f"{limit.value:g}"
        if "_bytes_" in limit.name and (short := human_bytes(limit.value)) != f"{exact} bytes":
            return f"{exact} ({short})"
        if "_seconds_" in limit.name and (short := human_seconds(limit.value)) != f"{exact} s":
            return f"{exact} ({short})"
        return exact
    return limit.value if isinstance(limit.value, str) else ", ".join(limit.value)
