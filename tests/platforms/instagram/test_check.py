"""The pure check: the shared table of cases, media facts, and properties that hold for any input."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Account, ImageSpec, Kind, MediaFacts, MediaItem
from orbyt_worker.platforms.instagram import PLATFORM
from orbyt_worker.platforms.instagram.check import tags_of
from orbyt_worker.platforms.instagram.containers import _post_fields
from orbyt_worker.platforms.instagram.rules import OPTIONS_BY_KIND
from tests.platforms.cases import Case, load_cases
from tests.platforms.driver import make_job, make_post
from tests.platforms.instagram.world import photo, vertical

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CASES = load_cases("instagram")
IMAGE = MediaItem("image", "https://example.com/a.jpg")
VIDEO = MediaItem("video", "https://example.com/v.mp4")


def account(login: str = "facebook") -> Account:
    return make_job(NOW, "instagram", "17841", make_post(NOW), login=login).account


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_cases(case: Case) -> None:
    found = [(str(problem.code), problem.field) for problem in PLATFORM.check(case.post(NOW), [])]
    assert found == list(case.expect)


def test_case_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_every_option_is_one_of_some_kind_and_every_kind_has_its_list() -> None:
    assert set().union(*OPTIONS_BY_KIND.values()) == set(PLATFORM.rules.options)
    assert set(OPTIONS_BY_KIND) == set(PLATFORM.rules.kinds)


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        (Kind.REEL, {}, []),
        (Kind.REEL, {"type": "image"}, [ErrorCode.MEDIA_TYPE_NOT_SUPPORTED]),
        (Kind.REEL, {"size_bytes": 0}, [ErrorCode.MEDIA_EMPTY]),
        (Kind.REEL, {"size_bytes": 300_000_000}, []),
        (Kind.REEL, {"size_bytes": 300_000_001}, [ErrorCode.MEDIA_TOO_LARGE]),
        (Kind.STORY, {"size_bytes": 100_000_001}, [ErrorCode.MEDIA_TOO_LARGE]),
        (Kind.REEL, {"duration_seconds": 900.04}, []),
        (Kind.REEL, {"duration_seconds": 900.2}, [ErrorCode.MEDIA_TOO_LONG]),
        (Kind.REEL, {"duration_seconds": 2.9}, [ErrorCode.MEDIA_TOO_SHORT]),
        (Kind.STORY, {"duration_seconds": 60.02}, []),
        (Kind.STORY, {"duration_seconds": 61.0}, [ErrorCode.MEDIA_TOO_LONG]),
        (Kind.REEL, {"container": "matroska,webm"}, [ErrorCode.MEDIA_TYPE_NOT_SUPPORTED]),
        (Kind.REEL, {"video_codec": "hevc"}, []),
        (Kind.REEL, {"video_codec": "vp9"}, [ErrorCode.MEDIA_CODEC_NOT_SUPPORTED]),
        (Kind.REEL, {"audio_codec": "opus"}, [ErrorCode.MEDIA_CODEC_NOT_SUPPORTED]),
        (Kind.REEL, {"audio_codec": None}, []),
        (Kind.REEL, {"moov_at_front": False}, [ErrorCode.MEDIA_NOT_FAST_START]),
        (Kind.REEL, {"moov_at_front": None}, []),
        (Kind.REEL, {"width": 1920, "height": 1080}, []),
        (Kind.REEL, {"width": 3840, "height": 2160}, [ErrorCode.MEDIA_DIMENSIONS_NOT_SUPPORTED]),
        (Kind.STORY, {"width": 100, "height": 1100}, [ErrorCode.MEDIA_RATIO_NOT_SUPPORTED]),
        (Kind.REEL, {"width": 100, "height": 1100}, []),
        (Kind.REEL, {"fps": 23.976}, []),
        (Kind.REEL, {"fps": 60.02}, []),
        (Kind.REEL, {"fps": 15.0}, [ErrorCode.MEDIA_FRAME_RATE_NOT_SUPPORTED]),
        (Kind.REEL, {"fps": 120.0}, [ErrorCode.MEDIA_FRAME_RATE_NOT_SUPPORTED]),
        (Kind.VIDEO, {"size_bytes": None, "container": None, "video_codec": None, "duration_seconds": None}, []),
    ],
)
def test_facts_of_videos(kind: Kind, changes: dict[str, Any], expected: list[ErrorCode]) -> None:
    found: MediaFacts = replace(vertical().facts, **changes)
    problems = PLATFORM.check(make_post(NOW, kind=kind, caption=None, media=(VIDEO,)), [found])
    assert [each.code for each in problems] == expected
    assert all(each.field == "media[0]" for each in problems)


@pytest.mark.parametrize(
    ("kind", "width", "height", "options", "expected"),
    [
        (Kind.PHOTO, 1080, 1350, {}, []),
        (Kind.PHOTO, 1910, 1000, {}, []),
        (Kind.PHOTO, 1080, 1351, {}, []),
        (Kind.PHOTO, 1080, 1360, {}, [ErrorCode.MEDIA_RATIO_NOT_SUPPORTED]),
        (Kind.PHOTO, 1920, 1000, {}, [ErrorCode.MEDIA_RATIO_NOT_SUPPORTED]),
        (Kind.PHOTO, 1080, 1920, {"image_fit": "pad"}, []),
        (Kind.PHOTO, 319, 319, {}, [ErrorCode.MEDIA_DIMENSIONS_NOT_SUPPORTED]),
        (Kind.STORY, 1080, 1920, {}, []),
        (Kind.STORY, 4000, 400, {}, []),
        (Kind.PHOTO, None, None, {}, []),
    ],
)
def test_facts_of_images(
    kind: Kind, width: int | None, height: int | None, options: dict[str, Any], expected: list[ErrorCode]
) -> None:
    facts = replace(photo().facts, width=width, height=height)
    problems = PLATFORM.check(make_post(NOW, kind=kind, caption=None, options=options, media=(IMAGE,)), [facts])
    assert [each.code for each in problems] == expected


def test_a_bad_child_is_named() -> None:
    post = make_post(NOW, kind=Kind.CAROUSEL, media=(IMAGE, VIDEO, IMAGE))
    problems = PLATFORM.check(post, [photo().facts, vertical(fps=12.0).facts, photo(1000, 100).facts])
    assert [(each.code, each.field) for each in problems] == [
        (ErrorCode.MEDIA_FRAME_RATE_NOT_SUPPORTED, "media[1]"),
        (ErrorCode.MEDIA_RATIO_NOT_SUPPORTED, "media[2]"),
    ]


def test_a_cover_has_to_lie_in_the_video() -> None:
    item = replace(VIDEO, cover_offset_ms=12_000)
    problems = PLATFORM.check(make_post(NOW, kind=Kind.REEL, media=(item,)), [vertical().facts])
    assert [(each.code, each.field) for each in problems] == [(ErrorCode.OPTION_INVALID, "media[0].cover_offset_ms")]
    fine = replace(VIDEO, cover_offset_ms=11_999)
    assert PLATFORM.check(make_post(NOW, kind=Kind.REEL, media=(fine,)), [vertical().facts]) == []


def test_the_form_of_images() -> None:
    feed = PLATFORM.media_spec(make_post(NOW, kind=Kind.PHOTO, media=(IMAGE,)), account())
    assert feed.images == ImageSpec(("JPEG",), 8 * 1024 * 1024, 1440, 1800, 0.8, 1.91, None)
    assert feed.covers is None
    story = make_post(NOW, kind=Kind.STORY, media=(IMAGE,))
    assert PLATFORM.media_spec(story, account()).images == ImageSpec(("JPEG",), 8 * 1024 * 1024, 1440, 2560)
    fitted = PLATFORM.media_spec(replace(story, options={"image_fit": "pad"}), account()).images
    assert fitted == ImageSpec(("JPEG",), 8 * 1024 * 1024, 1440, 2560, 0.5625, 0.5625, "pad")
    reel = PLATFORM.media_spec(make_post(NOW, kind=Kind.REEL, media=(VIDEO,)), account("instagram"))
    assert reel.rendition == "1080p"
    assert reel.covers == ImageSpec(("JPEG",), 8_000_000, 1440, 2560)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=8,
)
TAGS = st.lists(
    st.fixed_dictionaries(
        {"username": st.sampled_from(["a", "@b", "", "c d"])},
        optional={
            "x": st.none() | st.floats(-1, 2),
            "y": st.none() | st.integers(0, 1),
            "media": st.none() | st.integers(-1, 3) | st.floats(allow_nan=False),
        },
    ),
    max_size=3,
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys((*PLATFORM.rules.options, "other"), JSON_VALUES) | {"user_tags": TAGS | JSON_VALUES},
)
MEDIA = st.lists(
    st.builds(
        MediaItem,
        st.sampled_from(["image", "video"]),
        st.just("https://example.com/x"),
        alt_text=st.none() | st.text(max_size=5),
        cover_offset_ms=st.none() | st.integers(0, 5),
    ),
    max_size=3,
)


@given(kind=st.sampled_from(Kind), caption=st.none() | st.text(max_size=200), options=OPTIONS, media=MEDIA)
def test_any_input_is_judged_and_what_passes_can_be_sent(
    kind: Kind, caption: str | None, options: dict[str, Any], media: list[MediaItem]
) -> None:
    post = make_post(NOW, kind=kind, caption=caption, options=options, media=tuple(media))
    problems = PLATFORM.check(post, [])
    assert all(problem.code in set(ErrorCode) and problem.field for problem in problems)
    if problems:
        return
    fields = _post_fields(post)
    assert len(fields.get("collaborators", [])) <= 3
    assert all(isinstance(value, str | list) for value in fields.values())
    for index in range(len(media)):
        for tag in tags_of(post, index):
            assert tag["username"]
            assert not tag["username"].startswith("@")
            assert all(0 <= tag[key] <= 1 for key in ("x", "y") if key in tag)
