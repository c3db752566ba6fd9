"""orbyt-worker jobs: look at jobs and act on them, through the functions an operator may call."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from orbyt_worker.cli.parts import AdminUrl, AsJson, print_rows, rows

jobs = typer.Typer(
    no_args_is_help=True, help="Look at jobs and act on them. Needs a URL of the role postgres (--admin-url)."
)


@jobs.command("list")
def jobs_list(
    admin_url: AdminUrl,
    state: Annotated[
        str, typer.Option("--status", help="queued, publishing, held, published, failed or cancelled.")
    ] = "held",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """Jobs of one status, oldest change first."""
    print_rows(
        rows(
            admin_url,
            "select job_id, platform, status, stage, error_code, publish_at, run_at, attempt, permalink from orbyt.publish_jobs "
            "where status = %s::orbyt.job_status order by updated_at limit %s",
            state,
            limit,
        ),
        as_json=as_json,
    )


@jobs.command("show")
def jobs_show(job_id: UUID, admin_url: AdminUrl, as_json: AsJson = False) -> None:
    """The history of one job."""
    print_rows(
        rows(
            admin_url,
            "select created_at, event, status, stage, attempt, error_code, detail from orbyt.job_events where job_id = %s order by event_id",
            job_id,
        ),
        as_json=as_json,
    )


@jobs.command("retry")
def jobs_retry(job_id: UUID, admin_url: AdminUrl) -> None:
    """Try a failed or held job again, from where it stopped."""
    print_rows(rows(admin_url, "select job_id, status, run_at from orbyt.retry_job(%s)", job_id))


@jobs.command("cancel")
def jobs_cancel(job_id: UUID, admin_url: AdminUrl) -> None:
    """Cancel a job that is not public yet."""
    print_rows(rows(admin_url, "select job_id, status from orbyt.cancel_job(%s)", job_id))


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
        print_rows(rows(admin_url, "select orbyt_private.release_job(%s) as released", job_id))
    else:
        print_rows(rows(admin_url, "select orbyt_private.release_by_code(%s) as released", code))
