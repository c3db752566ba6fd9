"""First bytes, boxes, and random access within a budget. No network."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.boxes import Layout, is_turned, layout
from orbyt_worker.media.client import retry_after_seconds
from orbyt_worker.media.sniff import refuse_other_than_media, sniff
from orbyt_worker.media.window import BlockingFile, Window


def box(kind: bytes, payload: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I4s", len(payload) + 8 if size is None else size, kind) + payload


FTYP = box(b"ftyp", b"isom\0\0\0\0")


def window(data: bytes, *, known: bool = True, bytes_max: int = 1 << 24) -> Window:
    async def fetch(start: int, length: int) -> AsyncGenerator[bytes, None]:
        yield data[start : start + length]
        if start + length > len(data):
            raise Failure(ErrorCode.MEDIA_TRUNCATED, "the end")

    return Window(fetch, len(data) if known else None, bytes_max=bytes_max)


async def layout_of(data: bytes, *, jumps: bool = True, known: bool = True) -> Layout:
    seen = window(data, known=known)
    return await layout(seen.read, seen.size_bytes, jumps=jumps)


# --- First bytes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "container"),
    [
        (FTYP, "mp4"),
        (box(b"ftyp", b"qt  "), "mov"),
        (box(b"moov"), "mov"),
        (box(b"ftyp", b"3gp5"), "3gp"),
        (box(b"ftyp", b"heic"), "heic"),
        (b"\x1aE\xdf\xa3" + b"\x01webm", "webm"),
        (b"\x1aE\xdf\xa3" + b"matroska", "matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        ((b"G" + b"\0" * 187) * 3, "mpegts"),
    ],
)
def test_bytes_decide(head: bytes, container: str) -> None:
    found = sniff(head)
    assert found is not None
    assert found.container == container
    refuse_other_than_media(head, "text/html")


@pytest.mark.parametrize("head", [b"", b"G", b"GGGG", b"RIFF\0\0\0\0WAVE", b"<html>", b"#EXTM3U\n"])
def test_what_is_not_known(head: bytes) -> None:
    assert sniff(head) is None


@pytest.mark.parametrize(
    ("head", "content_type", "code"),
    [
        (b"#EXTM3U\n#EXT-X-VERSION:3", "video/mp4", ErrorCode.MEDIA_IS_PLAYLIST),
        (b"\xef\xbb\xbf\r\n#EXTM3U", "", ErrorCode.MEDIA_IS_PLAYLIST),
        (b"x", "application/vnd.apple.mpegurl", ErrorCode.MEDIA_IS_PLAYLIST),
        (b'<?xml version="1.0"?><MPD xmlns=', "application/xml", ErrorCode.MEDIA_IS_PLAYLIST),
        (b"<!DOCTYPE html>", "video/mp4", ErrorCode.MEDIA_NOT_MEDIA),
        (b'{"error": "expired"}', "application/octet-stream", ErrorCode.MEDIA_NOT_MEDIA),
        (b"%PDF-1.7", "application/pdf", ErrorCode.MEDIA_NOT_MEDIA),
        (b"hello", "text/plain", ErrorCode.MEDIA_NOT_MEDIA),
    ],
)
def test_pages_and_playlists(head: bytes, content_type: str, code: ErrorCode) -> None:
    with pytest.raises(Failure) as caught:
        refuse_other_than_media(head, content_type)
    assert caught.value.code == code


# --- Boxes ------------------------------------------------------------------------------------------------------------


async def test_where_the_index_is() -> None:
    front = await layout_of(FTYP + box(b"moov", b"m" * 20) + box(b"mdat", b"d" * 100))
    assert front == Layout(True, (len(FTYP) + 8, len(FTYP) + 28))
    assert (await layout_of(FTYP + box(b"mdat", b"d" * 100) + box(b"moov", b"m" * 20))).moov_at_front is False
    assert (await layout_of(FTYP + box(b"free", b"f" * 9) + box(b"moov") + box(b"mdat", b"d", size=0))).moov_at_front
    large = FTYP + box(b"moov") + struct.pack(">I4sQ", 1, b"mdat", 16 + 50) + b"d" * 50 + b"\0" * 12
    assert (await layout_of(large)).moov_at_front


@pytest.mark.parametrize(
    "data",
    [
        FTYP + box(b"moov") + box(b"mdat", b"d" * 100)[:-1],
        FTYP + box(b"mdat", b"d" * 100)[:50],
        FTYP + box(b"mdat", b"d" * 100) + box(b"moov", b"m" * 100)[:-1],
        FTYP + box(b"moov", b"m" * 100)[:30],
        FTYP + box(b"mdat", b"d" * 100),
        FTYP + box(b"moov") + struct.pack(">I4sQ", 1, b"mdat", 2**62),
    ],
)
async def test_files_that_were_cut(data: bytes) -> None:
    with pytest.raises(Failure) as caught:
        await layout_of(data)
    assert caught.value.code == ErrorCode.MEDIA_TRUNCATED


async def test_impossible_sizes() -> None:
    for broken in (box(b"mdat", size=7), struct.pack(">I4sQ", 1, b"mdat", 5) + b"\0" * 20):
        with pytest.raises(Failure) as caught:
            await layout_of(FTYP + broken)
        assert caught.value.code == ErrorCode.MEDIA_UNREADABLE


async def test_a_source_without_ranges_is_not_read_to_its_end() -> None:
    data = FTYP + box(b"mdat", b"d" * 9_000_000) + box(b"moov", b"m" * 20)
    assert await layout_of(data, jumps=False) == Layout(False, None)
    assert await layout_of(data, jumps=False, known=False) == Layout(False, None)
    small = FTYP + box(b"mdat", b"d" * 1000) + box(b"moov", b"m" * 20)
    assert (await layout_of(small, jumps=False)).moov is not None
    endless = FTYP + box(b"moov", b"m" * 20) + box(b"mdat", b"d" * 100)
    assert (await layout_of(endless, jumps=False, known=False)).moov_at_front


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    ("matrix", "turned"),
    [((0, 65536, 0, -65536, 0), True), ((65536, 0, 0, 0, 65536), False), ((-65536, 0, 0, 0, -65536), False)],
)
async def test_turned_pictures(version: int, matrix: tuple[int, ...], turned: bool) -> None:
    times = b"\0" * (32 if version else 20)
    tkhd = box(b"tkhd", bytes([version, 0, 0, 7]) + times + b"\0" * 16 + struct.pack(">5i", *matrix) + b"\0" * 24)
    sound = box(b"trak", tkhd + box(b"mdia", box(b"hdlr", b"\0" * 8 + b"soun")))
    picture = box(b"trak", tkhd + box(b"mdia", box(b"mdhd") + box(b"hdlr", b"\0" * 8 + b"vide")))
    data = box(b"mvhd", b"\0" * 100) + sound + picture
    assert await is_turned(window(data).read, (0, len(data))) is turned
    assert await is_turned(window(sound).read, (0, len(sound))) is False


# --- Windows ----------------------------------------------------------------------------------------------------------


async def test_random_access_fetches_each_block_once() -> None:
    data = bytes(range(256)) * 4096
    fetched: list[tuple[int, int]] = []

    async def fetch(start: int, length: int) -> AsyncGenerator[bytes, None]:
        fetched.append((start, length))
        yield data[start : start + length]

    seen = Window(fetch, len(data), bytes_max=2 * len(data))
    for start, length in ((0, 10), (5, 100), (len(data) - 3, 100), (70_000, 100_000), (60_000, 10_000)):
        assert await seen.read(start, length) == data[start : start + length]
    assert len(fetched) == len({start for start, _ in fetched})
    assert await seen.read(len(data) + 5, 10) == b""


async def test_a_budget_ends_the_search() -> None:
    seen = window(b"x" * 1_000_000, bytes_max=200_000)
    await seen.read(0, 10)
    with pytest.raises(Failure) as caught:
        await seen.read(0, 900_000)
    assert caught.value.code == ErrorCode.MEDIA_UNREADABLE


async def test_an_end_that_was_not_announced() -> None:
    seen = window(b"x" * 100_000, known=False)
    assert len(await seen.read(90_000, 50_000)) == 10_000


async def test_a_thread_is_let_go_when_nobody_waits_any_more() -> None:
    async def never(start: int, length: int) -> AsyncGenerator[bytes, None]:
        reading.set()
        await asyncio.Event().wait()
        yield b""

    reading = asyncio.Event()
    file = BlockingFile(Window(never, 1000, bytes_max=1000), asyncio.get_running_loop())
    thread = asyncio.create_task(asyncio.to_thread(file.read, 10))
    await asyncio.wait_for(reading.wait(), 5)
    file.stop()
    assert await asyncio.wait_for(thread, 5) == b""
    assert file.read(10) == b""


# --- Retry-After ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("-3", 0.0),
        ("999999999", 86_400.0),
        ("nan", None),
        ("soon", None),
        ("Mon, 23 Nov 2026 12:01:00 GMT", 60.0),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, datetime(2026, 11, 23, 12, 0, tzinfo=UTC)) == seconds
