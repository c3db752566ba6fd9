"""The simulator of Facebook Login: dialog, codes, tokens, what a person shares, lists of Pages, revocation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from orbyt_worker.sandbox.meta_model import FACEBOOK_SCOPES, PageHandle
from orbyt_worker.sandbox.state import Sandbox
from tests.sandbox.meta_client import GRAPH, Page, error
from tests.sandbox.page_form import Form, fragment, ids, landed, stays

REDIRECT = "https://orbyt.example/functions/v1/connect-callback"
DIALOG = "/www.facebook.com/v25.0/dialog/oauth"
POSTING = ("pages_show_list", "pages_read_engagement", "pages_manage_posts")
DAY = 86_400


@dataclass
class App:
    """The developer's side of the login, without any cleverness."""

    client: httpx.Client
    sandbox: Sandbox

    @property
    def asked(self) -> dict[str, str]:
        return {
            "client_id": self.sandbox.meta.app.app_id, "redirect_uri": REDIRECT, "state": "s/1+",
            "scope": ",".join(FACEBOOK_SCOPES), "response_type": "code",
        }  # fmt: skip

    def dialog(self, **changes: str) -> httpx.Response:
        return self.client.get(DIALOG, params={**self.asked, **changes})

    def code(self, **changes: str) -> str:
        return landed(self.dialog(**changes))["code"]

    def redeem(self, code: str, /, **changes: str) -> httpx.Response:
        app = self.sandbox.meta.app
        form = {"client_id": app.app_id, "client_secret": app.secret, "redirect_uri": REDIRECT, "code": code}
        form.update(changes)
        return self.client.post(f"{GRAPH}/oauth/access_token", data=form)

    def extend(self, token: str, **changes: str) -> httpx.Response:
        app = self.sandbox.meta.app
        query = {
            "grant_type": "fb_exchange_token", "client_id": app.app_id, "client_secret": app.secret,
            "fb_exchange_token": token, **changes,
        }  # fmt: skip
        return self.client.get(f"{GRAPH}/oauth/access_token", params=query)

    def short(self, **changes: str) -> str:
        answer = self.redeem(self.code(**changes))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def log_in(self, **changes: str) -> str:
        """A long-lived user token of whoever the plan says."""
        answer = self.extend(self.short(**changes))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def get(self, path: str, token: str, **query: Any) -> httpx.Response:
        return self.client.get(f"{GRAPH}/{path}", params=query, headers={"Authorization": f"Bearer {token}"})

    def rows(self, path: str, token: str, **query: Any) -> list[dict[str, Any]]:
        answer = self.get(path, token, **query)
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["data"]
        return rows

    def debug(self, token: str) -> dict[str, Any]:
        answer = self.client.get(
            f"{GRAPH}/debug_token", params={"input_token": token, "access_token": self.sandbox.meta.app.token}
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["data"])

    def permissions(self, token: str) -> dict[str, str]:
        return {row["permission"]: row["status"] for row in self.rows("me/permissions", token)}


@pytest.fixture
def app(client: httpx.Client, sandbox: Sandbox) -> App:
    sandbox.register_redirect(REDIRECT)
    return App(client, sandbox)


@pytest.fixture
def page(sandbox: Sandbox) -> PageHandle:
    return sandbox.meta.create_page(name="Bakery & Sons")


@pytest.fixture
def planned(app: App, page: PageHandle) -> App:
    """The person agrees to everything, once."""
    app.sandbox.meta.next_consent()
    return app


# --- the page -----------------------------------------------------------------------------------------------------


def test_a_person_reads_the_page_and_agrees(app: App, page: PageHandle) -> None:
    shown = app.dialog()
    assert shown.status_code == 200
    assert "Orbyt sandbox app asks for access" in shown.text
    assert "Bakery &amp; Sons" in shown.text
    form = Form(shown.text)
    assert form.values("scope") == list(FACEBOOK_SCOPES)
    assert form.values("page") == [page.page_id]
    answer = form.press(app.client)
    back = landed(answer)
    assert answer.headers["location"].startswith(REDIRECT + "?")
    assert (set(back), back["state"], fragment(answer)) == ({"code", "state"}, "s/1+", "_=_")
    token = app.redeem(back["code"]).json()["access_token"]
    assert ids(app.rows("me/accounts", token)) == [page.page_id]


