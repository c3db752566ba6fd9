"""How the bench talks with a contender, and what every Python contender has in common.

    python -m bench.contenders NAME URL (drain JOBS | wake TIMES | due JOBS SECONDS | idle 0)

`drain` puts in JOBS jobs that do nothing, says `{"ready": true}`, waits for a line, works them off, and says
`{"seconds": …}`: from the first job to the last. `wake` starts an idle worker and measures TIMES times how long a job takes
from the moment its insert is sent to the moment its code runs: `{"seconds": [...]}`. `due` schedules JOBS jobs for one moment,
SECONDS ahead, and says how late each of them ran. `idle` starts a worker, says ready, and does nothing until a line comes.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

CONCURRENCY = 8
# How long a worker gets to settle after its start before it counts as idle.
SETTLE_SECONDS = 1.0
# Between two wake-ups, so that the worker is idle again.
GAP_SECONDS = (0.03, 0.09)
# A contender that has not seen its jobs by then is broken; `due` allows its own waiting on top.
PATIENCE_SECONDS = 300.0


class Handled:
    """The job that does nothing: notes when it ran."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self._changed = asyncio.Event()

    def note(self) -> None:
        self.at.append(time.time())
        self._changed.set()

    async def wait_for(self, count: int, seconds_max: float) -> None:
        """Until `count` jobs ran; TimeoutError after `seconds_max`."""
        async with asyncio.timeout(seconds_max):
            while len(self.at) < count:
                self._changed.clear()
                await self._changed.wait()


class Contender(Protocol):
    """One queue. `handled.note()` is its job."""

    handled: Handled

    async def install(self) -> None:
        """An empty queue in an empty database."""

    async def fill(self, jobs: int, due: datetime | None) -> None:
        """Put in so many jobs at once; `due` None is now."""

    async def insert(self) -> None:
        """Put in one job, as an application would; returns when it is committed."""

    async def start(self) -> None:
        """Start the worker; returns when it listens."""

    async def stop(self) -> None:
        """Stop the worker, finish what it holds, close connections."""


def say(**words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def hear() -> None:
    """Wait for one line."""
    await asyncio.to_thread(sys.stdin.readline)


async def perform(contender: Contender, mode: str, number: int, seconds: float) -> None:
    handled = contender.handled
    await contender.install()
    if mode == "drain":
        await contender.fill(number, None)
        say(ready=True)
        await hear()
        await contender.start()
        await handled.wait_for(number, PATIENCE_SECONDS)
        await contender.stop()
        say(seconds=handled.at[number - 1] - handled.at[0], jobs=len(handled.at))
    elif mode == "wake":
        await contender.start()
        await asyncio.sleep(SETTLE_SECONDS)
        taken = []
        # The first one is for caches and connections and does not count.
        for turn in range(number + 1):
            await asyncio.sleep(random.uniform(*GAP_SECONDS))
            sent_at = time.time()
            await contender.insert()
            await handled.wait_for(turn + 1, PATIENCE_SECONDS)
            taken.append(handled.at[turn] - sent_at)
        await contender.stop()
        say(seconds=taken[1:])
    elif mode == "due":
        due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
        await contender.fill(number, due)
        await contender.start()
        await handled.wait_for(number, seconds + PATIENCE_SECONDS)
        await contender.stop()
        say(seconds=[at - due.timestamp() for at in handled.at])
    elif mode == "idle":
        await contender.start()
        await asyncio.sleep(SETTLE_SECONDS)
        say(ready=True)
        await hear()
        await contender.stop()
    else:
        raise SystemExit(f"unknown mode {mode}")


def run(make: Callable[[str], Contender], arguments: list[str]) -> None:
    url, mode, number, *rest = arguments
    asyncio.run(perform(make(url), mode, int(number), float(rest[0]) if rest else 0.0))
