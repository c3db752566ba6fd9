"""The Platform contract: what every social network must answer, and what it is given.

A platform is data (`Rules`), a pure `check`, a pure `plan`, and the steps themselves. It never sees the database:
it receives a `StepContext` and returns results, so it is tested without one. It never decides about retries: it
raises `Failure(code)`. It never waits in a slot for something that takes long: it raises `Snooze` (model.py).

Exactly one step of a plan is `visible`. The executor guards it: a durable "begun" before it, "confirmed" after it, and
`reconcile` when an earlier attempt began and never confirmed. Steps marked `side` (first comment, thumbnail) have an
outcome of their own (`orbyt.side_tasks`) and never change that of the post.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from orbyt_worker.errors.catalog import Scope
from orbyt_worker.model import (
    Account,
    Job,
    Kind,
    MediaFacts,
    MediaSpec,
    Phase,
    Post,
    Problem,
    PublishResult,
    Snooze,
    Stage,
)
from orbyt_worker.runtime import Runtime
from orbyt_worker.settings import Settings

Json = Mapping[str, Any]

# Every way an account can have been connected; hosts, tokens and what a refresh does follow from it.
LOGINS = ("google", "facebook", "instagram")


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
class Shape:
    """What a post of one kind consists of. `check` in Python and SQL refuse what does not fit, on every platform alike.

    `types` are the media types allowed; counts are items of `media`. `title`: "required", "optional" or "ignored".
    """

    media_min: int
    media_max: int
    types: tuple[str, ...] = ()
    title: str = "ignored"


@dataclass(frozen=True, slots=True)
class Rules:
    """A platform's limits as data: what `check`, the pre-flight in SQL, the docs and the types are made from."""

    platform: str
    title: str
    shapes: Mapping[Kind, Shape]
    limits: tuple[Limit, ...]
    # Option name -> type: "bool", "string", "string[]", "int", "enum:a|b|c", "user_tags" (a list of {username, x?, y?, media?}).
    options: Mapping[str, str]
    required_scopes: tuple[str, ...]
    # Platforms whose calls are counted together by the other side: a limit of the app pauses all of them. Hidden and visible
    # calls count alike there, so a limit met in hidden work also stops what is ready to be published.
    app: str = ""
    # For the docs: what may end as outcome_unknown, because no read can prove that a lost visible call did not happen
    # (see `Step.provable`), and why.
    unprovable: Mapping[str, str] = field(default_factory=dict)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(self.shapes)

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
    # With PUBLISHED: a remark on the post.
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


class Window(StrEnum):
    """When what was used of an allowance comes back."""

    PACIFIC_DAY = "pacific_day"  # all of it, at midnight Pacific time
    ROLLING_DAY = "rolling_day"  # each unit 24 hours after it was used


@dataclass(frozen=True, slots=True)
class Bucket:
    """An allowance kept in the shared ledger. `key` None: one per account; else one per that name (a Google project).

    `exhausted_code` is the catalog code a job waits with.
    """

    units_max: int
    exhausted_code: str
    window: Window
    key: str | None = None


class Quota(Protocol):
    """Units of a platform's allowance (`Platform.buckets`), reserved fleet-wide before a call is made."""

    async def reserve(self, bucket: str, units: int = 1, *, once: str | None = None) -> None:
        """Reserve, or raise Snooze until units come back, with the bucket's code.

        `once` names what the unit is for within the job: the same name again costs nothing (rolling windows only).
        """
        ...

    async def exhausted(self, bucket: str, code: str) -> Snooze:
        """The platform says the bucket is used up: close it until its reset and return the Snooze to raise."""
        ...


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of an allowance is used up, as the platform says with each answer. `percent` 100: throttling starts.

    `regain_seconds`: how long it will last once throttled, if known. Scope.APP counts for all platforms of `Rules.app`.
    """

    scope: Scope
    percent: float
    code: str
    regain_seconds: float | None = None


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
    # `kind="user_token"`: another token of the same grant; the access token itself where there is no such.
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
    # An address from which the platform itself can fetch media[index] for `address_seconds_min`: converted images and
    # private files are hosted for it. A secret: it goes into a request, never into a journal or a log.
    address: Callable[[int], Awaitable[str]]
    # The cover (`cover_url`) of media[index] in the form `MediaSpec.covers` asks for, or None: as an address, and as bytes.
    cover_address: Callable[[int], Awaitable[str | None]]
    cover: Callable[[int], Awaitable[MediaReader | None]]
    # A small text file (captions) from a user-given URL, at most so many bytes. Raises Failure(media_…).
    document: Callable[[str, int], Awaitable[bytes]]
    # What the last answer said about limits: the fleet slows down before they are reached. Cheap to call often.
    usage: Callable[[Sequence[Usage]], Awaitable[None]]
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
    `platform_post_id` (and may contain `permalink`; a later step that reads it back returns it under that name).

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
    # False: the step does not read the media (a poll, or the platform fetches an address), so nothing is downloaded for it.
    needs_media: bool = True
    # Only for the visible step: the longest the one call can be in flight. The lease must outlast it.
    call_timeout_seconds: float | None = None
    # Only for the visible step: whether `reconcile` can prove "not published". If not, a lost call may end as outcome_unknown.
    provable: bool = True
    # After the visible step, with an outcome of its own in orbyt.side_tasks under the step's name. It may run several
    # times and after a lost answer, so it looks first whether it is done already.
    side: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """The stored secrets of an account's grant, opened. `more` by kind: user_token."""

    login: str
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    more: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """What a token endpoint gave. `refresh_token` None = keep the stored one (never overwrite with nothing)."""

    access_token: str = field(repr=False)
    expires_in_seconds: float | None
    refresh_token: str | None = field(default=None, repr=False)
    scopes: tuple[str, ...] | None = None
    # Further tokens of the grant by kind ("user_token"): (value, seconds until it ends or None).
    more: Mapping[str, tuple[str, float | None]] = field(default_factory=dict, repr=False)


class Platform(Protocol):
    """One social network. Implementations live in one folder each and are listed in `registry.py`."""

    rules: Rules
    # Allowances the steps reserve from, by name.
    buckets: Mapping[str, Bucket]

    def check(self, post: Post, media: Sequence[MediaFacts | None]) -> list[Problem]:
        """Every reason why this post cannot go out as it is. Pure. `media` is empty (not probed yet) or one per item."""
        ...

    def media_spec(self, post: Post, account: Account) -> MediaSpec:
        """In which form its media is wanted. Pure."""
        ...

    def plan(self, post: Post, account: Account) -> tuple[Step, ...]:
        """The ordered steps. Pure, and the same for the same post and login: step names are stored in the journal."""
        ...

    async def reconcile(self, ctx: StepContext) -> Reconciled:
        """Read-only: did the visible call that was begun, but never confirmed, happen? Raises Failure/Snooze like a step."""
        ...

    def renews(self, login: str) -> bool:
        """Whether `refresh` can do anything for grants of this login. A page token lives until somebody ends it."""
        ...

    async def refresh(self, http: Http, config: Settings, credentials: Credentials) -> TokenGrant:
        """Get a new access token. Raises Failure; a code whose catalog row says needs_reauth disconnects the account."""
        ...
