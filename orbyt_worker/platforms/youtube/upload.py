"""Resumable upload sessions: opening one, asking how much it has, sending bytes.

The protocol as Google documents it ("Resumable Uploads", YouTube Data API). Two rules carry everything else:
the offset is whatever the session *says* it has, never what was sent; and nothing exists on YouTube until the last byte
was accepted, so as long as that byte was not sent, a session may be thrown away and begun anew.

The session address authorises the upload by itself: it is saved as a secret and appears in no text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import MediaFacts, Post
from orbyt_worker.platforms.base import ApiResponse, Json, StepContext
from orbyt_worker.platforms.http import retry_after_seconds
from orbyt_worker.platforms.youtube.check import clean_tags, clean_title
from orbyt_worker.platforms.youtube.errors import UPLOADS, failure_of, refusal

CHUNK_MULTIPLE_BYTES = 262_144
CHUNK_BYTES = 32 * CHUNK_MULTIPLE_BYTES
START_TIMEOUT_SECONDS = 60.0
# 8 MiB in 180 s is 46 KiB/s; a slower line still advances, because whole blocks of a broken chunk stay stored.
CHUNK_TIMEOUT_SECONDS = 180.0
QUERY_TIMEOUT_SECONDS = 20.0
# YouTube gives no number; Drive and Cloud Storage keep sessions for a week.
SESSION_AGE_MAX = timedelta(days=6)
# Further ahead than this YouTube itself makes the video public (publishAt); nearer, the last chunk waits for the time.
SCHEDULE_AHEAD_MIN = timedelta(seconds=60)

# Steps that may hold the session in the journal. Of the same session the first one has the newest address.
SESSION_STEPS = ("finish_upload", "upload", "start_upload")

_RANGE = re.compile(r"bytes=0-(\d{1,15})")
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{6,32}")
# In order: FFmpeg gives one reader several names ("mov,mp4,m4a,3gp,3g2,mj2"), and MP4 is what it nearly always is.
_CONTENT_TYPES = {
    "mp4": "video/mp4", "mov": "video/quicktime", "webm": "video/webm", "matroska": "video/x-matroska", "avi": "video/x-msvideo",
    "flv": "video/x-flv", "mpeg": "video/mpeg", "mpegts": "video/mp2t", "asf": "video/x-ms-asf",
}  # fmt: skip


class SessionGone(Exception):
    """YouTube no longer knows the session (404 or 410). What that means depends on whether the last byte was sent."""


@dataclass(frozen=True, slots=True)
class Session:
    """An upload session as it is journalled. `scheduled_for` is the publishAt it was opened with."""

    uri: str = field(repr=False)
    total_bytes: int
    etag: str | None
    started_at: datetime
    scheduled_for: datetime | None
    fingerprint: str
    content_type: str = "video/mp4"
    restarts: int = 0

    def record(self) -> dict[str, Any]:
        """The part that may be read by people; the address goes separately, as a secret."""
        return {
            "total_bytes": self.total_bytes,
            "etag": self.etag,
            "started_at": self.started_at.isoformat(),
            "scheduled_for": self.scheduled_for.isoformat() if self.scheduled_for else None,
            "fingerprint": self.fingerprint,
            "content_type": self.content_type,
            "restarts": self.restarts,
        }

    @classmethod
    def recorded(cls, entry: Json) -> Self:
        """The session in a journal entry that has a `session_uri`."""
        scheduled_for = entry.get("scheduled_for")
        return cls(
            uri=entry["session_uri"],
            total_bytes=entry["total_bytes"],
            etag=entry.get("etag"),
            started_at=datetime.fromisoformat(entry["started_at"]),
            scheduled_for=datetime.fromisoformat(scheduled_for) if scheduled_for else None,
            fingerprint=entry["fingerprint"],
            content_type=entry["content_type"],
            restarts=entry.get("restarts", 0),
        )

    def fits_post(self, post: Post) -> bool:
        """Whether it was opened for exactly this text and time; a row may be edited after the session was opened."""
        same_time = self.scheduled_for is None or self.scheduled_for == post.publish_at
        return same_time and self.fingerprint == fingerprint(post, self.scheduled_for)

    def fits_file(self, total_bytes: int, etag: str | None) -> bool:
        """Whether it was opened for this file; two versions must never be mixed."""
        return self.total_bytes == total_bytes and (self.etag is None or etag is None or self.etag == etag)


def session_in(journal: Mapping[str, Json]) -> Session | None:
    """The session the journal knows: the one opened last, with the address saved last."""
    found = [session for name in SESSION_STEPS if (session := recorded_session(journal.get(name))) is not None]
    return max(found, key=lambda session: session.started_at, default=None)


def recorded_session(entry: Json | None) -> Session | None:
    """The session in one journal entry. An entry rewritten by the executor keeps the secret address but not the rest."""
    if entry is None or not entry.get("session_uri") or not entry.get("started_at"):
        return None
    return Session.recorded(entry)


def sent_at(journal: Mapping[str, Json], session: Session) -> datetime | None:
    """When the last chunk of this very session was about to be sent; None: it never was."""
    entry = journal.get("finish_upload", {})
    if entry.get("started_at") != session.started_at.isoformat() or not entry.get("sent_at"):
        return None
    return datetime.fromisoformat(entry["sent_at"])


def refused_with(journal: Mapping[str, Json], session: Session) -> str | None:
    """The code with which YouTube refused the last chunk of this very session; None: it did not, or its answer was lost."""
    entry = journal.get("finish_upload", {})
    if entry.get("started_at") != session.started_at.isoformat():
        return None
    code = entry.get("refused")
    return code if isinstance(code, str) else None


def privacy_of(post: Post) -> str:
    """What the customer asked for; public when nothing was said."""
    return str(post.options.get("privacy") or "public")


def sendable_bytes(offset: int, total_bytes: int) -> int:
    """How much may be sent from `offset` without the last chunk: the largest multiple of 256 KiB that leaves a byte over.

    What remains, 1 byte to 256 KiB, is the one visible call: small, so that it is quick and its answer rarely lost.
    """
    return max((total_bytes - 1 - offset) // CHUNK_MULTIPLE_BYTES, 0) * CHUNK_MULTIPLE_BYTES


def metadata(post: Post, scheduled_for: datetime | None) -> dict[str, Any]:
    """The body of videos.insert. Privacy and the audience are always said: their defaults changed over the years."""
    options = {name: value for name, value in post.options.items() if value is not None}
    snippet: dict[str, Any] = {"title": clean_title(post)}
    if post.caption:
        snippet["description"] = post.caption
    if tags := clean_tags(post):
        snippet["tags"] = tags
    if "category_id" in options:
        snippet["categoryId"] = options["category_id"]
    status: dict[str, Any] = {
        "privacyStatus": "private" if scheduled_for else privacy_of(post),
        "selfDeclaredMadeForKids": bool(options.get("made_for_kids", False)),
    }
    if scheduled_for is not None:
        status["publishAt"] = _rfc3339(scheduled_for)
    for option, name in (
        ("license", "license"),
        ("embeddable", "embeddable"),
        ("synthetic_media", "containsSyntheticMedia"),
    ):
        if option in options:
            status[name] = options[option]
    return {"snippet": snippet, "status": status}


def fingerprint(post: Post, scheduled_for: datetime | None) -> str:
    """SHA-256 of everything the session was told about the post."""
    told = {"body": metadata(post, scheduled_for), "notify": _notify(post)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def file_name(ctx: StepContext) -> str:
    """The file's name at YouTube: the job's id, by which `reconcile` can recognise the video."""
    return f"{ctx.job.job_id}.mp4"


async def open_session(ctx: StepContext, step: str, *, restarts: int = 0) -> Session:
    """POST videos.insert and journal the session under `step` before anything else happens.

    Each call counts against the daily uploads, a refused one included. When its answer is lost, the session that may
    have been opened is harmless: nothing is ever sent to it.
    """
    post, reader = ctx.post, ctx.media[0]
    now = ctx.now()
    ahead = post.publish_at - now > SCHEDULE_AHEAD_MIN
    scheduled_for = post.publish_at if ahead and privacy_of(post) == "public" else None
    content_type = content_type_of(reader.facts)
    await ctx.quota.reserve(UPLOADS)
    response = await authorised(
        ctx,
        "youtube.videos.insert",
        "POST",
        f"{ctx.config.youtube_upload_url.rstrip('/')}/upload/youtube/v3/videos",
        timeout_seconds=START_TIMEOUT_SECONDS,
        params={"uploadType": "resumable", "part": "snippet,status", "notifySubscribers": _notify(post)},
        headers={
            "content-type": "application/json; charset=UTF-8",
            "x-upload-content-length": str(reader.size_bytes),
            "x-upload-content-type": content_type,
            "slug": file_name(ctx),
        },
        json=metadata(post, scheduled_for),
    )
    if response.status != 200:
        raise await refusal(ctx, "youtube.videos.insert", response, UPLOADS)
    uri = response.headers.get("location", "")
    if not uri:
        raise Failure(
            ErrorCode.PLATFORM_ANSWER_INVALID, "videos.insert answered without an upload session", http_status=200
        )
    session = Session(
        uri,
        reader.size_bytes,
        reader.facts.etag,
        now,
        scheduled_for,
        fingerprint(post, scheduled_for),
        content_type,
        restarts,
    )
    await save_session(ctx, session)
    return session


async def save_session(ctx: StepContext, session: Session, **more: Any) -> None:
    """Journal the session under the running step."""
    await ctx.save({**session.record(), **more}, secret={"session_uri": session.uri})


@dataclass(frozen=True, slots=True)
class State:
    """What the session says. `video` once it is complete; otherwise `offset` is the first byte it lacks."""

    session: Session
    offset: int
    video: Json | None = None
    retry_after_seconds: float | None = None
    moved: bool = False  # a new session address came: it has to be saved


async def ask(ctx: StepContext, session: Session, *, timeout_seconds: float = QUERY_TIMEOUT_SECONDS) -> State:
    """Ask how much the session has. A read: safe at any time, and the same answer again after completion.

    Raises SessionGone, or Failure (also when YouTube's answer is no answer: 5xx, network).
    """
    response = await authorised(
        ctx,
        "youtube.upload.status",
        "PUT",
        session.uri,
        timeout_seconds=timeout_seconds,
        headers={"content-length": "0", "content-range": f"bytes */{session.total_bytes}"},
        content=b"",
    )
    return _state(ctx, "youtube.upload.status", session, response)


async def send(
    ctx: StepContext,
    name: str,
    session: Session,
    offset: int,
    length: int,
    content: bytes | AsyncIterator[bytes],
    *,
    timeout_seconds: float,
) -> State:
    """PUT `length` bytes from `offset`, once. On 401 nothing was taken: the token is renewed and the session asked instead."""
    headers = {
        "content-type": session.content_type,
        "content-length": str(length),
        "content-range": f"bytes {offset}-{offset + length - 1}/{session.total_bytes}",
        "authorization": f"Bearer {await ctx.access_token()}",
    }
    response = await ctx.http.call(
        name,
        "PUT",
        session.uri,
        timeout_seconds=timeout_seconds,
        headers=headers,
        content=content,
        content_length=length,
    )
    if response.status == 401:
        await ctx.access_token(fresh=True)
        return await ask(ctx, session)
    return _state(ctx, name, session, response)


async def authorised(
    ctx: StepContext,
    name: str,
    method: str,
    url: str,
    *,
    timeout_seconds: float,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    json: Any = None,
    content: bytes | None = None,
) -> ApiResponse:
    """One call with the account's token; after a 401 once more with a fresh one. Only for calls that are safe to repeat."""
    token = await ctx.access_token()
    for fresh in (False, True):
        if fresh:
            token = await ctx.access_token(fresh=True)
        response = await ctx.http.call(
            name,
            method,
            url,
            timeout_seconds=timeout_seconds,
            headers={**(headers or {}), "authorization": f"Bearer {token}"},
            params=params,
            json=json,
            content=content,
        )
        if response.status != 401 or _no_channel(response):
            break
    return response


def _no_channel(response: ApiResponse) -> bool:
    """401 youtubeSignupRequired: the token is fine, the person has no channel. A fresh token changes nothing."""
    error = response.json.get("error") if isinstance(response.json, dict) else None
    entries = error.get("errors") if isinstance(error, dict) else None
    return isinstance(entries, list) and any(
        isinstance(each, dict) and each.get("reason") == "youtubeSignupRequired" for each in entries
    )


def _state(ctx: StepContext, name: str, session: Session, response: ApiResponse) -> State:
    """Read an answer of the session: 200/201 complete, 308 incomplete, 404/410 gone, anything else a Failure."""
    if response.status in (200, 201):
        video = response.json
        if not isinstance(video, dict) or not isinstance(video.get("id"), str) or not _VIDEO_ID.fullmatch(video["id"]):
            raise Failure(
                ErrorCode.PLATFORM_ANSWER_INVALID,
                f"{name}: complete, but without a video id",
                http_status=response.status,
            )
        return State(session, session.total_bytes, video=video)
    if response.status == 308:
        moved = response.headers.get("location") or session.uri
        return State(
            replace(session, uri=moved),
            _offset(name, response, session.total_bytes),
            retry_after_seconds=retry_after_seconds(response.headers, ctx.now()),
            moved=moved != session.uri,
        )
    if response.status in (404, 410):
        raise SessionGone
    raise failure_of(name, response, ctx.now())


def _offset(name: str, response: ApiResponse, total_bytes: int) -> int:
    """First byte the session lacks. No Range header means it has nothing."""
    value = response.headers.get("range")
    if value is None:
        return 0
    match = _RANGE.fullmatch(value.strip())
    if match is None or int(match[1]) >= total_bytes:
        raise Failure(
            ErrorCode.PLATFORM_ANSWER_INVALID, f"{name}: the Range of the answer makes no sense", http_status=308
        )
    return int(match[1]) + 1


def content_type_of(facts: MediaFacts) -> str:
    """What to announce: from the container that was found, never from what a server called it."""
    names = (facts.container or "").lower().split(",")
    for container, content_type in _CONTENT_TYPES.items():
        if container in names:
            return content_type
    return facts.content_type if facts.content_type.startswith("video/") else "application/octet-stream"


def _notify(post: Post) -> str:
    return "false" if post.options.get("notify_subscribers") is False else "true"


def _rfc3339(when: datetime) -> str:
    """Whole seconds, rounded up: YouTube must not be early."""
    utc = when.astimezone(UTC)
    if utc.microsecond:
        utc = utc.replace(microsecond=0) + timedelta(seconds=1)
    return utc.strftime("%Y-%m-%dT%H:%M:%SZ")
