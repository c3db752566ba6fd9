"""`python -m bench.soak` (`make soak`): what a test cannot take the time for.

1. Kills: several workers on one database, many jobs, faults of the platforms at random, and SIGKILL to a random worker at random
   times, up to --kills of them or half of --minutes. Then everything settles, and it is counted on the platform: each post is there
   exactly once and its job published; or the job is held as outcome_unknown and the post is there at most once. Anything else, and
   any mistake the sandbox notes of itself, makes the exit code 1. The seed is printed; with the same seed the same
   things are tried, though never at the same instruction.
2. Videos: tests/acceptance/test_memory.py with larger files, as far as the minutes reach.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from orbyt_worker.local import ConnectedAccount, LocalDatabase, WorkerProcess
from orbyt_worker.sandbox.postgres import LocalPostgres
from orbyt_worker.sandbox.server import SandboxServer

ACCOUNTS = 12
# Videos to choose from; the larger ones have several chunks, and so several places to die at.
VIDEO_BYTES = (600_000, 9_000_000, 30_000_000)
# A dead worker is noticed in about a second and a half.
WORKER = {
    "lease_seconds": 1.5,
    "heartbeat_seconds": 0.4,
    "poll_seconds": 0.5,
    "upkeep_seconds": 1,
    "log_level": "warning",
    "youtube_uploads_per_day": 1_000_000,
    "youtube_units_per_day": 100_000_000,
}
BETWEEN_KILLS_SECONDS = 1.0
BETWEEN_FAULTS_SECONDS = 2.0
LOOK_SECONDS = 0.05
REPORT_SECONDS = 20.0
# After the last kill: no faults, no kills. Waits of an hour (a limit, an outage) are cut short as an admin would.
SETTLE_SECONDS_MAX = 300.0
NUDGE_SECONDS = 10.0
VIDEO_SIZES_GIB = (2, 10)
MINUTES_PER_GIB = 1.0

FAULTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *(
        (route, kind, options)
        for route in (
            "google.token",
            "youtube.videos.insert",
            "youtube.upload.status",
            "youtube.upload.put",
            "youtube.upload.final",
            "youtube.videos.list",
            "mux.stream.file",
        )
        for kind, options in (
            ("drop_before", {}),
            ("drop_after", {}),
            ("status", {"status": 503}),
            ("slow", {"seconds": 1.0}),
            ("hang", {"seconds": 2.0}),
            ("hang", {"seconds": 2.0, "process": True}),
        )
    ),
    ("youtube.videos.insert", "token_expired", {}),
    ("youtube.upload.put", "token_expired", {}),
    ("youtube.upload.put", "drop_during", {"bytes": 3_000_000}),
    ("youtube.upload.put", "partial_accept", {"bytes": 1_000_000}),
    ("youtube.upload.put", "expire_session", {}),
    ("youtube.upload.put", "new_location", {}),
    ("youtube.upload.final", "drop_during", {"bytes": 1_000}),
    ("youtube.upload.final", "finalise_later", {"seconds": 2.0}),
    ("youtube.video.created", "empty_items", {"seconds": 2.0}),
)


@dataclass(slots=True)
class Soak:
    """The kills, from the first to the count at the end."""

    database: LocalDatabase
    sandbox: SandboxServer
    directory: Path
    rng: random.Random
    workers: int
    jobs_waiting: int
    accounts: list[ConnectedAccount] = field(default_factory=list)
    media: list[str] = field(default_factory=list)
    running: list[WorkerProcess] = field(default_factory=list)
    titles: dict[UUID, str] = field(default_factory=dict)
    kills: int = 0
    faults: int = 0

    def prepare(self) -> None:
        state = self.sandbox.state
        state.youtube.configure(uploads_per_day=1_000_000, units_per_day=100_000_000)
        state.mux.configure(rate_limits=False)
        key = self.database.init_key()
        user_id = self.database.create_user("soak@example.com")
        self.accounts = [self.database.connect_youtube(self.sandbox, user_id, key) for _ in range(ACCOUNTS)]
        self.media = [state.mux.create_asset(size_bytes=size, seed=size).playback_id for size in VIDEO_BYTES]
        self.running = [self._worker(number) for number in range(self.workers)]

    def _worker(self, number: int) -> WorkerProcess:
        environment = self.database.worker_environment(self.sandbox, self.directory / f"spool-{number}", **WORKER)
        return WorkerProcess(environment, self.directory / f"worker-{number}.log")

    def kill_one(self) -> None:
        """SIGKILL to one worker; another one takes its place."""
        number = self.rng.randrange(self.workers)
        self.running[number].kill()
        self.running[number] = self._worker(number)
        self.kills += 1

    def add_fault(self) -> None:
        route, kind, options = self.rng.choice(FAULTS)
        self.sandbox.state.faults.add(route, kind, times=1, **options)  # type: ignore[arg-type]  # words of the table above
        self.faults += 1

    def top_up(self) -> None:
        """Always about as many jobs under way."""
        for _ in range(self.jobs_waiting - self.open_jobs()):
            account = self.rng.choice(self.accounts)
            title = f"Post {len(self.titles) + 1}"
            media = [{"type": "video", "url": f"mux://{self.rng.choice(self.media)}"}]
            options = {"privacy": self.rng.choice(("public", "unlisted"))}
            job_id = self.database.insert_job(
                account.user_id, account.account_id, title=title, media=media, options=options
            )
            self.titles[job_id] = title

    def open_jobs(self) -> int:
        rows = self.database.fetch(
            "select count(*) as jobs from orbyt.publish_jobs where status in ('queued', 'publishing')"
        )
        count: int = rows[0]["jobs"]
        return count

    def run(self, kills_max: int, seconds: float) -> None:
        """Until enough were killed or the time is up."""
        now = time.monotonic()
        ends_at, kill_at, fault_at, report_at = now + seconds, now + 5.0, now, now + REPORT_SECONDS
        while now < ends_at and self.kills < kills_max:
            self.top_up()
            if now >= kill_at:
                self.kill_one()
                kill_at = now + self.rng.expovariate(1 / BETWEEN_KILLS_SECONDS)
            if now >= fault_at:
                self.add_fault()
                fault_at = now + self.rng.expovariate(1 / BETWEEN_FAULTS_SECONDS)
            if now >= report_at:
                self.report()
                report_at = now + REPORT_SECONDS
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()

    def settle(self) -> None:
        """No more harm; wait until nothing is under way. Long waits after a failure are shortened, never those for a lost answer."""
        self.sandbox.state.faults.clear()
        ends_at = time.monotonic() + SETTLE_SECONDS_MAX
        while self.open_jobs() and time.monotonic() < ends_at:
            self.database.fetch("delete from orbyt_private.throttles")
            self.database.fetch("delete from orbyt_private.breakers")
            self.database.fetch("update orbyt_private.lanes set blocked_until = null where blocked_until is not null")
            self.database.fetch(
                "update orbyt.publish_jobs j set run_at = now() where j.status in ('queued', 'publishing') and j.run_at > now() + interval '5 seconds' "
                "and not exists (select from orbyt_private.job_steps s where s.job_id = j.job_id and s.state = 'begun')"
            )
            time.sleep(NUDGE_SECONDS)
            self.report()

    def report(self) -> None:
        rows = self.database.fetch(
            "select status::text, count(*) as jobs from orbyt.publish_jobs group by 1 order by 1"
        )
        shown = ", ".join(f"{row['jobs']} {row['status']}" for row in rows)
        print(f"{self.kills} kills, {self.faults} faults; jobs: {shown}", flush=True)

    def problems(self) -> list[str]:
        """What must not be."""
        found = []
        videos = Counter(video.title for video in self.sandbox.state.youtube.list_videos())
        ids = {video.video_id for video in self.sandbox.state.youtube.list_videos()}
        for row in self.database.fetch("select * from orbyt.publish_jobs"):
            title, status, count = row["title"], row["status"], videos[row["title"]]
            right = (status == "published" and count == 1 and row["platform_post_id"] in ids) or (
                status == "held" and row["error_code"] == "outcome_unknown" and count <= 1
            )
            if not right:
                events = self.database.fetch(
                    "select event, error_code, attempt from orbyt.job_events where job_id = %s order by event_id desc limit 12",
                    [row["job_id"]],
                )
                history = " ← ".join(
                    f"{each['event']}({each['attempt']}{', ' + each['error_code'] if each['error_code'] else ''})"
                    for each in events
                )
                found.append(f"{title}: {status} {row['error_code'] or ''}, {count} videos: {history}")
        if set(videos) - set(self.titles.values()):
            found.append("videos nobody asked for")
        return [*found, *self.sandbox.state.internal_errors()]

    def stop(self) -> None:
        for worker in self.running:
            worker.kill()


def kills(arguments: argparse.Namespace, seconds: float) -> bool:
    """True if all is as it should be."""
    print(
        f"seed {arguments.seed}: up to {arguments.kills} kills of {arguments.workers} workers in {seconds / 60:.0f} minutes"
    )
    with (
        LocalPostgres() as postgres,
        SandboxServer() as sandbox,
        tempfile.TemporaryDirectory(prefix="orbyt-soak-") as directory,
    ):
        database = LocalDatabase.create(postgres, "soak")
        soak = Soak(
            database, sandbox, Path(directory), random.Random(arguments.seed), arguments.workers, arguments.jobs
        )
        soak.prepare()
        try:
            soak.run(arguments.kills, seconds)
            soak.settle()
            problems = soak.problems()
            crashed = sum(
                log.read_text("utf-8", "replace").count("job.crashed") for log in Path(directory).glob("*.log")
            )
        finally:
            soak.stop()
        if crashed:
            problems.append(f"{crashed} attempts ended in a mistake of ours (job.crashed)")
    for problem in problems:
        print(f"WRONG: {problem}")
    print(f"{len(soak.titles)} jobs, {soak.kills} kills, {soak.faults} faults: {len(problems)} problems")
    return not problems


def videos(sizes_gib: list[int], deadline: float) -> bool:
    """The memory test with larger files, as long as there is time."""
    fine = True
    for size in sizes_gib:
        if time.monotonic() + 60 * MINUTES_PER_GIB * size > deadline:
            print(f"no time left for a video of {size} GiB")
            continue
        started = time.monotonic()
        environment = os.environ | {"ORBYT_TEST_VIDEO_BYTES": str(size * 1024**3)}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "tests/acceptance/test_memory.py"],
            env=environment,
            check=False,
        )
        print(
            f"a video of {size} GiB: {'fine' if done.returncode == 0 else 'WRONG'} after {time.monotonic() - started:.0f} s"
        )
        fine = fine and done.returncode == 0
    return fine


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long all of it may take, about")
    parser.add_argument("--kills", type=int, default=1_000, help="how many workers to kill at most")
    parser.add_argument("--workers", type=int, default=3, help="workers at the same time")
    parser.add_argument("--jobs", type=int, default=24, help="jobs under way at the same time")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of the random choices")
    parser.add_argument("--no-videos", action="store_true", help="kills only, for all of the minutes")
    parser.add_argument(
        "--videos-gib", type=int, nargs="*", default=list(VIDEO_SIZES_GIB), help="sizes of the large videos"
    )
    arguments = parser.parse_args()
    deadline = time.monotonic() + 60 * arguments.minutes
    share = 1.0 if arguments.no_videos else 0.5
    parts: list[Callable[[], bool]] = [lambda: kills(arguments, 60 * arguments.minutes * share)]
    if not arguments.no_videos:
        parts.append(lambda: videos(arguments.videos_gib, deadline))
    fine = [part() for part in parts]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
