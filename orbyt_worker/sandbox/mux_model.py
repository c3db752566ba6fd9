"""Assets and renditions of the simulated Mux, and what follows from their shape alone."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from starlette.responses import JSONResponse

from orbyt_worker.sandbox.media_host import Behaviour, HostedFile
from orbyt_worker.sandbox.mux_hls import StreamKind
from orbyt_worker.sandbox.wire import Refusal

TOKEN_ID = "sandbox-mux-token-id"  # noqa: S105 - the sandbox's own, public by design
TOKEN_SECRET = "sandbox-mux-token-secret"  # noqa: S105 - the sandbox's own, public by design
READ_ONLY_TOKEN_ID = "sandbox-mux-read-only"  # noqa: S105 - the sandbox's own, public by design
MASTER_LIFE = timedelta(hours=24)
POSTS_PER_SECOND = 1.0
OTHERS_PER_SECOND = 5.0
# Reads may come in short bursts; of writes there is one a second, strictly.
BURSTS = {"post": 1.0, "other": 5.0}
NEVER = timedelta(days=36_500)

Policy = Literal["public", "signed", "drm"]
RenditionState = Literal["preparing", "ready", "skipped", "errored"]
TIERS = {"2160p": 2160, "1440p": 1440, "1080p": 1080, "720p": 720, "540p": 540, "480p": 480, "360p": 360, "270p": 270}
LEGACY = frozenset({"none", "standard", "capped-1080p", "audio-only", "audio-only,capped-1080p"})
ALPHABET = string.ascii_letters + string.digits


@dataclass(slots=True)
class Rendition:
    """One static file of an asset. `id` is None for those of the legacy `mp4_support`."""

    name: str
    resolution: str
    rendition_id: str | None
    ready_at: datetime
    ends_as: Literal["ready", "skipped", "errored"]
    passthrough: str | None = None
    file: HostedFile | None = field(default=None, repr=False)


@dataclass(slots=True)
class Asset:
    """One asset. `width` and `height` are those of the input; the file is as large as `size_bytes` says."""

    asset_id: str
    created_at: datetime
    ready_at: datetime
    errored: bool
    seconds: float
    width: int
    height: int
    audio: bool
    size_bytes: int | None
    faststart: bool
    test: bool
    behaviour: Behaviour
    playback_ids: dict[str, Policy] = field(default_factory=dict)
    renditions: dict[str, Rendition] = field(default_factory=dict)
    mp4_support: str = "none"
    master_ready_at: datetime | None = None
    master_key: str = field(default="", repr=False)
    seed: int = 0
    hls: StreamKind = "ts"


@dataclass(frozen=True, slots=True)
class AssetHandle:
    """What a test needs to use an asset."""

    asset_id: str
    playback_id: str
    policy: Policy
    stream_url: str
    hls_url: str


@dataclass(slots=True)
class MuxConfig:
    """Switches; `configure` changes them."""

    rendition_seconds: float = 5.0
    master_seconds: float = 120.0
    not_ready_status: Literal[404, 412] = 404
    rate_limits: bool = True
    stream_url_seconds: float = 21_600.0


def mux_envelope(status: int, reason: str | None, message: str | None) -> dict[str, Any]:
    """Error body of the Mux API for `status` faults."""
    return {"error": {"type": reason or "internal_server_error", "messages": [message or "Injected by the sandbox"]}}


def mux_error(status: int, kind: str, message: str) -> Refusal:
    return Refusal(JSONResponse({"error": {"type": kind, "messages": [message]}}, status_code=status))


def identifier(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def after(now: datetime, seconds: float | None) -> datetime:
    return now + (NEVER if seconds is None else timedelta(seconds=seconds))


def scaled(asset: Asset, resolution: str) -> tuple[int, int]:
    """Picture size of a rendition: never larger than the input, even numbers as the encoder wants them."""
    targets = {**TIERS, "capped-1080p": 1080, "high": 720, "medium": 480, "low": 270}
    short = min(asset.width, asset.height)
    target = min(targets.get(resolution, short), short)
    return round(asset.width * target / short / 2) * 2, round(asset.height * target / short / 2) * 2


def tier(short_side: int) -> str:
    return next(
        (name for name, limit in (("720p", 720), ("1080p", 1080), ("1440p", 1440)) if short_side <= limit), "2160p"
    )


def ratio(asset: Asset) -> str:
    a, b = asset.width, asset.height
    while b:
        a, b = b, a % b
    return f"{asset.width // a}:{asset.height // a}"
