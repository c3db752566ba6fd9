"""Renewing the token of Instagram Login ("Refresh Access Token" reference, read 2026-09).

One token for everything, 60 days long, renewed by itself: at least 24 hours old, not expired, `instagram_business_basic` still
granted. The endpoint has no version in its path. With Facebook Login there is nothing to renew: a Page token has no end, and the
user token behind it is renewed by logging in.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import ApiResponse, Credentials, Http, TokenGrant
from orbyt_worker.settings import Settings

REFRESH_TIMEOUT_SECONDS = 20.0
NAME = "instagram.token.refresh"
SECONDS_MAX = 10 * 365 * 86_400.0
# What may be wrong with a token that cannot be renewed and is none of 190's reasons: too young, most of all. Its own code is
# not documented. The token stays in use; asking again before a day has passed changes nothing.
NOT_NOW_SECONDS = 86_400.0


async def refresh(http: Http, config: Settings, credentials: Credentials, now: datetime | None = None) -> TokenGrant:
    """60 more days. Safe to repeat and to do twice at once: the old token works until its own end.

    Raises Failure: meta_token_… (the person has to reconnect), instagram_token_not_renewed (nothing to do: the token is too young),
    meta_error_transient, network_….
    """
    token = credentials.access_token
    if token is None:
        raise Failure(ErrorCode.META_TOKEN_INVALID, "the grant has no token")
    response = await http.call(
        NAME,
        "GET",
        f"{config.instagram_graph_url.rstrip('/')}/refresh_access_token",
        timeout_seconds=REFRESH_TIMEOUT_SECONDS,
        params={"grant_type": "ig_refresh_token"},
        # Never in the address. The host takes it as a header for all of its calls.
        headers={"authorization": f"Bearer {token}"},
    )
    answer = response.json if isinstance(response.json, dict) else {}
    if response.status != 200 or "error" in answer:
        raise _refusal(response, now or datetime.now(UTC))
    renewed = answer.get("access_token")
    if not isinstance(renewed, str) or not renewed:
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{NAME}: HTTP 200 without a token", http_status=200)
    return TokenGrant(renewed, _seconds(answer.get("expires_in")), scopes=_scopes(answer.get("permissions")))


def _refusal(response: ApiResponse, now: datetime) -> Failure:
    failure = graph_api.failure_of("instagram", NAME, response, now, phase=graph_api.CallPhase.READ)
    if failure.code is ErrorCode.META_PARAMETER_INVALID:
        return Failure(
            ErrorCode.INSTAGRAM_TOKEN_NOT_RENEWED,
            failure.detail,
            retry_after_seconds=NOT_NOW_SECONDS,
            platform_code=failure.platform_code,
            platform_subcode=failure.platform_subcode,
            http_status=failure.http_status,
        )
    return failure


def _seconds(value: Any) -> float | None:
    """Normally 5,184,000; nonsense is "not known"."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < SECONDS_MAX else None


def _scopes(value: Any) -> tuple[str, ...] | None:
    """`permissions` as a list or as words with commas; documentation shows both."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list):
        return None
    found = tuple(each.strip() for each in value if isinstance(each, str) and each.strip())
    return found or None
