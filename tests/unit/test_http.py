"""`platforms/http.py`: what every platform can rely on, against a replaced transport and against a real server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import structlog

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.http import ApiClient, retry_after_seconds
from tests.fix_clock import FakeClock, fake_runtime

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
URL = "https://api.example.com/upload?upload_id=planted-secret"

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, **options: Any) -> ApiClient:
    return ApiClient(fake_runtime(FakeClock()), transport=httpx.MockTransport(handler), **options)


async def get(api: ApiClient, url: str = URL, **options: Any) -> Any:
    async with api:
        return await api.call("test.get", "GET", url, timeout_seconds=5, **options)


async def test_any_status_is_an_answer() -> None:
    answer = await get(client(lambda _: httpx.Response(418, json={"a": 1}, headers={"X-Thing": "Yes"})))
    assert (answer.status, answer.json, answer.headers["x-thing"]) == (418, {"a": 1}, "Yes")


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe\x00", b"{", b"[" * 200_000])
async def test_what_is_no_json_is_none(body: bytes) -> None:
    answer = await get(client(lambda _: httpx.Response(502, content=body)))
    assert answer.json is None


async def test_redirects_are_answers() -> None:
    answer = await get(client(lambda _: httpx.Response(308, headers={"location": "https://elsewhere.example.com/"})))
    assert answer.status == 308


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (httpx.ReadTimeout("planted-secret"), ErrorCode.NETWORK_TIMEOUT),
        (httpx.ConnectTimeout("planted-secret"), ErrorCode.NETWORK_TIMEOUT),
        (httpx.PoolTimeout("planted-secret"), ErrorCode.NETWORK_TIMEOUT),
        (httpx.ConnectError("planted-secret"), ErrorCode.NETWORK_UNREACHABLE),
        (httpx.RemoteProtocolError("planted-secret"), ErrorCode.NETWORK_UNREACHABLE),
        (httpx.WriteError("planted-secret"), ErrorCode.NETWORK_UNREACHABLE),
        (ssl.SSLError("planted-secret"), ErrorCode.NETWORK_TLS),
    ],
)
async def test_network_errors_become_codes_without_their_text(error: Exception, code: ErrorCode) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(Failure) as caught:
        await get(client(fail))
    assert caught.value.code is code
    assert caught.value.detail == f"test.get: {type(error).__name__}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_certificate_errors_are_found_below_a_connect_error() -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("x") from ssl.SSLCertVerificationError("x")

    with pytest.raises(Failure) as caught:
        await get(client(fail))
    assert caught.value.code is ErrorCode.NETWORK_TLS


async def test_an_endless_answer_is_cut() -> None:
    with pytest.raises(Failure) as caught:
        await get(client(lambda _: httpx.Response(200, content=b"x" * 101), answer_bytes_max=100))
    assert caught.value.code is ErrorCode.PLATFORM_ANSWER_INVALID
    assert caught.value.http_status == 200


@pytest.mark.parametrize(
    "url", ["http://api.example.com/", "ftp://api.example.com/", "file:///etc/passwd", "//api.example.com", "x"]
)
async def test_only_https(url: str) -> None:
    with pytest.raises(Failure):
        await get(client(lambda _: httpx.Response(200)), url)


async def test_plain_http_in_the_sandbox() -> None:
    assert (await get(client(lambda _: httpx.Response(200), sandbox=True), "http://127.0.0.1/")).status == 200


async def test_log_line_has_names_and_numbers_only() -> None:
    calls: list[tuple[str, str]] = []
    api = client(
        lambda _: httpx.Response(200, json={"token": "planted-secret"}, headers={"x-guploader-uploadid": "support-1"}),
        on_call=lambda name, outcome: calls.append((name, outcome)),
    )
    with structlog.testing.capture_logs() as entries:
        await get(api, headers={"authorization": "Bearer planted-secret"})
    assert entries == [
        {
            "event": "http.called",
            "log_level": "info",
            "name": "test.get",
            "host": "api.example.com",
            "duration_ms": 0,
            "status": 200,
            "request_id": "support-1",
        }
    ]
    assert calls == [("test.get", "200")]


@pytest.mark.parametrize("headers", [{}, {"location": "https://up.example.com/?upload_id=session-2"}])
async def test_a_support_id_that_is_part_of_an_upload_address_is_not_logged(headers: dict[str, str]) -> None:
    identifier = "session-2" if headers else "planted-secret"
    api = client(lambda _: httpx.Response(200, headers={**headers, "x-guploader-uploadid": identifier}))
    with structlog.testing.capture_logs() as entries:
        await get(api)
    assert identifier not in str(entries)


async def test_libraries_below_log_no_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await get(client(lambda _: httpx.Response(200)))
    assert "planted-secret" not in caplog.text


async def test_failed_call_is_logged_and_counted() -> None:
    calls: list[tuple[str, str]] = []

    def fail(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("planted-secret")

    api = client(fail, on_call=lambda name, outcome: calls.append((name, outcome)))
    with structlog.testing.capture_logs() as entries, pytest.raises(Failure):
        await get(api)
    assert calls == [("test.get", "network_timeout")]
    assert entries[0]["error"] == "ReadTimeout"
    assert "planted-secret" not in str(entries)


async def test_checkpoints_surround_the_call() -> None:
    seen: list[tuple[str, str]] = []

    def handler(_: httpx.Request) -> httpx.Response:
        seen.append(("sent", ""))
        return httpx.Response(200)

    runtime = fake_runtime(FakeClock(), checkpoint=lambda kind, name: seen.append((kind, name)))
    await get(ApiClient(runtime, transport=httpx.MockTransport(handler)))
    assert seen == [("http.before", "test.get"), ("sent", ""), ("http.after", "test.get")]


# Streamed bodies -------------------------------------------------------------------------------------------------------


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


class Recorder(httpx.AsyncBaseTransport):
    """Reads the request body piece by piece, as a server would, and keeps what arrived even if it broke off."""

    def __init__(self) -> None:
        self.body = b""
        self.headers: httpx.Headers = httpx.Headers()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.headers = request.headers
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for piece in request.stream:
            self.body += piece
        return httpx.Response(200)


async def put(recorder: Recorder, content: AsyncIterator[bytes], length: int | None) -> None:
    async with ApiClient(fake_runtime(FakeClock()), transport=recorder) as api:
        await api.call("test.put", "PUT", URL, timeout_seconds=5, content=content, content_length=length)


async def test_iterator_is_sent_with_its_length() -> None:
    recorder = Recorder()
    await put(recorder, pieces(b"abc", b"", b"defg"), 7)
    assert recorder.body == b"abcdefg"
    assert recorder.headers["content-length"] == "7"
    assert "transfer-encoding" not in recorder.headers


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ((b"abc", b"def"), ErrorCode.MEDIA_TRUNCATED),
        ((b"abcdef",), ErrorCode.MEDIA_TRUNCATED),
        ((), ErrorCode.MEDIA_TRUNCATED),
        ((b"abc", b"defgh"), ErrorCode.MEDIA_CHANGED),
        ((b"abc", b"defg", b"h"), ErrorCode.MEDIA_CHANGED),
        ((b"abcdefgh",), ErrorCode.MEDIA_CHANGED),
    ],
)
async def test_a_source_of_another_length_never_completes_the_request(
    parts: tuple[bytes, ...], code: ErrorCode
) -> None:
    recorder = Recorder()
    with pytest.raises(Failure) as caught:
        await put(recorder, pieces(*parts), 7)
    assert caught.value.code is code
    assert len(recorder.body) < 7


async def test_failure_of_the_source_passes_through() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"abc"
        raise Failure(ErrorCode.MEDIA_SOURCE_UNAVAILABLE)

    with pytest.raises(Failure) as caught:
        await put(Recorder(), broken(), 7)
    assert caught.value.code is ErrorCode.MEDIA_SOURCE_UNAVAILABLE


async def test_an_iterator_needs_a_length() -> None:
    with pytest.raises(ValueError, match="content_length"):
        await put(Recorder(), pieces(b"abc"), None)


# A real connection -----------------------------------------------------------------------------------------------------


async def test_total_timeout_covers_an_answer_that_trickles() -> None:
    """Each phase is quick, the whole is not: only a deadline around everything ends it."""
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while not reader.at_eof():
            writer.write(b"x")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.01)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        hung_up.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, ApiClient(fake_runtime(FakeClock()), sandbox=True) as api:
        with pytest.raises(Failure) as caught:
            await api.call("test.get", "GET", f"http://127.0.0.1:{port}/", timeout_seconds=0.2)
        await asyncio.wait_for(hung_up.wait(), 5)
    assert caught.value.code is ErrorCode.NETWORK_TIMEOUT


async def test_nobody_listens() -> None:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with ApiClient(fake_runtime(FakeClock()), sandbox=True) as api:
        with pytest.raises(Failure) as caught:
            await api.call("test.get", "GET", f"http://127.0.0.1:{port}/", timeout_seconds=5)
    assert caught.value.code is ErrorCode.NETWORK_UNREACHABLE


# Retry-After -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("-5", 0.0),
        ("999999999", 86_400.0),
        ("Mon, 23 Nov 2026 12:02:00 GMT", 120.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2099 11:00:00 GMT", 86_400.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": value}, NOW) == seconds


def test_no_retry_after() -> None:
    assert retry_after_seconds({}, NOW) is None
