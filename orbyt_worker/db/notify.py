"""LISTEN with reconnect. A notification is only a hint that there may be work; polling alone is correct."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import psycopg
import structlog
from psycopg import sql

from orbyt_worker.db.pool import DatabaseUnavailable, connection_arguments
from orbyt_worker.runtime import Runtime

JOBS = "orbyt_jobs"
CONNECTS = "orbyt_connect"
RECONNECT_SECONDS_MIN = 0.5
RECONNECT_SECONDS_MAX = 30.0
# Longest silence on the LISTEN connection before a `select 1` proves that it is still alive.
QUIET_SECONDS_MAX = 60.0

log = structlog.get_logger(__name__)


class Listener:
    """One connection for all channels. Calls a channel's function for every notification, and all of them once after each
    (re)connect, since nothing is kept for absent listeners."""

    def __init__(self, url: str, runtime: Runtime, wakes: Mapping[str, Callable[[], None]]) -> None:
        """`wakes`: what to call, by channel."""
        self._url = url
        self._runtime = runtime
        self._wakes = dict(wakes)
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        failures = 0
        while True:
            try:
                await self._listen()
            except DatabaseUnavailable as error:
                self.listening.clear()
                failures += 1
                pause = min(RECONNECT_SECONDS_MAX, RECONNECT_SECONDS_MIN * 2 ** min(failures, 10)) * (
                    0.5 + self._runtime.random.random() / 2
                )
                log.warning("listener.lost", error=type(error).__name__, retry_seconds=round(pause, 1))
                await self._runtime.sleep(pause)
            else:
                failures = 0

    async def _listen(self) -> None:
        async with await psycopg.AsyncConnection.connect(self._url, **connection_arguments(self._url)) as connection:
            for channel in self._wakes:
                await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
            # Listening first, then looking: what was committed in between is not missed.
            self.listening.set()
            for wake in self._wakes.values():
                wake()
            log.info("listener.ready")
            while True:
                async for notice in connection.notifies(timeout=QUIET_SECONDS_MAX, stop_after=1):
                    self._wakes[notice.channel]()
                await connection.execute("select 1")
