"""After the visible call: where is the post, and is it what it was meant to be?

The post is out by now and its id is stored, so a read that fails says nothing about it (postiz-app#1568): after a few
tries it counts as published, with the profile as its address. A story sent without its `media_type` would have become a
feed post (exileum/meta-mcp#50): that is looked at, and told.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Snooze, Stage
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.instagram import read
from orbyt_worker.platforms.instagram.containers import PUBLISH, final
from orbyt_worker.platforms.instagram.reconcile import profile_url

PATIENCE = timedelta(minutes=2)
POLL_SECONDS = 15.0


async def verify(ctx: StepContext) -> Json:
    """One look. Snoozes between looks; safe to repeat.

    Returns {"verified": bool, "permalink": str | None, "code"?: a remark for the published row}.
    """
    media_id, known = ctx.journal[PUBLISH]["platform_post_id"], ctx.journal[PUBLISH].get("permalink")
    if not id_is_known(ctx):
        return {"verified": False, "permalink": known}
    try:
        row = await read.media(ctx, media_id)
    except Failure as failure:
        since = ctx.journal.get("verify", {}).get("since")
        if since is None:
            since = ctx.now().isoformat()
            await ctx.save({"since": since})
        if ctx.now() - datetime.fromisoformat(since) < PATIENCE:
            raise Snooze(POLL_SECONDS, stage=Stage.VERIFYING) from failure
        row = None
    if row is None:
        return {"verified": False, "permalink": known or profile_url(ctx)}
    result = {"verified": True, "permalink": row.permalink or known or profile_url(ctx)}
    if row.product_type not in (read.product_type(ctx.post.kind), None):
        result["code"] = str(ErrorCode.INSTAGRAM_KIND_DIFFERS)
    return result


def id_is_known(ctx: StepContext) -> bool:
    """False after `reconcile` found the post published, but could not tell which one it is."""
    container = final(ctx.journal, ctx.post)
    return container is None or ctx.journal[PUBLISH]["platform_post_id"] != container.container_id
