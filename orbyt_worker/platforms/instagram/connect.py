"""Connecting Instagram accounts, in both ways.

Facebook Login: the professional accounts linked to the person's pages; tokens are those of the page (`platforms/graph_login.py`).
Instagram Login: the one account that logged in, with a token of 60 days that is renewed (`login.py`).

Instagram Login answers in two shapes, `{"data": [{…}]}` as documented and the bare object as seen in use; both are read, at the
exchange and at /me. `user_id` there is the account that posts belong to (17841…), `id` the account as this app knows it. Which of the
two the exchange gives is not documented, so /me decides.

Sources: Meta, Business Login for Instagram; Access Token and Refresh Access Token references
(https://developers.facebook.com/docs/instagram-platform/instagram-api-with-instagram-login/business-login, read 2026-09).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account
from orbyt_worker.platforms import graph_login
from orbyt_worker.platforms.base import ApiResponse, Credentials, Http, TokenGrant
from orbyt_worker.platforms.connector import AccountCheck, Candidate, ConnectRequest, ConnectResult, LoginApp
from orbyt_worker.platforms.graph_api import (
    FACEBOOK_LOGIN,
    INSTAGRAM_LOGIN,
    READ_SECONDS,
    CallPhase,
    failure_of,
    graph_url,
    is_error,
)
from orbyt_worker.platforms.instagram.rules import RULES, SCOPES_FACEBOOK, SCOPES_INSTAGRAM
from orbyt_worker.platforms.logins import (
    as_connect_failure,
    asked_twice,
    exchange_code,
    identifier,
    mapping,
    name_of,
    picture_of,
    require_scopes,
    seconds_of,
    secret,
    utc_now,
    words,
)
from orbyt_worker.settings import Settings

PLATFORM = RULES.platform
EXCHANGE = "instagram.oauth.exchange"
LONG_LIVED = "instagram.oauth.extend"
ME = "instagram.me"
LINKED = "instagram.account"

# What each permission that publishing needs is for, by login.
NEEDED_FACEBOOK = {
    "instagram_basic": "reading the account and its posts",
    "instagram_content_publish": "posting",
    "pages_read_engagement": "reaching the account through its Page",
    "pages_show_list": "listing the Pages that accounts belong to",
}
NEEDED_INSTAGRAM = {
    "instagram_business_basic": "reading the account and its posts",
    "instagram_business_content_publish": "posting",
}

ME_FIELDS = "id,user_id,username,name,account_type,profile_picture_url"
PERSONAL = "PERSONAL"
# A fragment Meta appends to the address the person comes back to. It is no part of the code.
FRAGMENT = "#_"


@dataclass(frozen=True, slots=True)
class InstagramConnector:
    """`connector.Connector` for Instagram. `now` is for dates in answers and for signatures."""

    now: Callable[[], datetime] = utc_now

    def apps(self, config: Settings) -> Sequence[LoginApp]:
        """Facebook Login and Instagram Login, each if this worker has an app for it."""
        scopes = (*SCOPES_FACEBOOK, *(words(config.instagram_extra_scopes) or ()))
        by_page = graph_login.login_app(config, scopes)
        apps = [] if by_page is None else [by_page]
        if config.instagram_app_id is not None and config.instagram_app_secret is not None:
            apps.append(
                LoginApp(
                    INSTAGRAM_LOGIN,
                    config.instagram_app_id,
                    config.instagram_authorize_url,
                    (*SCOPES_INSTAGRAM, *(words(config.instagram_login_extra_scopes) or ())),
                    scope_separator=",",
                )
            )
        return apps

    async def connect(self, http: Http, config: Settings, request: ConnectRequest) -> ConnectResult:
        """See `connector.Connector`."""
        try:
            if request.login == INSTAGRAM_LOGIN:
                return await self._connect_account(http, config, request)
            who = graph_login.client(http, config, PLATFORM, self.now)
            login = await graph_login.log_in(who, request, NEEDED_FACEBOOK)
            found = await graph_login.find_pages(who, login, instagram=True)
        except Failure as failure:
            raise as_connect_failure(failure) from None
        candidates = [each for page in found.pages if (each := _linked(login, page)) is not None]
        if not candidates:
            nothing = ErrorCode.CONNECT_NO_INSTAGRAM if found.pages else ErrorCode.CONNECT_NO_PAGES
            raise Failure(nothing if found.complete else ErrorCode.CONNECT_LIST_INCOMPLETE)
        return ConnectResult(candidates, login.user_id, found.complete)

    async def check(self, http: Http, config: Settings, account: Account, credentials: Credentials) -> AccountCheck:
        """Facebook Login: see `graph_login.check`. Instagram Login has nothing to ask about a token but its use."""
        if credentials.login == INSTAGRAM_LOGIN:
            return await self._check_account(http, config, account, credentials)
        who = graph_login.client(http, config, PLATFORM, self.now)
        found = await graph_login.check(who, account, credentials, SCOPES_FACEBOOK)
        ended = found.data_access_expires_in_seconds is not None and found.data_access_expires_in_seconds <= 0
        if found.code is not None or not ended or credentials.access_token is None:
            return found
        # 90 days after the person last used the app the rights of Instagram lapse, unlike those of pages. A date is not a refusal.
        try:
            await graph_login.call(
                who, LINKED, "GET", account.platform_account_id, credentials.access_token, {"fields": "id"}
            )
        except Failure as failure:
            if not catalog.entry(failure.code).needs_reauth:
                raise
            return replace(found, code=failure.code, detail=f"{failure.detail}; the access to data has ended")
        return found

    async def revoke(self, http: Http, config: Settings, account: Account, credentials: Credentials) -> None:
        """Facebook Login: see `graph_login.revoke`. Instagram Login documents no call for it: only the person can, in Instagram's settings."""
        if credentials.login == FACEBOOK_LOGIN:
            await graph_login.revoke(graph_login.client(http, config, PLATFORM, self.now), credentials)

    # Instagram Login ---------------------------------------------------------------------------------------------------

    async def _connect_account(self, http: Http, config: Settings, request: ConnectRequest) -> ConnectResult:
        short, granted = await self._exchange(http, config, request)
        require_scopes(NEEDED_INSTAGRAM, granted)
        token, expires_in = await asked_twice(lambda: self._long_lived(http, config, short))
        me = await asked_twice(lambda: self._me(http, config, token))
        instagram_id = identifier(me.get("user_id"))
        if instagram_id is None:
            raise Failure(ErrorCode.CONNECT_PLATFORM_REFUSED, f"{ME}: no account", http_status=200)
        kind = me.get("account_type")
        personal = isinstance(kind, str) and kind.upper() == PERSONAL
        candidate = Candidate(
            instagram_id,
            name_of(me.get("name")) or name_of(me.get("username")) or instagram_id,
            handle=name_of(me.get("username")),
            picture_url=picture_of(me.get("profile_picture_url")),
            scopes=granted,
            grant=None if personal else TokenGrant(token, expires_in, scopes=granted),
            code=ErrorCode.CONNECT_NOT_PROFESSIONAL if personal else None,
            token_expires_in_seconds=expires_in,
        )
        return ConnectResult([candidate], identifier(me.get("id")) or instagram_id)

    async def _exchange(self, http: Http, config: Settings, request: ConnectRequest) -> tuple[str, tuple[str, ...]]:
        """(token of one hour, what was granted)."""
        app_id, app_secret = _app(config)
        form = {
            "client_id": app_id,
            "client_secret": app_secret,
            "grant_type": "authorization_code",
            "redirect_uri": request.redirect_uri,
            "code": request.code.removesuffix(FRAGMENT),
        }
        response = await exchange_code(http, EXCHANGE, config.instagram_token_url, form)
        answer = self._answer(EXCHANGE, response, CallPhase.EXCHANGE)
        token = secret(answer.get("access_token"))
        if token is None:
            raise Failure(ErrorCode.CONNECT_PLATFORM_REFUSED, f"{EXCHANGE}: HTTP 200 without a token", http_status=200)
        # Older answers do not say what was granted; then it is what was asked for, as far as anybody knows.
        said = answer.get("permissions")
        return token, SCOPES_INSTAGRAM if said is None else words(said) or ()

    async def _long_lived(self, http: Http, config: Settings, short: str) -> tuple[str, float | None]:
        _, app_secret = _app(config)
        response = await http.call(
            LONG_LIVED,
            "GET",
            f"{config.instagram_graph_url.rstrip('/')}/access_token",
            timeout_seconds=READ_SECONDS,
            params={"grant_type": "ig_exchange_token", "client_secret": app_secret},
            headers={"authorization": f"Bearer {short}"},
        )
        answer = self._answer(LONG_LIVED, response, CallPhase.READ)
        token = secret(answer.get("access_token"))
        if token is None:
            raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{LONG_LIVED}: HTTP 200 without a token", http_status=200)
        return token, seconds_of(answer.get("expires_in"))

    async def _me(self, http: Http, config: Settings, token: str) -> Mapping[str, Any]:
        response = await http.call(
            ME,
            "GET",
            graph_url(config, INSTAGRAM_LOGIN, "me"),
            timeout_seconds=READ_SECONDS,
            params={"fields": ME_FIELDS},
            headers={"authorization": f"Bearer {token}"},
        )
        return self._answer(ME, response, CallPhase.READ)

    def _answer(self, name: str, response: ApiResponse, phase: CallPhase) -> Mapping[str, Any]:
        """The object of an answer, in either shape. Raises Failure."""
        if is_error(response):
            raise failure_of(PLATFORM, name, response, self.now(), phase=phase)
        answer = mapping(response.json)
        rows = answer.get("data")
        found = mapping(rows[0]) if isinstance(rows, list) and rows else answer
        if not found:
            raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{name}: nothing in it", http_status=response.status)
        return found

    async def _check_account(
        self, http: Http, config: Settings, account: Account, credentials: Credentials
    ) -> AccountCheck:
        if credentials.access_token is None:
            return AccountCheck(ErrorCode.ACCOUNT_NEEDS_REAUTH, "no token is stored")
        try:
            me = await self._me(http, config, credentials.access_token)
        except Failure as failure:
            if not catalog.entry(failure.code).needs_reauth:
                raise
            return AccountCheck(failure.code, failure.detail)
        found = identifier(me.get("user_id"))
        if found is not None and found != account.platform_account_id:
            return AccountCheck(ErrorCode.ACCOUNT_WRONG_CHANNEL, "the token is for another account")
        return AccountCheck()


def _app(config: Settings) -> tuple[str, str]:
    if config.instagram_app_id is None or config.instagram_app_secret is None:
        raise Failure(ErrorCode.PLATFORM_NOT_CONFIGURED, "the Instagram app id or secret is not set")
    return config.instagram_app_id, config.instagram_app_secret.get_secret_value()


def _linked(login: graph_login.UserLogin, page: graph_login.FoundPage) -> Candidate | None:
    """The account linked to a page. Publishing goes through the page: its token and the person's role on it count."""
    account = page.instagram
    if account is None:
        return None
    code = graph_login.why_not(login, page, SCOPES_FACEBOOK)
    return Candidate(
        account.instagram_id,
        account.name or account.username or account.instagram_id,
        handle=account.username,
        picture_url=account.picture_url,
        scopes=login.granted,
        grant=graph_login.grant_of(login, page) if code is None else None,
        code=code,
        data_access_expires_in_seconds=login.data_access_expires_in_seconds,
    )
