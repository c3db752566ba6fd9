"""The benchmark still runs and reports everything it promises (`make bench`). Nothing is said about time here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PEERS = ("procrastinate", "pgqueuer", "graphile-worker", "pg-boss")
RUN_SECONDS_MAX = 420


@pytest.mark.slow
@pytest.mark.timeout(RUN_SECONDS_MAX + 30)
def test_the_quick_benchmark_has_all_its_rows(tmp_path: Path) -> None:
    found = tmp_path / "rows.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--json", str(found)],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    rows = json.loads(found.read_text())["rows"]
    parts: dict[str, list[str]] = {}
    for row in rows:
        parts.setdefault(row["part"].split(",")[0].split(" of ")[0], []).append(row["subject"])
        # The peers are installed by `make bench` only; a row says so, instead of being absent.
        assert row["value"] is not None or row["note"].startswith("not installed"), row
        assert row["value"] is None or row["value"] >= 0 or row["unit"].startswith("s late"), row
    assert list(parts) == [
        "drain 40 no-op jobs",
        "wake-up",
        "8 jobs due at one second",
        "3 jobs due at one second",
        "cost",
        "8 MiB over loopback",
        "4 MiB over a line",
        "idle worker",
    ]
    for part in ("drain 40 no-op jobs", "wake-up", "8 jobs due at one second", "idle worker"):
        for name in ("Orbyt", "bare table", *PEERS):
            assert any(subject.startswith(name) for subject in parts[part]), (part, name)
    # The table for people has them all (long names are folded).
    assert all(row["subject"][:10] in done.stdout for row in rows)
