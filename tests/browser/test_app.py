"""The example app as a developer meets it: `orbyt-worker sandbox` is started, and a browser opens the address that it prints.

Nothing is reached into: what a test changes on the platforms' side goes through the sandbox's control API, as a developer would.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import ConsoleMessage, Locator, Page, expect

from orbyt_worker import sandbox_run
from orbyt_worker.local import LocalStack
from orbyt_worker.sandbox.lite import find_lite
from tests.fix_browser import STEP_SECONDS_MAX, Screenshot
from tests.fix_node import Tsc
from tests.fix_parts import missing

ROOT = Path(__file__).parents[2]
STOP_SECONDS_MAX = 40
# Instagram takes a while to process a video, and this worker waits as long as one in production.
PUBLISH_SECONDS_MAX = 60
PROCESSING_SECONDS = 6
SIGN_INS = {"Facebook": "Log in with Facebook", "Instagram": "Log in with Facebook", "YouTube": "Sign in with Google"}


class Sandbox:
    """A running `orbyt-worker sandbox`, known by what it printed."""

    def __init__(self, lines: list[str]) -> None:
        text = "\n".join(lines)
        self.app_url = self._find(r"^example app +(\S+)", text)
        self.platforms_url = self._find(r"^platforms +(\S+)", text)

    @staticmethod
    def _find(pattern: str, text: str) -> str:
        found = re.search(pattern, text, re.MULTILINE)
        assert found is not None, text
        return found[1]

    def control(self, operation: str, **arguments: Any) -> Any:
        """As `curl` would."""
        answer = httpx.post(f"{self.platforms_url}/_control/{operation}", json=arguments, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    if find_lite() is None:
        missing("@supabase/lite and Node (`make sandbox` installs them)")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORBYT_")}
    with subprocess.Popen(
        [sys.executable, "-m", "orbyt_worker", "sandbox", "--port", "0"],
        cwd=ROOT,
        env=environment | {"TMPDIR": str(tmp_path_factory.mktemp("sandbox"))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line.rstrip())
                if line.startswith("Ctrl-C"):
                    break
            made = Sandbox(lines)
            yield made
            assert made.control("sandbox/internal_errors") == []
            process.send_signal(signal.SIGINT)
            assert process.wait(STOP_SECONDS_MAX) == 0
        finally:
            process.kill()


class Person:
    """Ada in front of the page; `errors` is what the browser complained about."""

    def __init__(self, page: Page, sandbox: Sandbox) -> None:
        self.page, self.sandbox = page, sandbox
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._hear)
        self.accounts, self.posts = page.locator("#accounts > li"), page.locator("#posts > li")

    def _hear(self, message: ConsoleMessage) -> None:
        # Lite has no Realtime; the page says so. A 401 or 400 is shown by the page, and what the page shows is tested.
        if message.type == "error" and not re.search(r"/realtime/v1/websocket|status of 40[01]", message.text):
            self.errors.append(message.text)

    def sign_in(self) -> None:
        self.page.goto(self.sandbox.app_url)
        self.page.get_by_role("button", name="Sign in as Ada").click()
        expect(self.page.get_by_role("heading", name="Accounts")).to_be_visible()

    def decide(self, platform: str, button: str) -> None:
        """On the platform's page, and back."""
        expect(self.page.get_by_role("heading", name=SIGN_INS[platform])).to_be_visible()
        self.page.get_by_role("button", name=button).click()
        self.page.wait_for_url(self.sandbox.app_url + "**")

    def connect(self, platform: str, pick: int | None = None, screenshot: Screenshot | None = None) -> str:
        """`pick`: which of several. Returns the name of what is connected then."""
        names = self.accounts.get_by_role("heading").filter(has_text=f"{platform}:")
        expect(self.accounts.first).to_be_visible()
        had = names.count()
        self.page.get_by_role("button", name=f"Connect {platform}").click()
        self.decide(platform, "Continue")
        if pick is not None:
            dialog = self.page.get_by_role("dialog", name="Which accounts?")
            box = dialog.get_by_role("checkbox").nth(pick)
            box.check()
            if screenshot is not None:
                screenshot("app-choose", dialog)
            dialog.get_by_role("button", name="Connect").click()
        expect(names).to_have_count(had + 1)
        return names.last.inner_text()

    def write(self, title: str, *, to: list[str], media: str, kind: str = "Video") -> None:
        compose = self.page.get_by_role("region", name="New post")
        for name in to:
            compose.get_by_label(name, exact=True).check()
        compose.get_by_label("Kind").select_option(kind)
        compose.get_by_label("Title").fill(title)
        compose.get_by_label(media).check()

    def press(self, button: str, within: Locator | None = None) -> None:
        (within or self.page).get_by_role("button", name=button, exact=True).click()

    def post(self, title: str) -> Locator:
        return self.posts.filter(has_text=title)

    def shows(self, post: Locator, status: str) -> None:
        expect(post.locator(".badge")).to_have_text(status, timeout=PUBLISH_SECONDS_MAX * 1000)

    def fits(self) -> None:
        """On a phone nothing is to be moved sideways."""
        assert self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.fixture
