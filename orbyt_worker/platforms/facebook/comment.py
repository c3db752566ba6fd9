"""The side task `first_comment`: the page's own first comment under a post that is out.

A comment has no handle before it is made. So the call is announced in the journal first, and after a lost answer the post's
comments are searched for it; what cannot be found after a while is left to a person: never a second comment.
("Comments" edge, Graph API; the right is pages_manage_engagement.)
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Snooze, Stage
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.facebook.check import first_comment_of
from orbyt_worker.platforms.facebook.read import object_id, same_text
from orbyt_worker.platforms.facebook.visible import PUBLISH, is_refusal

FIRST_COMMENT = "first_comment"
RIGHT = "pages_manage_engagement"
COMMENT_TIMEOUT_SECONDS = 30.0
LISTED_MAX = 100
FIRST_LOOK_SECONDS = 15.0
LOOK_AGAIN_SECONDS = 45.0
SETTLING = timedelta(seconds=60)


async def first_comment(ctx: StepContext) -> Json:
    """Safe to repeat: a comment that may have been made is looked for, never made again."""
    text = first_comment_of(ctx.post)
    if text is None:
        return {}
    target = ctx.journal.get("verify", {}).get("post_id") or ctx.journal[PUBLISH]["platform_post_id"]
    sent_at = ctx.journal.get(FIRST_COMMENT, {}).get("sent_at")
    if isinstance(sent_at, str):
        return await _look(ctx, target, text, datetime.fromisoformat(sent_at))
    await ctx.save({"sent_at": ctx.now().isoformat()})
    try:
        answer = await graph_api.write(
            ctx,
            "facebook.comments.create",
            f"{target}/comments",
            {"message": text},
            timeout_seconds=COMMENT_TIMEOUT_SECONDS,
        )
    except Failure as failure:
        if is_refusal(failure):
            await ctx.save({"sent_at": None})
            if failure.code is ErrorCode.META_PERMISSION_MISSING:
                # Not a reason to reconnect for publishing, which just worked: this is another right.
                raise Failure(ErrorCode.SIDE_TASK_NOT_ALLOWED, f"{RIGHT} is missing ({failure.detail})") from failure
            raise
        raise Snooze(FIRST_LOOK_SECONDS, stage=Stage.VERIFYING, code=str(failure.code)) from failure
    return {"comment_id": object_id(answer.get("id")), "sent_at": None}


async def _look(ctx: StepContext, target: str, text: str, sent_at: datetime) -> Json:
    rows = await graph_api.pages(
        ctx,
        "facebook.comments.list",
        f"{target}/comments",
        {"fields": "id,message,from,created_time", "filter": "stream", "limit": "50"},
        pages_max=2,
        rows_max=LISTED_MAX,
    )
    for row in rows:
        if same_text(row.get("message"), text) and _by_page(ctx, row.get("from")):
            return {"comment_id": object_id(row.get("id"))}
    if ctx.now() - sent_at < SETTLING:
        raise Snooze(LOOK_AGAIN_SECONDS, stage=Stage.VERIFYING, code=str(ErrorCode.SIDE_TASK_UNKNOWN))
    raise Failure(ErrorCode.SIDE_TASK_UNKNOWN, "the comment may have been made; it is not made again")


def _by_page(ctx: StepContext, author: Any) -> bool:
    return isinstance(author, dict) and str(author.get("id")) == ctx.account.platform_account_id
