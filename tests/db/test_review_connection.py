"""Found in a hostile review: what happens when the database, or this machine, falls silent without hanging up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psycopg
import pytest

from orbyt_worker.db import pool as pool_module
from orbyt_worker.db.pool import Database as Pool
from orbyt_worker.db.pool import DatabaseUnavailable
from orbyt_worker.runtime import Runtime
from tests.fix_postgres import Database

GIVE_UP_SECONDS = 25.0


class Pooler:
    """A pooler that accepts everything and, once `silent` is set, passes nothing on: TCP and keepalives look healthy."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.silent = asyncio.Event()
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(self._host, self._port)
        self._writers += [writer, up_writer]
        for source, target in ((reader, up_writer), (up_reader, writer)):
            task = asyncio.create_task(self._pump(source, target))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            if not self.silent.is_set():
                target.write(data)
                await target.drain()
        target.close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


@asynccontextmanager
async def pooler_before(url: str) -> AsyncIterator[tuple[Pooler, str]]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    pooler = Pooler(parts.hostname, parts.port)
    server = await asyncio.start_server(pooler.serve, "127.0.0.1", 0)
    pooler.port = server.sockets[0].getsockname()[1]
    try:
        yield pooler, url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{pooler.port}")
    finally:
        server.close()
        await pooler.close()
        await server.wait_closed()


async def test_a_statement_that_is_never_answered_ends_as_database_unavailable(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """statement_timeout is the server's; a pooler that lost its server answers nothing, and the heartbeat waited for ever."""
    monkeypatch.setattr(pool_module, "STATEMENT_TIMEOUT_MS", 500)
    async with pooler_before(db.url("orbyt_worker")) as (pooler, url):
        pool = Pool(url, size_max=2)
        await pool.open()
        try:
            await pool.fetch("select 1 as one", {})
            pooler.silent.set()
            with pytest.raises((*DatabaseUnavailable, psycopg.Error)):
                await asyncio.wait_for(pool.fetch("select 1 as one", {}), GIVE_UP_SECONDS)
        finally:
            pooler.silent.clear()
            await pool.close()


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux only: elsewhere there is no such clock")
def test_time_spent_suspended_counts_against_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLOCK_MONOTONIC stands still while a laptop sleeps or a VM is suspended: an hour later the lease still looked good."""
    runtime = Runtime()
    before = runtime.monotonic()
    real = time.clock_gettime

    def an_hour_asleep(clock: int) -> float:
        return real(clock) + (3600.0 if clock == time.CLOCK_BOOTTIME else 0.0)

    monkeypatch.setattr(time, "clock_gettime", an_hour_asleep)
    assert runtime.monotonic() - before >= 3600.0
