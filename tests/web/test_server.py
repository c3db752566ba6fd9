"""A real listening server: what uvicorn and our bounds around it do with connections, heads, proxies and a stop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import pytest
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.settings import Settings
from orbyt_worker.web import server
from orbyt_worker.web.app import http_app
from orbyt_worker.web.limits import OTHER_LIMIT
from orbyt_worker.web.oauth_answer import QUERY_BYTES_MAX
from orbyt_worker.web.parts import Parts
from orbyt_worker.web.server import serving
from tests.web.conftest import RETURN_TO, settings_of

PATIENCE_SECONDS = 20


@dataclasses.dataclass
class Served:
    """A server at `address`."""

    address: tuple[str, int]
    writers: list[asyncio.StreamWriter]

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection without a client of HTTP; closed at the end of the test."""
        reader, writer = await asyncio.open_connection(*self.address)
        self.writers.append(writer)
        return reader, writer


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
async def serve(away: Parts) -> AsyncIterator[Serve]:
    """Serves our application without a database, or another one; on any port."""
    writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def start(app: ASGIApp | None = None, **values: object) -> AsyncIterator[Served]:
        settings = settings_of("postgres://x", http_port=0, **values)
        async with serving(app or http_app(dataclasses.replace(away, settings=settings)), settings) as addresses:
            yield Served(addresses[0], writers)

    yield start
    for each in writers:
        each.close()
    for each in writers:
        with contextlib.suppress(OSError):
            await each.wait_closed()


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What came until the server closed the connection."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await reader.read()
    except ConnectionResetError:
        return b""


async def test_on_loopback_unless_set_otherwise(serve: Serve) -> None:
    assert Settings(database_url=SecretStr("postgres://x")).http_host == "127.0.0.1"
    async with serve() as served, client() as http:
        assert served.address[0] == "127.0.0.1"
        answer = await http.get(f"{served.url}/healthz")
        assert answer.json() == {"live": True}
        assert "server" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"


async def test_a_port_that_is_taken_is_said(serve: Serve) -> None:
    async with serve() as served:
        taken = settings_of("postgres://x", http_port=served.address[1])
        with pytest.raises(Failure, match=f"ORBYT_HTTP_PORT {served.address[1]}: Address already in use") as failed:
            async with serving(http_app, taken):  # type: ignore[arg-type]  # never asked
                pytest.fail("served")
    assert failed.value.code is ErrorCode.HTTP_ADDRESS_UNAVAILABLE
    with pytest.raises(Failure):
        async with serving(http_app, settings_of("postgres://x", http_host="192.0.2.1")):  # type: ignore[arg-type]
            pytest.fail("served")


# Heads -------------------------------------------------------------------------------------------------------------------


async def test_a_query_beyond_all_measure_still_ends_in_the_app(serve: Serve) -> None:
    async with serve() as served, client() as http:
        for size in (QUERY_BYTES_MAX, 3 * QUERY_BYTES_MAX):
            reader, writer = await served.connect()
            writer.write(b"GET /connect/callback?state=" + b"x" * size)
            await writer.drain()
            # As it comes over a network: in parts. When this is answered, the first has been looked at.
            await http.get(f"{served.url}/healthz")
            writer.write(b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answer = await ended(reader)
            assert answer.startswith(b"HTTP/1.1 303 ")
            assert f"location: {RETURN_TO}?status=failed".encode() in answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: " + b"y" * server.HEAD_BYTES_MAX,
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * (server.HEAD_BYTES_MAX // 6),
        b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: nonsense\r\n\r\n",
        b"\x16\x03\x01 this is TLS\r\n\r\n",
        b"GET /<script>alert(1)</script>\r\n\r\n",
    ],
    ids=["long line", "many lines", "two lengths", "tls", "no version"],
)
async def test_heads_that_are_none(serve: Serve, head: bytes) -> None:
    async with serve() as served:
        reader, writer = await served.connect()
        writer.write(head)
        answer = await ended(reader)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
        assert b"text/html" not in answer
        assert b"script" not in answer


@pytest.mark.parametrize(
    "beginning",
    [b"", b"GET /healthz HTT", b"POST /mux/webhook HTTP/1.1\r\nhost: x\r\n"],
    ids=["nothing", "half a line", "half a head"],
)
async def test_a_head_that_does_not_come_is_not_waited_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS_MAX", 0.2)
    async with serve() as served:
        reader, writer = await served.connect()
        writer.write(beginning)
        assert await ended(reader) == b""


