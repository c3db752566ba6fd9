"""Mux addresses of every shape, and the best MP4 file behind one.

A Mux URL names a video, not a file: which static renditions exist is known to the API only, or found out by asking the
streaming host for each. Both ways are here. Where there is no file, Mux is asked to make one if the credentials allow it;
where that does not lead to one, the HLS stream is copied into a file (remux.py).

Sources: Mux docs "Download your videos" (static renditions, legacy mp4_support), "Play your videos", "Secure video playback"
(signed URLs), "Make API requests"; npm @mux/mux-node 15.3.0 types; muxinc/elements playback-core (how a playback id is read
from a URL, and that 412 means "not ready"). Read 2026-11.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NoReturn
from urllib.parse import parse_qs, urlencode, urlsplit

import structlog

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.client import MediaAnswer, MediaClient, status_failure
from orbyt_worker.media.mux_api import Asked, Asset, MuxApi, PlaybackId
from orbyt_worker.media.mux_files import NAMES_BY_SIZE, candidates, choose, fits, is_begun, wanted
from orbyt_worker.media.mux_sign import Signer, lives_until
from orbyt_worker.media.remote import RemoteSource
from orbyt_worker.media.remux import RemuxSource, is_remuxed
from orbyt_worker.media.source import BuiltSource, Interrupted, MediaSource
from orbyt_worker.model import MediaFacts
from orbyt_worker.runtime import Runtime

STREAM_HOST = "stream.mux.com"
PLAYER_HOST = "player.mux.com"
PLAYBACK_ID_CHARACTERS_MAX = 128
# Nothing documents a redirect for MP4 files; what comes is followed inside Mux's own hosts only.
REDIRECTS_MAX = 3
# How often a rendition in the making is looked for: often at first, as it usually takes a minute or two.
POLL_SECONDS_FIRST = 5.0
POLL_FIRST_FOR_SECONDS = 180.0
POLL_SECONDS_LATER = 60.0
# A file that is in the making for longer than this is not waited for any more: the stream is copied instead.
RENDITION_WAIT_SECONDS_MAX = 1_800.0
# Credentials that may only read are not tried again for this long.
FORBIDDEN_SECONDS = 3_600.0
WAITS_REMEMBERED_MAX = 1_024
# How long an answer about which file to take is good. Whether it still is the file that was inspected is checked at every read.
RESOLVED_SECONDS = 20.0
RESOLVED_KEPT_MAX = 256

_FILE_NAMES = frozenset(NAMES_BY_SIZE) | {"audio.m4a"}
_PLAYBACK_ID = re.compile(r"[A-Za-z0-9]{4,128}")
_BARE_PLAYBACK_ID = re.compile(r"[A-Za-z0-9]{20,128}")


class MediaNotReady(Exception):
    """The file does not exist yet: come again in `seconds`. Never a failure. `code` is a catalog code for the user."""

    def __init__(self, seconds: float, code: ErrorCode = ErrorCode.MEDIA_NOT_READY, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else str(code))
        self.seconds = seconds
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class MuxRef:
    """A video at Mux. `token` is the signature the user's URL carried, if any."""

    playback_id: str
    token: str | None = field(default=None, repr=False)


