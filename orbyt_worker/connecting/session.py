"""One login from the code that came back to candidates the person can choose from, top to bottom.

A code is single-use: it is exchanged once, by the worker that claimed the session, whatever happens. If that worker dies, nobody
knows whether the code was used, so the session fails as `connect_interrupted` and the person presses the button again.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import structlog

from orbyt_worker.connecting.setup import open_callback_key
from orbyt_worker.db.connect_queries import ConnectClaim, ConnectGrant, ConnectQueries
from orbyt_worker.db.pool import DatabaseUnavailable
from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.health import Health
from orbyt_worker.logs import Redactor
from orbyt_worker.platforms.base import Http
from orbyt_worker.platforms.connector import Candidate, Connector, ConnectRequest, ConnectResult
from orbyt_worker.publishing.deadline import deadline
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.publishing.tokens import Tokens
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings

# Exchange, identity and every page of every list. A session lives ten minutes; somebody is looking at a spinner.
CONNECT_SECONDS_MAX = 120.0
# Neither a code that only this process still has, nor what it won, is thrown away because the database was gone for a while.
DATABASE_TRIES_MAX = 6
DATABASE_PAUSE_SECONDS = 2.0
LAST_WRITE_SECONDS = 3.0
# Two sessions of one person at the same time seal for the same account: its id follows from whose and what it is.
ACCOUNT_NAMESPACE = UUID("6f8b4d1e-2c3a-5e7f-9a0b-1c2d3e4f5a6b")

_Answer = TypeVar("_Answer")

log = structlog.get_logger(__name__)


class Session:
    """Runs claimed sessions. One instance per worker; sessions share nothing but what is given here."""

    def __init__(
        self,
        *,
        queries: ConnectQueries,
        connectors: Mapping[str, Connector],
        http: Http,
        keys: MasterKeys,
        tokens: Tokens,
        redactor: Redactor,
        settings: Settings,
        runtime: Runtime,
        health: Health,
    ) -> None:
        self._queries = queries
        self._connectors = connectors
        self._http = http
        self._keys = keys
        self._tokens = tokens
        self._redactor = redactor
        self._settings = settings
        self._runtime = runtime
        self._health = health

    async def run(self, claim: ConnectClaim) -> None:
        """To its end: candidates, connected, or failed with a code. Raises only CancelledError, and then the session has failed."""
        with structlog.contextvars.bound_contextvars(
            session_id=str(claim.session_id), platform=claim.platform, login=claim.login
        ):
            log.info("connect.claimed")
            try:
                await self._guarded(claim)
            except DatabaseUnavailable as error:
                # Nothing can be written. The session is ours for as long as this worker lives; then its time ends it.
                log.warning("connect.database_lost", error=type(error).__name__)

    async def _guarded(self, claim: ConnectClaim) -> None:
        try:
            await self._connect(claim)
        except Failure as failure:
            await self._fail(claim, failure)
        except DatabaseUnavailable:
            raise
        except asyncio.CancelledError:
            # Shutting down in the middle: the code may have been used. If this is not written, the end of the lease says it.
            with contextlib.suppress(TimeoutError, *DatabaseUnavailable):
                async with asyncio.timeout(LAST_WRITE_SECONDS):
                    await self._fail(claim, Failure(ErrorCode.CONNECT_INTERRUPTED))
            raise
        except Exception:
            log.exception("connect.crashed")
            await self._fail(claim, Failure(ErrorCode.CONNECT_INTERRUPTED))

    async def _connect(self, claim: ConnectClaim) -> None:
        connector = self._connectors.get(claim.platform)
        if connector is None:
            raise Failure(ErrorCode.PLATFORM_NOT_CONFIGURED, claim.platform)
        code = await self._code(claim)
        for secret in (code, claim.code_verifier):
            if secret is not None:
                self._redactor.register(secret)
        request = ConnectRequest(
            login=claim.login, redirect_uri=claim.redirect_uri, code=code, code_verifier=claim.code_verifier
        )
        async with deadline(CONNECT_SECONDS_MAX, ErrorCode.CONNECT_INTERRUPTED):
            result = await connector.connect(self._http, self._settings, request)
        self._register(result)
        await self._offer(claim, result)

    async def _code(self, claim: ConnectClaim) -> str:
        private = await self._patiently(lambda: open_callback_key(self._queries, self._keys, claim.code_key_id))
        return private.open(claim.sealed_code, state_hash=claim.state_hash)

    def _register(self, result: ConnectResult) -> None:
        """Before anything else is done with them: from here on a log line cannot show a token."""
        for candidate in result.candidates:
            if (grant := candidate.grant) is not None:
                for value in (grant.access_token, grant.refresh_token, *(value for value, _ in grant.more.values())):
                    if value:
                        self._redactor.register(value)

    async def _offer(self, claim: ConnectClaim, result: ConnectResult) -> None:
        """What can be done with each is for the database to say: it knows whose account it is and what is stored for it."""
        usable = [each for each in result.candidates if each.code is None and each.grant is not None]
        auto = chosen(claim, usable, complete=result.complete)
        answer = await self._patiently(
            lambda: self._queries.offer_candidates(
                claim,
                candidates=[_as_json(each) for each in result.candidates],
                complete=result.complete,
                # Sealed anew for every try: the master key may change between two of them.
                grants=[self._grant(claim, each, result.platform_user_id) for each in usable],
                auto=auto,
            )
        )
        self._health.connect_ended(claim.platform, "offered" if answer == "ok" else answer)
        log.info(
            "connect.offered",
            candidates=len(result.candidates),
            usable=len(usable),
            complete=result.complete,
            answer=answer,
        )

    def _grant(self, claim: ConnectClaim, candidate: Candidate, platform_user_id: str) -> ConnectGrant:
        assert candidate.grant is not None
        account_id = account_id_of(claim, candidate.platform_account_id)
        return ConnectGrant(
            platform_account_id=candidate.platform_account_id,
            account_id=account_id,
            login=claim.login,
            platform_user_id=platform_user_id,
            scopes=candidate.scopes,
            secrets=self._tokens.seal(account_id, candidate.grant),
            token_expires_in_seconds=candidate.token_expires_in_seconds,
            data_access_expires_in_seconds=candidate.data_access_expires_in_seconds,
            name=candidate.name,
            handle=candidate.handle,
            picture_url=candidate.picture_url,
        )

    async def _fail(self, claim: ConnectClaim, failure: Failure) -> None:
        detail = {
            key: value
            for key, value in (
                ("detail", failure.detail),
                ("http_status", failure.http_status),
                ("platform_code", failure.platform_code),
                ("platform_subcode", failure.platform_subcode),
            )
            if value not in (None, "")
        }
        log.warning("connect.failed", code=str(failure.code), **detail)
        self._health.connect_ended(claim.platform, str(failure.code))
        message = catalog.message(failure.code, failure.detail)
        await self._patiently(lambda: self._queries.fail_connect(claim, code=str(failure.code), message=message))

    async def _patiently(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """The answer of a statement that may be repeated: a read, or a write that the attempt fences."""
        for again in range(DATABASE_TRIES_MAX):
            try:
                return await ask()
            except DatabaseUnavailable:
                if again == DATABASE_TRIES_MAX - 1:
                    raise
                await self._runtime.sleep(DATABASE_PAUSE_SECONDS)
        raise AssertionError("the loop returns or raises")


# What follows from the list -------------------------------------------------------------------------------------------------


def chosen(claim: ConnectClaim, usable: Sequence[Candidate], *, complete: bool) -> list[str] | None:
    """Which accounts are connected without asking; None: the person chooses. Pure.

    A reconnect is about one account, whatever else the person offers. Otherwise nobody is asked when there is nothing to choose
    from: exactly one usable candidate, and nothing missing from the list.
    """
    if claim.platform_account_id is not None:
        return [claim.platform_account_id]
    return [usable[0].platform_account_id] if len(usable) == 1 and complete else None


def account_id_of(claim: ConnectClaim, platform_account_id: str) -> UUID:
    """The id of the account a candidate is or will be: what its tokens are sealed for."""
    return claim.known.get(platform_account_id) or uuid.uuid5(
        ACCOUNT_NAMESPACE, f"{claim.user_id}|{claim.platform}|{platform_account_id}"
    )


def _as_json(candidate: Candidate) -> dict[str, Any]:
    """As the app reads it. No token, nothing that is not shown."""
    return {
        "platform_account_id": candidate.platform_account_id,
        "name": candidate.name,
        "handle": candidate.handle,
        "picture_url": candidate.picture_url,
        "code": str(candidate.code) if candidate.code is not None else None,
    }
