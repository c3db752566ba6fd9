"""`orbyt-worker demo`: from an empty machine to published videos, watching the rows as the app would.

Real PostgreSQL, real HTTP, a real MP4 of a few hundred megabytes, one real worker process; the platforms are the sandbox's.
On a terminal it is a live table; elsewhere one line per change, so that a log tells the same story.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from rich.console import Console
from rich.live import Live
from rich.table import Table

from orbyt_worker.local import ConnectedAccount, LocalStack

LOOK_SECONDS = 0.2
SETTLE_SECONDS_MAX = 300.0
SETTLED = frozenset({"published", "failed", "cancelled", "refused"})
_COLORS = {
    "published": "green",
    "failed": "red",
    "refused": "magenta",
    "held": "yellow",
    "publishing": "cyan",
    "queued": "white",
}


@dataclass(slots=True)
class Row:
    """One line of the table: a job, or an insert that was refused."""

    name: str
    expected: str
    account: ConnectedAccount
    job_id: UUID | None = None
    status: str = ""
    stage: str = ""
    progress: int = 0
    result: str = ""
    seen: list[str] = field(default_factory=list)
    released: bool = False

    def line(self) -> tuple[str, str, str, str, str]:
        return (self.name, self.status, self.stage, f"{self.progress:3d} %", self.result)


async def run_demo(*, fast: bool, megabytes: int) -> int:
    """Returns the exit code: 0 when every job ended as it should."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="orbyt-demo-") as directory:
        return await asyncio.to_thread(_demo, console, Path(directory), fast, megabytes)


def _demo(console: Console, directory: Path, fast: bool, megabytes: int) -> int:
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:5.1f} s[/]  {text}", highlight=False, soft_wrap=True)

    say("starting PostgreSQL, the migrations and the simulated platforms …")
    with LocalStack(directory) as stack:
        user_id = stack.database.create_user("ada@example.com")
        good = stack.database.connect_youtube(stack.sandbox, user_id, stack.key, title="Ada's channel")
        lost = stack.database.connect_youtube(stack.sandbox, user_id, stack.key, title="Ada's second channel")
        say("two YouTube channels connected (sandbox); making a real MP4 …")
        asset = stack.sandbox.state.mux.create_asset(size_bytes=megabytes * 1024 * 1024)
        video = f"https://stream.mux.com/{asset.playback_id}.m3u8"
        say(f"a video of {megabytes} MiB is on (sandbox) Mux; the second channel's owner revokes our access at Google")
        stack.sandbox.state.google.kill_grant(refresh_token=lost.tokens["refresh_token"])
        with stack.start_worker(
            poll_seconds=1, upkeep_seconds=2, youtube_finish_lead_seconds=900, log_level="info"
        ) as worker:
            rows = _insert(stack, user_id, good, lost, video, ahead=timedelta(seconds=15 if fast else 60))
            say("four posts inserted, as the app would; the worker takes over\n")
            _watch(console, stack, rows, worker_alive=lambda: worker.process.poll() is None)
            code = worker.stop()
        problems = _judge(stack, rows, stack.sandbox.state.mux.file_sha256(asset.asset_id))
        if code != 0:
            problems.append(f"the worker ended with exit code {code}")
        console.print()
        if problems:
            for problem in problems:
                console.print(f"[red]✗[/] {problem}", highlight=False)
            console.print(f"[red]the demo failed[/]; the worker's log:\n{worker.log_text()[-8000:]}", highlight=False)
            return 1
        say("[green]✓[/] every post ended as it should: each video is on its channel exactly once, byte for byte")
        return 0


def _insert(
    stack: LocalStack, user_id: UUID, good: ConnectedAccount, lost: ConnectedAccount, video: str, ahead: timedelta
) -> list[Row]:
    media = [{"type": "video", "url": video}]
    wanted: list[tuple[Row, dict[str, Any]]] = [
        (Row("publish now", "published", good), {"title": "Hello from Orbyt"}),
        (
            Row(f"in {ahead.seconds} s", "published", good),
            {"title": "A little later", "publish_at": datetime.now(UTC) + ahead},
        ),
        (Row("bad title", "refused", good), {"title": "x" * 101}),
        (Row("lost connection", "published", lost), {"title": "After reconnecting"}),
    ]
    for row, columns in wanted:
        try:
            row.job_id = stack.database.insert_job(user_id, row.account.account_id, media=media, **columns)
        except psycopg.Error as refused:
            detail = json.loads(refused.diag.message_detail or "{}")
            row.status, row.result = "refused", f"{detail.get('code')} → {refused.diag.message_hint}"
    return [row for row, _ in wanted]


