"""Pictures in the form a platform takes: upright, sRGB, baseline JPEG, within its pixels, its bytes and its ratio.

A picture that already is all of that is passed on untouched, byte by byte. Nothing is cropped or padded unless the spec says so.
The same bytes and the same spec give the same result. Work is done in threads, a few pictures at a time, and everything that
decides about memory is bounded before a pixel is decoded: a JPEG is decoded at half, a quarter or an eighth of its size where
that is enough, any other format is refused beyond PIXELS_MAX.

Sources: Pillow 13 documentation (Image.draft, ImageCms, JPEG and MPO plugins); EXIF 2.32, 4.6.4 (Orientation); ITU-T T.81
(baseline is SOF0). Read 2026-11.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.sniff import Sniffed, sniff
from orbyt_worker.media.source import SourceInfo
from orbyt_worker.media.spool import SpoolFile
from orbyt_worker.model import ImageSpec, MediaFacts, ratio_problem

SOURCE_BYTES_MAX = 64 * 1024 * 1024
# What may be decoded: 160 MB as RGBA. A JPEG counts with what is left after `draft`, and may have JPEG_PIXELS_MAX before it.
PIXELS_MAX = 40_000_000
JPEG_PIXELS_MAX = 89_000_000  # just below what Pillow itself takes for a decompression bomb
CONVERSIONS_MAX = 2
QUALITY_FIRST = 90
QUALITY_LAST = 50
QUALITY_STEP = 8
# When the lowest quality is still too large: how much smaller the sides become each time, and how often.
SHRINK = 0.8
SHRINKS_MAX = 8
# An image as decoded may be this many times as large as what is wanted before it is resized with all care.
_DRAFT_FACTOR = 2
_READERS = frozenset({"JPEG", "PNG", "GIF", "WEBP", "AVIF"})
_ORIENTATION = 0x0112
_SRGB_NAMES = ("srgb",)
# Modes that a format other than JPEG may have and still be sRGB for anybody who reads it.
_PLAIN_MODES = frozenset({"RGB", "RGBA", "P", "L", "LA", "1"})
_WHITE: dict[str, int | tuple[int, ...]] = {"L": 255, "RGB": (255, 255, 255), "CMYK": (0, 0, 0, 0)}


@dataclass(frozen=True, slots=True)
class Picture:
    """A file ready to be handed over. `converted` False: the bytes are those of the source."""

    data: bytes = field(repr=False)
    facts: MediaFacts
    converted: bool


class Converter:
    """Converts pictures in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(CONVERSIONS_MAX, thread_name_prefix="orbyt-image")
        self._free = asyncio.Semaphore(CONVERSIONS_MAX)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def convert(self, spooled: SpoolFile, info: SourceInfo, spec: ImageSpec) -> Picture:
        """The picture in `spooled` as `spec` wants it. Raises Failure(media_…)."""
        size = await spooled.size()
        if size > SOURCE_BYTES_MAX:
            raise Failure(ErrorCode.MEDIA_TOO_LARGE, f"{size} bytes, pictures may have {SOURCE_BYTES_MAX}")
        # First wait for the end of the download, holding nothing; then only so many are in memory at a time.
        async for _ in spooled.read(0, size):
            pass
        async with self._free:
            data = bytearray()
            async for piece in spooled.read(0, size):
                data += piece
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, convert, bytes(data), spec, info.version
            )


def convert(data: bytes, spec: ImageSpec, version: str | None = None) -> Picture:
    """Pure, and slow: call it in a thread. `version` is the etag of the facts of an untouched picture.

    Raises Failure(media_unreadable | media_type_not_supported | media_too_large | media_ratio_not_supported).
    """
    if spec.formats[0] != "JPEG":
        raise ValueError("pictures are converted to JPEG only")
    found = _reader_of(data)
    with _pillow_errors(), Image.open(io.BytesIO(data), formats=[found.reader]) as image:
        _refuse_bomb(image)
        width, height = _upright_size(image)
        problem = ratio_problem(width, height, spec)
        if problem is not None:
            raise Failure(ErrorCode.MEDIA_RATIO_NOT_SUPPORTED, problem)
        if _is_fine(image, data, spec):
            image.load()  # a file that breaks off in the middle shows only now
            facts = MediaFacts(
                "image",
                found.content_type,
                len(data),
                container=found.container,
                width=width,
                height=height,
                etag=version,
            )
            return Picture(data, facts, converted=False)
        encoded, width, height = _encode(_prepared(image, spec), spec)
    return Picture(
        encoded,
        MediaFacts("image", "image/jpeg", len(encoded), container="jpeg", width=width, height=height),
        converted=True,
    )


