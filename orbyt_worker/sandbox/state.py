"""The state of the whole sandbox: one object that tests use in Python and the server serves over HTTP.

A new platform is one more simulator: a file with a class that has `routes`, `settings_env` and `reset`, and one line in
`Sandbox.__init__`. Its methods marked `@operation` appear in the control API by themselves.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from starlette.routing import BaseRoute

from orbyt_worker.sandbox import app_page
from orbyt_worker.sandbox.clock import SandboxClock
from orbyt_worker.sandbox.faults import Faults
from orbyt_worker.sandbox.google import Google
from orbyt_worker.sandbox.google_oauth import oauth_envelope
from orbyt_worker.sandbox.instagram_login import instagram_oauth_envelope
from orbyt_worker.sandbox.media_host import MediaHost
from orbyt_worker.sandbox.meta import Meta
from orbyt_worker.sandbox.meta_errors import graph_envelope
from orbyt_worker.sandbox.mux import Mux
from orbyt_worker.sandbox.mux_model import mux_envelope
from orbyt_worker.sandbox.operations import operation
from orbyt_worker.sandbox.storage import Storage, storage_envelope
from orbyt_worker.sandbox.wire import Connections, Envelope, RequestLog
from orbyt_worker.sandbox.youtube import YouTube
from orbyt_worker.sandbox.youtube_rules import google_envelope

INTERNAL_ERRORS_KEPT_MAX = 100


class Sandbox:
    """Everything the simulators know. Each part locks for itself; handlers and tests may use it at the same time."""

    def __init__(self) -> None:
        self.base_url = ""
        self.started_at = datetime.now(UTC).replace(microsecond=0)
        self.connections = Connections()
        self.clock = SandboxClock()
        self.faults = Faults()
        self.requests = RequestLog()
        self.youtube = YouTube(self)
        self.google = Google(self)
        self.mux = Mux(self)
        self.media = MediaHost(self)
        self.meta = Meta(self)
        self.storage = Storage(self)
        self.app = app_page.AppPages(self)
        self._lock = threading.Lock()
        self._internal_errors: list[str] = []
        # By the first part of a route's name, or by the whole of it. None: errors are pages.
        self._envelopes: dict[str, Envelope | None] = {
            "google": oauth_envelope,
            "app": None,
            "google.authorize": None,
            "meta.oauth.dialog": None,
            "instagram.oauth.authorize": None,
            "instagram.oauth.exchange": instagram_oauth_envelope,
            "youtube": google_envelope,
            "mux": mux_envelope,
            "meta": graph_envelope,
            "facebook": graph_envelope,
            "instagram": graph_envelope,
            "storage": storage_envelope,
        }

    def parts(self) -> Mapping[str, Any]:
        """Everything with operations, by its name in the control API."""
        return {
            "sandbox": self,
            "clock": self.clock,
            "faults": self.faults,
            "requests": self.requests,
            "google": self.google,
            "youtube": self.youtube,
            "mux": self.mux,
            "media": self.media,
            "storage": self.storage,
            "meta": self.meta,
            "facebook": self.meta.facebook,
            "instagram": self.meta.instagram,
        }

    def routes(self) -> list[BaseRoute]:
        """The routes of all simulators."""
        return [
            *self.google.routes(),
            *self.youtube.routes(),
            *self.mux.routes(),
            *self.media.routes(),
            *self.storage.routes(),
            *self.meta.routes(),
            *self.app.routes(),
        ]

    @operation(reads=True)
    def settings_env(self) -> dict[str, str]:
        """Environment variables that make a worker talk to this sandbox."""
        env = {"ORBYT_ENVIRONMENT": "sandbox"}
        for simulator in (self.google, self.youtube, self.mux, self.storage, self.meta):
            env.update(simulator.settings_env(self.base_url))
        return env

    @operation(reads=True)
    def return_link(self) -> str:
        """A link a login may return to where there is no app: a page that shows what it was given."""
        return self.base_url + app_page.PATH

    @operation()
    def register_redirect(self, redirect_uri: str) -> None:
        """Allow one callback address at every login, as an operator does in the platforms' dashboards; the others stay.

        https, or http on this machine; no fragment. Raises ValueError otherwise.
        """
        parts = urlsplit(redirect_uri)
        local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if not parts.hostname or parts.fragment or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
            raise ValueError("a redirect URI is https (http on this machine) and has no fragment")
        for config in (self.google.config, self.meta.login.config, self.meta.instagram.config):
            if redirect_uri not in config.redirect_uris:
                config.redirect_uris = (*config.redirect_uris, redirect_uri)

    @operation()
    def reset(self) -> None:
        """Forget everything: accounts, videos, assets, files, faults, requests; sandbox time is real time again."""
        self.clock.reset()
        parts = (self.faults, self.requests, self.google, self.youtube, self.mux, self.media, self.storage, self.meta)
        for part in parts:
            part.reset()
        with self._lock:
            self._internal_errors.clear()

    @operation(reads=True)
    def internal_errors(self) -> list[str]:
        """Mistakes of the sandbox itself (not injected faults); a test run ends with none."""
        with self._lock:
            return [*self._internal_errors]

    def note_internal_error(self, route_name: str, error: Exception) -> None:
        """Remember a mistake of the sandbox itself."""
        text = f"{route_name}: " + "".join(traceback.format_exception(error))
        with self._lock:
            self._internal_errors.append(text)
            del self._internal_errors[:-INTERNAL_ERRORS_KEPT_MAX]

    def envelope_of(self, route_name: str) -> Envelope | None:
        """The error shape of the platform a route belongs to; None for hosts that answer errors with a page."""
        return self._envelopes.get(route_name, self._envelopes.get(route_name.split(".")[0]))
