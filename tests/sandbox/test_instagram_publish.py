"""The simulated Instagram's publishing: one post per container, and everything that tells what became of a lost call."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

import httpx
import pytest

from orbyt_worker.sandbox.meta_model import FACEBOOK_SCOPES, INSTAGRAM_SCOPES
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.instagram_client import Publisher, codes, video_bytes

LOST = (httpx.RemoteProtocolError, httpx.ReadError)
FIELDS = "id,permalink,shortcode,timestamp,media_type,media_product_type,caption,username"


@pytest.fixture
def publisher(sandbox: Sandbox, client: httpx.Client) -> Publisher:
    return Publisher(client, sandbox, sandbox.meta.create_instagram())


@pytest.fixture
def direct(sandbox: Sandbox, client: httpx.Client) -> Publisher:
    """Connected by Instagram Login."""
    return Publisher(client, sandbox, sandbox.meta.create_instagram(login="instagram"))


# --- what is published ----------------------------------------------------------------------------------------------


def test_a_photo_from_parameter_to_post(publisher: Publisher, sandbox: Sandbox) -> None:
    tags = json.dumps([{"username": "friend", "x": 0.1, "y": 0.9}])
    media_id = publisher.published(image_url=publisher.photo(), caption="Hé #x", alt_text="A square", user_tags=tags)
    read = publisher.get(media_id, fields=FIELDS).json()
    assert (read["media_type"], read["media_product_type"], read["caption"]) == ("IMAGE", "FEED", "Hé #x")
    assert read["permalink"] == f"https://www.instagram.com/p/{read['shortcode']}/"
    assert read["username"] == publisher.account.username
    (post,) = sandbox.meta.instagram.list_media(publisher.account.instagram_id)
    assert (post.media_id, post.fields["alt_text"], post.fields["user_tags"]) == (
        media_id,
        "A square",
        json.loads(tags),
    )
    (container,) = sandbox.meta.instagram.list_containers()
    assert (container.status_code, container.media_id, container.publish_calls) == ("PUBLISHED", media_id, 1)
    assert [call.handle for call in sandbox.meta.commits("instagram.media.publish")] == [container.container_id]


def test_a_reel_is_a_video_whose_product_is_reels(direct: Publisher, sandbox: Sandbox) -> None:
    media_id = direct.published(media_type="REELS", video_url=direct.video(), caption="Reel", thumb_offset="0")
    read = direct.get(media_id, fields=FIELDS).json()
    assert (read["media_type"], read["media_product_type"]) == ("VIDEO", "REELS")
    assert "/reel/" in read["permalink"]
    (post,) = sandbox.meta.instagram.list_media()
    assert post.file is not None
    assert post.file.sha256 == hashlib.sha256(video_bytes()).hexdigest()
    assert post.fields == {"caption": "Reel", "thumb_offset": 0}


def test_stories_are_listed_apart_and_for_a_day(publisher: Publisher, sandbox: Sandbox) -> None:
    photo = publisher.published(media_type="STORIES", image_url=publisher.photo(width=180, height=320))
    video = publisher.published(media_type="STORIES", video_url=publisher.video())
    ig = publisher.account.instagram_id
    assert publisher.get(f"{ig}/media").json() == {"data": []}
    rows = publisher.get(f"{ig}/stories", fields="id,media_product_type,media_type").json()["data"]
    assert [(row["id"], row["media_product_type"], row["media_type"]) for row in rows] == [
        (video, "STORY", "VIDEO"),
        (photo, "STORY", "IMAGE"),
    ]
    sandbox.clock.advance(24 * 3600)
    assert publisher.get(f"{ig}/stories").json() == {"data": []}


def test_a_carousel_keeps_its_order_and_counts_once(publisher: Publisher, sandbox: Sandbox) -> None:
    items = [
        publisher.finished(image_url=publisher.photo(f"{number}.jpg", 400 + number), is_carousel_item="true", alt_text=f"no {number}")
        for number in range(3)
    ]  # fmt: skip
    items.insert(1, publisher.finished(media_type="VIDEO", video_url=publisher.video(), is_carousel_item="true"))
    media_id = publisher.published(
        media_type="CAROUSEL", children=",".join(items), caption="four", collaborators='["a"]'
    )
    read = publisher.get(media_id, fields="media_type,children").json()
    assert read["media_type"] == "CAROUSEL_ALBUM"
    assert len(read["children"]["data"]) == 4
    (post,) = sandbox.meta.instagram.list_media()
    assert [child.kind for child in post.children] == ["carousel_image", "carousel_video", "carousel_image", "carousel_image"]  # fmt: skip
    assert [child.fields.get("alt_text") for child in post.children] == ["no 0", None, "no 1", "no 2"]
    assert all(child.file is not None for child in post.children)
    assert len({child.file.sha256 for child in post.children if child.file is not None}) == 4
    assert sandbox.meta.instagram.count(publisher.account.instagram_id) == 1
    assert _limit(publisher)["quota_usage"] == 1


# --- refusals -------------------------------------------------------------------------------------------------------


def test_containers_that_are_not_there_or_not_ours(publisher: Publisher, sandbox: Sandbox) -> None:
    other = Publisher(publisher.http, sandbox, sandbox.meta.create_instagram())
    assert codes(publisher.publish("17900000000000000")) == (24, 2207008)
    assert codes(publisher.publish(other.finished(image_url=other.photo()))) == (24, 2207006)
    edge = f"{publisher.account.instagram_id}/media_publish"
    assert codes(publisher.post(edge)) == (100, None)
    container_id = publisher.finished(image_url=publisher.photo())
    assert codes(publisher.post(edge, creation_id=container_id, caption="too late")) == (100, None)
    assert sandbox.meta.instagram.count() == 0


def test_containers_that_are_not_ready(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.clock.freeze()
    container_id = publisher.container(image_url=publisher.photo())
    assert codes(publisher.publish(container_id)) == (9007, 2207027)
    item = publisher.finished(image_url=publisher.photo(), is_carousel_item="true")
    assert codes(publisher.publish(item)) == (100, None)
    assert publisher.publish(container_id).status_code == 200


@pytest.mark.parametrize("state", ["restricted", "checkpointed", "inactive"])
def test_an_account_that_instagram_stopped(publisher: Publisher, sandbox: Sandbox, state: str) -> None:
    container_id = publisher.finished(image_url=publisher.photo())
    ig = publisher.account.instagram_id
    sandbox.meta.change_instagram(ig, state=state)  # type: ignore[arg-type] # the parameter is a Literal
    assert codes(publisher.publish(container_id)) == (25, 2207050)
    sandbox.meta.change_instagram(ig, state="active")
    assert publisher.publish(container_id).status_code == 200


def test_publishing_needs_its_scope_and_task(publisher: Publisher, direct: Publisher, sandbox: Sandbox) -> None:
    for mine, scopes, missing in (
        (publisher, FACEBOOK_SCOPES, "instagram_content_publish"),
        (direct, INSTAGRAM_SCOPES, "instagram_business_content_publish"),
    ):
        container_id = mine.finished(image_url=mine.photo())
        sandbox.meta.set_scopes(mine.account.access_token, tuple(set(scopes) - {missing}))
        assert codes(mine.publish(container_id))[0] == 200
        assert mine.status(container_id)["status_code"] == "FINISHED"


def _limit(publisher: Publisher, **params: str) -> dict[str, object]:
    answer = publisher.get(f"{publisher.account.instagram_id}/content_publishing_limit", **params)
    assert answer.status_code == 200, answer.text
    (row,) = answer.json()["data"]
    return dict(row)


def test_the_quota_is_rolling_and_the_limit_is_told_when_asked(publisher: Publisher, sandbox: Sandbox) -> None:
    sandbox.meta.instagram.configure(quota_total=2)
    sandbox.meta.instagram.add_foreign_post(publisher.account.instagram_id)
    publisher.published(image_url=publisher.photo())
    sandbox.clock.advance(3600)
    publisher.published(media_type="STORIES", image_url=publisher.photo())
    assert _limit(publisher) == {"quota_usage": 2}
    config = {"quota_total": 2, "quota_duration": 86400}
    assert _limit(publisher, fields="quota_usage,config") == {"quota_usage": 2, "config": config}
    since = int((sandbox.clock.now() - timedelta(minutes=30)).timestamp())
    assert _limit(publisher, fields="quota_usage", since=str(since)) == {"quota_usage": 1}
    answer = publisher.get(f"{publisher.account.instagram_id}/content_publishing_limit", since="1")
    assert codes(answer)[0] == 100

    container_id = publisher.finished(image_url=publisher.photo())
    assert codes(publisher.publish(container_id)) == (9, 2207042)
    sandbox.clock.advance(23 * 3600)
    assert publisher.publish(container_id).status_code == 200


# --- the second call --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switch", "expected"), [("error_24", (24, 2207006)), ("error_9007", (9007, 2207027)), ("same_id", None)]
)
def test_a_second_publish_is_counted_and_makes_no_second_post(
    publisher: Publisher, sandbox: Sandbox, switch: str, expected: tuple[int, int] | None
) -> None:
    sandbox.meta.instagram.configure(republish_answer=switch)  # type: ignore[arg-type] # the parameter is a Literal
    container_id = publisher.finished(image_url=publisher.photo())
    media_id = publisher.publish(container_id).json()["id"]
    again = publisher.publish(container_id)
    if expected is None:
        assert again.json() == {"id": media_id}
    else:
        assert codes(again) == expected
    (double,) = sandbox.meta.instagram.double_publishes()
    assert (double.container_id, double.media_id) == (container_id, media_id)
    assert len(sandbox.meta.problems()) == 1
    assert sandbox.meta.instagram.count() == 1


# --- answers that get lost ----------------------------------------------------------------------------------------------


def test_a_dropped_answer_after_the_post_was_made(publisher: Publisher, sandbox: Sandbox) -> None:
    container_id = publisher.finished(image_url=publisher.photo())
    sandbox.faults.add("instagram.media.publish", "drop_after")
    with pytest.raises(LOST):
        publisher.publish(container_id)
    assert publisher.status(container_id)["status_code"] == "PUBLISHED"
    assert sandbox.meta.instagram.count() == 1


def test_a_call_that_never_arrived(publisher: Publisher, sandbox: Sandbox) -> None:
    container_id = publisher.finished(image_url=publisher.photo())
    sandbox.faults.add("instagram.media.publish", "drop_before")
    with pytest.raises(LOST):
        publisher.publish(container_id)
    assert publisher.status(container_id)["status_code"] == "FINISHED"
    assert sandbox.meta.instagram.count() == 0


def test_errors_for_a_post_that_is_live(publisher: Publisher, sandbox: Sandbox) -> None:
    first, second = publisher.finished(image_url=publisher.photo()), publisher.finished(image_url=publisher.photo())
    sandbox.faults.add("instagram.media.publish", "status", status=500, body="html", process=True)
    sandbox.faults.add("instagram.media.publish", "meta_error", code=4, subcode=2207051, process=True)
    assert publisher.publish(first).status_code == 500
    answer = publisher.publish(second)
    assert codes(answer) == (4, 2207051)
    assert [publisher.status(each)["status_code"] for each in (first, second)] == ["PUBLISHED", "PUBLISHED"]
    assert sandbox.meta.instagram.count() == 2


def test_a_hidden_publish_shows_after_its_time(publisher: Publisher, sandbox: Sandbox) -> None:
    ig = publisher.account.instagram_id
    container_id = publisher.finished(image_url=publisher.photo(), caption="hidden")
    sandbox.clock.freeze()
    sandbox.meta.instagram.configure(hidden_publish_seconds=120)
    sandbox.faults.add("instagram.media.publish", "drop_after")
    with pytest.raises(LOST):
        publisher.publish(container_id)
    (post,) = sandbox.meta.instagram.list_media()
    for seconds in (0, 119):
        sandbox.clock.advance(seconds)
        assert publisher.status(container_id)["status_code"] == "FINISHED"
        assert publisher.get(f"{ig}/media").json() == {"data": []}
        assert codes(publisher.get(post.media_id)) == (100, 33)
    assert codes(publisher.publish(container_id)) == (24, 2207006)
    sandbox.clock.advance(1)
    assert publisher.status(container_id)["status_code"] == "PUBLISHED"
    assert [row["id"] for row in publisher.get(f"{ig}/media").json()["data"]] == [post.media_id]
    assert publisher.get(post.media_id).status_code == 200
    assert len(sandbox.meta.instagram.double_publishes()) == 1


# --- reading ------------------------------------------------------------------------------------------------------------


def test_media_are_newest_first_with_those_made_elsewhere(publisher: Publisher, sandbox: Sandbox) -> None:
    ig = publisher.account.instagram_id
    ours = publisher.published(image_url=publisher.photo(), caption="same")
    sandbox.clock.advance(60)
    newer = sandbox.meta.instagram.add_foreign_post(ig, caption="same")
    older = sandbox.meta.instagram.add_foreign_post(ig, kind="reel", at=sandbox.clock.now() - timedelta(days=3))
    rows = publisher.get(f"{ig}/media", fields=FIELDS).json()["data"]
    assert [row["id"] for row in rows] == [newer.media_id, ours, older.media_id]
    assert "caption" not in rows[2]
    assert [post.media_id for post in sandbox.meta.instagram.list_media()] == [ours]
    assert sandbox.meta.instagram.count(ig) == 1
    since = str(int((sandbox.clock.now() - timedelta(hours=1)).timestamp()))
    assert [row["id"] for row in publisher.get(f"{ig}/media", since=since).json()["data"]] == [newer.media_id, ours]
    assert [row["id"] for row in publisher.get(f"{ig}/media", until=since).json()["data"]] == [older.media_id]


def test_lists_come_in_pages(direct: Publisher, sandbox: Sandbox) -> None:
    ig = direct.account.instagram_id
    made = [sandbox.meta.instagram.add_foreign_post(ig).media_id for _ in range(5)]
    seen: list[str] = []
    answer = direct.get(f"{ig}/media", limit="2").json()
    assert direct.account.access_token in answer["paging"]["next"]
    while True:
        seen += [row["id"] for row in answer["data"]]
        if "next" not in answer["paging"]:
            break
        answer = direct.get(f"{ig}/media", limit="2", after=answer["paging"]["cursors"]["after"]).json()
    assert seen == made[::-1]
    assert codes(direct.get(f"{ig}/media", limit="101"))[0] == 100
    assert codes(direct.get(f"{ig}/media", after="nonsense"))[0] == 100
    assert codes(direct.get(f"{ig}/media", fields="id,made_up"))[0] == 100


def test_reads_of_media_can_fail_while_the_post_is_there(publisher: Publisher, sandbox: Sandbox) -> None:
    media_id = publisher.published(image_url=publisher.photo())
    sandbox.faults.add("instagram.media.read", "meta_error", code=100, subcode=33)
    sandbox.faults.add("instagram.media.list", "status", status=503)
    sandbox.faults.add("instagram.limit", "throttle", code=80002, minutes=12)
    assert codes(publisher.get(media_id)) == (100, 33)
    assert publisher.get(f"{publisher.account.instagram_id}/media").status_code == 503
    throttled = publisher.get(f"{publisher.account.instagram_id}/content_publishing_limit")
    assert codes(throttled)[0] == 80002
    usage = json.loads(throttled.headers["x-business-use-case-usage"])[publisher.account.instagram_id][0]
    assert (usage["type"], usage["call_count"], usage["estimated_time_to_regain_access"]) == ("instagram", 100, 12)
    assert publisher.get(media_id).status_code == 200


def test_comments(publisher: Publisher, direct: Publisher, sandbox: Sandbox) -> None:
    for mine in (publisher, direct):
        media_id = mine.published(image_url=mine.photo())
        first = mine.post(f"{media_id}/comments", message="First!").json()["id"]
        second = mine.post(f"{media_id}/comments", message="Second").json()["id"]
        rows = mine.get(f"{media_id}/comments", fields="id,text,username").json()["data"]
        name = mine.account.username
        assert rows == [{"id": second, "text": "Second", "username": name}, {"id": first, "text": "First!", "username": name}]  # fmt: skip
        assert codes(mine.post(f"{media_id}/comments")) == (100, None)
        (post,) = sandbox.meta.instagram.list_media(mine.account.instagram_id)
        assert [comment.text for comment in post.comments] == ["First!", "Second"]


def test_comments_need_their_scope_and_a_post_that_takes_them(publisher: Publisher, sandbox: Sandbox) -> None:
    story = publisher.published(media_type="STORIES", image_url=publisher.photo())
    assert codes(publisher.post(f"{story}/comments", message="x")) == (100, None)
    media_id = publisher.published(image_url=publisher.photo())
    foreign = sandbox.meta.create_instagram().access_token
    assert codes(publisher.post(f"{media_id}/comments", token=foreign, message="x")) == (100, 33)
    sandbox.faults.add("instagram.comments", "drop_after")
    with pytest.raises(LOST):
        publisher.post(f"{media_id}/comments", message="lost")
    assert len(publisher.get(f"{media_id}/comments").json()["data"]) == 1
    scopes = tuple(set(FACEBOOK_SCOPES) - {"instagram_manage_comments"})
    sandbox.meta.set_scopes(publisher.account.access_token, scopes)
    assert codes(publisher.post(f"{media_id}/comments", message="x"))[0] == 200


def test_the_account_and_me(publisher: Publisher, direct: Publisher, sandbox: Sandbox) -> None:
    ig = publisher.account.instagram_id
    assert publisher.get(ig).json() == {"id": ig}
    assert publisher.get(ig, fields="username").json() == {"id": ig, "username": publisher.account.username}
    assert codes(publisher.get(ig, fields="user_id"))[0] == 100
    me = direct.get("me", fields="user_id,username,account_type").json()
    assert (me["user_id"], me["username"], me["account_type"]) == (direct.account.instagram_id, direct.account.username, "BUSINESS")  # fmt: skip
    assert me["id"] != me["user_id"]
    sandbox.meta.instagram.configure(me_wrapped=True)
    assert direct.get("me", fields="user_id,username,account_type").json() == {"data": [me]}
    assert direct.get(direct.account.instagram_id, fields="username").json()["username"] == me["username"]


# --- tokens -------------------------------------------------------------------------------------------------------------


def _refresh(publisher: Publisher, token: str | None = None, grant: str = "ig_refresh_token") -> httpx.Response:
    params = {"grant_type": grant, "access_token": token or publisher.account.access_token}
    return publisher.http.get("/graph.instagram.com/refresh_access_token", params=params)


def test_a_token_of_a_day_is_good_for_60_more(direct: Publisher, sandbox: Sandbox) -> None:
    assert codes(_refresh(direct))[0] == 100
    sandbox.clock.freeze()
    sandbox.clock.advance(24 * 3600)
    answer = _refresh(direct).json()
    assert answer["token_type"] == "bearer"
    assert answer["expires_in"] == 60 * 86400
    assert answer["access_token"] != direct.account.access_token
    ig = direct.account.instagram_id
    assert direct.get(ig, token=answer["access_token"]).status_code == 200
    sandbox.clock.advance(59.5 * 86400)
    assert codes(direct.get(ig)) == (190, 463)
    assert direct.get(ig, token=answer["access_token"]).status_code == 200
    assert codes(_refresh(direct)) == (190, 463)


def test_tokens_that_cannot_be_refreshed(direct: Publisher, publisher: Publisher, sandbox: Sandbox) -> None:
    short = sandbox.meta.issue_instagram_token(direct.account.instagram_id, long_lived=False)
    assert codes(_refresh(direct, short))[0] == 100
    sandbox.clock.advance(2 * 86400)
    assert codes(_refresh(direct, grant="ig_exchange_token"))[0] == 100
    assert codes(_refresh(direct, "IGAAunknown")) == (190, None)
    assert codes(_refresh(direct, publisher.account.access_token)) == (190, None)
    assert codes(_refresh(direct, short)) == (190, 463)
    sandbox.faults.add("instagram.token.refresh", "meta_error", code=2, transient=True)
    assert codes(_refresh(direct))[0] == 2
    sandbox.meta.set_scopes(direct.account.access_token, ("instagram_business_content_publish",))
    assert codes(_refresh(direct))[0] == 10
    sandbox.meta.kill_token(direct.account.access_token, "revoked")
    assert codes(_refresh(direct)) == (190, 467)


# --- the control API ----------------------------------------------------------------------------------------------------


def test_reports_over_http(publisher: Publisher) -> None:
    publisher.published(image_url=publisher.photo(), caption="over http")
    call = publisher.http.get("/_control/instagram/list_media", params={"ig_id": publisher.account.instagram_id})
    (post,) = call.json()["result"]
    assert (post["caption"], post["kind"], post["foreign"]) == ("over http", "image", False)
    assert publisher.http.get("/_control/instagram/double_publishes").json() == {"result": []}
    assert publisher.http.get("/_control/instagram/count").json() == {"result": 1}
