"""One world for all of these tests in a process: a database behind the Data API, the simulated platforms, one worker. Each test has
a user of its own, so they do not meet."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from orbyt_worker.local import ConnectedAccount, LocalDatabase
from orbyt_worker.sandbox.lite import LiteServer
from orbyt_worker.sandbox.postgres import PostgresServer
from orbyt_worker.sandbox.server import SandboxServer
from tests.fix_lite import app_directory, check_types, client_package, lite, run_node
from tests.fix_world import World

__all__ = ["app_directory", "check_types", "client_package", "lite", "run_node"]


class App:
    """What the app of one user knows, and the world around it."""

    def __init__(self, world: World, lite: LiteServer) -> None:
        self.world = world
        self.lite = lite
        self.url = lite.url_of(world.database.name)
        self.user_id = world.database.create_user(f"{uuid.uuid4().hex[:8]}@example.com")
        self.other_id = world.database.create_user(f"{uuid.uuid4().hex[:8]}@example.com")

    def given(self, **more: Any) -> dict[str, Any]:
        """For a program: how to reach the Data API, as this user and as another."""
        return {
            "url": self.url,
            "key": self.lite.publishable_key,
            "token": self.lite.user_token(self.user_id),
            "otherToken": self.lite.user_token(self.other_id),
            "userId": str(self.user_id),
            **more,
        }

    def connect(self, platform: str, user_id: UUID | None = None, **account: Any) -> ConnectedAccount:
        database, sandbox = self.world.database, self.world.sandbox
        given = (sandbox, user_id or self.user_id, self.world.key)
        if platform == "youtube":
            return database.connect_youtube(*given, **account)
        if platform == "facebook":
            return database.connect_facebook(*given, **account)
        return database.connect_instagram(*given, **account)


@pytest.fixture(scope="session")
def app_world(
    postgres: PostgresServer,
    world_template: tuple[str, bytes],
    lite: LiteServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    template, key = world_template
    name = f"app_{uuid.uuid4().hex[:12]}"
    with SandboxServer() as sandbox:
        world = World(
            LocalDatabase.create(postgres, name, template=template), sandbox, key, tmp_path_factory.mktemp(name)
        )
        with world.connecting_worker():
            world.wait_until(world.connectable, timeout_seconds=60)
            yield world
        errors = sandbox.state.internal_errors()
    lite.close_database(name)
    postgres.drop_database(name)
    assert errors == []


@pytest.fixture
def app(app_world: World, lite: LiteServer) -> App:
    return App(app_world, lite)


@pytest.fixture
def rpcs(app_world: World) -> set[str]:
    """Every function of the exposed schema that a signed-in user may call."""
    with psycopg.connect(app_world.database.url()) as connection:
        rows = connection.execute(
            """
            select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname = 'orbyt' and has_function_privilege('authenticated', p.oid, 'execute')
            """
        ).fetchall()
    return {row[0] for row in rows}
