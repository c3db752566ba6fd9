"""Playlists: what is understood, what is skipped, and what is refused rather than copied wrongly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media import hls
from orbyt_worker.media.hls import Piece

URL = "https://manifest.mux.com/a/b/rendition.m3u8?signature=planted"

MASTER = """#EXTM3U
#EXT-X-VERSION:5
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="English",URI="subs.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="loud",NAME="Deutsch, laut",URI="de.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="loud",NAME="English",DEFAULT=YES,AUTOSELECT=YES,URI="en.m3u8"

#EXT-X-STREAM-INF:BANDWIDTH=2516370,AVERAGE-BANDWIDTH=2500000,CODECS="mp4a.40.2,avc1.640020",RESOLUTION=1280x720,AUDIO="loud"
720.m3u8?x=1
# a comment, as the format allows
#EXT-X-STREAM-INF:BANDWIDTH=9000000,CODECS="mp4a.40.2,avc1.640032",RESOLUTION=3840x2160,AUDIO="loud"
https://elsewhere.mux.com/2160.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=5000000,CODECS="mp4a.40.2,avc1.640028",RESOLUTION=1080x1920,AUDIO="loud"
/1080.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="frames.m3u8"
"""


def media(*lines: str, ended: bool = True) -> str:
    return "\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:6", *lines, *(["#EXT-X-ENDLIST"] if ended else [])])


def refused(text: str) -> Failure:
    with pytest.raises(Failure) as caught:
        hls.stream(text, URL)
    assert "planted" not in str(caught.value)
    return caught.value


# --- Lists of qualities -----------------------------------------------------------------------------------------------


def test_qualities_and_their_sound() -> None:
    small, large, upright = hls.variants(MASTER, URL)
    assert small.uri == "https://manifest.mux.com/a/b/720.m3u8?x=1"
    assert (small.width, small.height, small.bits_per_second) == (1280, 720, 2_500_000)
    assert small.codecs == ("mp4a.40.2", "avc1.640020")
    assert small.sound == "https://manifest.mux.com/a/b/en.m3u8"
    assert (large.uri, large.bits_per_second) == ("https://elsewhere.mux.com/2160.m3u8", 9_000_000)
    assert upright.uri == "https://manifest.mux.com/1080.m3u8"


@pytest.mark.parametrize(("prefer", "height"), [("highest", 2160), ("1080p", 1920)])
def test_the_best_that_fits(prefer: str, height: int) -> None:
    chosen = hls.choose(hls.variants(MASTER, URL), prefer)
    assert chosen is not None
    assert chosen.height == height


def test_nothing_fits() -> None:
    only_large = hls.variants(MASTER, URL)[1:2]
    assert hls.choose(only_large, "1080p") is None
    assert hls.choose((), "highest") is None


def test_what_no_mp4_holds_is_passed_over() -> None:
    text = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=9,CODECS="av01.0.08M.08,mp4a.40.2",RESOLUTION=1920x1080
av1.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=8,CODECS="hvc1.2.4.L120,mp4a.40.2",RESOLUTION=1920x1080
hevc.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=7,CODECS="avc1.640020,mp4a.40.2",RESOLUTION=1280x720
first.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=7,CODECS="avc1.640020,mp4a.40.2",RESOLUTION=1280x720
second.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=6,CODECS="mp4a.40.2"
sound.m3u8
"""
    chosen = hls.choose(hls.variants(text, URL), "highest")
    assert chosen is not None
    assert chosen.uri.endswith("first.m3u8")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html></html>",
        "#EXTM3U\norphan.m3u8",
        "#EXTM3U\n#EXT-X-STREAM-INF:RESOLUTION=1x1\na.m3u8",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,BANDWIDTH=2\na.m3u8",
        '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="open\na.m3u8',
        '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="none"\na.m3u8',
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n" + "a" * 5000,
        "#EXTM3U\n" + "#EXT-X-STREAM-INF:BANDWIDTH=1\na\n" * (hls.VARIANTS_MAX + 1),
        media("#EXTINF:5,", "0.ts"),
    ],
)
def test_no_list_of_qualities(text: str) -> None:
    with pytest.raises(Failure) as caught:
        hls.variants(text, URL)
    assert caught.value.code == ErrorCode.MEDIA_REMUX_FAILED


def test_a_list_that_is_encrypted() -> None:
    with pytest.raises(Failure) as caught:
        hls.variants('#EXTM3U\n#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="skd://x"', URL)
    assert caught.value.code == ErrorCode.MEDIA_DRM_ONLY


