"""Looking after connections: who is looked at when and by whom, what follows from it, and what the operator is told."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.db.connecting import connected, create_worker, secret, set_up
from tests.factories import create_user, insert_job
from tests.fix_postgres import Database


@pytest.fixture(autouse=True)
async def configured(db: Database) -> None:
    await set_up(db)


async def to_check(db: Database, worker_id: UUID, limit: int = 10, lease_seconds: float = 300) -> list[UUID]:
    rows = await db.fetch(
        "select account_id from orbyt_private.accounts_to_check(%s, %s, %s)", [worker_id, limit, lease_seconds]
    )
    return [row["account_id"] for row in rows]


async def note(db: Database, account_id: UUID, code: str | None = None, **fields: Any) -> str:
    version = fields.pop("version", None) or await db.value(
        "select version from orbyt_private.account_grants where account_id = %s", [account_id]
    )
    names = ("token_seconds", "data_seconds", "scopes", "cool_seconds")
    given = [account_id, version, code, *(fields.get(name) for name in names)]
    return str(await db.value("select orbyt_private.note_check(%s, %s, %s, %s, %s, %s, %s)", given))


async def checked(db: Database, account_id: UUID, hours: float) -> None:
    """Last seen working so many hours ago."""
    await db.execute(
        "update orbyt.accounts set checked_at = now() - make_interval(secs => %s) where account_id = %s",
        [hours * 3600, account_id],
    )


async def channels(db: Database, user_id: UUID, count: int, hours: float) -> list[UUID]:
    accounts = []
    for n in range(count):
        _, account_id = await connected(db, user_id, platform_account_id=f"channel-{n}")
        await checked(db, account_id, hours)
        accounts.append(account_id)
    return accounts


# Whose turn it is --------------------------------------------------------------------------------------------------------------


async def test_once_a_day_and_twice_before_work_that_is_due(db: Database) -> None:
    user_id, worker_id = await create_user(db), await create_worker(db)
    idle, busy, later = await channels(db, user_id, 3, 13)
    await insert_job(db, user_id, busy)
    assert await to_check(db, worker_id) == [busy]
    await note(db, busy)
    assert await to_check(db, worker_id) == [], "seen working a moment ago"
    for account_id in (idle, later):
        await checked(db, account_id, 25)
    await checked(db, busy, 13)
    assert (await to_check(db, worker_id))[0] == busy, "first those whose user still has time to act"


async def test_everybody_gets_a_turn_also_when_the_first_keep_failing(db: Database) -> None:
    accounts = await channels(db, await create_user(db), 7, 30)
    worker_id, seen = await create_worker(db), []
    for _ in range(4):
        for account_id in await to_check(db, worker_id, limit=2):
            seen.append(account_id)
            await note(db, account_id, "network_timeout", cool_seconds=0)
    assert len(seen) == 8
    assert set(seen[:7]) == set(accounts)


async def test_one_worker_at_a_time(db: Database) -> None:
    accounts = await channels(db, await create_user(db), 6, 30)
    workers = [await create_worker(db) for _ in range(3)]
    connections = [await db.connect("orbyt_worker") for _ in workers]

    async def take(n: int) -> list[UUID]:
        rows = await connections[n].execute(
            "select account_id from orbyt_private.accounts_to_check(%s, 4, 300)", [workers[n]]
        )
        return [row["account_id"] for row in await rows.fetchall()]

    taken = [account_id for each in await asyncio.gather(*map(take, range(3))) for account_id in each]
    taken += await to_check(db, workers[0])
    assert sorted(taken) == sorted(accounts)
    # Whoever has died is not waited for.
    await db.execute("update orbyt_private.workers set lease_until = now() - interval '1 second'")
    assert sorted(await to_check(db, await create_worker(db))) == sorted(accounts)


async def test_only_what_is_active(db: Database) -> None:
    first, second = await channels(db, await create_user(db), 2, 30)
    await db.execute(
        "update orbyt.accounts set status = 'needs_reauth', error_code = 'google_grant_invalid' where account_id = %s",
        [first],
    )
    await db.execute("update orbyt.accounts set status = 'disconnected' where account_id = %s", [second])
    assert await to_check(db, await create_worker(db)) == []


# What follows ------------------------------------------------------------------------------------------------------------------


async def test_a_working_connection_is_noted_with_what_is_known_of_its_end(db: Database) -> None:
    user_id, account_id = await connected(db)
    await checked(db, account_id, 30)
    assert await note(db, account_id, "network_timeout") == "ok"
    assert await note(db, account_id, scopes=["a", "b"], token_seconds=86_400, data_seconds=2 * 86_400) == "ok"
    account = await db.row("select * from orbyt.accounts")
    assert (account["status"], account["scopes"]) == ("active", ["a", "b"])
    assert datetime.now(UTC) - account["checked_at"] < timedelta(minutes=1)
    assert timedelta(hours=23) < account["token_expires_at"] - datetime.now(UTC) < timedelta(hours=25)
    grant = await db.row("select check_error_code, check_not_before, check_failed_at from orbyt_private.account_grants")
    assert (grant["check_error_code"], grant["check_not_before"]) == (None, None)
    assert grant["check_failed_at"] is not None, "the last failure stays known"
    async with db.as_user(user_id) as app:
        row = await (await app.execute("select * from orbyt.connection_health")).fetchone()
    assert row is not None
    assert row["days_left"] in (0, 1)
    assert row["data_access_expires_at"] == account["data_access_expires_at"]
    # Not told means unchanged.
    await note(db, account_id)
    assert (await db.row("select * from orbyt.accounts"))["token_expires_at"] == account["token_expires_at"]


async def test_network_trouble_never_disconnects_and_is_asked_again_later(db: Database) -> None:
    _, account_id = await connected(db)
    await checked(db, account_id, 30)
    worker_id = await create_worker(db)
    assert await to_check(db, worker_id) == [account_id]
    assert await note(db, account_id, "platform_unavailable") == "ok"
    account = await db.row("select status, error_code, now() - checked_at as age from orbyt.accounts")
    assert (account["status"], account["error_code"]) == ("active", None)
    assert account["age"] > timedelta(hours=29), "that is when it was last seen working"
    assert await to_check(db, worker_id) == []
    later = "select count(*) from orbyt_private.accounts_to_check(%s, 10, 60, now() + interval '16 minutes')"
    await db.execute("update orbyt_private.workers set lease_until = now() + interval '1 hour'")
    assert await db.value(later, [worker_id]) == 1


async def test_a_confirmed_rejection_holds_the_jobs(db: Database) -> None:
    user_id, account_id = await connected(db)
    await insert_job(db, user_id, account_id)
    assert await note(db, account_id, "account_permission_missing") == "ok"
    assert await db.row("select status, error_code from orbyt.accounts") == {
        "status": "needs_reauth",
        "error_code": "account_permission_missing",
    }
    assert await db.value("select status from orbyt.publish_jobs") == "held"


async def test_what_was_found_out_about_a_replaced_grant_does_not_count(db: Database) -> None:
    user_id, account_id = await connected(db)
    old = await db.value("select version from orbyt_private.account_grants")
    await connected(db, user_id)
    assert await note(db, account_id, "google_grant_invalid", version=old) == "changed"
    assert await db.value("select status from orbyt.accounts") == "active"


# Refresh -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends_in_days", "age_hours", "due"),
    [(30, 48, False), (19, 48, True), (19, 23, False), (-1, 48, True), (None, 48, False)],
)
async def test_instagram_tokens_are_extended_in_time_and_not_too_young(
    db: Database, ends_in_days: float | None, age_hours: float, due: bool
) -> None:
    ends = None if ends_in_days is None else ends_in_days * 86_400
    _, account_id = await connected(
        db, platform="instagram", login="instagram", secrets=[secret(expires_in_seconds=ends)]
    )
    await db.execute(
        "update orbyt_private.account_grants set refreshed_at = now() - make_interval(secs => %s)", [age_hours * 3600]
    )
    rows = await db.fetch("select account_id from orbyt_private.accounts_to_refresh('{instagram,google}')")
    assert [row["account_id"] for row in rows] == ([account_id] if due else [])


async def test_the_end_of_an_extended_token_is_the_end_of_the_connection(db: Database) -> None:
    for login, platform, moved in (("instagram", "instagram", True), ("google", "youtube", False)):
        fields: dict[str, Any] = {"secrets": [secret()]} if moved else {}
        _, account_id = await connected(db, platform=platform, login=login, **fields)
        version = await db.value("select version from orbyt_private.account_grants where account_id = %s", [account_id])
        lease_id = uuid.uuid4()
        await db.value("select orbyt_private.begin_refresh(%s, %s, %s, 90)", [account_id, version, lease_id])
        given = [account_id, version, lease_id, Jsonb([secret(expires_in_seconds=60 * 86_400)])]
        assert await db.value("select orbyt_private.finish_refresh(%s, %s, %s, %s)", given) == "ok"
        known = "select token_expires_at is not null from orbyt.accounts where account_id = %s"
        assert await db.value(known, [account_id]) is moved


async def test_refreshes_that_fail_make_room_for_the_others(db: Database) -> None:
    accounts = await channels(db, await create_user(db), 5, 0)
    await db.execute("update orbyt_private.account_grants set refreshed_at = now() - interval '40 days'")
    seen = []
    for _ in range(5):
        (account_id,) = [
            row["account_id"]
            for row in await db.fetch("select account_id from orbyt_private.accounts_to_refresh('{google}', 1)")
        ]
        seen.append(account_id)
        lease_id = uuid.uuid4()
        version = await db.value("select version from orbyt_private.account_grants where account_id = %s", [account_id])
        await db.value("select orbyt_private.begin_refresh(%s, %s, %s, 90)", [account_id, version, lease_id])
        failed = "select orbyt_private.fail_refresh(%s, %s, %s, 'google_token_unavailable', 0)"
        await db.value(failed, [account_id, version, lease_id])
    assert set(seen) == set(accounts)


# The operator --------------------------------------------------------------------------------------------------------------------


async def lose(db: Database, way: str, account_id: UUID) -> None:
    version = await db.value("select version from orbyt_private.account_grants where account_id = %s", [account_id])
    given = [account_id, version]
    if way == "refresh":
        lease_id = uuid.uuid4()
        await db.value("select orbyt_private.begin_refresh(%s, %s, %s, 90)", [*given, lease_id])
        await db.value("select orbyt_private.fail_refresh(%s, %s, %s, 'google_grant_invalid', 0)", [*given, lease_id])
    elif way == "call":
        await db.value("select orbyt_private.mark_needs_reauth(%s, %s, 'google_grant_invalid')", given)
    else:
        await note(db, account_id, "google_grant_invalid")


@pytest.mark.parametrize("way", ["refresh", "call", "check"])
@pytest.mark.parametrize(("days", "raised"), [(6, False), (7, True), (7.4, True), (8, False)])
async def test_grants_that_die_after_a_week_are_one_issue(db: Database, way: str, days: float, raised: bool) -> None:
    accounts = await channels(db, await create_user(db), 2, 0)
    await db.execute(
        "update orbyt_private.account_grants set granted_at = now() - make_interval(secs => %s)", [days * 86_400]
    )
    for account_id in (*accounts, accounts[0]):
        await lose(db, way, account_id)
    issues = await db.fetch("select code, count from orbyt_private.operator_issues")
    assert issues == ([{"code": "google_consent_testing_mode", "count": 2}] if raised else [])
    facts = await db.value("select orbyt_private.queue_facts()")
    assert facts["issues"] == issues
    shown = await db.fetch("select title, what_to_do from orbyt_private.issues_for_operator")
    assert len(shown) == len(issues)
    assert await db.value("select orbyt_private.clear_operator_issue('google_consent_testing_mode')") is raised
    assert await db.fetch("select * from orbyt_private.operator_issues") == []


async def test_other_deaths_are_no_issue(db: Database) -> None:
    _, account_id = await connected(db)
    await db.execute("update orbyt_private.account_grants set granted_at = now() - interval '7 days'")
    await note(db, account_id, "account_permission_missing")
    assert await db.value("select count(*) from orbyt_private.operator_issues") == 0
