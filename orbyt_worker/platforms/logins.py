"""What all logins share while an account is connected: the one call that is never repeated, and what its failures mean.

A code is single-use. "If an authorization code is used more than once, the authorization server MUST deny the request and SHOULD
revoke […] all tokens previously issued based on that code" (RFC 6749, section 4.1.2): after a lost answer a second try could only end
what the first one won, so the person starts again. Reads that follow are harmless, and all that is left of the grant is in memory:
one that got lost is asked once more.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.base import ApiResponse, Http

EXCHANGE_SECONDS = 30.0
NAME_CHARACTERS_MAX = 200
PICTURE_CHARACTERS_MAX = 2_048
SCOPES_MAX = 200
SCOPE_CHARACTERS_MAX = 200
EXPIRY_SECONDS_MAX = 10 * 365 * 86_400.0
# Marks that turn the direction of the text around them: a name must not rearrange the sentence it stands in. Source: Unicode
# Standard Annex #9, sections 2.1 to 2.5, and Technical Report 36, section 2.4.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

LOST = frozenset({ErrorCode.NETWORK_TIMEOUT, ErrorCode.NETWORK_UNREACHABLE, ErrorCode.NETWORK_TLS})
# Trouble on the other side that says nothing about the person, the account or this installation.
TROUBLE = frozenset(
    {
        ErrorCode.PLATFORM_UNAVAILABLE,
        ErrorCode.PLATFORM_ANSWER_INVALID,
        ErrorCode.GOOGLE_TOKEN_UNAVAILABLE,
        ErrorCode.META_ERROR_TRANSIENT,
        ErrorCode.META_SERVICE_UNAVAILABLE,
    }
)
_Answer = TypeVar("_Answer")


def utc_now() -> datetime:
    """For expiry and signatures only: nothing is due by it."""
    return datetime.now(UTC)


async def exchange_code(http: Http, name: str, url: str, form: Mapping[str, str]) -> ApiResponse:
    """POST the code, once. Raises Failure(connect_interrupted) when no answer came: whether the code was taken is not known."""
    try:
        return await http.call(name, "POST", url, timeout_seconds=EXCHANGE_SECONDS, form=form)
    except Failure as failure:
        raise as_connect_failure(failure) from None


async def asked_twice(call: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """The answer of a call that may be repeated. Only what was lost, and trouble, is asked a second time, at once."""
    try:
        return await call()
    except Failure as failure:
        if failure.code not in LOST | TROUBLE:
            raise
    return await call()


def as_connect_failure(failure: Failure) -> Failure:
    """What a failure means while connecting: no account is affected, no post waits, and the person can start again.

    Codes that name who has to act (the operator's credentials, a quota, a missing channel) stay as they are. None of a
    dead grant does: there is no account yet that it could be about.
    """
    code = failure.code
    if code in LOST:
        code = ErrorCode.CONNECT_INTERRUPTED
    elif code in TROUBLE or code is ErrorCode.PLATFORM_ERROR_UNMAPPED or catalog.entry(code).needs_reauth:
        code = ErrorCode.CONNECT_PLATFORM_REFUSED
    if code is failure.code:
        return failure
    return Failure(
        code,
        failure.detail,
        retry_after_seconds=failure.retry_after_seconds,
        platform_code=failure.platform_code,
        platform_subcode=failure.platform_subcode,
        http_status=failure.http_status,
    )


def require_scopes(needed: Mapping[str, str], granted: Iterable[str]) -> None:
    """Raises Failure(connect_scopes_missing): what was left out, and what could be done with the rest.

    `needed`: scope -> what it is for, in words for the person who left it out.
    """
    given = set(granted)
    missing = [scope for scope in needed if scope not in given]
    if not missing:
        return
    lost = ", ".join(f"{_short(scope)} ({needed[scope]})" for scope in missing)
    left = ", ".join(needed[scope] for scope in needed if scope in given)
    raise Failure(ErrorCode.CONNECT_SCOPES_MISSING, f"not given: {lost}; still possible: {left or 'nothing'}")


def _short(scope: str) -> str:
    """Google's scopes are addresses."""
    return scope.rpartition("/")[2]


# Reading answers -------------------------------------------------------------------------------------------------------


def mapping(value: Any) -> Mapping[str, Any]:
    """An object of an answer, empty when it is missing or something else."""
    return value if isinstance(value, dict) else {}


def secret(value: Any) -> str | None:
    """A token as it stands, of any length; None when it is missing."""
    return value if isinstance(value, str) and value else None


def identifier(value: Any) -> str | None:
    """An id, which some answers give as a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and 0 < len(value) <= NAME_CHARACTERS_MAX and value.isprintable() else None


def name_of(value: Any) -> str | None:
    """A name for people: one line, cut where it is too long, of characters that can be shown and stored (Postgres takes no NUL
    and no half of a surrogate pair: one such Page would cost the person the whole login)."""
    if not isinstance(value, str):
        return None
    shown = "".join(_shown(each) for each in value[: 2 * NAME_CHARACTERS_MAX])
    return " ".join(shown.split())[:NAME_CHARACTERS_MAX] or None


def _shown(character: str) -> str:
    kind = unicodedata.category(character)
    return " " if kind == "Cc" else "" if kind == "Cs" or character in _TURNING else character


def picture_of(value: Any) -> str | None:
    """The https address of a picture, None for anything else."""
    if not isinstance(value, str) or len(value) > PICTURE_CHARACTERS_MAX or not value.isprintable():
        return None
    try:
        return value if urlsplit(value).scheme == "https" else None
    except ValueError:
        return None


def seconds_of(value: Any) -> float | None:
    """Seconds until something ends; text is read as well, and nonsense is "not known"."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and 0 < seconds < EXPIRY_SECONDS_MAX else None


def words(value: Any) -> tuple[str, ...] | None:
    """Scopes: a list of words, or a text of words between spaces or commas. None when there are none."""
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, list):
        return None
    found = [each.strip() for each in value[:SCOPES_MAX] if isinstance(each, str)]
    return (
        tuple(dict.fromkeys(each for each in found if 0 < len(each) <= SCOPE_CHARACTERS_MAX and each.isprintable()))
        or None
    )
