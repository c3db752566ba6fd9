"""From the app's button to a post in a real browser: a person reads the platform's page, ticks, clicks, and is back in the app.

The platform's page, the callback door of a worker process and the page to return to are real addresses; what the browser does
between them, redirects, forms and policies included, is its own.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from playwright.sync_api import Page, expect

from tests.fix_browser import Screenshot
from tests.fix_world import World

SETTLED = ("published", "failed", "held")
UPLOAD = "https://www.googleapis.com/auth/youtube.upload"


class Person:
    """Sits in front of the browser, signed in to the app as this test's user."""

    def __init__(self, world: World, page: Page) -> None:
        self.world, self.page = world, page
        self.link = world.sandbox.state.return_link()
        self.session_id: UUID | None = None

    def press_connect(self, platform: str, account_id: UUID | None = None) -> None:
        """The app opens the system browser."""
        self.world.wait_until(self.world.connectable)
        begun = self.world.database.begin_connect(
            self.world.user_id, platform, account_id=account_id, return_to=self.link
        )
        self.session_id = begun.session_id
        self.page.goto(begun.authorize_url)

    def decide(self, button: str) -> str:
        """Clicks, and is sent back to the app. Returns the status in the link, which carries the session and nothing else."""
        self.page.get_by_role("button", name=button).click()
        self.page.wait_for_url(re.compile(re.escape(self.link)))
        query = parse_qs(urlsplit(self.page.url).query)
        assert set(query) == {"session_id", "status"}, self.page.url
        assert urlsplit(self.page.url).fragment in {"", "_=_"}
        expect(self.page.get_by_role("heading")).to_have_text("Back in the app")
        expect(self.page.locator("#session")).to_have_text(str(self.session_id))
        return query["status"][0]

    def session(self) -> dict[str, Any]:
        """As the app reads it when the worker is done."""
        assert self.session_id is not None
        session_id = self.session_id

        def row() -> dict[str, Any]:
            return dict(self.world.database.connect_session(self.world.user_id, session_id))

        self.world.wait_until(lambda: row()["status"] not in {"started", "exchanging"})
        return row()


def account_id_of(world: World, platform_account_id: str) -> UUID:
    rows = world.database.as_user(
        world.user_id, "select account_id from orbyt.accounts where platform_account_id = %s", [platform_account_id]
    )
    account_id: UUID = rows[0]["account_id"]
    return account_id


def test_pages_are_ticked_chosen_lost_and_found_again(world: World, page: Page, screenshot: Screenshot) -> None:
    meta = world.sandbox.state.meta
    somebody = meta.create_user("Ada")
    kept, left, bakery = meta.create_pages(3, user_id=somebody.user_id)
    person = Person(world, page)
    with world.connecting_worker() as worker:
        person.press_connect("facebook")
        expect(page.get_by_role("heading")).to_have_text("Log in with Facebook")
        page.get_by_label(left.name, exact=True).uncheck()
        screenshot("facebook-login")
        assert person.decide("Continue") == "exchanging"
        screenshot("back-in-the-app")
        session = person.session()
        assert session["status"] == "choose", session["error_code"]
        assert {each["platform_account_id"]: each["usable"] for each in session["candidates"]} == {
            kept.page_id: True,
            bakery.page_id: True,
        }
        world.database.finish_connect(world.user_id, session["session_id"], [bakery.page_id])
        account_id = account_id_of(world, bakery.page_id)

        text: dict[str, Any] = {"kind": "text", "title": None}
        first = world.database.insert_job(world.user_id, account_id, caption="First", **text)
        assert world.wait_for(first, *SETTLED)["status"] == "published"

        # The person removes the app in Facebook's settings: the next post waits, and says for what.
        meta.kill_user(somebody.user_id, "app_removed")
        second = world.database.insert_job(world.user_id, account_id, caption="Second", **text)
        held = world.wait_for(second, *SETTLED)
        assert (held["status"], held["needs_reauth"]) == ("held", True), held["error_code"]

        person.press_connect("facebook", account_id)
        assert person.decide("Continue") == "exchanging"
        again = person.session()
        assert (again["status"], again["account_ids"]) == ("connected", [account_id]), again["error_code"]
        assert world.wait_for(second, "published", "failed")["status"] == "published"
        assert worker.stop() == 0
    assert len(meta.facebook.published(bakery.page_id)) == 2
    assert meta.facebook.published(kept.page_id) == []


def test_no_then_too_little_then_everything(world: World, page: Page, screenshot: Screenshot) -> None:
    """One person at Google's page: presses cancel, leaves a box out, and does it right at last."""
    google = world.sandbox.state.google
    channel = google.create_account(channel_title="Ada's channel")
    person = Person(world, page)
    with world.connecting_worker() as worker:
        person.press_connect("youtube")
        assert person.decide("Cancel") == "failed"
        assert person.session()["error_code"] == "connect_denied"

        person.press_connect("youtube")
        page.get_by_label(UPLOAD).uncheck()
        screenshot("google-consent")
        assert person.decide("Continue") == "exchanging"
        refused = person.session()
        assert (refused["status"], refused["error_code"]) == ("failed", "connect_scopes_missing")
        # It says which one, and not the one that was ticked.
        assert "not given: youtube.upload (uploading videos);" in refused["error_message"]
        assert "youtube.readonly" not in refused["error_message"]

        person.press_connect("youtube")
        assert person.decide("Continue") == "exchanging"
        assert person.session()["status"] == "connected"
        # The browser's back button, then the same click: the session is over, and nothing is connected a second time.
        page.go_back()
        assert person.decide("Continue") == "connected"
        account_id = account_id_of(world, str(channel.channel_id))
        assert person.session()["account_ids"] == [account_id]
        assert worker.stop() == 0
    # Two codes were redeemed: that of the box left out, and the one that connected.
    assert google.token_call_count("authorization_code") == 2
