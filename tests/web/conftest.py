"""The worker's HTTP surface on a real database, without a socket."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr
from starlette.types import ASGIApp

from orbyt_worker.db.door_queries import DoorQueries
from orbyt_worker.db.pool import Database as Pool
from orbyt_worker.health import Health
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings
from orbyt_worker.web.app import http_app
from orbyt_worker.web.limits import Buckets
from orbyt_worker.web.parts import Parts
from tests.fix_postgres import Database

META_SECRET = "meta-app-secret-of-the-tests"
INSTAGRAM_SECRET = "instagram-app-secret-of-the-tests"
MUX_SECRET = "mux-webhook-secret-of-the-tests"
RETURN_TO = "studiox://connected"


def settings_of(database_url: str, **values: object) -> Settings:
    """Everything configured; `None` takes a setting away."""
    given: dict[str, object] = {
        "environment": "sandbox",
        "database_url": SecretStr(database_url),
        "meta_app_secret": META_SECRET,
        "instagram_app_secret": INSTAGRAM_SECRET,
        "mux_webhook_secret": MUX_SECRET,
        "connect_return_to": RETURN_TO,
        **values,
    }
    return Settings.model_validate(given)


@pytest.fixture
async def pool(db: Database) -> AsyncIterator[Pool]:
    """As the worker: its role, its pool."""
    pool = Pool(db.url("orbyt_worker"), size_max=3)
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
def parts(db: Database, pool: Pool, runtime: Runtime) -> Parts:
    return Parts(
        health=Health(runtime),
        settings=settings_of(db.url("orbyt_worker")),
        queries=DoorQueries(pool, runtime),
        runtime=runtime,
    )


@pytest.fixture
def away(runtime: Runtime) -> Parts:
    """The database has not come up yet. Enough for everything that does not need it, and costs no database."""
    return Parts(
        health=Health(runtime),
        settings=settings_of("postgres://not-up-yet"),
        queries=DoorQueries(Pool("host=127.0.0.1 port=1", size_max=2), runtime),
        runtime=runtime,
    )


@pytest.fixture
async def web(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    async with client_at(http_app(parts)) as client:
        yield client


def unlimited() -> Buckets:
    """A minute goes by between any two requests."""
    return Buckets(itertools.count(step=60.0).__next__)


def client_at(app: ASGIApp, host: str = "203.0.113.7") -> httpx.AsyncClient:
    """A client with this address."""
    transport = httpx.ASGITransport(app, client=(host, 40_000))
    return httpx.AsyncClient(transport=transport, base_url="https://worker.example")