def test_the_page_loads_nothing_and_keeps_the_query_of_the_redirect(app: App, page: PageHandle) -> None:
    shown = app.dialog()
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert "src=" not in shown.text
    app.sandbox.register_redirect(REDIRECT + "?door=1")
    app.sandbox.meta.next_consent()
    assert landed(app.dialog(redirect_uri=REDIRECT + "?door=1"))["door"] == "1"


def test_cancel_comes_back_without_a_code(app: App, page: PageHandle) -> None:
    back = landed(Form(app.dialog().text).press(app.client, "cancel"))
    assert (back["error"], back["error_reason"], back["state"]) == ("access_denied", "user_denied", "s/1+")
    assert "code" not in back
    app.sandbox.meta.configure_login(echo_state_on_error=False)
    app.sandbox.meta.next_consent(deny=True)
    assert "state" not in landed(app.dialog())
    assert landed(app.dialog(sandbox_account="deny"))["error"] == "access_denied"


def test_what_is_unticked_is_not_shared(app: App, page: PageHandle) -> None:
    meta = app.sandbox.meta
    second = meta.create_page(name="Kiosk", user_id=page.user_id)
    linked = meta.create_instagram(page_id=second.page_id)
    form = Form(app.dialog().text)
    form.untick("scope", "pages_manage_engagement")
    form.untick("page", page.page_id)
    form.untick("instagram", linked.instagram_id)
    token = app.redeem(landed(form.press(app.client))["code"]).json()["access_token"]
    assert app.permissions(token)["pages_manage_engagement"] == "declined"
    rows = app.rows("me/accounts", token, fields="id,instagram_business_account")
    assert rows == [{"id": second.page_id}]
    granular = {each["scope"]: each.get("target_ids") for each in app.debug(token)["granular_scopes"]}
    assert granular["pages_manage_posts"] == [second.page_id]
    assert granular["instagram_basic"] == []
    assert "pages_manage_engagement" not in granular
    assert error(app.get(page.page_id, token)) == (200, None)
    assert error(app.get(linked.instagram_id, token)) == (100, 33)


def test_one_of_several_people_logs_in(app: App, page: PageHandle) -> None:
    other = app.sandbox.meta.create_page(name="Elsewhere")
    first = app.dialog().text
    assert 'id="switch-person"' in first
    assert other.page_id not in first
    form = Form(app.dialog(sandbox_person=other.user_id).text)
    assert form.values("page") == [other.page_id]
    token = app.redeem(landed(form.press(app.client))["code"]).json()["access_token"]
    assert app.get("me", token).json()["id"] == other.user_id


def test_a_page_of_somebody_else_cannot_be_ticked_into_the_list(app: App, page: PageHandle) -> None:
    other = app.sandbox.meta.create_page()
    app.sandbox.meta.next_consent(user_id=page.user_id, page_ids=(page.page_id, other.page_id))
    assert ids(app.rows("me/accounts", app.short())) == [page.page_id]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"client_id": "1"}, "Invalid App ID"),
        ({"redirect_uri": REDIRECT + "/"}, "URL blocked"),
        ({"redirect_uri": REDIRECT + "?x=1"}, "URL blocked"),
        ({"redirect_uri": REDIRECT.upper()}, "URL blocked"),
        ({"response_type": "token"}, "response_type"),
        ({"state": ""}, "state"),
        ({"scope": "pages_show_list,manage_pages"}, "Invalid Scopes: manage_pages"),
        ({"config_id": "1"}, "Invalid config_id"),
    ],
)
def test_a_bad_request_is_told_on_the_page_only(planned: App, changes: dict[str, str], text: str) -> None:
    assert stays(planned.dialog(**changes), text)
    assert landed(planned.dialog())["code"]  # the plan was not used up


def test_pages_without_an_answer(app: App) -> None:
    assert stays(app.dialog(), "nobody in the sandbox")
    person = app.sandbox.meta.create_user()
    assert stays(app.client.get("/www.facebook.com/v20.0/dialog/oauth", params=app.asked), "version")
    app.sandbox.meta.next_consent(page_error="You must log in with two factors.")
    assert stays(app.dialog(), "two factors")
    app.sandbox.meta.next_consent(user_id="1")
    assert stays(app.dialog(), "no such person")
    app.sandbox.meta.configure_login(app_live=False)
    assert stays(app.dialog(sandbox_account=person.user_id), "App not active")
    insider = app.sandbox.meta.create_user(app_role=True)
    assert landed(app.dialog(sandbox_account=insider.user_id))["code"]


