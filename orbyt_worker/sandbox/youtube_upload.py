"""Resumable uploads: sessions, ranges, bytes. After YouTube Data API "Resumable Uploads" and "Videos: insert".

Bytes count as stored in whole blocks of 256 KiB, so a
connection that breaks leaves a state from which only a client that asks can go on. A newer request on a session ends an
older one that is still sending: what a client believes to be lost cannot arrive afterwards.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox.faults import Fault
from orbyt_worker.sandbox.wire import JSON_BYTES_MAX, Cut, Refusal, drain, read_body, route
from orbyt_worker.sandbox.youtube_access import (
    check_limit_fault,
    check_query,
    identify,
    json_body,
    require_channel,
    require_scope,
)
from orbyt_worker.sandbox.youtube_resources import video_resource
from orbyt_worker.sandbox.youtube_rules import (
    WRITABLE_PARTS,
    api_error,
    check_body,
    check_recording,
    check_snippet,
    check_status,
    parse_parts,
)
from orbyt_worker.sandbox.youtube_sessions import UploadSession

if TYPE_CHECKING:
    from orbyt_worker.sandbox.youtube import YouTube

BLOCK_BYTES = 256 * 1024
UPLOAD_BYTES_MAX = 274_877_906_944
UPLOAD_PATH = "/youtube-upload/upload/youtube/v3/videos"

_CONTENT_RANGE = re.compile(r"^bytes (\d{1,15})-(\d{1,15})/(\d{1,15})$")
_STATUS_RANGE = re.compile(r"^bytes \*/(\d{1,15}|\*)$")


def upload_routes(youtube: YouTube) -> list[BaseRoute]:
    """Start of a session, and everything that is PUT to it."""
    endpoints = _Endpoints(youtube)
    return [
        route(youtube.sandbox, "POST", UPLOAD_PATH, "youtube.videos.insert", endpoints.start),
        route(youtube.sandbox, "PUT", UPLOAD_PATH, _put_name, endpoints.put),
    ]


def _put_name(request: Request) -> str:
    value = request.headers.get("content-range", "")
    if value.startswith("bytes */"):
        return "youtube.upload.status"
    match = _CONTENT_RANGE.match(value)
    if match is None or int(match[2]) + 1 == int(match[3]):
        return "youtube.upload.final"
    return "youtube.upload.put"


class _Endpoints:
    def __init__(self, youtube: YouTube) -> None:
        self._youtube = youtube
        self._sandbox = youtube.sandbox

    # --- start --------------------------------------------------------------------------------------------------

    async def start(self, request: Request) -> Response:
        body = await read_body(request, JSON_BYTES_MAX)
        with self._youtube.lock:
            session = self._start(request, body)
            self._youtube.uploads.add(session)
        return Response(
            status_code=200,
            headers={
                "Location": self._address(session.upload_id),
                "X-GUploader-UploadID": _public_id(session),
                "Cache-Control": "no-cache",
            },
        )

    def _start(self, request: Request, body: bytes | None) -> UploadSession:
        youtube, now = self._youtube, self._sandbox.clock.now()
        access = identify(youtube, request)
        # The bucket counts calls, failing ones included.
        youtube.charge_upload()
        check_limit_fault(request)
        require_scope(access, "youtube.videos.insert")
        channel = require_channel(youtube, access)
        check_query(
            request,
            {
                "uploadType",
                "part",
                "notifySubscribers",
                "onBehalfOfContentOwner",
                "onBehalfOfContentOwnerChannel",
                "autoLevels",
                "stabilize",
            },
        )
        upload_type = request.query_params.get("uploadType")
        if upload_type is None:
            raise api_error(
                400,
                "wrongUrlForUpload",
                "Uploads need an uploadType.",
                location="uploadType",
                location_type="parameter",
            )
        if upload_type != "resumable":
            raise api_error(
                400,
                "badRequest",
                "The sandbox takes resumable uploads only.",
                location="uploadType",
                location_type="parameter",
            )
        part_names = parse_parts(
            request.query_params.get("part"), WRITABLE_PARTS | {"id", "contentDetails", "statistics", "player"}
        )
        notify = _boolean(request, "notifySubscribers", default=True)
        total, content_type = _announced(request)
        parts = check_body(json_body(request, body), part_names, update=False)
        check_snippet(parts.get("snippet", {}))
        check_status(parts.get("status", {}))
        check_recording(parts.get("recordingDetails", {}))
        status = parts.get("status", {})
        if "localizations" in parts and parts["localizations"] and "defaultLanguage" not in parts.get("snippet", {}):
            raise api_error(
                400,
                "defaultLanguageNotSet",
                "The default language is not set.",
                domain="youtube.video",
                location="body.snippet",
            )
        if status.get("privacyStatus", "public") in channel.forbidden_privacy:
            raise api_error(403, "forbiddenPrivacySetting", "The privacy setting is not allowed.", domain="youtube.video", location="body.status.privacyStatus")  # fmt: skip
        if status.get("license", "youtube") in channel.forbidden_licenses:
            raise api_error(403, "forbiddenLicenseSetting", "The license is not allowed.", domain="youtube.video", location="body.status.license")  # fmt: skip
        if channel.upload_limit_per_day is not None:
            made = sum(
                1
                for v in youtube.videos.values()
                if v.channel_id == channel.channel_id and now - v.created_at < timedelta(days=1)
            )
            if made >= channel.upload_limit_per_day:
                raise api_error(400, "uploadLimitExceeded", "The user has exceeded the number of videos they may upload.", domain="youtube.video")  # fmt: skip
        session = UploadSession(
            upload_id=secrets.token_urlsafe(72), channel_id=channel.channel_id, total_bytes=total, content_type=content_type,
            file_name=request.headers.get("slug"), part_names=part_names, parts=parts, notify_subscribers=notify, created_at=now,
            expires_at=now + timedelta(seconds=youtube.config.session_seconds),
        )  # fmt: skip
        if youtube.config.spool_dir is not None:
            folder = Path(youtube.config.spool_dir)
            folder.mkdir(parents=True, exist_ok=True)
            session.received.open_spool(Path(tempfile.mkstemp(prefix="upload-", suffix=".bin", dir=folder)[1]))
        return session

    # --- bytes and status ---------------------------------------------------------------------------------------

    async def put(self, request: Request) -> Response:
        try:
            return await self._put(request)
        except Refusal as refusal:
            # Read what the client still sends, as the real front end does, so that it sees the answer and not a broken pipe.
            await drain(request)
            return refusal.response

    async def _put(self, request: Request) -> Response:
        fault: Fault | None = request.state.fault
        with self._youtube.lock:
            self._youtube.uploads.settle()
            session = self._find(request)
            self._authorise(request, session)
            session.turn += 1
            turn = session.turn
            if fault is not None and fault.kind == "expire_session" and not fault.process:
                session.state = "expired"
            if fault is not None and fault.kind == "fail_session":
                session.state = "failed"
                session.failure = api_error(
                    fault.status,
                    fault.reason or "badRequest",
                    fault.message or "The upload failed.",
                    domain="youtube.video",
                )
            self._usable(session)
            if request.headers.get("content-range", "").startswith("bytes */"):
                return self._status(request, session, fault)
            start, length = self._accepts(request, session)
        if session.state == "complete":
            # Data for a finished upload changes nothing; the answer is that of a status query.
            await drain(request)
            return self._done(session)
        result = await self._receive(request, session, turn, start, length, fault)
        if result is not None:
            return result
        with self._youtube.lock:
            if fault is not None and fault.kind == "expire_session":
                if session.received.size_bytes == session.total_bytes:
                    self._finish(session, fault)
                session.state = "expired"
                return Cut(self._sandbox.connections)
            if session.received.size_bytes < session.total_bytes:
                return self._incomplete(session, fault)
            return self._finish(session, fault)

    def _find(self, request: Request) -> UploadSession:
        if request.query_params.get("uploadType") != "resumable":
            raise api_error(
                400, "wrongUrlForUpload", "Not an upload session.", location="uploadType", location_type="parameter"
            )
        session = self._youtube.uploads.sessions.get(request.query_params.get("upload_id", ""))
        if session is None:
            raise api_error(404, "notFound", "Not Found")
        return session

    def _authorise(self, request: Request, session: UploadSession) -> None:
        if "authorization" not in request.headers and not self._youtube.config.session_requires_token:
            return
        access = identify(self._youtube, request)
        check_limit_fault(request)
        if access.channel_id != session.channel_id:
            raise api_error(403, "forbidden", "The upload belongs to another channel.", domain="youtube.video")

    def _usable(self, session: UploadSession) -> None:
        if session.state == "expired":
            status = self._youtube.config.expired_session_status
            raise api_error(status, "notFound" if status == 404 else "gone", "Not Found" if status == 404 else "Gone")
        if session.failure is not None:
            raise session.failure

    def _accepts(self, request: Request, session: UploadSession) -> tuple[int, int]:
        """(first byte, length) announced by a PUT with data; refuses it as a whole when anything is wrong."""
        if "transfer-encoding" in request.headers:
            raise self._wrong(
                session, 411, "badRequest", "Uploads need a Content-Length; chunked transfer encoding is refused."
            )
        length_text = request.headers.get("content-length", "")
        if not length_text.isdecimal():
            raise self._wrong(session, 411, "badRequest", "Content-Length is required.")
        length = int(length_text)
        content_range = request.headers.get("content-range")
        if content_range is None:
            start, end, total = 0, length - 1, length
        else:
            match = _CONTENT_RANGE.match(content_range)
            if match is None:
                raise self._wrong(session, 400, "badRequest", "Failed to parse Content-Range header.")
            start, end, total = int(match[1]), int(match[2]), int(match[3])
        if end < start or length != end - start + 1:
            raise self._wrong(
                session, 400, "badRequest", "Failed to parse Content-Range header: it does not match Content-Length."
            )
        if total != session.total_bytes or end >= session.total_bytes:
            raise self._wrong(
                session,
                400,
                "badRequest",
                f"The total of {total} bytes differs from what was announced, {session.total_bytes}.",
            )
        content_type = request.headers.get("content-type")
        if content_type is not None and content_type != session.content_type:
            raise self._wrong(session, 400, "badRequest", "Content-Type differs from X-Upload-Content-Type.")
        if session.state == "complete":
            session.problems.append("data after completion")
            return start, length
        stored = session.received.size_bytes
        if session.finalise_at is not None or start != stored:
            problem = "gap" if start > stored else "overlap"
            raise self._wrong(session, 503, "backendError", f"The chunk starts at {start} ({problem}).")
        if end + 1 != total and length % BLOCK_BYTES:
            raise self._wrong(session, 400, "badRequest", f"Chunks but the last are multiples of {BLOCK_BYTES} bytes.")
        return start, length

    def _wrong(self, session: UploadSession, status: int, reason: str, message: str) -> Refusal:
        session.problems.append(message)
        return api_error(status, reason, message)

    async def _receive(
        self, request: Request, session: UploadSession, turn: int, start: int, length: int, fault: Fault | None
    ) -> Response | None:
        """Store the body; a Response when the request ends here, None when all announced bytes are stored."""
        session.puts += 1
        limit = length
        if fault is not None and fault.kind in {"partial_accept", "drop_during"}:
            limit = min(length, fault.bytes // BLOCK_BYTES * BLOCK_BYTES)
        final = start + length == session.total_bytes
        pending = bytearray()
        taken = came = 0
        async for piece in _pieces(request):
            came += len(piece)
            with self._youtube.lock:
                if session.turn != turn or session.state != "open":
                    session.problems.append("superseded by a newer request")
                    return Cut(self._sandbox.connections)
                session.body_bytes += len(piece)
                room = limit - taken - len(pending)
                if room > 0:
                    pending += piece[:room]
                whole = len(pending) // BLOCK_BYTES * BLOCK_BYTES
                if whole:
                    session.received.store(bytes(pending[:whole]))
                    del pending[:whole]
                    taken += whole
            if fault is not None and fault.kind == "drop_during" and came >= fault.bytes:
                return Cut(self._sandbox.connections)
        if came != length:
            # The client hung up: whole blocks stay, the rest is lost.
            return Cut(self._sandbox.connections)
        with self._youtube.lock:
            if limit < length:
                return self._incomplete(session, fault)
            if final and pending:
                session.received.store(bytes(pending))
        return None

    def _status(self, request: Request, session: UploadSession, fault: Fault | None) -> Response:
        match = _STATUS_RANGE.match(request.headers["content-range"])
        if match is None or request.headers.get("content-length") != "0":
            raise self._wrong(session, 400, "badRequest", "Failed to parse Content-Range header.")
        if match[1] != "*" and int(match[1]) != session.total_bytes:
            raise self._wrong(session, 400, "badRequest", "The total differs from what was announced.")
        session.status_queries += 1
        if session.state == "complete":
            return self._done(session)
        if session.received.size_bytes == session.total_bytes and session.finalise_at is None:
            return self._finish(session, fault)
        return self._incomplete(session, fault)

    def _finish(self, session: UploadSession, fault: Fault | None) -> Response:
        now = self._sandbox.clock.now()
        if session.video_id is None and fault is not None and fault.kind == "finalise_later":
            session.finalise_at = now + timedelta(seconds=fault.seconds)
            return self._incomplete(session, None)
        fresh = session.video_id is None
        self._youtube.uploads.complete(session, now)
        return self._done(session, status=201 if fresh else 200)

    def _done(self, session: UploadSession, status: int = 200) -> Response:
        with self._youtube.lock:
            video = self._youtube.videos[session.video_id or ""]
            body = video_resource(self._youtube, video, ["id", *session.part_names])
        return JSONResponse(body, status_code=status, headers={"X-GUploader-UploadID": _public_id(session)})

    def _incomplete(self, session: UploadSession, fault: Fault | None) -> Response:
        headers = {"Content-Length": "0", "X-GUploader-UploadID": _public_id(session)}
        if session.received.size_bytes:
            headers["Range"] = f"bytes=0-{session.received.size_bytes - 1}"
        if fault is not None:
            headers |= fault.headers
            if fault.kind == "new_location":
                self._youtube.uploads.move(session)
                headers["Location"] = self._address(session.upload_id)
        return Response(status_code=308, headers=headers)

    def _address(self, upload_id: str) -> str:
        query = urlencode({"uploadType": "resumable", "upload_id": upload_id})
        return f"{self._sandbox.base_url}{UPLOAD_PATH}?{query}"


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes; ends quietly when the client hangs up."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


def _announced(request: Request) -> tuple[int, str]:
    """(size in bytes, media type) of the file to come."""
    text = request.headers.get("x-upload-content-length", "")
    if not text.isdecimal() or int(text) < 1:
        raise api_error(400, "badRequest", "X-Upload-Content-Length must be a positive integer.", location="X-Upload-Content-Length", location_type="header")  # fmt: skip
    if int(text) > UPLOAD_BYTES_MAX:
        raise api_error(
            413, "uploadTooLarge", "The file is too large.", location="X-Upload-Content-Length", location_type="header"
        )
    content_type = request.headers.get("x-upload-content-type", "")
    if not re.match(r"^(video/[\w.+-]+|application/octet-stream)$", content_type):
        raise api_error(
            400, "badRequest", "Media type is not supported.", location="X-Upload-Content-Type", location_type="header"
        )
    return int(text), content_type


def _boolean(request: Request, name: str, *, default: bool) -> bool:
    value = request.query_params.get(name)
    if value is None:
        return default
    if value.lower() not in {"true", "false"}:
        raise api_error(
            400, "invalidParameter", f"Invalid boolean value: '{value}'.", location=name, location_type="parameter"
        )
    return value.lower() == "true"


def _public_id(session: UploadSession) -> str:
    return hashlib.sha256(session.upload_id.encode()).hexdigest()[:32]
