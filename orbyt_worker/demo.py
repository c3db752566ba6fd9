"""`orbyt-worker demo`: from an empty machine to published posts on three platforms, watching the rows as the app would.

The accounts are connected as in life: the app's call, the platform's page, the callback, the exchange. Real PostgreSQL, real HTTP, a real MP4 of about a hundred megabytes, one real worker process; the platforms are the sandbox's.
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
    film: bool = False  # carries the one video

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
        say("making a real upright MP4 …")
        asset = stack.sandbox.state.mux.create_asset(
            size_bytes=megabytes * 1024 * 1024, width=540, height=960, seconds=_seconds_for(megabytes)
        )
        say(f"a video of {megabytes} MiB is on (sandbox) Mux")
        with stack.start_worker(
            poll_seconds=1, upkeep_seconds=2, youtube_finish_lead_seconds=900, log_level="info"
        ) as worker:
            try:
                cast = _connect(stack)
            except (RuntimeError, TimeoutError) as error:
                console.print(f"[red]✗[/] {error}; the worker's log:\n{worker.log_text()[-8000:]}", highlight=False)
                return 1
            say("connected by OAuth (sandbox): three Pages in one login, an Instagram account, two YouTube channels")
            _make_trouble(stack, cast)
            say(
                "Google's grant of one channel is revoked, one Page's token dies, another Page is about to be throttled"
            )
            rows = _insert(stack, cast, f"https://stream.mux.com/{asset.playback_id}.m3u8", 15 if fast else 60)
            say(f"{len(rows)} posts inserted, as the app would; the worker takes over\n")
            _watch(console, stack, rows, worker_alive=lambda: worker.process.poll() is None)
            code = worker.stop()
        problems = _judge(stack, rows, stack.sandbox.state.mux.file_sha256(asset.asset_id))
        downloads = _downloads(stack)
        if downloads != 1:
            problems.append(f"the video was downloaded {downloads} times for its accounts, not once")
        if code != 0:
            problems.append(f"the worker ended with exit code {code}")
        console.print()
        if problems:
            for problem in problems:
                console.print(f"[red]✗[/] {problem}", highlight=False)
            console.print(f"[red]the demo failed[/]; the worker's log:\n{worker.log_text()[-8000:]}", highlight=False)
            return 1
        say(
            "[green]✓[/] every post ended as it should: each is on its account exactly once, the video was downloaded once"
        )
        return 0


def _seconds_for(megabytes: int) -> float:
    """Long enough for Instagram's 25 Mbit/s, and within the 90 seconds of a reel."""
    return min(max(4.0, megabytes * 0.45), 89.0)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part."""

    page: ConnectedAccount
    other_page: ConnectedAccount
    throttled_page: ConnectedAccount
    instagram: ConnectedAccount
    channel: ConnectedAccount
    lost_channel: ConnectedAccount


def _connect(stack: LocalStack) -> Cast:
    """The people exist at the platforms; each presses the button and agrees."""
    user_id = stack.database.create_user("ada@example.com")
    meta, google = stack.sandbox.state.meta, stack.sandbox.state.google
    ada = meta.create_user("Ada").user_id
    names = ("Ada's page", "Ada's second page", "Ada's busy page")
    page, other_page, throttled_page = (meta.create_page(name=name, user_id=ada).page_id for name in names)
    meta.create_instagram(page_id=page)
    pages = {each.platform_account_id: each for each in stack.connect(user_id, "facebook", person=ada)}
    (instagram,) = stack.connect(user_id, "instagram", login="facebook", person=ada)
    (channel,), (lost_channel,) = (
        stack.connect(user_id, "youtube", person=google.create_account(channel_title=title).sub)
        for title in ("Ada's channel", "Ada's second channel")
    )
    return Cast(
        page=pages[page],
        other_page=pages[other_page],
        throttled_page=pages[throttled_page],
        instagram=instagram,
        channel=channel,
        lost_channel=lost_channel,
    )


def _make_trouble(stack: LocalStack, cast: Cast) -> None:
    state = stack.sandbox.state
    state.google.kill_grant(sub=_person(stack, cast.lost_channel))
    for token in state.meta.list_tokens(page_id=cast.other_page.platform_account_id):
        state.meta.kill_token(token.value, "role_lost")
    path = f"/{cast.throttled_page.platform_account_id}/feed"
    state.faults.add("facebook.feed", "throttle", code=80001, minutes=1, path_contains=path)


def _person(stack: LocalStack, account: ConnectedAccount) -> str:
    """Who has this account, as the platform's page asks it."""
    who, state = account.platform_account_id, stack.sandbox.state
    if account.platform == "youtube":
        return next(each.sub for each in state.google.accounts() if who in each.channel_ids)
    return next(iter(state.meta.pages[who].roles))


