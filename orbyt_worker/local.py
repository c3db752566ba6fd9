"""A whole local world: Postgres with the Supabase stand-in, the migrations, a key, the simulated platforms, worker processes.

Used by `orbyt-worker demo`, `orbyt-worker sandbox` and the acceptance tests. The worker runs as a process of its own, with
settings in its environment, exactly as in production; nothing here reaches into it.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote, urljoin, urlsplit
from uuid import UUID

import httpx
import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from orbyt_worker.crypto import Keyring
from orbyt_worker.sandbox.bootstrap import apply_migrations, apply_stand_in
from orbyt_worker.sandbox.postgres import SUPERUSER, LocalPostgres, PostgresServer, free_port
from orbyt_worker.sandbox.server import SandboxServer

KEY_ID = "local"
WORKER_STOP_SECONDS_MAX = 30.0
# The link an app would register with the system; a login ends there.
RETURN_TO = "studiox://connected"
CALLBACK_PATH = "/connect/callback"
REDIRECTS_MAX = 10
BROWSER_SECONDS_MAX = 30.0
CONNECT_SECONDS_MAX = 60.0
CONNECT_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ConnectedAccount:
    """An account as if connected through the app, and who it is at the simulated platform.

    `tokens` by kind, as they are sealed in the database: refresh_token, or access_token and user_token.
    """

    account_id: UUID
    user_id: UUID
    platform: str
    platform_account_id: str
    tokens: Mapping[str, str] = field(repr=False, hash=False)


@dataclass(frozen=True, slots=True)
class BegunConnect:
    """What the app holds after `begin_connect`."""

    session_id: UUID
    authorize_url: str


@dataclass(frozen=True, slots=True)
class OAuthConnection:
    """How a login ended: the session as the app reads it, the link it came back by, and the accounts that were connected."""

    session: Mapping[str, Any]
    link: str
    accounts: Sequence[ConnectedAccount]


def browse(url: str) -> str:
    """What the system browser does after the button: goes where it is sent, until a link leaves the web for the app. Returns it.

    Raises RuntimeError when a page stays instead: the person would have to click, or to read what is wrong.
    """
    with httpx.Client(trust_env=False, timeout=BROWSER_SECONDS_MAX, follow_redirects=False) as browser:
        for _ in range(REDIRECTS_MAX):
            answer = browser.get(url)
            if "location" not in answer.headers:
                raise RuntimeError(f"the browser stays at {urlsplit(url).path}: HTTP {answer.status_code}")
            url = urljoin(url, answer.headers["location"])
            if urlsplit(url).scheme not in {"http", "https"}:
                return url
    raise RuntimeError(f"more than {REDIRECTS_MAX} redirects")


def look_until(holds: Callable[[], bool]) -> None:
    """Until something is as it should be; raises TimeoutError."""
    ends_at = time.monotonic() + CONNECT_SECONDS_MAX
    while not holds():
        if time.monotonic() >= ends_at:
            raise TimeoutError(f"the login has not ended after {CONNECT_SECONDS_MAX:.0f} s")
        time.sleep(CONNECT_LOOK_SECONDS)


class WorkerProcess:
    """`orbyt-worker run` as a process of its own. A context manager: killed at the end if it still runs."""

    def __init__(self, environment: Mapping[str, str], log_path: Path) -> None:
        self.log_path = log_path
        self._log = log_path.open("ab")
        base = {name: value for name, value in os.environ.items() if not name.startswith("ORBYT_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orbyt_worker", "run"],
            env={**base, **environment},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_seconds: float) -> int:
        """Exit code; raises subprocess.TimeoutExpired."""
        return self.process.wait(timeout_seconds)

    def log_text(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def stop(self) -> int:
        """SIGTERM and wait; SIGKILL if it does not obey in time."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(WORKER_STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(WORKER_STOP_SECONDS_MAX)
        self._log.close()
        return self.process.returncode

    def kill(self) -> None:
        """SIGKILL: nothing is cleaned up, as when a machine dies."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WORKER_STOP_SECONDS_MAX)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class LocalDatabase:
    """One database with everything in it, on a running server."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server = server
        self.name = name

    def url(self, role: str = "postgres") -> str:
        return self.server.url(self.name, role)

    @classmethod
    def create(cls, server: PostgresServer, name: str, *, template: str | None = None) -> Self:
        """A new database: a copy of `template`, or made from nothing."""
        server.create_database(name, template)
        database = cls(server, name)
        if template is None:
            with server.connect(name, SUPERUSER) as connection:
                apply_stand_in(connection)
            apply_migrations(database.url())
        return database

    def connect(self, role: str = "postgres") -> psycopg.Connection[DictRow]:
        return psycopg.connect(self.url(role), autocommit=True, row_factory=dict_row)

    def fetch(self, statement: str, parameters: Any = None) -> list[DictRow]:
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def init_key(self) -> bytes:
        """A master key in Vault, once. Returns the key."""
        self.fetch("select orbyt_private.create_master_key(%s)", [KEY_ID])
        rows = self.fetch("select key_base64 from orbyt_private.master_keys() where key_id = %s", [KEY_ID])
        return base64.b64decode(rows[0]["key_base64"])

    def create_user(self, email: str) -> UUID:
        user_id = uuid.uuid4()
        self.fetch(
            "insert into auth.users (id, email, aud, role, created_at) values (%s, %s, 'authenticated', 'authenticated', now())",
            [user_id, email],
        )
        return user_id

    def as_user(self, user_id: UUID, statement: str, parameters: Any = None) -> list[DictRow]:
        """One request of a signed-in user, as PostgREST makes it: log in as authenticator, role and claims for one transaction."""
        with psycopg.connect(self.url("authenticator"), row_factory=dict_row) as connection:
            connection.execute("set local role authenticated")
            connection.execute(
                "select set_config('request.jwt.claims', %s, true)",
                [f'{{"sub": "{user_id}", "role": "authenticated"}}'],
            )
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def insert_job(self, user_id: UUID, account_id: UUID, **columns: Any) -> UUID:
        """Insert one post as the app would. Content columns as keywords; media and options as Python values."""
        values: dict[str, Any] = {"account_id": account_id, "kind": "video", "title": "A title", **columns}
        for name in ("media", "options"):
            if name in values:
                values[name] = Jsonb(values[name])
        names = ", ".join(values)
        slots = ", ".join(f"%({name})s" for name in values)
        rows = self.as_user(
            user_id, f"insert into orbyt.publish_jobs ({names}) values ({slots}) returning job_id", values
        )
        job_id: UUID = rows[0]["job_id"]
        return job_id

    def connect_youtube(
        self, sandbox: SandboxServer, user_id: UUID, key: bytes, *, title: str = "Sandbox Channel", **account: Any
    ) -> ConnectedAccount:
        """Connect a new channel of the simulated Google, as the connect flow will: account row, sealed refresh token, active."""
        handle = sandbox.state.google.create_account(channel_title=title, **account)
        return self._connect(
            user_id,
            key,
            (
                "youtube",
                handle.channel_id or f"none-{handle.sub}",
                title,
                handle.channel_handle,
                handle.scopes,
                "google",
            ),
            {"refresh_token": handle.refresh_token},
        )

    def connect_facebook(
        self, sandbox: SandboxServer, user_id: UUID, key: bytes, *, name: str = "Sandbox Page", **page: Any
    ) -> ConnectedAccount:
        """Connect a new Page of the simulated Facebook: Page token and the person's long-lived token, sealed."""
        handle = sandbox.state.meta.create_page(name=name, **page)
        return self._connect(
            user_id,
            key,
            ("facebook", handle.page_id, name, None, sandbox.state.meta.tokens[handle.page_token].scopes, "facebook"),
            {"access_token": handle.page_token, "user_token": handle.user_token},
        )

    def connect_instagram(
        self,
        sandbox: SandboxServer,
        user_id: UUID,
        key: bytes,
        *,
        login: Literal["facebook", "instagram"] = "facebook",
        **account: Any,
    ) -> ConnectedAccount:
        """Connect a new professional account of the simulated Instagram, by one of its two logins."""
        handle = sandbox.state.meta.create_instagram(login=login, **account)
        tokens = {"access_token": handle.access_token}
        if handle.user_token is not None:
            tokens["user_token"] = handle.user_token
        scopes = sandbox.state.meta.tokens[handle.access_token].scopes
        return self._connect(
            user_id, key, ("instagram", handle.instagram_id, handle.username, handle.username, scopes, login), tokens
        )

    # Connecting as the app does it: nothing of what follows knows a key or a token.

    def begin_connect(
        self,
        user_id: UUID,
        platform: str,
        *,
        login: str | None = None,
        account_id: UUID | None = None,
        return_to: str = RETURN_TO,
    ) -> BegunConnect:
        """The button was pressed. `account_id`: to connect this account again."""
        begun = self.as_user(
            user_id,
            "select orbyt.begin_connect(platform => %s, return_to => %s, login => %s, account_id => %s) as begun",
            [platform, return_to, login, account_id],
        )[0]["begun"]
        return BegunConnect(UUID(begun["session_id"]), begun["authorize_url"])

    def connect_session(self, user_id: UUID, session_id: UUID) -> DictRow:
        """The session as the app reads it."""
        return self.as_user(user_id, "select * from orbyt.connect_sessions where session_id = %s", [session_id])[0]

    def finish_connect(self, user_id: UUID, session_id: UUID, platform_account_ids: Sequence[str]) -> list[DictRow]:
        """The person has chosen. The rows of the accounts."""
        return self.as_user(
            user_id,
            "select * from orbyt.finish_connect(session_id => %s, account_ids => %s)",
            [session_id, list(platform_account_ids)],
        )

    def connect_by_oauth(
        self,
        user_id: UUID,
        platform: str,
        *,
        login: str | None = None,
        person: str | None = None,
        account_id: UUID | None = None,
        choose: Sequence[str] | None = None,
        until: Callable[[Callable[[], bool]], None] = look_until,
    ) -> OAuthConnection:
        """From the button to the account, through the platform's page, the callback door and the exchange of a running worker.

        `person`: who agrees at the sandbox's page (its `sandbox_account`); None: what was planned there with `next_consent`.
        `choose`: accounts to connect if there is a choice; None: every usable one. `until`: how to wait for the worker.
        """
        begun = self.begin_connect(user_id, platform, login=login, account_id=account_id)
        url = begun.authorize_url
        if person is not None:
            url += f"&sandbox_account={quote(person, safe='')}"
        link = browse(url)
        until(lambda: self.connect_session(user_id, begun.session_id)["status"] not in {"started", "exchanging"})
        session = self.connect_session(user_id, begun.session_id)
        if session["status"] == "choose":
            usable = [each["platform_account_id"] for each in session["candidates"] if each["usable"]]
            self.finish_connect(user_id, begun.session_id, usable if choose is None else choose)
            session = self.connect_session(user_id, begun.session_id)
        rows = self.as_user(
            user_id,
            "select * from orbyt.accounts where account_id = any (%s) order by platform_account_id",
            [session["account_ids"]],
        )
        accounts = [
            ConnectedAccount(row["account_id"], user_id, row["platform"], row["platform_account_id"], {})
            for row in rows
        ]
        return OAuthConnection(session, link, accounts)

    def _connect(
        self,
        user_id: UUID,
        key: bytes,
        who: tuple[str, str, str, str | None, Sequence[str], str],
        tokens: Mapping[str, str],
    ) -> ConnectedAccount:
        """`who`: platform, its id of the account, name, handle, scopes, login."""
        platform, platform_account_id, name, handle, scopes, login = who
        account_id: UUID = self.fetch(
            "select orbyt_private.connect_account(%s, %s, %s, %s, %s, %s, %s) as account_id",
            [user_id, platform, platform_account_id, name, handle, list(scopes), login],
        )[0]["account_id"]
        self.store_tokens(account_id, key, tokens)
        return ConnectedAccount(account_id, user_id, platform, platform_account_id, tokens)

    def store_tokens(self, account_id: UUID, key: bytes, tokens: Mapping[str, str]) -> None:
        """What a (re)connect ends with: seal, swap in, activate. Held jobs of the account go on by themselves."""
        keyring = Keyring({KEY_ID: key}, active=KEY_ID)
        secrets = []
        for kind, value in tokens.items():
            sealed = keyring.seal(value, owner_id=account_id, kind=kind)
            secrets.append(
                {
                    "kind": kind,
                    "sealed": base64.b64encode(sealed.blob).decode(),
                    "key_id": sealed.key_id,
                    "expires_in_seconds": None,
                }
            )
        self.fetch("select orbyt_private.store_grant(%s, %s)", [account_id, Jsonb(secrets)])

    def worker_environment(self, sandbox: SandboxServer, spool_dir: Path, **settings: Any) -> dict[str, str]:
        """Settings of a worker on this database and that sandbox; further settings by their name in lower case."""
        environment = {
            **sandbox.settings_env(),
            "ORBYT_ENVIRONMENT": "sandbox",
            "ORBYT_DATABASE_URL": self.url("orbyt_worker"),
            "ORBYT_SPOOL_DIR": str(spool_dir),
            "ORBYT_HTTP_PORT": "0",
        }
        environment.update({f"ORBYT_{name.upper()}": str(value) for name, value in settings.items()})
        return environment

    def door_settings(self, sandbox: SandboxServer, port: int, return_to: Sequence[str] = ()) -> dict[str, Any]:
        """Further settings of a worker that serves the callback at this port; the simulated platforms are told of it.

        A login may return to the app's link, to the sandbox's own page, and to any of `return_to`.
        """
        redirect_url = f"http://127.0.0.1:{port}{CALLBACK_PATH}"
        sandbox.state.register_redirect(redirect_url)
        links = ",".join([RETURN_TO, sandbox.state.return_link(), *return_to])
        return {"http_port": port, "connect_redirect_url": redirect_url, "connect_return_to": links}

    def connectable(self) -> bool:
        """A worker has said what can be connected, and how."""
        (row,) = self.fetch("select orbyt_private.connect_facts() as facts")
        return bool(row["facts"]["return_to"])


