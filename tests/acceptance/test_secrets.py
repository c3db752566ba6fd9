"""Planted secrets never come out: not in a log line, a row the app reads, an event, an exception, a metric or Postgres' own log."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import httpx
import pytest

from orbyt_worker.local import LocalDatabase
from orbyt_worker.sandbox.postgres import LocalPostgres
from tests.fix_world import QUICK, TELL, World

REFRESH_TOKEN = "1//0planted-refresh-token-ZZZZZZZZZZZZ"
MEDIA_SECRET = "planted-signature-QQQQQQQQQQQQ"


@pytest.mark.slow
def test_planted_secrets_are_nowhere(world: World, tmp_path: Path) -> None:
    # A server of its own, whose statement log shows everything, bind parameters included.
    settings = {
        "log_statement": "all",
        "log_min_duration_statement": "0",
        "log_parameter_max_length": "-1",
        "log_parameter_max_length_on_error": "-1",
    }
    with LocalPostgres(settings=settings) as server:
        database = LocalDatabase.create(server, "secrets")
        key = database.init_key()
        database.fetch(TELL)
        one = World(database, world.sandbox, key, tmp_path)
        account = one.channel(refresh_token=REFRESH_TOKEN)
        broken = one.channel()
        good = one.insert(account, title="Good", media=[one.video(9_000_000)])
        bad_media = one.insert(
            broken,
            title="Bad",
            media=[{"type": "video", "url": f"{one.sandbox.url}/media/zero.mp4?signature={MEDIA_SECRET}"}],
        )
        signed = one.insert(account, title="Signed", media=[one.video(700_000, policy="signed")])
        # What the app itself sent stands in the log by its own doing; everything from here on is ours.
        before = server.log_path.stat().st_size
        one.sandbox.state.faults.add("youtube.upload.final", "drop_after", times=1)
        one.sandbox.state.faults.add(
            "youtube.upload.put", "status", status=400, json={"error": {"message": "x"}}, times=1, after=1
        )
        environment = database.worker_environment(one.sandbox, tmp_path / "spool", **{**QUICK, "log_level": "debug"})
        port = _free_port()
        with one.worker(log_level="debug", http_port=port) as worker:
            for job_id in (good, signed):
                assert one.wait_for(job_id, "published", "failed", timeout_seconds=80)["status"] == "published"
            assert one.wait_for(bad_media, "failed")["error_code"] == "media_empty"
            metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            worker.stop()
            log = worker.log_text()
        postgres_log = server.log_path.read_bytes()[before:].decode("utf-8", "replace")
        rows = json.dumps(
            [
                database.fetch("select * from orbyt.publish_jobs where job_id <> %s", [bad_media]),
                database.fetch("select (to_jsonb(j) - 'media')::text from orbyt.publish_jobs j"),
                database.fetch("select * from orbyt.job_events"),
                database.fetch("select * from orbyt.accounts"),
                database.fetch("select payload from realtime.messages"),
            ],
            default=str,
        )
        journal = json.dumps(database.fetch("select step, result from orbyt_private.job_steps"), default=str)

        secrets = {
            REFRESH_TOKEN,
            MEDIA_SECRET,
            environment["ORBYT_GOOGLE_CLIENT_SECRET"],
            environment["ORBYT_MUX_TOKEN_SECRET"],
        }
        secrets |= set(one.sandbox.state.google.access)
        secrets |= set(one.sandbox.state.youtube.uploads.sessions)
        assert len(secrets) >= 6
        for name, text in (
            ("log", log),
            ("metrics", metrics),
            ("rows", rows),
            ("journal", journal),
            ("postgres log", postgres_log),
        ):
            for secret in secrets:
                assert secret not in text, f"{secret[:6]}… in {name}: {_around(text, secret)}"
            # Signed Mux URLs carry a JWT made by the worker, which nobody planted.
            assert re.search(r"eyJ[\w-]{10,}\.eyJ", text) is None, name
        # The instrument works: what is not secret is found where it should be.
        assert "job.published" in log
        assert "begin_publish" in postgres_log
        assert str(good) in postgres_log


def _around(text: str, needle: str) -> str:
    at = text.index(needle)
    return text[max(0, at - 200) : at]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
