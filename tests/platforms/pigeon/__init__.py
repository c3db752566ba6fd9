"""A made-up fourth platform: what a stranger writes to add one. One folder (this one) and one line in the registry.

It lives among the tests because no such network exists. `rules.py`, `errors.py` and `publish.py` are what would be in
`orbyt_worker/platforms/pigeon/`; `world.py` is its simulator and the handles of the shared suite.
"""

from tests.platforms.pigeon.publish import Pigeon

PLATFORM = Pigeon()

__all__ = ["PLATFORM", "Pigeon"]
