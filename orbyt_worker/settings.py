"""Every environment variable of the worker: its type, its default, its unit, one sentence. Nothing else reads the environment.

The table in docs/reference/settings.md is generated from this model. Names of outside hosts are fixed by the design, so
that the sandbox, a proxy or another simulator can stand in for a real host.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Environment(StrEnum):
    PRODUCTION = "production"
    SANDBOX = "sandbox"


# Meta itself speaks of two to five minutes (Instagram Platform, "Content Publishing", read 2026-11).
META_SETTLING_SECONDS_MIN = 120.0

# Names with spaces between them.
_WORDS = r"^[\x21-\x7e]*( [\x21-\x7e]+)*$"
_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]{0,40}")
# What the database takes as well (set_connect_return_to), and without a query.
_LINK = re.compile(r"(?:(?![\"#<>?\\^`{|}])[!-~]){1,2000}")
# What a browser would run or read instead of going there.
_NO_LINK_SCHEMES = frozenset({"javascript", "data", "vbscript", "file", "blob", "about", "ftp", "intent", "content"})
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class Settings(BaseSettings):
    """Read once at start. Values of type SecretStr never show in a repr, a log or `orbyt-worker check`."""

    model_config = SettingsConfigDict(env_prefix="ORBYT_", env_file=None, extra="ignore", frozen=True)

    environment: Environment = Field(
        Environment.PRODUCTION,
        description="`sandbox` allows plain http, loopback addresses and the sandbox's test hooks; never set it in production.",
    )

    # The database and Supabase
    database_url: SecretStr = Field(
        ...,
        description="Postgres URL of the role orbyt_worker: direct or session pooler (port 5432) so that LISTEN works.",
    )
    supabase_url: str | None = Field(
        None, description="Project URL (https://<ref>.supabase.co); needed for storage:// media."
    )
    supabase_secret_key: SecretStr | None = Field(
        None, description="Secret API key of the project (sb_secret_…), for Storage only."
    )
    storage_bucket: str = Field(
        "orbyt-media",
        pattern="^[A-Za-z0-9_.-]{1,63}$",
        description="Private bucket for converted pictures that a platform fetches by address; made by the migrations.",
    )
    hosted_url_seconds: float = Field(
        21_600,
        ge=3_600,
        le=604_800,
        description="How long an address of a private file stays valid once it was given to a platform, which may fetch it late.",
    )

    # Capacity
    background_slots: int = Field(
        8, ge=1, le=256, description="Jobs prepared, uploaded or verified at the same time by this worker."
    )
    publish_slots: int = Field(
        8,
        ge=1,
        le=256,
        description="Visible calls at the same time by this worker; kept apart so uploads never delay them.",
    )
    connect_slots: int = Field(
        4,
        ge=0,
        le=64,
        description="Logins finished at the same time by this worker; 0: it connects no accounts, others do.",
    )
    database_pool_size_max: int = Field(6, ge=2, le=64, description="Database connections besides the one for LISTEN.")
    spool_dir: Path = Field(
        Path("/tmp/orbyt-spool"),  # noqa: S108 - a default; made with mode 0700
        description="Directory for media while it is relayed; emptied at start.",
    )
    spool_bytes_max: int = Field(
        20 * 1024**3, ge=64 * 1024**2, description="Disk the spool may use, in bytes; further downloads wait."
    )
    media_bytes_max: int = Field(
        256 * 1024**3, ge=1, description="Largest source file accepted, in bytes, whatever the platform allows."
    )

    # Timing
    lease_seconds: float = Field(
        60, ge=1, le=600, description="A worker silent for this long loses its jobs to the others."
    )
    heartbeat_seconds: float = Field(
        15, ge=0.2, le=300, description="How often a worker renews its lease; at most a third of the lease."
    )
    poll_seconds: float = Field(
        15, ge=0.2, le=300, description="Longest time between two looks at the queue when nothing wakes the worker."
    )
    shutdown_seconds: float = Field(
        20,
        ge=1,
        le=600,
        description="After SIGTERM: time for running jobs to reach a checkpoint before they are given back.",
    )
    upkeep_seconds: float = Field(
        30,
        ge=0.2,
        le=3600,
        description="How often expired, held and released jobs, tokens and old rows are looked after.",
    )
    publish_claim_early_seconds: float = Field(
        3, ge=0, le=30, description="A visible call is claimed this long before publish_at, to be made on the second."
    )
    prepare_lead_seconds: float = Field(
        3600, ge=0, le=86_400, description="Hidden work (download, upload) starts this long before publish_at."
    )
    youtube_finish_lead_seconds: float = Field(
        900,
        ge=0,
        le=86_400,
        description="A scheduled YouTube video is handed over (private, with publishAt) this long before publish_at, so it is processed in time.",
    )

    meta_settling_seconds: float = Field(
        300,
        ge=2,
        le=3600,
        description="How long Facebook and Instagram are watched after a lost answer before their own state is believed to say `not published`; outside the sandbox at least 120.",
    )

    # Logs and health
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Lowest level written.")
    log_format: str = Field(
        "json", pattern="^(json|console)$", description="`json` for machines, `console` for people."
    )
    http_host: str = Field("127.0.0.1", description="Address the HTTP endpoint binds to.")
    http_port: int = Field(
        8080,
        ge=0,
        le=65_535,
        description="Port of the HTTP endpoint (probes, metrics, callbacks, webhook); 0 switches it off.",
    )
    http_public_url: str | None = Field(
        None,
        description="Address under which the endpoint's public routes are reached from outside; Meta gets it for the page about a data deletion. Not set: the address Meta called.",
    )
    http_trusted_proxies: str = Field(
        "127.0.0.1",
        pattern=r"^[0-9A-Fa-f.:/]*(, *[0-9A-Fa-f.:/]+)*$",
        description="Addresses or networks of proxies in front, separated by commas; only from these is X-Forwarded-For believed, by which the limits tell clients apart.",
    )

    # Connecting accounts
    connect_redirect_url: str | None = Field(
        None,
        description="Public https URL of the callback door, exactly as registered with the platforms; nothing can be connected without it. All workers that have one need the same logins: the credentials of the last one to start decide which are offered.",
    )
    connect_return_to: str = Field(
        "",
        description="Links of the app that a login may return to, separated by commas; what the app asks for must be one of them, letter for letter.",
    )

    connect_proof: bool = Field(
        False,
        description="Add a proof to the link back to the app that finish_connect must be given, and connect nothing without it: nobody can have somebody else approve a login for them.",
    )

    # Google and YouTube
    google_client_id: str | None = Field(None, description="OAuth client id (type Web application).")
    google_client_secret: SecretStr | None = Field(None, description="OAuth client secret.")
    google_project: str = Field(
        "default", description="Name under which this Google project's quota is kept in the ledger."
    )
    youtube_uploads_per_day: int = Field(
        95, ge=0, description="videos.insert calls per day of the Google project (100 by default, a few kept back)."
    )
    youtube_units_per_day: int = Field(
        9_500, ge=0, description="General quota units per day of the Google project (10,000 by default)."
    )
    youtube_extra_scopes: str = Field(
        "",
        pattern=_WORDS,
        description="Further scopes to ask for when a channel is connected (playlists and captions need youtube.force-ssl); not required.",
    )
    google_authorize_url: str = Field(
        "https://accounts.google.com/o/oauth2/v2/auth", description="Google's consent page."
    )
    google_token_url: str = Field("https://oauth2.googleapis.com/token", description="Google's token endpoint.")
    google_revoke_url: str = Field("https://oauth2.googleapis.com/revoke", description="Google's revocation endpoint.")
    youtube_url: str = Field(
        "https://www.googleapis.com", description="Host of the YouTube Data API; /youtube/v3/… is appended."
    )
    youtube_upload_url: str = Field(
        "https://www.googleapis.com", description="Host for uploads; /upload/youtube/v3/… is appended."
    )

    # Meta
    meta_app_id: str | None = Field(None, description="Meta app id.")
    meta_app_secret: SecretStr | None = Field(None, description="Meta app secret.")
    meta_api_version: str = Field(
        "v25.0",
        pattern=r"^v\d+\.\d+$",
        description="Version of the Graph API, for all calls; `check` warns before it ends.",
    )
    meta_appsecret_proof: str = Field(
        "timed",
        pattern="^(timed|plain|off)$",
        description="How Graph calls are signed with the app secret: `timed` (valid for 5 minutes), `plain`, or `off`.",
    )
    meta_config_id: str | None = Field(
        None,
        pattern="^[0-9]{1,30}$",
        description="Configuration of Facebook Login for Business; it fixes permissions and assets, so no scopes are asked for.",
    )
    facebook_extra_scopes: str = Field(
        "business_management pages_manage_engagement",
        pattern=_WORDS,
        description="Further permissions to ask for when pages are connected (pages of business portfolios, first comments); not required.",
    )
    instagram_extra_scopes: str = Field(
        "business_management instagram_manage_comments",
        pattern=_WORDS,
        description="The same for Instagram accounts connected through Facebook.",
    )
    instagram_login_extra_scopes: str = Field(
        "instagram_business_manage_comments", pattern=_WORDS, description="The same for Instagram Login."
    )
    instagram_app_id: str | None = Field(
        None, description="Instagram app id, for Instagram Login (not the Meta app id)."
    )
    instagram_app_secret: SecretStr | None = Field(None, description="Instagram app secret, for Instagram Login.")
    meta_graph_url: str = Field("https://graph.facebook.com", description="Graph API host.")
    meta_video_url: str = Field("https://graph-video.facebook.com", description="Graph API host for video uploads.")
    meta_upload_url: str = Field("https://rupload.facebook.com", description="Resumable upload host.")
    meta_dialog_url: str = Field("https://www.facebook.com", description="Host of Meta's login dialog.")
    instagram_graph_url: str = Field("https://graph.instagram.com", description="Graph API host of Instagram Login.")
    instagram_authorize_url: str = Field(
        "https://www.instagram.com/oauth/authorize", description="Instagram Login's consent page."
    )
    instagram_token_url: str = Field(
        "https://api.instagram.com/oauth/access_token", description="Instagram Login's token endpoint."
    )

    # Mux
    mux_stream_url: str = Field(
        "https://stream.mux.com", description="Mux streaming host, or the custom playback domain."
    )
    mux_api_url: str = Field("https://api.mux.com", description="Mux API host.")
    mux_token_id: str | None = Field(
        None, description="Mux access token id; lets the worker look up and request renditions."
    )
    mux_token_secret: SecretStr | None = Field(None, description="Mux access token secret.")
    mux_create_renditions: bool = Field(
        True,
        description="Ask Mux to make an MP4 file where there is none (Mux bills for it); off: the stream is copied into a file here instead.",
    )
    mux_webhook_secret: SecretStr | None = Field(
        None, description="Signing secret of the Mux webhook that calls this worker; not set: the route answers 404."
    )
    mux_signing_key_id: str | None = Field(None, description="Id of the Mux signing key, for signed playback ids.")
    mux_signing_private_key: SecretStr | None = Field(
        None, description="Private key of the signing key, base64 of the PEM as Mux shows it."
    )

    # Test hooks: refused outside the sandbox
    sandbox_kill_at: str | None = Field(
        None,
        pattern=r"^(http|db)\.(before|after) \S+ [1-9][0-9]*$",
        description="Sandbox only: kill this process at this checkpoint, as written to the checkpoint log (the kill tests).",
    )
    sandbox_checkpoint_log: Path | None = Field(
        None, description="Sandbox only: write every checkpoint passed to this file, with how often it was."
    )

    @property
    def sandbox(self) -> bool:
        return self.environment is Environment.SANDBOX

    @property
    def connect_return_links(self) -> tuple[str, ...]:
        """`connect_return_to` as a list, without repetitions."""
        return tuple(dict.fromkeys(link for part in self.connect_return_to.split(",") if (link := part.strip())))

    @field_validator("youtube_url", "youtube_upload_url", mode="after")
    @classmethod
    def _host_only(cls, value: str) -> str:
        """The path is appended by us; an address that was copied with it means the same."""
        return value.rstrip("/").removesuffix("/youtube/v3").removesuffix("/upload")

    @model_validator(mode="after")
    def _hosts_are_safe(self) -> Self:
        for name, value in self:
            if not name.endswith("_url") or not isinstance(value, str):
                continue
            parts = urlsplit(value)
            if not parts.hostname or parts.scheme not in {"http", "https"}:
                raise ValueError(f"ORBYT_{name.upper()} must be an absolute http(s) URL")
            if not self.sandbox and (parts.scheme != "https" or parts.hostname in _LOOPBACK_HOSTS):
                raise ValueError(
                    f"ORBYT_{name.upper()} must be https and not loopback unless ORBYT_ENVIRONMENT=sandbox"
                )
        return self

    @model_validator(mode="after")
    def _links_are_safe(self) -> Self:
        for link in self.connect_return_links:
            parts = urlsplit(link)
            named = parts.hostname is not None or parts.path.strip("/") != ""
            # A link with a query or a fragment could carry the session somewhere else, or shadow what is added to it.
            if not _SCHEME.fullmatch(parts.scheme) or not named or not _LINK.fullmatch(link):
                raise ValueError("ORBYT_CONNECT_RETURN_TO has an entry that is not a plain link (scheme://host/path)")
            if parts.scheme in _NO_LINK_SCHEMES or (parts.scheme == "http" and not self.sandbox):
                raise ValueError("ORBYT_CONNECT_RETURN_TO takes https links and links with the app's own scheme")
        return self

    @model_validator(mode="after")
    def _hooks_only_in_sandbox(self) -> Self:
        if not self.sandbox and (self.sandbox_kill_at is not None or self.sandbox_checkpoint_log is not None):
            raise ValueError("ORBYT_SANDBOX_… settings need ORBYT_ENVIRONMENT=sandbox")
        return self

    @model_validator(mode="after")
    def _timing_fits(self) -> Self:
        if not self.sandbox and self.meta_settling_seconds < META_SETTLING_SECONDS_MIN:
            raise ValueError(f"ORBYT_META_SETTLING_SECONDS must be at least {META_SETTLING_SECONDS_MIN:.0f}")
        if self.heartbeat_seconds * 3 > self.lease_seconds:
            raise ValueError("ORBYT_HEARTBEAT_SECONDS must be at most a third of ORBYT_LEASE_SECONDS")
        return self
