"""Reading YouTube's error answers, whatever their shape."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.platforms.base import ApiResponse
from orbyt_worker.platforms.youtube.errors import failure_of, parse

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "errors", "reason", "details", "metadata", "message", "status", "quota_limit"]),
            children,
        )
    ),
    max_leaves=20,
)


@given(status=st.integers(300, 599), body=JSON)
def test_any_answer_becomes_a_failure(status: int, body: Any) -> None:
    failure = failure_of("youtube.test", ApiResponse(status, {}, body), NOW)
    assert failure.http_status == status
    assert isinstance(failure.code, ErrorCode)
    assert failure.detail.startswith(f"youtube.test: HTTP {status}")


def test_reasons_in_order_of_their_worth() -> None:
    body = {
        "error": {
            "errors": [{"reason": "unheardOf"}, {"reason": "quotaExceeded"}],
            "details": [{"reason": "RATE_LIMIT_EXCEEDED"}],
            "status": "PERMISSION_DENIED",
        }
    }
    assert parse(ApiResponse(403, {}, body)).reasons == (
        "unheardOf",
        "quotaExceeded",
        "RATE_LIMIT_EXCEEDED",
        "PERMISSION_DENIED",
    )
    failure = failure_of("x", ApiResponse(403, {}, body), NOW)
    assert (failure.code, failure.platform_code) == (ErrorCode.YOUTUBE_QUOTA_EXHAUSTED, "quotaExceeded")


@pytest.mark.parametrize(
    "message", ["… and limit 'Video Uploads per day' of …", "VIDEO UPLOADS PER DAY", "limit per Day"]
)
def test_per_day_in_the_message(message: str) -> None:
    assert parse(
        ApiResponse(429, {}, {"error": {"message": message, "errors": [{"reason": "rateLimitExceeded"}]}})
    ).per_day


@pytest.mark.parametrize(
    "limit", ["VideoUploadsPerDayPerProject", "default_per_day_per_project", "defaultPerDayPerProject"]
)
def test_per_day_in_the_details(limit: str) -> None:
    body = {"error": {"details": [{"reason": "RATE_LIMIT_EXCEEDED", "metadata": {"quota_limit": limit}}]}}
    assert parse(ApiResponse(429, {}, body)).per_day


def test_message_text_decides_nothing_else() -> None:
    body = {"error": {"code": 400, "message": "quotaExceeded uploadLimitExceeded invalidTitle"}}
    assert failure_of("x", ApiResponse(400, {}, body), NOW).code is ErrorCode.PLATFORM_ERROR_UNMAPPED


def test_no_free_text_gets_into_a_row() -> None:
    body = {
        "error": {
            "message": "planted-secret",
            "errors": [{"reason": "see https://example.com/?token=planted-secret", "message": "planted-secret"}],
        }
    }
    failure = failure_of("x", ApiResponse(403, {}, body, b"planted-secret"), NOW)
    assert "planted-secret" not in f"{failure} {failure.detail} {failure.platform_code}"


def test_retry_after_is_handed_on() -> None:
    assert failure_of("x", ApiResponse(503, {"retry-after": "30"}), NOW).retry_after_seconds == 30.0
