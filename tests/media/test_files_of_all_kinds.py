"""Every file of the sandbox's media host, good and bad: what is found out, and which code a bad one ends in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.relay import MediaRelay
from orbyt_worker.model import MediaItem, MediaSpec
from orbyt_worker.sandbox.media_host import Behaviour
from orbyt_worker.sandbox.server import SandboxServer
from orbyt_worker.sandbox.state import Sandbox
from tests.media.conftest import RelayFactory


def video(url: str) -> MediaItem:
    return MediaItem("video", url)


async def read_all(relay: MediaRelay, item: MediaItem) -> str:
    """SHA-256 of the bytes as an upload would see them."""
    facts = await relay.facts(item, spec=MediaSpec())
    async with relay.open(item, spec=MediaSpec(), expect=facts) as reader:
        digest, count = hashlib.sha256(), 0
        async for piece in reader.read(0, reader.size_bytes):
            assert len(piece) <= 256 * 1024
            digest.update(piece)
            count += len(piece)
        assert count == reader.size_bytes
    return digest.hexdigest()


@pytest.mark.parametrize(
    "name",
    [
        "good.mp4", "moov-at-end.mp4", "silent.mp4", "vertical.mp4", "mpeg4.mp4", "no-range.mp4", "no-head.mp4", "no-length.mp4",
        "weak-etag.mp4", "no-etag.mp4", "reset.mp4", "etag-changes.mp4",
    ],
)  # fmt: skip
async def test_bytes_arrive_as_they_are(name: str, server: SandboxServer, open_relay: RelayFactory) -> None:
    async with open_relay(server.url) as relay:
        assert await read_all(relay, video(server.state.media.url(name))) == server.state.media.sha256(name)


async def test_what_a_probe_tells(server: SandboxServer, open_relay: RelayFactory) -> None:
    media = server.state.media
    media.add("tall.mp4", width=360, height=640, fps=30, seconds=3.0, faststart=False, size_bytes=5_000_000)
    async with open_relay(server.url) as relay:
        facts = await relay.facts(video(media.url("tall.mp4")), spec=MediaSpec())
        photo = await relay.facts(MediaItem("image", media.url("photo.jpg")), spec=MediaSpec())
    assert (facts.type, facts.container, facts.content_type, facts.size_bytes) == (
        "video",
        "mp4",
        "video/mp4",
        5_000_000,
    )
    assert (facts.width, facts.height, facts.video_codec, facts.audio_codec) == (360, 640, "h264", "aac")
    assert facts.fps == pytest.approx(30)
    assert facts.duration_seconds == pytest.approx(3.0, abs=0.1)
    assert facts.moov_at_front is False
    assert facts.etag is not None
    assert (photo.container, photo.width, photo.height, photo.content_type) == ("jpeg", 1280, 720, "image/jpeg")
    # Far less than the file was read.
    served = media.file("tall.mp4")
    assert served is not None
    assert served.bytes_served < 1_000_000


async def test_a_day_and_a_half(server: SandboxServer, open_relay: RelayFactory) -> None:
    async with open_relay(server.url) as relay:
        facts = await relay.facts(video(server.state.media.url("duration-40h.mp4")), spec=MediaSpec())
    assert facts.duration_seconds == pytest.approx(40 * 3600, abs=1)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("zero.mp4", ErrorCode.MEDIA_EMPTY),
        ("html.mp4", ErrorCode.MEDIA_NOT_MEDIA),
        ("html-as-mp4.mp4", ErrorCode.MEDIA_NOT_MEDIA),
        ("gzip.mp4", ErrorCode.MEDIA_NOT_MEDIA),
        ("playlist.m3u8", ErrorCode.MEDIA_IS_PLAYLIST),
        ("cut.mp4", ErrorCode.MEDIA_TRUNCATED),
        ("truncated-body.mp4", ErrorCode.MEDIA_TRUNCATED),
        ("wrong-length.mp4", ErrorCode.MEDIA_TRUNCATED),
        ("photo.jpg", ErrorCode.MEDIA_NO_VIDEO_STREAM),
        ("missing.mp4", ErrorCode.MEDIA_NOT_FOUND),
        ("status-404.mp4", ErrorCode.MEDIA_NOT_FOUND),
        ("status-410.mp4", ErrorCode.MEDIA_NOT_FOUND),
        ("status-401.mp4", ErrorCode.MEDIA_ACCESS_DENIED),
        ("status-403.mp4", ErrorCode.MEDIA_ACCESS_DENIED),
        ("status-418.mp4", ErrorCode.MEDIA_ACCESS_DENIED),
        ("status-429.mp4", ErrorCode.MEDIA_SOURCE_UNAVAILABLE),
        ("status-500.mp4", ErrorCode.MEDIA_SOURCE_UNAVAILABLE),
        ("status-503.mp4", ErrorCode.MEDIA_SOURCE_UNAVAILABLE),
        ("reset-always.mp4", ErrorCode.MEDIA_SOURCE_UNAVAILABLE),
        ("late.mp4", ErrorCode.MEDIA_SOURCE_SLOW),
        ("redirect-6.mp4", ErrorCode.MEDIA_TOO_MANY_REDIRECTS),
        ("redirect-loop.mp4", ErrorCode.MEDIA_TOO_MANY_REDIRECTS),
        ("redirect-private.mp4", ErrorCode.MEDIA_URL_FORBIDDEN),
        ("redirect-metadata.mp4", ErrorCode.MEDIA_URL_FORBIDDEN),
    ],
)
async def test_bad_files_end_in_the_right_code(
    name: str, code: ErrorCode, server: SandboxServer, open_relay: RelayFactory
) -> None:
    async with open_relay(server.url) as relay:
        with pytest.raises(Failure) as caught:
            await read_all(relay, video(server.state.media.url(name) + "?token=planted-secret"))
    assert caught.value.code == code
    assert "planted-secret" not in str(caught.value)
    served = server.state.media.file(name)
    assert served is None or served.requests <= 20, "a retry storm"


async def test_redirects_up_to_the_limit(server: SandboxServer, open_relay: RelayFactory) -> None:
    async with open_relay(server.url) as relay:
        good = server.state.media.sha256("good.mp4")
        assert await read_all(relay, video(server.state.media.url("redirect.mp4"))) == good
        assert await read_all(relay, video(server.state.media.url("redirect-5.mp4"))) == good


async def test_other_addresses_inside_stay_forbidden_in_the_sandbox(
    server: SandboxServer, open_relay: RelayFactory
) -> None:
    async with open_relay(server.url) as relay:
        for url in (
            "http://127.0.0.1:1/x.mp4",
            "http://10.0.0.1/x.mp4",
            "http://169.254.169.254/x",
            "http://[::1]/x",
            "http://localhost/x",
        ):
            with pytest.raises(Failure) as caught:
                await relay.facts(video(url), spec=MediaSpec())
            assert caught.value.code == ErrorCode.MEDIA_URL_FORBIDDEN


async def test_production_refuses_what_the_sandbox_allows(server: SandboxServer, open_relay: RelayFactory) -> None:
    async with open_relay(server.url, sandbox=False) as relay:
        for url, code in (
            (server.state.media.url("good.mp4"), ErrorCode.MEDIA_URL_NOT_HTTPS),
            (server.state.media.url("good.mp4").replace("http:", "https:"), ErrorCode.MEDIA_URL_FORBIDDEN),
        ):
            with pytest.raises(Failure) as caught:
                await relay.facts(video(url), spec=MediaSpec())
            assert caught.value.code == code


async def test_larger_than_allowed(server: SandboxServer, open_relay: RelayFactory) -> None:
    async with open_relay(server.url, media_bytes_max=1_000_000) as relay:
        for name in ("no-range.mp4", "weak-etag.mp4", "no-length.mp4"):
            with pytest.raises(Failure) as caught:
                await read_all(relay, video(server.state.media.url(name)))
            assert caught.value.code == ErrorCode.MEDIA_TOO_LARGE


async def test_larger_than_the_spool(server: SandboxServer, sandbox: Sandbox, open_relay: RelayFactory) -> None:
    """With ranges it is read straight from the source; without, it cannot be relayed at all."""
    sandbox.media.add("long.mp4", size_bytes=6_000_000)
    sandbox.media.add("long-no-range.mp4", size_bytes=6_000_000, behaviour=Behaviour(ranges=False))
    async with open_relay(server.url, spool_bytes_max=2_000_000) as relay:
        assert await read_all(relay, video(sandbox.media.url("long.mp4"))) == sandbox.media.sha256("long.mp4")
        with pytest.raises(Failure) as caught:
            await read_all(relay, video(sandbox.media.url("long-no-range.mp4")))
        assert caught.value.code == ErrorCode.MEDIA_TOO_LARGE


async def test_a_file_replaced_after_it_was_inspected(
    server: SandboxServer, sandbox: Sandbox, open_relay: RelayFactory
) -> None:
    sandbox.media.add("mine.mp4", size_bytes=2_000_000, seed=1)
    item = video(sandbox.media.url("mine.mp4"))
    async with open_relay(server.url) as relay:
        facts = await relay.facts(item, spec=MediaSpec())
        sandbox.media.add("mine.mp4", size_bytes=2_000_000, seed=2)
        with pytest.raises(Failure) as caught:
            async with relay.open(item, spec=MediaSpec(), expect=facts):
                pass
    assert caught.value.code == ErrorCode.MEDIA_CHANGED


async def test_parts_in_any_order(server: SandboxServer, sandbox: Sandbox, open_relay: RelayFactory) -> None:
    sandbox.media.add("parts.mp4", size_bytes=3_000_000)
    hosted = sandbox.media.find("parts.mp4")
    assert hosted is not None
    async with (
        open_relay(server.url) as relay,
        relay.open(video(sandbox.media.url("parts.mp4")), spec=MediaSpec()) as reader,
    ):
        for start, length in ((2_999_990, 10), (0, 1), (1_048_570, 20), (500_000, 1_600_000), (7, 0)):
            pieces = [piece async for piece in reader.read(start, length)]
            assert b"".join(pieces) == hosted.body.read(start, length)
        for start, length in ((-1, 5), (2_999_999, 2), (0, 3_000_001)):
            with pytest.raises(ValueError, match="outside"):
                reader.read(start, length)


async def test_nothing_is_left_on_disk(server: SandboxServer, open_relay: RelayFactory, tmp_path: Path) -> None:
    async with open_relay(server.url) as relay:
        await read_all(relay, video(server.state.media.url("good.mp4")))
        (own,) = (tmp_path / "spool").glob("worker-*")
        assert [each.name for each in own.iterdir()] == ["lock"]
        assert (own.stat().st_mode & 0o777, (tmp_path / "spool").stat().st_mode & 0o777) == (0o700, 0o700)
    assert list((tmp_path / "spool").glob("worker-*")) == []
