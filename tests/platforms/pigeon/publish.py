"""A draft is made ahead of time and seen by nobody; sending it is the one visible call; the draft says afterwards whether it was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account, MediaFacts, MediaSpec, Phase, Post, Problem, PublishResult, Stage
from orbyt_worker.platforms.base import (
    Bucket,
    Credentials,
    Http,
    Json,
    Reconciled,
    Rules,
    Step,
    StepContext,
    TokenGrant,
    Truth,
    Window,
)
from orbyt_worker.platforms.shape import check_facts, check_shape, ordered
from orbyt_worker.settings import Settings
from tests.platforms.pigeon.errors import failure_of
from tests.platforms.pigeon.rules import RULES

CALL_SECONDS = 10.0
BASE = "https://api.pigeon.test"


@dataclass(slots=True)
class Pigeon:
    """The platform `pigeon`."""

    rules: Rules = RULES
    buckets: Mapping[str, Bucket] = field(
        default_factory=lambda: {
            "pigeon_drafts": Bucket(
                RULES.limit("drafts_per_day"), str(ErrorCode.PLATFORM_RATE_LIMITED), Window.ROLLING_DAY
            )
        }
    )

    def check(self, post: Post, media: Sequence[MediaFacts | None]) -> list[Problem]:
        return ordered(check_shape(RULES, post), check_facts(RULES, post, media))

    def media_spec(self, post: Post, account: Account) -> MediaSpec:
        return MediaSpec()

    def plan(self, post: Post, account: Account) -> tuple[Step, ...]:
        return (
            Step("draft", Stage.UPLOADING, draft, 60.0, lead_seconds=3600.0, needs_media=False),
            Step(
                "send",
                Stage.PUBLISHING,
                send,
                60.0,
                phase=Phase.PUBLISH,
                visible=True,
                lead_seconds=0.0,
                needs_media=False,
                call_timeout_seconds=CALL_SECONDS,
            ),
            Step("verify", Stage.VERIFYING, verify, 60.0, needs_media=False),
        )

    async def reconcile(self, ctx: StepContext) -> Reconciled:
        state = await _call(ctx, "pigeon.drafts.get", "GET", f"/drafts/{ctx.journal['draft']['draft_id']}")
        if state["sent_as"] is None:
            return Reconciled(Truth.NOT_PUBLISHED, detail="the draft is still a draft")
        return Reconciled(Truth.PUBLISHED, PublishResult(state["sent_as"]))

    def renews(self, login: str) -> bool:
        return False

    async def refresh(self, http: Http, config: Settings, credentials: Credentials) -> TokenGrant:
        raise Failure(ErrorCode.ACCOUNT_NEEDS_REAUTH, "tokens of Pigeon live until they are revoked")


async def draft(ctx: StepContext) -> Json:
    """Make the draft. The client's own key makes it the same draft however often it is asked for."""
    await ctx.quota.reserve("pigeon_drafts", once="draft")
    made = await _call(
        ctx, "pigeon.drafts.create", "POST", "/drafts", {"key": str(ctx.job.job_id), "text": ctx.post.caption}
    )
    await ctx.save({"draft_id": made["draft_id"]}, secret={"edit_token": made["edit_token"]})
    return {"draft_id": made["draft_id"]}


async def send(ctx: StepContext) -> Json:
    """The visible call."""
    made = ctx.journal["draft"]
    sent = await _call(
        ctx, "pigeon.drafts.send", "POST", f"/drafts/{made['draft_id']}/send", {"edit_token": made["edit_token"]}
    )
    return {"platform_post_id": sent["sent_as"]}


async def verify(ctx: StepContext) -> Json:
    state = await _call(ctx, "pigeon.drafts.get", "GET", f"/drafts/{ctx.journal['draft']['draft_id']}")
    return {"verified": state["sent_as"] is not None}


async def _call(ctx: StepContext, name: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
    response = await ctx.http.call(
        name,
        method,
        BASE + path,
        timeout_seconds=CALL_SECONDS,
        headers={"authorization": f"Bearer {await ctx.access_token()}"},
        json=body,
    )
    if response.status != 200 or not isinstance(response.json, dict):
        raise failure_of(name, response, ctx.now())
    return response.json
