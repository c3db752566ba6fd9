"""What the worker says about connecting accounts, looking after them and letting them go. The statements are in `queries.sql`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from uuid import UUID

from psycopg.types.json import Jsonb

from orbyt_worker.db.queries import Answer, SealedSecret, Statements, secrets_json
from orbyt_worker.model import Account

Noted = Literal["ok", "changed"]


@dataclass(frozen=True, slots=True)
class ConnectClaim:
    """A session whose code came back. `known`: the user's accounts on this platform, by the platform's id.

    `account_id` and `platform_account_id` are those of the account to reconnect, if it is about one.
    """

    session_id: UUID
    attempt: int
    user_id: UUID
    platform: str
    login: str
    account_id: UUID | None
    platform_account_id: str | None
    state_hash: str
    redirect_uri: str
    code_key_id: str
    known: Mapping[str, UUID]
    sealed_code: bytes = field(repr=False)
    code_verifier: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ConnectGrant:
    """What was granted for one candidate, sealed for the account it will be."""

    platform_account_id: str
    account_id: UUID
    login: str
    platform_user_id: str
    scopes: Sequence[str]
    secrets: Sequence[SealedSecret]
    token_expires_in_seconds: float | None
    data_access_expires_in_seconds: float | None
    name: str
    handle: str | None
    picture_url: str | None


@dataclass(frozen=True, slots=True)
class ConnectApp:
    """One login as the database needs it to make authorize URLs. `scopes` by platform."""

    login: str
    client_id: str
    redirect_uri: str
    authorize_url: str
    scopes: Mapping[str, Sequence[str]]
    parameters: Mapping[str, str]
    pkce: bool
    scope_separator: str


@dataclass(frozen=True, slots=True)
class SealedCallbackKey:
    """The private half of a callback key. `owner_id` is what its seal is bound to."""

    owner_id: UUID
    key_id: str
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeptAccount:
    """An account with the version of its grant."""

    account: Account
    version: int
    status: str = "active"


@dataclass(frozen=True, slots=True)
class Revocation:
    """A disconnected account. `others_active`: another account lives by the same person's grant. `give_up`: it took too long."""

    account: Account
    others_active: bool
    give_up: bool


