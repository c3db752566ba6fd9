"""What upkeep does: deadlines, held and released batches, pruning. And what it must never do: forget that something was published."""

from __future__ import annotations

import uuid
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.factories import create_owner, insert_job
from tests.fix_postgres import Database


async def claimed(db: Database, phase: str = "background") -> tuple[UUID, UUID, dict[str, Any]]:
    user_id, account_id = await create_owner(db)
    await insert_job(db, user_id, account_id)
    worker_id = uuid.uuid4()
    await db.execute("select orbyt_private.register_worker(%s, 'test', '0', '{}', 60)", [worker_id])
    (job,) = await db.fetch("select * from orbyt_private.claim_jobs(%s, 1, 1, 60)", [worker_id])
    return user_id, account_id, job


async def test_a_missed_deadline_fails_the_job_and_names_the_last_problem(db: Database) -> None:
    _, _, job = await claimed(db)
    given = [job["job_id"], job["attempt"]]
    await db.value("select orbyt_private.put_back(%s, %s, 60, 'background', 'waiting', 'media_not_ready', 'x')", given)
    assert await db.value("select orbyt_private.expire_jobs(200, now() + interval '25 hours')") == 1
    row = await db.row("select status, error_code, error_message, run_at from orbyt.publish_jobs")
    assert (row["status"], row["error_code"], row["run_at"]) == ("failed", "deadline_missed", None)
    assert "media_not_ready" in row["error_message"]
    assert await db.value("select count(*) from orbyt_private.job_queue") == 0


async def test_a_job_whose_call_was_begun_is_never_failed_for_its_deadline(db: Database) -> None:
    _, _, job = await claimed(db)
    given = [job["job_id"], job["attempt"]]
    await db.value("select orbyt_private.begin_publish(%s, %s, 'finish', 10)", given)
    await db.value("select orbyt_private.put_back(%s, %s, 60, 'publish', 'publishing')", given)
    assert await db.value("select orbyt_private.expire_jobs(200, now() + interval '25 hours')") == 0
    (again,) = await db.fetch(
        "select * from orbyt_private.claim_jobs((select worker_id from orbyt_private.workers), 1, 1, 60, now() + interval '2 minutes')"
    )
    answer = await db.value(
        "select orbyt_private.fail_job(%s, %s, 'network_timeout', 'x')", [again["job_id"], again["attempt"]]
    )
    assert answer == "ok"
    assert await db.row("select status, error_code from orbyt.publish_jobs") == {
        "status": "held",
        "error_code": "outcome_unknown",
    }


async def test_begin_is_refused_after_the_deadline(db: Database) -> None:
    _, _, job = await claimed(db)
    given = [job["job_id"], job["attempt"]]
    answer = await db.value(
        "select orbyt_private.begin_publish(%s, %s, 'finish', 10, now() + interval '25 hours')", given
    )
    assert answer == "expired"


