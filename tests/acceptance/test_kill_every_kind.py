"""SIGKILL around the visible call of every kind of post; restart; count on the platform: exactly once, or held where nobody can tell.

`test_kill_anywhere.py` dies at every place of one road, and the platforms' contract tests at every place of every road, without
a process. Here real processes die in each of the three states that a post can be left in: announced and not sent, sent and not
confirmed, confirmed and not finished. ORBYT_KILL_ALL=1 (`make kills`) takes every place of every road.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orbyt_worker.local import LocalDatabase
from orbyt_worker.sandbox.postgres import PostgresServer
from tests.acceptance.kinds import CASES, Case, published
from tests.acceptance.test_kill_anywhere import Place, places
from tests.fix_world import World

AT_ONCE = 4
FIRST_SECONDS_MAX = 40.0
SETTLE_SECONDS_MAX = 90.0
EVERYWHERE = os.environ.get("ORBYT_KILL_ALL", "") == "1"


def around_the_visible_call(recorded: list[Place]) -> list[Place]:
    """After the announcement, after each call that follows it (the last is the visible one), after the confirmation."""
    announced = recorded.index(Place("db.after", "begin_publish", 1))
    confirmed = recorded.index(Place("db.after", "confirm_publish", 1))
    calls = [place for place in recorded[announced:confirmed] if place.kind == "http.after"]
    return [recorded[announced], *calls, recorded[confirmed]]


@pytest.mark.slow
@pytest.mark.timeout(1800 if EVERYWHERE else 400)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_killed_around_the_visible_call_the_post_is_there_once_or_held(
    world: World, postgres: PostgresServer, world_template: tuple[str, bytes], tmp_path: Path, case: Case
) -> None:
    recorded = tmp_path / "checkpoints"
    account = case.account(world)
    columns = case.columns(world)
    job_id = world.insert(account, **columns)
    with world.worker(name="recording", sandbox_checkpoint_log=recorded) as worker:
        world.wait_for(job_id, "published", timeout_seconds=SETTLE_SECONDS_MAX)
        worker.stop()
    passed = places(recorded)
    todo = passed if EVERYWHERE else around_the_visible_call(passed)
    assert len(todo) >= 3, passed

    def die_at(number: int, place: Place) -> str | None:
        """What went wrong, if anything."""
        template, key = world_template
        directory = tmp_path / f"at-{number}"
        directory.mkdir()
        database = f"kill_{abs(hash(case.name)) % 10**6}_{number}"
        one = World(LocalDatabase.create(postgres, database, template=template), world.sandbox, key, directory)
        try:
            account = case.account(one)
            job_id = one.insert(account, **columns)
            with one.worker(name="first", sandbox_kill_at=place) as first:
                code = first.wait(FIRST_SECONDS_MAX)
                # How often a poll happens differs from run to run; what is tested by default happens once, always.
                if code != -signal.SIGKILL and not (EVERYWHERE and code is None):
                    return f"{place}: the first worker ended with {code}: {first.log_text()[-2000:]}"
            with one.worker(name="second"):
                row = one.wait_for(job_id, "published", "failed", "held", timeout_seconds=SETTLE_SECONDS_MAX)
            count = len(published(one, account))
            held = (row["status"], row["error_code"]) == ("held", "outcome_unknown")
            if count == 1 and row["status"] == "published":
                return None
            if held and not case.provable and count <= 1:
                return None
            return f"{place}: {row['status']} {row['error_code']}, {count} posts: {one.events(job_id)}"
        finally:
            postgres.drop_database(database)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        problems = [problem for problem in pool.map(die_at, range(len(todo)), todo) if problem is not None]
    assert problems == []
