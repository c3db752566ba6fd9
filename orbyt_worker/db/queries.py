"""Loads `queries.sql` from the installed package and gives every statement a typed function that returns model objects."""

from __future__ import annotations

import base64
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, LiteralString, cast
from uuid import UUID

from psycopg.types.json import Jsonb

from orbyt_worker.db.pool import Database
from orbyt_worker.model import Account, Job, Kind, MediaItem, Phase, Post, Stage
from orbyt_worker.runtime import Runtime

Answer = Literal["ok", "stale"]
BeginAnswer = Literal["ok", "stale", "already_begun", "expired"]
RefreshAnswer = Literal["ok", "busy", "changed", "cooling"]

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_statements() -> dict[str, LiteralString]:
    """Name → statement. The text is part of the package, so it counts as literal."""
    text = importlib.resources.files("orbyt_worker.db").joinpath("queries.sql").read_text("utf-8")
    parts = _NAME.split(text)
    return {
        name: cast("LiteralString", body.strip().rstrip(";"))
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One row of the journal as it was at the claim. `secret` is still sealed."""

    step: str
    state: Literal["saved", "recorded", "begun", "confirmed"]
    result: Mapping[str, Any]
    begun_at: datetime | None
    updated_at: datetime
    secret: bytes | None = field(default=None, repr=False)
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed job with its journal."""

    job: Job
    journal: tuple[JournalEntry, ...]
    platform_post_id: str | None
    permalink: str | None


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A sealed token as it lies in the table."""

    kind: str
    sealed: bytes = field(repr=False)
    key_id: str
    expires_in_seconds: float | None


@dataclass(frozen=True, slots=True)
class Grant:
    """What is stored for an account. `version` guards every change of it."""

    login: str
    version: int
    status: str
    secrets: Mapping[str, SealedSecret]


@dataclass(frozen=True, slots=True)
class MasterKey:
    key_id: str
    key: bytes = field(repr=False)
    active: bool


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """`owned`: the (job_id, attempt) pairs this worker still has. `active_key_id`: the master key to seal with."""

    owned: frozenset[tuple[UUID, int]]
    active_key_id: str | None


def _media_item(raw: Mapping[str, Any]) -> MediaItem:
    return MediaItem(
        type=raw["type"],
        url=raw["url"],
        alt_text=raw.get("alt_text"),
        cover_url=raw.get("cover_url"),
        cover_offset_ms=raw.get("cover_offset_ms"),
    )


def _claim(row: Mapping[str, Any]) -> Claim:
    job = Job(
        job_id=row["job_id"],
        attempt=row["attempt"],
        failures=row["failures"],
        phase=Phase(row["phase"]),
        account=Account(
            account_id=row["account_id"],
            user_id=row["user_id"],
            platform=row["platform"],
            platform_account_id=row["platform_account_id"],
            name=row["account_name"],
            scopes=tuple(row["scopes"]),
            login=row["login"],
            handle=row["handle"],
        ),
        post=Post(
            kind=Kind(row["kind"]),
            title=row["title"],
            caption=row["caption"],
            media=tuple(_media_item(item) for item in row["media"]),
            options=row["options"],
            publish_at=row["publish_at"],
            expires_at=row["expires_at"],
        ),
        created_at=row["created_at"],
        claimed_at=row["claimed_at"],
    )
    journal = tuple(
        JournalEntry(
            step=entry["step"],
            state=entry["state"],
            result=entry["result"],
            begun_at=datetime.fromisoformat(entry["begun_at"]) if entry["begun_at"] else None,
            updated_at=datetime.fromisoformat(entry["updated_at"]),
            secret=base64.b64decode(entry["secret"]) if entry["secret"] else None,
            key_id=entry["key_id"],
        )
        for entry in row["steps"]
    )
    return Claim(job=job, journal=journal, platform_post_id=row["platform_post_id"], permalink=row["permalink"])


class Statements:
    """Runs what `queries.sql` names. `runtime.checkpoint` surrounds every one of them, so that the kill tests reach the moment
    before and after."""

    def __init__(self, database: Database, runtime: Runtime) -> None:
        self._database = database
        self._runtime = runtime
        self._statements = load_statements()

    async def _rows(self, statement: str, /, **parameters: Any) -> list[dict[str, Any]]:
        self._runtime.checkpoint("db.before", statement)
        rows = await self._database.fetch(self._statements[statement], parameters)
        self._runtime.checkpoint("db.after", statement)
        return rows

    async def _value(self, statement: str, /, **parameters: Any) -> Any:
        rows = await self._rows(statement, **parameters)
        return next(iter(rows[0].values())) if rows else None


class Queries(Statements):
    """What the worker can say about jobs, limits and tokens. Each method is one statement, safe to repeat unless it says otherwise."""

    # Worker -----------------------------------------------------------------------------------------------------------

    async def register_worker(
        self, worker_id: UUID, *, host: str, version: str, slots: Mapping[str, int], lease_seconds: float
    ) -> datetime:
        """Returns the database time."""
        return cast(
            datetime,
            await self._value(
                "register_worker",
                worker_id=worker_id,
                host=host,
                version=version,
                slots=Jsonb(slots),
                lease_seconds=lease_seconds,
            ),
        )

    async def heartbeat(self, worker_id: UUID, *, lease_seconds: float) -> Heartbeat:
        rows = await self._rows("heartbeat", worker_id=worker_id, lease_seconds=lease_seconds)
        owned = frozenset((row["job_id"], row["attempt"]) for row in rows if row["job_id"] is not None)
        return Heartbeat(owned, rows[0]["active_key_id"])

    async def use_key(self, worker_id: UUID, key_id: str) -> None:
        """Say which master key this worker seals with from now on; an old one is deleted only when nobody does any more."""
        await self._rows("use_key", worker_id=worker_id, key_id=key_id)

    async def claim_jobs(self, worker_id: UUID, *, background: int, publish: int, lease_seconds: float) -> list[Claim]:
        rows = await self._rows(
            "claim_jobs", worker_id=worker_id, background=background, publish=publish, lease_seconds=lease_seconds
        )
        return [_claim(row) for row in rows]

    async def next_due_in_seconds(self) -> float | None:
        return cast("float | None", await self._value("next_due_in_seconds"))

    async def give_back(self, worker_id: UUID) -> int:
        return cast(int, await self._value("give_back", worker_id=worker_id))

    async def return_jobs(self, worker_id: UUID, job_ids: Sequence[UUID]) -> int:
        """Give back jobs the database counts as this worker's and that it does not run."""
        return cast(int, await self._value("return_jobs", worker_id=worker_id, job_ids=list(job_ids)))

    async def retire_worker(self, worker_id: UUID) -> None:
        await self._rows("retire_worker", worker_id=worker_id)

    # One attempt ------------------------------------------------------------------------------------------------------

    async def save_step(
        self,
        job: Job,
        step: str,
        *,
        done: bool,
        result: Mapping[str, Any],
        secret: bytes | None = None,
        key_id: str | None = None,
    ) -> Answer:
        return cast(
            Answer,
            await self._value(
                "save_step",
                job_id=job.job_id,
                attempt=job.attempt,
                step=step,
                done=done,
                result=Jsonb(dict(result)),
                secret=secret,
                key_id=key_id,
            ),
        )

    async def forget_steps(self, job: Job, steps: Sequence[str]) -> Answer:
        return cast(
            Answer, await self._value("forget_steps", job_id=job.job_id, attempt=job.attempt, steps=list(steps))
        )

    async def begin_publish(self, job: Job, step: str, *, call_timeout_seconds: float) -> BeginAnswer:
        return cast(
            BeginAnswer,
            await self._value(
                "begin_publish",
                job_id=job.job_id,
                attempt=job.attempt,
                step=step,
                call_timeout_seconds=call_timeout_seconds,
            ),
        )

    async def confirm_publish(self, job: Job, step: str, result: Mapping[str, Any]) -> Answer:
        return cast(
            Answer,
            await self._value(
                "confirm_publish", job_id=job.job_id, attempt=job.attempt, step=step, result=Jsonb(dict(result))
            ),
        )

    async def unbegin_publish(self, job: Job, step: str, forget_steps: Sequence[str]) -> Answer:
        return cast(
            Answer,
            await self._value(
                "unbegin_publish", job_id=job.job_id, attempt=job.attempt, step=step, forget_steps=list(forget_steps)
            ),
        )

    async def set_progress(self, job: Job, stage: Stage, percent: int) -> Answer:
        return cast(
            Answer,
            await self._value(
                "set_progress", job_id=job.job_id, attempt=job.attempt, stage=stage.value, progress=percent
            ),
        )

    async def put_back(
        self,
        job: Job,
        *,
        seconds: float,
        phase: Phase,
        stage: Stage,
        code: str | None = None,
        message: str | None = None,
        counts: bool = False,
        detail: Mapping[str, Any] | None = None,
    ) -> Answer:
        return cast(
            Answer,
            await self._value(
                "put_back",
                job_id=job.job_id,
                attempt=job.attempt,
                seconds=seconds,
                phase=phase.value,
                stage=stage.value,
                code=code,
                message=message,
                counts=counts,
                detail=Jsonb(dict(detail or {})),
            ),
        )

    async def succeed_job(
        self, job: Job, *, published_at: datetime, code: str | None = None, message: str | None = None
    ) -> Answer:
        return cast(
            Answer,
            await self._value(
                "succeed_job",
                job_id=job.job_id,
                attempt=job.attempt,
                published_at=published_at,
                code=code,
                message=message,
            ),
        )

    async def fail_job(
        self,
        job: Job,
        *,
        code: str,
        message: str,
        detail: Mapping[str, Any] | None = None,
        never_visible: bool = False,
    ) -> Answer:
        """`never_visible`: the platform itself says that the post it accepted did not appear; its journal is forgotten."""
        return cast(
            Answer,
            await self._value(
                "fail_job",
                job_id=job.job_id,
                attempt=job.attempt,
                code=code,
                message=message,
                detail=Jsonb(dict(detail or {})),
                never_visible=never_visible,
            ),
        )

    async def hold_job(self, job: Job, *, code: str, message: str, detail: Mapping[str, Any] | None = None) -> Answer:
        return cast(
            Answer,
            await self._value(
                "hold_job",
                job_id=job.job_id,
                attempt=job.attempt,
                code=code,
                message=message,
                detail=Jsonb(dict(detail or {})),
            ),
        )

    # Limits -----------------------------------------------------------------------------------------------------------

    async def set_throttle(self, scope: str, key: str, *, seconds: float, code: str, phase: Phase) -> datetime:
        """`phase`: where an account met its limit. In background work it does not stop what is ready to be published."""
        return cast(
            datetime,
            await self._value("set_throttle", scope=scope, key=key, seconds=seconds, code=code, phase=phase.value),
        )

    async def report_outage(self, platform: str, account_id: UUID) -> bool:
        return cast(bool, await self._value("report_outage", platform=platform, account_id=account_id))

    async def report_recovery(self, platform: str) -> None:
        await self._rows("report_recovery", platform=platform)

    async def reserve_quota(self, bucket: str, key: str, *, units: int, units_max: int) -> tuple[bool, float]:
        """Not safe to repeat: each call reserves. Returns (granted, seconds until the reset)."""
        row = (await self._rows("reserve_quota", bucket=bucket, key=key, units=units, units_max=units_max))[0]
        return row["granted"], row["reset_in_seconds"]

    async def close_quota(self, bucket: str, key: str, *, units_max: int) -> float:
        return cast(float, await self._value("close_quota", bucket=bucket, key=key, units_max=units_max))

    async def reserve_rolling_quota(
        self, bucket: str, key: str, *, once: str, units: int, units_max: int
    ) -> tuple[bool, float]:
        """The same `once` again costs nothing. Returns (granted, seconds until enough units are back)."""
        row = (
            await self._rows(
                "reserve_rolling_quota", bucket=bucket, key=key, once=once, units=units, units_max=units_max
            )
        )[0]
        return row["granted"], row["reset_in_seconds"]

    async def close_rolling_quota(self, bucket: str, key: str, *, units_max: int) -> float:
        return cast(float, await self._value("close_rolling_quota", bucket=bucket, key=key, units_max=units_max))

    # Side tasks and hosted files --------------------------------------------------------------------------------------

    async def begin_side_task(self, job: Job, task: str) -> tuple[Answer, int, float]:
        """Counts a try. Returns (answer, tries with this one, seconds since the first)."""
        row = (await self._rows("begin_side_task", job_id=job.job_id, attempt=job.attempt, task=task))[0]
        return row["answer"], row["tries"] or 0, row["age_seconds"] or 0.0

    async def note_side_task(
        self,
        job: Job,
        task: str,
        status: Literal["pending", "done", "failed"],
        *,
        code: str | None = None,
        message: str | None = None,
    ) -> Answer:
        return cast(
            Answer,
            await self._value(
                "note_side_task",
                job_id=job.job_id,
                attempt=job.attempt,
                task=task,
                status=status,
                code=code,
                message=message,
            ),
        )

    async def note_hosted(self, job: Job, path: str) -> Answer:
        return cast(Answer, await self._value("note_hosted", job_id=job.job_id, attempt=job.attempt, path=path))

    async def hosted_to_remove(self, *, limit: int) -> list[str]:
        return [row["path"] for row in await self._rows("hosted_to_remove", limit=limit)]

    async def forget_hosted(self, paths: Sequence[str]) -> None:
        await self._rows("forget_hosted", paths=list(paths))

    # Upkeep -----------------------------------------------------------------------------------------------------------

    async def expire_jobs(self) -> int:
        return cast(int, await self._value("expire_jobs"))

    async def tend_accounts(self) -> int:
        return cast(int, await self._value("tend_accounts"))

    async def prune(self) -> int:
        return cast(int, await self._value("prune"))

    async def queue_facts(self) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", await self._value("queue_facts"))

    # Tokens -----------------------------------------------------------------------------------------------------------

    async def master_keys(self) -> list[MasterKey]:
        rows = await self._rows("master_keys")
        return [MasterKey(row["key_id"], base64.b64decode(row["key_base64"]), row["active"]) for row in rows]

    async def read_grant(self, account_id: UUID) -> Grant | None:
        rows = await self._rows("read_grant", account_id=account_id)
        if not rows:
            return None
        secrets = {
            row["kind"]: SealedSecret(row["kind"], bytes(row["sealed"]), row["key_id"], row["expires_in_seconds"])
            for row in rows
            if row["kind"] is not None
        }
        return Grant(login=rows[0]["login"], version=rows[0]["version"], status=rows[0]["status"], secrets=secrets)

    async def begin_refresh(
        self, account_id: UUID, *, version: int, lease_id: UUID, lease_seconds: float, worker_id: UUID | None = None
    ) -> RefreshAnswer:
        return cast(
            RefreshAnswer,
            await self._value(
                "begin_refresh",
                account_id=account_id,
                version=version,
                lease_id=lease_id,
                lease_seconds=lease_seconds,
                worker_id=worker_id,
            ),
        )

    async def finish_refresh(
        self,
        account_id: UUID,
        *,
        version: int,
        lease_id: UUID,
        secrets: Sequence[SealedSecret],
        scopes: Sequence[str] | None,
    ) -> RefreshAnswer:
        return cast(
            RefreshAnswer,
            await self._value(
                "finish_refresh",
                account_id=account_id,
                version=version,
                lease_id=lease_id,
                secrets=Jsonb(secrets_json(secrets)),
                scopes=list(scopes) if scopes is not None else None,
            ),
        )

    async def fail_refresh(
        self, account_id: UUID, *, version: int, lease_id: UUID, code: str, cool_seconds: float
    ) -> RefreshAnswer:
        return cast(
            RefreshAnswer,
            await self._value(
                "fail_refresh",
                account_id=account_id,
                version=version,
                lease_id=lease_id,
                code=code,
                cool_seconds=cool_seconds,
            ),
        )

    async def mark_needs_reauth(self, account_id: UUID, *, version: int, code: str) -> RefreshAnswer:
        return cast(
            RefreshAnswer, await self._value("mark_needs_reauth", account_id=account_id, version=version, code=code)
        )

    async def accounts_to_refresh(self, *, logins: Sequence[str], limit: int) -> list[tuple[UUID, str]]:
        rows = await self._rows("accounts_to_refresh", logins=list(logins), limit=limit)
        return [(row["account_id"], row["platform"]) for row in rows]


def secrets_json(secrets: Sequence[SealedSecret]) -> list[dict[str, Any]]:
    """As orbyt_private.write_secrets takes them."""
    return [
        {
            "kind": secret.kind,
            "sealed": base64.b64encode(secret.sealed).decode(),
            "key_id": secret.key_id,
            "expires_in_seconds": secret.expires_in_seconds,
        }
        for secret in secrets
    ]
