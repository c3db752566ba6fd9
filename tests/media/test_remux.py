"""A video that exists as a stream only: its packets, copied into one file."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.client import MediaClient
from orbyt_worker.media.relay import MediaReader, MediaRelay
from orbyt_worker.media.remux import RemuxSource
from orbyt_worker.media.spool import Spool
from orbyt_worker.model import MediaFacts, MediaItem, MediaSpec
from orbyt_worker.runtime import Runtime
from orbyt_worker.sandbox import mux_hls
from orbyt_worker.sandbox.media_host import Behaviour
from orbyt_worker.sandbox.mux import AssetHandle
from orbyt_worker.sandbox.server import SandboxServer
from tests.fix_clock import FakeClock
from tests.media.conftest import RelayFactory, Request, host, say
from tests.media.remux_world import boxes, large_segment, large_stream, packets

NO_API: dict[str, Any] = {"mux_token_id": None, "mux_token_secret": None}
NO_FILES: dict[str, Any] = {"renditions": (), "seconds": 7.0, "width": 320, "height": 180}
BYTES = int(os.environ.get("ORBYT_TEST_REMUX_BYTES", 192 * 1024 * 1024))
GROWTH_BYTES_MAX = 64 * 1024 * 1024


def item(asset: AssetHandle) -> MediaItem:
    return MediaItem("video", f"mux://{asset.playback_id}")


async def everything(reader: MediaReader) -> bytes:
    return b"".join([piece async for piece in reader.read(0, reader.size_bytes)])


async def copy_of(relay: MediaRelay, asset: AssetHandle, prefer: str = "highest") -> bytes:
    async with relay.open(item(asset), spec=MediaSpec(prefer)) as reader:
        return await everything(reader)


async def whole_facts(relay: MediaRelay, asset: AssetHandle) -> MediaFacts:
    """What the probe says about the file when it is there."""
    async with relay.open(item(asset), spec=MediaSpec()) as reader:
        return reader.facts


def originals(kind: Any, track: Any = "both", *, audio: bool = True) -> bytes:
    """The segments that the simulator serves for NO_FILES, one after the other."""
    found = mux_hls.make(kind=kind, track=track, seconds=7.0, width=320, height=180, audio=audio)
    return b"".join(each.path.read_bytes() for each in found)


# --- The copy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["public", "signed"])
@pytest.mark.parametrize("kind", ["ts", "fmp4"])
async def test_every_packet_at_its_time(
    kind: Any, policy: Any, server: SandboxServer, open_relay: RelayFactory
) -> None:
    asset = server.state.mux.create_asset(**NO_FILES, policy=policy, hls=kind)
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        facts = await relay.facts(item(asset), spec=MediaSpec())
        async with relay.open(item(asset), spec=MediaSpec(), expect=facts) as reader:
            copy, found = await everything(reader), reader.facts
        alone = await whole_facts(relay, asset)
    if kind == "ts":
        before = packets(originals("ts"), "mpegts")
    else:
        before = {
            "video": packets(originals("fmp4", "video"), "mov")["video"],
            "audio": packets(originals("fmp4", "audio"), "mov")["audio"],
        }
    after = packets(copy, "mov")
    for track in ("video", "audio"):
        assert [content for _, content in after[track]] == [content for _, content in before[track]]
    # Pictures and sound lie as far from each other as before, from the first packet to the last.
    moved = {
        round(float(then - now), 3)
        for track in ("video", "audio")
        for (then, _), (now, _) in zip(before[track], after[track], strict=True)
    }
    assert max(moved) - min(moved) <= 0.001
    # Foreseen from the first seconds, and then true: but for the size, which only the end tells.
    assert facts == replace(found, size_bytes=None)
    assert found.size_bytes == len(copy)
    assert found == replace(alone, duration_seconds=found.duration_seconds)
    assert alone.duration_seconds == pytest.approx(7.0, abs=0.1)
    assert (facts.video_codec, facts.audio_codec) == ("h264", "aac")
    assert (facts.width, facts.height, facts.moov_at_front) == (320, 180, True)
    assert facts.duration_seconds == pytest.approx(7.0, abs=0.1)
    assert facts.fps == pytest.approx(25.0, abs=0.01)


@pytest.mark.parametrize("kind", ["ts", "fmp4"])
async def test_the_shape_of_the_file(kind: Any, server: SandboxServer, open_relay: RelayFactory) -> None:
    asset = server.state.mux.create_asset(**NO_FILES, hls=kind)
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        found = list(boxes(await copy_of(relay, asset)))
    assert [each for each in found if "/" not in each] == ["ftyp", "moov", "mdat"]
    assert "moov/trak/edts" not in found  # Instagram refuses files with edit lists
    assert found.count("moov/trak/mdia/minf/stbl/stss") == 1  # every block of sound can be started from


async def test_a_silent_video(server: SandboxServer, open_relay: RelayFactory) -> None:
    asset = server.state.mux.create_asset(**NO_FILES, audio=False)
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        facts = await relay.facts(item(asset), spec=MediaSpec())
    assert (facts.video_codec, facts.audio_codec) == ("h264", None)


@pytest.mark.parametrize(("prefer", "height"), [("highest", 1440), ("1080p", 1080)])
async def test_each_platform_gets_its_quality(
    prefer: str, height: int, server: SandboxServer, open_relay: RelayFactory
) -> None:
    asset = server.state.mux.create_asset(renditions=(), seconds=1.0, width=2560, height=1440)
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        assert (await relay.facts(item(asset), spec=MediaSpec(prefer))).height == height


@pytest.mark.parametrize("kind", ["ts", "fmp4"])
async def test_the_same_bytes_every_time(
    kind: Any, server: SandboxServer, open_relay: RelayFactory, tmp_path: Path
) -> None:
    """An upload that another worker began goes on with a copy made anew."""
    asset = server.state.mux.create_asset(**NO_FILES, hls=kind)
    async with open_relay(environment=server.settings_env(), **NO_API) as first:
        facts = await first.facts(item(asset), spec=MediaSpec())
        one = await copy_of(first, asset)
    async with (
        open_relay(environment=server.settings_env(), **NO_API, spool_dir=tmp_path / "other") as second,
        second.open(item(asset), spec=MediaSpec(), expect=facts, part=True) as reader,
    ):
        two = await everything(reader)
    assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest()


async def test_looking_moves_little(server: SandboxServer, open_relay: RelayFactory) -> None:
    asset = server.state.mux.create_asset(**NO_FILES, hls="fmp4")
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        await relay.facts(item(asset), spec=MediaSpec())
    asked = [
        each.path.rpartition("/")[2] for each in server.state.requests.list() if each.route == "mux.stream.segment"
    ]
    assert asked == ["init.mp4", "0.m4s"] * 2


async def test_one_copy_for_all_who_want_it(server: SandboxServer, open_relay: RelayFactory) -> None:
    """Also for platforms with other wishes that lead to the same quality. Segments are asked for one after the other."""
    asset = server.state.mux.create_asset(**NO_FILES)
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        copies = await asyncio.gather(*(copy_of(relay, asset, prefer) for prefer in ("highest", "1080p") * 3))
    assert len({hashlib.sha256(each).digest() for each in copies}) == 1
    asked = [each.path for each in server.state.requests.list() if each.route == "mux.stream.segment"]
    assert [path.rpartition("/")[2] for path in asked] == ["0.ts", "1.ts", "2.ts", "3.ts"]


async def test_a_file_that_appears_later_does_not_disturb(
    server: SandboxServer, open_relay: RelayFactory, clock: FakeClock
) -> None:
    mux = server.state.mux
    asset = mux.create_asset(**{**NO_FILES, "renditions": ("highest",)}, renditions_ready_after_seconds=None)
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        facts = await relay.facts(item(asset), spec=MediaSpec())
        mux.finish_rendition(asset.asset_id)
        clock.advance(60)
        async with relay.open(item(asset), spec=MediaSpec(), expect=facts) as reader:
            assert reader.facts == replace(facts, size_bytes=reader.size_bytes)
        assert (await relay.facts(item(asset), spec=MediaSpec())).etag != facts.etag


# --- What goes wrong on the way ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_before"},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 403},  # the signatures have ended: playlists are read again
        {"kind": "status", "status": 404},
    ],
)
async def test_a_segment_that_fails_once(
    fault: dict[str, Any], server: SandboxServer, open_relay: RelayFactory
) -> None:
    asset = server.state.mux.create_asset(**NO_FILES, hls="fmp4")
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        server.state.faults.add("mux.stream.segment", after=3, **fault)
        copy = await copy_of(relay, asset)
    assert len(packets(copy, "mov")["video"]) == 175


async def test_segments_that_break_off(server: SandboxServer, open_relay: RelayFactory) -> None:
    asset = server.state.mux.create_asset(**NO_FILES, behaviour=Behaviour(truncate_after_bytes=5000, broken_times=2))
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        copy = await copy_of(relay, asset)
    assert [content for _, content in packets(copy, "mov")["video"]] == [
        content for _, content in packets(originals("ts"), "mpegts")["video"]
    ]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, ErrorCode.MEDIA_SOURCE_UNAVAILABLE),
        (403, ErrorCode.MEDIA_ACCESS_DENIED),
        (404, ErrorCode.MEDIA_NOT_FOUND),
        (412, ErrorCode.MEDIA_NOT_READY),
    ],
)
async def test_segments_that_stay_away(
    status: int, code: ErrorCode, server: SandboxServer, open_relay: RelayFactory
) -> None:
    asset = server.state.mux.create_asset(**NO_FILES, behaviour=Behaviour(status=status))
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        assert await code_of(relay, asset) == code


async def test_signatures_that_end_too_soon(server: SandboxServer, open_relay: RelayFactory) -> None:
    server.state.mux.configure(stream_url_seconds=-1.0)
    asset = server.state.mux.create_asset(**NO_FILES)
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        assert await code_of(relay, asset) == ErrorCode.MEDIA_ACCESS_DENIED


async def test_another_stream_than_the_one_inspected(server: SandboxServer, open_relay: RelayFactory) -> None:
    mux, name = server.state.mux, "samplaybackidforbothassets"
    first = mux.create_asset(**NO_FILES, playback_id=name)
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        facts = await relay.facts(item(first), spec=MediaSpec())
    mux.delete_asset(first.asset_id)
    mux.create_asset(**{**NO_FILES, "seconds": 5.0}, playback_id=name)
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        with pytest.raises(Failure) as caught:
            async with relay.open(item(first), spec=MediaSpec(), expect=facts):
                pass
    assert caught.value.code == ErrorCode.MEDIA_CHANGED


@pytest.mark.parametrize("limit", [{"spool_bytes_max": 50_000}, {"media_bytes_max": 50_000}])
async def test_room_is_limited(limit: dict[str, Any], server: SandboxServer, open_relay: RelayFactory) -> None:
    asset = server.state.mux.create_asset(**NO_FILES)
    async with open_relay(environment=server.settings_env(), **NO_API, **limit) as relay:
        assert await code_of_copy(relay, asset) == ErrorCode.MEDIA_TOO_LARGE


async def code_of(relay: MediaRelay, asset: AssetHandle) -> ErrorCode:
    with pytest.raises(Failure) as caught:
        await relay.facts(item(asset), spec=MediaSpec())
    assert "signature" not in str(caught.value)
    return caught.value.code


async def code_of_copy(relay: MediaRelay, asset: AssetHandle) -> ErrorCode:
    with pytest.raises(Failure) as caught:
        await copy_of(relay, asset)
    return caught.value.code


# --- Streams that say odd things --------------------------------------------------------------------------------------


@asynccontextmanager
async def odd_mux(segment: bytes, *, uri: str = "0.ts", codecs: str = "avc1.640020") -> AsyncIterator[str]:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        name = request.target.rpartition("/")[2]
        if name == "rendition.m3u8":
            say(writer, 200, f"#EXTM3U\n#EXTINF:5,\n{uri}\n#EXT-X-ENDLIST\n".encode())
        elif name.endswith(".m3u8"):
            rate = f'BANDWIDTH=1000000,CODECS="{codecs}",RESOLUTION=64x36'
            say(writer, 200, f"#EXTM3U\n#EXT-X-STREAM-INF:{rate}\nhls/rendition.m3u8\n".encode())
        else:
            say(writer, 404 if name.endswith(".mp4") else 200, segment)

    async with host(answer) as running:
        yield running.url


async def odd_code(open_relay: RelayFactory, url: str) -> ErrorCode:
    async with open_relay(mux_stream_url=url) as relay:
        with pytest.raises(Failure) as caught:
            await relay.facts(MediaItem("video", "mux://oddplaybackid"), spec=MediaSpec())
    return caught.value.code


@pytest.mark.parametrize(
    "segment",
    [
        b"",
        b"<html>",
        b"#EXTM3U\n#EXTINF:5,\nfile:///etc/passwd\n",
        b"G" + b"\0" * 187 + b"G" + b"\xff" * 187 + b"G" + b"\0" * 187,
        bytes(range(256)) * 2000,
    ],
)
async def test_segments_that_are_none(segment: bytes, open_relay: RelayFactory) -> None:
    async with odd_mux(segment) as url:
        expected = ErrorCode.MEDIA_REMUX_FAILED if segment else ErrorCode.MEDIA_TRUNCATED
        assert await odd_code(open_relay, url) == expected


async def test_sound_that_was_promised(open_relay: RelayFactory) -> None:
    """A copy without its sound would be published, and nobody would be told."""
    async with odd_mux(large_segment(0, 1000), codecs="avc1.640020,mp4a.40.2") as url:
        assert await odd_code(open_relay, url) == ErrorCode.MEDIA_REMUX_FAILED


@pytest.mark.parametrize("uri", ["https://example.com/0.ts", "http://169.254.169.254/0.ts", "file:///etc/passwd"])
async def test_segments_come_from_mux_only(uri: str, open_relay: RelayFactory) -> None:
    async with odd_mux(b"", uri=uri) as url:
        assert await odd_code(open_relay, url) in {ErrorCode.MEDIA_URL_FORBIDDEN, ErrorCode.MEDIA_REMUX_FAILED}


# --- Memory, and an end at any moment ---------------------------------------------------------------------------------


async def test_memory_does_not_depend_on_the_length(tmp_path: Path) -> None:
    segments, frame_bytes = max(BYTES // (5 * 512 * 1024), 2), 512 * 1024
    streams = {"small": large_stream(1, 1000), "large": large_stream(segments, frame_bytes)}

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await streams["small" if request.target.startswith("/small") else "large"](request, writer)

    async with host(answer) as mux:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.media.remux_world", mux.url, "playback",
            str(tmp_path), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), 110)
    cost = json.loads(out.splitlines()[-1])
    assert cost["bytes"] > 2 * segments * 5 * frame_bytes
    assert segments * 5 * frame_bytes < cost["fetched"] < segments * 5 * frame_bytes * 1.2
    assert cost["grown"] < GROWTH_BYTES_MAX


async def test_a_process_killed_half_way_leaves_nothing(tmp_path: Path, open_relay: RelayFactory) -> None:
    reached = asyncio.Event()
    stream = large_stream(4, 1_000_000)

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.target.endswith("/2.ts"):
            reached.set()
            await asyncio.Event().wait()
        await stream(request, writer)

    async with host(answer) as mux:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.media.remux_world", mux.url, "playback",
            str(tmp_path / "spool"), stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await asyncio.wait_for(reached.wait(), 60)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    left = list((tmp_path / "spool").glob("worker-*"))
    assert len(left) == 1
    assert [each.name for each in left[0].iterdir()] == ["lock"]  # its file was nameless from the start
    async with open_relay():
        assert left[0] not in set((tmp_path / "spool").glob("worker-*"))


async def test_readers_who_leave_end_the_copy(runtime: Runtime, tmp_path: Path) -> None:
    """The thread does not wait for a segment that nobody wants any more, and the room is free again."""
    reached = asyncio.Event()
    stream = large_stream(4, 100_000)

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.target.endswith("/1.ts"):
            reached.set()
            await asyncio.Event().wait()
        await stream(request, writer)

    async with host(answer) as mux:
        client = MediaClient(
            runtime, resolve=resolved, sandbox=True, allowed_hosts=frozenset({mux.url.removeprefix("http://")})
        )
        source = RemuxSource(
            client,
            runtime,
            lambda: f"{mux.url}/leaving.m3u8",
            key="mux/leaving/remux",
            prefer="highest",
            bytes_max=10**9,
            host_allowed=lambda name: name == "127.0.0.1",
        )
        spool = Spool(tmp_path / "spool", 10**9, runtime)
        await spool.start()
        async with spool.follow(source, await source.describe()):
            await asyncio.wait_for(reached.wait(), 30)
            assert spool.used_bytes > 0
        await asyncio.wait_for(spool.close(), 30)
        assert spool.used_bytes == 0
        await client.close()


async def resolved(name: str, port: int) -> list[str]:
    return [name]
