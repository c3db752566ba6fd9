"""The stand-in of hosted Supabase behaves as the real one where Orbyt leans on it. What it claims is in sandbox/supabase.sql."""

from __future__ import annotations

import json
import uuid

import pytest
from psycopg import errors

from orbyt_worker.sandbox.bootstrap import apply_stand_in
from orbyt_worker.sandbox.postgres import SUPERUSER, PostgresServer
from tests.fix_postgres import Database

API_ROLES = ("anon", "authenticated", "service_role")


async def test_postgres_is_an_ordinary_role(bare_db: Database) -> None:
    role = await bare_db.row("select rolsuper, rolcreaterole, rolbypassrls from pg_roles where rolname = 'postgres'")
    assert role == {"rolsuper": False, "rolcreaterole": True, "rolbypassrls": True}
    assert await bare_db.value("select current_user") == "postgres"


def test_repeating_it_changes_nothing(postgres: PostgresServer, bare_template: str) -> None:
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name, bare_template)
    try:
        with postgres.connect(name, SUPERUSER) as connection:
            apply_stand_in(connection)
            row = connection.execute("select count(*) from realtime.messages").fetchone()
            assert row == (0,)
    finally:
        postgres.drop_database(name)


async def test_default_privileges_of_today(bare_db: Database) -> None:
    await bare_db.execute("create table public.example (id integer)")
    for role in API_ROLES:
        for privilege, given in (
            ("select", False),
            ("insert", False),
            ("update", False),
            ("delete", False),
            ("truncate", True),
        ):
            has = await bare_db.value("select has_table_privilege(%s, 'public.example', %s)", [role, privilege])
            assert has is given, (role, privilege)
    await bare_db.execute("create function public.f() returns integer language sql as 'select 1'")
    assert await bare_db.value("select has_function_privilege('anon', 'public.f()', 'execute')"), "PUBLIC keeps execute"


async def test_default_privileges_of_an_old_project(permissive_db: Database) -> None:
    await permissive_db.execute("create table orbyt.example (id integer)")
    for role in API_ROLES:
        assert await permissive_db.value("select has_table_privilege(%s, 'orbyt.example', 'insert')", [role])


async def test_claims_reach_auth_functions(bare_db: Database) -> None:
    user_id = uuid.uuid4()
    async with bare_db.as_user(user_id, email="a@example.com") as app:
        answer = await app.execute(
            "select auth.uid() as uid, auth.role() as role, auth.email() as email, auth.jwt() ->> 'aud' as aud, current_user as me"
        )
        assert await answer.fetchone() == {
            "uid": user_id,
            "role": "authenticated",
            "email": "a@example.com",
            "aud": "authenticated",
            "me": "authenticated",
        }
    assert await bare_db.value("select auth.uid()") is None


