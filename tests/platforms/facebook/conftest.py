"""One sandbox server per module of tests; every world starts it afresh."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from orbyt_worker.sandbox.server import SandboxServer
from tests.platforms.facebook.world import FacebookWorld


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer() as running:
        yield running


@pytest.fixture
async def make_world(server: SandboxServer) -> AsyncIterator[Callable[..., FacebookWorld]]:
    """Makes a world: a Page, a post and a driver. Options are those of `FacebookWorld`."""
    made: list[FacebookWorld] = []

    def make(shape: str = "text", **options: Any) -> FacebookWorld:
        made.append(FacebookWorld(server, shape, **options))
        return made[-1]

    yield make
    for world in made:
        await world.aclose()
    assert server.state.internal_errors() == []
