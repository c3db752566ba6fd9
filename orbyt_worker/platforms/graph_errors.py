"""Meta's error answers → the catalog. The tables are in errors/catalog.toml; here their keys are read from an answer.

Four shapes (Meta, "Handle Errors", "Instagram Platform Error Codes", "Reels Publishing API"; read 2026-09):

- `{"error": {code, error_subcode, …}}` from every Graph host, at any status, also 200;
- `{"debug_info": {type, retriable, …}}` from rupload.facebook.com;
- `{"error_type", "code", "error_message"}` from Instagram Login's token endpoint, whose `code` is an HTTP status;
- no JSON at all: pages of a gateway, mostly 5xx.

Order: subcode, code, `is_transient`, HTTP status. `is_transient: false` says nothing, because errors that pass carry it too.
Messages are never looked at (they are localised), with one exception that is no message: the `status` text of an
Instagram container is the only place of its subcode, and only that number is taken out of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import structlog

from orbyt_worker.errors.catalog import classify
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.base import ApiResponse
from orbyt_worker.platforms.graph_usage import regain_seconds
from orbyt_worker.platforms.http import retry_after_seconds

WORD_CHARACTERS_MAX = 64
NUMBER_DIGITS_MAX = 15
TRACE_CHARACTERS_MAX = 64
STATUS_CHARACTERS_MAX = 4_000
DATA_CHARACTERS_MAX = 4_000
DATA_KEYS_MAX = 20
ERRORS_MAX = 10

log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.graph")


class CallPhase(StrEnum):
    """What a call is for, where that changes what its error means."""

    READ = "read"
    WRITE = "write"
    CONTAINER = "container"  # making an Instagram container: nothing is public yet, and a new one can be made
    UPLOAD = "upload"
    EXCHANGE = "exchange"  # turning the code of a login into a token


class GraphFailure(Failure):
    """A Failure with the whole numbers of `error_data`: start_offset and end_offset of code 6001, subcode 1363037."""

    error_data: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ApiError:
    """The keys of one error answer, as text. `reason` is a word, `qualifier` one of the catalog's; None = not there."""

    code: str | None = None
    subcode: str | None = None
    reason: str | None = None
    qualifier: str | None = None
    transient: bool = False
    data: Mapping[str, int] = field(default_factory=dict)
    trace_id: str | None = None

    @property
    def numbers(self) -> str:
        """For details: "190/460", "OffsetInvalidError", or nothing."""
        return "/".join(each for each in (self.code, self.subcode) if each) or self.reason or ""


def is_error(response: ApiResponse) -> bool:
    """Whether an answer has to become a Failure: by its status, or by what it carries despite a good one."""
    return not 200 <= response.status < 300 or any(
        key in _mapping(response.json) for key in ("error", "debug_info", "error_type")
    )


def parse(response: ApiResponse) -> ApiError:
    """Read what can be read; anything missing or of another type is left out."""
    body = _mapping(response.json)
    if "error" not in body and "debug_info" in body:
        inner = _mapping(body["debug_info"])
        retriable = "retriable" if inner.get("retriable") is True else None
        return ApiError(reason=_word(inner.get("type")), qualifier=retriable)
    if "error" not in body and "error_type" in body:
        return ApiError(reason=_word(body["error_type"]), qualifier="login")
    error = _mapping(body.get("error"))
    code, subcode = _number(error.get("code")), _number(error.get("error_subcode"))
    words = [_word(error.get("code")), _word(error.get("error_subcode"))]
    if subcode is None:
        # A known number says more than the class of the exception: only without one does the class tell cases apart.
        words.append(_word(error.get("type")))
    return ApiError(
        code=code,
        subcode=subcode,
        reason=next((each for each in words if each is not None), None),
        transient=error.get("is_transient") is True,
        data=_data(error.get("error_data")),
        trace_id=_trace(error.get("fbtrace_id")),
    )


