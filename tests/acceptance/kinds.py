"""Every kind of post on every platform and login, as the app would insert it, and how to count it on the other side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orbyt_worker.local import ConnectedAccount
from tests.fix_world import World

SECONDS = 4.0


def image(world: World, name: str = "photo.jpg") -> dict[str, str]:
    return {"type": "image", "url": world.sandbox.state.media.url(name)}


def upright(world: World) -> dict[str, str]:
    """A vertical video as reels want it, on the simulated Mux. Encoded once per machine."""
    return world.video(700_000, width=540, height=960, seconds=SECONDS)


@dataclass(frozen=True, slots=True)
class Case:
    """`make(world)` gives the content columns of the row; `visible` is the fault route of the one visible call."""

    name: str
    platform: str
    make: Callable[[World], dict[str, Any]]
    visible: str
    login: str = ""
    # Whether a lost call can be proved not to have happened; else it may end as outcome_unknown.
    provable: bool = True

    def __str__(self) -> str:
        return self.name

    def columns(self, world: World) -> dict[str, Any]:
        """With a text of its own, where it has one: two posts of an account that look alike cannot be told apart."""
        columns = self.make(world)
        return columns if columns["caption"] is None else {**columns, "caption": f"This is a {self.name}"}

    def account(self, world: World) -> ConnectedAccount:
        return world.connect(self.platform, login=self.login)


def published(world: World, account: ConnectedAccount) -> list[set[str]]:
    """What is on the account, however it came there: the ids of each post (a video of a Page has two)."""
    state = world.sandbox.state
    if account.platform == "youtube":
        return [{video.video_id} for video in state.youtube.list_videos(channel_id=account.platform_account_id)]
    if account.platform == "facebook":
        videos = {
            video.post_id: video.video_id for video in state.meta.facebook.list_videos(account.platform_account_id)
        }
        posts = state.meta.facebook.published(account.platform_account_id)
        return [{post.post_id, videos.get(post.post_id, post.post_id)} for post in posts]
    return [{media.media_id} for media in state.meta.instagram.list_media(account.platform_account_id)]


def _text(caption: str, **options: Any) -> Callable[[World], dict[str, Any]]:
    return lambda world: {"kind": "text", "title": None, "caption": caption, "options": options}


def _photo(kind: str, caption: str | None = "A photo") -> Callable[[World], dict[str, Any]]:
    return lambda world: {"kind": kind, "title": None, "caption": caption, "media": [image(world)]}


def _photos(world: World) -> dict[str, Any]:
    media = [image(world), image(world, "photo.png")]
    return {"kind": "carousel", "title": None, "caption": "Two photos", "media": media}


def _mixed(world: World) -> dict[str, Any]:
    return {"kind": "carousel", "title": None, "caption": "Both", "media": [image(world), upright(world)]}


def _video(kind: str, caption: str | None = "A video", title: str | None = None) -> Callable[[World], dict[str, Any]]:
    return lambda world: {"kind": kind, "title": title, "caption": caption, "media": [upright(world)]}


CASES = (
    Case("facebook text", "facebook", _text("Hello"), "facebook.feed", provable=False),
    Case("facebook link", "facebook", _text("Read", link="https://example.com/a"), "facebook.feed", provable=False),
    Case("facebook photo", "facebook", _photo("photo"), "facebook.feed", provable=False),
    Case("facebook carousel", "facebook", _photos, "facebook.feed", provable=False),
    Case("facebook video", "facebook", _video("video", title="A title"), "facebook.videos.finish"),
    Case("facebook reel", "facebook", _video("reel"), "facebook.reels.finish"),
    Case("facebook photo story", "facebook", _photo("story", None), "facebook.photo_stories", provable=False),
    Case("facebook video story", "facebook", _video("story", None), "facebook.video_stories.finish"),
    *(
        Case(f"instagram {name} by {login} login", "instagram", columns, "instagram.media.publish", login=login)
        for login in ("facebook", "instagram")
        for name, columns in (
            ("photo", _photo("photo")),
            ("carousel", _mixed),
            ("reel", _video("reel")),
            ("video", _video("video")),
            ("photo story", _photo("story", None)),
            ("video story", _video("story", None)),
        )
    ),
    Case("youtube video", "youtube", _video("video", title="A title"), "youtube.upload.final"),
)
