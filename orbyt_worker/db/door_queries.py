"""What the HTTP doors say to the database. The statements are in `queries.sql`; each is safe to repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from orbyt_worker.db.queries import Statements


@dataclass(frozen=True, slots=True)
class CallbackKey:
    """The public half of a callback key."""

    key_id: str
    jwk: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CameBack:
    """Where to send the browser (None if no link is allowed at all), how the session stands, and why, if it is no success."""

    redirect: str | None = field(repr=False)
    status: str
    code: str | None


@dataclass(frozen=True, slots=True)
class Removal:
    """A person's accounts were disconnected. `confirmation_code`: of their request for deletion, if it was one."""

    accounts: int
    confirmation_code: str | None


@dataclass(frozen=True, slots=True)
class DeletionStatus:
    """`finished_at` is None while it is being worked on."""

    requested_at: datetime
    finished_at: datetime | None


class DoorQueries(Statements):
    """One method, one statement."""

    async def callback_key(self) -> CallbackKey | None:
        """None as long as no worker has made one."""
        key = await self._value("callback_key")
        return None if key is None else CallbackKey(key["key_id"], key["jwk"])

    async def connect_callback(
        self, state_hash: str, *, sealed_code: str | None, key_id: str | None, error: str | None
    ) -> CameBack:
        answer: Mapping[str, Any] = await self._value(
            "connect_callback", state_hash=state_hash, sealed_code=sealed_code, key_id=key_id, error=error
        )
        return CameBack(answer["redirect"], answer["status"], answer["code"])

    async def disconnect_by_platform_user(
        self, login: str, platform_user_id: str, *, issued_at: datetime | None, delete: bool = False
    ) -> Removal:
        """`issued_at`: when the person removed the app, if that is known; what they granted since is left alone."""
        rows = await self._rows(
            "disconnect_by_platform_user",
            login=login,
            platform_user_id=platform_user_id,
            issued_at=issued_at,
            delete=delete,
        )
        return Removal(rows[0]["accounts"], rows[0]["confirmation_code"])

    async def deletion_status(self, confirmation_code: str) -> DeletionStatus | None:
        rows = await self._rows("deletion_status", confirmation_code=confirmation_code)
        return DeletionStatus(rows[0]["requested_at"], rows[0]["finished_at"]) if rows else None

    async def wake_media(self, playback_ids: Sequence[str] | None) -> int:
        """Jobs that wait for Mux look again: those that name one of these videos, or all. Returns how many."""
        return cast(
            int, await self._value("wake_media", playback_ids=None if playback_ids is None else list(playback_ids))
        )
