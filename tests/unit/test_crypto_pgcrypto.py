"""Sealed in Python, opened by PostgreSQL, and the other way round: with the very SQL of crypto.py's docstring."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from psycopg import sql

from orbyt_worker import crypto
from orbyt_worker.crypto import Keyring, context
from tests.fix_postgres import Database

OWNER = UUID("7b0f3a52-8d6e-4a51-9d4c-0a2f5d3c9b11")
MASTER = bytes(range(32))
RING = Keyring({"k1": MASTER}, active="k1")
TEXTS = ["", "x", "fifteen bytes..", "sixteen bytes...", "zażółć gęślą jaźń 🎬", "a'b\\c\n" * 50]


def documented() -> tuple[str, str]:
    """The two statements of the docstring: opening, sealing."""
    blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", crypto.__doc__ or "")
    opening, sealing = (block for block in blocks if block.lstrip().startswith("select"))
    return opening, sealing


async def value(database: Database, statement: str, **parameters: Any) -> Any:
    connection = await database.connect("postgres")
    await connection.execute("set search_path = public, extensions")
    row = await (await connection.execute(sql.SQL(statement), parameters)).fetchone()
    return None if row is None else next(iter(row.values()))


async def opened(database: Database, blob: bytes, bound_to: str) -> Any:
    # Materialized: a stored row is not a constant that the planner may decrypt before the tag is looked at.
    given = "with sealed as materialized (select %(blob)s::bytea as blob, %(context)s::text as context), key as (select %(master)s::bytea as master)"
    return await value(database, f"{given}\n{documented()[0]}", blob=blob, context=bound_to, master=MASTER)


@pytest.mark.parametrize("text", TEXTS)
async def test_sealed_in_python_opens_in_sql(bare_db: Database, text: str) -> None:
    sealed = RING.seal(text, owner_id=OWNER, kind="access_token")
    assert await opened(bare_db, sealed.blob, context(OWNER, "access_token", "k1").decode()) == text


async def test_sql_does_not_open_a_moved_or_changed_value(bare_db: Database) -> None:
    blob = RING.seal("token", owner_id=OWNER, kind="access_token").blob
    assert await opened(bare_db, blob, context(OWNER, "refresh_token", "k1").decode()) is None
    assert await opened(bare_db, blob[:20] + b"!" + blob[21:], context(OWNER, "access_token", "k1").decode()) is None


@pytest.mark.parametrize("text", TEXTS)
async def test_sealed_in_sql_opens_in_python(bare_db: Database, text: str) -> None:
    given = "with plain as (select %(text)s::text as plaintext, %(context)s::text as context), key as (select %(master)s::bytea as master)"
    blob = await value(
        bare_db,
        f"{given}\n{documented()[1]}",
        text=text,
        context=context(OWNER, "access_token", "k1").decode(),
        master=MASTER,
    )
    assert RING.open(blob, owner_id=OWNER, kind="access_token", key_id="k1").decode() == text
