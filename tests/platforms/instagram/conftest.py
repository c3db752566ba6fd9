"""One sandbox server per module of tests; every world starts it afresh."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from orbyt_worker.sandbox.server import SandboxServer
from tests.platforms.instagram.world import InstagramWorld


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer() as running:
        yield running


@pytest.fixture
async def make_world(server: SandboxServer) -> AsyncIterator[Callable[..., InstagramWorld]]:
    """Makes a world: an account, a post and a driver. Options are those of `InstagramWorld`."""
    made: list[InstagramWorld] = []

    def make(shape: str = "photo", login: Any = "facebook", **options: Any) -> InstagramWorld:
        made.append(InstagramWorld(server, shape, login, **options))
        return made[-1]

    yield make
    for world in made:
        await world.aclose()
    assert server.state.internal_errors() == []
