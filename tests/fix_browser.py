"""A real browser that goes to pages of this machine and nowhere else.

`screenshot` keeps what the page shows: in the test's own directory, or in ORBYT_SCREENSHOTS to look at it or to put it into docs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, sync_playwright

from tests.fix_parts import missing
from tools import browser as program

STEP_SECONDS_MAX = 30
LOOPBACK = frozenset({"127.0.0.1", "localhost"})


class Screenshot(Protocol):
    """Keeps what is to be seen as `name`.png; of one element, or of the whole page."""

    def __call__(self, name: str, of: Locator | None = None) -> Path: ...


# Not for the whole session: while it runs its event loop is this thread's, and no other test could have one.
@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = program.find(tmp_path_factory.mktemp("browser-home"))
    if found is None:
        missing(
            f"a browser (`make test` brings one for Linux on x86-64; elsewhere install one or set {program.SETTING})"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found.executable,
            env=dict(found.environment),
            # The tests may run as root, in a container, behind a company's proxy; the pages are our own.
            chromium_sandbox=False,
            args=["--no-proxy-server", "--disable-gpu", "--disable-software-rasterizer"],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A window of its own: no cookie and no page of another test. At the end: nothing was asked of another machine."""
    context = chromium.new_context(viewport={"width": 420, "height": 860}, locale="en-GB")
    context.set_default_timeout(STEP_SECONDS_MAX * 1000)
    strangers: list[str] = []

    def look(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.hostname not in LOOPBACK:
            strangers.append(parts.netloc)

    context.on("request", look)
    yield context.new_page()
    context.close()
    assert strangers == []


@pytest.fixture
def screenshot(page: Page, tmp_path: Path) -> Screenshot:
    directory = Path(os.environ.get("ORBYT_SCREENSHOTS", tmp_path))

    def take(name: str, of: Locator | None = None) -> Path:
        path = directory / f"{name}.png"
        if of is None:
            page.screenshot(path=path, full_page=True)
        else:
            of.screenshot(path=path)
        return path

    return take
