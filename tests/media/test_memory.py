"""A large file passes, and the memory of the process does not notice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orbyt_worker.sandbox.server import SandboxServer

# ORBYT_TEST_RELAY_BYTES=2000000000 for the figure of the promise; CI is content with less.
SIZE_BYTES = int(os.environ.get("ORBYT_TEST_RELAY_BYTES", 512 * 1024 * 1024))
GROWTH_BYTES_MAX = 64 * 1024 * 1024
# What the probes of the readers fetch on top of the file.
PROBE_BYTES_MAX = 4 * 1024 * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is measured through /proc (Linux)")
@pytest.mark.parametrize("name", ["huge", "windowed"])
def test_memory_does_not_depend_on_the_size(name: str, server: SandboxServer, tmp_path: Path) -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.media.relay_memory",
            server.state.media.url(f"huge-{SIZE_BYTES}.mp4"),
            server.state.media.url("good.mp4"),
            str(tmp_path / "spool"),
            *(["1000000"] if name == "windowed" else []),
        ],
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    cost = json.loads(result.stdout.splitlines()[-1])
    assert cost["bytes"] == 2 * SIZE_BYTES
    assert cost["grown"] < GROWTH_BYTES_MAX
    downloads = 2 if name == "windowed" else 1
    assert downloads * SIZE_BYTES <= cost["downloaded"] < downloads * SIZE_BYTES + PROBE_BYTES_MAX
