"""Containers that are refused, fail or expire: what is made anew, how often, and what the user is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.instagram.processing import pace
from tests.platforms.instagram.world import LOGINS, InstagramWorld

MakeWorld = Callable[..., InstagramWorld]


def kinds(world: InstagramWorld) -> list[str]:
    return [container.kind for container in world.containers]


@pytest.mark.parametrize("login", LOGINS)
async def test_only_the_failed_item_is_made_anew(make_world: MakeWorld, login: str) -> None:
    world = make_world("carousel", login)
    world.instagram.script_next(kind="carousel_video", error_subcode=2207082)
    assert (await world.run()).published
    assert kinds(world) == ["carousel_image", "carousel_video", "carousel_image", "carousel_video", "carousel"]
    assert world.codes() == [ErrorCode.INSTAGRAM_PROCESSING_FAILED]
    (failure,) = world.driver.failures
    assert failure.field == "media[1]"
    assert failure.detail == "item 2 of 3: container: 2207082"
    video = world.containers[1]
    assert ("instagram_containers", f"container-1-{video.container_id}") in world.driver.quota.uses


async def test_a_failed_carousel_is_made_anew_with_its_items(make_world: MakeWorld) -> None:
    world = make_world("carousel")
    world.instagram.script_next(kind="carousel", error_subcode=2207085)
    assert (await world.run()).published
    assert kinds(world) == ["carousel_image", "carousel_video", "carousel_image", "carousel"] * 2
    assert world.codes() == [ErrorCode.INSTAGRAM_CONTAINER_FAILED]
    assert len(world.driver.quota.reserved) == 8


@pytest.mark.parametrize(
    ("subcode", "code"),
    [
        (2207026, ErrorCode.MEDIA_CODEC_NOT_SUPPORTED),
        (2207082, ErrorCode.INSTAGRAM_PROCESSING_FAILED),
        (2207076, ErrorCode.INSTAGRAM_VIDEO_NOT_FETCHED),
        (2207067, ErrorCode.INSTAGRAM_CONTAINER_FAILED),
        (2299999, ErrorCode.INSTAGRAM_CONTAINER_FAILED),
    ],
)
async def test_the_number_in_the_status_decides(make_world: MakeWorld, subcode: int, code: ErrorCode) -> None:
    world = make_world("reel")
    world.instagram.script_next(error_subcode=subcode)
    await world.run()
    assert world.codes() == [code]
    assert world.driver.failures[0].platform_subcode == str(subcode)


async def test_what_the_user_has_to_mend_is_not_tried_again(make_world: MakeWorld) -> None:
    """A bad item of a carousel: named, and nothing of it is ever visible."""
    world = make_world("carousel")
    world.instagram.script_next(kind="carousel_video", error_subcode=2207026)
    outcome = await world.run()
    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.field) == (ErrorCode.MEDIA_CODEC_NOT_SUPPORTED, "media[1]")
    assert world.published() == world.visible_calls() == 0
    # A retry by hand does not meet the dead container again.
    assert "container_1" not in world.driver.saved.states
    assert (await world.run()).published


@pytest.mark.parametrize(
    ("subcode", "code"),
    [(2207005, ErrorCode.MEDIA_TYPE_NOT_SUPPORTED), (2207052, ErrorCode.INSTAGRAM_MEDIA_NOT_FETCHED)],
)
async def test_a_child_that_is_refused_at_once_is_named(make_world: MakeWorld, subcode: Any, code: ErrorCode) -> None:
    """Instagram looks at the picture itself: a PNG behind the third address."""
    world = make_world("carousel")
    world.instagram.configure(check_content=True, wrong_image_subcode=subcode)
    world.sandbox.media.add("2.jpg", content="png")
    await world.run()
    failure = world.driver.failures[0]
    assert (failure.code, failure.field) == (code, "media[2]")
    assert failure.detail.startswith("item 3 of 3: ")
    assert "127.0.0.1" not in failure.detail
    assert world.published() == 0


async def test_an_image_that_cannot_be_fetched_for_a_moment_is_tried_again(make_world: MakeWorld) -> None:
    world = make_world("photo")
    world.sandbox.faults.add("media", "status", status=503)
    assert (await world.run()).published
    assert world.codes() == [ErrorCode.INSTAGRAM_MEDIA_NOT_FETCHED]
    assert len(world.driver.quota.reserved) == 1


async def test_a_throttle_is_not_about_an_item(make_world: MakeWorld) -> None:
    world = make_world("carousel")
    world.sandbox.faults.add("instagram.media.create", "throttle", code=4, after=1)
    assert (await world.run()).published
    (failure,) = world.driver.failures
    assert failure.code is ErrorCode.META_APP_THROTTLED
    assert failure.field is None


@pytest.mark.parametrize("answer", [{}, {"status_code": "SOMETHING_NEW"}, {"status_code": None}, {"status_code": 7}])
async def test_a_status_nobody_knows_is_polled_on(make_world: MakeWorld, answer: dict[str, Any]) -> None:
    world = make_world("photo")
    world.sandbox.faults.add("instagram.container.read", "status", status=200, json={"id": "1", **answer}, times=3)
    assert (await world.run()).published
    assert len(world.driver.snoozes) >= 3
    assert world.codes() == []


@pytest.mark.parametrize(("code", "subcode"), [(100, 33), (10, None)])
async def test_a_container_that_cannot_be_read_is_waited_for(
    make_world: MakeWorld, code: int, subcode: int | None
) -> None:
    """For both tokens; it says nothing about the container (postiz-app#1562)."""
    world = make_world("photo")
    world.sandbox.faults.add("instagram.container.read", "meta_error", code=code, subcode=subcode, times=20)
    assert (await world.run()).published
    assert len(world.containers) == 1
    assert world.codes() == []


async def test_a_container_that_stays_unreadable_is_replaced(make_world: MakeWorld) -> None:
    world = make_world("photo")
    world.sandbox.faults.add("instagram.container.read", "meta_error", code=100, subcode=33, times=64)
    assert (await world.run()).published
    assert len(world.containers) == 2
    assert world.codes() == [ErrorCode.META_OBJECT_UNREADABLE]


@pytest.mark.parametrize("shape", ["photo", "carousel", "reel"])
async def test_expired_containers_are_made_anew(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape)
    await world.run(until="carousel" if shape == "carousel" else "container_0")
    made = len(world.containers)
    world.clock.advance(24 * 3600 + 1)
    assert (await world.run()).published
    assert len(world.containers) == 2 * made
    assert world.problems() == []
    assert world.codes() == []


async def test_a_container_too_old_for_a_late_post_is_made_anew(make_world: MakeWorld) -> None:
    """`ready` was recorded, then the worker was away for a day: the visible step does not send an old container."""
    world = make_world("carousel")
    await world.run(until="ready")
    world.clock.advance(23.5 * 3600)
    assert (await world.run()).published
    assert len(world.containers) == 8
    assert world.visible_calls() == 1
    assert world.codes() == []


async def test_a_file_that_changes_during_its_upload_gets_a_container_of_its_own(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.sandbox.faults.add("meta.rupload.instagram", "drop_before", times=None)
    with pytest.raises(Failure) as interrupted:
        await world.driver.attempt()
    assert interrupted.value.code is ErrorCode.NETWORK_UNREACHABLE
    world.sandbox.faults.clear()
    world.media[0].size_bytes -= 1
    world.media[0].facts = replace(world.media[0].facts, etag='"v2"')
    assert (await world.run()).published
    assert ErrorCode.MEDIA_CHANGED in world.codes()
    assert len(world.containers) == 2
    (post,) = world.posts
    assert post.file is not None
    assert post.file.size_bytes == world.media[0].size_bytes


def test_the_pace_of_looks() -> None:
    assert [pace(age, video=False) for age in (0, 5, 20, 100, 1799, 1800)] == [2.0, 5.0, 10.0, 30.0, 30.0, 300.0]
    assert [pace(age, video=True) for age in (0, 5, 59, 60, 300, 1799, 1800)] == [
        5.0,
        15.0,
        15.0,
        30.0,
        60.0,
        60.0,
        300.0,
    ]
