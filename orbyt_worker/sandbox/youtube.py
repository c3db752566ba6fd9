"""YouTube's state: channels, videos and their lives, playlists, quota. The endpoints are in youtube_api and youtube_upload.

A video's life is computed from the sandbox clock whenever somebody looks: uploaded → processed (or what a fault asked
for), private → public at `publishAt`. So nothing runs in the background, and time can jump.
"""

from __future__ import annotations

import secrets
import string
import threading
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from starlette.routing import BaseRoute

from orbyt_worker.sandbox.faults import VIDEO_CREATED, Fault, Outcome
from orbyt_worker.sandbox.operations import operation
from orbyt_worker.sandbox.youtube_api import api_routes
from orbyt_worker.sandbox.youtube_captions import caption_routes
from orbyt_worker.sandbox.youtube_model import (
    CaptionTrack,
    Channel,
    ChannelState,
    LongUploads,
    Playlist,
    Quota,
    Video,
    VideoReport,
    YouTubeConfig,
)
from orbyt_worker.sandbox.youtube_playlists import playlist_routes
from orbyt_worker.sandbox.youtube_resources import video_report
from orbyt_worker.sandbox.youtube_rules import limit_error, parse_time
from orbyt_worker.sandbox.youtube_sessions import Received, UploadReport, Uploads
from orbyt_worker.sandbox.youtube_thumbnails import thumbnail_routes
from orbyt_worker.sandbox.youtube_upload import upload_routes

if TYPE_CHECKING:
    from orbyt_worker.sandbox.state import Sandbox

__all__ = ["Channel", "Playlist", "Quota", "Video", "VideoReport", "YouTube", "YouTubeConfig"]

PACIFIC = ZoneInfo("America/Los_Angeles")
UNVERIFIED_SECONDS_MAX = 15 * 60
VERIFIED_SECONDS_MAX = 12 * 3600
SHORT_SECONDS_MAX = 180
_ALPHABET = string.ascii_letters + string.digits + "-_"


