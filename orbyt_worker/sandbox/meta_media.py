"""Bytes that Meta received or fetched itself: kept until they were looked at, then only size and hash remain.

After the media limits of Meta "Reels Publishing API", "Page Photos" and "IG User Media", and the fetching rules of
"Reels Publishing API" (robots.txt for facebookexternalhit, no Meta CDN addresses). Looks at real bytes with PyAV and Pillow.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import ipaddress
import socket
import struct
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

import av
import httpx
from PIL import Image

from orbyt_worker.sandbox.wire import tls_context

if TYPE_CHECKING:
    from orbyt_worker.sandbox.meta import Meta

USER_AGENT = "facebookexternalhit/1.1"
REDIRECTS_MAX = 5
IN_MEMORY_BYTES_MAX = 4 * 1024 * 1024
IMAGE_PIXELS_MAX = 200_000_000

FetchProblem = Literal[
    "scheme", "not_ascii", "private", "fbcdn", "robots", "unreachable", "timeout", "status", "too_large", "empty"
]


class StoredBytes:
    """Received bytes. `discard` lets go of them, size and hash stay."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES_MAX)  # noqa: SIM115 - open until `discard`
        self._file: BinaryIO | None = cast(BinaryIO, spool)
        self.size_bytes = 0

    @classmethod
    def of(cls, data: bytes) -> StoredBytes:
        """Bytes that came in one piece."""
        stored = cls()
        stored.append(data)
        return stored

    def append(self, data: bytes) -> None:
        """The next bytes."""
        assert self._file is not None
        self._digest.update(data)
        self._file.seek(self.size_bytes)
        self._file.write(data)
        self.size_bytes += len(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def open(self) -> BinaryIO:
        """The bytes from their start; only before `discard`."""
        assert self._file is not None
        self._file.seek(0)
        return self._file

    def read(self) -> bytes:
        """All bytes; for pictures."""
        return self.open().read()

    def discard(self) -> None:
        """Let go of the bytes; safe to call twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        # Bytes of a refused request are nobody's; their file must not be left for the garbage collector to complain about.
        self.discard()


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a video file really is; `problem` when it is none."""

    problem: str | None = None
    duration_seconds: float = 0.0
    width: int = 0
    height: int = 0
    frames_per_second: float = 0.0
    video_codec: str | None = None
    audio_codec: str | None = None
    audio_rate: int | None = None
    audio_channels: int | None = None
    bits_per_second: int | None = None
    moov_first: bool = False
    edit_list: bool = False

    @property
    def ratio(self) -> float:
        """Width over height."""
        return self.width / self.height if self.height else 0.0


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a picture really is; `kind` None when it is none. Sizes as stored, before any EXIF turn."""

    kind: str | None = None
    width: int = 0
    height: int = 0
    mode: str | None = None
    has_profile: bool = False

    @property
    def ratio(self) -> float:
        """Width over height."""
        return self.width / self.height if self.height else 0.0


async def look_at_video(stored: StoredBytes) -> VideoFacts:
    """`video_facts` in a thread; the simulators go on answering."""
    return await asyncio.to_thread(video_facts, stored.open())


def video_facts(file: BinaryIO) -> VideoFacts:
    """Open the file as a player would."""
    try:
        moov_first, edit_list = _boxes(file)
        file.seek(0)
        with av.open(file, "r") as container:
            streams = container.streams
            if not streams.video:
                return VideoFacts(problem="no video stream")
            picture = streams.video[0]
            sound = streams.audio[0] if streams.audio else None
            seconds = container.duration / av.time_base if container.duration is not None else 0.0
            rate = picture.average_rate
            return VideoFacts(
                None,
                seconds,
                picture.width,
                picture.height,
                float(rate) if rate is not None else 0.0,
                picture.codec_context.name,
                sound.codec_context.name if sound is not None else None,
                sound.rate if sound is not None else None,
                sound.channels if sound is not None else None,
                container.bit_rate or None,
                moov_first,
                edit_list,
            )
    except (av.FFmpegError, ValueError, struct.error) as error:
        return VideoFacts(problem=type(error).__name__)


def _boxes(file: BinaryIO) -> tuple[bool, bool]:
    """(whether `moov` stands before `mdat`, whether an edit list `elst` really edits); both False for other containers.

    An edit list of one entry that starts at the first sample at normal speed changes nothing; muxers write it freely.
    """
    file.seek(0, io.SEEK_END)
    total = file.tell()
    offset, edits = 0, False
    order: list[bytes] = []
    while offset + 8 <= total and len(order) < 1000:
        file.seek(offset)
        head = file.read(16)
        size, kind = struct.unpack_from(">I4s", head)
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack_from(">Q", head, 8)
        elif size == 0:
            size = total - offset
        if size < 8:
            break
        order.append(kind)
        if kind == b"moov":
            file.seek(offset)
            edits = _edits(file.read(min(size, 16 * 1024 * 1024)))
        offset += size
    moov = order.index(b"moov") if b"moov" in order else None
    mdat = order.index(b"mdat") if b"mdat" in order else None
    return moov is not None and (mdat is None or moov < mdat), edits


def _edits(moov: bytes) -> bool:
    at = moov.find(b"elst")
    while at != -1:
        version, count = moov[at + 4], int.from_bytes(moov[at + 8 : at + 12], "big")
        if count > 1:
            return True
        if count == 1:
            start = moov[at + 20 : at + 28] if version == 1 else moov[at + 16 : at + 20]
            if int.from_bytes(start, "big", signed=True) < 0:
                return True
        at = moov.find(b"elst", at + 4)
    return False


def image_facts(data: bytes) -> ImageFacts:
    """What Pillow says about a picture; its first bytes decide, not its name."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > IMAGE_PIXELS_MAX:
                return ImageFacts()
            image.load()
            return ImageFacts(image.format, image.width, image.height, image.mode, "icc_profile" in image.info)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ImageFacts()


# --- fetching -----------------------------------------------------------------------------------------------------


class FetchFailed(Exception):
    """Meta could not get the file at an address."""

    def __init__(self, problem: FetchProblem, detail: str) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem = problem
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was fetched, with what its host said about it."""

    stored: StoredBytes
    content_type: str
    url: str


async def fetch(meta: Meta, url: str, *, bytes_max: int, robots: bool = False) -> Fetched:
    """Download a public address as Meta does, or FetchFailed. The sandbox's own hosts count as public."""
    parts = urlsplit(url)
    if not url.isascii():
        raise FetchFailed("not_ascii", "the address has characters outside US-ASCII")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise FetchFailed("scheme", "only http and https without credentials")
    if parts.hostname == "fbcdn.net" or parts.hostname.endswith(".fbcdn.net"):
        raise FetchFailed("fbcdn", "addresses of Meta's own CDN are refused")
    await _refuse_private(meta, url)
    try:
        async with asyncio.timeout(meta.config.download_seconds_max):
            return await _download(meta, url, bytes_max, robots)
    except TimeoutError:
        raise FetchFailed("timeout", "the download took too long") from None
    except httpx.TimeoutException:
        raise FetchFailed("timeout", "the host did not answer in time") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FetchFailed("unreachable", type(error).__name__) from None


async def _download(meta: Meta, url: str, bytes_max: int, robots: bool) -> Fetched:
    timeout, headers = meta.config.download_seconds_max, {"User-Agent": USER_AGENT}
    async with httpx.AsyncClient(headers=headers, timeout=timeout, verify=tls_context(), trust_env=False) as client:
        if robots and not await _allowed(client, url):
            raise FetchFailed("robots", "robots.txt forbids facebookexternalhit")
        for _ in range(REDIRECTS_MAX + 1):
            async with client.stream("GET", url) as response:
                if response.has_redirect_location:
                    url = str(response.url.join(response.headers["location"]))
                    await _refuse_private(meta, url)
                    continue
                if response.status_code != 200:
                    raise FetchFailed("status", f"HTTP {response.status_code}")
                stored = StoredBytes()
                async for piece in response.aiter_bytes():
                    stored.append(piece)
                    if stored.size_bytes > bytes_max:
                        stored.discard()
                        raise FetchFailed("too_large", f"more than {bytes_max} bytes")
                if stored.size_bytes == 0:
                    raise FetchFailed("empty", "no bytes")
                return Fetched(stored, response.headers.get("content-type", "").split(";")[0].strip().lower(), url)
    raise FetchFailed("status", "too many redirects")


async def _allowed(client: httpx.AsyncClient, url: str) -> bool:
    """What the host's robots.txt says to facebookexternalhit; no such file allows everything."""
    answer = await client.get(httpx.URL(url).copy_with(path="/robots.txt", query=None))
    if answer.status_code != 200:
        return True
    rules = RobotFileParser()
    rules.parse(answer.text.splitlines())
    return rules.can_fetch(USER_AGENT, url)


async def _refuse_private(meta: Meta, url: str) -> None:
    """Meta's servers reach public addresses only; the sandbox's own origin stands for the public internet."""
    parts = urlsplit(url)
    if meta.config.allow_private_urls or f"{parts.scheme}://{parts.netloc}" == meta.sandbox.base_url:
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found: list[Any] = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError:
        raise FetchFailed("unreachable", "the host has no address") from None
    if not all(ipaddress.ip_address(entry[4][0]).is_global for entry in found):
        raise FetchFailed("private", "the address is not on the public internet")
