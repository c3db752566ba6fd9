"""What Instagram looks at in a file before it takes it: real bytes, not what a header says about them.

After Meta "IG User Media" (image and reel specifications, read September 2026). A picture is refused at once; what is
wrong with a video shows later, as a number in the text of its container's status.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import av
import av.audio.stream
import av.video.stream
from PIL import Image

from orbyt_worker.sandbox.instagram_fetch import MediaProblem

IMAGE_BYTES_MAX = 8 * 1024 * 1024
VIDEO_BYTES_MAX = 300 * 1000 * 1000
STORY_VIDEO_BYTES_MAX = 100 * 1000 * 1000
FEED_RATIO_MIN = 4 / 5
FEED_RATIO_MAX = 1.91
COLUMNS_MAX = 1920
FPS_MIN = 23.0
FPS_MAX = 60.0
VIDEO_BITS_PER_SECOND_MAX = 25_000_000
SAMPLE_RATE_MAX = 48_000
CHANNELS_MAX = 2
# Containers round to whole frames of sound; nobody refuses 60.02 seconds.
SECONDS_TOLERANCE = 0.1
FPS_TOLERANCE = 0.05
RATIO_TOLERANCE = 0.005

_MOOV_BYTES_MAX = 64 * 1024 * 1024
_BOX_HEADER_BYTES = 8
_BOXES_MAX = 100_000
_NESTED = frozenset({b"moov", b"trak", b"edts"})
_CODECS = frozenset({"h264", "hevc"})


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What differs between reels, videos of a carousel and stories."""

    bytes_max: int
    seconds_max: float
    ratio_min: float
    ratio_max: float = 10.0
    seconds_min: float = 3.0


REEL_LIMITS = VideoLimits(VIDEO_BYTES_MAX, 15 * 60, 0.01)
STORY_LIMITS = VideoLimits(STORY_VIDEO_BYTES_MAX, 60, 0.1)


@dataclass(frozen=True, slots=True)
class PictureFacts:
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class VideoFacts:
    width: int
    height: int
    duration_seconds: float
    fps: float


def check_image(file: IO[bytes], size_bytes: int, *, feed_ratio: bool, wrong_format: MediaProblem) -> PictureFacts:
    """A picture of the feed, a story or a cover. Raises MediaProblem; `wrong_format` is the one for anything but JPEG.

    Blocking: call it in a thread.
    """
    if size_bytes > IMAGE_BYTES_MAX:
        raise MediaProblem(36000, 2207004, "The image is too large to download. It should be less than 8 MiB.")
    file.seek(0)
    if file.read(3) != b"\xff\xd8\xff":
        raise wrong_format
    file.seek(0)
    try:
        with Image.open(file) as image:
            if image.format != "JPEG":  # MPO: several pictures in one file
                raise wrong_format
            # An eighth of the size shows as well whether the data are complete, and costs a sixty-fourth.
            turned = image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
            width, height = (image.height, image.width) if turned else (image.width, image.height)
            image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise wrong_format from None
    ratio = width / height
    if feed_ratio and not FEED_RATIO_MIN - RATIO_TOLERANCE <= ratio <= FEED_RATIO_MAX + RATIO_TOLERANCE:
        raise MediaProblem(
            36003,
            2207009,
            f"The submitted image with aspect ratio ('{width}/{height}',) cannot be published. "
            "Please submit an image with a valid aspect ratio (4:5 to 1.91:1).",
        )
    return PictureFacts(width, height)


def check_video(file: IO[bytes], limits: VideoLimits, *, edit_lists: bool, thumb_offset_ms: int | None) -> VideoFacts:
    """A whole video. Raises MediaProblem, whose subcode becomes the number in the container's status.

    `edit_lists`: whether they are let pass, against the documentation. Blocking: call it in a thread.
    """
    file.seek(0, os.SEEK_END)
    if file.tell() > limits.bytes_max:
        raise MediaProblem(
            352, 2207082, f"The video is larger than {limits.bytes_max} bytes."
        )  # "large or slow files" of the error list
    _check_boxes(file, edit_lists)
    facts = _check_streams(file, limits)
    if thumb_offset_ms is not None and thumb_offset_ms >= facts.duration_seconds * 1000:
        raise MediaProblem(1, 2207057, "The thumbnail offset must be greater or equal to 0 and less than the duration.")
    return facts


def _unsupported(why: str) -> MediaProblem:
    return MediaProblem(352, 2207026, f"The video format is not supported: {why}.")


