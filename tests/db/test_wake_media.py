"""Jobs that wait for a file at Mux look again when Mux says something, and never more often than is good for Mux."""

from __future__ import annotations

import asyncio
from uuid import UUID

import psycopg

from tests.factories import create_owner, insert_job
from tests.fix_postgres import Database

WAIT = """
update orbyt.publish_jobs
set status = 'queued', stage = 'preparing', error_code = %s, error_message = 'waits', retryable = true, run_at = now() + interval '50 seconds'
where job_id = %s
"""
DUE = "select job_id from orbyt.publish_jobs where run_at <= now() + interval '10 seconds' order by created_at, job_id"
NEVER_LOOKED_LATELY = "select orbyt_private.wake_media(%s, 100, interval '0')"


async def waiting_job(
    db: Database, user_id: UUID, account_id: UUID, url: str, code: str | None = "media_not_ready"
) -> UUID:
    job_id = await insert_job(db, user_id, account_id, media=[{"type": "video", "url": url}])
    await db.execute(WAIT, [code, job_id])
    return job_id


async def test_those_that_name_the_video_look_again(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    named = [
        await waiting_job(db, user_id, account_id, url)
        for url in ("mux://abcDEF1234567890abcd", "https://stream.mux.com/abcDEF1234567890abcd.m3u8?token=x.y.z")
    ]
    await waiting_job(db, user_id, account_id, "mux://ABCdef1234567890abcd")
    await waiting_job(db, user_id, account_id, "mux://abcDEF1234567890abcd", code="media_source_unavailable")
    await waiting_job(db, user_id, account_id, "mux://abcDEF1234567890abcd", code=None)
    assert await db.value(NEVER_LOOKED_LATELY, [["none", "abcDEF1234567890abcd"]]) == 2
    assert sorted(row["job_id"] for row in await db.fetch(DUE)) == sorted(named)
    # The lane knows.
    assert await db.value("select next_run_at <= now() from orbyt_private.lanes") is True


async def test_an_event_that_names_none_wakes_all_but_no_more_than_the_limit(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    for number in range(3):
        await waiting_job(db, user_id, account_id, f"mux://abcDEF1234567890abc{number}")
    assert await db.value("select orbyt_private.wake_media(null, 2, interval '0')") == 2
    assert await db.value(NEVER_LOOKED_LATELY, [None]) == 1
    assert await db.value(NEVER_LOOKED_LATELY, [None]) == 0


async def test_nobody_looks_again_within_five_seconds(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await waiting_job(db, user_id, account_id, "mux://abcDEF1234567890abcd")
    assert await db.value("select orbyt_private.wake_media()") == 1
    planned = await db.row(
        "select run_at, extract(epoch from run_at - now())::float as seconds from orbyt.publish_jobs where job_id = %s",
        [job_id],
    )
    assert 4 < planned["seconds"] <= 5
    # A hundred further events change nothing.
    assert await db.value("select orbyt_private.wake_media()") == 0
    assert await db.value("select run_at from orbyt.publish_jobs") == planned["run_at"]


async def test_a_claimed_job_is_left_alone(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    await waiting_job(db, user_id, account_id, "mux://abcDEF1234567890abcd")
    await db.execute(
        "insert into orbyt_private.workers (worker_id, host, version, slots, started_at, heartbeat_at, lease_until) "
        "values ('00000000-0000-0000-0000-000000000001', 'h', '0', '{}', now(), now(), now() + interval '1 minute')"
    )
    await db.execute(
        "update orbyt_private.job_queue set worker_id = '00000000-0000-0000-0000-000000000001', claimed_at = now()"
    )
    assert await db.value(NEVER_LOOKED_LATELY, [None]) == 0


async def test_workers_are_told_and_nobody_waits_for_a_locked_job(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    locked = await waiting_job(db, user_id, account_id, "mux://abcDEF1234567890abcd")
    await waiting_job(db, user_id, account_id, "mux://abcDEF1234567890abcd")
    listener = await db.connect()
    await listener.execute("listen orbyt_jobs")
    holder = await db.connect(autocommit=False)
    await holder.execute("select from orbyt.publish_jobs where job_id = %s for update", [locked])
    assert await db.value(NEVER_LOOKED_LATELY, [None]) == 1
    async with asyncio.timeout(5):
        async for notified in listener.notifies(stop_after=1):
            assert notified.channel == "orbyt_jobs"
    await holder.rollback()


async def test_only_the_worker_may(db: Database) -> None:
    worker = await db.connect("orbyt_worker")
    assert (await (await worker.execute("select orbyt_private.wake_media()")).fetchone()) == {"wake_media": 0}
    for refused in (db.as_service_role(), db.as_anon()):
        async with refused as app:
            try:
                await app.execute("select orbyt_private.wake_media()")
            except psycopg.errors.InsufficientPrivilege:
                await app.rollback()
            else:
                raise AssertionError("should be refused")
