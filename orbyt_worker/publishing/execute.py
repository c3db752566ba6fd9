"""The life of one attempt, top to bottom, with the branching in this file.

    claimed → was a visible call begun? reconcile first
            → check (pure) → inspect the media → check again → plan (pure)
            → for each step: recorded already → skip; not yet time or another lane → put back; else run and record
            → the one visible step: begin (durable) → call → confirm
            → published;   any Failure → retry.decide → put back, hold or fail

Every write names (job, attempt). If the database answers "stale", somebody else owns the job: stop, write nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import structlog

from orbyt_worker.db.pool import DatabaseUnavailable
from orbyt_worker.db.queries import Claim, Queries
from orbyt_worker.errors import catalog
from orbyt_worker.errors.catalog import Area, Outcome, Scope
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.health import Health
from orbyt_worker.logs import Redactor
from orbyt_worker.media.relay import MediaRelay
from orbyt_worker.model import Job, MediaFacts, Phase, Snooze, Stage
from orbyt_worker.platforms.base import Http, Platform, Step, StepContext, Truth, Usage
from orbyt_worker.publishing import retry
from orbyt_worker.publishing.deadline import deadline
from orbyt_worker.publishing.journal import INSPECT, LAST_TRY, Journal, Stale, owned
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.publishing.lease import GuardedHttp, Lease
from orbyt_worker.publishing.limits import Limits, Pause
from orbyt_worker.publishing.media import AttemptMedia
from orbyt_worker.publishing.progress import Progress
from orbyt_worker.publishing.quota import LedgerQuota
from orbyt_worker.publishing.side import run_side
from orbyt_worker.publishing.tokens import ACCESS, Tokens
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings

# How long after a lost answer the platform is asked again whether the post exists, at first.
LOOK_AGAIN_SECONDS = 5.0
# Bounds the whole look at media before its bytes are moved (several ranged reads, a slow host).
INSPECT_TIMEOUT_SECONDS = 180.0
RECONCILE_TIMEOUT_SECONDS = 180.0

log = structlog.get_logger(__name__)


class _PutBack(Exception):
    """Not an error: the job goes on later, or in another lane."""

    def __init__(self, seconds: float, phase: Phase, stage: Stage) -> None:
        super().__init__(f"put back for {seconds:.1f} s into {phase}")
        self.seconds = seconds
        self.phase = phase
        self.stage = stage


class Executor:
    """Runs claimed attempts. One instance per worker; attempts share nothing but what is given here."""

    def __init__(
        self,
        *,
        queries: Queries,
        platforms: Mapping[str, Platform],
        http: Http,
        media: MediaRelay,
        tokens: Tokens,
        keys: MasterKeys,
        redactor: Redactor,
        lease: Lease,
        renew_lease: Callable[[], Awaitable[None]],
        settings: Settings,
        runtime: Runtime,
        health: Health,
    ) -> None:
        self.queries = queries
        self.platforms = platforms
        self.http = http
        self.media = media
        self.tokens = tokens
        self.keys = keys
        self.redactor = redactor
        self.lease = lease
        self.renew_lease = renew_lease
        self.settings = settings
        self.runtime = runtime
        self.health = health
        self.limits = Limits(queries, platforms, runtime)

    async def execute(self, claim: Claim) -> None:
        """Run one attempt to its end: published, put back, held or failed. Raises only CancelledError (shutdown)."""
        job = claim.job
        with structlog.contextvars.bound_contextvars(
            job_id=str(job.job_id), attempt=job.attempt, platform=job.account.platform, phase=job.phase.value
        ):
            log.info("job.claimed")
            try:
                await self._guarded(claim)
            except Stale:
                log.info("job.stale")
            except DatabaseUnavailable as error:
                # Nothing can be written now. The heartbeat finds a job that nobody runs and gives it back (Loop.heartbeat).
                log.warning("job.database_lost", error=type(error).__name__)

    async def _guarded(self, claim: Claim) -> None:
        """Translate how the attempt ended into one write."""
        job = claim.job
        attempt: Attempt | None = None
        try:
            attempt = Attempt(self, claim)
            await attempt.run()
        except _PutBack as later:
            await self._answered(
                self.queries.put_back(job, seconds=later.seconds, phase=later.phase, stage=later.stage)
            )
        except Snooze as snooze:
            message = catalog.message(snooze.code, snooze.detail) if snooze.code else None
            await self._answered(
                self.queries.put_back(
                    job, seconds=snooze.seconds, phase=job.phase, stage=snooze.stage, code=snooze.code, message=message
                )
            )
            log.info("job.waiting", seconds=round(snooze.seconds, 1), code=snooze.code)
        except Failure as failure:
            await self._failed(job, failure, attempt)
        except (Stale, *DatabaseUnavailable):
            raise
        except Exception:
            # A mistake of ours. The traceback goes to the log; the job is tried again a few times, then it fails.
            log.exception("job.crashed")
            await self._failed(job, Failure(ErrorCode.INTERNAL_ERROR), attempt)

    def decide(self, job: Job, failure: Failure) -> retry.Decision:
        """What the catalog says about this failure of this job."""
        return retry.decide(
            catalog.entry(failure.code),
            failures=job.failures,
            attempt=job.attempt,
            retry_after_seconds=failure.retry_after_seconds,
            rng=self.runtime.random,
        )

    async def _failed(self, job: Job, failure: Failure, attempt: Attempt | None) -> None:
        entry = catalog.entry(failure.code)
        platform = job.account.platform
        decision = self.decide(job, failure)
        detail: dict[str, Any] = {
            key: value
            for key, value in (
                ("field", failure.field),
                ("detail", failure.detail),
                ("http_status", failure.http_status),
                ("platform_code", failure.platform_code),
                ("platform_subcode", failure.platform_subcode),
            )
            if value not in (None, "")
        }
        message = catalog.message(failure.code, failure.detail)
        log.warning(
            "job.failed_attempt",
            code=str(failure.code),
            action=decision.action.value,
            seconds=round(decision.seconds, 1),
            **detail,
        )
        if failure.code is ErrorCode.MEDIA_CHANGED and attempt is not None:
            # The file is another one now: the next attempt looks at it anew.
            await attempt.journal.forget(INSPECT)
        if entry.needs_reauth and attempt is not None and attempt.grant_version is not None:
            await self.tokens.mark_needs_reauth(job.account.account_id, attempt.grant_version, str(failure.code))
        if entry.outage:
            await self.queries.report_outage(platform, job.account.account_id)
        if entry.scope is not Scope.NONE and decision.seconds > 0:
            phase = self.limits.stops(job, decision)
            for scope, key in self.limits.whom(job, entry.scope):
                await self.queries.set_throttle(
                    scope, key, seconds=decision.seconds, code=str(failure.code), phase=phase
                )
        if decision.action is retry.Action.RETRY:
            await self._answered(
                self.queries.put_back(
                    job,
                    seconds=decision.seconds,
                    phase=job.phase,
                    stage=Stage.WAITING,
                    code=str(failure.code),
                    message=message,
                    counts=decision.counts,
                    detail=detail,
                )
            )
        elif failure.never_visible:
            # Accepted, and never seen by anybody: not published. Whoever tries it again starts from the beginning.
            await self._answered(
                self.queries.fail_job(job, code=str(failure.code), message=message, detail=detail, never_visible=True)
            )
            self.health.finished(platform, "failed", str(failure.code))
        elif attempt is not None and attempt.journal.confirmed() is not None and entry.outcome is not Outcome.PUBLISHED:
            # The post is out; that it could not be verified to the end is a remark, not a failure.
            await attempt.succeed(remark=str(failure.code))
        elif decision.action is retry.Action.HOLD:
            await self._answered(self.queries.hold_job(job, code=str(failure.code), message=message, detail=detail))
            self.health.finished(platform, "held", str(failure.code))
        else:
            await self._answered(self.queries.fail_job(job, code=str(failure.code), message=message, detail=detail))
            self.health.finished(platform, "failed", str(failure.code))

    async def _answered(self, answer: Awaitable[str]) -> None:
        if await answer == "stale":
            log.info("job.stale")


class Attempt:
    """One claimed job while it runs."""

    def __init__(self, executor: Executor, claim: Claim) -> None:
        self.executor = executor
        self.claim = claim
        self.job = claim.job
        self.runtime = executor.runtime
        platform = executor.platforms.get(self.job.account.platform)
        if platform is None:
            raise Failure(ErrorCode.PLATFORM_NOT_CONFIGURED, self.job.account.platform)
        self.platform = platform
        self.journal = Journal(claim, executor.queries, executor.keys, executor.redactor)
        self.progress = Progress(self.runtime, self._write_progress)
        self._claimed_at_monotonic = self.runtime.monotonic()
        self._token: str | None = None
        # Of the grant the platform was last asked with: only that one can have been refused.
        self.grant_version: int | None = None
        self.quota = LedgerQuota(executor.queries, self.runtime, platform.buckets, self.job)
        self.media = AttemptMedia(
            executor.media,
            self.job,
            platform.media_spec(self.job.post, self.job.account),
            executor.redactor,
            self._note_hosted,
        )
        # What an answer said about limits: nothing more is sent in this attempt.
        self._pause: Pause | None = None

    # The life ----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        await self.journal.unseal()
        async with self.media:
            open_publish = self.journal.open_publish()
            if open_publish is not None:
                await self._reconcile(*open_publish)
                await self._end_after_last_try()
            if self.journal.confirmed() is None:
                self._refuse(self.platform.check(self.job.post, []))
                self._not_too_late()
                await self._inspect()
            for step in self.plan():
                if not self.journal.done(step.name):
                    await self._in_its_time_and_lane(step)
                    await self._run(step)
            await self.succeed()

    def plan(self) -> tuple[Step, ...]:
        return self.platform.plan(self.job.post, self.job.account)

    def _refuse(self, problems: Sequence[Any]) -> None:
        for problem in problems:
            raise Failure(ErrorCode(problem.code), problem.detail, field=problem.field)

    def _not_too_late(self) -> None:
        if self.now() >= self.job.post.expires_at:
            raise Failure(ErrorCode.DEADLINE_MISSED)

    async def _inspect(self) -> None:
        """Look at the media before any byte is moved, once; a post for next week learns today that its file is no video."""
        recorded = self.journal.results.get(INSPECT) if self.journal.done(INSPECT) else None
        if recorded is None:
            await self.progress.report(Stage.PREPARING, 0.0)
            async with deadline(INSPECT_TIMEOUT_SECONDS):
                facts = await self.media.inspect()
            self._refuse(self.platform.check(self.job.post, facts))
            await self.journal.save(INSPECT, {"media": [asdict(each) for each in facts]}, done=True)

    @property
    def facts(self) -> list[MediaFacts]:
        return [MediaFacts(**each) for each in self.journal.results.get(INSPECT, {}).get("media", [])]

    async def _in_its_time_and_lane(self, step: Step) -> None:
        """Put the job back if the step's time has not come, or if it belongs to another lane."""
        if self._pause is not None and not step.side:
            raise Snooze(self._pause.seconds, stage=Stage.WAITING, code=ErrorCode.PLATFORM_RATE_LIMITED)
        starts_in = 0.0
        if step.lead_seconds is not None:
            starts_at = self.job.post.publish_at - timedelta(seconds=step.lead_seconds)
            starts_in = (starts_at - self.now()).total_seconds()
        early = self.executor.settings.publish_claim_early_seconds if step.visible else 0.0
        if starts_in > early:
            raise _PutBack(starts_in - early, step.phase, Stage.WAITING)
        if step.phase is not self.job.phase:
            raise _PutBack(0.0, step.phase, step.stage)

    async def _run(self, step: Step) -> None:
        await self.progress.report(step.stage, 0.0)
        if step.needs_media:
            await self.media.open(self.facts, part=step.visible)
        started = self.runtime.monotonic()
        if step.visible:
            await self._run_visible(step)
        elif step.side:
            await run_side(self, step)
        else:
            async with deadline(step.timeout_seconds):
                result = await step.run(self.context(step, self.executor.http))
            await self.journal.save(step.name, result, done=True)
        self.executor.health.stage_seconds(
            self.job.account.platform, step.stage.value, self.runtime.monotonic() - started
        )
        await self.executor.queries.report_recovery(self.job.account.platform)
        log.info("step.done", step=step.name)

    # The one visible call ----------------------------------------------------------------------------------------------

    async def _run_visible(self, step: Step) -> None:
        """begin → call → confirm. What happens to a lost answer is decided by the platform's own state, never by hope."""
        assert step.call_timeout_seconds is not None, "a visible step names the timeout of its call"
        # A token refresh belongs before the announced call, not inside it.
        await self._access_token()
        if step.lead_seconds is not None:
            starts_at = self.job.post.publish_at - timedelta(seconds=step.lead_seconds)
            await self.runtime.sleep(max(0.0, (starts_at - self.now()).total_seconds()))
        if self.executor.lease.remaining_seconds() <= step.call_timeout_seconds:
            await self.executor.renew_lease()
        begun_at = self.now()
        answer = await self.journal.begin(step.name, begun_at, call_timeout_seconds=step.call_timeout_seconds)
        if answer == "expired":
            raise Failure(ErrorCode.DEADLINE_MISSED)
        if answer == "already_begun":
            raise _PutBack(LOOK_AGAIN_SECONDS, Phase.PUBLISH, Stage.PUBLISHING)
        guarded = GuardedHttp(self.executor.http, self.executor.lease, self.executor.renew_lease)
        try:
            async with deadline(step.timeout_seconds):
                result = await step.run(self.context(step, guarded))
        except Failure as failure:
            log.warning("publish.unclear", step=step.name, code=str(failure.code), http_status=failure.http_status)
            answered = failure.http_status is not None and failure.http_status < 500
            entry = catalog.entry(failure.code)
            comes_again = self.executor.decide(self.job, failure).action is retry.Action.RETRY
            # A source that cannot be read says nothing about the platform: nothing was sent, and the platform will agree.
            if not answered and entry.area is not Area.MEDIA:
                # No answer, or one that says nothing: let the dust settle. The next attempt looks before anything else.
                if not comes_again:
                    # The platform may still be at it: not even the last try is judged before the call is certainly over.
                    await self.journal.save(LAST_TRY, {"failure": str(failure.code)}, done=True)
                    seconds = max(LOOK_AGAIN_SECONDS, step.call_timeout_seconds)
                    raise _PutBack(seconds, Phase.PUBLISH, Stage.PUBLISHING) from None
                raise
            # The platform refused. Its word is checked against its own state before it is believed.
            try:
                await self._reconcile(step.name, begun_at)
            except Failure as found:
                # The same word: the answer itself also said how long to wait.
                raise (failure if found.code is failure.code else found) from None
            if not self.journal.done(step.name):
                raise
        else:
            await self.journal.confirm(step.name, result)

    async def _reconcile(self, step_name: str, begun_at: datetime) -> None:
        """An earlier visible call has no recorded answer. Read-only: what does the platform say?"""
        step = next((each for each in self.plan() if each.name == step_name), None)
        if step is None:
            raise Failure(ErrorCode.OUTCOME_UNKNOWN, f"step {step_name} is not in the plan any more")
        async with deadline(RECONCILE_TIMEOUT_SECONDS):
            found = await self.platform.reconcile(self.context(step, self.executor.http, begun_at=begun_at))
        log.info("publish.reconciled", step=step_name, truth=found.truth.value)
        if found.truth is Truth.PUBLISHED and found.result is not None:
            result = {
                "platform_post_id": found.result.platform_post_id,
                "permalink": found.result.permalink,
                "adopted": True,
                **({"code": found.code} if found.code is not None else {}),
            }
            await self.journal.confirm(step_name, result)
        elif found.truth is Truth.NOT_PUBLISHED:
            await self._look_again_after_last_try()
            await self.journal.unbegin(step_name, found.forget_steps)
            if found.code is not None:
                raise Failure(ErrorCode(found.code), found.detail)
        elif found.again_in_seconds is not None:
            raise Snooze(
                found.again_in_seconds,
                stage=Stage.PUBLISHING,
                code=ErrorCode.OUTCOME_UNKNOWN,
                detail="looking at the platform",
            )
        else:
            raise Failure(ErrorCode.OUTCOME_UNKNOWN, found.detail)

    async def _look_again_after_last_try(self) -> None:
        """One look can come while the platform is still at it: before giving up for good, two have to agree."""
        last = self.journal.results.get(LAST_TRY)
        if last is not None and not last.get("seen"):
            await self.journal.save(LAST_TRY, {**last, "seen": True}, done=True)
            raise _PutBack(LOOK_AGAIN_SECONDS, Phase.PUBLISH, Stage.PUBLISHING)

    async def _end_after_last_try(self) -> None:
        """It is known now that the last try came to nothing: that was it."""
        last = self.journal.results.get(LAST_TRY)
        if last is None:
            return
        await self.journal.forget(LAST_TRY)
        if self.journal.confirmed() is None:
            raise Failure(ErrorCode(str(last["failure"])), "no answer to the last try, and nothing was published")

    # After -------------------------------------------------------------------------------------------------------------

    async def succeed(self, *, remark: str | None = None) -> None:
        """Write "published". `remark`: a catalog code about a post that is out."""
        result = self.journal.confirmed()
        if result is None:
            raise Failure(ErrorCode.INTERNAL_ERROR, "the plan has no visible step")
        remarks = [each["code"] for each in self.journal.results.values() if isinstance(each.get("code"), str)]
        code = remark or (remarks[-1] if remarks else None)
        # A platform that publishes by itself at the given time made it visible then, not when it took the bytes.
        at = max(self.job.post.publish_at, self._visible_at() or self.job.post.publish_at)
        answer = await self.executor.queries.succeed_job(
            self.job, published_at=min(at, self.now()), code=code, message=catalog.message(code, "") if code else None
        )
        if answer == "stale":
            raise Stale
        self.executor.health.finished(self.job.account.platform, "published", code or "")
        log.info("job.published", platform_post_id=result.get("platform_post_id"), remark=code)

    def _visible_at(self) -> datetime | None:
        for entry in self.claim.journal:
            if entry.state == "confirmed":
                return entry.updated_at
        return self.now()

    # What a step is given ----------------------------------------------------------------------------------------------

    def context(self, step: Step, http: Http, *, begun_at: datetime | None = None) -> StepContext:
        """Everything `step` may touch."""

        async def save(result: Mapping[str, Any], *, secret: Mapping[str, Any] | None = None) -> None:
            await self.journal.save(step.name, result, secret=secret)

        async def forget(*steps: str) -> None:
            await self.journal.forget(*steps)

        return StepContext(
            job=self.job,
            runtime=self.runtime,
            http=http,
            media=self.media.readers,
            facts=self.facts,
            journal=self.journal.results,
            quota=self.quota,
            access_token=self._access_token,
            save=save,
            forget=forget,
            progress=self.progress.report,
            now=self.now,
            address=lambda index: self.media.address(self.facts, index),
            cover_address=self.media.cover_address,
            cover=self.media.cover,
            document=self.media.document,
            usage=self._usage,
            config=self.executor.settings,
            begun_at=begun_at,
        )

    async def _access_token(self, *, fresh: bool = False, kind: str | None = None) -> str:
        if kind not in (None, ACCESS):
            other = await self.executor.tokens.other_token(self.job.account.account_id, kind)
            if other is not None:
                self.grant_version = other.grant_version
                return other.value
        rejected = self._token if fresh else None
        token = await self.executor.tokens.access_token(
            self.job.account.account_id, self.job.account.platform, rejected=rejected
        )
        self._token, self.grant_version = token.value, token.grant_version
        return token.value

    async def _usage(self, usages: Sequence[Usage]) -> None:
        self._pause = await self.executor.limits.seen(self.job, usages) or self._pause

    async def _note_hosted(self, path: str) -> None:
        owned(await self.executor.queries.note_hosted(self.job, path))

    async def _write_progress(self, stage: Stage, percent: int) -> None:
        owned(await self.executor.queries.set_progress(self.job, stage, percent))

    def now(self) -> datetime:
        """Database time: that of the claim, plus what has passed here since."""
        return self.job.claimed_at + timedelta(seconds=self.runtime.monotonic() - self._claimed_at_monotonic)
