"""The directory of one spool: private, locked while its process lives, cleaned up by whoever starts next.

Files are unlinked the moment they are created, so the kernel frees them however the process ends; what is left to clean up
is an empty directory, or a file created in the instant before a kill.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from pathlib import Path

_LOCK_NAME = "lock"
_PREFIX = "worker-"


class SpoolDirectory:
    """Blocking calls throughout: run them in a thread."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._own: Path | None = None
        self._lock_fd = -1

    def open(self) -> None:
        """Create and lock a directory of our own; remove those whose owner is gone. Raises OSError."""
        self._base.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = self._base.stat().st_uid
        if owner not in {0, os.geteuid()}:
            raise PermissionError(f"the spool directory belongs to user {owner}: choose another one")
        # While this is held, nobody can take a directory that is made but not yet locked for one left behind.
        base_lock = _locked(self._base / ".lock", wait=True)
        try:
            for each in self._base.glob(f"{_PREFIX}*"):
                _remove_if_left_behind(each)
            own = self._base / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
            own.mkdir(mode=0o700)
            self._lock_fd = _locked(own / _LOCK_NAME, wait=False)
            self._own = own
        finally:
            os.close(base_lock)

    def create_file(self) -> int:
        """A new, already nameless file for reading and writing, mode 0600. Raises OSError."""
        assert self._own is not None
        path = self._own / secrets.token_hex(16)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        path.unlink()
        return fd

    def close(self) -> None:
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            os.close(self._lock_fd)
            self._own = None


def _locked(path: Path, *, wait: bool) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove_if_left_behind(directory: Path) -> None:
    """The lock of a living process cannot be taken, not even by another part of the same process."""
    try:
        fd = _locked(directory / _LOCK_NAME, wait=False)
    except BlockingIOError:
        return
    except OSError:
        fd = -1  # not ours to read, or no directory: removing is tried, and may fail as well
    shutil.rmtree(directory, ignore_errors=True)
    if fd >= 0:
        with contextlib.suppress(OSError):
            os.close(fd)
