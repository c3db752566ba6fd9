"""The one list of platforms. Adding one is one line here (docs/platforms/adding.md)."""

from __future__ import annotations

from collections.abc import Mapping

from orbyt_worker.platforms.base import Platform
from orbyt_worker.platforms.connector import Connector
from orbyt_worker.platforms.facebook import Facebook
from orbyt_worker.platforms.facebook.connect import FacebookConnector
from orbyt_worker.platforms.instagram import Instagram
from orbyt_worker.platforms.instagram.connect import InstagramConnector
from orbyt_worker.platforms.youtube import YouTube
from orbyt_worker.platforms.youtube.connect import YouTubeConnector
from orbyt_worker.settings import Settings

VISIBLE_CALL_SECONDS_MAX = 36.0
# A healthy worker renews its lease every third of it, so two thirds are always left; a visible call has to fit into that.
VISIBLE_CALL_SHARE_OF_LEASE = 0.6


def platforms(settings: Settings) -> Mapping[str, Platform]:
    """Every platform by name, set up for this worker."""
    call_timeout_seconds = min(VISIBLE_CALL_SECONDS_MAX, settings.lease_seconds * VISIBLE_CALL_SHARE_OF_LEASE)
    listed: tuple[Platform, ...] = (
        Facebook(
            prepare_lead_seconds=settings.prepare_lead_seconds,
            call_timeout_seconds=call_timeout_seconds,
            settling_seconds=settings.meta_settling_seconds,
        ),
        Instagram(
            prepare_lead_seconds=settings.prepare_lead_seconds,
            call_timeout_seconds=call_timeout_seconds,
            settling_seconds=settings.meta_settling_seconds,
        ),
        YouTube(
            finish_lead_seconds=settings.youtube_finish_lead_seconds,
            prepare_lead_seconds=settings.prepare_lead_seconds,
            call_timeout_seconds=call_timeout_seconds,
            uploads_per_day=settings.youtube_uploads_per_day,
            units_per_day=settings.youtube_units_per_day,
            google_project=settings.google_project,
        ),
    )
    return {platform.rules.platform: platform for platform in listed}


def connectors(settings: Settings) -> Mapping[str, Connector]:
    """How accounts of every platform are connected, by the platform's name. One without client credentials offers no login."""
    listed: Mapping[str, Connector] = {
        "facebook": FacebookConnector(),
        "instagram": InstagramConnector(),
        "youtube": YouTubeConnector(),
    }
    return {name: listed[name] for name in platforms(settings)}
