"""tests/db/schema.sql shows the schema as it is: `make generate` was run after the migrations changed."""

from __future__ import annotations

import difflib

from orbyt_worker.sandbox.postgres_find import PostgresError
from tests.fix_parts import missing
from tools import schema_dump


def test_schema_sql_is_current() -> None:
    try:
        fresh = schema_dump.dump()
    except PostgresError as error:
        missing(f"the wheel's PostgreSQL, which the dump is made with: {error}")
    stored = schema_dump.TARGET.read_text(encoding="utf-8")
    difference = list(
        difflib.unified_diff(stored.splitlines(), fresh.splitlines(), "stored", "migrated", lineterm="", n=1)
    )
    assert difference == [], "run `make generate`"
