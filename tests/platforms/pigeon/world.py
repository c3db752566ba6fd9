"""Pigeon itself, and the handles the shared suite needs. The transport is replaced; everything above it is real."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Kind
from orbyt_worker.platforms.base import ApiResponse, Http
from orbyt_worker.platforms.http import ApiClient
from orbyt_worker.runtime import Runtime
from tests.fix_clock import FakeClock
from tests.platforms.contract import DocumentedError
from tests.platforms.driver import Driver, make_job, make_post, sandbox_settings
from tests.platforms.pigeon.errors import failure_of
from tests.platforms.pigeon.publish import Pigeon

TOKEN = "pigeon-token-planted"


@dataclass(slots=True)
class Draft:
    draft_id: str
    edit_token: str
    text: str | None
    sent_as: str | None = None


class Server:
    """The other side: drafts by the client's key, and how often each was sent."""

    def __init__(self) -> None:
        self.drafts: dict[str, Draft] = {}
        self.sends = 0
        self.drop_next_send = False
        self.slow_next: int | None = None

    async def handle(self, request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return httpx.Response(401)
        if self.slow_next is not None and request.method == "POST":
            seconds, self.slow_next = self.slow_next, None
            return httpx.Response(429, headers={"retry-after": str(seconds)})
        parts = request.url.path.strip("/").split("/")
        body = json.loads(request.content or b"{}")
        if request.method == "POST" and parts == ["drafts"]:
            number = str(len(self.drafts) + 1)
            draft = self.drafts.setdefault(body["key"], Draft(f"d{number}", f"edit-{number}-planted", body["text"]))
            return httpx.Response(200, json={"draft_id": draft.draft_id, "edit_token": draft.edit_token})
        draft = next(each for each in self.drafts.values() if each.draft_id == parts[1])
        if request.method == "GET":
            return httpx.Response(200, json={"sent_as": draft.sent_as})
        if draft.sent_as is not None or body.get("edit_token") != draft.edit_token:
            return httpx.Response(400)
        self.sends += 1
        draft.sent_as = f"post-{self.sends}"
        if self.drop_next_send:
            self.drop_next_send = False
            raise httpx.ReadError("cut", request=request)
        return httpx.Response(200, json={"sent_as": draft.sent_as})


class PigeonWorld:
    """`World` of the contract."""

    def __init__(self) -> None:
        self.server = Server()
        self.clock = FakeClock()
        self.clients: list[ApiClient] = []
        now = self.clock.now()
        post = make_post(now, kind=Kind.TEXT, title=None, caption="Coo", media=())
        job = make_job(now, "pigeon", "bird-1", post, login="pigeon")
        self.driver = Driver(Pigeon(), self._connect, job, [], sandbox_settings(), self.clock, renew=lambda: TOKEN)

    def _connect(self, runtime: Runtime) -> Http:
        client = ApiClient(runtime, transport=httpx.MockTransport(self.server.handle))
        self.clients.append(client)
        return client

    async def aclose(self) -> None:
        for client in self.clients:
            await client.aclose()

    @property
    def secrets(self) -> Sequence[str]:
        return [TOKEN]

    @property
    def documented_errors(self) -> Sequence[DocumentedError]:
        return [
            DocumentedError(ApiResponse(status, {}), code)
            for status, code in (
                (400, ErrorCode.PLATFORM_REQUEST_INVALID),
                (401, ErrorCode.PLATFORM_AUTH_REJECTED),
                (429, ErrorCode.PLATFORM_RATE_LIMITED),
                (503, ErrorCode.PLATFORM_UNAVAILABLE),
                (418, ErrorCode.PLATFORM_ERROR_UNMAPPED),
            )
        ]

    def published(self) -> int:
        return sum(1 for draft in self.server.drafts.values() if draft.sent_as is not None)

    def visible_calls(self) -> int:
        return self.server.sends

    def break_post(self) -> None:
        options: dict[str, Any] = {"feather": "white"}
        self.driver.job = replace(self.driver.job, post=replace(self.driver.job.post, options=options))

    def drop_visible_answer(self) -> None:
        self.server.drop_next_send = True

    def slow_down(self, seconds: int) -> None:
        self.server.slow_next = seconds

    def code_of(self, error: DocumentedError) -> ErrorCode:
        return failure_of("test", error.response, self.clock.now()).code