def _watch(console: Console, stack: LocalStack, rows: list[Row], worker_alive: Callable[[], bool]) -> None:
    """Until all are settled, the worker is gone or the time is up."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    live = Live(_table(rows), console=console, refresh_per_second=8) if console.is_terminal else None
    with live if live is not None else contextlib.nullcontext():
        while time.monotonic() < deadline and worker_alive():
            _read(stack, rows)
            if live is not None:
                live.update(_table(rows))
            else:
                _print_changes(console, rows)
            if all(row.status in SETTLED for row in rows):
                return
            _reconnect(console, stack, rows)
            time.sleep(LOOK_SECONDS)


def _read(stack: LocalStack, rows: list[Row]) -> None:
    """As the app does it: its own rows, through row level security."""
    user_id = rows[0].account.user_id
    found = {
        each["job_id"]: each
        for each in stack.database.as_user(
            user_id,
            "select job_id, status, stage, progress, error_code, error_message, permalink, run_at from orbyt.publish_jobs",
        )
    }
    for row in rows:
        if row.job_id is None or row.job_id not in found:
            continue
        job = found[row.job_id]
        row.status, row.stage, row.progress = job["status"], job["stage"], job["progress"]
        row.result = job["permalink"] if row.status == "published" else (job["error_code"] or job["permalink"] or "")


def _reconnect(console: Console, stack: LocalStack, rows: list[Row]) -> None:
    """The user reconnects the channel whose access was revoked: the held job goes on by itself."""
    for row in rows:
        if row.status == "held" and not row.released:
            row.released = True
            sub = next(
                each.sub
                for each in stack.sandbox.state.google.accounts()
                if row.account.platform_account_id in each.channel_ids
            )
            token = stack.sandbox.state.google.issue_refresh_token(sub, channel_id=row.account.platform_account_id)
            stack.database.store_tokens(row.account.account_id, stack.key, {"refresh_token": token})
            console.print(
                f"   [yellow]{row.name}[/]: held with {row.result}; the user reconnects, and the job goes on by itself",
                highlight=False,
            )


def _print_changes(console: Console, rows: list[Row]) -> None:
    for row in rows:
        step = 25 * (row.progress // 25)
        key = f"{row.status} {row.stage} {step} {row.result}"
        if not row.seen or row.seen[-1] != key:
            row.seen.append(key)
            console.print(
                f"   {row.name:<16} {row.status:<10} {row.stage:<11} {row.progress:3d} %  {row.result}",
                highlight=False,
                soft_wrap=True,
            )


def _table(rows: list[Row]) -> Table:
    table = Table("post", "status", "stage", "progress", "result")
    for row in rows:
        name, status, stage, progress, result = row.line()
        table.add_row(name, f"[{_COLORS.get(status, 'white')}]{status}[/]", stage, progress, result)
    return table


def _judge(stack: LocalStack, rows: list[Row], sha256: str) -> list[str]:
    """What is on the platform against what should be there."""
    problems = [
        f"{row.name}: ended as {row.status or 'nothing'} ({row.result}), expected {row.expected}"
        for row in rows
        if row.status != row.expected
    ]
    for account in {row.account.account_id: row.account for row in rows}.values():
        expected = sum(
            1 for row in rows if row.account.account_id == account.account_id and row.expected == "published"
        )
        videos = stack.sandbox.state.youtube.list_videos(channel_id=account.platform_account_id)
        if len(videos) != expected:
            problems.append(f"channel {account.platform_account_id} has {len(videos)} videos, expected {expected}")
        problems += [
            f"video {video.video_id} is {video.privacy}, not public" for video in videos if video.privacy != "public"
        ]
        problems += [
            f"video {video.video_id} has other bytes than the source" for video in videos if video.sha256 != sha256
        ]
    return problems
