"""Settings refuse what would be unsafe outside the sandbox, and what cannot work."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from orbyt_worker.settings import Settings


def settings(**values: Any) -> Settings:
    return Settings.model_validate({"database_url": "postgresql://orbyt_worker:secret-password@db/postgres", **values})


@pytest.mark.parametrize(
    "url", ["http://example.com", "https://127.0.0.1:8000", "https://localhost", "ftp://x", "no url"]
)
def test_production_hosts_are_https_and_not_loopback(url: str) -> None:
    with pytest.raises(ValidationError, match="ORBYT_MUX_API_URL"):
        settings(mux_api_url=url)


def test_the_sandbox_may_use_http_and_loopback() -> None:
    assert settings(environment="sandbox", mux_api_url="http://127.0.0.1:8000").mux_api_url == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    "hook", [{"sandbox_kill_at": "db.after begin_publish 1"}, {"sandbox_checkpoint_log": "/dev/null"}]
)
def test_test_hooks_are_refused_in_production(hook: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="ORBYT_ENVIRONMENT=sandbox"):
        settings(**hook)
    settings(environment="sandbox", **hook)


@pytest.mark.parametrize(
    "link",
    [
        *("app.example.com/done", "studiox:", "studiox://", "http://app.example.com/", "javascript://x"),
        # What is added to it must be a query of its own.
        *("studiox://done?a=b", "studiox://done?", "studiox://done#a", "studiox://done#"),
        # What the database would refuse, again and again, and nothing could be connected.
        *("https://münchen.example.com/", "studiox://two words", "studiox://{id}", "studiox://`", "studiox://x\\y"),
        *('studiox://"x"', "studiox://<x>", "studiox://a|b", "studiox://a^b", "studiox://" + "a" * 2000),
    ],
)
def test_a_link_back_that_could_not_be_used_is_refused_at_the_start(link: str) -> None:
    with pytest.raises(ValidationError, match="ORBYT_CONNECT_RETURN_TO"):
        settings(connect_return_to=f"studiox://connected,{link}")


def test_the_heartbeat_fits_the_lease() -> None:
    with pytest.raises(ValidationError, match="a third"):
        settings(lease_seconds=30, heartbeat_seconds=15)


@pytest.mark.parametrize(
    "given", ["https://host", "https://host/", "https://host/youtube/v3", "https://host/youtube/v3/"]
)
def test_youtube_hosts_with_or_without_the_path(given: str) -> None:
    assert settings(youtube_url=given).youtube_url == "https://host"
    upload = given.replace("/youtube/v3", "/upload/youtube/v3")
    assert settings(youtube_upload_url=upload).youtube_upload_url == "https://host"


def test_secrets_do_not_show() -> None:
    shown = repr(settings(google_client_secret="GOCSPX-planted"))
    assert "secret-password" not in shown
    assert "GOCSPX-planted" not in shown
