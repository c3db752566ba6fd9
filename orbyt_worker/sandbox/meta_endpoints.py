"""What both platforms share on the Graph: the person behind a token, and `debug_token`.

After Meta "Debug Token" and "Permissions". (The login pages and token exchanges are not here.)
"""

from __future__ import annotations

from typing import Any

from orbyt_worker.sandbox.meta_access import Call
from orbyt_worker.sandbox.meta_errors import bad_parameter, graph_error, unreadable
from orbyt_worker.sandbox.meta_http import Endpoint
from orbyt_worker.sandbox.meta_model import DEAD_TOKENS

_ASKABLE = (
    "pages_show_list", "pages_read_engagement", "pages_manage_posts", "pages_manage_engagement", "business_management",
    "instagram_basic", "instagram_content_publish", "instagram_manage_comments",
)  # fmt: skip


def meta_endpoints() -> list[Endpoint]:
    """GET /me for a user token, /me/permissions, /debug_token."""
    return [
        Endpoint("GET", "user", "", "meta.me", _me),
        Endpoint("GET", "user", "permissions", "meta.permissions", _permissions),
        Endpoint("GET", "debug_token", "", "meta.debug_token", _debug_token),
    ]


async def _me(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        user = call.meta.users[call.node_id]
        if call.token.user_id != user.user_id:
            raise unreadable(call.node_id, call.method)
        known = {"id": user.user_id, "name": user.name}
        asked = call.asked(set(known), set(known), "User")
        return {name: value for name, value in known.items() if name in asked}


async def _permissions(call: Call) -> dict[str, Any]:
    with call.meta.lock:
        if call.token.user_id != call.node_id:
            raise unreadable(call.node_id, call.method)
        held = call.token.scopes
        names = [*held, *(name for name in _ASKABLE if name not in held)]
        return {"data": [{"permission": name, "status": "granted" if name in held else "declined"} for name in names]}


async def _debug_token(call: Call) -> dict[str, Any]:
    """With the app token, or a token of the same person; a dead input token is an answer, not an error."""
    with call.meta.lock:
        value = call.need("input_token")
        found = call.meta.find_token(value)
        if call.token.kind not in {"APP", "USER"}:
            raise graph_error(100, "You must provide an app access token, or a user access token that is an owner or developer of the app")  # fmt: skip
        if found is None or found.login != "facebook" or found.kind == "APP":
            error = {"code": 190, "message": "Invalid OAuth access token - Cannot parse access token"}
            return {"data": {"error": error, "is_valid": False, "scopes": []}}
        if call.token.kind == "USER" and found.user_id != call.token.user_id:
            raise bad_parameter("The token does not belong to you.")
        state = found.state_at(call.meta.now())
        data: dict[str, Any] = {
            "app_id": call.meta.app.app_id,
            "type": found.kind,
            "application": call.meta.app.name,
            "data_access_expires_at": int(found.data_access_expires_at.timestamp())
            if found.data_access_expires_at
            else 0,
            "expires_at": int(found.expires_at.timestamp()) if found.expires_at is not None else 0,
            "is_valid": state == "valid",
            "issued_at": int(found.issued_at.timestamp()),
            "scopes": list(found.scopes),
            "granular_scopes": [{"scope": name} for name in found.scopes],
            "user_id": found.user_id,
        }
        if found.page_id is not None:
            data["profile_id"] = found.page_id
        if state != "valid":
            subcode, text = DEAD_TOKENS[state]
            data["error"] = {"code": 190, "subcode": subcode, "message": f"Error validating access token: {text}"}
        return {"data": data}
