"""Instagram: accounts' media, containers and comments, under Facebook Login and Instagram Login alike.

The same paths are served on graph.facebook.com and graph.instagram.com; the core (meta.py) says who a token is, what is refused for
it and which faults strike. Here is the state, the control side, and the table of endpoints; the rules are in instagram_rules,
instagram_containers and instagram_reads. Thread-safe by the lock of the core, never held across an await.
"""

from __future__ import annotations

import secrets
import string
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from starlette.routing import BaseRoute

from orbyt_worker.sandbox.instagram_containers import Containers
from orbyt_worker.sandbox.instagram_login import login_routes
from orbyt_worker.sandbox.instagram_model import (
    STORY_KINDS,
    Container,
    ContainerKind,
    ContainerReport,
    DoublePublish,
    InstagramConfig,
    Media,
    MediaReport,
    RepublishAnswer,
    Script,
)
from orbyt_worker.sandbox.instagram_reads import Reads
from orbyt_worker.sandbox.instagram_tokens import token_routes
from orbyt_worker.sandbox.login_model import CONSENTS_KEPT_MAX, InstagramConsent, LoginCode
from orbyt_worker.sandbox.meta_access import Call
from orbyt_worker.sandbox.meta_http import INSTAGRAM_HOSTS, Endpoint
from orbyt_worker.sandbox.meta_model import Node
from orbyt_worker.sandbox.operations import operation

if TYPE_CHECKING:
    from orbyt_worker.sandbox.meta import Meta

__all__ = ["ContainerReport", "Instagram", "InstagramConfig", "MediaReport"]

QUOTA_WINDOW = timedelta(hours=24)
Handler = Callable[[Call], Awaitable[dict[str, Any]]]
_SHORTCODE = string.ascii_letters + string.digits + "-_"


