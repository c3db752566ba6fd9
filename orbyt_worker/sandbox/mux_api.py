"""The endpoints of the Mux Video API: Basic auth, permissions, rate limits, and the calls a publisher needs.

After Mux docs "Make API requests" and the API reference; the shapes are those of @mux/mux-node 15.3.0.
"""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from orbyt_worker.sandbox.mux_model import (
    BURSTS,
    LEGACY,
    OTHERS_PER_SECOND,
    POSTS_PER_SECOND,
    READ_ONLY_TOKEN_ID,
    TIERS,
    TOKEN_ID,
    TOKEN_SECRET,
    Asset,
    after,
    identifier,
    mux_error,
)
from orbyt_worker.sandbox.wire import JSON_BYTES_MAX, Handler, Refusal, read_body, route

if TYPE_CHECKING:
    from orbyt_worker.sandbox.mux import Mux


def api_routes(mux: Mux) -> list[BaseRoute]:
    """/mux-api."""
    base, sandbox, endpoints = "/mux-api/video/v1", mux.sandbox, _Endpoints(mux)
    asset = base + "/assets/{asset_id}"
    table: list[tuple[str, str, str, Handler]] = [
        ("GET", base + "/playback-ids/{playback_id}", "mux.api.playback_ids.get", endpoints.get_playback_id),
        ("GET", base + "/assets", "mux.api.assets.list", endpoints.list_assets),
        ("GET", asset, "mux.api.assets.get", endpoints.get_asset),
        ("DELETE", asset, "mux.api.assets.delete", endpoints.delete_asset),
        ("GET", asset + "/input-info", "mux.api.assets.input_info", endpoints.input_info),
        ("POST", asset + "/static-renditions", "mux.api.static_renditions.create", endpoints.create_rendition),
        (
            "DELETE",
            asset + "/static-renditions/{rendition_id}",
            "mux.api.static_renditions.delete",
            endpoints.delete_rendition,
        ),
        ("PUT", asset + "/mp4-support", "mux.api.mp4_support", endpoints.put_mp4_support),
        ("PUT", asset + "/master-access", "mux.api.master_access", endpoints.put_master_access),
        ("POST", asset + "/playback-ids", "mux.api.playback_ids.create", endpoints.create_playback_id),
        ("DELETE", asset + "/playback-ids/{playback_id}", "mux.api.playback_ids.delete", endpoints.delete_playback_id),
    ]
    return [
        *(route(sandbox, m, path, name, endpoints.guarded(handler)) for m, path, name, handler in table),
    ]


