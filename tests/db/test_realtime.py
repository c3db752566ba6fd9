"""What a phone hears, up to the door of the Realtime server: what is published, who may read it, and what is in it.

Delivery is Realtime's own (tests/realtime/ runs against the real server where there is Docker). Everything before it is decided in the
database, and looked at here the way the server looks (supabase/realtime and supabase/walrus, read November 2026):

- postgres_changes: the table is in the publication; the subscriber's role may select the primary key; of the other columns those it may
  select; for an insert or update the row is visible to role and claims; for a delete everybody hears the primary key.
- private Broadcast: probe rows for the topic are read under the policies of realtime.messages with role, claims and topic set.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.db.connecting import candidate, connected, exchanged, grant, offer, set_up
from tests.factories import create_account, create_owner, create_user, insert_job
from tests.fix_postgres import Database

TABLES = {"publish_jobs", "accounts", "side_tasks", "connect_sessions"}
# Every key a message may have, by event. docs/reference/database.md lists the same.
KEYS = {
    "publish_job": {
        *("job_id", "post_id", "account_id", "platform", "status", "stage", "progress", "publish_at", "run_at", "permalink"),
        *("error_code", "retryable", "needs_reauth", "version"),
    },
    "publish_job_deleted": {"job_id", "post_id", "account_id", "version"},
    "account": {"account_id", "platform", "status", "error_code", "version"},
    "side_task": {"job_id", "task", "status", "error_code", "version"},
    "connect_session": {"session_id", "platform", "status", "error_code", "version"},
}  # fmt: skip


async def messages(db: Database, user_id: UUID, event: str = "publish_job") -> list[dict[str, Any]]:
    rows = await db.fetch(
        "select payload from realtime.messages where topic = %s and event = %s and private order by inserted_at, (payload ->> 'version')::bigint",
        [f"orbyt:{user_id}", event],
    )
    return [row["payload"] for row in rows]


async def heard(db: Database) -> int:
    """How many messages there are in all."""
    return int(await db.value("select count(*) from realtime.messages"))


async def claimed_job(db: Database, user_id: UUID, account_id: UUID) -> tuple[UUID, int, UUID]:
    """(job, attempt, worker)"""
    job_id, worker_id = await insert_job(db, user_id, account_id), uuid.uuid4()
    await db.execute("select orbyt_private.register_worker(%s, 'test', '0', '{}', 3600)", [worker_id])
    (row,) = await db.fetch("select * from orbyt_private.claim_jobs(%s, 1, 1, 3600)", [worker_id])
    return job_id, row["attempt"], worker_id


async def call(db: Database, function: str, *arguments: Any) -> Any:
    places = ", ".join(["%s"] * len(arguments))
    return await db.value(f"select orbyt_private.{function}({places})".encode(), arguments)


# postgres_changes ------------------------------------------------------------------------------------------------------------------


async def change_for(
    db: Database, table: str, key: dict[str, Any], role: str, sub: UUID | None, *, deleted: bool = False
) -> dict[str, Any] | str | None:
    """The record a subscriber is sent for a change of that row; None if nothing is, a text if it is told an error."""
    name = f"orbyt.{table}"
    published = await db.fetch(
        "select attnames, rowfilter from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'orbyt' and tablename = %s",
        [table],
    )
    if not published:
        return None
    assert published[0]["rowfilter"] is None
    columns = await db.fetch(
        """
        select a.attname as name, coalesce(i.indisprimary, false) as key, has_column_privilege(%s, a.attrelid, a.attnum, 'select') as readable
        from pg_attribute a left join pg_index i on i.indrelid = a.attrelid and i.indisprimary and a.attnum = any (i.indkey)
        where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum
        """,
        [role, name],
    )
    keys = [column["name"] for column in columns if column["key"]]
    if not keys:
        return "no primary key"
    if not all(column["readable"] for column in columns if column["key"]):
        return "unauthorized"
    if deleted:
        return {column: key[column] for column in keys}
    where = " and ".join(f"{column} = %({column})s" for column in keys)
    async with db.as_role(role, {} if sub is None else {"sub": str(sub)}) as subscriber:
        found = await (
            await subscriber.execute(f"select exists (select from {name} where {where}) as seen".encode(), key)
        ).fetchone()
    if found is None or not found["seen"]:
        return None
    record = await db.row(f"select * from {name} where {where}".encode(), key)
    readable = {column["name"] for column in columns if column["readable"]} & set(published[0]["attnames"])
    return {column: value for column, value in record.items() if column in readable}


async def populated(db: Database) -> tuple[UUID, dict[str, dict[str, Any]]]:
    """(owner, key of a row of theirs in each table)"""
    await set_up(db)
    user_id, account_id = await connected(db)
    job_id, attempt, _ = await claimed_job(db, user_id, account_id)
    await db.fetch("select * from orbyt_private.begin_side_task(%s, %s, 'first_comment')", [job_id, attempt])
    claimed = await exchanged(db, user_id, "facebook")
    offered = [candidate("page-1"), candidate("page-2")]
    await offer(db, claimed, offered, [grant(each["platform_account_id"], login="facebook") for each in offered])
    return user_id, {
        "publish_jobs": {"job_id": job_id},
        "accounts": {"account_id": account_id},
        "side_tasks": {"job_id": job_id, "task": "first_comment"},
        "connect_sessions": {"session_id": claimed["session_id"]},
    }


async def test_the_tables_are_in_the_publication_and_no_others(db: Database) -> None:
    rows = await db.fetch("select schemaname, tablename from pg_publication_tables where pubname = 'supabase_realtime'")
    assert {(row["schemaname"], row["tablename"]) for row in rows} == {("orbyt", table) for table in TABLES}
    published = await db.row(
        "select pubinsert, pubupdate, pubdelete, puballtables from pg_publication where pubname = 'supabase_realtime'"
    )
    assert published == {"pubinsert": True, "pubupdate": True, "pubdelete": True, "puballtables": False}
    # The default: an old row is its primary key. FULL would write every row twice, and send old texts around.
    identities = await db.fetch(
        "select relname, relreplident::text as identity from pg_class where relnamespace = 'orbyt'::regnamespace and relname = any (%s)",
        [sorted(TABLES)],
    )
    assert {row["identity"] for row in identities} == {"d"}


@pytest.mark.parametrize("table", sorted(TABLES))
async def test_changes_reach_the_owner_whole_and_nobody_else(db: Database, table: str) -> None:
    user_id, keys = await populated(db)
    stranger = await create_user(db)
    key = keys[table]
    record = await db.row(
        f"select * from orbyt.{table} where {' and '.join(f'{column} = %({column})s' for column in key)}".encode(), key
    )
    assert await change_for(db, table, key, "authenticated", user_id) == record
    assert await change_for(db, table, key, "authenticated", stranger) is None
    assert await change_for(db, table, key, "authenticated", None) is None
    assert await change_for(db, table, key, "anon", None) == "unauthorized"
    # A claim of somebody else's id does not help who is not signed in.
    assert await change_for(db, table, key, "anon", user_id) == "unauthorized"


@pytest.mark.parametrize("table", sorted(TABLES))
async def test_a_delete_tells_everybody_an_id_and_nothing_else(db: Database, table: str) -> None:
    """Realtime asks no policy about rows that are gone, so nothing but ids may stand in a primary key."""
    _, keys = await populated(db)
    stranger = await create_user(db)
    told = await change_for(db, table, keys[table], "authenticated", stranger, deleted=True)
    assert told == keys[table]
    kinds = {type(value) for name, value in keys[table].items() if name != "task"}
    assert kinds == {UUID}


async def test_no_published_table_holds_a_secret(db: Database) -> None:
    """Neither by name nor by what is in it after a login and an upload."""
    await populated(db)
    names = await db.fetch(
        "select column_name as name from information_schema.columns where table_schema = 'orbyt' and table_name = any (%s)",
        [sorted(TABLES)],
    )
    # Times and ids of them are no secrets; the thing itself would be.
    secret = re.compile(r"(?<!_)(token|secret|code_verifier|password|sealed|key|state_hash)(?!_expires_at)")
    assert [row["name"] for row in names if secret.search(row["name"])] == []
    texts = [str(row) for table in TABLES for row in await db.fetch(f"select * from orbyt.{table}".encode())]
    assert not [text for text in texts if "sealed" in text or "lasting" in text]


# Broadcast: who may listen and send --------------------------------------------------------------------------------------------------


async def rights(db: Database, topic: str, role: str, sub: UUID | None) -> dict[str, bool]:
    """What the server finds out when a client joins a private channel: by probes, in a transaction that is undone."""
    probes = {"broadcast": uuid.uuid4(), "presence": uuid.uuid4()}
    connection = await db.connect("supabase_admin", autocommit=False)
    found = {}
    try:
        for extension, probe in probes.items():
            await connection.execute(
                "insert into realtime.messages (id, topic, extension) values (%s, %s, %s)", [probe, topic, extension]
            )
        claims = json.dumps({"role": role} | ({} if sub is None else {"sub": str(sub)}))
        await connection.execute(
            "select set_config('role', %s, true), set_config('realtime.topic', %s, true), set_config('request.jwt.claims', %s, true)",
            [role, topic, claims],
        )
        for extension, probe in probes.items():
            row = await (
                await connection.execute(
                    "select exists (select from realtime.messages where topic = %s and id = %s) as seen", [topic, probe]
                )
            ).fetchone()
            assert row is not None
            found[f"hear {extension}"] = row["seen"]
            try:
                async with connection.transaction():
                    await connection.execute(
                        "insert into realtime.messages (topic, extension) values (%s, %s)", [topic, extension]
                    )
                found[f"send {extension}"] = True
            except psycopg.errors.InsufficientPrivilege:
                found[f"send {extension}"] = False
    finally:
        await connection.rollback()
    return found


NOTHING = dict.fromkeys(("hear broadcast", "send broadcast", "hear presence", "send presence"), False)


async def test_the_owner_hears_the_own_topic_and_may_not_send_on_it(db: Database) -> None:
    user_id = await create_user(db)
    assert await rights(db, f"orbyt:{user_id}", "authenticated", user_id) == {**NOTHING, "hear broadcast": True}


async def test_nobody_hears_or_sends_on_any_other_topic(db: Database) -> None:
    user_id, stranger = await create_user(db), await create_user(db)
    own = f"orbyt:{user_id}"
    topics = [
        own,
        f"{own}:x",
        f" {own}",
        own.upper(),
        f"realtime:{own}",
        str(user_id),
        "orbyt:",
        "orbyt:*",
        "orbyt:%",
        "",
    ]
    for topic in topics:
        assert await rights(db, topic, "authenticated", stranger) == NOTHING, topic
    for topic in topics[1:]:
        assert await rights(db, topic, "authenticated", user_id) == NOTHING, topic
    for role, sub in (("authenticated", None), ("anon", None), ("anon", user_id)):
        assert await rights(db, own, role, sub) == NOTHING


async def test_whoever_joined_the_own_topic_reads_no_message_of_another(db: Database) -> None:
    """Replay reads stored messages under the same policy."""
    user_id, account_id = await create_owner(db)
    other, theirs = await create_owner(db)
    await insert_job(db, user_id, account_id)
    await insert_job(db, other, theirs)
    async with db.as_user(user_id) as app:
        await app.execute("select set_config('realtime.topic', %s, true)", [f"orbyt:{user_id}"])
        rows = await (await app.execute("select topic, count(*) as n from realtime.messages group by 1")).fetchall()
    assert [row["topic"] for row in rows] == [f"orbyt:{user_id}"]
    assert rows[0]["n"] >= 2


# Broadcast: what is said -------------------------------------------------------------------------------------------------------------


async def test_every_message_has_the_keys_of_its_event_and_is_private(db: Database) -> None:
    user_id, keys = await populated(db)
    job_id = keys["publish_jobs"]["job_id"]
    await call(db, "succeed_job", job_id, 1, await db.value("select now()"))
    await db.execute("delete from orbyt.publish_jobs where job_id = %s", [job_id])
    rows = await db.fetch("select event, payload, private, extension, topic from realtime.messages")
    seen: dict[str, set[str]] = {}
    for row in rows:
        seen.setdefault(row["event"], set()).update(set(row["payload"]) - {"id"})
        assert set(row["payload"]) - {"id"} == KEYS[row["event"]], row["event"]
        assert (row["private"], row["extension"], row["topic"]) == (True, "broadcast", f"orbyt:{user_id}")
        assert len(json.dumps(row["payload"])) < 1000
    assert seen == KEYS


async def test_no_text_and_no_secret_is_sent(db: Database) -> None:
    await set_up(db)
    user_id, account_id = await connected(db, name="Anna's private channel")
    job_id, attempt, _ = await claimed_job(db, user_id, account_id)
    await call(db, "save_step", job_id, attempt, "start_upload", False, Jsonb({"upload": "planted-result"}))
    await call(
        db, "put_back", job_id, attempt, 5.0, "background", "uploading", "network_timeout", "planted-message", True
    )
    media = [{"type": "video", "url": "https://example.com/planted-address.mp4"}]
    await insert_job(db, user_id, account_id, title="planted-title", caption="planted-caption", media=media)
    said = str(await db.fetch("select payload from realtime.messages"))
    assert "network_timeout" in said
    for planted in ("planted", "Anna", "example.com", "sealed"):
        assert planted not in said


async def test_one_message_per_visible_change_with_a_growing_version(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)

    async def app(statement: str, *values: Any) -> None:
        async with db.as_user(user_id) as connection:
            await connection.execute(statement.encode(), values)

    worker_id = uuid.uuid4()
    await db.execute("select orbyt_private.register_worker(%s, 'test', '0', '{}', 3600)", [worker_id])

    async def claim() -> int:
        (row,) = await db.fetch("select attempt from orbyt_private.claim_jobs(%s, 4, 4, 3600)", [worker_id])
        return int(row["attempt"])

    # What was done, and how it shows.
    expected: list[tuple[str, str, str | None]] = [("queued", "waiting", None)]
    await app("update orbyt.publish_jobs set caption = 'Another' where job_id = %s", job_id)
    await app("select orbyt.reschedule_job(%s, now() + interval '1 second')", job_id)
    expected += [("queued", "waiting", None)] * 2
    attempt = await claim()
    expected += [("publishing", "preparing", None)]
    await call(db, "set_progress", job_id, attempt, "uploading", 20)
    expected += [("publishing", "uploading", None)]
    await call(db, "put_back", job_id, attempt, 0.0, "background", "uploading", "network_timeout", "x", True)
    expected += [("queued", "uploading", "network_timeout")]
    attempt = await claim()
    expected += [("publishing", "uploading", "network_timeout")]
    await call(db, "begin_publish", job_id, attempt, "finish", 30.0)  # the same stage: nothing to see
    await call(db, "set_progress", job_id, attempt, "publishing", 95)
    expected += [("publishing", "publishing", None)]
    await call(db, "confirm_publish", job_id, attempt, "finish", Jsonb({"platform_post_id": "p"}))
    expected += [("publishing", "verifying", None)]
    await call(db, "save_step", job_id, attempt, "verify", True, Jsonb({"permalink": "https://example.com/p"}))
    expected += [("publishing", "verifying", None)]
    await call(db, "succeed_job", job_id, attempt, await db.value("select now()"))
    expected += [("published", "verifying", None)]

    said = await messages(db, user_id)
    assert [(each["status"], each["stage"], each["error_code"]) for each in said] == expected
    versions = [int(each["version"]) for each in said]
    assert versions == sorted(set(versions))
    assert versions[-1] == await db.value("select version from orbyt.publish_jobs")
    assert said[-1]["permalink"] == "https://example.com/p"


async def test_nothing_is_said_of_what_only_the_worker_cares_for(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    await db.execute("insert into orbyt_private.account_grants (account_id, login) values (%s, 'google')", [account_id])
    job_id, attempt, worker_id = await claimed_job(db, user_id, account_id)
    await call(db, "set_progress", job_id, attempt, "processing", 90)
    before = await heard(db)
    await db.fetch("select * from orbyt_private.heartbeat(%s, 60)", [worker_id])
    await call(db, "save_step", job_id, attempt, "upload", True, Jsonb({}))
    await call(db, "forget_steps", job_id, attempt, ["upload"])
    await call(db, "save_step", job_id, attempt, "container", True, Jsonb({}))
    # Polling a platform: taken up and put back, again and again, without a problem.
    await call(db, "put_back", job_id, attempt, 0.0, "background", "processing")
    for _ in range(5):
        (row,) = await db.fetch("select attempt from orbyt_private.claim_jobs(%s, 1, 1, 3600)", [worker_id])
        await call(db, "put_back", job_id, row["attempt"], 0.0, "background", "processing")
    # A worker dies, and another one takes over.
    await db.fetch("select * from orbyt_private.claim_jobs(%s, 1, 1, 3600)", [worker_id])
    await db.fetch("select orbyt_private.return_jobs(%s, %s)", [worker_id, [job_id]])
    await db.execute("select orbyt_private.note_check(%s, 1, null)", [account_id])
    await db.execute("select orbyt_private.note_check(%s, 1, 'network_timeout')", [account_id])
    for upkeep in ("expire_jobs()", "tend_accounts()", "prune()", "take_back()", "expire_connects()"):
        await db.execute(f"select orbyt_private.{upkeep}".encode())
    assert await heard(db) == before


async def test_a_stream_of_progress_is_about_one_message_a_second(db: Database) -> None:
    """The worker keeps to one a second; one that does not is kept to it here, and the rows phones subscribe to stay quiet as well."""
    user_id, account_id = await create_owner(db)
    job_id, attempt, _ = await claimed_job(db, user_id, account_id)
    await call(db, "set_progress", job_id, attempt, "uploading", 4)
    before, version = await heard(db), await db.value("select version from orbyt.publish_jobs")
    started = await db.value("select clock_timestamp()")
    for step in range(300):
        assert await call(db, "set_progress", job_id, attempt, "uploading", 4 + step // 4) == "ok"
    seconds = (await db.value("select clock_timestamp()") - started).total_seconds()
    said = await heard(db) - before
    assert said <= seconds / 0.8 + 1
    assert await db.value("select version from orbyt.publish_jobs") - version == said
    # Time goes by: the next report is written, and a change of stage never waits.
    owner = await db.connect("supabase_admin")
    await owner.execute("set session_replication_role = replica")
    await owner.execute("update orbyt.publish_jobs set updated_at = now() - interval '1 second'")
    await call(db, "set_progress", job_id, attempt, "uploading", 85)
    await call(db, "set_progress", job_id, attempt, "processing", 90)
    assert [(each["stage"], each["progress"]) for each in (await messages(db, user_id))[-2:]] == [
        ("uploading", 85),
        ("processing", 90),
    ]


async def test_a_repeated_report_says_nothing(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id, attempt, _ = await claimed_job(db, user_id, account_id)
    owner = await db.connect("supabase_admin")
    await owner.execute("set session_replication_role = replica")
    for expected in (1, 0, 0):
        before = await heard(db)
        await owner.execute("update orbyt.publish_jobs set updated_at = now() - interval '1 minute'")
        await call(db, "set_progress", job_id, attempt, "uploading", 30)
        assert await heard(db) - before == expected


async def test_deletes(db: Database) -> None:
    """By hand; what upkeep prunes after the retention time is on nobody's screen."""
    user_id, account_id = await create_owner(db)
    first, second = await insert_job(db, user_id, account_id), await insert_job(db, user_id, account_id)
    last = max(int(each["version"]) for each in await messages(db, user_id) if each["job_id"] == str(first))
    await db.execute("delete from orbyt.publish_jobs where job_id = %s", [first])
    (gone,) = await messages(db, user_id, "publish_job_deleted")
    assert (gone["job_id"], gone["account_id"]) == (str(first), str(account_id))
    assert int(gone["version"]) > last
    async with db.as_user(user_id) as app:
        await app.execute("select orbyt.cancel_job(%s)", [second])
    owner = await db.connect("supabase_admin")
    await owner.execute("set session_replication_role = replica")
    await owner.execute(
        "update orbyt.publish_jobs set created_at = now() - interval '100 days', updated_at = now() - interval '100 days'"
    )
    before = await heard(db)
    assert await db.value("select orbyt_private.prune()") == 1
    assert await heard(db) == before


