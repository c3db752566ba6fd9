"""What an admin does in the Table Editor (role postgres): sensible edits stay consistent, impossible ones are refused and say why.

docs/admin.md lists both; a test here compares.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from orbyt_worker.sandbox.postgres import PostgresServer
from tests.db.connecting import connected, set_up
from tests.db.test_app_access import code_of
from tests.factories import VIDEO, create_account, create_owner, create_user, insert_job
from tests.fix_postgres import Database, clone

ADMIN = Path(__file__).parents[2] / "docs" / "admin.md"


async def edit(db: Database, row_id: UUID, /, **columns: Any) -> dict[str, Any]:
    """Saves a job in the Table Editor; returns it as it is afterwards."""
    return await save(db, "publish_jobs", "job_id", row_id, columns)


async def save(db: Database, table: str, key: str, row_id: UUID, columns: dict[str, Any]) -> dict[str, Any]:
    statement = sql.SQL("update orbyt.{} set {} where {} = {} returning *").format(
        sql.Identifier(table),
        sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Placeholder(n)) for n in columns),
        sql.Identifier(key),
        sql.Placeholder("row_id"),
    )
    return await db.row(statement, {**columns, "row_id": row_id})


async def register(db: Database) -> UUID:
    worker_id = uuid.uuid4()
    await db.execute("select orbyt_private.register_worker(%s, 'here', '0', '{}', 3600)", [worker_id])
    return worker_id


async def claim(db: Database, worker_id: UUID) -> list[dict[str, Any]]:
    """All that are due: a claim takes the head of each lane."""
    taken: list[dict[str, Any]] = []
    while heads := await db.fetch("select * from orbyt_private.claim_jobs(%s, 4, 4, 3600)", [worker_id]):
        taken += heads
    return taken


async def consistent(db: Database) -> None:
    """Queue and lanes are what the jobs and accounts say."""
    assert (
        await db.fetch(
            """
            select j.job_id, j.status, j.run_at, q.run_at as queued_at from orbyt.publish_jobs j
            full join orbyt_private.job_queue q on q.job_id = j.job_id
            where (j.status in ('queued', 'publishing', 'held')) is distinct from (q.job_id is not null)
               or (q.job_id is not null and (q.run_at, q.expires_at, q.account_id) is distinct from (j.run_at, j.expires_at, j.account_id))
               or (q.worker_id is not null and j.status <> 'publishing')
            """
        )
        == []
    )
    assert (
        await db.fetch(
            """
            select l.* from orbyt_private.lanes l
            join orbyt.accounts a on a.account_id = l.account_id
            left join lateral (
              select min(q.run_at) filter (where q.worker_id is null) as next_run_at, count(q.worker_id) as in_flight
              from orbyt_private.job_queue q where q.account_id = l.account_id and q.phase = l.phase) w on true
            where (l.next_run_at, l.in_flight, coalesce(l.blocked_until = 'infinity', false))
              is distinct from (w.next_run_at, w.in_flight, a.status <> 'active')
            """
        )
        == []
    )


DESKS: dict[PostgresServer, Desk] = {}


@dataclass(frozen=True)
class Desk:
    """One job at each point of its life, all of one account."""

    user_id: UUID
    account_id: UUID
    worker_id: UUID
    jobs: dict[str, UUID]

    def __getitem__(self, name: str) -> UUID:
        return self.jobs[name]


@pytest.fixture
async def db(
    request: pytest.FixtureRequest, postgres: PostgresServer, migrated_template: str
) -> AsyncIterator[Database]:
    """With the desk in it, where a test asks for one: made once and cloned, because it takes a hundred statements."""
    template = migrated_template
    if "desk" in request.fixturenames:
        template = "template_desk"
        if postgres not in DESKS:
            await asyncio.to_thread(postgres.create_database, template, migrated_template)
            made = Database(postgres, template)
            DESKS[postgres] = await make_desk(made)
            await made.close()
    async with clone(postgres, template) as database:
        yield database


@pytest.fixture
async def desk(db: Database, postgres: PostgresServer) -> Desk:
    return DESKS[postgres]


async def make_desk(db: Database) -> Desk:
    """queued, scheduled; claimed, begun (a visible call is under way); held, held_begun, unknown (held, call unanswered); failed, failed_begun
    (failed after an upload was begun), refused (failed after it was out); published, cancelled."""
    user_id, account_id = await create_owner(db)
    worker_id = await register(db)
    await db.execute(
        "update orbyt_private.settings set value = '9' where name in ('background_in_flight_max', 'publish_in_flight_max')"
    )
    jobs: dict[str, UUID] = {}

    async def make(name: str) -> tuple[UUID, int]:
        jobs[name] = await insert_job(db, user_id, account_id, title=name)
        (row,) = await claim(db, worker_id)
        assert row["job_id"] == jobs[name]
        return row["job_id"], row["attempt"]

    async def call(function: str, *arguments: Any) -> None:
        places = ", ".join(["%s"] * len(arguments))
        assert await db.value(f"select orbyt_private.{function}({places})".encode(), arguments) == "ok"

    for name in ("held", "held_begun", "unknown", "failed", "failed_begun", "refused", "published", "begun", "claimed"):
        job_id, attempt = await make(name)
        if name in ("held_begun", "failed_begun"):
            await call("save_step", job_id, attempt, "start_upload", True, Jsonb({}))
        if name in ("unknown", "refused", "published", "begun"):
            await call("begin_publish", job_id, attempt, "finish_upload", 30.0)
        if name in ("refused", "published"):
            await call("confirm_publish", job_id, attempt, "finish_upload", Jsonb({"platform_post_id": "p"}))
        if name in ("held", "held_begun"):
            await call("hold_job", job_id, attempt, "google_client_invalid", "x")
        elif name in ("failed", "failed_begun"):
            await call("fail_job", job_id, attempt, "media_not_found", "x")
        elif name == "unknown":
            await call("fail_job", job_id, attempt, "network_timeout", "x")
        elif name == "refused":
            await call("fail_job", job_id, attempt, "youtube_video_rejected_terms", "x")
        elif name == "published":
            await db.value("select orbyt_private.succeed_job(%s, %s, now())", [job_id, attempt])
    jobs["cancelled"] = await insert_job(db, user_id, account_id, title="cancelled")
    async with db.as_user(user_id) as app:
        await app.execute("select orbyt.cancel_job(%s)", [jobs["cancelled"]])
    jobs["queued"] = await insert_job(db, user_id, account_id, title="queued")
    in_two_days = await db.value("select now() + interval '2 days'")
    jobs["scheduled"] = await insert_job(db, user_id, account_id, title="scheduled", publish_at=in_two_days)
    states = {row["title"]: row["status"] for row in await db.fetch("select title, status from orbyt.publish_jobs")}
    assert {status: sorted(name for name in states if states[name] == status) for status in set(states.values())} == {
        "held": ["held", "held_begun", "unknown"],
        "failed": ["failed", "failed_begun", "refused"],
        "publishing": ["begun", "claimed"],
        "queued": ["queued", "scheduled"],
        "published": ["published"],
        "cancelled": ["cancelled"],
    }
    await consistent(db)
    return Desk(user_id, account_id, worker_id, jobs)


# What works -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["held", "held_begun", "unknown", "failed", "failed_begun"])
@pytest.mark.parametrize("status", ["queued", "publishing"])
async def test_status_queued_lets_a_held_or_failed_job_go_on(db: Database, desk: Desk, name: str, status: str) -> None:
    row = await edit(db, desk[name], status=status)
    begun = name not in ("held", "failed")
    assert row["status"] == ("publishing" if status == "publishing" and begun else "queued")
    assert (row["error_code"], row["error_message"], row["retryable"], row["needs_reauth"]) == (None, None, None, False)
    assert row["run_at"] is not None
    await consistent(db)
    taken = {each["job_id"]: each for each in await claim(db, desk.worker_id)}
    # What was begun goes on where it stopped; an unanswered call is in the journal, so that the worker looks first.
    steps = {"unknown": ["begun"], "held_begun": ["recorded"], "failed_begun": ["recorded"]}.get(name, [])
    assert [step["state"] for step in taken[desk[name]]["steps"]] == steps


async def test_a_deadline_that_has_passed_moves_when_a_job_is_queued_again(db: Database, desk: Desk) -> None:
    owner = await db.connect("supabase_admin")
    await owner.execute("set session_replication_role = replica")
    await owner.execute(
        "update orbyt.publish_jobs set publish_at = now() - interval '3 days', expires_at = now() - interval '2 days' where job_id = %s",
        [desk["failed"]],
    )
    row = await edit(db, desk["failed"], status="queued")
    assert row["expires_at"] > row["updated_at"]


async def test_status_wakes_the_workers(db: Database, desk: Desk) -> None:
    listener = await db.connect()
    await listener.execute("listen orbyt_jobs")
    await edit(db, desk["held"], status="queued")
    heard = [each.channel async for each in listener.notifies(timeout=10, stop_after=1)]
    assert heard == ["orbyt_jobs"]


@pytest.mark.parametrize("name", ["queued", "scheduled", "claimed", "held", "failed"])
async def test_status_cancelled_ends_a_job_that_is_not_out(db: Database, desk: Desk, name: str) -> None:
    row = await edit(db, desk[name], status="cancelled")
    assert (row["status"], row["run_at"], row["needs_reauth"]) == ("cancelled", None, False)
    await consistent(db)
    stale = "select orbyt_private.begin_publish(%s, %s, 'finish_upload', 10)"
    for attempt in (1, row["attempt"]):
        assert await db.value(stale, [desk[name], attempt]) == "stale"


@pytest.mark.parametrize("name", ["queued", "scheduled", "claimed"])
async def test_status_held_keeps_a_job_back_and_says_that_a_person_did(db: Database, desk: Desk, name: str) -> None:
    row = await edit(db, desk[name], status="held")
    assert (row["status"], row["error_code"], row["retryable"]) == ("held", "held_by_hand", False)
    await consistent(db)
    assert await db.value("select orbyt_private.set_progress(%s, 1, 'uploading', 5)", [desk[name]]) == "stale"
    # By cause, like every other hold.
    assert await db.value("select orbyt_private.release_by_code('held_by_hand')") == 1
    await consistent(db)


@pytest.mark.parametrize("name", ["queued", "claimed", "begun", "held", "unknown", "failed", "refused"])
async def test_status_published_files_a_post_that_is_there(db: Database, desk: Desk, name: str) -> None:
    row = await edit(db, desk[name], status="published", permalink="https://example.com/p")
    assert (row["status"], row["progress"], row["permalink"]) == ("published", 100, "https://example.com/p")
    assert row["published_at"] is not None
    await consistent(db)
    assert desk[name] not in {each["job_id"] for each in await claim(db, desk.worker_id)}


async def test_publish_at_moves_a_job_and_its_deadline(db: Database, desk: Desk) -> None:
    when = await db.value("select now() + interval '5 days'")
    for name in ("queued", "scheduled", "held"):
        row = await edit(db, desk[name], publish_at=when)
        assert (row["publish_at"], (row["expires_at"] - when).total_seconds()) == (when, 86400)
        await consistent(db)
    phases = await db.fetch(
        "select distinct phase from orbyt_private.job_queue where job_id = any (%s)",
        [[desk["queued"], desk["scheduled"]]],
    )
    assert phases == [{"phase": "inspect"}]


async def test_run_at_brings_a_wait_to_its_end(db: Database, desk: Desk) -> None:
    await claim(db, desk.worker_id)
    attempt = await db.value("select attempt from orbyt.publish_jobs where job_id = %s", [desk["queued"]])
    await db.value(
        "select orbyt_private.put_back(%s, %s, 3600, 'background', 'waiting', 'network_timeout', 'x', true)",
        [desk["queued"], attempt],
    )
    assert await claim(db, desk.worker_id) == []
    await edit(db, desk["queued"], run_at=None)
    await consistent(db)
    assert [each["job_id"] for each in await claim(db, desk.worker_id)] == [desk["queued"]]


async def test_content_may_be_mended_together_with_the_status(db: Database, desk: Desk) -> None:
    media = [{"type": "video", "url": "https://example.com/another.mp4"}]
    row = await edit(db, desk["failed"], status="queued", title="Mended", media=Jsonb(media))
    assert (row["status"], row["title"], row["media"]) == ("queued", "Mended", media)
    await consistent(db)


async def test_deleting_rows_leaves_nothing_behind(db: Database, desk: Desk) -> None:
    for name in ("queued", "claimed", "held", "published", "failed"):
        assert await db.execute("delete from orbyt.publish_jobs where job_id = %s", [desk[name]]) == 1
        await consistent(db)
    left = [desk[name] for name in ("queued", "claimed", "held", "published", "failed")]
    for table in ("orbyt.job_events", "orbyt_private.job_steps", "orbyt_private.job_queue"):
        assert await db.fetch(f"select from {table} where job_id = any (%s)".encode(), [left]) == []
    # An account with all that belongs to it, also while a call is under way; and a user.
    await db.execute("delete from orbyt.accounts where account_id = %s", [desk.account_id])
    await db.execute("delete from auth.users where id = %s", [desk.user_id])
    for table in ("orbyt.publish_jobs", "orbyt_private.job_queue", "orbyt_private.lanes", "orbyt_private.job_steps"):
        assert await db.fetch(f"select from {table}".encode()) == []


@pytest.mark.parametrize("status", ["needs_reauth", "disconnected"])
async def test_the_status_of_an_account_holds_its_jobs_and_releases_them(db: Database, desk: Desk, status: str) -> None:
    row = await save(db, "accounts", "account_id", desk.account_id, {"status": status})
    assert (row["status"], row["error_code"]) == (status, "account_needs_reauth" if status == "needs_reauth" else None)
    await consistent(db)
    job = await db.row("select status, error_code from orbyt.publish_jobs where job_id = %s", [desk["queued"]])
    expected = "account_needs_reauth" if status == "needs_reauth" else "account_disconnected"
    assert job == {"status": "held", "error_code": expected}
    row = await save(db, "accounts", "account_id", desk.account_id, {"status": "active"})
    assert row["error_code"] is None
    await consistent(db)
    assert await db.value("select status from orbyt.publish_jobs where job_id = %s", [desk["queued"]]) == "queued"


async def test_an_account_disconnected_by_hand_loses_its_tokens_like_any_other(db: Database) -> None:
    await set_up(db)
    _, account_id = await connected(db)
    listener = await db.connect()
    await listener.execute("listen orbyt_connect")
    await save(db, "accounts", "account_id", account_id, {"status": "disconnected"})
    assert [each.channel async for each in listener.notifies(timeout=10, stop_after=1)] == ["orbyt_connect"]
    worker_id = await register(db)
    # Made active again before anything was destroyed: nothing is.
    await save(db, "accounts", "account_id", account_id, {"status": "active"})
    revoke = "select account_id from orbyt_private.accounts_to_revoke(%s, 5, 60)"
    assert await db.fetch(revoke, [worker_id]) == []
    await save(db, "accounts", "account_id", account_id, {"status": "disconnected"})
    assert [row["account_id"] for row in await db.fetch(revoke, [worker_id])] == [account_id]
    assert await db.value("select orbyt_private.finish_disconnect(%s)", [account_id]) == "ok"
    assert await db.fetch("select from orbyt_private.account_secrets") == []
    with pytest.raises(psycopg.Error, match="its user has to connect it again") as refused:
        await save(db, "accounts", "account_id", account_id, {"status": "active"})
    assert await code_of(db, refused.value) == "edit_not_possible"


async def test_a_platform_is_switched_off_for_new_jobs_and_paused_for_all(db: Database, desk: Desk) -> None:
    await db.execute("update orbyt.platforms set enabled = false where platform = 'youtube'")
    with pytest.raises(psycopg.Error) as refused:
        await insert_job(db, desk.user_id, desk.account_id)
    assert await code_of(db, refused.value) == "platform_not_configured"
    await db.execute("update orbyt.platforms set paused_until = now() + interval '1 hour' where platform = 'youtube'")
    assert await claim(db, desk.worker_id) == []
    await db.execute("update orbyt.platforms set enabled = true, paused_until = null where platform = 'youtube'")
    assert desk["queued"] in {each["job_id"] for each in await claim(db, desk.worker_id)}


# What does not --------------------------------------------------------------------------------------------------------------------

NEVER = "00000000-0000-4000-8000-000000000000"
FINAL = "job_already_finished"
# (job, what is set, the code, a part of the message an admin reads)
IMPOSSIBLE: list[tuple[str, dict[str, Any], str, str]] = [
    *((name, {"status": status}, FINAL, "finished job does not change")
      for name in ("published", "cancelled") for status in ("queued", "publishing", "held", "failed")),
    ("published", {"status": "cancelled"}, FINAL, "finished job"),
    ("begun", {"status": "cancelled"}, "publish_in_progress", "at this moment"),
    ("begun", {"status": "failed"}, "publish_in_progress", "at this moment"),
    ("unknown", {"status": "cancelled"}, "publish_in_progress", "at this moment"),
    ("claimed", {"status": "failed", "error_code": "media_not_found", "title": "Another"}, "edit_not_possible", "status: content does not"),
    ("refused", {"status": "queued"}, "job_not_retryable", "might publish it twice"),
    ("refused", {"status": "held"}, "job_not_retryable", "might publish it twice"),
    ("refused", {"status": "cancelled"}, FINAL, "finished job"),
    *((name, {column: value}, "edit_not_possible", f"{column}: ")
      for name in ("queued", "published")
      for column, value in (("job_id", NEVER), ("account_id", NEVER), ("user_id", NEVER), ("platform", "facebook"))),
    ("claimed", {"attempt": 0}, "edit_not_possible", "attempt: it only grows"),
    ("held", {"run_at": "now"}, "edit_not_possible", "set status to queued"),
    ("failed", {"run_at": "now"}, "edit_not_possible", "set status to queued"),
    ("held", {"error_code": None}, "edit_not_possible", "set status to queued"),
    ("failed", {"error_code": None}, "edit_not_possible", "set status to queued"),
    ("published", {"published_at": None}, "edit_not_possible", "a published post has a time"),
    *((name, {"title": "Another"}, "job_already_started", "can no longer be edited")
      for name in ("claimed", "begun", "held_begun", "unknown")),
    *((name, {"publish_at": "tomorrow"}, "job_already_started", "can no longer be edited") for name in ("claimed", "held_begun")),
    *((name, {"title": "Another"}, FINAL, "finished job") for name in ("published", "cancelled", "failed")),
    # Content together with the status: what was begun with the old video would go on with it.
    *((name, {"status": "queued", "title": "Another"}, "job_already_started", "can no longer be edited")
      for name in ("failed_begun", "held_begun", "unknown", "claimed")),
    ("failed", {"status": "queued", "title": "a<b"}, "title_invalid", "title"),
    ("failed", {"status": "queued", "publish_at": "2099-01-01"}, "publish_at_invalid", ""),
    ("queued", {"title": None}, "title_missing", "title"),
    ("queued", {"expires_at": "2001-01-01"}, "expires_at_invalid", ""),
]  # fmt: skip


async def test_what_an_admin_cannot_do_is_refused_with_the_reason_and_changes_nothing(db: Database, desk: Desk) -> None:
    before = await db.fetch("select t::text as row from orbyt.publish_jobs t order by job_id")
    wrong = []
    for name, columns, code, words in IMPOSSIBLE:
        try:
            await edit(db, desk[name], **columns)
        except psycopg.Error as refused:
            answer = await code_of(db, refused)
            if answer != code or words not in (refused.diag.message_primary or "") or not refused.diag.message_hint:
                wrong.append((name, columns, answer, refused.diag.message_primary))
        else:
            wrong.append((name, columns, "accepted", ""))
    assert wrong == []
    for name in ("begun", "unknown"):
        with pytest.raises(psycopg.Error, match="at this moment"):
            await db.execute("delete from orbyt.publish_jobs where job_id = %s", [desk[name]])
    assert await db.fetch("select t::text as row from orbyt.publish_jobs t order by job_id") == before
    await consistent(db)


@pytest.mark.parametrize("column", ["account_id", "user_id", "platform"])
async def test_an_account_does_not_change_hands(db: Database, column: str) -> None:
    """Its tokens are sealed for it, and would be the other user's from then on."""
    _, account_id = await create_owner(db)
    value = {"account_id": uuid.uuid4(), "user_id": await create_user(db), "platform": "facebook"}[column]
    with pytest.raises(psycopg.Error, match=f"{column}: an account stays with its user") as refused:
        await save(db, "accounts", "account_id", account_id, {column: value})
    assert await code_of(db, refused.value) == "edit_not_possible"


