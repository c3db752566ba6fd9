"""The calls of the Mux API that lead from a playback id to its files: two reads, and the request for a file.

Sources: Mux docs "Make API requests" (basic auth, `data` envelope, rate limits: one POST a second), "Download your videos"
(static renditions), API reference for playback ids and assets; npm @mux/mux-node 15.3.0 types (`filesize` is a string; files
of the legacy mp4_support have no status). Read 2026-11.
"""

from __future__ import annotations

import asyncio
import base64
import json
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.media.client import MediaClient, status_failure
from orbyt_worker.media.mux_files import File, State
from orbyt_worker.media.source import Interrupted
from orbyt_worker.runtime import Runtime

ANSWER_BYTES_MAX = 1024 * 1024
# The API allows 5 reads a second for the whole account; jobs that share a video ask for the same things at once.
REMEMBERED_SECONDS = 20.0
REMEMBERED_MAX = 256
# Mux allows one a second for the whole account. This many may wait for their turn here; others come again later.
POST_SECONDS_MIN = 1.0
POSTS_WAITING_MAX = 5


Model = TypeVar("Model", bound=BaseModel)


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Object(_Model):
    type: str
    id: str


class PlaybackId(_Model):
    """`policy` is public, signed or drm. `object` is missing in an asset's own list of ids."""

    id: str
    policy: str = "public"
    object: _Object = _Object(type="asset", id="")


