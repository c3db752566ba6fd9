"""Hosts of files: exact HTTP where it is good, and every way in which a real host was seen to be bad.

`serve` is used by the plain media host (/media/{name}) and by the Mux streaming host, so that each misbehaviour can be put
on either. Range, If-Range and conditional semantics after RFC 9110 sections 13 and 14.
"""

from __future__ import annotations

import re
import threading
import zlib
from dataclasses import dataclass, field, replace
from email.utils import format_datetime
from typing import TYPE_CHECKING, Literal

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.media_files import Body
from orbyt_worker.sandbox.operations import operation
from orbyt_worker.sandbox.wire import HTML_ERROR, Cut, log_entry, route

if TYPE_CHECKING:
    from orbyt_worker.sandbox.state import Sandbox

_PIECE_BYTES = 256 * 1024
_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")
_HUGE = re.compile(r"^huge-(\d{1,15})\.mp4$")
_STATUS = re.compile(r"^status-(\d{3})\.mp4$")
_REDIRECTS = re.compile(r"^redirect-(\d{1,3})\.mp4$")
REDIRECT_HOPS_MAX = 100
HUGE_BYTES_MAX = 512 * 1024**3


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a host answers for one file. The default is a good host."""

    ranges: bool = True
    head: bool = True
    etag: Literal["strong", "weak", "none"] = "strong"
    etag_changes_after_bytes: int | None = None
    content_length: Literal["exact", "missing", "too_large"] = "exact"
    gzip: bool = False
    content_type: str | None = None
    truncate_after_bytes: int | None = None
    reset_after_bytes: int | None = None
    broken_times: int | None = None
    bytes_per_second: int | None = None
    first_byte_delay_seconds: float = 0.0
    status: int | None = None
    redirect_to: str | None = None


@dataclass(slots=True)
class HostedFile:
    """A body with a behaviour and the counters the behaviour needs."""

    name: str
    body: Body = field(repr=False)
    behaviour: Behaviour = field(default_factory=Behaviour)
    requests: int = 0
    bytes_served: int = 0
    broken: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class HostedReport:
    """What is known about a hosted file."""

    name: str
    size_bytes: int
    content_type: str
    requests: int
    bytes_served: int
    behaviour: Behaviour


class _FileResponse(Response):
    """Streams one range; breaks off where the behaviour says so."""

    def __init__(
        self, sandbox: Sandbox, hosted: HostedFile, status: int, headers: dict[str, str], start: int, length: int
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        # Starlette adds a length of zero for an empty body; ours is set (or left out) on purpose.
        self.raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        self._sandbox = sandbox
        self._hosted = hosted
        self._start = start
        self._length = length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        behaviour, hosted = self._hosted.behaviour, self._hosted
        if behaviour.first_byte_delay_seconds:
            await self._sandbox.connections.pause(behaviour.first_byte_delay_seconds)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        broken = (
            behaviour.truncate_after_bytes
            if behaviour.truncate_after_bytes is not None
            else behaviour.reset_after_bytes
        )
        if broken is not None and (behaviour.broken_times is None or hosted.broken < behaviour.broken_times):
            stop_after = broken
        else:
            stop_after = None
        rate = behaviour.bytes_per_second
        piece_bytes = _PIECE_BYTES if rate is None else max(1, min(_PIECE_BYTES, rate // 10))
        packer = zlib.compressobj(1, wbits=31) if behaviour.gzip else None
        offset, end, sent = self._start, self._start + self._length, 0
        while offset < end:
            take = min(piece_bytes, end - offset)
            if stop_after is not None:
                take = min(take, stop_after - sent)
                if take <= 0:
                    break
            piece = hosted.body.read(offset, take)
            offset += len(piece)
            sent += len(piece)
            hosted.bytes_served += len(piece)
            if (
                behaviour.etag_changes_after_bytes is not None
                and hosted.bytes_served >= behaviour.etag_changes_after_bytes
            ):
                hosted.version = 1
            wire = piece if packer is None else packer.compress(piece)
            if not self._sandbox.connections.is_open(scope):
                return
            if wire:
                await send({"type": "http.response.body", "body": wire, "more_body": True})
            if rate is not None:
                await self._sandbox.connections.pause(len(piece) / rate)
        if offset < end or behaviour.content_length == "too_large":
            hosted.broken += 1
            if behaviour.reset_after_bytes is not None:
                await Cut(self._sandbox.connections, reset=True)(scope, receive, send)
                return
            self._sandbox.connections.close(scope)
            log_entry(scope).cut = True
            while (await receive())["type"] != "http.disconnect":
                continue
            return
        await send({"type": "http.response.body", "body": packer.flush() if packer is not None else b""})


def serve(sandbox: Sandbox, request: Request, hosted: HostedFile, *, conditional: bool = True) -> Response:
    """Answer a GET or HEAD for `hosted`. `conditional` False: a host that does not know If-Range."""
    behaviour, body = hosted.behaviour, hosted.body
    hosted.requests += 1
    if behaviour.redirect_to is not None:
        return Response(status_code=302, headers={"Location": behaviour.redirect_to})
    if behaviour.status is not None:
        return HTMLResponse(HTML_ERROR, status_code=behaviour.status)
    if request.method == "HEAD" and not behaviour.head:
        return Response(status_code=405, headers={"Allow": "GET"})
    tag = f'"{body.etag(hosted.version)}"'
    headers = {
        "Content-Type": behaviour.content_type or body.content_type,
        "Last-Modified": format_datetime(sandbox.started_at, usegmt=True),
        "Cache-Control": "public, max-age=2592000",
    }
    if behaviour.etag != "none":
        headers["ETag"] = tag if behaviour.etag == "strong" else "W/" + tag
    if behaviour.ranges:
        headers["Accept-Ranges"] = "bytes"
    start, length, status = 0, body.size, 200
    wanted = (
        request.headers.get("range") if behaviour.ranges and request.method == "GET" and not behaviour.gzip else None
    )
    condition = request.headers.get("if-range") if conditional else None
    # A weak tag never matches in If-Range (RFC 9110, 13.1.5): the whole file is sent then.
    if (
        condition is not None
        and not (behaviour.etag == "strong" and condition == tag)
        and condition != headers["Last-Modified"]
    ):
        wanted = None
    if wanted is not None:
        if "," in wanted:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{body.size}"})
        bounds = _parse_range(wanted, body.size)
        if bounds == "unsatisfiable":
            return Response(status_code=416, headers={"Content-Range": f"bytes */{body.size}"})
        if bounds is not None:
            start, length = bounds
            status = 206
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{body.size}"
    if behaviour.gzip:
        headers["Content-Encoding"] = "gzip"
        headers["Vary"] = "Accept-Encoding"
    elif behaviour.content_length == "exact":
        headers["Content-Length"] = str(length)
    elif behaviour.content_length == "too_large":
        headers["Content-Length"] = str(length + 4096)
    return _FileResponse(sandbox, hosted, status, headers, start, length)


def _parse_range(value: str, size: int) -> tuple[int, int] | Literal["unsatisfiable"] | None:
    """(start, length); None for a header to be ignored."""
    match = _RANGE.match(value.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        return (size - length, length) if length else "unsatisfiable"
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if start >= size:
        return "unsatisfiable"
    return (start, end - start + 1) if end >= start else None


class MediaHost:
    """/media/{name}: a fixed set of names plus what tests add.

    good.mp4, moov-at-end.mp4, silent.mp4, vertical.mp4, mpeg4.mp4, photo.jpg, photo.png, duration-40h.mp4,
    huge-{bytes}.mp4, zero.mp4, html.mp4 (a page, honest type), html-as-mp4.mp4 (a page, claims video/mp4), cut.mp4 (boxes cut),
    truncated-body.mp4 (short body), playlist.m3u8, redirect.mp4 (one hop), redirect-{n}.mp4 (n hops), redirect-loop.mp4,
    redirect-private.mp4, redirect-metadata.mp4, no-range.mp4, no-head.mp4, gzip.mp4, no-length.mp4, wrong-length.mp4,
    slow.mp4, late.mp4 (first byte late), etag-changes.mp4, weak-etag.mp4, no-etag.mp4, reset.mp4 (once), reset-always.mp4, status-{n}.mp4.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._files: dict[str, HostedFile] = {}

    def routes(self) -> list[BaseRoute]:
        return [route(self._sandbox, "GET", "/media/{name:path}", "media", self._get, head=True)]

    def reset(self) -> None:
        """Forget what was added and all counters."""
        with self._lock:
            self._files.clear()

    async def _get(self, request: Request) -> Response:
        hosted = self.find(request.path_params["name"])
        if hosted is None:
            return HTMLResponse("<h1>404 Not Found</h1>", status_code=404)
        return serve(self._sandbox, request, hosted)

    def find(self, name: str) -> HostedFile | None:
        """The file of that name, made on first use."""
        with self._lock:
            if name not in self._files:
                made = self._make(name)
                if made is None:
                    return None
                self._files[name] = made
            return self._files[name]

    def url(self, name: str) -> str:
        """Its address on this server."""
        return f"{self._sandbox.base_url}/media/{name}"

    @operation()
    def add(
        self,
        name: str,
        *,
        behaviour: Behaviour | None = None,
        content: Literal["video", "jpeg", "png", "html", "playlist", "empty"] = "video",
        size_bytes: int | None = None,
        seconds: float = 2.0,
        width: int = 320,
        height: int = 180,
        fps: int = 25,
        faststart: bool = True,
        audio: bool = True,
        seed: int = 0,
    ) -> HostedReport:
        """Host a file under `name` (replacing what was there): a video of this shape, padded to `size_bytes`, or another content."""
        if content == "video":
            body = media_files.video_body(
                size_bytes=size_bytes,
                seconds=seconds,
                width=width,
                height=height,
                fps=fps,
                faststart=faststart,
                audio=audio,
                seed=seed,
            )
        elif content in ("jpeg", "png"):
            data = media_files.jpeg(width, height) if content == "jpeg" else media_files.png(width, height)
            body = media_files.literal(data, f"image/{content}")
        else:
            texts = {"html": media_files.HTML_PAGE, "playlist": media_files.HLS_PLAYLIST, "empty": b""}
            types = {
                "html": "text/html; charset=utf-8",
                "playlist": "application/vnd.apple.mpegurl",
                "empty": "video/mp4",
            }
            body = media_files.literal(texts[content], types[content])
        return self.add_body(name, body, behaviour or Behaviour())

    def add_body(self, name: str, body: Body, behaviour: Behaviour | None = None) -> HostedReport:
        """Host any body under `name`; in Python only."""
        hosted = HostedFile(name, body, behaviour or Behaviour())
        with self._lock:
            self._files[name] = hosted
        return _report(hosted)

    @operation(reads=True)
    def file(self, name: str) -> HostedReport | None:
        """Size and counters of one file; None when there is no such name."""
        hosted = self.find(name)
        return _report(hosted) if hosted else None

    @operation(reads=True)
    def sha256(self, name: str) -> str | None:
        """Hash of the bytes the file really has; takes about a second per gigabyte."""
        hosted = self.find(name)
        return hosted.body.sha256() if hosted else None

    def _make(self, name: str) -> HostedFile | None:
        if match := _HUGE.match(name):
            size = int(match[1])
            return (
                HostedFile(name, media_files.video_body(size_bytes=size)) if 65_536 <= size <= HUGE_BYTES_MAX else None
            )
        if (match := _STATUS.match(name)) and 200 <= int(match[1]) <= 599:
            return HostedFile(name, media_files.literal(b"", "text/html"), Behaviour(status=int(match[1])))
        if match := _REDIRECTS.match(name):
            hops = int(match[1])
            if hops > REDIRECT_HOPS_MAX:
                return None
            target = f"/media/redirect-{hops - 1}.mp4" if hops > 1 else "/media/good.mp4"
            return HostedFile(name, media_files.literal(b"", "text/html"), Behaviour(redirect_to=target))
        body = _builtin_body(name)
        behaviour = _BUILTIN_BEHAVIOURS.get(name)
        if body is None and behaviour is None:
            return None
        if body is None:
            body = media_files.video_body(size_bytes=4 * 1024 * 1024)
        return HostedFile(name, body, replace(behaviour) if behaviour else Behaviour())


