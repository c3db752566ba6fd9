"""rupload.facebook.com: bytes or hosted files for Reels, video stories and Instagram containers.

After Meta "Reels Publishing API", "Facebook Stories API" and "Content Publishing" (resumable). Parameters travel as headers,
the token only as `Authorization: OAuth`; errors have a shape of their own (`debug_info`). What can be uploaded to registers
an `UploadTarget` on Meta: {kind of upload} x {id} -> target.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox.faults import Fault
from orbyt_worker.sandbox.meta_access import check_version, throttle_error
from orbyt_worker.sandbox.meta_errors import GraphError, RuploadError, graph_error, render, render_rupload
from orbyt_worker.sandbox.meta_media import FetchFailed, StoredBytes, fetch
from orbyt_worker.sandbox.meta_model import HOST_PREFIXES, Token
from orbyt_worker.sandbox.wire import Cut, drain, route

if TYPE_CHECKING:
    from orbyt_worker.sandbox.meta import Meta

UploadKind = Literal["video-upload", "ig-api-upload"]
HOSTED_BYTES_MAX = 1024 * 1024 * 1024
NAMES: dict[UploadKind, str] = {"video-upload": "meta.rupload.facebook", "ig-api-upload": "meta.rupload.instagram"}


class UploadTarget(Protocol):
    """What an upload goes to. All members are used with Meta's lock held and must not block."""

    stored: StoredBytes
    size_bytes: int | None  # the total the client announced; None until the first request

    def allows(self, token: Token) -> bool:
        """Whether this token may upload here."""

    def closed(self) -> str | None:
        """Why nothing can be uploaded any more (finished, expired, failed); None while it can."""

    def finish(self) -> None:
        """All bytes are there."""

    def fail(self, reason: str) -> None:
        """The upload failed for good."""


def rupload_routes(meta: Meta) -> list[BaseRoute]:
    """Both kinds of uploads."""
    endpoints = _Rupload(meta)
    prefix = HOST_PREFIXES["rupload"]
    return [
        route(meta.sandbox, "POST", f"/{prefix}/{kind}/{{version}}/{{target}}", name, endpoints.receive)
        for kind, name in NAMES.items()
    ]


def upload_address(meta: Meta, kind: UploadKind, version: str, target_id: str) -> str:
    """`upload_url` (Facebook) or `uri` (Instagram) as the start of an upload answers it."""
    return f"{meta.sandbox.base_url}/{HOST_PREFIXES['rupload']}/{kind}/{version}/{target_id}"


