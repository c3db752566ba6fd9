"""The TypeScript that apps build on: current, and in step with the database where the database only knows jsonb."""

from __future__ import annotations

import json
from pathlib import Path

from psycopg.types.json import Jsonb

from orbyt_worker.errors.catalog import Entry, parse
from orbyt_worker.generate import CATALOG, ROOT, typescript_severity
from orbyt_worker.platforms.base import LOGINS
from tests.fix_lite import CheckTypes
from tests.fix_node import SupabaseCli
from tests.fix_postgres import Database
from tools.typescript import DATABASE, LIB, compile_client, database_types, files

ALIKE = "type Alike<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;"


async def test_the_database_types_are_current(supabase_cli: SupabaseCli, db: Database) -> None:
    answer = supabase_cli("gen", "types", "--lang", "typescript", "--schema", "orbyt", f"--remote={db.url('postgres')}")
    assert answer.returncode == 0, answer.stderr
    assert (ROOT / DATABASE).read_text("utf-8") == database_types(answer.stdout), "stale: run `make generate`"


def test_the_compiled_client_is_current(node_modules: Path, tmp_path: Path) -> None:
    compile_client(tmp_path)
    fresh, stored = files(tmp_path), files(ROOT / LIB)
    assert sorted(fresh) == sorted(stored), "stale: run `make generate`"
    assert [str(path) for path in fresh if fresh[path] != stored[path]] == [], "stale: run `make generate`"


def _type(kind: str) -> str:
    """A type of `orbyt.platforms.options` as TypeScript; every option may be null."""
    known = {
        "string": "string",
        "bool": "boolean",
        "integer": "number",
        "string[]": "string[]",
        "user_tags": "UserTag[]",
    }
    if kind.startswith("enum:"):
        return " | ".join(json.dumps(word) for word in kind.removeprefix("enum:").split("|"))
    return known[kind]


async def test_options_and_closed_sets_are_those_of_the_database(
    db: Database, app_directory: Path, check_types: CheckTypes
) -> None:
    rows = await db.fetch("select platform, options from orbyt.platforms order by platform")
    lines = [
        "import type * as orbyt from 'orbyt-client';",
        "import type { UserTag } from 'orbyt-client';",
        ALIKE,
        f"true satisfies Alike<orbyt.Platform, {' | '.join(json.dumps(row['platform']) for row in rows)}>;",
    ]
    for row in rows:
        wanted = "; ".join(f"{name}?: {_type(kind)} | null" for name, kind in row["options"].items())
        lines.append(
            f"true satisfies Alike<keyof orbyt.OptionsOf[{json.dumps(row['platform'])}], keyof {{ {wanted} }}>;"
        )
        lines.append(f"true satisfies Alike<orbyt.OptionsOf[{json.dumps(row['platform'])}], {{ {wanted} }}>;")
    lines.append(f"true satisfies Alike<orbyt.Login, {' | '.join(json.dumps(login) for login in LOGINS)}>;")
    (app_directory / "parity.ts").write_text("\n".join(lines), "utf-8")
    check_types("parity.ts")


async def test_what_the_types_let_an_app_set_is_what_is_granted(
    db: Database, app_directory: Path, check_types: CheckTypes
) -> None:
    rows = await db.fetch(
        """
        select privilege_type as right, column_name as name from information_schema.column_privileges
        where grantee = 'authenticated' and table_schema = 'orbyt' and table_name = 'publish_jobs'
          and privilege_type in ('INSERT', 'UPDATE')
        """
    )
    lines = ["import type * as orbyt from 'orbyt-client';", ALIKE]
    for right, name in (("INSERT", "NewPost"), ("UPDATE", "PostChanges")):
        granted = " | ".join(json.dumps(row["name"]) for row in rows if row["right"] == right)
        lines.append(f"true satisfies Alike<keyof orbyt.{name}, {granted}>;")
    (app_directory / "granted.ts").write_text("\n".join(lines), "utf-8")
    check_types("granted.ts")


async def test_the_json_the_database_makes_has_the_keys_of_its_types(
    db: Database, app_directory: Path, check_types: CheckTypes
) -> None:
    problems = await db.value("select orbyt.check_post(account_id => gen_random_uuid(), kind => 'video')")
    item = {
        "type": "image",
        "url": "https://example.com/a.jpg",
        **dict.fromkeys(["alt_text", "cover_url", "cover_offset_ms"]),
    }
    assert await db.fetch("select * from orbyt_private.check_media(%s)", [Jsonb([item])]) == []
    refused = await db.fetch(
        "select code, field from orbyt_private.check_media(%s)", [Jsonb([{**item, "other": None}])]
    )
    assert [row["field"] for row in refused] == ["media[0].other"]
    lines = ["import type * as orbyt from 'orbyt-client';", ALIKE]
    for name, keys in (("Problem", problems[0]), ("MediaItem", item)):
        lines.append(f"true satisfies Alike<keyof orbyt.{name}, {' | '.join(json.dumps(key) for key in keys)}>;")
    (app_directory / "keys.ts").write_text("\n".join(lines), "utf-8")
    check_types("keys.ts")


def test_a_wrong_type_is_noticed(app_directory: Path, check_types: CheckTypes) -> None:
    """Guards the tests above."""
    text = f"import type * as orbyt from 'orbyt-client';\n{ALIKE}\ntrue satisfies Alike<orbyt.Platform, 'youtube'>;\n"
    (app_directory / "wrong.ts").write_text(text, "utf-8")
    assert check_types("wrong.ts", expect="errors").returncode != 0


def test_severity_follows_from_the_catalog() -> None:
    entries = parse((ROOT / CATALOG).read_text("utf-8")).entries

    def severity(code: str) -> str:
        entry: Entry = entries[code]
        return typescript_severity(entry)

    assert [severity(code) for code in ("platform_unavailable", "youtube_privacy_differs", "title_too_long")] == [
        "info",
        "info",
        "error",
    ]
    assert [severity(code) for code in ("outcome_unknown", "account_needs_reauth")] == ["warning", "warning"]
    shown = (ROOT / "supabase/types/errors.ts").read_text("utf-8")
    assert shown.count("    severity: ") == len(entries)
