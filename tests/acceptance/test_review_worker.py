"""Found in a hostile review of the worker: a doubtful outcome believed too easily, or a good connection thrown away."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pytest

from orbyt_worker import app
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.local import LocalDatabase
from orbyt_worker.platforms.base import ApiResponse, Credentials, Http, TokenGrant
from orbyt_worker.platforms.http import ApiClient
from orbyt_worker.sandbox.postgres import LocalPostgres
from orbyt_worker.settings import Settings
from tests.acceptance.test_tokens import account_state, tokens_of_a_worker
from tests.fix_world import QUICK, World

SIZE_BYTES = 9_000_000


def settings_of(world: World, **more: Any) -> Settings:
    environment = world.database.worker_environment(world.sandbox, world.directory / "spool", **{**QUICK, **more})
    return Settings.model_validate({name.removeprefix("ORBYT_").lower(): value for name, value in environment.items()})


async def settled(world: World, job_id: UUID, **more: Any) -> dict[str, Any]:
    """Run a worker in this process until the job is settled."""
    worker = app.Worker(settings_of(world, **more))
    running = asyncio.create_task(worker.run())
    try:
        return await asyncio.to_thread(world.wait_for, job_id, "published", "failed", "held", timeout_seconds=60)
    finally:
        worker.stop()
        await running


# Never twice -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["html", "empty", "envelope"])
def test_a_400_to_the_question_after_a_lost_answer_proves_nothing(
    world: World, body: Literal["envelope", "html", "empty"]
) -> None:
    """The video is out, its answer was lost, and the session answers one 400 (a front end, a proxy): believed as "failed for good"."""
    account = world.channel()
    world.sandbox.state.faults.add("youtube.upload.final", "drop_after", times=1)
    # The first question is that of the upload step, the second the one right before the last chunk; the third looks after it.
    world.sandbox.state.faults.add("youtube.upload.status", "status", status=400, body=body, after=2, times=1)
    job_id = world.insert(account, title="Four hundred", media=[world.video(SIZE_BYTES)])
    with world.worker():
        row = world.wait_for(job_id, "published", "failed", "held", timeout_seconds=60)
    seen = (row["status"], row["error_code"], len(world.videos(account)))
    assert seen in (("published", None, 1), ("held", "outcome_unknown", 1))


def test_a_job_in_doubt_that_was_filed_as_failed_is_not_sent_again_by_a_retry(world: World) -> None:
    """An admin files an outcome_unknown job as failed, upkeep prunes its upload session, the user presses retry: a second video."""
    account = world.channel()
    video = world.video(SIZE_BYTES)
    with world.worker():
        first = world.insert(account, title="Twin", media=[video])
        assert world.wait_for(first, "published")["status"] == "published"
        for each in world.sandbox.state.youtube.videos.values():
            each.file_name = None
        world.sandbox.state.faults.add("youtube.upload.final", "expire_session", process=True, times=1)
        second = world.insert(account, title="Twin", media=[video])
        assert world.wait_for(second, "held", timeout_seconds=60)["error_code"] == "outcome_unknown"
        assert len(world.videos(account)) == 2
        world.database.fetch("update orbyt.publish_jobs set status = 'failed' where job_id = %s returning 1", [second])
        world.database.fetch("select orbyt_private.prune()")
        world.database.fetch("select status from orbyt_private.retry_own_job(%s)", [second])
        row = world.wait_for(second, "held", "published", "failed", timeout_seconds=60)
    assert len(world.videos(account)) == 2
    assert (row["status"], row["error_code"]) == ("held", "outcome_unknown")


async def test_a_lost_answer_is_looked_after_however_many_failures_went_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last allowed failure is one after the visible call: held as outcome_unknown without asking YouTube, which knows."""
    account = world.channel()
    job_id = world.insert(account, title="Last try", media=[world.video()])
    world.database.fetch("update orbyt_private.job_queue set failures = 7 where job_id = %s returning 1", [job_id])
    call = ApiClient.call
    lost: list[str] = []

    async def lose_the_answer(self: ApiClient, name: str, *args: Any, **more: Any) -> ApiResponse:
        answer = await call(self, name, *args, **more)
        if name == "youtube.upload.finish" and not lost:
            lost.append(name)
            raise Failure(ErrorCode.NETWORK_TLS, name)
        return answer

    monkeypatch.setattr(ApiClient, "call", lose_the_answer)
    row = await settled(world, job_id)
    assert lost
    assert (row["status"], row["error_code"]) == ("published", None)
    assert len(world.videos(account)) == 1


# Connections -------------------------------------------------------------------------------------------------------------


class _Reconnecting:
    """The platform, and a person who reconnects while the old grant is being refused."""

    def __init__(self, world: World, account_id: UUID, inner: Any) -> None:
        self._world, self._account_id, self._inner = world, account_id, inner
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def refresh(self, http: Http, config: Settings, credentials: Credentials) -> TokenGrant:
        if self.refused == 0:
            self.refused = 1
            self._world.database.fetch("select orbyt_private.store_grant(%s, '[]')", [self._account_id])
            raise Failure(ErrorCode.GOOGLE_GRANT_INVALID, "the old grant", http_status=400)
        granted: TokenGrant = await self._inner.refresh(http, config, credentials)
        return granted


async def test_the_refusal_of_a_replaced_grant_neither_stops_the_job_nor_disconnects_the_new_one(world: World) -> None:
    """The user reconnects while a worker's refresh with the old grant is under way: the fresh connection was marked dead at once."""
    account = world.channel()
    async with tokens_of_a_worker(world) as tokens:
        youtube = _Reconnecting(world, account.account_id, tokens._platforms["youtube"])
        tokens._platforms = {"youtube": youtube}
        failure: Failure | None = None
        try:
            await tokens.access_token(account.account_id, "youtube")
        except Failure as raised:
            failure = raised
        assert youtube.refused == 1
    assert account_state(world) == {"status": "active", "error_code": None}
    assert failure is None


# Secrets -----------------------------------------------------------------------------------------------------------------


def test_the_master_key_is_not_in_the_statement_log(tmp_path: Path) -> None:
    """Sent as a parameter, a server that logs statements would keep it for ever."""
    from typer.testing import CliRunner

    from orbyt_worker.cli import main

    settings = {"log_statement": "all", "log_parameter_max_length": "-1"}
    with LocalPostgres(settings=settings) as server:
        database = LocalDatabase.create(server, "keylog")
        result = CliRunner().invoke(main, ["keys", "init", "--admin-url", database.url()])
        assert result.exit_code == 0, result.output
        (key,) = [row["key_base64"] for row in database.fetch("select key_base64 from orbyt_private.master_keys()")]
        result = CliRunner().invoke(main, ["keys", "rotate", "--admin-url", database.url()])
        assert result.exit_code == 0, result.output
        (new,) = [row["key_base64"] for row in database.fetch("select key_base64 from orbyt_private.master_keys()")]
        assert new != key
        text = server.log_path.read_text("utf-8", "replace")
        assert "create_master_key" in text, "statements are logged"
        assert [each for each in (key, new) if each in text] == []
