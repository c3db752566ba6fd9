"""The HTTP side shared by all simulators: real connections that can be cut, the request log, faults around handlers.

A cut is real: the TCP connection is closed under the client, without an HTTP answer. uvicorn has no word for that, so
its protocol class is extended by a register of open transports (`TrackedProtocol`), found again by the peer's address.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from orbyt_worker.sandbox.faults import ARRIVAL_KINDS, Fault
from orbyt_worker.sandbox.operations import operation

if TYPE_CHECKING:
    from orbyt_worker.sandbox.state import Sandbox

Handler = Callable[[Request], Awaitable[Response]]
Envelope = Callable[[int, str | None, str | None], Any]

REQUESTS_KEPT_MAX = 20_000
FORM_BYTES_MAX = 64 * 1024
JSON_BYTES_MAX = 1024 * 1024

_ENTRY = "orbyt.sandbox.entry"
HTML_ERROR = "<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Server Error</h1><p>Please try again.</p></body></html>"


class Refusal(Exception):
    """Raised by a handler to answer at once."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"refused with {response.status_code}")
        self.response = response


class Connections:
    """Open transports by peer address, and the one way to cut them."""

    def __init__(self) -> None:
        self._transports: dict[tuple[str, int], asyncio.Transport] = {}
        self._stopping = asyncio.Event()

    def opened(self, peer: tuple[str, int], transport: asyncio.Transport) -> None:
        self._transports[peer] = transport

    def closed(self, peer: tuple[str, int]) -> None:
        self._transports.pop(peer, None)

    def cut(self, scope: Scope, *, reset: bool = False) -> None:
        """Close the connection under the client, unsent bytes included; `reset` makes it a TCP reset."""
        transport = self._find(scope)
        if transport is None:
            return
        if reset:
            raw = transport.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def close(self, scope: Scope) -> None:
        """Close the connection after everything written so far has been sent."""
        transport = self._find(scope)
        if transport is not None:
            transport.close()

    def is_open(self, scope: Scope) -> bool:
        """Whether the client is still there; uvicorn drops what is sent after it left, without saying so."""
        transport = self._find(scope)
        return transport is not None and not transport.is_closing()

    def _find(self, scope: Scope) -> asyncio.Transport | None:
        client = scope.get("client")
        return self._transports.get((client[0], client[1])) if client else None

    async def pause(self, seconds: float) -> None:
        """Wait in real time; ends early when the server stops."""
        try:
            await asyncio.wait_for(self._stopping.wait(), timeout=seconds)
        except TimeoutError:
            return

    def stop(self) -> None:
        """Wake every pause and cut what is still open."""
        self._stopping.set()
        for transport in list(self._transports.values()):
            transport.abort()


@cache
def tls_context() -> ssl.SSLContext:
    """For what the simulators fetch themselves. Made once: reading the certificates takes longer than most downloads here, and the
    simulators wait meanwhile."""
    return ssl.create_default_context()


def tracked_protocol(connections: Connections) -> type[asyncio.Protocol]:
    """uvicorn's HTTP/1.1 protocol, registering its connections."""

    class TrackedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if self.client is not None:
                connections.opened(self.client, transport)

        def connection_lost(self, exc: Exception | None) -> None:
            if self.client is not None:
                connections.closed(self.client)
            super().connection_lost(exc)

    return TrackedProtocol


class Cut(Response):
    """Instead of an answer: the connection is cut."""

    def __init__(self, connections: Connections, *, reset: bool = False) -> None:
        super().__init__()
        self._connections = connections
        self._reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._connections.cut(scope, reset=self._reset)
        log_entry(scope).cut = True
        # uvicorn must learn of the loss before the handler returns, or it would report a missing answer.
        while (await receive())["type"] != "http.disconnect":
            continue


def secret_hash(value: str) -> str:
    """A stand-in by which two uses of one secret can be recognised without keeping it."""
    return "sha256:" + hashlib.sha256(value.encode()).hexdigest()[:16]