def test_other_errors_can_come_back(app: App, page: PageHandle) -> None:
    app.sandbox.meta.next_consent(error="server_error")
    back = landed(app.dialog())
    assert (back["error"], "error_reason" in back) == ("server_error", False)
    app.sandbox.meta.next_consent(error_code=1349126)
    back = landed(app.dialog())
    assert (back["error_code"], back["state"], "error" in back) == ("1349126", "s/1+", False)


@pytest.mark.parametrize("content", ["decision=maybe", "", "decision=approve&decision=cancel"])
def test_a_form_needs_one_button(app: App, page: PageHandle, content: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert stays(app.client.post(DIALOG, params=app.asked, content=content, headers=headers), "Neither")
    assert stays(app.client.post(DIALOG, params=app.asked, json={"decision": "approve"}), "could not be read")


def test_granted_scopes_come_back_when_asked_for(planned: App) -> None:
    back = landed(planned.dialog(response_type="code granted_scopes", scope="pages_show_list"))
    assert back["granted_scopes"] == "public_profile,pages_show_list"


def test_register_redirect_takes_what_the_platforms_take(sandbox: Sandbox) -> None:
    for wrong in ("http://example.com/callback", "https://example.com/#x", "orbyt://callback", "/callback"):
        with pytest.raises(ValueError, match="redirect URI"):
            sandbox.register_redirect(wrong)
    sandbox.register_redirect("http://127.0.0.1:9/callback")
    sandbox.register_redirect("http://127.0.0.1:9/callback")
    assert sandbox.meta.instagram.config.redirect_uris == ("http://127.0.0.1:9/callback",)
    assert sandbox.google.config.redirect_uris == ("http://127.0.0.1:9/callback",)


# --- decisions over time ------------------------------------------------------------------------------------------


def test_a_declined_permission_is_offered_again_only_on_request(app: App, page: PageHandle) -> None:
    form = Form(app.dialog().text)
    form.untick("scope", "pages_manage_posts")
    assert form.press(app.client).status_code == 302
    assert "pages_manage_posts" not in Form(app.dialog().text).values("scope")
    app.sandbox.meta.next_consent()
    assert app.permissions(app.short())["pages_manage_posts"] == "declined"
    app.sandbox.meta.next_consent()
    assert app.permissions(app.short(auth_type="rerequest"))["pages_manage_posts"] == "granted"


def test_permissions_add_up_and_a_later_choice_of_pages_replaces_the_earlier(app: App, page: PageHandle) -> None:
    meta = app.sandbox.meta
    second = meta.create_page(user_id=page.user_id)
    meta.next_consent(page_ids=(page.page_id,))
    earlier = app.log_in(scope=",".join(POSTING))
    (row,) = app.rows("me/accounts", earlier)
    meta.next_consent(page_ids=(second.page_id,))
    later = app.log_in(scope="instagram_basic")
    assert set(POSTING) < set(app.debug(later)["scopes"])
    assert ids(app.rows("me/accounts", earlier)) == [second.page_id]
    # The first Page's token lives, and may nothing any more: a permission lost on one Page is no dead login.
    old = Page(app.client, page.page_id, row["access_token"])
    assert app.debug(old.token)["is_valid"] is True
    assert error(old.post("feed", message="x")) == (200, None)


def test_changes_in_a_persons_settings(app: App, page: PageHandle) -> None:
    app.sandbox.meta.next_consent()
    token = app.log_in()
    app.sandbox.meta.set_permission(page.user_id, "pages_manage_posts", "expired")
    assert app.permissions(token)["pages_manage_posts"] == "expired"
    assert "pages_manage_posts" not in app.debug(token)["scopes"]
    app.sandbox.meta.set_permission(page.user_id, "pages_manage_posts", "granted")
    assert "pages_manage_posts" in app.debug(token)["scopes"]
    app.sandbox.meta.set_shared(page.user_id, page_ids=())
    assert app.rows("me/accounts", token) == []


# --- codes --------------------------------------------------------------------------------------------------------


def test_a_code_is_good_once_for_one_address_and_ten_minutes(planned: App) -> None:
    app = planned
    code = app.code()
    assert error(app.redeem(code, redirect_uri=REDIRECT + "/")) == (100, 36008)
    first = app.redeem(code)
    assert set(first.json()) == {"access_token", "token_type", "expires_in"}
    assert (first.json()["token_type"], first.headers["cache-control"]) == ("bearer", "no-store")
    assert 5300 < first.json()["expires_in"] <= 5400
    again = app.redeem(code)
    assert (again.status_code, error(again)) == (400, (100, 36009))
    app.sandbox.meta.next_consent()
    late = app.code()
    app.sandbox.clock.advance(601)
    assert error(app.redeem(late)) == (100, 36007)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_secret": "wrong"}, 1),
        ({"client_secret": ""}, 1),
        ({"client_id": "1"}, 101),
        ({"client_id": ""}, 101),
        ({"code": "AQnobody"}, 100),
        ({"code": ""}, 100),
        ({"grant_type": "password"}, 100),
    ],
)
def test_an_exchange_is_refused(planned: App, changes: dict[str, str], code: int) -> None:
    value = planned.code()
    answer = planned.redeem(value, **changes)
    assert (answer.status_code, error(answer)) == (400, (code, None))
    assert planned.redeem(value).status_code == 200  # the code was not used up


