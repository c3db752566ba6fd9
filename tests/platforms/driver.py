"""Runs a platform's plan without a database: the journal is a dict, the clock is moved, attempts can be killed.

It follows the order of `publishing/execute.py` (check, plan, steps, begin → call → confirm, reconcile) closely enough
to test a platform; the executor itself is tested against real Postgres elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account, Job, Kind, MediaFacts, MediaItem, Phase, Post, Snooze, Stage
from orbyt_worker.platforms.base import Http, Json, MediaReader, Platform, Step, StepContext, Truth, Usage
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Environment, Settings
from tests.fix_clock import FakeClock, fake_runtime

ATTEMPTS_MAX = 200
FAILURES_MAX = 10
SIDE_TRIES_MAX = 5
MIB = 1024 * 1024


class Killed(BaseException):
    """The worker died here. Nothing may catch it."""


@dataclass(slots=True)
class MemoryMedia:
    """A `MediaReader` of `size` made-up, position-dependent bytes. `given` lists what was read."""

    facts: MediaFacts
    size_bytes: int
    fail_from: int | None = None  # reading at or beyond this offset raises media_truncated
    given: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def video(cls, size: int, *, seconds: float = 12.0, etag: str = '"v1"') -> MemoryMedia:
        facts = MediaFacts(
            "video", "video/mp4", size, "mov,mp4,m4a,3gp,3g2,mj2", seconds, 1280, 720, 30.0, "h264", "aac", True, etag
        )
        return cls(facts, size)

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        assert start >= 0
        assert length > 0
        assert start + length <= self.size_bytes
        self.given.append((start, length))
        at = start
        while at < start + length:
            end = min(at + 256 * 1024, start + length)
            if self.fail_from is not None and end > self.fail_from:
                raise Failure(ErrorCode.MEDIA_TRUNCATED, "the source ended early")
            yield media_bytes(at, end)
            at = end


_TILE = hashlib.sha256(b"orbyt").digest() * 8192  # 256 KiB


def media_bytes(start: int, end: int) -> bytes:
    """The bytes of every MemoryMedia in [start, end)."""
    first = start % len(_TILE)
    whole = _TILE * ((end - start + first) // len(_TILE) + 1)
    return whole[first : first + end - start]


@dataclass(slots=True)
class MemoryQuota:
    """Grants everything until a bucket is closed; a closed one says: in an hour."""

    reserved: list[str] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)
    uses: set[tuple[str, str]] = field(default_factory=set)

    async def reserve(self, bucket: str, units: int = 1, *, once: str | None = None) -> None:
        if once is not None and (bucket, once) in self.uses:
            return
        if bucket in self.closed:
            raise Snooze(3600, stage=Stage.WAITING, code=self.closed[bucket])
        self.reserved.extend([bucket] * units)
        if once is not None:
            self.uses.add((bucket, once))

    async def exhausted(self, bucket: str, code: str) -> Snooze:
        self.closed[bucket] = str(code)
        return Snooze(3600, stage=Stage.WAITING, code=str(code))


@dataclass(slots=True)
class Outcome:
    """How a job ended. `result` is the visible step's JSON when published."""

    published: bool
    result: Json = field(default_factory=dict)
    failure: Failure | None = None
    held: str | None = None


