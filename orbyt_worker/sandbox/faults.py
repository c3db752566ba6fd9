"""Faults on demand: what goes wrong, on which route, after how many requests, how often.

A rule names a route (`youtube.upload.final`; a prefix such as `youtube.upload` or `youtube` covers all below it) and a
kind. One request meets at most one rule: the first in order of adding that is due. What each kind does:

request faults (every route)
    status              answer `status` (body: envelope | html | empty, or `json`); the request is not processed unless `process`
    drop_before         the connection is cut before the request is processed
    drop_after          the request is processed and stored, then the connection is cut without an answer
    hang                nothing happens for `seconds`, then the connection is cut (`process`: it is processed before the cut)
    slow                the request is processed and answered `seconds` late

Google routes
    token_expired       the access token presented is expired from now on; the request sees 401 `authError`
    quota_exceeded, uploads_per_day, channel_upload_limit, rate_limited, user_rate_limited, quota_rpc
                        the answers of YouTube's quota and limit errors

youtube.upload.* routes (sessions)
    drop_during         cut the connection after `bytes` of the body; whole blocks of 256 KiB stay stored
    partial_accept      store only the first `bytes` of the chunk (whole blocks), answer 308 with the true range
    expire_session      the session is gone; `process`: after the request was processed
    fail_session        the session fails for good with `status` and `reason`
    new_location        the 308 answer carries a new session address; the old one is dead
    finalise_later      the last byte is stored, the video appears `seconds` later; until then 308 with the full range

Meta routes (facebook.*, instagram.*, meta.*)
    meta_error          Graph's envelope with `code`, `subcode`, `transient`, `message`, `status` (400 unless given) and `headers`;
                        `process`: the request is processed and stored first, as with 4/2207051 and the post live
    drop_during         meta.rupload only: cut the connection after `bytes` of the body; what came stays stored
    throttle            the answer of a limit: `code` 4, 17, 32, 613, 80001 or 80002, the usage header at 100 and `minutes` to wait

facebook.video.finished (consumed when a video, reel or video story is finished; several kinds may apply)
    phase_error         processing (or the phase named in `reason`: processing, publishing) ends with `code` and `message`
    publish_delay       it is published `seconds` later than usual
    status_lag          it is published in time, but for `seconds` the status object still says in_progress

youtube.video.created (consumed when a video comes into being; several kinds may apply to one video)
    video_outcome       `outcome` (processed, failed, rejected, terminated, deleted, vanished, stuck) with `reason`, after `seconds`
    privacy_differs     the video gets `privacy` instead of what was asked for
    empty_items         videos.list does not know the video for `seconds`
    listing_delay       the uploads playlist does not show the video for `seconds`
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from orbyt_worker.sandbox.operations import operation

RequestKind = Literal["status", "drop_before", "drop_after", "hang", "slow"]
GoogleKind = Literal[
    "token_expired",
    "quota_exceeded",
    "uploads_per_day",
    "channel_upload_limit",
    "rate_limited",
    "user_rate_limited",
    "quota_rpc",
]
SessionKind = Literal[
    "drop_during", "partial_accept", "expire_session", "fail_session", "new_location", "finalise_later"
]
VideoKind = Literal["video_outcome", "privacy_differs", "empty_items", "listing_delay"]
MetaKind = Literal["meta_error", "throttle"]
MetaVideoKind = Literal["phase_error", "publish_delay", "status_lag"]
FaultKind = RequestKind | GoogleKind | SessionKind | VideoKind | MetaKind | MetaVideoKind
Outcome = Literal["processed", "failed", "rejected", "terminated", "deleted", "vanished", "stuck"]

REQUEST_KINDS: frozenset[str] = frozenset(get_args(RequestKind))
GOOGLE_KINDS: frozenset[str] = frozenset(get_args(GoogleKind))
SESSION_KINDS: frozenset[str] = frozenset(get_args(SessionKind))
VIDEO_KINDS: frozenset[str] = frozenset(get_args(VideoKind))
META_KINDS: frozenset[str] = frozenset(get_args(MetaKind))
META_VIDEO_KINDS: frozenset[str] = frozenset(get_args(MetaVideoKind))
ARRIVAL_KINDS = REQUEST_KINDS | GOOGLE_KINDS | SESSION_KINDS | META_KINDS

VIDEO_CREATED = "youtube.video.created"
META_VIDEO_FINISHED = "facebook.video.finished"
SECONDS_MAX = 600.0


@dataclass(slots=True)
class Fault:
    """One rule. `times` None means until removed; `seen` counts matching requests, `used` those it struck."""

    fault_id: int
    route: str
    kind: FaultKind
    times: int | None = 1
    after: int = 0
    method: str | None = None
    path_contains: str | None = None
    status: int = 503
    body: Literal["envelope", "html", "empty"] = "envelope"
    json: Any = None
    reason: str | None = None
    message: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 5.0
    bytes: int = 0
    process: bool = False
    outcome: Outcome = "processed"
    privacy: Literal["public", "unlisted", "private"] = "private"
    code: int | None = None
    subcode: int | None = None
    transient: bool = False
    minutes: int = 30
    seen: int = 0
    used: int = 0

    def covers(self, route: str, method: str, path: str) -> bool:
        """Whether the rule is about this request at all."""
        return (
            (self.route in ("*", route) or route.startswith(self.route + "."))
            and (self.method is None or self.method == method)
            and (self.path_contains is None or self.path_contains in path)
        )


class Faults:
    """The book of rules. Thread-safe: rules are added by a test and taken by the server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []
        self._next_id = 1

    @operation()
    def add(
        self,
        route: str,
        kind: FaultKind,
        *,
        times: int | None = 1,
        after: int = 0,
        method: str | None = None,
        path_contains: str | None = None,
        status: int = 503,
        body: Literal["envelope", "html", "empty"] = "envelope",
        json: Any = None,
        reason: str | None = None,
        message: str | None = None,
        headers: dict[str, str] | None = None,
        seconds: float = 5.0,
        bytes: int = 0,  # noqa: A002 - the word of the control API
        process: bool = False,
        outcome: Outcome = "processed",
        privacy: Literal["public", "unlisted", "private"] = "private",
        code: int | None = None,
        subcode: int | None = None,
        transient: bool = False,
        minutes: int = 30,
    ) -> int:
        """Add a rule and return its id. `after` matching requests pass first, the next `times` are struck (None: all)."""
        if kind in SESSION_KINDS and not route.startswith(
            ("youtube.upload", "meta.rupload") if kind == "drop_during" else "youtube.upload"
        ):
            raise ValueError(f"{kind} is about upload sessions: its route starts with youtube.upload")
        if kind in GOOGLE_KINDS and not route.startswith(("youtube", "google")):
            raise ValueError(f"{kind} is an answer of Google: its route starts with youtube or google")
        if kind in VIDEO_KINDS and route != VIDEO_CREATED:
            raise ValueError(f"{kind} applies to the next video: its route is {VIDEO_CREATED}")
        if kind in META_KINDS and not route.startswith(("facebook", "instagram", "meta")):
            raise ValueError(f"{kind} is an answer of Meta: its route starts with facebook, instagram or meta")
        if kind in META_VIDEO_KINDS and route != META_VIDEO_FINISHED:
            raise ValueError(f"{kind} applies to the next finished video: its route is {META_VIDEO_FINISHED}")
        if (times is not None and times < 1) or after < 0 or bytes < 0:
            raise ValueError("times is at least 1; after and bytes are not negative")
        if not 0 <= seconds <= SECONDS_MAX and kind in REQUEST_KINDS:
            raise ValueError(f"seconds is between 0 and {SECONDS_MAX:.0f}")
        if not 100 <= status <= 599:
            raise ValueError("status is an HTTP status")
        with self._lock:
            rule = Fault(
                fault_id=self._next_id, route=route, kind=kind, times=times, after=after, method=method, path_contains=path_contains,
                status=status, body=body, json=json, reason=reason, message=message, headers=headers or {}, seconds=seconds,
                bytes=bytes, process=process, outcome=outcome, privacy=privacy, code=code, subcode=subcode, transient=transient, minutes=minutes,
            )  # fmt: skip
            self._next_id += 1
            self._rules.append(rule)
            return rule.fault_id

    def take(self, route: str, kinds: frozenset[str], *, method: str = "", path: str = "") -> Fault | None:
        """The rule that strikes now, if any. Every rule of `kinds` that covers the request counts it."""
        struck: Fault | None = None
        with self._lock:
            for rule in self._rules:
                if rule.kind not in kinds or not rule.covers(route, method, path):
                    continue
                rule.seen += 1
                if struck is None and rule.seen > rule.after and (rule.times is None or rule.used < rule.times):
                    rule.used += 1
                    struck = rule
        return struck

    @operation(reads=True)
    def list(self) -> list[Fault]:
        """All rules with how often each was seen and used."""
        with self._lock:
            return [*self._rules]

    @operation(reads=True)
    def used(self, fault_id: int) -> int:
        """How often the rule struck; 0 for an unknown id."""
        with self._lock:
            return next((rule.used for rule in self._rules if rule.fault_id == fault_id), 0)

    @operation()
    def remove(self, fault_id: int) -> bool:
        """Remove one rule; False when there is none."""
        with self._lock:
            kept = [rule for rule in self._rules if rule.fault_id != fault_id]
            removed = len(kept) < len(self._rules)
            self._rules = kept
            return removed

    @operation()
    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules = []

    def reset(self) -> None:
        """Remove all rules."""
        self.clear()
