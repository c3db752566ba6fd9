"""Connecting Facebook Pages: every page there is, why one cannot be used, and what is only trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account
from orbyt_worker.platforms import graph_login
from orbyt_worker.platforms.base import ApiResponse, Credentials
from orbyt_worker.platforms.connector import Candidate, ConnectRequest, ConnectResult
from orbyt_worker.platforms.facebook.connect import NEEDED, FacebookConnector
from orbyt_worker.platforms.facebook.rules import SCOPES
from orbyt_worker.sandbox.server import SandboxServer
from tests.platforms.driver import sandbox_settings
from tests.platforms.logging_in import LOST, TROUBLE, LoginWorld, account, stored, trouble_id

EXCHANGE, EXTEND = "meta.oauth.exchange", "meta.oauth.extend"
ACCOUNTS, OWNED = "meta.accounts", "meta.businesses.owned_pages"
DAY = 86_400.0


@pytest.fixture
async def make_login(server: SandboxServer) -> AsyncIterator[Callable[..., LoginWorld]]:
    made: list[LoginWorld] = []

    def make(**settings: Any) -> LoginWorld:
        world = LoginWorld(server, FacebookConnector, **settings)
        world.meta.configure(require_proof=True)
        made.append(world)
        return world

    yield make
    for world in made:
        await world.aclose()
    assert server.state.internal_errors() == []


MakeLogin = Callable[..., LoginWorld]


async def connect(world: LoginWorld, request: ConnectRequest | None = None, **consent: Any) -> ConnectResult:
    if request is None:
        world.meta.next_consent(**consent)
    with capture_logs() as logs:
        result = await world.connect("facebook", request)
    world.assert_secret_free(result, logs)
    return result


async def code_of(world: LoginWorld, request: ConnectRequest | None = None, **consent: Any) -> ErrorCode:
    if request is None:
        world.meta.next_consent(**consent)
    with capture_logs() as logs, pytest.raises(Failure) as caught:
        await world.connect("facebook", request)
    world.assert_secret_free(caught.value, caught.value.detail, logs)
    # There is no account yet that could be disconnected by it.
    assert not catalog.entry(caught.value.code).needs_reauth
    return caught.value.code


def names(result: ConnectResult) -> set[str]:
    return {each.name for each in result.candidates}


def by_name(result: ConnectResult) -> dict[str, Candidate]:
    return {each.name: each for each in result.candidates}


# Pages -----------------------------------------------------------------------------------------------------------------


async def test_a_page_its_token_and_the_persons(make_login: MakeLogin) -> None:
    world = make_login()
    page = world.meta.create_page(name="My page")
    result = await connect(world)
    [found] = result.candidates
    assert (found.platform_account_id, found.name, found.code) == (page.page_id, "My page", None)
    assert found.handle == world.meta.pages[page.page_id].username
    assert found.picture_url is not None
    assert set(SCOPES) <= set(found.scopes)
    assert (result.platform_user_id, result.complete) == (page.user_id, True)
    assert found.grant is not None
    # No made-up end for a page token; the person's own has one.
    assert (found.grant.expires_in_seconds, found.token_expires_in_seconds) == (None, None)
    assert found.data_access_expires_in_seconds is None
    assert world.meta.tokens[found.grant.access_token].page_id == page.page_id
    assert world.meta.tokens[found.grant.access_token].expires_at is None
    user_token, ends_in = found.grant.more["user_token"]
    assert world.meta.tokens[user_token].long_lived
    assert ends_in == pytest.approx(60 * DAY, abs=5)


async def test_a_page_token_outlives_the_login(make_login: MakeLogin) -> None:
    world = make_login()
    page = world.meta.create_page()
    held = stored(await connect(world), "facebook")
    world.clock.advance(61 * DAY)
    who = account("facebook", page.page_id, "facebook")
    assert (await world.connector.check(world.http, world.config, who, held)).code is None


@pytest.mark.parametrize("listed", ["listed", "portfolio_only"])
async def test_all_pages_over_all_cursors_and_portfolios_each_once(make_login: MakeLogin, listed: Any) -> None:
    world = make_login()
    world.meta.configure_login(portfolio_pages=listed)
    person = world.meta.create_user()
    world.meta.create_pages(250, user_id=person.user_id, name="Own")
    portfolio = world.meta.create_business("A", person.user_id)
    other = world.meta.create_business("B", person.user_id)
    given: dict[str, Any] = {"user_id": person.user_id, "business_id": portfolio.business_id}
    world.meta.create_pages(120, name="Owned", **given)
    world.meta.create_pages(3, name="Client", ownership="client", **given)
    world.meta.create_page(name="Elsewhere", user_id=person.user_id, business_id=other.business_id)
    world.meta.create_page(name="Withheld", user_id=person.user_id, token_withheld=True)
    world.meta.create_page(name="Analyst", user_id=person.user_id, tasks=("ANALYZE", "MODERATE"))
    world.meta.create_page(name="New", user_id=person.user_id, tasks=("PROFILE_PLUS_FULL_CONTROL",))
    result = await connect(world)
    assert result.complete
    assert len(result.candidates) == 250 + 120 + 3 + 4
    assert len({each.platform_account_id for each in result.candidates}) == len(result.candidates)
    found = by_name(result)
    unusable = {name: each.code for name, each in found.items() if each.code is not None}
    assert unusable == {
        "Withheld": ErrorCode.CONNECT_PAGE_TOKEN_MISSING,
        "Analyst": ErrorCode.CONNECT_ROLE_MISSING,
    }
    assert all((each.grant is None) == (each.code is not None) for each in result.candidates)


async def test_without_the_right_to_portfolios_they_are_not_asked_for(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_page(name="Own")
    result = await connect(world, scopes=SCOPES)
    assert (names(result), result.complete) == ({"Own"}, True)
    assert world.calls("meta.businesses") == 0


async def test_a_second_cursor_that_fails_marks_the_list_incomplete(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.meta.create_user()
    world.meta.create_pages(250, user_id=person.user_id)
    portfolio = world.meta.create_business("A", person.user_id)
    world.meta.create_pages(1, name="Owned", user_id=person.user_id, business_id=portfolio.business_id)
    world.meta.configure_login(portfolio_pages="portfolio_only")
    world.faults.add(ACCOUNTS, "status", after=1, times=2)
    result = await connect(world)
    assert not result.complete
    assert len(result.candidates) == 100 + 1


async def test_a_cursor_whose_answer_got_lost_is_asked_for_once_more(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_pages(120)
    world.faults.add(ACCOUNTS, "drop_before", after=1)
    result = await connect(world)
    assert (len(result.candidates), result.complete) == (120, True)


async def test_a_refused_cursor_is_not_asked_for_again(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_pages(120)
    world.faults.add(ACCOUNTS, "throttle", after=1, code=4)
    result = await connect(world)
    assert (len(result.candidates), result.complete) == (100, False)
    assert world.calls(ACCOUNTS) == 2


@pytest.mark.parametrize("route", ["meta.businesses", OWNED, "meta.businesses.client_pages"])
async def test_a_portfolio_that_fails_hides_nothing(make_login: MakeLogin, route: str) -> None:
    world = make_login()
    person = world.meta.create_user()
    world.meta.create_pages(2, name="Own", user_id=person.user_id)
    portfolio = world.meta.create_business("A", person.user_id)
    world.meta.create_pages(2, name="Owned", user_id=person.user_id, business_id=portfolio.business_id)
    world.faults.add(route, "meta_error", code=200, times=None)
    result = await connect(world)
    assert not result.complete
    assert {"Own 1", "Own 2"} <= names(result)


async def test_a_next_address_is_never_followed(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_pages(120)
    world.meta.configure_login(paging_base="https://elsewhere.example")
    assert len((await connect(world)).candidates) == 120


@pytest.mark.parametrize(
    "paging",
    [
        # More, but no cursor to ask with; and a cursor that leads in a circle.
        {"next": "https://graph.facebook.com/next"},
        {"next": "https://graph.facebook.com/next", "cursors": {"after": "again"}},
    ],
)
async def test_a_list_without_an_end_is_incomplete(make_login: MakeLogin, paging: dict[str, Any]) -> None:
    world = make_login()
    world.meta.create_page()
    row = {"id": "1", "name": "A", "access_token": "EAAplanted-page-token", "tasks": ["MANAGE"]}
    world.faults.add(ACCOUNTS, "status", times=None, status=200, json={"data": [row], "paging": paging})
    result = await connect(world)
    assert ([each.platform_account_id for each in result.candidates], result.complete) == (["1"], False)
    assert world.calls(ACCOUNTS) <= 2


async def test_lists_that_take_too_long_are_cut(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_pages(120)

    # An answer that costs half of the time there is: the next one is the last.
    inner = world.http.call

    async def slowly(name: str, *parts: Any, **options: Any) -> Any:
        answer = await inner(name, *parts, **options)
        if name == graph_login.ACCOUNTS:
            world.clock.advance(graph_login.LISTS_SECONDS_MAX)
        return answer

    world.http.call = slowly  # type: ignore[method-assign]
    result = await connect(world)
    assert (len(result.candidates), result.complete) == (100, False)


async def test_odd_rows_are_left_out(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_page()
    rows = [
        "text",
        {"name": "no id"},
        {"id": 17, "name": " A\n name ", "access_token": "EAAplanted-token", "picture": 3},
    ]
    world.faults.add(ACCOUNTS, "status", status=200, json={"data": rows})
    [found] = (await connect(world, scopes=SCOPES)).candidates
    assert (found.platform_account_id, found.name, found.picture_url, found.code) == ("17", "A name", None, None)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Null\x00byte", "Null byte"),
        ("half a \ud83d pair", "half a pair"),
        ("\u202efdp.exe\u202c", "fdp.exe"),
        ("\u2067turned\u2069", "turned"),
        ("bell\x07 and \x85 next line", "bell and next line"),
        ("Family 👨‍👩‍👧 \u200f", "Family 👨‍👩‍👧 \u200f"),
        ("\x00\ud800", "17"),
    ],
)
async def test_a_name_can_be_stored_and_turns_no_text_around(make_login: MakeLogin, given: str, shown: str) -> None:
    world = make_login()
    world.meta.create_page()
    real = world.http.call

    async def renamed(name: str, *rest: Any, **parts: Any) -> ApiResponse:
        answer = await real(name, *rest, **parts)
        if name == graph_login.ACCOUNTS:
            [row] = answer.json["data"]
            row |= {"id": "17", "name": given, "username": given}
        return answer

    world.http.call = renamed  # type: ignore[method-assign]
    [found] = (await connect(world, scopes=SCOPES)).candidates
    assert (found.name, found.handle, found.code) == (shown, shown if shown != "17" else None, None)


@pytest.mark.parametrize("beyond", [10**400, 10**18, 4_102_444_800_000], ids=["digits", "ages", "milliseconds"])
async def test_times_beyond_all_measure_are_not_known(make_login: MakeLogin, beyond: int) -> None:
    world = make_login()
    world.meta.create_page()
    real = world.http.call

    async def absurd(name: str, *rest: Any, **parts: Any) -> ApiResponse:
        answer = await real(name, *rest, **parts)
        match answer.json:
            case {"data": {"is_valid": True} as facts}:
                facts |= {"expires_at": beyond, "data_access_expires_at": beyond}
            case {"access_token": _} as granted if "expires_in" in granted:
                granted["expires_in"] = beyond
        return answer

    world.http.call = absurd  # type: ignore[method-assign]
    result = await connect(world)
    [found] = result.candidates
    assert found.grant is not None
    assert found.grant.more["user_token"][1] is None
    page = account("facebook", found.platform_account_id, "facebook")
    check = await world.connector.check(world.http, world.config, page, stored(result, "facebook"))
    assert (check.code, check.token_expires_in_seconds, check.data_access_expires_in_seconds) == (None, None, None)


async def test_a_page_that_was_not_ticked_says_so(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.meta.create_user()
    first, second = world.meta.create_pages(2, user_id=person.user_id)
    # What the person ticked is left out of lists; a portfolio's list may still show the page.
    data = {
        "is_valid": True,
        "user_id": int(person.user_id),
        "scopes": list(SCOPES),
        "granular_scopes": [
            {"scope": "pages_manage_posts", "target_ids": [first.page_id]},
            {"scope": "pages_show_list"},
        ],
    }
    world.faults.add("meta.debug_token", "status", status=200, json={"data": data})
    found = by_name(await connect(world))
    assert {name: each.code for name, each in found.items()} == {
        first.name: None,
        second.name: ErrorCode.CONNECT_SCOPES_MISSING,
    }


async def test_only_ticked_pages_are_offered(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.meta.create_user()
    first, _ = world.meta.create_pages(2, user_id=person.user_id)
    assert names(await connect(world, page_ids=(first.page_id,))) == {first.name}


async def test_no_pages(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_user()
    assert await code_of(world) is ErrorCode.CONNECT_NO_PAGES
    world.faults.add("meta.businesses", "status", times=None)
    assert await code_of(world) is ErrorCode.CONNECT_LIST_INCOMPLETE


# The login -------------------------------------------------------------------------------------------------------------


async def test_the_long_lived_token_comes_before_the_pages(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_page()
    await connect(world)
    routes = [each.route for each in world.sandbox.requests.list() if each.route]
    assert routes.index(EXCHANGE) < routes.index(EXTEND) < routes.index(ACCOUNTS)


async def test_without_a_long_lived_token_there_is_nothing(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_page()
    world.faults.add(EXTEND, "status", times=None)
    assert await code_of(world) is ErrorCode.CONNECT_PLATFORM_REFUSED
    assert world.calls(ACCOUNTS) == 0


async def test_a_lost_answer_after_the_code_is_asked_for_again(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_page()
    for route in (EXTEND, "meta.debug_token", "meta.permissions", ACCOUNTS):
        world.faults.add(route, "drop_after")
    assert len((await connect(world)).candidates) == 1
    assert (world.calls(EXCHANGE), world.calls(EXTEND)) == (1, 2)


async def test_an_end_that_is_not_given_is_looked_up(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_page()
    world.meta.configure_login(expires_in_given=False, app_id_as_number=True)
    grant = (await connect(world)).candidates[0].grant
    assert grant is not None
    assert grant.more["user_token"][1] == pytest.approx(60 * DAY, abs=5)


@pytest.mark.parametrize("missing", SCOPES)
async def test_a_declined_permission_is_named(make_login: MakeLogin, missing: str) -> None:
    world = make_login()
    world.meta.create_page()
    world.meta.next_consent(scopes=tuple(each for each in SCOPES if each != missing))
    with pytest.raises(Failure) as caught:
        await world.connect("facebook")
    assert caught.value.code is ErrorCode.CONNECT_SCOPES_MISSING
    others = ", ".join(purpose for scope, purpose in NEEDED.items() if scope != missing)
    assert caught.value.detail == f"not given: {missing} ({NEEDED[missing]}); still possible: {others}"
    # Declined once, asked for again.
    assert len((await connect(world)).candidates) == 1


async def test_nothing_ticked_leaves_nothing(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_page()
    world.meta.next_consent(scopes=())
    with pytest.raises(Failure) as caught:
        await world.connect("facebook")
    assert caught.value.code is ErrorCode.CONNECT_SCOPES_MISSING
    assert caught.value.detail.endswith("still possible: nothing")
    assert all(f"{scope} (" in caught.value.detail for scope in SCOPES)


async def test_what_is_not_needed_may_be_left_out(make_login: MakeLogin) -> None:
    world = make_login(facebook_extra_scopes="business_management,pages_manage_engagement")
    world.meta.create_page()
    [found] = (await connect(world, scopes=SCOPES)).candidates
    assert (found.code, set(found.scopes) & {"business_management", "pages_manage_engagement"}) == (None, set())


async def test_a_configuration_takes_the_place_of_scopes(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_page()
    made = world.meta.create_configuration()
    world.config = world.config.model_copy(update={"meta_config_id": made.config_id})
    app = world.app("facebook")
    assert (app.scopes, dict(app.parameters)) == ((), {"config_id": made.config_id})
    assert len((await connect(world)).candidates) == 1
    # All or nothing.
    assert await code_of(world, scopes=("pages_show_list",)) is ErrorCode.CONNECT_SCOPES_MISSING


@pytest.mark.parametrize(("sixty_days", "ends_in"), [(False, None), (True, 60 * DAY)])
async def test_a_system_user_is_long_lived_from_the_start(
    make_login: MakeLogin, sixty_days: bool, ends_in: float | None
) -> None:
    world = make_login()
    person = world.meta.create_user()
    portfolio = world.meta.create_business("A", person.user_id)
    world.meta.create_page(name="Owned", user_id=person.user_id, business_id=portfolio.business_id)
    made = world.meta.create_configuration(system_user=True, sixty_days=sixty_days)
    world.config = world.config.model_copy(update={"meta_config_id": made.config_id})
    result = await connect(world, user_id=person.user_id, business_id=portfolio.business_id)
    [found] = result.candidates
    assert (found.name, found.code) == ("Owned", None)
    assert found.grant is not None
    token, seconds = found.grant.more["user_token"]
    assert world.meta.tokens[token].kind == "SYSTEM_USER"
    assert seconds == (None if ends_in is None else pytest.approx(ends_in, abs=5))


async def test_a_code_is_good_once(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_page()
    world.meta.next_consent()
    request = await world.request("facebook")
    await connect(world, request)
    assert await code_of(world, request) is ErrorCode.CONNECT_CODE_REJECTED


@pytest.mark.parametrize(
    ("change", "late", "code"),
    [
        ({"redirect_uri": "https://orbyt.example/connect/callback/"}, 0.0, ErrorCode.CONNECT_CODE_REJECTED),
        ({"code": "another"}, 0.0, ErrorCode.CONNECT_CODE_REJECTED),
        ({}, 3600.0, ErrorCode.CONNECT_CODE_REJECTED),
    ],
)
async def test_codes_that_do_not_count(
    make_login: MakeLogin, change: dict[str, Any], late: float, code: ErrorCode
) -> None:
    world = make_login()
    world.meta.create_page()
    world.meta.next_consent()
    request = replace(await world.request("facebook"), **change)
    world.clock.advance(late)
    assert await code_of(world, request) is code
    assert world.calls(EXCHANGE) == 1


@pytest.mark.parametrize(("kind", "options"), [*TROUBLE, ("meta_error", {"code": 2, "status": 500})], ids=trouble_id)
async def test_trouble_at_the_exchange_is_no_refusal_and_not_repeated(
    make_login: MakeLogin, kind: Any, options: dict[str, Any]
) -> None:
    world = make_login()
    world.meta.create_page()
    world.faults.add(EXCHANGE, kind, **options)
    assert await code_of(world) is ErrorCode.CONNECT_PLATFORM_REFUSED
    assert world.calls(EXCHANGE) == 1


@pytest.mark.parametrize("kind", LOST)
async def test_a_lost_answer_of_the_exchange_is_not_repeated(make_login: MakeLogin, kind: Any) -> None:
    world = make_login()
    world.meta.create_page()
    world.http.hasty.add(graph_login.EXCHANGE)
    world.faults.add(EXCHANGE, kind, seconds=5)
    assert await code_of(world) is ErrorCode.CONNECT_INTERRUPTED
    assert world.calls(EXCHANGE) == 1


@pytest.mark.parametrize(
    ("route", "options", "code"),
    [
        (EXCHANGE, {"code": 4}, ErrorCode.META_APP_THROTTLED),
        (EXCHANGE, {"code": 190}, ErrorCode.CONNECT_PLATFORM_REFUSED),
        ("meta.permissions", {"code": 190, "subcode": 458}, ErrorCode.CONNECT_PLATFORM_REFUSED),
        (ACCOUNTS, {"code": 10}, ErrorCode.CONNECT_PLATFORM_REFUSED),
        # Of the app's own token: the operator's.
        ("meta.debug_token", {"code": 190}, ErrorCode.META_APP_SIGNATURE_REFUSED),
    ],
)
async def test_refusals_on_the_way(make_login: MakeLogin, route: str, options: dict[str, Any], code: ErrorCode) -> None:
    world = make_login()
    world.meta.create_page()
    world.faults.add(route, "meta_error", **options)
    assert await code_of(world) is code


async def test_a_wrong_secret_is_not_the_persons(make_login: MakeLogin) -> None:
    world = make_login()
    world.meta.create_page()
    world.meta.next_consent()
    request = await world.request("facebook")
    wrong = sandbox_settings(meta_app_secret="wrong-secret-of-an-app").meta_app_secret
    world.config = world.config.model_copy(update={"meta_app_secret": wrong})
    assert await code_of(world, request) is ErrorCode.CONNECT_PLATFORM_REFUSED
    world.config = sandbox_settings()
    assert world.connector.apps(world.config) == ()
    assert await code_of(world, request) is ErrorCode.PLATFORM_NOT_CONFIGURED


# Afterwards ------------------------------------------------------------------------------------------------------------


async def connected(world: LoginWorld, name: str = "My page") -> tuple[Account, Credentials, str]:
    page = world.meta.create_page(name=name)
    result = await connect(world)
    return account("facebook", page.page_id, "facebook", name), stored(result, "facebook"), page.user_id


async def test_a_check_of_a_working_connection(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, _ = await connected(world)
    found = await world.connector.check(world.http, world.config, who, held)
    assert found.code is None
    assert set(SCOPES) <= set(found.scopes or ())
    assert found.token_expires_in_seconds is None
    # Rights of pages are exempt from it.
    assert found.data_access_expires_in_seconds is None


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("expired", ErrorCode.META_TOKEN_EXPIRED),
        ("revoked", ErrorCode.META_TOKEN_INVALID),
        ("password_changed", ErrorCode.META_SESSION_ENDED),
        ("app_removed", ErrorCode.META_APP_REMOVED),
        ("role_lost", ErrorCode.META_ROLE_LOST),
        ("checkpoint", ErrorCode.META_CHECKPOINT),
    ],
)
async def test_a_check_of_a_dead_token(make_login: MakeLogin, state: Any, code: ErrorCode) -> None:
    world = make_login()
    who, held, user_id = await connected(world)
    world.meta.kill_user(user_id, state)
    with capture_logs() as logs:
        found = await world.connector.check(world.http, world.config, who, held)
    assert found.code is code
    assert catalog.entry(code).needs_reauth
    world.assert_secret_free(found, logs)


async def test_a_check_names_the_right_and_the_page(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, user_id = await connected(world)
    world.meta.set_permission(user_id, "pages_manage_posts", "declined")
    found = await world.connector.check(world.http, world.config, who, held)
    assert (found.code, found.detail) == (ErrorCode.META_PERMISSION_MISSING, "pages_manage_posts for My page")
    assert "pages_manage_posts" not in (found.scopes or ())
    # One nobody needs for posting is no reason.
    world.meta.set_permission(user_id, "pages_manage_posts", "granted")
    world.meta.set_permission(user_id, "pages_manage_engagement", "declined")
    assert (await world.connector.check(world.http, world.config, who, held)).code is None


async def test_a_check_finds_a_page_that_is_no_longer_ticked(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, user_id = await connected(world)
    world.meta.set_shared(user_id, page_ids=("100099",))
    found = await world.connector.check(world.http, world.config, who, held)
    assert found.code is ErrorCode.META_PERMISSION_MISSING
    assert found.detail == f"{', '.join(SCOPES)} for My page"


async def test_a_check_without_a_token(make_login: MakeLogin) -> None:
    world = make_login()
    who = account("facebook", "1", "facebook")
    found = await world.connector.check(world.http, world.config, who, Credentials("facebook"))
    assert found.code is ErrorCode.ACCOUNT_NEEDS_REAUTH


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("drop_before", {}),
        ("status", {"status": 500}),
        ("status", {"status": 429}),
        ("status", {"status": 503, "body": "html"}),
        ("status", {"status": 200, "json": {}}),
        ("status", {"status": 200, "json": {"data": {"is_valid": "no"}}}),
        ("throttle", {"code": 4}),
        ("meta_error", {"code": 2}),
        # About the app's own token.
        ("meta_error", {"code": 190}),
        ("meta_error", {"code": 190, "subcode": 467}),
        # Not valid, for a reason that is none of the person's: another app's id, trouble.
        ("status", {"status": 200, "json": {"data": {"is_valid": False, "error": {"code": 100, "message": "App_id"}}}}),
        ("status", {"status": 200, "json": {"data": {"is_valid": False, "error": {"code": 1}}}}),
    ],
)
async def test_trouble_during_a_check_disconnects_nobody(
    make_login: MakeLogin, kind: Any, options: dict[str, Any]
) -> None:
    world = make_login()
    who, held, _ = await connected(world)
    world.faults.add("meta.debug_token", kind, **options)
    with pytest.raises(Failure) as caught:
        await world.connector.check(world.http, world.config, who, held)
    assert not catalog.entry(caught.value.code).needs_reauth


async def test_not_valid_without_a_reason_is_an_answer(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, _ = await connected(world)
    world.faults.add("meta.debug_token", "status", status=200, json={"data": {"is_valid": False}})
    found = await world.connector.check(world.http, world.config, who, held)
    assert found.code is ErrorCode.META_TOKEN_INVALID


@pytest.mark.parametrize("answer", ["object", "bare"])
async def test_revoking_ends_everything_of_that_person_and_can_be_repeated(make_login: MakeLogin, answer: Any) -> None:
    world = make_login()
    world.meta.configure_login(revoke_answer=answer)
    who, held, user_id = await connected(world)
    await world.connector.revoke(world.http, world.config, who, held)
    assert {each.state for each in world.meta.list_tokens(user_id=user_id)} == {"app_removed"}
    await world.connector.revoke(world.http, world.config, who, held)
    assert world.calls("meta.revoke") == 2


async def test_without_the_persons_token_nothing_can_be_revoked(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, _ = await connected(world)
    await world.connector.revoke(world.http, world.config, who, replace(held, more={}))
    assert world.calls("meta.revoke") == 0
    # Ended by itself: there is nothing left to say it with.
    world.clock.advance(timedelta(days=61).total_seconds())
    await world.connector.revoke(world.http, world.config, who, held)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("drop_before", {}),
        ("status", {"status": 503, "body": "html"}),
        ("status", {"status": 200, "json": {"success": False}}),
        ("throttle", {"code": 4}),
    ],
)
async def test_revoking_that_got_lost_is_not_success(make_login: MakeLogin, kind: Any, options: dict[str, Any]) -> None:
    world = make_login()
    who, held, _ = await connected(world)
    world.faults.add("meta.revoke", kind, **options)
    with pytest.raises(Failure):
        await world.connector.revoke(world.http, world.config, who, held)


def test_what_the_dialog_is_asked_for(make_login: MakeLogin) -> None:
    assert tuple(NEEDED) == SCOPES
    world = make_login(facebook_extra_scopes="business_management")
    app = world.app("facebook")
    assert app.scopes == (*SCOPES, "business_management")
    assert dict(app.parameters) == {"auth_type": "rerequest"}
    assert not app.pkce
    assert app.authorize_url.endswith(f"/{world.config.meta_api_version}/dialog/oauth")
