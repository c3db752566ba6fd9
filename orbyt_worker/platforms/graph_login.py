"""Facebook Login, which Facebook Pages and linked Instagram accounts share: from a code to everything the person offers.

The order matters. The code is exchanged once; its token lives for an hour or two and is exchanged for the long-lived one before
anything else, because a page token asked for with a short-lived user token is short-lived too. Then: what was really granted, who
it was, and the pages, over all cursors and all business portfolios. Pages of a portfolio are missing from the personal list unless
`business_management` was granted (getopenpost/openpost#216). A list that breaks off is marked as incomplete, never cut silently.

No cursor address is followed: `paging.next` holds the token and could lead anywhere. Only the cursor is taken out of it.

A check asks `debug_token` with the app's own token: a dead token is an answer there. An error of that call is about the app, and
disconnects nobody.

Sources: Meta, Manually Build a Login Flow; Facebook Login for Business; Long-Lived Access Tokens; Debug Token; Requesting & Revoking
Permissions; Authentication Versus Data Access (https://developers.facebook.com/docs/facebook-login/, read 2026-09).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account
from orbyt_worker.platforms.base import ApiResponse, Credentials, Http, TokenGrant
from orbyt_worker.platforms.connector import AccountCheck, ConnectRequest, LoginApp
from orbyt_worker.platforms.graph_api import (
    FACEBOOK_LOGIN,
    READ_SECONDS,
    USER_TOKEN,
    CallPhase,
    failure_of,
    graph_url,
    is_error,
    next_cursor,
    proof,
)
from orbyt_worker.platforms.logins import (
    EXPIRY_SECONDS_MAX,
    asked_twice,
    exchange_code,
    identifier,
    mapping,
    name_of,
    picture_of,
    require_scopes,
    seconds_of,
    secret,
    words,
)
from orbyt_worker.settings import Settings

EXCHANGE = "meta.oauth.exchange"
LONG_LIVED = "meta.oauth.extend"
DEBUG = "meta.debug_token"
PERMISSIONS = "meta.permissions"
REVOKE = "meta.revoke"
ACCOUNTS = "meta.accounts"
BUSINESSES = "meta.businesses"

SYSTEM_USER = "SYSTEM_USER"
BUSINESS_MANAGEMENT = "business_management"
# Publishing needs one of these tasks. The last two are what pages of the New Pages Experience list (PyPI facebook-business 26.0.3).
CREATE_TASKS = frozenset({"CREATE_CONTENT", "MANAGE", "PROFILE_PLUS_CREATE_CONTENT", "PROFILE_PLUS_FULL_CONTROL"})
# Not `tasks`: a person's tasks are a field of their own list of pages, not of a page.
PAGE_FIELDS = "id,name,username,access_token,picture"
INSTAGRAM_FIELDS = "instagram_business_account{id,username,name,profile_picture_url}"

ROWS_PER_ANSWER = 100
ANSWERS_PER_LIST_MAX = 50
# Somebody is waiting, and what was found so far is worth more than the rest: no further answer is asked for after this.
LISTS_SECONDS_MAX = 60.0
LIST_SECONDS = 15.0
PAGES_MAX = 2_000
TARGETS_MAX = 10_000

log: structlog.stdlib.BoundLogger = structlog.get_logger("orbyt.graph")


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls: one platform's side of Facebook Login, with the app's credentials."""

    http: Http
    config: Settings
    platform: str
    now: Callable[[], datetime]
    app_id: str
    app_secret: str = field(repr=False)

    @property
    def app_token(self) -> str:
        return f"{self.app_id}|{self.app_secret}"


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What debug_token says. `targets`: scope -> the pages or accounts ticked for it; a scope that is not in it covers all."""

    is_valid: bool
    code: ErrorCode | None = None
    detail: str = ""
    kind: str | None = None
    user_id: str | None = None
    profile_id: str | None = None
    scopes: tuple[str, ...] | None = None
    targets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    expires_in_seconds: float | None = None
    # Zero or less: it has ended. None: it never does.
    data_access_in_seconds: float | None = None

    def not_ticked(self, scopes: Iterable[str], ids: Iterable[str | None]) -> list[str]:
        """Those of `scopes` that the person granted for other pages or accounts only. `ids`: all that stand for this one."""
        known = {each for each in ids if each is not None}
        return [each for each in scopes if each in self.targets and not self.targets[each] & known]


@dataclass(frozen=True, slots=True)
class UserLogin:
    """A finished login: a long-lived token and what it is good for."""

    token: str = field(repr=False)
    expires_in_seconds: float | None
    user_id: str
    granted: tuple[str, ...]
    facts: TokenFacts

    @property
    def data_access_expires_in_seconds(self) -> float | None:
        return self.facts.data_access_in_seconds


@dataclass(frozen=True, slots=True)
class LinkedInstagram:
    """The professional account linked to a page. A personal one, or one linked in the Accounts Center only, is not shown."""

    instagram_id: str
    username: str | None
    name: str | None
    picture_url: str | None


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page of the person's. `tasks` None: the list it came from does not say."""

    page_id: str
    name: str
    username: str | None
    picture_url: str | None
    token: str | None = field(default=None, repr=False)
    tasks: tuple[str, ...] | None = None
    instagram: LinkedInstagram | None = None


