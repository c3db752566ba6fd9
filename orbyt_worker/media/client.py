"""The only way media is asked for: guarded addresses, bounded redirects, bounded waiting, raw bytes.

httpcore rather than httpx, because the three things that matter here are its public interface: a network backend of our
own (address pinning), no redirects behind our back, and bodies exactly as they were sent (no decompression, which could
turn a small answer into an endless one). Proxies of the environment are not used: behind one, the proxy would choose the
address. HTTP/1.1, since one large body wants a connection of its own.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import cast

import httpcore

from orbyt_worker.errors.catalog import classify
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.guard import BadUrl, GuardedBackend, Resolve, Url, parse_url, shape_problem
from orbyt_worker.media.source import PIECE_BYTES_MAX, Interrupted
from orbyt_worker.runtime import Runtime, tls_context

REDIRECTS_MAX = 5
CONNECTIONS_MAX = 128
CONNECTIONS_IDLE_MAX = 16
IDLE_CONNECTION_SECONDS = 5.0
RETRY_AFTER_SECONDS_MAX = 86_400.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a source may take. `idle` is silence; the slow window catches a source that drips to stay alive."""

    connect_seconds: float = 15.0
    headers_seconds: float = 60.0
    idle_seconds: float = 30.0
    slow_window_seconds: float = 60.0
    slow_window_bytes_min: int = 256 * 1024


@dataclass(slots=True)
class MediaAnswer:
    """An answer whose body has not been read. `headers` has lower-case names; `host` and `url` are who answered, after
    redirects. `url` may hold a signature."""

    status: int
    headers: Mapping[str, str]
    host: str
    _response: httpcore.Response = field(repr=False)
    _patience: Patience
    _runtime: Runtime
    url: str = field(default="", repr=False)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as sent, at most 256 KiB a piece. Raises Interrupted when it stops before its announced end."""
        async with aclosing(cast("AsyncGenerator[bytes, None]", self._response.aiter_stream())) as stream:
            async for piece in self._watched(stream):
                for start in range(0, len(piece), PIECE_BYTES_MAX):
                    yield piece[start : start + PIECE_BYTES_MAX]

    async def _watched(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        window_seconds, window_bytes = 0.0, 0
        while True:
            asked_at = self._runtime.monotonic()
            try:
                piece = await anext(stream)
            except StopAsyncIteration:
                return
            except httpcore.ReadTimeout:
                raise Interrupted(
                    ErrorCode.MEDIA_SOURCE_SLOW, f"no byte for {self._patience.idle_seconds:.0f} s from {self.host}"
                ) from None
            except httpcore.NetworkError:
                raise Interrupted(ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"{self.host} broke off the transfer") from None
            except httpcore.ProtocolError:
                # Closed in good order, but before the announced end: again and again at one place means a file cut there.
                raise Interrupted(ErrorCode.MEDIA_TRUNCATED, f"{self.host} sent fewer bytes than announced") from None
            # Only the time spent waiting for the source counts, not the time its reader took.
            window_seconds += self._runtime.monotonic() - asked_at
            window_bytes += len(piece)
            if window_seconds >= self._patience.slow_window_seconds:
                if window_bytes < self._patience.slow_window_bytes_min:
                    raise Interrupted(
                        ErrorCode.MEDIA_SOURCE_SLOW, f"{self.host} gave {window_bytes} bytes in {window_seconds:.0f} s"
                    )
                window_seconds, window_bytes = 0.0, 0
            yield piece

    async def body(self, bytes_max: int) -> bytes:
        """The first `bytes_max` bytes of the body; the rest is left on the wire."""
        collected = bytearray()
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                collected += piece
                if len(collected) >= bytes_max:
                    break
        return bytes(collected[:bytes_max])

    @property
    def retry_after_seconds(self) -> float | None:
        return retry_after_seconds(self.headers.get("retry-after"), self._runtime.now())


class MediaClient:
    """One pool of guarded connections. Redirects are followed here, each hop checked like the first URL."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        resolve: Resolve,
        sandbox: bool = False,
        allowed_hosts: frozenset[str] = frozenset(),
        patience: Patience | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._runtime = runtime
        self._sandbox = sandbox
        self._allowed_hosts = allowed_hosts
        self._patience = patience or Patience()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or tls_context(),
            max_connections=CONNECTIONS_MAX,
            max_keepalive_connections=CONNECTIONS_IDLE_MAX,
            keepalive_expiry=IDLE_CONNECTION_SECONDS,
            http1=True,
            http2=False,
            retries=0,
            network_backend=GuardedBackend(resolve, allowed_hosts=allowed_hosts),
        )

    async def close(self) -> None:
        await self._pool.aclose()

    @asynccontextmanager
    async def request(
        self,
        name: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        redirects_max: int = REDIRECTS_MAX,
        redirect_allowed: Callable[[str], bool] | None = None,
    ) -> AsyncIterator[MediaAnswer]:
        """Ask, follow redirects, give the first other answer, whatever its status. `name` is what checkpoints show.

        `content` is the body of the request: small, JSON, and sent to the first address only (`redirects_max` 0).
        `redirect_allowed(host)` narrows where a redirect may lead. Raises Failure(media_url_invalid | media_url_not_https |
        media_url_forbidden | media_too_many_redirects) for good, and Interrupted for what may pass.
        """
        target = self._checked(url)
        assert content is None or redirects_max == 0
        sent = {"user-agent": "orbyt-worker", "accept": "*/*", **(headers or {}), "accept-encoding": "identity"}
        for hop in range(redirects_max + 1):
            response = await self._ask(name, method, target, sent, content)
            try:
                location = _header(response, b"location")
                if response.status not in _REDIRECTS or location is None:
                    yield self._answer(response, target)
                    return
            finally:
                await response.aclose()
            if hop < redirects_max:
                following = self._checked(target.join(location))
                if redirect_allowed is not None and not redirect_allowed(following.host):
                    raise Failure(
                        ErrorCode.MEDIA_URL_FORBIDDEN, f"{target.host} redirects to a host that is not its own"
                    )
                if following.origin != target.origin:
                    sent = {key: value for key, value in sent.items() if key not in _SECRET_HEADERS}
                target = following
        raise Failure(ErrorCode.MEDIA_TOO_MANY_REDIRECTS, f"more than {redirects_max} redirects")

    def _checked(self, url: str) -> Url:
        try:
            parsed = parse_url(url)
        except BadUrl as reason:
            raise Failure(ErrorCode.MEDIA_URL_INVALID, str(reason)) from None
        problem = shape_problem(parsed, sandbox=self._sandbox, allowed_hosts=self._allowed_hosts)
        if problem is not None:
            raise Failure(*problem)
        return parsed

    async def _ask(
        self, name: str, method: str, url: Url, headers: Mapping[str, str], content: bytes | None
    ) -> httpcore.Response:
        patience = self._patience
        request = httpcore.Request(
            method,
            httpcore.URL(
                scheme=url.scheme.encode(), host=url.host.encode(), port=url.port, target=url.target.encode("ascii")
            ),
            headers=[
                (b"host", url.host_header.encode()),
                *((key.encode(), value.encode()) for key, value in headers.items()),
                *([] if content is None else [(b"content-type", b"application/json")]),
                *([] if content is None else [(b"content-length", str(len(content)).encode())]),
            ],
            content=content,
            extensions={
                "timeout": {
                    "connect": patience.connect_seconds,
                    "read": patience.idle_seconds,
                    "write": patience.idle_seconds,
                    "pool": patience.headers_seconds,
                }
            },
        )
        self._runtime.checkpoint("http.before", name)
        try:
            async with asyncio.timeout(patience.headers_seconds):
                response = await self._pool.handle_async_request(request)
        except (TimeoutError, httpcore.ReadTimeout, httpcore.WriteTimeout):
            raise Interrupted(ErrorCode.MEDIA_SOURCE_SLOW, f"{url.host} did not answer in time") from None
        except (httpcore.ConnectTimeout, httpcore.PoolTimeout):
            raise Interrupted(ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"no connection to {url.host} in time") from None
        except httpcore.ConnectError as failure:
            if _is_tls(failure):
                # Not network_tls: that one speaks of a platform, and counts against its circuit breaker.
                raise Interrupted(
                    ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"the certificate of {url.host} was not accepted"
                ) from None
            raise Interrupted(ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"no connection to {url.host}") from None
        except (httpcore.NetworkError, httpcore.ProtocolError):
            raise Interrupted(ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"{url.host} closed the connection") from None
        self._runtime.checkpoint("http.after", name)
        return response

    def _answer(self, response: httpcore.Response, url: Url) -> MediaAnswer:
        headers = {key.decode("latin-1").lower(): value.decode("latin-1").strip() for key, value in response.headers}
        return MediaAnswer(response.status, headers, url.host, response, self._patience, self._runtime, url.text)


