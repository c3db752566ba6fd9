"""The commands an operator types, against a real database. What they print is part of the contract: no secret in it."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
from typer.testing import CliRunner, Result

from orbyt_worker import logs
from orbyt_worker.cli import main
from orbyt_worker.crypto import Keyring
from orbyt_worker.errors.failure import Failure
from orbyt_worker.local import KEY_ID, ConnectedAccount
from tests.fix_world import World

Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """A command sends the logs to its own standard error, which is closed when it ends."""
    names = ("", *logs._QUIET, *logs._OWN)
    before = [(name, logging.getLogger(name).level, list(logging.getLogger(name).handlers)) for name in names]
    yield
    structlog.reset_defaults()
    for name, level, handlers in before:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def command(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    for name, value in world.database.worker_environment(world.sandbox, tmp_path / "spool").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ORBYT_ADMIN_DATABASE_URL", world.database.url())
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


def test_check_passes_on_a_complete_set_up(command: Command) -> None:
    result = command("check")
    assert result.exit_code == 0, result.output
    for word in ("orbyt_worker", "LISTEN works", "key local", "publication complete", "client set"):
        assert word in result.output


def test_check_names_what_is_missing(world: World, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    world.database.fetch("delete from orbyt_private.settings where name = 'active_key_id'")
    with world.database.server.connect(world.database.name) as connection:
        connection.execute("delete from vault.secrets")
    monkeypatch.delenv("ORBYT_GOOGLE_CLIENT_ID")
    result = command("check")
    assert result.exit_code == 1
    assert "keys init" in result.output
    assert "ORBYT_GOOGLE_CLIENT_ID" in result.output


def test_check_without_a_database(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "ORBYT_DATABASE_URL", "postgresql://orbyt_worker:planted-password@127.0.0.1:1/none?connect_timeout=1"
    )
    result = command("check")
    assert result.exit_code == 1
    assert "cannot connect" in result.output
    assert "planted-password" not in result.output


def test_check_says_what_keeps_accounts_from_being_connected(
    world: World, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = command("check")
    assert "no account can be connected: set ORBYT_CONNECT_REDIRECT_URL" in bare.output
    monkeypatch.setenv("ORBYT_CONNECT_REDIRECT_URL", "https://door.example.com/callback")
    monkeypatch.setenv("ORBYT_CONNECT_RETURN_TO", "studiox://connected")
    world.database.fetch(
        "select orbyt_private.set_connect_app('google', '{youtube}', 'client', 'https://other.example.com/callback', "
        "'https://accounts.example.com', '{}', '{}', true, ' ')"
    )
    world.database.fetch(
        "select orbyt_private.add_callback_key('callback-1', '{}', gen_random_uuid(), '\\x01', 'gone')"
    )
    world.database.fetch("select orbyt_private.raise_operator_issue('google_consent_testing_mode', 'seen')")
    world.database.fetch("select orbyt_private.create_master_key('k2')")
    result = command("check")
    assert result.exit_code == 1
    for words in (
        "no link may be returned to",
        "sealed with master key gone",
        "other.example.com",
        "google_consent_testing_mode",
        "keys rotate",
    ):
        assert words in result.output
    world.database.fetch("delete from orbyt_private.callback_keys")
    world.database.fetch("delete from orbyt_private.connect_apps")
    assert command("check").exit_code == 0, "a worker that starts writes the rest"


def test_settings_errors_name_the_variable_and_never_the_value(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORBYT_LEASE_SECONDS", "planted-nonsense")
    result = command("run")
    assert result.exit_code == 2
    assert "ORBYT_LEASE_SECONDS" in result.output
    assert "planted-nonsense" not in result.output


def test_keys_init_is_safe_to_repeat_and_prints_no_key(world: World, command: Command) -> None:
    first, second = command("keys", "init", "--key-id", "k2"), command("keys", "init", "--key-id", "k2")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "created" in first.output
    assert "nothing changed" in second.output
    key = world.database.fetch("select key_base64 from orbyt_private.master_keys() where key_id = 'k2'")[0][
        "key_base64"
    ]
    assert key not in first.output + second.output
    with world.database.server.connect(world.database.name) as connection:
        names = connection.execute("select name from vault.secrets order by name").fetchall()
    assert names == [("orbyt_key_k2",), ("orbyt_key_local",)]


def test_jobs_can_be_listed_shown_cancelled_retried_and_released(world: World, command: Command) -> None:
    account = world.channel()
    job_id = world.insert(account, title="One", media=[world.video()])
    (row,) = json.loads(command("jobs", "list", "--status", "queued", "--json").output)
    assert row["job_id"] == str(job_id)
    assert command("jobs", "cancel", str(job_id)).exit_code == 0
    shown = json.loads(command("jobs", "show", str(job_id), "--json").output)
    assert [each["event"] for each in shown] == ["inserted", "cancelled"]
    refused = command("jobs", "retry", str(job_id))
    assert refused.exit_code == 1
    assert "OR2" in refused.output

    held = world.insert(account, title="Two", media=[world.video()])
    world.database.fetch(
        "update orbyt.publish_jobs set status = 'held', error_code = 'outcome_unknown' where job_id = %s", [held]
    )
    assert command("jobs", "release", "--code", "outcome_unknown").exit_code == 0
    assert world.job(held)["status"] == "queued"
    unknown = command("jobs", "retry", str(uuid.uuid4()))
    assert unknown.exit_code == 1
    assert command("jobs", "release").exit_code == 2


def test_status_and_migrate(world: World, command: Command) -> None:
    world.insert(world.channel(), title="One", media=[world.video()])
    found = json.loads(command("status", "--json").output)
    assert found["queue"][0]["jobs"] == 1
    assert set(found) == {"queue", "workers", "quota"}
    assert "up to date" in command("migrate").output


# Keys ------------------------------------------------------------------------------------------------------------------------


def tokens_opened(world: World, keys: dict[str, bytes]) -> int:
    """How many stored tokens these keys open."""
    ring, count = Keyring(keys, active=next(iter(keys))), 0
    for row in world.database.fetch("select account_id, kind, sealed, key_id from orbyt_private.account_secrets"):
        try:
            ring.open(row["sealed"], owner_id=row["account_id"], kind=row["kind"], key_id=row["key_id"])
        except Failure:
            continue
        count += 1
    return count


def test_keys_rotate_and_status(world: World, command: Command) -> None:
    world.channel()
    world.connect("facebook")
    before = json.loads(command("keys", "status", "--json").output)
    assert [(key["key_id"], key["active"], key["account_secrets"]) for key in before["keys"]] == [("local", True, 3)]
    result = command("keys", "rotate")
    assert result.exit_code == 0, result.output
    assert "key local-2 seals; 3 secrets sealed anew; deleted: local" in result.output
    after = json.loads(command("keys", "status", "--json").output)
    assert [(key["key_id"], key["active"], key["account_secrets"]) for key in after["keys"]] == [("local-2", True, 3)]
    assert after["next"] == ["Nothing to do. `orbyt-worker keys rotate` changes the key."]
    (key,) = world.database.fetch("select key_base64 from orbyt_private.master_keys()")
    assert key["key_base64"] not in result.output + command("keys", "status").output
    assert tokens_opened(world, {KEY_ID: world.key}) == 0


def test_keys_rotate_that_has_to_wait_says_for_whom_and_goes_on_when_run_again(world: World, command: Command) -> None:
    world.channel()
    worker_id = uuid.uuid4()
    world.database.fetch("select orbyt_private.register_worker(%s, 'a-host', '0', '{}', 3600)", [worker_id])
    result = command("keys", "rotate", "--wait-seconds", "0")
    assert result.exit_code == 1
    assert "a-host (does not say)" in result.output
    assert "Run it again" in result.output
    status = command("keys", "status").output
    assert "A rotation was begun and local is still there" in status
    world.database.fetch("select orbyt_private.use_key(%s, 'local-2', now() - interval '2 minutes')", [worker_id])
    again = command("keys", "rotate", "--wait-seconds", "0")
    assert again.exit_code == 0, again.output
    assert "going on with it" in again.output
    assert "deleted: local" in again.output
    refused = command("keys", "rotate", "--key-id", "Not A Key")
    assert refused.exit_code == 1
    assert "22023" in refused.output


def test_keys_rotate_names_what_it_cannot_open(world: World, command: Command) -> None:
    account = world.channel()
    world.database.fetch("update orbyt_private.account_secrets set sealed = '\\xff'")
    result = command("keys", "rotate")
    assert result.exit_code == 1
    assert f"account_secrets/{account.account_id}/refresh_token" in result.output
    assert "key local stays" in result.output


# Accounts --------------------------------------------------------------------------------------------------------------------


def outcome(result: Result) -> str:
    (row,) = json.loads(result.stdout)
    return str(row["outcome"])


def stored(world: World, account: ConnectedAccount) -> dict[str, Any]:
    return dict(
        world.database.fetch(
            "select a.status::text, a.error_code, a.checked_at is not null as checked, g.check_error_code, g.refresh_error_code, "
            "g.revoke_requested_at is not null as revoking, g.version "
            "from orbyt.accounts a join orbyt_private.account_grants g on g.account_id = a.account_id where a.account_id = %s",
            [account.account_id],
        )[0]
    )


def test_accounts_list_filters_and_explains(world: World, command: Command) -> None:
    channel, page = world.channel(), world.connect("facebook")
    world.database.fetch("select orbyt_private.mark_needs_reauth(%s, 2, 'google_grant_invalid')", [channel.account_id])
    every = json.loads(command("accounts", "list", "--json").output)
    assert {each["account_id"] for each in every} == {str(channel.account_id), str(page.account_id)}
    for given, found in (
        (["--platform", "facebook"], page),
        (["--status", "needs_reauth"], channel),
        (["--user", str(world.user_id), "--platform", "youtube"], channel),
    ):
        (row,) = json.loads(command("accounts", "list", *given, "--json").output)
        assert row["account_id"] == str(found.account_id)
    assert json.loads(command("accounts", "list", "--user", str(uuid.uuid4()), "--json").output) == []
    shown = command("accounts", "list")
    assert shown.exit_code == 0
    assert "google_grant_invalid: " in shown.output, "in words"
    everything = shown.output + json.dumps(every)
    assert [token for each in (channel, page) for token in each.tokens.values() if token in everything] == []
    assert command("accounts", "list", "--status", "nonsense").exit_code == 1


@pytest.mark.parametrize("platform", ["youtube", "facebook", "instagram"])
def test_accounts_check_asks_the_platform_and_records_it(world: World, command: Command, platform: str) -> None:
    account = world.connect(platform)
    world.database.fetch("update orbyt.accounts set checked_at = null")
    result = command("accounts", "check", str(account.account_id), "--json")
    assert (outcome(result), result.exit_code) == ("ok", 0), result.output
    assert stored(world, account)["checked"] is True
    if platform == "youtube":
        world.sandbox.state.google.kill_grant(refresh_token=account.tokens["refresh_token"])
        world.sandbox.state.google.expire_access_tokens()
    else:
        world.sandbox.state.meta.kill_token(account.tokens["access_token"], "password_changed")
    result = command("accounts", "check", str(account.account_id))
    assert result.exit_code == 1
    found = stored(world, account)
    assert (found["status"], found["check_error_code"]) == ("needs_reauth", found["error_code"])
    assert f"{found['error_code']}: " in result.output, "in words"
    assert not any(token in result.output for token in account.tokens.values())
    # Only its user can mend that: the platform is not asked again.
    calls = world.sandbox.state.google.token_call_count("refresh_token")
    assert outcome(command("accounts", "check", str(account.account_id), "--json")) == "account_needs_reauth"
    assert world.sandbox.state.google.token_call_count("refresh_token") == calls


def test_accounts_check_that_cannot_be_told_disconnects_nobody(world: World, command: Command) -> None:
    account = world.connect("facebook")
    world.sandbox.state.faults.add("meta", "status", times=None, status=503)
    result = command("accounts", "check", str(account.account_id), str(account.account_id), "--json")
    assert (outcome(result), result.exit_code) == ("meta_service_unavailable", 1)
    assert (stored(world, account)["status"], stored(world, account)["check_error_code"]) == (
        "active",
        "meta_service_unavailable",
    )
    assert outcome(command("accounts", "check", str(uuid.uuid4()), "--json")) == "account_not_found"


def test_accounts_refresh_renews_once(world: World, command: Command) -> None:
    account = world.channel()
    google = world.sandbox.state.google
    for calls in (1, 2):
        result = command("accounts", "refresh", str(account.account_id), "--json")
        assert (outcome(result), result.exit_code) == ("ok", 0), result.output
        assert google.token_call_count("refresh_token") == calls, "asked for, so done, however fresh the old one is"
    # Somebody else has the lease.
    world.database.fetch(
        "select orbyt_private.begin_refresh(%s, %s, gen_random_uuid(), 60)",
        [account.account_id, stored(world, account)["version"]],
    )
    busy = command("accounts", "refresh", str(account.account_id))
    assert (busy.exit_code, google.token_call_count("refresh_token")) == (1, 2)
    assert "busy: somebody is renewing it" in busy.output


def test_accounts_refresh_says_what_went_wrong(world: World, command: Command) -> None:
    account = world.channel()
    assert command("accounts", "refresh", str(account.account_id)).exit_code == 0
    world.sandbox.state.faults.add("google.token", "status", times=1, status=503)
    blip = command("accounts", "refresh", str(account.account_id), "--json")
    assert (outcome(blip), blip.exit_code) == ("google_token_unavailable", 1)
    assert outcome(command("accounts", "refresh", str(account.account_id), "--json")) == "cooling"
    assert stored(world, account)["status"] == "active", "the token in hand is still good"
    world.database.fetch("update orbyt_private.account_grants set refresh_not_before = null")
    world.sandbox.state.google.kill_grant(refresh_token=account.tokens["refresh_token"])
    dead = command("accounts", "refresh", str(account.account_id), "--json")
    assert (outcome(dead), stored(world, account)["status"]) == ("google_grant_invalid", "needs_reauth")


def test_accounts_refresh_leaves_a_page_token_alone(world: World, command: Command) -> None:
    """Nothing renews it; to try would cost the user the connection."""
    for platform in ("facebook", "instagram"):
        account = world.connect(platform)
        result = command("accounts", "refresh", str(account.account_id), "--json")
        assert (outcome(result), result.exit_code) == ("not_renewable", 1)
        assert stored(world, account)["status"] == "active"


@pytest.mark.parametrize(("jobs", "status"), [("hold", "held"), ("cancel", "cancelled")])
def test_accounts_disconnect(world: World, command: Command, jobs: str, status: str) -> None:
    account = world.channel()
    job_id = world.insert(account, title="One", media=[world.video()])
    refused = command("accounts", "disconnect", str(account.account_id), "--jobs", jobs)
    assert refused.exit_code == 1, "nobody said yes"
    assert "Sandbox Channel" in refused.output
    assert stored(world, account)["status"] == "active"
    result = command("accounts", "disconnect", str(account.account_id), "--jobs", jobs, "--yes")
    assert result.exit_code == 0, result.output
    assert world.job(job_id)["status"] == status
    found = stored(world, account)
    assert (found["status"], found["revoking"]) == ("disconnected", True)
    assert command("accounts", "disconnect", str(account.account_id), "--yes").exit_code == 0, "safe to repeat"
    assert outcome(command("accounts", "check", str(account.account_id), "--json")) == "account_disconnected"


def test_accounts_disconnect_of_nobody(command: Command) -> None:
    unknown = UUID(int=1)
    assert "account_not_found" in command("accounts", "disconnect", str(unknown), "--yes").output
    assert command("accounts", "disconnect", str(unknown), "--jobs", "burn", "--yes").exit_code == 2
