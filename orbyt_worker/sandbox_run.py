"""`orbyt-worker sandbox`: a local world to develop an app against, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from pathlib import Path

from rich.console import Console

from orbyt_worker.local import LocalStack


async def run_sandbox(*, port: int, data_dir: str | None) -> None:
    """Start everything, print what to put where, wait for SIGINT or SIGTERM, stop everything."""
    console = Console()
    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        running.add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="orbyt-sandbox-") as directory:
        stack = LocalStack(Path(directory), data_dir=Path(data_dir) if data_dir else None, sandbox_port=port)
        await asyncio.to_thread(stack.__enter__)
        try:
            # The simulated platforms forget everything with each start, so each start connects new accounts.
            users = stack.database.fetch("select id from auth.users where email = 'dev@example.com'")
            user_id = users[0]["id"] if users else stack.database.create_user("dev@example.com")
            given = (stack.sandbox, user_id, stack.key)
            accounts = (
                stack.database.connect_youtube(*given),
                stack.database.connect_facebook(*given),
                stack.database.connect_instagram(*given),
            )
            asset = stack.sandbox.state.mux.create_asset(width=540, height=960, seconds=4.0)
            worker = stack.start_worker()
            console.print(f"database      {stack.database.url()}", highlight=False)
            console.print(
                f"platforms     {stack.sandbox.url}   (control: {stack.sandbox.url}/_control)", highlight=False
            )
            console.print(f"worker log    {worker.log_path}", highlight=False)
            console.print(f"user          {user_id}", highlight=False)
            for account in accounts:
                console.print(f"account       {account.account_id}   ({account.platform})", highlight=False)
            console.print(f"a video       mux://{asset.playback_id}", highlight=False)
            console.print("\nCtrl-C stops everything.")
            await stop.wait()
            await asyncio.to_thread(worker.stop)
        finally:
            await asyncio.to_thread(stack.__exit__, None, None, None)
