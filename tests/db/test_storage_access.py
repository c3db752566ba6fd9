"""Who may name an object of Storage in a post: whoever can read it under the project's own policies; and what was hosted."""

from __future__ import annotations

import json
import uuid
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.factories import VIDEO, create_owner, create_user, insert_job
from tests.fix_postgres import Database

MINE = "storage://videos/{}/my%20clip.mp4"
THEIRS = "storage://videos/{}/clip.mp4"
# The usual policy of a project: a folder per user. The function it calls relies on the search path, as many do.
POLICIES = """
create table public.members (user_id uuid primary key);
grant select on public.members to authenticated;
create function public.is_member() returns boolean language sql stable as $$
  select exists (select from members where user_id = auth.uid())
$$;
create policy own_folder on storage.objects for select to authenticated
  using (bucket_id = 'videos' and (storage.foldername(name))[1] = (select auth.uid())::text and (select is_member()));
"""


@pytest.fixture
async def people(db: Database) -> tuple[UUID, UUID, UUID]:
    """(user, account of the user, other user). Both have one object in the private bucket; there is one public bucket."""
    user_id, account_id = await create_owner(db)
    other_id = await create_user(db)
    platform = await db.connect("supabase_admin")
    await platform.execute(POLICIES.encode())
    await platform.execute("insert into public.members select id from auth.users")
    await platform.execute(
        "insert into storage.buckets (id, name, public) values ('videos', 'videos', false), ('open', 'open', true)"
    )
    for bucket, name in (
        ("videos", f"{user_id}/my clip.mp4"),
        ("videos", f"{other_id}/clip.mp4"),
        ("open", "a/b.mp4"),
    ):
        await platform.execute("insert into storage.objects (bucket_id, name) values (%s, %s)", [bucket, name])
    return user_id, account_id, other_id


def video(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "video", "url": url, **more}


async def refusal(db: Database, user_id: UUID, account_id: UUID, media: list[dict[str, Any]]) -> tuple[str, str] | None:
    """(code, field) with which the insert is refused, or None; check_post has to say the same."""
    async with db.as_user(user_id) as app:
        row = await (
            await app.execute(
                "select orbyt.check_post(%s, 'video', 'A title', null, %s) as problems", [account_id, Jsonb(media)]
            )
        ).fetchone()
    assert row is not None
    foretold = [(each["code"], each["field"]) for each in row["problems"]]
    if not foretold:
        await insert_job(db, user_id, account_id, media=media)
        return None
    with pytest.raises(psycopg.Error) as refused:
        await insert_job(db, user_id, account_id, media=media)
    detail = json.loads(refused.value.diag.message_detail or "{}")
    expected = await db.value("select sqlstate from orbyt.error_catalog where code = %s", [detail["code"]])
    assert refused.value.sqlstate == expected
    assert foretold[0] == (detail["code"], detail["field"])
    assert row["problems"][0]["what_to_do"]
    return detail["code"], detail["field"]


async def test_a_user_names_own_objects_and_public_ones(db: Database, people: tuple[UUID, UUID, UUID]) -> None:
    user_id, account_id, _ = people
    assert await refusal(db, user_id, account_id, [video(MINE.format(user_id))]) is None
    assert await refusal(db, user_id, account_id, [video("storage://open/a/b.mp4")]) is None
    assert (
        await refusal(db, user_id, account_id, [video(MINE.format(user_id), cover_url="storage://open/a/b.mp4")])
        is None
    )


