"""A test marked `alone` runs while no other test process runs one: for the few whose bound is a time.

Two locks, both files: the turnstile, which everybody passes one by one, and the room. Who wants to be alone keeps the turnstile
closed while the room empties. Locks of a process that dies are gone with it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Around the time limit of a test as well: waiting for the others is not the test's time."""
    directory = item.config.cache.mkdir("alone")
    turnstile, room = directory / "turnstile", directory / "room"
    if item.get_closest_marker("alone") is not None:
        with locked(turnstile), locked(room):
            return (yield)
    with ExitStack() as inside:
        with locked(turnstile):
            inside.enter_context(locked(room, shared=True))
        return (yield)
