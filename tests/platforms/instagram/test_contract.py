"""Instagram passes the suite every platform has to pass, with every shape of post and with both logins."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.platforms.contract import PlatformContract, World
from tests.platforms.instagram.world import LOGINS, SETUPS, InstagramWorld


class InstagramContract(PlatformContract):
    shape: str
    login: str

    @pytest.fixture
    def make_world(self, make_world: Callable[..., InstagramWorld]) -> Callable[[], World]:
        return lambda: make_world(self.shape, self.login)


def _suite(shape: str, login: str) -> type[InstagramContract]:
    members = {
        "shape": shape,
        "login": login,
        # Only rupload has an address that is worth keeping secret.
        "saves_secrets": login == "facebook" and "video" in SETUPS[shape].media,
        "__doc__": f"The contract for: {shape}, login {login}.",
    }
    return type(f"Test{shape.title().replace(' ', '')}{login.title()}", (InstagramContract,), members)


TestPhotoFacebook = _suite("photo", "facebook")
TestPhotoInstagram = _suite("photo", "instagram")
TestCarouselFacebook = _suite("carousel", "facebook")
TestCarouselInstagram = _suite("carousel", "instagram")
TestReelFacebook = _suite("reel", "facebook")
TestReelInstagram = _suite("reel", "instagram")
TestPhotoStoryFacebook = _suite("photo story", "facebook")
TestPhotoStoryInstagram = _suite("photo story", "instagram")
TestVideoStoryFacebook = _suite("video story", "facebook")
TestVideoStoryInstagram = _suite("video story", "instagram")


def test_every_shape_has_its_suite_with_both_logins() -> None:
    suites: list[type[InstagramContract]] = [each for name, each in globals().items() if name.startswith("Test")]
    # A single video is a reel and takes the very same steps (test_publish.py).
    wanted = {(shape, login) for shape in SETUPS if shape != "video" for login in LOGINS}
    assert {(each.shape, each.login) for each in suites} == wanted
