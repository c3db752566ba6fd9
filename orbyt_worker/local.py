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
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from orbyt_worker.crypto import Keyring
from orbyt_worker.sandbox.bootstrap import apply_migrations, apply_stand_in
from orbyt_worker.sandbox.postgres import SUPERUSER, LocalPostgres, PostgresServer
from orbyt_worker.sandbox.server import SandboxServer

KEY_ID = "local"
WORKER_STOP_SECONDS_MAX = 30.0


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


class LocalStack:
    """Server, database, key and sandbox under one roof. A context manager."""

    def __init__(self, directory: Path, *, data_dir: Path | None = None, sandbox_port: int = 0) -> None:
        self.directory = directory
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
        environment = self.database.worker_environment(self.sandbox, self.directory / "spool", **settings)
        return WorkerProcess(environment, self.directory / "worker.log")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.sandbox.stop()
        finally:
            self.postgres.stop()
