"""What YouTube allows, as data. Every number names the page it comes from and when it was read.

The pure check that applies them is `check.py`; the pre-flight in SQL, the docs and the types are made from the same data.
"""

from __future__ import annotations

from orbyt_worker.model import ImageSpec, Kind, Post
from orbyt_worker.platforms.base import Limit, Rules, Shape

_VIDEOS = "YouTube Data API, Videos resource, https://developers.google.com/youtube/v3/docs/videos"
_INSERT = "YouTube Data API, Videos: insert, https://developers.google.com/youtube/v3/docs/videos/insert"
_RESUMABLE = "YouTube Data API, Resumable Uploads, https://developers.google.com/youtube/v3/guides/using_resumable_upload_protocol"
_QUOTA = "YouTube Data API, Quota Calculator, https://developers.google.com/youtube/v3/determine_quota_cost"
_THUMBNAIL = "YouTube Data API, Thumbnails: set, https://developers.google.com/youtube/v3/docs/thumbnails/set"
_CAPTIONS = "YouTube Data API, Captions: insert, https://developers.google.com/youtube/v3/docs/captions/insert"
_LONG = "YouTube Help, Upload videos longer than 15 minutes, https://support.google.com/youtube/answer/71673"
_SHORTS = "YouTube Help, Understand three-minute YouTube Shorts, https://support.google.com/youtube/answer/15424877"
# Wider than the page: a refusal here is final, and YouTube's own answer is not. Names are FFmpeg's.
_FORMATS = (
    "YouTube Help, Supported YouTube file formats, https://support.google.com/youtube/troubleshooter/2888402, "
    "as repeated by https://www.clrn.org/what-files-can-be-uploaded-to-youtube"
)
_READ = "2026-11"

SCOPE_UPLOAD = "https://www.googleapis.com/auth/youtube.upload"
SCOPE_READ = "https://www.googleapis.com/auth/youtube.readonly"
# Not required: only side tasks need them. Any one of the scopes will do; the first is the one to ask for.
PLAYLIST_SCOPES = (
    "https://www.googleapis.com/auth/youtube",
    "https://www.googleapis.com/auth/youtube.force-ssl",
    "https://www.googleapis.com/auth/youtubepartner",
)
CAPTIONS_SCOPES = (
    "https://www.googleapis.com/auth/youtube.force-ssl",
    "https://www.googleapis.com/auth/youtubepartner",
)

PRIVACIES = ("public", "unlisted", "private")
LICENSES = ("youtube", "creativeCommon")

CONTAINERS = (
    "3g2", "3gp", "asf", "avi", "flv", "m4v", "matroska", "mkv", "mov", "mp4", "mpeg", "mpegts", "mpg", "mxf", "ogg", "quicktime",
    "webm", "wmv",
)  # fmt: skip
VIDEO_CODECS = (
    "av1", "cfhd", "dnxhd", "dvvideo", "flv1", "h263", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2",
    "msmpeg4v3", "prores", "theora", "vc1", "vp6", "vp6f", "vp8", "vp9", "wmv1", "wmv2", "wmv3",
)  # fmt: skip

RULES = Rules(
    platform="youtube",
    title="YouTube",
    shapes={kind: Shape(1, 1, ("video",), title="required") for kind in (Kind.VIDEO, Kind.REEL)},
    limits=(
        # The page says characters; whether one outside the BMP counts once or twice is not documented: count the stricter way.
        Limit("title_utf16_units_max", 100, _VIDEOS, _READ),
        Limit("description_bytes_max", 5000, _VIDEOS, _READ),
        # Sum of the tags, one comma between two, two quotes around each tag with a space.
        Limit("tags_utf16_units_max", 500, _VIDEOS, _READ),
        Limit("video_bytes_max", 274_877_906_944, _INSERT, _READ),
        Limit("video_seconds_max", 43_200, _LONG, _READ),
        # Longer only with a verified phone number (channel status.longUploadsStatus = allowed); read at run time.
        Limit("video_unverified_seconds_max", 900, _LONG, _READ),
        # kind "reel": YouTube itself makes a Short of a square or vertical video of at most this length.
        Limit("short_seconds_max", 180, _SHORTS, _READ),
        Limit("containers", CONTAINERS, _FORMATS, "2026-11-23"),
        Limit("video_codecs", VIDEO_CODECS, _FORMATS, "2026-11-23"),
        # 50 MiB since 2026-09-14, 2 MiB before (discovery document, maxSize); the smaller one is never refused.
        Limit("thumbnail_bytes_max", 2_097_152, _THUMBNAIL, _READ),
        # Longer side. The page recommends 1280x720; Full HD (thumbnail key `fhd`) is the largest that is shown.
        Limit("thumbnail_pixels_max", 1920, _THUMBNAIL, _READ),
        # Names of Pillow for the types the call accepts.
        Limit("thumbnail_formats", ("JPEG", "PNG"), _THUMBNAIL, _READ),
        # YouTube takes 100 MiB; it is held in memory here, and the captions of 12 hours have about 2 MiB.
        Limit("captions_bytes_max", 4_194_304, _CAPTIONS, _READ),
        Limit("captions_name_utf16_units_max", 150, _CAPTIONS, _READ),
        Limit("chunk_multiple_bytes", 262_144, _RESUMABLE, _READ),
        Limit("uploads_per_day", 100, _QUOTA, _READ),
        Limit("units_per_day", 10_000, _QUOTA, _READ),
    ),
    options={
        "privacy": "enum:" + "|".join(PRIVACIES),
        "tags": "string[]",
        "category_id": "string",
        "made_for_kids": "bool",
        "synthetic_media": "bool",
        "notify_subscribers": "bool",
        "playlist_id": "string",
        "license": "enum:" + "|".join(LICENSES),
        "embeddable": "bool",
        "captions_url": "string",
        "captions_language": "string",
        "captions_name": "string",
    },
    required_scopes=(SCOPE_UPLOAD, SCOPE_READ),
)


def cover_spec(post: Post) -> ImageSpec:
    """What a cover becomes before it is sent: at most Full HD, upright for a Short."""
    width, height = RULES.limit("thumbnail_pixels_max"), RULES.limit("thumbnail_pixels_max") * 9 // 16
    if post.kind is Kind.REEL:
        width, height = height, width
    return ImageSpec(RULES.limit("thumbnail_formats"), RULES.limit("thumbnail_bytes_max"), width, height)
