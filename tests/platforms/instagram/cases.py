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
    title: str | None
    caption: str | None
    options: dict[str, Any]
    media: list[dict[str, Any]]
    expect: tuple[tuple[str, str], ...]


def load_cases() -> list[Case]:
    """Every case, expanded."""
    table = tomllib.loads(Path(__file__).with_name("cases.toml").read_text(encoding="utf-8"))
    return [_case(raw) for raw in table["case"]]


def _case(raw: dict[str, Any]) -> Case:
    repeat = raw.get("repeat", {})
    options: dict[str, Any] = {
        name: None if value == "$null" else value for name, value in raw.get("options", {}).items()
    }
    for key, name in (("comment", "first_comment"), ("audio", "audio_name")):
        if key in repeat:
            options[name] *= repeat[key]
    for key, name in (("collaborator", "collaborators"), ("tag", "user_tags")):
        if key in repeat:
            options[name] = options[name][:-1] + options[name][-1:] * repeat[key]
    media = raw.get("media", [{"type": "image", "url": "https://example.com/a.jpg"}])
    if "media" in repeat:
        media = media * repeat["media"]
    if "alt" in repeat:
        media = [{**media[0], "alt_text": media[0]["alt_text"] * repeat["alt"]}, *media[1:]]
    return Case(
        name=raw["name"],
        kind=raw.get("kind", "photo"),
        title=raw.get("title"),
        caption=raw.get("caption", "A caption") * repeat.get("caption", 1),
        options=options,
        media=media,
        expect=tuple((code, field) for code, field in raw["expect"]),
    )
