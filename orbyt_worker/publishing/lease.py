"""How long this worker may still believe that its jobs are its own.

The database decides when a lease ends; here it is only estimated, on the monotonic clock and always too early: counted
from the moment *before* the renewing statement was sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.base import ApiResponse, Http
from orbyt_worker.runtime import Runtime


class Lease:
    """Shared by the loop (which renews it) and every attempt (which asks before the visible call)."""

    def __init__(self, runtime: Runtime, lease_seconds: float) -> None:
        self._runtime = runtime
        self.lease_seconds = lease_seconds
        self._ends_at = runtime.monotonic()

    def renewed(self, sent_at: float) -> None:
        """The database renewed the lease by a statement sent at monotonic time `sent_at`."""
        self._ends_at = max(self._ends_at, sent_at + self.lease_seconds)

    def remaining_seconds(self) -> float:
        return self._ends_at - self._runtime.monotonic()


class GuardedHttp:
    """The Http of the visible step: a call starts only while the lease outlasts its timeout. A GET harms nobody, however late.

    A worker that was frozen between `begin_publish` and here finds its lease too short and sends nothing; its successor
    waits for lease end plus the call's timeout before it looks at the platform.
    """

    def __init__(self, http: Http, lease: Lease, renew: Callable[[], Awaitable[None]]) -> None:
        self._http = http
        self._lease = lease
        self._renew = renew

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
        if method != "GET":
            if self._lease.remaining_seconds() <= timeout_seconds:
                await self._renew()
            if self._lease.remaining_seconds() <= timeout_seconds:
                raise Failure(ErrorCode.LEASE_TOO_SHORT, name)
        return await self._http.call(
            name,
            method,
            url,
            timeout_seconds=timeout_seconds,
            params=params,
            headers=headers,
            json=json,
            form=form,
            content=content,
            content_length=content_length,
        )
