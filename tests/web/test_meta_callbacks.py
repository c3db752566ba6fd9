"""Meta's deauthorize and data-deletion callbacks: nothing counts before the signature; then the person's accounts go."""

from __future__ import annotations

import base64
import dataclasses
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker.web.app import http_app
from orbyt_worker.web.parts import Parts
from orbyt_worker.web.signed_request import AGE_SECONDS_MAX, AHEAD_SECONDS_MAX, AppSecret, SignedRequest, verify
from tests.factories import create_user
from tests.fix_clock import FakeClock
from tests.fix_postgres import Database
from tests.web.conftest import INSTAGRAM_SECRET, META_SECRET, client_at, settings_of
from tests.web.people import connected

ROUTES = ["/meta/deauthorize", "/meta/data-deletion"]
SECRETS = [AppSecret("facebook", META_SECRET), AppSecret("instagram", INSTAGRAM_SECRET)]
NOW = 1_800_000_000.0
AT = datetime.fromtimestamp(NOW, UTC)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: Any, secret: str = META_SECRET) -> str:
    text = encoded(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    return f"{encoded(hmac.digest(secret.encode(), text.encode(), 'sha256'))}.{text}"


def payload(user_id: object = "1234567890", at: float = NOW, **fields: object) -> dict[str, object]:
    return {"algorithm": "HMAC-SHA256", "issued_at": int(at), "user_id": user_id, "expires": 0, **fields}


async def post(web: httpx.AsyncClient, path: str, text: str) -> httpx.Response:
    return await web.post(path, data={"signed_request": text})


async def status(db: Database, account_id: UUID) -> str:
    return str(await db.value("select status from orbyt.accounts where account_id = %s", [account_id]))


# Deauthorize -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("login", "secret"), [("facebook", META_SECRET), ("instagram", INSTAGRAM_SECRET)])
async def test_who_removes_the_app_is_disconnected_and_nobody_else(
    db: Database, web: httpx.AsyncClient, clock: FakeClock, login: str, secret: str
) -> None:
    user_id = await create_user(db)
    theirs = await connected(db, user_id, login=login, platform_user_id="1234567890")
    also = await connected(db, await create_user(db), login=login, platform_user_id="1234567890")
    another = await connected(db, user_id, login=login, platform_user_id="1234567891")
    other_login = await connected(
        db, user_id, login="instagram" if login == "facebook" else "facebook", platform_user_id="1234567890"
    )
    answer = await post(web, "/meta/deauthorize", signed(payload(at=clock.now().timestamp()), secret))
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert [await status(db, each) for each in (theirs, also, another, other_login)] == [
        *("disconnected", "disconnected"),
        *("active", "active"),
    ]
    # Again, and for somebody nobody knows: the same answer.
    for user in ("1234567890", "555"):
        again = await post(web, "/meta/deauthorize", signed(payload(user, at=clock.now().timestamp()), secret))
        assert (again.status_code, again.json()) == (200, {"success": True})


async def test_who_came_back_since_is_not_disconnected_by_a_late_callback(
    db: Database, web: httpx.AsyncClient, clock: FakeClock
) -> None:
    """Meta repeats itself, and anybody who once saw the request could send it again for a day."""
    removed_at = clock.now()
    text = signed(payload(at=removed_at.timestamp()))
    before, shortly, after = [
        await connected(
            db, await create_user(db), login="facebook", platform_user_id="1234567890", granted_at=granted_at
        )
        for granted_at in (
            removed_at - timedelta(days=1),
            # Two clocks are compared: Meta's, which says when the app was removed, and the database's.
            removed_at + timedelta(seconds=30),
            removed_at + timedelta(hours=1),
        )
    ]
    assert (await post(web, "/meta/deauthorize", text)).status_code == 200
    assert [await status(db, each) for each in (before, shortly, after)] == ["disconnected", "disconnected", "active"]
    # A wish to be deleted is fulfilled all the same: nobody should have to ask twice.
    assert (await post(web, "/meta/data-deletion", text)).status_code == 200
    assert await status(db, after) == "disconnected"


async def test_a_callback_that_does_not_say_when_counts_now(db: Database, web: httpx.AsyncClient) -> None:
    account_id = await connected(db, await create_user(db), login="facebook", platform_user_id="1234567890")
    text = signed({"algorithm": "HMAC-SHA256", "user_id": "1234567890"})
    assert (await post(web, "/meta/deauthorize", text)).status_code == 200
    assert await status(db, account_id) == "disconnected"


# Data deletion ---------------------------------------------------------------------------------------------------------


async def test_who_asks_for_deletion_gets_a_code_and_a_page(
    db: Database, web: httpx.AsyncClient, clock: FakeClock
) -> None:
    account_id = await connected(db, await create_user(db), login="facebook", platform_user_id="1234567890")
    answer = await post(web, "/meta/data-deletion", signed(payload(at=clock.now().timestamp())))
    assert answer.status_code == 200
    code = answer.json()["confirmation_code"]
    assert answer.json() == {"url": f"https://worker.example/meta/data-deletion/{code}", "confirmation_code": code}
    assert len(code) >= 20
    page = await web.get(f"/meta/data-deletion/{code}")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert "1234567890" not in page.text
    assert str(account_id) not in page.text
    assert await db.fetch("select from orbyt.accounts where status = 'active'") == []
    assert (await web.get(f"/meta/data-deletion/{code[:-1]}")).status_code == 404


async def test_a_person_nobody_knows_gets_a_code_too(db: Database, web: httpx.AsyncClient, clock: FakeClock) -> None:
    """Otherwise the answer would tell who uses the app; and there is nothing left to delete, which is what they asked for."""
    answer = await post(web, "/meta/data-deletion", signed(payload("77", at=clock.now().timestamp())))
    assert answer.status_code == 200
    page = await web.get(f"/meta/data-deletion/{answer.json()['confirmation_code']}")
    assert page.text.startswith("Done")


async def test_the_page_is_where_the_setting_says(db: Database, parts: Parts, clock: FakeClock) -> None:
    settings = settings_of(db.url("orbyt_worker"), http_public_url="https://callbacks.example/orbyt/")
    async with client_at(http_app(dataclasses.replace(parts, settings=settings))) as client:
        answer = await post(client, "/meta/data-deletion", signed(payload(at=clock.now().timestamp())))
        assert answer.json()["url"].startswith("https://callbacks.example/orbyt/meta/data-deletion/")


@pytest.mark.parametrize("code", ["x", "a" * 64, "a" * 65, "%00", "%2e%2e", "é", "' or 1=1"])
async def test_an_unknown_code_is_not_found(web: httpx.AsyncClient, code: str) -> None:
    assert (await web.get(f"/meta/data-deletion/{code}")).status_code == 404


# Refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ROUTES)
async def test_what_is_not_signed_changes_nothing(
    db: Database, web: httpx.AsyncClient, clock: FakeClock, path: str
) -> None:
    account_id = await connected(db, await create_user(db), login="facebook", platform_user_id="1234567890")
    now = clock.now().timestamp()
    good = signed(payload(at=now))
    for text in (
        "",
        "x",
        good.partition(".")[0],
        "." + good.partition(".")[2],
        good[:-1],
        good + "=",
        good + ".x",
        signed(payload(at=now), "another secret"),
        signed(payload(at=now, algorithm="none")),
        signed(payload(at=now - AGE_SECONDS_MAX - 1)),
    ):
        answer = await post(web, path, text)
        assert (answer.status_code, answer.json()["error"]) == (400, "signed_request_invalid"), text
    assert await status(db, account_id) == "active"


@pytest.mark.parametrize("path", ROUTES)
async def test_bodies_that_are_no_form(web: httpx.AsyncClient, clock: FakeClock, path: str) -> None:
    good = signed(payload(at=clock.now().timestamp()))
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert (await web.post(path, json={"signed_request": good})).status_code == 415
    assert (await web.post(path, content=f"signed_request={good}")).status_code == 415
    for body in (b"\xff\xfe", b"&".join([b"a=b"] * 50), f"signed_request={good}&signed_request={good}".encode(), b""):
        assert (await web.post(path, content=body, headers=form)).status_code == 400, body


@pytest.mark.parametrize("path", ROUTES)
async def test_without_a_secret_there_is_no_such_route(db: Database, parts: Parts, clock: FakeClock, path: str) -> None:
    settings = settings_of(db.url("orbyt_worker"), meta_app_secret=None, instagram_app_secret=None)
    async with client_at(http_app(dataclasses.replace(parts, settings=settings))) as client:
        answer = await post(client, path, signed(payload(at=clock.now().timestamp())))
        assert (answer.status_code, answer.json()["error"]) == (404, "not_configured")


# The signed request alone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_id", "expected"), [("1234567890", "1234567890"), (1234567890, "1234567890"), ("1", "1")]
)
def test_ids_come_as_text_or_as_numbers(user_id: object, expected: str) -> None:
    assert verify(signed(payload(user_id)), SECRETS, now=NOW) == SignedRequest("facebook", expected, AT)


