"""Containers: what a post is made of at Instagram before anybody can see it.

One container per item; a carousel has one more, the parent, made of its finished children. A container cannot be changed,
is published at most once, lives 24 hours and then expires by itself: a lost one costs nothing but one of the 400 an account
may make in 24 hours ("IG User Media" and "IG Container" references). No read of a container names the post it became.

Images are fetched by Meta while the container is made, from an address the worker provides. Videos are sent by rupload
with Facebook Login, and fetched from an address with Instagram Login, which has no uploads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from orbyt_worker.errors import catalog
from orbyt_worker.errors.catalog import Area
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account, Kind, Post, Stage
from orbyt_worker.platforms import graph_api
from orbyt_worker.platforms.base import Json, StepContext
from orbyt_worker.platforms.instagram.check import check, clean_caption, option, tags_of, username
from orbyt_worker.platforms.instagram.read import object_id
from orbyt_worker.platforms.instagram.rules import CONTAINERS_BUCKET

# Meta fetches an image before it answers.
CREATE_TIMEOUT_SECONDS = 120.0
# Published from a younger one only; at 24 hours it is gone.
CONTAINER_AGE_MAX = timedelta(hours=23)

CAROUSEL = "carousel"
AWAIT_ITEMS = "await_containers"
AWAIT_CAROUSEL = "await_carousel"
READY = "ready"
PUBLISH = "publish"


def container_step(index: int) -> str:
    """The step that makes the container of media[index]."""
    return f"container_{index}"


def upload_step(index: int) -> str:
    """The step that sends the bytes of media[index]."""
    return f"upload_{index}"


def uploads(post: Post, account: Account) -> tuple[int, ...]:
    """Which items are sent as bytes: videos, where the login has uploads."""
    if account.login == "instagram":
        return ()
    return tuple(index for index, item in enumerate(post.media) if item.type == "video")


def hidden_steps(post: Post, account: Account) -> tuple[str, ...]:
    """Everything before `ready`, by name: what has to be done anew when the containers are gone."""
    items = [container_step(index) for index in range(len(post.media))]
    sent = [upload_step(index) for index in uploads(post, account)]
    parent = [CAROUSEL, AWAIT_CAROUSEL] if post.kind is Kind.CAROUSEL else []
    return (*items, *sent, AWAIT_ITEMS, *parent)


@dataclass(frozen=True, slots=True)
class Made:
    """A container as it is journalled. The upload address is saved as a secret."""

    container_id: str
    created_at: datetime
    upload_url: str | None = field(default=None, repr=False)

    def record(self) -> dict[str, Any]:
        return {"container": self.container_id, "created_at": self.created_at.isoformat()}


def made(journal: Mapping[str, Json], step: str) -> Made | None:
    """The container a step recorded."""
    entry = journal.get(step, {})
    if not entry.get("container") or not entry.get("created_at"):
        return None
    return Made(entry["container"], datetime.fromisoformat(entry["created_at"]), entry.get("upload_url"))


def final(journal: Mapping[str, Json], post: Post) -> Made | None:
    """The container that is to be published."""
    return made(journal, CAROUSEL if post.kind is Kind.CAROUSEL else container_step(0))


def oldest(journal: Mapping[str, Json], post: Post) -> datetime | None:
    """When the first of the containers was made: a carousel is as old as its oldest child."""
    steps = [container_step(index) for index in range(len(post.media))]
    found = [each.created_at for each in (made(journal, step) for step in steps) if each is not None]
    return min(found, default=None)


async def create_item(ctx: StepContext, index: int) -> Json:
    """Make the container of media[index]. Safe to repeat: one that was saved is kept; a lost answer costs one container."""
    recorded = made(ctx.journal, container_step(index))
    if recorded is not None:
        return recorded.record()
    for problem in check(ctx.post, ctx.facts):
        raise Failure(ErrorCode(problem.code), problem.detail, field=problem.field)
    await ctx.progress(Stage.PREPARING, index / len(ctx.post.media))
    fields = await _item_fields(ctx, index)
    try:
        return await _create(ctx, str(index), fields)
    except Failure as failure:
        raise named(failure, ctx.post, index) from None


async def create_carousel(ctx: StepContext) -> Json:
    """Make the parent of the finished children."""
    recorded = made(ctx.journal, CAROUSEL)
    if recorded is not None:
        return recorded.record()
    children = [made(ctx.journal, container_step(index)) for index in range(len(ctx.post.media))]
    ids = [each.container_id for each in children if each is not None]
    if len(ids) != len(ctx.post.media):
        raise Failure(ErrorCode.INSTAGRAM_CONTAINER_MISSING, "the journal lacks a child of the carousel")
    fields = {"media_type": "CAROUSEL", "children": ",".join(ids), **_post_fields(ctx.post)}
    return await _create(ctx, CAROUSEL, fields)


async def _create(ctx: StepContext, key: str, fields: Mapping[str, Any]) -> Json:
    # A container that replaces another one is another use of the allowance; the same try repeated is not.
    await ctx.quota.reserve(CONTAINERS_BUCKET, once=f"container-{key}-{_replaced(ctx.journal, key) or 'first'}")
    answer = await graph_api.write(
        ctx,
        "instagram.container.create",
        f"{ctx.account.platform_account_id}/media",
        fields,
        timeout_seconds=CREATE_TIMEOUT_SECONDS,
        phase=graph_api.CallPhase.CONTAINER,
    )
    container_id = object_id(answer.get("id"))
    if container_id is None:
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, "a container was made without an id", http_status=200)
    address = answer.get("uri") if "upload_type" in fields else None
    upload_url = graph_api.upload_address(ctx, address) if address is not None else None
    found = Made(container_id, ctx.now(), upload_url)
    await ctx.save(found.record(), secret={"upload_url": upload_url} if upload_url else None)
    return found.record()


def replacing(entry: Json, key: str, container_id: str) -> dict[str, Any]:
    """The entry of a step that found a container dead, before it has it forgotten."""
    return {**entry, "replaced": {**entry.get("replaced", {}), key: container_id}}


def _replaced(journal: Mapping[str, Json], key: str) -> str | None:
    """The container that stood in this place before. A later step forgets the earlier ones, so the earliest knows the newest."""
    index = int(key) if key.isdecimal() else None
    steps = ([upload_step(index)] if index is not None else []) + [AWAIT_ITEMS, AWAIT_CAROUSEL, READY]
    for step in steps:
        replaced = journal.get(step, {}).get("replaced", {})
        if found := replaced.get(key) or replaced.get("all"):
            return str(found)
    found = journal.get(PUBLISH, {}).get("container")
    return str(found) if found else None


def named(failure: Failure, post: Post, index: int) -> Failure:
    """The failure, saying which item it is about, unless it is about something larger."""
    entry = catalog.entry(failure.code)
    about_item = entry.area in (Area.INPUT, Area.MEDIA, Area.INSTAGRAM) and entry.scope is catalog.Scope.NONE
    if about_item and failure.field is None:
        failure.field = f"media[{index}]"
        if post.kind is Kind.CAROUSEL:
            failure.detail = f"item {index + 1} of {len(post.media)}: {failure.detail}"
    return failure


# What is sent ----------------------------------------------------------------------------------------------------------


async def _item_fields(ctx: StepContext, index: int) -> dict[str, Any]:
    post, item = ctx.post, ctx.post.media[index]
    fields: dict[str, Any] = {}
    if post.kind is Kind.CAROUSEL:
        fields["is_carousel_item"] = "true"
    elif post.kind is Kind.STORY:
        fields["media_type"] = "STORIES"
    if item.type == "image":
        fields["image_url"] = await ctx.address(index)
        if item.alt_text:
            fields["alt_text"] = item.alt_text
    else:
        fields.setdefault("media_type", "VIDEO" if post.kind is Kind.CAROUSEL else "REELS")
        if index in uploads(post, ctx.account):
            fields["upload_type"] = "resumable"
        else:
            fields["video_url"] = await ctx.address(index)
        cover = await ctx.cover_address(index) if post.kind in (Kind.REEL, Kind.VIDEO) else None
        if cover is not None:
            fields["cover_url"] = cover
        elif item.cover_offset_ms is not None:  # 0 is the first picture, and not "none"
            fields["thumb_offset"] = str(item.cover_offset_ms)
    if tags := tags_of(post, index):
        fields["user_tags"] = tags
    return fields if post.kind is Kind.CAROUSEL else {**fields, **_post_fields(post)}


def _post_fields(post: Post) -> dict[str, Any]:
    """What is said of the whole post: on its only container, or on the parent of a carousel, never on a child."""
    fields: dict[str, Any] = {}
    if caption := clean_caption(post):
        fields["caption"] = caption
    if collaborators := option(post, "collaborators"):
        fields["collaborators"] = [username(each) for each in collaborators]
    for name in ("location_id", "audio_name"):
        if (value := option(post, name)) is not None:
            fields[name] = value
    share = option(post, "share_to_feed")
    if post.kind in (Kind.REEL, Kind.VIDEO):
        share = share is not False
    if share is not None:
        fields["share_to_feed"] = "true" if share else "false"
    return fields
