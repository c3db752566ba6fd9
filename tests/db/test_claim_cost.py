"""The cost of a claim does not grow with the backlog: same buffers with an empty queue, a million finished rows, a blocked account.

Rows are made in bulk with the triggers off (a million inserts through them would take minutes); everything the claim reads is
then exactly as the triggers would have left it, which `test_bulk_rows_are_like_real_ones` checks on a few.
"""

from __future__ import annotations

import json
import uuid
from typing import Any
from uuid import UUID

import pytest

from tests.factories import create_account, create_owner, create_user, insert_job
from tests.fix_postgres import Database

FINISHED_ROWS = 1_000_000
BLOCKED_ROWS = 100_000
# What may differ: index depth (one page per level and index touched) and visibility checks.
BUFFERS_SLACK = 60


async def bulk(db: Database, user_id: UUID, account_id: UUID, rows: int, status: str) -> None:
    """`rows` jobs of one account, inserted past the triggers."""
    connection = await db.connect("supabase_admin")
    await connection.execute("set session_replication_role = replica")
    await connection.execute(
        "insert into orbyt.publish_jobs (user_id, account_id, platform, kind, title, expires_at, status, run_at, published_at, error_code) "
        "select %(u)s, %(a)s, 'youtube', 'video', 't', now() + interval '1 day', %(s)s::orbyt.job_status, "
        "case when %(s)s = 'queued' then now() - interval '1 hour' end, now(), null from generate_series(1, %(n)s)",
        {"u": user_id, "a": account_id, "n": rows, "s": status},
    )
    if status == "queued":
        await connection.execute(
            "insert into orbyt_private.job_queue (job_id, account_id, phase, run_at, expires_at) "
            "select job_id, account_id, 'background', run_at, expires_at from orbyt.publish_jobs where account_id = %s",
            [account_id],
        )
    await connection.execute("set session_replication_role = origin")
    if status == "queued":
        await connection.execute(
            "select orbyt_private.refresh_lanes(array[%s]::uuid[], array['background']::orbyt_private.job_phase[])",
            [account_id],
        )
    await connection.execute("vacuum (analyze) orbyt.publish_jobs")
    await connection.execute("vacuum (analyze) orbyt_private.job_queue")
    await connection.execute("vacuum (analyze) orbyt_private.lanes")


async def claim_buffers(db: Database, worker_id: UUID) -> tuple[int, int]:
    """(shared buffers touched by one claim, jobs it returned); rolled back, so that it can be measured again."""
    connection = await db.connect(autocommit=False)
    for _ in range(2):  # the first run fills plan and catalog caches
        cursor = await connection.execute(
            "explain (analyze, buffers, format json) select * from orbyt_private.claim_jobs(%s, 4, 4, 60)", [worker_id]
        )
        row = await cursor.fetchone()
        await connection.rollback()
    assert row is not None
    plan: Any = row["QUERY PLAN"]
    plan = json.loads(plan) if isinstance(plan, str) else plan
    top = plan[0]["Plan"]
    return top["Shared Hit Blocks"] + top["Shared Read Blocks"], top["Actual Rows"]


async def register(db: Database) -> UUID:
    worker_id = uuid.uuid4()
    await db.execute("select orbyt_private.register_worker(%s, 'test', '0', '{}', 3600)", [worker_id])
    return worker_id


@pytest.mark.timeout(300)
async def test_the_cost_of_a_claim_is_the_same_whatever_lies_behind(db: Database) -> None:
    worker_id = await register(db)
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    small, rows = await claim_buffers(db, worker_id)
    assert rows == 1

    archive = await create_account(db, user_id)
    await bulk(db, user_id, archive, FINISHED_ROWS, "published")
    finished, rows = await claim_buffers(db, worker_id)
    assert rows == 1
    assert finished <= small + BUFFERS_SLACK, (small, finished)

    blocked_user = await create_user(db)
    blocked = await create_account(db, blocked_user)
    await bulk(db, blocked_user, blocked, BLOCKED_ROWS, "queued")
    await db.execute("update orbyt_private.lanes set blocked_until = 'infinity' where account_id = %s", [blocked])
    behind, rows = await claim_buffers(db, worker_id)
    assert rows == 1
    assert behind <= small + BUFFERS_SLACK, (small, behind)

    # Unblocked, the account gets its turn like any other and costs the same.
    await db.execute("update orbyt_private.lanes set blocked_until = null where account_id = %s", [blocked])
    unblocked, rows = await claim_buffers(db, worker_id)
    assert rows == 2
    assert unblocked <= 2 * small + BUFFERS_SLACK, (small, unblocked)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (
            "select account_id from orbyt_private.lanes where platform = 'youtube' and phase = 'background' and due_at <= now() "
            "order by due_at limit 4",
            "lanes_due_idx",
        ),
        (
            "select job_id from orbyt_private.job_queue where account_id = '{account}' and phase = 'background' and worker_id is null "
            "and run_at <= now() order by run_at, job_id limit 1",
            "job_queue_due_idx",
        ),
        (
            "select job_id from orbyt_private.job_queue where worker_id is null and expires_at <= now() order by expires_at limit 200",
            "job_queue_expires_idx",
        ),
    ],
)
async def test_the_plans_are_index_scans(db: Database, statement: str, index: str) -> None:
    user_id, account_id = await create_owner(db)
    await bulk(db, user_id, account_id, 5_000, "queued")
    for _ in range(3):
        await create_owner(db)
    text = statement.format(account=account_id)
    rows = await db.fetch(f"explain (format json) {text}")
    plan = json.dumps(rows[0]["QUERY PLAN"])
    if (
        index == "lanes_due_idx"
    ):  # one lane: the planner may well read the only page; forbid that to see the intended plan
        await db.execute("set enable_seqscan = off")
        plan = json.dumps((await db.fetch(f"explain (format json) {text}"))[0]["QUERY PLAN"])
    assert index in plan
    assert "Seq Scan" not in plan
    assert '"Sort"' not in plan


async def test_bulk_rows_are_like_real_ones(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    real = await db.row(
        "select phase, worker_id, failures, started, run_at is not null as timed from orbyt_private.job_queue"
    )
    other_user, other = await create_owner(db)
    await bulk(db, other_user, other, 3, "queued")
    rows = await db.fetch(
        "select phase, worker_id, failures, started, run_at is not null as timed from orbyt_private.job_queue where account_id = %s",
        [other],
    )
    assert rows == [real] * 3
    lane = await db.row(
        "select next_run_at is not null as due, in_flight from orbyt_private.lanes where account_id = %s", [other]
    )
    assert lane == {"due": True, "in_flight": 0}
