"""Playlists and their entries. After YouTube Data API "PlaylistItems: list", "PlaylistItems: insert" and "Playlists: list".

An ordinary playlist takes the same video as often as it is told to (RobbieClarken/youtube-channel-to-playlist#1), so a client that
repeats a call after a lost answer leaves a mark. With `refuse_playlist_duplicates` it answers 409 instead, as some do.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox.google_model import AccessToken
from orbyt_worker.sandbox.wire import JSON_BYTES_MAX, Refusal, read_body, route
from orbyt_worker.sandbox.youtube_access import enter, json_body, require_channel
from orbyt_worker.sandbox.youtube_model import PlaylistItem
from orbyt_worker.sandbox.youtube_resources import etag, item_resource
from orbyt_worker.sandbox.youtube_rules import api_error, parse_parts

if TYPE_CHECKING:
    from orbyt_worker.sandbox.youtube import YouTube
    from orbyt_worker.sandbox.youtube_model import Playlist, Video

PAGE_ITEMS_MAX = 50
_PARTS = frozenset({"id", "snippet", "contentDetails", "status"})
_DOMAIN = "youtube.playlistItem"
_SETTABLE: dict[str, frozenset[str]] = {
    "snippet": frozenset({"playlistId", "resourceId", "position"}),
    "contentDetails": frozenset({"note", "startAt", "endAt"}),
}


def playlist_routes(youtube: YouTube) -> list[BaseRoute]:
    """Playlists, and what is in them."""
    endpoints, base = _Endpoints(youtube), "/youtube-api/youtube/v3"
    return [
        route(youtube.sandbox, "GET", f"{base}/playlistItems", "youtube.playlistItems.list", endpoints.items),
        route(youtube.sandbox, "POST", f"{base}/playlistItems", "youtube.playlistItems.insert", endpoints.insert),
        route(youtube.sandbox, "GET", f"{base}/playlists", "youtube.playlists.list", endpoints.playlists),
    ]


class _Endpoints:
    def __init__(self, youtube: YouTube) -> None:
        self._youtube = youtube

    async def items(self, request: Request) -> Response:
        youtube = self._youtube
        with youtube.lock:
            access = enter(
                youtube, request, {"playlistId", "id", "maxResults", "pageToken", "videoId", "onBehalfOfContentOwner"}
            )
            query = request.query_params
            parts = parse_parts(query.get("part"), _PARTS)
            playlist_id = query.get("playlistId")
            if not playlist_id:
                raise api_error(400, "missingRequiredParameter", "No filter selected.", domain="youtube.parameter")
            entries = [
                (position, item_id, video)
                for position, (item_id, video) in enumerate(self._entries(playlist_id))
                if video.channel_id == access.channel_id or video.privacy == "public"
            ]
            if "videoId" in query:
                entries = [entry for entry in entries if entry[2].video_id == query["videoId"]]
            start, size = _page(request)
            items = [
                item_resource(youtube, video, playlist_id, position, parts, item_id=item_id)
                for position, item_id, video in entries[start : start + size]
            ]
        body: dict[str, Any] = {
            "kind": "youtube#playlistItemListResponse", "etag": etag(items), "items": items,
            "pageInfo": {"totalResults": len(entries), "resultsPerPage": size},
        }  # fmt: skip
        if start + size < len(entries):
            body["nextPageToken"] = _page_token(start + size)
        return JSONResponse(body)

    def _entries(self, playlist_id: str) -> list[tuple[str | None, Video]]:
        youtube = self._youtube
        playlist = youtube.playlists.get(playlist_id)
        if playlist is not None:
            pairs = [(item.item_id, youtube.videos[item.video_id]) for item in playlist.items]
            return [(item_id, video) for item_id, video in pairs if video.deleted_at is None]
        channel = next((c for c in youtube.channels.values() if c.uploads_playlist_id == playlist_id), None)
        if channel is None:
            raise api_error(404, "playlistNotFound", "The playlist identified with the request's playlistId parameter cannot be found.", domain=_DOMAIN, location="playlistId", location_type="parameter")  # fmt: skip
        now = youtube.sandbox.clock.now()
        uploads = [
            v for v in youtube.videos.values()
            if v.channel_id == channel.channel_id and v.deleted_at is None
            and not (v.outcome == "vanished" and youtube.processed(v)) and (v.listed_at is None or now >= v.listed_at)
        ]  # fmt: skip
        return [(None, video) for video in sorted(uploads, key=lambda v: v.created_at, reverse=True)]

    async def insert(self, request: Request) -> Response:
        youtube = self._youtube
        raw = await read_body(request, JSON_BYTES_MAX)
        with youtube.lock:
            access = enter(youtube, request, {"onBehalfOfContentOwner"})
            require_channel(youtube, access)
            parts = parse_parts(request.query_params.get("part"), _PARTS)
            snippet = _snippet(json_body(request, raw), parts)
            playlist = self._playlist(access, snippet["playlistId"])
            video = self._video(access, snippet["resourceId"]["videoId"])
            if youtube.config.refuse_playlist_duplicates and video.video_id in playlist.video_ids:
                raise api_error(409, "videoAlreadyInPlaylist", "Video already in playlist.", domain=_DOMAIN)
            if len(playlist.items) >= youtube.config.playlist_items_max:
                raise api_error(403, "playlistContainsMaximumNumberOfVideos", "The playlist already contains the maximum allowed number of items.", domain=_DOMAIN)  # fmt: skip
            if "position" in snippet:
                raise _refused("manualSortRequired", "The playlist does not use manual sorting.", "position")
            item = PlaylistItem("UEx" + secrets.token_urlsafe(24), video.video_id)
            playlist.items.append(item)
            position = len(playlist.items) - 1
            return JSONResponse(
                item_resource(youtube, video, playlist.playlist_id, position, parts, item_id=item.item_id)
            )

    def _playlist(self, access: AccessToken, playlist_id: str) -> Playlist:
        youtube = self._youtube
        playlist = youtube.playlists.get(playlist_id)
        if any(channel.uploads_playlist_id == playlist_id for channel in youtube.channels.values()):
            raise _refused("playlistOperationUnsupported", "The API does not support the ability to insert videos into the specified playlist.", "playlistId")  # fmt: skip
        if playlist is None:
            raise api_error(404, "playlistNotFound", "The playlist identified with the request's playlistId parameter cannot be found.", domain=_DOMAIN, location="body.snippet.playlistId")  # fmt: skip
        if playlist.channel_id != access.channel_id:
            raise api_error(403, "playlistItemsNotAccessible", "Forbidden", domain=_DOMAIN)
        return playlist

    def _video(self, access: AccessToken, video_id: str) -> Video:
        video = self._youtube.videos.get(video_id)
        if video is None or not self._youtube.exists(video):
            raise api_error(404, "videoNotFound", "Video not found.", domain=_DOMAIN)
        if video.privacy == "private" and video.channel_id != access.channel_id:
            # As seen in tournesol-app/tournesol#1485.
            raise api_error(400, "failedPrecondition", "Precondition check failed.")
        return video

    async def playlists(self, request: Request) -> Response:
        with self._youtube.lock:
            access = enter(self._youtube, request, {"mine", "id", "channelId", "maxResults", "pageToken"})
            query = request.query_params
            parts = parse_parts(query.get("part"), _PARTS)
            own = [p for p in self._youtube.playlists.values() if p.channel_id == access.channel_id]
            mine, ids = query.get("mine") == "true", query.get("id", "").split(",")
            items = [
                {
                    "kind": "youtube#playlist", "id": p.playlist_id,
                    **({"snippet": {"title": p.title, "channelId": p.channel_id}} if "snippet" in parts else {}),
                    **({"contentDetails": {"itemCount": len(p.items)}} if "contentDetails" in parts else {}),
                }
                for p in own if mine or p.playlist_id in ids
            ]  # fmt: skip
        return JSONResponse(
            {
                "kind": "youtube#playlistListResponse",
                "items": items,
                "pageInfo": {"totalResults": len(items), "resultsPerPage": 5},
            }
        )


def _snippet(body: Any, parts: list[str]) -> dict[str, Any]:
    """The snippet of an insert: parts named, fields known, both ids there."""
    if not isinstance(body, dict):
        raise api_error(400, "badRequest", "The request body must be a JSON object.", location="body")
    for name, values in body.items():
        if name in {"kind", "etag", "id"}:
            continue
        if name not in _SETTABLE or not isinstance(values, dict) or set(values) - _SETTABLE[name]:
            raise api_error(400, "badRequest", f'Invalid JSON payload received. Unknown name at "{name}".', location=f"body.{name}")  # fmt: skip
        if name not in parts:
            raise api_error(400, "unexpectedPart", f"'{name}'", domain="youtube.part", location="part", location_type="parameter")  # fmt: skip
    snippet = body.get("snippet", {})
    if not isinstance(snippet.get("playlistId"), str) or not snippet["playlistId"]:
        raise _refused("playlistIdRequired", "The playlist id is required.", "playlistId")
    resource = snippet.get("resourceId")
    if not isinstance(resource, dict) or not isinstance(resource.get("videoId"), str):
        raise _refused("resourceIdRequired", "The resource id is required.", "resourceId")
    if resource.get("kind") != "youtube#video":
        raise _refused("invalidResourceType", "The type specified for the resource ID is not supported.", "resourceId")
    if set(resource) != {"kind", "videoId"}:
        raise api_error(400, "badRequest", "Unknown name at 'snippet.resourceId'.", location="body.snippet.resourceId")
    return dict(snippet)


def _refused(reason: str, message: str, field: str) -> Refusal:
    return api_error(400, reason, message, domain=_DOMAIN, location=f"body.snippet.{field}")


def _page(request: Request) -> tuple[int, int]:
    query = request.query_params
    size_text = query.get("maxResults", "5")
    if not size_text.isdecimal() or int(size_text) > PAGE_ITEMS_MAX:
        raise api_error(400, "invalidParameter", "maxResults is between 0 and 50.", domain="youtube.parameter", location="maxResults", location_type="parameter")  # fmt: skip
    token = query.get("pageToken")
    if token is None:
        return 0, int(size_text)
    if not token.startswith("EAAa") or not token[4:].isdecimal():
        raise api_error(400, "invalidPageToken", "The page token is invalid.", domain="youtube.parameter", location="pageToken", location_type="parameter")  # fmt: skip
    return int(token[4:]), int(size_text)


def _page_token(start: int) -> str:
    return f"EAAa{start}"
