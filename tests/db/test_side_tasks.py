"""Side tasks in SQL: rows of their own, fenced like everything else, seen by their owner, and no influence on the job."""

from __future__ import annotations

from typing import Any

from tests.db.test_upkeep import claimed
from tests.factories import create_user
from tests.fix_postgres import Database


async def begin(db: Database, job: dict[str, Any], task: str = "first_comment") -> dict[str, Any]:
    return await db.row(
        "select answer, tries, age_seconds from orbyt_private.begin_side_task(%s, %s, %s)",
        [job["job_id"], job["attempt"], task],
    )


async def note(db: Database, job: dict[str, Any], status: str, code: str | None = None) -> str:
    answer: str = await db.value(
        "select orbyt_private.note_side_task(%s, %s, 'first_comment', %s, %s, %s)",
        [job["job_id"], job["attempt"], status, code, code and "because"],
    )
    return answer


async def test_tries_are_counted_and_the_first_one_remembered(db: Database) -> None:
    _, _, job = await claimed(db)
    assert (await begin(db, job))["tries"] == 1
    await db.execute("update orbyt.side_tasks set created_at = now() - interval '90 seconds'")
    second = await begin(db, job)
    assert (second["answer"], second["tries"]) == ("ok", 2)
    assert second["age_seconds"] >= 90


async def test_a_stale_attempt_changes_nothing(db: Database) -> None:
    _, _, job = await claimed(db)
    stale = {**job, "attempt": job["attempt"] - 1}
    assert (await begin(db, stale))["answer"] == "stale"
    await begin(db, job)
    assert await note(db, stale, "done") == "stale"
    assert await db.value("select status from orbyt.side_tasks") == "pending"


async def test_a_failed_side_task_leaves_the_post_as_it_is(db: Database) -> None:
    _, _, job = await claimed(db)
    given = [job["job_id"], job["attempt"]]
    await db.value("select orbyt_private.begin_publish(%s, %s, 'publish', 10)", given)
    await db.value(
        'select orbyt_private.confirm_publish(%s, %s, \'publish\', \'{"platform_post_id": "p1", "permalink": "https://example.com/p1"}\')',
        given,
    )
    await begin(db, job)
    assert await note(db, job, "failed", "platform_request_invalid") == "ok"
    await db.value("select orbyt_private.succeed_job(%s, %s, now())", given)
    row = await db.row("select status, error_code, permalink from orbyt.publish_jobs")
    assert row == {"status": "published", "error_code": None, "permalink": "https://example.com/p1"}
    task = await db.row("select status, error_code, error_message, version from orbyt.side_tasks")
    assert task == {
        "status": "failed",
        "error_code": "platform_request_invalid",
        "error_message": "because",
        "version": 2,
    }
    assert await db.value("select count(*) from orbyt.job_events where event = 'side_task_failed'") == 1


async def test_only_the_owner_sees_it_and_nobody_writes_it(db: Database) -> None:
    user_id, _, job = await claimed(db)
    await begin(db, job)
    async with db.as_user(user_id) as app:
        rows = await (await app.execute("select task, status from orbyt.side_tasks")).fetchall()
        privileges = await (
            await app.execute(
                "select has_table_privilege('orbyt.side_tasks', 'insert') or has_table_privilege('orbyt.side_tasks', 'update')"
                " or has_any_column_privilege('orbyt.side_tasks', 'update') as writes"
            )
        ).fetchone()
    assert rows == [{"task": "first_comment", "status": "pending"}]
    assert privileges == {"writes": False}
    async with db.as_user(await create_user(db)) as stranger:
        assert await (await stranger.execute("select 1 from orbyt.side_tasks")).fetchall() == []
