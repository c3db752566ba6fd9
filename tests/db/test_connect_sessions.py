"""A worker's logins against the real database: late answers, shutdown, a database that goes away, mistakes. The platform is a stand-in."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

import pytest
from psycopg import sql
from pydantic import SecretStr

from orbyt_worker.callback_crypto import seal
from orbyt_worker.connecting.session import DATABASE_PAUSE_SECONDS, Session
from orbyt_worker.connecting.setup import set_up
from orbyt_worker.db.connect_queries import ConnectQueries
from orbyt_worker.db.pool import Database as Pool
from orbyt_worker.db.queries import Queries
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.health import Health
from orbyt_worker.logs import Redactor
from orbyt_worker.model import Account
from orbyt_worker.platforms.base import Credentials, Http, TokenGrant
from orbyt_worker.platforms.connector import AccountCheck, Candidate, ConnectRequest, ConnectResult, LoginApp
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.publishing.tokens import Tokens
from orbyt_worker.runtime import Runtime
from orbyt_worker.sandbox.postgres import SUPERUSER
from orbyt_worker.settings import Settings
from orbyt_worker.worker.connects import Connects
from tests.db.connecting import RETURN_TO, Begun, begin, create_worker, session
from tests.factories import create_user
from tests.fix_postgres import Database

CHANNELS = ("channel-1",)


class Killed(BaseException):
    """Nothing catches it: as if the process were gone."""


ENDED = ("connected", "choose", "failed", "expired")


@dataclass
class Scripted:
    """A platform that answers as told, and remembers every exchange."""

    answer: Callable[[], Awaitable[ConnectResult]]
    asked: list[ConnectRequest] = field(default_factory=list)
    asked_once: asyncio.Event = field(default_factory=asyncio.Event)

    def apps(self, config: Settings) -> Sequence[LoginApp]:
        return [LoginApp("google", "client", "https://google.example.com/auth", ("upload",), pkce=True)]

    async def connect(self, http: Http, config: Settings, request: ConnectRequest) -> ConnectResult:
        self.asked.append(request)
        self.asked_once.set()
        return await self.answer()

    async def check(self, http: Http, config: Settings, account: Account, credentials: Credentials) -> AccountCheck:
        raise AssertionError("nobody is looked at here")

    async def revoke(self, http: Http, config: Settings, account: Account, credentials: Credentials) -> None:
        raise AssertionError("nobody is let go here")


async def offered(*channels: str) -> ConnectResult:
    granted = TokenGrant("an access token", 3600, "a refresh token", ("upload",))
    found = [Candidate(each, f"Name of {each}", scopes=("upload",), grant=granted) for each in channels or CHANNELS]
    return ConnectResult(found, "person-1")


@dataclass
class Running:
    db: Database
    connects: Connects
    platform: Scripted
    worker_id: UUID
    queries: Queries
    pool: Pool

    async def come_back(self, begun: Begun, code: str) -> dict[str, Any]:
        """What the worker's own door does."""
        key = await self.db.value("select orbyt_private.callback_key()")
        sealed = seal(code, jwk=key["jwk"], state_hash=begun.state_hash)
        answer: dict[str, Any] = await self.db.value(
            "select orbyt_private.connect_callback(%s, %s, %s)", [begun.state_hash, sealed, key["key_id"]]
        )
        self.connects.wake()
        return answer

    async def logged_in(self, code: str = "a code") -> UUID:
        begun = await begin(self.db, await create_user(self.db))
        assert (await self.come_back(begun, code))["status"] == "exchanging"
        return begun.session_id

    async def ended(self, session_id: UUID) -> dict[str, Any]:
        """Asked for again with every event that the app would get."""
        connection = await self.db.connect()
        await connection.execute("listen told")
        async with asyncio.timeout(20):
            while True:
                row = await session(self.db, session_id)
                if row["status"] in ENDED:
                    return row
                async for _ in connection.notifies(timeout=5, stop_after=1):
                    pass


