"""Reads of the Graph API: a container's state, published media, the publishing limit, comments. Nothing here changes anything.

Since May 2026 reads of containers and media with a valid Page token fail for hours with 100/33 or 10 although the object
exists (gitroomhq/postiz-app#1562, geoff-maddock/events-tracker#1900): with Facebook Login every read is made with the user
token first and falls back to the Page token. Neither answer says anything about the object then.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

import structlog

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Kind, Post
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import StepContext
from orbyt_worker.platforms.graph_errors import ASK_WITH_OTHER_TOKEN
from orbyt_worker.platforms.instagram.check import clean_caption
from orbyt_worker.platforms.shape import trim

LISTED_PAGES_MAX = 2
LISTED_ROWS_MAX = 100
LISTED_PER_PAGE = "50"
# timestamp has whole seconds, and the clocks of Instagram and the database are two.
CLOCK_SKEW = timedelta(seconds=30)
TEXT_CHARACTERS_MAX = 300

# What reads of things that exist were answered with, for both tokens.
UNREADABLE = ASK_WITH_OTHER_TOKEN

_ID = re.compile(r"[0-9]{1,32}")

T = TypeVar("T")

log = structlog.get_logger(__name__)


class State(StrEnum):
    """`status_code` of a container ("IG Container" reference). UNKNOWN: none, or a word we do not know: keep polling."""

    IN_PROGRESS = "IN_PROGRESS"
    FINISHED = "FINISHED"
    PUBLISHED = "PUBLISHED"
    ERROR = "ERROR"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Container:
    """What `GET /{container}` says. `status` is text for people; only a number in it is read (graph_api)."""

    state: State
    status: str = ""
    # Of the upload: None where Instagram does not say. Errors of its phases as they came.
    bytes_transferred: int | None = None
    uploaded: bool = False
    errors: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One published post as Instagram lists it."""

    media_id: str
    permalink: str | None
    product_type: str | None
    media_type: str | None
    caption: str
    published_at: datetime | None


async def container(ctx: StepContext, container_id: str) -> Container:
    """One container. Raises Failure when it cannot be read with either token: that says nothing about it."""
    answer = await _read(ctx, "instagram.container.get", container_id, {"fields": "id,status_code,status,video_status"})
    word = answer.get("status_code")
    state = State(word) if word in set(State) - {State.UNKNOWN} else State.UNKNOWN
    if state is State.UNKNOWN:
        log.warning("instagram.status_unknown", status_code=str(word)[:40])
    video = _mapping(answer.get("video_status"))
    uploading, processing = _mapping(video.get("uploading_phase")), _mapping(video.get("processing_phase"))
    sent = uploading.get("bytes_transferred", uploading.get("bytes_transfered"))
    errors = [each for phase in (uploading, processing) for each in _mappings(phase.get("errors", phase.get("error")))]
    return Container(
        state,
        str(answer.get("status") or "")[:TEXT_CHARACTERS_MAX],
        bytes_transferred=_number(sent),
        uploaded=uploading.get("status") in ("complete", "completed"),
        errors=tuple(errors),
    )


async def limit(ctx: StepContext) -> tuple[int, int | None]:
    """(posts used in the last 24 hours, how many are allowed or None): the account's own numbers."""
    path = f"{ctx.account.platform_account_id}/content_publishing_limit"
    # Without `fields` only the usage comes.
    answer = await _read(ctx, "instagram.publishing_limit.get", path, {"fields": "quota_usage,config"})
    row = next(iter(_mappings(answer.get("data"))), {})
    return _number(row.get("quota_usage")) or 0, _number(_mapping(row.get("config")).get("quota_total"))


async def media(ctx: StepContext, media_id: str) -> Row | None:
    """One published post; None when the answer makes no sense."""
    fields = "id,permalink,media_type,media_product_type,timestamp,caption"
    return _row(await _read(ctx, "instagram.media.get", media_id, {"fields": fields}))