def failure_of(
    platform: str,
    name: str,
    response: ApiResponse,
    now: datetime,
    *,
    phase: CallPhase = CallPhase.WRITE,
    account_id: str = "",
    lacking: str = "",
) -> GraphFailure:
    """The Failure to raise for an answer that is an error. `name` is the call's name, for the detail.

    `lacking`: the right and the account to name in the detail if a permission is missing.
    How long to wait: Retry-After, else for throttles what the usage headers say about `account_id`, else the catalog's own.
    """
    error = parse(response)
    code = _classify(platform, error, phase, response.status)
    wait = retry_after_seconds(response.headers, now)
    if wait is None and code in _THROTTLES:
        wait = regain_seconds(response.headers, account_id)
    detail = f"{name}: HTTP {response.status}" + (f", {error.numbers}" if error.numbers else "")
    if code is ErrorCode.META_PERMISSION_MISSING and lacking:
        detail += f"; {lacking}"
    failure = GraphFailure(
        code,
        detail,
        retry_after_seconds=wait,
        platform_code=error.code or error.reason,
        platform_subcode=error.subcode,
        http_status=response.status,
    )
    failure.error_data = error.data
    # The trace id is what Meta's support asks for; it goes stale within days, so it is not kept with the job.
    log.info(
        "graph.refused",
        name=name,
        status=response.status,
        platform_code=error.code,
        platform_subcode=error.subcode,
        error_code=str(code),
        trace_id=error.trace_id,
    )
    return failure


def failure_of_status(platform: str, text: object) -> GraphFailure:
    """The Failure for an Instagram container in state ERROR. Of its `status` text only the subcode is looked at."""
    found = re.search(r"\b22[0-9]{5}\b", text[:STATUS_CHARACTERS_MAX]) if isinstance(text, str) else None
    subcode = found[0] if found else None
    code = classify(platform, subcode=subcode, qualifier="container_status")
    return GraphFailure(code, f"container: {subcode or 'no code'}", platform_subcode=subcode)


def failure_of_phase(platform: str, errors: object) -> GraphFailure:
    """The Failure for a video whose phase ended in an error. `errors`: a list of {code, message}, or one such object.

    Upload subcodes stand in `code` here. The first number that is known decides.
    """
    rows = errors if isinstance(errors, list) else [errors]
    numbers = [number for row in rows[:ERRORS_MAX] if (number := _number(_mapping(row).get("code"))) is not None]
    for number in numbers:
        for code in (classify(platform, subcode=number), classify(platform, code=number)):
            if code is not ErrorCode.PLATFORM_ERROR_UNMAPPED:
                return GraphFailure(code, f"video: {number}", platform_code=number)
    first = numbers[0] if numbers else None
    code = classify(platform, code=first, qualifier="processing")
    return GraphFailure(code, f"video: {first or 'no code'}", platform_code=first)


def offsets_of(failure: Failure) -> tuple[int, int] | None:
    """Where the transfer has to go on, [start, end), if Meta said so."""
    if not isinstance(failure, GraphFailure):
        return None
    start, end = failure.error_data.get("start_offset"), failure.error_data.get("end_offset")
    return (start, end) if start is not None and end is not None and 0 <= start <= end else None


# What to do anew. The catalog says whether and when a job comes again; these say what must not be used again then.

# Code -> how many counted failures the same container is tried with before a new one is made. Every code of a container in
# state ERROR or EXPIRED needs a new one at once, whatever stands here.
NEW_CONTAINER_AFTER_FAILURES = MappingProxyType(
    {
        ErrorCode.INSTAGRAM_CONTAINER_EXPIRED: 0,
        ErrorCode.INSTAGRAM_CONTAINER_FAILED: 0,
        ErrorCode.INSTAGRAM_MEDIA_NOT_FOUND: 0,
        ErrorCode.INSTAGRAM_PROCESSING_FAILED: 0,
        ErrorCode.INSTAGRAM_UPLOAD_FAILED: 0,
        ErrorCode.INSTAGRAM_VIDEO_NOT_FETCHED: 0,
        # "Does not exist yet" is one of its meanings.
        ErrorCode.INSTAGRAM_CONTAINER_MISSING: 2,
        # An upload goes into one container, and a refused one cannot be repeated there.
        ErrorCode.META_UPLOAD_FAILED: 0,
        ErrorCode.META_UPLOAD_SESSION_INVALID: 0,
        ErrorCode.META_UPLOAD_SIZE_DIFFERS: 0,
        ErrorCode.META_UPLOAD_UNAUTHORIZED: 0,
    }
)

