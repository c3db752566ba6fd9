"""What both platforms share on the Graph: the person behind a token, their permissions, Pages and portfolios, and `debug_token`.

After Meta "Debug Token", "Requesting & Revoking Permissions" (2026-03), "User Accounts" and "Business owned/client Pages". Pages of
portfolios are hidden from /me/accounts without business_management (getopenpost/openpost 216, 217; inovector/mixpost); only what the
person ticked is listed.
"""

from __future__ import annotations

from typing import Any

from orbyt_worker.sandbox.meta_access import Call
from orbyt_worker.sandbox.meta_errors import bad_parameter, graph_error, unreadable
from orbyt_worker.sandbox.meta_http import Answer, Endpoint
from orbyt_worker.sandbox.meta_lists import nested, paged
from orbyt_worker.sandbox.meta_model import (
    DEAD_TOKENS,
    FACEBOOK_SCOPES,
    Business,
    Ownership,
    Page,
    Token,
    User,
)

_PERSONS_TOKENS = frozenset({"USER", "SYSTEM_USER"})
_PAGE_FIELDS = {
    "id", "name", "username", "link", "category", "category_list", "access_token", "tasks", "picture",
    "instagram_business_account", "is_published",
}  # fmt: skip
_LISTED_BY_DEFAULT = {"access_token", "category", "category_list", "name", "id", "tasks"}
_ACCOUNT_FIELDS = {"id", "username", "name", "profile_picture_url"}
# `tasks` belongs to a person's list; lists of a portfolio are of plain Pages.
_PORTFOLIO_FIELDS = _PAGE_FIELDS - {"tasks"}
_PORTFOLIO_DEFAULT = {"name", "id", "access_token", "category", "category_list"}


def meta_endpoints() -> list[Endpoint]:
    """GET /me and its edges for user tokens, portfolios, /debug_token."""
    return [
        Endpoint("GET", "user", "", "meta.me", _me),
        Endpoint("GET", "user", "permissions", "meta.permissions", _permissions),
        Endpoint("DELETE", "user", "permissions", "meta.revoke", _revoke),
        Endpoint("GET", "user", "accounts", "meta.accounts", _accounts),
        Endpoint("GET", "user", "businesses", "meta.businesses", _businesses),
        Endpoint("GET", "business", "", "meta.business", _business),
        Endpoint("GET", "business", "owned_pages", "meta.businesses.owned_pages", _owned_pages),
        Endpoint("GET", "business", "client_pages", "meta.businesses.client_pages", _client_pages),
        Endpoint("GET", "debug_token", "", "meta.debug_token", _debug_token),
    ]


# --- the person ---------------------------------------------------------------------------------------------------


def _person(call: Call) -> User:
    """The person of the path, asked for with a token of their own (a Page token is not)."""
    user = call.meta.users[call.node_id]
    if call.token.kind not in _PERSONS_TOKENS or call.token.user_id != user.user_id:
        raise unreadable(call.node_id, call.method)
    return user


async def _me(call: Call) -> Answer:
    with call.meta.lock:
        user = call.meta.users[call.node_id]
        if call.token.user_id != user.user_id:
            raise unreadable(call.node_id, call.method)
        known = {
            "id": user.user_id,
            "name": user.name,
            "picture": _picture(call, user.user_id),
            "client_business_id": user.client_business_id,
        }
        asked = call.asked(set(known), {"id", "name"}, "User")
        return {name: value for name, value in known.items() if name in asked and value is not None}


async def _permissions(call: Call) -> Answer:
    with call.meta.lock:
        if call.token.user_id != call.node_id:
            raise unreadable(call.node_id, call.method)
        held, decided = call.token.scopes, call.meta.users[call.node_id].permissions
        rows = dict.fromkeys(held, "granted")
        rows |= {name: status for name, status in decided.items() if name not in held}
        rows |= {name: "declined" for name in FACEBOOK_SCOPES if name not in rows}
        return {"data": [{"permission": name, "status": status} for name, status in rows.items()]}


