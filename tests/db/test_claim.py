"""Claiming: turns between accounts, fences, lanes, take-back."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.factories import create_account, create_owner, create_user, insert_job
from tests.fix_postgres import Database


async def worker(db: Database, lease_seconds: float = 60) -> UUID:
    worker_id = uuid.uuid4()
    await db.execute("select orbyt_private.register_worker(%s, 'test', '0', '{}', %s)", [worker_id, lease_seconds])
    return worker_id


async def claim(
    db: Database, worker_id: UUID, background: int = 8, publish: int = 8, **more: Any
) -> list[dict[str, Any]]:
    now = more.get("now")
    return await db.fetch(
        "select * from orbyt_private.claim_jobs(%s, %s, %s, 60, coalesce(%s, now()))",
        [worker_id, background, publish, now],
    )


async def put_back(db: Database, job: dict[str, Any], phase: str = "background", seconds: float = 0) -> str:
    answer: str = await db.value(
        "select orbyt_private.put_back(%s, %s, %s, %s, 'waiting')", [job["job_id"], job["attempt"], seconds, phase]
    )
    return answer


async def test_claim_gives_the_whole_job_and_counts_the_attempt(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id, title="Hello", options={"privacy": "unlisted"})
    (job,) = await claim(db, await worker(db))
    assert (job["job_id"], job["attempt"], job["phase"], job["title"]) == (job_id, 1, "background", "Hello")
    assert job["options"] == {"privacy": "unlisted"}
    row = await db.row("select status, stage, attempt from orbyt.publish_jobs where job_id = %s", [job_id])
    assert row == {"status": "publishing", "stage": "preparing", "attempt": 1}


async def test_two_workers_never_get_the_same_job(db: Database) -> None:
    for _ in range(6):
        user_id, account_id = await create_owner(db)
        await insert_job(db, user_id, account_id)
    first = await claim(db, await worker(db), background=3)
    second = await claim(db, await worker(db), background=8)
    assert len(first) == 3
    assert len(second) == 3
    assert not {job["job_id"] for job in first} & {job["job_id"] for job in second}


async def test_a_lane_locked_by_another_transaction_is_skipped_not_waited_for(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    other = await db.connect(autocommit=False)
    await other.execute("select 1 from orbyt_private.lanes where account_id = %s for update", [account_id])
    await db.execute("set lock_timeout = '2s'")
    assert await claim(db, await worker(db)) == []
    await other.rollback()


async def test_accounts_take_turns(db: Database) -> None:
    user_id = await create_user(db)
    busy, quiet = await create_account(db, user_id), await create_account(db, user_id)
    for _ in range(5):
        await insert_job(db, user_id, busy)
    await insert_job(db, user_id, quiet)
    worker_id = await worker(db)
    served = []
    for _ in range(3):
        (job,) = await claim(db, worker_id, background=1)
        served.append(job["account_id"])
        await db.value("select orbyt_private.fail_job(%s, %s, 'title_missing', 'x')", [job["job_id"], job["attempt"]])
    assert served[:2] in ([busy, quiet], [quiet, busy])


async def test_an_account_has_a_bounded_number_in_flight_across_the_fleet(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    for _ in range(5):
        await insert_job(db, user_id, account_id)
    jobs = []
    for _ in range(4):
        jobs += await claim(db, await worker(db))
    assert len(jobs) == 2  # background_in_flight_max
    for job in jobs:
        await put_back(db, job, "publish")
    publishing = []
    for _ in range(3):
        publishing += await claim(db, await worker(db), background=0)
    assert len(publishing) == 1  # one visible call of an account at a time


async def test_publish_slots_are_not_taken_by_background_work(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    worker_id = await worker(db)
    assert await claim(db, worker_id, background=0, publish=5) == []
    (job,) = await claim(db, worker_id, background=1, publish=0)
    await put_back(db, job, "publish")
    assert await claim(db, worker_id, background=5, publish=0) == []
    assert len(await claim(db, worker_id, background=0, publish=1)) == 1


async def test_a_post_for_next_week_is_looked_at_now_and_in_its_own_lane(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id, publish_at=datetime.now(UTC) + timedelta(days=7))
    (job,) = await claim(db, await worker(db))
    assert job["phase"] == "inspect"


async def test_the_stale_attempt_changes_nothing_and_is_told_so(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    slow, fast = await worker(db, lease_seconds=1), await worker(db)
    (old,) = await claim(db, slow)
    later = datetime.now(UTC) + timedelta(seconds=120)
    (new,) = await claim(db, fast, now=later)
    assert new["attempt"] == old["attempt"] + 1
    before = await db.row("select * from orbyt.publish_jobs where job_id = %s", [job_id])
    for statement in (
        "orbyt_private.save_step(%(j)s, %(a)s, 'upload', true, '{}')",
        "orbyt_private.forget_steps(%(j)s, %(a)s, '{upload}')",
        "orbyt_private.begin_publish(%(j)s, %(a)s, 'finish', 10)",
        "orbyt_private.confirm_publish(%(j)s, %(a)s, 'finish', '{\"platform_post_id\": \"x\"}')",
        "orbyt_private.unbegin_publish(%(j)s, %(a)s, 'finish')",
        "orbyt_private.set_progress(%(j)s, %(a)s, 'uploading', 50)",
        "orbyt_private.put_back(%(j)s, %(a)s, 0, 'background', 'waiting')",
        "orbyt_private.succeed_job(%(j)s, %(a)s, now())",
        "orbyt_private.fail_job(%(j)s, %(a)s, 'title_missing', 'x')",
        "orbyt_private.hold_job(%(j)s, %(a)s, 'outcome_unknown', 'x')",
    ):
        answer = await db.value(f"select {statement}", {"j": job_id, "a": old["attempt"]})
        assert answer == "stale", statement
    assert await db.row("select * from orbyt.publish_jobs where job_id = %s", [job_id]) == before
    assert await db.value("select count(*) from orbyt_private.job_steps") == 0


async def test_a_dead_workers_job_comes_back_only_when_its_call_cannot_be_in_flight(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    dead = await worker(db, lease_seconds=10)
    start = datetime.now(UTC)
    (job,) = await db.fetch("select * from orbyt_private.claim_jobs(%s, 1, 1, 10, %s)", [dead, start])
    assert await db.value("select orbyt_private.begin_publish(%s, %s, 'finish', 120)", [job_id, job["attempt"]]) == "ok"
    alive = await worker(db, lease_seconds=3600)
    assert await claim(db, alive, now=start + timedelta(seconds=11)) == []
    assert await claim(db, alive, now=start + timedelta(seconds=125)) == []
    (again,) = await claim(db, alive, now=start + timedelta(seconds=131))
    assert again["steps"][0]["state"] == "begun"


async def test_a_worker_that_stops_gives_its_jobs_back_at_once(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    leaving = await worker(db)
    await claim(db, leaving)
    assert await db.value("select orbyt_private.give_back(%s)", [leaving]) == 1
    assert await db.value("select status from orbyt.publish_jobs where job_id = %s", [job_id]) == "queued"
    assert len(await claim(db, await worker(db))) == 1


async def test_heartbeat_names_the_jobs_still_owned(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    worker_id = await worker(db)
    await claim(db, worker_id)
    owned = await db.fetch("select * from orbyt_private.heartbeat(%s, 60)", [worker_id])
    assert owned == [{"job_id": job_id, "attempt": 1}]
    async with db.as_user(user_id) as app:
        await app.execute("select orbyt.cancel_job(%s)", [job_id])
    assert await db.fetch("select * from orbyt_private.heartbeat(%s, 60)", [worker_id]) == []


async def test_a_throttled_account_and_a_paused_platform_are_skipped(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    worker_id = await worker(db)
    await db.value(
        "select orbyt_private.set_throttle('account', %s, 100, 'platform_rate_limited')::text", [str(account_id)]
    )
    assert await claim(db, worker_id) == []
    assert await db.value("select orbyt_private.next_due_in_seconds()") == pytest.approx(100, abs=5)
    await db.fetch("select orbyt_private.clear_throttle('account', %s)", [str(account_id)])
    await db.value("select orbyt_private.set_throttle('platform', 'youtube', 100, 'platform_paused')::text")
    assert await claim(db, worker_id) == []
    assert await db.value("select pause_code from orbyt.platforms where platform = 'youtube'") == "platform_paused"
    await db.fetch("select orbyt_private.clear_throttle('platform', 'youtube')")
    assert len(await claim(db, worker_id)) == 1


async def test_an_outage_of_many_accounts_opens_the_breaker_and_one_probe_closes_it(db: Database) -> None:
    worker_id = await worker(db)
    start = datetime.now(UTC)
    accounts = []
    for _ in range(6):
        user_id, account_id = await create_owner(db)
        await insert_job(db, user_id, account_id)
        accounts.append(account_id)
    for account_id in accounts[:4]:
        assert await db.value("select orbyt_private.report_outage('youtube', %s, %s)", [account_id, start]) is False
    assert await db.value("select orbyt_private.report_outage('youtube', %s, %s)", [accounts[4], start]) is True
    assert await claim(db, worker_id, now=start + timedelta(seconds=5)) == []
    probe = await claim(db, worker_id, now=start + timedelta(seconds=35))
    assert len(probe) == 1
    assert await claim(db, worker_id, now=start + timedelta(seconds=36)) == []
    await db.fetch("select orbyt_private.report_recovery('youtube')")
    assert len(await claim(db, worker_id, now=start + timedelta(seconds=40))) == 5


async def test_concurrent_inserts_never_lose_a_wake_up(db: Database) -> None:
    """Two transactions insert for one account; the one that commits last must not overwrite the lane with what it saw first."""
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    insert = (
        "insert into orbyt.publish_jobs (user_id, account_id, kind, title, media) "
        'values (%s, %s, \'video\', \'t\', \'[{"type": "video", "url": "https://example.com/v.mp4"}]\')'
    )
    first, second = await db.connect(autocommit=False), await db.connect(autocommit=False)
    await first.execute(insert, [user_id, account_id])
    import asyncio

    waiting = asyncio.create_task(second.execute(insert, [user_id, account_id]))
    await first.commit()
    await waiting
    await second.commit()
    lane = await db.row(
        "select next_run_at = (select min(run_at) from orbyt_private.job_queue) as same, in_flight from orbyt_private.lanes"
    )
    assert lane == {"same": True, "in_flight": 0}


async def test_a_platform_paused_by_hand_is_skipped(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    worker_id = await worker(db)
    await db.execute("update orbyt.platforms set paused_until = now() + interval '1 hour' where platform = 'youtube'")
    assert await claim(db, worker_id) == []
    assert (await db.value("select orbyt_private.queue_facts()"))["oldest_due_age_seconds"] == 0
    await db.execute("update orbyt.platforms set paused_until = null")
    assert len(await claim(db, worker_id)) == 1
