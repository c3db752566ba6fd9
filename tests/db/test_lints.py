"""Supabase's database lints (supabase/splinter, read November 2026) by what they mean, in our own words, on the migrated database.

The advisor in the Supabase CLI (test_supabase_cli.py) knows 0001 to 0024; 0025 to 0029 are newer than it, and a hosted project's
dashboard shows them. Here is each of them that could find something in ours. Nothing at WARN or above; what is INFO stands in
EXPLAINED with its reason, and in docs/admin.md.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.fix_node import ROOT, SupabaseCli
from tests.fix_postgres import Database

EXPOSED = ["public", "orbyt"]  # supabase/config.toml, [api] schemas
ADMIN = Path(__file__).parents[2] / "docs" / "admin.md"
API_ROLES = ["anon", "authenticated"]

# INFO, each with the reason why it stays: by name, then the objects it may name.
EXPLAINED = {
    # A fresh database has used no index yet.
    "unused_index": re.compile(r"orbyt(_private)?\..+"),
    # Only functions of the schema reach the private tables; there is nothing a policy could allow to anybody.
    "rls_enabled_no_policy": re.compile(r"orbyt_private\..+"),
}

# number and name of the lint: rows are what it finds
LINTS: dict[str, str] = {
    "0001_unindexed_foreign_keys": """
        select k.conname as found from pg_constraint k
        where k.contype = 'f' and k.connamespace::regnamespace::text = any (%(ours)s)
          and not exists (
            select from pg_index i where i.indrelid = k.conrelid and i.indisvalid
              and (string_to_array(i.indkey::text, ' ')::smallint[])[1:cardinality(k.conkey)] = k.conkey)
    """,
    "0003_auth_rls_initplan": """
        select polname as found from pg_policy p
        cross join lateral unnest(array[pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)]) e
        where e ~* '(auth[.](uid|jwt|role|email)|current_setting)[(]' and polname ~ any (%(policies)s)
          and regexp_replace(e, 'select\\s+(auth[.](uid|jwt|role|email)|current_setting)[(]', '', 'gi') ~* '(auth[.](uid|jwt|role|email)|current_setting)[(]'
    """,
    "0004_no_primary_key": """
        select c.oid::regclass::text as found from pg_class c
        where c.relkind = 'r' and c.relnamespace::regnamespace::text = any (%(ours)s)
          and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)
    """,
    "0006_multiple_permissive_policies": """
        select p.polrelid::regclass || ' ' || r || ' ' || p.polcmd::text as found
        from pg_policy p cross join unnest(p.polroles) r
        where p.polpermissive and p.polrelid::regclass::text ~ '^orbyt'
        group by p.polrelid, r, p.polcmd having count(*) > 1
        union all
        select polname from pg_policy where polcmd = '*' and polrelid::regclass::text ~ '^orbyt'
    """,
    "0009_duplicate_index": """
        select min(i.indexrelid::regclass::text) as found from pg_index i
        join pg_class c on c.oid = i.indrelid and c.relnamespace::regnamespace::text = any (%(ours)s)
        group by i.indrelid, regexp_replace(pg_get_indexdef(i.indexrelid), 'INDEX \\S+ ON', '') having count(*) > 1
    """,
    "0010_security_definer_view": """
        select c.oid::regclass::text as found from pg_class c
        where c.relkind = 'v' and c.relnamespace::regnamespace::text = any (%(exposed)s)
          and not coalesce(c.reloptions && array['security_invoker=on', 'security_invoker=true'], false)
    """,
    "0011_function_search_path_mutable": """
        select p.oid::regprocedure::text as found from pg_proc p
        where p.pronamespace::regnamespace::text = any (%(ours)s)
          and not exists (select from unnest(p.proconfig) c where c like 'search_path=%%')
    """,
    "0013_rls_disabled_in_public": """
        select c.oid::regclass::text as found from pg_class c
        where c.relkind in ('r', 'p') and not c.relrowsecurity and c.relnamespace::regnamespace::text = any (%(exposed)s)
    """,
    "0015_rls_references_user_metadata": """
        select polname as found from pg_policy p
        where coalesce(pg_get_expr(p.polqual, p.polrelid), '') || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '') ~ 'user_metadata'
    """,
    "0016_materialized_view_in_api_0017_foreign_table_in_api": """
        select c.oid::regclass::text as found from pg_class c
        where c.relkind in ('m', 'f') and c.relnamespace::regnamespace::text = any (%(exposed)s)
    """,
    "0018_unsupported_reg_types": """
        select a.attrelid::regclass || '.' || a.attname as found from pg_attribute a join pg_class c on c.oid = a.attrelid
        where c.relnamespace::regnamespace::text = any (%(ours)s) and a.attnum > 0
          and a.atttypid in ('regproc'::regtype, 'regprocedure'::regtype, 'regoper'::regtype, 'regoperator'::regtype, 'regconfig'::regtype,
                             'regdictionary'::regtype, 'regnamespace'::regtype, 'regcollation'::regtype)
    """,
    "0021_fkey_to_auth_unique": """
        select k.conname as found from pg_constraint k
        join pg_class target on target.oid = k.confrelid and target.relnamespace = 'auth'::regnamespace
        where k.contype = 'f' and not exists (select from pg_index i where i.indexrelid = k.conindid and i.indisprimary)
    """,
    "0024_rls_policy_always_true": """
        select polname as found from pg_policy p
        where p.polpermissive and p.polrelid::regclass::text ~ '^orbyt' and (
          (p.polcmd in ('w', 'd', '*') and coalesce(pg_get_expr(p.polqual, p.polrelid), 'true') ~* '^[(]*(true|1 = 1)[)]*$')
          or (p.polcmd in ('a', 'w', '*') and pg_get_expr(p.polwithcheck, p.polrelid) ~* '^[(]*(true|1 = 1)[)]*$')
          or (p.polcmd = 'a' and p.polwithcheck is null))
    """,
    "0025_public_bucket_allows_listing": """
        select b.id as found from storage.buckets b
        where b.public and exists (
          select from pg_policies p
          where p.schemaname = 'storage' and p.tablename = 'objects' and p.cmd in ('SELECT', 'ALL') and p.permissive = 'PERMISSIVE'
            and p.roles && '{public,anon,authenticated}'::name[]
            and (p.qual is null or p.qual ~* '^[(]*(true|1 = 1)[)]*$'
                 or regexp_replace(p.qual, '[() ]', '', 'g') = 'bucket_id=' || quote_literal(b.id) || '::text'))
    """,
    "0026_pg_graphql_anon_table_exposed_0027_pg_graphql_authenticated_table_exposed": """
        select c.oid::regclass || ' ' || role as found
        from pg_class c cross join unnest(%(roles)s::text[]) as role
        where exists (select from pg_extension where extname = 'pg_graphql')
          and c.relkind in ('r', 'v', 'm', 'f') and c.relnamespace::regnamespace::text = any (%(ours)s)
          and has_any_column_privilege(role, c.oid, 'select')
    """,
    "0028_anon_security_definer_function_executable_0029_authenticated_security_definer_function_executable": """
        select p.oid::regprocedure || ' ' || role as found
        from pg_proc p cross join unnest(%(roles)s::text[]) as role
        where p.prosecdef and p.pronamespace::regnamespace::text = any (%(exposed)s) and has_function_privilege(role, p.oid, 'execute')
    """,
}
PARAMETERS = {
    "ours": ["orbyt", "orbyt_private"],
    "exposed": EXPOSED,
    "roles": API_ROLES,
    "policies": ["^orbyt_", "_(select|insert|update|delete)$"],
}

# What makes each of those find something, so that an empty answer means that there is nothing.
CARELESS: dict[str, list[str]] = {
    "0001_unindexed_foreign_keys": [
        "create table orbyt.careless (id uuid primary key, account_id uuid references orbyt.accounts (account_id))"
    ],
    "0003_auth_rls_initplan": [
        "create policy careless_select on orbyt.accounts for select to authenticated using (user_id = auth.uid())"
    ],
    "0004_no_primary_key": ["create table orbyt.careless (id uuid)"],
    "0006_multiple_permissive_policies": [
        "create policy careless on orbyt.accounts for select to authenticated using (false)"
    ],
    "0009_duplicate_index": ["create index careless on orbyt.accounts (platform)"],
    "0010_security_definer_view": ["create view orbyt.careless as select 1 as one"],
    "0011_function_search_path_mutable": [
        "create function orbyt.careless() returns integer language sql as 'select 1'"
    ],
    "0013_rls_disabled_in_public": ["create table orbyt.careless (id uuid primary key)"],
    "0015_rls_references_user_metadata": [
        "create policy careless on orbyt.accounts for select to authenticated using ((select auth.jwt()) -> 'user_metadata' is not null)"
    ],
    "0016_materialized_view_in_api_0017_foreign_table_in_api": [
        "create materialized view orbyt.careless as select 1 as one"
    ],
    "0018_unsupported_reg_types": ["create table orbyt.careless (id uuid primary key, name regproc)"],
    "0021_fkey_to_auth_unique": [
        "create table orbyt.careless (id uuid primary key, phone text references auth.users (phone))"
    ],
    "0024_rls_policy_always_true": [
        "create policy careless on orbyt.accounts for update to authenticated using (true)"
    ],
    "0025_public_bucket_allows_listing": [
        "update storage.buckets set public = true where id = 'orbyt-media'",
        "create policy careless on storage.objects for select to authenticated using (bucket_id = 'orbyt-media')",
    ],
    # The extension cannot be had here: the catalog says it can.
    "0026_pg_graphql_anon_table_exposed_0027_pg_graphql_authenticated_table_exposed": [
        "update pg_extension set extname = 'pg_graphql' where extname = 'pgcrypto'"
    ],
    "0028_anon_security_definer_function_executable_0029_authenticated_security_definer_function_executable": [
        "create function orbyt.careless() returns integer language sql security definer set search_path = '' as 'select 1'"
    ],
}


def json_of(text: str) -> list[dict[str, Any]]:
    """The findings, however the CLI frames them."""
    found = json.loads(text)
    return list(found["results"] if isinstance(found, dict) else found)


@pytest.mark.parametrize("lint", sorted(LINTS))
async def test_it_finds_nothing_and_would_find_something(db: Database, lint: str) -> None:
    query = LINTS[lint].encode()
    assert await db.fetch(query, PARAMETERS) == []
    owner = await db.connect("supabase_admin")
    await owner.execute("set allow_system_table_mods = on")
    for statement in CARELESS[lint]:
        await owner.execute(statement.encode())
    assert await db.fetch(query, PARAMETERS) != []


def test_every_lint_of_the_newer_advisor_is_here() -> None:
    numbers = {int(number) for lint in LINTS for number in re.findall(r"(?:^|_)(00\d\d)_", lint)}
    assert {25, 26, 27, 28, 29} <= numbers
    assert set(CARELESS) == set(LINTS)


async def test_what_the_advisor_of_the_cli_says_at_info_is_explained(supabase_cli: SupabaseCli, db: Database) -> None:
    answer = supabase_cli(
        *("db", "advisors", f"--remote={db.url('postgres')}", "--type", "all", "--level", "info"),
        *("--output-format", "json"),
    )
    assert answer.returncode == 0, answer.stderr
    results = json_of(answer.stdout)
    assert results, "a fresh database always has unused indexes"
    unexplained = []
    for each in results:
        name = f"{each['metadata'].get('schema')}.{each['metadata'].get('name')}"
        pattern = EXPLAINED.get(each["name"])
        if each["level"] != "INFO" or pattern is None or not pattern.fullmatch(name):
            unexplained.append((each["name"], each["level"], name))
    assert unexplained == []
    assert {each["name"] for each in results} == set(EXPLAINED), "what is explained and never said should go"


def test_what_is_info_is_explained_to_the_admin() -> None:
    text = ADMIN.read_text(encoding="utf-8")
    assert [name for name in EXPLAINED if f"`{name}`" not in text] == []


def test_the_exposed_schemas_are_those_of_the_config() -> None:
    config = (ROOT / "supabase" / "config.toml").read_text(encoding="utf-8")
    assert re.search(r'^schemas = \["public", "orbyt"\]$', config, re.MULTILINE)
