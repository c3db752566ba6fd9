"""What the OpenAPI document promises, tried with hundreds of odd requests on a worker process and a real database.

Schemathesis makes requests out of the document, fitting ones and broken ones; some of them are signed as the platform would, so
that it is not only the signature check that is tried. No answer is a 5xx, and each one is as the document says. The requests are
the same in every run (derandomized), so a failure here is not a matter of luck.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orbyt_worker.sandbox.mux import WEBHOOK_SECRET
from orbyt_worker.sandbox.postgres import free_port
from orbyt_worker.web.app import openapi
from tests.fix_world import World

# For each operation, of each kind of request.
EXAMPLES = 40
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# What must have been met, or the requests were too tame to show anything.
MET = {
    "healthz": {200},
    "readyz": {200},
    "metrics": {200},
    "connect_callback": {303},
    "meta_deauthorize": {200, 400},
    "meta_data_deletion": {200, 400},
    "meta_data_deletion_status": {200, 404},
    "mux_webhook": {200, 400},
}

# The others take no body, and any query at all.
BREAKABLE = {"meta_deauthorize", "meta_data_deletion", "mux_webhook"}

SCHEMA = schemathesis.openapi.from_dict(openapi())
Operation = APIOperation[Any, Any, Any, Any]
Cases = st.SearchStrategy[Case[Any]]
OPERATIONS: list[Operation] = [each.ok() for each in SCHEMA.get_all_operations() if isinstance(each, Ok)]


@pytest.fixture
def url(world: World) -> Iterator[str]:
    """The endpoint of a worker, as an operator starts it, when it is ready."""
    port = free_port()
    with world.connecting_worker(port=port) as worker:
        url = f"http://127.0.0.1:{port}"
        world.wait_until(world.connectable)
        world.wait_until(lambda: requests.get(f"{url}/readyz", timeout=5).status_code == 200)
        yield url
        assert worker.stop() == 0
        log = worker.log_text()
        assert "Traceback" not in log
        assert "http.failed" not in log
        assert "connect.failed" not in log


Sign = Callable[[requests.PreparedRequest], requests.PreparedRequest]


def signed_by_mux(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Whatever the body is."""
    at = int(time.time())
    body = request.body or b""
    content = body.encode() if isinstance(body, str) else body
    assert isinstance(content, bytes)
    digest = hmac.digest(WEBHOOK_SECRET.encode(), f"{at}.".encode() + content, "sha256").hex()
    request.headers["mux-signature"] = f"t={at},v1={digest}"
    return request


def signed_by_meta(payload: object, secret: str) -> Sign:
    """The payload instead of the body."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        text = encoded(json.dumps(payload).encode())
        signature = encoded(hmac.digest(secret.encode(), text.encode(), "sha256"))
        request.prepare_body(urlencode({"signed_request": f"{signature}.{text}"}), None)
        request.headers["content-type"] = "application/x-www-form-urlencoded"
        return request

    return sign


ADDRESSES = ip_network("10.0.0.0/8").hosts()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
USER_ID = st.from_regex(r"[0-9]{1,32}", fullmatch=True) | st.integers() | JSON
SIGNED = (
    st.fixed_dictionaries(
        {"algorithm": st.just("HMAC-SHA256"), "user_id": USER_ID},
        optional={"issued_at": st.integers() | JSON, "expires": JSON},
    )
    | JSON
)
EVENT = st.fixed_dictionaries(
    {"type": st.sampled_from(["video.asset.ready", "video.asset.static_rendition.ready"]) | JSON},
    optional={"id": JSON, "data": JSON | st.fixed_dictionaries({"playback_ids": JSON | st.lists(JSON)})},
)


def signs(path: str, secrets: Sequence[str]) -> st.SearchStrategy[Sign | None]:
    """How a request to this route may be signed."""
    unsigned: st.SearchStrategy[Sign | None] = st.none()
    if path == "/mux/webhook":
        return unsigned | st.just(signed_by_mux)
    if path in {"/meta/deauthorize", "/meta/data-deletion"}:
        return unsigned | st.builds(signed_by_meta, SIGNED, st.sampled_from(secrets))
    return unsigned


@settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def ask(
    data: st.DataObject,
    url: str,
    session: requests.Session,
    secrets: Sequence[str],
    cases: Cases,
    path: str,
    met: set[int],
) -> None:
    case = data.draw(cases)
    session.auth = data.draw(signs(path, secrets))
    if path == "/mux/webhook" and data.draw(st.booleans()):
        case.body = data.draw(EVENT)
    # Through the proxy on this machine comes somebody else each time: what is tried here are not the limits.
    session.headers["x-forwarded-for"] = str(next(ADDRESSES))
    response = case.call(base_url=url, session=session, allow_redirects=False, timeout=20)
    met.add(response.status_code)
    case.validate_response(response, checks=CHECKS)


def test_every_answer_is_as_the_document_says(url: str, world: World, subtests: pytest.Subtests) -> None:
    app = world.sandbox.state.meta.app
    secrets = [app.secret, app.instagram_secret]
    with requests.Session() as session:
        session.trust_env = False
        person = signed_by_meta({"algorithm": "HMAC-SHA256", "user_id": 1}, secrets[0])
        code = session.post(f"{url}/meta/data-deletion", auth=person).json()["confirmation_code"]
        for operation in OPERATIONS:
            name = operation.definition.raw["operationId"]
            cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
            if name == "meta_data_deletion_status":
                cases |= operation.as_strategy(path_parameters={"code": code})
            met: set[int] = set()
            given = {"url": url, "session": session, "secrets": secrets, "path": operation.path, "met": met}
            with subtests.test(name):
                ask(cases=cases, **given)
                assert met >= MET[name]
            if name in BREAKABLE:
                with subtests.test(f"{name}, broken"):
                    ask(cases=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), **given)
