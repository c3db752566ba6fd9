"""The copy itself: packets of one or two HLS streams into one MP4, without decoding a picture. Runs in a thread.

FFmpeg reads MPEG-TS and fragments, turns H.264 into the form MP4 wants, and describes the tracks; it gets bytes from here
and gives bytes back, and is told which reader to use, so it never opens anything by itself. It writes fragments of a
second, which need little memory, and `flatten` makes the file of them.

Segments come one at a time: the next is asked for when FFmpeg has read the one before. A fragmented stream is opened anew
for each segment, because its reader would otherwise keep an index of all of them.

Source: FFmpeg Formats Documentation (mov muxer: movflags, frag_duration; mpegts demuxer); RFC 8216 section 3 (what a
segment holds, and that its timestamps are those of the stream). Read 2026-11.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias, cast

import av
import av.container
import av.stream
from av.bitstream import BitStreamFilterContext
from av.packet import Packet

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.flatten import Flattener
from orbyt_worker.media.source import Workspace

# Part of the version of every file made here: raise it when the same stream leads to other bytes than before.
RECIPE = f"1/{'.'.join(map(str, av.library_versions['libavformat'] + av.library_versions['libavcodec']))}"
BLOCK_BYTES = 1024 * 1024
_PICTURE_CODECS = frozenset({"h264", "hevc"})
_SOUND_CODECS = frozenset({"aac"})
_READ_OPTIONS = {"protocol_whitelist": "none", "probesize": str(4 * 1024 * 1024), "analyzeduration": "5000000"}
_WRITE_OPTIONS = {
    # delay_moov: MPEG-TS tells how its sound is made up with the first packet only.
    "movflags": "delay_moov+default_base_moof+skip_trailer",
    "frag_duration": "1000000",
    "use_editlist": "0",
    "fflags": "+bitexact",
    "protocol_whitelist": "none",
}
# What a feed has to give; "any": pictures, and sound if there is some.
Role = Literal["any", "both", "picture", "sound"]
_Tracks = dict[str, av.stream.Stream]  # "video", "audio"
_Packet: TypeAlias = "Packet[Any]"
_Packets: TypeAlias = Iterator[tuple[str, _Packet]]


class Feed:
    """The segments of one stream for the thread. `fetch(n)` gives the n-th, header included; n beyond the last: None."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fetch: Callable[[int], Coroutine[Any, Any, bytes | None]],
        *,
        role: Role,
        fragmented: bool,
    ) -> None:
        self.role = role
        self.fragmented = fragmented
        # What cut the stream short. FFmpeg takes it for the end of the stream: an exception would not get through it.
        self.failure: BaseException | None = None
        self._loop = loop
        self._fetch = fetch
        self._next = 0
        self._stopped = threading.Event()
        self._pending: concurrent.futures.Future[bytes | None] | None = None

    def next(self) -> bytes | None:
        """The next segment; None at the end, and when something went wrong (`failure`)."""
        if self._stopped.is_set():
            self.failure = self.failure or concurrent.futures.CancelledError()
            return None
        pending = asyncio.run_coroutine_threadsafe(self._fetch(self._next), self._loop)
        self._pending = pending
        if self._stopped.is_set():  # stop() came between the lines above, and saw nothing to cancel
            pending.cancel()
        self._next += 1
        try:
            return pending.result()
        except BaseException as failure:
            self.failure = failure
            self._stopped.set()
            return None

    def stop(self) -> None:
        """Called in the event loop: the thread ends soon after."""
        self._stopped.set()
        if self._pending is not None:
            self._pending.cancel()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()


def assemble(feeds: Sequence[Feed], file: Workspace, bytes_max: int) -> int:
    """Copy `feeds` into `file` as one progressive MP4 and give its size. In a thread.

    Raises Failure(media_remux_failed | media_too_large | …), or what stopped a feed.
    """

    def write(offset: int, data: memoryview) -> None:
        if offset + len(data) > bytes_max:
            raise Failure(ErrorCode.MEDIA_TOO_LARGE, f"more than {bytes_max} bytes")
        file.write(offset, data)

    flat = Flattener(write)
    header = flat.finish(_copy(feeds, flat))
    _make_room(file, flat.data_bytes, len(header), feeds)
    file.write(0, header)
    return len(header) + flat.data_bytes


