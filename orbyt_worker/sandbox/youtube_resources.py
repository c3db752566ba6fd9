"""Videos, channels and playlist entries as the YouTube Data API shows them."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from orbyt_worker.sandbox.youtube_model import VideoReport
from orbyt_worker.sandbox.youtube_rules import format_time

if TYPE_CHECKING:
    from orbyt_worker.sandbox.youtube import YouTube
    from orbyt_worker.sandbox.youtube_model import CaptionTrack, Channel, Video


def video_resource(youtube: YouTube, video: Video, parts: list[str]) -> dict[str, Any]:
    """The video as the API shows it, for an owner."""
    youtube.settle_video(video)
    done, status = youtube.processed(video), youtube.upload_status(video)
    every: dict[str, dict[str, Any]] = {
        "snippet": {
            **video.snippet, "publishedAt": format_time(video.public_since or video.created_at), "channelId": video.channel_id,
            "channelTitle": youtube.channels[video.channel_id].title, "categoryId": video.snippet.get("categoryId", "22"),
            "description": video.snippet.get("description", ""), "thumbnails": {}, "liveBroadcastContent": "none",
        },
        "status": {
            **{k: v for k, v in video.status.items() if k in {"selfDeclaredMadeForKids", "containsSyntheticMedia"}},
            "uploadStatus": status, "privacyStatus": video.privacy, "license": video.status.get("license", "youtube"),
            "embeddable": video.status.get("embeddable", True), "publicStatsViewable": video.status.get("publicStatsViewable", True),
            "madeForKids": video.status.get("selfDeclaredMadeForKids", False),
        },
        "contentDetails": {
            "duration": f"PT{int(video.facts.duration_seconds or 0)}S" if done else "PT0S", "dimension": "2d", "definition": "hd",
            "caption": "true" if video.captions else "false", "licensedContent": False,
        },
        "processingDetails": _processing(youtube, video),
        "fileDetails": {"fileSize": str(video.received.size_bytes), "fileType": "video", **({"fileName": video.file_name} if video.file_name else {})},
        "statistics": {"viewCount": "0", "likeCount": "0", "favoriteCount": "0", "commentCount": "0"},
        **video.extra,
    }  # fmt: skip
    if video.publish_at is not None:
        every["status"]["publishAt"] = format_time(video.publish_at)
    if status == "failed" and video.outcome == "failed":
        every["status"]["failureReason"] = video.reason or "conversion"
    if status == "rejected":
        every["status"]["rejectionReason"] = video.reason or "termsOfUse"
    shown = {part: every[part] for part in parts if part in every}
    return {"kind": "youtube#video", "etag": etag(shown), "id": video.video_id, **shown}


def _processing(youtube: YouTube, video: Video) -> dict[str, Any]:
    details: dict[str, Any] = {
        "fileDetailsAvailability": "available",
        "processingIssuesAvailability": "inProgress",
        "thumbnailsAvailability": "inProgress",
    }
    if not youtube.processed(video):
        now = youtube.sandbox.clock.now()
        whole = max(0.001, (video.processed_at - video.created_at).total_seconds())
        share = min(0.99, max(0.0, (now - video.created_at).total_seconds() / whole))
        # The total is revised half way, so the percentage falls: clients must bear it.
        total = 100 if share < 0.5 else 200
        left_ms = max(0, int((video.processed_at - now).total_seconds() * 1000))
        progress = {"partsTotal": str(total), "partsProcessed": str(int(share * 100)), "timeLeftMs": str(left_ms)}
        return {**details, "processingStatus": "processing", "processingProgress": progress}
    if video.outcome == "terminated":
        return {**details, "processingStatus": "terminated"}
    if video.outcome == "failed":
        return {**details, "processingStatus": "failed", "processingFailureReason": "transcodeFailed"}
    return {**details, "processingStatus": "succeeded", "thumbnailsAvailability": "available"}


def etag(value: Any) -> str:
    """An entity tag that changes with the value."""
    return hashlib.sha1(json.dumps(value, sort_keys=True, default=str).encode(), usedforsecurity=False).hexdigest()[:27]


def channel_resource(youtube: YouTube, channel: Channel, parts: list[str]) -> dict[str, Any]:
    """The channel as the API shows it."""
    videos = [
        v
        for v in youtube.videos.values()
        if v.channel_id == channel.channel_id and v.privacy == "public" and youtube.exists(v)
    ]
    every: dict[str, Any] = {
        "snippet": {
            "title": channel.title, "description": "", "customUrl": channel.handle, "publishedAt": format_time(channel.created_at),
            "thumbnails": {"default": {"url": f"https://yt3.ggpht.com/{channel.channel_id}=s88", "width": 88, "height": 88}},
            "localized": {"title": channel.title, "description": ""},
        },
        "contentDetails": {"relatedPlaylists": {"likes": "", "uploads": channel.uploads_playlist_id}},
        "status": {"privacyStatus": "public", "isLinked": True, "longUploadsStatus": channel.long_uploads_status, "madeForKids": False},
        "statistics": {"viewCount": "0", "subscriberCount": "0", "hiddenSubscriberCount": False, "videoCount": str(len(videos))},
        "brandingSettings": {"channel": {"title": channel.title}},
    }  # fmt: skip
    shown = {part: every[part] for part in parts if part in every}
    return {"kind": "youtube#channel", "etag": etag(shown), "id": channel.channel_id, **shown}


def item_resource(
    youtube: YouTube, video: Video, playlist_id: str, position: int, parts: list[str], *, item_id: str | None = None
) -> dict[str, Any]:
    """An entry of a playlist; those of the uploads playlist have no `item_id` of their own."""
    every: dict[str, Any] = {
        "snippet": {
            "publishedAt": format_time(video.created_at), "channelId": video.channel_id, "title": video.snippet.get("title", ""),
            "description": video.snippet.get("description", ""), "playlistId": playlist_id, "position": position, "thumbnails": {},
            "resourceId": {"kind": "youtube#video", "videoId": video.video_id},
            "channelTitle": youtube.channels[video.channel_id].title,
        },
        "contentDetails": {"videoId": video.video_id},
        "status": {"privacyStatus": video.privacy},
    }  # fmt: skip
    if video.public_since is not None:
        every["contentDetails"]["videoPublishedAt"] = format_time(video.public_since)
    shown = {part: every[part] for part in parts if part in every}
    made_id = base64.urlsafe_b64encode(f"{playlist_id}.{video.video_id}".encode()).decode().rstrip("=")
    return {"kind": "youtube#playlistItem", "etag": etag(shown), "id": item_id or made_id, **shown}


def caption_resource(video: Video, track: CaptionTrack, parts: list[str]) -> dict[str, Any]:
    """A caption track."""
    snippet: dict[str, Any] = {
        "videoId": video.video_id, "lastUpdated": format_time(track.updated_at), "trackKind": track.track_kind,
        "language": track.language, "name": track.name, "audioTrackType": "unknown", "isCC": False, "isLarge": False,
        "isEasyReader": False, "isDraft": track.is_draft, "isAutoSynced": False, "status": track.status,
    }  # fmt: skip
    if track.failure_reason is not None:
        snippet["failureReason"] = track.failure_reason
    shown = {"snippet": snippet} if "snippet" in parts else {}
    return {"kind": "youtube#caption", "etag": etag(shown), "id": track.caption_id, **shown}


def video_report(youtube: YouTube, video: Video) -> VideoReport:
    """What tests and the demo are told of a video."""
    return VideoReport(
        video_id=video.video_id, channel_id=video.channel_id, title=video.snippet.get("title", ""),
        description=video.snippet.get("description", ""), tags=list(video.snippet.get("tags", [])),
        category_id=video.snippet.get("categoryId"), privacy=video.privacy, requested_privacy=video.requested_privacy,
        publish_at=video.publish_at, public_since=video.public_since, privacy_history=list(video.privacy_history),
        created_at=video.created_at, deleted_at=video.deleted_at, upload_status=youtube.upload_status(video), reason=video.reason,
        size_bytes=video.received.size_bytes, sha256=video.received.sha256, content_type=video.content_type, file_name=video.file_name,
        boxes_complete=video.received.boxes_complete, duration_seconds=video.facts.duration_seconds, snippet=dict(video.snippet),
        status=dict(video.status), extra=dict(video.extra), notify_subscribers=video.notify_subscribers,
        thumbnail_bytes=video.thumbnail.size_bytes if video.thumbnail else None,
        thumbnail_sha256=video.thumbnail.sha256 if video.thumbnail else None, thumbnails_set=video.thumbnails_set,
        playlists=[p.playlist_id for p in youtube.playlists.values() for each in p.video_ids if each == video.video_id],
        captions=list(video.captions), updates=video.updates,
        url=f"https://www.youtube.com/watch?v={video.video_id}",
    )  # fmt: skip
