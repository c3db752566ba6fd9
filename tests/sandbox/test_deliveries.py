"""What the platforms send by themselves: Meta's signed requests and Mux's webhooks, as a receiver with its own check sees them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from orbyt_worker.sandbox.mux import WEBHOOK_SECRET
from orbyt_worker.sandbox.state import Sandbox

USER = "1234567890"


@dataclass
class Receiver:
    """An address of ours that keeps what it gets and answers what it is told."""

    url: str = ""
    status: int = 200
    answer: bytes = b"{}"
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def fields(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.got[-1][1].decode()).items()}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(made.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(made.answer)))
            self.end_headers()
            self.wfile.write(made.answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        made.url = f"http://127.0.0.1:{server.server_port}/callback"
        yield made
        server.shutdown()
        serving.join()


def opened(value: str, secret: str) -> dict[str, Any] | None:
    """The payload of a signed request, if everything about it is right."""
    signature, _, payload = value.partition(".")
    expected = hmac.new(secret.encode(), payload.encode(), hashlib.sha256).digest()
    if signature != base64.urlsafe_b64encode(expected).rstrip(b"=").decode():
        return None
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found if found.get("algorithm") == "HMAC-SHA256" else None


# --- Meta ---------------------------------------------------------------------------------------------------------


def test_an_honest_deauthorize_callback(sandbox: Sandbox, receiver: Receiver) -> None:
    answer = sandbox.meta.send_deauthorize(receiver.url, USER)
    assert (answer.status, answer.body) == (200, "{}")
    assert set(receiver.fields) == {"signed_request"}
    assert receiver.got[-1][0]["content-type"] == "application/x-www-form-urlencoded"
    payload = opened(receiver.fields["signed_request"], sandbox.meta.app.secret)
    assert payload is not None
    assert payload["user_id"] == USER
    assert abs(payload["issued_at"] - time.time()) < 60


def test_each_login_signs_with_its_own_secret(sandbox: Sandbox, receiver: Receiver) -> None:
    app = sandbox.meta.app
    sandbox.meta.send_deauthorize(receiver.url, USER, login="instagram")
    assert opened(receiver.fields["signed_request"], app.instagram_secret) is not None
    assert opened(receiver.fields["signed_request"], app.secret) is None
    sandbox.meta.send_deauthorize(receiver.url, USER, login="instagram", secret="other_login")
    assert opened(receiver.fields["signed_request"], app.secret) is not None


@pytest.mark.parametrize(
    "forged",
    [
        {"secret": "wrong"},
        {"secret": "other_login"},
        {"tamper": "payload"},
        {"tamper": "signature"},
        {"tamper": "padding"},
        {"tamper": "unsigned"},
        {"algorithm": "HMAC-SHA1"},
        {"algorithm": "none"},
        {"algorithm": "missing"},
        {"signed_request": "neither.this"},
        {"signed_request": "ä"},
    ],
)
def test_forgeries_do_not_open(sandbox: Sandbox, receiver: Receiver, forged: dict[str, Any]) -> None:
    sandbox.meta.send_data_deletion(receiver.url, USER, **forged)
    assert opened(receiver.fields["signed_request"], sandbox.meta.app.secret) is None


@pytest.mark.parametrize(
    ("status", "answer", "fits"),
    [
        (200, b'{"url": "https://orbyt.example/deletions/1", "confirmation_code": "1"}', True),
        (202, b'{"url": "https://orbyt.example/deletions/1", "confirmation_code": "1"}', False),
        (200, b'{"url": "https://orbyt.example/deletions/1"}', False),
        (200, b'{"url": "deletions/1", "confirmation_code": "1"}', False),
        (200, b"{url: 'https://orbyt.example', confirmation_code: '1'}", False),
    ],
)
def test_a_data_deletion_wants_a_page_and_a_code(
    sandbox: Sandbox, receiver: Receiver, status: int, answer: bytes, fits: bool
) -> None:
    receiver.status, receiver.answer = status, answer
    delivered = sandbox.meta.send_data_deletion(receiver.url, USER)
    assert delivered.status == status
    assert (delivered.parsed is not None) is fits


def test_nothing_is_sent_off_this_machine(sandbox: Sandbox, client: httpx.Client) -> None:
    for url in ("http://example.com/callback", "https://192.0.2.1/", "http://127.0.0.1.example.com/"):
        with pytest.raises(ValueError, match="loopback"):
            sandbox.meta.send_deauthorize(url, USER)
    with pytest.raises(ValueError, match="did not answer"):
        sandbox.meta.send_deauthorize("http://127.0.0.1:1/", USER)
    answer = client.post("/_control/meta/send_deauthorize", json={"url": "http://example.com/", "user_id": USER})
    assert answer.status_code == 400


# --- Mux ----------------------------------------------------------------------------------------------------------


def signed(receiver: Receiver, secret: str = WEBHOOK_SECRET) -> bool:
    """Whether the newest delivery carries a signature of its own body that is fresh."""
    headers, body = receiver.got[-1]
    parts = [part.split("=", 1) for part in headers.get("mux-signature", "").split(",") if part]
    times = [value for name, value in parts if name == "t"]
    if len(times) != 1 or abs(time.time() - int(times[0])) > 300:
        return False
    expected = hmac.new(secret.encode(), times[0].encode() + b"." + body, hashlib.sha256).hexdigest()
    return expected in [value for name, value in parts if name == "v1"]


def test_a_webhook_about_a_file(sandbox: Sandbox, receiver: Receiver) -> None:
    asset = sandbox.mux.create_asset()
    kind = "video.asset.static_rendition.ready"
    first, second = sandbox.mux.send_webhook(receiver.url, kind, asset.asset_id, times=2)
    assert (first.status, second.status) == (200, 200)
    assert signed(receiver)
    one, two = (json.loads(body) for _, body in receiver.got)
    assert one["id"] == two["id"]
    assert (one["type"], one["data"]["asset_id"], one["data"]["name"]) == (kind, asset.asset_id, "highest.mp4")
    assert one["data"]["status"] == "ready"
    assert one["object"] == {"type": "static_rendition", "id": one["data"]["id"]}
    sandbox.mux.send_webhook(receiver.url, kind, asset.asset_id)
    assert json.loads(receiver.got[-1][1])["id"] != one["id"]


def test_a_webhook_about_an_asset(sandbox: Sandbox, receiver: Receiver) -> None:
    asset = sandbox.mux.create_asset(policy="signed")
    sandbox.mux.send_webhook(receiver.url, "video.asset.ready", asset.asset_id, event_id="event-1")
    event = json.loads(receiver.got[-1][1])
    assert (event["id"], event["data"]["id"], event["object"]["type"]) == ("event-1", asset.asset_id, "asset")
    assert event["data"]["playback_ids"] == [{"id": asset.playback_id, "policy": "signed"}]
    sandbox.mux.send_webhook(receiver.url, "video.asset.deleted", "unknown")
    assert json.loads(receiver.got[-1][1])["data"] == {"id": "unknown"}


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        ({}, True),
        ({"tamper": "rotated"}, True),
        ({"age_seconds": 290}, True),
        ({"body": "no JSON"}, True),
        ({"secret": "wrong"}, False),
        ({"age_seconds": 310}, False),
        ({"age_seconds": -310}, False),
        ({"tamper": "body"}, False),
        ({"tamper": "signature"}, False),
        ({"tamper": "missing"}, False),
        ({"tamper": "no_time"}, False),
    ],
)
def test_signatures_and_forgeries(
    sandbox: Sandbox, receiver: Receiver, options: dict[str, Any], accepted: bool
) -> None:
    sandbox.mux.send_webhook(receiver.url, "video.asset.ready", "unknown", **options)
    assert signed(receiver) is accepted


def test_the_worker_gets_the_secret_of_the_webhook(sandbox: Sandbox) -> None:
    assert sandbox.settings_env()["ORBYT_MUX_WEBHOOK_SECRET"] == WEBHOOK_SECRET
    with pytest.raises(ValueError, match="times"):
        sandbox.mux.send_webhook("http://127.0.0.1:1/", "video.asset.ready", "unknown", times=0)