@asynccontextmanager
async def connects_of(
    db: Database,
    answer: Callable[[], Awaitable[ConnectResult]] = offered,
    *,
    runtime: Runtime | None = None,
    pool_wait_seconds: float = 20,
    **settings: Any,
) -> AsyncIterator[Running]:
    """A registered worker that finishes logins; ready when it has said what can be connected."""
    await db.execute(
        "create function public.tell() returns trigger language plpgsql as $$ begin perform pg_notify('told', ''); return null; end $$"
    )
    await db.execute(
        "create trigger tell after update on orbyt.connect_sessions for each row execute function public.tell()"
    )
    await db.execute("select orbyt_private.create_master_key('k1')")
    runtime = runtime or Runtime()
    url = db.url("orbyt_worker")
    config = Settings.model_validate(
        {
            "environment": "sandbox",
            "database_url": SecretStr(url),
            "poll_seconds": 0.3,
            "connect_redirect_url": "https://door.example.com/callback",
            "connect_return_to": RETURN_TO,
            **settings,
        }
    )
    pool, platform = Pool(url, size_max=3, wait_seconds=pool_wait_seconds), Scripted(answer)
    await pool.open()
    queries, connect_queries, worker_id = Queries(pool, runtime), ConnectQueries(pool, runtime), uuid.uuid4()
    keys, health, redactor = MasterKeys(queries, runtime), Health(runtime), Redactor()
    await keys.load()
    await queries.register_worker(worker_id, host="test", version="0", slots={}, lease_seconds=60)
    http = cast(Http, None)
    tokens = Tokens(
        queries=queries,
        keys=keys,
        platforms={},
        http=http,
        settings=config,
        runtime=runtime,
        redactor=redactor,
        health=health,
    )
    connectors = {"youtube": platform}
    one = Session(
        queries=connect_queries,
        connectors=connectors,
        http=http,
        keys=keys,
        tokens=tokens,
        redactor=redactor,
        settings=config,
        runtime=runtime,
        health=health,
    )
    ready = asyncio.Event()

    async def prepare() -> None:
        await set_up(connect_queries, keys, connectors, config, runtime)
        ready.set()

    connects = Connects(
        worker_id=worker_id,
        queries=connect_queries,
        set_up=prepare,
        run_session=one.run,
        settings=config,
        runtime=runtime,
    )
    task = asyncio.create_task(connects.run())
    try:
        async with asyncio.timeout(20):
            await ready.wait()
        yield Running(db, connects, platform, worker_id, queries, pool)
    finally:
        await connects.stop()
        with contextlib.suppress(Killed):
            await task
        await pool.close()


async def test_a_code_reaches_the_platform_once_and_as_it_was(db: Database) -> None:
    async with connects_of(db) as running:
        row = await running.ended(await running.logged_in("4/0A-code ü"))
        assert row["status"] == "connected", row["error_code"]
        (request,) = running.platform.asked
        assert request.code == "4/0A-code ü"
        assert request.redirect_uri == "https://door.example.com/callback"
        assert request.code_verifier is not None
        assert len(request.code_verifier) >= 43


async def test_several_are_offered_and_nobody_chooses_for_the_person(db: Database) -> None:
    async with connects_of(db, lambda: offered("channel-1", "channel-2")) as running:
        row = await running.ended(await running.logged_in())
    assert (row["status"], row["account_ids"]) == ("choose", [])
    assert [each["platform_account_id"] for each in row["candidates"]] == ["channel-1", "channel-2"]


async def test_a_mistake_in_a_connector_ends_its_session_and_no_other(db: Database) -> None:
    answers: list[Exception | None] = [RuntimeError("a mistake"), Failure(ErrorCode.CONNECT_NO_CHANNEL), None]

    async def answer() -> ConnectResult:
        error = answers.pop(0)
        if error is not None:
            raise error
        return await offered()

    async with connects_of(db, answer) as running:
        rows = [await running.ended(await running.logged_in()) for _ in range(3)]
    assert [row["error_code"] for row in rows] == ["connect_interrupted", "connect_no_channel", None]
    assert rows[2]["status"] == "connected"


async def test_an_answer_that_comes_after_the_session_ended_connects_nothing(db: Database) -> None:
    go = asyncio.Event()

    async def late() -> ConnectResult:
        await go.wait()
        return await offered()

    async with connects_of(db, late) as running:
        session_id = await running.logged_in()
        await running.platform.asked_once.wait()
        await db.execute("update orbyt.connect_sessions set expires_at = now() - interval '1 second'")
        assert await db.value("select orbyt_private.expire_connects()") == 1
        go.set()
        await running.connects.stop()
        assert (await session(db, session_id))["status"] == "expired"
    assert await db.fetch("select from orbyt.accounts") == []
    assert await db.fetch("select from orbyt_private.connect_grants") == []


