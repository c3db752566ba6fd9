"""Limits shared by the fleet: rolling allowances, pauses for hidden work only, pauses of a whole app, usage before 100 %."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orbyt_worker.db.pool import Database as Pool
from orbyt_worker.db.queries import Queries
from orbyt_worker.errors.catalog import Scope
from orbyt_worker.model import Phase, Snooze
from orbyt_worker.platforms.base import Bucket, Usage, Window
from orbyt_worker.platforms.registry import platforms
from orbyt_worker.publishing.limits import Limits, pause_of
from orbyt_worker.publishing.quota import LedgerQuota
from tests.db.test_claim import claim, put_back, worker
from tests.factories import create_account, create_owner, create_user, insert_job
from tests.fix_clock import FakeClock, fake_runtime
from tests.fix_postgres import Database
from tests.platforms.driver import make_job, make_post, sandbox_settings

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


async def reserve(db: Database, once: str, *, units: int = 1, units_max: int = 3, at: datetime = NOW) -> dict[str, Any]:
    return await db.row(
        "select granted, reset_in_seconds from orbyt_private.reserve_rolling_quota('reels', 'page', %s, %s, %s, %s)",
        [once, units, units_max, at],
    )


async def test_units_come_back_a_day_after_each_use(db: Database) -> None:
    for hour in range(3):
        assert (await reserve(db, f"job-{hour}", at=NOW + timedelta(hours=hour)))["granted"]
    refused = await reserve(db, "job-3", at=NOW + timedelta(hours=3))
    assert refused == {"granted": False, "reset_in_seconds": pytest.approx(21 * 3600)}
    # Two units are back when the second use is a day old.
    two = await reserve(db, "job-4", units=2, at=NOW + timedelta(hours=3))
    assert two == {"granted": False, "reset_in_seconds": pytest.approx(22 * 3600)}
    assert (await reserve(db, "job-3", at=NOW + timedelta(hours=24, seconds=1)))["granted"]


async def test_the_same_use_is_counted_once(db: Database) -> None:
    for _ in range(5):
        assert (await reserve(db, "the job"))["granted"]
    assert await db.value("select sum(units) from orbyt_private.quota_uses") == 1


async def test_two_workers_do_not_both_get_the_last_unit(db: Database) -> None:
    connections = [await db.connect("orbyt_worker") for _ in range(4)]
    statement = b"select granted from orbyt_private.reserve_rolling_quota('reels', 'page', %s, 1, 1)"

    async def one(number: int) -> bool:
        row = await (await connections[number].execute(statement, [f"job-{number}"])).fetchone()
        assert row is not None
        return bool(row["granted"])

    assert sorted(await asyncio.gather(*(one(number) for number in range(4)))) == [False, False, False, True]


async def test_what_the_platform_calls_used_up_is_asked_for_again_in_an_hour(db: Database) -> None:
    assert (await reserve(db, "job-0"))["granted"]
    assert await db.value("select orbyt_private.close_rolling_quota('reels', 'page', 3, %s)", [NOW]) == 3600
    assert not (await reserve(db, "job-1", at=NOW + timedelta(minutes=59)))["granted"]
    assert (await reserve(db, "job-1", at=NOW + timedelta(minutes=61)))["granted"]
    left = await db.row("select bucket, units_max from orbyt_private.quota_left where bucket = 'reels'")
    assert left == {"bucket": "reels", "units_max": 3}


async def test_a_rolling_bucket_waits_with_its_code(db: Database) -> None:
    queries, pool = await connected(db)
    job = make_job(NOW, "youtube", "c", make_post(NOW))
    bucket = {"reels": Bucket(1, "platform_rate_limited", Window.ROLLING_DAY)}
    quota = LedgerQuota(queries, fake_runtime(FakeClock()), bucket, job)
    try:
        await quota.reserve("reels", once="reel")
        await quota.reserve("reels", once="reel")
        with pytest.raises(Snooze) as waiting:
            await quota.reserve("reels", once="another")
    finally:
        await pool.close()
    assert waiting.value.code == "platform_rate_limited"
    assert waiting.value.seconds > 23 * 3600


async def connected(db: Database) -> tuple[Queries, Pool]:
    pool = Pool(db.url("orbyt_worker"), size_max=2)
    await pool.open()
    return Queries(pool, fake_runtime(FakeClock())), pool


async def test_a_pause_for_hidden_work_lets_what_is_ready_go_out(db: Database) -> None:
    """Both ways: of a platform, and of an account whose lane does not exist yet when the pause begins."""
    user_id = await create_user(db)
    ready, fresh = await create_account(db, user_id), await create_account(db, user_id)
    await insert_job(db, user_id, ready)
    worker_id = await worker(db)
    (job,) = await claim(db, worker_id)
    await put_back(db, job, phase="publish")
    await db.value(
        "select orbyt_private.set_throttle('platform', 'youtube', 600, 'platform_rate_limited', 'background')"
    )
    await insert_job(db, user_id, fresh)
    assert [each["job_id"] for each in await claim(db, worker_id)] == [job["job_id"]]
    assert await db.value("select paused_until from orbyt.platforms where platform = 'youtube'") is None
    await db.execute("select orbyt_private.clear_throttle('platform', 'youtube')")
    assert [each["account_id"] for each in await claim(db, worker_id)] == [fresh]


async def test_an_account_told_to_stop_publishes_nothing_either(db: Database) -> None:
    """Its publish lane is made after the pause began."""
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    worker_id = await worker(db)
    (job,) = await claim(db, worker_id)
    await db.value(
        "select orbyt_private.set_throttle('account', %s, 600, 'platform_rate_limited', 'publish')", [str(account_id)]
    )
    await put_back(db, job, phase="publish")
    assert await claim(db, worker_id) == []
    later = datetime.now(UTC) + timedelta(seconds=601)
    assert len(await claim(db, worker_id, now=later)) == 1


@pytest.mark.parametrize(
    ("percent", "regain", "seconds", "phase"),
    [
        (74.9, None, None, None),
        (75, None, 60, Phase.BACKGROUND),
        (90, None, 300, Phase.BACKGROUND),
        (95, None, 3600, Phase.PUBLISH),
        (100, 600, 660, Phase.PUBLISH),
        (1000, 10**9, 86_400, Phase.PUBLISH),
    ],
)
def test_how_long_to_leave_off(
    percent: float, regain: float | None, seconds: float | None, phase: Phase | None
) -> None:
    pause = pause_of(Usage(Scope.ACCOUNT, percent, "platform_rate_limited", regain))
    assert (pause.phase if pause else None) is phase
    assert (pause.seconds if pause else None) == (pytest.approx(seconds) if seconds else None)


async def test_the_usage_of_an_app_pauses_all_its_platforms_and_is_not_written_with_every_answer(db: Database) -> None:
    known = platforms(sandbox_settings())
    meta = sorted(name for name, each in known.items() if each.rules.app == "meta")
    assert meta == ["facebook", "instagram"]
    queries, pool = await connected(db)
    clock = FakeClock()
    limits = Limits(queries, known, fake_runtime(clock))
    job = make_job(NOW, "instagram", "ig", make_post(NOW))
    usage = [Usage(Scope.APP, 97, "meta_app_throttled", 1200)]
    try:
        stop = await limits.seen(job, usage)
        assert stop is not None
        assert stop.phase is Phase.PUBLISH
        for _ in range(5):
            await limits.seen(job, usage)
        rows = await db.fetch("select key, phase, hits, code from orbyt_private.throttles order by key")
        assert [(row["key"], row["phase"], row["hits"]) for row in rows] == [
            ("facebook", "publish", 1),
            ("instagram", "publish", 1),
        ]
        clock.advance(1000)
        await limits.seen(job, usage)
        assert await db.value("select max(hits) from orbyt_private.throttles") == 2
    finally:
        await pool.close()
