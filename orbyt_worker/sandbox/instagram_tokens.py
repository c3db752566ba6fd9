"""graph.instagram.com/access_token and /refresh_access_token: 60 days, and 60 more, for an Instagram-Login token.

After Meta "Access Token" and "Refresh Access Token" (2026-03). Exchanged is a short-lived token; refreshed is a long-lived one that is at
least 24 hours old, not expired, and still carries instagram_business_basic. The old one goes on working until its own end, as nothing
says otherwise. Codes other than 190 are not documented.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox.meta_access import Call, check_throttle, identify, presented_token
from orbyt_worker.sandbox.meta_errors import GraphError, bad_parameter, graph_error, render
from orbyt_worker.sandbox.meta_http import meta_fault
from orbyt_worker.sandbox.meta_model import HOST_PREFIXES, Token
from orbyt_worker.sandbox.wire import Handler, route

if TYPE_CHECKING:
    from orbyt_worker.sandbox.meta import Meta

EXTEND_PATH = "access_token"
REFRESH_PATH = "refresh_access_token"
AGE_SECONDS_MIN = 24 * 3600


def token_routes(meta: Meta) -> list[BaseRoute]:
    """The unversioned calls, before the versioned paths of their host."""
    host = HOST_PREFIXES["instagram"]
    refresh, extend = _answering(meta, REFRESH_PATH, _refresh), _answering(meta, EXTEND_PATH, _extend)
    return [
        route(meta.sandbox, "GET", f"/{host}/{REFRESH_PATH}", "instagram.token.refresh", refresh),
        route(meta.sandbox, "GET", f"/{host}/{EXTEND_PATH}", "instagram.oauth.extend", extend),
    ]


def _answering(meta: Meta, path: str, work: Callable[[Meta, Call], dict[str, Any]]) -> Handler:
    async def handle(request: Request) -> Response:
        call = Call(meta, request, "GET", "instagram", "", path, "", None, dict(request.query_params))
        fault = request.state.fault
        struck = meta_fault(fault, call)
        try:
            if struck is not None and not fault.process:
                raise struck
            with meta.lock:
                answer = work(meta, call)
            if struck is not None:
                raise struck
            return JSONResponse(answer)
        except GraphError as error:
            return render(error, meta.config)

    return handle


def _extend(meta: Meta, call: Call) -> dict[str, Any]:
    if call.text("grant_type") != "ig_exchange_token":
        raise bad_parameter("Param grant_type must be ig_exchange_token.")
    if not hmac.compare_digest(call.need("client_secret").encode(), meta.app.instagram_secret.encode()):
        raise graph_error(1, "Error validating client secret.")
    token = _accepted(meta, call)
    if token.long_lived:
        raise bad_parameter("Only short-lived tokens can be exchanged.")
    return _longer(meta, token)


def _refresh(meta: Meta, call: Call) -> dict[str, Any]:
    if call.text("grant_type") != "ig_refresh_token":
        raise bad_parameter("Param grant_type must be ig_refresh_token.")
    token = _accepted(meta, call)
    if "instagram_business_basic" not in token.scopes:
        raise graph_error(10, "The permission instagram_business_basic is missing.")
    if not token.long_lived:
        raise bad_parameter("Only long-lived tokens can be refreshed.")
    if (meta.now() - token.issued_at).total_seconds() < AGE_SECONDS_MIN:
        raise bad_parameter("The access token is less than 24 hours old.")
    return {**_longer(meta, token), "permissions": ",".join(token.scopes)}


def _accepted(meta: Meta, call: Call) -> Token:
    token = identify(meta, "instagram", presented_token(call.request, call.fields))
    call._token = token
    check_throttle(meta, call)
    return token


def _longer(meta: Meta, token: Token) -> dict[str, Any]:
    assert token.instagram_id is not None
    made = meta.tokens[meta.issue_instagram_token(token.instagram_id, scopes=token.scopes)]
    assert made.expires_at is not None
    left = int((made.expires_at - meta.now()).total_seconds())
    return {"access_token": made.value, "token_type": "bearer", "expires_in": left}
