"""Pictures of every kind, made here as real files, and what becomes of them."""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, Literal

import pytest
from PIL import Image, ImageCms, ImageDraw

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.images import Picture, convert
from orbyt_worker.model import ImageSpec, ratio_problem

ROOT = Path(__file__).parents[3]
INSTAGRAM = ImageSpec(("JPEG",), 8_000_000, 1440, 1800, ratio_min=0.8, ratio_max=1.91)
ANY_SHAPE = ImageSpec(("JPEG",), 8_000_000, 1440, 1440)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def drawn(width: int = 400, height: int = 300, mode: str = "RGB") -> Image.Image:
    """Red left half, blue right half, a green square in the upper left corner: turned or mirrored, it shows."""
    image = Image.new("RGB", (width, height), RED)
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height), fill=BLUE)
    draw.rectangle((0, 0, width // 8, height // 8), fill=GREEN)
    return image.convert(mode)


def noise(width: int, height: int) -> Image.Image:
    """What compresses worst."""
    return Image.frombytes("RGB", (width, height), hashlib.shake_256(b"noise").digest(width * height * 3))


def saved(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def opened(picture: Picture) -> Image.Image:
    """The result, having looked that it is what every platform reads."""
    image = Image.open(io.BytesIO(picture.data))
    image.load()
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert not image.info.get("progressive")
    assert "icc_profile" not in image.info
    assert "exif" not in image.info
    assert (picture.facts.width, picture.facts.height) == image.size
    assert picture.facts.size_bytes == len(picture.data)
    assert (picture.facts.content_type, picture.facts.container, picture.facts.type) == ("image/jpeg", "jpeg", "image")
    return image


def near(image: Image.Image, at: tuple[float, float], colour: tuple[int, int, int], *, within: int = 24) -> None:
    """The colour at a place given in parts of the picture."""
    found = image.getpixel((int(at[0] * (image.width - 1)), int(at[1] * (image.height - 1))))
    assert isinstance(found, tuple)
    assert all(abs(a - b) <= within for a, b in zip(found, colour, strict=True)), f"{found} is not {colour}"


def refused(data: bytes, spec: ImageSpec = ANY_SHAPE) -> tuple[ErrorCode, str]:
    with pytest.raises(Failure) as failed:
        convert(data, spec)
    return failed.value.code, failed.value.detail


# --- Untouched ----------------------------------------------------------------------------------------------------------


def test_a_picture_that_is_fine_stays_as_it_is() -> None:
    data = saved(drawn(1080, 1350), exif=_orientation(1))
    made = convert(data, INSTAGRAM, version='"v1"')
    assert made.data == data
    assert not made.converted
    assert (made.facts.width, made.facts.height, made.facts.etag) == (1080, 1350, '"v1"')


def test_srgb_by_name_is_fine_and_so_is_a_png_where_png_is_taken() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert not convert(saved(drawn(), icc_profile=srgb), ANY_SHAPE).converted
    png = saved(drawn(mode="RGBA"), "PNG")
    made = convert(png, ImageSpec(("JPEG", "PNG"), 1_000_000, 800, 800))
    assert (made.data, made.facts.content_type) == (png, "image/png")


@pytest.mark.parametrize(
    ("why", "data"),
    [
        ("another format", saved(drawn(), "PNG")),
        ("grey", saved(drawn(mode="L"))),
        ("CMYK", saved(drawn(mode="CMYK"))),
        ("progressive", saved(drawn(), progressive=True)),
        ("turned", b"exif"),
        ("several pictures", b"mpo"),
    ],
)
def test_what_is_not_quite_right_is_made_anew(why: str, data: bytes) -> None:
    if data == b"exif":
        data = saved(drawn(), exif=_orientation(3))
    if data == b"mpo":
        data = saved(drawn(), "MPO", save_all=True, append_images=[drawn(100, 75)])
        assert Image.open(io.BytesIO(data)).format == "MPO"
    made = convert(data, ANY_SHAPE)
    assert made.converted, why
    assert made.data == convert(data, ANY_SHAPE).data, "not the same again"
    assert opened(made).size == (400, 300)


# --- Orientation and colours ------------------------------------------------------------------------------------------


def _orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    exif[0x010E] = "a description that is not meant for everybody"
    return exif


# How a picture has to be stored so that a reader who obeys the number shows it upright (EXIF 2.32, 4.6.4).
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(400, 300), (1600, 1200)])
def test_it_is_upright_however_it_was_stored(orientation: int, kind: str, size: tuple[int, int]) -> None:
    turn = STORED[orientation]
    stored = drawn(*size) if turn is None else drawn(*size).transpose(turn)
    made = convert(saved(stored, kind, exif=_orientation(orientation)), ANY_SHAPE)
    image = Image.open(io.BytesIO(made.data)) if not made.converted else opened(made)
    assert image.size == ((400, 300) if size == (400, 300) else (1440, 1080))
    near(image, (0.02, 0.02), GREEN)
    near(image, (0.25, 0.6), RED)
    near(image, (0.75, 0.6), BLUE)
    if made.converted:
        assert b"not meant for everybody" not in made.data


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparent_parts_become_white(mode: str, kind: str) -> None:
    image = Image.new("RGBA", (200, 100), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((100, 0, 200, 100), fill=(0, 0, 0, 255))
    made = opened(
        convert(saved(image.convert(mode), kind, **({"lossless": True} if kind == "WEBP" else {})), ANY_SHAPE)
    )
    near(made, (0.2, 0.5), WHITE)
    near(made, (0.8, 0.5), (0, 0, 0))


def test_transparent_palettes_and_single_colours() -> None:
    image = Image.new("P", (200, 100), 0)
    image.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    ImageDraw.Draw(image).rectangle((100, 0, 200, 100), fill=1)
    for kind in ("GIF", "PNG"):
        made = opened(convert(saved(image, kind, transparency=0), ANY_SHAPE))
        near(made, (0.2, 0.5), WHITE)
        near(made, (0.8, 0.5), RED)
    made = opened(convert(saved(drawn(mode="RGB"), "PNG", transparency=RED), ANY_SHAPE))
    near(made, (0.25, 0.6), WHITE)
    near(made, (0.75, 0.6), BLUE)


def test_sixteen_bits_bilevel_and_the_first_frame_of_many() -> None:
    wide = Image.frombytes(
        "I;16", (256, 64), b"".join(struct.pack("<H", x * 257) for _ in range(64) for x in range(256))
    )
    made = opened(convert(saved(wide, "PNG"), ANY_SHAPE))
    for part in (0.0, 0.25, 0.5, 1.0):
        near(made, (part, 0.5), (round(part * 255),) * 3)
    near(opened(convert(saved(Image.new("1", (64, 64), 1), "PNG"), ANY_SHAPE)), (0.5, 0.5), WHITE)
    frames = [Image.new("RGB", (64, 64), colour) for colour in (GREEN, RED, BLUE)]
    for kind in ("GIF", "WEBP", "PNG"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        near(opened(convert(data, ANY_SHAPE)), (0.5, 0.5), GREEN, within=40)


def test_cmyk_and_avif() -> None:
    made = opened(convert(saved(drawn(mode="CMYK"), quality=95), ANY_SHAPE))
    near(made, (0.25, 0.6), RED)
    near(made, (0.75, 0.6), BLUE)
    near(opened(convert(saved(drawn(), "AVIF"), ANY_SHAPE)), (0.25, 0.6), RED, within=40)


def swapped_profile() -> bytes:
    """A profile in which the names red and blue are exchanged, under a name of its own."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", data, 128)
    for at in range(132, 132 + 12 * count, 12):
        name = bytes(data[at : at + 4])
        data[at : at + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
    return bytes(data).replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be"))


@pytest.mark.parametrize("fit", [None, "pad"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_colours_are_brought_to_srgb(kind: str, fit: Literal["pad"] | None) -> None:
    spec = ImageSpec(("JPEG",), 8_000_000, 1440, 1440, ratio_min=1.5 if fit else None, fit=fit)
    made = opened(convert(saved(drawn(), kind, icc_profile=swapped_profile()), spec))
    near(made, (0.75, 0.6), RED, within=40)
    near(made, (0.25, 0.6), BLUE, within=40)


def test_a_damaged_profile_is_ignored_as_every_viewer_does() -> None:
    for profile in (b"no profile at all", swapped_profile()[:200]):
        near(opened(convert(saved(drawn(), icc_profile=profile), ANY_SHAPE)), (0.25, 0.6), RED)
    # For other channels than the picture has.
    near(opened(convert(saved(drawn(mode="L"), icc_profile=swapped_profile()), ANY_SHAPE)), (0.25, 0.6), (76,) * 3)


# --- Sizes ------------------------------------------------------------------------------------------------------------


def test_it_becomes_smaller_until_it_fits() -> None:
    spec = ImageSpec(("JPEG",), 120_000, 800, 800)
    data = saved(noise(1000, 700), "PNG")
    made = convert(data, spec)
    assert len(made.data) <= 120_000
    image = opened(made)
    assert image.width < 800  # the lowest quality alone was not enough
    assert abs(image.width / image.height - 1000 / 700) < 0.01
    assert convert(data, spec).data == made.data
    assert refused(data, ImageSpec(("JPEG",), 500, 800, 800))[0] is ErrorCode.MEDIA_TOO_LARGE


def test_it_is_never_made_larger() -> None:
    assert opened(convert(saved(drawn(20, 10), "PNG"), ANY_SHAPE)).size == (20, 10)
    assert opened(convert(saved(drawn(1, 1), "PNG"), ANY_SHAPE)).size == (1, 1)
    assert opened(convert(saved(drawn(5000, 2), "PNG"), ANY_SHAPE)).size == (1440, 1)


@pytest.mark.parametrize("size", [(3001, 1571), (1571, 1964), (4000, 2095), (999, 1249), (1200, 628), (804, 1005)])
def test_rounding_does_not_leave_the_bounds(size: tuple[int, int]) -> None:
    """A platform compares exactly: what is within the bounds before is within them afterwards."""
    image = opened(convert(saved(drawn(*size), "PNG"), INSTAGRAM))
    assert 0.8 <= image.width / image.height <= 1.91
    assert abs(image.width / image.height - size[0] / size[1]) < 0.006


def test_a_shape_out_of_bounds_is_refused_with_its_ratio() -> None:
    assert refused(saved(drawn(1600, 400)), INSTAGRAM) == (
        ErrorCode.MEDIA_RATIO_NOT_SUPPORTED,
        "1600x400 is 4.00:1, allowed 0.80:1 to 1.91:1",
    )
    # As it is shown, not as it is stored.
    stored = saved(drawn(1500, 1000).transpose(Image.Transpose.ROTATE_90), exif=_orientation(6))
    assert opened(convert(stored, INSTAGRAM)).size == (1440, 960)
    assert refused(saved(drawn(1500, 1000), exif=_orientation(6)), INSTAGRAM)[1].startswith("1000x1500 is 0.67:1")


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ((1600, 400), "1600x400 is 4.00:1, allowed 0.80:1 to 1.91:1"),
        ((1000, 1300), "1000x1300 is 0.77:1, allowed 0.80:1 to 1.91:1"),
        ((1200, 628), None),  # 1.9108: 1.91 to everybody
        ((1080, 1350), None),
        ((None, None), None),
    ],
)
def test_the_ratio_by_the_facts(size: tuple[int | None, int | None], problem: str | None) -> None:
    assert ratio_problem(*size, INSTAGRAM) == problem


def test_one_sided_bounds_and_fits() -> None:
    wide = ImageSpec(("JPEG",), 1, 1, 1, ratio_max=1.91)
    assert ratio_problem(1600, 400, wide) == "1600x400 is 4.00:1, allowed at most 1.91:1"
    assert ratio_problem(100, 400, wide) is None
    tall = ImageSpec(("JPEG",), 1, 1, 1, ratio_min=0.8)
    assert ratio_problem(100, 400, tall) == "100x400 is 0.25:1, allowed at least 0.80:1"
    assert ratio_problem(1600, 400, ImageSpec(("JPEG",), 1, 1, 1, ratio_max=1.91, fit="pad")) is None


@pytest.mark.parametrize("size", [(1600, 400), (4000, 1000), (400, 1600), (1000, 4000)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_padding_shows_everything_on_white(size: tuple[int, int], kind: str, orientation: int) -> None:
    spec = ImageSpec(("JPEG",), 8_000_000, 1440, 1800, ratio_min=0.8, ratio_max=1.91, fit="pad")
    stored = drawn(*size) if orientation == 1 else drawn(*size).transpose(Image.Transpose.ROTATE_90)
    image = opened(convert(saved(stored, kind, exif=_orientation(orientation)), spec))
    assert 0.8 <= image.width / image.height <= 1.91
    assert image.width <= 1440
    assert image.height <= 1800
    if size[0] > size[1]:
        near(image, (0.5, 0.02), WHITE)
        near(image, (0.5, 0.98), WHITE)
        near(image, (0.01, 0.5), RED)
        near(image, (0.99, 0.5), BLUE)
    else:
        near(image, (0.02, 0.5), WHITE)
        near(image, (0.98, 0.5), WHITE)
        near(image, (0.5 - 0.05, 0.99), RED)
        near(image, (0.5 + 0.05, 0.01), BLUE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_cropping_keeps_the_middle(kind: str) -> None:
    spec = ImageSpec(("JPEG",), 8_000_000, 1440, 1800, ratio_min=0.8, ratio_max=1.0, fit="crop")
    image = opened(convert(saved(drawn(4000, 1000), kind), spec))
    assert image.size == (1000, 1000)
    near(image, (0.02, 0.02), RED)  # the green corner is gone
    near(image, (0.45, 0.5), RED)
    near(image, (0.55, 0.5), BLUE)
    # Cut, then made smaller: the pixels of a large picture are used, not a part of a small one.
    sharp = opened(convert(saved(drawn(6000, 1500), kind), spec))
    assert sharp.size == (1440, 1440)
    near(sharp, (0.49, 0.5), RED)
    near(sharp, (0.51, 0.5), BLUE)


# --- Broken and hostile files ---------------------------------------------------------------------------------------------


def _png_header(width: int, height: int) -> bytes:
    """A PNG that says it is huge and holds a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def _jpeg_header(width: int, height: int) -> bytes:
    data = bytearray(saved(drawn(16, 16)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (saved(drawn())[:2000], ErrorCode.MEDIA_UNREADABLE),
        (saved(drawn(), "PNG")[:400], ErrorCode.MEDIA_UNREADABLE),
        (saved(drawn())[:30], ErrorCode.MEDIA_UNREADABLE),
        (b"\xff\xd8\xff" + b"x" * 5000, ErrorCode.MEDIA_UNREADABLE),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, ErrorCode.MEDIA_UNREADABLE),
        (b"no picture at all", ErrorCode.MEDIA_UNREADABLE),
        (b"", ErrorCode.MEDIA_UNREADABLE),
        (_png_header(6_400, 6_400), ErrorCode.MEDIA_TOO_LARGE),
        (_png_header(30_000, 30_000), ErrorCode.MEDIA_TOO_LARGE),
        (_jpeg_header(30_000, 30_000), ErrorCode.MEDIA_TOO_LARGE),
        (b"\0\0\0\x18ftypheic" + b"\0" * 100, ErrorCode.MEDIA_TYPE_NOT_SUPPORTED),
        (b"\0\0\0\x18ftypmp42" + b"\0" * 100, ErrorCode.MEDIA_TYPE_NOT_SUPPORTED),
    ],
)
def test_what_cannot_be_read(data: bytes, code: ErrorCode) -> None:
    assert refused(data)[0] is code


def test_a_whole_header_with_a_broken_body_is_not_passed_on_untouched() -> None:
    data = saved(noise(300, 200))
    assert not convert(data, ANY_SHAPE).converted
    assert refused(data[: len(data) // 2])[0] is ErrorCode.MEDIA_UNREADABLE


# Processes of their own: what one took at its peak is then that of the conversion.
MAKE = """
import sys
from PIL import Image
Image.new("RGB", (11_000, 8_000), (200, 30, 30)).save(sys.argv[1], "JPEG", quality=60)
"""
CONVERT = """
import io, sys
from PIL import Image
from orbyt_worker.media.images import convert
from orbyt_worker.model import ImageSpec

def peak_kib():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(each.split()[1]) for each in lines if each.startswith("VmHWM"))

spec = ImageSpec(("JPEG",), 8_000_000, 1440, 1800)
small = io.BytesIO()
Image.new("RGB", (2_000, 2_000)).save(small, "JPEG")
convert(small.getvalue(), spec)
data = open(sys.argv[1], "rb").read()
before = peak_kib()
made = convert(data, spec)
print(made.facts.width, made.facts.height, (peak_kib() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_photograph_takes_little_memory(tmp_path: Path) -> None:
    """88 megapixels are 264 MB as pixels; decoded at half of each side they are 66."""
    path = tmp_path / "large.jpg"
    subprocess.run([sys.executable, "-c", MAKE, path], check=True, timeout=60)
    ran = subprocess.run(
        [sys.executable, "-c", CONVERT, path], check=True, timeout=60, capture_output=True, text=True, cwd=ROOT
    )
    width, height, grown_mib = map(int, ran.stdout.split())
    assert (width, height) == (1440, 1047)
    assert grown_mib < 128
