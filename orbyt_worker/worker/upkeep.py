"""What every worker does now and then: expire, hold and release, refresh and check connections, revoke, remove hosted files,
prune, measure.

All workers do all of it; the functions in the database skip what somebody else has locked, so nobody leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import structlog

from orbyt_worker.db.pool import DatabaseUnavailable, NotRegistered
from orbyt_worker.db.queries import Queries
from orbyt_worker.errors.failure import Failure
from orbyt_worker.health import Health
from orbyt_worker.publishing.tokens import Tokens
from orbyt_worker.runtime import Runtime

PRUNE_SECONDS = 3600.0
REFRESH_BATCH_MAX = 20
# Refreshes of one round are spread over this part of the upkeep interval.
REFRESH_SPREAD = 0.5
HOSTED_BATCH_MAX = 100

log = structlog.get_logger(__name__)


class Upkeep:
    """`round()` does everything once; `run()` repeats it."""

    def __init__(
        self,
        *,
        queries: Queries,
        tokens: Tokens,
        runtime: Runtime,
        health: Health,
        interval_seconds: float,
        wake: Callable[[], None],
        remove_hosted: Callable[[Sequence[str]], Awaitable[None]],
        expire_connects: Callable[[], Awaitable[int]],
        check_accounts: Callable[[], Awaitable[None]],
        revoke_accounts: Callable[[], Awaitable[None]],
    ) -> None:
        self._queries = queries
        self._tokens = tokens
        self._runtime = runtime
        self._health = health
        self._interval_seconds = interval_seconds
        self._wake = wake
        # Takes files out of our bucket in Storage.
        self._remove_hosted = remove_hosted
        self._expire_connects = expire_connects
        self._check_accounts = check_accounts
        self._revoke_accounts = revoke_accounts
        self._pruned_at = float("-inf")

    async def run(self) -> None:
        """Until cancelled. The first round comes soon, later ones jittered so that workers drift apart."""
        while True:
            await self._runtime.sleep(self._interval_seconds * self._runtime.random.uniform(0.3, 1.0))
            await self.round()

    async def round(self) -> None:
        """One round. Trouble in one part is logged and does not keep the others from running."""
        for name, part in (
            ("expire", self._expire),
            ("accounts", self._tend_accounts),
            ("connects", self._expire_sessions),
            ("revoke", self._revoke_accounts),
            ("refresh", self._refresh),
            ("check", self._check_accounts),
            ("hosted", self._remove),
            ("prune", self._prune),
            ("measure", self._measure),
        ):
            await self._try(name, part)

    async def _try(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        try:
            await part()
        except (NotRegistered, *DatabaseUnavailable) as error:
            log.warning("upkeep.database_lost", part=name, error=type(error).__name__)
        except Exception:
            log.exception("upkeep.failed", part=name)

    async def _expire(self) -> None:
        jobs = await self._queries.expire_jobs()
        if jobs:
            log.warning("upkeep.expired", jobs=jobs)

    async def _tend_accounts(self) -> None:
        jobs = await self._queries.tend_accounts()
        if jobs:
            log.info("upkeep.accounts", jobs=jobs)
            self._wake()

    async def _expire_sessions(self) -> None:
        sessions = await self._expire_connects()
        if sessions:
            log.info("upkeep.connects_expired", sessions=sessions)

    async def _refresh(self) -> None:
        due = await self._queries.accounts_to_refresh(logins=self._tokens.renewable_logins(), limit=REFRESH_BATCH_MAX)
        pause = self._interval_seconds * REFRESH_SPREAD / max(len(due), 1)
        for account_id, platform in due:
            try:
                await self._tokens.refresh_now(account_id, platform)
            except Failure as failure:
                # Recorded by Tokens; the account's state follows from the catalog.
                log.warning(
                    "upkeep.refresh_failed", account_id=str(account_id), platform=platform, code=str(failure.code)
                )
            await self._runtime.sleep(pause)

    async def _remove(self) -> None:
        paths = await self._queries.hosted_to_remove(limit=HOSTED_BATCH_MAX)
        if not paths:
            return
        try:
            # First the files, then the note of them: dying in between only repeats it.
            await self._remove_hosted(paths)
        except Failure as failure:
            log.warning("upkeep.hosted_not_removed", files=len(paths), code=str(failure.code), detail=failure.detail)
            return
        await self._queries.forget_hosted(paths)
        log.info("upkeep.hosted_removed", files=len(paths))

    async def _prune(self) -> None:
        now = self._runtime.monotonic()
        if now - self._pruned_at < PRUNE_SECONDS:
            return
        rows = await self._queries.prune()
        self._pruned_at = now
        log.info("upkeep.pruned", rows=rows)

    async def _measure(self) -> None:
        self._health.queue_facts(await self._queries.queue_facts())


async def cancel_and_wait(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait until each has cleaned up."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
