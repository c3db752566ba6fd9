"""Where Mux has no file yet: asking for one, by whoever is first, and what happens when that leads nowhere."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.mux import RENDITION_WAIT_SECONDS_MAX, MediaNotReady, MuxRef, MuxResolver
from orbyt_worker.media.relay import MediaRelay
from orbyt_worker.media.remux import is_remuxed
from orbyt_worker.model import MediaFacts, MediaItem, MediaSpec
from orbyt_worker.sandbox.mux import READ_ONLY_TOKEN_ID, AssetHandle
from orbyt_worker.sandbox.server import SandboxServer
from tests.fix_clock import FakeClock
from tests.media.conftest import RelayFactory

NO_API: dict[str, Any] = {"mux_token_id": None, "mux_token_secret": None}
NO_KEY: dict[str, Any] = {"mux_signing_key_id": None, "mux_signing_private_key": None}
POST = "mux.api.static_renditions.create"


async def look(relay: MediaRelay, asset: AssetHandle, prefer: str = "highest") -> MediaFacts:
    return await relay.facts(MediaItem("video", f"mux://{asset.playback_id}"), spec=MediaSpec(prefer))


async def waits(relay: MediaRelay, asset: AssetHandle, prefer: str = "highest") -> None:
    with pytest.raises(MediaNotReady):
        await look(relay, asset, prefer)


def files(server: SandboxServer, asset: AssetHandle) -> dict[str, str | None]:
    (found,) = [each for each in server.state.mux.list_assets() if each["id"] == asset.asset_id]
    return {each["name"]: each.get("status") for each in found.get("static_renditions", {}).get("files", [])}


# --- Asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asset", "prefer", "name"),
    [
        ({"renditions": ()}, "highest", "highest.mp4"),
        ({"renditions": ("audio-only",)}, "highest", "highest.mp4"),
        # Good enough for everybody, and no extra encoding to pay for.
        ({"renditions": (), "width": 1080, "height": 1920}, "1080p", "highest.mp4"),
        ({"renditions": (), "width": 2560, "height": 1440}, "1080p", "1080p.mp4"),
        # What was asked for is larger than the video, and excludes "highest".
        ({"renditions": ("2160p",)}, "highest", "720p.mp4"),
        ({"renditions": ("2160p",), "width": 2560, "height": 1440}, "1080p", "1080p.mp4"),
    ],
)
async def test_a_file_is_asked_for_and_waited_for(
    asset: dict[str, Any], prefer: str, name: str, server: SandboxServer, open_relay: RelayFactory, clock: FakeClock
) -> None:
    server.state.mux.configure(rendition_seconds=10_000)
    made = server.state.mux.create_asset(**{"seconds": 1.0, **asset})
    async with open_relay(environment=server.settings_env()) as relay:
        await waits(relay, made, prefer)
        assert files(server, made)[name] == "preparing"
        await waits(relay, made, prefer)
        assert server.state.requests.count(POST) == 1
        server.state.mux.finish_rendition(made.asset_id, name)
        facts = await look(relay, made, prefer)
    assert facts.video_codec == "h264"
    assert not is_remuxed(facts)


async def test_many_workers_ask_once(server: SandboxServer, open_relay: RelayFactory) -> None:
    """Two that ask at the same moment get 201 and 409; both wait for the one file."""
    made = server.state.mux.create_asset(renditions=(), seconds=1.0)
    server.state.mux.configure(rendition_seconds=10_000)
    async with (
        open_relay(environment=server.settings_env()) as one,
        open_relay(environment=server.settings_env()) as two,
    ):
        await asyncio.gather(*(waits(relay, made, prefer) for relay in (one, two) for prefer in ("highest", "1080p")))
    assert files(server, made) == {"highest.mp4": "preparing"}
    assert server.state.requests.count(POST) <= 4


@pytest.mark.parametrize("refusal", [400, 409, 422])
async def test_somebody_was_quicker(refusal: int, server: SandboxServer, open_relay: RelayFactory) -> None:
    """What a refusal says is in the asset, not in its words."""
    made = server.state.mux.create_asset(renditions=(), seconds=1.0)
    server.state.mux.configure(rendition_seconds=10_000)
    server.state.faults.add(POST, "status", status=refusal, message="Nie gehört", process=True)
    async with open_relay(environment=server.settings_env()) as relay:
        await waits(relay, made)
        await waits(relay, made)
    assert server.state.requests.count(POST) == 1


async def test_a_lost_answer(server: SandboxServer, open_relay: RelayFactory) -> None:
    made = server.state.mux.create_asset(renditions=(), seconds=1.0)
    server.state.mux.configure(rendition_seconds=10_000)
    server.state.faults.add(POST, "drop_after")
    async with open_relay(environment=server.settings_env()) as relay:
        await waits(relay, made)
    assert server.state.requests.count(POST) == 1


async def test_a_lost_request(server: SandboxServer, open_relay: RelayFactory) -> None:
    """Nothing was stored: the job comes again by the rule for an outage, and asks then."""
    made = server.state.mux.create_asset(renditions=(), seconds=1.0)
    server.state.mux.configure(rendition_seconds=10_000)
    server.state.faults.add(POST, "drop_before")
    async with open_relay(environment=server.settings_env()) as relay:
        with pytest.raises(Failure) as caught:
            await look(relay, made)
        assert caught.value.code == ErrorCode.MEDIA_SOURCE_UNAVAILABLE
        await waits(relay, made)
    assert files(server, made) == {"highest.mp4": "preparing"}


async def test_mux_asks_to_slow_down(server: SandboxServer, open_relay: RelayFactory) -> None:
    server.state.clock.freeze()
    server.state.mux.configure(rate_limits=True, rendition_seconds=10_000)
    made = [server.state.mux.create_asset(renditions=(), seconds=1.0) for _ in range(2)]
    async with open_relay(environment=server.settings_env()) as relay:
        await waits(relay, made[0])
        server.state.clock.advance(0.9)
        with pytest.raises(Failure) as caught:
            await look(relay, made[1])
    assert (caught.value.code, caught.value.retry_after_seconds) == (ErrorCode.MUX_RATE_LIMITED, 1.0)


async def test_our_own_requests_take_turns(server: SandboxServer, open_relay: RelayFactory, clock: FakeClock) -> None:
    """One a second leaves this process; those who would wait longer give their slot back."""
    made = [server.state.mux.create_asset(renditions=(), seconds=1.0) for _ in range(9)]
    server.state.mux.configure(rendition_seconds=10_000)
    async with open_relay(environment=server.settings_env()) as relay:
        before = clock.monotonic()
        found = await asyncio.gather(*(look(relay, each) for each in made), return_exceptions=True)
        passed = clock.monotonic() - before
    limited = [each for each in found if isinstance(each, Failure)]
    assert {each.code for each in limited} <= {ErrorCode.MUX_RATE_LIMITED}
    assert len(limited) + len([each for each in found if isinstance(each, MediaNotReady)]) == 9
    assert passed >= 9 - len(limited) - 1


# --- Where asking leads nowhere, the stream is copied -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("asset", "config"),
    [
        ({"renditions": ()}, {"mux_create_renditions": False}),
        ({"renditions": ()}, {"mux_token_id": READ_ONLY_TOKEN_ID}),
        ({"renditions": ()}, NO_API),
        ({"renditions": (), "mp4_support": "audio-only"}, {}),  # somebody's sound file is not deleted for ours
    ],
)
async def test_no_file_can_be_had(
    asset: dict[str, Any], config: dict[str, Any], server: SandboxServer, open_relay: RelayFactory
) -> None:
    made = server.state.mux.create_asset(**{"seconds": 1.0, **asset})
    before = files(server, made)
    async with open_relay(environment=server.settings_env(), **config) as relay:
        for _ in range(2):
            facts = await look(relay, made)
            assert is_remuxed(facts)
    assert files(server, made) == before
    assert server.state.requests.count(POST) == (1 if config.get("mux_token_id") else 0)


@pytest.mark.parametrize("ends_as", ["errored", "skipped"])
async def test_a_file_that_fails(ends_as: Any, server: SandboxServer, open_relay: RelayFactory) -> None:
    made = server.state.mux.create_asset(renditions_ready_after_seconds=None, seconds=1.0)
    server.state.mux.finish_rendition(made.asset_id, "highest.mp4", ends_as=ends_as)
    async with open_relay(environment=server.settings_env()) as relay:
        assert is_remuxed(await look(relay, made))
        with pytest.raises(Failure) as caught:
            await address(relay, made)
    expected = {"errored": ErrorCode.MEDIA_RENDITION_FAILED, "skipped": ErrorCode.MEDIA_RENDITION_MISSING}
    assert caught.value.code == expected[ends_as]


async def test_a_file_that_takes_too_long(server: SandboxServer, open_relay: RelayFactory, clock: FakeClock) -> None:
    made = server.state.mux.create_asset(renditions_ready_after_seconds=None, seconds=1.0)
    async with open_relay(environment=server.settings_env()) as relay:
        await waits(relay, made)
        clock.advance(RENDITION_WAIT_SECONDS_MAX - 1)
        await waits(relay, made)
        clock.advance(1)
        assert is_remuxed(await look(relay, made))


async def test_a_file_that_is_too_large(server: SandboxServer, open_relay: RelayFactory) -> None:
    """Beside "highest" Mux makes no smaller one, but the stream has a smaller quality."""
    made = server.state.mux.create_asset(seconds=1.0, width=2560, height=1440)
    async with open_relay(environment=server.settings_env()) as relay:
        assert (await look(relay, made, "highest")).height == 1440
        small = await look(relay, made, "1080p")
        assert (small.height, is_remuxed(small)) == (1080, True)
        with pytest.raises(Failure) as caught:
            await address(relay, made, "1080p")
    assert caught.value.code == ErrorCode.MEDIA_RENDITION_MISSING
    assert server.state.requests.count(POST) == 0


# --- Addresses for platforms that fetch by themselves -----------------------------------------------------------------


def resolver(relay: MediaRelay) -> MuxResolver:
    return relay._mux


async def address(relay: MediaRelay, asset: AssetHandle, prefer: str = "highest", query: str = "") -> str:
    token = parse_qs(query).get("token", [None])[0]
    return await resolver(relay).address(MuxRef(asset.playback_id, token), prefer=prefer, seconds=7200)


@pytest.mark.parametrize("without", [{}, NO_API])
async def test_the_address_of_a_public_file(
    without: dict[str, Any], server: SandboxServer, open_relay: RelayFactory
) -> None:
    made = server.state.mux.create_asset(seconds=1.0)
    async with open_relay(environment=server.settings_env(), **without) as relay:
        assert await address(relay, made) == f"{made.stream_url}/highest.mp4"


@pytest.mark.parametrize("without", [{}, NO_API])
async def test_the_address_of_a_signed_file(
    without: dict[str, Any], server: SandboxServer, open_relay: RelayFactory
) -> None:
    made = server.state.mux.create_asset(seconds=1.0, policy="signed")
    async with open_relay(environment=server.settings_env(), **without) as relay:
        found = urlsplit(await address(relay, made))
    assert f"{server.url}{found.path}" == f"{made.stream_url}/highest.mp4"
    claims = jwt.decode(parse_qs(found.query)["token"][0], options={"verify_signature": False})
    assert claims["exp"] == pytest.approx(server.state.clock.timestamp() + 7200, abs=60)
    assert (claims["sub"], claims["aud"]) == (made.playback_id, "v")


async def test_a_token_of_the_user_has_to_last(server: SandboxServer, open_relay: RelayFactory) -> None:
    made = server.state.mux.create_asset(seconds=1.0, policy="signed")
    async with open_relay(environment=server.settings_env(), **NO_KEY) as relay:
        long = server.state.mux.sign(made.playback_id, seconds=8000)
        assert (await address(relay, made, query=f"token={long}")).endswith(long)
        with pytest.raises(Failure) as caught:
            await address(relay, made, query=f"token={server.state.mux.sign(made.playback_id, seconds=100)}")
    assert caught.value.code == ErrorCode.MUX_SIGNING_KEY_MISSING


async def test_a_stream_has_no_address(server: SandboxServer, open_relay: RelayFactory) -> None:
    made = server.state.mux.create_asset(seconds=1.0, renditions=())
    async with open_relay(environment=server.settings_env(), **NO_API) as relay:
        with pytest.raises(Failure) as caught:
            await address(relay, made)
    assert caught.value.code == ErrorCode.MEDIA_RENDITION_MISSING


async def test_an_address_that_has_to_be_made_first(server: SandboxServer, open_relay: RelayFactory) -> None:
    made = server.state.mux.create_asset(seconds=1.0, renditions=())
    server.state.mux.configure(rendition_seconds=10_000)
    async with open_relay(environment=server.settings_env()) as relay:
        with pytest.raises(MediaNotReady):
            await address(relay, made)
        server.state.mux.finish_rendition(made.asset_id)
        assert await address(relay, made) == f"{made.stream_url}/highest.mp4"
