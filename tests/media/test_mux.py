"""From a Mux address to the right file, with and without API credentials, against the simulated Mux."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.relay import MediaConfig, MediaNotReady, MediaRelay
from orbyt_worker.model import MediaFacts, MediaItem, MediaSpec
from orbyt_worker.sandbox.media_host import Behaviour
from orbyt_worker.sandbox.server import SandboxServer
from orbyt_worker.settings import Settings
from tests.fix_clock import FakeClock
from tests.media.conftest import RelayFactory, Request, host, say

NO_API: dict[str, Any] = {"mux_token_id": None, "mux_token_secret": None}
NO_KEY: dict[str, Any] = {"mux_signing_key_id": None, "mux_signing_private_key": None}


async def look(relay: MediaRelay, url: str, prefer: str = "highest") -> MediaFacts:
    return await relay.facts(MediaItem("video", url), spec=MediaSpec(rendition=prefer))


async def code_of(relay: MediaRelay, url: str) -> ErrorCode:
    with pytest.raises(Failure) as caught:
        await look(relay, url)
    return caught.value.code


def hls(playback_id: str, query: str = "") -> str:
    return f"https://stream.mux.com/{playback_id}.m3u8{query}"


@pytest.mark.parametrize("without", [{}, NO_API])
@pytest.mark.parametrize("policy", ["public", "signed"])
@pytest.mark.parametrize(
    "shape", ["https://stream.mux.com/{}.m3u8", "mux://{}", "https://stream.mux.com/{}/low.mp4", "{}"]
)
async def test_every_shape_leads_to_the_best_file(
    shape: str, policy: Any, without: dict[str, Any], server: SandboxServer, open_relay: RelayFactory
) -> None:
    made = server.state.mux.create_asset(policy=policy, size_bytes=900_000, width=640, height=360)
    async with open_relay(environment=server.settings_env(), **without) as relay:
        facts = await look(relay, shape.format(made.playback_id))
        assert (facts.size_bytes, facts.width, facts.video_codec) == (900_000, 640, "h264")
        async with relay.open(
            MediaItem("video", shape.format(made.playback_id)), spec=MediaSpec(), expect=facts
        ) as reader:
            pieces = [piece async for piece in reader.read(0, 900_000)]
    assert sum(map(len, pieces)) == 900_000


@pytest.mark.parametrize("without", [{}, NO_API])
@pytest.mark.parametrize(("prefer", "height"), [("highest", 1440), ("1080p", 1080)])
async def test_each_platform_gets_its_size(
    prefer: str, height: int, without: dict[str, Any], server: SandboxServer, open_relay: RelayFactory
) -> None:
    made = server.state.mux.create_asset(renditions=("1440p", "1080p", "720p"), width=2560, height=1440)
    async with open_relay(environment=server.settings_env(), **without) as relay:
        assert (await look(relay, hls(made.playback_id), prefer)).height == height


@pytest.mark.parametrize(
    ("asset", "code"),
    [
        ({"policy": "drm"}, ErrorCode.MEDIA_DRM_ONLY),
        ({"test": True}, ErrorCode.MUX_TEST_ASSET),
        ({"errored": True}, ErrorCode.MUX_ASSET_ERRORED),
    ],
)
async def test_what_the_api_says_is_final(
    asset: dict[str, Any], code: ErrorCode, server: SandboxServer, open_relay: RelayFactory
) -> None:
    made = server.state.mux.create_asset(**asset)
    async with open_relay(environment=server.settings_env()) as relay:
        assert await code_of(relay, hls(made.playback_id)) == code


async def test_live_streams_are_no_files(server: SandboxServer, open_relay: RelayFactory) -> None:
    async with open_relay(environment=server.settings_env()) as relay:
        assert await code_of(relay, hls(server.state.mux.create_live_stream())) == ErrorCode.MUX_LIVE_STREAM


@pytest.mark.parametrize("without", [{}, NO_API])
async def test_unknown_and_deleted(without: dict[str, Any], server: SandboxServer, open_relay: RelayFactory) -> None:
    made = server.state.mux.create_asset()
    async with open_relay(environment=server.settings_env(), **without) as relay:
        await look(relay, hls(made.playback_id))
        server.state.mux.delete_asset(made.asset_id)
        assert await code_of(relay, hls(made.playback_id)) == ErrorCode.MEDIA_NOT_FOUND
        assert await code_of(relay, hls("x" * 40)) == ErrorCode.MEDIA_NOT_FOUND


@pytest.mark.parametrize(
    ("asset", "without", "status"),
    [
        ({"asset_ready_after_seconds": None}, {}, 404),
        ({"asset_ready_after_seconds": None}, NO_API, 404),
        ({"renditions_ready_after_seconds": None}, {}, 404),
        ({"renditions_ready_after_seconds": None}, {}, 412),
        # Without the API a 404 says that there is none, and the stream is copied (test_remux); a 412 that there will be one.
        ({"renditions_ready_after_seconds": None}, NO_API, 412),
    ],
)
async def test_not_ready_yet_is_waited_for(
    asset: dict[str, Any],
    status: Any,
    without: dict[str, Any],
    server: SandboxServer,
    open_relay: RelayFactory,
    clock: FakeClock,
) -> None:
    mux = server.state.mux
    mux.configure(not_ready_status=status)
    made = mux.create_asset(**asset)
    async with open_relay(environment=server.settings_env(), **without) as relay:
        with pytest.raises(MediaNotReady) as caught:
            await look(relay, hls(made.playback_id))
        assert (caught.value.code, caught.value.seconds) == (ErrorCode.MEDIA_NOT_READY, 5.0)
        clock.advance(600)
        with pytest.raises(MediaNotReady) as caught:
            await look(relay, hls(made.playback_id))
        assert caught.value.seconds == 60.0
        if "asset_ready_after_seconds" in asset:
            mux.finish_asset(made.asset_id)
        else:
            mux.finish_rendition(made.asset_id, "highest.mp4")
        assert (await look(relay, hls(made.playback_id))).video_codec == "h264"


# --- Signatures -------------------------------------------------------------------------------------------------------


async def test_signed_without_a_key(server: SandboxServer, open_relay: RelayFactory) -> None:
    made = server.state.mux.create_asset(policy="signed")
    for without in (NO_KEY, {**NO_API, **NO_KEY}):
        async with open_relay(environment=server.settings_env(), **without) as relay:
            assert await code_of(relay, hls(made.playback_id)) == ErrorCode.MUX_SIGNING_KEY_MISSING


@pytest.mark.parametrize("without", [NO_KEY, {**NO_API, **NO_KEY}])
async def test_the_token_of_the_url_is_used(
    without: dict[str, Any], server: SandboxServer, open_relay: RelayFactory
) -> None:
    made = server.state.mux.create_asset(policy="signed")
    token = server.state.mux.sign(made.playback_id)
    async with open_relay(environment=server.settings_env(), **without) as relay:
        assert (await look(relay, hls(made.playback_id, f"?token={token}"))).video_codec == "h264"


@pytest.mark.parametrize("bad", ["expired", "audience", "other", "nonsense"])
async def test_a_bad_token_of_the_url(bad: str, server: SandboxServer, open_relay: RelayFactory) -> None:
    mux = server.state.mux
    made = mux.create_asset(policy="signed")
    token = {
        "expired": mux.sign(made.playback_id, seconds=-10),
        "audience": mux.sign(made.playback_id, aud="t"),
        "other": mux.sign("somebodyelsesplaybackid"),
        "nonsense": "planted-nonsense",
    }[bad]
    url = hls(made.playback_id, f"?token={token}")
    async with open_relay(environment=server.settings_env(), **NO_API, **NO_KEY) as relay:
        with pytest.raises(Failure) as caught:
            await look(relay, url)
        assert caught.value.code == ErrorCode.MEDIA_ACCESS_DENIED
        assert token not in str(caught.value)
    # With a key of our own the user's token does not matter.
    for without in ({}, NO_API):
        async with open_relay(environment=server.settings_env(), **without) as relay:
            assert (await look(relay, url)).video_codec == "h264"


@pytest.mark.parametrize("without", [{}, NO_API])
async def test_a_public_video_is_never_signed(
    without: dict[str, Any], server: SandboxServer, open_relay: RelayFactory
) -> None:
    made = server.state.mux.create_asset()
    async with open_relay(environment=server.settings_env(), **without) as relay:
        await look(relay, hls(made.playback_id))
        assert all("token" not in each.query_names for each in server.state.requests.list())
        # A needless token in the URL makes Mux refuse it; it is left away then.
        assert (await look(relay, hls(made.playback_id, "?token=abc"))).video_codec == "h264"


async def test_a_key_that_cannot_be_read_stops_only_those_who_need_it(
    server: SandboxServer, open_relay: RelayFactory
) -> None:
    mux = server.state.mux
    public, signed = mux.create_asset(), mux.create_asset(policy="signed")
    async with open_relay(environment=server.settings_env(), mux_signing_private_key="bm9uc2Vuc2U=") as relay:
        assert (await look(relay, hls(public.playback_id))).video_codec == "h264"
        assert await code_of(relay, hls(signed.playback_id)) == ErrorCode.MUX_SIGNING_KEY_MISSING


# --- The API refuses --------------------------------------------------------------------------------------------------


async def test_wrong_credentials(server: SandboxServer, open_relay: RelayFactory) -> None:
    made = server.state.mux.create_asset()
    async with open_relay(environment=server.settings_env(), mux_token_secret="planted-wrong") as relay:
        with pytest.raises(Failure) as caught:
            await look(relay, hls(made.playback_id))
    assert (caught.value.code, caught.value.http_status) == (ErrorCode.MUX_CREDENTIALS_INVALID, 401)


async def test_too_many_questions(server: SandboxServer, open_relay: RelayFactory) -> None:
    mux = server.state.mux
    server.state.clock.freeze()
    mux.configure(rate_limits=True)
    async with open_relay(environment=server.settings_env()) as relay:
        for _ in range(2):
            await look(relay, hls(mux.create_asset().playback_id))
        await code_of(relay, hls(mux.create_live_stream()))
        with pytest.raises(Failure) as caught:
            await look(relay, hls(mux.create_asset().playback_id))
    assert (caught.value.code, caught.value.retry_after_seconds) == (ErrorCode.MUX_RATE_LIMITED, 1.0)


async def test_jobs_of_one_video_share_the_answers(server: SandboxServer, open_relay: RelayFactory) -> None:
    made = server.state.mux.create_asset()
    async with open_relay(environment=server.settings_env()) as relay:
        for _ in range(10):
            await look(relay, hls(made.playback_id))
    assert len([each for each in server.state.requests.list() if each.path.startswith("/mux-api")]) == 2


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"data": []}', b'{"data": {"id": 5}}'])
async def test_answers_that_are_no_answers(body: bytes, server: SandboxServer, open_relay: RelayFactory) -> None:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        assert request.headers["authorization"].startswith("Basic ")
        say(writer, 200, body, content_type="application/json")

    async with host(answer) as api, open_relay(environment=server.settings_env(), mux_api_url=api.url) as relay:
        assert await code_of(relay, hls("a" * 40)) == ErrorCode.PLATFORM_ANSWER_INVALID


@pytest.mark.parametrize(
    ("status", "code"), [(500, ErrorCode.MEDIA_SOURCE_UNAVAILABLE), (302, ErrorCode.MEDIA_TOO_MANY_REDIRECTS)]
)
async def test_api_trouble(status: int, code: ErrorCode, server: SandboxServer, open_relay: RelayFactory) -> None:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        say(writer, status, b"oops", location="http://127.0.0.1:1/" if status == 302 else None)

    async with host(answer) as api, open_relay(environment=server.settings_env(), mux_api_url=api.url) as relay:
        assert await code_of(relay, hls("a" * 40)) == code


# --- The streaming host misbehaves ------------------------------------------------------------------------------------


async def test_redirects_stay_at_mux(server: SandboxServer, open_relay: RelayFactory) -> None:
    outside = server.state.media.url("good.mp4").replace("127.0.0.1", "localhost")
    made = server.state.mux.create_asset(behaviour=Behaviour(redirect_to=outside))
    allowed = frozenset({urlsplit(outside).netloc})
    async with open_relay(environment=server.settings_env(), allowed_loopback=allowed) as relay:
        assert await code_of(relay, hls(made.playback_id)) == ErrorCode.MEDIA_URL_FORBIDDEN


async def test_a_host_without_head(server: SandboxServer, open_relay: RelayFactory) -> None:
    made = server.state.mux.create_asset(behaviour=Behaviour(head=False))
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        assert (await look(relay, hls(made.playback_id))).video_codec == "h264"


async def test_the_mux_hosts_are_open_for_mux_only(server: SandboxServer, open_relay: RelayFactory) -> None:
    """The operator's Mux base may be inside the network; a user's URL to the same server is not let in by that."""
    async with open_relay(environment=server.settings_env()) as relay:
        assert await code_of(relay, server.state.media.url("good.mp4")) == ErrorCode.MEDIA_URL_FORBIDDEN


@pytest.mark.parametrize("without", [{}, NO_API])
async def test_a_running_transfer_stays_with_its_rendition(
    without: dict[str, Any], server: SandboxServer, open_relay: RelayFactory, clock: FakeClock
) -> None:
    """A better file that appears between inspection and upload does not turn into "the file changed"."""
    mux = server.state.mux
    made = mux.create_asset(renditions=("1080p", "720p"), width=1920, height=1080, size_bytes=2_000_000)
    mux.finish_rendition(made.asset_id, "1080p.mp4", ends_as="skipped")
    item = MediaItem("video", hls(made.playback_id))
    async with open_relay(environment=server.settings_env(), **without) as relay:
        facts = await relay.facts(item, spec=MediaSpec())
        mux.finish_rendition(made.asset_id, "1080p.mp4")
        clock.advance(60)
        async with relay.open(item, spec=MediaSpec(), expect=facts) as reader:
            assert (facts.height, reader.size_bytes) == (720, facts.size_bytes)
        assert (await relay.facts(item, spec=MediaSpec())).height == 1080


async def test_tokens_are_in_no_log(
    server: SandboxServer, open_relay: RelayFactory, caplog: pytest.LogCaptureFixture
) -> None:
    made = server.state.mux.create_asset(policy="signed")
    token = server.state.mux.sign(made.playback_id)
    # Our own lines only: httpcore's debug lines are for logs.py to switch off.
    with caplog.at_level(logging.DEBUG, logger="orbyt"):
        async with open_relay(environment=server.settings_env(), **NO_API) as relay:
            await look(relay, hls(made.playback_id, f"?token={token}"))
    assert token not in caplog.text


def test_settings_become_a_config(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.settings_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ORBYT_DATABASE_URL", "postgresql://x/y")
    monkeypatch.setenv("ORBYT_ENVIRONMENT", "sandbox")
    config = MediaConfig.from_settings(Settings())
    assert config.sandbox
    assert urlsplit(server.url).netloc in config.allowed_loopback
    assert config.mux_token_secret is not None
    assert config.mux_token_secret not in repr(config)
    assert (config.mux_signing_private_key or "none") not in repr(config)


async def test_one_video_for_many_asks_mux_once(server: SandboxServer, open_relay: RelayFactory) -> None:
    """Twenty posts of one video: its file is looked up once, not forty times against a limit of five a second."""
    asset = server.state.mux.create_asset()
    async with open_relay(environment=server.settings_env()) as relay:
        item = MediaItem("video", f"mux://{asset.playback_id}")
        found = await asyncio.gather(*(relay.facts(item, spec=MediaSpec()) for _ in range(20)))
    assert len({each.etag for each in found}) == 1
    assert server.state.requests.count("mux.api") == 2
