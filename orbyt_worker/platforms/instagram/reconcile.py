"""Did the visible call happen? Asked when a worker began it and its answer was never recorded, or was a refusal. Reads only.

The container itself answers: PUBLISHED, and it was. It names no post, so the post is looked for in the account's listing:
a unique match of time, type and text, never "the newest" (trypostit/trypost#281). A publish can be live although the
call returned an error (gitroomhq/postiz-app#1681), and the container may say FINISHED for a while longer, so that state proves
"not published" only when it stays for several looks and no post like this one appears.

| Container | Means |
|---|---|
| PUBLISHED | published; without a unique match its id stays unknown |
| FINISHED, ERROR, EXPIRED | a unique match: published. Else, after LOOKS_MIN looks over SETTLING_SECONDS: not published |
| IN_PROGRESS | not yet finished, so not published; look again |
| unreadable | nothing is known; look again with both tokens, then it needs a person |
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from orbyt_worker.errors import catalog
from orbyt_worker.errors.catalog import RetryMode
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import PublishResult
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import Json, Reconciled, StepContext, Truth
from orbyt_worker.platforms.instagram import read
from orbyt_worker.platforms.instagram.containers import (
    AWAIT_CAROUSEL,
    AWAIT_ITEMS,
    PUBLISH,
    READY,
    hidden_steps,
)
from orbyt_worker.platforms.instagram.read import Row, State

# "FINISHED" on several reads over two to five minutes; the upper end, since late is better than twice. Undocumented.
SETTLING_SECONDS = 300.0
LOOKS_MIN = 4
PROCESSING_SECONDS = 30.0
# A published post may be missing from the listing for a moment.
LISTING_LOOKS_MAX = 4
LISTING_SECONDS = 10.0
# Reads that fail say nothing. After so long a person is asked.
UNREADABLE_PATIENCE = timedelta(hours=1)
UNREADABLE_SECONDS = 60.0

# Refusals that leave no doubt: about tokens, rights, throttles and the account's allowance (Meta, "Handle Errors" and
# "Instagram Platform Error Codes"). With these one look is enough.
CLEAR_REFUSALS = frozenset(
    {
        ErrorCode.INSTAGRAM_PUBLISHING_LIMIT,
        ErrorCode.META_ACCOUNT_THROTTLED,
        ErrorCode.META_APP_CAPABILITY_MISSING,
        ErrorCode.META_APP_REMOVED,
        ErrorCode.META_APP_SIGNATURE_REFUSED,
        ErrorCode.META_APP_THROTTLED,
        ErrorCode.META_CHECKPOINT,
        ErrorCode.META_PERMISSION_MISSING,
        ErrorCode.META_ROLE_LOST,
        ErrorCode.META_SESSION_ENDED,
        ErrorCode.META_TOKEN_EXPIRED,
        ErrorCode.META_TOKEN_INVALID,
    }
)


async def note_refusal(ctx: StepContext, record: Json, failure: Failure) -> None:
    """Journal the platform's own word about the visible call, if it gave one; a lost answer is none."""
    if failure.http_status is not None and (failure.platform_code or failure.platform_subcode):
        await ctx.save({**record, "refused": str(failure.code)})


def sought_since(ctx: StepContext) -> datetime:
    """From when on a post like this one is ours: the first call for this job."""
    entry = ctx.journal.get(PUBLISH, {})
    first = entry.get("first_sent_at")
    since = datetime.fromisoformat(first) if first else ctx.begun_at or ctx.now()
    return since - read.CLOCK_SKEW


async def reconcile(ctx: StepContext, settling_seconds: float = SETTLING_SECONDS) -> Reconciled:
    """See the module. Raises Failure or Snooze when a read cannot be made now and its code says how that goes on."""
    entry = ctx.journal.get(PUBLISH, {})
    container_id = entry.get("container")
    if not entry.get("sent_at") or not container_id:
        return Reconciled(Truth.NOT_PUBLISHED, detail="the call was never made")
    state: State | None = None
    found: Sequence[Row] = ()
    try:
        state = (await read.container(ctx, container_id)).state
        if state in (State.IN_PROGRESS, State.UNKNOWN):
            return _unfinished(ctx, entry, state)
        found = read.matches(ctx.post, await read.newest(ctx, sought_since(ctx)), entry.get("seen", []))
    except Failure as failure:
        # That it is published is known without the listing.
        if state is not State.PUBLISHED:
            return _unreadable(ctx, failure)
    if len(found) == 1:
        return _published(found[0])
    if state is State.PUBLISHED:
        return await _without_id(ctx, entry, container_id, len(found))
    if found:
        return Reconciled(
            Truth.UNKNOWN, detail=f"the container says {state}, and {len(found)} posts look like this one"
        )
    return await _not_there(ctx, entry, state, settling_seconds)