@dataclass(frozen=True, slots=True)
class FoundPages:
    """`complete` False: a list could not be read to its end."""

    pages: Sequence[FoundPage]
    complete: bool


def client(http: Http, config: Settings, platform: str, now: Callable[[], datetime]) -> Client:
    """Raises Failure(platform_not_configured)."""
    if config.meta_app_id is None or config.meta_app_secret is None:
        raise Failure(ErrorCode.PLATFORM_NOT_CONFIGURED, "the Meta app id or secret is not set")
    return Client(http, config, platform, now, config.meta_app_id, config.meta_app_secret.get_secret_value())


def login_app(config: Settings, scopes: Iterable[str]) -> LoginApp | None:
    """Facebook Login, if this worker has an app for it. A configuration replaces the scopes (Facebook Login for Business).

    `auth_type=rerequest`: without it a permission that was declined once is never asked for again, and every further login
    fails for the same reason.
    """
    if config.meta_app_id is None or config.meta_app_secret is None:
        return None
    url = f"{config.meta_dialog_url.rstrip('/')}/{config.meta_api_version}/dialog/oauth"
    if config.meta_config_id is not None:
        return LoginApp(FACEBOOK_LOGIN, config.meta_app_id, url, (), {"config_id": config.meta_config_id})
    asked = tuple(dict.fromkeys(scopes))
    return LoginApp(FACEBOOK_LOGIN, config.meta_app_id, url, asked, {"auth_type": "rerequest"}, scope_separator=",")


# Logging in ------------------------------------------------------------------------------------------------------------


async def log_in(who: Client, request: ConnectRequest, needed: Mapping[str, str]) -> UserLogin:
    """Code → token → long-lived token → rights → identity. `needed`: see `logins.require_scopes`. Raises Failure(connect_… | …)."""
    short = await _exchange(who, request)
    token, expires_in = await _long_lived(who, short)
    facts = await asked_twice(lambda: inspect(who, token))
    if not facts.is_valid or facts.user_id is None:
        raise Failure(ErrorCode.CONNECT_PLATFORM_REFUSED, f"{DEBUG}: the new token is not valid")
    granted = facts.scopes or ()
    # The token of a system user has the permissions of its configuration, and nobody who could decline one.
    if facts.kind != SYSTEM_USER:
        # What the person decided, and what this token carries, may differ: earlier decisions are remembered.
        decided = await _granted(who, token)
        granted = tuple(each for each in decided if facts.scopes is None or each in facts.scopes)
    require_scopes(needed, granted)
    return UserLogin(token, expires_in or facts.expires_in_seconds, facts.user_id, granted, facts)


async def _exchange(who: Client, request: ConnectRequest) -> str:
    """The short-lived token. As POST, which the endpoint takes as well: code and secret then stand in no address."""
    form = {
        "client_id": who.app_id,
        "client_secret": who.app_secret,
        "redirect_uri": request.redirect_uri,
        "code": request.code,
    }
    url = graph_url(who.config, FACEBOOK_LOGIN, "oauth/access_token")
    token, _ = _token_of(who, EXCHANGE, await exchange_code(who.http, EXCHANGE, url, form))
    return token


