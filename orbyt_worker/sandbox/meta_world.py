"""Who exists at Meta, and what they hold: people, portfolios, Pages, Instagram accounts, tokens.

After Meta "Long-Lived Access Tokens" and "Facebook Login for Business". What a person shares with the app is one record: a
later login replaces the earlier choice for all tokens of that person (reported by several publishers; not in the docs).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from orbyt_worker.sandbox.meta_model import (
    ALL_TASKS,
    FACEBOOK_SCOPES,
    INSTAGRAM_SCOPES,
    AccountType,
    App,
    Business,
    InstagramAccount,
    InstagramHandle,
    InstagramState,
    Login,
    Ownership,
    Page,
    PageHandle,
    PermissionStatus,
    Shared,
    Token,
    TokenKind,
    TokenState,
    User,
)
from orbyt_worker.sandbox.operations import operation

if TYPE_CHECKING:
    from orbyt_worker.sandbox.state import Sandbox

SHORT_TOKEN = timedelta(hours=1)
LONG_TOKEN = timedelta(days=60)
DATA_ACCESS = timedelta(days=90)
PAGES_AT_ONCE_MAX = 1000


class World:
    """State and its control side. Thread-safe: one lock (re-entrant), never held across an await."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.lock = threading.RLock()
        # Made once per process: workers hold these credentials across resets.
        self.app = App(_digits(16), secrets.token_hex(16), _digits(16), secrets.token_hex(16))
        self.users: dict[str, User] = {}
        self.businesses: dict[str, Business] = {}
        self.pages: dict[str, Page] = {}
        self.accounts: dict[str, InstagramAccount] = {}
        self.tokens: dict[str, Token] = {}
        # Page tokens that lists gave out, by Page and the user token of the list.
        self._derived: dict[tuple[str, str], Token] = {}
        self._ids: set[str] = set()

    def empty(self) -> None:
        """Nobody is left; the app stays, as workers already hold its secret."""
        for held in (self.users, self.businesses, self.pages, self.accounts, self.tokens, self._derived):
            held.clear()
        self._ids.clear()

    # --- people, portfolios, Pages, accounts --------------------------------------------------------------------

    @operation()
    def create_user(self, name: str = "Sandbox Person", *, app_role: bool = False) -> User:
        """A person without any Page. `app_role`: one of the app's own people, who get in while it is in development."""
        with self.lock:
            user = User(self.new_id("10"), name, app_role=app_role)
            self.users[user.user_id] = user
            return user

    @operation()
    def create_business(self, name: str = "Sandbox Portfolio", user_id: str | None = None) -> Business:
        """A business portfolio with one person in it (a new one when none is named)."""
        with self.lock:
            user = self.users[user_id] if user_id is not None else self.create_user()
            business = Business(self.new_id("20"), name, [user.user_id])
            self.businesses[business.business_id] = business
            return business

    @operation()
    def create_page(
        self,
        *,
        name: str = "Sandbox Page",
        user_id: str | None = None,
        tasks: tuple[str, ...] = ALL_TASKS,
        scopes: tuple[str, ...] = FACEBOOK_SCOPES,
        business_id: str | None = None,
        ownership: Ownership = "owned",
        token_withheld: bool = False,
    ) -> PageHandle:
        """A Page with a long-lived user token and a Page token without expiry; makes the person when none is named.

        With `business_id` it belongs to a portfolio (or is its client's); the person is then one of the portfolio's.
        """
        with self.lock:
            if user_id is None and business_id is not None:
                user_id = self.businesses[business_id].user_ids[0]
            user = self.users[user_id] if user_id is not None else self.create_user()
            page = Page(
                self.new_id("1000"), name, "sandbox" + _digits(6), self.sandbox.clock.now(), business_id=business_id,
                ownership=ownership, token_withheld=token_withheld,
            )  # fmt: skip
            page.roles[user.user_id] = tuple(tasks)
            user.page_ids.append(page.page_id)
            self.pages[page.page_id] = page
            user_token = self.issue_user_token(user.user_id, scopes=scopes)
            page_token = self.issue_page_token(page.page_id, user.user_id, scopes=scopes)
            return PageHandle(page.page_id, name, user.user_id, page_token, user_token)

    @operation()
    def create_pages(
        self,
        count: int,
        *,
        user_id: str | None = None,
        name: str = "Page",
        tasks: tuple[str, ...] = ALL_TASKS,
        business_id: str | None = None,
        ownership: Ownership = "owned",
        instagram: bool = False,
    ) -> list[PageHandle]:
        """Many Pages of one person ("Page 1", "Page 2", ...), each with a linked account when `instagram` is true."""
        if not 1 <= count <= PAGES_AT_ONCE_MAX:
            raise ValueError(f"count is between 1 and {PAGES_AT_ONCE_MAX}")
        with self.lock:
            if user_id is None and business_id is None:
                user_id = self.create_user().user_id
            made = [
                self.create_page(
                    name=f"{name} {number}", user_id=user_id, tasks=tasks, business_id=business_id, ownership=ownership
                )
                for number in range(1, count + 1)
            ]
            if instagram:
                for handle in made:
                    self.create_instagram(page_id=handle.page_id)
            return made

    @operation()
    def change_page(
        self,
        page_id: str,
        *,
        tasks: tuple[str, ...] | None = None,
        user_id: str | None = None,
        name: str | None = None,
        token_withheld: bool | None = None,
    ) -> Page:
        """Change the name, or the tasks of one person or of all; no tasks at all ends the role and the Page tokens of it."""
        with self.lock:
            page = self.pages[page_id]
            page.name = name if name is not None else page.name
            page.token_withheld = token_withheld if token_withheld is not None else page.token_withheld
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
        account_type: AccountType = "BUSINESS",
    ) -> InstagramHandle:
        """An account. Login "facebook": professional, linked to `page_id` (or a new Page), with Page and user token.

        Login "instagram": no Page; one 60-day token of graph.instagram.com. A PERSONAL one gets no further than the login page.
        """
        if login == "facebook" and account_type == "PERSONAL":
            raise ValueError("only a professional account can be linked to a Page")
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
    def change_instagram(
        self, instagram_id: str, *, state: InstagramState | None = None, account_type: AccountType | None = None
    ) -> InstagramAccount:
        """Restrict, checkpoint or deactivate an account, or make it active again; or switch its type."""
        with self.lock:
            account = self.accounts[instagram_id]
            account.state = state if state is not None else account.state
            account.account_type = account_type if account_type is not None else account.account_type
            return account

    # --- tokens and permissions ---------------------------------------------------------------------------------

    @operation()
    def issue_user_token(
        self, user_id: str, *, scopes: tuple[str, ...] = FACEBOOK_SCOPES, long_lived: bool = True
    ) -> str:
        """A Facebook user token: 60 days, or one hour."""
        with self.lock:
            life = LONG_TOKEN if long_lived else SHORT_TOKEN
            return self.issue(
                "USER", "facebook", self.users[user_id].user_id, scopes, life, long_lived=long_lived
            ).value

    @operation()
    def issue_page_token(
        self, page_id: str, user_id: str | None = None, *, scopes: tuple[str, ...] = FACEBOOK_SCOPES
    ) -> str:
        """A Page token without expiry date, in the name of a person with a role."""
        with self.lock:
            page = self.pages[page_id]
            token = self.issue("PAGE", "facebook", user_id or next(iter(page.roles)), scopes, None)
            token.page_id = page_id
            return token.value

    @operation()
    def issue_instagram_token(
        self, instagram_id: str, *, scopes: tuple[str, ...] = INSTAGRAM_SCOPES, long_lived: bool = True
    ) -> str:
        """An Instagram-Login token: 60 days, or one hour."""
        with self.lock:
            life = LONG_TOKEN if long_lived else SHORT_TOKEN
            token = self.issue("IG", "instagram", None, scopes, life, long_lived=long_lived)
            token.instagram_id = self.accounts[instagram_id].instagram_id
            return token.value

    @operation()
    def kill_token(self, token: str, state: TokenState = "revoked") -> None:
        """One token is dead from now on, for this reason; "valid" revives it."""
        with self.lock:
            self.tokens[token].state = state

    @operation()
    def kill_user(self, user_id: str, state: TokenState = "password_changed") -> int:
        """All tokens of a person, Page tokens included, are dead from now on; returns how many.

        "app_removed": the person removed the app, and with it every decision made at the dialog.
        """
        with self.lock:
            hit = [token for token in self.tokens.values() if token.user_id == user_id]
            for token in hit:
                token.state = state
            if state == "app_removed":
                self.users[user_id].permissions.clear()
            return len(hit)

    @operation()
    def kill_instagram(self, instagram_id: str, state: TokenState = "app_removed") -> int:
        """All Instagram-Login tokens of an account are dead from now on; returns how many."""
        with self.lock:
            hit = [token for token in self.tokens.values() if token.instagram_id == instagram_id]
            for token in hit:
                token.state = state
            return len(hit)

    @operation()
    def set_scopes(self, token: str, scopes: tuple[str, ...]) -> None:
        """What a token may do from now on, e.g. after a permission was withdrawn."""
        with self.lock:
            self.tokens[token].scopes = tuple(scopes)

    @operation()
    def set_permission(self, user_id: str, permission: str, status: PermissionStatus) -> None:
        """What became of one permission of a person, for all their tokens: withdrawn, expired after 90 days without use, back."""
        with self.lock:
            self.decide_permissions(user_id, {permission: status})

    @operation()
    def set_shared(
        self, user_id: str, *, page_ids: tuple[str, ...] | None = None, instagram_ids: tuple[str, ...] | None = None
    ) -> None:
        """What a person shares with the app from now on (None: everything), as changed in their settings."""
        with self.lock:
            self._share(user_id, _shared(page_ids, instagram_ids))

    @operation(reads=True)
    def list_tokens(self, user_id: str | None = None, page_id: str | None = None) -> list[Token]:
        """Tokens ever issued (of a person, of a Page), oldest first."""
        with self.lock:
            return [
                token
                for token in self.tokens.values()
                if user_id in (None, token.user_id) and page_id in (None, token.page_id)
            ]

    # --- used by the parts (with the lock held) -----------------------------------------------------------------

    def find_token(self, value: str) -> Token | None:
        """A token by its value; the app token is made from the app's credentials."""
        if value and value == self.app.token:
            return Token(value, "APP", "facebook", None, (), self.sandbox.started_at)
        return self.tokens.get(value)

    def new_id(self, prefix: str = "") -> str:
        """A number nothing else has."""
        while True:
            made = prefix + _digits(16 - len(prefix))
            if made not in self._ids:
                self._ids.add(made)
                return made

    def now(self) -> datetime:
        """Sandbox time."""
        return self.sandbox.clock.now()

    def issue(
        self,
        kind: TokenKind,
        login: Login,
        user_id: str | None,
        scopes: Iterable[str],
        life: timedelta | None,
        *,
        long_lived: bool = True,
        shared: Shared | None = None,
    ) -> Token:
        """A new token."""
        now = self.now()
        prefix = "IGAA" if login == "instagram" else "EAAB"
        token = Token(
            prefix + secrets.token_hex(60), kind, login, user_id, tuple(scopes), now,
            expires_at=now + life if life is not None else None,
            data_access_expires_at=None if kind == "SYSTEM_USER" else now + DATA_ACCESS, long_lived=long_lived,
            shared=shared or Shared(),
        )  # fmt: skip
        self.tokens[token.value] = token
        return token

    def derive_page_token(self, page: Page, parent: Token) -> Token | None:
        """The Page token a list shows to a user token: as lasting as that token is long-lived. None: the person gets none."""
        if page.token_withheld or not page.roles.get(parent.user_id or ""):
            return None
        known = self._derived.get((page.page_id, parent.value))
        if known is not None and known.state_at(self.now()) == "valid":
            return known
        token = self.issue("PAGE", "facebook", parent.user_id, parent.scopes, None, long_lived=parent.long_lived)
        token.page_id, token.shared = page.page_id, parent.shared
        token.data_access_expires_at = parent.data_access_expires_at
        token.expires_at = None if parent.long_lived else parent.expires_at
        self._derived[page.page_id, parent.value] = token
        return token

    def agree(self, user_id: str, asked: Sequence[str], ticked: Iterable[str], shared: Shared) -> None:
        """A person answered the dialog: that decides for every token they have, and renews access to data."""
        decided = set(ticked)
        self.decide_permissions(user_id, {name: "granted" if name in decided else "declined" for name in asked})
        self._share(user_id, shared)
        for token in self._live_tokens(user_id):
            if token.data_access_expires_at is not None:
                token.data_access_expires_at = self.now() + DATA_ACCESS

    def decide_permissions(self, user_id: str, decided: dict[str, PermissionStatus]) -> None:
        """Permissions of a person are granted or gone from now on, in every token."""
        self.users[user_id].permissions.update(decided)
        granted = tuple(name for name, status in decided.items() if status == "granted")
        for token in self._live_tokens(user_id):
            token.scopes = (*(name for name in token.scopes if name not in decided), *granted)

    def pages_of(self, user_id: str) -> list[Page]:
        """Pages a person has a role on."""
        return [page for page in self.pages.values() if user_id in page.roles]

    def instagram_of(self, page: Page) -> InstagramAccount | None:
        """The professional account linked to a Page."""
        account = self.accounts.get(page.instagram_id or "")
        return account if account is not None and account.account_type != "PERSONAL" else None

    def _share(self, user_id: str, shared: Shared) -> None:
        for token in self._live_tokens(user_id):
            token.shared = shared

    def _live_tokens(self, user_id: str) -> list[Token]:
        return [token for token in self.tokens.values() if token.user_id == user_id and token.state == "valid"]


def _shared(page_ids: Iterable[str] | None, instagram_ids: Iterable[str] | None) -> Shared:
    return Shared(
        None if page_ids is None else frozenset(page_ids), None if instagram_ids is None else frozenset(instagram_ids)
    )


def _digits(count: int) -> str:
    """A random number of that many digits, without a leading zero."""
    return str(secrets.randbelow(9 * 10 ** (count - 1)) + 10 ** (count - 1))
