"""The public face of this room: look at a media item, then read its bytes, whatever kind of address it has.

Used by the executor only. Platforms see a `MediaReader` (structurally `platforms.base.MediaReader`) and know nothing of
where its bytes come from.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import structlog

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media import mux
from orbyt_worker.media.client import MediaClient, Patience
from orbyt_worker.media.guard import BadUrl, Resolve, SystemResolver, parse_url
from orbyt_worker.media.mux import MediaNotReady, MuxResolver
from orbyt_worker.media.mux_api import MuxApi
from orbyt_worker.media.mux_sign import Signer
from orbyt_worker.media.probe import PROBE_BYTES_MAX, Prober
from orbyt_worker.media.remote import RemoteSource, url_key
from orbyt_worker.media.source import MediaSource, SourceInfo, describe, read_range
from orbyt_worker.media.spool import Spool, SpoolFile
from orbyt_worker.media.window import Window
from orbyt_worker.model import MediaFacts, MediaItem
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings

__all__ = ["MediaConfig", "MediaNotReady", "MediaReader", "MediaRelay"]

# Any port of this machine, in the sandbox only.
LOOPBACK = frozenset({"127.0.0.1:*", "localhost:*", "[::1]:*"})
_PLAYLIST_SUFFIXES = (".m3u8", ".mpd")
Read = Callable[[int, int], AsyncGenerator[bytes, None]]

_log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.media")


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """`allowed_loopback`: `host:port` pairs that may be inside the network, in the sandbox only (`127.0.0.1:8123`).

    The hosts of `mux_stream_url` and `mux_api_url` are the operator's word and always allowed, for Mux requests alone.
    """

    sandbox: bool
    allowed_loopback: frozenset[str]
    spool_dir: Path
    spool_bytes_max: int
    media_bytes_max: int
    mux_stream_url: str
    mux_api_url: str
    mux_token_id: str | None = None
    mux_token_secret: str | None = field(default=None, repr=False)
    mux_signing_key_id: str | None = None
    mux_signing_private_key: str | None = field(default=None, repr=False)
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """In the sandbox every outside host of the settings is a simulator and may serve media too, as may this machine."""
        urls = [value for name, value in settings if name.endswith("_url") and isinstance(value, str)]
        secret, signing = settings.mux_token_secret, settings.mux_signing_private_key
        return cls(
            sandbox=settings.sandbox,
            allowed_loopback=_hosts(*urls) | LOOPBACK if settings.sandbox else frozenset(),
            spool_dir=settings.spool_dir,
            spool_bytes_max=settings.spool_bytes_max,
            media_bytes_max=settings.media_bytes_max,
            mux_stream_url=settings.mux_stream_url,
            mux_api_url=settings.mux_api_url,
            mux_token_id=settings.mux_token_id,
            mux_token_secret=None if secret is None else secret.get_secret_value(),
            mux_signing_key_id=settings.mux_signing_key_id,
            mux_signing_private_key=None if signing is None else signing.get_secret_value(),
        )


def _hosts(*urls: str) -> frozenset[str]:
    return frozenset(parse_url(each).host_port for each in urls)


class MediaReader:
    """The bytes of one item for the time `MediaRelay.open` is entered."""

    def __init__(self, facts: MediaFacts, size_bytes: int, read: Read) -> None:
        self._facts = facts
        self._size_bytes = size_bytes
        self._read = read

    @property
    def facts(self) -> MediaFacts:
        return self._facts

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Exactly `length` bytes from `start`, pieces of at most 256 KiB; waits for the download. Raises Failure instead of
        ever giving fewer."""
        if start < 0 or length < 0 or start + length > self._size_bytes:
            raise ValueError("outside of the file")
        return self._read(start, length)


