"""What the simulated platforms send by themselves, over real HTTP, to the real door on a real database.

The sandbox shares no code with the worker: it signs as the platforms' documents say, and forges as nobody honest would.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest

from orbyt_worker.db.door_queries import DoorQueries
from orbyt_worker.db.pool import Database as Pool
from orbyt_worker.health import Health
from orbyt_worker.runtime import Runtime
from orbyt_worker.sandbox.deliveries import Delivery
from orbyt_worker.sandbox.meta import Meta
from orbyt_worker.sandbox.state import Sandbox
from orbyt_worker.settings import Settings
from orbyt_worker.web.app import http_app
from orbyt_worker.web.mux_signature import TOLERANCE_SECONDS
from orbyt_worker.web.parts import Parts
from orbyt_worker.web.server import serving
from tests.factories import create_user, insert_job
from tests.fix_postgres import Database
from tests.web.people import connected
from tests.web.waiting import seconds_left, waiting_job

PERSON = "1234567890"
FORGERIES: list[dict[str, Any]] = [
    *({"secret": "wrong"}, {"tamper": "payload"}, {"tamper": "signature"}, {"tamper": "padding"}, {"tamper": "unsigned"}),
    *({"algorithm": "HMAC-SHA1"}, {"algorithm": "none"}, {"algorithm": "missing"}, {"signed_request": "neither.this"}),
]  # fmt: skip


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
async def door(db: Database, pool: Pool, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The worker's endpoint with the settings the sandbox gives out; its address. The clock is the real one, as is the sender's."""
    for name, value in sandbox.settings_env().items():
        if not name.endswith("_URL"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("ORBYT_DATABASE_URL", db.url("orbyt_worker"))
    monkeypatch.setenv("ORBYT_HTTP_PORT", "0")
    settings, runtime = Settings(), Runtime()  # out of the environment
    parts = Parts(health=Health(runtime), settings=settings, queries=DoorQueries(pool, runtime), runtime=runtime)
    async with serving(http_app(parts), settings) as addresses:
        yield "http://{}:{}".format(*addresses[0])


async def sent(deliver: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """In a thread: the sandbox waits for the answer, which this loop gives."""
    return await asyncio.to_thread(partial(deliver, *arguments, **named))


async def account(db: Database, account_id: UUID) -> dict[str, Any]:
    return await db.row("select status, name, error_code from orbyt.accounts where account_id = %s", [account_id])


async def person(db: Database, login: str = "facebook") -> tuple[UUID, UUID]:
    """A connected account with a token and a post that is due tomorrow: (account_id, job_id)."""
    user_id = await create_user(db)
    account_id = await connected(db, user_id, login=login, platform_user_id=PERSON)
    await db.execute(
        "insert into orbyt_private.account_secrets (account_id, kind, sealed, key_id) values (%s, 'access_token', '\\x00', 'm1')",
        [account_id],
    )
    job_id = await insert_job(
        db,
        user_id,
        account_id,
        kind="photo",
        title=None,
        media=[{"type": "image", "url": "https://media.example/a.jpg"}],
    )
    return account_id, job_id


async def secrets(db: Database) -> int:
    return int(await db.value("select count(*) from orbyt_private.account_secrets"))


# Meta --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["facebook", "instagram"])
async def test_a_deauthorize_callback_disconnects_and_holds_the_posts(
    db: Database, sandbox: Sandbox, door: str, login: str
) -> None:
    account_id, job_id = await person(db, login)
    url = f"{door}/meta/deauthorize"
    # What is forged, or signed by the app's other login, is refused and changes nothing.
    for forged in [*FORGERIES, {"signed_request": "ä"}]:
        answer: Delivery = await sent(sandbox.meta.send_deauthorize, url, PERSON, login=login, **forged)
        assert (answer.status, answer.parsed["error"]) == (400, "signed_request_invalid"), forged
    await sent(sandbox.meta.send_deauthorize, url, PERSON, login=login, secret="other_login")
    assert (await account(db, account_id))["status"] == "active"
    assert await secrets(db) == 1

    for _ in range(3):
        # The second and third are replays: the same answer, and nothing more happens.
        answer = await sent(sandbox.meta.send_deauthorize, url, PERSON, login=login)
        assert (answer.status, answer.parsed) == (200, {"success": True})
        row = await account(db, account_id)
        assert (row["status"], row["error_code"]) == ("disconnected", "account_disconnected")
        assert await secrets(db) == 0
    job = await db.row("select status, error_code from orbyt.publish_jobs where job_id = %s", [job_id])
    assert job == {"status": "held", "error_code": "account_disconnected"}


async def test_a_data_deletion_callback_answers_as_meta_wants_it(db: Database, sandbox: Sandbox, door: str) -> None:
    account_id, job_id = await person(db)
    meta: Meta = sandbox.meta
    url = f"{door}/meta/data-deletion"
    for forged in FORGERIES:
        assert (await sent(meta.send_data_deletion, url, PERSON, **forged)).status == 400, forged
    assert (await account(db, account_id))["status"] == "active"
    assert await db.fetch("select from orbyt_private.deletion_requests") == []

    answer: Delivery = await sent(meta.send_data_deletion, url, PERSON)
    # `parsed` is kept only where it is what Meta asks for: JSON with an address and a code.
    assert answer.parsed is not None
    assert set(answer.parsed) == {"url", "confirmation_code"}
    assert answer.content_type == "application/json"
    row = await account(db, account_id)
    assert (row["status"], row["name"]) == ("disconnected", "Deleted account")
    assert await secrets(db) == 0
    assert await db.value("select status from orbyt.publish_jobs where job_id = %s", [job_id]) == "cancelled"
    # A replay gets a code of its own; both pages say the same, and neither says who it was.
    again: Delivery = await sent(meta.send_data_deletion, url, PERSON)
    async with httpx.AsyncClient(trust_env=False) as browser:
        for each in (answer, again):
            assert each.parsed["confirmation_code"] in each.parsed["url"]
            page = await browser.get(each.parsed["url"])
            assert page.status_code == 200
            assert page.text.startswith("Done: what we held about your accounts was deleted on ")
            assert page.headers["content-type"] == "text/plain; charset=utf-8"
            assert page.headers["x-content-type-options"] == "nosniff"
            assert page.headers["cache-control"] == "no-store"
            assert PERSON not in page.text
            assert str(account_id) not in page.text
    assert answer.parsed["confirmation_code"] != again.parsed["confirmation_code"]


# Mux ---------------------------------------------------------------------------------------------------------------------


async def test_a_webhook_of_mux_wakes_what_waits_for_the_video(db: Database, sandbox: Sandbox, door: str) -> None:
    asset = sandbox.mux.create_asset()
    job_id = await waiting_job(db, f"mux://{asset.playback_id}")
    ready = partial(sandbox.mux.send_webhook, f"{door}/mux/webhook", "video.asset.ready", asset.asset_id)
    refused: list[dict[str, Any]] = [
        *({"secret": "of another endpoint"}, {"age_seconds": TOLERANCE_SECONDS + 10}),
        *({"age_seconds": -TOLERANCE_SECONDS - 10}, {"tamper": "body"}, {"tamper": "signature"}),
        *({"tamper": "missing"}, {"tamper": "no_time"}),
    ]
    for forged in refused:
        (answer,) = await sent(ready, **forged)
        assert (answer.status, answer.parsed["error"]) == (400, "signature_invalid"), forged
    (answer,) = await sent(ready, body="no JSON")
    assert (answer.status, answer.parsed["error"]) == (400, "json_object_expected")
    assert await seconds_left(db, job_id) > 30

    # The worker's loop is told as well, so that nobody waits for a poll.
    listener = await db.connect()
    await listener.execute("listen orbyt_jobs")
    answers: list[Delivery] = await sent(ready, times=3, tamper="rotated")
    assert [each.status for each in answers] == [200] * 3
    assert [each.parsed["woken"] for each in answers] == [1, 0, 0]
    # Mux gives up after five seconds.
    assert max(each.seconds for each in answers) < 5
    assert await seconds_left(db, job_id) <= 5
    assert [each.channel async for each in listener.notifies(timeout=5, stop_after=1)] == ["orbyt_jobs"]


async def test_a_webhook_about_a_file_or_a_failure_wakes_too(db: Database, sandbox: Sandbox, door: str) -> None:
    asset, other = sandbox.mux.create_asset(), sandbox.mux.create_asset()
    job_id = await waiting_job(db, f"mux://{asset.playback_id}")
    url = f"{door}/mux/webhook"
    for kind, about in (
        ("video.asset.created", asset),
        ("video.asset.static_rendition.created", asset),
        ("video.asset.ready", other),
    ):
        (answer,) = await sent(sandbox.mux.send_webhook, url, kind, about.asset_id)
        assert (answer.status, answer.parsed) == (200, {"woken": 0}), kind
    for kind in ("video.asset.static_rendition.ready", "video.asset.errored"):
        (answer,) = await sent(sandbox.mux.send_webhook, url, kind, asset.asset_id)
        assert (answer.status, answer.parsed) == (200, {"woken": 1}), kind
        await db.execute(
            "update orbyt.publish_jobs set run_at = now() + interval '50 seconds' where job_id = %s", [job_id]
        )
    # A video the sandbox never heard of: Mux' events about other environments, and about what was deleted since.
    (answer,) = await sent(sandbox.mux.send_webhook, url, "video.asset.ready", "unknown")
    assert json.loads(answer.body)["woken"] == 1
