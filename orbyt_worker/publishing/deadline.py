"""The last resort against a step that hangs inside a living worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure


@contextlib.asynccontextmanager
async def deadline(seconds: float, code: ErrorCode = ErrorCode.STEP_TIMEOUT) -> AsyncIterator[None]:
    """Raises Failure(code) when the body takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Failure(code, f"after {seconds:.0f} s") from None
