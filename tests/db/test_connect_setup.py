"""What workers write at their start: the logins as a whole, and whether the link back carries a proof."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import psycopg
import pytest
from pydantic import SecretStr, ValidationError

from orbyt_worker.connecting.setup import set_up
from orbyt_worker.db.connect_queries import ConnectQueries
from orbyt_worker.db.pool import Database as Pool
from orbyt_worker.db.queries import Queries
from orbyt_worker.platforms.connector import Connector, LoginApp
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings
from tests.db.connecting import RETURN_TO, begin
from tests.db.test_app_access import code_of
from tests.factories import create_user
from tests.fix_postgres import Database


class Known:
    """As much of a connector as the set-up asks for."""

    def __init__(self, *apps: LoginApp) -> None:
        self._apps = apps

    def apps(self, settings: Settings) -> tuple[LoginApp, ...]:
        return self._apps


GOOGLE = LoginApp("google", "client", "https://google.example.com/auth", ("upload",), pkce=True)
FACEBOOK = LoginApp("facebook", "client", "https://facebook.example.com/auth", ("pages",))


class Starting:
    """Workers that start, one after the other, with whatever each has."""

    def __init__(self, db: Database, pool: Pool, keys: MasterKeys) -> None:
        self._db = db
        self._queries = ConnectQueries(pool, Runtime())
        self._keys = keys

    async def start(self, connectors: Mapping[str, Known], **settings: Any) -> None:
        given = {
            "environment": "sandbox",
            "database_url": SecretStr(self._db.url("orbyt_worker")),
            "connect_redirect_url": "https://door.example.com/connect/callback",
            "connect_return_to": RETURN_TO,
            **settings,
        }
        await set_up(
            self._queries,
            self._keys,
            cast("Mapping[str, Connector]", connectors),
            Settings.model_validate(given),
            Runtime(),
        )


@pytest.fixture
async def starting(db: Database) -> AsyncIterator[Starting]:
    pool = Pool(db.url("orbyt_worker"), size_max=2)
    await pool.open()
    await db.execute("select orbyt_private.create_master_key('k1')")
    keys = MasterKeys(Queries(pool, Runtime()), Runtime())
    await keys.load()
    # The key of the doors is not what this is about, and takes a while to make.
    await db.execute(
        "select orbyt_private.add_callback_key('c', '{}', %s, '\\x01', 'k1')",
        [uuid.uuid4()],
    )
    yield Starting(db, pool, keys)
    await pool.close()


async def test_a_login_whose_credentials_were_taken_away_is_not_offered_any_longer(
    db: Database, starting: Starting
) -> None:
    user_id = await create_user(db)
    await starting.start({"youtube": Known(GOOGLE), "facebook": Known(FACEBOOK)})
    await begin(db, user_id, "facebook")
    # A worker that has no door knows nothing about who can log in, and takes nothing away.
    await starting.start({}, connect_redirect_url=None)
    await begin(db, user_id, "facebook")
    await starting.start({"youtube": Known(GOOGLE), "facebook": Known()})
    await begin(db, user_id)
    with pytest.raises(psycopg.Error) as refused:
        await begin(db, user_id, "facebook")
    assert await code_of(db, refused.value) == "platform_not_configured"
    await starting.start({"facebook": Known(FACEBOOK)})
    await begin(db, user_id, "facebook")


async def test_every_link_that_settings_take_the_database_takes(db: Database, starting: Starting) -> None:
    """Otherwise a worker would start, and nothing could ever be connected."""
    taken = []
    for character in map(chr, range(256)):
        link = f"studiox://a{character}b"
        with contextlib.suppress(ValidationError):
            Settings.model_validate({"database_url": "postgresql://x", "connect_return_to": link})
            taken.append(link)
    await starting.start({"youtube": Known(GOOGLE)}, connect_return_to=",".join(taken))
    stored = await db.value("select orbyt_private.setting('connect_return_to')")
    assert len(stored) > 62, "letters and digits at the least"
    assert {f"studiox://a{character}b" for character in "-._~/:@!$&'()*+;=%"} <= set(stored)


async def test_the_proof_is_off_unless_it_is_asked_for(db: Database, starting: Starting) -> None:
    stored = "select orbyt_private.setting('connect_proof')"
    await starting.start({})
    assert await db.value(stored) is False
    await starting.start({}, connect_proof=True)
    assert await db.value(stored) is True
    # A worker without a door says nothing about it.
    await starting.start({}, connect_redirect_url=None)
    assert await db.value(stored) is True
    await starting.start({})
    assert await db.value(stored) is False
