"""Several workers, and workers that stop, freeze or lose the database: one video, nothing lost."""

from __future__ import annotations

import signal
import socket
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.fix_world import World

SIZE_BYTES = 30_000_000


def uploading(row: dict[str, object]) -> bool:
    return row["stage"] == "uploading"


@pytest.mark.slow
def test_a_frozen_worker_wakes_up_and_changes_nothing(world: World) -> None:
    account = world.channel()
    world.sandbox.state.faults.add("youtube.upload.put", "slow", seconds=1.0, times=4)
    job_id = world.insert(account, title="Frozen", media=[world.video(SIZE_BYTES)])
    with world.program(name="first") as first:
        world.wait_for(job_id, until=uploading)
        first.signal(signal.SIGSTOP)
        with world.program(name="second"):
            row = world.wait_for(job_id, "published", "failed", "held", timeout_seconds=60)
            assert row["status"] == "published"
            first.signal(signal.SIGCONT)
            # It finds out with its next heartbeat, and takes new work again.
            other = world.insert(account, title="Next", media=[world.video()])
            assert world.wait_for(other, "published")["status"] == "published"
        first.signal(signal.SIGTERM)
        assert first.wait(20) == 0
        assert "job.lost" in first.log_text() or "job.stale" in first.log_text()
    assert world.job(job_id)["version"] >= row["version"]
    assert [video.title for video in world.videos(account)] == ["Frozen", "Next"]


@pytest.mark.slow
def test_sigterm_gives_the_job_back_at_once_and_the_next_worker_continues(world: World) -> None:
    account = world.channel()
    world.sandbox.state.faults.add("youtube.upload.put", "slow", seconds=0.5, times=None)
    job_id = world.insert(account, title="Handed over", media=[world.video(SIZE_BYTES)])
    with world.program(name="first", lease_seconds=60, heartbeat_seconds=15) as first:
        world.wait_for(job_id, until=lambda row: uploading(row) and row["progress"] > 20)
        started = time.monotonic()
        first.signal(signal.SIGTERM)
        assert first.wait(20) == 0
        assert time.monotonic() - started < 10
    row = world.job(job_id)
    assert (row["status"], row["attempt"]) == ("publishing", 1)
    # The lease was 60 s: only giving back lets the next worker begin now.
    sessions = len(world.sandbox.state.youtube.list_uploads(account.platform_account_id))
    with world.program(name="second", lease_seconds=60, heartbeat_seconds=15):
        assert world.wait_for(job_id, "published", "failed", "held")["status"] == "published"
    assert len(world.sandbox.state.youtube.list_uploads(account.platform_account_id)) == sessions == 1
    assert len(world.videos(account)) == 1


@pytest.mark.slow
def test_a_second_signal_exits_at_once_and_loses_nothing(world: World) -> None:
    account = world.channel()
    world.sandbox.state.faults.add("youtube.upload.put", "slow", seconds=2, times=3)
    job_id = world.insert(account, title="Twice", media=[world.video(SIZE_BYTES)])
    with world.program(name="first") as first:
        world.wait_for(job_id, until=uploading)
        first.signal(signal.SIGTERM)
        first.signal(signal.SIGTERM)
        assert first.wait(10) in (0, 1)
    with world.program(name="second"):
        assert world.wait_for(job_id, "published", "failed", "held", timeout_seconds=60)["status"] == "published"
    assert len(world.videos(account)) == 1


@pytest.mark.slow
def test_losing_every_database_connection_loses_nothing(world: World) -> None:
    account = world.channel()
    world.sandbox.state.faults.add("youtube.upload.put", "slow", seconds=0.5, times=6)
    job_id = world.insert(account, title="Cut off", media=[world.video(SIZE_BYTES)])
    with world.program() as worker:
        world.wait_for(job_id, until=uploading)
        for _ in range(3):
            world.database.fetch(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'orbyt_worker' and datname = current_database()"
            )
            version = world.job(job_id)["version"]
            world.wait_for(job_id, "published", until=lambda row, seen=version: row["version"] > seen)  # type: ignore[misc]
        assert world.wait_for(job_id, "published", "failed", "held", timeout_seconds=60)["status"] == "published"
        assert worker.stop() == 0
    assert len(world.videos(account)) == 1


@pytest.mark.slow
def test_three_workers_share_many_jobs(world: World) -> None:
    accounts = [world.channel() for _ in range(6)]
    video = world.video()
    jobs = [world.insert(account, title=f"Post {number}", media=[video]) for account in accounts for number in range(3)]
    with world.program(name="one"), world.program(name="two"), world.program(name="three"):
        for job_id in jobs:
            assert world.wait_for(job_id, "published", "failed", "held", timeout_seconds=90)["status"] == "published"
    for account in accounts:
        assert sorted(each.title for each in world.videos(account)) == ["Post 0", "Post 1", "Post 2"]


@pytest.mark.slow
def test_without_listen_everything_still_works(world: World) -> None:
    """Polling alone is correct: notifications switched off in the database."""
    world.database.fetch("update orbyt_private.settings set value = 'false' where name = 'notify'")
    account = world.channel()
    with world.program() as worker:
        first = world.insert(
            account, title="Polled", media=[world.video()], publish_at=datetime.now(UTC) - timedelta(seconds=1)
        )
        assert world.wait_for(first, "published", "failed", "held")["status"] == "published"
        assert worker.stop() == 0


def test_a_worker_without_its_database_is_alive_not_ready_and_stops_when_told(world: World) -> None:
    """Found with the container: SIGTERM was ignored and /healthz not served until the database came up."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with world.program(
        database_url="postgresql://orbyt_worker@127.0.0.1:1/none?connect_timeout=1", http_port=port
    ) as worker:
        deadline = time.monotonic() + 60
        while "database.unreachable" not in worker.log_text():
            assert time.monotonic() < deadline, worker.log_text()
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 503
        worker.signal(signal.SIGTERM)
        assert worker.wait(15) == 0
