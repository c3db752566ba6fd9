"""After the visible call: where can the post be seen, and is a video really out?

The call was accepted by now, so nothing here may lead to a second one, and a read that fails says nothing about the post:
when Facebook cannot be read until the time is over, the post counts as published, with a remark. Only Facebook's own word about
the video (a phase that ended in an error) makes it a failure: such a video never became visible.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Kind, Snooze, Stage
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.facebook.read import absolute, find, story_of, video
from orbyt_worker.platforms.facebook.ready import failure_before_publishing
from orbyt_worker.platforms.facebook.visible import PUBLISH, handle_of

POLL_SECONDS_MIN = 3.0
POLL_SECONDS_MAX = 60.0
# Processing and the copyright check were seen stuck for long, with the video out in the end (fbsamples/reels_publishing_apis#47).
PATIENCE = timedelta(minutes=20)
# An address is worth a few looks, not a wait.
ADDRESS_PATIENCE = timedelta(seconds=20)


async def verify(ctx: StepContext) -> Json:
    """One look. Snoozes between looks, so it holds no slot; safe to repeat.

    Returns {"verified": bool, "permalink"?, "post_id"?, "code"?: a remark for the published row}.
    """
    started_at = await _started_at(ctx)
    upload = handle_of(ctx)
    if upload is not None:
        return await _video(ctx, upload.video_id, started_at)
    try:
        permalink = await _address(ctx)
    except Failure as failure:
        if ctx.now() - started_at < ADDRESS_PATIENCE:
            raise _later(ctx, started_at, Stage.VERIFYING) from failure
        return {"verified": False}
    if permalink is None and ctx.now() - started_at < ADDRESS_PATIENCE:
        raise _later(ctx, started_at, Stage.VERIFYING)
    return {"verified": permalink is not None, **_given(permalink=permalink)}


async def _video(ctx: StepContext, video_id: str, started_at: datetime) -> Json:
    waiting = ctx.now() - started_at < PATIENCE
    try:
        found = await video(ctx, video_id)
    except Failure as failure:
        if waiting:
            raise _later(ctx, started_at, Stage.PROCESSING, code=failure.code) from failure
        return {"verified": False, "code": str(failure.code)}
    if found is not None and found.published:
        permalink = found.permalink
        if ctx.post.kind is Kind.STORY:
            permalink = await _quietly_story_address(ctx, video_id)
        return {"verified": True, **_given(permalink=permalink, post_id=found.post_id)}
    ended = failure_before_publishing(found) if found is not None else None
    if ended is not None:
        raise _final(ended)
    if waiting:
        await ctx.progress(Stage.PROCESSING, 0.0)
        raise _later(ctx, started_at, Stage.PROCESSING)
    return {"verified": False, "code": str(ErrorCode.FACEBOOK_STILL_PROCESSING)}


def _final(ended: Failure) -> Failure:
    """A phase that ended in an error stays so, and this video was the only try: no code that promises another one."""
    code = ErrorCode.FACEBOOK_PROCESSING_FAILED if catalog.entry(ended.code).retryable else ended.code
    return Failure(code, ended.detail, field=ended.field, platform_code=ended.platform_code, never_visible=True)


async def _address(ctx: StepContext) -> str | None:
    post_id = ctx.journal[PUBLISH]["platform_post_id"]
    if ctx.post.kind is Kind.STORY:
        photos = ctx.journal.get("upload", {}).get("photos", [])
        return await _story_address(ctx, photos[0]["id"]) if photos else None
    found = await find(ctx, "facebook.post.get", post_id, "id,permalink_url")
    return absolute((found or {}).get("permalink_url"))


async def _story_address(ctx: StepContext, media_id: str) -> str | None:
    return absolute((await story_of(ctx, media_id) or {}).get("url"))


async def _quietly_story_address(ctx: StepContext, media_id: str) -> str | None:
    try:
        return await _story_address(ctx, media_id)
    except Failure:
        return None


async def _started_at(ctx: StepContext) -> datetime:
    """When the call was answered; `reconcile` writes no time, then from the first look on."""
    finished = ctx.journal[PUBLISH].get("finished_at") or ctx.journal.get("verify", {}).get("started_at")
    if isinstance(finished, str):
        return datetime.fromisoformat(finished)
    now = ctx.now()
    await ctx.save({"started_at": now.isoformat()})
    return now


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _later(ctx: StepContext, started_at: datetime, stage: Stage, code: str | None = None) -> Snooze:
    """3 s at first, a quarter of the time that has passed later on, at most a minute."""
    seconds = min(max((ctx.now() - started_at).total_seconds() / 4, POLL_SECONDS_MIN), POLL_SECONDS_MAX)
    return Snooze(seconds, stage=stage, code=code)
