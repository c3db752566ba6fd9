"""The simulator's Pages: text, links, photos, stories, comments, and what can be read back."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.meta_model import PageHandle
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.meta_client import GRAPH, Page, error

JPEG = media_files.jpeg(640, 480)
DAY = 86_400


@pytest.fixture
def handle(sandbox: Sandbox) -> PageHandle:
    return sandbox.meta.create_page()


@pytest.fixture
def page(client: httpx.Client, handle: PageHandle) -> Page:
    return Page.of(client, handle)


def attached(*photo_ids: str) -> str:
    return json.dumps([{"media_fbid": photo_id} for photo_id in photo_ids])


# --- feed ---------------------------------------------------------------------------------------------------------


def test_a_text_and_a_link(sandbox: Sandbox, page: Page) -> None:
    first = page.post("feed", message="Hello ä #1")
    assert first.json()["id"].startswith(page.page_id + "_")
    second = page.post("feed", link="https://example.com/a?b=c", fields="id,permalink_url")
    assert second.json()["permalink_url"].startswith("https://www.facebook.com/")
    text, link = sandbox.meta.facebook.published(page.page_id)
    assert (text.kind, text.message, text.application_id) == ("text", "Hello ä #1", sandbox.meta.app.app_id)
    assert (link.kind, link.link) == ("link", "https://example.com/a?b=c")
    assert [call.handle for call in sandbox.meta.commits("facebook.feed")] == [text.post_id, link.post_id]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (100, None)),
        ({"message": ""}, (100, None)),
        ({"message": "x" * 63_207}, (100, None)),
        ({"link": "not a url"}, (100, 2061006)),
        ({"link": "https://www.facebook.com/x"}, (100, 1609008)),
        ({"message": "x", "published": "perhaps"}, (100, None)),
        ({"attached_media": "{"}, (100, None)),
        ({"attached_media": "[]", "message": ""}, (100, None)),
        ({"attached_media": '[{"id":"1"}]'}, (100, None)),
        ({"attached_media": '[{"media_fbid":"1"}]'}, (100, None)),
    ],
)
def test_posts_that_are_refused(sandbox: Sandbox, page: Page, fields: dict[str, str], expected: Any) -> None:
    assert error(page.post("feed", **fields)) == expected
    assert sandbox.meta.facebook.count() == 0


def test_the_same_text_twice_in_a_row_is_506(sandbox: Sandbox, page: Page) -> None:
    assert page.post("feed", message="same").status_code == 200
    assert error(page.post("feed", message="same")) == (506, None)
    assert page.post("feed", message="other").status_code == 200
    assert page.post("feed", message="same").status_code == 200
    sandbox.meta.configure(reject_duplicates=False)
    assert page.post("feed", message="same").status_code == 200
    assert sandbox.meta.facebook.duplicates() == [(page.page_id, "text|same||", 3)]


@pytest.mark.parametrize(
    ("fields", "seconds", "accepted"),
    [
        ({"published": "false"}, 660, True),
        ({"published": "false"}, 29 * DAY, True),
        ({"published": "false"}, 540, False),
        ({"published": "false"}, 31 * DAY, False),
        ({}, 3600, False),
    ],
)
def test_the_window_of_a_scheduled_post(
    sandbox: Sandbox, page: Page, fields: dict[str, str], seconds: int, accepted: bool
) -> None:
    at = int(sandbox.clock.timestamp()) + seconds
    answer = page.post("feed", message="later", scheduled_publish_time=str(at), **fields)
    assert (answer.status_code == 200) is accepted, answer.text
    assert sandbox.meta.facebook.count() == 0
    if accepted:
        (row,) = page.get(f"{page.page_id}/scheduled_posts").json()["data"]
        assert page.get(f"{page.page_id}/published_posts").json()["data"] == []
        sandbox.clock.advance(seconds + 1)
        assert page.get(f"{page.page_id}/published_posts").json()["data"][0]["id"] == row["id"]


# --- photos -------------------------------------------------------------------------------------------------------


def test_one_published_photo(sandbox: Sandbox, page: Page) -> None:
    answer = page.post(
        "photos", files={"source": ("a.jpg", JPEG, "image/jpeg")}, caption="Look", alt_text_custom="A square"
    )
    photo_id, post_id = answer.json()["id"], answer.json()["post_id"]
    (report,) = sandbox.meta.facebook.published()
    assert (report.kind, report.message, report.post_id) == ("photo", "Look", post_id)
    (media,) = report.media
    assert media == type(media)(photo_id, hashlib.sha256(JPEG).hexdigest(), len(JPEG), "A square")
    assert page.get(photo_id, fields="page_story_id").json()["page_story_id"] == post_id


def test_photos_by_url(sandbox: Sandbox, page: Page) -> None:
    sandbox.media.add_body("p.png", media_files.literal(media_files.png(300, 200), "image/png"))
    sandbox.media.add_body("page.png", media_files.literal(media_files.HTML_PAGE, "image/png"))
    assert page.post("photos", url=sandbox.media.url("p.png"), published="false").status_code == 200
    assert error(page.post("photos", url=sandbox.media.url("page.png"))) == (100, 1366046)
    assert error(page.post("photos", url=sandbox.media.url("nothing.png"))) == (100, 2061006)
    assert error(page.post("photos", url="http://127.0.0.1:9/p.png")) == (100, 2061006)  # not public
    assert error(page.post("photos", url="file:///etc/passwd")) == (100, 2061006)


def test_photos_that_are_refused(sandbox: Sandbox, page: Page) -> None:
    file = ("a.jpg", JPEG, "image/jpeg")
    assert error(page.post("photos")) == (100, None)
    assert error(page.post("photos", files={"a": file, "b": file})) == (100, None)
    assert error(page.post("photos", files={"source": file}, url="https://example.com/a.jpg")) == (100, None)
    assert error(page.post("photos", files={"source": file}, temporary="true")) == (100, None)
    webp = b"RIFF\x10\x00\x00\x00WEBPVP8 " + bytes(16)
    large = JPEG + bytes(10 * 1024 * 1024)
    for data in (b"", b"text", webp, large):
        assert error(page.post("photos", files={"source": ("a.jpg", data, "image/jpeg")})) == (100, 1366046)
    assert sandbox.meta.facebook.list_photos() == []
    sandbox.meta.configure(check_content=False)
    assert page.post("photos", files={"source": ("a.jpg", b"text", "image/jpeg")}).status_code == 200


@pytest.mark.parametrize("spelling", ["list", "numbered"])
def test_several_photos_in_one_post(sandbox: Sandbox, page: Page, spelling: str) -> None:
    pictures = [media_files.jpeg(600 + at, 400) for at in range(3)]
    ids = [page.photo(data, published="false") for data in pictures]
    fields = (
        {"attached_media": attached(*ids)}
        if spelling == "list"
        else {f"attached_media[{at}]": json.dumps({"media_fbid": photo_id}) for at, photo_id in enumerate(ids)}
    )
    assert sandbox.meta.facebook.count() == 0
    post_id = page.post("feed", message="Three", **fields).json()["id"]
    (report,) = sandbox.meta.facebook.published()
    assert (report.kind, report.post_id) == ("photos", post_id)
    assert [media.sha256 for media in report.media] == [hashlib.sha256(data).hexdigest() for data in pictures]
    row = page.get(post_id, fields="attachments{subattachments}").json()
    assert [a["target"]["id"] for a in row["attachments"]["data"][0]["subattachments"]["data"]] == ids
    sandbox.clock.advance(3 * DAY)  # a photo in use does not end
    assert page.get(ids[0]).status_code == 200


def test_photos_that_cannot_be_attached(sandbox: Sandbox, client: httpx.Client, page: Page) -> None:
    other = Page.of(client, sandbox.meta.create_page())
    foreign = other.photo(JPEG, published="false")
    published = page.photo(JPEG)
    used = page.photo(JPEG, published="false")
    assert page.post("feed", attached_media=attached(used)).status_code == 200
    old = page.photo(JPEG, published="false")
    sandbox.clock.advance(DAY)
    good = page.photo(JPEG, published="false")
    before = sandbox.meta.facebook.count()
    for bad in (foreign, published, used, old, good):
        assert error(page.post("feed", message="x", attached_media=attached(good, bad)))[0] == 100
    assert sandbox.meta.facebook.count() == before
    assert page.post("feed", attached_media=attached(good)).status_code == 200


def test_photos_of_a_scheduled_post_are_temporary(sandbox: Sandbox, page: Page) -> None:
    later = {"published": "false", "scheduled_publish_time": str(int(sandbox.clock.timestamp()) + 3600)}
    plain = page.photo(JPEG, published="false")
    temporary = page.photo(JPEG, published="false", temporary="true")
    marked = {**later, "unpublished_content_type": "SCHEDULED"}
    assert error(page.post("feed", attached_media=attached(plain), **marked)) == (100, None)
    assert error(page.post("feed", attached_media=attached(temporary), **later)) == (100, None)
    assert page.post("feed", attached_media=attached(temporary), **marked).status_code == 200


# --- photo stories ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numeric", [False, True])
def test_a_photo_story(sandbox: Sandbox, page: Page, numeric: bool) -> None:
    sandbox.meta.configure(numeric_story_ids=numeric)
    photo_id = page.photo(JPEG, published="false")
    answer = page.post("photo_stories", photo_id=photo_id).json()
    assert answer["success"] is True
    (row,) = page.get(f"{page.page_id}/stories").json()["data"]
    assert (row["media_id"], row["media_type"], row["status"]) == (photo_id, "photo", "PUBLISHED")
    assert row["post_id"] == answer["post_id"]
    assert isinstance(row["post_id"], int) is numeric
    assert page.get(f"{page.page_id}/published_posts").json()["data"] == []
    (report,) = sandbox.meta.facebook.published(kind="photo_story")
    assert report.media[0].sha256 == hashlib.sha256(JPEG).hexdigest()
    assert sandbox.meta.problems() == []
    assert error(page.post("photo_stories", photo_id=photo_id)) == (100, None)
    assert sandbox.meta.problems() == [f"second story of photo {photo_id}"]
    sandbox.clock.advance(DAY)
    assert page.get(f"{page.page_id}/stories").json()["data"] == []


def test_photos_that_cannot_be_a_story(sandbox: Sandbox, client: httpx.Client, page: Page) -> None:
    published = page.photo(JPEG)
    used = page.photo(JPEG, published="false")
    page.post("feed", attached_media=attached(used))
    foreign = Page.of(client, sandbox.meta.create_page()).photo(JPEG, published="false")
    for photo_id in (published, used, foreign, "123"):
        assert error(page.post("photo_stories", photo_id=photo_id)) == (100, None)
    assert error(page.post("photo_stories", url="https://example.com/a.jpg")) == (100, None)


# --- comments and reads -------------------------------------------------------------------------------------------


def test_a_first_comment(sandbox: Sandbox, page: Page) -> None:
    post_id = page.post("feed", message="x").json()["id"]
    comment_id = page.post(f"{post_id}/comments", message="First!").json()["id"]
    (row,) = page.get(f"{post_id}/comments", fields="id,message,from").json()["data"]
    assert (row["id"], row["message"], row["from"]["id"]) == (comment_id, "First!", page.page_id)
    assert sandbox.meta.facebook.published()[0].comments == ["First!"]
    assert error(page.post(f"{post_id}/comments")) == (100, None)
    assert error(page.post(f"{page.page_id}_1/comments", message="x")) == (100, 33)
    unpublished = page.photo(JPEG, published="false")
    assert error(page.post(f"{unpublished}/comments", message="x")) == (100, 33)
    sandbox.meta.set_scopes(page.token, ("pages_manage_posts", "pages_read_engagement", "pages_show_list"))
    assert error(page.post(f"{post_id}/comments", message="x")) == (200, None)


def test_lists_are_newest_first_with_the_app_that_made_them(sandbox: Sandbox, page: Page) -> None:
    mine = page.post("feed", message="mine").json()["id"]
    sandbox.clock.advance(60)
    by_hand = sandbox.meta.facebook.post_outside(page.page_id, "by hand")
    sandbox.clock.advance(60)
    other_app = sandbox.meta.facebook.post_outside(page.page_id, "other app", "123")
    fields = "id,message,created_time,permalink_url,is_published,application"
    for edge in ("published_posts", "feed", "posts"):
        rows = page.get(f"{page.page_id}/{edge}", fields=fields).json()["data"]
        assert [row["id"] for row in rows] == [other_app, by_hand, mine]
        assert [row.get("application", {}).get("id") for row in rows] == ["123", None, sandbox.meta.app.app_id]
    default = page.get(f"{page.page_id}/published_posts").json()["data"][0]
    assert set(default) == {"id", "message", "created_time"}
    since = int(sandbox.clock.timestamp()) - 90
    assert len(page.get(f"{page.page_id}/feed", since=since).json()["data"]) == 2
    assert error(page.get(f"{page.page_id}/feed", fields="id,nonsense")) == (100, None)


def test_pages_of_rows_follow_a_cursor_and_leak_the_token(sandbox: Sandbox, page: Page) -> None:
    ids = []
    for number in range(5):
        ids.append(page.post("feed", message=f"m{number}").json()["id"])
        sandbox.clock.advance(1)
    seen: list[str] = []
    after: dict[str, str] = {}
    for _ in range(3):
        answer = page.get(f"{page.page_id}/feed", limit=2, **after).json()
        seen += [row["id"] for row in answer["data"]]
        after = {"after": answer["paging"]["cursors"]["after"]}
        assert ("next" in answer["paging"]) is (len(seen) < 5)
        if "next" in answer["paging"]:
            assert page.token in answer["paging"]["next"]
            assert page.client.get(answer["paging"]["next"]).status_code == 200
    assert seen == ids[::-1]
    assert error(page.get(f"{page.page_id}/feed", limit=101)) == (100, None)
    assert error(page.get(f"{page.page_id}/feed", after="nothing")) == (100, None)


def test_a_page_and_a_post_are_read_by_field(sandbox: Sandbox, page: Page, handle: PageHandle) -> None:
    account = sandbox.meta.create_instagram(page_id=page.page_id)
    answer = page.get(page.page_id, fields="name,username,instagram_business_account{id,username}").json()
    assert answer["name"] == handle.name
    assert answer["instagram_business_account"]["id"] == account.instagram_id
    post_id = page.post("feed", message="x").json()["id"]
    assert set(page.get(post_id, fields="permalink_url").json()) == {"id", "permalink_url"}


def test_reading_needs_engagement(sandbox: Sandbox, page: Page) -> None:
    post_id = page.post("feed", message="x").json()["id"]
    sandbox.meta.set_scopes(page.token, ("pages_show_list",))
    assert error(page.get(post_id)) == (200, None)
    assert page.get(page.page_id).status_code == 200


def test_only_own_posts_are_deleted(sandbox: Sandbox, page: Page) -> None:
    foreign = sandbox.meta.facebook.post_outside(page.page_id, "by hand")
    mine = page.post("feed", message="x").json()["id"]
    assert error(page.client.delete(f"{GRAPH}/{foreign}", headers=page.bearer)) == (200, None)
    assert page.client.delete(f"{GRAPH}/{mine}", headers=page.bearer).json() == {"success": True}
    assert [post.post_id for post in sandbox.meta.facebook.published()] == [foreign]
