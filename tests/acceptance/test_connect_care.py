"""Keeping accounts connected: who is looked at, by whom, and that only a confirmed rejection asks the person to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orbyt_worker.connecting.care import LEASE_SECONDS, Care
from orbyt_worker.db.connect_queries import ConnectQueries
from orbyt_worker.db.pool import Database
from orbyt_worker.db.queries import Queries
from orbyt_worker.health import Health
from orbyt_worker.local import ConnectedAccount
from orbyt_worker.logs import Redactor
from orbyt_worker.platforms.http import ApiClient
from orbyt_worker.platforms.registry import connectors, platforms
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.publishing.tokens import Tokens
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings
from tests.fix_world import QUICK, World

LOOK = "youtube.channels.list"
REVOKE = "google.revoke"


@asynccontextmanager
async def keeper(world: World, runtime: Runtime | None = None) -> AsyncIterator[Care]:
    """What one worker has for it, in this process."""
    environment = world.database.worker_environment(world.sandbox, world.directory, **QUICK)
    settings = Settings.model_validate(
        {name.removeprefix("ORBYT_").lower(): value for name, value in environment.items()}
    )
    runtime = runtime or Runtime()
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url.get_secret_value(), size_max=2)
        await database.open()
        stack.push_async_callback(database.close)
        client = ApiClient(runtime, sandbox=True)
        stack.push_async_callback(client.aclose)
        queries, worker_id = Queries(database, runtime), runtime.new_id()
        keys = MasterKeys(queries, runtime)
        await keys.load()
        await queries.register_worker(worker_id, host="test", version="0", slots={}, lease_seconds=60)
        tokens = Tokens(
            queries=queries,
            keys=keys,
            platforms=platforms(settings),
            http=client,
            settings=settings,
            runtime=runtime,
            redactor=Redactor(),
            health=Health(runtime),
            worker_id=worker_id,
        )
        yield Care(
            worker_id=worker_id,
            queries=ConnectQueries(database, runtime),
            connectors=connectors(settings),
            tokens=tokens,
            http=client,
            settings=settings,
            runtime=runtime,
            health=Health(runtime),
        )


def stale(world: World, *, hours: float = 30) -> None:
    """Nobody has looked at any account for so long."""
    world.database.fetch("update orbyt.accounts set checked_at = now() - make_interval(secs => %s)", [hours * 3600])


def row_of(world: World, account: ConnectedAccount) -> dict[str, Any]:
    return world.database.fetch(
        "select a.*, g.check_not_before, g.check_error_code, g.check_failed_at from orbyt.accounts a"
        " join orbyt_private.account_grants g using (account_id) where a.account_id = %s",
        [account.account_id],
    )[0]


async def test_two_workers_share_the_accounts_and_start_with_those_whose_posts_are_due(world: World) -> None:
    accounts = [world.channel() for _ in range(5)]
    stale(world)
    soon = datetime.now(UTC) + timedelta(hours=20)
    world.insert(accounts[3], title="Soon", media=[world.video()], publish_at=soon)
    async with keeper(world) as one, keeper(world) as two:
        await asyncio.gather(one.check_round(), two.check_round())
        state = world.sandbox.state
        assert state.requests.count(LOOK) == len(accounts)
        # One refresh each, and the account with work was the first or, two workers being at it, the second.
        assert state.google.token_call_count("refresh_token") == len(accounts)
        order = [
            row["account_id"]
            for row in world.database.fetch(
                "select account_id from orbyt_private.account_grants order by check_tried_at limit 2"
            )
        ]
        assert accounts[3].account_id in order
        for account in accounts:
            assert row_of(world, account)["checked_at"] > datetime.now(UTC) - timedelta(minutes=5)
        # All seen: nobody is asked again.
        await one.check_round()
        assert state.requests.count(LOOK) == len(accounts)


async def test_trouble_at_the_platform_disconnects_nobody_and_is_left_alone_for_a_while(world: World) -> None:
    account = world.channel()
    stale(world)
    world.sandbox.state.faults.add(LOOK, "status", times=None, status=503)
    async with keeper(world) as one:
        await one.check_round()
        asked = world.sandbox.state.requests.count(LOOK)
        row = row_of(world, account)
        assert (row["status"], row["error_code"]) == ("active", None)
        assert row["check_error_code"] is not None
        assert row["check_not_before"] > datetime.now(UTC) + timedelta(minutes=5)
        await one.check_round()
        assert world.sandbox.state.requests.count(LOOK) == asked


async def test_meta_says_when_access_to_data_ends_and_that_is_kept(world: World) -> None:
    account = world.connect("instagram", login="facebook")
    stale(world)
    assert row_of(world, account)["data_access_expires_at"] is None
    async with keeper(world) as one:
        await one.check_round()
    row = row_of(world, account)
    assert (row["status"], row["check_error_code"]) == ("active", None)
    assert row["data_access_expires_at"] > datetime.now(UTC) + timedelta(days=60)
    assert row["checked_at"] > datetime.now(UTC) - timedelta(minutes=5)


@pytest.mark.parametrize(("days", "issues"), [(7.0, 1), (40.0, 0)], ids=["after a week", "any other time"])
async def test_google_grants_that_die_after_a_week_are_one_issue_for_the_operator(
    world: World, days: float, issues: int
) -> None:
    accounts = [world.channel() for _ in range(2)]
    world.database.fetch(
        "update orbyt_private.account_grants set granted_at = now() - make_interval(secs => %s)", [days * 86_400]
    )
    stale(world)
    for account in accounts:
        world.sandbox.state.google.kill_grant(refresh_token=account.tokens["refresh_token"], reason="expired")
    async with keeper(world) as one:
        await one.check_round()
    assert [row_of(world, account)["status"] for account in accounts] == ["needs_reauth", "needs_reauth"]
    found = world.database.fetch("select code, count from orbyt_private.operator_issues")
    assert found == [{"code": "google_consent_testing_mode", "count": 2}] * issues


async def test_a_worker_frozen_until_its_turn_was_over_ends_no_grant(world: World) -> None:
    account = world.channel()
    world.database.fetch("select orbyt_private.disconnect_account(%s, 'hold')", [account.account_id])
    asleep_seconds = 0.0

    def wake_up_late(kind: str, name: str) -> None:
        nonlocal asleep_seconds
        if (kind, name) == ("db.after", "accounts_to_revoke"):
            asleep_seconds = LEASE_SECONDS

    runtime = Runtime(checkpoint=wake_up_late)
    awake = runtime.monotonic
    runtime.monotonic = lambda: awake() + asleep_seconds
    async with keeper(world, runtime) as one:
        await one.revoke_round()
    assert world.sandbox.state.requests.count(REVOKE) == 0
    left = "select count(*) from orbyt_private.account_secrets where account_id = %s"
    assert world.database.fetch(left, [account.account_id])[0]["count"] > 0
    # Whoever gets it next does it.
    world.database.fetch("update orbyt_private.account_grants set revoke_lease_until = now()")
    async with keeper(world) as other:
        await other.revoke_round()
    assert world.sandbox.state.requests.count(REVOKE) == 1
    assert world.database.fetch(left, [account.account_id])[0]["count"] == 0
