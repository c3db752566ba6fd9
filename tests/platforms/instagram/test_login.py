"""Renewing the token of Instagram Login: what counts as a rejection, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.base import Credentials, TokenGrant
from orbyt_worker.platforms.instagram import PLATFORM
from tests.platforms.instagram.world import InstagramWorld

MakeWorld = Callable[..., InstagramWorld]
DAY = 24 * 3600.0


async def renew(world: InstagramWorld, token: str | None = None) -> TokenGrant:
    held = Credentials("instagram", token or world.account.access_token)
    return await PLATFORM.refresh(world.driver.http, world.config, held)


async def test_sixty_more_days_and_the_old_token_goes_on(make_world: MakeWorld) -> None:
    world = make_world("photo", "instagram")
    world.clock.advance(2 * DAY)
    granted = await renew(world)
    assert granted.access_token != world.account.access_token
    assert granted.expires_in_seconds == pytest.approx(60 * DAY, abs=10)
    assert granted.scopes is not None
    assert "instagram_business_basic" in granted.scopes
    assert granted.refresh_token is None
    assert (await renew(world)).access_token != granted.access_token


async def test_a_token_that_is_too_young_stays_in_use(make_world: MakeWorld) -> None:
    world = make_world("photo", "instagram")
    with pytest.raises(Failure) as refused:
        await renew(world)
    assert refused.value.code is ErrorCode.INSTAGRAM_TOKEN_NOT_RENEWED
    assert refused.value.retry_after_seconds == DAY
    assert not catalog.entry(refused.value.code).needs_reauth


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("expired", ErrorCode.META_TOKEN_EXPIRED),
        ("revoked", ErrorCode.META_TOKEN_INVALID),
        ("app_removed", ErrorCode.META_APP_REMOVED),
    ],
)
async def test_a_dead_token_asks_for_its_user(make_world: MakeWorld, state: Any, code: ErrorCode) -> None:
    world = make_world("photo", "instagram")
    world.clock.advance(2 * DAY)
    world.meta.kill_token(world.account.access_token, state)
    with pytest.raises(Failure) as refused:
        await renew(world)
    assert refused.value.code is code
    assert catalog.entry(code).needs_reauth


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (("status", {"status": 503, "body": "html"}), ErrorCode.PLATFORM_UNAVAILABLE),
        (("status", {"status": 200, "json": {}}), ErrorCode.PLATFORM_ANSWER_INVALID),
        (("status", {"status": 200, "json": ["no", "object"]}), ErrorCode.PLATFORM_ANSWER_INVALID),
        (("status", {"status": 200, "json": {"error": {"code": 2}}}), ErrorCode.META_SERVICE_UNAVAILABLE),
        (("drop_before", {}), ErrorCode.NETWORK_UNREACHABLE),
        (("throttle", {"code": 4}), ErrorCode.META_APP_THROTTLED),
    ],
)
async def test_trouble_at_meta_disconnects_nobody(
    make_world: MakeWorld, fault: tuple[str, dict[str, Any]], code: ErrorCode
) -> None:
    world = make_world("photo", "instagram")
    world.clock.advance(2 * DAY)
    world.sandbox.faults.add("instagram.token.refresh", fault[0], **fault[1])  # type: ignore[arg-type] # known kinds
    with pytest.raises(Failure) as failed:
        await renew(world)
    assert failed.value.code is code
    assert not catalog.entry(code).needs_reauth


async def test_a_grant_without_a_token_asks_for_its_user(make_world: MakeWorld) -> None:
    world = make_world("photo", "instagram")
    with pytest.raises(Failure) as failed:
        await PLATFORM.refresh(world.driver.http, world.config, Credentials("instagram"))
    assert failed.value.code is ErrorCode.META_TOKEN_INVALID


async def test_odd_numbers_and_scopes(make_world: MakeWorld) -> None:
    world = make_world("photo", "instagram")
    answer = {"access_token": "IGnew", "expires_in": "soon", "permissions": ["a", " b "]}
    world.sandbox.faults.add("instagram.token.refresh", "status", status=200, json=answer)
    granted = await renew(world)
    assert granted == TokenGrant("IGnew", None, scopes=("a", "b"))


def test_only_one_login_renews() -> None:
    assert PLATFORM.renews("instagram")
    assert not PLATFORM.renews("facebook")