def test_the_exchange_takes_get_and_refuses_old_versions(planned: App) -> None:
    app, credentials = planned.code(), planned.sandbox.meta.app
    query = {
        "client_id": credentials.app_id,
        "client_secret": credentials.secret,
        "redirect_uri": REDIRECT,
        "code": app,
    }
    old = planned.client.get("/graph.facebook.com/v20.0/oauth/access_token", params=query)
    assert error(old) == (2500, None)
    assert planned.client.get(f"{GRAPH}/oauth/access_token", params=query).json()["access_token"]


def test_the_app_token(app: App) -> None:
    query = {"grant_type": "client_credentials", "client_id": app.sandbox.meta.app.app_id}
    answer = app.client.get(
        f"{GRAPH}/oauth/access_token", params={**query, "client_secret": app.sandbox.meta.app.secret}
    )
    assert answer.json()["access_token"] == app.sandbox.meta.app.token


# --- short and long -----------------------------------------------------------------------------------------------


def test_short_tokens_become_long_ones_and_page_tokens_follow(planned: App, page: PageHandle) -> None:
    app = planned
    short = app.short()
    answer = app.extend(short)
    long = answer.json()["access_token"]
    assert long != short
    assert 59 * DAY < answer.json()["expires_in"] <= 60 * DAY
    (weak,), (strong,) = app.rows("me/accounts", short), app.rows("me/accounts", long)
    assert weak["access_token"] != strong["access_token"]
    assert app.rows("me/accounts", long)[0]["access_token"] == strong["access_token"]
    assert app.debug(weak["access_token"])["expires_at"] == app.debug(short)["expires_at"] > 0
    assert app.debug(strong["access_token"])["expires_at"] == 0
    app.sandbox.clock.advance(2 * 3600)
    assert error(app.get("me", weak["access_token"])) == (190, 463)
    assert error(app.extend(short)) == (190, 463)
    app.sandbox.clock.advance(61 * DAY)
    assert error(app.get("me", long)) == (190, 463)
    assert app.get("me", strong["access_token"]).json()["id"] == page.page_id


def test_a_long_token_exchanged_again(planned: App) -> None:
    app = planned
    long = app.log_in()
    app.sandbox.clock.advance(10 * DAY)
    until = app.debug(long)["expires_at"]
    assert app.debug(app.extend(long).json()["access_token"])["expires_at"] > until
    app.sandbox.meta.configure_login(long_exchange_extends=False)
    assert app.debug(app.extend(long).json()["access_token"])["expires_at"] == until
    app.sandbox.meta.configure_login(expires_in_given=False)
    assert set(app.extend(long).json()) == {"access_token", "token_type"}


def test_extending_refusals(app: App, page: PageHandle) -> None:
    assert error(app.extend(page.user_token, client_secret="wrong")) == (1, None)
    assert error(app.extend(page.page_token)) == (100, None)
    assert error(app.extend("EAABnobody")) == (190, None)
    assert error(app.extend("")) == (100, None)
    direct = app.sandbox.meta.create_instagram(login="instagram")
    assert error(app.extend(direct.access_token)) == (190, None)


