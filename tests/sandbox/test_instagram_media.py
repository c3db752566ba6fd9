"""What the simulated Instagram downloads, and what it refuses in a file: by its real bytes, not by its name."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.instagram_fetch import MediaProblem
from orbyt_worker.sandbox.instagram_media import IMAGE_BYTES_MAX, REEL_LIMITS, STORY_LIMITS, VideoLimits, check_video
from orbyt_worker.sandbox.media_files import Body, Literal, Pattern, literal
from orbyt_worker.sandbox.media_host import Behaviour
from orbyt_worker.sandbox.mp4 import free_box_header
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.instagram_client import Publisher, codes, video_bytes


@pytest.fixture
def publisher(sandbox: Sandbox, client: httpx.Client) -> Publisher:
    return Publisher(client, sandbox, sandbox.meta.create_instagram())


def _host(publisher: Publisher, data: bytes, content_type: str = "image/jpeg", behaviour: Behaviour | None = None) -> str:  # fmt: skip
    publisher.sandbox.media.add_body("file", literal(data, content_type), behaviour)
    return publisher.sandbox.media.url("file")


def _image(kind: str, size: tuple[int, int] = (400, 400), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 90, 30)).save(out, kind, **options)
    return out.getvalue()


# --- pictures -----------------------------------------------------------------------------------------------------


def test_a_picture_is_downloaded_once_and_kept_as_hash(publisher: Publisher, sandbox: Sandbox) -> None:
    data = _image("JPEG")
    media_id = publisher.published(image_url=_host(publisher, data) + "?signature=secret")
    (post,) = sandbox.meta.instagram.list_media()
    assert post.file is not None
    assert (post.file.sha256, post.file.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (post.file.width, post.file.height, post.media_id) == (400, 400, media_id)
    assert post.file.address == sandbox.media.url("file")
    hosted = sandbox.media.file("file")
    assert hosted is not None
    assert hosted.requests == 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "MPO", "BMP"])
def test_only_jpeg_is_a_picture_whatever_the_host_says(publisher: Publisher, sandbox: Sandbox, kind: str) -> None:
    options: dict[str, Any] = {}
    if kind == "MPO":
        options = {"save_all": True, "append_images": [Image.new("RGB", (400, 400))]}
    address = _host(publisher, _image(kind, **options))
    assert codes(publisher.create(image_url=address)) == (36001, 2207005)
    sandbox.meta.instagram.configure(wrong_image_subcode=2207052)
    assert codes(publisher.create(image_url=address)) == (9004, 2207052)
    assert sandbox.meta.instagram.list_containers() == []


def test_a_damaged_jpeg_is_refused(publisher: Publisher) -> None:
    data = media_files.jpeg(1200, 1200)
    assert codes(publisher.create(image_url=_host(publisher, data[: len(data) // 2]))) == (36001, 2207005)
    assert codes(publisher.create(image_url=_host(publisher, b"\xff\xd8\xff" + b"x" * 500))) == (36001, 2207005)


def test_a_picture_of_more_than_8_mib_is_refused(publisher: Publisher, sandbox: Sandbox) -> None:
    data = _image("JPEG")
    for extra, expected in ((0, None), (1, (36000, 2207004))):
        body = Body(Literal(data), Pattern(IMAGE_BYTES_MAX - len(data) + extra), content_type="image/jpeg")
        sandbox.media.add_body("large.jpg", body)
        answer = publisher.create(image_url=sandbox.media.url("large.jpg"))
        assert (None if answer.status_code == 200 else codes(answer)) == expected


@pytest.mark.parametrize(
    ("size", "fits"),
    [((800, 1000), True), ((1910, 1000), True), ((780, 1000), False), ((2000, 1000), False), ((900, 1600), False)],
)
def test_the_ratio_of_a_feed_picture(publisher: Publisher, size: tuple[int, int], fits: bool) -> None:
    answer = publisher.create(image_url=_host(publisher, _image("JPEG", size)))
    assert answer.status_code == 200 if fits else codes(answer) == (36003, 2207009)
    item = publisher.create(image_url=_host(publisher, _image("JPEG", size)), is_carousel_item="true")
    assert item.status_code == 200 if fits else codes(item) == (36003, 2207009)


def test_the_ratio_is_that_of_the_upright_picture(publisher: Publisher) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    assert publisher.create(image_url=_host(publisher, _image("JPEG", (1000, 800), exif=turned))).status_code == 200
    assert codes(publisher.create(image_url=_host(publisher, _image("JPEG", (1600, 900), exif=turned)))) == (36003, 2207009)  # fmt: skip


def test_a_story_picture_may_have_any_ratio_but_must_be_a_jpeg(publisher: Publisher) -> None:
    answer = publisher.create(media_type="STORIES", image_url=_host(publisher, _image("JPEG", (900, 1600))))
    assert answer.status_code == 200
    answer = publisher.create(media_type="STORIES", image_url=_host(publisher, _image("PNG", (900, 1600))))
    assert codes(answer) == (36001, 2207005)


def test_a_cover_is_checked_before_the_container_is_made(publisher: Publisher, sandbox: Sandbox) -> None:
    cover = _host(publisher, _image("PNG"))
    assert codes(publisher.create(media_type="REELS", video_url=publisher.video(), cover_url=cover)) == (36001, 2207005)
    cover = _host(publisher, _image("JPEG", (900, 1600)))
    publisher.published(media_type="REELS", video_url=publisher.video(), cover_url=cover)
    (post,) = sandbox.meta.instagram.list_media()
    assert post.cover is not None
    assert (post.cover.width, post.cover.height) == (900, 1600)


def test_content_checks_can_be_switched_off(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.meta.instagram.configure(check_content=False)
    assert publisher.create(image_url=_host(publisher, b"anything")).status_code == 200
    container_id = publisher.finished(media_type="REELS", video_url=_host(publisher, b"anything", "video/mp4"))
    assert publisher.status(container_id)["status_code"] == "FINISHED"


# --- the download ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "{host}/media/phöto.jpg",
        "{host}/media/pho to.jpg",
        "ftp://example.com/photo.jpg",
        "file:///etc/passwd",
        "https://user:password@example.com/photo.jpg",
        "https:///photo.jpg",
        "http://10.0.0.1/photo.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00::1]/photo.jpg",
        "{host}/media/nothing-here.jpg",
        "{host}/media/status-403.mp4",
        "{host}/media/html.mp4",
        "{host}/media/html-as-mp4.mp4",
        "{host}/media/redirect-private.mp4",
        "{host}/media/redirect-loop.mp4",
        "{host}/media/truncated-body.mp4",
        "http://127.0.0.1:9/photo.jpg",
        "https://" + "x" * 2000 + ".com/photo.jpg",
    ],
)
def test_what_cannot_be_fetched(publisher: Publisher, address: str) -> None:
    answer = publisher.create(image_url=address.format(host=publisher.sandbox.base_url))
    assert codes(answer) == (9004, 2207052)


def test_three_redirects_are_followed_and_no_fourth(publisher: Publisher, sandbox: Sandbox) -> None:
    publisher.photo("hop-0")
    for number in range(1, 5):
        target = Behaviour(redirect_to=f"/media/hop-{number - 1}")
        sandbox.media.add_body(f"hop-{number}", literal(b"", "text/html"), target)
    assert publisher.create(image_url=sandbox.media.url("hop-3")).status_code == 200
    assert codes(publisher.create(image_url=sandbox.media.url("hop-4"))) == (9004, 2207052)


def test_loopback_is_public_only_here(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.meta.instagram.configure(allow_loopback=False)
    assert codes(publisher.create(image_url=publisher.photo())) == (9004, 2207052)


def test_a_slow_host_costs_the_container(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.meta.instagram.configure(fetch_seconds=0.2)
    late = _host(publisher, _image("JPEG"), behaviour=Behaviour(first_byte_delay_seconds=1.0))
    assert codes(publisher.create(image_url=late)) == (-2, 2207003)
    dripping = _host(publisher, media_files.jpeg(1200, 1200), behaviour=Behaviour(bytes_per_second=2000))
    assert codes(publisher.create(image_url=dripping)) == (-2, 2207003)


@pytest.mark.parametrize(
    ("address", "subcode"),
    [("status-404.mp4", 2207052), ("html-as-mp4.mp4", 2207052), ("moov-at-end.mp4", 2207026), ("zero.mp4", 2207026)],
)
def test_what_is_wrong_with_a_video_is_a_number_in_the_status_text(
    publisher: Publisher, sandbox: Sandbox, address: str, subcode: int
) -> None:
    container_id = publisher.container(media_type="REELS", video_url=sandbox.media.url(address))
    publisher.process()
    status = publisher.status(container_id)
    assert status["status_code"] == "ERROR"
    assert str(subcode) in status["status"]
    assert codes(publisher.publish(container_id)) == (9007, 2207027)


def test_a_video_that_takes_too_long_to_download(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.meta.instagram.configure(fetch_seconds=0.2)
    late = _host(publisher, video_bytes(), "video/mp4", Behaviour(first_byte_delay_seconds=1.0))
    assert "2207003" in publisher.status(publisher.finished(media_type="REELS", video_url=late))["status"]


def test_addresses_of_videos_are_checked_at_once(publisher: Publisher) -> None:
    assert codes(publisher.create(media_type="REELS", video_url="http://x/ä.mp4")) == (9004, 2207052)


# --- videos ---------------------------------------------------------------------------------------------------------


def _encoded(folder: Path, *, pixels: str = "yuv420p", sound: str | None = None, rate: int = 48_000) -> bytes:
    """Three seconds without edit lists, in a pixel format or with a sound of one's choice."""
    path = folder / f"{pixels}-{sound}-{rate}.mp4"
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart", "use_editlist": "0"}) as output:
        picture = output.add_stream("libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 64, pixels
        picture.options = {"preset": "ultrafast", "bf": "0"}
        audio: Any = output.add_stream(sound, rate=rate) if sound else None
        for number in range(80):
            frame = av.VideoFrame(64, 64, "yuv420p").reformat(format=pixels)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
        if audio is not None:
            size = audio.codec_context.frame_size or 1024
            for number in range(math.ceil(3 * rate / size)):
                samples = av.AudioFrame(format=audio.codec_context.format.name, layout="stereo", samples=size)
                for plane in samples.planes:
                    plane.update(bytes(plane.buffer_size))
                samples.sample_rate, samples.pts, samples.time_base = rate, number * size, Fraction(1, rate)
                output.mux(audio.encode(samples))
            output.mux(audio.encode(None))
    return path.read_bytes()


def _refused(data: bytes, limits: VideoLimits = REEL_LIMITS, *, thumb_offset_ms: int | None = None) -> tuple[int, str]:
    with pytest.raises(MediaProblem) as caught:
        check_video(io.BytesIO(data), limits, edit_lists=False, thumb_offset_ms=thumb_offset_ms)
    return caught.value.subcode, caught.value.text


def test_a_good_video_passes_with_its_facts(tmp_path: Path) -> None:
    facts = check_video(io.BytesIO(video_bytes()), REEL_LIMITS, edit_lists=False, thumb_offset_ms=3_100)
    assert (facts.width, facts.height, facts.fps) == (180, 320, 25)
    assert facts.duration_seconds == pytest.approx(3.2, abs=0.1)
    check_video(io.BytesIO(_encoded(tmp_path, sound="aac")), STORY_LIMITS, edit_lists=False, thumb_offset_ms=None)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"faststart": False}, "moov"),
        ({"edit_lists": True}, "edit list"),
        ({"codec": "mpeg4"}, "codec"),
        ({"width": 1922, "height": 64}, "columns"),
        ({"fps": 10}, "frames per second"),
        ({"fps": 22}, "frames per second"),
        ({"fps": 61}, "frames per second"),
        ({"seconds": 2.0}, "seconds"),
    ],
)
def test_videos_outside_of_the_specification(options: dict[str, object], word: str) -> None:
    given: dict[str, Any] = {"seconds": 3.2, "width": 64, "height": 64} | options
    subcode, text = _refused(media_files.video(**given))
    assert subcode == 2207026
    assert word in text