async def _long_lived(who: Client, short: str) -> tuple[str, float | None]:
    """(long-lived token, seconds it lives if the answer says so). Not single-use, so a lost answer is asked for again."""
    form = {
        "grant_type": "fb_exchange_token",
        "client_id": who.app_id,
        "client_secret": who.app_secret,
        "fb_exchange_token": short,
    }
    url = graph_url(who.config, FACEBOOK_LOGIN, "oauth/access_token")

    async def ask() -> tuple[str, float | None]:
        response = await who.http.call(LONG_LIVED, "POST", url, timeout_seconds=READ_SECONDS, form=form)
        return _token_of(who, LONG_LIVED, response)

    try:
        return await asked_twice(ask)
    except Failure:
        if who.config.meta_config_id is None:
            raise
        # A configuration may hand out the token of a system user, which is long-lived from the start.
        facts = await inspect(who, short)
        if not (facts.is_valid and facts.kind == SYSTEM_USER):
            raise
        return short, facts.expires_in_seconds


def _token_of(who: Client, name: str, response: ApiResponse) -> tuple[str, float | None]:
    if is_error(response):
        raise failure_of(who.platform, name, response, who.now(), phase=CallPhase.EXCHANGE)
    answer = mapping(response.json)
    token = secret(answer.get("access_token"))
    if token is None:
        raise Failure(
            ErrorCode.CONNECT_PLATFORM_REFUSED, f"{name}: HTTP {response.status} without a token", http_status=200
        )
    return token, seconds_of(answer.get("expires_in"))


async def _granted(who: Client, token: str) -> tuple[str, ...]:
    reader = _Lists(who, token, who.now() + timedelta(seconds=LISTS_SECONDS_MAX))
    rows = await reader.rows(PERMISSIONS, "me/permissions")
    if reader.failure is not None:
        raise reader.failure
    given = [row.get("permission") for row in rows if row.get("status") == "granted"]
    return words(given) or ()


async def inspect(who: Client, token: str) -> TokenFacts:
    """Ask Meta about a token, with the app's own. Raises Failure when that cannot be told now."""
    response = await who.http.call(
        DEBUG,
        "GET",
        graph_url(who.config, FACEBOOK_LOGIN, "debug_token"),
        timeout_seconds=READ_SECONDS,
        params={"input_token": token, **proof(who.config, FACEBOOK_LOGIN, who.app_token, who.now())},
        headers={"authorization": f"Bearer {who.app_token}"},
    )
    if is_error(response):
        failure = failure_of(who.platform, DEBUG, response, who.now(), phase=CallPhase.READ)
        if catalog.entry(failure.code).needs_reauth:
            # It is the app's token that was refused, not the one asked about.
            raise Failure(
                ErrorCode.META_APP_SIGNATURE_REFUSED,
                failure.detail,
                platform_code=failure.platform_code,
                platform_subcode=failure.platform_subcode,
                http_status=failure.http_status,
            )
        raise failure
    data = mapping(mapping(response.json).get("data"))
    if not isinstance(data.get("is_valid"), bool):
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{DEBUG}: no word about the token", http_status=200)
    return _facts(who, data)


def _facts(who: Client, data: Mapping[str, Any]) -> TokenFacts:
    now = who.now().timestamp()
    is_valid = bool(data["is_valid"])
    code, detail = (None, "") if is_valid else _why_dead(who, data.get("error"))
    expires_in = _seconds_left(data.get("expires_at"), now)
    return TokenFacts(
        is_valid,
        code,
        detail,
        kind=name_of(data.get("type")),
        user_id=identifier(data.get("user_id")),
        profile_id=identifier(data.get("profile_id")),
        scopes=words(data.get("scopes")),
        targets=_targets(data.get("granular_scopes")),
        expires_in_seconds=expires_in,
        data_access_in_seconds=_seconds_left(data.get("data_access_expires_at"), now),
    )


def _why_dead(who: Client, error: Any) -> tuple[ErrorCode, str]:
    """Why a token is not valid. Raises Failure if Meta says something that is no reason to give the connection up."""
    if not isinstance(error, dict):
        return ErrorCode.META_TOKEN_INVALID, f"{DEBUG}: not valid"
    # The same numbers as everywhere, but for the name of the subcode.
    envelope = {"error": {**error, "error_subcode": error.get("subcode", error.get("error_subcode"))}}
    failure = failure_of(who.platform, DEBUG, ApiResponse(200, {}, envelope), who.now(), phase=CallPhase.READ)
    if not catalog.entry(failure.code).needs_reauth:
        raise failure
    return failure.code, failure.detail


