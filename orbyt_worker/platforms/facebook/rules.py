"""What Facebook Pages allow, as data. Every number names the page it comes from and when it was read.

The pure check that applies them is `check.py`; the pre-flight in SQL, the docs and the types are made from the same data.
A number that no page of Meta's names is marked "unconfirmed" in its source: it is wide, and Facebook's own answer decides.
"""

from __future__ import annotations

from orbyt_worker.model import ImageSpec, Kind
from orbyt_worker.platforms.base import Limit, Rules, Shape

_PHOTOS = "Graph API, Page Photos, https://developers.facebook.com/docs/graph-api/reference/page/photos/"
_FEED = "Pages API, Posts, https://developers.facebook.com/docs/pages-api/posts/"
_LIMITS = "Video API, Publishing, https://developers.facebook.com/docs/video-api/guides/publishing/"
_ERRORS = "Video API, Error codes, https://developers.facebook.com/docs/video-api/reference/error-codes/"
_REELS = "Video API, Reels Publishing API, https://developers.facebook.com/docs/video-api/guides/reels-publishing/"
_STORIES = "Pages API, Stories, https://developers.facebook.com/docs/page-stories-api/"
# Not from Meta: what tools that publish through the same calls allow.
_TEXT = (
    "unconfirmed; Upload-Post, Social Media Character Limits, https://docs.upload-post.com/resources/character-limits/"
)
_TOOLS = "unconfirmed; Ayrshare, Facebook API, https://www.ayrshare.com/docs/apis/post/social-networks/facebook"
_READ = "2026-11"

SCOPES = ("pages_show_list", "pages_read_engagement", "pages_manage_posts")

# Names are FFmpeg's. The Reels page: H.264 or H.265; VP9 and AV1 are accepted.
REEL_CODECS = ("av1", "h264", "hevc", "vp9")

# Kinds whose text goes with the post; a story shows its picture or video and nothing else.
WITH_TEXT = (Kind.TEXT, Kind.PHOTO, Kind.CAROUSEL, Kind.VIDEO, Kind.REEL)

_LISTED = (
    "no handle exists before the call: a lost answer is looked for among the page's newest posts, and only a unique match proves it;"
    " a listing that lacks it proves nothing"
)

RULES = Rules(
    platform="facebook",
    title="Facebook",
    app="meta",
    shapes={
        Kind.TEXT: Shape(0, 0),
        Kind.PHOTO: Shape(1, 1, ("image",)),
        Kind.CAROUSEL: Shape(2, 10, ("image",)),
        Kind.VIDEO: Shape(1, 1, ("video",), title="optional"),
        Kind.REEL: Shape(1, 1, ("video",), title="optional"),
        Kind.STORY: Shape(1, 1, ("image", "video")),
    },
    limits=(
        # Counted as JavaScript counts, the stricter of two ways: no page says what a character is.
        Limit("text_utf16_units_max", 63_206, _TEXT, _READ),
        Limit("title_utf16_units_max", 255, _TEXT, _READ),
        Limit("link_characters_max", 2_048, f"unconfirmed; {_FEED} names no number", _READ),
        Limit("carousel_items_max", 10, _TOOLS, _READ),
        # "10 MB": the smaller reading. Images are converted to fit (ImageSpec), so this refuses nothing.
        Limit("photo_bytes_max", 10_000_000, _PHOTOS, _READ),
        Limit("photo_formats", ("JPEG", "PNG"), _PHOTOS, _READ),
        # Longer side. The page names no number; this is far more than Facebook shows.
        Limit("photo_pixels_max", 4_096, f"unconfirmed; {_PHOTOS} names no number", _READ),
        Limit("photo_unpublished_hours_max", 24, _PHOTOS, _READ),
        Limit("video_bytes_min", 1_024, _ERRORS, _READ),
        Limit("video_bytes_max", 10_737_418_240, _LIMITS, _READ),
        Limit("video_seconds_max", 14_400, _LIMITS, _READ),
        Limit("reel_seconds_min", 3, _REELS, _READ),
        Limit("reel_seconds_max", 90, _REELS, _READ),
        Limit("story_seconds_max", 60, _STORIES, _READ),
        # 540x960: the shorter and the longer side.
        Limit("reel_short_side_min", 540, _REELS, _READ),
        Limit("reel_long_side_min", 960, _REELS, _READ),
        # Width / height, from 9:16 to 16:9 (error 1363040). One per cent of tolerance, since 1078x1920 passes.
        Limit("reel_ratio_min", 0.5625, _ERRORS, _READ),
        Limit("reel_ratio_max", 1.7778, _ERRORS, _READ),
        # 24 to 60, "fixed"; 23.976 and 59.94 are what cameras call so.
        Limit("reel_fps_min", 24, _REELS, _READ),
        Limit("reel_fps_max", 60, _REELS, _READ),
        Limit("reel_codecs", REEL_CODECS, _REELS, _READ),
        Limit("reels_per_day", 30, _REELS, _READ),
    ),
    options={"link": "string", "first_comment": "string"},
    required_scopes=SCOPES,
    unprovable={
        "text": _LISTED,
        "photo": _LISTED,
        "carousel": _LISTED,
        "story (photo)": "a lost answer is looked for among the page's stories by the photo's id; a listing that lacks it proves nothing",
    },
)


def image_spec() -> ImageSpec:
    """What a photo or a cover has to be: Facebook takes every ratio, so nothing is ever cropped or refused for it."""
    return ImageSpec(
        formats=tuple(RULES.limit("photo_formats")),
        bytes_max=RULES.limit("photo_bytes_max"),
        width_max=RULES.limit("photo_pixels_max"),
        height_max=RULES.limit("photo_pixels_max"),
    )
