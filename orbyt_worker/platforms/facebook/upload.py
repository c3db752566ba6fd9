"""An upload of a video as it is journalled, and what both of Facebook's upload protocols share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Post, Snooze, Stage
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.facebook.check import check

# Interruptions in a row without one new byte stored; then the retry rule of the catalog takes over. (Meta's SDK allows
# one retry per 10 MB, at least two: facebook-business, video_uploader.py.)
STALLS_MAX = 4
STALL_SLEEP_SECONDS_MAX = 16.0
RETRY_AFTER_IN_STEP_SECONDS_MAX = 30.0
# Unpublished photos live for about 24 hours (Graph API, Page Photos). For how long Facebook keeps an unfinished video is
# not documented; what is older than this is not relied upon.
HANDLE_AGE_MAX = timedelta(hours=23)


class UploadGone(Exception):
    """Facebook does not know the upload any more, or it can never be finished."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload as it is journalled. Chunks: `session_id` and the range asked for next. rupload: `upload_url`, a secret."""

    video_id: str
    total_bytes: int
    etag: str | None
    fingerprint: str
    started_at: datetime
    restarts: int = 0
    session_id: str | None = None
    start_offset: int = 0
    end_offset: int = 0
    upload_url: str | None = field(default=None, repr=False)

    def record(self) -> dict[str, Any]:
        """The part that may be read by people; the address goes separately, as a secret."""
        found = {
            "video_id": self.video_id,
            "total_bytes": self.total_bytes,
            "etag": self.etag,
            "fingerprint": self.fingerprint,
            "started_at": self.started_at.isoformat(),
            "restarts": self.restarts,
        }
        if self.session_id is not None:
            found |= {"session_id": self.session_id, "start_offset": self.start_offset, "end_offset": self.end_offset}
        return found

    @classmethod
    def recorded(cls, entry: Json | None) -> Self | None:
        """The upload in a journal entry; None where there is none."""
        if entry is None or not entry.get("video_id"):
            return None
        return cls(
            video_id=entry["video_id"],
            total_bytes=entry["total_bytes"],
            etag=entry.get("etag"),
            fingerprint=entry["fingerprint"],
            started_at=datetime.fromisoformat(entry["started_at"]),
            restarts=entry.get("restarts", 0),
            session_id=entry.get("session_id"),
            start_offset=entry.get("start_offset", 0),
            end_offset=entry.get("end_offset", 0),
            upload_url=entry.get("upload_url"),
        )

    def fits(self, post: Post, total_bytes: int, etag: str | None, now: datetime) -> bool:
        """Whether it was opened for this very file and is still to be relied upon; two versions must never be mixed."""
        same_file = self.total_bytes == total_bytes and (self.etag is None or etag is None or self.etag == etag)
        return same_file and self.fingerprint == fingerprint(post) and now - self.started_at < HANDLE_AGE_MAX


def fingerprint(post: Post) -> str:
    """SHA-256 of what an upload was told about the post: a row that is edited by hand makes it unfit."""
    told = [post.kind.value, *(part for item in post.media for part in (item.type, item.url, item.alt_text or ""))]
    return hashlib.sha256("\0".join(told).encode("utf-8", "surrogatepass")).hexdigest()


async def save_upload(ctx: StepContext, upload: Upload) -> None:
    """Journal the upload under the running step, before anything else is done with it."""
    secret = None if upload.upload_url is None else {"upload_url": upload.upload_url}
    await ctx.save(upload.record(), secret=secret)


def refuse_problems(ctx: StepContext) -> None:
    """The last look before the first remote write, now with the files as they will be sent."""
    for problem in check(ctx.post, [reader.facts for reader in ctx.media]):
        raise Failure(ErrorCode(problem.code), problem.detail, field=problem.field)


def new_upload(ctx: StepContext, video_id: str, total_bytes: int, **more: Any) -> Upload:
    """An upload that was just opened for media[0]."""
    return Upload(video_id, total_bytes, ctx.media[0].facts.etag, fingerprint(ctx.post), ctx.now(), **more)


_TRANSIENT = frozenset(
    {
        ErrorCode.NETWORK_TIMEOUT,
        ErrorCode.NETWORK_UNREACHABLE,
        ErrorCode.PLATFORM_UNAVAILABLE,
        ErrorCode.PLATFORM_ANSWER_INVALID,
        ErrorCode.META_ERROR_TRANSIENT,
        ErrorCode.META_SERVICE_UNAVAILABLE,
        ErrorCode.META_UPLOAD_INTERRUPTED,
        ErrorCode.META_UPLOAD_OFFSET_WRONG,
    }
)


def is_transient(failure: Failure) -> bool:
    """Whether going on right away makes sense: no answer, a broken one, server trouble, a transfer that broke off."""
    return failure.code in _TRANSIENT


async def sleep_after_stall(ctx: StepContext, stalls: int, asked: float | None) -> None:
    """1, 2, 4, … seconds plus up to one; a longer wait gives the slot back."""
    seconds = max(min(2.0 ** (stalls - 1) + ctx.runtime.random.random(), STALL_SLEEP_SECONDS_MAX), asked or 0.0)
    if seconds > RETRY_AFTER_IN_STEP_SECONDS_MAX:
        raise Snooze(seconds, stage=Stage.UPLOADING, detail="Facebook asked to wait")
    await ctx.runtime.sleep(seconds)


def journalled_upload(journal: Mapping[str, Json]) -> Upload | None:
    """The upload a later step works with."""
    return Upload.recorded(journal.get("upload"))
