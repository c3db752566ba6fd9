"""A 2 GB video passes through a worker whose memory does not notice, and the upload begins before the download ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orbyt_worker.local import WorkerProcess
from tests.fix_world import World

SIZE_BYTES = 2 * 1024**3
GROWTH_BYTES_MAX = 64 * 1024**2


def memory_bytes(worker: WorkerProcess, name: str) -> int:
    """VmRSS (now) or VmHWM (the highest so far) of the worker process."""
    for line in Path(f"/proc/{worker.process.pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_gigabytes(world: World) -> None:
    account = world.channel()
    with world.worker(heartbeat_seconds=5, lease_seconds=30) as worker:
        # One small video first, so that everything is imported and every pool is warm: that is "idle".
        warm = world.insert(account, title="Warm", media=[world.video()])
        assert world.wait_for(warm, "published", "failed", "held")["status"] == "published"
        idle = memory_bytes(worker, "VmRSS")
        world.sandbox.state.requests.clear()
        job_id = world.insert(account, title="Large", media=[world.video(SIZE_BYTES)])
        row = world.wait_for(job_id, "published", "failed", "held", timeout_seconds=240)
        peak = memory_bytes(worker, "VmHWM")
    assert row["status"] == "published", (row["error_code"], row["error_message"])
    assert [video.size_bytes for video in world.videos(account)] == [700_000, SIZE_BYTES]
    assert peak - idle < GROWTH_BYTES_MAX, f"{(peak - idle) / 1024**2:.0f} MiB over idle"

    whole = [entry for entry in world.sandbox.state.requests.list("mux.stream") if entry.bytes_sent > SIZE_BYTES // 2]
    assert len(whole) == 1, "one download of the whole file"
    events = [json.loads(line) for line in worker.log_text().splitlines()]
    first_chunk = next(
        event["timestamp"]
        for event in events
        if event.get("name") == "youtube.upload.chunk" and event.get("job_id") == str(job_id)
    )
    downloaded = next(event["timestamp"] for event in events if event.get("size_bytes") == SIZE_BYTES)
    # The first chunk had been accepted before the last byte of the source was there.
    assert first_chunk < downloaded
