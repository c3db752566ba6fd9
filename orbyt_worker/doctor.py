"""`orbyt-worker check`: is everything set up? Reads only; each finding says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

import psycopg

from orbyt_worker.db.pool import Database, DatabaseUnavailable
from orbyt_worker.platforms.graph_api import VERSION_ENDS
from orbyt_worker.settings import Settings

CLOCK_SKEW_SECONDS_MAX = 5.0
CONNECT_SECONDS_MAX = 5.0
# A new version of the Graph API wants to be tried before the old one ends.
VERSION_DAYS_MIN = 90
Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    level: Level
    text: str


async def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order in which to mend them."""
    findings: list[Finding] = []
    database = Database(settings.database_url.get_secret_value(), size_max=2, wait_seconds=CONNECT_SECONDS_MAX)
    try:
        await database.open()
    except DatabaseUnavailable as error:
        await database.close()
        return [
            Finding(
                "database",
                "fail",
                f"cannot connect ({type(error).__name__}): check ORBYT_DATABASE_URL, the password and the network",
            )
        ]
    try:
        if database.mode.transaction_pooler:
            findings.append(
                Finding(
                    "connection", "warn", "transaction pooler (port 6543): no LISTEN, the worker polls; use port 5432"
                )
            )
        else:
            findings.append(Finding("connection", "ok", "session or direct: LISTEN works"))
        findings += await _database(database)
    finally:
        await database.close()
    return [*findings, *_credentials(settings), graph_version(settings.meta_api_version, datetime.now(UTC).date())]


def graph_version(version: str, today: date) -> Finding:
    """Whether the configured version of Meta's API lives long enough."""
    newest = max(VERSION_ENDS, key=_version_number)
    if version not in VERSION_ENDS:
        if _version_number(version) > _version_number(newest):
            return Finding("graph version", "ok", f"{version}: newer than this worker, its end is not known here")
        return Finding(
            "graph version", "fail", f"{version} has ended or never was: set ORBYT_META_API_VERSION={newest}"
        )
    ends = VERSION_ENDS[version]
    if ends is None:
        return Finding("graph version", "ok", f"{version}: no end announced")
    left = (ends - today).days
    if left <= 0:
        return Finding("graph version", "fail", f"{version} ended on {ends}: set ORBYT_META_API_VERSION={newest}")
    if left <= VERSION_DAYS_MIN:
        return Finding(
            "graph version", "warn", f"{version} ends on {ends}, in {left} days: try {newest} (ORBYT_META_API_VERSION)"
        )
    return Finding("graph version", "ok", f"{version}: until {ends}")


def _version_number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.removeprefix("v").split("."))


async def _database(database: Database) -> list[Finding]:
    findings: list[Finding] = []
    row = (
        await database.fetch(
            "select current_user::text as role, now() as now, current_setting('server_version') as version", {}
        )
    )[0]
    skew = abs((row["now"] - datetime.now(UTC)).total_seconds())
    findings.append(Finding("server", "ok", f"PostgreSQL {row['version']}"))
    findings.append(
        Finding(
            "clock",
            "ok" if skew <= CLOCK_SKEW_SECONDS_MAX else "warn",
            f"{skew:.1f} s apart; the database's clock decides what is due",
        )
    )
    if row["role"] == "orbyt_worker":
        findings.append(Finding("role", "ok", "orbyt_worker"))
    else:
        findings.append(
            Finding(
                "role", "warn", f"connected as {row['role']}: use orbyt_worker, which can do nothing but work the queue"
            )
        )
    try:
        await database.fetch("select orbyt_private.next_due_in_seconds()", {})
        findings.append(Finding("migrations", "ok", "applied, and the role may execute its functions"))
    except psycopg.Error as error:
        findings.append(
            Finding("migrations", "fail", f"{error.sqlstate}: run `supabase db push` or `orbyt-worker migrate`")
        )
        return findings
    try:
        keys = await database.fetch("select key_id, active from orbyt_private.master_keys()", {})
    except psycopg.Error as error:
        findings.append(
            Finding(
                "vault",
                "fail",
                f"{error.sqlstate}: the extension supabase_vault is missing or closed to the migrations' owner",
            )
        )
    else:
        active = [key["key_id"] for key in keys if key["active"]]
        if active:
            findings.append(Finding("vault", "ok", f"key {active[0]} of {len(keys)}"))
        else:
            findings.append(Finding("vault", "fail", "no master key: run `orbyt-worker keys init`"))
    published = await database.fetch(
        "select tablename from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'orbyt'", {}
    )
    missing = {"publish_jobs", "accounts", "side_tasks"} - {each["tablename"] for each in published}
    if missing:
        findings.append(
            Finding("realtime", "warn", f"not in publication supabase_realtime: {', '.join(sorted(missing))}")
        )
    else:
        findings.append(Finding("realtime", "ok", "publication complete"))
    return findings


def _credentials(settings: Settings) -> list[Finding]:
    google = settings.google_client_id is not None and settings.google_client_secret is not None
    mux = settings.mux_token_id is not None and settings.mux_token_secret is not None
    meta = settings.meta_app_id is not None and settings.meta_app_secret is not None
    storage = settings.supabase_url is not None and settings.supabase_secret_key is not None
    return [
        Finding(
            "google",
            "ok" if google else "fail",
            "client set" if google else "set ORBYT_GOOGLE_CLIENT_ID and ORBYT_GOOGLE_CLIENT_SECRET",
        ),
        Finding(
            "mux",
            "ok" if mux else "warn",
            "token set"
            if mux
            else "no Mux token: files are found by trying their names, streams without one are copied",
        ),
        Finding(
            "meta",
            "ok" if meta else "warn",
            "app set"
            if meta
            else "no ORBYT_META_APP_ID and _SECRET: calls are not signed, and a lost post of a Page is always held",
        ),
        Finding(
            "storage",
            "ok" if storage else "warn",
            "key set"
            if storage
            else "no ORBYT_SUPABASE_URL and _SECRET_KEY: no storage:// media, no converted pictures for Instagram",
        ),
    ]
