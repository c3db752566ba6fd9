"""One account at a time, because a person asks: check it at the platform now, renew its token now.

What comes of it is recorded as if upkeep had done it, and by the same rules: only a confirmed rejection disconnects, and nobody
renews what somebody else is renewing.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from orbyt_worker.connecting.care import Care
from orbyt_worker.db.connect_queries import ConnectQueries, KeptAccount
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.publishing.tokens import Tokens

_NOT_ACTIVE = {"disconnected": ErrorCode.ACCOUNT_DISCONNECTED, "needs_reauth": ErrorCode.ACCOUNT_NEEDS_REAUTH}
# What refreshing can answer besides "ok" and codes of the catalog, for a person.
WORDS = {
    "busy": "somebody is renewing it at this moment",
    "changed": "somebody renewed or reconnected it at this moment",
    "cooling": "it failed a moment ago and is not asked for again yet; try in a while",
    "not_renewable": "tokens of this login are not renewed: they live until somebody ends them; use `accounts check`",
}
# After these the token is a new one.
RENEWED = ("ok", "changed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """`outcome`: "ok", a code of the catalog, or one of WORDS."""

    account_id: UUID
    platform: str | None
    name: str | None
    outcome: str


class Desk:
    """Each method asks about one account and raises nothing a platform could cause."""

    def __init__(self, *, queries: ConnectQueries, care: Care, tokens: Tokens) -> None:
        self._queries = queries
        self._care = care
        self._tokens = tokens

    async def check(self, account_id: UUID) -> Outcome:
        """Ask the platform whether the connection works, and write down the answer. An account that is not active is not asked about."""
        kept = await self._queries.read_account(account_id)
        refused = _refused(kept)
        if kept is None or refused is not None:
            return _outcome(account_id, kept, str(refused))
        return _outcome(account_id, kept, await self._care.check(kept))

    async def refresh(self, account_id: UUID) -> Outcome:
        """Renew the token, whenever it would end. A grant that cannot be renewed is left alone."""
        kept = await self._queries.read_account(account_id)
        refused = _refused(kept)
        if kept is None or refused is not None:
            return _outcome(account_id, kept, str(refused))
        if kept.account.login not in self._tokens.renewable_logins(kept.account.platform):
            return _outcome(account_id, kept, "not_renewable")
        try:
            answer = await self._tokens.refresh_now(account_id, kept.account.platform)
        except Failure as failure:
            answer = str(failure.code)
        return _outcome(account_id, kept, answer)


def _refused(kept: KeptAccount | None) -> ErrorCode | None:
    return ErrorCode.ACCOUNT_NOT_FOUND if kept is None else _NOT_ACTIVE.get(kept.status)


def _outcome(account_id: UUID, kept: KeptAccount | None, outcome: str) -> Outcome:
    account = kept.account if kept is not None else None
    return Outcome(account_id, account.platform if account else None, account.name if account else None, outcome)