async def test_an_account_and_its_jobs_are_told_of_once_each(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    before = await heard(db)
    await db.execute("update orbyt.accounts set status = 'needs_reauth', error_code = 'google_grant_invalid'")
    assert await heard(db) - before == 2
    assert [each["status"] for each in await messages(db, user_id, "account")] == ["active", "needs_reauth"]
    assert (await messages(db, user_id))[-1]["job_id"] == str(job_id)
    for column, value in (("picture_url", "https://example.com/new.jpg"), ("handle", "@new"), ("scopes", ["a"])):
        before = await heard(db)
        await db.execute(f"update orbyt.accounts set {column} = %s".encode(), [value])
        assert await heard(db) - before == 1, column
    await db.execute("update orbyt.accounts set checked_at = now(), token_expires_at = now()")
    assert await heard(db) - before == 1


async def test_a_login_is_one_message_per_status(db: Database) -> None:
    await set_up(db)
    user_id, _ = await connected(db)
    sessions = await messages(db, user_id, "connect_session")
    # A single account is chosen by itself: the choice and its end come together.
    assert [each["status"] for each in sessions] == ["started", "exchanging", "choose", "connected"]
    assert [each["status"] for each in await messages(db, user_id, "account")][-1] == "active"
    await connected(db, user_id)
    versions = [int(each["version"]) for each in await messages(db, user_id, "account")]
    assert versions == sorted(set(versions))


async def test_many_jobs_of_one_insert_are_one_message_each(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    other = await create_account(db, user_id)
    async with db.as_user(user_id) as app:
        await app.execute(
            "insert into orbyt.publish_jobs (account_id, kind, title, media) select a, 'video', 't', %s from unnest(%s::uuid[]) a",
            [Jsonb([{"type": "video", "url": "https://example.com/v.mp4"}]), [account_id, other]],
        )
    assert sorted(each["account_id"] for each in await messages(db, user_id)) == sorted(map(str, (account_id, other)))


async def test_a_message_is_part_of_the_transaction(db: Database) -> None:
    """What is undone was never said; and a Realtime that takes no messages stops no insert."""
    user_id, account_id = await create_owner(db)
    before = await heard(db)
    async with db.as_user(user_id) as app:
        await app.execute(
            "insert into orbyt.publish_jobs (account_id, kind, title, media) values (%s, 'video', 't', %s)",
            [account_id, Jsonb([{"type": "video", "url": "https://example.com/v.mp4"}])],
        )
        await app.rollback()
    assert await heard(db) == before
    owner = await db.connect("supabase_admin")
    await drop_partitions(db, owner)
    await insert_job(db, user_id, account_id)
    assert await db.value("select count(*) from orbyt.publish_jobs") == 1


async def drop_partitions(db: Database, owner: Any) -> None:
    """As after some days without clients: Realtime has made no new ones."""
    parts: Iterable[dict[str, Any]] = await db.fetch(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'realtime.messages'::regclass"
    )
    for part in parts:
        await owner.execute(f"drop table {part['name']}")
