"""What the platforms send by themselves: signed POSTs to the app's own address, on this machine only."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

TIMEOUT_SECONDS = 10.0
BODY_KEPT_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was answered. `parsed`: the JSON of the body, where it is some. `seconds`: how long it took."""

    status: int
    content_type: str | None
    body: str
    parsed: Any = None
    seconds: float = 0.0


def deliver(url: str, content: bytes, headers: Mapping[str, str]) -> Delivery:
    """POST and wait for the answer; redirects are an answer. Raises ValueError for an address that is not this machine's."""
    host = urlsplit(url).hostname or ""
    if host != "localhost" and not _is_loopback(host):
        raise ValueError("the sandbox sends to loopback addresses only")
    began = time.monotonic()
    try:
        answer = httpx.post(url, content=content, headers=dict(headers), timeout=TIMEOUT_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        raise ValueError(f"the address did not answer: {type(error).__name__}") from error
    body = answer.text[:BODY_KEPT_MAX]
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    return Delivery(
        answer.status_code, answer.headers.get("content-type"), body, parsed, round(time.monotonic() - began, 3)
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
