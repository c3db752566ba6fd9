"""Did the visible call happen? Asked when a worker began it and its answer was never recorded. Reads only.

1. The session itself. It answers exactly, also long after completion: complete → published; incomplete → provably not.
2. The session is gone (404, 410). If no last chunk was ever about to be sent, nothing can exist. Otherwise the channel's
   uploads are searched for the video. That can only prove "published", by a unique match: a listing lags, so what is
   missing in it is looked for again, and finally left to a person.

("Resumable Uploads" and "Videos: list" of the YouTube Data API; the order follows the lost-answer reports claudiob/yt#192
and googleapis/google-api-dotnet-client#777.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import PublishResult
from orbyt_worker.platforms.base import Reconciled, StepContext, Truth
from orbyt_worker.platforms.youtube.check import clean_title
from orbyt_worker.platforms.youtube.read import newest_uploads, own_channel, part, text, videos_with_files
from orbyt_worker.platforms.youtube.upload import (
    CHUNK_BYTES,
    Session,
    SessionGone,
    ask,
    file_name,
    refused_with,
    sent_at,
    session_in,
)
from orbyt_worker.platforms.youtube.verify import watch_url

SETTLING = timedelta(minutes=10)
LOOK_AGAIN_SECONDS = 60.0
FINALISING_SECONDS = 20.0
# publishedAt has whole seconds, and the clocks of YouTube and the database are two.
CLOCK_SKEW = timedelta(seconds=60)

# The answers by which a session says that it failed for good, whatever is sent to it.
FAILED_FOR_GOOD = frozenset({400, 409, 412, 413, 415, 422})
HIDDEN_STEPS = ("start_upload", "upload")

_OUR_FILE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.mp4")


async def reconcile(ctx: StepContext) -> Reconciled:
    """See the module. Raises Failure or Snooze when a read cannot be made now: look again later, nothing is known."""
    session = session_in(ctx.journal)
    if session is None:
        return _not_published("no upload session was ever opened", forget=True)
    try:
        state = await ask(ctx, session)
    except SessionGone:
        return await _without_session(ctx, session)
    except Failure as failure:
        if failure.http_status not in FAILED_FOR_GOOD:
            raise
        if sent_at(ctx.journal, session) is None or refused_with(ctx.journal, session) == str(failure.code):
            # The last chunk was never sent, or it was refused and the session keeps giving that refusal.
            return Reconciled(
                Truth.NOT_PUBLISHED, detail=failure.detail, code=str(failure.code), forget_steps=HIDDEN_STEPS
            )
        # The answer to the last chunk was lost, and a single 4xx (a front end, a proxy) says nothing about it.
        return await _without_session(ctx, session)
    if state.video is not None:
        return _published(state.video["id"])
    if state.offset >= session.total_bytes:
        detail = "YouTube has every byte, but has not finished the upload"
        return _unknown(ctx, session, detail, FINALISING_SECONDS)
    if not session.fits_post(ctx.post) or session.total_bytes - state.offset > CHUNK_BYTES:
        return _not_published("the upload has to be done anew", forget=True)
    return Reconciled(Truth.NOT_PUBLISHED, detail=f"the session has {state.offset} of {session.total_bytes} bytes")


async def _without_session(ctx: StepContext, session: Session) -> Reconciled:
    if sent_at(ctx.journal, session) is None:
        return _not_published("the upload session is gone, and its last chunk was never sent", forget=True)
    channel = await own_channel(ctx)
    if channel.uploads_playlist is None:
        return _unknown(ctx, session, "the session is gone, and the channel shows no uploads playlist")
    video_ids = await newest_uploads(ctx, channel.uploads_playlist)
    videos = await videos_with_files(ctx, video_ids) if video_ids else []
    matches = [video["id"] for video in videos if isinstance(video.get("id"), str) and _is_ours(ctx, session, video)]
    if len(matches) == 1:
        return _published(matches[0])
    if matches:
        return Reconciled(
            Truth.UNKNOWN, detail=f"the session is gone, and {len(matches)} videos of the channel look like this one"
        )
    return _unknown(ctx, session, "the session is gone, and the video is not among the channel's newest uploads")


def _is_ours(ctx: StepContext, session: Session, video: Mapping[str, Any]) -> bool:
    """Same title, same size, not older than the session, and not the file of another job."""
    snippet, file = part(video, "snippet"), part(video, "fileDetails")
    name = text(file.get("fileName"))
    if name is not None and _OUR_FILE.fullmatch(name) and name != file_name(ctx):
        return False
    published_at = _time(text(snippet.get("publishedAt")))
    return (
        (text(snippet.get("title")) or "").strip() == clean_title(ctx.post)
        and str(file.get("fileSize")) == str(session.total_bytes)
        and published_at is not None
        and published_at >= session.started_at - CLOCK_SKEW
    )


def _published(video_id: str) -> Reconciled:
    return Reconciled(Truth.PUBLISHED, PublishResult(video_id, watch_url(video_id)))


def _not_published(detail: str, *, forget: bool) -> Reconciled:
    return Reconciled(Truth.NOT_PUBLISHED, detail=detail, forget_steps=HIDDEN_STEPS if forget else ())


def _unknown(ctx: StepContext, session: Session, detail: str, seconds: float = LOOK_AGAIN_SECONDS) -> Reconciled:
    """Look again while a listing may still be settling; then it needs a person."""
    since = sent_at(ctx.journal, session) or ctx.begun_at
    settling = since is not None and ctx.now() - since < SETTLING
    return Reconciled(Truth.UNKNOWN, again_in_seconds=seconds if settling else None, detail=detail)


def _time(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
