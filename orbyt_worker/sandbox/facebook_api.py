"""Facebook Pages: the state, what time does to it, and the control side. The endpoints are in facebook_posts, _video, _reads.

After Meta "Pages API: Posts", "Page Feed", "Page Photos", "Page Videos", "Reels Publishing API" and "Facebook Stories API"
(v26.0). A finished video is processed, then published, by the sandbox clock; nothing runs in the background.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from orbyt_worker.sandbox.facebook_model import (
    Comment,
    MediaReport,
    Phase,
    Photo,
    Post,
    PostKind,
    PostReport,
    Story,
    Video,
    VideoReport,
)
from orbyt_worker.sandbox.facebook_posts import post_endpoints
from orbyt_worker.sandbox.facebook_reads import read_endpoints
from orbyt_worker.sandbox.facebook_uploads import HandleUpload, upload_endpoints
from orbyt_worker.sandbox.facebook_video import video_endpoints
from orbyt_worker.sandbox.faults import META_VIDEO_FINISHED, Fault
from orbyt_worker.sandbox.meta_http import Endpoint
from orbyt_worker.sandbox.meta_media import VideoFacts
from orbyt_worker.sandbox.meta_model import Node
from orbyt_worker.sandbox.operations import operation

if TYPE_CHECKING:
    from orbyt_worker.sandbox.meta import Meta

PHOTO_LIFE = timedelta(hours=24)
STORY_LIFE = timedelta(hours=24)
DAY = timedelta(days=1)


class Facebook:
    """State of all Pages. The lock is Meta's."""

    def __init__(self, meta: Meta) -> None:
        self.meta = meta
        self.photos: dict[str, Photo] = {}
        self.videos: dict[str, Video] = {}
        self.posts: dict[str, Post] = {}
        self.stories: dict[str, Story] = {}
        self.comments: dict[str, Comment] = {}
        self.sessions: dict[str, Video] = {}
        self.handles: dict[str, HandleUpload] = {}
        # Only these change by the mere passing of time, so a look does not walk over everything.
        self._waiting: dict[str, Photo | Post | Video] = {}

    def routes(self) -> list[BaseRoute]:
        """Nothing beside the Graph hosts."""
        return []

    def endpoints(self) -> list[Endpoint]:
        """Everything answered on the Graph hosts."""
        return [*post_endpoints(), *video_endpoints(), *read_endpoints(), *upload_endpoints()]

    def find(self, node_id: str) -> Node | None:
        """Photos, videos, posts, comments and upload handles."""
        self.settle()
        if node_id == self.meta.app.app_id:
            return Node("app", node_id)
        if node_id in self.handles:
            return Node("upload", node_id)
        for kind, held in (
            ("photo", self.photos), ("video", self.videos), ("post", self.posts), ("comment", self.comments),
        ):  # fmt: skip
            found: Photo | Video | Post | Comment | None = held.get(node_id)
            if found is not None:
                return Node(kind, node_id, found.page_id, "pages")
        return None

    def reset(self) -> None:
        """Back to Pages without anything on them."""
        for video in self.videos.values():
            video.stored.discard()
        for handle in self.handles.values():
            handle.stored.discard()
        for held in (self.photos, self.videos, self.posts, self.stories, self.comments, self.sessions, self.handles):
            held.clear()
        self._waiting.clear()

    # --- the control side ---------------------------------------------------------------------------------------

    @operation(reads=True)
    def published(
        self, page_id: str | None = None, kind: PostKind | None = None, include_unpublished: bool = False
    ) -> list[PostReport]:
        """What is on the Pages (stories included), oldest first, with hash and size of every file."""
        with self.meta.lock:
            self.settle()
            return [
                self._report(post)
                for post in sorted(self.posts.values(), key=lambda post: post.created_at)
                if page_id in (None, post.page_id)
                and kind in (None, post.kind)
                and (post.published or include_unpublished)
            ]

    @operation(reads=True)
    def count(self, page_id: str | None = None, kind: PostKind | None = None) -> int:
        """How much is on the Pages."""
        return len(self.published(page_id, kind))

    @operation(reads=True)
    def duplicates(self) -> list[tuple[str, str, int]]:
        """(page id, what, count) of everything that is there more than once: same kind, text, link and files."""
        counts: dict[tuple[str, str], int] = {}
        for post in self.published():
            files = ",".join(media.sha256[:12] for media in post.media)
            key = (post.page_id, f"{post.kind}|{post.message or ''}|{post.link or ''}|{files}")
            counts[key] = counts.get(key, 0) + 1
        return [(*key, number) for key, number in counts.items() if number > 1]

    @operation(reads=True)
    def list_videos(self, page_id: str | None = None) -> list[VideoReport]:
        """Every video ever started, oldest first."""
        with self.meta.lock:
            self.settle()
            return [
                VideoReport(
                    v.video_id, v.page_id, v.kind, v.size_bytes, v.stored.size_bytes, v.stored.sha256, v.uploaded,
                    v.finished_at is not None, v.state, v.posted, v.error[1] if v.error else None, v.post_id, v.created_at,
                )
                for v in self.videos.values()
                if page_id in (None, v.page_id)
            ]  # fmt: skip

    @operation(reads=True)
    def list_photos(self, page_id: str | None = None) -> list[Photo]:
        """Every photo that still exists, oldest first."""
        with self.meta.lock:
            self.settle()
            return [photo for photo in self.photos.values() if page_id in (None, photo.page_id)]

    @operation()
    def post_outside(self, page_id: str, message: str, application_id: str | None = None) -> str:
        """A text post made by a person in the browser, or by another app; returns its id."""
        with self.meta.lock:
            post = self.add_post(self.meta.pages[page_id].page_id, "text", message, application_id=application_id)
            return post.post_id

    @operation()
    def delete_post(self, post_id: str) -> None:
        """A person deleted it."""
        with self.meta.lock:
            del self.posts[post_id]

    @operation()
    def set_error(self, video_id: str, code: int, message: str = "The video could not be processed.") -> None:
        """Processing of a video that is not published yet ends with this error, now."""
        with self.meta.lock:
            video = self.videos[video_id]
            if video.posted:
                raise ValueError("the video is published")
            video.error = ("processing", code, message)
            video.processed_at, video.published_at = self.meta.now(), None

    # --- time (with the lock held) ------------------------------------------------------------------------------

    def settle(self) -> None:
        """Bring everything to the present time."""
        now = self.meta.now()
        for key, item in list(self._waiting.items()):
            if not self._settle_one(item, now):
                del self._waiting[key]

    def _settle_one(self, item: Photo | Post | Video, now: datetime) -> bool:
        """One photo, post or video; whether it still waits for something."""
        if isinstance(item, Photo):
            if item.expires_at is not None and now >= item.expires_at:
                self.photos.pop(item.photo_id, None)
                return False
            return item.expires_at is not None
        if isinstance(item, Post):
            if item.publish_at is not None and now >= item.publish_at:
                item.published, item.created_at = True, item.publish_at
            return not item.published
        if item.published_at is not None and now >= item.published_at:
            self._publish(item, item.published_at)
            return False
        return item.published_at is not None

    def wait_for(self, item: Photo | Post | Video) -> None:
        """Something will happen to it later."""
        key = item.photo_id if isinstance(item, Photo) else item.post_id if isinstance(item, Post) else item.video_id
        assert key is not None
        self._waiting[key] = item

    def conclude(self, video: Video, facts: VideoFacts | None) -> None:
        """A finished video was looked at: decide how and when it ends. Consumes the faults for finished videos."""
        config, now = self.meta.config, self.meta.now()

        def take(kind: str) -> Fault | None:
            return self.meta.sandbox.faults.take(META_VIDEO_FINISHED, frozenset({kind}), path=video.video_id)

        video.facts = facts
        problem = judge(video.kind, facts) if facts is not None and config.check_content else None
        if problem is not None:
            video.error = ("processing", *problem)
        if failed := take("phase_error"):
            phase: Phase = "publishing" if failed.reason == "publishing" else "processing"
            video.error = (phase, failed.code or 1363047, failed.message or "The service is unavailable.")
        video.processed_at = now + timedelta(seconds=config.processing_seconds)
        ready = video.processed_at + timedelta(seconds=config.publishing_seconds)
        if delayed := take("publish_delay"):
            ready += timedelta(seconds=delayed.seconds)
        if video.error is None and video.state != "DRAFT":
            video.published_at = max(ready, video.scheduled_at) if video.scheduled_at is not None else ready
            if lag := take("status_lag"):
                video.hidden_until = video.published_at + timedelta(seconds=lag.seconds)
        video.stored.discard()
        self.wait_for(video)
        self.settle()

    def _publish(self, video: Video, at: datetime) -> None:
        assert video.post_id is not None
        kind: PostKind = "video_story" if video.kind == "story" else video.kind
        post = Post(
            video.post_id, video.page_id, kind, video.description, at, self.meta.app.app_id, video_id=video.video_id
        )
        self.posts[post.post_id] = post
        video.posted = True
        if video.kind == "story":
            self.stories[post.post_id] = Story(post.post_id, video.page_id, "video", video.video_id, at)

    # --- used by the endpoints (with the lock held) -------------------------------------------------------------

    def new_post_id(self, page_id: str, *, story: bool = False) -> str:
        """`{page}_{number}`, or the bare number of a story."""
        number = self.meta.new_id("12")
        return number if story else f"{page_id}_{number}"

    def add_post(
        self,
        page_id: str,
        kind: PostKind,
        message: str | None,
        *,
        application_id: str | None,
        link: str | None = None,
        photo_ids: list[str] | None = None,
        published: bool = True,
        publish_at: datetime | None = None,
    ) -> Post:
        """A new post."""
        post = Post(
            self.new_post_id(page_id), page_id, kind, message, self.meta.now(), application_id, link, list(photo_ids or []),
            published=published, publish_at=publish_at,
        )  # fmt: skip
        self.posts[post.post_id] = post
        if publish_at is not None:
            self.wait_for(post)
        return post

    def latest_post(self, page_id: str) -> Post | None:
        """The newest published feed post of a Page."""
        own = [p for p in self.posts.values() if p.page_id == page_id and p.published and p.post_id not in self.stories]
        return max(own, key=lambda post: post.created_at, default=None)

    def reels_today(self, page_id: str) -> int:
        """Reels finished through the API in the last 24 hours."""
        since = self.meta.now() - DAY
        return sum(
            1
            for v in self.videos.values()
            if v.page_id == page_id
            and v.kind == "reel"
            and v.finished_at is not None
            and v.finished_at > since
            and v.state != "DRAFT"
        )

    def permalink(self, post: Post) -> str:
        """Where people see it."""
        number = post.post_id.rpartition("_")[2]
        if post.kind == "reel":
            return f"https://www.facebook.com/reel/{post.video_id}/"
        if post.kind == "video":
            return f"https://www.facebook.com/{post.page_id}/videos/{post.video_id}/"
        if post.post_id in self.stories:
            return f"https://www.facebook.com/stories/{post.page_id}/{number}/"
        return f"https://www.facebook.com/{post.page_id}/posts/{number}"

    def _report(self, post: Post) -> PostReport:
        media = [
            MediaReport(photo.photo_id, photo.sha256, photo.size_bytes, photo.alt_text)
            for photo in (self.photos[photo_id] for photo_id in post.photo_ids if photo_id in self.photos)
        ]
        video = self.videos.get(post.video_id or "")
        if video is not None:
            media.append(MediaReport(video.video_id, video.stored.sha256, video.stored.size_bytes))
        targets = {post.post_id, *post.photo_ids, post.video_id}
        return PostReport(
            post.post_id, post.page_id, post.kind, post.message, video.title if video is not None else None, post.link, media,
            post.published, post.created_at, post.publish_at, post.application_id,
            [comment.message for comment in self.comments.values() if comment.target_id in targets],
            list(video.thumbnails) if video is not None else [], self.permalink(post),
        )  # fmt: skip


def judge(kind: str, facts: VideoFacts) -> tuple[int, str] | None:
    """(code, message) of what Facebook refuses after it looked at the file; None when it is fine.

    Video API Error Codes 1363031, 1363040, 1363127, 1363128, 1363129; limits of "Reels Publishing API" and stories.
    """
    if facts.problem is not None:
        return 1363031, "The file is not a video."
    if kind == "video":
        return None
    if not 9 / 16 * 0.99 <= facts.ratio <= 16 / 9 * 1.01:
        return 1363040, "The aspect ratio is not between 16:9 and 9:16."
    if min(facts.width, facts.height) < 540 or max(facts.width, facts.height) < 960:
        return 1363127, "The resolution is below 540 by 960 pixels."
    longest = 60.0 if kind == "story" else 90.0
    if not 3.0 <= facts.duration_seconds <= longest + 0.5:
        return 1363128, f"The duration is not between 3 and {longest:.0f} seconds."
    if not 23.9 <= facts.frames_per_second <= 60.1:
        return 1363129, "The frame rate is not between 24 and 60 frames per second."
    return None