async def test_objects_of_others_are_answered_like_ones_that_do_not_exist(
    db: Database, people: tuple[UUID, UUID, UUID]
) -> None:
    user_id, account_id, other_id = people
    missing = ("media_not_found", "media[0].url")
    assert await refusal(db, user_id, account_id, [video(THEIRS.format(other_id))]) == missing
    assert await refusal(db, user_id, account_id, [video("storage://videos/none.mp4")]) == missing
    assert await refusal(db, user_id, account_id, [video("storage://nowhere/a/b.mp4")]) == missing
    # Another spelling of a name is not the name.
    assert await refusal(db, user_id, account_id, [video(f"storage://videos/{user_id}/my%2520clip.mp4")]) == missing
    assert await refusal(db, user_id, account_id, [video("storage://open/%ff%fe")]) == missing
    assert await refusal(db, user_id, account_id, [{**VIDEO, "cover_url": THEIRS.format(other_id)}]) == (
        "media_not_found",
        "media[0].cover_url",
    )


@pytest.mark.parametrize(
    "url",
    [
        "storage://videos",
        "storage://videos/",
        "storage://videos//a.mp4",
        "storage://videos/../open/a.mp4",
        "storage://videos/./a.mp4",
        "storage://videos/a/..",
        "storage://videos/a.mp4?download=1",
        "storage://vid eos/a.mp4",
    ],
)
async def test_names_that_could_be_read_as_another_one_are_refused(
    db: Database, people: tuple[UUID, UUID, UUID], url: str
) -> None:
    user_id, account_id, _ = people
    assert await refusal(db, user_id, account_id, [video(url)]) == ("media_url_invalid", "media[0].url")


async def test_an_edit_is_checked_too_and_only_when_the_media_change(
    db: Database, people: tuple[UUID, UUID, UUID]
) -> None:
    user_id, account_id, other_id = people
    job_id = await insert_job(db, user_id, account_id, media=[video(MINE.format(user_id))])
    with pytest.raises(psycopg.Error, match="nothing at the address"):
        async with db.as_user(user_id) as app:
            await app.execute(
                "update orbyt.publish_jobs set media = %s where job_id = %s",
                [Jsonb([video(THEIRS.format(other_id))]), job_id],
            )
    platform = await db.connect("supabase_admin")
    await platform.execute("delete from public.members where true")  # nothing can be read any more
    async with db.as_user(user_id) as app:
        await app.execute("update orbyt.publish_jobs set title = 'Another' where job_id = %s", [job_id])
    assert await db.value("select title from orbyt.publish_jobs where job_id = %s", [job_id]) == "Another"


async def test_a_repeated_insert_is_answered_by_the_row_that_is_there(
    db: Database, people: tuple[UUID, UUID, UUID]
) -> None:
    user_id, account_id, _ = people
    job_id = await insert_job(db, user_id, account_id, media=[video(MINE.format(user_id))], client_ref="once")
    platform = await db.connect("supabase_admin")
    await platform.execute("delete from public.members where true")
    for again in ({"job_id": job_id}, {"client_ref": "once"}):
        with pytest.raises(psycopg.errors.UniqueViolation):
            await insert_job(db, user_id, account_id, media=[video(MINE.format(user_id))], **again)


async def test_a_server_with_the_secret_key_may_name_what_is_there(
    db: Database, people: tuple[UUID, UUID, UUID]
) -> None:
    user_id, account_id, other_id = people

    async def insert(url: str) -> None:
        async with db.as_service_role() as app:
            await app.execute(
                "insert into orbyt.publish_jobs (user_id, account_id, kind, title, media) values (%s, %s, 'video', 'T', %s)",
                [user_id, account_id, Jsonb([video(url)])],
            )

    await insert(THEIRS.format(other_id))
    with pytest.raises(psycopg.Error, match="nothing at the address"):
        await insert("storage://videos/none.mp4")


async def test_storage_sources_can_be_switched_off(db: Database, people: tuple[UUID, UUID, UUID]) -> None:
    user_id, account_id, _ = people
    await db.execute("update orbyt_private.settings set value = 'false' where name = 'storage_sources'")
    assert await refusal(db, user_id, account_id, [video("storage://open/a/b.mp4")]) == (
        "media_url_invalid",
        "media[0].url",
    )


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [("a b", "a b"), ("a%20b%C3%BC/ü", "a bü/ü"), ("100%", "100%"), ("%4", "%4"), ("%2520", "%20"), ("%ff", None)],
)
async def test_percent_decoding(db: Database, encoded: str, decoded: str | None) -> None:
    assert await db.value("select orbyt_private.percent_decoded(%s)", [encoded]) == decoded


