"""Meta's deauthorize and data deletion callbacks: a form with one field, `signed_request`; honest ones and forged ones.

After Meta "Data Deletion Request Callback" and "Requesting & Revoking Permissions" (2026-03): base64url without padding of
signature and payload, joined by a dot; the signature is HMAC-SHA-256 with the app secret over the encoded payload. Times are
real ones, as the receiver judges them by its own clock.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import replace
from typing import Literal
from urllib.parse import urlencode, urlsplit

from orbyt_worker.sandbox.deliveries import Delivery, deliver
from orbyt_worker.sandbox.meta_model import App, Login

# "other_login": the secret of the app's other login, for a receiver that tries both where one is right.
Secret = Literal["right", "wrong", "other_login"]
# "payload": another user id under the old signature. "signature": one bit of it turned. "padding": base64 with its padding, as
# no one sends it. "unsigned": the signature is empty.
Tamper = Literal["none", "payload", "signature", "padding", "unsigned"]
Algorithm = Literal["HMAC-SHA256", "HMAC-SHA1", "none", "missing"]

LIFE_SECONDS = 3600


def deliver_signed_request(
    app: App,
    url: str,
    user_id: str,
    *,
    login: Login,
    secret: Secret,
    tamper: Tamper,
    algorithm: Algorithm,
    given: str | None,
) -> Delivery:
    """Sign (or forge) and send."""
    field = given if given is not None else signed_request(app, user_id, login, secret, tamper, algorithm)
    content = urlencode({"signed_request": field}).encode()
    return deliver(
        url, content, {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "facebookexternalua"}
    )


def signed_request(app: App, user_id: str, login: Login, secret: Secret, tamper: Tamper, algorithm: Algorithm) -> str:
    """The field. Instagram Login's is signed with the Instagram app's secret."""
    keys = {"facebook": app.secret, "instagram": app.instagram_secret}
    other: Login = "instagram" if login == "facebook" else "facebook"
    key = {"right": keys[login], "wrong": "0" * 32, "other_login": keys[other]}[secret]
    now = int(time.time())
    payload: dict[str, str | int] = {
        "algorithm": algorithm,
        "expires": now + LIFE_SECONDS,
        "issued_at": now,
        "user_id": user_id,
    }
    if algorithm == "missing":
        del payload["algorithm"]
    encoded = _encoded(json.dumps(payload).encode())
    digest = hashlib.sha1 if algorithm == "HMAC-SHA1" else hashlib.sha256
    signature = hmac.new(key.encode(), encoded.encode(), digest).digest()
    if tamper == "payload":
        encoded = _encoded(json.dumps({**payload, "user_id": user_id + "0"}).encode())
    elif tamper == "signature":
        signature = bytes([signature[0] ^ 1]) + signature[1:]
    elif tamper == "unsigned":
        signature = b""
    elif tamper == "padding":
        return f"{base64.urlsafe_b64encode(signature).decode()}.{encoded}"
    return f"{_encoded(signature)}.{encoded}"


def data_deletion_of(answer: Delivery) -> Delivery:
    """The answer, with `parsed` only where it is what Meta asks for: a status page's `url` and a `confirmation_code`."""
    found = answer.parsed
    fits = (
        answer.status == 200
        and isinstance(found, dict)
        and isinstance(found.get("url"), str)
        and urlsplit(found["url"]).scheme in {"http", "https"}
        and isinstance(found.get("confirmation_code"), str)
        and found["confirmation_code"] != ""
    )
    return answer if fits else replace(answer, parsed=None)


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