def _make_room(file: Workspace, size_bytes: int, header_bytes: int, feeds: Sequence[Feed]) -> None:
    """Move everything back by the length of the header, the end first."""
    end = size_bytes
    while end > 0:
        if any(each.stopped and each.failure is not None for each in feeds):
            raise concurrent.futures.CancelledError
        start = max(end - BLOCK_BYTES, 0)
        file.write(start + header_bytes, file.read(start, end - start))
        end = start


class _Sink:
    """What FFmpeg writes to. It cannot seek, so FFmpeg writes from the beginning to the end."""

    def __init__(self, flat: Flattener) -> None:
        self._flat = flat
        self.failure: BaseException | None = None

    def write(self, data: bytes) -> int:
        if self.failure is None:
            try:
                self._flat.feed(data)
            except BaseException as failure:
                self.failure = failure
        return len(data)


class _Pipe(io.RawIOBase):
    """The segments of a feed one after the other, as a file that can only be read onwards."""

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed
        self._segment = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        while not self._segment:
            segment = self._feed.next()
            if segment is None:
                return b""
            self._segment = memoryview(segment)
        part, self._segment = self._segment[:size], self._segment[size:]
        return bytes(part)


@dataclass(slots=True)
class _Source:
    """The tracks of one feed and their packets in the order of the stream, the next of them in hand."""

    tracks: _Tracks
    packets: _Packets
    waiting: tuple[str, _Packet] | None = None

    def advance(self) -> None:
        self.waiting = next(self.packets, None)

    @property
    def at(self) -> Fraction:
        assert self.waiting is not None
        return _seconds(self.waiting[1], self.waiting[1].dts)


def _copy(feeds: Sequence[Feed], flat: Flattener) -> list[Fraction]:
    """Copy all packets; gives when each track begins to be shown, in seconds."""
    sink = _Sink(flat)
    try:
        with ExitStack() as opened:
            begins = _copy_packets(feeds, sink, opened)
    except (Failure, av.FFmpegError, OSError, ValueError, OverflowError, MemoryError) as failure:
        _raise_cause(feeds, sink)
        if isinstance(failure, Failure):
            raise
        raise Failure(ErrorCode.MEDIA_REMUX_FAILED, f"the stream cannot be copied ({type(failure).__name__})") from None
    _raise_cause(feeds, sink)
    return begins


def _raise_cause(feeds: Sequence[Feed], sink: _Sink) -> None:
    """What was told to FFmpeg as an end of file, in its own words."""
    for failure in (sink.failure, *(each.failure for each in feeds)):
        if failure is not None:
            raise failure


def _copy_packets(feeds: Sequence[Feed], sink: _Sink, opened: ExitStack) -> list[Fraction]:
    sources = [_open(each, opened) for each in feeds]
    output = opened.enter_context(
        av.open(cast(Any, sink), "w", format="mp4", container_options=_WRITE_OPTIONS, buffer_size=BLOCK_BYTES)
    )
    made: _Tracks = {}
    for kind in ("video", "audio"):
        for source in sources:
            if kind in source.tracks:
                made[kind] = output.add_stream_from_template(cast(Any, source.tracks[kind]))
    begins: dict[str, Fraction] = {}
    decoded_from: dict[str, int] = {}
    for source in sources:
        source.advance()
    while sink.failure is None and (ready := [each for each in sources if each.waiting is not None]):
        source = min(ready, key=lambda each: each.at)
        assert source.waiting is not None
        kind, packet = source.waiting
        # Each track from zero: what lies between their beginnings is for the index, and FFmpeg would fill it in its own way.
        shown_at = _seconds(packet, packet.pts)
        begins.setdefault(kind, shown_at)
        zero = decoded_from.setdefault(kind, cast(int, packet.dts))
        packet.pts, packet.dts = cast(int, packet.pts) - zero, cast(int, packet.dts) - zero
        packet.stream = made[kind]
        output.mux_one(packet)
        source.advance()
    output.close()
    if set(begins) != set(made):
        raise Failure(ErrorCode.MEDIA_REMUX_FAILED, "a track of the stream is empty")
    return [begins[kind] for kind in made]


