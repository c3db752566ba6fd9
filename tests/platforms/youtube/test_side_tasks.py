"""Thumbnail, playlist and captions: done, refused, lost and tried again, and never at the expense of the post."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Kind, MediaItem
from orbyt_worker.platforms.youtube.side import is_captions, related
from orbyt_worker.sandbox import media_files
from orbyt_worker.sandbox.google_model import DEFAULT_SCOPES, SCOPE_FORCE_SSL, SCOPE_FULL
from orbyt_worker.sandbox.youtube import VideoReport
from orbyt_worker.sandbox.youtube_model import PlaylistItem
from tests.platforms.driver import Killed, MemoryMedia
from tests.platforms.youtube.world import BytesMedia, YouTubeWorld, image

Make = Callable[..., YouTubeWorld]

THUMBNAIL = "youtube.thumbnails.set"
INSERT = "youtube.playlistItems.insert"
LIST = "youtube.playlistItems.list"
CAPTIONS = "youtube.captions.insert"
TRACKS = "youtube.captions.list"

SRT_URL = "https://example.com/captions.srt?signature=a-secret-signature"
SRT = "\ufeff1\r\n00:00:00,000 --> 00:00:02,500\r\nÇa va ?\r\n".encode()
VTT = b"WEBVTT\n\n00:00.000 --> 00:02.500\nHello\n"
PICTURE = media_files.jpeg()
ALL = ("thumbnail", "playlist", "captions")
NO_LISTING = {"kind": "youtube#playlistItemListResponse", "items": []}


@pytest.fixture
def make(make_world: Make) -> Make:
    """A world whose post asks for the side tasks named; with every scope they need."""

    def made(
        *tasks: str,
        captions: bytes = SRT,
        scopes: tuple[str, ...] = (*DEFAULT_SCOPES, SCOPE_FORCE_SSL),
        cover: BytesMedia | None = None,
        options: dict[str, Any] | None = None,
        **more: Any,
    ) -> YouTubeWorld:
        wanted = {**(options or {})}
        if "playlist" in tasks:
            wanted.setdefault("playlist_id", "PLplaceholder")
        if "captions" in tasks:
            wanted.update(captions_url=SRT_URL, captions_language="fr", captions_name=" Français ")
        cover_url = "https://example.com/cover.jpg" if "thumbnail" in tasks else None
        world = make_world(
            size=more.pop("size", 100),
            account={"scopes": scopes},
            cover=cover or image(PICTURE),
            documents={SRT_URL: captions},
            options=wanted,
            media=(MediaItem("video", "https://example.com/video.mp4", cover_url=cover_url),),
            **more,
        )
        if wanted.get("playlist_id") == "PLplaceholder":
            use_playlist(world, world.account.channel_id or "")
        return world

    return made


def use_playlist(world: YouTubeWorld, channel_id: str) -> None:
    """A new playlist of the channel becomes that of the post."""
    playlist = world.sandbox.youtube.create_playlist(channel_id)
    options = {**world.driver.job.post.options, "playlist_id": playlist.playlist_id}
    world.driver.job = replace(world.driver.job, post=replace(world.driver.job.post, options=options))


def video_of(world: YouTubeWorld) -> VideoReport:
    [video] = world.videos
    return video


async def outcomes(world: YouTubeWorld) -> dict[str, str | None]:
    """Publish; whatever became of the side tasks, the post is out exactly once."""
    outcome = await world.run()
    assert outcome.published, outcome
    assert (world.published(), world.visible_calls()) == (1, 1)
    return world.driver.side_outcomes


# done ------------------------------------------------------------------------------------------------------------------


async def test_all_three_are_done(make: Make) -> None:
    world = make(*ALL)
    assert await outcomes(world) == dict.fromkeys(ALL)
    video = video_of(world)
    assert video.thumbnail_sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert video.playlists == [world.driver.job.post.options["playlist_id"]]
    [track] = video.captions
    assert (track.language, track.name, track.status) == ("fr", "Français", "serving")
    assert track.sha256 == hashlib.sha256(SRT).hexdigest(), "every byte as it was given"
    assert [world.calls(each) for each in (THUMBNAIL, LIST, INSERT, TRACKS, CAPTIONS)] == [1, 1, 1, 0, 1]


async def test_every_unit_is_reserved_before_it_is_used(make: Make) -> None:
    world = make(*ALL)
    await outcomes(world)
    assert world.driver.quota.reserved.count("youtube_units") == world.sandbox.youtube.quota().units_used
    assert world.driver.quota.reserved.count("youtube_units") >= 50 + 51 + 400


async def test_a_scheduled_video_has_everything_before_it_is_public(make: Make) -> None:
    world = make(*ALL, in_seconds=7200)
    for task in ALL:
        await world.run(until=task)
    video = video_of(world)
    assert (video.privacy, video.thumbnails_set, len(video.playlists), len(video.captions)) == ("private", 1, 1, 1)
    assert (await world.run()).published
    assert video_of(world).privacy == "public"


async def test_nothing_is_done_that_was_not_asked_for(make: Make) -> None:
    world = make()
    assert [step.name for step in world.driver.plan() if step.side] == []
    assert await outcomes(world) == {}
    assert world.calls(THUMBNAIL) + world.calls(INSERT) + world.calls(CAPTIONS) == 0


async def test_the_plain_youtube_scope_is_enough_for_playlists(make: Make) -> None:
    world = make("playlist", scopes=(*DEFAULT_SCOPES, SCOPE_FULL))
    assert await outcomes(world) == {"playlist": None}


async def test_a_token_that_expired_is_renewed(make: Make) -> None:
    world = make(*ALL)
    for name in (THUMBNAIL, INSERT, CAPTIONS):
        world.sandbox.faults.add(name, "token_expired")
    assert await outcomes(world) == dict.fromkeys(ALL)
    video = video_of(world)
    assert (video.thumbnails_set, len(video.playlists), len(video.captions)) == (1, 1, 1)


async def test_no_address_of_the_user_is_seen(make: Make) -> None:
    world = make(*ALL)
    await outcomes(world)
    assert "a-secret-signature" not in world.driver.readable()


# refused ---------------------------------------------------------------------------------------------------------------


def _forbid_thumbnails(world: YouTubeWorld) -> None:
    world.sandbox.youtube.change_channel(world.account.channel_id or "", custom_thumbnails=False)


def _foreign_playlist(world: YouTubeWorld) -> None:
    use_playlist(world, world.sandbox.google.create_account().channel_id or "")


@pytest.mark.parametrize(
    ("task", "spoil", "code"),
    [
        ("thumbnail", _forbid_thumbnails, ErrorCode.YOUTUBE_THUMBNAIL_NOT_ALLOWED),
        (
            "thumbnail",
            lambda w: w.sandbox.youtube.configure(thumbnails_per_day=0),
            ErrorCode.YOUTUBE_THUMBNAIL_RATE_LIMITED,
        ),
        ("thumbnail", lambda w: w.driver.covers.update({0: image(b"no picture")}), ErrorCode.MEDIA_UNREADABLE),
        ("thumbnail", lambda w: w.driver.covers.clear(), ErrorCode.MEDIA_NOT_FOUND),
        ("playlist", lambda w: w.sandbox.youtube.playlists.clear(), ErrorCode.YOUTUBE_PLAYLIST_NOT_FOUND),
        ("playlist", lambda w: w.sandbox.youtube.configure(playlist_items_max=0), ErrorCode.YOUTUBE_PLAYLIST_FULL),
        ("playlist", _foreign_playlist, ErrorCode.YOUTUBE_PLAYLIST_REFUSED),
        ("captions", lambda w: w.driver.documents.clear(), ErrorCode.MEDIA_NOT_FOUND),
        ("captions", lambda w: w.driver.documents.update({SRT_URL: b"<html>"}), ErrorCode.YOUTUBE_CAPTIONS_REJECTED),
    ],
)
async def test_a_refusal_is_filed_under_its_code(
    make: Make, task: str, spoil: Callable[[YouTubeWorld], object], code: ErrorCode
) -> None:
    world = make(*ALL)
    spoil(world)
    found = await outcomes(world)
    assert found == {**dict.fromkeys(ALL), task: code}
    assert world.driver.side_tries[task] == 1
    assert catalog.entry(code).who_acts == "user"
    assert world.driver.saved.results["verify"]["verified"] is True


async def test_captions_youtube_cannot_read(make: Make) -> None:
    """It takes them, and says in the track that they are of no use."""
    world = make("captions", captions=b"WEBVTT\n\nno times at all\n")
    assert await outcomes(world) == {"captions": ErrorCode.YOUTUBE_CAPTIONS_REJECTED}
    assert (world.calls(CAPTIONS), video_of(world).captions[0].status) == (1, "failed")


@pytest.mark.parametrize("task", ["playlist", "captions"])
async def test_a_scope_that_was_not_granted_is_known_without_asking(make: Make, task: str) -> None:
    world = make(task, scopes=DEFAULT_SCOPES)
    assert await outcomes(world) == {task: ErrorCode.YOUTUBE_SIDE_SCOPE_MISSING}
    assert world.calls(LIST) + world.calls(INSERT) + world.calls(CAPTIONS) + world.calls(TRACKS) == 0


@pytest.mark.parametrize("task", ["playlist", "captions"])
async def test_where_the_scopes_are_not_known_youtube_is_asked(make: Make, task: str) -> None:
    world = make(task, scopes=DEFAULT_SCOPES)
    world.driver.job = replace(world.driver.job, account=replace(world.driver.job.account, scopes=()))
    assert await outcomes(world) == {task: ErrorCode.YOUTUBE_SIDE_SCOPE_MISSING}


def test_a_missing_side_scope_disconnects_nobody() -> None:
    entry = catalog.entry(ErrorCode.YOUTUBE_SIDE_SCOPE_MISSING)
    assert (entry.needs_reauth, entry.holds, entry.retryable) == (False, False, False)


async def test_no_units_left(make: Make) -> None:
    world = make("thumbnail")
    world.driver.quota.closed["youtube_units"] = "youtube_quota_exhausted"
    assert await outcomes(world) == {"thumbnail": "youtube_quota_exhausted"}
    assert world.calls(THUMBNAIL) == 0


async def test_youtube_says_that_the_units_are_used_up(make: Make) -> None:
    world = make("playlist")
    world.sandbox.faults.add(INSERT, "quota_exceeded")
    assert await outcomes(world) == {"playlist": "youtube_quota_exhausted"}
    assert world.driver.quota.closed == {"youtube_units": "youtube_quota_exhausted"}
    assert video_of(world).playlists == []


# lost answers, trouble -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [{"kind": "drop_after"}, {"kind": "status", "status": 503, "process": True}])
async def test_a_lost_answer_leads_to_no_second_entry(make: Make, fault: dict[str, Any]) -> None:
    world = make("playlist", "captions")
    for name in (INSERT, CAPTIONS):
        world.sandbox.faults.add(name, **fault)
    assert await outcomes(world) == {"playlist": None, "captions": None}
    assert (len(video_of(world).playlists), len(video_of(world).captions)) == (1, 1)
    assert (world.calls(INSERT), world.calls(CAPTIONS), world.calls(TRACKS)) == (1, 1, 1)


async def test_a_listing_that_lags_behind_a_lost_answer(make: Make) -> None:
    world = make("playlist")
    world.sandbox.faults.add(INSERT, "drop_after")
    world.sandbox.faults.add(LIST, "status", status=200, json=NO_LISTING, after=1)
    assert await outcomes(world) == {"playlist": None}
    assert (len(video_of(world).playlists), world.calls(INSERT), world.calls(LIST)) == (1, 1, 3)


async def test_a_list_of_tracks_that_lags_behind_a_lost_answer(make: Make) -> None:
    """YouTube itself refuses the second one, and that says the first arrived."""
    world = make("captions")
    world.sandbox.faults.add(CAPTIONS, "drop_after")
    world.sandbox.faults.add(TRACKS, "status", status=200, json={"items": []})
    assert await outcomes(world) == {"captions": None}
    assert (len(video_of(world).captions), world.calls(CAPTIONS)) == (1, 2)


@pytest.mark.parametrize("fault", [{"kind": "drop_before"}, {"kind": "status", "status": 503}])
async def test_what_never_arrived_is_done_again(make: Make, fault: dict[str, Any]) -> None:
    world = make(*ALL)
    for name in (THUMBNAIL, INSERT, CAPTIONS):
        world.sandbox.faults.add(name, **fault)
    assert await outcomes(world) == dict.fromkeys(ALL)
    video = video_of(world)
    assert (video.thumbnails_set, len(video.playlists), len(video.captions)) == (1, 1, 1)


async def test_a_playlist_that_refuses_duplicates(make: Make) -> None:
    world = make("playlist")
    world.sandbox.youtube.configure(refuse_playlist_duplicates=True)
    await world.run(until="finish_upload")
    playlist = world.sandbox.youtube.playlists[world.driver.job.post.options["playlist_id"]]
    playlist.items.append(PlaylistItem("UEx-by-hand", video_of(world).video_id))
    world.sandbox.faults.add(LIST, "status", status=200, json=NO_LISTING)
    assert await outcomes(world) == {"playlist": None}
    assert len(video_of(world).playlists) == 1


async def test_captions_youtube_made_by_itself_are_not_ours(make: Make) -> None:
    world = make("captions")
    await world.run(until="finish_upload")
    world.sandbox.youtube.add_caption_track(video_of(world).video_id, "fr", "Français", "ASR")
    world.sandbox.faults.add(CAPTIONS, "drop_before")
    assert await outcomes(world) == {"captions": None}
    assert [track.track_kind for track in video_of(world).captions] == ["ASR", "standard"]


async def test_trouble_that_lasts_is_filed_and_the_post_stays_published(make: Make) -> None:
    world = make(*ALL)
    for name in (THUMBNAIL, INSERT, CAPTIONS):
        world.sandbox.faults.add(name, "status", status=500, times=None)
    assert await outcomes(world) == dict.fromkeys(ALL, ErrorCode.PLATFORM_UNAVAILABLE)


async def test_killed_anywhere_nothing_is_done_twice(make: Make) -> None:
    """Before and after every external call and every journal write, side tasks included."""
    world = make(*ALL)
    await outcomes(world)
    count = len(world.driver.checkpoints)
    first = next(n for n, (_, name) in enumerate(world.driver.checkpoints, 1) if name.startswith("side:"))
    assert count - first > 20
    for nth in range(first, count + 1):
        world = make(*ALL)
        world.driver.kill_at = nth
        with pytest.raises(Killed) as killed:
            await world.driver.run()
        found = await outcomes(world)
        video = video_of(world)
        done = (found, video.thumbnail_bytes, len(video.playlists), len(video.captions))
        assert done == (dict.fromkeys(ALL), len(PICTURE), 1, 1), f"killed at {killed.value}"


# a video that is too new, a Short that is still processed ---------------------------------------------------------------


async def test_a_video_that_is_not_known_yet(make: Make) -> None:
    world = make(*ALL)
    world.sandbox.youtube.configure(empty_items_seconds=40, thumbnail_delay_seconds=40)
    assert await outcomes(world) == dict.fromkeys(ALL)


async def test_a_video_that_is_never_known(make: Make) -> None:
    world = make("thumbnail")
    world.sandbox.youtube.configure(thumbnail_delay_seconds=86_400)
    assert await outcomes(world) == {"thumbnail": ErrorCode.YOUTUBE_VIDEO_REMOVED}
    assert 2 < world.driver.side_tries["thumbnail"] <= 5


async def test_patience_does_not_end_early_for_a_video_found_by_reconcile(make: Make) -> None:
    """Its journal has no `finished_at`; the task counts from its first look."""
    world = make("playlist")
    world.drop_visible_answer()
    world.sandbox.youtube.configure(empty_items_seconds=40)
    assert await outcomes(world) == {"playlist": None}
    assert world.driver.saved.results["finish_upload"]["adopted"] is True


def vertical(seconds: float = 2.0) -> BytesMedia:
    content = media_files.video(width=180, height=320)
    facts = replace(MemoryMedia.video(len(content), seconds=seconds).facts, width=180, height=320)
    return BytesMedia(facts, len(content), content=content)


@pytest.mark.parametrize("kind", [Kind.REEL, Kind.VIDEO])
async def test_the_thumbnail_of_a_short_waits_until_it_has_an_effect(make: Make, kind: Kind) -> None:
    world = make("thumbnail", kind=kind, video=vertical())
    world.sandbox.youtube.configure(processing_seconds=100)
    names = [step.name for step in world.driver.plan()]
    assert (names.index("thumbnail") > names.index("verify")) == (kind is Kind.REEL)
    assert await outcomes(world) == {"thumbnail": None}
    assert video_of(world).thumbnail_bytes == len(PICTURE)
    assert video_of(world).thumbnails_set == 1


@pytest.mark.parametrize("kind", [Kind.REEL, Kind.VIDEO])
async def test_a_short_that_is_never_processed(make: Make, kind: Kind) -> None:
    world = make("thumbnail", kind=kind, video=vertical())
    world.sandbox.faults.add("youtube.video.created", "video_outcome", outcome="stuck")
    assert await outcomes(world) == {"thumbnail": ErrorCode.YOUTUBE_THUMBNAIL_TOO_EARLY}
    assert world.calls(THUMBNAIL) == 0


async def test_a_wide_or_long_video_gets_its_thumbnail_at_once(make: Make) -> None:
    world = make("thumbnail")
    world.sandbox.youtube.configure(processing_seconds=1000)
    await world.run(until="thumbnail")
    assert world.driver.side_outcomes == {"thumbnail": None}
    world = make("thumbnail", video=vertical(seconds=181))
    await world.run(until="thumbnail")
    assert world.driver.side_tries == {"thumbnail": 1}


# the pure parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (SRT, True),
        (VTT, True),
        (b"WEBVTT", True),
        (b"WEBVTT - a title\n\n", True),
        (b"\xef\xbb\xbfWEBVTT\n", True),
        (b"1\n0:00:01,5 --> 0:00:02,5\nx", True),
        (b"", False),
        (b"WEBVTTX", False),
        (b"\nWEBVTT", False),
        (b"<html>00:00:00,000</html>", False),
        (VTT.decode().encode("utf-16"), False),
    ],
)
def test_what_counts_as_captions(content: bytes, expected: bool) -> None:
    assert is_captions(content) is expected


@given(st.binary(max_size=200))
def test_a_multipart_body_holds_the_file_unchanged(content: bytes) -> None:
    content_type, body = related({"snippet": {"name": "Français"}}, content)
    delimiter = b"--" + content_type.rpartition("=")[2].encode()
    assert body.count(delimiter) == 3
    assert body.split(delimiter)[2].partition(b"\r\n\r\n")[2] == content + b"\r\n"