def parse(url: str, *, stream_url: str = f"https://{STREAM_HOST}") -> MuxRef | None:
    """The video a Mux address means, or None when it is no Mux address. Pure.

    Understood: mux://PID, a bare playback id, https://stream.mux.com/PID[.m3u8], …/PID/NAME.mp4, each with ?token=…,
    https://player.mux.com/PID, and the same paths on the configured stream host. A rendition named in the URL is a hint
    about what existed when it was copied; the best one is looked for anyway. HLS modifiers are dropped.
    Raises Failure(media_url_invalid | media_url_not_https) for an address on a Mux host that names no video.
    """
    if _BARE_PLAYBACK_ID.fullmatch(url):
        return MuxRef(url)
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        return None
    if parts.scheme == "mux":
        playback_id = parts.netloc  # hostname would be lower-cased, and ids are case-sensitive
        if not _PLAYBACK_ID.fullmatch(playback_id) or parts.path not in {"", "/"}:
            raise Failure(ErrorCode.MEDIA_URL_INVALID, "mux:// is followed by a playback id")
        return MuxRef(playback_id, _token(parts.query))
    if parts.scheme not in {"http", "https"}:
        return None
    own = host in {STREAM_HOST, PLAYER_HOST}
    base = urlsplit(stream_url)
    if not own and (host, port) != (base.hostname, base.port):
        return None
    if "@" in parts.netloc or (own and port not in {None, 443}):
        raise Failure(ErrorCode.MEDIA_URL_INVALID, "not a Mux address")
    if own and parts.scheme != "https":
        raise Failure(ErrorCode.MEDIA_URL_NOT_HTTPS, "media URLs must begin with https://")
    # A proxy or a simulator may keep Mux below a path of its own.
    path = parts.path.removeprefix("" if own else base.path.rstrip("/")).removeprefix("/")
    first, _, rest = path.partition("/")
    playback_id, _, extension = first.partition(".")
    named = (rest == "" and extension in {"", "m3u8"}) or (extension == "" and rest in _FILE_NAMES)
    if named and _PLAYBACK_ID.fullmatch(playback_id):
        return MuxRef(playback_id, _token(parts.query))
    if own:
        raise Failure(ErrorCode.MEDIA_URL_INVALID, "not the address of a video at Mux")
    return None  # another file on a host that also serves Mux paths (a proxy, the sandbox)


def _token(query: str) -> str | None:
    tokens = parse_qs(query).get("token")
    return tokens[0] if tokens else None


MuxSource = MediaSource | BuiltSource
_Question = tuple[MuxRef, str, tuple[int | None, str | None] | None]
_Token = Callable[[], str | None]

_log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.media")


