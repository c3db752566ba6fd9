"""The nouns of Orbyt as frozen dataclasses. No behaviour beyond small derived properties, no I/O.

Times are aware UTC datetimes of the *database* clock; sizes are bytes; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID


class Kind(StrEnum):
    """`orbyt.post_kind`: what sort of post the customer wants."""

    TEXT = "text"
    PHOTO = "photo"
    CAROUSEL = "carousel"
    VIDEO = "video"
    REEL = "reel"
    STORY = "story"


class Stage(StrEnum):
    """`orbyt.job_stage`: what the user is shown while a job is under way."""

    WAITING = "waiting"
    PREPARING = "preparing"
    DOWNLOADING = "downloading"
    UPLOADING = "uploading"
    PROCESSING = "processing"
    PUBLISHING = "publishing"
    VERIFYING = "verifying"


class Phase(StrEnum):
    """Which lane of an account a job stands in.

    `inspect` is the first look at the media of a post scheduled for later; `background` is work nobody can see (download, upload, processing, verification); `publish` is the one
    visible call. They have slots of their own, so a long upload never delays a post that is due.
    """

    INSPECT = "inspect"
    BACKGROUND = "background"
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class MediaItem:
    """One entry of `publish_jobs.media`, already validated for shape."""

    type: Literal["image", "video"]
    url: str = field(repr=False)  # may carry a signature in its query: never printed
    alt_text: str | None = None
    cover_url: str | None = field(default=None, repr=False)
    cover_offset_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A connected account, without secrets."""

    account_id: UUID
    user_id: UUID
    platform: str
    platform_account_id: str
    name: str
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Post:
    """What the customer wants said: the content columns of a job row."""

    kind: Kind
    title: str | None
    caption: str | None
    media: tuple[MediaItem, ...]
    options: Mapping[str, Any]
    publish_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """One claimed attempt of a job. Every write back names (job_id, attempt)."""

    job_id: UUID
    attempt: int
    failures: int
    phase: Phase
    account: Account
    post: Post
    created_at: datetime
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What a probe found out about one media file, before its bytes are moved.

    Everything may be None when the container does not say; rules treat None as "not known", not as "fine".
    """

    type: Literal["image", "video"]
    content_type: str
    size_bytes: int | None
    container: str | None = None
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    video_codec: str | None = None
    audio_codec: str | None = None
    moov_at_front: bool | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class PublishResult:
    """Where the post can be seen. `platform_post_id` is the platform's own id."""

    platform_post_id: str
    permalink: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a post cannot be published as it is. `field` is a path the UI can mark."""

    code: str
    field: str
    detail: str


class Snooze(Exception):
    """Not now: put the job back and come again in `seconds`. Costs no attempt and no slot.

    `code` is a catalog code when the user should be told why (quota, not ready yet), else None.
    """

    def __init__(self, seconds: float, *, stage: Stage, code: str | None = None, detail: str = "") -> None:
        super().__init__(f"snooze {seconds:.0f}s")
        self.seconds = seconds
        self.stage = stage
        self.code = code
        self.detail = detail
