"""Meta's errors: every row of the tables leads to its code, and the code to the decision the row asks for.

The tables stand here by hand and apart from catalog.toml: the Graph API's "Handle Errors", "Instagram Platform Error Codes",
"Video API Error Codes", "Rate Limits" and "Reels Publishing API" (read 2026-09), and what open-source publishers report.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbyt_worker.errors import catalog
from orbyt_worker.errors.catalog import CatalogError, Outcome, RetryMode, Scope, classify, entry, load, parse
from orbyt_worker.errors.codes import ErrorCode
from orbyt_worker.platforms.base import ApiResponse
from orbyt_worker.platforms.graph_errors import (
    NEW_CONTAINER_AFTER_FAILURES,
    NEW_UPLOAD_AFTER_FAILURES,
    CallPhase,
    GraphFailure,
    failure_of,
    failure_of_phase,
    failure_of_status,
    offsets_of,
    wants_new_container,
    wants_new_upload,
)
from orbyt_worker.publishing.retry import Action, Decision, decide

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
META = ("facebook", "instagram")


def answer(code: Any, subcode: Any = None, *, status: int = 400, **more: Any) -> ApiResponse:
    error = {"message": "(#1) text", "type": "OAuthException", "code": code, "fbtrace_id": "A1b2"} | more
    if subcode is not None:
        error["error_subcode"] = subcode
    return ApiResponse(status, {}, {"error": error})


def failure(platform: str, response: ApiResponse, phase: CallPhase = CallPhase.WRITE) -> GraphFailure:
    return failure_of(platform, "test.call", response, NOW, phase=phase, account_id="17")


def decision(code: str, *, failures: int = 0, asked: float | None = None) -> Decision:
    return decide(entry(code), failures=failures, attempt=1, retry_after_seconds=asked, rng=random.Random(1))


# General Graph codes: (code, subcode) -> ours. The same for both platforms.
GENERAL: dict[tuple[int, int | None], str] = {
    (1, None): "meta_error_transient",
    (1, 99): "meta_error_transient",
    (-1, None): "meta_error_transient",
    (2, None): "meta_service_unavailable",
    (3, None): "meta_app_capability_missing",
    (4, None): "meta_app_throttled",
    (10, None): "meta_permission_missing",
    (17, None): "meta_account_throttled",
    (17, 2446079): "meta_account_throttled",
    (32, None): "meta_account_throttled",
    (100, None): "meta_parameter_invalid",
    (100, 33): "meta_object_unreadable",
    (100, 36007): "connect_code_rejected",
    (100, 36008): "connect_code_rejected",
    (100, 36009): "connect_code_rejected",
    (102, None): "meta_token_invalid",
    (104, None): "meta_app_signature_refused",
    (190, None): "meta_token_invalid",
    (190, 458): "meta_app_removed",
    (190, 459): "meta_checkpoint",
    (190, 460): "meta_session_ended",
    (190, 463): "meta_token_expired",
    (190, 464): "meta_checkpoint",
    (190, 467): "meta_token_invalid",
    (190, 490): "meta_checkpoint",
    (190, 492): "meta_role_lost",
    (190, 999): "meta_token_invalid",
    (200, None): "meta_permission_missing",
    (210, None): "meta_token_wrong_kind",
    (250, None): "meta_permission_missing",
    (299, None): "meta_permission_missing",
    (341, None): "meta_app_throttled",
    (368, None): "meta_blocked",
    (506, None): "meta_duplicate_post",
    (613, None): "meta_account_throttled",
    (613, 1996): "meta_account_throttled",
    (803, None): "meta_parameter_invalid",
    (80000, None): "meta_account_throttled",
    (80001, None): "meta_account_throttled",
    (80002, None): "meta_account_throttled",
    (80003, None): "meta_account_throttled",
    (80004, 2446079): "meta_account_throttled",
    (80005, None): "meta_account_throttled",
    (80006, None): "meta_account_throttled",
    (80008, None): "meta_account_throttled",
    (80009, None): "meta_account_throttled",
    (80014, None): "meta_account_throttled",
}
FACEBOOK: dict[tuple[int, int | None], str] = {
    (382, None): "media_too_small",
    (389, None): "facebook_video_not_fetched",
    (1609005, None): "facebook_link_unreadable",
    (100, 1609005): "facebook_link_unreadable",
    (6000, None): "meta_upload_failed",
    (6000, 1363045): "meta_upload_size_differs",
    (6001, None): "meta_upload_offset_wrong",
    (6001, 1363037): "meta_upload_offset_wrong",
    (6000, 1363042): "meta_permission_missing",
    (6000, 1363023): "media_too_large",
    (6000, 1363022): "media_too_small",
    (6000, 1363030): "meta_upload_interrupted",
    (6000, 1363019): "meta_upload_interrupted",
    (6000, 1363033): "meta_upload_interrupted",
    (6000, 1363020): "meta_parameter_invalid",
    (100, 1363005): "meta_permission_missing",
    (6000, 1363031): "media_unreadable",
    (6000, 1363040): "media_ratio_not_supported",
    (6000, 1363127): "media_dimensions_not_supported",
    (6000, 1363128): "facebook_reel_duration",
    (6000, 1363129): "media_frame_rate_not_supported",
    (100, 1363041): "meta_upload_session_invalid",
    (2, 1363047): "meta_error_transient",
    (324, 1366046): "facebook_file_refused",
    (324, 2069019): "facebook_file_refused",
    (100, 1349125): "facebook_file_refused",
    (100, 1366051): "meta_duplicate_post",
    (368, 1390008): "facebook_posting_too_fast",
    (368, 1346003): "facebook_content_refused",
    (368, 1404102): "facebook_content_refused",
    (368, 1404006): "facebook_security_check",
    (100, 4854002): "facebook_security_check",
    (200, 1404078): "facebook_authorization_required",
    (368, 1404112): "facebook_page_restricted",
    (100, 1609008): "facebook_link_refused",
    (100, 2061006): "facebook_link_refused",
    (2, 1609010): "meta_error_transient",
    # Upload subcodes arrive under several codes; the code alone would say something else.
    (2, 1363037): "meta_upload_offset_wrong",
    (100, 1363040): "media_ratio_not_supported",
}
INSTAGRAM: dict[tuple[int, int | None], str] = {
    (-2, 2207003): "instagram_media_fetch_slow",
    (-2, 2207020): "instagram_container_expired",
    (-1, 2207001): "instagram_server_error",
    (-1, 2207032): "instagram_container_not_created",
    (-1, 2207053): "instagram_upload_failed",
    (1, 2207057): "instagram_cover_offset_invalid",
    (4, 2207051): "instagram_action_blocked",
    (9, 2207042): "instagram_publishing_limit",
    (24, 2207006): "instagram_media_not_found",
    (24, 2207008): "instagram_container_missing",
    (25, 2207050): "instagram_account_restricted",
    (100, 2207023): "meta_parameter_invalid",
    (100, 2207028): "media_count",
    (100, 2207035): "option_invalid",
    (100, 2207036): "option_invalid",
    (100, 2207037): "option_invalid",
    (100, 2207040): "instagram_too_many_tags",
    (352, 2207026): "media_codec_not_supported",
    (9004, 2207052): "instagram_media_not_fetched",
    (9007, 2207027): "instagram_container_not_ready",
    (36000, 2207004): "media_too_large",
    (36001, 2207005): "media_type_not_supported",
    (36003, 2207009): "media_ratio_not_supported",
    (36004, 2207010): "caption_too_long",
    (-1, 2207067): "instagram_container_failed",
    (-1, 2207076): "instagram_video_not_fetched",
    (-1, 2207077): "instagram_video_not_fetched",
    (-1, 2207081): "instagram_trial_refused",
    (-1, 2207082): "instagram_processing_failed",
    (-1, 2207085): "instagram_container_failed",
    (100, 2207089): "kind_not_supported",
    (100, 9050): "meta_parameter_invalid",
    (100, 9064): "meta_parameter_invalid",
    (10, 9053): "meta_parameter_invalid",
}
CASES = [
    *((platform, *numbers, code) for platform in META for numbers, code in GENERAL.items()),
    *(("facebook", *numbers, code) for numbers, code in FACEBOOK.items()),
    *(("instagram", *numbers, code) for numbers, code in INSTAGRAM.items()),
]


@pytest.mark.parametrize(("platform", "code", "subcode", "ours"), CASES)
def test_every_row_of_the_tables(platform: str, code: int, subcode: int | None, ours: str) -> None:
    # Numbers or their text, any status, any phase, any locale: the numbers decide.
    for response in (
        answer(code, subcode),
        answer(str(code), None if subcode is None else str(subcode)),
        answer(code, subcode, status=500, is_transient=False, message="Ein Fehler ist aufgetreten."),
        answer(code, subcode, status=200),
    ):
        # A login's code is another matter; see below.
        for phase in (each for each in CallPhase if each is not CallPhase.EXCHANGE):
            found = failure(platform, response, phase)
            assert found.code == ours
            assert found.platform_code == str(code)
            assert found.platform_subcode == (None if subcode is None else str(subcode))
            assert found.http_status == response.status


@pytest.mark.parametrize(("code", "subcode", "ours"), [(*numbers, code) for numbers, code in INSTAGRAM.items()])
def test_the_status_text_of_a_container_is_read_for_its_number_only(code: int, subcode: int | None, ours: str) -> None:
    if subcode is None or not 2_200_000 <= subcode < 2_300_000:
        return
    for text in (f"Error: Media upload has failed with error code {subcode}", f"Fehler {subcode}.", f"{subcode}"):
        found = failure_of_status("instagram", text)
        assert (found.code, found.platform_subcode) == (ours, str(subcode))


@pytest.mark.parametrize("text", ["Error", "", None, 17, "code 22070821", "99912207082", "22a7082", "x" * 100_000])
def test_a_container_that_failed_without_a_number(text: object) -> None:
    found = failure_of_status("instagram", text)
    assert (found.code, found.platform_subcode) == (ErrorCode.INSTAGRAM_CONTAINER_FAILED, None)


def test_a_subcode_nobody_described_is_a_failed_container_only_while_one_is_made() -> None:
    for code in (-1, 100, 24):
        made = failure("instagram", answer(code, 2207999), CallPhase.CONTAINER)
        assert made.code is ErrorCode.INSTAGRAM_CONTAINER_FAILED
    assert failure_of_status("instagram", "error code 2207999").code is ErrorCode.INSTAGRAM_CONTAINER_FAILED
    assert failure("instagram", answer(8888, 2207999)).code is ErrorCode.PLATFORM_ERROR_UNMAPPED
    assert failure("facebook", answer(8888, 2207999), CallPhase.CONTAINER).code is ErrorCode.PLATFORM_ERROR_UNMAPPED


# Numbers alone decide ----------------------------------------------------------------------------------------------------

SIX = {
    "session ended": ("facebook", 190, 460),
    "app throttled": ("facebook", 4, None),
    "media not fetched": ("instagram", 9004, 2207052),
    "not found": ("instagram", 100, 33),
    "too fast": ("facebook", 368, 1390008),
    "permission": ("facebook", 200, None),
}


def test_six_errors_with_the_same_status_lead_to_six_decisions() -> None:
    found: dict[str, tuple[object, ...]] = {}
    for name, (platform, code, subcode) in SIX.items():
        refused = failure(platform, answer(code, subcode, status=400))
        row = entry(refused.code)
        decided = decision(refused.code)
        found[name] = (refused.code, decided.action, decided.counts, row.needs_reauth, row.scope)
    assert found == {
        "session ended": (ErrorCode.META_SESSION_ENDED, Action.HOLD, False, True, Scope.NONE),
        "app throttled": (ErrorCode.META_APP_THROTTLED, Action.RETRY, False, False, Scope.APP),
        "media not fetched": (ErrorCode.INSTAGRAM_MEDIA_NOT_FETCHED, Action.RETRY, True, False, Scope.NONE),
        "not found": (ErrorCode.META_OBJECT_UNREADABLE, Action.RETRY, True, False, Scope.NONE),
        "too fast": (ErrorCode.FACEBOOK_POSTING_TOO_FAST, Action.RETRY, False, False, Scope.ACCOUNT),
        "permission": (ErrorCode.META_PERMISSION_MISSING, Action.HOLD, False, True, Scope.NONE),
    }
    assert len(set(found.values())) == 6


LANGUAGES = {
    "en_US": ("Error validating access token: the session has been invalidated.", "Session expired", "Log in again."),
    "de_DE": ("Fehler beim Prüfen des Zugriffstokens: 190 Zeichen.", "Sitzung abgelaufen", "Melde dich erneut an."),
    "ja_JP": ("アクセストークンの検証中にエラーが発生しました (#4)", "セッション", "もう一度ログインしてください。"),
}


@pytest.mark.parametrize(("platform", "code", "subcode"), SIX.values())
def test_the_same_numbers_in_three_languages_are_one_error(platform: str, code: int, subcode: int | None) -> None:
    found = set()
    for message, title, text in LANGUAGES.values():
        refused = failure(platform, answer(code, subcode, message=message, error_user_title=title, error_user_msg=text))
        found.add((refused.code, refused.detail, decision(refused.code)))
    assert len(found) == 1


@given(text=st.text(max_size=200), number=st.sampled_from(list(GENERAL)))
def test_no_message_changes_anything(text: str, number: tuple[int, int | None]) -> None:
    response = answer(*number, message=text, error_user_title=text, error_user_msg=text)
    assert failure("facebook", response).code == GENERAL[number]
    assert failure("facebook", answer(8888, message=text)).code is ErrorCode.PLATFORM_ERROR_UNMAPPED


def test_an_unknown_number_stays_unknown_and_is_kept() -> None:
    found = failure("facebook", answer(8888, 77))
    assert (found.code, found.platform_code, found.platform_subcode, found.http_status) == (
        ErrorCode.PLATFORM_ERROR_UNMAPPED,
        "8888",
        "77",
        400,
    )
    assert found.detail == "test.call: HTTP 400, 8888/77"
    # A status alone says nothing below 500.
    for status in (400, 401, 403, 404, 422):
        assert failure("facebook", ApiResponse(status, {}, None, b"<html>")).code is ErrorCode.PLATFORM_ERROR_UNMAPPED
    for status in (500, 502, 503, 504):
        assert failure("facebook", ApiResponse(status, {}, None, b"<html>")).code is ErrorCode.PLATFORM_UNAVAILABLE
    assert failure("facebook", ApiResponse(429, {}, None)).code is ErrorCode.META_ACCOUNT_THROTTLED


def test_is_transient_is_asked_only_where_nothing_else_is_known() -> None:
    assert failure("facebook", answer(8888, is_transient=True)).code is ErrorCode.META_ERROR_TRANSIENT
    assert failure("facebook", answer(8888, is_transient="true")).code is ErrorCode.PLATFORM_ERROR_UNMAPPED
    assert failure("facebook", answer(8888, is_transient=False)).code is ErrorCode.PLATFORM_ERROR_UNMAPPED
    assert failure("facebook", answer(190, 460, is_transient=True)).code is ErrorCode.META_SESSION_ENDED
    assert failure("instagram", answer(36004, 2207010, is_transient=True)).code is ErrorCode.CAPTION_TOO_LONG


def test_a_wrong_signature_is_no_reason_to_reconnect() -> None:
    """100 of type GraphMethodException without a subcode; the same type comes with subcodes for other things."""
    refused = failure("facebook", answer(100, type="GraphMethodException"))
    assert refused.code is ErrorCode.META_APP_SIGNATURE_REFUSED
    assert entry(refused.code).holds
    assert not entry(refused.code).needs_reauth
    # Fakes and some hosts call it OAuthException; then it is an ordinary wrong parameter, still nobody's login.
    assert not entry(failure("facebook", answer(100)).code).needs_reauth
    for subcode, code in ((33, "meta_object_unreadable"), (1363040, "media_ratio_not_supported")):
        assert failure("facebook", answer(100, subcode, type="GraphMethodException")).code == code
    assert failure("facebook", answer(100, 999, type="GraphMethodException")).code is ErrorCode.META_PARAMETER_INVALID


def test_instagram_says_403_200_when_the_app_lacks_a_permission() -> None:
    assert failure("instagram", answer(200, status=403)).code is ErrorCode.INSTAGRAM_ADS_PERMISSION_MISSING
    assert failure("facebook", answer(200, status=403)).code is ErrorCode.META_PERMISSION_MISSING


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("INSTAGRAM_PLATFORM_API__INVALID_LOCATION_ID", "instagram_location_invalid"),
        ("INSTAGRAM_PLATFORM_API__INVALID_PARAM", "instagram_partnership_refused"),
        ("INSTAGRAM_PLATFORM_API__PERMISSION", "instagram_partnership_refused"),
    ],
)
def test_words_where_numbers_are_expected(word: str, code: str) -> None:
    assert failure("instagram", answer(word)).code == code
    assert failure("instagram", answer(100, word)).code == code
    assert failure("instagram", answer(None, type=word)).code == code
    # In a message a word is a text like any other.
    assert failure("instagram", answer(8888, message=word)).code is ErrorCode.PLATFORM_ERROR_UNMAPPED


# Other shapes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", META)
@pytest.mark.parametrize(
    ("kind", "retriable", "code"),
    [
        ("OffsetInvalidError", False, "meta_upload_offset_wrong"),
        ("OffsetInvalidError", True, "meta_upload_offset_wrong"),
        ("PartialRequestError", False, "meta_upload_interrupted"),
        ("ProcessingFailedError", False, "meta_upload_failed"),
        ("ProcessingFailedError", True, "meta_upload_interrupted"),
        ("ParameterValidationError", False, "meta_parameter_invalid"),
        ("NotAuthorizedError", False, "meta_upload_unauthorized"),
        ("SomethingNewError", True, "meta_upload_interrupted"),
        ("SomethingNewError", False, "platform_error_unmapped"),
    ],
)
def test_rupload_has_a_shape_of_its_own(platform: str, kind: str, retriable: bool, code: str) -> None:
    message = '{"success":false,"error":{"message":"unauthorized user request"}}'
    body = {"debug_info": {"retriable": retriable, "type": kind, "message": message}}
    found = failure(platform, ApiResponse(400, {}, body), CallPhase.UPLOAD)
    assert (found.code, found.platform_code) == (code, kind)
    assert "unauthorized" not in found.detail


def test_rupload_may_also_answer_with_the_graph_envelope() -> None:
    assert failure("facebook", answer(190, 463), CallPhase.UPLOAD).code is ErrorCode.META_TOKEN_EXPIRED


def test_the_token_endpoint_of_instagram_login_puts_a_status_where_others_put_a_code() -> None:
    for number in (400, 200, 190):
        body = {"error_type": "OAuthException", "code": number, "error_message": "Invalid authorization code"}
        found = failure("instagram", ApiResponse(400, {}, body))
        assert found.code is ErrorCode.CONNECT_CODE_REJECTED
        assert not entry(found.code).needs_reauth


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (answer(100, 36007), "connect_code_rejected"),
        (answer(100), "connect_code_rejected"),
        (answer(100, 4711), "connect_code_rejected"),
        (answer(100, type="GraphMethodException"), "meta_app_signature_refused"),
        (answer(4), "meta_app_throttled"),
        (answer(2, status=500), "meta_service_unavailable"),
        (ApiResponse(500, {}, {"error_type": "OAuthException", "code": 500}), "platform_unavailable"),
        (ApiResponse(429, {}, {"error_type": "OAuthException", "code": 429}), "meta_app_throttled"),
        (ApiResponse(502, {}, None, b"<html>"), "platform_unavailable"),
    ],
)
def test_only_a_clear_answer_rejects_the_code_of_a_login(response: ApiResponse, code: str) -> None:
    for platform in ("facebook", "instagram"):
        assert failure(platform, response, CallPhase.EXCHANGE).code == code


@pytest.mark.parametrize(
    ("errors", "code", "number"),
    [
        ([{"code": 1363127, "message": "too small"}], "media_dimensions_not_supported", "1363127"),
        ({"code": "1363128", "message": "too long"}, "facebook_reel_duration", "1363128"),
        ([{"message": "x"}, {"code": 1363129}], "media_frame_rate_not_supported", "1363129"),
        ([{"code": 77}, {"code": 1363040}], "media_ratio_not_supported", "1363040"),
        ([{"code": 389}], "facebook_video_not_fetched", "389"),
        ([{"code": 77}], "facebook_processing_failed", "77"),
        ([], "facebook_processing_failed", None),
        (None, "facebook_processing_failed", None),
        ("error", "facebook_processing_failed", None),
    ],
)
def test_the_errors_of_a_videos_phases(errors: object, code: str, number: str | None) -> None:
    found = failure_of_phase("facebook", errors)
    assert (found.code, found.platform_code) == (code, number)


@pytest.mark.parametrize(
    ("data", "offsets"),
    [
        ({"start_offset": 10, "end_offset": 20}, (10, 20)),
        ({"start_offset": "52428800", "end_offset": "104857600"}, (52428800, 104857600)),
        ('{"start_offset":"0","end_offset":"7"}', (0, 7)),
        ({"start_offset": 20, "end_offset": 10}, None),
        ({"start_offset": -1, "end_offset": 10}, None),
        ({"start_offset": 10}, None),
        ("not json", None),
        ([1], None),
        (None, None),
        ({"start_offset": 1.5, "end_offset": True}, None),
    ],
)
def test_where_an_upload_has_to_go_on(data: object, offsets: tuple[int, int] | None) -> None:
    refused = failure("facebook", answer(6001, 1363037, error_data=data), CallPhase.UPLOAD)
    assert refused.code is ErrorCode.META_UPLOAD_OFFSET_WRONG
    assert offsets_of(refused) == offsets


@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["error", "code", "error_subcode", "type", "error_data", "debug_info", "error_type"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    status=st.integers(100, 599),
    phase=st.sampled_from(CallPhase),
    platform=st.sampled_from(META),
)
def test_any_answer_becomes_a_failure(body: object, status: int, phase: CallPhase, platform: str) -> None:
    found = failure(platform, ApiResponse(status, {}, body), phase)
    assert found.code in ErrorCode
    assert len(found.detail) < 200
    failure_of_status(platform, body)
    failure_of_phase(platform, body)


# How long, and what then ---------------------------------------------------------------------------------------------------


def buc(minutes: object, account: str = "17") -> dict[str, str]:
    return {
        "x-business-use-case-usage": f'{{"{account}":[{{"type":"pages","call_count":100,'
        f'"estimated_time_to_regain_access":{minutes}}}]}}'
    }


def test_a_throttle_waits_as_long_as_the_header_says_else_about_an_hour() -> None:
    for code in (4, 17, 32, 613, 80001, 80002, 341):
        response = answer(code)
        told = failure("facebook", ApiResponse(400, buc(19), response.json))
        assert told.retry_after_seconds == 19 * 60
        assert 19 * 60 <= decision(told.code, asked=told.retry_after_seconds).seconds <= 19 * 60 * 1.1 + 1
        untold = failure("facebook", ApiResponse(400, buc(0), response.json))
        assert untold.retry_after_seconds is None
        assert 1800 <= decision(untold.code).seconds <= 3600
    # Retry-After is not documented; where it comes it is honoured.
    assert (
        failure("facebook", ApiResponse(400, buc(19) | {"retry-after": "30"}, answer(4).json)).retry_after_seconds == 30
    )
    # What the headers say about limits does not delay other errors.
    assert failure("facebook", ApiResponse(400, buc(19), answer(100, 33).json)).retry_after_seconds is None


# Only what the tables say needs its user: dead tokens, lost permissions, lost roles.
REAUTH = {
    *("meta_token_invalid", "meta_token_expired", "meta_session_ended", "meta_app_removed", "meta_checkpoint"),
    *("meta_role_lost", "meta_permission_missing"),
}
# code -> (mode, most tries, first wait at most, last wait at most)
RETRIES = {
    "meta_error_transient": (RetryMode.BACKOFF, 5, 10, 600),
    "meta_service_unavailable": (RetryMode.WAIT, 0, 30, 900),
    "meta_object_unreadable": (RetryMode.BACKOFF, 5, 5, 300),
    "meta_app_throttled": (RetryMode.WAIT, 0, 3600, 14400),
    "meta_account_throttled": (RetryMode.WAIT, 0, 3600, 14400),
    "facebook_video_not_fetched": (RetryMode.BACKOFF, 4, 30, 600),
    "facebook_link_unreadable": (RetryMode.BACKOFF, 2, 600, 1200),
    "instagram_media_not_fetched": (RetryMode.BACKOFF, 4, 5, 300),
    "instagram_media_fetch_slow": (RetryMode.BACKOFF, 4, 30, 600),
    "instagram_server_error": (RetryMode.BACKOFF, 4, 30, 600),
    "instagram_container_not_created": (RetryMode.BACKOFF, 4, 10, 300),
    "instagram_upload_failed": (RetryMode.BACKOFF, 3, 60, 120),
    "instagram_video_not_fetched": (RetryMode.BACKOFF, 3, 60, 600),
    "instagram_processing_failed": (RetryMode.BACKOFF, 3, 60, 600),
    "instagram_container_failed": (RetryMode.BACKOFF, 2, 60, 120),
    "instagram_media_not_found": (RetryMode.BACKOFF, 2, 60, 120),
    "instagram_container_not_ready": (RetryMode.WAIT, 0, 5, 60),
    "instagram_publishing_limit": (RetryMode.WAIT, 0, 3600, 10800),
}


def test_who_has_to_reconnect() -> None:
    areas = {"meta", "facebook", "instagram"}
    assert {each.code for each in load().entries.values() if each.area in areas and each.needs_reauth} == REAUTH


@pytest.mark.parametrize(("code", "rule"), RETRIES.items())
def test_how_often_and_how_long(code: str, rule: tuple[RetryMode, int, float, float]) -> None:
    retry = entry(code).retry
    assert (retry.mode, retry.max_attempts, retry.base_seconds, retry.cap_seconds) == rule


def test_long_blocks_are_never_asked_early() -> None:
    """The first wait is spread over the upper half of base_seconds, so that is where the tables' shortest wait has to lie."""
    for code, hours in (("meta_blocked", 6), ("facebook_posting_too_fast", 1), ("facebook_page_restricted", 24)):
        assert entry(code).scope is Scope.ACCOUNT
        for seed in range(50):
            found = decide(entry(code), failures=0, attempt=1, retry_after_seconds=None, rng=random.Random(seed))
            assert found.action is Action.RETRY
            assert found.seconds >= hours * 3600


