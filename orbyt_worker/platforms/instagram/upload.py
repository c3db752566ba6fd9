"""The bytes of a video: rupload into a container ("Resumable upload" of the Content Publishing guide; Facebook Login only).

One container takes one file. The offset is whatever the container *says* it has (`video_status.uploading_phase`), never
what was sent. One request carries all that is missing: a body shorter than announced is refused (PartialRequestError).
"""

from __future__ import annotations

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Stage
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import Json, MediaReader, StepContext
from orbyt_worker.platforms.instagram import read
from orbyt_worker.platforms.instagram.containers import Made, container_step, made, named, replacing, upload_step
from orbyt_worker.platforms.instagram.read import State

# 300 MB in half an hour are 170 KB/s; a slower line goes on from where it broke off.
SEND_TIMEOUT_SECONDS = 1800.0
# Interruptions in a row without one new byte stored; then the retry rule of the catalog takes over.
STALLS_MAX = 3
STALL_SLEEP_SECONDS = 2.0

# Asking the container again and going on is the answer to these.
_RESUMES = frozenset(
    {
        ErrorCode.META_UPLOAD_OFFSET_WRONG,
        ErrorCode.META_UPLOAD_INTERRUPTED,
        ErrorCode.META_ERROR_TRANSIENT,
        ErrorCode.META_SERVICE_UNAVAILABLE,
        ErrorCode.NETWORK_TIMEOUT,
        ErrorCode.NETWORK_UNREACHABLE,
        ErrorCode.PLATFORM_ANSWER_INVALID,
        ErrorCode.PLATFORM_UNAVAILABLE,
    }
)


async def upload_item(ctx: StepContext, index: int) -> Json:
    """Send the bytes of media[index]. Safe to repeat: the container is asked first.

    A container that can never take the file (another file came in between, the upload was refused for good) is forgotten,
    so that the next try makes a new one; nothing was published.
    """
    reader = ctx.media[index]
    container = made(ctx.journal, container_step(index))
    if container is None or container.upload_url is None:
        raise await _dead(
            ctx, index, Failure(ErrorCode.PLATFORM_ANSWER_INVALID, "a container was made without an upload address")
        )
    entry = ctx.journal.get(upload_step(index), {})
    if entry.get("container") == container.container_id and not _same_file(entry, reader):
        raise await _dead(ctx, index, Failure(ErrorCode.MEDIA_CHANGED, "the file changed during its upload"))
    record = {
        **{key: value for key, value in entry.items() if key == "replaced"},
        "container": container.container_id,
        "total_bytes": reader.size_bytes,
        "etag": reader.facts.etag,
    }
    await ctx.save(record)
    try:
        await _transfer(ctx, container, reader)
    except Failure as failure:
        if graph_api.wants_new_container(failure.code, ctx.job.failures):
            raise await _dead(ctx, index, failure) from None
        raise named(failure, ctx.post, index) from None
    return record


def _same_file(entry: Json, reader: MediaReader) -> bool:
    etag = entry.get("etag")
    return entry.get("total_bytes") == reader.size_bytes and (
        etag is None or reader.facts.etag is None or etag == reader.facts.etag
    )


async def _transfer(ctx: StepContext, container: Made, reader: MediaReader) -> None:
    """Ask, send what is missing, ask again. Ends when the container has every byte, or is past its upload."""
    assert container.upload_url is not None
    total, offset, stalls = reader.size_bytes, -1, 0
    interrupted: Failure | None = None
    while stalls <= STALLS_MAX:
        seen = await read.container(ctx, container.container_id)
        sent = min(seen.bytes_transferred or 0, total)
        # A state that is not "in progress" is for the next step to judge; what it says then is not about the upload.
        if seen.uploaded or sent >= total or seen.state not in (State.IN_PROGRESS, State.UNKNOWN):
            return
        stalls = 0 if sent > offset else stalls + 1
        if interrupted is not None and stalls:
            await ctx.runtime.sleep(STALL_SLEEP_SECONDS * stalls)
        offset = sent
        await ctx.progress(Stage.UPLOADING, offset / total)
        try:
            await graph_api.rupload(
                ctx,
                "instagram.upload",
                container.upload_url,
                offset=offset,
                size_bytes=total,
                content=reader.read(offset, total - offset),
                length=total - offset,
                timeout_seconds=SEND_TIMEOUT_SECONDS,
            )
        except Failure as failure:
            if failure.code not in _RESUMES:
                raise
            interrupted = failure
        else:
            await ctx.progress(Stage.UPLOADING, 1.0)
            return
    raise interrupted or Failure(ErrorCode.META_UPLOAD_INTERRUPTED, "the upload does not advance")


async def _dead(ctx: StepContext, index: int, failure: Failure) -> Failure:
    """Nothing more can be sent into this container: the next try makes another one."""
    container = made(ctx.journal, container_step(index))
    if container is not None:
        await ctx.save(replacing({}, str(index), container.container_id))
        await ctx.forget(container_step(index))
    return named(failure, ctx.post, index)
