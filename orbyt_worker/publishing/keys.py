"""The master keys of this worker: read out of Vault, read again when they change. Rotation happens while the worker runs.

A new key becomes the one that seals with the next heartbeat. What somebody else sealed with it before that is met as an unknown
key id: the keys are then read again, once, before anything is called unreadable.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog

from orbyt_worker.crypto import Keyring, Sealed
from orbyt_worker.db.queries import Queries
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.runtime import Runtime

# An id that Vault did not have is not asked for again at once: a thousand secrets of a lost key are one question.
UNKNOWN_SECONDS = 30.0
UNKNOWN_MAX = 64

log = structlog.get_logger(__name__)


class MasterKeys:
    """Seals with the active key, opens with any. `load()` first."""

    def __init__(self, queries: Queries, runtime: Runtime) -> None:
        self._queries = queries
        self._runtime = runtime
        self._loaded: Keyring | None = None
        self._unknown: dict[str, float] = {}
        self._reading = asyncio.Lock()

    @property
    def _keyring(self) -> Keyring:
        assert self._loaded is not None, "load() comes first"
        return self._loaded

    @property
    def active(self) -> str:
        """Id of the key this worker seals with."""
        return self._keyring.active

    async def load(self) -> None:
        """Read all of them. Raises Failure(vault_key_missing) with what to do about it; what was known before stays then."""
        keys = await self._queries.master_keys()
        active = [key.key_id for key in keys if key.active]
        if not active:
            raise Failure(ErrorCode.VAULT_KEY_MISSING, "run `orbyt-worker keys init`")
        self._loaded = Keyring({key.key_id: key.key for key in keys}, active=active[0])

    async def follow(self, active_key_id: str | None) -> bool:
        """Make the key that the database calls active ours too. True if it changed. Raises like `load`."""
        if active_key_id is None or active_key_id == self.active:
            return False
        before = self.active
        await self.load()
        if self.active == before:
            return False
        log.info("keys.changed", key_id=self.active)
        return True

    def seal(self, plaintext: str | bytes, *, owner_id: UUID, kind: str) -> Sealed:
        """See `Keyring.seal`."""
        return self._keyring.seal(plaintext, owner_id=owner_id, kind=kind)

    async def open(self, blob: bytes, *, owner_id: UUID, kind: str, key_id: str) -> bytes:
        """The plaintext. Raises Failure(secret_unreadable), also for a key that Vault does not have."""
        if key_id not in self._keyring.key_ids:
            await self._look_for(key_id)
        return self._keyring.open(blob, owner_id=owner_id, kind=kind, key_id=key_id)

    async def _look_for(self, key_id: str) -> None:
        async with self._reading:
            # Somebody else may have read them while we waited.
            if key_id in self._keyring.key_ids:
                return
            if self._unknown.get(key_id, float("-inf")) < self._runtime.monotonic() - UNKNOWN_SECONDS:
                await self.load()
                log.info("keys.read_again", unknown=key_id, key_ids=sorted(self._keyring.key_ids))
            if key_id in self._keyring.key_ids:
                self._unknown.pop(key_id, None)
                return
            if len(self._unknown) >= UNKNOWN_MAX:
                self._unknown.clear()
            self._unknown.setdefault(key_id, self._runtime.monotonic())
            raise Failure(ErrorCode.SECRET_UNREADABLE, f"Vault has no master key {key_id}")
