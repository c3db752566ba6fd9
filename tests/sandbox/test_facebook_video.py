"""The simulator's videos: one call, chunks the server dictates, Reels, stories, status objects, the Resumable Upload API."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.meta_client import GRAPH, VIDEO, Page, error

CHUNK = 16 * 1024


@pytest.fixture(scope="module")
def data() -> bytes:
    body = media_files.video_body(size_bytes=5 * CHUNK + 100, seconds=1.0, width=128, height=72)
    return body.read(0, body.size)


@pytest.fixture(scope="module")
def upright() -> bytes:
    return media_files.video(seconds=3.2, width=540, height=960, fps=25)


@pytest.fixture
def page(sandbox: Sandbox, client: httpx.Client) -> Page:
    sandbox.meta.configure(chunk_bytes=CHUNK)
    return Page.of(client, sandbox.meta.create_page())


class Chunks:
    """A chunked upload that does what it is told."""

    def __init__(self, page: Page, data: bytes, base: str = VIDEO, **start: Any) -> None:
        self.page, self.data, self.base = page, data, base
        answer = page.post("videos", base=base, upload_phase="start", **{"file_size": len(data), **start})
        assert answer.status_code == 200, answer.text
        self.video_id, self.session = answer.json()["video_id"], answer.json()["upload_session_id"]
        self.first = answer.json()

    def transfer(self, start: int, end: int, name: str = "video_file_chunk") -> httpx.Response:
        return self.page.post(
            "videos", base=self.base, upload_phase="transfer", upload_session_id=self.session, start_offset=start,
            files={name: ("chunk.bin", self.data[start:end], "application/octet-stream")},
        )  # fmt: skip

    def all(self) -> None:
        start, end = int(self.first["start_offset"]), int(self.first["end_offset"])
        while start < end:
            answer = self.transfer(start, end).json()
            start, end = int(answer["start_offset"]), int(answer["end_offset"])

    def finish(self, **fields: Any) -> httpx.Response:
        return self.page.post("videos", base=self.base, upload_phase="finish", upload_session_id=self.session, **fields)


def _published(sandbox: Sandbox) -> None:
    sandbox.clock.advance(2)


# --- chunks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [VIDEO, GRAPH])
def test_chunks_lead_to_one_video_with_the_bytes_sent(sandbox: Sandbox, page: Page, data: bytes, base: str) -> None:
    chunks = Chunks(page, data, base)
    assert (chunks.first["start_offset"], chunks.first["end_offset"]) == ("0", str(CHUNK))
    chunks.all()
    assert page.status(chunks.video_id)["video_status"] == "upload_complete"
    assert chunks.finish(title="T", description="D").json() == {"success": True}
    assert sandbox.meta.facebook.count() == 0  # an acknowledgement, no publication
    _published(sandbox)
    (report,) = sandbox.meta.facebook.published()
    assert (report.kind, report.title, report.message) == ("video", "T", "D")
    assert [(m.media_id, m.sha256, m.size_bytes) for m in report.media] == [
        (chunks.video_id, hashlib.sha256(data).hexdigest(), len(data))
    ]
    answer = page.get(chunks.video_id, fields="status,published,post_id,permalink_url").json()
    assert (answer["published"], answer["post_id"]) == (True, report.post_id)
    assert [row["id"] for row in page.get(f"{page.page_id}/videos").json()["data"]] == [chunks.video_id]


@pytest.mark.parametrize("as_text", [False, True])
def test_a_wrong_offset_is_told_the_right_one(sandbox: Sandbox, page: Page, data: bytes, as_text: bool) -> None:
    sandbox.meta.configure(error_data_as_text=as_text)
    chunks = Chunks(page, data)
    chunks.transfer(0, CHUNK)
    for start in (0, 2 * CHUNK):
        answer = chunks.transfer(start, start + CHUNK)
        assert (answer.status_code, error(answer)) == (400, (6001, 1363037))
        where = answer.json()["error"]["error_data"]
        where = json.loads(where) if as_text else where
        assert (int(where["start_offset"]), int(where["end_offset"])) == (CHUNK, 2 * CHUNK)


def test_a_dropped_answer_leaves_the_chunk_stored(sandbox: Sandbox, page: Page, data: bytes) -> None:
    chunks = Chunks(page, data)
    sandbox.faults.add("facebook.videos.transfer", "drop_after")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        chunks.transfer(0, CHUNK)
    assert error(chunks.transfer(0, CHUNK)) == (6001, 1363037)
    assert page.status(chunks.video_id)["uploading_phase"]["bytes_transferred"] == CHUNK


def test_chunks_that_are_refused(page: Page, data: bytes) -> None:
    chunks = Chunks(page, data)
    assert error(chunks.transfer(0, CHUNK - 1)) == (6000, 1363033)
    assert error(chunks.transfer(0, CHUNK + 1)) == (6000, 1363033)
    assert error(chunks.transfer(0, CHUNK, name="source")) == (6000, 1363020)
    assert error(page.post("videos", upload_phase="transfer", upload_session_id=chunks.session)) == (100, None)
    assert error(page.post("videos", upload_phase="transfer", upload_session_id="1", start_offset=0)) == (6000, 1363041)
    assert page.status(chunks.video_id)["uploading_phase"]["status"] == "not_started"


def test_starts_that_are_refused(page: Page) -> None:
    assert error(page.post("videos", upload_phase="start")) == (100, None)
    assert error(page.post("videos", upload_phase="start", file_size="many")) == (100, None)
    assert error(page.post("videos", upload_phase="start", file_size=1023)) == (382, 1363022)
    assert error(page.post("videos", upload_phase="start", file_size=11 * 1024**3)) == (6000, 1363023)
    assert error(page.post("videos", upload_phase="begin", file_size=2048)) == (100, None)
    assert error(page.post("videos", upload_phase="start", file_size=2048, file_url="https://e.org/v")) == (100, None)


def test_finish_needs_all_bytes_and_ends_the_session(sandbox: Sandbox, page: Page, data: bytes) -> None:
    chunks = Chunks(page, data)
    chunks.transfer(0, CHUNK)
    assert error(chunks.finish()) == (6000, None)
    chunks.first = {"start_offset": str(CHUNK), "end_offset": str(2 * CHUNK)}
    chunks.all()
    assert chunks.finish().status_code == 200
    assert sandbox.meta.problems() == []
    assert error(chunks.finish()) == (6000, 1363041)
    assert sandbox.meta.problems() == [f"finish of the finished video {chunks.video_id}"]
    assert len(sandbox.meta.commits("facebook.videos.finish")) == 2
    _published(sandbox)
    assert sandbox.meta.facebook.count() == 1


def test_a_session_belongs_to_its_page_and_can_be_cancelled(
    sandbox: Sandbox, client: httpx.Client, page: Page, data: bytes
) -> None:
    chunks = Chunks(page, data)
    foreign = Page.of(client, sandbox.meta.create_page())
    answer = foreign.post("videos", upload_phase="finish", upload_session_id=chunks.session)
    assert error(answer) == (6000, 1363041)
    assert page.post("videos", upload_phase="cancel", upload_session_id=chunks.session).json() == {"success": True}
    assert error(chunks.transfer(0, CHUNK)) == (6000, 1363041)


@pytest.mark.parametrize(
    ("fields", "seconds", "accepted"),
    [
        ({"published": "false"}, 3600, True),
        ({"published": "false"}, 179 * 86_400, True),
        ({"published": "false"}, 181 * 86_400, False),
        ({"published": "false"}, 300, False),
        ({}, 3600, False),
    ],
)
def test_a_scheduled_video(
    sandbox: Sandbox, page: Page, data: bytes, fields: dict[str, str], seconds: int, accepted: bool
) -> None:
    chunks = Chunks(page, data)
    chunks.all()
    answer = chunks.finish(scheduled_publish_time=int(sandbox.clock.timestamp()) + seconds, **fields)
    assert (answer.status_code == 200) is accepted, answer.text
    if accepted:
        _published(sandbox)
        assert page.status(chunks.video_id)["publishing_phase"]["publish_status"] == "scheduled"
        assert sandbox.meta.facebook.count() == 0
        sandbox.clock.advance(seconds)
        assert sandbox.meta.facebook.count() == 1


def test_a_file_that_is_no_video_fails_in_processing(sandbox: Sandbox, page: Page) -> None:
    chunks = Chunks(page, b"no video " * 1000)
    chunks.all()
    assert chunks.finish().status_code == 200
    _published(sandbox)
    status = page.status(chunks.video_id)
    assert (status["video_status"], status["processing_phase"]["status"]) == ("error", "error")
    assert status["processing_phase"]["errors"][0]["code"] == 1363031
    assert sandbox.meta.facebook.count() == 0


# --- one call -----------------------------------------------------------------------------------------------------


def test_one_call_with_a_file_or_an_address(sandbox: Sandbox, page: Page, data: bytes) -> None:
    sandbox.media.add_body("v.mp4", media_files.literal(data, "video/mp4"))
    by_file = page.post("videos", base=VIDEO, description="file", files={"source": ("v.mp4", data, "video/mp4")})
    by_url = page.post("videos", base=VIDEO, description="url", file_url=sandbox.media.url("v.mp4"))
    _published(sandbox)
    reports = sandbox.meta.facebook.published()
    assert [report.media[0].media_id for report in reports] == [by_file.json()["id"], by_url.json()["id"]]
    assert {report.media[0].sha256 for report in reports} == {hashlib.sha256(data).hexdigest()}


def test_one_call_that_is_refused(sandbox: Sandbox, page: Page, data: bytes) -> None:
    sandbox.media.add_body("small.mp4", media_files.literal(b"x" * 100, "video/mp4"))
    assert error(page.post("videos")) == (100, None)
    assert error(page.post("videos", file_url=sandbox.media.url("nothing.mp4"))) == (389, None)
    assert error(page.post("videos", file_url="http://10.0.0.1/v.mp4")) == (389, None)
    assert error(page.post("videos", file_url=sandbox.media.url("small.mp4"))) == (382, 1363022)
    file = {"source": ("v.mp4", data, "video/mp4")}
    assert error(page.post("videos", file_url="https://example.com/v.mp4", files=file)) == (100, None)
    assert sandbox.meta.facebook.list_videos() == []


# --- Reels --------------------------------------------------------------------------------------------------------


def test_a_reel(sandbox: Sandbox, page: Page, upright: bytes) -> None:
    video_id, upload_url = page.start("video_reels")
    assert page.status(video_id)["uploading_phase"]["status"] == "not_started"
    assert page.upload(upload_url, upright).json()["success"] is True
    thumbnail = {"source": ("t.jpg", media_files.jpeg(540, 960), "image/jpeg")}
    assert page.post(f"{video_id}/thumbnails", files=thumbnail, is_preferred="true").json() == {"success": True}
    assert page.finish_reel(video_id, description="A reel #x", title="T").json() == {"success": True}
    before = page.status(video_id)
    assert before["publishing_phase"]["publish_status"] == "draft"
    _published(sandbox)
    after = page.status(video_id)
    assert after["publishing_phase"]["publish_status"] == "published"
    assert after["publishing_phase"]["publish_time"] > 0
    (report,) = sandbox.meta.facebook.published()
    assert (report.kind, report.message, report.media[0].sha256) == (
        "reel", "A reel #x", hashlib.sha256(upright).hexdigest(),
    )  # fmt: skip
    assert len(report.thumbnails) == 1
    (row,) = page.get(f"{page.page_id}/video_reels").json()["data"]
    assert set(row) == {"id", "description", "updated_time"}
    comment = page.post(f"{video_id}/comments", message="First!")
    assert comment.status_code == 200
    assert sandbox.meta.facebook.published()[0].comments == ["First!"]


def test_reels_that_cannot_be_finished(sandbox: Sandbox, client: httpx.Client, page: Page, upright: bytes) -> None:
    video_id, upload_url = page.start("video_reels")
    assert error(page.finish_reel(video_id)) == (6000, None)
    page.upload(upload_url, upright)
    now = int(sandbox.clock.timestamp())
    for fields in (
        {"video_id": ""},
        {"video_id": "1"},
        {"video_state": ""},
        {"video_state": "LIVE"},
        {"upload_phase": "complete"},
        {"scheduled_publish_time": now + 3600},  # without SCHEDULED
        {"video_state": "SCHEDULED"},
        {"video_state": "SCHEDULED", "scheduled_publish_time": now + 300},
        {"video_state": "SCHEDULED", "scheduled_publish_time": now + 30 * 86_400},
    ):
        given: dict[str, Any] = {"upload_phase": "finish", "video_id": video_id, "video_state": "PUBLISHED", **fields}
        assert error(page.post("video_reels", **given)) == (100, None), fields
    foreign = Page.of(client, sandbox.meta.create_page())
    assert error(foreign.finish_reel(video_id)) == (100, None)
    assert page.finish_reel(video_id).status_code == 200
    assert sandbox.meta.problems() == []
    assert error(page.finish_reel(video_id)) == (100, None)
    assert sandbox.meta.problems() == [f"second finish of video {video_id}"]
    _published(sandbox)
    assert sandbox.meta.facebook.count() == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"seconds": 3.2, "width": 960, "height": 400, "fps": 25}, 1363040),
        ({"seconds": 3.2, "width": 270, "height": 480, "fps": 25}, 1363127),
        ({"seconds": 1.0, "width": 540, "height": 960, "fps": 25}, 1363128),
        ({"seconds": 3.2, "width": 540, "height": 960, "fps": 10}, 1363129),
    ],
)
@pytest.mark.parametrize("shape", ["list", "object"])
def test_a_reel_outside_the_limits_fails_in_processing(
    sandbox: Sandbox, page: Page, options: dict[str, Any], code: int, shape: Any
) -> None:
    sandbox.meta.configure(errors_shape=shape)
    video_id, upload_url = page.start("video_reels")
    page.upload(upload_url, media_files.video(**options))
    assert page.finish_reel(video_id).status_code == 200
    _published(sandbox)
    phase = page.status(video_id)["processing_phase"]
    found = phase["errors"][0] if shape == "list" else phase["error"]
    assert (phase["status"], found["code"]) == ("error", code)
    assert sandbox.meta.facebook.count() == 0
    sandbox.meta.configure(check_content=False)
    other_id, other_url = page.start("video_reels")
    page.upload(other_url, b"anything at all")
    page.finish_reel(other_id)
    _published(sandbox)
    assert sandbox.meta.facebook.count() == 1


def test_processing_can_be_made_to_fail_later(sandbox: Sandbox, page: Page, upright: bytes) -> None:
    sandbox.meta.configure(processing_seconds=600)
    video_id, upload_url = page.start("video_reels")
    page.upload(upload_url, upright)
    page.finish_reel(video_id)
    sandbox.meta.facebook.set_error(video_id, 1363047)
    assert page.status(video_id)["processing_phase"]["errors"][0]["code"] == 1363047
    sandbox.clock.advance(1200)
    assert sandbox.meta.facebook.count() == 0


def test_thirty_reels_in_a_day(sandbox: Sandbox, page: Page) -> None:
    sandbox.meta.configure(reels_per_day=2, check_content=False)
    started = [page.start("video_reels") for _ in range(3)]
    for _, upload_url in started:
        page.upload(upload_url, b"x" * 5000)
    assert [page.finish_reel(video_id).status_code for video_id, _ in started] == [200, 200, 400]
    assert error(page.post("video_reels", upload_phase="start")) == (613, None)
    sandbox.clock.advance(86_401)
    assert page.finish_reel(started[2][0]).status_code == 200


def test_the_spellings_meta_cannot_decide_on(sandbox: Sandbox, page: Page, upright: bytes) -> None:
    sandbox.meta.configure(
        phase_word="completed", bytes_word="bytes_transfered", unpublished_word="not_published", reel_finish_post_id=True,
        relative_permalinks=True,
    )  # fmt: skip
    video_id, upload_url = page.start("video_reels")
    page.upload(upload_url, upright)
    assert page.status(video_id)["uploading_phase"] == {
        "status": "completed", "bytes_transfered": len(upright), "source_file_size": len(upright),
    }  # fmt: skip
    assert page.status(video_id)["publishing_phase"]["publish_status"] == "not_published"
    post_id = page.finish_reel(video_id).json()["post_id"]
    _published(sandbox)
    answer = page.get(video_id, fields="post_id,permalink_url").json()
    assert answer == {"id": video_id, "post_id": post_id, "permalink_url": f"/reel/{video_id}/"}


def test_phases_take_their_time(sandbox: Sandbox, page: Page, upright: bytes) -> None:
    sandbox.meta.configure(processing_seconds=60, publishing_seconds=60)
    video_id, upload_url = page.start("video_reels")
    page.upload(upload_url, upright)
    page.finish_reel(video_id)
    seen = []
    for _ in range(3):
        status = page.status(video_id)
        seen.append(tuple(status[phase]["status"] for phase in ("processing_phase", "publishing_phase")))
        sandbox.clock.advance(61)
    assert seen == [("in_progress", "not_started"), ("complete", "in_progress"), ("complete", "complete")]


def test_faults_of_finished_videos(sandbox: Sandbox, page: Page) -> None:
    sandbox.meta.configure(check_content=False)

    def reel() -> str:
        video_id, upload_url = page.start("video_reels")
        page.upload(upload_url, b"x" * 5000)
        page.finish_reel(video_id)
        return video_id

    sandbox.faults.add("facebook.video.finished", "phase_error", code=1363047, reason="publishing")
    failed = reel()
    sandbox.faults.add("facebook.video.finished", "publish_delay", seconds=600)
    late = reel()
    sandbox.faults.add("facebook.video.finished", "status_lag", seconds=600)
    hidden = reel()
    _published(sandbox)
    assert page.status(failed)["publishing_phase"]["publish_status"] == "error"
    assert page.status(late)["publishing_phase"]["status"] == "in_progress"
    assert page.status(hidden)["publishing_phase"]["status"] == "in_progress"
    assert [report.media[0].media_id for report in sandbox.meta.facebook.published()] == [hidden]
    sandbox.clock.advance(600)
    assert sandbox.meta.facebook.count() == 2
    assert page.status(hidden)["publishing_phase"]["publish_status"] == "published"


# --- stories ------------------------------------------------------------------------------------------------------


def test_a_video_story(sandbox: Sandbox, page: Page, upright: bytes) -> None:
    video_id, upload_url = page.start("video_stories")
    assert error(page.post("video_stories", upload_phase="finish", video_id=video_id)) == (6000, None)
    page.upload(upload_url, upright)
    answer = page.post("video_stories", upload_phase="finish", video_id=video_id).json()
    assert answer["success"] is True
    assert page.get(f"{page.page_id}/stories").json()["data"] == []
    _published(sandbox)
    (row,) = page.get(f"{page.page_id}/stories").json()["data"]
    assert (row["media_id"], row["media_type"], row["post_id"]) == (video_id, "video", answer["post_id"])
    assert page.get(f"{page.page_id}/video_reels").json()["data"] == []
    assert sandbox.meta.facebook.published()[0].kind == "video_story"
    assert error(page.finish_reel(video_id)) == (100, None)  # a story is no reel


def test_a_story_is_at_most_a_minute(sandbox: Sandbox, page: Page) -> None:
    video_id, upload_url = page.start("video_stories")
    page.upload(upload_url, media_files.video(seconds=2, width=540, height=960, last_frame_at_seconds=70))
    page.post("video_stories", upload_phase="finish", video_id=video_id)
    _published(sandbox)
    assert page.status(video_id)["processing_phase"]["errors"][0]["code"] == 1363128
    assert page.get(f"{page.page_id}/stories").json()["data"] == []


def test_thumbnails_are_pictures(page: Page) -> None:
    video_id, _ = page.start("video_reels")
    assert error(page.post(f"{video_id}/thumbnails", is_preferred="true")) == (100, None)
    bad = {"source": ("t.jpg", b"text", "image/jpeg")}
    assert error(page.post(f"{video_id}/thumbnails", files=bad)) == (100, 2069019)


# --- the Resumable Upload API -------------------------------------------------------------------------------------


def test_a_handle_publishes_once(sandbox: Sandbox, client: httpx.Client, data: bytes) -> None:
    handle = sandbox.meta.create_page()
    page, user = Page.of(client, handle), Page(client, handle.page_id, handle.user_token)
    uploads = f"{sandbox.meta.app.app_id}/uploads"
    fields: dict[str, Any] = {"file_name": "v.mp4", "file_length": len(data), "file_type": "video/mp4"}
    assert error(page.post(uploads, **fields)) == (200, None)
    assert error(user.post(uploads, **{**fields, "file_type": "video/quicktime"})) == (100, None)
    session = user.post(uploads, **fields).json()["id"]
    address, oauth = f"{GRAPH}/{session}", {"Authorization": f"OAuth {handle.user_token}"}

    def send(content: bytes, offset: int, headers: dict[str, str], query: str = "") -> httpx.Response:
        return client.post(address + query, content=content, headers={**headers, "file_offset": str(offset)})

    assert error(send(data, 0, {}, f"?access_token={handle.user_token}")) == (104, None)
    assert error(send(data[:5000], 0, oauth)) == (6000, 1363033)
    assert client.get(address, headers=oauth).json()["file_offset"] == 5000
    assert error(send(data, 0, oauth)) == (100, None)
    made = send(data[5000:], 5000, oauth).json()["h"]
    assert page.post("videos", base=VIDEO, fbuploader_video_file_chunk=made).status_code == 200
    assert error(page.post("videos", base=VIDEO, fbuploader_video_file_chunk=made)) == (100, None)
    _published(sandbox)
    assert sandbox.meta.facebook.published()[0].media[0].sha256 == hashlib.sha256(data).hexdigest()
