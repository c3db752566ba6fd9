"""What holds for every route: headers, refusals, limits, request ids, and what is not written to the log."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from orbyt_worker.db.door_queries import CameBack, DoorQueries
from orbyt_worker.db.pool import Database as Pool
from orbyt_worker.web import guard, server
from orbyt_worker.web.app import http_app, openapi
from orbyt_worker.web.limits import LIMITS, OTHER, OTHER_LIMIT, Buckets, Limit, client_of, route_of
from orbyt_worker.web.parts import Parts
from tests.fix_clock import FakeClock
from tests.fix_postgres import Database
from tests.web.conftest import RETURN_TO, client_at, settings_of

OPERATIONS = [(path, method) for path, operations in openapi()["paths"].items() for method in operations]


def reached(path: str) -> str:
    return path.replace("{code}", "abcdef")


@pytest.fixture
async def bare(away: Parts) -> AsyncIterator[httpx.AsyncClient]:
    """Without a database behind it."""
    async with client_at(http_app(away)) as client:
        yield client


# Probes ----------------------------------------------------------------------------------------------------------------


async def test_probes_and_metrics(bare: httpx.AsyncClient, away: Parts) -> None:
    answer = await bare.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"live": True})
    answer = await bare.get("/readyz")
    assert answer.status_code == 503
    assert "no claim yet" in answer.json()["reason"]
    away.health.mark_claim_ok()
    answer = await bare.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reason": "", "claim_age_seconds": 0.0})
    answer = await bare.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "orbyt_worker_up{version=" in answer.text


async def test_probes_answer_head_as_well(bare: httpx.AsyncClient) -> None:
    """Uptime monitors ask that way."""
    assert (await bare.head("/healthz")).status_code == 200
    # A link that is looked at in advance must not use a state up.
    assert (await bare.head("/connect/callback?state=abc&code=x")).status_code == 405


# Refusals and headers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/redoc", "/openapi.json", "/healthz/", "/connect", "/meta/data-deletion/a/b"]
)
async def test_there_is_nothing_else(bare: httpx.AsyncClient, path: str) -> None:
    answer = await bare.get(path)
    assert answer.status_code == 404
    assert answer.json() == {"error": "not_found", "request_id": answer.headers["x-request-id"]}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
async def test_headers_of_every_answer(bare: httpx.AsyncClient, path: str, method: str) -> None:
    for each in (method, "delete"):
        answer = await bare.request(each.upper(), reached(path))
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "text/html" not in answer.headers.get("content-type", "")
        assert answer.headers["x-request-id"]
    assert answer.status_code == 405
    assert answer.json()["error"] == "method_not_allowed"
    assert method.upper() in answer.headers["allow"]


async def test_a_request_id_that_came_along_is_kept_if_it_is_one(bare: httpx.AsyncClient) -> None:
    given = "a1b2c3d4-proxy.7"
    assert (await bare.get("/healthz", headers={"x-request-id": given})).headers["x-request-id"] == given
    for odd in ("short", "x" * 65, "new\tline-in-it", '"><script>alert(1)</script>'):
        made = (await bare.get("/healthz", headers={"x-request-id": odd})).headers["x-request-id"]
        assert made != odd
        assert len(made) == 32


# Documentation ---------------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "http.md").read_text("utf-8")


def test_every_route_is_documented() -> None:
    headings = re.findall(r"^## `([A-Z]+ /\S*)`$", PAGE, re.MULTILINE)
    assert headings == [f"{method.upper()} {path}" for path, method in OPERATIONS]
    for path, operations in openapi()["paths"].items():
        for method, operation in operations.items():
            section = PAGE.split(f"## `{method.upper()} {path}`", 1)[1].split("\n## ", 1)[0]
            for parameter in operation.get("parameters", []):
                if parameter["in"] != "path":
                    assert re.search(rf"`{parameter['name']}\b", section), f"{path}: {parameter['name']}"


def test_every_limit_is_documented() -> None:
    rows = re.findall(r"^\| `?([^|`]+)`? \| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    documented = {route.strip(): (int(burst), float(minute), int(body)) for route, burst, minute, body in rows}
    limits = {**LIMITS, "anything else": OTHER_LIMIT}
    assert documented == {route: (each.burst, each.per_minute, each.body_bytes_max) for route, each in limits.items()}
    for text in (
        *(f"{guard.BODY_SECONDS_MAX:.0f} s to arrive", f"its answer {server.REQUEST_SECONDS_MAX:.0f} s"),
        *(
            f"may have {server.HEAD_BYTES_MAX // 1024} KiB",
            f"after {server.IDLE_SECONDS_MAX} s. At most {server.CONNECTIONS_MAX}",
        ),
        *(f"{server.CONNECTIONS_PER_CLIENT_MAX} of them from one", f"under way get {server.STOP_SECONDS_MAX} s"),
    ):
        assert text in " ".join(PAGE.split()), text


def test_every_refusal_is_documented() -> None:
    sources = "".join(path.read_text("utf-8") for path in Path(guard.__file__).parent.glob("*.py"))
    words = set(re.findall(r'Refused\(\s*\d+, "(\w+)"', sources)) | {
        "not_found",
        "method_not_allowed",
        "request_invalid",
    }
    assert len(words) >= 12
    section = PAGE.split("| Status | `error` |", 1)[1].split("\n\n", 1)[0]
    assert {word for row in section.splitlines() for word in re.findall(r"`([a-z_]+)`", row)} == words


# Limits ----------------------------------------------------------------------------------------------------------------


def test_every_route_has_a_limit_of_its_own() -> None:
    assert set(openapi()["paths"]) == set(LIMITS)
    for path in LIMITS:
        assert route_of(reached(path)) == path
    for path in ("/", "/healthz/", "/meta/data-deletion/", "/meta/data-deletion/a/b", "/meta/data-deletion/{code}/"):
        assert route_of(path) == OTHER


@pytest.mark.parametrize("path", [*LIMITS, "/no-such-thing"])
async def test_one_address_is_slowed_down_and_the_others_are_not(
    away: Parts, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    limit = dataclasses.replace(LIMITS.get(path, OTHER_LIMIT), burst=5)
    if path in LIMITS:
        monkeypatch.setitem(LIMITS, path, limit)
    else:
        monkeypatch.setattr(guard, "OTHER_LIMIT", limit)
    app = http_app(away)
    async with client_at(app) as client, client_at(app, "198.51.100.9") as other:
        for _ in range(limit.burst):
            assert (await client.delete(reached(path))).status_code in {404, 405}
        refused = await client.delete(reached(path))
        assert (refused.status_code, refused.json()["error"]) == (429, "too_many_requests")
        assert refused.headers["connection"] == "close"
        assert (await other.delete(reached(path))).status_code in {404, 405}
        # Another route has a bucket of its own.
        assert (await client.get("/healthz")).status_code == (429 if path == "/healthz" else 200)
        clock.advance(float(refused.headers["retry-after"]))
        assert (await client.delete(reached(path))).status_code in {404, 405}


async def test_a_login_ends_in_the_app_even_when_there_are_too_many(
    away: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand people behind one address of a mobile network: nobody is left on a page with JSON on it."""
    monkeypatch.setitem(LIMITS, "/connect/callback", Limit(per_minute=1, burst=1))
    nowhere = dataclasses.replace(away, settings=settings_of("postgres://x", connect_return_to=""))
    for parts, status in ((away, 303), (nowhere, 429)):
        async with client_at(http_app(parts)) as client:
            await client.get("/connect/callback?error=access_denied")
            answer = await client.get("/connect/callback?state=abc&code=abc")
            assert (answer.status_code, answer.headers.get("location")) == (
                status,
                f"{RETURN_TO}?status=failed" if status == 303 else None,
            )
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["connection"] == "close"
            # Only a browser is sent on.
            assert (await client.post("/connect/callback")).status_code == 429