async def test_many_jobs_are_held_and_released_in_batches(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    async with db.as_user(user_id) as app:
        await app.execute(
            "insert into orbyt.publish_jobs (account_id, kind, title, media) "
            'select %s, \'video\', \'t\', \'[{"type": "video", "url": "https://example.com/v.mp4"}]\' from generate_series(1, 450)',
            [account_id],
        )
    await db.execute("update orbyt.accounts set status = 'needs_reauth', error_code = 'google_grant_invalid'")
    held = "select count(*) from orbyt.publish_jobs where status = 'held' and needs_reauth and error_code = 'account_needs_reauth'"
    assert await db.value(held) == 200
    assert await db.value("select orbyt_private.tend_accounts()") == 250
    assert await db.value(held) == 450
    assert await db.value("select orbyt_private.tend_accounts()") == 0
    await db.execute("update orbyt.accounts set status = 'active'")
    while await db.value("select orbyt_private.tend_accounts(100)"):
        pass
    assert (
        await db.value("select count(*) from orbyt.publish_jobs where status = 'queued' and error_code is null") == 450
    )
    assert await db.value("select count(*) from orbyt_private.account_changes") == 0
    assert await db.value("select due_at is not null from orbyt_private.lanes") is True


async def test_a_post_that_is_out_stays_published_when_its_account_is_lost(db: Database) -> None:
    _, _, job = await claimed(db)
    given = [job["job_id"], job["attempt"]]
    await db.value("select orbyt_private.begin_publish(%s, %s, 'finish', 10)", given)
    await db.value("select orbyt_private.confirm_publish(%s, %s, 'finish', '{\"platform_post_id\": \"v1\"}')", given)
    await db.value("select orbyt_private.put_back(%s, %s, 60, 'background', 'verifying')", given)
    await db.execute("update orbyt.accounts set status = 'needs_reauth', error_code = 'google_grant_invalid'")
    row = await db.row(
        "select status, error_code, needs_reauth, platform_post_id, published_at is not null as dated from orbyt.publish_jobs"
    )
    assert row == {
        "status": "published",
        "error_code": "account_needs_reauth",
        "needs_reauth": False,
        "platform_post_id": "v1",
        "dated": True,
    }


async def test_pruning_blanks_secrets_and_never_forgets_what_was_confirmed(db: Database) -> None:
    user_id, _, job = await claimed(db)
    given = [job["job_id"], job["attempt"]]
    for step in ("start_upload", "finish"):
        await db.value(f"select orbyt_private.save_step(%s, %s, '{step}', true, '{{}}', '\\x01', 'k1')", given)
    await db.value("select orbyt_private.begin_publish(%s, %s, 'finish', 10)", given)
    await db.value("select orbyt_private.confirm_publish(%s, %s, 'finish', '{\"platform_post_id\": \"v1\"}')", given)
    await db.value("select orbyt_private.fail_job(%s, %s, 'youtube_video_rejected_length', 'x')", given)
    await db.value("select orbyt_private.prune()")
    assert await db.fetch("select step, state, secret from orbyt_private.job_steps") == [
        {"step": "finish", "state": "confirmed", "secret": None}
    ]
    with pytest.raises(psycopg.Error) as refused:
        async with db.as_user(user_id) as app:
            await app.execute("select orbyt.retry_job(%s)", [job["job_id"]])
    assert "job_not_retryable" in (refused.value.diag.message_detail or "")


async def test_old_finished_jobs_are_pruned_and_open_ones_are_not(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    done, open_job = await insert_job(db, user_id, account_id), await insert_job(db, user_id, account_id)
    async with db.as_user(user_id) as app:
        await app.execute("select orbyt.cancel_job(%s)", [done])
    await db.value("select orbyt_private.prune(1000, now() + interval '91 days')")
    assert await db.fetch("select job_id from orbyt.publish_jobs") == [{"job_id": open_job}]


async def test_manual_edits_in_the_table_editor_stay_consistent(db: Database) -> None:
    _, _, job = await claimed(db)
    job_id = job["job_id"]
    # An admin sets it back to queued while a worker is at it: the worker is fenced.
    await db.execute("update orbyt.publish_jobs set status = 'queued' where job_id = %s", [job_id])
    assert await db.row("select worker_id, run_at is not null as timed from orbyt_private.job_queue") == {
        "worker_id": None,
        "timed": True,
    }
    assert (
        await db.value("select orbyt_private.begin_publish(%s, %s, 'finish', 10)", [job_id, job["attempt"]]) == "stale"
    )
    await db.execute("update orbyt.publish_jobs set status = 'failed' where job_id = %s", [job_id])
    assert await db.row("select error_code, run_at from orbyt.publish_jobs") == {
        "error_code": "internal_error",
        "run_at": None,
    }
    await db.execute("update orbyt.publish_jobs set status = 'queued' where job_id = %s", [job_id])
    assert await db.row("select error_code, run_at is not null as timed from orbyt.publish_jobs") == {
        "error_code": None,
        "timed": True,
    }
    await db.execute("update orbyt.publish_jobs set status = 'published' where job_id = %s", [job_id])
    assert await db.value("select published_at is not null from orbyt.publish_jobs") is True
    with pytest.raises(psycopg.Error):
        await db.execute("update orbyt.publish_jobs set status = 'queued' where job_id = %s", [job_id])


async def test_quota_is_shared_and_resets_at_midnight_pacific(db: Database) -> None:
    reserve = "select granted, reset_in_seconds from orbyt_private.reserve_quota('youtube_uploads', 'p', 1, 2, %s::timestamptz)"
    # The day daylight saving ends in Los Angeles has 25 hours: from 07:00 UTC to 08:00 UTC of the next day.
    assert (await db.row(reserve, ["2026-11-01 07:00+00"]))["reset_in_seconds"] == 25 * 3600
    assert (await db.row(reserve, ["2026-11-02 07:59+00"]))["granted"] is True
    assert (await db.row(reserve, ["2026-11-02 07:59:30+00"]))["granted"] is False
    assert (await db.row(reserve, ["2026-11-02 08:00+00"]))["granted"] is True
    await db.value("select orbyt_private.close_quota('youtube_uploads', 'p', 2, '2026-11-02 09:00+00')")
    assert (await db.row(reserve, ["2026-11-02 10:00+00"]))["granted"] is False
    assert (await db.row(reserve, ["2026-11-03 08:00+00"]))["granted"] is True


async def test_a_job_released_by_hand_on_a_dead_account_is_held_again(db: Database) -> None:
    user_id, account_id = await create_owner(db)
    job_id = await insert_job(db, user_id, account_id)
    await db.execute("update orbyt.accounts set status = 'needs_reauth', error_code = 'google_grant_invalid'")
    await db.value("select orbyt_private.tend_accounts()")
    await db.value("select orbyt_private.release_job(%s)", [job_id])
    assert await db.value("select status from orbyt.publish_jobs") == "queued"
    assert await db.value("select orbyt_private.tend_accounts()") == 1
    assert await db.value("select status from orbyt.publish_jobs") == "held"
