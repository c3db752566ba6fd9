"""The road of one post to Instagram: containers, upload, waiting, `ready`, `publish` (the one visible call), `verify`, comment.

Nothing can be seen until `media_publish` was called with a finished container, and the container itself tells afterwards
whether that happened (`reconcile.py`). So everything before it is done ahead of `publish_at`, as far as containers live (24
hours), and `publish_at` is met with one small call.

There is no scheduling at Instagram: the post waits here, and can be cancelled until the call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from orbyt_worker.errors import catalog
from orbyt_worker.errors.catalog import Scope
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account, Kind, MediaFacts, MediaSpec, Phase, Post, Problem, Snooze, Stage
from orbyt_worker.platforms import graph_api
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
)
from orbyt_worker.platforms.instagram import login, processing, read
from orbyt_worker.platforms.instagram.check import check, option
from orbyt_worker.platforms.instagram.comment import FIRST_COMMENT, first_comment
from orbyt_worker.platforms.instagram.containers import (
    AWAIT_CAROUSEL,
    AWAIT_ITEMS,
    CAROUSEL,
    CONTAINER_AGE_MAX,
    PUBLISH,
    READY,
    Made,
    container_step,
    create_carousel,
    create_item,
    final,
    hidden_steps,
    oldest,
    replacing,
    upload_step,
    uploads,
)
from orbyt_worker.platforms.instagram.images import media_spec
from orbyt_worker.platforms.instagram.read import State
from orbyt_worker.platforms.instagram.reconcile import SETTLING_SECONDS, note_refusal, reconcile, sought_since
from orbyt_worker.platforms.instagram.rules import BUCKETS, RULES
from orbyt_worker.platforms.instagram.upload import upload_item
from orbyt_worker.platforms.instagram.verify import verify
from orbyt_worker.settings import Settings

# Includes getting, converting and hosting a file for Meta to fetch.
CREATE_STEP_SECONDS = 1800.0
# Several tries of 300 MB; a stalled one is ended by its own timeout.
UPLOAD_STEP_SECONDS = 2 * 3600.0
READ_STEP_SECONDS = 180.0
PUBLISH_STEP_SECONDS = 180.0
# Hidden work starts at most that early: containers live 24 hours, and some of them are left for a late post.
PREPARE_LEAD_SECONDS_MAX = 20 * 3600.0
# The last look (finished? room for one more post?) before publish_at.
READY_LEAD_SECONDS = 60.0
NOT_READY_SECONDS = 5.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Instagram:
    """The platform `instagram`. Leads are in seconds before `publish_at`; `registry.py` takes them from the settings.

    `call_timeout_seconds` bounds the visible call; the lease has to outlast it. `settling_seconds`: how long a container has to
    stay unpublished, after a call whose answer was lost, before the call counts as not made.
    """

    prepare_lead_seconds: float = 3600.0
    call_timeout_seconds: float = 36.0
    settling_seconds: float = SETTLING_SECONDS
    rules: Rules = RULES
    buckets: Mapping[str, Bucket] = field(default_factory=lambda: dict(BUCKETS))

    def check(self, post: Post, media: Sequence[MediaFacts | None]) -> list[Problem]:
        """See `check.py`."""
        return check(post, media)

    def media_spec(self, post: Post, account: Account) -> MediaSpec:
        """JPEG as Instagram takes it, for both logins: images always go by address."""
        return media_spec(post)

    def plan(self, post: Post, account: Account) -> tuple[Step, ...]:
        """See the module. Which steps there are depends on the number and type of items and on the login."""
        lead = min(self.prepare_lead_seconds, PREPARE_LEAD_SECONDS_MAX)
        items = range(len(post.media))
        steps = [_hidden(container_step(index), create_item, lead, index=index) for index in items]
        steps += [
            Step(
                upload_step(index),
                Stage.UPLOADING,
                partial(upload_item, index=index),
                UPLOAD_STEP_SECONDS,
                lead_seconds=lead,
            )
            for index in uploads(post, account)
        ]
        steps.append(_waiting(AWAIT_ITEMS, processing.await_items, lead))
        if post.kind is Kind.CAROUSEL:
            steps.append(_hidden(CAROUSEL, create_carousel, lead))
            steps.append(_waiting(AWAIT_CAROUSEL, processing.await_carousel, lead))
        steps += [
            # In the lane of the visible call: a long upload of another post of the account must not hold it up.
            Step(
                READY,
                Stage.PUBLISHING,
                ready,
                READ_STEP_SECONDS,
                phase=Phase.PUBLISH,
                lead_seconds=READY_LEAD_SECONDS,
                needs_media=False,
            ),
            Step(
                PUBLISH,
                Stage.PUBLISHING,
                self._publish,
                PUBLISH_STEP_SECONDS,
                phase=Phase.PUBLISH,
                visible=True,
                lead_seconds=0.0,
                needs_media=False,
                call_timeout_seconds=self.call_timeout_seconds,
            ),
            Step("verify", Stage.VERIFYING, verify, READ_STEP_SECONDS, needs_media=False),
        ]
        if option(post, FIRST_COMMENT) is not None:
            steps.append(
                Step(FIRST_COMMENT, Stage.VERIFYING, first_comment, READ_STEP_SECONDS, needs_media=False, side=True)
            )
        return tuple(steps)

    async def reconcile(self, ctx: StepContext) -> Reconciled:
        """See `reconcile.py`."""
        return await reconcile(ctx, self.settling_seconds)

    def renews(self, login: str) -> bool:
        """A Page token has no end of its own; the token of Instagram Login has to be renewed within 60 days."""
        return login == "instagram"

    async def refresh(self, http: Http, config: Settings, credentials: Credentials) -> TokenGrant:
        """See `login.py`."""
        return await login.refresh(http, config, credentials)

    async def _publish(self, ctx: StepContext) -> Json:
        return await publish(ctx, self.call_timeout_seconds)


def _hidden(name: str, run: Callable[..., Awaitable[Json]], lead: float, **bound: Any) -> Step:
    # No bytes are needed: Meta fetches an address, or the upload comes later.
    return Step(name, Stage.PREPARING, partial(run, **bound), CREATE_STEP_SECONDS, lead_seconds=lead, needs_media=False)


def _waiting(name: str, run: Callable[[StepContext], Awaitable[Json]], lead: float) -> Step:
    return Step(name, Stage.PROCESSING, run, READ_STEP_SECONDS, lead_seconds=lead, needs_media=False)


async def ready(ctx: StepContext) -> Json:
    """The last look before the visible call: is the container there, and does the account have room for one more post?

    Raises Snooze: instagram_publishing_limit, or the containers have to be made anew because they are too old.
    """
    container = final(ctx.journal, ctx.post)
    if container is None:
        raise await _anew(ctx, READY, None, "the journal holds no container")
    if _is_too_old(ctx):
        raise await _anew(ctx, READY, container, "the container is too old to be published")
    seen = await read.container(ctx, container.container_id)
    if seen.state is State.ERROR:
        failure = processing.failure_of(seen)
        await _forget(ctx, READY, container)
        raise failure
    if seen.state is State.EXPIRED:
        raise await _anew(ctx, READY, container, "the container has expired")
    if seen.state not in (State.FINISHED, State.PUBLISHED):
        raise Snooze(NOT_READY_SECONDS, stage=Stage.PROCESSING, code=ErrorCode.INSTAGRAM_CONTAINER_NOT_READY)
    used, total = await _used(ctx)
    if used >= total:
        wait = catalog.entry(ErrorCode.INSTAGRAM_PUBLISHING_LIMIT).retry.base_seconds
        detail = f"{used} of {total} in 24 hours"
        raise Snooze(wait, stage=Stage.WAITING, code=ErrorCode.INSTAGRAM_PUBLISHING_LIMIT, detail=detail)
    return {"container": container.container_id, "used": used, "total": total, "seen": await _there_before(ctx)}


async def _used(ctx: StepContext) -> tuple[int, int]:
    """(used, allowed). Where the account's numbers cannot be read the call itself will tell, without harm."""
    try:
        used, total = await read.limit(ctx)
    except Failure as failure:
        entry = catalog.entry(failure.code)
        if entry.scope is not Scope.NONE or entry.holds:
            raise
        log.warning("instagram.limit_unreadable", code=str(failure.code))
        return 0, RULES.limit("posts_per_day")
    return used, total if total is not None else RULES.limit("posts_per_day")


