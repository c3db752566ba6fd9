"""The YouTube Data API's reading and editing methods for channels and videos. After the method pages of the API reference.

Refuses what the real one refuses: missing tokens and scopes, unknown parts and parameters, owner-only parts of foreign
videos. Every call costs its units, failing ones included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox.google_model import AccessToken
from orbyt_worker.sandbox.wire import JSON_BYTES_MAX, Handler, read_body, route
from orbyt_worker.sandbox.youtube_access import enter, identify, json_body, refuse_inactive
from orbyt_worker.sandbox.youtube_resources import channel_resource, etag, video_resource
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


def api_routes(youtube: YouTube) -> list[BaseRoute]:
    """Everything about channels and videos but their upload."""
    endpoints = _Endpoints(youtube)
    sandbox, base = youtube.sandbox, "/youtube-api/youtube/v3"
    table: list[tuple[str, str, str, Handler]] = [
        ("GET", "/channels", "youtube.channels.list", endpoints.channels),
        ("GET", "/videos", "youtube.videos.list", endpoints.videos),
        ("POST", "/videos", "youtube.videos.insert_without_media", endpoints.insert_without_media),
        ("PUT", "/videos", "youtube.videos.update", endpoints.update),
        ("DELETE", "/videos", "youtube.videos.delete", endpoints.delete),
        ("GET", "/videoCategories", "youtube.videoCategories.list", endpoints.categories),
    ]
    return [route(sandbox, method, base + path, name, handler) for method, path, name, handler in table]


class _Endpoints:
    def __init__(self, youtube: YouTube) -> None:
        self._youtube = youtube

    async def channels(self, request: Request) -> Response:
        youtube = self._youtube
        with youtube.lock:
            access = enter(
                self._youtube, request, {"mine", "id", "managedByMe", "forHandle", "maxResults", "pageToken", "hl"}
            )
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
            access = enter(
                youtube, request, {"id", "chart", "myRating", "hl", "maxResults", "pageToken", "maxWidth", "maxHeight"}
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
            access = enter(self._youtube, request, {"onBehalfOfContentOwner"})
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
            access = enter(self._youtube, request, {"id", "onBehalfOfContentOwner"})
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

    async def categories(self, request: Request) -> Response:
        with self._youtube.lock:
            enter(self._youtube, request, {"regionCode", "id", "hl"})
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
