"""The simulator of Instagram Login: its page, the exchange in its two shapes, short and long tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox.meta_model import INSTAGRAM_SCOPES, InstagramHandle
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.instagram_client import codes
from tests.sandbox.page_form import Form, fragment, landed, stays

REDIRECT = "http://localhost:8080/connect/callback"
PAGE = "/www.instagram.com/oauth/authorize"
EXCHANGE = "/api.instagram.com/oauth/access_token"
GRAPH = "/graph.instagram.com"
ME = "user_id,username,name,account_type,profile_picture_url"
BASIC, PUBLISH, COMMENTS = INSTAGRAM_SCOPES
DAY = 86_400


@dataclass
class App:
    """The developer's side of the login, without any cleverness."""

    client: httpx.Client
    sandbox: Sandbox

    def page(self, **changes: str) -> httpx.Response:
        asked = {
            "client_id": self.sandbox.meta.app.instagram_app_id, "redirect_uri": REDIRECT, "state": "s/1+",
            "scope": ",".join(INSTAGRAM_SCOPES), "response_type": "code", "enable_fb_login": "0",
        }  # fmt: skip
        return self.client.get(PAGE, params={**asked, **changes})

    def code(self) -> str:
        return landed(self.page())["code"]

    def redeem(self, code: str, /, **changes: str) -> httpx.Response:
        app = self.sandbox.meta.app
        form = {
            "client_id": app.instagram_app_id, "client_secret": app.instagram_secret, "grant_type": "authorization_code",
            "redirect_uri": REDIRECT, "code": code,
        }  # fmt: skip
        form.update(changes)
        return self.client.post(EXCHANGE, data=form)

    def short(self) -> str:
        return str(self.redeem(self.code()).json()["data"][0]["access_token"])

    def extend(self, token: str, **changes: str) -> httpx.Response:
        query = {
            "grant_type": "ig_exchange_token", "client_secret": self.sandbox.meta.app.instagram_secret,
            "access_token": token, **changes,
        }  # fmt: skip
        return self.client.get(f"{GRAPH}/access_token", params=query)

    def refresh(self, token: str) -> httpx.Response:
        query = {"grant_type": "ig_refresh_token", "access_token": token}
        return self.client.get(f"{GRAPH}/refresh_access_token", params=query)

    def me(self, token: str) -> Any:
        return self.client.get(f"{GRAPH}/v25.0/me", params={"fields": ME, "access_token": token}).json()


@pytest.fixture
def app(client: httpx.Client, sandbox: Sandbox) -> App:
    sandbox.register_redirect(REDIRECT)
    return App(client, sandbox)


@pytest.fixture
def account(sandbox: Sandbox) -> InstagramHandle:
    return sandbox.meta.create_instagram(login="instagram", username="bakery")


@pytest.fixture
def planned(app: App, account: InstagramHandle) -> App:
    """The account agrees to everything, once."""
    app.sandbox.meta.instagram.next_consent()
    return app


def refusal(answer: httpx.Response) -> str:
    """The message of the exchange's own envelope."""
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert (body["error_type"], body["code"]) == ("OAuthException", 400)
    return str(body["error_message"])


# --- the page -----------------------------------------------------------------------------------------------------


def test_an_account_agrees_and_the_fragment_is_no_part_of_the_code(app: App, account: InstagramHandle) -> None:
    form = Form(app.page().text)
    assert form.values("scope") == [PUBLISH, COMMENTS]
    assert form.lists["account"] == [account.instagram_id]
    answer = form.press(app.client)
    back = landed(answer)
    assert (set(back), back["state"], fragment(answer)) == ({"code", "state"}, "s/1+", "_")
    assert answer.headers["location"].endswith("#_")
    assert refusal(app.redeem(back["code"] + "#_")) == "Matching code was not found or was already used."
    assert app.redeem(back["code"]).status_code == 200


def test_cancel_and_unticked_permissions(app: App, account: InstagramHandle) -> None:
    back = landed(Form(app.page().text).press(app.client, "cancel"))
    assert (back["error"], back["error_reason"], back["state"]) == ("access_denied", "user_denied", "s/1+")
    assert landed(app.page(sandbox_account="deny"))["error"] == "access_denied"
    form = Form(app.page().text)
    form.untick("scope", PUBLISH)
    (row,) = app.redeem(landed(form.press(app.client))["code"]).json()["data"]
    assert row["permissions"] == f"{BASIC},{COMMENTS}"