async def _there_before(ctx: StepContext) -> list[str]:
    """Posts that look like this one and are there already, so that none of them is ever taken for it."""
    try:
        rows = await read.newest(ctx, ctx.now() - 4 * read.CLOCK_SKEW)
    except Failure as failure:
        log.warning("instagram.listing_unreadable", code=str(failure.code))
        return []
    return [row.media_id for row in read.matches(ctx.post, rows)]


async def publish(ctx: StepContext, call_timeout_seconds: float) -> Json:
    """The visible step: exactly one POST to `media_publish`.

    That it is about to be made is journalled right before, so a later look knows whether it can have been. Whatever happens
    to the answer is a Failure: the executor then asks `reconcile`, and this step never calls twice.
    """
    container, entry = final(ctx.journal, ctx.post), ctx.journal.get(PUBLISH, {})
    if container is None or _is_too_old(ctx):
        # Nothing is sent, and the next look finds that nothing was.
        raise await _anew(ctx, PUBLISH, container, "the container is too old to be published")
    await ctx.progress(Stage.PUBLISHING, 0.0)
    if entry.get("sent_at"):
        await _still_unpublished(ctx, container)
    now = ctx.now().isoformat()
    record = {
        "container": container.container_id,
        "sent_at": now,
        # What is looked for later, if need be: any post like this one since the first call, and none that was there before.
        "first_sent_at": entry.get("first_sent_at", now),
        "seen": entry.get("seen", ctx.journal.get(READY, {}).get("seen", [])),
    }
    await ctx.save(record)
    try:
        answer = await graph_api.write(
            ctx,
            "instagram.media_publish",
            f"{ctx.account.platform_account_id}/media_publish",
            {"creation_id": container.container_id},
            timeout_seconds=call_timeout_seconds,
        )
    except Failure as failure:
        await note_refusal(ctx, record, failure)
        raise
    media_id = read.object_id(answer.get("id"))
    if media_id is None:
        # Documented: then the container knows whether it was published.
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, "media_publish answered without an id", http_status=200)
    await ctx.progress(Stage.PUBLISHING, 1.0)
    return {**record, "platform_post_id": media_id, "permalink": None, "published_at": ctx.now().isoformat()}


