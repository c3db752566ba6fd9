"""Google's token endpoint, the refresh part ("Using OAuth 2.0 for Web Server Applications", Google Identity).

Google does not rotate refresh tokens: normally none comes back and the stored one stays. Every `invalid_grant` on a
refresh is final for that token whatever its description says; everything that is not a clear refusal (5xx, HTML, a 200
without a token) is trouble on Google's side and no reason to disconnect anybody.
"""

from __future__ import annotations

from typing import Any

from orbyt_worker.errors.catalog import classify
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.base import ApiResponse, Credentials, Http, TokenGrant
from orbyt_worker.settings import Settings

REFRESH_TIMEOUT_SECONDS = 20.0
NAME = "google.token.refresh"
WORD_CHARACTERS_MAX = 64
# Besides 5xx; what Google's own library repeats (PyPI google-auth 2.62.2).
TRANSIENT_STATUSES = frozenset({408, 429})


async def refresh(http: Http, config: Settings, credentials: Credentials) -> TokenGrant:
    """A new access token. Safe to repeat and to do twice at once: older access tokens stay valid.

    Raises Failure: google_grant_invalid (the person has to reconnect), google_client_…, google_admin_policy,
    google_reauth_required, google_token_unavailable (try again), network_….
    """
    if credentials.refresh_token is None:
        raise Failure(ErrorCode.GOOGLE_GRANT_INVALID, "the grant has no refresh token")
    if config.google_client_id is None or config.google_client_secret is None:
        raise Failure(ErrorCode.PLATFORM_NOT_CONFIGURED, "the Google client id or secret is not set")
    response = await http.call(
        NAME,
        "POST",
        config.google_token_url,
        timeout_seconds=REFRESH_TIMEOUT_SECONDS,
        form={
            "grant_type": "refresh_token",
            "refresh_token": credentials.refresh_token,
            "client_id": config.google_client_id,
            "client_secret": config.google_client_secret.get_secret_value(),
        },
    )
    answer: dict[str, Any] = response.json if isinstance(response.json, dict) else {}
    if response.status != 200:
        raise refusal(NAME, response)
    access_token = answer.get("access_token")
    if not isinstance(access_token, str) or not access_token:
        raise Failure(ErrorCode.GOOGLE_TOKEN_UNAVAILABLE, f"{NAME}: HTTP 200 without a token", http_status=200)
    scope = answer.get("scope")
    return TokenGrant(
        access_token,
        _seconds(answer.get("expires_in")),
        refresh_token=_word(answer.get("refresh_token"), None),
        scopes=tuple(scope.split()) if isinstance(scope, str) and scope else None,
    )


def refusal(name: str, response: ApiResponse, *, qualifier: str | None = None) -> Failure:
    """The Failure for an answer of Google's token endpoint that is not 200. `name` and `qualifier` say which call it was."""
    answer: dict[str, Any] = response.json if isinstance(response.json, dict) else {}
    error, subtype = (
        _word(answer.get("error"), WORD_CHARACTERS_MAX),
        _word(answer.get("error_subtype"), WORD_CHARACTERS_MAX),
    )
    if error is None or response.status in TRANSIENT_STATUSES or response.status >= 500:
        # Server trouble, or not an OAuth answer at all (an error page of the front end): nothing was refused.
        code = ErrorCode.GOOGLE_TOKEN_UNAVAILABLE
    else:
        code = classify("google", http_status=response.status, reason=error, subcode=subtype, qualifier=qualifier)
    return Failure(
        code,
        f"{name}: HTTP {response.status}" + (f", {error}" if error else ""),
        platform_code=error,
        platform_subcode=subtype,
        http_status=response.status,
    )


def _word(value: Any, characters_max: int | None) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    return value if characters_max is None else value[:characters_max]


def _seconds(value: Any) -> float | None:
    """Normally 3599, but Google documents no fixed number. Text is accepted as well; nonsense is "not known"."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < 10 * 365 * 86_400 else None
