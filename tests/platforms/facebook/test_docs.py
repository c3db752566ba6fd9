"""The page for people says what the rules say."""

from __future__ import annotations

from pathlib import Path

from orbyt_worker.platforms.facebook import PLATFORM

PAGE = (Path(__file__).parents[3] / "docs" / "platforms" / "facebook.md").read_text(encoding="utf-8")


def test_every_limit_option_and_scope_is_documented() -> None:
    numbers = {limit.name: limit.value for limit in PLATFORM.rules.limits if isinstance(limit.value, int | float)}
    assert [name for name, value in numbers.items() if f"| `{name}` | {value} |" not in PAGE] == []
    assert [name for name in PLATFORM.rules.options if f"| `{name}` |" not in PAGE] == []
    assert [name for name in PLATFORM.rules.required_scopes if f"`{name}`" not in PAGE] == []


def test_what_nobody_can_prove_is_documented() -> None:
    section = PAGE.partition("## When nobody can tell")[2]
    assert [name for name in PLATFORM.rules.unprovable if name.partition(" ")[0] not in section] == []


def test_every_limit_has_a_source() -> None:
    assert [
        limit.name
        for limit in PLATFORM.rules.limits
        if "https://" not in limit.source or not limit.read_on.startswith("20")
    ] == []
