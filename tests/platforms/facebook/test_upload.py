"""The two upload protocols: where they go on after whatever happens, and when they start anew."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.facebook.read import absolute, moment, object_id, parse_video
from orbyt_worker.sandbox.facebook_model import VideoReport
from tests.platforms.driver import MIB, Killed, media_bytes
from tests.platforms.facebook.world import SIZE, FacebookWorld, vertical

MakeWorld = Callable[..., FacebookWorld]
TRANSFER = "facebook.videos.transfer"
RUPLOAD = "meta.rupload.facebook"
RUPLOADED = ["reel", "video story"]


def video_of(world: FacebookWorld) -> VideoReport:
    """The one that was published."""
    [found] = [each for each in world.facebook.list_videos() if each.published]
    return found


# Chunks ----------------------------------------------------------------------------------------------------------------


async def test_facebook_dictates_the_chunks(make_world: MakeWorld) -> None:
    world = make_world("video")
    world.meta.configure(chunk_bytes=700_000)
    assert (await world.run()).published
    ranges = world.media[0].given
    assert ranges == [(start, min(700_000, SIZE - start)) for start in range(0, SIZE, 700_000)]
    assert world.published() == 1
    assert (video_of(world).stored_bytes, video_of(world).announced_bytes) == (SIZE, SIZE)


@pytest.mark.parametrize("as_text", [False, True])
async def test_a_lost_answer_is_put_right_by_the_error_data(make_world: MakeWorld, as_text: bool) -> None:
    """The chunk was taken: sending it again is 6001/1363037, which says where to go on."""
    world = make_world("video")
    world.meta.configure(error_data_as_text=as_text)
    world.sandbox.faults.add(TRANSFER, "drop_after", after=1)
    assert (await world.run()).published
    assert world.published() == 1
    assert world.calls(TRANSFER) == 5, "four chunks, and the one that was refused"
    assert world.calls("facebook.videos.start") == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_before"},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 500, "body": "html"},
        {"kind": "meta_error", "code": 6000, "subcode": 1363030},
        {"kind": "meta_error", "code": 6000, "subcode": 1363033},
        {"kind": "meta_error", "code": 1, "transient": True},
        {"kind": "status", "status": 200, "json": {"start_offset": "x", "end_offset": "9"}, "process": True},
    ],
    ids=str,
)
async def test_a_chunk_is_sent_again(make_world: MakeWorld, fault: dict[str, Any]) -> None:
    world = make_world("video")
    world.sandbox.faults.add(TRANSFER, **fault, after=2, times=2)
    assert (await world.run()).published
    assert world.published() == 1
    assert world.calls("facebook.videos.start") == 1


async def test_killed_between_chunks_the_upload_goes_on(make_world: MakeWorld) -> None:
    world = make_world("video")
    await world.run(until="upload")
    count = len(world.driver.checkpoints)
    for nth in range(1, count + 1):
        world = make_world("video")
        world.driver.kill_at = nth
        with pytest.raises(Killed):
            await world.run(until="upload")
        started = world.calls("facebook.videos.start")
        assert (await world.run()).published
        assert world.calls("facebook.videos.start") <= max(started, 1) + 1
        assert world.published() == 1
        assert video_of(world).stored_bytes == SIZE


async def test_a_session_facebook_forgot_is_opened_anew(make_world: MakeWorld) -> None:
    world = make_world("video")
    world.sandbox.faults.add(TRANSFER, "meta_error", code=6000, subcode=1363041, after=2)
    assert (await world.run()).published
    assert world.calls("facebook.videos.start") == 2
    assert world.published() == 1


async def test_sessions_that_keep_being_lost_end_the_job(make_world: MakeWorld) -> None:
    world = make_world("video")
    world.sandbox.faults.add(TRANSFER, "meta_error", code=6000, subcode=1363041, times=None)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.META_UPLOAD_SESSION_INVALID
    assert world.calls("facebook.videos.start") == 4
    assert (world.published(), world.visible_calls()) == (0, 0)


async def test_a_server_that_stores_nothing_is_given_up_on(make_world: MakeWorld) -> None:
    world = make_world("video")
    same = {"start_offset": "0", "end_offset": str(MIB)}
    world.sandbox.faults.add(TRANSFER, "status", status=200, json=same, times=None)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.META_UPLOAD_INTERRUPTED
    assert world.calls(TRANSFER) <= 60
    assert (world.published(), world.visible_calls()) == (0, 0)


async def test_a_wait_that_is_too_long_gives_the_slot_back(make_world: MakeWorld) -> None:
    world = make_world("video")
    world.sandbox.faults.add(TRANSFER, "status", status=503, headers={"Retry-After": "300"})
    assert (await world.run()).published
    assert [each.seconds for each in world.driver.snoozes if each.seconds == 300] == [300]


# rupload ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", RUPLOADED)
async def test_one_request_carries_the_whole_file(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape)
    assert (await world.run()).published
    assert world.media[0].given == [(0, SIZE)]
    assert world.published() == 1
    assert video_of(world).stored_bytes == SIZE


@pytest.mark.parametrize("shape", RUPLOADED)
async def test_a_transfer_that_broke_off_goes_on_where_facebook_stands(make_world: MakeWorld, shape: str) -> None:
    world = await _broken_off(make_world, shape, MIB + 17)
    assert (await world.run()).published
    assert world.media[0].given == [(MIB + 17, SIZE - MIB - 17)]
    assert world.published() == 1
    assert video_of(world).sha256 == hashlib.sha256(media_bytes(0, SIZE)).hexdigest()
    assert len(world.facebook.list_videos()) == 1


async def _broken_off(make_world: MakeWorld, shape: str, stored: int, **words: Any) -> FacebookWorld:
    """A world whose worker died while it sent the file; the first `stored` bytes had arrived."""
    world = make_world(shape)
    await world.run(until="upload")
    nth = world.driver.checkpoints.index(("http.before", "facebook.rupload")) + 1
    world = make_world(shape)
    world.meta.configure(**words)
    world.driver.kill_at = nth
    with pytest.raises(Killed):
        await world.run()
    with world.meta.lock:
        [video] = world.facebook.videos.values()
        video.size_bytes = SIZE
        video.stored.append(media_bytes(0, stored))
    world.media[0].given.clear()
    return world


@pytest.mark.parametrize("shape", RUPLOADED)
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_before"},
        {"kind": "drop_after"},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 200, "json": {"success": False}},
        {"kind": "status", "status": 200, "json": {"success": False}, "process": True},
        {"kind": "meta_error", "reason": "OffsetInvalidError"},
        {"kind": "meta_error", "reason": "PartialRequestError", "transient": True},
        {"kind": "meta_error", "reason": "ProcessingFailedError", "transient": True},
        {"kind": "meta_error", "reason": "NotAuthorizedError"},
    ],
    ids=str,
)
async def test_whatever_happens_to_the_transfer_it_arrives(
    make_world: MakeWorld, shape: str, fault: dict[str, Any]
) -> None:
    world = make_world(shape)
    world.sandbox.faults.add(RUPLOAD, **fault)
    outcome = await world.run()
    assert outcome.published, outcome
    assert world.published() == 1
    assert video_of(world).stored_bytes == SIZE
    assert world.problems() == []


async def test_an_upload_that_cannot_be_finished_is_opened_anew(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.sandbox.faults.add(RUPLOAD, "meta_error", reason="NotAuthorizedError", times=2)
    assert (await world.run()).published
    assert world.calls("facebook.reels.start") == 3


async def test_uploads_that_keep_being_lost_end_the_job(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.sandbox.faults.add(RUPLOAD, "meta_error", reason="NotAuthorizedError", times=None)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.META_UPLOAD_SESSION_INVALID
    assert world.calls("facebook.reels.start") == 4
    assert world.published() == 0


async def test_a_token_is_sent_to_no_other_host(make_world: MakeWorld) -> None:
    world = make_world("reel")
    foreign = {"video_id": "1", "upload_url": "https://rupload.facebook.com.example.org/video-upload/1"}
    world.sandbox.faults.add("facebook.reels.start", "status", status=200, json=foreign, times=None)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.PLATFORM_ANSWER_INVALID
    assert world.calls(RUPLOAD) == 0


@pytest.mark.parametrize(
    "words",
    [
        {"phase_word": "completed", "bytes_word": "bytes_transfered"},
        {"errors_shape": "object", "unpublished_word": "not_published"},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", RUPLOADED)
async def test_every_spelling_of_the_status(make_world: MakeWorld, shape: str, words: dict[str, Any]) -> None:
    world = await _broken_off(make_world, shape, 2 * MIB, **words)
    world.fault("drop_before")
    assert (await world.run()).published
    assert (world.published(), world.visible_calls()) == (1, 2)
    assert world.media[0].given == [(2 * MIB, SIZE - 2 * MIB)]


async def test_a_source_that_ends_early_is_not_taken_for_the_file(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.media[0].fail_from = MIB
    with pytest.raises(Failure) as broken:
        await world.driver.attempt()
    assert broken.value.code is ErrorCode.MEDIA_TRUNCATED
    world.media[0].fail_from = None
    assert (await world.run()).published
    assert world.published() == 1
    assert video_of(world).sha256 == hashlib.sha256(media_bytes(0, SIZE)).hexdigest()


async def test_a_page_token_that_sees_nothing_is_helped_by_the_user_token(make_world: MakeWorld) -> None:
    """Code 100/33 for things that exist, since May 2026 (gitroomhq/postiz-app#1562)."""
    world = make_world("reel")
    for after in range(0, 12, 2):
        world.sandbox.faults.add("facebook.video.status", "meta_error", code=100, subcode=33, after=after)
    outcome = await world.run()
    assert outcome.published, outcome
    assert world.driver.saved.results["verify"]["verified"] is True


# Before the visible step -------------------------------------------------------------------------------------------------


async def test_an_upload_that_facebook_does_not_show_is_done_anew(make_world: MakeWorld) -> None:
    """rupload said success, the status never agrees: nothing is finished on its word alone."""
    world = make_world("reel")
    silent = {"id": "1", "status": {"video_status": "uploading", "uploading_phase": {"status": "in_progress"}}}
    world.sandbox.faults.add("facebook.video.status", "status", status=200, json=silent, times=25)
    outcome = await world.run()
    assert outcome.published, outcome
    assert 2 <= world.calls("facebook.reels.start") <= 3
    assert (world.published(), world.visible_calls()) == (1, 1)


async def test_an_upload_that_cannot_be_read_is_finished_all_the_same(make_world: MakeWorld) -> None:
    """Code 100/33 for things that exist: rupload answered with success, and `finish` would refuse what is not there."""
    world = make_world("reel")
    world.sandbox.faults.add("facebook.video.status", "meta_error", code=100, subcode=33, times=None)
    outcome = await world.run()
    assert outcome.published, outcome
    assert (world.published(), world.visible_calls()) == (1, 1)
    assert world.calls("facebook.reels.start") == 1
    assert world.driver.saved.results["verify"]["verified"] is False


async def test_an_upload_that_is_never_shown_as_complete_ends_the_job(make_world: MakeWorld) -> None:
    world = make_world("reel")
    silent = {"id": "1", "status": {"video_status": "uploading", "uploading_phase": {"status": "in_progress"}}}
    world.sandbox.faults.add("facebook.video.status", "status", status=200, json=silent, times=None)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.META_UPLOAD_SESSION_INVALID
    assert (world.published(), world.visible_calls()) == (0, 0)
    assert world.calls("facebook.reels.start") == 4


async def test_a_video_facebook_cannot_process_is_refused_before_it_is_visible(make_world: MakeWorld) -> None:
    world = make_world("reel")
    phases = {
        "uploading_phase": {"status": "complete"},
        "processing_phase": {"status": "error", "errors": [{"code": 1363128}]},
    }
    world.sandbox.faults.add("facebook.video.status", "status", status=200, json={"id": "1", "status": phases})
    outcome = await world.run()
    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.field) == (ErrorCode.FACEBOOK_REEL_DURATION, "media[0]")
    assert (world.published(), world.visible_calls()) == (0, 0)


