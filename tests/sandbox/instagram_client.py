"""A plain Instagram publisher for the tests of the simulator: small calls, no retries, and files that are as they should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.media_files import literal
from orbyt_worker.sandbox.meta_model import InstagramHandle
from orbyt_worker.sandbox.state import Sandbox

VERSION = "v25.0"
HOSTS = {"facebook": "/graph.facebook.com", "instagram": "/graph.instagram.com"}


@dataclass
class Publisher:
    """One account with one token, at the host of its login."""

    http: httpx.Client
    sandbox: Sandbox
    account: InstagramHandle

    @property
    def base(self) -> str:
        return f"{HOSTS[self.account.login]}/{VERSION}"

    def get(self, path: str, *, token: str | None = None, **params: str) -> httpx.Response:
        """GET below the version; `token` instead of the account's own."""
        return self.http.get(f"{self.base}/{path}", params=params, headers=self._bearer(token))

    def post(self, path: str, *, token: str | None = None, **fields: str) -> httpx.Response:
        """POST as a form."""
        return self.http.post(f"{self.base}/{path}", data=fields, headers=self._bearer(token))

    def create(self, *, token: str | None = None, **fields: str) -> httpx.Response:
        """POST /{ig}/media."""
        return self.post(f"{self.account.instagram_id}/media", token=token, **fields)

    def container(self, **fields: str) -> str:
        """A container that must be accepted; its id."""
        answer = self.create(**fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def finished(self, **fields: str) -> str:
        """A container whose processing is over, well or not."""
        container_id = self.container(**fields)
        self.process()
        return container_id

    def process(self) -> None:
        """Let everything that is being processed come to its end."""
        assert self.sandbox.meta.instagram.wait_idle()
        self.sandbox.clock.advance(2)

    def status(self, container_id: str, *, token: str | None = None) -> dict[str, Any]:
        """GET /{container} that must succeed."""
        answer = self.get(container_id, token=token, fields="status_code,status,video_status")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def publish(self, container_id: str) -> httpx.Response:
        """POST /{ig}/media_publish."""
        return self.post(f"{self.account.instagram_id}/media_publish", creation_id=container_id)

    def published(self, **fields: str) -> str:
        """A post from a container with these parameters; its id."""
        answer = self.publish(self.finished(**fields))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def photo(self, name: str = "photo.jpg", width: int = 400, height: int = 400) -> str:
        """The address of a JPEG."""
        self.sandbox.media.add(name, content="jpeg", width=width, height=height)
        return self.sandbox.media.url(name)

    def video(self, name: str = "reel.mp4", seconds: float = 3.2) -> str:
        """The address of a video that fits everywhere."""
        self.sandbox.media.add_body(name, literal(video_bytes(seconds), "video/mp4"))
        return self.sandbox.media.url(name)

    def _bearer(self, token: str | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {token or self.account.access_token}"}


def video_bytes(seconds: float = 3.2) -> bytes:
    """A video that fits everywhere."""
    return media_files.video(seconds=seconds, width=180, height=320)


def codes(answer: httpx.Response) -> tuple[int, int | None]:
    """(code, subcode) of an answer that must be an error of the client's."""
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    return error["code"], error.get("error_subcode")
