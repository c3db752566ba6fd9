"""The Resumable Upload API: /{app}/uploads, then bytes to upload:{session}, which gives a handle for one publish.

After Meta "Uploading Videos with the Graph API" (Resumable Upload API). The session calls take the token from the
`Authorization: OAuth` header only, and `file_offset` as a header.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from orbyt_worker.sandbox.meta_access import Call
from orbyt_worker.sandbox.meta_errors import bad_parameter, graph_error, unreadable
from orbyt_worker.sandbox.meta_http import Endpoint
from orbyt_worker.sandbox.meta_media import StoredBytes

FILE_TYPES = frozenset({"video/mp4", "image/jpeg", "image/jpg", "image/png", "application/pdf"})


@dataclass(slots=True)
class HandleUpload:
    """One session; the handle is good for one publish by the same app."""

    session_id: str
    user_id: str
    size_bytes: int
    file_type: str
    stored: StoredBytes = field(default_factory=StoredBytes, repr=False)
    handle: str | None = field(default=None, repr=False)
    used: bool = False


def upload_endpoints() -> list[Endpoint]:
    """Start, bytes, and where a session stands."""
    return [
        Endpoint("POST", "app", "uploads", "facebook.uploads.start", _start),
        Endpoint("POST", "upload", "", "facebook.uploads.bytes", _bytes),
        Endpoint("GET", "upload", "", "facebook.uploads.status", _status),
    ]


async def _start(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        if call.token.kind != "USER" or call.token.user_id is None:
            raise graph_error(200, "A user access token is required to request this resource.")
        size, kind = call.whole("file_length"), call.need("file_type")
        if kind not in FILE_TYPES:
            raise bad_parameter("The file type is not supported.")
        if not size:
            raise bad_parameter("The parameter file_length is required.")
        session_id = "upload:" + secrets.token_urlsafe(32)
        call.meta.facebook.handles[session_id] = HandleUpload(session_id, call.token.user_id, size, kind)
        return {"id": session_id}


def _own(call: Call) -> HandleUpload:
    upload = call.meta.facebook.handles[call.node_id]
    if not call.request.headers.get("authorization", "").startswith("OAuth "):
        raise graph_error(104, "The Authorization header must be OAuth {access token}.")
    if call.token.user_id != upload.user_id or call.token.kind != "USER":
        raise unreadable(call.node_id, call.method)
    return upload


async def _bytes(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        upload = _own(call)
        offset = call.request.headers.get("file_offset", "")
        if not offset.isdecimal() or int(offset) != upload.stored.size_bytes or upload.handle is not None:
            raise bad_parameter(f"The upload stands at {upload.stored.size_bytes}.")
        if upload.stored.size_bytes + len(call.body) > upload.size_bytes:
            raise bad_parameter("There are more bytes than announced.")
        upload.stored.append(call.body)
        if upload.stored.size_bytes < upload.size_bytes:
            raise graph_error(6000, "The file was only partially uploaded.", subcode=1363033)
        upload.handle = "4::" + secrets.token_urlsafe(48)
        return {"h": upload.handle}


async def _status(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        upload = _own(call)
        return {"id": upload.session_id, "file_offset": upload.stored.size_bytes}
