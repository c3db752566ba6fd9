"""A plain, honest YouTube uploader for the tests of the simulator: small calls, no retries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

BLOCK = 256 * 1024
UPLOAD = "/youtube-upload/upload/youtube/v3/videos"
API = "/youtube-api/youtube/v3"


def reason(response: httpx.Response) -> str:
    """`errors[0].reason` of Google's envelope."""
    return str(response.json()["error"]["errors"][0]["reason"])


def start(
    client: httpx.Client,
    bearer: dict[str, str],
    size: int,
    *,
    snippet: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    params: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    body: Any = None,
) -> httpx.Response:
    """Start a session."""
    given = (
        body
        if body is not None
        else {
            "snippet": {"title": "A video", **(snippet or {})},
            "status": {"privacyStatus": "private", "selfDeclaredMadeForKids": False, **(status or {})},
        }
    )
    return client.post(
        UPLOAD,
        params={"uploadType": "resumable", "part": "snippet,status", **(params or {})},
        json=given,
        headers={
            **bearer,
            "X-Upload-Content-Length": str(size),
            "X-Upload-Content-Type": "video/mp4",
            **(headers or {}),
        },
    )


@dataclass
class Session:
    client: httpx.Client
    bearer: dict[str, str]
    address: str
    total: int

    def put(self, data: bytes, first: int, **headers: str) -> httpx.Response:
        """One chunk."""
        return self.client.put(
            self.address,
            content=data,
            headers={
                **self.bearer,
                "Content-Type": "video/mp4",
                "Content-Range": f"bytes {first}-{first + len(data) - 1}/{self.total}",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
        )

    def status(self) -> httpx.Response:
        """A status query."""
        return self.client.put(self.address, headers={**self.bearer, "Content-Range": f"bytes */{self.total}"})


def open_session(client: httpx.Client, bearer: dict[str, str], size: int, **options: Any) -> Session:
    """Start a session that must succeed."""
    answer = start(client, bearer, size, **options)
    assert answer.status_code == 200, answer.text
    assert answer.content == b""
    return Session(client, bearer, answer.headers["location"], size)


def upload(client: httpx.Client, bearer: dict[str, str], data: bytes, **options: Any) -> str:
    """Upload in one piece; returns the video id."""
    answer = open_session(client, bearer, len(data), **options).put(data, 0)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
