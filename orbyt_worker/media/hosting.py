"""Converted pictures in a private bucket of the project, at addresses that a platform can fetch for a while.

Names are made of the job and of the bytes, so a repeated attempt stores the same object again instead of another one. Before
an upload the path is noted in the database (`Hosted.note`): whatever happens then, upkeep finds it and removes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.source import Interrupted
from orbyt_worker.media.storage import Storage

DIGEST_CHARACTERS = 32
_SUFFIXES = {"image/jpeg": ".jpg"}


@dataclass(frozen=True, slots=True)
class Hosted:
    """On whose behalf an address is made.

    `folder` is the job's id. `note(path)` records the path durably before anything is uploaded to it, and may raise to stop
    it. `redact(address)` hears every address made, before it is used, so that it never shows in a log.
    """

    folder: str
    note: Callable[[str], Awaitable[None]] = field(repr=False)
    redact: Callable[[str], None] = field(repr=False)


class Hosting:
    """The bucket for what we made ourselves. `storage` None: not configured, which is said when it is needed."""

    def __init__(self, storage: Storage | None, *, bucket: str, url_seconds: float) -> None:
        self._storage = storage
        self._bucket = bucket
        self._url_seconds = int(url_seconds)

    async def host(self, data: bytes, content_type: str, hosted: Hosted, name: str) -> str:
        """Store `data` and give a signed address that lives `url_seconds`. Safe to repeat. Raises Failure(storage_…).

        `name` says within the folder what it is ("0", "0-cover").
        """
        storage = self._required()
        digest = hashlib.sha256(data).hexdigest()[:DIGEST_CHARACTERS]
        path = f"{hosted.folder}/{name}-{digest}{_SUFFIXES[content_type]}"
        await hosted.note(path)
        try:
            await storage.upload(self._bucket, path, data, content_type)
            address = await storage.signed_url(self._bucket, path, self._url_seconds)
        except Interrupted as interrupted:
            raise interrupted.failure() from None
        hosted.redact(address)
        return address

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove what was hosted; what is gone already is no error. Raises Failure(storage_…)."""
        try:
            await self._required().remove(self._bucket, paths)
        except Interrupted as interrupted:
            raise interrupted.failure() from None

    def _required(self) -> Storage:
        if self._storage is None:
            raise Failure(
                ErrorCode.STORAGE_NOT_CONFIGURED, "ORBYT_SUPABASE_URL and ORBYT_SUPABASE_SECRET_KEY are not set"
            )
        return self._storage
