"""Google's accounts and grants: the state behind the OAuth endpoints (google_oauth), and its control side.

After Google Identity, "Using OAuth 2.0 to Access Google APIs": every way in which a refresh token dies is here. Nothing is
rotated on refresh (as at Google), unless `configure(rotate_refresh_tokens=True)`.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from starlette.routing import BaseRoute

from orbyt_worker.sandbox.google_model import (
    ACCESS_TOKENS_KEPT_MAX,
    CLIENT_ID,
    CLIENT_SECRET,
    DEFAULT_SCOPES,
    REFRESH_TOKENS_MAX,
    SCOPE_FORCE_SSL,
    SCOPE_FULL,
    SCOPE_READONLY,
    SCOPE_UPLOAD,
    TESTING_MODE,
    AccessToken,
    Account,
    AccountHandle,
    Code,
    Consent,
    DeathReason,
    GoogleConfig,
    Grant,
    TokenCall,
)
from orbyt_worker.sandbox.google_oauth import oauth_routes
from orbyt_worker.sandbox.google_page import page_routes
from orbyt_worker.sandbox.operations import operation

if TYPE_CHECKING:
    from orbyt_worker.sandbox.state import Sandbox

__all__ = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "DEFAULT_SCOPES",
    "SCOPE_FORCE_SSL",
    "SCOPE_FULL",
    "SCOPE_READONLY",
    "SCOPE_UPLOAD",
    "AccountHandle",
    "Google",
]


class Google:
    """State and endpoints. Thread-safe: handlers and tests hold the same lock, never across an await."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.lock = threading.RLock()
        self.config = GoogleConfig()
        self.accounts_by_sub: dict[str, Account] = {}
        self.grants: dict[str, Grant] = {}
        self.access: dict[str, AccessToken] = {}
        self.codes: dict[str, Code] = {}
        self.consents: list[Consent] = []
        self.calls: list[TokenCall] = []

    def routes(self) -> list[BaseRoute]:
        return [*oauth_routes(self), *page_routes(self)]

    def settings_env(self, base_url: str) -> dict[str, str]:
        """The worker's settings that point at this simulator."""
        return {
            "ORBYT_GOOGLE_AUTHORIZE_URL": f"{base_url}/google/o/oauth2/v2/auth",
            "ORBYT_GOOGLE_TOKEN_URL": f"{base_url}/google/token",
            "ORBYT_GOOGLE_REVOKE_URL": f"{base_url}/google/revoke",
            "ORBYT_GOOGLE_CLIENT_ID": CLIENT_ID,
            "ORBYT_GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
        }

    def reset(self) -> None:
        """Back to an empty world."""
        with self.lock:
            self.config = GoogleConfig()
            for table in (self.accounts_by_sub, self.grants, self.access, self.codes):
                table.clear()
            self.consents.clear()
            self.calls.clear()

    # --- the control side ---------------------------------------------------------------------------------------

    @operation()
    def create_account(
        self,
        *,
        email: str | None = None,
        name: str = "Sandbox Person",
        sub: str | None = None,
        channel: bool = True,
        channel_id: str | None = None,
        channel_title: str = "Sandbox Channel",
        channel_handle: str | None = None,
        long_uploads_status: Literal["allowed", "eligible", "disallowed", "longUploadsUnspecified"] = "allowed",
        upload_limit_per_day: int | None = None,
        scopes: tuple[str, ...] = DEFAULT_SCOPES,
        refresh_token: str | None = None,
        dead: DeathReason | None = None,
        grant_seconds: int | None = None,
    ) -> AccountHandle:
        """A Google account that has granted `scopes`, with a channel unless `channel` is false. `dead` makes its grant dead at once."""
        with self.lock:
            number = len(self.accounts_by_sub) + 1
            account = Account(
                sub=sub or f"{secrets.randbelow(9 * 10**20) + 10**20}",
                email=email or f"person{number}@example.com",
                name=name,
            )
            if account.sub in self.accounts_by_sub:
                raise ValueError("there is an account with this sub")
            self.accounts_by_sub[account.sub] = account
        made = None
        if channel:
            made = self.sandbox.youtube.create_channel(
                owner_sub=account.sub, title=channel_title, handle=channel_handle, channel_id=channel_id,
                long_uploads_status=long_uploads_status, upload_limit_per_day=upload_limit_per_day,
            )  # fmt: skip
            with self.lock:
                account.channel_ids.append(made.channel_id)
        token = self.issue_refresh_token(
            account.sub,
            channel_id=made.channel_id if made else None,
            scopes=scopes,
            refresh_token=refresh_token,
            grant_seconds=grant_seconds,
        )
        if dead is not None:
            self.kill_grant(refresh_token=token, reason=dead)
        return AccountHandle(
            account.sub, account.email, account.name,
            made.channel_id if made else None, made.title if made else None, made.handle if made else None,
            made.uploads_playlist_id if made else None, token, scopes,
        )  # fmt: skip

    @operation()
    def add_channel(self, sub: str, *, title: str = "Second Channel", handle: str | None = None) -> str:
        """Another (brand) channel of an account; returns its id."""
        made = self.sandbox.youtube.create_channel(owner_sub=sub, title=title, handle=handle)
        with self.lock:
            self.accounts_by_sub[sub].channel_ids.append(made.channel_id)
        return made.channel_id

    @operation(reads=True)
    def accounts(self) -> list[Account]:
        """All accounts."""
        with self.lock:
            return list(self.accounts_by_sub.values())

    @operation()
    def issue_refresh_token(
        self,
        sub: str,
        *,
        channel_id: str | None = None,
        scopes: tuple[str, ...] = DEFAULT_SCOPES,
        refresh_token: str | None = None,
        grant_seconds: int | None = None,
    ) -> str:
        """What a finished consent leads to: a new refresh token. The oldest dies when there are more than 100."""
        now = self.sandbox.clock.now()
        with self.lock:
            account = self.accounts_by_sub[sub]
            token = refresh_token or "1//0" + secrets.token_urlsafe(48)
            ends_at = now + timedelta(seconds=grant_seconds) if grant_seconds is not None else None
            if self.config.testing_mode:
                ends_at = min(ends_at, now + TESTING_MODE) if ends_at else now + TESTING_MODE
            self.grants[token] = Grant(token, CLIENT_ID, sub, channel_id, tuple(scopes), now, now, ends_at)
            account.consented.setdefault(CLIENT_ID, set()).update(scopes)
            alive = [grant for grant in self.grants.values() if grant.sub == sub and grant.dead is None]
            for grant in alive[:-REFRESH_TOKENS_MAX]:
                grant.dead, grant.dead_at = "revoked", now
            return token

    @operation()
    def kill_grant(
        self, *, sub: str | None = None, refresh_token: str | None = None, reason: DeathReason = "revoked"
    ) -> int:
        """End one grant (`refresh_token`) or all of an account (`sub`), and its access tokens; returns how many ended."""
        now = self.sandbox.clock.now()
        with self.lock:
            ended = 0
            for grant in self.grants.values():
                if grant.dead is None and (
                    grant.refresh_token == refresh_token or (sub is not None and grant.sub == sub)
                ):
                    grant.dead, grant.dead_at = reason, now
                    ended += 1
                    self.access = {
                        key: token
                        for key, token in self.access.items()
                        if (token.sub, token.channel_id) != (grant.sub, grant.channel_id)
                    }
            return ended

    @operation()
    def expire_access_tokens(self, sub: str | None = None) -> int:
        """Every access token (of one account) is expired from now on; returns how many there were."""
        now = self.sandbox.clock.now()
        with self.lock:
            hit = [
                token for token in self.access.values() if (sub is None or token.sub == sub) and token.expires_at > now
            ]
            for token in hit:
                token.expires_at = now
            return len(hit)

    @operation()
    def issue_access_token(self, refresh_token: str, scopes: tuple[str, ...] | None = None) -> str:
        """An access token without a call of the token endpoint, for calling the simulator by hand."""
        with self.lock:
            return self.new_access_token(self.grants[refresh_token], scopes).token

    @operation()
    def configure(
        self,
        *,
        access_token_seconds: int | None = None,
        testing_mode: bool | None = None,
        rotate_refresh_tokens: bool | None = None,
        client_deleted: bool | None = None,
        client_unauthorized: bool | None = None,
        redirect_uris: tuple[str, ...] | None = None,
        test_users: tuple[str, ...] | None = None,
    ) -> GoogleConfig:
        """Change switches; what is not named stays. `test_users`: e-mail addresses; in testing mode all others are kept out."""
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        with self.lock:
            for name, value in given.items():
                setattr(self.config, name, value)
            return self.config

    @operation()
    def next_consent(
        self,
        *,
        sub: str | None = None,
        channel_id: str | None = None,
        scopes: tuple[str, ...] | None = None,
        deny: bool = False,
        error: str | None = None,
        page_error: str | None = None,
        grant_seconds: int | None = None,
    ) -> int:
        """What happens at the next consent page: who agrees, with which channel and scopes; or denies; or `error` comes back;
        or `page_error` stays on Google's page and nothing ever comes back. Returns how many are waiting."""
        with self.lock:
            self.consents.append(Consent(sub, channel_id, scopes, deny, error, page_error, grant_seconds))
            return len(self.consents)

    @operation(reads=True)
    def token_calls(self, grant_type: str | None = None) -> list[TokenCall]:
        """Calls of the token endpoint that reached it, oldest first."""
        with self.lock:
            return [call for call in self.calls if grant_type in (None, call.grant_type)]

    @operation(reads=True)
    def token_call_count(self, grant_type: str | None = None) -> int:
        """How often the token endpoint was called."""
        return len(self.token_calls(grant_type))

    # --- used by the API simulators -----------------------------------------------------------------------------

    def authenticate(self, authorization: str) -> AccessToken | Literal["missing", "invalid"]:
        """Who is calling. Expired, revoked and unknown tokens are all `invalid`, as at Google."""
        scheme, _, token = authorization.partition(" ")
        if not authorization or scheme.lower() != "bearer" or not token.strip():
            return "missing"
        with self.lock:
            found = self.access.get(token.strip())
            if found is None or found.expires_at <= self.sandbox.clock.now():
                return "invalid"
            return found

    def expire_bearer(self, authorization: str) -> None:
        """The access token of this header is expired from now on."""
        with self.lock:
            found = self.access.get(authorization.partition(" ")[2].strip())
            if found is not None:
                found.expires_at = self.sandbox.clock.now()

    def new_access_token(self, grant: Grant, scopes: tuple[str, ...] | None) -> AccessToken:
        """Another access token of a grant; with the lock held."""
        now = self.sandbox.clock.now()
        if len(self.access) >= ACCESS_TOKENS_KEPT_MAX:
            self.access = {key: token for key, token in self.access.items() if token.expires_at > now}
        access = AccessToken(
            "ya29." + secrets.token_urlsafe(96), grant.sub, grant.channel_id, scopes or grant.scopes,
            now + timedelta(seconds=self.config.access_token_seconds), grant.client_id,
        )  # fmt: skip
        self.access[access.token] = access
        return access

    def pick_consent(self, query: Mapping[str, str]) -> Consent | None:
        """What the person at this page does: as planned, as the query says; None when somebody has to choose."""
        if self.consents:
            planned = self.consents.pop(0)
            if planned.sub is not None or planned.deny or planned.error or planned.page_error:
                return planned
            only = next(iter(self.accounts_by_sub), None)
            return Consent(only, planned.channel_id, planned.scopes, grant_seconds=planned.grant_seconds)
        clicked = query.get("sandbox_account")
        if clicked == "deny":
            return Consent(deny=True)
        account = self.account_of(clicked)
        return Consent(account.sub, query.get("sandbox_channel")) if account else None

    def account_of(self, hint: str | None) -> Account | None:
        """The account with this `sub` or e-mail address."""
        return next((a for a in self.accounts_by_sub.values() if hint in (a.sub, a.email)), None)

    def channel_title(self, channel_id: str) -> str:
        """The name people know a channel by. Without YouTube's lock, which is taken before this one elsewhere."""
        return self.sandbox.youtube.channels[channel_id].title
