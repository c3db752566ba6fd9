"""The pure check: the shared table of cases, media facts, and properties that hold for any input."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Kind, MediaFacts
from orbyt_worker.platforms.base import Window
from orbyt_worker.platforms.shape import utf16_units
from orbyt_worker.platforms.youtube import PLATFORM, YouTube
from orbyt_worker.platforms.youtube.check import clean_tags, clean_title, tags_units
from orbyt_worker.platforms.youtube.upload import metadata
from tests.platforms.cases import Case, load_cases
from tests.platforms.driver import MemoryMedia, make_job, make_post

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FACTS = MemoryMedia.video(1000).facts
CASES = load_cases("youtube")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_cases(case: Case) -> None:
    found = [(str(problem.code), problem.field) for problem in PLATFORM.check(case.post(NOW), [])]
    assert found == list(case.expect)


def test_case_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_title_none_is_missing() -> None:
    assert [each.code for each in PLATFORM.check(make_post(NOW, title=None), [])] == [ErrorCode.TITLE_MISSING]


def test_deadline_before_publish_at() -> None:
    problems = PLATFORM.check(make_post(NOW, publish_at=NOW, expires_at=NOW), [])
    assert [(each.code, each.field) for each in problems] == [(ErrorCode.EXPIRES_AT_INVALID, "expires_at")]


@pytest.mark.parametrize(
    ("kind", "facts", "expected"),
    [
        (Kind.VIDEO, {}, []),
        (Kind.VIDEO, {"type": "image"}, [ErrorCode.MEDIA_TYPE_NOT_SUPPORTED]),
        (Kind.VIDEO, {"size_bytes": 0}, [ErrorCode.MEDIA_EMPTY]),
        (Kind.VIDEO, {"size_bytes": 256 * 1024**3}, []),
        (Kind.VIDEO, {"size_bytes": 256 * 1024**3 + 1}, [ErrorCode.MEDIA_TOO_LARGE]),
        (Kind.VIDEO, {"duration_seconds": 43_200.0}, []),
        (Kind.VIDEO, {"duration_seconds": 43_200.5}, [ErrorCode.MEDIA_TOO_LONG]),
        (Kind.VIDEO, {"container": "webm"}, []),
        (Kind.VIDEO, {"container": "matroska,webm"}, []),
        (Kind.VIDEO, {"container": "rm"}, [ErrorCode.MEDIA_TYPE_NOT_SUPPORTED]),
        (Kind.VIDEO, {"video_codec": "rv40"}, [ErrorCode.MEDIA_CODEC_NOT_SUPPORTED]),
        (Kind.VIDEO, {"size_bytes": None, "container": None, "video_codec": None, "duration_seconds": None}, []),
        (Kind.REEL, {"width": 1080, "height": 1920, "duration_seconds": 180.0}, []),
        (Kind.REEL, {"width": 1080, "height": 1080}, []),
        (Kind.REEL, {"width": 1080, "height": 1920, "duration_seconds": 181.0}, [ErrorCode.MEDIA_TOO_LONG]),
        (Kind.REEL, {"width": 1920, "height": 1080}, [ErrorCode.MEDIA_INVALID]),
        (Kind.REEL, {"width": None, "height": None}, []),
    ],
)
def test_media_facts(kind: Kind, facts: dict[str, Any], expected: list[ErrorCode]) -> None:
    found: MediaFacts = replace(FACTS, **facts)
    problems = PLATFORM.check(make_post(NOW, kind=kind), [found])
    assert [each.code for each in problems] == expected
    assert all(each.field == "media[0]" for each in problems)


def test_tags_are_counted_as_youtube_counts_them() -> None:
    """The two examples of the Videos resource page."""
    assert tags_units(["Foo-Baz"]) == 7
    assert tags_units(["Foo Baz"]) == 9
    assert tags_units(["Foo-Baz", "Foo Baz"]) == 17


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=8,
)
OPTIONS = st.dictionaries(st.sampled_from([*PLATFORM.rules.options, "other"]), JSON_VALUES, max_size=6)


@given(title=st.none() | st.text(max_size=120), caption=st.none() | st.text(max_size=200), options=OPTIONS)
def test_any_input_is_judged_and_what_passes_can_be_sent(
    title: str | None, caption: str | None, options: dict[str, Any]
) -> None:
    post = make_post(NOW, title=title, caption=caption, options=options)
    problems = PLATFORM.check(post, [])
    assert all(problem.code in set(ErrorCode) and problem.field for problem in problems)
    if problems:
        return
    body = metadata(post, None)
    assert 1 <= utf16_units(body["snippet"]["title"]) <= 100
    assert len(body["snippet"].get("description", "").encode()) <= 5000
    assert tags_units(body["snippet"].get("tags", [])) <= 500
    assert "" not in body["snippet"].get("tags", [])
    assert body["status"]["privacyStatus"] in ("public", "unlisted", "private")
    assert isinstance(body["status"]["selfDeclaredMadeForKids"], bool)


@given(st.text(max_size=300))
def test_length_is_that_of_javascript(text: str) -> None:
    assert utf16_units(text) == sum(2 if ord(character) > 0xFFFF else 1 for character in text)


@given(st.lists(st.text(max_size=20), max_size=20))
def test_clean_tags_are_never_blank(tags: list[str]) -> None:
    assert all(tag.strip() or tag for tag in clean_tags(make_post(NOW, options={"tags": tags})))


def test_clean_title_trims_what_counts_as_blank() -> None:
    assert clean_title(make_post(NOW, title="\u00a0 A title\u3000\n")) == "A title"


def test_scheduled_body() -> None:
    post = make_post(NOW, options={"privacy": "public", "synthetic_media": True, "tags": [" a ", ""], "license": None})
    when = NOW + timedelta(hours=1, microseconds=1)
    body = metadata(post, when)
    assert body["status"] == {
        "privacyStatus": "private",
        "publishAt": "2026-11-23T13:00:01Z",
        "selfDeclaredMadeForKids": False,
        "containsSyntheticMedia": True,
    }
    assert body["snippet"] == {"title": "A title", "description": "A caption", "tags": ["a"]}


@pytest.mark.parametrize(("kind", "size"), [(Kind.VIDEO, (1920, 1080)), (Kind.REEL, (1080, 1920))])
def test_covers_are_brought_to_what_youtube_takes(kind: Kind, size: tuple[int, int]) -> None:
    job = make_job(NOW, "youtube", "UC", make_post(NOW, kind=kind))
    covers = PLATFORM.media_spec(job.post, job.account).covers
    assert covers is not None
    assert (covers.width_max, covers.height_max) == size
    assert (covers.formats, covers.bytes_max) == (("JPEG", "PNG"), 2 * 1024 * 1024)


def test_the_allowances_are_those_of_the_google_project() -> None:
    buckets = YouTube(uploads_per_day=7, units_per_day=8, google_project="ours").buckets
    assert {name: (each.units_max, each.key, each.window) for name, each in buckets.items()} == {
        "youtube_uploads": (7, "ours", Window.PACIFIC_DAY),
        "youtube_units": (8, "ours", Window.PACIFIC_DAY),
    }
