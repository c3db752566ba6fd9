"""The outer structure of MP4 and QuickTime files: where the index is, whether the file is whole, whether it is turned.

FFmpeg reads these files too, but it does not say where `moov` stands, and it opens a file that was cut in the middle of its
picture data without a word.

Source: ISO/IEC 14496-12:2022, 4.2 (box: size, type, largesize; size 0 = to the end), 8.2.1 moov, 8.3.2 tkhd (matrix),
8.4.3 hdlr; Apple, QuickTime File Format.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure

# Progressive files have a handful; a fragmented one may have thousands, and its beginning tells all we need.
TOP_BOXES_MAX = 48
CHILD_BOXES_MAX = 64
# How far ahead a source without ranges is read for a look at the structure.
REACH_BYTES = 8 * 1024 * 1024
_HEADER_BYTES = 8
_LARGE_HEADER_BYTES = 16
# tkhd: header, version and flags, then times (32 or 64 bits), then 16 bytes, then the matrix of nine 32-bit numbers.
_MATRIX_AT = {0: 8 + 4 + 20 + 16, 1: 8 + 4 + 32 + 16}
_TKHD_BYTES = 8 + 4 + 32 + 16 + 36

# (offset, length) -> bytes, fewer only at the end of the file.
ReadAt = Callable[[int, int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Layout:
    """`moov_at_front` None: not seen. `moov` is (offset, end) of the index if seen."""

    moov_at_front: bool | None
    moov: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    payload: int
    end: int | None  # None: to the end of a file whose size is not known


async def layout(read: ReadAt, size_bytes: int | None, *, jumps: bool) -> Layout:
    """Walk the top level. Raises Failure(media_truncated | media_unreadable).

    `jumps` False: the source cannot give parts of the file, so looking behind something large means waiting for all of it.
    Then only what is near the beginning is looked at.
    """
    reach = None if jumps else REACH_BYTES
    media_seen = False
    async for box in _children(read, 0, size_bytes, TOP_BOXES_MAX, reach):
        if box.kind in {b"moov", b"mdat", b"moof"} and size_bytes is not None and (box.end or 0) > size_bytes:
            raise Failure(ErrorCode.MEDIA_TRUNCATED, f"the file has {size_bytes} of at least {box.end} bytes")
        if box.kind == b"moov":
            if box.end is None:
                raise Failure(ErrorCode.MEDIA_UNREADABLE, "the index has no size")
            if media_seen or size_bytes is None or box.end >= size_bytes:
                return Layout(not media_seen, (box.payload, box.end))
            # The index is at the front: what follows still has to be whole.
            await _rest_is_whole(read, box.end, size_bytes, reach)
            return Layout(True, (box.payload, box.end))
        if box.kind == b"mdat":
            media_seen = True
            if box.end is None or (reach is not None and box.end > reach):
                return Layout(False, None)
    if size_bytes is None or not jumps:
        return Layout(None, None)
    raise Failure(ErrorCode.MEDIA_TRUNCATED, "the file has no index (moov)")


async def _rest_is_whole(read: ReadAt, start: int, size_bytes: int, reach: int | None) -> None:
    async for box in _children(read, start, size_bytes, TOP_BOXES_MAX, None if reach is None else start + reach):
        if box.kind in {b"mdat", b"moof"} and (box.end or 0) > size_bytes:
            raise Failure(ErrorCode.MEDIA_TRUNCATED, f"the file has {size_bytes} of at least {box.end} bytes")


async def is_turned(read: ReadAt, moov: tuple[int, int]) -> bool:
    """Whether the picture is shown turned by a quarter, so that its width and height swap. False when nothing says so."""
    async for track in _children(read, *moov, CHILD_BOXES_MAX):
        if track.kind != b"trak" or track.end is None:
            continue
        turned = picture = False
        async for box in _children(read, track.payload, track.end, CHILD_BOXES_MAX):
            if box.kind == b"tkhd":
                turned = _quarter_turn(await read(box.start, _TKHD_BYTES))
            elif box.kind == b"mdia" and box.end is not None:
                async for inner in _children(read, box.payload, box.end, CHILD_BOXES_MAX):
                    if inner.kind == b"hdlr":
                        picture = (await read(inner.payload, 12))[8:12] == b"vide"
        if picture:
            return turned
    return False


def _quarter_turn(tkhd: bytes) -> bool:
    at = _MATRIX_AT.get(tkhd[8] if len(tkhd) > 8 else -1)
    if at is None or len(tkhd) < at + 20:
        return False
    a, b, _, c, d = struct.unpack_from(">5i", tkhd, at)
    return bool(a == 0 and d == 0 and b and c)


async def _children(
    read: ReadAt, start: int, end: int | None, boxes_max: int, reach: int | None = None
) -> AsyncGenerator[_Box, None]:
    """Boxes from `start` to `end`, at most `boxes_max`, none that begins behind `reach`.

    A box may claim to end behind `end`, and is then the last.
    """
    position = start
    for _ in range(boxes_max):
        if (end is not None and end - position < _HEADER_BYTES) or (reach is not None and position > reach):
            return
        header = await read(position, _LARGE_HEADER_BYTES)
        if len(header) < _HEADER_BYTES:
            return
        size, kind = struct.unpack_from(">I4s", header)
        payload = position + _HEADER_BYTES
        if size == 1:
            if len(header) < _LARGE_HEADER_BYTES:
                return
            (size,) = struct.unpack_from(">Q", header, _HEADER_BYTES)
            payload = position + _LARGE_HEADER_BYTES
        if size == 0:
            yield _Box(kind, position, payload, end)
            return
        if size < payload - position:
            if kind == b"\0\0\0\0":
                return  # zeros behind the last box: padding, seen from some cameras
            raise Failure(ErrorCode.MEDIA_UNREADABLE, "a box of the file has an impossible size")
        yield _Box(kind, position, payload, position + size)
        position += size
        if end is not None and position >= end:
            return
