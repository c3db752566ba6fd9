"""The commands: parse, call, print. Nothing is decided here.

run       the worker            check    is everything set up?        status   what is in the queue
jobs      list, show, retry, cancel, release                          keys     init, rotate, status
accounts  list, check, refresh, disconnect                            migrate  apply the migrations
demo      see it work           sandbox  platforms to develop against
"""

from __future__ import annotations

import asyncio
from typing import Annotated, LiteralString

import psycopg
import typer
from rich.markup import escape

from orbyt_worker import app as composition
from orbyt_worker.cli.accounts import accounts
from orbyt_worker.cli.jobs import jobs
from orbyt_worker.cli.keys import keys
from orbyt_worker.cli.parts import AdminUrl, AsJson, err, out, print_json, print_rows, rows
from orbyt_worker.cli.parts import run as run_until_done
from orbyt_worker.cli.parts import settings as worker_settings

main = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Orbyt: from a row in Postgres to a published post."
)
main.add_typer(jobs, name="jobs")
main.add_typer(accounts, name="accounts")
main.add_typer(keys, name="keys")


@main.command()
def run() -> None:
    """Run one worker until SIGTERM."""
    settings = worker_settings()
    run_until_done(lambda: composition.run_worker(settings))


@main.command()
def check() -> None:
    """Is everything set up? Connection mode, role, migrations, Vault key, Realtime, logins, credentials, clock. Exit code 1 if not."""
    settings = worker_settings()
    from orbyt_worker.doctor import examine

    findings = run_until_done(lambda: examine(settings))
    for each in findings:
        mark = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}[each.level]
        out.print(f"{mark} {each.name}: {escape(each.text)}", soft_wrap=True)
    if any(each.level == "fail" for each in findings):
        raise typer.Exit(1)


@main.command()
def status(admin_url: AdminUrl, as_json: AsJson = False) -> None:
    """What is in the queue, which workers live, what quota is left."""
    found = {title: rows(admin_url, statement) for title, statement in _STATUS}
    if as_json:
        print_json(found)
        return
    for title, each in found.items():
        out.rule(title)
        print_rows(each)


_STATUS: tuple[tuple[str, LiteralString], ...] = (
    (
        "queue",
        "select platform, status, stage, error_code, jobs, next_run_at from orbyt.queue_overview order by platform, status, stage",
    ),
    (
        "workers",
        "select worker_id, host, version, state, jobs, heartbeat_at from orbyt_private.workers_alive where state <> 'stopped'",
    ),
    (
        "quota",
        "select bucket, key, units_used, units_left, resets_at, scheduled_before_reset from orbyt_private.quota_left",
    ),
)


@main.command()
def migrate(admin_url: AdminUrl) -> None:
    """Apply the migrations that came with this version (like `supabase db push`, and recorded the same way)."""
    from orbyt_worker.sandbox.bootstrap import MigrationError, apply_migrations

    try:
        applied = apply_migrations(admin_url)
    except (MigrationError, psycopg.Error) as error:
        err.print(f"[red]migration failed[/]: {error}")
        raise typer.Exit(1) from None
    out.print(f"applied: {', '.join(applied)}" if applied else "up to date")


@main.command()
def sandbox(
    port: Annotated[int, typer.Option(help="Port of the simulated platforms; 0 takes a free one.")] = 8790,
    data_dir: Annotated[str | None, typer.Option(help="Keep the database here between runs.")] = None,
    return_to: Annotated[
        list[str] | None, typer.Option(help="A link of your app where a login may return to; may be given again.")
    ] = None,
) -> None:
    """Simulated platforms, a local Postgres and a worker, to develop an app against. Prints what to put where."""
    from orbyt_worker.sandbox_run import run_sandbox

    asyncio.run(run_sandbox(port=port, data_dir=data_dir, return_to=return_to or ()))


@main.command()
def demo(
    fast: Annotated[bool, typer.Option(help="Schedule seconds ahead instead of a minute.")] = False,
    megabytes: Annotated[int, typer.Option(min=2, max=190, help="Size of the video.")] = 100,
) -> None:
    """From an empty machine to published posts, watching the rows change. Exit code 1 if any job ended otherwise than it should."""
    from orbyt_worker.demo import run_demo

    raise typer.Exit(asyncio.run(run_demo(fast=fast, megabytes=megabytes)))
