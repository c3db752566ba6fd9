"""Facebook Pages: text, photos, videos, reels and stories. Scopes, review and oddities are in README.md."""

from orbyt_worker.platforms.facebook.publish import Facebook

# With the default leads; the worker's own comes from `registry.platforms(settings)`.
PLATFORM = Facebook()

__all__ = ["PLATFORM", "Facebook"]
