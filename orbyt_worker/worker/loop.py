"""Wake (notify, timer or poll), claim up to the free slots, run, renew the lease, drain on stop.

Polling alone is correct; everything that wakes the loop only makes it faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from orbyt_worker.db.pool import DatabaseRefused, DatabaseUnavailable, NotRegistered
from orbyt_worker.db.queries import Claim, Queries
from orbyt_worker.errors.failure import Failure
from orbyt_worker.health import Health
from orbyt_worker.model import Phase
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.publishing.lease import Lease
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings
from orbyt_worker.worker.upkeep import cancel_and_wait

# After an error of the database: pause before the next claim, doubling up to the cap.
DATABASE_PAUSE_SECONDS_MIN = 0.5
DATABASE_PAUSE_SECONDS_MAX = 30.0
# On shutdown, uploads and the like are at a checkpoint after every chunk: they get this long, visible calls get all of
# ORBYT_SHUTDOWN_SECONDS.
BACKGROUND_GRACE_SECONDS = 3.0

log = structlog.get_logger(__name__)


class Loop:
    """One worker's claims and running attempts."""

    def __init__(
        self,
        *,
        worker_id: UUID,
        host: str,
        version: str,
        queries: Queries,
        keys: MasterKeys,
        lease: Lease,
        execute: Callable[[Claim], Awaitable[None]],
        goodbye: Callable[[], Awaitable[None]],
        settings: Settings,
        runtime: Runtime,
        health: Health,
    ) -> None:
        self._worker_id = worker_id
        self._host = host
        self._version = version
        self._queries = queries
        self._keys = keys
        self._lease = lease
        self._execute = execute
        # What else this worker does under its lease, to be ended before the lease is.
        self._goodbye = goodbye
        self._settings = settings
        self._runtime = runtime
        self._health = health
        self._wake = asyncio.Event()
        self._running: dict[asyncio.Task[None], Claim] = {}
        self._orphans: frozenset[UUID] = frozenset()
        # The key that the database wants us to seal with, as of the last heartbeat; and the one it knows us to seal with.
        self._active_key_id: str | None = None
        self._told_key_id: str | None = None
        self._stopping = False

    # Waking ------------------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def stop(self) -> None:
        """Stop claiming; `run` then drains and returns."""
        self._stopping = True
        self._wake.set()

    # Lease -------------------------------------------------------------------------------------------------------------

    async def register(self) -> None:
        """Say hello, and which master key this worker seals with; also after the database came back."""
        sent_at = self._runtime.monotonic()
        await self._queries.register_worker(
            self._worker_id,
            host=self._host,
            version=self._version,
            slots={"background": self._settings.background_slots, "publish": self._settings.publish_slots},
            lease_seconds=self._settings.lease_seconds,
        )
        self._lease.renewed(sent_at)
        self._told_key_id = None
        await self._tell_key()

    async def heartbeat(self) -> None:
        """Renew the lease; stop what this worker no longer owns (taken back, cancelled), give back what it owns and does not run.

        The second happens when the answer of a claim was lost, or the last write of an attempt: the lease goes on, so nobody
        else would take such a job back. It counts as an orphan when two heartbeats in a row find it so, because a claim may
        be under way right now.
        """
        before = dict(self._running)
        sent_at = self._runtime.monotonic()
        beat = await self._queries.heartbeat(self._worker_id, lease_seconds=self._settings.lease_seconds)
        self._lease.renewed(sent_at)
        owned = beat.owned
        self._active_key_id = beat.active_key_id
        # With every slot busy nothing is claimed for hours; a renewed lease shows as well that it could be.
        self._health.mark_claim_ok()
        for task, claim in before.items():
            if task in self._running and (claim.job.job_id, claim.job.attempt) not in owned:
                log.info("job.lost", job_id=str(claim.job.job_id), attempt=claim.job.attempt)
                self._health.lease_lost()
                task.cancel()
        running = {claim.job.job_id for claim in self._running.values()}
        orphans = frozenset(job_id for job_id, _ in owned) - {claim.job.job_id for claim in before.values()} - running
        if confirmed := orphans & self._orphans:
            jobs = await self._queries.return_jobs(self._worker_id, sorted(confirmed))
            log.warning("job.orphans_returned", jobs=jobs)
            self._wake.set()
        self._orphans = orphans - confirmed

    async def _register_again(self) -> None:
        try:
            await self.register()
            log.warning("worker.registered_again")
        except (*DatabaseUnavailable, DatabaseRefused) as error:
            log.warning("worker.not_registered", error=type(error).__name__)
            await self._runtime.sleep(DATABASE_PAUSE_SECONDS_MIN)

    async def keep_lease(self) -> None:
        """Heartbeat until cancelled."""
        while True:
            await self._runtime.sleep(self._settings.heartbeat_seconds)
            try:
                await self.heartbeat()
                await self._follow_key()
            except NotRegistered:
                await self._register_again()
            except (*DatabaseUnavailable, DatabaseRefused) as error:
                log.warning(
                    "heartbeat.failed",
                    error=type(error).__name__,
                    lease_seconds=round(self._lease.remaining_seconds(), 1),
                )

    async def _follow_key(self) -> None:
        """Seal with the key of the last heartbeat from now on, and say so."""
        try:
            await self._keys.follow(self._active_key_id)
        except Failure as failure:
            log.error("keys.not_read", code=str(failure.code), detail=failure.detail)
        await self._tell_key()

    async def _tell_key(self) -> None:
        """An old key is deleted only when nobody who lives seals with it; said after the change, never before."""
        key_id = self._keys.active
        if key_id != self._told_key_id:
            await self._queries.use_key(self._worker_id, key_id)
            self._told_key_id = key_id

    # Claiming ----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Claim and run until `stop()`; then drain, give the rest back and say goodbye."""
        failures = 0
        while not self._stopping:
            self._wake.clear()
            try:
                claimed = await self._claim()
                failures = 0
            except NotRegistered:
                await self._register_again()
                continue
            except (*DatabaseUnavailable, DatabaseRefused) as error:
                failures += 1
                pause = min(DATABASE_PAUSE_SECONDS_MAX, DATABASE_PAUSE_SECONDS_MIN * 2 ** min(failures, 10))
                # Not only "unreachable": a worker that is newer than the migrations waits for them, and says so.
                log.warning(
                    "claim.database_lost",
                    error=type(error).__name__,
                    sqlstate=getattr(error, "sqlstate", None),
                    retry_seconds=pause,
                )
                await self._sleep_or_wake(pause)
                continue
            if not claimed:
                await self._sleep_or_wake(await self._quiet_seconds())
        await self._drain()

    async def _claim(self) -> bool:
        """One claim. True if anything came: then look again at once."""
        background, publish = self._free()
        if background <= 0 and publish <= 0:
            return False
        sent_at = self._runtime.monotonic()
        claims = await self._queries.claim_jobs(
            self._worker_id, background=background, publish=publish, lease_seconds=self._settings.lease_seconds
        )
        self._lease.renewed(sent_at)
        self._health.mark_claim_ok()
        self._health.claimed(len(claims))
        for claim in claims:
            task = asyncio.create_task(self._attempt(claim), name=f"job-{claim.job.job_id}")
            self._running[task] = claim
            task.add_done_callback(self._finished)
        self._measure()
        return bool(claims)

    async def _attempt(self, claim: Claim) -> None:
        await self._execute(claim)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        self._measure()
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # `execute` keeps everything inside; what still gets out is our own mistake, and the lease brings the job back.
            log.error("job.escaped", error=repr(type(error)))

    def _free(self) -> tuple[int, int]:
        publishing = sum(1 for claim in self._running.values() if claim.job.phase is Phase.PUBLISH)
        return (
            self._settings.background_slots - (len(self._running) - publishing),
            self._settings.publish_slots - publishing,
        )

    def _measure(self) -> None:
        publishing = sum(1 for claim in self._running.values() if claim.job.phase is Phase.PUBLISH)
        self._health.in_flight(Phase.PUBLISH.value, publishing)
        self._health.in_flight(Phase.BACKGROUND.value, len(self._running) - publishing)

    async def _quiet_seconds(self) -> float:
        """Until the next lane falls due, at most the poll interval (jittered, so that workers do not poll in step)."""
        poll = self._settings.poll_seconds * self._runtime.random.uniform(0.8, 1.0)
        try:
            due = await self._queries.next_due_in_seconds()
        except (*DatabaseUnavailable, DatabaseRefused):
            return min(poll, DATABASE_PAUSE_SECONDS_MAX)
        return poll if due is None else min(poll, max(due, 0.0) + 0.005)

    async def _sleep_or_wake(self, seconds: float) -> None:
        sleeper = asyncio.ensure_future(self._runtime.sleep(seconds))
        waker = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleeper, waker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waker.cancel()

    # Stopping ----------------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        self._health.mark_stopping()
        log.info("worker.draining", jobs=len(self._running))
        goodbye = asyncio.ensure_future(self._goodbye())
        visible = {task for task, claim in self._running.items() if claim.job.phase is Phase.PUBLISH}
        background = set(self._running) - visible
        if background:
            await asyncio.wait(background, timeout=min(BACKGROUND_GRACE_SECONDS, self._settings.shutdown_seconds))
        await cancel_and_wait({task for task in background if not task.done()})
        if visible:
            await asyncio.wait(visible, timeout=self._settings.shutdown_seconds)
        await cancel_and_wait({task for task in visible if not task.done()})
        await goodbye
        try:
            jobs = await self._queries.give_back(self._worker_id)
            await self._queries.retire_worker(self._worker_id)
            log.info("worker.stopped", given_back=jobs)
        except DatabaseUnavailable as error:
            log.warning("worker.stopped_without_database", error=type(error).__name__)
