"""Orbyt's own loop, claim and schema functions; the attempt is replaced by one `succeed_job`.

Inserts are those of the app: role authenticated with claims, row level security, checks, triggers, history. Every job has an
account of its own, since one account works on one job at a time.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from bench.contenders.talk import CONCURRENCY, Handled
from orbyt_worker.db.notify import JOBS, Listener
from orbyt_worker.db.pool import Database
from orbyt_worker.db.queries import Claim, Queries
from orbyt_worker.health import Health
from orbyt_worker.logs import Redactor, configure
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.publishing.lease import Lease
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Environment, Settings
from orbyt_worker.worker.loop import Loop
from orbyt_worker.worker.upkeep import cancel_and_wait

# Enough that no wake-up meets an account which is still busy with the one before.
WAKE_ACCOUNTS = 50
MEDIA = '[{"type": "video", "url": "mux://abcdefghijklmnop"}]'


class Orbyt:
    def __init__(self, url: str) -> None:
        self.handled = Handled()
        self._url = url
        self._accounts: list[UUID] = []
        self._inserted = 0
        self._user_id = uuid.uuid4()
        self._app: Any = None
        self._database: Database | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._main: asyncio.Task[None] | None = None
        self._loop: Loop | None = None

    async def install(self) -> None:
        """The database is a copy of one with everything in it; here come one customer and some accounts."""
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            await connection.execute(
                "insert into auth.users (id, email, aud, role) values (%s, 'bench@example.com', 'authenticated', 'authenticated')",
                [self._user_id],
            )
        await self._add_accounts(WAKE_ACCOUNTS)
        self._app = await psycopg.AsyncConnection.connect(
            make_conninfo(self._url, user="authenticator"), autocommit=True
        )
        await self._app.execute("set role authenticated")
        claims = json.dumps({"sub": str(self._user_id), "role": "authenticated"})
        await self._app.execute("select set_config('request.jwt.claims', %s, false)", [claims])

    async def _add_accounts(self, count: int) -> None:
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            cursor = await connection.execute(
                "insert into orbyt.accounts (user_id, platform, platform_account_id, name, status) "
                "select %s, 'youtube', 'UC' || gen_random_uuid(), 'Bench', 'active' from generate_series(1, %s) returning account_id",
                [self._user_id, count],
            )
            self._accounts += [row[0] for row in await cursor.fetchall()]

    async def fill(self, jobs: int, due: datetime | None) -> None:
        await self._add_accounts(max(jobs - len(self._accounts), 0))
        await self._app.execute(
            "insert into orbyt.publish_jobs (account_id, kind, title, media, publish_at) "
            "select unnest(%s::uuid[]), 'video', 'A post', %s::jsonb, %s",
            [self._accounts[:jobs], MEDIA, due or datetime.now(UTC)],
        )
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            await connection.execute("analyze")

    async def insert(self) -> None:
        account_id = self._accounts[self._inserted % len(self._accounts)]
        self._inserted += 1
        await self._app.execute(
            "insert into orbyt.publish_jobs (account_id, kind, title, media) values (%s, 'video', 'A post', %s::jsonb)",
            [account_id, MEDIA],
        )

    async def start(self) -> None:
        configure(level="warning", fmt="json", redactor=Redactor())
        url = make_conninfo(self._url, user="orbyt_worker")
        settings = Settings(
            environment=Environment.SANDBOX, database_url=SecretStr(url), background_slots=CONCURRENCY, publish_slots=CONCURRENCY
        )  # fmt: skip
        runtime = Runtime()
        self._database = Database(url, size_max=settings.database_pool_size_max)
        await self._database.open()
        queries = Queries(self._database, runtime)
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            await connection.execute("select orbyt_private.create_master_key('bench')")
        keys = MasterKeys(queries, runtime)
        await keys.load()

        async def execute(claim: Claim) -> None:
            self.handled.note()
            await queries.succeed_job(claim.job, published_at=datetime.now(UTC))

        async def nothing_else() -> None:
            """Only jobs here."""

        self._loop = Loop(
            worker_id=uuid.uuid4(),
            host="bench",
            version="0",
            queries=queries,
            keys=keys,
            lease=Lease(runtime, settings.lease_seconds),
            execute=execute,
            goodbye=nothing_else,
            settings=settings,
            runtime=runtime,
            health=Health(runtime),
        )
        await self._loop.register()
        self._tasks = {
            asyncio.create_task(self._loop.keep_lease()),
            asyncio.create_task(Listener(url, runtime, {JOBS: self._loop.wake}).run()),
        }
        self._main = asyncio.create_task(self._loop.run())

    async def stop(self) -> None:
        assert self._loop is not None
        assert self._main is not None
        assert self._database is not None
        self._loop.stop()
        await self._main
        await cancel_and_wait(self._tasks)
        await self._database.close()
        await self._app.close()


make = Orbyt
