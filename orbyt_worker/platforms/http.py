"""The only way to call a platform.

What is decided here once, so that no platform decides it again: one total deadline per call, a cap on the answer,
no redirects, no retries, certificate verification, and a log line that shows a name instead of an address. A URL may
carry an upload session, a body may carry a token: neither is ever logged, and exceptions are reduced to their class.

HTTP/1.1 on purpose: an upload then has a connection of its own, and a slow one cannot hold back the small calls that
would share it. Not here: what an answer means (`platforms/<name>/errors.py`) and whether to try again (`publishing/retry.py`).
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import logging
import math
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import structlog

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.base import ApiResponse
from orbyt_worker.runtime import Runtime, tls_context

ANSWER_BYTES_MAX = 2 * 1024 * 1024
CONNECTIONS_MAX = 128
CONNECT_SECONDS_MAX = 15.0
# A connection the server may already have closed is not worth the doubt it puts on the one visible call.
IDLE_CONNECTION_SECONDS = 5.0
RETRY_AFTER_SECONDS_MAX = 86_400.0
REQUEST_ID_CHARACTERS_MAX = 200

# Support ids of the platforms, in order of preference.
REQUEST_ID_HEADERS = ("x-guploader-uploadid", "x-fb-trace-id", "x-fb-request-id", "x-goog-request-id", "x-request-id")

_log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.http")


class ApiClient:
    """`base.Http` over one pool of connections.

    `sandbox=True` allows plain http and ignores proxies of the environment (they cannot reach a simulator on loopback).
    `on_call(name, outcome)` is for counters: outcome is the status as text, or the error code when no answer came.
    `on_bytes(count)` hears of every body that was sent and answered.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        sandbox: bool = False,
        on_call: Callable[[str, str], None] | None = None,
        on_bytes: Callable[[int], None] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        _quiet_libraries()
        self._runtime = runtime
        self._sandbox = sandbox
        self._on_call = on_call
        self._on_bytes = on_bytes
        self._answer_bytes_max = answer_bytes_max
        self._client = httpx.AsyncClient(
            transport=transport,
            verify=tls_context(trust_env=not sandbox),
            http2=False,
            follow_redirects=False,
            trust_env=not sandbox,
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=IDLE_CONNECTION_SECONDS),
            # Identity: the cap counts decoded bytes, and a small compressed answer must not become a large one.
            headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "orbyt-worker"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Calls still running fail as unreachable."""
        await self._client.aclose()

    async def call(
        self,
        name: str,
        method: str,
        url: str,
        *,
        timeout_seconds: float,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        content: bytes | AsyncIterator[bytes] | None = None,
        content_length: int | None = None,
    ) -> ApiResponse:
        """One request, one answer of any status; see `base.Http.call`.

        Raises Failure: network_timeout, network_unreachable, network_tls (no answer: the outcome is unknown),
        platform_answer_invalid (answer too long or broken: the outcome is unknown as well), media_truncated or
        media_changed (the source gave another number of bytes: the request was cut off and cannot have been taken).
        """
        request = self._request(method, url, params, headers, json, form, content, content_length, timeout_seconds)
        host = request.url.host
        started = self._runtime.monotonic()
        self._runtime.checkpoint("http.before", name)
        try:
            async with asyncio.timeout(timeout_seconds):
                answer = await self._send(request)
        except Failure as failure:
            self._done(name, host, started, str(failure.code))
            raise
        except (TimeoutError, httpx.HTTPError, httpx.StreamError, ssl.SSLError, OSError) as error:
            code = _network_code(error)
            self._done(name, host, started, str(code), error=type(error).__name__)
            # `from None`: httpx exceptions carry the request, and with it the address and the token.
            raise Failure(code, f"{name}: {type(error).__name__}") from None
        self._runtime.checkpoint("http.after", name)
        if self._on_bytes is not None and content is not None:
            self._on_bytes(len(content) if isinstance(content, bytes) else content_length or 0)
        self._done(
            name,
            host,
            started,
            str(answer.status),
            status=answer.status,
            request_id=_request_id(answer, str(request.url)),
        )
        return answer

    def _request(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        json: Any,
        form: Mapping[str, str] | None,
        content: bytes | AsyncIterator[bytes] | None,
        content_length: int | None,
        timeout_seconds: float,
    ) -> httpx.Request:
        scheme = urlsplit(url).scheme
        if scheme != "https" and not (scheme == "http" and self._sandbox):
            raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, "refused to call an address that is not https")
        sent_headers = dict(headers or {})
        body: bytes | AsyncIterator[bytes] | None = content
        if content is not None and not isinstance(content, bytes):
            if content_length is None:
                raise ValueError("content_length is required with an iterator")
            # Without it httpx would send chunked, which resumable uploads refuse.
            sent_headers["content-length"] = str(content_length)
            body = _exactly(content, content_length)
        return self._client.build_request(
            method,
            url,
            params=params,
            headers=sent_headers,
            json=json,
            data=form,
            content=body,
            timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, CONNECT_SECONDS_MAX)),
        )

    async def _send(self, request: httpx.Request) -> ApiResponse:
        response = await self._client.send(request, stream=True, follow_redirects=False)
        async with aclosing(response):
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > self._answer_bytes_max:
                    raise Failure(
                        ErrorCode.PLATFORM_ANSWER_INVALID,
                        f"the answer is longer than {self._answer_bytes_max} bytes",
                        http_status=response.status_code,
                    )
        # Names are lower-cased by httpx; a repeated header is joined, as HTTP allows.
        return ApiResponse(response.status_code, dict(response.headers.items()), _json(bytes(body)), bytes(body))

    def _done(
        self,
        name: str,
        host: str,
        started: float,
        outcome: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        error: str | None = None,
    ) -> None:
        if self._on_call is not None:
            self._on_call(name, outcome)
        details: dict[str, Any] = {
            "name": name,
            "host": host,
            "duration_ms": round((self._runtime.monotonic() - started) * 1000),
        }
        if status is not None:
            details["status"] = status
        if request_id is not None:
            details["request_id"] = request_id
        if error is not None:
            details["error"] = error
        if status is None:
            details["error_code"] = outcome
        _log.info("http.called", **details)


def _quiet_libraries() -> None:
    """httpx logs every URL at INFO, httpcore every header at DEBUG: upload addresses would end up in a log."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


