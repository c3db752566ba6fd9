"""The hidden steps of videos: `upload` brings the whole file to Facebook, `cover` gives it a picture of its own.

Feed videos go up in chunks (`chunks.py`), reels and video stories to rupload (`rupload.py`). Either way nothing is visible
before `finish`, so an upload may be thrown away and begun anew at any time; how often is bounded per job.
"""

from __future__ import annotations

from dataclasses import replace

from orbyt_worker.errors import catalog
from orbyt_worker.errors.catalog import Area
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Kind, Stage
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.facebook import chunks, rupload
from orbyt_worker.platforms.facebook.upload import (
    Upload,
    UploadGone,
    journalled_upload,
    refuse_problems,
    save_upload,
)

RESTARTS_MAX = 3
COVER_TIMEOUT_SECONDS = 60.0


async def upload_video(ctx: StepContext) -> Json:
    """Bring the whole file to Facebook. Safe to repeat: an upload that was journalled is continued where Facebook stands."""
    refuse_problems(ctx)
    reader = ctx.media[0]
    protocol = chunks if ctx.post.kind is Kind.VIDEO else rupload
    upload = Upload.recorded(ctx.journal.get("upload"))
    restarts = 0
    if upload is not None:
        restarts = upload.restarts
        if not upload.fits(ctx.post, reader.size_bytes, reader.facts.etag, ctx.now()):
            upload, restarts = None, restarts + 1
    await ctx.progress(Stage.UPLOADING, 0.0)
    while restarts <= RESTARTS_MAX:
        fresh = upload is None
        if upload is None:
            upload = replace(await protocol.open_upload(ctx, reader.size_bytes), restarts=restarts)
            await save_upload(ctx, upload)
        try:
            done = await protocol.transfer(ctx, upload, fresh=fresh)
        except UploadGone:
            upload, restarts = None, restarts + 1
            continue
        await ctx.progress(Stage.UPLOADING, 1.0)
        record: Json = done.record()
        return record
    raise Failure(ErrorCode.META_UPLOAD_SESSION_INVALID, f"{restarts} uploads were lost")


async def set_cover(ctx: StepContext) -> Json:
    """Give the unpublished video its cover. Safe to repeat: the last one given counts.

    A cover that cannot be read stops the post, since its owner can mend that. One that Facebook does not take does not:
    whether it takes one before `finish` is documented for reels only (Reels Publishing API, step 4).
    """
    upload = journalled_upload(ctx.journal)
    reader = await ctx.cover(0)
    if upload is None or reader is None:
        return {"cover": False}
    content = b"".join([piece async for piece in reader.read(0, reader.size_bytes)])
    part = graph_api.FilePart("source", "cover", reader.facts.content_type, len(content), content)
    try:
        await graph_api.send_file(
            ctx,
            "facebook.thumbnails.create",
            f"{upload.video_id}/thumbnails",
            {"is_preferred": "true"},
            part,
            timeout_seconds=COVER_TIMEOUT_SECONDS,
        )
    except Failure as failure:
        entry = catalog.entry(failure.code)
        if failure.http_status is None or entry.retryable or entry.needs_reauth or entry.area is Area.MEDIA:
            raise
        return {"cover": False, "code": str(ErrorCode.FACEBOOK_COVER_REFUSED), "refused": failure.detail}
    return {"cover": True}
