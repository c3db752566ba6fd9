"""pgqueuer (https://pgqueuer.readthedocs.io): asyncpg as it recommends, with a pool; everything else as it comes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.queries import Queries

from bench.contenders.talk import CONCURRENCY, Handled


class Pgqueuer:
    def __init__(self, url: str) -> None:
        self.url = url
        self.handled = Handled()
        self._pool: Any = None
        self._queue: Any = None
        self._worker: asyncio.Task[None] | None = None

    async def _noop(self, job: Any) -> None:
        self.handled.note()

    async def install(self) -> None:
        self._pool = await asyncpg.create_pool(self.url, min_size=CONCURRENCY, max_size=CONCURRENCY + 2)
        self._queue = PgQueuer.from_asyncpg_pool(self._pool)
        self._queue.entrypoint("noop")(self._noop)
        await Queries(self._queue.connection).install()

    async def fill(self, jobs: int, due: datetime | None) -> None:
        after = None if due is None else due - datetime.now(UTC)
        for start in range(0, jobs, 1000):
            count = min(1000, jobs - start)
            await self._queue.qm.queries.enqueue(
                ["noop"] * count, [None] * count, [0] * count, [after or timedelta(0)] * count
            )

    async def insert(self) -> None:
        await self._queue.qm.queries.enqueue("noop", None)

    async def start(self) -> None:
        self._worker = asyncio.create_task(self._queue.run(batch_size=CONCURRENCY))

    async def stop(self) -> None:
        assert self._worker is not None
        self._queue.shutdown.set()
        await asyncio.wait({self._worker}, timeout=10)
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        await self._pool.close()


make = Pgqueuer
