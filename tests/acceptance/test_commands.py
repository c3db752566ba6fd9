"""The commands an operator types, against a real database. What they print is part of the contract: no secret in it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orbyt_worker.cli import main
from tests.fix_world import World

Command = Callable[..., Result]


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
