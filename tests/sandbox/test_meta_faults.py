"""Every call to Meta's hosts has a route name, and the faults of every simulator strike there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.meta_client import VIDEO, Page, error

PHOTO = {"source": ("a.jpg", media_files.jpeg(300, 200), "image/jpeg")}
Step = Callable[[Page, dict[str, str]], httpx.Response]

# In this order they publish one of each; what a call needs was made by one before it.
CALLS: list[tuple[str, Step]] = [
    ("facebook.feed", lambda page, _: page.post("feed", message="x")),
    ("facebook.photos", lambda page, _: page.post("photos", published="false", files=PHOTO)),
    ("facebook.photo_stories", lambda page, ids: page.post("photo_stories", photo_id=ids["facebook.photos"])),
    ("facebook.videos.direct", lambda page, _: page.post("videos", base=VIDEO, files={"v": ("v", b"x" * 2048)})),
    (
        "facebook.videos.start",
        lambda page, _: page.post("videos", base=VIDEO, upload_phase="start", file_size=2048),
    ),
    (
        "facebook.videos.transfer",
        lambda page, ids: page.post(
            "videos", base=VIDEO, upload_phase="transfer", upload_session_id=ids["session"], start_offset=0,
            files={"video_file_chunk": ("chunk", b"x" * 2048)},
        ),
    ),
    (
        "facebook.videos.finish",
        lambda page, ids: page.post("videos", base=VIDEO, upload_phase="finish", upload_session_id=ids["session"]),
    ),
    ("facebook.reels.start", lambda page, _: page.post("video_reels", upload_phase="start")),
    ("meta.rupload.facebook", lambda page, ids: page.upload(ids["upload_url"], b"x" * 2048)),
    ("facebook.thumbnails", lambda page, ids: page.post(f"{ids['video']}/thumbnails", files=PHOTO)),
    ("facebook.reels.finish", lambda page, ids: page.finish_reel(ids["video"])),
    ("facebook.video.status", lambda page, ids: page.get(ids["video"], fields="status")),
    ("facebook.read.video", lambda page, ids: page.get(ids["video"], fields="permalink_url")),
    ("facebook.comments", lambda page, ids: page.post(f"{ids['facebook.feed']}/comments", message="x")),
    ("facebook.read.comments", lambda page, ids: page.get(f"{ids['facebook.feed']}/comments")),
    ("facebook.read.post", lambda page, ids: page.get(ids["facebook.feed"])),
    ("facebook.read.photo", lambda page, ids: page.get(ids["facebook.photos"])),
    ("facebook.read.page", lambda page, _: page.get(page.page_id)),
    ("facebook.read.published_posts", lambda page, _: page.get(f"{page.page_id}/published_posts")),
    ("facebook.read.feed", lambda page, _: page.get(f"{page.page_id}/feed")),
    ("facebook.read.reels", lambda page, _: page.get(f"{page.page_id}/video_reels")),
    ("facebook.read.stories", lambda page, _: page.get(f"{page.page_id}/stories")),
    ("facebook.video_stories.start", lambda page, _: page.post("video_stories", upload_phase="start")),
    ("meta.rupload.facebook", lambda page, ids: page.upload(ids["upload_url"], b"x" * 2048)),
    (
        "facebook.video_stories.finish",
        lambda page, ids: page.post("video_stories", upload_phase="finish", video_id=ids["video"]),
    ),
    (
        "meta.debug_token",
        lambda page, ids: Page(page.client, page.page_id, ids["app"]).get("debug_token", input_token=page.token),
    ),
]  # fmt: skip


@pytest.fixture
def page(sandbox: Sandbox, client: httpx.Client) -> Page:
    sandbox.meta.configure(check_content=False, chunk_bytes=4096)
    return Page.of(client, sandbox.meta.create_page())


def _note(ids: dict[str, str], name: str, answer: dict[str, Any]) -> None:
    if "id" in answer:
        ids.setdefault(name, answer["id"])
    for key, value in (("video", "video_id"), ("session", "upload_session_id"), ("upload_url", "upload_url")):
        if value in answer:
            ids[key] = answer[value]


@pytest.mark.parametrize("kind", ["status", "meta_error", "drop_before"])
def test_faults_without_processing_strike_every_route_and_change_nothing(
    sandbox: Sandbox, page: Page, kind: Any
) -> None:
    ids = {"app": sandbox.meta.app.token}
    for name, call in CALLS:
        rule = sandbox.faults.add(name, kind, status=500, code=368, subcode=1404112, reason=None)
        if kind == "drop_before":
            with pytest.raises(httpx.TransportError):
                call(page, ids)
        else:
            answer = call(page, ids)
            expected = (2, None) if kind == "status" else (368, 1404112)
            assert (answer.status_code >= 400, error(answer)) == (True, expected), name
        assert sandbox.faults.used(rule) == 1, name
        answer = call(page, ids)  # the same call again works: nothing had happened
        assert answer.status_code == 200, (name, answer.text)
        _note(ids, name, answer.json())
    sandbox.clock.advance(2)
    kinds = [post.kind for post in sandbox.meta.facebook.published()]
    assert sorted(kinds) == ["photo_story", "reel", "text", "video", "video", "video_story"]
    assert sandbox.meta.problems() == []


COMMITS = [
    "facebook.feed", "facebook.photo_stories", "facebook.videos.direct", "facebook.videos.finish", "facebook.reels.finish",
    "facebook.video_stories.finish",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["status", "meta_error", "drop_after", "hang"])
@pytest.mark.parametrize("commit", COMMITS)
def test_a_commit_can_happen_unseen(sandbox: Sandbox, page: Page, commit: str, kind: Any) -> None:
    ids = {"app": sandbox.meta.app.token}
    for name, call in CALLS:
        if name == commit:
            sandbox.faults.add(name, kind, process=True, seconds=0.01, code=4, subcode=2207051)
            if kind in {"status", "meta_error"}:
                assert call(page, ids).status_code in {503, 400}
            else:
                with pytest.raises(httpx.TransportError):
                    call(page, ids)
            break
        _note(ids, name, call(page, ids).json())
    sandbox.clock.advance(2)
    assert len(sandbox.meta.commits(commit)) == 1
    expected = {
        "facebook.feed": "text", "facebook.photo_stories": "photo_story", "facebook.videos.direct": "video",
        "facebook.videos.finish": "video", "facebook.reels.finish": "reel", "facebook.video_stories.finish": "video_story",
    }[commit]  # fmt: skip
    assert [post.kind for post in sandbox.meta.facebook.published()][-1] == expected


def test_a_slow_answer_comes_late(sandbox: Sandbox, page: Page) -> None:
    sandbox.faults.add("facebook.feed", "slow", seconds=0.2)
    before = time.monotonic()
    assert page.post("feed", message="x").status_code == 200
    assert time.monotonic() - before >= 0.2


def test_reads_do_not_count_as_writes(sandbox: Sandbox, page: Page) -> None:
    rule = sandbox.faults.add("facebook.reels", "meta_error", code=2)
    assert page.get(f"{page.page_id}/video_reels").status_code == 200
    assert sandbox.faults.used(rule) == 0
    assert error(page.post("video_reels", upload_phase="start")) == (2, None)
    assert sandbox.requests.count(route="facebook.reels") == 1