def person(page: Page, sandbox: Sandbox) -> Iterator[Person]:
    expect.set_options(timeout=STEP_SECONDS_MAX * 1000)
    person = Person(page, sandbox)
    person.sign_in()
    yield person
    assert person.errors == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_three_platforms_are_connected_and_one_video_goes_to_all(person: Person, screenshot: Screenshot) -> None:
    accounts = [
        person.connect("Facebook", pick=0, screenshot=screenshot),
        person.connect("Instagram", pick=0),
        person.connect("YouTube"),
    ]
    person.write("From all of us", to=accounts, media="Upright video")
    caption, problem = person.page.get_by_label("Caption"), person.page.locator("#caption-problem")
    caption.fill("very " * 500 + "long")
    # Only one of the three has so little room, and nothing was inserted to find out.
    expect(problem).to_have_text("Instagram: Shorten the caption. (2504 characters, at most 2200)")
    expect(caption).to_have_attribute("aria-invalid", "true")
    expect(person.page.locator(".problem:not(:empty)")).to_have_count(1)
    screenshot("app-compose", person.page.get_by_role("region", name="New post"))
    caption.fill("What we saw this summer")
    expect(problem).to_be_empty()
    # Instagram takes its time with the video, so that there is something to watch.
    person.sandbox.control("meta/configure", processing_seconds=PROCESSING_SECONDS)
    person.press("Publish")

    posts = person.post("From all of us")
    expect(posts).to_have_count(3)
    facebook, instagram, youtube = (
        posts.filter(has=person.page.get_by_role("heading", name=name, exact=True)) for name in accounts
    )
    person.shows(instagram, "publishing")
    expect(instagram.get_by_role("progressbar", name=re.compile(r"^processing, \d+ percent$"))).to_be_visible()
    for post in (youtube, facebook, instagram):
        person.shows(post, "published")
        expect(post.get_by_role("link", name="See it")).to_have_attribute("href", re.compile("^https://"))
        expect(post.get_by_role("progressbar")).to_have_count(0)
        if post is youtube:
            screenshot("app-moving", person.page.get_by_role("region", name="Posts"))
    person.fits()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_failure_says_what_to_do_and_its_button_does_it(person: Person, screenshot: Screenshot) -> None:
    page = person.page
    # Changing one's mind on the platform's page leads back, too.
    person.press("Connect Facebook")
    person.decide("Facebook", "Cancel")
    expect(page.get_by_role("alert")).to_contain_text("Access not given.")
    account = person.connect("Facebook", pick=1)

    # Ada's role on the Page ends: the post waits and says for what.
    card = person.accounts.filter(has_text=account)
    page_id = card.locator(".note").inner_text()
    role = {"page_id": page_id, "user_id": person.sandbox.control("meta/list_tokens", page_id=page_id)[-1]["user_id"]}
    person.sandbox.control("meta/change_page", **role, tasks=[])
    person.write("Without a role", to=[account], media="Photo (JPEG)", kind="Photo")
    page.get_by_label("Caption").fill("Without a role")
    person.press("Publish")
    held = person.post("Without a role")
    person.shows(held, "held")
    expect(held.locator(".why")).to_contain_text("You can solve this.")
    expect(card.locator(".badge")).to_have_text("reconnect")
    person.fits()
    screenshot("app-failure", held)

    # Nothing but a click: the account stays the same one, and what waited goes out.
    person.sandbox.control("meta/change_page", **role, tasks=["CREATE_CONTENT", "MANAGE"])
    person.press("Reconnect", held)
    person.decide("Facebook", "Continue")
    person.shows(held, "published")
    expect(person.accounts.filter(has_text=page_id).locator(".badge")).to_have_text("connected")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_post_is_changed_cancelled_and_written_anew(person: Person) -> None:
    page = person.page
    account = person.connect("Facebook", pick=2)
    compose, title = page.get_by_role("form", name="New post"), "No video at all"

    # A file that lies about what it is: only the worker can tell.
    person.write(title, to=[account], media="A file that is no video")
    person.press("Publish")
    failed = person.post(title)
    person.shows(failed, "failed")
    expect(failed.locator(".why")).to_contain_text("Code: media_not_media")
    person.press("Edit and send again", failed)
    expect(page.get_by_label("Title")).to_have_value(title)
    expect(compose.get_by_label(account, exact=True)).to_be_checked()

    page.get_by_label("A file that is no video").uncheck()
    page.get_by_label("Upright video").check()
    page.get_by_label("Title").fill("Scheduled")
    page.get_by_label("Later").check()
    when = page.get_by_label("At", exact=True)
    tomorrow = datetime.now(UTC).astimezone() + timedelta(days=1)
    when.fill("2090-01-01T10:00")
    expect(page.locator("#publish_at-problem")).to_contain_text("too far in the future")
    when.fill(f"{tomorrow:%Y-%m-%dT%H:%M}")
    expect(page.locator("#publish_at-problem")).to_be_empty()
    person.press("Publish")
    scheduled = person.post("Scheduled")
    person.shows(scheduled, "scheduled")

    person.press("Edit", scheduled)
    page.get_by_label("Title").fill("Scheduled, and changed")
    person.press("Save")
    changed = person.post("Scheduled, and changed")
    person.shows(changed, "scheduled")
    expect(scheduled).to_have_count(1)
    person.press("Cancel", changed)
    person.shows(changed, "cancelled")
    expect(changed.get_by_role("button")).to_have_count(0)


