"""Google's consent page, to click and as a plan for tests; and the errors that stay on it and never reach the callback.

After Google Identity, "Using OAuth 2.0 for Web Server Applications" (granular consent, time-limited access) and Google Cloud "App
audience" (testing mode). What happens is decided, in this order, by: the form that was posted; `next_consent`; `sandbox_account` in
the query (a `sub` or e-mail address, or "deny"; with `sandbox_channel`). Without any of them the page is shown.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox import pages
from orbyt_worker.sandbox.google_model import CLIENT_ID, CODE_SECONDS, KNOWN_SCOPES, Account, Code, Consent
from orbyt_worker.sandbox.pages import PageError
from orbyt_worker.sandbox.wire import route

if TYPE_CHECKING:
    from orbyt_worker.sandbox.google import Google

# "Six months", as observed in `refresh_token_expires_in`.
LIMITED_SECONDS = 15_551_999
_PAGE_STATUS = {"invalid_client": 401, "deleted_client": 401, "redirect_uri_mismatch": 400, "invalid_request": 400}


def page_routes(google: Google) -> list[BaseRoute]:
    """The page, shown and answered."""
    page, path = _ConsentPage(google), "/google/o/oauth2/v2/auth"
    return [route(google.sandbox, method, path, "google.authorize", page.authorize) for method in ("GET", "POST")]


class _ConsentPage:
    def __init__(self, google: Google) -> None:
        self._google = google

    async def authorize(self, request: Request) -> Response:
        try:
            choices = await pages.read_choices(request) if request.method == "POST" else None
            with self._google.lock:
                self._check(request)
                query = request.query_params
                consent = _clicked(choices) if choices is not None else self._google.pick_consent(query)
                return self._show(request) if consent is None else self._settle(query, consent)
        except PageError as error:
            return error.response

    def _check(self, request: Request) -> None:
        """Everything that is wrong with the request itself stays on the page."""
        query, config = request.query_params, self._google.config
        scopes = query.get("scope", "").split()
        if "; wv)" in request.headers.get("user-agent", ""):
            raise _error("disallowed_useragent", "Google's secure browsers policy: this is an embedded web view.")
        if query.get("client_id") != CLIENT_ID:
            raise _error("invalid_client", "The OAuth client was not found.")
        if config.client_deleted:
            raise _error("deleted_client", "The OAuth client was deleted.")
        if query.get("redirect_uri") not in config.redirect_uris:
            raise _error("redirect_uri_mismatch", "The redirect URI in the request is not registered.")
        if query.get("response_type") != "code" or not scopes:
            raise _error("invalid_request", "response_type must be code and scope must be given.")
        if not set(scopes) <= KNOWN_SCOPES:
            raise _error("invalid_scope", "Some requested scopes were invalid.", 400)
        method, challenge = query.get("code_challenge_method", "plain"), query.get("code_challenge")
        if method not in {"S256", "plain"} or (challenge is None and "code_challenge_method" in query):
            raise _error("invalid_request", "Invalid code_challenge_method.")
        if query.get("access_type", "online") not in {"online", "offline"}:
            raise _error("invalid_request", "Invalid access_type.")

    def _show(self, request: Request) -> Response:
        query = request.query_params
        options = [
            (f"{account.sub} {channel}", f"{account.email}, {self._title(channel)}")
            for account in self._google.accounts_by_sub.values()
            for channel in (*account.channel_ids, "")
        ]
        if not options:
            raise PageError("Sign in with Google", "There is no Google account in the sandbox yet: make one first.")
        if "none" in query.get("prompt", "").split():
            return _back(query, {"error": "login_required"})
        hinted = self._google.account_of(query.get("login_hint"))
        chosen = next((value for value, _ in options if hinted is not None and value.startswith(hinted.sub)), None)
        scopes = [pages.checkbox("scope", scope, scope) for scope in dict.fromkeys(query.get("scope", "").split())]
        lasting = [("", "until I take it back"), (str(LIMITED_SECONDS), "for six months")]
        parts = (
            pages.select("account", "Account and channel", options, chosen)
            + pages.checkboxes("Orbyt sandbox wants access to", scopes)
            + pages.select("lasts", "Access lasts", lasting)
        )
        lead = pages.paragraph("Orbyt sandbox wants to use your Google Account. Choose what it may do.", "lead")
        return pages.document("Sign in with Google", lead + pages.consent_form(request, parts))

    def _title(self, channel_id: str) -> str:
        return self._google.channel_title(channel_id) if channel_id else "no channel"

    def _settle(self, query: Mapping[str, str], consent: Consent) -> Response:
        if consent.page_error is not None:
            raise _error(consent.page_error, "Access blocked.")
        if consent.deny or consent.error:
            return _back(query, {"error": consent.error or "access_denied"})
        account = self._google.accounts_by_sub.get(consent.sub or "")
        if account is None:
            raise _error("invalid_request", "There is no such account in the sandbox.")
        config = self._google.config
        if config.testing_mode and config.test_users is not None and account.email not in config.test_users:
            raise _error("access_denied", "The app is being tested, and only its test users have access to it.")
        scopes = tuple(dict.fromkeys(query["scope"].split()))
        prompts = set(query.get("prompt", "").split())
        before = account.consented.setdefault(CLIENT_ID, set())
        first = not set(scopes) <= before
        if "none" in prompts and first:
            return _back(query, {"error": "consent_required"})
        granted = tuple(scope for scope in scopes if consent.scopes is None or scope in consent.scopes)
        if not granted:
            # Nothing ticked leaves nothing to grant.
            return _back(query, {"error": "access_denied"})
        if query.get("include_granted_scopes") == "true":
            granted += tuple(sorted(before - set(granted)))
        code = self._code(query, account, consent, granted, lasting=first or "consent" in prompts)
        before.update(granted)
        return _back(query, {"code": code, "scope": " ".join(granted)})

    def _code(
        self, query: Mapping[str, str], account: Account, consent: Consent, granted: tuple[str, ...], *, lasting: bool
    ) -> str:
        channel_id = consent.channel_id
        if channel_id is None:
            channel_id = next(iter(account.channel_ids), None)
        code = "4/0" + secrets.token_urlsafe(48)
        self._google.codes[code] = Code(
            CLIENT_ID, query["redirect_uri"], account.sub, channel_id or None, granted, query.get("code_challenge"),
            query.get("code_challenge_method", "plain"), self._google.sandbox.clock.now() + timedelta(seconds=CODE_SECONDS),
            query.get("access_type") == "offline" and lasting, consent.grant_seconds,
        )  # fmt: skip
        return code


def _clicked(choices: Mapping[str, Sequence[str]]) -> Consent:
    """What a posted form says. No channel chosen is the identity without one."""
    if choices["decision"] == ["cancel"]:
        return Consent(deny=True)
    sub, _, channel_id = choices.get("account", [""])[0].partition(" ")
    lasts = choices.get("lasts", [""])[0]
    return Consent(
        sub, channel_id, tuple(choices.get("scope", ())), grant_seconds=int(lasts) if lasts.isdecimal() else None
    )


def _error(error: str, text: str, status: int | None = None) -> PageError:
    code = status if status is not None else _PAGE_STATUS.get(error, 403)
    return PageError(f"Error {code}: {error}", text, code)


def _back(query: Mapping[str, str], values: Mapping[str, str]) -> Response:
    return pages.back(query["redirect_uri"], {"state": query.get("state"), **values})
