"""The app's side of the sandbox: the example app of a checkout at /app/, and a page to return to where there is no app.

The example app (examples/app) is files. What it has to be told, addresses and a user's token, comes from here: the token stands in
for the sign-in of Supabase Auth. This module knows no database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox import pages
from orbyt_worker.sandbox.wire import route

if TYPE_CHECKING:
    from orbyt_worker.sandbox.state import Sandbox

PATH: Final = "/app/connected"
APP_PATH: Final = "/app/"
_ROOT: Final = Path(__file__).resolve().parents[2]
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NEXT: Final = {
    "exchanging": "The platform said yes. The worker reads what it offers: the row in connect_sessions changes to choose or connected.",
    "choose": "The app shows the candidates of the row and calls finish_connect with those that were picked.",
    "connected": "The account is connected: it is in accounts.",
    "failed": "Nothing was connected. The row in connect_sessions says why.",
    "expired": "That took too long. The app offers to try again.",
}


@dataclass(frozen=True, slots=True)
class ExampleFiles:
    """What the page is made of, in a checkout: its own files, supabase-js, and the client module."""

    app: Path
    supabase_js: Path
    client: Path

    def by_name(self) -> Mapping[str, Path]:
        """Every file by its address after /app/: nothing else is served."""
        own = {path.name: path for path in self.app.iterdir() if path.suffix in _TYPES}
        client = {f"orbyt/{path.relative_to(self.client).as_posix()}": path for path in self.client.rglob("*.js")}
        return {"": own["index.html"], **own, "supabase.js": self.supabase_js, **client}


def find_files(modules: Path) -> ExampleFiles | None:
    """None where the package was installed without the repository. `modules`: node_modules with supabase-js."""
    found = ExampleFiles(
        _ROOT / "examples" / "app",
        modules / "@supabase" / "supabase-js" / "dist" / "umd" / "supabase.js",
        _ROOT / "supabase" / "client" / "lib",
    )
    return found if (found.app / "index.html").is_file() and found.supabase_js.is_file() else None


@dataclass(frozen=True, slots=True)
class ExampleApp:
    """`supabase_url`, `publishable_key`: what an app knows of its project. `media`: label, type and url of what can be posted.

    `sign_in` makes an access token of the one user, whose address is `email`, good for `token_seconds`.
    """

    files: ExampleFiles
    supabase_url: str
    publishable_key: str
    email: str
    sign_in: Callable[[], str]
    token_seconds: int
    media: Sequence[Mapping[str, str]]


class AppPages:
    """Both pages; without an example app only the one to return to."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._example: ExampleApp | None = None
        self._files: Mapping[str, Path] = {}

    def serve(self, example: ExampleApp) -> str:
        """From now on. Returns its address, which is also the link a login returns to."""
        self._example, self._files = example, example.files.by_name()
        return self._sandbox.base_url + APP_PATH

    def routes(self) -> list[BaseRoute]:
        return [
            route(self._sandbox, "GET", PATH, "app.connected", _connected),
            route(self._sandbox, "GET", f"{APP_PATH}config", "app.config", self._config),
            route(self._sandbox, "POST", f"{APP_PATH}session", "app.session", self._session),
            route(self._sandbox, "GET", APP_PATH + "{name:path}", "app.file", self._file),
        ]

    async def _file(self, request: Request) -> Response:
        path = self._files.get(request.path_params["name"])
        if self._example is None or path is None:
            text = "There is nothing here." if self._example else "The example app is not served: the sandbox said why."
            return pages.document("Not found", pages.paragraph(text), 404)
        # Read each time: whoever changes the example reloads the page.
        return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers=_headers(self._example))

    async def _config(self, request: Request) -> Response:
        if self._example is None:
            return Response(status_code=404)
        content = {
            "supabaseUrl": self._example.supabase_url,
            "publishableKey": self._example.publishable_key,
            "media": [dict(item) for item in self._example.media],
        }
        return JSONResponse(content, headers=_headers(self._example))

    async def _session(self, request: Request) -> Response:
        """The button "Sign in". Only for the page itself: no other page of the web gets a token."""
        base = self._sandbox.base_url
        if self._example is None or request.headers.get("host") != urlsplit(base).netloc:
            return Response(status_code=404)
        if request.headers.get("origin") != base:
            return Response(status_code=403)
        content: dict[str, Any] = {
            "access_token": self._example.sign_in(),
            "expires_at": int(time.time()) + self._example.token_seconds,
            "email": self._example.email,
        }
        return JSONResponse(content, headers=_headers(self._example))


def _headers(example: ExampleApp) -> dict[str, str]:
    # What a careful app sends: its own files, its Supabase project, and nothing else. Realtime is a WebSocket of the same host.
    project = example.supabase_url
    socket = project.replace("http", "ws", 1)
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": (
            f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {project} {socket}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


async def _connected(request: Request) -> Response:
    query = request.query_params
    status = query.get("status", "")
    rows = [("session", query.get("session_id", "none")), ("status", status or "none")]
    body = "".join(pages.fact(name, value) for name, value in rows)
    return pages.document("Back in the app", body + pages.paragraph(_NEXT.get(status, "Nothing to see here.")))
