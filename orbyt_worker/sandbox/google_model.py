"""Accounts, grants, tokens and consents of the simulated Google, and the credentials its one OAuth client has."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

SCOPE_UPLOAD = "https://www.googleapis.com/auth/youtube.upload"
SCOPE_READONLY = "https://www.googleapis.com/auth/youtube.readonly"
SCOPE_FULL = "https://www.googleapis.com/auth/youtube"
SCOPE_FORCE_SSL = "https://www.googleapis.com/auth/youtube.force-ssl"
DEFAULT_SCOPES = (SCOPE_UPLOAD, SCOPE_READONLY)
KNOWN_SCOPES = frozenset({SCOPE_UPLOAD, SCOPE_READONLY, SCOPE_FULL, SCOPE_FORCE_SSL, "openid", "email", "profile"})

CLIENT_ID = "orbyt-sandbox.apps.googleusercontent.com"
CLIENT_SECRET = "sandbox-google-client-secret"  # noqa: S105 - the sandbox's own, public by design

CODE_SECONDS = 600
IDLE = timedelta(days=183)
TESTING_MODE = timedelta(days=7)
DESCRIPTION_FADES = timedelta(hours=12)
REFRESH_TOKENS_MAX = 100
TOKEN_CALLS_KEPT_MAX = 10_000
ACCESS_TOKENS_KEPT_MAX = 50_000

DeathReason = Literal["revoked", "expired", "account_deleted", "admin_policy_enforced", "invalid_rapt"]


@dataclass(slots=True)
class Account:
    """A Google account; the channels it owns are YouTube's business."""

    sub: str
    email: str
    name: str
    channel_ids: list[str] = field(default_factory=list)
    consented: dict[str, set[str]] = field(default_factory=dict)  # client id -> scopes


@dataclass(slots=True)
class Grant:
    """One refresh token: bound to client, account, channel and scopes."""

    refresh_token: str = field(repr=False)
    client_id: str
    sub: str
    channel_id: str | None
    scopes: tuple[str, ...]
    created_at: datetime
    used_at: datetime
    ends_at: datetime | None = None
    dead: DeathReason | None = None
    dead_at: datetime | None = None


@dataclass(slots=True)
class AccessToken:
    """Opaque bearer token of one grant."""

    token: str = field(repr=False)
    sub: str
    channel_id: str | None
    scopes: tuple[str, ...]
    expires_at: datetime
    client_id: str


@dataclass(slots=True)
class Code:
    client_id: str
    redirect_uri: str
    sub: str
    channel_id: str | None
    scopes: tuple[str, ...]
    challenge: str | None
    challenge_method: str
    expires_at: datetime
    with_refresh_token: bool
    grant_seconds: int | None
    used: bool = False


@dataclass(frozen=True, slots=True)
class AccountHandle:
    """What a test needs to use a created account."""

    sub: str
    email: str
    name: str
    channel_id: str | None
    channel_title: str | None
    channel_handle: str | None
    uploads_playlist_id: str | None
    refresh_token: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Consent:
    """What the person at the next consent page does."""

    sub: str | None = None
    channel_id: str | None = None
    scopes: tuple[str, ...] | None = None
    deny: bool = False
    error: str | None = None
    page_error: str | None = None
    grant_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class TokenCall:
    """One call of the token endpoint."""

    at: datetime
    grant_type: str
    status: int
    error: str | None
    secret_hash: str | None


@dataclass(slots=True)
class GoogleConfig:
    """Switches of the OAuth side; `configure` changes them."""

    access_token_seconds: int = 3599
    testing_mode: bool = False
    rotate_refresh_tokens: bool = False
    client_deleted: bool = False
    client_unauthorized: bool = False
    redirect_uris: tuple[str, ...] = ()
    # In testing mode: who gets past the page. None: everybody is listed.
    test_users: tuple[str, ...] | None = None