def _check_boxes(file: IO[bytes], edit_lists: bool) -> None:
    """Order and completeness of the boxes (ISO/IEC 14496-12): `moov` in front of `mdat`, and no `elst` in it."""
    seen: list[bytes] = []
    for kind, start, size in _top_level(file):
        seen.append(kind)
        if kind != b"moov":
            continue
        if b"mdat" in seen:
            raise _unsupported("the moov atom is not in front")
        if size > _MOOV_BYTES_MAX:
            raise _unsupported("the moov atom is too long")
        file.seek(start)
        if not edit_lists and _has_edit_list(file.read(size)[_BOX_HEADER_BYTES:]):
            raise _unsupported("there is an edit list")
    if seen[:1] != [b"ftyp"] or b"moov" not in seen or b"mdat" not in seen:
        raise _unsupported("this is neither MP4 nor MOV")


def _top_level(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, size) of each box; refuses a file that ends inside one."""
    file.seek(0, os.SEEK_END)
    end, at = file.tell(), 0
    for _ in range(_BOXES_MAX):
        if at == end:
            return
        file.seek(at)
        head = file.read(16)
        if len(head) < _BOX_HEADER_BYTES:
            break
        size, kind = struct.unpack_from(">I4s", head)
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack_from(">Q", head, 8)
        elif size == 0:
            size = end - at
        if size < _BOX_HEADER_BYTES or at + size > end:
            break
        yield kind, at, size
        at += size
    raise _unsupported("the file is damaged or incomplete")


def _has_edit_list(payload: bytes) -> bool:
    at = 0
    while at + _BOX_HEADER_BYTES <= len(payload):
        size, kind = struct.unpack_from(">I4s", payload, at)
        if kind == b"elst":
            return True
        if size < _BOX_HEADER_BYTES:
            return False
        if kind in _NESTED and _has_edit_list(payload[at + _BOX_HEADER_BYTES : at + size]):
            return True
        at += size
    return False


def _check_streams(file: IO[bytes], limits: VideoLimits) -> VideoFacts:
    file.seek(0)
    try:
        with av.open(file, mode="r") as opened:
            if not opened.streams.video:
                raise _unsupported("there is no video in it")
            for sound in opened.streams.audio[:1]:
                _check_sound(sound)
            picture = opened.streams.video[0]
            duration = (opened.duration or 0) / av.time_base
            facts = VideoFacts(picture.width, picture.height, duration, float(picture.average_rate or 0))
            _check_picture(picture, facts, limits)
            frame = next(opened.decode(picture), None)
            if frame is None or frame.interlaced_frame:
                raise _unsupported("it has no progressive frames")
            return facts
    except (av.FFmpegError, ValueError) as error:
        raise _unsupported(f"it cannot be read ({type(error).__name__})") from None


def _check_picture(picture: av.video.stream.VideoStream, facts: VideoFacts, limits: VideoLimits) -> None:
    codec = picture.codec_context.name
    if codec not in _CODECS:
        raise _unsupported(f"the codec is {codec}, not H.264 or HEVC")
    if "420" not in (picture.pix_fmt or ""):
        raise _unsupported(f"the pixel format is {picture.pix_fmt}, not 4:2:0")
    if facts.width > COLUMNS_MAX:
        raise _unsupported(f"it has {facts.width} columns, more than {COLUMNS_MAX}")
    if not limits.ratio_min <= facts.width / facts.height <= limits.ratio_max:
        raise _unsupported(f"the aspect ratio is {facts.width}:{facts.height}")
    if not FPS_MIN - FPS_TOLERANCE <= facts.fps <= FPS_MAX + FPS_TOLERANCE:
        raise _unsupported(f"it has {facts.fps:.2f} frames per second, not {FPS_MIN:.0f} to {FPS_MAX:.0f}")
    shortest, longest = limits.seconds_min - SECONDS_TOLERANCE, limits.seconds_max + SECONDS_TOLERANCE
    if not shortest <= facts.duration_seconds <= longest:
        raise _unsupported(
            f"it lasts {facts.duration_seconds:.2f} seconds, not {limits.seconds_min:g} to {limits.seconds_max:g}"
        )
    if (picture.bit_rate or 0) > VIDEO_BITS_PER_SECOND_MAX:
        raise _unsupported(f"it has {picture.bit_rate} bits per second")


def _check_sound(sound: av.audio.stream.AudioStream) -> None:
    name = sound.codec_context.name
    if name != "aac" or sound.sample_rate > SAMPLE_RATE_MAX or sound.channels > CHANNELS_MAX:
        raise _unsupported(f"the sound is {name}, {sound.sample_rate} Hz, {sound.channels} channels")
