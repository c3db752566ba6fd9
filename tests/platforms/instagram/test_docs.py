"""The page for people says what the rules say."""

from __future__ import annotations

from pathlib import Path

from orbyt_worker.platforms.instagram import PLATFORM
from orbyt_worker.platforms.instagram.rules import OPTIONS_BY_KIND

PAGE = (Path(__file__).parents[3] / "docs" / "platforms" / "instagram.md").read_text(encoding="utf-8")


def test_every_limit_and_option_is_documented() -> None:
    numbers = {limit.name: limit.value for limit in PLATFORM.rules.limits if isinstance(limit.value, int | float)}
    assert [name for name, value in numbers.items() if f"| `{name}` | {value} |" not in PAGE] == []
    assert [name for name in PLATFORM.rules.options if f"| `{name}` |" not in PAGE] == []


def test_the_kinds_of_an_option_are_documented() -> None:
    rows = {line.split("|")[1].strip(" `"): line.split("|")[3] for line in PAGE.splitlines() if line.startswith("| `")}
    for name in PLATFORM.rules.options:
        kinds = [kind.value for kind in PLATFORM.rules.kinds if name in OPTIONS_BY_KIND[kind]]
        assert [word.strip() for word in rows[name].split(",")] == kinds


def test_every_limit_has_a_source() -> None:
    assert [
        limit.name
        for limit in PLATFORM.rules.limits
        if "https://" not in limit.source or not limit.read_on.startswith("20")
    ] == []
