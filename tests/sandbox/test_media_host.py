"""The plain media host: exact HTTP where it is good, and each way of being bad; the files themselves."""

from __future__ import annotations

import hashlib
import io

import av
import httpx
import pytest
from PIL import Image

from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.media_host import Behaviour
from orbyt_worker.sandbox.mp4 import Mp4Watcher, top_level_boxes
from orbyt_worker.sandbox.state import Sandbox


def test_ranges_are_exact(sandbox: Sandbox, client: httpx.Client) -> None:
    whole = client.get("/media/good.mp4")
    data = whole.content
    assert hashlib.sha256(data).hexdigest() == sandbox.media.sha256("good.mp4")
    part = client.get("/media/good.mp4", headers={"Range": "bytes=100-199", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content, part.headers["content-range"]) == (
        206,
        data[100:200],
        f"bytes 100-199/{len(data)}",
    )
    assert client.get("/media/good.mp4", headers={"Range": "bytes=-5"}).content == data[-5:]
    assert (
        client.get("/media/good.mp4", headers={"Range": f"bytes={len(data) - 5}-{len(data) + 100}"}).content
        == data[-5:]
    )
    assert client.get("/media/good.mp4", headers={"Range": "bytes=0-9", "If-Range": '"other"'}).status_code == 200
    beyond = client.get("/media/good.mp4", headers={"Range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(data)}")
    assert client.get("/media/good.mp4", headers={"Range": "bytes=0-1,4-5"}).status_code == 416
    assert client.get("/media/good.mp4", headers={"Range": "pages=1-2"}).status_code == 200
    head = client.head("/media/good.mp4")
    assert (head.headers["content-length"], head.headers["etag"]) == (str(len(data)), whole.headers["etag"])


@pytest.mark.parametrize(
    ("name", "content_type", "start"),
    [
        ("zero.mp4", "video/mp4", b""),
        ("html.mp4", "text/html; charset=utf-8", b"<!DOCTYPE html>"),
        ("html-as-mp4.mp4", "video/mp4", b"<!DOCTYPE html>"),
        ("playlist.m3u8", "application/vnd.apple.mpegurl", b"#EXTM3U"),
        ("photo.jpg", "image/jpeg", b"\xff\xd8\xff"),
        ("photo.png", "image/png", b"\x89PNG"),
    ],
)
def test_contents_that_are_no_video(client: httpx.Client, name: str, content_type: str, start: bytes) -> None:
    answer = client.get(f"/media/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    assert answer.content.startswith(start)
    if name == "zero.mp4":
        assert (answer.content, answer.headers["content-length"]) == (b"", "0")


def test_bad_manners(client: httpx.Client) -> None:
    assert client.get("/media/no-range.mp4", headers={"Range": "bytes=5-9"}).status_code == 200
    assert client.head("/media/no-head.mp4").status_code == 405
    zipped = client.get("/media/gzip.mp4", headers={"Accept-Encoding": "identity"})
    assert (zipped.headers["content-encoding"], "content-length" in zipped.headers) == ("gzip", False)
    assert "content-length" not in client.get("/media/no-length.mp4").headers
    weak = client.get("/media/weak-etag.mp4")
    assert weak.headers["etag"].startswith("W/")
    assert (
        client.get("/media/weak-etag.mp4", headers={"Range": "bytes=0-9", "If-Range": weak.headers["etag"]}).status_code
        == 200
    )
    assert "etag" not in client.get("/media/no-etag.mp4").headers
    for status in (403, 404, 410, 500):
        assert client.get(f"/media/status-{status}.mp4").status_code == status
    assert client.get("/media/unknown.mp4").status_code == 404


def test_redirects(client: httpx.Client) -> None:
    assert client.get("/media/redirect-3.mp4", follow_redirects=True).status_code == 200
    assert len(client.get("/media/redirect-3.mp4", follow_redirects=True).history) == 3
    with pytest.raises(httpx.TooManyRedirects):
        client.get("/media/redirect-loop.mp4", follow_redirects=True)
    assert client.get("/media/redirect-private.mp4").headers["location"].startswith("http://10.0.0.1/")
    assert client.get("/media/redirect-metadata.mp4").headers["location"].startswith("http://169.254.169.254/")


def test_bodies_that_break_off(sandbox: Sandbox, client: httpx.Client) -> None:
    for name in ("truncated-body.mp4", "wrong-length.mp4"):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"/media/{name}")
    with pytest.raises(httpx.ReadError):
        client.get("/media/reset.mp4")
    assert client.get("/media/reset.mp4").status_code == 200
    sandbox.media.add(
        "twice.mp4", size_bytes=500_000, behaviour=Behaviour(truncate_after_bytes=100_000, broken_times=1)
    )
    with client.stream("GET", "/media/twice.mp4") as answer:
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
        got = answer.num_bytes_downloaded
    rest = client.get("/media/twice.mp4", headers={"Range": f"bytes={got}-"})
    assert (got, rest.status_code, got + len(rest.content)) == (100_000, 206, 500_000)


def test_an_etag_that_changes_mid_download(client: httpx.Client) -> None:
    first = client.get("/media/etag-changes.mp4", headers={"Range": "bytes=0-2999999"})
    second = client.get(
        "/media/etag-changes.mp4", headers={"Range": "bytes=3000000-", "If-Range": first.headers["etag"]}
    )
    assert (first.status_code, second.status_code) == (206, 200)
    assert first.headers["etag"] != second.headers["etag"]


def test_slow_bodies_come_slowly(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.media.add("drip.mp4", behaviour=Behaviour(bytes_per_second=1000))
    with pytest.raises(httpx.ReadTimeout), client.stream("GET", "/media/drip.mp4", timeout=0.05) as answer:
        answer.read()


def test_huge_files(client: httpx.Client) -> None:
    size = 5 * 1024**3
    assert client.head(f"/media/huge-{size}.mp4").headers["content-length"] == str(size)
    middle = client.get(f"/media/huge-{size}.mp4", headers={"Range": "bytes=3000000000-3000000099"}).content
    again = client.get(f"/media/huge-{size}.mp4", headers={"Range": "bytes=2999999990-3000000099"}).content
    assert again[10:] == middle
    assert client.get("/media/huge-1.mp4").status_code == 404


def test_the_server_forgets_a_client_that_leaves(sandbox: Sandbox, client: httpx.Client) -> None:
    with client.stream("GET", f"/media/huge-{1024**4 // 4}.mp4") as answer:
        next(answer.iter_raw())
    # Were the server still producing the quarter of a terabyte, it would not answer.
    assert client.get("/media/good.mp4", timeout=5).status_code == 200
    entry = sandbox.requests.list(path_contains="huge")[0]
    assert entry.bytes_sent < 1024**3


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faststart", [True, False])
def test_padded_videos_play_and_have_the_size_asked_for(faststart: bool) -> None:
    body = media_files.video_body(size_bytes=3_000_000, faststart=faststart)
    data = body.read(0, body.size)
    assert len(data) == 3_000_000
    kinds = [kind for kind, _, _ in top_level_boxes(data)]
    assert (kinds.index(b"moov") < kinds.index(b"mdat")) is faststart
    with av.open(io.BytesIO(data), mode="r") as container:
        assert len(list(container.decode(video=0))) == 50
    assert body.sha256() == hashlib.sha256(data).hexdigest()
    assert body.read(1_234_567, 100) == data[1_234_567:1_234_667]


def test_a_forty_hour_video_is_small() -> None:
    data = media_files.long_video()
    assert len(data) < 100_000
    with av.open(io.BytesIO(data), mode="r") as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(40 * 3600, abs=2)


def test_a_cut_video_has_incomplete_boxes() -> None:
    watcher = Mp4Watcher()
    watcher.feed(media_files.cut_video())
    assert not watcher.complete


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_the_watcher_reads_a_file_in_any_pieces(step: int) -> None:
    data = media_files.video(faststart=False)
    watcher = Mp4Watcher()
    for start in range(0, len(data), step):
        watcher.feed(data[start : start + step])
    assert watcher.complete
    assert watcher.box_types == [kind.decode() for kind, _, _ in top_level_boxes(data)]
    assert (watcher.facts.width, watcher.facts.height) == (320, 180)
    assert watcher.facts.duration_seconds == pytest.approx(2.0, abs=0.1)


def test_pictures_are_real() -> None:
    for data, kind in ((media_files.jpeg(640, 480), "JPEG"), (media_files.png(640, 480), "PNG")):
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.size) == (kind, (640, 480))
