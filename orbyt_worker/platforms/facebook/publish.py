"""How a post reaches a Facebook Page: the plan of each kind, and the platform itself.

    text                 publish → verify
    photo, carousel      upload (unpublished photos) → ready → publish → verify
    video, reel          upload → cover → ready → publish (finish) → verify
    story                upload → ready → publish → verify
    … and first_comment at the end, where the post has one

Everything before `publish` is hidden and safe to repeat. It runs ahead of `publish_at`, at most PREPARE_LEAD_SECONDS_MAX,
because unpublished photos live for a day; `publish` is made at `publish_at`. Nothing is ever scheduled at Meta: one code
path, cancellable, and no second clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure
from orbyt_worker.model import Account, Kind, MediaFacts, MediaSpec, Phase, Post, Problem, Stage
from orbyt_worker.platforms.base import (
    Bucket,
    Credentials,
    Http,
    Json,
    Reconciled,
    Rules,
    Step,
    StepContext,
    TokenGrant,
    Window,
)
from orbyt_worker.platforms.facebook.check import check, first_comment_of
from orbyt_worker.platforms.facebook.comment import FIRST_COMMENT, first_comment
from orbyt_worker.platforms.facebook.photos import upload_photos
from orbyt_worker.platforms.facebook.ready import REELS, ready
from orbyt_worker.platforms.facebook.reconcile import SETTLING_SECONDS, reconcile
from orbyt_worker.platforms.facebook.rules import RULES, image_spec
from orbyt_worker.platforms.facebook.verify import verify
from orbyt_worker.platforms.facebook.video import set_cover, upload_video
from orbyt_worker.platforms.facebook.visible import PUBLISH, publish
from orbyt_worker.settings import Settings

PREPARE_LEAD_SECONDS_MAX = 20 * 3600.0
# The last look at what was prepared, and the reservation of the reel: near enough to count for the right day.
READY_LEAD_SECONDS = 300.0

# 10 GB at 10 Mbit/s take 2.5 hours; a stalled transfer is ended much earlier by its own timeout.
UPLOAD_STEP_SECONDS = 12 * 3600.0
PHOTOS_STEP_SECONDS = 1800.0
COVER_STEP_SECONDS = 180.0
LOOK_STEP_SECONDS = 120.0
PUBLISH_STEP_SECONDS = 180.0
COMMENT_STEP_SECONDS = 120.0


@dataclass(slots=True)
class Facebook:
    """The platform `facebook`. Leads are in seconds before `publish_at`; `registry.py` takes them from the settings.

    `call_timeout_seconds` bounds the visible call; the lease has to outlast it. `settling_seconds`: how long after a lost
    answer Facebook's own state is watched before it is believed, and its listing is looked at before a person is asked.
    """

    prepare_lead_seconds: float = 3600.0
    call_timeout_seconds: float = 36.0
    settling_seconds: float = SETTLING_SECONDS
    rules: Rules = RULES
    buckets: Mapping[str, Bucket] = field(init=False)

    def __post_init__(self) -> None:
        self.buckets = {
            REELS: Bucket(
                RULES.limit("reels_per_day"), str(ErrorCode.FACEBOOK_REELS_PER_DAY_EXHAUSTED), Window.ROLLING_DAY
            )
        }

    def check(self, post: Post, media: Sequence[MediaFacts | None]) -> list[Problem]:
        """See `check.py`."""
        return check(post, media)

    def media_spec(self, post: Post, account: Account) -> MediaSpec:
        """The best rendition, so that one download serves every platform; images and covers as `rules.image_spec` says."""
        covers = image_spec() if post.kind in (Kind.VIDEO, Kind.REEL) else None
        return MediaSpec(rendition="highest", images=image_spec(), covers=covers)

    def plan(self, post: Post, account: Account) -> tuple[Step, ...]:
        """See the module."""
        lead = min(self.prepare_lead_seconds, PREPARE_LEAD_SECONDS_MAX)
        is_video = any(item.type == "video" for item in post.media)
        steps: list[Step] = []
        if is_video:
            steps.append(Step("upload", Stage.UPLOADING, upload_video, UPLOAD_STEP_SECONDS, lead_seconds=lead))
            if post.kind in (Kind.VIDEO, Kind.REEL) and post.media[0].cover_url:
                steps.append(
                    Step("cover", Stage.UPLOADING, set_cover, COVER_STEP_SECONDS, lead_seconds=lead, needs_media=False)
                )
        elif post.media:
            steps.append(Step("upload", Stage.UPLOADING, upload_photos, PHOTOS_STEP_SECONDS, lead_seconds=lead))
        if post.media:
            ready_lead = min(READY_LEAD_SECONDS, lead)
            steps.append(
                Step("ready", Stage.PROCESSING, ready, LOOK_STEP_SECONDS, lead_seconds=ready_lead, needs_media=False)
            )
        steps.append(
            Step(
                PUBLISH,
                Stage.PUBLISHING,
                self._publish,
                PUBLISH_STEP_SECONDS,
                phase=Phase.PUBLISH,
                visible=True,
                lead_seconds=0.0,
                needs_media=False,
                call_timeout_seconds=self.call_timeout_seconds,
                provable=is_video,
            )
        )
        steps.append(Step("verify", Stage.VERIFYING, verify, LOOK_STEP_SECONDS, needs_media=False))
        if first_comment_of(post) is not None:
            steps.append(
                Step(FIRST_COMMENT, Stage.VERIFYING, first_comment, COMMENT_STEP_SECONDS, needs_media=False, side=True)
            )
        return tuple(steps)

    async def reconcile(self, ctx: StepContext) -> Reconciled:
        """See `reconcile.py`."""
        return await reconcile(ctx, self.settling_seconds)

    def renews(self, login: str) -> bool:
        """Never: a page token has no expiry date, and lives until somebody ends it."""
        return False

    async def refresh(self, http: Http, config: Settings, credentials: Credentials) -> TokenGrant:
        """Nobody can renew a page token but the person who connects the page again."""
        raise Failure(ErrorCode.META_TOKEN_INVALID, "a page token cannot be renewed")

    async def _publish(self, ctx: StepContext) -> Json:
        return await publish(ctx, self.call_timeout_seconds)
