"""Containers: made, filled with bytes, processed, published or left to expire; and the one call that makes a post.

After Meta "IG User Media", "Instagram (IG) Container", "IG User Media Publish" and "Content Publishing" (September 2026 state).
A status is computed from times whenever somebody looks; only downloads of videos run in the background.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

from orbyt_worker.sandbox.instagram_access import authorize, tasks_on
from orbyt_worker.sandbox.instagram_fetch import Fetched, FetchLimits, MediaProblem, fetch
from orbyt_worker.sandbox.instagram_media import (
    IMAGE_BYTES_MAX,
    REEL_LIMITS,
    STORY_LIMITS,
    VideoFacts,
    VideoLimits,
    check_image,
    check_video,
)
from orbyt_worker.sandbox.instagram_model import (
    CHILD_KINDS,
    CONTAINER_SECONDS,
    Container,
    DoublePublish,
    Media,
    MediaFile,
    StatusCode,
)
from orbyt_worker.sandbox.instagram_rules import ACCESS, Draft, media_error, parse_container
from orbyt_worker.sandbox.meta_access import Call
from orbyt_worker.sandbox.meta_errors import GraphError, bad_parameter, graph_error
from orbyt_worker.sandbox.meta_media import StoredBytes
from orbyt_worker.sandbox.meta_model import CREATE_TASKS, Token
from orbyt_worker.sandbox.rupload import upload_address

if TYPE_CHECKING:
    from orbyt_worker.sandbox.instagram_api import Instagram

STATUS_TEXTS: dict[StatusCode, str] = {
    "IN_PROGRESS": "In Progress: Media is still being processed.",
    "FINISHED": "Finished: Media has been uploaded and it is ready to be published.",
    "PUBLISHED": "Published: Media has been published.",
    "ERROR": "Error: Media upload has failed with error code {subcode}",
    "EXPIRED": "Expired: The container was not published within 24 hours.",
}
_DOWNLOADS_MAX = 8


class Containers:
    """All containers and what happens to them. Callers hold the lock of the state where it says so."""

    def __init__(self, instagram: Instagram) -> None:
        self._instagram = instagram
        self.meta = instagram.meta
        self._uploads: dict[str, _Upload] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = threading.Condition()
        self._working = 0
        self._downloads = asyncio.Semaphore(_DOWNLOADS_MAX)
        self._made: dict[str, deque[datetime]] = {}
        self.by_id: dict[str, Container] = {}
        self.double_publishes: list[DoublePublish] = []

    def reset(self) -> None:
        """Forget everything; downloads that still run end in a container nobody knows."""
        for upload in self._uploads.values():
            # What is complete is being looked at, and let go of afterwards.
            if upload.closed() != "finished":
                upload.stored.discard()
        self._uploads.clear()
        self._made.clear()
        self.by_id.clear()
        self.double_publishes.clear()

    # --- making one ---------------------------------------------------------------------------------------------

    async def create(self, call: Call) -> dict[str, Any]:
        """POST /{ig}/media. Pictures and covers are fetched and judged before the answer, videos after it."""
        instagram = self._instagram
        with instagram.lock:
            account = authorize(call, call.node_id, "publish")
            draft = parse_container(call, instagram.config)
            self._check_daily(account.instagram_id)
            self._check_children(account.instagram_id, draft.children)
        try:
            cover = await self._picture(draft.cover_url, feed_ratio=False)
            still = draft.kind in {"image", "carousel_image", "story_image"}
            feed_ratio = draft.kind != "story_image"
            media = await self._picture(draft.media_url, feed_ratio=feed_ratio) if still else None
        except MediaProblem as problem:
            raise media_error(problem) from None
        with instagram.lock:
            container = self._add(account.instagram_id, draft, media, cover)
            answer = {"id": container.container_id}
            if container.resumable:
                upload = self._uploads[container.container_id] = _Upload(self, container)
                self.meta.uploads["ig-api-upload", container.container_id] = upload
                answer["uri"] = upload_address(self.meta, "ig-api-upload", call.version, container.container_id)
        if container.is_video and draft.media_url is not None:
            self._spawn(self._download(container, draft.media_url))
        return answer

    def _add(self, ig_id: str, draft: Draft, media: MediaFile | None, cover: MediaFile | None) -> Container:
        instagram, now = self._instagram, self._instagram.now()
        config = instagram.config
        container = Container(
            self.meta.new_id("179"),
            ig_id,
            draft.kind,
            now,
            draft.fields,
            draft.children,
            draft.resumable,
            media,
            cover,
        )
        container.processing_seconds = (
            config.processing_seconds if container.is_video else config.image_processing_seconds
        )
        script = instagram.take_script(ig_id, draft.kind)
        if script is not None:
            container.scripted_error = script.error_subcode
            if script.processing_seconds is not None:
                container.processing_seconds = script.processing_seconds
        if not container.is_video:
            self._processed(container, None)
        for child_id in draft.children:
            if config.children_single_use:
                self.by_id[child_id].used_in = container.container_id
        self.by_id[container.container_id] = container
        self._made.setdefault(ig_id, deque()).append(now)
        return container

    def _check_daily(self, ig_id: str) -> None:
        made, since = self._made.setdefault(ig_id, deque()), self._instagram.now() - timedelta(days=1)
        while made and made[0] <= since:
            made.popleft()
        if len(made) >= self._instagram.config.containers_per_day:
            # The number is documented, its code is not; it is a limit of the account.
            raise graph_error(80002, "There were too many containers in the last 24 hours.")

    def _check_children(self, ig_id: str, children: tuple[str, ...]) -> None:
        for child_id in children:
            child = self._owned(child_id, ig_id)
            if child.kind not in CHILD_KINDS:
                raise bad_parameter(f"The container {child_id} was not made with is_carousel_item.")
            status = self.status(child)
            if status == "EXPIRED":
                raise self._expired()
            if status != "FINISHED":
                raise _not_ready(f"The container {child_id} is not ready ({status}).")
            if child.used_in is not None:
                raise bad_parameter(f"The container {child_id} was used already.")

    def _owned(self, container_id: str, ig_id: str) -> Container:
        container = self.by_id.get(container_id)
        if container is None:
            raise graph_error(24, "The requested resource does not exist.", subcode=2207008)
        if container.ig_id != ig_id:
            raise graph_error(24, "The requested resource does not exist.", subcode=2207006)
        return container

    def _expired(self) -> GraphError:
        if self._instagram.config.expired_subcode == 2207008:
            return graph_error(24, "The requested resource does not exist.", subcode=2207008)
        return graph_error(-2, "The media has expired.", subcode=2207020)

    # --- bytes --------------------------------------------------------------------------------------------------

    async def _picture(self, url: str | None, *, feed_ratio: bool) -> MediaFile | None:
        if url is None:
            return None
        config = self._instagram.config
        fetched = await fetch(url, FetchLimits(IMAGE_BYTES_MAX, config.fetch_seconds, config.allow_loopback))
        with fetched.file:
            if not config.check_content:
                return _media_file(fetched)
            if config.wrong_image_subcode == 2207005:
                wrong = MediaProblem(36001, 2207005, "The image format is not supported. Use JPEG.")
            else:
                wrong = MediaProblem(9004, 2207052, "Only photo or video can be accepted as media type.")
            facts = await asyncio.to_thread(
                check_image, fetched.file, fetched.size_bytes, feed_ratio=feed_ratio, wrong_format=wrong
            )
        file = _media_file(fetched)
        return MediaFile(file.sha256, file.size_bytes, file.source, file.address, facts.width, facts.height)

    async def _download(self, container: Container, url: str) -> None:
        config = self._instagram.config
        limits = FetchLimits(self._limits(container).bytes_max, config.fetch_seconds, config.allow_loopback)
        try:
            async with self._downloads:
                fetched = await fetch(url, limits)
                with fetched.file:
                    await self.ingest(container, fetched.file, _media_file(fetched))
        except MediaProblem as problem:
            with self._instagram.lock:
                self._processed(container, problem)

    async def ingest(self, container: Container, file: IO[bytes], received: MediaFile) -> None:
        """All bytes of a video are there: judge them. The verdict shows when processing ends."""
        facts: VideoFacts | None = None
        problem: MediaProblem | None = None
        if self._instagram.config.check_content:
            try:
                facts = await asyncio.to_thread(
                    check_video,
                    file,
                    self._limits(container),
                    edit_lists=self._instagram.config.allow_edit_lists,
                    thumb_offset_ms=container.fields.get("thumb_offset"),
                )
            except MediaProblem as found:
                problem = found
        with self._instagram.lock:
            container.media = received
            if facts is not None:
                container.media = MediaFile(
                    received.sha256, received.size_bytes, received.source, received.address, facts.width, facts.height, facts.duration_seconds
                )  # fmt: skip
            self._processed(container, problem)

    def _limits(self, container: Container) -> VideoLimits:
        if container.kind == "story_video":
            return STORY_LIMITS
        if container.kind == "carousel_video":
            seconds_max = self._instagram.config.carousel_video_seconds_max
            return VideoLimits(REEL_LIMITS.bytes_max, seconds_max, REEL_LIMITS.ratio_min)
        return REEL_LIMITS

    def _processed(self, container: Container, problem: MediaProblem | None) -> None:
        """With the lock held: what processing will come to, once its time has passed."""
        begun = self._instagram.now() if container.resumable else container.created_at
        container.ready_at = begun + timedelta(seconds=container.processing_seconds)
        if problem is not None:
            container.error_subcode, container.error_text = problem.subcode, problem.text
        elif container.scripted_error is not None:
            container.error_subcode, container.error_text = container.scripted_error, "scripted"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                self._instagram.sandbox.note_internal_error("instagram.media.create", error)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            with self._idle:
                self._working -= 1
                self._idle.notify_all()

        with self._idle:
            self._working += 1
        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(done)

    def wait_idle(self, seconds: float) -> bool:
        """Not on the server's own thread: wait until no video is being downloaded or judged."""
        with self._idle:
            return self._idle.wait_for(lambda: self._working == 0, seconds)

    def received(self, container: Container) -> tuple[int, int | None]:
        """With the lock held: (bytes received, bytes in all) of a video."""
        if container.media is not None:
            return container.media.size_bytes, container.media.size_bytes
        upload = self._uploads.get(container.container_id)
        return (0, None) if upload is None else (upload.stored.size_bytes, upload.size_bytes)

    def uploaded(self, container: Container, stored: StoredBytes) -> None:
        """With the lock held: rupload has all bytes."""
        self._spawn(self._judge_upload(container, stored))

    def upload_failed(self, container: Container, reason: str) -> None:
        """With the lock held: rupload gave up."""
        self._processed(container, MediaProblem(-1, 2207053, reason))

    async def _judge_upload(self, container: Container, stored: StoredBytes) -> None:
        try:
            await self.ingest(container, stored.open(), MediaFile(stored.sha256, stored.size_bytes, "upload"))
        finally:
            stored.discard()

    # --- reading and publishing (with the lock held) ------------------------------------------------------------

    def status(self, container: Container) -> StatusCode:
        """`status_code` at this moment."""
        now = self._instagram.now()
        if container.media_id is not None:
            assert container.shows_at is not None
            return "PUBLISHED" if now >= container.shows_at else "FINISHED"
        if container.ready_at is not None and now >= container.ready_at and container.error_subcode is not None:
            return "ERROR"
        if now >= container.created_at + timedelta(seconds=CONTAINER_SECONDS):
            return "EXPIRED"
        return "IN_PROGRESS" if container.ready_at is None or now < container.ready_at else "FINISHED"

    def status_text(self, container: Container) -> str:
        """`status`: free text, in which an error has its number."""
        return STATUS_TEXTS[self.status(container)].format(subcode=container.error_subcode)

    async def publish(self, call: Call) -> dict[str, Any]:
        """POST /{ig}/media_publish: what is visible to others begins here, once per container."""
        with self._instagram.lock:
            return self._publish(call)

    def _publish(self, call: Call) -> dict[str, Any]:
        instagram = self._instagram
        account = authorize(call, call.node_id, "publish")
        for name in sorted(call.fields.keys() - ACCESS - {"creation_id"}):
            raise bad_parameter(f"Param {name} is not allowed here.")
        container = self._owned(call.need("creation_id"), account.instagram_id)
        container.publish_calls += 1
        if container.media_id is not None:
            return self._again(container, container.media_id)
        if account.state != "active":
            raise graph_error(25, "The Instagram account is restricted.", subcode=2207050)
        if container.kind in CHILD_KINDS:
            raise bad_parameter("An item of a carousel cannot be published by itself.")
        status = self.status(container)
        if status == "EXPIRED":
            raise self._expired()
        if status != "FINISHED":
            raise _not_ready("The media is not ready for publishing, please wait for a moment")
        if instagram.quota_usage(account.instagram_id) >= instagram.config.quota_total:
            raise graph_error(9, "The maximum number of posts of the account is reached.", subcode=2207042)
        self._check_children(account.instagram_id, container.children)
        media = self._make(container)
        self.meta.note_commit("instagram.media.publish", container.ig_id, container.container_id)
        return {"id": media.media_id}

    def _again(self, container: Container, media_id: str) -> dict[str, Any]:
        self.double_publishes.append(
            DoublePublish(container.container_id, media_id, container.ig_id, self._instagram.now())
        )
        self.meta.note_commit("instagram.media.publish", container.ig_id, container.container_id)
        self.meta.note_problem(f"second media_publish of container {container.container_id}")
        answer = self._instagram.config.republish_answer
        if answer == "error_24":
            raise graph_error(24, "The requested resource does not exist.", subcode=2207006)
        if answer == "error_9007":
            raise _not_ready("The media is not ready for publishing, please wait for a moment")
        return {"id": media_id}

    def _make(self, container: Container) -> Media:
        instagram, now = self._instagram, self._instagram.now()
        shows_at = now + timedelta(seconds=instagram.config.hidden_publish_seconds)
        children = [self.by_id[child_id] for child_id in container.children]
        media = instagram.add_media(container, now, shows_at, children)
        container.media_id, container.published_at, container.shows_at = media.media_id, now, shows_at
        for child in children:
            child.used_in = container.container_id
        return media


class _Upload:
    """What rupload writes a container's bytes to: one upload, once (`UploadTarget`)."""

    def __init__(self, containers: Containers, container: Container) -> None:
        self._containers = containers
        self._container = container
        self._end: str | None = None
        self.stored = StoredBytes()
        self.size_bytes: int | None = None

    def allows(self, token: Token) -> bool:
        tasks = tasks_on(self._containers.meta, token, self._container.ig_id)
        return tasks is not None and bool(CREATE_TASKS & tasks)

    def closed(self) -> str | None:
        if self._end is None and self._containers.status(self._container) == "EXPIRED":
            return "expired"
        return self._end

    def finish(self) -> None:
        self._end = "finished"
        self._containers.uploaded(self._container, self.stored)

    def fail(self, reason: str) -> None:
        self._end = "failed"
        self._containers.upload_failed(self._container, reason)


def _not_ready(text: str) -> GraphError:
    return graph_error(9007, text, subcode=2207027, user_title="Not ready", user_message=text)


def _media_file(fetched: Fetched) -> MediaFile:
    return MediaFile(fetched.sha256, fetched.size_bytes, "url", fetched.address)
