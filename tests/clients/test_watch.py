"""The client's watch: rules of reconciliation against a channel and a clock of the test's own, then the real RealtimeClient against a
server that speaks Phoenix channels. The real Realtime server is not to be had without Docker (see tests/db/test_realtime.py)."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.fix_lite import CheckTypes, RunNode

HERE = Path(__file__).parent


def test_what_is_on_the_screen_stays_true(app_directory: Path, check_types: CheckTypes, run_node: RunNode) -> None:
    for name in ("watch.ts", "phoenix.ts", "ws.d.ts"):
        shutil.copy(HERE / name, app_directory)
    check_types("watch.ts", "ws.d.ts")
    assert run_node("watch.ts", {}) == "done"
