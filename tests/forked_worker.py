"""Workers for tests that need hundreds of them: real processes, forked from one that has imported everything already.

A worker started as a program spends most of its first second on imports. Here a server process imports the worker once and
forks; each child has its own environment, its own event loop, and dies of SIGKILL like any other process.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_SECONDS_MAX = 30.0
_context: ForkServerContext | None = None


def _forkserver() -> ForkServerContext:
    global _context
    if _context is None:
        _context = multiprocessing.get_context("forkserver")
        _context.set_forkserver_preload(
            ["orbyt_worker.app", "orbyt_worker.web.app", "orbyt_worker.web.server", "tests.forked_worker"]
        )
    return _context


def _run(environment: Mapping[str, str], log_path: str) -> None:
    """In the child: become `orbyt-worker run` with exactly this environment."""
    from orbyt_worker.app import run_worker
    from orbyt_worker.settings import Settings

    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, sys.__stdout__.fileno() if sys.__stdout__ else 1)
    os.dup2(log, sys.__stderr__.fileno() if sys.__stderr__ else 2)
    for name in [name for name in os.environ if name.startswith("ORBYT_")]:
        del os.environ[name]
    os.environ.update(environment)
    asyncio.run(run_worker(Settings()))


class ForkedWorker:
    """The part of `WorkerProcess` that these tests use. A context manager: killed at the end if it still runs."""

    def __init__(self, environment: Mapping[str, str], log_path: Path) -> None:
        self.log_path = log_path
        self.process: ForkServerProcess = _forkserver().Process(target=_run, args=(dict(environment), str(log_path)))
        self.process.start()

    def wait(self, timeout_seconds: float) -> int | None:
        """Exit code (negative: the signal), or None if it still runs."""
        self.process.join(timeout_seconds)
        return self.process.exitcode

    def log_text(self) -> str:
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    def stop(self) -> int | None:
        """SIGTERM and wait; SIGKILL if it does not obey in time."""
        self.process.terminate()
        if self.wait(STOP_SECONDS_MAX) is None:
            self.kill()
        return self.process.exitcode

    def kill(self) -> None:
        """SIGKILL: nothing is cleaned up, as when a machine dies."""
        if self.process.exitcode is None and self.process.pid is not None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.join(STOP_SECONDS_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.process.close()
