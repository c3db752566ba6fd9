"""A post that waits for its video, and how long it still does."""

from __future__ import annotations

from uuid import UUID

from tests.factories import create_owner, insert_job
from tests.fix_postgres import Database


async def waiting_job(db: Database, url: str) -> UUID:
    """The video is not ready: the worker looked ten seconds ago and will again in 50."""
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id, media=[{"type": "video", "url": url}])
    await db.execute(
        "update orbyt.publish_jobs set error_code = 'media_not_ready', error_message = 'waits', retryable = true, "
        "run_at = now() + interval '50 seconds' where job_id = %s",
        [job_id],
    )
    return job_id


async def seconds_left(db: Database, job_id: UUID) -> float:
    return float(
        await db.value("select extract(epoch from run_at - now()) from orbyt.publish_jobs where job_id = %s", [job_id])
    )