class Instagram:
    """State and control of the Instagram part; `containers` and `media` are by id, media in the order they came."""

    def __init__(self, meta: Meta) -> None:
        self.meta = meta
        self.sandbox = meta.sandbox
        self.lock: threading.RLock = meta.lock
        self.config = InstagramConfig()
        self.containers = Containers(self)
        self.media: dict[str, Media] = {}
        self.codes: dict[str, LoginCode] = {}
        self.consents: list[InstagramConsent] = []
        self._scripts: list[Script] = []

    def routes(self) -> list[BaseRoute]:
        """Beside the Graph: its own login, and the calls without a version."""
        return [*login_routes(self), *token_routes(self.meta)]

    def endpoints(self) -> list[Endpoint]:
        """Everything it answers on the Graph hosts."""
        reads, containers = Reads(self), self.containers

        def on(method: str, kind: str, edge: str, name: str, handler: Handler) -> Endpoint:
            return Endpoint(method, kind, edge, name, handler, INSTAGRAM_HOSTS)

        return [
            on("POST", "ig_user", "media", "instagram.media.create", containers.create),
            on("POST", "ig_user", "media_publish", "instagram.media.publish", containers.publish),
            on("GET", "ig_user", "media", "instagram.media.list", reads.list_media),
            on("GET", "ig_user", "stories", "instagram.media.stories", reads.list_stories),
            on("GET", "ig_user", "content_publishing_limit", "instagram.limit", reads.limit),
            on("GET", "ig_user", "", "instagram.account", reads.account),
            on("GET", "ig_container", "", "instagram.container.read", reads.container),
            on("GET", "ig_media", "", "instagram.media.read", reads.media),
            on("GET", "ig_media", "comments", "instagram.comments", reads.list_comments),
            on("POST", "ig_media", "comments", "instagram.comments", reads.comment),
        ]

    def find(self, node_id: str) -> Node | None:
        """Containers and media; the core knows the accounts."""
        container = self.containers.by_id.get(node_id)
        if container is not None:
            return Node("ig_container", node_id, container.ig_id, "instagram")
        media = self.media.get(node_id)
        return None if media is None else Node("ig_media", node_id, media.ig_id, "instagram")

    def reset(self) -> None:
        """Back to an empty world."""
        with self.lock:
            self.config = InstagramConfig()
            self.containers.reset()
            self.media.clear()
            self.codes.clear()
            self.consents.clear()
            self._scripts.clear()

    # --- the control side ---------------------------------------------------------------------------------------

    @operation()
    def configure(
        self,
        *,
        processing_seconds: float | None = None,
        image_processing_seconds: float | None = None,
        fetch_seconds: float | None = None,
        allow_loopback: bool | None = None,
        check_content: bool | None = None,
        allow_edit_lists: bool | None = None,
        wrong_image_subcode: Literal[2207005, 2207052] | None = None,
        carousel_video_seconds_max: float | None = None,
        children_single_use: bool | None = None,
        expired_subcode: Literal[2207020, 2207008] | None = None,
        republish_answer: RepublishAnswer | None = None,
        hidden_publish_seconds: float | None = None,
        containers_per_day: int | None = None,
        quota_total: int | None = None,
        page_token_reads_fail: bool | None = None,
        me_wrapped: bool | None = None,
        trial_reels: bool | None = None,
        locations_unknown: tuple[str, ...] | None = None,
        redirect_uris: tuple[str, ...] | None = None,
        exchange_shape: Literal["wrapped", "flat"] | None = None,
    ) -> InstagramConfig:
        """Change switches; what is not named stays."""
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        with self.lock:
            for name, value in given.items():
                setattr(self.config, name, value)
            return self.config

    @operation()
    def next_consent(
        self,
        *,
        instagram_id: str | None = None,
        scopes: tuple[str, ...] | None = None,
        deny: bool = False,
        error: str | None = None,
        page_error: str | None = None,
    ) -> int:
        """What happens at the next page of Instagram Login: which account agrees to which scopes (None: all); or cancels.

        Or `error` comes back; or `page_error` is shown and nothing ever comes back. Returns how many are waiting.
        """
        with self.lock:
            if len(self.consents) >= CONSENTS_KEPT_MAX:
                raise ValueError("too many planned consents")
            self.consents.append(InstagramConsent(instagram_id, scopes, deny, error, page_error))
            return len(self.consents)

    @operation()
    def script_next(
        self,
        *,
        times: int = 1,
        ig_id: str | None = None,
        kind: ContainerKind | None = None,
        processing_seconds: float | None = None,
        error_subcode: int | None = None,
    ) -> None:
        """The next `times` containers (of an account, of a kind) take this long, or end in ERROR with this number."""
        if times < 1 or (processing_seconds is not None and processing_seconds < 0):
            raise ValueError("times is at least 1; processing_seconds is not negative")
        with self.lock:
            self._scripts.append(Script(times, ig_id, kind, processing_seconds, error_subcode))

    @operation()
    def add_foreign_post(
        self, ig_id: str, *, kind: ContainerKind = "image", caption: str | None = None, at: datetime | None = None
    ) -> MediaReport:
        """A post made elsewhere, in Instagram's own app or by another tool, at `at` (now unless given)."""
        with self.lock:
            account = self.meta.accounts[ig_id]
            fields = {} if caption is None else {"caption": caption}
            created_at = at if at is not None else self.now()
            media = Media(
                self.meta.new_id("180"), account.instagram_id, kind, created_at, created_at, _shortcode(), fields
            )
            self.media[media.media_id] = media
            return self._report(media)

    @operation(reads=True)
    def list_media(self, ig_id: str | None = None, include_foreign: bool = False) -> list[MediaReport]:
        """What was published through the API (and elsewhere, if asked), oldest first, hidden publishes included."""
        with self.lock:
            return [
                self._report(media)
                for media in self.media.values()
                if media.parent_id is None
                and ig_id in (None, media.ig_id)
                and (include_foreign or media.container_id is not None)
            ]

    @operation(reads=True)
    def count(self, ig_id: str | None = None, caption: str | None = None) -> int:
        """How many posts and stories were published through the API; a carousel is one."""
        return sum(1 for media in self.list_media(ig_id) if caption in (None, media.caption))

    @operation(reads=True)
    def list_containers(self, ig_id: str | None = None) -> list[ContainerReport]:
        """Every container with its present status, oldest first."""
        with self.lock:
            return [
                self._container_report(container)
                for container in self.containers.by_id.values()
                if ig_id in (None, container.ig_id)
            ]

    @operation(reads=True)
    def wait_idle(self, seconds: float = 10.0) -> bool:
        """Wait until no video is being downloaded or judged (in real time); False when that takes longer."""
        return self.containers.wait_idle(seconds)

    @operation(reads=True)
    def double_publishes(self) -> list[DoublePublish]:
        """Publishes of containers that were published already; a test run of a worker ends with none."""
        with self.lock:
            return [*self.containers.double_publishes]

    # --- used by the rules (with the lock held) -----------------------------------------------------------------

    def now(self) -> datetime:
        """Sandbox time."""
        return self.sandbox.clock.now()

    def take_script(self, ig_id: str, kind: ContainerKind) -> Script | None:
        """What the next container meets; every script that fits it counts down alone, first come first served."""
        for script in self._scripts:
            if script.times > 0 and script.ig_id in (None, ig_id) and script.kind in (None, kind):
                script.times -= 1
                return script
        return None

    def quota_usage(self, ig_id: str, since: datetime | None = None) -> int:
        """Posts through the API in the last 24 hours (or since then); a carousel counts once, as its items have a parent."""
        begin = max(since, self.now() - QUOTA_WINDOW) if since is not None else self.now() - QUOTA_WINDOW
        return sum(
            1
            for media in self.media.values()
            if media.ig_id == ig_id
            and media.parent_id is None
            and media.container_id is not None
            and media.created_at > begin
        )

    def add_media(
        self, container: Container, created_at: datetime, shows_at: datetime, children: Sequence[Container]
    ) -> Media:
        """The post that a container becomes, with one medium for each item of a carousel."""
        media = self._media_of(container, created_at, shows_at)
        items = [self._media_of(child, created_at, shows_at) for child in children]
        for item in items:
            item.parent_id = media.media_id
            self.media[item.media_id] = item
        media.children = tuple(item.media_id for item in items)
        self.media[media.media_id] = media
        return media

    def visible(self, ig_id: str, *, stories: bool) -> list[Media]:
        """The account's posts, or its stories, that show by now; newest first."""
        now = self.now()
        found = [
            media
            for media in self.media.values()
            if media.ig_id == ig_id
            and media.parent_id is None
            and (media.kind in STORY_KINDS) == stories
            and now >= media.shows_at
        ]
        # Of those made in one moment the later one is the newer.
        found.reverse()
        return sorted(found, key=lambda media: media.created_at, reverse=True)

    def permalink(self, media: Media) -> str:
        """Where people see it."""
        if media.kind in STORY_KINDS:
            username = self.meta.accounts[media.ig_id].username
            return f"https://www.instagram.com/stories/{username}/{media.media_id}"
        return f"https://www.instagram.com/{'reel' if media.kind == 'reel' else 'p'}/{media.shortcode}/"

    def _media_of(self, container: Container, created_at: datetime, shows_at: datetime) -> Media:
        return Media(
            self.meta.new_id("180"), container.ig_id, container.kind, created_at, shows_at, _shortcode(), container.fields,
            container.media, container.cover, container_id=container.container_id,
        )  # fmt: skip

    def _report(self, media: Media) -> MediaReport:
        return MediaReport(
            media_id=media.media_id, ig_id=media.ig_id, kind=media.kind, media_type=media.media_type,
            media_product_type=media.product_type, caption=media.fields.get("caption"), created_at=media.created_at,
            shows_at=media.shows_at, permalink=self.permalink(media), shortcode=media.shortcode, container_id=media.container_id,
            foreign=media.container_id is None, file=media.file, cover=media.cover,
            children=[self._report(self.media[child]) for child in media.children], comments=[*media.comments],
            fields=dict(media.fields),
        )  # fmt: skip

    def _container_report(self, container: Container) -> ContainerReport:
        return ContainerReport(
            container_id=container.container_id, ig_id=container.ig_id, kind=container.kind,
            status_code=self.containers.status(container), error_subcode=container.error_subcode,
            error_text=container.error_text, created_at=container.created_at, published_at=container.published_at,
            media_id=container.media_id, publish_calls=container.publish_calls, children=container.children,
            resumable=container.resumable, file=container.media, cover=container.cover, fields=dict(container.fields),
        )  # fmt: skip


def _shortcode() -> str:
    return "D" + "".join(secrets.choice(_SHORTCODE) for _ in range(10))