def _seconds(packet: _Packet, at: int | None) -> Fraction:
    if at is None or packet.time_base is None:
        raise Failure(ErrorCode.MEDIA_REMUX_FAILED, "a part of the stream does not say when it is shown")
    return at * packet.time_base


def _open(feed: Feed, opened: ExitStack) -> _Source:
    """The tracks of a feed that are to be copied, and their packets. Raises Failure, av.FFmpegError."""
    if feed.fragmented:
        segment = feed.next()
        first = opened.enter_context(_reader(io.BytesIO(segment or b""), "mov"))
        tracks = _chosen(first, feed.role)
        return _Source(tracks, _of_fragments(feed, first, tracks))
    container = opened.enter_context(_reader(_Pipe(feed), "mpegts"))
    tracks = _chosen(container, feed.role)
    return _Source(tracks, _of_transport_stream(container, tracks))


def _reader(file: io.IOBase, reader: str) -> av.container.InputContainer:
    opened: av.container.InputContainer = av.open(
        cast(Any, file), "r", format=reader, container_options=_READ_OPTIONS, buffer_size=256 * 1024,
        metadata_errors="replace",
    )  # fmt: skip
    return opened


def _of_transport_stream(container: av.container.InputContainer, tracks: _Tracks) -> _Packets:
    """MPEG-TS describes its sound in each packet, MP4 once for all of them: the filter moves the description."""
    sound = tracks.get("audio")
    described_once = None if sound is None else BitStreamFilterContext("aac_adtstoasc", cast(Any, sound))
    for kind, packet in _demuxed(container, tracks):
        if kind != "audio" or described_once is None:
            yield kind, packet
            continue
        time_base = packet.time_base
        for each in described_once.filter(packet):
            each.time_base = time_base
            yield kind, each


def _of_fragments(feed: Feed, first: av.container.InputContainer, tracks: _Tracks) -> _Packets:
    shape = _shape(tracks)
    yield from _demuxed(first, tracks)
    while (segment := feed.next()) is not None:
        with _reader(io.BytesIO(segment), "mov") as container:
            found = _chosen(container, feed.role)
            if _shape(found) != shape:
                raise Failure(ErrorCode.MEDIA_REMUX_FAILED, "the stream changes on the way")
            yield from _demuxed(container, found)


def _demuxed(container: av.container.InputContainer, tracks: _Tracks) -> _Packets:
    for packet in container.demux(list(tracks.values())):
        # At the end of a stream PyAV adds a packet without bytes, for decoders.
        if packet.size:
            yield packet.stream.type, packet


def _shape(tracks: _Tracks) -> dict[str, tuple[object, ...]]:
    """What must stay the same from segment to segment."""
    return {
        kind: (each.codec_context.name, each.time_base, each.codec_context.extradata) for kind, each in tracks.items()
    }


def _chosen(container: av.container.InputContainer, role: Role) -> _Tracks:
    """The first picture and sound track, as far as the role wants them. Raises Failure for what no MP4 should hold."""
    found: _Tracks = {}
    if role != "sound" and container.streams.video:
        found["video"] = container.streams.video[0]
    if role != "picture" and container.streams.audio:
        found["audio"] = container.streams.audio[0]
    if ("video" not in found and role != "sound") or ("audio" not in found and role in {"both", "sound"}):
        raise Failure(ErrorCode.MEDIA_REMUX_FAILED, "the stream lacks its picture or its sound")
    for kind, stream in found.items():
        name = stream.codec_context.codec.canonical_name
        if name not in (_PICTURE_CODECS if kind == "video" else _SOUND_CODECS):
            raise Failure(ErrorCode.MEDIA_REMUX_FAILED, f"{name} cannot be copied")
    return found
