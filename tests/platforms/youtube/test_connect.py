"""Connecting a YouTube channel: what is offered, what is refused, and what is only trouble."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.base import Credentials
from orbyt_worker.platforms.connector import ConnectRequest
from orbyt_worker.platforms.youtube.connect import EXCHANGE, NEEDED, YouTubeConnector
from orbyt_worker.platforms.youtube.rules import RULES, SCOPE_READ, SCOPE_UPLOAD
from orbyt_worker.sandbox.server import SandboxServer
from tests.platforms.driver import sandbox_settings
from tests.platforms.logging_in import LOST, TROUBLE, LoginWorld, account, stored, trouble_id

FORCE_SSL = "https://www.googleapis.com/auth/youtube.force-ssl"
TOKEN = "google.token"


@pytest.fixture
async def make_login(server: SandboxServer) -> AsyncIterator[Callable[..., LoginWorld]]:
    made: list[LoginWorld] = []

    def make(**settings: Any) -> LoginWorld:
        made.append(LoginWorld(server, YouTubeConnector, **settings))
        return made[-1]

    yield make
    for world in made:
        await world.aclose()
    assert server.state.internal_errors() == []


MakeLogin = Callable[..., LoginWorld]


async def code_of(world: LoginWorld, request: ConnectRequest | None = None) -> ErrorCode:
    with capture_logs() as logs, pytest.raises(Failure) as caught:
        await world.connect("google", request)
    world.assert_secret_free(caught.value, caught.value.detail, logs)
    # There is no account yet that could be disconnected by it.
    assert not catalog.entry(caught.value.code).needs_reauth
    return caught.value.code


async def test_the_channel_that_was_picked(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.google.create_account(channel_title="My  channel")
    second = world.google.add_channel(person.sub, title="Second", handle="@second")
    world.google.next_consent(channel_id=second)
    with capture_logs() as logs:
        result = await world.connect("google")
    [found] = result.candidates
    assert (found.platform_account_id, found.name, found.handle) == (second, "Second", "@second")
    assert found.picture_url is not None
    assert found.code is None
    assert set(found.scopes) == {SCOPE_UPLOAD, SCOPE_READ}
    assert found.token_expires_in_seconds is None
    assert (result.platform_user_id, result.complete) == (second, True)
    assert found.grant is not None
    assert found.grant.refresh_token in world.google.grants
    assert found.grant.expires_in_seconds == 3599
    world.assert_secret_free(result, logs)


async def test_whoever_granted_before_is_asked_again_and_gives_a_new_refresh_token(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.google.create_account()
    for _ in range(2):
        world.google.next_consent(sub=person.sub)
        grant = (await world.connect("google")).candidates[0].grant
        assert grant is not None
        assert grant.refresh_token not in (None, person.refresh_token)


async def test_no_refresh_token_is_handed_on_as_none(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.google.create_account()
    world.google.next_consent(sub=person.sub)
    token = world.google.issue_access_token(person.refresh_token)
    answer = {"access_token": token, "expires_in": 3599, "scope": f"{SCOPE_READ} {SCOPE_UPLOAD}"}
    world.faults.add(TOKEN, "status", status=200, json=answer)
    grant = (await world.connect("google")).candidates[0].grant
    assert grant is not None
    assert (grant.access_token, grant.refresh_token) == (token, None)


async def test_limited_access_has_an_end(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.google.create_account()
    world.google.next_consent(sub=person.sub, grant_seconds=15_551_999)
    assert (await world.connect("google")).candidates[0].token_expires_in_seconds == 15_551_999


@pytest.mark.parametrize(
    ("ticked", "detail"),
    [
        (
            SCOPE_UPLOAD,
            "not given: youtube.readonly (seeing the channel and whether a video is up); still possible: uploading videos",
        ),
        (
            SCOPE_READ,
            "not given: youtube.upload (uploading videos); still possible: seeing the channel and whether a video is up",
        ),
    ],
)
async def test_an_unticked_scope_is_named(make_login: MakeLogin, ticked: str, detail: str) -> None:
    assert tuple(NEEDED) == RULES.required_scopes
    world = make_login()
    person = world.google.create_account()
    world.google.next_consent(sub=person.sub, scopes=(ticked,))
    with pytest.raises(Failure) as caught:
        await world.connect("google")
    assert (caught.value.code, caught.value.detail) == (ErrorCode.CONNECT_SCOPES_MISSING, detail)


async def test_further_scopes_are_asked_for_and_not_required(make_login: MakeLogin) -> None:
    world = make_login(youtube_extra_scopes=FORCE_SSL)
    person = world.google.create_account()
    assert world.app("google").scopes == (SCOPE_UPLOAD, SCOPE_READ, FORCE_SSL)
    for ticked, granted in ((None, {SCOPE_UPLOAD, SCOPE_READ, FORCE_SSL}), ((SCOPE_UPLOAD, SCOPE_READ), {SCOPE_UPLOAD, SCOPE_READ})):  # fmt: skip
        world.google.next_consent(sub=person.sub, scopes=ticked)
        assert set((await world.connect("google")).candidates[0].scopes) == granted


async def test_no_channel(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.google.create_account(channel=False)
    world.google.next_consent(sub=person.sub)
    assert await code_of(world) is ErrorCode.CONNECT_NO_CHANNEL


async def test_a_channel_without_a_public_identity_cannot_be_used(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.google.create_account()
    world.google.next_consent(sub=person.sub)
    channel = {"id": "UC1", "snippet": {"title": "Old"}, "status": {"isLinked": False}}
    world.faults.add(
        "youtube.channels.list", "status", status=200, json={"items": [channel], "pageInfo": {"totalResults": 1}}
    )
    [found] = (await world.connect("google")).candidates
    assert (found.code, found.grant) == (ErrorCode.CONNECT_NO_CHANNEL, None)


# The code --------------------------------------------------------------------------------------------------------------


async def test_a_code_is_good_once(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.google.create_account()
    world.google.next_consent(sub=person.sub)
    request = await world.request("google")
    await world.connect("google", request)
    assert await code_of(world, request) is ErrorCode.CONNECT_CODE_REJECTED


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"code_verifier": "x" * 43}, ErrorCode.CONNECT_CODE_REJECTED),
        ({"code_verifier": None}, ErrorCode.CONNECT_CODE_REJECTED),
        ({"code": "4/0another"}, ErrorCode.CONNECT_CODE_REJECTED),
        # The operator's: the address is not the one that is registered.
        ({"redirect_uri": "https://orbyt.example/other"}, ErrorCode.GOOGLE_CLIENT_INVALID),
    ],
)
async def test_a_code_goes_with_what_asked_for_it(
    make_login: MakeLogin, change: dict[str, Any], code: ErrorCode
) -> None:
    world = make_login()
    person = world.google.create_account()
    world.google.next_consent(sub=person.sub)
    assert await code_of(world, replace(await world.request("google"), **change)) is code
    assert world.calls(TOKEN) == 1


async def test_a_code_grows_old(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.google.create_account()
    world.google.next_consent(sub=person.sub)
    request = await world.request("google")
    world.clock.advance(3600)
    assert await code_of(world, request) is ErrorCode.CONNECT_CODE_REJECTED


@pytest.mark.parametrize(("kind", "options"), [*TROUBLE, ("status", {"status": 429})], ids=trouble_id)
async def test_trouble_at_the_exchange_is_no_refusal_and_not_repeated(
    make_login: MakeLogin, kind: Any, options: dict[str, Any]
) -> None:
    world = make_login()
    person = world.google.create_account()
    world.google.next_consent(sub=person.sub)
    world.faults.add(TOKEN, kind, **options)
    assert await code_of(world) is ErrorCode.CONNECT_PLATFORM_REFUSED
    assert world.calls(TOKEN) == 1


@pytest.mark.parametrize("kind", LOST)
async def test_a_lost_answer_of_the_exchange_is_not_repeated(make_login: MakeLogin, kind: Any) -> None:
    world = make_login()
    person = world.google.create_account()
    world.google.next_consent(sub=person.sub)
    world.http.hasty.add(EXCHANGE)
    world.faults.add(TOKEN, kind, seconds=5)
    assert await code_of(world) is ErrorCode.CONNECT_INTERRUPTED
    assert world.calls(TOKEN) == 1


async def test_the_operators_mistakes_are_the_operators(make_login: MakeLogin) -> None:
    world = make_login()
    person = world.google.create_account()
    world.google.next_consent(sub=person.sub)
    request = await world.request("google")
    world.config = sandbox_settings()
    assert world.connector.apps(world.config) == ()
    assert await code_of(world, request) is ErrorCode.PLATFORM_NOT_CONFIGURED


# After the code --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "code"),
    [
        ("drop_before", {}, ErrorCode.CONNECT_INTERRUPTED),
        ("status", {"status": 503, "body": "html"}, ErrorCode.CONNECT_PLATFORM_REFUSED),
        # Neither channels nor the word that there are none.
        ("status", {"status": 200, "json": {}}, ErrorCode.CONNECT_PLATFORM_REFUSED),
    ],
)
async def test_the_channel_is_asked_for_twice(
    make_login: MakeLogin, kind: Any, options: dict[str, Any], code: ErrorCode
) -> None:
    for times, outcome in ((1, None), (2, code)):
        world = make_login()
        person = world.google.create_account()
        world.google.next_consent(sub=person.sub)
        world.faults.add("youtube.channels.list", kind, times=times, **options)
        if outcome is None:
            assert len((await world.connect("google")).candidates) == 1
        else:
            assert await code_of(world) is outcome
        assert (world.calls(TOKEN), world.calls("youtube.channels.list")) == (1, 2)


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        ("accessNotConfigured", 403, ErrorCode.YOUTUBE_API_NOT_ENABLED),
        ("youtubeSignupRequired", 401, ErrorCode.CONNECT_NO_CHANNEL),
        ("authError", 401, ErrorCode.CONNECT_PLATFORM_REFUSED),
        ("quotaExceeded", 403, ErrorCode.YOUTUBE_QUOTA_EXHAUSTED),
    ],
)
async def test_refusals_of_the_channel(make_login: MakeLogin, reason: str, status: int, code: ErrorCode) -> None:
    world = make_login()
    person = world.google.create_account()
    world.google.next_consent(sub=person.sub)
    world.faults.add("youtube.channels.list", "status", status=status, reason=reason)
    assert await code_of(world) is code


# Afterwards ------------------------------------------------------------------------------------------------------------


async def connected(world: LoginWorld, **person: Any) -> tuple[Any, Credentials, str]:
    made = world.google.create_account(**person)
    world.google.next_consent(sub=made.sub)
    result = await world.connect("google")
    return account("youtube", made.channel_id or "", "google"), stored(result, "google"), made.sub


async def test_a_check_of_a_working_connection(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, _ = await connected(world)
    calls = world.calls(TOKEN)
    found = await world.connector.check(world.http, world.config, who, held)
    assert (found.code, found.scopes) == (None, None)
    assert world.calls(TOKEN) == calls
    # The access token has run out meanwhile: only the refresh token tells.
    world.clock.advance(7200)
    found = await world.connector.check(world.http, world.config, who, held)
    assert (found.code, set(found.scopes or ())) == (None, {SCOPE_UPLOAD, SCOPE_READ})
    found = await world.connector.check(world.http, world.config, who, replace(held, access_token=None))
    assert found.code is None


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("revoked", ErrorCode.GOOGLE_GRANT_INVALID),
        ("account_deleted", ErrorCode.GOOGLE_GRANT_INVALID),
        ("admin_policy_enforced", ErrorCode.GOOGLE_ADMIN_POLICY),
    ],
)
async def test_a_check_of_a_dead_grant(make_login: MakeLogin, reason: Any, code: ErrorCode) -> None:
    world = make_login()
    who, held, sub = await connected(world)
    world.google.kill_grant(sub=sub, reason=reason)
    found = await world.connector.check(world.http, world.config, who, held)
    assert found.code is code
    assert catalog.entry(code).needs_reauth
    world.assert_secret_free(found)


async def test_a_check_of_another_channel_or_none(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, _ = await connected(world)
    found = await world.connector.check(world.http, world.config, replace(who, platform_account_id="UCother"), held)
    assert found.code is ErrorCode.ACCOUNT_WRONG_CHANNEL
    nobody = {"kind": "youtube#channelListResponse", "pageInfo": {"totalResults": 0}}
    world.faults.add("youtube.channels.list", "status", status=200, json=nobody)
    found = await world.connector.check(world.http, world.config, who, held)
    assert found.code is ErrorCode.YOUTUBE_NO_CHANNEL


async def test_a_check_finds_a_suspended_channel(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, _ = await connected(world)
    world.faults.add("youtube.channels.list", "status", status=403, reason="channelSuspended")
    found = await world.connector.check(world.http, world.config, who, held)
    assert found.code is ErrorCode.YOUTUBE_ACCOUNT_SUSPENDED


async def test_a_check_finds_a_permission_that_was_withdrawn(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, _ = await connected(world)
    answer = {"access_token": held.access_token, "scope": SCOPE_READ}
    world.faults.add(TOKEN, "status", status=200, json=answer)
    found = await world.connector.check(world.http, world.config, who, replace(held, access_token=None))
    assert (found.code, found.scopes) == (ErrorCode.YOUTUBE_SCOPE_MISSING, (SCOPE_READ,))


@pytest.mark.parametrize("route", [TOKEN, "youtube.channels.list"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("drop_before", {}),
        ("status", {"status": 500}),
        ("status", {"status": 429}),
        ("status", {"status": 503, "body": "html"}),
        ("status", {"status": 200, "json": {}}),
    ],
)
async def test_trouble_during_a_check_disconnects_nobody(
    make_login: MakeLogin, route: str, kind: Any, options: dict[str, Any]
) -> None:
    world = make_login()
    who, held, _ = await connected(world)
    world.clock.advance(7200)
    world.faults.add(route, kind, times=None, **options)
    with pytest.raises(Failure) as caught:
        await world.connector.check(world.http, world.config, who, held)
    assert not catalog.entry(caught.value.code).needs_reauth


async def test_revoking_ends_the_grant_and_can_be_repeated(make_login: MakeLogin) -> None:
    world = make_login()
    who, held, _ = await connected(world)
    await world.connector.revoke(world.http, world.config, who, held)
    assert world.google.grants[held.refresh_token or ""].dead == "revoked"
    await world.connector.revoke(world.http, world.config, who, held)
    assert world.calls("google.revoke") == 2
    await world.connector.revoke(world.http, world.config, who, Credentials("google"))
    assert world.calls("google.revoke") == 2


@pytest.mark.parametrize(
    ("kind", "options", "code"),
    [
        ("status", {"status": 503}, ErrorCode.GOOGLE_TOKEN_UNAVAILABLE),
        ("status", {"status": 400, "body": "html"}, ErrorCode.GOOGLE_TOKEN_UNAVAILABLE),
        ("drop_before", {}, ErrorCode.NETWORK_UNREACHABLE),
    ],
)
async def test_revoking_that_got_lost_is_not_success(
    make_login: MakeLogin, kind: Any, options: dict[str, Any], code: ErrorCode
) -> None:
    world = make_login()
    who, held, _ = await connected(world)
    world.faults.add("google.revoke", kind, **options)
    with pytest.raises(Failure) as caught:
        await world.connector.revoke(world.http, world.config, who, held)
    assert caught.value.code is code


def test_the_consent_page_is_asked_for_lasting_access(make_login: MakeLogin) -> None:
    app = make_login().app("google")
    assert app.pkce
    assert app.parameters == {"access_type": "offline", "prompt": "consent select_account"}