def _reader_of(data: bytes) -> Sniffed:
    found = sniff(data[:4096])
    if found is None:
        raise Failure(ErrorCode.MEDIA_UNREADABLE, "the file is of no known kind")
    if found.type != "image" or found.reader not in _READERS:
        raise Failure(ErrorCode.MEDIA_TYPE_NOT_SUPPORTED, f"a picture of type {found.content_type} cannot be converted")
    return found


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Whatever Pillow says about a file is one thing to the user."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Failure(ErrorCode.MEDIA_TOO_LARGE, "the picture has too many pixels") from None
    except (UnidentifiedImageError, ImageCms.PyCMSError, OSError, ValueError, SyntaxError, EOFError) as failure:
        raise Failure(ErrorCode.MEDIA_UNREADABLE, f"the picture cannot be read ({type(failure).__name__})") from None


def _refuse_bomb(image: Image.Image) -> None:
    width, height = image.size
    pixels_max = JPEG_PIXELS_MAX if image.format in {"JPEG", "MPO"} else PIXELS_MAX
    if width * height > pixels_max:
        raise Failure(ErrorCode.MEDIA_TOO_LARGE, f"{width}x{height} are too many pixels, at most {pixels_max}")


def _is_fine(image: Image.Image, data: bytes, spec: ImageSpec) -> bool:
    """Whether the picture may go out as it is. Only headers are looked at."""
    width, height = image.size
    return (
        image.format in spec.formats
        and len(data) <= spec.bytes_max
        and width <= spec.width_max
        and height <= spec.height_max
        and _shape(width, height, spec) == (width, height)
        and image.getexif().get(_ORIENTATION, 1) == 1
        and _is_srgb(image.info.get("icc_profile"))
        and (
            image.mode == "RGB" and not image.info.get("progressive")
            if image.format == "JPEG"
            else image.mode in _PLAIN_MODES
        )
    )


def _is_srgb(profile: bytes | None) -> bool:
    if not profile:
        return True
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    return any(each in name.lower() for each in _SRGB_NAMES)


# Shapes ------------------------------------------------------------------------------------------------------------------


def _shape(width: int, height: int, spec: ImageSpec) -> tuple[int, int]:
    """The canvas on which a picture of this size is shown: grown (pad) or cut (crop) where its ratio is out of bounds.

    Without `fit` the picture is within the tolerance of the bounds (see ratio_problem) and is squeezed by less than one
    percent, because a platform may look more closely than people do.
    """
    ratio = width / height
    if spec.ratio_max is not None and ratio > spec.ratio_max:
        if spec.fit == "pad":
            return width, _at_least(width / spec.ratio_max)
        return max(int(height * spec.ratio_max), 1), height
    if spec.ratio_min is not None and ratio < spec.ratio_min:
        if spec.fit == "pad":
            return _at_least(height * spec.ratio_min), height
        return width, max(int(width / spec.ratio_min), 1)
    return width, height


def _scaled(width: int, height: int, spec: ImageSpec, factor: float = 1.0) -> tuple[int, int]:
    """The size within the spec's pixels, never larger than it is, rounded so that the ratio stays within the bounds."""
    scale = min(spec.width_max / width, spec.height_max / height, 1.0) * factor
    if scale >= 1.0:
        return width, height
    new_width, new_height = max(round(width * scale), 1), max(round(height * scale), 1)
    if spec.ratio_max is not None and new_width / new_height > spec.ratio_max:
        new_width = max(int(new_height * spec.ratio_max), 1)
    if spec.ratio_min is not None and new_width / new_height < spec.ratio_min:
        new_height = max(int(new_width / spec.ratio_min), 1)
    return new_width, new_height


def _at_least(value: float) -> int:
    return int(value) + (value > int(value))


# Pixels ------------------------------------------------------------------------------------------------------------------


def _prepared(image: Image.Image, spec: ImageSpec) -> Image.Image:
    """The first frame upright in RGB and sRGB, in its final shape and at most in its final size."""
    upright = _upright_size(image)
    canvas = _scaled(*_shape(*upright, spec), spec)
    turned = upright != image.size
    if image.format in {"JPEG", "MPO"}:
        width, height = image.size
        share = _DRAFT_FACTOR * _largest_scale(upright, canvas)
        image.draft(None, (max(int(width * share), 1), max(int(height * share), 1)))
        if image.size[0] * image.size[1] > PIXELS_MAX:
            raise Failure(ErrorCode.MEDIA_TOO_LARGE, f"{width}x{height} are too many pixels")
    image.load()
    profile = image.info.get("icc_profile")
    # Made small first: turning it and looking after its colours then costs little. All of this commutes with a turn.
    picture = _in_shape(_plain(image), canvas[::-1] if turned else canvas, spec)
    return _in_srgb(ImageOps.exif_transpose(picture), profile)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    turned = image.getexif().get(_ORIENTATION) in {5, 6, 7, 8}
    return (image.size[1], image.size[0]) if turned else image.size


