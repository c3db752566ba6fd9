"""The hidden step of photos: each goes up unpublished, and is journalled before the next.

("Page Photos" reference: `published=false`.) Such a photo lives for about 24 hours and is seen by nobody until a post names
it, so one whose answer was lost is simply sent again; what is left over disappears by itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Stage
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.facebook.read import object_id
from orbyt_worker.platforms.facebook.upload import HANDLE_AGE_MAX, fingerprint, refuse_problems

PHOTO_TIMEOUT_SECONDS = 180.0
_SUFFIXES = {"image/jpeg": "jpg", "image/png": "png"}


async def upload_photos(ctx: StepContext) -> Json:
    """Send what is not there yet. Safe to repeat.

    All or nothing: one photo that is refused ends the job before anything is visible, and the failure names it.
    """
    refuse_problems(ctx)
    photos = _recorded(ctx)
    await ctx.progress(Stage.UPLOADING, len(photos) / len(ctx.media))
    for index in range(len(photos), len(ctx.media)):
        try:
            photo_id = await _send(ctx, index)
        except Failure as failure:
            if failure.field is None and failure.platform_code is not None:
                failure.field = f"media[{index}]"
            raise
        photos.append({"id": photo_id, "at": ctx.now().isoformat()})
        await ctx.save(_record(ctx, photos))
        await ctx.progress(Stage.UPLOADING, len(photos) / len(ctx.media))
    return _record(ctx, photos)


async def _send(ctx: StepContext, index: int) -> str:
    reader = ctx.media[index]
    kind = reader.facts.content_type
    part = graph_api.FilePart(
        "source", f"photo.{_SUFFIXES.get(kind, 'img')}", kind, reader.size_bytes, reader.read(0, reader.size_bytes)
    )
    answer = await graph_api.send_file(
        ctx,
        "facebook.photos.create",
        f"{ctx.account.platform_account_id}/photos",
        {"published": False, "alt_text_custom": ctx.post.media[index].alt_text or None},
        part,
        timeout_seconds=PHOTO_TIMEOUT_SECONDS,
    )
    photo_id = object_id(answer.get("id"))
    if photo_id is None:
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, "facebook.photos.create: no photo id", http_status=200)
    return photo_id


def photo_ids(entry: Json | None) -> list[str]:
    """The photos of the journalled step, in the order of the post."""
    return [photo["id"] for photo in (entry or {}).get("photos", [])]


def photos_fresh(entry: Json | None, now: datetime) -> bool:
    """Whether all of them are young enough to be used in a post."""
    times = [datetime.fromisoformat(photo["at"]) for photo in (entry or {}).get("photos", [])]
    return bool(times) and now - min(times) < HANDLE_AGE_MAX


def _recorded(ctx: StepContext) -> list[dict[str, Any]]:
    """What an earlier run sent, unless it was another file or too long ago."""
    entry = ctx.journal.get("upload")
    if entry is None or entry.get("fingerprint") != fingerprint(ctx.post) or entry.get("files") != _files(ctx):
        return []
    return [dict(photo) for photo in entry.get("photos", [])] if photos_fresh(entry, ctx.now()) else []


def _record(ctx: StepContext, photos: list[dict[str, Any]]) -> dict[str, Any]:
    return {"photos": photos, "fingerprint": fingerprint(ctx.post), "files": _files(ctx)}


def _files(ctx: StepContext) -> list[list[Any]]:
    return [[reader.size_bytes, reader.facts.etag] for reader in ctx.media]
