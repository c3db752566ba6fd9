"""Connections, and what changes behind Supabase's poolers.

Transaction pooling (Supavisor or PgBouncer on port 6543) breaks LISTEN and named prepared statements, so: no prepared
statements there, no listener, and polling alone. Sources: Supabase docs "Connection pooling", supabase/supavisor docs/faq.md, read 2026-11.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

TRANSACTION_POOLER_PORT = "6543"
CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_MS = 30_000
ANSWER_SLACK_SECONDS = 5.0
POOL_WAIT_SECONDS = 20.0
OPEN_WAIT_SECONDS = 5.0

# A dead network path is noticed within about a minute and a half.
_KEEPALIVES: Mapping[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 6,
}

DatabaseUnavailable = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
"""What psycopg raises when the database cannot be reached; everything else is a mistake in a statement."""
DatabaseRefused = psycopg.Error
"""Any other answer of the database: migrations missing, a right missing. An operator has to act; the worker waits."""


NOT_REGISTERED_SQLSTATE = "OR100"


class NotRegistered(Exception):
    """The database does not know this worker (any more): a row silent for a day is pruned. Register again."""


@dataclass(frozen=True, slots=True)
class ConnectionMode:
    """What kind of endpoint the URL points at. `can_listen` False means: poll."""

    transaction_pooler: bool

    @property
    def can_listen(self) -> bool:
        return not self.transaction_pooler


def connection_mode(url: str) -> ConnectionMode:
    """Told apart by the port: Supabase serves transaction mode on 6543, session mode and direct on 5432."""
    return ConnectionMode(transaction_pooler=str(conninfo_to_dict(url).get("port", "5432")) == TRANSACTION_POOLER_PORT)


def connection_arguments(url: str) -> dict[str, Any]:
    """Keyword arguments for every connection of the worker, listener included."""
    arguments: dict[str, Any] = {
        "autocommit": True,
        "row_factory": dict_row,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "application_name": "orbyt-worker",
        **_KEEPALIVES,
    }
    if connection_mode(url).transaction_pooler:
        arguments["prepare_threshold"] = None
    return arguments


class Database:
    """A small pool. Every statement is one round trip in autocommit; the functions in the schema are the transactions."""

    def __init__(self, url: str, *, size_max: int, wait_seconds: float = POOL_WAIT_SECONDS) -> None:
        self._url = url
        self._wait_seconds = wait_seconds
        self.mode = connection_mode(url)
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]] = AsyncConnectionPool(
            url,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs=connection_arguments(url),
            min_size=1,
            max_size=size_max,
            timeout=wait_seconds,
            open=False,
            configure=self._configure,
            check=AsyncConnectionPool.check_connection,
            name="orbyt",
        )

    async def _configure(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        # `set` would leak to other clients behind a transaction pooler; there the role's own setting has to do.
        if not self.mode.transaction_pooler:
            await connection.execute(f"set statement_timeout = {STATEMENT_TIMEOUT_MS}")

    async def open(self) -> None:
        """Connect. Raises one of DatabaseUnavailable when the first connection does not come up in time."""
        await self._pool.open()
        await self._pool.wait(timeout=min(self._wait_seconds, OPEN_WAIT_SECONDS))

    async def close(self) -> None:
        await self._pool.close()

    async def fetch(self, statement: LiteralString, parameters: Mapping[str, Any]) -> list[DictRow]:
        """Run one statement, return all rows (the statements bound their own size).

        Bounded here as well: a pooler that lost its server keeps the connection open and answers nothing, and the server's
        statement_timeout is then nobody's.
        """
        try:
            async with (
                asyncio.timeout(STATEMENT_TIMEOUT_MS / 1000 + ANSWER_SLACK_SECONDS),
                self._pool.connection() as connection,
            ):
                cursor = await connection.execute(statement, parameters)
                return await cursor.fetchall()
        except TimeoutError:
            raise psycopg.OperationalError("the database did not answer in time") from None
        except psycopg.Error as error:
            if error.sqlstate == NOT_REGISTERED_SQLSTATE:
                raise NotRegistered from None
            raise
