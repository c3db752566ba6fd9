"""The road of one video to YouTube: `start_upload`, `upload`, `finish_upload` (the one visible call), `verify`; `side.py` for the rest.

Nothing exists on YouTube until the last byte of an upload was accepted. So everything but the last at most 256 KiB goes
up ahead of time, invisible and without consequence, and the visible call is the PUT of that rest: small, quick, and the
session itself tells afterwards whether it was taken (`reconcile.py`).

A post that is to become public later is opened as private with `publishAt`, so YouTube itself makes it public on time,
already processed; its last chunk is held back until `finish_lead_seconds` before that time, until when a cancel leaves
nothing behind. A private or unlisted post has no such mechanism: its last chunk is sent at `publish_at`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account, MediaFacts, MediaSpec, Phase, Post, Problem, Snooze, Stage
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
    Window,
)
from orbyt_worker.platforms.youtube import login, side
from orbyt_worker.platforms.youtube.check import check
from orbyt_worker.platforms.youtube.errors import UNITS, UPLOADS, is_transient
from orbyt_worker.platforms.youtube.read import own_channel
from orbyt_worker.platforms.youtube.reconcile import reconcile
from orbyt_worker.platforms.youtube.rules import RULES, cover_spec
from orbyt_worker.platforms.youtube.upload import (
    CHUNK_BYTES,
    CHUNK_TIMEOUT_SECONDS,
    QUERY_TIMEOUT_SECONDS,
    SESSION_AGE_MAX,
    Session,
    SessionGone,
    State,
    ask,
    open_session,
    privacy_of,
    recorded_session,
    save_session,
    send,
    sendable_bytes,
    session_in,
)
from orbyt_worker.platforms.youtube.verify import verify, watch_url
from orbyt_worker.settings import Settings

START_STEP_SECONDS = 300.0
# 256 GiB at 100 Mbit/s take 6 hours; a stalled chunk is ended much earlier by its own timeout.
UPLOAD_STEP_SECONDS = 12 * 3600.0
# Includes waiting for the source when the file has to be downloaded again; the call itself has its own, short limit.
FINISH_STEP_SECONDS = 3600.0
VERIFY_STEP_SECONDS = 120.0

# Interruptions in a row without one new byte stored; then the retry rule of the catalog takes over.
STALLS_MAX = 4
STALL_SLEEP_SECONDS_MAX = 16.0
RETRY_AFTER_IN_STEP_SECONDS_MAX = 30.0
SESSION_RESTARTS_MAX = 3
FINISH_QUERIES_MAX = 3
# A wait this short is slept through, so that the time is met exactly; a longer one gives the slot back.
WAIT_IN_SLOT_SECONDS_MAX = 5.0


@dataclass(slots=True)
class YouTube:
    """The platform `youtube`. Leads are in seconds before `publish_at`; `registry.py` takes all of this from the settings.

    `call_timeout_seconds` bounds the visible call; the lease has to outlast it. The allowances are those of the Google
    project, kept in the ledger under `google_project`.
    """

    finish_lead_seconds: float = 900.0
    prepare_lead_seconds: float = 3600.0
    call_timeout_seconds: float = 36.0
    uploads_per_day: int = RULES.limit("uploads_per_day")
    units_per_day: int = RULES.limit("units_per_day")
    google_project: str = "default"
    rules: Rules = RULES
    buckets: Mapping[str, Bucket] = field(init=False)

    def __post_init__(self) -> None:
        self.buckets = {
            UPLOADS: Bucket(
                self.uploads_per_day,
                str(ErrorCode.YOUTUBE_UPLOADS_PER_DAY_EXHAUSTED),
                Window.PACIFIC_DAY,
                self.google_project,
            ),
            UNITS: Bucket(
                self.units_per_day, str(ErrorCode.YOUTUBE_QUOTA_EXHAUSTED), Window.PACIFIC_DAY, self.google_project
            ),
        }

    def check(self, post: Post, media: Sequence[MediaFacts | None]) -> list[Problem]:
        """See `check.py`."""
        return check(post, media)

    def media_spec(self, post: Post, account: Account) -> MediaSpec:
        """The best rendition; covers as `rules.cover_spec` says."""
        return MediaSpec(rendition="highest", covers=cover_spec(post))

    def plan(self, post: Post, account: Account) -> tuple[Step, ...]:
        """The four steps, whose leads depend on the post, and the side tasks it asks for (`side.py`)."""
        finish_lead = self.finish_lead_seconds if privacy_of(post) == "public" else 0.0
        hidden_lead = self.prepare_lead_seconds + finish_lead
        return (
            Step("start_upload", Stage.PREPARING, start_upload, START_STEP_SECONDS, lead_seconds=hidden_lead),
            Step("upload", Stage.UPLOADING, upload, UPLOAD_STEP_SECONDS, lead_seconds=hidden_lead),
            Step(
                "finish_upload",
                Stage.PUBLISHING,
                self._finish_upload,
                FINISH_STEP_SECONDS,
                phase=Phase.PUBLISH,
                visible=True,
                lead_seconds=finish_lead,
                call_timeout_seconds=self.call_timeout_seconds,
            ),
            *side.before_verification(post),
            Step("verify", Stage.VERIFYING, verify, VERIFY_STEP_SECONDS, needs_media=False),
            *side.after_verification(post),
        )

    async def reconcile(self, ctx: StepContext) -> Reconciled:
        """See `reconcile.py`."""
        return await reconcile(ctx)

    def renews(self, login: str) -> bool:
        """Always: an access token of Google lives for an hour."""
        return True

    async def refresh(self, http: Http, config: Settings, credentials: Credentials) -> TokenGrant:
        """See `login.py`."""
        return await login.refresh(http, config, credentials)

    async def _finish_upload(self, ctx: StepContext) -> Json:
        return await finish_upload(ctx, self.call_timeout_seconds)


async def start_upload(ctx: StepContext) -> Json:
    """Open the upload session. Safe to repeat: a session that was saved and still fits is kept."""
    _refuse_problems(ctx)
    recorded = recorded_session(ctx.journal.get("start_upload"))
    if recorded is not None and _usable(ctx, recorded):
        return recorded.record()
    await ctx.progress(Stage.PREPARING, 0.0)
    await _refuse_long_video(ctx)
    session = await open_session(ctx, "start_upload")
    await ctx.progress(Stage.UPLOADING, 0.0)
    return session.record()


def _refuse_problems(ctx: StepContext) -> None:
    """The last look before the first remote write, now with what the probe found."""
    problems = check(ctx.post, [reader.facts for reader in ctx.media])
    if problems:
        first = problems[0]
        raise Failure(ErrorCode(first.code), first.detail, field=first.field)


async def _refuse_long_video(ctx: StepContext) -> None:
    """More than 15 minutes need a verified channel; YouTube would take the bytes and reject the video afterwards."""
    duration = ctx.media[0].facts.duration_seconds
    if duration is None or duration <= RULES.limit("video_unverified_seconds_max"):
        return
    channel = await own_channel(ctx)
    if channel.long_uploads in ("eligible", "disallowed"):
        raise Failure(
            ErrorCode.YOUTUBE_LONG_UPLOADS_DISABLED,
            f"{duration / 60:.0f} minutes, and the channel's longUploadsStatus is {channel.long_uploads}",
            field="media[0]",
        )


def _usable(ctx: StepContext, session: Session) -> bool:
    reader = ctx.media[0]
    young = ctx.now() - session.started_at < SESSION_AGE_MAX
    return young and session.fits_post(ctx.post) and session.fits_file(reader.size_bytes, reader.facts.etag)


async def upload(ctx: StepContext) -> Json:
    """Send everything but the last chunk. Safe to repeat: the session is asked first.

    A session that is gone, too old, or opened for another text or file is replaced, at most SESSION_RESTARTS_MAX times
    per job: nothing was finished, because the last chunk is never sent here.
    """
    session = session_in(ctx.journal)
    if session is None:
        raise Failure(ErrorCode.YOUTUBE_SESSION_EXPIRED, "the journal holds no upload session")
    for _ in range(SESSION_RESTARTS_MAX + 1):
        try:
            if not _usable(ctx, session):
                raise SessionGone
            state = await _transfer(ctx, session)
        except SessionGone:
            if session.restarts >= SESSION_RESTARTS_MAX:
                break
            session = await open_session(ctx, "upload", restarts=session.restarts + 1)
            continue
        _put_back_until_due(ctx, state.session)
        result: dict[str, Any] = {**state.session.record(), "sent_bytes": state.offset}
        if state.video is not None:
            # Not by our doing; finish_upload asks the session and finds the same answer.
            result["already_complete"] = True
        return result
    raise Failure(ErrorCode.YOUTUBE_SESSION_EXPIRED, f"{SESSION_RESTARTS_MAX + 1} upload sessions were lost")


async def _transfer(ctx: StepContext, session: Session) -> State:
    """Bring the session to where only the last chunk is missing.

    Bounded: each round stores new bytes, or counts as a stall, and STALLS_MAX stalls in a row end it.
    """
    best, stalls = -1, 0
    offset: int | None = None  # None: not known, the session has to be asked
    while True:
        sent = offset is not None
        try:
            state = await ask(ctx, session) if offset is None else await _send_chunk(ctx, session, offset)
        except Failure as failure:
            stalls += 1
            if not is_transient(failure) or stalls > STALLS_MAX:
                raise
            await _sleep_after_stall(ctx, stalls, failure.retry_after_seconds)
            offset = None
            continue
        if state.moved:
            await save_session(ctx, state.session)
        session, offset = state.session, state.offset
        if offset > best:
            best, stalls = offset, 0
        elif sent:
            stalls += 1
            if stalls > STALLS_MAX:
                raise Failure(
                    ErrorCode.PLATFORM_UNAVAILABLE, f"YouTube stores no more than {best} of {session.total_bytes} bytes"
                )
        await ctx.progress(Stage.UPLOADING, offset / session.total_bytes)
        if state.video is not None or not sendable_bytes(offset, session.total_bytes):
            return state
        if state.retry_after_seconds:
            await _sleep_as_asked(ctx, state.retry_after_seconds)


async def _send_chunk(ctx: StepContext, session: Session, offset: int) -> State:
    length = min(CHUNK_BYTES, sendable_bytes(offset, session.total_bytes))
    content = ctx.media[0].read(offset, length)
    return await send(
        ctx, "youtube.upload.chunk", session, offset, length, content, timeout_seconds=CHUNK_TIMEOUT_SECONDS
    )


async def _sleep_after_stall(ctx: StepContext, stalls: int, asked: float | None) -> None:
    # 1, 2, 4, … seconds plus up to one: Google's advice for resumable uploads.
    backoff = min(2.0 ** (stalls - 1) + ctx.runtime.random.random(), STALL_SLEEP_SECONDS_MAX)
    await _sleep_as_asked(ctx, max(backoff, asked or 0.0))


async def _sleep_as_asked(ctx: StepContext, seconds: float) -> None:
    if seconds > RETRY_AFTER_IN_STEP_SECONDS_MAX:
        raise Snooze(seconds, stage=Stage.UPLOADING, detail="YouTube asked to wait")
    await ctx.runtime.sleep(seconds)


def _due_in_seconds(ctx: StepContext, session: Session) -> float:
    """A public video whose session has no publishAt appears with its last byte: how long that has to wait."""
    if session.scheduled_for is not None or privacy_of(ctx.post) != "public":
        return 0.0
    return max((ctx.post.publish_at - ctx.now()).total_seconds(), 0.0)


def _put_back_until_due(ctx: StepContext, session: Session) -> None:
    """Give the slot back when the wait is long; the last seconds are slept through, so that the time is met exactly."""
    seconds = _due_in_seconds(ctx, session)
    if seconds > WAIT_IN_SLOT_SECONDS_MAX:
        raise Snooze(seconds - WAIT_IN_SLOT_SECONDS_MAX / 2, stage=Stage.WAITING)


async def finish_upload(ctx: StepContext, call_timeout_seconds: float) -> Json:
    """The visible step: exactly one PUT, of the last chunk.

    Before it only reads: the session says what it lacks, the source gives those bytes. `sent_at` is journalled right
    before the PUT, so that a later look knows whether the last byte can have been sent at all. Whatever happens to the
    answer is a Failure: the executor then asks `reconcile`, and this step never sends twice.
    """
    session, reader = session_in(ctx.journal), ctx.media[0]
    if (
        session is None
        or not session.fits_post(ctx.post)
        or not session.fits_file(reader.size_bytes, reader.facts.etag)
    ):
        raise await _anew(ctx, "the post or the file changed after the upload")
    _put_back_until_due(ctx, session)
    await ctx.progress(Stage.PUBLISHING, 0.0)
    state = await _ask_patiently(ctx, session, call_timeout_seconds)
    session = state.session
    if state.video is not None:
        return _published(ctx, session, state.video)
    offset, rest = state.offset, session.total_bytes - state.offset
    if rest == 0:
        raise Failure(ErrorCode.PLATFORM_UNAVAILABLE, "YouTube has every byte, but has not finished the upload yet")
    if rest > CHUNK_BYTES:
        raise await _anew(ctx, f"YouTube lost bytes: it has {offset} of {session.total_bytes}")
    content = b"".join([piece async for piece in reader.read(offset, rest)])
    if len(content) != rest:
        raise Failure(
            ErrorCode.MEDIA_TRUNCATED, f"the source gave {len(content)} of the last {rest} bytes", field="media[0]"
        )
    await ctx.runtime.sleep(_due_in_seconds(ctx, session))
    last_sent_at = ctx.now().isoformat()
    await save_session(ctx, session, sent_at=last_sent_at)
    try:
        state = await _send_last(ctx, session, offset, content, call_timeout_seconds)
    except Failure as failure:
        if failure.http_status is not None and 400 <= failure.http_status < 500 and failure.platform_code:
            # YouTube's own word, with a reason: with it `reconcile` can tell a refusal from a stray 4xx of a front end.
            await save_session(ctx, session, sent_at=last_sent_at, refused=str(failure.code))
        raise
    if state.video is None:
        # Provably not taken whole. The status makes the executor ask `reconcile` at once.
        detail = f"YouTube has {state.offset} of {session.total_bytes} bytes after the last chunk"
        raise Failure(ErrorCode.PLATFORM_UNAVAILABLE, detail, http_status=308)
    await ctx.progress(Stage.PUBLISHING, 1.0)
    return _published(ctx, session, state.video)


async def _anew(ctx: StepContext, detail: str) -> Snooze:
    """Nothing was sent, and this session must not be finished: start over. The next look finds no session to finish."""
    await ctx.forget("start_upload", "upload")
    return Snooze(1.0, stage=Stage.PREPARING, detail=detail)


async def _ask_patiently(ctx: StepContext, session: Session, timeout_seconds: float) -> State:
    """Ask, a few times if there is no answer. A session that is gone here was never given its last byte by this run."""
    for query in range(1, FINISH_QUERIES_MAX + 1):
        try:
            return await ask(ctx, session, timeout_seconds=min(QUERY_TIMEOUT_SECONDS, timeout_seconds))
        except SessionGone:
            raise Failure(ErrorCode.YOUTUBE_SESSION_EXPIRED, "the upload session is gone", http_status=404) from None
        except Failure as failure:
            if not is_transient(failure) or query == FINISH_QUERIES_MAX:
                raise
            await ctx.runtime.sleep(0.5 * query)
    raise AssertionError("unreachable: the last query returns or raises")


async def _send_last(ctx: StepContext, session: Session, offset: int, content: bytes, timeout_seconds: float) -> State:
    try:
        return await send(
            ctx, "youtube.upload.finish", session, offset, len(content), content, timeout_seconds=timeout_seconds
        )
    except SessionGone:
        raise Failure(
            ErrorCode.YOUTUBE_SESSION_EXPIRED, "the upload session was gone when the last chunk came", http_status=404
        ) from None


def _published(ctx: StepContext, session: Session, video: Json) -> Json:
    status = video.get("status")
    applied = status.get("privacyStatus") if isinstance(status, dict) else None
    return {
        **session.record(),
        "platform_post_id": video["id"],
        "permalink": watch_url(video["id"]),
        "privacy": privacy_of(ctx.post),
        "privacy_applied": applied if isinstance(applied, str) else None,
        "finished_at": ctx.now().isoformat(),
    }
