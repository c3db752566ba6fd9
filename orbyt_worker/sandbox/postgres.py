"""A private PostgreSQL for the sandbox, the demo and the tests: found on the machine or taken from a wheel, no Docker, no root.

What it is not: a way to run production. Anybody on this machine may log in (`trust` on 127.0.0.1), and with `durable=False` a
power cut loses data.

Where the server comes from: postgres_find.py.

`postgres` refuses to run as root. Started by root it therefore runs as `ORBYT_SANDBOX_PG_USER` (default `nobody`) in a directory
that user owns; if that user cannot read the binaries (a virtual environment under /root), they are copied once to a cache.

The superuser is `supabase_admin`, as on Supabase, because `postgres` must be an ordinary role there (see supabase.sql).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from orbyt_worker.sandbox.postgres_find import PostgresError, Server, find_server

SUPERUSER = "supabase_admin"

_START_SECONDS_MAX = 60.0
_STOP_SECONDS_MAX = 30.0
_PORT_ATTEMPTS_MAX = 5
_POLL_SECONDS = 0.02
_LOG_TAIL_BYTES = 4_000
_CACHE_DIR = Path("/var/cache/orbyt-sandbox")
# A database per test is some six hundred small files: in memory a copy takes a fifth of the time it takes on a disk.
_MEMORY_DIR = "/dev/shm"  # noqa: S108 - mkdtemp makes it private
_MEMORY_FREE_BYTES_MIN = 4 * 1024**3

_BASE_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "wal_level": "logical",  # as hosted; without it `create publication` warns
    "max_wal_size": "256MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_destination": "stderr",
}
_THROWAWAY_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",  # tests that need statistics or a vacuum ask for it, at a known moment
    "checkpoint_timeout": "1h",
}


@dataclass(frozen=True, slots=True)
class _Account:
    """The operating-system user the server runs as; None for both: the current one."""

    uid: int | None
    gid: int | None

    @classmethod
    def choose(cls) -> Self:
        if os.geteuid() != 0:
            return cls(None, None)
        name = os.environ.get("ORBYT_SANDBOX_PG_USER", "nobody")
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise PostgresError(
                f"postgres cannot run as root and the user {name!r} does not exist; set ORBYT_SANDBOX_PG_USER"
            ) from None
        if entry.pw_uid == 0:
            raise PostgresError("ORBYT_SANDBOX_PG_USER must not be root: postgres refuses to run as root")
        return cls(entry.pw_uid, entry.pw_gid)

    def run(self, *command: str | Path, timeout_seconds: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own server tools
            command,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
            env=_environment(),
        )

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def can_enter(self, path: Path) -> bool:
        """Whether the server's user may reach `path`: every directory above it must be open to that user."""
        if self.uid is None:
            return True
        return self.run("/bin/sh", "-c", 'cd "$1"', "sh", str(path)).returncode == 0

    def can_run(self, binary: Path) -> bool:
        try:
            return self.run(binary, "--version").returncode == 0
        except OSError:
            return False


def _environment() -> dict[str, str]:
    """The caller's environment without libpq's variables: a PGDATA or PGPORT set for another server must not leak in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def default_data_dir() -> Path:
    """Where a sandbox that keeps its data has it, when nobody says otherwise: reachable for the server's user, root or not."""
    if os.geteuid() == 0:
        return Path("/var/lib/orbyt-sandbox/postgres")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "orbyt-sandbox" / "postgres"


