"""Who may call what: tokens, scopes, channels, parameters; shared by reading, editing and uploading."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from orbyt_worker.sandbox.faults import GOOGLE_KINDS
from orbyt_worker.sandbox.google_model import SCOPE_FORCE_SSL, SCOPE_FULL, SCOPE_READONLY, SCOPE_UPLOAD, AccessToken
from orbyt_worker.sandbox.youtube_rules import api_error, limit_error

if TYPE_CHECKING:
    from orbyt_worker.sandbox.youtube import YouTube
    from orbyt_worker.sandbox.youtube_model import Channel

_STANDARD_QUERY = frozenset({"fields", "prettyPrint", "quotaUser", "alt", "key", "part"})
_EVERYTHING = frozenset({SCOPE_FULL, SCOPE_FORCE_SSL})
_SCOPES: dict[str, frozenset[str]] = {
    "youtube.videos.insert": _EVERYTHING | {SCOPE_UPLOAD},
    "youtube.thumbnails.set": _EVERYTHING | {SCOPE_UPLOAD},
    "youtube.channels.list": _EVERYTHING | {SCOPE_READONLY},
    "youtube.videos.list": _EVERYTHING | {SCOPE_READONLY},
    "youtube.playlistItems.list": _EVERYTHING | {SCOPE_READONLY},
    "youtube.playlists.list": _EVERYTHING | {SCOPE_READONLY},
    "youtube.videoCategories.list": _EVERYTHING | {SCOPE_READONLY},
    "youtube.videos.update": _EVERYTHING,
    "youtube.videos.delete": _EVERYTHING,
    "youtube.playlistItems.insert": _EVERYTHING,
    "youtube.captions.list": frozenset({SCOPE_FORCE_SSL}),
    "youtube.captions.insert": frozenset({SCOPE_FORCE_SSL}),
}
# "Quota Calculator"; what is not named costs one unit.
_UNITS = {
    "youtube.thumbnails.set": 50, "youtube.videos.update": 50, "youtube.videos.delete": 50, "youtube.playlistItems.insert": 50,
    "youtube.captions.list": 50, "youtube.captions.insert": 400,
}  # fmt: skip


def enter(youtube: YouTube, request: Request, allowed: set[str]) -> AccessToken:
    """Token, quota, injected limits, scope and parameters, in this order. With the lock held."""
    name = request.state.route
    access = identify(youtube, request)
    youtube.charge_units(_UNITS.get(name, 1))
    check_limit_fault(request)
    require_scope(access, name)
    check_query(request, allowed)
    youtube.settle()
    return access


def identify(youtube: YouTube, request: Request) -> AccessToken:
    """Who is calling, or 401."""
    found = youtube.sandbox.google.authenticate(request.headers.get("authorization", ""))
    if isinstance(found, AccessToken):
        return found
    reason, text = ("required", "Login Required.") if found == "missing" else ("authError", "Invalid Credentials")
    challenge = 'Bearer realm="https://accounts.google.com/"' + (
        "" if found == "missing" else ', error="invalid_token"'
    )
    raise api_error(
        401, reason, text, location="Authorization", location_type="header", headers={"WWW-Authenticate": challenge}
    )


def require_scope(access: AccessToken, route_name: str) -> None:
    """403 unless the token carries one of the scopes of the method."""
    wanted = _SCOPES[route_name]
    if wanted & set(access.scopes):
        return
    challenge = (
        f'Bearer realm="https://accounts.google.com/", error="insufficient_scope", scope="{" ".join(sorted(wanted))}"'
    )
    raise api_error(
        403,
        "insufficientPermissions",
        "Request had insufficient authentication scopes.",
        headers={"WWW-Authenticate": challenge},
    )


def require_channel(youtube: YouTube, access: AccessToken) -> Channel:
    """The channel of the grant, or why there is none."""
    channel = youtube.channels.get(access.channel_id or "")
    if channel is None:
        raise api_error(
            401,
            "youtubeSignupRequired",
            "Unauthorized",
            domain="youtube.header",
            location="Authorization",
            location_type="header",
        )
    refuse_inactive(channel)
    return channel


def refuse_inactive(channel: Channel) -> None:
    """403 for a closed or suspended channel."""
    if channel.state == "closed":
        raise api_error(
            403, "authenticatedUserAccountClosed", "The YouTube account of the authenticated user is closed."
        )
    if channel.state == "suspended":
        raise api_error(
            403, "authenticatedUserAccountSuspended", "The YouTube account of the authenticated user is suspended."
        )


def check_limit_fault(request: Request) -> None:
    """Raise the limit answer a fault asked for."""
    fault = getattr(request.state, "fault", None)
    if fault is not None and fault.kind in GOOGLE_KINDS and fault.kind != "token_expired":
        raise limit_error(fault.kind)


def check_query(request: Request, allowed: set[str]) -> None:
    """400 for parameters the method does not know, or given twice."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in allowed and name not in _STANDARD_QUERY:
            raise api_error(400, "unexpectedParameter", f"Unexpected parameter: {name}", domain="youtube.parameter", location=name, location_type="parameter")  # fmt: skip
        if names.count(name) > 1:
            raise api_error(400, "invalidParameter", f"{name} is given twice.", domain="youtube.parameter", location=name, location_type="parameter")  # fmt: skip


def json_body(request: Request, raw: bytes | None) -> Any:
    """The body as JSON; refuses another content type and broken JSON."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise api_error(
            400, "badRequest", "The body must be application/json.", location="Content-Type", location_type="header"
        )
    try:
        return json.loads(raw or b"")
    except ValueError:
        raise api_error(400, "parseError", "Parse Error") from None
