"""Mux Video: assets, playback ids, static renditions, master access, live streams: the state and its control side.

After Mux docs "Download your videos", "Secure video playback" and the types of @mux/mux-node 15.3.0. Everything becomes
ready by the sandbox clock, or on command. The endpoints are in mux_api, the streaming host is in mux_stream.
"""

from __future__ import annotations

import base64
import secrets
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.routing import BaseRoute

from orbyt_worker.sandbox import media_files, mux_hls
from orbyt_worker.sandbox.deliveries import Delivery
from orbyt_worker.sandbox.media_host import Behaviour, HostedFile
from orbyt_worker.sandbox.mux_api import api_routes
from orbyt_worker.sandbox.mux_hls import StreamKind
from orbyt_worker.sandbox.mux_model import (
    LEGACY,
    MASTER_LIFE,
    READ_ONLY_TOKEN_ID,
    TIERS,
    TOKEN_ID,
    TOKEN_SECRET,
    Asset,
    AssetHandle,
    MuxConfig,
    Policy,
    Rendition,
    RenditionState,
    after,
    identifier,
    mux_error,
    ratio,
    scaled,
    tier,
)
from orbyt_worker.sandbox.mux_stream import stream_routes
from orbyt_worker.sandbox.mux_webhooks import WEBHOOK_SECRET, Tamper, encoded, event, send
from orbyt_worker.sandbox.operations import operation

if TYPE_CHECKING:
    from orbyt_worker.sandbox.state import Sandbox

__all__ = ["READ_ONLY_TOKEN_ID", "TOKEN_ID", "TOKEN_SECRET", "WEBHOOK_SECRET", "AssetHandle", "Mux"]