_BUILTIN_BEHAVIOURS: dict[str, Behaviour] = {
    "html-as-mp4.mp4": Behaviour(content_type="video/mp4"),
    "truncated-body.mp4": Behaviour(truncate_after_bytes=1_000_000, ranges=False),
    "redirect.mp4": Behaviour(redirect_to="/media/good.mp4"),
    "redirect-loop.mp4": Behaviour(redirect_to="/media/redirect-loop.mp4"),
    "redirect-private.mp4": Behaviour(redirect_to="http://10.0.0.1/secret.mp4"),
    "redirect-metadata.mp4": Behaviour(redirect_to="http://169.254.169.254/latest/meta-data/"),
    "no-range.mp4": Behaviour(ranges=False),
    "no-head.mp4": Behaviour(head=False),
    "gzip.mp4": Behaviour(gzip=True),
    "no-length.mp4": Behaviour(content_length="missing", ranges=False),
    "wrong-length.mp4": Behaviour(content_length="too_large", ranges=False),
    "slow.mp4": Behaviour(bytes_per_second=64 * 1024),
    "late.mp4": Behaviour(first_byte_delay_seconds=30.0),
    "etag-changes.mp4": Behaviour(etag_changes_after_bytes=2 * 1024 * 1024),
    "weak-etag.mp4": Behaviour(etag="weak"),
    "no-etag.mp4": Behaviour(etag="none"),
    "reset.mp4": Behaviour(reset_after_bytes=1_500_000, broken_times=1),
    "reset-always.mp4": Behaviour(reset_after_bytes=500_000),
}


