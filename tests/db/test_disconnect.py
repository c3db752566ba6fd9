"""Letting go: by the user in the app, by the person at the platform. What happens to jobs, secrets and data, and in which order."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.db.connecting import candidate, connected, create_worker, exchanged, grant, offer, secret, session, set_up
from tests.db.test_app_access import code_of
from tests.factories import create_account, create_user, insert_job
from tests.fix_postgres import Database

TEXT: dict[str, Any] = {"kind": "text", "title": None, "media": []}


@pytest.fixture(autouse=True)
async def configured(db: Database) -> None:
    await set_up(db)


async def disconnect(db: Database, user_id: UUID, account_id: UUID, jobs: str | None = "hold") -> dict[str, Any]:
    async with db.as_user(user_id) as app:
        row: dict[str, Any] | None = await (
            await app.execute("select * from orbyt.disconnect(account_id => %s, jobs => %s)", [account_id, jobs])
        ).fetchone()
    assert row is not None
    return row


async def to_revoke(db: Database, worker_id: UUID, lease_seconds: float = 300) -> list[dict[str, Any]]:
    return await db.fetch("select * from orbyt_private.accounts_to_revoke(%s, 10, %s)", [worker_id, lease_seconds])


async def finish(db: Database, account_id: UUID, code: str | None = None) -> str:
    return str(await db.value("select orbyt_private.finish_disconnect(%s, %s)", [account_id, code]))


async def secrets(db: Database, account_id: UUID) -> int:
    return int(await db.value("select count(*) from orbyt_private.account_secrets where account_id = %s", [account_id]))


async def jobs(db: Database) -> dict[UUID, tuple[str, str | None]]:
    rows = await db.fetch("select job_id, status, error_code from orbyt.publish_jobs")
    return {row["job_id"]: (row["status"], row["error_code"]) for row in rows}


async def claim_job(db: Database) -> dict[str, Any]:
    (job,) = await db.fetch("select * from orbyt_private.claim_jobs(%s, 1, 0, 60)", [await create_worker(db)])
    return job


# By the user -------------------------------------------------------------------------------------------------------------------


async def test_jobs_wait_and_go_on_after_the_reconnect(db: Database) -> None:
    user_id, account_id = await connected(db)
    job_id = await insert_job(db, user_id, account_id)
    row = await disconnect(db, user_id, account_id)
    assert (row["account_id"], row["status"], row["error_code"]) == (account_id, "disconnected", None)
    assert await jobs(db) == {job_id: ("held", "account_disconnected")}
    with pytest.raises(psycopg.Error) as refused:
        await insert_job(db, user_id, account_id)
    assert await code_of(db, refused.value) == "account_disconnected"
    claimed = await exchanged(db, user_id, account_id=account_id)
    await offer(db, claimed, [candidate("channel-1")], [grant("channel-1", account_id)], auto=["channel-1"])
    assert (await session(db, claimed["session_id"]))["account_ids"] == [account_id]
    assert await jobs(db) == {job_id: ("queued", None)}


async def test_jobs_are_cancelled_if_so_wished_except_what_may_be_out(db: Database) -> None:
    user_id, account_id = await connected(db)
    begun = await insert_job(db, user_id, account_id)
    attempt = (await claim_job(db))["attempt"]
    await db.value("select orbyt_private.begin_publish(%s, %s, 'finish', 10)", [begun, attempt])
    in_hand = await insert_job(db, user_id, account_id)
    assert (await claim_job(db))["job_id"] == in_hand
    waiting = await insert_job(db, user_id, account_id)
    held = await insert_job(db, user_id, account_id)
    await db.execute(
        "update orbyt.publish_jobs set status = 'held', error_code = 'storage_not_configured' where job_id = %s", [held]
    )
    await disconnect(db, user_id, account_id, "cancel")
    assert {job_id: status for job_id, (status, _) in (await jobs(db)).items()} == {
        begun: "publishing",
        in_hand: "cancelled",
        waiting: "cancelled",
        held: "cancelled",
    }
    # The worker that had it is fenced.
    assert await db.value("select orbyt_private.save_step(%s, 1, 'x', true, '{}')", [in_hand]) == "stale"
    assert await db.value("select count(*) from orbyt_private.job_queue") == 1
    assert await db.fetch("select job_id from orbyt.job_events where event = 'cancelled' order by job_id") == [
        {"job_id": job_id} for job_id in sorted([in_hand, waiting, held])
    ]


async def test_more_jobs_than_one_batch(db: Database) -> None:
    user_id, account_id = await connected(db)
    await db.execute(
        """
        insert into orbyt.publish_jobs (user_id, account_id, kind, title, media)
        select %s, %s, 'video', 't', '[{"type": "video", "url": "https://example.com/v.mp4"}]' from generate_series(1, 450)
        """,
        [user_id, account_id],
    )
    await disconnect(db, user_id, account_id, "cancel")
    counted = "select count(*) from orbyt.publish_jobs where status = 'cancelled'"
    assert await db.value(counted) == 200
    assert await db.value("select count(*) from orbyt.publish_jobs where status = 'held'") == 0
    while await db.value("select orbyt_private.tend_accounts(100)"):
        pass
    assert await db.value(counted) == 450
    assert await db.value("select count(*) from orbyt_private.account_changes") == 0


async def test_who_comes_back_before_the_rest_is_cancelled_keeps_the_rest(db: Database) -> None:
    user_id, account_id = await connected(db)
    job_id = await insert_job(db, user_id, account_id)
    await disconnect(db, user_id, account_id)
    await db.execute("insert into orbyt_private.account_changes (account_id, cancel) values (%s, true)", [account_id])
    await db.execute("update orbyt.accounts set status = 'active'")
    await db.value("select orbyt_private.tend_accounts()")
    assert (await jobs(db))[job_id][0] == "queued"


async def test_repeating_it_changes_nothing_but_may_cancel(db: Database) -> None:
    user_id, account_id = await connected(db)
    job_id = await insert_job(db, user_id, account_id)
    first = await disconnect(db, user_id, account_id)
    assert await disconnect(db, user_id, account_id) == first
    assert await jobs(db) == {job_id: ("held", "account_disconnected")}
    await disconnect(db, user_id, account_id, "cancel")
    assert (await jobs(db))[job_id][0] == "cancelled"


@pytest.mark.parametrize("wish", [None, "", "delete", "HOLD"])
async def test_an_unknown_wish_is_refused(db: Database, wish: str | None) -> None:
    user_id, account_id = await connected(db)
    with pytest.raises(psycopg.Error) as refused:
        await disconnect(db, user_id, account_id, wish)
    assert await code_of(db, refused.value) == "option_invalid"
    assert await db.value("select status from orbyt.accounts") == "active"


async def test_somebody_elses_account_is_no_account(db: Database) -> None:
    _, account_id = await connected(db)
    stranger = await create_user(db)
    for target in (account_id, uuid.uuid4()):
        with pytest.raises(psycopg.Error) as refused:
            await disconnect(db, stranger, target)
        assert await code_of(db, refused.value) == "account_not_found"
    assert await db.value("select status from orbyt.accounts") == "active"


async def test_an_account_that_was_never_granted(db: Database) -> None:
    user_id = await create_user(db)
    account_id = await create_account(db, user_id)
    assert (await disconnect(db, user_id, account_id))["status"] == "disconnected"
    assert await to_revoke(db, await create_worker(db)) == []


# At the platform -----------------------------------------------------------------------------------------------------------------


async def test_the_secrets_stay_until_the_grant_was_ended_and_are_destroyed_then(db: Database) -> None:
    user_id, account_id = await connected(db)
    await disconnect(db, user_id, account_id)
    assert await secrets(db, account_id) == 2
    worker_id = await create_worker(db)
    (row,) = await to_revoke(db, worker_id)
    assert (row["account_id"], row["platform"], row["login"]) == (account_id, "youtube", "google")
    assert (row["platform_account_id"], row["others_active"], row["give_up"]) == ("channel-1", False, False)
    assert await db.value("select count(*) from orbyt_private.read_grant(%s)", [account_id]) == 2
    # One at a time, until it is said to have failed.
    assert await to_revoke(db, await create_worker(db)) == []
    noted = "select orbyt_private.note_revoke_failed(%s, 'network_timeout', %s)"
    assert await db.value(noted, [account_id, 600]) == "ok"
    assert await to_revoke(db, worker_id) == []
    assert await db.value(noted, [account_id, 0]) == "ok"
    assert len(await to_revoke(db, worker_id)) == 1
    assert await finish(db, account_id) == "ok"
    assert await secrets(db, account_id) == 0
    assert await to_revoke(db, worker_id) == []
    assert await finish(db, account_id) == "changed"
    done = "select revoke_requested_at, revoked_at is not null as done from orbyt_private.account_grants"
    assert await db.row(done) == {"revoke_requested_at": None, "done": True}


async def test_a_worker_that_died_is_not_waited_for(db: Database) -> None:
    user_id, account_id = await connected(db)
    await disconnect(db, user_id, account_id)
    await to_revoke(db, await create_worker(db))
    await db.execute("update orbyt_private.workers set lease_until = now() - interval '1 second'")
    assert len(await to_revoke(db, await create_worker(db))) == 1


async def test_a_grant_that_others_live_by_is_not_to_be_ended(db: Database) -> None:
    user_id, account_id = await connected(db)
    _, other = await connected(db, user_id, platform_account_id="channel-2")
    await connected(db, platform_account_id="channel-3", platform_user_id="somebody else")
    await disconnect(db, user_id, account_id)
    worker_id = await create_worker(db)
    (row,) = await to_revoke(db, worker_id)
    assert row["others_active"] is True
    await finish(db, account_id)
    await disconnect(db, user_id, other)
    (row,) = await to_revoke(db, worker_id)
    assert (row["account_id"], row["others_active"]) == (other, False), "the last one"


async def test_after_a_day_it_is_given_up(db: Database) -> None:
    user_id, account_id = await connected(db)
    await disconnect(db, user_id, account_id)
    await db.execute("update orbyt_private.account_grants set revoke_requested_at = now() - interval '25 hours'")
    (row,) = await to_revoke(db, await create_worker(db))
    assert row["give_up"] is True
    assert await finish(db, account_id, "platform_unavailable") == "ok"
    assert await db.value("select revoke_error_code from orbyt_private.account_grants") == "platform_unavailable"


async def test_who_reconnects_meanwhile_keeps_what_is_new(db: Database) -> None:
    user_id, account_id = await connected(db)
    await disconnect(db, user_id, account_id)
    await to_revoke(db, await create_worker(db))
    # The worker that took it was frozen until its time was over: until then, the code would have waited (test_grant_and_revoke.py).
    await db.execute("update orbyt_private.account_grants set revoke_lease_until = now() - interval '1 second'")
    claimed = await exchanged(db, user_id, account_id=account_id)
    renewed = grant("channel-1", account_id, secrets=[secret(value="new"), secret("refresh_token", "new")])
    await offer(db, claimed, [candidate("channel-1")], [renewed], auto=["channel-1"])
    assert await finish(db, account_id) == "changed"
    noted = "select orbyt_private.note_revoke_failed(%s, 'network_timeout', 60)"
    assert await db.value(noted, [account_id]) == "changed"
    assert await secrets(db, account_id) == 2
    # And who disconnects once more is not served by the answer to the first time.
    await disconnect(db, user_id, account_id)
    assert await finish(db, account_id) == "changed"
    assert await secrets(db, account_id) == 2


async def test_a_refresh_under_way_does_not_come_after_the_goodbye(db: Database) -> None:
    user_id, account_id = await connected(db)
    version = await db.value("select version from orbyt_private.account_grants")
    lease_id = uuid.uuid4()
    begin = "select orbyt_private.begin_refresh(%s, %s, %s, 90)"
    assert await db.value(begin, [account_id, version, lease_id]) == "ok"
    await disconnect(db, user_id, account_id)
    answer = "select orbyt_private.finish_refresh(%s, %s, %s, '[]')"
    assert await db.value(answer, [account_id, version, lease_id]) == "changed"


async def test_disconnecting_while_jobs_come_and_go_ends_without_a_deadlock(db: Database) -> None:
    user_id, account_id = await connected(db)
    for _ in range(10):
        await insert_job(db, user_id, account_id)
    worker_id = await create_worker(db)

    async def work() -> None:
        connection = await db.connect("orbyt_worker")
        claimed = "select job_id, attempt from orbyt_private.claim_jobs(%s, 4, 0, 60)"
        back = "select orbyt_private.put_back(%s, %s, 0, 'background', 'preparing')"
        for _ in range(10):
            for row in await (await connection.execute(claimed, [worker_id])).fetchall():
                await connection.execute(back, [row["job_id"], row["attempt"]])

    async def let_go() -> None:
        for wish in ("hold", "cancel"):
            await disconnect(db, user_id, account_id, wish)
            await db.execute("update orbyt.accounts set status = 'active' where account_id = %s", [account_id])

    await asyncio.wait_for(asyncio.gather(work(), work(), let_go()), timeout=60)
    assert await db.value("select count(*) from orbyt.publish_jobs where status = 'held'") == 0


# By the person at the platform (Meta) ----------------------------------------------------------------------------------------------


async def page(db: Database, user_id: UUID, name: str, person: str = "meta-person", **fields: Any) -> UUID:
    _, account_id = await connected(db, user_id, "facebook", name, login="facebook", platform_user_id=person, **fields)
    return account_id


async def leave(db: Database, login: str, person: str | None, delete: bool = False) -> dict[str, Any]:
    return await db.row(
        "select accounts, confirmation_code from orbyt_private.disconnect_by_platform_user(%s, %s, %s)",
        [login, person, delete],
    )


async def test_a_person_who_removes_the_app_takes_all_their_accounts_along_and_no_others(db: Database) -> None:
    user_id = await create_user(db)
    first, second = await page(db, user_id, "page-1"), await page(db, user_id, "page-2")
    others = await page(db, user_id, "page-3", "another person")
    job_id = await insert_job(db, user_id, first, **TEXT)
    assert await leave(db, "facebook", "meta-person") == {"accounts": 2, "confirmation_code": None}
    rows = await db.fetch("select account_id, status, error_code from orbyt.accounts")
    assert {row["account_id"]: (row["status"], row["error_code"]) for row in rows} == {
        first: ("disconnected", "account_disconnected"),
        second: ("disconnected", "account_disconnected"),
        others: ("active", None),
    }
    assert await jobs(db) == {job_id: ("held", "account_disconnected")}
    assert [await secrets(db, each) for each in (first, second, others)] == [0, 0, 2]
    assert await to_revoke(db, await create_worker(db)) == [], "there is nothing left to end"
    # Once more, or by another login, or by nobody.
    assert (await leave(db, "facebook", "meta-person"))["accounts"] == 2
    for login, person in (("instagram", "meta-person"), ("facebook", ""), ("facebook", None)):
        assert (await leave(db, login, person))["accounts"] == 0
    # Who comes back, comes back to the same account.
    claimed = await exchanged(db, user_id, "facebook", account_id=first)
    await offer(db, claimed, [candidate("page-1")], [grant("page-1", first, login="facebook")], auto=["page-1"])
    assert (await jobs(db))[job_id][0] == "queued"


async def test_what_was_about_to_be_chosen_is_void_too(db: Database) -> None:
    claimed = await exchanged(db, await create_user(db), "facebook")
    granted = grant("page-1", login="facebook", platform_user_id="meta-person")
    await offer(db, claimed, [candidate("page-1")], [granted])
    await leave(db, "facebook", "meta-person")
    row = await session(db, claimed["session_id"])
    assert (row["status"], row["error_code"]) == ("failed", "connect_denied")
    assert await db.value("select count(*) from orbyt_private.connect_grants") == 0


async def test_deletion_erases_what_came_from_the_platform_and_keeps_what_is_the_users(db: Database) -> None:
    user_id = await create_user(db)
    account_id = await page(db, user_id, "page-1")
    published = await insert_job(db, user_id, account_id, caption="My own words", **TEXT)
    given = [published, (await claim_job(db))["attempt"]]
    await db.value("select orbyt_private.begin_publish(%s, %s, 'post', 10)", given)
    result = '{"platform_post_id": "post-9999", "permalink": "https://facebook.example.com/post-9999"}'
    await db.value("select orbyt_private.confirm_publish(%s, %s, 'post', %s)", [*given, result])
    await db.value("select orbyt_private.succeed_job(%s, %s, now())", given)
    waiting = await insert_job(db, user_id, account_id, **TEXT)

    answer = await leave(db, "facebook", "meta-person", delete=True)
    assert answer["accounts"] == 1
    assert len(answer["confirmation_code"]) == 32
    everything = ""
    for table in (
        *("orbyt.accounts", "orbyt.publish_jobs", "orbyt.connect_sessions", "orbyt.job_events"),
        *("orbyt_private.job_steps", "orbyt_private.account_grants", "orbyt_private.account_secrets"),
        *("orbyt_private.connect_grants", "orbyt_private.deletion_requests"),
    ):
        everything += str(await db.fetch(f"select * from {table}".encode()))
    for value in ("page-1", "post-9999", "meta-person", "pictures.example.com", "lasting"):
        assert value not in everything
    assert "My own words" in everything
    after = await jobs(db)
    assert (after[published][0], after[waiting][0]) == ("published", "cancelled")
    # It was published once and is never sent again.
    assert await db.value("select orbyt_private.was_published(%s)", [published]) is True
    (status,) = await db.fetch("select * from orbyt_private.deletion_status(%s)", [answer["confirmation_code"]])
    assert status["finished_at"] is not None
    assert await db.fetch("select * from orbyt_private.deletion_status('0')") == []
    assert (await leave(db, "facebook", "meta-person"))["accounts"] == 0
    # The same page later, be it under the id that follows from user and page, or under a new one.
    assert await page(db, user_id, "page-1", account_id=str(account_id)) == account_id
    row = await db.row("select name, status, platform_account_id from orbyt.accounts")
    assert row == {"name": "Name of page-1", "status": "active", "platform_account_id": "page-1"}
    await leave(db, "facebook", "meta-person", delete=True)
    assert await page(db, user_id, "page-1") != account_id


async def test_deletion_and_a_post_that_is_just_being_inserted_do_not_wait_for_each_other(db: Database) -> None:
    user_id = await create_user(db)
    account_id = await page(db, user_id, "page-1")
    await insert_job(db, user_id, account_id, **TEXT)
    held, door, watching = await db.connect(autocommit=False), await db.connect(), await db.connect()

    async def waiting(count: int) -> None:
        waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        async with asyncio.timeout(30):
            while (await (await watching.execute(waits)).fetchone()) != {"count": count}:
                pass

    # Stops the deletion after it has the account's lanes and before it changes what the account is called.
    await held.execute("select from orbyt_private.account_secrets where account_id = %s for update", [account_id])
    leave_now = "select orbyt_private.disconnect_by_platform_user('facebook', 'meta-person', true)"
    leaving = asyncio.create_task(door.execute(leave_now))
    await waiting(1)
    inserting = asyncio.create_task(insert_job(db, user_id, account_id, **TEXT))
    await waiting(2)
    await held.commit()
    await leaving
    job_id = await inserting
    # It came too late, and goes the way of the others.
    await db.value("select orbyt_private.tend_accounts()")
    assert (await jobs(db))[job_id] == ("cancelled", None)
    assert await db.value("select name from orbyt.accounts") == "Deleted account"


async def test_deletion_of_somebody_unknown_is_answered_as_well(db: Database) -> None:
    answer = await leave(db, "facebook", "nobody we know", delete=True)
    assert answer["accounts"] == 0
    assert len(await db.fetch("select * from orbyt_private.deletion_status(%s)", [answer["confirmation_code"]])) == 1
