"""Around every route: request ids, limits, headers and the log line. An ASGI application that wraps another.

The log line names the route, never the path or the query: they hold codes and states. Bodies are read here, whole and bounded in
size and time, so that no route can be kept waiting by a slow sender.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orbyt_worker.runtime import Runtime
from orbyt_worker.web.limits import LIMITS, OTHER_LIMIT, Buckets, client_of, route_of
from orbyt_worker.web.parts import Refused, problem

BODY_SECONDS_MAX = 10.0

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HEADERS: Final = {
    # A callback's answer belongs to one browser and one moment, and its address must not travel on as a Referer.
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
# Called every few seconds, or by whoever looks for doors: said only when somebody wants to know everything.
_QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
_QUIET_STATUSES = frozenset({404, 405, 413, 429})

_log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.http")


# What a browser gets at a route instead of "too many requests"; None: that it is.
Instead = Mapping[str, Callable[[], ASGIApp | None]]


class _Gone(Exception):
    """The client went away before its request was whole."""


class Guard:
    """One per process."""

    def __init__(
        self, app: ASGIApp, runtime: Runtime, buckets: Buckets | None = None, *, instead: Instead = MappingProxyType({})
    ) -> None:
        self._app = app
        self._runtime = runtime
        self._instead = instead
        self._buckets = Buckets(runtime.monotonic) if buckets is None else buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route = route_of(scope["path"])
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else self._runtime.new_id().hex
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        began = self._runtime.monotonic()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._handle(scope, receive, answer, route)
            except _Gone:
                return
            except Exception:
                # The framework has answered 500 by now, if anything could still be answered.
                _log.exception("http.failed", route=route)
                if answer.status == 0:
                    await problem(request_id, Refused(500, "internal_error"))(scope, receive, answer)
            self._tell(scope["method"], route, answer.status, self._runtime.monotonic() - began)

    async def _handle(self, scope: Scope, receive: Receive, answer: _Answer, route: str) -> None:
        limit = LIMITS.get(route, OTHER_LIMIT)
        client = scope.get("client")
        try:
            wait_seconds = self._buckets.take(client_of(client[0] if client else None), route, limit)
            if wait_seconds:
                raise Refused(429, "too_many_requests", retry_after_seconds=math.ceil(wait_seconds))
            body = await _read(scope, receive, limit.body_bytes_max)
        except Refused as refused:
            answer.close = True
            instead = None
            if refused.status == 429 and scope["method"] == "GET" and route in self._instead:
                instead = self._instead[route]()
            await (instead or problem(answer.request_id, refused))(scope, receive, answer)
        else:
            await self._app(scope, _replay(body, receive), answer)

    def _tell(self, method: str, route: str, status: int, seconds: float) -> None:
        level = "debug" if route in _QUIET_ROUTES or status in _QUIET_STATUSES else "info"
        getattr(_log, "warning" if status >= 500 and route not in _QUIET_ROUTES else level)(
            "http.request",
            method=method if method in _METHODS else "other",
            route=route,
            status=status,
            seconds=round(seconds, 3),
        )


class _Answer:
    """`send`, with our headers on every answer. `status` is 0 until an answer has begun."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 0
        self.close = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers["x-request-id"] = self.request_id
            if self.close:
                # What was sent along and not read must not be taken for the next request.
                headers["connection"] = "close"
        await self._send(message)


async def _read(scope: Scope, receive: Receive, bytes_max: int) -> bytes:
    declared = Headers(scope=scope).get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > bytes_max:
        raise Refused(413, "body_too_large")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                body += message.get("body", b"")
                if len(body) > bytes_max:
                    raise Refused(413, "body_too_large")
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise Refused(408, "body_too_slow") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once; after that, whatever the client does."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
