"""What a worker with nothing to do costs the database: statements per minute, all contenders at once, a database each."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

from bench.place import Place
from bench.queues import Run, compared, missing, queues
from bench.table import Row
from orbyt_worker.local import WorkerProcess
from orbyt_worker.sandbox.server import SandboxServer

START_SECONDS_MAX = 90.0
SETTLE_SECONDS = 2.0


def idle(place: Place, seconds: float) -> list[Row]:
    """Orbyt is the real worker process with the settings it has by default, heartbeat and upkeep included."""
    part, rows = "idle worker", []
    with (
        SandboxServer() as sandbox,
        tempfile.TemporaryDirectory(prefix="orbyt-bench-") as directory,
        contextlib.ExitStack() as stack,
    ):
        runs: dict[str, Run] = {}
        databases: dict[str, str] = {}
        for queue in queues():
            if queue.orbyt:
                database = place.orbyt_database()
                worker = WorkerProcess(
                    database.worker_environment(sandbox, Path(directory) / "spool"), Path(directory) / "log"
                )
                stack.enter_context(worker)
                _wait_ready(worker)
                databases[queue.name] = database.name
            elif queue.command is not None:
                runs[queue.name] = Run(place, queue, "idle", "0")
                databases[queue.name] = runs[queue.name].database
        for run in runs.values():
            run.ready()
        time.sleep(SETTLE_SECONDS)
        place.reset_counts()
        time.sleep(seconds)
        counted = {name: place.counted(database) for name, database in databases.items()}
        for run in runs.values():
            run.finish()
    for queue in queues():
        if queue.name not in counted:
            rows.append(missing(part, queue, "statements/min"))
            continue
        one = counted[queue.name]
        note = f"{60_000 * one.seconds / seconds:.1f} ms of server time per minute"
        rows.append(Row(part, queue.name, 60 * one.statements / seconds, "statements/min", note=note))
    return compared(rows, "Orbyt")


def _wait_ready(worker: WorkerProcess) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while "worker.ready" not in worker.log_text():
        if time.monotonic() > deadline or worker.process.poll() is not None:
            raise RuntimeError(f"the worker did not start:\n{worker.log_text()[-3000:]}")
        time.sleep(0.1)
