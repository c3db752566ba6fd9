"""Reels and video stories: the bytes go to rupload in one request, resumed where Facebook stands.

("Reels Publishing API" and "Stories", step 2.) The upload address came from Facebook, and a token is sent to it: its host is
checked (`graph_api.upload_address`). It is kept as a secret. What Facebook has is only ever what `uploading_phase` says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Kind, Stage
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import StepContext
from orbyt_worker.platforms.facebook.read import object_id, video
from orbyt_worker.platforms.facebook.upload import (
    STALLS_MAX,
    Upload,
    UploadGone,
    is_transient,
    new_upload,
    sleep_after_stall,
)

START_TIMEOUT_SECONDS = 60.0
# One request carries the whole rest of the file; 128 KiB/s is a slow line that still advances.
SEND_TIMEOUT_SECONDS_MIN = 120.0
SEND_BYTES_PER_SECOND_MIN = 128 * 1024
SEND_TIMEOUT_SECONDS_MAX = 6 * 3600.0

EDGES = {Kind.REEL: "video_reels", Kind.STORY: "video_stories"}


async def open_upload(ctx: StepContext, total_bytes: int) -> Upload:
    """Open an upload. When its answer is lost, what may have been opened is harmless: it is never finished."""
    edge = EDGES[ctx.post.kind]
    answer = await graph_api.write(
        ctx,
        f"facebook.{edge}.start",
        f"{ctx.account.platform_account_id}/{edge}",
        {"upload_phase": "start"},
        timeout_seconds=START_TIMEOUT_SECONDS,
    )
    video_id = object_id(answer.get("video_id"))
    if video_id is None:
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"facebook.{edge}.start: no video id", http_status=200)
    upload_url = graph_api.upload_address(ctx, answer.get("upload_url"))
    return new_upload(ctx, video_id, total_bytes, upload_url=upload_url)


async def transfer(ctx: StepContext, upload: Upload, *, fresh: bool) -> Upload:
    """Send what is missing until Facebook has it all. Raises UploadGone.

    Bounded: each round stores new bytes, or counts as a stall, and STALLS_MAX stalls in a row end it.
    """
    best, stalls = 0, 0
    offset: int | None = 0 if fresh else None  # None: not known, Facebook has to be asked
    while True:
        asked: float | None = None
        try:
            if offset is None:
                offset = await _stands_at(ctx, upload)
            if offset < upload.total_bytes:
                await _send(ctx, upload, offset)
            return upload
        except Failure as failure:
            if graph_api.wants_new_upload(failure.code, ctx.job.failures):
                raise UploadGone from failure
            if not is_transient(failure) or stalls >= STALLS_MAX:
                raise
            asked = failure.retry_after_seconds
        reached, offset = offset or 0, None
        if reached > best:
            best, stalls = reached, 0
        stalls += 1
        if stalls > STALLS_MAX:
            detail = f"Facebook stores no more than {best} of {upload.total_bytes} bytes"
            raise Failure(ErrorCode.META_UPLOAD_INTERRUPTED, detail)
        await sleep_after_stall(ctx, stalls, asked)


async def _stands_at(ctx: StepContext, upload: Upload) -> int:
    """The first byte Facebook lacks; the total when it has them all. Raises UploadGone."""
    found = await video(ctx, upload.video_id)
    if found is None:
        # An upload that was opened a moment ago may not be readable yet; one that stays so is opened anew.
        raise Failure(ErrorCode.META_UPLOAD_INTERRUPTED, "Facebook does not know the upload")
    if found.uploaded:
        return upload.total_bytes
    if found.dead:
        raise UploadGone
    return min(found.bytes_transferred or 0, upload.total_bytes)


async def _send(ctx: StepContext, upload: Upload, offset: int) -> None:
    """Send all from `offset`; returns when Facebook has the whole file."""
    length = upload.total_bytes - offset
    seconds = min(max(SEND_TIMEOUT_SECONDS_MIN, length / SEND_BYTES_PER_SECOND_MIN), SEND_TIMEOUT_SECONDS_MAX)
    await graph_api.rupload(
        ctx,
        "facebook.rupload",
        upload.upload_url or "",
        offset=offset,
        size_bytes=upload.total_bytes,
        content=_reported(ctx, upload, offset),
        length=length,
        timeout_seconds=seconds,
    )


async def _reported(ctx: StepContext, upload: Upload, offset: int) -> AsyncIterator[bytes]:
    """The bytes from `offset`, with the progress of the transfer told along the way."""
    sent = offset
    async for piece in ctx.media[0].read(offset, upload.total_bytes - offset):
        yield piece
        sent += len(piece)
        await ctx.progress(Stage.UPLOADING, sent / upload.total_bytes)
