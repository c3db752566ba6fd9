"""Every object of the exposed schema carries a comment, and docs/reference/database.md says the same about it.

That nothing lacks a comment, private objects included, is in test_catalog_rules.py; here is that the page and the catalogs agree, so
that neither grows old. Types, defaults and arguments are compared with the catalogs too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.fix_postgres import Database

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "database.md").read_text(encoding="utf-8")
SHORT = {"timestamp with time zone": "timestamptz"}


def section_of(name: str) -> str:
    assert PAGE.count(f"### `{name}`") == 1, f"no section {name}"
    section = PAGE.split(f"### `{name}`", 1)[1].split("\n### ", 1)[0].split("\n## ", 1)[0]
    # Behind the columns: what each status and event means.
    return re.split(r"\| `(?:status|event)` \| (?:Means|Written when)", section, maxsplit=1)[0]


def chapter_of(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def row_of(text: str, name: str) -> list[str]:
    """The cells of the table row whose first cell is `name`; empty if there is none."""
    found = re.findall(rf"^\| `{re.escape(name)}` \| (.*) \|$", text, re.MULTILINE)
    assert len(found) <= 1, f"{name} stands there {len(found)} times"
    return found[0].split(" | ") if found else []


def type_of(full: str) -> str:
    return SHORT.get(full, full).removeprefix("orbyt.")


async def test_every_table_view_and_column_is_on_the_page_as_the_comment_has_it(db: Database) -> None:
    columns = await db.fetch(
        """
        select c.oid::regclass::text as relation, c.relkind::text as kind, a.attname as column,
               format_type(a.atttypid, a.atttypmod) as type, col_description(c.oid, a.attnum) as comment
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where (c.relnamespace = 'orbyt'::regnamespace and c.relkind in ('r', 'p', 'v', 'm'))
           or (c.relnamespace = 'orbyt_private'::regnamespace and c.relkind in ('v', 'm'))
        order by 1, a.attnum
        """
    )
    assert len(columns) > 180
    wrong = []
    for each in columns:
        cells = row_of(section_of(each["relation"]), each["column"])
        expected = [each["comment"]] if each["kind"] == "v" else [type_of(each["type"]), each["comment"]]
        if cells != expected:
            wrong.append((f"{each['relation']}.{each['column']}", cells, expected))
    assert wrong == []
    # And nothing that is not there any more.
    for relation in {each["relation"] for each in columns}:
        known = {each["column"] for each in columns if each["relation"] == relation}
        assert set(re.findall(r"^\| `(\w+)` \|", section_of(relation), re.MULTILINE)) == known, relation


async def test_every_private_table_is_on_the_page_as_the_comment_has_it(db: Database) -> None:
    tables = await db.fetch(
        "select oid::regclass::text as name, obj_description(oid, 'pg_class') as comment from pg_class "
        "where relnamespace = 'orbyt_private'::regnamespace and relkind in ('r', 'p') order by 1"
    )
    chapter = chapter_of("Private tables")
    assert [
        (row["name"], row_of(chapter, row["name"]))
        for row in tables
        if row_of(chapter, row["name"]) != [row["comment"]]
    ] == []


async def test_every_rpc_is_on_the_page_with_its_arguments(db: Database) -> None:
    rpcs = await db.fetch(
        "select p.oid::regprocedure::text as signature, 'orbyt.' || p.proname as name, p.proargnames as arguments, "
        "p.pronargdefaults as optional, obj_description(p.oid, 'pg_proc') as comment "
        "from pg_proc p where p.pronamespace = 'orbyt'::regnamespace order by 1"
    )
    assert len(rpcs) >= 9
    chapter = chapter_of("RPCs")
    lacking: list[Any] = []
    for each in rpcs:
        arguments, _, codes, *_ = row_of(chapter, each["name"]) or ["", "", "", ""]
        lacking += [(each["name"], name) for name in each["arguments"] or [] if f"`{name}`" not in arguments]
        if each["optional"] and not re.search(r"optional|default|`ORBYT_", arguments):
            lacking.append((each["name"], "which arguments may be left out"))
        # Codes that the comment promises.
        promised = re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", (each["comment"] or "").partition("Errors:")[2])
        lacking += [(each["name"], code) for code in promised if f"`{code}`" not in codes]
    assert lacking == []


async def test_every_function_of_the_worker_and_for_people_says_on_the_page_what_its_comment_says(db: Database) -> None:
    functions = await db.fetch(
        "select p.proname as name, obj_description(p.oid, 'pg_proc') as comment, "
        "has_function_privilege('orbyt_worker', p.oid, 'execute') as workers "
        "from pg_proc p where p.pronamespace = 'orbyt_private'::regnamespace order by 1"
    )
    chapter = chapter_of("The worker's functions")
    wrong = [
        (each["name"], row_of(chapter, each["name"]))
        for each in functions
        if each["workers"] and row_of(chapter, each["name"]) != [each["comment"]]
    ]
    assert wrong == []


async def test_every_type_is_on_the_page_with_its_values(db: Database) -> None:
    types = await db.fetch(
        "select t.oid::regtype::text as name, array_agg(e.enumlabel::text order by e.enumsortorder) as labels "
        "from pg_type t join pg_enum e on e.enumtypid = t.oid "
        "where t.typnamespace::regnamespace::text in ('orbyt', 'orbyt_private') group by t.oid order by 1"
    )
    chapter = chapter_of("Types")
    assert [
        row["name"] for row in types if row_of(chapter, row["name"]) != [", ".join(f"`{x}`" for x in row["labels"])]
    ] == []


async def test_every_setting_of_the_database_is_on_the_page_with_its_default(db: Database) -> None:
    rows = await db.fetch("select name, value::text as value from orbyt_private.settings")
    chapter = chapter_of("Database settings")
    wrong = []
    for each in rows:
        (line,) = re.findall(rf"^\| [^|]*`{each['name']}`[^|]*\|.*\|$", chapter, re.MULTILINE)
        if each["value"] not in line:
            wrong.append((each["name"], each["value"]))
    assert wrong == []


async def test_the_page_says_which_tables_and_events_realtime_has(db: Database) -> None:
    tables = await db.fetch(
        "select format('orbyt.%s', tablename) as name from pg_publication_tables where pubname = 'supabase_realtime'"
    )
    chapter = chapter_of("Realtime")
    assert {row["name"] for row in tables} == set(re.findall(r"`(orbyt\.\w+)`", chapter))
    sent = await db.fetch(
        "select distinct substring(p.prosrc from 'broadcast[(](?:new|old)[.]user_id, ''(\\w+)''') as event from pg_proc p "
        "where p.pronamespace = 'orbyt_private'::regnamespace and p.proname like '%%\\_broadcast%%'"
    )
    events = {row["event"] for row in sent}
    assert len(events) >= 5
    assert [event for event in sorted(events) if f"| `{event}` |" not in chapter] == []
