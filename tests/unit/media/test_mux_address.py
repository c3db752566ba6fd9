"""Mux addresses of every shape, and the choice among static renditions. Pure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.mux import MuxRef, parse
from orbyt_worker.media.mux_api import Asset
from orbyt_worker.media.mux_files import File, candidates, choose, wanted
from orbyt_worker.model import MediaFacts

PID = "DS00Spx1CV902MCtPj5WknGlR102V5HFkDe"


@pytest.mark.parametrize(
    "url",
    [
        f"mux://{PID}",
        PID,
        f"https://stream.mux.com/{PID}",
        f"https://stream.mux.com/{PID}.m3u8",
        f"https://stream.mux.com/{PID}.m3u8?max_resolution=720p",
        f"https://stream.mux.com/{PID}/high.mp4",
        f"https://stream.mux.com/{PID}/capped-1080p.mp4?download=holiday",
        f"https://STREAM.mux.com:443/{PID}/audio.m4a",
        f"https://player.mux.com/{PID}?metadata-video-title=x",
        f"https://media.example.com/{PID}.m3u8",
        f"https://media.example.com/{PID}/1080p.mp4",
    ],
)
def test_every_shape_is_understood(url: str) -> None:
    assert parse(url, stream_url="https://media.example.com") == MuxRef(PID)


def test_a_token_is_kept_and_never_shown() -> None:
    ref = parse(f"https://stream.mux.com/{PID}.m3u8?token=eyJ.secret.x&max_resolution=720p")
    assert ref is not None
    assert ref.token == "eyJ.secret.x"
    assert "secret" not in repr(ref)


def test_a_base_with_a_path() -> None:
    base = "http://127.0.0.1:8123/mux-stream"
    assert parse(f"{base}/{PID}.m3u8", stream_url=base) == MuxRef(PID)
    assert parse("http://127.0.0.1:8123/media/good.mp4", stream_url=base) is None
    assert parse(f"http://127.0.0.1:8124/mux-stream/{PID}.m3u8", stream_url=base) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.mp4",
        f"https://stream.mux.com.evil.example/{PID}.m3u8",
        f"https://image.mux.com/{PID}/thumbnail.jpg",
        "ftp://stream.mux.com/x",
        "nonsense",
        "https://[",
    ],
)
def test_other_addresses_are_not_mux(url: str) -> None:
    assert parse(url) is None


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("mux://", ErrorCode.MEDIA_URL_INVALID),
        ("mux://has space", ErrorCode.MEDIA_URL_INVALID),
        (f"mux://{PID}/more", ErrorCode.MEDIA_URL_INVALID),
        ("https://stream.mux.com/", ErrorCode.MEDIA_URL_INVALID),
        (f"https://stream.mux.com/{PID}/text/track.vtt", ErrorCode.MEDIA_URL_INVALID),
        (f"https://stream.mux.com/{PID}/../x", ErrorCode.MEDIA_URL_INVALID),
        (f"https://u:p@stream.mux.com/{PID}.m3u8", ErrorCode.MEDIA_URL_INVALID),
        (f"https://stream.mux.com:8080/{PID}.m3u8", ErrorCode.MEDIA_URL_INVALID),
        (f"http://stream.mux.com/{PID}.m3u8", ErrorCode.MEDIA_URL_NOT_HTTPS),
    ],
)
def test_mux_hosts_without_a_video(url: str, code: ErrorCode) -> None:
    with pytest.raises(Failure) as caught:
        parse(url)
    assert caught.value.code == code


# --- Choosing ---------------------------------------------------------------------------------------------------------


def file(
    name: str, status: str = "ready", width: int | None = None, height: int | None = None, size: int | None = None
) -> File:
    return File(name, status, width, height, size)  # type: ignore[arg-type]


def chosen(files: list[File], prefer: str, expect: MediaFacts | None = None) -> str | None:
    found = choose(files, prefer, expect=expect)
    return None if found is None else found.name


def test_the_most_pixels_for_platforms_that_encode_again() -> None:
    files = [file("720p.mp4", width=1280, height=720), file("1080p.mp4", width=1920, height=1080), file("audio.m4a")]
    assert chosen(files, "highest") == "1080p.mp4"
    legacy = [file("low.mp4"), file("high.mp4"), file("medium.mp4")]
    assert chosen(legacy, "highest") == "high.mp4"


def test_what_a_fetching_platform_takes() -> None:
    assert (
        chosen([file("highest.mp4", width=3840, height=2160), file("capped-1080p.mp4")], "1080p") == "capped-1080p.mp4"
    )
    upright = [file("highest.mp4", width=1080, height=1920), file("720p.mp4", width=720, height=1280)]
    assert chosen(upright, "1080p") == "highest.mp4"
    # Nothing small enough: the smallest of the others, for the platform's own rules to judge.
    assert chosen([file("2160p.mp4"), file("1440p.mp4")], "1080p") == "1440p.mp4"


def test_final_states_are_not_waited_for() -> None:
    files = [file("1080p.mp4", "skipped"), file("720p.mp4", "errored"), file("480p.mp4")]
    assert chosen(files, "highest") == "480p.mp4"
    assert chosen([file("1080p.mp4", "skipped")], "highest") is None


def test_a_better_file_in_the_making_is_waited_for() -> None:
    found = choose([file("1080p.mp4", "preparing"), file("720p.mp4", width=1280, height=720)], "highest")
    assert found is not None
    assert (found.name, found.status) == ("1080p.mp4", "preparing")


def test_a_transfer_that_began_stays_with_its_file() -> None:
    files = [file("1080p.mp4", size=100, width=1920, height=1080), file("720p.mp4", size=100, width=1280, height=720)]
    begun = MediaFacts("video", "video/mp4", 100, height=720)
    assert chosen(files, "highest", begun) == "720p.mp4"
    assert chosen(files, "highest", replace(begun, size_bytes=300)) == "1080p.mp4"


def test_the_order_of_guessing() -> None:
    assert candidates("highest")[:3] == ("highest.mp4", "2160p.mp4", "1440p.mp4")
    assert candidates("1080p")[:3] == ("1080p.mp4", "capped-1080p.mp4", "high.mp4")
    assert set(candidates("highest")) == set(candidates("1080p"))


def test_answers_of_the_api_old_and_new() -> None:
    base = {"id": "a", "status": "ready"}
    new = Asset.model_validate(
        {
            **base,
            "static_renditions": {
                "status": "disabled",
                "files": [{"name": "highest.mp4", "status": "ready", "filesize": "123"}],
            },
        }
    )
    assert new.files == [File("highest.mp4", "ready", size_bytes=123)]
    listed = Asset.model_validate({**base, "static_renditions": [{"name": "720p.mp4", "status": "skipped"}]})
    assert [each.status for each in listed.files] == ["skipped"]
    legacy = Asset.model_validate(
        {**base, "static_renditions": {"status": "ready", "files": [{"name": "low.mp4", "filesize": "9"}]}}
    )
    assert [each.status for each in legacy.files] == ["ready"]
    assert Asset.model_validate({**base, "static_renditions": {"status": "preparing"}}).renditions_preparing
    assert Asset.model_validate({**base, "static_renditions": None, "playback_ids": None}).files == []
    odd = Asset.model_validate({**base, "static_renditions": [{"name": "720p.mp4", "status": "brand_new_state"}]})
    assert [each.status for each in odd.files] == ["preparing"]


# --- Which file to ask Mux for ----------------------------------------------------------------------------------------


def skipped(*names: str) -> list[File]:
    return [File(name, "skipped") for name in names]


@pytest.mark.parametrize(
    ("files", "prefer", "size", "resolution"),
    [
        ([], "highest", (None, None), "highest"),
        ([], "highest", (3840, 2160), "highest"),
        ([], "1080p", (None, None), "1080p"),
        ([], "1080p", (3840, 2160), "1080p"),
        # `highest` of a small video serves everybody.
        ([], "1080p", (1920, 1080), "highest"),
        ([], "1080p", (1080, 1920), "highest"),
        ([], "1080p", (2560, 1080), "1080p"),
        (skipped("audio.m4a"), "highest", (1920, 1080), "highest"),
        # What is there excludes `highest`, and what is too large for the asset will never be made.
        (skipped("2160p.mp4"), "highest", (1920, 1080), "1080p"),
        (skipped("2160p.mp4"), "1080p", (2560, 1440), "1080p"),
        (skipped("2160p.mp4", "1080p.mp4"), "1080p", (1280, 720), "720p"),
        (skipped("2160p.mp4"), "highest", (None, None), None),
        (skipped("highest.mp4"), "1080p", (3840, 2160), None),
        ([File("1080p.mp4", "errored")], "highest", (1920, 1080), None),
    ],
)
def test_what_to_ask_for(
    files: list[File], prefer: str, size: tuple[int | None, int | None], resolution: str | None
) -> None:
    width, height = size
    assert wanted(files, prefer, width=width, height=height, legacy=False) == resolution
    assert wanted(files, prefer, width=width, height=height, legacy=True) is None