@pytest.mark.parametrize("fps", [23, 60])
def test_frame_rates_at_the_limits(fps: int) -> None:
    data = media_files.video(seconds=3.2, width=64, height=64, fps=fps)
    assert check_video(io.BytesIO(data), REEL_LIMITS, edit_lists=False, thumb_offset_ms=None).fps == pytest.approx(
        fps, abs=0.01
    )


def test_an_edit_list_passes_when_switched_on() -> None:
    data = media_files.video(seconds=3.2, width=64, height=64, edit_lists=True)
    check_video(io.BytesIO(data), REEL_LIMITS, edit_lists=True, thumb_offset_ms=None)


def test_pixels_and_sound_outside_of_the_specification(tmp_path: Path) -> None:
    assert "4:2:0" in _refused(_encoded(tmp_path, pixels="yuv444p"))[1]
    assert "the sound is" in _refused(_encoded(tmp_path, sound="ac3"))[1]
    assert "96000 Hz" in _refused(_encoded(tmp_path, sound="aac", rate=96_000))[1]


def test_what_is_no_whole_video() -> None:
    assert "incomplete" in _refused(media_files.cut_video())[1]
    assert "damaged" in _refused(b"x" * 5000)[1]
    assert "neither" in _refused(b"")[1]
    assert "neither" in _refused(free_box_header(8))[1]


