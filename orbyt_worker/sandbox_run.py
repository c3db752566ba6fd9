"""`orbyt-worker sandbox`: a local world to develop an app against, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from rich.console import Console

from orbyt_worker.local import RETURN_TO, ConnectedAccount, LocalStack, WorkerProcess, look_until
from orbyt_worker.sandbox.app_page import ExampleApp, find_files
from orbyt_worker.sandbox.lite import TOKEN_SECONDS, LiteError, LiteServer, find_lite

SQL_USER = "dev@example.com"
APP_USER = "ada@example.com"


async def run_sandbox(*, port: int, data_dir: str | None, return_to: Sequence[str] = ()) -> None:
    """Start everything, print what to put where, wait for SIGINT or SIGTERM, stop everything.

    The callback door gets the port after that of the platforms, the Data API the one after that. `return_to`: links of the app
    under development, where a login may return to.
    """
    stop = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        running.add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="orbyt-sandbox-") as directory:
        stack = LocalStack(
            Path(directory),
            data_dir=Path(data_dir) if data_dir else None,
            sandbox_port=port,
            door_port=port + 1 if port else 0,
            return_to=return_to,
        )
        await asyncio.to_thread(stack.__enter__)
        try:
            with app_side(stack, port + 2 if port else 0) as app:
                people = _people(stack)
                stack.return_to = (*return_to, *app.return_to)
                worker = stack.start_worker()
                # Until then nothing can be connected. A worker that never gets there has said why in its log.
                with contextlib.suppress(TimeoutError):
                    await asyncio.to_thread(look_until, lambda: _started(stack, worker))
                _print(stack, worker, people, app)
                await stop.wait()
                await asyncio.to_thread(worker.stop)
        finally:
            await asyncio.to_thread(stack.__exit__, None, None, None)


@dataclass(frozen=True, slots=True)
class AppSide:
    """The Data API and the example app, as lines to print; or a line that says why they are missing."""

    lines: Sequence[str]
    return_to: Sequence[str] = ()


@contextlib.contextmanager
def app_side(stack: LocalStack, port: int) -> Iterator[AppSide]:
    """Everything else works without them: they need Node and the packages of tools/node, which `make sandbox` installs."""
    program = find_lite()
    if program is None:
        yield AppSide(
            ["data api      none: it needs Node and the packages of tools/node, which `make sandbox` installs"]
        )
        return
    with contextlib.ExitStack() as running:
        try:
            lite = running.enter_context(LiteServer(program, stack.postgres, stack.database.name, port=port))
        except LiteError as error:
            yield AppSide([f"data api      none: {error}"])
            return
        user_id = _user(stack, APP_USER)
        lines = [
            f"data api      {lite.url}   (for createClient; @supabase/lite, which has no Realtime)",
            f"  publishable key   {lite.publishable_key}",
            f"  a user's token    {lite.user_token(user_id)}",
        ]
        files = find_files(program.modules)
        if files is None:
            yield AppSide([*lines, "example app   none: it is in the repository, not in the package"])
            return
        example = ExampleApp(
            files=files,
            supabase_url=lite.url,
            publishable_key=lite.publishable_key,
            email=APP_USER,
            sign_in=lambda: lite.user_token(user_id),
            token_seconds=TOKEN_SECONDS,
            media=_media(stack),
        )
        address = stack.sandbox.state.app.serve(example)
        yield AppSide([*lines, f"example app   {address}   (open it in a browser)"], [address])


@dataclass(frozen=True, slots=True)
class People:
    """The user for SQL, what is connected already, and a video; `ada_id`: who logs in at the simulated Facebook."""

    user_id: UUID
    ada_id: str
    accounts: Sequence[ConnectedAccount]
    playback_id: str


def _people(stack: LocalStack) -> People:
    """The simulated platforms forget everything with each start, so each start connects new accounts, and has others to connect."""
    database, state = stack.database, stack.sandbox.state
    # First, so that the platforms' pages offer to be her.
    ada = state.meta.create_user("Ada")
    state.meta.create_pages(3, user_id=ada.user_id, name="Ada's page", instagram=True)
    state.google.create_account(channel_title="Ada's channel")
    user_id = _user(stack, SQL_USER)
    given = (stack.sandbox, user_id, stack.key)
    accounts = (
        database.connect_youtube(*given),
        database.connect_facebook(*given),
        database.connect_instagram(*given),
    )
    asset = state.mux.create_asset(width=540, height=960, seconds=4.0)
    return People(user_id, ada.user_id, accounts, asset.playback_id)


def _user(stack: LocalStack, email: str) -> UUID:
    users = stack.database.fetch("select id from auth.users where email = %s", [email])
    return users[0]["id"] if users else stack.database.create_user(email)


def _media(stack: LocalStack) -> Sequence[dict[str, str]]:
    """What the example app offers to post, the last of it to see a failure."""
    state = stack.sandbox.state
    upright = state.mux.create_asset(width=540, height=960, seconds=4.0)
    wide = state.mux.create_asset(width=1280, height=720, seconds=4.0)
    return [
        {"label": "Upright video, 4 s", "type": "video", "url": f"mux://{upright.playback_id}"},
        {"label": "Wide video, 4 s", "type": "video", "url": f"mux://{wide.playback_id}"},
        {"label": "Photo (JPEG)", "type": "image", "url": state.media.url("photo.jpg")},
        {"label": "Photo (PNG)", "type": "image", "url": state.media.url("photo.png")},
        {"label": "A file that is no video", "type": "video", "url": state.media.url("html-as-mp4.mp4")},
    ]


def _started(stack: LocalStack, worker: WorkerProcess) -> bool:
    return stack.database.connectable() or worker.process.poll() is not None


def _print(stack: LocalStack, worker: WorkerProcess, people: People, app: AppSide) -> None:
    console, state = Console(), stack.sandbox.state
    claims = json.dumps({"sub": str(people.user_id), "role": "authenticated"})
    lines = [
        f"database      {stack.database.url()}",
        f"platforms     {stack.sandbox.url}   (control: {stack.sandbox.url}/_control)",
        f"worker        http://127.0.0.1:{stack.door_port}   (log: {worker.log_path})",
        *app.lines,
        "",
        "Ada takes her Facebook Pages away from the app (what is posted then waits for a reconnect):",
        f"  curl {stack.sandbox.url}/_control/meta/kill_user -d '{json.dumps({'user_id': people.ada_id, 'state': 'app_removed'})}'",
        "",
        "A second user, for SQL:",
        f"user          {people.user_id}",
        *(f"account       {account.account_id}   ({account.platform})" for account in people.accounts),
        f"a video       mux://{people.playback_id}",
        "",
        "Connect another account with SQL alone: as the user (an app does it with supabase.rpc),",
        f"  select set_config('request.jwt.claims', '{claims}', false); set role authenticated;",
        f"  select orbyt.begin_connect('facebook', '{state.return_link()}');  -- or 'instagram', 'youtube'",
        "open the authorize_url of the answer in a browser, choose, and when you are back",
        "  select session_id, status, candidates, error_code from orbyt.connect_sessions order by created_at desc limit 1;",
        "  select * from orbyt.finish_connect('<session_id>', array['<platform_account_id>']);  -- if the status is choose",
        f"A login may return to: {', '.join([RETURN_TO, state.return_link(), *stack.return_to])}",
        "",
        "Ctrl-C stops everything.",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
