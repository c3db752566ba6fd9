"""HLS playlists: as much of the format as a finished video needs that is to be copied into one file. Pure.

Strict on purpose: what would make the copy another video than the one that plays (a splice, a gap, a live edge, variables,
encryption) is refused by name, and so is everything that has no end. Tags that change nothing in the bytes are skipped, as
the format demands of its readers.

Source: RFC 8216 (HTTP Live Streaming) and its successor draft-pantos-hls-rfc8216bis, sections 4.1 (lines), 4.2 (attribute
lists), 4.4.4 (segments), 4.4.6 (multivariant playlists). Read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urljoin

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure

PLAYLIST_BYTES_MAX = 16 * 1024 * 1024
VARIANTS_MAX = 128
SEGMENTS_MAX = 50_000
URI_CHARACTERS_MAX = 4_096
SEGMENT_SECONDS_MAX = 60.0
# Mux takes up to 12 hours; a little more for what rounding adds.
DURATION_SECONDS_MAX = 12 * 3600 + 600.0

# What an MP4 file can hold and every platform takes: H.264, H.265, AAC.
_CODECS = ("avc1", "avc3", "hvc1", "hev1", "mp4a")
_ATTRIBUTE = re.compile(r'([A-Z0-9-]{1,64})=("[^"\r\n]*"|[^",\s]+)(?:,|$)')
_RESOLUTION = re.compile(r"(\d{1,5})x(\d{1,5})")
_BYTERANGE = re.compile(r"(\d{1,15})(?:@(\d{1,15}))?")
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,18})?")


@dataclass(frozen=True, slots=True)
class Variant:
    """One quality of a video. `sound` is the address of its sound when that is a stream of its own; None: part of it.

    Addresses are signed by the host that gave them: secrets.
    """

    uri: str = field(repr=False)
    bits_per_second: int
    width: int | None = None
    height: int | None = None
    codecs: tuple[str, ...] = ()
    sound: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Piece:
    """A file, or the part of one that begins at `start` and has `length` bytes."""

    uri: str = field(repr=False)
    start: int = 0
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """A media playlist: what comes first (None: MPEG-TS, which has no such thing), then the segments with their length."""

    header: Piece | None
    segments: tuple[Piece, ...]
    seconds: tuple[float, ...]

    @property
    def duration_seconds(self) -> float:
        return sum(self.seconds)


def variants(text: str, url: str) -> tuple[Variant, ...]:
    """The qualities that a multivariant playlist read from `url` offers. Raises Failure(media_remux_failed)."""
    sounds: dict[str, list[Mapping[str, str]]] = {}
    streams: list[tuple[Mapping[str, str], str]] = []
    waiting: Mapping[str, str] | None = None
    for line in _lines(text):
        if line.startswith("#EXT-X-STREAM-INF:"):
            waiting = _attributes(line)
        elif line.startswith("#EXT-X-MEDIA:"):
            media = _attributes(line)
            if media.get("TYPE") == "AUDIO":
                sounds.setdefault(media.get("GROUP-ID", ""), []).append(media)
        elif line.startswith("#EXT-X-SESSION-KEY:"):
            _refuse_key(line)
        elif line.startswith(("#EXTINF:", "#EXT-X-TARGETDURATION:")):
            raise _refused("the address leads to the playlist of one quality only")
        elif not line.startswith("#"):
            if waiting is None:
                raise _refused("a playlist names a stream and says nothing about it")
            streams.append((waiting, _resolved(line, url)))
            waiting = None
        if len(streams) > VARIANTS_MAX or sum(map(len, sounds.values())) > VARIANTS_MAX:
            raise _refused(f"more than {VARIANTS_MAX} qualities")
    return tuple(_variant(each, uri, sounds, url) for each, uri in streams)


def _variant(
    given: Mapping[str, str], uri: str, sounds: Mapping[str, Sequence[Mapping[str, str]]], url: str
) -> Variant:
    size = _RESOLUTION.fullmatch(given.get("RESOLUTION", ""))
    rate = given.get("AVERAGE-BANDWIDTH") or given.get("BANDWIDTH", "")
    if not (rate.isascii() and rate.isdigit() and len(rate) <= 12):
        raise _refused("a quality without a bandwidth")
    sound = None
    if "AUDIO" in given:
        group = sounds.get(given["AUDIO"], [])
        if not group:
            raise _refused("a quality names sound that is not there")
        # The one a player takes by itself; without a URI it is part of the stream.
        chosen = min(group, key=lambda each: (each.get("DEFAULT") != "YES", each.get("AUTOSELECT") != "YES"))
        sound = _resolved(chosen["URI"], url) if "URI" in chosen else None
    return Variant(
        uri=uri,
        bits_per_second=int(rate),
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        codecs=tuple(each.strip() for each in given.get("CODECS", "").split(",") if each.strip()),
        sound=sound,
    )


def choose(offered: Sequence[Variant], prefer: str) -> Variant | None:
    """The best quality for "highest" or "1080p" (at most 1920 pixels on the long side), or None.

    None: nothing fits, or nothing is made of pictures an MP4 file can hold. Among equals the first: the others are the same
    at other hosts.
    """
    usable = [
        each
        for each in offered
        if all(codec.startswith(_CODECS) for codec in each.codecs)
        and (not each.codecs or any(not codec.startswith("mp4a") for codec in each.codecs))
        and (prefer == "highest" or (each.width and each.height and max(each.width, each.height) <= 1920))
    ]
    # H.264 first: it is what platforms take everywhere.
    return max(
        usable,
        key=lambda each: (
            not any(codec.startswith(("hvc1", "hev1")) for codec in each.codecs),
            (each.width or 0) * (each.height or 0),
            each.bits_per_second,
        ),
        default=None,
    )


def stream(text: str, url: str) -> Stream:
    """The segments of a media playlist read from `url`. Raises Failure(media_remux_failed | mux_live_stream)."""
    header: Piece | None = None
    segments: list[Piece] = []
    seconds: list[float] = []
    length: float | None = None
    part: str | None = None
    ended = False
    for line in _lines(text):
        name, _, value = line.partition(":")
        match name:
            case "#EXTINF":
                number = value.partition(",")[0].strip()
                length = float(number) if _SECONDS.fullmatch(number) else -1.0
                if not 0 <= length <= SEGMENT_SECONDS_MAX:
                    raise _refused("a segment of an impossible length")
            case "#EXT-X-BYTERANGE":
                part = value.strip()
            case "#EXT-X-KEY":
                _refuse_key(line)
            case "#EXT-X-MAP":
                attributes = _attributes(line)
                found = _piece(attributes.get("URI", ""), attributes.get("BYTERANGE"), None, url)
                if segments or (header is not None and header != found):
                    raise _refused("the stream changes its header on the way")
                header = found
            case "#EXT-X-DISCONTINUITY" | "#EXT-X-GAP" | "#EXT-X-DEFINE" | "#EXT-X-SKIP" | "#EXT-X-I-FRAMES-ONLY":
                raise _refused(f"the stream is no single piece ({name.removeprefix('#EXT-X-').lower()})")
            case "#EXT-X-STREAM-INF":
                raise _refused("a list of qualities where one was expected")
            case "#EXT-X-ENDLIST":
                ended = True
            case _ if not line.startswith("#"):
                if length is None:
                    raise _refused("a segment without a length")
                segments.append(_piece(line, part, segments[-1] if segments else None, url))
                seconds.append(length)
                length = part = None
                if len(segments) > SEGMENTS_MAX:
                    raise _refused(f"more than {SEGMENTS_MAX} segments")
    if not ended:
        raise Failure(ErrorCode.MUX_LIVE_STREAM, "the stream has not ended yet")
    if not segments:
        raise _refused("the stream has no segments")
    if sum(seconds) > DURATION_SECONDS_MAX:
        raise _refused(f"the stream is longer than {DURATION_SECONDS_MAX:.0f} s")
    return Stream(header, tuple(segments), tuple(seconds))


def _piece(uri: str, part: str | None, previous: Piece | None, url: str) -> Piece:
    resolved = _resolved(uri, url)
    if part is None:
        return Piece(resolved)
    found = _BYTERANGE.fullmatch(part)
    if found is None or int(found[1]) == 0:
        raise _refused("a part of a file that makes no sense")
    if found[2] is not None:
        return Piece(resolved, int(found[2]), int(found[1]))
    if previous is None or previous.uri != resolved or previous.length is None:
        raise _refused("a part of a file without a beginning")
    return Piece(resolved, previous.start + previous.length, int(found[1]))


def _lines(text: str) -> Iterator[str]:
    """Lines that mean something. Raises Failure for what is no playlist."""
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != "#EXTM3U":
        raise _refused("the answer is no playlist")
    for line in lines[1:]:
        stripped = line.strip()
        if stripped and (not stripped.startswith("#") or stripped.startswith("#EXT")):
            yield stripped


def _attributes(line: str) -> dict[str, str]:
    text = line.partition(":")[2]
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _ATTRIBUTE.match(text, position)
        if match is None or match[1] in found:
            raise _refused("a line of the playlist cannot be read")
        found[match[1]] = match[2].strip('"')
        position = match.end()
    return found


def _refuse_key(line: str) -> None:
    if _attributes(line).get("METHOD") != "NONE":
        raise Failure(ErrorCode.MEDIA_DRM_ONLY, "the stream is encrypted")


def _resolved(uri: str, url: str) -> str:
    if not uri or len(uri) > URI_CHARACTERS_MAX or "{$" in uri:
        raise _refused("an address in the playlist cannot be used")
    try:
        return urljoin(url, uri)
    except ValueError:
        raise _refused("an address in the playlist cannot be used") from None


def _refused(detail: str) -> Failure:
    return Failure(ErrorCode.MEDIA_REMUX_FAILED, detail)