def test_one_of_several_accounts_is_chosen(app: App, account: InstagramHandle) -> None:
    linked = app.sandbox.meta.create_instagram(login="facebook")
    form = Form(app.page().text)
    form.choose("account", linked.instagram_id)
    (row,) = app.redeem(landed(form.press(app.client))["code"]).json()["data"]
    assert app.me(row["access_token"])["user_id"] == linked.instagram_id


def test_a_personal_account_gets_no_further(app: App) -> None:
    personal = app.sandbox.meta.create_instagram(login="instagram", account_type="PERSONAL")
    assert stays(Form(app.page().text).press(app.client), "personal account", "professional account")
    assert stays(app.page(sandbox_account=personal.instagram_id), "personal account")
    app.sandbox.meta.change_instagram(personal.instagram_id, account_type="MEDIA_CREATOR")
    app.sandbox.meta.instagram.next_consent()
    assert app.me(app.short())["account_type"] == "MEDIA_CREATOR"
    with pytest.raises(ValueError, match="professional"):
        app.sandbox.meta.create_instagram(account_type="PERSONAL")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"client_id": "1"}, "Invalid platform app"),
        ({"redirect_uri": REDIRECT + "/"}, "Invalid scrubbed redirect_uri"),
        ({"response_type": "token"}, "Invalid response_type"),
        ({"scope": "business_basic,business_content_publish"}, "Invalid scope: business_basic"),
        ({"scope": PUBLISH}, "Invalid scope"),
        ({"scope": ""}, "Invalid scope"),
    ],
)
def test_a_bad_request_is_told_on_the_page_only(planned: App, changes: dict[str, str], text: str) -> None:
    assert stays(planned.page(**changes), text)
    assert landed(planned.page())["code"]  # the plan was not used up


def test_the_meta_app_is_another_app_here(planned: App) -> None:
    app = planned.sandbox.meta.app
    assert stays(planned.page(client_id=app.app_id), "Invalid platform app")
    assert refusal(planned.redeem(planned.code(), client_secret=app.secret)) == "Error validating client secret."


def test_pages_without_an_answer(app: App) -> None:
    assert stays(app.page(), "no Instagram account")
    app.sandbox.meta.instagram.next_consent(page_error="Suspicious login attempt")
    assert stays(app.page(), "Suspicious login attempt")
    app.sandbox.meta.instagram.next_consent(instagram_id="1")
    assert stays(app.page(), "no such account")
    app.sandbox.meta.instagram.next_consent(error="server_error")
    assert landed(app.page())["error"] == "server_error"
    assert "error_reason" not in landed_error(app)


def landed_error(app: App) -> dict[str, str]:
    app.sandbox.meta.instagram.next_consent(error="temporarily_unavailable")
    return landed(app.page())


# --- the exchange -------------------------------------------------------------------------------------------------


def test_the_documented_shape_and_the_one_in_the_wild(planned: App, account: InstagramHandle) -> None:
    body = planned.redeem(planned.code()).json()
    assert set(body) == {"data"}
    (row,) = body["data"]
    assert (row["user_id"], row["permissions"]) == (account.instagram_id, ",".join(INSTAGRAM_SCOPES))
    planned.sandbox.meta.instagram.configure(exchange_shape="flat")
    planned.sandbox.meta.instagram.next_consent()
    flat = planned.redeem(planned.code()).json()
    assert (flat["user_id"], flat["permissions"]) == (int(account.instagram_id), list(INSTAGRAM_SCOPES))


def test_a_code_is_good_once_and_for_an_hour(planned: App) -> None:
    code = planned.code()
    assert "redirect_uri" in refusal(planned.redeem(code, redirect_uri=REDIRECT + "/"))
    assert planned.redeem(code).status_code == 200
    assert "has been used" in refusal(planned.redeem(code))
    planned.sandbox.meta.instagram.next_consent()
    late = planned.code()
    planned.sandbox.clock.advance(3599)
    planned.sandbox.meta.instagram.next_consent()
    in_time = planned.code()
    planned.sandbox.clock.advance(2)
    assert "has expired" in refusal(planned.redeem(late))
    assert planned.redeem(in_time).status_code == 200


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"client_id": "1"}, "Invalid platform app"),
        ({"client_secret": "wrong"}, "Error validating client secret."),
        ({"grant_type": "client_credentials"}, "Invalid grant_type"),
        ({"code": "AQnobody"}, "Matching code was not found"),
    ],
)
def test_an_exchange_is_refused_in_its_own_shape(planned: App, changes: dict[str, str], text: str) -> None:
    code = planned.code()
    assert text in refusal(planned.redeem(code, **changes))
    assert planned.redeem(code).status_code == 200


