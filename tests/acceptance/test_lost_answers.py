"""The platform accepted, the answer vanished: for every kind of request of the YouTube road, exactly one video."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fix_world import World

# Larger than one chunk, so that the upload has a middle.
SIZE_BYTES = 9_000_000

ROUTES = (
    "google.token",
    "youtube.videos.insert",
    "youtube.upload.put",
    "youtube.upload.final",
    "youtube.upload.status",
    "youtube.videos.list",
    "mux.stream",
    "mux.api",
)


def publish(world: World, **columns: Any) -> dict[str, Any]:
    account = world.channel()
    job_id = world.insert(account, title="Lost answer", media=[world.video(SIZE_BYTES)], **columns)
    with world.worker():
        row = world.wait_for(job_id, "published", "failed", "held", timeout_seconds=80)
    videos = world.videos(account)
    assert row["status"] == "published", (row["error_code"], row["error_message"], world.events(job_id))
    assert [video.video_id for video in videos] == [row["platform_post_id"]]
    assert videos[0].size_bytes == SIZE_BYTES
    return row


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
def test_the_answer_is_dropped_after_the_request_was_accepted(world: World, route: str) -> None:
    world.sandbox.state.faults.add(route, "drop_after", times=1)
    publish(world)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("route", "kind", "options"),
    [
        ("youtube.upload.final", "status", {"status": 503, "process": True}),
        ("youtube.upload.final", "status", {"status": 500, "process": True, "body": "html"}),
        ("youtube.upload.final", "status", {"status": 400, "process": True}),
        ("youtube.upload.final", "drop_before", {}),
        ("youtube.upload.final", "finalise_later", {"seconds": 3.0}),
        ("youtube.upload.put", "partial_accept", {"bytes": 262_144}),
        ("youtube.upload.put", "drop_during", {"bytes": 3_000_000}),
        ("youtube.upload.put", "expire_session", {}),
        ("youtube.upload.put", "new_location", {}),
        ("youtube.upload.put", "token_expired", {}),
        ("youtube.upload.put", "status", {"status": 503}),
        ("youtube.videos.insert", "status", {"status": 500}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_other_trouble_on_the_road(world: World, route: str, kind: str, options: dict[str, Any]) -> None:
    world.sandbox.state.faults.add(route, kind, times=1, **options)  # type: ignore[arg-type]
    publish(world)


@pytest.mark.slow
def test_a_session_that_vanished_with_its_answer_is_found_in_the_uploads_list(world: World) -> None:
    """The last chunk was accepted, the answer lost and the session is gone: the unique match is adopted."""
    world.sandbox.state.faults.add("youtube.upload.final", "expire_session", process=True, times=1)
    publish(world)


@pytest.mark.slow
def test_when_nobody_can_tell_the_job_is_held_and_never_sent_again(world: World) -> None:
    """Two videos look alike and the session is gone: a person has to look."""
    account = world.channel()
    video = world.video(SIZE_BYTES)
    with world.worker():
        first = world.insert(account, title="Twin", media=[video])
        assert world.wait_for(first, "published")["status"] == "published"
        # Files of ours carry the job's id in their name; without it the two cannot be told apart.
        for each in world.sandbox.state.youtube.videos.values():
            each.file_name = None
        world.sandbox.state.faults.add("youtube.upload.final", "expire_session", process=True, times=1)
        second = world.insert(account, title="Twin", media=[video])
        row = world.wait_for(second, "held", "published", "failed", timeout_seconds=60)
    assert (row["status"], row["error_code"]) == ("held", "outcome_unknown")
    assert len(world.videos(account)) == 2
