"""`python -m bench.contenders NAME URL MODE NUMBER [SECONDS]`: see `talk.py`."""

from __future__ import annotations

import importlib
import sys

from bench.contenders.talk import run

if __name__ == "__main__":
    run(importlib.import_module(f"bench.contenders.{sys.argv[1]}").make, sys.argv[2:])
