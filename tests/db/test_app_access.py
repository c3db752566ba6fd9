"""What a signed-in user may do with the tables, and that every refusal carries a code of the catalog.

What nobody may do is in test_app_refusals.py.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.factories import VIDEO, create_account, create_owner, create_user, insert_job
from tests.fix_postgres import Database


async def code_of(db: Database, error: psycopg.Error) -> str:
    """The catalog code: named in the details, or found by the SQLSTATE, as a client does it."""
    if error.diag.message_detail and error.diag.message_detail.startswith("{"):
        return str(json.loads(error.diag.message_detail)["code"])
    return str(await db.value("select code from orbyt.error_catalog where sqlstate = %s", [error.sqlstate]))


async def test_insert_edit_cancel_and_read_own_rows(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id, client_ref="draft-1")
    async with db.as_user(user_id) as app:
        await app.execute("update orbyt.publish_jobs set title = 'New' where job_id = %s", [job_id])
        row = await (await app.execute("select * from orbyt.publish_jobs where job_id = %s", [job_id])).fetchone()
        assert row is not None
        assert (row["title"], row["status"], row["platform"], row["version"]) == ("New", "queued", "youtube", 2)
        cancelled = await (await app.execute("select * from orbyt.cancel_job(job_id => %s)", [job_id])).fetchone()
        assert cancelled is not None
        assert cancelled["status"] == "cancelled"
        await app.execute("select orbyt.cancel_job(job_id => %s)", [job_id])  # safe to repeat
        events = await (await app.execute("select event from orbyt.job_events order by event_id")).fetchall()
        assert [event["event"] for event in events] == ["inserted", "cancelled"]


async def test_others_rows_do_not_exist(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    stranger = await create_user(db)
    async with db.as_user(stranger) as app:
        for table in ("publish_jobs", "accounts", "job_events"):
            assert await (await app.execute(f"select * from orbyt.{table}")).fetchall() == []
        result = await app.execute("update orbyt.publish_jobs set title = 'x' where job_id = %s", [job_id])
        assert result.rowcount == 0
    for rpc in ("cancel_job(%s)", "retry_job(%s)", "reschedule_job(%s, now() + interval '1 hour')"):
        with pytest.raises(psycopg.Error) as refused:
            async with db.as_user(stranger) as app:
                await app.execute(f"select orbyt.{rpc}", [job_id])
        assert await code_of(db, refused.value) == "job_not_found"


async def test_nobody_inserts_for_anothers_account(db: Database) -> None:
    _, account_id = await create_owner(db)
    stranger = await create_user(db)
    with pytest.raises(psycopg.Error) as refused:
        await insert_job(db, stranger, account_id)
    assert await code_of(db, refused.value) == "account_not_found"
    owner, account_id = await create_owner(db)
    with pytest.raises(psycopg.Error) as refused:
        async with db.as_user(stranger) as app:
            await app.execute(
                "insert into orbyt.publish_jobs (user_id, account_id, kind, title, media) values (%s, %s, 'video', 't', %s)",
                [owner, account_id, Jsonb([VIDEO])],
            )
    assert await code_of(db, refused.value) == "account_not_found"


async def test_the_workers_role_can_execute_its_functions_and_nothing_else(db: Database) -> None:
    connection = await db.connect("orbyt_worker")
    tables = await db.fetch(
        "select schemaname || '.' || tablename as name from pg_tables where schemaname in ('orbyt', 'orbyt_private', 'vault', 'auth')"
    )
    for table in tables:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(f"select * from {table['name']}")
    assert await (await connection.execute("select orbyt_private.next_due_in_seconds()")).fetchone() is not None
    for statement in (
        "select orbyt_private.create_master_key('k')",
        # An account comes to be through a session only, never because a worker says so.
        "select orbyt_private.connect_account(gen_random_uuid(), 'youtube', 'c', 'n', null, '{}', 'google')",
        "select orbyt_private.store_grant(gen_random_uuid(), '[]')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement.encode())


async def test_an_old_projects_default_privileges_leave_nothing_open(permissive_db: Database) -> None:
    user_id, account_id = await create_owner(permissive_db)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await insert_job(permissive_db, user_id, account_id, status="published")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with permissive_db.as_user(user_id) as app:
            await app.execute("select * from orbyt_private.account_secrets")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with permissive_db.as_anon() as app:
            await app.execute("select * from orbyt.publish_jobs")


async def test_nulls_of_a_bulk_insert_become_defaults(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    async with db.as_user(user_id) as app:
        await app.execute(
            "insert into orbyt.publish_jobs (job_id, post_id, user_id, account_id, kind, title, media, options, publish_at, expires_at) "
            "values (null, null, null, %(a)s, 'video', 't', %(m)s, null, null, null), (null, null, null, %(a)s, 'video', 't', %(m)s, '{}', now(), null)",
            {"a": account_id, "m": Jsonb([VIDEO])},
        )
        rows = await (
            await app.execute("select user_id, options, expires_at - publish_at as life from orbyt.publish_jobs")
        ).fetchall()
    assert [row["user_id"] for row in rows] == [user_id, user_id]
    assert [row["options"] for row in rows] == [{}, {}]
    assert {row["life"] for row in rows} == {timedelta(hours=24)}


async def test_the_same_insert_again_is_harmless(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = uuid.uuid4()
    await insert_job(db, user_id, account_id, job_id=job_id, client_ref="a")
    statement = (
        "insert into orbyt.publish_jobs (job_id, account_id, kind, title, media, client_ref) values (%s, %s, 'video', 't', %s, %s) "
        "on conflict do nothing"
    )
    async with db.as_user(user_id) as app:
        assert (await app.execute(statement, [job_id, account_id, Jsonb([VIDEO]), None])).rowcount == 0
        assert (await app.execute(statement, [uuid.uuid4(), account_id, Jsonb([VIDEO]), "a"])).rowcount == 0
    with pytest.raises(psycopg.errors.UniqueViolation) as refused:
        await insert_job(db, user_id, account_id, job_id=job_id)
    assert await code_of(db, refused.value) == "duplicate_job"
    assert await db.value("select count(*) from orbyt_private.job_queue") == 1


async def test_content_is_fixed_once_something_was_begun(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    worker_id = uuid.uuid4()
    await db.execute("select orbyt_private.register_worker(%s, 'test', '0', '{}', 60)", [worker_id])
    (job,) = await db.fetch("select * from orbyt_private.claim_jobs(%s, 1, 1, 60)", [worker_id])

    async def edit() -> str | None:
        try:
            async with db.as_user(user_id) as app:
                await app.execute("update orbyt.publish_jobs set title = title || '!' where job_id = %s", [job_id])
        except psycopg.Error as refused:
            return await code_of(db, refused)
        return None

    assert await edit() == "job_already_started"  # claimed
    await db.value("select orbyt_private.save_step(%s, 1, 'inspect', true, '{}')", [job_id])
    await db.value("select orbyt_private.put_back(%s, 1, 0, 'background', 'waiting')", [job_id])
    assert await edit() is None  # looked at, nothing begun
    assert await db.value("select count(*) from orbyt_private.job_steps") == 0  # what was seen is forgotten
    (job,) = await db.fetch("select * from orbyt_private.claim_jobs(%s, 1, 1, 60)", [worker_id])
    await db.value("select orbyt_private.save_step(%s, %s, 'start_upload', true, '{}')", [job_id, job["attempt"]])
    await db.value("select orbyt_private.put_back(%s, %s, 0, 'background', 'waiting')", [job_id, job["attempt"]])
    assert await edit() == "job_already_started"
    async with db.as_user(user_id) as app:
        await app.execute("select orbyt.cancel_job(%s)", [job_id])
    assert await edit() == "job_already_finished"


async def test_cancel_fences_the_worker_and_is_refused_once_the_call_is_announced(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    first, second = await insert_job(db, user_id, account_id), await insert_job(db, user_id, account_id)
    worker_id = uuid.uuid4()
    await db.execute("select orbyt_private.register_worker(%s, 'test', '0', '{}', 60)", [worker_id])
    for _ in range(2):
        await db.fetch("select * from orbyt_private.claim_jobs(%s, 2, 1, 60)", [worker_id])
    async with db.as_user(user_id) as app:
        await app.execute("select orbyt.cancel_job(%s)", [first])
    assert await db.value("select orbyt_private.begin_publish(%s, 1, 'finish', 10)", [first]) == "stale"
    assert await db.value("select orbyt_private.begin_publish(%s, 1, 'finish', 10)", [second]) == "ok"
    with pytest.raises(psycopg.Error) as refused:
        async with db.as_user(user_id) as app:
            await app.execute("select orbyt.cancel_job(%s)", [second])
    assert await code_of(db, refused.value) == "publish_in_progress"


async def test_reschedule_moves_the_deadline_along(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    when = datetime.now(UTC) + timedelta(days=3)
    async with db.as_user(user_id) as app:
        row = await (
            await app.execute("select * from orbyt.reschedule_job(job_id => %s, publish_at => %s)", [job_id, when])
        ).fetchone()
    assert row is not None
    assert (row["publish_at"], row["expires_at"]) == (when, when + timedelta(hours=24))
    assert await db.value("select phase from orbyt_private.job_queue") == "inspect"


@pytest.mark.parametrize(
    ("columns", "code", "field"),
    [
        ({"kind": "photo"}, "kind_not_supported", "kind"),
        ({"title": None}, "title_missing", "title"),
        ({"title": "a" * 101}, "title_too_long", "title"),
        ({"title": "a<b"}, "title_invalid", "title"),
        ({"media": []}, "media_missing", "media"),
        ({"media": [VIDEO, VIDEO]}, "media_count", "media"),
        ({"media": [{"type": "video", "url": "http://example.com/v.mp4"}]}, "media_url_not_https", "media[0].url"),
        ({"media": [{"type": "video", "url": "https://10.0.0.5/v.mp4"}]}, "media_url_forbidden", "media[0].url"),
        ({"media": [{"type": "video", "url": "https://[::1]/v.mp4"}]}, "media_url_forbidden", "media[0].url"),
        ({"media": [{"type": "video", "url": "https://2130706433/v.mp4"}]}, "media_url_forbidden", "media[0].url"),
        ({"media": [{"type": "video", "url": "https://localhost/v.mp4"}]}, "media_url_forbidden", "media[0].url"),
        (
            {"media": [{"type": "video", "url": "https://user:pw@example.com/v.mp4"}]},
            "media_url_forbidden",
            "media[0].url",
        ),
        ({"media": [{"type": "video", "url": "ftp://example.com/v.mp4"}]}, "media_url_invalid", "media[0].url"),
        ({"media": [{"type": "video"}]}, "media_url_invalid", "media[0].url"),
        ({"media": [{"type": "gif", "url": "https://example.com/v"}]}, "media_invalid", "media[0].type"),
        ({"media": [{**VIDEO, "size": 3}]}, "media_invalid", "media[0].size"),
        ({"options": {"privcy": "public"}}, "option_unknown", "options.privcy"),
        ({"options": {"privacy": "secret"}}, "option_invalid", "options.privacy"),
        ({"publish_at": datetime(2099, 1, 1, tzinfo=UTC)}, "publish_at_invalid", "publish_at"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires_at_invalid", "expires_at"),
    ],
)
async def test_bad_input_is_refused_at_the_insert_with_code_and_field(
    db: Database, columns: dict[str, Any], code: str, field: str
) -> None:
    user_id, account_id = await create_owner(db)
    with pytest.raises(psycopg.Error) as refused:
        await insert_job(db, user_id, account_id, **columns)
    detail = json.loads(refused.value.diag.message_detail or "{}")
    assert (detail["code"], detail["field"]) == (code, field)
    assert refused.value.diag.message_hint
    assert refused.value.sqlstate == await db.value("select sqlstate from orbyt.error_catalog where code = %s", [code])
    assert await db.value("select count(*) from orbyt.publish_jobs") == 0

    # check_post says the same, without inserting.
    values = {
        "kind": "video",
        "title": "A title",
        "media": [VIDEO],
        "options": {},
        "publish_at": None,
        "expires_at": None,
    } | columns
    async with db.as_user(user_id) as app:
        row = await (
            await app.execute(
                "select orbyt.check_post(%(account)s, %(kind)s, %(title)s, null, %(media)s, %(options)s, %(publish_at)s, %(expires_at)s) as problems",
                {**values, "account": account_id, "media": Jsonb(values["media"]), "options": Jsonb(values["options"])},
            )
        ).fetchone()
    assert row is not None
    assert (row["problems"][0]["code"], row["problems"][0]["field"]) == (code, field)


async def test_a_disconnected_account_is_refused_and_one_to_be_reconnected_waits(db: Database) -> None:
    user_id = await create_user(db)
    gone = await create_account(db, user_id, status="disconnected")
    with pytest.raises(psycopg.Error) as refused:
        await insert_job(db, user_id, gone)
    assert await code_of(db, refused.value) == "account_disconnected"
    waiting = await create_account(db, user_id, status="needs_reauth", error_code="google_grant_invalid")
    job_id = await insert_job(db, user_id, waiting)
    row = await db.row("select status, error_code, needs_reauth from orbyt.publish_jobs where job_id = %s", [job_id])
    assert row == {"status": "held", "error_code": "account_needs_reauth", "needs_reauth": True}
    await db.execute("update orbyt.accounts set status = 'active' where account_id = %s", [waiting])
    assert await db.value("select status from orbyt.publish_jobs where job_id = %s", [job_id]) == "queued"


async def test_an_rpc_acts_once(db: Database) -> None:
    """`select (f(…)).*` would call the function once per column."""
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    async with db.as_user(user_id) as app:
        await app.execute("select * from orbyt.reschedule_job(%s, now() + interval '2 hours')", [job_id])
        rows = await (await app.execute("select event from orbyt.job_events")).fetchall()
    assert [row["event"] for row in rows] == ["inserted", "rescheduled"]
