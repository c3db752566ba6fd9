"""What the tests with a browser share."""

from __future__ import annotations

from tests.fix_browser import chromium, page, screenshot

__all__ = ["chromium", "page", "screenshot"]
