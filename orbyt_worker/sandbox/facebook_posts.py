"""Text, links, photos, photo stories and comments on a Page.

After Meta "Page Feed", "Page Photos", "Facebook Stories API" and "Object Comments" (v26.0). Codes where Meta documents none
(most of `attached_media`) are conventions of this simulator: clients must not depend on them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orbyt_worker.sandbox.facebook_model import Comment, Photo, Post, Story
from orbyt_worker.sandbox.meta_access import Call
from orbyt_worker.sandbox.meta_errors import bad_parameter, graph_error, unreadable
from orbyt_worker.sandbox.meta_http import Endpoint
from orbyt_worker.sandbox.meta_media import FetchFailed, ImageFacts, StoredBytes, fetch, image_facts

if TYPE_CHECKING:
    from orbyt_worker.sandbox.facebook_api import Facebook

MESSAGE_CHARACTERS_MAX = 63_206
PHOTO_BYTES_MAX = 10 * 1024 * 1024
PHOTO_KINDS = frozenset({"JPEG", "BMP", "PNG", "GIF", "TIFF"})
PHOTO_LIFE = timedelta(hours=24)
SOONEST = timedelta(minutes=10)
LATEST_POST = timedelta(days=30)
POSTING = ("pages_manage_posts", "pages_read_engagement", "pages_show_list")


def post_endpoints() -> list[Endpoint]:
    """Everything that is no video."""
    return [
        Endpoint("POST", "page", "feed", "facebook.feed", _feed),
        Endpoint("POST", "page", "photos", "facebook.photos", _photos),
        Endpoint("POST", "page", "photo_stories", "facebook.photo_stories", _photo_stories),
        Endpoint("POST", "post", "comments", "facebook.comments", _comment),
        Endpoint("POST", "photo", "comments", "facebook.comments", _comment),
        Endpoint("POST", "video", "comments", "facebook.comments", _comment),
        Endpoint("GET", "post", "comments", "facebook.read.comments", _list_comments),
        Endpoint("GET", "photo", "comments", "facebook.read.comments", _list_comments),
        Endpoint("GET", "video", "comments", "facebook.read.comments", _list_comments),
        Endpoint("DELETE", "post", "", "facebook.delete", _delete),
    ]


def moment(call: Call, name: str) -> datetime | None:
    """A time as Unix seconds or ISO 8601, or code 100."""
    value = call.text(name)
    if value is None:
        return None
    try:
        if value.isdecimal():
            return datetime.fromtimestamp(int(value), UTC)
        at = datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError):
        raise bad_parameter(f"Param {name} must be a valid time.") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def schedule(call: Call, *, published: bool, latest: timedelta) -> datetime | None:
    """`scheduled_publish_time` with its rules: `published=false`, and inside the window."""
    at = moment(call, "scheduled_publish_time")
    if at is None:
        return None
    if published:
        raise bad_parameter("You cannot specify a scheduled publish time on a published post")
    now = call.meta.now()
    if not now + SOONEST <= at <= now + latest:
        raise bad_parameter("The specified scheduled publish time is invalid.")
    return at


# --- feed ---------------------------------------------------------------------------------------------------------


async def _feed(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        page = call.page(write=True)
        call.require(*POSTING)
        facebook = call.meta.facebook
        facebook.settle()
        message, link = call.text("message"), call.text("link")
        photos = _attached(call, facebook, page.page_id)
        if message is None and link is None and not photos:
            raise bad_parameter("Missing message or attachment")
        if message is not None and len(message) > MESSAGE_CHARACTERS_MAX:
            raise bad_parameter("The message is too long.")
        if link is not None:
            _check_link(link)
        published = call.flag("published", default=True)
        publish_at = schedule(call, published=published, latest=LATEST_POST)
        if publish_at is not None and photos:
            if call.text("unpublished_content_type") != "SCHEDULED":
                raise bad_parameter("A scheduled post with photos needs unpublished_content_type SCHEDULED.")
            if not all(photo.temporary for photo in photos):
                raise bad_parameter("Photos of a scheduled post must be uploaded with temporary=true.")
        if published and not photos:
            _refuse_duplicate(facebook, page.page_id, message, link)
        kind = {0: "link" if link is not None else "text", 1: "photo"}.get(len(photos), "photos")
        post = facebook.add_post(
            page.page_id, kind, message, application_id=call.meta.app.app_id, link=link,  # type: ignore[arg-type] # a Literal, chosen above
            photo_ids=[photo.photo_id for photo in photos], published=published, publish_at=publish_at,
        )  # fmt: skip
        for photo in photos:
            photo.post_id, photo.published, photo.expires_at = post.post_id, published, None
        call.meta.note_commit("facebook.feed", page.page_id, post.post_id)
        answer = {"id": post.post_id}
        if "permalink_url" in (call.text("fields") or ""):
            answer["permalink_url"] = facebook.permalink(post)
        return answer


def _attached(call: Call, facebook: Facebook, page_id: str) -> list[Photo]:
    """The photos of `attached_media`: known, own, alive, unused, each once."""
    given = call.structure("attached_media")
    if given is None:
        return []
    if not isinstance(given, list) or not given:
        raise bad_parameter("Param attached_media must be an array.")
    photos: list[Photo] = []
    for entry in given:
        media_id = entry.get("media_fbid") if isinstance(entry, dict) else None
        if media_id is None or set(entry) - {"media_fbid", "message"}:
            raise bad_parameter("Param attached_media must hold objects with media_fbid.")
        photo = facebook.photos.get(str(media_id))
        if photo is None or photo.page_id != page_id:
            raise bad_parameter(f"The media {media_id} does not exist.")
        if photo.published or photo.post_id is not None or photo in photos:
            raise bad_parameter(f"The media {media_id} is already used.", subcode=1366051)
        photos.append(photo)
    return photos


def _check_link(link: str) -> None:
    try:
        parts = urlsplit(link)
        host = parts.hostname
    except ValueError:
        host = None
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not host:
        raise bad_parameter("The url you supplied is invalid", subcode=2061006)
    if host == "facebook.com" or host.endswith(".facebook.com"):
        raise bad_parameter("Links to facebook.com are not allowed.", subcode=1609008)


def _refuse_duplicate(facebook: Facebook, page_id: str, message: str | None, link: str | None) -> None:
    """506 for the text of the newest post once more."""
    last = facebook.latest_post(page_id)
    if (
        facebook.meta.config.reject_duplicates
        and message is not None
        and last is not None
        and last.kind in {"text", "link"}
        and (last.message, last.link) == (message, link)
    ):
        raise graph_error(
            506,
            "Duplicate status message",
            user_title="Duplicate Status Update",
            user_message="This status update is identical to the last one you posted.",
        )


async def _delete(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        facebook = call.meta.facebook
        post = facebook.posts[call.node_id]
        call.as_page(call.meta.pages[post.page_id], write=True)
        call.require(*POSTING)
        if post.application_id != call.meta.app.app_id:
            raise graph_error(200, "The post was not created by this application.")
        del facebook.posts[post.post_id]
        return {"success": True}


# --- photos -------------------------------------------------------------------------------------------------------


async def _photos(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        page = call.page(write=True)
        call.require(*POSTING)
        published = call.flag("published", default=True)
        temporary = call.flag("temporary", default=False)
        publish_at = schedule(call, published=published, latest=LATEST_POST)
        if published and temporary:
            raise bad_parameter("A temporary photo is not published.")
    stored = await _photo_bytes(call)
    data = stored.read()
    facts = image_facts(data) if call.meta.config.check_content else ImageFacts()
    if call.meta.config.check_content and facts.kind not in PHOTO_KINDS:
        raise _bad_photo("The file is not an image of a supported type.")
    stored.discard()
    with call.meta.lock:
        facebook, now = call.meta.facebook, call.meta.now()
        caption = call.text("caption") or call.text("message")
        photo = Photo(
            call.meta.new_id("12"), page.page_id, stored.sha256, stored.size_bytes, facts, published, temporary, caption,
            call.text("alt_text_custom"), now, None if published or publish_at is not None else now + PHOTO_LIFE,
        )  # fmt: skip
        facebook.photos[photo.photo_id] = photo
        if photo.expires_at is not None:
            facebook.wait_for(photo)
        if not published and publish_at is None:
            return {"id": photo.photo_id}
        post = facebook.add_post(
            page.page_id, "photo", caption, application_id=call.meta.app.app_id, photo_ids=[photo.photo_id],
            published=published, publish_at=publish_at,
        )  # fmt: skip
        photo.post_id = post.post_id
        call.meta.note_commit("facebook.photos", page.page_id, post.post_id)
        return {"id": photo.photo_id, "post_id": post.post_id}


async def _photo_bytes(call: Call) -> StoredBytes:
    """The one file part, or what `url` names."""
    url = call.text("url")
    if (url is None) == (not call.files) or len(call.files) > 1:
        raise bad_parameter("Give either a url or one file.")
    if url is None:
        data = next(iter(call.files.values())).data
        if not 0 < len(data) <= PHOTO_BYTES_MAX:
            raise _bad_photo("The photo is empty or too large.")
        return StoredBytes.of(data)
    try:
        return (await fetch(call.meta, url, bytes_max=PHOTO_BYTES_MAX)).stored
    except FetchFailed as problem:
        if problem.problem == "too_large":
            raise _bad_photo("The photo is too large.") from None
        raise bad_parameter(f"The image could not be fetched ({problem.problem}).", subcode=2061006) from None


def _bad_photo(message: str) -> Exception:
    return graph_error(
        100, message, subcode=1366046, user_title="Can't Read Files",
        user_message="Your photos couldn't be uploaded. Photos should be less than 10 MB and saved as JPG, PNG, GIF, TIFF or BMP files.",
    )  # fmt: skip


async def _photo_stories(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        page = call.page(write=True)
        call.require(*POSTING)
        facebook = call.meta.facebook
        facebook.settle()
        photo = facebook.photos.get(call.need("photo_id"))
        if photo is None or photo.page_id != page.page_id:
            raise bad_parameter("The photo does not exist.")
        if photo.story_id is not None:
            call.meta.note_problem(f"second story of photo {photo.photo_id}")
            raise bad_parameter("The photo is already in a story.")
        if photo.published or photo.post_id is not None:
            raise bad_parameter("The photo was already used in a published post.")
        post_id, now = facebook.new_post_id(page.page_id, story=True), call.meta.now()
        photo.story_id, photo.expires_at = post_id, None
        facebook.stories[post_id] = Story(post_id, page.page_id, "photo", photo.photo_id, now)
        facebook.posts[post_id] = Post(
            post_id, page.page_id, "photo_story", photo.caption, now, call.meta.app.app_id, photo_ids=[photo.photo_id]
        )
        call.meta.note_commit("facebook.photo_stories", page.page_id, photo.photo_id)
        return {"success": True, "post_id": int(post_id) if call.meta.config.numeric_story_ids else post_id}


# --- comments -----------------------------------------------------------------------------------------------------


def _commented(call: Call) -> str:
    """The Page of a published object, or 100/33."""
    facebook = call.meta.facebook
    facebook.settle()
    assert call.node is not None
    seen = {
        "post": lambda: facebook.posts[call.node_id].published,
        "photo": lambda: facebook.photos[call.node_id].published,
        "video": lambda: facebook.videos[call.node_id].posted,
    }[call.node.kind]()
    if not seen or call.node.owner is None or call.node_id in facebook.stories:
        raise unreadable(call.node_id, call.method)
    return call.node.owner


async def _comment(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        page_id = _commented(call)
        call.as_page(call.meta.pages[page_id], write=True)
        call.require("pages_manage_engagement")
        message = call.need("message")
        comment = Comment(
            f"{call.node_id.rpartition('_')[2]}_{call.meta.new_id()}", call.node_id, page_id, message, call.meta.now()
        )
        call.meta.facebook.comments[comment.comment_id] = comment
        return {"id": comment.comment_id}


async def _list_comments(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        page_id = _commented(call)
        page = call.as_page(call.meta.pages[page_id], write=False)
        call.require("pages_read_engagement")
        known = {"id", "message", "created_time", "from"}
        asked = call.asked(known, {"id", "message", "created_time"}, "Comment")
        rows = []
        for comment in call.meta.facebook.comments.values():
            if comment.target_id == call.node_id:
                full = {
                    "id": comment.comment_id,
                    "message": comment.message,
                    "created_time": comment.created_at.strftime("%Y-%m-%dT%H:%M:%S+0000"),
                    "from": {"id": page.page_id, "name": page.name},
                }
                rows.append({name: value for name, value in full.items() if name in asked})
        return {"data": rows}