def test_limits_differ_between_reels_and_stories() -> None:
    data = video_bytes()
    assert STORY_LIMITS.seconds_max == 60
    assert REEL_LIMITS.seconds_max == 900
    assert (STORY_LIMITS.bytes_max, REEL_LIMITS.bytes_max) == (100_000_000, 300_000_000)
    assert "seconds" in _refused(data, replace(STORY_LIMITS, seconds_max=3.0))[1]
    assert _refused(data, replace(REEL_LIMITS, bytes_max=len(data) - 1))[0] == 2207082
    assert "aspect" in _refused(data, replace(STORY_LIMITS, ratio_min=0.6))[1]


def test_a_thumbnail_behind_the_end() -> None:
    assert _refused(video_bytes(), thumb_offset_ms=3_300)[0] == 2207057


def test_a_video_of_more_than_its_limit_is_not_read_to_its_end(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.media.add("large.mp4", size_bytes=2 * STORY_LIMITS.bytes_max, seconds=3.2)
    container_id = publisher.finished(media_type="STORIES", video_url=sandbox.media.url("large.mp4"))
    assert "2207082" in publisher.status(container_id)["status"]
    (report,) = sandbox.meta.instagram.list_containers()
    assert report.file is not None
    assert report.file.size_bytes == STORY_LIMITS.bytes_max + 1