async def _exactly(source: AsyncIterator[bytes], length: int) -> AsyncIterator[bytes]:
    """Pass `source` on if it has exactly `length` bytes.

    One piece is always held back until the next has arrived or the end is certain, so that a source of another
    length breaks the request off before its last byte: the platform can never take such a body as complete.
    """
    seen = 0
    held = b""
    async for piece in source:
        seen += len(piece)
        if seen > length:
            raise Failure(ErrorCode.MEDIA_CHANGED, f"the source gave more than the {length} bytes announced")
        if held:
            yield held
        held = piece
    if seen != length:
        raise Failure(ErrorCode.MEDIA_TRUNCATED, f"the source gave {seen} of {length} bytes")
    if held:
        yield held


def _json(body: bytes) -> Any:
    if not body:
        return None
    try:
        return jsonlib.loads(body)
    except (ValueError, RecursionError):
        return None


def _network_code(error: BaseException) -> ErrorCode:
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return ErrorCode.NETWORK_TIMEOUT
    seen: BaseException | None = error
    for _ in range(8):  # exceptions are wrapped twice by httpx and httpcore; 8 bounds a cycle
        if seen is None:
            break
        if isinstance(seen, ssl.SSLError):
            return ErrorCode.NETWORK_TLS
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, httpx.DecodingError | httpx.StreamError):
        return ErrorCode.PLATFORM_ANSWER_INVALID
    return ErrorCode.NETWORK_UNREACHABLE


def _request_id(answer: ApiResponse, url: str) -> str | None:
    """The platform's support id, unless it is a part of an upload address.

    Google's upload servers put the same string into X-GUploader-UploadID and into the session's `upload_id`
    (googleapis/google-api-java-client-services#27094 builds one from the other), so it is shown only where it is not one.
    """
    for header in REQUEST_ID_HEADERS:
        value = answer.headers.get(header)
        if value and value.isprintable() and value not in url and value not in answer.headers.get("location", ""):
            return value[:REQUEST_ID_CHARACTERS_MAX]
    return None


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long the other side asks us to wait: 0 to 86,400 seconds, or None when it says nothing usable.

    Retry-After is seconds or an HTTP date (RFC 9110, section 10.2.3). `now` must be aware.
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError):
            return None
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        seconds = (until - now).total_seconds()
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)