def test_access_to_data_ends_for_instagram_and_a_login_renews_it(planned: App, page: PageHandle) -> None:
    app, meta = planned, planned.sandbox.meta
    linked = meta.create_instagram(page_id=page.page_id)
    long = app.log_in()
    (row,) = app.rows("me/accounts", long)
    token, began = row["access_token"], app.debug(row["access_token"])["data_access_expires_at"]
    assert abs(began - app.sandbox.clock.timestamp() - 90 * DAY) < 60
    app.sandbox.clock.advance(91 * DAY)
    assert app.debug(token)["is_valid"] is True
    assert error(app.get(linked.instagram_id, token, fields="username")) == (200, None)
    assert Page(app.client, page.page_id, token).post("feed", message="x").status_code == 200
    meta.next_consent()
    app.code(auth_type="reauthorize")
    assert app.debug(token)["data_access_expires_at"] > began
    assert app.get(linked.instagram_id, token, fields="username").status_code == 200


# --- lists --------------------------------------------------------------------------------------------------------


def test_a_hundred_and_twenty_pages_over_cursors(app: App) -> None:
    made = app.sandbox.meta.create_pages(120, instagram=True)
    app.sandbox.meta.next_consent()
    token = app.log_in()
    fields = "id,name,access_token,tasks,picture{url},instagram_business_account{id,username}"
    url: str | None = f"{app.sandbox.base_url}{GRAPH}/me/accounts?limit=50&fields={fields}&access_token={token}"
    sizes, found = [], []
    while url is not None:
        answer = app.client.get(url).json()
        sizes.append(len(answer["data"]))
        found += answer["data"]
        url = answer["paging"].get("next")
        assert url is None or (url.startswith(app.sandbox.base_url) and token in url)
    assert sizes == [50, 50, 20]
    assert ids(found) == [handle.page_id for handle in made]
    assert {"id", "username"} == set(found[0]["instagram_business_account"])
    assert set(found[0]["picture"]["data"]) == {"url"}
    assert len({row["access_token"] for row in found}) == 120
    second = app.get("me/accounts", token, limit=100, after=found[99]["id"]).json()
    assert ids(second["data"]) == ids(found[100:])
    assert "next" not in second["paging"]


def test_what_a_list_does_not_take(planned: App) -> None:
    token = planned.log_in()
    fields = ("id,secret", "instagram_business_account{account_type}", "picture{url", "picture{size}")
    wrong: list[dict[str, Any]] = [{"limit": 101}, {"limit": 0}, {"after": "nowhere"}, *({"fields": f} for f in fields)]
    for query in wrong:
        assert error(planned.get("me/accounts", token, **query)) == (100, None)


def test_the_second_cursor_can_fail_and_lead_elsewhere(app: App) -> None:
    app.sandbox.meta.create_pages(3)
    app.sandbox.meta.next_consent()
    token = app.log_in()
    app.sandbox.faults.add("meta.accounts", "status", status=500, after=1)
    first = app.get("me/accounts", token, limit=2).json()
    url = first["paging"]["next"]
    assert app.client.get(url).status_code == 500
    assert len(app.client.get(url).json()["data"]) == 1
    app.sandbox.meta.configure_login(paging_base="https://attacker.example")
    assert app.get("me/accounts", token, limit=2).json()["paging"]["next"].startswith("https://attacker.example/")


def test_rows_tell_what_a_person_can_do(app: App, page: PageHandle) -> None:
    meta = app.sandbox.meta
    meta.create_page(name="Reader", user_id=page.user_id, tasks=("ANALYZE",))
    meta.create_page(name="Silent", user_id=page.user_id, token_withheld=True)
    linked = meta.create_instagram(page_id=page.page_id)
    meta.next_consent(user_id=page.user_id)
    token = app.log_in()
    rows = {row["name"]: row for row in app.rows("me/accounts", token, fields="name,access_token,tasks,username")}
    assert "CREATE_CONTENT" in rows["Bakery & Sons"]["tasks"]
    assert rows["Reader"]["tasks"] == ["ANALYZE"]
    assert "access_token" not in rows["Silent"]
    reader = Page(app.client, rows["Reader"]["id"], rows["Reader"]["access_token"])
    assert error(reader.post("feed", message="x")) == (200, None)
    defaults = app.rows("me/accounts", token)[0]
    assert set(defaults) == {"access_token", "category", "category_list", "name", "id", "tasks"}
    found = app.rows("me/accounts", token, fields="instagram_business_account{id,profile_picture_url}")
    accounts = [row["instagram_business_account"] for row in found if "instagram_business_account" in row]
    assert accounts == [
        {"id": linked.instagram_id, "profile_picture_url": f"https://scontent.cdninstagram.com/v/{linked.username}.jpg"}
    ]
    meta.change_instagram(linked.instagram_id, account_type="PERSONAL")
    assert all(
        "instagram_business_account" not in row
        for row in app.rows("me/accounts", token, fields="instagram_business_account")
    )


