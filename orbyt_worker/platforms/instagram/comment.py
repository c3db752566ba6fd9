"""The first comment: a side task. Whatever becomes of it, the post is published.

`POST /{media}/comments` ("IG Media Comments" reference) has no handle before it is sent, and a listing may lag: a comment whose answer
was lost is looked for, and if it does not show up it is not written again. Two would be worse than none.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Snooze, Stage
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.instagram import read
from orbyt_worker.platforms.instagram.check import option
from orbyt_worker.platforms.instagram.containers import PUBLISH
from orbyt_worker.platforms.instagram.verify import id_is_known
from orbyt_worker.platforms.shape import trim

FIRST_COMMENT = "first_comment"
SETTLING = timedelta(seconds=60)
LOOK_AGAIN_SECONDS = 20.0


async def first_comment(ctx: StepContext) -> Json:
    """Write it, once. Raises Failure: instagram_comment_unclear, or why Instagram refused it."""
    text, entry = trim(option(ctx.post, FIRST_COMMENT)), ctx.journal.get(FIRST_COMMENT, {})
    if not id_is_known(ctx):
        raise Failure(ErrorCode.INSTAGRAM_MEDIA_ID_UNKNOWN, "no comment without the post's id")
    media_id = ctx.journal[PUBLISH]["platform_post_id"]
    if entry.get("sent_at"):
        return await _find(ctx, media_id, text, datetime.fromisoformat(entry["sent_at"]))
    await ctx.save({"sent_at": ctx.now().isoformat()})
    try:
        answer = await graph_api.write(ctx, "instagram.comment.create", f"{media_id}/comments", {"message": text})
    except Failure as failure:
        if failure.http_status is not None and 400 <= failure.http_status < 500 and failure.platform_code:
            # Instagram's own word: nothing was written, so another try may send it.
            await ctx.save({"sent_at": None, "refused": str(failure.code)})
        raise
    return {"comment_id": read.object_id(answer.get("id"))}


async def _find(ctx: StepContext, media_id: str, text: str, sent_at: datetime) -> Json:
    for row in await read.comments(ctx, media_id):
        author = row.get("username")
        if row.get("text") == text and author in (ctx.account.handle, None):
            return {"comment_id": read.object_id(row.get("id"))}
    if ctx.now() - sent_at < SETTLING:
        raise Snooze(LOOK_AGAIN_SECONDS, stage=Stage.VERIFYING)
    raise Failure(ErrorCode.INSTAGRAM_COMMENT_UNCLEAR, "no answer came, and it is not among the comments")
