"""The public face of this room: look at a media item, then read its bytes, whatever kind of address it has; or get an
address from which a platform can read them itself.

Used by the executor only. Platforms see a `MediaReader` (structurally `platforms.base.MediaReader`) and know nothing of
where its bytes come from. In which form they want them is a `MediaSpec`: pictures are converted on the way (images.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import structlog

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media import mux, storage
from orbyt_worker.media.client import MediaClient, Patience
from orbyt_worker.media.guard import BadUrl, Resolve, SystemResolver, parse_url
from orbyt_worker.media.hosting import Hosted, Hosting
from orbyt_worker.media.images import SOURCE_BYTES_MAX, Converter
from orbyt_worker.media.mux import MediaNotReady, MuxResolver
from orbyt_worker.media.mux_api import MuxApi
from orbyt_worker.media.mux_sign import Signer
from orbyt_worker.media.probe import PROBE_BYTES_MAX, Prober
from orbyt_worker.media.remote import RemoteSource, read_document, url_key
from orbyt_worker.media.source import (
    BACKOFF_SECONDS_MIN,
    PIECE_BYTES_MAX,
    BuiltSource,
    Interrupted,
    MediaSource,
    SourceInfo,
    describe,
    read_range,
)
from orbyt_worker.media.spool import Spool, SpoolFile
from orbyt_worker.media.storage import Storage, StorageSource
from orbyt_worker.media.window import Window
from orbyt_worker.model import MediaFacts, MediaItem, MediaSpec
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings

__all__ = ["Hosted", "MediaConfig", "MediaNotReady", "MediaReader", "MediaRelay"]

# Any port of this machine, in the sandbox only.
LOOPBACK = frozenset({"127.0.0.1:*", "localhost:*", "[::1]:*"})
_PLAYLIST_SUFFIXES = (".m3u8", ".mpd")
Read = Callable[[int, int], AsyncGenerator[bytes, None]]

_log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.media")


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """`allowed_loopback`: `host:port` pairs that may be inside the network, in the sandbox only (`127.0.0.1:8123`).

    The hosts of `mux_stream_url` and `mux_api_url` are the operator's word and always allowed, for Mux requests alone; so is
    that of `supabase_url`, for objects in Storage.
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
    mux_create_renditions: bool = True
    supabase_url: str | None = None
    supabase_secret_key: str | None = field(default=None, repr=False)
    storage_bucket: str = "orbyt-media"
    hosted_url_seconds: float = 21_600.0
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """In the sandbox every outside host of the settings is a simulator and may serve media too, as may this machine."""
        urls = [value for name, value in settings if name.endswith("_url") and isinstance(value, str)]
        secret, signing = settings.mux_token_secret, settings.mux_signing_private_key
        storage_key = settings.supabase_secret_key
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
            mux_create_renditions=settings.mux_create_renditions,
            supabase_url=settings.supabase_url,
            supabase_secret_key=None if storage_key is None else storage_key.get_secret_value(),
            storage_bucket=settings.storage_bucket,
            hosted_url_seconds=settings.hosted_url_seconds,
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
        stored = _hosts() if config.supabase_url is None else _hosts(config.supabase_url)
        self._client, self._mux_client, self._storage_client = (
            MediaClient(
                runtime,
                resolve=resolve or self._resolver,
                sandbox=config.sandbox,
                allowed_hosts=hosts,
                patience=config.patience,
            )
            for hosts in (allowed, allowed | own, allowed | stored)
        )
        self._mux = self._mux_resolver()
        self._storage = self._make_storage()
        self._hosting = Hosting(self._storage, bucket=config.storage_bucket, url_seconds=config.hosted_url_seconds)
        self._prober = Prober()
        self._converter = Converter()
        self._spool = Spool(config.spool_dir, config.spool_bytes_max, runtime, on_bytes=on_bytes)

    async def start(self) -> None:
        """Prepare the spool directory; removes what a killed worker left there. Raises OSError."""
        await self._spool.start()

    async def close(self) -> None:
        """Stop downloads, free disk, close connections."""
        await self._spool.close()
        await self._client.close()
        await self._mux_client.close()
        await self._storage_client.close()
        if self._storage is not None:
            await self._storage.close()
        self._converter.close()
        self._prober.close()
        self._resolver.close()

    async def facts(self, item: MediaItem, *, spec: MediaSpec) -> MediaFacts:
        """Look at the item without moving its bytes. Of a picture that will be converted: what it is before that.

        Raises Failure(media_… | mux_… | storage_…), or MediaNotReady when Mux is still making the file.
        """
        source = await self._source(item, spec, None)
        if isinstance(source, BuiltSource):
            return await self._foreseen(source, item)
        info = await describe(source, self._runtime)
        if info.ranges:
            return await self._probe(self._direct(source, info), info, item, jumps=True)
        async with self._followed(source, info) as spooled:
            return await self._probe(spooled.read, info, item, jumps=False)

    @asynccontextmanager
    async def open(
        self, item: MediaItem, *, spec: MediaSpec, expect: MediaFacts | None = None, part: bool = False
    ) -> AsyncIterator[MediaReader]:
        """The item's bytes, shared with every other job that reads the same file. A picture comes in the form of `spec.images`;
        the reader's facts are then those of what it gives.

        `part`: only a little of the file will be read (the last chunk of an upload): it is fetched by range where the source
        can, instead of downloading everything before it.

        `expect`: what `facts` said earlier. Another size or version now is Failure(media_changed). Waits for the end of the
        download only for a picture, or when the source does not say its size. Otherwise raises what `facts` raises.
        """
        source = await self._source(item, spec, expect)
        if isinstance(source, BuiltSource):
            async with self._built(source, item, expect) as reader:
                yield reader
            return
        info = await self._described(source, expect)
        if item.type == "image" and spec.images is not None:
            async with AsyncExitStack() as stack:
                spooled = await stack.enter_async_context(self._picture_spooled(source, info))
                picture = await self._converter.convert(spooled, info, spec.images)
                facts, size = picture.facts, len(picture.data)
                read: Read = spooled.read
                if picture.converted:
                    read = _bytes_reader(picture.data)
                    await stack.aclose()  # the original is not needed any more, its room is
                del picture  # one that is passed on as it is stays on disk only
                yield MediaReader(facts, size, read)
            return
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

    async def address(
        self, item: MediaItem, *, spec: MediaSpec, expect: MediaFacts | None = None, hosted: Hosted, name: str
    ) -> str:
        """Where the platform itself can read the item, for as long as `hosted_url_seconds`; given to `hosted.redact` first.

        What is public already stays where it is; an object in Storage and a signed Mux video get a signed address; a picture
        that has to be converted is hosted as `name` in `hosted.folder`. Safe to repeat. Raises what `open` raises, and
        Failure(media_rendition_missing) for a video that exists as a stream only: there is no file to point at.
        """
        ref = mux.parse(item.url, stream_url=self._config.mux_stream_url)
        if ref is not None:
            address = await self._mux.address(
                ref, prefer=spec.rendition, seconds=self._config.hosted_url_seconds, expect=expect
            )
            hosted.redact(address)
            return address
        source = await self._source(item, spec, expect)
        assert isinstance(source, RemoteSource)  # only Mux has files that are put together here
        info = await self._described(source, expect)
        if item.type == "image" and spec.images is not None:
            async with self._picture_spooled(source, info) as spooled:
                picture = await self._converter.convert(spooled, info, spec.images)
            if picture.converted:
                return await self._hosting.host(picture.data, picture.facts.content_type, hosted, name)
        try:
            if isinstance(source, StorageSource):
                address = await source.signed_url(int(self._config.hosted_url_seconds))
            else:
                address = await source.address()
        except Interrupted as interrupted:
            raise interrupted.failure() from None
        hosted.redact(address)
        return address

    async def document(self, url: str, bytes_max: int) -> bytes:
        """A small text file (captions) at a public https URL. Objects in Storage are not read this way: whether the user may
        read one is checked for media only. Raises Failure(media_…)."""
        try:
            return await read_document(self._client, url, bytes_max)
        except Interrupted:
            await self._runtime.sleep(BACKOFF_SECONDS_MIN)
        try:
            return await read_document(self._client, url, bytes_max)
        except Interrupted as interrupted:
            raise interrupted.failure() from None

    async def remove_hosted(self, paths: Sequence[str]) -> None:
        """Remove pictures that were hosted (`Hosted.note`). Safe to repeat. Raises Failure(storage_…)."""
        await self._hosting.remove(paths)

    async def _foreseen(self, source: BuiltSource, item: MediaItem) -> MediaFacts:
        """What a file will be that is still to be put together: its first seconds are. Its size is not known."""
        info = await describe(source, self._runtime)
        sample = await source.sample(info, self._on_bytes or _ignore)
        whole = replace(info, size_bytes=len(sample))
        found = await self._probe(_bytes_reader(sample), whole, item, jumps=True)
        return replace(found, size_bytes=None, duration_seconds=info.duration_seconds)

    @asynccontextmanager
    async def _built(
        self, source: BuiltSource, item: MediaItem, expect: MediaFacts | None
    ) -> AsyncIterator[MediaReader]:
        """A file that is put together in the spool first: there is nothing to look at before it is whole."""
        info = await self._described(source, expect)
        async with self._spool.follow(source, info) as spooled:
            size = await spooled.size()
            if expect is not None and expect.size_bytes not in {None, size}:
                raise Failure(ErrorCode.MEDIA_CHANGED, "the file is not the one that was inspected")
            whole = replace(info, size_bytes=size)
            found = expect or await self._probe(spooled.read, whole, item, jumps=True)
            yield MediaReader(replace(found, size_bytes=size), size, spooled.read)

    async def _source(self, item: MediaItem, spec: MediaSpec, expect: MediaFacts | None) -> MediaSource | BuiltSource:
        """Which kind of address it is. Raises Failure for one that may not be asked."""
        ref = mux.parse(item.url, stream_url=self._config.mux_stream_url)
        if ref is not None:
            return await self._mux.resolve(ref, prefer=spec.rendition, expect=expect)
        stored = storage.parse(item.url)
        if stored is not None:
            return self._stored(stored)
        try:
            url = parse_url(item.url)
        except BadUrl as reason:
            raise Failure(ErrorCode.MEDIA_URL_INVALID, str(reason)) from None
        if url.path.lower().endswith(_PLAYLIST_SUFFIXES):
            raise Failure(ErrorCode.MEDIA_IS_PLAYLIST, "the address is that of a playlist")
        return RemoteSource(
            self._client, lambda: url.text, key=f"url/{url_key(item.url)}", bytes_max=self._config.media_bytes_max
        )

    def _stored(self, ref: storage.StorageRef) -> StorageSource:
        if self._storage is None or self._config.supabase_url is None:
            raise Failure(ErrorCode.STORAGE_NOT_CONFIGURED, "the media is in Storage")
        return StorageSource(
            self._storage_client,
            self._storage,
            ref,
            host=parse_url(self._config.supabase_url).host,
            bytes_max=self._config.media_bytes_max,
        )

    async def _described(self, source: MediaSource | BuiltSource, expect: MediaFacts | None) -> SourceInfo:
        info = await describe(source, self._runtime)
        if expect is not None and not _same(expect, info):
            # Two edges of one CDN may know different versions for a moment: look once more before giving up.
            info = await describe(source, self._runtime)
            if not _same(expect, info):
                raise Failure(ErrorCode.MEDIA_CHANGED, "the file is not the one that was inspected")
        return info

    def _picture_spooled(self, source: MediaSource, info: SourceInfo) -> AbstractAsyncContextManager[SpoolFile]:
        if info.size_bytes is not None and info.size_bytes > SOURCE_BYTES_MAX:
            raise Failure(ErrorCode.MEDIA_TOO_LARGE, f"{info.size_bytes} bytes, pictures may have {SOURCE_BYTES_MAX}")
        return self._followed(source, info)

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

    def _make_storage(self) -> Storage | None:
        config = self._config
        if config.supabase_url is None or config.supabase_secret_key is None:
            return None
        return Storage(
            self._runtime, url=config.supabase_url, secret_key=config.supabase_secret_key, sandbox=config.sandbox
        )

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
            create_renditions=config.mux_create_renditions,
        )


def _ignore(count: int) -> None:
    return None


def _bytes_reader(data: bytes) -> Read:
    async def read(start: int, length: int) -> AsyncGenerator[bytes, None]:
        for at in range(start, start + length, PIECE_BYTES_MAX):
            yield data[at : min(at + PIECE_BYTES_MAX, start + length)]

    return read


def _same(expect: MediaFacts, info: SourceInfo) -> bool:
    """Whether what was inspected is what the source offers now, as far as both say."""
    if expect.size_bytes is not None and info.size_bytes is not None and expect.size_bytes != info.size_bytes:
        return False
    known, now = expect.etag, info.version
    return known is None or now is None or known.removeprefix("W/") == now.removeprefix("W/")
