"""What passes through Meta's two login dialogs: configurations, planned consents, codes, and the switches of it all."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from orbyt_worker.sandbox.meta_model import Shared

FACEBOOK_CODE_SECONDS = 600
INSTAGRAM_CODE_SECONDS = 3600
CONSENTS_KEPT_MAX = 1000
CODES_KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration of Facebook Login for Business: it fixes permissions and whose token it gives: the person's, or that of the app's
    system user in a business portfolio (which may end after sixty days; by default it does not).
    """

    config_id: str
    scopes: tuple[str, ...]
    system_user: bool = False
    sixty_days: bool = False


@dataclass(frozen=True, slots=True)
class FacebookConsent:
    """What the person at the dialog does. None: everything asked for, all assets, the first person there is."""

    user_id: str | None = None
    scopes: tuple[str, ...] | None = None
    page_ids: tuple[str, ...] | None = None
    instagram_ids: tuple[str, ...] | None = None
    business_id: str | None = None
    deny: bool = False
    error: str | None = None
    error_code: int | None = None
    page_error: str | None = None


@dataclass(frozen=True, slots=True)
class InstagramConsent:
    """The same at Instagram's own page, where the person is the account."""

    instagram_id: str | None = None
    scopes: tuple[str, ...] | None = None
    deny: bool = False
    error: str | None = None
    page_error: str | None = None


@dataclass(slots=True)
class LoginCode:
    """A code on its way: good once, for one redirect_uri. `owner_id`: the user, or the Instagram account."""

    redirect_uri: str
    owner_id: str
    scopes: tuple[str, ...]
    expires_at: datetime
    shared: Shared = field(default_factory=Shared)
    configuration: Configuration | None = None
    used: bool = False


@dataclass(slots=True)
class LoginConfig:
    """Switches of Facebook Login; `Meta.configure_login` changes them."""

    redirect_uris: tuple[str, ...] = ()
    # False: the app is in development; only people with a role on it get past the dialog.
    app_live: bool = True
    short_token_seconds: int = 5400
    expires_in_given: bool = True
    # Whether exchanging a long-lived token again really extends it is not documented.
    long_exchange_extends: bool = True
    # Presumed, not documented, for denials.
    echo_state_on_error: bool = True
    revoke_answer: Literal["object", "bare"] = "object"
    # Where Pages of portfolios are found by a token with business_management: in /me/accounts too, or in the portfolio only.
    portfolio_pages: Literal["listed", "portfolio_only"] = "listed"
    app_id_as_number: bool = False
    # Another host in `paging.next` than the one asked: a client that follows blindly sends its token there.
    paging_base: str | None = None
