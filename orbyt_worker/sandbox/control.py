"""The control API: /_control/{part}/{operation}, JSON in and out, for loopback only.

It publishes the methods marked `@operation` and nothing else: POST with a JSON object of named arguments, or, for those
that only read, GET with a query. `GET /_control` lists them with their parameters. Browsers' pages are kept out: a request
with a foreign Host or any Origin is refused, so that no web page can drive a developer's sandbox.
"""

from __future__ import annotations

import inspect
import ipaddress
import json
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, validate_call
from pydantic_core import to_jsonable_python
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from orbyt_worker.sandbox.operations import operations
from orbyt_worker.sandbox.wire import JSON_BYTES_MAX, Refusal, read_body

if TYPE_CHECKING:
    from orbyt_worker.sandbox.state import Sandbox


def control_routes(sandbox: Sandbox) -> list[BaseRoute]:
    """The routes of the control API over `sandbox`."""
    table = {
        (part, name): (method, reads)
        for part, owner in sandbox.parts().items()
        for name, method, reads in operations(owner)
    }
    validated = {key: validate_call(method) for key, (method, _) in table.items()}

    async def index(request: Request) -> Response:
        if (refused := _refused(request)) is not None:
            return refused
        listed = [
            {
                "path": f"/_control/{part}/{name}",
                "methods": ["GET", "POST"] if reads else ["POST"],
                "parameters": {
                    p.name: str(p).partition(":")[2].strip() for p in inspect.signature(method).parameters.values()
                },
                "summary": (inspect.getdoc(method) or "").split("\n")[0],
            }
            for (part, name), (method, reads) in table.items()
        ]
        return JSONResponse(listed)

    async def call(request: Request) -> Response:
        if (refused := _refused(request)) is not None:
            return refused
        key = (request.path_params["part"], request.path_params["name"])
        if key not in table:
            return _problem(404, "there is no such operation; GET /_control lists them")
        if request.method == "GET":
            if not table[key][1]:
                return _problem(405, "this operation changes something: use POST")
            arguments: Any = dict(request.query_params)
        else:
            body = await read_body(request, JSON_BYTES_MAX)
            try:
                arguments = json.loads(body) if body else {}
            except ValueError:
                return _problem(400, "the body is no JSON")
            if body is None or not isinstance(arguments, dict):
                return _problem(400, f"the body is a JSON object of at most {JSON_BYTES_MAX} bytes")
        try:
            # In a thread: making a video takes a moment, and the simulators must go on answering.
            result = await run_in_threadpool(lambda: validated[key](**arguments))
        except ValidationError as error:
            return _problem(400, "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
        except (ValueError, TypeError) as error:
            return _problem(400, str(error))
        except Refusal as refusal:
            # A rule of the platform itself, e.g. two kinds of renditions on one asset.
            return _problem(400, bytes(refusal.response.body).decode())
        except KeyError as error:
            return _problem(404, f"unknown: {error}")
        return JSONResponse(to_jsonable_python({"result": result}))

    return [Route("/_control", index, methods=["GET"]), Route("/_control/{part}/{name}", call, methods=["GET", "POST"])]


def _refused(request: Request) -> Response | None:
    host = (request.headers.get("host") or "").rsplit(":", 1)[0].strip("[]")
    loopback_host = host == "localhost" or _is_loopback(host)
    if (
        request.client is None
        or not _is_loopback(request.client.host)
        or not loopback_host
        or "origin" in request.headers
    ):
        return _problem(403, "the control API is for programs on this machine")
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _problem(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status)
