"""The last hidden step, shortly before the visible one: is what was prepared still there, and may it go out?

It waits from the queue, holding no slot, and finds out while nothing is visible yet what would otherwise be found too late:
an upload that Facebook lost, a video it cannot process, the 31st reel of the day.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Kind, Snooze, Stage
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.facebook.photos import photos_fresh
from orbyt_worker.platforms.facebook.read import Video, video
from orbyt_worker.platforms.facebook.upload import HANDLE_AGE_MAX, journalled_upload

REELS = "facebook_reels"
# Steps that prepare; all of them are done anew when what they made is gone.
PREPARING = ("upload", "cover", "ready")

ANEW_MAX = 3
POLL_SECONDS_MIN = 2.0
POLL_SECONDS_MAX = 30.0
# How long an upload that was accepted may be missing or unfinished in its own status before it is done anew.
UPLOAD_PATIENCE = timedelta(minutes=5)


async def ready(ctx: StepContext) -> Json:
    """Safe to repeat: reads, and one reservation that counts once per job."""
    record = ctx.journal.get("ready", {})
    if not handles_fresh(ctx):
        raise await anew(ctx, "what was prepared is too old")
    if _by_handle(ctx):
        upload = journalled_upload(ctx.journal)
        assert upload is not None, "handles_fresh looked"
        found = await video(ctx, upload.video_id)
        failure = failure_before_publishing(found) if found is not None else None
        if failure is not None and catalog.entry(failure.code).retryable:
            raise await anew(ctx, failure.detail)
        if failure is not None:
            raise failure
        if found is not None and found.dead:
            raise await anew(ctx, "Facebook dropped the upload")
        if found is None or not found.uploaded:
            since = await _waiting_since(ctx, record)
            if ctx.now() - since <= UPLOAD_PATIENCE:
                raise Snooze(_poll_seconds(ctx, since), stage=Stage.PROCESSING, detail="Facebook takes over the upload")
            if found is not None:
                raise await anew(ctx, "Facebook does not show the upload as complete")
            # Unreadable with either token, which happens to things that exist. The upload was answered with success, and
            # `finish` refuses what is not there (6000).
    if ctx.post.kind is Kind.REEL:
        await ctx.quota.reserve(REELS, once="reel")
    return {"anew": record.get("anew", 0)}


def handles_fresh(ctx: StepContext) -> bool:
    """Whether the photos or the upload the post needs are journalled, and young enough to be relied upon."""
    if ctx.post.kind is Kind.TEXT:
        return True
    if _is_video(ctx):
        upload = journalled_upload(ctx.journal)
        return upload is not None and ctx.now() - upload.started_at < HANDLE_AGE_MAX
    return photos_fresh(ctx.journal.get("upload"), ctx.now())


def failure_before_publishing(found: Video) -> Failure | None:
    """Facebook's own reason why this video can never be published; None while there is none."""
    for phase in (found.processing, found.publishing):
        if phase.failed:
            failure = graph_api.failure_of_phase("facebook", list(phase.errors))
            failure.field = "media[0]"
            return failure
    return None


async def anew(ctx: StepContext, detail: str) -> Snooze:
    """Nothing is visible: forget what was prepared and start over, at most ANEW_MAX times. To be raised."""
    times = int(ctx.journal.get("ready", {}).get("anew", 0)) + 1
    if times > ANEW_MAX:
        raise Failure(ErrorCode.META_UPLOAD_SESSION_INVALID, detail)
    await ctx.forget("upload", "cover")
    await ctx.save({"anew": times})
    return Snooze(1.0, stage=Stage.PREPARING, detail=detail)


def _is_video(ctx: StepContext) -> bool:
    return any(item.type == "video" for item in ctx.post.media)


def _by_handle(ctx: StepContext) -> bool:
    """Reels and video stories: their upload is a matter of its own. A chunked upload says itself when it has everything."""
    return _is_video(ctx) and ctx.post.kind is not Kind.VIDEO


async def _waiting_since(ctx: StepContext, record: Json) -> datetime:
    """When this wait began; journalled, since each look is an attempt of its own."""
    upload = journalled_upload(ctx.journal)
    since = record.get("since")
    if isinstance(since, str) and upload is not None and record.get("video_id") == upload.video_id:
        return datetime.fromisoformat(since)
    now = ctx.now()
    await ctx.save({**record, "since": now.isoformat(), "video_id": upload.video_id if upload else None})
    return now


def _poll_seconds(ctx: StepContext, since: datetime) -> float:
    return min(max((ctx.now() - since).total_seconds() / 4, POLL_SECONDS_MIN), POLL_SECONDS_MAX)