# --- The worker's own bucket ------------------------------------------------------------------------------------------


async def test_the_bucket_of_the_worker_is_private_and_takes_jpeg_only(db: Database) -> None:
    row = await db.row(
        "select public, file_size_limit, allowed_mime_types from storage.buckets where id = 'orbyt-media'"
    )
    assert row == {"public": False, "file_size_limit": 10 * 1024 * 1024, "allowed_mime_types": ["image/jpeg"]}


async def _running_job(db: Database) -> tuple[UUID, int]:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    worker = await db.connect("orbyt_worker")
    worker_id = uuid.uuid4()
    await worker.execute("select orbyt_private.register_worker(%s, 'host', '1', '{}', 60)", [worker_id])
    claimed = await worker.execute("select * from orbyt_private.claim_jobs(%s, 1, 0, 60)", [worker_id])
    assert await claimed.fetchone() is not None
    attempt: int = await db.value("select attempt from orbyt.publish_jobs where job_id = %s", [job_id])
    return job_id, attempt


async def test_what_is_hosted_is_noted_kept_while_needed_and_forgotten(db: Database) -> None:
    job_id, attempt = await _running_job(db)
    path = f"{job_id}/0-abc.jpg"
    worker = await db.connect("orbyt_worker")

    async def ask(statement: str, *values: Any) -> list[Any]:
        return [next(iter(row.values())) for row in await (await worker.execute(statement.encode(), values)).fetchall()]

    assert await ask("select orbyt_private.note_hosted(%s, %s, %s)", job_id, attempt, path) == ["ok"]
    assert await ask("select orbyt_private.note_hosted(%s, %s, %s)", job_id, attempt, path) == ["ok"]
    assert await ask("select orbyt_private.note_hosted(%s, %s, %s)", job_id, attempt - 1, "x") == ["stale"]
    assert await ask("select path from orbyt_private.hosted_to_remove(10)") == []

    await worker.execute("select orbyt_private.succeed_job(%s, %s, now(), 'p1', null)", [job_id, attempt])
    assert await db.value("select status from orbyt.publish_jobs where job_id = %s", [job_id]) == "published"
    assert await ask("select path from orbyt_private.hosted_to_remove(10)") == []  # the platform may still come back
    later = "select path from orbyt_private.hosted_to_remove(10, now() + interval '61 minutes')"
    assert await ask(later) == [path]
    # Another attempt notes it again while it is being removed: it is not forgotten.
    assert await ask("select orbyt_private.forget_hosted(%s)", [path]) == [0]
    forget = "select orbyt_private.forget_hosted(%s, now() + interval '61 minutes')"
    assert await ask(forget, [path, "unknown"]) == [1]
    assert await ask(later) == []


async def test_what_belongs_to_no_job_or_is_old_is_removed(db: Database) -> None:
    job_id, attempt = await _running_job(db)
    worker = await db.connect("orbyt_worker")
    await worker.execute("select orbyt_private.note_hosted(%s, %s, 'old')", [job_id, attempt])
    await db.execute("insert into orbyt_private.hosted_media (path, job_id) values ('orphan', %s)", [uuid.uuid4()])
    # Noted a moment ago: its upload may still be on its way.
    assert await db.fetch("select path from orbyt_private.hosted_to_remove(10)") == []
    rows = await db.fetch("select path from orbyt_private.hosted_to_remove(10, now() + interval '11 minutes')")
    assert [row["path"] for row in rows] == ["orphan"]
    rows = await db.fetch("select path from orbyt_private.hosted_to_remove(10, now() + interval '8 days')")
    assert [row["path"] for row in rows] == ["old", "orphan"]
