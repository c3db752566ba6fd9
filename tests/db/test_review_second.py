"""Second look of the hostile review: at the repairs of the first."""

from __future__ import annotations

import asyncio
from typing import Any

from psycopg import sql

from tests.db.test_review_queue import WAIT_SECONDS, begin, claim, job_row, within, worker
from tests.factories import create_account, create_owner, create_user, insert_job
from tests.fix_postgres import Connection, Database


async def start(db: Database, connection: Connection, statement: str, parameters: list[Any]) -> asyncio.Task[Any]:
    """Run a statement that may meet a lock; returns as soon as it waits or is through."""

    async def run() -> Any:
        return await (await connection.execute(statement.encode(), parameters)).fetchone()

    task = asyncio.create_task(run())
    waits = "select exists (select from pg_catalog.pg_locks l where l.pid = %s and not l.granted)"
    async with asyncio.timeout(WAIT_SECONDS):
        while not task.done() and not await db.value(waits, [connection.info.backend_pid]):
            pass
    return task


async def test_workers_that_die_together_never_cost_an_app_its_insert(db: Database) -> None:
    """take_back goes from worker to worker, and with it from lane to lane, in one transaction; an insert goes by account."""
    user_id = await create_user(db)
    low, high = sorted([await create_account(db, user_id), await create_account(db, user_id)])
    first, second = sorted([await worker(db), await worker(db)])
    await insert_job(db, user_id, high)
    assert len(await claim(db, first)) == 1
    last = await insert_job(db, user_id, low)
    assert len(await claim(db, second)) == 1
    await db.execute("update orbyt_private.workers set lease_until = now() - interval '1 second'")
    await db.execute(
        "create function public.gate() returns trigger language plpgsql as"
        " $$ begin perform pg_catalog.pg_advisory_xact_lock(42); return new; end $$"
    )
    await db.execute(
        sql.SQL(
            "create trigger gate before update on orbyt.publish_jobs for each row when (new.job_id = {}) execute function public.gate()"
        ).format(sql.Literal(str(last)))
    )
    gate, successor, app = await db.connect(), await db.connect(), await db.connect()
    await gate.execute("select pg_catalog.pg_advisory_lock(42)")
    taking = await start(db, successor, "select orbyt_private.take_back() as jobs", [])
    values = '(%s, %s, \'video\', \'t\', \'[{"type": "video", "url": "https://example.com/v.mp4"}]\')'
    inserting = await start(
        db,
        app,
        f"insert into orbyt.publish_jobs (user_id, account_id, kind, title, media) values {values}, {values} returning 1 as done",
        [user_id, low, user_id, high],
    )
    await gate.execute("select pg_catalog.pg_advisory_unlock(42)")
    assert await within(asyncio.gather(taking, inserting)) == [{"jobs": 2}, {"done": 1}]


async def test_an_account_that_changes_and_a_job_that_changes_lanes_do_not_deadlock(db: Database) -> None:
    """The update of an account locked its lanes in the order in which they happen to lie in the table."""
    user_id, account_id = await create_owner(db)
    first, second = await insert_job(db, user_id, account_id), await insert_job(db, user_id, account_id)
    worker_id = await worker(db)
    jobs = {job["job_id"]: job for job in [*await claim(db, worker_id), *await claim(db, worker_id)]}
    put_back = "select orbyt_private.put_back(%s, %s, 0, %s, 'waiting') as answer"
    await db.value(put_back, [first, jobs[first]["attempt"], "publish"])
    # The lane "background" now lies behind the lane "publish".
    await db.execute(
        "update orbyt_private.lanes set last_served_at = last_served_at where account_id = %s and phase = 'background'",
        [account_id],
    )
    blocker, attempt, reauth = await db.connect(autocommit=False), await db.connect(), await db.connect()
    await blocker.execute(
        "select 1 from orbyt_private.lanes where account_id = %s and phase = 'background' for update", [account_id]
    )
    moving = await start(db, attempt, put_back, [second, jobs[second]["attempt"], "publish"])
    changing = await start(
        db,
        reauth,
        "update orbyt.accounts set status = 'needs_reauth' where account_id = %s returning status::text",
        [account_id],
    )
    await blocker.rollback()
    assert await within(asyncio.gather(moving, changing)) == [{"answer": "ok"}, {"status": "needs_reauth"}]


async def test_locking_the_lanes_of_an_account_locks_all_of_them(db: Database) -> None:
    """A SQL function that returns one value may stop after its first row; one that returns void does not."""
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    (job,) = await claim(db, await worker(db))
    await db.value("select orbyt_private.put_back(%s, %s, 0, 'publish', 'waiting')", [job["job_id"], job["attempt"]])
    other = await db.connect(autocommit=False)
    await other.execute("select orbyt_private.lock_lanes(%s)", [account_id])
    assert await db.value("select count(*) from orbyt_private.lanes") == 2
    assert await db.fetch("select phase from orbyt_private.lanes for update skip locked") == []
    await other.rollback()


async def lose(db: Database, times: int) -> None:
    for _ in range(times):
        worker_id = await worker(db)
        await claim(db, worker_id)
        await db.execute(
            "update orbyt_private.workers set lease_until = now() - interval '1 second' where worker_id = %s",
            [worker_id],
        )
        await db.value("select orbyt_private.take_back()")


async def test_a_released_job_is_not_held_again_for_old_losses(db: Database) -> None:
    """An operator found the cause and released it; a worker then stops in good order and gives it back."""
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    await lose(db, 8)
    assert (await job_row(db, job_id))["error_code"] == "worker_lost"
    assert await db.value("select orbyt_private.release_job(%s)", [job_id]) is True
    worker_id = await worker(db)
    assert len(await claim(db, worker_id)) == 1
    await db.value("select orbyt_private.give_back(%s)", [worker_id])
    assert (await job_row(db, job_id))["status"] == "queued"


async def test_losses_are_counted_in_a_row(db: Database) -> None:
    """A job that polls for weeks and ends every attempt in good order is not held because eight workers died in that time."""
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    await lose(db, 7)
    (job,) = await claim(db, await worker(db))
    await db.value("select orbyt_private.put_back(%s, %s, 0, 'background', 'waiting')", [job["job_id"], job["attempt"]])
    await lose(db, 1)
    assert (await job_row(db, job_id))["status"] == "queued"


async def test_jobs_in_doubt_do_not_keep_others_from_expiring(db: Database) -> None:
    """They fill the batch, and are left alone for two days."""
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    (job,) = await claim(db, await worker(db))
    await begin(db, job)
    await db.value(
        "select orbyt_private.put_back(%s, %s, 600, 'publish', 'publishing', 'platform_unavailable', 'x')",
        [job["job_id"], job["attempt"]],
    )
    late = await insert_job(db, user_id, account_id)
    await db.value("select orbyt_private.expire_jobs(1, now() + interval '25 hours')")
    assert (await job_row(db, late))["status"] == "failed"
