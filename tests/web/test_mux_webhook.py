"""Mux' webhook: nothing counts before the signature, and an event is a hint that wakes jobs which wait for Mux."""

from __future__ import annotations

import dataclasses
import hmac
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker.web.app import http_app
from orbyt_worker.web.mux import Seen
from orbyt_worker.web.mux_signature import SIGNATURES_MAX, TOLERANCE_SECONDS, verify
from orbyt_worker.web.parts import Parts
from tests.fix_clock import FakeClock
from tests.fix_postgres import Database
from tests.web.conftest import MUX_SECRET, client_at, settings_of
from tests.web.waiting import seconds_left, waiting_job

PLAYBACK_ID = "abcDEF1234567890abcd"
ASSET_READY = {
    "type": "video.asset.ready",
    "id": "event-1",
    "data": {"id": "asset-1", "playback_ids": [{"id": PLAYBACK_ID, "policy": "public"}]},
}
RENDITION_READY = {
    "type": "video.asset.static_rendition.ready",
    "id": "event-2",
    "data": {"id": "rendition-1", "asset_id": "asset-1", "name": "highest.mp4"},
}


def signature(body: bytes, at: float, secret: str = MUX_SECRET) -> str:
    return hmac.digest(secret.encode(), f"{int(at)}.".encode() + body, "sha256").hex()


async def send(web: httpx.AsyncClient, clock: FakeClock, event: Any, header: str | None = None) -> httpx.Response:
    # Spaces as no serialiser of ours would set them: the bytes are what is signed.
    body = event if isinstance(event, bytes) else json.dumps(event, separators=(" ,", ":  ")).encode()
    at = clock.now().timestamp()
    return await web.post(
        "/mux/webhook",
        content=body,
        headers={"mux-signature": header if header is not None else f"t={int(at)},v1={signature(body, at)}"},
    )


@pytest.mark.parametrize("event", [ASSET_READY, RENDITION_READY], ids=lambda event: event["type"])
async def test_what_waits_for_the_video_looks_again(
    db: Database, web: httpx.AsyncClient, clock: FakeClock, event: Any
) -> None:
    job_id = await waiting_job(db, f"mux://{PLAYBACK_ID}")
    answer = await send(web, clock, event)
    assert (answer.status_code, answer.json()) == (200, {"woken": 1})
    assert await seconds_left(db, job_id) <= 5


async def test_an_event_of_another_video_wakes_nobody(db: Database, web: httpx.AsyncClient, clock: FakeClock) -> None:
    job_id = await waiting_job(db, "mux://ABCdef1234567890abcd")
    assert (await send(web, clock, ASSET_READY)).json() == {"woken": 0}
    assert await seconds_left(db, job_id) > 30


async def test_an_event_that_comes_twice_is_dealt_with_once(
    db: Database, web: httpx.AsyncClient, clock: FakeClock
) -> None:
    await waiting_job(db, f"mux://{PLAYBACK_ID}")
    assert (await send(web, clock, ASSET_READY)).json() == {"woken": 1}
    job_id = await waiting_job(db, f"mux://{PLAYBACK_ID}")
    assert (await send(web, clock, ASSET_READY)).json() == {"woken": 0}
    assert await seconds_left(db, job_id) > 30
    assert (await send(web, clock, {**ASSET_READY, "id": "event-3"})).json() == {"woken": 1}


