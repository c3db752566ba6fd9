"""The Platform contract: what every social network must answer, and what it is given.

A platform is data (`Rules`), a pure `check`, a pure `plan`, and the steps themselves. It never sees the database:
it receives a `StepContext` and returns results, so it is tested without one. It never decides about retries: it
raises `Failure(code)`. It never waits in a slot for something that takes long: it raises `Snooze` (model.py).

Exactly one step of a plan is `visible`. The executor guards it (`publishing/fence.py`): a durable "begun" before it,
"confirmed" after it, and `reconcile` when an earlier attempt began and never confirmed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from orbyt_worker.model import Account, Job, Kind, MediaFacts, Phase, Post, Problem, PublishResult, Snooze, Stage
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A platform's answer, any status. `json` is None when the body was no JSON (HTML error pages happen).

    `headers` has lower-case names. `body` is capped and for parsing only: it is never logged or stored.
    """

    status: int
    headers: Mapping[str, str]
    json: Any = None
    body: bytes = field(default=b"", repr=False)


class Http(Protocol):
    """The only way to call a platform (`platforms/http.py`): timeouts, size cap, no redirects, no retry, redacted log."""

    async def call(
        self,
        name: str,
        method: str,
        url: str,
        *,
        timeout_seconds: float,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        content: bytes | AsyncIterator[bytes] | None = None,
        content_length: int | None = None,
    ) -> ApiResponse:
        """One request, one answer. `name` (e.g. "youtube.videos.insert") is what logs and metrics show instead of the URL.

        Raises Failure(network_timeout | network_unreachable) when no answer came: the outcome is then unknown.
        With an iterator as content, `content_length` is required and checked against what was really sent.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limit:
    """One number of a platform, with its unit in the name, the page it was read on and the day."""

    name: str
    value: int | float | str | Sequence[str]
    source: str
    read_on: str


@dataclass(frozen=True, slots=True)
class Rules:
    """A platform's limits as data: what `check`, the pre-flight in SQL, the docs and the types are made from."""

    platform: str
    title: str
    kinds: tuple[Kind, ...]
    limits: tuple[Limit, ...]
    options: Mapping[str, str]  # option name -> type: "bool", "string", "string[]", "enum:a|b|c", "int"
    required_scopes: tuple[str, ...]
    # Which Mux rendition to fetch: "highest", or a name such as "1080p".
    prefer_rendition: str = "highest"

    def limit(self, name: str) -> Any:
        """The value of the limit called `name`; a KeyError is a programming mistake."""
        for each in self.limits:
            if each.name == name:
                return each.value
        raise KeyError(name)


class Truth(StrEnum):
    """What the platform's own state says about a visible call whose answer was lost."""

    PUBLISHED = "published"
    NOT_PUBLISHED = "not_published"  # provably: the handle itself says so
    UNKNOWN = "unknown"  # cannot be told (yet)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The answer of `reconcile`. `again_in_seconds` with UNKNOWN: look again later before giving up."""

    truth: Truth
    result: PublishResult | None = None
    again_in_seconds: float | None = None
    detail: str = ""
    # With NOT_PUBLISHED: journalled steps that have to be done anew (an upload session that is gone).
    forget_steps: tuple[str, ...] = ()
    # With NOT_PUBLISHED: the handle itself says why it never will be (a catalog code); the job then fails with it.
    code: str | None = None


class MediaReader(Protocol):
    """The bytes of one media item, downloaded once and shared; readable while the download still runs."""

    @property
    def facts(self) -> MediaFacts: ...

    @property
    def size_bytes(self) -> int:
        """Exact length; known before the first byte is given out."""
        ...

    def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Exactly `length` bytes from `start`, in pieces of at most 256 KiB; waits for the download where needed.

        Raises Failure(media_truncated | media_changed | media_source_unavailable | …) instead of ever
        giving fewer bytes than asked for.
        """
        ...


class Quota(Protocol):
    """Units of a platform's allowance, reserved fleet-wide before a call is made."""

    async def reserve(self, bucket: str, units: int = 1) -> None:
        """Reserve, or raise Snooze until the reset with the bucket's code."""
        ...

    async def exhausted(self, bucket: str, code: str) -> Snooze:
        """The platform says the bucket is used up: close it until its reset and return the Snooze to raise."""
        ...


