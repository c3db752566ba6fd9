"""One job for one channel of the sandbox's YouTube, with a clock that both share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import MediaFacts
from orbyt_worker.platforms.base import ApiResponse, Http
from orbyt_worker.platforms.http import ApiClient
from orbyt_worker.platforms.youtube import YouTube
from orbyt_worker.platforms.youtube.errors import failure_of
from orbyt_worker.runtime import Runtime
from orbyt_worker.sandbox.server import SandboxServer
from orbyt_worker.sandbox.state import Sandbox
from orbyt_worker.sandbox.youtube import VideoReport
from orbyt_worker.settings import Settings
from tests.fix_clock import FakeClock
from tests.platforms.contract import DocumentedError
from tests.platforms.driver import MIB, Driver, MemoryMedia, Outcome, make_job, make_post

# Two whole chunks of the uploader, a third part, and a last chunk of a few bytes.
SIZE = 16 * MIB + 3 * 256 * 1024 + 4321


class SharedClock(FakeClock):
    """Moves the sandbox's time along with its own."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox.clock.freeze())
        self._sandbox = sandbox

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._sandbox.clock.set(self.now())


@dataclass(slots=True)
class BytesMedia(MemoryMedia):
    """A reader of real bytes, where the sandbox looks into them: an image, a video with a shape."""

    content: bytes = field(default=b"", repr=False)

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        assert 0 <= start < start + length <= self.size_bytes
        self.given.append((start, length))
        yield self.content[start : start + length]


def image(content: bytes, content_type: str = "image/jpeg") -> BytesMedia:
    """A cover as the worker has prepared it."""
    return BytesMedia(MediaFacts("image", content_type, len(content)), len(content), content=content)


class YouTubeWorld:
    """A fresh sandbox account and a driver for one post; `World` of the contract."""

    def __init__(
        self,
        server: SandboxServer,
        *,
        size: int = SIZE,
        seconds: float = 12.0,
        in_seconds: float = 0.0,
        platform: YouTube | None = None,
        account: dict[str, Any] | None = None,
        video: BytesMedia | None = None,
        cover: BytesMedia | None = None,
        documents: Mapping[str, bytes] | None = None,
        **post: Any,
    ) -> None:
        server.state.reset()
        self.sandbox = server.state
        self.sandbox.youtube.configure(check_content=False)
        self.clock = SharedClock(self.sandbox)
        self.account = self.sandbox.google.create_account(**(account or {}))
        self.config = settings_of(server)
        self.media = video or MemoryMedia.video(size, seconds=seconds)
        self.clients: list[ApiClient] = []
        self.tokens: list[str] = []
        now = self.clock.now()
        row = make_post(now, publish_at=now + timedelta(seconds=in_seconds), **post)
        channel_id = self.account.channel_id or "none"
        job = make_job(now, "youtube", channel_id, row, login="google", scopes=self.account.scopes)
        self.driver = Driver(
            platform or YouTube(),
            self._connect,
            job,
            [self.media],
            self.config,
            self.clock,
            renew=self._renew,
            covers={0: cover} if cover else None,
            documents=documents,
        )

    def _connect(self, runtime: Runtime) -> Http:
        client = ApiClient(runtime, sandbox=True)
        self.clients.append(client)
        return client

    def _renew(self) -> str:
        self.tokens.append(self.sandbox.google.issue_access_token(self.account.refresh_token))
        return self.tokens[-1]

    async def aclose(self) -> None:
        for client in self.clients:
            await client.aclose()

    async def run(self, **options: Any) -> Outcome:
        return await self.driver.run(**options)

    # What is on YouTube ------------------------------------------------------------------------------------------------

    @property
    def videos(self) -> list[VideoReport]:
        return self.sandbox.youtube.list_videos()

    def calls(self, route: str) -> int:
        return self.sandbox.requests.count(route)

    def problems(self) -> list[str]:
        """What the sandbox had to complain about the client's requests, over all sessions."""
        return [problem for report in self.sandbox.youtube.list_uploads() for problem in report.problems]

    # The contract's handles --------------------------------------------------------------------------------------------

    @property
    def secrets(self) -> Sequence[str]:
        return [*self.tokens, self.account.refresh_token]

    @property
    def documented_errors(self) -> Sequence[DocumentedError]:
        return DOCUMENTED

    def published(self) -> int:
        return self.sandbox.youtube.count()

    def visible_calls(self) -> int:
        return self.calls("youtube.upload.final")

    def break_post(self) -> None:
        self.driver.job = replace(self.driver.job, post=replace(self.driver.job.post, title=" "))

    def drop_visible_answer(self) -> None:
        self.sandbox.faults.add("youtube.upload.final", "drop_after")

    def slow_down(self, seconds: int) -> None:
        self.sandbox.faults.add(
            "youtube.videos.insert",
            "status",
            status=429,
            reason="rateLimitExceeded",
            headers={"Retry-After": str(seconds)},
        )

    def code_of(self, error: DocumentedError) -> ErrorCode:
        return failure_of("test", error.response, self.clock.now()).code


def settings_of(server: SandboxServer) -> Settings:
    """Settings of a worker that talks to the sandbox."""
    values: dict[str, Any] = {
        name.removeprefix("ORBYT_").lower(): value for name, value in server.settings_env().items()
    }
    return Settings(**{"database_url": "postgresql://nobody@127.0.0.1/none", **values})


