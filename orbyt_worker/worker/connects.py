"""Takes up logins whose code came back: wake (notify or poll), claim up to the free slots, run, drain on stop.

The same shape as the loop of the jobs, and apart from it: somebody is looking at a spinner, however busy the queue is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from orbyt_worker.db.connect_queries import ConnectClaim, ConnectQueries
from orbyt_worker.db.pool import DatabaseRefused, DatabaseUnavailable, NotRegistered
from orbyt_worker.errors.failure import Failure
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings
from orbyt_worker.worker.upkeep import cancel_and_wait

PAUSE_SECONDS_MIN = 0.5
PAUSE_SECONDS_MAX = 30.0

log = structlog.get_logger(__name__)


class Connects:
    """One worker's logins."""

    def __init__(
        self,
        *,
        worker_id: UUID,
        queries: ConnectQueries,
        set_up: Callable[[], Awaitable[None]],
        run_session: Callable[[ConnectClaim], Awaitable[None]],
        settings: Settings,
        runtime: Runtime,
    ) -> None:
        self._worker_id = worker_id
        self._queries = queries
        self._set_up = set_up
        self._run_session = run_session
        self._settings = settings
        self._runtime = runtime
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._started = False
        self._stopping = False
        self._ended = asyncio.Event()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    async def run(self) -> None:
        """Until `stop()`, then until the last session has ended."""
        self._started = True
        try:
            await self._patiently(self._set_up)
            while not self._stopping:
                self._wake.clear()
                claimed = await self._patiently(self._claim)
                if not claimed and not self._stopping:
                    await self._sleep_or_wake(self._settings.poll_seconds * self._runtime.random.uniform(0.8, 1.0))
        finally:
            await self._drain()
            self._ended.set()

    async def stop(self) -> None:
        """Take up nothing more and wait for the end of what runs. Before the worker says goodbye: what it still holds then is lost."""
        self._stopping = True
        self._wake.set()
        if self._started:
            await self._ended.wait()

    async def _claim(self) -> int:
        """Up to the free slots. Returns how many came."""
        free = self._settings.connect_slots - len(self._running)
        if free <= 0:
            return 0
        claims = await self._queries.claim_connects(self._worker_id, limit=free)
        for claim in claims:
            task = asyncio.create_task(self._session(claim), name=f"connect-{claim.session_id}")
            self._running.add(task)
            task.add_done_callback(self._finished)
        return len(claims)

    async def _session(self, claim: ConnectClaim) -> None:
        await self._run_session(claim)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # `run_session` keeps everything inside; what still gets out is our own mistake, and the session expires.
            log.error("connect.escaped", error=repr(type(error)))

    async def _patiently(self, work: Callable[[], Awaitable[int | None]]) -> int | None:
        """Until the database lets it be done: it may be away, lack a migration, or not know this worker for a moment."""
        failures = 0
        while not self._stopping:
            try:
                return await work()
            except (NotRegistered, Failure, *DatabaseUnavailable, DatabaseRefused) as error:
                failures += 1
                pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2 ** min(failures, 10))
                log.warning(
                    "connect.not_possible",
                    error=str(error.code) if isinstance(error, Failure) else type(error).__name__,
                    sqlstate=getattr(error, "sqlstate", None),
                    retry_seconds=pause,
                )
                await self._sleep_or_wake(pause)
        return None

    async def _sleep_or_wake(self, seconds: float) -> None:
        sleeper = asyncio.ensure_future(self._runtime.sleep(seconds))
        waker = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeper, waker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait({sleeper, waker})

    async def _drain(self) -> None:
        """A session that is cut off has lost its code, so each gets its time."""
        if self._running:
            await asyncio.wait(set(self._running), timeout=self._settings.shutdown_seconds)
        await cancel_and_wait(set(self._running))
