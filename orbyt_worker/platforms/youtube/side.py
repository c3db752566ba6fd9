"""What is done around a video that is out: its thumbnail, a playlist, a captions file. Each has an outcome of its own.

Nothing here can change what became of the post. Every step may be run again after a crash or a lost answer, at any point:
- thumbnail: setting the same image again replaces it by itself, so there is nothing to look for.
- playlist: YouTube adds a video twice if it is told twice (RobbieClarken/youtube-channel-to-playlist#1), so the playlist is
  looked at first; after an answer that was lost, until the listing has settled.
- captions: YouTube refuses a second track of the same language and name (409 captionExists), and that counts as done.

Thumbnail, playlist and captions come before verification, so that a scheduled video has all of them when it becomes
public. Only the thumbnail of a Short has no effect until YouTube has processed it ("Revision History", 2026-11-03).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Kind, Post, Snooze, Stage
from orbyt_worker.platforms.base import ApiResponse, Json, Step, StepContext
from orbyt_worker.platforms.youtube.errors import SIDE, UNITS, ended_badly, parse, refusal
from orbyt_worker.platforms.youtube.read import caption_tracks, part, playlist_entries, text, video
from orbyt_worker.platforms.youtube.rules import CAPTIONS_SCOPES, PLAYLIST_SCOPES, RULES
from orbyt_worker.platforms.youtube.upload import authorised
from orbyt_worker.platforms.youtube.verify import is_processed

THUMBNAIL, PLAYLIST, CAPTIONS = "thumbnail", "playlist", "captions"

STEP_SECONDS = 300.0
# Up to 4 MiB go up in one call.
CALL_SECONDS = 120.0
# YouTube Data API, "Quota Calculator".
THUMBNAIL_UNITS = 50
PLAYLIST_UNITS = 50
CAPTIONS_UNITS = 400

# How long a new video may be unknown to these calls (tokland/youtube-upload#269 and #305: some seconds). The executor gives
# a side task few tries, so each wait is as long as all before it together.
UNKNOWN_PATIENCE = timedelta(minutes=2)
UNKNOWN_WAIT_SECONDS_MIN = 15.0
_UNKNOWN_YET = frozenset({"videoNotFound", "failedPrecondition"})
PROCESSING_WAIT_SECONDS_MIN = 40.0
PROCESSING_WAIT_SECONDS_MAX = 240.0
# Until then a listing may not yet show what was added by a call whose answer was lost.
SETTLING = timedelta(seconds=90)

_SUBRIP = re.compile(r"^(?:\d+:)?\d{1,2}:\d{2},\d{1,3}[ \t]+-->", re.MULTILINE)
_WEBVTT = re.compile(r"WEBVTT(?:[ \t\r\n]|$)")


def before_verification(post: Post) -> tuple[Step, ...]:
    """The side tasks a post asks for that can be done as soon as the video is there."""
    steps = []
    if post.media and post.media[0].cover_url and post.kind is not Kind.REEL:
        steps.append(_step(THUMBNAIL, thumbnail))
    if post.options.get("playlist_id"):
        steps.append(_step(PLAYLIST, playlist))
    if post.options.get("captions_url"):
        steps.append(_step(CAPTIONS, captions))
    return tuple(steps)


def after_verification(post: Post) -> tuple[Step, ...]:
    """The thumbnail of a Short."""
    if post.media and post.media[0].cover_url and post.kind is Kind.REEL:
        return (_step(THUMBNAIL, thumbnail),)
    return ()


def _step(name: str, run: Any) -> Step:
    return Step(name, Stage.VERIFYING, run, STEP_SECONDS, needs_media=False, side=True)


async def thumbnail(ctx: StepContext) -> Json:
    """POST thumbnails.set with the post's cover.

    Raises Failure: youtube_thumbnail_not_allowed, youtube_thumbnail_rate_limited, media_…; Snooze while a Short is processed.
    """
    await _wait_until_effective(ctx)
    cover = await ctx.cover(0)
    if cover is None:
        raise Failure(ErrorCode.MEDIA_NOT_FOUND, "the post has no cover", field="media[0].cover_url")
    image = b"".join([piece async for piece in cover.read(0, cover.size_bytes)])
    await ctx.quota.reserve(UNITS, THUMBNAIL_UNITS)
    name = "youtube.thumbnails.set"
    response = await authorised(
        ctx,
        name,
        "POST",
        f"{ctx.config.youtube_upload_url.rstrip('/')}/upload/youtube/v3/thumbnails/set",
        timeout_seconds=CALL_SECONDS,
        params={"videoId": _video_id(ctx), "uploadType": "media"},
        headers={"content-type": cover.facts.content_type},
        content=image,
    )
    if response.status != 200:
        raise await _refusal(ctx, THUMBNAIL, name, response)
    return {"bytes": len(image)}


async def _wait_until_effective(ctx: StepContext) -> None:
    """YouTube answers well to a thumbnail for a Short it still processes, and ignores it."""
    seen = ctx.journal.get("verify", {})
    if not _may_be_short(ctx) or (seen.get("verified") is True and seen.get("processing") is False):
        return
    found = await video(ctx, _video_id(ctx))
    if found is not None and is_processed(found):
        return
    age = await _age(ctx, THUMBNAIL)
    seconds = min(max(age.total_seconds() * 1.25, PROCESSING_WAIT_SECONDS_MIN), PROCESSING_WAIT_SECONDS_MAX)
    raise Snooze(seconds, stage=Stage.PROCESSING, code=str(ErrorCode.YOUTUBE_THUMBNAIL_TOO_EARLY))


def _may_be_short(ctx: StepContext) -> bool:
    """YouTube makes a Short of any square or vertical video of at most three minutes, whatever the post calls it."""
    if ctx.post.kind is Kind.REEL or not ctx.facts:
        return True
    facts = ctx.facts[0]
    wide = facts.width is not None and facts.height is not None and facts.width > facts.height
    long = facts.duration_seconds is not None and facts.duration_seconds > RULES.limit("short_seconds_max")
    return not wide and not long


async def playlist(ctx: StepContext) -> Json:
    """playlistItems.insert, unless the video is in it. Raises Failure: youtube_playlist_…, youtube_side_scope_missing."""
    playlist_id, video_id = str(ctx.post.options["playlist_id"]), _video_id(ctx)
    _require_scope(ctx, PLAYLIST_SCOPES)
    if await playlist_entries(ctx, playlist_id, video_id):
        return {"playlist_id": playlist_id}
    _wait_for_listing(ctx)
    await ctx.quota.reserve(UNITS, PLAYLIST_UNITS)
    await _save(ctx, PLAYLIST, asked_at=ctx.now().isoformat())
    name = "youtube.playlistItems.insert"
    resource = {"kind": "youtube#video", "videoId": video_id}
    response = await authorised(
        ctx,
        name,
        "POST",
        f"{ctx.config.youtube_url.rstrip('/')}/youtube/v3/playlistItems",
        timeout_seconds=CALL_SECONDS,
        params={"part": "snippet"},
        json={"snippet": {"playlistId": playlist_id, "resourceId": resource}},
    )
    if response.status == 200:
        return {"playlist_id": playlist_id}
    if response.status < 500 and parse(response).reasons:
        # YouTube's own word, not a stray answer of a front end: nothing was added, so the next try need not wait for a listing.
        await _save(ctx, PLAYLIST, asked_at=None)
    failure = await _refusal(ctx, PLAYLIST, name, response)
    if isinstance(failure, Failure) and failure.platform_code == "videoAlreadyInPlaylist":
        return {"playlist_id": playlist_id}
    raise failure


def _wait_for_listing(ctx: StepContext) -> None:
    """An earlier call may have added the video without its answer coming back: give the listing time to show it."""
    asked_at = _time(ctx.journal.get(PLAYLIST, {}).get("asked_at"))
    if asked_at is not None and (left := (asked_at + SETTLING - ctx.now()).total_seconds()) > 0:
        raise Snooze(left, stage=Stage.VERIFYING, detail="an earlier answer of YouTube was lost")


async def captions(ctx: StepContext) -> Json:
    """captions.insert with the file at `captions_url`. Raises Failure: youtube_captions_rejected, youtube_side_scope_missing, media_…"""
    _require_scope(ctx, CAPTIONS_SCOPES)
    if ctx.journal.get(CAPTIONS, {}).get("asked_at") is not None:
        # Only then can there be one of ours; a look costs 50 units.
        track = await _own_track(ctx)
        if track is not None:
            return _taken(track)
    content = await ctx.document(str(ctx.post.options["captions_url"]), RULES.limit("captions_bytes_max"))
    if not is_captions(content):
        raise Failure(
            ErrorCode.YOUTUBE_CAPTIONS_REJECTED, "neither SubRip nor WebVTT in UTF-8", field="options.captions_url"
        )
    await ctx.quota.reserve(UNITS, CAPTIONS_UNITS)
    await _save(ctx, CAPTIONS, asked_at=ctx.now().isoformat())
    name = "youtube.captions.insert"
    language, track_name = _track_key(ctx.post)
    snippet = {"videoId": _video_id(ctx), "language": language, "name": track_name}
    content_type, body = related({"snippet": snippet}, content)
    response = await authorised(
        ctx,
        name,
        "POST",
        f"{ctx.config.youtube_upload_url.rstrip('/')}/upload/youtube/v3/captions",
        timeout_seconds=CALL_SECONDS,
        params={"uploadType": "multipart", "part": "snippet"},
        headers={"content-type": content_type},
        content=body,
    )
    if response.status == 200:
        return _taken(response.json if isinstance(response.json, dict) else {})
    failure = await _refusal(ctx, CAPTIONS, name, response)
    if isinstance(failure, Failure) and failure.platform_code == "captionExists":
        return _taken(await _own_track(ctx) or {})
    raise failure


def _track_key(post: Post) -> tuple[str, str]:
    """Language and name, by which YouTube tells tracks of a video apart. A track without a name is shown by its language."""
    return str(post.options.get("captions_language") or ""), str(post.options.get("captions_name") or "").strip()


async def _own_track(ctx: StepContext) -> Mapping[str, Any] | None:
    language, name = _track_key(ctx.post)
    for track in await caption_tracks(ctx, _video_id(ctx)):
        snippet = part(track, "snippet")
        made_by_youtube = (text(snippet.get("trackKind")) or "").casefold() == "asr"
        key = ((text(snippet.get("language")) or "").casefold(), text(snippet.get("name")) or "")
        if not made_by_youtube and key == (language.casefold(), name):
            return track
    return None


def _taken(track: Mapping[str, Any]) -> Json:
    """What to record of a track that is there; a Failure when YouTube could not read it."""
    snippet = part(track, "snippet")
    if text(snippet.get("status")) == "failed":
        raise ended_badly("captions_failure_reason", text(snippet.get("failureReason")) or "")
    return {"caption_id": text(track.get("id"))}


def is_captions(content: bytes) -> bool:
    """Whether a file is SubRip or WebVTT in UTF-8 (YouTube Help, "Supported subtitle and closed caption files")."""
    try:
        words = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return _WEBVTT.match(words) is not None or _SUBRIP.search(words) is not None


def related(metadata: Mapping[str, Any], content: bytes) -> tuple[str, bytes]:
    """A multipart/related body of JSON and bytes, and its content type (Google API uploads, "Multipart upload").

    The boundary follows from the content, so the same file makes the same request.
    """
    boundary = f"orbyt-{hashlib.sha256(content).hexdigest()}"
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(metadata)}\r\n"
        f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    return f"multipart/related; boundary={boundary}", head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def _require_scope(ctx: StepContext, scopes: tuple[str, ...]) -> None:
    """Without asking YouTube, where the account's scopes are known: a refusal would cost units as well."""
    granted = ctx.account.scopes
    if granted and not set(scopes) & set(granted):
        raise Failure(ErrorCode.YOUTUBE_SIDE_SCOPE_MISSING, f"it needs the scope {scopes[0].rpartition('/')[2]}")