def _targets(value: Any) -> dict[str, frozenset[str]]:
    """Missing or empty targets mean everything; so does what cannot be read."""
    found: dict[str, frozenset[str]] = {}
    for each in value if isinstance(value, list) else []:
        scope, ids = mapping(each).get("scope"), mapping(each).get("target_ids")
        if isinstance(scope, str) and isinstance(ids, list) and ids:
            found[scope] = frozenset(known for one in ids[:TARGETS_MAX] if (known := identifier(one)) is not None)
    return found


def _seconds_left(value: Any, now: float) -> float | None:
    """From a Unix time; 0 is never, and so is one beyond all measure. What has ended gives zero or less."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < now + EXPIRY_SECONDS_MAX:
        return None
    return float(value) - now


# Pages -----------------------------------------------------------------------------------------------------------------


async def find_pages(who: Client, login: UserLogin, *, instagram: bool = False) -> FoundPages:
    """Every page of the person's, once. `instagram`: with the account linked to it, which needs instagram_basic.

    Raises Failure if there is nothing to show because of it: the personal list fails before its first page.
    """
    fields = f"{PAGE_FIELDS},{INSTAGRAM_FIELDS}" if instagram else PAGE_FIELDS
    reader = _Lists(who, login.token, who.now() + timedelta(seconds=LISTS_SECONDS_MAX))
    found: dict[str, FoundPage] = {}
    rows = await reader.rows(ACCOUNTS, "me/accounts", f"{fields},tasks")
    if not rows and reader.failure is not None:
        raise reader.failure
    _add(found, rows)
    if BUSINESS_MANAGEMENT in login.granted:
        for portfolio in await reader.rows(BUSINESSES, "me/businesses", "id,name"):
            portfolio_id = identifier(portfolio.get("id"))
            for edge in ("owned_pages", "client_pages") if portfolio_id is not None else ():
                _add(found, await reader.rows(f"{BUSINESSES}.{edge}", f"{portfolio_id}/{edge}", fields))
    pages = list(found.values())[:PAGES_MAX]
    return FoundPages(pages, reader.complete and len(found) <= PAGES_MAX)


@dataclass(slots=True)
class _Lists:
    """Reads lists one after the other. What was read before a failure counts; `complete` remembers that there was one."""

    who: Client
    token: str = field(repr=False)
    give_up_at: datetime
    complete: bool = True
    failure: Failure | None = None

    async def rows(self, name: str, path: str, fields: str | None = None) -> list[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = []
        asked = {"fields": fields, "limit": str(ROWS_PER_ANSWER)} if fields is not None else {}
        cursors: set[str] = set()
        for _ in range(ANSWERS_PER_LIST_MAX):
            if self.who.now() >= self.give_up_at:
                break
            try:
                data, after, more = await asked_twice(lambda: self._answer(name, path, asked))
            except Failure as failure:
                self.failure, self.complete = failure, False
                log.warning("connect.list_failed", name=name, rows=len(rows), error_code=str(failure.code))
                return rows
            rows += [each for each in data if isinstance(each, dict)]
            if not more:
                return rows
            if after is None or after in cursors:
                break
            cursors.add(after)
            asked["after"] = after
        self.complete = False
        log.warning("connect.list_cut", name=name, rows=len(rows))
        return rows

    async def _answer(self, name: str, path: str, asked: Mapping[str, str]) -> tuple[list[Any], str | None, bool]:
        """(rows, the cursor of what follows, whether anything follows)."""
        answer = await call(self.who, name, "GET", path, self.token, asked, LIST_SECONDS)
        data, paging = answer.get("data"), answer.get("paging")
        if not isinstance(data, list):
            raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{name}: a list without data", http_status=200)
        return data, next_cursor(paging), isinstance(mapping(paging).get("next"), str)


def _add(found: dict[str, FoundPage], rows: Iterable[Mapping[str, Any]]) -> None:
    """The same page may be in several lists; what the first one lacks the next may have."""
    for row in rows:
        page = _page(row)
        if page is None:
            continue
        known = found.get(page.page_id, page)
        found[page.page_id] = FoundPage(
            page.page_id,
            known.name,
            known.username or page.username,
            known.picture_url or page.picture_url,
            known.token or page.token,
            known.tasks if known.tasks is not None else page.tasks,
            known.instagram or page.instagram,
        )


def _page(row: Mapping[str, Any]) -> FoundPage | None:
    page_id = identifier(row.get("id"))
    if page_id is None:
        return None
    linked = mapping(row.get("instagram_business_account"))
    instagram_id = identifier(linked.get("id"))
    return FoundPage(
        page_id,
        name_of(row.get("name")) or page_id,
        name_of(row.get("username")),
        picture_of(mapping(mapping(row.get("picture")).get("data")).get("url")),
        secret(row.get("access_token")),
        words(row.get("tasks")) or () if isinstance(row.get("tasks"), list) else None,
        None
        if instagram_id is None
        else LinkedInstagram(
            instagram_id,
            name_of(linked.get("username")),
            name_of(linked.get("name")),
            picture_of(linked.get("profile_picture_url")),
        ),
    )


def why_not(login: UserLogin, page: FoundPage, required: Iterable[str]) -> ErrorCode | None:
    """Why nothing could be published with a page, or None. A page that was not ticked may lack its token only for that."""
    ids = (page.page_id, page.instagram.instagram_id if page.instagram is not None else None)
    if login.facts.not_ticked(required, ids):
        return ErrorCode.CONNECT_SCOPES_MISSING
    if page.token is None:
        return ErrorCode.CONNECT_PAGE_TOKEN_MISSING
    if page.tasks is not None and not CREATE_TASKS & set(page.tasks):
        return ErrorCode.CONNECT_ROLE_MISSING
    return None


def grant_of(login: UserLogin, page: FoundPage) -> TokenGrant | None:
    """The page's token, which has no end, and the person's, which has one: reads use it first, and only it can revoke."""
    if page.token is None:
        return None
    return TokenGrant(
        page.token, None, scopes=login.granted, more={USER_TOKEN: (login.token, login.expires_in_seconds)}
    )


# Afterwards ------------------------------------------------------------------------------------------------------------


async def check(who: Client, account: Account, credentials: Credentials, required: Sequence[str]) -> AccountCheck:
    """How a connection of Facebook Login stands. A right that is missing is named, and for which page or account."""
    if credentials.access_token is None:
        return AccountCheck(ErrorCode.ACCOUNT_NEEDS_REAUTH, "no token is stored")
    facts = await inspect(who, credentials.access_token)
    if not facts.is_valid:
        return AccountCheck(facts.code, facts.detail)
    lacking = [each for each in required if facts.scopes is not None and each not in facts.scopes]
    lacking += facts.not_ticked(required, (account.platform_account_id, facts.profile_id))
    detail = f"{', '.join(dict.fromkeys(lacking))} for {name_of(account.name) or account.platform_account_id}"
    return AccountCheck(
        ErrorCode.META_PERMISSION_MISSING if lacking else None,
        detail if lacking else "",
        facts.scopes,
        facts.expires_in_seconds,
        facts.data_access_in_seconds,
    )


async def revoke(who: Client, credentials: Credentials) -> None:
    """Take back everything this person granted to the app: all their tokens end, those of all their pages included.

    Only the person's own token can do that. When it is gone or dead there is nothing left to say it with.
    """
    token = credentials.more.get(USER_TOKEN)
    if token is None:
        return
    try:
        answer = await call(who, REVOKE, "DELETE", "me/permissions", token, {})
    except Failure as failure:
        if failure.platform_code in DEAD_TOKEN_CODES:
            return
        raise
    if answer.get("success") is not True:
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{REVOKE}: no word of success", http_status=200)


# Graph, Handle Errors: the token is expired, revoked or otherwise no more.
DEAD_TOKEN_CODES = frozenset({"190", "102"})


async def call(
    who: Client,
    name: str,
    method: str,
    path: str,
    token: str,
    params: Mapping[str, str],
    timeout_seconds: float = READ_SECONDS,
) -> Mapping[str, Any]:
    """One Graph call with a token of Facebook Login. Raises Failure for an error at any status and for what is no object."""
    response = await who.http.call(
        name,
        method,
        graph_url(who.config, FACEBOOK_LOGIN, path),
        timeout_seconds=timeout_seconds,
        params={**params, **proof(who.config, FACEBOOK_LOGIN, token, who.now())},
        headers={"authorization": f"Bearer {token}"},
    )
    if is_error(response):
        raise failure_of(who.platform, name, response, who.now(), phase=CallPhase.READ)
    if response.json is True:
        return {"success": True}
    if not isinstance(response.json, dict):
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{name}: not an object", http_status=response.status)
    return response.json
