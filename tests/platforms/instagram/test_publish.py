"""The road of a post to Instagram: what is sent, by which way, when, and what comes of it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import MediaItem, Phase, Snooze, Stage
from orbyt_worker.platforms.instagram import Instagram
from orbyt_worker.platforms.instagram.publish import PREPARE_LEAD_SECONDS_MAX
from orbyt_worker.sandbox import media_files
from tests.platforms.driver import MemoryMedia
from tests.platforms.instagram.world import LOGINS, SETUPS, InstagramWorld, photo, vertical

MakeWorld = Callable[..., InstagramWorld]
VIDEO = MediaItem("video", "https://example.com/v.mp4")


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("shape", SETUPS)
async def test_it_comes_out_as_what_it_is(make_world: MakeWorld, shape: str, login: str) -> None:
    world = make_world(shape, login)
    outcome = await world.run()
    (post,) = world.posts
    assert outcome.published
    assert outcome.result["platform_post_id"] == post.media_id
    assert post.kind == SETUPS[shape].shown_as
    assert post.caption == SETUPS[shape].caption
    verified = world.driver.journal()["verify"]
    assert verified == {"verified": True, "permalink": post.permalink}
    assert world.problems() == []
    assert world.codes() == []


async def test_videos_go_by_the_way_of_the_login(make_world: MakeWorld) -> None:
    with_page = make_world("reel", "facebook")
    await with_page.run()
    assert with_page.calls("meta.rupload.instagram") == 1
    (post,) = with_page.posts
    assert post.file is not None
    assert (post.file.source, post.file.size_bytes) == ("upload", with_page.media[0].size_bytes)
    assert with_page.sandbox.requests.count("media") == 1  # the cover
    without = make_world("reel", "instagram")
    await without.run()
    assert without.calls("meta.rupload.instagram") == 0
    (post,) = without.posts
    assert post.file is not None
    assert post.file.source == "url"
    assert without.media[0].given == []


async def test_what_is_said_of_a_photo(make_world: MakeWorld) -> None:
    options = {
        "collaborators": ["@one", "two"],
        "location_id": "213385402",
        "user_tags": [{"username": "@friend", "x": 0, "y": 1}],
        "image_fit": "pad",
    }
    world = make_world("photo", caption=" #hashtag & more \n", options=options)
    await world.run()
    (post,) = world.posts
    assert post.fields == {
        "caption": "#hashtag & more",
        "alt_text": "What is seen",
        "collaborators": ["one", "two"],
        "location_id": "213385402",
        "user_tags": [{"username": "friend", "x": 0.0, "y": 1.0}],
    }


async def test_what_is_said_of_a_reel(make_world: MakeWorld) -> None:
    item = replace(VIDEO, cover_offset_ms=0)
    options = {"audio_name": "Rain", "share_to_feed": False, "user_tags": [{"username": "friend"}]}
    world = make_world("video", options=options)
    world.driver.job = replace(world.driver.job, post=replace(world.driver.job.post, media=(item,)))
    await world.run()
    (post,) = world.posts
    assert post.fields == {
        "caption": "A caption",
        "audio_name": "Rain",
        "share_to_feed": False,
        "thumb_offset": 0,
        "user_tags": [{"username": "friend"}],
    }


async def test_a_reel_is_shared_to_the_feed_unless_told_otherwise_and_its_cover_is_fetched(
    make_world: MakeWorld,
) -> None:
    world = make_world("reel")
    await world.run()
    (post,) = world.posts
    assert post.fields["share_to_feed"] is True
    assert "thumb_offset" not in post.fields
    assert post.cover is not None


async def test_a_carousel_says_everything_once_and_tags_on_their_items(make_world: MakeWorld) -> None:
    tags = [{"username": "second", "media": 1}, {"username": "first", "x": 0.5, "y": 0.5}]
    world = make_world("carousel", options={"user_tags": tags, "collaborators": ["one"], "location_id": "1"})
    await world.run()
    (post,) = world.posts
    assert [child.kind for child in post.children] == ["carousel_image", "carousel_video", "carousel_image"]
    assert post.fields["caption"] == "A caption"
    assert post.fields["collaborators"] == ["one"]
    assert [child.fields.get("user_tags") for child in post.children] == [
        [{"username": "first", "x": 0.5, "y": 0.5}],
        [{"username": "second"}],
        None,
    ]
    assert all("caption" not in child.fields and "collaborators" not in child.fields for child in post.children)


async def test_nothing_is_made_before_its_time_and_published_at_it(make_world: MakeWorld) -> None:
    world = make_world("photo", in_seconds=7200)
    publish_at = world.driver.job.post.publish_at
    with pytest.raises(Snooze):
        await world.driver.attempt()
    assert world.containers == []
    await world.run()
    (container,), (post,) = world.containers, world.posts
    assert timedelta(0) <= publish_at - container.created_at <= timedelta(seconds=3600)
    assert timedelta(0) <= post.created_at - publish_at < timedelta(seconds=1)


def test_containers_are_made_while_they_will_still_live(make_world: MakeWorld) -> None:
    world = make_world("carousel")
    plan = Instagram(prepare_lead_seconds=86_400).plan(world.driver.job.post, world.driver.job.account)
    visible = next(step for step in plan if step.visible)
    hidden = plan[: plan.index(visible)]
    assert max(step.lead_seconds or 0.0 for step in hidden) == PREPARE_LEAD_SECONDS_MAX
    assert visible.lead_seconds == 0.0
    assert visible.provable
    assert visible.phase is hidden[-1].phase is Phase.PUBLISH
    assert [step.name for step in plan if step.needs_media] == ["upload_1"]


@pytest.mark.parametrize("login", LOGINS)
async def test_a_container_that_takes_ten_minutes_holds_no_slot(make_world: MakeWorld, login: str) -> None:
    world = make_world("reel", login)
    world.instagram.script_next(processing_seconds=600)
    outcome = await world.run()
    assert outcome.published
    waits = [snooze.seconds for snooze in world.driver.snoozes]
    assert all(snooze.stage is Stage.PROCESSING and snooze.code is None for snooze in world.driver.snoozes)
    assert waits[:5] == [5.0, 15.0, 15.0, 15.0, 15.0]
    assert max(waits) == 60.0
    assert 600 <= sum(waits) <= 660
    assert len(world.containers) == 1


async def test_beyond_half_an_hour_the_container_stays_and_the_user_is_told(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.instagram.script_next(processing_seconds=7200)
    assert (await world.run()).published
    assert len(world.containers) == 1
    late = [snooze for snooze in world.driver.snoozes if snooze.code == ErrorCode.INSTAGRAM_CONTAINER_NOT_READY]
    assert {snooze.seconds for snooze in late} == {300.0}


async def test_an_upload_that_breaks_off_goes_on_where_instagram_stands(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.sandbox.faults.add("meta.rupload.instagram", "drop_during", bytes=1_000_000)
    assert (await world.run()).published
    (post,) = world.posts
    assert post.file is not None
    assert post.file.size_bytes == world.media[0].size_bytes
    first, second = world.media[0].given
    assert first == (0, world.media[0].size_bytes)
    assert second[0] >= 1_000_000
    assert second[0] + second[1] == world.media[0].size_bytes
    assert len(world.containers) == 1


async def test_a_full_account_waits_and_nothing_is_sent(make_world: MakeWorld) -> None:
    world = make_world("photo")
    world.instagram.configure(quota_total=1)
    world.instagram.add_foreign_post(world.account.instagram_id)  # does not count
    await world.run()
    again = world.driver
    again.saved.states.clear()
    again.saved.results.clear()
    again.job = replace(again.job, post=replace(again.job.post, caption="Another"))
    await world.run(until="await_containers")
    with pytest.raises(Snooze) as waiting:
        await again.attempt()
    assert waiting.value.code == ErrorCode.INSTAGRAM_PUBLISHING_LIMIT
    assert waiting.value.detail == "1 of 1 in 24 hours"
    assert world.visible_calls() == 1
    # A day later there is room again; the container has expired by then and is made anew.
    world.clock.advance(25 * 3600)
    assert (await world.run()).published
    assert [post.caption for post in world.posts] == ["A caption", "Another"]
    assert world.visible_calls() == 2


async def test_an_unreadable_limit_stops_nobody(make_world: MakeWorld) -> None:
    world = make_world("photo")
    world.sandbox.faults.add("instagram.limit", "meta_error", code=1, times=None)
    assert (await world.run()).published
    assert world.driver.journal()["ready"]["total"] == 50


async def test_each_container_is_counted_once(make_world: MakeWorld) -> None:
    world = make_world("carousel")
    await world.run()
    assert world.driver.quota.reserved == ["instagram_containers"] * 4
    assert {once for _, once in world.driver.quota.uses} == {
        "container-0-first",
        "container-1-first",
        "container-2-first",
        "container-carousel-first",
    }


@dataclass(slots=True)
class RealMedia(MemoryMedia):
    """A file of real bytes."""

    data: bytes = b""

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        yield self.data[start : start + length]


@pytest.mark.parametrize("login", LOGINS)
async def test_real_files_pass_the_look_of_instagram_itself(make_world: MakeWorld, login: str) -> None:
    """JPEG, ratio, codecs, duration, moov, for every item of a carousel, by both ways of a video."""
    data = media_files.video(seconds=3.2, width=180, height=320)
    video = RealMedia(replace(vertical(len(data)).facts, duration_seconds=3.2), len(data), data=data)
    world = make_world("carousel", login, media=[photo(), video, photo()])
    world.instagram.configure(check_content=True)
    world.sandbox.media.add_body("1.jpg", media_files.literal(data, "video/mp4"))
    assert (await world.run()).published
    (post,) = world.posts
    files = [child.file for child in post.children if child.file is not None]
    assert [(file.width, file.height) for file in files] == [(400, 400), (180, 320), (400, 400)]
    assert files[1].sha256 == hashlib.sha256(data).hexdigest()


# Two tokens ------------------------------------------------------------------------------------------------------------


async def test_a_page_token_that_cannot_read_does_not_matter(make_world: MakeWorld) -> None:
    world = make_world("reel")
    world.instagram.configure(page_token_reads_fail=True)
    assert (await world.run()).published
    assert world.driver.journal()["verify"]["verified"] is True


@pytest.mark.parametrize("state", ["expired", "revoked"])
async def test_a_dead_user_token_does_not_matter(make_world: MakeWorld, state: Any) -> None:
    world = make_world("reel")
    assert world.account.user_token is not None
    world.meta.kill_token(world.account.user_token, state)
    assert (await world.run()).published
    assert world.codes() == []


@pytest.mark.parametrize("login", LOGINS)
async def test_a_dead_grant_asks_for_its_user(make_world: MakeWorld, login: str) -> None:
    world = make_world("photo", login)
    for token in filter(None, (world.account.access_token, world.account.user_token)):
        world.meta.kill_token(token, "password_changed")
    outcome = await world.run()
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.META_SESSION_ENDED
    assert world.published() == 0


# After the visible call ------------------------------------------------------------------------------------------------


async def test_a_post_that_cannot_be_read_back_is_published_with_the_profile_as_its_address(
    make_world: MakeWorld,
) -> None:
    world = make_world("photo")
    world.sandbox.faults.add("instagram.media.read", "meta_error", code=100, subcode=33, times=None)
    outcome = await world.run()
    assert outcome.published
    verified = world.driver.journal()["verify"]
    assert verified == {"verified": False, "permalink": f"https://www.instagram.com/{world.account.username}/"}


async def test_a_post_of_another_kind_than_was_sent_is_told(make_world: MakeWorld) -> None:
    world = make_world("photo story")
    row = {
        "id": "1",
        "media_product_type": "FEED",
        "media_type": "IMAGE",
        "permalink": "https://www.instagram.com/p/x/",
    }
    world.sandbox.faults.add("instagram.media.read", "status", status=200, json=row)
    assert (await world.run()).published
    assert world.driver.journal()["verify"]["code"] == ErrorCode.INSTAGRAM_KIND_DIFFERS


@pytest.mark.parametrize("login", LOGINS)
async def test_the_first_comment_is_written(make_world: MakeWorld, login: str) -> None:
    world = make_world("photo", login)
    assert (await world.run()).published
    (post,) = world.posts
    assert [comment.text for comment in post.comments] == ["First!"]
    assert world.driver.side_outcomes == {"first_comment": None}


async def test_a_comment_whose_answer_is_lost_is_found(make_world: MakeWorld) -> None:
    world = make_world("photo")
    world.sandbox.faults.add("instagram.comments", "drop_after", method="POST")
    assert (await world.run()).published
    assert [comment.text for comment in world.posts[0].comments] == ["First!"]
    assert world.driver.side_outcomes == {"first_comment": None}


async def test_a_comment_that_may_be_there_is_not_written_twice(make_world: MakeWorld) -> None:
    world = make_world("photo")
    world.sandbox.faults.add("instagram.comments", "drop_before", method="POST")
    assert (await world.run()).published
    assert world.posts[0].comments == []
    assert world.driver.side_outcomes == {"first_comment": ErrorCode.INSTAGRAM_COMMENT_UNCLEAR}


async def test_a_refused_comment_may_be_tried_again(make_world: MakeWorld) -> None:
    world = make_world("photo")
    world.sandbox.faults.add("instagram.comments", "meta_error", code=80002, method="POST")
    assert (await world.run()).published
    assert [comment.text for comment in world.posts[0].comments] == ["First!"]
    assert world.driver.side_outcomes == {"first_comment": None}


async def test_only_posts_have_a_comment_step(make_world: MakeWorld) -> None:
    driver = make_world("photo", options={"first_comment": " "}).driver
    assert "first_comment" not in [step.name for step in driver.plan()]