async def test_an_event_that_could_not_be_dealt_with_may_come_again(
    db: Database, web: httpx.AsyncClient, clock: FakeClock
) -> None:
    await waiting_job(db, f"mux://{PLAYBACK_ID}")
    await db.execute("alter function orbyt_private.wake_media rename to elsewhere")
    assert (await send(web, clock, ASSET_READY)).status_code == 500
    await db.execute("alter function orbyt_private.elsewhere rename to wake_media")
    assert (await send(web, clock, ASSET_READY)).json() == {"woken": 1}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "video.asset.created", "id": "e", "data": {}},
        {"type": "video.asset.deleted", "id": "e", "data": {}},
        {"type": ["video.asset.ready"], "id": "e"},
        {"type": None},
        {},
    ],
)
async def test_other_events_are_taken_and_do_nothing(
    db: Database, web: httpx.AsyncClient, clock: FakeClock, event: Any
) -> None:
    await waiting_job(db, f"mux://{PLAYBACK_ID}")
    answer = await send(web, clock, event)
    assert (answer.status_code, answer.json()) == (200, {"woken": 0})


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"playback_ids": "x"},
        {"playback_ids": [None, {"id": 7}, {"id": "'; drop"}]},
        {"playback_ids": []},
    ],
)
async def test_odd_data_is_as_good_as_none(db: Database, web: httpx.AsyncClient, clock: FakeClock, data: Any) -> None:
    await waiting_job(db, f"mux://{PLAYBACK_ID}")
    event = {"type": "video.asset.ready", "id": {"not": "text"}, "data": data}
    assert (await send(web, clock, event)).json() == {"woken": 1}


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe", b'"text"', b"[" * 10_000])
async def test_a_signed_body_that_is_no_event_is_refused(web: httpx.AsyncClient, clock: FakeClock, body: bytes) -> None:
    answer = await send(web, clock, body)
    assert (answer.status_code, answer.json()["error"]) == (400, "json_object_expected")


async def test_what_is_not_signed_is_not_even_read(db: Database, web: httpx.AsyncClient, clock: FakeClock) -> None:
    job_id = await waiting_job(db, f"mux://{PLAYBACK_ID}")
    body = json.dumps(ASSET_READY).encode()
    now = clock.now().timestamp()
    for header in (
        "",
        "t=,v1=",
        f"v1={signature(body, now)}",
        f"t={int(now)}",
        f"t={int(now)},v1={signature(body, now, 'another secret')}",
        f"t={int(now)},v1={signature(body + b' ', now)}",
        f"t={int(now) + 1},v1={signature(body, now)}",
        f"t={int(now)},v0={signature(body, now)}",
    ):
        answer = await send(web, clock, body, header)
        assert (answer.status_code, answer.json()["error"]) == (400, "signature_invalid"), header
    twice = [("mux-signature", f"t={int(now)},v1={signature(body, now)}")] * 2
    assert (await web.post("/mux/webhook", content=body, headers=twice)).status_code == 400
    assert (await web.post("/mux/webhook", content=body)).status_code == 400
    assert await seconds_left(db, job_id) > 30


async def test_without_a_secret_there_is_no_webhook(db: Database, parts: Parts, clock: FakeClock) -> None:
    bare = dataclasses.replace(parts, settings=settings_of(db.url("orbyt_worker"), mux_webhook_secret=None))
    async with client_at(http_app(bare)) as client:
        answer = await send(client, clock, ASSET_READY)
        assert (answer.status_code, answer.json()["error"]) == (404, "not_configured")


# The signature alone ------------------------------------------------------------------------------------------------------


def test_any_of_several_signatures_will_do() -> None:
    """While a secret is changed."""
    good, bad = signature(b"x", 1000), signature(b"x", 1000, "old")
    assert verify(f"t=1000,v1={bad},v1={good}", b"x", MUX_SECRET, now=1000)
    assert verify(f" t=1000 , v1={good.upper()} , v1={bad}", b"x", MUX_SECRET, now=1000)
    assert not verify(f"t=1000,v1={bad},v1={bad}", b"x", MUX_SECRET, now=1000)
    assert not verify("t=1000," + ",".join([f"v1={good}"] * (SIGNATURES_MAX + 1)), b"x", MUX_SECRET, now=1000)
    assert not verify(f"t=1000,t=1000,v1={good}", b"x", MUX_SECRET, now=1000)


def test_five_minutes_and_not_longer() -> None:
    header = f"t=10000,v1={signature(b'x', 10_000)}"
    for late in (-TOLERANCE_SECONDS, 0, TOLERANCE_SECONDS):
        assert verify(header, b"x", MUX_SECRET, now=10_000 + late)
    for late in (-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1):
        assert not verify(header, b"x", MUX_SECRET, now=10_000 + late)


@given(header=st.text(alphabet="tv1=,0123456789abcdef é", max_size=200), body=st.binary(max_size=20))
def test_no_header_passes_by_chance_or_breaks_anything(header: str, body: bytes) -> None:
    assert not verify(header, body, MUX_SECRET, now=1000)


def test_only_so_many_events_are_remembered() -> None:
    seen = Seen(events_max=2)
    for event_id in ("a", "b", "c"):
        seen.add(event_id)
    assert (len(seen), "a" in seen, "c" in seen) == (2, False, True)