def test_lists_need_their_permissions(app: App, page: PageHandle) -> None:
    meta = app.sandbox.meta
    meta.create_instagram(page_id=page.page_id)
    meta.next_consent(scopes=("pages_read_engagement",))
    token = app.log_in()
    assert app.rows("me/accounts", token) == []  # no error: that is how it looks
    assert error(app.get("me/businesses", token)) == (200, None)
    meta.next_consent(scopes=("pages_show_list",))
    again = app.log_in(auth_type="rerequest")
    assert app.rows("me/accounts", again, fields="id,instagram_business_account") == [{"id": page.page_id}]
    assert error(app.get("me/accounts", page.page_token)) == (100, 33)
    assert error(app.get(f"{page.user_id}/accounts", meta.create_page().user_token)) == (100, 33)


def test_pages_of_portfolios(app: App, page: PageHandle) -> None:
    meta = app.sandbox.meta
    business = meta.create_business("Agency", page.user_id).business_id
    owned = meta.create_pages(2, business_id=business, name="Owned")
    client_page = meta.create_page(business_id=business, ownership="client")
    foreign = meta.create_business("Others")
    everything = [page.page_id, *(handle.page_id for handle in owned), client_page.page_id]
    meta.next_consent(user_id=page.user_id, scopes=tuple(s for s in FACEBOOK_SCOPES if s != "business_management"))
    narrow = app.log_in()
    assert ids(app.rows("me/accounts", narrow)) == [page.page_id]
    assert error(app.get(f"{business}/owned_pages", narrow)) == (200, None)
    meta.next_consent(user_id=page.user_id)
    token = app.log_in(auth_type="rerequest")
    assert ids(app.rows("me/accounts", token)) == everything
    assert app.rows("me/businesses", token) == [{"id": business, "name": "Agency"}]
    rows = app.rows(f"{business}/owned_pages", token, fields="id,access_token")
    assert ids(rows) == everything[1:3]
    assert app.debug(rows[0]["access_token"])["profile_id"] == owned[0].page_id
    assert ids(app.rows(f"{business}/client_pages", token)) == [client_page.page_id]
    assert error(app.get(f"{business}/owned_pages", token, fields="id,tasks")) == (100, None)
    assert error(app.get(f"{foreign.business_id}/owned_pages", token)) == (100, 33)
    assert error(app.get(f"{business}/owned_pages", owned[0].page_token)) == (100, 33)
    meta.configure_login(portfolio_pages="portfolio_only")
    assert ids(app.rows("me/accounts", token)) == [page.page_id]
    assert len(app.rows(f"{business}/owned_pages", token)) == 2


# --- Login for Business -------------------------------------------------------------------------------------------


def test_with_a_configuration_it_is_all_or_nothing(app: App, page: PageHandle) -> None:
    meta = app.sandbox.meta
    asked = {"config_id": meta.create_configuration(scopes=POSTING).config_id, "scope": ""}
    form = Form(app.dialog(**asked).text)
    assert form.values("scope") == list(POSTING)
    form.untick("scope", "pages_manage_posts")
    partial = app.redeem(landed(form.press(app.client))["code"]).json()["access_token"]
    assert app.debug(partial)["scopes"] == ["public_profile"]
    assert set(app.permissions(partial)) >= set(POSTING)
    assert {app.permissions(partial)[name] for name in POSTING} == {"declined"}
    assert app.rows("me/accounts", partial) == []
    meta.next_consent()
    token = app.short(**asked)
    assert set(app.debug(token)["scopes"]) == {"public_profile", *POSTING}
    with pytest.raises(ValueError, match="no such permissions"):
        meta.create_configuration(scopes=("manage_pages",))


