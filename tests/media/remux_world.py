"""What the tests of the copying share: reading files as packets, and a Mux of a few lines whose streams are large.

Also a process of its own, to be measured or killed:

    python -m tests.media.remux_world MUX_URL PLAYBACK_ID SPOOL_DIR

reads the whole copy with two readers and prints {"bytes": …, "fetched": …, "grown": …}, as relay_memory does.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import av
import av.container

from orbyt_worker.media.relay import MediaConfig, MediaRelay
from orbyt_worker.model import MediaItem, MediaSpec
from orbyt_worker.runtime import Runtime
from orbyt_worker.sandbox import media_files
from tests.media.conftest import Answer, Request, say
from tests.media.relay_memory import peak_bytes, reset_peak

START_CODE = re.compile(b"\x00\x00\x00\x01|\x00\x00\x01")
# Access unit delimiters, parameter sets and the like are repeated in MPEG-TS, and left out where the header has them.
_PICTURE_UNITS = frozenset({1, 2, 3, 4, 5})


def units(data: bytes, *, prefixed: bool) -> list[bytes]:
    """The parts of an H.264 packet that are pictures: `prefixed` with their lengths (MP4), or between start codes (TS)."""
    found = []
    if prefixed:
        position = 0
        while position < len(data):
            length = int.from_bytes(data[position : position + 4], "big")
            found.append(data[position + 4 : position + 4 + length])
            position += 4 + length
    else:
        found = [each.rstrip(b"\0") for each in START_CODE.split(data) if each]
    return [each for each in found if each[0] & 0x1F in _PICTURE_UNITS]


def packets(data: bytes, reader: str) -> dict[str, list[tuple[Fraction, list[bytes]]]]:
    """When each packet is shown, from the first on, and its bytes: pictures as their units, sound without ADTS."""
    found: dict[str, list[tuple[Fraction, list[bytes]]]] = {"video": [], "audio": []}
    with cast(av.container.InputContainer, av.open(io.BytesIO(data), format=reader)) as container:
        for packet in container.demux():
            if not packet.size or packet.pts is None or packet.time_base is None:
                continue
            content = bytes(packet)
            if packet.stream.type == "video":
                parts = units(content, prefixed=reader == "mov")
            else:
                parts = [content[7:] if reader == "mpegts" else content]
            found[packet.stream.type].append((packet.pts * packet.time_base, parts))
    return found


def boxes(data: bytes) -> Iterator[str]:
    """Every box of a file, as "moov", "moov/trak", …"""

    def walk(start: int, end: int, above: str) -> Iterator[str]:
        while start < end:
            size, kind = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8].decode("latin-1")
            header = 8
            if size == 1:
                size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
            yield above + kind
            if kind in {"moov", "trak", "mdia", "minf", "stbl", "edts"}:
                yield from walk(start + header, start + size, f"{above}{kind}/")
            start += size

    yield from walk(0, len(data), "")


# --- A Mux with large streams -----------------------------------------------------------------------------------------


def large_stream(segments: int, frame_bytes: int) -> Answer:
    """Answers like stream.mux.com for a video of one picture a second, five a segment, each of `frame_bytes`."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        name = request.target.rpartition("/")[2]
        if name.endswith(".mp4"):
            say(writer, 404)
        elif name == "rendition.m3u8":
            lines = "".join(f"#EXTINF:5,\n{number}.ts\n" for number in range(segments))
            say(writer, 200, f"#EXTM3U\n{lines}#EXT-X-ENDLIST\n".encode())
        elif name.endswith(".m3u8"):
            rate = 'BANDWIDTH=1000000,CODECS="avc1.640020",RESOLUTION=64x36'
            say(writer, 200, f"#EXTM3U\n#EXT-X-STREAM-INF:{rate}\nhls/rendition.m3u8\n".encode())
        else:
            say(writer, 200, large_segment(int(name.partition(".")[0]), frame_bytes), content_type="video/mp2t")
            await writer.drain()

    return answer


def large_segment(number: int, frame_bytes: int) -> bytes:
    """Five pictures, made large by a part that decoders skip (filler data, ISO/IEC 14496-10, 7.3.2.7)."""
    filler = b"\x0c" + b"\xff" * frame_bytes + b"\x80"
    out = io.BytesIO()
    with (
        cast(av.container.InputContainer, av.open(io.BytesIO(_sample()))) as sample,
        av.open(out, "w", format="mpegts", options={"output_ts_offset": "10"}) as output,
    ):
        stream = output.add_stream_from_template(sample.streams.video[0])
        picture = bytes(next(sample.demux(sample.streams.video[0])))
        for second in range(5):
            packet = av.Packet(picture + len(filler).to_bytes(4, "big") + filler)
            packet.pts = packet.dts = number * 5 + second
            packet.time_base, packet.is_keyframe, packet.stream = Fraction(1), True, stream
            output.mux(packet)
    return out.getvalue()


@lru_cache(maxsize=1)
def _sample() -> bytes:
    return media_files.video(seconds=1.0, width=64, height=36, fps=5, audio=False)


# --- A process of its own ---------------------------------------------------------------------------------------------


async def main(mux_url: str, playback_id: str, spool_dir: str) -> None:
    fetched = 0

    def on_bytes(count: int) -> None:
        nonlocal fetched
        fetched += count

    config = MediaConfig(
        sandbox=True,
        allowed_loopback=frozenset(),
        spool_dir=Path(spool_dir),
        spool_bytes_max=8 * 1024**3,
        media_bytes_max=8 * 1024**3,
        mux_stream_url=mux_url,
        mux_api_url="https://api.mux.com",
    )
    relay = MediaRelay(config, Runtime(), on_bytes=on_bytes)
    await relay.start()

    async def read(name: str) -> int:
        async with relay.open(MediaItem("video", f"mux://{name}"), spec=MediaSpec()) as reader:
            return sum([len(piece) async for piece in reader.read(0, reader.size_bytes)])

    # Idle means: everything imported, every thread started once.
    await read(f"small{playback_id}")
    reset_peak()
    idle, fetched = peak_bytes(), 0
    counts = await asyncio.gather(read(playback_id), read(playback_id))
    result: dict[str, Any] = {"bytes": sum(counts), "fetched": fetched, "grown": peak_bytes() - idle}
    await relay.close()
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
