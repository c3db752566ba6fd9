"""The commands: parse, call, print. Nothing is decided here.

run       the worker            check    is everything set up?        status   what is in the queue
jobs      list, show, retry, cancel, release                          keys     init
migrate   apply the migrations  demo     see it work                  sandbox  platforms to develop against
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any, LiteralString, TypeVar
from uuid import UUID

import psycopg
import typer
from psycopg.rows import dict_row
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from orbyt_worker import app as composition
from orbyt_worker.errors.failure import Failure
from orbyt_worker.settings import Settings

main = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Orbyt: from a row in Postgres to a published post."
)
jobs = typer.Typer(
    no_args_is_help=True, help="Look at jobs and act on them. Needs a URL of the role postgres (--admin-url)."
)
keys = typer.Typer(no_args_is_help=True, help="Master keys in Vault. Needs a URL of the role postgres (--admin-url).")
main.add_typer(jobs, name="jobs")
main.add_typer(keys, name="keys")

out = Console()
err = Console(stderr=True)
AdminUrl = Annotated[
    str,
    typer.Option(
        envvar="ORBYT_ADMIN_DATABASE_URL",
        help="Postgres URL of the role postgres. Not for the worker: for this command only.",
    ),
]
T = TypeVar("T")


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        # Names and reasons, never the values: one of them may be a password.
        for each in error.errors():
            name = ".".join(str(part) for part in each["loc"])
            err.print(f"[red]ORBYT_{name.upper()}[/]: {each['msg']}" if name else f"[red]settings[/]: {each['msg']}")
        raise typer.Exit(2) from None


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return asyncio.run(work())
    except Failure as failure:
        err.print(f"[red]{failure.code}[/]: {failure.detail}")
        raise typer.Exit(1) from None


def _rows(url: str, statement: LiteralString, *parameters: Any) -> list[dict[str, Any]]:
    try:
        with psycopg.connect(url, autocommit=True, row_factory=dict_row, connect_timeout=10) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
    except psycopg.Error as error:
        err.print(f"[red]{error.sqlstate or 'database'}[/]: {error.diag.message_primary or type(error).__name__}")
        if error.diag.message_hint:
            err.print(error.diag.message_hint)
        raise typer.Exit(1) from None


def _print(rows: list[dict[str, Any]], *, as_json: bool = False) -> None:
    if as_json:
        sys.stdout.write(json.dumps(rows, default=str) + "\n")
        return
    if not rows:
        out.print("nothing")
        return
    table = Table(*rows[0].keys())
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    out.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return str(value)


@main.command()
def run() -> None:
    """Run one worker until SIGTERM."""
    settings = _settings()
    _run(lambda: composition.run_worker(settings))


@main.command()
def check() -> None:
    """Is everything set up? Connection mode, role, migrations, Vault key, Realtime, credentials, clock. Exit code 1 if not."""
    settings = _settings()
    from orbyt_worker.doctor import examine

    findings = _run(lambda: examine(settings))
    for each in findings:
        mark = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}[each.level]
        out.print(f"{mark} {each.name}: {each.text}")
    if any(each.level == "fail" for each in findings):
        raise typer.Exit(1)


@main.command()
def status(
    admin_url: AdminUrl, as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False
) -> None:
    """What is in the queue, which workers live, what quota is left."""
    found = {title: _rows(admin_url, statement) for title, statement in _STATUS}
    if as_json:
        sys.stdout.write(json.dumps(found, default=str) + "\n")
        return
    for title, rows in found.items():
        out.rule(title)
        _print(rows)


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


@jobs.command("list")
def jobs_list(
    admin_url: AdminUrl,
    state: Annotated[
        str, typer.Option("--status", help="queued, publishing, held, published, failed or cancelled.")
    ] = "held",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Jobs of one status, oldest change first."""
    _print(
        _rows(
            admin_url,
            "select job_id, platform, status, stage, error_code, publish_at, run_at, attempt, permalink from orbyt.publish_jobs "
            "where status = %s::orbyt.job_status order by updated_at limit %s",
            state,
            limit,
        ),
        as_json=as_json,
    )


@jobs.command("show")
def jobs_show(job_id: UUID, admin_url: AdminUrl, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """The history of one job."""
    _print(
        _rows(
            admin_url,
            "select created_at, event, status, stage, attempt, error_code, detail from orbyt.job_events where job_id = %s order by event_id",
            job_id,
        ),
        as_json=as_json,
    )


@jobs.command("retry")
def jobs_retry(job_id: UUID, admin_url: AdminUrl) -> None:
    """Try a failed or held job again, from where it stopped."""
    _print(_rows(admin_url, "select job_id, status, run_at from orbyt.retry_job(%s)", job_id))


@jobs.command("cancel")
def jobs_cancel(job_id: UUID, admin_url: AdminUrl) -> None:
    """Cancel a job that is not public yet."""
    _print(_rows(admin_url, "select job_id, status from orbyt.cancel_job(%s)", job_id))


@jobs.command("release")
def jobs_release(
    admin_url: AdminUrl,
    job_id: Annotated[UUID | None, typer.Option(help="One job.")] = None,
    code: Annotated[str | None, typer.Option(help="All jobs held for this cause.")] = None,
) -> None:
    """Let held jobs go on. One whose outcome is unknown looks at the platform first; it is never just sent again."""
    if (job_id is None) == (code is None):
        raise typer.BadParameter("give --job-id or --code")
    if job_id is not None:
        _print(_rows(admin_url, "select orbyt_private.release_job(%s) as released", job_id))
    else:
        _print(_rows(admin_url, "select orbyt_private.release_by_code(%s) as released", code))


@keys.command("init")
def keys_init(admin_url: AdminUrl, key_id: Annotated[str, typer.Option(help="Name of the key.")] = "k1") -> None:
    """Make a master key inside the database and put it into Supabase Vault. It is never printed. Safe to repeat."""
    created = _rows(
        admin_url,
        "select orbyt_private.create_master_key(%s) as created",
        key_id,
    )[0]["created"]
    out.print(f"key {key_id} created" if created else f"key {key_id} exists already: nothing changed")


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
) -> None:
    """Simulated platforms, a local Postgres and a worker, to develop an app against. Prints what to put where."""
    from orbyt_worker.sandbox_run import run_sandbox

    asyncio.run(run_sandbox(port=port, data_dir=data_dir))


@main.command()
def demo(
    fast: Annotated[bool, typer.Option(help="Schedule seconds ahead instead of a minute.")] = False,
    megabytes: Annotated[int, typer.Option(min=2, max=190, help="Size of the video.")] = 100,
) -> None:
    """From an empty machine to published posts, watching the rows change. Exit code 1 if any job ended otherwise than it should."""
    from orbyt_worker.demo import run_demo

    raise typer.Exit(asyncio.run(run_demo(fast=fast, megabytes=megabytes)))
