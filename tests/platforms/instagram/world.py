"""One job for one Instagram account of the sandbox, with a clock that both share. One set-up per shape of post, two logins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Kind, MediaFacts, MediaItem
from orbyt_worker.platforms.base import ApiResponse, Http
from orbyt_worker.platforms.graph_api import CallPhase, failure_of
from orbyt_worker.platforms.http import ApiClient
from orbyt_worker.platforms.instagram import Instagram
from orbyt_worker.platforms.instagram.rules import SCOPE_COMMENTS, SCOPES_FACEBOOK, SCOPES_INSTAGRAM
from orbyt_worker.runtime import Runtime
from orbyt_worker.sandbox.instagram_model import ContainerReport, MediaReport
from orbyt_worker.sandbox.server import SandboxServer
from orbyt_worker.sandbox.state import Sandbox
from tests.platforms.contract import DocumentedError
from tests.platforms.driver import MIB, Driver, MemoryMedia, Outcome, make_job, make_post
from tests.platforms.youtube.world import SharedClock, settings_of

SIZE = 2 * MIB + 4321
LOGINS: tuple[Literal["facebook", "instagram"], ...] = ("facebook", "instagram")
# A signature in an address the worker hands over: it must show up nowhere.
SIGNATURE = "planted-signature-of-an-address"


@dataclass(frozen=True, slots=True)
class Setup:
    """A shape of post. `shown_as`: what it is at Instagram."""

    kind: Kind
    media: tuple[Literal["image", "video"], ...]
    caption: str | None = "A caption"
    options: Mapping[str, Any] = field(default_factory=dict)
    shown_as: str = "image"
    alt_text: bool = False
    cover: bool = False


SETUPS = {
    "photo": Setup(Kind.PHOTO, ("image",), options={"first_comment": "First!"}, alt_text=True),
    "carousel": Setup(Kind.CAROUSEL, ("image", "video", "image"), shown_as="carousel"),
    "reel": Setup(Kind.REEL, ("video",), shown_as="reel", cover=True),
    "video": Setup(Kind.VIDEO, ("video",), shown_as="reel"),
    "photo story": Setup(Kind.STORY, ("image",), caption=None, shown_as="story_image"),
    "video story": Setup(Kind.STORY, ("video",), caption=None, shown_as="story_video"),
}


def photo(width: int = 1080, height: int = 1350, **changes: Any) -> MemoryMedia:
    """An image of made-up bytes."""
    facts = MediaFacts("image", "image/jpeg", 300_000, "jpeg", width=width, height=height, etag='"p1"')
    return MemoryMedia(replace(facts, **changes), 300_000)


def vertical(size: int = SIZE, **changes: Any) -> MemoryMedia:
    """A video of made-up bytes that says to be 1080x1920."""
    made = MemoryMedia.video(size)
    return MemoryMedia(replace(made.facts, width=1080, height=1920, **changes), size)


class WaitingClock(SharedClock):
    """Moves the sandbox's time, after letting it finish what it does beside its answers (downloads, looks at files)."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox)
        self._instagram = sandbox.meta.instagram

    def advance(self, seconds: float) -> None:
        assert self._instagram.wait_idle()
        super().advance(seconds)


