"""Many jobs due at one second: how late the visible calls are, through the real worker."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from bench.place import Place
from bench.queues import due_part, late_row
from bench.table import Row
from orbyt_worker.crypto import Keyring
from orbyt_worker.local import KEY_ID, LocalDatabase, WorkerProcess
from orbyt_worker.sandbox.server import SandboxServer

SETTLE_SECONDS_MAX = 180.0
LOOK_SECONDS = 0.2
# What stands in `media`: the instant platform never reads it, but a YouTube post without a video is refused at the door.
MEDIA = [{"type": "video", "url": "mux://abcdefghijklmnop"}]


def connected_accounts(database: LocalDatabase, user_id: UUID, count: int) -> list[UUID]:
    """Accounts with fresh access tokens: connecting and refreshing happened long before the minute that is measured."""
    keyring = Keyring({KEY_ID: database.init_key()}, active=KEY_ID)
    accounts = []
    with database.connect() as connection:
        for number in range(count):
            row = connection.execute(
                "select orbyt_private.connect_account(%s, 'youtube', %s, 'Bench', null, '{}', 'google') as account_id",
                [user_id, f"UC{number:022}"],
            ).fetchone()
            assert row is not None
            account_id = row["account_id"]
            secrets = []
            for kind in ("refresh_token", "access_token"):
                sealed = keyring.seal(f"bench-{kind}", owner_id=account_id, kind=kind)
                blob = base64.b64encode(sealed.blob).decode()
                secrets.append({"kind": kind, "sealed": blob, "key_id": sealed.key_id, "expires_in_seconds": 36_000})
            connection.execute("select orbyt_private.store_grant(%s, %s)", [account_id, Jsonb(secrets)])
            accounts.append(account_id)
    return accounts


def wait_until_settled(database: LocalDatabase, jobs: int, due: datetime) -> None:
    """Until no job waits any more. Raises RuntimeError if one was not published."""
    deadline = time.monotonic() + (due - datetime.now(UTC)).total_seconds() + SETTLE_SECONDS_MAX
    with database.connect() as connection:
        while time.monotonic() < deadline:
            rows = connection.execute(
                "select status::text, count(*) as jobs from orbyt.publish_jobs group by 1"
            ).fetchall()
            found = {row["status"]: row["jobs"] for row in rows}
            if found.get("published", 0) == jobs:
                return
            if any(found.get(status) for status in ("failed", "held")):
                break
            time.sleep(LOOK_SECONDS)
    raise RuntimeError(f"jobs by status: {found}, all {jobs} should be published")


def instant(place: Place, accounts: int, lead_seconds: float, workers: int) -> Row:
    """Through a platform that answers at once: what is ours of being late."""
    database = place.orbyt_database()
    user_id = database.create_user("bench@example.com")
    ids = connected_accounts(database, user_id, accounts)
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=lead_seconds)
    database.as_user(
        user_id,
        "insert into orbyt.publish_jobs (account_id, kind, title, media, publish_at) select unnest(%s::uuid[]), 'video', 'A post', %s, %s",
        [ids, Jsonb(MEDIA), due],
    )
    # Hidden work is done by then; here it is the look at the media that is skipped.
    database.fetch(
        "insert into orbyt_private.job_steps (job_id, step, state, attempt, result) "
        "select job_id, 'inspect', 'recorded', 0, '{\"media\": []}' from orbyt.publish_jobs"
    )
    with SandboxServer() as sandbox, tempfile.TemporaryDirectory(prefix="orbyt-bench-") as directory:
        calls = Path(directory) / "calls"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ORBYT_")},
            **database.worker_environment(sandbox, Path(directory) / "spool", log_level="warning"),
            "BENCH_CALLS": str(calls),
        }
        with contextlib.ExitStack() as stack:
            for number in range(workers):
                own = environment | {"ORBYT_SPOOL_DIR": str(Path(directory) / f"spool-{number}")}
                process = stack.enter_context(subprocess.Popen([sys.executable, "-m", "bench.instant"], env=own))
                stack.callback(process.terminate)
            wait_until_settled(database, accounts, due)
        lines = [line.split() for line in calls.read_text().splitlines()]
    if len({job for job, _ in lines}) != len(lines) or len(lines) != accounts:
        raise RuntimeError(f"{len(lines)} calls for {accounts} jobs")
    place.drop(database.name)
    late = [float(at) - due.timestamp() for _, at in lines]
    return late_row(due_part(accounts), f"Orbyt, {workers} worker{'s' if workers > 1 else ''}, instant platform", late)


def sandbox(place: Place, accounts: int, lead_seconds: float) -> Row:
    """The whole road to the simulated YouTube, small videos, one worker. Unlisted: those appear by our call, not by YouTube's clock."""
    database = place.orbyt_database()
    user_id = database.create_user("bench@example.com")
    key = database.init_key()
    with SandboxServer() as server, tempfile.TemporaryDirectory(prefix="orbyt-bench-") as directory:
        server.state.youtube.configure(uploads_per_day=100_000, units_per_day=10_000_000)
        ids = [database.connect_youtube(server, user_id, key).account_id for _ in range(accounts)]
        playback_id = server.state.mux.create_asset(size_bytes=600_000).playback_id
        due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=lead_seconds)
        content: dict[str, Any] = {"options": {"privacy": "unlisted"}, "publish_at": due}
        for account_id in ids:
            database.insert_job(
                user_id, account_id, media=[{"type": "video", "url": f"mux://{playback_id}"}], **content
            )
        environment = database.worker_environment(
            server,
            Path(directory) / "spool",
            log_level="warning",
            youtube_uploads_per_day=100_000,
            youtube_units_per_day=10_000_000,
        )
        with WorkerProcess(environment, Path(directory) / "worker.log") as worker:
            wait_until_settled(database, accounts, due)
            worker.stop()
        videos = server.state.youtube.list_videos()
    if len(videos) != accounts:
        raise RuntimeError(f"{len(videos)} videos for {accounts} jobs")
    place.drop(database.name)
    late = [(video.created_at - due).total_seconds() for video in videos]
    return late_row(due_part(accounts), "Orbyt, 1 worker, sandbox YouTube", late, "both share the machine")


def punctual(place: Place, accounts: int, lead_seconds: float, workers: Sequence[int]) -> list[Row]:
    return [instant(place, accounts, lead_seconds, count) for count in workers]
