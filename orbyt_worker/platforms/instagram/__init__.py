"""Instagram: photo, carousel, reel and story, with both logins. Scopes, review and oddities are in README.md."""

from orbyt_worker.platforms.instagram.publish import Instagram

# With the default leads; the worker's own comes from `registry.platforms(settings)`.
PLATFORM = Instagram()

__all__ = ["PLATFORM", "Instagram"]