async def test_a_worker_that_is_told_to_stop_finishes_what_it_has_in_hand(db: Database) -> None:
    go = asyncio.Event()

    async def slow() -> ConnectResult:
        await go.wait()
        return await offered()

    async with connects_of(db, slow) as running:
        session_id = await running.logged_in()
        await running.platform.asked_once.wait()
        stopping = asyncio.create_task(running.connects.stop())
        other = await running.logged_in()
        go.set()
        await stopping
        assert (await session(db, session_id))["status"] == "connected"
        # It is somebody else's now.
        assert (await session(db, other))["status"] == "exchanging"
        assert len(running.platform.asked) == 1


async def test_a_session_that_does_not_end_in_time_says_that_it_was_interrupted(db: Database) -> None:
    async def never() -> ConnectResult:
        await asyncio.Event().wait()
        raise AssertionError

    async with connects_of(db, never, shutdown_seconds=1) as running:
        session_id = await running.logged_in()
        await running.platform.asked_once.wait()
        await running.connects.stop()
        row = await session(db, session_id)
    assert (row["status"], row["error_code"]) == ("failed", "connect_interrupted")


@pytest.mark.parametrize(
    ("place", "exchanges", "status", "code"),
    [
        (("db.after", "claim_connects"), 0, "failed", "connect_interrupted"),
        (("db.after", "read_callback_key"), 0, "failed", "connect_interrupted"),
        (("db.before", "offer_candidates"), 1, "failed", "connect_interrupted"),
        (("db.after", "offer_candidates"), 1, "connected", None),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
async def test_a_worker_that_dies_with_a_code_in_hand_leaves_it_to_nobody(
    db: Database, place: tuple[str, str], exchanges: int, status: str, code: str | None
) -> None:
    begun, died = asyncio.Event(), asyncio.Event()

    def checkpoint(kind: str, name: str) -> None:
        if (kind, name) == place and begun.is_set() and not died.is_set():
            died.set()
            raise Killed

    async with connects_of(db, runtime=Runtime(checkpoint=checkpoint)) as running:
        connection = await db.connect("orbyt_worker")
        claim = "select session_id from orbyt_private.claim_connects(%s, 10)"
        started = await begin(db, await create_user(db))
        begun.set()
        await running.come_back(started, "a code")
        async with asyncio.timeout(20):
            await died.wait()
        await running.connects.stop()
        await db.execute("update orbyt_private.workers set lease_until = now() - interval '1 second'")
        other = await create_worker(db)
        assert await (await connection.execute(claim, [other])).fetchall() == []
        row = await session(db, started.session_id)
        assert (row["status"], row["error_code"]) == (status, code)
        assert len(running.platform.asked) == exchanges
    (flow,) = await db.fetch("select sealed_code, code_verifier, worker_id from orbyt_private.connect_flows")
    assert set(flow.values()) == {None}


@pytest.mark.parametrize("statement", ["read_callback_key", "offer_candidates"])
async def test_a_database_that_is_gone_for_a_while_costs_nobody_a_login(db: Database, statement: str) -> None:
    """Once with the code still to be opened, once with tokens that no code will bring again."""
    there = {True: 0, False: 0}

    def lose(lost: bool) -> None:
        there[not lost] += 1
        with db.server.connect("postgres", SUPERUSER) as connection:
            connection.execute(
                sql.SQL("alter database {} allow_connections {}").format(sql.Identifier(db.name), sql.Literal(not lost))
            )
            if lost:
                connection.execute(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'orbyt_worker' and datname = %s",
                    [db.name],
                )

    def checkpoint(kind: str, name: str) -> None:
        if (kind, name) == ("db.before", statement) and not there[False]:
            lose(True)

    async def sleep(seconds: float) -> None:
        # Whoever waits for the database sees it come back.
        if there[False] and not there[True] and seconds == DATABASE_PAUSE_SECONDS:
            lose(False)
        await asyncio.sleep(min(seconds, 0.05))

    runtime = Runtime(checkpoint=checkpoint, sleep=sleep)
    async with connects_of(db, runtime=runtime, pool_wait_seconds=1) as running:
        begun = await begin(db, await create_user(db))
        listening = asyncio.create_task(running.ended(begun.session_id))
        await running.come_back(begun, "a code")
        row = await listening
        assert row["status"] == "connected", row["error_code"]
        assert len(running.platform.asked) == 1
    assert there == {True: 1, False: 1}
