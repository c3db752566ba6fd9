"""Instagram's own login: www.instagram.com/oauth/authorize and the code exchange at api.instagram.com.

After Meta "Business Login for Instagram" and "Oauth Authorize" (2026-03). The app has its own id and secret here; redirects end in `#_`;
errors of the exchange have another shape than Graph's; its success comes in the documented shape or in the one code in the wild reads
(`configure(exchange_shape=...)`). What happens on the page is decided as at Facebook's dialog (facebook_login).
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox import pages
from orbyt_worker.sandbox.login_model import CODES_KEPT_MAX, INSTAGRAM_CODE_SECONDS, InstagramConsent, LoginCode
from orbyt_worker.sandbox.meta_model import INSTAGRAM_SCOPES, InstagramAccount
from orbyt_worker.sandbox.pages import PageError
from orbyt_worker.sandbox.wire import Refusal, read_form, route

if TYPE_CHECKING:
    from orbyt_worker.sandbox.instagram_api import Instagram

KNOWN_SCOPES = frozenset(
    {*INSTAGRAM_SCOPES, "instagram_business_manage_messages", "instagram_business_manage_insights"}
)
BASIC = "instagram_business_basic"
_FRAGMENT = "_"
_SEPARATOR = re.compile(r"[,\s]+")


def login_routes(instagram: Instagram) -> list[BaseRoute]:
    """The page, shown and answered, and the exchange."""
    endpoints, sandbox = _Endpoints(instagram), instagram.sandbox
    page, name = "/www.instagram.com/oauth/authorize", "instagram.oauth.authorize"
    exchange = "/api.instagram.com/oauth/access_token"
    return [
        route(sandbox, "GET", page, name, endpoints.authorize),
        route(sandbox, "POST", page, name, endpoints.authorize),
        route(sandbox, "POST", exchange, "instagram.oauth.exchange", endpoints.exchange),
    ]


def instagram_oauth_envelope(status: int, reason: str | None, message: str | None) -> dict[str, Any]:
    """Body of the exchange's errors, also of `status` faults."""
    return {
        "error_type": reason or "OAuthException",
        "code": status,
        "error_message": message or "Injected by the sandbox",
    }


