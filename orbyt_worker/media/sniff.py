"""What a file is by its first bytes. Headers and names are hints; bytes decide.

Sources: ISO/IEC 14496-12 (ftyp), QuickTime File Format (older files begin with moov, mdat, wide, free or skip),
RFC 8794 (EBML), RFC 8216 section 4.3.1.1 (#EXTM3U), WHATWG MIME Sniffing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure

PLAYLIST_TYPES = frozenset(
    {
        "application/vnd.apple.mpegurl",
        "application/x-mpegurl",
        "audio/mpegurl",
        "audio/x-mpegurl",
        "application/dash+xml",
    }
)
_PAGE_TYPES = frozenset(
    {
        "application/json",
        "application/xhtml+xml",
        "application/xml",
        "application/problem+json",
        "application/pdf",
        "application/javascript",
    }
)
_BOX_TYPES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp"})
_MPEG_TS_PACKET_BYTES = 188


@dataclass(frozen=True, slots=True)
class Sniffed:
    """`container` is the name for rules and logs. `reader` is the one FFmpeg demuxer (or Pillow format) allowed to open the
    file, so that none of FFmpeg's playlist readers is ever chosen."""

    type: Literal["image", "video"]
    content_type: str
    container: str
    reader: str


_MAGIC: tuple[tuple[bytes, Sniffed], ...] = (
    (b"\xff\xd8\xff", Sniffed("image", "image/jpeg", "jpeg", "JPEG")),
    (b"\x89PNG\r\n\x1a\n", Sniffed("image", "image/png", "png", "PNG")),
    (b"GIF87a", Sniffed("image", "image/gif", "gif", "GIF")),
    (b"GIF89a", Sniffed("image", "image/gif", "gif", "GIF")),
    (b"FLV\x01", Sniffed("video", "video/x-flv", "flv", "flv")),
    (b"OggS", Sniffed("video", "video/ogg", "ogg", "ogg")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Sniffed("video", "video/x-ms-asf", "asf", "asf")),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", Sniffed("video", "application/mxf", "mxf", "mxf")),
    (b"\x00\x00\x01\xba", Sniffed("video", "video/mpeg", "mpeg", "mpeg")),
)
_RIFF = {
    b"WEBP": Sniffed("image", "image/webp", "webp", "WEBP"),
    b"AVI ": Sniffed("video", "video/x-msvideo", "avi", "avi"),
}


def sniff(head: bytes) -> Sniffed | None:
    """From at least 512 bytes (fewer if the file is smaller): what it is, or None when it is nothing we know."""
    if head[4:8] in _BOX_TYPES:
        return _iso(head)
    if head.startswith(b"\x1aE\xdf\xa3"):
        webm = b"webm" in head[:64]
        return Sniffed(
            "video", "video/webm" if webm else "video/x-matroska", "webm" if webm else "matroska", "matroska"
        )
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head[:1] == head[_MPEG_TS_PACKET_BYTES:][:1] == head[2 * _MPEG_TS_PACKET_BYTES :][:1] == b"G":
        return Sniffed("video", "video/mp2t", "mpegts", "mpegts")
    return next((found for magic, found in _MAGIC if head.startswith(magic)), None)


def _iso(head: bytes) -> Sniffed:
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in {b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis"}:
        return Sniffed("image", "image/heic", "heic", "HEIF")
    if brand in {b"avif", b"avis"}:
        return Sniffed("image", "image/avif", "avif", "AVIF")
    if brand == b"qt  " or head[4:8] in {b"moov", b"mdat", b"wide", b"pnot"}:
        return Sniffed("video", "video/quicktime", "mov", "mov")
    if brand.startswith(b"3g"):
        return Sniffed("video", "video/3gpp", "3gp", "mov")
    return Sniffed("video", "video/mp4", "mp4", "mov")


def refuse_other_than_media(head: bytes, content_type: str) -> None:
    """Raise Failure(media_is_playlist | media_not_media) for a playlist, a page, or a JSON error sent as 200.

    A file with known first bytes passes whatever its Content-Type says; unknown bytes under a media type pass too, and
    are for the probe to judge.
    """
    if sniff(head) is not None:
        return
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:512].lower()
    if text.startswith(b"#extm3u") or content_type in PLAYLIST_TYPES or b"<mpd" in text:
        raise Failure(ErrorCode.MEDIA_IS_PLAYLIST, "the address leads to a playlist")
    if content_type.startswith("text/") or content_type in _PAGE_TYPES or text[:1] in {b"<", b"{", b"["}:
        raise Failure(ErrorCode.MEDIA_NOT_MEDIA, "the address leads to a page or to text, not to a file")
