"""Planted secrets never come out: not in a log line, a row the app reads, an event, an exception, a metric or Postgres' own log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest

from orbyt_worker.local import LocalDatabase, browse
from orbyt_worker.sandbox.postgres import LocalPostgres, free_port
from tests.fix_world import QUICK, TELL, World

REFRESH_TOKEN = "1//0planted-refresh-token-ZZZZZZZZZZZZ"
MEDIA_SECRET = "planted-signature-QQQQQQQQQQQQ"


@pytest.fixture(scope="module")
def talkative() -> Iterator[LocalPostgres]:
    """A server of its own, whose statement log shows everything, bind parameters included."""
    settings = {
        "log_statement": "all",
        "log_min_duration_statement": "0",
        "log_parameter_max_length": "-1",
        "log_parameter_max_length_on_error": "-1",
    }
    with LocalPostgres(settings=settings) as server:
        yield server


@pytest.mark.slow
def test_planted_secrets_are_nowhere(world: World, talkative: LocalPostgres, tmp_path: Path) -> None:
    database = LocalDatabase.create(talkative, "secrets")
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
    before = talkative.log_path.stat().st_size
    one.sandbox.state.faults.add("youtube.upload.final", "drop_after", times=1)
    one.sandbox.state.faults.add(
        "youtube.upload.put", "status", status=400, json={"error": {"message": "x"}}, times=1, after=1
    )
    environment = database.worker_environment(one.sandbox, tmp_path / "spool", **{**QUICK, "log_level": "debug"})
    port = free_port()
    with one.worker(log_level="debug", http_port=port) as worker:
        for job_id in (good, signed):
            assert one.wait_for(job_id, "published", "failed", timeout_seconds=80)["status"] == "published"
        assert one.wait_for(bad_media, "failed")["error_code"] == "media_empty"
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        worker.stop()
        log = worker.log_text()
    postgres_log = talkative.log_path.read_bytes()[before:].decode("utf-8", "replace")
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


def everything_stored(database: LocalDatabase) -> str:
    """Every row of every table of ours, private ones included."""
    tables = database.fetch(
        "select quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name from pg_class c"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p') and n.nspname in ('orbyt', 'orbyt_private', 'realtime') order by 1"
    )
    return "\n".join(
        str(database.fetch(f"select coalesce(jsonb_agg(t), '[]')::text as rows from {table['name']} t")[0]["rows"])
        for table in tables
    )


@pytest.mark.slow
def test_nothing_of_a_login_is_anywhere(world: World, talkative: LocalPostgres, tmp_path: Path) -> None:
    """States, verifiers, codes, tokens and client secrets of every login, from the button to the revocation."""
    database = LocalDatabase.create(talkative, "logins")
    one = World(database, world.sandbox, database.init_key(), tmp_path)
    database.fetch(TELL)
    state = world.sandbox.state
    meta, google = state.meta, state.google
    channel = google.create_account()
    person = meta.create_user()
    pages = meta.create_pages(2, user_id=person.user_id)
    alone = meta.create_instagram(login="instagram")
    app = one.database.worker_environment(one.sandbox, tmp_path)
    # What ties a browser to its session comes and goes; the rest is the platforms' and ours.
    fleeting: set[str] = set()
    secrets = {app[f"ORBYT_{name}_SECRET"] for name in ("GOOGLE_CLIENT", "META_APP", "INSTAGRAM_APP")}

    def given_out() -> set[str]:
        codes = {*google.codes, *meta.login.codes, *meta.instagram.codes}
        return codes | {*google.grants, *google.access, *meta.tokens} | secrets | fleeting

    def log_in(platform: str, who: str, **options: Any) -> UUID:
        begun = database.begin_connect(one.user_id, platform, **options)
        fleeting.add(parse_qs(urlsplit(begun.authorize_url).query)["state"][0])
        flow = database.fetch(
            "select code_verifier from orbyt_private.connect_flows where session_id = %s", [begun.session_id]
        )[0]
        browse(f"{begun.authorize_url}&sandbox_account={who}")
        one.wait_until(lambda: session(begun.session_id)["status"] not in {"started", "exchanging"})
        if flow["code_verifier"] is not None:
            fleeting.add(flow["code_verifier"])
        return begun.session_id

    def session(session_id: UUID) -> dict[str, Any]:
        return dict(database.connect_session(one.user_id, session_id))

    def revoked() -> bool:
        return database.fetch("select kind from orbyt_private.account_secrets") == []

    port = free_port()
    with one.connecting_worker(port=port, log_level="debug") as worker:
        one.wait_until(one.connectable, timeout_seconds=60)
        # An exchange whose answer is lost, and one the platform has nothing to say about, leave traces of their own.
        state.faults.add("google.token", "drop_after", times=1)
        assert session(log_in("youtube", channel.sub))["error_code"] == "connect_interrupted"
        state.faults.add("meta.oauth.exchange", "status", times=1, status=502, body="html")
        assert session(log_in("facebook", person.user_id))["status"] == "failed"

        assert session(log_in("youtube", channel.sub))["status"] == "connected"
        assert session(log_in("instagram", alone.instagram_id, login="instagram"))["status"] == "connected"
        choosing = log_in("facebook", person.user_id)
        assert session(choosing)["status"] == "choose"
        stored = everything_stored(database)
        given = given_out()
        database.finish_connect(one.user_id, choosing, [pages[0].page_id])
        for row in database.fetch("select account_id from orbyt.accounts"):
            database.as_user(one.user_id, "select orbyt.disconnect(%s)", [row["account_id"]])
        one.wait_until(revoked)
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        worker.stop()
        log = worker.log_text()
    given |= given_out()
    assert len(given) >= 20
    everywhere = {
        "rows while somebody chooses": stored,
        "rows at the end": everything_stored(database),
        "log": log,
        "metrics": metrics,
        "postgres log": talkative.log_path.read_text("utf-8", "replace"),
    }
    for name, text in everywhere.items():
        for secret in given:
            assert secret not in text, f"{secret[:6]}… in {name}: {_around(text, secret)}"
    assert re.search(r"[?&](code|state|access_token|fb_exchange_token|client_secret)=", log) is None
    # The instrument works.
    assert "connect.offered" in log
    assert '"route": "/connect/callback"' in log
    assert "connect_callback" in everywhere["postgres log"]
    assert "offer_candidates" in everywhere["postgres log"]
    assert pages[1].page_id in stored


def _around(text: str, needle: str) -> str:
    at = text.index(needle)
    return text[max(0, at - 200) : at]
