"""Refreshing Google's access token: what is a new token, what disconnects, and what is only trouble."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.base import Credentials, TokenGrant
from orbyt_worker.platforms.youtube import PLATFORM
from tests.platforms.driver import sandbox_settings
from tests.platforms.youtube.world import YouTubeWorld

MakeWorld = Callable[..., YouTubeWorld]
TOKEN = "google.token"


async def refresh(world: YouTubeWorld, token: str | None = None) -> TokenGrant:
    credentials = Credentials("google", refresh_token=token or world.account.refresh_token)
    return await PLATFORM.refresh(world.driver.http, world.config, credentials)


async def code_of(world: YouTubeWorld, token: str | None = None) -> ErrorCode:
    with pytest.raises(Failure) as caught:
        await refresh(world, token)
    assert world.account.refresh_token not in str(caught.value)
    return caught.value.code


async def test_new_token_keeps_the_stored_refresh_token(make_world: MakeWorld) -> None:
    world = make_world()
    grant = await refresh(world)
    assert grant.refresh_token is None
    assert grant.expires_in_seconds == 3599
    assert grant.scopes is not None
    assert set(grant.scopes) == set(PLATFORM.rules.required_scopes)
    assert grant.access_token not in repr(grant)
    world.driver.token = grant.access_token
    assert (await world.run()).published


async def test_a_rotated_refresh_token_is_handed_on(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.google.configure(rotate_refresh_tokens=True)
    grant = await refresh(world)
    assert grant.refresh_token
    assert grant.refresh_token not in repr(grant)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("revoked", ErrorCode.GOOGLE_GRANT_INVALID),
        ("expired", ErrorCode.GOOGLE_GRANT_INVALID),
        ("account_deleted", ErrorCode.GOOGLE_GRANT_INVALID),
        ("admin_policy_enforced", ErrorCode.GOOGLE_ADMIN_POLICY),
        ("invalid_rapt", ErrorCode.GOOGLE_REAUTH_REQUIRED),
    ],
)
async def test_dead_grants(make_world: MakeWorld, reason: Any, code: ErrorCode) -> None:
    world = make_world()
    world.sandbox.google.kill_grant(refresh_token=world.account.refresh_token, reason=reason)
    assert await code_of(world) is code


async def test_dead_grant_whose_description_faded(make_world: MakeWorld) -> None:
    world = make_world()
    world.sandbox.google.kill_grant(refresh_token=world.account.refresh_token)
    world.clock.advance(13 * 3600)
    assert await code_of(world) is ErrorCode.GOOGLE_GRANT_INVALID


async def test_client_trouble_is_not_the_users(make_world: MakeWorld) -> None:
    world = make_world()
    world.config = world.config.model_copy(update={"google_client_id": "somebody-else"})
    assert await code_of(world) is ErrorCode.GOOGLE_CLIENT_INVALID
    world = make_world()
    world.sandbox.google.configure(client_deleted=True)
    assert await code_of(world) is ErrorCode.GOOGLE_CLIENT_DELETED


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 503, "body": "html"},
        {"status": 429},
        {"status": 400, "body": "html"},
        {"status": 403, "body": "empty"},
        {"status": 200, "body": "html"},
        {"status": 200, "json": {}},
        {"status": 200, "json": {"access_token": ""}},
        {"status": 200, "json": ["x"]},
        {"status": 400, "json": {"error": "internal_failure"}},
        {"status": 400, "json": {"error": "temporarily_unavailable"}},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
async def test_trouble_disconnects_nobody(make_world: MakeWorld, fault: dict[str, Any]) -> None:
    world = make_world()
    world.sandbox.faults.add(TOKEN, "status", **fault)
    assert await code_of(world) is ErrorCode.GOOGLE_TOKEN_UNAVAILABLE


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
async def test_lost_answers_may_be_asked_again(make_world: MakeWorld, kind: Any) -> None:
    world = make_world()
    world.sandbox.faults.add(TOKEN, kind)
    assert await code_of(world) is ErrorCode.NETWORK_UNREACHABLE
    assert (await refresh(world)).access_token


async def test_unconfigured(make_world: MakeWorld) -> None:
    world = make_world()
    world.config = sandbox_settings()
    assert await code_of(world) is ErrorCode.PLATFORM_NOT_CONFIGURED


async def test_a_grant_without_a_refresh_token_needs_its_user(make_world: MakeWorld) -> None:
    world = make_world()
    with pytest.raises(Failure) as caught:
        await PLATFORM.refresh(world.driver.http, world.config, Credentials("google", access_token="ya29"))
    assert caught.value.code is ErrorCode.GOOGLE_GRANT_INVALID
    assert world.calls(TOKEN) == 0
    assert PLATFORM.renews("google")
