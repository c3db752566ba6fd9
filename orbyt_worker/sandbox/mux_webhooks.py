"""What Mux sends by itself: signed events about assets and their files, honest ones and forged ones.

After Mux docs "Listen for webhooks" and "Verify webhook signatures": `Mux-Signature: t=<seconds>,v1=<hex>`, HMAC-SHA-256 with the
endpoint's secret over "t.body". Times are real ones, as the receiver judges them by its own clock.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from orbyt_worker.sandbox.deliveries import Delivery, deliver

WEBHOOK_SECRET = "sandbox-mux-webhook-secret"  # noqa: S105 - the sandbox's own, public by design
ENVIRONMENT = {"id": "sandboxenv", "name": "Sandbox"}
TIMES_MAX = 20

# "body": another body under the signature of the first. "signature": one bit of it turned. "missing": no header. "no_time": without t=.
# "rotated": a signature by an older secret comes first, the right one second, as while a secret is changed.
Tamper = Literal["none", "body", "signature", "missing", "no_time", "rotated"]


def event(kind: str, asset_id: str, data: Mapping[str, Any], event_id: str, url: str) -> dict[str, Any]:
    """An event as Mux shows it. `data` is the asset, or one of its files with the asset's id."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    about = "static_rendition" if ".static_rendition." in kind else "asset"
    subject = data.get("id") if about == "static_rendition" else asset_id
    return {
        "type": kind,
        "id": event_id,
        "created_at": now,
        "object": {"type": about, "id": subject},
        "environment": ENVIRONMENT,
        "data": {**data, "asset_id": asset_id} if about == "static_rendition" else dict(data),
        "attempts": [{"id": secrets.token_hex(16), "address": url, "created_at": now, "max_attempts": 30, "webhook_id": 1}],
        "request_id": None,
        "accessor": None,
    }  # fmt: skip


def send(url: str, body: bytes, *, secret: str, age_seconds: float, times: int, tamper: Tamper) -> list[Delivery]:
    """Sign (or forge) one body and send it `times` times, as Mux repeats itself."""
    if not 1 <= times <= TIMES_MAX:
        raise ValueError(f"times is between 1 and {TIMES_MAX}")
    at = int(time.time() - age_seconds)
    signature = _signature(secret, at, body)
    headers = {"Content-Type": "application/json", "User-Agent": "Mux/1.0"}
    if tamper == "body":
        body = body.replace(b'"environment"', b'"environments"', 1)
    if tamper == "signature":
        signature = ("1" if signature[0] == "0" else "0") + signature[1:]
    if tamper == "no_time":
        headers["Mux-Signature"] = f"v1={signature}"
    elif tamper == "rotated":
        headers["Mux-Signature"] = f"t={at},v1={_signature('an-older-secret', at, body)},v1={signature}"
    elif tamper != "missing":
        headers["Mux-Signature"] = f"t={at},v1={signature}"
    return [deliver(url, body, headers) for _ in range(times)]


def encoded(value: Mapping[str, Any]) -> bytes:
    """The body, the way Mux writes it: no spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def _signature(secret: str, at: int, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
