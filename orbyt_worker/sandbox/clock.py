"""The sandbox's own time: real time plus an offset that tests and the control API can move.

Token expiry, processing, `publishAt`, quota resets and readiness of renditions all follow this clock, so a day can pass
in a test without waiting for it. Nothing here touches the clock of the worker or of the database.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from orbyt_worker.sandbox.operations import operation


class SandboxClock:
    """Thread-safe. Moves only forward, as the states derived from it do not know how to go back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset = timedelta()
        self._frozen_at: datetime | None = None

    def now(self) -> datetime:
        """Sandbox time, aware, UTC."""
        with self._lock:
            return self._read()

    def timestamp(self) -> float:
        """Sandbox time as Unix seconds."""
        return self.now().timestamp()

    @operation(reads=True)
    def read(self) -> datetime:
        """Sandbox time."""
        return self.now()

    @operation()
    def advance(self, seconds: float) -> datetime:
        """Move sandbox time forward by `seconds`; returns the new time."""
        if seconds < 0:
            raise ValueError("sandbox time only moves forward")
        with self._lock:
            self._shift(timedelta(seconds=seconds))
            return self._read()

    @operation()
    def set(self, at: datetime) -> datetime:
        """Move sandbox time forward to `at` (with a time zone); returns the new time."""
        if at.tzinfo is None:
            raise ValueError("a time needs its zone")
        with self._lock:
            distance = at - self._read()
            if distance < timedelta():
                raise ValueError("sandbox time only moves forward")
            self._shift(distance)
            return self._read()

    @operation()
    def freeze(self) -> datetime:
        """Stop sandbox time until `run`; it then moves by `advance` and `set` only."""
        with self._lock:
            self._frozen_at = self._read()
            return self._frozen_at

    @operation()
    def run(self) -> datetime:
        """Let sandbox time go on from where it stands."""
        with self._lock:
            if self._frozen_at is not None:
                self._offset = self._frozen_at - datetime.now(UTC)
                self._frozen_at = None
            return self._read()

    def reset(self) -> None:
        """Back to real time; only together with a reset of all state."""
        with self._lock:
            self._offset = timedelta()
            self._frozen_at = None

    def _read(self) -> datetime:
        return self._frozen_at if self._frozen_at is not None else datetime.now(UTC) + self._offset

    def _shift(self, distance: timedelta) -> None:
        if self._frozen_at is not None:
            self._frozen_at += distance
        else:
            self._offset += distance
