"""Mux' webhook: a file that posts are waiting for may be there.

A hint and nothing more: jobs that wait for Mux are woken and look for themselves, so a false, late or repeated event costs a
look, and a lost one costs the rest of the wait (a minute). Source: Mux docs "Listen for webhooks" (answer within 5 s, retries
for 24 h, duplicates and any order), read 2026-11.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from typing import Any

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from orbyt_worker.web.mux_signature import HEADER_CHARACTERS_MAX, verify
from orbyt_worker.web.parts import Given, Refused, refusals

EVENTS_REMEMBERED_MAX = 4096
PLAYBACK_IDS_MAX = 20

# What can end a wait, well or badly. Those about an asset name its playback ids, those about one rendition do not.
_WAKING = frozenset(
    {
        "video.asset.ready",
        "video.asset.errored",
        "video.asset.static_rendition.ready",
        "video.asset.static_rendition.errored",
        "video.asset.static_rendition.skipped",
        "video.asset.static_renditions.ready",
        "video.asset.static_renditions.errored",
    }
)
_PLAYBACK_ID = re.compile(r"[A-Za-z0-9]{4,128}")

log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.http")

router = APIRouter(tags=["mux"])


class Taken(BaseModel):
    woken: int = Field(description="How many waiting jobs look again now.")


class Seen:
    """Ids of events that were dealt with; the oldest are forgotten."""

    def __init__(self, events_max: int = EVENTS_REMEMBERED_MAX) -> None:
        self._events_max = events_max
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, event_id: str) -> None:
        self._ids[event_id] = None
        while len(self._ids) > self._events_max:
            self._ids.popitem(last=False)


@router.post(
    "/mux/webhook",
    operation_id="mux_webhook",
    responses=refusals(400, 404, 503),
    openapi_extra={
        "parameters": [
            {
                "name": "Mux-Signature",
                "in": "header",
                "required": True,
                "description": "`t=<seconds>,v1=<hex>[,v1=<hex>]`: HMAC-SHA256 over `<seconds>.<body>`.",
                "schema": {"type": "string", "maxLength": HEADER_CHARACTERS_MAX},
            }
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    },
)
async def mux_webhook(request: Request, parts: Given) -> Taken:
    """Mux says that something happened to a video. Safe to repeat."""
    secret = parts.settings.mux_webhook_secret
    if secret is None:
        raise Refused(404, "not_configured")
    body = await request.body()
    # One header: several would be joined, and only the sender knows in which order.
    headers = request.headers.getlist("mux-signature")
    signed = len(headers) == 1 and verify(
        headers[0], body, secret.get_secret_value(), now=parts.runtime.now().timestamp()
    )
    if not signed:
        log.warning("mux.signature_refused")
        raise Refused(400, "signature_invalid")
    event = _event(body)
    event_id = event.get("id")
    seen: Seen = request.app.state.mux_events
    known = isinstance(event_id, str) and event_id in seen
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in _WAKING or known:
        return Taken(woken=0)
    woken = await parts.queries.wake_media(_playback_ids(event.get("data")))
    if isinstance(event_id, str) and len(event_id) <= 128:
        # Only now: an event that was not dealt with comes again.
        seen.add(event_id)
    log.info("mux.event", type=kind, woken=woken)
    return Taken(woken=woken)


def _event(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise Refused(400, "json_object_expected")
    return event


def _playback_ids(data: object) -> list[str] | None:
    """The videos the event is about, by the ids that posts name them with; None when it does not say."""
    listed = data.get("playback_ids") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        return None
    ids = [each.get("id") for each in listed[:PLAYBACK_IDS_MAX] if isinstance(each, dict)]
    return [each for each in ids if isinstance(each, str) and _PLAYBACK_ID.fullmatch(each)] or None
