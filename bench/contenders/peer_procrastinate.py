"""procrastinate (https://procrastinate.readthedocs.io): psycopg pool, LISTEN on, everything else as it comes."""

from __future__ import annotations

import asyncio
from datetime import datetime

from procrastinate import App, PsycopgConnector

from bench.contenders.talk import CONCURRENCY, Handled


class Procrastinate:
    def __init__(self, url: str) -> None:
        self.handled = Handled()
        self.app = App(connector=PsycopgConnector(conninfo=url, min_size=CONCURRENCY, max_size=CONCURRENCY + 2))
        self.task = self.app.task(name="noop")(self._noop)
        self._worker: asyncio.Task[None] | None = None

    async def _noop(self) -> None:
        self.handled.note()

    async def install(self) -> None:
        await self.app.open_async()
        await self.app.schema_manager.apply_schema_async()

    async def fill(self, jobs: int, due: datetime | None) -> None:
        deferrer = self.task if due is None else self.task.configure(schedule_at=due)
        for start in range(0, jobs, 1000):
            await deferrer.batch_defer_async(*({} for _ in range(start, min(start + 1000, jobs))))

    async def insert(self) -> None:
        await self.task.defer_async()

    async def start(self) -> None:
        self._worker = asyncio.create_task(
            self.app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False)
        )

    async def stop(self) -> None:
        assert self._worker is not None
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        await self.app.close_async()


make = Procrastinate
