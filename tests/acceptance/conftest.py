"""Acceptance tests use the whole world; the other folders do not pay for importing it."""

from __future__ import annotations

from tests.fix_world import world, world_template

__all__ = ["world", "world_template"]