def _builtin_body(name: str) -> Body | None:
    match name:
        case "good.mp4":
            return media_files.video_body()
        case "moov-at-end.mp4":
            return media_files.video_body(faststart=False)
        case "silent.mp4":
            return media_files.video_body(audio=False)
        case "vertical.mp4":
            return media_files.video_body(width=180, height=320)
        case "mpeg4.mp4":
            return media_files.video_body(codec="mpeg4")
        case "duration-40h.mp4":
            return media_files.literal(media_files.long_video(), "video/mp4")
        case "cut.mp4":
            return media_files.literal(media_files.cut_video(), "video/mp4")
        case "zero.mp4":
            return media_files.literal(b"", "video/mp4")
        case "html.mp4" | "html-as-mp4.mp4":
            return media_files.literal(media_files.HTML_PAGE, "text/html; charset=utf-8")
        case "playlist.m3u8":
            return media_files.literal(media_files.HLS_PLAYLIST, "application/vnd.apple.mpegurl")
        case "photo.jpg":
            return media_files.literal(media_files.jpeg(), "image/jpeg")
        case "photo.png":
            return media_files.literal(media_files.png(), "image/png")
        case _:
            return None


def _report(hosted: HostedFile) -> HostedReport:
    return HostedReport(
        hosted.name,
        hosted.body.size,
        hosted.behaviour.content_type or hosted.body.content_type,
        hosted.requests,
        hosted.bytes_served,
        hosted.behaviour,
    )
