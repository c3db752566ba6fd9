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
    # Which login the grant came from: google, facebook, instagram. Hosts and tokens follow from it.
    login: str = ""
    handle: str | None = None


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
class ImageSpec:
    """What an image has to be before a platform gets it; the relay converts what is not (media/images.py).

    `formats` are names of Pillow; an image of another one becomes the first. It is turned upright, brought to sRGB,
    scaled down to the pixels and saved anew until it has at most `bytes_max`. A ratio (width / height) outside of the
    bounds is refused (media_ratio_not_supported), unless `fit` says to `pad` it with white or to `crop` its middle.
    """

    formats: tuple[str, ...]
    bytes_max: int
    width_max: int
    height_max: int
    ratio_min: float | None = None
    ratio_max: float | None = None
    fit: Literal["pad", "crop"] | None = None


# A ratio is compared as people write it, with two decimals: 1200x628 is 1.91:1.
RATIO_TOLERANCE = 0.005


def ratio_problem(width: int | None, height: int | None, spec: ImageSpec) -> str | None:
    """Why a picture of this size has no shape that `spec` allows ("1600x400 is 4.00:1, allowed …"), or None. Pure.

    None too when the size is not known, and when `spec.fit` makes every shape fit.
    """
    if not width or not height or spec.fit is not None:
        return None
    ratio, low, high = width / height, spec.ratio_min, spec.ratio_max
    if (low is None or ratio >= low - RATIO_TOLERANCE) and (high is None or ratio <= high + RATIO_TOLERANCE):
        return None
    if low is None or high is None:
        bounds = f"at most {high:.2f}:1" if low is None else f"at least {low:.2f}:1"
    else:
        bounds = f"{low:.2f}:1 to {high:.2f}:1"
    return f"{width}x{height} is {ratio:.2f}:1, allowed {bounds}"


@dataclass(frozen=True, slots=True)
class MediaSpec:
    """In which form a platform wants the media of a post. Pure: the same for the same post.

    `rendition`: which file of a Mux video, "highest" or a name such as "1080p". `images` None: as they are.
    `covers`: what a `cover_url` has to become; None: the platform takes none.
    """

    rendition: str = "highest"
    images: ImageSpec | None = None
    covers: ImageSpec | None = None


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
