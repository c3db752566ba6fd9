"""The MediaSource contract: what a source says about itself, and its bytes from any offset. And how to go on after a break.

A source does one request at a time and never repeats it; `read_range` is the one place that resumes, so the spool and the
direct reader behave alike.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import structlog

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.runtime import Runtime

PIECE_BYTES_MAX = 256 * 1024
# How often one transfer goes on after a break: in a row without getting anywhere, and altogether.
RESUMES_WITHOUT_PROGRESS_MAX = 4
RESUMES_MAX = 200
PROGRESS_BYTES_MIN = 1024 * 1024
# A versioned answer that differs once may be another edge of the same CDN; twice is another file.
CHANGES_SEEN_MAX = 1
BACKOFF_SECONDS_MIN = 0.25
BACKOFF_SECONDS_MAX = 8.0
# Asked to wait longer than this, the transfer gives its slot back instead.
WAIT_SECONDS_MAX = 30.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.media")
T = TypeVar("T")


class Interrupted(Exception):
    """The transfer stopped for a reason that may pass. After the last resume it becomes a Failure with the same words."""

    def __init__(
        self, code: ErrorCode, detail: str, *, http_status: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.http_status = http_status
        self.retry_after_seconds = retry_after_seconds

    def failure(self) -> Failure:
        return Failure(
            self.code, self.detail, http_status=self.http_status, retry_after_seconds=self.retry_after_seconds
        )


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source says before its bytes are moved. `size_bytes` None: only the end of the transfer will tell.

    `ranges`: a part can be asked for. `head` is the beginning of the file (up to 4 KiB), read along the way.
    `guess_bytes`: about how large a file of unknown size will be, so that room for it can be kept. `duration_seconds`: if
    the source knows.
    """

    size_bytes: int | None
    content_type: str
    etag: str | None
    last_modified: str | None
    ranges: bool
    head: bytes = field(default=b"", repr=False)
    guess_bytes: int | None = None
    duration_seconds: float | None = None

    @property
    def version(self) -> str | None:
        """What tells one version of the file from another: ETag, else Last-Modified, else nothing."""
        if self.etag is not None:
            return self.etag
        return None if self.last_modified is None else f"last-modified:{self.last_modified}"


class Source(Protocol):
    """One file somewhere."""

    @property
    def key(self) -> str:
        """The same for every job that wants the same file. Opaque, holds no secret."""
        ...

    async def describe(self) -> SourceInfo:
        """Ask the source about the file. Raises Failure or Interrupted."""
        ...


class MediaSource(Source, Protocol):
    """A file that can be fetched. Implementations: remote.py (https), mux.py (through remote.py)."""

    def open(self, info: SourceInfo, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """Bytes [start, end) of the version `info` describes, in pieces of at most 256 KiB, in one request.

        `end` None: up to the end of the file. Raises Interrupted when it stops early, Failure(media_changed) when the file
        is another one now. Never gives a byte that belongs to another version, or more than asked for.
        """
        ...


class Workspace(Protocol):
    """An empty file that is filled in any order. Both calls block: they are for a thread."""

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put `data` at `offset`, taking room as needed. Raises Failure(spool_full | media_too_large) or OSError."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """What was written there, fewer bytes only at the end of the file. Raises OSError."""
        ...


class Workfile(Workspace, Protocol):
    """A workspace in the spool."""

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """`call` in a thread of its own. The file stays open until it returns, also when nobody waits any more."""
        ...


@runtime_checkable
class BuiltSource(Source, Protocol):
    """A file that does not exist anywhere before it is put together here: nothing of it can be read before all of it.

    Implementation: remux.py.
    """

    async def sample(self, info: SourceInfo, fetched: Callable[[int], None]) -> bytes:
        """A small file of the same kind, made of the first seconds: to be looked at before the whole is built. Raises
        Failure."""
        ...

    async def build(self, info: SourceInfo, file: Workfile, fetched: Callable[[int], None]) -> int:
        """Fill `file` with the version `info` describes and give its size. The same version gives the same bytes.

        `fetched(n)` is told the bytes that came over the network. Raises Failure.
        """
        ...


async def describe(source: Source, runtime: Runtime) -> SourceInfo:
    """`source.describe()`, once more after a short break if the first answer was a hiccup. Raises Failure."""
    try:
        return await source.describe()
    except Interrupted as first:
        if first.retry_after_seconds is not None and first.retry_after_seconds > BACKOFF_SECONDS_MAX:
            raise first.failure() from None
        await runtime.sleep(first.retry_after_seconds or BACKOFF_SECONDS_MIN)
    try:
        return await source.describe()
    except Interrupted as second:
        raise second.failure() from None


async def read_range(
    source: MediaSource, info: SourceInfo, start: int, end: int | None, runtime: Runtime
) -> AsyncGenerator[bytes, None]:
    """Bytes [start, end), resumed from the last good byte after each break, boundedly often. Raises Failure.

    `end` None is for sources of unknown size: such a transfer cannot tell a resumed end from a cut one, so it is only
    resumed when nothing was read yet.
    """
    position = start
    resumes = fruitless = changes = 0
    last_resume_at = start
    while end is None or position < end:
        try:
            async with aclosing(source.open(info, position, end)) as pieces:
                async for piece in pieces:
                    position += len(piece)
                    yield piece
            if end is None or position >= end:
                return
            raise Interrupted(ErrorCode.MEDIA_TRUNCATED, f"the transfer ended at byte {position} of {end}")
        except Failure as failure:
            changes += 1
            if failure.code is not ErrorCode.MEDIA_CHANGED or changes > CHANGES_SEEN_MAX:
                raise
            broken = Interrupted(failure.code, failure.detail)
        except Interrupted as interrupted:
            broken = interrupted
        resumes += 1
        fruitless = 1 if position - last_resume_at >= PROGRESS_BYTES_MIN else fruitless + 1
        last_resume_at = position
        wait = broken.retry_after_seconds
        if wait is None:
            wait = min(BACKOFF_SECONDS_MIN * 2 ** (fruitless - 1), BACKOFF_SECONDS_MAX) * runtime.random.uniform(
                0.5, 1.0
            )
        if (
            resumes > RESUMES_MAX
            or fruitless > RESUMES_WITHOUT_PROGRESS_MAX
            or wait > WAIT_SECONDS_MAX
            or (end is None and position > start)
        ):
            raise broken.failure()
        _log.info(
            "media.resumed", code=str(broken.code), position=position, resumes=resumes, wait_seconds=round(wait, 3)
        )
        await runtime.sleep(wait)
