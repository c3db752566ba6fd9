"""Meta as a whole: its world (meta_world), limits, logins and callbacks, and the two platforms that live in it.

One Graph serves both. `facebook` and `instagram` each bring endpoints (meta_http.Endpoint: method, kind of node, edge), say
what an id stands for (`find`), and register what can be uploaded to at rupload (`uploads`). Everything that changes with time
is computed from the sandbox clock when somebody looks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, Protocol

from starlette.routing import BaseRoute

from orbyt_worker.sandbox.deliveries import Delivery
from orbyt_worker.sandbox.facebook_api import Facebook
from orbyt_worker.sandbox.facebook_login import FacebookLogin
from orbyt_worker.sandbox.instagram_api import Instagram
from orbyt_worker.sandbox.login_model import Configuration, FacebookConsent, LoginConfig
from orbyt_worker.sandbox.meta_callbacks import Algorithm, Secret, Tamper, data_deletion_of, deliver_signed_request
from orbyt_worker.sandbox.meta_endpoints import meta_endpoints
from orbyt_worker.sandbox.meta_http import Dispatcher, Endpoint
from orbyt_worker.sandbox.meta_model import (
    FACEBOOK_SCOPES,
    HOST_PREFIXES,
    CommitCall,
    Locale,
    Login,
    MetaConfig,
    Node,
    UsageScope,
    UsageState,
)
from orbyt_worker.sandbox.meta_oauth import oauth_routes
from orbyt_worker.sandbox.meta_world import World
from orbyt_worker.sandbox.operations import operation
from orbyt_worker.sandbox.rupload import UploadKind, UploadTarget, rupload_routes

if TYPE_CHECKING:
    from orbyt_worker.sandbox.state import Sandbox

__all__ = ["Meta", "MetaPart"]

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


class Meta(World):
    """State and rules shared by both platforms."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox)
        self.config = MetaConfig()
        self.uploads: dict[tuple[UploadKind, str], UploadTarget] = {}
        self._usage: dict[tuple[UsageScope, str], UsageState] = {}
        self._commits: deque[CommitCall] = deque(maxlen=COMMITS_KEPT_MAX)
        self._problems: list[str] = []
        self.login = FacebookLogin(self)
        self.facebook = Facebook(self)
        self.instagram = Instagram(self)

    def routes(self) -> list[BaseRoute]:
        endpoints = [*meta_endpoints(), *self.facebook.endpoints(), *self.instagram.endpoints()]
        return [
            *rupload_routes(self),
            *self.login.routes(),
            *oauth_routes(self),
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
            self.empty()
            self.uploads.clear()
            self._usage.clear()
            self._commits.clear()
            self._problems.clear()
            self.login.reset()
            self.facebook.reset()
            self.instagram.reset()

    # --- the control side: login and callbacks ------------------------------------------------------------------

    @operation()
    def next_consent(
        self,
        *,
        user_id: str | None = None,
        scopes: tuple[str, ...] | None = None,
        page_ids: tuple[str, ...] | None = None,
        instagram_ids: tuple[str, ...] | None = None,
        business_id: str | None = None,
        deny: bool = False,
        error: str | None = None,
        error_code: int | None = None,
        page_error: str | None = None,
    ) -> int:
        """What happens at the next Facebook dialog: who ticks which scopes, Pages and accounts (None: all); or cancels.

        Or `error` (with `error_code`) comes back; or `page_error` is shown and nothing ever comes back. Returns how many are
        waiting. Instagram's own page: `instagram.next_consent`.
        """
        with self.lock:
            return self.login.plan(
                FacebookConsent(
                    user_id, scopes, page_ids, instagram_ids, business_id, deny, error, error_code, page_error
                )
            )

    @operation()
    def configure_login(
        self,
        *,
        redirect_uris: tuple[str, ...] | None = None,
        app_live: bool | None = None,
        short_token_seconds: int | None = None,
        expires_in_given: bool | None = None,
        long_exchange_extends: bool | None = None,
        echo_state_on_error: bool | None = None,
        revoke_answer: Literal["object", "bare"] | None = None,
        portfolio_pages: Literal["listed", "portfolio_only"] | None = None,
        app_id_as_number: bool | None = None,
        paging_base: str | None = None,
    ) -> LoginConfig:
        """Change switches of the login; what is not named stays."""
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        with self.lock:
            self.login.config = replace(self.login.config, **given)
            return self.login.config

    @operation()
    def create_configuration(
        self,
        *,
        scopes: tuple[str, ...] = FACEBOOK_SCOPES,
        system_user: bool = False,
        sixty_days: bool = False,
    ) -> Configuration:
        """A configuration of Facebook Login for Business, for `config_id`. `sixty_days`: system-user tokens end (they do not by default)."""
        with self.lock:
            return self.login.add_configuration(Configuration(self.new_id(), tuple(scopes), system_user, sixty_days))

    @operation()
    def send_deauthorize(
        self,
        url: str,
        user_id: str,
        *,
        login: Login = "facebook",
        secret: Secret = "right",  # noqa: S107 - which secret, not the secret
        tamper: Tamper = "none",
        algorithm: Algorithm = "HMAC-SHA256",
        signed_request: str | None = None,
    ) -> Delivery:
        """POST Meta's deauthorize callback to a URL of this machine; the answer. `signed_request` replaces the whole field.

        Call it from a thread other than the one that serves `url`.
        """
        return deliver_signed_request(
            self.app, url, user_id, login=login, secret=secret, tamper=tamper, algorithm=algorithm, given=signed_request
        )

    @operation()
    def send_data_deletion(
        self,
        url: str,
        user_id: str,
        *,
        login: Login = "facebook",
        secret: Secret = "right",  # noqa: S107 - which secret, not the secret
        tamper: Tamper = "none",
        algorithm: Algorithm = "HMAC-SHA256",
        signed_request: str | None = None,
    ) -> Delivery:
        """The same for the data deletion request; `parsed` holds `url` and `confirmation_code` when the answer is as Meta wants it."""
        return data_deletion_of(
            self.send_deauthorize(
                url,
                user_id,
                login=login,
                secret=secret,
                tamper=tamper,
                algorithm=algorithm,
                signed_request=signed_request,
            )
        )

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
        if node_id in self.businesses:
            return Node("business", node_id)
        return self.facebook.find(node_id) or self.instagram.find(node_id)

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
