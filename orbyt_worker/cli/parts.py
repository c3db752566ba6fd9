"""What all commands share: settings, running, asking the database as an operator, printing. No secret is printed by any of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, LiteralString, TypeVar

import psycopg
import typer
from psycopg.rows import dict_row
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orbyt_worker.db.pool import DatabaseUnavailable
from orbyt_worker.errors import catalog
from orbyt_worker.errors.failure import Failure
from orbyt_worker.settings import Settings

out = Console()
err = Console(stderr=True)
AdminUrl = Annotated[
    str,
    typer.Option(
        envvar="ORBYT_ADMIN_DATABASE_URL",
        help="Postgres URL of the role postgres. Not for the worker: for this command only.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]
T = TypeVar("T")


def settings() -> Settings:
    """The worker's settings out of the environment; ends the command with code 2 if they are wrong."""
    try:
        return Settings()
    except ValidationError as error:
        # Names and reasons, never the values: one of them may be a password.
        for each in error.errors():
            name = ".".join(str(part) for part in each["loc"])
            err.print(f"[red]ORBYT_{name.upper()}[/]: {each['msg']}" if name else f"[red]settings[/]: {each['msg']}")
        raise typer.Exit(2) from None


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Until it is done; a Failure or what the database refuses ends the command with code 1."""
    try:
        return asyncio.run(work())
    except Failure as failure:
        err.print(f"[red]{failure.code}[/]: {escape(failure.detail)}")
        raise typer.Exit(1) from None
    except (psycopg.Error, *DatabaseUnavailable) as error:
        raise _refused(error) from None


def rows(url: str, statement: LiteralString, *parameters: Any) -> list[dict[str, Any]]:
    """One statement as an operator. One mapping as the only parameter names them."""
    try:
        with psycopg.connect(url, autocommit=True, row_factory=dict_row, connect_timeout=10) as connection:
            cursor = connection.execute(
                statement, parameters[0] if parameters and isinstance(parameters[0], Mapping) else parameters
            )
            return cursor.fetchall() if cursor.description else []
    except psycopg.Error as error:
        raise _refused(error) from None


def _refused(error: Exception) -> typer.Exit:
    """Say what the database said. Never the whole text: it may hold the URL it could not reach."""
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        err.print(f"[red]database[/]: {type(error).__name__}")
        return typer.Exit(1)
    err.print(f"[red]{error.sqlstate}[/]: {escape(error.diag.message_primary or type(error).__name__)}")
    if error.diag.message_hint:
        err.print(error.diag.message_hint, markup=False)
    return typer.Exit(1)


def print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, default=str) + "\n")


def print_rows(found: Sequence[Mapping[str, Any]], *, as_json: bool = False) -> None:
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("nothing")
        return
    table = Table(*found[0].keys())
    for row in found:
        table.add_row(*(escape(cell(value)) for value in row.values()))
    out.print(table)


def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return str(value)


def explain(codes: Iterable[str | None]) -> None:
    """What the codes mean and what to do about each, out of the catalog; each once, in their order."""
    for code in dict.fromkeys(code for code in codes if code):
        known = catalog.load().entries.get(code)
        if known is not None:
            out.print(
                f"{code}: {known.what_happened} {known.what_to_do}", markup=False, highlight=False, soft_wrap=True
            )
