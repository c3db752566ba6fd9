"""Every kind of post, on every platform and login, by a real worker process: out exactly once, also when the answer is lost."""

from __future__ import annotations

from uuid import UUID

import pytest

from orbyt_worker.local import ConnectedAccount
from tests.acceptance.kinds import CASES, Case, published
from tests.fix_world import World

SETTLE_SECONDS = 150


class Posted:
    """All cases, inserted at once. One account for each login: five accounts in trouble at a time would be an outage."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.accounts: dict[tuple[str, str], ConnectedAccount] = {}
        self.jobs: list[tuple[Case, ConnectedAccount, UUID]] = []
        for case in CASES:
            key = (case.platform, case.login)
            if key not in self.accounts:
                self.accounts[key] = case.account(world)
            account = self.accounts[key]
            self.jobs.append((case, account, world.insert(account, **case.columns(world))))

    def problems(self) -> list[str]:
        """What did not end as it should, once all are settled."""
        world, found = self._world, []
        for case, account, job_id in self.jobs:
            row = world.wait_for(job_id, "published", "failed", "held", timeout_seconds=SETTLE_SECONDS)
            mine = [ids for ids in published(world, account) if row["platform_post_id"] in ids]
            seen = (row["status"], row["error_code"], len(mine), str(row["permalink"]).startswith("http"))
            if seen != ("published", None, 1, True):
                found.append(f"{case}: {seen} {row['error_message']} {world.events(job_id)}")
        for key, account in self.accounts.items():
            expected = sum(1 for case, _, _ in self.jobs if (case.platform, case.login) == key)
            if len(published(world, account)) != expected:
                found.append(f"{key}: {len(published(world, account))} posts instead of {expected}")
        return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_all_of_them_are_published_once(world: World) -> None:
    posted = Posted(world)
    with world.worker(background_slots=4):
        assert posted.problems() == []
    meta = world.sandbox.state.meta
    assert meta.facebook.duplicates() == []
    assert meta.instagram.double_publishes() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_answer_to_the_visible_call_is_dropped_after_it_was_accepted(world: World) -> None:
    """Each is looked for and adopted: by its handle, or as the one match in the page's list."""
    for route in sorted({case.visible for case in CASES}):
        times = sum(case.visible == route for case in CASES)
        world.sandbox.state.faults.add(route, "drop_after", times=times)
    posted = Posted(world)
    with world.worker(background_slots=4):
        assert posted.problems() == []
    assert world.sandbox.state.meta.instagram.double_publishes() == []
