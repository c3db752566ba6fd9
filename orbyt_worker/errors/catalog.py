"""The error catalog, read once: what each code means, and which answer of the outside world is which code.

`catalog.toml` (package data) is the source and explains its keys. This module only reads and checks it; what to do about a
failure is decided in `publishing/retry.py`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any

from orbyt_worker.errors.codes import ErrorCode

MESSAGE_CHARACTERS_MAX = 500
WAIT_SECONDS_MAX = 7 * 86_400.0
ATTEMPTS_MAX = 50


class Area(StrEnum):
    INPUT = "input"
    MEDIA = "media"
    MUX = "mux"
    ACCOUNT = "account"
    QUEUE = "queue"
    NETWORK = "network"
    GOOGLE = "google"
    YOUTUBE = "youtube"
    META = "meta"
    FACEBOOK = "facebook"
    INSTAGRAM = "instagram"
    PLATFORM = "platform"
    INTERNAL = "internal"


class WhoActs(StrEnum):
    USER = "user"
    APP_DEVELOPER = "app_developer"
    OPERATOR = "operator"
    PLATFORM = "platform"
    NOBODY = "nobody"


class UserAction(StrEnum):
    """What a UI offers next to the error."""

    RECONNECT = "reconnect"
    CHOOSE_ACCOUNT = "choose_account"
    EDIT_CAPTION = "edit_caption"
    EDIT_TITLE = "edit_title"
    REPLACE_MEDIA = "replace_media"
    EDIT_POST = "edit_post"
    WAIT = "wait"
    RETRY = "retry"
    CHECK_ON_PLATFORM = "check_on_platform"
    CONTACT_OPERATOR = "contact_operator"
    NONE = "none"


class RetryMode(StrEnum):
    NEVER = "never"
    BACKOFF = "backoff"
    WAIT = "wait"


class Scope(StrEnum):
    """Who pauses when the other side asks to slow down."""

    NONE = "none"
    ACCOUNT = "account"
    PLATFORM = "platform"
    APP = "app"


class Outcome(StrEnum):
    """What is true of the post when its job ends with the code."""

    NOT_PUBLISHED = "not_published"
    UNKNOWN = "unknown"
    PUBLISHED = "published"


class CatalogError(Exception):
    """The catalog contradicts itself. A programming mistake: found by the generator and the tests, never at run time."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """`backoff`: exponential from base to cap, at most max_attempts. `wait`: base to cap, no limit but expires_at. Else zeros."""

    mode: RetryMode
    base_seconds: float = 0.0
    cap_seconds: float = 0.0
    max_attempts: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the catalog. `code` is text, so that the generator can read codes that `codes.py` does not have yet."""

    code: str
    area: Area
    title: str
    what_happened: str
    who_acts: WhoActs
    action: UserAction
    what_to_do: str
    retry: RetryRule
    needs_reauth: bool
    holds: bool
    scope: Scope
    # With `holds`: how long the scope pauses, although the job itself does not come again by itself.
    pause_seconds: float
    outcome: Outcome
    counts_as_attempt: bool
    outage: bool
    sqlstate: str | None
    since: str
    retired: str | None

    @property
    def retryable(self) -> bool:
        """Whether Orbyt tries again by itself."""
        return self.retry.mode is not RetryMode.NEVER


@dataclass(frozen=True, slots=True)
class Rule:
    """One answer of the outside world. None = not looked at. `http_status` is a number or a class such as "5xx"; `code`
    and `subcode` are text or a range of numbers such as "200-299"."""

    platform: str
    error: str
    source: str
    read_on: str
    http_status: int | str | None = None
    code: str | None = None
    subcode: str | None = None
    reason: str | None = None
    qualifier: str | None = None

    def matches(
        self, http_status: int | None, code: str | None, subcode: str | None, reason: str | None, qualifier: str | None
    ) -> bool:
        return (
            (self.http_status is None or _status_matches(self.http_status, http_status))
            and (self.code is None or _number_matches(self.code, code))
            and (self.subcode is None or _number_matches(self.subcode, subcode))
            and (self.reason is None or self.reason == reason)
            and (self.qualifier is None or self.qualifier == qualifier)
        )

    @property
    def specificity(self) -> tuple[int, int, int, int, int]:
        """Larger wins: number of fields, then subcode, then code and reason, then qualifier, then an exact status before a class.

        A range is not counted as a field: it is the net below the exact lines, not a line above them.
        """
        status = 0 if self.http_status is None else 2 if isinstance(self.http_status, int) else 1
        code, subcode = _weight(self.code), _weight(self.subcode)
        reason, qualifier = int(self.reason is not None), int(self.qualifier is not None)
        exact = (code == 2) + (subcode == 2) + reason + qualifier + min(status, 1)
        return (exact, subcode, code + 2 * reason, qualifier, status)


