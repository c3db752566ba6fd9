"""Benchmarks: everything side by side in one run on one machine, as ratios. `python -m bench --help`, `python -m bench.soak --help`.

Nothing here is part of the worker; nothing in the worker knows of it.
"""