class MuxResolver:
    """From a video at Mux to the one file of it that a platform should get."""

    def __init__(
        self,
        client: MediaClient,
        runtime: Runtime,
        *,
        stream_url: str,
        bytes_max: int,
        api: MuxApi | None = None,
        signer: Signer | None = None,
        create_renditions: bool = True,
    ) -> None:
        self._client = client
        self._runtime = runtime
        self._base = stream_url.rstrip("/")
        self._host = urlsplit(stream_url).hostname or ""
        self._bytes_max = bytes_max
        self._api = api
        self._signer = signer
        self._create_renditions = create_renditions
        self._forbidden_until = 0.0
        self._waiting_since: dict[str, float] = {}
        self._resolved: OrderedDict[_Question, tuple[float, MuxSource]] = OrderedDict()
        self._asking: dict[_Question, asyncio.Lock] = {}

    async def resolve(self, ref: MuxRef, *, prefer: str, expect: MediaFacts | None = None) -> MuxSource:
        """The source of the best file, or of the copy of the stream where there is none. `expect`: stay with that one.

        An answer is good for RESOLVED_SECONDS and several who ask at once share it: one post to many accounts would
        otherwise meet Mux's limit of a few requests a second.

        Raises MediaNotReady while Mux is still making it, or Failure(media_not_found | media_drm_only |
        media_access_denied | media_source_unavailable | mux_…).
        """
        question = (ref, prefer, None if expect is None else (expect.size_bytes, expect.etag))
        lock = self._asking.setdefault(question, asyncio.Lock())
        try:
            async with lock:
                answered = self._resolved.get(question)
                if answered is not None and self._runtime.monotonic() - answered[0] < RESOLVED_SECONDS:
                    return answered[1]
                found = await self._find(ref, prefer, expect)
                source = self._copied(found, prefer) if found.name is None else self._source(found, found.name)
                self._resolved[question] = (self._runtime.monotonic(), source)
                self._resolved.move_to_end(question)
                while len(self._resolved) > RESOLVED_KEPT_MAX:
                    self._resolved.popitem(last=False)
                return source
        finally:
            if not lock.locked():
                self._asking.pop(question, None)

    async def address(self, ref: MuxRef, *, prefer: str, seconds: float, expect: MediaFacts | None = None) -> str:
        """Where a platform can fetch the best file by itself for `seconds`. A secret if the playback id is a signed one.

        Only files that Mux has: a copy of the stream exists nowhere but here. Raises MediaNotReady while Mux is making it,
        Failure(media_rendition_missing | media_rendition_failed | mux_signing_key_missing) and what `resolve` raises.
        """
        found = await self._find(ref, prefer, None if is_remuxed(expect) else expect)
        if found.name is None:
            raise found.why or Failure(ErrorCode.MEDIA_RENDITION_MISSING, "there is no MP4 file of the video at Mux")
        token = found.token()
        if token is not None and self._signer is not None and found.ours:
            token = self._signer.token(found.playback_id, seconds=seconds)
        elif token is not None and lives_until(token) < self._runtime.now().timestamp() + seconds:
            raise Failure(
                ErrorCode.MUX_SIGNING_KEY_MISSING,
                "the address is signed for too short a time, and there is no signing key",
            )
        return self._url(found.playback_id, f"/{found.name}", token)

    async def _find(self, ref: MuxRef, prefer: str, expect: MediaFacts | None) -> _Found:
        try:
            known = await self._api.playback_id(ref.playback_id) if self._api is not None else None
            if self._api is not None and known is not None:
                found = await self._from_api(self._api, ref, known, prefer, expect)
            else:
                # No credentials, or credentials of another environment: that one answers 404 for ids that play well.
                found = await self._from_stream_host(ref, prefer, expect)
        except Interrupted as interrupted:
            raise interrupted.failure() from None
        if found.name is not None:
            self._waiting_since.pop(ref.playback_id, None)
        return found

    async def _from_api(
        self, api: MuxApi, ref: MuxRef, known: PlaybackId, prefer: str, expect: MediaFacts | None
    ) -> _Found:
        if known.object.type != "asset":
            raise Failure(ErrorCode.MUX_LIVE_STREAM, "the playback id is that of a live stream")
        asset = await api.asset(known.object.id)
        if asset is None:
            raise Failure(ErrorCode.MEDIA_NOT_FOUND, "the Mux asset was deleted")
        self._refuse(asset)
        if asset.status == "preparing":
            self._wait(ref, "Mux is still processing the video")
        found = self._readable(ref, known, asset)
        if is_remuxed(expect):
            return found
        chosen = choose(asset.files, prefer, expect=expect)
        if chosen is not None and chosen.status == "ready":
            if fits(chosen, prefer) or is_begun(chosen, expect):
                return replace(found, name=chosen.name)
            # Nothing smaller can be made beside it; the stream has smaller qualities.
            return replace(found, why=_missing(f"{chosen.name} is the only file and too large"))
        if chosen is not None or asset.renditions_preparing:
            if self._waited_seconds(ref.playback_id) < RENDITION_WAIT_SECONDS_MAX:
                self._wait(ref, "Mux is still making the MP4 file")
            return replace(found, why=_missing("Mux did not finish the MP4 file in time"))
        if await self._ask(api, asset, prefer):
            self._wait(ref, "Mux was asked to make an MP4 file")
        if any(each.status == "errored" for each in asset.files) or asset.renditions_errored:
            return replace(
                found, why=Failure(ErrorCode.MEDIA_RENDITION_FAILED, "Mux could not make an MP4 file of this video")
            )
        return replace(found, why=_missing("the Mux asset has no MP4 static rendition"))

    async def _ask(self, api: MuxApi, asset: Asset, prefer: str) -> bool:
        """Have a file made of a ready asset that has none. False: there will be none, whatever we say.

        Any number of workers may do this at once: all but the first are refused, and find the file of the first.
        """
        if not self._create_renditions or self._runtime.monotonic() < self._forbidden_until:
            return False
        if _wanted(asset, prefer) is None:
            return False
        # What was read may be some seconds old, and somebody else may have asked since.
        now = await self._fresh(api, asset.id)
        resolution = _wanted(now, prefer)
        if resolution is None or choose(now.files, prefer) is not None:
            return choose(now.files, prefer) is not None
        try:
            asked = await api.create_rendition(asset.id, resolution)
        except Interrupted:
            # The answer was lost, the request perhaps not.
            if choose((await self._fresh(api, asset.id)).files, prefer) is not None:
                return True
            raise
        if asked is Asked.MAKING:
            _log.info("media.rendition_requested", asset_id=asset.id, resolution=resolution)
            return True
        if asked is Asked.FORBIDDEN:
            _log.warning("media.mux_read_only", detail="the Mux credentials may not ask for renditions")
            self._forbidden_until = self._runtime.monotonic() + FORBIDDEN_SECONDS
            return False
        return choose((await self._fresh(api, asset.id)).files, prefer) is not None

    async def _fresh(self, api: MuxApi, asset_id: str) -> Asset:
        asset = await api.asset(asset_id, fresh=True)
        if asset is None:
            raise Failure(ErrorCode.MEDIA_NOT_FOUND, "the Mux asset was deleted")
        return asset

    def _refuse(self, asset: Asset) -> None:
        if asset.status == "errored":
            raise Failure(ErrorCode.MUX_ASSET_ERRORED, "Mux could not process the video")
        if asset.test:
            raise Failure(ErrorCode.MUX_TEST_ASSET, "the video is a Mux test asset")
        if asset.is_live:
            raise Failure(ErrorCode.MUX_LIVE_STREAM, "the live stream has not ended yet")

    def _readable(self, ref: MuxRef, known: PlaybackId, asset: Asset) -> _Found:
        """The playback id to fetch through, and what makes its tokens. Files are not reachable through a DRM id."""
        ids = [known, *asset.playback_ids] if known.policy == "drm" else [known]
        for each in sorted(ids, key=lambda one: one.policy != "public"):
            if each.policy == "drm":
                continue
            if each.policy == "public":
                return _Found(each.id, _no_token)  # a token makes a public id fail on purpose
            if self._signer is not None:
                return _Found(each.id, self._signer.maker(each.id), ours=True)
            if each.id == ref.playback_id and ref.token is not None:
                return _Found(each.id, lambda: ref.token)
            raise Failure(ErrorCode.MUX_SIGNING_KEY_MISSING, "the playback id is signed and there is no signing key")
        raise Failure(ErrorCode.MEDIA_DRM_ONLY, "the video has DRM playback ids only")

    async def _from_stream_host(self, ref: MuxRef, prefer: str, expect: MediaFacts | None) -> _Found:
        """Ask the streaming host for each name in turn: without a token, with the user's, with ours, until one is let in.

        Nobody says whether a file will ever be there, so where the video plays and has none, its stream is copied.
        """
        ways = [_Found(ref.playback_id, (lambda: ref.token) if ref.token is not None else _no_token)]
        if self._signer is not None:
            ways.append(_Found(ref.playback_id, self._signer.maker(ref.playback_id), ours=True))
        if ref.token is not None:
            ways.append(_Found(ref.playback_id, _no_token))
        names = () if is_remuxed(expect) else candidates(prefer)
        for way in ways:
            look = await self._look(ref.playback_id, way.token, names, expect)
            if look.name is not None:
                return replace(way, name=look.name)
            if look.refused:
                continue
            if look.preparing and self._waited_seconds(ref.playback_id) < RENDITION_WAIT_SECONDS_MAX:
                self._wait(ref, "Mux is still processing the video")
            if not look.plays and not look.preparing:
                raise Failure(ErrorCode.MEDIA_NOT_FOUND, "Mux does not know the playback id", http_status=404)
            return replace(way, why=_missing("the video plays, but there is no MP4 file of it"))
        if self._signer is None and ref.token is None:
            raise Failure(ErrorCode.MUX_SIGNING_KEY_MISSING, "Mux asks for a signed address", http_status=403)
        raise Failure(ErrorCode.MEDIA_ACCESS_DENIED, "Mux refuses the signed address", http_status=403)

    async def _look(self, playback_id: str, token: _Token, names: tuple[str, ...], expect: MediaFacts | None) -> _Look:
        first: str | None = None
        for name in names:
            status, version = await self._head(playback_id, f"/{name}", token)
            if status in {400, 401, 403}:
                return _Look(refused=True)
            if status == 412:
                return _Look(preparing=True)
            if status != 200:
                continue
            if expect is None or version in {(None, None), (expect.size_bytes, expect.etag)}:
                return _Look(name=name)
            first = first or name
        if first is not None:
            return _Look(name=first)
        status, _ = await self._head(playback_id, ".m3u8", token)
        return _Look(refused=status in {400, 401, 403}, preparing=status == 412, plays=status == 200)

    async def _head(self, playback_id: str, suffix: str, token: _Token) -> tuple[int, tuple[int | None, str | None]]:
        """(status, (length, ETag)): 200, 404, 412, or a refusal. Raises for the rest. GET where HEAD is not allowed."""
        url = self._url(playback_id, suffix, token())
        status = 0
        for method, headers in (("HEAD", {}), ("GET", {"range": "bytes=0-0"})):
            async with self._client.request(
                f"media.mux.{method.lower()}",
                method,
                url,
                headers=headers,
                redirects_max=REDIRECTS_MAX,
                redirect_allowed=self._is_own_host,
            ) as answer:
                status = answer.status
                if status in {200, 206}:
                    return 200, (_total_length(answer), answer.headers.get("etag"))
                if status in {404, 410}:
                    return 404, (None, None)
                if status not in {400, 401, 403, 405, 412, 501}:
                    raise status_failure(answer) or Interrupted(
                        ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"Mux answered {status}", http_status=status
                    )
            if status not in {403, 405, 501}:
                break
        if status in {405, 501}:
            raise Interrupted(ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"Mux answered {status}", http_status=status)
        return status, (None, None)

    def _source(self, found: _Found, name: str) -> RemoteSource:
        return RemoteSource(
            self._client,
            lambda: self._url(found.playback_id, f"/{name}", found.token()),
            key=f"mux/{found.playback_id}/{name}",
            bytes_max=self._bytes_max,
            name="media.mux.get",
            redirects_max=REDIRECTS_MAX,
            redirect_allowed=self._is_own_host,
        )

    def _copied(self, found: _Found, prefer: str) -> RemuxSource:
        return RemuxSource(
            self._client,
            self._runtime,
            lambda: self._url(found.playback_id, ".m3u8", found.token()),
            key=f"mux/{found.playback_id}/remux",
            prefer=prefer,
            bytes_max=self._bytes_max,
            host_allowed=self._is_own_host,
        )

    def _url(self, playback_id: str, suffix: str, token: str | None) -> str:
        query = "" if token is None else "?" + urlencode({"token": token})
        return f"{self._base}/{playback_id}{suffix}{query}"

    def _is_own_host(self, host: str) -> bool:
        return host == self._host or host == "mux.com" or host.endswith(".mux.com")

    def _waited_seconds(self, playback_id: str) -> float:
        now = self._runtime.monotonic()
        while len(self._waiting_since) >= WAITS_REMEMBERED_MAX and playback_id not in self._waiting_since:
            self._waiting_since.pop(next(iter(self._waiting_since)))
        return now - self._waiting_since.setdefault(playback_id, now)

    def _wait(self, ref: MuxRef, detail: str) -> NoReturn:
        early = self._waited_seconds(ref.playback_id) < POLL_FIRST_FOR_SECONDS
        raise MediaNotReady(POLL_SECONDS_FIRST if early else POLL_SECONDS_LATER, detail=detail)


@dataclass(frozen=True, slots=True)
class _Found:
    """Through which playback id a video is read, with whose tokens, and its file. `why`: no file, only the stream."""

    playback_id: str
    token: _Token = field(repr=False)
    name: str | None = None
    why: Failure | None = None
    ours: bool = False


def _missing(detail: str) -> Failure:
    return Failure(ErrorCode.MEDIA_RENDITION_MISSING, detail)


def _wanted(asset: Asset, prefer: str) -> str | None:
    width, height = asset.size
    return wanted(asset.files, prefer, width=width, height=height, legacy=asset.is_legacy)


@dataclass(frozen=True, slots=True)
class _Look:
    """What the streaming host said about one video: a file's name, or why there is none."""

    name: str | None = None
    refused: bool = False
    preparing: bool = False
    plays: bool = False


def _no_token() -> None:
    return None


def _total_length(answer: MediaAnswer) -> int | None:
    text = answer.headers.get("content-length", "") if answer.status == 200 else ""
    total = answer.headers.get("content-range", "").rpartition("/")[2] if answer.status == 206 else text
    return int(total) if total.isascii() and total.isdigit() else None