@dataclass(frozen=True, slots=True)
class Release:
    """Which generated migrations customers may already have applied; see `generate.py`."""

    migration: str
    released_migrations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    entries: Mapping[str, Entry]
    rules: tuple[Rule, ...]
    # Rule group -> the groups whose lines are its lines too.
    builds_on: Mapping[str, tuple[str, ...]]
    release: Release


@cache
def load() -> Catalog:
    """The packaged catalog, parsed and checked once per process."""
    return parse(files("orbyt_worker.errors").joinpath("catalog.toml").read_text("utf-8"))


@cache
def _rules_by_platform() -> Mapping[str, tuple[Rule, ...]]:
    """Most specific first, so that the first match is the answer. A group's own lines come before those it builds on."""
    catalog = load()
    own: dict[str, list[Rule]] = {}
    for rule in catalog.rules:
        own.setdefault(rule.platform, []).append(rule)
    return {
        platform: tuple(
            sorted(
                (rule for group in (platform, *catalog.builds_on.get(platform, ())) for rule in own.get(group, ())),
                key=lambda rule: rule.specificity,
                reverse=True,
            )
        )
        for platform in own
    }


def entry(code: str) -> Entry:
    """The catalog row of a code. A KeyError is a programming mistake."""
    return load().entries[str(code)]


def message(code: str, detail: str = "") -> str:
    """What the user reads in `error_message`: the catalog's sentence, and the detail in brackets. Bounded."""
    text = entry(code).what_happened
    if detail:
        text = f"{text} ({detail})"
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[: MESSAGE_CHARACTERS_MAX - 1] + "…"


def classify(
    platform: str,
    *,
    http_status: int | None = None,
    code: str | None = None,
    subcode: str | None = None,
    reason: str | None = None,
    qualifier: str | None = None,
) -> ErrorCode:
    """Which code an answer is. `platform` is a rule group: youtube, facebook, google, mux, media, network, …

    The most specific rule wins, be it of the group itself or of one it builds on. Unknown 5xx answers are platform_unavailable; everything else unknown stays
    platform_error_unmapped, never a guess. Numbers and reasons only: no message text is given to it.
    """
    for rule in _rules_by_platform().get(platform, ()):
        if rule.matches(http_status, code, subcode, reason, qualifier):
            return ErrorCode(rule.error)
    if http_status is not None and http_status >= 500:
        return ErrorCode.PLATFORM_UNAVAILABLE
    return ErrorCode.PLATFORM_ERROR_UNMAPPED


# Reading ---------------------------------------------------------------------------------------------------------------