async def test_a_slow_second_request_is_not_waited_for_either(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve() as served:
        reader, writer = await served.connect()
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await reader.readuntil(b'{"live":true}')
        monkeypatch.setattr(server, "REQUEST_SECONDS_MAX", 0.2)
        # Long before the five seconds for a connection that says nothing.
        async with asyncio.timeout(3):
            writer.write(b"GET /heal")
            assert await ended(reader) == b""


async def test_requests_one_behind_the_other_are_all_answered(serve: Serve) -> None:
    async with serve() as served:
        reader, writer = await served.connect()
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
        for _ in range(3):
            await reader.readuntil(b'{"live":true}')


async def test_an_answer_that_is_not_read_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS_MAX", 0.3)
    given_up = asyncio.Event()

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": b"x" * 1024 * 1024, "more_body": True})
        given_up.set()

    async with serve(large) as served:
        reader, writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readexactly(10)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await given_up.wait()


# Clients -----------------------------------------------------------------------------------------------------------------


async def test_one_address_has_only_so_many_connections(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_PER_CLIENT_MAX", 2)
    async with serve(http_trusted_proxies="192.0.2.1") as served:
        pairs = [await served.connect() for _ in range(2)]
        reader, _ = await served.connect()
        assert await ended(reader) == b""
        # The first two are not disturbed, and make room when they leave.
        for each, other in pairs:
            other.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert b"200 OK" in await ended(each)
        async with client() as http:
            assert (await http.get(f"{served.url}/healthz")).status_code == 200


async def test_a_proxy_has_more_connections(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_PER_CLIENT_MAX", 1)
    async with serve(http_trusted_proxies="192.0.2.0/24, 127.0.0.0/8") as served:
        for reader, writer in [await served.connect() for _ in range(3)]:
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert b"200 OK" in await ended(reader)


@pytest.mark.parametrize(
    ("trusted", "forwarded", "apart"),
    [
        ("127.0.0.1", "203.0.113.{}", True),
        # What a client writes itself stands in front of what the proxy adds.
        ("127.0.0.1", "198.51.100.{}, 203.0.113.1", False),
        ("127.0.0.1, 203.0.113.0/24", "198.51.100.{}, 203.0.113.1", True),
        ("192.0.2.1", "203.0.113.{}", False),
        ("", "203.0.113.{}", False),
    ],
)
async def test_only_a_trusted_proxy_says_who_the_client_is(
    serve: Serve, trusted: str, forwarded: str, apart: bool
) -> None:
    async with serve(http_trusted_proxies=trusted) as served, client() as http:

        async def ask(number: int) -> int:
            headers = {"x-forwarded-for": forwarded.format(number)}
            return (await http.get(f"{served.url}/no-such-thing", headers=headers)).status_code

        assert [await ask(1) for _ in range(OTHER_LIMIT.burst + 1)] == [404] * OTHER_LIMIT.burst + [429]
        assert await ask(2) == (404 if apart else 429)


# A stop ------------------------------------------------------------------------------------------------------------------


class Waiting:
    """Answers when it is told."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture
async def stopping(serve: Serve) -> AsyncIterator[tuple[Served, Waiting, Callable[[], None], asyncio.Task[None]]]:
    """A server with a request under way; a function that stops it; the task that ends with it."""
    app, stop, up = Waiting(), asyncio.Event(), asyncio.Event()
    found: list[Served] = []

    async def run() -> None:
        async with serve(app) as served:
            found.append(served)
            up.set()
            await stop.wait()

    task = asyncio.create_task(run())
    await up.wait()
    yield found[0], app, stop.set, task
    app.go.set()
    await task


Stopping = tuple[Served, Waiting, Callable[[], None], "asyncio.Task[None]"]


async def test_a_stop_lets_answers_end_and_waits_for_nothing_else(stopping: Stopping) -> None:
    served, app, stop, task = stopping
    idle, _ = await served.connect()
    half, half_writer = await served.connect()
    half_writer.write(b"GET /healthz HTT")
    async with client() as http:
        under_way = asyncio.create_task(http.get(served.url))
        await app.asked.wait()
        stop()
        # Those are closed at once, and nobody new comes in.
        assert await ended(idle) == b""
        assert await ended(half) == b""
        with pytest.raises(OSError):  # noqa: PT011 - refused or reset, as the machine likes
            await served.connect()
        assert not task.done()
        app.go.set()
        assert (await under_way).text == "done"
    async with asyncio.timeout(PATIENCE_SECONDS):
        await task


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STOP_SECONDS_MAX", 0.2)


@pytest.mark.usefixtures("hurry")
async def test_a_stop_does_not_wait_for_ever(stopping: Stopping) -> None:
    served, app, stop, task = stopping
    reader, writer = await served.connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await app.asked.wait()
    stop()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await task
    assert b"500 " in await ended(reader)


def test_the_stop_is_over_before_the_jobs_are() -> None:
    """Or SIGTERM would be followed by SIGKILL while the worker still gives its jobs back."""
    assert Settings(database_url=SecretStr("postgres://x")).shutdown_seconds + server.STOP_SECONDS_MAX < 30
