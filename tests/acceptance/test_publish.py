"""Rows in, rows out: the worker as a process, real PostgreSQL, real HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.fix_world import World


def test_a_row_becomes_a_public_video(world: World) -> None:
    account = world.channel(title="My channel")
    job_id = world.insert(
        account,
        title="Title ✓",
        caption="Line one\nline two",
        media=[world.video(3_000_000)],
        options={
            "tags": ["one", "two words"],
            "category_id": "22",
            "made_for_kids": False,
            "notify_subscribers": False,
        },
    )
    with world.worker() as worker:
        row = world.wait_for(job_id, "published", "failed", "held")
        assert worker.stop() == 0
    (video,) = world.videos(account)
    assert (row["status"], row["progress"], row["error_code"]) == ("published", 100, None)
    assert row["platform_post_id"] == video.video_id
    assert row["permalink"] == f"https://www.youtube.com/watch?v={video.video_id}"
    assert (video.title, video.description, video.tags, video.category_id) == (
        "Title ✓",
        "Line one\nline two",
        ["one", "two words"],
        "22",
    )
    assert (video.privacy, video.notify_subscribers, video.size_bytes) == ("public", False, 3_000_000)
    events = world.events(job_id)
    assert [event for event in events if event != "claimed"] == ["inserted", "begun", "confirmed", "published"]
    assert events.count("claimed") == row["attempt"]


def test_a_scheduled_post_waits_prepared_and_goes_out_on_time(world: World) -> None:
    account = world.channel()
    with world.worker():
        world.wait_until(world.registered, timeout_seconds=60)
        publish_at = datetime.now(UTC) + timedelta(seconds=8)
        job_id = world.insert(account, title="Later", media=[world.video()], publish_at=publish_at)
        row = world.wait_for(job_id, "published", "failed", "held")
    (video,) = world.videos(account)
    assert video.public_since is not None
    late = (video.public_since - publish_at).total_seconds()
    assert 0 <= late < 2
    assert row["published_at"] >= publish_at


def test_a_post_for_tomorrow_is_looked_at_now_and_left_editable(world: World) -> None:
    account = world.channel()
    job_id = world.insert(
        account, title="Tomorrow", media=[world.video()], publish_at=datetime.now(UTC) + timedelta(days=1)
    )
    with world.worker():
        row = world.wait_for(job_id, until=lambda row: row["status"] == "queued" and row["attempt"] == 1)
        assert row["run_at"] > datetime.now(UTC) + timedelta(hours=12)
    world.database.as_user(world.user_id, "update orbyt.publish_jobs set title = 'Changed' where job_id = %s", [job_id])
    assert world.job(job_id)["title"] == "Changed"
    assert world.videos(account) == []


def test_a_bad_file_for_tomorrow_fails_today(world: World) -> None:
    account = world.channel()
    job_id = world.insert(
        account,
        title="Tomorrow",
        media=[{"type": "video", "url": f"{world.sandbox.url}/media/zero.mp4"}],
        publish_at=datetime.now(UTC) + timedelta(days=1),
    )
    with world.worker():
        row = world.wait_for(job_id, "failed")
    assert row["error_code"] == "media_empty"


def test_two_jobs_of_one_video_download_it_once(world: World) -> None:
    first, second = world.channel(), world.channel()
    video = world.video(12_000_000)
    jobs = [world.insert(account, title="Same", media=[video]) for account in (first, second)]
    with world.worker():
        for job_id in jobs:
            assert world.wait_for(job_id, "published", "failed", "held")["status"] == "published"
    assert len({each.sha256 for account in (first, second) for each in world.videos(account)}) == 1
    sent = sum(entry.bytes_sent for entry in world.sandbox.state.requests.list("mux.stream"))
    assert sent < 2 * 12_000_000


def test_a_lost_grant_holds_the_jobs_and_reconnecting_releases_them(world: World) -> None:
    account = world.channel()
    world.sandbox.state.google.kill_grant(refresh_token=account.tokens["refresh_token"])
    job_id = world.insert(account, title="Waiting", media=[world.video()])
    other = world.insert(
        account, title="Later", media=[world.video()], publish_at=datetime.now(UTC) + timedelta(days=2)
    )
    with world.worker():
        row = world.wait_for(job_id, "held")
        assert (row["error_code"], row["needs_reauth"]) == ("google_grant_invalid", True)
        assert world.wait_for(other, "held")["error_code"] == "account_needs_reauth"
        state = world.database.fetch(
            "select status, error_code from orbyt.accounts where account_id = %s", [account.account_id]
        )
        assert state == [{"status": "needs_reauth", "error_code": "google_grant_invalid"}]
        sub = world.sandbox.state.google.accounts()[0].sub
        token = world.sandbox.state.google.issue_refresh_token(sub, channel_id=account.platform_account_id)
        world.database.store_tokens(account.account_id, world.key, {"refresh_token": token})
        assert world.wait_for(job_id, "published", "failed")["status"] == "published"
        assert world.wait_for(other, "queued")["error_code"] is None
    assert len(world.videos(account)) == 1


def test_cancel_while_uploading_leaves_nothing_on_youtube(world: World) -> None:
    account = world.channel()
    world.sandbox.state.faults.add("youtube.upload.put", "slow", seconds=3, times=20)
    job_id = world.insert(account, title="Stop", media=[world.video(40_000_000)])
    with world.worker():
        world.wait_for(job_id, until=lambda row: row["stage"] == "uploading")
        world.database.as_user(world.user_id, "select orbyt.cancel_job(%s)", [job_id])
        assert world.wait_for(job_id, "cancelled")["status"] == "cancelled"
    assert world.videos(account) == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/media/zero.mp4", "media_empty"),
        ("/media/html-as-mp4.mp4", "media_not_media"),
        ("/media/playlist.m3u8", "media_is_playlist"),
        ("/media/missing.mp4", "media_not_found"),
        ("/media/cut.mp4", "media_truncated"),
        ("/media/duration-40h.mp4", "media_too_long"),
        ("/media/photo.jpg", "media_no_video_stream"),
    ],
)
def test_bad_files_end_in_their_code_in_one_attempt(world: World, path: str, code: str) -> None:
    account = world.channel()
    job_id = world.insert(account, title="Bad", media=[{"type": "video", "url": world.sandbox.url + path}])
    with world.worker():
        row = world.wait_for(job_id, "failed", "published", "held")
    assert (row["status"], row["error_code"]) == ("failed", code)
    assert row["attempt"] <= 3
    assert world.videos(account) == []
    assert world.sandbox.state.youtube.list_uploads(account.platform_account_id) == []


def test_a_file_replaced_before_its_time_is_looked_at_again(world: World) -> None:
    """Found in review: the first look was remembered, so the job failed on the new file for ever."""
    account = world.channel()
    world.sandbox.state.media.add("mine.mp4", size_bytes=400_000)
    with world.worker(prepare_lead_seconds=0, youtube_finish_lead_seconds=0):
        world.wait_until(world.registered, timeout_seconds=60)
        job_id = world.insert(
            account,
            title="Replaced",
            media=[{"type": "video", "url": world.sandbox.state.media.url("mine.mp4")}],
            publish_at=datetime.now(UTC) + timedelta(seconds=5),
        )
        world.wait_for(job_id, until=lambda row: row["status"] == "queued" and row["attempt"] == 1)
        world.sandbox.state.media.add("mine.mp4", size_bytes=500_000)
        row = world.wait_for(job_id, "published", "failed", "held", timeout_seconds=60)
    assert (row["status"], row["error_code"]) == ("published", None)
    assert [video.size_bytes for video in world.videos(account)] == [500_000]


def test_a_platform_that_is_down_is_not_hammered(world: World) -> None:
    """Found in review: a visible call answered 503 was looked after and repeated every five seconds, without growing."""
    account = world.channel()
    world.sandbox.state.faults.add("youtube.upload.final", "status", status=503, times=None)
    job_id = world.insert(account, title="Down", media=[world.video()])
    with world.worker():
        row = world.wait_for(
            job_id, until=lambda row: row["error_code"] == "platform_unavailable" and row["run_at"] is not None
        )
        first = row["run_at"]
        row = world.wait_for(
            job_id,
            until=lambda row: row["run_at"] is not None and row["run_at"] > first and row["error_code"] is not None,
        )
    assert row["status"] == "publishing"
    assert world.database.fetch("select count(*) as n from orbyt_private.outage_reports") == [{"n": 1}]
    assert world.videos(account) == []