class InstagramWorld:
    """A fresh sandbox account and a driver for one post; `World` of the contract."""

    def __init__(
        self,
        server: SandboxServer,
        shape: str = "photo",
        login: Literal["facebook", "instagram"] = "facebook",
        *,
        size: int = SIZE,
        in_seconds: float = 0.0,
        media: Sequence[MemoryMedia] | None = None,
        handle: str | None = "",
        platform: Instagram | None = None,
        **post: Any,
    ) -> None:
        server.state.reset()
        self.setup = SETUPS[shape]
        self.sandbox = server.state
        self.meta, self.instagram = self.sandbox.meta, self.sandbox.meta.instagram
        self.meta.configure(require_proof=login == "facebook")
        self.instagram.configure(check_content=False)
        self.clock = WaitingClock(self.sandbox)
        self.account = self.meta.create_instagram(login=login)
        self.config = settings_of(server)
        self.media = list(media or [photo() if each == "image" else vertical(size) for each in self.setup.media])
        self.addresses: list[str] = []
        for index in range(len(self.media)):
            self.sandbox.media.add(f"{index}.jpg", content="jpeg", width=400, height=400)
            self.addresses.append(f"{self.sandbox.media.url(f'{index}.jpg')}?signature={SIGNATURE}")
        self.clients: list[ApiClient] = []
        now = self.clock.now()
        columns: dict[str, Any] = {
            "kind": self.setup.kind,
            "caption": self.setup.caption,
            "options": self.setup.options,
            "media": tuple(map(self._item, self.setup.media)),
            "publish_at": now + timedelta(seconds=in_seconds),
            **post,
        }
        scopes = SCOPES_FACEBOOK if login == "facebook" else SCOPES_INSTAGRAM
        job = make_job(
            now,
            "instagram",
            self.account.instagram_id,
            make_post(now, **columns),
            login=login,
            scopes=(*scopes, SCOPE_COMMENTS[login]),
            handle=self.account.username if handle == "" else handle,
        )
        self.driver = Driver(
            platform or Instagram(),
            self._connect,
            job,
            self.media,
            self.config,
            self.clock,
            renew=lambda: self.account.access_token,
            other_tokens={"user_token": self.account.user_token} if self.account.user_token else {},
            address=lambda index: self.addresses[index],
            cover_address=lambda index: self.addresses[index] if self.setup.cover else None,
        )

    def _item(self, kind: Literal["image", "video"]) -> MediaItem:
        return MediaItem(
            kind,
            f"https://example.com/{kind}",
            alt_text="What is seen" if self.setup.alt_text else None,
            cover_url="https://example.com/cover.jpg" if self.setup.cover else None,
        )

    def _connect(self, runtime: Runtime) -> Http:
        client = ApiClient(runtime, sandbox=True)
        self.clients.append(client)
        return client

    async def aclose(self) -> None:
        assert self.instagram.wait_idle()
        for client in self.clients:
            await client.aclose()

    async def run(self, **options: Any) -> Outcome:
        return await self.driver.run(**options)

    # What is on Instagram ----------------------------------------------------------------------------------------------

    @property
    def posts(self) -> list[MediaReport]:
        return self.instagram.list_media(self.account.instagram_id)

    @property
    def containers(self) -> list[ContainerReport]:
        return self.instagram.list_containers(self.account.instagram_id)

    def calls(self, route: str) -> int:
        return self.sandbox.requests.count(route)

    def problems(self) -> list[str]:
        """What the sandbox had to complain about: a second publish of one container and the like."""
        return [*self.meta.problems(), *(str(each) for each in self.instagram.double_publishes())]

    def fault(self, kind: str, **options: Any) -> None:
        """The next visible call meets this."""
        self.sandbox.faults.add("instagram.media.publish", kind, **options)  # type: ignore[arg-type] # tests name known kinds

    def codes(self) -> list[str]:
        """The code of every failure so far."""
        return [str(each.code) for each in self.driver.failures]

    # The contract's handles --------------------------------------------------------------------------------------------

    @property
    def secrets(self) -> Sequence[str]:
        secret = self.config.meta_app_secret
        assert secret is not None
        tokens = [self.account.access_token, *filter(None, [self.account.user_token])]
        return [*tokens, secret.get_secret_value(), SIGNATURE]

    @property
    def documented_errors(self) -> Sequence[DocumentedError]:
        return DOCUMENTED

    def published(self) -> int:
        return self.instagram.count(self.account.instagram_id)

    def visible_calls(self) -> int:
        return self.calls("instagram.media.publish")

    def break_post(self) -> None:
        post = self.driver.job.post
        broken = replace(post, options={**post.options, "location_id": "not a number"})
        self.driver.job = replace(self.driver.job, post=broken)

    def drop_visible_answer(self) -> None:
        self.fault("drop_after")

    def slow_down(self, seconds: int) -> None:
        self.sandbox.faults.add(
            "instagram.media.create", "throttle", code=80002, minutes=1, headers={"Retry-After": str(seconds)}
        )

    def code_of(self, error: DocumentedError) -> ErrorCode:
        return failure_of("instagram", "test", error.response, self.clock.now(), phase=CallPhase.CONTAINER).code


