"""The migrations through the real Supabase CLI: they push, its advisors find nothing, its types come out, its diff is empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbyt_worker.sandbox.bootstrap import apply_migrations, list_migrations, migrations_dir
from tests.fix_node import ROOT, SupabaseCli, Tsc
from tests.fix_postgres import Database

HISTORY = "select version, name, statements from supabase_migrations.schema_migrations order by version"


def remote(db: Database) -> str:
    return f"--remote={db.url('postgres')}"


async def test_push_applies_every_migration_and_our_migrate_agrees(
    supabase_cli: SupabaseCli, bare_db: Database, db: Database
) -> None:
    pushed = supabase_cli("db", "push", remote(bare_db))
    assert pushed.returncode == 0, pushed.stderr
    assert await bare_db.fetch(HISTORY) == await db.fetch(HISTORY), "recorded differently"
    assert [row["version"] for row in await db.fetch(HISTORY)] == [m.version for m in list_migrations()]
    # The two take turns on one database: neither finds anything left to do.
    assert apply_migrations(bare_db.url("postgres")) == []
    again = supabase_cli("db", "push", remote(db))
    assert again.returncode == 0, again.stderr
    assert "up to date" in again.stdout


async def test_diff_between_pushed_and_migrated_is_empty(
    supabase_cli: SupabaseCli, bare_db: Database, db: Database
) -> None:
    assert supabase_cli("db", "push", remote(bare_db)).returncode == 0
    diff = supabase_cli(
        "db", "diff", "--from", bare_db.url(), "--to", db.url(), "--schema", "orbyt,orbyt_private,public,realtime"
    )
    assert diff.returncode == 0, diff.stderr
    assert diff.stdout.strip() == ""


async def test_diff_sees_a_difference(supabase_cli: SupabaseCli, bare_db: Database, db: Database) -> None:
    """Guards the test above: an empty answer must mean equal."""
    apply_migrations(bare_db.url())
    await db.execute("grant update (status) on orbyt.publish_jobs to authenticated")
    diff = supabase_cli("db", "diff", "--from", bare_db.url(), "--to", db.url(), "--schema", "orbyt,orbyt_private")
    assert "status" in diff.stdout


@pytest.mark.parametrize("kind", ["security", "performance"])
async def test_advisors_find_nothing(supabase_cli: SupabaseCli, db: Database, kind: str) -> None:
    answer = supabase_cli("db", "advisors", remote(db), "--type", kind, "--level", "warn", "--fail-on", "warn")
    assert answer.returncode == 0, answer.stdout + answer.stderr


async def test_advisors_would_find_something(supabase_cli: SupabaseCli, db: Database) -> None:
    """Guards the test above: an exposed table without row level security is an error."""
    await db.execute("create table orbyt.careless (id integer primary key)")
    await db.execute("grant select on orbyt.careless to authenticated")
    answer = supabase_cli("db", "advisors", remote(db), "--type", "security", "--level", "warn", "--fail-on", "warn")
    assert answer.returncode != 0
    assert "rls_disabled" in answer.stdout


async def test_types_are_generated_and_compile(
    supabase_cli: SupabaseCli, tsc: Tsc, db: Database, tmp_path: Path
) -> None:
    answer = supabase_cli("gen", "types", "--lang", "typescript", "--schema", "orbyt", remote(db))
    assert answer.returncode == 0, answer.stderr
    for word in ("publish_jobs", "accounts", "job_status"):
        assert f'"{word}"' in answer.stdout
    assert "orbyt_private" not in answer.stdout
    (tmp_path / "database.ts").write_text(answer.stdout, encoding="utf-8")
    compiled = tsc("--noEmit", "--strict", str(tmp_path / "database.ts"))
    assert compiled.returncode == 0, compiled.stdout


async def test_migrations_of_the_project_itself_stop_the_cli_but_not_ours(
    supabase_cli: SupabaseCli, db: Database
) -> None:
    await db.execute(
        "insert into supabase_migrations.schema_migrations (version, name) values ('20991231235959', 'future')"
    )
    assert supabase_cli("db", "push", remote(db)).returncode != 0
    assert apply_migrations(db.url()) == []


def test_the_cli_reads_our_directory() -> None:
    assert migrations_dir() == ROOT / "supabase" / "migrations"
