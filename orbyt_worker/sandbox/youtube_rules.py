"""What YouTube refuses: the error envelope, the shapes of its limits, and every rule for a video's metadata.

After YouTube Data API "Videos" (resource), "Videos: insert", "Videos: update", "Errors" and "Quota Calculator" (read November
2026). Where the documentation leaves a choice the stricter reading is taken, e.g. titles are counted in UTF-16 units.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse

from orbyt_worker.sandbox.wire import Refusal

TITLE_UNITS_MAX = 100
DESCRIPTION_BYTES_MAX = 5000
TAGS_CHARACTERS_MAX = 500
ASSIGNABLE_CATEGORIES = {
    "1": "Film & Animation", "2": "Autos & Vehicles", "10": "Music", "15": "Pets & Animals", "17": "Sports",
    "19": "Travel & Events", "20": "Gaming", "22": "People & Blogs", "23": "Comedy", "24": "Entertainment",
    "25": "News & Politics", "26": "Howto & Style", "27": "Education", "28": "Science & Technology", "29": "Nonprofits & Activism",
}  # fmt: skip
LISTED_ONLY_CATEGORIES = {"18": "Short Movies", "21": "Videoblogging", "30": "Movies", "44": "Trailers"}
PRIVACIES = frozenset({"public", "unlisted", "private"})

_RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")
_LANGUAGE = re.compile(r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")

# Settable and read-only fields of each part; anything else is a mistake of the client.
_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "snippet": {
        "title": str, "description": str, "tags": list, "categoryId": str, "defaultLanguage": str, "defaultAudioLanguage": str,
        "publishedAt": str, "channelId": str, "channelTitle": str, "thumbnails": dict, "liveBroadcastContent": str, "localized": dict,
    },
    "status": {
        "privacyStatus": str, "publishAt": str, "license": str, "embeddable": bool, "publicStatsViewable": bool,
        "selfDeclaredMadeForKids": bool, "containsSyntheticMedia": bool, "madeForKids": bool, "uploadStatus": str,
    },
    "paidProductPlacementDetails": {"hasPaidProductPlacement": bool},
    "recordingDetails": {"recordingDate": str},
    "localizations": {},
}  # fmt: skip
WRITABLE_PARTS = frozenset(_FIELDS)
READABLE_PARTS = WRITABLE_PARTS | {
    "id", "contentDetails", "statistics", "player", "processingDetails", "fileDetails", "suggestions", "topicDetails",
    "liveStreamingDetails", "brandPartner",
}  # fmt: skip
OWNER_PARTS = frozenset({"processingDetails", "fileDetails", "suggestions"})


def api_error(
    status: int,
    reason: str,
    message: str,
    *,
    domain: str = "global",
    location: str | None = None,
    location_type: str = "other",
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    """The envelope {error: {code, message, errors: [{message, domain, reason, location}]}} as a refusal to raise."""
    entry = {"message": message, "domain": domain, "reason": reason}
    if location is not None:
        entry |= {"location": location, "locationType": location_type}
    body = {"error": {"code": status, "message": message, "errors": [entry]}}
    return Refusal(JSONResponse(body, status_code=status, headers=dict(headers or {})))


def google_envelope(status: int, reason: str | None, message: str | None) -> dict[str, Any]:
    """Error body for `status` faults; without a reason it lacks `errors[]`, as some real answers do."""
    text = message or "Injected by the sandbox"
    error: dict[str, Any] = {"code": status, "message": text}
    if reason is not None:
        error["errors"] = [
            {"message": text, "domain": "youtube.video" if reason.startswith("invalid") else "global", "reason": reason}
        ]
    else:
        error["status"] = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 503: "UNAVAILABLE"}.get(
            status, "INTERNAL"
        )
    return {"error": error}


def limit_error(kind: str) -> Refusal:
    """The six answers that mean "too much", by the names of the fault kinds."""
    if kind == "quota_exceeded":
        return api_error(
            403, "quotaExceeded",
            'The request cannot be completed because you have exceeded your <a href="/youtube/v3/getting-started#quota">quota</a>.',
            domain="youtube.quota",
        )  # fmt: skip
    if kind == "uploads_per_day":
        return api_error(
            429, "rateLimitExceeded",
            "Quota exceeded for quota metric 'Video Uploads' and limit 'Video Uploads per day' of service "
            "'youtube.googleapis.com' for consumer 'project_number:1'.",
        )  # fmt: skip
    if kind == "channel_upload_limit":
        return api_error(
            400,
            "uploadLimitExceeded",
            "The user has exceeded the number of videos they may upload.",
            domain="youtube.video",
        )
    if kind == "user_rate_limited":
        return api_error(403, "userRateLimitExceeded", "User Rate Limit Exceeded", domain="usageLimits")
    if kind == "quota_rpc":
        text = (
            "Quota exceeded for quota metric 'Queries' and limit 'Queries per day' of service 'youtube.googleapis.com'."
        )
        details = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMIT_EXCEEDED",
            "domain": "googleapis.com",
            "metadata": {
                "service": "youtube.googleapis.com",
                "consumer": "projects/1",
                "quota_metric": "youtube.googleapis.com/default",
                "quota_limit": "defaultPerDayPerProject",
                "quota_limit_value": "10000",
            },
        }
        return Refusal(
            JSONResponse(
                {"error": {"code": 429, "message": text, "status": "RESOURCE_EXHAUSTED", "details": [details]}},
                status_code=429,
            )
        )
    return api_error(
        429, "rateLimitExceeded",
        "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service 'youtube.googleapis.com'.",
    )  # fmt: skip


def parse_parts(value: str | None, allowed: frozenset[str]) -> list[str]:
    """The `part` parameter as a list; refuses a missing one, an empty one and unknown names."""
    parts = [part.strip() for part in (value or "").split(",") if part.strip()]
    if not parts:
        raise api_error(
            400,
            "missingRequiredParameter",
            "No part selected.",
            domain="youtube.parameter",
            location="part",
            location_type="parameter",
        )
    for part in parts:
        if part not in allowed:
            raise api_error(
                400, "unknownPart", f"'{part}'", domain="youtube.part", location="part", location_type="parameter"
            )
    return parts


def parse_time(value: str) -> datetime | None:
    """An RFC 3339 time in UTC; None when it is none, or lacks its zone."""
    if not _RFC3339.match(value):
        return None
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone(UTC)
    except ValueError:
        return None


def format_time(value: datetime) -> str:
    """RFC 3339 in whole seconds, as YouTube writes times."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_body(body: Any, parts: list[str], *, update: bool) -> dict[str, dict[str, Any]]:
    """The body of insert or update, checked in shape: parts named, fields known, types right. Returns one mapping per part."""
    if not isinstance(body, dict):
        raise _bad("The request body must be a JSON object.", "body")
    known = WRITABLE_PARTS | {"id", "kind", "etag"}
    for name in body:
        if name not in known:
            raise _bad(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.', f"body.{name}")
        if name in WRITABLE_PARTS and name not in parts:
            raise api_error(
                400, "unexpectedPart", f"'{name}'", domain="youtube.part", location="part", location_type="parameter"
            )
    if update and not isinstance(body.get("id"), str):
        raise api_error(
            400, "missingRequiredParameter", "The id is required.", domain="youtube.parameter", location="body.id"
        )
    checked: dict[str, dict[str, Any]] = {}
    for part in parts:
        if part not in WRITABLE_PARTS:
            continue
        values = body.get(part, {})
        if not isinstance(values, dict):
            raise _bad(f"Invalid value at '{part}'.", f"body.{part}")
        for name, value in values.items():
            if part == "localizations":
                continue
            wanted = _FIELDS[part].get(name)
            if wanted is None:
                raise _bad(
                    f"Invalid JSON payload received. Unknown name \"{name}\" at '{part}': Cannot find field.",
                    f"body.{part}.{name}",
                )
            if not isinstance(value, wanted) or (wanted is not bool and isinstance(value, bool)):
                raise _bad(f"Invalid value at '{part}.{name}'.", f"body.{part}.{name}")
        checked[part] = values
    return checked


def check_snippet(snippet: Mapping[str, Any]) -> None:
    """Title, description, tags, category, languages."""
    title = snippet.get("title", "")
    if not title.strip() or _utf16_units(title) > TITLE_UNITS_MAX or _has_angle(title):
        raise _video_error(
            "invalidTitle", "The request metadata specifies an invalid or empty video title.", "body.snippet.title"
        )
    description = snippet.get("description", "")
    if len(description.encode()) > DESCRIPTION_BYTES_MAX or _has_angle(description):
        raise _video_error(
            "invalidDescription",
            "The request metadata specifies an invalid video description.",
            "body.snippet.description",
        )
    tags = snippet.get("tags", [])
    if (
        not all(isinstance(tag, str) and tag.strip() and not _has_angle(tag) for tag in tags)
        or tags_length(tags) > TAGS_CHARACTERS_MAX
    ):
        raise _video_error("invalidTags", "The request metadata specifies invalid video keywords.", "body.snippet.tags")
    if "categoryId" in snippet and snippet["categoryId"] not in ASSIGNABLE_CATEGORIES:
        raise _video_error(
            "invalidCategoryId",
            "The snippet.categoryId property specifies an invalid category ID.",
            "body.snippet.categoryId",
        )
    for name in ("defaultLanguage", "defaultAudioLanguage"):
        if name in snippet and not _LANGUAGE.match(snippet[name]):
            raise _bad(f"Invalid value at 'snippet.{name}'.", f"body.snippet.{name}")


def check_status(status: Mapping[str, Any]) -> None:
    """Privacy, schedule, license."""
    privacy = status.get("privacyStatus", "public")
    if privacy not in PRIVACIES:
        raise _bad("Invalid value at 'status.privacyStatus'.", "body.status.privacyStatus")
    if status.get("license", "youtube") not in {"youtube", "creativeCommon"}:
        raise _bad("Invalid value at 'status.license'.", "body.status.license")
    if "publishAt" in status and (privacy != "private" or parse_time(status["publishAt"]) is None):
        raise invalid_publish_at()


def check_recording(recording: Mapping[str, Any]) -> None:
    """The date of recording."""
    if "recordingDate" in recording and parse_time(recording["recordingDate"]) is None:
        raise _video_error("invalidRecordingDetails", "The recordingDetails are invalid.", "body.recordingDetails")


def invalid_publish_at() -> Refusal:
    """A schedule that cannot be."""
    return _video_error(
        "invalidPublishAt",
        "The request metadata specifies an invalid scheduled publishing time.",
        "body.status.publishAt",
    )


def tags_length(tags: list[str]) -> int:
    """As the documentation counts: lengths, a comma between two, two quotes around a tag with a space."""
    return sum(len(tag) + (2 if " " in tag else 0) for tag in tags) + max(0, len(tags) - 1)


def _utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _has_angle(text: str) -> bool:
    return "<" in text or ">" in text


def _video_error(reason: str, message: str, location: str) -> Refusal:
    return api_error(400, reason, message, domain="youtube.video", location=location)


def _bad(message: str, location: str) -> Refusal:
    return api_error(400, "badRequest", message, location=location)
