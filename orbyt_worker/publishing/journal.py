"""What earlier attempts recorded about a job, opened for reading, and written through to the database.

Secret parts (upload addresses) are sealed for the job before they reach SQL and merged into what a step reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orbyt_worker.db.queries import Answer, Claim, Queries
from orbyt_worker.logs import Redactor
from orbyt_worker.publishing.keys import MasterKeys

INSPECT = "inspect"
# The last try of the visible call went unanswered: it is looked at once more, and not made again.
LAST_TRY = "last_try"


class Stale(Exception):
    """This attempt no longer owns the job (taken back, cancelled, edited by an admin): it must stop and write nothing."""


def owned(answer: str) -> None:
    """Raise Stale unless the database accepted the write."""
    if answer == "stale":
        raise Stale


class Journal:
    """The steps of one claimed job. `unseal()` first: until then the secret parts are missing."""

    def __init__(self, claim: Claim, queries: Queries, keys: MasterKeys, redactor: Redactor) -> None:
        self._job = claim.job
        self._queries = queries
        self._keys = keys
        self._redactor = redactor
        self._states = {entry.step: entry.state for entry in claim.journal}
        self._begun_at = {entry.step: entry.begun_at for entry in claim.journal}
        self.results: dict[str, Mapping[str, Any]] = {entry.step: dict(entry.result) for entry in claim.journal}
        self._sealed = {
            entry.step: (entry.secret, entry.key_id)
            for entry in claim.journal
            if entry.secret is not None and entry.key_id is not None
        }

    async def unseal(self) -> None:
        """Merge the secret parts into `results`. Raises Failure(secret_unreadable | vault_key_missing)."""
        for step, (sealed, key_id) in self._sealed.items():
            self.results[step] = {**self.results[step], **await self._open(step, sealed, key_id)}
        self._sealed = {}

    async def _open(self, step: str, sealed: bytes, key_id: str) -> dict[str, Any]:
        plain = await self._keys.open(sealed, owner_id=self._job.job_id, kind=f"step.{step}", key_id=key_id)
        secret: dict[str, Any] = json.loads(plain)
        self._register(secret)
        return secret

    def _register(self, secret: Mapping[str, Any]) -> None:
        for value in secret.values():
            if isinstance(value, str):
                self._redactor.register(value)

    def done(self, step: str) -> bool:
        return self._states.get(step) in ("recorded", "confirmed")

    def open_publish(self) -> tuple[str, datetime] | None:
        """The visible step that was begun and never confirmed, and when; None if there is none."""
        for step, state in self._states.items():
            begun_at = self._begun_at.get(step)
            if state == "begun" and begun_at is not None:
                return step, begun_at
        return None

    def confirmed(self) -> Mapping[str, Any] | None:
        """What the visible step returned, if it was confirmed."""
        return next((self.results[step] for step, state in self._states.items() if state == "confirmed"), None)

    async def save(
        self, step: str, result: Mapping[str, Any], *, secret: Mapping[str, Any] | None = None, done: bool = False
    ) -> None:
        """Write through. A secret given earlier is kept when none is given now. Raises Stale."""
        sealed = None
        if secret is not None:
            self._register(secret)
            sealed = self._keys.seal(json.dumps(dict(secret)), owner_id=self._job.job_id, kind=f"step.{step}")
        owned(
            await self._queries.save_step(
                self._job,
                step,
                done=done,
                result=result,
                secret=sealed.blob if sealed else None,
                key_id=sealed.key_id if sealed else None,
            )
        )
        previous = self.results.get(step, {})
        self.results[step] = {**previous, **result, **(secret or {})}
        if self._states.get(step) not in ("begun", "confirmed"):
            self._states[step] = "recorded" if done else "saved"

    async def forget(self, *steps: str) -> None:
        """Do these hidden steps anew. Raises Stale."""
        owned(await self._queries.forget_steps(self._job, steps))
        for step in steps:
            self._states.pop(step, None)
            self.results.pop(step, None)

    async def begin(self, step: str, begun_at: datetime, *, call_timeout_seconds: float) -> str:
        """Announce the visible call. "ok" or "expired"; raises Stale."""
        answer = await self._queries.begin_publish(self._job, step, call_timeout_seconds=call_timeout_seconds)
        owned(answer)
        if answer == "ok":
            self._states[step] = "begun"
            self._begun_at[step] = begun_at
        return answer

    async def confirm(self, step: str, result: Mapping[str, Any]) -> None:
        """The post is out: keep its id before anything else. Raises Stale."""
        owned(await self._queries.confirm_publish(self._job, step, result))
        self._states[step] = "confirmed"
        self.results[step] = {**self.results.get(step, {}), **result}

    async def unbegin(self, step: str, forget_steps: tuple[str, ...]) -> None:
        """The visible call provably did not happen. Raises Stale."""
        answer: Answer = await self._queries.unbegin_publish(self._job, step, forget_steps)
        owned(answer)
        self._states[step] = "saved"
        self._begun_at[step] = None
        for each in forget_steps:
            self._states.pop(each, None)
            self.results.pop(each, None)
