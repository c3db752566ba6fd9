"""A Mux video without an MP4 file: its HLS stream, copied into one.

Playlists and segments are fetched here, one at a time, through the guarded client; `copying` puts the file together in a
thread of the spool. The same stream leads to the same bytes, so an upload that was interrupted goes on with a file made
anew; `version` stands for the stream and for the way it is copied, and never for an address, because those are signed
anew each time.

Sources: RFC 8216 (HLS); Mux docs "Play your videos" (stream host, signed playback), "Secure video playback" (a token in
the address of the playlist). That the addresses inside a playlist carry their own signatures, which end, is taken from
what Mux serves; it is documented nowhere, so both ways work. Read 2026-11.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

import structlog

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media import hls
from orbyt_worker.media.client import MediaAnswer, MediaClient, status_failure
from orbyt_worker.media.copying import RECIPE, Feed, Role, assemble
from orbyt_worker.media.flatten import FTYP
from orbyt_worker.media.guard import BadUrl, parse_url
from orbyt_worker.media.source import (
    BACKOFF_SECONDS_MAX,
    BACKOFF_SECONDS_MIN,
    WAIT_SECONDS_MAX,
    Interrupted,
    SourceInfo,
    Workfile,
    Workspace,
)
from orbyt_worker.model import MediaFacts
from orbyt_worker.runtime import Runtime

REDIRECTS_MAX = 3
# Mux makes segments of about five seconds; at a rate no platform takes that is a tenth of this.
SEGMENT_BYTES_MAX = 64 * 1024 * 1024
ATTEMPTS_MAX = 5
# Signed addresses of segments end after some hours: the playlists are read again then.
REREADS_MAX = 24
VERSION_PREFIX = "remux:"

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:\d{1,18}|\*)")
_log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.media")


def is_remuxed(facts: MediaFacts | None) -> bool:
    """Whether what was inspected is a file put together here: a transfer that has begun stays with it."""
    return facts is not None and facts.etag is not None and facts.etag.startswith(VERSION_PREFIX)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to copy: one stream, or one of pictures and one of sound."""

    streams: tuple[tuple[Role, hls.Stream], ...]
    bits_per_second: int
    version: str

    @property
    def guess_bytes(self) -> int:
        return int(max(each.duration_seconds for _, each in self.streams) * self.bits_per_second / 8)


