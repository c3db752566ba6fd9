"""In which form Instagram wants the images of a post. Pure; the relay makes them so, and `check.py` refuses what it cannot."""

from __future__ import annotations

from typing import Literal

from orbyt_worker.model import ImageSpec, Kind, MediaSpec, Post
from orbyt_worker.platforms.instagram.rules import FITS, RULES

# 9:16, what a story is made to fit if the post asks for it.
STORY_RATIO = 9 / 16
# The tallest shape allowed, at the largest width.
FEED_HEIGHT_MAX = 1800
STORY_HEIGHT_MAX = 2560


def media_spec(post: Post) -> MediaSpec:
    """What the relay has to make of the files ("IG User Media" reference: JPEG, sRGB, 8 MiB, 1440 pixels wide)."""
    bytes_max, width_max = RULES.limit("image_bytes_max"), RULES.limit("image_width_max")
    given = post.options.get("image_fit")
    fit: Literal["pad", "crop"] | None = given if given in FITS else None
    if post.kind is Kind.STORY:
        # A story may have any shape; only who asks for a fit gets the whole screen filled.
        ratio = STORY_RATIO if fit else None
        images = ImageSpec(("JPEG",), bytes_max, width_max, STORY_HEIGHT_MAX, ratio, ratio, fit)
    else:
        low, high = RULES.limit("image_ratio_min"), RULES.limit("image_ratio_max")
        images = ImageSpec(("JPEG",), bytes_max, width_max, FEED_HEIGHT_MAX, low, high, fit)
    reel = post.kind in (Kind.REEL, Kind.VIDEO)
    covers = ImageSpec(("JPEG",), RULES.limit("cover_bytes_max"), width_max, STORY_HEIGHT_MAX) if reel else None
    return MediaSpec("1080p", images, covers)
