"""Rules every migration keeps, read from the catalogs of the migrated database and from the text of the files.

The reasons are Supabase's: its advisor (supabase/splinter), its default privileges, and the locks a policy statement takes there.
"""

from __future__ import annotations

import re

import psycopg
import pytest

from orbyt_worker.sandbox.bootstrap import list_migrations, split_statements
from tests.fix_postgres import Database

OURS = ["orbyt", "orbyt_private"]

FUNCTIONS = """
select
  routine.oid,
  routine.oid::regprocedure::text as name,
  routine.pronamespace::regnamespace::text as schema,
  routine.prosecdef as definer,
  routine.proconfig as config,
  routine.prorettype = 'trigger'::regtype as is_trigger,
  routine.pronargs as arguments,
  pg_get_userbyid(routine.proowner) as owner,
  obj_description(routine.oid, 'pg_proc') as comment,
  routine.proacl is null or exists (select from aclexplode(routine.proacl) where grantee = 0) as executable_by_public,
  has_function_privilege('anon', routine.oid, 'execute') as executable_by_anon,
  has_function_privilege('authenticated', routine.oid, 'execute') as executable_by_authenticated
from pg_proc as routine
where routine.pronamespace::regnamespace::text = any (%s)
order by 2
"""

TABLES = """
select relation.oid, relation.oid::regclass::text as name, relation.relkind::text as kind, relation.relrowsecurity as secured,
  relation.reloptions as options, obj_description(relation.oid, 'pg_class') as comment, pg_get_userbyid(relation.relowner) as owner
from pg_class as relation
where relation.relnamespace::regnamespace::text = any (%s) and relation.relkind in ('r', 'p', 'v', 'm')
order by 2
"""

PRIVILEGES = """
select relation.oid::regclass::text as name, '' as column, acl.grantee::regrole::text as role, acl.privilege_type as privilege
from pg_class as relation, aclexplode(relation.relacl) as acl
where relation.relnamespace::regnamespace::text = any (%(ours)s) and acl.grantee <> relation.relowner and acl.grantee <> 0
union all
select relation.oid::regclass::text, attribute.attname, acl.grantee::regrole::text, acl.privilege_type
from pg_class as relation
join pg_attribute as attribute on attribute.attrelid = relation.oid, aclexplode(attribute.attacl) as acl
where relation.relnamespace::regnamespace::text = any (%(ours)s) and acl.grantee <> relation.relowner and acl.grantee <> 0
union all
select routine.oid::regprocedure::text, '', case acl.grantee when 0 then 'public' else acl.grantee::regrole::text end, acl.privilege_type
from pg_proc as routine, aclexplode(coalesce(routine.proacl, acldefault('f', routine.proowner))) as acl
where routine.pronamespace::regnamespace::text = any (%(ours)s) and acl.grantee <> routine.proowner
union all
select namespace.nspname::text, '', case acl.grantee when 0 then 'public' else acl.grantee::regrole::text end, acl.privilege_type
from pg_namespace as namespace, aclexplode(namespace.nspacl) as acl
where namespace.nspname = any (%(ours)s) and acl.grantee <> namespace.nspowner
order by 1, 2, 3, 4
"""


async def test_everything_has_a_comment(db: Database) -> None:
    """The dashboard and the generated documentation show them."""
    lacking = [row["name"] for row in await db.fetch(FUNCTIONS, [OURS]) if not row["comment"]]
    lacking += [row["name"] for row in await db.fetch(TABLES, [OURS]) if not row["comment"]]
    lacking += [
        row["name"]
        for row in await db.fetch(
            """
            select format('%%s.%%s', relation.oid::regclass, attribute.attname) as name
            from pg_class as relation
            join pg_attribute as attribute on attribute.attrelid = relation.oid
            where relation.relnamespace::regnamespace::text = any (%s) and relation.relkind in ('r', 'p', 'v', 'm')
              and attribute.attnum > 0 and not attribute.attisdropped
              and coalesce(col_description(relation.oid, attribute.attnum), '') = ''
            union all
            select nspname from pg_namespace where nspname = any (%s) and obj_description(oid, 'pg_namespace') is null
            union all
            select oid::regtype::text from pg_type
            where typnamespace::regnamespace::text = any (%s) and typtype in ('e', 'd') and obj_description(oid, 'pg_type') is null
            order by 1
            """,
            [OURS, OURS, OURS],
        )
    ]
    assert lacking == []


