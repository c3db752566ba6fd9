"""Connecting, from the button to the account: URL, callback, exchange, offer, choice, reconnect. And that nothing secret stays."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.db.connecting import (
    OTHER_RETURN_TO,
    REDIRECT_URI,
    RETURN_TO,
    begin,
    candidate,
    claim,
    come_back,
    connected,
    create_worker,
    exchanged,
    finish,
    grant,
    offer,
    secret,
    session,
    set_up,
)
from tests.db.test_app_access import code_of
from tests.factories import create_user, insert_job
from tests.fix_postgres import Database


@pytest.fixture(autouse=True)
async def configured(db: Database) -> None:
    await set_up(db)


async def flow(db: Database) -> dict[str, Any]:
    return await db.row("select * from orbyt_private.connect_flows")


# The authorize URL ---------------------------------------------------------------------------------------------------------


async def test_the_url_carries_state_and_pkce_and_the_tables_only_what_proves_them(db: Database) -> None:
    user_id = await create_user(db)
    begun = await begin(db, user_id)
    query = begun.query
    assert begun.authorize_url.startswith("https://google.example.com/auth?")
    assert (query["client_id"], query["redirect_uri"], query["response_type"]) == (
        "client of google",
        REDIRECT_URI,
        "code",
    )
    assert (query["scope"], query["access_type"]) == ("https://scope/upload https://scope/read", "offline")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", query["state"])
    assert "+" not in urlsplit(begun.authorize_url).query, "a space is %20: a plus is one only for some"

    stored = await flow(db)
    assert bytes(stored["state_hash"]) == hashlib.sha256(query["state"].encode()).digest()
    assert re.fullmatch(r"[A-Za-z0-9_-]{64}", stored["code_verifier"])
    challenge = base64.urlsafe_b64encode(hashlib.sha256(stored["code_verifier"].encode()).digest()).decode().rstrip("=")
    assert (query["code_challenge"], query["code_challenge_method"]) == (challenge, "S256")
    assert query["state"] not in str([stored, await session(db, begun.session_id)])

    row = await session(db, begun.session_id)
    assert (row["status"], row["user_id"], row["platform"], row["login"]) == ("started", user_id, "youtube", "google")
    assert timedelta(minutes=9) < row["expires_at"] - datetime.now(UTC) < timedelta(minutes=11)


async def test_every_url_is_another(db: Database) -> None:
    user_id = await create_user(db)
    first, second = await begin(db, user_id), await begin(db, user_id)
    assert first.session_id != second.session_id
    assert first.query["state"] != second.query["state"]
    assert first.query["code_challenge"] != second.query["code_challenge"]


async def test_values_are_encoded_and_a_login_without_pkce_gets_none(db: Database) -> None:
    begun = await begin(db, await create_user(db), "facebook")
    assert begun.query["display"] == "a b&c=ü/%", "what it was before it was encoded"
    assert "display=a%20b%26c%3D%C3%BC%2F%25" in begun.authorize_url
    assert begun.query["scope"] == "pages_show_list,pages_manage_posts"
    assert not {"code_challenge", "code_challenge_method"} & set(begun.query)
    assert (await flow(db))["code_verifier"] is None


async def test_parameters_of_an_installation_cannot_replace_what_protects_the_login(db: Database) -> None:
    await db.execute(
        "update orbyt_private.connect_apps set parameters = %s where login = 'google'",
        ['{"state": "mine", "redirect_uri": "https://evil.example.com", "code_challenge_method": "plain", "x": "y"}'],
    )
    query = (await begin(db, await create_user(db))).query
    assert (query["redirect_uri"], query["code_challenge_method"], query["x"]) == (REDIRECT_URI, "S256", "y")
    assert query["state"] != "mine"


async def test_a_configuration_stands_for_scopes(db: Database) -> None:
    await db.execute(
        "update orbyt_private.connect_apps set scopes = '{}', parameters = '{\"config_id\": \"42\"}' where login = 'facebook'"
    )
    query = (await begin(db, await create_user(db), "facebook")).query
    assert query["config_id"] == "42"
    assert "scope" not in query


@pytest.mark.parametrize(
    ("platform", "configured_logins", "wished", "expected"),
    [
        ("youtube", ["google", "facebook"], None, "google"),
        ("facebook", ["google", "facebook", "instagram"], None, "facebook"),
        ("instagram", ["facebook", "instagram"], None, "facebook"),
        ("instagram", ["google", "instagram"], None, "instagram"),
        ("instagram", ["facebook", "instagram"], "instagram", "instagram"),
    ],
)
async def test_which_login_is_taken(
    db: Database, platform: str, configured_logins: list[str], wished: str | None, expected: str
) -> None:
    await db.execute("delete from orbyt_private.connect_apps where login <> all (%s)", [configured_logins])
    begun = await begin(db, await create_user(db), platform, login=wished)
    assert begun.authorize_url.startswith(f"https://{expected}.example.com/auth?")


async def test_a_reconnect_takes_the_login_the_account_came_by(db: Database) -> None:
    user_id = await create_user(db)
    claimed = await exchanged(db, user_id, "instagram", login="instagram")
    await offer(db, claimed, [candidate("ig-1")], [grant("ig-1", login="instagram")], auto=["ig-1"])
    (account_id,) = (await session(db, claimed["session_id"]))["account_ids"]
    begun = await begin(db, user_id, "instagram", account_id=account_id)
    assert begun.authorize_url.startswith("https://instagram.example.com/auth?")


async def test_an_app_written_again_is_the_new_one(db: Database) -> None:
    await db.execute(
        "select orbyt_private.set_connect_app('google', '{youtube}', 'another', %s, 'https://google.example.com/auth?v=2', '{}')",
        [REDIRECT_URI],
    )
    begun = await begin(db, await create_user(db))
    assert begun.authorize_url.startswith("https://google.example.com/auth?v=2&")
    assert begun.query["client_id"] == "another"


# The way back --------------------------------------------------------------------------------------------------------------


async def test_the_way_back_leads_to_the_app_and_the_code_to_one_worker(db: Database) -> None:
    user_id = await create_user(db)
    begun = await begin(db, user_id)
    verifier = (await flow(db))["code_verifier"]
    answer = await come_back(db, begun.state_hash, code="4/0abc")
    link = f"{RETURN_TO}?session_id={begun.session_id}&status=exchanging"
    assert answer == {"redirect": link, "session_id": str(begun.session_id), "status": "exchanging", "code": None}

    worker_id = await create_worker(db)
    (claimed,) = await claim(db, worker_id)
    assert claimed["session_id"] == begun.session_id
    assert (bytes(claimed["sealed_code"]), claimed["code_verifier"]) == (b"4/0abc", verifier)
    assert (claimed["state_hash"], claimed["redirect_uri"], claimed["attempt"]) == (begun.state_hash, REDIRECT_URI, 1)
    assert (claimed["account_id"], claimed["platform_account_id"], claimed["known"]) == (None, None, {})
    # Nobody gets it a second time.
    assert await claim(db, worker_id) == []
    assert await claim(db, await create_worker(db)) == []
    left = await flow(db)
    assert (left["sealed_code"], left["code_verifier"]) == (None, None)


async def test_a_link_with_a_query_is_continued(db: Database) -> None:
    begun = await begin(db, await create_user(db), return_to=OTHER_RETURN_TO)
    answer = await come_back(db, begun.state_hash)
    assert answer["redirect"] == f"{OTHER_RETURN_TO}&session_id={begun.session_id}&status=exchanging"


async def test_a_worker_is_woken_by_the_code(db: Database) -> None:
    listener = await db.connect()
    await listener.execute("listen orbyt_connect")
    begun = await begin(db, await create_user(db))
    await come_back(db, begun.state_hash)
    assert [notice.channel async for notice in listener.notifies(timeout=10, stop_after=1)] == ["orbyt_connect"]


async def test_two_workers_share_what_is_there(db: Database) -> None:
    user_id = await create_user(db)
    begun = [await begin(db, user_id) for _ in range(3)]
    for each in begun:
        await come_back(db, each.state_hash)
    first = await claim(db, await create_worker(db), limit=2)
    second = await claim(db, await create_worker(db), limit=2)
    assert [row["session_id"] for row in [*first, *second]] == [each.session_id for each in begun]


# Offer and choice ------------------------------------------------------------------------------------------------------------


async def test_choosing_makes_accounts_that_can_be_published_to(db: Database) -> None:
    user_id = await create_user(db)
    claimed = await exchanged(db, user_id)
    ids = {name: uuid.uuid4() for name in ("a", "b", "c")}
    grants = [
        grant(
            name,
            account_id,
            secrets=[
                secret(value=f"token-{name}", expires_in_seconds=3600),
                secret("refresh_token", f"refresh-{name}"),
            ],
            token_expires_in_seconds=86_400,
            data_access_expires_in_seconds=90 * 86_400,
        )
        for name, account_id in ids.items()
    ]
    offered = [candidate("a"), candidate("b", handle="@b"), candidate("c"), candidate("d", code="connect_role_missing")]
    assert await offer(db, claimed, offered, grants) == "ok"
    row = await session(db, claimed["session_id"])
    assert (row["status"], row["error_code"], row["candidates_complete"]) == ("choose", None, True)
    assert [
        (each["platform_account_id"], each["usable"], each["code"], each["connected"]) for each in row["candidates"]
    ] == [
        ("a", True, None, False),
        ("b", True, None, False),
        ("c", True, None, False),
        ("d", False, "connect_role_missing", False),
    ]
    assert timedelta(minutes=25) < row["expires_at"] - datetime.now(UTC) < timedelta(minutes=31), "time to choose"

    accounts = await finish(db, user_id, claimed["session_id"], ["c", "a", "a"])
    assert {each["account_id"] for each in accounts} == {ids["a"], ids["c"]}
    for account in accounts:
        name = account["platform_account_id"]
        assert (account["user_id"], account["platform"], account["status"]) == (user_id, "youtube", "active")
        assert (account["name"], account["handle"]) == (f"Name of {name}", f"@{name}")
        assert account["picture_url"] == f"https://pictures.example.com/{name}.jpg"
        assert account["scopes"] == ["upload"]
        assert timedelta(hours=23) < account["token_expires_at"] - datetime.now(UTC) < timedelta(hours=25)
        assert timedelta(days=89) < account["data_access_expires_at"] - datetime.now(UTC) < timedelta(days=91)
    stored = await db.fetch(
        "select account_id, kind, convert_from(sealed, 'UTF8') as sealed, expires_at - now() as left"
        " from orbyt_private.account_secrets order by account_id, kind"
    )
    assert {(each["account_id"], each["kind"], each["sealed"]) for each in stored} == {
        (ids[name], kind, f"{word}-{name}")
        for name in ("a", "c")
        for kind, word in (("access_token", "token"), ("refresh_token", "refresh"))
    }
    assert all(
        timedelta(minutes=55) < each["left"] < timedelta(minutes=61)
        for each in stored
        if each["kind"] == "access_token"
    )
    row = await session(db, claimed["session_id"])
    assert (row["status"], set(row["account_ids"])) == ("connected", {ids["a"], ids["c"]})
    # The unused half of what was granted is gone, too.
    assert await db.value("select count(*) from orbyt_private.connect_grants") == 0
    await insert_job(db, user_id, ids["a"])

    # The answer was lost, so the app asks again.
    assert await finish(db, user_id, claimed["session_id"], ["a", "c"]) == accounts


async def test_one_usable_account_is_connected_at_once(db: Database) -> None:
    user_id = await create_user(db)
    claimed = await exchanged(db, user_id)
    assert await offer(db, claimed, [candidate("a")], [grant("a")], auto=["a"]) == "ok"
    row = await session(db, claimed["session_id"])
    assert (row["status"], len(row["account_ids"])) == ("connected", 1)
    assert await db.value("select status from orbyt.accounts") == "active"


async def test_an_incomplete_list_is_for_the_user_to_judge(db: Database) -> None:
    user_id = await create_user(db)
    claimed = await exchanged(db, user_id)
    await offer(db, claimed, [candidate("a")], [grant("a")], complete=False, auto=["a"])
    row = await session(db, claimed["session_id"])
    assert (row["status"], row["candidates_complete"], row["error_code"]) == (
        "choose",
        False,
        "connect_list_incomplete",
    )
    assert row["error_message"]
    (account,) = await finish(db, user_id, claimed["session_id"], ["a"])
    assert account["status"] == "active"
    assert (await session(db, claimed["session_id"]))["error_code"] is None


async def test_nothing_usable_fails_with_the_reason_and_shows_each(db: Database) -> None:
    claimed = await exchanged(db, await create_user(db), "facebook")
    offered = [candidate("a", code="connect_role_missing"), candidate("b", code="connect_page_token_missing")]
    await offer(db, claimed, offered, [])
    row = await session(db, claimed["session_id"])
    assert (row["status"], row["error_code"]) == ("failed", "connect_role_missing")
    assert [each["code"] for each in row["candidates"]] == ["connect_role_missing", "connect_page_token_missing"]


async def test_an_account_without_a_grant_is_not_usable_and_one_with_a_reason_keeps_none(db: Database) -> None:
    claimed = await exchanged(db, await create_user(db), "facebook")
    offered = [candidate("a"), candidate("b"), candidate("c", code="connect_role_missing")]
    await offer(
        db,
        claimed,
        offered,
        [grant("a", login="facebook"), grant("b", login="facebook", secrets=[]), grant("c", login="facebook")],
    )
    row = await session(db, claimed["session_id"])
    assert [(each["usable"], each["code"]) for each in row["candidates"]] == [
        (True, None),
        (False, "connect_page_token_missing"),
        (False, "connect_role_missing"),
    ]
    assert await db.fetch("select platform_account_id from orbyt_private.connect_grants") == [
        {"platform_account_id": "a"}
    ]


async def test_a_code_this_database_does_not_know_yet_does_not_lose_the_offer(db: Database) -> None:
    claimed = await exchanged(db, await create_user(db), "facebook")
    await offer(
        db, claimed, [candidate("a"), candidate("b", code="a_code_of_tomorrow")], [grant("a", login="facebook")]
    )
    assert (await session(db, claimed["session_id"]))["candidates"][1]["code"] == "a_code_of_tomorrow"


async def test_failing_says_why(db: Database) -> None:
    claimed = await exchanged(db, await create_user(db))
    given = [claimed["session_id"], claimed["attempt"]]
    assert await db.value("select orbyt_private.fail_connect(%s, %s, 'connect_no_channel', '')", given) == "ok"
    row = await session(db, claimed["session_id"])
    assert (row["status"], row["error_code"]) == ("failed", "connect_no_channel")
    assert row["error_message"] == "There is no YouTube channel behind this Google account."
    assert await db.value("select orbyt_private.fail_connect(%s, %s, 'connect_no_channel', '')", given) == "stale"


# Reconnect -------------------------------------------------------------------------------------------------------------------


async def test_reconnecting_keeps_the_account_and_its_jobs_go_on(db: Database) -> None:
    user_id, account_id = await connected(db)
    await db.execute("update orbyt.accounts set status = 'needs_reauth', error_code = 'google_grant_invalid'")
    job_id = await insert_job(db, user_id, account_id)
    assert await db.value("select status from orbyt.publish_jobs where job_id = %s", [job_id]) == "held"
    before = await db.row("select version, granted_at from orbyt_private.account_grants")

    claimed = await exchanged(db, user_id, account_id=account_id)
    assert (claimed["account_id"], claimed["platform_account_id"]) == (account_id, "channel-1")
    assert claimed["known"] == {"channel-1": str(account_id)}
    granted = grant("channel-1", account_id, name="A new name", secrets=[secret(), secret("refresh_token", "newer")])
    await offer(db, claimed, [candidate("channel-1")], [granted], auto=["channel-1"])

    account = await db.row("select account_id, status, name, error_code from orbyt.accounts")
    assert account == {"account_id": account_id, "status": "active", "name": "A new name", "error_code": None}
    assert await db.value("select status from orbyt.publish_jobs where job_id = %s", [job_id]) == "queued"
    after = await db.row("select version, granted_at from orbyt_private.account_grants")
    assert after["version"] > before["version"]
    assert after["granted_at"] > before["granted_at"]
    row = await session(db, claimed["session_id"])
    assert row["candidates"][0]["connected"] is True
    assert row["account_ids"] == [account_id]


async def test_choosing_an_account_one_has_already_reconnects_it(db: Database) -> None:
    user_id, account_id = await connected(db)
    claimed = await exchanged(db, user_id)
    await offer(db, claimed, [candidate("channel-1"), candidate("b")], [grant("channel-1", account_id), grant("b")])
    assert [each["connected"] for each in (await session(db, claimed["session_id"]))["candidates"]] == [True, False]
    accounts = await finish(db, user_id, claimed["session_id"], ["channel-1"])
    assert [each["account_id"] for each in accounts] == [account_id]
    assert await db.value("select count(*) from orbyt.accounts") == 1


async def test_a_missing_refresh_token_never_overwrites_a_stored_one(db: Database) -> None:
    user_id, account_id = await connected(db)
    claimed = await exchanged(db, user_id, account_id=account_id)
    only_access = grant("channel-1", account_id, secrets=[secret(value="fresh")])
    await offer(db, claimed, [candidate("channel-1")], [only_access], auto=["channel-1"])
    assert (await session(db, claimed["session_id"]))["status"] == "connected"
    stored = await db.fetch(
        "select kind, convert_from(sealed, 'UTF8') as sealed from orbyt_private.account_secrets order by kind"
    )
    assert stored == [
        {"kind": "access_token", "sealed": "fresh"},
        {"kind": "refresh_token", "sealed": "lasting"},
    ]


async def test_secrets_of_another_login_do_not_stay(db: Database) -> None:
    user_id = await create_user(db)
    claimed = await exchanged(db, user_id, "instagram", login="facebook")
    first = grant("ig-1", login="facebook", secrets=[secret(), secret("user_token", "of the person")])
    await offer(db, claimed, [candidate("ig-1")], [first], auto=["ig-1"])
    account_id = uuid.UUID(first["account_id"])
    claimed = await exchanged(db, user_id, "instagram", login="instagram")
    second = grant("ig-1", account_id, login="instagram", platform_user_id="person-9", secrets=[secret(value="other")])
    await offer(db, claimed, [candidate("ig-1")], [second], auto=["ig-1"])
    assert await db.fetch("select kind from orbyt_private.account_secrets") == [{"kind": "access_token"}]
    assert await db.row("select login, platform_user_id from orbyt_private.account_grants") == {
        "login": "instagram",
        "platform_user_id": "person-9",
    }


async def test_the_same_page_may_belong_to_two_users(db: Database) -> None:
    first, first_account = await connected(db)
    second, second_account = await connected(db)
    assert first != second
    assert first_account != second_account
    assert await db.value("select count(*) from orbyt.accounts where platform_account_id = 'channel-1'") == 2


# What stays, and who hears -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["expired", "connected", "by hand"])
async def test_a_session_that_ends_leaves_no_secret_behind(db: Database, end: str) -> None:
    user_id = await create_user(db)
    claimed = await exchanged(db, user_id)
    await offer(db, claimed, [candidate("a"), candidate("b")], [grant("a"), grant("b")])
    started = await begin(db, user_id)
    back = await begin(db, user_id)
    await come_back(db, back.state_hash)
    if end == "connected":
        await finish(db, user_id, claimed["session_id"], ["a"])
    if end == "by hand":
        await db.execute("update orbyt.connect_sessions set status = 'failed'")
    await db.value("select orbyt_private.expire_connects(now() + interval '31 minutes')")
    assert await db.value("select count(*) from orbyt_private.connect_grants") == 0
    assert (
        await db.fetch(
            "select from orbyt_private.connect_flows where sealed_code is not null or code_verifier is not null or worker_id is not null"
        )
        == []
    )
    if end == "expired":
        for each in (started.session_id, back.session_id, claimed["session_id"]):
            row = await session(db, each)
            assert (row["status"], row["error_code"]) == ("expired", "connect_expired")


async def test_old_sessions_are_forgotten(db: Database) -> None:
    await begin(db, await create_user(db))
    assert await db.value("select orbyt_private.expire_connects(now() + interval '11 minutes')") == 1
    await db.value("select orbyt_private.expire_connects(now() + interval '91 days')")
    assert await db.value("select count(*) from orbyt.connect_sessions") == 0
    assert await db.value("select count(*) from orbyt_private.connect_flows") == 0


async def test_looking_for_old_sessions_does_not_cost_more_the_more_there_are(db: Database) -> None:
    """Every worker looks every half a minute, and they stay for months."""
    user_id = await create_user(db)
    connection = await db.connect("supabase_admin")
    await connection.execute("set session_replication_role = replica")
    await connection.execute(
        "insert into orbyt.connect_sessions (user_id, platform, login, status, error_code, return_to, expires_at) "
        "select %s, 'youtube', 'google', 'failed', 'connect_denied', 'x', now() from generate_series(1, 20000)",
        [user_id],
    )
    await connection.execute("set session_replication_role = origin")
    await connection.execute("vacuum (analyze) orbyt.connect_sessions")
    for _ in range(2):  # the first run fills plan and catalog caches
        plan = await db.value("explain (analyze, buffers, format json) select orbyt_private.expire_connects()")
    top = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 100


async def test_a_session_is_told_of_step_by_step(db: Database) -> None:
    user_id = await create_user(db)
    claimed = await exchanged(db, user_id)
    await offer(db, claimed, [candidate("a", name="A secret page")], [grant("a")])
    await finish(db, user_id, claimed["session_id"], ["a"])
    rows = await db.fetch(
        "select payload from realtime.messages where topic = %s and event = 'connect_session' order by (payload ->> 'version')::bigint",
        [f"orbyt:{user_id}"],
    )
    heard = [row["payload"] for row in rows]
    assert [each["status"] for each in heard] == ["started", "exchanging", "choose", "connected"]
    assert set(heard[0]) - {"id"} == {"session_id", "platform", "status", "error_code", "version"}
    assert "secret" not in str(heard)
    assert (
        await db.value(
            "select count(*) from pg_publication_tables where pubname = 'supabase_realtime' and tablename = 'connect_sessions'"
        )
        == 1
    )


async def test_the_app_reads_its_own_sessions_and_nothing_behind_them(db: Database) -> None:
    user_id, stranger = await create_user(db), await create_user(db)
    claimed = await exchanged(db, user_id)
    await offer(db, claimed, [candidate("a")], [grant("a")])
    async with db.as_user(stranger) as app:
        assert await (await app.execute("select * from orbyt.connect_sessions")).fetchall() == []
    async with db.as_user(user_id) as app:
        (row,) = await (await app.execute("select * from orbyt.connect_sessions")).fetchall()
        assert row["candidates"][0]["name"] == "Name of a"
    for statement in (
        "select * from orbyt_private.connect_flows",
        "select * from orbyt_private.connect_grants",
        "select * from orbyt_private.connect_apps",
        "select * from orbyt_private.callback_keys",
        "select * from orbyt_private.deletion_requests",
        "update orbyt.connect_sessions set status = 'connected'",
        "insert into orbyt.connect_sessions (user_id, platform, login, return_to, expires_at) values (auth.uid(), 'youtube', 'google', 'x', now())",
        "delete from orbyt.connect_sessions",
        "select orbyt.connect_callback('', '', '', '')",
        "select orbyt.callback_key()",
        "select * from orbyt_private.claim_connects(gen_random_uuid(), 1)",
        "select orbyt_private.key_status()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            async with db.as_user(user_id) as app:
                await app.execute(statement.encode())
        assert await code_of(db, refused.value) == "not_allowed"


async def test_the_callback_key_is_made_once(db: Database) -> None:
    async with db.as_service_role() as door:
        row = await (await door.execute("select orbyt.callback_key() as key")).fetchone()
    assert row is not None
    assert row["key"] == {"key_id": "callback-1", "jwk": {"kty": "RSA"}}
    added = await db.value(
        "select orbyt_private.add_callback_key('callback-2', '{}', gen_random_uuid(), '\\x02', 'k1')"
    )
    assert added is False
    private = await db.row("select * from orbyt_private.read_callback_key('callback-1')")
    assert (bytes(private["sealed_private"]), private["sealed_key_id"]) == (b"\x01", "k1")


async def test_what_is_set_up_can_be_looked_at(db: Database) -> None:
    await begin(db, await create_user(db))
    facts = await db.value("select orbyt_private.connect_facts()")
    assert [(each["login"], each["platforms"]) for each in facts["apps"]] == [
        ("facebook", ["facebook", "instagram"]),
        ("google", ["youtube"]),
        ("instagram", ["instagram"]),
    ]
    assert (facts["return_to"], facts["callback_key"], facts["open_sessions"]) == (
        [RETURN_TO, OTHER_RETURN_TO],
        "callback-1",
        1,
    )
