"""orbyt-worker keys: the master keys in Vault. No key is ever printed, passed as an argument or part of a statement."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from orbyt_worker.cli.parts import AdminUrl, AsJson, err, out, print_json, print_rows, rows, run
from orbyt_worker.db.key_queries import KeyQueries
from orbyt_worker.db.pool import Database
from orbyt_worker.db.queries import Queries
from orbyt_worker.logs import Redactor, configure
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.publishing.rotation import Report, Rotation, advice
from orbyt_worker.runtime import Runtime

# Workers take a new key with their next heartbeat; then a minute has to pass. Five are room for a slow heartbeat.
WAIT_SECONDS = 300

keys = typer.Typer(no_args_is_help=True, help="Master keys in Vault. Needs a URL of the role postgres (--admin-url).")


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[Database]:
    database = Database(url, size_max=2)
    try:
        await database.open()
        yield database
    finally:
        await database.close()


@keys.command("init")
def keys_init(admin_url: AdminUrl, key_id: Annotated[str, typer.Option(help="Name of the key.")] = "k1") -> None:
    """Make the first master key inside the database and put it into Supabase Vault. It is never printed. Safe to repeat."""
    created = rows(
        admin_url,
        "select orbyt_private.create_master_key(%s) as created",
        key_id,
    )[0]["created"]
    out.print(f"key {key_id} created" if created else f"key {key_id} exists already or existed once: nothing changed")


@keys.command("status")
def keys_status(admin_url: AdminUrl, as_json: AsJson = False) -> None:
    """Which keys there are, how much is sealed with each, which workers use which, and what to do next. Reads only."""

    async def look() -> None:
        async with _database(admin_url) as database:
            queries = KeyQueries(database, Runtime())
            uses, workers = await queries.key_status(), await queries.workers_and_keys()
        sentences = advice(uses, workers)
        key_rows = [dataclasses.asdict(use) for use in uses]
        worker_rows = [
            {"worker_id": each.worker_id, "host": each.host, "key_id": each.key_id, "key_since": each.key_since}
            for each in workers
        ]
        if as_json:
            print_json({"keys": key_rows, "workers": worker_rows, "next": sentences})
            return
        for title, found in (("keys", key_rows), ("workers", worker_rows)):
            out.rule(title)
            print_rows(found)
        out.rule("next")
        for sentence in sentences:
            out.print(sentence, markup=False, highlight=False, soft_wrap=True)

    run(look)


@keys.command("rotate")
def keys_rotate(
    admin_url: AdminUrl,
    key_id: Annotated[
        str | None, typer.Option(help="Name of the new key; without it the next free one (k1, k2, …).")
    ] = None,
    wait_seconds: Annotated[
        int, typer.Option(min=0, max=86_400, help="How long to wait for workers to take the new key.")
    ] = WAIT_SECONDS,
) -> None:
    """Make a new master key, seal everything anew with it while the workers go on, delete the old ones. Killed half way: run it again."""

    async def rotate() -> Report:
        configure(level="error", fmt="console", redactor=Redactor())
        async with _database(admin_url) as database:
            runtime = Runtime()
            rotation = Rotation(
                KeyQueries(database, runtime), MasterKeys(Queries(database, runtime), runtime), runtime, say=_say
            )
            return await rotation.run(key_id, wait_seconds=wait_seconds)

    report = run(rotate)
    for address, under in report.unreadable:
        err.print(f"cannot be opened (key {under}): {address}", markup=False, soft_wrap=True)
    if report.unreadable_count:
        err.print(
            f"{report.unreadable_count} secrets cannot be opened with any key of Vault: bring the key back, or those accounts reconnect",
            soft_wrap=True,
        )
    if report.kept:
        err.print(f"key {', '.join(report.kept)} stays in Vault because of them", soft_wrap=True)
    if report.waiting_for:
        err.print(
            f"not finished: {'; '.join(report.waiting_for)}. Run it again to go on.", markup=False, soft_wrap=True
        )
    if not report.complete:
        raise typer.Exit(1)
    retired = f"; deleted: {', '.join(report.retired)}" if report.retired else ""
    out.print(f"key {report.key_id} seals; {report.resealed} secrets sealed anew{retired}", soft_wrap=True)


def _say(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)