def test_a_blocked_action_holds_the_post_and_pauses_the_account_for_a_day() -> None:
    row = entry("instagram_action_blocked")
    assert (row.holds, row.needs_reauth, row.scope, row.outcome) == (True, False, Scope.ACCOUNT, Outcome.UNKNOWN)
    found = decision("instagram_action_blocked")
    assert found.action is Action.HOLD
    assert found.seconds >= 86_400
    assert decision("instagram_account_restricted").action is Action.HOLD


def test_what_may_be_out_already_is_held_for_somebody_to_look() -> None:
    for code in ("meta_duplicate_post", "instagram_action_blocked"):
        assert entry(code).outcome is Outcome.UNKNOWN
        assert entry(code).action == "check_on_platform"
        assert decision(code).action is Action.HOLD


def test_what_is_made_anew() -> None:
    assert wants_new_container(ErrorCode.INSTAGRAM_CONTAINER_EXPIRED, 0)
    assert wants_new_container(ErrorCode.INSTAGRAM_PROCESSING_FAILED, 1)
    # "The media does not exist yet" is one of its meanings: the same container is asked for again first.
    assert [wants_new_container(ErrorCode.INSTAGRAM_CONTAINER_MISSING, n) for n in (0, 1, 2, 3)] == [
        *(False, False),
        *(True, True),
    ]
    for code in (
        ErrorCode.INSTAGRAM_CONTAINER_NOT_READY,
        ErrorCode.INSTAGRAM_ACTION_BLOCKED,
        ErrorCode.INSTAGRAM_PUBLISHING_LIMIT,
        ErrorCode.META_OBJECT_UNREADABLE,
        ErrorCode.NETWORK_TIMEOUT,
    ):
        assert not wants_new_container(code, 1_000)
    assert [wants_new_upload(ErrorCode.META_UPLOAD_INTERRUPTED, n) for n in (0, 2, 3)] == [False, False, True]
    assert wants_new_upload(ErrorCode.META_UPLOAD_SIZE_DIFFERS, 0)
    assert not wants_new_upload(ErrorCode.META_TOKEN_INVALID, 1_000)
    # Whatever is made anew is also tried again, often enough to get there.
    for table in (NEW_CONTAINER_AFTER_FAILURES, NEW_UPLOAD_AFTER_FAILURES):
        for code, failures in table.items():
            assert decision(code, failures=failures).action is Action.RETRY


