"""Found in a hostile review of the queue's SQL: each test is one way in which a job was lost, stuck, or looked at too early."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from orbyt_worker.db.pool import Database as Pool
from orbyt_worker.db.queries import Queries
from orbyt_worker.runtime import Runtime
from tests.factories import create_account, create_owner, create_user, insert_job
from tests.fix_postgres import Connection, Database

WAIT_SECONDS = 10.0


async def worker(db: Database, lease_seconds: float = 60) -> UUID:
    worker_id = uuid.uuid4()
    await db.execute("select orbyt_private.register_worker(%s, 'test', '0', '{}', %s)", [worker_id, lease_seconds])
    return worker_id


async def claim(db: Database, worker_id: UUID, *, background: int = 8, publish: int = 8) -> list[dict[str, Any]]:
    return await db.fetch(
        "select * from orbyt_private.claim_jobs(%s, %s, %s, 60)",
        [worker_id, background, publish],
    )


async def job_row(db: Database, job_id: UUID) -> dict[str, Any]:
    return await db.row("select * from orbyt.publish_jobs where job_id = %s", [job_id])


async def begin(db: Database, job: dict[str, Any], step: str = "finish_upload") -> str:
    answer: str = await db.value(
        "select orbyt_private.begin_publish(%s, %s, %s, 36)", [job["job_id"], job["attempt"], step]
    )
    return answer


async def until_waiting(db: Database, connection: Connection) -> None:
    """Until the statement running on `connection` waits for a lock."""
    pid = connection.info.backend_pid
    async with asyncio.timeout(WAIT_SECONDS):
        waiting = "select exists (select from pg_catalog.pg_locks l where l.pid = %s and not l.granted)"
        while not await db.value(
            waiting, [pid]
        ):  # a lock tells nobody that somebody waits: this asks, it does not sleep
            pass


async def start(db: Database, connection: Connection, statement: str, parameters: list[Any]) -> asyncio.Task[Any]:
    """Run a statement that will wait for a lock; returns once it waits."""

    async def run() -> Any:
        cursor = await connection.execute(statement, parameters)
        return await cursor.fetchone()

    task = asyncio.create_task(run())
    await until_waiting(db, connection)
    return task


async def within(task: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(task, WAIT_SECONDS)


# One row stops the fleet ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("publish_at", "expires_at"),
    [("now", "infinity"), ("now", "20000-01-01 00:00:00+00"), ("0044-03-15 00:00:00+00 BC", "2100-01-01 00:00:00+00")],
)
async def test_a_time_python_cannot_hold_does_not_stop_every_claim(
    db: Database, publish_at: str, expires_at: str
) -> None:
    """A signed-in user inserts one such row; psycopg cannot read it, so the whole batch of every worker's claim is lost, for ever."""
    user_id, account_id = await create_owner(db)
    attacker, theirs = await create_owner(db)
    innocent = await insert_job(db, user_id, account_id)
    try:
        await insert_job(db, attacker, theirs, publish_at=publish_at, expires_at=expires_at)
    except psycopg.Error as refused:
        assert "publish_at_invalid" in str(refused) or "expires_at_invalid" in str(refused)  # noqa: PT017
    pool = Pool(db.url("orbyt_worker"), size_max=2)
    await pool.open()
    try:
        queries = Queries(pool, Runtime())
        worker_id = uuid.uuid4()
        await queries.register_worker(worker_id, host="t", version="0", slots={}, lease_seconds=60)
        claims = await queries.claim_jobs(worker_id, background=8, publish=8, lease_seconds=60)
    finally:
        await pool.close()
    assert innocent in [each.job.job_id for each in claims]


# Fences -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["begin_publish", "save_step", "put_back", "fail_job"])
async def test_a_write_that_waited_for_the_take_back_is_stale(db: Database, function: str) -> None:
    """READ COMMITTED: after the wait only the locked row is read anew, the `exists` still saw the claim that was gone."""
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    worker_id = await worker(db)
    (job,) = await claim(db, worker_id)
    await db.value("select orbyt_private.save_step(%s, %s, 'start_upload', true, '{}')", [job_id, job["attempt"]])
    other, stale = await db.connect(autocommit=False), await db.connect()
    await other.execute("select orbyt_private.return_jobs(%s, %s)", [worker_id, [job_id]])
    arguments = {
        "begin_publish": "'finish_upload', 36",
        "save_step": "'upload', true, '{}'",
        "put_back": "0, 'publish', 'waiting'",
        "fail_job": "'title_missing', 'x'",
    }[function]
    task = await start(
        db, stale, f"select orbyt_private.{function}(%s, %s, {arguments}) as answer", [job_id, job["attempt"]]
    )
    await other.commit()
    assert await within(task) == {"answer": "stale"}


