"""SIGKILL before and after every external call and every statement of the YouTube road; restart; count on the platform.

The list of places is not written down: a first run records every checkpoint it passes (`Runtime.checkpoint`, which surrounds
each HTTP call and each database statement), and one run per checkpoint then dies exactly there. Whatever is added to the road
later is killed too.
"""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from orbyt_worker.local import ConnectedAccount, LocalDatabase
from orbyt_worker.sandbox.postgres import PostgresServer
from tests.fix_world import MORTAL, World

# Two cores: more processes at once only wait for each other.
AT_ONCE = 4
# Parts of the list, so that several test processes share the work; each records its own run.
PARTS = 4
FIRST_SECONDS_MAX = 25.0
# Polling repeats; the first few passes of each kind of checkpoint are the ones that differ.
REPEATS_MAX = 3
# The worker's life around the job, and upkeep that runs beside it: dying there is the same as dying between two statements.
BESIDE = (
    "queue_facts",
    "tend_accounts",
    "expire_jobs",
    "prune",
    "accounts_to_refresh",
    "next_due_in_seconds",
    "heartbeat",
    "use_key",
    "expire_connects",
    "accounts_to_check",
    "accounts_to_revoke",
)


@dataclass(frozen=True)
class Place:
    """The `nth` time that a worker passes a checkpoint."""

    kind: str
    name: str
    nth: int

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {self.nth}"


def places(log: Path) -> list[Place]:
    """The checkpoints of the recorded run worth dying at."""
    passed = [line.split(" ") for line in log.read_text().splitlines()]
    return [Place(kind, name, int(nth)) for kind, name, nth in passed if int(nth) <= REPEATS_MAX and name not in BESIDE]


# Larger than one chunk (8 MiB), so that the upload has a middle.
SIZE_BYTES = 9_000_000


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_anywhere_the_video_is_there_exactly_once(
    world: World, postgres: PostgresServer, world_template: tuple[str, bytes], tmp_path: Path, part: int
) -> None:
    video = world.video(SIZE_BYTES)

    def insert(one: World, account: ConnectedAccount) -> UUID:
        return one.insert(account, title="Kill me", media=[video])

    recorded = tmp_path / "checkpoints"
    account = world.channel()
    with world.worker(name="recording", **MORTAL, sandbox_checkpoint_log=recorded) as worker:
        world.wait_for(insert(world, account), "published")
        worker.stop()
    todo = places(recorded)
    names = {place.name for place in todo}
    assert {
        "youtube.videos.insert",
        "youtube.upload.finish",
        "google.token.refresh",
        "begin_publish",
        "confirm_publish",
        "succeed_job",
    } <= names
    assert len(todo) > 40
    mine = list(enumerate(todo))[part::PARTS]

    def die_at(number: int, place: Place) -> str | None:
        """What went wrong, if anything."""
        template, key = world_template
        directory = tmp_path / f"at-{number}"
        directory.mkdir()
        name = f"kill_{part}_{number}"
        one = World(LocalDatabase.create(postgres, name, template=template), world.sandbox, key, directory)
        try:
            account = one.channel()
            job_id = insert(one, account)
            with one.worker(name="first", **MORTAL, sandbox_kill_at=place) as first:
                # None: this run passed the place less often than the recorded one (polls differ); it dies where it is.
                code = first.wait(FIRST_SECONDS_MAX)
                if code not in (None, -signal.SIGKILL):
                    return f"{place}: the first worker ended with {code}: {first.log_text()[-2000:]}"
            with one.worker(name="second", **MORTAL):
                row = one.wait_for(job_id, "published", "failed", "held", timeout_seconds=60)
            videos = one.videos(account)
            if row["status"] != "published" or len(videos) != 1:
                return f"{place}: {row['status']} {row['error_code']}, {len(videos)} videos: {one.events(job_id)}"
            if videos[0].size_bytes != SIZE_BYTES or row["platform_post_id"] != videos[0].video_id:
                return f"{place}: {videos[0].size_bytes} bytes, {row['platform_post_id']} != {videos[0].video_id}"
            return None
        finally:
            postgres.drop_database(name)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        problems = [problem for problem in pool.map(die_at, *zip(*mine, strict=True)) if problem is not None]
    assert problems == []
