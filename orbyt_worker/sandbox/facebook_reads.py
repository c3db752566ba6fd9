"""What can be read of a Page: itself, its posts, photos, videos with their status, Reels, stories.

After Meta "Page Feed", "Video API Reference" (status), "Facebook Stories API" and the `VideoStatus*` types of facebook-business
26.0.3. The spellings in which Meta's own pages disagree can be switched.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from orbyt_worker.sandbox.facebook_model import Post, Video
from orbyt_worker.sandbox.facebook_posts import moment
from orbyt_worker.sandbox.meta_access import Call
from orbyt_worker.sandbox.meta_errors import bad_parameter
from orbyt_worker.sandbox.meta_http import Endpoint
from orbyt_worker.sandbox.meta_lists import paged
from orbyt_worker.sandbox.meta_model import MetaConfig, Page

if TYPE_CHECKING:
    from orbyt_worker.sandbox.facebook_api import Facebook

STORY_SECONDS = 86_400

_PAGE_FIELDS = {
    "id", "name", "username", "link", "category", "access_token", "tasks", "instagram_business_account", "is_published",
    "fan_count", "picture", "connected_instagram_account",
}  # fmt: skip
_POST_FIELDS = {
    "id", "message", "created_time", "updated_time", "permalink_url", "is_published", "status_type", "application", "attachments",
    "story", "scheduled_publish_time", "from", "full_picture",
}  # fmt: skip
_VIDEO_FIELDS = {
    "id", "status", "published", "post_id", "permalink_url", "created_time", "updated_time", "scheduled_publish_time", "title",
    "description", "length", "source", "thumbnails", "from",
}  # fmt: skip
_PHOTO_FIELDS = {
    "id", "page_story_id", "link", "created_time", "updated_time", "name", "alt_text_custom", "width", "height", "images", "from",
}  # fmt: skip


def read_endpoints() -> list[Endpoint]:
    """Everything that only reads."""
    return [
        Endpoint("GET", "page", "", "facebook.read.page", _page),
        Endpoint("GET", "page", "published_posts", "facebook.read.published_posts", _posts),
        Endpoint("GET", "page", "feed", "facebook.read.feed", _posts),
        Endpoint("GET", "page", "posts", "facebook.read.posts", _posts),
        Endpoint("GET", "page", "scheduled_posts", "facebook.read.scheduled_posts", _scheduled),
        Endpoint("GET", "page", "videos", "facebook.read.videos", _videos),
        Endpoint("GET", "page", "video_reels", "facebook.read.reels", _reels),
        Endpoint("GET", "page", "stories", "facebook.read.stories", _stories),
        Endpoint("GET", "post", "", "facebook.read.post", _post),
        Endpoint("GET", "photo", "", "facebook.read.photo", _photo),
        Endpoint("GET", "video", "", _video_name, _video),
    ]


def _video_name(call: Call) -> str:
    return "facebook.video.status" if "status" in (call.text("fields") or "") else "facebook.read.video"


def _readable(call: Call) -> Page:
    """The Page of the node, readable with a token that may read engagement."""
    assert call.node is not None
    assert call.node.owner is not None
    page = call.as_page(call.meta.pages[call.node.owner], write=False)
    call.require("pages_read_engagement")
    call.meta.facebook.settle()
    return page


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S+0000")


def _only(full: dict[str, Any], asked: set[str]) -> dict[str, Any]:
    """The fields asked for, without those the object has no value for: Graph leaves them out."""
    return {name: value for name, value in full.items() if name in asked and value is not None}


async def _page(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        page = call.as_page(call.meta.pages[call.node_id], write=False)
        call.require("pages_show_list")
        asked = call.asked(_PAGE_FIELDS, {"id", "name"}, "Page")
        linked = {"id": page.instagram_id} if page.instagram_id is not None else None
        full = {
            "id": page.page_id,
            "name": page.name,
            "username": page.username,
            "link": f"https://www.facebook.com/{page.page_id}",
            "category": "Brand",
            "is_published": True,
            "tasks": list(page.roles.get(call.token.user_id or "", ())),
            "instagram_business_account": linked,
            "access_token": call.token.value if call.token.kind == "PAGE" else None,
        }
        return _only(full, asked)


# --- posts --------------------------------------------------------------------------------------------------------


def _post_row(facebook: Facebook, post: Post) -> dict[str, Any]:
    meta = facebook.meta
    app = meta.app
    application = None
    if post.application_id is not None:
        name = app.name if post.application_id == app.app_id else "Another app"
        application = {"id": post.application_id, "name": name}
    status = {"text": "mobile_status_update", "link": "shared_story", "photo": "added_photos", "photos": "added_photos"}
    return {
        "id": post.post_id,
        "message": post.message,
        "created_time": _time(post.created_at),
        "updated_time": _time(post.created_at),
        "permalink_url": facebook.permalink(post),
        "is_published": post.published,
        "status_type": status.get(post.kind, "added_video"),
        "application": application,
        "attachments": _attachments(post),
        "scheduled_publish_time": int(post.publish_at.timestamp()) if post.publish_at and not post.published else None,
        "from": {"id": post.page_id, "name": meta.pages[post.page_id].name},
    }


def _attachments(post: Post) -> dict[str, Any] | None:
    """The files of a post as `attachments` shows them: one, or an album with `subattachments`."""
    photos = [{"media_type": "photo", "type": "photo", "target": {"id": photo_id}} for photo_id in post.photo_ids]
    if post.video_id is not None:
        return {"data": [{"media_type": "video", "type": "video_inline", "target": {"id": post.video_id}}]}
    if post.link is not None:
        return {"data": [{"media_type": "link", "type": "share", "unshimmed_url": post.link}]}
    if not photos:
        return None
    if len(photos) == 1:
        return {"data": photos}
    return {"data": [{"media_type": "album", "type": "album", "subattachments": {"data": photos}}]}


async def _posts(call: Call) -> dict[str, Any]:
    """Published posts, newest first; stories are no posts here."""
    with call.meta.lock:
        page = _readable(call)
        facebook = call.meta.facebook
        asked = call.asked(_POST_FIELDS, {"id", "created_time", "message"}, "PagePost")
        own = [p for p in facebook.posts.values() if p.page_id == page.page_id and p.published]
        rows = [post for post in own if post.post_id not in facebook.stories and _inside(call, post.created_at)]
        rows.sort(key=lambda post: post.created_at, reverse=True)
        return paged(call, [(post.post_id, _only(_post_row(facebook, post), asked)) for post in rows])


async def _scheduled(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        page = _readable(call)
        facebook = call.meta.facebook
        asked = call.asked(_POST_FIELDS, {"id", "created_time", "message"}, "PagePost")
        rows = [
            post
            for post in facebook.posts.values()
            if post.page_id == page.page_id and not post.published and post.publish_at is not None
        ]
        return paged(call, [(post.post_id, _only(_post_row(facebook, post), asked)) for post in rows])


def _inside(call: Call, at: datetime) -> bool:
    since, until = moment(call, "since"), moment(call, "until")
    return (since is None or at >= since.replace(microsecond=0)) and (until is None or at <= until)


async def _post(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        _readable(call)
        facebook = call.meta.facebook
        asked = call.asked(_POST_FIELDS, {"id", "created_time", "message"}, "PagePost")
        return _only(_post_row(facebook, facebook.posts[call.node_id]), asked)


async def _photo(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        _readable(call)
        photo = call.meta.facebook.photos[call.node_id]
        asked = call.asked(_PHOTO_FIELDS, {"id", "created_time"}, "Photo")
        full = {
            "id": photo.photo_id,
            "page_story_id": photo.post_id,
            "link": f"https://www.facebook.com/photo.php?fbid={photo.photo_id}",
            "created_time": _time(photo.created_at),
            "updated_time": _time(photo.created_at),
            "name": photo.caption,
            "alt_text_custom": photo.alt_text,
            "width": photo.facts.width or None,
            "height": photo.facts.height or None,
            "from": {"id": photo.page_id, "name": call.meta.pages[photo.page_id].name},
        }
        return _only(full, asked)


# --- videos -------------------------------------------------------------------------------------------------------


async def _video(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        _readable(call)
        facebook = call.meta.facebook
        video = facebook.videos[call.node_id]
        asked = call.asked(_VIDEO_FIELDS, {"id", "updated_time", "description"}, "Video")
        return _only(_video_row(facebook, video), asked)


def _video_row(facebook: Facebook, video: Video) -> dict[str, Any]:
    config, now = facebook.meta.config, facebook.meta.now()
    shown = video.posted and not _hidden(video, now)
    path = f"/reel/{video.video_id}/" if video.kind == "reel" else f"/{video.page_id}/videos/{video.video_id}/"
    link = path if config.relative_permalinks else f"https://www.facebook.com{path}"
    return {
        "id": video.video_id,
        "status": status_of(video, config, now),
        "published": shown,
        "post_id": video.post_id if shown else None,
        "permalink_url": link if video.kind != "story" else None,
        "created_time": _time(video.created_at),
        "updated_time": _time(video.finished_at or video.created_at),
        "scheduled_publish_time": int(video.scheduled_at.timestamp()) if video.scheduled_at is not None else None,
        "title": video.title,
        "description": video.description,
        "length": video.facts.duration_seconds if video.facts is not None else None,
        "from": {"id": video.page_id, "name": facebook.meta.pages[video.page_id].name},
    }


def _hidden(video: Video, now: datetime) -> bool:
    return video.hidden_until is not None and now < video.hidden_until


def status_of(video: Video, config: MetaConfig, now: datetime) -> dict[str, Any]:
    """The status object, in the spellings switched on."""
    done = config.phase_word
    processed = video.processed_at is not None and now >= video.processed_at
    failed = video.error if processed else None
    shown = video.posted and not _hidden(video, now)
    uploading: dict[str, Any] = {
        "status": done if video.uploaded else "in_progress" if video.stored.size_bytes else "not_started",
        config.bytes_word: video.stored.size_bytes,
    }
    if video.size_bytes is not None:
        uploading["source_file_size"] = video.size_bytes
    processing: dict[str, Any] = {"status": "not_started"}
    publishing: dict[str, Any] = {"status": "not_started", "publish_status": config.unpublished_word}
    if video.finished_at is not None:
        processing["status"] = done if processed else "in_progress"
        if processed and failed is None and video.state != "DRAFT":
            publishing["status"] = done if shown else "in_progress"
        if video.state == "SCHEDULED" and video.scheduled_at is not None:
            publishing |= {"publish_status": "scheduled", "publish_time": int(video.scheduled_at.timestamp())}
    if shown and video.published_at is not None:
        publishing |= {
            "status": done,
            "publish_status": "published",
            "publish_time": int(video.published_at.timestamp()),
        }
    if failed is not None:
        phase, code, message = failed
        target = processing if phase == "processing" else publishing
        error = {"code": code, "message": message}
        target["status"] = "error"
        target |= {"errors": [error]} if config.errors_shape == "list" else {"error": error}
        publishing["publish_status"] = "error"
    return {
        "video_status": _word(video, processed=processed, failed=failed is not None),
        "processing_progress": 100 if processed else 0,
        "uploading_phase": uploading,
        "processing_phase": processing,
        "publishing_phase": publishing,
        "copyright_check_status": {"status": done if processed else "in_progress", "matches_found": False},
    }


def _word(video: Video, *, processed: bool, failed: bool) -> str:
    if failed:
        return "error"
    if video.finished_at is not None:
        return "ready" if processed else "processing"
    return "upload_complete" if video.uploaded else "uploading"


async def _videos(call: Call) -> dict[str, Any]:
    """`?type=uploaded`: published feed videos."""
    return _video_list(call, {"video"})


async def _reels(call: Call) -> dict[str, Any]:
    return _video_list(call, {"reel"})


def _video_list(call: Call, kinds: set[str]) -> dict[str, Any]:
    with call.meta.lock:
        page = _readable(call)
        facebook, now = call.meta.facebook, call.meta.now()
        asked = call.asked(_VIDEO_FIELDS, {"id", "description", "updated_time"}, "Video")
        rows = [
            video
            for video in facebook.videos.values()
            if video.page_id == page.page_id
            and video.kind in kinds
            and video.posted
            and not _hidden(video, now)
            and _inside(call, video.published_at or video.created_at)
        ]
        return paged(call, [(v.video_id, _only(_video_row(facebook, v), asked)) for v in reversed(rows)])


async def _stories(call: Call) -> dict[str, Any]:
    """Rows of the last day; older ones would need the Page's story archive."""
    with call.meta.lock:
        page = _readable(call)
        facebook, now = call.meta.facebook, call.meta.now()
        if call.text("status") not in {None, "PUBLISHED", "ARCHIVED"}:
            raise bad_parameter("Param status must be one of {PUBLISHED, ARCHIVED}.")
        numeric = call.meta.config.numeric_story_ids
        rows = [
            (
                story.post_id,
                {
                    "post_id": int(story.post_id) if numeric else story.post_id,
                    "status": "PUBLISHED",
                    "creation_time": str(int(story.created_at.timestamp())),
                    "media_type": story.media_type,
                    "media_id": story.media_id,
                    "url": facebook.permalink(facebook.posts[story.post_id]),
                },
            )
            for story in reversed(facebook.stories.values())
            if story.page_id == page.page_id
            and (now - story.created_at).total_seconds() < STORY_SECONDS
            and call.text("status") != "ARCHIVED"
            and _inside(call, story.created_at)
        ]
        return paged(call, rows)
