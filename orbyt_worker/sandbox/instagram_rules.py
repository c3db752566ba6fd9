"""What Instagram accepts as parameters of POST /{ig}/media: which for which kind of post, and every limit of their values.

After Meta "IG User Media" and "Content Publishing" (read September 2026). Where a rule is documented but its code is not, the
code is 100. Stricter than the real thing on purpose: a parameter that is not listed for a kind is refused, because Instagram would
ignore some of them silently and the post would go out without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orbyt_worker.sandbox.instagram_fetch import MediaProblem, check_address
from orbyt_worker.sandbox.instagram_model import STORY_KINDS, VIDEO_KINDS, ContainerKind, InstagramConfig
from orbyt_worker.sandbox.meta_access import Call
from orbyt_worker.sandbox.meta_errors import GraphError, bad_parameter, graph_error

CAPTION_UNITS_MAX = 2_200  # of UTF-16: the stricter way to count characters
HASHTAGS_MAX = 30
MENTIONS_MAX = 20
USER_TAGS_MAX = 20
PRODUCT_TAGS_MAX = 5
SPONSORS_MAX = 2
COLLABORATORS_MAX = 3
ALT_TEXT_CHARACTERS_MAX = 1_000
CHILDREN_MIN = 2
CHILDREN_MAX = 10
_MEDIA_TYPES = frozenset({"CAROUSEL", "REELS", "STORIES", "VIDEO"})

_STRUCTURE = frozenset({"image_url", "video_url", "media_type", "upload_type", "is_carousel_item", "children"})
ACCESS = frozenset({"access_token", "appsecret_proof", "appsecret_time"})
_FACEBOOK_ONLY = frozenset({"audio_configuration", "is_paid_partnership", "branded_content_sponsor_ids"})
_PARTNER = frozenset({"is_paid_partnership", "branded_content_sponsor_ids"})
_ALLOWED: dict[ContainerKind, frozenset[str]] = {
    "image": _PARTNER | {"caption", "alt_text", "collaborators", "user_tags", "location_id", "product_tags", "is_ai_generated"},
    "reel": _PARTNER
    | {
        "caption", "cover_url", "thumb_offset", "share_to_feed", "collaborators", "user_tags", "location_id", "product_tags",
        "audio_name", "audio_configuration", "trial_params", "is_ai_generated",
    },
    "story_image": _PARTNER | {"user_tags", "location_id", "is_ai_generated"},
    "story_video": _PARTNER | {"user_tags", "location_id", "is_ai_generated", "thumb_offset"},
    "carousel_image": frozenset({"alt_text", "user_tags", "product_tags"}),
    "carousel_video": frozenset({"user_tags", "product_tags", "thumb_offset"}),
    "carousel": _PARTNER | {"caption", "share_to_feed", "collaborators", "location_id", "is_ai_generated"},
}  # fmt: skip

_USERNAME = re.compile(r"^[A-Za-z0-9._]{1,30}$")
_HASHTAG = re.compile(r"#\w+")
_MENTION = re.compile(r"(?<![\w.])@[A-Za-z0-9._]+")
_WHOLE = re.compile(r"^-?\d{1,12}$")


@dataclass(frozen=True, slots=True)
class Draft:
    """A valid request for a container. `fields` holds everything but the structure and the media."""

    kind: ContainerKind
    media_url: str | None
    cover_url: str | None
    resumable: bool
    children: tuple[str, ...]
    fields: dict[str, Any]


def parse_container(call: Call, config: InstagramConfig) -> Draft:
    """The request as a draft, or the error that Instagram answers with."""
    kind = _kind(call)
    facebook = call.token.login == "facebook"
    for name in sorted(call.fields.keys() - _STRUCTURE - ACCESS):
        if name not in _ALLOWED[kind]:
            raise bad_parameter(f"Param {name} is not allowed for this kind of media ({kind}).")
        if name in _FACEBOOK_ONLY and not facebook:
            raise bad_parameter(f"Param {name} needs Facebook Login.")
    resumable = call.text("upload_type") == "resumable"
    if resumable and not facebook:
        raise bad_parameter("Param upload_type must not be resumable: uploads need Facebook Login.")
    media_url, cover_url = call.text("image_url") or call.text("video_url"), call.text("cover_url")
    for url in (media_url, cover_url):
        if url is not None:
            try:
                check_address(url)
            except MediaProblem as problem:
                raise media_error(problem) from None
    given = call.fields.keys() & (_ALLOWED[kind] - {"cover_url"})
    fields = {name: _READERS[name](call, kind) for name in sorted(given)}
    _check_eligible(fields, config)
    children = _children(call) if kind == "carousel" else ()
    return Draft(kind, media_url, cover_url, resumable, children, fields)


def media_error(problem: MediaProblem) -> GraphError:
    """The answer for a file that is not taken."""
    return graph_error(
        problem.code, problem.text, subcode=problem.subcode, user_title="Media not accepted", user_message=problem.text
    )


def _kind(call: Call) -> ContainerKind:
    media_type, item = call.text("media_type"), call.flag("is_carousel_item", default=False)
    image, video, upload = (call.text(name) is not None for name in ("image_url", "video_url", "upload_type"))
    if media_type is not None and media_type not in _MEDIA_TYPES:
        raise bad_parameter(f"Unknown media type {media_type}.", subcode=2207023)
    if call.text("upload_type") not in {None, "resumable"}:
        raise bad_parameter("Param upload_type must be one of {resumable}.")
    if image + video + upload > 1:
        raise bad_parameter("Only one of image_url, video_url and upload_type can be given.")
    if call.text("children") is not None and media_type != "CAROUSEL":
        raise bad_parameter("Param children is for the media type CAROUSEL only.")
    if item and media_type in {"CAROUSEL", "REELS", "STORIES"}:
        raise bad_parameter(f"Media of the type {media_type} cannot be an item of a carousel.")
    if media_type == "CAROUSEL":
        if image or video or upload:
            raise bad_parameter("A carousel has children and no media of its own.")
        return "carousel"
    moving = video or upload
    if not image and not moving:
        raise bad_parameter("The parameter image_url or video_url is required.")
    if media_type == "STORIES":
        return "story_video" if moving else "story_image"
    if media_type is None:
        if not image:
            raise bad_parameter("The parameter media_type is required for videos.", subcode=2207023)
        return "carousel_image" if item else "image"
    if not moving:
        raise bad_parameter(f"Media of the type {media_type} needs video_url or upload_type.")
    if media_type == "VIDEO" and not item:
        # "Must be a reel" in the lists of open-source publishers; single videos are REELS.
        raise bad_parameter("The media type VIDEO is for items of a carousel; use REELS.", subcode=2207089)
    return "carousel_video" if media_type == "VIDEO" else "reel"


def _children(call: Call) -> tuple[str, ...]:
    value = call.text("children") or ""
    given: Any = call.structure("children") if value.startswith("[") else value.split(",")
    if not isinstance(given, list):
        raise bad_parameter("Param children must be a list of container ids.")
    ids = tuple(str(each).strip() for each in given if str(each).strip())
    if not CHILDREN_MIN <= len(ids) <= CHILDREN_MAX:
        raise bad_parameter(f"A carousel needs {CHILDREN_MIN} to {CHILDREN_MAX} items.", subcode=2207028)
    if len(set(ids)) < len(ids):
        raise bad_parameter("A carousel cannot hold the same container twice.")
    return ids


def _check_eligible(fields: dict[str, Any], config: InstagramConfig) -> None:
    if "trial_params" in fields and not config.trial_reels:
        raise bad_parameter("The account is not eligible for trial reels.", subcode=2207081)
    if fields.get("location_id") in config.locations_unknown:
        raise _no_location()


def _no_location() -> GraphError:
    return bad_parameter("INSTAGRAM_PLATFORM_API__INVALID_LOCATION_ID")


def _caption(call: Call, _kind: ContainerKind) -> str:
    text = call.fields["caption"]
    if len(text.encode("utf-16-le")) // 2 > CAPTION_UNITS_MAX:
        raise graph_error(36004, "The caption was too long.", subcode=2207010)
    if len(_HASHTAG.findall(text)) > HASHTAGS_MAX:
        raise bad_parameter(f"The caption has more than {HASHTAGS_MAX} hashtags.")
    if len(_MENTION.findall(text)) > MENTIONS_MAX:
        raise bad_parameter(f"Cannot tag more than {MENTIONS_MAX} people.", subcode=2207040)
    return text


def _alt_text(call: Call, _kind: ContainerKind) -> str:
    text = call.fields["alt_text"]
    if len(text) > ALT_TEXT_CHARACTERS_MAX:
        raise bad_parameter(f"Param alt_text has more than {ALT_TEXT_CHARACTERS_MAX} characters.")
    return text


def _collaborators(call: Call, _kind: ContainerKind) -> list[str]:
    given = call.structure("collaborators")
    if not isinstance(given, list) or not all(isinstance(n, str) and _USERNAME.match(n) for n in given):
        raise bad_parameter("Param collaborators must be a list of usernames.")
    if len(given) > COLLABORATORS_MAX:
        raise bad_parameter(f"More than {COLLABORATORS_MAX} collaborators.")
    return given


def _user_tags(call: Call, kind: ContainerKind) -> list[dict[str, Any]]:
    given = _objects(call, "user_tags", frozenset({"username", "x", "y"}))
    if len(given) > USER_TAGS_MAX:
        raise bad_parameter(f"Cannot tag more than {USER_TAGS_MAX} people.", subcode=2207040)
    for tag in given:
        if not isinstance(tag.get("username"), str) or not _USERNAME.match(tag["username"]):
            raise bad_parameter("Each of user_tags needs a username.")
        if _placed(tag, "user_tags") < 2 and kind not in VIDEO_KINDS | STORY_KINDS:
            raise bad_parameter("Each of user_tags needs x and y on an image.")
    return given


def _product_tags(call: Call, kind: ContainerKind) -> list[dict[str, Any]]:
    given = _objects(call, "product_tags", frozenset({"product_id", "x", "y"}))
    if len(given) > PRODUCT_TAGS_MAX:
        raise bad_parameter(f"More than {PRODUCT_TAGS_MAX} product tags.")
    for tag in given:
        if not str(tag.get("product_id", "")).isdecimal():
            raise bad_parameter("A product tag is invalid.", subcode=2207037)
        placed = _placed(tag, "product_tags")
        if kind in VIDEO_KINDS and placed:
            raise bad_parameter("Product tags of a video have no position.", subcode=2207035)
        if kind not in VIDEO_KINDS and placed < 2:
            raise bad_parameter("Product tags of a photo need a position.", subcode=2207036)
    return given


def _objects(call: Call, name: str, keys: frozenset[str]) -> list[dict[str, Any]]:
    given = call.structure(name)
    if not isinstance(given, list) or not all(isinstance(each, dict) and each.keys() <= keys for each in given):
        raise bad_parameter(f"Param {name} must be a list of objects with {', '.join(sorted(keys))}.")
    return given


def _placed(tag: dict[str, Any], name: str) -> int:
    """How many coordinates there are; refuses those outside of 0..1."""
    values = [tag[axis] for axis in ("x", "y") if axis in tag]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1 for v in values):
        raise bad_parameter(f"The coordinates of {name} are between 0.0 and 1.0.")
    if len(values) == 1:
        raise bad_parameter(f"Each of {name} has both x and y, or neither.")
    return len(values)


def _thumb_offset(call: Call, _kind: ContainerKind) -> int:
    value = call.fields["thumb_offset"]
    if not _WHOLE.match(value):
        raise bad_parameter("Param thumb_offset must be an integer.")
    if int(value) < 0:
        raise graph_error(1, "The thumbnail offset must be greater or equal to 0.", subcode=2207057)
    return int(value)


def _location(call: Call, _kind: ContainerKind) -> str:
    value = call.fields["location_id"]
    if not value.isdecimal():
        raise _no_location()
    return value


def _trial(call: Call, _kind: ContainerKind) -> dict[str, Any]:
    given = call.structure("trial_params")
    strategies = {"MANUAL", "SS_PERFORMANCE"}
    if not isinstance(given, dict) or given.keys() != {"graduation_strategy"} or given["graduation_strategy"] not in strategies:  # fmt: skip
        raise bad_parameter("Param trial_params must hold a graduation_strategy of MANUAL or SS_PERFORMANCE.")
    return given


def _audio(call: Call, _kind: ContainerKind) -> dict[str, Any]:
    given = call.structure("audio_configuration")
    if not isinstance(given, dict) or "audio_id" not in given:
        raise bad_parameter("Param audio_configuration must hold an audio_id.", subcode=9050)
    return given


def _sponsors(call: Call, _kind: ContainerKind) -> list[str]:
    given = call.structure("branded_content_sponsor_ids")
    if not isinstance(given, list) or len(given) > SPONSORS_MAX:
        raise bad_parameter("INSTAGRAM_PLATFORM_API__INVALID_PARAM")
    return [str(each) for each in given]


def _flag(name: str) -> Callable[[Call, ContainerKind], bool]:
    return lambda call, _kind: call.flag(name, default=False)


def _text(name: str) -> Callable[[Call, ContainerKind], str]:
    return lambda call, _kind: call.need(name)


_READERS: dict[str, Callable[[Call, ContainerKind], Any]] = {
    "caption": _caption, "alt_text": _alt_text, "collaborators": _collaborators, "user_tags": _user_tags,
    "product_tags": _product_tags, "thumb_offset": _thumb_offset, "location_id": _location, "trial_params": _trial,
    "audio_configuration": _audio, "branded_content_sponsor_ids": _sponsors,
    "audio_name": _text("audio_name"), "share_to_feed": _flag("share_to_feed"), "is_ai_generated": _flag("is_ai_generated"),
    "is_paid_partnership": _flag("is_paid_partnership"),
}  # fmt: skip
