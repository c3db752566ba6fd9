"""Moving a large file: Orbyt's relay against downloading first and uploading then, and against the download alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

import httpx

from bench.far_side import FarSide
from bench.queues import compared
from bench.table import Row

RUN_SECONDS_MAX = 600
WAYS = (("download", "download only"), ("after", "download, then upload"), ("relay", "Orbyt's relay"))


def _control(side: FarSide, path: str, **arguments: object) -> None:
    httpx.post(f"{side.url}/_control/{path}", json=arguments, trust_env=False, timeout=60).raise_for_status()


def _move(way: str, url: str, target: FarSide) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="orbyt-bench-") as directory:
        done = subprocess.run(
            [sys.executable, "-m", "bench.media_run", way, url, target.url, target.token, directory],
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS_MAX,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f"{way} failed:\n{done.stderr[-3000:]}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def media(size_bytes: int, slow_bytes: int, slow_bytes_per_second: int) -> list[Row]:
    """`size_bytes` as fast as loopback goes, then `slow_bytes` over a line with a speed, both ways."""
    rows = []
    with FarSide() as source, FarSide() as target:
        rows += _rows(
            f"{_size(size_bytes)} over loopback", f"{source.url}/media/huge-{size_bytes}.mp4", size_bytes, target
        )
        behaviour = {"bytes_per_second": slow_bytes_per_second}
        _control(source, "media/add", name="line.mp4", size_bytes=slow_bytes, behaviour=behaviour)
        # Each chunk of 8 MiB is answered as late as it would have taken on that line.
        _control(
            target,
            "faults/add",
            route="youtube.upload",
            kind="slow",
            method="PUT",
            times=None,
            seconds=8 * 1024**2 / slow_bytes_per_second,
        )
        part = f"{_size(slow_bytes)} over a line of {_size(slow_bytes_per_second)}/s"
        rows += _rows(part, f"{source.url}/media/line.mp4", slow_bytes, target)
    return rows


def _rows(part: str, url: str, size_bytes: int, target: FarSide) -> list[Row]:
    rows = []
    for way, subject in WAYS:
        answer = _move(way, url, target)
        if answer["bytes"] != size_bytes:
            raise RuntimeError(f"{way} moved {answer['bytes']} of {size_bytes} bytes")
        note = f"{size_bytes / answer['seconds'] / 1024**2:,.0f} MiB/s; peak memory grew by {answer['grown'] / 1024**2:.1f} MiB"
        rows.append(Row(part, subject, answer["seconds"], "s", note=note))
    return compared(rows, WAYS[0][1])


def _size(count: int) -> str:
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2)):
        if count >= size:
            return f"{count / size:g} {unit}"
    return f"{count} bytes"