class Mux:
    """State and API. Thread-safe: one lock, never held across an await."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.lock = threading.RLock()
        self.config = MuxConfig()
        self.assets: dict[str, Asset] = {}
        self.live_streams: dict[str, str] = {}  # playback id -> live stream id
        self.buckets: dict[str, tuple[float, datetime]] = {}  # verb class -> (calls left, at)
        self._keys: tuple[str, str, rsa.RSAPublicKey] | None = None

    def routes(self) -> list[BaseRoute]:
        return [*api_routes(self), *stream_routes(self)]

    def settings_env(self, base_url: str) -> dict[str, str]:
        """The worker's settings that point at this simulator."""
        key_id, private_key, _ = self.signing_keys()
        return {
            "ORBYT_MUX_STREAM_URL": f"{base_url}/mux-stream",
            "ORBYT_MUX_API_URL": f"{base_url}/mux-api",
            "ORBYT_MUX_TOKEN_ID": TOKEN_ID,
            "ORBYT_MUX_TOKEN_SECRET": TOKEN_SECRET,
            "ORBYT_MUX_SIGNING_KEY_ID": key_id,
            "ORBYT_MUX_SIGNING_PRIVATE_KEY": private_key,
            "ORBYT_MUX_WEBHOOK_SECRET": WEBHOOK_SECRET,
        }

    def reset(self) -> None:
        """Back to an empty world; the signing key stays, as workers already hold it."""
        with self.lock:
            self.config = MuxConfig()
            self.assets.clear()
            self.live_streams.clear()
            self.buckets.clear()

    def signing_keys(self) -> tuple[str, str, rsa.RSAPublicKey]:
        """(key id, private key as base64 of the PEM, public key); made on first use."""
        with self.lock:
            if self._keys is None:
                private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
                pem = private.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.TraditionalOpenSSL,
                    serialization.NoEncryption(),
                )
                self._keys = (identifier(40), base64.b64encode(pem).decode(), private.public_key())
            return self._keys

    # --- the control side ---------------------------------------------------------------------------------------

    @operation()
    def create_asset(
        self,
        *,
        policy: Policy = "public",
        renditions: tuple[str, ...] = ("highest",),
        seconds: float = 2.0,
        width: int = 1280,
        height: int = 720,
        audio: bool = True,
        size_bytes: int | None = None,
        faststart: bool = True,
        test: bool = False,
        errored: bool = False,
        mp4_support: str = "none",
        asset_ready_after_seconds: float | None = 0.0,
        renditions_ready_after_seconds: float | None = 0.0,
        playback_id: str | None = None,
        behaviour: Behaviour | None = None,
        seed: int = 0,
        hls: StreamKind = "ts",
    ) -> AssetHandle:
        """An asset with a playback id. `renditions`: values of `resolution` (`highest`, `1080p`, …, `audio-only`), ready after so many
        seconds of sandbox time (None: not before `finish_rendition`). `size_bytes` pads the file; `behaviour` makes its host misbehave,
        also for the segments of the stream. `hls`: its kind; `fmp4` has the sound as a stream of its own."""
        now = self.sandbox.clock.now()
        with self.lock:
            asset = Asset(
                asset_id=identifier(44), created_at=now, ready_at=after(now, asset_ready_after_seconds), errored=errored, seconds=seconds,
                width=width, height=height, audio=audio, size_bytes=size_bytes, faststart=faststart, test=test,
                behaviour=behaviour or Behaviour(), seed=seed, hls=hls,
            )  # fmt: skip
            made_id = playback_id or identifier(44)
            if self.find_playback(made_id) is not None:
                raise ValueError("there is a playback id like this")
            asset.playback_ids[made_id] = policy
            self.assets[asset.asset_id] = asset
            if mp4_support != "none":
                self.set_mp4_support(asset, mp4_support, after(now, renditions_ready_after_seconds))
            else:
                for resolution in renditions:
                    self.add_rendition(asset, resolution, None, after(now, renditions_ready_after_seconds))
            made = [r for r in asset.renditions.values() if r.ends_as == "ready"]
        # Encoding takes a moment: here, in the caller's thread, and not while the server answers somebody.
        for rendition in made:
            self.file_of(asset, rendition)
        if not any(rendition.name.endswith(".mp4") for rendition in made):
            # Nothing but the stream is left to read.
            for variant in self.stream_variants(asset):
                self.stream_of(asset, variant)
        stream = f"{self.sandbox.base_url}/mux-stream/{made_id}"
        return AssetHandle(asset.asset_id, made_id, policy, stream, stream + ".m3u8")

    @operation()
    def create_live_stream(self, playback_id: str | None = None) -> str:
        """A live stream; returns its playback id."""
        with self.lock:
            made_id = playback_id or identifier(44)
            self.live_streams[made_id] = identifier(44)
            return made_id

    @operation()
    def finish_asset(self, asset_id: str, *, errored: bool = False) -> dict[str, Any]:
        """The asset is ready (or errored) from now on."""
        with self.lock:
            asset = self.assets[asset_id]
            asset.ready_at, asset.errored = self.sandbox.clock.now(), errored
            return self.asset_object(asset)

    @operation()
    def finish_rendition(
        self, asset_id: str, name: str = "highest.mp4", *, ends_as: Literal["ready", "skipped", "errored"] = "ready"
    ) -> dict[str, Any]:
        """One file is ready, skipped or errored from now on."""
        with self.lock:
            asset = self.assets[asset_id]
            rendition = asset.renditions[name]
            rendition.ready_at, rendition.ends_as = self.sandbox.clock.now(), ends_as
            return self.rendition_object(asset, rendition)

    @operation()
    def delete_asset(self, asset_id: str) -> None:
        """The asset and its playback ids are gone."""
        with self.lock:
            del self.assets[asset_id]

    @operation()
    def set_behaviour(self, asset_id: str, behaviour: Behaviour) -> None:
        """Make the streaming host misbehave for the files of this asset."""
        with self.lock:
            asset = self.assets[asset_id]
            asset.behaviour = behaviour
            for rendition in asset.renditions.values():
                if rendition.file is not None:
                    rendition.file.behaviour = behaviour

    @operation(reads=True)
    def list_assets(self) -> list[dict[str, Any]]:
        """All assets as the API shows them."""
        with self.lock:
            return [self.asset_object(asset) for asset in self.assets.values()]

    @operation(reads=True)
    def file_sha256(self, asset_id: str, name: str = "highest.mp4") -> str:
        """Hash of a rendition's bytes; takes about a second per gigabyte."""
        with self.lock:
            hosted = self.file_of(self.assets[asset_id], self.assets[asset_id].renditions[name])
        return hosted.body.sha256()

    @operation(reads=True)
    def file_size(self, asset_id: str, name: str = "highest.mp4") -> int:
        """Size of a rendition in bytes."""
        with self.lock:
            return self.file_of(self.assets[asset_id], self.assets[asset_id].renditions[name]).body.size

    @operation(reads=True)
    def sign(self, playback_id: str, *, aud: str = "v", seconds: float = 3600.0) -> str:
        """A token for a signed playback id; `seconds` may be negative."""
        key_id, private_key, _ = self.signing_keys()
        claims = {"sub": playback_id, "aud": aud, "exp": int(self.sandbox.clock.timestamp() + seconds), "kid": key_id}
        return jwt.encode(claims, base64.b64decode(private_key), algorithm="RS256", headers={"kid": key_id})

    @operation()
    def configure(
        self,
        *,
        rendition_seconds: float | None = None,
        master_seconds: float | None = None,
        not_ready_status: Literal[404, 412] | None = None,
        rate_limits: bool | None = None,
        stream_url_seconds: float | None = None,
    ) -> MuxConfig:
        """Change switches; what is not named stays. `rendition_seconds`: how long files take that are asked for through the API.
        `stream_url_seconds`: how long the signed addresses in a playlist are good."""
        given = {name: value for name, value in locals().items() if name != "self" and value is not None}
        with self.lock:
            for name, value in given.items():
                setattr(self.config, name, value)
            return self.config

    @operation()
    def send_webhook(
        self,
        url: str,
        type: str,  # noqa: A002 - Mux's word
        asset_id: str,
        *,
        name: str = "highest.mp4",
        secret: str = WEBHOOK_SECRET,
        age_seconds: float = 0.0,
        times: int = 1,
        event_id: str | None = None,
        tamper: Tamper = "none",
        body: str | None = None,
    ) -> list[Delivery]:
        """POST an event to a URL of this machine, `times` times with one event id; the answers.

        `type`: e.g. "video.asset.static_rendition.ready" (about the file `name`) or "video.asset.ready". `age_seconds` makes it
        stale (negative: from the future). `body` replaces the event, signed all the same. Call it from a thread other than the
        one that serves `url`.
        """
        with self.lock:
            asset = self.assets.get(asset_id)
            found: dict[str, Any] = {"id": asset_id} if asset is None else self.asset_object(asset)
            if ".static_rendition." in type:
                rendition = asset.renditions.get(name) if asset is not None else None
                found = (
                    {"name": name} if asset is None or rendition is None else self.rendition_object(asset, rendition)
                )
        if body is None:
            made = event(type, asset_id, found, event_id or secrets.token_hex(16), url)
            content = encoded(made)
        else:
            content = body.encode()
        return send(url, content, secret=secret, age_seconds=age_seconds, times=times, tamper=tamper)

    # --- used by the streaming host (with the lock held) ----------------------------------------------------------

    def find_playback(self, playback_id: str) -> tuple[Asset, Policy] | None:
        """The asset behind a playback id."""
        for asset in self.assets.values():
            if playback_id in asset.playback_ids:
                return asset, asset.playback_ids[playback_id]
        return None

    def asset_state(self, asset: Asset) -> Literal["preparing", "ready", "errored"]:
        if self.sandbox.clock.now() < asset.ready_at:
            return "preparing"
        return "errored" if asset.errored else "ready"

    def rendition_state(self, asset: Asset, rendition: Rendition) -> RenditionState:
        if self.sandbox.clock.now() < max(rendition.ready_at, asset.ready_at):
            return "preparing"
        return "errored" if asset.errored else rendition.ends_as

    def file_of(self, asset: Asset, rendition: Rendition) -> HostedFile:
        """The bytes behind a rendition, made on first use."""
        if rendition.file is None:
            width, height = scaled(asset, rendition.resolution)
            seconds = min(asset.seconds, 10.0) if asset.test else asset.seconds
            # Renditions of one asset differ in size, so that a mix-up shows.
            size = asset.size_bytes
            if size is not None and rendition.name not in {"highest.mp4", "high.mp4", "capped-1080p.mp4"}:
                size = max(size // 2, 256 * 1024)
            if rendition.name.endswith(".m4a"):
                body = media_files.video_body(seconds=seconds, width=64, height=36, fps=5)
                body.content_type = "audio/m4a"
            else:
                body = media_files.video_body(
                    size_bytes=size,
                    seconds=seconds,
                    width=width,
                    height=height,
                    faststart=asset.faststart,
                    audio=asset.audio,
                    seed=asset.seed,
                )
            rendition.file = HostedFile(rendition.name, body, asset.behaviour)
        return rendition.file

    def stream_variants(self, asset: Asset) -> dict[str, tuple[int, int]]:
        """Names and picture sizes of the qualities of the stream; "audio" (0, 0) is its sound, where that is separate."""
        sizes = {f"{min(size)}p": size for size in mux_hls.ladder(asset.width, asset.height)}
        return {**sizes, "audio": (0, 0)} if asset.hls == "fmp4" and asset.audio else sizes

    def stream_of(self, asset: Asset, variant: str) -> tuple[mux_hls.Segment, ...]:
        """The files of one quality; encoding takes a moment the first time, so not with the lock held."""
        separate = asset.hls == "fmp4"
        width, height = self.stream_variants(asset)[variant]
        if variant == "audio":
            width, height = mux_hls.ladder(asset.width, asset.height)[-1]
        return mux_hls.make(
            kind=asset.hls,
            track="audio" if variant == "audio" else "video" if separate else "both",
            seconds=min(asset.seconds, 10.0) if asset.test else asset.seconds,
            width=width,
            height=height,
            audio=asset.audio,
        )

    # --- objects as the API shows them (with the lock held) -----------------------------------------------------

    def add_rendition(self, asset: Asset, resolution: str, passthrough: str | None, ready_at: datetime) -> Rendition:
        if resolution not in {"highest", "audio-only", *TIERS}:
            raise ValueError(f"no such resolution: {resolution}")
        if asset.mp4_support != "none":
            raise mux_error(400, "invalid_parameters", "Static renditions cannot be mixed with mp4_support")
        name = "audio.m4a" if resolution == "audio-only" else f"{resolution}.mp4"
        if name in asset.renditions:
            raise mux_error(409, "invalid_parameters", f"A static rendition for {resolution} is already defined")
        advanced = {r.resolution for r in asset.renditions.values()} & set(TIERS)
        if (resolution == "highest" and advanced) or (resolution in TIERS and "highest.mp4" in asset.renditions):
            raise mux_error(400, "invalid_parameters", "highest cannot be mixed with advanced resolutions")
        short_side = min(asset.width, asset.height)
        skipped = (resolution == "audio-only" and not asset.audio) or (
            resolution in TIERS and TIERS[resolution] > short_side
        )
        made = Rendition(name, resolution, identifier(44), ready_at, "skipped" if skipped else "ready", passthrough)
        asset.renditions[name] = made
        return made

    def set_mp4_support(self, asset: Asset, value: str, ready_at: datetime) -> None:
        if value not in LEGACY:
            raise ValueError(f"no such mp4_support: {value}")
        if any(r.rendition_id is not None for r in asset.renditions.values()):
            raise mux_error(400, "invalid_parameters", "mp4_support cannot be mixed with static renditions")
        if "audio-only" in value and not asset.audio:
            raise mux_error(400, "invalid_parameters", "The asset has no audio")
        names = {
            "none": [], "capped-1080p": ["capped-1080p.mp4"], "audio-only": ["audio.m4a"],
            "audio-only,capped-1080p": ["audio.m4a", "capped-1080p.mp4"],
            "standard": ["low.mp4", *(["medium.mp4"] if asset.width >= 640 else []), *(["high.mp4"] if asset.width >= 960 else [])],
        }[value]  # fmt: skip
        asset.mp4_support = value
        asset.renditions = {name: Rendition(name, name.partition(".")[0], None, ready_at, "ready") for name in names}

    def asset_object(self, asset: Asset) -> dict[str, Any]:
        state = self.asset_state(asset)
        shown: dict[str, Any] = {
            "id": asset.asset_id, "created_at": str(int(asset.created_at.timestamp())), "status": state,
            "playback_ids": [{"id": i, "policy": p} for i, p in asset.playback_ids.items()], "mp4_support": asset.mp4_support,
            "master_access": "none" if asset.master_ready_at is None else "temporary", "max_resolution_tier": "1080p",
            "video_quality": "plus", "encoding_tier": "smart", "ingest_type": "on_demand_url",
            "progress": {
                "state": {"preparing": "transcoding", "ready": "completed", "errored": "errored"}[state],
                "progress": 100 if state == "ready" else 50 if state == "preparing" else -1,
            },
        }  # fmt: skip
        if asset.test:
            shown["test"] = True
        if state == "errored":
            shown["errors"] = {"type": "invalid_input", "messages": ["The input file is not a valid video file."]}
        if state == "ready":
            seconds = min(asset.seconds, 10.0) if asset.test else asset.seconds
            shown |= {
                "duration": seconds, "aspect_ratio": ratio(asset), "resolution_tier": tier(min(asset.width, asset.height)),
                "max_stored_resolution": "HD", "max_stored_frame_rate": 25, "tracks": self.tracks(asset),
            }  # fmt: skip
        if asset.renditions:
            states = {self.rendition_state(asset, r) for r in asset.renditions.values()}
            legacy = asset.mp4_support != "none"
            overall = "preparing" if "preparing" in states else "errored" if states == {"errored"} else "ready"
            shown["static_renditions"] = {
                # Meaningful for the legacy kind only; with the new one each file says for itself.
                "status": overall if legacy else "disabled",
                "files": [
                    self.rendition_object(asset, r)
                    for r in asset.renditions.values()
                    if not legacy or overall == "ready"
                ],
            }
        now = self.sandbox.clock.now()
        if asset.master_ready_at is not None and now < asset.master_ready_at + MASTER_LIFE:
            ready = now >= asset.master_ready_at
            shown["master"] = {"status": "ready" if ready else "preparing"}
            if ready:
                shown["master"]["url"] = (
                    f"{self.sandbox.base_url}/mux-mezzanine/{asset.asset_id}/mezzanine.mp4?signature={asset.master_key}"
                )
        return shown

    def rendition_object(self, asset: Asset, rendition: Rendition) -> dict[str, Any]:
        state = self.rendition_state(asset, rendition)
        shown: dict[str, Any] = {"name": rendition.name, "ext": rendition.name.rpartition(".")[2]}
        if rendition.rendition_id is not None:
            shown |= {
                "id": rendition.rendition_id, "status": state, "resolution": rendition.resolution,
                "type": "advanced" if rendition.resolution in TIERS else "standard",
            }  # fmt: skip
            if rendition.passthrough is not None:
                shown["passthrough"] = rendition.passthrough
        if state == "ready":
            size = self.file_of(asset, rendition).body.size
            shown |= {"filesize": str(size), "bitrate": int(size * 8 / max(asset.seconds, 0.1))}
            if not rendition.name.endswith(".m4a"):
                shown["width"], shown["height"] = scaled(asset, rendition.resolution)
            if rendition.rendition_id is not None:
                audio = rendition.name.endswith(".m4a")
                shown["resolution_tier"] = "audio-only" if audio else tier(min(scaled(asset, rendition.resolution)))
        return shown

    def tracks(self, asset: Asset) -> list[dict[str, Any]]:
        tracks: list[dict[str, Any]] = [
            {
                "id": "v1",
                "type": "video",
                "duration": asset.seconds,
                "max_width": asset.width,
                "max_height": asset.height,
                "max_frame_rate": 25,
            }
        ]
        if asset.audio:
            tracks.append({"id": "a1", "type": "audio", "duration": asset.seconds, "max_channels": 1})
        return tracks
