"""Mux's streaming host: playlists and segments, static files, signed tokens, and the temporary master.

Answers after Mux docs "Play your videos" and "Secure video playback" and what Mux's own player expects (muxinc/elements
`request-errors`): 412 while an asset is being prepared, 403 for a bad token, 404 for what is not there.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import jwt
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox import media_files, mux_hls
from orbyt_worker.sandbox.media_host import HostedFile, serve
from orbyt_worker.sandbox.wire import Refusal, route

if TYPE_CHECKING:
    from orbyt_worker.sandbox.mux import Mux
    from orbyt_worker.sandbox.mux_model import Asset

_CODES = {400: (3, "Invalid parameter"), 403: (7, "Forbidden"), 404: (5, "Not Found"), 412: (9, "Not Ready")}


def stream_routes(mux: Mux) -> list[BaseRoute]:
    """/mux-stream, /mux-manifest (playlists and segments of one quality), /mux-mezzanine."""
    endpoints = _Endpoints(mux)
    return [
        route(mux.sandbox, "GET", "/mux-stream/{playback_id}", "mux.stream.playlist", endpoints.playlist, head=True),
        route(mux.sandbox, "GET", "/mux-stream/{playback_id}/{name}", "mux.stream.file", endpoints.file, head=True),
        route(
            mux.sandbox,
            "GET",
            "/mux-manifest/{asset_id}/{variant}/rendition.m3u8",
            "mux.stream.rendition",
            endpoints.rendition,
            head=True,
        ),
        route(
            mux.sandbox,
            "GET",
            "/mux-manifest/{asset_id}/{variant}/{name}",
            "mux.stream.segment",
            endpoints.segment,
            head=True,
        ),
        route(
            mux.sandbox,
            "GET",
            "/mux-mezzanine/{asset_id}/mezzanine.mp4",
            "mux.stream.master",
            endpoints.master,
            head=True,
        ),
    ]


class _Endpoints:
    def __init__(self, mux: Mux) -> None:
        self._mux = mux
        self._hosted: dict[str, HostedFile] = {}  # segments that misbehave, by path

    async def playlist(self, request: Request) -> Response:
        playback_id, _, extension = request.path_params["playback_id"].partition(".")
        if extension not in {"", "m3u8"}:
            raise _refusal(404)
        with self._mux.lock:
            if playback_id in self._mux.live_streams:
                raise _refusal(412)
            asset = self._open(request, playback_id, drm_allowed=True)
            if self._mux.asset_state(asset) != "ready":
                raise _refusal(412 if self._mux.asset_state(asset) == "preparing" else 404)
            urls = {
                self._signed_url(asset.asset_id, name): size for name, size in self._mux.stream_variants(asset).items()
            }
            sound = next((url for url, size in urls.items() if size == (0, 0)), None)
            pictures = {url: size for url, size in urls.items() if size != (0, 0)}
            audio = asset.audio
        return _playlist(mux_hls.master(pictures, audio=audio, sound_url=sound))

    async def rendition(self, request: Request) -> Response:
        segments = await self._segments(request)
        return _playlist(mux_hls.playlist(segments, request.url.query))

    async def segment(self, request: Request) -> Response:
        wanted = request.path_params["name"]
        found = next((each for each in await self._segments(request) if each.name == wanted), None)
        if found is None:
            raise _refusal(404)
        body = media_files.literal(found.path.read_bytes(), "video/mp2t" if wanted.endswith(".ts") else "video/mp4")
        hosted = HostedFile(wanted, body)
        with self._mux.lock:
            behaviour = self._mux.assets[request.path_params["asset_id"]].behaviour
            if behaviour != hosted.behaviour:
                # Misbehaviour counts what it did.
                hosted = self._hosted.setdefault(request.url.path, HostedFile(wanted, body, behaviour))
                hosted.behaviour = behaviour
        return serve(self._mux.sandbox, request, hosted)

    async def _segments(self, request: Request) -> tuple[mux_hls.Segment, ...]:
        """The files of the quality a signed address names."""
        asset_id, variant = request.path_params["asset_id"], request.path_params["variant"]
        expires, given = request.query_params.get("expires", ""), request.query_params.get("signature", "")
        good = expires.isascii() and expires.isdigit() and len(expires) < 12
        if (
            not good
            or not secrets.compare_digest(
                mux_hls.signature(f"{asset_id}/{variant}", int(expires)).encode(), given.encode()
            )
            or int(expires) <= self._mux.sandbox.clock.timestamp()
        ):
            raise _refusal(403)
        with self._mux.lock:
            asset = self._mux.assets.get(asset_id)
            if asset is None or variant not in self._mux.stream_variants(asset):
                raise _refusal(404)
        return await asyncio.to_thread(self._mux.stream_of, asset, variant)

    def _signed_url(self, asset_id: str, variant: str) -> str:
        expires = int(self._mux.sandbox.clock.timestamp() + self._mux.config.stream_url_seconds)
        signature = mux_hls.signature(f"{asset_id}/{variant}", expires)
        base = f"{self._mux.sandbox.base_url}/mux-manifest/{asset_id}/{variant}/rendition.m3u8"
        return f"{base}?expires={expires}&signature={signature}"

    async def file(self, request: Request) -> Response:
        playback_id, name = request.path_params["playback_id"], request.path_params["name"]
        mux = self._mux
        with mux.lock:
            if playback_id in mux.live_streams:
                raise _refusal(404)
            asset = self._open(request, playback_id, drm_allowed=False)
            if mux.asset_state(asset) == "preparing":
                raise _refusal(412)
            if name == "metadata.json":
                return Response(json.dumps({"duration": asset.seconds}), media_type="application/json")
            rendition = asset.renditions.get(name)
            if rendition is None:
                raise _refusal(404)
            state = mux.rendition_state(asset, rendition)
            if state != "ready":
                raise _refusal(mux.config.not_ready_status if state == "preparing" else 404)
            hosted = mux.file_of(asset, rendition)
        return serve(mux.sandbox, request, hosted)

    async def master(self, request: Request) -> Response:
        mux = self._mux
        with mux.lock:
            asset = mux.assets.get(request.path_params["asset_id"])
            master = None if asset is None else mux.asset_object(asset).get("master", {}).get("url")
            if asset is None or master is None or request.query_params.get("signature") != asset.master_key:
                return HTMLResponse("<h1>403 Forbidden</h1>", status_code=403)
            size = None if asset.size_bytes is None else asset.size_bytes * 2
            body = media_files.video_body(
                size_bytes=size,
                seconds=asset.seconds,
                width=asset.width,
                height=asset.height,
                faststart=asset.faststart,
                audio=asset.audio,
            )
            hosted = HostedFile("mezzanine.mp4", body, replace(asset.behaviour))
        return serve(mux.sandbox, request, hosted)

    def _open(self, request: Request, playback_id: str, *, drm_allowed: bool) -> Asset:
        """The asset behind the id, if the request may see it."""
        found = self._mux.find_playback(playback_id)
        if found is None:
            raise _refusal(404)
        asset, policy = found
        token = request.query_params.get("token")
        if policy == "drm" and not drm_allowed:
            raise _refusal(403)
        if policy == "public":
            # Mux refuses a token where none is needed, on purpose.
            if token is not None:
                raise _refusal(403)
            return asset
        if token is None or set(request.query_params) != {"token"}:
            raise _refusal(403 if token is None else 400)
        self._verify(token, playback_id)
        return asset

    def _verify(self, token: str, playback_id: str) -> None:
        key_id, _, public_key = self._mux.signing_keys()
        try:
            header = jwt.get_unverified_header(token)
            # The expiry is checked below, against the sandbox's clock.
            claims = jwt.decode(
                token,
                public_key,
                algorithms=["RS256"],
                audience="v",
                options={"verify_exp": False, "require": ["exp", "sub", "aud"]},
            )
        except jwt.PyJWTError:
            raise _refusal(403) from None
        named = header.get("kid", claims.get("kid"))
        one_audience = isinstance(claims["aud"], str)
        if (
            named != key_id
            or claims["sub"] != playback_id
            or not one_audience
            or claims["exp"] <= self._mux.sandbox.clock.timestamp()
        ):
            raise _refusal(403)


def _playlist(text: str) -> Response:
    return Response(text, media_type="application/x-mpegURL", headers={"Cache-Control": "no-store"})


def _refusal(status: int) -> Refusal:
    code, message = _CODES[status]
    return Refusal(JSONResponse({"code": code, "message": message}, status_code=status))
