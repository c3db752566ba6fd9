"""What every test may use. One fixture file per concern; see each for what it gives.

Nothing is skipped silently: what a machine lacks is named, and with `CI` set it fails instead (`tests.fix_parts.missing`).
"""

from __future__ import annotations

pytest_plugins = ["tests.fix_alone", "tests.fix_clock", "tests.fix_node", "tests.fix_postgres"]
