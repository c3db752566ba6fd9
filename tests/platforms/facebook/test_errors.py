"""Errors as a post meets them: numbers decide, whatever the HTTP status and the language say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orbyt_worker.errors import catalog
from orbyt_worker.errors.codes import ErrorCode
from tests.platforms.driver import Outcome
from tests.platforms.facebook.world import FacebookWorld

MakeWorld = Callable[..., FacebookWorld]


def decision(outcome: Outcome, world: FacebookWorld) -> tuple[Any, ...]:
    """What becomes of the job, and of its account."""
    code = ErrorCode.OUTCOME_UNKNOWN if outcome.held is not None else None
    failure = outcome.failure or (world.driver.failures[-1] if world.driver.failures else None)
    entry = catalog.entry(code or (failure.code if failure is not None else ErrorCode.INTERNAL_ERROR))
    return (outcome.published, entry.holds, entry.needs_reauth, entry.who_acts, entry.action, entry.scope)


async def test_six_errors_with_the_same_status_lead_to_six_decisions(make_world: MakeWorld) -> None:
    found = {}
    for code, subcode in ((80001, None), (200, None), (100, 1346003), (1, None), (104, None), (100, 1404078)):
        world = make_world("text")
        world.fault("meta_error", code=code, subcode=subcode, status=400)
        found[code, subcode] = decision(await world.run(), world)
    assert len(set(found.values())) == 6, found
    assert found[80001, None][0] is True, "a throttle passes"


@pytest.mark.parametrize(
    ("shape", "spoil", "code"),
    [
        ("link", "link", ErrorCode.FACEBOOK_LINK_REFUSED),
        ("text", "scope", ErrorCode.META_PERMISSION_MISSING),
        ("photo", "scope", ErrorCode.META_PERMISSION_MISSING),
        ("reel", "token", ErrorCode.META_SESSION_ENDED),
    ],
)
async def test_the_same_numbers_in_three_languages_lead_to_one_decision(
    make_world: MakeWorld, shape: str, spoil: str, code: ErrorCode
) -> None:
    for locale in ("en_US", "de_DE", "ja_JP"):
        options = {"options": {"link": "https://www.facebook.com/somebody"}} if spoil == "link" else {}
        world = make_world(shape, **options)
        world.meta.configure(locale=locale)
        if spoil == "scope":
            world.meta.set_scopes(world.page.page_token, ("pages_show_list", "pages_read_engagement"))
        elif spoil == "token":
            world.meta.kill_token(world.page.page_token, "password_changed")
        outcome = await world.run()
        assert outcome.failure is not None
        assert outcome.failure.code is code
        assert world.published() == 0


async def test_the_same_text_twice_is_a_question_for_a_person(make_world: MakeWorld) -> None:
    """506: perhaps published already, by whom cannot be told. It is not sent again."""
    world = make_world("text")
    world.facebook.post_outside(world.page.page_id, "A caption")
    world.clock.advance(60)
    outcome = await world.run()
    assert outcome.held is not None
    assert (world.published(), world.visible_calls()) == (1, 1)


async def test_usage_is_handed_on(make_world: MakeWorld) -> None:
    world = make_world("text")
    world.meta.set_usage("pages", 80, owner=world.page.page_id)
    assert (await world.run()).published
    assert max(each.percent for each in world.driver.usages) == 80
