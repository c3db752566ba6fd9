"""The catalog: complete, free of contradictions, and every documented answer leads to the code it should."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker.errors import catalog
from orbyt_worker.errors.catalog import CatalogError, RetryMode, classify, entry, load, message, parse
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.errors.failure import Failure

ROOT = Path(__file__).resolve().parents[2]

GOOD = """
[release]
released_migrations = []
migration = "20260101000000_error_catalog.sql"
[[error]]
code = "one_thing"
area = "internal"
title = "One"
what_happened = "One thing happened."
who_acts = "operator"
action = "none"
what_to_do = "Do it."
[[rules]]
platform = "youtube"
source = "somewhere"
read_on = "2026-11"
match = [{ reason = "x", error = "one_thing" }]
"""


def test_the_codes_are_those_of_the_catalog_in_its_order() -> None:
    assert list(load().entries) == [code.value for code in ErrorCode]


def test_every_code_can_be_raised_and_explained() -> None:
    for code in ErrorCode:
        row = entry(code)
        assert row.what_happened.endswith(".")
        assert row.what_to_do.endswith(".")
        assert message(Failure(code).code) == row.what_happened


def test_what_the_queue_relies_on() -> None:
    for code in ("google_grant_invalid", "account_needs_reauth", "youtube_scope_missing", "platform_auth_rejected"):
        assert entry(code).needs_reauth
        assert entry(code).holds
    # Operator-type errors hit every account at once: jobs wait, no user's connection is marked.
    for code in (
        "google_client_invalid",
        "google_client_deleted",
        "youtube_api_not_enabled",
        "platform_not_configured",
        "vault_key_missing",
    ):
        assert entry(code).holds
        assert not entry(code).needs_reauth
    assert entry("outcome_unknown").holds
    assert entry("outcome_unknown").outcome == "unknown"
    for code in (
        "youtube_quota_exhausted",
        "youtube_rate_limited",
        "platform_unavailable",
        "media_not_ready",
        "mux_rate_limited",
    ):
        assert entry(code).retry.mode is RetryMode.WAIT
        assert not entry(code).counts_as_attempt
    assert {code for code in ErrorCode if entry(code).outage} >= {
        "platform_unavailable",
        "network_timeout",
        "network_unreachable",
    }
    assert (entry("not_allowed").sqlstate, entry("duplicate_job").sqlstate) == ("42501", "23505")


def test_a_message_is_bounded_and_names_the_detail() -> None:
    assert (
        message("title_too_long", "101 of 100 characters")
        == entry("title_too_long").what_happened + " (101 of 100 characters)"
    )
    assert len(message("title_too_long", "x" * 10_000)) == catalog.MESSAGE_CHARACTERS_MAX


# The tables of the platforms' own pages, by hand and apart from catalog.toml.
YOUTUBE = {
    (401, "authError"): "platform_auth_rejected",
    (401, "expired"): "platform_auth_rejected",
    (401, "youtubeSignupRequired"): "youtube_no_channel",
    (403, "insufficientPermissions"): "youtube_scope_missing",
    (403, "forbidden"): "youtube_forbidden",
    (403, "authenticatedUserAccountSuspended"): "youtube_account_suspended",
    (403, "channelClosed"): "youtube_account_closed",
    (403, "quotaExceeded"): "youtube_quota_exhausted",
    (403, "dailyLimitExceeded"): "youtube_quota_exhausted",
    (429, "rateLimitExceeded"): "youtube_rate_limited",
    (403, "rateLimitExceeded"): "youtube_rate_limited",
    (403, "userRateLimitExceeded"): "youtube_rate_limited",
    (403, "servingLimitExceeded"): "platform_rate_limited",
    (400, "uploadLimitExceeded"): "youtube_channel_upload_limit",
    (403, "accessNotConfigured"): "youtube_api_not_enabled",
    (400, "badRequest"): "platform_request_invalid",
    (400, "invalidTitle"): "title_invalid",
    (400, "invalidDescription"): "caption_invalid",
    (400, "invalidTags"): "tags_invalid",
    (400, "invalidCategoryId"): "category_invalid",
    (400, "invalidPublishAt"): "publish_at_invalid",
    (403, "forbiddenPrivacySetting"): "youtube_privacy_refused",
    (403, "forbiddenLicenseSetting"): "youtube_license_refused",
    (404, "videoNotFound"): "youtube_video_removed",
    (404, "notFound"): "youtube_session_expired",
    (410, None): "youtube_session_expired",
    (409, "alreadyExists"): "youtube_upload_conflict",
    (409, None): "youtube_upload_conflict",
    (413, "uploadTooLarge"): "media_too_large",
    (500, "internalError"): "platform_unavailable",
    (503, "backendError"): "platform_unavailable",
    (502, None): "platform_unavailable",
    (429, None): "youtube_rate_limited",
    (400, "somethingNew"): "platform_error_unmapped",
    (403, None): "platform_error_unmapped",
    (503, "somethingNew"): "platform_unavailable",
}
GOOGLE = {
    (400, "invalid_grant", None): "google_grant_invalid",
    (400, "invalid_grant", "invalid_rapt"): "google_reauth_required",
    (400, "invalid_grant", "rapt_required"): "google_reauth_required",
    (400, "invalid_grant", "something_new"): "google_grant_invalid",
    (401, "invalid_client", None): "google_client_invalid",
    (401, "deleted_client", None): "google_client_deleted",
    (400, "unauthorized_client", None): "google_client_invalid",
    (400, "redirect_uri_mismatch", None): "google_client_invalid",
    (400, "invalid_request", None): "platform_request_invalid",
    (403, "admin_policy_enforced", None): "google_admin_policy",
    (500, "internal_failure", None): "google_token_unavailable",
    (400, "temporarily_unavailable", None): "google_token_unavailable",
    (429, None, None): "google_token_unavailable",
    (504, None, None): "google_token_unavailable",
    (400, "something_new", None): "platform_error_unmapped",
}
MUX = {
    (401, "api"): "mux_credentials_invalid",
    (403, "api"): "mux_credentials_invalid",
    (404, "api"): "media_not_found",
    (429, "api"): "mux_rate_limited",
    (500, "api"): "media_source_unavailable",
    (403, "stream"): "media_access_denied",
    (404, "stream"): "media_not_found",
    (412, "stream"): "media_not_ready",
    (429, "stream"): "mux_rate_limited",
    (503, None): "media_source_unavailable",
}


@pytest.mark.parametrize(("answer", "code"), YOUTUBE.items())
def test_youtube(answer: tuple[int, str | None], code: str) -> None:
    assert classify("youtube", http_status=answer[0], reason=answer[1]) == code


@pytest.mark.parametrize(("answer", "code"), GOOGLE.items())
def test_google(answer: tuple[int, str | None, str | None], code: str) -> None:
    assert classify("google", http_status=answer[0], reason=answer[1], subcode=answer[2]) == code


@pytest.mark.parametrize(("answer", "code"), MUX.items())
def test_mux(answer: tuple[int, str | None], code: str) -> None:
    assert classify("mux", http_status=answer[0], qualifier=answer[1]) == code


def test_the_daily_upload_limit_is_told_apart_from_a_burst() -> None:
    assert (
        classify("youtube", http_status=429, reason="rateLimitExceeded", qualifier="per_day")
        == "youtube_uploads_per_day_exhausted"
    )
    assert (
        classify("youtube", http_status=403, reason="quotaExceeded", qualifier="per_day") == "youtube_quota_exhausted"
    )


def test_a_duplicate_while_starting_is_not_a_rejected_duplicate() -> None:
    assert classify("youtube", http_status=409, reason="duplicate") == "youtube_upload_conflict"
    assert classify("youtube", reason="duplicate", qualifier="rejection_reason") == "youtube_video_rejected_duplicate"
    assert classify("youtube", reason="brandNew", qualifier="rejection_reason") == "youtube_video_rejected_other"
    assert classify("youtube", reason="brandNew", qualifier="failure_reason") == "youtube_processing_failed"


def test_media_and_network() -> None:
    assert classify("media", http_status=404) == "media_not_found"
    assert classify("media", http_status=403) == "media_access_denied"
    assert classify("media", http_status=503) == "media_source_unavailable"
    assert classify("network", reason="ReadTimeout") == "network_timeout"
    assert classify("network", reason="ConnectError") == "network_unreachable"
    assert classify("network", reason="SSLCertVerificationError") == "network_tls"


@given(
    platform=st.sampled_from(["youtube", "google", "mux", "media", "network", "unheard_of"]),
    http_status=st.none() | st.integers(0, 999),
    words=st.lists(st.none() | st.text(max_size=20), min_size=4, max_size=4),
)
def test_any_answer_gets_a_code(platform: str, http_status: int | None, words: list[str | None]) -> None:
    code, subcode, reason, qualifier = words
    assert (
        classify(platform, http_status=http_status, code=code, subcode=subcode, reason=reason, qualifier=qualifier)
        in ErrorCode
    )


def test_every_rule_is_reachable_by_exactly_its_own_fields() -> None:
    for rule in load().rules:
        status = int(str(rule.http_status)[0]) * 100 + 99 if isinstance(rule.http_status, str) else rule.http_status
        found = classify(
            rule.platform,
            http_status=status,
            code=rule.code,
            subcode=rule.subcode,
            reason=rule.reason,
            qualifier=rule.qualifier,
        )
        assert found == rule.error


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('error = "one_thing"', 'error = "other"', "does not exist"),
        ('area = "internal"', 'area = "nowhere"', "nowhere"),
        ('action = "none"', 'action = "dance"', "dance"),
        ('action = "none"', 'action = "none"\nretry = "backoff"', "base_seconds"),
        ('action = "none"', 'action = "none"\nretry = "wait"\nbase_seconds = 1\ncap_seconds = 2', "costs no attempt"),
        ('action = "none"', 'action = "none"\nneeds_reauth = true', "holds the jobs"),
        ('action = "none"', 'action = "none"\nsqlstate = "ZZ"', "sqlstate"),
        ('action = "none"', 'action = "none"\ncolour = "red"', "unknown ['colour']"),
        ('action = "none"', 'action = "none"\nholds = "yes"', "true or false"),
        ('title = "One"', "", "missing ['title']"),
        ('code = "one_thing"', 'code = "One-Thing"', "lower-case"),
        ('{ reason = "x", error', '{ reason = "x", error = "one_thing" }, { reason = "x", error', "twice"),
        ('reason = "x", ', "", "matches everything"),
        ('reason = "x"', "http_status = 42", "http_status"),
        ('read_on = "2026-11"', 'read_on = "lately"', "read_on"),
        ('action = "none"', 'action = "none"\nretired = "2026-12-01"', "retired"),
    ],
)
def test_a_catalog_that_contradicts_itself_is_refused(old: str, new: str, reason: str) -> None:
    assert old in GOOD
    parse(GOOD)
    with pytest.raises(CatalogError, match=re.escape(reason)):
        parse(GOOD.replace(old, new, 1))


def test_a_code_or_sqlstate_is_used_once() -> None:
    row = GOOD.split("[[error]]")[1].split("[[rules]]")[0]
    with pytest.raises(CatalogError, match="defined twice"):
        parse(GOOD + "[[error]]" + row)
    one, other = (row.replace("one_thing", name) + 'sqlstate = "OR900"\n' for name in ("thing_a", "thing_b"))
    with pytest.raises(CatalogError, match="sqlstate used twice"):
        parse(GOOD + "[[error]]" + one + "[[error]]" + other)


def test_codes_raised_by_sql_exist_and_have_a_sqlstate() -> None:
    for path in sorted((ROOT / "supabase/migrations").glob("*.sql")):
        for code in re.findall(r"raise_error\(\s*'([a-z_0-9]+)'", path.read_text("utf-8")):
            assert entry(code).sqlstate is not None, f"{path.name}: {code}"


def test_codes_written_as_text_exist() -> None:
    """Snooze takes a code as text; a misspelt one would show only when it happens."""
    for path in sorted((ROOT / "orbyt_worker").rglob("*.py")):
        for code in re.findall(r"""\bcode=["']([a-z_0-9]+)["']""", path.read_text("utf-8")):
            if "sandbox" not in path.parts:
                assert code in load().entries, f"{path.relative_to(ROOT)}: {code}"
