"""A clock that tests move, and a Runtime made of it: no test waits for real time to pass."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from orbyt_worker.runtime import Runtime


class FakeClock:
    """Time that moves only when told, or when somebody sleeps: `sleep` moves it and returns after one turn of the loop."""

    def __init__(self, start: datetime = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 1_000.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(max(seconds, 0))
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def fake_runtime(clock: FakeClock, *, seed: int = 0, checkpoint: Callable[[str, str], None] | None = None) -> Runtime:
    """A Runtime on `clock`, with random numbers and ids that repeat from run to run."""
    source = random.Random(seed)
    runtime = Runtime(
        now=clock.now,
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        random=source,
        new_id=lambda: uuid.UUID(int=source.getrandbits(128), version=4),
    )
    if checkpoint is not None:
        runtime.checkpoint = checkpoint
    return runtime


@pytest.fixture
def runtime(clock: FakeClock) -> Runtime:
    return fake_runtime(clock)
