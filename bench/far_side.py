"""`python -m bench.far_side`: the simulated platforms in a process of their own, so that they do not compete with what is
measured for one interpreter. Prints {"url", "token"} (an access token of a channel) and serves until its stdin is closed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Self

from orbyt_worker.sandbox.server import SandboxServer


class FarSide:
    """Such a process, for the bench. A context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.far_side"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        self.url: str = answer["url"]
        self.token: str = answer["token"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


def main() -> None:
    with SandboxServer() as server:
        server.state.youtube.configure(check_content=False, uploads_per_day=100_000, units_per_day=1_000_000)
        server.state.media.find("good.mp4")
        account = server.state.google.create_account()
        token = server.state.google.issue_access_token(account.refresh_token)
        sys.stdout.write(json.dumps({"url": server.url, "token": token}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
