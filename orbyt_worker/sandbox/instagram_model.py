"""Containers, published media and comments of the simulated Instagram, its switches, and what it reports about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

ContainerKind = Literal["image", "reel", "story_image", "story_video", "carousel_image", "carousel_video", "carousel"]
StatusCode = Literal["IN_PROGRESS", "FINISHED", "PUBLISHED", "ERROR", "EXPIRED"]
RepublishAnswer = Literal["error_24", "error_9007", "same_id"]

VIDEO_KINDS: frozenset[str] = frozenset({"reel", "story_video", "carousel_video"})
CHILD_KINDS: frozenset[str] = frozenset({"carousel_image", "carousel_video"})
STORY_KINDS: frozenset[str] = frozenset({"story_image", "story_video"})

CONTAINER_SECONDS = 24 * 3600
STORY_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file as it arrived. `address` is without its query; an upload has none."""

    sha256: str
    size_bytes: int
    source: Literal["url", "upload"]
    address: str | None = None
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None


@dataclass(slots=True)
class Container:
    """One POST /{ig}/media that was accepted. Its status is computed from these times whenever somebody looks."""

    container_id: str
    ig_id: str
    kind: ContainerKind
    created_at: datetime
    # What the client said about it, parsed; media addresses are not part of it.
    fields: dict[str, Any]
    children: tuple[str, ...] = ()
    resumable: bool = False
    media: MediaFile | None = None
    cover: MediaFile | None = None
    # Processing ends then; None while the bytes are not there yet.
    ready_at: datetime | None = None
    processing_seconds: float = 0.0
    # What `status` tells once processing ended: a number such as 2207026.
    error_subcode: int | None = None
    error_text: str = ""
    scripted_error: int | None = None
    media_id: str | None = None
    published_at: datetime | None = None
    # Until then a publish that happened does not show (`hidden_publish_seconds`).
    shows_at: datetime | None = None
    publish_calls: int = 0
    used_in: str | None = None

    @property
    def is_video(self) -> bool:
        return self.kind in VIDEO_KINDS


@dataclass(slots=True)
class Comment:
    comment_id: str
    text: str
    username: str
    created_at: datetime


@dataclass(slots=True)
class Media:
    """A published post or story, or one item of a carousel (`parent_id`)."""

    media_id: str
    ig_id: str
    kind: ContainerKind
    created_at: datetime
    # Reads do not find it before.
    shows_at: datetime
    shortcode: str
    fields: dict[str, Any]
    file: MediaFile | None = None
    cover: MediaFile | None = None
    children: tuple[str, ...] = ()
    parent_id: str | None = None
    # None: made elsewhere, in Instagram's own app or by another tool.
    container_id: str | None = None
    comments: list[Comment] = field(default_factory=list)

    @property
    def media_type(self) -> str:
        if self.kind == "carousel":
            return "CAROUSEL_ALBUM"
        return "VIDEO" if self.kind in VIDEO_KINDS else "IMAGE"

    @property
    def product_type(self) -> str:
        if self.kind in STORY_KINDS:
            return "STORY"
        return "REELS" if self.kind == "reel" else "FEED"


@dataclass(frozen=True, slots=True)
class MediaReport:
    """What is published, for tests and the demo. `children` are the items of a carousel, in their order."""

    media_id: str
    ig_id: str
    kind: ContainerKind
    media_type: str
    media_product_type: str
    caption: str | None
    created_at: datetime
    shows_at: datetime
    permalink: str
    shortcode: str
    container_id: str | None
    foreign: bool
    file: MediaFile | None
    cover: MediaFile | None
    children: list[MediaReport]
    comments: list[Comment]
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ContainerReport:
    """What became of a container."""

    container_id: str
    ig_id: str
    kind: ContainerKind
    status_code: StatusCode
    error_subcode: int | None
    error_text: str
    created_at: datetime
    published_at: datetime | None
    media_id: str | None
    publish_calls: int
    children: tuple[str, ...]
    resumable: bool
    file: MediaFile | None
    cover: MediaFile | None
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DoublePublish:
    """A second `media_publish` of a container that was published: the mistake this simulator exists to find."""

    container_id: str
    media_id: str
    ig_id: str
    at: datetime


@dataclass(slots=True)
class InstagramConfig:
    """Switches; `configure` changes them."""

    processing_seconds: float = 0.3
    image_processing_seconds: float = 0.2
    # How long one download may take.
    fetch_seconds: float = 20.0
    allow_loopback: bool = True
    check_content: bool = True
    allow_edit_lists: bool = False
    wrong_image_subcode: Literal[2207005, 2207052] = 2207005
    carousel_video_seconds_max: float = 60.0
    # A child that an unpublished carousel was made of already; undocumented.
    children_single_use: bool = False
    expired_subcode: Literal[2207020, 2207008] = 2207020
    republish_answer: RepublishAnswer = "error_24"
    hidden_publish_seconds: float = 0.0
    containers_per_day: int = 400
    quota_total: int = 50
    page_token_reads_fail: bool = False
    me_wrapped: bool = False
    trial_reels: bool = True
    locations_unknown: tuple[str, ...] = ()
    # Instagram Login.
    redirect_uris: tuple[str, ...] = ()
    exchange_shape: Literal["wrapped", "flat"] = "wrapped"


@dataclass(slots=True)
class Script:
    """What the next containers meet instead of the rule."""

    times: int
    ig_id: str | None
    kind: ContainerKind | None
    processing_seconds: float | None
    error_subcode: int | None
