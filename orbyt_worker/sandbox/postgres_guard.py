"""Runs one `postgres` and outlives its starter just long enough to stop it. A script, never imported.

A server started by a test run or by `make demo` must not stay behind when that process is killed: nothing of the killed
process can clean up. So the starter holds one end of a pipe which this small process reads. The pipe ends when the starter
closes it *or dies in any way*; then the server is stopped (fast shutdown, then immediate, then kill, each with a bound) and,
for a temporary server, its directory is removed. `PR_SET_PDEATHSIG` would not do: it is sent when the starting *thread* ends.

Usage: postgres_guard.py '{"command": [...], "user": …, "group": …, "remove": "<dir>" | null}' with the pipe as standard input.
Exit status: 0 after a stop that was asked for, otherwise 1 (the server ended by itself; its log says why).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading

FAST_STOP_SECONDS = 15.0
IMMEDIATE_STOP_SECONDS = 5.0


def main() -> int:
    order = json.loads(sys.argv[1])
    # A closed terminal or Ctrl-C reaches the starter first; it decides when the server goes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server = subprocess.Popen(  # noqa: S603 - the command is built by sandbox/postgres.py
        order["command"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=order["user"],
        group=order["group"],
        extra_groups=None if order["user"] is None else [],
        cwd="/",
        start_new_session=True,
    )
    asked = threading.Event()

    def stop_when_the_starter_is_gone() -> None:
        while os.read(0, 1024):
            continue
        asked.set()
        stop(server)

    def stop_now(signum: int, frame: object) -> None:
        asked.set()
        server.send_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, stop_now)
    threading.Thread(target=stop_when_the_starter_is_gone, daemon=True).start()
    server.wait()
    if not asked.is_set():
        return 1  # the directory stays: its log says why
    if order["remove"]:
        shutil.rmtree(order["remove"], ignore_errors=True)
    return 0


def stop(server: "subprocess.Popen[bytes]") -> None:
    """PostgreSQL's own order: SIGINT is a fast shutdown, SIGQUIT an immediate one (documentation, "Shutting Down the Server")."""
    for signum, seconds in ((signal.SIGINT, FAST_STOP_SECONDS), (signal.SIGQUIT, IMMEDIATE_STOP_SECONDS)):
        server.send_signal(signum)
        try:
            server.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            continue
        return
    server.kill()


if __name__ == "__main__":
    sys.exit(main())
