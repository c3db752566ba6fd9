"""The pre-flight in SQL gives the answers of the worker's `check`, on every platform: the same tables of cases are run against both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from orbyt_worker.model import Kind
from orbyt_worker.platforms.instagram.rules import OPTIONS_BY_KIND
from orbyt_worker.platforms.registry import platforms
from tests.fix_postgres import Database
from tests.platforms.cases import PLATFORMS, Case, load_cases
from tests.platforms.driver import sandbox_settings

CASES = [case for platform in PLATFORMS for case in load_cases(platform)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.platform}: {case.name}")
async def test_sql_and_worker_agree(db: Database, case: Case) -> None:
    now = datetime.now(UTC)
    rows = await db.fetch(
        "select code, field from orbyt_private.check_content(%s, %s::orbyt.post_kind, %s, %s, %s, %s, %s, %s)",
        [
            case.platform,
            case.kind,
            case.title,
            case.caption,
            Jsonb(case.media),
            Jsonb(case.options),
            now,
            now + timedelta(days=1),
        ],
    )
    # What only SQL looks at (the shape of the media array) has no case in the shared tables.
    assert tuple((row["code"], row["field"]) for row in rows) == case.expect


def test_every_platform_has_its_table() -> None:
    assert set(PLATFORMS) == set(platforms(sandbox_settings()))


@pytest.mark.parametrize("kind", list(Kind))
async def test_instagrams_options_of_each_kind_are_those_of_the_worker(db: Database, kind: Kind) -> None:
    (row,) = await db.fetch("select orbyt_private.instagram_options(%s::orbyt.post_kind) as options", [kind.value])
    wanted = OPTIONS_BY_KIND.get(kind)
    assert row["options"] == (None if wanted is None else sorted(wanted))
