"""One way of moving a file, in a process of its own, so that its memory is its own:

    python -m bench.media_run (download | after | relay) SOURCE_URL UPLOAD_HOST TOKEN DIRECTORY

`download` reads the source and throws it away; `after` downloads to a file and then uploads it; `relay` is Orbyt's way. The
uploads are the same: one resumable session, chunks of 8 MiB. Prints {"seconds", "bytes", "grown"}: `grown` is the growth of the
peak resident memory over that of the same process after a small file, in bytes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from orbyt_worker.media.relay import MediaConfig, MediaRelay
from orbyt_worker.model import MediaItem, MediaSpec
from orbyt_worker.platforms.http import ApiClient
from orbyt_worker.platforms.youtube.upload import CHUNK_BYTES
from orbyt_worker.runtime import Runtime

PIECE_BYTES = 256 * 1024
CHUNK_SECONDS_MAX = 300.0


def peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM: Linux is needed")


def reset_peak() -> None:
    """The peak starts anew from what is resident now; proc_pid_clear_refs(5)."""
    Path("/proc/self/clear_refs").write_text("5")


class Mover:
    def __init__(self, upload_host: str, token: str, directory: Path) -> None:
        self._upload_host = upload_host
        self._headers = {"authorization": f"Bearer {token}"}
        self._directory = directory
        self._client = httpx.AsyncClient(trust_env=False, timeout=CHUNK_SECONDS_MAX)
        self._api = ApiClient(Runtime(), sandbox=True)

    async def _open_session(self, size: int) -> str:
        answer = await self._client.post(
            f"{self._upload_host}/youtube-upload/upload/youtube/v3/videos",
            params={"uploadType": "resumable", "part": "snippet,status"},
            headers={**self._headers, "x-upload-content-length": str(size), "x-upload-content-type": "video/mp4"},
            json={"snippet": {"title": "Bench"}, "status": {"privacyStatus": "private"}},
        )
        answer.raise_for_status()
        return answer.headers["location"]

    def _range(self, offset: int, length: int, size: int) -> dict[str, str]:
        return {
            **self._headers,
            "content-type": "video/mp4",
            "content-length": str(length),
            "content-range": f"bytes {offset}-{offset + length - 1}/{size}",
        }

    async def download(self, url: str) -> int:
        count = 0
        async with self._client.stream("GET", url) as answer:
            async for piece in answer.aiter_bytes(PIECE_BYTES):
                count += len(piece)
        return count

    async def after(self, url: str) -> int:
        path = self._directory / "download"
        size = 0
        with path.open("wb") as target:
            async with self._client.stream("GET", url) as answer:
                async for piece in answer.aiter_bytes(PIECE_BYTES):
                    target.write(piece)
                    size += len(piece)
        session = await self._open_session(size)
        with path.open("rb") as file:

            async def pieces(length: int) -> AsyncIterator[bytes]:
                left = length
                while left:
                    piece = file.read(min(PIECE_BYTES, left))
                    left -= len(piece)
                    yield piece

            for offset in range(0, size, CHUNK_BYTES):
                length = min(CHUNK_BYTES, size - offset)
                put = await self._client.put(
                    session, headers=self._range(offset, length, size), content=pieces(length), follow_redirects=False
                )
                assert put.status_code in (200, 201, 308), put.text
        path.unlink()
        return size

    async def relay(self, url: str) -> int:
        config = MediaConfig(
            sandbox=True,
            allowed_loopback=frozenset({urlsplit(url).netloc}),
            spool_dir=self._directory / "spool",
            spool_bytes_max=20 * 1024**3,
            media_bytes_max=256 * 1024**3,
            mux_stream_url="https://stream.mux.com",
            mux_api_url="https://api.mux.com",
        )
        relay = MediaRelay(config, Runtime())
        await relay.start()
        item = MediaItem("video", url)
        facts = await relay.facts(item, spec=MediaSpec())
        async with relay.open(item, spec=MediaSpec(), expect=facts) as reader:
            session = await self._open_session(reader.size_bytes)
            for offset in range(0, reader.size_bytes, CHUNK_BYTES):
                length = min(CHUNK_BYTES, reader.size_bytes - offset)
                answer = await self._api.call(
                    "bench.put",
                    "PUT",
                    session,
                    timeout_seconds=CHUNK_SECONDS_MAX,
                    headers=self._range(offset, length, reader.size_bytes),
                    content=reader.read(offset, length),
                    content_length=length,
                )
                assert answer.status in (200, 201, 308), answer.body
        await relay.close()
        return reader.size_bytes


async def main(way: str, url: str, upload_host: str, token: str, directory: str) -> None:
    mover = Mover(upload_host, token, Path(directory))
    move = {"download": mover.download, "after": mover.after, "relay": mover.relay}[way]
    parts = urlsplit(url)
    await move(f"{parts.scheme}://{parts.netloc}/media/good.mp4")
    reset_peak()
    idle, started = peak_bytes(), time.perf_counter()
    count = await move(url)
    seconds = time.perf_counter() - started
    sys.stdout.write(json.dumps({"seconds": seconds, "bytes": count, "grown": peak_bytes() - idle}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