def test_buckets_fill_up_at_their_rate(clock: FakeClock) -> None:
    buckets = Buckets(clock.monotonic)
    limit = Limit(per_minute=60, burst=2)
    assert [buckets.take("a", "r", limit) for _ in range(3)] == [0, 0, 1]
    clock.advance(0.5)
    assert buckets.take("a", "r", limit) == pytest.approx(0.5)
    clock.advance(3600)
    assert [buckets.take("a", "r", limit) for _ in range(3)] == [0, 0, 1]


def test_no_more_clients_are_remembered_than_fit(clock: FakeClock) -> None:
    buckets = Buckets(clock.monotonic, clients_max=3)
    limit = Limit(per_minute=1, burst=1)
    for client in ("a", "b", "c", "a", "d"):
        buckets.take(client, "r", limit)
    assert len(buckets) == 3
    # The one unheard of for longest was forgotten, the one that keeps coming was not.
    assert buckets.take("a", "r", limit) > 0
    assert buckets.take("b", "r", limit) == 0


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        (None, ""),
        ("not an address" * 10, ("not an address" * 10)[:64]),
    ],
)
def test_who_counts_as_one_client(host: str | None, client: str) -> None:
    assert client_of(host) == client


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
async def test_a_body_is_refused_when_it_is_too_large(bare: httpx.AsyncClient, path: str, method: str) -> None:
    size = LIMITS[path].body_bytes_max
    declared = await bare.request(method, reached(path), content=b"x" * (size + 1))
    assert (declared.status_code, declared.json()["error"]) == (413, "body_too_large")

    async def parts_of_it() -> AsyncIterator[bytes]:
        for _ in range(size // 1024 + 1):
            yield b"x" * 1024

    streamed = await bare.request(method, reached(path), content=parts_of_it())
    assert streamed.status_code == 413
    assert streamed.headers["connection"] == "close"
    assert (await bare.request(method, reached(path), content=b"x" * size)).status_code != 413


async def test_a_body_that_does_not_come_is_not_waited_for(away: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS_MAX", 0.01)

    async def never() -> Any:
        await asyncio.Event().wait()

    assert (await raw(away, never))[0]["status"] == 408


async def test_a_client_that_goes_away_gets_no_answer(away: Parts) -> None:
    async def gone() -> Any:
        return {"type": "http.disconnect"}

    assert await raw(away, gone) == []


async def raw(parts: Parts, receive: Any) -> list[Any]:
    """What is sent to a client whose body comes through `receive`."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/mux/webhook",
        "raw_path": b"/mux/webhook",
        "query_string": b"",
        "headers": [],
        "client": None,
        "http_version": "1.1",
        "scheme": "http",
        "server": None,
    }
    await http_app(parts)(scope, receive, send)
    return sent


# Without a database ----------------------------------------------------------------------------------------------------


async def test_probes_answer_without_a_database(away: Parts) -> None:
    async with client_at(http_app(away)) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
        answer = await client.get("/meta/data-deletion/abcdef")
        assert (answer.status_code, answer.json()["error"]) == (503, "database_unavailable")
        assert answer.headers["retry-after"] == "30"


async def test_a_login_ends_in_the_app_even_without_a_database(away: Parts) -> None:
    async with client_at(http_app(away)) as client:
        for query in ("state=abcdefghijklmnop&error=access_denied", "state=abcdefghijklmnop&code=abc", ""):
            answer = await client.get(f"/connect/callback?{query}")
            assert (answer.status_code, answer.headers["location"]) == (303, f"{RETURN_TO}?status=failed")
            assert answer.content == b""
    nowhere = dataclasses.replace(away, settings=settings_of("postgres://x", connect_return_to=""))
    async with client_at(http_app(nowhere)) as client:
        answer = await client.get("/connect/callback?state=abcdefghijklmnop&code=abc")
        assert (answer.status_code, answer.json()["error"]) == (503, "database_unavailable")


async def test_a_mistake_of_ours_says_nothing_about_itself(db: Database, web: httpx.AsyncClient) -> None:
    await db.execute("drop function orbyt_private.deletion_status(text)")
    with structlog.testing.capture_logs() as logs:
        answer = await web.get("/meta/data-deletion/abcdef")
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal_error", "request_id": answer.headers["x-request-id"]}
    assert [line["event"] for line in logs] == ["http.failed", "http.request"]
    # The browser of somebody who logs in is sent on all the same.
    await db.execute("drop function orbyt_private.connect_callback(text, text, text, text, timestamptz)")
    answer = await web.get("/connect/callback?state=abc&error=access_denied")
    assert answer.headers["location"] == f"{RETURN_TO}?status=failed"


class Mistaken(DoorQueries):
    async def connect_callback(self, state_hash: str, **_: object) -> CameBack:
        raise RuntimeError("a mistake of ours")


async def test_a_mistake_of_ours_does_not_keep_a_login_from_ending_in_the_app(away: Parts) -> None:
    mistaken = dataclasses.replace(away, queries=Mistaken(Pool("host=127.0.0.1 port=1", size_max=2), away.runtime))
    async with client_at(http_app(mistaken)) as client:
        with structlog.testing.capture_logs() as logs:
            answer = await client.get("/connect/callback?state=planted&error=access_denied")
        assert (answer.status_code, answer.headers["location"]) == (303, f"{RETURN_TO}?status=failed")
        assert [line["event"] for line in logs] == ["connect.failed", "http.request"]
        assert "planted" not in str(logs)


# Logs ------------------------------------------------------------------------------------------------------------------


async def test_no_log_line_holds_a_query_a_path_or_a_body(web: httpx.AsyncClient) -> None:
    planted = "planted-4f9a7c"
    with structlog.testing.capture_logs() as logs:
        await web.get(f"/connect/callback?state={planted}&code={planted}&error_message={planted}")
        await web.get(f"/meta/data-deletion/{planted}")
        await web.get(f"/{planted}?token={planted}")
        await web.request(planted.upper(), f"/{planted}")
        for path in ("/meta/deauthorize", "/meta/data-deletion"):
            await web.post(path, data={"signed_request": f"{planted}.{planted}"})
        await web.post("/mux/webhook", json={"id": planted}, headers={"mux-signature": f"t=1,v1={planted}"})
    assert len(logs) >= 7
    assert {line["route"] for line in logs if line["event"] == "http.request"} >= {"/connect/callback", OTHER}
    assert planted not in str(logs)
    assert planted.upper() not in str(logs)
