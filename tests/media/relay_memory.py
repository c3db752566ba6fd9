"""A process of its own for the memory test: reads one URL with two readers at once and prints what it cost.

    python -m tests.media.relay_memory URL SMALL_URL SPOOL_DIR [SPOOL_BYTES_MAX]

Prints {"bytes": …, "downloaded": …, "grown": …}: bytes handed out, bytes fetched, growth of the peak RSS over idle.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from orbyt_worker.media.relay import MediaConfig, MediaRelay
from orbyt_worker.model import MediaItem, MediaSpec
from orbyt_worker.runtime import Runtime


def peak_bytes() -> int:
    """Peak resident memory since `reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM")


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def read(relay: MediaRelay, url: str) -> int:
    count = 0
    async with relay.open(MediaItem("video", url), spec=MediaSpec()) as reader:
        async for piece in reader.read(0, reader.size_bytes):
            count += len(piece)
    return count


async def main(url: str, small_url: str, spool_dir: str, spool_bytes_max: str = str(8 * 1024**3)) -> None:
    downloaded = 0

    def on_bytes(count: int) -> None:
        nonlocal downloaded
        downloaded += count

    config = MediaConfig(
        sandbox=True,
        allowed_loopback=frozenset({urlsplit(url).netloc}),
        spool_dir=Path(spool_dir),
        spool_bytes_max=int(spool_bytes_max),
        media_bytes_max=8 * 1024**3,
        mux_stream_url="https://stream.mux.com",
        mux_api_url="https://api.mux.com",
    )
    relay = MediaRelay(config, Runtime(), on_bytes=on_bytes)
    await relay.start()
    # Idle means: everything imported, every thread started once.
    await read(relay, small_url)
    reset_peak()
    idle, downloaded = peak_bytes(), 0
    counts = await asyncio.gather(read(relay, url), read(relay, url))
    grown = peak_bytes() - idle
    await relay.close()
    sys.stdout.write(json.dumps({"bytes": sum(counts), "downloaded": downloaded, "grown": grown}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
