"""`python -m bench.instant`: a whole worker whose only platform answers at once, to see what is our own part of being late.

Everything else is real: settings from the environment, loop, lease, executor, journal, tokens. The visible call notes the time in
the file named by BENCH_CALLS, one line per call.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import orbyt_worker.app as app
from orbyt_worker.model import Account, MediaFacts, MediaSpec, Phase, Post, Problem, Stage
from orbyt_worker.platforms.base import (
    Bucket,
    Credentials,
    Http,
    Json,
    Platform,
    Reconciled,
    Rules,
    Step,
    StepContext,
    TokenGrant,
    Truth,
)
from orbyt_worker.platforms.youtube.rules import RULES
from orbyt_worker.settings import Settings

CALL_SECONDS_MAX = 30.0


class Instant:
    """Takes YouTube's place in the registry."""

    rules: Rules = RULES

    buckets: Mapping[str, Bucket]

    def __init__(self, calls: Path) -> None:
        self.buckets = {}
        self._calls = calls.open("a", encoding="utf-8", buffering=1)

    def check(self, post: Post, media: Sequence[MediaFacts | None]) -> list[Problem]:
        return []

    def media_spec(self, post: Post, account: Account) -> MediaSpec:
        return MediaSpec()

    def plan(self, post: Post, account: Account) -> tuple[Step, ...]:
        step = Step(
            "publish",
            Stage.PUBLISHING,
            self._publish,
            CALL_SECONDS_MAX,
            phase=Phase.PUBLISH,
            visible=True,
            lead_seconds=0.0,
            needs_media=False,
            call_timeout_seconds=CALL_SECONDS_MAX,
        )
        return (step,)

    async def _publish(self, ctx: StepContext) -> Json:
        self._calls.write(f"{ctx.job.job_id} {time.time()}\n")
        return {"platform_post_id": str(ctx.job.job_id), "permalink": None}

    async def reconcile(self, ctx: StepContext) -> Reconciled:
        return Reconciled(Truth.UNKNOWN)

    def renews(self, login: str) -> bool:
        return True

    async def refresh(self, http: Http, config: Settings, credentials: Credentials) -> TokenGrant:
        return TokenGrant("bench", 3600.0)


def main() -> None:
    platform = Instant(Path(os.environ["BENCH_CALLS"]))

    def platforms(settings: Settings) -> Mapping[str, Platform]:
        return {RULES.platform: platform}

    # The composition root asks this name for the registry.
    vars(app)["platforms"] = platforms
    asyncio.run(app.run_worker(Settings()))


if __name__ == "__main__":
    main()
