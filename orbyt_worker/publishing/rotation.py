"""Changing the master key while everything runs: make a new one, seal everything anew with it, delete the old ones.

Workers take the new key with their next heartbeat and go on opening what the old ones sealed, so nothing fails meanwhile. Every
step may be repeated, and whoever is killed half way runs it again: what is left of a rotation is found in the database, not
remembered here. The keys themselves are made inside the database and read by one function; they stand in no statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orbyt_worker.db.key_queries import KeyQueries, KeyUse, SealedRow, WorkerKey
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.runtime import Runtime

# Secrets of one page: a few megabytes at most.
BATCH_MAX = 500
# How often we look whether the workers have followed.
LOOK_SECONDS = 5.0
# Names tried for a new key; those of deleted keys are taken for ever.
NAMES_MAX = 100
# What cannot be opened is named up to here, and counted beyond.
UNREADABLE_NAMED_MAX = 20


@dataclass(slots=True)
class Report:
    """What a rotation did. `waiting_for`: why it is not complete, in sentences. `unreadable`: (address, key id) of what no key of
    Vault opens; `kept`: old keys that stay because of it."""

    key_id: str
    created: bool = False
    resealed: int = 0
    retired: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    unreadable_count: int = 0
    unreadable_keys: set[str] = field(default_factory=set)
    waiting_for: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.waiting_for and not self.kept


class Rotation:
    """One rotation by one operator. Two at once do no harm: each secret is compared and set."""

    def __init__(
        self, queries: KeyQueries, keys: MasterKeys, runtime: Runtime, *, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self._queries = queries
        self._keys = keys
        self._runtime = runtime
        self._say = say

    async def run(self, key_id: str | None = None, *, wait_seconds: float) -> Report:
        """Without `key_id`: go on with a rotation that was begun, else begin one with the next free name.

        Waits at most so long for workers to follow; the rest is then in the report. Raises Failure: vault_key_missing (nothing to
        rotate from), option_invalid (that key is an old one).
        """
        report = await self._begin(key_id)
        ends_at = self._runtime.monotonic() + wait_seconds
        while True:
            await self._reseal_all(report)
            await self._retire(report)
            if not report.waiting_for or self._runtime.monotonic() >= ends_at:
                return report
            self._say(f"waiting: {'; '.join(report.waiting_for)}")
            await self._runtime.sleep(LOOK_SECONDS)

    async def _begin(self, key_id: str | None) -> Report:
        uses = await self._queries.key_status()
        vaulted = {use.key_id for use in uses if use.in_vault}
        active = next((use.key_id for use in uses if use.active and use.in_vault), None)
        if not vaulted:
            raise Failure(ErrorCode.VAULT_KEY_MISSING, "there is none to rotate from: run `orbyt-worker keys init`")
        if key_id is not None:
            created = await self._create(key_id, vaulted) if key_id != active else False
        elif active is not None and len(vaulted) > 1:
            key_id, created = active, False
            self._say(f"a rotation to key {key_id} was begun: going on with it")
        else:
            key_id, created = await self._create_next(active, {use.key_id for use in uses}), True
        if created:
            self._say(f"key {key_id} created: it seals from now on")
        await self._keys.load()
        return Report(key_id, created=created)

    async def _create(self, key_id: str, vaulted: set[str]) -> bool:
        if not await self._queries.create_master_key(key_id):
            why = "is in Vault and does not seal" if key_id in vaulted else "was deleted by an earlier rotation"
            raise Failure(ErrorCode.OPTION_INVALID, f"key {key_id} {why}: choose a new name")
        return True

    async def _create_next(self, active: str | None, taken: set[str]) -> str:
        """The first name that was never used. A name does not come back: what a frozen worker sealed would look like the new key's."""
        for _ in range(NAMES_MAX):
            key_id = next_key_id(active, taken)
            if await self._queries.create_master_key(key_id):
                return key_id
            taken.add(key_id)
        raise Failure(ErrorCode.OPTION_INVALID, f"no name after {active} is free: choose one")

    async def _reseal_all(self, report: Report) -> None:
        """Everything that another key sealed, page by page; what cannot be opened stops nothing."""
        report.unreadable, report.unreadable_count, report.unreadable_keys = [], 0, set()
        after = ""
        while page := await self._queries.secrets_to_reseal(report.key_id, limit=BATCH_MAX, after=after):
            after = page[-1].address
            for row in page:
                await self._reseal(row, report)
            self._say(f"sealed anew: {report.resealed}")

    async def _reseal(self, row: SealedRow, report: Report) -> None:
        if self._keys.active != report.key_id:
            raise Failure(
                ErrorCode.OPTION_INVALID, f"key {self._keys.active} seals by now: somebody began another rotation"
            )
        try:
            plain = await self._keys.open(row.sealed, owner_id=row.owner_id, kind=row.kind, key_id=row.key_id)
        except Failure:
            report.unreadable_count += 1
            report.unreadable_keys.add(row.key_id)
            if len(report.unreadable) < UNREADABLE_NAMED_MAX:
                report.unreadable.append((row.address, row.key_id))
            return
        sealed = self._keys.seal(plain, owner_id=row.owner_id, kind=row.kind)
        if await self._queries.reseal(row, sealed=sealed.blob, key_id=sealed.key_id) == "ok":
            report.resealed += 1

    async def _retire(self, report: Report) -> None:
        """Delete the old keys that nothing and nobody needs, and say who needs the others."""
        report.waiting_for, report.kept = [], []
        for use in await self._queries.key_status():
            if not use.in_vault or use.key_id == report.key_id:
                continue
            answer = await self._queries.retire_master_key(use.key_id)
            if answer == "ok":
                report.retired.append(use.key_id)
                self._say(f"key {use.key_id} deleted")
            elif answer == "worker":
                report.waiting_for += waits(await self._queries.workers_and_keys(), report.key_id, use.key_id)
            elif answer == "in_use" and use.key_id in report.unreadable_keys:
                report.kept.append(use.key_id)
            elif answer == "in_use":
                report.waiting_for.append(f"something was sealed with {use.key_id} a moment ago")
            elif answer == "active":
                raise Failure(ErrorCode.OPTION_INVALID, f"key {use.key_id} seals: somebody began another rotation")


