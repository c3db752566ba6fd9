"""A video far larger than a worker's memory passes through a real worker process, and its memory does not notice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fix_world import World

# `make soak` raises it (ORBYT_TEST_VIDEO_BYTES=10737418240).
SIZE_BYTES = int(os.environ.get("ORBYT_TEST_VIDEO_BYTES", 2 * 1024**3))
GROWTH_BYTES_MAX = 64 * 1024**2
# Loopback moves a gigabyte in a few seconds; a busy machine may take twenty times as long.
SECONDS_MAX = 60 + 120 * SIZE_BYTES / 1024**3


def memory_bytes(pid: int, name: str) -> int:
    """`VmRSS` (resident now) or `VmHWM` (its peak) of a process; proc_pid_status(5)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name}")


@pytest.mark.slow
@pytest.mark.timeout(SECONDS_MAX + 60)
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc (Linux)")
def test_a_huge_video_passes_through_a_worker_that_stays_small(world: World) -> None:
    account = world.channel()
    log = world.sandbox.state.requests
    with world.program(lease_seconds=15, heartbeat_seconds=3) as worker:
        # Idle means: everything is imported, every pool and thread was used once.
        small = world.insert(account, title="Small", media=[world.video()])
        assert world.wait_for(small, "published", "failed", "held")["status"] == "published"
        pid = worker.process.pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts anew
        idle = memory_bytes(pid, "VmRSS")

        url = world.sandbox.state.media.url(f"huge-{SIZE_BYTES}.mp4")
        large = world.insert(account, title="Huge", media=[{"type": "video", "url": url}])
        row = world.wait_for(
            large,
            "published",
            "failed",
            "held",
            until=lambda row: row["stage"] == "uploading" and row["progress"] > 0,
            timeout_seconds=SECONDS_MAX,
        )
        assert row["stage"] == "uploading", row["error_code"]
        # The first chunks are at the platform while the source is still sending.
        assert log.count("youtube.upload.put") > 0
        assert [each for each in log.list("media", "GET") if each.in_flight and each.bytes_sent < SIZE_BYTES] != []

        row = world.wait_for(large, "published", "failed", "held", timeout_seconds=SECONDS_MAX)
        assert row["status"] == "published", row["error_code"]
        grown = memory_bytes(pid, "VmHWM") - idle
    assert grown < GROWTH_BYTES_MAX, f"peak memory grew by {grown / 1024**2:.0f} MiB"
    videos = world.videos(account)
    assert [video.size_bytes for video in videos][1:] == [SIZE_BYTES]
    assert videos[1].sha256 == world.sandbox.state.media.sha256(f"huge-{SIZE_BYTES}.mp4")
    downloaded = sum(
        each.bytes_sent for each in log.list("media", "GET") if each.path.endswith(f"huge-{SIZE_BYTES}.mp4")
    )
    # Once, and besides that what the probe looked at.
    assert SIZE_BYTES <= downloaded < SIZE_BYTES + 16 * 1024**2