def test_the_secret_says_which_login_it_was() -> None:
    assert verify(signed(payload(), INSTAGRAM_SECRET), SECRETS, now=NOW) == SignedRequest("instagram", "1234567890", AT)
    assert verify(signed(payload(), INSTAGRAM_SECRET), SECRETS[:1], now=NOW) is None


def test_what_meta_may_leave_out() -> None:
    assert verify(signed({"algorithm": "hmac-sha256", "user_id": "7"}), SECRETS, now=NOW) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"algorithm": None},
        {"algorithm": "HMAC-SHA1"},
        {"user_id": None},
        {"user_id": True},
        {"user_id": ""},
        {"user_id": "abc"},
        {"user_id": "1" * 33},
        {"user_id": -1},
        {"user_id": ["1"]},
        {"expires": NOW - 1},
        {"issued_at": NOW + AHEAD_SECONDS_MAX + 1},
        {"issued_at": 10**400},
        {"issued_at": float("nan")},
        {"issued_at": float("inf")},
    ],
)
def test_signed_but_not_meant_for_this(fields: dict[str, object]) -> None:
    assert verify(signed({**payload(), **fields}), SECRETS, now=NOW) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b"\xff", b"[" * 2000])
def test_signed_but_no_object(body: bytes) -> None:
    assert verify(signed(body), SECRETS, now=NOW) is None


def test_a_text_beyond_all_measure_is_not_looked_at() -> None:
    assert verify(signed(payload(note="x" * 4096)), SECRETS, now=NOW) is None


@given(text=st.text(alphabet="abcXYZ019-_.=+/é", max_size=100))
def test_no_text_passes_by_chance_or_breaks_anything(text: str) -> None:
    assert verify(text, SECRETS, now=NOW) is None
