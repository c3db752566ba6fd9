"""The server, its control API, faults on every route, the request log and the clock."""

from __future__ import annotations

import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox.clock import SandboxClock
from orbyt_worker.sandbox.faults import Faults
from orbyt_worker.sandbox.google import AccountHandle
from orbyt_worker.sandbox.server import SandboxRefused, SandboxServer
from orbyt_worker.sandbox.state import Sandbox
from orbyt_worker.settings import Settings
from tests.sandbox.youtube_client import API

MINE = {"part": "id", "mine": "true"}


def test_it_refuses_production_and_other_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("0.0.0.0", "192.0.2.1"):  # noqa: S104 - that it is refused is the test
        with pytest.raises(SandboxRefused):
            SandboxServer(host)
    monkeypatch.setenv("ORBYT_ENVIRONMENT", "production")
    with pytest.raises(SandboxRefused):
        SandboxServer()


async def test_it_starts_and_stops_inside_an_event_loop() -> None:
    async with SandboxServer() as server, httpx.AsyncClient() as client:
        assert (await client.get(f"{server.url}/media/photo.jpg")).status_code == 200
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{server.url}/media/photo.jpg")


def test_an_answer_does_not_wait_for_an_acknowledgement(sandbox: Sandbox, client: httpx.Client) -> None:
    client.get("/media/photo.jpg")
    open_sockets = [each.get_extra_info("socket") for each in sandbox.connections._transports.values()]
    assert open_sockets
    assert all(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for each in open_sockets)


def test_it_stops_while_a_request_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    server = SandboxServer().start()
    server.state.faults.add("media", "hang", seconds=300)
    hanging, failed = threading.Event(), threading.Event()
    pause = server.state.connections.pause

    async def announced_pause(seconds: float) -> None:
        hanging.set()
        await pause(seconds)

    monkeypatch.setattr(server.state.connections, "pause", announced_pause)

    def ask() -> None:
        try:
            httpx.get(server.state.media.url("good.mp4"), timeout=60)
        except httpx.HTTPError:
            failed.set()

    asking = threading.Thread(target=ask)
    asking.start()
    assert hanging.wait(10)
    server.stop()
    assert failed.wait(10)
    asking.join()


def test_the_settings_fit_the_worker(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**server.settings_env(), "ORBYT_DATABASE_URL": "postgresql://localhost/x"}.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.sandbox
    assert settings.youtube_url == f"{server.url}/youtube-api"
    fields = {name.upper() for name in Settings.model_fields}
    assert {name.removeprefix("ORBYT_") for name in server.settings_env()} <= fields


# --- faults -------------------------------------------------------------------------------------------------------


def ask(client: httpx.Client, bearer: dict[str, str]) -> httpx.Response:
    return client.get(f"{API}/channels", params=MINE, headers=bearer)


def test_faults_strike_when_due(sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str]) -> None:
    rule = sandbox.faults.add(
        "youtube.channels.list", "status", status=502, after=1, times=2, headers={"Retry-After": "3"}
    )
    answers = [ask(client, bearer) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 502, 502, 200]
    assert answers[1].headers["retry-after"] == "3"
    assert sandbox.faults.used(rule) == 2
    sandbox.faults.add("youtube.channels.list", "status", times=None)
    assert [ask(client, bearer).status_code for _ in range(3)] == [503] * 3
    sandbox.faults.clear()
    assert ask(client, bearer).status_code == 200


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_dropped_connections_are_real(
    sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str], kind: Any
) -> None:
    before = sandbox.youtube.quota().units_used
    sandbox.faults.add("youtube", kind)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        ask(client, bearer)
    assert sandbox.youtube.quota().units_used - before == (1 if kind == "drop_after" else 0)
    assert ask(client, bearer).status_code == 200
    entry = sandbox.requests.list("youtube.channels.list")[0]
    assert (entry.fault, entry.cut, entry.status) == (kind, True, None)


