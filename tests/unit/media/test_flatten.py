"""From fragments to one index: tables that players read, also where a file is larger than 32 bits can say."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

import av
import av.container
import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.flatten import FTYP, Flattener
from orbyt_worker.sandbox import media_files

GIB = 1024**3
NOT_SYNC = 0x10000


class Sink:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


@pytest.fixture(scope="module")
def fragmented() -> bytes:
    """What FFmpeg writes for a video of two seconds with sound."""
    sink = Sink()
    options = {"movflags": "empty_moov+default_base_moof+skip_trailer", "frag_duration": "500000", "use_editlist": "0"}
    source = cast(av.container.InputContainer, av.open(io.BytesIO(media_files.video(width=64, height=36))))
    with source, av.open(cast(Any, sink), "w", format="mp4", container_options=options) as output:
        streams = {each.index: output.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                output.mux(packet)
    return bytes(sink.data)


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def beginning(fragmented: bytes) -> bytes:
    return fragmented[: fragmented.index(b"moof") - 4]


def moof(track: int, at: int, samples: list[tuple[int, int, int]]) -> bytes:
    """A fragment of samples (duration, size, flags), whose data follows it at once."""

    def made(data_offset: int) -> bytes:
        tfhd = box(b"tfhd", struct.pack(">II", 0x020000, track))
        tfdt = box(b"tfdt", struct.pack(">IQ", 0x01000000, at))
        rows = b"".join(struct.pack(">III", *each) for each in samples)
        trun = box(b"trun", struct.pack(">IIi", 0x000701, len(samples), data_offset) + rows)
        return box(b"moof", box(b"traf", tfhd + tfdt + trun))

    return made(len(made(0)) + 8)


def flattened(data: bytes, begins: list[Fraction], piece: int = 1000) -> bytes:
    out = bytearray()

    def write(offset: int, part: memoryview) -> None:
        assert offset == len(out)
        out.extend(part)

    flat = Flattener(write)
    for at in range(0, len(data), piece):
        flat.feed(data[at : at + piece])
    return flat.finish(begins) + bytes(out)


def table(data: bytes, kind: bytes, number: int = 0) -> tuple[int, bytes]:
    """(version and flags, content) of the n-th box of that kind."""
    position = -1
    for _ in range(number + 1):
        position = data.index(kind, position + 1)
    (size,) = struct.unpack_from(">I", data, position - 4)
    return struct.unpack_from(">I", data, position + 4)[0], data[position + 8 : position - 4 + size]


@pytest.mark.parametrize("piece", [1, 7, 4096, 10_000_000])
def test_fed_in_pieces_of_any_size(piece: int, fragmented: bytes) -> None:
    whole = flattened(fragmented, [Fraction(0), Fraction(0)], piece)
    with cast(av.container.InputContainer, av.open(io.BytesIO(whole))) as container:
        frames = sum(1 for _ in container.decode(video=0))
        assert float(container.duration or 0) / av.time_base == pytest.approx(2.0, abs=0.1)
    with cast(av.container.InputContainer, av.open(io.BytesIO(whole))) as container:
        blocks = sum(1 for _ in container.decode(audio=0))
    assert (frames, blocks) == (50, 95)


def test_sound_that_begins_later_holds_its_first_sample(fragmented: bytes) -> None:
    whole = flattened(fragmented, [Fraction(0), Fraction(1, 10)])
    assert b"elst" not in whole
    _, durations = table(whole, b"stts", 1)
    assert struct.unpack_from(">III", durations) == (2, 1, 1024 + 4800)


def test_pictures_that_begin_later_are_shown_later(fragmented: bytes) -> None:
    whole = flattened(fragmented, [Fraction(1, 10), Fraction(0)])
    with cast(av.container.InputContainer, av.open(io.BytesIO(whole))) as container:
        packet = next(container.demux(video=0))
        assert packet.pts is not None
        assert packet.time_base is not None
        assert packet.pts * packet.time_base == Fraction(1, 10)
        assert container.streams.video[0].average_rate == 25


def test_a_fragment_says_how_long_the_last_sample_before_it_was(fragmented: bytes) -> None:
    """FFmpeg guesses that length; the beginning of the next fragment knows it."""
    data = beginning(fragmented)
    data += moof(1, 0, [(100, 1, 0), (100, 1, NOT_SYNC)]) + box(b"mdat", b"ab")
    data += moof(1, 205, [(100, 1, 0)]) + box(b"mdat", b"c")
    data += moof(2, 0, [(1024, 1, 0)]) + box(b"mdat", b"d")
    whole = flattened(data, [Fraction(0), Fraction(0)])
    assert whole.endswith(b"abcd")
    _, durations = table(whole, b"stts")
    assert durations == struct.pack(">7I", 3, 1, 100, 1, 105, 1, 100)
    _, sync = table(whole, b"stss")
    assert sync == struct.pack(">III", 2, 1, 3)


def zeros(length: int) -> Iterator[memoryview]:
    block = memoryview(bytes(1024 * 1024))
    while length > 0:
        yield block[:length]
        length -= len(block)


def test_more_than_four_gigabytes(fragmented: bytes) -> None:
    written = 0

    def write(offset: int, part: memoryview) -> None:
        nonlocal written
        assert offset == written
        written += len(part)

    flat = Flattener(write)
    flat.feed(beginning(fragmented))
    for number in range(5):
        flat.feed(moof(1, number * 1000, [(1000, GIB, 0)]) + struct.pack(">I4s", GIB + 8, b"mdat"))
        for part in zeros(GIB):
            flat.feed(part)
    flat.feed(moof(2, 0, [(1024, 1, 0)]) + box(b"mdat", b"d"))
    header = flat.finish([Fraction(0), Fraction(0)])
    assert written == flat.data_bytes == 5 * GIB + 1
    assert header[-16:] == struct.pack(">I4sQ", 1, b"mdat", 5 * GIB + 1 + 16)
    _, places = table(header, b"co64")
    assert struct.unpack(">I5Q", places) == (5, *(len(header) + number * GIB for number in range(5)))
    assert b"stco" not in header


def test_the_beginning_is_the_one_that_was_announced(fragmented: bytes) -> None:
    assert flattened(fragmented, [Fraction(0), Fraction(0)]).startswith(FTYP)


@pytest.mark.parametrize(
    "broken",
    [
        lambda data: data[:-1],
        lambda data: beginning(data),
        lambda data: data[: data.index(b"mdat") - 4],
        lambda data: data[data.index(b"moof") - 4 :],
        lambda data: beginning(data) + beginning(data),
        lambda data: beginning(data) + moof(7, 0, [(1, 1, 0)]) + box(b"mdat", b"a"),
        lambda data: beginning(data) + box(b"mdat", b"a"),
        lambda data: beginning(data) + moof(1, 0, [(1, 1, 0)]) + box(b"mdat", b"a"),  # a track without samples
        lambda data: beginning(data) + moof(1, 9, [(1, 1, 0)]) + box(b"mdat", b"a") + moof(1, 0, [(1, 1, 0)]),
        lambda data: struct.pack(">I4s", 3, b"free"),
        lambda data: struct.pack(">I4s", 2**31, b"moov"),
    ],
)
def test_what_is_not_whole(broken: Any, fragmented: bytes) -> None:
    with pytest.raises(Failure) as caught:
        flattened(broken(fragmented), [Fraction(0), Fraction(0)])
    assert caught.value.code == ErrorCode.MEDIA_REMUX_FAILED