def test_the_exchange_takes_forms_only(planned: App) -> None:
    assert "urlencoded" in refusal(planned.client.post(EXCHANGE, json={"code": planned.code()}))
    assert planned.client.get(EXCHANGE).status_code == 405


# --- tokens -------------------------------------------------------------------------------------------------------


def test_short_tokens_live_an_hour_and_become_long_ones(planned: App, account: InstagramHandle) -> None:
    short = planned.short()
    assert planned.me(short)["user_id"] == account.instagram_id
    answer = planned.extend(short).json()
    assert set(answer) == {"access_token", "token_type", "expires_in"}
    assert 59 * DAY < answer["expires_in"] <= 60 * DAY
    planned.sandbox.clock.advance(3601)
    assert codes(planned.extend(short)) == (190, 463)
    assert planned.me(short)["error"]["error_subcode"] == 463
    assert planned.me(answer["access_token"])["username"] == "bakery"
    planned.sandbox.clock.advance(DAY)
    assert planned.refresh(answer["access_token"]).json()["expires_in"] > 59 * DAY


def test_extending_refusals(planned: App, account: InstagramHandle) -> None:
    short = planned.short()
    assert codes(planned.extend(short, client_secret="wrong")) == (1, None)
    assert codes(planned.extend(short, client_secret="")) == (100, None)
    assert codes(planned.extend(short, client_secret=planned.sandbox.meta.app.secret)) == (1, None)
    assert codes(planned.extend(short, grant_type="fb_exchange_token")) == (100, None)
    assert codes(planned.extend(account.access_token)) == (100, None)  # a long-lived one
    assert codes(planned.extend("")) == (104, None)
    assert codes(planned.extend("IGAAnobody")) == (190, None)
    assert codes(planned.extend(planned.sandbox.meta.create_page().user_token)) == (190, None)
    assert codes(planned.refresh(short)) == (100, None)


def test_me_comes_in_two_shapes_and_the_ids_differ(planned: App, account: InstagramHandle) -> None:
    token = planned.short()
    flat = planned.me(token)
    assert set(flat) == {"id", *ME.split(",")}
    assert flat["id"] != flat["user_id"] == account.instagram_id
    planned.sandbox.meta.instagram.configure(me_wrapped=True)
    assert planned.me(token) == {"data": [flat]}


def test_an_account_that_removes_the_app_is_gone(planned: App, account: InstagramHandle) -> None:
    token = planned.short()
    assert planned.sandbox.meta.kill_instagram(account.instagram_id) == 2
    assert planned.me(token)["error"]["error_subcode"] == 458
    assert codes(planned.extend(token)) == (190, 458)


# --- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["instagram.oauth.exchange", "instagram.oauth.extend", "instagram.oauth.authorize"])
def test_every_endpoint_has_its_faults(app: App, account: InstagramHandle, name: str) -> None:
    asked: dict[str, Callable[[], httpx.Response]] = {
        "instagram.oauth.exchange": lambda: app.redeem("AQnobody"),
        "instagram.oauth.extend": lambda: app.extend("IGAAnobody"),
        "instagram.oauth.authorize": app.page,
    }
    ask, faults = asked[name], app.sandbox.faults
    faults.add(name, "status", status=500)
    answer = ask()
    assert answer.status_code == 500
    if name == "instagram.oauth.authorize":
        assert stays(answer)
    else:
        assert set(answer.json()) == ({"error_type", "code", "error_message"} if "exchange" in name else {"error"})
    faults.add(name, "status", status=200, body="html")
    assert ask().headers["content-type"].startswith("text/html")
    faults.add(name, "status", status=200, json={"data": []})
    assert ask().json() == {"data": []}
    faults.add(name, "hang", seconds=60)
    app.client.timeout = httpx.Timeout(0.2)
    with pytest.raises(httpx.ReadTimeout):
        ask()
    app.client.timeout = httpx.Timeout(20)
    faults.add(name, "meta_error", code=4, message="Not now.")
    assert "Not now." in ask().text


def test_an_exchange_whose_answer_is_lost_has_used_the_code(planned: App) -> None:
    code = planned.code()
    planned.sandbox.faults.add("instagram.oauth.exchange", "drop_after")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        planned.redeem(code)
    assert "has been used" in refusal(planned.redeem(code))


def test_the_control_api_drives_a_login(app: App, account: InstagramHandle) -> None:
    answer = app.client.post("/_control/instagram/next_consent", json={"instagram_id": account.instagram_id})
    assert answer.json()["result"] == 1
    assert app.code()
