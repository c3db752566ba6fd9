"""Waiting for containers without holding a slot: each look is one read, and between looks the job is put back.

Every kind is polled, images and the parent of a carousel too: publishing early gives 9007/2207027. Instagram recommends a
look a minute for five minutes ("Content Publishing"); images and short videos are ready within seconds, others take up to several
minutes, some much longer. A container is never given up because it takes long: it is looked at more and more rarely until
it is finished, fails, or expires by itself after 24 hours.
"""

from __future__ import annotations

from datetime import timedelta

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Snooze, Stage
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.instagram import read
from orbyt_worker.platforms.instagram.containers import (
    AWAIT_CAROUSEL,
    AWAIT_ITEMS,
    CAROUSEL,
    Made,
    container_step,
    hidden_steps,
    made,
    named,
    replacing,
    upload_step,
)
from orbyt_worker.platforms.instagram.read import Container, State

# (up to this age of the container in seconds, look again after so many)
_IMAGE_PACE = ((4.0, 2.0), (15.0, 5.0), (60.0, 10.0), (1800.0, 30.0))
_VIDEO_PACE = ((5.0, 5.0), (60.0, 15.0), (300.0, 30.0), (1800.0, 60.0))
# Beyond that it is unusually long; the user is told, and the container stays.
_LATE_SECONDS = 300.0
_USUAL_SECONDS = 1800.0
# How long a container may be unreadable with either token before another one is made (postiz-app#1562: hours at worst).
UNREADABLE_PATIENCE = timedelta(minutes=30)
UNREADABLE_SECONDS = 60.0


def pace(age_seconds: float, *, video: bool) -> float:
    """When to look again at a container of this age, in seconds."""
    for until, seconds in _VIDEO_PACE if video else _IMAGE_PACE:
        if age_seconds < until:
            return seconds
    return _LATE_SECONDS


async def await_items(ctx: StepContext) -> Json:
    """Until the container of every item is finished. Raises Snooze between looks, Failure for one that failed."""
    count = len(ctx.post.media)
    finished: dict[str, str] = dict(ctx.journal.get(AWAIT_ITEMS, {}).get("finished", {}))
    for index, item in enumerate(ctx.post.media):
        container = made(ctx.journal, container_step(index))
        if container is None:
            raise Failure(ErrorCode.INSTAGRAM_CONTAINER_MISSING, f"the journal lacks the container of media[{index}]")
        if finished.get(str(index)) == container.container_id:
            continue
        await _look(ctx, container, str(index), video=item.type == "video", done=len(finished) / count)
        finished[str(index)] = container.container_id
        if count > 1:
            # Not looked at again while its siblings take longer.
            await ctx.save({**ctx.journal.get(AWAIT_ITEMS, {}), "finished": finished})
    return {"finished": finished}


async def await_carousel(ctx: StepContext) -> Json:
    """Until the parent is finished."""
    container = made(ctx.journal, CAROUSEL)
    if container is None:
        raise Failure(ErrorCode.INSTAGRAM_CONTAINER_MISSING, "the journal lacks the carousel")
    await _look(ctx, container, CAROUSEL, video=False, done=0.9)
    return {"finished": container.container_id}


async def _look(ctx: StepContext, container: Made, key: str, *, video: bool, done: float) -> None:
    """One look; returns when the container is finished."""
    await ctx.progress(Stage.PROCESSING, done)
    age = ctx.now() - container.created_at
    try:
        seen = await read.container(ctx, container.container_id)
    except Failure as failure:
        # Made by us a moment ago: "no permission" is no more than "cannot be seen" here.
        if failure.code not in read.UNREADABLE:
            raise
        if age < UNREADABLE_PATIENCE:
            unreadable = ErrorCode.META_OBJECT_UNREADABLE
            raise Snooze(UNREADABLE_SECONDS, stage=Stage.PROCESSING, code=unreadable) from None
        await forget(ctx, container, key)
        raise
    # PUBLISHED cannot be here; if it is, the visible step finds out and nothing is made anew.
    if seen.state in (State.FINISHED, State.PUBLISHED):
        return
    if seen.state is State.ERROR:
        reason = failure_of(seen)
        await forget(ctx, container, key)
        raise named(reason, ctx.post, int(key)) if key.isdecimal() else reason
    if seen.state is State.EXPIRED:
        await forget(ctx, container, key)
        raise Snooze(1.0, stage=Stage.PREPARING, detail="a container has expired")
    seconds = age.total_seconds()
    code = ErrorCode.INSTAGRAM_CONTAINER_NOT_READY if seconds >= _USUAL_SECONDS else None
    raise Snooze(pace(seconds, video=video), stage=Stage.PROCESSING, code=code)


def failure_of(seen: Container) -> Failure:
    """Why a container failed: the number in its `status`, else what the phases of its upload say."""
    failure = graph_api.failure_of_status("instagram", seen.status)
    if failure.platform_subcode is None and seen.errors:
        return graph_api.failure_of_phase("instagram", list(seen.errors))
    return failure


async def forget(ctx: StepContext, container: Made, key: str) -> None:
    """A dead container: it is made anew when the job comes again, whatever was wrong with it.

    Only the item it is for, unless it is the parent: whether its children could go into another one is not documented.
    """
    step = AWAIT_CAROUSEL if key == CAROUSEL else AWAIT_ITEMS
    entry = ctx.journal.get(step, {})
    if key == CAROUSEL:
        await ctx.save(replacing(entry, "all", container.container_id))
        await ctx.forget(*(name for name in hidden_steps(ctx.post, ctx.account) if name != step))
        return
    index = int(key)
    await ctx.save(replacing(entry, key, container.container_id))
    await ctx.forget(container_step(index), upload_step(index))
