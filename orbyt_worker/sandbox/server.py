"""One server, one port, all simulators: started in a thread by tests, in the foreground by `orbyt-worker sandbox`.

It binds to loopback only and refuses to run beside ORBYT_ENVIRONMENT=production.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette

from orbyt_worker.sandbox.control import control_routes
from orbyt_worker.sandbox.state import Sandbox
from orbyt_worker.sandbox.wire import LoggingApp, tracked_protocol

START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 20.0
# Longer than the pools of common clients keep an idle connection, so that only injected faults cut one.
_KEEP_ALIVE_SECONDS = 75


class SandboxRefused(RuntimeError):
    """The sandbox must not run here: production, or an address others can reach."""


class _Server(uvicorn.Server):
    """uvicorn, saying when it is ready and cutting what still hangs when it stops."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event, sandbox: Sandbox) -> None:
        super().__init__(config)
        self._ready = ready
        self._sandbox = sandbox

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._sandbox.connections.stop()
        await super().shutdown(sockets=sockets)


class SandboxServer:
    """The simulators at `url`, their state at `state`.

    `with SandboxServer() as server:` or `async with`, or `start` and `stop`. Port 0 takes a free one. A server runs once.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        if os.environ.get("ORBYT_ENVIRONMENT", "").strip().lower() == "production":
            raise SandboxRefused("the sandbox does not start with ORBYT_ENVIRONMENT=production")
        if not ipaddress.ip_address("127.0.0.1" if host == "localhost" else host).is_loopback:
            raise SandboxRefused(f"the sandbox binds to loopback only, not to {host}")
        self._host = "127.0.0.1" if host == "localhost" else host
        self._port = port
        self.state = Sandbox()
        self._ready = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Base address without a slash at the end; known once started."""
        if not self.state.base_url:
            raise RuntimeError("the sandbox is not started")
        return self.state.base_url

    def settings_env(self) -> dict[str, str]:
        """Environment variables that make a worker talk to this sandbox: hosts, client credentials, signing key."""
        return self.state.settings_env()

    def start(self) -> Self:
        """Serve in a thread; returns when requests are answered. Raises OSError when the port is taken."""
        sock, server = self._prepare()
        self._thread = threading.Thread(target=self._run, args=(server, sock), name="orbyt-sandbox", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_SECONDS_MAX):
            raise TimeoutError("the sandbox did not start")
        return self

    def stop(self) -> None:
        """Stop serving, cutting open connections; safe to call twice."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(STOP_SECONDS_MAX)
            if self._thread.is_alive():
                raise TimeoutError("the sandbox did not stop")
            self._thread = None

    def run_forever(self, on_ready: Callable[[SandboxServer], None] | None = None) -> None:
        """Serve in the foreground until SIGINT or SIGTERM; `on_ready` is called once the address is bound."""
        sock, server = self._prepare()
        if on_ready is not None:
            on_ready(self)
        self._run(server, sock)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _prepare(self) -> tuple[socket.socket, _Server]:
        if self._server is not None:
            raise RuntimeError("a sandbox server runs once")
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # With the protocol named, asyncio sets TCP_NODELAY: without, an answer's body waits 40 ms for the client's acknowledgement.
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self._host, self._port))
            sock.listen(512)
        except OSError:
            sock.close()
            raise
        shown = f"[{self._host}]" if family == socket.AF_INET6 else self._host
        self.state.base_url = f"http://{shown}:{sock.getsockname()[1]}"
        app = Starlette(routes=[*self.state.routes(), *control_routes(self.state)])
        config = uvicorn.Config(
            LoggingApp(app, self.state),
            http=tracked_protocol(self.state.connections),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config, self._ready, self.state)
        return sock, self._server

    @staticmethod
    def _run(server: _Server, sock: socket.socket) -> None:
        with sock:
            server.run(sockets=[sock])


def run_forever(
    host: str = "127.0.0.1", port: int = 0, on_ready: Callable[[SandboxServer], None] | None = None
) -> None:
    """`orbyt-worker sandbox`: serve until stopped by a signal."""
    SandboxServer(host, port).run_forever(on_ready)
