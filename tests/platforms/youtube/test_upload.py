"""Opening a session and sending all but the last chunk, against the strict simulator: it counts every wrong byte range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Snooze, Stage
from orbyt_worker.platforms.base import Truth
from orbyt_worker.platforms.youtube import PLATFORM
from orbyt_worker.platforms.youtube.upload import content_type_of, sendable_bytes
from tests.platforms.driver import MIB, MemoryMedia, media_bytes
from tests.platforms.youtube.world import SIZE, YouTubeWorld

BLOCK = 256 * 1024
MakeWorld = Callable[..., YouTubeWorld]


async def test_every_byte_arrives_once(make_world: MakeWorld) -> None:
    world = make_world()
    assert (await world.run()).published
    [video] = world.videos
    [session] = world.sandbox.youtube.list_uploads()
    assert (video.size_bytes, video.content_type) == (SIZE, "video/mp4")
    assert (session.body_bytes, session.puts, world.problems()) == (SIZE, 4, [])
    assert sum(length for _, length in world.media.given) == SIZE


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 8 * MIB, 8 * MIB + 1, 8 * MIB + BLOCK, 9 * MIB])
async def test_sizes_around_the_blocks(make_world: MakeWorld, size: int) -> None:
    world = make_world(size=size)
    assert (await world.run()).published
    assert [video.size_bytes for video in world.videos] == [size]
    assert world.problems() == []


@pytest.mark.parametrize("total", [1, 2, BLOCK, BLOCK + 1, 10 * MIB + 7])
def test_the_last_chunk_is_never_sendable(total: int) -> None:
    for offset in {0, 1, total // 2, total - 1, total}:
        sendable = sendable_bytes(offset, total)
        assert sendable % BLOCK == 0
        assert sendable == 0 or offset + sendable < total
        assert total - offset - sendable <= BLOCK


async def test_nothing_is_visible_before_the_last_step(make_world: MakeWorld) -> None:
    world = make_world()
    await world.run(until="upload")
    assert world.published() == 0
    assert world.visible_calls() == 0
    [session] = world.sandbox.youtube.list_uploads()
    assert session.stored_bytes == SIZE - SIZE % BLOCK


async def test_metadata(make_world: MakeWorld) -> None:
    options = {
        "privacy": "unlisted", "tags": ["one", " two words "], "category_id": "24", "made_for_kids": True, "synthetic_media": True,
        "notify_subscribers": False, "license": "creativeCommon", "embeddable": False,
    }  # fmt: skip
    world = make_world(size=10, title=" Über 🎬 ", caption="Line\nline", options=options)
    assert (await world.run()).published
    [video] = world.videos
    assert (video.title, video.description, video.tags, video.category_id) == (
        "Über 🎬",
        "Line\nline",
        ["one", "two words"],
        "24",
    )
    assert (video.privacy, video.notify_subscribers) == ("unlisted", False)
    assert video.file_name == f"{world.driver.job.job_id}.mp4"
    expected = {
        "selfDeclaredMadeForKids": True,
        "containsSyntheticMedia": True,
        "license": "creativeCommon",
        "embeddable": False,
    }
    assert {name: video.status[name] for name in expected} == expected


# Interruptions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_before"},
        {"kind": "drop_after"},
        {"kind": "drop_during", "bytes": 3 * MIB},
        {"kind": "partial_accept", "bytes": 5 * MIB},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 502, "body": "html"},
        {"kind": "status", "status": 503, "process": True},
        {"kind": "status", "status": 504, "body": "empty"},
        {"kind": "new_location"},
        {"kind": "token_expired"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
@pytest.mark.parametrize("after", [0, 1])
async def test_goes_on_where_the_session_says_it_stopped(
    make_world: MakeWorld, fault: dict[str, Any], after: int
) -> None:
    world = make_world()
    rule = world.sandbox.faults.add("youtube.upload.put", after=after, **fault)
    assert (await world.run()).published
    assert world.sandbox.faults.used(rule) == 1
    assert [video.size_bytes for video in world.videos] == [SIZE]
    assert world.problems() == []
    assert world.driver.failures == [], "recovered inside the step"


async def test_status_queries_may_fail_too(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.faults.add("youtube.upload.put", "drop_during", bytes=MIB)
    world.sandbox.faults.add("youtube.upload.status", "status", status=503, times=2)
    assert (await world.run()).published
    assert world.problems() == []


async def test_patience_ends_and_a_later_attempt_goes_on(make_world: MakeWorld) -> None:
    world = make_world()
    rule = world.sandbox.faults.add("youtube.upload.put", "status", status=503, times=8, after=1)
    assert (await world.run()).published
    assert {failure.code for failure in world.driver.failures} == {ErrorCode.PLATFORM_UNAVAILABLE}
    assert world.sandbox.faults.used(rule) == 8
    assert len(world.sandbox.youtube.list_uploads()) == 1, "the same session all along"


async def test_a_session_that_stores_nothing_is_given_up(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.faults.add("youtube.upload.put", "partial_accept", bytes=0, times=None)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.PLATFORM_UNAVAILABLE
    assert world.calls("youtube.upload") < 200


async def test_token_that_stays_refused(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.faults.add("youtube.upload", "token_expired", times=None)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.PLATFORM_AUTH_REJECTED
    assert world.driver.refreshes <= 3


async def test_short_retry_after_is_slept(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.faults.add("youtube.upload.put", "partial_accept", bytes=MIB, headers={"Retry-After": "7"})
    assert (await world.run()).published
    assert 7.0 in world.clock.slept


async def test_long_retry_after_gives_the_slot_back(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.faults.add("youtube.upload.put", "status", status=503, headers={"Retry-After": "900"})
    assert (await world.run()).published
    assert [(each.seconds, each.stage) for each in world.driver.snoozes if each.seconds >= 900] == [
        (900.0, Stage.UPLOADING)
    ]


async def test_a_short_source_never_finishes_the_upload(make_world: MakeWorld) -> None:
    world = make_world()
    world.media.fail_from = 10 * MIB
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.MEDIA_TRUNCATED
    assert world.published() == 0
    [session] = world.sandbox.youtube.list_uploads()
    assert session.stored_bytes <= 10 * MIB


# Sessions that are gone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 410])
async def test_expired_session_is_replaced_and_counted(make_world: MakeWorld, status: int) -> None:
    world = make_world()
    world.sandbox.youtube.configure(expired_session_status=status)  # type: ignore[arg-type]
    world.sandbox.faults.add("youtube.upload.put", "expire_session", after=1)
    assert (await world.run()).published
    assert world.published() == 1
    assert world.driver.quota.reserved.count("youtube_uploads") == 2
    assert world.calls("youtube.videos.insert") == 2


async def test_sessions_are_not_replaced_for_ever(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.faults.add("youtube.upload.put", "expire_session", times=None)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.YOUTUBE_SESSION_EXPIRED
    assert world.calls("youtube.videos.insert") == 4


async def test_old_session_is_replaced_without_asking(make_world: MakeWorld) -> None:
    world = make_world()
    await world.run(until="start_upload")
    world.driver.job = replace(
        world.driver.job, post=replace(world.driver.job.post, expires_at=world.clock.now() + timedelta(days=30))
    )
    world.clock.advance(6 * 86_400 + 1)
    world.driver.token = world.driver.renew()
    assert (await world.run()).published
    assert world.calls("youtube.videos.insert") == 2


async def test_changed_source_starts_over_instead_of_mixing(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.faults.add("youtube.upload.put", "status", status=429, reason="rateLimitExceeded", after=1)
    with pytest.raises(Exception, match="rate_limited"):
        await world.driver.attempt()
    world.driver.media = [MemoryMedia.video(SIZE, etag='"v2"')]
    assert (await world.run()).published
    assert world.calls("youtube.videos.insert") == 2
    assert [video.size_bytes for video in world.videos] == [SIZE]


@pytest.mark.parametrize("until", ["start_upload", "upload"])
async def test_edited_post_is_published_as_edited(make_world: MakeWorld, until: str) -> None:
    world = make_world()
    await world.run(until=until)
    world.driver.job = replace(world.driver.job, post=replace(world.driver.job.post, title="Another title"))
    assert (await world.run()).published
    assert [video.title for video in world.videos] == ["Another title"]


# Before the first byte -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["eligible", "disallowed"])
async def test_long_video_on_an_unverified_channel_is_refused_before_the_upload(
    make_world: MakeWorld, status: str
) -> None:
    world = make_world(seconds=901.0, account={"long_uploads_status": status})
    outcome = await world.run()
    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.field) == (ErrorCode.YOUTUBE_LONG_UPLOADS_DISABLED, "media[0]")
    assert world.calls("youtube.videos.insert") == 0


@pytest.mark.parametrize(("seconds", "reads"), [(900.0, 0), (901.0, 1)])
async def test_only_long_videos_ask_for_the_channel(make_world: MakeWorld, seconds: float, reads: int) -> None:
    world = make_world(seconds=seconds, size=1000)
    assert (await world.run()).published
    assert world.calls("youtube.channels.list") == reads


async def test_wrong_channel_is_noticed_where_the_channel_is_read(make_world: MakeWorld) -> None:
    world = make_world(seconds=901.0)
    account = replace(world.driver.job.account, platform_account_id="UCsomebodyelse")
    world.driver.job = replace(world.driver.job, account=account)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.ACCOUNT_WRONG_CHANNEL


@pytest.mark.parametrize("seconds", [12.0, 901.0])
async def test_account_without_channel(make_world: MakeWorld, seconds: float) -> None:
    world = make_world(seconds=seconds, account={"channel": False})
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.YOUTUBE_NO_CHANNEL
    assert world.driver.refreshes == 0, "a fresh token would change nothing"


async def test_missing_scope(make_world: MakeWorld) -> None:
    world = make_world(account={"scopes": ("https://www.googleapis.com/auth/youtube.readonly",)})
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.YOUTUBE_SCOPE_MISSING


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
async def test_lost_answer_at_the_start_is_harmless(make_world: MakeWorld, kind: Any) -> None:
    world = make_world()
    world.sandbox.faults.add("youtube.videos.insert", kind)
    assert (await world.run()).published
    assert world.published() == 1


async def test_conflict_at_the_start_is_retried(make_world: MakeWorld) -> None:
    world = make_world(size=1000)
    world.sandbox.faults.add("youtube.videos.insert", "status", status=409, reason="alreadyExists")
    assert (await world.run()).published
    assert [each.code for each in world.driver.failures] == [ErrorCode.YOUTUBE_UPLOAD_CONFLICT]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("uploads_per_day", ErrorCode.YOUTUBE_UPLOADS_PER_DAY_EXHAUSTED),
        ("quota_exceeded", ErrorCode.YOUTUBE_QUOTA_EXHAUSTED),
        ("quota_rpc", ErrorCode.YOUTUBE_UPLOADS_PER_DAY_EXHAUSTED),
    ],
)
async def test_used_up_allowance_closes_the_bucket(make_world: MakeWorld, kind: Any, code: ErrorCode) -> None:
    world = make_world()
    world.sandbox.faults.add("youtube.videos.insert", kind, times=None)
    with pytest.raises(Snooze) as snoozed:
        await world.driver.attempt()
    assert snoozed.value.code == code
    with pytest.raises(Snooze):
        await world.driver.attempt()
    assert world.driver.quota.closed == {"youtube_uploads": code}
    assert world.calls("youtube.videos.insert") == 1, "a closed bucket makes no call"


@pytest.mark.parametrize("kind", ["quota_exceeded", "quota_rpc"])
async def test_used_up_reads_close_their_own_bucket(make_world: MakeWorld, kind: Any) -> None:
    world = make_world(seconds=901.0)
    world.sandbox.faults.add("youtube.channels.list", kind)
    with pytest.raises(Snooze):
        await world.driver.attempt()
    assert world.driver.quota.closed == {"youtube_units": ErrorCode.YOUTUBE_QUOTA_EXHAUSTED}


@pytest.mark.parametrize("kind", ["rate_limited", "user_rate_limited"])
async def test_burst_limits_close_nothing(make_world: MakeWorld, kind: Any) -> None:
    world = make_world(size=1000)
    world.sandbox.faults.add("youtube.videos.insert", kind)
    assert (await world.run()).published
    assert [each.code for each in world.driver.failures] == [ErrorCode.YOUTUBE_RATE_LIMITED]
    assert world.driver.quota.closed == {}


async def test_channel_limit(make_world: MakeWorld) -> None:
    world = make_world(size=1000)
    world.sandbox.faults.add("youtube.videos.insert", "channel_upload_limit", times=None)
    with pytest.raises(Exception, match="youtube_channel_upload_limit"):
        await world.driver.attempt()
    assert world.driver.quota.closed == {}


# Pure parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "content_type", "expected"),
    [
        ("mov,mp4,m4a,3gp,3g2,mj2", "image/jpeg", "video/mp4"),
        ("mov", "video/mp4", "video/quicktime"),
        ("matroska,webm", "text/html", "video/webm"),
        ("avi", "video/avi", "video/x-msvideo"),
        (None, "video/mp4", "video/mp4"),
        (None, "text/html", "application/octet-stream"),
    ],
)
def test_content_type_comes_from_what_was_found(container: str | None, content_type: str, expected: str) -> None:
    facts = replace(MemoryMedia.video(1).facts, container=container, content_type=content_type)
    assert content_type_of(facts) == expected


def test_made_up_bytes_do_not_depend_on_how_they_are_cut() -> None:
    whole = media_bytes(0, 600_000)
    assert whole == media_bytes(0, 1) + media_bytes(1, 300_001) + media_bytes(300_001, 600_000)


async def test_no_session_means_not_published(make_world: MakeWorld) -> None:
    world = make_world()
    step = world.driver.plan()[2]
    found = await PLATFORM.reconcile(world.driver.context(step, begun_at=world.clock.now()))
    assert found.truth is Truth.NOT_PUBLISHED
