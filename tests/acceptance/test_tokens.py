"""Refreshing tokens: one call for ten workers, and only a confirmed rejection disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from orbyt_worker.db.pool import Database
from orbyt_worker.db.queries import Queries
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.health import Health
from orbyt_worker.logs import Redactor
from orbyt_worker.platforms.http import ApiClient
from orbyt_worker.platforms.registry import platforms
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.publishing.tokens import Tokens
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings
from tests.fix_world import World


@asynccontextmanager
async def tokens_of_a_worker(world: World) -> AsyncIterator[Tokens]:
    """Everything one worker process has for its own, in this process."""
    environment = world.database.worker_environment(world.sandbox, world.directory)
    settings = Settings.model_validate(
        {name.removeprefix("ORBYT_").lower(): value for name, value in environment.items()}
    )
    assert isinstance(settings.database_url, SecretStr)
    runtime = Runtime()
    database = Database(settings.database_url.get_secret_value(), size_max=2)
    await database.open()
    client = ApiClient(runtime, sandbox=True)
    queries = Queries(database, runtime)
    keys = MasterKeys(queries, runtime)
    await keys.load()
    try:
        yield Tokens(
            queries=queries,
            keys=keys,
            platforms=platforms(settings),
            http=client,
            settings=settings,
            runtime=runtime,
            redactor=Redactor(),
            health=Health(runtime),
        )
    finally:
        await client.aclose()
        await database.close()


def account_state(world: World) -> dict[str, object]:
    return dict(world.database.fetch("select status, error_code from orbyt.accounts")[0])


async def test_ten_workers_need_a_refresh_at_once_one_call(world: World) -> None:
    account = world.channel()
    world.sandbox.state.faults.add("google.token", "slow", seconds=1.0)

    async def one() -> str:
        async with tokens_of_a_worker(world) as tokens:
            return (await tokens.access_token(account.account_id, "youtube")).value

    given = await asyncio.gather(*(one() for _ in range(10)))
    assert len(set(given)) == 1
    assert world.sandbox.state.google.token_call_count("refresh_token") == 1


async def test_a_rejected_token_is_replaced_once(world: World) -> None:
    account = world.channel()
    async with tokens_of_a_worker(world) as tokens:
        first = (await tokens.access_token(account.account_id, "youtube")).value
        assert (await tokens.access_token(account.account_id, "youtube")).value == first
        second = (await tokens.access_token(account.account_id, "youtube", rejected=first)).value
        assert second != first
        # Another job that saw the same 401 gets the new one without a further call.
        assert (await tokens.access_token(account.account_id, "youtube", rejected=first)).value == second
    assert world.sandbox.state.google.token_call_count("refresh_token") == 2


@pytest.mark.parametrize(
    ("kind", "options", "code", "status"),
    [
        ("status", {"status": 500}, ErrorCode.GOOGLE_TOKEN_UNAVAILABLE, "active"),
        ("status", {"status": 503, "body": "html"}, ErrorCode.GOOGLE_TOKEN_UNAVAILABLE, "active"),
        ("status", {"status": 200, "json": {"token_type": "Bearer"}}, ErrorCode.GOOGLE_TOKEN_UNAVAILABLE, "active"),
        ("drop_before", {}, None, "active"),
        (
            "status",
            {"status": 400, "json": {"error": "invalid_grant", "error_description": "Bad Request"}},
            ErrorCode.GOOGLE_GRANT_INVALID,
            "needs_reauth",
        ),
    ],
    ids=["500", "html", "no token", "cut", "invalid_grant"],
)
async def test_only_a_confirmed_rejection_disconnects(
    world: World, kind: str, options: dict[str, object], code: ErrorCode | None, status: str
) -> None:
    account = world.channel()
    world.sandbox.state.faults.add("google.token", kind, times=None, **options)  # type: ignore[arg-type]
    async with tokens_of_a_worker(world) as tokens:
        with pytest.raises(Failure) as failure:
            await tokens.access_token(account.account_id, "youtube")
    if code is not None:
        assert failure.value.code == code
    assert account_state(world)["status"] == status


async def test_a_blip_does_not_matter_while_the_old_token_is_good(world: World) -> None:
    account = world.channel()
    async with tokens_of_a_worker(world) as tokens:
        first = await tokens.access_token(account.account_id, "youtube")
        world.database.fetch(
            "update orbyt_private.account_secrets set expires_at = now() + interval '2 minutes' where kind = 'access_token'"
        )
        world.sandbox.state.faults.add("google.token", "status", times=None, status=503)
        assert await tokens.access_token(account.account_id, "youtube") == first


async def test_a_dead_grant_that_was_replaced_meanwhile_does_not_disconnect(world: World) -> None:
    account = world.channel()
    async with tokens_of_a_worker(world) as tokens:
        grant = await tokens._queries.read_grant(account.account_id)
        assert grant is not None
        lease_id = tokens._runtime.new_id()
        assert (
            await tokens._queries.begin_refresh(
                account.account_id, version=grant.version, lease_id=lease_id, lease_seconds=60
            )
            == "ok"
        )
        world.database.store_tokens(account.account_id, world.key, {"refresh_token": "1//a-newer-grant"})
        answer = await tokens._queries.fail_refresh(
            account.account_id,
            version=grant.version,
            lease_id=lease_id,
            code=ErrorCode.GOOGLE_GRANT_INVALID,
            cool_seconds=1,
        )
        assert answer == "changed"
    assert account_state(world)["status"] == "active"


async def test_the_refresh_lease_of_a_silent_worker_is_void(world: World) -> None:
    """Found by the kill test: a worker that died while refreshing kept the others waiting for its lease."""
    account = world.channel()
    dead = "00000000-0000-0000-0000-00000000dead"
    world.database.fetch(f"select orbyt_private.register_worker('{dead}', 'gone', '0', '{{}}', 0.001)")
    world.database.fetch(
        "select orbyt_private.begin_refresh(%s, (select version from orbyt_private.account_grants), gen_random_uuid(), 90, %s)",
        [account.account_id, dead],
    )
    async with tokens_of_a_worker(world) as tokens:
        async with asyncio.timeout(5):
            assert (await tokens.access_token(account.account_id, "youtube")).value