def _unfinished(ctx: StepContext, entry: Json, state: State) -> Reconciled:
    """What is still processed cannot have been published; without a word of Instagram's the look is only repeated."""
    if state is State.IN_PROGRESS and entry.get("refused"):
        waiting = tuple(name for name in (AWAIT_ITEMS, AWAIT_CAROUSEL) if name in hidden_steps(ctx.post, ctx.account))
        return Reconciled(
            Truth.NOT_PUBLISHED, detail="the container is still processed", forget_steps=(waiting[-1], READY)
        )
    return Reconciled(Truth.UNKNOWN, again_in_seconds=PROCESSING_SECONDS, detail=f"the container says {state}")


async def _without_id(ctx: StepContext, entry: Json, container_id: str, matches: int) -> Reconciled:
    """Published, and no telling which of the posts it is: the listing may be late; several will not become one."""
    looks = int(entry.get("listing_looks", 0)) + 1
    if matches == 0 and looks < LISTING_LOOKS_MAX:
        await ctx.save({**entry, "listing_looks": looks})
        return Reconciled(Truth.UNKNOWN, again_in_seconds=LISTING_SECONDS, detail="published; its id is looked for")
    return Reconciled(
        Truth.PUBLISHED,
        PublishResult(container_id, profile_url(ctx)),
        detail=f"{matches} posts look like this one",
        code=ErrorCode.INSTAGRAM_MEDIA_ID_UNKNOWN,
    )


async def _not_there(ctx: StepContext, entry: Json, state: State, settling_seconds: float) -> Reconciled:
    refused = entry.get("refused")
    now = ctx.now()
    looks, since = int(entry.get("looks", 0)) + 1, datetime.fromisoformat(entry.get("looked_since") or now.isoformat())
    clear = refused in CLEAR_REFUSALS
    settled = looks >= LOOKS_MIN and (now - since).total_seconds() >= settling_seconds
    if not settled and not clear:
        await ctx.save({**entry, "looks": looks, "looked_since": since.isoformat()})
        return Reconciled(
            Truth.UNKNOWN,
            again_in_seconds=settling_seconds / (LOOKS_MIN - 1),
            detail=f"the container says {state}, look {looks}",
        )
    # The old container is not used again where it is dead, or where Instagram's answer was that it does not know it.
    dead = state is not State.FINISHED or (
        refused is not None and graph_api.wants_new_container(ErrorCode(refused), ctx.job.failures)
    )
    return Reconciled(
        Truth.NOT_PUBLISHED,
        detail=f"the container says {state}, and there is no post like this one",
        forget_steps=(*(hidden_steps(ctx.post, ctx.account) if dead else ()), READY),
        # A clear one was told when it came, or is told when it comes again: by now the user may have reconnected.
        code=None if clear else refused,
    )


def _published(row: Row) -> Reconciled:
    return Reconciled(Truth.PUBLISHED, PublishResult(row.media_id, row.permalink))


def profile_url(ctx: StepContext) -> str | None:
    """Where a post can be found when its own address is not known."""
    return f"https://www.instagram.com/{ctx.account.handle}/" if ctx.account.handle else None


def _unreadable(ctx: StepContext, failure: Failure) -> Reconciled:
    """A read that fails must not end a job that may be published: only what waits or is held is raised."""
    entry = catalog.entry(failure.code)
    if failure.code not in read.UNREADABLE and (entry.holds or entry.retry.mode is RetryMode.WAIT):
        raise failure
    patient = ctx.begun_at is None or ctx.now() - ctx.begun_at < UNREADABLE_PATIENCE
    return Reconciled(
        Truth.UNKNOWN,
        again_in_seconds=UNREADABLE_SECONDS if patient else None,
        detail=f"the container cannot be read: {failure.detail}",
    )
