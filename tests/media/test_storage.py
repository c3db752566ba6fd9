"""Objects in the project's Storage through the real client, against the simulated Storage API."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import traceback
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media import storage
from orbyt_worker.media.hosting import Hosted
from orbyt_worker.media.relay import MediaRelay
from orbyt_worker.media.storage import Storage, StorageRef
from orbyt_worker.model import MediaItem, MediaSpec
from orbyt_worker.runtime import Runtime
from orbyt_worker.sandbox.media_host import Behaviour
from orbyt_worker.sandbox.server import SandboxServer
from orbyt_worker.sandbox.state import Sandbox
from orbyt_worker.sandbox.storage import PUBLISHABLE_KEY, SECRET_KEY
from tests.media.conftest import RelayFactory, host, say

SPEC = MediaSpec()


def relay_of(open_relay: RelayFactory, server: SandboxServer, **config: Any) -> AbstractAsyncContextManager[MediaRelay]:
    settings = {"supabase_url": f"{server.url}/supabase", "supabase_secret_key": SECRET_KEY, **config}
    return open_relay(**settings)


def video(url: str) -> MediaItem:
    return MediaItem("video", url)


async def code_of(relay: MediaRelay, url: str) -> ErrorCode:
    with pytest.raises(Failure) as failed:
        await relay.facts(video(url), spec=SPEC)
    return failed.value.code


# --- Addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "ref"),
    [
        ("storage://videos/a.mp4", StorageRef("videos", "a.mp4")),
        ("storage://videos/a/b%20c/%C3%BC.mp4", StorageRef("videos", "a/b c/ü.mp4")),
        ("storage://a.b_c-1/x", StorageRef("a.b_c-1", "x")),
        ("https://example.com/a.mp4", None),
        ("Storage://videos/a.mp4", None),
    ],
)
def test_addresses_of_objects(url: str, ref: StorageRef | None) -> None:
    assert storage.parse(url) == ref


@pytest.mark.parametrize(
    "url",
    [
        "storage://",
        "storage://videos",
        "storage://videos/",
        "storage://videos//a",
        "storage:///a",
        "storage://videos/../other/a",
        "storage://videos/%2e%2e/other/a",
        "storage://videos/a%2F%2Fb",
        "storage://videos/a%00b",
        "storage://videos/%ff",
        "storage://videos/a b",
        "storage://videos/a?token=x",
        "storage://videos/a#b",
        "storage://user@videos/a",
        "storage://videos/" + "a" * 4096,
    ],
)
def test_addresses_that_name_no_object(url: str) -> None:
    with pytest.raises(Failure) as failed:
        storage.parse(url)
    assert failed.value.code is ErrorCode.MEDIA_URL_INVALID
    assert len(failed.value.detail) < 60  # nothing of the address


# --- Reading ----------------------------------------------------------------------------------------------------------


async def test_an_object_is_read_in_ranges_and_never_downloaded_whole(
    open_relay: RelayFactory, server: SandboxServer
) -> None:
    put = server.state.storage.put_object("clips/my clip.mp4", size_bytes=3_000_000)
    item = video("storage://media/clips/my%20clip.mp4")
    async with relay_of(open_relay, server) as relay:
        facts = await relay.facts(item, spec=SPEC)
        assert (facts.width, facts.height, facts.video_codec) == (320, 180, "h264")
        assert facts.size_bytes == put.size_bytes
        looked = server.state.requests.list(route="storage.signed")
        assert all(each.range is not None for each in looked)
        assert sum(each.bytes_sent for each in looked) < put.size_bytes / 2
        async with relay.open(item, spec=SPEC, expect=facts, part=True) as reader:
            tail = b"".join([piece async for piece in reader.read(2_999_000, 1_000)])
        assert len(tail) == 1_000
        async with relay.open(item, spec=SPEC, expect=facts) as reader:
            digest = hashlib.sha256()
            async for piece in reader.read(0, reader.size_bytes):
                assert len(piece) <= 256 * 1024
                digest.update(piece)
        assert digest.hexdigest() == put.sha256
    # Every request for bytes had an address of its own, and no other route was used.
    assert server.state.requests.count(route="storage.sign") == server.state.requests.count(route="storage.signed")
    assert server.state.requests.count() == 2 * server.state.requests.count(route="storage.sign")


async def test_one_download_for_many_readers(open_relay: RelayFactory, server: SandboxServer) -> None:
    put = server.state.storage.put_object("a.mp4", size_bytes=2_000_000)
    async with relay_of(open_relay, server) as relay:
        facts = await relay.facts(video(put.url), spec=SPEC)
        before = server.state.requests.count(route="storage.signed")

        async def read() -> str:
            async with relay.open(video(put.url), spec=SPEC, expect=facts) as reader:
                data = b"".join([piece async for piece in reader.read(0, reader.size_bytes)])
                return hashlib.sha256(data).hexdigest()

        assert set(await asyncio.gather(*(read() for _ in range(4)))) == {put.sha256}
    transfers = server.state.requests.list(route="storage.signed")[before:]
    assert len([each for each in transfers if each.range is None]) == 1


async def test_a_broken_transfer_goes_on_with_a_fresh_address(open_relay: RelayFactory, server: SandboxServer) -> None:
    put = server.state.storage.put_object(
        "a.mp4", size_bytes=3_000_000, behaviour=Behaviour(reset_after_bytes=1_100_000, broken_times=2)
    )
    async with relay_of(open_relay, server) as relay, relay.open(video(put.url), spec=SPEC) as reader:
        data = b"".join([piece async for piece in reader.read(0, reader.size_bytes)])
    assert hashlib.sha256(data).hexdigest() == put.sha256
    assert server.state.requests.count(route="storage.sign") == server.state.requests.count(route="storage.signed")


async def test_a_replaced_object_is_another_file(open_relay: RelayFactory, server: SandboxServer) -> None:
    put = server.state.storage.put_object("a.mp4", size_bytes=400_000)
    async with relay_of(open_relay, server) as relay:
        facts = await relay.facts(video(put.url), spec=SPEC)
        server.state.storage.put_object("a.mp4", size_bytes=400_000, seed=1)
        with pytest.raises(Failure) as failed:
            async with relay.open(video(put.url), spec=SPEC, expect=facts):
                pass
    assert failed.value.code is ErrorCode.MEDIA_CHANGED


# --- What goes wrong -------------------------------------------------------------------------------------------------


async def test_what_is_not_there(open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox) -> None:
    sandbox.storage.put_object("empty", content="empty")
    sandbox.storage.put_object("page", content="html")
    async with relay_of(open_relay, server) as relay:
        assert await code_of(relay, "storage://media/none.mp4") is ErrorCode.MEDIA_NOT_FOUND
        assert await code_of(relay, "storage://nowhere/a.mp4") is ErrorCode.MEDIA_NOT_FOUND
        assert await code_of(relay, "storage://media/50%25.mp4") is ErrorCode.MEDIA_NOT_FOUND  # no such name can be
        assert await code_of(relay, "storage://media/empty") is ErrorCode.MEDIA_EMPTY
        assert await code_of(relay, "storage://media/page") is ErrorCode.MEDIA_NOT_MEDIA


async def test_an_object_that_disappears_between_the_address_and_the_bytes(
    open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox
) -> None:
    put = sandbox.storage.put_object("a.mp4")
    gone = {"statusCode": "404", "error": "not_found", "message": "Object not found"}
    sandbox.faults.add("storage.signed", "status", status=400, json=gone)
    async with relay_of(open_relay, server) as relay:
        assert await code_of(relay, put.url) is ErrorCode.MEDIA_NOT_FOUND


async def test_without_settings_or_with_a_wrong_key(open_relay: RelayFactory, server: SandboxServer) -> None:
    put = server.state.storage.put_object("a.mp4")
    async with open_relay() as relay:
        assert await code_of(relay, put.url) is ErrorCode.STORAGE_NOT_CONFIGURED
    async with relay_of(open_relay, server, supabase_secret_key="sb_secret_another0123456789") as relay:
        assert await code_of(relay, put.url) is ErrorCode.STORAGE_CREDENTIALS_INVALID
    # The key for browsers sees what anybody sees: nothing.
    async with relay_of(open_relay, server, supabase_secret_key=PUBLISHABLE_KEY) as relay:
        assert await code_of(relay, put.url) is ErrorCode.MEDIA_NOT_FOUND


@pytest.mark.parametrize("route", ["storage.sign", "storage.signed"])
async def test_a_hiccup_is_survived_and_an_outage_is_named(
    open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox, route: str
) -> None:
    put = sandbox.storage.put_object("a.mp4")
    busy = {"statusCode": "503", "error": "DatabaseConnectionLimit", "message": "Please try again later."}
    async with relay_of(open_relay, server) as relay:
        for fault in ({"kind": "drop_before"}, {"kind": "status", "status": 400, "json": busy}):
            sandbox.faults.add(route, **fault)
            assert (await relay.facts(video(put.url), spec=SPEC)).width == 320
        sandbox.faults.add(route, "status", status=400, json=busy, times=None)
        assert await code_of(relay, put.url) is ErrorCode.STORAGE_UNAVAILABLE


async def test_answers_that_are_no_storage_api(open_relay: RelayFactory, runtime: Runtime) -> None:
    async def answer(request: Any, writer: asyncio.StreamWriter) -> None:
        say(writer, 200, b"<html>Sign in, eyJhbGciOiJIUzI1NiJ9.secret</html>", content_type="text/html")

    async with host(answer) as source:
        async with open_relay(source.url, supabase_url=source.url, supabase_secret_key=SECRET_KEY) as relay:
            with pytest.raises(Failure) as failed:
                await relay.facts(video("storage://media/a.mp4"), spec=SPEC)
        assert failed.value.code is ErrorCode.STORAGE_UNAVAILABLE
        assert "secret" not in failed.value.detail

    async def redirect(request: Any, writer: asyncio.StreamWriter) -> None:
        say(writer, 307, location=f"{source.url}/elsewhere")

    # The key goes to the host of the settings and to none that it names.
    async with host(redirect) as source:
        made = Storage(runtime, url=source.url, secret_key=SECRET_KEY, sandbox=True)
        try:
            with pytest.raises(Exception, match="storage_unavailable"):
                await made.signed_url("media", "a.mp4", 60)
        finally:
            await made.close()
        assert [each.target for each in source.requests] == ["/storage/v1/object/sign/media/a.mp4"]


# --- Addresses for others -----------------------------------------------------------------------------------------------


async def nobody(path: str) -> None:
    raise AssertionError("nothing is hosted")


async def test_an_address_for_a_platform_lives_long_enough_and_is_told_to_the_logs(
    open_relay: RelayFactory, server: SandboxServer, sandbox: Sandbox
) -> None:
    put = sandbox.storage.put_object("clips/my clip.mp4", size_bytes=300_000)
    told: list[str] = []
    hosted = Hosted("job", nobody, told.append)
    sandbox.clock.freeze()
    async with relay_of(open_relay, server, hosted_url_seconds=7200) as relay:
        item = video("storage://media/clips/my%20clip.mp4")
        facts = await relay.facts(item, spec=SPEC)
        address = await relay.address(item, spec=SPEC, expect=facts, hosted=hosted, name="0")
    assert told == [address]
    assert address.isascii()
    assert " " not in address
    async with httpx.AsyncClient() as client:
        sandbox.clock.advance(7_190)
        assert hashlib.sha256((await client.get(address)).content).hexdigest() == put.sha256
        sandbox.clock.advance(20)
        assert (await client.get(address)).json()["error"] == "InvalidJWT"


async def test_nothing_secret_is_said(
    open_relay: RelayFactory,
    server: SandboxServer,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the libraries from "info" on (they are heard from "warning" on), by us, or by an exception."""
    put = sandbox.storage.put_object("a.mp4", size_bytes=300_000)
    told: list[str] = []
    with caplog.at_level(logging.INFO):
        async with relay_of(open_relay, server) as relay:
            sandbox.faults.add("storage.signed", "drop_before", after=2)
            async with relay.open(video(put.url), spec=SPEC) as reader:
                assert len([piece async for piece in reader.read(0, reader.size_bytes)]) > 0
            sandbox.faults.add("storage.sign", "drop_after", times=None)
            with pytest.raises(Failure) as failed:
                await relay.facts(video(put.url), spec=SPEC)
            told.append("".join(traceback.format_exception(failed.value)))
        async with relay_of(open_relay, server, supabase_secret_key="sb_secret_another0123456789") as relay:
            sandbox.faults.clear()
            with pytest.raises(Failure) as failed:
                await relay.facts(video(put.url), spec=SPEC)
            told.append("".join(traceback.format_exception(failed.value)))
    out = capsys.readouterr()
    # The simulator's own access log is the other side.
    said = [f"{each.name} {each.getMessage()}" for each in caplog.records if not each.name.startswith("uvicorn")]
    for text in (*said, out.out, out.err, *told):
        for secret in ("sb_secret", "token=", "eyJ"):
            assert secret not in text
    # Where the log goes depends on who set it up first in this process.
    assert any("media.resumed" in text for text in (*said, out.out, out.err))
