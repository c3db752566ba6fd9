"""The visible step `publish`: exactly one call, to /feed, or the `finish` of a video, reel or story.

Before it nothing is read; `sent_at` is journalled right before the call, so that a later look knows whether it can have been
made at all. Whatever happens to the answer is a Failure: the executor then asks `reconcile`, and this step never calls twice.
No call is scheduled at Facebook: the post goes out when this call is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from orbyt_worker.errors import catalog
from orbyt_worker.errors.catalog import Outcome
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Kind, Snooze, Stage
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.facebook.check import clean_text, clean_title, link_of
from orbyt_worker.platforms.facebook.photos import photo_ids
from orbyt_worker.platforms.facebook.read import WWW, object_id
from orbyt_worker.platforms.facebook.ready import handles_fresh
from orbyt_worker.platforms.facebook.upload import Upload, journalled_upload

PUBLISH = "publish"

# Codes that leave open whether the post was made: Meta's own trouble (1, -1, 2), "does not exist" (100/33), a block that
# comes with posts that are live (368), "you posted this already" (506, 1366051), and everything that is no clear word.
SAYS_NOTHING = frozenset(
    {
        ErrorCode.META_ERROR_TRANSIENT,
        ErrorCode.META_SERVICE_UNAVAILABLE,
        ErrorCode.META_OBJECT_UNREADABLE,
        ErrorCode.META_BLOCKED,
        ErrorCode.META_DUPLICATE_POST,
        ErrorCode.PLATFORM_UNAVAILABLE,
        ErrorCode.PLATFORM_ERROR_UNMAPPED,
        ErrorCode.PLATFORM_ANSWER_INVALID,
    }
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What the journal knows about the visible call: when it was made, and whether Facebook clearly refused it.

    `doubt`: an earlier call for the same handle (`video_id`) had no answer, and was only later found not to have done
    anything.
    """

    at: datetime | None = None
    video_id: str | None = None
    doubt: bool = False
    refused: str | None = None
    detail: str = ""

    @classmethod
    def recorded(cls, journal: Mapping[str, Json]) -> Sent:
        entry = journal.get(PUBLISH, {})
        at = entry.get("sent_at")
        return cls(
            datetime.fromisoformat(at) if isinstance(at, str) else None,
            entry.get("video_id"),
            entry.get("doubt") is True,
            entry.get("refused"),
            str(entry.get("refused_detail", "")),
        )

    def record(self) -> dict[str, Any]:
        """Every key each time: what is journalled is laid over what was there, and an old refusal must not stay."""
        return {
            "sent_at": self.at.isoformat() if self.at else None,
            "video_id": self.video_id,
            "doubt": self.doubt,
            "refused": self.refused,
            "refused_detail": self.detail,
        }


def handle_of(ctx: StepContext) -> Upload | None:
    """The upload a video, reel or video story is published from; None for everything that has no handle."""
    return journalled_upload(ctx.journal) if any(item.type == "video" for item in ctx.post.media) else None


async def publish(ctx: StepContext, call_timeout_seconds: float) -> Json:
    """The visible step. Returns {platform_post_id, permalink, finished_at}."""
    earlier = Sent.recorded(ctx.journal)
    if not handles_fresh(ctx):
        # Delayed for long after it was prepared. The next look finds that nothing was sent, and prepares it anew.
        await ctx.save(Sent().record())
        raise Snooze(1.0, stage=Stage.PREPARING, detail="what was prepared is too old")
    await ctx.progress(Stage.PUBLISHING, 0.0)
    upload = handle_of(ctx)
    video_id = upload.video_id if upload is not None else None
    unanswered = earlier.doubt or (earlier.at is not None and earlier.refused is None)
    sent = Sent(ctx.now(), video_id, doubt=unanswered and earlier.video_id == video_id)
    await ctx.save(sent.record())
    try:
        result = await _call(ctx, call_timeout_seconds)
    except Failure as failure:
        if is_refusal(failure):
            await ctx.save(replace(sent, refused=str(failure.code), detail=failure.detail).record())
        raise
    await ctx.progress(Stage.PUBLISHING, 1.0)
    return {**sent.record(), **result, "finished_at": ctx.now().isoformat()}


