"""Progress for the user, written rarely: the row is replicated to phones.

A change of stage is written at once; a change of percent at most once a second, and only if it is at least two points.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from orbyt_worker.model import Stage
from orbyt_worker.runtime import Runtime

SECONDS_MIN = 1.0
PERCENT_MIN = 2

# Where each stage lies on the whole job's bar, in percent.
_SPAN: dict[Stage, tuple[int, int]] = {
    Stage.WAITING: (0, 0),
    Stage.PREPARING: (0, 4),
    Stage.DOWNLOADING: (4, 20),
    Stage.UPLOADING: (4, 90),
    Stage.PROCESSING: (90, 94),
    Stage.PUBLISHING: (94, 96),
    Stage.VERIFYING: (96, 99),
}


class Progress:
    """One attempt's progress; `write(stage, percent)` stores it."""

    def __init__(self, runtime: Runtime, write: Callable[[Stage, int], Awaitable[None]]) -> None:
        self._runtime = runtime
        self._write = write
        self._stage: Stage | None = None
        self._percent = 0
        self._written_at = float("-inf")

    async def report(self, stage: Stage, fraction: float) -> None:
        low, high = _SPAN[stage]
        percent = low + round((high - low) * min(max(fraction, 0.0), 1.0))
        now = self._runtime.monotonic()
        if stage is self._stage and (now - self._written_at < SECONDS_MIN or percent - self._percent < PERCENT_MIN):
            return
        self._stage, self._percent, self._written_at = stage, percent, now
        await self._write(stage, percent)