@dataclass(slots=True)
class StepContext:
    """Everything a step may touch."""

    job: Job
    runtime: Runtime
    http: Http
    media: Sequence[MediaReader]
    # Results of the steps recorded so far, by step name. Secret values (`save(..., secret=…)`) are merged in.
    journal: Mapping[str, Json]
    quota: Quota
    # A valid access token; refreshed ahead of expiry. `fresh=True` after a 401: the cached one is not trusted.
    access_token: Callable[..., Awaitable[str]]
    # Journal a partial result of the running step *now*. `secret` is sealed before it reaches SQL; use it for upload
    # addresses. Raises if this attempt no longer owns the job.
    save: Callable[..., Awaitable[None]]
    # Journalled steps to be done anew (an upload session that is gone); only hidden ones can be forgotten.
    forget: Callable[..., Awaitable[None]]
    # Tell the user: stage and fraction 0..1 of that stage. Cheap to call often; written rarely.
    progress: Callable[[Stage, float], Awaitable[None]]
    # Database time, estimated from the claim and the monotonic clock.
    now: Callable[[], datetime]
    # Outside hosts and client credentials.
    config: Settings
    # What the probe found, one per media item.
    facts: Sequence[MediaFacts] = ()
    # In `reconcile` only: when the visible call was begun (database time).
    begun_at: datetime | None = None

    @property
    def post(self) -> Post:
        return self.job.post

    @property
    def account(self) -> Account:
        return self.job.account


@dataclass(frozen=True, slots=True)
class Step:
    """One recorded part of publishing.

    `run(ctx)` returns the JSON to journal under `name` (no secrets: those go through `ctx.save(secret=…)`), or raises
    Failure or Snooze. It must be safe to run again after a crash at any point: it first reads what
    `ctx.journal.get(name)` holds from its own earlier `save`. The visible step's JSON must contain
    `platform_post_id` (and may contain `permalink`).

    `timeout_seconds` bounds one run; a running step whose data keeps flowing should be cut into chunks by the
    platform's own timeouts, and this deadline is the last resort.
    `lead_seconds`: how long before publish_at the step may start. None = as soon as the job is claimed.
    """

    name: str
    stage: Stage
    run: Callable[[StepContext], Awaitable[Json]]
    timeout_seconds: float
    phase: Phase = Phase.BACKGROUND
    visible: bool = False
    lead_seconds: float | None = None
    # False: the step does not read the media (a poll), so nothing is downloaded for it.
    needs_media: bool = True
    # Only for the visible step: the longest the one call can be in flight. The lease must outlast it.
    call_timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """What a token endpoint gave. `refresh_token` None = keep the stored one (never overwrite with nothing)."""

    access_token: str = field(repr=False)
    expires_in_seconds: float | None
    refresh_token: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] | None = None


class Platform(Protocol):
    """One social network. Implementations live in one folder each and are listed in `registry.py`."""

    rules: Rules

    def check(self, post: Post, media: Sequence[MediaFacts | None]) -> list[Problem]:
        """Every reason why this post cannot go out as it is. Pure. `media` is empty (not probed yet) or one per item."""
        ...

    def plan(self, post: Post) -> tuple[Step, ...]:
        """The ordered steps. Pure, and the same for the same post: step names are stored in the journal."""
        ...

    async def reconcile(self, ctx: StepContext) -> Reconciled:
        """Read-only: did the visible call that was begun, but never confirmed, happen? Raises Failure/Snooze like a step."""
        ...

    async def refresh(self, http: Http, config: Settings, refresh_token: str) -> TokenGrant:
        """Get a new access token. Raises Failure; a code whose catalog row says needs_reauth disconnects the account."""
        ...
