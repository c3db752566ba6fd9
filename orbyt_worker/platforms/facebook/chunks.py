"""Feed videos: the chunked upload of graph-video. Facebook dictates every range; what was sent is never assumed to be there.

("Publishing", Video API; "Page Videos" reference: upload_phase start, transfer, finish. Wrong offset is 6001/1363037, with
the right range in `error_data`: facebook-business, video_uploader.py.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Stage
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.facebook.read import object_id, whole_number
from orbyt_worker.platforms.facebook.upload import (
    STALLS_MAX,
    Upload,
    UploadGone,
    is_transient,
    new_upload,
    save_upload,
    sleep_after_stall,
)

START_TIMEOUT_SECONDS = 60.0
# A chunk may be of any size; 64 KiB/s is a slow line that still advances.
CHUNK_TIMEOUT_SECONDS_MIN = 120.0
CHUNK_BYTES_PER_SECOND_MIN = 64 * 1024
# The smallest chunk seen is 1 MB; 10 GB of them are about 10,000.
CHUNKS_MAX = 20_000
SESSION_CHARACTERS_MAX = 200
# What a session that is unknown or was ended looks like is not documented; during a transfer nothing else can be wrong.
_UNKNOWN_SESSION = ErrorCode.META_PARAMETER_INVALID


async def open_upload(ctx: StepContext, total_bytes: int) -> Upload:
    """Open an upload of so many bytes. When its answer is lost, what may have been opened is harmless: it is never finished."""
    answer = await graph_api.write(
        ctx,
        "facebook.videos.start",
        f"{ctx.account.platform_account_id}/videos",
        {"upload_phase": "start", "file_size": str(total_bytes)},
        host=graph_api.Host.VIDEO,
        timeout_seconds=START_TIMEOUT_SECONDS,
    )
    video_id, session_id = object_id(answer.get("video_id")), _session_id(answer.get("upload_session_id"))
    if video_id is None or session_id is None:
        raise Failure(
            ErrorCode.PLATFORM_ANSWER_INVALID, "facebook.videos.start: no video or session id", http_status=200
        )
    start, end = _range(answer, total_bytes)
    return new_upload(ctx, video_id, total_bytes, session_id=session_id, start_offset=start, end_offset=end)


async def transfer(ctx: StepContext, upload: Upload, *, fresh: bool) -> Upload:
    """Send what Facebook asks for until it asks for nothing. Raises UploadGone.

    Bounded: each round stores new bytes, or counts as a stall, and STALLS_MAX stalls in a row end it.
    """
    best, stalls = upload.start_offset, 0
    for _ in range(CHUNKS_MAX):
        if upload.start_offset == upload.end_offset:
            if upload.start_offset != upload.total_bytes:
                raise _lost(f"Facebook wants no more, and has {upload.start_offset} of {upload.total_bytes} bytes")
            return upload
        asked: float | None = None
        try:
            start, end = _range(await _send(ctx, upload), upload.total_bytes)
        except Failure as failure:
            if graph_api.wants_new_upload(failure.code, ctx.job.failures) or failure.code is _UNKNOWN_SESSION:
                raise UploadGone from failure
            offsets = _checked(graph_api.offsets_of(failure), upload.total_bytes)
            if offsets is None and (not is_transient(failure) or stalls >= STALLS_MAX):
                raise
            start, end = offsets or (upload.start_offset, upload.end_offset)
            asked = failure.retry_after_seconds
        if (start, end) != (upload.start_offset, upload.end_offset):
            upload = replace(upload, start_offset=start, end_offset=end)
            await save_upload(ctx, upload)
        if start > best:
            best, stalls = start, 0
        else:
            stalls += 1
            if stalls > STALLS_MAX:
                raise _lost(f"Facebook stores no more than {best} of {upload.total_bytes} bytes")
            await sleep_after_stall(ctx, stalls, asked)
        await ctx.progress(Stage.UPLOADING, start / upload.total_bytes)
    raise _lost(f"more than {CHUNKS_MAX} chunks")


async def _send(ctx: StepContext, upload: Upload) -> Json:
    start, length = upload.start_offset, upload.end_offset - upload.start_offset
    part = graph_api.FilePart(
        "video_file_chunk", "chunk", "application/octet-stream", length, ctx.media[0].read(start, length)
    )
    return await graph_api.send_file(
        ctx,
        "facebook.videos.transfer",
        f"{ctx.account.platform_account_id}/videos",
        {"upload_phase": "transfer", "upload_session_id": upload.session_id or "", "start_offset": str(start)},
        part,
        host=graph_api.Host.VIDEO,
        timeout_seconds=max(CHUNK_TIMEOUT_SECONDS_MIN, length / CHUNK_BYTES_PER_SECOND_MIN),
    )


def _range(answer: Json, total_bytes: int) -> tuple[int, int]:
    """The range Facebook asks for next; numbers come as text. Both equal: it has everything."""
    found = whole_number(answer.get("start_offset")), whole_number(answer.get("end_offset"))
    checked = None if None in found else _checked(found, total_bytes)  # type: ignore[arg-type] # None was ruled out
    if checked is None:
        raise Failure(
            ErrorCode.PLATFORM_ANSWER_INVALID, "facebook.videos: the range asked for makes no sense", http_status=200
        )
    return checked


def _checked(found: tuple[int, int] | None, total_bytes: int) -> tuple[int, int] | None:
    return found if found is not None and 0 <= found[0] <= found[1] <= total_bytes else None


def _session_id(value: Any) -> str | None:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if 0 < len(text) <= SESSION_CHARACTERS_MAX and text.isprintable() else None


def _lost(detail: str) -> Failure:
    return Failure(ErrorCode.META_UPLOAD_INTERRUPTED, detail)
