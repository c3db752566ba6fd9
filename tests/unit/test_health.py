"""Readiness follows the last claim; counters count; labels stay bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker.health import LABEL_VALUES_MAX, Health
from orbyt_worker.runtime import Runtime
from tests.fix_clock import FakeClock, fake_runtime


@pytest.fixture
def health(runtime: Runtime) -> Health:
    return Health(runtime)


def value(health: Health, name: str, /, **labels: str) -> float | None:
    return health.registry.get_sample_value(name, labels)


def test_ready_means_could_have_claimed_within_a_minute(health: Health, clock: FakeClock) -> None:
    assert not health.ready().ready
    health.mark_claim_ok()
    clock.advance(59)
    assert health.ready().ready
    clock.advance(2)
    assert not health.ready().ready
    assert "61 s" in health.ready().reason
    assert health.live()
    health.mark_claim_ok()
    assert health.ready().ready
    health.mark_stopping()
    assert (health.ready().ready, health.ready().reason) == (False, "stopping")


def test_every_counter(health: Health) -> None:
    health.mark_claim_ok()
    health.claimed(3)
    health.finished("youtube", "published")
    health.finished("youtube", "failed", "title_invalid")
    health.stage_seconds("youtube", "uploading", 12.5)
    health.bytes_in(1000)
    health.bytes_out(400)
    health.token_refreshed("youtube", "google_grant_invalid")
    health.http_called("youtube.videos.insert", "200")
    health.lease_lost()
    health.in_flight("publish", 2)
    assert value(health, "orbyt_claims_total") == 3
    assert value(health, "orbyt_claim_statements_total") == 1
    assert value(health, "orbyt_results_total", platform="youtube", status="published", code="") == 1
    assert value(health, "orbyt_results_total", platform="youtube", status="failed", code="title_invalid") == 1
    assert value(health, "orbyt_stage_seconds_sum", platform="youtube", stage="uploading") == 12.5
    assert (
        value(health, "orbyt_bytes_total", direction="in"),
        value(health, "orbyt_bytes_total", direction="out"),
    ) == (1000, 400)
    assert value(health, "orbyt_token_refreshes_total", platform="youtube", outcome="google_grant_invalid") == 1
    assert value(health, "orbyt_http_calls_total", name="youtube.videos.insert", outcome="200") == 1
    assert value(health, "orbyt_lost_leases_total") == 1
    assert value(health, "orbyt_jobs_in_flight", phase="publish") == 2


def test_facts_about_the_fleet_replace_the_ones_before(health: Health) -> None:
    health.queue_facts(
        {
            "oldest_due_age_seconds": 4.5,
            "throttles": [
                {"scope": "account", "key": "account", "code": "youtube_rate_limited"},
                {"scope": "account", "key": "account", "code": "youtube_rate_limited"},
            ],
            "quota": [{"bucket": "youtube_uploads", "key": "default", "left": 12}],
            "issues": [{"code": "google_consent_testing_mode", "count": 3}],
        }
    )
    assert value(health, "orbyt_oldest_due_age_seconds") == 4.5
    assert value(health, "orbyt_throttles", scope="account", code="youtube_rate_limited") == 2
    assert value(health, "orbyt_quota_left", bucket="youtube_uploads", key="default") == 12
    assert value(health, "orbyt_operator_issues", code="google_consent_testing_mode") == 3
    health.queue_facts({"oldest_due_age_seconds": 0, "throttles": [], "quota": None, "issues": []})
    assert value(health, "orbyt_oldest_due_age_seconds") == 0
    assert value(health, "orbyt_throttles", scope="account", code="youtube_rate_limited") is None
    assert value(health, "orbyt_quota_left", bucket="youtube_uploads", key="default") is None
    assert value(health, "orbyt_operator_issues", code="google_consent_testing_mode") is None, "it was cleared"


def test_labels_are_bounded_and_never_an_address(health: Health) -> None:
    health.http_called("https://host/path?token=abc", "200")
    assert "token=abc" not in health.metrics().decode()
    assert value(health, "orbyt_http_calls_total", name="other", outcome="200") == 1
    for number in range(LABEL_VALUES_MAX + 50):
        health.finished(f"p{number}", "failed", "x")
    assert value(health, "orbyt_results_total", platform="other", status="failed", code="x") == 50


@given(
    facts=st.dictionaries(
        st.sampled_from(["oldest_due_age_seconds", "throttles", "quota", "issues"]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["scope", "code", "bucket", "key", "left", "count"]), inner)
            ),
        ),
    )
)
def test_odd_facts_do_no_harm(facts: dict[str, object]) -> None:
    health = Health(fake_runtime(FakeClock()))
    health.queue_facts(facts)
    assert health.metrics()


def test_two_workers_in_one_process_do_not_share_counters(runtime: Runtime) -> None:
    one, other = Health(runtime), Health(runtime)
    one.claimed(1)
    assert value(other, "orbyt_claims_total") == 0
