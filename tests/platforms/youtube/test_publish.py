"""The visible call, what happens when its answer is lost, and when a video becomes public."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Phase
from orbyt_worker.platforms.base import Step
from orbyt_worker.platforms.registry import platforms
from orbyt_worker.platforms.youtube import YouTube
from tests.fix_clock import FakeClock
from tests.platforms.driver import MIB, Killed, make_job, make_post, sandbox_settings
from tests.platforms.youtube.world import SIZE, YouTubeWorld

MakeWorld = Callable[..., YouTubeWorld]
FINAL = "youtube.upload.final"


async def test_result_has_id_and_link(make_world: MakeWorld) -> None:
    world = make_world()
    outcome = await world.run()
    [video] = world.videos
    assert outcome.result["platform_post_id"] == video.video_id
    assert outcome.result["permalink"] == f"https://www.youtube.com/watch?v={video.video_id}"
    assert (outcome.result["privacy"], outcome.result["privacy_applied"]) == ("public", "public")


async def test_the_visible_call_is_small(make_world: MakeWorld) -> None:
    world = make_world()
    await world.run()
    [call] = world.sandbox.requests.list(FINAL)
    assert call.content_length == str(SIZE % (256 * 1024))


# The answer is lost ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "calls"),
    [
        ({"kind": "drop_before"}, 2),
        ({"kind": "drop_after"}, 1),
        ({"kind": "status", "status": 503}, 2),
        ({"kind": "status", "status": 503, "process": True}, 1),
        ({"kind": "status", "status": 500, "body": "html", "process": True}, 1),
        ({"kind": "status", "status": 200, "body": "html", "process": True}, 1),
        ({"kind": "status", "status": 201, "body": "empty", "process": True}, 1),
        ({"kind": "token_expired"}, 2),
        ({"kind": "drop_during", "bytes": 1}, 2),
        ({"kind": "partial_accept", "bytes": 1}, 2),
        ({"kind": "finalise_later", "seconds": 90}, 1),
    ],
    ids=lambda value: "-".join(str(each) for each in value.values()) if isinstance(value, dict) else str(value),
)
async def test_whatever_happens_to_the_visible_call_there_is_one_video(
    make_world: MakeWorld, fault: dict[str, Any], calls: int
) -> None:
    world = make_world()
    world.sandbox.faults.add(FINAL, **fault)
    outcome = await world.run()
    assert outcome.published, outcome
    assert world.published() == 1
    assert world.visible_calls() == calls
    assert outcome.result["platform_post_id"] == world.videos[0].video_id
    assert world.problems() == []


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ({"kind": "drop_after"}, {}),
        ({"kind": "expire_session", "process": True}, {}),
        ({"kind": "status", "status": 503}, {"options": {"privacy": "unlisted"}, "in_seconds": 7200}),
        ({"kind": "drop_after"}, {"in_seconds": 7200}),
    ],
    ids=["answer lost", "session lost", "refused, unlisted and scheduled", "answer lost, scheduled"],
)
async def test_killed_anywhere_while_the_answer_is_lost_as_well(
    make_world: MakeWorld, fault: dict[str, Any], options: dict[str, Any]
) -> None:
    world = make_world(size=1000, **options)
    world.sandbox.faults.add(FINAL, **fault)
    assert (await world.run()).published
    count = len(world.driver.checkpoints)
    for nth in range(1, count + 1):
        world = make_world(size=1000, **options)
        world.sandbox.faults.add(FINAL, **fault)
        world.driver.kill_at = nth
        with pytest.raises(Killed):
            await world.run()
        outcome = await world.run()
        assert outcome.published, (world.driver.checkpoints[nth - 1], outcome)
        assert world.published() == 1, world.driver.checkpoints[nth - 1]


async def test_reads_of_reconcile_may_fail_for_a_while(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.faults.add(FINAL, "drop_after")
    # One status query belongs to `upload`, one to `finish_upload`; the next ones are those of `reconcile`.
    world.sandbox.faults.add("youtube.upload.status", "status", status=503, after=2, times=3)
    assert (await world.run()).published
    assert world.published() == 1
    assert world.visible_calls() == 1


async def test_a_session_that_failed_for_good_ends_in_its_own_reason(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.faults.add(FINAL, "fail_session", status=400, reason="invalidTitle")
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.TITLE_INVALID
    assert world.published() == 0


async def test_session_that_expires_under_the_visible_call_is_held(make_world: MakeWorld) -> None:
    """404 to the last chunk itself: most likely nothing was taken, but nothing proves it."""
    world = make_world()
    world.sandbox.faults.add(FINAL, "expire_session")
    outcome = await world.run()
    assert outcome.held is not None
    assert (world.published(), world.visible_calls()) == (0, 1)


# The session is gone as well -------------------------------------------------------------------------------------------


def lose_session(world: YouTubeWorld) -> None:
    """The last chunk is accepted, its answer lost, and the session forgotten."""
    world.sandbox.faults.add(FINAL, "expire_session", process=True)


async def test_found_in_the_uploads_playlist(make_world: MakeWorld) -> None:
    world = make_world()
    lose_session(world)
    outcome = await world.run()
    assert outcome.published, outcome
    assert outcome.result["platform_post_id"] == world.videos[0].video_id
    assert (world.published(), world.visible_calls()) == (1, 1)
    assert world.calls("youtube.playlistItems.list") == 1


async def test_listing_that_lags_is_read_again(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.youtube.configure(listing_delay_seconds=300)
    lose_session(world)
    outcome = await world.run()
    assert outcome.published, outcome
    assert world.published() == 1
    assert 3 <= world.calls("youtube.playlistItems.list") <= 8


async def test_never_listed_is_held_not_sent_again(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.youtube.configure(listing_delay_seconds=86_400 * 30)
    lose_session(world)
    started = world.clock.monotonic()
    outcome = await world.run()
    assert outcome.held is not None
    assert world.driver.failures[-1].code is ErrorCode.OUTCOME_UNKNOWN
    assert (world.published(), world.visible_calls()) == (1, 1)
    assert 600 <= world.clock.monotonic() - started < 800


async def test_two_look_alikes_are_held(make_world: MakeWorld) -> None:
    """Both have the title and the size; without the file name nobody can tell which one is ours."""
    world = make_world()
    lose_session(world)
    await world.run(until="upload")
    channel = world.account.channel_id
    with world.sandbox.youtube.lock:
        [session] = [each for each in world.sandbox.youtube.uploads.sessions.values() if each.channel_id == channel]
        session.file_name = None
        world.sandbox.youtube.create_video(
            channel_id=session.channel_id, received=replace(session.received, size_bytes=SIZE), content_type="video/mp4", file_name=None,
            parts=session.parts, notify_subscribers=True, at=world.clock.now(),
        )  # fmt: skip
    outcome = await world.run()
    assert outcome.held is not None
    assert "2 videos" in outcome.held


async def test_the_file_of_another_job_is_not_adopted(make_world: MakeWorld) -> None:
    world = make_world()
    lose_session(world)
    await world.run(until="upload")
    with world.sandbox.youtube.lock:
        [session] = world.sandbox.youtube.uploads.sessions.values()
        other = world.sandbox.youtube.create_video(
            channel_id=session.channel_id, received=replace(session.received, size_bytes=SIZE), content_type="video/mp4",
            file_name="0123abcd-0000-4000-8000-00000000abcd.mp4", parts=session.parts, notify_subscribers=True, at=world.clock.now(),
        )  # fmt: skip
    outcome = await world.run()
    assert outcome.published, outcome
    assert outcome.result["platform_post_id"] != other.video_id


async def test_an_older_video_is_not_adopted(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.youtube.configure(listing_delay_seconds=86_400 * 30)
    assert (await world.run()).published
    world.clock.advance(7200)
    # The same post once more, as a job of its own; the listing shows the first video only.
    with world.sandbox.youtube.lock:
        for video in world.sandbox.youtube.videos.values():
            video.listed_at = None
            video.file_name = None
    driver = world.driver
    driver.saved = type(driver.saved)()
    now = world.clock.now()
    driver.job = replace(driver.job, post=replace(driver.job.post, publish_at=now, expires_at=now + timedelta(days=1)))
    lose_session(world)
    outcome = await world.run()
    assert outcome.held is not None
    assert world.visible_calls() == 2


async def test_session_lost_before_the_last_chunk_was_sent_starts_over(make_world: MakeWorld) -> None:
    world = make_world()
    await world.run(until="upload")
    world.sandbox.youtube.expire_uploads()
    outcome = await world.run()
    assert outcome.published, outcome
    assert (world.published(), world.visible_calls()) == (1, 1)
    assert world.calls("youtube.playlistItems.list") == 0, "our own journal proves it"


# Time ------------------------------------------------------------------------------------------------------------------


async def test_scheduled_public_video_is_handed_over_early_and_public_on_time(make_world: MakeWorld) -> None:
    world = make_world(in_seconds=7200)
    publish_at = world.driver.job.post.publish_at
    outcome = await world.run()
    assert outcome.published
    [video] = world.videos
    assert video.requested_privacy == "private"
    assert video.public_since is not None
    assert publish_at <= video.public_since < publish_at + timedelta(seconds=1), "YouTube is told whole seconds"
    assert publish_at - timedelta(seconds=900) <= video.created_at < publish_at - timedelta(seconds=890)
    first = world.sandbox.requests.list("youtube")[0]
    assert publish_at - timedelta(seconds=4500) <= first.at < publish_at - timedelta(seconds=4490)
    verified = world.driver.saved.results["verify"]
    assert verified == {"verified": True, "processing": False, "privacy_applied": "public"}
    assert world.clock.now() >= publish_at


async def test_cancelled_before_the_hand_over_leaves_nothing(make_world: MakeWorld) -> None:
    world = make_world(in_seconds=7200)
    await world.run(until="upload")
    world.clock.advance(86_400)
    assert world.published() == 0


@pytest.mark.parametrize("privacy", ["unlisted", "private"])
async def test_scheduled_without_going_public_is_finished_at_the_time(make_world: MakeWorld, privacy: str) -> None:
    world = make_world(in_seconds=7200, options={"privacy": privacy})
    publish_at = world.driver.job.post.publish_at
    assert (await world.run()).published
    [video] = world.videos
    assert (video.privacy, video.publish_at) == (privacy, None)
    assert publish_at <= video.created_at < publish_at + timedelta(seconds=2)


@pytest.mark.parametrize("in_seconds", [1.0, 4.0, 30.0, 60.0, 61.0])
async def test_soon_is_on_the_second_and_never_early(make_world: MakeWorld, in_seconds: float) -> None:
    world = make_world(in_seconds=in_seconds)
    publish_at = world.driver.job.post.publish_at
    assert (await world.run()).published
    [video] = world.videos
    assert video.public_since is not None
    assert publish_at <= video.public_since <= publish_at + timedelta(seconds=2)


async def test_late_is_at_once(make_world: MakeWorld) -> None:
    """The worker was away over publish_at with a session that names it: YouTube publishes as soon as the last byte is in."""
    world = make_world(in_seconds=7200)
    await world.run(until="upload")
    world.clock.advance(3 * 3600)
    world.driver.token = world.driver.renew()
    assert (await world.run()).published
    [video] = world.videos
    assert video.public_since == video.created_at


async def test_rescheduled_after_the_upload(make_world: MakeWorld) -> None:
    world = make_world(in_seconds=7200)
    await world.run(until="upload")
    later = world.driver.job.post.publish_at + timedelta(hours=3)
    post = replace(world.driver.job.post, publish_at=later, expires_at=later + timedelta(days=1))
    world.driver.job = replace(world.driver.job, post=post)
    assert (await world.run()).published
    [video] = world.videos
    assert video.public_since is not None
    assert later <= video.public_since < later + timedelta(seconds=1)


async def test_direct_session_rescheduled_is_not_early(make_world: MakeWorld) -> None:
    world = make_world()
    await world.run(until="upload")
    later = world.clock.now() + timedelta(minutes=10)
    post = replace(world.driver.job.post, publish_at=later, expires_at=later + timedelta(days=1))
    world.driver.job = replace(world.driver.job, post=post)
    assert (await world.run()).published
    [video] = world.videos
    assert video.public_since is not None
    assert later <= video.public_since <= later + timedelta(seconds=2)


def test_leads_come_from_the_settings_and_the_post() -> None:
    now = FakeClock().now()
    platform = YouTube(finish_lead_seconds=100, prepare_lead_seconds=1000, call_timeout_seconds=20)

    def plan(**post: Any) -> tuple[Step, ...]:
        job = make_job(now, "youtube", "UC", make_post(now, **post))
        return platform.plan(job.post, job.account)

    assert [step.lead_seconds for step in plan()] == [1100, 1100, 100, None]
    assert [step.lead_seconds for step in plan(options={"privacy": "private"})] == [1000, 1000, 0, None]
    assert [step.phase for step in plan()] == [Phase.BACKGROUND, Phase.BACKGROUND, Phase.PUBLISH, Phase.BACKGROUND]
    assert [step.call_timeout_seconds for step in plan()] == [None, None, 20, None]
    assert [step.needs_media for step in plan()] == [True, True, True, False]


def test_registry_fits_the_call_into_the_lease() -> None:
    normal = platforms(sandbox_settings())["youtube"]
    short = platforms(sandbox_settings(lease_seconds=3, heartbeat_seconds=1, youtube_finish_lead_seconds=5))["youtube"]
    assert isinstance(normal, YouTube)
    assert isinstance(short, YouTube)
    assert (normal.call_timeout_seconds, normal.finish_lead_seconds, normal.prepare_lead_seconds) == (
        36.0,
        900.0,
        3600.0,
    )
    assert short.call_timeout_seconds == pytest.approx(1.8)
    assert short.finish_lead_seconds == 5.0


async def test_bytes_lost_by_the_session_are_sent_again_before_the_visible_call(make_world: MakeWorld) -> None:
    world = make_world(size=20 * MIB)
    await world.run(until="upload")
    [old] = world.sandbox.youtube.uploads.sessions.values()
    # YouTube forgot everything: the session says so, and the whole upload is done again.
    old.received = type(old.received)()
    assert (await world.run()).published
    assert [video.size_bytes for video in world.videos] == [20 * MIB]