def test_a_system_user_configuration(app: App, page: PageHandle) -> None:
    meta = app.sandbox.meta
    scopes = (*POSTING, "business_management")
    config = meta.create_configuration(scopes=scopes, system_user=True).config_id
    assert stays(app.dialog(config_id=config), "scope must not be used")
    asked = {"config_id": config, "scope": ""}
    assert stays(app.dialog(**asked), "portfolio")
    meta.next_consent()
    assert stays(app.dialog(**asked), "portfolio")
    business = meta.create_business("Agency", page.user_id).business_id
    owned, other = meta.create_pages(2, business_id=business)
    form = Form(app.dialog(**asked).text)
    assert form.lists["business"] == [business]
    form.untick("page", other.page_id)
    answer = app.redeem(landed(form.press(app.client))["code"]).json()
    assert "expires_in" not in answer
    token = answer["access_token"]
    debugged = app.debug(token)
    assert (debugged["type"], debugged["expires_at"], debugged["data_access_expires_at"]) == ("SYSTEM_USER", 0, 0)
    assert set(debugged["scopes"]) == {"public_profile", *scopes}
    me = app.get("me", token, fields="id,client_business_id").json()
    assert (me["client_business_id"], me["id"] != page.user_id) == (business, True)
    (row,) = app.rows("me/accounts", token)
    assert row["id"] == owned.page_id
    assert Page(app.client, row["id"], row["access_token"]).post("feed", message="x").status_code == 200
    assert error(app.extend(token)) == (100, None)
    ending = meta.create_configuration(scopes=scopes, system_user=True, sixty_days=True).config_id
    meta.next_consent()
    assert app.redeem(app.code(config_id=ending, scope="")).json()["expires_in"] > 59 * DAY


# --- revocation and inspection ------------------------------------------------------------------------------------


def test_revoking_everything_kills_the_persons_tokens_and_nobody_elses(planned: App, page: PageHandle) -> None:
    app = planned
    other = app.sandbox.meta.create_page()
    long = app.log_in()
    (row,) = app.rows("me/accounts", long)
    bearer = {"Authorization": f"Bearer {long}"}
    assert error(
        app.client.delete(f"{GRAPH}/me/permissions", headers={"Authorization": f"Bearer {row['access_token']}"})
    ) == (100, 33)
    stranger = {"Authorization": f"Bearer {other.user_token}"}
    assert error(app.client.delete(f"{GRAPH}/{page.user_id}/permissions", headers=stranger)) == (100, 33)
    assert app.client.delete(f"{GRAPH}/me/permissions", headers=bearer).json() == {"success": True}
    for token in (long, row["access_token"], page.page_token):
        assert error(app.get("me", token)) == (190, 458)
        assert app.debug(token)["error"] == {
            "code": 190, "subcode": 458, "message": "Error validating access token: The user has not authorized application."
        }  # fmt: skip
    assert error(app.client.delete(f"{GRAPH}/me/permissions", headers=bearer)) == (190, 458)
    assert app.get("me", other.page_token).status_code == 200
    # A stranger again: everything is offered anew.
    assert len(Form(app.dialog(sandbox_person=page.user_id).text).values("scope")) == len(FACEBOOK_SCOPES)


def test_revoking_one_permission_and_the_bare_answer(planned: App, page: PageHandle) -> None:
    app = planned
    long = app.log_in()
    bearer = {"Authorization": f"Bearer {long}"}
    url = f"{GRAPH}/{page.user_id}/permissions"
    assert app.client.delete(f"{url}/pages_manage_posts", headers=bearer).json() == {"success": True}
    assert app.permissions(long)["pages_manage_posts"] == "declined"
    (row,) = app.rows("me/accounts", long)
    assert error(Page(app.client, row["id"], row["access_token"]).post("feed", message="x")) == (200, None)
    assert error(app.client.delete(f"{url}/ads_read", headers=bearer)) == (100, None)
    app.sandbox.meta.configure_login(revoke_answer="bare")
    by_app = {"Authorization": f"Bearer {app.sandbox.meta.app.token}"}
    assert app.client.delete(url, headers=by_app).json() is True
    assert error(app.get("me", long)) == (190, 458)


def test_debug_token_tells_everything(planned: App, page: PageHandle) -> None:
    app = planned
    long = app.log_in()
    debugged = app.debug(long)
    assert (debugged["type"], debugged["user_id"], debugged["is_valid"]) == ("USER", page.user_id, True)
    assert debugged["app_id"] == app.sandbox.meta.app.app_id
    assert all("target_ids" not in each for each in debugged["granular_scopes"])  # everything is shared
    app.sandbox.meta.configure_login(app_id_as_number=True)
    assert app.debug(long)["app_id"] == int(app.sandbox.meta.app.app_id)
    dead = app.debug("EAABnobody")
    assert (dead["is_valid"], dead["error"]["code"]) == (False, 190)
    assert error(app.client.get(f"{GRAPH}/debug_token", params={"input_token": long})) == (104, None)


