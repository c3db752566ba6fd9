"""What Instagram allows, as data. Every number names the page it comes from and when it was read.

The pure check that applies them is `check.py`; the pre-flight in SQL, the docs and the types are made from the same data.
"""

from __future__ import annotations

from orbyt_worker.model import Kind
from orbyt_worker.platforms.base import Bucket, Limit, Rules, Shape, Window

_REFERENCE = "https://developers.facebook.com/docs/instagram-platform/instagram-graph-api/reference"
_MEDIA = f"Instagram Platform, IG User Media, {_REFERENCE}/ig-user/media"
_PUBLISH = f"Instagram Platform, IG User Media Publish, {_REFERENCE}/ig-user/media_publish"
_LIMIT = f"Instagram Platform, IG User Content Publishing Limit, {_REFERENCE}/ig-user/content_publishing_limit"
_CONTAINER = f"Instagram Platform, IG Container, {_REFERENCE}/ig-container"
_GUIDE = (
    "Instagram Platform, Content Publishing, https://developers.facebook.com/docs/instagram-platform/content-publishing"
)
_REFRESH = (
    "Instagram Platform, Refresh Access Token, "
    "https://developers.facebook.com/docs/instagram-platform/reference/refresh_access_token"
)
_READ = "2026-09"

# Scopes by login. The comment scopes are needed for `first_comment` only.
SCOPES_FACEBOOK = ("instagram_basic", "instagram_content_publish", "pages_read_engagement", "pages_show_list")
SCOPES_INSTAGRAM = ("instagram_business_basic", "instagram_business_content_publish")
SCOPE_COMMENTS = {"facebook": "instagram_manage_comments", "instagram": "instagram_business_manage_comments"}

CONTAINERS_PER_DAY = 400
CONTAINERS_BUCKET = "instagram_containers"

# FFmpeg's names.
VIDEO_CONTAINERS = ("mov", "mp4")
VIDEO_CODECS = ("h264", "hevc")
AUDIO_CODECS = ("aac",)

FITS = ("pad", "crop")

RULES = Rules(
    platform="instagram",
    title="Instagram",
    shapes={
        Kind.PHOTO: Shape(1, 1, ("image",)),
        Kind.CAROUSEL: Shape(2, 10, ("image", "video")),
        # A single video is a reel at Instagram, whatever it is called.
        Kind.VIDEO: Shape(1, 1, ("video",)),
        Kind.REEL: Shape(1, 1, ("video",)),
        Kind.STORY: Shape(1, 1, ("image", "video")),
    },
    limits=(
        # The page says characters; what it counts is not documented: UTF-16 units are the stricter way.
        Limit("caption_utf16_units_max", 2200, _MEDIA, _READ),
        Limit("hashtags_max", 30, _MEDIA, _READ),
        Limit("mentions_max", 20, _MEDIA, _READ),
        Limit("alt_text_utf16_units_max", 1000, _MEDIA, _READ),
        Limit("collaborators_max", 3, _MEDIA, _READ),
        Limit("user_tags_max", 20, _MEDIA, _READ),
        Limit("carousel_items_min", 2, _GUIDE, _READ),
        Limit("carousel_items_max", 10, _GUIDE, _READ),
        Limit("image_bytes_max", 8_388_608, _MEDIA, _READ),
        Limit("image_width_min", 320, _MEDIA, _READ),
        Limit("image_width_max", 1440, _MEDIA, _READ),
        # Feed and carousel images: 4:5 to 1.91:1.
        Limit("image_ratio_min", 0.8, _MEDIA, _READ),
        Limit("image_ratio_max", 1.91, _MEDIA, _READ),
        Limit("cover_bytes_max", 8_000_000, _MEDIA, _READ),
        Limit("video_bytes_max", 300_000_000, _MEDIA, _READ),
        Limit("video_seconds_min", 3, _MEDIA, _READ),
        Limit("video_seconds_max", 900, _MEDIA, _READ),
        Limit("story_video_bytes_max", 100_000_000, _MEDIA, _READ),
        Limit("story_video_seconds_max", 60, _MEDIA, _READ),
        Limit("video_width_max", 1920, _MEDIA, _READ),
        Limit("video_fps_min", 23, _MEDIA, _READ),
        Limit("video_fps_max", 60, _MEDIA, _READ),
        Limit("video_ratio_min", 0.01, _MEDIA, _READ),
        Limit("video_ratio_max", 10, _MEDIA, _READ),
        Limit("story_video_ratio_min", 0.1, _MEDIA, _READ),
        Limit("containers", VIDEO_CONTAINERS, _MEDIA, _READ),
        Limit("video_codecs", VIDEO_CODECS, _MEDIA, _READ),
        Limit("audio_codecs", AUDIO_CODECS, _MEDIA, _READ),
        Limit("containers_per_day", CONTAINERS_PER_DAY, _MEDIA, _READ),
        Limit("container_hours_max", 24, _CONTAINER, _READ),
        # Meta's pages say 100, 50 and 25. The account's own number (config.quota_total) is read before each post; this one is
        # for when it cannot be read.
        Limit("posts_per_day", 50, f"{_LIMIT}; {_PUBLISH}", _READ),
        Limit("token_refresh_hours_min", 24, _REFRESH, _READ),
    ),
    options={
        "share_to_feed": "bool",
        "collaborators": "string[]",
        "user_tags": "user_tags",
        "location_id": "string",
        "audio_name": "string",
        "first_comment": "string",
        "image_fit": "enum:" + "|".join(FITS),
    },
    required_scopes=SCOPES_FACEBOOK,
    app="meta",
)

BUCKETS = {
    CONTAINERS_BUCKET: Bucket(CONTAINERS_PER_DAY, "instagram_containers_exhausted", Window.ROLLING_DAY),
}

# Which options a kind can express. Whatever else is given is refused by name: dropped silently, it would be missed.
_FEED = frozenset({"collaborators", "user_tags", "location_id", "first_comment"})
_REEL = _FEED | {"share_to_feed", "audio_name"}
OPTIONS_BY_KIND: dict[Kind, frozenset[str]] = {
    Kind.PHOTO: _FEED | {"image_fit"},
    Kind.CAROUSEL: _FEED | {"image_fit", "share_to_feed"},
    Kind.VIDEO: _REEL,
    Kind.REEL: _REEL,
    Kind.STORY: frozenset({"user_tags", "location_id", "image_fit"}),
}
