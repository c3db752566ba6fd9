"""The simulator's resumable uploads: sessions, ranges, refusals, interruptions, and exactly one video."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.google import AccountHandle
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.youtube_client import API, BLOCK, UPLOAD, Session, open_session, reason, start, upload

SIZE = 3 * BLOCK + 1000


@pytest.fixture(scope="module")
def data() -> bytes:
    body = media_files.video_body(size_bytes=SIZE)
    return body.read(0, body.size)


@pytest.fixture
def session(client: httpx.Client, bearer: dict[str, str]) -> Session:
    return open_session(client, bearer, SIZE)


def test_chunks_lead_to_one_video_with_the_bytes_sent(
    sandbox: Sandbox, session: Session, account: AccountHandle, data: bytes
) -> None:
    first = session.put(data[:BLOCK], 0)
    assert (first.status_code, first.headers["range"], first.headers["content-length"]) == (
        308,
        f"bytes=0-{BLOCK - 1}",
        "0",
    )
    assert session.put(data[BLOCK : 3 * BLOCK], BLOCK).headers["range"] == f"bytes=0-{3 * BLOCK - 1}"
    last = session.put(data[3 * BLOCK :], 3 * BLOCK)
    assert last.status_code == 201
    assert last.json()["status"]["uploadStatus"] == "uploaded"
    assert (session.status().status_code, session.status().json()["id"]) == (200, last.json()["id"])

    (video,) = sandbox.youtube.list_videos()
    assert video.sha256 == hashlib.sha256(data).hexdigest()
    assert (video.size_bytes, video.boxes_complete, video.channel_id) == (SIZE, True, account.channel_id)


def test_a_status_query_of_an_untouched_session_has_no_range(session: Session) -> None:
    answer = session.status()
    assert answer.status_code == 308
    assert "range" not in answer.headers


def test_one_put_without_content_range(sandbox: Sandbox, client: httpx.Client, session: Session, data: bytes) -> None:
    assert client.put(session.address, content=data, headers=session.bearer).status_code == 201
    assert sandbox.youtube.count() == 1


@pytest.mark.parametrize(
    ("first", "length", "content_range", "status"),
    [
        (BLOCK, BLOCK, None, 503),  # a gap
        (0, BLOCK - 1, None, 400),  # not whole blocks
        (0, BLOCK, f"bytes 0-{BLOCK - 1}/{SIZE + 1}", 400),  # another total
        (0, BLOCK, f"bytes 0-{BLOCK}/{SIZE}", 400),  # not the length that is sent
        (0, BLOCK, f"bytes={0}-{BLOCK - 1}/{SIZE}", 400),  # malformed
        (0, BLOCK, f"bytes 0-{BLOCK - 1}/*", 400),
    ],
)
def test_wrong_ranges_are_refused_as_a_whole(
    session: Session, data: bytes, first: int, length: int, content_range: str | None, status: int
) -> None:
    headers = {"Content_Range": content_range} if content_range else {}
    assert session.put(data[first : first + length], first, **headers).status_code == status
    assert "range" not in session.status().headers


def test_an_overlap_is_refused_as_a_whole(session: Session, data: bytes) -> None:
    session.put(data[: 2 * BLOCK], 0)
    assert session.put(data[BLOCK : 3 * BLOCK], BLOCK).status_code == 503
    assert session.status().headers["range"] == f"bytes=0-{2 * BLOCK - 1}"


def test_chunked_transfer_encoding_is_refused(client: httpx.Client, session: Session, data: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        yield data[:BLOCK]

    answer = client.put(
        session.address, content=pieces(), headers={**session.bearer, "Content-Range": f"bytes 0-{BLOCK - 1}/{SIZE}"}
    )
    assert answer.status_code == 411


def test_an_unknown_session_is_404(client: httpx.Client, bearer: dict[str, str]) -> None:
    answer = client.put(
        UPLOAD, params={"uploadType": "resumable", "upload_id": "x"}, headers={**bearer, "Content-Range": "bytes */*"}
    )
    assert (answer.status_code, reason(answer)) == (404, "notFound")


@pytest.mark.parametrize("status", [404, 410])
def test_a_session_ends_after_its_time(sandbox: Sandbox, session: Session, data: bytes, status: int) -> None:
    sandbox.youtube.configure(expired_session_status=status)  # type: ignore[arg-type] # the parameter is a Literal
    session.put(data[:BLOCK], 0)
    sandbox.clock.advance(7 * 86_400)
    answer = session.put(data[BLOCK : 2 * BLOCK], BLOCK)
    assert answer.status_code == 401
    assert reason(answer) == "authError"  # the access token ended long before
    session.bearer = {"Authorization": f"Bearer {sandbox.google.issue_access_token(_grant(sandbox))}"}
    assert session.status().status_code == status


def _grant(sandbox: Sandbox) -> str:
    (account,) = sandbox.google.accounts()
    return sandbox.google.issue_refresh_token(account.sub, channel_id=account.channel_ids[0])


def test_a_session_belongs_to_its_channel(sandbox: Sandbox, session: Session, data: bytes) -> None:
    other = sandbox.google.create_account()
    session.bearer = {"Authorization": f"Bearer {sandbox.google.issue_access_token(other.refresh_token)}"}
    assert session.put(data[:BLOCK], 0).status_code == 403
    session.bearer = {}
    assert session.put(data[:BLOCK], 0).status_code == 401


def test_data_after_completion_makes_no_second_video(sandbox: Sandbox, session: Session, data: bytes) -> None:
    first = session.put(data, 0)
    again = session.put(data, 0)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert sandbox.youtube.count() == 1
    assert sandbox.youtube.list_uploads()[0].problems == ["data after completion"]


# --- faults -------------------------------------------------------------------------------------------------------


def test_drop_after_the_last_chunk_leaves_a_video_and_a_status_query_finds_it(
    sandbox: Sandbox, session: Session, data: bytes
) -> None:
    sandbox.faults.add("youtube.upload.final", "drop_after")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        session.put(data, 0)
    assert sandbox.youtube.count() == 1
    assert session.status().json()["id"] == sandbox.youtube.list_videos()[0].video_id


def test_drop_before_stores_nothing(sandbox: Sandbox, session: Session, data: bytes) -> None:
    sandbox.faults.add("youtube.upload", "drop_before")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)):
        session.put(data, 0)
    assert "range" not in session.status().headers


def test_drop_during_keeps_whole_blocks(sandbox: Sandbox, session: Session, data: bytes) -> None:
    sandbox.faults.add("youtube.upload.final", "drop_during", bytes=2 * BLOCK + 5)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)):
        session.put(data, 0)
    assert session.status().headers["range"] == f"bytes=0-{2 * BLOCK - 1}"
    assert session.put(data[2 * BLOCK :], 2 * BLOCK).status_code == 201


def test_partial_accept_says_what_is_stored(sandbox: Sandbox, session: Session, data: bytes) -> None:
    sandbox.faults.add("youtube.upload.put", "partial_accept", bytes=BLOCK)
    answer = session.put(data[: 2 * BLOCK], 0)
    assert (answer.status_code, answer.headers["range"]) == (308, f"bytes=0-{BLOCK - 1}")
    sandbox.faults.add("youtube.upload.put", "partial_accept", bytes=0, headers={"Retry-After": "1"})
    again = session.put(data[BLOCK : 2 * BLOCK], BLOCK)
    assert (again.headers["range"], again.headers["retry-after"]) == (f"bytes=0-{BLOCK - 1}", "1")
    assert session.put(data[BLOCK:], BLOCK).status_code == 201
    assert sandbox.youtube.list_videos()[0].sha256 == hashlib.sha256(data).hexdigest()


def test_new_location_moves_the_session(sandbox: Sandbox, session: Session, data: bytes) -> None:
    sandbox.faults.add("youtube.upload.put", "new_location")
    answer = session.put(data[:BLOCK], 0)
    assert session.status().status_code == 404
    session.address = answer.headers["location"]
    assert session.put(data[BLOCK:], BLOCK).status_code == 201


def test_expire_session_and_with_process_after_the_video_was_made(
    sandbox: Sandbox, session: Session, data: bytes
) -> None:
    sandbox.faults.add("youtube.upload.final", "expire_session", process=True)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        session.put(data, 0)
    assert session.status().status_code == 404
    assert sandbox.youtube.count() == 1

    other = open_session(session.client, session.bearer, SIZE)
    sandbox.faults.add("youtube.upload.put", "expire_session")
    assert other.put(data[:BLOCK], 0).status_code == 404
    assert sandbox.youtube.count() == 1


def test_fail_session_keeps_returning_its_failure(sandbox: Sandbox, session: Session, data: bytes) -> None:
    sandbox.faults.add("youtube.upload.put", "fail_session", status=400, reason="invalidVideoMetadata")
    assert reason(session.put(data[:BLOCK], 0)) == "invalidVideoMetadata"
    assert (session.status().status_code, reason(session.status())) == (400, "invalidVideoMetadata")


def test_finalise_later_shows_all_bytes_before_the_video(sandbox: Sandbox, session: Session, data: bytes) -> None:
    sandbox.clock.freeze()
    sandbox.faults.add("youtube.upload.final", "finalise_later", seconds=30)
    answer = session.put(data, 0)
    assert (answer.status_code, answer.headers["range"]) == (308, f"bytes=0-{SIZE - 1}")
    assert session.status().status_code == 308
    assert sandbox.youtube.count() == 0
    sandbox.clock.advance(31)
    assert session.status().status_code == 200
    assert sandbox.youtube.count() == 1


def test_token_expired_mid_upload(sandbox: Sandbox, session: Session, account: AccountHandle, data: bytes) -> None:
    sandbox.faults.add("youtube.upload.put", "token_expired")
    answer = session.put(data[:BLOCK], 0)
    assert (answer.status_code, reason(answer)) == (401, "authError")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    session.bearer = {"Authorization": f"Bearer {sandbox.google.issue_access_token(account.refresh_token)}"}
    assert session.put(data[:BLOCK], 0).status_code == 308


@pytest.mark.parametrize(
    ("body", "content_type"), [("html", "text/html; charset=utf-8"), ("empty", None), ("envelope", "application/json")]
)
def test_a_status_fault_with_process_stores_and_then_fails(
    sandbox: Sandbox, session: Session, data: bytes, body: Any, content_type: str | None
) -> None:
    sandbox.faults.add("youtube.upload.final", "status", status=503, body=body, process=True)
    answer = session.put(data, 0)
    assert (answer.status_code, answer.headers.get("content-type")) == (503, content_type)
    assert session.status().status_code == 200


def test_a_client_that_hangs_up_leaves_whole_blocks(session: Session, data: bytes) -> None:
    def broken() -> Iterator[bytes]:
        yield data[: BLOCK + 77]
        raise ConnectionAbortedError("the client dies here")

    with pytest.raises(ConnectionAbortedError):
        session.client.put(
            session.address,
            content=broken(),
            headers={**session.bearer, "Content-Length": str(SIZE), "Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"},
        )
    # The server may hear of it a moment later; the status query itself ends what was still being sent.
    assert session.status().headers.get("range") in {None, f"bytes=0-{BLOCK - 1}"}


# --- start: metadata ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("snippet", "status", "expected"),
    [
        ({"title": ""}, {}, "invalidTitle"),
        ({"title": "  "}, {}, "invalidTitle"),
        ({"title": "x" * 101}, {}, "invalidTitle"),
        ({"title": "😀" * 51}, {}, "invalidTitle"),
        ({"title": "a < b"}, {}, "invalidTitle"),
        ({"description": "ü" * 2501}, {}, "invalidDescription"),
        ({"description": "a > b"}, {}, "invalidDescription"),
        ({"tags": [""]}, {}, "invalidTags"),
        ({"tags": ["x" * 498, "y y"]}, {}, "invalidTags"),
        ({"categoryId": "21"}, {}, "invalidCategoryId"),
        ({}, {"publishAt": "2030-01-01T00:00:00Z", "privacyStatus": "public"}, "invalidPublishAt"),
        ({}, {"publishAt": "2030-01-01T00:00:00"}, "invalidPublishAt"),
        ({}, {"privacyStatus": "hidden"}, "badRequest"),
        ({"unknown": 1}, {}, "badRequest"),
        ({"title": 5}, {}, "badRequest"),
    ],
)
def test_metadata_rules(
    client: httpx.Client, bearer: dict[str, str], snippet: dict[str, Any], status: dict[str, Any], expected: str
) -> None:
    answer = start(client, bearer, SIZE, snippet=snippet, status=status)
    assert answer.status_code == 400
    assert reason(answer) == expected


def test_the_longest_allowed_metadata(client: httpx.Client, bearer: dict[str, str]) -> None:
    snippet = {"title": "😀" * 50, "description": "ü" * 2500, "tags": ["x" * 496, "yyy"], "categoryId": "22"}
    assert start(client, bearer, SIZE, snippet=snippet).status_code == 200


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        ({"params": {"uploadType": "media"}}, 400, "badRequest"),
        ({"params": {"part": ""}}, 400, "missingRequiredParameter"),
        ({"params": {"part": "snippet,nonsense"}}, 400, "unknownPart"),
        ({"params": {"part": "snippet"}}, 400, "unexpectedPart"),
        ({"params": {"surprise": "1"}}, 400, "unexpectedParameter"),
        ({"headers": {"X-Upload-Content-Length": "0"}}, 400, "badRequest"),
        ({"headers": {"X-Upload-Content-Length": "274877906945"}}, 413, "uploadTooLarge"),
        ({"headers": {"X-Upload-Content-Type": "image/jpeg"}}, 400, "badRequest"),
        ({"headers": {"Content-Type": "text/plain"}}, 400, "badRequest"),
        ({"body": []}, 400, "badRequest"),
    ],
)
def test_start_is_strict(
    client: httpx.Client, bearer: dict[str, str], options: dict[str, Any], status: int, expected: str
) -> None:
    answer = start(client, bearer, SIZE, **options)
    assert (answer.status_code, reason(answer)) == (status, expected)


def test_starts_are_counted_even_when_they_fail(sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str]) -> None:
    sandbox.youtube.configure(uploads_per_day=2)
    start(client, bearer, SIZE, snippet={"title": ""})
    assert start(client, bearer, SIZE).status_code == 200
    answer = start(client, bearer, SIZE)
    assert (answer.status_code, reason(answer)) == (429, "rateLimitExceeded")
    assert "per day" in answer.json()["error"]["message"]
    assert sandbox.youtube.quota().uploads_used == 2


def test_the_channels_own_limit(sandbox: Sandbox, client: httpx.Client, data: bytes) -> None:
    limited = sandbox.google.create_account(upload_limit_per_day=1)
    bearer = {"Authorization": f"Bearer {sandbox.google.issue_access_token(limited.refresh_token)}"}
    upload(client, bearer, data)
    answer = start(client, bearer, SIZE)
    assert (answer.status_code, reason(answer)) == (400, "uploadLimitExceeded")


def test_scope_channel_and_privacy_of_the_account(sandbox: Sandbox, client: httpx.Client) -> None:
    reader = sandbox.google.create_account(scopes=("https://www.googleapis.com/auth/youtube.readonly",))
    bearer = {"Authorization": f"Bearer {sandbox.google.issue_access_token(reader.refresh_token)}"}
    answer = start(client, bearer, SIZE)
    assert (answer.status_code, reason(answer)) == (403, "insufficientPermissions")
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]

    nobody = sandbox.google.create_account(channel=False)
    bearer = {"Authorization": f"Bearer {sandbox.google.issue_access_token(nobody.refresh_token)}"}
    answer = start(client, bearer, SIZE)
    assert (answer.status_code, reason(answer)) == (401, "youtubeSignupRequired")

    strict = sandbox.google.create_account()
    assert strict.channel_id is not None
    bearer = {"Authorization": f"Bearer {sandbox.google.issue_access_token(strict.refresh_token)}"}
    sandbox.youtube.change_channel(strict.channel_id, forbidden_privacy=("public",))
    assert reason(start(client, bearer, SIZE, status={"privacyStatus": "public"})) == "forbiddenPrivacySetting"
    sandbox.youtube.change_channel(strict.channel_id, state="suspended")
    assert reason(start(client, bearer, SIZE)) == "authenticatedUserAccountSuspended"


def test_metadata_without_media(client: httpx.Client, bearer: dict[str, str]) -> None:
    answer = client.post(f"{API}/videos", params={"part": "snippet"}, json={}, headers=bearer)
    assert reason(answer) == "mediaBodyRequired"


def test_received_bytes_can_be_spooled(
    sandbox: Sandbox, client: httpx.Client, bearer: dict[str, str], data: bytes, tmp_path: Any
) -> None:
    sandbox.youtube.configure(spool_dir=str(tmp_path))
    upload(client, bearer, data)
    (spooled,) = tmp_path.iterdir()
    assert spooled.read_bytes() == data
