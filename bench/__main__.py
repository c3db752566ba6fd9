"""`python -m bench` (`make bench`): every figure in one run, one table. `--quick` proves in well under a minute that all of it runs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.claim import claim
from bench.idle import idle
from bench.media import media
from bench.place import Place
from bench.punctual import punctual, sandbox
from bench.queues import compared, drain, due, wake
from bench.table import Row, markdown, show


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    drain_jobs: int
    wake_times: int
    finished_rows: int
    blocked_rows: int
    media_bytes: int
    slow_bytes: int
    slow_bytes_per_second: int
    due_jobs: int
    due_lead_seconds: float
    due_workers: tuple[int, ...]
    sandbox_jobs: int
    sandbox_lead_seconds: float
    idle_seconds: float
    # Everything at once, contenders included: for a smoke test only.
    together: bool = False


FULL = Scale(
    drain_jobs=5_000,
    wake_times=200,
    finished_rows=1_000_000,
    blocked_rows=100_000,
    media_bytes=1024**3,
    slow_bytes=512 * 1024**2,
    slow_bytes_per_second=64 * 1024**2,
    due_jobs=500,
    due_lead_seconds=15,
    due_workers=(1, 2),
    sandbox_jobs=100,
    sandbox_lead_seconds=45,
    idle_seconds=60,
)
# Figures of this size say nothing; it shows that every part works.
QUICK = Scale(
    drain_jobs=40,
    wake_times=3,
    finished_rows=2_000,
    blocked_rows=500,
    media_bytes=8 * 1024**2,
    slow_bytes=4 * 1024**2,
    slow_bytes_per_second=16 * 1024**2,
    due_jobs=8,
    due_lead_seconds=4,
    due_workers=(1,),
    sandbox_jobs=3,
    sandbox_lead_seconds=5,
    idle_seconds=2,
    together=True,
)


def _due(place: Place, scale: Scale) -> list[Row]:
    rows = punctual(place, scale.due_jobs, scale.due_lead_seconds, scale.due_workers)
    rows += due(place, scale.due_jobs, min(scale.due_lead_seconds, 8), together=scale.together)
    # Ratios are to Orbyt here: being early is nobody's aim, so the smallest figure is no floor.
    rows = compared(rows, rows[0].subject)
    return [*rows, sandbox(place, scale.sandbox_jobs, scale.sandbox_lead_seconds)]


PARTS: dict[str, Callable[[Place, Scale], list[Row]]] = {
    "drain": lambda place, scale: drain(place, scale.drain_jobs),
    "wake": lambda place, scale: wake(place, scale.wake_times, together=scale.together),
    "due": _due,
    "claim": lambda place, scale: claim(place, scale.finished_rows, scale.blocked_rows),
    "media": lambda place, scale: media(scale.media_bytes, scale.slow_bytes, scale.slow_bytes_per_second),
    "idle": lambda place, scale: idle(place, scale.idle_seconds),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of: {', '.join(PARTS)} (all by default)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a smoke test, not a measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    scale = QUICK if chosen.quick else FULL

    def measure(name: str) -> list[Row]:
        started = time.monotonic()
        rows = PARTS[name](place, scale)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        return rows

    names = chosen.parts or list(PARTS)
    with Place() as place, ThreadPoolExecutor(len(names) if scale.together else 1) as pool:
        where = place.describe()
        rows = [row for found in pool.map(measure, names) for row in found]
    title = f"{datetime.now(UTC):%Y-%m-%d}, {where}" + (" – quick: the figures mean nothing" if chosen.quick else "")
    show(rows, title)
    if chosen.json:
        chosen.json.write_text(json.dumps({"title": title, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")
    if chosen.markdown:
        chosen.markdown.write_text(f"{title}\n\n{markdown(rows)}\n")


if __name__ == "__main__":
    main()