async def test_every_function_pins_an_empty_search_path(db: Database) -> None:
    paths = {row["name"]: row["config"] or [] for row in await db.fetch(FUNCTIONS, [OURS])}
    # The project's own policies run inside this one, and what they call may rely on the Data API's path.
    assert paths.pop("orbyt_private.can_read_object(text,text)") == ["search_path=public, extensions"]
    assert [name for name, config in paths.items() if 'search_path=""' not in config] == []


async def test_nothing_is_executable_by_everybody(db: Database) -> None:
    functions = await db.fetch(FUNCTIONS, [OURS])
    assert [row["name"] for row in functions if row["executable_by_public"]] == []
    assert [row["name"] for row in functions if row["executable_by_anon"]] == []


async def test_the_app_calls_no_definer_function_in_the_exposed_schema(db: Database) -> None:
    """Supabase's lints 0028 and 0029: an exposed function is a thin invoker; the definer behind it is in the private schema."""
    functions = await db.fetch(FUNCTIONS, [OURS])
    assert [row["name"] for row in functions if row["schema"] == "orbyt" and row["definer"]] == []


async def test_postgres_owns_everything(db: Database) -> None:
    """A definer function owned by anybody else could not broadcast, and a dashboard user could not manage it."""
    owned = [*await db.fetch(FUNCTIONS, [OURS]), *await db.fetch(TABLES, [OURS])]
    assert owned
    assert {row["owner"] for row in owned} == {"postgres"}


async def test_row_level_security_is_on_everywhere(db: Database) -> None:
    tables = await db.fetch(TABLES, [OURS])
    assert [row["name"] for row in tables if row["kind"] in "rp" and not row["secured"]] == []
    assert [row["name"] for row in tables if row["kind"] == "m"] == [], "materialized views have no row level security"
    views = [row for row in tables if row["kind"] == "v"]
    invoker = {"security_invoker=on", "security_invoker=true"}
    assert [row["name"] for row in views if not invoker & set(row["options"] or [])] == []


async def test_every_foreign_key_has_an_index(db: Database) -> None:
    rows = await db.fetch(
        """
        select constrained.conrelid::regclass::text as table, constrained.conname as name
        from pg_constraint as constrained
        where constrained.contype = 'f' and constrained.connamespace::regnamespace::text = any (%s)
          and not exists (
            select from pg_index as index
            where index.indrelid = constrained.conrelid and index.indisvalid
              and (string_to_array(index.indkey::text, ' ')::smallint[])[1:cardinality(constrained.conkey)] @> constrained.conkey
          )
        order by 1, 2
        """,
        [OURS],
    )
    assert rows == []


async def test_privileges_do_not_depend_on_the_projects_defaults(db: Database, permissive_db: Database) -> None:
    """Old projects grant everything to everybody by default; the migrations must take all of it back."""
    ours = await db.fetch(PRIVILEGES, {"ours": OURS})
    assert ours
    theirs = await permissive_db.fetch(PRIVILEGES, {"ours": OURS})
    assert [row for row in theirs if row not in ours] == []
    assert theirs == ours


async def test_api_roles_hold_only_what_a_row_policy_can_guard(db: Database) -> None:
    """No truncate, references, trigger or maintain; no table of the private schema; writes by column only."""
    rows = [row for row in await db.fetch(PRIVILEGES, {"ours": OURS}) if row["role"] in {"anon", "authenticated"}]
    relations = {row["name"] for row in await db.fetch(TABLES, [OURS])}
    bad = [
        row
        for row in rows
        if row["name"] in relations
        and (
            row["name"].startswith("orbyt_private.")
            or row["privilege"] not in {"SELECT", "INSERT", "UPDATE"}
            or (row["privilege"] != "SELECT" and not row["column"])
        )
    ]
    assert bad == []
    assert [row for row in rows if row["role"] == "anon" and row["privilege"] not in {"SELECT", "USAGE"}] == []


