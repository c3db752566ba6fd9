"""Who exists in Meta's world: apps, people, portfolios, Pages, Instagram accounts, tokens; and the switches of the simulator.

After the token and login sections of Meta "Long-Lived Access Tokens", "Facebook Login for Business", "Business Login for
Instagram" and "Platform versioning" (September 2026 state). What passes through the login dialog is in login_model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

Host = Literal["graph", "video", "instagram", "rupload"]
Login = Literal["facebook", "instagram"]
TokenKind = Literal["USER", "PAGE", "SYSTEM_USER", "IG", "APP"]
TokenState = Literal["valid", "expired", "revoked", "password_changed", "app_removed", "role_lost", "checkpoint"]
UseCase = Literal["pages", "instagram"]
UsageScope = Literal["app", "user", "page", "pages", "instagram"]
PermissionStatus = Literal["granted", "declined", "expired"]
AccountType = Literal["BUSINESS", "MEDIA_CREATOR", "PERSONAL"]
Ownership = Literal["owned", "client"]
InstagramState = Literal["active", "restricted", "checkpointed", "inactive"]
Locale = Literal["en_US", "de_DE", "ja_JP"]

HOST_PREFIXES: dict[Host, str] = {
    "graph": "graph.facebook.com",
    "video": "graph-video.facebook.com",
    "instagram": "graph.instagram.com",
    "rupload": "rupload.facebook.com",
}

# Last day of life; None: not announced. v20.0 and older are gone.
VERSIONS: dict[str, date | None] = {
    "v21.0": date(2027, 1, 21),
    "v22.0": date(2027, 5, 20),
    "v23.0": date(2027, 10, 8),
    "v24.0": date(2028, 2, 18),
    "v25.0": date(2028, 7, 29),
    "v26.0": None,
}

# 190 subcodes of Meta "Handle Errors"; message fragments are ours and nobody may match on them.
DEAD_TOKENS: dict[TokenState, tuple[int, str]] = {
    "expired": (463, "Session has expired."),
    "revoked": (467, "The session is invalid because the user logged out."),
    "password_changed": (460, "The session has been invalidated because the user changed their password."),
    "app_removed": (458, "The user has not authorized application."),
    "role_lost": (492, "The user must be an administrator, editor, or moderator of the page."),
    "checkpoint": (459, "The user is enrolled in a blocking, logged-in checkpoint."),
}

CREATE_TASKS = frozenset(
    {"CREATE_CONTENT", "MANAGE", "PROFILE_PLUS_CREATE_CONTENT", "PROFILE_PLUS_FULL_CONTROL"}
)  # fmt: skip
ALL_TASKS = ("ANALYZE", "ADVERTISE", "MODERATE", "CREATE_CONTENT", "MANAGE")

FACEBOOK_SCOPES = (
    "pages_show_list", "pages_read_engagement", "pages_manage_posts", "pages_manage_engagement", "business_management",
    "instagram_basic", "instagram_content_publish", "instagram_manage_comments",
)  # fmt: skip
INSTAGRAM_SCOPES = (
    "instagram_business_basic", "instagram_business_content_publish", "instagram_business_manage_comments",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class App:
    """The developer's app: two pairs of credentials, one for each login."""

    app_id: str
    secret: str = field(repr=False)
    instagram_app_id: str
    instagram_secret: str = field(repr=False)
    name: str = "Orbyt sandbox app"

    @property
    def token(self) -> str:
        """The app access token."""
        return f"{self.app_id}|{self.secret}"


@dataclass(slots=True)
class User:
    """A person with a Facebook account; or, with `client_business_id`, the app's system user in a customer's portfolio.

    `permissions`: what was decided about each permission at the login dialog, as GET /me/permissions tells it.
    """

    user_id: str
    name: str
    page_ids: list[str] = field(default_factory=list)
    app_role: bool = False
    permissions: dict[str, PermissionStatus] = field(default_factory=dict)
    client_business_id: str | None = None


@dataclass(slots=True)
class Business:
    """A business portfolio and the people in it. Its Pages name it themselves."""

    business_id: str
    name: str
    user_ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Page:
    """A Facebook Page; `roles` says which tasks each person has on it.

    `business_id`: the portfolio that owns it, or whose client it is. `token_withheld`: lists show it without an access token.
    """

    page_id: str
    name: str
    username: str
    created_at: datetime
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    instagram_id: str | None = None
    business_id: str | None = None
    ownership: Ownership = "owned"
    token_withheld: bool = False


