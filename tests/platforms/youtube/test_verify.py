"""After the visible call: processing, rejection, privacy. A published post is never sent again and rarely called a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Stage
from tests.platforms.youtube.world import YouTubeWorld

MakeWorld = Callable[..., YouTubeWorld]
CREATED = "youtube.video.created"
LIST = "youtube.videos.list"


def verified(world: YouTubeWorld) -> dict[str, Any]:
    return world.driver.saved.results["verify"]


async def test_polls_with_growing_pauses_and_holds_no_slot(make_world: MakeWorld) -> None:
    world = make_world(size=100)
    world.sandbox.youtube.configure(processing_seconds=600)
    assert (await world.run()).published
    waits = [each.seconds for each in world.driver.snoozes]
    assert waits[:2] == [5.0, 5.0]
    assert max(waits) == 60.0
    assert waits == sorted(waits)
    assert world.clock.slept == [0.0]
    assert verified(world) == {"verified": True, "processing": False, "privacy_applied": "public"}
    assert {each.stage for each in world.driver.snoozes} == {Stage.PROCESSING}


async def test_endless_processing_is_published_all_the_same(make_world: MakeWorld) -> None:
    world = make_world(size=100)
    world.sandbox.faults.add(CREATED, "video_outcome", outcome="stuck")
    started = world.clock.monotonic()
    assert (await world.run()).published
    assert verified(world)["processing"] is True
    assert 1200 <= world.clock.monotonic() - started <= 1270
    assert world.calls(LIST) < 50


@pytest.mark.parametrize(
    ("outcome", "reason", "code"),
    [
        ("rejected", "duplicate", ErrorCode.YOUTUBE_VIDEO_REJECTED_DUPLICATE),
        ("rejected", "length", ErrorCode.YOUTUBE_VIDEO_REJECTED_LENGTH),
        ("rejected", "copyright", ErrorCode.YOUTUBE_VIDEO_REJECTED_COPYRIGHT),
        ("rejected", "claim", ErrorCode.YOUTUBE_VIDEO_REJECTED_COPYRIGHT),
        ("rejected", "termsOfUse", ErrorCode.YOUTUBE_VIDEO_REJECTED_TERMS),
        ("rejected", "inappropriate", ErrorCode.YOUTUBE_VIDEO_REJECTED_TERMS),
        ("rejected", "uploaderAccountSuspended", ErrorCode.YOUTUBE_VIDEO_REJECTED_OTHER),
        ("rejected", "legal", ErrorCode.YOUTUBE_VIDEO_REJECTED_OTHER),
        ("failed", "codec", ErrorCode.YOUTUBE_PROCESSING_FAILED),
        ("failed", "invalidFile", ErrorCode.YOUTUBE_PROCESSING_FAILED),
        ("terminated", None, ErrorCode.YOUTUBE_PROCESSING_FAILED),
        ("deleted", None, ErrorCode.YOUTUBE_VIDEO_REMOVED),
        ("vanished", None, ErrorCode.YOUTUBE_VIDEO_REMOVED),
    ],
)
async def test_youtubes_own_word_is_final(
    make_world: MakeWorld, outcome: Any, reason: str | None, code: ErrorCode
) -> None:
    world = make_world(size=100)
    world.sandbox.faults.add(CREATED, "video_outcome", outcome=outcome, reason=reason, seconds=20)
    ended = await world.run()
    assert ended.failure is not None
    assert ended.failure.code is code
    assert world.driver.saved.states["finish_upload"] == "confirmed"
    assert (world.published(), world.visible_calls()) == (1, 1)


async def test_not_listed_at_first(make_world: MakeWorld) -> None:
    world = make_world(size=100)
    world.sandbox.youtube.configure(empty_items_seconds=120)
    assert (await world.run()).published
    assert verified(world)["verified"] is True


async def test_other_privacy_is_a_remark(make_world: MakeWorld) -> None:
    world = make_world(size=100)
    world.sandbox.faults.add(CREATED, "privacy_differs", privacy="private")
    assert (await world.run()).published
    assert verified(world)["privacy_applied"] == "private"
    assert verified(world)["code"] == ErrorCode.YOUTUBE_PRIVACY_DIFFERS


async def test_scheduled_video_that_stays_private_is_a_remark_after_some_patience(make_world: MakeWorld) -> None:
    world = make_world(size=100, in_seconds=7200)
    world.sandbox.faults.add(CREATED, "privacy_differs", privacy="private")
    publish_at = world.driver.job.post.publish_at
    assert (await world.run()).published
    assert verified(world)["code"] == ErrorCode.YOUTUBE_PRIVACY_DIFFERS
    assert 600 <= (world.clock.now() - publish_at).total_seconds() <= 670


async def test_reads_that_fail_do_not_make_a_published_post_a_failure(make_world: MakeWorld) -> None:
    world = make_world(size=100)
    world.sandbox.faults.add(LIST, "status", status=503, times=None)
    assert (await world.run()).published
    assert verified(world) == {
        "verified": False,
        "processing": False,
        "privacy_applied": None,
        "code": "platform_unavailable",
    }
    assert world.published() == 1


async def test_no_quota_for_reads(make_world: MakeWorld) -> None:
    world = make_world(size=100)
    world.driver.quota.closed["youtube_units"] = "youtube_quota_exhausted"
    started = world.clock.monotonic()
    assert (await world.run()).published
    assert verified(world)["code"] == "youtube_quota_exhausted"
    assert world.clock.monotonic() - started < 60, "not a day later"


def refused() -> str:
    raise Failure(ErrorCode.GOOGLE_GRANT_INVALID)


async def test_grant_lost_after_the_upload(make_world: MakeWorld) -> None:
    world = make_world(size=100)
    await world.run(until="finish_upload")
    world.sandbox.google.kill_grant(refresh_token=world.account.refresh_token)
    world.driver.renew = refused
    assert (await world.run()).published
    assert verified(world)["verified"] is False


async def test_adopted_video_is_verified_without_a_time_of_its_own(make_world: MakeWorld) -> None:
    """`reconcile` found it, so the journal has no `finished_at`."""
    world = make_world(size=100)
    world.sandbox.youtube.configure(processing_seconds=100)
    world.drop_visible_answer()
    assert (await world.run()).published
    assert world.driver.saved.results["finish_upload"]["adopted"] is True
    assert verified(world)["verified"] is True