async def test_a_row_inserted_by_hand_is_an_ordinary_job(db: Database) -> None:
    """Whatever is filled in for the worker's columns, and with the same checks as the app's."""
    user_id, account_id = await create_owner(db)
    statement = (
        "insert into orbyt.publish_jobs (user_id, account_id, platform, kind, title, media, status, attempt, progress, published_at) "
        "values (%s, %s, 'facebook', 'video', %s, %s, 'published', 9, 90, now()) returning *"
    )
    row = await db.row(statement, [user_id, account_id, "By hand", Jsonb([VIDEO])])
    assert (row["status"], row["attempt"], row["progress"], row["platform"]) == ("queued", 0, 0, "youtube")
    await consistent(db)
    with pytest.raises(psycopg.Error) as refused:
        await db.execute(statement, [user_id, account_id, None, Jsonb([VIDEO])])
    assert await code_of(db, refused.value) == "title_missing"
    stranger = await create_user(db)
    with pytest.raises(psycopg.Error) as refused:
        await db.execute(statement, [stranger, account_id, "By hand", Jsonb([VIDEO])])
    assert await code_of(db, refused.value) == "account_not_found"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retention_days", '"ninety"'),
        ("background_in_flight_max", "null"),
        ("publish_in_flight_max", "-1"),
        ("connect_minutes", "1.5"),
        ("notify", '"yes"'),
        ("connect_return_to", '"studiox://x"'),
    ],
)
async def test_a_setting_takes_only_what_the_functions_can_read(db: Database, name: str, value: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="settings_value_check"):
        await db.execute("update orbyt_private.settings set value = %s where name = %s", [value, name])