class MediaRelay:
    """One per process. `on_bytes(n)` hears how many bytes came from sources."""

    def __init__(
        self,
        config: MediaConfig,
        runtime: Runtime,
        *,
        on_bytes: Callable[[int], None] | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._on_bytes = on_bytes
        self._resolver = SystemResolver()
        allowed = config.allowed_loopback if config.sandbox else frozenset()
        own = _hosts(config.mux_stream_url, config.mux_api_url)
        self._client, self._mux_client = (
            MediaClient(
                runtime,
                resolve=resolve or self._resolver,
                sandbox=config.sandbox,
                allowed_hosts=hosts,
                patience=config.patience,
            )
            for hosts in (allowed, allowed | own)
        )
        self._mux = self._mux_resolver()
        self._prober = Prober()
        self._spool = Spool(config.spool_dir, config.spool_bytes_max, runtime, on_bytes=on_bytes)

    async def start(self) -> None:
        """Prepare the spool directory; removes what a killed worker left there. Raises OSError."""
        await self._spool.start()

    async def close(self) -> None:
        """Stop downloads, free disk, close connections."""
        await self._spool.close()
        await self._client.close()
        await self._mux_client.close()
        self._prober.close()
        self._resolver.close()

    async def facts(self, item: MediaItem, *, prefer: str) -> MediaFacts:
        """Look at the item without moving its bytes. `prefer` names the rendition wanted of Mux: "highest" or "1080p".

        Raises Failure(media_… | mux_…), or MediaNotReady when Mux is still making the file.
        """
        source = await self._source(item, prefer, None)
        info = await describe(source, self._runtime)
        if info.ranges:
            return await self._probe(self._direct(source, info), info, item, jumps=True)
        async with self._followed(source, info) as spooled:
            return await self._probe(spooled.read, info, item, jumps=False)

    @asynccontextmanager
    async def open(
        self, item: MediaItem, *, prefer: str, expect: MediaFacts | None = None, part: bool = False
    ) -> AsyncIterator[MediaReader]:
        """The item's bytes, shared with every other job that reads the same file.

        `part`: only a little of the file will be read (the last chunk of an upload): it is fetched by range where the source
        can, instead of downloading everything before it.

        `expect`: what `facts` said earlier. Another size or version now is Failure(media_changed). Waits for the end of the
        download only when the source does not say its size. Otherwise raises what `facts` raises.
        """
        source = await self._source(item, prefer, expect)
        info = await describe(source, self._runtime)
        if expect is not None and not _same(expect, info):
            # Two edges of one CDN may know different versions for a moment: look once more before giving up.
            info = await describe(source, self._runtime)
            if not _same(expect, info):
                raise Failure(ErrorCode.MEDIA_CHANGED, "the file is not the one that was inspected")
        if info.ranges and info.size_bytes is not None:
            direct = self._direct(source, info)
            facts = expect or await self._probe(direct, info, item, jumps=True)
            if part or not self._spool.fits(info):
                yield MediaReader(facts, info.size_bytes, direct)
                return
            async with self._spool.follow(source, info) as spooled:
                yield MediaReader(facts, info.size_bytes, spooled.read)
            return
        async with self._followed(source, info) as spooled:
            size = await spooled.size()
            if expect is not None and expect.size_bytes not in {None, size}:
                raise Failure(ErrorCode.MEDIA_CHANGED, "the file is not the one that was inspected")
            if info.size_bytes is None:
                # All of it is here, so all of it can be looked at now.
                found = await self._probe(spooled.read, replace(info, size_bytes=size), item, jumps=True)
            else:
                found = expect or await self._probe(spooled.read, info, item, jumps=False)
            yield MediaReader(found, size, spooled.read)

    async def _source(self, item: MediaItem, prefer: str, expect: MediaFacts | None) -> MediaSource:
        """Which kind of address it is. Raises Failure for one that may not be asked."""
        ref = mux.parse(item.url, stream_url=self._config.mux_stream_url)
        if ref is not None:
            return await self._mux.resolve(ref, prefer=prefer, expect=expect)
        try:
            url = parse_url(item.url)
        except BadUrl as reason:
            raise Failure(ErrorCode.MEDIA_URL_INVALID, str(reason)) from None
        if url.path.lower().endswith(_PLAYLIST_SUFFIXES):
            raise Failure(ErrorCode.MEDIA_IS_PLAYLIST, "the address is that of a playlist")
        return RemoteSource(
            self._client, lambda: item.url, key=f"url/{url_key(item.url)}", bytes_max=self._config.media_bytes_max
        )

    def _followed(self, source: MediaSource, info: SourceInfo) -> AbstractAsyncContextManager[SpoolFile]:
        if not self._spool.fits(info):
            raise Failure(
                ErrorCode.MEDIA_TOO_LARGE,
                f"{info.size_bytes} bytes do not fit into the spool, and the source cannot give parts of the file",
            )
        return self._spool.follow(source, info)

    def _direct(self, source: MediaSource, info: SourceInfo) -> Read:
        """Ranges straight from the source, nothing kept: for probing, and for files larger than the whole spool."""

        async def read(start: int, length: int) -> AsyncGenerator[bytes, None]:
            async with aclosing(read_range(source, info, start, start + length, self._runtime)) as pieces:
                async for piece in pieces:
                    if self._on_bytes is not None:
                        self._on_bytes(len(piece))
                    yield piece

        return read

    async def _probe(self, read: Read, info: SourceInfo, item: MediaItem, *, jumps: bool) -> MediaFacts:
        window = Window(read, info.size_bytes, bytes_max=PROBE_BYTES_MAX)
        return await self._prober.facts(window, info, expected=item.type, jumps=jumps)

    def _mux_resolver(self) -> MuxResolver:
        config = self._config
        api, signer = None, None
        if config.mux_token_id is not None and config.mux_token_secret is not None:
            api = MuxApi(
                self._mux_client,
                self._runtime,
                api_url=config.mux_api_url,
                token_id=config.mux_token_id,
                token_secret=config.mux_token_secret,
            )
        if config.mux_signing_key_id is not None and config.mux_signing_private_key is not None:
            try:
                signer = Signer(self._runtime, config.mux_signing_key_id, config.mux_signing_private_key)
            except Failure as failure:
                # The jobs that need it say so themselves; all others go on.
                _log.error("media.mux_signing_key_unreadable", code=str(failure.code), detail=failure.detail)
        return MuxResolver(
            self._mux_client,
            self._runtime,
            stream_url=config.mux_stream_url,
            bytes_max=config.media_bytes_max,
            api=api,
            signer=signer,
        )


def _same(expect: MediaFacts, info: SourceInfo) -> bool:
    """Whether what was inspected is what the source offers now, as far as both say."""
    if expect.size_bytes is not None and info.size_bytes is not None and expect.size_bytes != info.size_bytes:
        return False
    known, now = expect.etag, info.version
    return known is None or now is None or known.removeprefix("W/") == now.removeprefix("W/")