class ConnectQueries(Statements):
    """Each method is one statement, safe to repeat unless it says otherwise."""

    # Sessions ---------------------------------------------------------------------------------------------------------

    async def claim_connects(self, worker_id: UUID, *, limit: int) -> list[ConnectClaim]:
        """Not repeatable for a session: a code is exchanged once, by whoever claimed it. Orphans are failed, not handed out."""
        rows = await self._rows("claim_connects", worker_id=worker_id, limit=limit)
        return [
            ConnectClaim(
                session_id=row["session_id"],
                attempt=row["attempt"],
                user_id=row["user_id"],
                platform=row["platform"],
                login=row["login"],
                account_id=row["account_id"],
                platform_account_id=row["platform_account_id"],
                state_hash=row["state_hash"],
                redirect_uri=row["redirect_uri"],
                code_key_id=row["code_key_id"],
                known={name: UUID(account_id) for name, account_id in row["known"].items()},
                sealed_code=bytes(row["sealed_code"]),
                code_verifier=row["code_verifier"],
            )
            for row in rows
        ]

    async def offer_candidates(
        self,
        claim: ConnectClaim,
        *,
        candidates: Sequence[Mapping[str, Any]],
        complete: bool,
        grants: Sequence[ConnectGrant],
        auto: Sequence[str] | None,
    ) -> Answer:
        """`auto`: platform_account_ids to connect at once, without asking."""
        return cast(
            Answer,
            await self._value(
                "offer_candidates",
                session_id=claim.session_id,
                attempt=claim.attempt,
                candidates=Jsonb([dict(each) for each in candidates]),
                complete=complete,
                grants=Jsonb([_grant_json(each) for each in grants]),
                auto=list(auto) if auto is not None else None,
            ),
        )

    async def fail_connect(self, claim: ConnectClaim, *, code: str, message: str) -> Answer:
        return cast(
            Answer,
            await self._value(
                "fail_connect", session_id=claim.session_id, attempt=claim.attempt, code=code, message=message
            ),
        )

    async def expire_connects(self) -> int:
        return cast(int, await self._value("expire_connects"))

    # Set-up -----------------------------------------------------------------------------------------------------------

    async def set_connect_app(self, app: ConnectApp) -> None:
        await self._rows(
            "set_connect_app",
            login=app.login,
            platforms=sorted(app.scopes),
            client_id=app.client_id,
            redirect_uri=app.redirect_uri,
            authorize_url=app.authorize_url,
            scopes=Jsonb({platform: list(scopes) for platform, scopes in app.scopes.items()}),
            parameters=Jsonb(dict(app.parameters)),
            pkce=app.pkce,
            scope_separator=app.scope_separator,
        )

    async def keep_connect_apps(self, logins: Sequence[str]) -> int:
        """Withdraw every login that is not among these. Returns how many."""
        return cast(int, await self._value("keep_connect_apps", logins=list(logins)))

    async def set_connect_proof(self, proof: bool) -> None:
        await self._rows("set_connect_proof", proof=proof)

    async def set_connect_return_to(self, urls: Sequence[str]) -> None:
        await self._rows("set_connect_return_to", urls=Jsonb(list(urls)))

    async def callback_key_id(self) -> str | None:
        key = await self._value("callback_key")
        return None if key is None else cast(str, key["key_id"])

    async def add_callback_key(self, *, public_jwk: Mapping[str, str], private: SealedCallbackKey, key_id: str) -> bool:
        """False if there is one already; then nothing changed. `private.key_id` is the master key, `key_id` the new key's name."""
        return cast(
            bool,
            await self._value(
                "add_callback_key",
                key_id=key_id,
                public_jwk=Jsonb(dict(public_jwk)),
                owner_id=private.owner_id,
                sealed_private=private.sealed,
                sealed_key_id=private.key_id,
            ),
        )

    async def read_callback_key(self, key_id: str) -> SealedCallbackKey | None:
        rows = await self._rows("read_callback_key", key_id=key_id)
        if not rows:
            return None
        return SealedCallbackKey(rows[0]["owner_id"], rows[0]["sealed_key_id"], bytes(rows[0]["sealed_private"]))

    async def connect_facts(self) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", await self._value("connect_facts"))

    # Accounts ---------------------------------------------------------------------------------------------------------

    async def read_account(self, account_id: UUID) -> KeptAccount | None:
        rows = await self._rows("read_account", account_id=account_id)
        return KeptAccount(_account(rows[0]), rows[0]["version"], rows[0]["status"]) if rows else None

    async def accounts_to_check(self, worker_id: UUID, *, limit: int, lease_seconds: float) -> list[KeptAccount]:
        """Takes them: nobody else gets them until the lease ends or `note_check` is called."""
        rows = await self._rows("accounts_to_check", worker_id=worker_id, limit=limit, lease_seconds=lease_seconds)
        return [KeptAccount(_account(row), row["version"]) for row in rows]

    async def note_check(
        self,
        account_id: UUID,
        *,
        version: int,
        code: str | None = None,
        token_expires_in_seconds: float | None = None,
        data_access_expires_in_seconds: float | None = None,
        scopes: Sequence[str] | None = None,
        cool_seconds: float | None = None,
    ) -> Noted:
        """`code` None: it works. Ignored ("changed") if the grant was replaced since."""
        return cast(
            Noted,
            await self._value(
                "note_check",
                account_id=account_id,
                version=version,
                code=code,
                token_expires_in_seconds=token_expires_in_seconds,
                data_access_expires_in_seconds=data_access_expires_in_seconds,
                scopes=list(scopes) if scopes is not None else None,
                cool_seconds=cool_seconds,
            ),
        )

    async def accounts_to_revoke(self, worker_id: UUID, *, limit: int, lease_seconds: float) -> list[Revocation]:
        """Takes them, like `accounts_to_check`."""
        rows = await self._rows("accounts_to_revoke", worker_id=worker_id, limit=limit, lease_seconds=lease_seconds)
        return [Revocation(_account(row), row["others_active"], row["give_up"]) for row in rows]

    async def note_revoke_failed(self, account_id: UUID, *, code: str, cool_seconds: float) -> Noted:
        return cast(
            Noted,
            await self._value("note_revoke_failed", account_id=account_id, code=code, cool_seconds=cool_seconds),
        )

    async def finish_disconnect(self, account_id: UUID, *, code: str | None = None) -> Noted:
        """`code`: why the grant was not ended at the platform. Nothing happens to an account that is connected again."""
        return cast(Noted, await self._value("finish_disconnect", account_id=account_id, code=code))


def _account(row: Mapping[str, Any]) -> Account:
    return Account(
        account_id=row["account_id"],
        user_id=row["user_id"],
        platform=row["platform"],
        platform_account_id=row["platform_account_id"],
        name=row["name"],
        scopes=tuple(row["scopes"]),
        login=row["login"],
        handle=row["handle"],
    )


def _grant_json(grant: ConnectGrant) -> dict[str, Any]:
    return {
        "platform_account_id": grant.platform_account_id,
        "account_id": str(grant.account_id),
        "login": grant.login,
        "platform_user_id": grant.platform_user_id,
        "scopes": list(grant.scopes),
        "secrets": secrets_json(grant.secrets),
        "token_expires_in_seconds": grant.token_expires_in_seconds,
        "data_access_expires_in_seconds": grant.data_access_expires_in_seconds,
        "name": grant.name,
        "handle": grant.handle,
        "picture_url": grant.picture_url,
    }