async def _revoke(call: Call) -> Answer:
    """One permission, or everything: the app is then a stranger, and all tokens of the person are dead, Page tokens included."""
    with call.meta.lock:
        user = call.meta.users[call.node_id]
        own = call.token.kind in _PERSONS_TOKENS and call.token.user_id == user.user_id
        if not own and call.token.kind != "APP":
            raise unreadable(call.node_id, call.method)
        if call.leaf:
            if call.leaf not in call.token.scopes and call.leaf not in user.permissions:
                raise bad_parameter(f"The permission {call.leaf} was not granted.")
            call.meta.decide_permissions(user.user_id, {call.leaf: "declined"})
        else:
            call.meta.kill_user(user.user_id, "app_removed")
        return {"success": True} if call.meta.login.config.revoke_answer == "object" else True


# --- Pages --------------------------------------------------------------------------------------------------------


async def _accounts(call: Call) -> Answer:
    """Pages the person has a role on and ticked. Without pages_show_list the list is empty, which is no error."""
    with call.meta.lock:
        user = _person(call)
        mine = call.meta.pages_of(user.user_id) if "pages_show_list" in call.token.scopes else []
        manages = "business_management" in call.token.scopes
        in_portfolios = manages and call.meta.login.config.portfolio_pages == "listed"
        # A system user has nothing but what its portfolio gave it.
        shown = [
            page for page in mine if page.business_id is None or in_portfolios or user.client_business_id is not None
        ]
        return _page_list(call, shown, call.asked(_PAGE_FIELDS, _LISTED_BY_DEFAULT, "Page"))


async def _businesses(call: Call) -> Answer:
    with call.meta.lock:
        user = _person(call)
        call.require("business_management")
        mine = [
            business
            for business in call.meta.businesses.values()
            if user.user_id in business.user_ids or user.client_business_id == business.business_id
        ]
        call.asked({"id", "name"}, {"id", "name"}, "Business")
        return paged(call, [(b.business_id, {"id": b.business_id, "name": b.name}) for b in mine])


async def _business(call: Call) -> Answer:
    with call.meta.lock:
        business = _portfolio(call)
        known = {"id": business.business_id, "name": business.name}
        asked = call.asked(set(known), set(known), "Business")
        return {name: value for name, value in known.items() if name in asked}


async def _owned_pages(call: Call) -> Answer:
    return _pages_of_portfolio(call, "owned")


async def _client_pages(call: Call) -> Answer:
    return _pages_of_portfolio(call, "client")


def _pages_of_portfolio(call: Call, ownership: Ownership) -> Answer:
    with call.meta.lock:
        business = _portfolio(call)
        call.require("pages_show_list")
        found = [
            page
            for page in call.meta.pages.values()
            if page.business_id == business.business_id and page.ownership == ownership
        ]
        return _page_list(call, found, call.asked(_PORTFOLIO_FIELDS, _PORTFOLIO_DEFAULT, "Page"))


def _portfolio(call: Call) -> Business:
    """The portfolio of the path, for a person of it."""
    business = call.meta.businesses[call.node_id]
    user = call.meta.users.get(call.token.user_id or "")
    inside = user is not None and (user.user_id in business.user_ids or user.client_business_id == business.business_id)
    if call.token.kind not in _PERSONS_TOKENS or not inside:
        raise unreadable(call.node_id, call.method)
    call.require("business_management")
    return business


def _page_list(call: Call, pages: list[Page], asked: set[str]) -> Answer:
    shared = [page for page in pages if call.token.shared.has_page(page.page_id)]
    return paged(call, [(page.page_id, _page_row(call, page, asked)) for page in shared])


