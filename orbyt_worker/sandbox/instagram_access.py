"""Which token may do what with an Instagram account: directly after Instagram Login, through the linked Page otherwise.

After the permission tables of Meta "Content Publishing", "IG User Media" and "IG Media Comments" (September 2026 state).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from orbyt_worker.sandbox.meta_access import Call
from orbyt_worker.sandbox.meta_errors import graph_error, unreadable
from orbyt_worker.sandbox.meta_model import CREATE_TASKS, InstagramAccount, Token

if TYPE_CHECKING:
    from orbyt_worker.sandbox.meta import Meta

Need = Literal["read", "publish", "comment"]

_SCOPES: dict[str, dict[Need, tuple[str, ...]]] = {
    "facebook": {
        "read": ("instagram_basic", "pages_read_engagement"),
        "publish": ("instagram_basic", "instagram_content_publish", "pages_read_engagement"),
        "comment": ("instagram_basic", "instagram_manage_comments", "pages_read_engagement"),
    },
    "instagram": {
        "read": ("instagram_business_basic",),
        "publish": ("instagram_business_basic", "instagram_business_content_publish"),
        "comment": ("instagram_business_basic", "instagram_business_manage_comments"),
    },
}


def authorize(call: Call, instagram_id: str, need: Need) -> InstagramAccount:
    """The account, if the token of the call may do that with it; 100/33 when it may not even see it.

    Both the Page token and the user token of a person with a role on the linked Page work, for writes too.
    """
    token, account = call.token, call.meta.accounts.get(instagram_id)
    tasks = tasks_on(call.meta, token, instagram_id)
    if account is None or tasks is None:
        raise unreadable(call.node_id, call.method)
    if need != "read" and not CREATE_TASKS & tasks:
        raise graph_error(200, "The user does not have the CREATE_CONTENT task on the linked Page.")
    call.require(*_SCOPES[token.login][need])
    return account


def tasks_on(meta: Meta, token: Token, instagram_id: str) -> frozenset[str] | None:
    """What the person behind a token may do with an account, in tasks of a Page; None: the token is not for it."""
    account = meta.accounts.get(instagram_id)
    if account is None or token.login not in account.logins:
        return None
    if token.login == "instagram":
        return CREATE_TASKS if token.instagram_id == instagram_id else None
    page = meta.pages.get(account.page_id or "")
    if page is None or (token.kind == "PAGE" and token.page_id != page.page_id):
        return None
    if not token.shared.has_page(page.page_id) or not token.shared.has_instagram(instagram_id):
        return None
    tasks = page.roles.get(token.user_id or "")
    return None if tasks is None else frozenset(tasks)
