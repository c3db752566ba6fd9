"""What Pigeon allows, as data."""

from __future__ import annotations

from orbyt_worker.model import Kind
from orbyt_worker.platforms.base import Limit, Rules, Shape

_PAGE = "Pigeon API, Drafts (made up for the tests)"

RULES = Rules(
    platform="pigeon",
    title="Pigeon",
    shapes={
        Kind.TEXT: Shape(0, 0),
        Kind.PHOTO: Shape(1, 4, ("image",), title="required"),
    },
    limits=(Limit("drafts_per_day", 50, _PAGE, "2026-11-25"),),
    options={"ring": "enum:red|blue", "reply_to": "string"},
    required_scopes=("drafts.write",),
)