async def test_a_passing_reason_of_processing_starts_over(make_world: MakeWorld) -> None:
    world = make_world("reel")
    phases = {"uploading_phase": {"status": "complete"}, "processing_phase": {"error": {"code": 1363047}}}
    world.sandbox.faults.add("facebook.video.status", "status", status=200, json={"id": "1", "status": phases})
    assert (await world.run()).published
    assert (world.published(), world.calls("facebook.reels.start")) == (1, 2)


async def test_another_file_is_never_mixed_with_what_was_sent(make_world: MakeWorld) -> None:
    world = make_world("video")
    world.sandbox.faults.add(TRANSFER, "status", status=503, after=2, times=5)
    with pytest.raises(Failure):
        await world.driver.attempt()
    world.driver.media = [vertical(SIZE, etag='"v2"')]
    assert (await world.run()).published
    assert world.calls("facebook.videos.start") == 2
    assert world.published() == 1


# Reading what Facebook says -----------------------------------------------------------------------------------------------


def test_odd_status_objects_are_survived() -> None:
    for odd in (
        {},
        {"status": None},
        {"status": {"uploading_phase": 1, "publishing_phase": []}},
        {"status": {"video_status": 5}},
    ):
        found = parse_video(odd)
        assert [found.published, found.untouched, found.uploaded, found.dead] == [False] * 4


def test_a_draft_that_is_complete_is_not_published() -> None:
    phases = {"publishing_phase": {"status": "complete", "publish_status": "draft"}}
    assert not parse_video({"status": phases}).published


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/reel/1/", "https://www.facebook.com/reel/1/"),
        ("https://www.facebook.com/1", "https://www.facebook.com/1"),
        ("//evil.example/1", None),
        ("javascript:alert(1)", None),
        ("http://www.facebook.com/1", None),
        ("", None),
        (None, None),
        ("/" + "x" * 2000, None),
    ],
)
def test_addresses(value: Any, expected: str | None) -> None:
    assert absolute(value) == expected


def test_ids_and_times() -> None:
    assert [object_id(each) for each in (12, "12", "12_34", "12/34", True, None, "x", "")] == [
        "12",
        "12",
        "12_34",
        *[None] * 5,
    ]
    assert moment("2026-11-23T12:00:00+0000") == moment(1795435200) == moment("1795435200")
    assert [moment(each) for each in ("yesterday", "2026-11-23T12:00:00", None, 10**14)] == [None] * 4
