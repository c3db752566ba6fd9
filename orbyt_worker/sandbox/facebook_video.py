"""Feed videos (one call and chunked), Reels and video stories of a Page; thumbnails.

After Meta "Page Videos", "Publishing" (Video API), "Reels Publishing API", "Facebook Stories API" and "Video API Error Codes".
The server dictates the chunks; a `finish` is only an acknowledgement: processing and publishing follow by the sandbox clock.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from orbyt_worker.sandbox.facebook_model import Video, VideoKind
from orbyt_worker.sandbox.facebook_posts import POSTING, schedule
from orbyt_worker.sandbox.meta_access import Call
from orbyt_worker.sandbox.meta_errors import GraphError, bad_parameter, graph_error
from orbyt_worker.sandbox.meta_http import GRAPH_AND_VIDEO, Endpoint
from orbyt_worker.sandbox.meta_media import FetchFailed, StoredBytes, fetch, image_facts, look_at_video
from orbyt_worker.sandbox.rupload import upload_address

VIDEO_BYTES_MIN = 1024
VIDEO_BYTES_MAX = 10 * 1024**3
FETCHED_BYTES_MAX = 1024**3
THUMBNAIL_BYTES_MAX = 10 * 1024 * 1024
LATEST_VIDEO = timedelta(days=180)
LATEST_REEL = timedelta(days=29)


def video_endpoints() -> list[Endpoint]:
    """Uploads of all kinds."""
    return [
        Endpoint("POST", "page", "videos", _videos_name, _videos, GRAPH_AND_VIDEO),
        Endpoint("POST", "page", "video_reels", lambda call: _phase_name("facebook.reels", call), _reels),
        Endpoint("POST", "page", "video_stories", lambda call: _phase_name("facebook.video_stories", call), _stories),
        Endpoint("POST", "video", "thumbnails", "facebook.thumbnails", _thumbnail),
    ]


def _videos_name(call: Call) -> str:
    phase = call.text("upload_phase")
    if phase is None:
        return "facebook.videos.direct"
    return f"facebook.videos.{phase if phase in {'start', 'transfer', 'finish', 'cancel'} else 'other'}"


def _phase_name(base: str, call: Call) -> str:
    phase = call.text("upload_phase")
    return f"{base}.{phase if phase in {'start', 'finish'} else 'other'}"


def _new_video(call: Call, page_id: str, kind: VideoKind) -> Video:
    video = Video(call.meta.new_id("13"), page_id, kind, call.meta.now())
    call.meta.facebook.videos[video.video_id] = video
    return video


async def _conclude(call: Call, video: Video) -> None:
    """Look at the bytes outside the lock, then decide."""
    facts = await look_at_video(video.stored) if call.meta.config.check_content else None
    with call.meta.lock:
        call.meta.facebook.conclude(video, facts)


def _too_small() -> GraphError:
    return graph_error(382, "The video file you tried to upload is too small.", subcode=1363022)


# --- /{page}/videos -----------------------------------------------------------------------------------------------


async def _videos(call: Call) -> dict[str, Any]:
    phase = call.text("upload_phase")
    if phase is None:
        return await _direct(call)
    if phase not in {"start", "transfer", "finish", "cancel"}:
        raise bad_parameter("Param upload_phase must be one of {start, transfer, finish, cancel}.")
    with call.meta.lock:
        page = call.page(write=True)
        call.require(*POSTING)
        if call.text("file_url") is not None:
            raise bad_parameter("file_url and upload_phase exclude each other.")
        if phase == "start":
            return _start_chunks(call, page.page_id)
        video = _session(call, page.page_id)
        if phase == "transfer":
            return _transfer(call, video)
        if phase == "cancel":
            video.cancelled = True
            return {"success": True}
        _finish_chunks(call, video)
    await _conclude(call, video)
    return {"success": True}


def _start_chunks(call: Call, page_id: str) -> dict[str, Any]:
    size = call.whole("file_size")
    if size is None:
        raise bad_parameter("The parameter file_size is required.")
    if size < VIDEO_BYTES_MIN:
        raise _too_small()
    if size > VIDEO_BYTES_MAX:
        raise graph_error(6000, "The video file is too large.", subcode=1363023)
    video = _new_video(call, page_id, "video")
    video.size_bytes, video.session_id = size, call.meta.new_id("14")
    call.meta.facebook.sessions[video.session_id] = video
    return {"upload_session_id": video.session_id, "video_id": video.video_id, **_next_chunk(call, video)}


def _next_chunk(call: Call, video: Video) -> dict[str, str]:
    assert video.size_bytes is not None
    start = video.stored.size_bytes
    return {
        "start_offset": str(start),
        "end_offset": str(min(start + call.meta.config.chunk_bytes, video.size_bytes)),
    }


def _session(call: Call, page_id: str) -> Video:
    video = call.meta.facebook.sessions.get(call.need("upload_session_id"))
    if video is None or video.page_id != page_id:
        raise graph_error(6000, "The upload session is invalid.", subcode=1363041)
    if video.finished_at is not None or video.cancelled:
        if video.finished_at is not None:
            call.meta.note_problem(f"{call.text('upload_phase')} of the finished video {video.video_id}")
        if video.finished_at is not None and call.text("upload_phase") == "finish":
            call.meta.note_commit("facebook.videos.finish", page_id, video.video_id)
        raise graph_error(6000, "The upload session has ended.", subcode=1363041)
    return video


def _transfer(call: Call, video: Video) -> dict[str, Any]:
    """Exactly the bytes [start_offset, end_offset) that the last answer asked for."""
    start = call.whole("start_offset")
    if start is None:
        raise bad_parameter("The parameter start_offset is required.")
    wanted = _next_chunk(call, video)
    if start != video.stored.size_bytes:
        raise graph_error(6001, "Your upload session's start offset does not match.", subcode=1363037, data=wanted)
    part = call.files.get("video_file_chunk")
    if part is None or not part.file_name:
        raise graph_error(6000, "There is no file part or file name.", subcode=1363020)
    if len(part.data) != int(wanted["end_offset"]) - start:
        raise graph_error(6000, "The file was only partially uploaded.", subcode=1363033)
    video.stored.append(part.data)
    if video.stored.size_bytes == video.size_bytes:
        video.uploaded = True
    return dict(_next_chunk(call, video))


def _finish_chunks(call: Call, video: Video) -> None:
    if not video.uploaded:
        raise graph_error(6000, "There was a problem uploading your video file. Please try again.")
    _describe(call, video)
    call.meta.note_commit("facebook.videos.finish", video.page_id, video.video_id)


def _describe(call: Call, video: Video) -> None:
    """Text and schedule of a feed video; from here on it is finished."""
    published = call.flag("published", default=True)
    video.scheduled_at = schedule(call, published=published, latest=LATEST_VIDEO)
    video.state = "SCHEDULED" if video.scheduled_at is not None else "PUBLISHED" if published else "DRAFT"
    video.title, video.description = call.text("title"), call.text("description")
    if "thumb" in call.files:
        video.thumbnails.append(_picture(call, "thumb"))
    _close(call, video)


def _close(call: Call, video: Video) -> None:
    video.finished_at = call.meta.now()
    video.post_id = call.meta.facebook.new_post_id(video.page_id, story=video.kind == "story")


async def _direct(call: Call) -> dict[str, Any]:
    """One call: `file_url`, a file part, or the handle of a Resumable Upload."""
    with call.meta.lock:
        page = call.page(write=True)
        call.require(*POSTING)
        url, handle = call.text("file_url"), call.text("fbuploader_video_file_chunk")
        part = next((file for name, file in call.files.items() if name != "thumb"), None)
        if [url, handle, part].count(None) != 2:
            raise bad_parameter("Give one of file_url, source and fbuploader_video_file_chunk.")
        if handle is not None:
            stored = _take_handle(call, handle)
        elif part is not None:
            stored = StoredBytes.of(part.data)
    if url is not None:
        try:
            stored = (await fetch(call.meta, url, bytes_max=FETCHED_BYTES_MAX)).stored
        except FetchFailed as problem:
            raise graph_error(
                389, f"Unable to fetch video file from URL ({problem.problem}).",
                user_title="Unable to Fetch Video File From URL", user_message="We were unable to fetch the video file from the URL.",
            ) from None  # fmt: skip
    if stored.size_bytes < VIDEO_BYTES_MIN:
        raise _too_small()
    with call.meta.lock:
        video = _new_video(call, page.page_id, "video")
        try:
            _describe(call, video)
        except GraphError:
            del call.meta.facebook.videos[video.video_id]
            raise
        video.stored, video.size_bytes, video.uploaded = stored, stored.size_bytes, True
        call.meta.note_commit("facebook.videos.direct", page.page_id, video.video_id)
    await _conclude(call, video)
    return {"id": video.video_id}


def _take_handle(call: Call, handle: str) -> StoredBytes:
    upload = next((u for u in call.meta.facebook.handles.values() if u.handle == handle), None)
    if upload is None or upload.used:
        raise bad_parameter("The file handle is invalid or was already used.")
    upload.used = True
    return upload.stored


# --- Reels and video stories --------------------------------------------------------------------------------------


def _start_rupload(call: Call, page_id: str, kind: VideoKind) -> dict[str, Any]:
    video = _new_video(call, page_id, kind)
    call.meta.uploads["video-upload", video.video_id] = video
    return {
        "video_id": video.video_id,
        "upload_url": upload_address(call.meta, "video-upload", call.version, video.video_id),
    }


def _uploaded(call: Call, page_id: str, kind: VideoKind, name: str) -> Video:
    """The video a `finish` is about: own, of this kind, completely uploaded, not finished before."""
    video = call.meta.facebook.videos.get(call.need("video_id"))
    if video is None or video.page_id != page_id or video.kind != kind:
        raise bad_parameter("The video does not exist.")
    if video.finished_at is not None:
        call.meta.note_problem(f"second finish of video {video.video_id}")
        call.meta.note_commit(name, page_id, video.video_id)
        raise bad_parameter("The video was already finished.")
    if not video.uploaded:
        raise graph_error(6000, "There was a problem uploading your video file. Please try again.")
    return video


def _phase(call: Call) -> str:
    phase = call.need("upload_phase")
    if phase not in {"start", "finish"}:
        raise bad_parameter("Param upload_phase must be one of {start, finish}.")
    return phase


async def _reels(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        page = call.page(write=True)
        call.require(*POSTING)
        phase = _phase(call)
        facebook = call.meta.facebook
        if facebook.reels_today(page.page_id) >= call.meta.config.reels_per_day:
            raise graph_error(613, "The Page has published too many reels in the last 24 hours.")
        if phase == "start":
            return _start_rupload(call, page.page_id, "reel")
        video = _uploaded(call, page.page_id, "reel", "facebook.reels.finish")
        state = call.need("video_state")
        if state not in {"PUBLISHED", "DRAFT", "SCHEDULED"}:
            raise bad_parameter("Param video_state must be one of {DRAFT, PUBLISHED, SCHEDULED}.")
        at = schedule(call, published=state != "SCHEDULED", latest=LATEST_REEL)
        if state == "SCHEDULED" and at is None:
            raise bad_parameter("A scheduled reel needs scheduled_publish_time.")
        video.state, video.scheduled_at = state, at  # type: ignore[assignment] # one of the literals, checked above
        video.title, video.description = call.text("title"), call.text("description")
        _close(call, video)
        call.meta.note_commit("facebook.reels.finish", page.page_id, video.video_id)
        answer: dict[str, Any] = {"success": True}
        if call.meta.config.reel_finish_post_id:
            answer["post_id"] = video.post_id
    await _conclude(call, video)
    return answer


async def _stories(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        page = call.page(write=True)
        call.require(*POSTING)
        if _phase(call) == "start":
            return _start_rupload(call, page.page_id, "story")
        video = _uploaded(call, page.page_id, "story", "facebook.video_stories.finish")
        _close(call, video)
        call.meta.note_commit("facebook.video_stories.finish", page.page_id, video.video_id)
        number = video.post_id
        assert number is not None
    await _conclude(call, video)
    return {"success": True, "post_id": int(number) if call.meta.config.numeric_story_ids else number}


# --- thumbnails ---------------------------------------------------------------------------------------------------


async def _thumbnail(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        video = call.meta.facebook.videos[call.node_id]
        call.as_page(call.meta.pages[video.page_id], write=True)
        call.require(*POSTING)
        call.flag("is_preferred", default=False)
        video.thumbnails.append(_picture(call, "source"))
        return {"success": True}


def _picture(call: Call, name: str) -> tuple[str, int]:
    """(sha256, size) of a file part that must be a JPEG or PNG of at most 10 MB."""
    part = call.files.get(name)
    if part is None:
        raise bad_parameter(f"The file {name} is required.")
    if not 0 < len(part.data) <= THUMBNAIL_BYTES_MAX or image_facts(part.data).kind not in {"JPEG", "PNG"}:
        raise bad_parameter("The thumbnail is not a supported image.", subcode=2069019)
    stored = StoredBytes.of(part.data)
    stored.discard()
    return stored.sha256, stored.size_bytes