@dataclass(slots=True)
class Saved:
    """What would be in the database: it survives a kill."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    begun_at: dict[str, datetime] = field(default_factory=dict)


class Driver:
    """One job and the attempts made for it."""

    def __init__(
        self,
        platform: Platform,
        make_http: Callable[[Runtime], Http],
        job: Job,
        media: Sequence[MemoryMedia],
        config: Settings,
        clock: FakeClock,
        *,
        renew: Callable[[], str] = lambda: "token",
        other_tokens: Mapping[str, str] | None = None,
        address: Callable[[int], str] | None = None,
        cover_address: Callable[[int], str | None] = lambda index: None,
        covers: Mapping[int, MemoryMedia] | None = None,
        documents: Mapping[str, bytes] | None = None,
    ) -> None:
        self.platform = platform
        self.job = job
        self.media = media
        self.config = config
        self.clock = clock
        self.saved = Saved()
        self.quota = MemoryQuota()
        self.stages: list[tuple[Stage, float]] = []
        self.snoozes: list[Snooze] = []
        self.failures: list[Failure] = []
        self.checkpoints: list[tuple[str, str]] = []
        self.kill_at: int | None = None
        # What the account's token endpoint would give.
        self.renew = renew
        self.token = renew()
        self.refreshes = 0
        # Further tokens of the grant by kind, and where the platform can fetch media and covers by itself.
        self.other_tokens = dict(other_tokens or {})
        self.address = address
        self.cover_address = cover_address
        self.covers = dict(covers or {})
        self.documents = dict(documents or {})
        self.usages: list[Usage] = []
        # How side tasks ended: None = done, else the code.
        self.side_outcomes: dict[str, str | None] = {}
        self.side_tries: dict[str, int] = {}
        self.runtime = fake_runtime(clock, checkpoint=self.checkpoint)
        self.http = make_http(self.runtime)

    def checkpoint(self, kind: str, name: str) -> None:
        """Every external call and journal write passes here; the `kill_at`-th kills the attempt."""
        self.checkpoints.append((kind, name))
        if self.kill_at is not None and len(self.checkpoints) == self.kill_at:
            raise Killed(f"{kind} {name}")

    async def run(self, *, until: str | None = None, give_up_after: timedelta = timedelta(days=2)) -> Outcome:
        """Attempts until the job is settled, or step `until` is recorded. Retries what the catalog retries."""
        give_up_at = self.clock.now() + give_up_after
        for _ in range(ATTEMPTS_MAX):
            try:
                return await self.attempt(until=until)
            except Snooze as snooze:
                self.snoozes.append(snooze)
                self.clock.advance(max(snooze.seconds, 0.001))
            except Failure as failure:
                self.failures.append(failure)
                if not catalog.entry(failure.code).retryable or len(self.failures) > FAILURES_MAX:
                    if failure.code == ErrorCode.OUTCOME_UNKNOWN:
                        return Outcome(published=False, held=failure.detail)
                    return Outcome(published=False, failure=failure)
                self.clock.advance(failure.retry_after_seconds or 10.0)
            if self.clock.now() > give_up_at:
                raise AssertionError("the job never settled")
        raise AssertionError("more attempts than any job may need")

    async def attempt(self, *, until: str | None = None) -> Outcome:
        """One claimed attempt, as `publishing/execute.py` makes it. Raises Snooze, Failure or Killed."""
        self.job = replace(self.job, attempt=self.job.attempt + 1, claimed_at=self.clock.now())
        begun = next((step for step, state in self.saved.states.items() if state == "begun"), None)
        if begun is not None:
            await self._reconcile(begun)
        if "confirmed" not in self.saved.states.values():
            for problem in self.platform.check(self.job.post, [each.facts for each in self.media]):
                raise Failure(ErrorCode(problem.code), problem.detail, field=problem.field)
        for step in self.plan():
            if self.saved.states.get(step.name) not in ("recorded", "confirmed"):
                await self._run(step)
            if step.name == until:
                break
        confirmed = next((step for step, state in self.saved.states.items() if state == "confirmed"), None)
        return Outcome(published=confirmed is not None, result=self.journal().get(confirmed, {}) if confirmed else {})

    def plan(self) -> tuple[Step, ...]:
        return self.platform.plan(self.job.post, self.job.account)

    async def _run(self, step: Step) -> None:
        starts_at = self.job.post.publish_at - timedelta(seconds=step.lead_seconds or 0.0)
        if step.lead_seconds is not None and self.clock.now() < starts_at:
            raise Snooze((starts_at - self.clock.now()).total_seconds(), stage=Stage.WAITING)
        if step.side:
            await self._run_side(step)
            return
        if not step.visible:
            self._write(step.name, await step.run(self.context(step)), None, "recorded")
            return
        assert step.call_timeout_seconds is not None
        self._db(f"begin:{step.name}")
        self.saved.states[step.name] = "begun"
        self.saved.begun_at[step.name] = self.clock.now()
        self._db(f"begun:{step.name}")
        try:
            result = await step.run(self.context(step))
        except Failure as failure:
            if failure.http_status is None or failure.http_status >= 500:
                self.failures.append(failure)
                raise Snooze(
                    failure.retry_after_seconds or 5.0, stage=Stage.PUBLISHING, code=str(failure.code)
                ) from failure
            try:
                await self._reconcile(step.name)
            except Failure as found:
                raise (failure if found.code is failure.code else found) from None
            if self.saved.states.get(step.name) != "confirmed":
                raise
        else:
            self._write(step.name, result, None, "confirmed")

    async def _run_side(self, step: Step) -> None:
        """As `publishing/side.py`: a few tries, then filed as failed; the post is never touched."""
        self._db(f"side:{step.name}")
        self.side_tries[step.name] = self.side_tries.get(step.name, 0) + 1
        last = self.side_tries[step.name] >= SIDE_TRIES_MAX
        try:
            await step.run(self.context(step))
        except Snooze as snooze:
            if not last:
                raise
            self.side_outcomes[step.name] = snooze.code or str(ErrorCode.STEP_TIMEOUT)
        except Failure as failure:
            if not last and catalog.entry(failure.code).retryable:
                raise Snooze(failure.retry_after_seconds or 10.0, stage=Stage.VERIFYING) from failure
            self.side_outcomes[step.name] = str(failure.code)
        else:
            self.side_outcomes[step.name] = None
        self._write(step.name, {}, None, "recorded")

    async def _reconcile(self, name: str) -> None:
        step = next(each for each in self.plan() if each.name == name)
        found = await self.platform.reconcile(self.context(step, begun_at=self.saved.begun_at[name]))
        if found.truth is Truth.PUBLISHED and found.result is not None:
            adopted = {
                "platform_post_id": found.result.platform_post_id,
                "permalink": found.result.permalink,
                "adopted": True,
                **({"code": found.code} if found.code is not None else {}),
            }
            self._write(name, adopted, None, "confirmed")
        elif found.truth is Truth.NOT_PUBLISHED:
            self._db(f"unbegin:{name}")
            self.saved.states[name] = "saved"
            self._forget(*found.forget_steps)
            if found.code is not None:
                raise Failure(ErrorCode(found.code), found.detail)
        elif found.again_in_seconds is not None:
            raise Snooze(found.again_in_seconds, stage=Stage.PUBLISHING, code=str(ErrorCode.OUTCOME_UNKNOWN))
        else:
            raise Failure(ErrorCode.OUTCOME_UNKNOWN, found.detail)

    def context(self, step: Step, *, begun_at: datetime | None = None) -> StepContext:
        async def save(result: Mapping[str, Any], *, secret: Mapping[str, Any] | None = None) -> None:
            self._write(step.name, result, secret, "saved")

        async def forget(*steps: str) -> None:
            self._forget(*steps)

        async def access_token(*, fresh: bool = False, kind: str | None = None) -> str:
            if kind is not None and kind in self.other_tokens:
                return self.other_tokens[kind]
            if fresh:
                self.refreshes += 1
                self.token = self.renew()
            return self.token

        async def progress(stage: Stage, fraction: float) -> None:
            assert 0.0 <= fraction <= 1.0
            self.stages.append((stage, fraction))

        async def address(index: int) -> str:
            assert self.address is not None, "the world gives no addresses"
            return self.address(index)

        async def cover_address(index: int) -> str | None:
            return self.cover_address(index)

        async def cover(index: int) -> MediaReader | None:
            return self.covers.get(index)

        async def document(url: str, bytes_max: int) -> bytes:
            if url not in self.documents:
                raise Failure(ErrorCode.MEDIA_NOT_FOUND, "no such document")
            return self.documents[url][:bytes_max]

        async def usage(usages: Sequence[Usage]) -> None:
            self.usages.extend(usages)

        return StepContext(
            job=self.job,
            runtime=self.runtime,
            http=self.http,
            media=self.media if step.needs_media and begun_at is None else (),
            journal=self.journal(),
            quota=self.quota,
            access_token=access_token,
            save=save,
            forget=forget,
            progress=progress,
            now=self.clock.now,
            address=address,
            cover_address=cover_address,
            cover=cover,
            document=document,
            usage=usage,
            config=self.config,
            facts=[each.facts for each in self.media],
            begun_at=begun_at,
        )

    def journal(self) -> dict[str, Json]:
        """What a step reads: results with the secrets merged in."""
        return {name: {**result, **self.saved.secrets.get(name, {})} for name, result in self.saved.results.items()}

    def readable(self) -> str:
        """Everything people can see of this job: rows, not secrets."""
        failures = [(str(each.code), each.detail, each.platform_code, str(each)) for each in self.failures]
        return json.dumps([self.saved.results, failures, [(str(each), each.detail) for each in self.snoozes]])

    def _write(self, name: str, result: Mapping[str, Any], secret: Mapping[str, Any] | None, state: str) -> None:
        self._db(f"save:{name}")
        self.saved.results[name] = json.loads(json.dumps(dict(result)))
        if secret is not None:
            self.saved.secrets[name] = json.loads(json.dumps(dict(secret)))
        if self.saved.states.get(name) != "begun" or state == "confirmed":
            self.saved.states[name] = state
        self._db(f"saved:{name}")

    def _forget(self, *steps: str) -> None:
        self._db("forget")
        for name in steps:
            if self.saved.states.get(name) in ("saved", "recorded"):
                del self.saved.states[name]
                self.saved.results.pop(name, None)
                self.saved.secrets.pop(name, None)

    def _db(self, name: str) -> None:
        self.checkpoint("db", name)


def make_post(now: datetime, **changes: Any) -> Post:
    """A public video to be published now."""
    post = Post(
        kind=Kind.VIDEO,
        title="A title",
        caption="A caption",
        media=(MediaItem("video", "https://example.com/video.mp4"),),
        options={},
        publish_at=now,
        expires_at=now + timedelta(days=1),
    )
    changes.setdefault("expires_at", changes.get("publish_at", now) + timedelta(days=1))
    return replace(post, **changes)


def make_job(now: datetime, platform: str, platform_account_id: str, post: Post, **account_columns: Any) -> Job:
    """A job that was inserted now and never claimed. Further columns of Account (login, scopes, handle) as keywords."""
    account = Account(uuid.UUID(int=1), uuid.UUID(int=2), platform, platform_account_id, "A channel", **account_columns)
    return Job(uuid.UUID(int=3), 0, 0, Phase.BACKGROUND, account, post, now, now)


def sandbox_settings(**changes: Any) -> Settings:
    """Settings of a worker in the sandbox; hosts as keywords."""
    changes.setdefault("database_url", "postgresql://nobody@127.0.0.1/none")
    return Settings(environment=Environment.SANDBOX, **changes)
