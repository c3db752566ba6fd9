"""The proof in the link back: whoever got the link chooses, and nobody who only began the session. See docs/decisions/0013."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import psycopg
import pytest

from tests.db.connecting import (
    OTHER_RETURN_TO,
    RETURN_TO,
    begin,
    candidate,
    claim,
    come_back,
    connected,
    create_worker,
    grant,
    offer,
    session,
    set_up,
)
from tests.db.test_app_access import code_of
from tests.factories import create_user
from tests.fix_postgres import Database


@pytest.fixture(autouse=True)
async def configured(db: Database) -> None:
    await set_up(db)
    await db.execute("select orbyt_private.set_connect_proof(true)")


def proof_of(link: str) -> str | None:
    return parse_qs(urlsplit(link).query).get("proof", [None])[0]


async def choose(db: Database, user_id: UUID, session_id: UUID, proof: str | None, *names: str) -> list[dict[str, Any]]:
    async with db.as_user(user_id) as app:
        rows: list[dict[str, Any]] = await (
            await app.execute(
                "select * from orbyt.finish_connect(session_id => %s, account_ids => %s, proof => %s)",
                [session_id, list(names), proof],
            )
        ).fetchall()
    return rows


async def refused(db: Database, *call: Any) -> str:
    with pytest.raises(psycopg.Error) as error:
        await choose(db, *call)
    return await code_of(db, error.value)


async def test_without_the_setting_the_link_is_what_it_was_and_no_proof_is_asked_for(db: Database) -> None:
    await db.execute("select orbyt_private.set_connect_proof(false)")
    user_id = await create_user(db)
    begun = await begin(db, user_id)
    answer = await come_back(db, begun.state_hash)
    assert answer["redirect"] == f"{RETURN_TO}?session_id={begun.session_id}&status=exchanging"
    # Turned on now: it could not be asked for what it was not given.
    await db.execute("select orbyt_private.set_connect_proof(true)")
    (claimed,) = await claim(db, await create_worker(db))
    await offer(db, claimed, [candidate("a"), candidate("b")], [grant("a"), grant("b")])
    assert len(await choose(db, user_id, begun.session_id, None, "a")) == 1


async def test_the_link_carries_a_proof_of_which_only_the_hash_is_kept(db: Database) -> None:
    user_id = await create_user(db)
    first, second = await begin(db, user_id), await begin(db, user_id, return_to=OTHER_RETURN_TO)
    link = (await come_back(db, first.state_hash))["redirect"]
    proof = proof_of(link)
    assert proof is not None
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", proof)
    assert link == f"{RETURN_TO}?session_id={first.session_id}&status=exchanging&proof={proof}"
    stored = await db.row("select * from orbyt_private.connect_flows where session_id = %s", [first.session_id])
    assert bytes(stored["proof_hash"]) == hashlib.sha256(proof.encode()).digest()
    assert proof not in str([stored, await session(db, first.session_id)])
    other = (await come_back(db, second.state_hash))["redirect"]
    assert other.startswith(f"{OTHER_RETURN_TO}&session_id=")
    assert proof_of(other) not in (None, proof)


async def test_whoever_sent_the_address_to_somebody_else_gets_nothing(db: Database) -> None:
    """The attacker begins, the victim approves: the link with the proof opens on the victim's device."""
    attacker, victim = await create_user(db), await create_user(db)
    begun = await begin(db, attacker)
    proof = proof_of((await come_back(db, begun.state_hash))["redirect"])
    assert proof is not None
    (claimed,) = await claim(db, await create_worker(db))
    await offer(db, claimed, [candidate("the victim's")], [grant("the victim's")], auto=["the victim's"])
    assert (await session(db, begun.session_id))["status"] == "choose", "nothing is connected by itself"
    for guess in (None, "", "x", proof[:-1], proof + "=", proof.swapcase(), hashlib.sha256(proof.encode()).hexdigest()):
        assert await refused(db, attacker, begun.session_id, guess, "the victim's") == "connect_proof_missing"
    # The state again, whoever brings it: never the proof a second time, and the first one stays the one.
    for again in (come_back(db, begun.state_hash), come_back(db, begun.state_hash, error="access_denied")):
        assert proof_of((await again)["redirect"]) is None
    assert await refused(db, victim, begun.session_id, proof, "the victim's") == "connect_session_not_found"
    assert await db.value("select count(*) from orbyt.accounts") == 0
    # The attacker may begin anew, like anybody whose link was lost.
    await begin(db, attacker)


async def test_whoever_got_the_link_chooses_and_may_repeat_it(db: Database) -> None:
    user_id = await create_user(db)
    begun = await begin(db, user_id)
    proof = proof_of((await come_back(db, begun.state_hash))["redirect"])
    (claimed,) = await claim(db, await create_worker(db))
    await offer(db, claimed, [candidate("a"), candidate("b")], [grant("a"), grant("b")])
    (account,) = await choose(db, user_id, begun.session_id, proof, "a")
    assert await choose(db, user_id, begun.session_id, proof, "a") == [account]
    assert (await session(db, begun.session_id))["status"] == "connected"


async def test_a_reconnect_asks_for_it_too(db: Database) -> None:
    await db.execute("select orbyt_private.set_connect_proof(false)")
    user_id, account_id = await connected(db)
    await db.execute("select orbyt_private.set_connect_proof(true)")
    begun = await begin(db, user_id, account_id=account_id)
    proof = proof_of((await come_back(db, begun.state_hash))["redirect"])
    (claimed,) = await claim(db, await create_worker(db))
    await offer(db, claimed, [candidate("channel-1")], [grant("channel-1", account_id)], auto=["channel-1"])
    assert await refused(db, user_id, begun.session_id, None, "channel-1") == "connect_proof_missing"
    (account,) = await choose(db, user_id, begun.session_id, proof, "channel-1")
    assert account["account_id"] == account_id


async def test_of_callbacks_at_once_one_gets_a_proof_and_a_refusal_gets_none(db: Database) -> None:
    user_id = await create_user(db)
    begun = await begin(db, user_id)
    answers = await asyncio.gather(*(come_back(db, begun.state_hash) for _ in range(6)))
    assert sorted(proof_of(answer["redirect"]) is not None for answer in answers) == [False] * 5 + [True]
    denied = await begin(db, user_id)
    assert "proof" not in (await come_back(db, denied.state_hash, error="access_denied"))["redirect"]
    assert "proof" not in (await come_back(db, "0" * 64))["redirect"]
