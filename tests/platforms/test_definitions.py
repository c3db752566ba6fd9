"""Every parameter we send exists: in the definitions Meta and Google publish for machines, not in our memory or our simulator.

The roads of all kinds of posts are driven against the sandbox, and what was sent is looked up: Graph calls in `facebook-business`,
YouTube calls in the discovery document. A call that is not in the table below fails: it has to be given its definition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from facebook_business.adobjects.advideo import AdVideo
from facebook_business.adobjects.comment import Comment
from facebook_business.adobjects.contentpublishinglimitresponse import ContentPublishingLimitResponse
from facebook_business.adobjects.igmedia import IGMedia
from facebook_business.adobjects.iguser import IGUser
from facebook_business.adobjects.page import Page
from facebook_business.adobjects.pagepost import PagePost
from facebook_business.adobjects.photo import Photo
from facebook_business.adobjects.shadowigmediabuilder import ShadowIGMediaBuilder
from facebook_business.adobjects.stories import Stories

from orbyt_worker.sandbox.server import SandboxServer
from tests.platforms.definitions import (
    Recorder,
    Sent,
    asked_fields,
    fields_of,
    parameters_of,
    unknown_properties,
    youtube_document,
    youtube_methods,
)
from tests.platforms.facebook.world import SETUPS as FACEBOOK
from tests.platforms.facebook.world import FacebookWorld
from tests.platforms.instagram.world import SETUPS as INSTAGRAM
from tests.platforms.instagram.world import InstagramWorld
from tests.platforms.youtube.world import YouTubeWorld

# Of every Graph call: token, signature, what to answer with, paging.
EVERYWHERE = {"access_token", "appsecret_proof", "appsecret_time", "fields", "limit", "after"}
# Files are passed beside the parameters, under a name of the caller's choice ("Page Photos" reference: any name, by custom
# `source`), so the generated class does not list it.
FILES = {"photos": {"source"}, "thumbnails": {"source"}, "videos": {"video_file_chunk"}}

# Last part of the path of a POST -> the generated method with the edge's parameters.
POSTS: dict[tuple[str, str], Any] = {
    ("facebook", "feed"): Page.create_feed,
    ("facebook", "photos"): Page.create_photo,
    ("facebook", "videos"): Page.create_video,
    ("facebook", "video_reels"): Page.create_video_reel,
    ("facebook", "video_stories"): Page.create_video_story,
    ("facebook", "photo_stories"): Page.create_photo_story,
    ("facebook", "thumbnails"): AdVideo.create_thumbnail,
    ("facebook", "comments"): PagePost.create_comment,
    ("instagram", "media"): IGUser.create_media,
    ("instagram", "media_publish"): IGUser.create_media_publish,
    ("instagram", "comments"): IGMedia.create_comment,
}
# Name of a GET -> the object whose fields are asked for, and the method with the edge's own parameters (None: an object).
GETS: dict[str, tuple[type, Any]] = {
    "facebook.video.get": (AdVideo, None),
    "facebook.photo.get": (Photo, None),
    "facebook.post.get": (PagePost, None),
    "facebook.posts.list": (PagePost, Page.get_published_posts),
    "facebook.stories.list": (Stories, Page.get_stories),
    "facebook.comments.list": (Comment, PagePost.get_comments),
    "instagram.container.get": (ShadowIGMediaBuilder, None),
    "instagram.publishing_limit.get": (ContentPublishingLimitResponse, IGUser.get_content_publishing_limit),
    "instagram.media.get": (IGMedia, None),
    "instagram.media.list": (IGMedia, IGUser.get_media),
    "instagram.stories.list": (IGMedia, IGUser.get_stories),
    "instagram.comments.list": (Comment, IGMedia.get_comments),
}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer() as running:
        yield running


async def driven(world: FacebookWorld | InstagramWorld | YouTubeWorld, *, lose_the_answer: bool) -> list[Sent]:
    """What one job sends; with a lost answer, what it takes to find out as well."""
    sent: list[Sent] = []
    world.driver.http = Recorder(world.driver.http, sent)
    if lose_the_answer:
        world.drop_visible_answer()
    try:
        assert (await world.driver.run()).published
    finally:
        await world.aclose()
    return sent


def graph_problems(platform: str, sent: list[Sent]) -> list[str]:
    problems = []
    for call in sent:
        edge = call.path.rstrip("/").rsplit("/", 1)[-1]
        if "rupload" in call.path:
            continue  # parameters travel as headers there; no definition exists
        if call.method == "POST":
            known = parameters_of(POSTS[platform, edge]) | FILES.get(edge, set()) | EVERYWHERE
            problems += [f"{call.name}: {name}" for name in sorted((call.body | set(call.query)) - known)]
        elif call.name in GETS:
            kind, method = GETS[call.name]
            known = (parameters_of(method) if method is not None else frozenset()) | EVERYWHERE
            problems += [f"{call.name}: {name}" for name in sorted(set(call.query) - known)]
            asked = asked_fields(call.query.get("fields", "id"))
            problems += [f"{call.name}: field {name}" for name in sorted(asked - fields_of(kind))]
        else:
            problems.append(f"{call.name} is in no table")
    return problems


@pytest.mark.parametrize("lose_the_answer", [False, True], ids=["", "lost answer"])
@pytest.mark.parametrize("shape", sorted(FACEBOOK))
async def test_facebook_sends_what_the_graph_api_knows(
    server: SandboxServer, shape: str, lose_the_answer: bool
) -> None:
    options = dict(FACEBOOK[shape].options)
    if "story" not in shape:
        options["first_comment"] = "First!"
    sent = await driven(FacebookWorld(server, shape, options=options), lose_the_answer=lose_the_answer)
    assert len(sent) >= 2
    assert graph_problems("facebook", sent) == []


@pytest.mark.parametrize("lose_the_answer", [False, True], ids=["", "lost answer"])
@pytest.mark.parametrize("login", ["facebook", "instagram"])
@pytest.mark.parametrize("shape", sorted(INSTAGRAM))
async def test_instagram_sends_what_the_graph_api_knows(
    server: SandboxServer, shape: str, login: Any, lose_the_answer: bool
) -> None:
    sent = await driven(InstagramWorld(server, shape, login), lose_the_answer=lose_the_answer)
    assert len(sent) >= 4
    assert graph_problems("instagram", sent) == []


async def test_youtube_sends_what_the_discovery_document_knows(server: SandboxServer) -> None:
    world = YouTubeWorld(
        server, options={"tags": ["a"], "category_id": "22", "made_for_kids": False, "license": "youtube"}
    )
    sent = await driven(world, lose_the_answer=True)
    by_path = {path: [] for method in youtube_methods() for path in method["_paths"]}  # type: dict[str, list[Any]]
    for method in youtube_methods():
        for path in method["_paths"]:
            by_path[path].append(method)
    standard = set(youtube_document()["parameters"]) | {"uploadType", "upload_id"}
    problems = []
    looked_at = set()
    for call in sent:
        path = re.sub(r"^/youtube-(?:api|upload)", "", call.path)
        if not path.startswith(("/youtube", "/upload")) or "upload_id" in call.query:
            continue  # Google's token endpoint; bytes sent into a session have no definition
        method = next(each for each in by_path[path] if each["httpMethod"] == call.method)
        looked_at.add(method["id"])
        known = set(method["parameters"]) | standard
        problems += [f"{call.name}: {name}" for name in sorted(set(call.query) - known)]
        if call.json is not None:
            problems += [f"{call.name}: body{each}" for each in unknown_properties(call.json, method["request"])]
            parts = set(call.query["part"].split(","))
            problems += [f"{call.name}: body {each} is in no part" for each in sorted(set(call.json) - parts)]
    assert problems == []
    assert {"youtube.videos.insert", "youtube.videos.list"} <= looked_at


def test_the_recorder_would_notice(server: SandboxServer) -> None:
    """The tables say no to what does not exist."""
    wrong = [
        Sent("x", "POST", "/v25.0/1/feed", {}, frozenset({"message", "mesage"})),
        Sent("facebook.video.get", "GET", "/v25.0/1", {"fields": "status,permalink", "when": "now"}),
        Sent("instagram.unheard", "GET", "/v25.0/1", {}),
    ]
    assert graph_problems("facebook", wrong) == [
        "x: mesage",
        "facebook.video.get: when",
        "facebook.video.get: field permalink",
        "instagram.unheard is in no table",
    ]
    schema = {"$ref": "Video"}
    assert unknown_properties({"snippet": {"title": "t", "titel": "t", "tags": ["a"]}}, schema) == [".snippet.titel"]
