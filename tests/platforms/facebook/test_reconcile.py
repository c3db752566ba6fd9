"""The visible call, what happens when its answer is lost, and what may be concluded from what Facebook then shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orbyt_worker.errors import catalog
from orbyt_worker.errors.catalog import Outcome
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.platforms.facebook.visible import SAYS_NOTHING, Sent
from orbyt_worker.sandbox.facebook_model import Story
from tests.platforms.driver import Killed
from tests.platforms.facebook.world import SETUPS, FacebookWorld

MakeWorld = Callable[..., FacebookWorld]
LISTED = ["text", "link", "photo", "carousel", "photo story"]
BY_HANDLE = ["video", "reel", "video story"]
FINISHED = "facebook.video.finished"
POSTS = "facebook.read.published_posts"

# The call was made and answered with nothing, or with something that says nothing.
TAKEN: list[dict[str, Any]] = [
    {"kind": "drop_after"},
    {"kind": "status", "status": 503, "process": True},
    {"kind": "status", "status": 500, "body": "html", "process": True},
    {"kind": "status", "status": 200, "body": "html", "process": True},
    {"kind": "status", "status": 200, "json": {}, "process": True},
    {"kind": "meta_error", "code": 1, "process": True},
    {"kind": "meta_error", "code": 2, "process": True, "transient": True},
    {"kind": "meta_error", "code": 368, "process": True},
    {"kind": "meta_error", "code": 506, "process": True},
    {"kind": "meta_error", "code": 100, "subcode": 33, "process": True},
    {"kind": "meta_error", "code": 9999999, "process": True},
]
# The same, and it was not made.
NOT_TAKEN: list[dict[str, Any]] = [
    {"kind": "drop_before"},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 500, "body": "html"},
    {"kind": "meta_error", "code": 1},
    {"kind": "meta_error", "code": -1},
]


@pytest.mark.parametrize("fault", TAKEN, ids=str)
@pytest.mark.parametrize("shape", ["text", "carousel", "photo story", *BY_HANDLE])
async def test_taken_without_an_answer_it_is_adopted(make_world: MakeWorld, shape: str, fault: dict[str, Any]) -> None:
    world = make_world(shape)
    world.fault(**fault)
    outcome = await world.run()
    assert outcome.published, outcome
    assert (world.published(), world.visible_calls()) == (1, 1)
    [post] = world.posts
    assert outcome.result["adopted"] is True
    assert outcome.result["platform_post_id"] in (post.post_id, *(each.media_id for each in post.media))
    assert world.problems() == []


@pytest.mark.parametrize("fault", NOT_TAKEN, ids=str)
@pytest.mark.parametrize("shape", BY_HANDLE)
async def test_not_taken_the_handle_proves_it(make_world: MakeWorld, shape: str, fault: dict[str, Any]) -> None:
    """Untouched over several looks and two minutes: the same handle is finished once more."""
    world = make_world(shape)
    world.fault(**fault)
    started = world.clock.monotonic()
    outcome = await world.run()
    assert outcome.published, outcome
    assert (world.published(), world.visible_calls()) == (1, 2)
    assert world.clock.monotonic() - started >= 120
    assert world.calls("facebook.video.status") >= 4
    assert world.calls(world.setup.first_hidden) == 1
    assert world.problems() == []


@pytest.mark.parametrize("fault", NOT_TAKEN, ids=str)
@pytest.mark.parametrize("shape", LISTED)
async def test_not_taken_nobody_can_tell(make_world: MakeWorld, shape: str, fault: dict[str, Any]) -> None:
    world = make_world(shape)
    world.fault(**fault)
    started = world.clock.monotonic()
    outcome = await world.run()
    assert outcome.held is not None
    assert (world.published(), world.visible_calls()) == (0, 1)
    assert 290 <= world.clock.monotonic() - started < 400, "a listing is given time to settle, and no more"


@pytest.mark.parametrize(
    ("code", "subcode", "expected"),
    [
        (3, None, ErrorCode.META_APP_CAPABILITY_MISSING),
        (100, None, ErrorCode.META_PARAMETER_INVALID),
        (102, None, ErrorCode.META_TOKEN_INVALID),
        (190, 460, ErrorCode.META_SESSION_ENDED),
        (200, None, ErrorCode.META_PERMISSION_MISSING),
        (100, 1346003, ErrorCode.FACEBOOK_CONTENT_REFUSED),
        (100, 1404078, ErrorCode.FACEBOOK_AUTHORIZATION_REQUIRED),
    ],
)
@pytest.mark.parametrize("shape", ["text", "carousel", "reel", "photo story"])
async def test_a_clear_refusal_is_believed(
    make_world: MakeWorld, shape: str, code: int, subcode: int | None, expected: ErrorCode
) -> None:
    world = make_world(shape)
    world.fault("meta_error", code=code, subcode=subcode)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is expected
    assert outcome.failure.platform_code == str(code)
    assert (world.published(), world.visible_calls()) == (0, 1)


@pytest.mark.parametrize("shape", ["text", "photo", "video", "reel", "video story"])
async def test_a_throttled_call_is_made_again_later(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape)
    world.fault("throttle", code=80001, minutes=20)
    started = world.clock.monotonic()
    assert (await world.run()).published
    assert (world.published(), world.visible_calls()) == (1, 2)
    assert world.clock.monotonic() - started >= 20 * 60
    assert world.problems() == []


@pytest.mark.parametrize("shape", ["text", "reel"])
async def test_an_old_refusal_says_nothing_about_the_next_call(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape)
    world.fault("throttle", code=32, minutes=1)
    world.fault("meta_error", code=1, process=True, after=1)
    outcome = await world.run()
    assert outcome.published, outcome
    assert (world.published(), world.visible_calls()) == (1, 2)
    # What is journalled is laid over what was there: only keys that are always written can be cleared.
    assert set(Sent().record()) == set(Sent(world.clock.now(), "1", True, "code", "detail").record())


@pytest.mark.parametrize("shape", ["text", "reel"])
async def test_a_refusal_is_still_known_after_a_crash(make_world: MakeWorld, shape: str) -> None:
    """Killed at every point from the refusal on: it stays one refusal, and nothing is sent again or held."""

    def refused() -> FacebookWorld:
        world = make_world(shape)
        world.fault("meta_error", code=100, subcode=1346003, times=None)
        return world

    world = refused()
    assert (await world.run()).failure is not None
    names = world.driver.checkpoints
    last = max(index for index, (kind, _) in enumerate(names) if kind == "http.after")
    for nth in range(last + 3, len(names) + 1):
        world = refused()
        world.driver.kill_at = nth
        with pytest.raises(Killed):
            await world.run()
        outcome = await world.run()
        assert outcome.failure is not None, names[nth - 1]
        assert outcome.failure.code is ErrorCode.FACEBOOK_CONTENT_REFUSED
        assert world.published() == 0


def test_what_says_nothing_is_what_the_facts_say() -> None:
    """Column R of the code tables: after these an answer to the visible call proves nothing."""
    assert {
        ErrorCode.META_ERROR_TRANSIENT, ErrorCode.META_SERVICE_UNAVAILABLE, ErrorCode.META_OBJECT_UNREADABLE,
        ErrorCode.META_BLOCKED, ErrorCode.META_DUPLICATE_POST, ErrorCode.PLATFORM_UNAVAILABLE,
        ErrorCode.PLATFORM_ERROR_UNMAPPED, ErrorCode.PLATFORM_ANSWER_INVALID,
    } == SAYS_NOTHING  # fmt: skip
    assert catalog.entry(ErrorCode.META_DUPLICATE_POST).outcome is not Outcome.NOT_PUBLISHED


@pytest.mark.parametrize("shape", SETUPS)
async def test_killed_anywhere_while_the_answer_is_lost_as_well(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape)
    world.fault("drop_after")
    assert (await world.run()).published
    for nth in range(1, len(world.driver.checkpoints) + 1):
        world = make_world(shape)
        world.fault("drop_after")
        world.driver.kill_at = nth
        with pytest.raises(Killed):
            await world.run()
        outcome = await world.run()
        if shape in LISTED and outcome.held is not None:
            assert world.published() == 0, "what is there is found"
        elif shape != "text with a first comment" or outcome.held is None:
            assert outcome.published, (world.driver.checkpoints[nth - 1], outcome)
            assert world.published() == 1
        assert world.problems() == []


# By listing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["text", "carousel"])
async def test_a_listing_that_lags_is_read_again(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape)
    world.fault("drop_after")
    world.sandbox.faults.add(POSTS, "status", status=200, json={"data": []}, times=2)
    world.sandbox.faults.add("facebook.read.photo", "status", status=200, json={"id": "1"}, times=6)
    outcome = await world.run()
    assert outcome.published, outcome
    assert (world.published(), world.visible_calls()) == (1, 1)
    assert 2 <= world.calls(POSTS) <= 3


async def test_never_listed_is_held_not_sent_again(make_world: MakeWorld) -> None:
    world = make_world("text")
    world.fault("drop_after")
    world.sandbox.faults.add(POSTS, "status", status=200, json={"data": []}, times=None)
    outcome = await world.run()
    assert outcome.held is not None
    assert world.driver.failures[-1].code is ErrorCode.OUTCOME_UNKNOWN
    assert (world.published(), world.visible_calls()) == (1, 1)


async def test_two_look_alikes_are_held(make_world: MakeWorld) -> None:
    world = make_world("text")
    world.fault("drop_after")
    world.facebook.post_outside(world.page.page_id, "A caption", application_id=world.config.meta_app_id)
    world.meta.configure(reject_duplicates=False)
    outcome = await world.run()
    assert outcome.held is not None
    assert "2 posts" in outcome.held


@pytest.mark.parametrize("application", [None, "42"])
async def test_a_post_of_somebody_else_is_not_ours(make_world: MakeWorld, application: str | None) -> None:
    world = make_world("text")
    world.fault("drop_before")
    world.facebook.post_outside(world.page.page_id, "A caption", application_id=application)
    outcome = await world.run()
    assert outcome.held is not None
    assert world.visible_calls() == 1


async def test_an_older_post_is_not_ours(make_world: MakeWorld) -> None:
    world = make_world("text")
    world.facebook.post_outside(world.page.page_id, "A caption", application_id=world.config.meta_app_id)
    world.clock.advance(60)
    world.fault("drop_before")
    outcome = await world.run()
    assert outcome.held is not None


async def test_another_text_is_not_ours(make_world: MakeWorld) -> None:
    world = make_world("text")
    world.facebook.post_outside(world.page.page_id, "Another caption", application_id=world.config.meta_app_id)
    world.fault("drop_before")
    assert (await world.run()).held is not None


async def test_line_ends_and_blanks_do_not_matter(make_world: MakeWorld) -> None:
    world = make_world("text", caption="  One \r\nTwo  \n")
    world.fault("drop_after")
    assert (await world.run()).published
    assert world.visible_calls() == 1


async def test_without_an_app_id_nothing_is_adopted(make_world: MakeWorld) -> None:
    """Then nobody can tell whose post it is."""
    world = make_world("text")
    world.driver.config = world.driver.config.model_copy(update={"meta_app_id": None})
    world.fault("drop_after")
    assert (await world.run()).held is not None


async def test_a_photo_names_its_post_among_look_alikes(make_world: MakeWorld) -> None:
    world = make_world("photo")
    world.fault("drop_after")
    world.facebook.post_outside(world.page.page_id, "A caption", application_id=world.config.meta_app_id)
    outcome = await world.run()
    assert outcome.published, outcome
    [post] = [each for each in world.posts if each.kind == "photo"]
    assert outcome.result["platform_post_id"] == post.post_id
    assert outcome.result["permalink"] == post.url


async def test_the_story_of_another_photo_is_not_ours(make_world: MakeWorld) -> None:
    world = make_world("photo story")
    world.fault("drop_before")
    with world.meta.lock:
        other = Story("4711", world.page.page_id, "photo", "4712", world.clock.now())
        post_id = world.facebook.post_outside(world.page.page_id, "x")
        other.post_id = post_id
        world.facebook.stories[post_id] = other
    assert (await world.run()).held is not None
    assert world.visible_calls() == 1


@pytest.mark.parametrize(
    ("shape", "route"),
    [("text", POSTS), ("reel", "facebook.video.status"), ("photo story", "facebook.read.stories")],
)
async def test_reads_of_reconcile_may_fail_for_a_while(make_world: MakeWorld, shape: str, route: str) -> None:
    world = make_world(shape)
    world.fault("drop_after")
    # The first read of a reel's status belongs to `ready`.
    world.sandbox.faults.add(route, "status", status=503, after=int(shape == "reel"), times=3)
    assert (await world.run()).published
    assert (world.published(), world.visible_calls()) == (1, 1)


# By handle --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", BY_HANDLE)
@pytest.mark.parametrize("fault", ["publish_delay", "status_lag"])
async def test_a_video_that_takes_its_time_is_not_finished_twice(make_world: MakeWorld, shape: str, fault: str) -> None:
    """Taken, the answer lost, and for ten minutes the status says only that Facebook is at it."""
    world = make_world(shape)
    world.fault("drop_after")
    world.sandbox.faults.add(FINISHED, fault, seconds=600)  # type: ignore[arg-type] # literals
    outcome = await world.run()
    assert outcome.published, outcome
    assert (world.published(), world.visible_calls()) == (1, 1)


async def test_a_video_that_is_processed_for_too_long_is_held(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.meta.configure(processing_seconds=86_400)
    world.fault("drop_after")
    outcome = await world.run()
    assert outcome.held is not None
    assert world.visible_calls() == 1


@pytest.mark.parametrize("shape", BY_HANDLE)
async def test_taken_and_then_refused_by_processing(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape)
    world.fault("drop_after")
    world.sandbox.faults.add(FINISHED, "phase_error", code=1363127)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.MEDIA_DIMENSIONS_NOT_SUPPORTED
    assert catalog.entry(outcome.failure.code).outcome is Outcome.NOT_PUBLISHED
    assert (world.published(), world.visible_calls()) == (0, 1)


async def test_a_finish_without_effect_is_repeated_once_only(make_world: MakeWorld) -> None:
    """The handle stays untouched whatever is done: after the second time it needs a person."""
    world = make_world("reel")
    world.fault("drop_before", times=None)
    started = world.clock.monotonic()
    outcome = await world.run()
    assert outcome.held is not None
    assert (world.published(), world.visible_calls()) == (0, 2)
    assert 30 * 60 <= world.clock.monotonic() - started < 40 * 60


async def test_a_second_finish_that_is_refused_proves_nothing(make_world: MakeWorld) -> None:
    """The first one was taken and its effect was not shown for a while: the refusal of the second is not about it."""
    world = make_world("reel")
    world.fault("drop_after")
    untouched = {
        "id": "1",
        "status": {"uploading_phase": {"status": "complete"}, "publishing_phase": {"status": "not_started"}},
    }
    world.sandbox.faults.add("facebook.video.status", "status", status=200, json=untouched, after=1, times=8)
    outcome = await world.run()
    assert outcome.published, outcome
    assert outcome.result["adopted"] is True
    assert (world.published(), world.visible_calls()) == (1, 2)


async def test_finish_says_that_nothing_was_uploaded(make_world: MakeWorld) -> None:
    """Code 6000: the upload is done anew, and then finished."""
    world = make_world("reel")
    world.fault("meta_error", code=6000)
    outcome = await world.run()
    assert outcome.published, outcome
    assert (world.published(), world.visible_calls()) == (1, 2)
    assert world.calls("facebook.reels.start") == 2


# After it was answered ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", BY_HANDLE)
async def test_success_is_only_an_acknowledgement(make_world: MakeWorld, shape: str) -> None:
    """`finish` was answered with success, and processing fails: the post was never visible, and the failure says so."""
    world = make_world(shape)
    world.sandbox.faults.add(FINISHED, "phase_error", code=1363129)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.MEDIA_FRAME_RATE_NOT_SUPPORTED
    assert (outcome.failure.field, outcome.failure.platform_code) == ("media[0]", "1363129")
    assert catalog.entry(outcome.failure.code).outcome is Outcome.NOT_PUBLISHED
    assert world.published() == 0


@pytest.mark.parametrize("words", [{"errors_shape": "object"}, {"errors_shape": "list"}], ids=str)
async def test_an_unknown_reason_of_processing(make_world: MakeWorld, words: dict[str, Any]) -> None:
    world = make_world("reel")
    world.meta.configure(**words)
    world.sandbox.faults.add(FINISHED, "phase_error", code=4_242_424, reason="publishing")
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.FACEBOOK_PROCESSING_FAILED


async def test_a_passing_reason_of_processing_is_final_all_the_same(make_world: MakeWorld) -> None:
    """1363047 means "service unavailable", but the video that met it is lost: nothing would be tried again."""
    world = make_world("reel")
    world.sandbox.faults.add(FINISHED, "phase_error", code=1363047)
    outcome = await world.run()
    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.platform_code) == (ErrorCode.FACEBOOK_PROCESSING_FAILED, "1363047")
    assert len(world.driver.failures) == 1


async def test_a_passing_reason_before_anything_was_confirmed_starts_over(make_world: MakeWorld) -> None:
    """The answer of `finish` was lost as well, so the job is still free to upload it again."""
    world = make_world("reel")
    world.fault("drop_after")
    world.sandbox.faults.add(FINISHED, "phase_error", code=1363047)
    outcome = await world.run()
    assert outcome.published, outcome
    assert (world.published(), world.visible_calls(), world.calls("facebook.reels.start")) == (1, 2, 2)


async def test_slow_processing_is_a_remark_not_a_failure(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.meta.configure(processing_seconds=3 * 3600)
    started = world.clock.monotonic()
    outcome = await world.run()
    assert outcome.published, outcome
    assert world.driver.saved.results["verify"] == {"verified": False, "code": "facebook_still_processing"}
    assert catalog.entry("facebook_still_processing").outcome is Outcome.PUBLISHED
    assert 20 * 60 <= world.clock.monotonic() - started < 23 * 60
    assert world.calls("facebook.video.status") < 60
    assert world.visible_calls() == 1
