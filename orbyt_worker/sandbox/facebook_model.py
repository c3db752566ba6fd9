"""Photos, videos, posts, stories and comments of Pages, and what the simulator reports about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from orbyt_worker.sandbox.meta_media import ImageFacts, StoredBytes, VideoFacts
from orbyt_worker.sandbox.meta_model import Token

VideoKind = Literal["video", "reel", "story"]
VideoState = Literal["PUBLISHED", "DRAFT", "SCHEDULED"]
PostKind = Literal["text", "link", "photo", "photos", "video", "reel", "photo_story", "video_story"]
Phase = Literal["processing", "publishing"]


@dataclass(slots=True)
class Photo:
    """A picture on a Page. Unpublished ones end after a day unless something uses them."""

    photo_id: str
    page_id: str
    sha256: str
    size_bytes: int
    facts: ImageFacts
    published: bool
    temporary: bool
    caption: str | None
    alt_text: str | None
    created_at: datetime
    expires_at: datetime | None
    post_id: str | None = None
    story_id: str | None = None


@dataclass(slots=True)
class Video:
    """A feed video, reel or video story, from the start of its upload on; also what rupload sends bytes to."""

    video_id: str
    page_id: str
    kind: VideoKind
    created_at: datetime
    session_id: str | None = None  # of the chunked protocol
    stored: StoredBytes = field(default_factory=StoredBytes, repr=False)
    size_bytes: int | None = None
    uploaded: bool = False
    cancelled: bool = False
    finished_at: datetime | None = None
    state: VideoState = "PUBLISHED"
    scheduled_at: datetime | None = None
    title: str | None = None
    description: str | None = None
    facts: VideoFacts | None = None
    error: tuple[Phase, int, str] | None = None
    processed_at: datetime | None = None
    published_at: datetime | None = None
    hidden_until: datetime | None = None
    post_id: str | None = None
    posted: bool = False
    thumbnails: list[tuple[str, int]] = field(default_factory=list)

    def allows(self, token: Token) -> bool:
        """The Page's own token, nothing else."""
        return token.kind == "PAGE" and token.page_id == self.page_id

    def closed(self) -> str | None:
        """One upload for one video."""
        if self.uploaded or self.finished_at is not None:
            return "finished"
        return "cancelled" if self.cancelled else None

    def finish(self) -> None:
        """All bytes are there."""
        self.uploaded = True

    def fail(self, reason: str) -> None:
        """The upload is given up."""
        self.cancelled = True


@dataclass(slots=True)
class Comment:
    """A comment by the Page itself."""

    comment_id: str
    target_id: str
    page_id: str
    message: str
    created_at: datetime


@dataclass(slots=True)
class Post:
    """What is on the Page, or will be (`publish_at`). `application_id` None: made without any app."""

    post_id: str
    page_id: str
    kind: PostKind
    message: str | None
    created_at: datetime
    application_id: str | None
    link: str | None = None
    photo_ids: list[str] = field(default_factory=list)
    video_id: str | None = None
    published: bool = True
    publish_at: datetime | None = None


@dataclass(slots=True)
class Story:
    """A story; shown for a day."""

    post_id: str
    page_id: str
    media_type: Literal["photo", "video"]
    media_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class MediaReport:
    """A file of a post, for comparison with what the client meant to send."""

    media_id: str
    sha256: str
    size_bytes: int
    alt_text: str | None = None


@dataclass(frozen=True, slots=True)
class PostReport:
    """Something published (or scheduled) on a Page, for tests and the demo."""

    post_id: str
    page_id: str
    kind: PostKind
    message: str | None
    title: str | None
    link: str | None
    media: list[MediaReport]
    published: bool
    created_at: datetime
    publish_at: datetime | None
    application_id: str | None
    comments: list[str]
    thumbnails: list[tuple[str, int]]
    url: str


@dataclass(frozen=True, slots=True)
class VideoReport:
    """A video and how far it came."""

    video_id: str
    page_id: str
    kind: VideoKind
    announced_bytes: int | None
    stored_bytes: int
    sha256: str
    uploaded: bool
    finished: bool
    state: VideoState
    published: bool
    error_code: int | None
    post_id: str | None
    created_at: datetime