async def newest(ctx: StepContext, since: datetime) -> Sequence[Row]:
    """The account's posts of this kind since then. A listing may lag: what is missing in it proves nothing.

    `/media` has no stories in it; they are listed apart, for the 24 hours they live.
    """
    ig = ctx.account.platform_account_id
    fields = "id,permalink,media_type,media_product_type,timestamp"
    if ctx.post.kind is Kind.STORY:
        rows = await _pages(ctx, "instagram.stories.list", f"{ig}/stories", {"fields": fields})
    else:
        params = {"fields": f"{fields},caption", "since": str(int(since.timestamp())), "limit": LISTED_PER_PAGE}
        rows = await _pages(ctx, "instagram.media.list", f"{ig}/media", params)
    found = [row for row in map(_row, rows) if row is not None]
    return [row for row in found if row.published_at is not None and row.published_at >= since]


async def comments(ctx: StepContext, media_id: str) -> Sequence[Mapping[str, Any]]:
    """The newest comments of a post."""
    params = {"fields": "id,text,username,timestamp", "limit": LISTED_PER_PAGE}
    return await _pages(ctx, "instagram.comments.list", f"{media_id}/comments", params)


def product_type(kind: Kind) -> str:
    """What `media_product_type` reads of a post of this kind."""
    return {Kind.REEL: "REELS", Kind.VIDEO: "REELS", Kind.STORY: "STORY"}.get(kind, "FEED")


def matches(post: Post, rows: Sequence[Row], seen: Sequence[str] = ()) -> Sequence[Row]:
    """The rows that look like this post: type and text, and none that was there before (`seen`)."""
    wanted = "CAROUSEL_ALBUM" if post.kind is Kind.CAROUSEL else post.media[0].type.upper()
    return [
        row
        for row in rows
        if row.media_id not in seen
        and row.product_type in (product_type(post.kind), None)
        and row.media_type in (wanted, None)
        and (post.kind is Kind.STORY or row.caption == clean_caption(post))
    ]


async def _read(ctx: StepContext, name: str, path: str, params: Mapping[str, str]) -> dict[str, Any]:
    return await _either(ctx, lambda token: graph_api.read(ctx, name, path, params, token=token))


async def _pages(ctx: StepContext, name: str, path: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
    return await _either(
        ctx,
        lambda token: graph_api.pages(
            ctx, name, path, params, token=token, pages_max=LISTED_PAGES_MAX, rows_max=LISTED_ROWS_MAX
        ),
    )


async def _either(ctx: StepContext, ask: Callable[[str], Awaitable[T]]) -> T:
    """With the user token, and if that one may be the reason why not, with the Page token."""
    if ctx.account.login != "facebook":
        return await ask("access_token")
    try:
        return await ask("user_token")
    except Failure as first:
        if first.code not in UNREADABLE and not catalog.entry(first.code).needs_reauth:
            raise
        try:
            return await ask("access_token")
        except Failure as second:
            # The better known reason: a grant that is over, rather than an object that cannot be seen.
            ended = catalog.entry(first.code).needs_reauth and second.code is ErrorCode.META_OBJECT_UNREADABLE
            raise (first if ended else second) from None


def _row(value: Mapping[str, Any]) -> Row | None:
    media_id = object_id(value.get("id"))
    if media_id is None:
        return None
    permalink = value.get("permalink")
    return Row(
        media_id,
        permalink if isinstance(permalink, str) and permalink.startswith("https://") else None,
        _word(value.get("media_product_type")),
        _word(value.get("media_type")),
        trim(value["caption"]) if isinstance(value.get("caption"), str) else "",
        _time(value.get("timestamp")),
    )


def object_id(value: Any) -> str | None:
    """An id as text; Meta gives text, and sometimes a number."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if _ID.fullmatch(text) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    given = value if isinstance(value, list) else [value]
    return [each for each in given if isinstance(each, dict)]


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return int(value) if str(value).isdecimal() else None


def _time(value: Any) -> datetime | None:
    """`2026-11-23T12:00:00+0000`."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None
