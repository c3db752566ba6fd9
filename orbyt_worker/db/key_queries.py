"""What an operator's commands say about master keys. The statements are in `queries.sql`; no key is in any of them.

Some of them are refused to the worker's role: they want a URL of the role `postgres`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, cast
from uuid import UUID

from orbyt_worker.db.queries import Statements

RetireAnswer = Literal["ok", "unknown", "active", "worker", "in_use"]
# Of a list for a person.
WORKERS_MAX = 200


@dataclass(frozen=True, slots=True)
class KeyUse:
    """One key id: where it is, how many secrets are sealed with it, how many living workers seal with it."""

    key_id: str
    active: bool
    in_vault: bool
    account_secrets: int
    job_steps: int
    connect_grants: int
    callback_keys: int
    workers: int

    @property
    def secrets(self) -> int:
        return self.account_secrets + self.job_steps + self.connect_grants + self.callback_keys


@dataclass(frozen=True, slots=True)
class SealedRow:
    """Something sealed: where it lies, and what its seal is bound to."""

    address: str
    source: str
    owner_id: UUID
    kind: str
    key_id: str
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class WorkerKey:
    """A living worker. `key_id` None: it has not said yet, or is too old to say."""

    worker_id: UUID
    host: str
    key_id: str | None
    key_since: datetime | None
    key_age_seconds: float | None


class KeyQueries(Statements):
    """Each method is one statement, safe to repeat."""

    async def key_status(self) -> list[KeyUse]:
        return [KeyUse(**row) for row in await self._rows("key_status")]

    async def secrets_to_reseal(self, active_key_id: str, *, limit: int, after: str) -> list[SealedRow]:
        """What is sealed with another key, behind the address `after`; begin with ""."""
        rows = await self._rows("secrets_to_reseal", active_key_id=active_key_id, limit=limit, after=after)
        return [SealedRow(**{**row, "sealed": bytes(row["sealed"])}) for row in rows]

    async def reseal(self, row: SealedRow, *, sealed: bytes, key_id: str) -> Literal["ok", "changed"]:
        """Changed: somebody wrote it since it was read; nothing happens."""
        answer = await self._value("reseal", address=row.address, old_sealed=row.sealed, sealed=sealed, key_id=key_id)
        return cast("Literal['ok', 'changed']", answer)

    async def create_master_key(self, key_id: str) -> bool:
        """False if that id exists; then nothing changes."""
        return cast(bool, await self._value("create_master_key", key_id=key_id))

    async def retire_master_key(self, key_id: str) -> RetireAnswer:
        return cast(RetireAnswer, await self._value("retire_master_key", key_id=key_id))

    async def workers_and_keys(self) -> list[WorkerKey]:
        rows = await self._rows("workers_and_keys", limit=WORKERS_MAX)
        return [
            WorkerKey(
                row["worker_id"],
                row["host"],
                row["key_id"],
                row["key_since"],
                row["key_age"].total_seconds() if row["key_age"] is not None else None,
            )
            for row in rows
        ]
