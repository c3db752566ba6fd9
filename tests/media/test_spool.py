"""The growing spool: one download, many readers, bounded disk. The sources are scripted; the disk is real."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.source import Interrupted, SourceInfo
from orbyt_worker.media.spool import Spool, SpoolFile
from orbyt_worker.media.spool_dir import SpoolDirectory
from orbyt_worker.runtime import Runtime

MEGABYTE = 1024 * 1024


class Scripted:
    """A MediaSource of `size` bytes that stops after `gate_at` until `gate` is set, and breaks off as told."""

    def __init__(
        self, key: str = "a", size: int = 3 * MEGABYTE, *, gate_at: int | None = None, breaks: tuple[int, ...] = ()
    ) -> None:
        self.key = key
        self.data = os.urandom(1 << 16) * (size // (1 << 16) + 1)
        self.data = self.data[:size]
        self.gate_at = gate_at
        self.gate = asyncio.Event()
        self.at_gate = asyncio.Event()
        self.stopped = asyncio.Event()
        self.breaks = list(breaks)
        self.opened: list[int] = []
        self.error: Exception | None = None

    def info(self, *, known: bool = True, etag: str = '"1"') -> SourceInfo:
        return SourceInfo(len(self.data) if known else None, "video/mp4", etag, None, ranges=known)

    async def describe(self) -> SourceInfo:
        return self.info()

    async def open(self, info: SourceInfo, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        self.opened.append(start)
        stop = self.breaks.pop(0) if self.breaks else None
        try:
            for at in range(start, len(self.data), 65_536):
                if self.gate_at is not None and at >= self.gate_at:
                    self.at_gate.set()
                    await self.gate.wait()
                if stop is not None and at >= stop:
                    raise Interrupted(ErrorCode.MEDIA_SOURCE_UNAVAILABLE, "broken on purpose")
                if self.error is not None:
                    raise self.error
                yield self.data[at : at + 65_536]
        finally:
            self.stopped.set()


@pytest.fixture
async def spool(tmp_path: Path, runtime: Runtime) -> AsyncIterator[Spool]:
    made = Spool(tmp_path / "spool", 10 * MEGABYTE, runtime, grace_seconds=60, room_wait_seconds=0.2)
    await made.start()
    yield made
    await made.close()
    assert made.used_bytes == 0


async def whole(file: SpoolFile, size: int, start: int = 0) -> bytes:
    return b"".join([piece async for piece in file.read(start, size - start)])


async def test_many_readers_one_download(spool: Spool) -> None:
    source = Scripted()
    async with AsyncExitStack() as stack:
        files = [await stack.enter_async_context(spool.follow(source, source.info())) for _ in range(8)]
        starts = [index * 100_001 for index in range(8)]
        found = await asyncio.gather(
            *(whole(each, len(source.data), start) for each, start in zip(files, starts, strict=True))
        )
    assert all(got == source.data[start:] for got, start in zip(found, starts, strict=True))
    assert source.opened == [0]


async def test_reading_begins_before_the_download_ends(spool: Spool) -> None:
    source = Scripted(gate_at=MEGABYTE)
    async with spool.follow(source, source.info()) as file:
        async with aclosing(file.read(0, len(source.data))) as pieces:
            got = bytearray()
            async for piece in pieces:
                got += piece
                assert len(piece) <= 256 * 1024
                if len(got) == MEGABYTE:
                    break
        # A megabyte was handed out while the source has not sent its second one.
        await asyncio.wait_for(source.at_gate.wait(), 5)
        assert bytes(got) == source.data[:MEGABYTE]
        source.gate.set()
        assert await whole(file, len(source.data)) == source.data


async def test_the_last_bytes_do_not_wait_for_a_full_block(spool: Spool) -> None:
    source = Scripted(gate_at=65_536)
    async with spool.follow(source, source.info()) as file, aclosing(file.read(0, len(source.data))) as pieces:
        assert await asyncio.wait_for(anext(pieces), 5) == source.data[:65_536]


async def test_breaks_are_mended_once_for_all(spool: Spool) -> None:
    source = Scripted(breaks=(MEGABYTE, 2 * MEGABYTE))
    async with spool.follow(source, source.info()) as first, spool.follow(source, source.info()) as second:
        found = await asyncio.gather(whole(first, len(source.data)), whole(second, len(source.data)))
    assert list(found) == [source.data, source.data]
    assert source.opened == [0, MEGABYTE, 2 * MEGABYTE]


async def test_a_failure_reaches_every_reader_and_is_not_kept(spool: Spool) -> None:
    source = Scripted(gate_at=MEGABYTE)
    async with spool.follow(source, source.info()) as first, spool.follow(source, source.info()) as second:
        readers = [asyncio.create_task(whole(each, len(source.data))) for each in (first, second)]
        await asyncio.wait_for(source.at_gate.wait(), 5)
        source.error = Failure(ErrorCode.MEDIA_NOT_FOUND, "gone", http_status=404)
        source.gate.set()
        for reader in readers:
            with pytest.raises(Failure) as caught:
                await asyncio.wait_for(reader, 5)
            assert (caught.value.code, caught.value.http_status) == (ErrorCode.MEDIA_NOT_FOUND, 404)
        # Somebody who comes now gets a new download, not the old failure.
        source.error = None
        async with spool.follow(source, source.info()) as third:
            assert await whole(third, len(source.data)) == source.data


async def test_a_mistake_of_ours_is_not_dressed_up(spool: Spool) -> None:
    source = Scripted()
    source.error = ZeroDivisionError()
    async with spool.follow(source, source.info()) as file:
        with pytest.raises(RuntimeError) as caught:
            await whole(file, len(source.data))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_one_who_gives_up_does_not_stop_the_others(spool: Spool) -> None:
    source = Scripted(gate_at=MEGABYTE)
    async with spool.follow(source, source.info()) as staying:
        async with spool.follow(source, source.info()) as leaving:
            reader = asyncio.create_task(whole(leaving, len(source.data)))
            await asyncio.wait_for(source.at_gate.wait(), 5)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
        source.gate.set()
        assert await whole(staying, len(source.data)) == source.data
    assert source.opened == [0]


async def test_the_last_one_out_stops_the_download(spool: Spool) -> None:
    source = Scripted(gate_at=MEGABYTE)
    async with spool.follow(source, source.info()) as file:
        reader = asyncio.create_task(whole(file, len(source.data)))
        await asyncio.wait_for(source.at_gate.wait(), 5)
        reader.cancel()
    await asyncio.wait_for(source.stopped.wait(), 5)
    assert spool.used_bytes == 0


async def test_the_next_job_finds_the_file(spool: Spool) -> None:
    source = Scripted()
    for _ in range(3):
        async with spool.follow(source, source.info()) as file:
            assert await whole(file, len(source.data)) == source.data
    assert (source.opened, spool.used_bytes) == ([0], len(source.data))
    # Another version is another file.
    async with spool.follow(source, source.info(etag='"2"')) as file:
        assert await whole(file, len(source.data)) == source.data
    assert source.opened == [0, 0]


class Told(Spool):
    """Says when its last byte of room is free again."""

    def __init__(self, directory: Path, runtime: Runtime) -> None:
        super().__init__(directory, 10 * MEGABYTE, runtime, grace_seconds=0.0)
        self.empty = asyncio.Event()

    def _free_if_unused(self, entry: Any) -> None:
        super()._free_if_unused(entry)
        if self.used_bytes == 0:
            self.empty.set()


async def test_a_grace_time_ends(tmp_path: Path, runtime: Runtime) -> None:
    spool = Told(tmp_path / "other", runtime)
    await spool.start()
    for _ in range(5):
        source = Scripted(size=6 * MEGABYTE)
        spool.empty.clear()
        async with spool.follow(source, source.info()) as file:
            assert await whole(file, len(source.data)) == source.data
        await asyncio.wait_for(spool.empty.wait(), 5)
        assert (source.opened, spool.used_bytes) == ([0], 0)
    await spool.close()


async def test_room_is_made_of_what_nobody_uses_oldest_first(spool: Spool) -> None:
    sources = [Scripted(key) for key in "abc"]
    for source in sources:
        async with spool.follow(source, source.info()) as file:
            await whole(file, len(source.data))
    async with spool.follow(sources[0], sources[0].info()):
        pass  # used again: now the youngest
    fourth = Scripted("d")
    async with spool.follow(fourth, fourth.info()) as file:
        await whole(file, len(fourth.data))
    assert spool.used_bytes == 9 * MEGABYTE
    for source in sources:
        async with spool.follow(source, source.info()) as file:
            await whole(file, len(source.data))
    assert [len(source.opened) for source in sources] == [1, 2, 2]


async def test_a_download_waits_for_room(spool: Spool) -> None:
    first, second = Scripted("a", 6 * MEGABYTE), Scripted("b", 6 * MEGABYTE)
    async with AsyncExitStack() as stack:
        async with spool.follow(first, first.info()) as held:
            await whole(held, len(first.data))
            waiting = await stack.enter_async_context(spool.follow(second, second.info()))
            reader = asyncio.create_task(whole(waiting, len(second.data)))
            await asyncio.sleep(0)
            assert second.opened == []
        assert await asyncio.wait_for(reader, 5) == second.data


async def test_no_room_in_time(spool: Spool) -> None:
    first, second = Scripted("a", 6 * MEGABYTE), Scripted("b", 6 * MEGABYTE)
    async with spool.follow(first, first.info()) as held:
        await whole(held, len(first.data))
        async with spool.follow(second, second.info()) as waiting:
            with pytest.raises(Failure) as caught:
                await asyncio.wait_for(whole(waiting, len(second.data)), 5)
    assert caught.value.code == ErrorCode.SPOOL_FULL


async def test_what_can_never_fit(spool: Spool) -> None:
    source = Scripted(size=11 * MEGABYTE)
    assert not spool.fits(source.info())
    async with spool.follow(source, source.info()) as file:
        with pytest.raises(Failure) as caught:
            await whole(file, len(source.data))
    assert caught.value.code == ErrorCode.MEDIA_TOO_LARGE


async def test_a_full_disk(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "pwrite", full)
    source = Scripted()
    async with spool.follow(source, source.info()) as file:
        with pytest.raises(Failure) as caught:
            await whole(file, len(source.data))
    assert caught.value.code == ErrorCode.SPOOL_FULL


async def test_a_size_known_only_at_the_end(tmp_path: Path, runtime: Runtime) -> None:
    spool = Spool(tmp_path / "other", 100 * MEGABYTE, runtime)
    await spool.start()
    source = Scripted(gate_at=MEGABYTE)
    async with spool.follow(source, source.info(known=False)) as file:
        size = asyncio.create_task(file.size())
        await asyncio.wait_for(source.at_gate.wait(), 5)
        assert await whole(file, MEGABYTE) == source.data[:MEGABYTE]
        assert not size.done()
        source.gate.set()
        assert await asyncio.wait_for(size, 5) == len(source.data)
        assert spool.used_bytes == len(source.data)
        with pytest.raises(Failure) as caught:
            await whole(file, len(source.data) + 1)
        assert caught.value.code == ErrorCode.MEDIA_TRUNCATED
    await spool.close()


async def test_an_unknown_size_that_broke_off_is_not_taken_for_whole(tmp_path: Path, runtime: Runtime) -> None:
    spool = Spool(tmp_path / "other", 100 * MEGABYTE, runtime)
    await spool.start()
    source = Scripted(breaks=(MEGABYTE,))
    async with spool.follow(source, source.info(known=False)) as file:
        with pytest.raises(Failure) as caught:
            await file.size()
    assert caught.value.code == ErrorCode.MEDIA_SOURCE_UNAVAILABLE
    await spool.close()


async def test_closing_ends_everything(tmp_path: Path, runtime: Runtime) -> None:
    spool = Spool(tmp_path / "other", 10 * MEGABYTE, runtime)
    await spool.start()
    source = Scripted(gate_at=MEGABYTE)
    async with spool.follow(source, source.info()) as file:
        reader = asyncio.create_task(whole(file, len(source.data)))
        await asyncio.wait_for(source.at_gate.wait(), 5)
        await spool.close()
        with pytest.raises(Failure):
            await asyncio.wait_for(reader, 5)
    await spool.close()
    assert list((tmp_path / "other").glob("worker-*")) == []


# --- The directory ----------------------------------------------------------------------------------------------------


def test_what_a_killed_worker_left_is_removed_and_a_living_one_is_let_be(tmp_path: Path) -> None:
    base = tmp_path / "spool"
    living = SpoolDirectory(base)
    living.open()
    (alive,) = base.glob("worker-*")
    dead = base / "worker-99999-dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "leftover").write_bytes(b"x")
    unlocked = base / "worker-88888-older"
    unlocked.mkdir()
    foreign = base / "something-else"
    foreign.mkdir()
    second = SpoolDirectory(base)
    second.open()
    assert alive.exists()
    assert not dead.exists()
    assert not unlocked.exists()
    assert foreign.exists()
    living.close()
    second.close()
    assert list(base.glob("worker-*")) == []


def test_files_have_no_name_and_are_private(tmp_path: Path) -> None:
    directory = SpoolDirectory(tmp_path / "spool")
    directory.open()
    fd = directory.create_file()
    try:
        status = os.fstat(fd)
        assert (status.st_mode & 0o777, status.st_nlink) == (0o600, 0)
        os.pwrite(fd, b"data", 0)
        assert os.pread(fd, 4, 0) == b"data"
    finally:
        os.close(fd)
        directory.close()


def test_a_directory_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    base = tmp_path / "spool"
    base.mkdir()
    if base.stat().st_uid == 0:
        os.chown(base, 54321, -1)
    with pytest.raises(PermissionError):
        SpoolDirectory(base).open()