class LocalStack:
    """Server, database, key and sandbox under one roof. A context manager. Ports: 0 takes a free one.

    `return_to`: further links a login may return to.
    """

    def __init__(
        self,
        directory: Path,
        *,
        data_dir: Path | None = None,
        sandbox_port: int = 0,
        door_port: int = 0,
        return_to: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.door_port = door_port or free_port()
        self.return_to = return_to
        self.postgres = LocalPostgres(data_dir, durable=data_dir is not None)
        self.sandbox = SandboxServer(port=sandbox_port)
        self.database: LocalDatabase
        self.key = b""

    def __enter__(self) -> Self:
        self.postgres.start()
        try:
            self.sandbox.start()
            if self._exists():
                self.database = LocalDatabase(self.postgres, "orbyt")
                apply_migrations(self.database.url())
            else:
                self.database = LocalDatabase.create(self.postgres, "orbyt")
            self.key = self.database.init_key()
        except BaseException:
            self.postgres.stop()
            raise
        return self

    def _exists(self) -> bool:
        with self.postgres.connect("postgres", SUPERUSER) as connection:
            return connection.execute("select from pg_database where datname = 'orbyt'").fetchone() is not None

    def start_worker(self, **settings: Any) -> WorkerProcess:
        """A worker that serves the callback door. Returns at once."""
        door = self.database.door_settings(self.sandbox, self.door_port, self.return_to)
        environment = self.database.worker_environment(self.sandbox, self.directory / "spool", **{**door, **settings})
        return WorkerProcess(environment, self.directory / "worker.log")

    def connect(self, user_id: UUID, platform: str, **options: Any) -> Sequence[ConnectedAccount]:
        """See `LocalDatabase.connect_by_oauth`; waits for the worker to have started. Raises RuntimeError when nothing was connected."""
        look_until(self.database.connectable)
        connection = self.database.connect_by_oauth(user_id, platform, **options)
        if not connection.accounts:
            raise RuntimeError(f"{platform} was not connected: {connection.session['error_code']}")
        return connection.accounts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.sandbox.stop()
        finally:
            self.postgres.stop()
