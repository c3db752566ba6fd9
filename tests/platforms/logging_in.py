"""A person who logs in at the sandbox: from a connector's `apps` to the code that came back, as the database and the doors do it."""

from __future__ import annotations

import base64
import hashlib
import secrets
import ssl
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from orbyt_worker.model import Account
from orbyt_worker.platforms.base import ApiResponse, Credentials, Http
from orbyt_worker.platforms.connector import Connector, ConnectRequest, ConnectResult, LoginApp
from orbyt_worker.platforms.http import ApiClient
from orbyt_worker.sandbox.server import SandboxServer
from orbyt_worker.settings import Settings
from tests.fix_clock import fake_runtime
from tests.platforms.youtube.world import SharedClock, settings_of

REDIRECT = "https://orbyt.example/connect/callback"
# Whom the browser trusts: everything is on this machine, without TLS, and reading the machine's certificates takes a while.
NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# Long enough for every answer of the sandbox on a busy machine, short enough to wait for one that never comes.
HANGING_SECONDS = 0.3


class HastyHttp:
    """Gives up early where a test says so."""

    def __init__(self, inner: Http) -> None:
        self._inner = inner
        self.hasty: set[str] = set()

    async def call(self, name: str, method: str, url: str, *, timeout_seconds: float, **parts: Any) -> ApiResponse:
        seconds = HANGING_SECONDS if name in self.hasty else timeout_seconds
        return await self._inner.call(name, method, url, timeout_seconds=seconds, **parts)


class LoginWorld:
    """An empty sandbox, one connector and the worker's way to it. `connect` does all a person and the worker do."""

    def __init__(
        self,
        server: SandboxServer,
        make: Callable[[Callable[[], Any]], Connector],
        **settings: Any,
    ) -> None:
        server.state.reset()
        self.sandbox = server.state
        self.sandbox.register_redirect(REDIRECT)
        self.google, self.meta = self.sandbox.google, self.sandbox.meta
        self.faults = self.sandbox.faults
        self.clock = SharedClock(self.sandbox)
        self.connector = make(self.clock.now)
        self.config: Settings = settings_of(server).model_copy(update=settings)
        self._client = ApiClient(fake_runtime(self.clock), sandbox=True)
        self.http = HastyHttp(self._client)
        self.verifier = secrets.token_urlsafe(48)

    async def aclose(self) -> None:
        await self._client.aclose()

    def app(self, login: str) -> LoginApp:
        return next(each for each in self.connector.apps(self.config) if each.login == login)

    async def visit(self, login: str) -> Mapping[str, str]:
        """The query a person comes back with, decided by the sandbox's planned consent."""
        app = self.app(login)
        query = {
            "client_id": app.client_id,
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "state": "a-state",
            **app.parameters,
        }
        if app.scopes:
            query["scope"] = app.scope_separator.join(app.scopes)
        if app.pkce:
            digest = hashlib.sha256(self.verifier.encode()).digest()
            query["code_challenge"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            query["code_challenge_method"] = "S256"
        async with httpx.AsyncClient(trust_env=False, follow_redirects=False, verify=NOBODY) as browser:
            answer = await browser.get(app.authorize_url, params=query)
        assert answer.is_redirect, answer.text
        return dict(parse_qsl(urlsplit(answer.headers["location"]).query))

    async def request(self, login: str) -> ConnectRequest:
        """What the worker gets to exchange."""
        found = await self.visit(login)
        return ConnectRequest(login, REDIRECT, found["code"], self.verifier if self.app(login).pkce else None)

    async def connect(self, login: str, request: ConnectRequest | None = None) -> ConnectResult:
        return await self.connector.connect(self.http, self.config, request or await self.request(login))

    def calls(self, route: str) -> int:
        return self.sandbox.requests.count(route)

    def tokens(self) -> set[str]:
        """Every secret the sandbox ever gave out, and those of the worker's own."""
        given = {*self.meta.tokens, *self.meta.login.codes, *self.meta.instagram.codes}
        given |= {*self.google.grants, *self.google.access, *self.google.codes}
        app = self.meta.app
        secret = self.config.google_client_secret
        own = {app.secret, app.instagram_secret, self.verifier, secret.get_secret_value() if secret else ""}
        return {each for each in given | own if each}

    def assert_secret_free(self, *shown: object) -> None:
        """None of it holds a token, a code or a secret."""
        text = " ".join(repr(each) + str(each) for each in shown)
        assert [each for each in self.tokens() if each in text] == []


def account(platform: str, platform_account_id: str, login: str, name: str = "A page") -> Account:
    return Account(uuid.UUID(int=1), uuid.UUID(int=2), platform, platform_account_id, name, login=login)


def stored(result: ConnectResult, login: str, index: int = 0) -> Credentials:
    """What a connected account has stored."""
    grant = result.candidates[index].grant
    assert grant is not None
    return Credentials(
        login, grant.access_token, grant.refresh_token, {kind: value for kind, (value, _) in grant.more.items()}
    )


# What a token endpoint may do without having refused anything: (kind of fault, its options).
TROUBLE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", {"status": 500}),
    ("status", {"status": 503, "body": "html"}),
    ("status", {"status": 502, "body": "empty"}),
    ("status", {"status": 200, "body": "html"}),
    ("status", {"status": 200, "json": {}}),
    ("status", {"status": 200, "json": {"access_token": ""}}),
    ("status", {"status": 200, "json": ["x"]}),
    ("status", {"status": 403, "body": "html"}),
)
LOST = ("drop_before", "drop_after", "hang")


def trouble_id(value: object) -> str | None:
    return "-".join(str(each) for each in value.values()) if isinstance(value, dict) else None
