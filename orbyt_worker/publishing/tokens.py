"""Access tokens of accounts: opened from the sealed table, refreshed ahead of expiry, one refresher at a time.

A network blip never disconnects an account: only a confirmed rejection (catalog: needs_reauth) does, and only if the grant that
failed is still the stored one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from orbyt_worker.db.queries import Grant, Queries, SealedSecret
from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.health import Health
from orbyt_worker.logs import Redactor
from orbyt_worker.platforms.base import LOGINS, Credentials, Http, Platform, TokenGrant
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings

# Google's own library treats a token as stale 3:45 before its end; five minutes leave room for one long call.
# Source: PyPI google-auth 2.62.2, read 2026-11.
REFRESH_AHEAD_SECONDS = 300.0
# The refresh lease outlives the longest possible call to a token endpoint (30 s) with room to write the result.
REFRESH_LEASE_SECONDS = 90.0
# How long others wait for whoever is refreshing, and how often they look.
BUSY_WAIT_SECONDS_MAX = 60.0
BUSY_LOOK_SECONDS = 0.25
# After a failed refresh that was not a rejection: nobody asks again for so long.
COOL_SECONDS = 10.0

ACCESS = "access_token"
REFRESH = "refresh_token"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token and the version of the grant it came from."""

    value: str = field(repr=False)
    grant_version: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The secrets of an account, and the version of the grant they are of."""

    version: int
    credentials: Credentials
    expires_in_seconds: float | None

    @property
    def access_token(self) -> str | None:
        return self.credentials.access_token


class Tokens:
    """Hands out access tokens. Nothing is cached in the process: the table is the truth and reading it is one round trip."""

    def __init__(
        self,
        *,
        queries: Queries,
        keys: MasterKeys,
        platforms: Mapping[str, Platform],
        http: Http,
        settings: Settings,
        runtime: Runtime,
        redactor: Redactor,
        health: Health,
        worker_id: UUID | None = None,
    ) -> None:
        self._queries = queries
        self._keys = keys
        self._platforms = platforms
        self._http = http
        self._settings = settings
        self._runtime = runtime
        self._redactor = redactor
        self._health = health
        # Whose refresh leases these are: they end with the worker's own.
        self._worker_id = worker_id

    async def access_token(self, account_id: UUID, platform: str, *, rejected: str | None = None) -> AccessToken:
        """A token good for at least a few minutes.

        `rejected`: a token the platform has just refused (401); it is refreshed even if it should still be valid.
        Raises Failure(account_needs_reauth | google_grant_invalid | google_token_unavailable | …).
        """
        give_up_at = self._runtime.monotonic() + BUSY_WAIT_SECONDS_MAX
        while True:
            opened = await self._open(account_id)
            if (
                opened.access_token is not None
                and opened.access_token != rejected
                and _fresh(opened, REFRESH_AHEAD_SECONDS)
            ):
                return AccessToken(opened.access_token, opened.version)
            answer, token = await self._refresh(account_id, platform, opened)
            if token is not None:
                return AccessToken(token, opened.version + 1)
            # Somebody else is at it, or it failed a moment ago: what is still valid is still good.
            if opened.access_token is not None and opened.access_token != rejected and _fresh(opened, 30.0):
                return AccessToken(opened.access_token, opened.version)
            if answer not in ("busy", "changed") or self._runtime.monotonic() >= give_up_at:
                raise Failure(
                    ErrorCode.GOOGLE_TOKEN_UNAVAILABLE if platform == "youtube" else ErrorCode.PLATFORM_UNAVAILABLE,
                    "token refresh",
                )
            await self._runtime.sleep(BUSY_LOOK_SECONDS)

    async def other_token(self, account_id: UUID, kind: str) -> AccessToken | None:
        """Another token of the account's grant (`user_token`), or None. It is not refreshed by itself: it follows the grant."""
        opened = await self._open(account_id)
        value = opened.credentials.more.get(kind)
        return None if value is None else AccessToken(value, opened.version)

    async def credentials(self, account_id: UUID, platform: str) -> Opened:
        """Everything stored for an active account, its access token good for at least a few minutes. Raises like `access_token`."""
        await self.access_token(account_id, platform)
        return await self._open(account_id)

    async def last_credentials(self, account_id: UUID) -> Opened | None:
        """What is stored, whatever state the account is in and however old it is: enough to end the grant. None: nothing is."""
        grant = await self._queries.read_grant(account_id)
        return await self._opened(account_id, grant) if grant is not None and grant.secrets else None

    def renewable_logins(self, platform: str | None = None) -> list[str]:
        """Logins whose grants a refresh can do anything for; on one platform, or on any."""
        asked = [each for name, each in self._platforms.items() if platform in (None, name)]
        return [login for login in LOGINS if any(each.renews(login) for each in asked)]

    async def refresh_now(self, account_id: UUID, platform: str) -> str:
        """Refresh once if nobody else does. Failures are recorded; the account's state follows from them.

        "ok", "busy" (somebody is at it), "changed" (somebody was faster), "cooling" (it failed a moment ago), or the code of a
        failure that the token in hand outlives. Any other is raised.
        """
        answer, _ = await self._refresh(account_id, platform, await self._open(account_id))
        return answer

    async def mark_needs_reauth(self, account_id: UUID, grant_version: int, code: str) -> None:
        """The platform refused the account itself, asked with that grant. Ignored if the grant was replaced since."""
        await self._queries.mark_needs_reauth(account_id, version=grant_version, code=code)

    async def _open(self, account_id: UUID) -> Opened:
        grant: Grant | None = await self._queries.read_grant(account_id)
        if grant is None or not grant.secrets:
            await self.mark_needs_reauth(account_id, grant.version if grant else 0, ErrorCode.ACCOUNT_NEEDS_REAUTH)
            raise Failure(ErrorCode.ACCOUNT_NEEDS_REAUTH, "no stored grant")
        if grant.status != "active":
            raise Failure(
                ErrorCode.ACCOUNT_DISCONNECTED if grant.status == "disconnected" else ErrorCode.ACCOUNT_NEEDS_REAUTH
            )
        return await self._opened(account_id, grant)

    async def _opened(self, account_id: UUID, grant: Grant) -> Opened:
        plain = {kind: await self._plain(account_id, secret) for kind, secret in grant.secrets.items()}
        access = grant.secrets.get(ACCESS)
        return Opened(
            version=grant.version,
            credentials=Credentials(grant.login, plain.pop(ACCESS, None), plain.pop(REFRESH, None), plain),
            expires_in_seconds=access.expires_in_seconds if access else None,
        )

    async def _plain(self, account_id: UUID, secret: SealedSecret) -> str:
        plain = await self._keys.open(secret.sealed, owner_id=account_id, kind=secret.kind, key_id=secret.key_id)
        text = plain.decode()
        self._redactor.register(text)
        return text

    def seal(self, account_id: UUID, granted: TokenGrant) -> list[SealedSecret]:
        """Every token of a grant, sealed for that account and for nothing else."""
        secrets: list[SealedSecret] = []
        for kind, value, expires in (
            (ACCESS, granted.access_token, granted.expires_in_seconds),
            (REFRESH, granted.refresh_token, None),
            *((kind, value, expires) for kind, (value, expires) in granted.more.items()),
        ):
            # Never overwrite a stored secret with nothing: what is not named stays.
            if value:
                self._redactor.register(value)
                sealed = self._keys.seal(value, owner_id=account_id, kind=kind)
                secrets.append(SealedSecret(kind, sealed.blob, sealed.key_id, expires))
        return secrets

    async def _refresh(self, account_id: UUID, platform: str, opened: Opened) -> tuple[str, str | None]:
        """(answer of the database, new token). The token is None when somebody else is at it or was faster, or when it failed and
        the one in hand is still good: then the answer is the code."""
        held = opened.credentials
        nothing = held.refresh_token is None and held.access_token is None
        if nothing or not self._platforms[platform].renews(held.login):
            # Nothing to refresh with: only the user can mend that, and the account has to say so.
            await self.mark_needs_reauth(account_id, opened.version, ErrorCode.ACCOUNT_NEEDS_REAUTH)
            raise Failure(ErrorCode.ACCOUNT_NEEDS_REAUTH, "nothing to refresh with")
        lease_id = self._runtime.new_id()
        answer = await self._queries.begin_refresh(
            account_id,
            version=opened.version,
            lease_id=lease_id,
            lease_seconds=REFRESH_LEASE_SECONDS,
            worker_id=self._worker_id,
        )
        if answer != "ok":
            return answer, None
        try:
            granted = await self._platforms[platform].refresh(self._http, self._settings, held)
        except Failure as failure:
            self._health.token_refreshed(platform, str(failure.code))
            log.warning("token.refresh_failed", account_id=str(account_id), platform=platform, code=str(failure.code))
            cool = failure.retry_after_seconds if failure.retry_after_seconds is not None else COOL_SECONDS
            noted = await self._queries.fail_refresh(
                account_id, version=opened.version, lease_id=lease_id, code=str(failure.code), cool_seconds=cool
            )
            if noted == "changed":
                # Somebody reconnected meanwhile: what was refused is not what is stored now.
                return noted, None
            # A token that is still good survives a blip of the token endpoint.
            if (
                not catalog.entry(failure.code).needs_reauth
                and opened.access_token is not None
                and _fresh(opened, 30.0)
            ):
                return str(failure.code), None
            raise
        stored = await self._queries.finish_refresh(
            account_id,
            version=opened.version,
            lease_id=lease_id,
            secrets=self.seal(account_id, granted),
            scopes=granted.scopes,
        )
        self._health.token_refreshed(platform, stored)
        if stored != "ok":
            return stored, None
        return "ok", granted.access_token


def _fresh(opened: Opened, seconds: float) -> bool:
    return opened.expires_in_seconds is None or opened.expires_in_seconds > seconds
