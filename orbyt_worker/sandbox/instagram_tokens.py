"""graph.instagram.com/refresh_access_token: 60 more days for an Instagram-Login token. After Meta "Refresh Access Token" (2026-03).

The token must be at least 24 hours old, not expired, and still carry instagram_business_basic. The old one goes on working until its own
end, as nothing says otherwise. Codes other than 190 are not documented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox.meta_access import Call, check_throttle, identify, presented_token
from orbyt_worker.sandbox.meta_errors import GraphError, bad_parameter, graph_error, render
from orbyt_worker.sandbox.meta_http import meta_fault
from orbyt_worker.sandbox.meta_model import HOST_PREFIXES
from orbyt_worker.sandbox.wire import route

if TYPE_CHECKING:
    from orbyt_worker.sandbox.meta import Meta

PATH = "refresh_access_token"
AGE_SECONDS_MIN = 24 * 3600
SHORT_LIVED_SECONDS = 3600


def token_routes(meta: Meta) -> list[BaseRoute]:
    """The unversioned call, before the versioned paths of its host."""

    async def refresh(request: Request) -> Response:
        call = Call(
            meta, request, "GET", "instagram", "", PATH, "", None, dict(request.query_params), _token=None
        )  # fmt: skip
        fault = request.state.fault
        struck = meta_fault(fault, call)
        try:
            if struck is not None and not fault.process:
                raise struck
            answer = _refresh(meta, call)
            if struck is not None:
                raise struck
            return JSONResponse(answer)
        except GraphError as error:
            return render(error, meta.config)

    path = f"/{HOST_PREFIXES['instagram']}/{PATH}"
    return [route(meta.sandbox, "GET", path, "instagram.token.refresh", refresh)]


def _refresh(meta: Meta, call: Call) -> dict[str, Any]:
    with meta.lock:
        if call.text("grant_type") != "ig_refresh_token":
            raise bad_parameter("Param grant_type must be ig_refresh_token.")
        token = identify(meta, "instagram", presented_token(call.request, call.fields))
        call._token = token
        check_throttle(meta, call)
        assert token.instagram_id is not None
        assert token.expires_at is not None
        if "instagram_business_basic" not in token.scopes:
            raise graph_error(10, "The permission instagram_business_basic is missing.")
        if (token.expires_at - token.issued_at).total_seconds() <= SHORT_LIVED_SECONDS:
            raise bad_parameter("Only long-lived tokens can be refreshed.")
        if (meta.now() - token.issued_at).total_seconds() < AGE_SECONDS_MIN:
            raise bad_parameter("The access token is less than 24 hours old.")
        value = meta.issue_instagram_token(token.instagram_id, scopes=token.scopes)
        made = meta.tokens[value]
        assert made.expires_at is not None
        return {
            "access_token": value,
            "token_type": "bearer",
            "expires_in": int((made.expires_at - meta.now()).total_seconds()),
            "permissions": ",".join(token.scopes),
        }
