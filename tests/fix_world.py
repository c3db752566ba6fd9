"""A world for acceptance tests: a database with everything in it, the simulated platforms, worker processes.

Nothing waits by sleeping: a trigger that exists only in the tests' database notifies every change of a job, a session or an
account, and `wait_for` listens.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from orbyt_worker.local import ConnectedAccount, LocalDatabase, OAuthConnection, WorkerProcess
from orbyt_worker.sandbox.postgres import PostgresServer, free_port
from orbyt_worker.sandbox.server import SandboxServer
from tests.forked_worker import ForkedWorker

TELL = """
create function public.tell_tests() returns trigger language plpgsql as $$
begin
  perform pg_notify('tests', tg_table_name);
  return null;
end $$;
create trigger tell_tests after insert or update on orbyt.publish_jobs for each row execute function public.tell_tests();
create trigger tell_tests after insert or update on orbyt.connect_sessions for each row execute function public.tell_tests();
create trigger tell_tests after insert or update on orbyt.accounts for each row execute function public.tell_tests();
create trigger tell_tests after delete on orbyt_private.account_secrets for each statement execute function public.tell_tests();
"""
# Quick workers. A visible call may take no longer than the lease, so that is long enough for a busy machine.
QUICK = {
    "lease_seconds": 6,
    "heartbeat_seconds": 1.5,
    "poll_seconds": 0.3,
    "upkeep_seconds": 1,
    "shutdown_seconds": 5,
    # Logins are for the tests about them: a worker that finishes them makes a key first, which takes half a second of CPU.
    "connect_slots": 0,
    # What Meta would be given minutes for.
    "meta_settling_seconds": 4,
}

# For workers that die by the dozen: the next one takes over after a second and a half.
MORTAL = {"lease_seconds": 1.5, "heartbeat_seconds": 0.4}


class World:
    """One test's database and platforms."""

    def __init__(self, database: LocalDatabase, sandbox: SandboxServer, key: bytes, directory: Path) -> None:
        self.database = database
        self.sandbox = sandbox
        self.key = key
        self.directory = directory
        self.user_id = database.create_user(f"{uuid.uuid4().hex[:8]}@example.com")

    def channel(self, **account: Any) -> ConnectedAccount:
        """A connected YouTube channel of this test's user."""
        return self.database.connect_youtube(self.sandbox, self.user_id, self.key, **account)

    def connect(self, platform: str, *, login: str = "", **account: Any) -> ConnectedAccount:
        """A connected account of this test's user on any platform; login "facebook" or "instagram" for Instagram."""
        given = (self.sandbox, self.user_id, self.key)
        if platform == "youtube":
            return self.database.connect_youtube(*given, **account)
        if platform == "facebook":
            return self.database.connect_facebook(*given, **account)
        by: Literal["facebook", "instagram"] = "instagram" if login == "instagram" else "facebook"
        return self.database.connect_instagram(*given, login=by, **account)

    def video(self, size_bytes: int = 700_000, **asset: Any) -> dict[str, str]:
        """A media item: a real MP4 on the simulated Mux."""
        made = self.sandbox.state.mux.create_asset(size_bytes=size_bytes, **asset)
        return {"type": "video", "url": f"https://stream.mux.com/{made.playback_id}.m3u8"}

    def insert(self, account: ConnectedAccount, **columns: Any) -> UUID:
        return self.database.insert_job(account.user_id, account.account_id, **columns)

    def environment(self, **settings: Any) -> dict[str, str]:
        """Of a quick worker; further settings by name."""
        return self.database.worker_environment(self.sandbox, self.directory / "spool", **{**QUICK, **settings})

    def worker(self, *, name: str = "worker", **settings: Any) -> ForkedWorker:
        """A quick worker in a process of its own; further settings by name."""
        return ForkedWorker(self.environment(**settings), self.directory / f"{name}.log")

    def program(self, *, name: str = "worker", **settings: Any) -> WorkerProcess:
        """The same started as the program it is, for tests of that: it takes seconds of CPU to import everything."""
        return WorkerProcess(self.environment(**settings), self.directory / f"{name}.log")

    def connecting_worker(self, *, name: str = "worker", port: int | None = None, **settings: Any) -> ForkedWorker:
        """A quick worker that serves the callback door as well and finishes logins."""
        door = self.database.door_settings(self.sandbox, port or free_port())
        return self.worker(name=name, **{"connect_slots": 4, **door, **settings})

    def connect_by_oauth(self, platform: str, **options: Any) -> OAuthConnection:
        """As this test's user: see `LocalDatabase.connect_by_oauth`."""
        self.wait_until(self.connectable, timeout_seconds=60)
        return self.database.connect_by_oauth(self.user_id, platform, until=self.wait_until, **options)

    def registered(self) -> bool:
        """A worker is there: what begins now does not wait for a program to start."""
        return self.database.fetch("select worker_id from orbyt_private.workers where lease_until > now()") != []

    def connectable(self) -> bool:
        """A worker has said what can be connected, and how."""
        return self.database.connectable()

    def job(self, job_id: UUID) -> dict[str, Any]:
        return self.database.fetch("select * from orbyt.publish_jobs where job_id = %s", [job_id])[0]

    def wait_for(
        self,
        job_id: UUID,
        *statuses: str,
        timeout_seconds: float = 40,
        until: Callable[[dict[str, Any]], bool] | None = None,
    ) -> dict[str, Any]:
        """The row as soon as it has one of the statuses (or `until` holds)."""
        deadline = time.monotonic() + timeout_seconds
        with psycopg.connect(self.database.url(), autocommit=True, row_factory=dict_row) as connection:
            connection.execute("listen tests")
            while True:
                row = connection.execute("select * from orbyt.publish_jobs where job_id = %s", [job_id]).fetchone()
                assert row is not None
                if row["status"] in statuses or (until is not None and until(row)):
                    return row
                left = deadline - time.monotonic()
                if left <= 0:
                    shown = {
                        key: row[key]
                        for key in ("status", "stage", "progress", "attempt", "error_code", "error_message", "run_at")
                    }
                    pytest.fail(
                        f"job is not {statuses or 'as expected'} after {timeout_seconds} s: {shown}\n{self._logs()}"
                    )
                for _ in connection.notifies(timeout=left, stop_after=1):
                    pass

    def _logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.directory.glob("*.log"))
        )

    def wait_until(self, holds: Callable[[], bool], timeout_seconds: float = 20) -> None:
        """Until something outside the database is as expected: asked whenever the database says that a row changed, and at
        every round of the worker's upkeep."""
        deadline = time.monotonic() + timeout_seconds
        with psycopg.connect(self.database.url(), autocommit=True) as connection:
            connection.execute("listen tests")
            while not holds():
                left = deadline - time.monotonic()
                if left <= 0:
                    pytest.fail(f"not as expected after {timeout_seconds} s\n{self._logs()}")
                for _ in connection.notifies(timeout=min(left, QUICK["upkeep_seconds"]), stop_after=1):
                    pass

    def wait_for_change(self) -> None:
        """Until the database says that a row changed, at most for one round of upkeep."""
        with psycopg.connect(self.database.url(), autocommit=True) as connection:
            connection.execute("listen tests")
            for _ in connection.notifies(timeout=QUICK["upkeep_seconds"], stop_after=1):
                pass

    def videos(self, account: ConnectedAccount) -> list[Any]:
        return self.sandbox.state.youtube.list_videos(channel_id=account.platform_account_id)

    def events(self, job_id: UUID) -> list[str]:
        return [
            each["event"]
            for each in self.database.fetch(
                "select event from orbyt.job_events where job_id = %s order by event_id", [job_id]
            )
        ]


@pytest.fixture(scope="session")
def world_template(postgres: PostgresServer) -> tuple[str, bytes]:
    database = LocalDatabase.create(postgres, "template_world")
    key = database.init_key()
    database.fetch(TELL)
    return database.name, key


@pytest.fixture
def world(postgres: PostgresServer, world_template: tuple[str, bytes], tmp_path: Path) -> Iterator[World]:
    template, key = world_template
    name = f"world_{uuid.uuid4().hex[:12]}"
    with SandboxServer() as sandbox:
        yield World(LocalDatabase.create(postgres, name, template=template), sandbox, key, tmp_path)
        errors = sandbox.state.internal_errors()
    postgres.drop_database(name)
    assert errors == []