class _Endpoints:
    def __init__(self, instagram: Instagram) -> None:
        self._instagram = instagram
        self._meta = instagram.meta

    # --- the page -----------------------------------------------------------------------------------------------

    async def authorize(self, request: Request) -> Response:
        try:
            choices = await pages.read_choices(request) if request.method == "POST" else None
            with self._meta.lock:
                scopes = self._checked(request)
                if choices is not None:
                    consent: InstagramConsent | None = InstagramConsent(
                        choices.get("account", [""])[0],
                        tuple(choices.get("scope", ())),
                        deny=choices["decision"] == ["cancel"],
                    )
                else:
                    consent = self._decided(request)
                if consent is None:
                    return self._page(request, scopes)
                return self._settle(request, scopes, consent)
        except PageError as error:
            return error.response

    def _checked(self, request: Request) -> tuple[str, ...]:
        """The scopes asked for; PageError for the first thing wrong with the request."""
        query, fault = request.query_params, request.state.fault
        if fault is not None and fault.kind in {"meta_error", "throttle"}:
            raise PageError("Sorry, something went wrong", fault.message or "Please try again later.", 500)
        if query.get("client_id") != self._meta.app.instagram_app_id:
            raise PageError("Invalid Request", "Request parameters are invalid: Invalid platform app")
        if query.get("redirect_uri") not in self._instagram.config.redirect_uris:
            raise PageError("Invalid Request", "Request parameters are invalid: Invalid scrubbed redirect_uri")
        if query.get("response_type") != "code":
            raise PageError("Invalid Request", "Request parameters are invalid: Invalid response_type")
        scopes = tuple(dict.fromkeys(word for word in _SEPARATOR.split(query.get("scope", "")) if word))
        # The names without the prefix ended on 2025-01-27.
        unknown = [name for name in scopes if name not in KNOWN_SCOPES]
        if unknown or BASIC not in scopes:
            raise PageError("Invalid Request", f"Request parameters are invalid: Invalid scope: {', '.join(unknown)}")
        return scopes

    def _decided(self, request: Request) -> InstagramConsent | None:
        if self._instagram.consents:
            return self._instagram.consents.pop(0)
        account = request.query_params.get("sandbox_account")
        if account is None:
            return None
        return InstagramConsent(deny=True) if account == "deny" else InstagramConsent(account)

    def _accounts(self) -> list[InstagramAccount]:
        return [account for account in self._meta.accounts.values() if "instagram" in account.logins]

    def _page(self, request: Request, scopes: tuple[str, ...]) -> Response:
        options = [(account.instagram_id, f"@{account.username}") for account in self._accounts()]
        if not options:
            raise PageError("Log in to Instagram", "There is no Instagram account in the sandbox yet: make one first.")
        boxes = [pages.checkbox("scope", name, name) for name in scopes if name != BASIC]
        parts = pages.select("account", "Log in as", options) + pages.checkboxes("Permissions", boxes)
        return pages.document(
            "Log in with Instagram",
            pages.paragraph(f"{self._meta.app.name} asks for access to your professional account. {BASIC} is required.", "lead")
            + pages.consent_form(request, parts),
        )  # fmt: skip

    def _settle(self, request: Request, scopes: tuple[str, ...], consent: InstagramConsent) -> Response:
        query = request.query_params
        redirect_uri, state = query["redirect_uri"], query.get("state")
        if consent.page_error is not None:
            raise PageError("Sorry, something went wrong", consent.page_error)
        if consent.deny or consent.error:
            denied = consent.error in {None, "access_denied"}
            return pages.back(
                redirect_uri,
                {
                    "error": consent.error or "access_denied",
                    "error_reason": "user_denied" if denied else None,
                    "error_description": "The user denied your request." if denied else "An error occurred.",
                    "state": state,
                },
                _FRAGMENT,
            )
        account = next((a for a in self._accounts() if consent.instagram_id in (None, a.instagram_id)), None)
        if account is None:
            raise PageError("Log in to Instagram", "There is no such account in the sandbox.")
        if account.account_type == "PERSONAL":
            # That it ends here is documented ("professional accounts only"); the wording is not.
            raise PageError(
                "Professional account needed",
                f"@{account.username} is a personal account. To continue, switch to a professional account in Instagram's settings.",
            )
        ticked = tuple(n for n in scopes if n == BASIC or consent.scopes is None or n in consent.scopes)
        value = "AQ" + secrets.token_urlsafe(120)
        self._instagram.codes[value] = LoginCode(
            redirect_uri, account.instagram_id, ticked, self._meta.now() + timedelta(seconds=INSTAGRAM_CODE_SECONDS)
        )
        while len(self._instagram.codes) > CODES_KEPT_MAX:
            del self._instagram.codes[next(iter(self._instagram.codes))]
        return pages.back(redirect_uri, {"code": value, "state": state}, _FRAGMENT)

    # --- the exchange -------------------------------------------------------------------------------------------

    async def exchange(self, request: Request) -> Response:
        form, fault = await read_form(request), request.state.fault
        if fault is not None and fault.kind in {"meta_error", "throttle"}:
            return JSONResponse(instagram_oauth_envelope(400, None, fault.message), status_code=400)
        if form is None:
            raise _refused("Content-Type must be application/x-www-form-urlencoded")
        with self._meta.lock:
            code = self._redeemed(form)
            value = self._meta.issue_instagram_token(code.owner_id, scopes=code.scopes, long_lived=False)
            flat = self._instagram.config.exchange_shape == "flat"
        answer: dict[str, Any] = {
            "access_token": value,
            "user_id": int(code.owner_id) if flat else code.owner_id,
            "permissions": list(code.scopes) if flat else ",".join(code.scopes),
        }
        return JSONResponse(answer if flat else {"data": [answer]}, headers={"Cache-Control": "no-store"})

    def _redeemed(self, form: Mapping[str, str]) -> LoginCode:
        """The code, used from now on."""
        if form.get("client_id") != self._meta.app.instagram_app_id:
            raise _refused("Invalid platform app")
        if not hmac.compare_digest(form.get("client_secret", "").encode(), self._meta.app.instagram_secret.encode()):
            raise _refused("Error validating client secret.")
        if form.get("grant_type") != "authorization_code":
            raise _refused("Invalid grant_type")
        code = self._instagram.codes.get(form.get("code", ""))
        if code is None:
            raise _refused("Matching code was not found or was already used.")
        if code.used:
            raise _refused("This authorization code has been used")
        if self._meta.now() >= code.expires_at:
            raise _refused("This authorization code has expired")
        if form.get("redirect_uri") != code.redirect_uri:
            raise _refused(
                "Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request"
            )
        code.used = True
        return code


def _refused(message: str) -> Refusal:
    return Refusal(JSONResponse(instagram_oauth_envelope(400, None, message), status_code=400))
