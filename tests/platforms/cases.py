"""Reads a platform's cases.toml: posts and the problems `check` has to find in them, for the worker's `check` and for the pre-flight in SQL.

[good]    the post that each case changes: any of kind, title, caption, options, media (no title and no caption if left out)
[[case]]
  name      unique
  kind, title, caption, options, media   as the app would set them; `null` in options is written as the string "$null"
  repeat    {title | caption | alt_text | tag | <text option> = n}: that text (the alternative text of the first item, each tag)
            is repeated n times, to keep the file short
  copies    {<list option> | media = n}: the last entry of that list is there n times
  pad       {title = s}: s is put before and after the text, after repeating
  expect    the problems in order, as [code, field]; none: the post may go out
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orbyt_worker.model import Kind, MediaItem, Post
from tests.platforms.driver import make_post

PLATFORMS = ("facebook", "instagram", "youtube")


@dataclass(frozen=True, slots=True)
class Case:
    """One post as the app would insert it, and the expected (code, field) pairs in order."""

    platform: str
    name: str
    kind: str
    title: str | None
    caption: str | None
    options: dict[str, Any]
    media: list[dict[str, Any]]
    expect: tuple[tuple[str, str], ...]

    def post(self, now: datetime) -> Post:
        """As the worker sees it."""
        return make_post(
            now,
            kind=Kind(self.kind),
            title=self.title,
            caption=self.caption,
            options=self.options,
            media=tuple(MediaItem(**item) for item in self.media),
        )


def load_cases(platform: str) -> list[Case]:
    """Every case of a platform, expanded."""
    table = tomllib.loads((Path(__file__).parent / platform / "cases.toml").read_text(encoding="utf-8"))
    return [_case(platform, {**table["good"], **raw}) for raw in table["case"]]


def _case(platform: str, raw: Mapping[str, Any]) -> Case:
    repeat, copies, pad = raw.get("repeat", {}), raw.get("copies", {}), raw.get("pad", {}).get("title", "")
    options: dict[str, Any] = {
        name: None if value == "$null" else value for name, value in raw.get("options", {}).items()
    }
    media, title, caption = raw["media"], raw.get("title"), raw.get("caption")
    options |= {name: value * repeat[name] for name, value in options.items() if name in repeat}
    if "tag" in repeat:
        options["tags"] = [tag * repeat["tag"] for tag in options["tags"]]
    options |= {name: _copied(value, copies[name]) for name, value in options.items() if name in copies}
    if "media" in copies:
        media = _copied(media, copies["media"])
    if "alt_text" in repeat:
        media = [{**media[0], "alt_text": media[0]["alt_text"] * repeat["alt_text"]}, *media[1:]]
    known = {"title", "caption", "tag", "alt_text", "media", *options}
    assert {*repeat, *copies} <= known, f"{platform}: {raw['name']} repeats what is not there"
    return Case(
        platform=platform,
        name=raw["name"],
        kind=raw["kind"],
        title=None if title is None else pad + title * repeat.get("title", 1) + pad,
        caption=None if caption is None else caption * repeat.get("caption", 1),
        options=options,
        media=media,
        expect=tuple((code, field) for code, field in raw["expect"]),
    )


def _copied(entries: list[Any], count: int) -> list[Any]:
    return [*entries[:-1], *entries[-1:] * count]
