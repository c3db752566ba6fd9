"""Second look of the hostile review: at the repairs of the first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.base import ApiResponse
from orbyt_worker.platforms.http import ApiClient
from tests.acceptance.test_review_worker import SIZE_BYTES, settled
from tests.fix_world import World


def test_the_same_nameless_400_twice_is_no_refusal(world: World) -> None:
    """A front end answers 400 to the last chunk, which was taken, and again to the question about it: two answers that say nothing."""
    account = world.channel()
    faults = world.sandbox.state.faults
    faults.add("youtube.upload.final", "status", status=400, body="html", process=True, times=1)
    faults.add("youtube.upload.status", "status", status=400, body="html", after=2, times=1)
    job_id = world.insert(account, title="Twice", media=[world.video(SIZE_BYTES)])
    with world.worker():
        row = world.wait_for(job_id, "published", "failed", "held", timeout_seconds=60)
    seen = (row["status"], row["error_code"], len(world.videos(account)))
    assert seen in (("published", None, 1), ("held", "outcome_unknown", 1))


async def test_a_call_that_is_still_being_worked_on_is_not_reported_as_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost at the last allowed failure, and YouTube is asked before it has worked off the request: "not published"
    was believed and the job filed as failed, while the video came out a moment later."""
    account = world.channel()
    job_id = world.insert(account, title="Slow", media=[world.video()])
    world.database.fetch("update orbyt_private.job_queue set failures = 7 where job_id = %s returning 1", [job_id])
    call = ApiClient.call
    asked = asyncio.Event()
    under_way: list[asyncio.Task[Any]] = []

    async def slow(self: ApiClient, name: str, *args: Any, **more: Any) -> ApiResponse:
        if name == "youtube.upload.finish" and not under_way:

            async def later() -> None:
                await asked.wait()
                await call(self, name, *args, **more)

            under_way.append(asyncio.create_task(later()))
            raise Failure(ErrorCode.NETWORK_TLS, name)
        answer = await call(self, name, *args, **more)
        if name == "youtube.upload.status" and under_way and not asked.is_set():
            asked.set()
            await under_way[0]
        return answer

    monkeypatch.setattr(ApiClient, "call", slow)
    row = await settled(world, job_id)
    assert len(world.videos(account)) == 1
    assert (row["status"], row["error_code"]) in (("published", None), ("held", "outcome_unknown"))


@pytest.mark.parametrize("lost", ["account_secrets", "account_grants"])
def test_an_account_without_a_usable_grant_asks_for_a_reconnect_and_does_not_go_round(world: World, lost: str) -> None:
    """Held for reconnecting while the account stays active: upkeep released it again, every round, for ever."""
    account = world.channel()
    world.database.fetch(
        {
            "account_secrets": "delete from orbyt_private.account_secrets where account_id = %s returning 1",
            "account_grants": "delete from orbyt_private.account_grants where account_id = %s returning 1",
        }[lost],
        [account.account_id],
    )
    job_id = world.insert(account, title="No grant", media=[world.video()])
    with world.worker():
        row = world.wait_for(job_id, "held")
        assert row["error_code"] == "account_needs_reauth"
        # Two rounds of upkeep later at the latest it would be released.
        world.database.fetch("select orbyt_private.tend_accounts(), orbyt_private.tend_accounts()")
    states = world.database.fetch("select status from orbyt.accounts where account_id = %s", [account.account_id])
    assert [each["status"] for each in states] == ["needs_reauth"]
    assert world.job(job_id)["status"] == "held"