class _Rupload:
    def __init__(self, meta: Meta) -> None:
        self._meta = meta

    async def receive(self, request: Request) -> Response:
        fault: Fault | None = request.state.fault
        struck = _injected(fault)
        try:
            if struck is not None and fault is not None and not fault.process:
                raise struck
            answer = await self._receive(request, fault)
            if struck is not None:
                raise struck
            return answer
        except (RuploadError, GraphError) as error:
            # Read what the client still sends, so that it sees the answer and not a broken pipe.
            await drain(request)
            return render_rupload(error) if isinstance(error, RuploadError) else render(error, self._meta.config)

    async def _receive(self, request: Request, fault: Fault | None) -> Response:
        with self._meta.lock:
            target = self._find(request)
            hosted = request.headers.get("file_url")
            if hosted is None:
                offset, total = self._announced(request, target)
                # Taken at once: a second request for the same bytes must not write between the first one's pieces.
                target.size_bytes = total
        if hosted is not None:
            return await self._hosted(request, target, hosted)
        cut_after = fault.bytes if fault is not None and fault.kind == "drop_during" else None
        return await self._bytes(request, target, offset, total, cut_after)

    def _find(self, request: Request) -> UploadTarget:
        kind: UploadKind = "video-upload" if "/video-upload/" in request.url.path else "ig-api-upload"
        check_version(self._meta, request.path_params["version"])
        target = self._meta.uploads.get((kind, request.path_params["target"]))
        token = self._token(request)
        if target is None or not target.allows(token):
            raise RuploadError("ProcessingFailedError", _inner("unauthorized user request"))
        closed = target.closed()
        if closed is not None:
            self._meta.note_problem(f"upload to {request.path_params['target']}: {closed}")
            raise RuploadError("ProcessingFailedError", _inner(f"upload session {closed}"))
        return target

    def _token(self, request: Request) -> Token:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme != "OAuth" or not value:
            raise RuploadError(
                "NotAuthorizedError", "The Authorization header must be OAuth {access token}.", status=401
            )
        token = self._meta.find_token(value)
        if token is None or token.login != "facebook" or token.kind == "APP":
            raise RuploadError("NotAuthorizedError", "Invalid access token.", status=401)
        if token.state_at(self._meta.sandbox.clock.now()) != "valid":
            raise RuploadError("NotAuthorizedError", "The access token is not valid any more.", status=401)
        return token

    def _announced(self, request: Request, target: UploadTarget) -> tuple[int, int]:
        """(offset, total size), both from headers; they must fit to where the upload stands and to the body."""
        numbers = []
        for name in ("offset", "file_size"):
            value = request.headers.get(name, "")
            if not value.isdecimal() or not value.isascii():
                raise RuploadError("ParameterValidationError", f"Header {name} must be an unsigned integer.")
            numbers.append(int(value))
        offset, total = numbers
        if total == 0 or (target.size_bytes is not None and target.size_bytes != total):
            raise RuploadError("ParameterValidationError", "Header file_size differs from what was announced.")
        stands = target.stored.size_bytes
        if offset != stands:
            raise RuploadError("OffsetInvalidError", f"The upload stands at {stands}.", retriable=True)
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) != total - offset:
            raise RuploadError("PartialRequestError", "The body does not hold the rest of the file.", retriable=True)
        return offset, total

    async def _bytes(
        self, request: Request, target: UploadTarget, offset: int, total: int, cut_after: int | None
    ) -> Response:
        """Store what comes; a broken connection leaves what came, from where the client goes on."""
        stands, too_long = offset, False
        try:
            async for piece in request.stream():
                with self._meta.lock:
                    if target.closed() is not None or target.stored.size_bytes != stands:
                        return Cut(self._meta.sandbox.connections)  # a newer request has taken over
                    piece, more = piece[: total - stands], piece[total - stands :]
                    too_long = too_long or bool(more)
                    if cut_after is not None and stands - offset + len(piece) >= cut_after:
                        target.stored.append(piece[: cut_after - (stands - offset)])
                        return Cut(self._meta.sandbox.connections)
                    target.stored.append(piece)
                    stands += len(piece)
        except ClientDisconnect:
            return Cut(self._meta.sandbox.connections)
        request.state.body_read = True
        with self._meta.lock:
            if stands != total or too_long:
                raise RuploadError(
                    "PartialRequestError", "The body does not hold the rest of the file.", retriable=True
                )
            target.finish()
        return _success()

    async def _hosted(self, request: Request, target: UploadTarget, url: str) -> Response:
        if await drain(request):
            raise RuploadError("ParameterValidationError", "With file_url the body is empty.")
        try:
            fetched = await fetch(self._meta, url, bytes_max=HOSTED_BYTES_MAX, robots=True)
        except FetchFailed as problem:
            retriable = problem.problem in {"timeout", "unreachable"}
            raise RuploadError("ProcessingFailedError", _inner(str(problem)), retriable=retriable) from None
        with self._meta.lock:
            if target.closed() is not None:
                raise RuploadError("ProcessingFailedError", _inner("upload session finished"))
            target.stored.discard()
            target.stored = fetched.stored
            target.size_bytes = fetched.stored.size_bytes
            target.finish()
        return _success()


def _inner(message: str) -> str:
    """Some messages hold an error as JSON in a string."""
    return json.dumps({"success": False, "error": {"message": message}})


def _success() -> Response:
    return JSONResponse({"success": True, "message": "Upload successful."})


def _injected(fault: Fault | None) -> GraphError | RuploadError | None:
    """`meta_error` with a `reason` is rupload's own shape of that type; without, and `throttle`, Graph's envelope."""
    if fault is None or fault.kind not in {"meta_error", "throttle"}:
        return None
    if fault.kind == "throttle":
        return throttle_error(fault.code if fault.code is not None else 4)
    if fault.reason is not None:
        return RuploadError(fault.reason, fault.message or "An injected error.", fault.transient)
    return graph_error(fault.code or 1, fault.message or "An injected error.", subcode=fault.subcode, transient=fault.transient, headers=fault.headers)  # fmt: skip
