"""Everything a client should not be able to do, tried by every kind of client, from one table.

The table is made from the catalogs: a new table, view, column or function is in it by itself, and is refused unless it is listed
here as meant for the app. Nothing that is tried changes a row.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.db.connecting import begin, candidate, connected, exchanged, grant, offer, set_up
from tests.db.test_app_access import code_of
from tests.factories import VIDEO, create_account, create_user, insert_job
from tests.fix_postgres import Connection, Database

DENIED = "42501"
# A view of which no row could be changed by anybody: refused as well, only before the rights are looked at.
NOT_UPDATABLE = {"55000", "0A000"}
# What the app may set, from docs/reference/database.md. Whatever else there is in the schema belongs to Orbyt.
INSERTABLE = {
    "publish_jobs": {
        *("job_id", "post_id", "user_id", "account_id", "kind", "title", "caption", "media", "options", "publish_at"),
        *("expires_at", "client_ref"),
    }
}
EDITABLE = {"publish_jobs": INSERTABLE["publish_jobs"] - {"job_id", "post_id", "user_id", "account_id"}}
# What is the same for everybody; every other relation shows own rows only.
PUBLIC = {"error_catalog", "platforms"}
RPCS = {"cancel_job", "retry_job", "reschedule_job", "check_post", "begin_connect", "finish_connect", "disconnect"}
# Called by an RPC or by a trigger with the rights of the user; each looks at auth.uid() or only at its arguments.
BEHIND = {
    *("cancel_own_job", "retry_own_job", "reschedule_own_job", "check_own_post", "begin_own_connect"),
    *("finish_own_connect", "disconnect_own_account", "percent_decoded", "is_public_object", "can_read_object"),
    *("storage_problems", "raise_error"),
}
DOOR = {"connect_callback", "callback_key"}
GRANTED: dict[str, dict[str, set[str]]] = {
    "anon": {"orbyt": set(), "orbyt_private": set()},
    "authenticated": {"orbyt": RPCS, "orbyt_private": BEHIND},
    "service_role": {"orbyt": RPCS | DOOR, "orbyt_private": BEHIND | DOOR},
}


@dataclass(frozen=True)
class Victim:
    """Somebody with a row in every table."""

    user_id: UUID
    account_id: UUID
    job_id: UUID
    session_id: UUID


@dataclass(frozen=True)
class Attempt:
    """A statement and what it must come to: a SQLSTATE, a catalog code, or a number of rows that were touched or read."""

    what: str
    statement: str
    expected: str | int
    parameters: tuple[Any, ...] = ()


@pytest.fixture
async def victim(db: Database) -> Victim:
    await set_up(db)
    user_id, account_id = await connected(db, picture_url="https://pictures.example.com/v.jpg")
    job_id = await insert_job(db, user_id, account_id, client_ref="mine")
    await insert_job(db, user_id, account_id)
    await db.execute("update orbyt.publish_jobs set status = 'held' where job_id = %s", [job_id])
    await db.execute(
        "insert into orbyt.side_tasks (job_id, task, user_id) values (%s, 'first_comment', %s)", [job_id, user_id]
    )
    claimed = await exchanged(db, user_id, "facebook")
    await offer(db, claimed, [candidate("page-1"), candidate("page-2")], [grant("page-1", login="facebook")])
    await begin(db, user_id)
    await db.value("select orbyt_private.create_master_key('k1')")
    platform = await db.connect("supabase_admin")
    await platform.execute("insert into storage.buckets (id, name, public) values ('videos', 'videos', false)")
    for bucket in ("videos", "orbyt-media"):
        await platform.execute(
            "insert into storage.objects (bucket_id, name, owner_id) values (%s, %s, %s)",
            [bucket, f"{user_id}/a.mp4", str(user_id)],
        )
    return Victim(user_id, account_id, job_id, claimed["session_id"])


@asynccontextmanager
async def client(db: Database, role: str, sub: UUID | None) -> Any:
    """One request of that client; whatever it did is undone."""
    async with db.as_role(role, {} if sub is None else {"sub": str(sub)}) as connection:
        yield connection
        await connection.rollback()


async def answer(db: Database, app: Connection, attempt: Attempt) -> str | int:
    """What the attempt came to; the request goes on as if it had not been made."""
    try:
        async with app.transaction(force_rollback=True):
            cursor = await app.execute(attempt.statement.encode(), attempt.parameters or None)
            return cursor.rowcount
    except psycopg.Error as error:
        if error.sqlstate in NOT_UPDATABLE and "view" in str(error):
            return DENIED
        if error.sqlstate == DENIED or (isinstance(attempt.expected, str) and attempt.expected == error.sqlstate):
            return str(error.sqlstate)
        return await code_of(db, error) if str(error.sqlstate).startswith("OR") else f"{error.sqlstate}: {error}"


async def relations(db: Database) -> list[dict[str, Any]]:
    return await db.fetch(
        """
        select c.relnamespace::regnamespace::text as schema, c.relname as name, c.relkind::text as kind,
               array_agg(a.attname::text order by a.attnum) as columns
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace::regnamespace::text in ('orbyt', 'orbyt_private') and c.relkind in ('r', 'p', 'v', 'm', 'f')
        group by c.oid
        order by 1, 2
        """
    )


async def functions(db: Database) -> list[dict[str, Any]]:
    return await db.fetch(
        """
        select p.pronamespace::regnamespace::text as schema, p.proname as name, p.oid::regprocedure::text as signature,
               p.oid, array(select t::regtype::text from unnest(p.proargtypes) t) as types
        from pg_proc p where p.pronamespace::regnamespace::text in ('orbyt', 'orbyt_private') order by 3
        """
    )


def tried_on_relations(found: list[dict[str, Any]], role: str) -> Iterator[Attempt]:
    """Every statement on every relation and column, by somebody who has no row of their own."""
    for each in found:
        name = f"{each['schema']}.{each['name']}"
        private = each["schema"] == "orbyt_private"
        if private or (role == "anon" and each["name"] not in PUBLIC):
            yield Attempt(f"read {name}", f"select * from {name}", DENIED)
        elif each["name"] not in PUBLIC:
            yield Attempt(f"read {name}", f"select * from {name}", 0)
        for verb in (f"delete from {name}", f"delete from {name} where true", f"truncate {name}", f"lock table {name}"):
            if each["kind"] == "v" and not verb.startswith("delete"):
                continue
            yield Attempt(verb, verb, DENIED)
        for column in each["columns"]:
            may_edit = role == "authenticated" and column in EDITABLE.get(each["name"], set())
            may_insert = role == "authenticated" and column in INSERTABLE.get(each["name"], set())
            if private:
                may_edit = may_insert = False
            # No row of their own: where editing is allowed at all, it reaches nothing.
            yield Attempt(
                f"update {name}.{column}", f"update {name} set {column} = default where true", 0 if may_edit else DENIED
            )
            if not may_insert:
                yield Attempt(f"insert {name}.{column}", f"insert into {name} ({column}) values (default)", DENIED)
                good = sorted(INSERTABLE.get(each["name"], set()) - {"user_id"})
                if good and not private and column not in good:
                    columns = ", ".join([*good, column])
                    values = ", ".join(["default"] * (len(good) + 1))
                    yield Attempt(
                        f"insert {name}.{column} among others",
                        f"insert into {name} ({columns}) values ({values})",
                        DENIED,
                    )


def tried_on_functions(found: list[dict[str, Any]], role: str) -> Iterator[Attempt]:
    for each in found:
        if each["name"] not in GRANTED[role][each["schema"]]:
            arguments = ", ".join(f"null::{kind}" for kind in each["types"])
            yield Attempt(f"call {each['signature']}", f"select {each['schema']}.{each['name']}({arguments})", DENIED)


def tried_on_others(victim: Victim, role: str, sub: UUID | None) -> Iterator[Attempt]:
    """Rows of somebody else, by their ids, through everything that takes one."""
    job, account, session = victim.job_id, victim.account_id, victim.session_id
    anon = role == "anon"

    def rpc(call: str, code: str, *parameters: Any) -> Attempt:
        return Attempt(call, f"select * from orbyt.{call}", DENIED if anon else code, parameters)

    yield rpc("cancel_job(%s)", "job_not_found", job)
    yield rpc("retry_job(%s)", "job_not_found", job)
    yield rpc("reschedule_job(%s, now() + interval '1 day')", "job_not_found", job)
    yield rpc("disconnect(%s, 'hold')", "account_not_found", account)
    yield rpc("disconnect(%s, 'cancel')", "account_not_found", account)
    # Without a user there is nobody whose login it could be.
    nobody = DENIED if anon or sub is None else "account_not_found"
    yield rpc("begin_connect('youtube', 'studiox://connected', null, %s)", nobody, account)
    yield rpc("finish_connect(%s, array['page-1'])", "connect_session_not_found", session)
    yield rpc("finish_connect(%s, array['page-1'], 'proof')", "connect_session_not_found", session)
    for behind, code in (
        ("cancel_own_job(%s)", "job_not_found"),
        ("retry_own_job(%s)", "job_not_found"),
        ("reschedule_own_job(%s, now(), null)", "job_not_found"),
    ):
        yield Attempt(behind, f"select orbyt_private.{behind}", DENIED if anon else code, (job,))
    yield Attempt(
        "disconnect_own_account",
        "select orbyt_private.disconnect_own_account(%s, 'cancel')",
        DENIED if anon else "account_not_found",
        (account,),
    )
    foreign = DENIED if anon else "account_not_found"
    insert = "insert into orbyt.publish_jobs ({}account_id, kind, title, media) values ({}%s, 'video', 't', %s)"
    yield Attempt("post to their account", insert.format("", ""), foreign, (account, Jsonb([VIDEO])))
    yield Attempt(
        "post in their name",
        insert.format("user_id, ", "%s, "),
        nobody,
        (victim.user_id, account, Jsonb([VIDEO])),
    )
    yield Attempt(
        "overwrite their job",
        insert.format("job_id, ", "%s, ") + " on conflict (job_id) do update set title = excluded.title",
        foreign,
        (job, account, Jsonb([VIDEO])),
    )
    for column in sorted(EDITABLE["publish_jobs"]):
        yield Attempt(
            f"edit {column} of their job",
            f"update orbyt.publish_jobs set {column} = {column} where job_id = %s",
            DENIED if anon else 0,
            (job,),
        )


def tried_on_the_platform(victim: Victim, role: str, sub: UUID | None) -> Iterator[Attempt]:
    """What Supabase keeps beside our schemas: Realtime, Storage, Vault, Auth."""
    theirs, own = f"orbyt:{victim.user_id}", f"orbyt:{sub}"
    ask = "select count(*) from realtime.messages having count(*) > 0"
    for topic in (
        theirs,
        theirs.upper(),
        f"{theirs} ",
        f"realtime:{theirs}",
        "orbyt:%",
        "orbyt:",
        "%",
        "",
        "orbyt:null",
        own,
    ):
        listen = f"with topic as materialized (select set_config('realtime.topic', %s, true)) {ask.replace('from', 'from topic,')}"
        yield Attempt(f"listen to {topic!r}", listen, 0, (topic,))
        for extension in ("broadcast", "presence"):
            yield Attempt(
                f"send to {topic!r} by {extension}",
                "with topic as materialized (select set_config('realtime.topic', %s, true) as topic) "
                "insert into realtime.messages (topic, extension, event, payload, private) select topic, %s, 'publish_job', '{}', true from topic",
                DENIED,
                (topic, extension),
            )
    yield Attempt("change a message", "update realtime.messages set payload = '{}' where true", 0)
    yield Attempt("delete messages", "delete from realtime.messages where true", DENIED)
    yield Attempt("read objects", "select * from storage.objects", 0)
    yield Attempt("read buckets", "select * from storage.buckets", 0)
    yield Attempt("change objects", "update storage.objects set name = 'x' where true", 0)
    yield Attempt("delete objects", "delete from storage.objects where true", DENIED)
    for bucket in ("orbyt-media", "videos"):
        put = "insert into storage.objects (bucket_id, name, owner_id) values (%s, 'x.jpg', %s)"
        yield Attempt(f"put an object into {bucket}", put, DENIED, (bucket, str(sub)))
    yield Attempt("make a bucket public", "update storage.buckets set public = true where id = 'orbyt-media'", 0)
    for statement in (
        "select * from vault.secrets",
        "select * from vault.decrypted_secrets",
        "delete from vault.secrets where true",
        "select vault.create_secret('x', 'orbyt_key_mine')",
        "select vault.update_secret(gen_random_uuid(), 'x')",
        "select * from auth.users",
        "delete from auth.users where true",
        "select * from supabase_migrations.schema_migrations",
        "create table orbyt.mine (id integer)",
        "create table orbyt_private.mine (id integer)",
        "create function orbyt.mine() returns integer language sql as 'select 1'",
        "alter table orbyt.publish_jobs disable row level security",
        "alter publication supabase_realtime drop table orbyt.publish_jobs",
        "create policy mine on orbyt.publish_jobs for select using (true)",
        "grant select on orbyt_private.account_secrets to authenticated",
        "set session authorization postgres",
    ):
        yield Attempt(statement, statement, DENIED)


async def everything(db: Database) -> dict[str, list[str]]:
    tables = await db.fetch(
        "select schemaname || '.' || tablename as name from pg_tables where schemaname in ('orbyt', 'orbyt_private', 'storage', 'realtime', 'vault')"
    )
    owner = await db.connect("supabase_admin")
    return {
        table["name"]: sorted(
            row["row"]
            for row in await (await owner.execute(f"select t::text as row from {table['name']} t".encode())).fetchall()
        )
        for table in tables
    }


async def test_every_client_is_refused_everything_it_should_not_do(db: Database, victim: Victim) -> None:
    before = await everything(db)
    assert [name for name, rows in before.items() if name.startswith("orbyt.") and not rows] == [], "nothing to protect"
    stranger = await create_user(db)
    before = await everything(db)
    found, known = await relations(db), await functions(db)
    failed, tried = [], 0
    clients = (
        ("a stranger", "authenticated", stranger),
        ("a token without a user", "authenticated", None),
        ("a token of nobody", "authenticated", uuid.uuid4()),
        ("not signed in", "anon", None),
        ("not signed in, with the victim's id", "anon", victim.user_id),
    )
    for who, role, sub in clients:
        attempts = [
            *tried_on_relations(found, role),
            *tried_on_functions(known, role),
            *tried_on_others(victim, role, sub),
            *tried_on_the_platform(victim, role, sub),
        ]
        async with client(db, role, sub) as app:
            for attempt in attempts:
                got = await answer(db, app, attempt)
                if got != attempt.expected:
                    failed.append(f"{who}: {attempt.what}: {got} instead of {attempt.expected}")
        tried += len(attempts)
    assert failed == [], "\n".join(failed)
    assert tried > 3000
    assert await everything(db) == before


async def test_the_victim_sees_what_the_others_do_not(db: Database, victim: Victim) -> None:
    """Guards the test above: there was something to see, in every relation and on the topic."""
    async with client(db, "authenticated", victim.user_id) as app:
        for each in await relations(db):
            if each["schema"] == "orbyt":
                rows = await (await app.execute(f"select * from orbyt.{each['name']}".encode())).fetchall()
                assert rows, each["name"]
                if each["name"] not in PUBLIC:
                    assert {row.get("user_id", victim.user_id) for row in rows} == {victim.user_id}
        await app.execute("select set_config('realtime.topic', %s, true)", [f"orbyt:{victim.user_id}"])
        seen = await (await app.execute("select count(*) as n from realtime.messages")).fetchone()
        assert seen is not None
        assert seen["n"] > 3


async def test_each_of_two_users_sees_exactly_their_own_rows(db: Database, victim: Victim) -> None:
    other = await create_user(db)
    account_id = await create_account(db, other)
    theirs = await insert_job(db, other, account_id)
    for user_id, jobs in ((other, {theirs}), (victim.user_id, None)):
        async with client(db, "authenticated", user_id) as app:
            for table in ("publish_jobs", "accounts", "job_events", "connection_health"):
                rows = await (await app.execute(f"select user_id from orbyt.{table}".encode())).fetchall()
                assert {row["user_id"] for row in rows} == {user_id}
            seen = await (await app.execute("select job_id from orbyt.publish_jobs")).fetchall()
            assert (theirs in {row["job_id"] for row in seen}) is (jobs is not None)
            counted = await (await app.execute("select sum(jobs) as n from orbyt.queue_overview")).fetchone()
            assert counted is not None
            assert counted["n"] == (1 if jobs else 2)


async def test_naming_somebody_elses_object_in_a_post_is_refused(db: Database, victim: Victim) -> None:
    stranger = await create_user(db)
    account_id = await create_account(db, stranger)
    for bucket in ("videos", "orbyt-media"):
        media = [{"type": "video", "url": f"storage://{bucket}/{victim.user_id}/a.mp4"}]
        with pytest.raises(psycopg.Error) as refused:
            await insert_job(db, stranger, account_id, media=media)
        assert await code_of(db, refused.value) == "media_not_found"


@pytest.mark.parametrize("role", sorted(GRANTED))
async def test_every_function_is_granted_on_purpose(db: Database, role: str) -> None:
    """Neither more nor less than is listed at the top; a function somebody adds is refused until it is."""
    found = await functions(db)
    callable_: dict[str, set[str]] = {"orbyt": set(), "orbyt_private": set()}
    for each in found:
        if await db.value("select has_function_privilege(%s, %s::oid, 'execute')", [role, each["oid"]]):
            callable_[each["schema"]].add(each["name"])
    assert callable_ == GRANTED[role]
    # What a user may call is called with a user's rights, or looks whose row it is.
    definers = await db.fetch(
        "select proname as name, prosrc as body from pg_proc where pronamespace = 'orbyt_private'::regnamespace and prosecdef"
    )
    for each in definers:
        if each["name"] in BEHIND - {"raise_error", "is_public_object"}:
            assert re.search(r"auth\.uid\(\)|own_job\(|own_account\(", each["body"]), each["name"]


async def test_a_server_with_the_secret_key_reaches_nothing_private_either(db: Database, victim: Victim) -> None:
    """service_role is above row level security, and not above grants: a leaked secret key opens no token."""
    private = [each for each in await relations(db) if each["schema"] == "orbyt_private"]
    assert len(private) > 25
    attempts = [
        *tried_on_relations(private, "service_role"),
        *tried_on_functions(await functions(db), "service_role"),
        Attempt("insert worker columns", "update orbyt.publish_jobs set status = 'published' where true", DENIED),
        Attempt("change accounts", "update orbyt.accounts set status = 'active' where true", DENIED),
        Attempt("delete jobs", "delete from orbyt.publish_jobs where true", DENIED),
    ]
    async with db.as_service_role() as app:
        got = {attempt.what: await answer(db, app, attempt) for attempt in attempts}
    assert {what: each for what, each in got.items() if each != DENIED} == {}


@pytest.mark.parametrize("role", ["anon", "authenticated"])
async def test_column_rights_are_those_of_the_documentation(db: Database, role: str) -> None:
    rights: dict[str, dict[str, set[str]]] = {"insert": {}, "update": {}}
    for each in await relations(db):
        for right, tables in rights.items():
            for column in each["columns"]:
                asked = [role, f"{each['schema']}.{each['name']}", column, right]
                if await db.value("select has_column_privilege(%s, %s, %s, %s)", asked):
                    tables.setdefault(each["name"], set()).add(column)
    assert rights == ({"insert": {}, "update": {}} if role == "anon" else {"insert": INSERTABLE, "update": EDITABLE})


async def test_an_attempt_that_works_would_be_noticed(db: Database, victim: Victim) -> None:
    """Guards the table: one grant, one policy, one function too many, and it says which."""
    await db.execute("grant update (status) on orbyt.publish_jobs to authenticated")
    await db.execute("create policy careless on orbyt.accounts for select to authenticated using (true)")
    await db.execute("grant execute on function orbyt_private.release_job(uuid, timestamptz) to authenticated")
    await db.execute("create table orbyt.careless (id integer primary key)")
    await db.execute("grant select on orbyt.careless to anon")
    stranger = await create_user(db)
    noticed = set()
    found, known = await relations(db), await functions(db)
    for role, sub in (("authenticated", stranger), ("anon", None)):
        async with client(db, role, sub) as app:
            for attempt in [*tried_on_relations(found, role), *tried_on_functions(known, role)]:
                if await answer(db, app, attempt) != attempt.expected:
                    noticed.add(attempt.what)
    assert {
        "update orbyt.publish_jobs.status",
        "read orbyt.accounts",
        "call orbyt_private.release_job(uuid,timestamp with time zone)",
        "read orbyt.careless",
    } <= noticed
    assert not any("platforms" in each for each in noticed)