def test_hang_and_slow(sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str]) -> None:
    sandbox.faults.add("youtube", "hang", seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        client.get(f"{API}/channels", params=MINE, headers=bearer, timeout=0.1)
    sandbox.faults.add("youtube", "slow", seconds=0.2)
    started = time.monotonic()
    assert ask(client, bearer).status_code == 200
    assert time.monotonic() - started >= 0.2
    sandbox.faults.add("youtube", "hang", seconds=0.01)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        ask(client, bearer)


def test_rules_are_checked_when_added() -> None:
    faults = Faults()
    for route, kind, options in (
        ("mux.api", "partial_accept", {}),
        ("media", "quota_exceeded", {}),
        ("youtube.upload", "video_outcome", {}),
        ("media", "status", {"status": 99}),
        ("media", "hang", {"seconds": 10_000}),
        ("media", "status", {"times": 0}),
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - each has its own text
            faults.add(route, kind, **options)  # type: ignore[arg-type] # wrong on purpose
    rule = faults.add("media", "status", method="HEAD", path_contains="good")
    assert faults.take("media", frozenset({"status"}), method="GET", path="/media/good.mp4") is None
    assert faults.take("media", frozenset({"status"}), method="HEAD", path="/media/good.mp4") is not None
    assert faults.remove(rule)
    assert not faults.remove(rule)


# --- request log --------------------------------------------------------------------------------------------------


def test_the_log_keeps_no_secret(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle, bearer: dict[str, str]
) -> None:
    ask(client, bearer)
    client.get("/google/tokeninfo", params={"access_token": bearer["Authorization"][7:]})
    text = repr(sandbox.requests.list()) + repr(sandbox.google.token_calls())
    assert bearer["Authorization"][7:] not in text
    assert account.refresh_token not in text
    first, second = sandbox.requests.list()
    assert (first.route, first.query_names, first.status) == ("youtube.channels.list", ["part", "mine"], 200)
    assert first.authorization_hash is not None
    assert "authorization" in first.header_names
    assert second.query_names == ["access_token"]
    assert sandbox.requests.count("youtube") == 1
    assert sandbox.requests.count("youtube.channel") == 0


# --- control API --------------------------------------------------------------------------------------------------


def call(client: httpx.Client, path: str, **arguments: Any) -> Any:
    answer = client.post(f"/_control/{path}", json=arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def test_everything_is_reachable_over_http(client: httpx.Client) -> None:
    account = call(
        client, "google/create_account", channel_title="Mine", scopes=["https://www.googleapis.com/auth/youtube"]
    )
    token = call(client, "google/issue_access_token", refresh_token=account["refresh_token"])
    bearer = {"Authorization": f"Bearer {token}"}
    assert ask(client, bearer).status_code == 200
    asset = call(client, "mux/create_asset", size_bytes=1_000_000, behaviour={"ranges": False})
    assert client.get(asset["stream_url"] + "/highest.mp4", headers={"Range": "bytes=0-1"}).status_code == 200
    assert call(client, "youtube/count") == 0
    assert (
        client.get("/_control/youtube/list_videos", params={"channel_id": account["channel_id"]}).json()["result"] == []
    )
    call(client, "faults/add", route="youtube", kind="status", status=500)
    assert ask(client, bearer).status_code == 500
    before = datetime.fromisoformat(client.get("/_control/clock/read").json()["result"])
    after = datetime.fromisoformat(call(client, "clock/advance", seconds=7200))
    assert after - before >= timedelta(hours=2)
    assert ask(client, bearer).status_code == 401
    call(client, "sandbox/reset")
    assert client.get("/_control/google/accounts").json()["result"] == []


def test_the_index_describes_each_operation(client: httpx.Client) -> None:
    listed = {entry["path"]: entry for entry in client.get("/_control").json()}
    assert {
        "/_control/google/create_account",
        "/_control/faults/add",
        "/_control/clock/advance",
        "/_control/media/add",
    } <= set(listed)
    assert all(entry["summary"] for entry in listed.values())
    assert listed["/_control/youtube/count"]["methods"] == ["GET", "POST"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "clock/advance", {"seconds": "soon"}, 400),
        ("POST", "clock/advance", {"seconds": -1}, 400),
        ("POST", "clock/advance", {"surprise": 1}, 400),
        ("GET", "clock/advance", None, 405),
        ("POST", "clock/now", {}, 404),
        ("POST", "youtube/get_video", {"video_id": "none"}, 404),
        ("POST", "faults/add", {"route": "media", "kind": "nonsense"}, 400),
        ("POST", "mux/create_asset", {"renditions": ["highest", "720p"]}, 400),
    ],
)
def test_mistakes_are_told(client: httpx.Client, method: str, path: str, body: Any, status: int) -> None:
    answer = client.request(method, f"/_control/{path}", json=body)
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
def test_web_pages_are_kept_out(client: httpx.Client, headers: dict[str, str]) -> None:
    assert client.post("/_control/sandbox/reset", headers=headers).status_code == 403


# --- clock --------------------------------------------------------------------------------------------------------


def test_the_clock_moves_forward_only() -> None:
    clock = SandboxClock()
    start = clock.freeze()
    assert clock.now() == start
    assert clock.advance(10) == start + timedelta(seconds=10)
    assert clock.set(start + timedelta(days=1)) == start + timedelta(days=1)
    with pytest.raises(ValueError, match="forward"):
        clock.set(start)
    with pytest.raises(ValueError, match="zone"):
        clock.set(datetime(2100, 1, 1))  # noqa: DTZ001 - without a zone on purpose
    clock.run()
    assert clock.now() >= start + timedelta(days=1)
    clock.reset()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
