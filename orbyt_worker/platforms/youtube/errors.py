"""YouTube's error answers → the catalog. The table itself is in errors/catalog.toml; here its keys are read from an answer.

Read order, from the most stable to the least: `error.errors[].reason`, `error.details[].reason`, `error.status`, the
HTTP status ("Errors" and "Core errors" of the YouTube Data API, and google.rpc.ErrorInfo). Answers from Google's front
end may be HTML, empty, or without `errors`. The message is never searched, with one exception: the same reason,
`rateLimitExceeded`, stands for a burst and for the daily upload allowance, and only "per day" in the message (or in
`details[].metadata.quota_limit`) tells them apart (googleapis/google-api-python-client#2753).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orbyt_worker.errors.catalog import classify
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Snooze
from orbyt_worker.platforms.base import ApiResponse, StepContext
from orbyt_worker.platforms.http import retry_after_seconds

UPLOADS = "youtube_uploads"
UNITS = "youtube_units"

# Qualifier of the catalog's rules for the calls of side tasks: what they lack is nothing the account needs for posting.
SIDE = "side"
_THUMBNAIL_DOMAIN = "youtube.thumbnail"

ENTRIES_MAX = 10
REASON_CHARACTERS_MAX = 64

_QUOTA_CODES = frozenset({ErrorCode.YOUTUBE_QUOTA_EXHAUSTED, ErrorCode.YOUTUBE_UPLOADS_PER_DAY_EXHAUSTED})


@dataclass(frozen=True, slots=True)
class ApiError:
    """The documented keys of one error answer. `reasons` most specific first; `per_day` and `thumbnail` are qualifiers."""

    http_status: int
    reasons: tuple[str, ...]
    per_day: bool
    thumbnail: bool = False


def parse(response: ApiResponse) -> ApiError:
    """Read what can be read; anything missing or of another type is left out."""
    error = _mapping(_mapping(response.json).get("error"))
    entries, details = list(_mappings(error.get("errors"))), list(_mappings(error.get("details")))
    found = [each.get("reason") for each in (*entries, *details)] + [error.get("status")]
    reasons = tuple(dict.fromkeys(each for each in map(_word, found) if each is not None))
    texts = [error.get("message"), *(each.get("message") for each in entries)]
    limits = [_mapping(each.get("metadata")).get("quota_limit") for each in details]
    per_day = any(_says_per_day(each) for each in (*texts, *limits))
    thumbnail = any(each.get("domain") == _THUMBNAIL_DOMAIN for each in entries)
    return ApiError(response.status, reasons, per_day, thumbnail)


def failure_of(name: str, response: ApiResponse, now: datetime, *, about: str | None = None) -> Failure:
    """The Failure to raise for an answer that is an error. `name` is the call's name, for the detail.

    `about`: the qualifier where the answer itself gives none.
    """
    error = parse(response)
    qualifier = "per_day" if error.per_day else "thumbnail" if error.thumbnail else about
    code, reason = ErrorCode.PLATFORM_ERROR_UNMAPPED, error.reasons[0] if error.reasons else None
    for each in error.reasons:
        code = classify("youtube", http_status=error.http_status, reason=each, qualifier=qualifier)
        if code is not ErrorCode.PLATFORM_ERROR_UNMAPPED:
            reason = each
            break
    else:
        code = classify("youtube", http_status=error.http_status, qualifier=qualifier)
    return Failure(
        code,
        f"{name}: HTTP {error.http_status}" + (f", {reason}" if reason else ""),
        retry_after_seconds=retry_after_seconds(response.headers, now),
        platform_code=reason,
        http_status=error.http_status,
    )


async def refusal(
    ctx: StepContext, name: str, response: ApiResponse, bucket: str, *, about: str | None = None
) -> Failure | Snooze:
    """What to raise for an error answer: a used-up allowance closes `bucket` for the whole fleet until its reset."""
    failure = failure_of(name, response, ctx.now(), about=about)
    if failure.code not in _QUOTA_CODES:
        return failure
    # "per day" says nothing about which allowance; the call does. A start that meets the project's general quota waits as well.
    code = ErrorCode.YOUTUBE_QUOTA_EXHAUSTED if bucket == UNITS else failure.code
    return await ctx.quota.exhausted(bucket, code)


def ended_badly(field: str, reason: str) -> Failure:
    """What to raise for something YouTube took and then refused. `field` is the qualifier of the catalog's rules:
    rejection_reason, failure_reason, processing_failure_reason or captions_failure_reason."""
    word = _word(reason) or "unknown"
    return Failure(
        classify("youtube", reason=word, qualifier=field), f"{field.replace('_', ' ')}: {word}", platform_code=word
    )


def is_transient(failure: Failure) -> bool:
    """Whether asking the session again right away makes sense: no answer, a broken one, or server trouble."""
    return failure.code in _TRANSIENT or (failure.http_status is not None and failure.http_status >= 500)


_TRANSIENT = frozenset(
    {
        ErrorCode.NETWORK_TIMEOUT,
        ErrorCode.NETWORK_UNREACHABLE,
        ErrorCode.PLATFORM_UNAVAILABLE,
        ErrorCode.PLATFORM_ANSWER_INVALID,
    }
)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for each in value[:ENTRIES_MAX]:
            if isinstance(each, dict):
                yield each


def _word(value: Any) -> str | None:
    """A reason is a short identifier; anything else could be text that does not belong into a row."""
    if isinstance(value, str) and value.isidentifier() and len(value) <= REASON_CHARACTERS_MAX:
        return value
    return None


def _says_per_day(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    text = value[:2000].casefold()
    return "per day" in text or "perday" in text.replace("_", "").replace(" ", "")
