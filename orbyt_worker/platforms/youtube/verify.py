"""After the visible call: is the video processed, is it as public as it was meant to be?

The video exists by now, so nothing here may lead to a second upload, and a read that fails says nothing about the post:
when YouTube cannot be read until the time is over, the post counts as published, marked as not verified. Only YouTube's
own word (rejected, failed, deleted) makes it a failure, one whose outcome is "published".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Snooze, Stage
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.youtube.errors import ended_badly
from orbyt_worker.platforms.youtube.read import part, text, video
from orbyt_worker.platforms.youtube.upload import privacy_of, session_in

POLL_SECONDS_MIN = 5.0
POLL_SECONDS_MAX = 60.0
# Running out of time is no failure: HD and 4K take hours, and a low resolution is playable long before.
PROCESSING_PATIENCE = timedelta(minutes=20)
# A new video may be missing from videos.list for a while; longer, and it was removed.
UNLISTED_PATIENCE = timedelta(minutes=5)
# How late YouTube may be in making a scheduled video public before that is worth a warning.
GOING_PUBLIC_PATIENCE = timedelta(minutes=10)


def watch_url(video_id: str) -> str:
    """Where a video can be seen; works for Shorts as well."""
    return f"https://www.youtube.com/watch?v={video_id}"


@dataclass(frozen=True, slots=True)
class _Times:
    now: datetime
    finished_at: datetime
    public_at: datetime | None  # when YouTube is to make it public by itself

    @property
    def deadline(self) -> datetime:
        processed = self.finished_at + PROCESSING_PATIENCE
        return max(processed, self.public_at + GOING_PUBLIC_PATIENCE) if self.public_at else processed


async def verify(ctx: StepContext) -> Json:
    """One look. Snoozes between looks, so it holds no slot; safe to repeat.

    Returns {"verified": bool, "processing": bool, "privacy_applied": str | None, "code"?: a remark for the published
    row}. Raises Failure: youtube_video_rejected_…, youtube_processing_failed, youtube_video_removed.
    """
    video_id = ctx.journal["finish_upload"]["platform_post_id"]
    times = await _times(ctx)
    try:
        found = await video(ctx, video_id)
    except Snooze as later:
        # The allowance for reads is used up. Waiting past the deadline for it would only delay a published post.
        if times.now + timedelta(seconds=later.seconds) < times.deadline:
            raise
        return _unverified(later.code)
    except Failure as failure:
        if times.now < times.deadline:
            raise _later(times, code=failure.code) from failure
        return _unverified(failure.code)
    if found is None:
        if times.now < times.finished_at + UNLISTED_PATIENCE:
            raise _later(times)
        raise Failure(ErrorCode.YOUTUBE_VIDEO_REMOVED, "YouTube no longer knows the video")
    processing = not is_processed(found)
    if processing and times.now < times.finished_at + PROCESSING_PATIENCE:
        await ctx.progress(Stage.PROCESSING, _fraction(found))
        raise _later(times)
    return _compare_privacy(ctx, found, times, processing=processing)


async def _times(ctx: StepContext) -> _Times:
    session, now = session_in(ctx.journal), ctx.now()
    finished = text(ctx.journal["finish_upload"].get("finished_at")) or text(
        ctx.journal.get("verify", {}).get("finished_at")
    )
    if finished is None:
        # The visible call was found to have happened by `reconcile`, which writes no time: count from the first look.
        finished = now.isoformat()
        await ctx.save({"finished_at": finished})
    return _Times(now, datetime.fromisoformat(finished), session.scheduled_for if session else None)


def is_processed(found: Mapping[str, Any]) -> bool:
    """Whether YouTube is done with it; raises Failure when it ended badly."""
    status, details = part(found, "status"), part(found, "processingDetails")
    upload, process = text(status.get("uploadStatus")), text(details.get("processingStatus"))
    if upload == "rejected":
        raise ended_badly("rejection_reason", text(status.get("rejectionReason")) or "")
    if upload == "deleted":
        raise Failure(ErrorCode.YOUTUBE_VIDEO_REMOVED, "the video was deleted on YouTube", platform_code=upload)
    if upload == "failed":
        raise ended_badly("failure_reason", text(status.get("failureReason")) or "")
    if process in ("failed", "terminated"):
        raise ended_badly("processing_failure_reason", text(details.get("processingFailureReason")) or process)
    return upload == "processed" or process == "succeeded"


def _compare_privacy(ctx: StepContext, found: Mapping[str, Any], times: _Times, *, processing: bool) -> Json:
    wanted = privacy_of(ctx.post)
    applied = text(part(found, "status").get("privacyStatus"))
    if applied != wanted and times.public_at is not None and times.now < times.public_at + GOING_PUBLIC_PATIENCE:
        if times.now < times.public_at:
            seconds = (times.public_at - times.now).total_seconds() + 1.0
            raise Snooze(seconds, stage=Stage.WAITING, detail="YouTube makes it public at the set time")
        raise _later(times)
    result: dict[str, Any] = {"verified": True, "processing": processing, "privacy_applied": applied}
    if applied is not None and applied != wanted:
        result["code"] = str(ErrorCode.YOUTUBE_PRIVACY_DIFFERS)
    return result


def _unverified(code: str | None) -> Json:
    return {"verified": False, "processing": False, "privacy_applied": None, **({"code": str(code)} if code else {})}


def _later(times: _Times, code: str | None = None) -> Snooze:
    """5 s at first, a quarter of the time that has passed later on, at most a minute."""
    since = (
        max(times.finished_at, times.public_at)
        if times.public_at and times.now >= times.public_at
        else times.finished_at
    )
    elapsed = max((times.now - since).total_seconds(), 0.0)
    return Snooze(min(max(elapsed / 4, POLL_SECONDS_MIN), POLL_SECONDS_MAX), stage=Stage.PROCESSING, code=code)


def _fraction(found: Mapping[str, Any]) -> float:
    """Numbers come as strings and may be revised, so a fraction can fall; it never leaves 0..1."""
    progress = part(part(found, "processingDetails"), "processingProgress")
    done, total = text(progress.get("partsProcessed")), text(progress.get("partsTotal"))
    if not (done and total and done.isdecimal() and total.isdecimal()) or int(total) == 0:
        return 0.0
    return min(int(done) / int(total), 1.0)