class RemuxSource:
    """BuiltSource over the HLS stream at `address()`, asked anew each time, because its signature may end.

    `prefer` is "highest" or "1080p". `host_allowed(host)` says where playlists, segments and redirects may lead.
    """

    def __init__(
        self,
        client: MediaClient,
        runtime: Runtime,
        address: Callable[[], str],
        *,
        key: str,
        prefer: str,
        bytes_max: int,
        host_allowed: Callable[[str], bool],
    ) -> None:
        self._client = client
        self.runtime = runtime
        self._address = address
        self._key = key
        self._prefer = prefer
        self._bytes_max = bytes_max
        self._host_allowed = host_allowed
        self._plan: _Plan | None = None

    @property
    def key(self) -> str:
        """Without `prefer`: where both lead to the same quality, there is one file (the version tells them apart)."""
        return self._key

    async def describe(self) -> SourceInfo:
        """Read the playlists. Raises Failure(media_remux_failed | media_rendition_missing | …) or Interrupted."""
        plan = self._plan = await self._read_plan()
        return SourceInfo(
            size_bytes=None,
            content_type="video/mp4",
            etag=plan.version,
            last_modified=None,
            ranges=False,
            head=FTYP,
            guess_bytes=plan.guess_bytes,
            duration_seconds=plan.streams[0][1].duration_seconds,
        )

    async def sample(self, info: SourceInfo, fetched: Callable[[int], None]) -> bytes:
        """Copy the first segment of each stream; see BuiltSource.sample."""
        memory = _Memory()
        await self._copy(info, fetched, 1, _assemble_aside, memory)
        return bytes(memory.data)

    async def build(self, info: SourceInfo, file: Workfile, fetched: Callable[[int], None]) -> int:
        """Copy the stream into `file`; see BuiltSource.build."""
        started = self.runtime.monotonic()
        size = await self._copy(info, fetched, None, partial(file.run, assemble), file)
        _log.info("media.remuxed", size_bytes=size, seconds=round(self.runtime.monotonic() - started, 3))
        return size

    async def _copy(
        self,
        info: SourceInfo,
        fetched: Callable[[int], None],
        segments_max: int | None,
        in_thread: Callable[[list[Feed], Workspace, int], Awaitable[int]],
        file: Workspace,
    ) -> int:
        plan = self._plan
        if plan is None or plan.version != info.version:
            plan = await self.read_same_plan(info.version)
        segments = _Segments(self, plan, fetched, segments_max)
        loop = asyncio.get_running_loop()
        feeds = [
            Feed(loop, partial(segments.fetch, number), role=role, fragmented=stream.header is not None)
            for number, (role, stream) in enumerate(plan.streams)
        ]
        try:
            return await in_thread(feeds, file, self._bytes_max)
        finally:
            for each in feeds:
                each.stop()

    async def read_same_plan(self, version: str | None) -> _Plan:
        plan = await self._read_plan()
        if plan.version != version:
            raise Failure(ErrorCode.MEDIA_CHANGED, "the stream is not the one that was inspected")
        return plan

    async def _read_plan(self) -> _Plan:
        chosen = hls.choose(hls.variants(*await self._text(self._address())), self._prefer)
        if chosen is None:
            raise Failure(ErrorCode.MEDIA_RENDITION_MISSING, "there is no MP4 file, and no quality of the stream fits")
        picture = hls.stream(*await self._text(chosen.uri))
        streams: tuple[tuple[Role, hls.Stream], ...]
        if chosen.sound is not None:
            streams = (("picture", picture), ("sound", hls.stream(*await self._text(chosen.sound))))
        elif not chosen.codecs:
            streams = (("any", picture),)
        else:
            heard = any(each.startswith("mp4a") for each in chosen.codecs)
            streams = (("both" if heard else "picture", picture),)
        return _Plan(streams, chosen.bits_per_second, _version(chosen, streams))

    async def _text(self, url: str) -> tuple[str, str]:
        """A playlist, and the address its own addresses start from."""
        async with self._client.request(
            "media.mux.playlist",
            "GET",
            self.checked(url),
            redirects_max=REDIRECTS_MAX,
            redirect_allowed=self._host_allowed,
        ) as answer:
            _refuse(answer, 200)
            body = await answer.body(hls.PLAYLIST_BYTES_MAX + 1)
            if len(body) > hls.PLAYLIST_BYTES_MAX:
                raise Failure(ErrorCode.MEDIA_REMUX_FAILED, f"a playlist of more than {hls.PLAYLIST_BYTES_MAX} bytes")
            return body.decode("utf-8", "replace"), answer.url

    def checked(self, url: str) -> str:
        """`url`, if it leads to a host of Mux's own. Whether that host may be dialled is for the client."""
        try:
            host = parse_url(url).host
        except BadUrl as reason:
            raise Failure(ErrorCode.MEDIA_REMUX_FAILED, f"an address in the playlist: {reason}") from None
        if not self._host_allowed(host):
            raise Failure(ErrorCode.MEDIA_URL_FORBIDDEN, "a playlist leads to a host that is not Mux's own")
        return url

    async def piece(self, piece: hls.Piece) -> bytes:
        """All bytes of a segment or a header, in one request. Raises Failure, Interrupted."""
        headers = {}
        if piece.length is not None:
            headers["range"] = f"bytes={piece.start}-{piece.start + piece.length - 1}"
        async with self._client.request(
            "media.mux.segment",
            "GET",
            self.checked(piece.uri),
            headers=headers,
            redirects_max=REDIRECTS_MAX,
            redirect_allowed=self._host_allowed,
        ) as answer:
            _refuse(answer, 200 if piece.length is None else 206)
            if piece.length is not None:
                found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
                if found is None or (int(found[1]), int(found[2])) != (piece.start, piece.start + piece.length - 1):
                    raise Interrupted(
                        ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"{answer.host} sent another range than the one asked for"
                    )
            collected = bytearray()
            async with aclosing(_bounded(answer)) as pieces:
                async for each in pieces:
                    collected += each
        if not collected or (piece.length is not None and len(collected) != piece.length):
            raise Interrupted(ErrorCode.MEDIA_TRUNCATED, f"{answer.host} sent {len(collected)} bytes of a segment")
        return bytes(collected)