def parse(text: str) -> Catalog:
    """Parse and check a catalog. Raises CatalogError with the place and the reason."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"not TOML: {error}") from error
    _only(document, "the catalog", required={"release", "error", "rules"}, optional={"builds_on"})
    entries: dict[str, Entry] = {}
    for row in document["error"]:
        each = _entry(row)
        if each.code in entries:
            raise CatalogError(f"code {each.code} is defined twice")
        entries[each.code] = each
    states = [each.sqlstate for each in entries.values() if each.sqlstate is not None]
    if len(states) != len(set(states)):
        raise CatalogError(f"sqlstate used twice: {sorted({state for state in states if states.count(state) > 1})}")
    rules = tuple(rule for group in document["rules"] for rule in _rules(group))
    seen: set[tuple[object, ...]] = set()
    for rule in rules:
        key = (rule.platform, rule.http_status, rule.code, rule.subcode, rule.reason, rule.qualifier)
        if rule.error not in entries:
            raise CatalogError(f"rule {key} leads to {rule.error}, which does not exist")
        if entries[rule.error].retired is not None:
            raise CatalogError(f"rule {key} leads to {rule.error}, which is retired")
        if key in seen:
            raise CatalogError(f"rule {key} exists twice")
        seen.add(key)
    builds_on = {
        group: tuple(_text(base, "[builds_on]") for base in bases)
        for group, bases in document.get("builds_on", {}).items()
    }
    groups = {rule.platform for rule in rules}
    for group, bases in builds_on.items():
        if unknown := {group, *bases} - groups:
            raise CatalogError(f"[builds_on] names {sorted(unknown)}, which has no rules")
        if any(base in builds_on for base in bases):
            raise CatalogError(
                f"[builds_on] {group}: one level only, so that the order of lines can be told at a glance"
            )
    release = document["release"]
    _only(release, "[release]", required={"migration", "released_migrations"})
    names = tuple(_text(name, "released_migrations") for name in release["released_migrations"])
    return Catalog(entries, rules, builds_on, Release(_text(release["migration"], "migration"), names))


_REQUIRED = {"code", "area", "title", "what_happened", "who_acts", "action", "what_to_do"}
_OPTIONAL = {
    *("retry", "base_seconds", "cap_seconds", "max_attempts", "needs_reauth", "holds", "scope", "outcome"),
    *("pause_seconds", "counts_as_attempt", "outage", "sqlstate", "since", "retired"),
}
_RULE_FIELDS = {"http_status", "code", "subcode", "reason", "qualifier"}


def _entry(row: Mapping[str, Any]) -> Entry:
    where = f"code {row.get('code')!r}"
    _only(row, where, required=_REQUIRED, optional=_OPTIONAL)
    try:
        retry = RetryRule(
            RetryMode(row.get("retry", "never")),
            float(row.get("base_seconds", 0)),
            float(row.get("cap_seconds", 0)),
            int(row.get("max_attempts", 0)),
        )
        each = Entry(
            code=_text(row["code"], where),
            area=Area(row["area"]),
            title=_text(row["title"], where),
            what_happened=_text(row["what_happened"], where),
            who_acts=WhoActs(row["who_acts"]),
            action=UserAction(row["action"]),
            what_to_do=_text(row["what_to_do"], where),
            retry=retry,
            needs_reauth=_bool(row, "needs_reauth", False),
            holds=_bool(row, "holds", False),
            scope=Scope(row.get("scope", "none")),
            pause_seconds=float(row.get("pause_seconds", 0)),
            outcome=Outcome(row.get("outcome", "not_published")),
            counts_as_attempt=_bool(row, "counts_as_attempt", True),
            outage=_bool(row, "outage", False),
            sqlstate=row.get("sqlstate"),
            since=_text(row.get("since", "0.1.0"), where),
            retired=str(row["retired"]) if "retired" in row else None,
        )
    except (ValueError, TypeError) as error:
        raise CatalogError(f"{where}: {error}") from error
    for wrong, reason in _contradictions(each):
        if wrong:
            raise CatalogError(f"{where}: {reason}")
    return each


def _contradictions(each: Entry) -> tuple[tuple[bool, str], ...]:
    mode, rule = each.retry.mode, each.retry
    repeats = mode is not RetryMode.NEVER
    return (
        (re.fullmatch(r"[a-z][a-z0-9_]{2,62}", each.code) is None, "a code is lower-case words joined by _"),
        (
            repeats and not 0 < rule.base_seconds <= rule.cap_seconds <= WAIT_SECONDS_MAX,
            "needs 0 < base_seconds <= cap_seconds <= a week",
        ),
        (
            mode is RetryMode.BACKOFF and not 2 <= rule.max_attempts <= ATTEMPTS_MAX,
            f"backoff needs max_attempts from 2 to {ATTEMPTS_MAX}",
        ),
        (mode is not RetryMode.BACKOFF and rule.max_attempts != 0, "max_attempts is for backoff only"),
        (not repeats and (rule.base_seconds, rule.cap_seconds) != (0, 0), "seconds without a retry"),
        (mode is RetryMode.WAIT and each.counts_as_attempt, "waiting costs no attempt: counts_as_attempt = false"),
        (
            mode is RetryMode.BACKOFF and not each.counts_as_attempt,
            "backoff is bounded by attempts, so it has to count them",
        ),
        (each.holds and repeats, "a held job waits for somebody, not for time"),
        (each.holds and each.who_acts in (WhoActs.NOBODY, WhoActs.PLATFORM), "a held job needs somebody who acts"),
        (each.needs_reauth and not each.holds, "needs_reauth holds the jobs"),
        (
            each.scope is not Scope.NONE and mode is not RetryMode.WAIT and not each.pause_seconds,
            "a pause needs retry = wait, or holds and pause_seconds",
        ),
        (
            each.pause_seconds != 0 and (not each.holds or each.scope is Scope.NONE),
            "pause_seconds is for a held job with a scope",
        ),
        (not 0 <= each.pause_seconds <= WAIT_SECONDS_MAX, "pause_seconds is at most a week"),
        (each.outage and not repeats, "an outage is tried again"),
        (
            each.sqlstate is not None and re.fullmatch(r"OR[0-9]{3}|42501|23505", each.sqlstate) is None,
            "sqlstate is ORnnn, 42501 or 23505",
        ),
        (each.area is Area.INPUT and each.sqlstate is None, "input codes are raised by SQL and need a sqlstate"),
        (
            each.retired is not None and re.fullmatch(r"\d{4}-\d\d-\d\d", each.retired) is None,
            "retired is a day, YYYY-MM-DD",
        ),
        (re.fullmatch(r"\d+\.\d+\.\d+", each.since) is None, "since is a version"),
    )


def _rules(group: Mapping[str, Any]) -> list[Rule]:
    _only(group, "a [[rules]] group", required={"platform", "source", "read_on", "match"})
    platform, source, read_on = (_text(group[key], "a [[rules]] group") for key in ("platform", "source", "read_on"))
    if re.fullmatch(r"\d{4}-\d\d(-\d\d)?", read_on) is None:
        raise CatalogError(f"rules of {platform}: read_on is YYYY-MM or YYYY-MM-DD")
    rules: list[Rule] = []
    for line in group["match"]:
        where = f"rules of {platform}: {line}"
        _only(line, where, required={"error"}, optional=_RULE_FIELDS)
        if len(line) == 1:
            raise CatalogError(f"{where}: matches everything")
        status = line.get("http_status")
        if status is not None and not _status_valid(status):
            raise CatalogError(f"{where}: http_status is 100 to 599, or 4xx or 5xx")
        words = {key: _text(value, where) for key, value in line.items() if key != "http_status"}
        for span in filter(None, (_span(words.get("code")), _span(words.get("subcode")))):
            if span[0] >= span[1]:
                raise CatalogError(f"{where}: a range goes from a smaller number to a larger one")
        rules.append(Rule(platform=platform, source=source, read_on=read_on, http_status=status, **words))
    return rules


def _status_valid(status: object) -> bool:
    if isinstance(status, int) and not isinstance(status, bool):
        return 100 <= status <= 599
    return status in ("4xx", "5xx")


def _status_matches(wanted: int | str, status: int | None) -> bool:
    if status is None:
        return False
    return status == wanted if isinstance(wanted, int) else status // 100 == int(wanted[0])


def _span(wanted: str | None) -> tuple[int, int] | None:
    """The ends of a range such as "200-299"; None for a word or a single number, also a negative one."""
    found = re.fullmatch(r"([0-9]{1,12})-([0-9]{1,12})", wanted or "")
    return (int(found[1]), int(found[2])) if found else None


def _weight(wanted: str | None) -> int:
    return 0 if wanted is None else 1 if _span(wanted) else 2


def _number_matches(wanted: str, number: str | None) -> bool:
    if number is None:
        return False
    if wanted == number:
        return True
    span = _span(wanted)
    return span is not None and re.fullmatch(r"[0-9]{1,12}", number) is not None and span[0] <= int(number) <= span[1]


def _only(row: Mapping[str, Any], where: str, *, required: set[str], optional: set[str] | None = None) -> None:
    missing, unknown = required - set(row), set(row) - required - (optional or set())
    if missing or unknown:
        raise CatalogError(f"{where}: missing {sorted(missing)}, unknown {sorted(unknown)}")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or value != value.strip() or "\n" in value:
        raise CatalogError(f"{where}: {value!r} should be one line of text")
    return value


def _bool(row: Mapping[str, Any], key: str, default: bool) -> bool:
    value = row.get(key, default)
    if not isinstance(value, bool):
        raise TypeError(f"{key} is true or false")
    return value
