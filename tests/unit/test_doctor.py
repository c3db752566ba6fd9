"""What `orbyt-worker check` says about connecting accounts, from facts alone."""

from __future__ import annotations

from typing import Any

import pytest

from orbyt_worker.doctor import connect_findings
from orbyt_worker.settings import Settings

DOOR = "https://door.example.com/callback"
LINK = "studiox://connected"


def settings(**given: Any) -> Settings:
    return Settings.model_validate(
        {
            "database_url": "postgresql://localhost/none",
            "connect_redirect_url": DOOR,
            "connect_return_to": LINK,
            **given,
        }
    )


def facts(**given: Any) -> dict[str, Any]:
    return {
        "apps": [{"login": "google", "platforms": ["youtube"], "redirect_uri": DOOR}],
        "return_to": [LINK],
        "callback_key": "callback-1",
        "issues": [],
        **given,
    }


def found(
    configured: Settings | None = None,
    *,
    logins: tuple[str, ...] = ("google",),
    sealed_with: str | None = "k1",
    key_ids: frozenset[str] = frozenset({"k1"}),
    **given: Any,
) -> dict[str, tuple[str, str]]:
    """Name of a finding → level and text."""
    findings = connect_findings(
        configured or settings(), logins, facts(**given), sealed_with=sealed_with, key_ids=key_ids
    )
    assert len({each.name for each in findings}) == len(findings)
    return {each.name: (each.level, each.text) for each in findings}


def test_all_is_well() -> None:
    assert {name: level for name, (level, _) in found().items()} == {
        "connect": "ok",
        "return_to": "ok",
        "callback key": "ok",
    }


@pytest.mark.parametrize(
    ("name", "level", "word", "given"),
    [
        ("connect", "fail", "no login is configured", {"logins": (), "apps": []}),
        ("connect", "warn", "facebook", {"logins": ("facebook", "google")}),
        ("connect", "warn", "ORBYT_CONNECT_REDIRECT_URL", {"configured": {"connect_redirect_url": None}, "apps": []}),
        ("connect", "ok", "another worker", {"configured": {"connect_redirect_url": None}}),
        ("logins", "warn", "google: no credentials", {"logins": ()}),
        (
            "redirect",
            "fail",
            "not https",
            {"apps": [{"login": "google", "platforms": ["youtube"], "redirect_uri": "http://door.example.com"}]},
        ),
        (
            "redirect",
            "warn",
            "https://old.example.com",
            {"apps": [{"login": "google", "platforms": ["youtube"], "redirect_uri": "https://old.example.com"}]},
        ),
        ("return_to", "fail", "every login is refused", {"return_to": []}),
        ("return_to", "warn", "differs", {"return_to": ["other://"]}),
        ("callback key", "fail", "when it starts", {"callback_key": None, "sealed_with": None}),
        ("callback key", "fail", "master key k0", {"sealed_with": "k0"}),
        (
            "issue",
            "warn",
            "consent screen",
            {
                "issues": [
                    {"code": "google_consent_testing_mode", "since": "2026-11-20T10:00:00+00:00", "detail": "seen"}
                ]
            },
        ),
    ],
)
def test_each_finding(name: str, level: str, word: str, given: dict[str, Any]) -> None:
    given = dict(given)
    findings = found(settings(**given.pop("configured", {})), **given)
    assert findings[name][0] == level
    assert word in findings[name][1]


def test_a_worker_that_connects_nothing_needs_no_credentials() -> None:
    assert "logins" not in found(settings(connect_slots=0), logins=())


def test_in_the_sandbox_the_door_may_be_plain_http() -> None:
    local = "http://127.0.0.1:8080/callback"
    app = {"login": "google", "platforms": ["youtube"], "redirect_uri": local}
    configured = settings(environment="sandbox", connect_redirect_url=local)
    assert "redirect" not in found(configured, apps=[app])
