"""The Connector contract: how accounts of a platform are connected, looked after and let go.

Publishing is `base.Platform`; this is the other half. Same rules: no database, no decision about retries, `Failure(code)` for
what went wrong, `Http` for every call. What a connector returns holds tokens in clear for as long as the worker needs to
seal them, and no longer: they are in `repr`-free fields and never logged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Account
from orbyt_worker.platforms.base import Credentials, Http, TokenGrant
from orbyt_worker.settings import Settings


@dataclass(frozen=True, slots=True)
class LoginApp:
    """One way to log in, as the authorize URL needs it. No secret: it is written to the database, where URLs are made.

    `parameters` are fixed query parameters (access_type, prompt, config_id). `scopes` are those of this platform; several
    platforms may share a login. `scope_separator` joins them; a login that passes none (config_id) has no scopes.
    """

    login: str
    client_id: str
    authorize_url: str
    scopes: tuple[str, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    pkce: bool = False
    scope_separator: str = " "


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """What came back from the platform, to be exchanged. `code` is single-use: the exchange is never repeated."""

    login: str
    redirect_uri: str
    code: str = field(repr=False)
    code_verifier: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An account on offer. `code` says why it cannot be used (role too low, no token, personal account); then `grant` is None.

    `data_access_expires_in_seconds`: Meta's window after which rights of Instagram lapse although the token lives on.
    """

    platform_account_id: str
    name: str
    handle: str | None = None
    picture_url: str | None = None
    scopes: tuple[str, ...] = ()
    grant: TokenGrant | None = None
    code: ErrorCode | None = None
    token_expires_in_seconds: float | None = None
    data_access_expires_in_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ConnectResult:
    """Everything the person offers. `complete` False: a page of a list could not be read, so accounts may be missing.

    `platform_user_id` is who logged in, by the platform's own id for this app: with it a deauthorization is recognised.
    """

    candidates: Sequence[Candidate]
    platform_user_id: str
    complete: bool = True


@dataclass(frozen=True, slots=True)
class AccountCheck:
    """How a connection stands. `code` None: it works; else why not (a needs_reauth code asks the user to reconnect)."""

    code: ErrorCode | None = None
    detail: str = ""
    scopes: tuple[str, ...] | None = None
    token_expires_in_seconds: float | None = None
    data_access_expires_in_seconds: float | None = None


class Connector(Protocol):
    """One platform's logins."""

    def apps(self, config: Settings) -> Sequence[LoginApp]:
        """The ways to log in that this worker has client credentials for. Pure."""
        ...

    async def connect(self, http: Http, config: Settings, request: ConnectRequest) -> ConnectResult:
        """Exchange the code once, look at scopes and identity, list the accounts over all pages.

        Raises Failure(connect_code_rejected | connect_scopes_missing | connect_no_pages | …). An empty list is a Failure with
        the code that explains it, never an empty result.
        """
        ...

    async def check(self, http: Http, config: Settings, account: Account, credentials: Credentials) -> AccountCheck:
        """Does the connection still work? Read-only. Raises Failure when it cannot be told now (network, 5xx)."""
        ...

    async def revoke(self, http: Http, config: Settings, account: Account, credentials: Credentials) -> None:
        """End the grant at the platform. Safe to repeat; a grant that is already gone is success. Raises Failure."""
        ...
