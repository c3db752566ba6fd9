"""Facebook and Instagram by a real worker: one download for four accounts, converted pictures, side tasks, limits, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.kinds import image, published, upright
from tests.fix_world import World


def side_tasks(world: World) -> dict[str, tuple[str, str | None]]:
    rows = world.database.fetch("select task, status::text, error_code from orbyt.side_tasks")
    return {row["task"]: (row["status"], row["error_code"]) for row in rows}


def throttles(world: World) -> list[tuple[str, str, str]]:
    rows = world.database.fetch("select scope, code, phase::text from orbyt_private.throttles order by scope, key")
    return [(row["scope"], row["code"], row["phase"]) for row in rows]


def meta_posts(world: World) -> int:
    meta = world.sandbox.state.meta
    return int(meta.facebook.count()) + int(meta.instagram.count())


@pytest.mark.slow
def test_one_video_to_four_accounts_is_fetched_once(world: World) -> None:
    video = upright(world)
    accounts = [
        world.connect("facebook"),
        world.connect("instagram", login="facebook"),
        world.connect("youtube"),
        world.connect("facebook", name="Second Page"),
    ]
    jobs = [
        world.insert(account, kind="reel", title="Everywhere", caption="Everywhere", media=[video])
        for account in accounts
    ]
    with world.worker():
        rows = [world.wait_for(job_id, "published", "failed", "held", timeout_seconds=90) for job_id in jobs]
    assert [row["status"] for row in rows] == ["published"] * 4, [row["error_message"] for row in rows]
    assert [len(published(world, account)) for account in accounts] == [1, 1, 1, 1]
    fetched = [each for each in world.sandbox.state.requests.list("mux.stream") if each.path.endswith(".mp4")]
    # Inspecting and the last chunk for YouTube read ranges; the whole file is asked for once.
    assert sum(1 for each in fetched if each.range is None) == 1


def test_a_png_becomes_a_jpeg_in_a_private_bucket_and_is_cleared_away(world: World) -> None:
    account = world.connect("instagram")
    world.sandbox.state.media.add("picture.png", content="png", width=1200, height=900)
    job_id = world.insert(account, kind="photo", title=None, caption="Converted", media=[image(world, "picture.png")])
    with world.worker():
        row = world.wait_for(job_id, "published", "failed", "held")
        assert (row["status"], row["error_code"]) == ("published", None)
        (hosted,) = world.sandbox.state.storage.list_objects("orbyt-media")
        assert hosted.path.startswith(f"{job_id}/0-")
        # An hour later nobody fetches it any more.
        world.database.fetch("update orbyt_private.hosted_media set created_at = now() - interval '2 hours'")
        world.database.fetch("alter table orbyt.publish_jobs disable trigger user")
        world.database.fetch("update orbyt.publish_jobs set updated_at = now() - interval '2 hours'")
        world.database.fetch("alter table orbyt.publish_jobs enable trigger user")
        world.wait_until(lambda: not world.sandbox.state.storage.list_objects("orbyt-media"))
    assert world.database.fetch("select path from orbyt_private.hosted_media") == []
    log = (world.directory / "worker.log").read_text()
    assert "token=" not in log


@pytest.mark.parametrize(
    ("options", "outcome"),
    [({}, ("failed", "media_ratio_not_supported")), ({"image_fit": "pad"}, ("published", None))],
    ids=["refused", "padded"],
)
def test_a_picture_is_never_cropped_silently(
    world: World, options: dict[str, Any], outcome: tuple[str, str | None]
) -> None:
    account = world.connect("instagram")
    world.sandbox.state.media.add("wide.jpg", content="jpeg", width=1600, height=400)
    job_id = world.insert(
        account, kind="photo", title=None, caption="Wide", media=[image(world, "wide.jpg")], options=options
    )
    with world.worker():
        row = world.wait_for(job_id, "published", "failed", "held")
    assert (row["status"], row["error_code"]) == outcome
    if outcome[0] == "failed":
        assert "4.00" in row["error_message"]
        assert meta_posts(world) == 0


@pytest.mark.parametrize("platform", ["facebook", "instagram"])
def test_a_carousel_with_one_bad_child_is_refused_before_anything_is_visible_and_names_it(
    world: World, platform: str
) -> None:
    account = world.connect(platform)
    media = [image(world), image(world, "html.mp4"), image(world)]
    job_id = world.insert(account, kind="carousel", title=None, caption="Three", media=media)
    with world.worker():
        row = world.wait_for(job_id, "published", "failed", "held")
    assert row["status"] == "failed"
    events = world.database.fetch(
        "select detail from orbyt.job_events where job_id = %s and event = 'failed'", [job_id]
    )
    assert events[0]["detail"]["field"] == "media[1]"
    assert meta_posts(world) == 0
    assert world.sandbox.state.requests.count("facebook.feed") == 0
    assert world.sandbox.state.requests.count("instagram.media.publish") == 0


def test_a_child_that_instagram_refuses_fails_the_carousel_and_names_it(world: World) -> None:
    account = world.connect("instagram")
    world.sandbox.state.meta.instagram.script_next(times=1)
    world.sandbox.state.meta.instagram.script_next(times=1, error_subcode=2207026)
    media = [image(world), upright(world), image(world)]
    job_id = world.insert(account, kind="carousel", title=None, caption="Three", media=media)
    with world.worker():
        row = world.wait_for(job_id, "published", "failed", "held", timeout_seconds=80)
    assert row["status"] == "failed"
    assert "media[1]" in str(row["error_message"]) or "media[1]" in str(
        world.database.fetch("select detail from orbyt.job_events where event = 'failed'")
    )
    assert meta_posts(world) == 0


def test_a_first_comment_has_an_outcome_of_its_own(world: World) -> None:
    page = world.connect("facebook")
    job_id = world.insert(page, kind="text", title=None, caption="Hello", options={"first_comment": "First!"})
    with world.worker():
        row = world.wait_for(job_id, "published", "failed", "held")
    assert (row["status"], row["error_code"]) == ("published", None)
    assert side_tasks(world) == {"first_comment": ("done", None)}
    (post,) = world.sandbox.state.meta.facebook.published(page.platform_account_id)
    assert post.comments == ["First!"]


def test_a_first_comment_that_is_refused_leaves_the_post_published(world: World) -> None:
    page = world.connect("facebook")
    world.sandbox.state.faults.add("facebook.comments", "meta_error", code=100, times=None)
    job_id = world.insert(page, kind="text", title=None, caption="Hello", options={"first_comment": "First!"})
    with world.worker():
        row = world.wait_for(job_id, "published", "failed", "held")
    assert (row["status"], row["error_code"]) == ("published", None)
    status, code = side_tasks(world)["first_comment"]
    assert status == "failed"
    assert code is not None
    accounts = world.database.fetch("select status::text, error_code from orbyt.accounts")
    assert accounts == [{"status": "active", "error_code": None}]


def test_the_lost_answer_to_a_first_comment_does_not_make_two(world: World) -> None:
    page = world.connect("facebook")
    world.sandbox.state.faults.add("facebook.comments", "drop_after", method="POST")
    job_id = world.insert(page, kind="text", title=None, caption="Hello", options={"first_comment": "First!"})
    with world.worker():
        world.wait_for(job_id, "published", "failed", "held", timeout_seconds=80)
    assert side_tasks(world) == {"first_comment": ("done", None)}
    (post,) = world.sandbox.state.meta.facebook.published(page.platform_account_id)
    assert post.comments == ["First!"]


def test_usage_near_the_limit_stops_the_account_before_it_is_refused(world: World) -> None:
    page = world.connect("facebook")
    world.sandbox.state.meta.set_usage("pages", 96, owner=page.platform_account_id)
    first = world.insert(page, kind="photo", title=None, caption="One", media=[image(world)])
    with world.worker():
        row = world.wait_for(first, until=lambda job: job["error_code"] is not None)
    assert row["status"] == "publishing"
    (pause,) = throttles(world)
    assert pause[0] == "account"
    assert pause[2] == "publish"
    assert meta_posts(world) == 0


def test_an_app_wide_limit_pauses_both_platforms_and_a_page_limit_one_account(world: World) -> None:
    page = world.connect("facebook")
    world.sandbox.state.faults.add("facebook.feed", "throttle", code=4, times=1)
    job_id = world.insert(page, kind="text", title=None, caption="Hello")
    with world.worker():
        world.wait_for(job_id, until=lambda job: job["error_code"] is not None)
    assert [each[0] for each in throttles(world)] == ["platform", "platform"]
    paused = world.database.fetch("select platform from orbyt.platforms where paused_until > now() order by platform")
    assert [each["platform"] for each in paused] == ["facebook", "instagram"]


def test_an_action_that_instagram_blocks_is_held_and_pauses_the_account(world: World) -> None:
    account = world.connect("instagram")
    world.sandbox.state.faults.add("instagram.media.publish", "meta_error", code=4, subcode=2207051)
    job_id = world.insert(account, kind="photo", title=None, caption="Blocked", media=[image(world)])
    with world.worker():
        row = world.wait_for(job_id, "published", "failed", "held", timeout_seconds=100)
    assert (row["status"], row["error_code"]) == ("held", "instagram_action_blocked")
    assert throttles(world) == [("account", "instagram_action_blocked", "publish")]
    assert meta_posts(world) == 0


def test_an_action_that_was_called_blocked_with_the_post_live_is_adopted(world: World) -> None:
    account = world.connect("instagram")
    world.sandbox.state.faults.add("instagram.media.publish", "meta_error", code=4, subcode=2207051, process=True)
    job_id = world.insert(account, kind="photo", title=None, caption="Live", media=[image(world)])
    with world.worker():
        row = world.wait_for(job_id, "published", "failed", "held", timeout_seconds=100)
    assert (row["status"], row["error_code"]) == ("published", None)
    assert len(published(world, account)) == 1


def test_a_dead_page_token_holds_the_job_and_a_reconnect_releases_it(world: World) -> None:
    page = world.connect("facebook")
    world.sandbox.state.meta.kill_token(page.tokens["access_token"], "password_changed")
    job_id = world.insert(page, kind="text", title=None, caption="Hello")
    with world.worker():
        row = world.wait_for(job_id, "held", "failed", "published")
        assert (row["status"], row["needs_reauth"]) == ("held", True)
        assert world.database.fetch("select status::text from orbyt.accounts") == [{"status": "needs_reauth"}]
        token = world.sandbox.state.meta.issue_page_token(page.platform_account_id)
        world.database.store_tokens(page.account_id, world.key, {"access_token": token})
        row = world.wait_for(job_id, "published", "failed", timeout_seconds=60)
    assert row["status"] == "published"
    assert meta_posts(world) == 1


def test_a_reel_that_facebook_takes_and_cannot_process_is_failed_and_a_retry_begins_anew(world: World) -> None:
    """Its `finish` was answered with success, which is only an acknowledgement: nobody ever saw the reel."""
    page = world.connect("facebook")
    world.sandbox.state.faults.add("facebook.video.finished", "phase_error", code=1363127)
    job_id = world.insert(page, kind="reel", title=None, caption="Too small, it says", media=[upright(world)])
    with world.worker():
        row = world.wait_for(job_id, "published", "failed", "held")
        assert row["status"] == "failed"
        assert (row["platform_post_id"], row["permalink"]) == (None, None)
        assert published(world, page) == []
        world.database.as_user(world.user_id, "select orbyt.retry_job(%s)", [job_id])
        row = world.wait_for(job_id, "published", "held")
    assert row["status"] == "published"
    assert len(published(world, page)) == 1
