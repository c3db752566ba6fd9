"""The simulator of Google's consent page as a person sees it, and everything that ends there."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox.google import (
    CLIENT_ID,
    CLIENT_SECRET,
    DEFAULT_SCOPES,
    SCOPE_READONLY,
    SCOPE_UPLOAD,
    AccountHandle,
)
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.page_form import Form, fragment, landed, stays
from tests.sandbox.test_google import CHALLENGE, VERIFIER, refresh
from tests.sandbox.youtube_client import API

REDIRECT = "https://orbyt.example/functions/v1/connect-callback"
PAGE = "/google/o/oauth2/v2/auth"
DAY = 86_400


def show(client: httpx.Client, *, agent: str = "Mozilla/5.0", **changes: str) -> httpx.Response:
    query = {
        "client_id": CLIENT_ID, "redirect_uri": REDIRECT, "response_type": "code", "scope": " ".join(DEFAULT_SCOPES),
        "state": "s/1+", "access_type": "offline", "prompt": "consent select_account", "code_challenge": CHALLENGE,
        "code_challenge_method": "S256", **changes,
    }  # fmt: skip
    return client.get(PAGE, params=query, headers={"User-Agent": agent})


def redeem(client: httpx.Client, code: str) -> dict[str, Any]:
    form = {
        "grant_type": "authorization_code", "code": code, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
        "redirect_uri": REDIRECT, "code_verifier": VERIFIER,
    }  # fmt: skip
    answer = client.post("/google/token", data=form)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def channels(client: httpx.Client, tokens: dict[str, Any]) -> list[str]:
    """The channel a grant is for."""
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    answer = client.get(f"{API}/channels", params={"part": "id", "mine": "true"}, headers=bearer).json()
    return [item["id"] for item in answer.get("items", [])]


@pytest.fixture(autouse=True)
def _registered(sandbox: Sandbox) -> None:
    sandbox.register_redirect(REDIRECT)


def test_a_person_reads_the_page_and_agrees(client: httpx.Client, account: AccountHandle) -> None:
    shown = show(client)
    assert shown.status_code == 200
    assert account.email in shown.text
    assert str(account.channel_title) in shown.text
    form = Form(shown.text)
    assert form.values("scope") == list(DEFAULT_SCOPES)
    answer = form.press(client)
    back = landed(answer)
    assert (set(back), back["state"], fragment(answer)) == ({"code", "state", "scope"}, "s/1+", "")
    assert "/" in back["code"]  # to be decoded once
    tokens = redeem(client, back["code"])
    assert channels(client, tokens) == [account.channel_id]
    assert "refresh_token_expires_in" not in tokens
    assert refresh(client, tokens["refresh_token"]).status_code == 200


def test_cancel(client: httpx.Client, account: AccountHandle) -> None:
    assert landed(Form(show(client).text).press(client, "cancel")) == {"error": "access_denied", "state": "s/1+"}


def test_scopes_are_boxes(client: httpx.Client, account: AccountHandle) -> None:
    form = Form(show(client).text)
    form.untick("scope", SCOPE_UPLOAD)
    back = landed(form.press(client))
    assert back["scope"] == redeem(client, back["code"])["scope"] == SCOPE_READONLY
    form = Form(show(client).text)
    form.untick_all("scope")
    assert landed(form.press(client))["error"] == "access_denied"


def test_account_and_channel_are_chosen(sandbox: Sandbox, client: httpx.Client, account: AccountHandle) -> None:
    brand = sandbox.google.add_channel(account.sub, title="Brand")
    other = sandbox.google.create_account()
    for value, expected in (
        (f"{account.sub} {brand}", [brand]),
        (f"{other.sub} {other.channel_id}", [other.channel_id]),
        (f"{account.sub} ", []),  # the identity that has no channel
    ):
        form = Form(show(client).text)
        form.choose("account", value)
        assert channels(client, redeem(client, landed(form.press(client))["code"])) == expected


def test_a_hint_preselects_and_forces_nothing(sandbox: Sandbox, client: httpx.Client, account: AccountHandle) -> None:
    other = sandbox.google.create_account()
    hinted = Form(show(client, login_hint=other.email).text)
    assert channels(client, redeem(client, landed(hinted.press(client))["code"])) == [other.channel_id]
    hinted = Form(show(client, login_hint=other.sub).text)
    hinted.choose("account", f"{account.sub} {account.channel_id}")
    assert channels(client, redeem(client, landed(hinted.press(client))["code"])) == [account.channel_id]


def test_access_for_a_limited_time(sandbox: Sandbox, client: httpx.Client, account: AccountHandle) -> None:
    form = Form(show(client).text)
    form.choose("lasts", "15551999")
    tokens = redeem(client, landed(form.press(client))["code"])
    assert tokens["refresh_token_expires_in"] == 15_551_999
    for _ in range(2):
        sandbox.clock.advance(89 * DAY)
        assert refresh(client, tokens["refresh_token"]).status_code == 200
    sandbox.clock.advance(3 * DAY)
    assert refresh(client, tokens["refresh_token"]).json()["error"] == "invalid_grant"


def test_no_refresh_token_the_second_time_unless_asked(client: httpx.Client, account: AccountHandle) -> None:
    again = redeem(client, landed(Form(show(client, prompt="select_account").text).press(client))["code"])
    assert "refresh_token" not in again
    client.post("/google/revoke", data={"token": account.refresh_token})
    first = redeem(client, landed(Form(show(client, prompt="select_account").text).press(client))["code"])
    assert "refresh_token" in first


def test_testing_mode_keeps_strangers_out_and_ends_grants_after_seven_days(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle
) -> None:
    sandbox.google.configure(testing_mode=True, test_users=(account.email,))
    stranger = sandbox.google.create_account()
    form = Form(show(client).text)
    form.choose("account", f"{stranger.sub} {stranger.channel_id}")
    assert stays(form.press(client), "Error 403: access_denied", "test users")
    token = redeem(client, landed(Form(show(client).text).press(client))["code"])["refresh_token"]
    sandbox.clock.advance(7 * DAY - 60)
    assert refresh(client, token).status_code == 200
    sandbox.clock.advance(120)
    answer = refresh(client, token).json()
    assert (answer["error"], answer["error_description"]) == ("invalid_grant", "Token has been expired or revoked.")


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"redirect_uri": REDIRECT + "/"}, 400, "redirect_uri_mismatch"),
        ({"redirect_uri": REDIRECT.replace("orbyt", "Orbyt")}, 400, "redirect_uri_mismatch"),
        ({"response_type": "token"}, 400, "invalid_request"),
        ({"scope": " "}, 400, "invalid_request"),
        ({"scope": "https://www.googleapis.com/auth/drive"}, 400, "invalid_scope"),
        ({"code_challenge_method": "S512"}, 400, "invalid_request"),
        ({"access_type": "forever"}, 400, "invalid_request"),
        ({"agent": "Mozilla/5.0 (Linux; Android 14; wv) Chrome/120"}, 403, "disallowed_useragent"),
    ],
)
def test_what_stays_on_googles_page(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle, changes: dict[str, str], status: int, text: str
) -> None:
    sandbox.google.next_consent(sub=account.sub)
    answer = show(client, **changes)
    assert answer.status_code == status
    assert stays(answer, f"Error {status}: {text}")
    assert landed(show(client))["code"]  # the plan was not used up


@pytest.mark.parametrize(
    ("error", "status"), [("org_internal", 403), ("admin_policy_enforced", 403), ("deleted_client", 401)]
)
def test_planned_errors_of_the_page(sandbox: Sandbox, client: httpx.Client, error: str, status: int) -> None:
    sandbox.google.next_consent(page_error=error)
    answer = show(client)
    assert (answer.status_code, stays(answer, error)) == (status, True)


def test_a_deleted_client_and_an_empty_sandbox(sandbox: Sandbox, client: httpx.Client) -> None:
    assert stays(show(client), "no Google account in the sandbox")
    sandbox.google.configure(client_deleted=True)
    assert stays(show(client), "Error 401: deleted_client")


def test_prompt_none_asks_nobody(sandbox: Sandbox, client: httpx.Client, account: AccountHandle) -> None:
    assert landed(show(client, prompt="none"))["error"] == "login_required"
    assert landed(show(client, prompt="none", sandbox_account=account.sub))["code"]
    sandbox.google.next_consent(sub=account.sub)
    wider = " ".join((*DEFAULT_SCOPES, "openid"))
    assert landed(show(client, prompt="none", scope=wider))["error"] == "consent_required"


def test_revoking_takes_back_the_whole_grant(client: httpx.Client, account: AccountHandle) -> None:
    tokens = redeem(client, landed(Form(show(client).text).press(client))["code"])
    assert client.post("/google/revoke", data={"token": tokens["access_token"]}).status_code == 200
    for token in (tokens["refresh_token"], account.refresh_token):
        assert refresh(client, token).json()["error"] == "invalid_grant"
    assert client.get("/google/tokeninfo", params={"access_token": tokens["access_token"]}).status_code == 400
    gone = client.post("/google/revoke", data={"token": tokens["access_token"]})
    assert (gone.status_code, gone.json()["error"]) == (400, "invalid_token")


def test_who_it_is_only_with_an_identity_scope(client: httpx.Client, account: AccountHandle) -> None:
    for scope, known in ((" ".join(DEFAULT_SCOPES), set()), (f"{SCOPE_UPLOAD} openid email", {"sub", "email"})):
        tokens = redeem(client, landed(Form(show(client, scope=scope).text).press(client))["code"])
        info = client.get("/google/tokeninfo", params={"access_token": tokens["access_token"]}).json()
        assert {"sub", "email"} & set(info) == known
        assert set(info["scope"].split()) == set(scope.split())


@pytest.mark.parametrize("name", ["google.token", "google.authorize", "google.revoke", "google.tokeninfo"])
def test_every_endpoint_has_its_faults(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle, name: str
) -> None:
    def ask() -> httpx.Response:
        if name == "google.token":
            return refresh(client, account.refresh_token)
        if name == "google.revoke":
            return client.post("/google/revoke", data={"token": "nothing"})
        return show(client) if name == "google.authorize" else client.get("/google/tokeninfo")

    sandbox.faults.add(name, "status", status=500)
    answer = ask()
    assert answer.status_code == 500
    assert stays(answer) if name == "google.authorize" else answer.json()["error"] == "internal_failure"
    sandbox.faults.add(name, "status", status=200, body="html")
    assert ask().headers["content-type"].startswith("text/html")
    sandbox.faults.add(name, "status", status=200, json={"token_type": "Bearer"})
    assert ask().json() == {"token_type": "Bearer"}
    sandbox.faults.add(name, "hang", seconds=60)
    client.timeout = httpx.Timeout(0.2)
    with pytest.raises(httpx.ReadTimeout):
        ask()
