"""Waiting costs no slot: 500 reels whose containers take ten minutes wait on one worker with 8 slots."""

from __future__ import annotations

import json
from uuid import UUID

import psycopg
import pytest

from tests.acceptance.kinds import published, upright
from tests.fix_world import World

REELS = 500
ACCOUNTS = 25
PROCESSING_SECONDS = 600.0


def insert_reels(world: World, account_id: UUID, media: dict[str, str], count: int) -> None:
    """As an app does it: one insert of many rows."""
    rows = [{"caption": f"Reel {number} of {account_id}"} for number in range(count)]
    world.database.as_user(
        world.user_id,
        "insert into orbyt.publish_jobs (account_id, kind, caption, media)"
        " select %s, 'reel', r.caption, %s::jsonb from jsonb_to_recordset(%s::jsonb) as r (caption text) returning 1",
        [account_id, json.dumps([media]), json.dumps(rows)],
    )


def wait_for_count(world: World, statement: str, count: int, timeout_seconds: float) -> None:
    """Until the query counts so many rows; it is asked whenever a job changes."""
    with psycopg.connect(world.database.url(), autocommit=True) as connection:
        connection.execute("listen tests")
        found = -1
        while found != count:
            row = connection.execute(statement.encode()).fetchone()
            assert row is not None
            found = row[0]
            if found != count:
                told = list(connection.notifies(timeout=timeout_seconds, stop_after=1))
                assert told, f"{found} of {count}, and nothing changes: {statement}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_500_reels_whose_containers_take_ten_minutes_wait_on_one_worker_with_8_slots(world: World) -> None:
    state = world.sandbox.state
    state.meta.instagram.configure(processing_seconds=PROCESSING_SECONDS, check_content=False)
    state.meta.configure(proof_seconds_max=10 * PROCESSING_SECONDS)
    # By address: the video is not uploaded 500 times, Instagram fetches it.
    accounts = [world.connect("instagram", login="instagram") for _ in range(ACCOUNTS)]
    video = upright(world)
    with world.worker(background_slots=8, publish_slots=8, upkeep_seconds=5) as worker:
        for account in accounts:
            insert_reels(world, account.account_id, video, REELS // ACCOUNTS)
        wait_for_count(
            world,
            "select count(*) from orbyt_private.job_steps where step = 'container_0' and state = 'recorded'",
            REELS,
            60,
        )
        # All of them wait for Instagram now, and somebody else is served at once.
        page = world.connect("facebook")
        job_id = world.insert(page, kind="text", title=None, caption="Not held up")
        row = world.wait_for(job_id, "published", "failed", "held", timeout_seconds=20)
        assert (row["status"], row["error_code"]) == ("published", None)
        assert state.meta.instagram.count() == 0
        # Ten minutes pass: at Instagram, and for the queue.
        state.clock.advance(PROCESSING_SECONDS)
        world.database.fetch(
            "update orbyt.publish_jobs set run_at = now() where status = 'publishing' and stage = 'processing'"
        )
        wait_for_count(world, "select count(*) from orbyt.publish_jobs where status = 'published'", REELS + 1, 60)
        assert worker.stop() == 0
    assert sum(len(published(world, account)) for account in accounts) == REELS
    assert state.meta.instagram.double_publishes() == []
