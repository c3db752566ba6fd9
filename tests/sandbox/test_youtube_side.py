"""The simulator's playlists, captions and thumbnails: as strict as the method pages, and honest about what it has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.google import SCOPE_FULL, AccountHandle
from orbyt_worker.sandbox.google_model import SCOPE_FORCE_SSL
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.youtube_client import API, reason, upload

VIDEO = media_files.video()
SRT = b"1\n00:00:00,000 --> 00:00:02,500\nHello\n"
CAPTIONS = "/youtube-upload/upload/youtube/v3/captions"
MULTIPART = "multipart/related; boundary=cut"


@pytest.fixture
def full(sandbox: Sandbox, account: AccountHandle) -> dict[str, str]:
    """Authorization with everything there is."""
    scopes = (SCOPE_FULL, SCOPE_FORCE_SSL)
    token = sandbox.google.issue_refresh_token(account.sub, channel_id=account.channel_id, scopes=scopes)
    return {"Authorization": f"Bearer {sandbox.google.issue_access_token(token)}"}


@pytest.fixture
def video_id(client: httpx.Client, bearer: dict[str, str]) -> str:
    return upload(client, bearer, VIDEO)


@pytest.fixture
def playlist_id(sandbox: Sandbox, account: AccountHandle) -> str:
    return sandbox.youtube.create_playlist(account.channel_id or "").playlist_id


def add(client: httpx.Client, who: dict[str, str], playlist_id: str, video_id: str, **snippet: Any) -> httpx.Response:
    resource = {"kind": "youtube#video", "videoId": video_id}
    body = {"snippet": {"playlistId": playlist_id, "resourceId": resource, **snippet}}
    return client.post(f"{API}/playlistItems", params={"part": "snippet"}, json=body, headers=who)


def entries(client: httpx.Client, who: dict[str, str], **params: str) -> list[dict[str, Any]]:
    answer = client.get(f"{API}/playlistItems", params={"part": "id,snippet", **params}, headers=who)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def parts(metadata: str, content: bytes, kind: str = "application/octet-stream") -> bytes:
    head = f"--cut\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{metadata}\r\n--cut\r\nContent-Type: {kind}\r\n\r\n"
    return head.encode() + content + b"\r\n--cut--\r\n"


def snippet(video_id: str, language: str = "en", name: str = "") -> str:
    return f'{{"snippet": {{"videoId": "{video_id}", "language": "{language}", "name": "{name}"}}}}'


def caption(
    client: httpx.Client, who: dict[str, str], body: bytes, *, upload_type: str = "multipart", kind: str = MULTIPART
) -> httpx.Response:
    params = {"uploadType": upload_type, "part": "snippet"}
    return client.post(CAPTIONS, params=params, content=body, headers={**who, "Content-Type": kind})


def tracks(client: httpx.Client, who: dict[str, str], video_id: str) -> httpx.Response:
    return client.get(f"{API}/captions", params={"part": "snippet", "videoId": video_id}, headers=who)


# playlists -------------------------------------------------------------------------------------------------------------


def test_a_playlist_takes_a_video_twice_and_says_so(
    sandbox: Sandbox, client: httpx.Client, full: dict[str, str], video_id: str, playlist_id: str
) -> None:
    other = upload(client, full, VIDEO)
    for each in (video_id, other, video_id):
        assert add(client, full, playlist_id, each).status_code == 200
    found = entries(client, full, playlistId=playlist_id, videoId=video_id)
    assert [item["snippet"]["position"] for item in found] == [0, 2]
    assert len({item["id"] for item in found}) == 2
    assert sandbox.youtube.get_video(video_id).playlists == [playlist_id, playlist_id]
    assert sandbox.youtube.get_video(other).playlists == [playlist_id]
    sandbox.youtube.configure(refuse_playlist_duplicates=True)
    answer = add(client, full, playlist_id, video_id)
    assert (answer.status_code, reason(answer)) == (409, "videoAlreadyInPlaylist")


def test_what_a_playlist_refuses(
    sandbox: Sandbox,
    client: httpx.Client,
    account: AccountHandle,
    bearer: dict[str, str],
    full: dict[str, str],
    video_id: str,
    playlist_id: str,
) -> None:
    stranger = sandbox.google.create_account()
    foreign = sandbox.youtube.create_playlist(stranger.channel_id or "").playlist_id
    private = upload(
        client, {"Authorization": f"Bearer {sandbox.google.issue_access_token(stranger.refresh_token)}"}, VIDEO
    )
    expected = [
        (add(client, bearer, playlist_id, video_id), 403, "insufficientPermissions"),
        (add(client, full, foreign, video_id), 403, "playlistItemsNotAccessible"),
        (add(client, full, "PLnone", video_id), 404, "playlistNotFound"),
        (add(client, full, str(account.uploads_playlist_id), video_id), 400, "playlistOperationUnsupported"),
        (add(client, full, playlist_id, "none"), 404, "videoNotFound"),
        (add(client, full, playlist_id, private), 400, "failedPrecondition"),
        (add(client, full, playlist_id, video_id, position=0), 400, "manualSortRequired"),
        (add(client, full, playlist_id, video_id, note="x"), 400, "badRequest"),
        (add(client, full, playlist_id, video_id, playlistId=""), 400, "playlistIdRequired"),
        (add(client, full, playlist_id, video_id, resourceId=None), 400, "resourceIdRequired"),
        (add(client, full, playlist_id, video_id, resourceId={"kind": "youtube#channel", "videoId": "x"}), 400, "invalidResourceType"),
    ]  # fmt: skip
    assert [(a.status_code, reason(a)) for a, _, _ in expected] == [(status, why) for _, status, why in expected]
    sandbox.youtube.configure(playlist_items_max=0)
    answer = add(client, full, playlist_id, video_id)
    assert (answer.status_code, reason(answer)) == (403, "playlistContainsMaximumNumberOfVideos")
    assert sandbox.youtube.get_video(video_id).playlists == []


# captions --------------------------------------------------------------------------------------------------------------


def test_a_caption_track(sandbox: Sandbox, client: httpx.Client, full: dict[str, str], video_id: str) -> None:
    answer = caption(client, full, parts(snippet(video_id), SRT))
    assert (answer.status_code, answer.json()["kind"]) == (200, "youtube#caption")
    [track] = sandbox.youtube.get_video(video_id).captions
    assert (track.language, track.name, track.status) == ("en", "", "serving")
    assert track.sha256 == hashlib.sha256(SRT).hexdigest()
    [listed] = tracks(client, full, video_id).json()["items"]
    assert (listed["id"], listed["snippet"]["trackKind"]) == (track.caption_id, "standard")
    assert listed["id"] == answer.json()["id"]
    assert sandbox.youtube.quota().units_used == 400 + 50


def test_a_second_track_needs_another_name_or_language(
    sandbox: Sandbox, client: httpx.Client, full: dict[str, str], video_id: str
) -> None:
    sandbox.youtube.add_caption_track(video_id, "en", track_kind="ASR")
    assert caption(client, full, parts(snippet(video_id), SRT)).status_code == 200
    answer = caption(client, full, parts(snippet(video_id, "EN"), SRT))
    assert (answer.status_code, reason(answer)) == (409, "captionExists")
    assert caption(client, full, parts(snippet(video_id, name="for children"), SRT)).status_code == 200
    assert caption(client, full, parts(snippet(video_id, "de"), SRT)).status_code == 200
    assert len(sandbox.youtube.get_video(video_id).captions) == 4


@pytest.mark.parametrize("content", [b"no times at all", b"\xff\xfe1\x000\x00"])
def test_a_file_that_cannot_be_read_fails_later(
    client: httpx.Client, full: dict[str, str], video_id: str, content: bytes
) -> None:
    found = caption(client, full, parts(snippet(video_id), content)).json()["snippet"]
    assert (found["status"], found["failureReason"]) == ("failed", "unknownFormat")


def test_what_captions_refuse(
    sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str], full: dict[str, str], video_id: str
) -> None:
    stranger = sandbox.google.create_account(scopes=(SCOPE_FORCE_SSL,))
    other = {"Authorization": f"Bearer {sandbox.google.issue_access_token(stranger.refresh_token)}"}
    good = parts(snippet(video_id), SRT)
    plain = sandbox.google.create_account(scopes=(SCOPE_FULL,))
    without = {"Authorization": f"Bearer {sandbox.google.issue_access_token(plain.refresh_token)}"}
    expected = [
        (caption(client, bearer, good), 403, "insufficientPermissions"),
        (caption(client, without, good), 403, "insufficientPermissions"),
        (tracks(client, without, video_id), 403, "insufficientPermissions"),
        (caption(client, other, good), 403, "forbidden"),
        (tracks(client, other, video_id), 403, "forbidden"),
        (tracks(client, full, "none"), 404, "videoNotFound"),
        (caption(client, full, parts(snippet("none"), SRT)), 404, "videoNotFound"),
        (caption(client, full, parts(snippet(video_id), b" ")), 400, "contentRequired"),
        (caption(client, full, parts(snippet(video_id, "english!"), SRT)), 400, "invalidMetadata"),
        (caption(client, full, parts(f'{{"snippet": {{"videoId": "{video_id}", "language": "en"}}}}', SRT)), 400, "invalidMetadata"),
        (caption(client, full, parts(snippet(video_id, name="n" * 151), SRT)), 400, "nameTooLong"),
        (caption(client, full, parts("not json", SRT)), 400, "parseError"),
        (caption(client, full, parts("[]", SRT)), 400, "badRequest"),
        (caption(client, full, good, upload_type="media"), 400, "badRequest"),
        (caption(client, full, good, kind="application/json"), 400, "badRequest"),
        (caption(client, full, good, kind="multipart/related; boundary=other"), 400, "badRequest"),
        (caption(client, full, good.replace(b"--cut--", b"--cut")), 400, "badRequest"),
        (caption(client, full, good.replace(b"application/json", b"text/plain")), 400, "badRequest"),
        (caption(client, full, SRT), 400, "badRequest"),
    ]  # fmt: skip
    assert [(a.status_code, reason(a)) for a, _, _ in expected] == [(status, why) for _, status, why in expected]
    assert sandbox.youtube.get_video(video_id).captions == []


# thumbnails, and all of them in the reports ------------------------------------------------------------------------------


def test_the_report_of_a_video_knows_its_thumbnail(
    sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str], video_id: str
) -> None:
    picture = media_files.png()
    assert sandbox.youtube.get_video(video_id).thumbnail_sha256 is None
    answer = client.post(
        "/youtube-upload/upload/youtube/v3/thumbnails/set",
        params={"videoId": video_id, "uploadType": "media"},
        content=picture,
        headers={**bearer, "Content-Type": "image/png"},
    )
    assert answer.status_code == 200
    assert sandbox.youtube.get_video(video_id).thumbnail_sha256 == hashlib.sha256(picture).hexdigest()


def test_the_control_api_tells_all_of_it(
    client: httpx.Client, full: dict[str, str], video_id: str, playlist_id: str
) -> None:
    add(client, full, playlist_id, video_id)
    caption(client, full, parts(snippet(video_id), SRT))
    [told] = client.get("/_control/youtube/list_videos").json()["result"]
    assert (told["playlists"], told["captions"][0]["language"]) == ([playlist_id], "en")


@pytest.mark.parametrize("kind", ["quota_exceeded", "rate_limited", "drop_before"])
def test_faults_strike_these_methods_as_well(
    sandbox: Sandbox, client: httpx.Client, full: dict[str, str], video_id: str, playlist_id: str, kind: Any
) -> None:
    for name in ("youtube.playlistItems.insert", "youtube.captions.insert"):
        sandbox.faults.add(name, kind)
    calls: list[Callable[[], httpx.Response]] = [
        lambda: add(client, full, playlist_id, video_id),
        lambda: caption(client, full, parts(snippet(video_id), SRT)),
    ]
    for call in calls:
        if kind == "drop_before":
            with pytest.raises(httpx.RemoteProtocolError):
                call()
        else:
            assert call().status_code in (403, 429)
        assert call().status_code == 200
