"""What arrives on the Page, when, and what is refused before anything does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Job, Kind, MediaItem, Phase, Snooze
from orbyt_worker.platforms.base import Window
from orbyt_worker.platforms.facebook import Facebook
from orbyt_worker.platforms.facebook.ready import REELS
from orbyt_worker.platforms.facebook.upload import fingerprint
from tests.platforms.driver import Killed, make_job, make_post
from tests.platforms.facebook.world import SETUPS, FacebookWorld, photo

MakeWorld = Callable[..., FacebookWorld]


@pytest.mark.parametrize("shape", SETUPS)
async def test_what_was_meant_is_what_is_there(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape, title="A title")
    outcome = await world.run()
    assert outcome.published, outcome
    assert world.published() == 1
    [post] = world.posts
    setup, job = world.setup, world.driver.job.post
    assert post.kind == setup.shown_as
    assert post.message == setup.caption
    assert post.link == job.options.get("link")
    assert post.title == ("A title" if job.kind in (Kind.VIDEO, Kind.REEL) else None)
    assert [each.size_bytes for each in post.media] == [each.size_bytes for each in world.media]
    pictures = [f"Picture {index}" for index, each in enumerate(setup.media) if each == "image"]
    assert [each.alt_text for each in post.media if each.alt_text] == pictures
    assert post.comments == (["First!"] if "first_comment" in job.options else [])
    assert len(post.thumbnails) == setup.cover
    assert post.application_id == world.config.meta_app_id
    assert world.problems() == []


@pytest.mark.parametrize("shape", SETUPS)
async def test_id_at_once_and_the_address_read_back(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape)
    outcome = await world.run()
    assert world.published() == 1
    [post] = world.posts
    by_video = world.setup.shown_as in ("video", "reel")
    assert outcome.result["platform_post_id"] == (post.media[0].media_id if by_video else post.post_id)
    assert world.driver.saved.results["verify"]["verified"] is True
    assert world.driver.saved.results["verify"]["permalink"] == post.url


@pytest.mark.parametrize("shape", ["text", "photo", "video", "reel", "photo story", "video story"])
async def test_an_address_that_cannot_be_read_does_not_matter(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape)
    await world.run(until="publish")
    world.sandbox.faults.add("facebook.read", "meta_error", code=100, subcode=33, times=None)
    world.sandbox.faults.add("facebook.video.status", "meta_error", code=100, subcode=33, times=None)
    outcome = await world.run()
    assert outcome.published, outcome
    assert world.driver.saved.results["verify"]["verified"] is False
    assert (world.published(), world.visible_calls()) == (1, 1)


async def test_relative_addresses_are_completed(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.meta.configure(relative_permalinks=True, reel_finish_post_id=True)
    outcome = await world.run()
    video_id = outcome.result["platform_post_id"]
    assert world.driver.saved.results["verify"]["permalink"] == f"https://www.facebook.com/reel/{video_id}/"
    assert outcome.result["post_id"] == world.posts[0].post_id


async def test_story_ids_may_be_numbers(make_world: MakeWorld) -> None:
    for shape in ("photo story", "video story"):
        world = make_world(shape)
        world.meta.configure(numeric_story_ids=True)
        outcome = await world.run()
        assert world.published() == 1
        assert outcome.result["platform_post_id"] == world.posts[0].post_id


# Time ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["text", "carousel", "video", "reel", "photo story", "video story"])
async def test_prepared_ahead_and_published_on_time(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape, in_seconds=7200)
    publish_at = world.driver.job.post.publish_at
    assert (await world.run()).published
    [visible] = world.sandbox.requests.list(world.setup.visible)
    assert publish_at <= visible.at < publish_at + timedelta(seconds=1)
    if world.setup.media:
        first = world.sandbox.requests.list(world.setup.first_hidden)[0]
        assert publish_at - timedelta(seconds=3600) <= first.at < publish_at - timedelta(seconds=3590)


async def test_photos_that_became_too_old_are_sent_again(make_world: MakeWorld) -> None:
    world = make_world("carousel", in_seconds=3 * 86_400)
    await world.run(until="ready", give_up_after=timedelta(days=4))
    assert world.calls("facebook.photos") == 3
    world.clock.advance(25 * 3600)
    outcome = await world.run()
    assert outcome.published, outcome
    assert (world.published(), world.visible_calls(), world.calls("facebook.photos")) == (1, 1, 6)


@pytest.mark.parametrize("shape", ["video", "reel"])
async def test_uploads_that_became_too_old_are_made_anew(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape, in_seconds=86_400)
    await world.run(until="upload")
    world.clock.advance(25 * 3600)
    assert (await world.run()).published
    assert (world.published(), world.visible_calls(), world.calls(world.setup.first_hidden)) == (1, 1, 2)


def test_leads_and_lanes() -> None:
    platform = Facebook(prepare_lead_seconds=86_400, call_timeout_seconds=20)
    world_post = _post(Kind.REEL)
    plan = platform.plan(world_post.post, world_post.account)
    assert [step.name for step in plan] == ["upload", "cover", "ready", "publish", "verify", "first_comment"]
    assert [step.lead_seconds for step in plan] == [72_000, 72_000, 300, 0, None, None], "photos live for a day"
    assert [step.phase for step in plan if step.visible] == [Phase.PUBLISH]
    assert [step.call_timeout_seconds for step in plan if step.visible] == [20]
    assert [step.needs_media for step in plan] == [True, False, False, False, False, False]
    assert [step.side for step in plan] == [False] * 5 + [True]
    short = Facebook(prepare_lead_seconds=60).plan(world_post.post, world_post.account)
    assert [step.lead_seconds for step in short[:3]] == [60, 60, 60]


def test_what_can_be_proven() -> None:
    platform = Facebook()
    provable = {}
    for name, setup in SETUPS.items():
        job = _post(setup.kind, setup.media)
        [visible] = [step for step in platform.plan(job.post, job.account) if step.visible]
        provable[name] = visible.provable
    assert {name for name, each in provable.items() if each} == {"video", "reel", "video story"}
    assert len(platform.rules.unprovable) == 4


def _post(kind: Kind, types: tuple[str, ...] = ("video",)) -> Job:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    media = tuple(MediaItem(each, "https://example.com/a", cover_url="https://example.com/c") for each in types)  # type: ignore[arg-type] # literals
    return make_job(now, "facebook", "1", make_post(now, kind=kind, media=media, options={"first_comment": "x"}))


# Refused before anything is visible -------------------------------------------------------------------------------------


async def test_a_carousel_with_one_bad_child_names_it(make_world: MakeWorld) -> None:
    world = make_world("carousel")
    world.sandbox.faults.add("facebook.photos", "meta_error", code=100, subcode=1366046, after=1)
    outcome = await world.run()
    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.field) == (ErrorCode.FACEBOOK_FILE_REFUSED, "media[1]")
    assert (world.published(), world.visible_calls()) == (0, 0)


async def test_a_carousel_goes_on_with_the_child_that_failed(make_world: MakeWorld) -> None:
    world = make_world("carousel")
    world.sandbox.faults.add("facebook.photos", "status", status=503, after=1, times=2)
    outcome = await world.run()
    assert outcome.published, outcome
    assert world.calls("facebook.photos") == 5
    assert [len(post.media) for post in world.posts] == [3]


async def test_another_file_is_never_mixed_with_what_was_sent(make_world: MakeWorld) -> None:
    world = make_world("carousel")
    await world.run(until="upload")
    world.driver.saved.states["upload"] = "saved"
    world.media[1] = photo(123_456, etag='"other"')
    world.driver.media = world.media
    assert (await world.run()).published
    assert [each.size_bytes for each in world.posts[0].media] == [each.size_bytes for each in world.media]


async def test_the_31st_reel_waits(make_world: MakeWorld) -> None:
    world = make_world("reel")
    bucket = world.driver.platform.buckets[REELS]
    assert (bucket.units_max, bucket.window, bucket.key) == (30, Window.ROLLING_DAY, None)
    world.driver.quota.closed[REELS] = bucket.exhausted_code
    await world.driver.run(until="upload")
    with pytest.raises(Snooze) as waiting:
        await world.driver.attempt()
    assert waiting.value.code == str(ErrorCode.FACEBOOK_REELS_PER_DAY_EXHAUSTED)
    assert (world.published(), world.visible_calls()) == (0, 0)
    world.driver.quota.closed.clear()
    assert (await world.run()).published
    assert world.driver.quota.reserved == [REELS]


async def test_a_reel_that_is_tried_twice_counts_once(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.fault("drop_before")
    assert (await world.run()).published
    assert world.driver.quota.reserved == [REELS]


@pytest.mark.parametrize("shape", ["text", "carousel", "reel"])
async def test_a_dead_token_holds_the_post_unpublished(make_world: MakeWorld, shape: str) -> None:
    world = make_world(shape)
    world.meta.kill_user(world.page.user_id, "password_changed")
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.META_SESSION_ENDED
    assert world.driver.refreshes == 0, "a page token cannot be renewed"
    assert world.published() == 0


@pytest.mark.parametrize("shape", ["photo", "reel"])
async def test_a_role_that_was_lost_after_preparing(make_world: MakeWorld, shape: str) -> None:
    """The visible call itself is refused: nothing is in doubt, and after reconnecting it goes out once."""
    world = make_world(shape)
    await world.run(until="ready")
    world.meta.set_scopes(world.page.page_token, ("pages_show_list", "pages_read_engagement"))
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.META_PERMISSION_MISSING
    assert outcome.failure.platform_code == "200"
    assert world.published() == 0
    world.meta.set_scopes(world.page.page_token, ("pages_show_list", "pages_read_engagement", "pages_manage_posts"))
    assert (await world.run()).published
    assert world.published() == 1


# Covers ----------------------------------------------------------------------------------------------------------------


async def test_a_cover_that_facebook_does_not_take_is_a_remark(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.sandbox.faults.add("facebook.thumbnails", "meta_error", code=100)
    outcome = await world.run()
    assert outcome.published, outcome
    assert world.driver.saved.results["cover"]["code"] == "facebook_cover_refused"
    assert world.published() == 1


async def test_a_cover_waits_for_a_throttle(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.sandbox.faults.add("facebook.thumbnails", "throttle", code=80001, minutes=1)
    assert (await world.run()).published
    assert len(world.posts[0].thumbnails) == 1


# The first comment ------------------------------------------------------------------------------------------------------

COMMENTED = "text with a first comment"


async def test_a_comment_whose_answer_was_lost_is_found(make_world: MakeWorld) -> None:
    world = make_world(COMMENTED)
    world.sandbox.faults.add("facebook.comments", "drop_after")
    assert (await world.run()).published
    assert world.driver.side_outcomes == {"first_comment": None}
    assert world.posts[0].comments == ["First!"]
    assert world.calls("facebook.comments") == 1


async def test_a_comment_that_cannot_be_found_is_not_made_again(make_world: MakeWorld) -> None:
    world = make_world(COMMENTED)
    world.sandbox.faults.add("facebook.comments", "drop_before")
    assert (await world.run()).published
    assert world.driver.side_outcomes == {"first_comment": "side_task_unknown"}
    assert world.calls("facebook.comments") == 1
    assert world.calls("facebook.read.comments") >= 2


async def test_a_refused_comment_is_made_later(make_world: MakeWorld) -> None:
    world = make_world(COMMENTED)
    world.sandbox.faults.add("facebook.comments", "throttle", code=32, minutes=1)
    assert (await world.run()).published
    assert world.driver.side_outcomes == {"first_comment": None}
    assert world.posts[0].comments == ["First!"]


async def test_a_comment_that_is_not_allowed_leaves_the_post_alone(make_world: MakeWorld) -> None:
    world = make_world(COMMENTED)
    world.sandbox.faults.add("facebook.comments", "meta_error", code=200, times=None)
    outcome = await world.run()
    assert outcome.published, outcome
    assert world.driver.side_outcomes == {"first_comment": "side_task_not_allowed"}
    assert world.published() == 1


async def test_somebody_elses_comment_is_not_ours(make_world: MakeWorld) -> None:
    """The same words by the page under another post, or by a person, are not the comment that was lost."""
    world = make_world(COMMENTED)
    world.sandbox.faults.add("facebook.comments", "drop_before")
    rows = {
        "data": [
            {"id": "1", "message": "First!", "from": {"id": "42", "name": "Somebody"}},
            {"id": "2", "message": "First!"},
        ]
    }
    world.sandbox.faults.add("facebook.read.comments", "status", status=200, json=rows, times=None)
    assert (await world.run()).published
    assert world.driver.side_outcomes == {"first_comment": "side_task_unknown"}


async def test_killed_anywhere_with_a_lost_comment_it_is_there_at_most_once(make_world: MakeWorld) -> None:
    world = make_world(COMMENTED)
    world.sandbox.faults.add("facebook.comments", "drop_after")
    assert (await world.run()).published
    for nth in range(1, len(world.driver.checkpoints) + 1):
        world = make_world(COMMENTED)
        world.sandbox.faults.add("facebook.comments", "drop_after")
        world.driver.kill_at = nth
        with pytest.raises(Killed):
            await world.run()
        outcome = await world.run()
        if outcome.held is None:
            assert outcome.published
            assert len(world.posts[0].comments) == 1 or world.driver.side_outcomes["first_comment"] is not None
        assert all(len(post.comments) <= 1 for post in world.posts)


async def test_a_comment_under_a_video_goes_to_its_post(make_world: MakeWorld) -> None:
    world = make_world("video", options={"first_comment": "First!"})
    assert (await world.run()).published
    assert world.posts[0].comments == ["First!"]
    [call] = world.sandbox.requests.list("facebook.comments")
    assert world.posts[0].post_id in call.path


def test_a_page_token_is_not_renewed() -> None:
    assert not Facebook().renews("facebook")


def test_edited_rows_do_not_use_old_uploads() -> None:
    job = _post(Kind.PHOTO, ("image",))
    item = job.post.media[0]
    other = replace(job.post, media=(replace(item, alt_text="Another text"),))
    assert fingerprint(job.post) != fingerprint(other)
