"""Ending a grant ends whatever the person grants meanwhile. So a login and a revocation of the same person never overlap."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.db.connecting import (
    Begun,
    begin,
    candidate,
    claim,
    come_back,
    connected,
    create_worker,
    exchanged,
    finish,
    grant,
    offer,
    session,
    set_up,
)
from tests.factories import create_user
from tests.fix_postgres import Database

TO_REVOKE = "select account_id, others_active, give_up from orbyt_private.accounts_to_revoke(%s, 10, 120)"
DONE = "select orbyt_private.finish_disconnect(%s)"


@pytest.fixture(autouse=True)
async def configured(db: Database) -> None:
    await set_up(db)


async def disconnect(db: Database, account_id: UUID) -> None:
    await db.execute("select orbyt.disconnect(%s)", [account_id])


async def to_revoke(db: Database, worker_id: UUID | None = None) -> list[UUID]:
    rows = await db.fetch(TO_REVOKE, [worker_id or await create_worker(db)])
    return [row["account_id"] for row in rows]


async def returned(db: Database, user_id: UUID, **options: Any) -> Begun:
    begun = await begin(db, user_id, **options)
    await come_back(db, begun.state_hash)
    return begun


async def test_no_grant_is_ended_while_its_user_logs_in_again(db: Database) -> None:
    user_id, account_id = await connected(db)
    await disconnect(db, account_id)
    begun = await begin(db, user_id, account_id=account_id)
    assert await to_revoke(db) == [], "approved at this moment, perhaps"
    await come_back(db, begun.state_hash)
    assert await to_revoke(db) == []
    (claimed,) = await claim(db, await create_worker(db))
    assert await to_revoke(db) == []
    await offer(db, claimed, [candidate("channel-1")], [grant("channel-1", account_id)])
    assert await to_revoke(db) == [], "granted, and not chosen yet"
    await finish(db, user_id, begun.session_id, ["channel-1"])
    assert await to_revoke(db) == []
    assert await db.value("select revoke_requested_at from orbyt_private.account_grants") is None


@pytest.mark.parametrize("end", ["denied", "expired"])
async def test_a_login_that_leads_to_nothing_only_delays_it(db: Database, end: str) -> None:
    user_id, account_id = await connected(db)
    await disconnect(db, account_id)
    begun = await begin(db, user_id)
    assert await to_revoke(db) == []
    if end == "denied":
        await come_back(db, begun.state_hash, error="access_denied")
    else:
        await db.execute("update orbyt.connect_sessions set expires_at = now() - interval '2 minutes'")
    assert await to_revoke(db) == [account_id]


async def test_logins_of_others_and_other_logins_delay_nothing(db: Database) -> None:
    user_id, account_id = await connected(db)
    await disconnect(db, account_id)
    await begin(db, await create_user(db))
    await begin(db, user_id, "facebook")
    assert await to_revoke(db) == [account_id]


async def test_a_code_waits_until_the_call_that_ends_the_old_grant_is_over(db: Database) -> None:
    user_id, account_id = await connected(db)
    await disconnect(db, account_id)
    worker_id = await create_worker(db)
    assert await to_revoke(db, worker_id) == [account_id]
    begun = await returned(db, user_id, account_id=account_id)
    assert await claim(db, worker_id) == []
    # Its worker died: the call may be on its way all the same.
    await db.execute("update orbyt_private.workers set lease_until = now() - interval '1 second'")
    assert await claim(db, await create_worker(db)) == []
    # Others do not wait.
    await returned(db, await create_user(db))
    assert len(await claim(db, await create_worker(db))) == 1
    listener = await db.connect()
    await listener.execute("listen orbyt_connect")
    assert await db.value(DONE, [account_id]) == "ok"
    woken = [notice.channel async for notice in listener.notifies(timeout=10, stop_after=1)]
    assert woken == ["orbyt_connect"], "whoever waits for it need not wait for the next poll"
    (claimed,) = await claim(db, await create_worker(db))
    await offer(db, claimed, [candidate("channel-1")], [grant("channel-1", account_id)], auto=["channel-1"])
    assert (await session(db, begun.session_id))["status"] == "connected"
    assert await to_revoke(db) == []


async def test_a_call_that_failed_is_over_too_and_not_repeated_meanwhile(db: Database) -> None:
    user_id, account_id = await connected(db)
    await disconnect(db, account_id)
    assert await to_revoke(db) == [account_id]
    await returned(db, user_id)
    await db.value("select orbyt_private.note_revoke_failed(%s, 'network_timeout', 0)", [account_id])
    assert await to_revoke(db) == []
    assert len(await claim(db, await create_worker(db))) == 1


async def test_after_a_day_nothing_is_ended_that_may_be_in_use(db: Database) -> None:
    user_id, account_id = await connected(db)
    await disconnect(db, account_id)
    await begin(db, user_id)
    await db.execute("update orbyt_private.account_grants set revoke_requested_at = now() - interval '25 hours'")
    assert await db.fetch(TO_REVOKE, [await create_worker(db)]) == [
        {"account_id": account_id, "others_active": True, "give_up": True}
    ]


async def test_both_at_once_and_never_both(db: Database) -> None:
    """Whoever comes first, the other one sees it: begin holds a lock, and so does taking up a revocation."""
    user_id, account_id = await connected(db)
    for _ in range(5):
        await disconnect(db, account_id)
        workers = [await create_worker(db) for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            beginning = group.create_task(begin(db, user_id))
            taking = [group.create_task(to_revoke(db, worker_id)) for worker_id in workers]
        begun, revoking = beginning.result(), sum(len(each.result()) for each in taking)
        await come_back(db, begun.state_hash)
        claimed = await claim(db, await create_worker(db))
        assert (revoking, len(claimed)) in ((1, 0), (0, 1))
        await db.execute("update orbyt.connect_sessions set status = 'failed', error_code = 'connect_denied'")
        await db.execute("update orbyt.accounts set status = 'active'")


async def test_a_begin_that_is_not_committed_yet_is_waited_for_by_nobody_and_overlooked_by_nobody(db: Database) -> None:
    user_id, account_id = await connected(db)
    await disconnect(db, account_id)
    async with db.as_user(user_id) as app:
        await app.execute("select orbyt.begin_connect('youtube', 'studiox://connected')")
        assert await to_revoke(db) == [], "without waiting for the app's transaction"
    assert await to_revoke(db) == []


# Two users of the app who are one person at the platform ----------------------------------------------------------------------


async def test_the_same_person_as_another_user_is_recognised_as_soon_as_possible(db: Database) -> None:
    _, account_id = await connected(db, platform_user_id="anna")
    other = await create_user(db)
    claimed = await exchanged(db, other)
    await disconnect(db, account_id)
    await offer(db, claimed, [candidate("c"), candidate("d")], [grant("c", platform_user_id="anna")])
    assert await to_revoke(db) == [], "her new grant waits to be chosen"
    await finish(db, other, claimed["session_id"], ["c"])
    assert [row["others_active"] for row in await db.fetch(TO_REVOKE, [await create_worker(db)])] == [True]


@pytest.mark.parametrize("over", [False, True])
async def test_what_was_granted_while_it_was_ended_for_another_user_is_not_connected(db: Database, over: bool) -> None:
    _, account_id = await connected(db, platform_user_id="anna")
    claimed = await exchanged(db, await create_user(db))
    bystander = await exchanged(db, await create_user(db))
    await disconnect(db, account_id)
    assert await to_revoke(db) == [account_id]
    if over:
        await db.value(DONE, [account_id])
    granted = grant("c", platform_user_id="anna")
    assert await offer(db, claimed, [candidate("c")], [granted], auto=["c"]) == "stale"
    row = await session(db, claimed["session_id"])
    assert (row["status"], row["error_code"], row["account_ids"]) == ("failed", "connect_interrupted", [])
    assert await db.value("select count(*) from orbyt_private.connect_grants") == 0
    granted = grant("b", platform_user_id="berta")
    assert await offer(db, bystander, [candidate("b")], [granted], auto=["b"]) == "ok"
    assert (await session(db, bystander["session_id"]))["status"] == "connected"


async def test_a_person_who_removes_the_app_during_the_exchange_is_not_connected_by_it(db: Database) -> None:
    await connected(db, platform="facebook", login="facebook", platform_user_id="anna")
    claimed = await exchanged(db, await create_user(db), "facebook")
    offering = await db.connect(autocommit=False)
    leaving = "select orbyt_private.disconnect_by_platform_user('facebook', 'anna', false)"
    # Before the offer: seen by it. During it: waits, and then ends the session.
    async with offering.transaction():
        await offering.execute("select orbyt_private.lock_person('facebook', 'anna', true)")
        left = await db.connect()
        await left.execute("set statement_timeout = '100ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            await left.execute(leaving.encode())
    await db.execute(leaving.encode())
    granted = grant("p", login="facebook", platform_user_id="anna")
    assert await offer(db, claimed, [candidate("p")], [granted], auto=["p"]) == "stale"
    assert (await session(db, claimed["session_id"]))["error_code"] == "connect_interrupted"


async def test_the_platforms_word_about_what_we_ended_ourselves_is_no_news(db: Database) -> None:
    """Meta calls back after our own call as well, seconds later: the person may be logging in again by then."""
    user_id, account_id = await connected(db, platform="facebook", login="facebook", platform_user_id="anna")
    await disconnect(db, account_id)
    assert await to_revoke(db) == [account_id]
    await db.value(DONE, [account_id])
    claimed = await exchanged(db, user_id, "facebook")
    await db.execute("select orbyt_private.disconnect_by_platform_user('facebook', 'anna', false)")
    granted = grant("channel-1", account_id, login="facebook", platform_user_id="anna")
    assert await offer(db, claimed, [candidate("channel-1")], [granted], auto=["channel-1"]) == "ok"
    assert (await session(db, claimed["session_id"]))["status"] == "connected"
