"""Reads of the Graph API: a video's phases, the page's posts and stories, permalinks. Nothing here changes anything.

The phases of a video are read as they come, not as one page describes them: the documentation contradicts itself about
spellings ("complete" and "completed", `bytes_transfered`, one `error` or a list `errors`), and real answers differ again
(Video API, Publishing and Reels Publishing API; facebook-business `videostatus*.py`; fbsamples/reels_publishing_apis).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import StepContext

WWW = "https://www.facebook.com"
PERMALINK_CHARACTERS_MAX = 1000
LISTED_PAGES_MAX = 4
LISTED_ROWS_MAX = 100
LISTED_PER_PAGE = "25"

# The page's own token first; it is at times told that things do not exist which do (postiz-app#1562).
TOKENS = ("access_token", "user_token")

_ID = re.compile(r"[0-9]{1,32}(_[0-9]{1,32})?")
_VIDEO_FIELDS = "id,status,published,post_id,permalink_url"
_POST_FIELDS = "id,message,created_time,permalink_url,is_published,status_type,application"


@dataclass(frozen=True, slots=True)
class PhaseState:
    """One phase of a video. `status` is "" when Facebook does not say; `errors` are its own entries."""

    status: str = ""
    errors: Sequence[Mapping[str, Any]] = ()

    @property
    def complete(self) -> bool:
        return self.status == "complete"

    @property
    def failed(self) -> bool:
        return self.status == "error" or bool(self.errors)


@dataclass(frozen=True, slots=True)
class Video:
    """What `GET /{video_id}` says. `bytes_transferred` None: not said."""

    video_status: str = ""
    uploading: PhaseState = field(default_factory=PhaseState)
    bytes_transferred: int | None = None
    processing: PhaseState = field(default_factory=PhaseState)
    publishing: PhaseState = field(default_factory=PhaseState)
    publish_status: str = ""
    copyright: PhaseState = field(default_factory=PhaseState)
    post_id: str | None = None
    permalink: str | None = None

    @property
    def published(self) -> bool:
        """`publish_status` decides where it is given: a draft can be "complete" as well."""
        return self.publish_status == "published" or (not self.publish_status and self.publishing.complete)

    @property
    def untouched(self) -> bool:
        """Facebook says that nobody asked for it to be published, not merely that it is not out yet."""
        said = bool(self.publish_status or self.publishing.status)
        return (
            said
            and self.publish_status in ("", "draft", "not_published")
            and self.publishing.status in ("", "not_started")
        )

    @property
    def uploaded(self) -> bool:
        return self.uploading.complete or self.processing.status in ("in_progress", "complete") or self.published

    @property
    def dead(self) -> bool:
        """The upload can never be finished; a new one can."""
        return self.uploading.failed or self.video_status in ("expired", "upload_failed")


async def video(ctx: StepContext, video_id: str) -> Video | None:
    """One video. None when Facebook does not know it, with either token of the grant."""
    answer = await find(ctx, "facebook.video.get", video_id, _VIDEO_FIELDS)
    return None if answer is None else parse_video(answer)


async def find(ctx: StepContext, name: str, found_id: str, fields: str) -> dict[str, Any] | None:
    """One object; None when it does not exist for the page token and not for the user token either."""
    try:
        return await graph_api.read_either(ctx, name, found_id, {"fields": fields}, tokens=TOKENS)
    except Failure as failure:
        if failure.code is not ErrorCode.META_OBJECT_UNREADABLE:
            raise
    return None


def parse_video(answer: Mapping[str, Any]) -> Video:
    """Survives every documented spelling, and missing or odd parts."""
    status = _mapping(answer.get("status"))
    uploading, publishing = _mapping(status.get("uploading_phase")), _mapping(status.get("publishing_phase"))
    sent = uploading.get("bytes_transferred", uploading.get("bytes_transfered"))
    return Video(
        video_status=_word(status.get("video_status")),
        uploading=_phase(uploading),
        bytes_transferred=whole_number(sent),
        processing=_phase(_mapping(status.get("processing_phase"))),
        publishing=_phase(publishing),
        publish_status=_word(publishing.get("publish_status")),
        copyright=_phase(_mapping(status.get("copyright_check_status"))),
        post_id=object_id(answer.get("post_id")),
        permalink=absolute(answer.get("permalink_url")),
    )


def _phase(value: Mapping[str, Any]) -> PhaseState:
    found = value.get("errors", value.get("error"))
    errors = [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict) and each]
    status = _word(value.get("status"))
    return PhaseState("complete" if status == "completed" else status, tuple(errors))


async def newest_posts(ctx: StepContext) -> Sequence[Mapping[str, Any]]:
    """The page's newest published posts, at most LISTED_ROWS_MAX. What is missing in it proves nothing."""
    path = f"{ctx.account.platform_account_id}/published_posts"
    return await _listed(ctx, "facebook.posts.list", path, {"fields": _POST_FIELDS, "limit": LISTED_PER_PAGE})


async def stories(ctx: StepContext) -> Sequence[Mapping[str, Any]]:
    """The page's stories with `post_id`, `media_id` and `url`. What is missing in it proves nothing."""
    return await _listed(ctx, "facebook.stories.list", f"{ctx.account.platform_account_id}/stories", {})


async def _listed(ctx: StepContext, name: str, path: str, params: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
    return await graph_api.pages(ctx, name, path, params, pages_max=LISTED_PAGES_MAX, rows_max=LISTED_ROWS_MAX)


async def post(ctx: StepContext, post_id: str) -> Mapping[str, Any] | None:
    """One post with the fields of the listing."""
    return await find(ctx, "facebook.post.get", post_id, _POST_FIELDS)


async def story_of(ctx: StepContext, media_id: str) -> Mapping[str, Any] | None:
    """The story made from a photo or video; None when the list does not have it (yet)."""
    return next((row for row in await stories(ctx) if str(row.get("media_id")) == media_id), None)


def object_id(value: Any) -> str | None:
    """An id of Facebook's, which comes as text or as a number; None for anything else."""
    found = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return found if _ID.fullmatch(found) else None


def whole_number(value: Any) -> int | None:
    """A count or an offset, which comes as text or as a number; None for anything else."""
    found = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(found) if re.fullmatch(r"[0-9]{1,15}", found) else None


def absolute(value: Any) -> str | None:
    """A permalink; Facebook gives relative ones for videos. None for anything else than an address."""
    if not isinstance(value, str) or len(value) > PERMALINK_CHARACTERS_MAX or not value.isprintable() or " " in value:
        return None
    if value.startswith("/") and not value.startswith("//"):
        return f"{WWW}{value}"
    return value if value.startswith("https://") else None


def moment(value: Any) -> datetime | None:
    """A time of Facebook's: ISO 8601 with an offset written +0000, or Unix seconds. None for anything else."""
    seconds = whole_number(value)
    if seconds is not None:
        return datetime.fromtimestamp(seconds, UTC) if seconds < 10**11 else None
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def same_text(found: Any, wanted: str) -> bool:
    """Whether a text of Facebook's is the one that was sent: line ends and blanks at the ends of lines are not kept."""
    return _lines(found if isinstance(found, str) else "") == _lines(wanted)


def _lines(text: str) -> Sequence[str]:
    return [line.strip() for line in text.strip().replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