def _largest_scale(size: tuple[int, int], canvas: tuple[int, int]) -> float:
    return max(canvas[0] / size[0], canvas[1] / size[1])


def _plain(image: Image.Image) -> Image.Image:
    """Eight bits a channel, no palette. CMYK stays: its profile knows better how to make RGB of it."""
    if image.mode in {"RGB", "L"} and "transparency" in image.info:
        return image.convert(image.mode + "A")
    if image.mode in {"RGB", "RGBA", "L", "LA", "CMYK"}:
        return image
    if image.mode.startswith(("I", "F")):
        # 16-bit greyscale: the upper byte. Pillow would cut at 255 instead.
        wide = image.convert("I").point(lambda value: value * (1 / 256))
        return _with_info(wide.convert("L"), image)
    if image.mode in {"P", "PA"}:
        return image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode == "La":
        return image.convert("LA")
    if image.mode == "RGBa":
        return image.convert("RGBA")
    return image.convert("RGBA" if "transparency" in image.info else "RGB")


def _with_info(image: Image.Image, source: Image.Image) -> Image.Image:
    image.info = dict(source.info)
    return image


def _in_shape(picture: Image.Image, canvas: tuple[int, int], spec: ImageSpec) -> Image.Image:
    if spec.fit == "pad":
        inner = _contained(picture.size, canvas)
        shown = _flat(_resized(picture, inner))
        if inner == canvas:
            return shown
        sheet = Image.new(shown.mode, canvas, _WHITE[shown.mode])
        sheet.paste(shown, ((canvas[0] - inner[0]) // 2, (canvas[1] - inner[1]) // 2))
        return _with_info(sheet, picture)
    if spec.fit == "crop":
        box = _middle(picture.size, canvas)
        return _flat(_resized(picture, canvas, box))
    return _flat(_resized(picture, canvas))


def _contained(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    scale = min(canvas[0] / size[0], canvas[1] / size[1])
    # Off by a rounding is meant to fill the side: a white line of one pixel would only show.
    return tuple(
        side if abs(length * scale - side) < 1.0 else max(round(length * scale), 1)
        for length, side in zip(size, canvas, strict=True)
    )  # type: ignore[return-value] # two in, two out


def _middle(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part in the middle of `size` that has the shape of `canvas`."""
    width, height = size
    share = min(width / canvas[0], height / canvas[1])
    cut_width, cut_height = canvas[0] * share, canvas[1] * share
    left, top = (width - cut_width) / 2, (height - cut_height) / 2
    return left, top, left + cut_width, top + cut_height


def _resized(
    picture: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    if picture.size == size and box in {None, (0.0, 0.0, float(size[0]), float(size[1]))}:
        return picture
    return _with_info(picture.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0), picture)


def _flat(picture: Image.Image) -> Image.Image:
    """Transparent parts over white."""
    if picture.mode not in {"RGBA", "LA"}:
        return picture
    mode = picture.mode.removesuffix("A")
    sheet = Image.new(mode, picture.size, _WHITE[mode])
    sheet.paste(picture.convert(mode), mask=picture.getchannel("A"))
    return _with_info(sheet, picture)


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    if profile and not _is_srgb(profile):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
            made = ImageCms.profileToProfile(
                picture, source, target, renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
            )
            if made is not None:
                return made
        except (ImageCms.PyCMSError, OSError, ValueError):
            # A damaged profile, or one for other channels than the picture has: every viewer ignores those.
            return picture.convert("RGB")
    return picture.convert("RGB")


def _encode(picture: Image.Image, spec: ImageSpec) -> tuple[bytes, int, int]:
    """A baseline JPEG of at most `bytes_max`: lower quality first, then fewer pixels. Without EXIF or profile."""
    whole = picture.size
    for shrink in range(SHRINKS_MAX):
        size = _scaled(*whole, spec, SHRINK**shrink)
        smaller = _resized(picture, size).copy()
        smaller.info = {}  # Pillow would write comments and XMP of the source into the file
        for quality in range(QUALITY_FIRST, QUALITY_LAST - 1, -QUALITY_STEP):
            out = io.BytesIO()
            smaller.save(out, "JPEG", quality=quality, exif=b"", icc_profile=None)
            if out.tell() <= spec.bytes_max:
                return out.getvalue(), *size
    raise Failure(ErrorCode.MEDIA_TOO_LARGE, f"the picture cannot be brought below {spec.bytes_max} bytes")