def answer(
    status: int, reason: str | None = None, message: str = "A message", domain: str = "youtube.video"
) -> ApiResponse:
    """An error answer in Google's envelope; without a reason, one that lacks `errors`."""
    error: dict[str, Any] = {"code": status, "message": message}
    if reason is not None:
        error["errors"] = [{"message": message, "domain": domain, "reason": reason}]
    return ApiResponse(status, {}, {"error": error})


PER_DAY = "Quota exceeded for quota metric 'Video Uploads' and limit 'Video Uploads per day' of service 'youtube.googleapis.com'."
RPC_DAILY = {
    "error": {
        "code": 429,
        "message": "Quota exceeded.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "RATE_LIMIT_EXCEEDED",
                "metadata": {"quota_limit": "VideoUploadsPerDayPerProject"},
            }
        ],
    }
}

# YouTube Data API, "Errors", "Core errors" and the method pages; read 2026-11.
DOCUMENTED = [
    DocumentedError(response, code)
    for response, code in (
        (answer(401, "authError"), ErrorCode.PLATFORM_AUTH_REJECTED),
        (answer(401, "youtubeSignupRequired", "Unauthorized", "youtube.header"), ErrorCode.YOUTUBE_NO_CHANNEL),
        (answer(403, "insufficientPermissions"), ErrorCode.YOUTUBE_SCOPE_MISSING),
        (answer(403, "forbidden"), ErrorCode.YOUTUBE_FORBIDDEN),
        (answer(403, "authenticatedUserAccountClosed"), ErrorCode.YOUTUBE_ACCOUNT_CLOSED),
        (answer(403, "authenticatedUserAccountSuspended"), ErrorCode.YOUTUBE_ACCOUNT_SUSPENDED),
        (
            answer(403, "quotaExceeded", 'You have exceeded your <a href="/">quota</a>.', "youtube.quota"),
            ErrorCode.YOUTUBE_QUOTA_EXHAUSTED,
        ),
        (answer(403, "dailyLimitExceeded", domain="usageLimits"), ErrorCode.YOUTUBE_QUOTA_EXHAUSTED),
        (answer(429, "rateLimitExceeded", PER_DAY, "global"), ErrorCode.YOUTUBE_UPLOADS_PER_DAY_EXHAUSTED),
        (ApiResponse(429, {}, RPC_DAILY), ErrorCode.YOUTUBE_UPLOADS_PER_DAY_EXHAUSTED),
        (answer(429, "rateLimitExceeded", "Queries per minute", "global"), ErrorCode.YOUTUBE_RATE_LIMITED),
        (answer(403, "rateLimitExceeded"), ErrorCode.YOUTUBE_RATE_LIMITED),
        (answer(403, "userRateLimitExceeded"), ErrorCode.YOUTUBE_RATE_LIMITED),
        (answer(400, "uploadLimitExceeded"), ErrorCode.YOUTUBE_CHANNEL_UPLOAD_LIMIT),
        (answer(403, "forbidden", domain="youtube.thumbnail"), ErrorCode.YOUTUBE_THUMBNAIL_NOT_ALLOWED),
        (answer(429, "uploadRateLimitExceeded", domain="youtube.thumbnail"), ErrorCode.YOUTUBE_THUMBNAIL_RATE_LIMITED),
        (answer(400, "invalidImage", domain="youtube.thumbnail"), ErrorCode.MEDIA_UNREADABLE),
        (answer(404, "playlistNotFound", domain="youtube.playlistItem"), ErrorCode.YOUTUBE_PLAYLIST_NOT_FOUND),
        (answer(403, "playlistContainsMaximumNumberOfVideos"), ErrorCode.YOUTUBE_PLAYLIST_FULL),
        (answer(403, "playlistItemsNotAccessible"), ErrorCode.YOUTUBE_PLAYLIST_REFUSED),
        (answer(400, "playlistOperationUnsupported"), ErrorCode.YOUTUBE_PLAYLIST_REFUSED),
        (answer(400, "invalidMetadata", domain="youtube.caption"), ErrorCode.YOUTUBE_CAPTIONS_REJECTED),
        (answer(400, "nameTooLong", domain="youtube.caption"), ErrorCode.YOUTUBE_CAPTIONS_REJECTED),
        (answer(400, "contentRequired", domain="youtube.caption"), ErrorCode.YOUTUBE_CAPTIONS_REJECTED),
        (answer(403, "accessNotConfigured"), ErrorCode.YOUTUBE_API_NOT_ENABLED),
        (answer(400, "invalidTitle"), ErrorCode.TITLE_INVALID),
        (answer(400, "invalidDescription"), ErrorCode.CAPTION_INVALID),
        (answer(400, "invalidTags"), ErrorCode.TAGS_INVALID),
        (answer(400, "invalidCategoryId"), ErrorCode.CATEGORY_INVALID),
        (answer(403, "forbiddenPrivacySetting"), ErrorCode.YOUTUBE_PRIVACY_REFUSED),
        (answer(403, "forbiddenLicenseSetting"), ErrorCode.YOUTUBE_LICENSE_REFUSED),
        (answer(409, "alreadyExists"), ErrorCode.YOUTUBE_UPLOAD_CONFLICT),
        (answer(503, "backendError"), ErrorCode.PLATFORM_UNAVAILABLE),
        (answer(500), ErrorCode.PLATFORM_UNAVAILABLE),
        (ApiResponse(502, {}, None, b"<html>"), ErrorCode.PLATFORM_UNAVAILABLE),
        (answer(418, "teapot"), ErrorCode.PLATFORM_ERROR_UNMAPPED),
        (ApiResponse(400, {}, ["not", "an", "object"]), ErrorCode.PLATFORM_ERROR_UNMAPPED),
    )
]