# The mechanism: groups that build on others, and ranges ----------------------------------------------------------------------


def test_a_group_has_the_lines_of_those_it_builds_on_and_its_own_win() -> None:
    assert classify("facebook", code="190") == classify("instagram", code="190") == classify("meta", code="190")
    assert classify("facebook", code="9004") is ErrorCode.PLATFORM_ERROR_UNMAPPED
    assert classify("meta", code="6000") is ErrorCode.PLATFORM_ERROR_UNMAPPED
    assert classify("youtube", code="190") is ErrorCode.PLATFORM_ERROR_UNMAPPED
    # More fields in the base beat fewer of its own, and the other way round.
    assert classify("facebook", code="1", subcode="99") is ErrorCode.META_ERROR_TRANSIENT
    assert classify("instagram", code="4", subcode="2207051") is ErrorCode.INSTAGRAM_ACTION_BLOCKED


BASE = """
[release]
released_migrations = []
migration = "20260101000000_error_catalog.sql"
[builds_on]
upper = ["lower"]
""" + "".join(
    f'[[error]]\ncode = "{name}"\narea = "internal"\ntitle = "A"\nwhat_happened = "B."\nwho_acts = "operator"\n'
    f'action = "none"\nwhat_to_do = "C."\n'
    for name in ("from_own", "from_base", "from_range", "exact_one")
)
RULES = """
[[rules]]
platform = "lower"
source = "somewhere"
read_on = "2026-11"
match = [
  { code = "7", error = "from_base" },
  { code = "8", subcode = "9", error = "from_base" },
  { code = "200-299", error = "from_range" },
  { code = "-5", error = "exact_one" },
]
[[rules]]
platform = "upper"
source = "somewhere"
read_on = "2026-11"
match = [
  { code = "7", error = "from_own" },
  { code = "8", error = "from_own" },
  { code = "210", error = "exact_one" },
  { subcode = "5000-5999", qualifier = "making", error = "from_range" },
]
"""


