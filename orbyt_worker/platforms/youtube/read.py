"""Reads of the YouTube Data API: the account's channel, a video, playlists, captions. Each reserves its quota units first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.platforms.base import StepContext
from orbyt_worker.platforms.youtube.errors import SIDE, UNITS, refusal
from orbyt_worker.platforms.youtube.upload import authorised

READ_TIMEOUT_SECONDS = 20.0
LISTED_MAX = 50
# YouTube Data API, "Quota Calculator": the other reads cost one unit.
CAPTIONS_LIST_UNITS = 50


@dataclass(frozen=True, slots=True)
class Channel:
    """What is needed of channels.list. `long_uploads` is status.longUploadsStatus, None when YouTube does not say."""

    channel_id: str
    uploads_playlist: str | None
    long_uploads: str | None


async def own_channel(ctx: StepContext) -> Channel:
    """The channel the grant is bound to.

    Raises Failure: youtube_no_channel (YouTube leaves `items` out altogether), account_wrong_channel.
    """
    items = await _items(ctx, "youtube.channels.list", "channels", {"part": "id,status,contentDetails", "mine": "true"})
    if not items or not isinstance(items[0].get("id"), str):
        raise Failure(ErrorCode.YOUTUBE_NO_CHANNEL, "the account has no channel")
    channel = items[0]
    if channel["id"] != ctx.account.platform_account_id:
        raise Failure(ErrorCode.ACCOUNT_WRONG_CHANNEL, "the grant is for another channel than the connected one")
    playlists = part(part(channel, "contentDetails"), "relatedPlaylists")
    return Channel(
        channel["id"], text(playlists.get("uploads")), text(part(channel, "status").get("longUploadsStatus"))
    )


async def video(ctx: StepContext, video_id: str) -> Mapping[str, Any] | None:
    """One video with the parts verification needs; None when YouTube does not list it."""
    items = await _items(ctx, "youtube.videos.list", "videos", {"part": "status,processingDetails", "id": video_id})
    return items[0] if items else None


async def newest_uploads(ctx: StepContext, playlist_id: str) -> Sequence[str]:
    """Ids of the newest videos of the uploads playlist, newest first. A listing may lag: what is missing proves nothing."""
    params = {"part": "contentDetails", "playlistId": playlist_id, "maxResults": str(LISTED_MAX)}
    items = await _items(ctx, "youtube.playlistItems.list", "playlistItems", params)
    found = [text(part(item, "contentDetails").get("videoId")) for item in items]
    return [each for each in found if each is not None]


async def videos_with_files(ctx: StepContext, video_ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """Videos with title, time and the uploaded file's name and size (owner only; the file may be unknown for a while)."""
    params = {"part": "snippet,status,fileDetails", "id": ",".join(video_ids[:LISTED_MAX])}
    return await _items(ctx, "youtube.videos.list", "videos", params)


async def playlist_entries(ctx: StepContext, playlist_id: str, video_id: str) -> Sequence[Mapping[str, Any]]:
    """The entries of a playlist that are this video."""
    params = {"part": "id", "playlistId": playlist_id, "videoId": video_id, "maxResults": str(LISTED_MAX)}
    return await _items(ctx, "youtube.playlistItems.list", "playlistItems", params, about=SIDE)


async def caption_tracks(ctx: StepContext, video_id: str) -> Sequence[Mapping[str, Any]]:
    """The caption tracks of a video, those YouTube made by itself included."""
    params = {"part": "snippet", "videoId": video_id}
    return await _items(ctx, "youtube.captions.list", "captions", params, units=CAPTIONS_LIST_UNITS, about=SIDE)


async def _items(
    ctx: StepContext,
    name: str,
    resource: str,
    params: Mapping[str, str],
    *,
    units: int = 1,
    about: str | None = None,
) -> list[Mapping[str, Any]]:
    await ctx.quota.reserve(UNITS, units)
    url = f"{ctx.config.youtube_url.rstrip('/')}/youtube/v3/{resource}"
    response = await authorised(ctx, name, "GET", url, timeout_seconds=READ_TIMEOUT_SECONDS, params=params)
    if response.status != 200:
        raise await refusal(ctx, name, response, UNITS, about=about)
    if not isinstance(response.json, dict):
        raise Failure(ErrorCode.PLATFORM_ANSWER_INVALID, f"{name}: the answer is not JSON", http_status=200)
    items = response.json.get("items", [])
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A sub-object of an answer, empty when it is missing or null."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def text(value: Any) -> str | None:
    """A string of an answer, None when it is missing or something else."""
    return value if isinstance(value, str) and value else None
