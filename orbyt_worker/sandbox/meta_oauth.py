"""graph.facebook.com/{version}/oauth/access_token: codes into tokens, short-lived tokens into long-lived ones.

After Meta "Manually Build a Login Flow" (2026-03), "Long-Lived Access Tokens" and "Facebook Login for Business" (2026-05). Codes of
refusals are not documented: 36007-36009 and code 1 for a wrong secret are as reported by users of Meta's SDKs.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from orbyt_worker.sandbox.login_model import LoginCode
from orbyt_worker.sandbox.meta_access import Call, check_throttle, check_version, identify
from orbyt_worker.sandbox.meta_errors import GraphError, bad_parameter, graph_error, render
from orbyt_worker.sandbox.meta_http import meta_fault, parse_body
from orbyt_worker.sandbox.meta_model import HOST_PREFIXES, Token
from orbyt_worker.sandbox.meta_world import LONG_TOKEN
from orbyt_worker.sandbox.wire import FORM_BYTES_MAX, Cut, read_body, serve

if TYPE_CHECKING:
    from orbyt_worker.sandbox.meta import Meta

_ROUTES = {"fb_exchange_token": "meta.oauth.extend", "client_credentials": "meta.oauth.app_token"}
_OWN_GRANT = "client_credentials"


def oauth_routes(meta: Meta) -> list[BaseRoute]:
    """GET and POST, before the paths of nodes on the same host."""

    async def endpoint(request: Request) -> Response:
        try:
            call: Call | GraphError = await _read(meta, request)
        except ClientDisconnect:
            return Cut(meta.sandbox.connections)
        except GraphError as error:
            call = error

        async def handle(handled: Request) -> Response:
            return _handled(meta, handled, call)

        grant = "" if isinstance(call, GraphError) else call.fields.get("grant_type", "")
        return await serve(meta.sandbox, request, _ROUTES.get(grant, "meta.oauth.exchange"), handle)

    path = f"/{HOST_PREFIXES['graph']}/{{version}}/oauth/access_token"
    built = Route(path, endpoint, methods=["GET", "POST"])
    built.methods = {"GET", "POST"}
    return [built]


async def _read(meta: Meta, request: Request) -> Call:
    fields = dict(request.query_params)
    if request.method == "POST":
        body = await read_body(request, FORM_BYTES_MAX)
        if body is None:
            raise graph_error(1, "The request is too large.", status=413)
        more, _ = parse_body(body, request.headers.get("content-type", ""), "graph")
        fields |= more
    version = request.path_params["version"]
    return Call(meta, request, request.method, "graph", version, "oauth", "access_token", None, fields)


def _handled(meta: Meta, request: Request, call: Call | GraphError) -> Response:
    try:
        if isinstance(call, GraphError):
            raise call
        fault = request.state.fault
        struck = meta_fault(fault, call)
        if struck is not None and not fault.process:
            raise struck
        with meta.lock:
            answer = _token(meta, call)
        if struck is not None:
            raise struck
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})
    except GraphError as error:
        return render(error, meta.config)


def _token(meta: Meta, call: Call) -> dict[str, Any]:
    check_version(meta, call.version)
    _check_client(meta, call)
    call._token = meta.find_token(meta.app.token)
    check_throttle(meta, call)
    grant = call.text("grant_type")
    if grant == _OWN_GRANT:
        return {"access_token": meta.app.token, "token_type": "bearer"}
    if grant == "fb_exchange_token":
        return _extend(meta, call)
    if grant not in {None, "authorization_code"}:
        raise bad_parameter(f"Invalid grant_type: {grant}")
    return _exchange(meta, call)


def _check_client(meta: Meta, call: Call) -> None:
    if call.text("client_id") is None:
        raise graph_error(101, "Missing client_id parameter.")
    if call.fields["client_id"] != meta.app.app_id:
        raise graph_error(101, "Error validating application. Cannot get application info due to a system error.")
    if call.text("client_secret") is None:
        raise graph_error(1, "Missing client_secret parameter.")
    if not hmac.compare_digest(call.fields["client_secret"].encode(), meta.app.secret.encode()):
        raise graph_error(1, "Error validating client secret.")


def _exchange(meta: Meta, call: Call) -> dict[str, Any]:
    value = call.text("code")
    if value is None:
        raise bad_parameter("The parameter code is required.")
    code = meta.login.codes.get(value)
    if code is None:
        raise bad_parameter("Invalid verification code format.")
    if code.used:
        raise bad_parameter("This authorization code has been used.", subcode=36009)
    if meta.now() >= code.expires_at:
        raise bad_parameter("This authorization code has expired.", subcode=36007)
    if call.fields.get("redirect_uri") != code.redirect_uri:
        raise bad_parameter(
            "Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request",
            subcode=36008,
        )
    code.used = True
    return _answer(meta, _issued(meta, code))


def _issued(meta: Meta, code: LoginCode) -> Token:
    configuration = code.configuration
    if configuration is not None and meta.users[code.owner_id].client_business_id is not None:
        life = LONG_TOKEN if configuration.sixty_days else None
        return meta.issue("SYSTEM_USER", "facebook", code.owner_id, code.scopes, life, shared=code.shared)
    life = timedelta(seconds=meta.login.config.short_token_seconds)
    return meta.issue("USER", "facebook", code.owner_id, code.scopes, life, long_lived=False, shared=code.shared)


def _extend(meta: Meta, call: Call) -> dict[str, Any]:
    value = call.text("fb_exchange_token")
    if value is None:
        raise bad_parameter("The parameter fb_exchange_token is required.")
    given = identify(meta, "graph", value)
    if given.kind != "USER":
        raise bad_parameter("Only a user access token can be exchanged.")
    made = meta.issue("USER", "facebook", given.user_id, given.scopes, LONG_TOKEN, shared=given.shared)
    # Exchanging is not activity of the person: access to data ends when it would have.
    made.data_access_expires_at = given.data_access_expires_at
    if given.long_lived and not meta.login.config.long_exchange_extends:
        made.expires_at = given.expires_at
    return _answer(meta, made)


def _answer(meta: Meta, token: Token) -> dict[str, Any]:
    answer: dict[str, Any] = {"access_token": token.value, "token_type": "bearer"}
    if token.expires_at is not None and meta.login.config.expires_in_given:
        answer["expires_in"] = int((token.expires_at - meta.now()).total_seconds())
    return answer
