"""Changing the master key in SQL: what is sealed with which, sealing anew without losing a write, and when the old one may go."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from orbyt_worker.crypto import Keyring
from tests.db.connecting import candidate, connected, create_worker, exchanged, grant, offer, secret, set_up
from tests.db.test_app_access import code_of
from tests.factories import create_user, insert_job
from tests.fix_postgres import Database

RETIRE = "select orbyt_private.retire_master_key(%s, now() + make_interval(secs => %s))"


@pytest.fixture(autouse=True)
async def configured(db: Database) -> None:
    await set_up(db)


async def rows_to_reseal(db: Database, active: str, limit: int = 100, after: str = "") -> list[dict[str, Any]]:
    return await db.fetch("select * from orbyt_private.secrets_to_reseal(%s, %s, %s)", [active, limit, after])


async def reseal(db: Database, row: dict[str, Any], sealed: bytes, key_id: str) -> str:
    given = [row["address"], row["sealed"], sealed, key_id]
    return str(await db.value("select orbyt_private.reseal(%s, %s, %s, %s)", given))


async def sealed_everywhere(db: Database) -> None:
    """One row of each sort, sealed with k1."""
    user_id, account_id = await connected(db)
    job_id = await insert_job(db, user_id, account_id)
    (job,) = await db.fetch("select * from orbyt_private.claim_jobs(%s, 1, 0, 60)", [await create_worker(db)])
    given = [job_id, job["attempt"]]
    await db.value("select orbyt_private.save_step(%s, %s, 'start/upload', true, '{}', '\\x0a', 'k1')", given)
    claimed = await exchanged(db, await create_user(db), "facebook")
    await offer(db, claimed, [candidate("a/b")], [grant("a/b", login="facebook")])


async def new_key(db: Database, key_id: str) -> None:
    assert await db.value("select orbyt_private.create_master_key(%s)", [key_id]) is True


async def speaks_for(db: Database, worker_id: UUID, key_id: str, seconds_ago: float = 0) -> None:
    await db.execute(
        "select orbyt_private.use_key(%s, %s, now() - make_interval(secs => %s))", [worker_id, key_id, seconds_ago]
    )


async def test_workers_see_which_key_seals(db: Database) -> None:
    active = "select orbyt_private.active_key_id()"
    assert await db.value(active) is None
    for key_id in ("k1", "k2"):
        await new_key(db, key_id)
        assert await db.value(active) == key_id
        keys = await db.fetch("select key_id, active from orbyt_private.master_keys()")
        assert [row["key_id"] for row in keys if row["active"]] == [key_id]


async def test_everything_that_is_sealed_is_found_and_sealed_anew(db: Database) -> None:
    await sealed_everywhere(db)
    rows = await rows_to_reseal(db, "k2")
    assert sorted((row["source"], row["kind"]) for row in rows) == [
        ("account_secrets", "access_token"),
        ("account_secrets", "refresh_token"),
        ("callback_keys", "callback_key"),
        ("connect_grants", "access_token"),
        ("connect_grants", "refresh_token"),
        ("job_steps", "step.start/upload"),
    ]
    assert await rows_to_reseal(db, "k1") == []
    for n, row in enumerate(rows):
        assert await reseal(db, row, bytes([n]), "k2") == "ok"
        assert await reseal(db, row, b"again", "k2") == "changed", "only from what it was"
    assert await rows_to_reseal(db, "k2") == []
    back = {row["address"]: (bytes(row["sealed"]), row["key_id"]) for row in await rows_to_reseal(db, "k1")}
    assert back == {row["address"]: (bytes([n]), "k2") for n, row in enumerate(rows)}
    status = await db.row("select * from orbyt_private.key_status()")
    assert status == {
        "key_id": "k2",
        "active": False,
        "in_vault": False,
        "workers": 0,
        "account_secrets": 2,
        "job_steps": 1,
        "connect_grants": 2,
        "callback_keys": 1,
    }


async def test_what_is_sealed_anew_opens_with_the_new_key_alone(db: Database) -> None:
    """The seal is bound to owner and kind as these rows name them."""
    _, account_id = await connected(db)
    old = Keyring({"k1": b"1" * 32}, active="k1")
    for kind in ("access_token", "refresh_token"):
        await db.execute(
            "update orbyt_private.account_secrets set sealed = %s where kind = %s",
            [old.seal(f"the {kind}", owner_id=account_id, kind=kind).blob, kind],
        )
    both = Keyring({"k1": b"1" * 32, "k2": b"2" * 32}, active="k2")
    for row in [row for row in await rows_to_reseal(db, "k2") if row["source"] == "account_secrets"]:
        bound_to = {"owner_id": row["owner_id"], "kind": row["kind"]}
        plain = both.open(row["sealed"], key_id=row["key_id"], **bound_to)
        fresh = both.seal(plain, **bound_to)
        assert await reseal(db, row, fresh.blob, fresh.key_id) == "ok"
    new = Keyring({"k2": b"2" * 32}, active="k2")
    for row in await db.fetch("select kind, sealed, key_id from orbyt_private.account_secrets"):
        opened = new.open(row["sealed"], owner_id=account_id, kind=row["kind"], key_id=row["key_id"])
        assert opened == f"the {row['kind']}".encode()


async def test_a_token_that_was_refreshed_meanwhile_is_not_put_back(db: Database) -> None:
    await connected(db)
    rows = [row for row in await rows_to_reseal(db, "k2") if row["source"] == "account_secrets"]
    version = await db.value("select version from orbyt_private.account_grants")
    await db.execute("update orbyt_private.account_secrets set sealed = '\\xff'")
    for row in rows:
        assert await reseal(db, row, b"old", "k2") == "changed"
    assert await db.value("select count(*) from orbyt_private.account_secrets where key_id = 'k1'") == 2
    # The same token in another wrapping is no new grant: nobody's refresh is lost over it.
    assert await db.value("select version from orbyt_private.account_grants") == version


async def test_pages_go_past_what_cannot_be_opened(db: Database) -> None:
    await sealed_everywhere(db)
    seen: list[str] = []
    while page := await rows_to_reseal(db, "k2", 2, seen[-1] if seen else ""):
        seen += [row["address"] for row in page]
    assert len(seen) == 6
    assert seen == sorted(set(seen))


@pytest.mark.parametrize("address", ["", "accounts/x/y", "account_secrets"])
async def test_an_address_of_nothing(db: Database, address: str) -> None:
    given = {"address": address, "sealed": b"x"}
    if address == "account_secrets":
        given["address"] = f"account_secrets/{uuid.uuid4()}/access_token"
    assert await reseal(db, given, b"y", "k2") == "changed"


async def test_the_old_key_goes_when_nothing_and_nobody_needs_it(db: Database) -> None:
    assert await db.value(RETIRE, ["k1", 0]) == "unknown"
    await new_key(db, "k1")
    assert await db.value(RETIRE, ["k1", 0]) == "active"
    await connected(db)
    await db.execute("delete from orbyt_private.workers")
    await new_key(db, "k2")
    worker_id = await create_worker(db, lease_seconds=3600)
    assert await db.value(RETIRE, ["k1", 0]) == "worker", "it does not say what it seals with"
    await speaks_for(db, worker_id, "k1", 600)
    assert await db.value(RETIRE, ["k1", 0]) == "worker"
    await speaks_for(db, worker_id, "k2")
    assert await db.value(RETIRE, ["k1", 0]) == "worker", "what it sealed a moment ago may still be on its way"
    assert await db.value(RETIRE, ["k1", 90]) == "in_use"
    for n, row in enumerate(await rows_to_reseal(db, "k2")):
        await reseal(db, row, bytes([n]), "k2")
    (old, _) = await db.fetch(
        "select key_id, active, in_vault, account_secrets, workers from orbyt_private.key_status()"
    )
    assert old == {"key_id": "k1", "active": False, "in_vault": True, "account_secrets": 0, "workers": 0}
    assert await db.value(RETIRE, ["k1", 90]) == "ok"
    assert [row["key_id"] for row in await db.fetch("select key_id from orbyt_private.master_keys()")] == ["k2"]
    assert await db.value(RETIRE, ["k1", 90]) == "unknown"


async def test_saying_the_same_key_again_does_not_start_the_minute_anew(db: Database) -> None:
    worker_id = await create_worker(db)
    await speaks_for(db, worker_id, "k2", 600)
    await speaks_for(db, worker_id, "k2")
    assert await db.value("select key_since < now() - interval '5 minutes' from orbyt_private.workers") is True


async def test_a_dead_worker_keeps_no_key(db: Database) -> None:
    await new_key(db, "k1")
    await speaks_for(db, await create_worker(db, lease_seconds=-1), "k1")
    await db.execute("update orbyt_private.callback_keys set sealed_key_id = 'k2'")
    await new_key(db, "k2")
    assert await db.value(RETIRE, ["k1", 0]) == "ok"


async def test_the_worker_can_neither_make_nor_delete_a_key(db: Database) -> None:
    worker = await db.connect("orbyt_worker")
    for statement in ("select orbyt_private.create_master_key('k9')", "select orbyt_private.retire_master_key('k1')"):
        with pytest.raises(Exception, match="permission denied"):
            await worker.execute(statement.encode())


# A worker that was frozen meanwhile ----------------------------------------------------------------------------------------------


@pytest.fixture
async def retired(db: Database) -> str:
    """k1 was the key, k2 is; everything that was sealed with k1 was sealed anew."""
    await new_key(db, "k1")
    await new_key(db, "k2")
    await db.execute("update orbyt_private.callback_keys set sealed_key_id = 'k2'")
    return "k1"


async def retire(db: Database, key_id: str) -> None:
    await db.execute("update orbyt_private.workers set lease_until = now() - interval '1 hour'")
    assert await db.value(RETIRE, [key_id, 0]) == "ok"


async def thaw(db: Database) -> None:
    """Its next heartbeat: nobody had taken its work."""
    await db.execute("update orbyt_private.workers set lease_until = now() + interval '1 minute'")


async def test_a_step_sealed_with_a_retired_key_is_stale(db: Database, retired: str) -> None:
    user_id, account_id = await connected(db, secrets=[secret(key_id="k2"), secret("refresh_token", key_id="k2")])
    job_id = await insert_job(db, user_id, account_id)
    (job,) = await db.fetch("select * from orbyt_private.claim_jobs(%s, 1, 0, 60)", [await create_worker(db)])
    await retire(db, retired)
    await thaw(db)
    save = "select orbyt_private.save_step(%s, %s, 'start', true, '{}', %s, %s)"
    assert await db.value(save, [job_id, job["attempt"], b"x", "k1"]) == "stale"
    assert await db.value("select count(*) from orbyt_private.job_steps") == 0
    assert await db.value(save, [job_id, job["attempt"], b"x", "k2"]) == "ok"
    # What has no secret needs no key.
    assert await db.value(save, [job_id, job["attempt"], None, None]) == "ok"


async def test_tokens_sealed_with_a_retired_key_are_not_stored(db: Database, retired: str) -> None:
    _, account_id = await connected(db, secrets=[secret(key_id="k2"), secret("refresh_token", key_id="k2")])
    version = await db.value("select version from orbyt_private.account_grants")
    lease_id = uuid.uuid4()
    given = [account_id, version, lease_id]
    assert await db.value("select orbyt_private.begin_refresh(%s, %s, %s, 90)", given) == "ok"
    await retire(db, retired)
    before = await db.fetch("select * from orbyt_private.account_secrets order by kind")
    finish_refresh = "select orbyt_private.finish_refresh(%s, %s, %s, %s)"
    assert await db.value(finish_refresh, [*given, Jsonb([secret(value="new")])]) == "changed"
    assert await db.fetch("select * from orbyt_private.account_secrets order by kind") == before
    with pytest.raises(psycopg.Error) as error:
        await db.execute("select orbyt_private.store_grant(%s, %s)", [account_id, Jsonb([secret()])])
    assert await code_of(db, error.value) == "secret_unreadable"
    assert await db.value(finish_refresh, [*given, Jsonb([secret(value="new", key_id="k2")])]) == "ok"


async def test_an_offer_sealed_with_a_retired_key_ends_the_session(db: Database, retired: str) -> None:
    claimed = await exchanged(db, await create_user(db))
    await retire(db, retired)
    await thaw(db)
    mixed = grant("a", secrets=[secret(key_id="k2"), secret("refresh_token", key_id="k1")])
    assert await offer(db, claimed, [candidate("a")], [mixed], auto=["a"]) == "stale"
    row = await db.row("select status, error_code from orbyt.connect_sessions")
    assert row == {"status": "failed", "error_code": "connect_interrupted"}
    assert await db.value("select count(*) from orbyt_private.connect_grants") == 0
    assert await db.value("select count(*) from orbyt.accounts") == 0


async def test_nothing_else_is_sealed_with_it_either_and_its_name_is_not_given_again(
    db: Database, retired: str
) -> None:
    await retire(db, retired)
    key = "callback_keys/callback-1"
    (sealed,) = (await db.row("select sealed_private from orbyt_private.callback_keys")).values()
    assert await reseal(db, {"address": key, "sealed": sealed}, b"y", "k1") == "changed"
    with pytest.raises(psycopg.Error) as error:
        await db.execute("select orbyt_private.add_callback_key('c', '{}', gen_random_uuid(), '\\x01', 'k1')")
    assert await code_of(db, error.value) == "secret_unreadable"
    assert await db.value("select orbyt_private.create_master_key('k1')") is False
    assert [row["key_id"] for row in await db.fetch("select key_id from orbyt_private.master_keys()")] == ["k2"]


async def test_a_write_under_way_is_waited_for_and_seen(db: Database, retired: str) -> None:
    """Otherwise the key could go between the last look and the commit."""
    writing = await db.connect(autocommit=False)
    _, account_id = await connected(db, secrets=[secret(key_id="k2"), secret("refresh_token", key_id="k2")])
    await db.execute("delete from orbyt_private.workers")
    await writing.execute("select orbyt_private.store_grant(%s, %s)", [account_id, Jsonb([secret(key_id="k1")])])
    retiring = asyncio.create_task(db.value(RETIRE, [retired, 0]))
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and wait_event = 'advisory'"
    watching = await db.connect()
    async with asyncio.timeout(30):
        while (await (await watching.execute(waiting)).fetchone()) != {"count": 1}:
            pass
    assert not retiring.done()
    await writing.commit()
    assert await retiring == "in_use"
