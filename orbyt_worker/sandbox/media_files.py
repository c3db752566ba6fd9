"""Real media on demand: small MP4s made with PyAV, pictures made with Pillow, and bodies of any size in constant memory.

A `Body` is what a host serves: its bytes can be computed at any offset, so a file of 200 GB costs nothing. Large videos
are a real, playable MP4 followed by a `free` box (ISO/IEC 14496-12, 8.1.2), filled with a pattern that never repeats
at the offsets two neighbouring ranges would confuse.
"""

from __future__ import annotations

import array
import hashlib
import io
import math
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import cast

import av
import av.video.stream
from PIL import Image, ImageDraw

from orbyt_worker.sandbox.mp4 import LARGE_BOX_HEADER_BYTES, free_box_header, top_level_boxes

_BLOCK_BYTES = 1024 * 1024
_READ_BYTES = 1024 * 1024
_SAMPLE_RATE = 48_000
ENCODED_SECONDS_MAX = 60.0
_RECIPE = "4"  # part of the cache's file names: raise it when the way files are made changes


@lru_cache(maxsize=8)
def _pattern_block(seed: int) -> bytes:
    block = hashlib.shake_256(f"orbyt sandbox {seed}".encode()).digest(_BLOCK_BYTES)
    return block + block


@dataclass(frozen=True, slots=True)
class Pattern:
    """`size` deterministic bytes; each block of 1 MiB is the same noise, rotated by another distance."""

    size: int
    seed: int = 0

    def read(self, offset: int, length: int) -> bytes:
        """Exactly the bytes [offset, offset + length), clipped to the size."""
        end = min(offset + length, self.size)
        noise = _pattern_block(self.seed)
        pieces = []
        while offset < end:
            block, inside = divmod(offset, _BLOCK_BYTES)
            rotation = (block * 4099) % _BLOCK_BYTES
            count = min(_BLOCK_BYTES - inside, end - offset)
            pieces.append(noise[rotation + inside : rotation + inside + count])
            offset += count
        return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes held in memory; for what is small."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly the bytes [offset, offset + length), clipped to the size."""
        return self.data[offset : offset + length]


class Body:
    """What a host serves: parts one after the other, readable at any offset."""

    def __init__(self, *parts: Literal | Pattern, content_type: str = "video/mp4") -> None:
        self._parts = parts
        self.content_type = content_type
        self.size = sum(part.size for part in parts)
        self._sha256: str | None = None
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> bytes:
        """Exactly the bytes [offset, offset + length), clipped to the size."""
        pieces = []
        for part in self._parts:
            if length <= 0:
                break
            if offset < part.size:
                piece = part.read(offset, length)
                pieces.append(piece)
                length -= len(piece)
                offset = 0
            else:
                offset -= part.size
        return b"".join(pieces)

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """The same range in pieces of at most 1 MiB."""
        end = offset + length
        while offset < end:
            piece = self.read(offset, min(_READ_BYTES, end - offset))
            yield piece
            offset += len(piece)

    def etag(self, version: int = 0) -> str:
        """The opaque part of an entity tag; `version` makes another one for the same bytes."""
        digest = hashlib.sha256(f"{self.size}/{version}".encode())
        digest.update(self.read(0, 64 * 1024))
        return digest.hexdigest()[:32]

    def sha256(self) -> str:
        """Hash of the whole body; computed once, which takes about a second per gigabyte."""
        with self._lock:
            if self._sha256 is None:
                digest = hashlib.sha256()
                for piece in self.pieces(0, self.size):
                    digest.update(piece)
                self._sha256 = digest.hexdigest()
            return self._sha256


def literal(data: bytes, content_type: str) -> Body:
    """A body of given bytes."""
    return Body(Literal(data), content_type=content_type)


def video(
    *,
    seconds: float = 2.0,
    width: int = 320,
    height: int = 180,
    fps: int = 25,
    faststart: bool = True,
    audio: bool = True,
    codec: str | None = None,
    last_frame_at_seconds: float | None = None,
    edit_lists: bool = False,
) -> bytes:
    """A real MP4 (H.264 where PyAV has it, else MPEG-4; AAC), cached on disk between runs.

    More than a minute is not encoded: the last frame then stands at the end, the rest is missing.
    `last_frame_at_seconds` puts the last frames there: a file that is 40 hours long and a few kilobytes small.
    `edit_lists`: with an `elst` box in each track, as most tools write them and Instagram's limits forbid them.
    """
    if seconds > ENCODED_SECONDS_MAX and last_frame_at_seconds is None:
        seconds, last_frame_at_seconds = 2.0, seconds
    chosen = codec or ("libx264" if "libx264" in av.codecs_available else "mpeg4")
    name = f"v{_RECIPE}-{chosen}-{seconds:g}s-{width}x{height}-{fps}-{int(faststart)}{int(audio)}{int(edit_lists)}-{last_frame_at_seconds or 0:g}.mp4"
    path = cache_dir() / name
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            _encode(draft, seconds, width, height, fps, faststart, audio, chosen, last_frame_at_seconds, edit_lists)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    return path.read_bytes()


def cache_dir() -> Path:
    """Where made files are kept between runs: private to this user."""
    path = Path(tempfile.gettempdir()) / f"orbyt-sandbox-media-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to somebody else")
    return path


