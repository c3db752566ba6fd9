"""YouTube passes the suite every platform has to pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.platforms.contract import PlatformContract, World
from tests.platforms.youtube.world import YouTubeWorld


class TestYouTube(PlatformContract):
    @pytest.fixture
    def make_world(self, make_world: Callable[..., YouTubeWorld]) -> Callable[[], World]:
        return make_world
