"""Every file of sql/ runs as it is, answers its question, and does to the database what its opening says, no more."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import DictRow

from orbyt_worker.sandbox.bootstrap import split_statements
from tests.db.connecting import begin, candidate, come_back, exchanged, grant, offer, set_up
from tests.factories import create_account, create_owner, create_user, insert_job
from tests.fix_postgres import Connection, Database

ROOT = Path(__file__).parents[2] / "sql"
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.sql"))
INSPECT = [file for file in FILES if file.startswith("inspect/")]
ACT = [file for file in FILES if file.startswith("act/")]
EXAMPLES = [file for file in FILES if file.startswith("examples/")]

NOBODY = "00000000-0000-0000-0000-000000000000"
SECOND = "00000000-0000-0000-0000-000000000001"
COMMENT = re.compile(r"--[^\n]*")
# Whatever writes without being a function of the schema. `update` and the like may stand in a comment, never in the statement.
WRITES = re.compile(
    r"\b(insert|update|delete|merge|truncate|create|alter|drop|grant|revoke|copy|call|do|set_config|notify|vacuum|lock|into)\b",
    re.IGNORECASE,
)
FUNCTION = re.compile(r"\b(orbyt(?:_private)?\.[a-z_]+)\(")


def text_of(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def statement_of(file: str, replace: dict[str, Any] | None = None) -> str:
    """The file as a person runs it, with its placeholders replaced. Each of them stands there exactly once."""
    text = text_of(file)
    for placeholder, value in (replace or {}).items():
        assert text.count(placeholder) == 1, f"{file}: {placeholder} stands there {text.count(placeholder)} times"
        text = text.replace(placeholder, str(value))
    return text


async def run(db: Database, file: str, replace: dict[str, Any] | None = None) -> list[DictRow]:
    return await db.fetch(statement_of(file, replace).encode())


async def code_of(db: Database, file: str, replace: dict[str, Any] | None = None) -> str:
    """The catalog code with which the file is refused."""
    with pytest.raises(psycopg.Error) as refused:
        await run(db, file, replace)
    return str(json.loads(refused.value.diag.message_detail or "{}")["code"])


@dataclass(frozen=True)
class Scene:
    """One job of each sort, and a worker that claimed one of them."""

    user_id: UUID
    account_id: UUID
    lost_account_id: UUID
    worker_id: UUID
    due: UUID
    claimed: UUID
    held: UUID
    unknown: UUID
    failed: UUID


async def register(db: Database, lease_seconds: float = 60) -> UUID:
    worker_id = uuid.uuid4()
    await db.execute("select orbyt_private.register_worker(%s, 'here', '0.1.0', '{}', %s)", [worker_id, lease_seconds])
    return worker_id


async def claim_one(db: Database, worker_id: UUID, job_id: UUID) -> int:
    """Claims that job, which must be the head of the only due lane; returns its attempt."""
    rows = await db.fetch("select job_id, attempt from orbyt_private.claim_jobs(%s, 1, 0, 60)", [worker_id])
    assert [row["job_id"] for row in rows] == [job_id]
    return int(rows[0]["attempt"])


@pytest.fixture
async def scene(db: Database) -> Scene:
    user_id, account_id = await create_owner(db, name="Ada's channel")
    worker_id = await register(db)

    held = await insert_job(db, user_id, account_id, title="held")
    attempt = await claim_one(db, worker_id, held)
    await db.execute(
        "select orbyt_private.hold_job(%s, %s, 'google_client_invalid', 'the client is not valid')", [held, attempt]
    )
    failed = await insert_job(db, user_id, account_id, title="failed")
    attempt = await claim_one(db, worker_id, failed)
    await db.execute(
        "select orbyt_private.save_step(%s, %s, 'start_upload', true, '{\"total_bytes\": 5}')", [failed, attempt]
    )
    await db.execute("select orbyt_private.fail_job(%s, %s, 'media_not_found', 'gone')", [failed, attempt])
    unknown = await insert_job(db, user_id, account_id, title="unknown")
    attempt = await claim_one(db, worker_id, unknown)
    await db.execute("select orbyt_private.begin_publish(%s, %s, 'finish_upload', 30)", [unknown, attempt])
    await db.execute("select orbyt_private.fail_job(%s, %s, 'network_timeout', 'no answer')", [unknown, attempt])
    claimed = await insert_job(db, user_id, account_id, title="claimed")
    await claim_one(db, worker_id, claimed)
    due = await insert_job(db, user_id, account_id, title="due")

    await db.execute("select orbyt_private.reserve_quota('youtube_uploads', 'default', 90, 95)")
    lost = await create_account(
        db, user_id, name="Lost channel", status="needs_reauth", error_code="google_grant_invalid"
    )
    await insert_job(db, user_id, lost, title="waits for its user")
    return Scene(user_id, account_id, lost, worker_id, due, claimed, held, unknown, failed)


async def status_of(db: Database, job_id: UUID) -> str:
    return str(await db.value("select status from orbyt.publish_jobs where job_id = %s", [job_id]))


async def last_event(db: Database, job_id: UUID) -> str:
    return str(
        await db.value("select event from orbyt.job_events where job_id = %s order by event_id desc limit 1", [job_id])
    )


# What every file promises --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
def test_each_file_opens_with_its_question_who_and_what_it_changes(file: str) -> None:
    lines = text_of(file).splitlines()
    assert re.fullmatch(r"-- Question: .*\?.*", lines[0]), lines[0]
    assert lines[1].startswith("-- Who may run it: "), lines[1]
    assert lines[2].startswith("-- Changes: "), lines[2]
    if file.startswith("inspect/"):
        assert lines[2] == "-- Changes: nothing."
    assert len(split_statements(text_of(file))) == 1, (
        "one question, one statement: the editor shows only the last answer"
    )


@pytest.mark.parametrize("file", INSPECT)
def test_inspect_only_reads_by_its_text(file: str) -> None:
    bare = COMMENT.sub("", text_of(file))
    assert WRITES.findall(bare) == []
    assert FUNCTION.findall(bare) == [], "a function could write"


@pytest.mark.parametrize("file", ACT)
async def test_act_only_calls_one_function_of_the_schema(db: Database, file: str) -> None:
    bare = COMMENT.sub("", text_of(file))
    assert WRITES.findall(bare) == []
    (name,) = set(FUNCTION.findall(bare))
    assert await db.value("select count(*) from pg_proc where oid::regproc::text = %s", [name]) == 1
    plan = await db.value(f"explain (format json) {statement_of(file)}".encode())
    assert "ModifyTable" not in json.dumps(plan)


@pytest.mark.parametrize("file", INSPECT)
async def test_inspect_runs_in_a_read_only_transaction(db: Database, scene: Scene, file: str) -> None:
    connection: Connection = await db.connect(autocommit=False)
    await connection.set_read_only(True)
    replace = {NOBODY: scene.account_id if "account" in file else scene.unknown} if NOBODY in text_of(file) else {}
    await connection.execute(statement_of(file, replace).encode())
    assert (await (await connection.execute("select pg_current_xact_id_if_assigned() as xid")).fetchone()) == {
        "xid": None
    }
    await connection.rollback()


def test_the_index_names_every_file() -> None:
    named = re.findall(r"\]\(((?:inspect|act|examples)/[a-z_]+\.sql)\)", text_of("README.md"))
    assert sorted(named) == FILES


async def everything(db: Database) -> dict[str, list[str]]:
    """Every row of every table of ours, as text."""
    tables = await db.fetch(
        "select schemaname || '.' || tablename as name from pg_tables where schemaname in ('orbyt', 'orbyt_private')"
    )
    return {
        table["name"]: sorted(
            row["row"] for row in await db.fetch(f"select t::text as row from {table['name']} t".encode())
        )
        for table in tables
    }


# What a file answers while its placeholders stand there: rows, or the code it is refused with.
FORGOTTEN: dict[str, Any] = {
    "act/cancel_job.sql": "job_not_found",
    "act/clear_operator_issue.sql": [{"cleared": False}],
    "act/mark_as_not_published.sql": "job_not_found",
    "act/mark_as_published.sql": "job_not_found",
    "act/pause_account.sql": [],
    "act/pause_platform.sql": [],
    "act/release_by_cause.sql": [{"jobs_released": 0}],
    "act/release_job.sql": [{"released": False}],
    "act/retry_by_cause.sql": [{"jobs_retried": 0}],
    "act/retry_job.sql": "job_not_found",
    "act/unpause_account.sql": [],
    "act/unpause_platform.sql": [],
    "examples/check_post.sql": ["account_not_found"],
    "examples/insert_post.sql": [],
    "examples/schedule_post.sql": [],
    "examples/several_accounts.sql": [],
}


@pytest.mark.parametrize("file", ACT + EXAMPLES)
async def test_a_forgotten_placeholder_changes_nothing(db: Database, scene: Scene, file: str) -> None:
    before = await everything(db)
    expected = FORGOTTEN[file]
    if isinstance(expected, str):
        assert await code_of(db, file) == expected
    elif file == "examples/check_post.sql":
        assert [row["code"] for row in await run(db, file)] == expected
    else:
        assert await run(db, file) == expected
    assert await everything(db) == before


@pytest.mark.parametrize("file", INSPECT)
async def test_inspect_changes_no_row(db: Database, scene: Scene, file: str) -> None:
    before = await everything(db)
    await run(db, file)
    assert await everything(db) == before


# inspect -----------------------------------------------------------------------------------------------------------------


async def test_stuck_jobs(db: Database, scene: Scene) -> None:
    stuck = {row["job_id"]: row for row in await run(db, "inspect/stuck_jobs.sql")}
    assert scene.due not in stuck, "due since a moment is not stuck"
    assert scene.claimed not in stuck, "being worked on is not stuck"
    assert stuck[scene.held]["who_acts"] == "operator"
    assert stuck[scene.held]["what_to_do"]
    assert stuck[scene.unknown]["who_acts"] == "user"

    async def why(job_id: UUID) -> str:
        return next(str(row["why"]) for row in await run(db, "inspect/stuck_jobs.sql") if row["job_id"] == job_id)

    await db.execute(
        "update orbyt.publish_jobs set run_at = now() - interval '5 minutes' where job_id = %s", [scene.due]
    )
    assert await why(scene.due) == "due and free: the workers have no free slot"
    await db.execute("update orbyt_private.lanes set in_flight_max = 1 where phase = 'background'")
    assert await why(scene.due) == "another job of this account goes first"
    await db.execute("update orbyt_private.workers set lease_until = now() - interval '1 second'")
    assert await why(scene.claimed) == "its worker fell silent; any living worker takes the job back"
    await db.execute("update orbyt_private.lanes set in_flight_max = 2 where phase = 'background'")
    assert await why(scene.due) == "no worker is alive"
    await db.execute(
        "select orbyt_private.set_throttle('account', %s::text, 60, 'youtube_rate_limited')", [scene.account_id]
    )
    assert re.fullmatch(r"the account is throttled until .* \(youtube_rate_limited\)", await why(scene.due))
    for _ in range(5):
        _, account_id = await create_owner(db)
        await db.execute("select orbyt_private.report_outage('youtube', %s)", [account_id])
    assert (await why(scene.due)).startswith("the platform is down; next probe ")
    await db.execute("select orbyt_private.set_throttle('platform', 'youtube', 60, 'platform_paused')")
    assert (await why(scene.due)).endswith("(platform_paused)")


async def test_held_by_cause(db: Database, scene: Scene) -> None:
    held = {row["error_code"]: row for row in await run(db, "inspect/held_by_cause.sql")}
    assert set(held) == {"google_client_invalid", "outcome_unknown", "account_needs_reauth"}
    assert (held["account_needs_reauth"]["jobs"], held["account_needs_reauth"]["who_acts"]) == (1, "user")


async def test_held_by_account(db: Database, scene: Scene) -> None:
    rows = await run(db, "inspect/held_by_account.sql")
    assert sorted((row["account_name"], row["error_code"], row["jobs"]) for row in rows) == [
        ("Ada's channel", "google_client_invalid", 1),
        ("Ada's channel", "outcome_unknown", 1),
        ("Lost channel", "account_needs_reauth", 1),
    ]
    (lost,) = [row for row in rows if row["account_id"] == scene.lost_account_id]
    assert (lost["account_status"], lost["who_acts"], lost["user_id"]) == ("needs_reauth", "user", scene.user_id)


async def test_late_and_missed(db: Database, scene: Scene) -> None:
    """Scheduled posts that are late, were late or were never sent; a long upload of a post for now is not late."""
    owner = await db.connect("supabase_admin")
    await owner.execute("set session_replication_role = replica")  # rows of the past: nothing else of them matters here
    move = (
        "update orbyt.publish_jobs set created_at = now() - interval '3 hours', publish_at = now() - interval '2 hours', "
        "published_at = now() - interval '2 hours' + %s::interval, status = %s::text::orbyt.job_status, run_at = null, "
        "error_code = %s where job_id = %s"
    )
    jobs = {name: await insert_job(db, scene.user_id, scene.account_id, title=name) for name in ("a", "b", "c", "d")}
    await owner.execute(move, ["30 seconds", "published", None, jobs["a"]])  # on time
    await owner.execute(move, ["5 minutes", "published", None, jobs["b"]])
    await owner.execute(move, [None, "failed", "deadline_missed", jobs["c"]])
    await owner.execute(move, [None, "failed", "media_not_found", jobs["d"]])  # failed, and for another reason
    await owner.execute(
        "update orbyt.publish_jobs set publish_at = now() - interval '1 hour' where job_id = %s", [scene.held]
    )
    rows = {row["job_id"]: row for row in await run(db, "inspect/late_and_missed.sql")}
    assert {job_id: row["what"] for job_id, row in rows.items()} == {
        jobs["b"]: "published late",
        jobs["c"]: "missed",
        scene.held: "late",
    }
    assert rows[jobs["b"]]["late_by"].total_seconds() == 300
    assert rows[scene.held]["who_acts"] == "operator"


async def test_failures_by_cause(db: Database, scene: Scene) -> None:
    (row,) = await run(db, "inspect/failures_by_cause.sql")
    assert (row["platform"], row["error_code"], row["jobs"], row["accounts"]) == ("youtube", "media_not_found", 1, 1)


async def test_jobs_of_account(db: Database, scene: Scene) -> None:
    rows = await run(db, "inspect/jobs_of_account.sql", {NOBODY: scene.account_id})
    assert [row["title"] for row in rows] == ["due", "claimed", "unknown", "failed", "held"]
    assert [row["being_worked_on"] for row in rows] == [False, True, False, False, False]


async def test_connection_health(db: Database, scene: Scene) -> None:
    await db.execute(
        "insert into orbyt_private.account_grants (account_id, login) values (%s, 'google')", [scene.account_id]
    )
    (row,) = await run(db, "inspect/connection_health.sql")
    assert (row["account_id"], row["status"], row["held_jobs"]) == (scene.lost_account_id, "needs_reauth", 1)


async def test_connection_health_shows_what_ends_soon_and_what_cannot_be_told(db: Database, scene: Scene) -> None:
    await db.execute(
        "insert into orbyt_private.account_grants (account_id, login) values (%s, 'facebook')", [scene.account_id]
    )
    await db.execute(
        "update orbyt.accounts set data_access_expires_at = now() + interval '10.5 days' where account_id = %s",
        [scene.account_id],
    )
    rows = {row["account_id"]: row for row in await run(db, "inspect/connection_health.sql")}
    assert rows[scene.account_id]["days_left"] == 10
    await db.execute("update orbyt.accounts set data_access_expires_at = now() + interval '60 days'")
    assert scene.account_id not in {row["account_id"] for row in await run(db, "inspect/connection_health.sql")}
    await db.value("select orbyt_private.note_check(%s, 1, 'network_timeout')", [scene.account_id])
    rows = {row["account_id"]: row for row in await run(db, "inspect/connection_health.sql")}
    assert rows[scene.account_id]["check_error_code"] == "network_timeout"


async def test_connect_sessions(db: Database) -> None:
    await set_up(db)
    user_id = await create_user(db)
    claimed = await exchanged(db, user_id, "facebook")
    offered = [candidate("a"), candidate("b", code="connect_role_missing")]
    await offer(db, claimed, offered, [grant("a", login="facebook")])
    begun = await begin(db, user_id)
    await come_back(db, begun.state_hash, error="access_denied")
    first, second = await run(db, "inspect/connect_sessions.sql")
    assert (first["status"], first["candidates"], first["usable"], first["connected"]) == ("choose", 2, 1, 0)
    assert (second["status"], second["error_code"], second["who_acts"]) == ("failed", "connect_denied", "user")


async def test_operator_issues(db: Database) -> None:
    await db.value("select orbyt_private.raise_operator_issue('google_consent_testing_mode', 'seen')")
    (row,) = await run(db, "inspect/operator_issues.sql")
    assert (row["code"], row["count"], row["detail"]) == ("google_consent_testing_mode", 1, "seen")
    assert "production" in row["what_to_do"]


async def test_quota(db: Database, scene: Scene) -> None:
    (row,) = await run(db, "inspect/quota.sql")
    assert (row["bucket"], row["units_used"], row["units_left"]) == ("youtube_uploads", 90, 5)
    assert (row["scheduled_before_reset"], row["spare"], row["waiting_for_reset"]) == (1, 4, 0)


async def test_workers(db: Database, scene: Scene) -> None:
    silent = await register(db, lease_seconds=-1)
    rows = {row["worker_id"]: row for row in await run(db, "inspect/workers.sql")}
    assert (rows[scene.worker_id]["state"], rows[scene.worker_id]["jobs"]) == ("alive", 1)
    assert (rows[silent]["state"], rows[silent]["jobs"]) == ("silent", 0)


async def test_pauses(db: Database, scene: Scene) -> None:
    assert await run(db, "inspect/pauses.sql") == []
    await db.execute("select orbyt_private.set_throttle('platform', 'youtube', 60, 'platform_paused')")
    await db.execute(
        "select orbyt_private.set_throttle('account', %s::text, 120, 'youtube_rate_limited')", [scene.account_id]
    )
    rows = await run(db, "inspect/pauses.sql")
    assert [(row["scope"], row["paused"], row["code"]) for row in rows] == [
        ("platform", "youtube", "platform_paused"),
        ("account", "youtube: Ada's channel", "youtube_rate_limited"),
    ]
    # By hand, in the Table Editor.
    await db.execute(
        "update orbyt.platforms set paused_until = now() + interval '1 hour' where platform in ('facebook', 'youtube')"
    )
    await db.execute("update orbyt.platforms set enabled = false where platform = 'instagram'")
    found = {(row["what"], row["paused"], row["code"]) for row in await run(db, "inspect/pauses.sql")}
    assert found >= {("pause", "facebook", None), ("switched off", "instagram", "platform_not_configured")}
    claim = "select job_id from orbyt_private.claim_jobs(%s, 4, 4, 60)"
    assert await db.fetch(claim, [scene.worker_id]) == []
    await db.execute(
        "update orbyt.publish_jobs set run_at = now() - interval '5 minutes' where job_id = %s", [scene.due]
    )
    await db.execute("delete from orbyt_private.throttles where scope = 'platform'")
    stuck = {row["job_id"]: row["why"] for row in await run(db, "inspect/stuck_jobs.sql")}
    assert stuck[scene.due].startswith("the platform is paused until ")


async def test_job_history(db: Database, scene: Scene) -> None:
    rows = await run(db, "inspect/job_history.sql", {NOBODY: scene.unknown})
    assert [row["what"] for row in rows if row["kind"] == "event"] == ["inserted", "claimed", "begun", "held"]
    assert [row["what"] for row in rows if row["kind"] == "step"] == ["finish_upload: begun"]
    assert rows[-1]["error_code"] == "outcome_unknown"


# act -----------------------------------------------------------------------------------------------------------------------


async def test_retry_job(db: Database, scene: Scene) -> None:
    (row,) = await run(db, "act/retry_job.sql", {NOBODY: scene.failed})
    assert (row["job_id"], row["status"]) == (scene.failed, "queued")
    assert await last_event(db, scene.failed) == "retried"
    assert await db.value("select count(*) from orbyt_private.job_steps where job_id = %s", [scene.failed]) == 1, (
        "goes on"
    )
    held_for_its_account = await db.value(
        "select job_id from orbyt.publish_jobs where account_id = %s", [scene.lost_account_id]
    )
    assert await code_of(db, "act/retry_job.sql", {NOBODY: held_for_its_account}) == "account_needs_reauth"


async def test_retry_by_cause(db: Database, scene: Scene) -> None:
    assert await run(db, "act/retry_by_cause.sql") == [{"jobs_retried": 0}]
    assert await run(db, "act/retry_by_cause.sql", {"replace_by_error_code": "media_not_found"}) == [
        {"jobs_retried": 1}
    ]
    assert await status_of(db, scene.failed) == "queued"


async def test_release_job(db: Database, scene: Scene) -> None:
    assert await run(db, "act/release_job.sql", {NOBODY: scene.unknown}) == [{"released": True}]
    assert await status_of(db, scene.unknown) == "publishing"
    open_call = "select state from orbyt_private.job_steps where job_id = %s"
    assert await db.value(open_call, [scene.unknown]) == "begun", "the worker looks first"
    assert await run(db, "act/release_job.sql", {NOBODY: scene.unknown}) == [{"released": False}]


async def test_release_by_cause(db: Database, scene: Scene) -> None:
    assert await run(db, "act/release_by_cause.sql") == [{"jobs_released": 0}]
    mended = {"replace_by_error_code": "google_client_invalid"}
    assert await run(db, "act/release_by_cause.sql", mended) == [{"jobs_released": 1}]
    assert (await status_of(db, scene.held), await status_of(db, scene.unknown)) == ("queued", "held")


async def test_mark_as_published(db: Database, scene: Scene) -> None:
    seen = {
        NOBODY: scene.unknown,
        "replace_by_platform_post_id": "dQw4w9WgXcQ",
        "https://example.com/permalink": "https://youtu.be/dQw4w9WgXcQ",
    }
    (row,) = await run(db, "act/mark_as_published.sql", seen)
    assert (row["status"], row["platform_post_id"], row["permalink"]) == (
        "published",
        "dQw4w9WgXcQ",
        "https://youtu.be/dQw4w9WgXcQ",
    )
    assert row["published_at"] is not None
    assert await code_of(db, "act/mark_as_published.sql", seen) == "job_not_found"


async def test_mark_as_not_published(db: Database, scene: Scene) -> None:
    (row,) = await run(db, "act/mark_as_not_published.sql", {NOBODY: scene.unknown})
    assert row["status"] == "queued"
    assert await db.value("select count(*) from orbyt_private.job_steps where job_id = %s", [scene.unknown]) == 0
    assert await code_of(db, "act/mark_as_not_published.sql", {NOBODY: scene.claimed}) == "job_not_found"


async def test_pause_and_unpause_a_platform(db: Database, scene: Scene) -> None:
    claim = "select job_id from orbyt_private.claim_jobs(%s, 4, 4, 60)"
    assert await run(db, "act/pause_platform.sql") == [], "a name that does not exist"
    (row,) = await run(db, "act/pause_platform.sql", {"replace_by_platform": "youtube"})
    seconds = await db.value("select extract(epoch from %s - now())", [row["paused_until"]])
    assert 3590 < seconds <= 3600
    assert await db.fetch(claim, [scene.worker_id]) == []
    assert await db.value("select pause_code from orbyt.platforms where platform = 'youtube'") == "platform_paused"
    assert len(await run(db, "act/unpause_platform.sql", {"replace_by_platform": "youtube"})) == 1
    assert [row["job_id"] for row in await db.fetch(claim, [scene.worker_id])] == [scene.due]


async def test_pause_and_unpause_an_account(db: Database, scene: Scene) -> None:
    claim = "select job_id from orbyt_private.claim_jobs(%s, 4, 4, 60)"
    (row,) = await run(db, "act/pause_account.sql", {NOBODY: scene.account_id})
    seconds = await db.value("select extract(epoch from %s - now())", [row["paused_until"]])
    assert 3590 < seconds <= 3600
    assert await db.fetch(claim, [scene.worker_id]) == []
    # Another account is served, and a reconnect in between ends nothing.
    other, theirs = await create_owner(db)
    job_id = await insert_job(db, other, theirs)
    assert [row["job_id"] for row in await db.fetch(claim, [scene.worker_id])] == [job_id]
    for status in ("needs_reauth", "active"):
        await db.execute("update orbyt.accounts set status = %s where account_id = %s", [status, scene.account_id])
    assert await status_of(db, scene.due) == "queued"
    assert await db.fetch(claim, [scene.worker_id]) == []
    assert len(await run(db, "act/unpause_account.sql", {NOBODY: scene.account_id})) == 1
    assert [row["job_id"] for row in await db.fetch(claim, [scene.worker_id])] == [scene.due]


async def test_clear_operator_issue(db: Database) -> None:
    await db.value("select orbyt_private.raise_operator_issue('google_consent_testing_mode', 'seen')")
    put_right = {"replace_by_error_code": "google_consent_testing_mode"}
    assert await run(db, "act/clear_operator_issue.sql", put_right) == [{"cleared": True}]
    assert await run(db, "inspect/operator_issues.sql") == []


async def test_cancel_job(db: Database, scene: Scene) -> None:
    assert await run(db, "act/cancel_job.sql", {NOBODY: scene.claimed}) == [
        {"job_id": scene.claimed, "status": "cancelled"}
    ]
    assert await last_event(db, scene.claimed) == "cancelled"
    assert await code_of(db, "act/cancel_job.sql", {NOBODY: scene.unknown}) == "publish_in_progress"


# examples --------------------------------------------------------------------------------------------------------------------


async def test_insert_post(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    (row,) = await run(db, "examples/insert_post.sql", {NOBODY: account_id})
    assert row["status"] == "queued"
    job = await db.row("select user_id, title, caption, options from orbyt.publish_jobs")
    assert (job["user_id"], job["title"]) == (user_id, "Hello from Orbyt")
    assert job["options"] == {"privacy": "public", "made_for_kids": False}
    assert (
        await code_of(db, "examples/insert_post.sql", {NOBODY: account_id, "Hello from Orbyt": "<b>"})
        == "title_invalid"
    )


async def test_schedule_post(db: Database) -> None:
    _, account_id = await create_owner(db)
    (row,) = await run(db, "examples/schedule_post.sql", {NOBODY: account_id})
    assert (row["expires_at"] - row["publish_at"]).total_seconds() == 7200
    assert await db.value("select phase from orbyt_private.job_queue") == "inspect", "its media is looked at today"
    assert await run(db, "examples/schedule_post.sql", {NOBODY: account_id}) == [], "the same client_ref again"


async def test_several_accounts(db: Database) -> None:
    user_id = await create_user(db)
    accounts = {await create_account(db, user_id) for _ in range(2)}
    first, second = accounts
    rows = await run(db, "examples/several_accounts.sql", {NOBODY: first, SECOND: second})
    assert {row["account_id"] for row in rows} == accounts
    assert len({row["post_id"] for row in rows}) == 1


async def test_check_post(db: Database) -> None:
    _, account_id = await create_owner(db)
    assert await run(db, "examples/check_post.sql", {NOBODY: account_id}) == []
    problems = await run(
        db,
        "examples/check_post.sql",
        {NOBODY: account_id, "https://example.com/video.mp4": "http://10.0.0.1/video.mp4"},
    )
    assert [(row["code"], row["field"]) for row in problems] == [("media_url_not_https", "media[0].url")]
    assert problems[0]["what_to_do"]
    assert await db.value("select count(*) from orbyt.publish_jobs") == 0
