"""Upload sessions and the bytes they received; the endpoints are in youtube_upload.

Bytes are hashed as they come and not kept (only the first 4 KiB are, and the movie header while it is read).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from orbyt_worker.sandbox.mp4 import Mp4Facts, Mp4Watcher
from orbyt_worker.sandbox.wire import Refusal

if TYPE_CHECKING:
    from orbyt_worker.sandbox.youtube import YouTube
    from orbyt_worker.sandbox.youtube_model import Video

HEAD_BYTES_MAX = 4 * 1024
SESSIONS_KEPT_MAX = 20_000
_MAGIC = (b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\x00\x00\x01\xba", b"OggS", b"\x30\x26\xb2\x75")

SessionState = Literal["open", "complete", "expired", "failed"]


@dataclass(slots=True)
class Received:
    """Everything known about bytes that were not kept."""

    size_bytes: int = 0
    head: bytes = field(default=b"", repr=False)
    facts: Mp4Facts = field(default_factory=Mp4Facts)
    boxes_complete: bool = False
    _digest: Any = field(default_factory=hashlib.sha256, repr=False)
    _watcher: Mp4Watcher | None = field(default_factory=Mp4Watcher, repr=False)
    _spool: BinaryIO | None = field(default=None, repr=False)

    def store(self, data: bytes) -> None:
        self._digest.update(data)
        if self._watcher is not None:
            self._watcher.feed(data)
        self.size_bytes += len(data)
        if len(self.head) < HEAD_BYTES_MAX:
            self.head += data[: HEAD_BYTES_MAX - len(self.head)]
        if self._spool is not None:
            self._spool.write(data)

    def open_spool(self, path: Path) -> None:
        self._spool = path.open("wb")

    def close(self) -> None:
        """No more bytes: take the facts, let go of what was only needed to find them."""
        if self._watcher is not None:
            self.facts = self._watcher.facts
            self.boxes_complete = self.head[4:8] == b"ftyp" and self._watcher.complete
            self._watcher = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    @property
    def sha256(self) -> str:
        return str(self._digest.hexdigest())

    @property
    def looks_like_media(self) -> bool:
        """By its first bytes only, as a front end would judge."""
        return (
            self.head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide"}
            or self.head.startswith(_MAGIC)
            or (self.head.startswith(b"RIFF") and self.head[8:12] == b"AVI ")
            or (self.head[:1] == b"\x47" and self.head[188:189] == b"\x47")
        )


@dataclass(slots=True)
class UploadSession:
    """One session URI."""

    upload_id: str = field(repr=False)
    channel_id: str
    total_bytes: int
    content_type: str
    file_name: str | None
    part_names: list[str]
    parts: dict[str, dict[str, Any]]
    notify_subscribers: bool
    created_at: datetime
    expires_at: datetime
    received: Received = field(default_factory=Received)
    state: SessionState = "open"
    failure: Refusal | None = None
    video_id: str | None = None
    finalise_at: datetime | None = None
    turn: int = 0
    puts: int = 0
    status_queries: int = 0
    body_bytes: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class UploadReport:
    """A session without its address."""

    session: str
    channel_id: str
    title: str
    state: SessionState
    total_bytes: int
    stored_bytes: int
    body_bytes: int
    puts: int
    status_queries: int
    created_at: datetime
    expires_at: datetime
    video_id: str | None
    problems: list[str]


class Uploads:
    """All sessions. The lock is YouTube's."""

    def __init__(self, youtube: YouTube) -> None:
        self._youtube = youtube
        self.sessions: dict[str, UploadSession] = {}
        self._open: dict[str, UploadSession] = {}

    def reset(self) -> None:
        for session in self.sessions.values():
            session.received.close()
        self.sessions.clear()
        self._open.clear()

    def settle(self) -> None:
        """Create videos whose finalising was delayed and is due; let old sessions expire."""
        now = self._youtube.sandbox.clock.now()
        for session in list(self._open.values()):
            if session.state == "open" and session.finalise_at is not None and now >= session.finalise_at:
                self.complete(session, session.finalise_at)
            elif session.state == "open" and now >= session.expires_at:
                session.state = "expired"
            if session.state != "open":
                self._open.pop(session.upload_id, None)

    def expire(self, channel_id: str | None) -> int:
        hit = [s for s in self.sessions.values() if s.state == "open" and channel_id in (None, s.channel_id)]
        for session in hit:
            session.state = "expired"
        return len(hit)

    def add(self, session: UploadSession) -> None:
        self.sessions[session.upload_id] = self._open[session.upload_id] = session
        while len(self.sessions) > SESSIONS_KEPT_MAX:
            oldest = next(iter(self.sessions))
            self._open.pop(oldest, None)
            self.sessions.pop(oldest).received.close()

    def move(self, session: UploadSession) -> None:
        """Give a session a new address; the old one is unknown from now on."""
        self._open.pop(session.upload_id, None)
        del self.sessions[session.upload_id]
        session.upload_id = secrets.token_urlsafe(72)
        self.add(session)

    def complete(self, session: UploadSession, at: datetime) -> Video:
        """The video of a session whose bytes are all there; the same one however often it is asked."""
        if session.video_id is not None:
            return self._youtube.videos[session.video_id]
        session.received.close()
        video = self._youtube.create_video(
            channel_id=session.channel_id, received=session.received, content_type=session.content_type, file_name=session.file_name,
            parts=session.parts, notify_subscribers=session.notify_subscribers, at=at,
        )  # fmt: skip
        session.video_id = video.video_id
        session.state = "complete"
        return video

    def reports(self, channel_id: str | None) -> list[UploadReport]:
        return [
            UploadReport(
                hashlib.sha256(s.upload_id.encode()).hexdigest()[:16], s.channel_id, s.parts.get("snippet", {}).get("title", ""), s.state,
                s.total_bytes, s.received.size_bytes, s.body_bytes, s.puts, s.status_queries, s.created_at, s.expires_at, s.video_id,
                list(s.problems),
            )
            for s in self.sessions.values()
            if channel_id in (None, s.channel_id)
        ]  # fmt: skip