def _insert(stack: LocalStack, cast: Cast, video: str, seconds: int) -> list[Row]:
    films = [{"type": "video", "url": video}]
    state = stack.sandbox.state
    state.media.add("picture.png", content="png", width=1200, height=900)
    photo, png = ({"type": "image", "url": state.media.url(name)} for name in ("photo.jpg", "picture.png"))
    later = datetime.now(UTC) + timedelta(seconds=seconds)
    text: dict[str, Any] = {"kind": "text", "title": None}
    wanted: list[tuple[Row, dict[str, Any]]] = [
        *(
            (
                Row(f"video: {name}", "published", account, film=True),
                {"kind": "reel", "title": "Hello", "caption": "Hello from Orbyt", "media": films},
            )
            for name, account in (
                ("Page", cast.page),
                ("busy Page", cast.throttled_page),
                ("Instagram", cast.instagram),
                ("YouTube", cast.channel),
            )
        ),
        (
            Row("carousel", "published", cast.instagram),
            {"kind": "carousel", "title": None, "caption": "Two pictures", "media": [photo, png]},
        ),
        (
            Row("PNG, converted", "published", cast.instagram),
            {"kind": "photo", "title": None, "caption": "Was a PNG", "media": [png]},
        ),
        (Row("story", "published", cast.page), {"kind": "story", "title": None, "media": [photo]}),
        (
            Row("first comment", "published", cast.page),
            {**text, "caption": "Read the comment", "options": {"first_comment": "Here it is"}},
        ),
        (Row(f"in {seconds} s", "published", cast.page), {**text, "caption": "A little later", "publish_at": later}),
        (Row("throttled Page", "published", cast.throttled_page), {**text, "caption": "After a minute"}),
        (Row("lost Page", "published", cast.other_page), {**text, "caption": "After reconnecting the Page"}),
        (
            Row("lost channel", "published", cast.lost_channel, film=True),
            {"kind": "reel", "title": "After reconnecting", "media": films},
        ),
        (Row("bad title", "refused", cast.channel), {"title": "x" * 101, "media": films}),
    ]
    for row, columns in wanted:
        try:
            row.job_id = stack.database.insert_job(row.account.user_id, row.account.account_id, **columns)
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
    """The user reconnects what was lost: the held job goes on by itself."""
    for row in rows:
        if row.status != "held" or row.released:
            continue
        row.released = True
        account = row.account
        stack.connect(account.user_id, account.platform, person=_person(stack, account), account_id=account.account_id)
        console.print(
            f"   [yellow]{row.name}[/]: held with {row.result}; the user reconnects, and the job goes on by itself",
            highlight=False,
            soft_wrap=True,
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
    """What is on the platforms against what should be there."""
    problems = [
        f"{row.name}: ended as {row.status or 'nothing'} ({row.result}), expected {row.expected}"
        for row in rows
        if row.status != row.expected
    ]
    for account in {row.account.account_id: row.account for row in rows}.values():
        mine = [row for row in rows if row.account.account_id == account.account_id and row.expected == "published"]
        found = _published(stack, account)
        if len(found) != len(mine):
            problems.append(
                f"{account.platform} {account.platform_account_id} has {len(found)} posts, expected {len(mine)}"
            )
        films = sum(hashes == [sha256] for hashes in found)
        if films != sum(row.film for row in mine):
            problems.append(
                f"{account.platform} {account.platform_account_id}: the video has other bytes than the source"
            )
    return problems


def _published(stack: LocalStack, account: ConnectedAccount) -> list[list[str]]:
    """The hashes of the files of every post of an account."""
    state, who = stack.sandbox.state, account.platform_account_id
    if account.platform == "youtube":
        return [[str(video.sha256)] for video in state.youtube.list_videos(channel_id=who)]
    if account.platform == "facebook":
        return [[media.sha256 for media in post.media] for post in state.meta.facebook.published(who)]
    posts = state.meta.instagram.list_media(who)
    return [[each.file.sha256 for each in post.children or [post] if each.file is not None] for post in posts]


def _downloads(stack: LocalStack) -> int:
    """How often the whole video was asked for; looking at it reads ranges."""
    asked = stack.sandbox.state.requests.list("mux.stream")
    return sum(1 for each in asked if each.path.endswith(".mp4") and each.range is None and each.bytes_sent > 0)