class PostgresServer:
    """A running server that trusts its clients, wherever it runs; what a test or the sandbox asks of it."""

    host: str
    port: int

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """A libpq URL without a password: this server trusts local connections."""
        return f"postgresql://{user}@{self.host}:{self.port}/{database}?sslmode=disable"

    def connect(self, database: str = "postgres", user: str = SUPERUSER) -> psycopg.Connection:
        """An autocommit connection; the caller closes it."""
        return psycopg.connect(self.url(database, user), autocommit=True, connect_timeout=10)

    def wait_until_ready(
        self, timeout_seconds: float, *, data_dir: Path | None = None, gone: Callable[[], bool] = lambda: False
    ) -> None:
        """Returns once the server answers. `data_dir`: it must be that one, because another server may have taken the port.

        Raises PostgresError after `timeout_seconds`, as soon as `gone()`, or when another server answers.
        """
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline and not gone():
            with contextlib.suppress(psycopg.OperationalError):
                with self.connect("template1") as connection:
                    row = connection.execute("select current_setting('data_directory')").fetchone()
                if row is not None and data_dir is not None and Path(row[0]) != data_dir:
                    raise PostgresError(f"another server answers on port {self.port}")
                return
            time.sleep(_POLL_SECONDS)
        raise PostgresError(f"no server answers on {self.host}:{self.port}")

    def create_database(self, name: str, template: str | None = None) -> str:
        """Creates a database, as a copy of `template` (owner included; nobody may be connected to it) if given; returns its name."""
        with self.connect("template1") as connection:
            if template is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
                return name
            row = connection.execute(
                "select pg_catalog.pg_get_userbyid(datdba) from pg_catalog.pg_database where datname = %s", [template]
            ).fetchone()
            if row is None:
                raise PostgresError(f"there is no database {template} to copy")
            connection.execute(
                sql.SQL("create database {} template {} owner {}").format(
                    *map(sql.Identifier, (name, template, row[0]))
                )
            )
        return name

    def drop_database(self, name: str) -> None:
        """Drops a database with whoever is still connected to it; no error if it is gone."""
        with self.connect("template1") as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


class LocalPostgres(PostgresServer):
    """One PostgreSQL server of our own on 127.0.0.1 and a free port. A context manager; starting twice is an error.

    `data_dir=None`: a temporary server, gone with everything in it at `stop()` or when this process dies.
    `data_dir` given: created at the first start, kept at stop (only one process may have it open at a time).
    `durable=False` switches off fsync and autovacuum, for tests, and
    keeps a temporary server's files in memory where there is room. `settings` are postgresql.conf entries and win over ours.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        choice: str | None = None,
        durable: bool = False,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._account = _Account.choose()
        self._keep = data_dir is not None
        self._durable = durable
        self._home = data_dir.absolute() if data_dir is not None else None
        self._choice = choice
        self._wanted_port = port
        self._settings = {**_BASE_SETTINGS, **({} if durable else _THROWAWAY_SETTINGS), **(settings or {})}
        self._guard: subprocess.Popen[bytes] | None = None
        self.host = "127.0.0.1"
        self.port = 0
        self._server: Server | None = None

    # Life

    def start(self) -> Self:
        if self._guard is not None:
            raise PostgresError("already started")
        home = self._prepare_home()
        try:
            version_file = home / "data" / "PG_VERSION"
            made = version_file.exists()
            server = find_server(self._choice, major=int(version_file.read_text()) if made else None)
            self._server = _readable(server, self._account)
            if not made:
                self._initialise(home)
            self._launch(home)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stops the server and waits for it; removes a temporary server's directory. Safe to repeat."""
        self._end_guard()
        if self._home is not None and not self._keep:
            shutil.rmtree(self._home, ignore_errors=True)

    def _end_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is None:
            return
        if guard.stdin is not None:
            guard.stdin.close()
        try:
            guard.wait(timeout=_STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait(timeout=_STOP_SECONDS_MAX)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What it is

    @property
    def server(self) -> Server:
        if self._server is None:
            raise PostgresError("not started")
        return self._server

    @property
    def log_path(self) -> Path:
        """The server's log. Readable by this process and the server's user only."""
        if self._home is None:
            raise PostgresError("not started")
        return self._home / "postgres.log"

    # Parts of start

    def _prepare_home(self) -> Path:
        if self._home is None or not self._keep:
            self._home = _temporary_home(self._account, durable=self._durable)
            return self._home
        self._home.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._account.own(self._home)
        if not self._account.can_enter(self._home):
            raise PostgresError(
                f"the server runs as user id {self._account.uid} (postgres refuses root), which cannot reach {self._home}; "
                f"choose another data directory, for example {default_data_dir()}"
            )
        return self._home

    def _initialise(self, home: Path) -> None:
        data = home / "data"
        done = self._account.run(
            self.server.tool("initdb"),
            *(
                "-D",
                str(data),
                "-U",
                SUPERUSER,
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--no-instructions",
            ),
            timeout_seconds=_START_SECONDS_MAX,
        )
        if done.returncode != 0:
            raise PostgresError(f"initdb failed: {done.stderr.strip()}")

    def _launch(self, home: Path) -> None:
        log = self.log_path
        for attempt in range(_PORT_ATTEMPTS_MAX):
            self.port = self._wanted_port or free_port()
            start_of_log = log.stat().st_size if log.exists() else 0
            self._spawn_guard(home, log)
            if self._wait_until_ready():
                return
            self._end_guard()
            text = _tail(log, start_of_log)
            lost_the_port = "could not bind" in text and not self._wanted_port
            if not lost_the_port or attempt == _PORT_ATTEMPTS_MAX - 1:
                raise PostgresError(f"PostgreSQL from {self.server.bin_dir} did not start:\n{text}")

    def _spawn_guard(self, home: Path, log: Path) -> None:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        postgres = [self.server.tool("postgres"), "-D", str(home / "data"), f"--port={self.port}", *settings]
        # A shell in between, so that the log is opened by the server's own user.
        with_log = ["/bin/sh", "-c", 'umask 077; log="$1"; shift; exec "$@" >>"$log" 2>&1', "sh", str(log)]
        order = {
            "command": [*with_log, *postgres],
            "user": self._account.uid,
            "group": self._account.gid,
            "remove": None if self._keep else str(home),
        }
        self._guard = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("postgres_guard.py")), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )

    def _wait_until_ready(self) -> bool:
        try:
            self.wait_until_ready(
                _START_SECONDS_MAX,
                data_dir=None if self._home is None else self._home / "data",
                gone=lambda: self._guard is None or self._guard.poll() is not None,
            )
        except PostgresError:
            return False
        return True


