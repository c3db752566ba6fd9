"""Turns an empty database into one that looks like a hosted Supabase project, and applies Orbyt's migrations to any database.

The stand-in (supabase.sql) is for the sandbox and the tests only. Migrations are for every database: they are applied and
recorded the way the Supabase CLI does it (`supabase_migrations.schema_migrations`, one file = one transaction), so that
`orbyt-worker migrate` and `supabase db push` can take turns on one project.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import psycopg

from orbyt_worker.sandbox.postgres import SUPERUSER, PostgresServer

DefaultPrivileges = Literal["hosted", "permissive"]

_FILE_NAME = re.compile(r"^(\d+)_(.*)\.sql$")
_HISTORY = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text not null primary key);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
"""
_ADVISORY_LOCK = 5_917_240_186  # any number nobody else uses: two `migrate` at once take turns
_LOCK_ATTEMPTS_MAX = 5


class MigrationError(Exception):
    """The migrations on disk and the history in the database do not fit together, or one failed. Nothing of that file stays."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of supabase/migrations: `<version>_<name>.sql`."""

    version: str
    name: str
    path: Path


def migrations_dir() -> Path:
    """The directory of the migrations: inside the installed package, or `supabase/migrations` of a checkout."""
    packaged = Path(str(resources.files("orbyt_worker"))) / "_migrations"
    if packaged.is_dir():
        return packaged
    checkout = Path(__file__).resolve().parents[2] / "supabase" / "migrations"
    if checkout.is_dir():
        return checkout
    raise MigrationError(f"no migrations found, neither in {packaged} nor in {checkout}")


def list_migrations(directory: Path | None = None) -> list[Migration]:
    """The migrations in the order they are applied; other files in the directory are ignored, as the CLI does."""
    found = []
    for path in (directory or migrations_dir()).iterdir():
        match = _FILE_NAME.match(path.name)
        if match:
            found.append(Migration(match.group(1), match.group(2), path))
    return sorted(found, key=lambda migration: migration.version)


def apply_stand_in(connection: psycopg.Connection, *, default_privileges: DefaultPrivileges = "hosted") -> None:
    """Makes this database look like a hosted project; safe to repeat (it also adds Realtime's next partitions).

    `connection` is an autocommit one of the superuser. `permissive` is an old project whose default privileges grant
    everything to everybody: it proves that the migrations revoke what they must.
    """
    text = resources.files("orbyt_worker.sandbox").joinpath("supabase.sql").read_text(encoding="utf-8")
    with connection.transaction():
        connection.execute("select set_config('orbyt_stand_in.default_privileges', %s, true)", [default_privileges])
        # Ours and constant. A bytes query without parameters may hold many statements.
        connection.execute(text.encode())


def apply_migrations(url: str, *, directory: Path | None = None) -> list[str]:
    """Applies what is not yet applied, as the role in `url`; returns the versions applied, oldest first. Safe to repeat.

    Each file is one transaction with its history row. A file that gives up waiting for a lock (the policies set a short
    lock_timeout) is tried again, five times in all. Raises MigrationError when a file fails.
    """
    migrations = list_migrations(directory)
    applied: list[str] = []
    with psycopg.connect(url, autocommit=True, prepare_threshold=None, connect_timeout=30) as connection:
        connection.execute("select pg_advisory_lock(%s)", [_ADVISORY_LOCK])
        connection.execute("set client_min_messages = warning")
        connection.execute(_HISTORY.encode())
        connection.execute("reset client_min_messages")
        rows = connection.execute("select version from supabase_migrations.schema_migrations").fetchall()
        for migration in pending(migrations, {row[0] for row in rows}):
            _apply(connection, migration)
            applied.append(migration.version)
    return applied


def pending(migrations: list[Migration], history: set[str]) -> list[Migration]:
    """Our migrations that are not applied yet. Pure.

    A customer's project has migrations of its own between and after ours: those are none of our business (the CLI, which sees
    one folder for the whole project, refuses there; copy the files into that project's folder to use it).
    """
    return [migration for migration in migrations if migration.version not in history]


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    text = migration.path.read_text(encoding="utf-8")
    for attempt in range(_LOCK_ATTEMPTS_MAX):
        try:
            with connection.transaction():
                connection.execute(text.encode())
                connection.execute(
                    "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)",
                    [migration.version, migration.name, split_statements(text)],
                )
        except psycopg.errors.LockNotAvailable as error:
            if attempt == _LOCK_ATTEMPTS_MAX - 1:
                raise MigrationError(
                    f"{migration.path.name}: a table stayed locked; try again at a quieter moment"
                ) from error
        except psycopg.Error as error:
            raise MigrationError(f"{migration.path.name}: {_explain(error, text)}") from error
        else:
            return


def _explain(error: psycopg.Error, text: str) -> str:
    where = error.diag.statement_position
    line = f" (line {text[: int(where)].count(chr(10)) + 1})" if where else ""
    return f"{error.diag.sqlstate or ''} {error.diag.message_primary or error}{line}".strip()


_TOKEN = re.compile(
    r"""
    --[^\n]*
    | /\*
    | (?P<escape>\b[eE]'(?:[^'\\]|\\.|'')*')
    | '(?:[^']|'')*'
    | "(?:[^"]|"")*"
    | (?P<dollar>\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$)
    | (?P<end>;)
    """,
    re.VERBOSE | re.DOTALL,
)


def split_statements(text: str) -> list[str]:
    """The statements of an SQL file, each trimmed and without its semicolon; comments stay with the statement after them.

    Knows comments (nested), quotes and dollar quotes. A body written as `begin atomic` is not understood; we write none.
    """
    statements: list[str] = []
    start = position = 0
    while match := _TOKEN.search(text, position):
        position = match.end()
        if match.group() == "/*":
            position = _end_of_comment(text, position)
        elif match.group("dollar"):
            closing = text.find(match.group("dollar"), position)
            position = len(text) if closing < 0 else closing + len(match.group("dollar"))
        elif match.group("end"):
            statements.append(text[start : match.start()].strip())
            start = position
    statements.append(text[start:].strip())
    return [statement for statement in statements if statement]


def _end_of_comment(text: str, position: int) -> int:
    depth = 1
    for match in re.compile(r"/\*|\*/").finditer(text, position):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)


def prepare_database(
    postgres: PostgresServer,
    name: str,
    *,
    default_privileges: DefaultPrivileges = "hosted",
    migrate: bool = True,
    directory: Path | None = None,
) -> str:
    """Creates database `name` if missing, makes it a stand-in and applies the migrations as `postgres`; returns its URL."""
    with postgres.connect("template1") as connection:
        exists = connection.execute("select from pg_database where datname = %s", [name]).fetchone() is not None
    if not exists:
        postgres.create_database(name)
    with postgres.connect(name, SUPERUSER) as connection:
        apply_stand_in(connection, default_privileges=default_privileges)
    url = postgres.url(name, "postgres")
    if migrate:
        apply_migrations(url, directory=directory)
    return url
