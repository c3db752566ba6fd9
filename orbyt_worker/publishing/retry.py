"""Pure: what to do about a failure. The only place that decides, and it reads the catalog, never the raise site.

Exponential with full jitter; what the other side asked for (Retry-After, a quota reset) takes precedence; waiting that is not
the job's fault costs no attempt.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from orbyt_worker.errors.catalog import Entry, RetryMode

# However long somebody asks us to wait, we look again within a day.
WAIT_SECONDS_MAX = 26 * 3600.0
WAIT_EXPONENT_MAX = 8


class Action(StrEnum):
    RETRY = "retry"
    HOLD = "hold"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Decision:
    """`seconds` is the wait before the next try, and how long the code's scope pauses; of a held job only the latter.

    `counts`: whether it adds to the failures of the job.
    """

    action: Action
    seconds: float = 0.0
    counts: bool = False


def decide(
    entry: Entry, *, failures: int, attempt: int, retry_after_seconds: float | None, rng: random.Random
) -> Decision:
    """`failures`: counted failures before this one. `attempt`: how often the job was taken up, for the pace of free waits."""
    if entry.holds:
        return Decision(Action.HOLD, seconds=entry.pause_seconds)
    if entry.retry.mode is RetryMode.NEVER:
        return Decision(Action.FAIL)
    counts = entry.counts_as_attempt
    if counts and failures + 1 >= entry.retry.max_attempts:
        return Decision(Action.FAIL)
    exponent = failures if counts else min(max(attempt - 1, 0), WAIT_EXPONENT_MAX)
    ceiling = min(entry.retry.cap_seconds, entry.retry.base_seconds * 2.0**exponent)
    seconds = rng.uniform(min(entry.retry.base_seconds, ceiling) / 2, ceiling)
    if retry_after_seconds is not None:
        # Asked for: never earlier; spread a little, so that a thousand jobs do not come back in one second.
        seconds = max(retry_after_seconds, 0.0) * (1.0 + rng.random() * 0.1) + rng.random()
    return Decision(Action.RETRY, seconds=min(seconds, WAIT_SECONDS_MAX), counts=counts)