async def _still_unpublished(ctx: StepContext, container: Made) -> None:
    """An earlier call was found not to have happened. Before another one: is that still so? Else look again, do not call."""
    seen = await read.container(ctx, container.container_id)
    rows = await read.newest(ctx, sought_since(ctx))
    entry = ctx.journal.get(PUBLISH, {})
    if seen.state is not State.FINISHED or read.matches(ctx.post, rows, entry.get("seen", [])):
        await ctx.save({**entry, "looks": 0, "looked_since": None})
        raise Snooze(1.0, stage=Stage.PUBLISHING, code=ErrorCode.OUTCOME_UNKNOWN, detail="the platform's word changed")


def _is_too_old(ctx: StepContext) -> bool:
    created_at = oldest(ctx.journal, ctx.post)
    return created_at is not None and ctx.now() - created_at > CONTAINER_AGE_MAX


async def _anew(ctx: StepContext, step: str, container: Made | None, detail: str) -> Snooze:
    await _forget(ctx, step, container)
    return Snooze(1.0, stage=Stage.PREPARING, detail=detail)


async def _forget(ctx: StepContext, step: str, container: Made | None) -> None:
    """Make everything anew; `step` is the running one, which keeps what is known."""
    if step == READY and container is not None:
        await ctx.save(replacing({}, "all", container.container_id))
    names = hidden_steps(ctx.post, ctx.account)
    await ctx.forget(*(names if step == READY else (*names, READY)))
