"""The simulator's rupload: headers, offsets, interruptions, hosted files, and its own errors."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.meta_client import Page, error, rupload_error

DATA = bytes(range(256)) * 40


@pytest.fixture
def page(sandbox: Sandbox, client: httpx.Client) -> Page:
    sandbox.meta.configure(check_content=False)
    return Page.of(client, sandbox.meta.create_page())


@pytest.fixture
def started(page: Page) -> tuple[str, str]:
    return page.start("video_reels")


@pytest.fixture
def url(started: tuple[str, str]) -> str:
    return started[1]


def _stored(sandbox: Sandbox) -> tuple[int, str, bool]:
    (video,) = sandbox.meta.facebook.list_videos()
    return video.stored_bytes, video.sha256, video.uploaded


def test_bytes_with_headers(sandbox: Sandbox, page: Page, url: str) -> None:
    assert url.startswith(sandbox.base_url + "/rupload.facebook.com/video-upload/v25.0/")
    assert page.upload(url, DATA).json()["success"] is True
    assert _stored(sandbox) == (len(DATA), hashlib.sha256(DATA).hexdigest(), True)


@pytest.mark.parametrize(
    "headers",
    [
        {"offset": ""},
        {"file_size": ""},
        {"offset": "-1"},
        {"offset": "zero"},
        {"file_size": "1.5"},
        {"file_size": "0"},
    ],
)
def test_headers_that_are_missing_or_no_numbers(
    sandbox: Sandbox, page: Page, url: str, headers: dict[str, Any]
) -> None:
    answer = page.upload(url, DATA, **headers)
    assert (answer.status_code, rupload_error(answer)) == (400, "ParameterValidationError")
    assert "error" not in answer.json()
    assert _stored(sandbox)[0] == 0


def test_the_token_is_an_oauth_header_and_nothing_else(
    sandbox: Sandbox, client: httpx.Client, page: Page, url: str
) -> None:
    sized = {"offset": "0", "file_size": str(len(DATA))}
    for headers in (sized, {**sized, **page.bearer}, {**sized, "Authorization": "OAuth EAABnobody"}):
        answer = client.post(url, params={"access_token": page.token}, content=DATA, headers=headers)
        assert rupload_error(answer) == "NotAuthorizedError"
    account = sandbox.meta.create_instagram(login="instagram")
    page.token = account.access_token
    assert rupload_error(page.upload(url, DATA)) == "NotAuthorizedError"


def test_a_dead_or_foreign_token(sandbox: Sandbox, client: httpx.Client, page: Page, url: str) -> None:
    foreign = Page.of(client, sandbox.meta.create_page()).upload(url, DATA)
    assert rupload_error(foreign) == "ProcessingFailedError"
    inner = json.loads(foreign.json()["debug_info"]["message"])
    assert inner == {"success": False, "error": {"message": "unauthorized user request"}}
    assert rupload_error(page.upload(url + "0", DATA)) == "ProcessingFailedError"
    sandbox.meta.kill_token(page.token, "password_changed")
    assert rupload_error(page.upload(url, DATA)) == "NotAuthorizedError"


def test_offsets_and_lengths(sandbox: Sandbox, page: Page, url: str) -> None:
    assert rupload_error(page.upload(url, DATA, 100)) == "OffsetInvalidError"
    assert rupload_error(page.upload(url, DATA, file_size=str(len(DATA) + 1))) == "PartialRequestError"
    assert rupload_error(page.upload(url, DATA, file_size=str(len(DATA) - 1))) == "PartialRequestError"
    assert _stored(sandbox)[0] == 0


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_body_without_a_length_is_counted(
    sandbox: Sandbox, client: httpx.Client, page: Page, url: str, difference: int
) -> None:
    def pieces() -> Iterator[bytes]:
        yield DATA[:5000]
        yield DATA[5000:] + b"!" if difference > 0 else DATA[5000:-1]

    headers = {"Authorization": f"OAuth {page.token}", "offset": "0", "file_size": str(len(DATA))}
    assert rupload_error(client.post(url, content=pieces(), headers=headers)) == "PartialRequestError"
    assert _stored(sandbox)[2] is False


def test_an_interrupted_upload_goes_on_from_where_it_stands(
    sandbox: Sandbox, page: Page, started: tuple[str, str]
) -> None:
    video_id, url = started
    sandbox.faults.add("meta.rupload.facebook", "drop_during", bytes=3000)
    with pytest.raises(httpx.TransportError):
        page.upload(url, DATA)
    uploading = page.status(video_id)["uploading_phase"]
    assert (uploading["status"], uploading["bytes_transferred"]) == ("in_progress", 3000)
    assert uploading["source_file_size"] == len(DATA)
    assert rupload_error(page.upload(url, DATA)) == "OffsetInvalidError"
    assert page.upload(url, DATA, 3000).json()["success"] is True
    assert _stored(sandbox) == (len(DATA), hashlib.sha256(DATA).hexdigest(), True)


def test_a_dropped_answer_leaves_a_complete_upload(sandbox: Sandbox, page: Page, started: tuple[str, str]) -> None:
    video_id, url = started
    sandbox.faults.add("meta.rupload", "drop_after")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        page.upload(url, DATA)
    assert page.status(video_id)["uploading_phase"]["status"] == "complete"
    assert sandbox.meta.problems() == []
    assert rupload_error(page.upload(url, DATA)) == "ProcessingFailedError"
    assert sandbox.meta.problems() == [f"upload to {video_id}: finished"]


def test_an_old_version(page: Page, url: str) -> None:
    assert error(page.upload(url.replace("v25.0", "v20.0"), DATA)) == (2500, None)


def test_injected_errors_in_both_shapes(sandbox: Sandbox, page: Page, url: str) -> None:
    sandbox.faults.add("meta.rupload", "meta_error", reason="ProcessingFailedError", transient=True)
    answer = page.upload(url, DATA)
    assert rupload_error(answer) == "ProcessingFailedError"
    assert answer.json()["debug_info"]["retriable"] is True
    sandbox.faults.add("meta.rupload", "meta_error", code=190, subcode=460)
    assert error(page.upload(url, DATA)) == (190, 460)
    assert _stored(sandbox)[0] == 0
    assert page.upload(url, DATA).status_code == 200


# --- hosted files -------------------------------------------------------------------------------------------------


def _hosted(page: Page, url: str, address: str, content: bytes = b"") -> httpx.Response:
    headers = {"Authorization": f"OAuth {page.token}", "file_url": address}
    return page.client.post(url, content=content, headers=headers)


def test_a_hosted_file_is_fetched(sandbox: Sandbox, page: Page, url: str) -> None:
    sandbox.media.add_body("v.mp4", media_files.literal(DATA, "video/mp4"))
    assert _hosted(page, url, sandbox.media.url("v.mp4")).json()["success"] is True
    assert _stored(sandbox) == (len(DATA), hashlib.sha256(DATA).hexdigest(), True)


def test_hosted_files_that_are_refused(sandbox: Sandbox, page: Page, url: str) -> None:
    for address in (
        sandbox.media.url("nothing.mp4"),
        "https://video.xx.fbcdn.net/v.mp4",
        "ftp://example.com/v.mp4",
        "https://user:word@example.com/v.mp4",
        "http://192.168.1.1/v.mp4",
        "http://127.0.0.1:9/v.mp4",
    ):
        assert rupload_error(_hosted(page, url, address)) == "ProcessingFailedError", address
    sandbox.media.add_body("v.mp4", media_files.literal(DATA, "video/mp4"))
    assert rupload_error(_hosted(page, url, sandbox.media.url("v.mp4"), DATA)) == "ParameterValidationError"
    in_body = page.client.post(
        url, data={"file_url": sandbox.media.url("v.mp4")}, headers={"Authorization": f"OAuth {page.token}"}
    )
    assert rupload_error(in_body) == "ParameterValidationError"
    assert _stored(sandbox)[2] is False


@pytest.mark.parametrize(
    ("rules", "accepted"), [("User-agent: *\nDisallow: /", False), ("User-agent: *\nAllow: /", True)]
)
def test_robots_txt_is_honoured(sandbox: Sandbox, page: Page, url: str, rules: str, accepted: bool) -> None:
    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = rules.encode() if self.path == "/robots.txt" else DATA
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
            return

    sandbox.meta.configure(allow_private_urls=True)
    with HTTPServer(("127.0.0.1", 0), Host) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            answer = _hosted(page, url, f"http://127.0.0.1:{server.server_port}/v.mp4")
        finally:
            server.shutdown()
            thread.join()
    assert (answer.status_code == 200) is accepted
