"""What a claim costs with different things lying in the tables. It should not depend on them."""

from __future__ import annotations

import json
import statistics
import uuid
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row

from bench.place import Place
from bench.queues import compared
from bench.table import Row
from orbyt_worker.local import LocalDatabase
from orbyt_worker.sandbox.postgres import SUPERUSER

TURNS = 25
FEW_ROWS = 1_000
ONE_DUE = "one job due"
TOUCHED = (
    "orbyt.publish_jobs",
    "orbyt.job_events",
    "orbyt_private.job_queue",
    "orbyt_private.lanes",
    "orbyt_private.workers",
)
PLAIN_TABLE = """
create table public.plain_jobs (job_id bigint generated always as identity primary key, account_id uuid not null, status text not null, run_at timestamptz not null);
create index plain_jobs_due_idx on public.plain_jobs (run_at) where status = 'queued';
create table public.plain_blocked (account_id uuid primary key)
"""
PLAIN_CLAIM = """
select job_id from public.plain_jobs j
where status = 'queued' and run_at <= now() and not exists (select from public.plain_blocked b where b.account_id = j.account_id)
order by run_at limit 4 for update skip locked
"""


def _explain(
    connection: psycopg.Connection[DictRow], statement: str, parameters: list[Any], tables: Sequence[str]
) -> tuple[int, float]:
    """(buffers touched, milliseconds), the median of several turns, each rolled back and cleared away before the next."""
    buffers, milliseconds = [], []
    for _ in range(TURNS):
        # What a rolled-back claim leaves would be read by the next one, and look like a cost of the backlog.
        for table in tables:
            connection.execute(f"vacuum {table}".encode())
        for warm in (False, True):  # the first one fills the caches of plans and pages, which vacuum empties
            with connection.transaction(force_rollback=True):
                row = connection.execute(
                    f"explain (analyze, buffers, timing off, format json) {statement}".encode(), parameters
                ).fetchone()
            assert row is not None
            plan = row["QUERY PLAN"]
            plan = (json.loads(plan) if isinstance(plan, str) else plan)[0]
            if warm:
                buffers.append(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])
                milliseconds.append(plan["Execution Time"])
    return round(statistics.median(buffers)), statistics.median(milliseconds)


def _account(database: LocalDatabase) -> UUID:
    user_id = database.create_user(f"{uuid.uuid4().hex}@example.com")
    account_id: UUID = database.fetch(
        "insert into orbyt.accounts (user_id, platform, platform_account_id, name) values (%s, 'youtube', %s, 'Bench') returning account_id",
        [user_id, f"UC{uuid.uuid4().hex}"],
    )[0]["account_id"]
    return account_id


def _bulk(database: LocalDatabase, account_id: UUID, rows: int, status: str) -> None:
    """Rows past the triggers, as these would have left them; a test compares the two (tests/db/test_claim_cost.py)."""
    with psycopg.connect(database.url(SUPERUSER), autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "insert into orbyt.publish_jobs (user_id, account_id, platform, kind, title, expires_at, status, run_at, published_at) "
            "select a.user_id, a.account_id, 'youtube', 'video', 't', now() + interval '1 day', %(status)s::orbyt.job_status, "
            "case when %(status)s = 'queued' then now() - interval '1 hour' end, now() "
            "from orbyt.accounts a, generate_series(1, %(rows)s) where a.account_id = %(account)s",
            {"account": account_id, "rows": rows, "status": status},
        )
        if status == "queued":
            connection.execute(
                "insert into orbyt_private.job_queue (job_id, account_id, phase, run_at, expires_at) "
                "select job_id, account_id, 'background', run_at, expires_at from orbyt.publish_jobs where account_id = %s",
                [account_id],
            )
            connection.execute(
                "select orbyt_private.refresh_lanes(array[%s]::uuid[], array['background']::orbyt_private.job_phase[])",
                [account_id],
            )
        for table in ("orbyt.publish_jobs", "orbyt_private.job_queue", "orbyt_private.lanes"):
            connection.execute(f"vacuum (analyze) {table}")


def claim(place: Place, finished: int, backlog: int) -> list[Row]:
    """One claim of up to four jobs, one job to be had; then the same question asked of a plain table."""
    part, rows = "cost of a claim", []
    database = place.orbyt_database()
    worker_id = uuid.uuid4()
    database.fetch("select orbyt_private.register_worker(%s, 'bench', '0', '{}', 3600)", [worker_id])

    def measure(subject: str) -> None:
        with psycopg.connect(database.url(), autocommit=True, row_factory=dict_row) as connection:
            buffers, milliseconds = _explain(
                connection, "select * from orbyt_private.claim_jobs(%s, 4, 4, 60)", [worker_id], TOUCHED
            )
        rows.append(Row(part, subject, milliseconds, "ms", note=f"{buffers} buffers"))

    def block(rows: int) -> UUID:
        account_id = _account(database)
        _bulk(database, account_id, rows, "queued")
        database.fetch("update orbyt_private.lanes set blocked_until = 'infinity' where account_id = %s", [account_id])
        return account_id

    measure("empty queue")
    _bulk(database, _account(database), 1, "queued")
    # A few rows, so that tables of a single page (which are read whole) do not flatter the comparison.
    block(FEW_ROWS)
    _bulk(database, _account(database), FEW_ROWS, "published")
    measure(ONE_DUE)
    _bulk(database, _account(database), finished, "published")
    measure(f"and {finished:,} finished rows")
    blocked = block(backlog)
    measure(f"and {backlog:,} due rows of a blocked account")

    with psycopg.connect(database.url(SUPERUSER), autocommit=True, row_factory=dict_row) as connection:
        connection.execute(PLAIN_TABLE.encode())
        connection.execute("insert into public.plain_blocked values (%s)", [blocked])
        connection.execute(
            "insert into public.plain_jobs (account_id, status, run_at) select %s::uuid, 'queued', now() - interval '1 hour' from generate_series(1, %s)",
            [blocked, backlog],
        )
        connection.execute(
            "insert into public.plain_jobs (account_id, status, run_at) values (%s, 'queued', now())", [uuid.uuid4()]
        )
        connection.execute("vacuum (analyze) public.plain_jobs")
        buffers, milliseconds = _explain(connection, PLAIN_CLAIM, [], ["public.plain_jobs"])
    rows.append(
        Row(
            part,
            "plain table, the same blocked backlog",
            milliseconds,
            "ms",
            note=f"{buffers} buffers; one index on run_at",
        )
    )
    place.drop(database.name)
    return compared(rows, ONE_DUE)