@dataclass(slots=True)
class LoggedRequest:
    """What a client sent, without what it must keep secret."""

    number: int
    at: datetime
    method: str
    path: str
    route: str | None = None
    query_names: list[str] = field(default_factory=list)
    header_names: list[str] = field(default_factory=list)
    authorization_hash: str | None = None
    content_type: str | None = None
    content_length: str | None = None
    content_range: str | None = None
    range: str | None = None
    status: int | None = None
    fault: str | None = None
    cut: bool = False
    bytes_received: int = 0
    bytes_sent: int = 0
    in_flight: bool = True


class RequestLog:
    """A bounded log; the newest stay. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._entries: deque[LoggedRequest] = deque(maxlen=REQUESTS_KEPT_MAX)
        self._count = 0

    def start(self, at: datetime, scope: Scope) -> LoggedRequest:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        authorization = headers.get("authorization")
        with self._lock:
            self._count += 1
            entry = LoggedRequest(
                number=self._count,
                at=at,
                method=scope["method"],
                path=scope["path"],
                query_names=[
                    name for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
                ],
                header_names=sorted(headers),
                authorization_hash=secret_hash(authorization) if authorization else None,
                content_type=headers.get("content-type"),
                content_length=headers.get("content-length"),
                content_range=headers.get("content-range"),
                range=headers.get("range"),
            )
            self._entries.append(entry)
            return entry

    def end(self, entry: LoggedRequest) -> None:
        """The request was worked off, whether or not anybody waited for its answer."""
        with self._ended:
            entry.in_flight = False
            self._ended.notify_all()

    @operation(reads=True)
    def wait_idle(self, seconds: float = 10.0) -> bool:
        """Wait (in real time) until no request is being worked on, also none whose client has gone; False when that takes longer."""
        with self._ended:
            return self._ended.wait_for(lambda: not any(each.in_flight for each in self._entries), seconds)

    @operation(reads=True)
    def list(
        self, route: str | None = None, method: str | None = None, path_contains: str | None = None, limit: int = 1000
    ) -> list[LoggedRequest]:
        """The newest `limit` requests, oldest first; `route` may be a prefix. Control calls are not logged."""
        with self._lock:
            found = [
                entry
                for entry in self._entries
                if (route is None or (entry.route is not None and (entry.route + ".").startswith(route + ".")))
                and (method is None or entry.method == method)
                and (path_contains is None or path_contains in entry.path)
            ]
        return found[-limit:]

    @operation(reads=True)
    def count(self, route: str | None = None, method: str | None = None, path_contains: str | None = None) -> int:
        """How many requests are in the log."""
        return len(self.list(route, method, path_contains, REQUESTS_KEPT_MAX))

    @operation()
    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._entries.clear()

    def reset(self) -> None:
        """Forget all requests."""
        self.clear()


class LoggingApp:
    """Outermost ASGI layer: writes the request log, except for the control API."""

    def __init__(self, app: ASGIApp, sandbox: Sandbox) -> None:
        self._app = app
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_control"):
            await self._app(scope, receive, send)
            return
        entry = self._sandbox.requests.start(self._sandbox.clock.now(), scope)
        scope[_ENTRY] = entry

        async def logged_receive() -> Message:
            message = await receive()
            entry.bytes_received += len(message.get("body", b""))
            return message

        async def logged_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.status = message["status"]
            else:
                entry.bytes_sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, logged_receive, logged_send)
        finally:
            self._sandbox.requests.end(entry)


def log_entry(scope: Scope) -> LoggedRequest:
    """The entry of the request being served, for what only its handler knows."""
    entry = scope[_ENTRY]
    assert isinstance(entry, LoggedRequest)
    return entry


def route(
    sandbox: Sandbox,
    method: str,
    path: str,
    name: str | Callable[[Request], str],
    handler: Handler,
    *,
    head: bool = False,
) -> Route:
    """A route of a simulator: named (faults and log go by the name), with faults around the handler."""

    async def endpoint(request: Request) -> Response:
        return await serve(sandbox, request, name if isinstance(name, str) else name(request), handler)

    built = Route(path, endpoint, methods=[method])
    # Starlette adds HEAD to every GET route; only hosts of files answer it here.
    built.methods = {method, "HEAD"} if head else {method}
    return built


async def serve(sandbox: Sandbox, request: Request, route_name: str, handler: Handler) -> Response:
    """Answer under a route name known only now, e.g. because the body decides it; faults and log go by the name."""
    entry = log_entry(request.scope)
    entry.route = route_name
    fault = sandbox.faults.take(route_name, ARRIVAL_KINDS, method=request.method, path=request.url.path)
    entry.fault = fault.kind if fault else None
    request.state.fault = fault
    request.state.route = route_name
    return await _answer(sandbox, request, handler, fault)


async def _answer(sandbox: Sandbox, request: Request, handler: Handler, fault: Fault | None) -> Response:
    if fault is not None:
        if fault.kind == "drop_before":
            return Cut(sandbox.connections)
        if fault.kind in {"hang", "slow"}:
            await sandbox.connections.pause(fault.seconds)
        if fault.kind == "hang" and not fault.process:
            return Cut(sandbox.connections)
        if fault.kind == "status" and not fault.process:
            await drain(request)
            return fault_answer(sandbox, request.state.route, fault)
        if fault.kind == "token_expired":
            sandbox.google.expire_bearer(request.headers.get("authorization", ""))
    response = await _handled(sandbox, request, handler)
    if fault is not None:
        if fault.kind in {"drop_after", "hang"}:
            return Cut(sandbox.connections)
        if fault.kind == "status":
            return fault_answer(sandbox, request.state.route, fault)
    return response


async def _handled(sandbox: Sandbox, request: Request, handler: Handler) -> Response:
    try:
        return await handler(request)
    except Refusal as refusal:
        return refusal.response
    except ClientDisconnect:
        return Cut(sandbox.connections)
    except Exception as error:
        # A mistake in the sandbox itself must not pass for an outage of the platform: tests look at this list.
        sandbox.note_internal_error(request.state.route, error)
        raise


def fault_answer(sandbox: Sandbox, route_name: str, fault: Fault) -> Response:
    """The answer of a `status` fault, in the error shape of the platform unless the rule says otherwise."""
    headers = dict(fault.headers)
    if fault.json is not None:
        return JSONResponse(fault.json, status_code=fault.status, headers=headers)
    envelope = sandbox.envelope_of(route_name)
    if fault.body == "html" or (fault.body == "envelope" and envelope is None):
        return HTMLResponse(HTML_ERROR, status_code=fault.status, headers=headers)
    if fault.body == "empty" or envelope is None:
        return Response(status_code=fault.status, headers=headers)
    return JSONResponse(envelope(fault.status, fault.reason, fault.message), status_code=fault.status, headers=headers)


async def drain(request: Request) -> int:
    """Read and forget the rest of the body, as the real front ends do before they answer an error; its size in bytes."""
    size = 0
    if not getattr(request.state, "body_read", False):
        async for piece in request.stream():
            size += len(piece)
        request.state.body_read = True
    return size


async def read_body(request: Request, bytes_max: int) -> bytes | None:
    """The body, or None when it is longer than `bytes_max` (it is then read to its end and forgotten)."""
    kept = bytearray()
    too_long = False
    async for piece in request.stream():
        too_long = too_long or len(kept) + len(piece) > bytes_max
        if not too_long:
            kept += piece
    request.state.body_read = True
    return None if too_long else bytes(kept)


async def read_form(request: Request) -> Mapping[str, str] | None:
    """A form-urlencoded body as a mapping; None when it is anything else or names a field twice."""
    body = await read_body(request, FORM_BYTES_MAX)
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if body is None or content_type != "application/x-www-form-urlencoded":
        return None
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body))
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None