@pytest.mark.parametrize(
    "statement",
    [
        "alter table realtime.messages enable row level security",
        "alter table storage.objects add column mine text",
        "create table auth.mine (id integer)",
        "create index mine on realtime.messages (event)",
        "alter table auth.users add column mine text",
        "alter function realtime.topic() cost 1",
    ],
)
async def test_postgres_owns_nothing_of_the_platform(bare_db: Database, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        await bare_db.execute(statement.encode())


async def test_postgres_may_write_policies_and_references(bare_db: Database) -> None:
    await bare_db.execute("create policy mine on realtime.messages for select to authenticated using (true)")
    await bare_db.execute("create policy mine on storage.objects for select to authenticated using (true)")
    await bare_db.execute("create table public.example (user_id uuid references auth.users (id))")
    await bare_db.execute("alter publication supabase_realtime add table public.example")


async def test_storage_refuses_direct_deletes(bare_db: Database) -> None:
    with pytest.raises(errors.InsufficientPrivilege, match="Storage API"):
        await bare_db.execute("delete from storage.objects")


# Vault


async def test_vault_round_trip(bare_db: Database) -> None:
    secret_id = await bare_db.value("select vault.create_secret('first', 'a name', 'about')")
    read = "select name, description, decrypted_secret, secret from vault.decrypted_secrets where id = %s"
    row = await bare_db.row(read, [secret_id])
    assert (row["name"], row["description"], row["decrypted_secret"]) == ("a name", "about", "first")
    assert "first" not in row["secret"]
    await bare_db.execute("select vault.update_secret(%s, 'second ✓')", [secret_id])
    row = await bare_db.row(read, [secret_id])
    assert (row["name"], row["decrypted_secret"]) == ("a name", "second ✓")
    with pytest.raises(errors.UniqueViolation):
        await bare_db.execute("select vault.create_secret('x', 'a name')")


async def test_vault_value_does_not_open_in_another_row(bare_db: Database) -> None:
    one = await bare_db.value("select vault.create_secret('one', 'one')")
    two = await bare_db.value("select vault.create_secret('two', 'two')")
    admin = await bare_db.connect(SUPERUSER)
    await admin.execute(
        "update vault.secrets set (secret, nonce) = (select secret, nonce from vault.secrets where id = %s) where id = %s",
        [one, two],
    )
    with pytest.raises(errors.DataException, match="invalid ciphertext"):
        await bare_db.value("select decrypted_secret from vault.decrypted_secrets where id = %s", [two])


async def test_vault_privileges(bare_db: Database) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        await bare_db.execute("insert into vault.secrets (secret) values ('plain')")
    admin = await bare_db.connect(SUPERUSER)
    await admin.execute("create role vault_reader login")
    try:
        await bare_db.execute("grant usage on schema vault to vault_reader")
        await bare_db.execute("grant select on vault.decrypted_secrets to vault_reader")
        await bare_db.execute("select vault.create_secret('x', 'x')")
        reader = await bare_db.connect("vault_reader")
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied for function"):
            await reader.execute("select decrypted_secret from vault.decrypted_secrets")
    finally:
        await bare_db.execute("revoke all on schema vault from vault_reader")
        await bare_db.execute("revoke all on vault.decrypted_secrets from vault_reader")
        await admin.execute("drop role vault_reader")
    for role in ("anon", "authenticated"):
        async with bare_db.as_role(role) as app:
            with pytest.raises(errors.InsufficientPrivilege):
                await app.execute("select * from vault.secrets")


# Realtime


async def test_send_stores_a_message_with_an_id(bare_db: Database) -> None:
    await bare_db.execute("select realtime.send('{\"a\": 1}', 'event', 'topic')")
    message = await bare_db.row("select id, topic, event, extension, private, payload from realtime.messages")
    assert message["payload"] == {"a": 1, "id": str(message["id"])}
    assert (message["topic"], message["event"], message["extension"], message["private"]) == (
        "topic",
        "event",
        "broadcast",
        True,
    )


async def test_send_never_fails_its_caller(bare_db: Database) -> None:
    notices: list[str] = []
    async with bare_db.as_user(uuid.uuid4()) as app:
        app.add_notice_handler(lambda notice: notices.append(f"{notice.severity}: {notice.message_primary}"))
        await app.execute("select realtime.send('{}', 'event', 'topic')")
    assert len(notices) == 1
    assert notices[0].startswith("WARNING: WarnSendingBroadcastMessage: new row violates row-level security policy")
    assert await bare_db.value("select count(*) from realtime.messages") == 0


async def test_a_message_is_lost_when_no_partition_takes_it(bare_db: Database) -> None:
    admin = await bare_db.connect(SUPERUSER)
    for row in await bare_db.fetch(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'realtime.messages'::regclass"
    ):
        await admin.execute(f"drop table {row['name']}".encode())
    await bare_db.execute("select realtime.send('{}', 'event', 'topic')")
    assert await bare_db.value("select count(*) from realtime.messages") == 0


async def test_broadcast_changes_does_fail_its_caller(bare_db: Database) -> None:
    await bare_db.execute("create table public.example (id integer)")
    call = "select realtime.broadcast_changes('topic', 'event', %s, 'example', 'public', null::public.example, null::public.example)"
    await bare_db.execute(call, ["INSERT"])
    assert sorted(await bare_db.value("select payload from realtime.messages")) == [
        "id",
        "old_record",
        "operation",
        "record",
        "schema",
        "table",
    ]
    with pytest.raises(errors.RaiseException, match="Unexpected operation type"):
        await bare_db.execute(call, ["TRUNCATE"])


async def test_a_private_channel_is_decided_by_policies(bare_db: Database) -> None:
    """The way the service does it at a join: probe row, topic, role and claims, then look whether it can be read."""
    mine, other = uuid.uuid4(), uuid.uuid4()
    await bare_db.execute(
        "create policy own on realtime.messages for select to authenticated "
        "using (extension = 'broadcast' and (select realtime.topic()) = 'user:' || (select auth.uid())::text)"
    )
    for user_id, readable in ((mine, 1), (other, 0)):
        probe = await bare_db.connect(SUPERUSER, autocommit=False)
        topic = f"user:{mine}"
        await probe.execute("insert into realtime.messages (topic, extension) values (%s, 'broadcast')", [topic])
        await probe.execute("select set_config('realtime.topic', %s, true)", [topic])
        await probe.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps({"sub": str(user_id)})])
        await probe.execute("set local role authenticated")
        row = await (await probe.execute("select count(*) as readable from realtime.messages")).fetchone()
        assert row == {"readable": readable}
        await probe.rollback()


async def test_storage_path_functions(bare_db: Database) -> None:
    row = await bare_db.row(
        "select storage.foldername('a/b/c.tar.gz') as folder, storage.filename('a/b/c.tar.gz') as file, storage.extension('a/b/c.tar.gz') as ext"
    )
    assert row == {"folder": ["a", "b"], "file": "c.tar.gz", "ext": "gz"}
