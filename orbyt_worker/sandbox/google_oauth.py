"""The endpoints of Google OAuth 2.0 that programs call: token, revoke, token info. The page is in google_page.

After Google Identity, "Using OAuth 2.0 for Web Server Applications". Form bodies only; codes are bound to client, redirect
and challenge.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox.google_model import (
    CLIENT_ID,
    CLIENT_SECRET,
    DESCRIPTION_FADES,
    IDLE,
    TOKEN_CALLS_KEPT_MAX,
    Grant,
    TokenCall,
)
from orbyt_worker.sandbox.wire import Refusal, read_form, route, secret_hash

if TYPE_CHECKING:
    from orbyt_worker.sandbox.google import Google

_VERIFIER = re.compile(r"^[A-Za-z0-9\-._~]{43,128}$")


def oauth_routes(google: Google) -> list[BaseRoute]:
    """The three endpoints without a page."""
    endpoints, sandbox = _Endpoints(google), google.sandbox
    return [
        route(sandbox, "POST", "/google/token", "google.token", endpoints.token),
        route(sandbox, "POST", "/google/revoke", "google.revoke", endpoints.revoke),
        route(sandbox, "GET", "/google/tokeninfo", "google.tokeninfo", endpoints.tokeninfo),
    ]


class _Endpoints:
    def __init__(self, google: Google) -> None:
        self._google = google
        self._sandbox = google.sandbox

    async def token(self, request: Request) -> Response:
        form = await read_form(request)
        grant_type = "" if form is None else form.get("grant_type", "")
        secret = "" if form is None else form.get("refresh_token") or form.get("code") or ""
        error: str | None = None
        try:
            if form is None:
                raise _oauth_error(400, "invalid_request", "Content-Type must be application/x-www-form-urlencoded")
            with self._google.lock:
                self._check_client(form)
                if grant_type == "refresh_token":
                    response = self._refresh(form)
                elif grant_type == "authorization_code":
                    response = self._exchange(form)
                elif not grant_type:
                    raise _oauth_error(400, "invalid_request", "Required parameter is missing: grant_type")
                else:
                    raise _oauth_error(400, "unsupported_grant_type", f"Invalid grant_type: {grant_type}")
        except _OAuthRefusal as refusal:
            error = refusal.error
            response = refusal.response
        with self._google.lock:
            self._google.calls.append(
                TokenCall(
                    self._sandbox.clock.now(),
                    grant_type,
                    response.status_code,
                    error,
                    secret_hash(secret) if secret else None,
                )
            )
            del self._google.calls[:-TOKEN_CALLS_KEPT_MAX]
        return response

    def _check_client(self, form: Mapping[str, str]) -> None:
        if form.get("client_id") != CLIENT_ID:
            raise _oauth_error(401, "invalid_client", "The OAuth client was not found.")
        if self._google.config.client_deleted:
            raise _oauth_error(401, "deleted_client", "The OAuth client was deleted.")
        if not secrets.compare_digest(str(form.get("client_secret") or ""), CLIENT_SECRET):
            raise _oauth_error(401, "invalid_client", "Unauthorized")
        if self._google.config.client_unauthorized:
            raise _oauth_error(401, "unauthorized_client", "Unauthorized")

    def _refresh(self, form: Mapping[str, str]) -> Response:
        value = form.get("refresh_token")
        if not value:
            raise _oauth_error(400, "invalid_request", "Missing required parameter: refresh_token")
        now = self._sandbox.clock.now()
        grant = self._google.grants.get(value)
        if grant is None:
            raise _oauth_error(400, "invalid_grant", "Bad Request")
        if grant.dead is None and (now - grant.used_at > IDLE or (grant.ends_at is not None and now >= grant.ends_at)):
            grant.dead, grant.dead_at = "expired", grant.ends_at or now
        if grant.dead is not None:
            raise _dead_grant(grant, now)
        scopes = grant.scopes
        if form.get("scope"):
            wanted = tuple(form["scope"].split())
            if not set(wanted) <= set(grant.scopes):
                raise _oauth_error(400, "invalid_scope", "Some requested scopes were invalid.")
            scopes = wanted
        grant.used_at = now
        access = self._google.new_access_token(grant, scopes)
        answer = {
            "access_token": access.token,
            "expires_in": self._google.config.access_token_seconds,
            "scope": " ".join(scopes),
            "token_type": "Bearer",
        }
        if self._google.config.rotate_refresh_tokens:
            answer["refresh_token"] = self._google.issue_refresh_token(
                grant.sub, channel_id=grant.channel_id, scopes=grant.scopes
            )
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    def _exchange(self, form: Mapping[str, str]) -> Response:
        value, redirect_uri, verifier = form.get("code"), form.get("redirect_uri"), form.get("code_verifier")
        if not value:
            raise _oauth_error(400, "invalid_request", "Missing required parameter: code")
        if not redirect_uri:
            raise _oauth_error(400, "invalid_request", "Missing required parameter: redirect_uri")
        code = self._google.codes.get(value)
        now = self._sandbox.clock.now()
        if code is None or code.used or now >= code.expires_at:
            raise _oauth_error(400, "invalid_grant", "Bad Request")
        if redirect_uri != code.redirect_uri:
            raise _oauth_error(400, "redirect_uri_mismatch", "Bad Request")
        if code.challenge is None and verifier:
            raise _oauth_error(400, "invalid_grant", "code_verifier or verifier is not needed.")
        if code.challenge is not None:
            if not verifier:
                raise _oauth_error(400, "invalid_grant", "Missing code verifier.")
            if not _VERIFIER.match(verifier) or _challenge(verifier, code.challenge_method) != code.challenge:
                raise _oauth_error(400, "invalid_grant", "Invalid code verifier.")
        code.used = True
        answer: dict[str, object] = {
            "expires_in": self._google.config.access_token_seconds,
            "scope": " ".join(code.scopes),
            "token_type": "Bearer",
        }
        if code.with_refresh_token:
            token = self._google.issue_refresh_token(
                code.sub, channel_id=code.channel_id, scopes=code.scopes, grant_seconds=code.grant_seconds
            )
            answer["refresh_token"] = token
            if code.grant_seconds is not None:
                answer["refresh_token_expires_in"] = code.grant_seconds
            grant = self._google.grants[token]
        else:
            grant = Grant("", code.client_id, code.sub, code.channel_id, code.scopes, now, now)
        answer["access_token"] = self._google.new_access_token(grant, None).token
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    async def revoke(self, request: Request) -> Response:
        form = await read_form(request) or {}
        token = form.get("token") or request.query_params.get("token") or ""
        with self._google.lock:
            grant, access = self._google.grants.get(token), self._google.access.get(token)
            sub = grant.sub if grant is not None and grant.dead is None else access.sub if access is not None else None
            if sub is None:
                return JSONResponse(
                    {"error": "invalid_token", "error_description": "Token expired or revoked"}, status_code=400
                )
            # One token withdraws the grant of the account to the whole project.
            self._google.kill_grant(sub=sub, reason="revoked")
            self._google.access = {key: value for key, value in self._google.access.items() if value.sub != sub}
            self._google.accounts_by_sub[sub].consented.clear()
        return JSONResponse({})

    async def tokeninfo(self, request: Request) -> Response:
        found = self._google.authenticate("Bearer " + request.query_params.get("access_token", ""))
        if isinstance(found, str):
            return JSONResponse({"error": "invalid_token", "error_description": "Invalid Value"}, status_code=400)
        left = int((found.expires_at - self._sandbox.clock.now()).total_seconds())
        shown = {
            "azp": found.client_id, "aud": found.client_id, "scope": " ".join(found.scopes), "exp": str(int(found.expires_at.timestamp())),
            "expires_in": str(left), "access_type": "offline",
        }  # fmt: skip
        # Who it is, only for those who may know.
        if {"openid", "email", "profile"} & set(found.scopes):
            shown["sub"] = found.sub
        if "email" in found.scopes:
            shown["email"] = self._google.accounts_by_sub[found.sub].email
        return JSONResponse(shown)


class _OAuthRefusal(Refusal):
    def __init__(self, status: int, error: str, description: str, subtype: str | None) -> None:
        body = {"error": error, "error_description": description}
        if subtype:
            body["error_subtype"] = subtype
        super().__init__(JSONResponse(body, status_code=status, headers={"Cache-Control": "no-store"}))
        self.error = error


def _oauth_error(status: int, error: str, description: str, subtype: str | None = None) -> _OAuthRefusal:
    return _OAuthRefusal(status, error, description, subtype)


def _dead_grant(grant: Grant, now: datetime) -> _OAuthRefusal:
    if grant.dead == "account_deleted":
        return _oauth_error(400, "invalid_grant", "The account has been deleted")
    if grant.dead == "admin_policy_enforced":
        return _oauth_error(400, "admin_policy_enforced", "Access to this app was blocked by the administrator.")
    if grant.dead == "invalid_rapt":
        return _oauth_error(400, "invalid_grant", "reauth related error (invalid_rapt)", "invalid_rapt")
    faded = grant.dead_at is not None and now - grant.dead_at >= DESCRIPTION_FADES
    return _oauth_error(400, "invalid_grant", "Bad Request" if faded else "Token has been expired or revoked.")


def oauth_envelope(status: int, reason: str | None, message: str | None) -> dict[str, str]:
    """Error body of the token endpoint for `status` faults."""
    return {
        "error": reason or ("internal_failure" if status >= 500 else "invalid_request"),
        "error_description": message or "Injected by the sandbox",
    }


def _challenge(verifier: str, method: str) -> str:
    if method == "plain":
        return verifier
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
