"""The extension point: a made-up platform passes the shared suite, and the database knows its rules from its row alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from orbyt_worker.generate import platforms_sql
from orbyt_worker.model import Kind, MediaItem
from orbyt_worker.platforms.base import Platform
from tests.fix_postgres import Database
from tests.platforms.contract import PlatformContract
from tests.platforms.driver import make_post
from tests.platforms.pigeon import PLATFORM
from tests.platforms.pigeon.rules import RULES
from tests.platforms.pigeon.world import PigeonWorld


class TestPigeon(PlatformContract):
    @pytest.fixture
    async def make_world(self) -> AsyncIterator[Callable[[], PigeonWorld]]:
        made: list[PigeonWorld] = []

        def make() -> PigeonWorld:
            made.append(PigeonWorld())
            return made[-1]

        yield make
        for world in made:
            await world.aclose()


def test_it_is_a_platform() -> None:
    platform: Platform = PLATFORM
    assert platform.rules.kinds == (Kind.TEXT, Kind.PHOTO)


@pytest.mark.parametrize(
    ("kind", "title", "media", "options"),
    [
        (Kind.TEXT, None, [], {}),
        (Kind.TEXT, None, [("image", "https://example.com/a.jpg")], {"feather": "white", "ring": "green"}),
        (Kind.PHOTO, None, [], {"ring": "red", "reply_to": 7}),
        (Kind.PHOTO, "A title", [("image", "https://example.com/a.jpg")] * 5, {}),
        (Kind.PHOTO, "A title", [("video", "https://example.com/a.mp4")], {"ring": None}),
        (Kind.REEL, "A title", [("video", "https://example.com/a.mp4")], {}),
    ],
)
async def test_the_row_of_its_rules_is_all_that_the_pre_flight_in_sql_needs(
    db: Database, kind: Kind, title: str | None, media: list[tuple[str, str]], options: dict[str, object]
) -> None:
    """Both sides say the same, although no SQL was written for it."""
    await db.execute(platforms_sql([RULES]).encode())
    now = datetime.now(UTC)
    items = tuple(MediaItem(type="image" if kind_of == "image" else "video", url=url) for kind_of, url in media)
    post = make_post(now, kind=kind, title=title, media=items, options=options)
    rows = await db.fetch(
        "select code, field from orbyt_private.check_content('pigeon', %s::orbyt.post_kind, %s, 'x', %s, %s, %s, %s)",
        [
            kind.value,
            title,
            Jsonb([{"type": kind_of, "url": url} for kind_of, url in media]),
            Jsonb(options),
            now,
            now + timedelta(days=1),
        ],
    )
    assert [(row["code"], row["field"]) for row in rows] == [
        (str(each.code), each.field) for each in PLATFORM.check(post, [])
    ]
