"""The YouTube Data API's reading and editing methods, and who may call them. After the method pages of the API reference.

Refuses what the real one refuses: missing tokens and scopes, unknown parts and parameters, owner-only parts of foreign
videos. Every call costs its units, failing ones included.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox.google_model import AccessToken
from orbyt_worker.sandbox.wire import JSON_BYTES_MAX, Handler, read_body, route
from orbyt_worker.sandbox.youtube_access import (
    check_limit_fault,
    check_query,
    identify,
    json_body,
    refuse_inactive,
    require_scope,
)
from orbyt_worker.sandbox.youtube_resources import channel_resource, etag, item_resource, video_resource
from orbyt_worker.sandbox.youtube_rules import (
    ASSIGNABLE_CATEGORIES,
    LISTED_ONLY_CATEGORIES,
    OWNER_PARTS,
    READABLE_PARTS,
    WRITABLE_PARTS,
    api_error,
    check_body,
    check_recording,
    check_snippet,
    check_status,
    invalid_publish_at,
    parse_parts,
    parse_time,
)

if TYPE_CHECKING:
    from orbyt_worker.sandbox.youtube import YouTube
    from orbyt_worker.sandbox.youtube_model import Video

IDS_MAX = 50
THUMBNAIL_BYTES_MAX = 52_428_800
_UNITS = {
    "youtube.thumbnails.set": 50, "youtube.videos.update": 50, "youtube.videos.delete": 50, "youtube.playlistItems.insert": 50,
}  # fmt: skip


def api_routes(youtube: YouTube) -> list[BaseRoute]:
    """Everything but uploads of videos."""
    endpoints = _Endpoints(youtube)
    sandbox, base = youtube.sandbox, "/youtube-api/youtube/v3"
    table: list[tuple[str, str, str, Handler]] = [
        ("GET", "/channels", "youtube.channels.list", endpoints.channels),
        ("GET", "/videos", "youtube.videos.list", endpoints.videos),
        ("POST", "/videos", "youtube.videos.insert_without_media", endpoints.insert_without_media),
        ("PUT", "/videos", "youtube.videos.update", endpoints.update),
        ("DELETE", "/videos", "youtube.videos.delete", endpoints.delete),
        ("GET", "/playlistItems", "youtube.playlistItems.list", endpoints.playlist_items),
        ("POST", "/playlistItems", "youtube.playlistItems.insert", endpoints.add_to_playlist),
        ("GET", "/playlists", "youtube.playlists.list", endpoints.playlists),
        ("GET", "/videoCategories", "youtube.videoCategories.list", endpoints.categories),
    ]
    return [
        *(route(sandbox, method, base + path, name, handler) for method, path, name, handler in table),
        route(
            sandbox,
            "POST",
            "/youtube-upload/upload/youtube/v3/thumbnails/set",
            "youtube.thumbnails.set",
            endpoints.thumbnail,
        ),
    ]


class _Endpoints:
    def __init__(self, youtube: YouTube) -> None:
        self._youtube = youtube

    def _enter(self, request: Request, allowed: set[str]) -> AccessToken:
        """Token, quota, injected limits, scope and parameters, in this order. With the lock held."""
        name = request.state.route
        access = identify(self._youtube, request)
        self._youtube.charge_units(_UNITS.get(name, 1))
        check_limit_fault(request)
        require_scope(access, name)
        check_query(request, allowed)
        self._youtube.settle()
        return access

    async def channels(self, request: Request) -> Response:
        youtube = self._youtube
        with youtube.lock:
            access = self._enter(request, {"mine", "id", "managedByMe", "forHandle", "maxResults", "pageToken", "hl"})
            query = request.query_params
            parts = parse_parts(
                query.get("part"),
                frozenset({"id", "snippet", "contentDetails", "status", "statistics", "brandingSettings"}),
            )
            filters = [name for name in ("mine", "id", "managedByMe", "forHandle") if name in query]
            if not filters:
                raise api_error(400, "missingRequiredParameter", "No filter selected.", domain="youtube.parameter", location="parameters.", location_type="other")  # fmt: skip
            if len(filters) > 1:
                raise api_error(400, "incompatibleParameters", f"Incompatible parameters specified in the request: {', '.join(filters)}", domain="youtube.parameter")  # fmt: skip
            if "managedByMe" in query:
                raise api_error(403, "forbidden", "Only for content partners.")
            own = youtube.channels.get(access.channel_id or "")
            if own is not None:
                refuse_inactive(own)
            if "mine" in query:
                found = [own] if own is not None and query["mine"] == "true" else []
            elif "id" in query:
                found = [youtube.channels[i] for i in query["id"].split(",") if i in youtube.channels]
            else:
                handle = "@" + query["forHandle"].removeprefix("@")
                found = [channel for channel in youtube.channels.values() if channel.handle == handle]
            items = [channel_resource(youtube, channel, parts) for channel in found]
        body: dict[str, Any] = {
            "kind": "youtube#channelListResponse",
            "etag": etag(items),
            "pageInfo": {"totalResults": len(items), "resultsPerPage": 5},
        }
        if items:
            # Without a channel the key is absent, not an empty list.
            body["items"] = items
        return JSONResponse(body)

    async def videos(self, request: Request) -> Response:
        youtube = self._youtube
        with youtube.lock:
            access = self._enter(
                request, {"id", "chart", "myRating", "hl", "maxResults", "pageToken", "maxWidth", "maxHeight"}
            )
            query = request.query_params
            parts = parse_parts(query.get("part"), READABLE_PARTS)
            if "id" not in query:
                raise api_error(400, "missingRequiredParameter", "No filter selected. Expected one of: id, chart, myRating", domain="youtube.parameter")  # fmt: skip
            ids = list(dict.fromkeys(video_id for video_id in query["id"].split(",") if video_id))
            if len(ids) > IDS_MAX:
                raise api_error(400, "invalidFilters", f"At most {IDS_MAX} ids.", domain="youtube.parameter", location="id", location_type="parameter")  # fmt: skip
            items = []
            for video_id in ids:
                video = youtube.videos.get(video_id)
                if video is None or not youtube.exists(video):
                    continue
                owned = video.channel_id == access.channel_id
                if not owned and video.privacy == "private":
                    continue
                if not owned and OWNER_PARTS & set(parts):
                    raise api_error(403, "forbidden", "The request is not properly authorized to access video file or processing information.", domain="youtube.video", location="part", location_type="parameter")  # fmt: skip
                items.append(video_resource(youtube, video, parts))
        return JSONResponse(
            {
                "kind": "youtube#videoListResponse", "etag": etag(items), "items": items,
                "pageInfo": {"totalResults": len(items), "resultsPerPage": len(items)},
            }
        )  # fmt: skip

    async def insert_without_media(self, request: Request) -> Response:
        await read_body(request, JSON_BYTES_MAX)
        with self._youtube.lock:
            identify(self._youtube, request)
            self._youtube.charge_upload()
        raise api_error(
            400,
            "mediaBodyRequired",
            "The request does not include the video content.",
            domain="youtube.video",
            location="body",
        )

    async def update(self, request: Request) -> Response:
        youtube = self._youtube
        raw = await read_body(request, JSON_BYTES_MAX)
        with youtube.lock:
            access = self._enter(request, {"onBehalfOfContentOwner"})
            parts = parse_parts(request.query_params.get("part"), WRITABLE_PARTS | {"id"})
            body = json_body(request, raw)
            values = check_body(body, parts, update=True)
            video = self._own_video(access, body["id"])
            if "snippet" in values:
                if not values["snippet"].get("title") or not values["snippet"].get("categoryId"):
                    raise api_error(400, "invalidVideoMetadata", "The request metadata is invalid: title and categoryId are required.", domain="youtube.video", location="body")  # fmt: skip
                check_snippet(values["snippet"])
            check_recording(values.get("recordingDetails", {}))
            if "status" in values:
                check_status(values["status"])
                self._change_status(video, values["status"])
            if "snippet" in values:
                # Fields left out of a named part are deleted.
                video.snippet = dict(values["snippet"])
            for part, given in values.items():
                if part not in {"snippet", "status"}:
                    video.extra[part] = dict(given)
            video.updates += 1
            youtube.settle_video(video)
            return JSONResponse(video_resource(youtube, video, ["id", *parts]))

    def _change_status(self, video: Video, status: dict[str, Any]) -> None:
        youtube, now = self._youtube, self._youtube.sandbox.clock.now()
        channel = youtube.channels[video.channel_id]
        privacy = status.get("privacyStatus", "public")
        if privacy in channel.forbidden_privacy:
            raise api_error(403, "forbiddenPrivacySetting", "The privacy setting is not allowed.", domain="youtube.video", location="body.status.privacyStatus")  # fmt: skip
        if status.get("license", "youtube") in channel.forbidden_licenses:
            raise api_error(403, "forbiddenLicenseSetting", "The license is not allowed.", domain="youtube.video", location="body.status.license")  # fmt: skip
        publish_at = parse_time(status["publishAt"]) if "publishAt" in status else None
        if publish_at is not None and video.public_since is not None:
            raise invalid_publish_at()
        video.status = dict(status)
        video.requested_privacy = privacy
        video.publish_at = publish_at
        youtube.set_privacy(video, channel.forced_privacy or privacy, now)
        if publish_at is not None:
            # A schedule in the past is as good as "now": it must not date the publication back before this call.
            video.publish_at = max(publish_at, now)

    async def delete(self, request: Request) -> Response:
        with self._youtube.lock:
            access = self._enter(request, {"id", "onBehalfOfContentOwner"})
            video_id = request.query_params.get("id")
            if not video_id:
                raise api_error(
                    400,
                    "missingRequiredParameter",
                    "Missing required parameter: id",
                    location="id",
                    location_type="parameter",
                )
            video = self._own_video(access, video_id)
            video.deleted_at = self._youtube.sandbox.clock.now()
        return Response(status_code=204)

    def _own_video(self, access: AccessToken, video_id: str) -> Video:
        video = self._youtube.videos.get(video_id)
        if video is None or not self._youtube.exists(video):
            raise api_error(
                404,
                "videoNotFound",
                "The video that you are trying to change cannot be found.",
                domain="youtube.video",
                location="body.id",
            )
        if video.channel_id != access.channel_id:
            raise api_error(403, "forbidden", "Forbidden", domain="youtube.video", location="body.id")
        refuse_inactive(self._youtube.channels[video.channel_id])
        return video

    async def playlist_items(self, request: Request) -> Response:
        youtube = self._youtube
        with youtube.lock:
            access = self._enter(
                request, {"playlistId", "id", "maxResults", "pageToken", "videoId", "onBehalfOfContentOwner"}
            )
            query, now = request.query_params, youtube.sandbox.clock.now()
            parts = parse_parts(query.get("part"), frozenset({"id", "snippet", "contentDetails", "status"}))
            playlist_id = query.get("playlistId")
            if not playlist_id:
                raise api_error(400, "missingRequiredParameter", "No filter selected.", domain="youtube.parameter")
            channel = next((c for c in youtube.channels.values() if c.uploads_playlist_id == playlist_id), None)
            if channel is not None:
                listed = [
                    v for v in youtube.videos.values()
                    if v.channel_id == channel.channel_id and v.deleted_at is None
                    and not (v.outcome == "vanished" and youtube.processed(v)) and (v.listed_at is None or now >= v.listed_at)
                ]  # fmt: skip
                listed.sort(key=lambda v: v.created_at, reverse=True)
            elif (playlist := youtube.playlists.get(playlist_id)) is not None:
                listed = [youtube.videos[i] for i in playlist.video_ids if youtube.videos[i].deleted_at is None]
            else:
                raise api_error(404, "playlistNotFound", "The playlist identified with the request's playlistId parameter cannot be found.", domain="youtube.playlistItem", location="playlistId", location_type="parameter")  # fmt: skip
            listed = [v for v in listed if v.channel_id == access.channel_id or v.privacy == "public"]
            start, size = _page(request)
            shown = listed[start : start + size]
            items = [item_resource(youtube, v, playlist_id, start + i, parts) for i, v in enumerate(shown)]
        body = {
            "kind": "youtube#playlistItemListResponse", "etag": etag(items), "items": items,
            "pageInfo": {"totalResults": len(listed), "resultsPerPage": size},
        }  # fmt: skip
        if start + size < len(listed):
            body["nextPageToken"] = _page_token(start + size)
        return JSONResponse(body)

    async def add_to_playlist(self, request: Request) -> Response:
        youtube = self._youtube
        raw = await read_body(request, JSON_BYTES_MAX)
        with youtube.lock:
            access = self._enter(request, {"onBehalfOfContentOwner"})
            parts = parse_parts(
                request.query_params.get("part"), frozenset({"id", "snippet", "contentDetails", "status"})
            )
            body = json_body(request, raw)
            snippet = body.get("snippet") if isinstance(body, dict) else None
            resource = snippet.get("resourceId") if isinstance(snippet, dict) else None
            if not isinstance(snippet, dict) or not isinstance(snippet.get("playlistId"), str):
                raise api_error(400, "playlistIdRequired", "The playlist id is required.", domain="youtube.playlistItem", location="body.snippet.playlistId")  # fmt: skip
            if (
                not isinstance(resource, dict)
                or resource.get("kind") != "youtube#video"
                or not isinstance(resource.get("videoId"), str)
            ):
                raise api_error(400, "resourceIdRequired", "The resource id is required.", domain="youtube.playlistItem", location="body.snippet.resourceId")  # fmt: skip
            playlist = youtube.playlists.get(snippet["playlistId"])
            if playlist is None:
                raise api_error(404, "playlistNotFound", "The playlist cannot be found.", domain="youtube.playlistItem", location="body.snippet.playlistId")  # fmt: skip
            if playlist.channel_id != access.channel_id:
                raise api_error(403, "playlistItemsNotAccessible", "Forbidden", domain="youtube.playlistItem")
            video = youtube.videos.get(resource["videoId"])
            if (
                video is None
                or not youtube.exists(video)
                or (video.privacy == "private" and video.channel_id != access.channel_id)
            ):
                raise api_error(404, "videoNotFound", "The video cannot be found.", domain="youtube.playlistItem", location="body.snippet.resourceId")  # fmt: skip
            playlist.video_ids.append(video.video_id)
            return JSONResponse(item_resource(youtube, video, playlist.playlist_id, len(playlist.video_ids) - 1, parts))

    async def playlists(self, request: Request) -> Response:
        with self._youtube.lock:
            access = self._enter(request, {"mine", "id", "channelId", "maxResults", "pageToken"})
            query = request.query_params
            parts = parse_parts(query.get("part"), frozenset({"id", "snippet", "contentDetails", "status"}))
            own = [p for p in self._youtube.playlists.values() if p.channel_id == access.channel_id]
            found = (
                own
                if query.get("mine") == "true"
                else [p for p in own if p.playlist_id in query.get("id", "").split(",")]
            )
            items = [
                {
                    "kind": "youtube#playlist", "id": p.playlist_id,
                    **({"snippet": {"title": p.title, "channelId": p.channel_id}} if "snippet" in parts else {}),
                    **({"contentDetails": {"itemCount": len(p.video_ids)}} if "contentDetails" in parts else {}),
                }
                for p in found
            ]  # fmt: skip
        return JSONResponse(
            {
                "kind": "youtube#playlistListResponse",
                "items": items,
                "pageInfo": {"totalResults": len(items), "resultsPerPage": 5},
            }
        )

    async def categories(self, request: Request) -> Response:
        with self._youtube.lock:
            self._enter(request, {"regionCode", "id", "hl"})
            parse_parts(request.query_params.get("part"), frozenset({"id", "snippet"}))
        rows = [(i, t, True) for i, t in ASSIGNABLE_CATEGORIES.items()] + [
            (i, t, False) for i, t in LISTED_ONLY_CATEGORIES.items()
        ]
        items = [
            {
                "kind": "youtube#videoCategory",
                "id": i,
                "snippet": {"title": t, "assignable": a, "channelId": "UCsandbox"},
            }
            for i, t, a in rows
        ]
        return JSONResponse({"kind": "youtube#videoCategoryListResponse", "etag": etag(items), "items": items})

    async def thumbnail(self, request: Request) -> Response:
        youtube = self._youtube
        data = await read_body(request, THUMBNAIL_BYTES_MAX)
        with youtube.lock:
            access = self._enter(request, {"videoId", "uploadType", "onBehalfOfContentOwner"})
            query, now = request.query_params, youtube.sandbox.clock.now()
            if query.get("uploadType") != "media":
                raise api_error(
                    400,
                    "badRequest",
                    "The sandbox takes uploadType=media only.",
                    location="uploadType",
                    location_type="parameter",
                )
            if data is None:
                raise api_error(413, "uploadTooLarge", "The thumbnail is too large.")
            if not data:
                raise api_error(400, "mediaBodyRequired", "The request does not include the image content.", domain="youtube.thumbnail", location="body")  # fmt: skip
            content_type = request.headers.get("content-type", "")
            if content_type not in {"image/jpeg", "image/png", "application/octet-stream"}:
                raise api_error(
                    400, "badRequest", "Media type is not supported.", location="Content-Type", location_type="header"
                )
            video = youtube.videos.get(query.get("videoId", ""))
            too_young = video is not None and now < video.created_at + timedelta(
                seconds=youtube.config.thumbnail_delay_seconds
            )
            if video is None or too_young or not youtube.exists(video):
                raise api_error(404, "videoNotFound", "The video that you are trying to insert a thumbnail image for cannot be found.", domain="youtube.thumbnail", location="videoId", location_type="parameter")  # fmt: skip
            channel = youtube.channels[video.channel_id]
            if video.channel_id != access.channel_id or not channel.custom_thumbnails:
                raise api_error(403, "forbidden", "The authenticated user doesnt have permissions to upload and set custom video thumbnails.", domain="youtube.thumbnail", location="videoId", location_type="parameter")  # fmt: skip
            kind = (
                "image/jpeg"
                if data.startswith(b"\xff\xd8\xff")
                else "image/png"
                if data.startswith(b"\x89PNG\r\n")
                else None
            )
            if kind is None or content_type not in {kind, "application/octet-stream"}:
                raise api_error(
                    400,
                    "invalidImage",
                    "The provided image content is invalid.",
                    domain="youtube.thumbnail",
                    location="body",
                )
            channel.thumbnails_at[:] = [at for at in channel.thumbnails_at if now - at < timedelta(days=1)]
            if len(channel.thumbnails_at) >= youtube.config.thumbnails_per_day:
                raise api_error(429, "uploadRateLimitExceeded", "The channel has uploaded too many thumbnails recently. Please try the request again later.", domain="youtube.thumbnail")  # fmt: skip
            channel.thumbnails_at.append(now)
            video.thumbnails_set += 1
            if not youtube.is_short(video) or youtube.upload_status(video) == "processed":
                # For a Short that is still being processed the call is answered well and changes nothing.
                video.thumbnail_bytes, video.thumbnail_type = len(data), kind
            url = f"https://i.ytimg.com/vi/{video.video_id}/hqdefault.jpg"
        items = [
            {"default": {"url": url, "width": 120, "height": 90}, "high": {"url": url, "width": 480, "height": 360}}
        ]
        return JSONResponse({"kind": "youtube#thumbnailSetResponse", "etag": etag(items), "items": items})


def _page(request: Request) -> tuple[int, int]:
    query = request.query_params
    size_text = query.get("maxResults", "5")
    if not size_text.isdecimal() or int(size_text) > 50:
        raise api_error(400, "invalidParameter", "maxResults is between 0 and 50.", domain="youtube.parameter", location="maxResults", location_type="parameter")  # fmt: skip
    token = query.get("pageToken")
    if token is None:
        return 0, int(size_text)
    if not token.startswith("EAAa") or not token[4:].isdecimal():
        raise api_error(400, "invalidPageToken", "The page token is invalid.", domain="youtube.parameter", location="pageToken", location_type="parameter")  # fmt: skip
    return int(token[4:]), int(size_text)


def _page_token(start: int) -> str:
    return f"EAAa{start}"
