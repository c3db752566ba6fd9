"""A plain, honest Graph client for the tests of the simulator: small calls, no retries."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

import httpx

from orbyt_worker.sandbox.meta_model import PageHandle

GRAPH = "/graph.facebook.com/v25.0"
VIDEO = "/graph-video.facebook.com/v25.0"
INSTAGRAM = "/graph.instagram.com/v25.0"


def error(response: httpx.Response) -> tuple[int, int | None]:
    """(code, subcode) of Graph's envelope; fails on an answer without one."""
    body = response.json()["error"]
    assert body["message"]
    assert body["fbtrace_id"]
    return body["code"], body.get("error_subcode")


def rupload_error(response: httpx.Response) -> str:
    """The type of rupload's own envelope."""
    return str(response.json()["debug_info"]["type"])


def proof(secret: str, signed: str) -> str:
    """`appsecret_proof` over a token, or over token|seconds."""
    return hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()


@dataclass
class Page:
    """A Page and its token."""

    client: httpx.Client
    page_id: str
    token: str = field(repr=False)

    @classmethod
    def of(cls, client: httpx.Client, handle: PageHandle) -> Page:
        return cls(client, handle.page_id, handle.page_token)

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def get(self, path: str, *, base: str = GRAPH, **params: Any) -> httpx.Response:
        """Read `path`."""
        return self.client.get(f"{base}/{path}", params=params, headers=self.bearer)

    def post(self, path: str, *, base: str = GRAPH, files: Any = None, **fields: Any) -> httpx.Response:
        """Post form fields (and files) to an edge of the Page, or to another node when `path` has a slash."""
        target = path if "/" in path else f"{self.page_id}/{path}"
        return self.client.post(f"{base}/{target}", data=fields, files=files, headers=self.bearer)

    def photo(self, data: bytes, **fields: Any) -> str:
        """Upload a photo; returns its id."""
        answer = self.post("photos", files={"source": ("a.jpg", data, "image/jpeg")}, **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def upload(self, upload_url: str, data: bytes, first: int = 0, **headers: str) -> httpx.Response:
        """Send the rest of a file to rupload."""
        sent = {"Authorization": f"OAuth {self.token}", "offset": str(first), "file_size": str(len(data)), **headers}
        return self.client.post(upload_url, content=data[first:], headers={k: v for k, v in sent.items() if v})

    def start(self, edge: str) -> tuple[str, str]:
        """Start a reel or a video story; (video id, upload address)."""
        answer = self.post(edge, upload_phase="start")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["video_id"]), str(answer.json()["upload_url"])

    def finish_reel(self, video_id: str, **fields: Any) -> httpx.Response:
        """Finish a reel."""
        return self.post(
            "video_reels", **{"upload_phase": "finish", "video_id": video_id, "video_state": "PUBLISHED", **fields}
        )

    def status(self, video_id: str) -> dict[str, Any]:
        """The status object."""
        answer = self.get(video_id, fields="status")
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["status"])
