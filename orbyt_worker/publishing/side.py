"""Side tasks: first comment, thumbnail, playlist, captions. Each has an outcome of its own in `orbyt.side_tasks`.

The post is out by then. Whatever happens here, it stays published: a side task is tried a few times within a bounded
time, then it is filed as failed with a code, and the job goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from orbyt_worker.db.pool import DatabaseUnavailable
from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Snooze, Stage
from orbyt_worker.platforms.base import Step
from orbyt_worker.publishing import retry
from orbyt_worker.publishing.deadline import deadline
from orbyt_worker.publishing.journal import Stale, owned

if TYPE_CHECKING:
    from orbyt_worker.publishing.execute import Attempt

TRIES_MAX = 5
# The user waits for "published" that long at most because of all tries of one side task.
PATIENCE_SECONDS = 600.0

log = structlog.get_logger(__name__)


async def run_side(attempt: Attempt, step: Step) -> None:
    """One try. Raises Snooze for the next one, Stale when the job is somebody else's; nothing else."""
    queries, job = attempt.executor.queries, attempt.job
    answer, tries, age_seconds = await queries.begin_side_task(job, step.name)
    owned(answer)
    try:
        if tries > TRIES_MAX:
            # Earlier ones ended without a word: the worker died in them.
            raise Failure(ErrorCode.WORKER_LOST, f"{TRIES_MAX} tries")
        async with deadline(step.timeout_seconds):
            await step.run(attempt.context(step, attempt.executor.http))
    except Snooze as snooze:
        if age_seconds + snooze.seconds > PATIENCE_SECONDS or tries >= TRIES_MAX:
            await _failed(attempt, step, Failure(ErrorCode(snooze.code or ErrorCode.STEP_TIMEOUT), snooze.detail))
        else:
            await _again(attempt, step, snooze.seconds, snooze.code, snooze.detail)
    except Failure as failure:
        entry = catalog.entry(failure.code)
        decision = retry.decide(
            entry,
            failures=tries - 1,
            attempt=tries,
            retry_after_seconds=failure.retry_after_seconds,
            rng=attempt.runtime.random,
        )
        fits = age_seconds + decision.seconds <= PATIENCE_SECONDS and tries < TRIES_MAX
        if decision.action is retry.Action.RETRY and fits:
            await _again(attempt, step, decision.seconds, str(failure.code), failure.detail)
        else:
            await _failed(attempt, step, failure)
    except (Stale, *DatabaseUnavailable):
        raise
    except Exception:
        log.exception("side.crashed", step=step.name)
        await _failed(attempt, step, Failure(ErrorCode.INTERNAL_ERROR))
    else:
        owned(await queries.note_side_task(job, step.name, "done"))
        await attempt.journal.save(step.name, {}, done=True)


async def _again(attempt: Attempt, step: Step, seconds: float, code: str | None, detail: str) -> None:
    message = catalog.message(code, detail) if code else None
    owned(await attempt.executor.queries.note_side_task(attempt.job, step.name, "pending", code=code, message=message))
    raise Snooze(seconds, stage=Stage.VERIFYING)


async def _failed(attempt: Attempt, step: Step, failure: Failure) -> None:
    log.warning("side.failed", step=step.name, code=str(failure.code), detail=failure.detail)
    message = catalog.message(failure.code, failure.detail)
    owned(
        await attempt.executor.queries.note_side_task(
            attempt.job, step.name, "failed", code=str(failure.code), message=message
        )
    )
    await attempt.journal.save(step.name, {}, done=True)
