"""YouTube: one video per post, uploaded in a resumable session. Scopes, review and oddities are in README.md."""

from orbyt_worker.platforms.youtube.publish import YouTube

# With the default leads; the worker's own comes from `registry.platforms(settings)`.
PLATFORM = YouTube()

__all__ = ["PLATFORM", "YouTube"]
