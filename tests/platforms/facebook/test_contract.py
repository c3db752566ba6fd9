"""Facebook passes the suite every platform has to pass, with every shape of post."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.platforms.contract import PlatformContract, World
from tests.platforms.facebook.world import SETUPS, FacebookWorld


class FacebookContract(PlatformContract):
    shape: str

    @pytest.fixture
    def make_world(self, make_world: Callable[..., FacebookWorld]) -> Callable[[], World]:
        return lambda: make_world(self.shape)


def _suite(shape: str) -> type[FacebookContract]:
    members = {"shape": shape, "saves_secrets": SETUPS[shape].saves_secrets, "__doc__": f"The contract for: {shape}."}
    return type(f"Test{shape.title().replace(' ', '')}", (FacebookContract,), members)


TestText = _suite("text")
TestTextWithAFirstComment = _suite("text with a first comment")
TestLink = _suite("link")
TestPhoto = _suite("photo")
TestCarousel = _suite("carousel")
TestVideo = _suite("video")
TestReel = _suite("reel")
TestPhotoStory = _suite("photo story")
TestVideoStory = _suite("video story")


def test_every_shape_has_its_suite() -> None:
    assert {each.shape for each in globals().values() if isinstance(each, type) and hasattr(each, "shape")} == set(
        SETUPS
    )
