"""Connecting Facebook Pages. The login itself is in `platforms/graph_login.py`; here its pages become candidates.

The permissions of pages are exempt from Meta's data access window (Authentication Versus Data Access, read 2026-09), so a connected
page has no date at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account
from orbyt_worker.platforms import graph_login
from orbyt_worker.platforms.base import Credentials, Http
from orbyt_worker.platforms.connector import AccountCheck, Candidate, ConnectRequest, ConnectResult, LoginApp
from orbyt_worker.platforms.facebook.rules import RULES
from orbyt_worker.platforms.logins import as_connect_failure, utc_now, words
from orbyt_worker.settings import Settings

PLATFORM = RULES.platform
# What each permission that publishing needs is for.
NEEDED = {
    "pages_show_list": "listing Pages",
    "pages_read_engagement": "checking that a post is up",
    "pages_manage_posts": "posting",
}


@dataclass(frozen=True, slots=True)
class FacebookConnector:
    """`connector.Connector` for Facebook Pages. `now` is for dates in answers and for signatures."""

    now: Callable[[], datetime] = utc_now

    def apps(self, config: Settings) -> Sequence[LoginApp]:
        """Facebook Login."""
        app = graph_login.login_app(config, (*RULES.required_scopes, *(words(config.facebook_extra_scopes) or ())))
        return () if app is None else (app,)

    async def connect(self, http: Http, config: Settings, request: ConnectRequest) -> ConnectResult:
        """See `connector.Connector`. Every page is a candidate, also one that cannot be used: it says why."""
        try:
            who = graph_login.client(http, config, PLATFORM, self.now)
            login = await graph_login.log_in(who, request, NEEDED)
            found = await graph_login.find_pages(who, login)
        except Failure as failure:
            raise as_connect_failure(failure) from None
        if not found.pages:
            raise Failure(ErrorCode.CONNECT_NO_PAGES if found.complete else ErrorCode.CONNECT_LIST_INCOMPLETE)
        return ConnectResult([_candidate(login, each) for each in found.pages], login.user_id, found.complete)

    async def check(self, http: Http, config: Settings, account: Account, credentials: Credentials) -> AccountCheck:
        """See `graph_login.check`."""
        who = graph_login.client(http, config, PLATFORM, self.now)
        found = await graph_login.check(who, account, credentials, RULES.required_scopes)
        return replace(found, data_access_expires_in_seconds=None)

    async def revoke(self, http: Http, config: Settings, account: Account, credentials: Credentials) -> None:
        """See `graph_login.revoke`: it ends the other pages of the same person as well."""
        await graph_login.revoke(graph_login.client(http, config, PLATFORM, self.now), credentials)


def _candidate(login: graph_login.UserLogin, page: graph_login.FoundPage) -> Candidate:
    code = graph_login.why_not(login, page, RULES.required_scopes)
    return Candidate(
        page.page_id,
        page.name,
        handle=page.username,
        picture_url=page.picture_url,
        scopes=login.granted,
        grant=graph_login.grant_of(login, page) if code is None else None,
        code=code,
    )