# Facebook: these end the upload session. Code -> counted failures before a new session is opened.
NEW_UPLOAD_AFTER_FAILURES = MappingProxyType(
    {
        ErrorCode.META_UPLOAD_SESSION_INVALID: 0,
        ErrorCode.META_UPLOAD_SIZE_DIFFERS: 0,
        ErrorCode.META_UPLOAD_UNAUTHORIZED: 0,
        # "1 s, 5 s, 30 s, then a new upload session."
        ErrorCode.META_UPLOAD_FAILED: 2,
        ErrorCode.META_UPLOAD_INTERRUPTED: 3,
        ErrorCode.META_UPLOAD_OFFSET_WRONG: 3,
    }
)

# Met by reads with a good page token during Meta's trouble of 2026 (gitroomhq/postiz-app#1562): the other token is asked first.
ASK_WITH_OTHER_TOKEN = frozenset({ErrorCode.META_OBJECT_UNREADABLE, ErrorCode.META_PERMISSION_MISSING})


def wants_new_container(code: ErrorCode, failures: int) -> bool:
    """Whether the next attempt should prepare an Instagram container anew. `failures`: counted failures before this one."""
    return failures >= NEW_CONTAINER_AFTER_FAILURES.get(code, _NEVER)


def wants_new_upload(code: ErrorCode, failures: int) -> bool:
    """Whether the next attempt should open a new upload session. `failures`: counted failures before this one."""
    return failures >= NEW_UPLOAD_AFTER_FAILURES.get(code, _NEVER)


_NEVER = 1_000_000
# Not instagram_publishing_limit: the headers count calls, not posts.
_THROTTLES = frozenset({ErrorCode.META_APP_THROTTLED, ErrorCode.META_ACCOUNT_THROTTLED})


def _classify(platform: str, error: ApiError, phase: CallPhase, http_status: int) -> ErrorCode:
    qualifier = error.qualifier or phase.value
    code = classify(
        platform,
        http_status=http_status,
        code=error.code,
        subcode=error.subcode,
        reason=error.reason,
        qualifier=qualifier,
    )
    if code is ErrorCode.PLATFORM_ERROR_UNMAPPED and error.transient:
        code = classify(platform, http_status=http_status, qualifier="transient")
    return code


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _data(value: Any) -> Mapping[str, int]:
    """The whole numbers of `error_data`, which is an object, or the JSON text of one. Texts in it are not kept."""
    if isinstance(value, str) and len(value) <= DATA_CHARACTERS_MAX:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    pairs = list(_mapping(value).items())[:DATA_KEYS_MAX]
    return {key: int(number) for key, each in pairs if (number := _number(each)) is not None}


def _number(value: Any) -> str | None:
    """A code as text: an int, or a string of digits; may be negative."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**NUMBER_DIGITS_MAX else None
    if isinstance(value, str) and re.fullmatch(rf"-?[0-9]{{1,{NUMBER_DIGITS_MAX}}}", value):
        return str(int(value))
    return None


def _word(value: Any) -> str | None:
    """A reason is a short identifier; anything else could be text that does not belong into a row."""
    if isinstance(value, str) and value.isascii() and value.isidentifier() and len(value) <= WORD_CHARACTERS_MAX:
        return value
    return None


def _trace(value: Any) -> str | None:
    if isinstance(value, str) and value.isascii() and value.isprintable():
        return value[:TRACE_CHARACTERS_MAX]
    return None
