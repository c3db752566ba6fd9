"""The visible call with an answer that is lost, late or wrong: published once, or said what is not known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Snooze
from orbyt_worker.platforms.instagram import Instagram
from orbyt_worker.platforms.instagram.reconcile import SETTLING_SECONDS
from tests.platforms.driver import Killed
from tests.platforms.instagram.world import InstagramWorld

MakeWorld = Callable[..., InstagramWorld]

# How the call may go wrong after Instagram did what was asked: kind of fault and its options.
DONE: dict[str, tuple[str, dict[str, Any]]] = {
    "the answer is lost": ("drop_after", {}),
    "it answers 500": ("status", {"status": 500, "process": True}),
    "it answers with a page of a gateway": ("status", {"status": 502, "body": "html", "process": True}),
    "it answers 4/2207051": ("meta_error", {"code": 4, "subcode": 2207051, "process": True}),
    "it answers -1": ("meta_error", {"code": -1, "process": True}),
    "it answers without an id": ("status", {"status": 200, "json": {}, "process": True}),
}
NOT_DONE: dict[str, tuple[str, dict[str, Any]]] = {
    "the connection breaks before": ("drop_before", {}),
    "it answers 503": ("status", {"status": 503}),
    "it answers with an error that may pass": ("meta_error", {"code": 2, "status": 500}),
    "it answers -1": ("meta_error", {"code": -1}),
}


@pytest.mark.parametrize("shape", ["photo", "carousel", "photo story"])
@pytest.mark.parametrize("case", DONE)
async def test_what_is_live_is_adopted(make_world: MakeWorld, shape: str, case: str) -> None:
    kind, options = DONE[case]
    world = make_world(shape)
    world.fault(kind, **options)
    outcome = await world.run()
    assert outcome.published, outcome
    (post,) = world.posts
    assert outcome.result["platform_post_id"] == post.media_id
    assert outcome.result["permalink"] == post.permalink
    assert "code" not in outcome.result
    assert world.visible_calls() == 1
    assert world.problems() == []


async def test_instagram_is_slower_than_the_client(make_world: MakeWorld) -> None:
    """The call is taken up after its timeout; nobody looks before it can no longer be in flight."""
    world = make_world("photo", platform=Instagram(call_timeout_seconds=0.3))
    await world.run(until="ready")
    world.fault("hang", seconds=0.8, process=True)
    with pytest.raises(Snooze):
        await world.driver.attempt()
    assert await asyncio.to_thread(world.sandbox.requests.wait_idle, 30)
    assert world.published() == 1
    assert (await world.run()).published
    assert world.published() == world.visible_calls() == 1


@pytest.mark.parametrize("shape", ["reel", "video story"])
@pytest.mark.parametrize("case", NOT_DONE)
async def test_what_never_happened_is_done_with_the_same_container(
    make_world: MakeWorld, shape: str, case: str
) -> None:
    kind, options = NOT_DONE[case]
    world = make_world(shape)
    world.fault(kind, **options)
    outcome = await world.run()
    assert outcome.published, outcome
    assert world.published() == 1
    assert len(world.containers) == 1
    looks = [snooze for snooze in world.driver.snoozes if snooze.code == ErrorCode.OUTCOME_UNKNOWN]
    assert sum(snooze.seconds for snooze in looks) >= SETTLING_SECONDS
    assert world.problems() == []


@pytest.mark.parametrize("case", ["the answer is lost", "it answers 500", "it answers 4/2207051"])
async def test_a_publish_that_shows_up_minutes_later_is_not_repeated(make_world: MakeWorld, case: str) -> None:
    kind, options = DONE[case]
    world = make_world("photo")
    world.instagram.configure(hidden_publish_seconds=SETTLING_SECONDS - 5)
    world.fault(kind, **options)
    outcome = await world.run()
    assert outcome.published, outcome
    assert outcome.result["platform_post_id"] == world.posts[0].media_id
    assert world.visible_calls() == 1
    assert world.problems() == []


async def test_a_page_token_that_cannot_read_does_not_hinder_the_look(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.instagram.configure(page_token_reads_fail=True)
    world.drop_visible_answer()
    assert (await world.run()).published
    assert world.published() == world.visible_calls() == 1


async def test_spam_blocking_without_a_post_waits_for_a_person(make_world: MakeWorld) -> None:
    world = make_world("photo")
    world.fault("meta_error", code=4, subcode=2207051)
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.INSTAGRAM_ACTION_BLOCKED
    assert world.published() == 0
    assert world.visible_calls() == 1
    # Released by hand: the same container, looked at before, is published once.
    assert (await world.run()).published
    assert world.published() == 1
    assert len(world.containers) == 1


async def test_the_limit_met_at_the_call_waits_without_doubt(make_world: MakeWorld) -> None:
    world = make_world("photo")
    world.fault("meta_error", code=9, subcode=2207042)
    outcome = await world.run()
    assert outcome.published
    assert world.codes() == [ErrorCode.INSTAGRAM_PUBLISHING_LIMIT]
    assert [snooze for snooze in world.driver.snoozes if snooze.code == ErrorCode.OUTCOME_UNKNOWN] == []
    assert world.published() == 1


async def test_a_refused_token_at_the_call_goes_on_after_reconnecting(make_world: MakeWorld) -> None:
    world = make_world("photo")
    await world.run(until="ready")
    tokens = [each for each in (world.account.access_token, world.account.user_token) if each is not None]
    for token in tokens:
        world.meta.kill_token(token, "revoked")
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.META_TOKEN_INVALID
    for token in tokens:
        world.meta.kill_token(token, "valid")
    assert (await world.run()).published
    assert world.codes() == [ErrorCode.META_TOKEN_INVALID]
    assert world.published() == 1


@pytest.mark.parametrize(("code", "subcode"), [(24, 2207006), (-2, 2207020)])
async def test_a_container_instagram_does_not_know_is_made_anew_after_the_look(
    make_world: MakeWorld, code: int, subcode: int
) -> None:
    world = make_world("photo")
    world.fault("meta_error", code=code, subcode=subcode)
    assert (await world.run()).published
    assert world.published() == 1
    assert len(world.containers) == 2
    assert world.problems() == []


async def test_the_worker_dies_between_announcement_and_call(make_world: MakeWorld) -> None:
    """Nothing was sent, and the journal knows: no waiting for a post that cannot come."""
    world = make_world("photo")
    await world.run(until="ready")
    passed = len(world.driver.checkpoints)
    # begin, begun, and before the note that the call is about to be made
    world.driver.kill_at = passed + 3
    with pytest.raises(Killed) as killed:
        await world.run()
    assert str(killed.value) == "db save:publish"
    before = world.clock.now()
    assert (await world.run()).published
    assert world.clock.now() - before < timedelta(seconds=60)
    assert world.visible_calls() == 1


# Posts that look alike -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "kind"), [("photo", "image"), ("photo story", "story_image")])
async def test_a_post_that_was_there_before_is_never_taken_for_ours(
    make_world: MakeWorld, shape: str, kind: Any
) -> None:
    world = make_world(shape)
    caption = world.setup.caption
    world.instagram.add_foreign_post(world.account.instagram_id, kind=kind, caption=caption)
    world.drop_visible_answer()
    outcome = await world.run()
    assert outcome.result["platform_post_id"] == world.posts[0].media_id


async def test_posts_of_another_text_or_type_are_never_taken_for_ours(make_world: MakeWorld) -> None:
    world = make_world("photo")
    await world.run(until="ready")
    for kind, caption in (
        ("image", "Another"),
        ("reel", "A caption"),
        ("story_image", None),
        ("carousel", "A caption"),
    ):
        world.instagram.add_foreign_post(world.account.instagram_id, kind=kind, caption=caption)  # type: ignore[arg-type] # known kinds
    world.fault("drop_before")
    outcome = await world.run()
    assert outcome.published
    assert outcome.result["platform_post_id"] == world.posts[0].media_id
    assert world.published() == 1


async def test_published_but_two_posts_could_be_it(make_world: MakeWorld) -> None:
    """The container says so: it is out. Which one it is cannot be told, and nothing is sent again."""
    world = make_world("photo")
    await world.run(until="ready")
    world.instagram.add_foreign_post(world.account.instagram_id, caption="A caption")
    world.drop_visible_answer()
    outcome = await world.run()
    (container,) = world.containers
    assert outcome.published
    assert outcome.result["platform_post_id"] == container.container_id
    assert outcome.result["permalink"] == f"https://www.instagram.com/{world.account.username}/"
    assert outcome.result["code"] == ErrorCode.INSTAGRAM_MEDIA_ID_UNKNOWN
    assert world.driver.journal()["verify"]["verified"] is False
    assert world.driver.side_outcomes == {"first_comment": ErrorCode.INSTAGRAM_MEDIA_ID_UNKNOWN}
    assert world.visible_calls() == 1


@pytest.mark.parametrize("fault", [("status", {"status": 200, "json": {"data": []}}), ("meta_error", {"code": 1})])
async def test_published_but_not_in_the_listing(make_world: MakeWorld, fault: tuple[str, dict[str, Any]]) -> None:
    world = make_world("photo", handle=None)
    world.drop_visible_answer()
    await world.run(until="ready")
    world.sandbox.faults.add("instagram.media.list", fault[0], times=None, **fault[1])  # type: ignore[arg-type] # known kinds
    outcome = await world.run()
    assert outcome.published
    assert outcome.result["code"] == ErrorCode.INSTAGRAM_MEDIA_ID_UNKNOWN
    assert outcome.result["permalink"] is None
    assert world.visible_calls() == 1


async def test_not_published_and_two_posts_could_be_it_needs_a_person(make_world: MakeWorld) -> None:
    world = make_world("photo")
    await world.run(until="ready")
    for _ in range(2):
        world.instagram.add_foreign_post(world.account.instagram_id, caption="A caption")
    world.fault("drop_before")
    outcome = await world.run()
    assert outcome.held is not None
    assert world.visible_calls() == 1


# Nothing can be read ---------------------------------------------------------------------------------------------------


async def test_a_container_nobody_can_read_is_held_and_nothing_is_sent(make_world: MakeWorld) -> None:
    world = make_world("photo")
    world.drop_visible_answer()
    await world.run(until="ready")
    world.sandbox.faults.add("instagram.container.read", "meta_error", code=100, subcode=33, times=None)
    outcome = await world.run()
    assert outcome.held is not None
    waited = sum(snooze.seconds for snooze in world.driver.snoozes if snooze.code == ErrorCode.OUTCOME_UNKNOWN)
    assert 3500 <= waited <= 3700
    assert world.visible_calls() == 1
    # Released later, when Instagram is well again: found.
    world.sandbox.faults.clear()
    assert (await world.run()).published
    assert world.published() == 1


async def test_it_comes_back_in_time(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.drop_visible_answer()
    await world.run(until="ready")
    world.sandbox.faults.add("instagram.container.read", "meta_error", code=100, subcode=33, times=30)
    outcome = await world.run()
    assert outcome.published
    assert world.published() == world.visible_calls() == 1


async def test_a_change_of_mind_after_the_look_stops_the_next_call(make_world: MakeWorld) -> None:
    """Judged as not published, then the post appears before the call is repeated: the call is not made."""
    world = make_world("photo")
    world.instagram.configure(hidden_publish_seconds=SETTLING_SECONDS + 5)
    world.fault("meta_error", code=-1, process=True)
    outcome = await world.run()
    assert outcome.published
    assert world.published() == 1
    assert world.visible_calls() == 1
    assert world.problems() == []
