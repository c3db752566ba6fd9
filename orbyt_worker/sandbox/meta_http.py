"""From HTTP to a `Call` and back: bodies, versions, tokens, throttles, faults and headers, the same on every Graph host.

Facebook and Instagram share one path, /{version}/{id}/{edge}; which object an id stands for decides who answers. So the
parts register `Endpoint`s in one table and one dispatcher serves them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from orbyt_worker.sandbox.faults import Fault
from orbyt_worker.sandbox.meta_access import (
    Call,
    FilePart,
    check_proof,
    check_throttle,
    check_version,
    fault_throttle_headers,
    identify,
    presented_token,
    throttle_error,
    usage_headers,
)
from orbyt_worker.sandbox.meta_errors import GraphError, bad_parameter, graph_error, render, unreadable
from orbyt_worker.sandbox.meta_model import HOST_PREFIXES, Host, Node
from orbyt_worker.sandbox.wire import Cut, read_body, serve

if TYPE_CHECKING:
    from orbyt_worker.sandbox.meta import Meta

Answer = dict[str, Any] | list[Any] | bool | Response
BODY_BYTES_MAX = 64 * 1024 * 1024
GRAPH: frozenset[Host] = frozenset({"graph"})
GRAPH_AND_VIDEO: frozenset[Host] = frozenset({"graph", "video"})
INSTAGRAM_HOSTS: frozenset[Host] = frozenset({"graph", "instagram"})

_NUMBERED = re.compile(r"^([a-z_]+)\[(\d{1,3})\]$")
# JSON bodies at graph.instagram.com lose their optional parameters (observed by exileum/meta-mcp); only these survive.
_JSON_SURVIVORS = frozenset(
    {"access_token", "image_url", "video_url", "media_type", "upload_type", "children", "creation_id", "message"}
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What answers `method` on an edge of nodes of one kind. `name` is the route of faults and of the request log."""

    method: str
    kind: str
    edge: str
    name: str | Callable[[Call], str]
    handler: Callable[[Call], Awaitable[Answer]]
    hosts: frozenset[Host] = GRAPH


class Dispatcher:
    """All Graph hosts over one table of endpoints."""

    def __init__(self, meta: Meta, endpoints: list[Endpoint]) -> None:
        self._meta = meta
        self._table = {(e.method, e.kind, e.edge): e for e in endpoints}
        if len(self._table) < len(endpoints):
            raise ValueError("two endpoints for one method, kind and edge")

    def routes(self) -> list[BaseRoute]:
        hosts: list[Host] = ["graph", "video", "instagram"]
        return [
            Route(f"/{HOST_PREFIXES[host]}/{{rest:path}}", self._serving(host), methods=["GET", "POST", "DELETE"])
            for host in hosts
        ]

    def _serving(self, host: Host) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await self._dispatch(host, request)

        return endpoint

    async def _dispatch(self, host: Host, request: Request) -> Response:
        try:
            call: Call | GraphError = await self._read(host, request)
        except ClientDisconnect:
            return Cut(self._meta.sandbox.connections)
        except GraphError as error:
            call = error
        if isinstance(call, GraphError):
            answer = render(call, self._meta.config)

            async def refuse(_request: Request) -> Response:
                return answer

            return await serve(self._meta.sandbox, request, "meta.unreadable", refuse)
        read = call
        endpoint = self._table.get((read.method, read.node.kind, read.edge)) if read.node is not None else None
        if endpoint is None:
            name = "meta.unknown"
        else:
            name = endpoint.name if isinstance(endpoint.name, str) else endpoint.name(read)

        async def handle(handled: Request) -> Response:
            return await self._handle(handled, read, endpoint)

        return await serve(self._meta.sandbox, request, name, handle)

    async def _handle(self, request: Request, call: Call, endpoint: Endpoint | None) -> Response:
        fault: Fault | None = request.state.fault
        struck = meta_fault(fault, call)
        try:
            if struck is not None and fault is not None and not fault.process:
                raise struck
            answer = await self._answer(call, endpoint)
            if struck is not None:
                raise struck
            response = answer if isinstance(answer, Response) else JSONResponse(answer)
        except GraphError as error:
            response = render(error, self._meta.config)
        with self._meta.lock:
            for name, value in usage_headers(self._meta, call).items():
                if name.lower() not in response.headers:
                    response.headers[name] = value
        return response

    async def _answer(self, call: Call, endpoint: Endpoint | None) -> Answer:
        with self._meta.lock:
            check_version(self._meta, call.version)
            token = identify(self._meta, call.host, presented_token(call.request, call.fields))
            call._token = token
            check_proof(self._meta, call, token)
            check_throttle(self._meta, call)
        if endpoint is None or call.host not in endpoint.hosts:
            raise unreadable(call.node_id, call.method)
        return await endpoint.handler(call)

    async def _read(self, host: Host, request: Request) -> Call:
        fields = dict(request.query_params)
        files: dict[str, FilePart] = {}
        raw_body = b""
        if request.method == "POST":
            body = await read_body(request, BODY_BYTES_MAX)
            if body is None:
                raise graph_error(1, "The request is too large.", status=413)
            if "file_offset" in request.headers:
                raw_body = body
            else:
                more, files = parse_body(body, request.headers.get("content-type", ""), host)
                fields |= more
        parts = request.path_params["rest"].strip("/").split("/")
        # The one path with a third part names a permission.
        deep = len(parts) == 4 and parts[2] == "permissions"
        if (len(parts) not in {2, 3} and not deep) or not all(parts):
            raise graph_error(2500, f"Unknown path components: /{'/'.join(parts)}")
        node_id, edge = parts[1], parts[2] if len(parts) > 2 else ""
        meta = self._meta
        with meta.lock:
            token = meta.find_token(presented_token(request, fields) or "")
            if node_id == "me" and token is not None:
                node_id = token.page_id if token.kind == "PAGE" else token.instagram_id or token.user_id or node_id
            node: Node | None = meta.find(node_id)
        leaf = parts[3] if deep else ""
        call = Call(meta, request, request.method, host, parts[0], node_id, edge, node, fields, files, raw_body, leaf)
        # Known already, though not yet accepted: usage headers of a refusal are about its account too.
        call._token = token
        return call