def is_refusal(failure: Failure) -> bool:
    """Meta's own word, by number, that it did not do what was asked. An HTTP status says nothing, a 5xx least of all."""
    return (
        failure.http_status is not None
        and failure.http_status < 500
        and failure.platform_code is not None
        and failure.code not in SAYS_NOTHING
        and catalog.entry(failure.code).outcome is Outcome.NOT_PUBLISHED
    )


async def _call(ctx: StepContext, seconds: float) -> dict[str, Any]:
    page, kind = ctx.account.platform_account_id, ctx.post.kind
    upload = handle_of(ctx)
    if kind is Kind.STORY and upload is None:
        [photo] = photo_ids(ctx.journal.get("upload"))
        answer = await _write(ctx, "photo_stories", f"{page}/photo_stories", {"photo_id": photo}, seconds)
        return story_result(object_id(answer.get("post_id")) or photo)
    if upload is None:
        answer = await _write(ctx, "feed", f"{page}/feed", feed_fields(ctx), seconds, succeeds=False)
        post_id = object_id(answer.get("id"))
        if post_id is None:
            raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, "facebook.feed: no post id", http_status=200)
        return {"platform_post_id": post_id, "permalink": f"{WWW}/{post_id}"}
    if kind is Kind.STORY:
        fields: dict[str, Any] = {"upload_phase": "finish", "video_id": upload.video_id}
        answer = await _write(ctx, "video_stories.finish", f"{page}/video_stories", fields, seconds)
        return story_result(object_id(answer.get("post_id")) or upload.video_id)
    text: dict[str, Any] = {"title": clean_title(ctx.post) or None, "description": clean_text(ctx.post) or None}
    if kind is Kind.REEL:
        fields = {"upload_phase": "finish", "video_id": upload.video_id, "video_state": "PUBLISHED", **text}
        answer = await _write(ctx, "video_reels.finish", f"{page}/video_reels", fields, seconds)
    else:
        fields = {"upload_phase": "finish", "upload_session_id": upload.session_id, **text}
        answer = await _write(ctx, "videos.finish", f"{page}/videos", fields, seconds, host=graph_api.Host.VIDEO)
    return {**video_result(kind, upload.video_id), "post_id": object_id(answer.get("post_id"))}


def feed_fields(ctx: StepContext) -> dict[str, Any]:
    """The body of the post. Photos are named by their ids; several make a multi-photo post in this order."""
    photos = [{"media_fbid": photo} for photo in photo_ids(ctx.journal.get("upload"))]
    return {
        "message": clean_text(ctx.post) or None,
        "link": link_of(ctx.post) if ctx.post.kind is Kind.TEXT else None,
        "attached_media": photos or None,
    }


def video_result(kind: Kind, video_id: str) -> dict[str, Any]:
    """A video is known by its own id from the start; the address is the one that always leads to it."""
    return {
        "platform_post_id": video_id,
        "permalink": f"{WWW}/reel/{video_id}" if kind is Kind.REEL else f"{WWW}/{video_id}",
    }


def story_result(post_id: str) -> dict[str, Any]:
    """A story has no address of a known form; `verify` reads it."""
    return {"platform_post_id": post_id, "permalink": None}


async def _write(
    ctx: StepContext,
    name: str,
    path: str,
    fields: Mapping[str, Any],
    seconds: float,
    *,
    host: graph_api.Host = graph_api.Host.GRAPH,
    succeeds: bool = True,
) -> dict[str, Any]:
    """The one call. With `succeeds` its answer has to say success."""
    answer = await graph_api.write(ctx, f"facebook.{name}", path, fields, host=host, timeout_seconds=seconds)
    if succeeds and answer.get("success") is not True:
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"facebook.{name}: no word of success", http_status=200)
    return answer
