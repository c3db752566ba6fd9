"""MP4 boxes: enough to pad and cut files on purpose and to see what a received file claims to be.

Layout after ISO/IEC 14496-12: a box is size(4) type(4) payload; size 1 means a 64-bit size follows the type, size 0 means
"to the end of the file". Only the sandbox uses this; the worker probes with PyAV.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

BOX_HEADER_BYTES = 8
LARGE_BOX_HEADER_BYTES = 16
MOOV_BYTES_KEPT_MAX = 64 * 1024
_CONTAINERS = frozenset({b"moov", b"trak", b"mdia"})


def free_box_header(box_bytes: int) -> bytes:
    """Header of a `free` box of `box_bytes` in total (header included)."""
    if box_bytes < BOX_HEADER_BYTES:
        raise ValueError(f"a box has at least {BOX_HEADER_BYTES} bytes")
    if box_bytes < 2**32:
        return struct.pack(">I4s", box_bytes, b"free")
    return struct.pack(">I4sQ", 1, b"free", box_bytes)


def top_level_boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, offset, size) of each box of a complete file."""
    offset = 0
    while offset + BOX_HEADER_BYTES <= len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, offset + BOX_HEADER_BYTES)
        elif size == 0:
            size = len(data) - offset
        if size < BOX_HEADER_BYTES:
            raise ValueError(f"bad box size at {offset}")
        yield kind, offset, size
        offset += size


@dataclass(frozen=True, slots=True)
class Mp4Facts:
    """What the movie header says; None where it does not."""

    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None


def read_moov(payload: bytes) -> Mp4Facts:
    """Duration and picture size from the payload of a `moov` box, which may be cut off at its end."""
    duration: float | None = None
    width: int | None = None
    height: int | None = None
    for kind, body in _boxes(payload):
        if kind == b"mvhd" and len(body) >= 32:
            if body[0] == 1:
                scale, length = struct.unpack_from(">IQ", body, 20)
            else:
                scale, length = struct.unpack_from(">II", body, 12)
            duration = length / scale if scale else None
        elif kind == b"tkhd":
            at = 88 if body[:1] == b"\x01" else 76
            if len(body) >= at + 8:
                fixed_width, fixed_height = struct.unpack_from(">II", body, at)
                if fixed_width and fixed_height:
                    width, height = fixed_width >> 16, fixed_height >> 16
    return Mp4Facts(duration, width, height)


def _boxes(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 0
    while offset + BOX_HEADER_BYTES <= len(payload):
        size, kind = struct.unpack_from(">I4s", payload, offset)
        if size < BOX_HEADER_BYTES:
            return
        body = payload[offset + BOX_HEADER_BYTES : offset + size]
        if kind in _CONTAINERS:
            yield from _boxes(body)
        else:
            yield kind, body
        offset += size


class Mp4Watcher:
    """Follows the top-level boxes of a file that passes by in pieces; keeps only the start of `moov`."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._left = 0
        self._kind = b""
        self._moov = bytearray()
        self._broken = False
        self._to_end = False
        self.box_types: list[str] = []

    def feed(self, data: bytes) -> None:
        """The next bytes of the file."""
        view = memoryview(data)
        while view and not self._broken and not self._to_end:
            if self._left == 0 and not self._open_box(view):
                view = view[self._taken :]
                continue
            if self._taken:
                view = view[self._taken :]
                self._taken = 0
            piece = view[: self._left]
            if self._kind == b"moov" and len(self._moov) < MOOV_BYTES_KEPT_MAX:
                self._moov += piece[: MOOV_BYTES_KEPT_MAX - len(self._moov)]
            self._left -= len(piece)
            view = view[len(piece) :]

    _taken = 0

    def _open_box(self, view: memoryview) -> bool:
        """Collect a box header from the start of `view`; True when it is complete. `_taken` says how much was used."""
        wanted = BOX_HEADER_BYTES
        if len(self._header) >= BOX_HEADER_BYTES or len(self._header) + len(view) >= BOX_HEADER_BYTES:
            head = bytes(self._header) + bytes(view[:LARGE_BOX_HEADER_BYTES])
            if struct.unpack_from(">I", head)[0] == 1:
                wanted = LARGE_BOX_HEADER_BYTES
        self._taken = min(wanted - len(self._header), len(view))
        self._header += view[: self._taken]
        if len(self._header) < wanted:
            return False
        size, kind = struct.unpack_from(">I4s", self._header)
        if size == 1:
            (size,) = struct.unpack_from(">Q", self._header, BOX_HEADER_BYTES)
        header_bytes = len(self._header)
        self._header.clear()
        self._kind = kind
        if size == 0:
            self._to_end = True
        elif size < header_bytes or not kind.isascii():
            self._broken = True
        else:
            self.box_types.append(kind.decode("ascii"))
            self._left = size - header_bytes
        return self._left > 0

    @property
    def complete(self) -> bool:
        """Whether what was seen so far ends exactly at the end of a box and holds a movie header."""
        return (
            not self._broken and (self._to_end or (self._left == 0 and not self._header)) and "moov" in self.box_types
        )

    @property
    def facts(self) -> Mp4Facts:
        """Duration and picture size, as far as the movie header was seen."""
        return read_moov(bytes(self._moov))
