"""The Edge Function as hosted Supabase runs it: real Deno, started once per test process, on a stand-in of the Data API.

The stand-in knows what our function needs of PostgREST: `POST /rest/v1/rpc/<function>` with `apikey` and `Content-Profile`, run in
one transaction as service_role on the database of the test. It is strict about the headers and remembers the bodies.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.fix_parts import missing
from tests.fix_postgres import Database

ROOT = Path(__file__).parents[1]
FUNCTIONS = ROOT / "supabase" / "functions"
SECRET_KEY = "sb_secret_of_the_tests"
START_SECONDS_MAX = 60

_LISTENING = re.compile(r"Listening on (http://127\.0\.0\.1:\d+)/")


class DataApi:
    """`url` as SUPABASE_URL; `database` is set by each test."""

    def __init__(self) -> None:
        self.database: Database | None = None
        self.bodies: list[str] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, answer = api._answer(self.path, dict(self.headers.items()), body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json; charset=utf-8")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                """Tests look at answers."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        given = {name.lower(): value for name, value in headers.items()}
        found = re.fullmatch(r"/rest/v1/rpc/([a-z_]+)", path)
        if given.get("apikey") != SECRET_KEY:
            return 401, {"message": "Invalid API key"}
        if "authorization" in given:
            # A new key is no JWT.
            return 401, {"code": "PGRST301", "message": "JWT expected"}
        if found is None or given.get("content-profile") != "orbyt" or given.get("content-type") != "application/json":
            return 404, {"code": "PGRST202"}
        assert self.database is not None
        self.bodies.append(body.decode())
        parameters: dict[str, Any] = json.loads(body)
        call = sql.SQL("select orbyt.{}({}) as answer").format(
            sql.Identifier(found[1]),
            sql.SQL(", ").join(
                sql.SQL("{} => {}::text").format(sql.Identifier(name), sql.Placeholder(name)) for name in parameters
            ),
        )
        with psycopg.connect(self.database.url("authenticator")) as connection:
            connection.execute("set local role service_role")
            connection.execute("""select set_config('request.jwt.claims', '{"role": "service_role"}', true)""")
            try:
                row = connection.execute(call, parameters).fetchone()
            except psycopg.Error as error:
                connection.rollback()
                return 400, {"code": error.sqlstate, "message": str(error)}
            assert row is not None
            return 200, row[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def deno_environment(directory: Path, **values: str) -> dict[str, str]:
    """Nothing of this machine's, no update check, a cache of its own."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "DENO_DIR": str(directory),
        "DENO_NO_UPDATE_CHECK": "1",
        "NO_COLOR": "1",
        **values,
    }


@pytest.fixture(scope="session")
def deno() -> str:
    """The program."""
    try:
        from deno import find_deno_bin

        return str(find_deno_bin())
    except (ImportError, FileNotFoundError) as error:
        missing(f"Deno, which runs the Edge Function (its wheel is for glibc: none on musl): {error}")


@pytest.fixture(scope="session")
def data_api_server() -> Iterator[DataApi]:
    api = DataApi()
    yield api
    api.close()


class EdgeFunction:
    """`url` is where the platform's redirect goes; `log()` is what the function has written so far."""

    def __init__(self, url: str, process: subprocess.Popen[str], lines: list[str]) -> None:
        self.url = url
        self._process = process
        self._lines = lines

    def log(self) -> str:
        return "".join(self._lines)


@pytest.fixture(scope="session")
def edge_server(
    deno: str, data_api_server: DataApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EdgeFunction]:
    process = subprocess.Popen(
        [
            *(deno, "run", "--no-prompt", "--no-remote", "--no-npm"),
            *("--allow-net=127.0.0.1", "--allow-env", str(FUNCTIONS / "connect-callback" / "index.ts")),
        ],
        env=deno_environment(
            tmp_path_factory.mktemp("deno"),
            DENO_SERVE_ADDRESS="tcp:127.0.0.1:0",
            SUPABASE_URL=data_api_server.url,
            SUPABASE_SECRET_KEYS=json.dumps({"default": SECRET_KEY}),
            ORBYT_CONNECT_RETURN_TO="studiox://connected",
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    address: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if found := _LISTENING.search(line):
                address.append(found[1])
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        ready.wait(START_SECONDS_MAX)
        assert address, "the Edge Function did not start: " + "".join(lines)
        yield EdgeFunction(f"{address[0]}/functions/v1/connect-callback", process, lines)
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


@pytest.fixture
def data_api(data_api_server: DataApi, db: Database) -> DataApi:
    data_api_server.database = db
    data_api_server.bodies.clear()
    return data_api_server


@pytest.fixture
def edge(edge_server: EdgeFunction, data_api: DataApi) -> EdgeFunction:
    """The Edge Function on this test's database."""
    return edge_server
