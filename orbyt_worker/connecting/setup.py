"""What the database needs before anybody can press the button: the ways to log in, where to return to, the callback key.

Said at every start and safe to repeat. No secret among it but the private half of the callback key, which is sealed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from orbyt_worker.callback_crypto import PrivateKey
from orbyt_worker.db.connect_queries import ConnectApp, ConnectQueries, SealedCallbackKey
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.connector import Connector, LoginApp
from orbyt_worker.publishing.keys import MasterKeys
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings

CALLBACK_KEY_KIND = "callback_key"

log = structlog.get_logger(__name__)


async def set_up(
    queries: ConnectQueries,
    keys: MasterKeys,
    connectors: Mapping[str, Connector],
    settings: Settings,
    runtime: Runtime,
) -> None:
    """Everything of it. Without ORBYT_CONNECT_REDIRECT_URL only the key is made: another worker may have the rest."""
    await ensure_callback_key(queries, keys, runtime)
    if settings.connect_redirect_url is None:
        log.info("connect.not_set_up", missing="ORBYT_CONNECT_REDIRECT_URL")
        return
    apps = connect_apps(connectors, settings, settings.connect_redirect_url)
    for app in apps:
        await queries.set_connect_app(app)
    # As a whole: a login whose credentials were taken away must not be offered any longer. Workers with a redirect URL are to have
    # the same logins; of two that differ, the one that started last is believed.
    withdrawn = await queries.keep_connect_apps([app.login for app in apps])
    await queries.set_connect_return_to(settings.connect_return_links)
    await queries.set_connect_proof(settings.connect_proof)
    log.info(
        "connect.set_up",
        logins=[app.login for app in apps],
        withdrawn=withdrawn,
        return_to=len(settings.connect_return_links),
        proof=settings.connect_proof,
    )


def connect_apps(connectors: Mapping[str, Connector], settings: Settings, redirect_url: str) -> list[ConnectApp]:
    """The ways to log in, each once with the scopes of every platform it serves. Pure.

    Platforms that share a login send people to the same page of the same app: anything else is a mistake in a connector.
    """
    found: dict[str, dict[str, LoginApp]] = {}
    for platform, connector in connectors.items():
        for app in connector.apps(settings):
            found.setdefault(app.login, {})[platform] = app
    return [_merged(by_platform, redirect_url) for _, by_platform in sorted(found.items())]


def _merged(by_platform: Mapping[str, LoginApp], redirect_url: str) -> ConnectApp:
    first = next(iter(by_platform.values()))
    for other in by_platform.values():
        same = (other.client_id, other.authorize_url, dict(other.parameters), other.pkce, other.scope_separator)
        if same != (first.client_id, first.authorize_url, dict(first.parameters), first.pkce, first.scope_separator):
            raise Failure(ErrorCode.INTERNAL_ERROR, f"the platforms of login {first.login} do not agree about it")
    return ConnectApp(
        login=first.login,
        client_id=first.client_id,
        redirect_uri=redirect_url,
        authorize_url=first.authorize_url,
        scopes={platform: app.scopes for platform, app in by_platform.items()},
        parameters=first.parameters,
        pkce=first.pkce,
        scope_separator=first.scope_separator,
    )


async def ensure_callback_key(queries: ConnectQueries, keys: MasterKeys, runtime: Runtime) -> None:
    """Make the key the doors seal with, if there is none. Ten workers that start at once keep the first one's."""
    if await queries.callback_key_id() is not None:
        return
    private = await asyncio.to_thread(PrivateKey.generate)
    key_id, owner_id = f"callback-{runtime.new_id().hex[:12]}", runtime.new_id()
    sealed = keys.seal(private.der(), owner_id=owner_id, kind=CALLBACK_KEY_KIND)
    added = await queries.add_callback_key(
        public_jwk=private.public_jwk(key_id),
        private=SealedCallbackKey(owner_id, sealed.key_id, sealed.blob),
        key_id=key_id,
    )
    if added:
        log.info("connect.callback_key_made", key_id=key_id)


async def open_callback_key(queries: ConnectQueries, keys: MasterKeys, key_id: str) -> PrivateKey:
    """The private half. Raises Failure(secret_unreadable)."""
    sealed = await queries.read_callback_key(key_id)
    if sealed is None:
        raise Failure(ErrorCode.SECRET_UNREADABLE, "the callback key is gone")
    return PrivateKey.from_der(
        await keys.open(sealed.sealed, owner_id=sealed.owner_id, kind=CALLBACK_KEY_KIND, key_id=sealed.key_id)
    )
