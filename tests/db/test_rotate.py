"""Rotating the master key on a real database: everything opens with the new key alone, and nobody who is at work is cut off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import pytest

from orbyt_worker.crypto import Keyring
from orbyt_worker.db.key_queries import KeyQueries
from orbyt_worker.db.pool import Database as Pool
from orbyt_worker.db.queries import Queries
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.publishing import rotation as rotating
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.publishing.rotation import Rotation, advice
from orbyt_worker.runtime import Runtime
from tests.db.connecting import create_worker
from tests.factories import create_account, create_user
from tests.fix_clock import FakeClock, fake_runtime
from tests.fix_postgres import Database

Rotate = Callable[..., Rotation]
KILLED = RuntimeError("killed")


@pytest.fixture
async def pool(db: Database) -> AsyncIterator[Pool]:
    pool = Pool(db.url(), size_max=2)
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
async def rotation(db: Database, pool: Pool, runtime: Runtime) -> Rotate:
    await db.value("select orbyt_private.create_master_key('k1')")

    def make(runtime: Runtime = runtime) -> Rotation:
        return Rotation(KeyQueries(pool, runtime), MasterKeys(Queries(pool, runtime), runtime), runtime)

    return make


async def keyring(pool: Pool, runtime: Runtime, *only: str) -> Keyring:
    keys = {key.key_id: key.key for key in await Queries(pool, runtime).master_keys() if not only or key.key_id in only}
    return Keyring(keys, active=next(iter(sorted(keys))))


async def sealed_tokens(db: Database, ring: Keyring, count: int = 3) -> list[UUID]:
    """So many accounts with a token each, sealed with the active key of `ring`."""
    user_id = await create_user(db)
    accounts = []
    for n in range(count):
        account_id = await create_account(db, user_id, platform_account_id=f"channel-{n}")
        await db.execute(
            "insert into orbyt_private.account_grants (account_id, login) values (%s, 'google')", [account_id]
        )
        await write(db, ring, account_id)
        accounts.append(account_id)
    return accounts


async def write(db: Database, ring: Keyring, account_id: UUID) -> None:
    sealed = ring.seal(f"token of {account_id}", owner_id=account_id, kind="access_token")
    await db.execute(
        "insert into orbyt_private.account_secrets (account_id, kind, sealed, key_id) values (%s, 'access_token', %s, %s) "
        "on conflict (account_id, kind) do update set sealed = excluded.sealed, key_id = excluded.key_id",
        [account_id, sealed.blob, sealed.key_id],
    )


async def opened(db: Database, ring: Keyring) -> int:
    """How many of the stored tokens this ring opens."""
    count = 0
    for row in await db.fetch("select account_id, kind, sealed, key_id from orbyt_private.account_secrets"):
        try:
            plain = ring.open(row["sealed"], owner_id=row["account_id"], kind=row["kind"], key_id=row["key_id"])
        except Failure:
            continue
        assert plain == f"token of {row['account_id']}".encode()
        count += 1
    return count


async def names(db: Database) -> list[str]:
    return [row["key_id"] for row in await db.fetch("select key_id from orbyt_private.master_keys() order by 1")]


async def test_everything_opens_with_the_new_key_and_nothing_with_the_old(
    db: Database, pool: Pool, runtime: Runtime, rotation: Rotate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotating, "BATCH_MAX", 2)
    old = await keyring(pool, runtime)
    await sealed_tokens(db, old, 5)
    report = await rotation().run(wait_seconds=0)
    assert (report.key_id, report.created, report.resealed, report.retired) == ("k2", True, 5, ["k1"])
    assert report.complete
    assert await names(db) == ["k2"]
    assert await opened(db, await keyring(pool, runtime)) == 5
    assert await opened(db, old) == 0
    assert advice(await KeyQueries(pool, runtime).key_status(), []) == [
        "Nothing to do. `orbyt-worker keys rotate` changes the key."
    ]


async def test_with_a_name_it_is_safe_to_repeat_at_any_moment(
    db: Database, pool: Pool, runtime: Runtime, rotation: Rotate
) -> None:
    await sealed_tokens(db, await keyring(pool, runtime), 2)
    assert (await rotation().run("k7", wait_seconds=0)).retired == ["k1"]
    again = await rotation().run("k7", wait_seconds=0)
    assert (again.created, again.resealed, again.retired, again.complete) == (False, 0, [], True)
    assert await names(db) == ["k7"]


@pytest.mark.parametrize("statement", ["create_master_key", "secrets_to_reseal", "reseal", "retire_master_key"])
@pytest.mark.parametrize("moment", ["db.before", "db.after"])
async def test_killed_anywhere_the_next_run_finishes_it(
    db: Database, pool: Pool, clock: FakeClock, rotation: Rotate, statement: str, moment: str
) -> None:
    """Whatever is killed, nothing is lost, and what is left is finished with the key that was begun."""
    await sealed_tokens(db, await keyring(pool, fake_runtime(clock)), 2)

    def kill(kind: str, name: str) -> None:
        if (kind, name) == (moment, statement):
            raise KILLED

    with pytest.raises(RuntimeError, match="killed"):
        await rotation(fake_runtime(clock, checkpoint=kill)).run("k2", wait_seconds=0)
    assert await opened(db, await keyring(pool, fake_runtime(clock))) == 2
    # Without a name: a rotation that was begun goes on, one that was not is begun with the same name.
    finished = (statement, moment) == ("retire_master_key", "db.after")
    report = await rotation().run("k2" if finished else None, wait_seconds=0)
    assert (report.key_id, report.complete) == ("k2", True)
    assert await names(db) == ["k2"]
    assert await opened(db, await keyring(pool, fake_runtime(clock))) == 2


async def test_it_waits_for_the_workers_and_seals_anew_what_they_wrote_meanwhile(
    db: Database, pool: Pool, clock: FakeClock, rotation: Rotate
) -> None:
    runtime = fake_runtime(clock)
    old = await keyring(pool, runtime)
    (account_id,) = await sealed_tokens(db, old, 1)
    late, prompt = await create_worker(db, lease_seconds=3600), await create_worker(db, lease_seconds=3600)
    for worker_id in (late, prompt):
        await speaks_for(db, worker_id, "k1", 600)
    said: list[str] = []
    steps: list[Callable[[], Awaitable[None]]] = [
        lambda: speaks_for(db, prompt, "k2", 600),
        # The late one stores a token with the old key, after its row had been sealed anew; then it follows.
        lambda: write(db, old, account_id),
        lambda: speaks_for(db, late, "k2", 0),
        lambda: age(db, late, 90),
    ]

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        await steps.pop(0)()

    runtime.sleep = sleep
    rotation_ = rotation(runtime)
    rotation_._say = said.append
    report = await rotation_.run(wait_seconds=300)
    assert steps == []
    assert (report.resealed, report.retired, report.complete) == (2, ["k1"], True)
    waiting = [line for line in said if line.startswith("waiting")]
    assert ["2 of 2" in waiting[0], "1 of 2" in waiting[1], "one minute" in waiting[3]] == [True, True, True]
    assert await opened(db, await keyring(pool, runtime, "k2")) == 1


async def test_a_worker_that_does_not_follow_keeps_the_old_key_alive(
    db: Database, pool: Pool, runtime: Runtime, clock: FakeClock, rotation: Rotate
) -> None:
    await sealed_tokens(db, await keyring(pool, runtime), 1)
    await create_worker(db, lease_seconds=3600)
    report = await rotation().run(wait_seconds=30)
    assert sum(clock.slept) == 30
    assert (report.complete, report.retired) == (False, [])
    assert "does not say" in report.waiting_for[0]
    assert await names(db) == ["k1", "k2"]
    sentences = advice(await KeyQueries(pool, runtime).key_status(), await KeyQueries(pool, runtime).workers_and_keys())
    assert "keys rotate" in sentences[0]
    assert "restart them" in sentences[1]


async def test_what_cannot_be_opened_is_named_and_keeps_its_key(
    db: Database, pool: Pool, runtime: Runtime, rotation: Rotate
) -> None:
    old = await keyring(pool, runtime)
    broken, lost, good = await sealed_tokens(db, old, 3)
    await db.execute("update orbyt_private.account_secrets set sealed = '\\xff' where account_id = %s", [broken])
    await db.execute("update orbyt_private.account_secrets set key_id = 'gone' where account_id = %s", [lost])
    report = await rotation().run(wait_seconds=300)
    assert (report.resealed, report.unreadable_count, report.kept, report.retired) == (1, 2, ["k1"], [])
    assert sorted(report.unreadable) == sorted(
        [(f"account_secrets/{broken}/access_token", "k1"), (f"account_secrets/{lost}/access_token", "gone")]
    )
    assert not report.complete
    assert not report.waiting_for, "waiting would not help"
    # The account is connected again: nothing needs the old key any more. The lost one never kept anything from going on.
    await write(db, await keyring(pool, runtime, "k2"), broken)
    again = await rotation().run(wait_seconds=0)
    assert (again.key_id, again.retired, again.complete, again.unreadable_count) == ("k2", ["k1"], True, 1)
    assert await opened(db, await keyring(pool, runtime)) == 2
    assert "which Vault does not have" in advice(await KeyQueries(pool, runtime).key_status(), [])[0]
    assert good is not None


async def test_there_is_nothing_to_rotate_from(db: Database, rotation: Rotate) -> None:
    vault = await db.connect("supabase_admin")
    await vault.execute("delete from vault.secrets")
    with pytest.raises(Failure) as failure:
        await rotation().run(wait_seconds=0)
    assert failure.value.code is ErrorCode.VAULT_KEY_MISSING


async def test_an_old_key_does_not_come_back(db: Database, rotation: Rotate) -> None:
    await db.value("select orbyt_private.create_master_key('k2')")
    with pytest.raises(Failure) as failure:
        await rotation().run("k1", wait_seconds=0)
    assert failure.value.code is ErrorCode.OPTION_INVALID
    assert await names(db) == ["k1", "k2"]


async def test_a_name_does_not_come_back_either(db: Database, rotation: Rotate) -> None:
    assert (await rotation().run("k2", wait_seconds=0)).retired == ["k1"]
    with pytest.raises(Failure) as failure:
        await rotation().run("k1", wait_seconds=0)
    assert (failure.value.code, failure.value.detail) == (
        ErrorCode.OPTION_INVALID,
        "key k1 was deleted by an earlier rotation: choose a new name",
    )
    assert (await rotation().run("k9", wait_seconds=0)).retired == ["k2"]
    await db.execute("insert into orbyt_private.retired_keys (key_id) values ('k10')")
    assert (await rotation().run(wait_seconds=0)).key_id == "k11"


async def test_a_lost_active_key_is_replaced_and_the_one_that_is_left_stays_of_use(
    db: Database, pool: Pool, runtime: Runtime, rotation: Rotate
) -> None:
    """Somebody deleted the key that seals. What an older key of Vault sealed is not lost."""
    await sealed_tokens(db, await keyring(pool, runtime), 2)
    await db.value("select orbyt_private.create_master_key('k2')")
    vault = await db.connect("supabase_admin")
    await vault.execute("delete from vault.secrets where name = 'orbyt_key_k2'")
    assert "not in Vault" in advice(await KeyQueries(pool, runtime).key_status(), [])[0]
    report = await rotation().run(wait_seconds=0)
    assert (report.created, report.resealed, report.complete) == (True, 2, True)
    assert await opened(db, await keyring(pool, runtime)) == 2


async def speaks_for(db: Database, worker_id: UUID, key_id: str, seconds_ago: float) -> None:
    await db.execute(
        "select orbyt_private.use_key(%s, %s, now() - make_interval(secs => %s))", [worker_id, key_id, seconds_ago]
    )


async def age(db: Database, worker_id: UUID, seconds: float) -> None:
    await db.execute(
        "update orbyt_private.workers set key_since = key_since - make_interval(secs => %s) where worker_id = %s",
        [seconds, worker_id],
    )


@pytest.mark.parametrize(
    ("active", "taken", "next_one"),
    [
        ("k1", {"k1"}, "k2"),
        ("k9", {"k9", "k10"}, "k11"),
        ("local", {"local"}, "local-2"),
        ("local-2", {"local-2"}, "local-3"),
        (None, {"k1"}, "k2"),
    ],
)
def test_names_go_on(active: str | None, taken: set[str], next_one: str) -> None:
    assert rotating.next_key_id(active, taken) == next_one


def test_advice_without_any_key() -> None:
    assert "keys init" in advice([], [])[0]
