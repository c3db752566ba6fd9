"""Channels, videos and playlists of the simulated YouTube, and what it reports about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from orbyt_worker.sandbox.faults import Outcome
from orbyt_worker.sandbox.mp4 import Mp4Facts
from orbyt_worker.sandbox.youtube_sessions import Received

LongUploads = Literal["allowed", "eligible", "disallowed", "longUploadsUnspecified"]
ChannelState = Literal["active", "closed", "suspended"]


@dataclass(slots=True)
class Channel:
    """A channel and what it may do."""

    channel_id: str
    title: str
    handle: str
    owner_sub: str
    uploads_playlist_id: str
    created_at: datetime
    long_uploads_status: LongUploads = "allowed"
    upload_limit_per_day: int | None = None
    custom_thumbnails: bool = True
    forbidden_privacy: tuple[str, ...] = ()
    forbidden_licenses: tuple[str, ...] = ()
    forced_privacy: Literal["public", "unlisted", "private"] | None = None
    state: ChannelState = "active"
    thumbnails_at: list[datetime] = field(default_factory=list, repr=False)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A thumbnail that took effect."""

    size_bytes: int
    sha256: str
    content_type: str


@dataclass(slots=True)
class CaptionTrack:
    """A caption track; language and name tell tracks of a video apart."""

    caption_id: str
    language: str
    name: str
    updated_at: datetime
    track_kind: Literal["standard", "ASR", "forced"] = "standard"
    is_draft: bool = False
    status: Literal["serving", "syncing", "failed"] = "serving"
    failure_reason: str | None = None
    size_bytes: int = 0
    sha256: str | None = None


@dataclass(slots=True)
class Video:
    """A video that exists: its last byte was accepted."""

    video_id: str
    channel_id: str
    created_at: datetime
    received: Received
    content_type: str
    file_name: str | None
    snippet: dict[str, Any]
    status: dict[str, Any]
    extra: dict[str, dict[str, Any]]
    notify_subscribers: bool
    privacy: str
    requested_privacy: str
    publish_at: datetime | None
    processed_at: datetime
    outcome: Outcome = "processed"
    reason: str | None = None
    hidden_until: datetime | None = None
    listed_at: datetime | None = None
    public_since: datetime | None = None
    deleted_at: datetime | None = None
    updates: int = 0
    thumbnail: Thumbnail | None = None
    thumbnails_set: int = 0
    captions: list[CaptionTrack] = field(default_factory=list)
    privacy_history: list[tuple[datetime, str]] = field(default_factory=list)

    @property
    def facts(self) -> Mp4Facts:
        return self.received.facts


@dataclass(frozen=True, slots=True)
class VideoReport:
    """What is published, for tests and the demo. Deleted videos stay in the list, with `deleted_at`."""

    video_id: str
    channel_id: str
    title: str
    description: str
    tags: list[str]
    category_id: str | None
    privacy: str
    requested_privacy: str
    publish_at: datetime | None
    public_since: datetime | None
    privacy_history: list[tuple[datetime, str]]
    created_at: datetime
    deleted_at: datetime | None
    upload_status: str
    reason: str | None
    size_bytes: int
    sha256: str
    content_type: str
    file_name: str | None
    boxes_complete: bool
    duration_seconds: float | None
    snippet: dict[str, Any]
    status: dict[str, Any]
    extra: dict[str, dict[str, Any]]
    notify_subscribers: bool
    thumbnail_bytes: int | None
    thumbnail_sha256: str | None
    thumbnails_set: int
    # Ids of the playlists it is in; one that holds it twice is named twice.
    playlists: list[str]
    captions: list[CaptionTrack]
    updates: int
    url: str


@dataclass(frozen=True, slots=True)
class PlaylistItem:
    """One entry of a playlist; the same video may have several."""

    item_id: str
    video_id: str


@dataclass(slots=True)
class Playlist:
    """A playlist that is not the uploads playlist."""

    playlist_id: str
    channel_id: str
    title: str
    items: list[PlaylistItem] = field(default_factory=list)

    @property
    def video_ids(self) -> list[str]:
        return [item.video_id for item in self.items]


@dataclass(slots=True)
class YouTubeConfig:
    """Switches; `configure` changes them."""

    processing_seconds: float = 1.0
    listing_delay_seconds: float = 0.0
    empty_items_seconds: float = 0.0
    thumbnail_delay_seconds: float = 0.0
    session_seconds: float = 6 * 86_400
    expired_session_status: Literal[404, 410] = 404
    session_requires_token: bool = True
    uploads_per_day: int = 100
    units_per_day: int = 10_000
    thumbnails_per_day: int = 100
    playlist_items_max: int = 5000
    refuse_playlist_duplicates: bool = False
    check_content: bool = True
    reject_duplicates: bool = False
    spool_dir: str | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """Use of the two daily buckets of the project since midnight in Los Angeles."""

    day: date
    uploads_used: int
    uploads_limit: int
    units_used: int
    units_limit: int
    resets_at: datetime
