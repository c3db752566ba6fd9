"""Relays over real HTTP: against the sandbox, or against a host that says exactly what a test wants."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest

from orbyt_worker.media.client import Patience
from orbyt_worker.media.relay import MediaConfig, MediaRelay
from orbyt_worker.runtime import Runtime
from orbyt_worker.sandbox.server import SandboxServer
from orbyt_worker.sandbox.state import Sandbox
from tests.fix_clock import FakeClock

# Silence is noticed quickly: tests make it on purpose.
PATIENCE = Patience(connect_seconds=2.0, headers_seconds=2.0, idle_seconds=2.0)


@pytest.fixture
def runtime(clock: FakeClock) -> Runtime:
    """Waiting takes no time; but the calendar is real, because the simulators look at the expiry of tokens."""
    return Runtime(monotonic=clock.monotonic, sleep=clock.sleep, random=random.Random(0))


@pytest.fixture(scope="module")
def _running() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture
def server(_running: SandboxServer) -> Iterator[SandboxServer]:
    _running.state.reset()
    _running.state.mux.configure(rate_limits=False)
    yield _running
    assert _running.state.internal_errors() == []


@pytest.fixture
def sandbox(server: SandboxServer) -> Sandbox:
    return server.state


class RelayFactory(Protocol):
    def __call__(
        self, *urls: str, credentials: bool = True, **config: Any
    ) -> AbstractAsyncContextManager[MediaRelay]: ...


@pytest.fixture
def open_relay(runtime: Runtime, tmp_path: Path) -> RelayFactory:
    """A started relay that may talk to the servers at `urls`; keyword arguments are those of MediaConfig."""

    @asynccontextmanager
    async def make(
        *urls: str,
        environment: dict[str, str] | None = None,
        on_bytes: Callable[[int], None] | None = None,
        **config: Any,
    ) -> AsyncIterator[MediaRelay]:
        known = environment or {}
        settings: dict[str, Any] = {
            "sandbox": True,
            "allowed_loopback": frozenset(urlsplit(each).netloc for each in urls),
            "spool_dir": tmp_path / "spool",
            "spool_bytes_max": 1024**3,
            "media_bytes_max": 8 * 1024**3,
            "mux_stream_url": known.get("ORBYT_MUX_STREAM_URL", "https://stream.mux.com"),
            "mux_api_url": known.get("ORBYT_MUX_API_URL", "https://api.mux.com"),
            "mux_token_id": known.get("ORBYT_MUX_TOKEN_ID"),
            "mux_token_secret": known.get("ORBYT_MUX_TOKEN_SECRET"),
            "mux_signing_key_id": known.get("ORBYT_MUX_SIGNING_KEY_ID"),
            "mux_signing_private_key": known.get("ORBYT_MUX_SIGNING_PRIVATE_KEY"),
            "patience": PATIENCE,
        }
        relay = MediaRelay(MediaConfig(**{**settings, **config}), runtime, on_bytes=on_bytes)
        await relay.start()
        try:
            yield relay
        finally:
            await relay.close()

    return make


# --- A host that follows a script -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]

    @property
    def range(self) -> tuple[int, int | None] | None:
        """(first, last) of the Range header."""
        value = self.headers.get("range")
        if value is None:
            return None
        first, _, last = value.removeprefix("bytes=").partition("-")
        return int(first), int(last) if last else None


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Host:
    """An HTTP/1.1 server on loopback. `answer` writes whatever it likes; the connection is closed after it."""

    answer: Answer
    requests: list[Request] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            lines = (line.partition(":") for line in head[1:] if line)
            request = Request(method, target, {name.lower(): value.strip() for name, _, value in lines})
            self.requests.append(request)
            await self.answer(request, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the client went away, as some tests want
        finally:
            writer.close()

    async def close(self) -> None:
        """Cut what is still open and wait until it is: a connection that is only about to close is found by a later test."""
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


@asynccontextmanager
async def host(answer: Answer, ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[Host]:
    made = Host(answer, scheme="http" if ssl_context is None else "https")
    running = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=ssl_context)
    made.port = running.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        running.close()
        await made.close()
        await running.wait_closed()


def say(writer: asyncio.StreamWriter, status: int, body: bytes = b"", **headers: object) -> None:
    """A complete answer. `content_length=None` leaves the length out."""
    sent = {"content_length": len(body), "content_type": "video/mp4", "connection": "close", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in sent.items() if value is not None]
    writer.write("\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode("latin-1") + body)


def say_range(
    writer: asyncio.StreamWriter, request: Request, data: bytes, *, cut: int | None = None, **headers: object
) -> None:
    """A 206 for the range asked for (200 without one); `cut` bytes of the body are sent at most."""
    wanted = request.range
    if wanted is None:
        say(writer, 200, data[:cut], content_length=len(data), **headers)
        return
    first, last = wanted[0], min(len(data) - 1 if wanted[1] is None else wanted[1], len(data) - 1)
    part = data[first : last + 1]
    say(writer, 206, part[:cut], content_length=len(part), content_range=f"bytes {first}-{last}/{len(data)}", **headers)


@pytest.fixture
def video_bytes() -> bytes:
    """A real MP4 of about three megabytes, index at the front."""
    from orbyt_worker.sandbox import media_files

    body = media_files.video_body(size_bytes=3_000_000)
    return body.read(0, body.size)