@pytest.mark.parametrize(
    ("group", "fields", "wanted"),
    [
        ("upper", {"code": "7"}, "from_own"),
        ("lower", {"code": "7"}, "from_base"),
        ("upper", {"code": "8"}, "from_own"),
        ("upper", {"code": "8", "subcode": "9"}, "from_base"),
        ("upper", {"code": "200"}, "from_range"),
        ("upper", {"code": "299"}, "from_range"),
        ("upper", {"code": "210"}, "exact_one"),
        ("lower", {"code": "210"}, "from_range"),
        ("upper", {"code": "300"}, None),
        ("upper", {"code": "-250"}, None),
        ("upper", {"code": "2e2"}, None),
        ("upper", {"code": "-5"}, "exact_one"),
        ("upper", {"subcode": "5001"}, None),
        ("upper", {"subcode": "5001", "qualifier": "making"}, "from_range"),
        ("upper", {"code": "8", "subcode": "5001", "qualifier": "making"}, "from_range"),
    ],
)
def test_the_most_specific_line_wins(
    group: str, fields: dict[str, str], wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = parse(BASE + RULES)
    monkeypatch.setattr(catalog, "load", lambda: parsed)
    rules = catalog._rules_by_platform.__wrapped__()[group]
    asked = {"http_status": None, "code": None, "subcode": None, "reason": None, "qualifier": None} | fields
    found = next((rule.error for rule in rules if rule.matches(**asked)), None)  # type: ignore[arg-type]
    assert found == wanted


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('upper = ["lower"]', 'upper = ["nowhere"]', "which has no rules"),
        ('upper = ["lower"]', 'upper = ["lower"]\nlower = ["upper"]', "one level only"),
        ('code = "200-299"', 'code = "299-200"', "from a smaller number"),
        ('action = "none"', 'action = "none"\nscope = "account"\nholds = true', "pause_seconds"),
        ('action = "none"', 'action = "none"\npause_seconds = 60', "held job with a scope"),
        ('action = "none"', 'action = "none"\nholds = true\nscope = "app"\npause_seconds = 604801', "at most a week"),
    ],
)
def test_a_catalog_that_contradicts_itself_is_refused(old: str, new: str, reason: str) -> None:
    assert old in BASE + RULES
    with pytest.raises(CatalogError, match=reason):
        parse((BASE + RULES).replace(old, new, 1))
