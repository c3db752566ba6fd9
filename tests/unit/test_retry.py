"""What is decided about a failure: from the catalog, the number of failures, what was asked for, and chance."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker.errors import catalog
from orbyt_worker.errors.catalog import RetryMode
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.publishing.retry import WAIT_SECONDS_MAX, Action, decide


@given(
    code=st.sampled_from(ErrorCode),
    failures=st.integers(0, 60),
    attempt=st.integers(1, 10_000),
    asked=st.none() | st.floats(0, 1e7),
    seed=st.integers(),
)
def test_every_decision_is_bounded_and_follows_the_catalog(
    code: ErrorCode, failures: int, attempt: int, asked: float | None, seed: int
) -> None:
    entry = catalog.entry(code)
    decision = decide(entry, failures=failures, attempt=attempt, retry_after_seconds=asked, rng=random.Random(seed))
    assert 0 <= decision.seconds <= WAIT_SECONDS_MAX
    if entry.holds:
        assert decision.action is Action.HOLD
    elif entry.retry.mode is RetryMode.NEVER or (entry.counts_as_attempt and failures + 1 >= entry.retry.max_attempts):
        assert decision.action is Action.FAIL
    else:
        assert decision.action is Action.RETRY
        assert decision.counts == entry.counts_as_attempt
        if asked is None:
            assert decision.seconds <= entry.retry.cap_seconds
        else:
            assert decision.seconds >= min(asked, WAIT_SECONDS_MAX)


def test_pauses_grow_and_are_spread() -> None:
    entry = catalog.entry(ErrorCode.STEP_TIMEOUT)
    rng = random.Random(1)
    means = []
    for failures in range(4):
        waits = [
            decide(entry, failures=failures, attempt=1, retry_after_seconds=None, rng=rng).seconds for _ in range(200)
        ]
        assert len(set(waits)) > 100
        means.append(sum(waits) / len(waits))
    assert means == sorted(means)


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.YOUTUBE_UPLOADS_PER_DAY_EXHAUSTED,
        ErrorCode.PLATFORM_UNAVAILABLE,
        ErrorCode.MEDIA_NOT_READY,
        ErrorCode.NETWORK_TIMEOUT,
    ],
)
def test_waiting_that_is_not_the_jobs_fault_costs_no_attempt(code: ErrorCode) -> None:
    decision = decide(catalog.entry(code), failures=49, attempt=500, retry_after_seconds=None, rng=random.Random(1))
    assert decision.action is Action.RETRY
    assert decision.counts is False