# --- Segments ---------------------------------------------------------------------------------------------------------


def test_transport_stream() -> None:
    found = hls.stream(
        media(
            "#EXT-X-KEY:METHOD=NONE",
            "#EXTINF:4.004,title",
            "0.ts?a=1",
            "#EXT-X-PROGRAM-DATE-TIME:x",
            "#EXTINF:2",
            "1.ts",
        ),
        URL,
    )
    assert found.header is None
    assert [each.uri for each in found.segments] == [
        "https://manifest.mux.com/a/b/0.ts?a=1",
        "https://manifest.mux.com/a/b/1.ts",
    ]
    assert found.seconds == (4.004, 2.0)
    assert found.duration_seconds == pytest.approx(6.004)


def test_fragments_in_parts_of_one_file() -> None:
    found = hls.stream(
        media(
            '#EXT-X-MAP:URI="all.mp4",BYTERANGE="700@0"',
            "#EXT-X-BYTERANGE:1000@700",
            "#EXTINF:5,",
            "all.mp4",
            "#EXT-X-BYTERANGE:500",
            "#EXTINF:2.5,",
            "all.mp4",
        ),
        URL,
    )
    uri = "https://manifest.mux.com/a/b/all.mp4"
    assert found.header == Piece(uri, 0, 700)
    assert found.segments == (Piece(uri, 700, 1000), Piece(uri, 1700, 500))


@pytest.mark.parametrize(
    "lines",
    [
        ("#EXTINF:5,", "0.ts", "#EXT-X-DISCONTINUITY", "#EXTINF:5,", "1.ts"),
        ("#EXT-X-GAP", "#EXTINF:5,", "0.ts"),
        ('#EXT-X-DEFINE:NAME="a",VALUE="b"', "#EXTINF:5,", "0.ts"),
        ("#EXTINF:5,", "{$host}/0.ts"),
        ("#EXTINF:5,", "0.m4s", '#EXT-X-MAP:URI="other.mp4"', "#EXTINF:5,", "1.m4s"),
        ('#EXT-X-MAP:URI="a.mp4"', '#EXT-X-MAP:URI="b.mp4"', "#EXTINF:5,", "1.m4s"),
        ("0.ts",),
        ("#EXTINF:-5,", "0.ts"),
        ("#EXTINF:nan,", "0.ts"),
        ("#EXTINF:1e9,", "0.ts"),
        ("#EXTINF:61,", "0.ts"),
        ("#EXT-X-BYTERANGE:0@5", "#EXTINF:5,", "0.ts"),
        ("#EXT-X-BYTERANGE:10", "#EXTINF:5,", "0.ts"),
        ("#EXT-X-I-FRAMES-ONLY", "#EXTINF:5,", "0.ts"),
        ("#EXT-X-STREAM-INF:BANDWIDTH=1", "a.m3u8"),
        (),
        tuple(["#EXTINF:60,", "0.ts"] * 800),
    ],
)
def test_what_is_no_single_video(lines: tuple[str, ...]) -> None:
    assert refused(media(*lines)).code == ErrorCode.MEDIA_REMUX_FAILED


def test_too_many_segments() -> None:
    assert refused(media(*["#EXTINF:0.1,", "0.ts"] * (hls.SEGMENTS_MAX + 1))).code == ErrorCode.MEDIA_REMUX_FAILED


def test_encrypted_segments() -> None:
    text = media('#EXT-X-KEY:METHOD=AES-128,URI="key"', "#EXTINF:5,", "0.ts")
    assert refused(text).code == ErrorCode.MEDIA_DRM_ONLY


def test_a_stream_that_goes_on() -> None:
    assert refused(media("#EXTINF:5,", "0.ts", ended=False)).code == ErrorCode.MUX_LIVE_STREAM


@given(st.text(max_size=300), st.sampled_from(["", MASTER, media("#EXTINF:5,", "0.ts")]), st.integers(0, 400))
def test_any_text_is_read_or_refused(noise: str, around: str, at: int) -> None:
    text = around[:at] + noise + around[at:]
    for read in (hls.variants, hls.stream):
        try:
            read(text, URL)
        except Failure:
            continue


def test_addresses_are_not_shown() -> None:
    found = hls.stream(media("#EXTINF:5,", "0.ts?signature=planted"), URL)
    assert "planted" not in repr((found, hls.variants(MASTER, URL)))
