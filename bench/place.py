"""Where everything is measured: one PostgreSQL for all, a database each, and what the server itself counted."""

from __future__ import annotations

import os
import platform
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from orbyt_worker.local import LocalDatabase
from orbyt_worker.sandbox.postgres import SUPERUSER, LocalPostgres

# As installed, fsync included; only the log of changes is given room, so that no checkpoint falls into one contender's turn.
SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_planning": "off",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "30min",
}
TEMPLATE = "orbyt_template"
WATCH = "bench_watch"


@dataclass(frozen=True, slots=True)
class Counted:
    """What one database did between two looks: statements of clients, seconds they took, bytes of WAL."""

    statements: int
    seconds: float
    wal_bytes: int


class Place:
    """A context manager: the server, a template with Orbyt in it, and a database from which the others are watched."""

    def __init__(self) -> None:
        self.postgres = LocalPostgres(durable=True, settings=SETTINGS)
        self._watch: psycopg.Connection
        self._databases = 0
        # A database cannot be copied while somebody else is connected to it, and `template1` is where drops are made from.
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.postgres.start()
        self.postgres.create_database(WATCH)
        self._watch = self.postgres.connect(WATCH)
        self._watch.execute("create extension pg_stat_statements")
        LocalDatabase.create(self.postgres, TEMPLATE).init_key()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.close()
        self.postgres.stop()

    def database(self, *, orbyt: bool = False) -> str:
        """Name of a new database, empty or with Orbyt in it."""
        with self._lock:
            self._databases += 1
            return self.postgres.create_database(f"bench_{self._databases}", TEMPLATE if orbyt else None)

    def orbyt_database(self) -> LocalDatabase:
        return LocalDatabase(self.postgres, self.database(orbyt=True))

    def drop(self, name: str) -> None:
        with self._lock:
            self.postgres.drop_database(name)

    def url(self, name: str, *, orbyt: bool = False) -> str:
        return self.postgres.url(name, "postgres" if orbyt else SUPERUSER)

    def reset_counts(self) -> None:
        self._watch.execute("select pg_stat_statements_reset()")

    def counted(self, name: str) -> Counted:
        """Since the last reset, in the database `name`."""
        row = self._watch.execute(
            "select coalesce(sum(s.calls), 0)::bigint, coalesce(sum(s.total_exec_time), 0)::float8 / 1000, coalesce(sum(s.wal_bytes), 0)::bigint "
            "from pg_stat_statements s join pg_database d on d.oid = s.dbid where d.datname = %s",
            [name],
        ).fetchone()
        assert row is not None
        return Counted(*row)

    def describe(self) -> str:
        """The machine and the server, for the table's title."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
        version = self._watch.execute("show server_version").fetchone()
        assert version is not None
        return (
            f"{os.cpu_count()} cores ({_model()}), {memory:.0f} GiB, PostgreSQL {version[0].split()[0]} on the same machine (fsync on), "
            f"Python {platform.python_version()}"
        )


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