def answer(code: int, subcode: int | None = None, status: int = 400, **more: Any) -> ApiResponse:
    """An error answer in Graph's envelope."""
    error: dict[str, Any] = {"message": "A message", "type": "OAuthException", "code": code, "fbtrace_id": "A1", **more}
    if subcode is not None:
        error["error_subcode"] = subcode
    return ApiResponse(status, {}, {"error": error})


# "Instagram Platform Error Codes", Graph API "Handle Errors" and "Rate Limits"; what Postiz sees in production (read 2026-09).
DOCUMENTED = [
    DocumentedError(response, code)
    for response, code in (
        (answer(-2, 2207003), ErrorCode.INSTAGRAM_MEDIA_FETCH_SLOW),
        (answer(-2, 2207020), ErrorCode.INSTAGRAM_CONTAINER_EXPIRED),
        (answer(-1, 2207001), ErrorCode.INSTAGRAM_SERVER_ERROR),
        (answer(-1, 2207032), ErrorCode.INSTAGRAM_CONTAINER_NOT_CREATED),
        (answer(-1, 2207053), ErrorCode.INSTAGRAM_UPLOAD_FAILED),
        (answer(1, 2207057), ErrorCode.INSTAGRAM_COVER_OFFSET_INVALID),
        (answer(4), ErrorCode.META_APP_THROTTLED),
        (answer(4, 2207051), ErrorCode.INSTAGRAM_ACTION_BLOCKED),
        (answer(9, 2207042), ErrorCode.INSTAGRAM_PUBLISHING_LIMIT),
        (answer(24, 2207006), ErrorCode.INSTAGRAM_MEDIA_NOT_FOUND),
        (answer(24, 2207008), ErrorCode.INSTAGRAM_CONTAINER_MISSING),
        (answer(25, 2207050), ErrorCode.INSTAGRAM_ACCOUNT_RESTRICTED),
        (answer(100, 2207028), ErrorCode.MEDIA_COUNT),
        (answer(100, 2207040), ErrorCode.INSTAGRAM_TOO_MANY_TAGS),
        (answer(352, 2207026), ErrorCode.MEDIA_CODEC_NOT_SUPPORTED),
        (answer(9004, 2207052), ErrorCode.INSTAGRAM_MEDIA_NOT_FETCHED),
        (answer(9007, 2207027), ErrorCode.INSTAGRAM_CONTAINER_NOT_READY),
        (answer(36000, 2207004), ErrorCode.MEDIA_TOO_LARGE),
        (answer(36001, 2207005), ErrorCode.MEDIA_TYPE_NOT_SUPPORTED),
        (answer(36003, 2207009), ErrorCode.MEDIA_RATIO_NOT_SUPPORTED),
        (answer(36004, 2207010), ErrorCode.CAPTION_TOO_LONG),
        (answer(100, 2299999), ErrorCode.INSTAGRAM_CONTAINER_FAILED),
        (answer(80002), ErrorCode.META_ACCOUNT_THROTTLED),
        (answer(100, 33), ErrorCode.META_OBJECT_UNREADABLE),
        (answer(190, 463), ErrorCode.META_TOKEN_EXPIRED),
        (answer(2, status=500), ErrorCode.META_SERVICE_UNAVAILABLE),
        (ApiResponse(502, {}, None, b"<html>"), ErrorCode.PLATFORM_UNAVAILABLE),
        (ApiResponse(400, {}, ["not", "an", "object"]), ErrorCode.PLATFORM_ERROR_UNMAPPED),
    )
]