def _temporary_home(account: _Account, *, durable: bool) -> Path:
    """A fresh directory owned by the server's user: in memory where there is plenty and nothing has to last, else in TMPDIR,
    which may be closed to that user, else in the usual places."""
    bases = [tempfile.gettempdir(), "/tmp", "/var/tmp"]  # noqa: S108 - mkdtemp makes it private
    if not durable and _has_room(_MEMORY_DIR):
        bases.insert(0, _MEMORY_DIR)
    for base in dict.fromkeys(bases):
        with contextlib.suppress(OSError):
            home = Path(tempfile.mkdtemp(prefix="orbyt-postgres-", dir=base)).resolve()
            account.own(home)
            if account.can_enter(home):
                return home
            home.rmdir()
    raise PostgresError("no directory for temporary files that the server's user can reach; set TMPDIR")


def _has_room(directory: str) -> bool:
    try:
        found = os.statvfs(directory)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize >= _MEMORY_FREE_BYTES_MIN


def _readable(server: Server, account: _Account) -> Server:
    """`server`, or a copy of it that the server's user can read. The copy is made once per version and kept."""
    if account.can_run(server.bin_dir / "postgres"):
        return server
    if server.source == "machine":
        raise PostgresError(f"user id {account.uid} cannot run {server.bin_dir}/postgres; set ORBYT_SANDBOX_PG_USER")
    cache = _CACHE_DIR
    cache.mkdir(parents=True, exist_ok=True, mode=0o755)
    root = server.bin_dir.parent
    version = subprocess.run(  # noqa: S603 - the binary found above
        [server.bin_dir / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=True
    ).stdout.split()
    copy = cache / f"postgres-{version[2]}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.exists():
            part = Path(tempfile.mkdtemp(prefix="part-", dir=cache))
            shutil.copytree(root, part / "pginstall", symlinks=True)
            for path in [part / "pginstall", *(part / "pginstall").rglob("*")]:
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444))
            (part / "pginstall").rename(copy)
            part.rmdir()
    if not account.can_run(copy / "bin" / "postgres"):
        raise PostgresError(
            f"user id {account.uid} cannot run {copy}/bin/postgres; set ORBYT_SANDBOX_PG_USER or ORBYT_SANDBOX_PG_BIN"
        )
    return Server(copy / "bin", server.major, server.source)


def free_port() -> int:
    """A port of this machine that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _tail(log: Path, start: int) -> str:
    if not log.exists():
        return "(it wrote no log)"
    with log.open("rb") as stream:
        stream.seek(max(start, log.stat().st_size - _LOG_TAIL_BYTES))
        return stream.read().decode(errors="replace").strip()
