"""Meta's `signed_request`: who removed our app, proved with the app secret. Pure.

`base64url(signature) + "." + base64url(payload)`, padding stripped; the signature is HMAC-SHA256 with the app secret over the
encoded payload as it stands there. Source: Meta "Data Deletion Request Callback" and "Parsing the Signed Request", read
2026-11. The payload's `user_id` is confirmed by it, `issued_at` and `expires` only by most senders.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

SIGNED_REQUEST_CHARACTERS_MAX = 4096
ALGORITHM = "HMAC-SHA256"
# An old one would disconnect somebody who has come back since. Meta's own delivery takes seconds.
AGE_SECONDS_MAX = 86_400
# How far ahead of ours Meta's clock may be.
AHEAD_SECONDS_MAX = 300

_ENCODED = re.compile(r"[A-Za-z0-9_-]+")
_USER_ID = re.compile(r"[0-9]{1,32}")


@dataclass(frozen=True, slots=True)
class AppSecret:
    """A secret Meta may have signed with, and the login it belongs to."""

    login: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A proven request: the person by the id the app knows them by, at this login; when it was made, if it says so."""

    login: str
    platform_user_id: str
    issued_at: datetime | None = None


def verify(text: str, secrets: Sequence[AppSecret], *, now: float) -> SignedRequest | None:
    """None unless one of the secrets signed it, lately. `now`: seconds since 1970. Nothing is parsed before it is proven."""
    if len(text) > SIGNED_REQUEST_CHARACTERS_MAX:
        return None
    encoded_signature, dot, payload = text.partition(".")
    if not dot or not _ENCODED.fullmatch(encoded_signature) or not _ENCODED.fullmatch(payload):
        return None
    signature = _decode(encoded_signature)
    login = None
    for each in secrets:
        # Every secret is tried, so that the time taken does not say which one fitted.
        expected = hmac.digest(each.secret.encode(), payload.encode(), "sha256")
        if hmac.compare_digest(expected, signature) and login is None:
            login = each.login
    if login is None:
        return None
    return _person(login, _decode(payload), now)


def _person(login: str, payload: bytes, now: float) -> SignedRequest | None:
    try:
        fields: Any = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    algorithm, user_id = fields.get("algorithm"), fields.get("user_id")
    if not isinstance(algorithm, str) or algorithm.upper() != ALGORITHM:
        return None
    issued_at, expires = _time(fields.get("issued_at")), _time(fields.get("expires"))
    if issued_at and not now - AGE_SECONDS_MAX <= issued_at <= now + AHEAD_SECONDS_MAX:
        return None
    if expires and expires < now:
        return None
    # Ids come as text or as numbers.
    if isinstance(user_id, bool) or not isinstance(user_id, str | int) or not _USER_ID.fullmatch(str(user_id)):
        return None
    return SignedRequest(login, str(user_id), datetime.fromtimestamp(issued_at, UTC) if issued_at else None)


def _time(value: object) -> float:
    """0 for a time that is not given."""
    return float(min(value, 10**12)) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
