"""The simulator of the Storage API: how the real client (supabase-py) gets on with it, and where it is strict."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from storage3 import AsyncStorageClient
from storage3.exceptions import StorageApiError

from orbyt_worker.sandbox.server import SandboxServer
from orbyt_worker.sandbox.state import Sandbox
from orbyt_worker.sandbox.storage import PREFIX, PUBLISHABLE_KEY, SECRET_KEY
from supabase import AsyncClientOptions, acreate_client

Connect = Callable[[str], Awaitable[AsyncStorageClient]]


@pytest.fixture
async def connect(server: SandboxServer) -> AsyncIterator[Connect]:
    """A client with this key."""
    async with httpx.AsyncClient(timeout=20) as http:

        async def made(key: str) -> AsyncStorageClient:
            return (await acreate_client(f"{server.url}/supabase", key, AsyncClientOptions(httpx_client=http))).storage

        yield made


async def status_of(call: Awaitable[Any]) -> tuple[str, str]:
    with pytest.raises(StorageApiError) as refused:
        await call
    return str(refused.value.status), refused.value.code


@pytest.fixture
async def web(server: SandboxServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield client


async def test_what_the_client_can_do(connect: Connect, sandbox: Sandbox) -> None:
    storage = await connect(SECRET_KEY)
    assert {each.id for each in await storage.list_buckets()} == {"orbyt-media", "media", "public-media"}
    assert (await storage.get_bucket("orbyt-media")).allowed_mime_types == ["image/jpeg"]
    media = storage.from_("media")
    data = bytes(range(256)) * 40 + b"\r\n--boundary\r\n"
    await media.upload("a/b c.bin", data, {"content-type": "image/png"})
    assert sandbox.storage.object_bytes("a/b c.bin") == data
    assert sandbox.storage.list_objects()[0].content_type == "image/png"
    assert await media.download("a/b c.bin") == data
    assert [each["name"] for each in await media.list()] == ["a"]
    assert [each["name"] for each in await media.list("a")] == ["b c.bin"]
    assert (await media.info("a/b c.bin"))["size"] == len(data)
    assert not await media.exists("a/none")
    assert await status_of(media.upload("a/b c.bin", b"2")) == ("409", "Duplicate")
    await media.upload("a/b c.bin", b"2", {"upsert": "true"})
    await media.update("a/b c.bin", b"3")
    assert sandbox.storage.object_bytes("a/b c.bin") == b"3"
    assert await status_of(media.update("none", b"3")) == ("404", "not_found")
    assert [each["name"] for each in await media.remove(["a/b c.bin", "none"])] == ["a/b c.bin"]
    assert sandbox.storage.list_objects() == []


async def test_signed_addresses(connect: Connect, sandbox: Sandbox, web: httpx.AsyncClient) -> None:
    sandbox.clock.freeze()
    put = sandbox.storage.put_object("a/b c.mp4")
    sandbox.storage.put_object("other.mp4")
    media = (await connect(SECRET_KEY)).from_("media")
    address = (await media.create_signed_url("a/b c.mp4", 60))["signedURL"]
    assert address is not None
    answer = await web.get(address, headers={"range": "bytes=4-7"})
    assert (answer.status_code, answer.content) == (206, b"ftyp")
    assert answer.headers["content-range"] == f"bytes 4-7/{put.size_bytes}"
    # The store behind never hears of If-Range.
    assert (await web.get(address, headers={"range": "bytes=4-7", "if-range": '"old"'})).status_code == 206
    assert (await web.get(address, headers={"range": "bytes=99999999-"})).json()["statusCode"] == "416"
    assert (await web.head(address)).status_code == 200

    async def refused(url: str) -> tuple[int, str]:
        answer = await web.get(url)
        return answer.status_code, answer.json()["error"]

    assert await refused(address.partition("?")[0]) == (400, "Error")
    assert await refused(address + "x") == (400, "InvalidJWT")
    assert await refused(address.replace("a/b%20c.mp4", "other.mp4")) == (400, "InvalidSignature")
    sandbox.clock.advance(61)
    assert await refused(address) == (400, "InvalidJWT")
    assert await status_of(media.create_signed_url("none.mp4", 60)) == ("404", "not_found")
    assert await status_of(media.create_signed_url("a/b c.mp4", 0)) == ("400", "Error")
    again = (await media.create_signed_url("a/b c.mp4", 60))["signedURL"]
    sandbox.storage.delete_object("a/b c.mp4")
    assert await refused(str(again)) == (400, "not_found")


async def test_who_may_do_what(connect: Connect, sandbox: Sandbox, web: httpx.AsyncClient) -> None:
    sandbox.storage.put_object("a.mp4")
    sandbox.storage.put_object("b.mp4", bucket="public-media")
    browser = (await connect(PUBLISHABLE_KEY)).from_("media")
    assert await status_of(browser.create_signed_url("a.mp4", 60)) == ("404", "not_found")
    assert await status_of(browser.upload("x", b"1")) == ("403", "Unauthorized")
    assert await browser.remove(["a.mp4"]) == []
    assert (await web.get(f"{PREFIX}/object/public/public-media/b.mp4")).status_code == 200
    assert (await web.get(f"{PREFIX}/object/public/media/a.mp4")).json()["error"] == "Bucket not found"
    stranger = (await connect("sb_secret_unknown0123456789")).from_("media")
    assert (await status_of(stranger.create_signed_url("a.mp4", 60)))[0] == "401"
    assert (await web.post(f"{PREFIX}/object/sign/media/a.mp4", json={"expiresIn": 60})).status_code == 401
    sandbox.storage.configure(key_accepted=False)
    assert (await status_of((await connect(SECRET_KEY)).list_buckets()))[0] == "401"


async def test_limits_of_buckets_and_names(connect: Connect, sandbox: Sandbox) -> None:
    storage = await connect(SECRET_KEY)
    own = storage.from_("orbyt-media")
    assert await status_of(own.upload("a.png", b"1", {"content-type": "image/png"})) == ("415", "invalid_mime_type")
    sandbox.storage.create_bucket("orbyt-media", file_size_limit=3)
    assert await status_of(own.upload("a.jpg", b"1234")) == ("413", "Payload too large")
    assert await status_of(storage.from_("none").upload("a", b"1")) == ("404", "Bucket not found")
    assert await status_of(storage.from_("media").upload("100%25", b"1")) == ("400", "InvalidKey")


async def test_faults_in_the_shape_of_the_service(connect: Connect, sandbox: Sandbox) -> None:
    sandbox.storage.put_object("a.mp4")
    media = (await connect(SECRET_KEY)).from_("media")
    sandbox.faults.add("storage.sign", "status", status=503)
    assert await status_of(media.create_signed_url("a.mp4", 60)) == ("503", "internal")
    sandbox.faults.add("storage.upload", "drop_after")
    with pytest.raises(httpx.TransportError):
        await media.upload("b", b"1")
    assert sandbox.storage.object_bytes("b") == b"1"


def test_over_the_control_api(client: httpx.Client) -> None:
    put = client.post("/_control/storage/put_object", json={"path": "a b.jpg", "content": "jpeg"}).json()["result"]
    assert put["url"] == "storage://media/a%20b.jpg"
    signed = client.get("/_control/storage/sign", params={"path": "a b.jpg"}).json()["result"]
    assert client.get(signed).headers["content-type"] == "image/jpeg"
    assert len(client.get("/_control/storage/list_objects").json()["result"]) == 1
    assert client.get("/_control/storage/downloads", params={"path": "a b.jpg"}).json()["result"] == 1
