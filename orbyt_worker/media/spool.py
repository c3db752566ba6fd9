"""One download for all jobs of this process that want the same file, and readers that follow it while it grows.

Memory: one block per download and one per reader, whatever the size of the file. Disk: the whole file is reserved before
its first byte, out of `bytes_max`; a download that finds no room waits its turn, oldest first. A finished file is kept for
a grace time after its last reader, so that the next job of the same post finds it, unless its room is needed.

A file that has to be put together first (`BuiltSource`) is built in the spool, in a thread of its own and out of the same
room; its readers wait for the end.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import structlog

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.source import PIECE_BYTES_MAX, BuiltSource, MediaSource, SourceInfo, read_range
from orbyt_worker.media.spool_dir import SpoolDirectory
from orbyt_worker.runtime import Runtime

BLOCK_BYTES = 1024 * 1024
DISK_THREADS_MAX = 4
# A build waits for the network most of the time, and holds its thread meanwhile: not one of those that serve readers.
BUILDS_MAX = 4
GRACE_SECONDS = 120.0
ROOM_WAIT_SECONDS_MAX = 120.0
# A file of unknown size takes room in steps, and never waits for it: it would hold what others wait for.
GROWTH_BYTES = 32 * 1024 * 1024

_log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.media")
T = TypeVar("T")
_Key = tuple[str, int | None, str | None]


class _Entry:
    """One file on its way or complete. Bytes up to `written` are on disk, `tail` holds those after it."""

    def __init__(self, key: _Key, size_bytes: int | None) -> None:
        self.key = key
        self.size_bytes = size_bytes
        self.fd = -1
        self.written = 0
        self.tail = bytearray()
        self.failure: Exception | None = None
        self.readers = 0
        self.reserved_bytes = 0
        self.disk_calls = 0
        self.dropped = False
        self.done = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    @property
    def available(self) -> int:
        return self.written + len(self.tail)

    def announce(self) -> None:
        """Wake every reader that waits for something to change."""
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    async def change(self) -> None:
        await self._changed.wait()

    def raise_failure(self) -> None:
        """A copy for each reader: one exception raised in several tasks would mix their tracebacks."""
        failure = self.failure
        if isinstance(failure, Failure):
            raise Failure(
                failure.code,
                failure.detail,
                field=failure.field,
                retry_after_seconds=failure.retry_after_seconds,
                http_status=failure.http_status,
            )
        if failure is not None:
            raise RuntimeError("the download stopped unexpectedly") from failure


class SpoolFile:
    """What a reader holds: the file as far as it has come. Any number of reads, at any place, also at once."""

    def __init__(self, spool: Spool, entry: _Entry) -> None:
        self._spool = spool
        self._entry = entry

    async def size(self) -> int:
        """Exact length; known at once, or at the end of the download when the source did not say. Raises Failure."""
        entry = self._entry
        while entry.size_bytes is None:
            entry.raise_failure()
            await entry.change()
        return entry.size_bytes

    async def read(self, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """Exactly `length` bytes from `start` in pieces of at most 256 KiB, as they arrive. Raises Failure."""
        entry, position, end = self._entry, start, start + length
        while position < end:
            entry.raise_failure()
            if position < entry.written:
                wanted = min(BLOCK_BYTES, end - position, entry.written - position)
                block = await self._spool.disk(entry, os.pread, entry.fd, wanted, position)
                if not block:
                    raise Failure(ErrorCode.SPOOL_FULL, "the spool lost a file")
            elif position < entry.available:
                at = position - entry.written
                block = bytes(entry.tail[at : at + min(end - position, BLOCK_BYTES)])
            elif entry.done:
                raise Failure(
                    ErrorCode.MEDIA_TRUNCATED, f"the file ends at byte {entry.available}, byte {end} was wanted"
                )
            else:
                await entry.change()
                continue
            for offset in range(0, len(block), PIECE_BYTES_MAX):
                yield block[offset : offset + PIECE_BYTES_MAX]
            position += len(block)


class Spool:
    """All files of one process. Not thread-safe: one event loop."""

    def __init__(
        self,
        directory: Path,
        bytes_max: int,
        runtime: Runtime,
        *,
        on_bytes: Callable[[int], None] | None = None,
        grace_seconds: float = GRACE_SECONDS,
        room_wait_seconds: float = ROOM_WAIT_SECONDS_MAX,
    ) -> None:
        self._directory = SpoolDirectory(directory)
        self._bytes_max = bytes_max
        self._runtime = runtime
        self._on_bytes = on_bytes
        self._grace_seconds = grace_seconds
        self._room_wait_seconds = room_wait_seconds
        self._entries: dict[_Key, _Entry] = {}  # in order of last use
        self._tasks: set[asyncio.Task[None]] = set()
        self._used_bytes = 0
        self._queue: deque[object] = deque()
        self._freed = asyncio.Event()
        self._threads = ThreadPoolExecutor(DISK_THREADS_MAX, thread_name_prefix="orbyt-spool")
        self._builders = ThreadPoolExecutor(BUILDS_MAX, thread_name_prefix="orbyt-build")

    @property
    def used_bytes(self) -> int:
        """Disk reserved or taken at the moment."""
        return self._used_bytes

    async def start(self) -> None:
        """Make the directory, remove what a killed process left. Raises OSError."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._directory.open)

    async def close(self) -> None:
        """Stop all downloads, free all files. Safe to call twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for entry in list(self._entries.values()):
            entry.failure = entry.failure or Failure(ErrorCode.MEDIA_SOURCE_UNAVAILABLE, "the worker is stopping")
            entry.announce()
            self._drop(entry)
        # All at once is fine: what still runs in a thread has its file closed when it returns.
        await asyncio.get_running_loop().run_in_executor(None, self._builders.shutdown)
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._directory.close()

    def fits(self, info: SourceInfo) -> bool:
        """Whether a file could ever be spooled. Unknown sizes are tried."""
        return info.size_bytes is None or info.size_bytes <= self._bytes_max

    @asynccontextmanager
    async def follow(self, source: MediaSource | BuiltSource, info: SourceInfo) -> AsyncIterator[SpoolFile]:
        """Join the download of this version of the file, or begin it. Returns at once; reads wait for their bytes."""
        key = (source.key, info.size_bytes, info.version)
        entry = self._entries.pop(key, None)
        if entry is None or entry.failure is not None:
            entry = _Entry(key, info.size_bytes)
            entry.task = asyncio.create_task(self._download(entry, source, info))
            self._tasks.add(entry.task)
            entry.task.add_done_callback(self._tasks.discard)
        self._entries[key] = entry
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        entry.readers += 1
        try:
            yield SpoolFile(self, entry)
        finally:
            entry.readers -= 1
            if entry.readers == 0:
                self._left(entry)

    def _left(self, entry: _Entry) -> None:
        """The last reader has gone: a finished file stays for a while, an unfinished one has lost its purpose."""
        if entry.dropped:
            return
        # Readers take the last bytes from memory, and may be gone before these are on disk.
        complete = entry.done or (entry.size_bytes is not None and entry.available >= entry.size_bytes)
        if complete and entry.failure is None:
            entry.timer = asyncio.get_running_loop().call_later(self._grace_seconds, self._drop, entry)
            self._freed.set()  # whoever waits for room may have it
            return
        self._drop(entry)

    def _drop(self, entry: _Entry) -> None:
        """Forget the file and stop its download; its room is free once no thread uses it any more."""
        if entry.dropped:
            return
        entry.dropped = True
        if entry.task is not None and not entry.done and entry.failure is None:
            entry.task.cancel()
        if entry.timer is not None:
            entry.timer.cancel()
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
        self._free_if_unused(entry)

    def _free_if_unused(self, entry: _Entry) -> None:
        if not entry.dropped or entry.disk_calls:
            return
        if entry.fd >= 0:
            os.close(entry.fd)
            entry.fd = -1
        self._used_bytes -= entry.reserved_bytes
        entry.reserved_bytes = 0
        self._freed.set()

    async def disk(self, entry: _Entry, call: Callable[..., T], *arguments: Any, building: bool = False) -> T:
        """A blocking call in a thread. It runs to its end even if nobody waits any more, and holds the file open till then:
        a write into a descriptor that was closed and given to another file would damage that one."""
        entry.disk_calls += 1
        threads = self._builders if building else self._threads
        future = asyncio.get_running_loop().run_in_executor(threads, call, *arguments)

        def returned(done: asyncio.Future[T]) -> None:
            entry.disk_calls -= 1
            if not done.cancelled():
                done.exception()  # looked at here, should nobody wait for it any more
            self._free_if_unused(entry)

        future.add_done_callback(returned)
        return await asyncio.shield(future)

    async def _download(self, entry: _Entry, source: MediaSource | BuiltSource, info: SourceInfo) -> None:
        """Fill the file. Never raises but for cancellation: what goes wrong is for the readers."""
        started = self._runtime.monotonic()
        guess = min(info.guess_bytes or GROWTH_BYTES, self._bytes_max)
        try:
            await self._reserve(entry, guess if info.size_bytes is None else info.size_bytes)
            await self._create(entry)
            if isinstance(source, BuiltSource):
                entry.written = await source.build(info, _Workfile(self, entry), self._count)
            else:
                await self._follow_source(entry, source, info)
            if entry.written == 0:
                raise Failure(ErrorCode.MEDIA_EMPTY, "the file has 0 bytes")
            self._shrink(entry)
            entry.size_bytes = entry.written
            entry.done = True
            _log.info(
                "media.downloaded", size_bytes=entry.written, seconds=round(self._runtime.monotonic() - started, 3)
            )
        except OSError as failure:
            full = failure.errno in {errno.ENOSPC, errno.EDQUOT}
            entry.failure = Failure(ErrorCode.SPOOL_FULL, "the disk of the spool is full") if full else failure
        except Exception as failure:
            entry.failure = failure
        finally:
            entry.announce()
            if entry.failure is not None and entry.readers == 0:
                self._drop(entry)

    async def _follow_source(self, entry: _Entry, source: MediaSource, info: SourceInfo) -> None:
        async with aclosing(read_range(source, info, 0, info.size_bytes, self._runtime)) as pieces:
            async for piece in pieces:
                if entry.available + len(piece) > entry.reserved_bytes:
                    self.grow(entry)
                entry.tail += piece
                entry.announce()
                self._count(len(piece))
                if len(entry.tail) >= BLOCK_BYTES:
                    await self._flush(entry)
        await self._flush(entry)

    def _count(self, fetched_bytes: int) -> None:
        if self._on_bytes is not None:
            self._on_bytes(fetched_bytes)

    async def _create(self, entry: _Entry) -> None:
        entry.disk_calls += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._directory.create_file)

        def created(done: asyncio.Future[int]) -> None:
            entry.disk_calls -= 1
            if not done.cancelled() and done.exception() is None:
                entry.fd = done.result()
            self._free_if_unused(entry)

        future.add_done_callback(created)
        await asyncio.shield(future)

    async def _flush(self, entry: _Entry) -> None:
        view = bytes(entry.tail)
        done = 0
        while done < len(view):
            done += await self.disk(entry, os.pwrite, entry.fd, view[done:] if done else view, entry.written + done)
        entry.written += done
        entry.tail = bytearray()

    async def _reserve(self, entry: _Entry, size_bytes: int) -> None:
        """Wait for room, first come first served. Raises Failure(media_too_large | spool_full)."""
        if size_bytes > self._bytes_max:
            raise Failure(ErrorCode.MEDIA_TOO_LARGE, f"{size_bytes} bytes do not fit into the spool")
        ticket = object()
        self._queue.append(ticket)
        try:
            async with asyncio.timeout(self._room_wait_seconds):
                while self._queue[0] is not ticket or not self._make_room(size_bytes):
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            raise Failure(ErrorCode.SPOOL_FULL, f"no room for {size_bytes} bytes") from None
        finally:
            self._queue.remove(ticket)
            self._freed.set()  # the next in the queue looks again
        self._take(entry, size_bytes)

    def _make_room(self, size_bytes: int) -> bool:
        """Whether `size_bytes` are free now, after dropping unused files, the longest unused first, as far as needed."""
        for each in [one for one in self._entries.values() if one.done and one.readers == 0]:
            if self._used_bytes + size_bytes <= self._bytes_max:
                break
            self._drop(each)
        return self._used_bytes + size_bytes <= self._bytes_max

    def _take(self, entry: _Entry, size_bytes: int) -> None:
        self._used_bytes += size_bytes
        entry.reserved_bytes += size_bytes

    def grow(self, entry: _Entry) -> None:
        """Take the next step of room for a file of unknown size. Raises Failure(spool_full | media_too_large)."""
        if entry.reserved_bytes + GROWTH_BYTES > self._bytes_max:
            raise Failure(
                ErrorCode.MEDIA_TOO_LARGE, "the source does not say its size, and it does not fit into the spool"
            )
        if not self._make_room(GROWTH_BYTES):
            raise Failure(ErrorCode.SPOOL_FULL, "no room for a file of unknown size")
        self._take(entry, GROWTH_BYTES)

    def _shrink(self, entry: _Entry) -> None:
        spare = entry.reserved_bytes - entry.written
        entry.reserved_bytes -= spare
        self._used_bytes -= spare
        self._freed.set()


class _Workfile:
    """`Workfile` over a file of the spool. Room is kept count of in the event loop, everything else happens in the thread."""

    def __init__(self, spool: Spool, entry: _Entry) -> None:
        self._spool = spool
        self._entry = entry
        self._loop = asyncio.get_running_loop()

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        return await self._spool.disk(self._entry, call, *arguments, building=True)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        while offset + len(data) > self._entry.reserved_bytes:
            asyncio.run_coroutine_threadsafe(self._grow(), self._loop).result()
        view = memoryview(data)
        while view:
            done = os.pwrite(self._entry.fd, view, offset)
            view, offset = view[done:], offset + done

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._entry.fd, length, offset)

    async def _grow(self) -> None:
        if self._entry.dropped:
            raise Failure(ErrorCode.MEDIA_SOURCE_UNAVAILABLE, "nobody waits for the file any more")
        self._spool.grow(self._entry)
