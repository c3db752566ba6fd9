"""What a file is, before its bytes are moved: container, codecs, length, size, and whether it is whole.

Nothing is decoded on purpose, and FFmpeg is told which reader to use: chosen by the first bytes, so that a file which is
secretly a playlist or a concat script cannot make it open other addresses or local files.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import IO, TypeVar, cast

import av
import av.container
from PIL import Image, UnidentifiedImageError

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media import boxes
from orbyt_worker.media.sniff import Sniffed, sniff
from orbyt_worker.media.source import SourceInfo
from orbyt_worker.media.window import BlockingFile, Window
from orbyt_worker.model import MediaFacts

PROBE_BYTES_MAX = 64 * 1024 * 1024
PROBE_SECONDS_MAX = 120.0
PROBE_THREADS_MAX = 4
# FFmpeg's own bounds for finding the streams, in bytes and microseconds.
_FFMPEG_OPTIONS = {
    "probesize": str(8 * 1024 * 1024),
    "analyzeduration": "5000000",
    "protocol_whitelist": "none",
    "enable_drefs": "0",
}
_FFMPEG_BUFFER_BYTES = 64 * 1024
IMAGE_PIXELS_MAX = 200_000_000
_QUARTER_TURNS = frozenset({5, 6, 7, 8})
_EXIF_ORIENTATION = 0x0112
_NO_BOUND = 100_000  # width or height beyond this is a damaged header

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Streams:
    duration_seconds: float | None
    width: int | None
    height: int | None
    fps: float | None
    video_codec: str | None
    audio_codec: str | None


class Prober:
    """Looks at files, a few at a time."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(PROBE_THREADS_MAX, thread_name_prefix="orbyt-probe")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def facts(self, window: Window, info: SourceInfo, *, expected: str, jumps: bool) -> MediaFacts:
        """The facts of the file in `window`. `expected` is "image" or "video", what the row calls it.

        `jumps` False: reading further back means downloading all before it, so what only the end of the file would tell is
        left unknown. Raises Failure(media_unreadable | media_truncated | media_no_video_stream | media_type_not_supported |
        media_source_slow) or what the source raises.
        """
        found = sniff(info.head)
        if found is None:
            raise Failure(ErrorCode.MEDIA_UNREADABLE, "the file is of no known kind")
        if found.type != expected:
            if expected == "video":
                raise Failure(ErrorCode.MEDIA_NO_VIDEO_STREAM, f"the file is {found.content_type}")
            raise Failure(ErrorCode.MEDIA_TYPE_NOT_SUPPORTED, f"the file is {found.content_type}, not an image")
        facts = MediaFacts(
            type=found.type, content_type=found.content_type, size_bytes=info.size_bytes, etag=info.version
        )
        try:
            async with asyncio.timeout(PROBE_SECONDS_MAX):
                if found.type == "image":
                    return await self._image(window, found, facts)
                return await self._video(window, found, facts, jumps=jumps)
        except TimeoutError:
            raise Failure(ErrorCode.MEDIA_SOURCE_SLOW, f"not inspected within {PROBE_SECONDS_MAX:.0f} s") from None

    async def _video(self, window: Window, found: Sniffed, facts: MediaFacts, *, jumps: bool) -> MediaFacts:
        turned = False
        if found.reader == "mov":
            seen = await boxes.layout(window.read, window.size_bytes, jumps=jumps)
            facts = replace(facts, moov_at_front=seen.moov_at_front)
            if seen.moov is None:
                return facts
            turned = await boxes.is_turned(window.read, seen.moov)
        streams = await self._in_thread(window, lambda file: _read_streams(file, found.reader))
        width, height = (streams.height, streams.width) if turned else (streams.width, streams.height)
        return replace(
            facts,
            container=found.container,
            duration_seconds=streams.duration_seconds,
            width=width,
            height=height,
            fps=streams.fps,
            video_codec=streams.video_codec,
            audio_codec=streams.audio_codec,
        )

    async def _image(self, window: Window, found: Sniffed, facts: MediaFacts) -> MediaFacts:
        if found.reader not in Image.OPEN and found.reader not in {"JPEG", "PNG", "GIF", "WEBP", "AVIF"}:
            return replace(facts, container=found.container)  # known by its first bytes, not readable here
        width, height = await self._in_thread(window, lambda file: _read_image(file, found.reader))
        return replace(facts, container=found.container, width=width, height=height)

    async def _in_thread(self, window: Window, work: Callable[[BlockingFile], T]) -> T:
        loop = asyncio.get_running_loop()
        file = BlockingFile(window, loop)
        try:
            result = await loop.run_in_executor(self._threads, work, file)
        except Failure:
            if isinstance(file.failure, Failure):
                raise file.failure from None  # the source's own words, not what the library made of them
            raise
        finally:
            file.stop()
        if isinstance(file.failure, Failure):
            raise file.failure
        return result


def _read_streams(file: BlockingFile, reader: str) -> _Streams:
    """In a thread. Any complaint of FFmpeg is one thing to the user: the file cannot be read."""
    try:
        with av.open(
            file,
            mode="r",
            format=reader,
            container_options=_FFMPEG_OPTIONS,
            buffer_size=_FFMPEG_BUFFER_BYTES,
            metadata_errors="replace",
        ) as container:
            return _streams(container)
    except (av.FFmpegError, OSError, ValueError, OverflowError) as failure:
        raise Failure(ErrorCode.MEDIA_UNREADABLE, f"the file cannot be read ({type(failure).__name__})") from None


def _streams(container: av.container.InputContainer) -> _Streams:
    pictures = [each for each in container.streams.video if not each.disposition & 0x400]  # 0x400: a cover picture
    if not pictures:
        raise Failure(ErrorCode.MEDIA_NO_VIDEO_STREAM, "the file has no picture track")
    video, sounds = pictures[0], container.streams.audio
    seconds: float | None = None
    if container.duration is not None:
        seconds = container.duration / av.time_base
    elif video.duration is not None and video.time_base is not None:
        seconds = float(video.duration * video.time_base)
    rate = video.average_rate or video.guessed_rate
    return _Streams(
        duration_seconds=seconds if seconds is None or seconds > 0 else None,
        width=_pixels(video.width),
        height=_pixels(video.height),
        fps=float(rate) if rate else None,
        video_codec=_codec(video),
        audio_codec=_codec(sounds[0]) if sounds else None,
    )


def _codec(stream: av.stream.Stream) -> str:
    """FFmpeg's name of the format ("h264", "av1"), not of the decoder at hand. Unknown ones are "unknown": never None,
    which would read as "there is no such track"."""
    try:
        return stream.codec_context.codec.canonical_name
    except (AttributeError, ValueError, av.FFmpegError):
        return "unknown"


def _pixels(value: int) -> int | None:
    return value if 0 < value <= _NO_BOUND else None


def _read_image(file: BlockingFile, reader: str) -> tuple[int, int]:
    """In a thread: width and height as shown. Reads headers only; no pixel is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(cast("IO[bytes]", file), formats=[reader]) as image:
                width, height = image.size
                turned = reader in {"JPEG", "WEBP"} and image.getexif().get(_EXIF_ORIENTATION) in _QUARTER_TURNS
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Failure(ErrorCode.MEDIA_TOO_LARGE, "the picture has too many pixels") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as failure:
        raise Failure(ErrorCode.MEDIA_UNREADABLE, f"the picture cannot be read ({type(failure).__name__})") from None
    if width * height > IMAGE_PIXELS_MAX:
        raise Failure(ErrorCode.MEDIA_TOO_LARGE, "the picture has too many pixels")
    return (height, width) if turned else (width, height)