async def test_progress_of_an_attempt_that_was_taken_back_is_stale(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    worker_id = await worker(db)
    (job,) = await claim(db, worker_id)
    await db.value("select orbyt_private.save_step(%s, %s, 'start_upload', true, '{}')", [job_id, job["attempt"]])
    await db.value("select orbyt_private.return_jobs(%s, %s)", [worker_id, [job_id]])
    answer = await db.value("select orbyt_private.set_progress(%s, %s, 'uploading', 50)", [job_id, job["attempt"]])
    assert answer == "stale"


async def test_a_status_set_by_hand_during_the_call_is_looked_at_only_when_the_call_is_over(db: Database) -> None:
    """The Table Editor fences the worker, but its call may be in flight for call_timeout: the successor must not look before."""
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    (job,) = await claim(db, await worker(db))
    await begin(db, job)
    await db.execute("update orbyt.publish_jobs set status = 'queued' where job_id = %s", [job_id])
    row = await db.row(
        "select run_at >= now() + interval '35 seconds' as late from orbyt.publish_jobs where job_id = %s", [job_id]
    )
    assert row == {"late": True}


# What is out stays out -------------------------------------------------------------------------------------------------


async def test_a_confirmed_post_is_never_filed_as_not_published(db: Database) -> None:
    """Reached when an attempt cannot even be set up (a journal secret that does not open, a mistake of ours)."""
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    (job,) = await claim(db, await worker(db))
    await begin(db, job)
    await db.value(
        "select orbyt_private.confirm_publish(%s, %s, 'finish_upload', '{\"platform_post_id\": \"abc\"}')",
        [job_id, job["attempt"]],
    )
    await db.value("select orbyt_private.fail_job(%s, %s, 'internal_error', 'x')", [job_id, job["attempt"]])
    row = await job_row(db, job_id)
    assert (row["status"], row["platform_post_id"]) == ("published", "abc")


async def test_pruning_keeps_what_an_open_visible_call_needs(db: Database) -> None:
    """An outcome_unknown job that an admin sets to failed: after the prune a retry found "no upload session" and sent it again."""
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    (job,) = await claim(db, await worker(db))
    save = "select orbyt_private.save_step(%s, %s, %s, %s, '{}', '\\x00', 'k1')"
    await db.value(save, [job_id, job["attempt"], "start_upload", True])
    await begin(db, job)
    await db.value(save, [job_id, job["attempt"], "finish_upload", False])
    await db.value("select orbyt_private.hold_job(%s, %s, 'outcome_unknown', 'x')", [job_id, job["attempt"]])
    await db.execute("update orbyt.publish_jobs set status = 'failed' where job_id = %s", [job_id])
    await db.value("select orbyt_private.prune()")
    steps = await db.fetch(
        "select step, secret is not null as has_secret from orbyt_private.job_steps where job_id = %s order by step",
        [job_id],
    )
    assert steps == [{"step": "finish_upload", "has_secret": True}, {"step": "start_upload", "has_secret": True}]


# Deadlocks -------------------------------------------------------------------------------------------------------------


async def test_two_jobs_of_an_account_that_change_lanes_in_opposite_directions_do_not_deadlock(db: Database) -> None:
    """One has finished its upload (background → publish), one its visible call (publish → background): everyday business."""
    user_id, account_id = await create_owner(db)
    first, second = await insert_job(db, user_id, account_id), await insert_job(db, user_id, account_id)
    worker_id = await worker(db)
    jobs = {job["job_id"]: job for job in [*await claim(db, worker_id), *await claim(db, worker_id)]}
    put_back = "select orbyt_private.put_back(%s, %s, 0, %s, 'waiting') as answer"
    await db.value(put_back, [first, jobs[first]["attempt"], "publish"])
    (publishing,) = await claim(db, worker_id, background=0)
    blocker, to_background, to_publish = [await db.connect(autocommit=False) for _ in range(3)]
    await blocker.execute(
        "select 1 from orbyt_private.lanes where account_id = %s and phase = 'background' for update", [account_id]
    )
    one = await start(db, to_background, put_back, [first, publishing["attempt"], "background"])
    two = await start(db, to_publish, put_back, [second, jobs[second]["attempt"], "publish"])
    await blocker.rollback()

    async def finish(task: asyncio.Task[Any], connection: Connection) -> str:
        answer: str = (await task)["answer"]
        await connection.commit()
        return answer

    answers = await within(asyncio.gather(finish(one, to_background), finish(two, to_publish)))
    assert answers == ["ok", "ok"]


async def test_expiring_many_jobs_never_costs_an_app_its_insert(db: Database) -> None:
    """expire_jobs went from lane to lane by deadline, an insert for several accounts by account: a deadlock, and the app paid."""
    user_id = await create_user(db)
    low, high = sorted([await create_account(db, user_id), await create_account(db, user_id)])
    soon = datetime.now(UTC) + timedelta(hours=1)
    await insert_job(db, user_id, high, expires_at=soon)
    await insert_job(db, user_id, low, expires_at=soon + timedelta(minutes=1))
    blocker, upkeep, app = await db.connect(autocommit=False), await db.connect(), await db.connect()
    await blocker.execute("select 1 from orbyt_private.lanes where account_id = %s for update", [low])
    values = '(%s, %s, \'video\', \'t\', \'[{"type": "video", "url": "https://example.com/v.mp4"}]\')'
    inserting = await start(
        db,
        app,
        f"insert into orbyt.publish_jobs (user_id, account_id, kind, title, media) values {values}, {values} returning 1 as done",
        [user_id, low, user_id, high],
    )
    # By deadline the first lane would be the high one, which the insert will want next.
    expiring = await start(db, upkeep, "select orbyt_private.expire_jobs(200, %s) as jobs", [soon + timedelta(hours=1)])
    await blocker.rollback()
    inserted, expired = await within(asyncio.gather(inserting, expiring))
    assert (inserted, expired) == ({"done": 1}, {"jobs": 2})


# Stuck jobs ------------------------------------------------------------------------------------------------------------


async def test_deleting_jobs_by_hand_does_not_block_their_lane(db: Database) -> None:
    """A row deleted in the Table Editor while a worker has it: the lane counted it as in flight for ever."""
    user_id, account_id = await create_owner(db)
    for _ in range(3):
        await insert_job(db, user_id, account_id)
    worker_id = await worker(db)
    taken = [*await claim(db, worker_id), *await claim(db, worker_id)]
    assert len(taken) == 2
    await db.execute("delete from orbyt.publish_jobs where job_id = any(%s)", [[job["job_id"] for job in taken]])
    assert len(await claim(db, worker_id)) == 1


async def test_a_job_held_for_reconnecting_after_the_reconnect_goes_on(db: Database) -> None:
    """The refusal belonged to the old grant and arrives after the user has reconnected: nothing would ever release the job."""
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    (job,) = await claim(db, await worker(db))
    await db.value("select orbyt_private.hold_job(%s, %s, 'account_needs_reauth', 'x')", [job_id, job["attempt"]])
    await db.value("select orbyt_private.tend_accounts()")
    row = await job_row(db, job_id)
    assert (row["status"], row["needs_reauth"]) == ("queued", False)


async def test_a_job_put_back_while_its_accounts_jobs_are_being_held_is_held_as_well(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    (job,) = await claim(db, await worker(db))
    await db.execute("update orbyt.accounts set status = 'needs_reauth' where account_id = %s", [account_id])
    attempt = await db.connect(autocommit=False)
    await attempt.execute("select orbyt_private.put_back(%s, %s, 0, 'background', 'waiting')", [job_id, job["attempt"]])
    await db.value("select orbyt_private.tend_accounts()")
    await attempt.commit()
    await db.value("select orbyt_private.tend_accounts()")
    assert (await job_row(db, job_id))["status"] == "held"


async def test_a_first_job_inserted_while_its_account_is_reconnected_is_not_left_behind(db: Database) -> None:
    """Its lane was made from the old status and stayed blocked for ever."""
    user_id, account_id = await create_owner(db, status="needs_reauth", error_code="account_needs_reauth")
    async with db.as_user(user_id) as app:
        cursor = await app.execute(
            "insert into orbyt.publish_jobs (account_id, kind, title, media)"
            ' values (%s, \'video\', \'t\', \'[{"type": "video", "url": "https://example.com/v.mp4"}]\') returning job_id',
            [account_id],
        )
        inserted = await cursor.fetchone()
        await db.execute("update orbyt.accounts set status = 'active' where account_id = %s", [account_id])
    assert inserted is not None
    await db.value("select orbyt_private.tend_accounts()")
    assert [job["job_id"] for job in await claim(db, await worker(db))] == [inserted["job_id"]]


async def test_a_job_inserted_while_its_account_is_reconnected_and_tended_is_released(db: Database) -> None:
    user_id, account_id = await create_owner(db, status="needs_reauth", error_code="account_needs_reauth")
    async with db.as_user(user_id) as app:
        cursor = await app.execute(
            "insert into orbyt.publish_jobs (account_id, kind, title, media)"
            ' values (%s, \'video\', \'t\', \'[{"type": "video", "url": "https://example.com/v.mp4"}]\') returning job_id',
            [account_id],
        )
        inserted = await cursor.fetchone()
        await db.execute("update orbyt.accounts set status = 'active' where account_id = %s", [account_id])
        await db.value("select orbyt_private.tend_accounts()")
    assert inserted is not None
    await db.value("select orbyt_private.tend_accounts()")
    assert (await job_row(db, inserted["job_id"]))["status"] == "queued"


async def test_a_job_that_kills_every_worker_does_not_go_round_for_ever(db: Database) -> None:
    """A file on which the process dies (native decoder, memory): each take-back hands it to the next worker, uncounted."""
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    for _ in range(30):
        worker_id = await worker(db)
        await claim(db, worker_id)
        await db.execute(
            "update orbyt_private.workers set lease_until = now() - interval '1 second' where worker_id = %s",
            [worker_id],
        )
        await db.value("select orbyt_private.take_back()")
    assert (await job_row(db, job_id))["status"] in ("held", "failed")


async def test_an_open_visible_call_that_cannot_be_looked_at_is_held_in_the_end(db: Database) -> None:
    """Reconcile fails for days with free waits (session host answers 5xx): publishing for ever, and it cannot be cancelled."""
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    (job,) = await claim(db, await worker(db))
    await begin(db, job)
    await db.value(
        "select orbyt_private.put_back(%s, %s, 600, 'publish', 'publishing', 'platform_unavailable', 'x')",
        [job_id, job["attempt"]],
    )
    await db.value("select orbyt_private.expire_jobs(200, now() + interval '30 days')")
    row = await job_row(db, job_id)
    assert (row["status"], row["error_code"]) == ("held", "outcome_unknown")


# Pauses and the breaker ------------------------------------------------------------------------------------------------


async def test_jobs_in_flight_when_the_breaker_opens_are_no_failed_probes(db: Database) -> None:
    """Nine accounts meet one blip in the same second: the pause is that of one opening, not of four doublings."""
    accounts = [(await create_owner(db))[1] for _ in range(9)]
    connection = await db.connect(autocommit=False)
    for account_id in accounts:
        await connection.execute("select orbyt_private.report_outage('youtube', %s)", [account_id])
    await connection.commit()
    row = await db.row(
        "select extract(epoch from probe_at - opened_at)::int as seconds, openings from orbyt_private.breakers"
    )
    assert row == {"seconds": 30, "openings": 1}


async def test_a_throttle_does_not_shorten_a_pause_set_by_hand(db: Database) -> None:
    await create_owner(db)
    await db.execute("update orbyt.platforms set paused_until = now() + interval '1 day' where platform = 'youtube'")
    await db.value("select orbyt_private.set_throttle('platform', 'youtube', 30, 'platform_rate_limited')")
    assert await db.value(
        "select paused_until > now() + interval '23 hours' from orbyt.platforms where platform = 'youtube'"
    )


async def test_the_end_of_an_outage_does_not_end_a_pause_set_by_hand(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    await db.execute("update orbyt.platforms set paused_until = now() + interval '1 day' where platform = 'youtube'")
    for account in [(await create_owner(db))[1] for _ in range(5)]:
        await db.value("select orbyt_private.report_outage('youtube', %s)", [account])
    await db.execute("update orbyt_private.breakers set probe_at = now() - interval '1 second'")
    assert await claim(db, await worker(db)) == []  # no probe while a person has paused the platform
    await db.value("select orbyt_private.report_recovery('youtube')")
    assert await db.value(
        "select paused_until > now() + interval '23 hours' from orbyt.platforms where platform = 'youtube'"
    )
