"""The floor: a bare table, `for update skip locked`, one update when done, LISTEN. No history, no tenants, no retries, no leases."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from bench.contenders.talk import CONCURRENCY, Handled

POLL_SECONDS = 15.0
SCHEMA = """
create table jobs (job_id bigint generated always as identity primary key, run_at timestamptz not null default now(), status text not null default 'queued');
create index jobs_due_idx on jobs (run_at) where status = 'queued';
create function tell() returns trigger language plpgsql as $$ begin perform pg_notify('jobs', ''); return null; end $$;
create trigger tell after insert on jobs for each statement execute function tell();
"""
CLAIM = """
update jobs set status = 'running' where job_id = (
  select job_id from jobs where status = 'queued' and run_at <= now() order by run_at limit 1 for update skip locked
) returning job_id
"""
NEXT = "select extract(epoch from min(run_at) - now())::float8 from jobs where status = 'queued'"


class Plain:
    def __init__(self, url: str) -> None:
        self.url = url
        self.handled = Handled()
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = [asyncio.Event() for _ in range(CONCURRENCY)]
        self._client: AsyncConnection[TupleRow] | None = None

    async def _connect(self) -> AsyncConnection[TupleRow]:
        return await psycopg.AsyncConnection.connect(self.url, autocommit=True)

    async def install(self) -> None:
        self._client = await self._connect()
        await self._client.execute(SCHEMA)

    async def fill(self, jobs: int, due: datetime | None) -> None:
        assert self._client is not None
        await self._client.execute(
            "insert into jobs (run_at) select %s::timestamptz from generate_series(1, %s)",
            [due or datetime.now(UTC), jobs],
        )

    async def insert(self) -> None:
        assert self._client is not None
        await self._client.execute("insert into jobs default values")

    async def start(self) -> None:
        listener = await self._connect()
        await listener.execute("listen jobs")
        self._tasks.append(asyncio.create_task(self._listen(listener)))
        for wake in self._wake:
            self._tasks.append(asyncio.create_task(self._work(await self._connect(), wake)))

    async def _listen(self, connection: AsyncConnection[TupleRow]) -> None:
        async with connection:
            async for _ in connection.notifies():
                for wake in self._wake:
                    wake.set()

    async def _work(self, connection: AsyncConnection[TupleRow], wake: asyncio.Event) -> None:
        async with connection:
            while True:
                wake.clear()
                row = await (await connection.execute(CLAIM)).fetchone()
                if row is not None:
                    self.handled.note()
                    await connection.execute("update jobs set status = 'done' where job_id = %s", row)
                    continue
                due = await (await connection.execute(NEXT)).fetchone()
                assert due is not None
                pause = POLL_SECONDS if due[0] is None else min(max(due[0], 0.0) + 0.005, POLL_SECONDS)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), pause)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert self._client is not None
        await self._client.close()


make = Plain