async def test_two_accounts_of_a_user_do_not_share_a_pause(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    other = await create_account(db, user_id)
    await db.execute("select orbyt_private.set_throttle('account', %s::text, 60, 'account_paused')", [account_id])
    for each in (account_id, other):
        await insert_job(db, user_id, each)
    taken = await claim(db, await register(db))
    assert [row["account_id"] for row in taken] == [other]


# The guide ------------------------------------------------------------------------------------------------------------------------


def test_the_guide_names_every_saved_query_and_every_refusal() -> None:
    text = ADMIN.read_text(encoding="utf-8")
    root = ADMIN.parents[1] / "sql"
    files = [
        path.relative_to(root).as_posix() for folder in ("inspect", "act") for path in (root / folder).glob("*.sql")
    ]
    assert files
    assert [file for file in files if f"(../sql/{file})" not in text] == []
    assert [code for code in sorted({code for *_, code, _ in IMPOSSIBLE}) if f"`{code}`" not in text] == []


async def test_the_guide_names_every_view(db: Database) -> None:
    views = await db.fetch(
        "select schemaname || '.' || viewname as name from pg_views where schemaname in ('orbyt', 'orbyt_private')"
    )
    text = ADMIN.read_text(encoding="utf-8")
    assert len(views) >= 11
    assert [row["name"] for row in views if f"`{row['name']}`" not in text] == []