def _encode(
    path: Path,
    seconds: float,
    width: int,
    height: int,
    fps: int,
    faststart: bool,
    audio: bool,
    codec: str,
    last_frame_at_seconds: float | None,
    edit_lists: bool,
) -> None:
    # 1/1000 keeps a timestamp 40 hours away inside the 32 bits that the sample table has.
    options = {"movflags": "faststart" if faststart else "0", "video_track_timescale": "1000"}
    options["use_editlist"] = str(int(edit_lists))
    with av.open(str(path), "w", format="mp4", options=options) as output:
        stream = cast(av.video.stream.VideoStream, output.add_stream(codec, rate=fps))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "bf": "0"}
        sound = output.add_stream("aac", rate=_SAMPLE_RATE) if audio else None
        frames_total = max(2, round(seconds * fps))
        jump = 0 if last_frame_at_seconds is None else round(last_frame_at_seconds * fps) - frames_total + 1
        for number in range(frames_total):
            frame = av.VideoFrame.from_image(_picture(width, height, number, frames_total))  # type: ignore[no-untyped-call] # PyAV leaves it untyped
            frame.pts = number + (jump if number == frames_total - 1 else 0)
            frame.time_base = Fraction(1, fps)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            for frame_number, samples in enumerate(_tone(seconds)):
                tone = av.AudioFrame(format="fltp", layout="mono", samples=len(samples))
                tone.sample_rate = _SAMPLE_RATE
                # One frame late: the encoder's own first packet then stands at zero, and no edit has to cut it off.
                tone.pts = (frame_number + (not edit_lists)) * 1024
                tone.time_base = Fraction(1, _SAMPLE_RATE)
                tone.planes[0].update(samples.tobytes().ljust(tone.planes[0].buffer_size, b"\0"))
                output.mux(sound.encode(tone))
            output.mux(sound.encode(None))


def _tone(seconds: float) -> Iterator[array.array[float]]:
    total = max(1024, round(seconds * _SAMPLE_RATE))
    for start in range(0, total, 1024):
        yield array.array("f", (0.2 * math.sin(2 * math.pi * 440 * (start + i) / _SAMPLE_RATE) for i in range(1024)))


def _picture(width: int, height: int, number: int, total: int) -> Image.Image:
    image = Image.new("RGB", (width, height), (24, 32, 48))
    draw = ImageDraw.Draw(image)
    done = number / max(1, total - 1)
    draw.rectangle((0, height - height // 12, int(width * done), height), fill=(80, 200, 160))
    side = min(width, height) // 4
    left = int((width - side) * done)
    draw.rectangle((left, height // 3, left + side, height // 3 + side), fill=(240, 180, 60))
    draw.text((8, 8), f"orbyt sandbox {number + 1}/{total}", fill=(255, 255, 255))
    return image


def video_body(
    *, size_bytes: int | None = None, faststart: bool = True, seed: int = 0, **options: float | int | bool | str | None
) -> Body:
    """A video as a body; with `size_bytes` padded to exactly that size by a `free` box.

    With `moov` at the end the padding stands before it, so that a reader has to find it behind all the bytes.
    """
    data = video(faststart=faststart, **options)  # type: ignore[arg-type]
    if size_bytes is None or size_bytes == len(data):
        return literal(data, "video/mp4")
    padding = size_bytes - len(data)
    if padding < LARGE_BOX_HEADER_BYTES:
        raise ValueError(f"the smallest padded file of this video has {len(data) + LARGE_BOX_HEADER_BYTES} bytes")
    header = free_box_header(padding)
    moov_at = next(offset for kind, offset, _ in top_level_boxes(data) if kind == b"moov")
    cut = len(data) if faststart else moov_at
    return Body(Literal(data[:cut] + header), Pattern(padding - len(header), seed), Literal(data[cut:]))


def long_video(hours: float = 40.0) -> bytes:
    """A file of a few kilobytes whose last frame stands `hours` after the first: every probe says so."""
    return video(seconds=0.4, width=64, height=36, fps=5, audio=False, last_frame_at_seconds=hours * 3600)


def cut_video() -> bytes:
    """An MP4 whose last box claims more bytes than the file has: `moov` is there, most of the samples are not."""
    data = video()
    return data[: len(data) * 2 // 5]


def jpeg(width: int = 1280, height: int = 720) -> bytes:
    """A real JPEG."""
    return _image(width, height, "JPEG")


def png(width: int = 1280, height: int = 720) -> bytes:
    """A real PNG."""
    return _image(width, height, "PNG")


@lru_cache(maxsize=32)
def _image(width: int, height: int, kind: str) -> bytes:
    out = io.BytesIO()
    _picture(width, height, 1, 2).save(out, kind)
    return out.getvalue()


HLS_PLAYLIST = b"""#EXTM3U
#EXT-X-VERSION:5
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-STREAM-INF:BANDWIDTH=2516370,AVERAGE-BANDWIDTH=2516370,CODECS="mp4a.40.2,avc1.640020",RESOLUTION=1280x720
rendition.m3u8
"""

HTML_PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><p>Please sign in to see this file.</p></body></html>\n"
