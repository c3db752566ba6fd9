"""Mux' webhook signature. Pure.

`Mux-Signature: t=<seconds>,v1=<hex>[,v1=<hex>]`; each v1 is HMAC-SHA256 with the endpoint's secret over `t + "." + body`, the
body byte for byte as it came; several while a secret is changed. Source: Mux docs "Verify webhook signatures", @mux/mux-node
(300 s), read 2026-11.
"""

from __future__ import annotations

import hmac
import re

TOLERANCE_SECONDS = 300
SIGNATURES_MAX = 8
HEADER_CHARACTERS_MAX = 1024

_TIME = re.compile(r"[0-9]{1,12}")
_HEX = re.compile(r"[0-9a-fA-F]{64}")


def verify(header: str, body: bytes, secret: str, *, now: float) -> bool:
    """Whether Mux sent this body within the last (or next) five minutes. `now`: seconds since 1970."""
    if len(header) > HEADER_CHARACTERS_MAX:
        return False
    times, signatures = [], []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            times.append(value)
        elif name == "v1":
            signatures.append(value)
    if len(times) != 1 or not _TIME.fullmatch(times[0]) or not 1 <= len(signatures) <= SIGNATURES_MAX:
        return False
    # The original refuses only what is too old; nothing honest comes from the future either.
    if abs(now - int(times[0])) > TOLERANCE_SECONDS:
        return False
    expected = hmac.digest(secret.encode(), f"{times[0]}.".encode() + body, "sha256")
    fitting = [
        hmac.compare_digest(expected, bytes.fromhex(each)) for each in signatures if _HEX.fullmatch(each) is not None
    ]
    return any(fitting)
