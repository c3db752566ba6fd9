"""What every test may use. One fixture file per concern; see each for what it gives.

Nothing is skipped silently: what a machine lacks is named, and with `CI` set it fails instead (`tests.fix_parts.missing`).
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Time is no criterion: on a machine that does other things an example that takes a microsecond takes half a second now and then.
settings.register_profile("orbyt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("orbyt")

pytest_plugins = [
    "tests.fix_alone",
    "tests.fix_clock",
    "tests.fix_node",
    "tests.fix_postgres",
    "tests.fix_deno",
    "tests.fix_world",
]
