"""Reads cases.toml: posts and the problems `check` has to find in them, for the test here and for the one of the SQL pre-flight."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Case:
    """One post as the app would insert it, and the expected (code, field) pairs in order."""

    name: str
    kind: str
    title: str
    caption: str | None
    options: dict[str, Any]
    media: list[dict[str, Any]]
    expect: tuple[tuple[str, str], ...]


def load_cases(platform: str = "youtube") -> list[Case]:
    """Every case of a platform, expanded."""
    table = tomllib.loads((Path(__file__).parents[1] / platform / "cases.toml").read_text(encoding="utf-8"))
    return [_case(raw) for raw in table["case"]]


def _case(raw: dict[str, Any]) -> Case:
    repeat, copies, pad = raw.get("repeat", {}), raw.get("copies", {}), raw.get("pad", {})
    options: dict[str, Any] = {
        name: None if value == "$null" else value for name, value in raw.get("options", {}).items()
    }
    if "tag" in repeat:
        options["tags"] = [tag * repeat["tag"] for tag in options["tags"]]
    options |= {name: value * repeat[name] for name, value in options.items() if name in repeat}
    if "tag" in copies:
        options["tags"] = options["tags"] * copies["tag"]
    caption = raw.get("caption")
    return Case(
        name=raw["name"],
        kind=raw.get("kind", "video"),
        title=pad.get("title", "") + raw.get("title", "A title") * repeat.get("title", 1) + pad.get("title", ""),
        caption=caption * repeat.get("caption", 1) if caption is not None else None,
        options=options,
        media=raw.get("media", [{"type": "video", "url": "https://example.com/video.mp4"}]),
        expect=tuple((code, field) for code, field in raw["expect"]),
    )
