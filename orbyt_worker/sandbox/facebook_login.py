"""www.facebook.com/{version}/dialog/oauth: the page where a person lets the app in, as a page to click and as a plan for tests.

After Meta "Manually Build a Login Flow" (2026-03), "Facebook Login for Business" (2026-05) and "Login Security". What is wrong
with the request itself is told on the page and never reaches the app; wording and the fragment `#_=_` are as commonly reported.
What happens is decided, in this order, by: the form that was posted; `next_consent`; `sandbox_account` in the query (a user id, or
"deny"). Without any of them the page is shown.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox import pages
from orbyt_worker.sandbox.login_model import (
    CODES_KEPT_MAX,
    CONSENTS_KEPT_MAX,
    FACEBOOK_CODE_SECONDS,
    Configuration,
    FacebookConsent,
    LoginCode,
    LoginConfig,
)
from orbyt_worker.sandbox.meta_model import ALL_TASKS, FACEBOOK_SCOPES, VERSIONS, Page, Shared, User
from orbyt_worker.sandbox.pages import PageError
from orbyt_worker.sandbox.wire import route

if TYPE_CHECKING:
    from orbyt_worker.sandbox.meta import Meta

KNOWN_SCOPES = frozenset(
    {
        *FACEBOOK_SCOPES, "public_profile", "email", "publish_video", "pages_manage_metadata", "pages_read_user_content",
        "read_insights", "ads_read", "ads_management", "instagram_manage_contents", "instagram_manage_insights",
        "instagram_branded_content_creator", "instagram_shopping_tag_products", "catalog_management",
    }
)  # fmt: skip
ALWAYS_GRANTED = "public_profile"
_FRAGMENT = "_=_"
_SEPARATOR = re.compile(r"[,\s]+")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that is in order."""

    redirect_uri: str
    state: str
    scopes: tuple[str, ...]
    configuration: Configuration | None
    rerequest: bool
    with_scopes: bool

    @property
    def system_user(self) -> bool:
        return self.configuration is not None and self.configuration.system_user


