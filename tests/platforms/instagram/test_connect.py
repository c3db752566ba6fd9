"""Connecting Instagram accounts through Facebook and through Instagram's own login."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account
from orbyt_worker.platforms.base import Credentials
from orbyt_worker.platforms.connector import ConnectRequest, ConnectResult
from orbyt_worker.platforms.instagram.connect import EXCHANGE, NEEDED_FACEBOOK, NEEDED_INSTAGRAM, InstagramConnector
from orbyt_worker.platforms.instagram.rules import SCOPES_FACEBOOK, SCOPES_INSTAGRAM
from orbyt_worker.sandbox.server import SandboxServer
from tests.platforms.driver import sandbox_settings
from tests.platforms.logging_in import LOST, TROUBLE, LoginWorld, account, stored, trouble_id

DAY = 86_400.0
TOKEN, EXTEND, ME = "instagram.oauth.exchange", "instagram.oauth.extend", "instagram.account"


@pytest.fixture
async def make_login(server: SandboxServer) -> AsyncIterator[Callable[..., LoginWorld]]:
    made: list[LoginWorld] = []

    def make(**settings: Any) -> LoginWorld:
        world = LoginWorld(server, InstagramConnector, **settings)
        world.meta.configure(require_proof=True)
        made.append(world)
        return world

    yield make
    for world in made:
        await world.aclose()
    assert server.state.internal_errors() == []


MakeLogin = Callable[..., LoginWorld]


def plan(world: LoginWorld, login: str, **consent: Any) -> None:
    (world.meta if login == "facebook" else world.meta.instagram).next_consent(**consent)


async def connect(world: LoginWorld, login: str, **consent: Any) -> ConnectResult:
    plan(world, login, **consent)
    with capture_logs() as logs:
        result = await world.connect(login)
    world.assert_secret_free(result, logs)
    return result


async def code_of(world: LoginWorld, login: str, request: ConnectRequest | None = None, **consent: Any) -> ErrorCode:
    if request is None:
        plan(world, login, **consent)
    with capture_logs() as logs, pytest.raises(Failure) as caught:
        await world.connect(login, request)
    world.assert_secret_free(caught.value, caught.value.detail, logs)
    assert not catalog.entry(caught.value.code).needs_reauth
    return caught.value.code


# Facebook Login --------------------------------------------------------------------------------------------------------


async def test_the_account_linked_to_a_page_with_the_pages_token(make_login: MakeLogin) -> None:
    world = make_login()
    made = world.meta.create_instagram(username="my.account")
    # A page without an account is no candidate.
    world.meta.create_page(user_id=made.user_id)
    result = await connect(world, "facebook")
    [found] = result.candidates
    assert (found.platform_account_id, found.handle, found.code) == (made.instagram_id, "my.account", None)
    assert found.picture_url is not None
    assert set(SCOPES_FACEBOOK) <= set(found.scopes)
    assert (result.platform_user_id, result.complete) == (made.user_id, True)
    assert found.grant is not None
    assert world.meta.tokens[found.grant.access_token].page_id == made.page_id
    assert world.meta.tokens[found.grant.more["user_token"][0]].kind == "USER"
    # Unlike a page, its rights end with the access to data.
    assert found.data_access_expires_in_seconds == pytest.approx(90 * DAY, abs=5)
    assert found.token_expires_in_seconds is None


async def test_all_accounts_of_all_pages_and_why_one_cannot_be_used(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.configure_login(portfolio_pages="portfolio_only")
    person = world.meta.create_user()
    world.meta.create_pages(120, user_id=person.user_id, instagram=True)
    portfolio = world.meta.create_business("A", person.user_id)
    world.meta.create_pages(3, user_id=person.user_id, business_id=portfolio.business_id, instagram=True)
    withheld = world.meta.create_page(user_id=person.user_id, token_withheld=True)
    analyst = world.meta.create_page(user_id=person.user_id, tasks=("ANALYZE",))
    odd = {
        world.meta.create_instagram(page_id=withheld.page_id).instagram_id: ErrorCode.CONNECT_PAGE_TOKEN_MISSING,
        world.meta.create_instagram(page_id=analyst.page_id).instagram_id: ErrorCode.CONNECT_ROLE_MISSING,
    }
    result = await connect(world, "facebook")
    assert (len(result.candidates), result.complete) == (125, True)
    assert {each.platform_account_id: each.code for each in result.candidates if each.code is not None} == odd


async def test_an_account_that_was_not_ticked_is_not_offered(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.meta.create_user()
    pages = world.meta.create_pages(2, user_id=person.user_id, instagram=True)
    first, second = (world.meta.pages[each.page_id].instagram_id or "" for each in pages)
    result = await connect(world, "facebook", instagram_ids=(first,))
    assert [each.platform_account_id for each in result.candidates] == [first]
    assert second != first


async def test_no_pages_no_accounts_and_lists_that_fail(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.meta.create_user()
    assert await code_of(world, "facebook") is ErrorCode.CONNECT_NO_PAGES
    world.meta.create_pages(120, user_id=person.user_id)
    assert await code_of(world, "facebook") is ErrorCode.CONNECT_NO_INSTAGRAM
    world.faults.add("meta.accounts", "status", after=1, times=2)
    assert await code_of(world, "facebook") is ErrorCode.CONNECT_LIST_INCOMPLETE


async def test_a_personal_account_is_not_linked_to_a_page(make_login: MakeLogin) -> None:
    """Meta shows a Page no account that is not professional, nor one that stopped being so."""
    world = make_login()
    made = world.meta.create_instagram()
    world.meta.change_instagram(made.instagram_id, account_type="PERSONAL")
    assert await code_of(world, "facebook") is ErrorCode.CONNECT_NO_INSTAGRAM


async def test_a_second_cursor_that_fails_marks_the_list_incomplete(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_pages(120, instagram=True)
    world.faults.add("meta.accounts", "status", after=1, times=2, status=500)
    result = await connect(world, "facebook")
    assert (len(result.candidates), result.complete) == (100, False)


@pytest.mark.parametrize("missing", SCOPES_FACEBOOK)
async def test_a_declined_permission_is_named(make_login: MakeLogin, missing: str) -> None:
    world = make_login()
    world.meta.create_instagram()
    plan(world, "facebook", scopes=tuple(each for each in SCOPES_FACEBOOK if each != missing))
    with pytest.raises(Failure) as caught:
        await world.connect("facebook")
    assert caught.value.code is ErrorCode.CONNECT_SCOPES_MISSING
    others = ", ".join(purpose for scope, purpose in NEEDED_FACEBOOK.items() if scope != missing)
    assert caught.value.detail == f"not given: {missing} ({NEEDED_FACEBOOK[missing]}); still possible: {others}"


async def linked(world: LoginWorld) -> tuple[Account, Credentials, str]:
    made = world.meta.create_instagram(username="my.account")
    result = await connect(world, "facebook")
    assert made.user_id is not None
    return account("instagram", made.instagram_id, "facebook", "My account"), stored(result, "facebook"), made.user_id


async def test_a_check_of_a_linked_account(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, user_id = await linked(world)
    found = await world.connector.check(world.http, world.config, who, held)
    assert found.code is None
    assert found.data_access_expires_in_seconds == pytest.approx(90 * DAY, abs=5)
    world.meta.set_permission(user_id, "instagram_content_publish", "expired")
    found = await world.connector.check(world.http, world.config, who, held)
    assert (found.code, found.detail) == (
        ErrorCode.META_PERMISSION_MISSING,
        "instagram_content_publish for My account",
    )
    world.meta.kill_user(user_id, "password_changed")
    found = await world.connector.check(world.http, world.config, who, held)
    assert found.code is ErrorCode.META_SESSION_ENDED


async def test_an_account_or_its_page_stands_for_both(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, user_id = await linked(world)
    page_id = world.meta.tokens[held.access_token or ""].page_id or ""
    world.meta.set_shared(user_id, page_ids=(page_id,), instagram_ids=(who.platform_account_id,))
    assert (await world.connector.check(world.http, world.config, who, held)).code is None
    world.meta.set_shared(user_id, page_ids=(page_id,), instagram_ids=("178410099",))
    found = await world.connector.check(world.http, world.config, who, held)
    assert (found.code, found.detail) == (
        ErrorCode.META_PERMISSION_MISSING,
        "instagram_basic, instagram_content_publish for My account",
    )


async def test_access_to_data_that_has_ended_is_tried_before_it_is_believed(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, _ = await linked(world)
    world.clock.advance(91 * DAY)
    # Meta's date has passed, but the account can be read: nothing is wrong.
    world.faults.add(ME, "status", status=200, json={"id": who.platform_account_id})
    found = await world.connector.check(world.http, world.config, who, held)
    assert found.code is None
    assert (found.data_access_expires_in_seconds or 0.0) < 0
    world.faults.add(ME, "status", status=503)
    with pytest.raises(Failure) as caught:
        await world.connector.check(world.http, world.config, who, held)
    assert not catalog.entry(caught.value.code).needs_reauth
    found = await world.connector.check(world.http, world.config, who, held)
    assert found.code is ErrorCode.META_PERMISSION_MISSING
    assert found.detail.endswith("the access to data has ended")


async def test_revoking_a_linked_account(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, user_id = await linked(world)
    await world.connector.revoke(world.http, world.config, who, held)
    assert {each.state for each in world.meta.list_tokens(user_id=user_id)} == {"app_removed"}


# Instagram Login -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", ["wrapped", "flat"])
@pytest.mark.parametrize("wrapped", [True, False])
async def test_the_account_that_logged_in_in_every_shape(make_login: MakeLogin, exchange: Any, wrapped: bool) -> None:
    world = make_login()
    world.meta.instagram.configure(exchange_shape=exchange, me_wrapped=wrapped)
    made = world.meta.create_instagram(login="instagram", username="my.account")
    result = await connect(world, "instagram")
    [found] = result.candidates
    assert (found.platform_account_id, found.handle, found.code) == (made.instagram_id, "my.account", None)
    assert found.picture_url is not None
    assert set(SCOPES_INSTAGRAM) <= set(found.scopes)
    # By this id Meta tells that the app was removed.
    assert result.platform_user_id != made.instagram_id
    assert found.grant is not None
    token = world.meta.tokens[found.grant.access_token]
    assert (token.long_lived, token.instagram_id) == (True, made.instagram_id)
    assert found.grant.expires_in_seconds == pytest.approx(60 * DAY, abs=5)
    assert found.token_expires_in_seconds == found.grant.expires_in_seconds
    assert (found.grant.more, found.grant.refresh_token) == ({}, None)


async def test_the_fragment_is_no_part_of_the_code(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_instagram(login="instagram")
    plan(world, "instagram")
    request = await world.request("instagram")
    assert len((await world.connect("instagram", replace(request, code=request.code + "#_"))).candidates) == 1


async def test_a_permission_that_was_left_out_is_named(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_instagram(login="instagram")
    plan(world, "instagram", scopes=("instagram_business_basic",))
    with pytest.raises(Failure) as caught:
        await world.connect("instagram")
    assert (caught.value.code, caught.value.detail) == (
        ErrorCode.CONNECT_SCOPES_MISSING,
        "not given: instagram_business_content_publish (posting); still possible: reading the account and its posts",
    )


async def test_an_answer_that_does_not_say_what_was_granted(make_login: MakeLogin) -> None:
    world = make_login()
    made = world.meta.create_instagram(login="instagram")
    short = world.meta.issue_instagram_token(made.instagram_id, long_lived=False)
    world.faults.add(TOKEN, "status", status=200, json={"access_token": short, "user_id": int(made.instagram_id)})
    assert (await connect(world, "instagram")).candidates[0].scopes == SCOPES_INSTAGRAM


@pytest.mark.parametrize("said", [[], "", " , "])
async def test_an_answer_that_says_nothing_was_granted_is_believed(make_login: MakeLogin, said: object) -> None:
    world = make_login()
    made = world.meta.create_instagram(login="instagram")
    short = world.meta.issue_instagram_token(made.instagram_id, long_lived=False)
    answer = {"access_token": short, "user_id": int(made.instagram_id), "permissions": said}
    world.faults.add(TOKEN, "status", status=200, json=answer)
    plan(world, "instagram")
    with pytest.raises(Failure) as caught:
        await world.connect("instagram")
    assert caught.value.code is ErrorCode.CONNECT_SCOPES_MISSING


async def test_a_personal_account_says_why_it_cannot_be_used(make_login: MakeLogin) -> None:
    world = make_login()
    made = world.meta.create_instagram(login="instagram")
    me = {"id": "3", "user_id": int(made.instagram_id), "username": "me", "account_type": "Personal"}
    world.faults.add(ME, "status", status=200, json=me)
    [found] = (await connect(world, "instagram")).candidates
    assert (found.platform_account_id, found.name) == (made.instagram_id, "me")
    assert (found.code, found.grant) == (ErrorCode.CONNECT_NOT_PROFESSIONAL, None)


async def test_the_apps_own_id_of_an_account_is_not_taken_for_the_account(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_instagram(login="instagram")
    world.faults.add(ME, "status", status=200, json={"id": "3", "username": "me"})
    assert await code_of(world, "instagram") is ErrorCode.CONNECT_PLATFORM_REFUSED


async def test_the_exchange_may_name_another_id_than_the_account_has(make_login: MakeLogin) -> None:
    """Which of its ids it gives is not documented: the account itself decides, and posts go where its own id says."""
    world = make_login()
    made = world.meta.create_instagram(login="instagram")
    short = world.meta.issue_instagram_token(made.instagram_id, long_lived=False)
    world.faults.add(TOKEN, "status", status=200, json={"access_token": short, "user_id": 17841499999999999})
    [found] = (await connect(world, "instagram")).candidates
    assert found.platform_account_id == made.instagram_id


async def test_a_code_is_good_once(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_instagram(login="instagram")
    plan(world, "instagram")
    request = await world.request("instagram")
    await world.connect("instagram", request)
    assert await code_of(world, "instagram", request) is ErrorCode.CONNECT_CODE_REJECTED


@pytest.mark.parametrize(
    ("change", "late"), [({"redirect_uri": "https://orbyt.example/"}, 0.0), ({"code": "AQ"}, 0.0), ({}, 2 * 3600.0)]
)
async def test_codes_that_do_not_count(make_login: MakeLogin, change: dict[str, Any], late: float) -> None:
    world = make_login()
    world.meta.create_instagram(login="instagram")
    plan(world, "instagram")
    request = replace(await world.request("instagram"), **change)
    world.clock.advance(late)
    assert await code_of(world, "instagram", request) is ErrorCode.CONNECT_CODE_REJECTED
    assert world.calls(TOKEN) == 1


@pytest.mark.parametrize(("kind", "options"), TROUBLE, ids=trouble_id)
async def test_trouble_at_the_exchange_is_no_refusal_and_not_repeated(
    make_login: MakeLogin, kind: Any, options: dict[str, Any]
) -> None:
    world = make_login()
    world.meta.create_instagram(login="instagram")
    world.faults.add(TOKEN, kind, **options)
    assert await code_of(world, "instagram") is ErrorCode.CONNECT_PLATFORM_REFUSED
    assert world.calls(TOKEN) == 1


@pytest.mark.parametrize("kind", LOST)
async def test_a_lost_answer_of_the_exchange_is_not_repeated(make_login: MakeLogin, kind: Any) -> None:
    world = make_login()
    world.meta.create_instagram(login="instagram")
    world.http.hasty.add(EXCHANGE)
    world.faults.add(TOKEN, kind, seconds=5)
    assert await code_of(world, "instagram") is ErrorCode.CONNECT_INTERRUPTED
    assert world.calls(TOKEN) == 1


@pytest.mark.parametrize("route", [EXTEND, ME])
async def test_what_follows_the_code_is_asked_for_twice(make_login: MakeLogin, route: str) -> None:
    for times, outcome in ((1, None), (2, ErrorCode.CONNECT_INTERRUPTED)):
        world = make_login()
        world.meta.create_instagram(login="instagram")
        world.faults.add(route, "drop_before", times=times)
        if outcome is None:
            assert len((await connect(world, "instagram")).candidates) == 1
        else:
            assert await code_of(world, "instagram") is outcome
        assert world.calls(TOKEN) == 1


async def test_without_a_long_lived_token_there_is_nothing(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_instagram(login="instagram")
    world.faults.add(EXTEND, "status", status=200, json={"token_type": "bearer"}, times=None)
    assert await code_of(world, "instagram") is ErrorCode.CONNECT_PLATFORM_REFUSED
    assert world.calls(ME) == 0


async def logged_in(world: LoginWorld) -> tuple[Account, Credentials]:
    made = world.meta.create_instagram(login="instagram")
    result = await connect(world, "instagram")
    return account("instagram", made.instagram_id, "instagram"), stored(result, "instagram")


@pytest.mark.parametrize("wrapped", [True, False])
async def test_a_check_of_an_account_that_logged_in(make_login: MakeLogin, wrapped: bool) -> None:
    world = make_login()
    world.meta.instagram.configure(me_wrapped=wrapped)
    who, held = await logged_in(world)
    assert (await world.connector.check(world.http, world.config, who, held)).code is None
    other = replace(who, platform_account_id="178410099")
    found = await world.connector.check(world.http, world.config, other, held)
    assert found.code is ErrorCode.ACCOUNT_WRONG_CHANNEL
    found = await world.connector.check(world.http, world.config, who, Credentials("instagram"))
    assert found.code is ErrorCode.ACCOUNT_NEEDS_REAUTH


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("expired", ErrorCode.META_TOKEN_EXPIRED),
        ("revoked", ErrorCode.META_TOKEN_INVALID),
        ("app_removed", ErrorCode.META_APP_REMOVED),
    ],
)
async def test_a_check_of_a_dead_token(make_login: MakeLogin, state: Any, code: ErrorCode) -> None:
    world = make_login()
    who, held = await logged_in(world)
    world.meta.kill_token(held.access_token or "", state)
    found = await world.connector.check(world.http, world.config, who, held)
    assert found.code is code
    assert catalog.entry(code).needs_reauth
    world.assert_secret_free(found)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("drop_before", {}),
        ("status", {"status": 500}),
        ("status", {"status": 503, "body": "html"}),
        ("status", {"status": 200, "json": {}}),
        ("throttle", {"code": 4}),
        ("meta_error", {"code": 2}),
        # A fault of Meta's own, never a reason to reconnect by itself.
        ("meta_error", {"code": 100, "subcode": 33}),
    ],
)
async def test_trouble_during_a_check_disconnects_nobody(
    make_login: MakeLogin, kind: Any, options: dict[str, Any]
) -> None:
    world = make_login()
    who, held = await logged_in(world)
    world.faults.add(ME, kind, **options)
    with pytest.raises(Failure) as caught:
        await world.connector.check(world.http, world.config, who, held)
    assert not catalog.entry(caught.value.code).needs_reauth


async def test_instagram_login_has_nothing_to_revoke_with(make_login: MakeLogin) -> None:
    world = make_login()
    who, held = await logged_in(world)
    before = len(world.sandbox.requests.list())
    await world.connector.revoke(world.http, world.config, who, held)
    assert len(world.sandbox.requests.list()) == before


def test_each_login_stands_by_itself(make_login: MakeLogin) -> None:
    assert (tuple(NEEDED_FACEBOOK), tuple(NEEDED_INSTAGRAM)) == (SCOPES_FACEBOOK, SCOPES_INSTAGRAM)
    world = make_login(instagram_extra_scopes="", instagram_login_extra_scopes="")
    facebook, instagram = world.connector.apps(world.config)
    assert (facebook.login, facebook.scopes) == ("facebook", SCOPES_FACEBOOK)
    assert (instagram.login, instagram.scopes) == ("instagram", SCOPES_INSTAGRAM)
    assert not instagram.pkce
    world.config = world.config.model_copy(update={"meta_app_id": None})
    assert [each.login for each in world.connector.apps(world.config)] == ["instagram"]
    assert world.connector.apps(sandbox_settings()) == []