async def _refusal(ctx: StepContext, step: str, name: str, response: ApiResponse) -> Failure | Snooze:
    """The Failure of an answer; a Snooze while the video may only be too new for this call."""
    failure = await refusal(ctx, name, response, UNITS, about=SIDE)
    if not isinstance(failure, Failure) or failure.platform_code not in _UNKNOWN_YET:
        return failure
    age = await _age(ctx, step)
    if age >= UNKNOWN_PATIENCE:
        return failure
    return Snooze(max(age.total_seconds(), UNKNOWN_WAIT_SECONDS_MIN), stage=Stage.VERIFYING, detail=failure.detail)


async def _age(ctx: StepContext, step: str) -> timedelta:
    """How old the video is; counted from this task's first look where nobody knows (it was found by `reconcile`)."""
    since = _time(ctx.journal["finish_upload"].get("finished_at")) or _time(ctx.journal.get(step, {}).get("since"))
    if since is None:
        since = ctx.now()
        await _save(ctx, step, since=since.isoformat())
    return ctx.now() - since


async def _save(ctx: StepContext, step: str, **notes: str | None) -> None:
    """Journal notes of an unfinished task beside those of earlier tries."""
    await ctx.save({**ctx.journal.get(step, {}), **notes})


def _video_id(ctx: StepContext) -> str:
    return str(ctx.journal["finish_upload"]["platform_post_id"])


def _time(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None
