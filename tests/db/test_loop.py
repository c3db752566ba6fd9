"""The worker's loop against the real database: orphans, registration, lost leases, shutdown. Attempts are stand-ins, the queue is not."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest
from pydantic import SecretStr

from orbyt_worker.db.pool import Database as Pool
from orbyt_worker.db.queries import Claim, Queries
from orbyt_worker.health import Health
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.publishing.lease import Lease
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings
from orbyt_worker.worker.loop import Loop
from tests.factories import create_owner, insert_job
from tests.fix_postgres import Database


@dataclass
class Running:
    loop: Loop
    queries: Queries
    worker_id: UUID
    health: Health


@asynccontextmanager
async def loop_of(db: Database, execute: Callable[[Claim], Awaitable[None]]) -> AsyncIterator[Running]:
    """A registered loop that is not running yet."""
    pool = Pool(db.url("orbyt_worker"), size_max=3)
    await pool.open()
    runtime = Runtime()
    settings = Settings.model_validate(
        {"environment": "sandbox", "database_url": SecretStr(db.url("orbyt_worker")), "poll_seconds": 0.3}
    )
    health = Health(runtime)
    worker_id = uuid.uuid4()
    queries = Queries(pool, runtime)
    await db.execute("select orbyt_private.create_master_key('k1')")
    keys = MasterKeys(queries, runtime)
    await keys.load()
    loop = Loop(
        worker_id=worker_id,
        host="test",
        version="0",
        queries=queries,
        keys=keys,
        lease=Lease(runtime, settings.lease_seconds),
        execute=execute,
        goodbye=nothing_else,
        settings=settings,
        runtime=runtime,
        health=health,
    )
    await loop.register()
    try:
        yield Running(loop, queries, worker_id, health)
    finally:
        await pool.close()


async def nothing_else() -> None:
    """Nothing but jobs runs under the lease of these workers."""


async def never(claim: Claim) -> None:
    raise AssertionError("nothing should be run")


async def test_a_claim_whose_answer_was_lost_is_given_back_by_the_second_heartbeat(db: Database) -> None:
    """Otherwise it would be owned for ever: the worker lives and renews its lease, but does not know the job."""
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    async with loop_of(db, never) as worker:
        await worker.queries.claim_jobs(worker.worker_id, background=8, publish=8, lease_seconds=60)
        await worker.loop.heartbeat()
        assert await db.value("select worker_id from orbyt_private.job_queue") == worker.worker_id
        await worker.loop.heartbeat()
    assert await db.row("select worker_id, run_at <= now() as due from orbyt_private.job_queue") == {
        "worker_id": None,
        "due": True,
    }
    assert await db.value("select status from orbyt.publish_jobs where job_id = %s", [job_id]) == "queued"


async def test_an_orphan_whose_visible_call_was_begun_waits_for_it(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    async with loop_of(db, never) as worker:
        await worker.queries.claim_jobs(worker.worker_id, background=8, publish=8, lease_seconds=60)
        assert await db.value("select orbyt_private.begin_publish(%s, 1, 'finish', 100)", [job_id]) == "ok"
        await worker.loop.heartbeat()
        await worker.loop.heartbeat()
    assert await db.value("select run_at > now() + interval '90 seconds' from orbyt_private.job_queue") is True


async def test_a_worker_whose_row_was_pruned_registers_again_and_goes_on(db: Database) -> None:
    done = asyncio.Event()

    async def execute(claim: Claim) -> None:
        await worker.queries.fail_job(claim.job, code="title_missing", message="x")
        done.set()

    async with loop_of(db, execute) as worker:
        await db.execute("delete from orbyt_private.workers")
        running = asyncio.create_task(worker.loop.run())
        user_id, account_id = await create_owner(db)
        await insert_job(db, user_id, account_id)
        async with asyncio.timeout(10):
            await done.wait()
        worker.loop.stop()
        await running
    assert await db.value("select status from orbyt.publish_jobs") == "failed"


async def test_a_cancelled_job_is_stopped_by_the_next_heartbeat(db: Database) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def execute(claim: Claim) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    async with loop_of(db, execute) as worker:
        running = asyncio.create_task(worker.loop.run())
        async with asyncio.timeout(10):
            await started.wait()
            async with db.as_user(user_id) as app:
                await app.execute("select orbyt.cancel_job(%s)", [job_id])
            await worker.loop.heartbeat()
            await stopped.wait()
        worker.loop.stop()
        await running


async def test_a_stop_gives_unfinished_jobs_back(db: Database) -> None:
    started = asyncio.Event()

    async def execute(claim: Claim) -> None:
        started.set()
        await asyncio.Event().wait()

    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    async with loop_of(db, execute) as worker:
        running = asyncio.create_task(worker.loop.run())
        async with asyncio.timeout(20):
            await started.wait()
            worker.loop.stop()
            await running
        assert worker.health.ready().ready is False
    assert await db.value("select status from orbyt.publish_jobs where job_id = %s", [job_id]) == "queued"
    assert await db.value("select stopped_at is not null from orbyt_private.workers") is True


async def test_a_worker_newer_than_the_migrations_waits_and_recovers(db: Database) -> None:
    async with loop_of(db, never) as worker:
        await db.execute("alter function orbyt_private.next_due_in_seconds(timestamptz) rename to gone")
        running = asyncio.create_task(worker.loop.run())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(running)
        await db.execute("alter function orbyt_private.gone(timestamptz) rename to next_due_in_seconds")
        worker.loop.stop()
        async with asyncio.timeout(10):
            await running
