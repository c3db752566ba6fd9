"""What every platform must do. A platform's tests subclass `PlatformContract` and give it a `World`.

A World is a fake of the platform with the few handles the contract needs. Each test asks for worlds of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pytest
import structlog

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.platforms.base import ApiResponse
from tests.platforms.driver import Driver, Killed

KILLS_MAX = 200


@dataclass(frozen=True, slots=True)
class DocumentedError:
    """One answer of the platform's documentation and the code it has to become."""

    response: ApiResponse
    code: ErrorCode


class World(Protocol):
    """A fresh platform with one post ready to be published to it."""

    driver: Driver

    @property
    def secrets(self) -> Sequence[str]:
        """Planted values that must never be seen: tokens, upload addresses."""
        ...

    @property
    def documented_errors(self) -> Sequence[DocumentedError]: ...

    def published(self) -> int:
        """How many posts exist on the platform."""
        ...

    def visible_calls(self) -> int:
        """How many visible calls reached the platform and were accepted or could have been."""
        ...

    def break_post(self) -> None:
        """Make the post one that `check` refuses."""
        ...

    def drop_visible_answer(self) -> None:
        """The next visible call is accepted, and its answer lost."""
        ...

    def slow_down(self, seconds: int) -> None:
        """The first hidden call is answered once with a rate limit and this Retry-After."""
        ...

    def code_of(self, error: DocumentedError) -> ErrorCode:
        """What the platform's error table makes of an answer."""
        ...


class PlatformContract:
    """The shared suite. Override `make_world` with a fixture that returns a factory."""

    # Override with False where a post of this kind needs no secret (upload addresses and the like) to be kept.
    saves_secrets = True

    @pytest.fixture
    def make_world(self) -> Callable[[], World]:
        raise NotImplementedError

    async def test_publishes_once(self, make_world: Callable[[], World]) -> None:
        world = make_world()
        outcome = await world.driver.run()
        assert outcome.published, outcome
        assert outcome.result["platform_post_id"]
        assert world.published() == 1

    async def test_plan_has_one_visible_step_and_is_pure(self, make_world: Callable[[], World]) -> None:
        driver = make_world().driver
        plan = driver.plan()
        assert [step.name for step in plan] == [step.name for step in driver.plan()]
        assert len({step.name for step in plan}) == len(plan)
        visible = [step for step in plan if step.visible]
        assert len(visible) == 1
        assert visible[0].call_timeout_seconds is not None
        assert not any(step.side for step in plan[: plan.index(visible[0])]), "side tasks come after the visible step"

    async def test_stops_before_the_visible_step_when_checks_fail(self, make_world: Callable[[], World]) -> None:
        world = make_world()
        world.break_post()
        outcome = await world.driver.run()
        assert outcome.failure is not None
        assert world.published() == 0
        assert world.visible_calls() == 0

    async def test_resumes_after_each_step(self, make_world: Callable[[], World]) -> None:
        world = make_world()
        names = [step.name for step in world.driver.plan()]
        for name in names:
            await world.driver.run(until=name)
            assert world.driver.saved.states[name] in ("recorded", "confirmed")
        assert world.published() == 1
        assert world.visible_calls() == 1

    async def test_killed_anywhere_it_is_published_exactly_once(self, make_world: Callable[[], World]) -> None:
        """Before and after every external call and every journal write.

        Where no read can prove that a lost call did not happen (`Step.provable`), a job that died with its call announced
        may be held instead; what is published is never published twice even then.
        """
        world = make_world()
        assert (await world.driver.run()).published
        count = len(world.driver.checkpoints)
        assert 5 < count < KILLS_MAX
        provable = all(step.provable for step in world.driver.plan())
        for nth in range(1, count + 1):
            world = make_world()
            world.driver.kill_at = nth
            with pytest.raises(Killed) as killed:
                await world.driver.run()
            in_doubt = "begun" in world.driver.saved.states.values()
            outcome = await world.driver.run()
            if in_doubt and not provable and outcome.held is not None:
                assert world.published() <= 1, f"killed at {killed.value}"
                continue
            assert outcome.published, f"killed at {killed.value}: {outcome}"
            assert world.published() == 1, f"killed at {killed.value}"

    async def test_never_repeats_the_visible_step_when_its_answer_is_lost(
        self, make_world: Callable[[], World]
    ) -> None:
        world = make_world()
        world.drop_visible_answer()
        outcome = await world.driver.run()
        assert outcome.published, outcome
        assert world.published() == 1
        assert world.visible_calls() == 1

    async def test_honours_retry_after(self, make_world: Callable[[], World]) -> None:
        world = make_world()
        world.slow_down(120)
        started = world.driver.clock.monotonic()
        assert (await world.driver.run()).published
        waits = [each.retry_after_seconds for each in world.driver.failures]
        assert 120.0 in waits or any(each.seconds >= 120 for each in world.driver.snoozes)
        assert world.driver.clock.monotonic() - started >= 120

    async def test_maps_each_documented_error(self, make_world: Callable[[], World]) -> None:
        world = make_world()
        assert world.documented_errors
        wrong = [
            (error.response.status, error.response.json, world.code_of(error), error.code)
            for error in world.documented_errors
            if world.code_of(error) is not error.code
        ]
        assert wrong == []

    async def test_leaks_no_secret(
        self, make_world: Callable[[], World], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world = make_world()
        world.drop_visible_answer()
        world.slow_down(1)
        caplog.set_level(logging.DEBUG)
        with structlog.testing.capture_logs() as entries:
            await world.driver.run()
        captured = capsys.readouterr()
        # The fake's own server runs in this process; what it logs is not the worker's.
        lines = [record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")]
        seen = f"{entries} {lines} {captured.out} {captured.err} {world.driver.readable()}"
        secrets = [
            *world.secrets,
            *(str(value) for each in world.driver.saved.secrets.values() for value in each.values()),
        ]
        assert (len(secrets) > len(world.secrets)) == self.saves_secrets
        assert [secret for secret in secrets if secret in seen] == []