class _Endpoints:
    def __init__(self, mux: Mux) -> None:
        self._mux = mux

    def guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            with self._mux.lock:
                self._authorise(request)
                self._limit(request)
            return await handler(request)

        return guarded

    def _authorise(self, request: Request) -> None:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        try:
            user, _, password = (
                base64.b64decode(value, validate=True).decode().partition(":")
                if scheme.lower() == "basic"
                else ("", "", "")
            )
        except ValueError:
            user = password = ""
        if user not in {TOKEN_ID, READ_ONLY_TOKEN_ID} or not secrets.compare_digest(
            password.encode(), TOKEN_SECRET.encode()
        ):
            raise mux_error(401, "unauthorized", "Unauthorized request")
        if user == READ_ONLY_TOKEN_ID and request.method != "GET":
            raise mux_error(403, "forbidden", "The token lacks the permission for this call")

    def _limit(self, request: Request) -> None:
        if not self._mux.config.rate_limits:
            return
        now = self._mux.sandbox.clock.now()
        name, rate = ("post", POSTS_PER_SECOND) if request.method == "POST" else ("other", OTHERS_PER_SECOND)
        level, since = self._mux.buckets.get(name, (BURSTS[name], now))
        level = min(BURSTS[name], level + (now - since).total_seconds() * rate)
        if level < 1:
            self._mux.buckets[name] = (level, now)
            raise Refusal(
                JSONResponse(
                    {"error": {"type": "too_many_requests", "messages": ["Rate limit exceeded"]}},
                    status_code=429,
                    headers={"Retry-After": "1"},
                )
            )
        self._mux.buckets[name] = (level - 1, now)

    def _asset(self, request: Request) -> Asset:
        asset = self._mux.assets.get(request.path_params["asset_id"])
        if asset is None:
            raise mux_error(
                404, "not_found", "The requested resource either doesn't exist or you don't have access to it."
            )
        return asset

    async def get_playback_id(self, request: Request) -> Response:
        playback_id = request.path_params["playback_id"]
        with self._mux.lock:
            if playback_id in self._mux.live_streams:
                policy, owner = "public", {"type": "live_stream", "id": self._mux.live_streams[playback_id]}
            else:
                found = self._mux.find_playback(playback_id)
                if found is None:
                    raise mux_error(
                        404, "not_found", "The requested resource either doesn't exist or you don't have access to it."
                    )
                policy, owner = found[1], {"type": "asset", "id": found[0].asset_id}
        return _data({"id": playback_id, "policy": policy, "object": owner})

    async def list_assets(self, request: Request) -> Response:
        with self._mux.lock:
            return _data([self._mux.asset_object(asset) for asset in self._mux.assets.values()])

    async def get_asset(self, request: Request) -> Response:
        with self._mux.lock:
            return _data(self._mux.asset_object(self._asset(request)))

    async def delete_asset(self, request: Request) -> Response:
        with self._mux.lock:
            del self._mux.assets[self._asset(request).asset_id]
        return Response(status_code=204)

    async def input_info(self, request: Request) -> Response:
        with self._mux.lock:
            asset = self._asset(request)
            return _data(
                [
                    {
                        "file": {"container_format": "mov,mp4,m4a,3gp,3g2,mj2", "tracks": self._mux.tracks(asset)},
                        "settings": {},
                    }
                ]
            )

    async def create_rendition(self, request: Request) -> Response:
        body = await _json(request)
        with self._mux.lock:
            asset = self._asset(request)
            resolution, passthrough = body.get("resolution"), body.get("passthrough")
            if resolution not in {"highest", "audio-only", *TIERS} or set(body) - {"resolution", "passthrough"}:
                raise mux_error(400, "invalid_parameters", "Invalid static rendition settings")
            if passthrough is not None and (not isinstance(passthrough, str) or len(passthrough) > 255):
                raise mux_error(400, "invalid_parameters", "passthrough is at most 255 characters")
            made = self._mux.add_rendition(
                asset, resolution, passthrough, after(self._mux.sandbox.clock.now(), self._mux.config.rendition_seconds)
            )
            return _data(self._mux.rendition_object(asset, made), status=201)

    async def delete_rendition(self, request: Request) -> Response:
        with self._mux.lock:
            asset = self._asset(request)
            name = next(
                (n for n, r in asset.renditions.items() if r.rendition_id == request.path_params["rendition_id"]), None
            )
            if name is None:
                raise mux_error(404, "not_found", "There is no such static rendition")
            del asset.renditions[name]
        return Response(status_code=204)

    async def put_mp4_support(self, request: Request) -> Response:
        body = await _json(request)
        with self._mux.lock:
            asset = self._asset(request)
            if body.get("mp4_support") not in LEGACY:
                raise mux_error(400, "invalid_parameters", "Invalid mp4_support")
            self._mux.set_mp4_support(
                asset, body["mp4_support"], after(self._mux.sandbox.clock.now(), self._mux.config.rendition_seconds)
            )
            return _data(self._mux.asset_object(asset))

    async def put_master_access(self, request: Request) -> Response:
        body = await _json(request)
        with self._mux.lock:
            asset = self._asset(request)
            if body.get("master_access") not in {"temporary", "none"}:
                raise mux_error(400, "invalid_parameters", "Invalid master_access")
            temporary = body["master_access"] == "temporary"
            asset.master_ready_at = (
                after(self._mux.sandbox.clock.now(), self._mux.config.master_seconds) if temporary else None
            )
            asset.master_key = identifier(40) if temporary else ""
            return _data(self._mux.asset_object(asset))

    async def create_playback_id(self, request: Request) -> Response:
        body = await _json(request)
        with self._mux.lock:
            asset = self._asset(request)
            policy = body.get("policy")
            if policy not in {"public", "signed", "drm"}:
                raise mux_error(400, "invalid_parameters", "Invalid policy")
            made_id = identifier(44)
            asset.playback_ids[made_id] = policy
            return _data({"id": made_id, "policy": policy}, status=201)

    async def delete_playback_id(self, request: Request) -> Response:
        with self._mux.lock:
            if self._asset(request).playback_ids.pop(request.path_params["playback_id"], None) is None:
                raise mux_error(404, "not_found", "There is no such playback id")
        return Response(status_code=204)


def _data(value: Any, status: int = 200) -> Response:
    return JSONResponse({"data": value}, status_code=status)


async def _json(request: Request) -> dict[str, Any]:
    raw = await read_body(request, JSON_BYTES_MAX)
    try:
        body = json.loads(raw or b"{}")
    except ValueError:
        raise mux_error(400, "invalid_parameters", "The body is no JSON") from None
    if not isinstance(body, dict):
        raise mux_error(400, "invalid_parameters", "The body is no JSON object")
    return body