async def _assemble_aside(feeds: list[Feed], file: Workspace, bytes_max: int) -> int:
    return await asyncio.to_thread(assemble, feeds, file, bytes_max)


class _Memory:
    """A workspace for what is small."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, offset: int, data: bytes | memoryview) -> None:
        if len(self.data) < offset:
            self.data += bytes(offset - len(self.data))
        self.data[offset : offset + len(data)] = data

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])


@dataclass(slots=True)
class _Segments:
    """The segments of a plan, each asked for a few times; the addresses are read anew when their signature has ended."""

    _source: RemuxSource
    _plan: _Plan
    _fetched: Callable[[int], None]
    _segments_max: int | None
    _headers: dict[int, bytes] = field(default_factory=dict)
    _rereads: int = 0

    async def fetch(self, stream: int, number: int) -> bytes | None:
        """A segment of a stream, behind the header it needs; None after the last. Raises Failure."""
        count = len(self._plan.streams[stream][1].segments)
        if number >= (count if self._segments_max is None else min(count, self._segments_max)):
            return None
        header = self._headers.get(stream)
        if header is None:
            header = b""
            if self._plan.streams[stream][1].header is not None:
                header = await self._get(lambda plan: plan.streams[stream][1].header or hls.Piece(""))
            self._headers[stream] = header
        return header + await self._get(lambda plan: plan.streams[stream][1].segments[number])

    async def _get(self, of: Callable[[_Plan], hls.Piece]) -> bytes:
        source, reread = self._source, False
        attempt = 0
        while True:
            try:
                data = await source.piece(of(self._plan))
            except Interrupted as interrupted:
                attempt += 1
                wait = interrupted.retry_after_seconds
                if wait is None:
                    backoff = min(BACKOFF_SECONDS_MIN * 2**attempt, BACKOFF_SECONDS_MAX)
                    wait = backoff * source.runtime.random.uniform(0.5, 1.0)
                if attempt >= ATTEMPTS_MAX or wait > WAIT_SECONDS_MAX:
                    raise interrupted.failure() from None
                _log.info("media.resumed", code=str(interrupted.code), attempt=attempt, wait_seconds=round(wait, 3))
                await source.runtime.sleep(wait)
            except Failure as failure:
                ended = failure.code in {ErrorCode.MEDIA_ACCESS_DENIED, ErrorCode.MEDIA_NOT_FOUND}
                if reread or not ended or self._rereads >= REREADS_MAX:
                    raise
                reread = True
                self._rereads += 1
                try:
                    self._plan = await source.read_same_plan(self._plan.version)
                except Interrupted as interrupted:
                    raise interrupted.failure() from None
            else:
                self._fetched(len(data))
                return data


async def _bounded(answer: MediaAnswer) -> AsyncGenerator[bytes, None]:
    given = 0
    async with aclosing(answer.pieces()) as pieces:
        async for piece in pieces:
            given += len(piece)
            if given > SEGMENT_BYTES_MAX:
                raise Failure(ErrorCode.MEDIA_REMUX_FAILED, f"a segment of more than {SEGMENT_BYTES_MAX} bytes")
            yield piece


def _refuse(answer: MediaAnswer, status: int) -> None:
    """Raise for anything but an uncompressed answer with that status."""
    if answer.status == 412:
        raise Failure(ErrorCode.MEDIA_NOT_READY, "Mux is still processing the video", http_status=412)
    failure = status_failure(answer)
    if failure is not None:
        raise failure
    if answer.status != status:
        raise Interrupted(
            ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"{answer.host} answered {answer.status}", http_status=answer.status
        )
    if answer.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise Failure(ErrorCode.MEDIA_REMUX_FAILED, f"{answer.host} compresses the answer although asked not to")


def _version(chosen: hls.Variant, streams: tuple[tuple[Role, hls.Stream], ...]) -> str:
    """What makes the bytes of the copy, as far as the playlists tell it."""
    content = [
        RECIPE,
        [chosen.width, chosen.height, *chosen.codecs],
        *(
            [
                role,
                stream.header is not None,
                [round(each * 1000) for each in stream.seconds],
                [each.length for each in stream.segments if each.length is not None],
            ]
            for role, stream in streams
        ),
    ]
    return VERSION_PREFIX + hashlib.sha256(json.dumps(content).encode()).hexdigest()[:40]
