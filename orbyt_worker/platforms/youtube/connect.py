"""Connecting a YouTube channel with Google's login ("Using OAuth 2.0 for Web Server Applications", Google Identity; read 2026-11).

Three parameters of the consent page matter. `access_type=offline`: without it there is no refresh token. `prompt=consent`: without
it a person who granted the app before gets none either. `select_account`: the wrong Google account is never taken silently, and the
person picks the channel. `include_granted_scopes` is not used: a grant is bound to one channel, and the scopes of an earlier one
say nothing about it.

The grant is for exactly the channel that was picked; `channels.list` names it and no other. Scopes are check boxes, so what was
granted is read from the token's answer. Revoking takes the whole grant of that identity back: all its tokens end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account
from orbyt_worker.platforms.base import Credentials, Http, TokenGrant
from orbyt_worker.platforms.connector import AccountCheck, Candidate, ConnectRequest, ConnectResult, LoginApp
from orbyt_worker.platforms.logins import (
    as_connect_failure,
    asked_twice,
    exchange_code,
    identifier,
    mapping,
    name_of,
    picture_of,
    require_scopes,
    seconds_of,
    secret,
    utc_now,
    words,
)
from orbyt_worker.platforms.youtube.errors import failure_of
from orbyt_worker.platforms.youtube.login import refresh, refusal
from orbyt_worker.platforms.youtube.rules import RULES, SCOPE_READ, SCOPE_UPLOAD
from orbyt_worker.settings import Settings

GOOGLE_LOGIN = "google"
EXCHANGE = "google.token.exchange"
REVOKE = "google.revoke"
CHANNELS = "youtube.channels.list"
# What each permission that publishing needs is for.
NEEDED = {SCOPE_UPLOAD: "uploading videos", SCOPE_READ: "seeing the channel and whether a video is up"}
READ_SECONDS = 20.0
CHANNELS_MAX = 50

_NO_CHANNEL = frozenset({ErrorCode.YOUTUBE_NO_CHANNEL, ErrorCode.YOUTUBE_ACCOUNT_CLOSED})


@dataclass(frozen=True, slots=True)
class YouTubeConnector:
    """`connector.Connector` for YouTube. `now` is for dates in answers."""

    now: Callable[[], datetime] = utc_now

    def apps(self, config: Settings) -> Sequence[LoginApp]:
        """Google's login, if this worker has a client for it."""
        if config.google_client_id is None or config.google_client_secret is None:
            return ()
        return (
            LoginApp(
                GOOGLE_LOGIN,
                config.google_client_id,
                config.google_authorize_url,
                _scopes(config),
                {"access_type": "offline", "prompt": "consent select_account"},
                pkce=True,
            ),
        )

    async def connect(self, http: Http, config: Settings, request: ConnectRequest) -> ConnectResult:
        """See `connector.Connector`. A candidate's grant lacks the refresh token if Google gave none: a stored one then stays."""
        try:
            granted, ends_in = await _exchange(http, config, request)
            require_scopes(NEEDED, granted.scopes or ())
            channels = await asked_twice(lambda: self._channels(http, config, granted.access_token))
        except Failure as failure:
            if failure.code in _NO_CHANNEL:
                raise Failure(ErrorCode.CONNECT_NO_CHANNEL, failure.detail) from None
            raise as_connect_failure(failure) from None
        candidates = [each for channel in channels if (each := _candidate(channel, granted, ends_in)) is not None]
        if not candidates:
            raise Failure(
                ErrorCode.CONNECT_NO_CHANNEL, "the Google account has no channel, or another identity was picked"
            )
        # Without a scope for it nobody is told who logged in. The identity picked and its channel are one thing.
        return ConnectResult(candidates, candidates[0].platform_account_id)

    async def check(self, http: Http, config: Settings, account: Account, credentials: Credentials) -> AccountCheck:
        """One unit of the project's quota. A stored access token that is refused is looked at once more with a fresh one."""
        token, scopes = credentials.access_token, None
        try:
            channels = None if token is None else await self._own_channels(http, config, token)
            if channels is None:
                granted = await refresh(http, config, credentials)
                scopes = granted.scopes
                channels = await self._channels(http, config, granted.access_token)
        except Failure as failure:
            if failure.code is not ErrorCode.YOUTUBE_ACCOUNT_SUSPENDED and not catalog.entry(failure.code).needs_reauth:
                raise
            return AccountCheck(failure.code, failure.detail)
        found = {each.get("id") for each in channels}
        if not found:
            return AccountCheck(ErrorCode.YOUTUBE_NO_CHANNEL, "the account has no channel", scopes)
        if account.platform_account_id not in found:
            return AccountCheck(ErrorCode.ACCOUNT_WRONG_CHANNEL, "the grant is for another channel", scopes)
        if scopes is not None and not set(RULES.required_scopes) <= set(scopes):
            return AccountCheck(ErrorCode.YOUTUBE_SCOPE_MISSING, "a permission was withdrawn", scopes)
        return AccountCheck(scopes=scopes)

    async def revoke(self, http: Http, config: Settings, account: Account, credentials: Credentials) -> None:
        """Ends everything that identity granted to the Google project. The refresh token says it best; an access token does as well."""
        token = credentials.refresh_token or credentials.access_token
        if token is None:
            return
        response = await http.call(
            REVOKE, "POST", config.google_revoke_url, timeout_seconds=READ_SECONDS, form={"token": token}
        )
        # 400 with an `error` (invalid_token): it is gone already. An error page says nothing.
        if response.status == 200 or (response.status == 400 and isinstance(mapping(response.json).get("error"), str)):
            return
        raise refusal(REVOKE, response)

    async def _own_channels(self, http: Http, config: Settings, token: str) -> Sequence[Mapping[str, Any]] | None:
        """None: the token was refused, which a token that has just expired is as well."""
        try:
            return await self._channels(http, config, token)
        except Failure as failure:
            if failure.http_status == 401 and failure.code not in _NO_CHANNEL:
                return None
            raise

    async def _channels(self, http: Http, config: Settings, token: str) -> Sequence[Mapping[str, Any]]:
        response = await http.call(
            CHANNELS,
            "GET",
            f"{config.youtube_url.rstrip('/')}/youtube/v3/channels",
            timeout_seconds=READ_SECONDS,
            params={"part": "id,snippet,status", "mine": "true", "maxResults": str(CHANNELS_MAX)},
            headers={"authorization": f"Bearer {token}"},
        )
        if response.status != 200:
            raise failure_of(CHANNELS, response, self.now())
        if not isinstance(response.json, dict):
            raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{CHANNELS}: the answer is not JSON", http_status=200)
        items = response.json.get("items")
        found = [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
        # Without a channel `items` is left out altogether and the number says so. Anything else says nothing about the account.
        if not found and mapping(response.json.get("pageInfo")).get("totalResults") != 0:
            raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{CHANNELS}: neither channels nor none", http_status=200)
        return found


def _scopes(config: Settings) -> tuple[str, ...]:
    return (*RULES.required_scopes, *(words(config.youtube_extra_scopes) or ()))


async def _exchange(http: Http, config: Settings, request: ConnectRequest) -> tuple[TokenGrant, float | None]:
    """(the grant, seconds until it ends as a whole: only where the person chose limited access)."""
    if config.google_client_id is None or config.google_client_secret is None:
        raise Failure(ErrorCode.PLATFORM_NOT_CONFIGURED, "the Google client id or secret is not set")
    form = {
        "grant_type": "authorization_code",
        "code": request.code,
        "client_id": config.google_client_id,
        "client_secret": config.google_client_secret.get_secret_value(),
        "redirect_uri": request.redirect_uri,
    }
    if request.code_verifier is not None:
        form["code_verifier"] = request.code_verifier
    response = await exchange_code(http, EXCHANGE, config.google_token_url, form)
    if response.status != 200:
        raise refusal(EXCHANGE, response, qualifier="exchange")
    answer = mapping(response.json)
    token = secret(answer.get("access_token"))
    if token is None:
        raise Failure(ErrorCode.CONNECT_PLATFORM_REFUSED, f"{EXCHANGE}: HTTP 200 without a token", http_status=200)
    grant = TokenGrant(
        token,
        seconds_of(answer.get("expires_in")),
        refresh_token=secret(answer.get("refresh_token")),
        # "OPTIONAL, if identical to the scope requested by the client" (RFC 6749, section 5.1).
        scopes=words(answer.get("scope")) or _scopes(config),
    )
    return grant, seconds_of(answer.get("refresh_token_expires_in"))


def _candidate(channel: Mapping[str, Any], granted: TokenGrant, ends_in: float | None) -> Candidate | None:
    channel_id = identifier(channel.get("id"))
    if channel_id is None:
        return None
    snippet = mapping(channel.get("snippet"))
    picture = mapping(mapping(snippet.get("thumbnails")).get("default")).get("url")
    # "Has no public YouTube identity, which is a prerequisite for uploading" (Channels resource, status.isLinked).
    usable = mapping(channel.get("status")).get("isLinked") is not False
    return Candidate(
        channel_id,
        name_of(snippet.get("title")) or channel_id,
        handle=name_of(snippet.get("customUrl")),
        picture_url=picture_of(picture),
        scopes=granted.scopes or (),
        grant=granted if usable else None,
        code=None if usable else ErrorCode.CONNECT_NO_CHANNEL,
        token_expires_in_seconds=ends_in,
    )
