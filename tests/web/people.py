"""People as the doors meet them: accounts with a grant, sessions whose browser is on its way back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from psycopg.types.json import Jsonb

from tests.factories import create_account, create_user
from tests.fix_postgres import Database
from tests.web.conftest import RETURN_TO

REDIRECT_URI = "https://callbacks.example/connect/callback"


# Before any time a test's clock shows.
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


async def connected(
    db: Database, user_id: UUID, *, login: str, platform_user_id: str, granted_at: datetime = LONG_AGO
) -> UUID:
    """An account this person connected at this login. Returns account_id."""
    account_id = await create_account(db, user_id, login)
    await db.execute(
        "insert into orbyt_private.account_grants (account_id, login, platform_user_id, granted_at) values (%s, %s, %s, %s)",
        [account_id, login, platform_user_id, granted_at],
    )
    return account_id


async def set_up(db: Database, public_jwk: dict[str, str] | None, return_to: tuple[str, ...] = (RETURN_TO,)) -> None:
    """What the worker does when it starts. The callback key is named k1."""
    await db.execute(
        "select orbyt_private.set_connect_app('google', '{youtube}', 'client', %s, 'https://accounts.example/auth', %s, '{}', true)",
        [REDIRECT_URI, Jsonb({"youtube": ["upload"]})],
    )
    await db.execute("select orbyt_private.set_connect_return_to(%s)", [Jsonb(list(return_to))])
    if public_jwk is not None:
        await db.execute(
            "select orbyt_private.add_callback_key('k1', %s, gen_random_uuid(), '\\x00', 'm1')", [Jsonb(public_jwk)]
        )


@dataclass(frozen=True)
class Begun:
    session_id: UUID
    user_id: UUID
    state: str


async def begin(db: Database, return_to: str = RETURN_TO) -> Begun:
    """A user pressed "connect"."""
    user_id = await create_user(db)
    async with db.as_user(user_id) as app:
        row = await (await app.execute("select orbyt.begin_connect('youtube', %s) as begun", [return_to])).fetchone()
    assert row is not None
    begun: dict[str, Any] = row["begun"]
    state = parse_qs(urlsplit(begun["authorize_url"]).query)["state"][0]
    return Begun(UUID(begun["session_id"]), user_id, state)
