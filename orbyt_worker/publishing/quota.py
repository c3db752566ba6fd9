"""Units of a platform's allowance, reserved in the shared ledger before a call is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orbyt_worker.db.queries import Queries
from orbyt_worker.model import Snooze, Stage
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings

# After a reset the waiting jobs come back spread over this time: the reset itself is not exact to the second
# (source: YouTube Data API, "Quota Calculator"), and a crowd at midnight helps nobody.
SPREAD_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Bucket:
    key: str
    units_max: int
    exhausted_code: str


def buckets(settings: Settings) -> Mapping[str, Bucket]:
    """The buckets a platform may name. Numbers are settings, since projects differ."""
    project = settings.google_project
    return {
        "youtube_uploads": Bucket(project, settings.youtube_uploads_per_day, "youtube_uploads_per_day_exhausted"),
        "youtube_units": Bucket(project, settings.youtube_units_per_day, "youtube_quota_exhausted"),
    }


class LedgerQuota:
    """`platforms.base.Quota` over the ledger. Exhausted means: wait for the reset, no attempt spent, and say until when."""

    def __init__(self, queries: Queries, runtime: Runtime, known: Mapping[str, Bucket]) -> None:
        self._queries = queries
        self._runtime = runtime
        self._known = known

    async def reserve(self, bucket: str, units: int = 1) -> None:
        what = self._known[bucket]
        granted, reset_in_seconds = await self._queries.reserve_quota(
            bucket, what.key, units=units, units_max=what.units_max
        )
        if not granted:
            raise self._until_reset(what.exhausted_code, reset_in_seconds)

    async def exhausted(self, bucket: str, code: str) -> Snooze:
        what = self._known[bucket]
        reset_in_seconds = await self._queries.close_quota(bucket, what.key, units_max=what.units_max)
        return self._until_reset(code, reset_in_seconds)

    def _until_reset(self, code: str, reset_in_seconds: float) -> Snooze:
        return Snooze(
            reset_in_seconds + self._runtime.random.uniform(5.0, SPREAD_SECONDS), stage=Stage.WAITING, code=code
        )
