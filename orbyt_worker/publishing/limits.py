"""Slowing down before a limit is reached: what platforms say about usage with each answer becomes pauses of the whole fleet.

Source: facts of Meta's rate limits ("Rate Limits", Graph API overview, read 2026-11): throttling starts when any value
reaches 100, and calls made while throttled push it up further, so everything stops before that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from orbyt_worker.db.queries import Queries
from orbyt_worker.errors.catalog import Scope
from orbyt_worker.model import Job, Phase
from orbyt_worker.platforms.base import Platform, Usage
from orbyt_worker.publishing.retry import Action, Decision
from orbyt_worker.runtime import Runtime

# From here on hidden work comes back later; from the second on much later; from the third on nothing is sent at all.
SLOWER_PERCENT = 75.0
SLOW_PERCENT = 90.0
STOP_PERCENT = 95.0
SLOWER_SECONDS = 60.0
SLOW_SECONDS = 300.0
# Rolling windows are an hour long where the platform does not say when it goes on.
STOP_SECONDS = 3600.0
STOP_SECONDS_MAX = 86_400.0
# The same pause is not written again while most of it is still ahead: usage comes with every answer.
REWRITE_SHARE = 0.5
KEPT_MAX = 10_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pause:
    """`phase` PUBLISH: nothing is sent; BACKGROUND: what is ready to be published goes on."""

    seconds: float
    phase: Phase


def pause_of(usage: Usage) -> Pause | None:
    """Pure: how long to leave off at that usage; None: go on."""
    if usage.percent >= STOP_PERCENT:
        seconds = usage.regain_seconds * 1.1 if usage.regain_seconds else STOP_SECONDS
        return Pause(min(seconds, STOP_SECONDS_MAX), Phase.PUBLISH)
    if usage.percent >= SLOW_PERCENT:
        return Pause(SLOW_SECONDS, Phase.BACKGROUND)
    if usage.percent >= SLOWER_PERCENT:
        return Pause(SLOWER_SECONDS, Phase.BACKGROUND)
    return None


class Limits:
    """Writes pauses to the shared table. One per worker."""

    def __init__(self, queries: Queries, platforms: Mapping[str, Platform], runtime: Runtime) -> None:
        self._queries = queries
        self._platforms = platforms
        self._runtime = runtime
        self._written: dict[tuple[str, str, Phase], float] = {}

    async def seen(self, job: Job, usages: Sequence[Usage]) -> Pause | None:
        """Take note of what an answer said. Returns the pause that also stops this job, if there is one."""
        stop: Pause | None = None
        for usage in usages:
            pause = pause_of(usage)
            if pause is None:
                continue
            for scope, key in self.whom(job, usage.scope):
                await self._write(scope, key, pause, usage)
            if pause.phase is Phase.PUBLISH and (stop is None or pause.seconds > stop.seconds):
                stop = pause
        return stop

    def whom(self, job: Job, scope: Scope) -> list[tuple[str, str]]:
        """(scope, key) of the pauses a limit means: an account, a platform, or every platform of the same app."""
        platform = job.account.platform
        if scope is Scope.ACCOUNT:
            return [("account", str(job.account.account_id))]
        app = self._platforms[platform].rules.app
        if scope is Scope.APP and app:
            return [("platform", name) for name, each in self._platforms.items() if each.rules.app == app]
        return [("platform", platform)]

    def stops(self, job: Job, decision: Decision) -> Phase:
        """What a limit that was met stops: everything where hidden and visible calls count alike (`Rules.app`), and for a
        held job's pause; else only the lane in which it was met, and what comes before it."""
        counted_together = bool(self._platforms[job.account.platform].rules.app)
        return Phase.PUBLISH if counted_together or decision.action is Action.HOLD else job.phase

    async def _write(self, scope: str, key: str, pause: Pause, usage: Usage) -> None:
        now = self._runtime.monotonic()
        if self._written.get((scope, key, pause.phase), 0.0) - now > pause.seconds * REWRITE_SHARE:
            return
        while len(self._written) >= KEPT_MAX:
            self._written.pop(next(iter(self._written)))
        self._written[scope, key, pause.phase] = now + pause.seconds
        await self._queries.set_throttle(scope, key, seconds=pause.seconds, code=usage.code, phase=pause.phase)
        log.warning(
            "limits.slowed_down",
            scope=scope,
            percent=round(usage.percent),
            seconds=round(pause.seconds),
            code=usage.code,
        )
