"""Units of a platform's allowance, reserved in the shared ledger before a call is made."""

from __future__ import annotations

from collections.abc import Mapping

from orbyt_worker.db.queries import Queries
from orbyt_worker.model import Job, Snooze, Stage
from orbyt_worker.platforms.base import Bucket, Window
from orbyt_worker.runtime import Runtime

# After a reset the waiting jobs come back spread over this time: the reset itself is not exact to the second
# (source: YouTube Data API, "Quota Calculator"), and a crowd at midnight helps nobody.
SPREAD_SECONDS = 600.0
# In a rolling window single units come back, for single jobs.
ROLLING_SPREAD_SECONDS = 30.0


class LedgerQuota:
    """`platforms.base.Quota` of one job. Exhausted means: wait for the units to come back, no attempt spent, and say until when."""

    def __init__(self, queries: Queries, runtime: Runtime, buckets: Mapping[str, Bucket], job: Job) -> None:
        self._queries = queries
        self._runtime = runtime
        self._buckets = buckets
        self._job = job

    async def reserve(self, bucket: str, units: int = 1, *, once: str | None = None) -> None:
        what, key = self._buckets[bucket], self._key(bucket)
        if what.window is Window.PACIFIC_DAY:
            granted, seconds = await self._queries.reserve_quota(bucket, key, units=units, units_max=what.units_max)
        else:
            use = f"{self._job.job_id}/{once or self._runtime.new_id()}"
            granted, seconds = await self._queries.reserve_rolling_quota(
                bucket, key, once=use, units=units, units_max=what.units_max
            )
        if not granted:
            raise self._until(what, what.exhausted_code, seconds)

    async def exhausted(self, bucket: str, code: str) -> Snooze:
        what, key = self._buckets[bucket], self._key(bucket)
        if what.window is Window.PACIFIC_DAY:
            seconds = await self._queries.close_quota(bucket, key, units_max=what.units_max)
        else:
            seconds = await self._queries.close_rolling_quota(bucket, key, units_max=what.units_max)
        return self._until(what, code, seconds)

    def _key(self, bucket: str) -> str:
        return self._buckets[bucket].key or str(self._job.account.account_id)

    def _until(self, what: Bucket, code: str, seconds: float) -> Snooze:
        spread = SPREAD_SECONDS if what.window is Window.PACIFIC_DAY else ROLLING_SPREAD_SECONDS
        return Snooze(seconds + self._runtime.random.uniform(5.0, spread), stage=Stage.WAITING, code=code)
