"""One job for one Page of the sandbox's Facebook, with a clock that both share. One set-up per shape of post."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from PIL import Image

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Kind, MediaFacts, MediaItem
from orbyt_worker.platforms.base import ApiResponse, Http
from orbyt_worker.platforms.facebook import Facebook
from orbyt_worker.platforms.graph_api import failure_of
from orbyt_worker.platforms.http import ApiClient
from orbyt_worker.runtime import Runtime
from orbyt_worker.sandbox.facebook_model import PostReport
from orbyt_worker.sandbox.server import SandboxServer
from tests.platforms.contract import DocumentedError
from tests.platforms.driver import MIB, Driver, MemoryMedia, Outcome, make_job, make_post
from tests.platforms.youtube.world import SharedClock, settings_of

# Three whole chunks of the sandbox, and a part of one.
SIZE = 3 * MIB + 4321
PHOTO_BYTES = 300_000


@dataclass(frozen=True, slots=True)
class Setup:
    """A shape of post: what goes in, and by which calls it comes out."""

    kind: Kind
    media: tuple[str, ...] = ()  # types
    options: Mapping[str, Any] = field(default_factory=dict)
    caption: str | None = "A caption"
    visible: str = "facebook.feed"
    first_hidden: str = "facebook.photos"
    cover: bool = False
    saves_secrets: bool = False
    shown_as: str = "text"


SETUPS = {
    "text": Setup(Kind.TEXT, first_hidden="facebook.feed"),
    "link": Setup(
        Kind.TEXT,
        options={"link": "https://example.com/page"},
        caption=None,
        first_hidden="facebook.feed",
        shown_as="link",
    ),
    "text with a first comment": Setup(Kind.TEXT, options={"first_comment": "First!"}, first_hidden="facebook.feed"),
    "photo": Setup(Kind.PHOTO, ("image",), shown_as="photo"),
    "carousel": Setup(Kind.CAROUSEL, ("image", "image", "image"), shown_as="photos"),
    "video": Setup(
        Kind.VIDEO,
        ("video",),
        visible="facebook.videos.finish",
        first_hidden="facebook.videos.start",
        shown_as="video",
    ),
    "reel": Setup(
        Kind.REEL,
        ("video",),
        visible="facebook.reels.finish",
        first_hidden="facebook.reels.start",
        cover=True,
        saves_secrets=True,
        shown_as="reel",
    ),
    "photo story": Setup(
        Kind.STORY, ("image",), caption=None, visible="facebook.photo_stories", shown_as="photo_story"
    ),
    "video story": Setup(
        Kind.STORY,
        ("video",),
        caption=None,
        visible="facebook.video_stories.finish",
        first_hidden="facebook.video_stories.start",
        saves_secrets=True,
        shown_as="video_story",
    ),
}


def photo(size: int = PHOTO_BYTES, *, etag: str = '"p1"', content_type: str = "image/jpeg") -> MemoryMedia:
    """An image of made-up bytes."""
    facts = MediaFacts(
        "image", content_type, size, content_type.removeprefix("image/"), width=1080, height=1350, etag=etag
    )
    return MemoryMedia(facts, size)


def vertical(size: int = SIZE, *, seconds: float = 12.0, etag: str = '"v1"') -> MemoryMedia:
    """A video of made-up bytes that says to be 1080x1920."""
    made = MemoryMedia.video(size, seconds=seconds, etag=etag)
    return MemoryMedia(replace(made.facts, width=1080, height=1920), size)


@dataclass(slots=True)
class Picture:
    """A `MediaReader` of a real JPEG: the sandbox looks at covers."""

    facts: MediaFacts
    data: bytes = field(repr=False)

    @classmethod
    def jpeg(cls, width: int = 540, height: int = 960) -> Picture:
        stored = io.BytesIO()
        Image.new("RGB", (width, height), "teal").save(stored, "JPEG")
        facts = MediaFacts("image", "image/jpeg", len(stored.getvalue()), "jpeg", width=width, height=height)
        return cls(facts, stored.getvalue())

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        yield self.data[start : start + length]


class FacebookWorld:
    """A fresh sandbox Page and a driver for one post; `World` of the contract."""

    def __init__(
        self,
        server: SandboxServer,
        shape: str = "text",
        *,
        size: int = SIZE,
        in_seconds: float = 0.0,
        platform: Facebook | None = None,
        **post: Any,
    ) -> None:
        server.state.reset()
        self.setup = SETUPS[shape]
        self.sandbox = server.state
        self.meta, self.facebook = self.sandbox.meta, self.sandbox.meta.facebook
        self.meta.configure(check_content=False, require_proof=True)
        self.clock = SharedClock(self.sandbox)
        self.page = self.meta.create_page()
        self.config = settings_of(server)
        self.media = [photo() if each == "image" else vertical(size) for each in self.setup.media]
        self.clients: list[ApiClient] = []
        now = self.clock.now()
        items = tuple(
            MediaItem(
                each,  # type: ignore[arg-type] # one of the two literals
                f"https://example.com/{index}",
                alt_text=f"Picture {index}" if each == "image" else None,
                cover_url="https://example.com/cover.jpg" if self.setup.cover else None,
            )
            for index, each in enumerate(self.setup.media)
        )
        columns = {
            "kind": self.setup.kind,
            "caption": self.setup.caption,
            "options": self.setup.options,
            "media": items,
            "publish_at": now + timedelta(seconds=in_seconds),
            **post,
        }
        job = make_job(
            now,
            "facebook",
            self.page.page_id,
            make_post(now, **columns),
            login="facebook",
            scopes=("pages_show_list", "pages_read_engagement", "pages_manage_posts"),
        )
        self.driver = Driver(
            platform or Facebook(),
            self._connect,
            job,
            self.media,
            self.config,
            self.clock,
            renew=lambda: self.page.page_token,
            other_tokens={"user_token": self.page.user_token},
            covers={0: Picture.jpeg()} if self.setup.cover else {},  # type: ignore[dict-item] # a reader as well
        )

    def _connect(self, runtime: Runtime) -> Http:
        client = ApiClient(runtime, sandbox=True)
        self.clients.append(client)
        return client

    async def aclose(self) -> None:
        for client in self.clients:
            await client.aclose()

    async def run(self, **options: Any) -> Outcome:
        return await self.driver.run(**options)

    # What is on the Page -----------------------------------------------------------------------------------------------

    @property
    def posts(self) -> list[PostReport]:
        return self.facebook.published(self.page.page_id)

    def calls(self, route: str) -> int:
        return self.sandbox.requests.count(route)

    def problems(self) -> list[str]:
        """What the sandbox had to complain about: a second publish of one handle and the like."""
        return [*self.meta.problems(), *(str(each) for each in self.facebook.duplicates())]

    def fault(self, kind: str, **options: Any) -> None:
        """The next visible call meets this."""
        self.sandbox.faults.add(self.setup.visible, kind, **options)  # type: ignore[arg-type] # tests name known kinds

    # The contract's handles --------------------------------------------------------------------------------------------

    @property
    def secrets(self) -> Sequence[str]:
        secret = self.config.meta_app_secret
        assert secret is not None
        return [self.page.page_token, self.page.user_token, secret.get_secret_value()]

    @property
    def documented_errors(self) -> Sequence[DocumentedError]:
        return DOCUMENTED

    def published(self) -> int:
        # A finished video comes out by itself a moment later.
        self.clock.advance(5)
        return self.facebook.count(self.page.page_id)

    def visible_calls(self) -> int:
        return self.calls(self.setup.visible)

    def break_post(self) -> None:
        post = self.driver.job.post
        broken = replace(post, options={**post.options, "link": "not an address"})
        self.driver.job = replace(self.driver.job, post=broken)

    def drop_visible_answer(self) -> None:
        self.fault("drop_after")

    def slow_down(self, seconds: int) -> None:
        self.sandbox.faults.add(
            self.setup.first_hidden, "throttle", code=32, minutes=1, headers={"Retry-After": str(seconds)}
        )

    def code_of(self, error: DocumentedError) -> ErrorCode:
        return failure_of("facebook", "test", error.response, self.clock.now()).code


def answer(code: int, subcode: int | None = None, status: int = 400, **more: Any) -> ApiResponse:
    """An error answer in Graph's envelope."""
    error: dict[str, Any] = {"message": "A message", "type": "OAuthException", "code": code, "fbtrace_id": "A1", **more}
    if subcode is not None:
        error["error_subcode"] = subcode
    return ApiResponse(status, {}, {"error": error})