def next_key_id(active: str | None, taken: set[str]) -> str:
    """A free name after the active one: k1, k2, …; local, local-2, ….

    >>> next_key_id("k1", {"k1"})
    'k2'
    """
    stem, number = "k", 0
    if active is not None:
        found = re.fullmatch(r"(.*?)(\d{1,9})", active)
        stem, number = (found[1], int(found[2])) if found else (f"{active}-", 1)
    while True:
        number += 1
        if (key_id := f"{stem}{number}") not in taken:
            return key_id


def waits(workers: Sequence[WorkerKey], key_id: str, old: str) -> list[str]:
    """Why an old key cannot go because of living workers, in words."""
    late = [worker for worker in workers if worker.key_id != key_id]
    named = ", ".join(f"{worker.host} ({worker.key_id or 'does not say'})" for worker in late[:10])
    if late:
        return [f"{len(late)} of {len(workers)} workers do not seal with {key_id} yet: {named}"]
    return [f"what a worker sealed with {old} a moment ago may be on its way (one minute)"]


def advice(uses: Sequence[KeyUse], workers: Sequence[WorkerKey]) -> list[str]:
    """What to do about the keys as they are. One sentence each, the most urgent first; never empty."""
    active = next((use for use in uses if use.active), None)
    vaulted = [use for use in uses if use.in_vault]
    sentences = []
    if not vaulted:
        sentences.append(
            "Vault has no master key: bring it back from a backup, or run `orbyt-worker keys init` and let everybody reconnect."
            if any(use.secrets for use in uses)
            else "There is no master key yet: run `orbyt-worker keys init`."
        )
    elif active is None or not active.in_vault:
        sentences.append(
            "The key that should seal is not in Vault, so no worker starts: bring it back, or run `orbyt-worker keys rotate`."
        )
    sentences += [
        f"{use.secrets} secrets are sealed with {use.key_id}, which Vault does not have: bring the key back, or those accounts reconnect."
        for use in uses
        if use.secrets and not use.in_vault and vaulted
    ]
    old = [use.key_id for use in vaulted if not use.active]
    if old and active is not None and active.in_vault:
        sentences.append(
            f"A rotation was begun and {', '.join(old)} is still there: run `orbyt-worker keys rotate` to finish it."
        )
    silent = [worker for worker in workers if worker.key_id is None]
    if silent and old:
        sentences.append(f"{len(silent)} workers do not say which key they seal with: restart them with this version.")
    return sentences or ["Nothing to do. `orbyt-worker keys rotate` changes the key."]