class YouTube:
    """State and rules. Thread-safe: one lock, never held across an await."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.lock = threading.RLock()
        self.config = YouTubeConfig()
        self.channels: dict[str, Channel] = {}
        self.videos: dict[str, Video] = {}
        self.playlists: dict[str, Playlist] = {}
        self.uploads = Uploads(self)
        # Only these can change by the mere passing of time, so a look does not walk over everything.
        self._scheduled: set[str] = set()
        self._quota_day: date | None = None
        self._uploads_used = 0
        self._units_used = 0

    def routes(self) -> list[BaseRoute]:
        return [
            *api_routes(self),
            *playlist_routes(self),
            *thumbnail_routes(self),
            *caption_routes(self),
            *upload_routes(self),
        ]

    def settings_env(self, base_url: str) -> dict[str, str]:
        """The worker's settings that point at this simulator."""
        return {
            "ORBYT_YOUTUBE_URL": f"{base_url}/youtube-api",
            "ORBYT_YOUTUBE_UPLOAD_URL": f"{base_url}/youtube-upload",
        }

    def reset(self) -> None:
        """Back to an empty world."""
        with self.lock:
            self.config = YouTubeConfig()
            self.channels.clear()
            self.videos.clear()
            self._scheduled.clear()
            self.playlists.clear()
            self.uploads.reset()
            self._quota_day = None
            self._uploads_used = self._units_used = 0

    # --- the control side ---------------------------------------------------------------------------------------

    @operation()
    def create_channel(
        self,
        *,
        owner_sub: str,
        title: str = "Sandbox Channel",
        handle: str | None = None,
        channel_id: str | None = None,
        long_uploads_status: LongUploads = "allowed",
        upload_limit_per_day: int | None = None,
    ) -> Channel:
        """A channel without a grant; `google.create_account` makes both."""
        with self.lock:
            made_id = channel_id or "UC" + _random(22)
            if made_id in self.channels:
                raise ValueError("there is a channel with this id")
            channel = Channel(
                made_id, title, handle or "@sandbox" + _random(6).lower(), owner_sub, "UU" + made_id[2:], self.sandbox.clock.now(),
                long_uploads_status, upload_limit_per_day,
            )  # fmt: skip
            self.channels[made_id] = channel
            return channel

    @operation()
    def change_channel(
        self,
        channel_id: str,
        *,
        title: str | None = None,
        handle: str | None = None,
        long_uploads_status: LongUploads | None = None,
        upload_limit_per_day: int | None = None,
        custom_thumbnails: bool | None = None,
        forbidden_privacy: tuple[str, ...] | None = None,
        forbidden_licenses: tuple[str, ...] | None = None,
        forced_privacy: Literal["public", "unlisted", "private"] | None = None,
        state: ChannelState | None = None,
    ) -> Channel:
        """Change a channel; what is not named stays."""
        given = {
            name: value for name, value in locals().items() if name not in {"self", "channel_id"} and value is not None
        }
        with self.lock:
            channel = self.channels[channel_id]
            for name, value in given.items():
                setattr(channel, name, value)
            return channel

    @operation()
    def create_playlist(self, channel_id: str, title: str = "Sandbox Playlist") -> Playlist:
        """An empty playlist of a channel."""
        with self.lock:
            playlist = Playlist("PL" + _random(32), self.channels[channel_id].channel_id, title)
            self.playlists[playlist.playlist_id] = playlist
            return playlist

    @operation(reads=True)
    def list_playlists(self, channel_id: str | None = None) -> list[Playlist]:
        """Playlists (of a channel) with the videos in them."""
        with self.lock:
            return [playlist for playlist in self.playlists.values() if channel_id in (None, playlist.channel_id)]

    @operation()
    def add_caption_track(
        self,
        video_id: str,
        language: str,
        name: str = "",
        track_kind: Literal["standard", "ASR", "forced"] = "standard",
    ) -> CaptionTrack:
        """A track that somebody else made: a person in YouTube Studio, or (`ASR`) YouTube itself."""
        with self.lock:
            track = CaptionTrack("AU" + _random(30), language, name, self.sandbox.clock.now(), track_kind)
            self.videos[video_id].captions.append(track)
            return track

    @operation()
    def configure(
        self,
        *,
        processing_seconds: float | None = None,
        listing_delay_seconds: float | None = None,
        empty_items_seconds: float | None = None,
        thumbnail_delay_seconds: float | None = None,
        session_seconds: float | None = None,
        expired_session_status: Literal[404, 410] | None = None,
        session_requires_token: bool | None = None,
        uploads_per_day: int | None = None,
        units_per_day: int | None = None,
        thumbnails_per_day: int | None = None,
        playlist_items_max: int | None = None,
        refuse_playlist_duplicates: bool | None = None,
        check_content: bool | None = None,
        reject_duplicates: bool | None = None,
        spool_dir: str | None = None,
    ) -> YouTubeConfig:
        """Change switches; what is not named stays. `spool_dir`: keep received bytes there as {upload id}.bin."""
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        with self.lock:
            for name, value in given.items():
                setattr(self.config, name, value)
            return self.config

    @operation(reads=True)
    def list_videos(
        self, channel_id: str | None = None, title: str | None = None, include_deleted: bool = True
    ) -> list[VideoReport]:
        """What is published, oldest first, with everything the client said about it."""
        with self.lock:
            self.settle()
            return [
                video_report(self, video)
                for video in self.videos.values()
                if channel_id in (None, video.channel_id)
                and title in (None, video.snippet.get("title"))
                and (include_deleted or video.deleted_at is None)
            ]

    @operation(reads=True)
    def get_video(self, video_id: str) -> VideoReport:
        """One video; KeyError (404) when there is none."""
        with self.lock:
            self.settle()
            return video_report(self, self.videos[video_id])

    @operation(reads=True)
    def count(self, channel_id: str | None = None, title: str | None = None, size_bytes: int | None = None) -> int:
        """How many videos were ever created, deleted ones included."""
        return sum(1 for video in self.list_videos(channel_id, title) if size_bytes in (None, video.size_bytes))

    @operation(reads=True)
    def duplicates(self) -> list[tuple[str, str, int, int]]:
        """(channel id, title, size in bytes, count) of everything created more than once."""
        counts: dict[tuple[str, str, int], int] = {}
        for video in self.list_videos():
            key = (video.channel_id, video.title, video.size_bytes)
            counts[key] = counts.get(key, 0) + 1
        return [(*key, number) for key, number in counts.items() if number > 1]

    @operation(reads=True)
    def list_uploads(self, channel_id: str | None = None) -> list[UploadReport]:
        """Upload sessions: announced and stored bytes, state, number of requests. No session addresses."""
        with self.lock:
            self.settle()
            return self.uploads.reports(channel_id)

    @operation()
    def expire_uploads(self, channel_id: str | None = None) -> int:
        """All unfinished sessions (of a channel) are expired from now on; returns how many."""
        with self.lock:
            return self.uploads.expire(channel_id)

    @operation()
    def set_outcome(
        self, video_id: str, outcome: Outcome, reason: str | None = None, after_seconds: float = 0.0
    ) -> VideoReport:
        """Change how processing of an existing video ends, `after_seconds` from now."""
        with self.lock:
            video = self.videos[video_id]
            video.outcome, video.reason = outcome, reason
            video.processed_at = self.sandbox.clock.now() + timedelta(seconds=after_seconds)
            return video_report(self, video)

    @operation(reads=True)
    def quota(self) -> Quota:
        """Use of the daily buckets."""
        with self.lock:
            day = self._roll_quota()
            midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), PACIFIC)
            return Quota(
                day,
                self._uploads_used,
                self.config.uploads_per_day,
                self._units_used,
                self.config.units_per_day,
                midnight,
            )

    @operation()
    def set_quota_used(self, *, uploads: int | None = None, units: int | None = None) -> Quota:
        """Pretend that much was used today."""
        with self.lock:
            self._roll_quota()
            self._uploads_used = self._uploads_used if uploads is None else uploads
            self._units_used = self._units_used if units is None else units
            return self.quota()

    # --- used by the endpoints (with the lock held) ---------------------------------------------------------------

    def charge_units(self, units: int) -> None:
        """Take from the general pool; refuses with 403 quotaExceeded. Failing requests are charged too."""
        with self.lock:
            self._roll_quota()
            if self._units_used + units > self.config.units_per_day:
                raise limit_error("quota_exceeded")
            self._units_used += units

    def charge_upload(self) -> None:
        """Take one call from the bucket of uploads; refuses with 429 rateLimitExceeded "per day"."""
        with self.lock:
            self._roll_quota()
            if self._uploads_used + 1 > self.config.uploads_per_day:
                raise limit_error("uploads_per_day")
            self._uploads_used += 1

    def create_video(
        self,
        *,
        channel_id: str,
        received: Received,
        content_type: str,
        file_name: str | None,
        parts: dict[str, dict[str, Any]],
        notify_subscribers: bool,
        at: datetime,
    ) -> Video:
        """The last byte was accepted: from now on there is a video. Consumes the faults for new videos."""
        channel = self.channels[channel_id]
        status = dict(parts.get("status", {}))
        requested = status.get("privacyStatus", "public")
        video = Video(
            video_id=_random(11), channel_id=channel_id, created_at=at, received=received, content_type=content_type, file_name=file_name,
            snippet=dict(parts.get("snippet", {})), status=status,
            extra={name: value for name, value in parts.items() if name not in {"snippet", "status"}},
            notify_subscribers=notify_subscribers, privacy=channel.forced_privacy or requested, requested_privacy=requested,
            publish_at=parse_time(status["publishAt"]) if "publishAt" in status else None,
            processed_at=at + timedelta(seconds=self.config.processing_seconds),
            hidden_until=at + timedelta(seconds=self.config.empty_items_seconds),
            listed_at=at + timedelta(seconds=self.config.listing_delay_seconds),
        )  # fmt: skip
        if channel.forced_privacy is not None:
            video.publish_at = None
        self._judge(video, channel)
        self._apply_faults(video)
        video.privacy_history.append((at, video.privacy))
        video.public_since = at if video.privacy == "public" else None
        self.videos[video.video_id] = video
        self.settle_video(video)
        return video

    def settle(self) -> None:
        """Bring everything to the present time."""
        self.uploads.settle()
        for video_id in list(self._scheduled):
            self.settle_video(self.videos[video_id])

    def settle_video(self, video: Video) -> None:
        """Publish at `publishAt`."""
        now = self.sandbox.clock.now()
        if (
            video.publish_at is not None
            and video.privacy == "private"
            and now >= video.publish_at
            and video.deleted_at is None
        ):
            since = max(video.publish_at, video.privacy_history[-1][0])
            self.set_privacy(video, "public", since)
            video.publish_at = None
        if video.publish_at is None:
            self._scheduled.discard(video.video_id)
        else:
            self._scheduled.add(video.video_id)

    def set_privacy(self, video: Video, privacy: str, at: datetime) -> None:
        """Change privacy and remember when."""
        if privacy != video.privacy:
            video.privacy = privacy
            video.privacy_history.append((at, privacy))
            if privacy == "public" and video.public_since is None:
                video.public_since = at

    def processed(self, video: Video) -> bool:
        """Whether processing came to its end, whichever."""
        return video.outcome != "stuck" and self.sandbox.clock.now() >= video.processed_at

    def exists(self, video: Video) -> bool:
        """Whether reads by id find it at all."""
        now = self.sandbox.clock.now()
        if video.deleted_at is not None or (video.outcome == "vanished" and self.processed(video)):
            return False
        return video.hidden_until is None or now >= video.hidden_until

    def upload_status(self, video: Video) -> str:
        """`status.uploadStatus`."""
        if not self.processed(video):
            return "uploaded"
        return {
            "processed": "processed",
            "failed": "failed",
            "rejected": "rejected",
            "deleted": "deleted",
            "terminated": "failed",
        }.get(video.outcome, "processed")

    def is_short(self, video: Video) -> bool:
        """Square or vertical and at most three minutes."""
        facts = video.facts
        known = facts.width and facts.height and facts.duration_seconds is not None
        return bool(known) and facts.width <= facts.height and facts.duration_seconds <= SHORT_SECONDS_MAX  # type: ignore[operator]

    def _judge(self, video: Video, channel: Channel) -> None:
        seconds = video.facts.duration_seconds
        longest = VERIFIED_SECONDS_MAX if channel.long_uploads_status == "allowed" else UNVERIFIED_SECONDS_MAX
        if self.config.check_content and not video.received.looks_like_media:
            video.outcome, video.reason = "failed", "invalidFile"
        elif seconds is not None and seconds > longest:
            video.outcome, video.reason = "rejected", "length"
        elif self.config.reject_duplicates and any(
            other.channel_id == video.channel_id
            and other.received.sha256 == video.received.sha256
            and other.deleted_at is None
            for other in self.videos.values()
        ):
            video.outcome, video.reason = "rejected", "duplicate"

    def _apply_faults(self, video: Video) -> None:
        def take(kind: str) -> Fault | None:
            return self.sandbox.faults.take(VIDEO_CREATED, frozenset({kind}))

        if outcome := take("video_outcome"):
            video.outcome, video.reason = outcome.outcome, outcome.reason
            video.processed_at = video.created_at + timedelta(seconds=outcome.seconds)
        if differs := take("privacy_differs"):
            video.privacy, video.publish_at = differs.privacy, None
        if empty := take("empty_items"):
            video.hidden_until = video.created_at + timedelta(seconds=empty.seconds)
        if delay := take("listing_delay"):
            video.listed_at = video.created_at + timedelta(seconds=delay.seconds)

    def _roll_quota(self) -> date:
        day = self.sandbox.clock.now().astimezone(PACIFIC).date()
        if day != self._quota_day:
            self._quota_day, self._uploads_used, self._units_used = day, 0, 0
        return day


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