def _is_tls(failure: httpcore.ConnectError) -> bool:
    """Whether the TLS handshake failed: httpcore wraps the cause, and its pool then cuts it off with `from None`."""
    return any(isinstance(each, ssl.SSLError) for each in (*failure.args, failure.__context__))


def _header(response: httpcore.Response, name: bytes) -> str | None:
    for key, value in response.headers:
        if key.lower() == name:
            return value.decode("latin-1").strip() or None
    return None


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Retry-After as seconds from `now` (RFC 9110 10.2.3: a number, or a date), 0 to one day; None when absent or odd."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX) if math.isfinite(seconds) else None


def status_failure(answer: MediaAnswer, rules: str = "media") -> Exception | None:
    """What an error status means by the catalog's `rules`; None for 2xx. What may pass is Interrupted, the rest Failure."""
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    code = classify(rules, http_status=status, qualifier="api" if rules == "mux" else None)
    if code is ErrorCode.PLATFORM_ERROR_UNMAPPED:
        # A file is handed out or it is not: any other refusal is one, and anything odd (a 3xx without Location) may pass.
        refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        code = ErrorCode.MEDIA_ACCESS_DENIED if refused else ErrorCode.MEDIA_SOURCE_UNAVAILABLE
    detail, wait = f"{answer.host} answered {status}", answer.retry_after_seconds
    if code is ErrorCode.MEDIA_SOURCE_UNAVAILABLE:
        return Interrupted(code, detail, http_status=status, retry_after_seconds=wait)
    return Failure(code, detail, http_status=status, retry_after_seconds=wait)
