"""What Meta's answers say about limits: the three usage headers, read tolerantly.

Meta, Graph API, Rate Limits (https://developers.facebook.com/docs/graph-api/overview/rate-limiting, read 2026-09). The values
are JSON text; numbers are percentages, and throttling starts when any of them reaches 100. A header that cannot be read says
nothing: it never fails a call that worked. X-Ad-Account-Usage is about ads and not looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from orbyt_worker.errors.catalog import Scope
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.platforms.base import Usage

HEADER_CHARACTERS_MAX = 64_000
# Meta sends up to 32 objects; an id may have several entries.
OBJECTS_MAX = 64
ENTRIES_MAX = 64
# Calls made while throttled push the counters beyond 100; more than this says no more.
PERCENT_MAX = 1000.0
REGAIN_SECONDS_MAX = 86_400.0

# `total_cputime`, not `total_cpu_time` (exileum/meta-mcp#20); graph.instagram.com was seen with the last two (PyPI python-facebook-api).
_PERCENT_KEYS = ("call_count", "total_time", "total_cputime", "call_volume", "cpu_time")


def usages(headers: Mapping[str, str], account_id: str) -> list[Usage]:
    """How much is used up: at most one Usage for the app and one for the account. `headers` has lower-case names.

    X-Business-Use-Case-Usage names objects. Those of `account_id` count; if it is not among them (limits may be kept by a
    business or by the page behind an Instagram account), all of them do, because the header answers a call of this account.
    """
    app = _percent(_mapping(_parsed(headers.get("x-app-usage"))))
    page = _percent(_mapping(_parsed(headers.get("x-page-usage"))))
    found: list[Usage] = []
    if app is not None:
        found.append(Usage(Scope.APP, app, ErrorCode.META_APP_THROTTLED))
    entries = list(_entries(headers, account_id))
    percents = [each for each in (page, *map(_percent, entries)) if each is not None]
    regain = _regain_seconds(entries)
    if percents or regain is not None:
        percent = max(percents, default=0.0)
        # Time to regain access is given only once access is lost, whatever the rounded percentages say.
        found.append(
            Usage(
                Scope.ACCOUNT,
                percent if regain is None else max(percent, 100.0),
                ErrorCode.META_ACCOUNT_THROTTLED,
                regain,
            )
        )
    return found


def regain_seconds(headers: Mapping[str, str], account_id: str) -> float | None:
    """How long until calls are taken again, if the headers say so."""
    return _regain_seconds(list(_entries(headers, account_id)))


def _entries(headers: Mapping[str, str], account_id: str) -> Iterator[Mapping[str, Any]]:
    """The entries of X-Business-Use-Case-Usage: id -> list of entries. A bare entry instead of a list is taken as well."""
    objects = _mapping(_parsed(headers.get("x-business-use-case-usage")))
    chosen = [objects[account_id]] if account_id in objects else list(objects.values())[:OBJECTS_MAX]
    for each in chosen:
        for entry in each[:ENTRIES_MAX] if isinstance(each, list) else [each]:
            if isinstance(entry, dict):
                yield entry


def _regain_seconds(entries: list[Mapping[str, Any]]) -> float | None:
    """`estimated_time_to_regain_access` is in minutes; 0 means that access was not lost."""
    minutes = [_number(each.get("estimated_time_to_regain_access")) for each in entries]
    longest = max((each for each in minutes if each is not None), default=0.0)
    return min(longest * 60.0, REGAIN_SECONDS_MAX) if longest > 0 else None


def _percent(entry: Mapping[str, Any]) -> float | None:
    values = [_number(entry.get(key)) for key in _PERCENT_KEYS]
    known = [min(max(each, 0.0), PERCENT_MAX) for each in values if each is not None]
    return max(known, default=None)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _parsed(text: str | None) -> Any:
    if not text or len(text) > HEADER_CHARACTERS_MAX:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
