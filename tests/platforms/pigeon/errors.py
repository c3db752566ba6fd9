"""Pigeon's error answers → the catalog: HTTP status only, there are no codes."""

from __future__ import annotations

from datetime import datetime

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.base import ApiResponse
from orbyt_worker.platforms.http import retry_after_seconds

_CODES = {
    400: ErrorCode.PLATFORM_REQUEST_INVALID,
    401: ErrorCode.PLATFORM_AUTH_REJECTED,
    429: ErrorCode.PLATFORM_RATE_LIMITED,
}


def failure_of(name: str, response: ApiResponse, now: datetime) -> Failure:
    unknown = ErrorCode.PLATFORM_UNAVAILABLE if response.status >= 500 else ErrorCode.PLATFORM_ERROR_UNMAPPED
    return Failure(
        _CODES.get(response.status, unknown),
        f"{name}: HTTP {response.status}",
        retry_after_seconds=retry_after_seconds(response.headers, now),
        http_status=response.status,
    )
