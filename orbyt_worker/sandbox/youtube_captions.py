"""Caption tracks: captions.list and captions.insert. After their pages in the YouTube Data API reference and the Captions resource.

A file without times is taken and its track then fails, as the Captions resource describes (`failureReason`).
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox.google_model import AccessToken
from orbyt_worker.sandbox.wire import Refusal, read_body, route
from orbyt_worker.sandbox.youtube_access import enter, require_channel
from orbyt_worker.sandbox.youtube_model import CaptionTrack
from orbyt_worker.sandbox.youtube_resources import caption_resource, etag
from orbyt_worker.sandbox.youtube_rules import api_error, parse_parts

if TYPE_CHECKING:
    from orbyt_worker.sandbox.youtube import YouTube
    from orbyt_worker.sandbox.youtube_model import Video

CAPTIONS_BYTES_MAX = 104_857_600
NAME_CHARACTERS_MAX = 150
_DOMAIN = "youtube.caption"
_PARTS = frozenset({"id", "snippet"})
_BOUNDARY = re.compile(r'^multipart/related;\s*boundary="?([^";\s]{1,70})"?$', re.IGNORECASE)
_LANGUAGE = re.compile(r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")
_TIMES = re.compile(r"\d{1,2}:\d{2}[.,]\d{1,3}\s+-->\s+(\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}")


def caption_routes(youtube: YouTube) -> list[BaseRoute]:
    """The two methods an uploader needs."""

    async def listed(request: Request) -> Response:
        with youtube.lock:
            access = enter(youtube, request, {"videoId", "id", "onBehalfOfContentOwner"})
            parts = parse_parts(request.query_params.get("part"), _PARTS)
            if "videoId" not in request.query_params:
                raise api_error(400, "missingRequiredParameter", "Missing required parameter: videoId", location="videoId", location_type="parameter")  # fmt: skip
            video = _own_video(youtube, access, request.query_params["videoId"])
            items = [caption_resource(video, track, parts) for track in video.captions]
        return JSONResponse({"kind": "youtube#captionListResponse", "etag": etag(items), "items": items})

    async def insert(request: Request) -> Response:
        body = await read_body(request, CAPTIONS_BYTES_MAX)
        with youtube.lock:
            access = enter(youtube, request, {"uploadType", "sync", "onBehalfOfContentOwner"})
            require_channel(youtube, access)
            return _insert(youtube, access, request, body)

    return [
        route(youtube.sandbox, "GET", "/youtube-api/youtube/v3/captions", "youtube.captions.list", listed),
        route(youtube.sandbox, "POST", "/youtube-upload/upload/youtube/v3/captions", "youtube.captions.insert", insert),
    ]


def _insert(youtube: YouTube, access: AccessToken, request: Request, body: bytes | None) -> Response:
    if request.query_params.get("uploadType") != "multipart":
        raise api_error(400, "badRequest", "The sandbox takes uploadType=multipart only.", location="uploadType", location_type="parameter")  # fmt: skip
    if body is None:
        raise api_error(413, "uploadTooLarge", "The captions file is too large.")
    parts = parse_parts(request.query_params.get("part"), _PARTS)
    metadata, content = _related(request, body)
    snippet = _snippet(metadata)
    video = _own_video(youtube, access, snippet["videoId"])
    if not content.strip():
        raise api_error(400, "contentRequired", "The request does not contain the caption track contents.", domain=_DOMAIN, location="body")  # fmt: skip
    key = (snippet["language"].casefold(), snippet["name"])
    if any(track.track_kind != "ASR" and (track.language.casefold(), track.name) == key for track in video.captions):
        raise api_error(409, "captionExists", "The specified video already has a caption track with the given snippet.language and snippet.name values.", domain=_DOMAIN)  # fmt: skip
    timed = _is_timed(content)
    track = CaptionTrack(
        "AU" + secrets.token_urlsafe(24), snippet["language"], snippet["name"], youtube.sandbox.clock.now(),
        is_draft=snippet.get("isDraft", False), status="serving" if timed else "failed",
        failure_reason=None if timed else "unknownFormat", size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(),
    )  # fmt: skip
    video.captions.append(track)
    return JSONResponse(caption_resource(video, track, parts))


def _own_video(youtube: YouTube, access: AccessToken, video_id: str) -> Video:
    video = youtube.videos.get(video_id)
    if video is None or not youtube.exists(video):
        raise api_error(404, "videoNotFound", "The video identified by the videoId parameter could not be found.", domain=_DOMAIN)  # fmt: skip
    if video.channel_id != access.channel_id:
        raise api_error(403, "forbidden", "The permissions associated with the request are not sufficient to access the caption tracks.", domain=_DOMAIN)  # fmt: skip
    return video


def _related(request: Request, body: bytes) -> tuple[Any, bytes]:
    """The JSON and the file of a multipart/related body (RFC 2387), exactly these two and in this order."""
    match = _BOUNDARY.match(request.headers.get("content-type", ""))
    if match is None:
        raise api_error(400, "badRequest", "The body must be multipart/related.", location="Content-Type", location_type="header")  # fmt: skip
    delimiter = b"--" + match[1].encode()
    pieces = (b"\r\n" + body).split(b"\r\n" + delimiter)
    if len(pieces) != 4 or pieces[0] or pieces[3].rstrip(b"\r\n") != b"--":
        raise _malformed()
    (json_head, json_body), (file_head, content) = _part(pieces[1]), _part(pieces[2])
    if not json_head.lower().startswith(b"content-type: application/json") or b"content-type:" not in file_head.lower():
        raise _malformed()
    try:
        return json.loads(json_body), content
    except ValueError:
        raise api_error(400, "parseError", "Parse Error") from None


def _part(piece: bytes) -> tuple[bytes, bytes]:
    head, blank, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    if not piece.startswith(b"\r\n") or not blank:
        raise _malformed()
    return head, content


def _malformed() -> Refusal:
    return api_error(400, "badRequest", "Malformed multipart body.", location="body")


def _snippet(metadata: Any) -> dict[str, Any]:
    snippet = metadata.get("snippet") if isinstance(metadata, dict) else None
    if not isinstance(snippet, dict) or set(metadata) - {"kind", "snippet"}:
        raise api_error(400, "badRequest", "The request body must be a caption resource.", location="body")
    unknown = set(snippet) - {"videoId", "language", "name", "isDraft"}
    texts = all(isinstance(snippet.get(name), str) for name in ("videoId", "language", "name"))
    if unknown or not texts or not isinstance(snippet.get("isDraft", False), bool) or not _LANGUAGE.match(snippet["language"]):  # fmt: skip
        raise api_error(400, "invalidMetadata", "The request contains invalid metadata values, which prevent the track from being created.", domain=_DOMAIN, location="body.snippet")  # fmt: skip
    if len(snippet["name"]) > NAME_CHARACTERS_MAX:
        raise api_error(400, "nameTooLong", "The snippet.name specified in the request is too long.", domain=_DOMAIN, location="body.snippet.name")  # fmt: skip
    return snippet


def _is_timed(content: bytes) -> bool:
    try:
        return _TIMES.search(content.decode("utf-8-sig")) is not None
    except UnicodeDecodeError:
        return False
