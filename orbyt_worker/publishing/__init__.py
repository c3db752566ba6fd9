"""One job from row to result. Knows no particular platform: everything platform-shaped comes through `platforms/base.py`."""
