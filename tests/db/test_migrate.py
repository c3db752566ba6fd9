"""`apply_migrations`: what `orbyt-worker migrate` and the sandbox do, without the Supabase CLI."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orbyt_worker.sandbox.bootstrap import (
    Migration,
    MigrationError,
    apply_migrations,
    pending,
    split_statements,
)
from tests.fix_postgres import Database


def write(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(text, encoding="utf-8")


async def test_a_file_that_fails_leaves_nothing(bare_db: Database, tmp_path: Path) -> None:
    write(tmp_path, "20260101000000_good.sql", "create table public.good (id integer);")
    write(tmp_path, "20260102000000_bad.sql", "create table public.half (id integer);\n\nselect 1 / 0;")
    with pytest.raises(MigrationError, match=r"20260102000000_bad\.sql: 22012 division by zero"):
        apply_migrations(bare_db.url(), directory=tmp_path)
    assert await bare_db.value("select to_regclass('public.half') is null and to_regclass('public.good') is not null")
    assert await bare_db.value("select array_agg(version) from supabase_migrations.schema_migrations") == [
        "20260101000000"
    ]
    write(tmp_path, "20260102000000_bad.sql", "create table public.half (id integer);")
    assert apply_migrations(bare_db.url(), directory=tmp_path) == ["20260102000000"]
    assert apply_migrations(bare_db.url(), directory=tmp_path) == []


async def test_a_syntax_error_names_its_line(bare_db: Database, tmp_path: Path) -> None:
    write(tmp_path, "20260101000000_bad.sql", "select 1;\n\ncreate tabel x ();")
    with pytest.raises(MigrationError, match=r"42601 .* \(line 3\)"):
        apply_migrations(bare_db.url(), directory=tmp_path)


async def test_two_at_once_take_turns(bare_db: Database) -> None:
    one, two = await asyncio.gather(*(asyncio.to_thread(apply_migrations, bare_db.url()) for _ in range(2)))
    assert sorted(one + two) == sorted(set(one + two))
    assert [] in (one, two)


async def test_a_locked_table_is_tried_again(bare_db: Database, tmp_path: Path) -> None:
    write(tmp_path, "20260101000000_table.sql", "create table public.busy (id integer);")
    write(
        tmp_path,
        "20260102000000_locked.sql",
        "set local lock_timeout = '100ms';\nalter table public.busy add column more integer;",
    )
    await bare_db.execute("create table public.busy (id integer)")
    write(tmp_path, "20260101000000_table.sql", "select 1;")
    holder = await bare_db.connect(autocommit=False)
    await holder.execute("lock table public.busy")
    with pytest.raises(MigrationError, match="stayed locked"):
        await asyncio.to_thread(apply_migrations, bare_db.url(), directory=tmp_path)
    await holder.rollback()
    assert apply_migrations(bare_db.url(), directory=tmp_path) == ["20260102000000"]


def made(version: str) -> Migration:
    return Migration(version, "x", Path(f"{version}_x.sql"))


def test_pending_leaves_other_migrations_of_the_project_alone() -> None:
    files = [made("1"), made("2"), made("3")]
    assert pending(files, {"1", "2"}) == [made("3")]
    assert pending(files, set()) == files
    assert pending(files, {"1", "20", "4"}) == [made("2"), made("3")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 1; select 2", ["select 1", "select 2"]),
        ("-- a; comment\nselect 1;\n", ["-- a; comment\nselect 1"]),
        ("/* a; /* nested; */ b; */ select 1;", ["/* a; /* nested; */ b; */ select 1"]),
        ("select ';', 'it''s; ', \"a;b\";select E'\\';'", ["select ';', 'it''s; ', \"a;b\"", "select E'\\';'"]),
        ("do $$ begin; $x$ ; end $$; select $a$;$$;$a$", ["do $$ begin; $x$ ; end $$", "select $a$;$$;$a$"]),
        (";;\n;", []),
        ("select $1; select 2", ["select $1", "select 2"]),
    ],
)
def test_split_statements(text: str, expected: list[str]) -> None:
    assert split_statements(text) == expected
