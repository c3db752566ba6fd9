"""The simulator's reading and editing methods, the life of a video, quota, thumbnails and playlists."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.google import SCOPE_FULL, AccountHandle
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.youtube_client import API, open_session, reason, upload

VIDEO = media_files.video()
PARTS = "snippet,status,contentDetails,processingDetails,fileDetails"


@pytest.fixture
def full(sandbox: Sandbox, account: AccountHandle) -> dict[str, str]:
    """Authorization with the scope that allows editing."""
    token = sandbox.google.issue_refresh_token(account.sub, channel_id=account.channel_id, scopes=(SCOPE_FULL,))
    return {"Authorization": f"Bearer {sandbox.google.issue_access_token(token)}"}


def read(client: httpx.Client, bearer: dict[str, str], video_id: str, part: str = PARTS) -> list[dict[str, Any]]:
    answer = client.get(f"{API}/videos", params={"part": part, "id": video_id}, headers=bearer)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def uploads_list(client: httpx.Client, bearer: dict[str, str], account: AccountHandle) -> list[str]:
    answer = client.get(
        f"{API}/playlistItems",
        params={"part": "contentDetails,snippet", "playlistId": str(account.uploads_playlist_id), "maxResults": "50"},
        headers=bearer,
    )
    return [item["contentDetails"]["videoId"] for item in answer.json()["items"]]


# --- life of a video ----------------------------------------------------------------------------------------------


def test_processing_takes_its_time_and_numbers_are_strings(
    sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str]
) -> None:
    sandbox.clock.freeze()
    sandbox.youtube.configure(processing_seconds=60)
    video_id = upload(client, bearer, VIDEO)
    sandbox.clock.advance(20)
    (item,) = read(client, bearer, video_id)
    assert item["status"]["uploadStatus"] == "uploaded"
    assert item["contentDetails"]["duration"] == "PT0S"
    first = item["processingDetails"]["processingProgress"]
    assert all(isinstance(value, str) for value in first.values())
    sandbox.clock.advance(15)
    (item,) = read(client, bearer, video_id)
    later = item["processingDetails"]["processingProgress"]
    assert int(later["partsProcessed"]) / int(later["partsTotal"]) < int(first["partsProcessed"]) / int(
        first["partsTotal"]
    )
    sandbox.clock.advance(30)
    (item,) = read(client, bearer, video_id)
    assert (item["status"]["uploadStatus"], item["processingDetails"]["processingStatus"]) == ("processed", "succeeded")
    assert item["contentDetails"]["duration"] == "PT2S"
    assert item["fileDetails"]["fileSize"] == str(len(VIDEO))


@pytest.mark.parametrize(
    ("outcome", "given", "upload_status", "processing", "field"),
    [
        ("failed", "codec", "failed", "failed", "failureReason"),
        ("rejected", "copyright", "rejected", "succeeded", "rejectionReason"),
        ("terminated", None, "failed", "terminated", None),
        ("deleted", None, "deleted", "succeeded", None),
        ("stuck", None, "uploaded", "processing", None),
    ],
)
def test_scripted_outcomes(
    sandbox: Sandbox,
    client: httpx.Client,
    bearer: dict[str, str],
    outcome: Any,
    given: str | None,
    upload_status: str,
    processing: str,
    field: str | None,
) -> None:
    sandbox.faults.add("youtube.video.created", "video_outcome", outcome=outcome, reason=given, seconds=0)
    video_id = upload(client, bearer, VIDEO)
    (item,) = read(client, bearer, video_id)
    assert (item["status"]["uploadStatus"], item["processingDetails"]["processingStatus"]) == (
        upload_status,
        processing,
    )
    if field is not None:
        assert item["status"][field] == given


def test_a_vanished_video_and_one_not_visible_yet(
    sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str]
) -> None:
    sandbox.clock.freeze()
    sandbox.faults.add("youtube.video.created", "empty_items", seconds=10)
    sandbox.faults.add("youtube.video.created", "video_outcome", outcome="vanished", seconds=100)
    video_id = upload(client, bearer, VIDEO)
    assert read(client, bearer, video_id) == []
    sandbox.clock.advance(11)
    assert len(read(client, bearer, video_id)) == 1
    sandbox.clock.advance(100)
    assert read(client, bearer, video_id) == []
    assert sandbox.youtube.count() == 1


def test_what_is_no_video_fails_and_what_is_too_long_is_rejected(
    sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str]
) -> None:
    page = upload(client, bearer, media_files.HTML_PAGE)
    long = upload(client, bearer, media_files.long_video())
    sandbox.clock.advance(2)
    assert read(client, bearer, page)[0]["status"]["failureReason"] == "invalidFile"
    assert read(client, bearer, long)[0]["status"]["rejectionReason"] == "length"

    unverified = sandbox.google.create_account(long_uploads_status="eligible")
    other = {"Authorization": f"Bearer {sandbox.google.issue_access_token(unverified.refresh_token)}"}
    twenty_minutes = upload(client, other, media_files.video(last_frame_at_seconds=1200.0))
    sandbox.clock.advance(2)
    assert read(client, other, twenty_minutes)[0]["status"]["rejectionReason"] == "length"


def test_privacy_that_differs_from_the_request(sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str]) -> None:
    sandbox.faults.add("youtube.video.created", "privacy_differs", privacy="private")
    video_id = upload(client, bearer, VIDEO, status={"privacyStatus": "public"})
    assert read(client, bearer, video_id)[0]["status"]["privacyStatus"] == "private"
    report = sandbox.youtube.get_video(video_id)
    assert (report.requested_privacy, report.privacy, report.public_since) == ("public", "private", None)


def test_publish_at_flips_on_the_second(sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str]) -> None:
    now = sandbox.clock.freeze()
    at = (now + timedelta(minutes=5)).replace(microsecond=0)
    video_id = upload(client, bearer, VIDEO, status={"publishAt": at.isoformat().replace("+00:00", "Z")})
    assert read(client, bearer, video_id)[0]["status"]["privacyStatus"] == "private"
    sandbox.clock.set(at)
    (item,) = read(client, bearer, video_id)
    assert (item["status"]["privacyStatus"], "publishAt" in item["status"]) == ("public", False)
    assert sandbox.youtube.get_video(video_id).public_since == at


def test_a_schedule_in_the_past_publishes_at_once(
    sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str]
) -> None:
    session = open_session(client, bearer, len(VIDEO), status={"publishAt": "2020-01-01T00:00:00Z"})
    answer = session.put(VIDEO, 0)
    assert answer.json()["status"]["privacyStatus"] == "public"
    (video,) = sandbox.youtube.list_videos()
    assert video.public_since == video.created_at


# --- reading ------------------------------------------------------------------------------------------------------


def test_channels(sandbox: Sandbox, client: httpx.Client, account: AccountHandle, bearer: dict[str, str]) -> None:
    answer = client.get(
        f"{API}/channels", params={"part": "id,snippet,contentDetails,status", "mine": "true"}, headers=bearer
    ).json()
    (item,) = answer["items"]
    assert item["contentDetails"]["relatedPlaylists"]["uploads"] == account.uploads_playlist_id
    assert item["status"]["longUploadsStatus"] == "allowed"

    nobody = sandbox.google.create_account(channel=False)
    other = {"Authorization": f"Bearer {sandbox.google.issue_access_token(nobody.refresh_token)}"}
    empty = client.get(f"{API}/channels", params={"part": "id", "mine": "true"}, headers=other).json()
    assert "items" not in empty
    assert empty["pageInfo"]["totalResults"] == 0


@pytest.mark.parametrize(
    ("path", "params", "status", "expected"),
    [
        ("channels", {"part": "id"}, 400, "missingRequiredParameter"),
        ("channels", {"mine": "true"}, 400, "missingRequiredParameter"),
        ("channels", {"part": "id", "mine": "true", "id": "x"}, 400, "incompatibleParameters"),
        ("channels", {"part": "id", "managedByMe": "true"}, 403, "forbidden"),
        ("videos", {"part": "id"}, 400, "missingRequiredParameter"),
        ("videos", {"part": "nonsense", "id": "x"}, 400, "unknownPart"),
        ("videos", {"part": "id", "id": "x", "what": "1"}, 400, "unexpectedParameter"),
        ("videos", {"part": "id", "id": ",".join(str(n) for n in range(51))}, 400, "invalidFilters"),
        ("playlistItems", {"part": "id", "playlistId": "PLnone"}, 404, "playlistNotFound"),
        ("playlistItems", {"part": "id", "playlistId": "PLnone", "maxResults": "51"}, 404, "playlistNotFound"),
    ],
)
def test_reading_is_strict(
    client: httpx.Client, bearer: dict[str, str], path: str, params: dict[str, str], status: int, expected: str
) -> None:
    answer = client.get(f"{API}/{path}", params=params, headers=bearer)
    assert (answer.status_code, reason(answer)) == (status, expected)


def test_a_token_is_required(client: httpx.Client) -> None:
    answer = client.get(f"{API}/channels", params={"part": "id", "mine": "true"})
    assert (answer.status_code, reason(answer)) == (401, "required")


def test_others_see_only_what_is_public(sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str]) -> None:
    private = upload(client, bearer, VIDEO)
    public = upload(client, bearer, VIDEO, status={"privacyStatus": "public"})
    other = sandbox.google.create_account()
    stranger = {"Authorization": f"Bearer {sandbox.google.issue_access_token(other.refresh_token)}"}
    assert [item["id"] for item in read(client, stranger, f"{private},{public}", "snippet")] == [public]
    answer = client.get(f"{API}/videos", params={"part": "fileDetails", "id": public}, headers=stranger)
    assert (answer.status_code, reason(answer)) == (403, "forbidden")


def test_the_uploads_playlist_is_newest_first_and_may_lag(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle, bearer: dict[str, str]
) -> None:
    sandbox.clock.freeze()
    first = upload(client, bearer, VIDEO, snippet={"title": "one"})
    sandbox.clock.advance(1)
    sandbox.faults.add("youtube.video.created", "listing_delay", seconds=90)
    second = upload(client, bearer, VIDEO, snippet={"title": "two"})
    assert uploads_list(client, bearer, account) == [first]
    sandbox.clock.advance(91)
    assert uploads_list(client, bearer, account) == [second, first]
    page = client.get(
        f"{API}/playlistItems",
        params={"part": "snippet", "playlistId": str(account.uploads_playlist_id), "maxResults": "1"},
        headers=bearer,
    ).json()
    assert page["items"][0]["snippet"]["resourceId"]["videoId"] == second
    rest = client.get(
        f"{API}/playlistItems",
        params={"part": "snippet", "playlistId": str(account.uploads_playlist_id), "pageToken": page["nextPageToken"]},
        headers=bearer,
    ).json()
    assert rest["items"][0]["snippet"]["title"] == "one"


# --- editing ------------------------------------------------------------------------------------------------------


def test_update_needs_the_scope_and_replaces_whole_parts(
    sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str], full: dict[str, str]
) -> None:
    video_id = upload(client, bearer, VIDEO, snippet={"tags": ["a"], "description": "d"})
    body = {"id": video_id, "snippet": {"title": "new", "categoryId": "22"}, "status": {"privacyStatus": "public"}}
    answer = client.put(f"{API}/videos", params={"part": "snippet,status"}, json=body, headers=bearer)
    assert (answer.status_code, reason(answer)) == (403, "insufficientPermissions")
    answer = client.put(f"{API}/videos", params={"part": "snippet,status"}, json=body, headers=full)
    assert answer.status_code == 200, answer.text
    report = sandbox.youtube.get_video(video_id)
    assert (report.title, report.tags, report.description, report.privacy) == ("new", [], "", "public")
    assert [privacy for _, privacy in report.privacy_history] == ["private", "public"]


@pytest.mark.parametrize(
    ("part", "body", "expected"),
    [
        ("snippet", {"snippet": {"title": "only"}}, "invalidVideoMetadata"),
        ("status", {"status": {"privacyStatus": "public", "publishAt": "2100-01-01T00:00:00Z"}}, "invalidPublishAt"),
        ("status", {"snippet": {"title": "x", "categoryId": "22"}}, "unexpectedPart"),
    ],
)
def test_update_is_strict(
    client: httpx.Client, bearer: dict[str, str], full: dict[str, str], part: str, body: dict[str, Any], expected: str
) -> None:
    video_id = upload(client, bearer, VIDEO)
    answer = client.put(f"{API}/videos", params={"part": part}, json={"id": video_id, **body}, headers=full)
    assert (answer.status_code, reason(answer)) == (400, expected)


def test_a_published_video_cannot_be_scheduled_again(
    client: httpx.Client, bearer: dict[str, str], full: dict[str, str]
) -> None:
    video_id = upload(client, bearer, VIDEO, status={"privacyStatus": "public"})
    body = {"id": video_id, "status": {"privacyStatus": "private", "publishAt": "2100-01-01T00:00:00Z"}}
    assert reason(client.put(f"{API}/videos", params={"part": "status"}, json=body, headers=full)) == "invalidPublishAt"


def test_delete(sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str], full: dict[str, str]) -> None:
    video_id = upload(client, bearer, VIDEO)
    assert client.delete(f"{API}/videos", params={"id": video_id}, headers=full).status_code == 204
    assert read(client, bearer, video_id) == []
    assert reason(client.delete(f"{API}/videos", params={"id": video_id}, headers=full)) == "videoNotFound"
    assert (sandbox.youtube.count(), sandbox.youtube.list_videos(include_deleted=False)) == (1, [])


def test_playlists(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle, bearer: dict[str, str], full: dict[str, str]
) -> None:
    assert account.channel_id is not None
    playlist = sandbox.youtube.create_playlist(account.channel_id)
    video_id = upload(client, bearer, VIDEO)
    resource = {"kind": "youtube#video", "videoId": video_id}
    body = {"snippet": {"playlistId": playlist.playlist_id, "resourceId": resource}}
    assert client.post(f"{API}/playlistItems", params={"part": "snippet"}, json=body, headers=full).status_code == 200
    assert sandbox.youtube.list_playlists()[0].video_ids == [video_id]
    wrong = {"snippet": {"playlistId": "PLnone", "resourceId": resource}}
    assert (
        reason(client.post(f"{API}/playlistItems", params={"part": "snippet"}, json=wrong, headers=full))
        == "playlistNotFound"
    )
    assert (
        client.get(f"{API}/playlists", params={"part": "snippet", "mine": "true"}, headers=full).json()["items"][0][
            "id"
        ]
        == playlist.playlist_id
    )
    assert (
        client.get(f"{API}/videoCategories", params={"part": "snippet", "regionCode": "DE"}, headers=full).status_code
        == 200
    )


# --- thumbnails ---------------------------------------------------------------------------------------------------


def thumbnail(
    client: httpx.Client, bearer: dict[str, str], video_id: str, data: bytes, kind: str = "image/jpeg"
) -> httpx.Response:
    return client.post(
        "/youtube-upload/upload/youtube/v3/thumbnails/set",
        params={"videoId": video_id, "uploadType": "media"},
        content=data,
        headers={**bearer, "Content-Type": kind},
    )


def test_thumbnails(sandbox: Sandbox, client: httpx.Client, account: AccountHandle, bearer: dict[str, str]) -> None:
    assert account.channel_id is not None
    video_id, picture = upload(client, bearer, VIDEO), media_files.jpeg()
    assert thumbnail(client, bearer, video_id, picture).json()["kind"] == "youtube#thumbnailSetResponse"
    assert sandbox.youtube.get_video(video_id).thumbnail_bytes == len(picture)
    assert reason(thumbnail(client, bearer, video_id, b"")) == "mediaBodyRequired"
    assert reason(thumbnail(client, bearer, video_id, b"no picture")) == "invalidImage"
    assert reason(thumbnail(client, bearer, "none", picture)) == "videoNotFound"
    assert thumbnail(client, bearer, video_id, picture, "image/gif").status_code == 400
    sandbox.youtube.configure(thumbnails_per_day=1)
    assert thumbnail(client, bearer, video_id, picture).status_code == 429
    sandbox.youtube.change_channel(account.channel_id, custom_thumbnails=False)
    refused = thumbnail(client, bearer, video_id, picture)
    assert (refused.status_code, refused.json()["error"]["errors"][0]["domain"]) == (403, "youtube.thumbnail")


def test_a_thumbnail_of_a_short_has_no_effect_before_processing(
    sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str]
) -> None:
    sandbox.clock.freeze()
    video_id = upload(client, bearer, media_files.video(width=180, height=320))
    assert thumbnail(client, bearer, video_id, media_files.jpeg()).status_code == 200
    assert sandbox.youtube.get_video(video_id).thumbnail_bytes is None
    sandbox.clock.advance(5)
    thumbnail(client, bearer, video_id, media_files.jpeg())
    assert sandbox.youtube.get_video(video_id).thumbnail_bytes is not None


# --- quota --------------------------------------------------------------------------------------------------------


def test_units_run_out_and_come_back_at_midnight_in_los_angeles(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle
) -> None:
    def ask() -> httpx.Response:
        bearer = {"Authorization": f"Bearer {sandbox.google.issue_access_token(account.refresh_token)}"}
        return client.get(f"{API}/channels", params={"part": "id", "mine": "true"}, headers=bearer)

    # A night in which clocks go back: midnight is 07:00 UTC before it and 08:00 UTC after it.
    sandbox.clock.set(datetime(2027, 11, 7, 6, 59, 0, tzinfo=UTC))
    sandbox.clock.freeze()
    sandbox.youtube.set_quota_used(units=10_000)
    answer = ask()
    assert (answer.status_code, reason(answer), answer.json()["error"]["errors"][0]["domain"]) == (
        403,
        "quotaExceeded",
        "youtube.quota",
    )
    assert sandbox.youtube.quota().resets_at == datetime(2027, 11, 7, 7, 0, tzinfo=UTC)
    sandbox.clock.advance(60)
    assert ask().status_code == 200
    assert sandbox.youtube.quota().units_used == 1
    assert sandbox.youtube.quota().resets_at == datetime(2027, 11, 8, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("quota_exceeded", 403, "quotaExceeded"),
        ("uploads_per_day", 429, "rateLimitExceeded"),
        ("channel_upload_limit", 400, "uploadLimitExceeded"),
        ("rate_limited", 429, "rateLimitExceeded"),
        ("user_rate_limited", 403, "userRateLimitExceeded"),
    ],
)
def test_limits_on_demand(
    sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str], kind: Any, status: int, expected: str
) -> None:
    sandbox.faults.add("youtube.channels.list", kind)
    answer = client.get(f"{API}/channels", params={"part": "id", "mine": "true"}, headers=bearer)
    assert (answer.status_code, reason(answer)) == (status, expected)


def test_the_rpc_shape_of_a_limit(sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str]) -> None:
    sandbox.faults.add("youtube.channels.list", "quota_rpc")
    error = client.get(f"{API}/channels", params={"part": "id", "mine": "true"}, headers=bearer).json()["error"]
    assert (error["status"], error["details"][0]["reason"], "errors" in error) == (
        "RESOURCE_EXHAUSTED",
        "RATE_LIMIT_EXCEEDED",
        False,
    )


def test_duplicates_are_reported_and_can_be_rejected(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle, bearer: dict[str, str]
) -> None:
    upload(client, bearer, VIDEO)
    sandbox.youtube.configure(reject_duplicates=True)
    second = upload(client, bearer, VIDEO)
    sandbox.clock.advance(2)
    assert sandbox.youtube.duplicates() == [(account.channel_id, "A video", len(VIDEO), 2)]
    assert read(client, bearer, second)[0]["status"]["rejectionReason"] == "duplicate"