async def test_the_worker_may_only_call_functions(db: Database) -> None:
    rows = [row for row in await db.fetch(PRIVILEGES, {"ours": OURS}) if row["role"] == "orbyt_worker"]
    assert {row["privilege"] for row in rows} <= {"EXECUTE", "USAGE"}
    role = await db.row(
        "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolcanlogin from pg_roles where rolname = 'orbyt_worker'"
    )
    assert role.pop("rolcanlogin")
    assert not any(role.values())
    assert await db.value("select count(*) from pg_auth_members where member = 'orbyt_worker'::regrole") == 0


_NAMES_THAT_MISS = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedObject,
)


async def test_no_function_body_names_something_that_is_not_there(db: Database) -> None:
    """A pinned search_path breaks an unqualified name only at run time, so every function is called once, with nulls.

    What a call with nulls does not reach is the business of the function's own test.
    """
    admin = await db.connect("postgres", autocommit=False)
    missing: list[str] = []
    for row in await db.fetch(FUNCTIONS, [OURS]):
        if row["is_trigger"]:
            continue
        name = row["name"].partition("(")[0]
        types = re.findall(r"[^,()]+(?:\([^)]*\))?", row["name"].partition("(")[2].rstrip(")"))
        arguments = ", ".join(f"null::{kind}" for kind in types if kind)
        try:
            await admin.execute(f"select * from {name}({arguments})".encode())
        except _NAMES_THAT_MISS as error:
            missing.append(f"{row['name']}: {error.diag.message_primary}")
        except psycopg.Error:
            pass  # refusing nulls is what it should do
        finally:
            await admin.rollback()
    assert missing == []


# The text of the files

FOREIGN = r"(?:realtime|storage|auth|vault|extensions|graphql|cron|net)"


def statements() -> list[tuple[str, str]]:
    """(file name, statement without comments, in lower case, with single spaces)."""
    found = []
    for migration in list_migrations():
        for statement in split_statements(migration.path.read_text(encoding="utf-8")):
            bare = re.sub(r"--[^\n]*|/\*.*?\*/", " ", statement, flags=re.DOTALL)
            found.append((migration.path.name, " ".join(bare.lower().split())))
    return found


def test_file_names_are_those_the_cli_takes() -> None:
    names = [migration.path.name for migration in list_migrations()]
    assert names
    assert [name for name in names if not re.fullmatch(r"\d{14}_[a-z0-9_]+\.sql", name)] == []
    assert len({name[:14] for name in names}) == len(names)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (
            rf"^(alter|drop) (table|function|view|index|schema) (if exists )?(only )?{FOREIGN}\.",
            "postgres owns nothing there on a hosted project",
        ),
        (
            rf"^create (or replace )?(unlogged )?(table|function|view|index)[^(]* {FOREIGN}\.",
            "postgres may create nothing there",
        ),
        (r"^comment on policy \w+ on (realtime|storage)\.", "needs ownership of the table"),
        (rf"^(grant|revoke) .* on .*{FOREIGN}\.\w+ ", "postgres holds no grant option there"),
        (r"^(begin|commit|rollback)$", "one file is one transaction"),
        (r"concurrently", "cannot run in a file's transaction"),
        (
            r"alter role \w+ .*(nosuperuser|nobypassrls|noreplication)",
            "fails for a non-superuser even when it changes nothing",
        ),
        (r"(create|alter) role .* password", "would stand in the statement log"),
        (r"^create extension (if not exists )?supabase_vault", "preinstalled on hosted, absent elsewhere"),
    ],
)
def test_no_statement_that_a_hosted_project_refuses(pattern: str, why: str) -> None:
    assert [(file, text[:100]) for file, text in statements() if re.search(pattern, text)] == [], why


def test_policies_stand_alone_behind_a_lock_timeout() -> None:
    """A policy statement locks tables of Auth, Storage and Realtime on a hosted project until its transaction ends."""
    by_file: dict[str, list[str]] = {}
    for file, text in statements():
        by_file.setdefault(file, []).append(text)
    with_policies = {
        file: texts
        for file, texts in by_file.items()
        if any(re.match(r"(create|alter|drop) policy", text) for text in texts)
    }
    assert with_policies
    for file, texts in with_policies.items():
        assert texts[0].startswith("set local lock_timeout"), file
        assert [
            text[:80] for text in texts[1:] if not re.match(r"(create|alter|drop|comment on) policy", text)
        ] == [], file
    assert not any(
        "create policy" in text for file, texts in by_file.items() if file not in with_policies for text in texts
    )