class FacebookLogin:
    """The dialog and what it needs to remember. The lock is Meta's."""

    def __init__(self, meta: Meta) -> None:
        self._meta = meta
        self.config = LoginConfig()
        self.codes: dict[str, LoginCode] = {}
        self._configurations: dict[str, Configuration] = {}
        self._consents: list[FacebookConsent] = []

    def routes(self) -> list[BaseRoute]:
        """The dialog, shown and answered."""
        path, name = "/www.facebook.com/{version}/dialog/oauth", "meta.oauth.dialog"
        return [route(self._meta.sandbox, method, path, name, self._dialog) for method in ("GET", "POST")]

    def reset(self) -> None:
        """Nobody has logged in."""
        self.config = LoginConfig()
        self.codes.clear()
        self._configurations.clear()
        self._consents.clear()

    def plan(self, consent: FacebookConsent) -> int:
        """What the next person does; how many are waiting."""
        if len(self._consents) >= CONSENTS_KEPT_MAX:
            raise ValueError("too many planned consents")
        self._consents.append(consent)
        return len(self._consents)

    def add_configuration(self, configuration: Configuration) -> Configuration:
        """A configuration of the app's dashboard."""
        unknown = sorted(set(configuration.scopes) - KNOWN_SCOPES)
        if unknown or not configuration.scopes:
            raise ValueError(f"no such permissions: {', '.join(unknown) or '(none)'}")
        self._configurations[configuration.config_id] = configuration
        return configuration

    # --- the request --------------------------------------------------------------------------------------------

    async def _dialog(self, request: Request) -> Response:
        try:
            choices = await pages.read_choices(request) if request.method == "POST" else None
            with self._meta.lock:
                asked = self._asked(request)
                consent = _clicked(choices) if choices is not None else self._decided(request)
                return self._page(request, asked) if consent is None else self._settle(asked, consent)
        except PageError as error:
            return error.response

    def _asked(self, request: Request) -> _Asked:
        """Everything that is checked before the person is asked; PageError for the first thing wrong."""
        query = request.query_params
        fault = request.state.fault
        if fault is not None and fault.kind in {"meta_error", "throttle"}:
            raise PageError(
                "Sorry, something went wrong", fault.message or "We are working on getting this fixed.", 500
            )
        if request.path_params["version"] not in VERSIONS:
            raise PageError("This page isn't available", "The version in the address does not exist.", 404)
        if query.get("client_id") != self._meta.app.app_id:
            raise PageError("Error", "Invalid App ID: The provided app ID does not look like a valid app ID.")
        redirect_uri = query.get("redirect_uri", "")
        if redirect_uri not in self.config.redirect_uris:
            raise PageError(
                "URL blocked",
                "This redirect failed because the redirect URI is not allow-listed in the app's client OAuth settings. "
                "Strict mode compares it byte for byte.",
            )
        words = set(_words(query.get("response_type", "code")))
        if "code" not in words or not words <= {"code", "granted_scopes"}:
            raise PageError("Error", "Invalid response_type: this app must ask for a code.")
        if not query.get("state"):
            raise PageError("Error", "The parameter state is required.")
        configuration, scopes = self._scopes(query)
        return _Asked(
            redirect_uri, query["state"], scopes, configuration, query.get("auth_type") == "rerequest",
            "granted_scopes" in words,
        )  # fmt: skip

    def _scopes(self, query: Mapping[str, str]) -> tuple[Configuration | None, tuple[str, ...]]:
        scopes = _words(query.get("scope", ""))
        unknown = [name for name in scopes if name not in KNOWN_SCOPES]
        if unknown:
            raise PageError(
                "Invalid Scopes", f"Invalid Scopes: {', '.join(unknown)}. This message is only shown to developers."
            )
        if "config_id" not in query:
            return None, scopes
        configuration = self._configurations.get(query["config_id"])
        if configuration is None:
            raise PageError("Error", "Invalid config_id: there is no such configuration of this app.")
        if configuration.system_user and scopes:
            raise PageError("Error", "scope must not be used with a system-user configuration.")
        # With a user-token configuration `scope` is tolerated, and discouraged.
        return configuration, tuple(dict.fromkeys((*configuration.scopes, *scopes)))

    def _decided(self, request: Request) -> FacebookConsent | None:
        if self._consents:
            return self._consents.pop(0)
        account = request.query_params.get("sandbox_account")
        if account is None:
            return None
        return FacebookConsent(deny=True) if account == "deny" else FacebookConsent(user_id=account)

    # --- the page -----------------------------------------------------------------------------------------------

    def _page(self, request: Request, asked: _Asked) -> Response:
        people = [user for user in self._meta.users.values() if user.client_business_id is None]
        if not people:
            raise PageError("Log in to Facebook", "There is nobody in the sandbox yet: make a person or a Page first.")
        wanted = request.query_params.get("sandbox_person")
        person = next((user for user in people if user.user_id == wanted), people[0])
        self._check_live(person)
        own = self._meta.pages_of(person.user_id)
        parts = [
            pages.hidden([("person", person.user_id)]),
            pages.checkboxes(
                "Permissions", [pages.checkbox("scope", name, name) for name in self._offered(asked, person)]
            ),
            pages.checkboxes("Pages", [pages.checkbox("page", page.page_id, self._label(page)) for page in own]),
        ]
        linked = [account for account in map(self._meta.instagram_of, own) if account is not None]
        if any(name.startswith("instagram_") for name in asked.scopes):
            boxes = [pages.checkbox("instagram", account.instagram_id, f"@{account.username}") for account in linked]
            parts.append(pages.checkboxes("Instagram accounts", boxes))
        if asked.system_user:
            options = [(b.business_id, b.name) for b in self._meta.businesses.values() if person.user_id in b.user_ids]
            if not options:
                raise PageError("Business portfolio needed", "To continue you need a business portfolio.")
            parts.append(pages.select("business", "Business portfolio", options))
        note = "All permissions are needed: leaving one out grants none." if asked.configuration else ""
        body = (
            pages.paragraph(f"{self._meta.app.name} asks for access. Choose what it gets.", "lead")
            + pages.switch_form(request, "sandbox_person", "Log in as", _names(people), person.user_id)
            + pages.paragraph(f"Logged in as {person.name} ({person.user_id}). {note}")
            + pages.consent_form(request, "".join(parts))
        )
        return pages.document("Log in with Facebook", body)

    def _label(self, page: Page) -> str:
        business = self._meta.businesses.get(page.business_id or "")
        return page.name if business is None else f"{page.name} ({business.name})"

    def _offered(self, asked: _Asked, person: User) -> list[str]:
        """What the person can tick. What they declined before is not offered again, unless `auth_type=rerequest` asks for it."""
        return [
            name
            for name in asked.scopes
            if name != ALWAYS_GRANTED
            and (asked.rerequest or asked.configuration is not None or person.permissions.get(name) != "declined")
        ]

    def _check_live(self, person: User) -> None:
        if not self.config.app_live and not person.app_role:
            raise PageError(
                "App not active",
                "This app is not accessible right now and the app developer is aware of the issue. You will be able to log in "
                "when the app is reactivated.",
            )

    # --- the answer ---------------------------------------------------------------------------------------------

    def _settle(self, asked: _Asked, consent: FacebookConsent) -> Response:
        if consent.page_error is not None:
            raise PageError("Sorry, something went wrong", consent.page_error)
        if consent.deny or consent.error or consent.error_code is not None:
            return self._refused(asked, consent)
        people = [user for user in self._meta.users.values() if user.client_business_id is None]
        person = next((user for user in people if consent.user_id in (None, user.user_id)), None)
        if person is None:
            raise PageError("Log in to Facebook", "There is no such person in the sandbox.")
        self._check_live(person)
        offered = self._offered(asked, person)
        ticked = [name for name in offered if consent.scopes is None or name in consent.scopes]
        shared = Shared(
            None if consent.page_ids is None else frozenset(consent.page_ids),
            None if consent.instagram_ids is None else frozenset(consent.instagram_ids),
        )
        if asked.configuration is not None and len(ticked) < len(offered):
            # Login for Business: all or nothing. What was granted earlier stays as it is, in the tokens of that time.
            code = self._code(asked, person, (ALWAYS_GRANTED,), shared)
        elif asked.system_user:
            system = self._system_user(person, consent, shared, offered)
            code = self._code(asked, system, (ALWAYS_GRANTED, *offered), Shared())
        else:
            self._meta.agree(person.user_id, offered, ticked, shared)
            # Permissions add up over logins.
            granted = [name for name, status in person.permissions.items() if status == "granted"]
            code = self._code(asked, person, (ALWAYS_GRANTED, *granted), shared)
        found = self.codes[code]
        return pages.back(
            asked.redirect_uri,
            {
                "code": code,
                "granted_scopes": ",".join(found.scopes) if asked.with_scopes else None,
                "state": asked.state,
            },
            _FRAGMENT,
        )

    def _refused(self, asked: _Asked, consent: FacebookConsent) -> Response:
        state = asked.state if self.config.echo_state_on_error else None
        if consent.error_code is not None and not consent.error:
            # How a misconfigured app is told, by report.
            return pages.back(
                asked.redirect_uri,
                {"error_code": str(consent.error_code), "error_message": "The app is not set up.", "state": state},
                _FRAGMENT,
            )
        denied = consent.error is None or consent.error == "access_denied"
        return pages.back(
            asked.redirect_uri,
            {
                "error": consent.error or "access_denied",
                "error_code": str(consent.error_code or 200),
                "error_description": "Permissions error" if denied else "An error occurred.",
                "error_reason": "user_denied" if denied else None,
                "state": state,
            },
            _FRAGMENT,
        )

    def _system_user(self, person: User, consent: FacebookConsent, shared: Shared, scopes: Sequence[str]) -> User:
        """The app's system user in the portfolio chosen, with the person's tasks on the Pages ticked."""
        mine = [b for b in self._meta.businesses.values() if person.user_id in b.user_ids]
        business = next((b for b in mine if consent.business_id in (None, b.business_id)), None)
        if business is None:
            raise PageError("Business portfolio needed", "To continue you need a business portfolio.")
        system = next((u for u in self._meta.users.values() if u.client_business_id == business.business_id), None)
        if system is None:
            system = User(self._meta.new_id("61"), f"{self._meta.app.name} system user")
            system.client_business_id = business.business_id
            self._meta.users[system.user_id] = system
        for page in self._meta.pages_of(person.user_id):
            if page.business_id == business.business_id and shared.has_page(page.page_id):
                page.roles[system.user_id] = page.roles.get(person.user_id, ALL_TASKS)
            else:
                page.roles.pop(system.user_id, None)
        system.permissions = dict.fromkeys(scopes, "granted")
        return system

    def _code(self, asked: _Asked, owner: User, scopes: tuple[str, ...], shared: Shared) -> str:
        value = "AQ" + secrets.token_urlsafe(120)
        self.codes[value] = LoginCode(
            asked.redirect_uri, owner.user_id, tuple(dict.fromkeys(scopes)),
            self._meta.now() + timedelta(seconds=FACEBOOK_CODE_SECONDS), shared, asked.configuration,
        )  # fmt: skip
        while len(self.codes) > CODES_KEPT_MAX:
            del self.codes[next(iter(self.codes))]
        return value


def _clicked(choices: Mapping[str, Sequence[str]]) -> FacebookConsent:
    """What a posted form says."""
    consent = FacebookConsent(
        user_id=choices.get("person", [""])[0],
        scopes=tuple(choices.get("scope", ())),
        page_ids=tuple(choices.get("page", ())),
        instagram_ids=tuple(choices.get("instagram", ())),
        business_id=choices.get("business", [None])[0],
    )
    return replace(consent, deny=choices["decision"] == ["cancel"])


def _words(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in _SEPARATOR.split(value) if word))


def _names(people: Sequence[User]) -> list[tuple[str, str]]:
    return [(user.user_id, f"{user.name} ({user.user_id})") for user in people]
