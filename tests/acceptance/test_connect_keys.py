"""Changing the master key while two workers publish, refresh and connect: nothing fails, and afterwards the old key opens nothing."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from orbyt_worker.crypto import Keyring
from orbyt_worker.db.key_queries import KeyQueries, SealedRow
from orbyt_worker.db.pool import Database
from orbyt_worker.db.queries import Queries
from orbyt_worker.errors.failure import Failure
from orbyt_worker.local import KEY_ID, browse
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.publishing.rotation import Report, Rotation
from orbyt_worker.runtime import Runtime
from tests.fix_world import World

NEW = "second"


async def rotate(world: World, database: Database) -> Report:
    """As `orbyt-worker keys rotate` does it, in a hurry: the minute that old writes are given is over at once."""

    async def hurry(seconds: float) -> None:
        await asyncio.to_thread(world.wait_for_change)
        world.database.fetch("update orbyt_private.workers set key_since = key_since - interval '2 minutes'")

    runtime = Runtime(sleep=hurry)
    keys = MasterKeys(Queries(database, runtime), runtime)
    return await Rotation(KeyQueries(database, runtime), keys, runtime).run(NEW, wait_seconds=60)


async def everything_sealed(database: Database) -> list[SealedRow]:
    return await KeyQueries(database, Runtime()).secrets_to_reseal("none", limit=1000, after="")


def opens(row: SealedRow, key: bytes) -> bool:
    """Whatever it is called."""
    try:
        Keyring({row.key_id: key}, active=row.key_id).open(
            row.sealed, owner_id=row.owner_id, kind=row.kind, key_id=row.key_id
        )
    except Failure:
        return False
    return True


@pytest.mark.slow
async def test_the_key_is_changed_while_everything_runs(world: World) -> None:
    state = world.sandbox.state
    # So short-lived that every look at a token renews it: the workers seal all the time.
    state.google.configure(access_token_seconds=120)
    accounts = [world.channel() for _ in range(3)]
    person = state.meta.create_user()
    pages = state.meta.create_pages(2, user_id=person.user_id)
    late = state.google.create_account()
    video = world.video(9_000_000)
    # Uploads last longer than the change: their addresses lie sealed in the journal.
    state.faults.add("youtube.upload.put", "slow", seconds=1.0, times=None)
    admin = Database(world.database.url(), size_max=2)
    await admin.open()
    try:
        with world.connecting_worker(name="one") as one, world.connecting_worker(name="two", connect_slots=0) as two:
            await asyncio.to_thread(world.wait_until, world.connectable, 60)
            # Somebody has not chosen yet.
            pending = world.database.begin_connect(world.user_id, "facebook")
            await asyncio.to_thread(browse, f"{pending.authorize_url}&sandbox_account={person.user_id}")
            await asyncio.to_thread(world.wait_until, lambda: session_status(world, pending.session_id) == "choose")
            jobs = [world.insert(account, title=f"Post {n}", media=[video]) for n in range(2) for account in accounts]
            await asyncio.to_thread(world.wait_for, jobs[0], until=lambda row: row["stage"] == "uploading")
            before = await everything_sealed(admin)
            assert {"account_secrets", "callback_keys", "connect_grants", "job_steps"} <= {row.source for row in before}
            assert all(opens(row, world.key) for row in before)

            report = await rotate(world, admin)
            assert (report.complete, report.retired, report.unreadable_count) == (True, [KEY_ID], 0), report
            assert report.resealed > 0
            assert "uploading" in {world.job(job_id)["stage"] for job_id in jobs}

            for job_id in jobs:
                row = await asyncio.to_thread(world.wait_for, job_id, "published", "failed", "held", timeout_seconds=90)
                assert row["status"] == "published", row["error_code"]
            # The choice that was pending, and a login that begins now.
            (page,) = world.database.finish_connect(world.user_id, pending.session_id, [pages[1].page_id])
            text = world.database.insert_job(
                world.user_id, page["account_id"], kind="text", title=None, caption="With the new key"
            )
            assert (await asyncio.to_thread(world.wait_for, text, "published", "failed", "held"))[
                "status"
            ] == "published"
            connection = await asyncio.to_thread(world.connect_by_oauth, "youtube", person=late.sub)
            assert connection.session["status"] == "connected"
            assert (one.stop(), two.stop()) == (0, 0)
        (new,) = await Queries(admin, Runtime()).master_keys()
        assert new.key_id == NEW
        after = await everything_sealed(admin)
        assert {row.key_id for row in after} == {NEW}
        assert all(opens(row, new.key) for row in after)
        assert not any(opens(row, world.key) for row in after)
    finally:
        await admin.close()
    for account in accounts:
        assert sorted(each.title for each in world.videos(account)) == ["Post 0", "Post 1"]


def session_status(world: World, session_id: UUID) -> str:
    return str(world.database.connect_session(world.user_id, session_id)["status"])
