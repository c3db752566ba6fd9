"""The injected world: clock, sleep, randomness, ids. Nothing else in the worker reads them directly.

`now()` is only for log lines and for estimating the database clock; what is due, and when a lease ends, is
decided by the database.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

import httpx


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _monotonic() -> float:
    """Seconds that only grow, including the time a laptop sleeps or a virtual machine is suspended: a lease does not wait."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@cache
def tls_context(*, trust_env: bool = True) -> ssl.SSLContext:
    """What httpx makes for every client of its own: reading the certificates takes tens of milliseconds, and once is enough.

    `trust_env`: SSL_CERT_FILE and SSL_CERT_DIR count (HTTPX, "SSL", read 2026-11).
    """
    return httpx.create_ssl_context(trust_env=trust_env)


@dataclass(slots=True)
class Runtime:
    """Production defaults; tests replace single fields.

    `checkpoint(kind, name)` is called right before and right after every external call and every journal
    write (`kind` is one of http.before, http.after, db.before, db.after). In production it does nothing; the
    sandbox can make it kill the process there, which is how the kill tests reach every instruction that matters.
    """

    now: Callable[[], datetime] = _utc_now
    monotonic: Callable[[], float] = _monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: random.Random = field(default_factory=random.SystemRandom)
    new_id: Callable[[], uuid.UUID] = uuid.uuid4
    checkpoint: Callable[[str, str], None] = lambda kind, name: None