class _File(_Model):
    name: str
    status: str | None = None
    width: int | None = None
    height: int | None = None
    filesize: int | None = None

    @field_validator("filesize", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else None


class _Renditions(_Model):
    status: str | None = None
    files: list[_File] = Field(default_factory=list)


class _Track(_Model):
    type: str
    max_width: int | None = None
    max_height: int | None = None


class Asset(_Model):
    id: str
    status: str
    mp4_support: str | None = None
    tracks: list[_Track] = Field(default_factory=list)
    test: bool | None = None
    is_live: bool | None = None
    playback_ids: list[PlaybackId] = Field(default_factory=list)
    static_renditions: _Renditions = _Renditions()

    @field_validator("static_renditions", mode="before")
    @classmethod
    def _object_or_list(cls, value: Any) -> Any:
        # The reference says an object; some guides print the list itself.
        if value is None:
            return {}
        return {"files": value} if isinstance(value, list) else value

    @field_validator("playback_ids", "tracks", mode="before")
    @classmethod
    def _never_null(cls, value: Any) -> Any:
        return [] if value is None else value

    @property
    def is_legacy(self) -> bool:
        """Whether its files are those of mp4_support, which exclude all others."""
        return self.mp4_support not in {None, "none"}

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Width and height of its pictures, if Mux says so."""
        pictures = next((each for each in self.tracks if each.type == "video"), None)
        return (None, None) if pictures is None else (pictures.max_width, pictures.max_height)

    @property
    def files(self) -> list[File]:
        return [
            File(
                each.name, _state(each.status or self.static_renditions.status), each.width, each.height, each.filesize
            )
            for each in self.static_renditions.files
        ]

    @property
    def renditions_preparing(self) -> bool:
        """Legacy mp4_support lists no file before all are ready; the state of the whole is all there is."""
        return not self.static_renditions.files and self.static_renditions.status == "preparing"

    @property
    def renditions_errored(self) -> bool:
        return not self.static_renditions.files and self.static_renditions.status == "errored"


def _state(text: str | None) -> State:
    """A state we do not know counts as "in the making": looked at again, never taken for a file that is there."""
    if text in {"ready", "skipped", "errored"}:
        return text  # type: ignore[return-value]
    return "preparing"


class Asked(StrEnum):
    """What became of a request for a file."""

    MAKING = "making"
    REFUSED = "refused"  # excluded by other files, or there already: the asset tells
    FORBIDDEN = "forbidden"  # the credentials may read only


class MuxApi:
    """Calls with basic auth. The token id and secret never leave the Authorization header."""

    def __init__(
        self, client: MediaClient, runtime: Runtime, *, api_url: str, token_id: str, token_secret: str
    ) -> None:
        self._client = client
        self._runtime = runtime
        self._base = api_url.rstrip("/")
        self._authorization = "Basic " + base64.b64encode(f"{token_id}:{token_secret}".encode()).decode("ascii")
        self._remembered: dict[str, tuple[float, Any]] = {}
        self._posting = asyncio.Lock()
        self._posts_waiting = 0
        self._post_free_at = 0.0

    async def playback_id(self, playback_id: str) -> PlaybackId | None:
        """What a playback id belongs to, or None: unknown, or of another Mux environment than the credentials."""
        data = await self._get("media.mux.playback_id", f"/video/v1/playback-ids/{quote(playback_id, safe='')}")
        return None if data is None else _typed(PlaybackId, data)

    async def asset(self, asset_id: str, *, fresh: bool = False) -> Asset | None:
        """The asset with its files, or None when it was deleted. `fresh`: not from memory."""
        path = f"/video/v1/assets/{quote(asset_id, safe='')}"
        if fresh:
            self._remembered.pop(path, None)
        data = await self._get("media.mux.asset", path)
        return None if data is None else _typed(Asset, data)

    async def create_rendition(self, asset_id: str, resolution: str) -> Asked:
        """Ask for a file of the asset. Asking again changes nothing: Mux refuses a second file of that resolution.

        Raises Failure(mux_rate_limited | mux_credentials_invalid | media_not_found), and Interrupted when no answer came:
        the asset then tells whether it was asked for.
        """
        if self._posts_waiting >= POSTS_WAITING_MAX:
            raise Failure(
                ErrorCode.MUX_RATE_LIMITED,
                "other requests to Mux wait for their turn",
                retry_after_seconds=POSTS_WAITING_MAX * POST_SECONDS_MIN,
            )
        path = f"/video/v1/assets/{quote(asset_id, safe='')}"
        self._posts_waiting += 1
        try:
            async with self._posting:
                wait = self._post_free_at - self._runtime.monotonic()
                if wait > 0:
                    await self._runtime.sleep(wait)
                self._post_free_at = self._runtime.monotonic() + POST_SECONDS_MIN
        finally:
            self._posts_waiting -= 1
        self._remembered.pop(path, None)  # what it says about files is about to change
        async with self._client.request(
            "media.mux.create_rendition",
            "POST",
            f"{self._base}{path}/static-renditions",
            headers={"authorization": self._authorization, "accept": "application/json"},
            content=json.dumps({"resolution": resolution}).encode(),
            redirects_max=0,
        ) as answer:
            if answer.status in {200, 201}:
                return Asked.MAKING
            if answer.status in {400, 409, 422}:
                return Asked.REFUSED
            if answer.status == 403:
                return Asked.FORBIDDEN
            raise status_failure(answer, "mux") or Interrupted(
                ErrorCode.MEDIA_SOURCE_UNAVAILABLE, f"the Mux API answered {answer.status}", http_status=answer.status
            )

    async def _get(self, name: str, path: str) -> Any:
        """`data` of the answer, None for 404. Raises Failure(mux_credentials_invalid | mux_rate_limited | …), Interrupted."""
        now = self._runtime.monotonic()
        remembered = self._remembered.get(path)
        if remembered is not None and now < remembered[0]:
            return remembered[1]
        headers = {"authorization": self._authorization, "accept": "application/json"}
        async with self._client.request(name, "GET", self._base + path, headers=headers, redirects_max=0) as answer:
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise status_failure(answer, "mux") or Interrupted(
                    ErrorCode.MEDIA_SOURCE_UNAVAILABLE,
                    f"the Mux API answered {answer.status}",
                    http_status=answer.status,
                )
            body = await answer.body(ANSWER_BYTES_MAX)
        data = _typed(_Envelope, body).data
        # Only what is settled: something in the making is looked at anew each time.
        if data.get("status") in {None, "ready"} and "preparing" not in str(data.get("static_renditions")):
            while len(self._remembered) >= REMEMBERED_MAX:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[path] = (now + REMEMBERED_SECONDS, data)
        return data


class _Envelope(_Model):
    data: dict[str, Any]


def _typed(model: type[Model], value: Any) -> Model:
    try:
        return model.model_validate_json(value) if isinstance(value, bytes) else model.model_validate(value)
    except ValidationError:
        # Without the cause: it quotes the answer.
        raise Failure(
            ErrorCode.PLATFORM_ANSWER_INVALID, "the Mux API answered something else than documented"
        ) from None
