"""From a fragmented MP4, as it is being written, to a progressive one: the media data as it comes, and the index for it.

FFmpeg's own way to an index at the front keeps 64 to 128 bytes in memory for every frame and every block of sound until
the end; here it is 4 to 12, so that twelve hours of video cost some 30 MB instead of some 300. The file gets no edit lists,
because Instagram refuses files that have them: the offsets that say when a picture is shown count from the first picture
(so they may be below zero), and sound that begins later than the pictures holds its first sample longer.

Source: ISO/IEC 14496-12:2022, 8.3 to 8.7 (trak, mdia, stbl and the tables), 8.8 (fragments). Meta, Instagram Platform,
"Reel specifications" (moov atom in front, no edit lists). Read 2026-11.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure

HEADER_BYTES_MAX = 1024 * 1024
FRAGMENT_INDEX_BYTES_MAX = 16 * 1024 * 1024
_MAX_32 = 2**32 - 1
# Generous brands: what reads any MP4 reads this; iso4 stands for composition offsets below zero.
FTYP = struct.pack(">I4s4sI", 32, b"ftyp", b"isom", 512) + b"isomiso2iso4mp41"
_NOT_SYNC = 0x10000


class _Runs:
    """A column of numbers, stored as (how often, number)."""

    def __init__(self, kind: str) -> None:
        self.counts = array("I")
        self.values = array(kind)

    def add(self, value: int) -> None:
        if self.values and self.values[-1] == value:
            self.counts[-1] += 1
        else:
            self.counts.append(1)
            self.values.append(value)

    def table(self) -> array[int]:
        flat = array("I", bytes(8 * len(self.counts)))
        flat[0::2] = self.counts
        flat[1::2] = array("I", self.values.tobytes())
        return flat


@dataclass(slots=True)
class _Track:
    """One track and what the fragments told about its samples so far."""

    number: int
    kind: bytes  # vide or soun
    timescale: int
    boxes: dict[bytes, bytes]
    defaults: tuple[int, int, int]  # duration, size, flags
    sizes: array[int] = field(default_factory=lambda: array("I"))
    durations: _Runs = field(default_factory=lambda: _Runs("I"))
    offsets: _Runs = field(default_factory=lambda: _Runs("i"))
    sync: array[int] = field(default_factory=lambda: array("I"))
    chunks: array[int] = field(default_factory=lambda: array("Q"))
    chunk_samples: array[int] = field(default_factory=lambda: array("I"))
    begins_at: int = 0
    ends_at: int = 0  # of all samples but the last, whose duration only the next fragment tells
    last_duration: int | None = None  # below zero: a fragment has begun and no sample waits

    @property
    def all_sync(self) -> bool:
        return len(self.sync) == len(self.sizes)

    def hold(self, until: int) -> None:
        """The sample that waits for its duration ends at `until`."""
        if self.last_duration is None:
            self.begins_at = self.ends_at = until
            return
        if self.last_duration < 0:
            raise _broken("a fragment without samples")
        duration = until - self.ends_at
        if not 0 < duration <= _MAX_32:
            raise _broken("a fragment begins before the one before it ends")
        self.durations.add(duration)
        self.ends_at = until

    def add(self, size: int, duration: int, flags: int, offset: int) -> None:
        if self.last_duration is not None and self.last_duration >= 0:
            self.durations.add(self.last_duration)
            self.ends_at += self.last_duration
        self.sizes.append(size)
        self.offsets.add(offset)
        if not flags & _NOT_SYNC:
            self.sync.append(len(self.sizes))
        self.last_duration = duration


class Flattener:
    """Fed with the fragmented file in order. `write(offset, data)` gets the media data, beginning at 0."""

    def __init__(self, write: Callable[[int, memoryview], None]) -> None:
        self.data_bytes = 0
        self._write = write
        self._tracks: dict[int, _Track] = {}
        self._moov: dict[bytes, bytes] = {}
        self._waiting = bytearray()
        self._left = 0  # of the media data that passes through
        self._skip = 0
        self._fragment_bytes = 0
        self._chunks: list[tuple[_Track, int, int]] = []  # of the fragment: track, where it begins, samples

    def feed(self, data: bytes | memoryview) -> None:
        """The next bytes of the fragmented file. Raises Failure(media_remux_failed) and what `write` raises."""
        view = memoryview(data)
        while view:
            if self._left:
                part = view[: self._left]
                self._write(self.data_bytes, part)
                self.data_bytes += len(part)
                self._left -= len(part)
                view = view[len(part) :]
            elif self._skip:
                passed = min(self._skip, len(view))
                self._skip -= passed
                view = view[passed:]
            else:
                view = self._header(view)

    def _header(self, view: memoryview) -> memoryview:
        """Take from `view` what is missing of a box header, or of a box that is read as a whole."""
        wanted = self._wanted()
        taken = min(wanted - len(self._waiting), len(view))
        self._waiting += view[:taken]
        if len(self._waiting) >= self._wanted():
            self._box(bytes(self._waiting))
            self._waiting.clear()
        return view[taken:]

    def _wanted(self) -> int:
        if len(self._waiting) < 8:
            return 8
        size, kind = struct.unpack_from(">I4s", self._waiting)
        if size == 1:
            if len(self._waiting) < 16:
                return 16
            if kind != b"mdat":
                raise _broken("a box of an impossible size")
            return 16
        if kind in {b"moov", b"moof"}:
            if not 8 <= size <= (HEADER_BYTES_MAX if kind == b"moov" else FRAGMENT_INDEX_BYTES_MAX):
                raise _broken("an index of an impossible size")
            return int(size)
        if size < 8:
            raise _broken("a box of an impossible size")
        return 8

    def _box(self, head: bytes) -> None:
        size, kind = struct.unpack_from(">I4s", head)
        if size == 1:
            (size,) = struct.unpack_from(">Q", head, 8)
        if kind == b"moov":
            self._begin(head[8:])
        elif kind == b"moof":
            self._fragment(head)
        elif kind == b"mdat":
            if size < len(head) or not self._chunks:
                raise _broken("media data without an index")
            for track, begins, samples in self._chunks:
                inside = begins - self._fragment_bytes - len(head)
                if not 0 <= inside < size:
                    raise _broken("samples outside of their fragment")
                track.chunks.append(self.data_bytes + inside)
                track.chunk_samples.append(samples)
            self._chunks = []
            self._left = size - len(head)
        else:
            self._skip = size - len(head)

    def _begin(self, moov: bytes) -> None:
        if self._tracks:
            raise _broken("a second index")
        defaults: dict[int, tuple[int, int, int]] = {}
        for kind, body in _boxes(moov):
            if kind == b"mvex":
                for inner, trex in _boxes(body):
                    if inner == b"trex":
                        number, _, duration, size, flags = struct.unpack_from(">5I", trex, 4)
                        defaults[number] = (duration, size, flags)
            elif kind == b"mvhd":
                self._moov[kind] = body
        for kind, body in _boxes(moov):
            if kind == b"trak":
                track = _track(body, defaults)
                self._tracks[track.number] = track
        if not self._tracks or b"mvhd" not in self._moov:
            raise _broken("an index without tracks")

    def _fragment(self, moof: bytes) -> None:
        self._fragment_bytes = len(moof)
        for kind, traf in _boxes(moof[8:]):
            if kind != b"traf":
                continue
            parts = list(_boxes(traf))
            header = next((body for inner, body in parts if inner == b"tfhd"), b"")
            (word,) = struct.unpack_from(">I", header)
            flags, position = word & 0xFFFFFF, 8
            if flags & 0x1:
                raise _broken("positions that count from the beginning of the file")
            track = self._tracks.get(struct.unpack_from(">I", header, 4)[0])
            if track is None:
                raise _broken("a fragment of an unknown track")
            values = list(track.defaults)
            position += 4 if flags & 0x2 else 0
            for bit, index in ((0x8, 0), (0x10, 1), (0x20, 2)):
                if flags & bit:
                    (values[index],) = struct.unpack_from(">I", header, position)
                    position += 4
            for inner, body in parts:
                if inner == b"tfdt":
                    (at,) = struct.unpack_from(">Q" if body[0] == 1 else ">I", body, 4)
                    track.hold(at)
                    track.last_duration = -1
                elif inner == b"trun":
                    self._run(track, body, values)

    def _run(self, track: _Track, run: bytes, defaults: Sequence[int]) -> None:
        word, samples = struct.unpack_from(">II", run)
        flags, position = word & 0xFFFFFF, 8
        if not flags & 0x1 or track.last_duration is None:
            raise _broken("a run of samples without a place or a time")
        (begins,) = struct.unpack_from(">i", run, position)
        position += 4
        first_flags: int | None = None
        if flags & 0x4:
            (first_flags,) = struct.unpack_from(">I", run, position)
            position += 4
        columns = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
        row = struct.Struct(">" + "".join("i" if bit == 0x800 else "I" for bit in columns))
        if len(run) < position + row.size * samples:
            raise _broken("a run that is cut")
        for number in range(samples):
            given = dict(zip(columns, row.unpack_from(run, position), strict=True))
            position += row.size
            sample_flags = given.get(0x400, defaults[2])
            if number == 0 and first_flags is not None:
                sample_flags = first_flags
            track.add(given.get(0x200, defaults[1]), given.get(0x100, defaults[0]), sample_flags, given.get(0x800, 0))
        if samples:
            self._chunks.append((track, begins, samples))

    # --- The index ------------------------------------------------------------------------------------------------------

    def finish(self, begins: Sequence[Fraction]) -> bytes:
        """What belongs before the media data: ftyp, moov, and the header of mdat.

        `begins`: when the first sample of each track is shown, in seconds, in the order of the tracks; only the differences
        count. Raises Failure(media_remux_failed).
        """
        if self._left or self._waiting or self._chunks or not self.data_bytes:
            raise _broken("the fragmented file is cut")
        tracks = sorted(self._tracks.values(), key=lambda each: each.number)
        if any(not each.sizes for each in tracks) or len(begins) != len(tracks):
            raise _broken("a track without samples")
        for track, begin in zip(tracks, begins, strict=True):
            if track.last_duration is None or track.last_duration < 0:
                raise _broken("a fragment without samples")
            track.durations.add(track.last_duration)
            track.ends_at += track.last_duration
            track.last_duration = None
            later = round((begin - min(begins)) * track.timescale)
            if track.kind == b"vide":
                _show_first_at(track, later)
            else:
                _hold_first(track, later)
        mdat = self.data_bytes + 8
        head = struct.pack(">I4s", mdat, b"mdat") if mdat <= _MAX_32 else struct.pack(">I4sQ", 1, b"mdat", mdat + 8)
        before = len(FTYP) + len(self._index(tracks, 0, wide=True)) + len(head)
        wide = before + self.data_bytes > _MAX_32
        before -= 0 if wide else sum(4 * len(each.chunks) for each in tracks)
        return FTYP + self._index(tracks, before, wide=wide) + head

    def _index(self, tracks: Sequence[_Track], before: int, *, wide: bool) -> bytes:
        """moov, for media data that begins at byte `before` of the file. `wide`: positions of 64 bits."""
        mvhd = self._moov[b"mvhd"]
        (timescale,) = struct.unpack_from(">I", mvhd, 12)
        lengths = [_scaled(each.ends_at - each.begins_at, timescale, each.timescale) for each in tracks]
        boxes = [_box(b"mvhd", _patched(mvhd, 16, max(lengths)))]
        for track, length in zip(tracks, lengths, strict=True):
            inner = track.boxes
            media = _box(b"mdhd", _patched(inner[b"mdhd"], 16, track.ends_at - track.begins_at))
            table = _box(b"stbl", _tables(track, before, wide=wide))
            information = _box(b"minf", inner[b"media header"] + _box(b"dinf", inner[b"dinf"]) + table)
            mdia = _box(b"mdia", media + _box(b"hdlr", inner[b"hdlr"]) + information)
            boxes.append(_box(b"trak", _box(b"tkhd", _patched(inner[b"tkhd"], 20, length)) + mdia))
        return _box(b"moov", b"".join(boxes))


def _hold_first(track: _Track, later: int) -> None:
    """A track that begins `later` than the other has its first sample from the beginning on, that much longer."""
    if later <= 0:
        return
    runs = track.durations
    first = runs.values[0]
    if runs.counts[0] == 1:
        runs.values[0] = first + later
    else:
        runs.counts[0] -= 1
        runs.counts.insert(0, 1)
        runs.values.insert(0, first + later)
    track.ends_at += later


def _show_first_at(track: _Track, later: int) -> None:
    """The first picture is shown at `later`, and all others as much after it as before."""
    values = track.offsets.values
    moved = later - values[0]
    for index, value in enumerate(values if moved else ()):
        values[index] = value + moved


def _tables(track: _Track, before: int, *, wide: bool) -> bytes:
    places = array("Q", track.chunks) if wide else array("I", track.chunks)
    for index, place in enumerate(places):
        places[index] = place + before
    in_chunk = array("I")
    for number, samples in enumerate(track.chunk_samples, start=1):
        if not in_chunk or in_chunk[-2] != samples:
            in_chunk.extend((number, samples, 1))
    offsets = b""
    if any(track.offsets.values):
        below_zero = min(track.offsets.values) < 0
        offsets = _table(b"ctts", track.offsets.table(), per_entry=2, version=int(below_zero))
    return b"".join(
        (
            _box(b"stsd", track.boxes[b"stsd"]),
            _table(b"stts", track.durations.table(), per_entry=2),
            offsets,
            b"" if track.all_sync else _table(b"stss", track.sync),
            _table(b"stsc", in_chunk, per_entry=3),
            _box(b"stsz", struct.pack(">III", 0, 0, len(track.sizes)) + _big(track.sizes)),
            _table(b"co64" if wide else b"stco", places),
        )
    )


def _table(kind: bytes, values: array[int], *, per_entry: int = 1, version: int = 0) -> bytes:
    return _box(kind, struct.pack(">II", version << 24, len(values) // per_entry) + _big(values))


def _big(values: array[int]) -> bytes:
    if sys.byteorder == "little":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def _scaled(value: int, to: int, of: int) -> int:
    return -(-value * to // of)


def _patched(box: bytes, at: int, duration: int) -> bytes:
    """Times of creation are zero already: a file is the same whenever it is made."""
    if duration > _MAX_32:
        raise _broken("the video is too long")
    return box[:at] + struct.pack(">I", duration) + box[at + 4 :]


def _track(trak: bytes, defaults: dict[int, tuple[int, int, int]]) -> _Track:
    """Flat: the boxes of a track that are taken over, whatever level they are on. `media header`: vmhd or smhd, whole."""
    boxes: dict[bytes, bytes] = {}
    levels = [trak]
    while levels:
        for kind, body in _boxes(levels.pop()):
            if kind in {b"mdia", b"minf", b"stbl"}:
                levels.append(body)
            elif kind in {b"vmhd", b"smhd"}:
                boxes[b"media header"] = _box(kind, body)
            elif kind in {b"tkhd", b"mdhd", b"hdlr", b"dinf", b"stsd"}:
                boxes[kind] = body
    if len(boxes) != 6 or boxes[b"tkhd"][0] != 0 or boxes[b"mdhd"][0] != 0:
        raise _broken("a track that is described in another way")
    (number,) = struct.unpack_from(">I", boxes[b"tkhd"], 12)
    (timescale,) = struct.unpack_from(">I", boxes[b"mdhd"], 12)
    if number not in defaults or timescale == 0:
        raise _broken("a track that has no fragments")
    return _Track(number, boxes[b"hdlr"][8:12], timescale, boxes, defaults[number])


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if size < 8 or position + size > len(data):
            raise _broken("a box of an impossible size")
        yield kind, data[position + 8 : position + size]
        position += size


def _broken(detail: str) -> Failure:
    return Failure(ErrorCode.MEDIA_REMUX_FAILED, f"the copy could not be put together: {detail}")
