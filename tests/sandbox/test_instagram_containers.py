"""The simulated Instagram's containers: who may make them, of what, what they become, and every refusal on the way."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox.meta_model import FACEBOOK_SCOPES, INSTAGRAM_SCOPES, Login
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.instagram_client import VERSION, Publisher, codes, video_bytes


@pytest.fixture
def publisher(sandbox: Sandbox, client: httpx.Client) -> Publisher:
    return Publisher(client, sandbox, sandbox.meta.create_instagram())


@pytest.fixture
def direct(sandbox: Sandbox, client: httpx.Client) -> Publisher:
    """Connected by Instagram Login."""
    return Publisher(client, sandbox, sandbox.meta.create_instagram(login="instagram"))


# --- access ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["facebook", "instagram"])
def test_both_logins_make_containers_at_their_host(sandbox: Sandbox, client: httpx.Client, login: Login) -> None:
    publisher = Publisher(client, sandbox, sandbox.meta.create_instagram(login=login))
    container_id = publisher.finished(image_url=publisher.photo())
    assert publisher.status(container_id)["status_code"] == "FINISHED"


def test_page_token_and_user_token_both_work(publisher: Publisher) -> None:
    user_token = publisher.account.user_token
    container_id = publisher.create(token=user_token, image_url=publisher.photo()).json()["id"]
    assert publisher.status(container_id, token=user_token)["id"] == container_id
    assert publisher.status(container_id)["id"] == container_id


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_token_of_the_other_login_is_not_even_parsed(
    client: httpx.Client, publisher: Publisher, direct: Publisher, method: str
) -> None:
    for ours, others in ((publisher, direct), (direct, publisher)):
        path = f"{ours.base}/{others.account.instagram_id}/media"
        answer = client.request(method, path, headers={"Authorization": f"Bearer {others.account.access_token}"})
        assert codes(answer) == (190, None)


def test_a_token_of_another_account_sees_nothing(sandbox: Sandbox, publisher: Publisher, direct: Publisher) -> None:
    for mine in (publisher, direct):
        foreign = sandbox.meta.create_instagram(login=mine.account.login).access_token
        container_id = mine.container(image_url=mine.photo())
        assert codes(mine.create(token=foreign, image_url=mine.photo())) == (100, 33)
        assert codes(mine.get(container_id, token=foreign)) == (100, 33)
        assert codes(mine.get(f"{mine.account.instagram_id}/media", token=foreign)) == (100, 33)


def test_dead_tokens_missing_scopes_and_missing_tasks(sandbox: Sandbox, publisher: Publisher, direct: Publisher) -> None:  # fmt: skip
    photo = publisher.photo()
    for mine, scopes, needed in (
        (publisher, FACEBOOK_SCOPES, ("instagram_basic", "instagram_content_publish", "pages_read_engagement")),
        (direct, INSTAGRAM_SCOPES, ("instagram_business_basic", "instagram_business_content_publish")),
    ):
        for scope in needed:
            sandbox.meta.set_scopes(mine.account.access_token, tuple(set(scopes) - {scope}))
            assert codes(mine.create(image_url=photo))[0] == 200
        sandbox.meta.set_scopes(mine.account.access_token, scopes)
    assert publisher.account.page_id is not None
    sandbox.meta.change_page(publisher.account.page_id, tasks=("ANALYZE",))
    assert codes(publisher.create(image_url=photo))[0] == 200
    assert publisher.get(f"{publisher.account.instagram_id}/media").status_code == 200
    sandbox.meta.kill_token(publisher.account.access_token, "password_changed")
    assert codes(publisher.create(image_url=photo)) == (190, 460)


def test_an_unlinked_page_is_no_way_to_the_account(sandbox: Sandbox, publisher: Publisher) -> None:
    other = sandbox.meta.create_page(user_id=publisher.account.user_id)
    assert codes(publisher.create(token=other.page_token, image_url=publisher.photo())) == (100, 33)


# --- parameters -----------------------------------------------------------------------------------------------------

TAG = {"username": "friend", "x": 0.5, "y": 0.5}
REFUSED: list[tuple[str, dict[str, Any], tuple[int, int | None]]] = [
    ("photo", {"media_type": "IMAGE"}, (100, 2207023)),
    ("photo", {"media_type": "reels"}, (100, 2207023)),
    ("photo", {"video_url": "A VIDEO"}, (100, None)),
    ("none", {}, (100, None)),
    ("none", {"media_type": "REELS"}, (100, None)),
    ("none", {"media_type": "STORIES"}, (100, None)),
    ("none", {"video_url": "A VIDEO"}, (100, 2207023)),
    ("none", {"media_type": "VIDEO", "video_url": "A VIDEO"}, (100, 2207089)),
    ("photo", {"media_type": "REELS"}, (100, None)),
    ("reel", {"upload_type": "resumable"}, (100, None)),
    ("none", {"media_type": "REELS", "upload_type": "chunked"}, (100, None)),
    ("reel", {"is_carousel_item": "true"}, (100, None)),
    ("story", {"is_carousel_item": "true"}, (100, None)),
    ("photo", {"is_carousel_item": "yes"}, (100, None)),
    ("photo", {"children": "1,2"}, (100, None)),
    ("photo", {"caption": "x" * 2201}, (36004, 2207010)),
    ("photo", {"caption": "🙂" * 1101}, (36004, 2207010)),
    ("photo", {"caption": " ".join(f"#tag{n}" for n in range(31))}, (100, None)),
    ("photo", {"caption": " ".join(f"@name{n}" for n in range(21))}, (100, 2207040)),
    ("photo", {"alt_text": "x" * 1001}, (100, None)),
    ("photo", {"collaborators": ["a", "b", "c", "d"]}, (100, None)),
    ("photo", {"collaborators": "friend"}, (100, None)),
    ("photo", {"collaborators": ["@friend"]}, (100, None)),
    ("photo", {"user_tags": [{"username": "friend"}]}, (100, None)),
    ("photo", {"user_tags": [TAG | {"x": 1.01}]}, (100, None)),
    ("photo", {"user_tags": [TAG | {"y": -0.1}]}, (100, None)),
    ("photo", {"user_tags": [TAG | {"x": "0.5"}]}, (100, None)),
    ("photo", {"user_tags": [TAG | {"z": 1}]}, (100, None)),
    ("photo", {"user_tags": TAG}, (100, None)),
    ("photo", {"user_tags": "[{"}, (100, None)),
    ("photo", {"user_tags": [TAG] * 21}, (100, 2207040)),
    ("photo", {"product_tags": [{"product_id": "1"}]}, (100, 2207036)),
    ("photo", {"product_tags": [{"product_id": "x", "x": 0, "y": 0}]}, (100, 2207037)),
    ("photo", {"product_tags": [{"product_id": "1", "x": 0, "y": 0}] * 6}, (100, None)),
    ("reel", {"product_tags": [{"product_id": "1", "x": 0, "y": 0}]}, (100, 2207035)),
    ("photo", {"location_id": "Berlin"}, (100, None)),
    ("photo", {"thumb_offset": "0"}, (100, None)),
    ("photo", {"share_to_feed": "true"}, (100, None)),
    ("photo", {"cover_url": "A PHOTO"}, (100, None)),
    ("photo", {"trial_params": {"graduation_strategy": "MANUAL"}}, (100, None)),
    ("photo", {"branded_content_sponsor_ids": ["1", "2", "3"]}, (100, None)),
    ("photo", {"made_up": "1"}, (100, None)),
    ("reel", {"thumb_offset": "-1"}, (1, 2207057)),
    ("reel", {"thumb_offset": "1.5"}, (100, None)),
    ("reel", {"alt_text": "a picture"}, (100, None)),
    ("reel", {"trial_params": {"graduation_strategy": "LATER"}}, (100, None)),
    ("reel", {"share_to_feed": "maybe"}, (100, None)),
    ("reel", {"audio_configuration": {"audio_volume": 1}}, (100, 9050)),
    ("story", {"caption": "text"}, (100, None)),
    ("story", {"alt_text": "a picture"}, (100, None)),
    ("story", {"collaborators": ["friend"]}, (100, None)),
    ("story", {"user_tags": [{"username": "friend", "x": 0.5}]}, (100, None)),
    ("item", {"caption": "text"}, (100, None)),
    ("item", {"location_id": "1"}, (100, None)),
    ("item", {"is_ai_generated": "true"}, (100, None)),
    ("item", {"collaborators": ["friend"]}, (100, None)),
    ("video item", {"alt_text": "a picture"}, (100, None)),
    ("video item", {"cover_url": "A PHOTO"}, (100, None)),
    ("carousel", {"image_url": "A PHOTO"}, (100, None)),
    ("carousel", {"user_tags": [TAG]}, (100, None)),
    ("carousel", {"alt_text": "a picture"}, (100, None)),
    ("carousel", {"is_carousel_item": "true"}, (100, None)),
    ("carousel", {"children": "1"}, (100, 2207028)),
    ("carousel", {"children": ",".join(str(n) for n in range(11))}, (100, 2207028)),
    ("carousel", {"children": "1,1"}, (100, None)),
    ("carousel", {"children": "{}"}, (100, 2207028)),
    ("none", {"media_type": "CAROUSEL"}, (100, 2207028)),
]


def _fields(publisher: Publisher, kind: str, more: dict[str, Any]) -> dict[str, str]:
    photo, video = publisher.photo(), publisher.video()
    base: dict[str, str] = {
        "none": {},
        "photo": {"image_url": photo},
        "reel": {"media_type": "REELS", "video_url": video},
        "story": {"media_type": "STORIES", "image_url": photo},
        "story video": {"media_type": "STORIES", "video_url": video},
        "item": {"image_url": photo, "is_carousel_item": "true"},
        "video item": {"media_type": "VIDEO", "video_url": video, "is_carousel_item": "true"},
        "carousel": {"media_type": "CAROUSEL", "children": "1,2"},
    }[kind]
    places = {"A PHOTO": photo, "A VIDEO": video}
    given = {name: value if isinstance(value, str) else json.dumps(value) for name, value in more.items()}
    return base | {name: places.get(value, value) for name, value in given.items()}


@pytest.mark.parametrize(("kind", "more", "expected"), REFUSED, ids=[f"{k}-{next(iter(m), '')}-{n}" for n, (k, m, _) in enumerate(REFUSED)])  # fmt: skip
def test_refused_parameters(
    publisher: Publisher, sandbox: Sandbox, kind: str, more: dict[str, Any], expected: tuple[int, int | None]
) -> None:
    assert codes(publisher.create(**_fields(publisher, kind, more))) == expected
    assert sandbox.meta.instagram.list_containers() == []
    assert sandbox.requests.count(route="media") == 0


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (
            "photo",
            {"caption": "x" * 2200, "alt_text": "x" * 1000, "collaborators": ["a", "b", "c"], "location_id": "1"},
        ),
        ("photo", {"user_tags": [TAG | {"x": 0, "y": 1}] * 20, "is_ai_generated": "true", "is_paid_partnership": "1"}),
        ("photo", {"product_tags": [{"product_id": "1", "x": 0, "y": 0}] * 5, "branded_content_sponsor_ids": ["1"]}),
        ("photo", {"caption": " ".join(f"#t{n}" for n in range(30)) + " " + " ".join(f"@n{n}" for n in range(20))}),
        ("reel", {"caption": "text", "thumb_offset": "0", "share_to_feed": "false", "audio_name": "Ours"}),
        ("reel", {"cover_url": "A PHOTO", "trial_params": {"graduation_strategy": "SS_PERFORMANCE"}}),
        ("reel", {"user_tags": [{"username": "friend"}], "audio_configuration": {"audio_id": "1"}}),
        ("story", {"user_tags": [{"username": "friend"}], "is_ai_generated": "false"}),
        ("story video", {"user_tags": [TAG]}),
        ("item", {"alt_text": "a picture", "user_tags": [TAG]}),
        ("video item", {"user_tags": [{"username": "friend"}], "thumb_offset": "100"}),
    ],
)
def test_accepted_parameters(publisher: Publisher, sandbox: Sandbox, kind: str, more: dict[str, Any]) -> None:
    container_id = publisher.finished(**_fields(publisher, kind, more))
    assert publisher.status(container_id)["status_code"] == "FINISHED"
    (report,) = sandbox.meta.instagram.list_containers()
    assert report.fields.keys() == more.keys() - {"cover_url"}


def test_a_form_cannot_name_a_parameter_twice(publisher: Publisher) -> None:
    answer = publisher.http.post(
        f"{publisher.base}/{publisher.account.instagram_id}/media",
        content=b"caption=a&caption=b",
        headers={"Authorization": f"Bearer {publisher.account.access_token}", "Content-Type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert codes(answer)[0] == 100


def test_what_needs_facebook_login(direct: Publisher) -> None:
    for more in ({"is_paid_partnership": "true"}, {"branded_content_sponsor_ids": '["1"]'}):
        assert codes(direct.create(image_url=direct.photo(), **more)) == (100, None)
    audio = json.dumps({"audio_id": "1"})
    assert codes(direct.create(media_type="REELS", video_url=direct.video(), audio_configuration=audio)) == (100, None)
    assert codes(direct.create(media_type="REELS", upload_type="resumable")) == (100, None)


def test_accounts_without_trial_reels_and_places_without_data(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.meta.instagram.configure(trial_reels=False, locations_unknown=("7",))
    trial = json.dumps({"graduation_strategy": "MANUAL"})
    assert codes(publisher.create(media_type="REELS", video_url=publisher.video(), trial_params=trial)) == (100, 2207081)  # fmt: skip
    answer = publisher.create(image_url=publisher.photo(), location_id="7")
    assert codes(answer) == (100, None)
    assert "INVALID_LOCATION_ID" in answer.json()["error"]["message"]


# --- status ---------------------------------------------------------------------------------------------------------


def test_every_kind_is_in_progress_first(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.meta.instagram.configure(processing_seconds=600, image_processing_seconds=5)
    sandbox.clock.freeze()
    photo = publisher.container(image_url=publisher.photo())
    reel = publisher.container(media_type="REELS", video_url=publisher.video())
    assert sandbox.meta.instagram.wait_idle()
    for seconds, expected in ((0, ("IN_PROGRESS", "IN_PROGRESS")), (5, ("FINISHED", "IN_PROGRESS")), (595, ("FINISHED", "FINISHED"))):  # fmt: skip
        sandbox.clock.advance(seconds)
        assert (publisher.status(photo)["status_code"], publisher.status(reel)["status_code"]) == expected


def test_the_next_container_can_be_scripted(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.clock.freeze()
    sandbox.meta.instagram.script_next(processing_seconds=50)
    sandbox.meta.instagram.script_next(kind="reel", error_subcode=2207082)
    slow = publisher.container(image_url=publisher.photo())
    usual = publisher.container(image_url=publisher.photo())
    failing = publisher.container(media_type="REELS", video_url=publisher.video())
    publisher.process()
    assert publisher.status(slow)["status_code"] == "IN_PROGRESS"
    assert publisher.status(usual)["status_code"] == "FINISHED"
    status = publisher.status(failing)
    assert status["status_code"] == "ERROR"
    assert status["status"].endswith("2207082")
    sandbox.clock.advance(50)
    assert publisher.status(slow)["status_code"] == "FINISHED"


def test_a_container_that_waits_for_its_video_is_in_progress(publisher: Publisher, sandbox: Sandbox) -> None:
    container_id = publisher.container(media_type="REELS", upload_type="resumable")
    sandbox.clock.advance(3600)
    status = publisher.status(container_id)
    assert status["status_code"] == "IN_PROGRESS"
    assert status["video_status"]["uploading_phase"]["status"] == "not_started"
    assert codes(publisher.publish(container_id)) == (9007, 2207027)


def test_a_container_expires_after_24_hours(publisher: Publisher, sandbox: Sandbox) -> None:
    container_id = publisher.finished(image_url=publisher.photo())
    sandbox.clock.advance(24 * 3600 - 10)
    assert publisher.status(container_id)["status_code"] == "FINISHED"
    sandbox.clock.advance(10)
    assert publisher.status(container_id)["status_code"] == "EXPIRED"
    assert codes(publisher.publish(container_id)) == (-2, 2207020)
    sandbox.meta.instagram.configure(expired_subcode=2207008)
    assert codes(publisher.publish(container_id)) == (24, 2207008)


def test_the_fields_of_a_container(publisher: Publisher) -> None:
    container_id = publisher.finished(image_url=publisher.photo())
    assert publisher.get(container_id).json() == {"id": container_id}
    answer = publisher.get(container_id, fields="id,status_code,copyright_check_status").json()
    assert answer["copyright_check_status"] == {"status": "completed", "matches_found": False}
    assert codes(publisher.get(container_id, fields="status_code,media_id")) == (100, None)


def test_page_tokens_alone_can_lose_sight_of_containers_and_media(publisher: Publisher, sandbox: Sandbox) -> None:
    media_id = publisher.published(image_url=publisher.photo())
    container_id = publisher.finished(image_url=publisher.photo())
    sandbox.meta.instagram.configure(page_token_reads_fail=True)
    for node in (media_id, container_id):
        assert codes(publisher.get(node)) == (100, 33)
        assert publisher.get(node, token=publisher.account.user_token).status_code == 200
    assert publisher.publish(container_id).status_code == 200


def test_containers_of_a_day_are_limited(publisher: Publisher, sandbox: Sandbox) -> None:
    assert sandbox.meta.instagram.config.containers_per_day == 400
    sandbox.meta.instagram.configure(containers_per_day=3)
    sandbox.clock.freeze()
    for _ in range(3):
        publisher.container(media_type="REELS", upload_type="resumable")
    assert codes(publisher.create(media_type="REELS", upload_type="resumable"))[0] == 80002
    other = Publisher(publisher.http, sandbox, sandbox.meta.create_instagram())
    assert other.create(media_type="REELS", upload_type="resumable").status_code == 200
    sandbox.clock.advance(24 * 3600)
    assert publisher.create(media_type="REELS", upload_type="resumable").status_code == 200


def test_faults_strike_containers_and_their_reads(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.faults.add("instagram.media.create", "status", status=500, body="html")
    assert publisher.create(image_url=publisher.photo()).status_code == 500
    assert sandbox.meta.instagram.list_containers() == []
    sandbox.faults.add("instagram.media.create", "meta_error", code=-1, subcode=2207032)
    assert codes(publisher.create(image_url=publisher.photo())) == (-1, 2207032)
    container_id = publisher.container(image_url=publisher.photo())
    sandbox.faults.add("instagram.container.read", "meta_error", code=100, subcode=33)
    assert codes(publisher.get(container_id)) == (100, 33)
    assert publisher.get(container_id).status_code == 200


# --- uploads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", ["REELS", "STORIES", "VIDEO"])
def test_a_video_is_uploaded_in_two_pieces(publisher: Publisher, sandbox: Sandbox, media_type: str) -> None:
    data, item = video_bytes(), {"is_carousel_item": "true"} if media_type == "VIDEO" else {}
    answer = publisher.create(media_type=media_type, upload_type="resumable", **item).json()
    assert answer["uri"].startswith(f"{sandbox.base_url}/rupload.facebook.com/ig-api-upload/{VERSION}/{answer['id']}")
    headers = {"Authorization": f"OAuth {publisher.account.access_token}", "file_size": str(len(data))}
    sandbox.faults.add("meta.rupload.instagram", "drop_before")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)):
        publisher.http.post(answer["uri"], content=data, headers=headers | {"offset": "0"})
    wrong = publisher.http.post(answer["uri"], content=data[5:], headers=headers | {"offset": "5"})
    assert wrong.json()["debug_info"]["type"] == "OffsetInvalidError"
    done = publisher.http.post(answer["uri"], content=data, headers=headers | {"offset": "0"})
    assert done.json()["success"] is True
    publisher.process()
    status = publisher.status(answer["id"])
    assert status["status_code"] == "FINISHED"
    assert status["video_status"]["uploading_phase"]["bytes_transferred"] == len(data)
    (report,) = sandbox.meta.instagram.list_containers()
    assert report.file is not None
    assert (report.file.sha256, report.file.source) == (hashlib.sha256(data).hexdigest(), "upload")
    again = publisher.http.post(answer["uri"], content=data, headers=headers | {"offset": "0"})
    assert again.json()["debug_info"]["type"] == "ProcessingFailedError"


def test_an_upload_from_a_hosted_file_and_a_bad_one(publisher: Publisher, sandbox: Sandbox) -> None:
    headers = {"Authorization": f"OAuth {publisher.account.user_token}"}
    good = publisher.create(media_type="REELS", upload_type="resumable").json()
    assert publisher.http.post(good["uri"], headers=headers | {"file_url": publisher.video()}).json()["success"]
    bad = publisher.create(media_type="REELS", upload_type="resumable").json()
    file_url = sandbox.media.url("moov-at-end.mp4")
    assert publisher.http.post(bad["uri"], headers=headers | {"file_url": file_url}).json()["success"]
    publisher.process()
    assert publisher.status(good["id"])["status_code"] == "FINISHED"
    assert "2207026" in publisher.status(bad["id"])["status"]


def test_an_upload_is_for_its_account_and_its_day(publisher: Publisher, sandbox: Sandbox) -> None:
    made = publisher.create(media_type="REELS", upload_type="resumable").json()
    headers = {"file_url": publisher.video()}
    foreign = sandbox.meta.create_instagram().access_token
    for scheme, token in (("OAuth", foreign), ("Bearer", publisher.account.access_token)):
        answer = publisher.http.post(made["uri"], headers=headers | {"Authorization": f"{scheme} {token}"})
        assert answer.status_code >= 400
    sandbox.clock.advance(24 * 3600)
    headers["Authorization"] = f"OAuth {publisher.account.access_token}"
    assert publisher.http.post(made["uri"], headers=headers).json()["debug_info"]["type"] == "ProcessingFailedError"
    assert publisher.status(made["id"])["status_code"] == "EXPIRED"


# --- carousels ------------------------------------------------------------------------------------------------------


def _item(publisher: Publisher) -> str:
    return publisher.finished(image_url=publisher.photo(), is_carousel_item="true")


def _carousel(publisher: Publisher, *children: str) -> httpx.Response:
    return publisher.create(media_type="CAROUSEL", children=",".join(children))


def test_children_as_list_or_as_text(publisher: Publisher) -> None:
    first, second = _item(publisher), _item(publisher)
    for children in (f"{first},{second}", json.dumps([first, second])):
        container_id = publisher.finished(media_type="CAROUSEL", children=children, caption="two")
        assert publisher.status(container_id)["status_code"] == "FINISHED"


def test_children_that_are_no_items(publisher: Publisher, sandbox: Sandbox) -> None:
    good = _item(publisher)
    assert codes(_carousel(publisher, good, publisher.finished(image_url=publisher.photo()))) == (100, None)
    assert codes(_carousel(publisher, good, "17900000000000000")) == (24, 2207008)
    other = Publisher(publisher.http, sandbox, sandbox.meta.create_instagram())
    assert codes(_carousel(publisher, good, _item(other))) == (24, 2207006)


def test_children_that_are_not_ready_failed_or_expired(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.clock.freeze()
    good, early = _item(publisher), publisher.container(image_url=publisher.photo(), is_carousel_item="true")
    assert codes(_carousel(publisher, good, early)) == (9007, 2207027)
    broken = publisher.finished(
        media_type="VIDEO", video_url=sandbox.media.url("moov-at-end.mp4"), is_carousel_item="true"
    )
    assert codes(_carousel(publisher, good, broken)) == (9007, 2207027)
    sandbox.clock.advance(24 * 3600)
    assert codes(_carousel(publisher, good, early)) == (-2, 2207020)


def test_children_are_used_up_by_publishing(publisher: Publisher, sandbox: Sandbox) -> None:
    first, second, third = _item(publisher), _item(publisher), _item(publisher)
    unpublished = _carousel(publisher, first, second)
    assert unpublished.status_code == 200
    parent = _carousel(publisher, first, second).json()["id"]
    publisher.process()
    assert publisher.publish(parent).status_code == 200
    assert codes(_carousel(publisher, second, third)) == (100, None)
    assert codes(publisher.publish(unpublished.json()["id"])) == (100, None)
    sandbox.meta.instagram.configure(children_single_use=True)
    assert _carousel(publisher, third, _item(publisher)).status_code == 200
    assert codes(_carousel(publisher, third, _item(publisher))) == (100, None)


def test_a_video_of_a_carousel_lasts_a_minute_at_most(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.meta.instagram.configure(carousel_video_seconds_max=3.0)
    fields = {"media_type": "VIDEO", "video_url": publisher.video(), "is_carousel_item": "true"}
    assert "2207026" in publisher.status(publisher.finished(**fields))["status"]
