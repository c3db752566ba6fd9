"""Posts due at the same second go out at that second. A functional test with a generous bound; figures are `make bench`'s."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.fix_world import World

POSTS = 40
LATE_SECONDS_MAX = 2.0
# Enough to prepare them all on a slow machine.
LEAD_SECONDS = 30


@pytest.mark.slow
@pytest.mark.alone
def test_posts_due_at_one_second_go_out_at_that_second(world: World) -> None:
    """Public ones wait in the upload, since YouTube's own clock needs a minute's notice; unlisted ones wait for the visible call."""
    privacy = {world.channel(): ("public", "unlisted")[number % 2] for number in range(POSTS)}
    video = world.video()
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=LEAD_SECONDS)
    jobs = [
        world.insert(account, title="On time", media=[video], options={"privacy": asked}, publish_at=due)
        for account, asked in privacy.items()
    ]
    patient = {"lease_seconds": 15, "heartbeat_seconds": 3}
    with world.worker(name="one", **patient), world.worker(name="two", **patient):
        for job_id in jobs:
            row = world.wait_for(job_id, "published", "failed", "held", timeout_seconds=LEAD_SECONDS + 60)
            assert row["status"] == "published", row["error_code"]
    late = []
    for account, asked in privacy.items():
        (one,) = world.videos(account)
        visible_at = one.public_since if asked == "public" else one.created_at
        assert visible_at is not None
        late.append((visible_at - due).total_seconds())
    assert min(late) >= 0, "nothing is visible before its time"
    assert max(late) <= LATE_SECONDS_MAX, sorted(late)[-5:]
