"""Liveness, readiness and counters of one worker. Given to the parts by app.py; shown by web/probes.py.

Ready means: could have claimed a job within the last minute. A process that is up but has lost its database is not ready.
No label carries anything secret or unbounded: unusual values become "other".
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from orbyt_worker.runtime import Runtime

READY_SECONDS = 60.0
# Different values of one label; then "other". Keeps /metrics to a few hundred kilobytes whatever is recorded.
LABEL_VALUES_MAX = 200
FACTS_MAX = 500

# From a quick call to an upload of hours.
_STAGE_BUCKETS_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600, 7200, 21_600)
_LABEL = re.compile(r"[A-Za-z0-9_.:\-]{1,64}")
_OTHER = "other"


@dataclass(frozen=True, slots=True)
class Readiness:
    """`reason` is empty when ready. `claim_age_seconds` is None before the first claim."""

    ready: bool
    reason: str
    claim_age_seconds: float | None


class Health:
    """What the parts of a worker report, in a registry of its own. Every method is cheap, returns nothing and never raises."""

    def __init__(self, runtime: Runtime, *, ready_seconds: float = READY_SECONDS) -> None:
        """`ready_seconds`: how old the last successful claim may be; longer than the poll interval."""
        self._runtime = runtime
        self._ready_seconds = ready_seconds
        self._claim_ok_at: float | None = None
        self._stopping = False
        self._seen: dict[str, set[str]] = {}
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        up = Gauge("orbyt_worker_up", "1 while this worker runs.", ["version"], registry=registry)
        up.labels(importlib.metadata.version("orbyt-worker")).set(1)
        claim_age = Gauge(
            "orbyt_claim_age_seconds",
            "Age of the last successful claim statement; -1 before the first.",
            registry=registry,
        )
        claim_age.set_function(self._claim_age)
        self._oldest_due = Gauge(
            "orbyt_oldest_due_age_seconds", "How long the oldest due job has been waiting.", registry=registry
        )
        self._claim_statements = Counter(
            "orbyt_claim_statements_total", "Successful claim statements, with or without jobs.", registry=registry
        )
        self._claims = Counter("orbyt_claims_total", "Jobs claimed.", registry=registry)
        self._results = Counter(
            "orbyt_results_total", "Jobs that ended or were held.", ["platform", "status", "code"], registry=registry
        )
        self._stage_seconds = Histogram(
            "orbyt_stage_seconds",
            "Time spent in steps, by stage.",
            ["platform", "stage"],
            buckets=_STAGE_BUCKETS_SECONDS,
            registry=registry,
        )
        self._bytes = Counter(
            "orbyt_bytes_total",
            "Media bytes moved: in (from the source), out (to the platform).",
            ["direction"],
            registry=registry,
        )
        self._token_refreshes = Counter(
            "orbyt_token_refreshes_total",
            "Token refreshes, by outcome (a word, or the error code).",
            ["platform", "outcome"],
            registry=registry,
        )
        self._connects = Counter(
            "orbyt_connects_total",
            "Logins that came back, by outcome (offered, or the error code).",
            ["platform", "outcome"],
            registry=registry,
        )
        self._account_checks = Counter(
            "orbyt_account_checks_total",
            "Connections looked at, by outcome (ok, or the error code).",
            ["platform", "outcome"],
            registry=registry,
        )
        self._revocations = Counter(
            "orbyt_revocations_total",
            "Grants ended after a disconnect, by outcome (revoked, kept_for_others, or the error code).",
            ["platform", "outcome"],
            registry=registry,
        )
        self._throttles = Gauge(
            "orbyt_throttles", "Pauses in force in the whole fleet.", ["scope", "code"], registry=registry
        )
        self._quota_left = Gauge(
            "orbyt_quota_left", "Units left until the reset, in the whole fleet.", ["bucket", "key"], registry=registry
        )
        self._operator_issues = Gauge(
            "orbyt_operator_issues",
            "How often something was seen that only the operator can put right, until it is cleared.",
            ["code"],
            registry=registry,
        )
        self._in_flight = Gauge("orbyt_jobs_in_flight", "Jobs this worker works on.", ["phase"], registry=registry)
        self._http_calls = Counter(
            "orbyt_http_calls_total",
            "Calls to platforms, by status or error code.",
            ["name", "outcome"],
            registry=registry,
        )
        self._lost_leases = Counter(
            "orbyt_lost_leases_total",
            "Attempts stopped because the job was no longer this worker's.",
            registry=registry,
        )
        # Known from the start, so that a rate can be taken before the first event.
        for direction in ("in", "out"):
            self._bytes.labels(direction)

    # State -------------------------------------------------------------------------------------------------------------

    def mark_claim_ok(self) -> None:
        """The database answered a claim, whether or not it gave any job."""
        self._claim_ok_at = self._runtime.monotonic()
        self._claim_statements.inc()

    def mark_stopping(self) -> None:
        """No more claims: not ready from now on, but alive until drained."""
        self._stopping = True

    def live(self) -> bool:
        """The event loop runs, or nobody could ask. A worker that lost its database is alive: restarting it would not help."""
        return True

    def ready(self) -> Readiness:
        """Whether this worker could have claimed within the last minute, and if not, why."""
        age = self._claim_age()
        known = age if age >= 0 else None
        if self._stopping:
            return Readiness(False, "stopping", known)
        if known is None:
            return Readiness(False, "no claim yet: the database has not answered", None)
        if known > self._ready_seconds:
            return Readiness(False, f"no successful claim for {known:.0f} s", known)
        return Readiness(True, "", known)

    def _claim_age(self) -> float:
        return -1.0 if self._claim_ok_at is None else max(0.0, self._runtime.monotonic() - self._claim_ok_at)

    # Counters ----------------------------------------------------------------------------------------------------------

    def claimed(self, jobs: int) -> None:
        self._claims.inc(max(jobs, 0))

    def finished(self, platform: str, status: str, code: str = "") -> None:
        """A job was published, failed, cancelled or held. `code`: why, or empty."""
        self._results.labels(
            self._label("platform", platform), self._label("status", status), self._label("code", code, empty=True)
        ).inc()

    def stage_seconds(self, platform: str, stage: str, seconds: float) -> None:
        self._stage_seconds.labels(self._label("platform", platform), self._label("stage", stage)).observe(
            max(seconds, 0.0)
        )

    def bytes_in(self, count: int) -> None:
        """Media bytes received from a source."""
        self._bytes.labels("in").inc(max(count, 0))

    def bytes_out(self, count: int) -> None:
        """Media bytes sent to a platform."""
        self._bytes.labels("out").inc(max(count, 0))

    def token_refreshed(self, platform: str, outcome: str) -> None:
        self._token_refreshes.labels(self._label("platform", platform), self._label("outcome", outcome)).inc()

    def connect_ended(self, platform: str, outcome: str) -> None:
        self._connects.labels(self._label("platform", platform), self._label("outcome", outcome)).inc()

    def account_checked(self, platform: str, outcome: str) -> None:
        self._account_checks.labels(self._label("platform", platform), self._label("outcome", outcome)).inc()

    def account_revoked(self, platform: str, outcome: str) -> None:
        self._revocations.labels(self._label("platform", platform), self._label("outcome", outcome)).inc()

    def http_called(self, name: str, outcome: str) -> None:
        """`name` as given to the HTTP client ("youtube.videos.insert"), never an address."""
        self._http_calls.labels(self._label("name", name), self._label("outcome", outcome)).inc()

    def lease_lost(self) -> None:
        self._lost_leases.inc()

    def in_flight(self, phase: str, jobs: int) -> None:
        self._in_flight.labels(self._label("phase", phase)).set(max(jobs, 0))

    def queue_facts(self, facts: Mapping[str, Any]) -> None:
        """Numbers about the whole fleet, as `queue_facts()` in the database returns them; what is missing is left out.

        `{"oldest_due_age_seconds": 1.5, "throttles": [{"scope", "code"}], "quota": [{"bucket", "key", "left"}],
        "issues": [{"code", "count"}]}`
        """
        age = facts.get("oldest_due_age_seconds")
        if isinstance(age, int | float):
            self._oldest_due.set(age)
        self._throttles.clear()
        for each in _rows(facts.get("throttles")):
            self._throttles.labels(self._label("scope", each.get("scope")), self._label("code", each.get("code"))).inc()
        self._quota_left.clear()
        for each in _rows(facts.get("quota")):
            left = each.get("left")
            if isinstance(left, int | float):
                self._quota_left.labels(
                    self._label("bucket", each.get("bucket")), self._label("key", each.get("key"))
                ).set(left)

        self._operator_issues.clear()
        for each in _rows(facts.get("issues")):
            count = each.get("count")
            if isinstance(count, int | float):
                self._operator_issues.labels(self._label("code", each.get("code"))).set(count)

    def _label(self, name: str, value: object, *, empty: bool = False) -> str:
        text = str(value) if isinstance(value, str) else ""
        if not text and empty:
            return ""
        if _LABEL.fullmatch(text) is None:
            return _OTHER
        seen = self._seen.setdefault(name, set())
        if text not in seen:
            if len(seen) >= LABEL_VALUES_MAX:
                return _OTHER
            seen.add(text)
        return text

    def metrics(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)


def _rows(value: object) -> Iterable[Mapping[str, Any]]:
    return [each for each in value[:FACTS_MAX] if isinstance(each, Mapping)] if isinstance(value, list) else []
