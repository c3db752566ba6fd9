"""Everything that only looks, and comments: the account, its media and stories, one medium, the publishing limit.

After Meta "IG User", "IG User Media", "IG User Stories", "IG Media", "IG Media Comments" and "IG User Content Publishing Limit"
(September 2026 state).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from orbyt_worker.sandbox.instagram_access import Need, authorize
from orbyt_worker.sandbox.instagram_model import STORY_SECONDS, Comment, Container, Media
from orbyt_worker.sandbox.meta_access import Call
from orbyt_worker.sandbox.meta_errors import bad_parameter, unreadable

if TYPE_CHECKING:
    from orbyt_worker.sandbox.instagram_api import Instagram

LIST_LIMIT_DEFAULT = 25
LIST_LIMIT_MAX = 100
LISTED_MAX = 10_000
QUOTA_SECONDS = 86_400


class Reads:
    """Handlers of the GET endpoints and of the comments edge."""

    def __init__(self, instagram: Instagram) -> None:
        self._instagram = instagram

    # --- account ------------------------------------------------------------------------------------------------

    async def account(self, call: Call) -> dict[str, Any]:
        """GET /{ig}, and GET /me at graph.instagram.com, whose answer comes flat or wrapped (documentation shows both)."""
        instagram = self._instagram
        with instagram.lock:
            account = authorize(call, call.node_id, "read")
            count = len(instagram.visible(account.instagram_id, stories=False))
            picture = f"https://scontent.cdninstagram.com/v/{account.username}.jpg"
            known: dict[str, Any] = {
                "id": account.instagram_id, "username": account.username, "name": account.name,
                "profile_picture_url": picture, "media_count": count, "followers_count": 0, "follows_count": 0, "biography": "",
            }  # fmt: skip
            if call.host == "instagram":
                # The id by which this app knows the person; the account's own is `user_id`.
                scoped = int(hashlib.sha256(account.instagram_id.encode()).hexdigest(), 16) % 10**16
                known |= {
                    "id": f"3{scoped:016}",
                    "user_id": account.instagram_id,
                    "account_type": account.account_type,
                }
            answer = _picked(call, known, {"id"}, "IGUser")
        asked_for_me = call.request.url.path.rstrip("/").endswith("/me")
        return {"data": [answer]} if asked_for_me and instagram.config.me_wrapped else answer

    async def limit(self, call: Call) -> dict[str, Any]:
        """GET /{ig}/content_publishing_limit; `config` only when asked for."""
        instagram = self._instagram
        with instagram.lock:
            account = authorize(call, call.node_id, "publish")
            since = _moment(call, "since")
            if since is not None and since < instagram.now() - timedelta(seconds=QUOTA_SECONDS):
                raise bad_parameter("Param since must be within the last 24 hours.")
            known = {
                "quota_usage": instagram.quota_usage(account.instagram_id, since),
                "config": {"quota_total": instagram.config.quota_total, "quota_duration": QUOTA_SECONDS},
            }
            row = _picked(call, known, {"quota_usage"}, "IGUserContentPublishingLimit")
            return {"data": [row]}

    # --- media --------------------------------------------------------------------------------------------------

    async def list_media(self, call: Call) -> dict[str, Any]:
        """GET /{ig}/media: newest first, without stories, posts made elsewhere included."""
        return self._listed(call, stories=False)

    async def list_stories(self, call: Call) -> dict[str, Any]:
        """GET /{ig}/stories: those of the last 24 hours, newest first."""
        return self._listed(call, stories=True)

    def _listed(self, call: Call, *, stories: bool) -> dict[str, Any]:
        instagram = self._instagram
        with instagram.lock:
            account = authorize(call, call.node_id, "read")
            since, until = _moment(call, "since"), _moment(call, "until")
            rows = [
                media
                for media in instagram.visible(account.instagram_id, stories=stories)
                if (since is None or media.created_at >= since) and (until is None or media.created_at <= until)
            ][:LISTED_MAX]
            if stories:
                oldest = instagram.now() - timedelta(seconds=STORY_SECONDS)
                rows = [media for media in rows if media.created_at > oldest]
            shown = [(media.media_id, _picked(call, self._media_fields(media), {"id"}, "IGMedia")) for media in rows]
            return _page(call, shown)

    async def media(self, call: Call) -> dict[str, Any]:
        """GET /{media}."""
        with self._instagram.lock:
            media = self._seen(call, "read")
            return _picked(call, self._media_fields(media), {"id"}, "IGMedia")

    def _media_fields(self, media: Media) -> dict[str, Any]:
        instagram = self._instagram
        account = instagram.meta.accounts[media.ig_id]
        fields: dict[str, Any] = {
            "id": media.media_id, "media_type": media.media_type, "media_product_type": media.product_type,
            "timestamp": _time(media.created_at), "permalink": instagram.permalink(media), "shortcode": media.shortcode,
            "username": account.username, "owner": {"id": account.instagram_id}, "comments_count": len(media.comments),
            "like_count": 0, "caption": media.fields.get("caption"), "alt_text": media.fields.get("alt_text"),
            "media_url": None if media.kind == "carousel" else f"https://scontent.cdninstagram.com/v/{media.media_id}",
            "children": {"data": [{"id": child} for child in media.children]} if media.children else None,
            "is_shared_to_feed": media.fields.get("share_to_feed", True) if media.kind == "reel" else None,
            "is_comment_enabled": True,
        }  # fmt: skip
        return fields

    async def container(self, call: Call) -> dict[str, Any]:
        """GET /{container}: no field of it tells the id of the post it became."""
        instagram = self._instagram
        with instagram.lock:
            container = instagram.containers.by_id[call.node_id]
            authorize(call, container.ig_id, "read")
            self._check_token_kind(call)
            known = {
                "id": container.container_id,
                "status_code": instagram.containers.status(container),
                "status": instagram.containers.status_text(container),
                "copyright_check_status": {"status": "completed", "matches_found": False},
                "video_status": self._video_status(container) if container.is_video else None,
            }
            return _picked(call, known, {"id"}, "IGContainer")

    def _video_status(self, container: Container) -> dict[str, Any]:
        state = self._instagram.containers.status(container)
        received, total = self._instagram.containers.received(container)
        uploaded = container.media is not None
        phase = {"IN_PROGRESS": "in_progress" if uploaded else "not_started", "ERROR": "error"}.get(state, "complete")
        uploading: dict[str, Any] = {
            "status": "complete" if uploaded else "in_progress" if received else "not_started",
            "bytes_transferred": received,
            "source_file_size": total or 0,
            "errors": [],
        }
        errors = [{"code": container.error_subcode, "message": container.error_text}] if state == "ERROR" else []
        return {"uploading_phase": uploading, "processing_phase": {"status": phase, "errors": errors}}

    # --- comments -----------------------------------------------------------------------------------------------

    async def list_comments(self, call: Call) -> dict[str, Any]:
        """GET /{media}/comments, newest first."""
        with self._instagram.lock:
            media = self._seen(call, "comment")
            rows = []
            for comment in reversed(media.comments):
                known = {
                    "id": comment.comment_id, "text": comment.text, "timestamp": _time(comment.created_at),
                    "username": comment.username, "from": {"id": media.ig_id, "username": comment.username}, "like_count": 0,
                }  # fmt: skip
                rows.append((comment.comment_id, _picked(call, known, {"id", "text", "timestamp"}, "IGComment")))
            return _page(call, rows)

    async def comment(self, call: Call) -> dict[str, Any]:
        """POST /{media}/comments."""
        instagram = self._instagram
        with instagram.lock:
            media = self._seen(call, "comment")
            if media.product_type == "STORY":
                raise bad_parameter("Stories have no comments.")
            text = call.need("message")
            author = instagram.meta.accounts[media.ig_id].username
            comment = Comment(instagram.meta.new_id("178"), text, author, instagram.now())
            media.comments.append(comment)
            instagram.meta.note_commit("instagram.comments", media.ig_id, media.media_id)
            return {"id": comment.comment_id}

    def _seen(self, call: Call, need: Need) -> Media:
        """The medium of the path, once it shows; 100/33 otherwise."""
        media = self._instagram.media[call.node_id]
        authorize(call, media.ig_id, need)
        self._check_token_kind(call)
        if self._instagram.now() < media.shows_at:
            raise unreadable(call.node_id, call.method)
        return media

    def _check_token_kind(self, call: Call) -> None:
        if call.method == "GET" and self._instagram.config.page_token_reads_fail and call.token.kind == "PAGE":
            raise unreadable(call.node_id, call.method)


def _picked(call: Call, known: Mapping[str, Any], default: set[str], kind: str) -> dict[str, Any]:
    """What `fields` asks for; what there is not is left out, as Graph does it."""
    asked = call.asked(set(known), default, kind)
    return {name: value for name, value in known.items() if name in asked and value is not None}


def _page(call: Call, rows: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """One page of a list with its cursors; `next` holds the token, as Graph's does."""
    limit = call.whole("limit") or LIST_LIMIT_DEFAULT
    if limit > LIST_LIMIT_MAX:
        raise bad_parameter(f"Param limit must be at most {LIST_LIMIT_MAX}.")
    ids, after = [row_id for row_id, _ in rows], call.text("after")
    if after is not None and after not in ids:
        raise bad_parameter("Invalid cursor.")
    start = ids.index(after) + 1 if after is not None else 0
    chosen = rows[start : start + limit]
    if not chosen:
        return {"data": []}
    paging: dict[str, Any] = {"cursors": {"before": chosen[0][0], "after": chosen[-1][0]}}
    if start + limit < len(rows):
        following = call.request.url.include_query_params(access_token=call.token.value, after=chosen[-1][0])
        paging["next"] = str(following)
    return {"data": [row for _, row in chosen], "paging": paging}


def _moment(call: Call, name: str) -> datetime | None:
    seconds = call.whole(name)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S+0000")