def meta_fault(fault: Fault | None, call: Call) -> GraphError | None:
    """The error a `meta_error` or `throttle` rule asks for."""
    if fault is None or fault.kind not in {"meta_error", "throttle"}:
        return None
    code = fault.code if fault.code is not None else (1 if fault.kind == "meta_error" else 4)
    if fault.kind == "throttle":
        error = throttle_error(code)
        error.headers = {**fault_throttle_headers(call, code, fault.minutes), **fault.headers}
        return error
    return graph_error(
        code,
        fault.message or "An injected error.",
        subcode=fault.subcode,
        status=fault.status if fault.status != 503 else 400,
        user_title="Sandbox",
        user_message=fault.message or "An injected error.",
        transient=fault.transient,
        headers=fault.headers,
    )


def parse_body(body: bytes, content_type: str, host: Host) -> tuple[dict[str, str], dict[str, FilePart]]:
    """Parameters and files of a POST: form, multipart or JSON; anything else, or a parameter twice, is code 100."""
    kind = content_type.split(";")[0].strip().lower()
    if not body:
        return {}, {}
    if kind == "application/x-www-form-urlencoded":
        try:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
        except ValueError:
            raise bad_parameter("The form body is malformed.") from None
        return _gathered(pairs), {}
    if kind == "multipart/form-data":
        return _multipart(body, content_type)
    if kind == "application/json":
        try:
            given = json.loads(body)
        except ValueError:
            raise bad_parameter("The JSON body is malformed.") from None
        if not isinstance(given, dict):
            raise bad_parameter("The JSON body must be an object.")
        kept = {k: v for k, v in given.items() if v is not None and (host != "instagram" or k in _JSON_SURVIVORS)}
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in kept.items()}, {}
    raise bad_parameter(f"Unsupported content type {kind or '(none)'}.")


def _gathered(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name; name[0], name[1], ... (each a JSON text) become one JSON list."""
    fields: dict[str, str] = {}
    numbered: dict[str, dict[int, str]] = {}
    for name, value in pairs:
        match = _NUMBERED.match(name)
        place: dict[Any, str] = numbered.setdefault(match[1], {}) if match else fields
        key: Any = int(match[2]) if match else name
        if key in place:
            raise bad_parameter(f"The parameter {name} is given twice.")
        place[key] = value
    for name, entries in numbered.items():
        if name in fields or sorted(entries) != list(range(len(entries))):
            raise bad_parameter(f"The parameter {name} is malformed.")
        fields[name] = "[" + ",".join(_as_json(entries[at]) for at in range(len(entries))) + "]"
    return fields


def _as_json(value: str) -> str:
    try:
        json.loads(value)
    except ValueError:
        return json.dumps(value)
    return value


def _multipart(body: bytes, content_type: str) -> tuple[dict[str, str], dict[str, FilePart]]:
    """RFC 7578, without the leniency: every part named, closed by the final boundary."""
    boundary = _parameters(content_type).get("boundary")
    if not boundary:
        raise bad_parameter("The multipart body has no boundary.")
    mark = b"--" + boundary.encode("latin-1")
    sections = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(sections) < 2 or not sections[-1].startswith(b"--"):
        raise bad_parameter("The multipart body is cut off.")
    pairs: list[tuple[str, str]] = []
    files: dict[str, FilePart] = {}
    for section in sections[1:-1]:
        head, gap, data = section.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not gap:
            raise bad_parameter("A part of the multipart body has no headers.")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n"))
        }
        disposition = _parameters(headers.get("content-disposition", ""))
        name = disposition.get("name")
        if not name:
            raise bad_parameter("A part of the multipart body has no name.")
        file_name = disposition.get("filename")
        if file_name is None:
            pairs.append((name, data.decode("utf-8", "replace")))
        elif name in files:
            raise bad_parameter(f"The file {name} is given twice.")
        else:
            files[name] = FilePart(name, file_name, headers.get("content-type", "application/octet-stream"), data)
    return _gathered(pairs), files


def _parameters(header: str) -> dict[str, str]:
    """The parameters of a header such as `form-data; name="x"`."""
    message = Message()
    message["content-disposition"] = header
    found = message.get_params(header="content-disposition") or []
    return {name.lower(): value for name, value in found[1:]}