def test_a_token_that_has_run_out_leads_to_the_sign_in(person: Person) -> None:
    person.page.evaluate(
        """() => {
          const [key] = Object.keys(sessionStorage);
          const session = JSON.parse(sessionStorage.getItem(key));
          sessionStorage.setItem(key, JSON.stringify({ ...session, access_token: `${session.access_token}x` }));
        }"""
    )
    person.page.reload()
    expect(person.page.get_by_role("button", name="Sign in as Ada")).to_be_visible()
    expect(person.page.get_by_role("alert")).to_contain_text("Signed out")
    person.press("Sign in as Ada")
    expect(person.page.get_by_role("heading", name="Accounts")).to_be_visible()
    expect(person.page.get_by_role("alert")).to_be_hidden()


def test_only_the_page_itself_gets_a_token(sandbox: Sandbox) -> None:
    address = f"{sandbox.app_url}session"
    with httpx.Client(trust_env=False) as client:
        page = client.get(sandbox.app_url)
        assert page.status_code == 200
        policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
        assert {name: policy[name] for name in ("default-src", "script-src", "style-src")} == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
        }
        assert "access_token" not in page.text
        assert client.get(f"{sandbox.app_url}config").json().keys() == {"supabaseUrl", "publishableKey", "media"}
        assert client.post(address, headers={"origin": sandbox.platforms_url}).status_code == 200
        assert client.post(address).status_code == 403
        assert client.post(address, headers={"origin": "https://example.com"}).status_code == 403
        # A name of somebody else's that leads to this machine.
        evil = {"origin": "http://evil.example", "host": "evil.example"}
        assert client.post(address, headers=evil).status_code == 404
        assert client.get(f"{sandbox.app_url}..%2f..%2fpyproject.toml").status_code == 404
        assert client.get(f"{sandbox.app_url}tsconfig.json").status_code == 404


def test_the_page_is_typed(tsc: Tsc) -> None:
    """Against the client module and supabase-js, strictly."""
    answer = tsc("-p", str(ROOT / "examples" / "app"))
    assert answer.returncode == 0, answer.stdout


def test_without_node_the_sandbox_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And goes on without the app."""
    monkeypatch.setattr(sandbox_run, "find_lite", lambda: None)
    with sandbox_run.app_side(LocalStack(tmp_path), 0) as found:
        assert found.return_to == ()
        assert "needs Node" in " ".join(found.lines)
        assert "`make sandbox` installs" in " ".join(found.lines)
