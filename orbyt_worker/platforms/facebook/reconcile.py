"""Did the visible call happen? Asked when a worker began it and its answer was never recorded. Reads only.

0. Our own journal: if the call was never about to be made, or Facebook clearly refused it, nothing can exist.
1. A video, reel or video story has a handle, and its own state answers: published, failed for good, or untouched. "Untouched"
   counts after LOOKS_MIN looks over the settling time, and not while Facebook processes: `finish` is only an acknowledgement.
2. Posts and photo stories have none. The page's newest posts are searched for one of our own app, as old as the call and
   with its text (or named by one of its photos); the stories for one of its photo. That can only prove "published", by a
   unique match: a listing lags, so it is read again, and what is never found is left to a person.

("Page Feed", "Publishing", "Reels Publishing API", "Stories"; getopenpost/openpost and gitroomhq/postiz-app#1681 on why.)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Kind, PublishResult
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import Reconciled, StepContext, Truth
from orbyt_worker.platforms.facebook.check import clean_text
from orbyt_worker.platforms.facebook.photos import photo_ids
from orbyt_worker.platforms.facebook.read import (
    WWW,
    absolute,
    find,
    moment,
    newest_posts,
    object_id,
    post,
    same_text,
    stories,
    story_of,
    video,
)
from orbyt_worker.platforms.facebook.ready import PREPARING, failure_before_publishing, handles_fresh
from orbyt_worker.platforms.facebook.upload import Upload
from orbyt_worker.platforms.facebook.visible import PUBLISH, Sent, handle_of, story_result, video_result

LOOKS_MIN = 3
# Nothing is documented for Pages; Instagram's "two to five minutes" is taken for both.
SETTLING_SECONDS = 300.0
LOOK_AGAIN_SECONDS = 30.0
# Any number that makes every code about an upload ask for a new one.
REFUSALS_OF_UPLOAD = 100
# A video that is being processed may go out by itself at any moment; after this it needs a person.
PROCESSING_PATIENCE = timedelta(minutes=30)
# When a listing is read again, as parts of the settling time; then it needs a person.
LISTING_LOOKS = (0.05, 0.2, 0.6, 1.0)
# Each of them is a call; one that names the post is enough.
NAMING_PHOTOS_MAX = 3
# created_time has whole seconds, and the clocks of Facebook and the database are two. Kept small: an older post with the
# same text must not be taken for this one.
CLOCK_SKEW = timedelta(seconds=15)


async def reconcile(ctx: StepContext, settling_seconds: float = SETTLING_SECONDS) -> Reconciled:
    """See the module. Raises Failure or Snooze when a read cannot be made now: look again later, nothing is known."""
    sent = Sent.recorded(ctx.journal)
    if sent.at is None:
        return _not_published(ctx, "the call was never made")
    upload = handle_of(ctx)
    if upload is not None:
        return await _by_handle(ctx, sent, upload, settling_seconds)
    if sent.refused is not None:
        return Reconciled(Truth.NOT_PUBLISHED, detail=sent.detail, code=sent.refused)
    found = await (_photo_story(ctx) if ctx.post.kind is Kind.STORY else _post(ctx, sent.at))
    return found or _listing_unknown(ctx, sent.at, settling_seconds)


# By handle -------------------------------------------------------------------------------------------------------------


async def _by_handle(ctx: StepContext, sent: Sent, upload: Upload, settling_seconds: float) -> Reconciled:
    found = await video(ctx, upload.video_id)
    if found is not None and found.published:
        return await _video_published(ctx, upload, found.permalink)
    if sent.refused is not None and not sent.doubt:
        # Code 6000 at `finish` says that nothing was uploaded: a refused upload is done anew.
        lost = graph_api.wants_new_upload(ErrorCode(sent.refused), REFUSALS_OF_UPLOAD)
        forget = PREPARING if lost else ()
        return Reconciled(Truth.NOT_PUBLISHED, detail=sent.detail, code=sent.refused, forget_steps=forget)
    if found is None:
        return _unknown(ctx, sent, "Facebook does not show the video")
    failure = failure_before_publishing(found)
    if failure is not None:
        return Reconciled(Truth.NOT_PUBLISHED, detail=failure.detail, code=str(failure.code), forget_steps=PREPARING)
    if found.dead:
        return Reconciled(Truth.NOT_PUBLISHED, detail="Facebook dropped the upload", forget_steps=PREPARING)
    if not found.untouched or found.processing.status == "in_progress":
        return _unknown(ctx, sent, "Facebook processes the video, and does not say whether it will be published")
    if sent.doubt:
        # One repeated `finish` is enough: if that one had no effect either, looking proves nothing any more.
        return _unknown(ctx, sent, "Facebook shows the video as not published, although it was asked twice")
    return await _count_looks(ctx, sent, settling_seconds)


def _unknown(ctx: StepContext, sent: Sent, detail: str) -> Reconciled:
    """A video may go out by itself at any moment; after a while it needs a person."""
    waiting = sent.at is not None and ctx.now() - sent.at < PROCESSING_PATIENCE
    return Reconciled(Truth.UNKNOWN, again_in_seconds=LOOK_AGAIN_SECONDS if waiting else None, detail=detail)


async def _video_published(ctx: StepContext, upload: Upload, permalink: str | None) -> Reconciled:
    if ctx.post.kind is Kind.STORY:
        story = await story_of(ctx, upload.video_id)
        result = story_result(object_id((story or {}).get("post_id")) or upload.video_id)
        permalink = absolute((story or {}).get("url"))
    else:
        result = video_result(ctx.post.kind, upload.video_id)
    return Reconciled(Truth.PUBLISHED, PublishResult(result["platform_post_id"], permalink or result["permalink"]))


async def _count_looks(ctx: StepContext, sent: Sent, settling_seconds: float) -> Reconciled:
    """Looks that agree, counted over attempts. Enough of them, over long enough, prove "not published"."""
    assert sent.at is not None, "reconcile looked"
    of = sent.at.isoformat()
    entry = ctx.journal.get(PUBLISH, {}).get("looks") or {}
    looks = (int(entry.get("count", 0)) if entry.get("of") == of else 0) + 1
    detail = f"Facebook shows the video as not published, seen {looks} times"
    if looks >= LOOKS_MIN and (ctx.now() - sent.at).total_seconds() >= settling_seconds:
        return _not_published(ctx, detail)
    await ctx.save({**sent.record(), "looks": {"of": of, "count": looks}})
    return Reconciled(Truth.UNKNOWN, again_in_seconds=settling_seconds / LOOKS_MIN, detail=detail)


# By listing ------------------------------------------------------------------------------------------------------------


async def _post(ctx: StepContext, sent_at: datetime) -> Reconciled | None:
    """The post this call made, if Facebook shows exactly one that can be it."""
    since = sent_at - CLOCK_SKEW
    for photo_id in photo_ids(ctx.journal.get("upload"))[:NAMING_PHOTOS_MAX]:
        # Positive evidence only: that the field names the post is not documented.
        photo = await find(ctx, "facebook.photo.get", photo_id, "id,page_story_id")
        story_id = object_id((photo or {}).get("page_story_id"))
        named = await post(ctx, story_id) if story_id is not None else None
        if named is not None and _is_ours(ctx, named, since):
            return _row_published(named)
    matches = [
        row
        for row in await newest_posts(ctx)
        if _is_ours(ctx, row, since) and same_text(row.get("message"), clean_text(ctx.post))
    ]
    if len(matches) > 1:
        return Reconciled(Truth.UNKNOWN, detail=f"{len(matches)} posts of the page look like this one")
    return _row_published(matches[0]) if matches else None


def _is_ours(ctx: StepContext, row: Mapping[str, Any], since: datetime) -> bool:
    """Published, made by this very app, and not before the call."""
    application = row.get("application")
    made_by = str(application.get("id")) if isinstance(application, dict) else None
    created_at = moment(row.get("created_time"))
    return (
        object_id(row.get("id")) is not None
        and ctx.config.meta_app_id is not None
        and made_by == ctx.config.meta_app_id
        and created_at is not None
        and created_at >= since
        and row.get("is_published") is not False
    )


def _row_published(row: Mapping[str, Any]) -> Reconciled:
    post_id = object_id(row.get("id"))
    assert post_id is not None, "rows without an id are no match"
    return Reconciled(Truth.PUBLISHED, PublishResult(post_id, absolute(row.get("permalink_url")) or f"{WWW}/{post_id}"))


async def _photo_story(ctx: StepContext) -> Reconciled | None:
    """The story of this photo: it was uploaded for nothing else."""
    photos = photo_ids(ctx.journal.get("upload"))
    found = [row for row in await stories(ctx) if str(row.get("media_id")) in photos]
    if not found:
        return None
    post_id = object_id(found[0].get("post_id")) or photos[0]
    return Reconciled(Truth.PUBLISHED, PublishResult(post_id, absolute(found[0].get("url"))))


def _listing_unknown(ctx: StepContext, sent_at: datetime, settling_seconds: float) -> Reconciled:
    """Look again while the listing may still be settling; then it needs a person."""
    elapsed = (ctx.now() - sent_at).total_seconds()
    due = next((at for at in (part * settling_seconds for part in LISTING_LOOKS) if at > elapsed), None)
    detail = "the page's listing does not show it, which proves nothing"
    return Reconciled(Truth.UNKNOWN, again_in_seconds=None if due is None else due - elapsed, detail=detail)


def _not_published(ctx: StepContext, detail: str) -> Reconciled:
    return Reconciled(Truth.NOT_PUBLISHED, detail=detail, forget_steps=() if handles_fresh(ctx) else PREPARING)