# --- faults -------------------------------------------------------------------------------------------------------

ROUTES = (
    "meta.oauth.exchange", "meta.oauth.extend", "meta.accounts", "meta.businesses", "meta.permissions", "meta.me",
    "meta.debug_token", "meta.revoke", "meta.oauth.dialog",
)  # fmt: skip


def ask(app: App, name: str) -> httpx.Response:
    token = app.sandbox.meta.list_tokens()[0].value
    asked: dict[str, Callable[[], httpx.Response]] = {
        "meta.oauth.exchange": lambda: app.redeem("AQnobody"),
        "meta.oauth.extend": lambda: app.extend(token),
        "meta.oauth.dialog": app.dialog,
        "meta.accounts": lambda: app.get("me/accounts", token),
        "meta.businesses": lambda: app.get("me/businesses", token),
        "meta.permissions": lambda: app.get("me/permissions", token),
        "meta.me": lambda: app.get("me", token),
        "meta.debug_token": lambda: app.client.get(
            f"{GRAPH}/debug_token", params={"input_token": token, "access_token": app.sandbox.meta.app.token}
        ),
        "meta.revoke": lambda: app.client.delete(
            f"{GRAPH}/me/permissions", headers={"Authorization": f"Bearer {token}"}
        ),
    }
    return asked[name]()


@pytest.mark.parametrize("name", ROUTES)
def test_every_endpoint_has_its_faults(app: App, page: PageHandle, name: str) -> None:
    faults = app.sandbox.faults
    rule = faults.add(name, "status", status=500)
    answer = ask(app, name)
    assert answer.status_code == 500
    assert ("error" in answer.json()) if name != "meta.oauth.dialog" else stays(answer)
    assert faults.used(rule) == 1
    faults.add(name, "status", status=200, body="html")
    assert ask(app, name).headers["content-type"].startswith("text/html")
    faults.add(name, "status", status=200, json={"token_type": "bearer"})
    assert ask(app, name).json() == {"token_type": "bearer"}
    faults.add(name, "hang", seconds=60)
    app.client.timeout = httpx.Timeout(0.2)
    with pytest.raises(httpx.ReadTimeout):
        ask(app, name)
    app.client.timeout = httpx.Timeout(20)
    faults.add(name, "meta_error", code=4, status=503, message="Not now.")
    answer = ask(app, name)
    if name == "meta.oauth.dialog":
        assert stays(answer, "Not now.")
    else:
        assert error(answer) == (4, None)


@pytest.mark.parametrize("kind", ["drop_after", "status"])
def test_an_exchange_whose_answer_is_lost_has_used_the_code(planned: App, kind: Any) -> None:
    code = planned.code()
    planned.sandbox.faults.add("meta.oauth.exchange", kind, status=502, process=True)
    if kind == "drop_after":
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            planned.redeem(code)
    else:
        assert planned.redeem(code).status_code == 502
    assert error(planned.redeem(code)) == (100, 36009)


def test_app_limits_cover_the_exchange(planned: App) -> None:
    code = planned.code()
    planned.sandbox.meta.set_usage("app", 100)
    assert error(planned.redeem(code)) == (4, None)


def test_broken_bodies_of_the_exchange(app: App) -> None:
    url = f"{GRAPH}/oauth/access_token"
    assert error(app.client.post(url, content="{", headers={"Content-Type": "application/json"})) == (100, None)
    assert app.client.post(url, content=b"a=" + b"b" * 100_000, headers={"Content-Type": "application/x-www-form-urlencoded"}).status_code == 413  # fmt: skip


def test_the_control_api_drives_a_login(app: App, page: PageHandle) -> None:
    planned = app.client.post("/_control/meta/next_consent", json={"user_id": page.user_id, "page_ids": [page.page_id]})
    assert planned.json()["result"] == 1
    assert landed(app.dialog())["code"]
    made = app.client.post("/_control/meta/create_pages", json={"count": 2}).json()["result"]
    assert len(made) == 2
    assert app.client.post("/_control/meta/create_pages", json={"count": 0}).status_code == 400
    assert {handle["name"] for handle in made} == {"Page 1", "Page 2"}
