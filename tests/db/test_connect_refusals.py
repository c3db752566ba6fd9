"""What connecting refuses: replayed, foreign, injected, late. Each with its code, and nothing is changed by it.

The attacks that can be listed are in test_connect_refusal_table.py.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from collections.abc import Awaitable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.db.connecting import (
    OTHER_RETURN_TO,
    RETURN_TO,
    Begun,
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
from tests.factories import create_account, create_user
from tests.fix_postgres import Database


@pytest.fixture(autouse=True)
async def configured(db: Database) -> None:
    await set_up(db)


async def refused(db: Database, call: Awaitable[Any]) -> str:
    with pytest.raises(psycopg.Error) as error:
        await call
    return await code_of(db, error.value)


async def offered(db: Database, user_id: UUID, *names: str) -> UUID:
    """A session with something to choose."""
    claimed = await exchanged(db, user_id)
    await offer(db, claimed, [candidate(name) for name in names], [grant(name) for name in names])
    session_id: UUID = claimed["session_id"]
    return session_id


# begin_connect ---------------------------------------------------------------------------------------------------------------


async def test_no_link_is_allowed_before_an_operator_says_so(db: Database) -> None:
    user_id = await create_user(db)
    await db.execute("update orbyt_private.settings set value = '[]' where name = 'connect_return_to'")
    assert await refused(db, begin(db, user_id)) == "return_to_not_allowed"
    await db.execute("delete from orbyt_private.settings where name = 'connect_return_to'")
    assert await refused(db, begin(db, user_id)) == "return_to_not_allowed"


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "/relative",
        "//example.com",
        "https://example.com/#part",
        "https://exa mple.com",
        "https://example.com/\n",
        "https://example.com/<x>",
        "",
        7,
    ],
)
async def test_a_list_with_a_dangerous_link_is_refused_as_a_whole(db: Database, link: object) -> None:
    call = db.execute("select orbyt_private.set_connect_return_to(%s)", [Jsonb(["https://new.example.com/", link])])
    assert await refused(db, call) == "return_to_not_allowed"
    assert await db.value("select orbyt_private.setting('connect_return_to')") == [RETURN_TO, OTHER_RETURN_TO]


@pytest.mark.parametrize(
    ("platform", "login"),
    [("pigeon", None), ("youtube", "facebook"), ("facebook", "pigeon"), ("youtube", ""), ("", None)],
)
async def test_what_is_not_configured(db: Database, platform: str, login: str | None) -> None:
    call = begin(db, await create_user(db), platform, login=login)
    assert await refused(db, call) == "platform_not_configured"


async def test_a_platform_that_is_switched_off(db: Database) -> None:
    await db.execute("update orbyt.platforms set enabled = false where platform = 'youtube'")
    assert await refused(db, begin(db, await create_user(db))) == "platform_not_configured"


async def test_somebody_elses_account_is_no_account(db: Database) -> None:
    owner = await create_user(db)
    account_id = await create_account(db, owner)
    stranger = await create_user(db)
    assert await refused(db, begin(db, stranger, account_id=account_id)) == "account_not_found"
    assert await refused(db, begin(db, stranger, account_id=uuid.uuid4())) == "account_not_found"
    # One's own, but of another platform.
    assert await refused(db, begin(db, owner, "facebook", account_id=account_id)) == "account_not_found"


async def test_nobody_begins_without_being_signed_in(db: Database) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with db.as_anon() as app:
            await app.execute("select orbyt.begin_connect('youtube', %s)", [RETURN_TO])
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as error:
        async with db.as_service_role() as server:
            await server.execute("select orbyt.begin_connect('youtube', %s)", [RETURN_TO])
    assert await code_of(db, error.value) == "not_allowed"


async def test_ended_and_overdue_sessions_are_not_in_the_way(db: Database) -> None:
    user_id = await create_user(db)
    begun = [await begin(db, user_id) for _ in range(5)]
    assert await refused(db, begin(db, user_id)) == "connect_too_many"
    await come_back(db, begun[0].state_hash, error="access_denied")
    await begin(db, user_id)
    assert await refused(db, begin(db, user_id)) == "connect_too_many"
    await db.execute("update orbyt.connect_sessions set expires_at = now() - interval '1 second'")
    await begin(db, user_id)


# The callback ----------------------------------------------------------------------------------------------------------------


async def unchanged(db: Database, begun: Begun) -> tuple[Any, ...]:
    flow = await db.row("select * from orbyt_private.connect_flows where session_id = %s", [begun.session_id])
    return (*(await session(db, begun.session_id)).values(), *flow.values())


@pytest.mark.parametrize(
    "state_hash",
    [hashlib.sha256(b"made up").hexdigest(), "", "zz", "' or 1=1 --", "A" * 64, "é" * 64, "0" * 63, "0" * 65],
)
async def test_an_unknown_state(db: Database, state_hash: str) -> None:
    begun = await begin(db, await create_user(db))
    before = await unchanged(db, begun)
    answer = await come_back(db, state_hash)
    assert answer == {
        "redirect": f"{RETURN_TO}?status=failed",
        "session_id": None,
        "status": "failed",
        "code": "connect_state_unknown",
    }
    assert await unchanged(db, begun) == before


async def test_the_state_itself_instead_of_its_hash_opens_nothing(db: Database) -> None:
    """Whoever can read the table cannot call back with what is in it, and the other way round."""
    begun = await begin(db, await create_user(db))
    assert (await come_back(db, begun.query["state"]))["code"] == "connect_state_unknown"
    twice = hashlib.sha256(bytes.fromhex(begun.state_hash)).hexdigest()
    assert (await come_back(db, twice))["code"] == "connect_state_unknown"


async def test_an_unknown_state_with_no_link_allowed_leads_nowhere(db: Database) -> None:
    await db.execute("select orbyt_private.set_connect_return_to('[]')")
    assert (await come_back(db, "0" * 64))["redirect"] is None


async def test_a_state_counts_once(db: Database) -> None:
    begun = await begin(db, await create_user(db))
    await come_back(db, begun.state_hash, code="the first")
    before = await unchanged(db, begun)
    for again in (
        come_back(db, begun.state_hash, code="the attacker's"),
        come_back(db, begun.state_hash, error="access_denied"),
    ):
        answer = await again
        assert (answer["status"], answer["code"]) == ("exchanging", "connect_state_used")
        assert await unchanged(db, begun) == before
    (claimed,) = await claim(db, await create_worker(db))
    assert bytes(claimed["sealed_code"]) == b"the first"
    assert (await come_back(db, begun.state_hash, code="late"))["code"] == "connect_state_used"
    assert await claim(db, await create_worker(db)) == []


async def test_a_state_that_comes_back_in_parallel_counts_once(db: Database) -> None:
    begun = await begin(db, await create_user(db))
    answers = await asyncio.gather(*(come_back(db, begun.state_hash, code=f"code {n}") for n in range(8)))
    assert sorted(str(answer["code"]) for answer in answers) == ["None", *["connect_state_used"] * 7]
    assert len(await claim(db, await create_worker(db))) == 1


async def test_a_code_reaches_only_the_session_its_state_belongs_to(db: Database) -> None:
    """An attacker's code on the victim's way back, or the other way round: verifier, redirect and person stay with the state."""
    victim, attacker = await create_user(db), await create_user(db)
    theirs, mine = await begin(db, victim), await begin(db, attacker)
    verifiers = {
        row["session_id"]: row["code_verifier"]
        for row in await db.fetch("select session_id, code_verifier from orbyt_private.connect_flows")
    }
    await come_back(db, mine.state_hash, code="the victim's code")
    (claimed,) = await claim(db, await create_worker(db))
    assert (claimed["session_id"], claimed["user_id"]) == (mine.session_id, attacker)
    # The platform checks it against the code: with another login's verifier it refuses. And the seal is bound to this hash.
    assert claimed["code_verifier"] == verifiers[mine.session_id] != verifiers[theirs.session_id]
    assert claimed["state_hash"] == mine.state_hash
    assert (await session(db, theirs.session_id))["status"] == "started"


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("access_denied", "connect_denied"),
        ("user_denied", "connect_denied"),
        ("user_cancelled", "connect_cancelled"),
        ("server_error", "connect_platform_refused"),
        ("invalid_scope", "connect_platform_refused"),
        ("<script>alert('1//refresh')</script>", "connect_platform_refused"),
        ("x" * 5000, "connect_platform_refused"),
        ("", "connect_platform_refused"),
    ],
)
async def test_a_no_from_the_platform_ends_the_session_and_goes_home(db: Database, word: str, code: str) -> None:
    begun = await begin(db, await create_user(db))
    answer = await come_back(db, begun.state_hash, error=word)
    assert answer["redirect"] == f"{RETURN_TO}?session_id={begun.session_id}&status=failed"
    assert answer["code"] == code
    row = await session(db, begun.session_id)
    assert (row["status"], row["error_code"]) == ("failed", code)
    assert "<" not in row["error_message"]
    assert len(row["error_message"]) < 500
    assert await claim(db, await create_worker(db)) == []


async def test_neither_a_code_nor_a_no(db: Database) -> None:
    begun = await begin(db, await create_user(db))
    assert (await come_back(db, begun.state_hash, code=None))["code"] == "connect_platform_refused"


@pytest.mark.parametrize(
    ("sealed", "key_id"),
    [
        ("YWJj", "another key"),
        ("YWJj", None),
        ("not base64!", "callback-1"),
        ("YWJ", "callback-1"),
        ("Y===", "callback-1"),
        ("", "callback-1"),
        ("YWJj" * 2049, "callback-1"),
    ],
)
async def test_what_nobody_could_open(db: Database, sealed: str, key_id: str | None) -> None:
    begun = await begin(db, await create_user(db))
    async with db.as_service_role() as door:
        row = await (
            await door.execute(
                "select orbyt.connect_callback(state_hash => %s, sealed_code => %s, key_id => %s) as answer",
                [begun.state_hash, sealed, key_id],
            )
        ).fetchone()
    assert row is not None
    assert (row["answer"]["status"], row["answer"]["code"]) == ("failed", "connect_interrupted")
    assert await claim(db, await create_worker(db)) == []


async def test_too_late(db: Database) -> None:
    begun = await begin(db, await create_user(db))
    await db.execute("update orbyt.connect_sessions set expires_at = now() - interval '1 second'")
    answer = await come_back(db, begun.state_hash)
    assert (answer["status"], answer["code"]) == ("expired", "connect_expired")
    assert answer["redirect"] == f"{RETURN_TO}?session_id={begun.session_id}&status=expired"
    row = await session(db, begun.session_id)
    assert (row["status"], row["error_code"]) == ("expired", "connect_expired")
    assert await claim(db, await create_worker(db)) == []
    # And still so for whoever comes after upkeep.
    assert (await come_back(db, begun.state_hash))["code"] == "connect_expired"


# The exchange ----------------------------------------------------------------------------------------------------------------


async def test_a_code_whose_worker_died_is_never_exchanged_again(db: Database) -> None:
    user_id = await create_user(db)
    begun = await begin(db, user_id)
    await come_back(db, begun.state_hash)
    (claimed,) = await claim(db, await create_worker(db))
    await db.execute("update orbyt_private.workers set lease_until = now() - interval '1 second'")
    assert await claim(db, await create_worker(db)) == []
    row = await session(db, begun.session_id)
    assert (row["status"], row["error_code"]) == ("failed", "connect_interrupted")
    # It was only slow: too late.
    assert await offer(db, claimed, [candidate("a")], [grant("a")], auto=["a"]) == "stale"
    assert await db.value("select count(*) from orbyt.accounts") == 0
    assert await db.value("select count(*) from orbyt_private.connect_grants") == 0


async def test_upkeep_finds_the_dead_too(db: Database) -> None:
    user_id = await create_user(db)
    claimed = await exchanged(db, user_id)
    assert await db.value("select orbyt_private.expire_connects()") == 0
    await db.execute("delete from orbyt_private.workers")
    assert await db.value("select orbyt_private.expire_connects()") == 1
    assert (await session(db, claimed["session_id"]))["error_code"] == "connect_interrupted"


async def test_a_worker_nobody_knows_gets_nothing(db: Database) -> None:
    begun = await begin(db, await create_user(db))
    await come_back(db, begun.state_hash)
    with pytest.raises(psycopg.Error) as error:
        await claim(db, uuid.uuid4())
    assert error.value.sqlstate == "OR100"
    assert len(await claim(db, await create_worker(db))) == 1


async def test_a_worker_whose_lease_is_over_gets_nothing_that_the_next_one_would_call_interrupted(db: Database) -> None:
    """The database was away for longer than a lease, and the logins are asked for before the next heartbeat."""
    begun = await begin(db, await create_user(db))
    await come_back(db, begun.state_hash)
    asleep, awake = await create_worker(db, lease_seconds=-1), await create_worker(db)
    with pytest.raises(psycopg.Error) as error:
        await claim(db, asleep)
    assert error.value.sqlstate == "OR100"
    assert [each["session_id"] for each in await claim(db, awake)] == [begun.session_id]
    assert (await session(db, begun.session_id))["status"] == "exchanging"


async def test_a_wrong_attempt_changes_nothing(db: Database) -> None:
    claimed = await exchanged(db, await create_user(db))
    stale = {**claimed, "attempt": claimed["attempt"] + 1}
    assert await offer(db, stale, [candidate("a")], [grant("a")]) == "stale"
    assert (
        await db.value("select orbyt_private.fail_connect(%s, 7, 'connect_no_channel')", [claimed["session_id"]])
        == "stale"
    )
    assert await offer(db, claimed, [candidate("a")], [grant("a")]) == "ok"
    assert await offer(db, claimed, [candidate("b")], [grant("b")]) == "stale", "an offer is made once"


async def test_no_lasting_access_is_no_account(db: Database) -> None:
    user_id = await create_user(db)
    claimed = await exchanged(db, user_id)
    await offer(db, claimed, [candidate("a")], [grant("a", secrets=[secret()])], auto=["a"])
    row = await session(db, claimed["session_id"])
    assert (row["status"], row["error_code"]) == ("failed", "connect_no_refresh_token")
    assert await db.value("select count(*) from orbyt.accounts") == 0


async def test_a_dead_refresh_token_does_not_stand_in_for_a_missing_one(db: Database) -> None:
    user_id, account_id = await connected(db)
    await db.execute("update orbyt.accounts set status = 'needs_reauth', error_code = 'google_grant_invalid'")
    claimed = await exchanged(db, user_id, account_id=account_id)
    await offer(
        db, claimed, [candidate("channel-1")], [grant("channel-1", account_id, secrets=[secret()])], auto=["channel-1"]
    )
    assert (await session(db, claimed["session_id"]))["error_code"] == "connect_no_refresh_token"
    assert await db.value("select count(*) from orbyt_private.account_secrets") == 2, "nothing of the old was touched"


@pytest.mark.parametrize("status", ["needs_reauth", "disconnected"])
async def test_a_refresh_token_that_died_before_the_choice_does_not_stand_in_either(db: Database, status: str) -> None:
    """Offered, because the stored one would do; then the account is lost or let go, then chosen."""
    user_id, account_id = await connected(db)
    claimed = await exchanged(db, user_id)
    offered = [candidate("channel-1"), candidate("channel-2")]
    granted = [grant("channel-1", account_id, secrets=[secret()]), grant("channel-2")]
    await offer(db, claimed, offered, granted)
    if status == "disconnected":
        await db.value("select orbyt_private.disconnect_account(%s, 'hold')", [account_id])
    else:
        await db.value("select orbyt_private.lose_account(%s, 'google_grant_invalid')", [account_id])
    with pytest.raises(psycopg.Error) as error:
        await finish(db, user_id, claimed["session_id"], ["channel-1"])
    assert await code_of(db, error.value) == "connect_interrupted"
    assert await db.value("select status from orbyt.accounts where account_id = %s", [account_id]) == status
    kinds = await db.fetch("select kind from orbyt_private.account_secrets where account_id = %s", [account_id])
    assert {each["kind"] for each in kinds} == {"access_token", "refresh_token"}, "nothing of the old was touched"
    # The other one can still be chosen.
    assert len(await finish(db, user_id, claimed["session_id"], ["channel-2"])) == 1


# Reconnect: the same page or channel -------------------------------------------------------------------------------------------


async def test_another_channel_on_reconnect(db: Database) -> None:
    user_id, account_id = await connected(db)
    before = await db.fetch("select * from orbyt_private.account_secrets order by kind")
    claimed = await exchanged(db, user_id, account_id=account_id)
    await offer(db, claimed, [candidate("channel-2")], [grant("channel-2")], auto=["channel-2"])
    row = await session(db, claimed["session_id"])
    assert (row["status"], row["error_code"]) == ("failed", "account_wrong_channel")
    assert [(each["usable"], each["code"]) for each in row["candidates"]] == [(False, "account_wrong_channel")]
    assert await db.fetch("select * from orbyt_private.account_secrets order by kind") == before
    assert await db.value("select count(*) from orbyt.accounts") == 1


async def test_on_reconnect_only_the_wanted_one_can_be_chosen(db: Database) -> None:
    user_id, account_id = await connected(db)
    claimed = await exchanged(db, user_id, account_id=account_id)
    names = ["channel-2", "channel-1", "channel-3"]
    await offer(db, claimed, [candidate(name) for name in names], [grant("channel-2"), grant("channel-1", account_id)])
    row = await session(db, claimed["session_id"])
    assert [each["code"] for each in row["candidates"]] == ["account_wrong_channel", None, "account_wrong_channel"]
    assert await refused(db, finish(db, user_id, row["session_id"], ["channel-2"])) == "connect_candidate_unusable"
    assert (
        await refused(db, finish(db, user_id, row["session_id"], ["channel-1", "channel-2"]))
        == "connect_candidate_unusable"
    )
    assert len(await finish(db, user_id, row["session_id"], ["channel-1"])) == 1


async def test_the_wanted_one_with_a_reason_of_its_own(db: Database) -> None:
    user_id, account_id = await connected(db, platform="facebook", platform_account_id="page-1", login="facebook")
    claimed = await exchanged(db, user_id, "facebook", account_id=account_id)
    await offer(
        db,
        claimed,
        [candidate("page-2"), candidate("page-1", code="connect_role_missing")],
        [grant("page-2", login="facebook")],
    )
    assert (await session(db, claimed["session_id"]))["error_code"] == "connect_role_missing"


async def test_a_list_with_a_hole_is_no_proof_that_it_is_another(db: Database) -> None:
    user_id, account_id = await connected(db)
    claimed = await exchanged(db, user_id, account_id=account_id)
    await offer(db, claimed, [candidate("channel-2")], [grant("channel-2")], complete=False)
    assert (await session(db, claimed["session_id"]))["error_code"] == "connect_list_incomplete"
    # But the wanted one is enough.
    claimed = await exchanged(db, user_id, account_id=account_id)
    await offer(
        db, claimed, [candidate("channel-1")], [grant("channel-1", account_id)], complete=False, auto=["channel-1"]
    )
    assert (await session(db, claimed["session_id"]))["status"] == "connected"


# finish_connect ----------------------------------------------------------------------------------------------------------------


async def test_somebody_elses_session_does_not_exist(db: Database) -> None:
    owner, stranger = await create_user(db), await create_user(db)
    session_id = await offered(db, owner, "a")
    assert await refused(db, finish(db, stranger, session_id, ["a"])) == "connect_session_not_found"
    assert await refused(db, finish(db, stranger, uuid.uuid4(), ["a"])) == "connect_session_not_found"
    await finish(db, owner, session_id, ["a"])
    # Nor afterwards, although it would only be read.
    assert await refused(db, finish(db, stranger, session_id, ["a"])) == "connect_session_not_found"


@pytest.mark.parametrize(
    ("chosen", "code"),
    [
        ([], "connect_candidate_unknown"),
        (None, "connect_candidate_unknown"),
        (["c"], "connect_candidate_unknown"),
        (["a", "c"], "connect_candidate_unknown"),
        ([""], "connect_candidate_unknown"),
        ([None], "connect_candidate_unknown"),
        (["b"], "connect_candidate_unusable"),
        (["a", "b"], "connect_candidate_unusable"),
    ],
)
async def test_only_what_is_on_offer_can_be_chosen(db: Database, chosen: list[str] | None, code: str) -> None:
    user_id = await create_user(db)
    claimed = await exchanged(db, user_id, "facebook")
    await offer(
        db, claimed, [candidate("a"), candidate("b", code="connect_role_missing")], [grant("a", login="facebook")]
    )
    assert await refused(db, finish(db, user_id, claimed["session_id"], chosen)) == code
    assert await db.value("select count(*) from orbyt.accounts") == 0
    assert (await session(db, claimed["session_id"]))["status"] == "choose", "it can still be chosen from"


async def test_before_there_is_something_and_after_it_is_over(db: Database) -> None:
    user_id = await create_user(db)
    begun = await begin(db, user_id)
    assert await refused(db, finish(db, user_id, begun.session_id, ["a"])) == "connect_session_not_choosable"
    await come_back(db, begun.state_hash)
    assert await refused(db, finish(db, user_id, begun.session_id, ["a"])) == "connect_session_not_choosable"
    session_id = await offered(db, user_id, "a", "b")
    await finish(db, user_id, session_id, ["a"])
    for another in (["b"], ["a", "b"], []):
        assert await refused(db, finish(db, user_id, session_id, another)) == "connect_session_not_choosable"


async def test_choosing_too_late(db: Database) -> None:
    user_id = await create_user(db)
    session_id = await offered(db, user_id, "a")
    await db.execute(
        "update orbyt.connect_sessions set expires_at = now() - interval '1 second' where session_id = %s", [session_id]
    )
    assert await refused(db, finish(db, user_id, session_id, ["a"])) == "connect_expired"
    await db.value("select orbyt_private.expire_connects()")
    assert await refused(db, finish(db, user_id, session_id, ["a"])) == "connect_expired"
    assert await db.value("select count(*) from orbyt.accounts") == 0


async def test_two_choices_at_once_are_one(db: Database) -> None:
    user_id = await create_user(db)
    session_id = await offered(db, user_id, "a", "b")
    answers = await asyncio.gather(*(finish(db, user_id, session_id, ["a", "b"]) for _ in range(6)))
    assert all([row["account_id"] for row in answer] == [row["account_id"] for row in answers[0]] for answer in answers)
    assert await db.value("select max(version) from orbyt_private.account_grants") == 2, "stored once"


async def test_the_same_page_in_two_sessions_is_connected_once(db: Database) -> None:
    user_id = await create_user(db)
    first, second = await offered(db, user_id, "a"), await offered(db, user_id, "a")
    (account,) = await finish(db, user_id, first, ["a"])
    # Its tokens are sealed for an account that there will not be.
    assert await refused(db, finish(db, user_id, second, ["a"])) == "connect_interrupted"
    assert await db.fetch("select account_id, status from orbyt.accounts") == [
        {"account_id": account["account_id"], "status": "active"}
    ]


async def test_a_final_session_stays_final(db: Database) -> None:
    begun = await begin(db, await create_user(db))
    await come_back(db, begun.state_hash, error="access_denied")
    await db.execute("update orbyt.connect_sessions set status = 'choose', error_message = 'x'")
    assert (await session(db, begun.session_id))["status"] == "failed"


async def test_a_code_never_stands_in_a_row_the_app_can_read(db: Database) -> None:
    user_id = await create_user(db)
    begun = await begin(db, user_id)
    await come_back(db, begun.state_hash, code="a code of value")
    sealed = base64.b64encode(b"a code of value").decode()
    for table in ("connect_sessions", "accounts", "publish_jobs", "job_events"):
        async with db.as_user(user_id) as app:
            rows = str(await (await app.execute(f"select * from orbyt.{table}".encode())).fetchall())
        for value in (sealed, "a code of value", begun.query["state"], begun.query["code_challenge"]):
            assert value not in rows
