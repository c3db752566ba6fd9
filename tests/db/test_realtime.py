"""What a phone hears: one message per visible change, with a growing version, on the user's own topic, without secrets or texts.

Delivery is Realtime's; here is what it is given (publication, realtime.messages) and who may read it (policy, as Realtime asks).
"""

from __future__ import annotations

from uuid import UUID

from tests.factories import create_owner, create_user, insert_job
from tests.fix_postgres import Database


async def messages(db: Database, user_id: UUID, event: str = "publish_job") -> list[dict[str, object]]:
    rows = await db.fetch(
        "select payload from realtime.messages where topic = %s and event = %s and private order by inserted_at, (payload ->> 'version')::bigint",
        [f"orbyt:{user_id}", event],
    )
    return [row["payload"] for row in rows]


async def test_one_message_per_visible_change_with_a_growing_version(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id, caption="A secret plan")
    async with db.as_user(user_id) as app:
        await app.execute(
            "update orbyt.publish_jobs set caption = 'Another' where job_id = %s", [job_id]
        )  # not visible here
        await app.execute("select orbyt.cancel_job(%s)", [job_id])
    heard = await messages(db, user_id)
    assert [message["status"] for message in heard] == ["queued", "queued", "cancelled"]
    versions = [int(str(message["version"])) for message in heard]
    assert versions == sorted(set(versions))
    for message in heard:
        assert not {"media", "caption", "title", "options"} & set(message)
        assert "secret" not in str(message)


async def test_progress_is_one_message_each(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    worker = "select orbyt_private.register_worker(gen_random_uuid(), 'test', '0', '{}', 60)"
    await db.execute(worker)
    await db.execute("select * from orbyt_private.claim_jobs((select worker_id from orbyt_private.workers), 1, 1, 60)")
    before = len(await messages(db, user_id))
    for percent in (10, 10, 20):
        await db.execute("select orbyt_private.set_progress(%s, 1, 'uploading', %s)", [job_id, percent])
    assert len(await messages(db, user_id)) == before + 2  # the repeated one changed nothing


async def test_accounts_are_told_of_too(db: Database) -> None:
    user_id, _ = await create_owner(db)
    await db.execute("update orbyt.accounts set status = 'needs_reauth', error_code = 'google_grant_invalid'")
    assert [message["status"] for message in await messages(db, user_id, "account")] == ["active", "needs_reauth"]


async def test_only_the_own_topic_may_be_read(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    stranger = await create_user(db)
    topic = f"orbyt:{user_id}"
    for who, expected in ((user_id, True), (stranger, False)):
        async with db.as_user(who) as app:
            await app.execute("select set_config('realtime.topic', %s, true)", [topic])
            row = await (
                await app.execute("select count(*) as seen from realtime.messages where topic = %s", [topic])
            ).fetchone()
            assert row is not None
            assert (row["seen"] > 0) is expected


async def test_the_tables_are_in_the_publication(db: Database) -> None:
    rows = await db.fetch(
        "select tablename from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'orbyt'"
    )
    assert {row["tablename"] for row in rows} >= {"publish_jobs", "accounts"}
