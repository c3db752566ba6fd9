"""The simulator of Google's OAuth: consent, codes, refresh tokens and all the ways in which they end."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from orbyt_worker.sandbox.google import CLIENT_ID, CLIENT_SECRET, DEFAULT_SCOPES, SCOPE_UPLOAD, AccountHandle
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.youtube_client import API, reason

REDIRECT = "http://localhost:8080/callback"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def refresh(client: httpx.Client, token: str, **changes: str) -> httpx.Response:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": token,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        **changes,
    }
    return client.post("/google/token", data=form)


def authorize(client: httpx.Client, **changes: str | None) -> httpx.Response:
    query: dict[str, str | None] = {
        "client_id": CLIENT_ID, "redirect_uri": REDIRECT, "response_type": "code", "scope": " ".join(DEFAULT_SCOPES), "state": "s/1",
        "access_type": "offline", "prompt": "consent", "code_challenge": CHALLENGE, "code_challenge_method": "S256", **changes,
    }  # fmt: skip
    return client.get(
        "/google/o/oauth2/v2/auth", params={name: value for name, value in query.items() if value is not None}
    )


def back(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 302, response.text
    return {name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()}


def exchange(client: httpx.Client, code: str, **changes: str | None) -> httpx.Response:
    form: dict[str, str | None] = {
        "grant_type": "authorization_code", "code": code, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
        "redirect_uri": REDIRECT, "code_verifier": VERIFIER, **changes,
    }  # fmt: skip
    return client.post("/google/token", data={name: value for name, value in form.items() if value is not None})


@pytest.fixture(autouse=True)
def _registered(sandbox: Sandbox) -> None:
    sandbox.google.configure(redirect_uris=(REDIRECT,))


def test_refresh_gives_a_token_that_works_until_it_expires(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle
) -> None:
    answer = refresh(client, account.refresh_token)
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "expires_in", "scope", "token_type"}
    bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    mine = {"part": "id", "mine": "true"}
    assert client.get(f"{API}/channels", params=mine, headers=bearer).json()["items"][0]["id"] == account.channel_id
    sandbox.clock.advance(3600)
    assert reason(client.get(f"{API}/channels", params=mine, headers=bearer)) == "authError"
    assert sandbox.google.token_call_count("refresh_token") == 1


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"refresh_token": "wrong"}, 400, "invalid_grant"),
        ({"refresh_token": ""}, 400, "invalid_request"),
        ({"scope": "openid"}, 400, "invalid_scope"),
    ],
)
def test_refresh_refusals(
    client: httpx.Client, account: AccountHandle, changes: Mapping[str, str], status: int, error: str
) -> None:
    answer = refresh(client, account.refresh_token, **changes)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_json_bodies_are_refused(client: httpx.Client) -> None:
    assert client.post("/google/token", json={"grant_type": "refresh_token"}).json()["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("dead", "error", "subtype"),
    [
        ("revoked", "invalid_grant", None),
        ("expired", "invalid_grant", None),
        ("account_deleted", "invalid_grant", None),
        ("invalid_rapt", "invalid_grant", "invalid_rapt"),
        ("admin_policy_enforced", "admin_policy_enforced", None),
    ],
)
def test_dead_grants(
    sandbox: Sandbox,
    client: httpx.Client,
    dead: Literal["revoked", "expired", "account_deleted", "invalid_rapt", "admin_policy_enforced"],
    error: str,
    subtype: str | None,
) -> None:
    account = sandbox.google.create_account(dead=dead)
    answer = refresh(client, account.refresh_token)
    assert (answer.status_code, answer.json()["error"], answer.json().get("error_subtype")) == (400, error, subtype)


def test_the_description_of_a_dead_grant_fades(sandbox: Sandbox, client: httpx.Client, account: AccountHandle) -> None:
    sandbox.google.kill_grant(sub=account.sub)
    assert refresh(client, account.refresh_token).json()["error_description"] == "Token has been expired or revoked."
    sandbox.clock.advance(13 * 3600)
    assert refresh(client, account.refresh_token).json()["error_description"] == "Bad Request"


def test_grants_end_by_idleness_testing_mode_and_limited_time(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle
) -> None:
    sandbox.google.configure(testing_mode=True)
    weekly = sandbox.google.create_account()
    sandbox.google.configure(testing_mode=False)
    limited = sandbox.google.create_account(grant_seconds=3600)
    sandbox.clock.advance(2 * 3600)
    assert refresh(client, limited.refresh_token).status_code == 400
    assert refresh(client, weekly.refresh_token).status_code == 200
    sandbox.clock.advance(8 * 86_400)
    assert refresh(client, weekly.refresh_token).status_code == 400
    assert refresh(client, account.refresh_token).status_code == 200
    sandbox.clock.advance(184 * 86_400)
    assert refresh(client, account.refresh_token).status_code == 400


def test_the_oldest_of_more_than_a_hundred_grants_dies(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle
) -> None:
    for _ in range(100):
        newest = sandbox.google.issue_refresh_token(account.sub, channel_id=account.channel_id)
    assert refresh(client, account.refresh_token).status_code == 400
    assert refresh(client, newest).status_code == 200


def test_old_refresh_tokens_stay_valid_and_rotation_is_a_switch(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle
) -> None:
    sandbox.google.configure(rotate_refresh_tokens=True)
    newer = refresh(client, account.refresh_token).json()["refresh_token"]
    assert newer != account.refresh_token
    assert refresh(client, account.refresh_token).status_code == 200
    assert refresh(client, newer).status_code == 200


def test_revoking_withdraws_everything_of_the_account(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle
) -> None:
    second = sandbox.google.issue_refresh_token(account.sub, channel_id=account.channel_id)
    access = refresh(client, second).json()["access_token"]
    assert client.get("/google/tokeninfo", params={"access_token": access}).json()["aud"] == CLIENT_ID
    assert client.post("/google/revoke", data={"token": account.refresh_token}).status_code == 200
    assert refresh(client, second).json()["error"] == "invalid_grant"
    assert client.get("/google/tokeninfo", params={"access_token": access}).status_code == 400
    assert client.post("/google/revoke", data={"token": account.refresh_token}).status_code == 400


def test_client_level_errors(sandbox: Sandbox, client: httpx.Client, account: AccountHandle) -> None:
    sandbox.google.configure(client_deleted=True)
    assert (
        refresh(client, account.refresh_token).status_code,
        refresh(client, account.refresh_token).json()["error"],
    ) == (401, "deleted_client")


@pytest.mark.parametrize(
    ("options", "status", "token"),
    [
        ({"status": 500}, 500, None),
        ({"status": 200, "json": {"token_type": "Bearer"}}, 200, None),
        ({"status": 200, "body": "html"}, 200, None),
    ],
)
def test_faults_of_the_token_endpoint(
    sandbox: Sandbox,
    client: httpx.Client,
    account: AccountHandle,
    options: dict[str, Any],
    status: int,
    token: str | None,
) -> None:
    sandbox.faults.add("google.token", "status", **options)
    assert refresh(client, account.refresh_token).status_code == status
    assert refresh(client, account.refresh_token).status_code == 200


# --- consent ------------------------------------------------------------------------------------------------------


def test_a_consent_from_start_to_token(sandbox: Sandbox, client: httpx.Client, account: AccountHandle) -> None:
    sandbox.google.next_consent(sub=account.sub)
    answer = back(authorize(client))
    assert answer["state"] == "s/1"
    tokens = exchange(client, answer["code"])
    assert tokens.status_code == 200
    assert set(tokens.json()["scope"].split()) == set(DEFAULT_SCOPES)
    assert refresh(client, tokens.json()["refresh_token"]).status_code == 200
    again = exchange(client, answer["code"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"code_verifier": None}, "invalid_grant", "Missing code verifier."),
        ({"code_verifier": "w" * 64}, "invalid_grant", "Invalid code verifier."),
        ({"redirect_uri": REDIRECT + "/"}, "redirect_uri_mismatch", "Bad Request"),
        ({"client_secret": "wrong"}, "invalid_client", "Unauthorized"),
    ],
)
def test_an_exchange_is_bound_to_what_was_asked(
    sandbox: Sandbox,
    client: httpx.Client,
    account: AccountHandle,
    changes: dict[str, str | None],
    error: str,
    text: str,
) -> None:
    sandbox.google.next_consent(sub=account.sub)
    answer = exchange(client, back(authorize(client))["code"], **changes)
    assert (answer.json()["error"], answer.json()["error_description"]) == (error, text)


def test_a_verifier_without_challenge_and_an_old_code(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle
) -> None:
    sandbox.google.next_consent(sub=account.sub)
    code = back(authorize(client, code_challenge=None, code_challenge_method=None))["code"]
    assert exchange(client, code).json()["error_description"] == "code_verifier or verifier is not needed."
    sandbox.clock.advance(601)
    assert exchange(client, code, code_verifier=None).json()["error"] == "invalid_grant"


def test_denied_errors_and_pages(sandbox: Sandbox, client: httpx.Client) -> None:
    sandbox.google.next_consent(deny=True)
    assert back(authorize(client)) == {"error": "access_denied", "state": "s/1"}
    sandbox.google.next_consent(error="temporarily_unavailable")
    assert back(authorize(client))["error"] == "temporarily_unavailable"
    sandbox.google.next_consent(page_error="org_internal")
    assert authorize(client).status_code == 403


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"client_id": "x"}, 401),
        ({"redirect_uri": REDIRECT + "/"}, 400),
        ({"response_type": "token"}, 400),
        ({"scope": ""}, 400),
        ({"scope": "https://example.com/everything"}, 400),
        ({"code_challenge_method": "S512"}, 400),
    ],
)
def test_bad_requests_stay_on_googles_page(client: httpx.Client, changes: dict[str, str | None], status: int) -> None:
    assert authorize(client, **changes).status_code == status


def test_scopes_can_be_unticked_and_channels_chosen(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle
) -> None:
    brand = sandbox.google.add_channel(account.sub, title="Brand")
    sandbox.google.next_consent(sub=account.sub, channel_id=brand, scopes=(SCOPE_UPLOAD,))
    tokens = exchange(client, back(authorize(client))["code"]).json()
    assert tokens["scope"] == SCOPE_UPLOAD
    sandbox.google.next_consent(sub=account.sub, channel_id=brand)
    tokens = exchange(client, back(authorize(client))["code"]).json()
    mine = client.get(
        f"{API}/channels",
        params={"part": "snippet", "mine": "true"},
        headers={"Authorization": f"Bearer {tokens['access_token']}"},
    )
    assert [(item["id"], item["snippet"]["title"]) for item in mine.json()["items"]] == [(brand, "Brand")]


def test_a_refresh_token_comes_once_without_prompt(
    sandbox: Sandbox, client: httpx.Client, account: AccountHandle
) -> None:
    sandbox.google.next_consent(sub=account.sub)
    assert "refresh_token" not in exchange(client, back(authorize(client, prompt=None))["code"]).json()
    sandbox.google.next_consent(sub=account.sub)
    assert "refresh_token" not in exchange(client, back(authorize(client, access_type="online"))["code"]).json()
    sandbox.google.next_consent(sub=account.sub, grant_seconds=15_551_999)
    assert exchange(client, back(authorize(client))["code"]).json()["refresh_token_expires_in"] == 15_551_999


def test_the_page_lets_a_person_click(client: httpx.Client, account: AccountHandle) -> None:
    page = authorize(client)
    assert account.email in page.text
    assert back(authorize(client, sandbox_account=account.sub))["code"]
    assert (
        f'<option value="{account.sub} {account.channel_id}" selected>'
        in authorize(client, login_hint=account.email).text
    )
    assert back(authorize(client, sandbox_account="deny"))["error"] == "access_denied"
