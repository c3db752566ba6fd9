"""Looking after connected accounts: does the connection still work, and ending it at the platform after a disconnect.

Only a confirmed rejection asks the user to reconnect; what cannot be told now is asked again later. Who is at which account is
decided in the database (a lease per account), so any number of workers share the work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from uuid import UUID

import structlog

from orbyt_worker.db.connect_queries import ConnectQueries, KeptAccount, Revocation
from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.health import Health
from orbyt_worker.model import Account
from orbyt_worker.platforms.base import Http
from orbyt_worker.platforms.connector import AccountCheck, Connector
from orbyt_worker.publishing.deadline import deadline
from orbyt_worker.publishing.tokens import Opened, Tokens
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings

# Accounts of one round; it also ends when it has lasted as long as the upkeep interval, because other parts of upkeep wait for it.
ACCOUNTS_MAX = 20
# Finding out whose turn it is costs the same for one as for ten: a quarter of a second with 100,000 accounts.
CHECKS_AT_ONCE = 10
# One account: a refresh, and a few reads or the one call that revokes.
ACCOUNT_SECONDS_MAX = 60.0
LEASE_SECONDS = ACCOUNT_SECONDS_MAX + 60.0
CHECK_LEASE_SECONDS = CHECKS_AT_ONCE * ACCOUNT_SECONDS_MAX + 60.0
# The accounts of a round are spread over this part of the upkeep interval.
SPREAD = 0.5
# What could not be told now is asked again after a while; the platform's own Retry-After takes precedence.
CHECK_COOL_SECONDS = 900.0
REVOKE_COOL_SECONDS = 300.0

log = structlog.get_logger(__name__)


class Care:
    """`check_round()` and `revoke_round()` are parts of a worker's upkeep; the rest is for one account."""

    def __init__(
        self,
        *,
        worker_id: UUID,
        queries: ConnectQueries,
        connectors: Mapping[str, Connector],
        tokens: Tokens,
        http: Http,
        settings: Settings,
        runtime: Runtime,
        health: Health,
    ) -> None:
        self._worker_id = worker_id
        self._queries = queries
        self._connectors = connectors
        self._tokens = tokens
        self._http = http
        self._settings = settings
        self._runtime = runtime
        self._health = health

    # Checking ----------------------------------------------------------------------------------------------------------

    async def check_round(self) -> None:
        """Look at the accounts whose turn it is, one after the other and spread out."""

        async def due() -> list[Callable[[], Awaitable[object]]]:
            found = await self._queries.accounts_to_check(
                self._worker_id, limit=CHECKS_AT_ONCE, lease_seconds=CHECK_LEASE_SECONDS
            )
            return [partial(self.check, kept) for kept in found]

        await self._round(due)

    async def check(self, kept: KeptAccount) -> str:
        """One account. Returns "ok" or the code of what is wrong or could not be told."""
        account = kept.account
        version = kept.version
        try:
            async with deadline(ACCOUNT_SECONDS_MAX):
                opened = await self._tokens.credentials(account.account_id, account.platform)
                version = opened.version
                found = await self._connector(account).check(self._http, self._settings, account, opened.credentials)
        except Failure as failure:
            return await self._not_told(account, version, failure)
        return await self._told(account, version, found)

    async def _told(self, account: Account, version: int, found: AccountCheck) -> str:
        outcome = str(found.code) if found.code is not None else "ok"
        answer = await self._queries.note_check(
            account.account_id,
            version=version,
            code=str(found.code) if found.code is not None else None,
            token_expires_in_seconds=found.token_expires_in_seconds,
            data_access_expires_in_seconds=found.data_access_expires_in_seconds,
            scopes=found.scopes,
            cool_seconds=None if found.code is None else CHECK_COOL_SECONDS,
        )
        self._health.account_checked(account.platform, outcome)
        if found.code is not None:
            log.warning("account.check_refused", **_named(account), code=outcome, detail=found.detail, answer=answer)
        return outcome

    async def _not_told(self, account: Account, version: int, failure: Failure) -> str:
        """No answer, or one that Tokens has dealt with already: noting it again changes nothing."""
        after = failure.retry_after_seconds
        await self._queries.note_check(
            account.account_id,
            version=version,
            code=str(failure.code),
            cool_seconds=CHECK_COOL_SECONDS if after is None else after,
        )
        self._health.account_checked(account.platform, str(failure.code))
        log.warning("account.check_failed", **_named(account), code=str(failure.code), detail=failure.detail)
        return str(failure.code)

    # Letting go --------------------------------------------------------------------------------------------------------

    async def revoke_round(self) -> None:
        """End the grants of accounts that were disconnected, then destroy their secrets."""

        async def due() -> list[Callable[[], Awaitable[object]]]:
            # One at a time: no login of its user goes on meanwhile.
            leased_until = self._runtime.monotonic() + LEASE_SECONDS
            found = await self._queries.accounts_to_revoke(self._worker_id, limit=1, lease_seconds=LEASE_SECONDS)
            return [partial(self._revoke, revocation, leased_until) for revocation in found]

        await self._round(due)

    async def _revoke(self, revocation: Revocation, leased_until: float) -> None:
        """Tried for a day. Whatever comes of it, the secrets end here: without them we cannot act for the user any more.

        A grant belongs to a person at the platform, not to a Page or a channel: ending it would end every account that was
        connected with it. While another one is in use, only our copy is destroyed.
        """
        account = revocation.account
        if revocation.others_active:
            return await self._finished(account, "kept_for_others", None)
        try:
            async with deadline(ACCOUNT_SECONDS_MAX):
                opened = await self._tokens.last_credentials(account.account_id)
                # Frozen until the lease was over: the person may have connected anew meanwhile, and would lose that.
                if self._runtime.monotonic() >= leased_until:
                    log.warning("account.revoke_too_late", **_named(account))
                    return None
                if opened is not None:
                    await self._end(account, opened)
        except Failure as failure:
            lost = catalog.entry(failure.code).needs_reauth or failure.code is ErrorCode.SECRET_UNREADABLE
            if lost or revocation.give_up:
                # There is nothing (left) to end it with.
                return await self._finished(account, str(failure.code), str(failure.code))
            after = failure.retry_after_seconds
            await self._queries.note_revoke_failed(
                account.account_id,
                code=str(failure.code),
                cool_seconds=REVOKE_COOL_SECONDS if after is None else after,
            )
            self._health.account_revoked(account.platform, str(failure.code))
            log.warning("account.revoke_failed", **_named(account), code=str(failure.code), detail=failure.detail)
            return None
        return await self._finished(account, "revoked", None)

    async def _end(self, account: Account, opened: Opened) -> None:
        await self._connector(account).revoke(self._http, self._settings, account, opened.credentials)

    async def _finished(self, account: Account, outcome: str, code: str | None) -> None:
        answer = await self._queries.finish_disconnect(account.account_id, code=code)
        self._health.account_revoked(account.platform, outcome)
        log.info("account.disconnected", **_named(account), outcome=outcome, answer=answer)

    def _connector(self, account: Account) -> Connector:
        connector = self._connectors.get(account.platform)
        if connector is None:
            raise Failure(ErrorCode.PLATFORM_NOT_CONFIGURED, account.platform)
        return connector

    async def _round(self, due: Callable[[], Awaitable[list[Callable[[], Awaitable[object]]]]]) -> None:
        """One after the other, until nothing more is due. What was taken and not come to is free when its lease is over."""
        ends_at = self._runtime.monotonic() + self._settings.upkeep_seconds
        done = 0
        while done < ACCOUNTS_MAX and (taken := await due()):
            for each in taken:
                await each()
                done += 1
                if self._runtime.monotonic() >= ends_at:
                    return
                await self._runtime.sleep(self._settings.upkeep_seconds * SPREAD / ACCOUNTS_MAX)


def _named(account: Account) -> dict[str, str]:
    return {"account_id": str(account.account_id), "platform": account.platform}
