"""The simulator's gate: tokens, hosts, versions, proofs, scopes, tasks, limits, languages, bodies."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox.meta_model import Locale, PageHandle
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.meta_client import GRAPH, INSTAGRAM, VIDEO, Page, error, proof


@pytest.fixture
def handle(sandbox: Sandbox) -> PageHandle:
    return sandbox.meta.create_page()


@pytest.fixture
def page(client: httpx.Client, handle: PageHandle) -> Page:
    return Page.of(client, handle)


# --- tokens -------------------------------------------------------------------------------------------------------


def test_a_call_needs_a_token_and_takes_it_in_three_places(client: httpx.Client, page: Page) -> None:
    url = f"{GRAPH}/{page.page_id}"
    missing = client.get(url)
    assert (missing.status_code, error(missing)) == (400, (104, None))
    assert client.get(url, headers={"Authorization": f"OAuth {page.token}"}).status_code == 200
    assert client.get(url, headers=page.bearer).status_code == 200
    assert client.get(url, params={"access_token": page.token}).status_code == 200
    assert error(client.get(url, params={"access_token": "EAABnobody"})) == (190, None)


@pytest.mark.parametrize(
    ("state", "subcode"),
    [
        ("expired", 463),
        ("revoked", 467),
        ("password_changed", 460),
        ("app_removed", 458),
        ("role_lost", 492),
        ("checkpoint", 459),
    ],
)
def test_a_dead_token_says_how_it_died(sandbox: Sandbox, page: Page, state: Any, subcode: int) -> None:
    sandbox.meta.kill_token(page.token, state)
    answer = page.post("feed", message="x")
    assert (answer.status_code, error(answer)) == (400, (190, subcode))
    debugged = _debug(sandbox, page, page.token)
    assert debugged["is_valid"] is False
    assert debugged["error"]["subcode"] == subcode
    assert sandbox.meta.facebook.count() == 0


def test_tokens_end_by_the_sandbox_clock(sandbox: Sandbox, client: httpx.Client, handle: PageHandle) -> None:
    user = Page(client, handle.page_id, handle.user_token)
    assert user.get("me", fields="name").json()["name"] == "Sandbox Person"
    sandbox.clock.advance(60 * 86_400)
    assert error(user.get("me")) == (190, 463)
    assert Page.of(client, handle).get("me").json()["id"] == handle.page_id  # a Page token has no end


def test_all_tokens_of_a_person_die_together(sandbox: Sandbox, page: Page, handle: PageHandle) -> None:
    assert sandbox.meta.kill_user(handle.user_id, "app_removed") == 2
    assert error(page.get("me")) == (190, 458)


def test_an_ended_role_kills_the_page_token_only(
    sandbox: Sandbox, client: httpx.Client, page: Page, handle: PageHandle
) -> None:
    sandbox.meta.change_page(page.page_id, tasks=())
    assert error(page.post("feed", message="x")) == (190, 492)
    assert Page(client, page.page_id, handle.user_token).get("me").status_code == 200


def test_the_two_logins_do_not_share_hosts(sandbox: Sandbox, client: httpx.Client, page: Page) -> None:
    account = sandbox.meta.create_instagram(login="instagram")
    other = Page(client, account.instagram_id, account.access_token)
    for base in (GRAPH, VIDEO):
        assert error(other.get(account.instagram_id, base=base)) == (190, None)
    assert error(page.get("me", base=INSTAGRAM)) == (190, None)


# --- paths --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v20.0", "v99.0", "25.0", "me"])
def test_versions_that_do_not_live(page: Page, version: str) -> None:
    answer = page.get(page.page_id, base=f"/graph.facebook.com/{version}")
    assert (answer.status_code, error(answer)[0]) == (400, 2500)


def test_a_version_ends_on_its_day(sandbox: Sandbox, page: Page) -> None:
    base = "/graph.facebook.com/v21.0"
    assert page.get(page.page_id, base=base).status_code == 200
    sandbox.clock.advance(90 * 86_400)
    assert error(page.get(page.page_id, base=base)) == (2500, None)


def test_unknown_ids_edges_and_hosts_are_not_told_apart(page: Page) -> None:
    for answer in (
        page.get("1234567890"),
        page.post("nothing"),
        page.get(f"{page.page_id}/nothing"),
        page.post("feed", base=VIDEO, message="x"),  # graph-video takes videos only
    ):
        assert error(answer) == (100, 33)
    assert error(page.get("a/b/c")) == (2500, None)


# --- proofs -------------------------------------------------------------------------------------------------------


def test_a_required_proof_is_plain_or_stamped_and_over_the_token_used(
    sandbox: Sandbox, page: Page, handle: PageHandle
) -> None:
    sandbox.meta.configure(require_proof=True)
    secret, now = sandbox.meta.app.secret, int(sandbox.clock.timestamp())
    stamped = {"appsecret_time": str(now), "appsecret_proof": proof(secret, f"{page.token}|{now}")}
    for accepted in ({"appsecret_proof": proof(secret, page.token)}, stamped):
        assert page.get(page.page_id, **accepted).status_code == 200
    old = now - 301
    refused = [
        {},
        {"appsecret_proof": proof("wrong", page.token)},
        {"appsecret_proof": proof(secret, handle.user_token)},
        {"appsecret_time": str(old), "appsecret_proof": proof(secret, f"{page.token}|{old}")},
        {"appsecret_time": str(now), "appsecret_proof": proof(secret, page.token)},
        {"appsecret_proof": stamped["appsecret_proof"]},
    ]
    for given in refused:
        answer = page.get(page.page_id, **given)
        assert (answer.status_code, error(answer)) == (400, (100, None))
        assert answer.json()["error"]["type"] == "GraphMethodException"
    assert error(page.post("feed", message="x")) == (100, None)
    assert page.post("feed", message="x", **stamped).status_code == 200


def test_a_wrong_proof_is_refused_even_when_none_is_required(page: Page) -> None:
    assert error(page.get(page.page_id, appsecret_proof="00")) == (100, None)


# --- permissions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [200, 10])
@pytest.mark.parametrize("missing", ["pages_manage_posts", "pages_read_engagement", "pages_show_list"])
def test_posting_needs_its_scopes(sandbox: Sandbox, page: Page, missing: str, code: Any) -> None:
    sandbox.meta.configure(missing_permission_code=code)
    held = sandbox.meta.tokens[page.token].scopes
    sandbox.meta.set_scopes(page.token, tuple(scope for scope in held if scope != missing))
    assert error(page.post("feed", message="x")) == (code, None)
    assert sandbox.meta.facebook.count() == 0


def test_posting_needs_the_task(sandbox: Sandbox, page: Page) -> None:
    sandbox.meta.change_page(page.page_id, tasks=("ANALYZE", "MODERATE"))
    assert error(page.post("feed", message="x")) == (200, None)
    sandbox.meta.change_page(page.page_id, tasks=("PROFILE_PLUS_CREATE_CONTENT",))
    assert page.post("feed", message="x").status_code == 200


def test_a_page_token_is_for_its_page(sandbox: Sandbox, client: httpx.Client, page: Page, handle: PageHandle) -> None:
    other = sandbox.meta.create_page()
    foreign = Page(client, other.page_id, page.token)
    assert error(foreign.post("feed", message="x")) == (100, 33)
    sandbox.meta.configure(foreign_page_code=200)
    assert error(foreign.post("feed", message="x")) == (200, None)
    assert error(Page(client, page.page_id, handle.user_token).post("feed", message="x")) == (210, None)
    assert error(Page(client, page.page_id, other.user_token).get(page.page_id)) == (100, 33)


def test_permissions_are_listed_with_their_state(sandbox: Sandbox, client: httpx.Client, handle: PageHandle) -> None:
    sandbox.meta.set_scopes(handle.user_token, ("pages_show_list",))
    rows = Page(client, handle.user_id, handle.user_token).get("me/permissions").json()["data"]
    states = {row["permission"]: row["status"] for row in rows}
    assert states["pages_show_list"] == "granted"
    assert states["pages_manage_posts"] == "declined"


def _debug(sandbox: Sandbox, page: Page, token: str) -> dict[str, Any]:
    answer = page.client.get(
        f"{GRAPH}/debug_token", params={"input_token": token, "access_token": sandbox.meta.app.token}
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["data"])


def test_debug_token(sandbox: Sandbox, page: Page, handle: PageHandle) -> None:
    debugged = _debug(sandbox, page, page.token)
    assert (debugged["is_valid"], debugged["type"], debugged["expires_at"]) == (True, "PAGE", 0)
    assert (debugged["profile_id"], debugged["user_id"]) == (handle.page_id, handle.user_id)
    assert debugged["app_id"] == sandbox.meta.app.app_id
    assert _debug(sandbox, page, handle.user_token)["expires_at"] > debugged["issued_at"]
    assert _debug(sandbox, page, "EAABnobody")["is_valid"] is False
    assert error(page.get("debug_token", input_token=page.token)) == (100, None)


# --- limits -------------------------------------------------------------------------------------------------------


def test_every_answer_tells_the_usage(sandbox: Sandbox, page: Page) -> None:
    sandbox.meta.set_usage("app", 28, total_time=25, total_cputime=24)
    sandbox.meta.set_usage("pages", 81, owner=page.page_id)
    for answer in (page.get(page.page_id), page.post("feed"), page.get("1234567890")):
        assert json.loads(answer.headers["x-app-usage"]) == {"call_count": 28, "total_time": 25, "total_cputime": 24}
        (entry,) = json.loads(answer.headers["x-business-use-case-usage"])[page.page_id]
        assert (entry["type"], entry["call_count"], entry["estimated_time_to_regain_access"]) == ("pages", 81, 0)
        assert json.loads(answer.headers["x-page-usage"])["call_count"] == 0


@pytest.mark.parametrize(("scope", "code"), [("app", 4), ("page", 32), ("pages", 80001)])
def test_at_a_hundred_calls_are_refused_and_extend_the_block(
    sandbox: Sandbox, page: Page, scope: Any, code: int
) -> None:
    sandbox.meta.set_usage(scope, 100, owner="" if scope == "app" else page.page_id, minutes=19)
    answer = page.post("feed", message="x")
    assert (answer.status_code, error(answer)) == (400, (code, None))
    if scope == "pages":
        (entry,) = json.loads(answer.headers["x-business-use-case-usage"])[page.page_id]
        assert entry["estimated_time_to_regain_access"] == 19
    sandbox.clock.advance(18 * 60)
    assert error(page.post("feed", message="x"))[0] == code  # starts the 19 minutes again
    sandbox.clock.advance(18 * 60)
    assert error(page.post("feed", message="x"))[0] == code
    sandbox.clock.advance(19 * 60)
    assert page.post("feed", message="x").status_code == 200


def test_a_limit_of_one_page_leaves_the_others_alone(sandbox: Sandbox, client: httpx.Client, page: Page) -> None:
    sandbox.meta.set_usage("pages", 100, owner=page.page_id)
    other = Page.of(client, sandbox.meta.create_page())
    assert other.post("feed", message="x").status_code == 200


@pytest.mark.parametrize("code", [4, 17, 32, 613, 80001, 80002])
def test_a_throttle_fault_answers_once_with_its_header(sandbox: Sandbox, page: Page, code: int) -> None:
    sandbox.faults.add("facebook.feed", "throttle", code=code, minutes=7)
    answer = page.post("feed", message="x")
    assert error(answer)[0] == code
    if code in {80001, 80002}:
        (entry,) = json.loads(answer.headers["x-business-use-case-usage"])[page.page_id]
        assert (entry["call_count"], entry["estimated_time_to_regain_access"]) == (100, 7)
    if code == 4:
        assert json.loads(answer.headers["x-app-usage"])["call_count"] == 100
    assert page.post("feed", message="x").status_code == 200


# --- envelopes, languages, bodies ---------------------------------------------------------------------------------


def test_three_languages_with_equal_numbers(sandbox: Sandbox, page: Page) -> None:
    seen = set()
    locales: tuple[Locale, ...] = ("en_US", "de_DE", "ja_JP")
    for locale in locales:
        sandbox.meta.configure(locale=locale)
        sandbox.faults.add("facebook.feed", "meta_error", code=368, subcode=1390008, message="Too fast.")
        answer = page.post("feed", message="x")
        assert error(answer) == (368, 1390008)
        seen.add((answer.json()["error"]["message"], answer.json()["error"]["error_user_msg"]))
    assert len(seen) == 3


def test_an_injected_error_may_come_after_the_work(sandbox: Sandbox, page: Page) -> None:
    sandbox.faults.add("facebook.feed", "meta_error", code=4, subcode=2207051, process=True)
    answer = page.post("feed", message="live all the same")
    assert (answer.status_code, error(answer)) == (400, (4, 2207051))
    assert [post.message for post in sandbox.meta.facebook.published()] == ["live all the same"]
    sandbox.faults.add("facebook.feed", "meta_error", code=2, status=500, transient=True, headers={"Retry-After": "7"})
    refused = page.post("feed", message="not this one")
    assert (refused.status_code, refused.headers["retry-after"]) == (500, "7")
    assert refused.json()["error"]["is_transient"] is True
    assert sandbox.meta.facebook.count() == 1


@pytest.mark.parametrize("process", [False, True])
def test_status_faults_speak_graph(sandbox: Sandbox, page: Page, process: bool) -> None:
    sandbox.faults.add("facebook.feed", "status", status=500, process=process)
    answer = page.post("feed", message="x")
    assert (answer.status_code, error(answer)) == (500, (2, None))
    assert sandbox.meta.facebook.count() == int(process)


@pytest.mark.parametrize(("kind", "stored"), [("drop_before", 0), ("drop_after", 1)])
def test_dropped_answers(sandbox: Sandbox, page: Page, kind: Any, stored: int) -> None:
    sandbox.faults.add("facebook.feed", kind)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        page.post("feed", message="x")
    assert sandbox.meta.facebook.count() == stored
    assert len(sandbox.meta.commits("facebook.feed", page.page_id)) == stored


def test_meta_faults_belong_to_meta(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="answer of Meta"):
        sandbox.faults.add("youtube.videos.list", "meta_error")
    with pytest.raises(ValueError, match="finished video"):
        sandbox.faults.add("facebook.feed", "phase_error")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"message=a&message=b", "application/x-www-form-urlencoded"),
        (b"message", "application/x-www-form-urlencoded"),
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b"<a/>", "text/xml"),
        (b"--x\r\n\r\nno name\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="message"\r\n\r\ncut off',
            "multipart/form-data; boundary=x",
        ),
        (b"anything", "multipart/form-data"),
    ],
)
def test_broken_bodies(page: Page, content: bytes, content_type: str) -> None:
    answer = page.client.post(
        f"{GRAPH}/{page.page_id}/feed", content=content, headers={**page.bearer, "Content-Type": content_type}
    )
    assert error(answer) == (100, None)


def test_form_multipart_and_json_say_the_same(sandbox: Sandbox, page: Page) -> None:
    url = f"{GRAPH}/{page.page_id}/feed"
    for number, body in enumerate(
        ({"data": {"message": "m0 ä"}}, {"files": {"message": (None, "m1 ä")}}, {"json": {"message": "m2 ä"}})
    ):
        assert page.client.post(url, headers=page.bearer, **body).status_code == 200, number  # type: ignore[arg-type] # three ways
    assert [post.message for post in sandbox.meta.facebook.published()] == ["m0 ä", "m1 ä", "m2 ä"]


def test_the_control_api_offers_meta(sandbox: Sandbox, client: httpx.Client) -> None:
    made = client.post("/_control/meta/create_page", json={"name": "By control"}).json()["result"]
    assert made["name"] == "By control"
    assert client.get("/_control/facebook/count", params={"page_id": made["page_id"]}).json()["result"] == 0
    assert client.post("/_control/meta/configure", json={"locale": "xx"}).status_code == 400


def test_the_worker_is_pointed_at_every_host(sandbox: Sandbox) -> None:
    env, base = sandbox.settings_env(), sandbox.base_url
    assert env["ORBYT_META_GRAPH_URL"] == f"{base}/graph.facebook.com"
    assert env["ORBYT_META_VIDEO_URL"] == f"{base}/graph-video.facebook.com"
    assert env["ORBYT_META_UPLOAD_URL"] == f"{base}/rupload.facebook.com"
    assert env["ORBYT_INSTAGRAM_GRAPH_URL"] == f"{base}/graph.instagram.com"
    assert env["ORBYT_META_APP_SECRET"] == sandbox.meta.app.secret
