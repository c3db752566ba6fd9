"""thumbnails.set: who may, what is taken, when it has an effect. After YouTube Data API "Thumbnails: set" and "Revision History"."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox.wire import read_body, route
from orbyt_worker.sandbox.youtube_access import enter, refuse_inactive
from orbyt_worker.sandbox.youtube_model import Thumbnail
from orbyt_worker.sandbox.youtube_resources import etag
from orbyt_worker.sandbox.youtube_rules import api_error

if TYPE_CHECKING:
    from orbyt_worker.sandbox.youtube import YouTube
    from orbyt_worker.sandbox.youtube_model import Channel, Video

THUMBNAIL_BYTES_MAX = 52_428_800
_DOMAIN = "youtube.thumbnail"
_PATH = "/youtube-upload/upload/youtube/v3/thumbnails/set"
_CONTENT_TYPES = frozenset({"image/jpeg", "image/png", "application/octet-stream"})


def thumbnail_routes(youtube: YouTube) -> list[BaseRoute]:
    """The one method."""

    async def thumbnail(request: Request) -> Response:
        data = await read_body(request, THUMBNAIL_BYTES_MAX)
        with youtube.lock:
            return _set(youtube, request, data)

    return [route(youtube.sandbox, "POST", _PATH, "youtube.thumbnails.set", thumbnail)]


def _set(youtube: YouTube, request: Request, data: bytes | None) -> Response:
    access = enter(youtube, request, {"videoId", "uploadType", "onBehalfOfContentOwner"})
    query = request.query_params
    if query.get("uploadType") != "media":
        raise api_error(400, "badRequest", "The sandbox takes uploadType=media only.", location="uploadType", location_type="parameter")  # fmt: skip
    if data is None:
        raise api_error(413, "uploadTooLarge", "The thumbnail is too large.")
    if not data:
        raise api_error(400, "mediaBodyRequired", "The request does not include the image content.", domain=_DOMAIN, location="body")  # fmt: skip
    content_type = request.headers.get("content-type", "")
    if content_type not in _CONTENT_TYPES:
        raise api_error(400, "badRequest", "Media type is not supported.", location="Content-Type", location_type="header")  # fmt: skip
    video = _video(youtube, query.get("videoId", ""))
    channel = youtube.channels[video.channel_id]
    refuse_inactive(channel)
    if video.channel_id != access.channel_id or not channel.custom_thumbnails:
        raise api_error(403, "forbidden", "The authenticated user doesnt have permissions to upload and set custom video thumbnails.", domain=_DOMAIN, location="videoId", location_type="parameter")  # fmt: skip
    kind = _kind(data)
    if kind is None or content_type not in {kind, "application/octet-stream"}:
        raise api_error(400, "invalidImage", "The provided image content is invalid.", domain=_DOMAIN, location="body")
    _charge(youtube, channel)
    video.thumbnails_set += 1
    if not youtube.is_short(video) or youtube.upload_status(video) == "processed":
        # For a Short that is still being processed the call is answered well and changes nothing.
        video.thumbnail = Thumbnail(len(data), hashlib.sha256(data).hexdigest(), kind)
    url = f"https://i.ytimg.com/vi/{video.video_id}/hqdefault.jpg"
    items = [{"default": {"url": url, "width": 120, "height": 90}, "high": {"url": url, "width": 480, "height": 360}}]
    return JSONResponse({"kind": "youtube#thumbnailSetResponse", "etag": etag(items), "items": items})


def _video(youtube: YouTube, video_id: str) -> Video:
    video, now = youtube.videos.get(video_id), youtube.sandbox.clock.now()
    delay = timedelta(seconds=youtube.config.thumbnail_delay_seconds)
    if video is None or now < video.created_at + delay or not youtube.exists(video):
        raise api_error(404, "videoNotFound", "The video that you are trying to insert a thumbnail image for cannot be found.", domain=_DOMAIN, location="videoId", location_type="parameter")  # fmt: skip
    return video


def _kind(data: bytes) -> str | None:
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/png" if data.startswith(b"\x89PNG\r\n") else None


def _charge(youtube: YouTube, channel: Channel) -> None:
    now = youtube.sandbox.clock.now()
    channel.thumbnails_at[:] = [at for at in channel.thumbnails_at if now - at < timedelta(days=1)]
    if len(channel.thumbnails_at) >= youtube.config.thumbnails_per_day:
        raise api_error(429, "uploadRateLimitExceeded", "The channel has uploaded too many thumbnails recently. Please try the request again later.", domain=_DOMAIN)  # fmt: skip
    channel.thumbnails_at.append(now)
