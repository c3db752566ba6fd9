"""Random access to a file that is far away, within a budget: blocks are fetched once, kept a while, and counted.

A probe reads a few headers, jumps to the index, reads through it. Asking the source for each of these reads would take
hundreds of requests; reading everything would defeat the purpose.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure

BLOCK_BYTES = 64 * 1024
BLOCKS_KEPT_MAX = 128
# Reading on from where the last fetch ended doubles the next one up to this.
FETCH_BLOCKS_MAX = 32

Fetch = Callable[[int, int], AsyncGenerator[bytes, None]]


class Window:
    """`fetch(start, length)` gives exactly that range. `size_bytes` None: the end is not known."""

    def __init__(self, fetch: Fetch, size_bytes: int | None, *, bytes_max: int) -> None:
        self._fetch = fetch
        self.size_bytes = size_bytes
        self._bytes_left = bytes_max
        self._bytes_max = bytes_max
        self._blocks: dict[int, bytes] = {}
        self._next_block = -1
        self._run = 1
        self._lock = asyncio.Lock()

    async def read(self, start: int, length: int) -> bytes:
        """`length` bytes from `start`, fewer only at the end of the file. Raises Failure(media_unreadable) over budget."""
        if self.size_bytes is not None:
            length = min(length, self.size_bytes - start)
        collected = bytearray()
        async with self._lock:
            while len(collected) < length:
                position = start + len(collected)
                block = await self._block(position // BLOCK_BYTES)
                part = block[position % BLOCK_BYTES :][: length - len(collected)]
                if not part:
                    break
                collected += part
        return bytes(collected)

    async def _block(self, number: int) -> bytes:
        if number in self._blocks:
            return self._blocks[number]
        self._run = min(self._run * 2, FETCH_BLOCKS_MAX) if number == self._next_block else 1
        start, length = number * BLOCK_BYTES, self._run * BLOCK_BYTES
        if self.size_bytes is not None:
            length = min(length, self.size_bytes - start)
        if length > self._bytes_left:
            raise Failure(ErrorCode.MEDIA_UNREADABLE, f"more than {self._bytes_max} bytes of headers")
        self._bytes_left -= length
        collected = bytearray()
        async with aclosing(self._fetch(start, length)) as pieces:
            try:
                async for piece in pieces:
                    collected += piece
            except Failure as failure:
                # A source that did not say its size has told us where it ends.
                if self.size_bytes is not None or failure.code is not ErrorCode.MEDIA_TRUNCATED:
                    raise
        for at in range(0, max(len(collected), 1), BLOCK_BYTES):
            self._blocks[number + at // BLOCK_BYTES] = bytes(collected[at : at + BLOCK_BYTES])
        self._next_block = number + self._run
        while len(self._blocks) > BLOCKS_KEPT_MAX:
            del self._blocks[next(iter(self._blocks))]
        return self._blocks[number]


class BlockingFile(io.RawIOBase):
    """A window as the file object that a library in a thread wants.

    `failure` is what cut it short: whatever the library made of the rest is then worthless. The thread ends soon after
    `stop()`: the read it waits for ends, and every one after it finds the end of the file.
    """

    def __init__(self, window: Window, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.failure: BaseException | None = None
        self._window = window
        self._loop = loop
        self._position = 0
        self._stopped = threading.Event()
        self._pending: concurrent.futures.Future[bytes] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if self._stopped.is_set() or size < 0:
            return b""
        self._pending = asyncio.run_coroutine_threadsafe(self._window.read(self._position, size), self._loop)
        if self._stopped.is_set():  # stop() came between the two lines above, and saw nothing to cancel
            self._pending.cancel()
        try:
            data = self._pending.result()
        except (Failure, concurrent.futures.CancelledError) as failure:
            # Told as an end of file: FFmpeg prints an exception raised in its callback instead of passing it on.
            self.failure = failure
            self._stopped.set()
            return b""
        self._position += len(data)
        return data

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        size = self._window.size_bytes
        if whence == io.SEEK_END and size is None:
            return -1
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: size or 0}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def stop(self) -> None:
        """Called in the event loop."""
        self._stopped.set()
        if self._pending is not None:
            self._pending.cancel()
