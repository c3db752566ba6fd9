"""orbyt-worker accounts: connected accounts, seen and acted on by an operator. No token is printed by any of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, LiteralString
from uuid import UUID

import typer

from orbyt_worker import app as composition
from orbyt_worker.cli.parts import AdminUrl, AsJson, err, explain, out, print_json, print_rows, rows, run, settings
from orbyt_worker.connecting.desk import RENEWED, WORDS, Desk, Outcome

ACCOUNTS_MAX = 100

accounts = typer.Typer(
    no_args_is_help=True,
    help="Connected accounts. `list` and `disconnect` need a URL of the role postgres (--admin-url), `check` and `refresh` the worker's settings.",
)
AccountIds = Annotated[list[UUID], typer.Argument(help="One or more account ids.", metavar="ACCOUNT_ID...")]


class OpenJobs(StrEnum):
    """What becomes of the open jobs of an account that is disconnected."""

    HOLD = "hold"
    CANCEL = "cancel"


_LIST: LiteralString = """
select a.account_id, a.user_id, a.platform, g.login, a.name, a.handle, a.status, a.error_code, a.checked_at, g.check_failed_at,
       g.check_error_code, g.refreshed_at, g.refresh_failed_at, g.refresh_error_code, a.token_expires_at, a.data_access_expires_at,
       g.granted_at, g.revoke_requested_at, g.revoke_error_code, g.revoked_at
from orbyt.accounts a
left join orbyt_private.account_grants g on g.account_id = a.account_id
where (%(platform)s::text is null or a.platform = %(platform)s::text)
  and (%(status)s::text is null or a.status = (%(status)s::text)::orbyt.account_status)
  and (%(user_id)s::uuid is null or a.user_id = %(user_id)s::uuid)
order by a.status desc, a.platform, a.name, a.account_id
limit %(limit)s
"""
_ONE: LiteralString = """
select h.platform, h.name, h.status, h.open_jobs + h.held_jobs as jobs
from orbyt.connection_health h
where h.account_id = %(account_id)s
"""
_DISCONNECT: LiteralString = """
select d.account_id, d.platform, d.name, d.status
from orbyt.disconnect(account_id => %(account_id)s, jobs => %(jobs)s) as d
"""


@accounts.command("list")
def accounts_list(
    admin_url: AdminUrl,
    platform: Annotated[str | None, typer.Option(help="facebook, instagram or youtube.")] = None,
    status: Annotated[str | None, typer.Option(help="active, needs_reauth or disconnected.")] = None,
    user: Annotated[UUID | None, typer.Option(help="Accounts of one user.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: AsJson = False,
) -> None:
    """Accounts with what was last heard of each: check, renewal, and when the connection ends."""
    given = {"platform": platform, "status": status, "user_id": user, "limit": limit}
    found = rows(admin_url, _LIST, given)
    if as_json:
        print_json(found)
        return
    print_rows([_line(row) for row in found])
    explain(
        row[name]
        for row in found
        for name in ("error_code", "check_error_code", "refresh_error_code", "revoke_error_code")
    )


def _line(row: dict[str, Any]) -> dict[str, str]:
    return {
        "account_id": str(row["account_id"]),
        "platform": row["platform"],
        "name": row["name"],
        "status": f"{row['status']}: {row['error_code']}" if row["error_code"] else str(row["status"]),
        "last check": _last(row["checked_at"], row["check_failed_at"], row["check_error_code"]),
        "last renewal": _last(row["refreshed_at"], row["refresh_failed_at"], row["refresh_error_code"]),
        "token ends": _minute(row["token_expires_at"]),
        "data access ends": _minute(row["data_access_expires_at"]),
    }


def _last(succeeded_at: datetime | None, failed_at: datetime | None, code: str | None) -> str:
    """The code is emptied by a success, so whatever stands there is the latest word."""
    if code is not None:
        return f"{code} {_minute(failed_at)}"
    return f"ok {_minute(succeeded_at)}" if succeeded_at is not None else "never"


def _minute(at: datetime | None) -> str:
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M")


@accounts.command("check")
def accounts_check(account_ids: AccountIds, as_json: AsJson = False) -> None:
    """Ask the platform now whether a connection works, and record the answer. Exit code 1 if any does not."""
    _each(account_ids, lambda desk: desk.check, good=("ok",), as_json=as_json)


@accounts.command("refresh")
def accounts_refresh(account_ids: AccountIds, as_json: AsJson = False) -> None:
    """Renew a token now. If somebody is at it already, it is left to them. Exit code 1 if any was not renewed."""
    _each(account_ids, lambda desk: desk.refresh, good=RENEWED, as_json=as_json)


def _each(
    account_ids: list[UUID],
    method: Callable[[Desk], Callable[[UUID], Awaitable[Outcome]]],
    *,
    good: tuple[str, ...],
    as_json: bool,
) -> None:
    if len(account_ids) > ACCOUNTS_MAX:
        raise typer.BadParameter(f"at most {ACCOUNTS_MAX} at a time")
    configured = settings()

    async def work() -> list[Outcome]:
        async with composition.account_desk(configured) as desk:
            # One after the other: a person waits, and no platform is asked in a burst.
            return [await method(desk)(account_id) for account_id in dict.fromkeys(account_ids)]

    found = run(work)
    shown = [
        {"account_id": each.account_id, "platform": each.platform, "name": each.name, "outcome": each.outcome}
        for each in found
    ]
    print_rows(shown, as_json=as_json)
    if not as_json:
        for word in dict.fromkeys(each.outcome for each in found if each.outcome in WORDS):
            out.print(f"{word}: {WORDS[word]}", markup=False, highlight=False, soft_wrap=True)
        explain(each.outcome for each in found)
    if any(each.outcome not in good for each in found):
        raise typer.Exit(1)


@accounts.command("disconnect")
def accounts_disconnect(
    account_id: UUID,
    admin_url: AdminUrl,
    jobs: Annotated[
        OpenJobs, typer.Option(help="hold: they go on when it is connected again. cancel: they end.")
    ] = OpenJobs.HOLD,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Disconnect an account. A worker then ends the grant at the platform and destroys the tokens. Safe to repeat."""
    found = rows(admin_url, _ONE, {"account_id": account_id})
    if not found:
        err.print("[red]account_not_found[/]: there is no account with this id")
        raise typer.Exit(1)
    (one,) = found
    if not yes:
        typer.confirm(
            f"Disconnect {one['platform']} account {one['name']} ({one['status']}), {jobs.value} its {one['jobs']} open jobs?",
            abort=True,
        )
    print_rows(rows(admin_url, _DISCONNECT, {"account_id": account_id, "jobs": jobs.value}))
    out.print(
        "A worker ends the grant at the platform and destroys the tokens, at its next upkeep; after a day without success they are destroyed all the same.",
        soft_wrap=True,
    )
