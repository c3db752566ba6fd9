"""Every error Orbyt can report: `catalog.toml` is the source, `codes.py` is generated from it."""
