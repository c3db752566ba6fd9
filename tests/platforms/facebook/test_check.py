"""The pure check: the shared table of cases, media facts, and properties that hold for any input."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Kind, MediaItem
from orbyt_worker.platforms.facebook import PLATFORM
from orbyt_worker.platforms.shape import utf16_units
from tests.platforms.cases import Case, load_cases
from tests.platforms.driver import make_job, make_post
from tests.platforms.facebook.world import photo, vertical

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CASES = load_cases("facebook")
VERTICAL = vertical(1_000_000).facts


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_cases(case: Case) -> None:
    found = [(str(problem.code), problem.field) for problem in PLATFORM.check(case.post(NOW), [])]
    assert found == list(case.expect)


def test_case_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_deadline_before_publish_at() -> None:
    problems = PLATFORM.check(make_post(NOW, publish_at=NOW, expires_at=NOW), [])
    assert [(each.code, each.field) for each in problems] == [(ErrorCode.EXPIRES_AT_INVALID, "expires_at")]


@pytest.mark.parametrize(
    ("kind", "facts", "expected"),
    [
        (Kind.VIDEO, {}, []),
        (Kind.VIDEO, {"type": "image"}, [ErrorCode.MEDIA_TYPE_NOT_SUPPORTED]),
        (Kind.VIDEO, {"size_bytes": 0}, [ErrorCode.MEDIA_EMPTY]),
        (Kind.VIDEO, {"size_bytes": 1023}, [ErrorCode.MEDIA_TOO_SMALL]),
        (Kind.VIDEO, {"size_bytes": 10 * 1024**3}, []),
        (Kind.VIDEO, {"size_bytes": 10 * 1024**3 + 1}, [ErrorCode.MEDIA_TOO_LARGE]),
        (Kind.VIDEO, {"duration_seconds": 14_400.0, "width": 320, "height": 100, "fps": 12.0}, []),
        (Kind.VIDEO, {"duration_seconds": 14_401.0}, [ErrorCode.MEDIA_TOO_LONG]),
        (Kind.VIDEO, {"video_codec": "mpeg4"}, []),
        (Kind.REEL, {}, []),
        (Kind.REEL, {"duration_seconds": 3.0}, []),
        (Kind.REEL, {"duration_seconds": 2.9}, [ErrorCode.MEDIA_TOO_SHORT]),
        (Kind.REEL, {"duration_seconds": 90.02}, []),
        (Kind.REEL, {"duration_seconds": 90.2}, [ErrorCode.MEDIA_TOO_LONG]),
        (Kind.REEL, {"width": 540, "height": 960}, []),
        (Kind.REEL, {"width": 1078, "height": 1920}, []),
        (Kind.REEL, {"width": 1920, "height": 1080}, []),
        (Kind.REEL, {"width": 539, "height": 957}, [ErrorCode.MEDIA_DIMENSIONS_NOT_SUPPORTED]),
        (Kind.REEL, {"width": 720, "height": 1920}, [ErrorCode.MEDIA_RATIO_NOT_SUPPORTED]),
        (Kind.REEL, {"width": 2560, "height": 1080}, [ErrorCode.MEDIA_RATIO_NOT_SUPPORTED]),
        (
            Kind.REEL,
            {"width": 100, "height": 400},
            [ErrorCode.MEDIA_RATIO_NOT_SUPPORTED, ErrorCode.MEDIA_DIMENSIONS_NOT_SUPPORTED],
        ),
        (Kind.REEL, {"fps": 23.976}, []),
        (Kind.REEL, {"fps": 59.94}, []),
        (Kind.REEL, {"fps": 15.0}, [ErrorCode.MEDIA_FRAME_RATE_NOT_SUPPORTED]),
        (Kind.REEL, {"fps": 120.0}, [ErrorCode.MEDIA_FRAME_RATE_NOT_SUPPORTED]),
        (Kind.REEL, {"video_codec": "HEVC"}, []),
        (Kind.REEL, {"video_codec": "mpeg4"}, [ErrorCode.MEDIA_CODEC_NOT_SUPPORTED]),
        (
            Kind.REEL,
            {
                "duration_seconds": None,
                "width": None,
                "height": None,
                "fps": None,
                "video_codec": None,
                "size_bytes": None,
            },
            [],
        ),
        (Kind.STORY, {"duration_seconds": 60.0}, []),
        (Kind.STORY, {"duration_seconds": 61.0}, [ErrorCode.MEDIA_TOO_LONG]),
        (Kind.STORY, {"width": 320, "height": 480}, [ErrorCode.MEDIA_DIMENSIONS_NOT_SUPPORTED]),
    ],
)
def test_video_facts(kind: Kind, facts: dict[str, Any], expected: list[ErrorCode]) -> None:
    problems = PLATFORM.check(make_post(NOW, kind=kind, caption=None), [replace(VERTICAL, **facts)])
    assert [each.code for each in problems] == expected
    assert all(each.field == "media[0]" for each in problems)


def test_images_are_converted_not_refused() -> None:
    """Of an image only its being one and not being empty matters: size, shape and format are put right before it is sent."""
    post = make_post(NOW, kind=Kind.PHOTO, media=(MediaItem("image", "https://example.com/a.heic"),))
    huge = replace(photo(50_000_000).facts, content_type="image/heic", container="heif", width=20_000, height=100)
    assert PLATFORM.check(post, [huge]) == []
    assert [each.code for each in PLATFORM.check(post, [VERTICAL])] == [ErrorCode.MEDIA_TYPE_NOT_SUPPORTED]
    account = make_job(NOW, "facebook", "1", post).account
    spec = PLATFORM.media_spec(post, account)
    assert spec.covers is None
    assert spec.images is not None
    assert (spec.images.formats, spec.images.bytes_max, spec.images.ratio_min) == (("JPEG", "PNG"), 10_000_000, None)


def test_one_rendition_for_all_platforms() -> None:
    """Two renditions would be two downloads of one video."""
    post = make_post(NOW, kind=Kind.REEL)
    spec = PLATFORM.media_spec(post, make_job(NOW, "facebook", "1", post).account)
    assert spec.rendition == "highest"
    assert spec.covers is not None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=8,
)
OPTIONS = st.dictionaries(st.sampled_from([*PLATFORM.rules.options, "other"]), JSON_VALUES, max_size=4)


@given(
    kind=st.sampled_from(list(Kind)),
    title=st.none() | st.text(max_size=300),
    caption=st.none() | st.text(max_size=200),
    options=OPTIONS,
)
def test_any_input_is_judged(kind: Kind, title: str | None, caption: str | None, options: dict[str, Any]) -> None:
    post = make_post(NOW, kind=kind, title=title, caption=caption, options=options)
    problems = PLATFORM.check(post, [])
    assert all(problem.code in set(ErrorCode) and problem.field for problem in problems)
    account = make_job(NOW, "facebook", "1", post).account
    assert sum(step.visible for step in PLATFORM.plan(post, account)) == 1
    if not problems:
        assert utf16_units(caption or "") <= 63_206 + 200
        assert kind is not Kind.STORY or not (caption or "").strip()
