"""Puts the routes together, and says what they are (docs/reference/openapi.json)."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from orbyt_worker.web import connect, meta, mux, probes
from orbyt_worker.web.guard import Guard
from orbyt_worker.web.limits import Buckets
from orbyt_worker.web.parts import RETRY_SECONDS, Parts, Refused, problem

_DESCRIPTION = """\
The worker's endpoint, on loopback unless set otherwise. The app never calls it: it talks to the database only. Which routes to
make public, and how: docs/reference/http.md. Refusals have one body, `{"error", "request_id"}`; nothing is answered as HTML.
"""
_WORDS = {404: "not_found", 405: "method_not_allowed"}


def http_app(parts: Parts, *, buckets: Buckets | None = None) -> Guard:
    """The application to serve. Needs no lifespan."""
    app = _routes()
    app.state.parts = parts
    app.state.mux_events = mux.Seen()
    # A person waits in front of it: even then they are sent on to the app.
    return Guard(app, parts.runtime, buckets, instead={connect.PATH: lambda: connect.sent_on(parts)})


def openapi() -> dict[str, Any]:
    """The OpenAPI document. Without 422: what cannot be read is a 400 here, like every other refusal."""
    document = _routes().openapi()
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document


def _routes() -> FastAPI:
    app = FastAPI(
        title="Orbyt worker",
        version=importlib.metadata.version("orbyt-worker"),
        description=_DESCRIPTION,
        # Neither the document nor a page about it is served: it is in the repository.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A redirect to the path with a slash would name the query again.
        redirect_slashes=False,
        # Spans would hold whole addresses, with codes in them.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for each in (probes.router, connect.router, meta.router, mux.router):
        app.include_router(each)

    def refused(request: Request, error: Exception) -> Response:
        answer = problem(request.state.request_id, _as_refused(error))
        if isinstance(error, HTTPException):
            # Allow, with a 405.
            answer.headers.update(error.headers or {})
        return answer

    for kind in (
        *(Refused, HTTPException, RequestValidationError),
        *(psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, Exception),
    ):
        app.add_exception_handler(kind, refused)
    return app


def _as_refused(error: Exception) -> Refused:
    match error:
        case Refused():
            return error
        case RequestValidationError():
            return Refused(400, "request_invalid")
        case HTTPException():
            return Refused(error.status_code, _WORDS.get(error.status_code, "request_invalid"))
        case psycopg.OperationalError() | psycopg.InterfaceError() | PoolTimeout():
            return Refused(503, "database_unavailable", retry_after_seconds=RETRY_SECONDS)
        case _:
            return Refused(500, "internal_error")
