"""`orbyt-worker check`: is everything set up? Reads only; each finding says what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import psycopg

from orbyt_worker.connecting.setup import connect_apps
from orbyt_worker.db.connect_queries import ConnectQueries
from orbyt_worker.db.pool import Database, DatabaseUnavailable
from orbyt_worker.errors import catalog
from orbyt_worker.platforms.graph_api import VERSION_ENDS
from orbyt_worker.platforms.registry import connectors
from orbyt_worker.runtime import Runtime
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
        of_database = await _database(database)
        findings += of_database
        if not any(each.level == "fail" and each.name in ("migrations", "vault") for each in of_database):
            findings += await _connect(database, settings)
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
        old = sorted(key["key_id"] for key in keys if not key["active"])
        if active:
            findings.append(Finding("vault", "ok", f"key {active[0]} of {len(keys)}"))
            if old:
                findings.append(
                    Finding(
                        "old keys",
                        "warn",
                        f"{', '.join(old)} in Vault besides {active[0]}: run `orbyt-worker keys rotate` to finish the rotation",
                    )
                )
        elif keys:
            findings.append(
                Finding(
                    "vault",
                    "fail",
                    f"the key that should seal is not among those in Vault ({', '.join(old)}): run `orbyt-worker keys status`",
                )
            )
        else:
            findings.append(Finding("vault", "fail", "no master key: run `orbyt-worker keys init`"))
    published = await database.fetch(
        "select tablename from pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'orbyt'", {}
    )
    missing = {"publish_jobs", "accounts", "side_tasks", "connect_sessions"} - {each["tablename"] for each in published}
    if missing:
        findings.append(
            Finding("realtime", "warn", f"not in publication supabase_realtime: {', '.join(sorted(missing))}")
        )
    else:
        findings.append(Finding("realtime", "ok", "publication complete"))
    return findings


async def _connect(database: Database, settings: Settings) -> list[Finding]:
    """Reads what the workers wrote for connecting accounts. A role that may not is told by its own finding."""
    queries = ConnectQueries(database, Runtime())
    try:
        facts = await queries.connect_facts()
        sealed = await queries.read_callback_key(facts["callback_key"]) if facts["callback_key"] else None
        keys = await database.fetch("select key_id from orbyt_private.master_keys()", {})
    except psycopg.Error as error:
        return [Finding("connect", "fail", f"{error.sqlstate}: the migrations for connecting accounts are missing")]
    logins = [app.login for app in connect_apps(connectors(settings), settings, settings.connect_redirect_url or "")]
    return connect_findings(
        settings,
        logins,
        facts,
        sealed_with=sealed.key_id if sealed is not None else None,
        key_ids=frozenset(key["key_id"] for key in keys),
    )


def connect_findings(
    settings: Settings,
    logins: Sequence[str],
    facts: Mapping[str, Any],
    *,
    sealed_with: str | None,
    key_ids: frozenset[str],
) -> list[Finding]:
    """Whether accounts can be connected. Pure.

    `logins`: those this worker has credentials for. `facts`: `connect_facts()` of the database. `sealed_with`: id of the master
    key that sealed the callback key. `key_ids`: master keys in Vault.
    """
    written = {app["login"]: app for app in facts["apps"]}
    findings = _logins(settings, logins, written)
    findings += _redirects(settings, written)
    if written and not facts["return_to"]:
        findings.append(
            Finding(
                "return_to",
                "fail",
                "no link may be returned to, so every login is refused: set ORBYT_CONNECT_RETURN_TO",
            )
        )
    elif settings.connect_redirect_url is not None and set(settings.connect_return_links) != set(facts["return_to"]):
        findings.append(
            Finding(
                "return_to",
                "warn",
                "ORBYT_CONNECT_RETURN_TO differs from what is in the database: give all workers the same and restart them",
            )
        )
    elif written:
        findings.append(Finding("return_to", "ok", ", ".join(facts["return_to"])))
    if facts["callback_key"] is None:
        findings.append(
            Finding("callback key", "fail" if written else "warn", "none yet: a worker makes it when it starts")
        )
    elif sealed_with not in key_ids:
        findings.append(
            Finding(
                "callback key",
                "fail",
                f"sealed with master key {sealed_with}, which is not in Vault, so no login can be finished: bring that key back, or "
                "delete from orbyt_private.callback_keys and restart a worker",
            )
        )
    else:
        findings.append(Finding("callback key", "ok", facts["callback_key"]))
    return [*findings, *(_issue(issue) for issue in facts["issues"])]


def _logins(settings: Settings, logins: Sequence[str], written: Mapping[str, Any]) -> list[Finding]:
    findings = []
    orphans = sorted(set(written) - set(logins))
    if settings.connect_redirect_url is None:
        findings.append(
            Finding("connect", "ok", f"set up by another worker: {', '.join(sorted(written))}")
            if written
            else Finding("connect", "warn", "no account can be connected: set ORBYT_CONNECT_REDIRECT_URL")
        )
    elif not logins:
        findings.append(
            Finding(
                "connect",
                "fail",
                "no login is configured: set the client id and secret of Google, the Meta app or the Instagram app",
            )
        )
    elif new := [login for login in logins if login not in written]:
        findings.append(
            Finding("connect", "warn", f"not in the database yet: {', '.join(new)}; a worker writes it when it starts")
        )
    else:
        findings.append(Finding("connect", "ok", f"logins: {', '.join(logins)}"))
    if orphans and settings.connect_slots > 0:
        findings.append(
            Finding(
                "logins",
                "warn",
                f"{', '.join(orphans)}: no credentials here, so a login that this worker takes up fails; give it them, or ORBYT_CONNECT_SLOTS=0",
            )
        )
    return findings


def _redirects(settings: Settings, written: Mapping[str, Any]) -> list[Finding]:
    findings = []
    for login, app in sorted(written.items()):
        address = app["redirect_uri"]
        if urlsplit(address).scheme != "https" and not settings.sandbox:
            findings.append(Finding("redirect", "fail", f"{login}: {address} is not https, which platforms refuse"))
        elif settings.connect_redirect_url is not None and address != settings.connect_redirect_url:
            findings.append(
                Finding(
                    "redirect",
                    "warn",
                    f"{login}: the database has {address}, this worker {settings.connect_redirect_url}: give all workers the same",
                )
            )
    return findings


def _issue(issue: Mapping[str, Any]) -> Finding:
    known = catalog.load().entries.get(issue["code"])
    what = f"{known.title}. {known.what_to_do}" if known is not None else issue["detail"]
    return Finding(
        "issue",
        "warn",
        f"{issue['code']} since {str(issue['since'])[:10]}: {what} Then: select orbyt_private.clear_operator_issue('{issue['code']}')",
    )


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
