"""Meta's world: people, Pages, Instagram accounts, tokens, limits; and the two platforms that live in it.

One Graph serves both. `facebook` and `instagram` each bring endpoints (meta_http.Endpoint: method, kind of node, edge), say
what an id stands for (`find`), and register what can be uploaded to at rupload (`uploads`). Everything that changes with time
is computed from the sandbox clock when somebody looks.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, Protocol

from starlette.routing import BaseRoute

from orbyt_worker.sandbox.facebook_api import Facebook
from orbyt_worker.sandbox.instagram_api import Instagram
from orbyt_worker.sandbox.meta_endpoints import meta_endpoints
from orbyt_worker.sandbox.meta_http import Dispatcher, Endpoint
from orbyt_worker.sandbox.meta_model import (
    ALL_TASKS,
    FACEBOOK_SCOPES,
    HOST_PREFIXES,
    INSTAGRAM_SCOPES,
    App,
    CommitCall,
    InstagramAccount,
    InstagramHandle,
    InstagramState,
    Locale,
    Login,
    MetaConfig,
    Node,
    Page,
    PageHandle,
    Token,
    TokenState,
    UsageScope,
    UsageState,
    User,
)
from orbyt_worker.sandbox.operations import operation
from orbyt_worker.sandbox.rupload import UploadKind, UploadTarget, rupload_routes

if TYPE_CHECKING:
    from orbyt_worker.sandbox.state import Sandbox

__all__ = ["Meta", "MetaPart"]

SHORT_TOKEN = timedelta(hours=1)
LONG_TOKEN = timedelta(days=60)
DATA_ACCESS = timedelta(days=90)
PROBLEMS_KEPT_MAX = 1000
COMMITS_KEPT_MAX = 20_000


class MetaPart(Protocol):
    """What `facebook` and `instagram` are to the core."""

    def routes(self) -> list[BaseRoute]:
        """Routes beside the Graph hosts; usually none."""

    def endpoints(self) -> list[Endpoint]:
        """Everything it answers on the Graph hosts."""

    def find(self, node_id: str) -> Node | None:
        """What an id stands for, when it is one of its own (kinds beside "page" and "ig_user", which the core knows)."""

    def reset(self) -> None:
        """Back to an empty world."""


class Meta:
    """State and rules shared by both platforms. Thread-safe: one lock (re-entrant), never held across an await."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.lock = threading.RLock()
        self.config = MetaConfig()
        # Made once per process: workers hold these credentials across resets.
        self.app = App(_digits(16), secrets.token_hex(16), _digits(16), secrets.token_hex(16))
        self.users: dict[str, User] = {}
        self.pages: dict[str, Page] = {}
        self.accounts: dict[str, InstagramAccount] = {}
        self.tokens: dict[str, Token] = {}
        self.uploads: dict[tuple[UploadKind, str], UploadTarget] = {}
        self._usage: dict[tuple[UsageScope, str], UsageState] = {}
        self._commits: deque[CommitCall] = deque(maxlen=COMMITS_KEPT_MAX)
        self._problems: list[str] = []
        self._ids: set[str] = set()
        self.facebook = Facebook(self)
        self.instagram = Instagram(self)

    def routes(self) -> list[BaseRoute]:
        endpoints = [*meta_endpoints(), *self.facebook.endpoints(), *self.instagram.endpoints()]
        return [
            *rupload_routes(self),
            *self.facebook.routes(),
            *self.instagram.routes(),
            *Dispatcher(self, endpoints).routes(),
        ]

    def settings_env(self, base_url: str) -> dict[str, str]:
        """The worker's settings that point at this simulator."""
        return {
            "ORBYT_META_APP_ID": self.app.app_id,
            "ORBYT_META_APP_SECRET": self.app.secret,
            "ORBYT_META_GRAPH_URL": f"{base_url}/{HOST_PREFIXES['graph']}",
            "ORBYT_META_VIDEO_URL": f"{base_url}/{HOST_PREFIXES['video']}",
            "ORBYT_META_UPLOAD_URL": f"{base_url}/{HOST_PREFIXES['rupload']}",
            "ORBYT_META_DIALOG_URL": f"{base_url}/www.facebook.com",
            "ORBYT_INSTAGRAM_APP_ID": self.app.instagram_app_id,
            "ORBYT_INSTAGRAM_APP_SECRET": self.app.instagram_secret,
            "ORBYT_INSTAGRAM_GRAPH_URL": f"{base_url}/{HOST_PREFIXES['instagram']}",
            "ORBYT_INSTAGRAM_AUTHORIZE_URL": f"{base_url}/www.instagram.com/oauth/authorize",
            "ORBYT_INSTAGRAM_TOKEN_URL": f"{base_url}/api.instagram.com/oauth/access_token",
        }

    def reset(self) -> None:
        """Back to an empty world; the app stays, as workers already hold its secret."""
        with self.lock:
            self.config = MetaConfig()
            for held in (self.users, self.pages, self.accounts, self.tokens, self.uploads, self._usage):
                held.clear()
            self._commits.clear()
            self._problems.clear()
            self._ids.clear()
            self.facebook.reset()
            self.instagram.reset()

    # --- the control side: who exists ---------------------------------------------------------------------------

    @operation()
    def create_user(self, name: str = "Sandbox Person") -> User:
        """A person without any Page."""
        with self.lock:
            user = User(self.new_id("10"), name)
            self.users[user.user_id] = user
            return user

    @operation()
    def create_page(
        self,
        *,
        name: str = "Sandbox Page",
        user_id: str | None = None,
        tasks: tuple[str, ...] = ALL_TASKS,
        scopes: tuple[str, ...] = FACEBOOK_SCOPES,
    ) -> PageHandle:
        """A Page with a long-lived user token and a Page token without expiry; makes the person when none is named."""
        with self.lock:
            user = self.users[user_id] if user_id is not None else self.create_user()
            page = Page(self.new_id("1000"), name, "sandbox" + _digits(6), self.sandbox.clock.now())
            page.roles[user.user_id] = tuple(tasks)
            user.page_ids.append(page.page_id)
            self.pages[page.page_id] = page
            user_token = self.issue_user_token(user.user_id, scopes=scopes)
            page_token = self.issue_page_token(page.page_id, user.user_id, scopes=scopes)
            return PageHandle(page.page_id, name, user.user_id, page_token, user_token)

    @operation()
    def change_page(
        self, page_id: str, *, tasks: tuple[str, ...] | None = None, user_id: str | None = None, name: str | None = None
    ) -> Page:
        """Change the name, or the tasks of one person or of all; no tasks at all ends the role and the Page tokens of it."""
        with self.lock:
            page = self.pages[page_id]
            page.name = name if name is not None else page.name
            if tasks is not None:
                for person in [user_id] if user_id is not None else list(page.roles):
                    if tasks:
                        page.roles[person] = tuple(tasks)
                    else:
                        page.roles.pop(person, None)
                        for token in self.tokens.values():
                            if token.page_id == page_id and token.user_id == person and token.state == "valid":
                                token.state = "role_lost"
            return page

    @operation()
    def create_instagram(
        self,
        *,
        login: Login = "facebook",
        page_id: str | None = None,
        username: str | None = None,
        scopes: tuple[str, ...] | None = None,
        account_type: Literal["BUSINESS", "MEDIA_CREATOR"] = "BUSINESS",
    ) -> InstagramHandle:
        """A professional account. Login "facebook": linked to `page_id` (or a new Page), with Page and user token.

        Login "instagram": no Page; one 60-day token of graph.instagram.com.
        """
        with self.lock:
            name = username or "sandbox." + _digits(6)
            account = InstagramAccount(
                self.new_id("17841"), name, name, self.sandbox.clock.now(), account_type=account_type
            )
            self.accounts[account.instagram_id] = account
            if login == "instagram":
                account.logins = ("instagram",)
                value = self.issue_instagram_token(account.instagram_id, scopes=scopes or INSTAGRAM_SCOPES)
                return InstagramHandle(account.instagram_id, name, login, value)
            held = scopes or FACEBOOK_SCOPES
            if page_id is None:
                page_id = self.create_page(scopes=held).page_id
            page = self.pages[page_id]
            page.instagram_id, account.page_id = account.instagram_id, page_id
            user_id = next(iter(page.roles))
            return InstagramHandle(
                account.instagram_id, name, login, self.issue_page_token(page_id, user_id, scopes=held),
                self.issue_user_token(user_id, scopes=held), page_id, user_id,
            )  # fmt: skip

    @operation()
    def change_instagram(self, instagram_id: str, *, state: InstagramState) -> InstagramAccount:
        """Restrict, checkpoint or deactivate an account, or make it active again."""
        with self.lock:
            account = self.accounts[instagram_id]
            account.state = state
            return account

    # --- the control side: tokens -------------------------------------------------------------------------------

    @operation()
    def issue_user_token(
        self, user_id: str, *, scopes: tuple[str, ...] = FACEBOOK_SCOPES, long_lived: bool = True
    ) -> str:
        """A Facebook user token: 60 days, or one hour."""
        with self.lock:
            return self._issue("USER", "facebook", self.users[user_id].user_id, scopes, LONG_TOKEN if long_lived else SHORT_TOKEN).value  # fmt: skip

    @operation()
    def issue_page_token(
        self, page_id: str, user_id: str | None = None, *, scopes: tuple[str, ...] = FACEBOOK_SCOPES
    ) -> str:
        """A Page token without expiry date, in the name of a person with a role."""
        with self.lock:
            page = self.pages[page_id]
            token = self._issue("PAGE", "facebook", user_id or next(iter(page.roles)), scopes, None)
            token.page_id = page_id
            return token.value

    @operation()
    def issue_instagram_token(
        self, instagram_id: str, *, scopes: tuple[str, ...] = INSTAGRAM_SCOPES, long_lived: bool = True
    ) -> str:
        """An Instagram-Login token: 60 days, or one hour."""
        with self.lock:
            token = self._issue("IG", "instagram", None, scopes, LONG_TOKEN if long_lived else SHORT_TOKEN)
            token.instagram_id = self.accounts[instagram_id].instagram_id
            return token.value

    @operation()
    def kill_token(self, token: str, state: TokenState = "revoked") -> None:
        """One token is dead from now on, for this reason; "valid" revives it."""
        with self.lock:
            self.tokens[token].state = state

    @operation()
    def kill_user(self, user_id: str, state: TokenState = "password_changed") -> int:
        """All tokens of a person, Page tokens included, are dead from now on; returns how many."""
        with self.lock:
            hit = [token for token in self.tokens.values() if token.user_id == user_id]
            for token in hit:
                token.state = state
            return len(hit)

    @operation()
    def set_scopes(self, token: str, scopes: tuple[str, ...]) -> None:
        """What a token may do from now on, e.g. after a permission was withdrawn."""
        with self.lock:
            self.tokens[token].scopes = tuple(scopes)

    # --- the control side: limits and switches ------------------------------------------------------------------

    @operation()
    def set_usage(
        self,
        scope: UsageScope,
        percent: int,
        *,
        owner: str = "",
        minutes: int = 30,
        total_time: int | None = None,
        total_cputime: int | None = None,
    ) -> None:
        """Set a counter: "app", "user" (user id), "page" (X-Page-Usage), "pages" or "instagram" (business use case).

        At 100 calls are refused until `minutes` passed without one; a refused call starts the wait again.
        """
        if scope != "app" and not owner:
            raise ValueError("this counter belongs to somebody: name the owner")
        if not 0 <= percent <= 1000 or minutes < 0:
            raise ValueError("percent is between 0 and 1000, minutes are not negative")
        with self.lock:
            usage = UsageState(
                percent, percent if total_time is None else total_time, percent if total_cputime is None else total_cputime, minutes
            )  # fmt: skip
            if usage.highest >= 100:
                usage.blocked_until = self.sandbox.clock.now() + timedelta(minutes=minutes)
            self._usage[scope, owner] = usage

    @operation()
    def configure(
        self,
        *,
        require_proof: bool | None = None,
        proof_seconds_max: float | None = None,
        locale: Locale | None = None,
        missing_permission_code: Literal[200, 10] | None = None,
        foreign_page_code: Literal[100, 200] | None = None,
        error_data_as_text: bool | None = None,
        check_content: bool | None = None,
        usage_headers: bool | None = None,
        instagram_usage_names: bool | None = None,
        extend_blocks: bool | None = None,
        allow_private_urls: bool | None = None,
        download_seconds_max: float | None = None,
        chunk_bytes: int | None = None,
        processing_seconds: float | None = None,
        publishing_seconds: float | None = None,
        reels_per_day: int | None = None,
        reject_duplicates: bool | None = None,
        phase_word: Literal["complete", "completed"] | None = None,
        bytes_word: Literal["bytes_transferred", "bytes_transfered"] | None = None,
        errors_shape: Literal["list", "object"] | None = None,
        unpublished_word: Literal["draft", "not_published"] | None = None,
        reel_finish_post_id: bool | None = None,
        relative_permalinks: bool | None = None,
        numeric_story_ids: bool | None = None,
    ) -> MetaConfig:
        """Change switches; what is not named stays."""
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        with self.lock:
            self.config = replace(self.config, **given)
            return self.config

    # --- the control side: what happened ------------------------------------------------------------------------

    @operation(reads=True)
    def commits(self, name: str | None = None, account_id: str | None = None) -> list[CommitCall]:
        """Calls that made (or would again have made) something visible, processed ones only; `name` may be a prefix."""
        with self.lock:
            return [
                call
                for call in self._commits
                if (name is None or (call.name + ".").startswith(name + ".")) and account_id in (None, call.account_id)
            ]

    @operation(reads=True)
    def problems(self) -> list[str]:
        """What no careful client does: a second publish of one handle, an upload to a finished session."""
        with self.lock:
            return [*self._problems]

    # --- used by the parts (with the lock held) -----------------------------------------------------------------

    def find_token(self, value: str) -> Token | None:
        """A token by its value; the app token is made from the app's credentials."""
        if value and value == self.app.token:
            return Token(value, "APP", "facebook", None, (), self.sandbox.started_at)
        return self.tokens.get(value)

    def find(self, node_id: str) -> Node | None:
        """What an id in a path stands for."""
        if node_id in {"debug_token"}:
            return Node(node_id, node_id)
        if node_id in self.pages:
            return Node("page", node_id, node_id, "pages")
        if node_id in self.accounts:
            return Node("ig_user", node_id, node_id, "instagram")
        if node_id in self.users:
            return Node("user", node_id)
        return self.facebook.find(node_id) or self.instagram.find(node_id)

    def new_id(self, prefix: str = "") -> str:
        """A number nothing else has."""
        while True:
            made = prefix + _digits(16 - len(prefix))
            if made not in self._ids:
                self._ids.add(made)
                return made

    def note_commit(self, name: str, account_id: str, handle: str | None = None) -> None:
        """A call made something visible, or asked for it a second time."""
        self._commits.append(CommitCall(name, account_id, handle, self.sandbox.clock.now()))

    def note_problem(self, text: str) -> None:
        """The client did what no careful client does."""
        self._problems.append(text)
        del self._problems[:-PROBLEMS_KEPT_MAX]

    def usage_of(self, scope: UsageScope, owner: str) -> UsageState | None:
        """A counter, when it was ever set."""
        return self._usage.get((scope, owner))

    def clear_usage(self, scope: UsageScope, owner: str) -> None:
        """The block is over."""
        self._usage.pop((scope, owner), None)

    def now(self) -> datetime:
        """Sandbox time."""
        return self.sandbox.clock.now()

    def _issue(
        self,
        kind: Literal["USER", "PAGE", "IG"],
        login: Login,
        user_id: str | None,
        scopes: tuple[str, ...],
        life: timedelta | None,
    ) -> Token:
        now = self.sandbox.clock.now()
        prefix = "IGAA" if login == "instagram" else "EAAB"
        token = Token(
            prefix + secrets.token_hex(60), kind, login, user_id, tuple(scopes), now,
            expires_at=now + life if life is not None else None, data_access_expires_at=now + DATA_ACCESS,
        )  # fmt: skip
        self.tokens[token.value] = token
        return token


def _digits(count: int) -> str:
    """A random number of that many digits, without a leading zero."""
    return str(secrets.randbelow(9 * 10 ** (count - 1)) + 10 ** (count - 1))
