"""The page of all platforms: what it finds out by asking `check` and `plan` is all there is to find out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

from orbyt_worker import platforms_page
from orbyt_worker.generate import ROOT
from orbyt_worker.platforms.base import Limit, Platform
from orbyt_worker.platforms.facebook import Facebook
from orbyt_worker.platforms.registry import connectors, platforms
from orbyt_worker.platforms_page import bound, cases_of, human_bytes, human_seconds, page
from orbyt_worker.settings import Settings

SETTINGS = Settings.model_construct(database_url=SecretStr("not used"))
PLATFORMS = platforms(SETTINGS)

# Limits of `check` that hold for a value of an option, not for a text, a file or a count the page has a column for: they are
# in its last part only.
OF_OPTIONS = {
    "facebook": {"link_characters_max"},
    "instagram": {"collaborators_max", "user_tags_max"},
    "youtube": {"captions_name_utf16_units_max"},
}


@dataclass
class Rules:
    limits: tuple[Limit, ...]


@dataclass
class Limited:
    """As much of a platform as `bound` looks at."""

    rules: Rules = field(
        default_factory=lambda: Rules(
            (
                Limit("other_seconds_max", 900, "a page", "2026-11"),
                Limit("video_seconds_max", 60, "a page", "2026-11"),
                Limit("video_seconds_min", 3, "a page", "2026-11"),
                Limit("codecs_seconds_max", ("a", "b"), "a page", "2026-11"),
            )
        )
    )


LIMITED: Platform = Limited()  # type: ignore[assignment]  # only its limits are read


@pytest.mark.parametrize(
    ("suffix", "takes", "expected"),
    [
        ("_seconds_max", lambda value: value <= 60, "video_seconds_max"),
        ("_seconds_max", lambda value: value <= 60.05, "video_seconds_max"),
        ("_seconds_min", lambda value: value >= 3, "video_seconds_min"),
        ("_seconds_max", lambda value: value <= 50, None),
        ("_seconds_max", lambda value: True, None),
        ("_seconds_max", lambda value: False, None),
        ("_bytes_max", lambda value: value <= 60, None),
    ],
    ids=["exact", "gives way a little", "from below", "another limit decides", "not checked", "never", "another unit"],
)
def test_a_limit_holds_where_more_than_it_is_refused(
    suffix: str, takes: Callable[[float], bool], expected: str | None
) -> None:
    found = bound(LIMITED, suffix, takes)
    assert (found.name if found is not None else None) == expected


@pytest.mark.parametrize("name", sorted(PLATFORMS))
def test_every_limit_that_check_applies_is_found_by_asking(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: set[str] = set()
    listed: set[str] = set()

    def noting(platform: Platform, suffix: str, takes: Callable[[float], bool]) -> Limit | None:
        limit = bound(platform, suffix, takes)
        if limit is not None:
            found.add(limit.name)
        return limit

    monkeypatch.setattr(platforms_page, "bound", noting)
    text = page({name: PLATFORMS[name]}, connectors(SETTINGS), SETTINGS)
    videos = text.split("## Videos", 1)[1].split("\n## ", 1)[0]
    for limit in PLATFORMS[name].rules.limits:
        if limit.name.endswith(("containers", "codecs")) and ", ".join(sorted(limit.value)) in videos:  # type: ignore[arg-type]  # names
            listed.add(limit.name)
    assert applied(name) - found - listed == OF_OPTIONS[name]


def applied(name: str) -> set[str]:
    """The limits `check.py` names, with those it puts together from parts."""
    source = (ROOT / "orbyt_worker" / "platforms" / name / "check.py").read_text("utf-8")
    names = {limit.name for limit in PLATFORMS[name].rules.limits}
    words = {"", *re.findall(r"\"(\w+)\"", source)}
    found = words & names
    for end in re.findall(r"limit\(f\"\{\w+\}(\w+)\"", source):
        found |= {f"{start}{end}" for start in words} & names
    return found


@pytest.mark.parametrize("name", sorted(PLATFORMS))
def test_every_option_can_be_used_with_some_kind(name: str) -> None:
    usable = {option for case in cases_of(PLATFORMS[name]) for option in case.usable_options()}
    assert usable == set(PLATFORMS[name].rules.options)


def test_a_platform_that_refuses_the_plainest_post_is_no_table_of_dashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms_page.Case, "facts", lambda self: None)
    monkeypatch.setattr(platforms_page.Case, "post", _without_media)
    with pytest.raises(ValueError, match="facebook photo: the plainest post is refused"):
        list(cases_of(Facebook()))


def _without_media(case: platforms_page.Case, post=platforms_page.Case.post):  # type: ignore[no-untyped-def]  # a method
    return post(case, media=())


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1_024, "1 KiB"), (10_000_000, "10 MB"), (2_097_152, "2 MiB"), (10_737_418_240, "10 GiB"), (1_500, "1,500 bytes")],
)
def test_sizes_are_said_in_the_largest_unit_that_is_exact(size: int, expected: str) -> None:
    assert human_bytes(size) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(3, "3 s"), (90, "90 s"), (900, "15 min"), (4500, "1 h 15 min")])
def test_times_are_said_as_people_do(seconds: float, expected: str) -> None:
    assert human_seconds(seconds) == expected


def test_the_page_is_where_the_index_says() -> None:
    assert "reference/platforms.md" in (ROOT / Path("docs/README.md")).read_text("utf-8")