# Graph API "Handle Errors", "Rate Limits"; Video API "Error Codes"; what Postiz sees in production (facts of 2026-09).
DOCUMENTED = [
    DocumentedError(response, code)
    for response, code in (
        (answer(1), ErrorCode.META_ERROR_TRANSIENT),
        (answer(2, status=500), ErrorCode.META_SERVICE_UNAVAILABLE),
        (answer(4), ErrorCode.META_APP_THROTTLED),
        (answer(10), ErrorCode.META_PERMISSION_MISSING),
        (answer(32), ErrorCode.META_ACCOUNT_THROTTLED),
        (answer(80001), ErrorCode.META_ACCOUNT_THROTTLED),
        (answer(613), ErrorCode.META_ACCOUNT_THROTTLED),
        (answer(100), ErrorCode.META_PARAMETER_INVALID),
        (answer(100, 33), ErrorCode.META_OBJECT_UNREADABLE),
        (answer(100, type="GraphMethodException"), ErrorCode.META_APP_SIGNATURE_REFUSED),
        (answer(190), ErrorCode.META_TOKEN_INVALID),
        (answer(190, 460, 401), ErrorCode.META_SESSION_ENDED),
        (answer(190, 492), ErrorCode.META_ROLE_LOST),
        (answer(200), ErrorCode.META_PERMISSION_MISSING),
        (answer(210), ErrorCode.META_TOKEN_WRONG_KIND),
        (answer(368), ErrorCode.META_BLOCKED),
        (answer(506), ErrorCode.META_DUPLICATE_POST),
        (answer(100, 1366046), ErrorCode.FACEBOOK_FILE_REFUSED),
        (answer(100, 1366051), ErrorCode.META_DUPLICATE_POST),
        (answer(1, 1390008), ErrorCode.FACEBOOK_POSTING_TOO_FAST),
        (answer(1, 1404078), ErrorCode.FACEBOOK_AUTHORIZATION_REQUIRED),
        (answer(100, 1609008), ErrorCode.FACEBOOK_LINK_REFUSED),
        (answer(6000), ErrorCode.META_UPLOAD_FAILED),
        (answer(6001, 1363037), ErrorCode.META_UPLOAD_OFFSET_WRONG),
        (answer(382, 1363022), ErrorCode.MEDIA_TOO_SMALL),
        (
            ApiResponse(400, {}, {"debug_info": {"retriable": True, "type": "OffsetInvalidError", "message": ""}}),
            ErrorCode.META_UPLOAD_OFFSET_WRONG,
        ),
        (ApiResponse(502, {}, None, b"<html>"), ErrorCode.PLATFORM_UNAVAILABLE),
        (ApiResponse(400, {}, ["not", "an", "object"]), ErrorCode.PLATFORM_ERROR_UNMAPPED),
    )
]
