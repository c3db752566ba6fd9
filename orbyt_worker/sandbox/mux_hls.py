"""HLS streams of simulated assets: real segments, cut by FFmpeg's own HLS muxer from the sample videos, and signed addresses.

Two kinds, as Mux serves both: MPEG-TS with the sound in it, and fragmented MP4 with the sound as a stream of its own.
Segments are two seconds long (Mux: about five), so that short samples have several. Pictures have B-frames and begin ten
seconds into the clock of the stream, as on real hosts.

Source: RFC 8216; FFmpeg Formats Documentation, hls muxer. That the addresses in Mux's playlists lead to other hosts and
carry a signature with an end of its own is seen in the wild and documented nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import secrets
import shutil
import tempfile
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import av
import av.container
import av.video.stream

from orbyt_worker.sandbox import media_files

SEGMENT_SECONDS = 2
_STREAM_BEGINS_AT_SECONDS = 10
_RECIPE = "1"  # part of the cache's names: raise it when the way streams are made changes
_KEY = secrets.token_bytes(32)
_lock = threading.Lock()

StreamKind = Literal["ts", "fmp4"]
Track = Literal["both", "video", "audio"]


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a stream. `seconds` 0: the header of fragmented MP4."""

    name: str
    seconds: float
    path: Path


def make(
    *, kind: StreamKind, track: Track, seconds: float, width: int, height: int, audio: bool
) -> tuple[Segment, ...]:
    """The files of one stream, made on first use and kept on disk. Takes about a second for a minute of small pictures."""
    made_of = f"hls{_RECIPE}-{kind}-{track}-{seconds:g}s-{width}x{height}-{int(audio)}"
    target = media_files.cache_dir() / made_of
    with _lock:
        if not target.exists():
            draft = Path(tempfile.mkdtemp(dir=media_files.cache_dir(), prefix=f"{made_of}-"))
            try:
                _encode(draft, kind, track, media_files.video(seconds=seconds, width=width, height=height, audio=audio))
                try:
                    os.rename(draft, target)
                except OSError:
                    if not target.exists():  # another process was quicker otherwise
                        raise
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return _listed(target)


def _listed(folder: Path) -> tuple[Segment, ...]:
    found = [Segment("init.mp4", 0.0, folder / "init.mp4")] if (folder / "init.mp4").exists() else []
    length = 0.0
    for line in (folder / "index.m3u8").read_text().splitlines():
        if line.startswith("#EXTINF:"):
            length = float(line.removeprefix("#EXTINF:").partition(",")[0])
        elif line and not line.startswith("#"):
            found.append(Segment(line, length, folder / line))
    return tuple(found)


def _encode(folder: Path, kind: StreamKind, track: Track, source: bytes) -> None:
    options = {
        "hls_time": str(SEGMENT_SECONDS), "hls_playlist_type": "vod", "hls_list_size": "0",
        "hls_segment_type": "mpegts" if kind == "ts" else "fmp4", "hls_fmp4_init_filename": "init.mp4",
        "hls_segment_filename": str(folder / ("%d.ts" if kind == "ts" else "%d.m4s")),
        "output_ts_offset": str(_STREAM_BEGINS_AT_SECONDS),
    }  # fmt: skip
    with (
        cast(av.container.InputContainer, av.open(io.BytesIO(source))) as sample,
        av.open(str(folder / "index.m3u8"), "w", format="hls", options=options) as output,
    ):
        pictures = sample.streams.video[0]
        sounds = sample.streams.audio[0] if sample.streams.audio and track != "video" else None
        rate = round(pictures.average_rate or 25)
        encoder = None
        if track != "audio":
            codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            encoder = cast(av.video.stream.VideoStream, output.add_stream(codec, rate=rate))
            encoder.width, encoder.height, encoder.pix_fmt = pictures.width, pictures.height, "yuv420p"
            encoder.codec_context.time_base = Fraction(1, rate)
            encoder.codec_context.gop_size = SEGMENT_SECONDS * rate
            if codec == "libx264":
                encoder.options = {"preset": "ultrafast", "bf": "2", "sc_threshold": "0"}
        copied = None if sounds is None else output.add_stream_from_template(sounds)
        count = 0
        for packet in sample.demux():
            if packet.stream is sounds and copied is not None:
                if packet.size:
                    packet.stream = copied
                    output.mux(packet)
            elif packet.stream is pictures and encoder is not None:
                for frame in cast("list[av.VideoFrame]", packet.decode()):
                    frame.pts, frame.time_base = count, Fraction(1, rate)
                    count += 1
                    output.mux(encoder.encode(frame))
        if encoder is not None:
            output.mux(encoder.encode(None))


def ladder(width: int, height: int) -> tuple[tuple[int, int], ...]:
    """The picture sizes of a stream, largest first: the asset's own, 1080p when that is smaller, and one small."""
    short = min(width, height)
    tiers = [short, *(each for each in (1080, 270) if each < short)]
    return tuple((round(width * each / short / 2) * 2, round(height * each / short / 2) * 2) for each in tiers)


def master(variants: dict[str, tuple[int, int]], *, audio: bool, sound_url: str | None) -> str:
    """The multivariant playlist for `variants` (address -> picture size)."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:5", "#EXT-X-INDEPENDENT-SEGMENTS", ""]
    codecs = '"mp4a.40.2,avc1.640020"' if audio else '"avc1.640020"'
    sound = ""
    if sound_url is not None:
        lines.append(
            '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio-high",NAME="Default",LANGUAGE="und",DEFAULT=YES,AUTOSELECT=YES,'
            f'CHANNELS="1",URI="{sound_url}"'
        )
        sound = ',AUDIO="audio-high"'
    for url, (width, height) in variants.items():
        rate = max(200_000, width * height * 2)
        lines += [
            f"#EXT-X-STREAM-INF:BANDWIDTH={rate * 5 // 4},AVERAGE-BANDWIDTH={rate},CODECS={codecs},"
            f"RESOLUTION={width}x{height},CLOSED-CAPTIONS=NONE{sound}",
            url,
        ]
    return "\n".join([*lines, ""])


def playlist(segments: tuple[Segment, ...], query: str, *, ended: bool = True) -> str:
    """The playlist of one stream; its addresses are relative and end in `query`."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:6", f"#EXT-X-TARGETDURATION:{SEGMENT_SECONDS + 1}", "#EXT-X-PLAYLIST-TYPE:VOD"]
    for each in segments:
        if each.seconds:
            lines += [f"#EXTINF:{each.seconds:.5f},", f"{each.name}?{query}"]
        else:
            lines.append(f'#EXT-X-MAP:URI="{each.name}?{query}"')
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""])


def signature(stream: str, expires: int) -> str:
    """What makes the addresses of a stream good until `expires`."""
    return hmac.new(_KEY, f"{stream}/{expires}".encode(), hashlib.sha256).hexdigest()[:40]
