"""The private PostgreSQL: found, started, gone without a trace however its starter ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from orbyt_worker.sandbox import postgres as module
from orbyt_worker.sandbox.postgres import LocalPostgres
from orbyt_worker.sandbox.postgres_find import PostgresError, find_server
from tests.fix_parts import missing


@pytest.fixture(scope="module", autouse=True)
def _a_server_exists() -> None:
    try:
        find_server()
    except PostgresError as error:
        missing(str(error))


def home_of(server: LocalPostgres) -> Path:
    return server.log_path.parent


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)  # another process is watched: nothing signals its end to us
    return False


def test_a_temporary_server_leaves_nothing() -> None:
    with LocalPostgres() as server:
        home = home_of(server)
        with server.connect() as connection:
            assert connection.execute("select current_user, current_setting('fsync')").fetchone() == (
                "supabase_admin",
                "off",
            )
        assert "ready to accept connections" in server.log_path.read_text()
    assert not home.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url(), connect_timeout=2)
    server.stop()  # safe to repeat


def test_files_are_in_memory_only_where_there_is_room_and_nothing_has_to_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Path(tempfile.mkdtemp(prefix="orbyt-test-", dir="/var/tmp"))
    memory.chmod(0o755)
    account = module._Account.choose()
    monkeypatch.setattr(module, "_MEMORY_DIR", str(memory))
    try:
        for free_bytes_min, durable, inside in ((1, False, True), (1, True, False), (2**62, False, False)):
            monkeypatch.setattr(module, "_MEMORY_FREE_BYTES_MIN", free_bytes_min)
            home = module._temporary_home(account, durable=durable)
            home.rmdir()
            assert (home.parent == memory.resolve()) == inside
        monkeypatch.setattr(module, "_MEMORY_DIR", str(tmp_path / "missing"))
        module._temporary_home(account, durable=False).rmdir()
    finally:
        memory.rmdir()


def test_a_kept_server_keeps_its_data_and_its_settings_win() -> None:
    base = Path(tempfile.mkdtemp(prefix="orbyt-test-"))
    base.chmod(0o755)
    try:
        home = base / "kept"
        with LocalPostgres(home, durable=True) as server:
            server.create_database("kept")
            with server.connect() as connection:
                assert connection.execute("select current_setting('fsync')").fetchone() == ("on",)
            with pytest.raises(PostgresError, match="did not start"):
                LocalPostgres(home).start()
            with server.connect("kept") as connection:
                assert connection.execute("select 1").fetchone() == (1,), "the second start did no harm"
        with LocalPostgres(home, settings={"log_statement": "all"}) as server, server.connect("kept") as connection:
            connection.execute("select 'a statement to be logged'")
            assert "a statement to be logged" in server.log_path.read_text()
    finally:
        shutil.rmtree(base)


STARTER = """
import sys, time
from orbyt_worker.sandbox.postgres import LocalPostgres
server = LocalPostgres().start()
print(server.log_path.parent, server.port, flush=True)
sys.stdin.read()
"""


def test_it_ends_with_a_starter_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        home, port = starter.stdout.readline().split()
        postmaster = int((Path(home) / "data" / "postmaster.pid").read_text().split()[0])
        psycopg.connect(f"postgresql://supabase_admin@127.0.0.1:{port}/postgres").close()
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    assert wait_until(lambda: not Path(f"/proc/{postmaster}").exists() and not Path(home).exists())


def test_a_choice_that_cannot_be_met_says_what_was_looked_at(tmp_path: Path) -> None:
    with pytest.raises(PostgresError, match="no postgres and initdb that run"):
        find_server(str(tmp_path))


def test_an_old_or_incomplete_server_is_refused(tmp_path: Path) -> None:
    postgres = tmp_path / "bin" / "postgres"
    postgres.parent.mkdir()
    (tmp_path / "bin" / "initdb").touch()
    for version, why in ((14, "older than 15"), (16, "pgcrypto")):
        postgres.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}.1'\n")
        postgres.chmod(0o755)
        with pytest.raises(PostgresError, match=why):
            find_server(str(tmp_path / "bin"))


def test_a_server_that_does_not_start_shows_its_log() -> None:
    with pytest.raises(PostgresError, match="max_connections"):
        LocalPostgres(settings={"max_connections": "nonsense"}).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts it as somebody else")
def test_as_root_it_runs_as_somebody_else_even_from_unreadable_binaries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalPostgres() as server:
        postmaster = (home_of(server) / "data" / "postmaster.pid").read_text().split()[0]
        assert Path(f"/proc/{postmaster}").stat().st_uid != 0
    try:
        wheel = find_server("wheel")
    except PostgresError as error:
        missing(str(error))
    closed = tmp_path / "closed"
    shutil.copytree(wheel.bin_dir.parent, closed / "pginstall", symlinks=True)
    closed.chmod(0o700)
    # tmp_path is closed to that user as well, so the cache stands in for /var/cache elsewhere.
    monkeypatch.setattr(module, "_CACHE_DIR", Path("/var/tmp") / f"orbyt-test-{os.getpid()}")  # noqa: S108 - removed below
    try:
        with LocalPostgres(choice=str(closed / "pginstall" / "bin")) as server:
            assert server.server.bin_dir != closed / "pginstall" / "bin"
            server.create_database("works")
    finally:
        shutil.rmtree(module._CACHE_DIR, ignore_errors=True)


def test_the_environment_of_another_server_does_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    monkeypatch.setenv("PGUSER", "nobody-else")
    with LocalPostgres() as server, server.connect() as connection:
        assert connection.execute("select 1").fetchone() == (1,)
