"""What an error answer leads to: by its numbers, whatever its HTTP status and its language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.model import Snooze
from orbyt_worker.platforms.instagram.containers import named
from orbyt_worker.platforms.instagram.processing import failure_of
from orbyt_worker.platforms.instagram.read import Container, State
from orbyt_worker.platforms.instagram.reconcile import CLEAR_REFUSALS
from tests.platforms.driver import make_post
from tests.platforms.instagram.world import InstagramWorld

MakeWorld = Callable[..., InstagramWorld]

# The same HTTP 400 while the container is made, and what becomes of the job.
SAME_STATUS = {
    (190, 460): ErrorCode.META_SESSION_ENDED,
    (4, None): ErrorCode.META_APP_THROTTLED,
    (9004, 2207052): ErrorCode.INSTAGRAM_MEDIA_NOT_FETCHED,
    (100, 33): ErrorCode.META_OBJECT_UNREADABLE,
    (368, 1390008): ErrorCode.META_BLOCKED,
    (36003, 2207009): ErrorCode.MEDIA_RATIO_NOT_SUPPORTED,
    (25, 2207050): ErrorCode.INSTAGRAM_ACCOUNT_RESTRICTED,
}


@pytest.mark.parametrize(("numbers", "code"), SAME_STATUS.items(), ids=str)
async def test_http_400_says_nothing_by_itself(
    make_world: MakeWorld, numbers: tuple[int, int | None], code: ErrorCode
) -> None:
    world = make_world("photo")
    world.sandbox.faults.add("instagram.media.create", "meta_error", code=numbers[0], subcode=numbers[1])
    outcome = await world.run()
    assert world.codes() == [code]
    # What comes again by itself is published; everything else has not touched the account.
    assert outcome.published == catalog.entry(code).retryable
    assert world.published() == int(outcome.published)


def test_the_decisions_differ() -> None:
    rows = [catalog.entry(code) for code in SAME_STATUS.values()]
    decisions = {
        (row.retry.mode, row.holds, row.needs_reauth, row.scope, row.retry.base_seconds, row.pause_seconds)
        for row in rows
    }
    assert len(decisions) >= 6


@pytest.mark.parametrize("locale", ["en_US", "de_DE", "ja_JP"])
async def test_the_language_of_a_message_does_not_matter(make_world: MakeWorld, locale: Any) -> None:
    world = make_world("photo")
    world.meta.configure(locale=locale)
    world.fault("meta_error", code=9007, subcode=2207027)
    assert (await world.run()).published
    assert world.codes() == [ErrorCode.INSTAGRAM_CONTAINER_NOT_READY]
    assert world.published() == 1


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (Container(State.ERROR, "Error: error code 2207026"), ErrorCode.MEDIA_CODEC_NOT_SUPPORTED),
        (Container(State.ERROR, "エラー 2207082"), ErrorCode.INSTAGRAM_PROCESSING_FAILED),
        (Container(State.ERROR, "It failed after 22070 seconds"), ErrorCode.INSTAGRAM_CONTAINER_FAILED),
        (Container(State.ERROR, ""), ErrorCode.INSTAGRAM_CONTAINER_FAILED),
        (Container(State.ERROR, "", errors=({"code": 2207053},)), ErrorCode.INSTAGRAM_UPLOAD_FAILED),
    ],
)
def test_the_number_of_a_container_that_failed(seen: Container, code: ErrorCode) -> None:
    assert failure_of(seen).code is code


def test_an_item_is_named_only_where_it_is_about_one(make_world: MakeWorld) -> None:
    world = make_world("carousel")
    post = make_post(world.clock.now(), kind=world.setup.kind, media=world.driver.job.post.media)
    about = named(failure_of(Container(State.ERROR, "2207026")), post, 1)
    assert (about.field, about.detail) == ("media[1]", "item 2 of 3: container: 2207026")


def test_clear_refusals_are_none_that_may_hide_a_post() -> None:
    doubtful = {
        ErrorCode.INSTAGRAM_ACTION_BLOCKED,
        ErrorCode.INSTAGRAM_CONTAINER_MISSING,
        ErrorCode.INSTAGRAM_CONTAINER_NOT_READY,
        ErrorCode.INSTAGRAM_MEDIA_NOT_FOUND,
        ErrorCode.INSTAGRAM_SERVER_ERROR,
        ErrorCode.META_DUPLICATE_POST,
        ErrorCode.META_ERROR_TRANSIENT,
        ErrorCode.META_OBJECT_UNREADABLE,
        ErrorCode.META_SERVICE_UNAVAILABLE,
        ErrorCode.PLATFORM_ERROR_UNMAPPED,
        ErrorCode.PLATFORM_UNAVAILABLE,
    }
    assert not CLEAR_REFUSALS & doubtful


async def test_a_throttle_of_the_account_waits_as_long_as_it_says(make_world: MakeWorld) -> None:
    world = make_world("photo")
    world.sandbox.faults.add("instagram.container.read", "throttle", code=80002, minutes=17)
    assert (await world.run()).published
    (failure,) = world.driver.failures
    assert failure.code is ErrorCode.META_ACCOUNT_THROTTLED
    assert failure.retry_after_seconds == 17 * 60


async def test_containers_used_up_in_the_ledger_wait(make_world: MakeWorld) -> None:
    world = make_world("photo")
    bucket = world.driver.platform.buckets["instagram_containers"]
    world.driver.quota.closed["instagram_containers"] = bucket.exhausted_code
    with pytest.raises(Snooze) as waiting:
        await world.driver.attempt()
    assert waiting.value.code == ErrorCode.INSTAGRAM_CONTAINERS_EXHAUSTED
    assert world.containers == []
