"""Listens, on loopback unless set otherwise. uvicorn, with the bounds that it does not have by itself.

Known of uvicorn 0.54: a client that sends the head of its request byte by byte, or does not read the answer, is waited for as
long as it likes; a head beyond 16 KiB is answered with a text of its own; a taken port ends the process. None of that is good
enough for a door that strangers reach and that shares a process with the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.settings import Settings

# Beyond these uvicorn answers 503 by itself; what the worker publishes must not lack file descriptors.
CONNECTIONS_MAX = 512
# Of one address that is no proxy of ours: one stranger's connections must not keep the probes out.
CONNECTIONS_PER_CLIENT_MAX = 64
# A query of 16 KiB is still answered with a redirect (oauth_answer.QUERY_BYTES_MAX), and so is one that is somewhat longer.
HEAD_BYTES_MAX = 64 * 1024
# From the first byte of a request, or the beginning of its connection, to the last byte of its answer.
REQUEST_SECONDS_MAX = 30.0
IDLE_SECONDS_MAX = 5
# How long a stop waits for answers that are under way.
STOP_SECONDS_MAX = 5
BACKLOG = 128

_log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.http")
# What uvicorn warns of are single requests of strangers, who must not be able to fill the log.
_protocol_log = logging.getLogger("uvicorn.error.protocol")
_protocol_log.setLevel(logging.ERROR)


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, settings: Settings) -> AsyncIterator[list[tuple[str, int]]]:
    """Listens until left; yields the addresses. Raises Failure(http_address_unavailable). Answers under way get a few seconds."""
    sockets = await _bind(settings.http_host, settings.http_port)
    server = _Server(_Config(app, settings))
    task = asyncio.create_task(server.serve(sockets), name="http")
    addresses = [each.getsockname()[:2] for each in sockets]
    _log.info("http.listening", addresses=[f"{host} {port}" for host, port in addresses])
    try:
        yield addresses
    finally:
        server.should_exit = True
        await asyncio.wait({task})
        task.result()


async def _bind(host: str, port: int) -> list[socket.socket]:
    """Every address of this name, as asyncio would. Ours, because uvicorn leaves the process when it cannot."""
    sockets: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            each = socket.socket(family, kind, protocol)
            sockets.append(each)
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            each.bind(address)
            # Now, and not when the server gets there: a second worker with the same port must hear of it.
            each.listen(BACKLOG)
    except OSError as error:
        for each in sockets:
            each.close()
        raise Failure(
            ErrorCode.HTTP_ADDRESS_UNAVAILABLE, f"ORBYT_HTTP_HOST {host}, ORBYT_HTTP_PORT {port}: {error.strerror}"
        ) from error
    return sockets


class _Config(uvicorn.Config):
    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        # Around everything else, so that limits and log lines know the client and not the proxy.
        proxies = ProxyHeadersMiddleware(cast(Any, app), settings.http_trusted_proxies)
        self._trusted = proxies.trusted_hosts
        super().__init__(
            cast(Any, proxies),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=IDLE_SECONDS_MAX,
            timeout_graceful_shutdown=STOP_SECONDS_MAX,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        )

    def is_proxy(self, host: str) -> bool:
        return host in self._trusted


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the worker decides what SIGTERM means."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # uvicorn's own annotation is a private generator type
        yield


class _Protocol(H11Protocol):
    """One connection, with an end to each request."""

    _deadline: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = _protocol_log

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._arm()
        host = self.client[0] if self.client else ""
        if cast(_Config, self.config).is_proxy(host):
            return
        clients = [each.client for each in self.connections if isinstance(each, _Protocol)]
        if sum(1 for each in clients if each is not None and each[0] == host) > CONNECTIONS_PER_CLIENT_MAX:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None:
            self._arm()
        super().data_received(data)

    def on_response_complete(self) -> None:
        # A connection that is being closed still has to get rid of its last bytes.
        if not self.transport.is_closing():
            self._disarm()
        super().on_response_complete()
        if not self.cycle.response_complete:
            # The next one was already there.
            self._arm()

    def timeout_keep_alive_handler(self) -> None:
        self._arm()
        super().timeout_keep_alive_handler()

    def _arm(self) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(REQUEST_SECONDS_MAX, self.transport.abort)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