def _page_row(call: Call, page: Page, asked: set[str]) -> dict[str, Any]:
    token = call.meta.derive_page_token(page, call.token) if "access_token" in asked else None
    row = {
        "access_token": None if token is None else token.value,
        "category": "Brand",
        "category_list": [{"id": "2201", "name": "Brand"}],
        "name": page.name,
        "id": page.page_id,
        "tasks": list(page.roles.get(call.token.user_id or "", ())),
        "username": page.username,
        "link": f"https://www.facebook.com/{page.page_id}",
        "is_published": True,
        "picture": _picture(call, page.page_id),
        "instagram_business_account": _linked(call, page),
    }
    return {name: value for name, value in row.items() if name in asked and value is not None}


def _linked(call: Call, page: Page) -> dict[str, Any] | None:
    """The professional account of a Page; absent when there is none, it was not ticked, or instagram_basic is missing."""
    asked = nested(call, "instagram_business_account", _ACCOUNT_FIELDS, {"id"}, "IGUser")
    account = call.meta.instagram_of(page)
    if account is None or "instagram_basic" not in call.token.scopes:
        return None
    if not call.token.shared.has_instagram(account.instagram_id):
        return None
    known = {
        "id": account.instagram_id,
        "username": account.username,
        "name": account.name,
        "profile_picture_url": f"https://scontent.cdninstagram.com/v/{account.username}.jpg",
    }
    return {name: value for name, value in known.items() if name in asked}


def _picture(call: Call, owner_id: str) -> dict[str, Any]:
    known = {
        "url": f"https://scontent.xx.fbcdn.net/v/{owner_id}.jpg",
        "width": 50,
        "height": 50,
        "is_silhouette": False,
    }
    asked = nested(call, "picture", set(known), set(known), "ProfilePictureSource")
    return {"data": {name: value for name, value in known.items() if name in asked}}


# --- tokens -------------------------------------------------------------------------------------------------------


async def _debug_token(call: Call) -> Answer:
    """With the app token, or a token of the same person; a dead input token is an answer, not an error."""
    with call.meta.lock:
        value = call.need("input_token")
        found = call.meta.find_token(value)
        if call.token.kind not in {"APP", *_PERSONS_TOKENS}:
            raise graph_error(100, "You must provide an app access token, or a user access token that is an owner or developer of the app")  # fmt: skip
        if found is None or found.login != "facebook" or found.kind == "APP":
            error = {"code": 190, "message": "Invalid OAuth access token - Cannot parse access token"}
            return {"data": {"error": error, "is_valid": False, "scopes": []}}
        if call.token.kind != "APP" and found.user_id != call.token.user_id:
            raise bad_parameter("The token does not belong to you.")
        return {"data": _debugged(call, found)}


def _debugged(call: Call, found: Token) -> dict[str, Any]:
    state, app_id = found.state_at(call.meta.now()), call.meta.app.app_id
    until, access_until = found.expires_at, found.data_access_expires_at
    data: dict[str, Any] = {
        "app_id": int(app_id) if call.meta.login.config.app_id_as_number else app_id,
        "type": found.kind,
        "application": call.meta.app.name,
        "data_access_expires_at": int(access_until.timestamp()) if access_until is not None else 0,
        "expires_at": int(until.timestamp()) if until is not None else 0,
        "is_valid": state == "valid",
        "issued_at": int(found.issued_at.timestamp()),
        "scopes": list(found.scopes),
        "granular_scopes": [_granular(name, found) for name in found.scopes if name != "public_profile"],
        "user_id": found.user_id,
    }
    if found.page_id is not None:
        data["profile_id"] = found.page_id
    if state != "valid":
        subcode, text = DEAD_TOKENS[state]
        data["error"] = {"code": 190, "subcode": subcode, "message": f"Error validating access token: {text}"}
    return data


def _granular(scope: str, token: Token) -> dict[str, Any]:
    """One permission with what was ticked for it; no `target_ids` means everything."""
    ticked = token.shared.instagram_ids if scope.startswith("instagram_") else token.shared.page_ids
    if ticked is None or not scope.startswith(("pages_", "instagram_")):
        return {"scope": scope}
    return {"scope": scope, "target_ids": sorted(ticked)}