@dataclass(slots=True)
class InstagramAccount:
    """An account. `logins`: the ways it may be connected; Facebook Login also needs a linked Page, both a professional account."""

    instagram_id: str
    username: str
    name: str
    created_at: datetime
    page_id: str | None = None
    logins: tuple[Login, ...] = ("facebook", "instagram")
    account_type: AccountType = "BUSINESS"
    state: InstagramState = "active"


@dataclass(frozen=True, slots=True)
class Shared:
    """What a person ticked at the dialog. None: everything, present and future."""

    page_ids: frozenset[str] | None = None
    instagram_ids: frozenset[str] | None = None

    def has_page(self, page_id: str) -> bool:
        return self.page_ids is None or page_id in self.page_ids

    def has_instagram(self, instagram_id: str) -> bool:
        return self.instagram_ids is None or instagram_id in self.instagram_ids


@dataclass(slots=True)
class Token:
    """An access token. `expires_at` None: no expiry date, as of Page tokens made with a long-lived user token."""

    value: str = field(repr=False)
    kind: TokenKind
    login: Login
    user_id: str | None
    scopes: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime | None = None
    data_access_expires_at: datetime | None = None
    page_id: str | None = None
    instagram_id: str | None = None
    state: TokenState = "valid"
    long_lived: bool = True
    shared: Shared = field(default_factory=Shared)

    def state_at(self, now: datetime) -> TokenState:
        """Dead for a reason, or simply too old."""
        if self.state == "valid" and self.expires_at is not None and now >= self.expires_at:
            return "expired"
        return self.state


@dataclass(frozen=True, slots=True)
class Node:
    """What an id in a path stands for. `owner` is the Page or Instagram account whose limits a call counts against."""

    kind: str
    node_id: str
    owner: str | None = None
    use_case: UseCase | None = None


@dataclass(slots=True)
class UsageState:
    """One usage counter in percent. At 100 calls are refused until `blocked_until`; refused calls extend the block."""

    call_count: int = 0
    total_time: int = 0
    total_cputime: int = 0
    regain_minutes: int = 0
    blocked_until: datetime | None = None

    @property
    def highest(self) -> int:
        return max(self.call_count, self.total_time, self.total_cputime)


@dataclass(frozen=True, slots=True)
class PageHandle:
    """A Page together with tokens of the person who manages it."""

    page_id: str
    name: str
    user_id: str
    page_token: str = field(repr=False)
    user_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class InstagramHandle:
    """An Instagram account with the tokens of its login; Page and user token for Facebook Login, one token otherwise."""

    instagram_id: str
    username: str
    login: Login
    access_token: str = field(repr=False)
    user_token: str | None = field(default=None, repr=False)
    page_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class CommitCall:
    """A call that makes something visible and was processed (whatever the client then saw)."""

    name: str
    account_id: str
    handle: str | None
    at: datetime


@dataclass(slots=True)
class MetaConfig:
    """Switches; `configure` changes them."""

    require_proof: bool = False
    # The client's clock stays where it is when a test moves sandbox time; such a test raises this.
    proof_seconds_max: float = 300.0
    locale: Locale = "en_US"
    missing_permission_code: Literal[200, 10] = 200
    foreign_page_code: Literal[100, 200] = 100
    error_data_as_text: bool = False
    check_content: bool = True
    usage_headers: bool = True
    instagram_usage_names: bool = False
    extend_blocks: bool = True
    allow_private_urls: bool = False
    download_seconds_max: float = 5.0
    chunk_bytes: int = 1024 * 1024
    processing_seconds: float = 0.2
    publishing_seconds: float = 0.2
    reels_per_day: int = 30
    reject_duplicates: bool = True
    phase_word: Literal["complete", "completed"] = "complete"
    bytes_word: Literal["bytes_transferred", "bytes_transfered"] = "bytes_transferred"
    errors_shape: Literal["list", "object"] = "list"
    unpublished_word: Literal["draft", "not_published"] = "draft"
    reel_finish_post_id: bool = False
    relative_permalinks: bool = False
    numeric_story_ids: bool = False
